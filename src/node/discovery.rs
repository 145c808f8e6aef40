//! Answering discoveries (RFC 8990 §2.5.4, §2.8.4, §2.8.5).

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::locators::is_mdns_name;
use super::{Arrival, Effect, Heard, Node};
use crate::constants::{GRASP_DEF_LOOPCT, GRASP_DEF_MAX_SIZE};
use crate::outcome::{Case, DiscoveryOutcome, ResponseOutcome};
use crate::registry::{Addresses, Offering};
use crate::types::{AsaLocator, Objective, Protocol, SessionId};
use crate::wire::{Body, Flags, Message, Response, Step, WireLocator, WireObjective, WireOption};

/// How long a locator is valid if the response gives no lifetime ("long"): ten times the default timeout
/// (RFC 8990 §2.8.5).
pub(super) const LONG: u32 = 600_000;
/// Entries that expire sooner than this, in milliseconds, are not used in a Divert: they might expire before the Divert
/// arrives, or before the asker has collected its answers. The discovery is relayed instead and brings new answers.
const SHORTEST_DIVERT: u64 = 1000;
/// The maximum number of this node's addresses in a response: the asker tries each in turn.
const MOST_LOCATORS: usize = 8;

impl Node {
    /// Handles an M_DISCOVERY: answers for this node, diverts to cached locators, relays, or stays silent.
    pub(super) fn discovery(
        self: &Arc<Self>,
        heard: &Heard<'_>,
        objective: &WireObjective,
        case: Case<DiscoveryOutcome>,
    ) -> Option<Effect> {
        let Heard { arrival, id, now, .. } = *heard;
        let offering = self.registries.objectives.offering(&objective.name).filter(|_| !self.test_divert());
        if let Some(offering) = offering {
            return self.answer_for_here(arrival, id, objective, &offering, case, now);
        }
        let cached = self.divert(arrival.ifi, &objective.name, now);
        let asks_again =
            cached.is_some() && !self.test_divert() && self.asks_again(arrival, id, objective, now);
        let case = if cached.is_none() || asks_again {
            match self.relay(heard, objective, asks_again, case) {
                Ok(relayed) => return relayed,
                Err(case) => case,
            }
        } else {
            case
        };
        let Some((ttl, locators)) = cached else {
            case.settle(DiscoveryOutcome::Unanswered);
            return None;
        };
        let case: Case<ResponseOutcome> = case.becomes(DiscoveryOutcome::Answered);
        let message = response(id, ttl, vec![WireOption::Divert(locators)], None);
        self.respond(arrival, id, message, case, now)
    }

    /// Whether this asker was diverted a moment ago and asks again, which suggests that the locators it got do not
    /// work.
    fn asks_again(&self, arrival: Arrival, id: SessionId, objective: &WireObjective, now: u64) -> bool {
        let asker = (arrival.neighbour(), id.initiator);
        let again = self.registries.discovery.was_diverted(&objective.name, asker, now);
        if !again {
            self.registries.discovery.diverted(&objective.name, asker, now);
        }
        again
    }

    fn answer_for_here(
        self: &Arc<Self>,
        arrival: Arrival,
        id: SessionId,
        wanted: &WireObjective,
        offering: &Offering,
        case: Case<DiscoveryOutcome>,
        now: u64,
    ) -> Option<Effect> {
        // An asker that uses its link-local source address as initiator has no other address (RFC 8990 §2.8.4).
        let in_own_name = id.initiator == IpAddr::V6(arrival.source);
        let from = (arrival.ifi, in_own_name && arrival.source.is_unicast_link_local());
        let locators = own_locators(self.config.dull, &self.addresses(), offering, from);
        let mut options: Vec<_> =
            locators.iter().filter_map(WireLocator::from_locator).map(WireOption::Locator).collect();
        let rapid = self.rapid_reply(id.session, wanted, offering);
        if options.is_empty() && !matches!(rapid, Some(Rapid::Value(_) | Rapid::Negotiate(_))) {
            case.settle(DiscoveryOutcome::Unanswered);
            return None;
        }
        let case: Case<ResponseOutcome> = case.becomes(DiscoveryOutcome::Answered);
        match rapid {
            Some(Rapid::Value(message)) => self.respond(arrival, id, message, case, now),
            Some(Rapid::Negotiate(objective)) => {
                let message = response(id, offering.ttl, options, None);
                match self.respond(arrival, id, message, case, now)? {
                    Effect::Respond(otherwise) => {
                        Some(Effect::Negotiate { session: id.session, objective, otherwise })
                    }
                    other => Some(other),
                }
            }
            Some(Rapid::InResponse(objective)) => {
                if offering.locators.is_empty() {
                    // The value needs the space of the other addresses.
                    options.truncate(1);
                }
                let message = response(id, offering.ttl, options, Some(objective));
                self.respond(arrival, id, message, case, now)
            }
            None => self.respond(arrival, id, response(id, offering.ttl, options, None), case, now),
        }
    }

    /// Returns whether, and how, to answer a discovery of this node's objective in rapid mode. A relay cannot pass on a
    /// message that replaces M_RESPONSE. So these are only used for discoveries with loop count 1, which come from the
    /// initiator itself.
    fn rapid_reply(&self, session: u32, wanted: &WireObjective, offering: &Offering) -> Option<Rapid> {
        if !offering.rapid || self.config.dull {
            return None;
        }
        let own = &offering.objective;
        let from_initiator = wanted.loop_count == 1;
        let has_wish = wanted.value.as_ref().is_some_and(|value| !value.is_null());
        // Connections with neighbours carry no messages of sessions.
        let by_message = self.config.rapid_synch_message && !self.has_neighbours();
        if own.synch && from_initiator && by_message {
            let objective = WireObjective::from_objective(own);
            Some(Rapid::Value(Message::new(Body::Synch(Step { session, objective }))))
        } else if own.synch {
            Some(Rapid::InResponse(WireObjective::from_objective(own)))
        } else if own.neg
            && !wanted.flags.has(Flags::F_SYNCH)
            && from_initiator
            && has_wish
            && self.config.rapid_negotiation
        {
            // The discovery's own loop count kept it on the link; the negotiation starts with the loop count of a
            // request (§2.8.6).
            Some(Rapid::Negotiate(Objective { loop_count: GRASP_DEF_LOOPCT, ..wanted.to_objective() }))
        } else {
            None
        }
    }

    /// Returns what a Divert option can offer for a name on an interface (RFC 8990 §2.5.4.3, §2.9.2): no locator
    /// learned on that interface, no link-local address, no name that is valid on one link only (§2.9.5.3), and no
    /// entry that is about to expire. The lifetime is the shortest remaining one.
    fn divert(&self, ifi: u32, name: &str, now: u64) -> Option<(u32, Vec<WireLocator>)> {
        if self.config.dull {
            return None;
        }
        let cached = self.registries.discovery.lookup(name, now);
        let usable: Vec<_> = cached
            .iter()
            .filter(|locator| self.test_divert() || locator.ifi != Some(ifi))
            .filter(|locator| is_for_elsewhere(locator))
            .filter(|locator| locator.is_valid_at(now.saturating_add(SHORTEST_DIVERT)))
            .collect();
        let ttl = remaining(usable.iter().copied(), now);
        let locators = that_fit(usable.into_iter().filter_map(WireLocator::from_locator).collect());
        (!locators.is_empty()).then_some((ttl, locators))
    }
}

/// Builds an M_RESPONSE.
pub(super) fn response(
    id: SessionId,
    ttl: u32,
    options: Vec<WireOption>,
    objective: Option<WireObjective>,
) -> Message {
    let SessionId { session, initiator } = id;
    Message::new(Body::Response(Response { session, initiator, ttl, options, objective }))
}

/// How a discovery is answered in rapid mode (RFC 8990 §2.5.4.5).
enum Rapid {
    /// M_SYNCH instead of M_RESPONSE (§2.5.6.3).
    Value(Message),
    /// The value in the M_RESPONSE, as in graspy.
    InResponse(WireObjective),
    /// A negotiation that starts with this offer (§2.5.5.1).
    Negotiate(Objective),
}

/// Returns the locators of a response for an objective of this node (RFC 8990 §2.8.5, §2.9.5.1): those it was
/// registered with, or else this node's addresses. The interface's link-local address is used if the link or the peer
/// has no other address, if the objective is only for the link, and in a DULL instance (§2.5.2).
fn own_locators(
    dull: bool,
    addresses: &Addresses,
    offering: &Offering,
    (ifi, peer_is_link_local): (u32, bool),
) -> Vec<AsaLocator> {
    if !offering.locators.is_empty() {
        return offering.locators.clone();
    }
    let offered = if offering.local || dull {
        addresses.link_local(ifi).into_iter().collect()
    } else {
        addresses.offered_on(ifi, peer_is_link_local)
    };
    offered
        .into_iter()
        .map(|address| AsaLocator::new(address, Some(ifi)).with_port(offering.port))
        .take(MOST_LOCATORS)
        .collect()
}

/// Returns the locators under which ASAs of the same engine find each other.
pub(crate) fn local_locators(addresses: &Addresses, offering: &Offering) -> Vec<AsaLocator> {
    let ifi = addresses.links.first().map_or(0, |link| link.ifi);
    let mut found = own_locators(false, addresses, offering, (ifi, false));
    if !found.is_empty() {
        // Within an engine, any address works.
        found.truncate(if offering.locators.is_empty() { 1 } else { found.len() });
        return found;
    }
    let mut locator = AsaLocator::new(Ipv6Addr::LOCALHOST, None).with_port(offering.port);
    locator.protocol = Some(Protocol::Tcp);
    vec![locator]
}

/// Returns every locator that a response of this engine may give for an objective, on any link.
pub(crate) fn all_locators(addresses: &Addresses, offering: &Offering) -> Vec<AsaLocator> {
    if !offering.locators.is_empty() {
        return offering.locators.clone();
    }
    addresses.all().map(|address| AsaLocator::new(address, None).with_port(offering.port)).collect()
}

/// Whether a locator means the same on every link.
pub(super) fn is_for_elsewhere(locator: &AsaLocator) -> bool {
    !locator.is_link_local() && !is_mdns_name(locator.locator.as_ref())
}

/// Returns the locators that fit into a message that every node accepts (RFC 8990 §2.6, §2.8.3). Long names come last,
/// so that a peer that answers with long names cannot displace the locators of others.
pub(super) fn that_fit(mut locators: Vec<WireLocator>) -> Vec<WireLocator> {
    // Upper bounds for the encoding around all locators, and around each one.
    const AROUND_ALL: usize = 64;
    const AROUND_ONE: usize = 16;
    const LONG_NAME: usize = 255;
    let mut room = GRASP_DEF_MAX_SIZE.saturating_sub(AROUND_ALL);
    locators.sort_by_key(|locator| locator.locator.memory() > LONG_NAME);
    locators.retain(|locator| {
        let size = locator.locator.memory().max(size_of::<Ipv6Addr>()).saturating_add(AROUND_ONE);
        let left = room.checked_sub(size);
        room = left.unwrap_or(room);
        left.is_some()
    });
    locators
}

/// Returns the shortest remaining lifetime in milliseconds; never 0, because 0 means "long".
fn remaining<'a>(locators: impl Iterator<Item = &'a AsaLocator>, now: u64) -> u32 {
    let left = locators
        .filter(|locator| locator.expire != 0)
        .map(|locator| locator.expire.saturating_sub(now))
        .min();
    left.map_or(LONG, |left| u32::try_from(left).unwrap_or(u32::MAX).max(1))
}
