//! The threads of an engine, and the only place that starts any.
//!
//! ```text
//!   _mclisten  (interfaces x)    multicasts in --+
//!   _uclisten  (interfaces x)    datagrams in ---+-> bounded queue -> _mhandler (1x) -> proto
//!                                                                        | actions
//!                                      _responder (bounded) <------------+
//!                                      _disc_relay (bounded) <-----------+--> datagrams out
//!   _drlisten  (interfaces x) -> _reader (bounded) -> proto -> mailbox of the discovery
//!   _tcp_listen (objectives x) -> _reader (bounded) -> proto -> listen_negotiate
//!                                                           +-> _synch_listen (objectives x)
//!   _watcher   (1x)              interfaces and addresses; ends what has expired
//!   _flooder   (repeated floods x)  floods again, for `api`
//!   _pcap      (0x or 1x)        writes the capture that is configured
//!   _bubble_feed, _bubbles, _bubble_client (bounded)  the page, where it is wanted
//! ```
//!
//! Threads for short activities, `_reader`, `_responder` and `_disc_relay`, wait a little for the next one before they end (`pool`).
//! Every thread has a name, its handle is kept and joined. A panic ends one activity, is logged and counted.

#[cfg(feature = "bubbles")]
mod bubbles;
mod disc_relay;
mod drlisten;
mod mclisten;
mod mhandler;
mod pcap;
mod pool;
mod reader;
mod resolver;
mod responder;
mod shares;
mod signals;
mod slot;
mod synch_listen;
mod tcp_listen;
mod watcher;

#[cfg(feature = "bubbles")]
pub(crate) use bubbles::start as start_bubbles;
pub(crate) use mhandler::start as start_mhandler;
pub(crate) use pcap::start as start_pcap;
pub(crate) use reader::ReaderTable;
pub(crate) use resolver::resolve;
#[cfg(feature = "_simulator")]
pub(crate) use shares::{Admitted, NotAdmitted};
pub(crate) use shares::{Askers, Shares};
pub(crate) use synch_listen::start as start_synch_listen;
pub(crate) use tcp_listen::start as start_tcp_listen;
pub(crate) use watcher::{refresh, start as start_watcher};

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle, current};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::core::Core;
use crate::seldom::Seldom;
use pool::{IdleThreads, run};

/// The stack of every thread: decoding recurses no deeper than the limit on nesting.
const STACK: usize = 256 * 1024;
/// How long shutdown waits for the threads. All are woken; only a bug keeps one.
const JOIN_LIMIT: Duration = Duration::from_secs(20);

/// The threads of one engine.
#[derive(Debug, Default)]
pub(crate) struct ThreadGroup {
    inner: Mutex<Group>,
    ended: Condvar,
    idle: IdleThreads,
    failures: Seldom,
}

#[derive(Debug, Default)]
struct Group {
    next: u64,
    live: HashMap<u64, JoinHandle<()>>,
    /// Threads that have ended and wait to be joined, which takes no time any more.
    finished: Vec<JoinHandle<()>>,
}

impl ThreadGroup {
    /// Number of threads that are running.
    pub(crate) fn count(&self) -> usize {
        self.inner.lock().live.len()
    }

    /// Waits until every thread has ended, and joins them. Does not wait if the calling thread is one of them, which a logger
    /// may cause: two of them would wait for each other.
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

    fn end(&self, number: u64) {
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

/// Starts a thread, unless the engine is being shut down: then all threads end, and none may come after them. The name has
/// at most 15 bytes, which is what Linux shows. A panic in `body` ends this thread and nothing else.
pub(crate) fn spawn(
    core: &Arc<Core>,
    name: &'static str,
    body: impl FnOnce(&Arc<Core>) + Send + 'static,
) -> io::Result<()> {
    debug_assert!(name.len() <= 15, "{name}");
    let own = Arc::clone(core);
    let mut group = core.threads.inner.lock();
    if core.is_stopping() {
        return Err(io::Error::other("the engine has been shut down"));
    }
    let number = group.next;
    // The new thread can end only after this lock is free: it finds itself in the group.
    let spawned = signals::start(Builder::new().name(name.to_owned()).stack_size(STACK), move || {
        OF_AN_ENGINE.set(true);
        contain(&own, name, || body(&own));
        own.threads.end(number);
    });
    let finished = std::mem::take(&mut group.finished);
    let result = spawned.map(|handle| {
        group.next += 1;
        group.live.insert(number, handle);
        core.counters.threads_peak.raise_to(group.live.len());
    });
    drop(group);
    join(finished);
    result.inspect_err(|error| {
        core.counters.thread_failed.add();
        if let Some(unsaid) = core.threads.failures.may_say(core.now()) {
            log::warn!("{name} cannot be started: {error}{unsaid}");
        }
    })
}

thread_local! {
    static OF_AN_ENGINE: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is one of an engine's: a logger's call, or a substrate's, comes from such.
pub(crate) fn is_engine_thread() -> bool {
    OF_AN_ENGINE.get()
}

/// Starts a thread that runs an ASA's own code: it is no thread of the engine, has a stack of the usual size, and whoever
/// starts it waits for its end.
pub(crate) fn start_asa(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    signals::start(Builder::new().name(name.to_owned()), body).map(drop)
}

/// Carries something out. A panic ends that and nothing else. What may log belongs in here: the logger is the program's, and
/// may panic.
fn contain(core: &Core, what: &str, body: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        core.counters.panics.add();
        let tell = || {
            log::error!(
                "{what} panicked: this is a bug of the engine or of its logger; everything else goes on"
            )
        };
        let _ = catch_unwind(tell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Acp, Config};

    /// An engine without interfaces.
    pub(super) fn core() -> Arc<Core> {
        let config = Config::new().acp(Acp::Layer2);
        let substrate = crate::acp::substrate(&config).unwrap();
        Arc::new(Core::new(config, substrate, Vec::new()))
    }
}
