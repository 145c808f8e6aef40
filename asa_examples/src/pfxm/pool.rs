//! The prefixes that are free for use or for giving away.

use std::collections::BTreeSet;

use super::{Family, Prefix};

/// Free prefixes, no two of which overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    free: BTreeSet<Prefix>,
}

impl Pool {
    /// Takes a prefix of exactly this length out of the pool: among the smallest that are large enough the highest, and
    /// of that the upper part. The rest stays. `None` if none is large enough.
    pub fn take(&mut self, family: Family, length: u8) -> Option<Prefix> {
        let mut taken =
            self.free.iter().rfind(|free| free.family() == family && free.length() <= length).copied()?;
        self.free.remove(&taken);
        while taken.length() < length {
            let Some((lower, upper)) = taken.halves() else { break };
            self.free.insert(lower);
            taken = upper;
        }
        Some(taken)
    }

    /// Like [`take`](Self::take); if none is large enough, takes the largest one, unless it is longer than `longest`.
    pub fn take_up_to(&mut self, family: Family, length: u8, longest: u8) -> Option<Prefix> {
        // The largest prefix is the shortest: the first in order. It is longer than `length` if take() finds nothing.
        self.take(family, length).or_else(|| {
            let largest = self.free.iter().find(|free| free.family() == family).copied()?;
            (largest.length() <= longest && self.free.remove(&largest)).then_some(largest)
        })
    }

    /// Puts a prefix into the pool. Returns false and changes nothing if it overlaps an existing one: so a prefix that
    /// arrives twice is never in the pool twice.
    pub fn insert(&mut self, prefix: Prefix) -> bool {
        !self.overlaps(&prefix) && self.free.insert(prefix)
    }

    /// Whether any part of a prefix is in the pool.
    #[must_use]
    pub fn overlaps(&self, prefix: &Prefix) -> bool {
        self.free.iter().any(|free| free.overlaps(prefix))
    }

    /// Joins halves into the prefix they form, and repeats that until no two halves are left. Returns the number of
    /// joins.
    pub fn join(&mut self) -> usize {
        let mut joined = 0;
        let mut alone = BTreeSet::new();
        // The longest come first. Joining makes a shorter prefix, which comes later.
        while let Some(longest) = self.free.pop_last() {
            match longest.parent_and_sibling() {
                Some((parent, sibling)) if self.free.remove(&sibling) => {
                    self.free.insert(parent);
                    joined += 1;
                }
                _ => {
                    alone.insert(longest);
                }
            }
        }
        self.free = alone;
        joined
    }

    /// How many subnets of this length a family has. Smaller prefixes do not count.
    #[must_use]
    pub fn subnets(&self, family: Family, length: u8) -> u128 {
        let own = self.free.iter().filter(|free| free.family() == family);
        own.fold(0, |sum, free| sum.saturating_add(free.subnets(length)))
    }

    /// The prefixes, the largest first, IPv4 before IPv6.
    pub fn iter(&self) -> impl Iterator<Item = &Prefix> {
        self.free.iter()
    }

    /// Whether the pool is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(prefixes: &[&str]) -> Pool {
        let mut pool = Pool::default();
        assert!(prefixes.iter().all(|text| pool.insert(text.parse().unwrap())));
        pool
    }

    fn shown(pool: &Pool) -> Vec<String> {
        pool.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_prefix_is_cut_off_the_smallest_that_is_large_enough() {
        let mut pool = pool(&["2001:db8::/32", "2001:dead::/63", "10.0.0.0/8"]);
        assert_eq!(pool.take(Family::V6, 64).unwrap().to_string(), "2001:dead:0:1::/64");
        assert_eq!(pool.take(Family::V6, 34).unwrap().to_string(), "2001:db8:c000::/34");
        assert_eq!(pool.take(Family::V4, 8).unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(pool.take(Family::V4, 32), None);
        assert_eq!(shown(&pool), ["2001:db8::/33", "2001:db8:8000::/34", "2001:dead::/64"]);
    }

    #[test]
    fn who_wants_too_much_gets_the_largest() {
        let mut pool = pool(&["2001:db8::/60", "2001:db8:1::/58"]);
        assert_eq!(pool.take_up_to(Family::V6, 40, 57), None);
        assert_eq!(pool.take_up_to(Family::V6, 40, 58).unwrap().to_string(), "2001:db8:1::/58");
        assert_eq!(pool.take_up_to(Family::V6, 62, 96).unwrap().to_string(), "2001:db8:0:c::/62");
        assert_eq!(pool.take_up_to(Family::V4, 8, 32), None);
    }

    #[test]
    fn what_is_there_is_not_put_in_twice() {
        let mut pool = pool(&["10.0.0.0/8"]);
        for text in ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0"] {
            assert!(!pool.insert(text.parse().unwrap()), "{text}");
        }
        assert_eq!(shown(&pool), ["10.0.0.0/8"]);
    }

    #[test]
    fn halves_are_joined_all_the_way_up() {
        let mut pool = pool(&["10.0.0.0/8", "2001:db8::/32"]);
        let taken: Vec<_> = (0..50).map(|_| pool.take(Family::V6, 64).unwrap()).collect();
        let v4 = pool.take(Family::V4, 26).unwrap();
        assert!(taken.into_iter().all(|prefix| pool.insert(prefix)) && pool.insert(v4));
        assert!(pool.join() > 0);
        assert_eq!(shown(&pool), ["10.0.0.0/8", "2001:db8::/32"]);
        assert_eq!(pool.join(), 0);
    }

    #[test]
    fn neighbours_that_are_not_halves_of_one_stay_apart() {
        let mut pool = pool(&["10.1.0.0/16", "10.2.0.0/16"]);
        assert_eq!(pool.join(), 0);
        assert_eq!(pool.subnets(Family::V4, 24), 512);
        assert_eq!(pool.subnets(Family::V6, 64), 0);
    }
}
