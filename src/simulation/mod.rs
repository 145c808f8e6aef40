//! One node for a simulator: `proto` and `registry` as they are, without threads, sockets or a clock. Internal:
//! only the feature `_simulator` has it, for `grasptests`, and it may change at any time.
//!
//! A [`SimulatedNode`] stands for one engine. The simulator tells it what arrives and what time it is; the node
//! answers with [`Output`]s, which are what the threads would do: `_mhandler` ([`SimulatedNode::receive_datagram`]),
//! `_drlisten` ([`SimulatedNode::receive_response`]), `_disc_relay` and a blocked `discover`
//! ([`SimulatedNode::advance`]). Every decision is made by the functions that they call, within the same bounds.

mod connection;
mod dialogue;

pub use connection::{ReceiveError, SimulatedAssembly, SimulatedConnection};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::{Acp, Config};
use crate::error::{Error, Result};
use crate::proto::{
    Action, Addresses, Arrival, Asking, Link, Node, cache_own_flood, discovery_datagram, flood_datagram,
    handle_answer, handle_datagram, relayed_response,
};
use crate::registry::{DiscoveryAnswer, Found, Nowhere, Registration, Registries, Transport};
use crate::stats::{Counters, Stats};
use crate::threads::{Admitted, Askers, NotAdmitted};
use crate::types::{AsaLocator, AsaNonce, Objective, TaggedObjective};
use crate::wire::{Body, Limits, Message, decode, encode};

/// An interface of a node, or a sender as it is seen on one: the index is the one of the node that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Index of the interface.
    pub ifi: u32,
    /// Link-local address.
    pub address: Ipv6Addr,
    /// The port that multicasts are sent from and responses come to.
    pub port: u16,
}

/// What the simulator has to do for a node.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send a datagram to the group on an interface.
    Multicast {
        /// Index of the interface.
        ifi: u32,
        /// The datagram.
        datagram: Arc<[u8]>,
    },
    /// Connect to an asker, send it a message, and then say [`SimulatedNode::response_sent`].
    Respond {
        /// The asker, on this node's interface.
        to: Endpoint,
        /// The message.
        message: Vec<u8>,
    },
    /// Call [`SimulatedNode::advance`] at this time, in milliseconds.
    Wake {
        /// When.
        at: u64,
    },
    /// A discovery that began here was given so many locators.
    Found {
        /// How many.
        locators: usize,
    },
}

/// One engine on virtual time. Times are milliseconds.
#[derive(Debug)]
pub struct SimulatedNode {
    config: Config,
    registries: Registries,
    addresses: Addresses,
    counters: Arc<Counters>,
    askers: Askers,
    /// Responses on their way.
    responders: Vec<Admitted>,
    relays: BTreeMap<(u32, IpAddr), Relay>,
    searches: Vec<Search>,
    relay_peak: usize,
    sessions: Vec<dialogue::Session>,
    values: dialogue::Values,
}

/// What `_disc_relay` knows.
#[derive(Debug)]
struct Relay {
    asker: Arrival,
    name: String,
    until: u64,
    answers: Receiver<DiscoveryAnswer>,
}

/// What a blocked `discover` knows.
#[derive(Debug)]
struct Search {
    objective: Objective,
    began: u64,
    asking: Asking,
    until: u64,
    found: usize,
    sessions: Vec<u32>,
    mailbox: Sender<DiscoveryAnswer>,
    answers: Receiver<DiscoveryAnswer>,
}

/// The one ASA of a node.
const ASA: AsaNonce = AsaNonce(1);

impl SimulatedNode {
    /// A node with these interfaces and a global address.
    #[must_use]
    pub fn new(config: Config, links: &[Endpoint], global: Ipv6Addr) -> Self {
        let link = |end: &Endpoint| Link { ifi: end.ifi, address: end.address, port: end.port };
        let counters = Arc::<Counters>::default();
        Self {
            registries: Registries::new(&config, &counters),
            addresses: Addresses { global: Some(global), links: links.iter().map(link).collect() },
            counters,
            askers: Askers::default(),
            responders: Vec::new(),
            relays: BTreeMap::new(),
            searches: Vec::new(),
            relay_peak: 0,
            sessions: Vec::new(),
            values: dialogue::Values::new(),
            config,
        }
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
            ttl: self.config.objective_ttl,
            discoverable: true,
            overlap: false,
            local: false,
            rapid: false,
            locators: Vec::new(),
            port,
            listener: None,
        };
        change(&mut registration);
        self.registries.objectives.register(ASA, objective, registration).map(drop)
    }

    /// Floods an objective with this node's own address as its locator.
    ///
    /// # Errors
    /// [`Error::Unspec`](crate::Error::Unspec) if no identifier can be drawn, or the message is too large.
    pub fn flood(&self, objective: &Objective, ttl: u32, now: u64) -> Result<Vec<Output>> {
        let address = self.addresses.session_locator();
        let initiator = IpAddr::V6(address);
        let session = self.registries.sessions.flood_id(initiator)?;
        let tagged = [TaggedObjective::new(objective.clone(), Some(AsaLocator::new(address, None)))];
        let datagram = flood_datagram((session, initiator), ttl, &tagged, None);
        if datagram.len() > self.config.multicast_send_size {
            return Err(Error::Unspec);
        }
        cache_own_flood(&self.node(), &tagged, ttl, now);
        self.counters.floods_sent.add();
        Ok(self.multicast(datagram, None))
    }

    /// Begins a discovery, as a call of `discover` does that finds nothing in its cache.
    ///
    /// # Errors
    /// [`Error::Unspec`](crate::Error::Unspec) if no identifier can be drawn.
    pub fn discover(&mut self, objective: &Objective, timeout: Option<u32>, now: u64) -> Result<Vec<Output>> {
        let (mailbox, answers) = bounded(self.config.response_queue);
        let mut search = Search {
            objective: objective.clone(),
            began: now,
            asking: Asking::new(objective.loop_count, timeout),
            until: now,
            found: 0,
            sessions: Vec::new(),
            mailbox,
            answers,
        };
        let outputs = self.ask(&mut search, now)?;
        self.searches.push(search);
        Ok(outputs)
    }

    /// Asks once more, if the search has time for it; it has no further session otherwise.
    fn ask(&self, search: &mut Search, now: u64) -> Result<Vec<Output>> {
        let Some(until) = search.asking.next(now.saturating_sub(search.began)) else {
            return Ok(Vec::new());
        };
        search.until = search.began.saturating_add(until);
        let initiator = IpAddr::V6(self.addresses.session_locator());
        let (sessions, objective) = (&self.registries.sessions, &search.objective);
        let session = sessions.open_discovery(initiator, &objective.name, search.mailbox.clone())?;
        search.sessions.push(session);
        let datagram = discovery_datagram((session, initiator), objective, self.config.multicast_send_size);
        let mut outputs = self.multicast(datagram.unwrap_or_default(), None);
        outputs.push(Output::Wake { at: search.until });
        Ok(outputs)
    }

    /// A datagram has come to the group; the endpoint is its source, on this node's interface.
    pub fn receive_datagram(&mut self, from: Endpoint, datagram: &[u8], now: u64) -> Vec<Output> {
        self.counters.multicast_received.add();
        self.receive(from, true, datagram, now)
    }

    /// A datagram has come to port 7017 of this node alone.
    pub fn receive_unicast(&mut self, from: Endpoint, datagram: &[u8], now: u64) -> Vec<Output> {
        self.counters.unicast_datagram_received.add();
        self.receive(from, false, datagram, now)
    }

    fn receive(&mut self, from: Endpoint, multicast: bool, datagram: &[u8], now: u64) -> Vec<Output> {
        let limits = Limits { size: self.config.multicast_size, depth: self.config.nesting };
        let Ok(message) = decode(datagram, &limits) else {
            self.counters.dropped_malformed.add();
            return Vec::new();
        };
        let arrival = Arrival { ifi: from.ifi, source: from.address, port: from.port, multicast };
        let actions = handle_datagram(&self.node(), arrival, &message, datagram, now);
        let mut outputs = Vec::new();
        for action in actions {
            match action {
                Action::Respond { to, message } => outputs.extend(self.respond(to, &message)),
                // Nobody listens for negotiations.
                Action::RapidNegotiate { to, otherwise, .. } => outputs.extend(self.respond(to, &otherwise)),
                Action::Relay { except, datagram } => {
                    self.counters.floods_relayed.add();
                    outputs.extend(self.multicast(datagram, Some(except)));
                }
                Action::RelayDiscovery { asker, session, initiator, name, timeout, datagram } => {
                    let until = now.saturating_add(timeout);
                    outputs.extend(self.relay(asker, (session, initiator), name, until, datagram));
                }
            }
        }
        outputs
    }

    /// As `threads::disc_relay` does until it waits.
    fn relay(
        &mut self,
        asker: Arrival,
        (session, initiator): (u32, IpAddr),
        name: String,
        until: u64,
        datagram: Vec<u8>,
    ) -> Vec<Output> {
        let neighbour = (asker.ifi, asker.source);
        let share = self.relays.values().filter(|relay| (relay.asker.ifi, relay.asker.source) == neighbour);
        if self.relays.len() >= self.config.relay_limit || share.count() >= self.config.relays_per_neighbour {
            self.counters.dropped_relay_full.add();
            return Vec::new();
        }
        let (mailbox, answers) = bounded(self.config.response_queue);
        if !self.registries.sessions.open_relay(session, initiator, &name, mailbox) {
            self.counters.not_relayed_open.add();
            return Vec::new();
        }
        self.relays.insert((session, initiator), Relay { asker, name, until, answers });
        self.relay_peak = self.relay_peak.max(self.relays.len());
        let mut outputs = self.multicast(datagram, Some(asker.ifi));
        outputs.push(Output::Wake { at: until });
        outputs
    }

    /// A response, or what stands for one in rapid mode, has come by TCP, on an interface, from an address.
    pub fn receive_response(&mut self, ifi: u32, peer: Ipv6Addr, message: &[u8], now: u64) -> Vec<Output> {
        let Some(message) = self.first_message(message) else { return Vec::new() };
        let id = match &message.body {
            Body::Response(response) => Some((response.session, response.initiator)),
            _ => None,
        };
        let transport: Arc<dyn Transport> = Arc::new(Nowhere(peer, 0));
        let Some(delivery) = handle_answer(&self.node(), ifi, &transport, message, now) else {
            return Vec::new();
        };
        match delivery.mailbox.try_send(delivery.answer) {
            Ok(()) => self.counters.answers_delivered.add(),
            Err(_) => self.counters.dropped_mailbox_full.add(),
        }
        let Some(id) = id else { return Vec::new() };
        let mut outputs = self.pass_on(id, now);
        let own = |search: &&mut Search| search.sessions.contains(&id.0);
        if let Some(search) = self.searches.iter_mut().find(own) {
            let locators = found(&search.answers).map(|answer| answer.locators.len()).sum();
            search.found += locators;
            if locators > 0 {
                search.until = search.began.saturating_add(search.asking.deadline());
                outputs.extend([Output::Found { locators }, Output::Wake { at: search.until }]);
            }
        }
        outputs
    }

    /// What a relay does with the answers in its mailbox.
    fn pass_on(&mut self, id: (u32, IpAddr), now: u64) -> Vec<Output> {
        let Some(relay) = self.relays.get(&id) else { return Vec::new() };
        let (asker, answers) = (relay.asker, found(&relay.answers).collect::<Vec<_>>());
        let node = self.node();
        let response = |answer| relayed_response(&node, asker.ifi, id, &relay.name, answer, now);
        let responses: Vec<_> = answers.iter().filter_map(response).collect();
        self.counters.answers_relayed.add_many(responses.len());
        self.counters.answers_not_relayed.add_many(answers.len() - responses.len());
        responses.iter().filter_map(|response| self.respond(asker, response)).collect()
    }

    /// As `threads::responder` does until it connects.
    fn respond(&mut self, to: Arrival, message: &Message) -> Option<Output> {
        if self.responders.len() >= self.config.responder_limit {
            self.counters.dropped_responder_full.add();
            return None;
        }
        let (each, strangers) = (self.config.responders_per_asker, self.config.responders_for_strangers);
        let admitted = match self.askers.enter((to.ifi, to.source), to.port, each, strangers) {
            Ok(admitted) => admitted,
            Err(NotAdmitted::Asker) => {
                self.counters.dropped_asker_limit.add();
                return None;
            }
            Err(NotAdmitted::Strangers) => {
                self.counters.dropped_responder_full.add();
                return None;
            }
        };
        self.responders.push(admitted);
        let to = Endpoint { ifi: to.ifi, address: to.source, port: to.port };
        Some(Output::Respond { to, message: encode(message) })
    }

    /// A response has reached its asker.
    pub fn response_sent(&mut self, to: Endpoint) {
        let is_to = |admitted: &Admitted| admitted.asker() == (to.ifi, to.address);
        if let Some(index) = self.responders.iter().position(is_to) {
            self.askers.leave(self.responders.swap_remove(index), true);
        }
        self.counters.connections_opened.add();
        self.counters.connections_closed.add();
        self.counters.messages_sent.add();
        self.counters.responses_sent.add();
    }

    /// Ends the relays whose time is over; asks again, or ends, where a discovery has waited long enough.
    pub fn advance(&mut self, now: u64) -> Vec<Output> {
        let over: Vec<_> =
            self.relays.iter().filter(|(_, relay)| relay.until <= now).map(|(id, _)| *id).collect();
        for (session, initiator) in over {
            self.registries.sessions.end_discovery(session, Some(initiator));
            self.relays.remove(&(session, initiator));
        }
        let mut outputs = Vec::new();
        for mut search in std::mem::take(&mut self.searches) {
            if search.until > now {
                self.searches.push(search);
                continue;
            }
            let asked = if search.found == 0 { self.ask(&mut search, now) } else { Ok(Vec::new()) };
            match asked {
                Ok(asked) if !asked.is_empty() => {
                    outputs.extend(asked);
                    self.searches.push(search);
                }
                _ => {
                    for session in search.sessions {
                        self.registries.sessions.end_discovery(session, None);
                    }
                }
            }
        }
        outputs
    }

    fn multicast(&self, datagram: Vec<u8>, except: Option<u32>) -> Vec<Output> {
        let datagram: Arc<[u8]> = datagram.into();
        let links = self.addresses.links.iter().filter(|link| Some(link.ifi) != except);
        links
            .map(|link| {
                self.counters.multicast_sent.add();
                Output::Multicast { ifi: link.ifi, datagram: Arc::clone(&datagram) }
            })
            .collect()
    }

    fn node(&self) -> Node<'_> {
        Node {
            config: &self.config,
            registries: &self.registries,
            addresses: &self.addresses,
            counters: &self.counters,
            secure: !self.config.dull && !matches!(self.config.acp, Acp::None),
            test_divert: false,
        }
    }

    /// What the node has counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.counters.snapshot()
    }

    /// How many values of an objective are in the flood cache.
    #[must_use]
    pub fn flooded(&self, name: &str, now: u64) -> usize {
        self.registries.floods.lookup(name, now).len()
    }

    /// What is known of an objective.
    #[must_use]
    pub fn found(&self, name: &str, now: u64) -> Vec<AsaLocator> {
        self.registries.discovery.lookup(name, now)
    }

    /// Open sessions: discoveries that began here or are relayed.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.registries.sessions.open_count()
    }

    /// Relays that are open, and how many were at most.
    #[must_use]
    pub fn relays(&self) -> (usize, usize) {
        (self.relays.len(), self.relay_peak)
    }

    /// Responses on their way.
    #[must_use]
    pub const fn responses_on_their_way(&self) -> usize {
        self.responders.len()
    }

    /// How many relayed discoveries and floods the node remembers.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.registries.sessions.relayed_count()
    }
}

/// The answers in a mailbox. Nobody asks in rapid mode.
fn found(answers: &Receiver<DiscoveryAnswer>) -> impl Iterator<Item = Found> {
    answers.try_iter().filter_map(|answer| match answer {
        DiscoveryAnswer::Found(found) => Some(found),
        DiscoveryAnswer::Rapid { .. } => None,
    })
}
