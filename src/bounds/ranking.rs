//! Which holder has how much, and which has the most. For [`BoundedMap`](super::BoundedMap).

use std::collections::BTreeSet;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use super::hash::HashMap;

/// The size of a map: entries, and bytes of memory.
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
    pub(super) fn is_exceeded(self, used: Usage, bytes: usize) -> bool {
        used.entries >= self.entries.max(1) || used.bytes.saturating_add(bytes) > self.bytes
    }
}

/// In thousandths of the whole: all holders that use less than this rank equal.
const LITTLE: usize = 10;

/// How much a holder or a group has, or all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl Usage {
    pub(super) const fn charge(&mut self, bytes: usize) {
        self.entries = self.entries.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) const fn discharge(&mut self, bytes: usize) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Those that have something, each with its content, in the order of eviction.
#[derive(Debug)]
pub(super) struct Ranking<T, C> {
    all: HashMap<T, Ranked<C>>,
    order: BTreeSet<(Rank, T)>,
    /// The one whose rank in `order` may be out of date. Most entries make room for another one of the same holder: between the two, its
    /// rank changes and changes back.
    unsettled: Option<T>,
}

#[derive(Debug)]
struct Ranked<C> {
    used: Usage,
    /// As in the order.
    rank: Rank,
    content: C,
}

/// The order of eviction: the largest first. By load; among equals, the one that came last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    load: usize,
    since: u64,
}

impl<T, C> Default for Ranking<T, C> {
    fn default() -> Self {
        Self { all: HashMap::default(), order: BTreeSet::new(), unsettled: None }
    }
}

impl<T: Clone + Ord + Hash, C: Default> Ranking<T, C> {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.all.len(), self.order.len());
        self.all.len()
    }

    pub(super) fn used(&self, who: &T) -> Usage {
        self.all.get(who).map(|one| one.used).unwrap_or_default()
    }

    pub(super) fn content_mut(&mut self, who: &T) -> Option<&mut C> {
        self.all.get_mut(who).map(|one| &mut one.content)
    }

    /// The one with the most; `last` only if there is no other.
    pub(super) fn most(&mut self, last: Option<&T>, capacity: Capacity) -> Option<T> {
        if let Some(who) = self.unsettled.take() {
            self.settle(&who, capacity);
        }
        let order = || self.order.iter().rev().map(|(_, who)| who);
        order().find(|who| Some(*who) != last).or_else(|| order().next()).cloned()
    }

    /// Adds an entry to what one has, and returns its content. `number` is that of the entry.
    pub(super) fn charge(&mut self, who: &T, number: u64, bytes: usize, capacity: Capacity) -> &mut C {
        self.unsettle(who, capacity);
        match self.all.entry(who.clone()) {
            Entry::Occupied(one) => {
                let one = one.into_mut();
                one.used.charge(bytes);
                &mut one.content
            }
            Entry::Vacant(place) => {
                let used = Usage { entries: 1, bytes };
                let rank = Rank { load: capacity.rank_of(used), since: number };
                self.order.insert((rank, who.clone()));
                &mut place.insert(Ranked { used, rank, content: C::default() }).content
            }
        }
    }

    /// Subtracts an entry from what one has, and returns its content; `None` if that was its last, with which the content goes.
    pub(super) fn discharge(&mut self, who: &T, bytes: usize, capacity: Capacity) -> Option<&mut C> {
        self.unsettle(who, capacity);
        let Entry::Occupied(mut one) = self.all.entry(who.clone()) else { return None };
        one.get_mut().used.discharge(bytes);
        if one.get().used.entries == 0 {
            self.order.remove(&(one.get().rank, who.clone()));
            one.remove();
            return None;
        }
        Some(&mut one.into_mut().content)
    }

    /// Notes that the rank of this one may change, after that of another has been settled.
    fn unsettle(&mut self, who: &T, capacity: Capacity) {
        if self.unsettled.as_ref() != Some(who)
            && let Some(before) = self.unsettled.replace(who.clone())
        {
            self.settle(&before, capacity);
        }
    }

    fn settle(&mut self, who: &T, capacity: Capacity) {
        let Some(one) = self.all.get_mut(who) else { return };
        let load = capacity.rank_of(one.used);
        if load != one.rank.load {
            self.order.remove(&(one.rank, who.clone()));
            one.rank.load = load;
            self.order.insert((one.rank, who.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_with_the_most_is_up_to_date_whoever_changed_last() {
        let capacity = Capacity::entries(100);
        let mut ranking: Ranking<u32, ()> = Ranking::default();
        let charge = |ranking: &mut Ranking<u32, ()>, who, times: u64| {
            (0..times).for_each(|number| *ranking.charge(&who, number, 0, capacity) = ());
        };
        charge(&mut ranking, 1, 20);
        charge(&mut ranking, 2, 30);
        assert_eq!(ranking.most(None, capacity), Some(2));
        assert_eq!(ranking.most(Some(&2), capacity), Some(1));
        (0..15).for_each(|_| assert!(ranking.discharge(&2, 0, capacity).is_some()));
        assert_eq!(ranking.most(None, capacity), Some(1));
        // One falls and the other rises, with no question in between.
        (0..15).for_each(|_| assert!(ranking.discharge(&1, 0, capacity).is_some()));
        charge(&mut ranking, 2, 1);
        charge(&mut ranking, 3, 1);
        assert_eq!(ranking.most(None, capacity), Some(2));
        (0..5).for_each(|number| assert_eq!(ranking.discharge(&1, 0, capacity).is_some(), number < 4));
        assert_eq!((ranking.len(), ranking.used(&1), ranking.used(&2).entries), (2, Usage::default(), 16));
        assert_eq!(ranking.most(Some(&2), capacity), Some(3), "with nothing left, one is forgotten");
        assert!(ranking.discharge(&3, 0, capacity).is_none());
        assert_eq!(ranking.most(Some(&2), capacity), Some(2), "there is no other");
    }
}
