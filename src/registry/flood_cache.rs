//! The flood cache (graspy's `_flood_cache`): flooded objectives with their tags (RFC 8990 §2.8.11).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv6Addr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::stats::Counters;
use crate::trace::{Cache, CacheEvent, Event, Later, Removal};
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
    /// Expiry and number of those that expire.
    by_expiry: BTreeSet<(u64, u64)>,
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

/// What an entry takes besides its name, value and locator, about.
const ENTRY: usize = 400;

/// What an entry takes, about. Its name and locator are kept twice.
fn memory(tagged: &TaggedObjective) -> usize {
    let TaggedObjective { objective, source } = tagged;
    ENTRY + 2 * (objective.name.len() + source.memory()) + objective.value.memory()
}

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
        let bytes = memory(&tagged);
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        inner.remove(&tagged.objective.name, &Tag::of(&tagged.source));
        while let Some(oldest) = inner.in_the_way(from, bytes, self.per_neighbour, self.room) {
            inner.take_out(oldest, Removal::Evicted, &mut events);
            self.counters.flood_cache_evicted.add();
        }
        events.push(|| Event::CacheAdded(entry(&tagged)));
        let number = inner.next;
        inner.next += 1;
        if tagged.source.expire != 0 {
            inner.by_expiry.insert((tagged.source.expire, number));
        }
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

    /// The valid entry of this name that was received last.
    pub(crate) fn latest(&self, name: &str, now: u64) -> Option<TaggedObjective> {
        let inner = self.inner.lock();
        let numbers = inner.by_name.get(name)?.values();
        let entries = numbers.filter_map(|number| Some((number, &inner.entries.get(number)?.tagged)));
        let valid = entries.filter(|(_, tagged)| tagged.source.is_valid_at(now));
        valid.max_by_key(|(number, _)| **number).map(|(_, tagged)| tagged.clone())
    }

    /// Forgets the entry with this name and tag, unless another value has taken its place meanwhile.
    /// Returns whether there was one.
    pub(crate) fn expire(&self, stale: &TaggedObjective) -> bool {
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        let (name, tag) = (&stale.objective.name, Tag::of(&stale.source));
        let number = inner.by_name.get(name).and_then(|tags| tags.get(&tag)).copied();
        let current = number.and_then(|number| inner.entries.get(&number));
        let forgotten = current
            .is_some_and(|current| current.tagged.objective.value.is_identical_to(&stale.objective.value))
            && inner.remove(name, &tag);
        if forgotten {
            events.push(|| Event::CacheRemoved(entry(stale), Removal::Forgotten));
        }
        forgotten
    }

    /// Forgets what has expired.
    pub(crate) fn purge(&self, now: u64) {
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        while let Some((_, number)) = inner.by_expiry.first().copied().filter(|(expire, _)| *expire <= now) {
            inner.take_out(number, Removal::Expired, &mut events);
            self.counters.flood_cache_expired.add();
        }
    }

    /// All entries with where they came from, oldest received first.
    pub(crate) fn views(&self) -> Vec<(TaggedObjective, From)> {
        self.inner.lock().entries.values().map(|stored| (stored.tagged.clone(), stored.from)).collect()
    }

    /// All entries, oldest received first, for `dump_all`.
    pub(crate) fn list(&self) -> Vec<TaggedObjective> {
        self.inner.lock().entries.values().map(|stored| stored.tagged.clone()).collect()
    }
}

fn entry(tagged: &TaggedObjective) -> CacheEvent {
    let (objective, locator) = (tagged.objective.name.clone(), tagged.source.clone());
    CacheEvent { cache: Cache::Flood, objective, locator }
}

impl Inner {
    fn remove(&mut self, name: &str, tag: &Tag) -> bool {
        let number = self.by_name.get(name).and_then(|tags| tags.get(tag)).copied();
        number.is_some_and(|number| self.remove_number(number))
    }

    /// Removes an entry and tells of it.
    fn take_out(&mut self, number: u64, why: Removal, events: &mut Later<'_>) {
        if let Some(stored) = self.entries.get(&number) {
            events.push(|| Event::CacheRemoved(entry(&stored.tagged), why));
        }
        self.remove_number(number);
    }

    fn remove_number(&mut self, number: u64) -> bool {
        let Some(stored) = self.entries.remove(&number) else { return false };
        self.by_expiry.remove(&(stored.tagged.source.expire, number));
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

    /// What has to go, if anything, before so many bytes of a neighbour have room: its own oldest if its share is full,
    /// otherwise the oldest of all if everything is.
    fn in_the_way(&self, from: From, bytes: usize, share: Room, room: Room) -> Option<u64> {
        let own_oldest = || self.by_neighbour.get(&from).and_then(|share| share.numbers.first()).copied();
        if self.share_is_full(from, bytes, share) {
            own_oldest()
        } else if self.is_full(bytes, room) {
            self.oldest()
        } else {
            None
        }
    }

    /// The oldest of all, but what began here only if there is nothing else.
    fn oldest(&self) -> Option<u64> {
        let own = self.by_neighbour.get(&None).map_or(0, |share| share.numbers.len());
        let all_own = own == self.entries.len();
        let oldest = self.entries.iter().find(|(_, stored)| all_own || stored.from.is_some());
        oldest.map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Tracer;
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
    fn what_is_not_equal_to_itself_expires_too() {
        let cache = cache_of(10);
        let nested = Value::Array(vec![Value::Float(f64::NAN), Value::Float(-0.0)]);
        for value in [Value::Float(f64::NAN), nested] {
            let flooded = tagged("EX1", Some(1), 0, 1);
            let objective = Objective { value, ..flooded.objective };
            cache.insert(TaggedObjective { objective, ..flooded }, None);
            let copy = cache.lookup("EX1", 0).remove(0);
            assert!(cache.expire(&copy), "{copy:?}");
        }
        assert!(!Value::Float(0.0).is_identical_to(&Value::Float(-0.0)));
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

    #[test]
    fn long_locators_count_too() {
        let room = |bytes| Room { entries: 1000, bytes };
        let cache = FloodCache::new(room(100_000), room(100_000), Arc::default());
        for number in 0..20 {
            let source = AsaLocator::uri(&"x".repeat(20_000));
            let objective = Objective::new(number.to_string());
            cache.insert(TaggedObjective { objective, source }, neighbour(1));
        }
        assert_eq!(names(&cache), ["18", "19"], "each is kept twice");
    }

    #[test]
    fn every_entry_that_comes_or_goes_is_told() {
        let tracer = Tracer::default();
        let (cache, trace) = (
            FloodCache::new(
                Room { entries: 1, bytes: 1 << 20 },
                Room { entries: 1, bytes: 1 << 20 },
                Arc::new(Counters::new(&tracer)),
            ),
            tracer.subscribe(20),
        );
        cache.insert(tagged("a", None, 100, 1), None);
        cache.insert(tagged("b", None, 100, 2), None);
        cache.purge(100);
        cache.insert(tagged("c", Some(1), 0, 3), None);
        assert!(cache.expire(&cache.lookup("c", 0).remove(0)));
        assert_eq!(
            crate::trace::cache_story(&tracer, trace),
            ["+a", "-a Evicted", "+b", "-b Expired", "+c", "-c Forgotten"]
        );
    }

    #[test]
    fn purging_takes_what_has_expired_and_nothing_else() {
        let cache = cache_of(10);
        for (name, expire) in [("a", 300), ("b", 100), ("c", 0), ("d", 200), ("e", 100)] {
            cache.insert(tagged(name, None, expire, 1), None);
        }
        cache.insert(tagged("b", None, 400, 2), None);
        cache.purge(200);
        let names: Vec<_> = cache.list().into_iter().map(|t| t.objective.name).collect();
        assert_eq!(names, ["a", "c", "b"]);
        let inner = cache.inner.lock();
        assert_eq!((inner.by_name.len(), inner.by_expiry.len()), (3, 2));
    }

    #[test]
    fn the_latest_valid_entry_is_found_among_many() {
        let cache = cache_of(10);
        for (last, expire) in [(1, 0), (2, 0), (3, 100)] {
            cache.insert(tagged("EX1", Some(last), expire, last.into()), None);
        }
        let latest = |now| cache.latest("EX1", now).map(|t| t.objective.value);
        assert_eq!((latest(99), latest(100)), (Some(Value::from(3)), Some(Value::from(2))));
        assert_eq!(cache.latest("EX2", 0), None);
    }
}
