//! To spread a value to many nodes on one link, a process each.

use std::thread;
use std::time::Duration;

use grasptests::lab::{Lab, Topology};

use super::super::figure::{Result, as_f64};
use super::driven::{Driven, Used};
use super::spread_of;
use super::which::{Peer, ipv4};

/// The pause between two values: what else is sent because of one has been sent by then.
const PAUSE: Duration = Duration::from_secs(1);
/// How long nodes are left alone that have found each other.
const SETTLED: Duration = Duration::from_secs(3);

pub(super) fn print(peers: &[&Peer], rounds: usize, nodes: u16) {
    println!("### spread: a value to {nodes} nodes\n");
    println!(
        "| peer | settings | until the last node has it | missed | CPU of the first, of all others | frames | bytes | the same at rest, a second | memory of a node |\n|---|---|---|--:|--:|--:|--:|---|--:|"
    );
    for peer in peers {
        match row(peer, rounds, nodes) {
            Ok(row) => println!("{row}"),
            Err(error) => println!("| {} | {} | could not be measured: {error} |", peer.name, peer.settings),
        }
    }
}

fn row(peer: &Peer, rounds: usize, count: u16) -> Result<String> {
    let lab = Lab::new()?;
    let nodes = lab.build(Topology::Lan(count))?.nodes;
    let mut all = Vec::new();
    for node in &nodes {
        node.add_ipv4_address("eth0", ipv4(node), 16)?;
        all.push(Driven::start(peer, node)?);
    }
    let first = nodes.first().and_then(grasptests::lab::Node::ula).ok_or("no address")?;
    let role = |place: usize| if place == 0 { "first" } else { "other" };
    for (place, driven) in all.iter_mut().enumerate() {
        let own = driven.node.ula().ok_or("no address")?;
        driven.tell(&format!("join {first} {count} {} {own}", role(place)))?;
        // The others look for it.
        if place == 0 {
            ready(driven)?;
        }
    }
    all.iter_mut().skip(1).try_for_each(ready)?;
    for (place, driven) in all.iter_mut().enumerate() {
        driven.tell(&format!("whole {count} {}", role(place)))?;
    }
    all.iter_mut().try_for_each(ready)?;
    thread::sleep(SETTLED);
    let (Some((first, others)), length) = (all.split_first_mut(), as_f64(rounds)?) else {
        return Err("no nodes".into());
    };

    let before = Used::so_far(first, others.iter_mut())?;
    thread::sleep(SETTLED);
    let resting = Used::so_far(first, others.iter_mut())?.since(before, SETTLED.as_secs_f64());
    let before = Used::so_far(first, others.iter_mut())?;
    let (mut times, mut missed) = (Vec::new(), 0);
    for number in 0..rounds {
        let began = first.number(&format!("spread {number}"))?;
        thread::sleep(PAUSE);
        let mut last = began;
        for other in others.iter_mut() {
            match other.number(&format!("heard {number}")) {
                Ok(heard) => last = last.max(heard),
                Err(_) => missed += 1,
            }
        }
        times.push((last - began) / 1e6);
    }
    let used = Used::so_far(first, others.iter_mut())?.since(before, length);
    let memory = others.iter_mut().next().ok_or("no other node")?.idle()?;
    Ok(format!(
        "| {} | {} | {} | {missed} | {:.2}, {:.1} ms | {:.0} | {:.0} | {:.0} frames, {:.1} ms | {:.1} MiB |",
        peer.name,
        peer.settings,
        spread_of(&mut times, "ms"),
        used.cpu.0 * 1e3,
        used.cpu.1 * 1e3,
        used.frames,
        used.bytes,
        resting.frames,
        (resting.cpu.0 + resting.cpu.1) * 1e3,
        memory / 1024.0
    ))
}

fn ready(driven: &mut Driven) -> Result<()> {
    match driven.answer()? {
        answer if answer == "ready" => Ok(()),
        answer => Err(answer.into()),
    }
}
