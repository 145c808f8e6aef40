//! The events of the future, by time. What is put in first comes out first at equal times.
//!
//! A flood among a hundred thousand nodes has as many events at the same microsecond: a list for each time costs less than
//! a heap of all events, and keeps their order by itself.

use std::collections::{BTreeMap, VecDeque};

/// Events by time in microseconds.
#[derive(Debug)]
pub struct Queue<E> {
    later: BTreeMap<u64, VecDeque<E>>,
    /// The events of the time that has come.
    now: VecDeque<E>,
    time: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { later: BTreeMap::new(), now: VecDeque::new(), time: 0 }
    }
}

impl<E> Queue<E> {
    /// Adds an event. What is over already comes as soon as possible.
    pub fn push(&mut self, at: u64, event: E) {
        if at <= self.time {
            self.now.push_back(event);
        } else {
            self.later.entry(at).or_default().push_back(event);
        }
    }

    /// The next event that comes no later than `limit`, and its time.
    pub fn pop(&mut self, limit: u64) -> Option<(u64, E)> {
        if self.now.is_empty() {
            let next = self.later.first_entry().filter(|next| *next.key() <= limit)?;
            (self.time, self.now) = next.remove_entry();
        }
        self.now.pop_front().map(|event| (self.time, event))
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.now.is_empty() && self.later.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_at_one_time_in_their_order() {
        let mut queue = Queue::default();
        for (at, event) in [(5, 'b'), (9, 'e'), (5, 'c'), (1, 'a')] {
            queue.push(at, event);
        }
        let mut order = vec![queue.pop(100), queue.pop(100)];
        queue.push(5, 'd');
        order.extend(std::iter::from_fn(|| Some(queue.pop(8))).take(3));
        assert_eq!(order, [Some((1, 'a')), Some((5, 'b')), Some((5, 'c')), Some((5, 'd')), None]);
        assert!(!queue.is_empty() && queue.pop(9) == Some((9, 'e')) && queue.is_empty());
    }
}
