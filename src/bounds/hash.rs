//! Hash tables whose keys come from peers. Each has secret random keys of its own, so that a peer cannot choose names or addresses that
//! collide. One flood is looked up in a dozen tables: aHash takes a third of the time of the standard library's SipHash.

use std::hash::BuildHasher;

/// A map with aHash.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, Keyed>;
/// A set with aHash.
pub(crate) type HashSet<T> = std::collections::HashSet<T, Keyed>;

/// The keys of one table.
#[derive(Clone, Debug)]
pub(crate) struct Keyed(ahash::RandomState);

impl Default for Keyed {
    fn default() -> Self {
        // The standard library's keys are random.
        let random = std::hash::RandomState::new();
        let [a, b, c, d] = [0, 1, 2, 3].map(|seed: u64| random.hash_one(seed));
        Self(ahash::RandomState::with_seeds(a, b, c, d))
    }
}

impl BuildHasher for Keyed {
    type Hasher = ahash::AHasher;

    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_has_keys_of_its_own() {
        let (one, other) = (Keyed::default(), Keyed::default());
        let differ = (0..100).filter(|key: &u32| one.hash_one(key) != other.hash_one(key)).count();
        assert_eq!(differ, 100);
        assert_eq!(one.hash_one("EX1"), one.clone().hash_one("EX1"));
    }
}
