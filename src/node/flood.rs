//! Caching and relaying floods (RFC 8990 §2.5.6.2, §2.8.11).

use std::net::IpAddr;

use super::locators::{Via, acceptable};
use super::relay::cause;
use super::{Arrival, Effect, Heard, Node};
use crate::configger;
use crate::outcome::{Case, FloodOutcome, MessageOutcome, NotRelayed};
use crate::registry::Done;
use crate::types::{AsaLocator, SessionId, TaggedObjective};
use crate::wire::{Flood, WireLocator, WireObjective, with_loop_count};

/// The cost of a flood is the number of its objectives or its length in units of this many bytes, whichever is larger.
const UNIT: usize = 512;

impl Node {
    /// Handles an M_FLOOD: caches every objective and relays the datagram to the other interfaces.
    pub(super) fn flood(
        &self,
        heard: &Heard<'_>,
        flood: &Flood,
        case: Case<MessageOutcome>,
    ) -> Option<Effect> {
        let Heard { arrival, id, origin, now, .. } = *heard;
        let Some((first, _)) = flood.objectives.first() else {
            case.settle(MessageOutcome::Misplaced);
            return None;
        };
        // RFC 8990 §2.5.2
        if self.config.dull && flood.objectives.iter().any(|(objective, _)| objective.loop_count != 1) {
            case.settle(MessageOutcome::Dull);
            return None;
        }
        // RFC 8990 §2.5.6.2. Over UDP every IP source is link-local, so the rule applies to the initiator instead.
        if first.loop_count != 1 && is_link_local(flood.initiator) {
            case.settle(MessageOutcome::LinkLocalFlood);
            return None;
        }
        let case: Case<FloodOutcome> = case.becomes(MessageOutcome::Flood);
        let until = now.saturating_add(self.memory());
        if self.registries.recent.remember(Done::Flooded, id, arrival.neighbour(), now, until) {
            self.cache(arrival, flood, id, now);
        } else {
            self.counters.duplicate_floods.add();
        }
        let relayed = self.may_relay(origin).then(|| self.relay_flood(heard, flood)).flatten();
        let Some(datagram) = relayed else {
            case.settle(FloodOutcome::NotRelayed);
            return None;
        };
        Some(Effect::RelayFlood { except: arrival.ifi, session: id.session, datagram, case })
    }

    /// Caches every objective with its tag (RFC 8990 §2.8.11).
    fn cache(&self, arrival: Arrival, flood: &Flood, id: SessionId, now: u64) {
        let count = &self.counters;
        let expire = self.expiry(flood.ttl, now);
        for (objective, locator) in &flood.objectives {
            let source = self.tag(arrival, flood, objective, locator.as_ref(), expire);
            let cached = source.is_some_and(|source| {
                let tagged = TaggedObjective { objective: objective.to_objective(), source };
                self.registries.floods.insert(tagged, Some(cause(&arrival, id)))
            });
            if cached { count.flood_entries_cached.add() } else { count.flood_entries_refused.add() }
        }
        if flood.objectives.iter().any(|(objective, _)| configger::is_meant(&objective.name)) {
            self.sizes.follow(&self.registries.floods, now);
        }
    }

    /// Returns the tag to cache an objective with; `None` if the objective must not be cached. A link-local address is
    /// valid as a tag only if the flood cannot have come through a relay: after a relay it would name a node on another
    /// link.
    fn tag(
        &self,
        arrival: Arrival,
        flood: &Flood,
        objective: &WireObjective,
        locator: Option<&WireLocator>,
        expire: u64,
    ) -> Option<AsaLocator> {
        if !self.config.permits(&objective.name) {
            return None;
        }
        let Some(locator) = locator else {
            return Some(AsaLocator { ifi: Some(arrival.ifi), expire, ..AsaLocator::null() });
        };
        let tag = locator.clone().into_locator(Some(arrival.ifi), expire, false);
        let from_neighbour = tag.locator.as_ref().is_some_and(|tag| *tag == arrival.source.into())
            || is_link_local(flood.initiator);
        let via = if from_neighbour { Via::Link(arrival.source) } else { Via::Relay };
        acceptable(&locator.locator, via).then_some(tag)
    }

    /// Relays each flood once, with the loop count of the first objective reduced by one (RFC 8990 §2.5.6.2).
    fn relay_flood(&self, heard: &Heard<'_>, flood: &Flood) -> Option<Vec<u8>> {
        let Heard { arrival, id, raw, now, .. } = *heard;
        let loop_count = flood.objectives.first()?.0.loop_count.saturating_sub(1);
        if loop_count == 0 {
            NotRelayed::LoopCount.count(&self.counters);
            return None;
        }
        let cost = flood.objectives.len().max(raw.len() / UNIT);
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        let rates = (&self.quotas.flood_cause_rate, &self.quotas.flood_rate);
        if !self.is_new_and_within(rates, cause(&arrival, id), id, cost, NotRelayed::FloodRate, now) {
            return None;
        }
        let until = now.saturating_add(self.memory());
        self.registries.recent.remember(Done::Relayed, id, arrival.neighbour(), now, until);
        if !self.relays_itself() {
            NotRelayed::Elsewhere.count(&self.counters);
            return None;
        }
        with_loop_count(raw, loop_count)
    }

    /// Records that a flood was relayed.
    pub(crate) fn flood_relayed(&self, session: u32, except: u32, case: Case<FloodOutcome>) {
        self.tell_relayed(session, except);
        case.settle(FloodOutcome::Relayed);
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V6(address) => address.is_unicast_link_local(),
        IpAddr::V4(address) => address.is_link_local(),
    }
}
