//! To decode messages into types that own all their content, one thread, no network: each vector of `grasptests/vectors` in turns by
//! all. What a peer has decoded is compared with what ours has, as text, before its speed is measured.

use super::super::codec::vectors;
use super::super::figure::{Result, median};
use super::super::process::Process;
use super::super::report;
use super::which::Peer;

pub(super) fn print(peers: &[&Peer], rounds: usize) {
    println!("### decode: messages into types that own their content\n");
    if let Err(error) = table(peers, rounds) {
        println!("could not be measured: {error}");
    }
}

/// The first peer is what the others are compared with.
fn table(peers: &[&Peer], rounds: usize) -> Result<()> {
    if peers.is_empty() {
        return Ok(());
    }
    let mut running =
        peers.iter().map(|peer| Process::start(peer.local_command())).collect::<Result<Vec<_>>>()?;
    let name = |peer: &&Peer| format!("{}, {}", peer.name, peer.settings);
    let names: Vec<_> = peers.iter().map(name).collect();
    println!("| message | bytes | {} |", names.join(" | "));
    println!("|---|--:{}|", "|--:".repeat(peers.len()));
    let mut rows = Vec::new();
    for (vector, bytes) in vectors()? {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut shown = Vec::new();
        for process in &mut running {
            shown.push(answer(process, &format!("show {digits}"))?);
        }
        if let Some((first, other)) =
            shown.iter().find_map(|one| shown.first().filter(|first| *first != one).zip(Some(one)))
        {
            return Err(format!("{vector} is {first} or {other}").into());
        }
        let row = Row::measure(&mut running, &format!("decode {digits}"), rounds)?;
        println!("| {vector} | {} | {} |", bytes.len(), row.cells());
        rows.push(row);
    }
    println!("| **median** | | {} |", Row::middle(&rows, peers.len()).cells());
    Ok(())
}

/// For each peer, messages a second, and the median of what this is in proportion to the first peer's in the same round.
struct Row(Vec<(f64, f64)>);

impl Row {
    fn measure(running: &mut [Process], command: &str, rounds: usize) -> Result<Self> {
        let mut rates = vec![Vec::new(); running.len()];
        let mut shares = rates.clone();
        // A first round, which warms everything up, is not counted.
        for round in 0..=rounds {
            let mut first = None;
            for ((process, rates), shares) in running.iter_mut().zip(&mut rates).zip(&mut shares) {
                let rate: f64 = answer(process, command)?.parse()?;
                let share = rate / *first.get_or_insert(rate);
                if round > 0 {
                    rates.push(rate);
                    shares.push(share);
                }
            }
        }
        Ok(Self(
            rates
                .iter_mut()
                .zip(&mut shares)
                .map(|(rates, shares)| (median(rates), median(shares)))
                .collect(),
        ))
    }

    /// The medians of all rows.
    fn middle(rows: &[Self], peers: usize) -> Self {
        let of = |peer: usize, part: fn(&(f64, f64)) -> f64| {
            median(&mut rows.iter().filter_map(|row| row.0.get(peer).map(part)).collect::<Vec<_>>())
        };
        Self((0..peers).map(|peer| (of(peer, |cell| cell.0), of(peer, |cell| cell.1))).collect())
    }

    fn cells(&self) -> String {
        let cell = |(place, (rate, share)): (usize, &(f64, f64))| {
            let millions = report::number(rate / 1e6, "M/s");
            if place == 0 { millions } else { format!("{millions} ({share:.2})") }
        };
        self.0.iter().enumerate().map(cell).collect::<Vec<_>>().join(" | ")
    }
}

fn answer(process: &mut Process, command: &str) -> Result<String> {
    process.say(command)?;
    let answer = process.line()?;
    match answer.strip_prefix("failed") {
        Some(reason) => Err(format!("{command}: {}", reason.trim()).into()),
        None => Ok(answer),
    }
}
