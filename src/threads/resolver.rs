//! `_resolver`: looks up the name in a locator, for a caller that waits no longer than it wants to connect. Used by `api`.
//!
//! These threads are left to themselves when the time is over: the system's resolver cannot be interrupted, and may take half
//! a minute where no server answers. So they are no engine's, and few: peers that send such names must not occupy
//! threads without end.

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, LazyLock};
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::slot::Slot;
use crate::interrupt;
use crate::net::resolve;
use crate::types::{AsaLocator, Locator};

/// How many names are looked up at the same time in this process.
const LOOKUPS: usize = 16;

static AT_WORK: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// The addresses behind a locator, to be tried in order, as far as they are known within the time.
pub(crate) fn resolve(locator: &AsaLocator, time: Duration) -> Vec<SocketAddr> {
    if !matches!(locator.locator, Some(Locator::Fqdn(_))) {
        return resolve::resolve(locator);
    }
    let name = locator.clone();
    within(time, &AT_WORK, LOOKUPS, move || resolve::resolve(&name)).unwrap_or_else(|| {
        log::info!("the name of a locator is not resolved in time");
        Vec::new()
    })
}

/// What `work` returns, if that is within the time and no more than `limit` others are at work. No thread of an engine:
/// it may outlast it.
fn within<T: Send + 'static>(
    time: Duration,
    at_work: &Arc<AtomicUsize>,
    limit: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (slot, _) = Slot::take(at_work, limit)?;
    let (tx, rx) = bounded(1);
    let started = Builder::new().name("_resolver".to_owned()).spawn(move || {
        // Whoever asked may have gone.
        let _ = tx.send(work());
        drop(slot);
    });
    started.ok().and_then(|_| interrupt::receive(&rx, Some(time)).ok())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Instant;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_name_and_an_address_are_resolved() {
        use crate::types::Protocol;
        assert!(!resolve(&AsaLocator::fqdn("localhost", Protocol::Tcp, 80), SOON).is_empty());
        let address = AsaLocator::new(std::net::Ipv4Addr::LOCALHOST, None).with_port(80);
        assert_eq!(resolve(&address, Duration::ZERO).len(), 1);
    }

    #[test]
    fn who_looks_up_a_name_waits_no_longer_than_its_time_and_only_so_many_do() {
        let at_work = Arc::default();
        let (release, gate) = bounded::<()>(0);
        let started = Instant::now();
        for _ in 0..2 {
            let gate = gate.clone();
            let answer = within(Duration::from_millis(50), &at_work, 2, move || gate.recv().is_ok());
            assert_eq!(answer, None, "nobody answers");
        }
        assert_eq!(within(SOON, &at_work, 2, || true), None, "both places are taken");
        assert!(started.elapsed() < SOON);
        drop(release);
        while at_work.load(Ordering::Acquire) > 0 {
            assert!(started.elapsed() < SOON, "the threads end once they are answered");
            std::thread::yield_now();
        }
        assert_eq!(within(SOON, &at_work, 2, || true), Some(true));
    }
}
