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
//! # The map
//!
//! * A multicast arrives: `threads::mclisten` decodes it ([`wire`]) and queues it for `threads::mhandler`, which
//!   asks `proto` what to do; `proto` looks into `registry` and returns actions, which a responder thread carries
//!   out through `net`.
//! * An ASA asks: `api::discovery` opens a session in `registry` with a mailbox and sends through `net`; what
//!   `threads::drlisten` receives goes through `proto` into the mailbox, and the call returns.
//!
//! docs/architecture.md has the picture, the threads and the order of the locks.
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
#[cfg(feature = "bubbles")]
mod bubbles;
mod clock;
mod config;
mod configger;
pub mod constants;
mod core;
mod engine;
mod error;
mod interrupt;
mod net;
mod proto;
mod registry;
mod seldom;
#[cfg(feature = "_simulator")]
#[doc(hidden)]
pub mod simulation;
mod start_error;
mod stats;
mod threads;
pub mod trace;
mod types;
pub mod wire;

#[cfg(feature = "quads")]
pub use acp::keyfile;
#[cfg(feature = "quads")]
pub use acp::quads::{Opened, QuadsKeys, QuadsReader};
pub use api::graspi;
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
pub use api::{Asa, Discover, EngineState, Flooding, Negotiation, Port, RegisterObj, SessionView};
#[cfg(feature = "bubbles")]
pub use bubbles::Bubbles;
pub use clock::monotonic_ms;
pub use config::{Acp, Config, Rate};
pub use engine::Engine;
pub use error::{Error, Result, etext};
pub use interrupt::interruptible;
pub use start_error::StartError;
pub use stats::Stats;
pub use types::{
    AsaLocator, AsaNonce, AsaView, DiscoveryView, FloodView, Locator, Objective, ObjectiveView, Protocol,
    SessionNonce, TaggedObjective, Value,
};
