//! The discovery cache (graspy's `_discovery_cache`): the locators that answered for each objective, and until when
//! they are valid (RFC 8990 §2.5.4.3). Everything is bounded: the objectives (the least recently used goes first), the
//! locators of each objective, and memory.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::bounds::{BoundedMap, Capacity, Cause};
use crate::stats::Counters;
use crate::trace::{Cache, CacheEvent, Event, Later, Removal};
use crate::types::{AsaLocator, Locator, Objective};

/// An objective with its value, from a response in rapid mode.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RapidValue {
    pub(crate) objective: Objective,
    /// Milliseconds of the engine's clock.
    pub(crate) expire: u64,
}

/// Locators by objective. The least recently used objective makes room.
#[derive(Debug)]
pub(crate) struct DiscoveryCache {
    inner: Mutex<Inner>,
    locators_limit: usize,
    counters: Arc<Counters>,
}

/// The approximate size of an entry in bytes, without its name, locators and value.
const ENTRY: usize = 300;

#[derive(Debug)]
struct Inner {
    entries: BoundedMap<String, Entry>,
    /// The locators at which nobody answered.
    dead: BoundedMap<(String, Place), Dead>,
    /// When each asker ceases to count as diverted.
    diverted: BoundedMap<(String, Cause), u64>,
}

/// Records that nobody answered at a locator.
#[derive(Clone, Copy, Debug)]
struct Dead {
    /// Until when the locator counts as dead.
    until: u64,
    /// When the known lifetime of the locator would have ended. A node that reports a longer lifetime has heard of the
    /// locator since.
    expire: u64,
}

/// Where a locator leads, without the rest of its fields.
type Place = (Option<Locator>, Option<u16>);

fn place(locator: &AsaLocator) -> Place {
    (locator.locator.clone(), locator.port)
}

/// The number of dead locators and of diverted askers that are remembered.
const REMEMBERED: usize = 1024;
/// How long a locator counts as dead, in milliseconds. It counts as alive earlier if its node says so, or a relay that
/// has heard from the node since.
const DEAD: u64 = 60_000;
/// How much the lifetimes that relays pass on may differ, in milliseconds: relaying takes time.
const UNEVEN: u64 = 250;
/// How long an asker that was diverted may ask again to get more than the cached answer, in milliseconds.
const ASKED_AGAIN: u64 = 10_000;

#[derive(Debug, Default)]
struct Entry {
    locators: Vec<AsaLocator>,
    rapid: Option<RapidValue>,
}

impl DiscoveryCache {
    pub(crate) fn new(capacity: Capacity, locators_limit: usize, counters: Arc<Counters>) -> Self {
        let inner = Inner {
            entries: BoundedMap::new(capacity),
            dead: BoundedMap::new(Capacity::entries(REMEMBERED)),
            diverted: BoundedMap::new(Capacity::entries(REMEMBERED)),
        };
        Self { inner: Mutex::new(inner), locators_limit, counters }
    }

    /// Adds the content of a response, in order of arrival. A known locator keeps its position and the later of its two
    /// expiries; what the responder itself said replaces what a Divert said; two ports of one address are two locators.
    /// Returns the usable locators: a Divert to a locator at which nobody answered a moment ago is not usable.
    pub(crate) fn insert(
        &self,
        name: &str,
        mut locators: Vec<AsaLocator>,
        rapid: Option<RapidValue>,
        now: u64,
    ) -> Vec<AsaLocator> {
        // Reported to the trace after the entries that made room for it.
        let mut added = self.counters.tracer().later();
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        locators.retain(|locator| inner.lives(name, locator, now));
        let mut entry = inner.entries.remove(name).unwrap_or_default();
        let expired = entry.forget(name, Removal::Expired, &mut events, |known| !known.is_valid_at(now));
        let add =
            |locator: &&AsaLocator| entry.add(name, locator, self.locators_limit, (&mut added, &mut events));
        let mut evicted = locators.iter().filter(add).count();
        if rapid.is_some() {
            entry.rapid = rapid;
        }
        let bytes = entry.memory(name);
        let displaced = inner.entries.insert(name.to_owned(), entry, bytes);
        evicted += displaced.len();
        for (name, mut entry) in displaced {
            entry.forget(&name, Removal::Evicted, &mut events, |_| true);
        }
        self.counters.discovery_cache_expired.add_many(expired);
        self.counters.discovery_cache_evicted.add_many(evicted);
        self.counters.discovery_cache_peak.raise_to(inner.entries.len());
        locators
    }

    /// The valid locators of an objective, in order of arrival. Counts as a use of the objective.
    pub(crate) fn lookup(&self, name: &str, now: u64) -> Vec<AsaLocator> {
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        let Some(entry) = inner.entries.get_mut(name) else { return Vec::new() };
        let expired = entry.forget(name, Removal::Expired, &mut events, |known| !known.is_valid_at(now));
        let found = entry.locators.clone();
        inner.entries.touch(name);
        self.counters.discovery_cache_expired.add_many(expired);
        found
    }

    /// Forgets locators that expire before `limit`; those that never expire stay.
    pub(crate) fn expire_before(&self, name: &str, limit: u64) {
        self.forget(name, |known| !known.is_valid_at(limit.saturating_sub(1)));
    }

    /// The value that came in rapid mode, if it is still valid.
    pub(crate) fn rapid(&self, name: &str, now: u64) -> Option<Objective> {
        let inner = self.inner.lock();
        let rapid = inner.entries.get(name)?.rapid.as_ref()?;
        (rapid.expire > now).then(|| rapid.objective.clone())
    }

    /// Forgets everything about an objective.
    pub(crate) fn flush(&self, name: &str) {
        self.forget(name, |_| true);
        self.inner.lock().entries.remove(name);
    }

    /// Forgets one locator because nobody answers there. For a while, believes only the node itself, and nodes that
    /// have heard from it later, that it is alive.
    pub(crate) fn remove(&self, name: &str, dead: &AsaLocator, now: u64) {
        let key = (name.to_owned(), place(dead));
        {
            let mut inner = self.inner.lock();
            let known = inner.entries.get(name).into_iter().flat_map(|entry| &entry.locators);
            let known = known.filter(|known| same_place(known, dead)).map(|known| known.expire).max();
            let before = inner.dead.get(&key).map(|before| before.expire);
            let expire = dead.expire.max(known.unwrap_or(0)).max(before.unwrap_or(0));
            inner.dead.insert(key, Dead { until: now.saturating_add(DEAD), expire }, 0);
        }
        self.forget(name, |known| same_place(known, dead));
    }

    /// Records that an answer came from a locator.
    pub(crate) fn lives(&self, name: &str, locator: &AsaLocator) {
        self.inner.lock().dead.remove(&(name.to_owned(), place(locator)));
    }

    /// Whether an asker was diverted for this name a moment ago. If so, the cached entries are in doubt and are
    /// forgotten. The same happens to the new answer if the asker asks once more: each relay on the way to the
    /// responder must be doubted in turn.
    pub(crate) fn was_diverted(&self, name: &str, asker: Cause, now: u64) -> bool {
        let again = self.has_asked(name, asker, now);
        if again {
            self.flush(name);
        }
        again
    }

    /// Whether an asker was diverted for this name a moment ago, or its discovery was merged with another.
    pub(crate) fn has_asked(&self, name: &str, asker: Cause, now: u64) -> bool {
        let key = (name.to_owned(), asker);
        self.inner.lock().diverted.get(&key).is_some_and(|until| *until > now)
    }

    /// Remembers that an asker is diverted, or that its discovery is merged with another.
    pub(crate) fn diverted(&self, name: &str, asker: Cause, now: u64) {
        let key = (name.to_owned(), asker);
        self.inner.lock().diverted.insert(key, now.saturating_add(ASKED_AGAIN), 0);
    }

    fn forget(&self, name: &str, goes: impl Fn(&AsaLocator) -> bool) {
        let mut events = self.counters.tracer().later();
        if let Some(entry) = self.inner.lock().entries.get_mut(name) {
            entry.forget(name, Removal::Forgotten, &mut events, goes);
        }
    }

    /// Forgets expired entries, and those learned on interfaces that are gone.
    pub(crate) fn purge(&self, now: u64, interface_exists: impl Fn(u32) -> bool) {
        let mut events = self.counters.tracer().later();
        let mut inner = self.inner.lock();
        let goes = |known: &AsaLocator| !(known.is_valid_at(now) && known.ifi.is_none_or(&interface_exists));
        let entries = &mut inner.entries;
        let names: Vec<String> = entries.iter().map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(entry) = entries.get_mut(&name) else { continue };
            let gone = entry.forget(&name, Removal::Expired, &mut events, goes);
            let value_gone = entry.rapid.take_if(|rapid| rapid.expire <= now).is_some();
            self.counters.discovery_cache_expired.add_many(gone + usize::from(value_gone));
            if entry.locators.is_empty() && entry.rapid.is_none() {
                entries.remove(&name);
            }
        }
    }

    /// All entries by name, for `dump_all`.
    pub(crate) fn list(&self) -> Vec<(String, Vec<AsaLocator>, Option<RapidValue>)> {
        let inner = self.inner.lock();
        let mut list: Vec<_> =
            inner.entries.iter().map(|(n, e)| (n.clone(), e.locators.clone(), e.rapid.clone())).collect();
        list.sort_by(|a, b| a.0.cmp(&b.0));
        list
    }
}

fn event(name: &str, locator: &AsaLocator) -> CacheEvent {
    CacheEvent { cache: Cache::Discovery, objective: name.to_owned(), locator: locator.clone() }
}

impl Inner {
    /// Whether a locator is not known to be dead. A node that answers itself is alive, and so is a node that was heard
    /// from since.
    fn lives(&mut self, name: &str, locator: &AsaLocator, now: u64) -> bool {
        let key = (name.to_owned(), place(locator));
        let Some(dead) = self.dead.get(&key).copied() else { return true };
        let since = locator.expire > dead.expire.saturating_add(UNEVEN);
        let lives = !locator.diverted || since || dead.until <= now;
        if lives {
            self.dead.remove(&key);
        }
        lives
    }
}

impl Entry {
    /// The approximate size in bytes. The name is stored twice.
    fn memory(&self, name: &str) -> usize {
        let locators = self.locators.iter().map(AsaLocator::memory).sum::<usize>();
        let rapid = self.rapid.iter().map(|rapid| name.len() + rapid.objective.value.memory()).sum::<usize>();
        ENTRY + 2 * name.len() + locators + rapid
    }

    /// Forgets the locators for which `goes` is true. Returns their number.
    fn forget(
        &mut self,
        name: &str,
        why: Removal,
        events: &mut Later<'_>,
        goes: impl Fn(&AsaLocator) -> bool,
    ) -> usize {
        let before = self.locators.len();
        self.locators.retain(|known| {
            let goes = goes(known);
            if goes {
                events.push(|| Event::CacheRemoved(event(name, known), why));
            }
            !goes
        });
        before - self.locators.len()
    }

    /// Adds a locator. Returns whether another locator had to make room.
    fn add(
        &mut self,
        name: &str,
        locator: &AsaLocator,
        limit: usize,
        (added, events): (&mut Later<'_>, &mut Later<'_>),
    ) -> bool {
        added.push(|| Event::CacheAdded(event(name, locator)));
        if let Some(known) = self.locators.iter_mut().find(|known| same_place(known, locator)) {
            known.expire =
                if known.expire == 0 || locator.expire == 0 { 0 } else { known.expire.max(locator.expire) };
            if known.diverted && !locator.diverted {
                (known.diverted, known.ifi) = (false, locator.ifi);
            }
            return false;
        }
        let full = self.locators.len() >= limit;
        if full {
            // The locator that expires first makes room; those that never expire go last.
            let soonest = self.locators.iter().enumerate().min_by_key(|(_, l)| l.expire.wrapping_sub(1));
            if let Some(index) = soonest.map(|(index, _)| index) {
                let evicted = self.locators.remove(index);
                events.push(|| Event::CacheRemoved(event(name, &evicted), Removal::Evicted));
            }
        }
        self.locators.push(locator.clone());
        full
    }
}

/// Whether two locators lead to the same place. Link-local addresses must also have the same interface.
pub(crate) fn same_place(a: &AsaLocator, b: &AsaLocator) -> bool {
    a.locator == b.locator
        && a.protocol == b.protocol
        && a.port == b.port
        && (!a.is_link_local() || a.ifi == b.ifi)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::trace::Tracer;
    use crate::types::Value;

    fn room(entries: usize) -> Capacity {
        Capacity { entries, bytes: 1 << 20 }
    }

    fn locator(port: u16, expire: u64) -> AsaLocator {
        AsaLocator {
            expire,
            ..AsaLocator::new(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), Some(2)).with_port(port)
        }
    }

    #[test]
    fn two_ports_at_one_address_are_two_and_the_later_expiry_is_kept() {
        let cache = DiscoveryCache::new(room(10), 10, Arc::default());
        cache.insert("EX1", vec![locator(1, 50), locator(2, 50)], None, 0);
        cache.insert("EX1", vec![locator(1, 90), locator(2, 40)], None, 0);
        let found: Vec<_> = cache.lookup("EX1", 10).iter().map(|l| (l.port, l.expire)).collect();
        assert_eq!(found, vec![(Some(1), 90), (Some(2), 50)]);
        assert_eq!(cache.lookup("EX1", 60).len(), 1);
        assert!(cache.lookup("EX1", 90).is_empty());
    }

    #[test]
    fn a_link_local_address_on_two_interfaces_is_two() {
        let cache = DiscoveryCache::new(room(10), 10, Arc::default());
        let on = |ifi| AsaLocator::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), Some(ifi));
        cache.insert("EX1", vec![on(2), on(3), on(2)], None, 0);
        assert_eq!(cache.lookup("EX1", 0), [on(2), on(3)]);
    }

    #[test]
    fn the_least_recently_used_objective_goes_first() {
        let cache = DiscoveryCache::new(room(2), 10, Arc::default());
        cache.insert("a", vec![locator(1, 0)], None, 0);
        cache.insert("b", vec![locator(1, 0)], None, 0);
        cache.lookup("a", 0);
        cache.insert("c", vec![locator(1, 0)], None, 0);
        let names: Vec<_> = cache.list().into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["a", "c"]);
        cache.flush("a");
        cache.purge(1, |_| false);
        assert_eq!(cache.inner.lock().entries.len(), 0, "nothing is left of what is gone");
    }

    #[test]
    fn every_locator_that_comes_or_goes_is_told() {
        let tracer = Tracer::default();
        let (cache, trace) =
            (DiscoveryCache::new(room(1), 10, Arc::new(Counters::new(&tracer))), tracer.subscribe(20));
        cache.insert("a", vec![locator(1, 100)], None, 0);
        cache.insert("b", vec![locator(1, 100)], None, 0);
        cache.purge(100, |_| true);
        cache.insert("c", vec![locator(1, 0)], None, 100);
        cache.flush("c");
        let expected = ["+a", "-a Evicted", "+b", "-b Expired", "+c", "-c Forgotten"];
        assert_eq!(crate::trace::cache_story(&tracer, trace), expected);
    }

    #[test]
    fn locators_of_one_objective_are_bounded() {
        let cache = DiscoveryCache::new(room(2), 3, Arc::default());
        let many: Vec<_> = (1..=9).map(|port| locator(port, 1000 - u64::from(port))).collect();
        cache.insert("a", many, None, 0);
        assert_eq!(cache.lookup("a", 0).len(), 3);
        cache.insert("a", vec![locator(99, 0)], None, 0);
        assert!(cache.lookup("a", 0).iter().any(|l| l.expire == 0));
    }

    #[test]
    fn minimum_ttl_and_removal_forget_locators() {
        let cache = DiscoveryCache::new(room(2), 5, Arc::default());
        cache.insert("a", vec![locator(1, 100), locator(2, 200), locator(3, 0)], None, 0);
        cache.expire_before("a", 150);
        assert_eq!(cache.lookup("a", 0).len(), 2);
        cache.remove("a", &locator(2, 7), 0);
        assert_eq!(cache.lookup("a", 0), vec![locator(3, 0)]);
        cache.purge(0, |_| false);
        assert!(cache.list().is_empty());
    }

    #[test]
    fn a_dead_locator_is_believed_in_again_once_it_was_heard_from_since() {
        let cache = DiscoveryCache::new(room(2), 5, Arc::default());
        let said = |expire, diverted| vec![AsaLocator { diverted, ..locator(1, expire) }];
        cache.insert("a", said(600_000, true), None, 0);
        // Its user does not know when it expires.
        cache.remove("a", &locator(1, 0), 1000);
        assert!(cache.insert("a", said(600_100, true), None, 1100).is_empty(), "a relay says what it said");
        assert_eq!(cache.insert("a", said(601_000, true), None, 1200).len(), 1, "it has heard from it since");
        cache.remove("a", &locator(1, 0), 2000);
        assert_eq!(cache.insert("a", said(600_000, false), None, 2100).len(), 1, "it says so itself");
        cache.remove("a", &locator(1, 0), 3000);
        cache.lives("a", &locator(1, 0));
        assert_eq!(cache.insert("a", said(600_000, true), None, 3100).len(), 1, "somebody was connected");
        cache.remove("a", &locator(1, 0), 4000);
        assert_eq!(cache.insert("a", said(600_000, true), None, 64_000).len(), 1, "a minute is over");
    }

    #[test]
    fn names_values_and_locators_take_no_more_memory_than_there_is_room_for() {
        let room = Capacity { entries: 100, bytes: 100_000 };
        let cache = DiscoveryCache::new(room, 3, Arc::default());
        let large = || RapidValue {
            objective: Objective { value: Value::Array(vec![Value::Null; 600]), ..Objective::new("a") },
            expire: 10,
        };
        let uris = || vec![AsaLocator::uri(&"x".repeat(20_000))];
        for number in 0..20 {
            cache.insert(&format!("value {number}"), Vec::new(), Some(large()), 0);
            cache.insert(&format!("uri {number}"), uris(), None, 0);
        }
        let names =
            |cache: &DiscoveryCache| cache.list().into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
        let last = names(&cache);
        assert!((2..=5).contains(&last.len()) && last.contains(&"uri 19".to_owned()), "{last:?}");
        // An entry larger than the whole cache displaces everything, and can be used.
        let tags = vec![Value::Text("x".repeat(200_000))];
        let huge = RapidValue {
            objective: Objective { value: Value::Array(tags), ..Objective::new("a") },
            expire: 9,
        };
        cache.insert("huge", Vec::new(), Some(huge), 0);
        assert_eq!(names(&cache), ["huge"]);
        cache.insert("small", vec![locator(1, 5)], None, 0);
        assert_eq!(names(&cache), ["small"]);
        cache.purge(5, |_| true);
        assert_eq!(cache.inner.lock().entries.bytes(), 0);
        cache.insert("flushed", uris(), None, 0);
        cache.flush("flushed");
        assert_eq!(cache.inner.lock().entries.bytes(), 0);
    }
    #[test]
    fn what_never_expires_once_never_does() {
        let cache = DiscoveryCache::new(room(2), 5, Arc::default());
        cache.insert("a", vec![locator(1, 0), locator(2, 50)], None, 0);
        cache.insert("a", vec![locator(1, 50), locator(2, 0)], None, 0);
        assert_eq!(cache.lookup("a", 10), vec![locator(1, 0), locator(2, 0)]);
    }

    #[test]
    fn times_are_over_in_the_millisecond_that_they_name() {
        let counters = Arc::<Counters>::default();
        let cache = DiscoveryCache::new(room(3), 5, Arc::clone(&counters));
        let value = RapidValue { objective: Objective::new("a"), expire: 100 };
        cache.insert("a", vec![locator(1, 100)], Some(value), 0);
        assert!(cache.rapid("a", 99).is_some() && cache.rapid("a", 100).is_none());
        cache.insert("b", vec![locator(1, 100)], None, 0);
        cache.purge(99, |_| true);
        assert_eq!(counters.snapshot().discovery_cache_expired, 0);
        cache.purge(100, |_| true);
        assert_eq!(counters.snapshot().discovery_cache_expired, 3, "two locators and a value");
        let asker = ((2, Ipv6Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into());
        cache.diverted("a", asker, 0);
        assert!(
            cache.was_diverted("a", asker, ASKED_AGAIN - 1) && !cache.was_diverted("a", asker, ASKED_AGAIN)
        );
        // What a relay says of a locator differs by its own time without being news.
        cache.remove("a", &locator(1, 1000), 0);
        let said = |expire| vec![AsaLocator { diverted: true, ..locator(1, expire) }];
        assert!(cache.insert("a", said(1000 + UNEVEN), None, 0).is_empty());
        assert_eq!(cache.insert("a", said(1001 + UNEVEN), None, 0).len(), 1);
    }

    #[test]
    fn a_name_is_weighed_twice_and_once_more_with_a_value() {
        let mut entry = Entry::default();
        assert_eq!(entry.memory("abcde"), ENTRY + 10);
        entry.rapid = Some(RapidValue { objective: Objective::new("abcde"), expire: 0 });
        assert_eq!(entry.memory("abcde"), ENTRY + 15 + Value::Null.memory());
    }
}
