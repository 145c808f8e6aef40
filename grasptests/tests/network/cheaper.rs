//! Discoveries that relays merge, and that expand, in a lab: with `--nocapture` they print the figures of docs/scaling.md.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use grasp::{Config, Discover, Objective, Stats};
use grasptests::accounts::{assert_accounts, discrepancies};
use grasptests::isolated;
use grasptests::lab::{Lab, LabError, Topology, eventually};
use grasptests::nodes::{Host, SOON, discoverable, synchronizable};

/// The loop count that reaches from corner to corner of the grid.
const FAR: u8 = 8;
/// How long a discovery may take on a busy machine; relays allow 100 ms for each hop.
const PATIENCE: u32 = 8000;

/// A grid of 5 × 5 nodes with links of this delay, and something in its corner.
struct Grid {
    hosts: Vec<Host>,
    _lab: Lab,
}

impl Grid {
    fn new(config: &Config, delay: Duration) -> Result<Self, LabError> {
        let lab = Lab::new()?;
        let network = lab.build(Topology::Grid(5, 5))?;
        if !delay.is_zero() {
            network.links.iter().try_for_each(|link| link.set_impairment(delay, 0.0))?;
        }
        let hosts: Vec<_> = network.nodes.iter().map(|node| Host::start(node, config.clone())).collect();
        Ok(Self { hosts, _lab: lab })
    }

    fn offer(&self, index: usize, name: &str) {
        self.hosts[index].register_with(&synchronizable(name, 1), discoverable());
    }

    /// Discovers from one node; returns how long that took.
    fn discover(&self, index: usize, name: &str) -> Duration {
        let wanted = Objective { loop_count: FAR, ..synchronizable(name, ()) };
        let options = Discover { enough: Some(1), ..Discover::default() };
        let started = Instant::now();
        let found =
            self.hosts[index].run(|engine, asa| engine.discover(asa, &wanted, Some(PATIENCE), options));
        assert!(!found.expect("discover").is_empty(), "node {index} does not find {name}");
        started.elapsed()
    }

    /// All nodes but the first discover what the first offers, each after its part of this time, counted from one moment.
    fn all_discover(&self, name: &str, within: Duration) -> Vec<Duration> {
        let askers = self.hosts.len() - 1;
        let start = Barrier::new(askers);
        let mut times: Vec<_> = std::thread::scope(|scope| {
            let ask = |place: usize| {
                let start = &start;
                move || {
                    start.wait();
                    // Their times are apart; nothing is waited for.
                    std::thread::sleep(within * place as u32 / askers as u32);
                    self.discover(place + 1, name)
                }
            };
            let threads: Vec<_> = (0..askers).map(|place| scope.spawn(ask(place))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        times.sort();
        times
    }

    fn sum(&self, of: fn(&Stats) -> u64) -> u64 {
        self.hosts.iter().map(|host| of(&host.engine.stats())).sum()
    }

    /// Waits until all that was sent has been received at both ends of its link and decided about, and no relay is open.
    fn at_rest(&self) {
        let is_decided = |host: &Host| {
            let open = host.engine.open_sessions();
            open == 0 && discrepancies(&host.engine.stats(), open).is_empty()
        };
        eventually(SOON, "all relays end", || {
            let sent = self.sum(|stats| stats.multicast_sent);
            self.hosts.iter().all(is_decided)
                && self.sum(|stats| stats.multicast_received) == 2 * sent
                && self.sum(|stats| stats.multicast_sent) == sent
        });
    }

    fn assert_accounts(&self) {
        self.at_rest();
        self.hosts.iter().for_each(|host| assert_accounts(&host.engine));
    }
}

/// What some discoveries have cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    datagrams: u64,
    relayed: u64,
    merged: u64,
    after_all: u64,
    from_caches: u64,
}

impl Cost {
    fn of(grid: &Grid) -> Self {
        grid.at_rest();
        Self {
            datagrams: grid.sum(|stats| stats.multicast_sent),
            relayed: grid.sum(|stats| stats.discoveries_relayed),
            merged: grid.sum(|stats| stats.not_relayed_merged),
            after_all: grid.sum(|stats| stats.merged_relayed),
            // All but what the provider answers.
            from_caches: grid.sum(|stats| stats.discoveries_answered)
                - grid.hosts[0].engine.stats().discoveries_answered,
        }
    }
}

fn burst(window: u32, delay: Duration, within: Duration) -> Result<Cost, LabError> {
    let grid = Grid::new(&Config::new().merge_window(window), delay)?;
    grid.offer(0, "EX1");
    let times = grid.all_discover("EX1", within);
    let cost = Cost::of(&grid);
    let Cost { datagrams, relayed, merged, after_all, from_caches } = cost;
    let (half, all) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "links of {delay:?}, within {within:?}, window {window} ms: {datagrams} datagrams, {relayed} relayed, {merged} merged, \
         {after_all} of these relayed then, {from_caches} from caches, half in {half:.0?}, all in {all:.0?}"
    );
    grid.assert_accounts();
    Ok(cost)
}

#[test]
fn equal_discoveries_of_a_whole_grid_are_merged_and_everyone_finds() -> Result<(), LabError> {
    isolated!();
    let slow = Duration::from_millis(5);
    let [alone, merged] = [0, 100].map(|window| burst(window, slow, Duration::ZERO));
    let (alone, merged) = (alone?, merged?);
    assert_eq!((alone.merged, alone.after_all), (0, 0));
    assert!(merged.merged > 0 && merged.relayed < alone.relayed, "{alone:?} {merged:?}");
    Ok(())
}

/// ```text
///   near ---+--- relay --- next --- server
///   other --+
/// ```
/// What the first asks does not reach the server, and stands for nothing that goes farther.
#[test]
fn a_discovery_with_a_larger_loop_count_is_merged_with_none() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let nodes: Vec<_> = ["near", "other", "relay", "next", "server"]
        .iter()
        .map(|name| lab.node(name))
        .collect::<Result<_, _>>()?;
    lab.lan(&[&nodes[0], &nodes[1], &nodes[2]])?;
    lab.link(&nodes[2], &nodes[3])?;
    lab.link(&nodes[3], &nodes[4])?;
    let config = Config::new().merge_window(60_000);
    let hosts: Vec<_> = nodes.iter().map(|node| Host::start(node, config.clone())).collect();
    hosts[4].register_with(&synchronizable("EX1", 1), discoverable());
    let ask = |host: &Host, name: &str, loop_count| {
        let wanted = Objective { loop_count, ..synchronizable(name, ()) };
        let options = Discover { enough: Some(1), ..Discover::default() };
        host.run(|engine, asa| engine.discover(asa, &wanted, Some(u32::from(loop_count) * 100), options))
            .expect("discover")
            .len()
    };
    let relay = || hosts[2].engine.stats();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| ask(&hosts[0], "EX1", 2));
        eventually(SOON, "the first is relayed", || relay().discoveries_relayed == 1);
        // Three hops; the rest of its time is for a busy machine.
        assert_eq!(ask(&hosts[1], "EX1", 20), 1);
        assert_eq!(first.join().expect("no panic"), 0);
    });
    assert_eq!(relay().not_relayed_merged, 0);
    // The other way round it is merged: whom it reaches the first has reached, too.
    std::thread::scope(|scope| {
        let first = scope.spawn(|| ask(&hosts[0], "nobody has this", 50));
        eventually(SOON, "the first is relayed", || relay().discoveries_relayed == 3);
        assert_eq!(ask(&hosts[1], "nobody has this", 2), 0);
        assert_eq!(relay().not_relayed_merged, 1);
        assert_eq!(first.join().expect("no panic"), 0);
    });
    Ok(())
}

/// Prints what docs/scaling.md has, and takes a minute.
#[test]
#[ignore = "a measurement"]
fn figures_of_merging() -> Result<(), LabError> {
    isolated!();
    for delay in [0, 5, 20].map(Duration::from_millis) {
        for within in [0, 20].map(Duration::from_millis) {
            for window in [0, 50, 100] {
                burst(window, delay, within)?;
            }
        }
    }
    Ok(())
}

/// The node that is so many hops from the corner, along the edge and then down.
const fn at(hops: usize) -> usize {
    if hops < 5 { hops } else { 4 + (hops - 4) * 5 }
}

fn one(expanding: bool, hops: usize) -> Result<(u64, Duration), LabError> {
    let grid = Grid::new(&Config::new().expanding_discovery(expanding), Duration::ZERO)?;
    grid.offer(at(hops), "EX1");
    let time = grid.discover(0, "EX1");
    grid.at_rest();
    let datagrams = grid.sum(|stats| stats.multicast_sent);
    println!("{hops} hops, expanding {expanding}: {datagrams} datagrams, {time:?}");
    grid.assert_accounts();
    Ok((datagrams, time))
}

#[test]
fn an_expanding_discovery_finds_what_is_near_without_asking_everyone_and_what_is_far_too()
-> Result<(), LabError> {
    isolated!();
    let everyone = one(false, 1)?.0;
    // The first question waits for 50 ms. On a busy machine that may be too short, and the next one goes farther.
    let near = std::iter::repeat_with(|| one(true, 1)).take(20);
    let at_once = near.filter_map(Result::ok).find(|(_, time)| *time < Duration::from_millis(40));
    assert_eq!(at_once.map(|(datagrams, _)| datagrams), Some(2), "the two links of the corner");
    assert!(everyone > 20, "{everyone}");
    one(true, 8)?;
    Ok(())
}

/// Prints what docs/scaling.md has.
#[test]
#[ignore = "a measurement"]
fn figures_of_expanding() -> Result<(), LabError> {
    isolated!();
    for hops in [1, 2, 3, 5, 8] {
        for expanding in [false, true] {
            one(expanding, hops)?;
        }
    }
    Ok(())
}
