//! Requests and replies with a known peer.

use super::super::figure::{Result, as_f64};
use super::driven::{Driven, Used};
use super::find::two_nodes;
use super::spread_of;
use super::which::Peer;

/// How many requests are a round.
const TIMES: usize = 400;

pub(super) fn print(peers: &[&Peer], rounds: usize) {
    println!("### ask: a request and its reply, the peer is known\n");
    println!(
        "| peer | settings | a request and its reply | CPU of the asker, of the other | frames | bytes |\n|---|---|---|--:|--:|--:|"
    );
    for peer in peers {
        if let Err(error) = rows(peer, rounds) {
            println!("| {} | {} | could not be measured: {error} |", peer.name, peer.settings);
        }
    }
}

fn rows(peer: &Peer, rounds: usize) -> Result<()> {
    let (_lab, a, b) = two_nodes()?;
    let mut server = Driven::start(peer, &b)?;
    server.ready("listen")?;
    server.ready("serve 1")?;
    let mut client = Driven::start(peer, &a)?;
    client.ready(&format!("connect {}", b.ula().ok_or("the node has no address")?))?;
    for (how, command) in peer.asks {
        let command = format!("{command} {TIMES}");
        client.ask(&command)?;
        let before = Used::so_far(&mut client, std::iter::once(&mut server))?;
        let mut times = Vec::new();
        for _ in 0..rounds {
            times.push(client.number(&command)? * 1e6 / as_f64(TIMES)?);
        }
        let used = Used::so_far(&mut client, std::iter::once(&mut server))?;
        let used = used.since(before, as_f64(rounds * TIMES)?);
        println!(
            "| {} | {}, {how} | {} | {:.0}, {:.0} µs | {:.1} | {:.0} |",
            peer.name,
            peer.settings,
            spread_of(&mut times, "µs"),
            used.cpu.0 * 1e6,
            used.cpu.1 * 1e6,
            used.frames,
            used.bytes
        );
    }
    Ok(())
}
