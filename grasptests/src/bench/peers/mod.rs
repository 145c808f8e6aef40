//! What a user would choose instead of GRASP, doing the same jobs in networks of the lab: `bench --peers`.
//!
//! | file | what |
//! |---|---|
//! | `which` | the peers: their settings, versions and programs, or why they cannot be had |
//! | `ours` | our engine and plain TCP as such programs |
//! | `driven` | a peer's process, and what it and its network have used |
//! | `find`, `ask`, `spread`, `decode` | the jobs |
//!
//! Each side of a job is a process of its own in a node of its own; `decode` needs no network. How they are told what to do is in
//! `grasptests/peers/common/src/lib.rs`.

mod ask;
mod decode;
mod driven;
mod find;
mod ours;
mod spread;
mod which;

use std::path::PathBuf;

use super::figure::{Result, median};
pub(crate) use ours::{play_decoder, play_engine, play_tcp};
pub(crate) use which::Which;

/// The jobs, in the order of the tables.
pub(crate) const JOBS: [&str; 4] = ["find", "ask", "spread", "decode"];

/// What is to be measured.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) jobs: Vec<String>,
    /// The names of the peers; all if empty.
    pub(crate) peers: Vec<String>,
    pub(crate) rounds: usize,
    /// Over how many nodes a value is spread.
    pub(crate) nodes: u16,
    pub(crate) graspy: Option<PathBuf>,
}

/// Measures all that can be had, prints a table for each job, and says what was skipped and why.
pub(crate) fn print(order: &Order, which: &Which) -> Result<()> {
    for job in
        JOBS.iter().filter(|job| order.jobs.is_empty() || order.jobs.iter().any(|wanted| wanted == *job))
    {
        let (peers, skipped) = which.of(job);
        match *job {
            "find" => find::print(&peers, order.rounds),
            "ask" => ask::print(&peers, order.rounds),
            "decode" => decode::print(&peers, order.rounds),
            _ => spread::print(&peers, order.rounds, order.nodes),
        }
        for (name, why) in skipped {
            println!("\n{name} is skipped: {why}");
        }
        println!();
    }
    Ok(())
}

/// What a number of rounds took: their median, and the first and the third quartile.
fn spread_of(times: &mut [f64], unit: &str) -> String {
    let middle = median(times);
    // Sorted by now.
    let quartile = |share: usize| times.get(times.len() * share / 4).copied().unwrap_or(middle);
    let number = |value| super::report::number(value, "").trim_end().to_owned();
    format!("{} {unit} ({} to {})", number(middle), number(quartile(1)), number(quartile(3)))
}
