//! Nodes in a lab that do everything at random while things fail:
//! `cargo run --release -p grasptests --bin soak -- --minutes 60`. Fails on any outcome that no fault explains and on
//! growth. docs/testing.md says more.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use grasptests::{lab, soak};
use nix::sys::signal::{SigSet, Signal};

/// Six GRASP nodes that do everything at random while links fail, engines stop and start, and strangers send nonsense.
#[derive(Debug, Parser)]
#[command(name = "soak", version)]
struct Arguments {
    /// How long
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    minutes: f64,
    /// Faults and calls are drawn with it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Operations a second, of all nodes together
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// With QUADS encryption
    #[arg(long)]
    quads: bool,
    /// In a domain: each node has a certificate, TLS secures sessions and carries the multicasts from neighbour to neighbour
    #[arg(long, conflicts_with = "quads")]
    domain: bool,
    /// Seconds from one measurement to the next
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(15..=3600))]
    cycle: u64,
}

fn positive(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|minutes| (0.1..=100_000.0).contains(minutes));
    minutes.ok_or_else(|| "minutes are a number from 0.1 to 100000".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match soak(&arguments) {
        Ok(()) => {
            println!("Passed.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn soak(arguments: &Arguments) -> Result<(), String> {
    lab::enter().map_err(|error| error.to_string())?;
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("off")).init();
    let interrupted = stop_on_signals()?;
    let settings = soak::Settings {
        duration: Duration::from_secs_f64(arguments.minutes * 60.0),
        seed: arguments.seed,
        rate: arguments.rate,
        security: match arguments {
            Arguments { quads: true, .. } => soak::Security::Quads,
            Arguments { domain: true, .. } => soak::Security::Domain,
            _ => soak::Security::Links,
        },
        cycle: Duration::from_secs(arguments.cycle),
    };
    soak::run(&settings, &interrupted, &mut std::io::stdout())
}

/// Becomes true on Ctrl-C and SIGTERM. To be called before there is a second thread, which inherits the mask.
fn stop_on_signals() -> Result<Arc<AtomicBool>, String> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().map_err(|error| format!("signals cannot be blocked: {error}"))?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let waiter = move || {
        while signals.wait().is_ok() {
            flag.store(true, Ordering::Relaxed);
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(waiter)
        .map_err(|error| error.to_string())?;
    Ok(interrupted)
}
