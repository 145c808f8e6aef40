//! What the session registry remembers of the past: no more than so much.

use std::collections::{HashMap, VecDeque};

/// A map that remembers its newest entries only.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    pub(super) map: HashMap<K, V>,
    pub(super) order: VecDeque<K>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { map: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + std::hash::Hash, V> Recent<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    /// Remembers one more. Returns what was forgotten for it.
    pub(super) fn insert(&mut self, key: K, value: V, limit: usize) -> Option<V> {
        if self.map.insert(key, value).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() <= limit.max(1) {
            return None;
        }
        self.order.pop_front().and_then(|oldest| self.map.remove(&oldest))
    }
}
