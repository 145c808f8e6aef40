//! The network falls apart and heals, or all nodes start at once: who is reached meanwhile, and when all is well again.

use grasp::Error;

use super::ask::{Asked, Held, Offer, ask, hops};
use super::network::Network;
use super::queue::Queue;
use super::random::Random;
use super::scenario::{Counts, Setting};

/// A second, in microseconds.
const SECOND: u64 = 1_000_000;
/// How many ASAs offer something.
const ASAS: usize = 20;
/// How long an ASA looks for a peer, in milliseconds: the default timeout (RFC 8990 §2.6).
const TIMEOUT: u32 = 60_000;
/// How long what is flooded is valid, in milliseconds.
const FLOOD_TTL: u32 = 600_000;
/// By then all lifetimes are over, in microseconds.
const OVER: u64 = 2 * 3600 * SECOND;

/// What some floods and discoveries have achieved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phase {
    /// The pairs of a flood and a node, those of them between which there was a way within the loop count, and those that were
    /// reached.
    pub floods: [u64; 3],
    /// The discoveries, those of them to whose goal there was a way, and those that were successful.
    pub searches: [usize; 3],
    /// How long the successful ones took, in microseconds, in order.
    pub times: Vec<u64>,
    /// How long the others took at most, in microseconds.
    pub failed: u64,
}

/// The figures of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFigures {
    /// Before it, during, just after it has healed, and a minute later.
    pub phases: [Phase; 4],
    /// What a node still holds when everything is over, at most.
    pub remains: Held,
    /// The counters of all nodes, added up.
    pub stats: Counts,
}

/// Cuts the network into two halves of nodes that are near each other, and mends it; in each phase some nodes flood and look
/// for something.
///
/// # Errors
/// Those of floods and discoveries.
pub fn partition(setting: &Setting<'_>, tries: usize) -> Result<PartitionFigures, Error> {
    let mut network = setting.network();
    let mut random = Random::new(setting.seed ^ 0x5041_5254_0000);
    let nodes = setting.topology.nodes;
    let mut offers = Vec::new();
    for asa in 0..ASAS {
        let objective = setting.objective(&format!("ASA:{asa}"));
        let mut offer = Offer { objective, home: None, port: 1024 };
        offer.begin(&mut network, random.below(nodes))?;
        offers.push(offer);
    }
    let mut order: Vec<usize> = (0..nodes).collect();
    let far = setting.topology.distances(0);
    order.sort_by_key(|node| far[*node]);
    let mut half = vec![false; nodes];
    order.iter().take(nodes / 2).for_each(|node| half[*node] = true);
    let between: Vec<usize> = (0..setting.topology.segments.len())
        .filter(|segment| {
            let members = &setting.topology.segments[*segment];
            members.iter().any(|member| half[*member] != half[members[0]])
        })
        .collect();
    let mut phase = |network: &mut Network| tries_in(network, setting, &offers, &mut random, tries);
    let before = phase(&mut network)?;
    between.iter().for_each(|segment| network.cut(*segment, true));
    let during = phase(&mut network)?;
    between.iter().for_each(|segment| network.cut(*segment, false));
    let healed = phase(&mut network)?;
    network.run_to(network.now() + 60 * SECOND)?;
    let later = phase(&mut network)?;
    network.run_to(network.now() + OVER)?;
    let (remains, stats) = (Held::of(&network), Counts::of(&network));
    Ok(PartitionFigures { phases: [before, during, healed, later], remains, stats })
}

/// A flood and a discovery, so many times, one after the other, each from another node.
fn tries_in(
    network: &mut Network,
    setting: &Setting<'_>,
    offers: &[Offer],
    random: &mut Random,
    tries: usize,
) -> Result<Phase, Error> {
    let mut phase = Phase::default();
    let within =
        |hops: Option<usize>| hops.is_some_and(|hops| (1..=setting.loop_count.into()).contains(&hops));
    for _ in 0..tries {
        let source = random.below(setting.topology.nodes);
        let there = hops(network, setting, source);
        let now = network.now();
        let flow = network.flood_at(now, source, setting.objective("VALUE"), FLOOD_TTL);
        network.run_to(now + SECOND)?;
        let heard = network.take_hops(flow);
        phase.floods[0] += heard.len().saturating_sub(1) as u64;
        phase.floods[1] += there.iter().filter(|hops| within(**hops)).count() as u64;
        phase.floods[2] +=
            heard.iter().enumerate().filter(|(node, hops)| *node != source && hops.is_some()).count() as u64;
        let offer = &offers[random.below(offers.len())];
        let asker = random.below(setting.topology.nodes);
        if offer.home == Some(asker) {
            continue;
        }
        let there = hops(network, setting, asker);
        let near = offer.home.is_some_and(|home| within(there[home]));
        let Asked { reached, time, .. } = ask(network, asker, offer, &there, TIMEOUT)?;
        phase.searches[0] += 1;
        phase.searches[1] += usize::from(near);
        phase.searches[2] += usize::from(reached);
        if reached {
            phase.times.push(time);
        } else {
            phase.failed = phase.failed.max(time);
        }
    }
    phase.times.sort_unstable();
    Ok(phase)
}

/// The figures of a restart of all nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct RestartFigures {
    /// When every node had started, and 1, 2 and 3 of the pauses between floods later: the share of all pairs of a node and
    /// another's value that were known, and of all discoveries that were answered.
    pub shares: [(f64, f64); 4],
    /// When half, 95 %, and the last of the answers came after their node had started, in microseconds.
    pub answers: [u64; 3],
    /// What a node held at the end of the third pause, at most.
    pub most: Held,
    /// What a node still holds when everything is over, at most.
    pub remains: Held,
    /// The counters of all nodes, added up.
    pub stats: Counts,
}

/// All nodes start within so many microseconds. Each offers something, floods a value then and after each pause of so many
/// microseconds, and looks for what another node offers.
///
/// # Errors
/// Those of floods and discoveries.
pub fn restart(setting: &Setting<'_>, within: u64, pause: u64) -> Result<RestartFigures, Error> {
    let nodes = setting.topology.nodes;
    let mut random = Random::new(setting.seed ^ 0x5245_5354_0000);
    let mut network = setting.network();
    let span = usize::try_from(within).unwrap_or(usize::MAX);
    let mut starts = Queue::default();
    let mut started = vec![0; nodes];
    for (node, at) in started.iter_mut().enumerate() {
        network.unplug(node, true);
        *at = 1 + random.below(span) as u64;
        starts.push(*at, node);
    }
    let name = |node: usize| format!("EX:{node}");
    let mut flows = vec![Vec::new(); nodes];
    while let Some((at, node)) = starts.pop(u64::MAX) {
        network.run_to(at)?;
        network.unplug(node, false);
        let objective = setting.objective(&name(node));
        network.node(node).offer(&objective, 4711)?;
        for time in 0..3 {
            flows[node].push(network.flood_at(at + time * pause, node, objective.clone(), FLOOD_TTL));
        }
        let other = (node + 1 + random.below(nodes.saturating_sub(1))) % nodes;
        network.discover_at(at, node, setting.objective(&name(other)), Some(TIMEOUT));
    }
    let mut shares = [(0.0, 0.0); 4];
    for (time, share) in shares.iter_mut().enumerate() {
        network.run_to(within + time as u64 * pause)?;
        *share = (known(&network, &flows), answers(&network, &started).len() as f64 / nodes as f64);
    }
    let most = Held::of(&network);
    let times = answers(&network, &started);
    let at = |part: f64| {
        let last = times.len().saturating_sub(1);
        times.get((last as f64 * part).round() as usize).copied().unwrap_or(0)
    };
    let answers = [at(0.5), at(0.95), at(1.0)];
    network.run_to(network.now() + OVER)?;
    let (remains, stats) = (Held::of(&network), Counts::of(&network));
    Ok(RestartFigures { shares, answers, most, remains, stats })
}

/// The share of pairs of a node and another's value that the node has heard.
fn known(network: &Network, flows: &[Vec<usize>]) -> f64 {
    let nodes = flows.len();
    let pairs = (nodes * nodes.saturating_sub(1)).max(1);
    let hops = &network.tally.hops;
    let heard = |source: usize, node: usize| flows[source].iter().any(|flow| hops[*flow][node].is_some());
    let known = |source: usize| (0..nodes).filter(|node| *node != source && heard(source, *node)).count();
    (0..nodes).map(known).sum::<usize>() as f64 / pairs as f64
}

/// How long after its start each node that has one had its first answer, in order.
fn answers(network: &Network, started: &[u64]) -> Vec<u64> {
    let mut first = vec![None; started.len()];
    for (time, node, _) in &network.tally.found {
        first[*node].get_or_insert_with(|| time.saturating_sub(started[*node]));
    }
    let mut times: Vec<u64> = first.into_iter().flatten().collect();
    times.sort_unstable();
    times
}
