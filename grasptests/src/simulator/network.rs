//! Virtual time and a virtual network: nodes, the segments between them, and what is on its way.
//!
//! What is modelled: a datagram to the group reaches every other member of the segment after the segment's delay, each with
//! the chance of being lost, and its sender at once, as multicast loopback does. A response takes three times the delay (two
//! packets of the handshake, then the data) and is never lost, as TCP repeats. Deciding takes no time and links carry
//! everything, unless [`Quality`] says otherwise.
//!
//! A node exists only from the moment at which something happens to it: what a discovery does not reach takes no memory.

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::num::NonZeroU16;
use std::sync::Arc;

use grasp::simulation::{Endpoint, Output, SimulatedNode};
use grasp::{AsaLocator, Config, Error, Locator, Objective};

use super::queue::Queue;
use super::random::Random;
use super::topology::Topology;

/// The port of every interface; nodes have no other processes.
const PORT: u16 = 50_000;
/// Delays of a response: SYN, SYN-ACK, data.
const RESPONSE_DELAYS: u64 = 3;
/// What goes along with a datagram on the wire: the headers of Ethernet, IPv6 and UDP, in bytes.
const HEADERS: usize = 14 + 40 + 8;

/// How links and nodes are.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    /// The delay of every link, in microseconds; at least 1.
    pub delay: u64,
    /// Up to so many microseconds more, drawn for each link.
    pub jitter: u64,
    /// The probability that a datagram is lost, between 0 and 1.
    pub loss: f64,
    /// How many microseconds a node works on a datagram that it has admitted; meanwhile others wait in its queue. 0 if that
    /// takes no time.
    pub work: u64,
    /// What a link carries from one sender.
    pub capacity: Option<Capacity>,
}

/// What a link carries, in one direction.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Bits per second; at least 1.
    pub bits: u64,
    /// How many bytes may wait for the link; more are dropped.
    pub buffer: u64,
}

impl Default for Quality {
    fn default() -> Self {
        Self { delay: 1000, jitter: 0, loss: 0.0, work: 0, capacity: None }
    }
}

/// What the network has carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Datagrams by segment and, on it, by member: how many it has sent.
    pub sent: Vec<Vec<u64>>,
    /// Datagrams that did not reach a member of the segment, because a link has lost them.
    pub lost: u64,
    /// Datagrams that were not sent, because too much waited for the link.
    pub overflowed: u64,
    /// Datagrams that did not reach a member because it or the link was down.
    pub unplugged: u64,
    /// Datagrams that reached a node.
    pub delivered: u64,
    /// Responses.
    pub responses: u64,
    /// Time of the last datagram that told a node something new, in microseconds.
    pub last_news: u64,
    /// By flood or discovery, in the order of their announcement, and by node: over how many hops the first
    /// datagram came that the node had not sent itself.
    pub hops: Vec<Vec<Option<NonZeroU16>>>,
    /// The locators that discoveries found: when in microseconds, at which node, over how many hops.
    pub found: Vec<(u64, usize, u32)>,
}

#[derive(Debug)]
struct Segment {
    /// Node and its interface.
    members: Vec<(u32, u32)>,
    delay: u64,
    /// Nothing crosses it.
    cut: bool,
}

/// Of one sender on one segment.
#[derive(Clone, Copy, Debug)]
struct Link {
    segment: u32,
    /// Its place among the members of the segment.
    place: u32,
    /// When what waits for the link has left, in nanoseconds.
    free: u64,
}

#[derive(Debug)]
enum Event {
    Datagram { to: u32, ifi: u32, from: (u32, u32), datagram: Arc<[u8]> },
    Response { from: u32, asker: Box<(Endpoint, Vec<u8>)> },
    Wake { node: u32 },
    Work { node: u32 },
    Flood { node: u32, flood: Box<(Objective, u32)> },
    Discover { node: u32, discovery: Box<(Objective, Option<u32>)> },
}

/// A network that runs.
#[derive(Debug)]
pub struct Network {
    /// What has been carried.
    pub tally: Tally,
    nodes: Vec<Option<Box<SimulatedNode>>>,
    /// How many times each node has started again.
    restarts: Vec<u32>,
    segments: Vec<Segment>,
    /// The links of each node; the first interface has index 1.
    links: Vec<Vec<Link>>,
    config: Arc<Config>,
    /// Nodes that no datagram and no response reaches or leaves.
    unplugged: Vec<bool>,
    quality: Quality,
    random: Random,
    /// The seed of the nodes' session identifiers.
    identifiers: u64,
    queue: Queue<(Cause, Event)>,
    /// By node, what the datagrams in its queue go back to.
    causes: Vec<VecDeque<Cause>>,
    /// The nodes that work on a datagram.
    busy: Vec<bool>,
    /// Microseconds.
    now: u64,
}

impl Network {
    /// Nodes with this configuration on the segments of a topology.
    #[must_use]
    pub fn new(topology: &Topology, config: &Config, quality: Quality, mut random: Random) -> Self {
        let mut links = vec![Vec::new(); topology.nodes];
        let mut segments = Vec::new();
        for (index, members) in topology.segments.iter().enumerate() {
            let mut join = |(place, node): (usize, &usize)| {
                links[*node].push(Link { segment: small(index), place: small(place), free: 0 });
                (small(*node), small(links[*node].len()))
            };
            let extra = random.below(usize::try_from(quality.jitter).unwrap_or(0) + 1) as u64;
            segments.push(Segment {
                members: members.iter().enumerate().map(&mut join).collect(),
                delay: quality.delay.max(1) + extra,
                cut: false,
            });
        }
        let sent = segments.iter().map(|segment| vec![0; segment.members.len()]).collect();
        Self {
            nodes: links.iter().map(|_| None).collect(),
            restarts: vec![0; links.len()],
            config: Arc::new(config.clone()),
            unplugged: vec![false; links.len()],
            tally: Tally { sent, ..Tally::default() },
            segments,
            quality,
            identifiers: random.clone().bits(),
            random,
            queue: Queue::default(),
            causes: links.iter().map(|_| VecDeque::new()).collect(),
            busy: vec![false; links.len()],
            links,
            now: 0,
        }
    }

    /// How many nodes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A node, by number.
    pub fn node(&mut self, number: usize) -> &mut SimulatedNode {
        self.at(small(number))
    }

    fn at(&mut self, number: u32) -> &mut SimulatedNode {
        let index = number as usize;
        let Self { nodes, links, config, restarts, identifiers, .. } = self;
        nodes[index].get_or_insert_with(|| {
            let ends: Vec<_> = (1..=links[index].len()).map(|ifi| endpoint(number, small(ifi))).collect();
            let node = SimulatedNode::new(Arc::clone(config), &ends, global(index));
            let stream = (u64::from(restarts[index]) << 32) | u64::from(number);
            let mut random = Random::new(*identifiers ^ Random::new(stream).bits());
            node.draw_identifiers(move || (random.bits() >> 32) as u32);
            Box::new(node)
        })
    }

    /// The nodes to which anything has happened, with their numbers. The others are as new.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, &SimulatedNode)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(number, node)| node.as_deref().map(|node| (number, node)))
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

    /// Floods an objective at a time in microseconds, with a lifetime in milliseconds; 0 is for ever. Returns its place in
    /// [`Tally::hops`].
    pub fn flood_at(&mut self, at: u64, node: usize, objective: Objective, ttl: u32) -> usize {
        self.begin(at, Event::Flood { node: small(node), flood: Box::new((objective, ttl)) })
    }

    /// Discovers an objective at a time in microseconds, with a timeout in milliseconds. Returns its place in
    /// [`Tally::hops`].
    pub fn discover_at(&mut self, at: u64, node: usize, objective: Objective, timeout: Option<u32>) -> usize {
        self.begin(at, Event::Discover { node: small(node), discovery: Box::new((objective, timeout)) })
    }

    /// Unplugs a node from all its links, or plugs it in again.
    pub fn unplug(&mut self, node: usize, unplugged: bool) {
        self.unplugged[node] = unplugged;
    }

    /// Whether a node is plugged in.
    #[must_use]
    pub fn is_up(&self, node: usize) -> bool {
        !self.unplugged[node]
    }

    /// Cuts a segment, or mends it. The nodes on it do not notice: their interfaces stay.
    pub fn cut(&mut self, segment: usize, cut: bool) {
        self.segments[segment].cut = cut;
    }

    /// Whether anything crosses a segment.
    #[must_use]
    pub fn carries(&self, segment: usize) -> bool {
        !self.segments[segment].cut
    }

    /// The segments that a node is on.
    pub fn segments_of(&self, node: usize) -> impl Iterator<Item = usize> {
        self.links[node].iter().map(|link| link.segment as usize)
    }

    /// A node starts again, and has forgotten everything.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node] = None;
        self.causes[node].clear();
        self.restarts[node] += 1;
    }

    /// Runs until nothing is left to do, or until what is left comes later than this time in microseconds. Returns whether
    /// nothing is left.
    ///
    /// # Errors
    /// Those of a node's flood or discovery.
    pub fn run(&mut self, limit: u64) -> Result<bool, Error> {
        while self.step(limit)? {}
        Ok(self.queue.is_empty())
    }

    /// Lets the next thing happen. Returns whether there was one that comes no later than this time in microseconds.
    ///
    /// # Errors
    /// Those of a node's flood or discovery.
    pub fn step(&mut self, limit: u64) -> Result<bool, Error> {
        let Some((at, (cause, event))) = self.queue.pop(limit) else { return Ok(false) };
        self.now = self.now.max(at);
        self.handle(event, cause)?;
        Ok(true)
    }

    /// Lets the time pass until this moment in microseconds.
    ///
    /// # Errors
    /// Those of a node's flood or discovery.
    pub fn run_to(&mut self, time: u64) -> Result<(), Error> {
        self.run(time)?;
        self.now = self.now.max(time);
        Ok(())
    }

    fn handle(&mut self, event: Event, cause: Cause) -> Result<(), Error> {
        let now = self.now_ms();
        let (node, outputs) = match event {
            Event::Datagram { to, .. } if self.unplugged[to as usize] => {
                self.tally.unplugged += 1;
                return Ok(());
            }
            Event::Datagram { to, ifi, from, datagram } => {
                self.tally.delivered += 1;
                if from.0 != to {
                    self.heard(to, cause);
                }
                let from = Endpoint { ifi, ..endpoint(from.0, from.1) };
                if self.quality.work > 0 {
                    self.enqueue(to, from, &datagram, cause);
                    return Ok(());
                }
                (to, self.at(to).receive_datagram(from, &datagram, now))
            }
            Event::Response { from, asker } => {
                let (asker, message) = *asker;
                let (to, ifi) = owner(asker.address);
                if self.unplugged[from as usize]
                    || self.unplugged[to as usize]
                    || self.is_cut(from, asker.ifi)
                {
                    self.at(from).response_failed(asker);
                    return Ok(());
                }
                self.at(from).response_sent(asker);
                let peer = endpoint(from, asker.ifi).address;
                (to, self.at(to).receive_response(ifi, peer, &message, now))
            }
            Event::Wake { node } => (node, self.at(node).advance(now)),
            Event::Work { node } => {
                self.work(node);
                return Ok(());
            }
            Event::Flood { node, flood } => (node, self.at(node).flood(&flood.0, flood.1, now)?),
            Event::Discover { node, discovery } => {
                (node, self.at(node).discover(&discovery.0, discovery.1, now)?)
            }
        };
        for output in outputs {
            self.carry_out(node, output, cause);
        }
        Ok(())
    }

    /// A datagram waits until the node has worked on those before it.
    fn enqueue(&mut self, to: u32, from: Endpoint, datagram: &[u8], cause: Cause) {
        let (now, index) = (self.now_ms(), to as usize);
        if self.at(to).enqueue(from, datagram, now) {
            self.causes[index].push_back(cause);
            if !std::mem::replace(&mut self.busy[index], true) {
                self.queue.push(self.now + self.quality.work, (cause, Event::Work { node: to }));
            }
        }
    }

    /// A node has worked on a datagram; what comes of it happens now.
    fn work(&mut self, node: u32) {
        let (now, index) = (self.now_ms(), node as usize);
        let outputs = self.at(node).handle_next(now).unwrap_or_default();
        let cause = self.causes[index].pop_front().unwrap_or_default();
        self.busy[index] = self.at(node).queued() > 0;
        if self.busy[index] {
            self.queue.push(self.now + self.quality.work, (cause, Event::Work { node }));
        }
        for output in outputs {
            self.carry_out(node, output, cause);
        }
    }

    fn heard(&mut self, node: u32, cause: Cause) {
        let hops =
            self.tally.hops.get_mut(cause.flow as usize).and_then(|nodes| nodes.get_mut(node as usize));
        if let Some(hops) = hops.filter(|hops| hops.is_none()) {
            *hops = NonZeroU16::new(cause.asked);
            self.tally.last_news = self.now;
        }
    }

    /// Does what a node wants.
    fn carry_out(&mut self, node: u32, output: Output, cause: Cause) {
        match output {
            Output::Multicast { ifi, datagram } => {
                let cause = Cause { asked: cause.asked.saturating_add(1), answered: 0, ..cause };
                self.multicast(node, ifi, &datagram, cause);
            }
            Output::Respond { to, message } => {
                self.tally.responses += 1;
                let segment = self.link(node, to.ifi).segment as usize;
                let delay = self.segments[segment].delay * RESPONSE_DELAYS;
                let cause = Cause { asked: 0, answered: cause.answered.saturating_add(1), ..cause };
                let event = Event::Response { from: node, asker: Box::new((to, message)) };
                self.queue.push(self.now + delay, (cause, event));
            }
            Output::Wake { at } => {
                let cause = Cause { asked: 0, answered: 0, ..cause };
                self.queue.push((at * 1000).max(self.now), (cause, Event::Wake { node }));
            }
            Output::Found { .. } => self.tally.found.push((self.now, node as usize, cause.answered.into())),
        }
    }

    fn multicast(&mut self, node: u32, ifi: u32, datagram: &Arc<[u8]>, cause: Cause) {
        if self.unplugged[node as usize] {
            return;
        }
        let Some(departure) = self.departure(node, ifi, datagram.len()) else {
            self.tally.overflowed += 1;
            return;
        };
        let Link { segment, place, .. } = *self.link(node, ifi);
        self.tally.sent[segment as usize][place as usize] += 1;
        let Self { segments, queue, tally, random, quality, now, .. } = self;
        let segment = &segments[segment as usize];
        for &(to, to_ifi) in &segment.members {
            let own = to == node;
            if !own && random.chance(quality.loss) {
                tally.lost += 1;
                continue;
            }
            if !own && segment.cut {
                tally.unplugged += 1;
                continue;
            }
            let at = if own { *now } else { departure + segment.delay };
            let datagram = Arc::clone(datagram);
            queue.push(at, (cause, Event::Datagram { to, ifi: to_ifi, from: (node, ifi), datagram }));
        }
    }

    /// When a datagram has left on a link, in microseconds. `None` if it does not fit behind what waits there.
    fn departure(&mut self, node: u32, ifi: u32, bytes: usize) -> Option<u64> {
        let (now, capacity) = (self.now, self.quality.capacity);
        let Some(Capacity { bits, buffer }) = capacity else { return Some(now) };
        let nanoseconds = |bytes: u64| bytes.saturating_mul(8_000_000_000) / bits.max(1);
        let link = &mut self.links[node as usize][ifi as usize - 1];
        let waits = link.free.saturating_sub(now * 1000);
        if waits > nanoseconds(buffer) {
            return None;
        }
        link.free = link.free.max(now * 1000) + nanoseconds((bytes + HEADERS) as u64);
        Some(link.free / 1000)
    }

    fn link(&self, node: u32, ifi: u32) -> &Link {
        &self.links[node as usize][ifi as usize - 1]
    }

    fn is_cut(&self, node: u32, ifi: u32) -> bool {
        self.segments[self.link(node, ifi).segment as usize].cut
    }

    /// A flood or discovery begins.
    fn begin(&mut self, at: u64, event: Event) -> usize {
        let flow = self.tally.hops.len();
        self.tally.hops.push(vec![None; self.nodes.len()]);
        self.queue.push(at, (Cause { flow: small(flow), ..Cause::default() }, event));
        flow
    }

    /// What is known of a flood or discovery; from now on nothing more is noted about it. For long runs, which begin many.
    pub fn take_hops(&mut self, flow: usize) -> Vec<Option<NonZeroU16>> {
        std::mem::take(&mut self.tally.hops[flow])
    }
}

/// What an event goes back to.
#[derive(Clone, Copy, Debug, Default)]
struct Cause {
    /// The number of the flood or discovery.
    flow: u32,
    /// How many hops its datagram has come.
    asked: u16,
    /// How many hops the answer has come.
    answered: u16,
}

/// There are no networks with four thousand million nodes, links, or floods.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The address of a node.
#[must_use]
pub fn global(node: usize) -> Ipv6Addr {
    Ipv6Addr::from((0xfd00_u128 << 112) + node as u128 + 1)
}

/// The node that a locator leads to, and the port there.
#[must_use]
pub fn place(locator: &AsaLocator) -> Option<(usize, u16)> {
    let Some(Locator::Ipv6(address)) = &locator.locator else { return None };
    let node = (address.to_bits() & u128::from(u64::MAX)).checked_sub(1)?;
    Some((usize::try_from(node).ok()?, locator.port.unwrap_or(0)))
}

/// A node's interface. Its address names both.
fn endpoint(node: u32, ifi: u32) -> Endpoint {
    let address = Ipv6Addr::from((0xfe80_u128 << 112) + ((u128::from(node) + 1) << 32) + u128::from(ifi));
    Endpoint { ifi, address, port: PORT }
}

/// Whose interface has this address.
fn owner(address: Ipv6Addr) -> (u32, u32) {
    let bits = address.to_bits() & u128::from(u64::MAX);
    ((bits >> 32) as u32 - 1, (bits & 0xffff_ffff) as u32)
}
