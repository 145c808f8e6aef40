//! Example Autonomic Service Agents (ASAs): how people meet GRASP, and how they learn to write their own.
//!
//! Each example is one module, to be read from top to bottom, and one binary of the same name with nothing in
//! it but a call of [`main`]. They are modules so that every binary holds them all: `briggs --lab gray` starts
//! itself a second time, as Gray.
//!
//! What they share is here, and is no part of GRASP: the command line ([`Common`]), pauses, rounds and random
//! numbers ([`Run`]), Ctrl-C ([`Stop`], the library's) and the private network of `--lab`. An example is a type that
//! implements [`Example`]:
//!
//! ```
//! use asa_examples::{Common, Example, Outcome, Run};
//!
//! /// Says hello to the engine, and goodbye.
//! #[derive(Debug, clap::Parser)]
//! #[command(name = "hello", version)]
//! struct Hello {
//!     #[command(flatten)]
//!     common: Common,
//! }
//!
//! impl Example for Hello {
//!     const NAME: &'static str = "Hello";
//!     const INTRODUCTION: [&'static str; 3] = [
//!         "Hello registers an ASA and waits.",
//!         "It needs no peer.",
//!         "It ends when you press Ctrl-C.",
//!     ];
//!
//!     fn common(&self) -> &Common {
//!         &self.common
//!     }
//!
//!     fn run(self, run: Run) -> Outcome {
//!         let asa = grasp::register_asa(Self::NAME)?;
//!         while run.pause(60.0) {
//!             grasp::dump_all(true);
//!         }
//!         grasp::deregister_asa(asa, Self::NAME)?;
//!         Ok(())
//!     }
//! }
//! # // In the binary: fn main() -> std::process::ExitCode { asa_examples::main::<Hello>() }
//! ```
#![forbid(unsafe_code)]

/// Makes the snippets of the documents tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../docs/examples.md")]
    struct Examples;
    #[doc = include_str!("../../docs/porting.md")]
    struct Porting;
    #[doc = include_str!("../../docs/tutorial.md")]
    struct Tutorial;
}

pub mod briggs;
pub mod client;
mod common;
pub mod getter;
pub mod graspconfig;
pub mod gray;
mod network;
mod offered;
#[cfg(feature = "bubbles")]
mod pages;
pub mod pfxm;
pub mod pusher;
pub mod relay;
mod serve;
pub mod server;
mod stop;

use std::process::ExitCode;
use std::thread;

use clap::Parser;
use crossbeam_channel::{Sender, bounded};
use grasp::{Config, Error, tprint};
pub use grasp::{Stop, Waking};

pub use common::{Common, Run};
pub use serve::serve;

use network::Network;

/// What running an example comes to.
pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// An example ASA. The type is its command line.
pub trait Example: Parser + Send + 'static {
    /// The name, that of its thread too, which begins every line it prints. At most 15 characters.
    const NAME: &'static str;

    /// What it is, what it needs and how it ends: three lines, printed at the start.
    const INTRODUCTION: [&'static str; 3];

    /// The options that all examples have.
    fn common(&self) -> &Common;

    /// Changes to the engine's configuration, from what the command line has made of it. None by default.
    fn config(&self, config: Config) -> Config {
        config
    }

    /// The ASA itself, on a thread of its own. To return soon after [`Run::stopping`] has become true.
    ///
    /// # Errors
    /// Anything that ends the ASA early; it is printed.
    fn run(self, run: Run) -> Outcome;
}

/// An example that `--lab` can start.
struct Peer {
    /// The name of its binary.
    name: &'static str,
    main: fn() -> ExitCode,
    /// Looks at its command line, the name of the program first.
    check: fn(&[String]) -> Result<(), clap::Error>,
}

impl Peer {
    const fn of<E: Example>(name: &'static str) -> Self {
        Self { name, main: only::<E>, check: |words| E::try_parse_from(words).map(drop) }
    }
}

const PEERS: &[Peer] = &[
    Peer::of::<briggs::Briggs>("briggs"),
    Peer::of::<client::Client>("client"),
    Peer::of::<getter::Getter>("getter"),
    Peer::of::<graspconfig::GraspConfig>("graspconfig"),
    Peer::of::<gray::Gray>("gray"),
    Peer::of::<pfxm::Pfxm3>("pfxm3"),
    Peer::of::<pusher::Pusher>("pusher"),
    Peer::of::<relay::Relay>("relay"),
    Peer::of::<server::Server>("server"),
];

/// The `main` of every example: does what the command line says until the example ends or is stopped.
#[must_use]
pub fn main<E: Example>() -> ExitCode {
    match network::role() {
        // --lab has started this program again, as another example.
        Some(role) => match PEERS.iter().find(|peer| peer.name == role) {
            Some(peer) => (peer.main)(),
            None => only::<E>(),
        },
        None => only::<E>(),
    }
}

fn only<E: Example>() -> ExitCode {
    // It ends the program itself where the arguments are wrong, or ask for help.
    let example = E::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match supervise(example) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tprint!(E::NAME, "cannot go on:", error);
            ExitCode::FAILURE
        }
    }
}

fn supervise<E: Example>(example: E) -> Outcome {
    let common = example.common().clone();
    #[cfg(not(feature = "bubbles"))]
    if common.bubbles {
        return Err(
            "--bubbles needs the feature: cargo run -p asa_examples --features bubbles --bin …".into()
        );
    }
    // First, because a process with several threads cannot move into a private network any more.
    #[cfg(feature = "bubbles")]
    let mut pages = pages::Pages::open(&common, E::NAME)?;
    let mut network = Network::enter(&common, E::command().get_name())?;
    let stop = stop::on_signals()?;
    let config = match network::node_name(network.as_ref()) {
        Some(name) => common.config().name(Some(name)),
        None => common.config(),
    };
    let config = example.config(config);
    #[cfg(feature = "bubbles")]
    let config = match &pages {
        Some(pages) => pages.serve(config)?,
        None => config,
    };
    grasp::configure(config)?;
    if let Some(network) = &mut network {
        #[cfg(feature = "bubbles")]
        let prepare = |peer: &mut std::process::Command| pages.iter_mut().for_each(|pages| pages.give(peer));
        #[cfg(not(feature = "bubbles"))]
        let prepare = |_: &mut std::process::Command| {};
        network.start_peers(&common, &stop, prepare)?;
    }
    let run = Run::new(&common, stop.clone());
    let (ending, ended) = bounded(0);
    let asa = thread::Builder::new().name(E::NAME.to_owned()).spawn(move || {
        // Disconnects when it is dropped, also while a panic unwinds.
        let _ending: Sender<()> = ending;
        for line in E::INTRODUCTION {
            tprint!(line);
        }
        example.run(run)
    })?;
    let outcome = stop::supervise(&stop, asa, &ended);
    grasp::shutdown();
    outcome.and(network.map_or(Ok(()), Network::end))
}

/// What `grasp-decode` does, which is a part of the command `grasp`.
pub use grasp::tools::decode;
/// What `quadsmaker` does, which is a part of the command `grasp`.
pub use grasp::tools::keys as quadsmaker;
pub use grasp::tools::plain;

/// The peer's own words if it gave a reason, otherwise the text of the error.
#[must_use]
pub fn reason(error: &Error) -> String {
    match error {
        Error::Declined(Some(reason)) => plain(reason),
        error => error.to_string(),
    }
}
