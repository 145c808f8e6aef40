//! A handle with which a program stops its servers, its loops with pauses, and itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;

/// A request to stop. It is cheap to clone, and all clones share the request: the handler of Ctrl-C, a server
/// ([`Server::run_until`](crate::Server::run_until)), loops that pause and threads in blocking calls.
///
/// ```
/// use std::time::Duration;
///
/// let stop = grasp::Stop::new();
/// let handler = stop.clone();
/// // With the crate ctrlc: ctrlc::set_handler(move || handler.request())?;
/// handler.request();
/// while !stop.wait(Duration::from_secs(5)) {
///     // Done every five seconds.
/// }
/// ```
#[derive(Clone)]
pub struct Stop {
    /// Nothing is ever sent here: the request disconnects it.
    signal: Receiver<()>,
    inner: Arc<Inner>,
}

type Waker = Arc<dyn Fn() + Send + Sync>;

struct Inner {
    /// The request drops it.
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
    /// A handle without a request.
    #[must_use]
    pub fn new() -> Self {
        let (sender, signal) = bounded(0);
        Self { signal, inner: Arc::new(Inner { sender: Mutex::new(Some(sender)), wakers: Mutex::default() }) }
    }

    /// Requests the stop, and [wakes](Self::wake) blocked threads. Doing so twice is harmless.
    pub fn request(&self) {
        self.inner.sender.lock().take();
        self.wake();
    }

    /// Adds a function that is called when the stop is requested, and by [`wake`](Self::wake). It should wake a thread that
    /// is blocked in a call of the API, for instance with [`stop_negotiate`](crate::stop_negotiate) in
    /// [`listen_negotiate`](crate::listen_negotiate), or with [`end_negotiate`](crate::end_negotiate) in
    /// [`grecv`](crate::grecv).
    pub fn wake_with(&self, waker: impl Fn() + Send + Sync + 'static) {
        self.inner.add(Arc::new(waker));
    }

    /// Like [`wake_with`](Self::wake_with), until the returned guard is dropped: for something that ends before the program
    /// does, such as a session.
    pub fn wake_while(&self, waker: impl Fn() + Send + Sync + 'static) -> Waking {
        Waking { number: self.inner.add(Arc::new(waker)), inner: Arc::clone(&self.inner) }
    }

    /// Wakes blocked threads. A thread may have been about to block when the stop was requested: a program that waits for its
    /// threads to end should call this again from time to time.
    pub fn wake(&self) {
        let wakers: Vec<_> = self.inner.wakers.lock().values().cloned().collect();
        wakers.iter().for_each(|waker| waker());
    }

    /// Whether the stop was requested.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.inner.sender.lock().is_none()
    }

    /// Waits until `time` is over or the stop is requested. Returns whether it was requested.
    #[must_use]
    pub fn wait(&self, time: Duration) -> bool {
        matches!(self.signal.recv_timeout(time), Err(RecvTimeoutError::Disconnected))
    }

    /// Waits until the stop is requested.
    pub fn wait_for_ever(&self) {
        let _ = self.signal.recv();
    }

    /// A channel that the request disconnects, for `select!` of crossbeam-channel.
    #[must_use]
    pub const fn signal(&self) -> &Receiver<()> {
        &self.signal
    }
}

/// The guard that [`Stop::wake_while`] returns: dropping it removes the function.
#[must_use = "nothing is woken any more when this is dropped"]
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
    fn a_wait_ends_with_its_time_or_when_a_clone_is_stopped() {
        let stop = Stop::new();
        assert!(!stop.wait(Duration::ZERO) && !stop.is_requested());
        let other = stop.clone();
        let waiter = std::thread::Builder::new().spawn(move || other.wait(Duration::from_secs(60))).unwrap();
        stop.request();
        stop.request();
        assert!(waiter.join().unwrap() && stop.is_requested());
        stop.wait_for_ever();
    }

    #[test]
    fn waiting_for_ever_lasts_until_the_stop_and_all_wakers_are_called() {
        let stop = Stop::new();
        let (sender, receiver) = bounded(9);
        for number in 0..3 {
            let sender = sender.clone();
            stop.wake_with(move || _ = sender.try_send(number));
        }
        let (ended, has_ended) = bounded(1);
        let other = stop.clone();
        let waiter = std::thread::Builder::new().spawn(move || {
            other.wait_for_ever();
            ended.send(()).unwrap();
        });
        assert!(has_ended.recv_timeout(Duration::from_millis(50)).is_err());
        stop.request();
        has_ended.recv_timeout(Duration::from_secs(60)).unwrap();
        waiter.unwrap().join().unwrap();
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn what_blocks_is_woken_while_it_is_to_be() {
        let stop = Stop::new();
        let (sender, receiver) = bounded(2);
        let short = sender.clone();
        drop(stop.wake_while(move || _ = short.try_send("short")));
        stop.wake_with(move || _ = sender.try_send("long"));
        stop.request();
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["long"]);
    }
}
