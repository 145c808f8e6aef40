//! ASAtest as a program: `cargo run --release -p grasptests`.
//!
//! It goes through the API of GRASP step by step, checks every outcome, and says with its exit status whether
//! all of them held. By default it does so in a private network of its own, so that it needs and touches
//! nothing of the machine's.

mod asatest;

use std::io;
use std::process::ExitCode;

use asatest::{BRANCHES, Options, Pace};
use clap::Parser;
use grasptests::lab::{self, Lab, LabError, Node};

/// Goes through the API of GRASP as an ASA uses it, and checks every outcome.
///
/// Prints a transcript, one line per step with its time, and a summary. The exit status is 0 if every step
/// held, 1 if one did not, 2 if the arguments make no sense.
#[derive(Debug, Parser)]
#[command(name = "grasptests", version)]
struct Arguments {
    /// Use this machine's own interfaces instead of a private network. Other GRASP nodes on its links hear the
    /// test, and may answer.
    #[arg(long)]
    host: bool,

    /// Make the rounds of the negotiation as this seed did before [default: a new one, which is printed].
    #[arg(long)]
    seed: Option<u64>,

    /// How often EX2 is negotiated. Seven rounds are enough to see every way it can go, whatever the seed
    /// [default: 7, at the original pace 1].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: Option<u32>,

    /// As a member of a secure domain, whose sessions TLS secures.
    #[arg(long)]
    domain: bool,

    /// Detailed diagnostics: the engine's log on standard error, its counters in the transcript. The variable
    /// RUST_LOG chooses what is logged.
    #[arg(long)]
    test_mode: bool,

    /// Wait as long as the original suite did: about a minute, and up to 40 s for each round.
    #[arg(long)]
    original_pace: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let level = if arguments.test_mode { "debug" } else { "warn" };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level)).init();
    // Lives as long as the suite runs.
    let network = if arguments.host { None } else { private_network() };
    let where_it_runs = match &network {
        Some((_, node)) => format!("in a private network, as node {}", node.name()),
        None => "on this machine's own interfaces; other GRASP nodes on its links may hear it".to_owned(),
    };
    let pace = if arguments.original_pace { Pace::Original } else { Pace::Quick };
    let all = u32::try_from(BRANCHES).unwrap_or(u32::MAX);
    let rounds = arguments.rounds.unwrap_or(if arguments.original_pace { 1 } else { all });
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(1..1_000_000_000));
    grasp::tprint!("ASAtest", where_it_runs);
    grasp::tprint!("Seed", seed, "rounds", rounds);
    let options = Options { seed, rounds, pace, domain: arguments.domain, test_mode: arguments.test_mode };
    let passed = asatest::run(options, &mut io::stdout());
    drop(network);
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Moves this thread into a node of a new private network; `None`, with a message, where that cannot be.
fn private_network() -> Option<(Lab, Node)> {
    match try_private_network() {
        Ok(network) => Some(network),
        Err(error) => {
            grasp::tprint!("No private network:", error);
            grasp::tprint!("Falling back to what --host does");
            None
        }
    }
}

fn try_private_network() -> Result<(Lab, Node), LabError> {
    lab::enter()?;
    let lab = Lab::new()?;
    let node = lab.node("asatest")?;
    lab.link(&node, &lab.node("neighbour")?)?;
    node.enter()?;
    Ok((lab, node))
}
