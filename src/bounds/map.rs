//! The one bounded map of the engine. Both caches, the memory of past multicasts, the known askers and the token
//! buckets use it. It counts entries and bytes, and returns what it evicts.
//!
//! Each entry has a *holder*, which caused it, and each holder belongs to a *group*: for instance an initiator behind a
//! neighbour. When a group has filled its share, the holder with the most in that group loses its oldest entry. When
//! the whole map is full, this happens in the group with the most. So a holder that fills the map displaces its own
//! entries. Holders with little all rank equal, and among equals the newest is evicted first: many small holders, which
//! are easy to invent, displace each other and not the holders that were there before.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use super::hash::HashMap;

/// The size of the map: entries, and bytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

impl Capacity {
    /// Bounded by the number of entries only.
    pub(crate) const fn entries(entries: usize) -> Self {
        Self { entries, bytes: usize::MAX }
    }

    /// How much of the capacity is used, in thousandths: of the entries or of the bytes, whichever is more.
    fn load(self, used: Usage) -> usize {
        let part = |used: usize, of: usize| used.saturating_mul(1000) / of.max(1);
        part(used.entries, self.entries).max(part(used.bytes, self.bytes))
    }

    /// The same as it counts for the order of eviction.
    fn rank_of(self, used: Usage) -> usize {
        Some(self.load(used)).filter(|load| *load >= LITTLE).unwrap_or(0)
    }

    /// Whether one more entry of `bytes` bytes would be too much.
    fn is_exceeded(self, used: Usage, bytes: usize) -> bool {
        used.entries >= self.entries.max(1) || used.bytes.saturating_add(bytes) > self.bytes
    }
}

/// In thousandths of the whole: all holders that use less than this rank equal.
const LITTLE: usize = 10;

/// How much a holder or a group has, or all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    entries: usize,
    bytes: usize,
}

/// A map that never exceeds its capacity. `G` is the type of the groups, `H` that of the holders.
#[derive(Debug)]
pub(crate) struct BoundedMap<K, V, G = (), H = ()> {
    entries: HashMap<K, Entry<V, G, H>>,
    /// The keys by age, or by last use where `touch` is called; the oldest comes first.
    order: BTreeMap<u64, K>,
    groups: Ranking<G>,
    holders: HashMap<G, Ranking<H>>,
    numbers: HashMap<(G, H), BTreeSet<u64>>,
    used: Usage,
    next: u64,
    capacity: Capacity,
    share: Capacity,
    /// The group that has no share of its own and is evicted last.
    protected: Option<G>,
}

#[derive(Debug)]
struct Entry<V, G, H> {
    value: V,
    group: G,
    holder: H,
    bytes: usize,
    number: u64,
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
            entries: HashMap::default(),
            order: BTreeMap::new(),
            groups: Ranking::default(),
            holders: HashMap::default(),
            numbers: HashMap::default(),
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
        self.order.insert(number, key.clone());
        self.charge(&group, &holder, number, bytes);
        self.entries.insert(key, Entry { value, group, holder, bytes, number });
        evicted
    }

    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entries.get(key).map(|entry| &entry.value)
    }

    pub(crate) fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    /// The group of an entry.
    pub(crate) fn group<Q>(&self, key: &Q) -> Option<&G>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entries.get(key).map(|entry| &entry.group)
    }

    /// The position of an entry in the order: the newest has the largest number.
    pub(crate) fn number<Q>(&self, key: &Q) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.entries.get(key).map(|entry| entry.number)
    }

    /// Counts as a use: makes the entry the newest.
    pub(crate) fn touch<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let before = std::mem::replace(&mut entry.number, self.next);
        if let Some(key) = self.order.remove(&before) {
            self.order.insert(self.next, key);
        }
        if let Some(numbers) = self.numbers.get_mut(&(entry.group.clone(), entry.holder.clone())) {
            numbers.remove(&before);
            numbers.insert(self.next);
        }
        self.next += 1;
    }

    pub(crate) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let number = self.number(key)?;
        self.take(number).map(|(_, value)| value)
    }

    /// Removes and returns the entries for which `goes` is true, the oldest first.
    pub(crate) fn extract(&mut self, goes: impl Fn(&K, &V) -> bool) -> Vec<(K, V)> {
        let gone = |(number, key): (&u64, &K)| {
            self.entries.get(key).is_some_and(|entry| goes(key, &entry.value)).then_some(*number)
        };
        let numbers: Vec<u64> = self.order.iter().filter_map(gone).collect();
        numbers.into_iter().filter_map(|number| self.take(number)).collect()
    }

    /// All entries, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let entries = self.order.values().filter_map(|key| self.entries.get_key_value(key));
        entries.map(|(key, entry)| (key, &entry.value))
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

    /// The number of the entry that must be evicted before another entry of this group fits; `None` if there is room.
    fn in_the_way(&self, group: &G, bytes: usize) -> Option<u64> {
        let has_a_share = self.protected.as_ref() != Some(group);
        let from = if has_a_share && self.share.is_exceeded(self.groups.used(group), bytes) {
            // A group that has nothing has nothing to give up: its one entry is kept, however large it is.
            self.holders.contains_key(group).then_some(group)
        } else {
            None
        };
        let from = match from {
            Some(own) => own,
            None if !self.capacity.is_exceeded(self.used, bytes) => return None,
            None => self.groups.most(self.protected.as_ref())?,
        };
        let holder = self.holders.get(from)?.most(None)?;
        self.numbers.get(&(from.clone(), holder.clone()))?.first().copied()
    }

    fn take(&mut self, number: u64) -> Option<(K, V)> {
        let key = self.order.remove(&number)?;
        let (key, entry) = self.entries.remove_entry(&key)?;
        let Entry { value, group, holder, bytes, .. } = entry;
        self.used.entries = self.used.entries.saturating_sub(1);
        self.used.bytes = self.used.bytes.saturating_sub(bytes);
        self.groups.discharge(&group, bytes, self.capacity);
        if let Some(holders) = self.holders.get_mut(&group) {
            holders.discharge(&holder, bytes, self.capacity);
            if holders.is_empty() {
                self.holders.remove(&group);
            }
        }
        let place = (group, holder);
        if let Some(numbers) = self.numbers.get_mut(&place) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.numbers.remove(&place);
            }
        }
        Some((key, value))
    }

    fn charge(&mut self, group: &G, holder: &H, number: u64, bytes: usize) {
        self.used.entries += 1;
        self.used.bytes = self.used.bytes.saturating_add(bytes);
        self.groups.charge(group, number, bytes, self.capacity);
        let holders = self.holders.entry(group.clone()).or_default();
        holders.charge(holder, number, bytes, self.capacity);
        self.numbers.entry((group.clone(), holder.clone())).or_default().insert(number);
    }
}

/// How much each holder or group has, and which of them is evicted from next.
#[derive(Debug)]
struct Ranking<T> {
    used: HashMap<T, (Usage, Rank)>,
    order: BTreeSet<(Rank, T)>,
}

/// The order of eviction: the largest first. By load; among equals, the one that came last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    load: usize,
    since: u64,
}

impl<T> Default for Ranking<T> {
    fn default() -> Self {
        Self { used: HashMap::default(), order: BTreeSet::new() }
    }
}

impl<T: Clone + Ord + Hash> Ranking<T> {
    fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    fn used(&self, who: &T) -> Usage {
        self.used.get(who).map(|(used, _)| *used).unwrap_or_default()
    }

    /// The one with the most; `last` only if there is no other.
    fn most(&self, last: Option<&T>) -> Option<&T> {
        let order = || self.order.iter().rev().map(|(_, who)| who);
        order().find(|who| Some(*who) != last).or_else(|| order().next())
    }

    fn charge(&mut self, who: &T, number: u64, bytes: usize, capacity: Capacity) {
        if let Some((used, rank)) = self.used.get_mut(who) {
            used.entries += 1;
            used.bytes = used.bytes.saturating_add(bytes);
            let before = std::mem::replace(&mut rank.load, capacity.rank_of(*used));
            Self::reorder(&mut self.order, who, before, *rank);
        } else {
            let used = Usage { entries: 1, bytes };
            let rank = Rank { load: capacity.rank_of(used), since: number };
            self.used.insert(who.clone(), (used, rank));
            self.order.insert((rank, who.clone()));
        }
    }

    fn discharge(&mut self, who: &T, bytes: usize, capacity: Capacity) {
        let Some((used, rank)) = self.used.get_mut(who) else { return };
        used.entries = used.entries.saturating_sub(1);
        used.bytes = used.bytes.saturating_sub(bytes);
        if used.entries == 0 {
            self.order.remove(&(*rank, who.clone()));
            self.used.remove(who);
        } else {
            let before = std::mem::replace(&mut rank.load, capacity.rank_of(*used));
            Self::reorder(&mut self.order, who, before, *rank);
        }
    }

    /// Most changes are too small to change the order.
    fn reorder(order: &mut BTreeSet<(Rank, T)>, who: &T, before: usize, rank: Rank) {
        if before != rank.load {
            order.remove(&(Rank { load: before, ..rank }, who.clone()));
            order.insert((rank, who.clone()));
        }
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
            (map.numbers.len(), map.holders.len(), map.groups.used.len()),
            (0, 0, 0),
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
        assert_eq!((map.len(), map.numbers.len()), (1000, 991));
    }
}
