//! Connections on which this node has sent its last message and which the peer should close first: the side that closes
//! first keeps the port in TIME_WAIT for a minute, and peers that ask again and again would use up all ports.
//!
//! No thread waits for a peer: the connections are checked when another one is added, by `_watcher`, and when the
//! counters are read. A connection that is not closed in time, or must make room, is reset.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::bounds::{BoundedMap, Capacity, Neighbour};
use crate::registry::Transport;
use crate::stats::Counters;

/// How many connections may wait. The peer that has most makes room.
const LIMIT: usize = 256;

/// The shortest interval between checks caused by new connections, unless the table is full.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The connections that wait for their peers to close.
pub(crate) struct Closing {
    inner: Mutex<Waiting>,
    /// How long a peer has to close its connection.
    patience: Duration,
    counters: Arc<Counters>,
}

struct Waiting {
    /// The one that was added last, which most peers have closed by the time the next one comes.
    newest: Option<Kept>,
    connections: BoundedMap<u64, Kept, Neighbour>,
    looked: Instant,
    ended: bool,
}

/// A connection and the time at which it is reset.
type Kept = (Arc<dyn Transport>, Instant);

impl Waiting {
    /// Removes and returns the connections that have ended or have waited too long.
    fn take_done(&mut self, now: Instant) -> Vec<Kept> {
        self.looked = now;
        let is_done = |(connection, until): &Kept| now >= *until || connection.is_over();
        let done = self.connections.extract(|_, kept| is_done(kept));
        done.into_iter().map(|(_, kept)| kept).chain(self.newest.take_if(|kept| is_done(kept))).collect()
    }

    /// Adds a connection. Returns the one before it, if that is over, and those that make room.
    fn add(&mut self, kept: Kept) -> (Option<Kept>, Vec<(u64, Kept)>) {
        let Some(before) = self.newest.replace(kept) else { return (None, Vec::new()) };
        if before.0.is_over() {
            return (Some(before), Vec::new());
        }
        let number = self.connections.next_number();
        (None, self.connections.insert_for(before.0.neighbour(), (), number, before, 0))
    }
}

impl fmt::Debug for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closing").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

impl Closing {
    fn waiting(&self) -> usize {
        let inner = self.inner.lock();
        inner.connections.len().saturating_add(usize::from(inner.newest.is_some()))
    }

    /// Creates the table with the time that a peer has to close.
    pub(crate) fn new(patience: Duration, counters: Arc<Counters>) -> Self {
        let capacity = Capacity::entries(LIMIT);
        let connections = BoundedMap::with_shares(capacity, capacity);
        let waiting = Waiting { newest: None, connections, looked: Instant::now(), ended: false };
        Self { inner: Mutex::new(waiting), patience, counters }
    }

    /// Leaves it to the peer to close a connection.
    pub(crate) fn add(&self, connection: Arc<dyn Transport>) {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        if inner.ended {
            drop(inner);
            return connection.close();
        }
        let is_full = inner.connections.len() >= LIMIT;
        let is_time = is_full || now.saturating_duration_since(inner.looked) >= LOOK_AGAIN;
        let done = if is_time { inner.take_done(now) } else { Vec::new() };
        let (over, in_the_way) = inner.add((connection, now + self.patience));
        // What is released is released without the lock, because that traces events.
        drop(inner);
        drop(over);
        self.let_go(done, now);
        for (_, (connection, _)) in in_the_way {
            self.reset_unless_over(&*connection);
        }
    }

    /// Releases the connections that their peers have closed and those that have waited too long.
    pub(crate) fn look(&self) {
        let now = Instant::now();
        let done = self.inner.lock().take_done(now);
        self.let_go(done, now);
    }

    /// Releases what `take_done` has returned for this time. Called without the lock.
    fn let_go(&self, done: Vec<Kept>, now: Instant) {
        for (connection, until) in done {
            if now >= until {
                self.reset_unless_over(&*connection);
            }
        }
    }

    fn reset_unless_over(&self, connection: &dyn Transport) {
        if !connection.is_over() {
            self.counters.connections_reset.add();
            connection.reset();
        }
    }

    /// Closes all connections, and every one added later.
    pub(crate) fn close_all(&self) {
        let waiting = {
            let mut inner = self.inner.lock();
            inner.ended = true;
            let waiting = inner.connections.extract(|_, _| true);
            waiting.into_iter().map(|(_, kept)| kept).chain(inner.newest.take()).collect::<Vec<_>>()
        };
        waiting.iter().for_each(|(connection, _)| connection.close());
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::registry::TransportError;

    /// A connection whose peer closes when a test says so.
    #[derive(Debug, Default)]
    struct Mock {
        is_over: AtomicBool,
        closed: AtomicUsize,
        reset: AtomicUsize,
    }

    impl Transport for Mock {
        fn send(&self, _: &[u8], _: Instant) -> Result<(), TransportError> {
            Ok(())
        }
        fn receive(&self, _: Instant) -> Result<Vec<u8>, TransportError> {
            Err(TransportError::Timeout)
        }
        fn has_unread(&self) -> bool {
            false
        }
        fn is_over(&self) -> bool {
            self.is_over.load(Ordering::Relaxed)
        }
        fn pause_before_next(&self, _: Duration) {}
        fn close(&self) {
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
        fn reset(&self) {
            self.reset.fetch_add(1, Ordering::Relaxed);
        }
        fn peer(&self) -> Ipv6Addr {
            Ipv6Addr::LOCALHOST
        }
        fn neighbour(&self) -> Neighbour {
            (2, Ipv6Addr::LOCALHOST)
        }
        fn is_from_here(&self) -> bool {
            false
        }
    }

    fn add(closing: &Closing) -> Arc<Mock> {
        let connection = Arc::new(Mock::default());
        closing.add(Arc::clone(&connection) as Arc<dyn Transport>);
        connection
    }

    fn is_kept(connection: &Arc<Mock>) -> bool {
        Arc::strong_count(connection) > 1
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_connection_is_released_with_the_next_if_its_peer_has_closed_it_and_else_with_a_look() {
        let closing = Closing::new(LONG, Arc::default());
        let first = add(&closing);
        first.is_over.store(true, Ordering::Relaxed);
        assert!(is_kept(&first));
        let second = add(&closing);
        assert!(!is_kept(&first));
        let third = add(&closing);
        assert!(is_kept(&second) && is_kept(&third) && closing.waiting() == 2);
        for connection in [&second, &third] {
            connection.is_over.store(true, Ordering::Relaxed);
            closing.look();
            assert!(!is_kept(connection));
        }
        assert_eq!(closing.waiting(), 0);
    }

    #[test]
    fn whoever_does_not_close_in_time_or_has_most_is_reset_and_the_end_closes_all() {
        let counters = Arc::<Counters>::default();
        let impatient = Closing::new(Duration::ZERO, Arc::clone(&counters));
        let late = add(&impatient);
        impatient.look();
        assert_eq!((late.reset.load(Ordering::Relaxed), is_kept(&late)), (1, false));
        let closing = Closing::new(LONG, Arc::clone(&counters));
        let all: Vec<_> = (0..LIMIT + 5).map(|_| add(&closing)).collect();
        assert_eq!((closing.waiting(), counters.snapshot().connections_reset), (LIMIT + 1, 5));
        closing.close_all();
        let closed: usize = all.iter().map(|one| one.closed.load(Ordering::Relaxed)).sum();
        assert_eq!((closed, closing.waiting()), (LIMIT + 1, 0));
        assert_eq!(add(&closing).closed.load(Ordering::Relaxed), 1);
    }
}
