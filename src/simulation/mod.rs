//! Drives a node on virtual time, without threads, sockets or a clock. Internal: only available with the feature
//! `_simulator`, for `grasptests`, and subject to change at any time.
//!
//! A [`SimulatedNode`] stands for one engine. The simulator tells it which messages arrive and what time it is; the
//! node decides with the engine's code and limits, and its effects come back as [`Output`]s. This module keeps the
//! state that the engine's threads and blocked callers would hold: responses in progress
//! ([`SimulatedNode::response_sent`]), open relays and searches ([`SimulatedNode::advance`]).

mod connection;
mod mailbox;
mod neighbours;
mod requests;

pub use connection::{ReceiveError, SimulatedAssembly, SimulatedConnection};

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::acp::Acp;
use crate::config::Config;
use crate::error::Result;
use crate::node::{
    Arrival, Datagram, Effect, FirstMessage, Links, Node, Relay, RelayTask, Response, Search, Step, Ticket,
    Wanted,
};
use crate::registry::{Addresses, Link, Registration, Transport};
use crate::stats::Stats;
use crate::types::{AsaLocator, AsaNonce, Objective, TaggedObjective};
use crate::wire::encode;
use mailbox::Answers;
use requests::Values;

/// An interface of a node, or a sender as seen on one: the index is that of the receiving node's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Index of the interface.
    pub ifi: u32,
    /// Link-local address.
    pub address: Ipv6Addr,
    /// The port that multicasts are sent from and responses arrive at.
    pub port: u16,
}

/// What the simulator must do for a node.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send a datagram to the group on an interface.
    Multicast {
        /// Index of the interface.
        ifi: u32,
        /// The datagram.
        datagram: Arc<[u8]>,
    },
    /// Connect to an asker, send it a message, and then call [`SimulatedNode::response_sent`].
    Respond {
        /// The asker, on this node's interface.
        to: Endpoint,
        /// The message.
        message: Vec<u8>,
    },
    /// Call [`SimulatedNode::advance`] at this time, in milliseconds.
    Wake {
        /// The time.
        at: u64,
    },
    /// A discovery that started here has returned this many locators.
    Found {
        /// How many.
        locators: usize,
    },
}

/// One engine on virtual time. Times are milliseconds.
#[derive(Debug)]
pub struct SimulatedNode {
    node: Arc<Node>,
    /// Datagrams that wait to be handled ([`SimulatedNode::enqueue`]).
    queue: VecDeque<Box<Datagram>>,
    /// Responses in progress.
    responses: Vec<(Endpoint, Ticket)>,
    relays: Vec<OpenRelay>,
    searches: Vec<OpenSearch>,
    sessions: Vec<requests::Session>,
    values: Values,
    adjacencies: neighbours::Adjacencies,
}

/// The state of a `_disc_relay` thread.
#[derive(Debug)]
struct OpenRelay {
    relay: Relay,
    until: u64,
    /// When it goes on, and with what, if it is merged with an equal discovery.
    goes_on: Option<(u64, Vec<u8>)>,
    answers: Answers,
}

/// The state of a blocked `discover` call.
#[derive(Debug)]
struct OpenSearch {
    search: Search,
    answers: Answers,
}

/// The only ASA of a node.
const ASA: AsaNonce = AsaNonce(1);

impl SimulatedNode {
    /// Creates a node with these interfaces and a global address.
    #[must_use]
    pub fn new(config: impl Into<Arc<Config>>, links: &[Endpoint], global: Ipv6Addr) -> Self {
        let link = |end: &Endpoint| Link { ifi: end.ifi, address: end.address, port: end.port };
        let config = config.into();
        let up = !matches!(config.acp, Acp::None);
        let node = Node::new(config, false);
        node.set_secure(up);
        let links = links.iter().map(link).collect();
        let addresses = Addresses { global: Some(global), links, ..Addresses::default() };
        node.registries.links.set(&Arc::new(addresses));
        Self {
            node,
            queue: VecDeque::new(),
            responses: Vec::new(),
            relays: Vec::new(),
            searches: Vec::new(),
            sessions: Vec::new(),
            values: Values::new(),
            adjacencies: neighbours::Adjacencies::default(),
        }
    }

    /// Draws session identifiers from this generator instead of the system's, so that a run can be repeated.
    pub fn draw_identifiers(&self, mut random: impl FnMut() -> u32 + Send + 'static) {
        self.node.registries.identifiers.draw_from(move |block| block.push(random()));
    }

    /// Reports the substrate as up or down from now on.
    pub fn set_secure(&self, up: bool) {
        self.node.set_secure(up);
    }

    /// Registers an objective that answers discoveries at once.
    ///
    /// # Errors
    /// As [`Engine::register_obj`](crate::Engine::register_obj).
    pub fn offer(&self, objective: &Objective, port: u16) -> Result<()> {
        self.register(objective, port, |_| {})
    }

    fn register(
        &self,
        objective: &Objective,
        port: u16,
        change: impl FnOnce(&mut Registration),
    ) -> Result<()> {
        let mut registration = Registration {
            ttl: self.node.config.objective_ttl,
            discoverable: true,
            overlap: false,
            local: false,
            rapid: false,
            locators: Vec::new(),
            port,
            listener: None,
        };
        change(&mut registration);
        self.node.registries.objectives.register(ASA, objective, registration).map(drop)
    }

    /// Floods an objective with this node's own address as its locator.
    ///
    /// # Errors
    /// As [`Engine::flood`](crate::Engine::flood).
    pub fn flood(&self, objective: &Objective, ttl: u32, now: u64) -> Result<Vec<Output>> {
        let address = self.node.addresses().session_locator();
        let tagged = [TaggedObjective::new(objective.clone(), Some(AsaLocator::new(address, None)))];
        let plan = self.node.plan_flood(&tagged, ttl, self.node.config.multicast_send_size)?;
        plan.begin(now);
        Ok(self.multicast(plan.datagram(None), Links::All))
    }

    /// Starts a discovery, like a call of `discover` that finds nothing in the cache.
    ///
    /// # Errors
    /// As [`Engine::discover`](crate::Engine::discover).
    pub fn discover(&mut self, objective: &Objective, timeout: Option<u32>, now: u64) -> Result<Vec<Output>> {
        let (mailbox, answers) = Answers::new(self.node.config.response_queue);
        let wanted = Wanted { enough: usize::MAX, most: usize::MAX, ..Wanted::default() };
        let size = self.node.config.multicast_send_size;
        let search = self.node.search(objective, timeout, wanted, mailbox, size, now);
        let mut open = OpenSearch { search, answers };
        let outputs = self.go_on(&mut open, now)?;
        self.searches.push(open);
        Ok(outputs.unwrap_or_default())
    }

    /// Lets a search do its next steps; `None` once it is over.
    fn go_on(&self, open: &mut OpenSearch, now: u64) -> Result<Option<Vec<Output>>> {
        let mut outputs = Vec::new();
        let before = open.search.found();
        loop {
            match open.search.next(now)? {
                Step::Ask(datagram) => outputs.extend(self.multicast(datagram, Links::All)),
                Step::Wait(at) => {
                    // Before it asks again, a search looks at what others have learned.
                    let locators = open.search.found() - before;
                    outputs.extend((locators > 0).then_some(Output::Found { locators }));
                    outputs.push(Output::Wake { at });
                    return Ok(Some(outputs));
                }
                Step::Done => return Ok(None),
            }
        }
    }

    /// Receives a datagram sent to the group; `from` is its source, on this node's interface.
    pub fn receive_datagram(&mut self, from: Endpoint, datagram: &[u8], now: u64) -> Vec<Output> {
        self.receive(from, true, datagram, now)
    }

    /// Receives a datagram sent to port 7017 of this node only.
    pub fn receive_unicast(&mut self, from: Endpoint, datagram: &[u8], now: u64) -> Vec<Output> {
        self.receive(from, false, datagram, now)
    }

    fn receive(&mut self, from: Endpoint, multicast: bool, bytes: &[u8], now: u64) -> Vec<Output> {
        let datagram = self.admit(from, multicast, bytes, now);
        datagram.map(|datagram| self.handle(*datagram, now)).unwrap_or_default()
    }

    fn admit(&self, from: Endpoint, multicast: bool, bytes: &[u8], now: u64) -> Option<Box<Datagram>> {
        let arrival = Arrival { ifi: from.ifi, source: from.address, port: from.port, multicast };
        let case = self.node.gate(&arrival, bytes.len())?;
        self.node.take_datagram(case, arrival, bytes, now)
    }

    /// Receives a datagram sent to the group, and leaves it in the queue of `_mhandler`, where it keeps its permits. Returns
    /// whether it waits there; otherwise it is dropped and counted.
    pub fn enqueue(&mut self, from: Endpoint, datagram: &[u8], now: u64) -> bool {
        let admitted = self.admit(from, true, datagram, now);
        let waits = admitted.is_some();
        self.queue.extend(admitted);
        waits
    }

    /// Handles the next datagram of the queue, in the order of arrival. `None` if there is none.
    pub fn handle_next(&mut self, now: u64) -> Option<Vec<Output>> {
        let datagram = self.queue.pop_front()?;
        Some(self.handle(*datagram, now))
    }

    /// How many datagrams wait in the queue.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    fn handle(&mut self, datagram: Datagram, now: u64) -> Vec<Output> {
        match self.node.datagram(datagram, now) {
            None => Vec::new(),
            Some(Effect::Respond(response)) => vec![self.respond(response)],
            // Nobody listens for negotiations here.
            Some(Effect::Negotiate { otherwise, .. }) => vec![self.respond(otherwise)],
            Some(Effect::RelayFlood { except, session, datagram, case }) => {
                self.node.flood_relayed(session, except, case);
                self.multicast(datagram, Links::Except(except))
            }
            Some(Effect::RelayDiscovery(task)) => self.relay(task, now),
        }
    }

    fn relay(&mut self, mut task: RelayTask, now: u64) -> Vec<Output> {
        let (mailbox, answers) = Answers::new(self.node.config.response_queue);
        let datagram = std::mem::take(&mut task.datagram);
        let until = now.saturating_add(task.timeout);
        let Some(relay) = task.open(mailbox, now) else { return Vec::new() };
        // Another relay may have made room for this one.
        self.relays.retain(|open| !open.answers.are_over());
        let goes_on = relay.goes_on_after().map(|wait| (now.saturating_add(wait), datagram.clone()));
        let mut outputs = relay.links().map(|links| self.multicast(datagram, links)).unwrap_or_default();
        outputs.extend(goes_on.iter().map(|(at, _)| Output::Wake { at: *at }));
        outputs.push(Output::Wake { at: until });
        self.relays.push(OpenRelay { relay, until, goes_on, answers });
        outputs
    }

    /// Receives a response over TCP, or the message that replaces it in rapid mode, on an interface from an address.
    pub fn receive_response(&mut self, ifi: u32, peer: Ipv6Addr, message: &[u8], now: u64) -> Vec<Output> {
        let Some((message, case, transport)) = self.first_message(ifi, peer, message) else {
            return Vec::new();
        };
        self.node.answer(ifi, &transport, message, case, now);
        let mut outputs = self.pass_on(now);
        outputs.extend(self.take_answers(now));
        outputs
    }

    /// Decodes the first message of a new connection.
    fn first_message(
        &self,
        ifi: u32,
        peer: Ipv6Addr,
        bytes: &[u8],
    ) -> Option<(crate::wire::Message, requests::MessageCase, Arc<dyn Transport>)> {
        let accepted = self.node.connection();
        let transport = requests::transport(&self.node, ifi, peer);
        match self.node.first_message(bytes) {
            FirstMessage::Message(message, case) => {
                accepted.settle(requests::FIRST);
                Some((*message, case, transport))
            }
            // No further message follows here.
            FirstMessage::Skipped | FirstMessage::Wrong => {
                accepted.settle(requests::BAD);
                None
            }
        }
    }

    /// Lets the relays pass on the answers in their mailboxes.
    fn pass_on(&mut self, now: u64) -> Vec<Output> {
        let mut responses = Vec::new();
        for open in &mut self.relays {
            let answers = open.answers.take().into_iter();
            responses.extend(answers.filter_map(|answer| open.relay.pass_on(&answer, now)));
        }
        responses.into_iter().map(|response| self.respond(response)).collect()
    }

    /// Lets the searches take the answers in their mailboxes.
    fn take_answers(&mut self, now: u64) -> Vec<Output> {
        let mut outputs = Vec::new();
        for open in &mut self.searches {
            let before = open.search.found();
            open.answers.take().into_iter().for_each(|answer| open.search.take(answer));
            let locators = open.search.found() - before;
            if locators > 0 {
                outputs.push(Output::Found { locators });
            }
            if (locators > 0 || open.search.is_doubted())
                && let Ok(Step::Wait(at)) = open.search.next(now)
            {
                outputs.push(Output::Wake { at });
            }
        }
        outputs
    }

    fn respond(&mut self, response: Response) -> Output {
        let Response { to, message, ticket } = response;
        let to = Endpoint { ifi: to.ifi, address: to.source, port: to.port };
        self.responses.push((to, ticket));
        Output::Respond { to, message: encode(&message) }
    }

    /// Records that a response has reached its asker.
    pub fn response_sent(&mut self, to: Endpoint) {
        self.take_ticket(to).into_iter().for_each(Ticket::sent);
    }

    /// Records that a response did not reach its asker.
    pub fn response_failed(&mut self, to: Endpoint) {
        self.take_ticket(to).into_iter().for_each(Ticket::failed);
    }

    fn take_ticket(&mut self, to: Endpoint) -> Option<Ticket> {
        let index = self.responses.iter().position(|(asker, _)| *asker == to)?;
        Some(self.responses.swap_remove(index).1)
    }

    /// Ends the relays whose time is over; lets discoveries that have waited long enough ask again or end.
    pub fn advance(&mut self, now: u64) -> Vec<Output> {
        self.relays.retain(|open| open.until > now);
        let mut outputs = self.go_on_relaying(now);
        for mut open in std::mem::take(&mut self.searches) {
            if let Ok(Some(more)) = self.go_on(&mut open, now) {
                outputs.extend(more);
                self.searches.push(open);
            }
        }
        outputs
    }

    /// Relays the merged discoveries whose wait is over.
    fn go_on_relaying(&mut self, now: u64) -> Vec<Output> {
        let mut due = Vec::new();
        for open in &mut self.relays {
            if let Some((_, datagram)) = open.goes_on.take_if(|(at, _)| *at <= now) {
                due.extend(open.relay.go_on(now).map(|links| (datagram, links)));
            }
        }
        due.into_iter().flat_map(|(datagram, links)| self.multicast(datagram, links)).collect()
    }

    fn multicast(&self, datagram: Vec<u8>, to: Links) -> Vec<Output> {
        let datagram: Arc<[u8]> = datagram.into();
        let addresses = self.node.addresses();
        let links = addresses.links.iter().filter(|link| to.include(link.ifi));
        links.map(|link| Output::Multicast { ifi: link.ifi, datagram: Arc::clone(&datagram) }).collect()
    }

    /// The node's statistics. They do not include what the engine counts when it sends.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.node.stats()
    }

    /// The number of values of an objective in the flood cache.
    #[must_use]
    pub fn flooded(&self, name: &str, now: u64) -> usize {
        self.node.registries.floods.lookup(name, now).len()
    }

    /// The known locators of an objective.
    #[must_use]
    pub fn found(&self, name: &str, now: u64) -> Vec<AsaLocator> {
        self.node.registries.discovery.lookup(name, now)
    }

    /// The calls that look for something return: what they wanted is found, or their ASA has given up.
    pub fn end_searches(&mut self) {
        self.searches.clear();
    }

    /// Nobody answers at this locator: forgets it, as a call does that cannot connect.
    pub fn unreached(&self, name: &str, locator: &AsaLocator, now: u64) {
        self.node.registries.discovery.remove(name, locator, now);
    }

    /// The number of open sessions: discoveries that started here or are relayed.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.node.registries.sessions.open_count()
    }

    /// The number of open relays now, and its maximum so far.
    #[must_use]
    pub fn relays(&self) -> (usize, usize) {
        (self.relays.len(), usize::try_from(self.node.stats().relays_peak).unwrap_or(usize::MAX))
    }

    /// The number of responses in progress.
    #[must_use]
    pub const fn responses_on_their_way(&self) -> usize {
        self.responses.len()
    }

    /// The number of relayed discoveries and floods that the node remembers.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.node.registries.recent.relayed_count()
    }
}
