//! Coming to an end: on Ctrl-C, on SIGTERM, or when a peer of `--lab` was the last one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use grasp::tprint;
use parking_lot::Mutex;

use crate::Outcome;

/// How long an ASA that is to stop may take before its engine is stopped under it: a little longer than the calls
/// of the examples that nothing wakes.
const GRACE: Duration = Duration::from_secs(6);
/// How long it may take after that.
const LAST_GRACE: Duration = Duration::from_secs(5);
/// How often what wakes an ASA is done again, because it may just have been about to fall asleep.
const AGAIN: Duration = Duration::from_millis(100);

type Waker = Box<dyn FnMut() + Send>;

/// Whether the example is to stop, and what to do then. A cheap handle; clones are the same.
#[derive(Clone)]
pub struct Stop {
    /// Nothing is ever sent: it is disconnected when the example is to stop.
    signal: Receiver<()>,
    inner: Arc<Inner>,
}

struct Inner {
    /// Dropped to request the stop.
    sender: Mutex<Option<Sender<()>>>,
    wakers: Mutex<BTreeMap<u64, Waker>>,
}

impl Inner {
    fn add(&self, waker: Waker) -> u64 {
        let mut wakers = self.wakers.lock();
        let number = wakers.last_key_value().map_or(0, |(last, _)| last + 1);
        wakers.insert(number, waker);
        number
    }
}

impl Stop {
    /// A handle that only [`request`](Self::request) stops.
    #[must_use]
    pub fn new() -> Self {
        let (sender, signal) = bounded(0);
        let inner = Inner { sender: Mutex::new(Some(sender)), wakers: Mutex::default() };
        Self { signal, inner: Arc::new(inner) }
    }

    /// A handle that Ctrl-C, SIGTERM and SIGHUP stop. Once in a process.
    pub(crate) fn on_signals() -> Result<Self, ctrlc::Error> {
        let stop = Self::new();
        let handle = stop.clone();
        ctrlc::set_handler(move || handle.request())?;
        Ok(stop)
    }

    /// Asks the example to stop. Doing so twice is harmless.
    pub fn request(&self) {
        self.inner.sender.lock().take();
    }

    /// Whether the example is to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.inner.sender.lock().is_none()
    }

    /// Waits so long, or until the example is to stop; returns whether it is.
    #[must_use]
    pub fn wait(&self, time: Duration) -> bool {
        matches!(self.signal.recv_timeout(time), Err(RecvTimeoutError::Disconnected))
    }

    /// Waits until the example is to stop.
    pub fn wait_for_ever(&self) {
        let _ = self.signal.recv();
    }

    /// Has this done when the example is to stop: what wakes a thread that blocks in a call of the API, such as
    /// [`grasp::stop_negotiate`] for [`grasp::listen_negotiate`]. It is done several times, until the example
    /// has ended.
    pub fn wake_with(&self, waker: impl FnMut() + Send + 'static) {
        self.inner.add(Box::new(waker));
    }

    /// As [`wake_with`](Self::wake_with), until what it returns is dropped: for what lasts shorter than the
    /// example, such as a session.
    #[must_use]
    pub fn wake_while(&self, waker: impl FnMut() + Send + 'static) -> Waking {
        Waking { number: self.inner.add(Box::new(waker)), inner: Arc::clone(&self.inner) }
    }

    /// Waits for the end of the ASA's thread, which disconnects `ended`; when it is to stop, sees to it that it
    /// ends.
    pub(crate) fn supervise(&self, asa: JoinHandle<Outcome>, ended: &Receiver<()>) -> Outcome {
        select! {
            recv(ended) -> _ => {}
            recv(self.signal) -> _ => self.end(ended)?,
        }
        asa.join().unwrap_or_else(|_| Err("it has panicked".into()))
    }

    fn end(&self, ended: &Receiver<()>) -> Outcome {
        tprint!("Stopping");
        let since = Instant::now();
        let mut shut_down = false;
        while since.elapsed() < GRACE + LAST_GRACE {
            if since.elapsed() > GRACE && !shut_down {
                tprint!("Stopping the engine");
                // Whatever blocks in a call of the API gets an error. grasp::shutdown would do that, too, but
                // then the ASA's next call started a new engine.
                if let Ok(engine) = grasp::process_engine() {
                    engine.shutdown();
                }
                shut_down = true;
            }
            self.inner.wakers.lock().values_mut().for_each(|waker| waker());
            if ended.recv_timeout(AGAIN) == Err(RecvTimeoutError::Disconnected) {
                return Ok(());
            }
        }
        Err("it does not stop".into())
    }
}

/// What [`Stop::wake_while`] returns.
pub struct Waking {
    inner: Arc<Inner>,
    number: u64,
}

impl Drop for Waking {
    fn drop(&mut self) {
        self.inner.wakers.lock().remove(&self.number);
    }
}

impl fmt::Debug for Waking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waking").field(&self.number).finish()
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("requested", &self.is_requested()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_a_stop_is_requested() {
        let stop = Stop::new();
        assert!(!stop.wait(Duration::ZERO) && !stop.is_requested());
        let other = stop.clone();
        let waiter = std::thread::Builder::new().spawn(move || other.wait(Duration::from_secs(60))).unwrap();
        stop.request();
        stop.request();
        assert!(waiter.join().unwrap() && stop.is_requested());
    }

    #[test]
    fn what_blocks_is_woken() {
        let stop = Stop::new();
        let (sender, receiver) = bounded(1);
        stop.wake_with(move || _ = sender.try_send(()));
        let (ending, ended) = bounded::<()>(0);
        let body = move || {
            let _ending = ending;
            Ok(receiver.recv()?)
        };
        let asa = std::thread::Builder::new().spawn(body).unwrap();
        stop.request();
        assert!(stop.supervise(asa, &ended).is_ok());
    }
}
