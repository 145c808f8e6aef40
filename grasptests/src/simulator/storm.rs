//! Every node, or some of them, flood or discover something within a given time: what the limits on relaying then drop.

use std::collections::HashMap;
use std::num::NonZeroU16;

use grasp::Error;

use super::random::Random;
use super::scenario::{Counts, LIMIT, NAME, Setting, Traffic, memory, open};

/// The port of what is looked for.
const PORT: u16 = 4711;

/// What every node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Floods an objective so many times, each flood with the node's own address as its locator.
    Floods(usize),
    /// Discovers an objective of its own, which a random node offers.
    Discoveries,
    /// Discovers the one objective, which one node offers.
    SameDiscovery,
}

/// The figures of a storm.
#[derive(Clone, Debug, PartialEq)]
pub struct StormFigures {
    /// Of all pairs of a flood and a node: the share that came, between 0 and 1. Of all discoveries: the share
    /// that found something.
    pub reached: f64,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Discoveries or floods relayed.
    pub relayed: u64,
    /// The most multicasts that a node remembers, and the most relays that it had open at a time.
    pub memory: (usize, usize),
    /// How long the discoveries took until their first answers, in microseconds, the shortest first.
    pub answers: Vec<u64>,
    /// When nothing was left to do, in microseconds; `None` if there still was something at [`LIMIT`].
    pub end: Option<u64>,
    /// Sessions, relays and responses that are open at the end.
    pub open: usize,
    /// The counters of all nodes, added up.
    pub stats: Counts,
}

/// So many nodes, which are spread over the network, do this, at random times within so many microseconds; discoveries with a timeout in milliseconds.
///
/// # Errors
/// Those of a flood or a discovery.
pub fn storm(
    setting: &Setting<'_>,
    kind: Kind,
    askers: usize,
    within: u64,
    timeout: Option<u32>,
) -> Result<StormFigures, Error> {
    let nodes = setting.topology.nodes;
    let mut random = Random::new(setting.seed ^ 0x5354_4f52_4d00);
    let mut network = setting.network();
    let own_name =
        |node: usize| if kind == Kind::SameDiscovery { NAME.to_owned() } else { format!("EX:{node}") };
    let single = random.below(nodes);
    if kind == Kind::SameDiscovery {
        network.node(single).offer(&setting.objective(NAME), PORT)?;
    }
    let span = usize::try_from(within).unwrap_or(usize::MAX);
    let mut sources = Vec::new();
    let mut asked = HashMap::new();
    for node in (0..nodes).filter(|node| node * askers / nodes != (node + 1) * askers / nodes) {
        match kind {
            Kind::Floods(count) => {
                for _ in 0..count {
                    let at = random.below(span) as u64;
                    sources.push(node);
                    network.flood_at(at, node, setting.objective(NAME), 0);
                }
            }
            Kind::SameDiscovery if node == single => {}
            Kind::SameDiscovery | Kind::Discoveries => {
                let objective = setting.objective(&own_name(node));
                if kind == Kind::Discoveries {
                    let other = (node + 1 + random.below(nodes.saturating_sub(1))) % nodes;
                    network.node(other).offer(&objective, PORT)?;
                }
                sources.push(node);
                let at = random.below(span) as u64;
                asked.insert(node, at);
                network.discover_at(at, node, objective, timeout);
            }
        }
    }
    let ended = network.run(LIMIT)?;
    let now = network.now_ms();
    let stats = Counts::of(&network);
    let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    let wide = nodes as u64;
    let (reached, relayed) = match kind {
        Kind::Floods(_) => {
            let pairs = wide.saturating_sub(1) * sources.len() as u64;
            // A node that began a flood may hear it again.
            let heard = |(source, hops): (&usize, &Vec<Option<NonZeroU16>>)| {
                hops.iter().enumerate().filter(|(node, hops)| node != source && hops.is_some()).count()
            };
            let heard = sources.iter().zip(&network.tally.hops).map(heard).sum::<usize>();
            (share(heard as u64, pairs), stats.get("floods_relayed"))
        }
        Kind::Discoveries | Kind::SameDiscovery => {
            let found =
                sources.iter().filter(|node| !network.node(**node).found(&own_name(**node), now).is_empty());
            (share(found.count() as u64, sources.len() as u64), stats.get("discoveries_relayed"))
        }
    };
    let first_answers = network.tally.found.iter();
    let mut answers: Vec<_> =
        first_answers.filter_map(|(at, node, _)| Some(at - asked.remove(node)?)).collect();
    answers.sort_unstable();
    Ok(StormFigures {
        reached,
        datagrams: Traffic::of(&network.tally).datagrams,
        relayed,
        memory: memory(&network),
        answers,
        end: ended.then_some(network.now()),
        open: open(&network),
        stats,
    })
}
