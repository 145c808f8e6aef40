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
    connections: BoundedMap<u64, Kept, Neighbour>,
    looked: Instant,
    ended: bool,
}

/// A connection and the time at which it is reset.
type Kept = (Arc<dyn Transport>, Instant);

impl Waiting {
    /// Removes and returns the connections that have ended or have waited too long.
    fn take_done(&mut self, now: Instant) -> Vec<(u64, Kept)> {
        self.looked = now;
        self.connections.extract(|_, (connection, until)| now >= *until || connection.is_over())
    }
}

impl fmt::Debug for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closing")
            .field("waiting", &self.inner.lock().connections.len())
            .finish_non_exhaustive()
    }
}

impl Closing {
    /// Creates the table with the time that a peer has to close.
    pub(crate) fn new(patience: Duration, counters: Arc<Counters>) -> Self {
        let capacity = Capacity::entries(LIMIT);
        let connections = BoundedMap::with_shares(capacity, capacity);
        let waiting = Waiting { connections, looked: Instant::now(), ended: false };
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
        let number = inner.connections.next_number();
        let (holder, until) = (connection.neighbour(), now + self.patience);
        let in_the_way = inner.connections.insert_for(holder, (), number, (connection, until), 0);
        drop(inner);
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

    /// Releases what `take_done` has returned for this time. Called without the lock, because this traces events.
    fn let_go(&self, done: Vec<(u64, Kept)>, now: Instant) {
        for (_, (connection, until)) in done {
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
            inner.connections.extract(|_, _| true)
        };
        waiting.iter().for_each(|(_, (connection, _))| connection.close());
    }
}
