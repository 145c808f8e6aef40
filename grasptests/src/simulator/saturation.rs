//! More and more floods: what a network carries of them, what is dropped where, and that nothing is lost uncounted.

use grasp::{Error, Objective, Value};

use super::network::Network;
use super::random::Random;
use super::scenario::{Counts, Setting};
use crate::accounts::discrepancies;

/// Floods at a steady rate.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Floods a second, of all sources together.
    pub rate: u64,
    /// For how many seconds.
    pub seconds: u64,
    /// The size of the value of each, in bytes.
    pub size: usize,
    /// How many nodes take turns.
    pub sources: usize,
}

/// The figures of a load.
#[derive(Clone, Debug, PartialEq)]
pub struct SaturationFigures {
    /// Of all pairs of a flood and a node, the share that was reached, between 0 and 1.
    pub reached: f64,
    /// The same for the floods of the last half of the time, when the bursts of all rates are used up.
    pub steady: f64,
    /// Datagrams sent.
    pub datagrams: u64,
    /// The most that one sender has sent on one link, in bits per second.
    pub busiest: u64,
    /// How long after its beginning the last flood reached its last node, in microseconds; what is queued makes it long.
    pub behind: u64,
    /// Datagrams that were dropped before a link, because too much waited there.
    pub overflowed: u64,
    /// The counters of all nodes, added up.
    pub stats: Counts,
    /// What does not add up: datagrams of the network and the counters of the nodes, and the equations of each node.
    pub unaccounted: Vec<String>,
}

/// Floods at this rate.
///
/// # Errors
/// Those of floods.
pub fn saturate(setting: &Setting<'_>, load: Load) -> Result<SaturationFigures, Error> {
    let nodes = setting.topology.nodes;
    let mut random = Random::new(setting.seed ^ 0x5341_5400_0000);
    let mut network = setting.network();
    let sources: Vec<usize> = (0..load.sources.max(1)).map(|_| random.below(nodes)).collect();
    let count = usize::try_from(load.rate * load.seconds).unwrap_or(usize::MAX);
    for number in 0..count {
        let at = number as u64 * 1_000_000 / load.rate.max(1);
        let source = number % sources.len();
        let value = Value::Bytes(vec![b'x'; load.size]);
        let objective = Objective { value, ..setting.objective(&format!("EX:{source}")) };
        network.flood_at(at, sources[source], objective, 0);
    }
    network.run(u64::MAX)?;
    let heard = |flow: usize| {
        let hops = network.tally.hops[flow].iter().enumerate();
        hops.filter(|(node, hops)| *node != sources[flow % sources.len()] && hops.is_some()).count()
    };
    let heard: Vec<usize> = (0..count).map(heard).collect();
    let share = |heard: &[usize]| {
        heard.iter().sum::<usize>() as f64 / (heard.len() * nodes.saturating_sub(1)).max(1) as f64
    };
    let sent = || network.tally.sent.iter().flatten().copied();
    let stats = Counts::of(&network);
    let bytes = stats.get("datagram_bytes_received") / stats.get("multicast_received").max(1);
    let last = (count as u64).saturating_sub(1) * 1_000_000 / load.rate.max(1);
    Ok(SaturationFigures {
        reached: share(&heard),
        steady: share(&heard[count / 2..]),
        datagrams: sent().sum(),
        busiest: sent().max().unwrap_or(0) * bytes * 8 / load.seconds.max(1),
        behind: network.tally.last_news.saturating_sub(last),
        overflowed: network.tally.overflowed,
        stats,
        unaccounted: unaccounted(&network),
    })
}

/// What does not add up. Each datagram that was sent goes to every member of its segment, also back to its sender.
fn unaccounted(network: &Network) -> Vec<String> {
    let tally = &network.tally;
    let of_nodes = network.nodes().flat_map(|(number, node)| {
        let wrong = discrepancies(&node.stats(), node.open_sessions());
        wrong.into_iter().map(move |wrong| format!("node {number}: {wrong}"))
    });
    let mut wrong: Vec<String> = of_nodes.collect();
    let copies: u64 =
        tally.sent.iter().map(|members| members.len() as u64 * members.iter().sum::<u64>()).sum();
    if copies != tally.delivered + tally.lost + tally.unplugged {
        wrong.push(format!("{copies} copies were sent: {tally:?}"));
    }
    let received: u64 = network.nodes().map(|(_, node)| node.stats().multicast_received).sum();
    if received != tally.delivered {
        wrong.push(format!("{} datagrams were delivered and {received} received", tally.delivered));
    }
    wrong
}
