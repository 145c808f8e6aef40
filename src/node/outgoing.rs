//! The floods that this node starts (RFC 8990 §2.5.6.2): their datagrams and their entries in its own cache. Called by
//! `api`.

use std::net::{IpAddr, Ipv6Addr};

use super::Node;
use crate::error::{Error, Result};
use crate::types::{AsaLocator, Locator, Objective, SessionId, TaggedObjective};
use crate::wire::{Body, Flood, Message, WireLocator, WireObjective, encode};

/// An M_FLOOD of this node, ready to be sent.
#[derive(Debug)]
pub(crate) struct FloodPlan<'a> {
    node: &'a Node,
    id: SessionId,
    ttl: u32,
    tagged: Vec<TaggedObjective>,
}

impl FloodPlan<'_> {
    /// Records the flood as this node's own and caches it, just before it is sent.
    pub(crate) fn begin(&self, now: u64) {
        let node = self.node;
        node.registries.identifiers.own(self.id.session, self.id.initiator);
        node.cache_own_flood(&self.tagged, self.ttl, now);
        node.sizes.follow(&node.registries.floods, now);
        node.counters.floods_sent.add();
    }

    /// Returns the datagram for an interface with this link-local address.
    pub(crate) fn datagram(&self, link_local: Option<Ipv6Addr>) -> Vec<u8> {
        let objectives = self.tagged.iter().map(|one| {
            let source = with_address(&one.source, link_local);
            (WireObjective::from_objective(&one.objective), WireLocator::from_locator(&source))
        });
        let SessionId { session, initiator } = self.id;
        encode(&Message::new(Body::Flood(Flood {
            session,
            initiator,
            ttl: self.ttl,
            objectives: objectives.collect(),
        })))
    }
}

impl Node {
    /// Prepares a flood of objectives with their tags for every interface. All loop counts are 1 if the flood stays on
    /// the links. Changes nothing before [`FloodPlan::begin`].
    ///
    /// # Errors
    /// `TooLarge` if the message is larger than `limit` bytes, `NoRandom`.
    pub(crate) fn plan_flood(
        &self,
        tagged: &[TaggedObjective],
        ttl: u32,
        limit: usize,
    ) -> Result<FloodPlan<'_>> {
        let address = self.addresses().session_locator();
        let for_link = tagged.first().is_some_and(|first| is_unspecified(&first.source));
        let mut tagged = tagged.to_vec();
        if for_link || self.config.dull || address.is_unicast_link_local() {
            tagged.iter_mut().for_each(|one| one.objective.loop_count = 1);
        }
        let id = SessionId { session: self.new_id()?, initiator: IpAddr::V6(address) };
        let plan = FloodPlan { node: self, id, ttl, tagged };
        // Every IPv6 address takes 16 bytes.
        let size = plan.datagram(None).len();
        if size > limit { Err(Error::TooLarge { size, limit }) } else { Ok(plan) }
    }

    /// Puts a node's own flood into its flood cache.
    fn cache_own_flood(&self, tagged: &[TaggedObjective], ttl: u32, now: u64) {
        let expire = if ttl == 0 { 0 } else { now.saturating_add(ttl.into()) };
        let addresses = self.addresses();
        let link = addresses.links.first();
        for one in tagged {
            let mut source = with_address(&one.source, link.map(|link| link.address));
            source.expire = expire;
            if source.is_link_local() {
                source.ifi = source.ifi.or_else(|| link.map(|link| link.ifi));
            }
            self.registries.floods.insert(TaggedObjective { objective: one.objective.clone(), source }, None);
        }
    }
}

/// Whether a flood with this first locator stays on the links.
pub(crate) fn is_unspecified(source: &AsaLocator) -> bool {
    source.locator == Some(Locator::Ipv6(Ipv6Addr::UNSPECIFIED))
}

/// Replaces `::` in the source with the interface's address.
fn with_address(source: &AsaLocator, link_local: Option<Ipv6Addr>) -> AsaLocator {
    match link_local {
        Some(address) if is_unspecified(source) => {
            AsaLocator { locator: Some(Locator::Ipv6(address)), ..source.clone() }
        }
        _ => source.clone(),
    }
}

/// Returns an M_DISCOVERY of at most `limit` bytes, or `None`. A discovery needs no value (RFC 8990 §2.10.3), so the
/// value is left out if it does not fit.
pub(super) fn discovery_datagram(
    SessionId { session, initiator }: SessionId,
    objective: &Objective,
    limit: usize,
) -> Option<Vec<u8>> {
    let whole = WireObjective::from_objective(objective);
    let bare = WireObjective { value: None, ..whole.clone() };
    [whole, bare].into_iter().find_map(|objective| {
        let datagram = encode(&Message::new(Body::Discovery { session, initiator, objective }));
        (datagram.len() <= limit).then_some(datagram)
    })
}
