//! Where a network saturates: `bench --saturation` has one node flood values of 1 kB at growing rates through a grid, by the
//! default rates of relays and without them, and says how many arrive and where the others were dropped.

use std::thread;
use std::time::{Duration, Instant};

use grasp::config::Rate;
use grasp::{Config, Objective, Stats, TaggedObjective, Value};
use grasptests::lab::{Lab, Topology, eventually};
use grasptests::nodes::{Host, SOON, synchronizable};

use super::figure::{Result, as_f64};
use super::process::raise_descriptors;

/// How many floods a second are tried.
const RATES: [u32; 7] = [5, 20, 50, 100, 200, 500, 1000];
/// How long each rate is kept up: long enough for the bursts that the rates allow to be over.
const TIME: Duration = Duration::from_secs(20);
/// How many objectives the node floods, in turns.
const NAMES: u32 = 100;
/// The bytes of each value.
const SIZE: usize = 1000;
/// How often engines ask the system what it has dropped.
const LOOK: Duration = Duration::from_millis(500);
/// After this time without a change everything is over.
const QUIET: Duration = Duration::from_millis(1500);

const HEADING: &str = "\
| relays' rates | floods a second | arrived | not relayed: rate | no room in a queue | in a socket's buffer | not sent | on links | not accounted for | processors | over after |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|";

/// Prints the table for a grid of about so many nodes.
pub(crate) fn print(nodes: u16) -> Result<()> {
    raise_descriptors()?;
    let side = nodes.isqrt();
    println!("A grid of {side} x {side} nodes; the drops are sums over all of them.\n\n{HEADING}");
    for (label, unlimited) in [("default", false), ("none", true)] {
        for rate in RATES {
            println!("{}", row(label, unlimited, side, rate)?);
        }
    }
    Ok(())
}

/// A network, and one engine in each node.
struct Grid {
    lab: Lab,
    hosts: Vec<Host>,
}

impl Grid {
    fn start(side: u16, unlimited: bool) -> Result<Self> {
        let lab = Lab::new()?;
        let nodes = lab.build(Topology::Grid(side, side))?.nodes;
        let most = Rate::new(1_000_000, 1_000_000);
        let config = Config::new().watch_interval(LOOK);
        let config =
            if unlimited { config.flood_relay_rate(most).neighbour_flood_relay_rate(most) } else { config };
        let hosts = nodes.iter().map(|node| Host::start(node, config.clone())).collect();
        Ok(Self { lab, hosts })
    }

    fn sum(&self, count: impl Fn(&Stats) -> u64) -> u64 {
        self.hosts.iter().map(|host| count(&host.engine.stats())).sum()
    }

    /// Waits until nothing changes any more, and returns since when.
    fn rest(&self) -> Instant {
        let everything = |stats: &Stats| {
            stats.multicast_sent + stats.multicast_received + stats.receive_overflows + stats.floods_received
        };
        let mut last = (self.sum(everything), Instant::now());
        while last.1.elapsed() < QUIET {
            thread::sleep(Duration::from_millis(50));
            let now = self.sum(everything);
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
        last.1
    }
}

fn row(label: &str, unlimited: bool, side: u16, rate: u32) -> Result<String> {
    let grid = Grid::start(side, unlimited)?;
    let (corner, others) = grid.hosts.split_first().ok_or("no nodes")?;
    let floods: Vec<_> = (0..NAMES).map(|number| objective(&format!("EX{number}"))).collect();
    floods.iter().for_each(|flooded| corner.register(flooded));
    let flood = |flooded: &Objective| {
        corner.engine.flood(corner.asa, 60_000, &[TaggedObjective::new(flooded.clone(), None)])
    };
    // All are there when all have the first one.
    floods.first().map(flood).ok_or("no objectives")??;
    for other in others {
        eventually(SOON, "the first flood has arrived", || other.engine.stats().floods_received > 0);
    }
    grid.rest();
    let (links, cpu, started) = (grid.lab.frames_dropped()?, super::negotiation::used()?, Instant::now());
    let mut sent = 1_u32;
    while started.elapsed() < TIME {
        let due = Duration::from_secs(1) * sent / rate;
        thread::sleep(due.saturating_sub(started.elapsed()));
        let place = usize::try_from(sent % NAMES)?;
        flood(floods.get(place).ok_or("no such objective")?)?;
        sent += 1;
    }
    let ended = Instant::now();
    let rest = grid.rest();
    let cpu = (super::negotiation::used()? - cpu) / 1e6 / (rest - started).as_secs_f64();
    let on_links = grid.lab.frames_dropped()? - links;
    // Both ends of a link hear what is sent there: the sender hears itself.
    let due = 2 * grid.sum(|stats| stats.multicast_sent);
    let came = grid.sum(|stats| stats.multicast_received + stats.receive_overflows);
    let arrived: u64 = others
        .iter()
        .map(|host| host.engine.stats())
        .map(|stats| stats.floods_received - stats.duplicate_floods)
        .sum();
    let share = as_f64(usize::try_from(arrived)?)? / (f64::from(sent) * as_f64(others.len())?);
    let row = format!(
        "| {label} | {:.0} | {:.1} % | {} | {} | {} | {} | {on_links} | {} | {cpu:.2} | {:.1} s |",
        f64::from(sent) / (ended - started).as_secs_f64(),
        share * 100.0,
        grid.sum(|stats| stats.dropped_flood_rate),
        grid.sum(|stats| stats.dropped_queue_full),
        grid.sum(|stats| stats.receive_overflows),
        grid.sum(|stats| stats.multicast_send_failed),
        due.saturating_sub(came + on_links),
        rest.saturating_duration_since(ended).as_secs_f64(),
    );
    grid.hosts.iter().for_each(|host| host.engine.shutdown());
    Ok(row)
}

fn objective(name: &str) -> Objective {
    Objective { loop_count: u8::MAX, ..synchronizable(name, Value::Bytes(vec![7; SIZE])) }
}
