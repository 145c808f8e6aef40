//! What an ASA does that needs a peer, and what can reach what: for networks in which something comes and goes.

use grasp::{Config, Error, Objective};

use super::network::{Network, place};
use super::scenario::Setting;

/// How long a connection takes that is refused, in microseconds.
const REFUSED: u64 = 10_000;

/// An ASA that offers an objective.
#[derive(Clone, Debug)]
pub struct Offer {
    /// What it offers.
    pub objective: Objective,
    /// At which node; `None` while it is nowhere.
    pub home: Option<usize>,
    /// On which port; it has another one each time.
    pub port: u16,
}

impl Offer {
    /// Starts to offer at a node, on the next port.
    ///
    /// # Errors
    /// Those of a registration.
    pub fn begin(&mut self, network: &mut Network, node: usize) -> Result<(), Error> {
        self.port = self.port.checked_add(1).unwrap_or(1024);
        self.home = Some(node);
        network.node(node).offer(&self.objective, self.port)
    }

    /// Stops.
    pub fn end(&mut self, network: &mut Network) {
        if let Some(node) = self.home.take() {
            network.node(node).deregister(&self.objective.name);
        }
    }
}

/// What has come of looking for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whether the peer was reached.
    pub reached: bool,
    /// How many times the network was asked; 0 if the peer was known.
    pub questions: u32,
    /// How long it took, in microseconds.
    pub time: u64,
}

/// Looks for an offer as `req_negotiate` and `synchronize` without a peer do: tries the locators that are known, and asks for
/// others, within so many milliseconds. `hops` are those from the asker, as far as there is a way.
///
/// # Errors
/// Those of a discovery.
pub fn ask(
    network: &mut Network,
    asker: usize,
    offer: &Offer,
    hops: &[Option<usize>],
    timeout: u32,
) -> Result<Asked, Error> {
    let began = network.now();
    let end = began + u64::from(timeout) * 1000;
    let mut questions = 0;
    let asked =
        |network: &Network, reached, questions| Asked { reached, questions, time: network.now() - began };
    loop {
        if is_reached(network, asker, offer, hops)? {
            network.node(asker).end_searches();
            return Ok(asked(network, true, questions));
        }
        if network.now() >= end {
            network.node(asker).end_searches();
            return Ok(asked(network, false, questions));
        }
        questions += 1;
        let left = u32::try_from((end - network.now()) / 1000).unwrap_or(u32::MAX);
        let known = network.tally.found.len();
        let flow = network.discover_at(network.now(), asker, offer.objective.clone(), Some(left));
        while network.tally.found[known..].iter().all(|(_, node, _)| *node != asker) {
            if !network.step(end)? {
                network.run_to(end)?;
                break;
            }
        }
        network.take_hops(flow);
        network.node(asker).end_searches();
    }
}

/// Tries the known locators one after the other, and forgets those at which nobody answers.
fn is_reached(
    network: &mut Network,
    asker: usize,
    offer: &Offer,
    hops: &[Option<usize>],
) -> Result<bool, Error> {
    let name = &offer.objective.name;
    let now = network.now_ms();
    for locator in network.node(asker).found(name, now) {
        let Some((node, port)) = place(&locator) else { continue };
        let there = hops.get(node).copied().flatten().is_some();
        if there && offer.home == Some(node) && offer.port == port {
            return Ok(true);
        }
        let connecting = if there { REFUSED } else { millis(Config::new().times().connect_timeout()) * 1000 };
        network.run_to(network.now() + connecting)?;
        let now = network.now_ms();
        network.node(asker).unreached(name, &locator, now);
    }
    Ok(false)
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Hops from a node to each, over nodes that are up and links that carry something; `None` where there is no way.
#[must_use]
pub fn hops(network: &Network, setting: &Setting<'_>, from: usize) -> Vec<Option<usize>> {
    let topology = setting.topology;
    let mut found = vec![None; topology.nodes];
    if network.is_up(from) {
        found[from] = Some(0);
    }
    let mut queue: std::collections::VecDeque<_> = found[from].map(|_| (from, 0)).into_iter().collect();
    while let Some((node, hops)) = queue.pop_front() {
        for segment in network.segments_of(node) {
            if !network.carries(segment) {
                continue;
            }
            for &next in &topology.segments[segment] {
                if found[next].is_none() && network.is_up(next) {
                    found[next] = Some(hops + 1);
                    queue.push_back((next, hops + 1));
                }
            }
        }
    }
    found
}

/// What one node holds, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Open sessions, relays and responses.
    pub open: usize,
    /// Objectives in the discovery cache.
    pub discovered: usize,
    /// Entries of the flood cache.
    pub flooded: usize,
    /// Relayed discoveries and floods that are remembered.
    pub remembered: usize,
}

impl Held {
    /// What the node that holds most of each holds now, after `_watcher` has looked.
    #[must_use]
    pub fn of(network: &Network) -> Self {
        let now = network.now_ms();
        network.nodes().fold(Self::default(), |most, (_, node)| {
            node.purge(now);
            let (discovered, _, flooded) = node.cached();
            let open = node.open_sessions() + node.relays().0 + node.responses_on_their_way();
            most.or(Self { open, discovered, flooded, remembered: node.remembered() })
        })
    }

    /// The most of each.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            open: self.open.max(other.open),
            discovered: self.discovered.max(other.discovered),
            flooded: self.flooded.max(other.flooded),
            remembered: self.remembered.max(other.remembered),
        }
    }
}
