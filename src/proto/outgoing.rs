//! What this node itself asks and floods: the datagrams, and when a question is repeated (RFC 8990 §2.5.4.3,
//! §2.5.6.2). Called by `api`.

use std::net::{IpAddr, Ipv6Addr};

use super::Node;
use crate::types::{AsaLocator, Locator, Objective, TaggedObjective};
use crate::wire::{Body, Flood, Message, WireLocator, WireObjective, encode};

/// The time that a discovery gets for each hop, in milliseconds (RFC 8990 §2.5.4.3).
const HOP_TIME: u64 = 100;

/// How long a discovery waits, and when it asks again under a new session: with exponential back-off while
/// nothing is found (RFC 8990 §2.5.4.3). All times are milliseconds since it began.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    floor: u64,
    deadline: u64,
    pause: u64,
    last: bool,
}

impl Asking {
    pub(crate) fn new(loop_count: u8, timeout: Option<u32>) -> Self {
        let floor = HOP_TIME.saturating_mul(u64::from(loop_count.max(1)));
        let deadline = u64::from(timeout.unwrap_or(0)).max(floor);
        Self { floor, deadline, pause: floor, last: false }
    }

    /// When the call ends, whatever has been found.
    pub(crate) const fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Until when to wait for the answers to a question that is asked now; `None` if none is asked any more,
    /// because the time is over.
    pub(crate) fn next(&mut self, elapsed: u64) -> Option<u64> {
        if self.last {
            return None;
        }
        let next = elapsed.saturating_add(self.pause);
        self.pause = self.pause.saturating_mul(2);
        self.last = next.saturating_add(self.floor) > self.deadline;
        Some(if self.last { self.deadline } else { next })
    }
}

/// An M_DISCOVERY of at most `limit` bytes, or `None`. A discovery needs no value (RFC 8990 §2.10.3), and goes
/// without if there is no room.
pub(crate) fn discovery_datagram(
    (session, initiator): (u32, IpAddr),
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

/// An M_FLOOD as it leaves by an interface with this link-local address.
pub(crate) fn flood_datagram(
    (session, initiator): (u32, IpAddr),
    ttl: u32,
    tagged: &[TaggedObjective],
    link_local: Option<Ipv6Addr>,
) -> Vec<u8> {
    let objectives = tagged.iter().map(|one| {
        let source = with_address(&one.source, link_local);
        (WireObjective::from_objective(&one.objective), WireLocator::from_locator(&source))
    });
    encode(&Message::new(Body::Flood(Flood { session, initiator, ttl, objectives: objectives.collect() })))
}

/// Puts a node's own flood into its flood cache.
pub(crate) fn cache_own_flood(node: &Node<'_>, tagged: &[TaggedObjective], ttl: u32, now: u64) {
    let expire = if ttl == 0 { 0 } else { now.saturating_add(ttl.into()) };
    let link = node.addresses.links.first();
    for one in tagged {
        let mut source = with_address(&one.source, link.map(|link| link.address));
        source.expire = expire;
        if source.is_link_local() {
            source.ifi = source.ifi.or_else(|| link.map(|link| link.ifi));
        }
        node.registries.floods.insert(TaggedObjective { objective: one.objective.clone(), source }, None);
    }
}

/// Whether a flood with this first locator is for the links only.
pub(crate) fn is_unspecified(source: &AsaLocator) -> bool {
    source.locator == Some(Locator::Ipv6(Ipv6Addr::UNSPECIFIED))
}

/// The source with `::` replaced by an interface's address.
fn with_address(source: &AsaLocator, link_local: Option<Ipv6Addr>) -> AsaLocator {
    match link_local {
        Some(address) if is_unspecified(source) => {
            AsaLocator { locator: Some(Locator::Ipv6(address)), ..source.clone() }
        }
        _ => source.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_repeated_with_growing_pauses_while_there_is_time_for_an_answer() {
        let mut asking = Asking::new(2, Some(2000));
        assert_eq!(asking.next(0), Some(200));
        assert_eq!(asking.next(200), Some(600));
        assert_eq!(asking.next(600), Some(1400));
        assert_eq!(asking.next(1400), Some(2000), "after 3000 there would be none");
        assert_eq!((asking.next(2000), asking.deadline()), (None, 2000));
    }

    #[test]
    fn the_least_time_is_that_of_the_hops_and_leaves_room_for_one_question() {
        let mut asking = Asking::new(6, None);
        assert_eq!((asking.next(0), asking.next(600)), (Some(600), None));
        let mut asking = Asking::new(0, Some(50));
        assert_eq!((asking.next(0), asking.next(100)), (Some(100), None));
    }
}
