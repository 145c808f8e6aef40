//! How much may be relayed: token buckets for discoveries and floods, one for the engine and one for each neighbour
//! (RFC 8990 §2.5.4.4, §2.5.6.2: relaying is to be limited).

use std::collections::HashMap;
use std::net::Ipv6Addr;

use parking_lot::Mutex;

use crate::config::Rate;

/// How many neighbours are remembered; the one that has been silent longest is forgotten.
const NEIGHBOURS: usize = 1024;

/// A budget of one kind of relayed message.
#[derive(Debug)]
pub(crate) struct RelayLimit {
    inner: Mutex<Inner>,
    engine: Rate,
    neighbour: Rate,
}

#[derive(Debug, Default)]
struct Inner {
    engine: Option<Bucket>,
    neighbours: HashMap<(u32, Ipv6Addr), Bucket>,
}

/// Thousandths of tokens, so that whole milliseconds fill it exactly.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    millitokens: u64,
    filled: u64,
}

const TOKEN: u64 = 1000;

impl Bucket {
    const fn full(rate: Rate, now: u64) -> Self {
        Self { millitokens: rate.burst as u64 * TOKEN, filled: now }
    }

    /// Adds what has come since the last time, up to the burst.
    fn fill(&mut self, rate: Rate, now: u64) {
        let gained = now.saturating_sub(self.filled).saturating_mul(rate.per_second.into());
        self.millitokens = self.millitokens.saturating_add(gained).min(u64::from(rate.burst) * TOKEN);
        self.filled = now;
    }
}

impl RelayLimit {
    pub(crate) fn new(engine: Rate, neighbour: Rate) -> Self {
        Self { inner: Mutex::default(), engine, neighbour }
    }

    /// Whether one more message of this neighbour may be relayed now. Takes it from both budgets, or from none.
    pub(crate) fn allow(&self, ifi: u32, neighbour: Ipv6Addr, now: u64) -> bool {
        let mut inner = self.inner.lock();
        let mut whole = inner.engine.unwrap_or_else(|| Bucket::full(self.engine, now));
        let mut own = inner
            .neighbours
            .get(&(ifi, neighbour))
            .copied()
            .unwrap_or_else(|| Bucket::full(self.neighbour, now));
        whole.fill(self.engine, now);
        own.fill(self.neighbour, now);
        let allowed = whole.millitokens >= TOKEN && own.millitokens >= TOKEN;
        if allowed {
            whole.millitokens -= TOKEN;
            own.millitokens -= TOKEN;
        }
        inner.engine = Some(whole);
        inner.remember((ifi, neighbour), own);
        allowed
    }
}

impl Inner {
    fn remember(&mut self, neighbour: (u32, Ipv6Addr), bucket: Bucket) {
        if !self.neighbours.contains_key(&neighbour) && self.neighbours.len() >= NEIGHBOURS {
            let silent = self.neighbours.iter().min_by_key(|(_, bucket)| bucket.filled).map(|(key, _)| *key);
            if let Some(silent) = silent {
                self.neighbours.remove(&silent);
            }
        }
        self.neighbours.insert(neighbour, bucket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv6Addr = Ipv6Addr::LOCALHOST;
    const B: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

    fn limit(engine: (u32, u32), neighbour: (u32, u32)) -> RelayLimit {
        RelayLimit::new(Rate::new(engine.0, engine.1), Rate::new(neighbour.0, neighbour.1))
    }

    fn allowed(limit: &RelayLimit, neighbour: Ipv6Addr, now: u64) -> usize {
        (0..100).filter(|_| limit.allow(2, neighbour, now)).count()
    }

    #[test]
    fn a_neighbour_has_its_burst_and_then_its_rate() {
        let limit = limit((100, 100), (10, 20));
        assert_eq!(allowed(&limit, A, 5000), 20);
        assert_eq!(allowed(&limit, A, 5099), 0);
        assert_eq!(allowed(&limit, A, 5100), 1);
        assert_eq!(allowed(&limit, A, 6100), 10);
        assert_eq!(allowed(&limit, A, 99_000), 20, "a long silence gives no more than the burst");
    }

    #[test]
    fn a_noisy_neighbour_leaves_the_others_theirs_until_the_engine_has_enough() {
        let limit = limit((1, 30), (1, 20));
        assert_eq!(allowed(&limit, A, 0), 20);
        assert_eq!(allowed(&limit, B, 0), 10);
        assert_eq!(allowed(&limit, B, 1000), 1);
    }

    #[test]
    fn a_flood_of_addresses_is_forgotten_and_still_limited() {
        let limit = limit((1, 50), (1, 20));
        let count = (0..5000_u128).filter(|n| limit.allow(2, Ipv6Addr::from(*n), 0)).count();
        assert_eq!(count, 50);
        assert_eq!(limit.inner.lock().neighbours.len(), NEIGHBOURS);
    }
}
