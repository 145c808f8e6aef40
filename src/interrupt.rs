//! API calls that their own thread may end early, as Python's Ctrl-C does. Every wait of an API call asks here how long
//! it may last at a time: those in `api` and `net`, and those for `_resolver`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, never, select};

thread_local! {
    static CURRENT: RefCell<Option<Rc<Interrupt>>> = const { RefCell::new(None) };
}

struct Interrupt {
    interval: Duration,
    asked: Box<dyn Fn() -> bool>,
    /// `asked` has returned `true`: it is not called again.
    over: Cell<bool>,
    /// Disconnected to end the calls. A wait for a channel waits for this, too, and is woken at once.
    signal: Option<Receiver<()>>,
}

/// Runs `call`, and ends API calls in it early if `asked` says so.
///
/// Whenever an API call waits in this thread, `asked` is called once per `interval`, which is at least a millisecond.
/// Once it returns `true`, the call returns as if its time were up, and so does every further call until
/// `interruptible` returns: the session that the call was in is over, and
/// [`listen_negotiate`](crate::Engine::listen_negotiate) returns [`Error::Unspec`](crate::Error::Unspec) without having
/// taken a request. Calls in other threads are not affected.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
/// use std::time::Duration;
/// static STOP: AtomicBool = AtomicBool::new(false);
///
/// # let (asa, money) = (grasp::register_asa("Briggs")?, grasp::Objective::new("EX3"));
/// let asked = || STOP.load(Relaxed);
/// let request = grasp::interruptible(Duration::from_millis(50), asked, || grasp::listen_negotiate(asa, &money));
/// # drop(request);
/// # Ok(())
/// # }
/// ```
pub fn interruptible<R>(
    interval: Duration,
    asked: impl Fn() -> bool + 'static,
    call: impl FnOnce() -> R,
) -> R {
    let interval = interval.max(Duration::from_millis(1));
    run(Interrupt { interval, asked: Box::new(asked), over: Cell::new(false), signal: None }, call)
}

/// Runs `call`, and ends the calls of the API in it early once the signal is disconnected. One that waits for a channel, as
/// `listen_negotiate` may for weeks, sleeps until then; one that waits for a descriptor looks every `GLANCE`.
pub(crate) fn cancellable<R>(signal: &Receiver<()>, call: impl FnOnce() -> R) -> R {
    let asked = signal.clone();
    let asked = Box::new(move || asked.try_recv() == Err(crossbeam_channel::TryRecvError::Disconnected));
    let signal = Some(signal.clone());
    run(Interrupt { interval: GLANCE, asked, over: Cell::new(false), signal }, call)
}

/// How often a call that can be cancelled looks whether it is to end, where nothing wakes it.
const GLANCE: Duration = Duration::from_millis(100);

/// Runs something in this thread that is not to be ended early, whatever surrounds it.
#[cfg(feature = "ipc")]
pub(crate) fn uninterrupted<R>(call: impl FnOnce() -> R) -> R {
    let _restored = Restored(CURRENT.replace(None));
    call()
}

fn run<R>(new: Interrupt, call: impl FnOnce() -> R) -> R {
    let _restored = Restored(CURRENT.replace(Some(Rc::new(new))));
    call()
}

/// Restores the previous value, also when a panic unwinds.
struct Restored(Option<Rc<Interrupt>>);

impl Drop for Restored {
    fn drop(&mut self) {
        CURRENT.replace(self.0.take());
    }
}

fn current() -> Option<Rc<Interrupt>> {
    // A thread that is ending has nothing to interrupt.
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// How long this thread may wait at a time, out of `wanted`.
pub(crate) fn slice(wanted: Duration) -> Duration {
    current().map_or(wanted, |interrupt| wanted.min(interrupt.interval))
}

/// Whether this thread must stop waiting. Called between slices. No lock may be held except those of a connection:
/// other threads wait for these no longer than their own callers want.
pub(crate) fn is_over() -> bool {
    current().is_some_and(|interrupt| {
        // `asked` may do anything, even call the API, so it is not called again while it runs.
        if !interrupt.over.replace(true) {
            interrupt.over.set((interrupt.asked)());
        }
        interrupt.over.get()
    })
}

/// Why nothing was received from a channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotReceived {
    /// All senders are gone.
    Disconnected,
    /// The time is up, or this thread must stop waiting.
    Over,
}

/// Receives from a channel within `time`; `None` means no limit.
pub(crate) fn receive<T>(from: &Receiver<T>, time: Option<Duration>) -> Result<T, NotReceived> {
    let Some(current) = current() else {
        return match time {
            None => from.recv().map_err(|_| NotReceived::Disconnected),
            Some(time) => from.recv_timeout(time).map_err(NotReceived::from),
        };
    };
    if let Some(signal) = &current.signal {
        let over = time.map_or_else(never, crossbeam_channel::after);
        return select! {
            recv(from) -> received => received.map_err(|_| NotReceived::Disconnected),
            recv(signal) -> _ => Err(NotReceived::Over),
            recv(over) -> _ => Err(NotReceived::Over),
        };
    }
    let interval = current.interval;
    let deadline = time.and_then(|time| Instant::now().checked_add(time));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match from.recv_timeout(left.map_or(interval, |left| left.min(interval))) {
            Err(RecvTimeoutError::Timeout) if left.is_none_or(|left| left > interval) && !is_over() => {}
            result => return result.map_err(NotReceived::from),
        }
    }
}

impl From<RecvTimeoutError> for NotReceived {
    fn from(error: RecvTimeoutError) -> Self {
        match error {
            RecvTimeoutError::Timeout => Self::Over,
            RecvTimeoutError::Disconnected => Self::Disconnected,
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_thread_is_interrupted_once_it_is_asked_for_and_only_inside() {
        let (tx, rx) = bounded::<()>(0);
        let asked = Rc::new(Cell::new(0));
        let counted = Rc::clone(&asked);
        let ask = move || counted.replace(counted.get() + 1) == 3;
        let started = Instant::now();
        let received = interruptible(MOMENT, ask, || {
            let received = receive(&rx, None);
            assert_eq!(receive(&rx, Some(LONG)), Err(NotReceived::Over), "it stays so");
            received
        });
        assert_eq!(received, Err(NotReceived::Over));
        assert_eq!(asked.get(), 4);
        assert!((4 * MOMENT..LONG).contains(&started.elapsed()));
        assert!(!is_over());
        assert_eq!(slice(LONG), LONG);
        drop(tx);
        assert_eq!(receive(&rx, None), Err(NotReceived::Disconnected));
    }

    #[cfg(feature = "ipc")]
    #[test]
    fn a_signal_wakes_who_waits_for_a_channel_and_is_seen_by_others() {
        let ((tx, rx), (stop, signal)) = (bounded(1), bounded::<()>(0));
        let started = Instant::now();
        cancellable(&signal, || {
            assert!(!is_over() && slice(LONG) == GLANCE);
            assert_eq!(receive::<u8>(&rx, Some(MOMENT)), Err(NotReceived::Over));
            tx.send(7).unwrap();
            assert_eq!(receive(&rx, None), Ok(7));
            drop(stop);
            assert_eq!(receive(&rx, None), Err(NotReceived::Over));
            assert!(is_over());
        });
        assert!(!is_over() && started.elapsed() < LONG);
    }

    #[test]
    fn deadlines_and_what_comes_are_as_without() {
        let (tx, rx) = bounded(1);
        let started = Instant::now();
        interruptible(
            MOMENT,
            || false,
            || {
                assert_eq!(slice(LONG), MOMENT);
                assert_eq!(receive::<u8>(&rx, Some(4 * MOMENT)), Err(NotReceived::Over));
                assert!((4 * MOMENT..LONG).contains(&started.elapsed()));
                assert!(tx.send(7).is_ok());
                assert_eq!(receive(&rx, None), Ok(7));
                // One `interruptible` inside another; the inner one may ask about this thread again.
                interruptible(LONG, is_over, || assert!(is_over()));
                assert_eq!(slice(LONG), MOMENT);
            },
        );
        assert_eq!(receive(&rx, Some(Duration::ZERO)), Err(NotReceived::Over));
    }
}
