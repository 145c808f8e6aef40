//! Requests, sessions and listeners of a simulated node, for fuzzing: what `threads::tcp_listen`, `_synch_listen` and
//! the calls of `api` do with a message once it has come, without connections that lead anywhere.

use std::net::Ipv6Addr;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::{ASA, SimulatedNode};
use crate::error::Result;
use crate::proto::{NegotiationReply, Request, SynchReply, classify_request, negotiation_reply, synch_reply};
use crate::registry::{Dialogue, Dispatch, Nowhere, QueueLimits, SynchRequest, Transport};
use crate::trace::Ending;
use crate::types::{AsaLocator, Objective, SessionNonce};
use crate::wire::{Body, Limits, Message, decode};

/// A session of a simulated node.
#[derive(Debug)]
pub(super) struct Session {
    nonce: SessionNonce,
    dialogue: Dialogue,
    /// It waits for a value; otherwise for a step of a negotiation.
    wants_value: bool,
}

impl SimulatedNode {
    /// Registers an objective as an ASA does that is not discoverable before it listens, or is at once.
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
        let _ = self.registries.objectives.deregister(ASA, name);
        self.values.remove(name);
    }

    /// Somebody listens for negotiations about an objective from now on, or nobody.
    pub fn listen(&self, name: &str, listens: bool) {
        if listens {
            let _ = self.registries.objectives.begin_listening(ASA, name);
        } else {
            self.registries.objectives.stop_negotiate(ASA, name);
        }
    }

    /// Serves the value of an objective from now on.
    pub fn serve(&mut self, objective: &Objective) {
        let objectives = &self.registries.objectives;
        let begun = objectives.begin_synchronization(ASA, objective, self.config.request_queue);
        if let Ok(Some(requests)) = begun {
            self.values.insert(objective.name.clone(), requests);
        }
    }

    /// A connection to the port of an objective has brought its first message. Returns whether a session began.
    pub fn receive_request(&mut self, peer: Ipv6Addr, message: &[u8], now: u64) -> bool {
        let count = Arc::clone(&self.counters);
        let Some(message) = self.first_message(message) else { return false };
        if !self.node().secure {
            count.dropped_insecure.add();
            return false;
        }
        match message.body {
            Body::RequestNegotiate(_) => count.negotiation_requests.add(),
            Body::RequestSynchronize(_) => count.synchronization_requests.add(),
            _ => {}
        }
        let transport: Arc<dyn Transport> = Arc::new(Nowhere(peer, 0));
        match classify_request(message, |name| self.registries.objectives.kind(name)) {
            Request::Negotiate { session, objective } => {
                return self.negotiate(session, &objective, transport, now);
            }
            Request::Synchronize { session, .. }
                if self.registries.sessions.is_open_with(session, transport.as_ref()) =>
            {
                count.session_clashes.add();
            }
            Request::Synchronize { session, name } => self.synchronize(session, &name, transport),
            Request::WrongKind => count.refused_wrong_kind.add(),
            Request::Unregistered => count.refused_not_listening.add(),
            Request::Other => count.dropped_misplaced.add(),
        }
        false
    }

    /// As `threads::reader` does: M_NOOP and unknown messages are ignored, and nothing comes after them here.
    pub(super) fn first_message(&self, message: &[u8]) -> Option<Message> {
        let count = &self.counters;
        count.connections_accepted.add();
        count.connections_closed.add();
        count.messages_received.add();
        let limits = Limits { size: self.config.unicast_size, depth: self.config.nesting };
        let ignored = match decode(message, &limits) {
            Ok(Message { body: Body::Noop, .. }) => &count.noop_received,
            Ok(Message { body: Body::Unknown { .. }, .. }) => &count.dropped_unknown_type,
            Ok(message) => {
                count.first_messages.add();
                return Some(message);
            }
            Err(_) => &count.dropped_undecodable,
        };
        ignored.add();
        count.dropped_bad_request.add();
        None
    }

    fn negotiate(
        &mut self,
        session: u32,
        objective: &Objective,
        transport: Arc<dyn Transport>,
        now: u64,
    ) -> bool {
        let (objectives, count) = (&self.registries.objectives, &self.counters);
        let limits = QueueLimits { all: self.config.request_queue, per_peer: self.config.requests_per_peer };
        match objectives.dispatch(&objective.name, transport.as_ref(), now, 0, limits) {
            Dispatch::Listener { tx, owner, .. } => {
                objectives.dispatched(owner, &objective.name, &tx, transport.neighbour());
            }
            Dispatch::NotListening => {
                count.refused_not_listening.add();
                return false;
            }
            Dispatch::QueueFull => {
                count.refused_queue_full.add();
                return false;
            }
        }
        let dialogue =
            Dialogue { owner: ASA, transport, name: objective.name.as_str().into(), dry: objective.dry };
        match self.registries.sessions.accept_dialogue(session, dialogue.clone()) {
            Ok(nonce) => {
                self.sessions.push(Session { nonce, dialogue, wants_value: false });
                return true;
            }
            Err(crate::Error::IdClash) => count.session_clashes.add(),
            Err(_) => count.session_limit.add(),
        }
        false
    }

    fn synchronize(&self, session: u32, name: &str, transport: Arc<dyn Transport>) {
        let count = &self.counters;
        let (Some(tx), Some(requests)) =
            (self.registries.objectives.synchronization(name), self.values.get(name))
        else {
            count.refused_not_listening.add();
            return;
        };
        if tx.try_send(SynchRequest { session, transport }).is_err() {
            count.refused_queue_full.add();
        }
        for _ in requests.try_iter() {
            count.messages_sent.add();
            count.synch_sent.add();
        }
    }

    /// Opens a session with a peer, as `req_negotiate` and `synchronize` do once they are connected. Returns its
    /// identifier.
    ///
    /// # Errors
    /// [`Error::Unspec`](crate::Error::Unspec) at the limit on sessions.
    pub fn open_session(&mut self, peer: Ipv6Addr, objective: &Objective, wants_value: bool) -> Result<u32> {
        let id = self.registries.sessions.request_id()?;
        let transport: Arc<dyn Transport> = Arc::new(Nowhere(peer, 0));
        let dialogue =
            Dialogue { owner: ASA, transport, name: objective.name.as_str().into(), dry: objective.dry };
        let opened = self.registries.sessions.open_dialogue(id, dialogue.clone());
        let nonce = opened.inspect_err(|_| self.counters.sessions_not_opened.add())?;
        self.sessions.push(Session { nonce, dialogue, wants_value });
        Ok(id)
    }

    /// A message has come in a session, counted from the first that is open. Ends the session where the calls
    /// that wait for it do. Returns whether it goes on; `None` if there is no such session.
    pub fn receive_reply(&mut self, session: usize, message: &[u8]) -> Option<bool> {
        let Session { nonce, dialogue, wants_value } = self.sessions.get(session)?;
        let count = &self.counters;
        count.messages_received.add();
        let limits = Limits { size: self.config.unicast_size, depth: self.config.nesting };
        let received = decode(message, &limits);
        let of_type = match received.as_ref().map(|message| &message.body) {
            Ok(Body::Noop) => Some(&count.noop_received),
            Ok(Body::Unknown { .. }) => Some(&count.dropped_unknown_type),
            Ok(Body::Invalid { .. }) => Some(&count.invalid_received),
            _ => None,
        };
        let (fits, goes_on) = if *wants_value {
            let reply = synch_reply(nonce.id_value, &dialogue.name, received);
            (!matches!(reply, SynchReply::Failed(_)), reply == SynchReply::Ignore)
        } else {
            let reply = negotiation_reply(nonce.id_value, &dialogue.name, dialogue.dry, received);
            let goes_on = matches!(
                reply,
                NegotiationReply::Offer(_) | NegotiationReply::Wait(_) | NegotiationReply::Ignore
            );
            (!matches!(reply, NegotiationReply::Failed(_)), goes_on)
        };
        of_type.unwrap_or(if fits { &count.replies_received } else { &count.dropped_bad_reply }).add();
        if !goes_on {
            self.end_session(session);
        }
        Some(goes_on)
    }

    /// Ends a session, counted from the first that is open.
    pub fn end_session(&mut self, session: usize) {
        if session < self.sessions.len() {
            let ended = self.sessions.remove(session);
            self.registries.sessions.end(ended.nonce, Ending::Stopped);
        }
    }

    /// The sessions with peers that are open: the identifier of each and the objective.
    #[must_use]
    pub fn sessions(&self) -> Vec<(u32, String)> {
        self.sessions
            .iter()
            .map(|session| (session.nonce.id_value, session.dialogue.name.to_string()))
            .collect()
    }

    /// Clears away what has expired, as `_watcher` does.
    pub fn purge(&self, now: u64) {
        self.registries.floods.purge(now);
        let known: Vec<_> = self.addresses.links.iter().map(|link| link.ifi).collect();
        self.registries.discovery.purge(now, |ifi| known.contains(&ifi));
    }

    /// How large the caches are: objectives and the most locators of one in the discovery cache, entries of the flood
    /// cache.
    #[must_use]
    pub fn cached(&self) -> (usize, usize, usize) {
        let discovered = self.registries.discovery.list();
        let most = discovered.iter().map(|(_, locators, _)| locators.len()).max().unwrap_or(0);
        (discovered.len(), most, self.registries.floods.list().len())
    }
}

/// The requests for the value of each objective.
pub(super) type Values = std::collections::HashMap<String, Receiver<SynchRequest>>;
