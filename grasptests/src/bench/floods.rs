//! Floods: what a relay adds to their way, how many are taken up in a second, and how long they take to reach
//! everybody in a network of a hundred nodes.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use grasp::wire::{Body, Flood, WireObjective};
use grasp::{Config, Objective, TaggedObjective};
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, Node, RawUdp, Topology};
use grasptests::nodes::{Host, linked, synchronizable};

use super::figure::{Aim, Figure, Result, alternate, median, median_time};
use super::pair::bytes;

/// The port of the bare sockets: not GRASP's, so that the engine does not hear them.
const PORT: u16 = 7117;
/// How many floods are relayed in a round: all rounds stay within the burst that a relay grants a neighbour.
const RELAYED: usize = 60;
/// How many floods are taken up in a round.
const TAKEN: u32 = 6000;
/// How many of them may be on their way: fewer than the engine's queue and the socket's buffer hold, because what is
/// lost is no measurement.
const ON_THEIR_WAY: u32 = 256;
/// How long is waited for what has to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it takes a bare socket at most to notice that the measurement is over.
const NOTICE: Duration = Duration::from_millis(100);

/// The time from sending a flood on one link to hearing it on the next, through an engine that relays it and through
/// a bare forwarder.
pub(crate) fn hop(name: &str, rounds: usize) -> Result<Figure> {
    let lab = Lab::new()?;
    let nodes = lab.build(Topology::Line(3))?.nodes;
    let [a, b, c] = nodes.as_slice() else { return Err("not three nodes".into()) };
    let relay = Host::start(b, Config::new());
    let stopping = Arc::new(AtomicBool::new(false));
    forward(b, &stopping)?;
    let sender = RawUdp::open(a, "eth0", a.link_local("eth0")?, 0)?;
    let initiator = a.ula().ok_or("the node has no address")?.into();
    let number = AtomicU32::new(1);
    let over = |port: u16| -> Result<_> {
        let ear = ear(c, port)?;
        ear.socket().set_read_timeout(Some(PATIENCE))?;
        let (sender, number) = (&sender, &number);
        Ok(move || {
            median_time(RELAYED, Duration::ZERO, || {
                let flood = flood(number.fetch_add(1, Ordering::Relaxed), initiator, "EX1");
                sender.send(&flood, ALL_GRASP_NEIGHBORS, port)?;
                let mut chunk = [0; 2048];
                match ear.socket().recv(&mut chunk)? {
                    count if count == flood.len() => Ok(()),
                    _ => Err("another datagram was heard".into()),
                }
            })
        })
    };
    let figure =
        alternate((name, "µs", Aim::RatioAtMost(1.5)), rounds, over(GRASP_LISTEN_PORT)?, over(PORT)?);
    stopping.store(true, Ordering::Relaxed);
    relay.engine.shutdown();
    figure
}

/// Sends what comes to the first interface of a node out of the second.
fn forward(node: &Node, stopping: &Arc<AtomicBool>) -> Result<()> {
    let ear = ear(node, PORT)?;
    ear.socket().set_read_timeout(Some(NOTICE))?;
    let mouth = RawUdp::open(node, "eth1", node.link_local("eth1")?, 0)?;
    let stop = Arc::clone(stopping);
    node.spawn("bare-forward", move || {
        let mut chunk = [0; 2048];
        while !stop.load(Ordering::Relaxed) {
            if let Ok((count, _)) = ear.socket().recv_from(&mut chunk) {
                // What is not forwarded is missed, and the measurement fails.
                let _ = mouth.send(chunk.get(..count).unwrap_or_default(), ALL_GRASP_NEIGHBORS, PORT);
            }
        }
    });
    Ok(())
}

fn ear(node: &Node, port: u16) -> Result<RawUdp> {
    let ear = RawUdp::open(node, "eth0", Ipv6Addr::UNSPECIFIED, port)?;
    ear.join(ALL_GRASP_NEIGHBORS)?;
    Ok(ear)
}

/// The bytes of a flood.
fn flood(session: u32, initiator: IpAddr, name: &str) -> Vec<u8> {
    let objective = WireObjective::from_objective(&synchronizable(name, 47));
    bytes(Body::Flood(Flood { session, initiator, ttl: 60_000, objectives: vec![(objective, None)] }))
}

/// How many floods of distinct names are cached in a second; the floor is receiving the datagrams.
pub(crate) fn handled(name: &str, rounds: usize) -> Result<Figure> {
    handled_by(name, Config::new(), rounds)
}

/// The same with settings of one's own.
pub(crate) fn handled_by(name: &str, config: Config, rounds: usize) -> Result<Figure> {
    let (_lab, _, a, b) = linked();
    let receiver = Host::start(&b, config);
    let stopping = Arc::new(AtomicBool::new(false));
    let received = count(&b, &stopping)?;
    let sender = RawUdp::open(&a, "eth0", a.link_local("eth0")?, 0)?;
    let initiator = a.ula().ok_or("the node has no address")?.into();
    let session = AtomicU32::new(1);
    let send = |port: u16, done: &dyn Fn() -> u64| {
        let first = session.fetch_add(TAKEN, Ordering::Relaxed);
        // Made before: what is measured is taking them up.
        let floods: Vec<_> = (first..first + TAKEN).map(|n| flood(n, initiator, &format!("EX{n}"))).collect();
        rate(&floods, done, |flood| Ok(sender.send(flood, ALL_GRASP_NEIGHBORS, port)?))
    };
    let figure = alternate(
        (name, "/s", Aim::RatioAtLeast(0.5)),
        rounds,
        || send(GRASP_LISTEN_PORT, &|| receiver.engine.stats().flood_entries_cached),
        || send(PORT, &|| received.load(Ordering::Relaxed)),
    );
    stopping.store(true, Ordering::Relaxed);
    receiver.engine.shutdown();
    figure
}

/// Counts what a bare socket on a node receives.
fn count(node: &Node, stopping: &Arc<AtomicBool>) -> Result<Arc<AtomicU64>> {
    let ear = ear(node, PORT)?;
    ear.socket().set_read_timeout(Some(NOTICE))?;
    SockBuffer::enlarge(&ear)?;
    let received = Arc::new(AtomicU64::new(0));
    let (counter, stop) = (Arc::clone(&received), Arc::clone(stopping));
    node.spawn("bare-receive", move || {
        let mut chunk = [0; 2048];
        while !stop.load(Ordering::Relaxed) {
            if ear.socket().recv_from(&mut chunk).is_ok() {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    Ok(received)
}

/// The receive buffer that the engine asks for too.
struct SockBuffer;

impl SockBuffer {
    fn enlarge(ear: &RawUdp) -> Result<()> {
        Ok(socket2::SockRef::from(ear.socket()).set_recv_buffer_size(1 << 20)?)
    }
}

/// Sends datagrams and returns how many a second are done with. None may be lost.
fn rate(datagrams: &[Vec<u8>], done: &dyn Fn() -> u64, send: impl Fn(&[u8]) -> Result<()>) -> Result<f64> {
    let (before, started) = (done(), Instant::now());
    let mut progress = (before, Instant::now());
    let mut wait_for = |least: u64| -> Result<()> {
        loop {
            let now = done();
            if now >= least {
                return Ok(());
            }
            if now > progress.0 {
                progress = (now, Instant::now());
            } else if progress.1.elapsed() > PATIENCE {
                return Err(format!("{} datagrams were lost", least - now).into());
            }
            thread::sleep(Duration::from_micros(50));
        }
    };
    for (number, datagram) in (before..).zip(datagrams) {
        if number % u64::from(ON_THEIR_WAY / 2) == 0 {
            wait_for(number.saturating_sub(u64::from(ON_THEIR_WAY / 2)).max(before))?;
        }
        send(datagram)?;
    }
    let count = u32::try_from(datagrams.len())?;
    wait_for(before + u64::from(count))?;
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

/// How long a flood takes to reach all of a hundred nodes in a grid, from one corner.
pub(crate) fn network(name: &str, rounds: usize) -> Result<Figure> {
    const SIDE: u16 = 10;
    let lab = Lab::new()?;
    let nodes = lab.build(Topology::Grid(SIDE, SIDE))?.nodes;
    let hosts: Vec<_> = nodes.iter().map(|node| Host::start(node, Config::new())).collect();
    let corner = hosts.first().ok_or("no nodes")?;
    let mut times = Vec::new();
    for round in 0..rounds {
        // The shortest way to the far corner is 18 hops. The copy that comes first need not have come the shortest way:
        // while a node waits for a processor, others pass a copy around it, and each node passes on one only.
        let objective = Objective { loop_count: u8::MAX, ..synchronizable(&format!("EX{round}"), 47) };
        corner.register(&objective);
        let started = Instant::now();
        corner.engine.flood(corner.asa, 60_000, &[TaggedObjective::new(objective.clone(), None)])?;
        for host in &hosts {
            while host.engine.get_flood(host.asa, &objective)?.is_empty() {
                if started.elapsed() > PATIENCE {
                    return Err(format!("the flood did not reach {}", host.node.name()).into());
                }
                thread::sleep(Duration::from_micros(100));
            }
        }
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    for host in &hosts {
        host.engine.shutdown();
    }
    Ok(Figure::plain(name, "ms", Aim::Report, median(&mut times)))
}
