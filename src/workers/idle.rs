//! Threads that have finished a short activity and wait briefly for another one of their kind, because starting a
//! thread costs more than most activities.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How long a thread waits for another activity.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// How many threads may wait at the same time.
pub(crate) const LIMIT: usize = 32;

pub(crate) type Activity<C> = Box<dyn FnOnce(&Arc<C>) + Send>;

/// The waiting threads, in the order in which they began to wait. The last one is taken first, so that threads that are
/// not needed end.
#[derive(Debug)]
pub(crate) struct IdleThreads<C> {
    inner: Mutex<Idle<C>>,
}

impl<C> Default for IdleThreads<C> {
    fn default() -> Self {
        Self { inner: Mutex::new(Idle { ended: false, waiting: Vec::new() }) }
    }
}

#[derive(Debug)]
struct Idle<C> {
    ended: bool,
    waiting: Vec<(&'static str, Arc<Bench<C>>)>,
}

/// The place where one thread waits.
pub(crate) struct Bench<C> {
    next: Mutex<Next<C>>,
    given: Condvar,
}

impl<C> Default for Bench<C> {
    fn default() -> Self {
        Self { next: Mutex::new(Next::Nothing), given: Condvar::new() }
    }
}

impl<C> std::fmt::Debug for Bench<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").finish_non_exhaustive()
    }
}

/// What a waiting thread receives.
pub(crate) enum Next<C> {
    Nothing,
    Activity(Activity<C>),
    End,
}

impl<C> IdleThreads<C> {
    /// Ends all waiting threads, and prevents others from waiting.
    pub(crate) fn end(&self) {
        let waiting = {
            let mut idle = self.inner.lock();
            idle.ended = true;
            std::mem::take(&mut idle.waiting)
        };
        waiting.iter().for_each(|(_, place)| place.give(Next::End));
    }

    /// Takes the thread of this name that began to wait last.
    pub(crate) fn take(&self, name: &'static str) -> Option<Arc<Bench<C>>> {
        let mut idle = self.inner.lock();
        let last = idle.waiting.iter().rposition(|(waiting, _)| *waiting == name)?;
        Some(idle.waiting.remove(last).1)
    }

    /// Adds a thread to the waiting ones if there is room. Returns whether it may wait.
    pub(crate) fn enter(&self, name: &'static str, place: &Arc<Bench<C>>) -> bool {
        let mut idle = self.inner.lock();
        let free = !idle.ended && idle.waiting.len() < LIMIT;
        if free {
            idle.waiting.push((name, Arc::clone(place)));
        }
        free
    }

    /// Stops waiting. Returns `false` if the thread has already been taken: then an activity is about to arrive.
    fn leave(&self, place: &Arc<Bench<C>>) -> bool {
        let mut idle = self.inner.lock();
        let own = idle.waiting.iter().position(|(_, waiting)| Arc::ptr_eq(waiting, place));
        own.map(|own| idle.waiting.remove(own)).is_some()
    }
}

impl<C> Bench<C> {
    pub(crate) fn give(&self, next: Next<C>) {
        *self.next.lock() = next;
        self.given.notify_one();
    }

    /// Waits for an activity, and returns what was given within the time.
    fn wait(&self, time: Duration) -> Next<C> {
        let mut next = self.next.lock();
        if matches!(*next, Next::Nothing) {
            self.given.wait_for(&mut next, time);
        }
        std::mem::replace(&mut *next, Next::Nothing)
    }
}

/// Returns the next task of a waiting thread; nothing if no activity arrives for some time.
pub(crate) fn next<C>(idle: &IdleThreads<C>, place: &Arc<Bench<C>>) -> Next<C> {
    loop {
        match place.wait(LINGER) {
            Next::Nothing if idle.leave(place) => return Next::Nothing,
            Next::Nothing => {}
            next => return next,
        }
    }
}

#[cfg(test)]
impl<C> IdleThreads<C> {
    /// The number of waiting threads.
    pub(crate) fn waiting(&self) -> usize {
        self.inner.lock().waiting.len()
    }
}
