//! Threads for activities that are many and short, `_reader`, `_responder` and `_disc_relay`: one that has ended its activity waits
//! a little for another of its kind, because starting a thread costs more than most of them.
//!
//! How many activities there may be at once is bounded where they begin; here only how many threads wait for more.

use std::io;
use std::sync::Arc;

use super::{contain, spawn};
use crate::core::Core;
use crate::workers::{Bench, Next, next};

/// Runs an activity in a thread of this name: in one that waits for it, or else in a new one.
pub(crate) fn run(
    core: &Arc<Core>,
    name: &'static str,
    activity: impl FnOnce(&Arc<Core>) + Send + 'static,
) -> io::Result<()> {
    if let Some(place) = core.threads.idle.take(name) {
        place.give(Next::Activity(Box::new(activity)));
        return Ok(());
    }
    spawn(core, name, move |core| {
        contain(core, name, || activity(core));
        let place = Arc::new(Bench::default());
        while core.threads.idle.enter(name, &place) {
            match next(&core.threads.idle, &place) {
                Next::Activity(activity) => contain(core, name, || activity(core)),
                Next::Nothing | Next::End => return,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::thread::ThreadId;
    use std::time::{Duration, Instant};

    use crossbeam_channel::{Receiver, bounded};

    use super::*;
    use crate::threads::tests::core;
    use crate::workers::{LIMIT, LINGER};

    const SOON: Duration = Duration::from_secs(20);

    /// Which thread carries out an activity.
    fn who(core: &Arc<Core>) -> Receiver<ThreadId> {
        let (tx, rx) = bounded(1);
        run(core, "_reader", move |_| tx.send(std::thread::current().id()).unwrap()).unwrap();
        rx
    }

    fn wait_until(what: &str, holds: impl Fn() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < SOON, "{what}");
            std::thread::yield_now();
        }
    }

    fn waiting(core: &Core) -> usize {
        core.threads.idle.waiting()
    }

    #[test]
    fn a_thread_serves_again_even_after_a_panic_and_ends_when_it_is_not_needed() {
        let core = core();
        let first = who(&core).recv_timeout(SOON).unwrap();
        wait_until("the thread waits", || waiting(&core) == 1);
        run(&core, "_reader", |_| panic!("a test of containment")).unwrap();
        wait_until("the thread waits again", || {
            waiting(&core) == 1 && core.node.counters.snapshot().panics == 1
        });
        assert_eq!(who(&core).recv_timeout(SOON).unwrap(), first);
        assert_eq!(core.threads.count(), 1);
        wait_until("the thread ends", || core.threads.count() == 0);
        assert_eq!(waiting(&core), 0);
    }

    #[test]
    fn names_are_kept_apart_and_shutdown_ends_those_that_wait() {
        let core = core();
        who(&core).recv_timeout(SOON).unwrap();
        run(&core, "_responder", |_| {}).unwrap();
        wait_until("both wait", || waiting(&core) == 2);
        let started = Instant::now();
        core.shutdown();
        assert!(started.elapsed() < LINGER, "{:?}", started.elapsed());
        assert_eq!((core.threads.count(), waiting(&core)), (0, 0));
        assert!(run(&core, "_reader", |_| {}).is_err(), "no thread comes after shutdown");
    }

    #[test]
    fn only_so_many_wait() {
        let core = core();
        let (release, gate) = bounded::<()>(0);
        for _ in 0..LIMIT + 8 {
            let gate = gate.clone();
            run(&core, "_reader", move |_| assert!(gate.recv().is_err())).unwrap();
        }
        assert_eq!(core.threads.count(), LIMIT + 8);
        drop(release);
        wait_until("some wait, the others end", || core.threads.count() <= LIMIT);
        core.shutdown();
    }
}
