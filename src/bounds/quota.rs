//! Quotas and rate limits: [`Quota`] bounds how much may be held at a time, [`RateLimit`] how often something may
//! happen. A [`Permit`] keeps its share until it is dropped, whatever happens to the activity.
//!
//! The decider uses them for relays, responses, requests and the queue; `threads` for readers and name look-ups;
//! `bubbles` for browsers.

use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::hash::HashMap;
use super::map::BoundedMap;
use super::ranking::Capacity;
use crate::config::Rate;

/// A neighbour: an interface and the neighbour's link-local address there. For other addresses the interface is 0.
pub(crate) type Neighbour = (u32, Ipv6Addr);

/// The cause of a multicast: the neighbour that sent it here, and the initiator that the neighbour names. The neighbour
/// is certain; the initiator is only claimed.
pub(crate) type Cause = (Neighbour, IpAddr);

/// How much may be held: in total, and by one holder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) all: usize,
    pub(crate) each: usize,
}

impl Bounds {
    /// Limits only the total.
    pub(crate) const fn all(all: usize) -> Self {
        Self { all, each: usize::MAX }
    }
}

/// Why a permit was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Everything is in use.
    All,
    /// This holder has used up its share.
    Share,
}

/// A resource of which only a limited amount may be held at a time, in total and by each holder.
pub(crate) struct Quota<K> {
    books: Arc<Books<K>>,
    bounds: Bounds,
}

/// The state that a quota and its permits share.
struct Books<K> {
    usage: Mutex<Usage<K>>,
    freed: Condvar,
}

struct Usage<K> {
    used: usize,
    by: HashMap<K, usize>,
}

impl<K> fmt::Debug for Quota<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quota").field("used", &self.books.usage.lock().used).finish_non_exhaustive()
    }
}

impl<K: Clone + Eq + Hash> Quota<K> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let usage = Mutex::new(Usage { used: 0, by: HashMap::default() });
        Self { books: Arc::new(Books { usage, freed: Condvar::new() }), bounds }
    }

    /// Claims one unit.
    pub(crate) fn take(&self, holder: K) -> Result<Permit<K>, Refused> {
        self.take_many(holder, 1)
    }

    /// Claims `amount` units. An amount larger than the whole quota is granted while nothing else is held.
    pub(crate) fn take_many(&self, holder: K, amount: usize) -> Result<Permit<K>, Refused> {
        self.books.usage.lock().add(&holder, amount, self.bounds)?;
        Ok(self.permit(holder, amount))
    }

    /// Claims one unit. If none is free, waits once, for at most `at_most`, until another holder returns one.
    pub(crate) fn take_within(&self, holder: K, at_most: Duration) -> Result<Permit<K>, Refused> {
        let mut usage = self.books.usage.lock();
        if usage.add(&holder, 1, self.bounds).is_err() {
            self.books.freed.wait_for(&mut usage, at_most);
            usage.add(&holder, 1, self.bounds)?;
        }
        drop(usage);
        Ok(self.permit(holder, 1))
    }

    fn permit(&self, holder: K, amount: usize) -> Permit<K> {
        Permit { books: Arc::clone(&self.books), holder, amount }
    }

    /// How much is held in total.
    pub(crate) fn used(&self) -> usize {
        self.books.usage.lock().used
    }

    /// How much one holder has.
    #[cfg(test)]
    pub(crate) fn used_by(&self, holder: &K) -> usize {
        self.books.usage.lock().by.get(holder).copied().unwrap_or(0)
    }
}

impl<K: Clone + Eq + Hash> Usage<K> {
    fn add(&mut self, holder: &K, amount: usize, Bounds { all, each }: Bounds) -> Result<(), Refused> {
        let own = self.by.get(holder).copied().unwrap_or(0);
        if own > 0 && own.saturating_add(amount) > each.max(1) {
            return Err(Refused::Share);
        }
        if self.used > 0 && self.used.saturating_add(amount) > all {
            return Err(Refused::All);
        }
        self.used = self.used.saturating_add(amount);
        *self.by.entry(holder.clone()).or_insert(0) += amount;
        Ok(())
    }
}

/// A share of a quota, held until it is dropped.
pub(crate) struct Permit<K: Eq + Hash> {
    books: Arc<Books<K>>,
    holder: K,
    amount: usize,
}

impl<K: Eq + Hash + fmt::Debug> fmt::Debug for Permit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("holder", &self.holder)
            .field("amount", &self.amount)
            .finish_non_exhaustive()
    }
}

impl<K: Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut usage = self.books.usage.lock();
        usage.used = usage.used.saturating_sub(self.amount);
        if let Some(own) = usage.by.get_mut(&self.holder) {
            *own = own.saturating_sub(self.amount);
            if *own == 0 {
                usage.by.remove(&self.holder);
            }
        }
        drop(usage);
        self.books.freed.notify_all();
    }
}

/// The number of holders that a rate limit remembers; it forgets the one that has been silent longest.
const HOLDERS: usize = 4096;

/// Limits how often something may happen: token buckets, one for all holders together and one for each holder.
#[derive(Debug)]
pub(crate) struct RateLimit<K> {
    inner: Mutex<Buckets<K>>,
    all: Rate,
    each: Rate,
}

#[derive(Debug)]
struct Buckets<K> {
    all: Option<Bucket>,
    each: BoundedMap<K, Bucket>,
}

/// Counts thousandths of tokens, so that whole milliseconds fill it exactly.
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

    /// The bucket at time `now`: refilled, up to the burst, for the time since the last call.
    fn at(self, rate: Rate, now: u64) -> Self {
        let gained = now.saturating_sub(self.filled).saturating_mul(rate.per_second.into());
        let millitokens = self.millitokens.saturating_add(gained).min(u64::from(rate.burst) * TOKEN);
        Self { millitokens, filled: now }
    }

    /// The bucket after `tokens` are taken; `None` if it has too few. A cost above the burst counts as the burst.
    fn without(self, tokens: u32, rate: Rate) -> Option<Self> {
        let cost = u64::from(tokens.min(rate.burst).max(1)) * TOKEN;
        let millitokens = self.millitokens.checked_sub(cost)?;
        Some(Self { millitokens, ..self })
    }
}

impl<K: Clone + Eq + Hash> RateLimit<K> {
    pub(crate) fn new(all: Rate, each: Rate) -> Self {
        let each_bucket = BoundedMap::new(Capacity::entries(HOLDERS));
        Self { inner: Mutex::new(Buckets { all: None, each: each_bucket }), all, each }
    }

    /// Whether a holder may act now, at a cost of `tokens`. Takes them from both budgets, or from neither.
    pub(crate) fn allow(&self, holder: K, tokens: u32, now: u64) -> bool {
        // A cost above what a holder may ever use at once counts as that maximum.
        let tokens = tokens.min(self.each.burst);
        let mut inner = self.inner.lock();
        let all = inner.all.unwrap_or_else(|| Bucket::full(self.all, now)).at(self.all, now);
        let known = inner.each.get(&holder).copied();
        let own = known.unwrap_or_else(|| Bucket::full(self.each, now)).at(self.each, now);
        let taken = all.without(tokens, self.all).zip(own.without(tokens, self.each));
        let (all, own) = taken.unwrap_or((all, own));
        inner.all = Some(all);
        match inner.each.get_mut(&holder) {
            Some(bucket) => {
                *bucket = own;
                inner.each.touch(&holder);
            }
            None => drop(inner.each.insert(holder, own, 0)),
        }
        taken.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv6Addr = Ipv6Addr::LOCALHOST;
    const B: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

    #[test]
    fn a_permit_is_given_back_whatever_becomes_of_it() {
        let quota = Quota::new(Bounds { all: 4, each: 3 });
        let mut held: Vec<_> = (0..9).filter_map(|_| quota.take(A).ok()).collect();
        assert_eq!((held.len(), quota.take(A).unwrap_err()), (3, Refused::Share));
        held.push(quota.take(B).unwrap());
        assert_eq!(quota.take(B).unwrap_err(), Refused::All);
        drop(held.remove(0));
        assert_eq!((quota.used(), quota.used_by(&A), quota.used_by(&B)), (3, 2, 1));
        held.clear();
        assert!(quota.used() == 0 && quota.books.usage.lock().by.is_empty());
    }

    #[test]
    fn what_is_larger_than_everything_fits_alone() {
        let quota = Quota::new(Bounds { all: 10, each: 5 });
        let large = quota.take_many(A, 100).unwrap();
        assert_eq!(quota.take_many(B, 1).unwrap_err(), Refused::All);
        drop(large);
        assert!(quota.take_many(B, 1).is_ok());
    }

    #[test]
    fn who_waits_for_a_permit_gets_the_next_and_waits_no_longer_than_told() {
        let quota = Arc::new(Quota::new(Bounds::all(1)));
        let held = quota.take(A).unwrap();
        assert_eq!(quota.take_within(B, Duration::from_millis(1)).unwrap_err(), Refused::All);
        let waiting = Arc::clone(&quota);
        let wait = move || waiting.take_within(B, Duration::from_secs(60)).is_ok();
        let thread = std::thread::Builder::new().spawn(wait).unwrap();
        drop(held);
        assert!(thread.join().unwrap());
    }

    fn limit(all: (u32, u32), each: (u32, u32)) -> RateLimit<Ipv6Addr> {
        RateLimit::new(Rate::new(all.0, all.1), Rate::new(each.0, each.1))
    }

    fn allowed(limit: &RateLimit<Ipv6Addr>, holder: Ipv6Addr, now: u64) -> usize {
        (0..100).filter(|_| limit.allow(holder, 1, now)).count()
    }

    #[test]
    fn a_holder_has_its_burst_and_then_its_rate() {
        let limit = limit((100, 100), (10, 20));
        assert_eq!(allowed(&limit, A, 5000), 20);
        assert_eq!(allowed(&limit, A, 5099), 0);
        assert_eq!(allowed(&limit, A, 5100), 1);
        assert_eq!(allowed(&limit, A, 6100), 10);
        assert_eq!(allowed(&limit, A, 99_000), 20, "a long silence gives no more than the burst");
    }

    #[test]
    fn a_noisy_holder_leaves_the_others_theirs_until_everything_is_used() {
        let limit = limit((1, 30), (1, 20));
        assert_eq!(allowed(&limit, A, 0), 20);
        assert_eq!(allowed(&limit, B, 0), 10);
        assert_eq!(allowed(&limit, B, 1000), 1);
    }

    #[test]
    fn what_counts_for_several_costs_as_much() {
        let limit = limit((100, 100), (10, 20));
        assert_eq!((0..9).filter(|_| limit.allow(A, 8, 0)).count(), 2);
        assert!(limit.allow(B, 500, 0), "never more than the burst");
        assert!(!limit.allow(B, 1, 0));
    }

    #[test]
    fn a_flood_of_holders_is_forgotten_and_still_limited() {
        let limit = limit((1, 50), (1, 20));
        let count = (0..9000_u128).filter(|n| limit.allow(Ipv6Addr::from(*n), 1, 0)).count();
        assert_eq!(count, 50);
        assert_eq!(limit.inner.lock().each.len(), HOLDERS);
    }
}
