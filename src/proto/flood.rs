//! Caching and relaying floods (RFC 8990 §2.5.6.2, §2.8.11).

use std::net::IpAddr;

use super::{Action, Arrival, Node, Origin, admit_relay, may_relay};
use crate::types::{AsaLocator, TaggedObjective};
use crate::wire::{Flood, with_loop_count};

/// How long a flood is remembered, in milliseconds: twice the default timeout (RFC 8990 §2.5.6.2).
const MEMORY: u64 = 120_000;

/// Decides about an M_FLOOD: every objective goes into the cache, the datagram on to the other interfaces.
pub(super) fn handle(
    node: &Node<'_>,
    arrival: Arrival,
    flood: &Flood,
    origin: Origin,
    raw: &[u8],
    now: u64,
) -> Vec<Action> {
    let count = node.counters;
    let Some((first, _)) = flood.objectives.first() else { return Vec::new() };
    // RFC 8990 §2.5.2
    if node.config.dull && flood.objectives.iter().any(|(objective, _)| objective.loop_count != 1) {
        count.dropped_dull.add();
        return Vec::new();
    }
    // RFC 8990 §2.5.6.2. Over UDP every IP source is link-local, so the rule is applied to the initiator.
    if first.loop_count != 1 && is_link_local(flood.initiator) {
        count.dropped_link_local_flood.add();
        return Vec::new();
    }
    count.floods_received.add();
    if node.registries.sessions.is_new_flood(flood.session, flood.initiator, now, now.saturating_add(MEMORY))
    {
        cache(node, arrival, flood, now);
    } else {
        count.duplicate_floods.add();
    }
    let relayed = may_relay(node, origin).then(|| relay(node, arrival, flood, first.loop_count, raw, now));
    let actions: Vec<_> = relayed.flatten().into_iter().collect();
    if actions.is_empty() {
        count.floods_not_relayed.add();
    }
    actions
}

/// RFC 8990 §2.8.11: every objective is cached with its tag.
fn cache(node: &Node<'_>, arrival: Arrival, flood: &Flood, now: u64) {
    let count = node.counters;
    let expire = if flood.ttl == 0 { 0 } else { now.saturating_add(u64::from(flood.ttl)) };
    for (objective, locator) in &flood.objectives {
        if !node.config.permits(&objective.name) {
            count.flood_entries_refused.add();
            continue;
        }
        let source = match locator {
            Some(locator) => locator.clone().into_locator(Some(arrival.ifi), expire, false),
            None => AsaLocator { ifi: Some(arrival.ifi), expire, ..AsaLocator::null() },
        };
        let tagged = TaggedObjective { objective: objective.to_objective(), source };
        node.registries.floods.insert(tagged, Some((arrival.ifi, arrival.source)));
        count.flood_entries_cached.add();
    }
}

/// RFC 8990 §2.5.6.2: one loop count less, of the first objective only; each flood once.
fn relay(
    node: &Node<'_>,
    arrival: Arrival,
    flood: &Flood,
    loop_count: u8,
    raw: &[u8],
    now: u64,
) -> Option<Action> {
    let loop_count = loop_count.saturating_sub(1);
    if loop_count == 0 {
        node.counters.not_relayed_loop_count.add();
        return None;
    }
    let until = now.saturating_add(MEMORY);
    let limit = (&node.registries.flood_relay, &node.counters.dropped_flood_rate);
    if !admit_relay(node, &arrival, (flood.session, flood.initiator), limit, now, until) {
        return None;
    }
    with_loop_count(raw, loop_count).map(|datagram| Action::Relay { except: arrival.ifi, datagram })
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V6(address) => address.is_unicast_link_local(),
        IpAddr::V4(address) => address.is_link_local(),
    }
}
