//! Decisions, without doing them: (message, where it came from, what the node knows, now) to [`Action`]s.
//!
//! No socket, no lock type and no clock in here, so that a simulator can run many nodes on virtual time with
//! the same code. Called by `threads` for multicasts, responses and requests, by `api` for answers in a session.

mod addresses;
mod discovery;
mod flood;
mod negotiation;
mod outgoing;
mod request;

pub(crate) use discovery::{all_locators, handle_answer, local_locators, relayed_response};
pub(crate) use negotiation::{NegotiationReply, SynchReply, negotiation_reply, synch_reply};
pub(crate) use outgoing::{Asking, cache_own_flood, discovery_datagram, flood_datagram, is_unspecified};
pub(crate) use request::{Request, classify_request};

use std::net::{IpAddr, Ipv6Addr};

use crate::config::Config;
use crate::registry::{Registries, RelayLimit};
use crate::stats::{Counter, Counters};
use crate::types::{Objective, OwnAddress};
use crate::wire::{Body, Message};

/// Where a datagram came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Index of the interface it came in on.
    pub(crate) ifi: u32,
    pub(crate) source: Ipv6Addr,
    /// The source port, which is where a response goes (RFC 8990 §2.8.4).
    pub(crate) port: u16,
    /// Sent to the group; otherwise to this node alone.
    pub(crate) multicast: bool,
}

/// The addresses of a node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// The preferred address with more than link scope.
    pub(crate) global: Option<Ipv6Addr>,
    /// Every interface in use.
    pub(crate) links: Vec<Link>,
    /// The address of more than link scope of each interface, the preferred first. Empty where `global` is that of all.
    pub(crate) own: Vec<OwnAddress>,
    /// What makes session identifiers unique, where that is not `global`.
    pub(crate) initiator: Option<Ipv6Addr>,
}

/// An interface in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) ifi: u32,
    pub(crate) address: Ipv6Addr,
    /// Where this engine sends its multicasts from.
    pub(crate) port: u16,
}

impl Addresses {
    /// Whether a datagram was sent by this very engine. Its address alone would not tell: other processes of
    /// the host have the same.
    pub(crate) fn are_source_of(&self, arrival: &Arrival) -> bool {
        let sent =
            |link: &Link| (link.ifi, link.address, link.port) == (arrival.ifi, arrival.source, arrival.port);
        self.links.iter().any(sent)
    }

    pub(crate) fn link_local(&self, ifi: u32) -> Option<Ipv6Addr> {
        self.links.iter().find(|link| link.ifi == ifi).map(|link| link.address)
    }
}

/// A node as `proto` sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    pub(crate) config: &'a Config,
    pub(crate) registries: &'a Registries,
    pub(crate) addresses: &'a Addresses,
    pub(crate) counters: &'a Counters,
    /// Whether there is a secure substrate.
    pub(crate) secure: bool,
    /// graspy's `_test_divert`: answer every discovery from the cache, as if nothing were registered.
    pub(crate) test_divert: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Send a message to the asker over TCP, out of the interface it asked on.
    Respond { to: Arrival, message: Message },
    /// Open the negotiation that a discovery asks for, in rapid mode: hand it to whoever listens, with a
    /// connection to the asker; send the message if nobody does.
    RapidNegotiate { to: Arrival, session: u32, objective: Objective, otherwise: Message },
    /// Send a datagram to the group on all interfaces but one.
    Relay { except: u32, datagram: Vec<u8> },
    /// Send a discovery on, and pass what is found to the asker until the time is over.
    RelayDiscovery {
        asker: Arrival,
        session: u32,
        initiator: IpAddr,
        name: String,
        timeout: u64,
        datagram: Vec<u8>,
    },
}

/// Decides about a datagram that was received on port 7017 and decoded.
pub(crate) fn handle_datagram(
    node: &Node<'_>,
    arrival: Arrival,
    message: &Message,
    raw: &[u8],
    now: u64,
) -> Vec<Action> {
    let count = node.counters;
    // RFC 8990 §2.6: the group is link-local, and so is every source (see also docs/design.md on unicast).
    if !arrival.source.is_unicast_link_local() {
        count.dropped_bad_source.add();
        return Vec::new();
    }
    // RFC 8990 §2.5.1, §2.5.6.2: without security nothing is done but what a DULL instance may do.
    if !node.secure && !node.config.dull {
        count.dropped_insecure.add();
        return Vec::new();
    }
    match &message.body {
        Body::Noop => count.noop_received.add(),
        Body::Unknown { .. } => count.dropped_unknown_type.add(),
        Body::Discovery { session, initiator, objective } => {
            return match origin(node, &arrival, *session, *initiator) {
                Origin::Ignore => Vec::new(),
                origin => {
                    discovery::handle(node, arrival, (*session, *initiator), objective, origin, raw, now)
                }
            };
        }
        Body::Flood(flood) if arrival.multicast => {
            return match origin(node, &arrival, flood.session, flood.initiator) {
                Origin::Ignore => Vec::new(),
                origin => flood::handle(node, arrival, flood, origin, raw, now),
            };
        }
        _ => count.dropped_misplaced.add(),
    }
    Vec::new()
}

/// Whose multicast this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Another node's.
    Other,
    /// This node's own, and the configuration wants it handled, though never relayed.
    Own,
    /// This node's own.
    Ignore,
}

/// What began here is known by session and initiator, also if it comes back by way of a relay. What was only
/// relayed from here comes from our own socket.
fn origin(node: &Node<'_>, arrival: &Arrival, session: u32, initiator: IpAddr) -> Origin {
    let own = node.registries.sessions.is_own(session, initiator);
    if !own && !node.addresses.are_source_of(arrival) {
        Origin::Other
    } else if own && node.config.listen_self {
        Origin::Own
    } else {
        node.counters.own_multicast.add();
        Origin::Ignore
    }
}

/// Whether this node relays: it has somewhere else to relay to, and is no DULL instance (RFC 8990 §2.5.2,
/// §2.5.4.4).
fn may_relay(node: &Node<'_>, origin: Origin) -> bool {
    origin == Origin::Other && node.addresses.links.len() > 1 && !node.config.dull
}

/// Whether this message is relayed now: each session of an initiator once in its time, and no more messages than
/// the rates allow (RFC 8990 §2.5.4.4, §2.5.6.2). What is over the rate is not remembered: it may come again by
/// another way.
fn admit_relay(
    node: &Node<'_>,
    arrival: &Arrival,
    (session, initiator): (u32, IpAddr),
    (limit, refused): (&RelayLimit, &Counter),
    now: u64,
    until: u64,
) -> bool {
    let sessions = &node.registries.sessions;
    if sessions.was_relayed(session, initiator, now) {
        node.counters.not_relayed_duplicate.add();
        return false;
    }
    if !limit.allow(arrival.ifi, arrival.source, now) {
        refused.add();
        return false;
    }
    sessions.mark_relayed(session, initiator, now, until);
    true
}

#[cfg(test)]
mod tests;
