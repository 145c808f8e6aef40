//! Requests, sessions and listeners of a simulated node, for fuzzing: the events that the engine's threads and the
//! `api` calls pass to the node, on connections without a peer.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::{ASA, SimulatedNode};
use crate::bounds::Neighbour;
use crate::error::Result;
use crate::node::{NegotiationReply, Node, Requested, SynchReply};
use crate::outcome::{Case, ConnectionOutcome, MessageOutcome, RequestOutcome};
use crate::registry::{Exchange, Nowhere, SynchRequest, Transport, TransportError};
use crate::trace::Ending;
use crate::types::{AsaLocator, Objective, SessionNonce};

pub(super) type MessageCase = Case<MessageOutcome>;
pub(super) const FIRST: ConnectionOutcome = ConnectionOutcome::FirstMessage;
pub(super) const BAD: ConnectionOutcome = ConnectionOutcome::BadRequest;

/// The requests for the value of each objective.
pub(super) type Values = HashMap<String, Receiver<SynchRequest>>;

/// A session of a simulated node.
#[derive(Debug)]
pub(super) struct Session {
    nonce: SessionNonce,
    exchange: Exchange,
    /// Whether it waits for a value; otherwise it waits for a step of a negotiation.
    wants_value: bool,
}

/// A connection that the node knows but that has no peer.
#[derive(Debug)]
struct Pretended {
    node: Arc<Node>,
    end: Nowhere,
}

/// Creates an accepted connection from a peer.
pub(super) fn transport(node: &Arc<Node>, ifi: u32, peer: Ipv6Addr) -> Arc<dyn Transport> {
    Arc::new(Pretended { node: Arc::clone(node), end: Nowhere(peer, ifi) })
}

impl Drop for Pretended {
    fn drop(&mut self) {
        self.node.connection_closed();
    }
}

impl Transport for Pretended {
    fn send(&self, message: &[u8], deadline: Instant) -> std::result::Result<(), TransportError> {
        self.end.send(message, deadline)
    }

    fn receive(&self, deadline: Instant) -> std::result::Result<Vec<u8>, TransportError> {
        self.end.receive(deadline)
    }

    fn has_unread(&self) -> bool {
        false
    }

    fn is_over(&self) -> bool {
        false
    }

    fn pause_before_next(&self, _: Duration) {}

    fn close(&self) {}

    fn reset(&self) {}

    fn peer(&self) -> Ipv6Addr {
        self.end.peer()
    }

    fn neighbour(&self) -> Neighbour {
        self.end.neighbour()
    }

    fn is_from_here(&self) -> bool {
        false
    }
}

impl SimulatedNode {
    /// Registers an objective, discoverable at once or only after it starts to listen.
    ///
    /// # Errors
    /// As [`Engine::register_obj`](crate::Engine::register_obj).
    pub fn register_objective(
        &self,
        objective: &Objective,
        (discoverable, rapid): (bool, bool),
        locators: Vec<AsaLocator>,
    ) -> Result<()> {
        self.register(objective, 4711, |registration| {
            registration.discoverable = discoverable;
            registration.rapid = rapid;
            registration.locators = locators;
        })
    }

    /// Deregisters an objective.
    pub fn deregister(&mut self, name: &str) {
        let _ = self.node.registries.objectives.deregister(ASA, name);
        self.values.remove(name);
    }

    /// Starts or stops listening for negotiations about an objective.
    pub fn listen(&self, name: &str, listens: bool) {
        if listens {
            let _ = self.node.registries.objectives.begin_listening(ASA, name);
        } else {
            self.node.registries.objectives.stop_negotiate(ASA, name);
        }
    }

    /// Starts to serve the value of an objective.
    pub fn serve(&mut self, objective: &Objective) {
        let objectives = &self.node.registries.objectives;
        let begun = objectives.begin_synchronization(ASA, objective, self.node.config.request_queue);
        if let Ok(Some(requests)) = begun {
            self.values.insert(objective.name.clone(), requests);
        }
    }

    /// Receives the first message of a connection to an objective's port. Returns whether a session began.
    pub fn receive_request(&mut self, peer: Ipv6Addr, message: &[u8], now: u64) -> bool {
        let Some((message, case, transport)) = self.first_message(0, peer, message) else { return false };
        match self.node.request(message, case, transport, now) {
            None => false,
            Some(Requested::Respond(response, _)) => {
                response.ticket.sent();
                false
            }
            Some(Requested::Refuse(_)) => false,
            Some(Requested::Negotiate(place, request)) => {
                drop(place);
                let accepted = self.node.accept(ASA, request);
                let session =
                    accepted.map(|(nonce, exchange, _)| Session { nonce, exchange, wants_value: false });
                let began = session.is_ok();
                self.sessions.extend(session);
                began
            }
            Some(Requested::Synchronize(_, tx, request)) => {
                if let Err(unsent) = tx.try_send(request) {
                    unsent.into_inner().case.settle(RequestOutcome::QueueFull);
                }
                for (name, requests) in &self.values {
                    for request in requests.try_iter() {
                        let value = self.node.value_for(name, request.session);
                        let sent = value.map_or(RequestOutcome::NotListening, |_| RequestOutcome::ValueSent);
                        request.case.settle(sent);
                    }
                }
                false
            }
        }
    }

    /// Opens a session with a peer, like `req_negotiate` and `synchronize` after connecting. Returns its identifier.
    ///
    /// # Errors
    /// If the session limit is reached.
    pub fn open_session(&mut self, peer: Ipv6Addr, objective: &Objective, wants_value: bool) -> Result<u32> {
        let id = self.node.new_id()?;
        self.node.connection_opened();
        let transport = transport(&self.node, 0, peer);
        let exchange =
            Exchange { owner: ASA, transport, name: objective.name.as_str().into(), dry: objective.dry };
        let nonce = self.node.open_exchange(id, exchange.clone())?;
        self.sessions.push(Session { nonce, exchange, wants_value });
        Ok(id)
    }

    /// Receives a message in a session; `session` is its index among the open ones. Ends the session in the cases in
    /// which the waiting calls end it. Returns whether it continues; `None` if there is no such session.
    pub fn receive_reply(&mut self, session: usize, message: &[u8]) -> Option<bool> {
        let Session { nonce, exchange, wants_value } = self.sessions.get(session)?;
        let goes_on = if *wants_value {
            self.node.synch_message(nonce.id_value, exchange, message) == SynchReply::Ignore
        } else {
            let reply = self.node.negotiation_message(nonce.id_value, exchange, message);
            matches!(reply, NegotiationReply::Offer(_) | NegotiationReply::Wait(_) | NegotiationReply::Ignore)
        };
        if !goes_on {
            self.end_session(session);
        }
        Some(goes_on)
    }

    /// Ends a session; `session` is its index among the open ones.
    pub fn end_session(&mut self, session: usize) {
        if session < self.sessions.len() {
            let ended = self.sessions.remove(session);
            self.node.registries.sessions.end(ended.nonce, Ending::Stopped);
        }
    }

    /// The open sessions with peers: the identifier and the objective of each.
    #[must_use]
    pub fn sessions(&self) -> Vec<(u32, String)> {
        let open = self.sessions.iter();
        open.map(|session| (session.nonce.id_value, session.exchange.name.to_string())).collect()
    }

    /// Removes expired entries, as `_watcher` does.
    pub fn purge(&self, now: u64) {
        self.node.purge(now);
    }

    /// The sizes of the caches: the number of objectives in the discovery cache, the largest number of locators of one,
    /// and the number of entries in the flood cache.
    #[must_use]
    pub fn cached(&self) -> (usize, usize, usize) {
        let discovered = self.node.registries.discovery.list();
        let most = discovered.iter().map(|(_, locators, _)| locators.len()).max().unwrap_or(0);
        (discovered.len(), most, self.node.registries.floods.views().len())
    }
}
