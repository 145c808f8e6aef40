//! The threads of one engine: counted, and joined at shutdown.

use std::collections::HashMap;
use std::io;
use std::thread::{JoinHandle, current};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::idle::IdleThreads;
use crate::seldom::{Seldom, Unsaid};

/// How long shutdown waits for the threads. All are woken; only a bug can delay one.
const JOIN_LIMIT: Duration = Duration::from_secs(20);

/// The threads of one engine.
#[derive(Debug)]
pub(crate) struct ThreadGroup<C> {
    inner: Mutex<Group>,
    ended: Condvar,
    pub(crate) idle: IdleThreads<C>,
    failures: Seldom,
}

impl<C> Default for ThreadGroup<C> {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            ended: Condvar::new(),
            idle: IdleThreads::default(),
            failures: Seldom::default(),
        }
    }
}

#[derive(Debug, Default)]
struct Group {
    next: u64,
    live: HashMap<u64, JoinHandle<()>>,
    /// Threads that have ended and can be joined without waiting.
    finished: Vec<JoinHandle<()>>,
}

impl<C> ThreadGroup<C> {
    /// The number of running threads.
    pub(crate) fn count(&self) -> usize {
        self.inner.lock().live.len()
    }

    /// Waits until every thread has ended, and joins them. Does not wait if the calling thread is one of them, as a
    /// logger may cause: two such threads would wait for each other.
    pub(crate) fn join_all(&self) {
        self.idle.end();
        let deadline = Instant::now() + JOIN_LIMIT;
        let (finished, live) = {
            let mut group = self.inner.lock();
            if group.live.values().any(|handle| handle.thread().id() == current().id()) {
                return;
            }
            while !group.live.is_empty() && !self.ended.wait_until(&mut group, deadline).timed_out() {}
            (std::mem::take(&mut group.finished), group.live.len())
        };
        if live > 0 {
            log::error!("{live} threads did not end at shutdown: this is a bug of the engine");
        }
        join(finished);
    }

    /// Starts a thread, unless `stopping`: then all threads end, and none may start afterwards. `start` gets the
    /// thread's number, with which the thread must call [`end`](Self::end). Returns how many threads run now.
    pub(crate) fn start(
        &self,
        stopping: impl FnOnce() -> bool,
        start: impl FnOnce(u64) -> io::Result<JoinHandle<()>>,
    ) -> io::Result<usize> {
        let mut group = self.inner.lock();
        if stopping() {
            return Err(io::Error::other("the engine has been shut down"));
        }
        let number = group.next;
        // The new thread can end only after this lock is released, so it finds itself in the group.
        let started = start(number).map(|handle| {
            group.next += 1;
            group.live.insert(number, handle);
            group.live.len()
        });
        let finished = std::mem::take(&mut group.finished);
        drop(group);
        join(finished);
        started
    }

    /// Whether a failure to start a thread may be logged now.
    pub(crate) fn may_say(&self, now: u64) -> Option<Unsaid> {
        self.failures.may_say(now)
    }

    /// Records that the thread with this number has ended.
    pub(crate) fn end(&self, number: u64) {
        let mut group = self.inner.lock();
        if let Some(handle) = group.live.remove(&number) {
            group.finished.push(handle);
        }
        self.ended.notify_all();
    }
}

fn join(finished: Vec<JoinHandle<()>>) {
    for handle in finished {
        if handle.join().is_err() {
            log::error!("a thread ended in a panic outside its activity");
        }
    }
}
