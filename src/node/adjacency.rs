//! Decides about neighbours where connections carry multicasts (RFC 8994 §6.4, §6.9.2): what announces this node, whom to connect with,
//! which connection is used, and what comes over it. The datagrams of such a node carry announcements and nothing else.
//!
//! | event | method |
//! |---|---|
//! | time to announce this node | [`Node::announcement`] |
//! | a datagram has come | [`Node::take_announcement`] |
//! | time to connect | [`Node::opening`], [`Node::wanted_neighbours`] |
//! | the first message of a connection | [`Node::greeted`], then [`Node::join`] |
//! | a message of a neighbour | [`Node::take_from_neighbour`] |

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Arrival, Datagram, Node};
use crate::bounds::Permit;
use crate::error::Result;
use crate::objectives::{AN_ACP, AcpMethod};
use crate::outcome::{Case, MessageOutcome};
use crate::registry::{Adjacent, Joined, NeighbourId, OpenedBy, Tried};
use crate::types::{Locator, Protocol, Value};
use crate::wire::{Body, Flags, Flood, Message, WireLocator, WireObjective, decode, encode};

/// How long an announcement is valid, in milliseconds (RFC 8994 §6.4): three and a half of its periods.
const TTL: u32 = 210_000;
/// The methods of RFC 8994 §6.4 that this node has: what secures the connections.
const OVER_TLS: &str = "GRASP-TLS";
const IN_THE_CLEAR: &str = "GRASP-TCP";

/// How the multicasts of a node reach its neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Carried {
    /// In datagrams.
    #[default]
    ByDatagrams = 0,
    /// By connections in the clear, which the links secure.
    InTheClear = 1,
    /// By connections that TLS secures.
    OverTls = 2,
}

impl Carried {
    const fn method(self) -> Option<&'static str> {
        match self {
            Self::ByDatagrams => None,
            Self::InTheClear => Some(IN_THE_CLEAR),
            Self::OverTls => Some(OVER_TLS),
        }
    }
}

/// An attempt to connect with a neighbour. If it is dropped without success, the next one waits longer.
#[derive(Debug)]
pub(crate) struct Opening {
    node: Arc<Node>,
    pub(crate) id: NeighbourId,
    began: u64,
    ended: Tried,
    _permit: Permit<u32>,
}

impl Opening {
    /// The neighbour has been reached.
    pub(crate) fn succeeded(mut self) {
        self.ended = Tried::Reached;
    }

    /// It has not, and did not even answer if it `is_silent`.
    pub(crate) fn failed(mut self, is_silent: bool) {
        self.ended = if is_silent { Tried::Silent } else { Tried::Refused };
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.node.registries.adjacencies.tried(self.id, self.ended, self.began);
    }
}

/// A connection with a neighbour that carries multicasts. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Membership {
    node: Arc<Node>,
    pub(crate) id: NeighbourId,
    /// `None` where it is superfluous: then it only takes what the neighbour still says.
    number: Option<u64>,
    /// Whether its joining was logged: then its leaving is, too.
    is_said: bool,
    /// The neighbour is this node: it hears what it says itself ([`Config::listen_self`](crate::Config::listen_self)).
    is_self: bool,
    _connection: Permit<(u32, String)>,
}

/// The place of a connection with a neighbour.
#[derive(Debug)]
pub(crate) struct Place {
    /// That of a neighbour on the link. A connection that replaces another needs none.
    link: Option<Permit<u32>>,
    /// That of a connection of this neighbour, as long as it is there.
    connection: Permit<(u32, String)>,
}

impl Membership {
    /// Whether what this node says goes over another connection. Of a connection with itself both ends are needed: it says at one what it
    /// hears at the other.
    pub(crate) const fn is_superfluous(&self) -> bool {
        self.number.is_none() && !self.is_self
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if self.number.is_some_and(|number| self.node.registries.adjacencies.leave(self.id, number)) {
            self.node.counters.neighbours_left.add();
            if self.is_said {
                log::info!("the neighbour {}%{} has left", self.id.address, self.id.ifi);
            }
        }
    }
}

impl Node {
    /// How multicasts reach the neighbours.
    pub(crate) fn carried(&self) -> Carried {
        match self.carried.load(Ordering::Relaxed) {
            1 => Carried::InTheClear,
            2 => Carried::OverTls,
            _ => Carried::ByDatagrams,
        }
    }

    /// Changes that. The caller ends the connections of before.
    pub(crate) fn set_carried(&self, carried: Carried) {
        self.carried.store(carried as u8, Ordering::Relaxed);
    }

    /// Whether connections carry the multicasts.
    pub(crate) fn has_neighbours(&self) -> bool {
        self.carried() != Carried::ByDatagrams
    }

    /// What announces this node on an interface (RFC 8994 §6.4), to the group and as the first message of a connection. `None` if it has
    /// none such, or does not use the interface.
    ///
    /// # Errors
    /// `NoRandom`.
    pub(crate) fn announcement(&self, ifi: u32) -> Result<Option<Vec<u8>>> {
        let addresses = self.addresses();
        let link = addresses.links.iter().find(|link| link.ifi == ifi);
        let (Some(method), Some(link)) = (self.carried().method(), link) else { return Ok(None) };
        let objective = WireObjective {
            name: AN_ACP.to_owned(),
            flags: Flags(Flags::F_SYNCH),
            loop_count: 1,
            value: Some(Value::from(method)),
        };
        let locator = WireLocator {
            locator: Locator::Ipv6(link.address),
            protocol: Some(Protocol::Tcp),
            port: Some(link.port),
        };
        let flood = Flood {
            session: self.new_id()?,
            initiator: IpAddr::V6(link.address),
            ttl: TTL,
            objectives: vec![(objective, Some(locator))],
        };
        Ok(Some(encode(&Message::new(Body::Flood(flood)))))
    }

    /// Takes a datagram that has passed the gate. Returns the neighbour to connect with, if it announces one.
    pub(crate) fn take_announcement(
        self: &Arc<Self>,
        case: Case<MessageOutcome>,
        arrival: Arrival,
        bytes: &[u8],
        now: u64,
    ) -> Option<Opening> {
        // A node hears itself, be it by another interface of the same link. Only one that is to hear its own multicasts connects with itself.
        let addresses = self.addresses();
        let is_own = addresses.are_source_of(arrival.ifi, arrival.source, arrival.port);
        if (is_own && !self.config.listen_self)
            || addresses.heard_across(arrival.ifi, arrival.source, arrival.port).is_some()
        {
            case.settle(MessageOutcome::Own);
            return None;
        }
        let announced = match decode(bytes, &self.multicast_limits()) {
            Ok(message) => self.announced(arrival.ifi, arrival.source, &message),
            Err(_) => {
                case.settle(MessageOutcome::Malformed);
                return None;
            }
        };
        let Some((id, ttl)) = announced else {
            case.settle(MessageOutcome::NotAnnounced);
            return None;
        };
        case.settle(MessageOutcome::Announced);
        self.registries.adjacencies.announced(id, now.saturating_add(ttl.min(TTL).into()));
        self.opening(id, now)
    }

    /// Whom a flood announces as a neighbour by the method of this node, and for how long. The locator must lead to the sender itself
    /// (RFC 8994 §6.4), else anybody on the link could have this node connect to others.
    fn announced(&self, ifi: u32, source: Ipv6Addr, message: &Message) -> Option<(NeighbourId, u32)> {
        let Body::Flood(flood) = &message.body else { return None };
        let method = self.carried().method()?;
        if flood.initiator != IpAddr::V6(source) || flood.ttl == 0 {
            return None;
        }
        flood.objectives.iter().find_map(|(objective, locator)| {
            let locator = locator.as_ref()?;
            // With whatever extensions and parameters (RFC 8994 §6.4).
            let announced = || AcpMethod::try_from(objective.value.clone()?).ok();
            let is_ours = objective.name == AN_ACP
                && objective.loop_count == 1
                && announced().is_some_and(|AcpMethod(name)| name == method);
            let is_there =
                locator.locator == Locator::Ipv6(source) && locator.protocol == Some(Protocol::Tcp);
            let port = locator.port.filter(|port| *port != 0 && is_ours && is_there)?;
            Some((NeighbourId { ifi, address: source, port }, flood.ttl))
        })
    }

    /// The neighbours to connect with now: those first that have been members before, since the names of others may be invented.
    pub(crate) fn wanted_neighbours(&self, now: u64) -> Vec<NeighbourId> {
        let mut wanted = self.registries.adjacencies.wanted(now);
        wanted.sort_by_key(|id| !self.registries.members.is_known(id.neighbour()));
        wanted
    }

    /// Begins to connect with a neighbour, unless it is connected, is being tried, was tried too recently, or is one too many.
    pub(crate) fn opening(self: &Arc<Self>, id: NeighbourId, now: u64) -> Option<Opening> {
        if !self.is_secure() || !self.registries.adjacencies.wanted_now(id, now) {
            return None;
        }
        // Anybody can announce in the name of a member, but not so that the member itself is not tried any more.
        let is_proven = self.registries.adjacencies.is_proven(id);
        let is_known = is_proven || self.registries.members.is_known(id.neighbour());
        let quotas = if is_known { &self.quotas.member_openings } else { &self.quotas.stranger_openings };
        let permit = quotas.open.take(id.ifi).ok()?;
        let may = is_proven || quotas.rate.allow(id.neighbour(), 1, now);
        if !may || !self.registries.adjacencies.begin(id, now) {
            return None;
        }
        Some(Opening { node: Arc::clone(self), id, began: now, ended: Tried::Refused, _permit: permit })
    }

    /// Reads the first message of a connection on an interface, by which the peer says which neighbour it is.
    pub(crate) fn greeted(
        &self,
        ifi: u32,
        peer: Ipv6Addr,
        message: &Message,
        case: Case<MessageOutcome>,
    ) -> Option<NeighbourId> {
        let Some((id, _)) = self.announced(ifi, peer, message).filter(|_| self.is_secure()) else {
            case.settle(MessageOutcome::NotAnnounced);
            return None;
        };
        case.settle(MessageOutcome::Announced);
        Some(id)
    }

    /// Takes the place of one more connection with a neighbour that has shown this certificate, if it has one. `None`, counted, if there are too
    /// many on the link, or of this neighbour.
    pub(crate) fn neighbour_place(&self, id: NeighbourId, certificate: Option<String>) -> Option<Place> {
        let who = certificate.unwrap_or_else(|| id.address.to_string());
        let connection = self.quotas.connections.take((id.ifi, who)).ok();
        let link = self.quotas.neighbours.take(id.ifi).ok();
        let may = link.is_some() || self.registries.adjacencies.get(id).is_some();
        let place = connection.filter(|_| may).map(|connection| Place { link, connection });
        if place.is_none() {
            self.counters.dropped_neighbour_limit.add();
        }
        place
    }

    /// Takes up a connection with a neighbour, both sides of which have greeted.
    pub(crate) fn join(
        self: &Arc<Self>,
        id: NeighbourId,
        by: OpenedBy,
        adjacent: Arc<dyn Adjacent>,
        place: Place,
        now: u64,
    ) -> Membership {
        let own =
            self.addresses().links.iter().find(|link| link.ifi == id.ifi).map(|own| (own.address, own.port));
        // Without the interface the connection is about to end, whichever it is.
        let own = own.unwrap_or((Ipv6Addr::UNSPECIFIED, 0));
        let mut is_self = own == (id.address, id.port);
        let name = adjacent.certified_name();
        let Place { link, connection } = place;
        self.registries.adjacencies.proven(id, now.saturating_add(TTL.into()));
        let joined = self.registries.adjacencies.join(id, own, by, adjacent, link);
        let mut is_said = false;
        let number = match joined {
            Joined::New(number) => {
                self.counters.neighbours_joined.add();
                self.counters.neighbours_peak.raise_to(self.registries.adjacencies.len());
                if let Some(unsaid) = self.neighbourhood.may_say(now) {
                    is_said = true;
                    let named = name.map_or_else(String::new, |name| format!(", {name}"));
                    log::info!("{}%{}{named} is a neighbour{unsaid}", id.address, id.ifi);
                }
                Some(number)
            }
            Joined::InPlaceOf(before, number) => {
                if !is_self {
                    before.retire();
                }
                Some(number)
            }
            Joined::Superfluous => None,
            Joined::OneTooMany => {
                self.counters.dropped_neighbour_limit.add();
                is_self = false;
                None
            }
        };
        Membership { node: Arc::clone(self), id, number, is_said, is_self, _connection: connection }
    }

    /// Whether a datagram has come from the host of a neighbour that this node is connected with.
    pub(crate) fn is_neighbour(&self, arrival: &Arrival) -> bool {
        self.has_neighbours() && self.registries.adjacencies.has(arrival.neighbour())
    }

    /// Takes a message of a neighbour, whom `arrival` names as the source. Returns what is to be handled like a datagram.
    pub(crate) fn take_from_neighbour(
        &self,
        arrival: Arrival,
        bytes: &[u8],
        now: u64,
    ) -> Option<Box<Datagram>> {
        let case = self.received();
        if !self.is_secure() {
            case.settle(MessageOutcome::Insecure);
            return None;
        }
        let message = match decode(bytes, &self.unicast_limits()) {
            Ok(message) => message,
            Err(error) => {
                case.settle(MessageOutcome::Malformed);
                log::debug!("a message of the neighbour {} is dropped: {error}", arrival.source);
                return None;
            }
        };
        if let Body::Response(response) = &message.body {
            self.response(arrival.ifi, arrival.source, response, case, now);
            return None;
        }
        self.queue_up(case, arrival, message, bytes)
    }

    /// Ends the connections with all neighbours, or with those on an interface. The caller closes them.
    pub(crate) fn end_neighbours(&self, ifi: Option<u32>) -> Vec<Arc<dyn Adjacent>> {
        let ended = self.registries.adjacencies.end(ifi);
        self.counters.neighbours_left.add_many(ended.len());
        ended
    }

    /// The connections that are to end: with those that are not members any more. `again` checks all certificates again.
    pub(crate) fn expelled(&self, again: bool) -> Vec<Arc<dyn Adjacent>> {
        let all = self.registries.adjacencies.all();
        let gone = all.into_iter().filter(|(_, one)| !one.is_member(again)).map(|(_, one)| one);
        gone.inspect(|_| self.counters.neighbours_expelled.add()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn members_of_before_are_tried_before_invented_ones() {
        let node = Node::new(Config::new(), false);
        let id =
            |last| NeighbourId { ifi: 2, address: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last), port: 7 };
        for last in 1..=9 {
            node.registries.adjacencies.announced(id(last), u64::MAX);
        }
        node.authenticated(id(5).neighbour(), true);
        let wanted = node.wanted_neighbours(0);
        assert_eq!((wanted.first(), wanted.len()), (Some(&id(5)), 9));
        node.authenticated(id(5).neighbour(), false);
        assert_ne!(node.wanted_neighbours(0).first(), Some(&id(5)));
    }
}
