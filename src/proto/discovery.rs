//! Answering, relaying and concluding discoveries (RFC 8990 §2.5.4, §2.8.4, §2.8.5).

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::{Action, Addresses, Arrival, Node, Origin, admit_relay, may_relay};
use crate::constants::{GRASP_DEF_LOOPCT, GRASP_DEF_MAX_SIZE};
use crate::registry::{DiscoveryAnswer, Found, Offering, RapidValue, Transport};
use crate::types::{AsaLocator, Locator, Objective, Protocol};
use crate::wire::{
    Body, Flags, Message, Response, Step, WireLocator, WireObjective, WireOption, with_loop_count,
};

/// How long a locator is valid whose response says "long": ten times the default timeout (RFC 8990 §2.8.5).
const LONG: u32 = 600_000;
/// The time that a relay gives each remaining hop, in milliseconds (RFC 8990 §2.5.4.4).
const HOP_TIME: u64 = 100;
/// What expires sooner, in milliseconds, is not diverted to: it might be useless when it arrives, or when the asker
/// has collected its answers, while the discovery that is relayed instead brings news.
const SHORTEST_DIVERT: u64 = 1000;

/// The most addresses of this node that a response offers: each is tried in turn.
const MOST_LOCATORS: usize = 8;

/// Decides about an M_DISCOVERY: answer for this node, divert to what is cached, relay, or keep silent.
pub(super) fn handle(
    node: &Node<'_>,
    arrival: Arrival,
    (session, initiator): (u32, IpAddr),
    objective: &WireObjective,
    origin: Origin,
    raw: &[u8],
    now: u64,
) -> Vec<Action> {
    // RFC 8990 §2.5.2: a DULL instance takes nothing that has come, or could go, further than the link.
    let beyond_link = node.config.dull && objective.loop_count != 1;
    if beyond_link || !node.config.permits(&objective.name) {
        node.counters.dropped_dull.add();
        return Vec::new();
    }
    node.counters.discoveries_received.add();
    let offering = node.registries.objectives.offering(&objective.name).filter(|_| !node.test_divert);
    let message = |ttl, options, objective| {
        Message::new(Body::Response(Response { session, initiator, ttl, options, objective }))
    };
    let respond = |ttl, options, objective| {
        node.counters.discoveries_answered.add();
        vec![Action::Respond { to: arrival, message: message(ttl, options, objective) }]
    };
    if let Some(offering) = offering {
        // Who asks in its own name under a link-local address has no other (RFC 8990 §2.8.4).
        let from = (arrival.ifi, initiator == IpAddr::V6(arrival.source));
        let mut options: Vec<_> = own_locators(node.config.dull, node.addresses, &offering, from)
            .iter()
            .filter_map(WireLocator::from_locator)
            .map(WireOption::Locator)
            .collect();
        let rapid = rapid_reply(node, session, objective, &offering);
        let objective = match rapid {
            Some(Rapid::Value(message)) => {
                node.counters.discoveries_answered.add();
                return vec![Action::Respond { to: arrival, message }];
            }
            Some(Rapid::Negotiate(objective)) => {
                node.counters.discoveries_answered.add();
                let otherwise = message(offering.ttl, options, None);
                return vec![Action::RapidNegotiate { to: arrival, session, objective, otherwise }];
            }
            // The value needs the room that other addresses would take.
            Some(Rapid::InResponse(objective)) if offering.locators.is_empty() => {
                options.truncate(1);
                Some(objective)
            }
            Some(Rapid::InResponse(objective)) => Some(objective),
            None => None,
        };
        if !options.is_empty() {
            return respond(offering.ttl, options, objective);
        }
    } else if let Some((ttl, locators)) = divert(node, arrival.ifi, &objective.name, now) {
        return respond(ttl, vec![WireOption::Divert(locators)], None);
    } else if may_relay(node, origin)
        && let Some(relay) = relay(node, arrival, (session, initiator), objective, raw, now)
    {
        return vec![relay];
    }
    node.counters.discoveries_unanswered.add();
    Vec::new()
}

/// How a discovery is answered in rapid mode (RFC 8990 §2.5.4.5).
enum Rapid {
    /// M_SYNCH in place of M_RESPONSE (§2.5.6.3).
    Value(Message),
    /// The value in the M_RESPONSE, as graspy does it.
    InResponse(WireObjective),
    /// A negotiation about this wish (§2.5.5.1).
    Negotiate(Objective),
}

/// Whether, and how, a discovery of an objective of this node is answered in rapid mode. A relay could not pass
/// on what comes in place of M_RESPONSE, so that is for discoveries of loop count 1 only: those come from the
/// initiator itself.
fn rapid_reply(node: &Node<'_>, session: u32, wanted: &WireObjective, offering: &Offering) -> Option<Rapid> {
    if !offering.rapid || node.config.dull {
        return None;
    }
    let own = &offering.objective;
    let from_initiator = wanted.loop_count == 1;
    let has_wish = wanted.value.as_ref().is_some_and(|value| !value.is_null());
    if own.synch && from_initiator && node.config.rapid_synch_message {
        let objective = WireObjective::from_objective(own);
        Some(Rapid::Value(Message::new(Body::Synch(Step { session, objective }))))
    } else if own.synch {
        Some(Rapid::InResponse(WireObjective::from_objective(own)))
    } else if own.neg
        && !wanted.flags.has(Flags::F_SYNCH)
        && from_initiator
        && has_wish
        && node.config.rapid_negotiation
    {
        // The discovery's own count kept it on the link; the negotiation begins with that of a request (§2.8.6).
        Some(Rapid::Negotiate(Objective { loop_count: GRASP_DEF_LOOPCT, ..wanted.to_objective() }))
    } else {
        None
    }
}

/// The locators that a response gives for an objective of this node (RFC 8990 §2.8.5, §2.9.5.1): those it was
/// registered with, or this node's addresses; the link-local one of the interface where the link or the peer has no
/// other, where the objective is for the link only, and in a DULL instance (§2.5.2).
pub(crate) fn own_locators(
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

/// What a Divert option can offer for a name on an interface (RFC 8990 §2.5.4.3, §2.9.2): nothing that was
/// learnt there, no link-local address, no name that is valid only on a link (§2.9.5.3), nothing that is about to
/// expire. The lifetime is the shortest that remains.
fn divert(node: &Node<'_>, ifi: u32, name: &str, now: u64) -> Option<(u32, Vec<WireLocator>)> {
    if node.config.dull {
        return None;
    }
    let cached = node.registries.discovery.lookup(name, now);
    let usable: Vec<_> = cached
        .iter()
        .filter(|locator| node.test_divert || locator.ifi != Some(ifi))
        .filter(|locator| !locator.is_link_local() && !is_mdns_name(locator))
        .filter(|locator| locator.is_valid_at(now.saturating_add(SHORTEST_DIVERT)))
        .collect();
    let ttl = remaining(usable.iter().copied(), now);
    let locators = that_fit(usable.into_iter().filter_map(WireLocator::from_locator).collect());
    (!locators.is_empty()).then_some((ttl, locators))
}

/// As many locators as have room in a message that everyone takes (RFC 8990 §2.6, §2.8.3), those with long names last: who
/// answers with such must not keep those of others from being passed on.
fn that_fit(mut locators: Vec<WireLocator>) -> Vec<WireLocator> {
    // More than what stands around the locators, and around what is in one.
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

/// The shortest remaining life of some locators in milliseconds, never 0, which would mean "long".
fn remaining<'a>(locators: impl Iterator<Item = &'a AsaLocator>, now: u64) -> u32 {
    let left = locators
        .filter(|locator| locator.expire != 0)
        .map(|locator| locator.expire.saturating_sub(now))
        .min();
    left.map_or(LONG, |left| u32::try_from(left).unwrap_or(u32::MAX).max(1))
}

fn is_mdns_name(locator: &AsaLocator) -> bool {
    let host = match &locator.locator {
        Some(Locator::Fqdn(name)) => name.as_str(),
        Some(Locator::Uri(uri)) => {
            let authority = uri.split("://").nth(1).unwrap_or_default().split('/').next().unwrap_or_default();
            authority.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default()
        }
        _ => return false,
    };
    host.trim_end_matches('.').to_ascii_lowercase().ends_with(".local")
}

/// RFC 8990 §2.5.4.4: one loop count less, each discovery once, for 100 ms a remaining hop.
fn relay(
    node: &Node<'_>,
    arrival: Arrival,
    (session, initiator): (u32, IpAddr),
    objective: &WireObjective,
    raw: &[u8],
    now: u64,
) -> Option<Action> {
    let count = node.counters;
    let loop_count = objective.loop_count.saturating_sub(1);
    if loop_count == 0 {
        count.not_relayed_loop_count.add();
        return None;
    }
    let timeout = HOP_TIME.saturating_mul(u64::from(loop_count));
    let remembered =
        now.saturating_add(u64::from(node.config.default_timeout).saturating_mul(2)).saturating_add(timeout);
    let limit = (&node.registries.discovery_relay, &count.dropped_discovery_rate);
    if !admit_relay(node, &arrival, (session, initiator), limit, now, remembered) {
        return None;
    }
    let datagram = with_loop_count(raw, loop_count)?;
    let name = objective.name.clone();
    Some(Action::RelayDiscovery { asker: arrival, session, initiator, name, timeout, datagram })
}

/// An answer on its way to the discovery that waits for it.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) mailbox: Sender<DiscoveryAnswer>,
    pub(crate) answer: DiscoveryAnswer,
}

/// Takes up what comes to the port that a discovery was sent from, and says who waits for it. `None`, counted, if
/// nobody does. The connection goes along if it may be needed.
pub(crate) fn handle_answer(
    node: &Node<'_>,
    ifi: u32,
    transport: &Arc<dyn Transport>,
    message: Message,
    now: u64,
) -> Option<Delivery> {
    // RFC 8990 §2.5.2: from off the link, a DULL instance believes nothing.
    if node.config.dull && !transport.peer().is_unicast_link_local() {
        node.counters.dropped_dull.add();
        return None;
    }
    let session = match &message.body {
        Body::Response(response) => return handle_response(node, ifi, response, now),
        // RFC 8990 §2.5.4.5: in rapid mode these come in place of M_RESPONSE.
        Body::Negotiate(step) | Body::Synch(step) if !node.config.dull => step.session,
        Body::End { session, .. } | Body::Wait { session, .. } if !node.config.dull => *session,
        _ => {
            node.counters.dropped_misplaced.add();
            return None;
        }
    };
    let Some(mailbox) = node.registries.sessions.own_mailbox(session) else {
        node.counters.dropped_stray_response.add();
        return None;
    };
    node.counters.rapid_received.add();
    Some(Delivery { mailbox, answer: DiscoveryAnswer::Rapid { message, transport: Arc::clone(transport) } })
}

/// Takes up an M_RESPONSE: caches its locators (RFC 8990 §2.5.4.3) and says who waits for it. `None`, counted,
/// if no discovery with this session and initiator is open (§2.8.5).
fn handle_response(node: &Node<'_>, ifi: u32, response: &Response, now: u64) -> Option<Delivery> {
    let dull = node.config.dull;
    let Some((mailbox, name)) = node.registries.sessions.mailbox(response.session, response.initiator) else {
        node.counters.dropped_stray_response.add();
        return None;
    };
    node.counters.responses_received.add();
    let ttl = if response.ttl == 0 { LONG } else { response.ttl };
    let expire = now.saturating_add(u64::from(ttl));
    let mut locators = Vec::new();
    for option in &response.options {
        let (found, diverted): (&[WireLocator], bool) = match option {
            WireOption::Locator(locator) => (std::slice::from_ref(locator), false),
            // RFC 8990 §2.5.2: a DULL instance neither sends nor believes a Divert.
            WireOption::Divert(locators) if !dull => (locators, true),
            WireOption::Divert(_) | WireOption::Other(_) => continue,
        };
        locators
            .extend(found.iter().map(|locator| locator.clone().into_locator(Some(ifi), expire, diverted)));
    }
    let rapid =
        response.objective.as_ref().filter(|objective| objective.name == name && objective.value.is_some());
    let rapid = rapid.map(|objective| RapidValue { objective: objective.to_objective(), expire });
    node.registries.discovery.insert(&name, &locators, rapid.filter(|rapid| rapid.objective.synch), now);
    Some(Delivery { mailbox, answer: DiscoveryAnswer::Found(Found { locators, ttl, ifi }) })
}

/// What a relay sends back of an answer that it was given: a Divert to what can be used from elsewhere, with
/// the lifetime that remains (RFC 8990 §2.5.4.4). `None` if nothing of it can. What this node has learnt on the
/// asker's own link is not sent there (§2.5.4.3), also if another relay has just told it again.
pub(crate) fn relayed_response(
    node: &Node<'_>,
    asker_ifi: u32,
    (session, initiator): (u32, IpAddr),
    name: &str,
    answer: &Found,
    now: u64,
) -> Option<Message> {
    if answer.ifi == asker_ifi {
        return None;
    }
    let mut known = node.registries.discovery.lookup(name, now);
    known.retain(|known| known.ifi == Some(asker_ifi));
    let usable = answer.locators.iter().filter(|locator| {
        let near = known.iter().any(|known| (&known.locator, known.port) == (&locator.locator, locator.port));
        !near && !locator.is_link_local() && !is_mdns_name(locator)
    });
    let locators = that_fit(usable.filter_map(WireLocator::from_locator).collect());
    if locators.is_empty() {
        return None;
    }
    let options = vec![WireOption::Divert(locators)];
    Some(Message::new(Body::Response(Response {
        session,
        initiator,
        ttl: answer.ttl,
        options,
        objective: None,
    })))
}

/// The locators under which ASAs of the same engine find each other.
pub(crate) fn local_locators(addresses: &Addresses, offering: &Offering) -> Vec<AsaLocator> {
    let ifi = addresses.links.first().map_or(0, |link| link.ifi);
    let mut found = own_locators(false, addresses, offering, (ifi, false));
    if !found.is_empty() {
        // Within an engine one address is as good as another.
        found.truncate(if offering.locators.is_empty() { 1 } else { found.len() });
        return found;
    }
    let mut locator = AsaLocator::new(Ipv6Addr::LOCALHOST, None).with_port(offering.port);
    locator.protocol = Some(Protocol::Tcp);
    vec![locator]
}

/// Every locator that a response of this engine may give for an objective, on whichever link.
pub(crate) fn all_locators(addresses: &Addresses, offering: &Offering) -> Vec<AsaLocator> {
    if !offering.locators.is_empty() {
        return offering.locators.clone();
    }
    addresses.all().map(|address| AsaLocator::new(address, None).with_port(offering.port)).collect()
}
