//! The gate: the checks that a datagram or a first message must pass before it is handled. Each check runs once, the
//! cheapest first, and as many as possible run before decryption and decoding.

use std::sync::Arc;

use super::{Arrival, Node};
use crate::bounds::{Neighbour, Permit};
use crate::outcome::{Case, ConnectionOutcome, MessageOutcome};
use crate::wire::{Body, Message, decode};

/// A datagram that has passed the gate, with its permits for the queue.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(super) arrival: Arrival,
    pub(super) message: Message,
    /// The received bytes, which are relayed unchanged.
    pub(super) raw: Vec<u8>,
    pub(super) case: Case<MessageOutcome>,
    _room: (Permit<Neighbour>, Permit<Neighbour>),
}

impl Datagram {
    /// Whether it is a discovery, for whose answer an asker waits.
    pub(crate) const fn is_discovery(&self) -> bool {
        matches!(self.message.body, Body::Discovery { .. })
    }
}

/// The first message of a connection.
#[derive(Debug)]
pub(crate) enum FirstMessage {
    Message(Box<Message>, Case<MessageOutcome>),
    /// Not relevant: the next message counts.
    Skipped,
    Wrong,
}

impl Node {
    /// Counts a datagram, and drops it for reasons that need no decoding. `None` if it is dropped.
    pub(crate) fn gate(&self, arrival: &Arrival, length: usize) -> Option<Case<MessageOutcome>> {
        let case: Case<MessageOutcome> = Case::open(&self.counters, |count| {
            if arrival.multicast { &count.multicast_received } else { &count.unicast_datagram_received }
        });
        self.counters.datagram_bytes_received.add_many(length);
        let outcome = if !self.may_handle() {
            // RFC 8990 §2.5.1, §2.5.6.2: without security, a node does only what a DULL instance may do.
            MessageOutcome::Insecure
        } else if !self.may_come_from(arrival) {
            MessageOutcome::BadSource
        } else if !self.config.listen_self
            && self.addresses().are_source_of(arrival.ifi, arrival.source, arrival.port)
        {
            // A node hears its own multicasts; they must not cost processing time.
            MessageOutcome::Own
        } else {
            return Some(case);
        };
        case.settle(outcome);
        None
    }

    /// RFC 8990 §2.6: the group is link-local, and so is every source. A datagram to an address of wider scope comes
    /// from such an address of a neighbour (see also docs/design.md on unicast).
    fn may_come_from(&self, arrival: &Arrival) -> bool {
        let near = |address| self.addresses().is_on_link(arrival.ifi, address);
        arrival.source.is_unicast_link_local()
            || (!arrival.multicast && !self.config.dull && near(arrival.source))
    }

    /// Decodes a datagram in the clear, and takes its permits for the queue if `datagram` handles its kind. Otherwise
    /// counts it and returns `None`.
    pub(crate) fn take_datagram(
        &self,
        case: Case<MessageOutcome>,
        arrival: Arrival,
        bytes: &[u8],
        now: u64,
    ) -> Option<Box<Datagram>> {
        let limits = self.multicast_limits();
        if bytes.len() > limits.size {
            case.settle(MessageOutcome::Oversize);
            return None;
        }
        let message = match decode(bytes, &limits) {
            Ok(message) => message,
            Err(error) => {
                case.settle(MessageOutcome::Malformed);
                if self.config.diagnose
                    && let Some(unsaid) = self.diagnoses.may_say(now)
                {
                    let Arrival { source, ifi, .. } = arrival;
                    log::info!("a datagram from {source}%{ifi} is dropped: {error}{unsaid}");
                }
                return None;
            }
        };
        self.queue_up(case, arrival, message, bytes)
    }

    /// Takes the permits for the queue if `datagram` handles this kind of message. Otherwise counts it and returns `None`.
    pub(super) fn queue_up(
        &self,
        case: Case<MessageOutcome>,
        arrival: Arrival,
        message: Message,
        bytes: &[u8],
    ) -> Option<Box<Datagram>> {
        let lane = match &message.body {
            Body::Discovery { .. } => &self.quotas.discoveries,
            Body::Flood(_) if arrival.multicast => &self.quotas.floods,
            Body::Noop => {
                case.settle(MessageOutcome::Noop);
                return None;
            }
            Body::Unknown { .. } => {
                case.settle(MessageOutcome::UnknownType);
                return None;
            }
            _ => {
                case.settle(MessageOutcome::Misplaced);
                return None;
            }
        };
        let neighbour = arrival.neighbour();
        let memory = message.memory().saturating_add(bytes.len());
        let room = lane.entries.take(neighbour).and_then(|entry| {
            let bytes = lane.bytes.take_many(neighbour, memory)?;
            Ok((entry, bytes))
        });
        let Ok(room) = room else {
            case.settle(MessageOutcome::QueueFull);
            return None;
        };
        Some(Box::new(Datagram { arrival, message, raw: bytes.to_vec(), case, _room: room }))
    }

    /// Counts an accepted connection.
    pub(crate) fn connection(&self) -> Case<ConnectionOutcome> {
        Case::open(&self.counters, |count| &count.connections_accepted)
    }

    /// Whether an accepted connection may begin to authenticate now. Whoever has authenticated before may.
    pub(crate) fn may_authenticate(&self, peer: Neighbour, now: u64) -> bool {
        self.registries.members.is_known(peer) || self.quotas.handshake_rate.allow(peer, 1, now)
    }

    /// Records whether the peer of an accepted connection has authenticated.
    pub(crate) fn authenticated(&self, peer: Neighbour, has: bool) {
        if has { self.registries.members.reached(peer, 0) } else { self.registries.members.failed(peer, 0) }
    }

    /// Counts a connection that this node opens, for callers without sockets.
    #[cfg(feature = "_simulator")]
    pub(crate) fn connection_opened(&self) {
        self.counters.connections_opened.add();
    }

    /// Counts a closed connection, for callers without sockets.
    #[cfg(feature = "_simulator")]
    pub(crate) fn connection_closed(&self) {
        self.counters.connections_closed.add();
    }

    /// Counts a message that was received over TCP.
    pub(crate) fn received(&self) -> Case<MessageOutcome> {
        Case::open(&self.counters, |count| &count.messages_received)
    }

    /// Decodes the first message of an accepted connection. M_NOOP and unknown messages are only discarded
    /// (RFC 8990 §2.8.13, §2.8.2).
    pub(crate) fn first_message(self: &Arc<Self>, bytes: &[u8]) -> FirstMessage {
        let case = self.received();
        match decode(bytes, &self.unicast_limits()) {
            Ok(Message { body: Body::Noop, .. }) => {
                case.settle(MessageOutcome::Noop);
                FirstMessage::Skipped
            }
            Ok(Message { body: Body::Unknown { .. }, .. }) => {
                case.settle(MessageOutcome::UnknownType);
                FirstMessage::Skipped
            }
            Ok(message) => FirstMessage::Message(Box::new(message), case),
            Err(error) => {
                case.settle(MessageOutcome::Undecodable);
                log::debug!("a first message is dropped: {error}");
                FirstMessage::Wrong
            }
        }
    }
}
