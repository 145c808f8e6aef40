//! `_resolver`: resolves the name in a locator, for a caller that waits no longer than its deadline for connecting.
//! Used by `api`.
//!
//! When the deadline passes, these threads are abandoned: the system's resolver cannot be interrupted, and may take
//! half a minute if no server answers. So they belong to no engine, and there are few: peers that send unresolvable
//! names must not occupy an unlimited number of threads.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::thread::Builder;
use std::time::Instant;

use crossbeam_channel::bounded;

use super::signals;
use crate::bounds::{Bounds, Permit, Quota};
use crate::interrupt;
use crate::net::resolve;
use crate::types::{AsaLocator, Locator};

/// How many look-ups may run at the same time in this process.
const LOOKUPS: usize = 64;
/// How many of these one objective may use: a peer that answers discoveries with unresolvable names must not block the
/// look-ups for other objectives.
const PER_OBJECTIVE: usize = 4;
/// How many addresses of one name are tried: a name can have thousands.
const ADDRESSES: usize = 32;

static LOOKUPS_OPEN: LazyLock<Lookups> = LazyLock::new(|| Lookups::new(LOOKUPS, PER_OBJECTIVE));

/// Returns the addresses of an objective's locator that are known before the deadline, in the order to try them.
pub(crate) fn resolve(objective: &str, locator: &AsaLocator, deadline: Instant) -> Vec<SocketAddr> {
    if !matches!(locator.locator, Some(Locator::Fqdn(_))) {
        return resolve::resolve(locator);
    }
    let name = locator.clone();
    let resolved = LOOKUPS_OPEN.carry_out(objective, deadline, move || resolve::resolve(&name));
    let mut addresses = resolved.unwrap_or_else(|| {
        log::info!("the name of a locator is not resolved in time");
        Vec::new()
    });
    addresses.truncate(ADDRESSES);
    addresses
}

/// The running look-ups, by objective.
#[derive(Debug)]
struct Lookups(Quota<String>);

impl Lookups {
    fn new(all: usize, each: usize) -> Self {
        Self(Quota::new(Bounds { all, each }))
    }

    /// Runs `work` and returns its result if it finishes before the deadline. It runs in a thread that belongs to no
    /// engine, as soon as few enough others are running.
    fn carry_out<T: Send + 'static>(
        &self,
        objective: &str,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permit = self.begin(objective, deadline)?;
        let (tx, rx) = bounded(1);
        let started = signals::start(Builder::new().name("_resolver".to_owned()), move || {
            // The caller may be gone.
            let _ = tx.send(work());
            drop(permit);
        });
        let left = deadline.saturating_duration_since(Instant::now());
        started.ok().and_then(|_| interrupt::receive(&rx, Some(left)).ok())
    }

    /// Waits for a permit.
    fn begin(&self, objective: &str, deadline: Instant) -> Option<Permit<String>> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.0.take_within(objective.to_owned(), interrupt::slice(left)) {
                Ok(permit) => return Some(permit),
                Err(_) if left.is_zero() || interrupt::is_over() => return None,
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn after(time: Duration) -> Instant {
        Instant::now() + time
    }

    #[test]
    fn a_name_and_an_address_are_resolved() {
        use crate::types::Protocol;
        let name = AsaLocator::fqdn("localhost", Protocol::Tcp, 80);
        assert!(!resolve("EX1", &name, after(SOON)).is_empty());
        let address = AsaLocator::new(std::net::Ipv4Addr::LOCALHOST, None).with_port(80);
        assert_eq!(resolve("EX1", &address, Instant::now()).len(), 1);
    }

    /// Starts look-ups that do not finish until the returned sender is dropped.
    fn unanswered(lookups: &Lookups, objective: &str, count: usize) -> crossbeam_channel::Sender<()> {
        let (release, gate) = bounded::<()>(0);
        for _ in 0..count {
            let gate = gate.clone();
            let answer = lookups.carry_out(objective, after(SOON / 400), move || gate.recv().is_ok());
            assert_eq!(answer, None, "nobody answers");
        }
        release
    }

    #[test]
    fn who_looks_up_a_name_waits_for_its_turn_and_no_longer_than_its_time() {
        let lookups = Arc::new(Lookups::new(3, 2));
        let started = Instant::now();
        let _first = unanswered(&lookups, "EX1", 1);
        let release = unanswered(&lookups, "EX2", 2);
        assert_eq!(lookups.carry_out("EX3", after(SOON / 400), || true), None, "all places are taken");
        assert!(started.elapsed() < SOON);
        // A caller that waits gets the permit of a look-up that ends.
        let waiting = Arc::clone(&lookups);
        let look = move || waiting.carry_out("EX3", after(SOON), || true);
        // It looks again and again whether it is to end.
        let thread = Builder::new().spawn(|| interrupt::interruptible(SOON / 4000, || false, look)).unwrap();
        assert_eq!(lookups.carry_out("EX4", after(SOON / 400), || true), None, "meanwhile");
        drop(release);
        assert_eq!(thread.join().unwrap(), Some(true));
    }

    #[test]
    fn names_that_nobody_answers_hold_up_no_other_objective() {
        let lookups = Lookups::new(16, 4);
        // As many as a hostile peer may send; at most four run.
        let _hostile = unanswered(&lookups, "hostile", 16);
        assert_eq!(lookups.0.used(), 4);
        assert_eq!(lookups.carry_out("EX1", after(SOON), || true), Some(true));
    }
}
