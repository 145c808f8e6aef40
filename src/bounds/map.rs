//! The one bounded map of the engine. Both caches, the memory of past multicasts, the known askers and the token
//! buckets use it. It counts entries and bytes, and returns what it evicts.
//!
//! Each entry has a *holder*, which caused it, and each holder belongs to a *group*: for instance an initiator behind a
//! neighbour. When a group has filled its share, the holder with the most in that group loses its oldest entry. When
//! the whole map is full, this happens in the group with the most. So a holder that fills the map displaces its own
//! entries. Holders with little all rank equal, and among equals the newest is evicted first: many small holders, which
//! are easy to invent, displace each other and not the holders that were there before.

use std::borrow::Borrow;
use std::hash::Hash;

use slab::Slab;

use super::chain::{Chain, Links};
use super::hash::HashMap;
use super::ranking::{Capacity, Ranking, Usage};

/// A map that never exceeds its capacity. `G` is the type of the groups, `H` that of the holders.
#[derive(Debug)]
pub(crate) struct BoundedMap<K, V, G = (), H = ()> {
    positions: HashMap<K, usize>,
    entries: Slab<Entry<K, V, G, H>>,
    /// All entries by age, or by last use where `touch` is called.
    all: Chain,
    /// The same of each holder.
    groups: Ranking<G, Ranking<H, Chain>>,
    used: Usage,
    next: u64,
    capacity: Capacity,
    share: Capacity,
    /// The group that has no share of its own and is evicted last.
    protected: Option<G>,
}

#[derive(Debug)]
struct Entry<K, V, G, H> {
    key: K,
    value: V,
    group: G,
    holder: H,
    bytes: usize,
    number: u64,
    in_all: Links,
    in_holder: Links,
}

impl<K: Clone + Eq + Hash, V> BoundedMap<K, V> {
    /// A map without holders: the oldest entry is evicted.
    pub(crate) fn new(capacity: Capacity) -> Self {
        Self::with_shares(capacity, capacity)
    }

    /// Adds or replaces an entry, as the newest. Returns the entries that were evicted for it.
    pub(crate) fn insert(&mut self, key: K, value: V, bytes: usize) -> Vec<(K, V)> {
        self.insert_for((), (), key, value, bytes)
    }
}

impl<K, V, G, H> BoundedMap<K, V, G, H>
where
    K: Clone + Eq + Hash,
    G: Clone + Ord + Hash,
    H: Clone + Ord + Hash,
{
    /// A map in which no group may have more than `share`.
    pub(crate) fn with_shares(capacity: Capacity, share: Capacity) -> Self {
        Self {
            positions: HashMap::default(),
            entries: Slab::new(),
            all: Chain::default(),
            groups: Ranking::default(),
            used: Usage::default(),
            next: 0,
            capacity,
            share,
            protected: None,
        }
    }

    /// The same map with a protected group: it has no share of its own, and loses entries only for itself or when no
    /// other group has any.
    pub(crate) fn protecting(self, group: G) -> Self {
        Self { protected: Some(group), ..self }
    }

    /// Adds or replaces an entry of `bytes` bytes, as the newest. Returns the entries that were evicted for it. An
    /// entry larger than the whole capacity is kept alone.
    pub(crate) fn insert_for(&mut self, group: G, holder: H, key: K, value: V, bytes: usize) -> Vec<(K, V)> {
        self.remove(&key);
        let mut evicted = Vec::new();
        while let Some(victim) = self.in_the_way(&group, bytes) {
            let Some(taken) = self.take(victim) else { break };
            evicted.push(taken);
        }
        let number = self.next;
        self.next += 1;
        self.used.charge(bytes);
        let links = Links::default();
        let entry = Entry {
            key: key.clone(),
            value,
            group: group.clone(),
            holder: holder.clone(),
            bytes,
            number,
            in_all: links,
            in_holder: links,
        };
        let position = self.entries.insert(entry);
        self.all.push(&mut self.entries, |entry| &mut entry.in_all, position);
        let holders = self.groups.charge(&group, number, bytes, self.capacity);
        let own = holders.charge(&holder, number, bytes, self.capacity);
        own.push(&mut self.entries, |entry| &mut entry.in_holder, position);
        self.positions.insert(key, position);
        evicted
    }

    fn entry<Q>(&self, key: &Q) -> Option<&Entry<K, V, G, H>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entries.get(*self.positions.get(key)?)
    }

    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(crate) fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entries.get_mut(*self.positions.get(key)?).map(|entry| &mut entry.value)
    }

    /// The group of an entry.
    pub(crate) fn group<Q>(&self, key: &Q) -> Option<&G>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entry(key).map(|entry| &entry.group)
    }

    /// The position of an entry in the order: the newest has the largest number.
    pub(crate) fn number<Q>(&self, key: &Q) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entry(key).map(|entry| entry.number)
    }

    /// Counts as a use: makes the entry the newest.
    pub(crate) fn touch<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let Some(position) = self.positions.get(key).copied() else { return };
        let Some(entry) = self.entries.get_mut(position) else { return };
        entry.number = self.next;
        self.next += 1;
        let (in_all, in_holder) = (entry.in_all, entry.in_holder);
        let (group, holder) = (entry.group.clone(), entry.holder.clone());
        self.all.unlink(&mut self.entries, |entry| &mut entry.in_all, in_all);
        self.all.push(&mut self.entries, |entry| &mut entry.in_all, position);
        if let Some(own) = self.groups.content_mut(&group).and_then(|holders| holders.content_mut(&holder)) {
            own.unlink(&mut self.entries, |entry| &mut entry.in_holder, in_holder);
            own.push(&mut self.entries, |entry| &mut entry.in_holder, position);
        }
    }

    pub(crate) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let position = self.positions.remove(key)?;
        self.release(position).map(|(_, value)| value)
    }

    /// Removes and returns the entries for which `goes` is true, the oldest first.
    pub(crate) fn extract(&mut self, goes: impl Fn(&K, &V) -> bool) -> Vec<(K, V)> {
        let entry = |position: &usize| self.entries.get(*position);
        let gone = |position: &usize| entry(position).is_some_and(|entry| goes(&entry.key, &entry.value));
        let positions: Vec<usize> = self.positions().filter(gone).collect();
        positions.into_iter().filter_map(|position| self.take(position)).collect()
    }

    /// All entries, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let entries = self.positions().filter_map(|position| self.entries.get(position));
        entries.map(|entry| (&entry.key, &entry.value))
    }

    fn positions(&self) -> impl Iterator<Item = usize> {
        self.all.walk(|position| self.entries.get(position).map(|entry| entry.in_all))
    }

    /// Returns a number that no entry has had.
    pub(crate) const fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The size of all entries in bytes, as given when they were inserted.
    #[cfg(test)]
    pub(crate) const fn bytes(&self) -> usize {
        self.used.bytes
    }

    /// The position of the entry that must be evicted before another entry of this group fits; `None` if there is room.
    fn in_the_way(&mut self, group: &G, bytes: usize) -> Option<usize> {
        let has_a_share = self.protected.as_ref() != Some(group);
        let own = self.groups.used(group);
        // A group that has nothing has nothing to give up: its one entry is kept, however large it is.
        let from = if has_a_share && own.entries > 0 && self.share.is_exceeded(own, bytes) {
            group.clone()
        } else if self.capacity.is_exceeded(self.used, bytes) {
            self.groups.most(self.protected.as_ref(), self.capacity)?
        } else {
            return None;
        };
        let holders = self.groups.content_mut(&from)?;
        let holder = holders.most(None, self.capacity)?;
        holders.content_mut(&holder)?.oldest()
    }

    fn take(&mut self, position: usize) -> Option<(K, V)> {
        self.positions.remove(&self.entries.get(position)?.key);
        self.release(position)
    }

    /// Removes an entry whose key is removed already.
    fn release(&mut self, position: usize) -> Option<(K, V)> {
        let Entry { key, value, group, holder, bytes, in_all, in_holder, .. } =
            self.entries.try_remove(position)?;
        self.used.discharge(bytes);
        self.all.unlink(&mut self.entries, |entry| &mut entry.in_all, in_all);
        if let Some(holders) = self.groups.discharge(&group, bytes, self.capacity)
            && let Some(own) = holders.discharge(&holder, bytes, self.capacity)
        {
            own.unlink(&mut self.entries, |entry| &mut entry.in_holder, in_holder);
        }
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys<G, H>(map: &BoundedMap<u32, char, G, H>) -> Vec<u32>
    where
        G: Clone + Ord + Hash,
        H: Clone + Ord + Hash,
    {
        map.iter().map(|(key, _)| *key).collect()
    }

    #[test]
    fn the_oldest_goes_and_is_returned() {
        let mut map = BoundedMap::new(Capacity::entries(2));
        assert!(map.insert(1, 'a', 0).is_empty() && map.insert(2, 'b', 0).is_empty());
        assert!(map.insert(1, 'c', 0).is_empty(), "replaced, and the newest now");
        assert_eq!(map.insert(3, 'd', 0), [(2, 'b')]);
        map.touch(&1);
        assert_eq!(map.insert(4, 'e', 0), [(3, 'd')]);
        assert_eq!((keys(&map), map.get(&1)), (vec![1, 4], Some(&'c')));
        assert_eq!(map.extract(|key, _| *key == 1), [(1, 'c')]);
        assert_eq!((map.remove(&4), map.len()), (Some('e'), 0));
        assert_eq!(
            (map.positions.len(), map.groups.len(), map.used),
            (0, 0, Usage::default()),
            "nothing is left"
        );
    }

    #[test]
    fn bytes_are_bounded_and_one_entry_that_is_too_large_is_kept_alone() {
        let mut map = BoundedMap::new(Capacity { entries: 9, bytes: 100 });
        for key in 0..5 {
            map.insert(key, 'x', 30);
        }
        assert_eq!((keys(&map), map.bytes()), (vec![2, 3, 4], 90));
        map.insert(5, 'x', 10);
        assert_eq!(map.bytes(), 100, "what is full is not too full");
        map.insert(9, 'y', 1000);
        assert_eq!((keys(&map), map.bytes()), (vec![9], 1000));
        map.insert(1, 'z', 1);
        assert_eq!((keys(&map), map.bytes()), (vec![1], 1));
    }

    #[test]
    fn whoever_has_the_most_makes_room_and_what_is_protected_goes_last() {
        let mut map = BoundedMap::with_shares(Capacity::entries(10), Capacity::entries(6)).protecting("own");
        map.insert_for("own", 0, 100, 'o', 0);
        map.insert_for("own", 0, 101, 'o', 0);
        map.insert_for("honest", 0, 1, 'h', 0);
        for key in 10..30 {
            map.insert_for("greedy", 0, key, 'g', 0);
        }
        assert_eq!(keys(&map), [100, 101, 1, 24, 25, 26, 27, 28, 29], "its share is full");
        for key in 40..50 {
            map.insert_for("another", 0, key, 'a', 0);
        }
        assert!([1, 100, 101].iter().all(|key| map.get(key).is_some()));
        assert_eq!(map.len(), 10);
        for key in 200..220 {
            map.insert_for("own", 0, key, 'o', 0);
        }
        assert_eq!(map.len(), 10, "even what is protected has its bound");
        assert!(map.get(&219).is_some() && map.get(&1).is_none());
    }

    #[test]
    fn in_one_group_the_holder_with_the_most_makes_room() {
        let mut map = BoundedMap::with_shares(Capacity::entries(2000), Capacity::entries(1000));
        for key in 0..50 {
            map.insert_for("relay", "honest", key, 'h', 0);
        }
        for key in 100..3000 {
            map.insert_for("relay", "greedy", key, 'g', 0);
        }
        assert!((0..50).all(|key| map.get(&key).is_some()));
        assert_eq!(map.len(), 1000);
    }

    #[test]
    fn whoever_comes_late_and_has_little_does_not_make_room_for_the_one_with_the_most() {
        let mut map = BoundedMap::with_shares(Capacity::entries(20), Capacity::entries(20));
        for key in 0..20 {
            map.insert_for("greedy", 0, key, 'g', 0);
        }
        for key in 100..105 {
            map.insert_for("late", 0, key, 'l', 0);
        }
        for key in 20..40 {
            map.insert_for("greedy", 0, key, 'g', 0);
        }
        assert!((100..105).all(|key| map.get(&key).is_some()));
        assert_eq!(map.len(), 20);
    }

    #[test]
    fn a_number_is_given_out_once() {
        let mut map = BoundedMap::new(Capacity::entries(9));
        let [first, second] = [map.next_number(), map.next_number()];
        map.insert(1, 'a', 0);
        let third = map.next_number();
        let of_entry = map.number(&1).unwrap();
        let all = std::collections::HashSet::from([first, second, third]);
        assert_eq!((all.len(), map.get(&1)), (3, Some(&'a')));
        assert!(of_entry >= second && of_entry < third, "{of_entry}");
    }

    #[test]
    fn many_holders_of_little_displace_each_other() {
        let mut map = BoundedMap::with_shares(Capacity::entries(2000), Capacity::entries(1000));
        for key in 0..10 {
            map.insert_for("relay", 0, key, 'h', 0);
        }
        for invented in 1..5000_u32 {
            map.insert_for("relay", invented, 10_000 + invented, 'x', 0);
        }
        assert!((0..10).all(|key| map.get(&key).is_some()));
        let holders = map.groups.content_mut(&"relay").map(|holders| holders.len());
        assert_eq!((map.len(), holders), (1000, Some(991)));
    }

    /// What the map promises, decided anew from a plain list, oldest first, at every step.
    #[derive(Default)]
    struct Model {
        entries: Vec<(u32, u8, u8, usize)>,
        /// When a group or a holder in it came, by the number of insertions.
        since: std::collections::BTreeMap<(u8, Option<u8>), usize>,
        inserted: usize,
    }

    const SIZE: Capacity = Capacity { entries: 100, bytes: 3000 };
    const PART: Capacity = Capacity { entries: 60, bytes: 2000 };
    const PROTECTED: u8 = 0;

    impl Model {
        fn used(&self, belongs: impl Fn(u8, u8) -> bool) -> Usage {
            let own = self.entries.iter().filter(|(_, group, holder, _)| belongs(*group, *holder));
            own.fold(Usage::default(), |used, entry| Usage {
                entries: used.entries + 1,
                bytes: used.bytes + entry.3,
            })
        }

        fn rank(&self, group: u8, holder: Option<u8>) -> (usize, usize) {
            let used = self.used(|g, h| g == group && holder.is_none_or(|holder| h == holder));
            let load = (used.entries * 1000 / SIZE.entries).max(used.bytes * 1000 / SIZE.bytes);
            (if load < 10 { 0 } else { load }, self.since[&(group, holder)])
        }

        fn insert(&mut self, key: u32, group: u8, holder: u8, bytes: usize) -> Vec<u32> {
            self.entries.retain(|entry| entry.0 != key);
            let mut evicted = Vec::new();
            loop {
                let own = self.used(|g, _| g == group);
                let fits = |size: Capacity, used: Usage| {
                    used.entries < size.entries && used.bytes + bytes <= size.bytes
                };
                let from = if group != PROTECTED && own.entries > 0 && !fits(PART, own) {
                    group
                } else if self.entries.is_empty() || fits(SIZE, self.used(|_, _| true)) {
                    break;
                } else {
                    let groups = self.entries.iter().map(|entry| entry.1);
                    groups.max_by_key(|group| (*group != PROTECTED, self.rank(*group, None))).unwrap()
                };
                let holders = self.entries.iter().filter(|entry| entry.1 == from).map(|entry| entry.2);
                let holder = holders.max_by_key(|holder| self.rank(from, Some(*holder))).unwrap();
                let at = self.entries.iter().position(|entry| (entry.1, entry.2) == (from, holder)).unwrap();
                evicted.push(self.entries.remove(at).0);
            }
            for place in [(group, None), (group, Some(holder))] {
                if self.used(|g, h| g == group && place.1.is_none_or(|holder| h == holder)).entries == 0 {
                    self.since.insert(place, self.inserted);
                }
            }
            self.inserted += 1;
            self.entries.push((key, group, holder, bytes));
            evicted
        }
    }

    #[test]
    fn it_evicts_what_a_plain_list_would() {
        let mut seed = 1_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut evictions = 0;
        for _ in 0..8 {
            let mut model = Model::default();
            let mut map = BoundedMap::with_shares(SIZE, PART).protecting(PROTECTED);
            for _ in 0..600 {
                let key = u32::try_from(random(400)).unwrap();
                // Most belong to one group, and in that to one holder.
                let group = u8::try_from(random(4).min(random(4))).unwrap();
                let holder = u8::try_from(random(9).min(random(9))).unwrap();
                match random(10) {
                    0 => {
                        let removed = map.remove(&key).is_some();
                        assert_eq!(removed, model.entries.iter().any(|entry| entry.0 == key));
                        model.entries.retain(|entry| entry.0 != key);
                    }
                    1 => {
                        map.touch(&key);
                        if let Some(at) = model.entries.iter().position(|entry| entry.0 == key) {
                            let entry = model.entries.remove(at);
                            model.entries.push(entry);
                        }
                    }
                    _ => {
                        let bytes = usize::try_from(random(60)).unwrap();
                        let evicted = map.insert_for(group, holder, key, 'x', bytes);
                        let evicted: Vec<u32> = evicted.into_iter().map(|(key, _)| key).collect();
                        assert_eq!(evicted, model.insert(key, group, holder, bytes));
                        evictions += evicted.len();
                    }
                }
                let expected: Vec<u32> = model.entries.iter().map(|entry| entry.0).collect();
                assert_eq!((keys(&map), map.used), (expected, model.used(|_, _| true)));
            }
        }
        assert!(evictions > 500, "{evictions}");
    }
}
