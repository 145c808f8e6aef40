//! The flood cache (graspy's `_flood_cache`): flooded objectives with their tags (RFC 8990 §2.8.11).

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::bounds::{BoundedMap, Capacity, Cause, Neighbour};
use crate::bounds::{HashMap, HashSet};
use crate::stats::Counters;
use crate::trace::{Cache, CacheEvent, Event, Removal};
use crate::types::{AsaLocator, Locator, Protocol, TaggedObjective};

/// Flooded objectives by name and tag. When the cache is full, the neighbour with the most entries makes room: its
/// initiator with the most loses its oldest entry. Entries that began here stay, and no other node can replace them.
#[derive(Debug)]
pub(crate) struct FloodCache {
    inner: Mutex<Inner>,
    counters: Arc<Counters>,
}

/// Who flooded an objective: the initiator, behind a neighbour; `None` if the flood began here.
pub(crate) type Source = Option<Cause>;

#[derive(Debug)]
struct Inner {
    entries: BoundedMap<Key, TaggedObjective, Option<Neighbour>, Option<IpAddr>>,
    by_name: HashMap<String, HashSet<Key>>,
    /// No entry expires before this.
    next_expiry: u64,
}

/// Identifies an entry: the name and the tag.
type Key = Arc<(String, Tag)>;

/// The approximate size of an entry in bytes, without its name, value and locator.
const ENTRY: usize = 400;

/// The approximate size of an entry in bytes. Its name and locator are stored twice.
fn memory(tagged: &TaggedObjective) -> usize {
    let TaggedObjective { objective, source } = tagged;
    ENTRY + 2 * (objective.name.len() + source.memory()) + objective.value.memory()
}

/// Distinguishes two entries of one name (RFC 8990 §2.8.11) by locator, not by initiator. For a link-local address the
/// interface counts too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Tag {
    locator: Option<Locator>,
    protocol: Option<Protocol>,
    port: Option<u16>,
    ifi: Option<u32>,
}

impl Tag {
    fn of(source: &AsaLocator) -> Self {
        // The null tag is one tag, whatever its other fields contain.
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
    pub(crate) fn new(capacity: Capacity, per_neighbour: Capacity, counters: Arc<Counters>) -> Self {
        let entries = BoundedMap::with_shares(capacity, per_neighbour).protecting(None);
        let inner = Inner { entries, by_name: HashMap::default(), next_expiry: u64::MAX };
        Self { inner: Mutex::new(inner), counters }
    }

    /// Caches an objective. An entry with the same name and tag is replaced and counts as newly received. `false` if
    /// that would replace a value of this node by one of another node.
    pub(crate) fn insert(&self, tagged: TaggedObjective, source: Source) -> bool {
        let bytes = memory(&tagged);
        // Reported to the trace after the entries that made room for it.
        let mut added = self.counters.tracer().later();
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        let key = key_of(&tagged);
        if source.is_some() && inner.entries.group(&key) == Some(&None) {
            return false;
        }
        inner.take(&key);
        added.push(|| Event::CacheAdded(entry(&tagged)));
        let (neighbour, initiator) = source.unzip();
        if tagged.source.expire != 0 {
            inner.next_expiry = inner.next_expiry.min(tagged.source.expire);
        }
        inner.index(&key);
        let evicted = inner.entries.insert_for(neighbour, initiator, key, tagged, bytes);
        for (key, gone) in &evicted {
            inner.unindex(key);
            events.push(|| Event::CacheRemoved(entry(gone), Removal::Evicted));
        }
        self.counters.flood_cache_evicted.add_many(evicted.len());
        self.counters.flood_cache_peak.raise_to(inner.entries.len());
        true
    }

    /// The valid entries of this name, the oldest received first.
    pub(crate) fn lookup(&self, name: &str, now: u64) -> Vec<TaggedObjective> {
        let inner = self.inner.lock();
        let mut found: Vec<_> = inner.of(name).filter(|(_, tagged)| tagged.source.is_valid_at(now)).collect();
        found.sort_unstable_by_key(|(number, _)| *number);
        found.into_iter().map(|(_, tagged)| tagged.clone()).collect()
    }

    /// The valid entry of this name that was received last.
    pub(crate) fn latest(&self, name: &str, now: u64) -> Option<TaggedObjective> {
        let inner = self.inner.lock();
        let valid = inner.of(name).filter(|(_, tagged)| tagged.source.is_valid_at(now));
        valid.max_by_key(|(number, _)| *number).map(|(_, tagged)| tagged.clone())
    }

    /// Forgets the entry with this name and tag, unless another value has replaced it in the meantime. Returns whether
    /// there was such an entry.
    pub(crate) fn expire(&self, stale: &TaggedObjective) -> bool {
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        let key = key_of(stale);
        let current = inner.entries.get(&key);
        let forgotten =
            current.is_some_and(|current| current.objective.value.is_identical_to(&stale.objective.value));
        if forgotten {
            inner.take(&key);
            events.push(|| Event::CacheRemoved(entry(stale), Removal::Forgotten));
        }
        forgotten
    }

    /// Forgets expired entries.
    pub(crate) fn purge(&self, now: u64) {
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        if now < inner.next_expiry {
            return;
        }
        for (key, gone) in inner.entries.extract(|_, tagged| !tagged.source.is_valid_at(now)) {
            inner.unindex(&key);
            events.push(|| Event::CacheRemoved(entry(&gone), Removal::Expired));
            self.counters.flood_cache_expired.add();
        }
        let expiries = inner.entries.iter().map(|(_, tagged)| tagged.source.expire);
        inner.next_expiry = expiries.filter(|expire| *expire != 0).min().unwrap_or(u64::MAX);
    }

    /// All entries with the neighbour that they came from, the oldest received first.
    pub(crate) fn views(&self) -> Vec<(TaggedObjective, Option<Neighbour>)> {
        let inner = self.inner.lock();
        let from = |key: &Key| inner.entries.group(key).copied().flatten();
        inner.entries.iter().map(|(key, tagged)| (tagged.clone(), from(key))).collect()
    }

    /// All entries, the oldest received first, for `dump_all`.
    #[cfg(test)]
    pub(crate) fn list(&self) -> Vec<TaggedObjective> {
        self.inner.lock().entries.iter().map(|(_, tagged)| tagged.clone()).collect()
    }
}

fn key_of(tagged: &TaggedObjective) -> Key {
    Arc::new((tagged.objective.name.clone(), Tag::of(&tagged.source)))
}

fn entry(tagged: &TaggedObjective) -> CacheEvent {
    let (objective, locator) = (tagged.objective.name.clone(), tagged.source.clone());
    CacheEvent { cache: Cache::Flood, objective, locator }
}

impl Inner {
    /// The entries of a name, each with its position in the order of reception.
    fn of(&self, name: &str) -> impl Iterator<Item = (u64, &TaggedObjective)> {
        let keys = self.by_name.get(name).into_iter().flatten();
        keys.filter_map(|key| Some((self.entries.number(key)?, self.entries.get(key)?)))
    }

    fn take(&mut self, key: &Key) -> Option<TaggedObjective> {
        let gone = self.entries.remove(key)?;
        self.unindex(key);
        Some(gone)
    }

    fn index(&mut self, key: &Key) {
        let keyed = self.by_name.hasher();
        // New keys for every set would take longer than all the rest.
        let empty = HashSet::with_hasher(keyed.clone());
        self.by_name.entry(key.0.clone()).or_insert(empty).insert(Arc::clone(key));
    }

    fn unindex(&mut self, key: &Key) {
        let Some(keys) = self.by_name.get_mut(&key.0) else { return };
        keys.remove(key);
        if keys.is_empty() {
            self.by_name.remove(&key.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

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
        let room = Capacity { entries, bytes: 1 << 20 };
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
    fn a_view_says_which_neighbour_an_entry_came_from() {
        let cache = cache_of(10);
        let neighbour = (2, Ipv6Addr::LOCALHOST);
        cache.insert(tagged("EX1", Some(1), 0, 1), Some((neighbour, Ipv6Addr::LOCALHOST.into())));
        cache.insert(tagged("EX2", Some(1), 0, 2), None);
        let views: Vec<_> =
            cache.views().into_iter().map(|(tagged, from)| (tagged.objective.name, from)).collect();
        assert_eq!(views, [("EX1".to_owned(), Some(neighbour)), ("EX2".to_owned(), None)]);
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

    fn neighbour(number: u16) -> Source {
        let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number);
        Some(((2, address), address.into()))
    }

    fn names(cache: &FloodCache) -> Vec<String> {
        cache.list().into_iter().map(|tagged| tagged.objective.name).collect()
    }

    #[test]
    fn a_neighbour_displaces_what_is_its_own() {
        let room = |entries| Capacity { entries, bytes: 1 << 20 };
        let cache = FloodCache::new(room(4), room(2), Arc::default());
        cache.insert(tagged("own", None, 0, 1), None);
        cache.insert(tagged("theirs", None, 0, 1), neighbour(1));
        for name in ["a", "b", "c", "d"] {
            cache.insert(tagged(name, None, 0, 1), neighbour(2));
        }
        assert_eq!(names(&cache), ["own", "theirs", "c", "d"]);
        // Many neighbours displace each other, but neither the earlier ones nor the entries that began here.
        for number in 3..9 {
            cache.insert(tagged(&number.to_string(), None, 0, 1), neighbour(number));
        }
        assert_eq!(names(&cache), ["own", "theirs", "d", "8"]);
    }

    #[test]
    fn values_take_no_more_memory_than_there_is_room_for() {
        let room = |bytes| Capacity { entries: 1000, bytes };
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
        assert_eq!((inner.entries.bytes(), inner.by_name.len()), (0, 0));
    }

    #[test]
    fn long_locators_count_too() {
        let room = |bytes| Capacity { entries: 1000, bytes };
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
                Capacity { entries: 1, bytes: 1 << 20 },
                Capacity { entries: 1, bytes: 1 << 20 },
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
        {
            let inner = cache.inner.lock();
            assert_eq!((inner.by_name.len(), inner.next_expiry), (3, 300));
        }
        cache.insert(tagged("f", None, 250, 1), None);
        cache.purge(250);
        assert_eq!((cache.list().len(), cache.inner.lock().next_expiry), (3, 300));
        cache.purge(400);
        assert_eq!((cache.list().len(), cache.inner.lock().next_expiry), (1, u64::MAX));
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
