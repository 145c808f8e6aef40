//! Keeps the events of the page for browsers that connect late or again. The events are bounded, numbered, and survive
//! a restart of the engine.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The number of events that are kept.
const EVENTS: usize = 3000;
/// The total size of these events in bytes.
const BYTES: usize = 4 << 20;

/// The latest events, and the threads that wait for more.
#[derive(Debug)]
pub(crate) struct Hub {
    /// Distinguishes the event numbers of this process from those of an earlier process.
    pub(crate) epoch: u64,
    inner: Mutex<Kept>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of the next event.
    next: u64,
    events: VecDeque<Arc<str>>,
    bytes: usize,
}

impl Hub {
    pub(crate) fn new(epoch: u64) -> Self {
        Self { epoch, inner: Mutex::default(), more: Condvar::new() }
    }

    /// Adds an event; the oldest events make room.
    pub(crate) fn push(&self, event: String) {
        let mut kept = self.inner.lock();
        kept.bytes += event.len();
        kept.next += 1;
        kept.events.push_back(event.into());
        while kept.events.len() > EVENTS || (kept.bytes > BYTES && kept.events.len() > 1) {
            let oldest = kept.events.pop_front().map_or(0, |oldest| oldest.len());
            kept.bytes -= oldest;
        }
        drop(kept);
        self.more.notify_all();
    }

    /// Returns the events from `number` on, and the number that follows them. Waits for an event, but no longer than
    /// `patience`.
    pub(crate) fn from(&self, number: u64, patience: Duration) -> (Vec<Arc<str>>, u64) {
        let mut kept = self.inner.lock();
        if kept.next <= number {
            self.more.wait_for(&mut kept, patience);
        }
        let count = usize::try_from(kept.next.saturating_sub(number)).unwrap_or(usize::MAX);
        let events = kept.events.iter().skip(kept.events.len().saturating_sub(count)).cloned().collect();
        (events, kept.next.max(number))
    }

    /// The number that follows the event with this `id`, as the page sends it; 0, the first number, if the event is
    /// from another process.
    pub(crate) fn after(&self, id: &str) -> u64 {
        let Some((epoch, number)) = id.split_once('-') else { return 0 };
        match (epoch.parse::<u64>(), number.parse::<u64>()) {
            (Ok(epoch), Ok(number)) if epoch == self.epoch => {
                number.saturating_add(1).min(self.inner.lock().next)
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn one_who_comes_late_gets_what_is_kept_and_one_who_comes_again_what_is_new() {
        let hub = Hub::new(7);
        hub.push("a".to_owned());
        hub.push("b".to_owned());
        let (events, next) = hub.from(0, NOW);
        assert_eq!((events.len(), next), (2, 2));
        assert_eq!(hub.from(next, NOW), (vec![], 2));
        hub.push("c".to_owned());
        assert_eq!(hub.from(hub.after("7-1"), NOW), (vec!["c".into()], 3));
        for stranger in ["", "7", "8-1", "x-y", "7-", "-1"] {
            assert_eq!(hub.after(stranger), 0, "{stranger}");
        }
        assert_eq!(hub.after("7-18446744073709551615"), 3, "nobody waits for a number that never comes");
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_in_bytes() {
        let hub = Hub::new(7);
        for number in 0..EVENTS + 10 {
            hub.push(number.to_string());
        }
        let (events, next) = hub.from(0, NOW);
        assert_eq!((events.len(), &*events[0], next), (EVENTS, "10", 3010));
        hub.push("x".repeat(BYTES + 1));
        assert_eq!(hub.from(0, NOW).0.len(), 1);
    }
}
