//! Virtual time and a virtual network: nodes, the segments between them, and what is on its way.
//!
//! What is modelled: a datagram to the group reaches every other member of the segment after the segment's delay,
//! each with the chance of being lost, and its sender at once, as multicast loopback does. A response takes three
//! times the delay (two packets of the handshake, then the data) and is never lost, as TCP repeats. Deciding
//! takes no time, and links have no limit on what they carry.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv6Addr;
use std::sync::Arc;

use grasp::simulation::{Endpoint, Output, SimulatedNode};
use grasp::{Config, Error, Objective};

use super::random::Random;
use super::topology::Topology;

/// The port of every interface; nodes have no other processes.
const PORT: u16 = 50_000;
/// Delays of a response: SYN, SYN-ACK, data.
const RESPONSE_DELAYS: u64 = 3;

/// How links are.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    /// The delay of every link, in microseconds; at least 1.
    pub delay: u64,
    /// Up to so many microseconds more, drawn for each link.
    pub jitter: u64,
    /// The probability that a datagram is lost, between 0 and 1.
    pub loss: f64,
}

impl Default for Quality {
    fn default() -> Self {
        Self { delay: 1000, jitter: 0, loss: 0.0 }
    }
}

/// What the network has carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Datagrams by segment and, on it, by sender.
    pub sent: Vec<BTreeMap<usize, u64>>,
    /// Datagrams that did not reach a member of the segment.
    pub lost: u64,
    /// Responses.
    pub responses: u64,
    /// Time of the last datagram that told a node something new, in microseconds.
    pub last_news: u64,
    /// By flood or discovery, in the order of their announcement, and by node: over how many hops the first
    /// datagram came that the node had not sent itself.
    pub hops: Vec<Vec<Option<u32>>>,
    /// The locators that discoveries found: when in microseconds, at which node, over how many hops.
    pub found: Vec<(u64, usize, u32)>,
}

#[derive(Debug)]
struct Segment {
    /// Node and its interface.
    members: Vec<(usize, u32)>,
    delay: u64,
}

#[derive(Debug)]
enum Event {
    Datagram { to: usize, from: Endpoint, datagram: Arc<[u8]> },
    Response { from: usize, asker: Endpoint, message: Vec<u8> },
    Wake { node: usize },
    Flood { node: usize, objective: Objective },
    Discover { node: usize, objective: Objective, timeout: Option<u32> },
}

/// By time; what was put in first comes first at equal times.
#[derive(Debug)]
struct Entry {
    at: u64,
    number: u64,
    cause: Cause,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A network that runs.
#[derive(Debug)]
pub struct Network {
    /// The nodes, by number.
    pub nodes: Vec<SimulatedNode>,
    /// What has been carried.
    pub tally: Tally,
    segments: Vec<Segment>,
    /// The segment of each interface of each node; the first interface has index 1.
    links: Vec<Vec<usize>>,
    config: Config,
    /// Nodes that no datagram and no response reaches or leaves.
    unplugged: Vec<bool>,
    loss: f64,
    random: Random,
    queue: BinaryHeap<Reverse<Entry>>,
    /// Microseconds.
    now: u64,
    entries: u64,
}

impl Network {
    /// Nodes with this configuration on the segments of a topology.
    #[must_use]
    pub fn new(topology: &Topology, config: &Config, quality: Quality, mut random: Random) -> Self {
        let mut links = vec![Vec::new(); topology.nodes];
        let mut segments = Vec::new();
        for (index, members) in topology.segments.iter().enumerate() {
            let mut join = |node: &usize| {
                links[*node].push(index);
                (*node, index_of_interface(links[*node].len()))
            };
            let extra = random.below(usize::try_from(quality.jitter).unwrap_or(0) + 1) as u64;
            segments.push(Segment {
                members: members.iter().map(&mut join).collect(),
                delay: quality.delay.max(1) + extra,
            });
        }
        let node = |(number, links): (usize, &Vec<usize>)| new_node(number, links.len(), config);
        Self {
            nodes: links.iter().enumerate().map(node).collect(),
            config: config.clone(),
            unplugged: vec![false; links.len()],
            tally: Tally { sent: vec![BTreeMap::new(); segments.len()], ..Tally::default() },
            segments,
            links,
            loss: quality.loss,
            random,
            queue: BinaryHeap::new(),
            now: 0,
            entries: 0,
        }
    }

    /// Microseconds since the beginning.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// Milliseconds since the beginning, the nodes' time.
    #[must_use]
    pub const fn now_ms(&self) -> u64 {
        self.now / 1000
    }

    /// Floods an objective at a time in microseconds.
    pub fn flood_at(&mut self, at: u64, node: usize, objective: Objective) {
        self.begin(at, Event::Flood { node, objective });
    }

    /// Discovers an objective at a time in microseconds, with a timeout in milliseconds.
    pub fn discover_at(&mut self, at: u64, node: usize, objective: Objective, timeout: Option<u32>) {
        self.begin(at, Event::Discover { node, objective, timeout });
    }

    /// Unplugs a node from all its links, or plugs it in again.
    pub fn unplug(&mut self, node: usize, unplugged: bool) {
        self.unplugged[node] = unplugged;
    }

    /// A node starts again, and has forgotten everything.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node] = new_node(node, self.links[node].len(), &self.config);
    }

    /// Runs until nothing is left to do. Returns whether that came within so many microseconds.
    ///
    /// # Errors
    /// Those of a node's flood or discovery.
    pub fn run(&mut self, limit: u64) -> Result<bool, Error> {
        while let Some(Reverse(entry)) = self.queue.pop() {
            if entry.at > limit {
                self.queue.push(Reverse(entry));
                return Ok(false);
            }
            self.now = entry.at;
            self.handle(entry.event, entry.cause)?;
        }
        Ok(true)
    }

    fn handle(&mut self, event: Event, cause: Cause) -> Result<(), Error> {
        let now = self.now_ms();
        let (node, outputs) = match event {
            Event::Datagram { to, .. } if self.unplugged[to] => return Ok(()),
            Event::Datagram { to, from, datagram } => {
                if from.address != endpoint(to, from.ifi).address {
                    self.heard(to, cause);
                }
                (to, self.nodes[to].receive_datagram(from, &datagram, now))
            }
            Event::Response { from, asker, message } => {
                let (to, ifi) = owner(asker.address);
                if self.unplugged[from] || self.unplugged[to] {
                    self.nodes[from].response_failed(asker);
                    return Ok(());
                }
                self.nodes[from].response_sent(asker);
                let peer = endpoint(from, asker.ifi).address;
                (to, self.nodes[to].receive_response(ifi, peer, &message, now))
            }
            Event::Wake { node } => (node, self.nodes[node].advance(now)),
            Event::Flood { node, objective } => (node, self.nodes[node].flood(&objective, 0, now)?),
            Event::Discover { node, objective, timeout } => {
                (node, self.nodes[node].discover(&objective, timeout, now)?)
            }
        };
        for output in outputs {
            self.carry_out(node, output, cause);
        }
        Ok(())
    }

    fn heard(&mut self, node: usize, cause: Cause) {
        let hops = &mut self.tally.hops[cause.flow][node];
        if hops.is_none() {
            *hops = Some(cause.asked);
            self.tally.last_news = self.now;
        }
    }

    /// Does what a node wants.
    fn carry_out(&mut self, node: usize, output: Output, cause: Cause) {
        match output {
            Output::Multicast { ifi, datagram } => {
                let cause = Cause { asked: cause.asked + 1, answered: 0, ..cause };
                self.multicast(node, ifi, &datagram, cause);
            }
            Output::Respond { to, message } => {
                self.tally.responses += 1;
                let delay = self.segments[self.segment_of(node, to.ifi)].delay * RESPONSE_DELAYS;
                let cause = Cause { asked: 0, answered: cause.answered + 1, ..cause };
                self.push(self.now + delay, cause, Event::Response { from: node, asker: to, message });
            }
            Output::Wake { at } => {
                let cause = Cause { asked: 0, answered: 0, ..cause };
                self.push((at * 1000).max(self.now), cause, Event::Wake { node });
            }
            Output::Found { .. } => self.tally.found.push((self.now, node, cause.answered)),
        }
    }

    fn multicast(&mut self, node: usize, ifi: u32, datagram: &Arc<[u8]>, cause: Cause) {
        if self.unplugged[node] {
            return;
        }
        let index = self.segment_of(node, ifi);
        *self.tally.sent[index].entry(node).or_insert(0) += 1;
        let source = endpoint(node, ifi);
        let delay = self.segments[index].delay;
        for (to, to_ifi) in self.segments[index].members.clone() {
            let own = to == node;
            if !own && self.random.chance(self.loss) {
                self.tally.lost += 1;
                continue;
            }
            let at = if own { self.now } else { self.now + delay };
            let from = Endpoint { ifi: to_ifi, ..source };
            self.push(at, cause, Event::Datagram { to, from, datagram: Arc::clone(datagram) });
        }
    }

    fn segment_of(&self, node: usize, ifi: u32) -> usize {
        self.links[node][ifi as usize - 1]
    }

    fn push(&mut self, at: u64, cause: Cause, event: Event) {
        self.entries += 1;
        self.queue.push(Reverse(Entry { at, number: self.entries, cause, event }));
    }

    /// A flood or discovery begins.
    fn begin(&mut self, at: u64, event: Event) {
        let cause = Cause { flow: self.tally.hops.len(), ..Cause::default() };
        self.tally.hops.push(vec![None; self.nodes.len()]);
        self.push(at, cause, event);
    }
}

/// What an event goes back to.
#[derive(Clone, Copy, Debug, Default)]
struct Cause {
    /// The number of the flood or discovery.
    flow: usize,
    /// How many hops its datagram has come.
    asked: u32,
    /// How many hops the answer has come.
    answered: u32,
}

fn index_of_interface(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn new_node(number: usize, links: usize, config: &Config) -> SimulatedNode {
    let ends: Vec<_> = (1..=links).map(|ifi| endpoint(number, index_of_interface(ifi))).collect();
    SimulatedNode::new(config.clone(), &ends, global(number))
}

/// The address of a node.
#[must_use]
pub fn global(node: usize) -> Ipv6Addr {
    Ipv6Addr::from((0xfd00_u128 << 112) + node as u128 + 1)
}

/// A node's interface. Its address names both.
fn endpoint(node: usize, ifi: u32) -> Endpoint {
    let address = Ipv6Addr::from((0xfe80_u128 << 112) + ((node as u128 + 1) << 32) + u128::from(ifi));
    Endpoint { ifi, address, port: PORT }
}

/// Whose interface has this address.
fn owner(address: Ipv6Addr) -> (usize, u32) {
    let bits = address.to_bits() & u128::from(u64::MAX);
    ((bits >> 32) as usize - 1, (bits & 0xffff_ffff) as u32)
}
