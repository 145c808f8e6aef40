//! Example Autonomic Service Agents (ASAs), to get to know GRASP and to learn to write ASAs.
//!
//! Each example is one module, to be read from top to bottom, and one binary of the same name that only calls [`main`].
//! They are modules so that every binary contains all of them: `briggs --lab gray` starts itself a second time, as
//! Gray.
//!
//! The shared parts are here, and are not part of GRASP: the command line ([`Common`]), pauses, rounds and random
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

/// Turns the code blocks of the documents into tests.
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
mod members;
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

/// The result of running an example.
pub type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// An example ASA. The type is its command line.
pub trait Example: Parser + Send + 'static {
    /// The name, also of its thread, at the beginning of every line that it prints. At most 15 characters.
    const NAME: &'static str;

    /// What the example is, what it needs and how it ends: three lines, printed at the start.
    const INTRODUCTION: [&'static str; 3];

    /// The options that all examples have.
    fn common(&self) -> &Common;

    /// Changes the engine's configuration, starting from the one of the command line. No changes by default.
    fn config(&self, config: Config) -> Config {
        config
    }

    /// Runs the ASA, in a separate thread. Must return soon after [`Run::stopping`] has become true.
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
    /// Checks its command line, which begins with the name of the program.
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

/// The `main` of every example: runs it as the command line says until it ends or is stopped.
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
    // This ends the program if the arguments are wrong or ask for help.
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
    // This comes first, because a process with several threads cannot move into a private network any more.
    #[cfg(feature = "bubbles")]
    let mut pages = pages::Pages::open(&common, E::NAME)?;
    let mut network = Network::enter(&common, E::command().get_name())?;
    let stop = stop::on_signals()?;
    let config = match network::node_name(network.as_ref()) {
        Some(name) => common.config().name(Some(name)),
        None => common.config(),
    };
    let config = match network.as_ref().map(Network::acp).transpose()?.flatten() {
        Some(acp) => config.acp(acp),
        None => config,
    };
    let config = example.config(config);
    #[cfg(feature = "bubbles")]
    let config = match &pages {
        Some(pages) => pages.serve(config)?,
        None => config,
    };
    match common.node.clone() {
        Some(socket) => {
            grasp::set_printing(common.test_mode, false);
            grasp::connect(socket.unwrap_or_else(grasp::ipc::default_path))?;
        }
        None => grasp::configure(config)?,
    }
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
        // Disconnected when dropped, even while a panic unwinds.
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

/// Returns the peer's own words if it gave a reason, otherwise the text of the error.
#[must_use]
pub fn reason(error: &Error) -> String {
    match error {
        Error::Declined(Some(reason)) => plain(reason),
        error => error.to_string(),
    }
}
