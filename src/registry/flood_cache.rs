//! The flood cache (graspy's `_flood_cache`): flooded objectives with their tags (RFC 8990 §2.8.11).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv6Addr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::stats::Counters;
use crate::types::{AsaLocator, Locator, Protocol, TaggedObjective};

/// Where a flood came in, and from whom; none where it began.
pub(crate) type From = Option<(u32, Ipv6Addr)>;

/// How much there is room for: entries, and bytes of memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

/// Flooded objectives by name and tag. When it is full the oldest received goes; when a neighbour has filled its share,
/// the oldest of this neighbour. What began here stays.
#[derive(Debug)]
pub(crate) struct FloodCache {
    inner: Mutex<Inner>,
    room: Room,
    per_neighbour: Room,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Inner {
    /// In order of reception: the number only grows.
    entries: BTreeMap<u64, Stored>,
    by_name: HashMap<String, HashMap<Tag, u64>>,
    by_neighbour: HashMap<From, Share>,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Stored {
    tagged: TaggedObjective,
    from: From,
    bytes: usize,
}

/// What is cached of one neighbour.
#[derive(Debug, Default)]
struct Share {
    numbers: BTreeSet<u64>,
    bytes: usize,
}

/// What an entry takes besides its name and value, about.
const ENTRY: usize = 400;

/// What tells two entries of one name apart (RFC 8990 §2.8.11): the locator, not the initiator. A link-local
/// address counts with its interface.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Tag {
    locator: Option<Locator>,
    protocol: Option<Protocol>,
    port: Option<u16>,
    ifi: Option<u32>,
}

impl Tag {
    fn of(source: &AsaLocator) -> Self {
        // The null tag is one tag, whatever stands in its other fields.
        let named = source.locator.is_some();
        Self {
            locator: source.locator.clone(),
            protocol: source.protocol.filter(|_| named),
            port: source.port.filter(|_| named),
            ifi: source.ifi.filter(|_| source.is_link_local()),
        }
    }
}

impl FloodCache {
    pub(crate) fn new(room: Room, per_neighbour: Room, counters: Arc<Counters>) -> Self {
        Self { inner: Mutex::default(), room, per_neighbour, counters }
    }

    /// Caches an objective; the same name with the same tag is replaced and counts as newly received.
    pub(crate) fn insert(&self, tagged: TaggedObjective, from: From) {
        let bytes = ENTRY + tagged.objective.name.len() * 2 + tagged.objective.value.memory();
        let mut inner = self.inner.lock();
        inner.remove(&tagged.objective.name, &Tag::of(&tagged.source));
        let evicted = &self.counters.flood_cache_evicted;
        while inner.share_is_full(from, bytes, self.per_neighbour) && inner.remove_oldest_of(from) {
            evicted.add();
        }
        while inner.is_full(bytes, self.room) && inner.remove_oldest() {
            evicted.add();
        }
        let number = inner.next;
        inner.next += 1;
        let tags = inner.by_name.entry(tagged.objective.name.clone()).or_default();
        tags.insert(Tag::of(&tagged.source), number);
        inner.entries.insert(number, Stored { tagged, from, bytes });
        let share = inner.by_neighbour.entry(from).or_default();
        share.numbers.insert(number);
        share.bytes += bytes;
        inner.bytes += bytes;
        self.counters.flood_cache_peak.raise_to(inner.entries.len());
    }

    /// Valid entries of this name, oldest received first.
    pub(crate) fn lookup(&self, name: &str, now: u64) -> Vec<TaggedObjective> {
        let inner = self.inner.lock();
        let mut numbers: Vec<u64> =
            inner.by_name.get(name).map(|tags| tags.values().copied().collect()).unwrap_or_default();
        numbers.sort_unstable();
        let entries =
            numbers.iter().filter_map(|number| inner.entries.get(number)).map(|stored| &stored.tagged);
        entries.filter(|tagged| tagged.source.is_valid_at(now)).cloned().collect()
    }

    /// Forgets the entry with this name and tag, unless another value has taken its place meanwhile.
    /// Returns whether there was one.
    pub(crate) fn expire(&self, stale: &TaggedObjective) -> bool {
        let mut inner = self.inner.lock();
        let (name, tag) = (&stale.objective.name, Tag::of(&stale.source));
        let number = inner.by_name.get(name).and_then(|tags| tags.get(&tag)).copied();
        let current = number.and_then(|number| inner.entries.get(&number));
        current.is_some_and(|current| current.tagged.objective.value == stale.objective.value)
            && inner.remove(name, &tag)
    }

    /// Forgets what has expired.
    pub(crate) fn purge(&self, now: u64) {
        let mut inner = self.inner.lock();
        let expired = inner.entries.iter().filter(|(_, stored)| !stored.tagged.source.is_valid_at(now));
        let expired: Vec<_> = expired.map(|(number, _)| *number).collect();
        self.counters.flood_cache_expired.add_many(expired.len());
        for number in expired {
            inner.remove_number(number);
        }
    }

    /// All entries, oldest received first, for `dump_all`.
    pub(crate) fn list(&self) -> Vec<TaggedObjective> {
        self.inner.lock().entries.values().map(|stored| stored.tagged.clone()).collect()
    }
}

impl Inner {
    fn remove(&mut self, name: &str, tag: &Tag) -> bool {
        let number = self.by_name.get(name).and_then(|tags| tags.get(tag)).copied();
        number.is_some_and(|number| self.remove_number(number))
    }

    fn remove_number(&mut self, number: u64) -> bool {
        let Some(stored) = self.entries.remove(&number) else { return false };
        self.bytes = self.bytes.saturating_sub(stored.bytes);
        if let Some(share) = self.by_neighbour.get_mut(&stored.from) {
            share.numbers.remove(&number);
            share.bytes = share.bytes.saturating_sub(stored.bytes);
            if share.numbers.is_empty() {
                self.by_neighbour.remove(&stored.from);
            }
        }
        let name = &stored.tagged.objective.name;
        if let Some(tags) = self.by_name.get_mut(name) {
            tags.remove(&Tag::of(&stored.tagged.source));
            if tags.is_empty() {
                self.by_name.remove(name);
            }
        }
        true
    }

    fn is_full(&self, bytes: usize, room: Room) -> bool {
        self.entries.len() >= room.entries.max(1) || self.bytes.saturating_add(bytes) > room.bytes
    }

    fn share_is_full(&self, from: From, bytes: usize, room: Room) -> bool {
        let share = self.by_neighbour.get(&from).filter(|_| from.is_some());
        share.is_some_and(|share| {
            share.numbers.len() >= room.entries.max(1) || share.bytes.saturating_add(bytes) > room.bytes
        })
    }

    fn remove_oldest_of(&mut self, from: From) -> bool {
        let oldest = self.by_neighbour.get(&from).and_then(|share| share.numbers.first()).copied();
        oldest.is_some_and(|oldest| self.remove_number(oldest))
    }

    /// The oldest of all, but what began here only if there is nothing else.
    fn remove_oldest(&mut self) -> bool {
        let own = self.by_neighbour.get(&None).map_or(0, |share| share.numbers.len());
        let all_own = own == self.entries.len();
        let oldest = self.entries.iter().find(|(_, stored)| all_own || stored.from.is_some());
        let oldest = oldest.map(|(number, _)| *number);
        oldest.is_some_and(|oldest| self.remove_number(oldest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Objective, Value};

    fn tagged(name: &str, last: Option<u16>, expire: u64, value: i64) -> TaggedObjective {
        let mut objective = Objective::new(name);
        objective.value = Value::from(value);
        let source = last.map_or_else(AsaLocator::null, |last| {
            AsaLocator::new(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last), Some(2))
        });
        TaggedObjective { objective, source: AsaLocator { expire, ..source } }
    }

    fn cache_of(entries: usize) -> FloodCache {
        let room = Room { entries, bytes: 1 << 20 };
        FloodCache::new(room, room, Arc::default())
    }

    fn values(cache: &FloodCache, name: &str, now: u64) -> Vec<Value> {
        cache.lookup(name, now).into_iter().map(|t| t.objective.value).collect()
    }

    #[test]
    fn the_same_tag_overwrites_and_another_tag_adds() {
        let cache = cache_of(10);
        cache.insert(tagged("EX1", None, 0, 1), None);
        cache.insert(tagged("EX1", Some(1), 0, 2), None);
        cache.insert(tagged("EX1", None, 0, 3), None);
        assert_eq!(values(&cache, "EX1", 5), vec![Value::from(2), Value::from(3)]);
        assert!(values(&cache, "ex1", 5).is_empty());
    }

    #[test]
    fn expired_entries_are_not_seen_and_can_be_purged() {
        let cache = cache_of(10);
        cache.insert(tagged("EX1", None, 100, 1), None);
        assert_eq!(values(&cache, "EX1", 99).len(), 1);
        assert!(values(&cache, "EX1", 100).is_empty());
        cache.purge(100);
        assert!(cache.list().is_empty());
    }

    #[test]
    fn a_copy_expires_the_entry_even_one_without_end() {
        let cache = cache_of(10);
        cache.insert(tagged("EX1", Some(1), 0, 1), None);
        let copy = cache.lookup("EX1", 0).remove(0);
        assert!(cache.expire(&copy));
        assert!(!cache.expire(&copy));
        assert!(cache.lookup("EX1", 0).is_empty());
        cache.insert(tagged("EX1", Some(1), 0, 2), None);
        assert!(!cache.expire(&copy), "a newer value is not expired by a copy of the old one");
    }

    #[test]
    fn the_oldest_received_makes_room() {
        let cache = cache_of(2);
        for (name, value) in [("a", 1), ("b", 2), ("c", 3)] {
            cache.insert(tagged(name, None, 0, value), None);
        }
        let names: Vec<_> = cache.list().into_iter().map(|t| t.objective.name).collect();
        assert_eq!(names, ["b", "c"]);
        assert!(cache.inner.lock().by_name.len() == 2);
    }

    fn neighbour(number: u16) -> From {
        Some((2, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number)))
    }

    fn names(cache: &FloodCache) -> Vec<String> {
        cache.list().into_iter().map(|tagged| tagged.objective.name).collect()
    }

    #[test]
    fn a_neighbour_displaces_what_is_its_own() {
        let room = |entries| Room { entries, bytes: 1 << 20 };
        let cache = FloodCache::new(room(4), room(2), Arc::default());
        cache.insert(tagged("own", None, 0, 1), None);
        cache.insert(tagged("theirs", None, 0, 1), neighbour(1));
        for name in ["a", "b", "c", "d"] {
            cache.insert(tagged(name, None, 0, 1), neighbour(2));
        }
        assert_eq!(names(&cache), ["own", "theirs", "c", "d"]);
        // Many neighbours displace each other, but not what began here.
        for number in 3..9 {
            cache.insert(tagged(&number.to_string(), None, 0, 1), neighbour(number));
        }
        assert_eq!(names(&cache), ["own", "6", "7", "8"]);
        assert_eq!(cache.inner.lock().by_neighbour.len(), 4);
    }

    #[test]
    fn values_take_no_more_memory_than_there_is_room_for() {
        let room = |bytes| Room { entries: 1000, bytes };
        let cache = FloodCache::new(room(100_000), room(50_000), Arc::default());
        let large = |name: &str| {
            let mut tagged = tagged(name, None, 0, 1);
            tagged.objective.value = Value::Array(vec![Value::from(0); 600]);
            tagged
        };
        for number in 0..20 {
            cache.insert(large(&number.to_string()), neighbour(number % 2));
        }
        assert_eq!(names(&cache), ["16", "17", "18", "19"], "two of each");
        cache.purge(0);
        for name in names(&cache) {
            let copy = cache.lookup(&name, 0).remove(0);
            assert!(cache.expire(&copy));
        }
        let inner = cache.inner.lock();
        assert_eq!((inner.bytes, inner.by_neighbour.len(), inner.by_name.len()), (0, 0, 0));
    }
}
