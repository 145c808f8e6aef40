//! To find a service on the link and get its first value: by a node that runs already, and from the start of its process. Each
//! time it is another service, which nobody has asked for before.

use std::time::Instant;

use grasptests::lab::{Lab, Node};
use grasptests::nodes::linked;

use super::super::figure::{Result, as_f64};
use super::driven::{Driven, Used};
use super::spread_of;
use super::which::Peer;

pub(super) fn print(peers: &[&Peer], rounds: usize) {
    println!("### find: a service on the link and its first value\n");
    println!(
        "| peer | settings | running node | from the start of its process | failed | CPU of the asker, of the other | frames | bytes | idle node |\n|---|---|---|---|--:|--:|--:|--:|--:|"
    );
    for peer in peers {
        match row(peer, rounds) {
            Ok(row) => println!("{row}"),
            Err(error) => println!("| {} | {} | could not be measured: {error} |", peer.name, peer.settings),
        }
    }
}

fn row(peer: &Peer, rounds: usize) -> Result<String> {
    let (_lab, a, b) = two_nodes()?;
    let mut server = Driven::start(peer, &b)?;
    server.ready("start")?;
    let idle = server.idle()?;
    server.ready(&format!("serve {}", 2 * rounds + 1))?;
    let mut client = Driven::start(peer, &a)?;
    client.ready("start")?;
    // The first one is not counted: it resolves addresses, and loads what is loaded late.
    client.ask(&format!("find {}", 2 * rounds))?;
    let (mut times, mut failed) = (Vec::new(), 0);
    let before = Used::so_far(&mut client, std::iter::once(&mut server))?;
    for number in 0..rounds {
        match client.number(&format!("find {number}")) {
            Ok(seconds) => times.push(seconds * 1e3),
            Err(_) => failed += 1,
        }
    }
    let used = Used::so_far(&mut client, std::iter::once(&mut server))?.since(before, as_f64(rounds)?);
    drop(client);
    let mut fresh = Vec::new();
    for number in rounds..2 * rounds {
        // A daemon of the system runs already.
        if peer.several {
            break;
        }
        let started = Instant::now();
        let mut client = Driven::start(peer, &a)?;
        client.ready("start")?;
        match client.ask(&format!("find {number}")) {
            Ok(_) => fresh.push(started.elapsed().as_secs_f64() * 1e3),
            Err(_) => failed += 1,
        }
    }
    let shown = |times: &mut Vec<f64>| if times.is_empty() { "-".to_owned() } else { spread_of(times, "ms") };
    Ok(format!(
        "| {} | {} | {} | {} | {failed} | {:.2}, {:.2} ms | {:.1} | {:.0} | {:.1} MiB |",
        peer.name,
        peer.settings,
        shown(&mut times),
        shown(&mut fresh),
        used.cpu.0 * 1e3,
        used.cpu.1 * 1e3,
        used.frames,
        used.bytes,
        idle / 1024.0
    ))
}

/// Two nodes on a link, which have IPv4 addresses too.
pub(super) fn two_nodes() -> Result<(Lab, Node, Node)> {
    let (lab, _, a, b) = linked();
    for node in [&a, &b] {
        node.add_ipv4_address("eth0", super::which::ipv4(node), 16)?;
    }
    Ok((lab, a, b))
}
