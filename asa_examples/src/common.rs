//! The options that all examples have, and the state of a run that they control: rounds, pauses and random numbers.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use grasp::{Config, tprint};

use crate::Stop;

/// Options of every example.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Repeats the random choices of the run that printed this number [default: a new one, which is printed].
    #[arg(long)]
    pub seed: Option<u64>,

    /// Ends after this many rounds; 0 means never.
    #[arg(long, default_value_t = 0)]
    pub rounds: u64,

    /// The length of pauses, as a factor: with 0.1 everything goes ten times as fast.
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub pace: f64,

    /// Runs in a private network inside this machine, with this example as a peer; may be repeated. The peer's
    /// own options follow its name: --lab "gray --rounds 3". Linux only.
    #[arg(long, value_name = "PEER")]
    pub lab: Vec<String>,

    /// With --lab: the number of relays between this example and its peers.
    #[arg(long, default_value_t = 0, requires = "lab", value_parser = clap::value_parser!(u16).range(..=100))]
    pub relays: u16,

    /// With --lab: makes a certificate for every node, and runs all of them in a secure domain.
    #[arg(long, requires = "lab")]
    pub domain: bool,

    /// Uses only this interface, instead of all that are up; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub interface: Vec<String>,

    /// Uses the node that runs on this machine (graspd) instead of an engine of its own; at this socket, or where graspd has
    /// it by default.
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, require_equals = true, conflicts_with_all = ["lab", "interface", "bubbles"])]
    pub node: Option<Option<PathBuf>>,

    /// Serves a page of speech bubbles for a browser and prints its address; with --lab also one for each peer, all
    /// side by side. The environment variable GRASP_BUBBLES may set a port. Only available in a program built with the
    /// feature `bubbles`.
    #[arg(long)]
    pub bubbles: bool,

    /// Prints many extra diagnostics.
    #[arg(long)]
    pub test_mode: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if factor > 0.0 && factor <= 1000.0 => Ok(factor),
        _ => Err("a number above 0, at most 1000".to_owned()),
    }
}

impl Common {
    /// Returns the engine's configuration according to these options. A configured engine asks no questions when it
    /// starts.
    #[must_use]
    pub fn config(&self) -> Config {
        let config = Config::new().test_mode(self.test_mode).diagnose(self.test_mode);
        if self.interface.is_empty() { config } else { config.interfaces(Some(self.interface.clone())) }
    }
}

/// One run of an example: its random numbers, rounds and pauses, and whether it must stop. A clone is for another
/// thread of the same run, and draws its own random numbers.
#[derive(Debug)]
pub struct Run {
    random: fastrand::Rng,
    /// Printed when the first random number is drawn.
    seed: Option<u64>,
    stop: Stop,
    rounds: u64,
    left: u64,
    pace: f64,
}

impl Run {
    pub(crate) fn new(common: &Common, stop: Stop) -> Self {
        let seed = common.seed.unwrap_or_else(|| fastrand::u64(1..1_000_000_000));
        let (random, seed) = (fastrand::Rng::with_seed(seed), Some(seed));
        Self { random, seed, stop, rounds: common.rounds, left: common.rounds, pace: common.pace }
    }

    /// Returns a run for another thread, with random numbers derived from those of this one.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        let random = self.random.fork();
        Self {
            random,
            seed: None,
            stop: self.stop.clone(),
            rounds: self.rounds,
            left: self.left,
            pace: self.pace,
        }
    }

    /// Returns the random number generator, seeded by `--seed`. Prints the seed on the first call.
    pub fn random(&mut self) -> &mut fastrand::Rng {
        if let Some(seed) = self.seed.take() {
            tprint!("Seed", seed);
        }
        &mut self.random
    }

    /// Starts another round if one is due: `--rounds` in total, or without limit; none if the example must stop.
    pub fn next_round(&mut self) -> bool {
        if !self.has_rounds() {
            return false;
        }
        self.left = self.left.saturating_sub(1);
        true
    }

    /// Whether `next_round` would start one.
    #[must_use]
    pub fn has_rounds(&self) -> bool {
        !self.stopping() && (self.rounds == 0 || self.left > 0)
    }

    /// Whether the example must end.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stop.is_requested()
    }

    /// The handle that tells the example to stop.
    #[must_use]
    pub const fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Waits this many seconds, scaled by `--pace`. Returns false, and at once, if the example must stop.
    pub fn pause(&self, seconds: f64) -> bool {
        !self.stop.wait(Duration::from_secs_f64((seconds * self.pace).clamp(0.0, 1e6)))
    }

    /// Scales this many milliseconds by `--pace`; at least 1.
    #[must_use]
    pub fn paced(&self, milliseconds: u32) -> u32 {
        let paced = Duration::from_millis(milliseconds.into()).mul_f64(self.pace);
        u32::try_from(paced.as_millis()).unwrap_or(u32::MAX).max(1)
    }
}
