//! GRASP, the GeneRic Autonomic Signaling Protocol (RFC 8990), and its API (RFC 8991).
//!
//! GRASP lets the nodes of a network find each other, agree on parameters and share values without a human:
//! discovery, negotiation, synchronization, flooding. Programs that use it are Autonomic Service Agents (ASAs).
//! Calls block; an ASA that does several things at a time uses several threads. There is no async runtime.
//!
//! ```no_run
//! use grasp::{Negotiation, Objective};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let asa = grasp::register_asa("Gray")?;
//!     let mut money = Objective::new("EX3").with_value(("NZD", 47))?;
//!     money.neg = true;
//!     grasp::register_obj(asa, &money, Default::default())?;
//!     // A peer is discovered, asked, and its first answer is here:
//!     match grasp::req_negotiate(asa, &money, None, None)? {
//!         Negotiation::Agreed(money) => grasp::tprint!("Got", money.value),
//!         Negotiation::Offer(session, offer) => {
//!             grasp::tprint!("Peer offered", offer.value);
//!             grasp::end_negotiate(asa, session, false, Some("You are mean!"))?;
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Which call for which task
//!
//! | task | call | with guards and types |
//! |---|---|---|
//! | become an ASA | [`register_asa`] | [`Asa::new`] |
//! | offer an objective, on a port of its own | [`register_obj`] with [`RegisterObj`] | [`TypedObjective::register`] |
//! | find who offers one | [`discover`] with [`Discover`] | |
//! | ask for something, and haggle | [`req_negotiate`], [`negotiate_step`], [`negotiate_wait`], [`end_negotiate`] | [`Asa::negotiate`], [`Session`] |
//! | answer such requests | [`listen_negotiate`] | [`Asa::serve`], [`Asa::accept`] |
//! | get a value | [`synchronize`] | [`Asa::synchronize`], [`TypedObjective::synchronize`] |
//! | give a value to whoever asks | [`listen_synchronize`] | [`TypedObjective::publish`] |
//! | give a value to everyone | [`flood`]; [`flood_every`] for those who come later | [`TypedObjective::flood`] |
//! | read what was flooded | [`get_flood`], [`expire_flood`] | [`TypedObjective::get_flood`] |
//! | send anything within a session | [`req_negotiate_noloop`], [`gsend`], [`grecv`] | [`Asa::open`], [`Session::send`] |
//! | stop | [`stop_negotiate`], [`stop_synchronize`], [`deregister_asa`], [`shutdown`] | drop the guard; [`Stop`] |
//! | look inside | [`dump_all`] | [`Engine::objectives`], [`Engine::flood_cache`], [`Engine::state`], [`Engine::stats`], [`Engine::trace`] |
//!
//! The calls of the second column have the names, arguments and errors of graspy, the original in Python; [`graspi`] has
//! those of RFC 8991. The third column does the same for those who write Rust anew: an ASA and a session end when their
//! guard is dropped, the result says who the peer is, and values have a type.
//!
//! # Engine, free functions or a node
//!
//! The free functions share one [`Engine`] of the process, which starts with the first call: on a terminal after graspy's
//! questions, unless [`configure`] or [`skip_dialogue`] was called before. This is all that most programs need.
//! An [`Engine`] of one's own ([`Engine::start`]) asks nothing, stops when its last handle is dropped, and may run beside
//! others, with another [`Config`]. It has all these calls as methods; [`process_engine`] gives the one of the process.
//!
//! Or the engine is in another process, a node that many processes share ([`ipc`]): [`Engine::connect`] gives the same
//! handle, and with the environment variable `GRASP_SOCKET`, which names the node's socket, the free functions use the node
//! and start nothing. Calls, errors and deadlines are the same; what a process has registered ends with it. A program
//! becomes a node with [`ipc::Server`].
//!
//! # Units, errors
//!
//! * Timeouts, lifetimes and intervals are whole **milliseconds**; `None` and 0 are the default, a minute for most
//!   calls. The times in [`Config`] that are a [`Duration`](std::time::Duration) say so. An expiry (`expire`) is a time of
//!   [`monotonic_ms`], and 0 is never. Sizes are **bytes**.
//! * Every call returns a [`Result`]. [`Error::code`] is graspy's number, [`Error::retry`] says whether trying again helps,
//!   [`Error::why`] why a connection failed. Errors print a sentence.
//! * All calls may be made from any thread, with the same handles. A call that waits blocks its caller only, and ends with
//!   [`shutdown`](Engine::shutdown).
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `quads` | on | encryption with a shared password, compatible with graspy: `QuadsKeys`, `Acp::Quads`, `keyfile` |
//! | `ipc` | on | one node for many processes: [`Engine::connect`], [`ipc`] |
//! | `domain` | off | [`domain`]: who is a member of a secure domain, by certificates (RFC 8994 §6.2); a domain of one's own with TLS between them, `Acp::Domain`; TLS in an ACP, `Acp::InterfacesWithTls`; the one in reserve for the other, `Acp::Fallback` |
//! | `tools` | off | `tools`: what the command `grasp` does, for programs that do the same, such as a prompt |
//! | `bubbles` | off | `init_bubble_text`, a page for the browser that shows what an ASA says and hears |
//! | `node` | off | the programs `graspd`, one node for all processes of a machine (docs/operations.md), and `grasp` (docs/grasp.md) |
//!
//! # Where to go on
//!
//! In the repository: docs/tutorial.md writes an ASA step by step, docs/examples.md has complete ones, docs/porting.md is for
//! those who come from Python, docs/security.md says what each [`Acp`] is worth, docs/defaults.md why each setting is as it
//! is, docs/ipc.md how processes talk to a node, and docs/compliance.md what of RFC 8990 is there. docs/architecture.md shows the inside: layers, threads, locks.
//! [`wire`] reads and writes GRASP messages without an engine.
#![forbid(unsafe_code)]

/// Makes the examples of README.md tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Makes the example of docs/bubbles.md a test.
#[cfg(doctest)]
#[doc = include_str!("../docs/bubbles.md")]
struct Watching;

/// Makes the example of docs/security.md a test.
#[cfg(all(doctest, feature = "quads"))]
#[doc = include_str!("../docs/security.md")]
struct Security;

pub mod acp;
mod api;
mod bounds;
#[cfg(feature = "bubbles")]
mod bubbles;
mod cbor;
mod clock;
pub mod config;
mod configger;
pub mod constants;
mod core;
#[cfg(feature = "domain")]
pub mod domain;
mod dull;
mod engine;
mod error;
mod interrupt;
#[cfg(feature = "ipc")]
pub mod ipc;
mod net;
mod node;
pub mod objectives;
mod outcome;
mod plain;
#[cfg(any(feature = "domain", feature = "quads"))]
mod private_file;
mod registry;
mod seldom;
#[cfg(feature = "_simulator")]
#[doc(hidden)]
pub mod simulation;
mod start_error;
mod stats;
mod threads;
#[cfg(feature = "domain")]
mod tls;
#[cfg(feature = "tools")]
pub mod tools;
pub mod trace;
mod types;
pub mod wire;
mod workers;

pub use acp::Acp;
#[cfg(feature = "quads")]
pub use acp::keyfile;
#[cfg(feature = "quads")]
pub use acp::quads::{Opened, QuadsKeys, QuadsReader};
pub use api::graspi;
#[cfg(feature = "ipc")]
pub use api::process::connect;
#[cfg(feature = "bubbles")]
pub use api::process::init_bubble_text;
pub use api::process::{
    Answer, SkipDialogue, configure, deregister_asa, deregister_obj, discover, dump_all, end_negotiate,
    expire_flood, flood, flood_every, get_flood, grecv, gsend, listen_negotiate, listen_synchronize,
    negotiate_step, negotiate_wait, process_engine, register_asa, register_obj, req_negotiate,
    req_negotiate_noloop, send_invalid, shutdown, skip_dialogue, stop_negotiate, stop_synchronize,
    synchronize,
};
pub use api::utility::{print_line, set_printing};
pub use api::{
    Asa, Discover, EngineState, Flooding, Negotiation, Peer, Port, RegisterObj, Reply, Server, Session,
    SessionView, Source, Stop, Synchronized, TypedObjective, Waking,
};
#[cfg(feature = "bubbles")]
pub use bubbles::Bubbles;
pub use clock::monotonic_ms;
pub use config::{Adjusted, Config, Rate, Relay, Setting, SettingError};
pub use dull::{DullInstance, DullInstances};
pub use engine::Engine;
pub use error::{ConnectionError, Error, Result, Retry, Why, etext};
pub use interrupt::interruptible;
pub use start_error::StartError;
pub use stats::{Described, Stats};
pub use types::{
    AsaLocator, AsaNonce, AsaView, DiscoveryView, FloodView, Locator, Objective, ObjectiveView, Protocol,
    SessionNonce, TaggedObjective, Value,
};
