//! Observing an engine while it works: [`Engine::trace`](crate::Engine::trace) returns a bounded channel of
//! [`TraceEvent`]s. The capture file and the page of speech bubbles are ordinary listeners.
//!
//! Everything that the engine does calls `Tracer::emit`. While nobody listens, that costs one relaxed load of a number,
//! and the event is not made. A listener that does not keep up loses events, which are counted; the engine never waits
//! for a listener.

pub(crate) mod echo;
mod event;
mod packet;
pub(crate) mod pcapng;
pub(crate) mod story;

pub use event::{
    Cache, CacheEvent, Carrier, Direction, Ending, Event, MessageEvent, Removal, SessionEvent, SessionKind,
    TraceEvent,
};

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, RecvError, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use parking_lot::RwLock;

use crate::clock::monotonic_ms;

/// The default number of events that may wait for a listener.
pub(crate) const CAPACITY: usize = 4096;

/// Lines belong to the process, so they go to the listeners of all its engines.
static LINES: LazyLock<Listeners> = LazyLock::new(Listeners::default);
/// The next listener number.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Reports what the engine does. All clones are the same tracer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracer(Arc<Listeners>);

impl Tracer {
    /// Whether anybody listens.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_on()
    }

    /// Reports an event, if anybody listens. Never blocks. Do not call it with a lock held: see [`Tracer::later`].
    pub(crate) fn emit(&self, event: impl FnOnce() -> Event) {
        if self.is_on() {
            self.0.tell(event());
        }
    }

    /// Reports what TLS sends or receives, if anybody is to be told.
    #[cfg(feature = "domain")]
    pub(crate) fn emit_records(&self, records: impl FnOnce() -> Event) {
        if self.0.of_records.load(Ordering::Relaxed) > 0 {
            self.0.tell(records());
        }
    }

    /// Collects events and reports them when it is dropped. Create it before taking a lock, so that it is dropped after
    /// the lock is released.
    pub(crate) fn later(&self) -> Later<'_> {
        Later { tracer: self, events: Vec::new() }
    }

    /// Adds a listener for which at most `capacity` events can wait.
    pub(crate) fn subscribe(&self, capacity: usize) -> Trace {
        self.subscribe_to(capacity, false)
    }

    /// The same, and whether the listener is told what TLS sends and receives: [`Event::Records`].
    pub(crate) fn subscribe_to(&self, capacity: usize, records: bool) -> Trace {
        let (listener, trace) = self.listener(capacity, records);
        // Before the engine's own: its end, which may come just now, takes those away that it finds there.
        LINES.add(Arc::clone(&listener));
        if !self.0.add(listener) {
            LINES.remove(trace.id);
        }
        trace
    }

    /// As [`subscribe`](Self::subscribe), for the events of an engine in another process: lines come from there.
    #[cfg(feature = "ipc")]
    pub(crate) fn subscribe_elsewhere(&self, capacity: usize) -> Trace {
        let (listener, trace) = self.listener(capacity, false);
        self.0.add(listener);
        trace
    }

    fn listener(&self, capacity: usize, records: bool) -> (Arc<Listener>, Trace) {
        let (tx, rx) = bounded(capacity.max(1));
        let lost = Arc::new(AtomicU64::new(0));
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let listener = Arc::new(Listener { id, tx, records, lost: Arc::clone(&lost) });
        (listener, Trace { events: rx, lost, id, tracer: self.clone(), _source: None })
    }

    /// Passes an event on that another engine has told.
    #[cfg(feature = "ipc")]
    pub(crate) fn pass_on(&self, event: TraceEvent) {
        self.0.pass_on(event);
    }

    /// Counts events as lost that have not got here.
    #[cfg(feature = "ipc")]
    pub(crate) fn lose(&self, count: u64) {
        for listener in self.0.list.read().listeners.iter() {
            listener.lost.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Ends the trace: listeners see the end once they have read the events that wait for them.
    pub(crate) fn end(&self) {
        for listener in self.0.end().iter() {
            LINES.remove(listener.id);
        }
    }
}

/// Reports a line ([`Event::Line`]) to the listeners of all engines of this process, without printing it. For programs
/// with their own way of printing; [`tprint!`](crate::tprint) does both.
pub fn line(text: impl Into<String>) {
    emit_line(|| text.into());
}

/// Reports a line of the process to the listeners of all engines.
pub(crate) fn emit_line(line: impl FnOnce() -> String) {
    if LINES.is_on() {
        LINES.tell(Event::Line(line()));
    }
}

/// Events that are reported when this is dropped.
#[derive(Debug)]
pub(crate) struct Later<'a> {
    tracer: &'a Tracer,
    events: Vec<Event>,
}

impl Later<'_> {
    /// Adds an event, if anybody listens.
    pub(crate) fn push(&mut self, event: impl FnOnce() -> Event) {
        if self.tracer.is_on() {
            self.events.push(event());
        }
    }
}

impl Drop for Later<'_> {
    fn drop(&mut self) {
        for event in std::mem::take(&mut self.events) {
            self.tracer.emit(|| event);
        }
    }
}

/// One listener.
#[derive(Debug)]
struct Listener {
    id: u64,
    tx: Sender<Arc<TraceEvent>>,
    /// Whether it is told what TLS sends and receives.
    records: bool,
    lost: Arc<AtomicU64>,
}

/// All listeners. The list is replaced as a whole: a thread that reports an event has its own reference, and holds no
/// lock.
#[derive(Debug, Default)]
struct Listeners {
    count: AtomicUsize,
    /// How many of them are told what TLS sends and receives.
    of_records: AtomicUsize,
    list: RwLock<List>,
}

#[derive(Debug, Default)]
struct List {
    /// Whether the trace has ended: if so, no more listeners are added.
    ended: bool,
    listeners: Arc<Vec<Arc<Listener>>>,
}

impl Listeners {
    fn is_on(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    fn tell(&self, event: Event) {
        self.pass_on(TraceEvent {
            time: SystemTime::now(),
            monotonic_ms: monotonic_ms(),
            thread: std::thread::current().name().unwrap_or_default().into(),
            event,
        });
    }

    fn pass_on(&self, event: TraceEvent) {
        let listeners = Arc::clone(&self.list.read().listeners);
        let event = Arc::new(event);
        let is_records = matches!(event.event, Event::Records { .. });
        for listener in listeners.iter().filter(|listener| listener.records || !is_records) {
            if let Err(TrySendError::Full(_)) = listener.tx.try_send(Arc::clone(&event)) {
                listener.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Returns whether the listener was added.
    fn add(&self, listener: Arc<Listener>) -> bool {
        let mut list = self.list.write();
        if !list.ended {
            self.replace(&mut list, |listeners| listeners.push(listener));
        }
        !list.ended
    }

    fn remove(&self, id: u64) {
        self.replace(&mut self.list.write(), |listeners| listeners.retain(|listener| listener.id != id));
    }

    fn end(&self) -> Arc<Vec<Arc<Listener>>> {
        let mut list = self.list.write();
        list.ended = true;
        let listeners = Arc::clone(&list.listeners);
        self.replace(&mut list, Vec::clear);
        listeners
    }

    fn replace(&self, list: &mut List, change: impl FnOnce(&mut Vec<Arc<Listener>>)) {
        let mut listeners = list.listeners.to_vec();
        change(&mut listeners);
        self.count.store(listeners.len(), Ordering::Relaxed);
        let of_records = listeners.iter().filter(|listener| listener.records).count();
        self.of_records.store(of_records, Ordering::Relaxed);
        list.listeners = Arc::new(listeners);
    }
}

/// The events of an engine, for one listener ([`Engine::trace`](crate::Engine::trace)). A bounded number of events can
/// wait to be read; further ones are lost for this listener, and counted. Drop it to stop listening.
///
/// As an iterator it waits for the next event. It ends when the engine has been shut down and all events have been
/// read.
pub struct Trace {
    events: Receiver<Arc<TraceEvent>>,
    lost: Arc<AtomicU64>,
    id: u64,
    tracer: Tracer,
    /// Dropped with it: what brings the events from elsewhere.
    _source: Option<Box<dyn std::any::Any + Send + Sync>>,
}

impl Trace {
    /// Keeps what brings the events.
    #[cfg(feature = "ipc")]
    pub(crate) fn hold(&mut self, source: Box<dyn std::any::Any + Send + Sync>) {
        self._source = Some(source);
    }

    /// The number of events that this listener has lost because it did not keep up.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// If the engine has been shut down and all events have been read. A retry does not help.
    pub fn recv(&self) -> Result<Arc<TraceEvent>, RecvError> {
        self.events.recv()
    }

    /// Waits for the next event, but no longer than `timeout`.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and if the time is up: then a retry may help.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Arc<TraceEvent>, RecvTimeoutError> {
        self.events.recv_timeout(timeout)
    }

    /// Returns the next event if there is one.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and if there is none: then a retry may help.
    pub fn try_recv(&self) -> Result<Arc<TraceEvent>, TryRecvError> {
        self.events.try_recv()
    }

    /// The channel itself, for waiting on several channels with crossbeam-channel's `select!`.
    #[must_use]
    pub const fn receiver(&self) -> &Receiver<Arc<TraceEvent>> {
        &self.events
    }
}

impl Iterator for Trace {
    type Item = Arc<TraceEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        self.events.recv().ok()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.tracer.0.remove(self.id);
        LINES.remove(self.id);
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("waiting", &self.events.len()).field("lost", &self.lost()).finish()
    }
}

/// The cache events of a test's trace.
#[cfg(test)]
pub(crate) fn cache_story(tracer: &Tracer, trace: Trace) -> Vec<String> {
    tracer.end();
    trace
        .filter_map(|event| match &event.event {
            Event::CacheAdded(entry) => Some(format!("+{}", entry.objective)),
            Event::CacheRemoved(entry, why) => Some(format!("-{} {why:?}", entry.objective)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(reason: &'static str) -> impl FnOnce() -> Event {
        move || Event::Dropped { reason }
    }

    #[test]
    fn an_event_is_not_even_made_while_nobody_listens() {
        let tracer = Tracer::default();
        tracer.emit(|| unreachable!("nobody listens"));
        tracer.later().push(|| unreachable!("nobody listens"));
        let trace = tracer.subscribe(1);
        tracer.emit(dropped("a"));
        assert!(matches!(trace.try_recv().unwrap().event, Event::Dropped { reason: "a" }));
        drop(trace);
        tracer.emit(|| unreachable!("nobody listens any more"));
    }

    #[test]
    fn a_hook_costs_next_to_nothing_while_nobody_listens() {
        let tracer = Tracer::default();
        let started = std::time::Instant::now();
        for _ in 0..1_000_000 {
            std::hint::black_box(&tracer).emit(|| unreachable!("nobody listens"));
        }
        // A few nanoseconds each. Without optimization, and on a busy machine, still well below a microsecond.
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }

    #[test]
    fn a_listener_that_does_not_read_loses_and_another_does_not() {
        let tracer = Tracer::default();
        let (slow, quick) = (tracer.subscribe(2), tracer.subscribe(10));
        for reason in ["a", "b", "c", "d", "e"] {
            tracer.emit(dropped(reason));
        }
        assert_eq!((slow.lost(), quick.lost()), (3, 0));
        tracer.end();
        let reasons = |trace: Trace| -> Vec<&str> {
            let reason = |event: Arc<TraceEvent>| match event.event {
                Event::Dropped { reason } => Some(reason),
                _ => None,
            };
            trace.filter_map(reason).collect()
        };
        assert_eq!(reasons(slow), ["a", "b"]);
        assert_eq!(reasons(quick), ["a", "b", "c", "d", "e"]);
        assert!(tracer.subscribe(5).recv().is_err(), "nothing comes any more");
    }

    #[test]
    fn a_thread_that_listens_to_nothing_is_told_of_the_end() {
        let tracer = Tracer::default();
        let trace = tracer.subscribe(5);
        let ending = tracer.clone();
        let thread = std::thread::Builder::new().spawn(move || ending.end());
        // Other tests of the process print lines, too.
        assert_eq!(trace.filter(|event| !matches!(event.event, Event::Line(_))).count(), 0);
        thread.unwrap().join().unwrap();
    }

    #[test]
    fn who_begins_to_listen_at_the_end_sees_the_end() {
        for _ in 0..5000 {
            let tracer = Tracer::default();
            let (ending, start) = (tracer.clone(), Arc::new(std::sync::Barrier::new(2)));
            let gate = Arc::clone(&start);
            let thread = std::thread::Builder::new().spawn(move || {
                gate.wait();
                ending.end();
            });
            start.wait();
            let trace = tracer.subscribe(5);
            thread.unwrap().join().unwrap();
            // Lines of other tests may come first.
            let end = loop {
                if let Err(end) = trace.recv_timeout(Duration::from_secs(5)) {
                    break end;
                }
            };
            assert_eq!(end, RecvTimeoutError::Disconnected);
        }
    }

    #[test]
    fn events_for_later_are_told_in_their_order_when_the_lock_is_free() {
        let tracer = Tracer::default();
        let trace = tracer.subscribe(5);
        {
            let mut later = tracer.later();
            later.push(dropped("a"));
            later.push(dropped("b"));
            assert!(trace.try_recv().is_err());
        }
        for expected in ["a", "b"] {
            assert!(
                matches!(trace.try_recv().unwrap().event, Event::Dropped { reason } if reason == expected)
            );
        }
    }

    #[test]
    fn a_line_goes_to_the_listeners_of_every_engine_with_the_thread_that_printed_it() {
        let (one, other) = (Tracer::default(), Tracer::default());
        let traces = [one.subscribe(1000), other.subscribe(1000)];
        let thread = std::thread::Builder::new().name("Gray".to_owned());
        thread.spawn(|| emit_line(|| "a line of this test".to_owned())).unwrap().join().unwrap();
        for trace in &traces {
            // Other tests of the process print lines, too.
            let mine = |event: &Arc<TraceEvent>| matches!(&event.event, Event::Line(line) if line == "a line of this test");
            let event = std::iter::from_fn(|| trace.try_recv().ok()).find(mine).unwrap();
            assert_eq!(&*event.thread, "Gray");
        }
    }
}
