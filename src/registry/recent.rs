//! Past multicasts that this node remembers: those that it relayed, those whose objectives it cached, and those that it
//! answered. Each is kept by session and initiator until it may be forgotten (RFC 8990 §2.5.4.4, §2.5.6.2).

use std::sync::Arc;

use parking_lot::Mutex;

use crate::bounds::{BoundedMap, Capacity, Neighbour};
use crate::stats::Counters;
use crate::types::SessionId;

/// The multicasts that this node has handled. Each neighbour may use at most half of the memory: the multicasts of one
/// must not make this node forget those of the others.
#[derive(Debug)]
pub(crate) struct RecentRegistry {
    inner: Mutex<Inner>,
    counters: Arc<Counters>,
}

/// When each entry may be forgotten.
type Memory = BoundedMap<SessionId, u64, Neighbour>;

#[derive(Debug)]
struct Inner {
    relayed: Memory,
    flooded: Memory,
    answered: Memory,
}

/// How a multicast was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Relayed,
    /// Its objectives are cached.
    Flooded,
    Answered,
}

impl Inner {
    fn memory(&mut self, done: Done) -> &mut Memory {
        match done {
            Done::Relayed => &mut self.relayed,
            Done::Flooded => &mut self.flooded,
            Done::Answered => &mut self.answered,
        }
    }
}

impl RecentRegistry {
    pub(crate) fn new(limit: usize, counters: Arc<Counters>) -> Self {
        let memory = || Memory::with_shares(Capacity::entries(limit), Capacity::entries(limit.div_ceil(2)));
        let inner = Inner { relayed: memory(), flooded: memory(), answered: memory() };
        Self { inner: Mutex::new(inner), counters }
    }

    /// Whether the multicast is remembered as handled in this way.
    pub(crate) fn knows(&self, done: Done, id: SessionId, now: u64) -> bool {
        self.inner.lock().memory(done).get(&id).is_some_and(|until| *until > now)
    }

    /// Remembers until `until` that this was done. `false` if it was remembered already.
    pub(crate) fn remember(&self, done: Done, id: SessionId, by: Neighbour, now: u64, until: u64) -> bool {
        let mut inner = self.inner.lock();
        let memory = inner.memory(done);
        if memory.get(&id).is_some_and(|until| *until > now) {
            return false;
        }
        let evicted = memory.insert_for(by, (), id, until, 0);
        let early = evicted.iter().filter(|(_, until)| *until > now).count();
        self.counters.relay_memory_evicted.add_many(early);
        true
    }

    /// Forgets an entry, because the multicast was not handled after all.
    pub(crate) fn forget(&self, done: Done, id: SessionId) {
        self.inner.lock().memory(done).remove(&id);
    }

    /// The number of relayed multicasts that are remembered.
    #[cfg(feature = "_simulator")]
    pub(crate) fn relayed_count(&self) -> usize {
        self.inner.lock().relayed.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;

    #[test]
    fn memories_are_bounded_and_a_neighbour_displaces_itself() {
        let recent = RecentRegistry::new(4, Arc::default());
        let id = |session| SessionId { session, initiator: IpAddr::V6(Ipv6Addr::LOCALHOST) };
        let (a, b) = ((1, Ipv6Addr::LOCALHOST), (2, Ipv6Addr::LOCALHOST));
        assert!(recent.remember(Done::Relayed, id(1), a, 0, 100));
        for session in 10..99 {
            assert!(recent.remember(Done::Relayed, id(session), b, 0, 100));
        }
        assert!(recent.knows(Done::Relayed, id(1), 99) && !recent.knows(Done::Relayed, id(1), 100));
        assert!(!recent.knows(Done::Relayed, id(10), 0) && recent.knows(Done::Relayed, id(98), 0));
        assert!(!recent.knows(Done::Flooded, id(1), 0));
        assert!(!recent.remember(Done::Relayed, id(1), b, 99, 200));
        recent.forget(Done::Relayed, id(1));
        assert!(recent.remember(Done::Relayed, id(1), b, 99, 200));
        assert_eq!(recent.counters.snapshot().relay_memory_evicted, 88);
    }
}
