//! One flood, or one discovery, in a network where nothing else happens: who is reached, by how many messages,
//! when.

use grasp::{Config, Error, Objective, Stats};

use super::network::{Network, Quality, Tally};
use super::random::Random;
use super::topology::Topology;

/// What is flooded, and what is looked for.
pub const NAME: &str = "EX1";
/// No run lasts longer, in microseconds of virtual time.
pub const LIMIT: u64 = 600_000_000;
/// The port of what is looked for.
const PORT: u16 = 4711;

/// What all runs in one network have in common.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// The network.
    pub topology: &'a Topology,
    /// The nodes' configuration.
    pub config: Config,
    /// How its links are.
    pub quality: Quality,
    /// The loop count of what is flooded and looked for.
    pub loop_count: u8,
    /// Of the network's own random decisions.
    pub seed: u64,
}

impl Setting<'_> {
    /// The nodes, before anything happens.
    #[must_use]
    pub fn network(&self) -> Network {
        Network::new(self.topology, &self.config, self.quality, Random::new(self.seed))
    }

    /// An objective with the loop count.
    #[must_use]
    pub fn objective(&self, name: &str) -> Objective {
        let mut objective = Objective::new(name);
        objective.synch = true;
        objective.loop_count = self.loop_count;
        objective
    }
}

/// What the links have carried, as counts of datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Datagrams in all.
    pub datagrams: u64,
    /// Datagrams for each link in the mean.
    pub mean: f64,
    /// The most on one link.
    pub most: u64,
    /// The most on one link from one sender, which is in one direction.
    pub most_one_way: u64,
}

impl Traffic {
    pub(super) fn of(tally: &Tally) -> Self {
        let links: Vec<u64> = tally.sent.iter().map(|senders| senders.iter().sum()).collect();
        let datagrams = links.iter().sum();
        Self {
            datagrams,
            mean: datagrams as f64 / links.len().max(1) as f64,
            most: links.iter().copied().max().unwrap_or(0),
            most_one_way: tally.sent.iter().flatten().copied().max().unwrap_or(0),
        }
    }
}

/// The figures of one flood.
#[derive(Clone, Debug, PartialEq)]
pub struct FloodFigures {
    /// Nodes with the value in their flood cache, the source among them.
    pub reached: usize,
    /// The most hops to one of them.
    pub hops: u32,
    /// What the links have carried.
    pub traffic: Traffic,
    /// When the last node was reached, in microseconds.
    pub time: u64,
    /// When nothing was left to do, in microseconds; `None` if there still was something at [`LIMIT`].
    pub end: Option<u64>,
    /// The counters of all nodes, added up.
    pub stats: Counts,
}

/// Floods from one node.
///
/// # Errors
/// Those of a flood.
pub fn flood(setting: &Setting<'_>, source: usize) -> Result<FloodFigures, Error> {
    let mut network = setting.network();
    network.flood_at(0, source, setting.objective(NAME), 0);
    let ended = network.run(LIMIT)?;
    let now = network.now_ms();
    Ok(FloodFigures {
        reached: network.nodes().filter(|(_, node)| node.flooded(NAME, now) > 0).count(),
        hops: network.tally.hops.iter().flatten().flatten().max().map_or(0, |hops| hops.get().into()),
        traffic: Traffic::of(&network.tally),
        time: network.tally.last_news,
        end: ended.then_some(network.now()),
        stats: Counts::of(&network),
    })
}

/// The figures of one discovery.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscoveryFigures {
    /// Whether the asker knows a locator in the end.
    pub found: bool,
    /// Nodes that the question has reached, the asker among them.
    pub reached: usize,
    /// Discoveries relayed, and the most that one node has relayed.
    pub relays: (u64, u64),
    /// What the links have carried, responses not counted.
    pub traffic: Traffic,
    /// Responses sent.
    pub responses: u64,
    /// Over how many hops the first answer came; a relay that had it cached is nearer than the responder.
    pub hops: Option<u32>,
    /// When the first answer came, in microseconds.
    pub time: Option<u64>,
    /// When nothing was left to do, in microseconds; `None` if there still was something at [`LIMIT`].
    pub end: Option<u64>,
    /// Sessions, relays and responses that are open at the end.
    pub open: usize,
    /// The most multicasts that a node remembers, and the most relays that it had open at a time.
    pub memory: (usize, usize),
    /// The counters of all nodes, added up.
    pub stats: Counts,
}

/// Discovers from one node what the responders offer.
///
/// # Errors
/// Those of a discovery.
pub fn discover(
    setting: &Setting<'_>,
    asker: usize,
    responders: &[usize],
    timeout: Option<u32>,
) -> Result<DiscoveryFigures, Error> {
    let mut network = setting.network();
    for responder in responders {
        network.node(*responder).offer(&setting.objective(NAME), PORT)?;
    }
    network.discover_at(0, asker, setting.objective(NAME), timeout);
    let ended = network.run(LIMIT)?;
    let now = network.now_ms();
    let relayed: Vec<u64> = network.nodes().map(|(_, node)| node.stats().discoveries_relayed).collect();
    let found = !network.node(asker).found(NAME, now).is_empty();
    let first = network.tally.found.first();
    let hops = network.tally.hops.iter().flatten().enumerate();
    Ok(DiscoveryFigures {
        found,
        reached: hops.filter(|(node, hops)| *node == asker || hops.is_some()).count(),
        relays: (relayed.iter().sum(), relayed.iter().copied().max().unwrap_or(0)),
        traffic: Traffic::of(&network.tally),
        responses: network.tally.responses,
        hops: first.map(|(_, _, hops)| *hops),
        time: first.map(|(time, ..)| *time),
        end: ended.then_some(network.now()),
        open: open(&network),
        memory: memory(&network),
        stats: Counts::of(&network),
    })
}

/// What is open in a network: sessions, relays, responses on their way.
#[must_use]
pub fn open(network: &Network) -> usize {
    let of = |node: &grasp::simulation::SimulatedNode| {
        node.open_sessions() + node.relays().0 + node.responses_on_their_way()
    };
    network.nodes().map(|(_, node)| of(node)).sum()
}

/// The most multicasts that a node remembers, and the most relays that a node had open at a time.
#[must_use]
pub fn memory(network: &Network) -> (usize, usize) {
    let remembered = network.nodes().map(|(_, node)| node.remembered());
    let relays = network.nodes().map(|(_, node)| node.relays().1);
    (remembered.max().unwrap_or(0), relays.max().unwrap_or(0))
}

/// Counters of all nodes, added up, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Vec<(&'static str, u64)>);

impl Counts {
    /// Those of a network.
    #[must_use]
    pub fn of(network: &Network) -> Self {
        let mut sum = Stats::default().named();
        for (_, node) in network.nodes() {
            for (total, (_, count)) in sum.iter_mut().zip(node.stats().named()) {
                total.1 += count;
            }
        }
        Self(sum)
    }

    /// One counter; 0 if there is none of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
    }

    /// The counters of what was dropped, where there are any.
    #[must_use]
    pub fn dropped(&self) -> Vec<(&'static str, u64)> {
        self.0.iter().filter(|(name, count)| name.starts_with("dropped_") && *count > 0).copied().collect()
    }
}
