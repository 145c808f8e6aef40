//! Reads the first message of an accepted connection within a deadline, so that a silent client holds up
//! nobody (graspy reads it in the accepting thread). Used by `_tcp_listen` and `_drlisten`.
//!
//! Honest peers send at once: a message that comes with its connection is taken up by the accepting thread itself,
//! which waits for that a moment while nobody else wants to be accepted. What may take time, reading the rest or
//! waiting for a listener, is done by a `_reader`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{contain, run};
use crate::core::Core;
use crate::net::listener::Listener;
use crate::net::tcp::Connection;
use crate::registry::{Neighbour, Transport};
use crate::wire::{Body, Message, decode};

/// How long accepting rests after the system has refused, for want of descriptors for instance.
const REST: Duration = Duration::from_millis(50);

/// How long the accepting thread waits for a message at most, if no other connection comes.
const MOMENT: Duration = Duration::from_millis(1);

/// Connections that wait for their first message. When it is full, the peer with the most makes room with the one that
/// has waited longest: honest peers send at once, and a slow one is not displaced by the many of another.
#[derive(Debug)]
pub(crate) struct ReaderTable {
    inner: Mutex<Table>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    waiting: BTreeMap<u64, Arc<Connection>>,
}

impl Table {
    /// Takes out the oldest connection of the peer that has the most, the one that comes counted in.
    fn evict(&mut self, newcomer: Neighbour) -> Option<Arc<Connection>> {
        let mut counts = HashMap::from([(newcomer, 1_usize)]);
        for connection in self.waiting.values() {
            *counts.entry(connection.neighbour()).or_insert(0) += 1;
        }
        let most = counts.values().max().copied().unwrap_or(0);
        let has_most = |peer: &Neighbour| counts.get(peer) == Some(&most);
        let oldest = self.waiting.iter().find(|(_, connection)| has_most(&connection.neighbour()));
        let number = oldest.or_else(|| self.waiting.first_key_value()).map(|(number, _)| *number);
        number.and_then(|number| self.waiting.remove(&number))
    }
}

impl ReaderTable {
    pub(crate) fn new(limit: usize) -> Self {
        Self { inner: Mutex::default(), limit: limit.max(1) }
    }

    /// Adds a connection. Returns its number, the connection that has to go, and how many wait now.
    fn add(&self, connection: &Arc<Connection>) -> (u64, Option<Arc<Connection>>, usize) {
        let mut table = self.inner.lock();
        let full = table.waiting.len() >= self.limit;
        let victim = if full { table.evict(connection.neighbour()) } else { None };
        let number = table.next;
        table.next += 1;
        table.waiting.insert(number, Arc::clone(connection));
        (number, victim, table.waiting.len())
    }

    /// `false` if the connection had to go before.
    fn remove(&self, number: u64) -> bool {
        self.inner.lock().waiting.remove(&number).is_some()
    }

    pub(crate) fn close_all(&self) {
        let waiting = std::mem::take(&mut self.inner.lock().waiting);
        for connection in waiting.values() {
            connection.close();
        }
    }
}

/// What is left to do about a message and may take time.
pub(super) type Rest = Box<dyn FnOnce(&Arc<Core>) + Send>;

/// Accepts connections until the listener is closed. `handle` gets every first message that decodes; it must not
/// block, and returns what might.
pub(super) fn accept_loop(
    core: &Arc<Core>,
    listener: &Listener,
    handle: impl Fn(&Arc<Core>, Arc<Connection>, Message) -> Option<Rest> + Clone + Send + 'static,
) {
    while let Some(accepted) = listener.accept() {
        match accepted {
            Ok((stream, peer)) => {
                core.counters.connections_accepted.add();
                let connection = Arc::new(Connection::new(stream, peer, core.framing()));
                if !core.may_connect(&connection) {
                    core.counters.dropped_outside.add();
                    continue;
                }
                // A panic must not end accepting.
                contain(core, "taking up a connection", || {
                    take_up(core, listener, connection, handle.clone());
                });
            }
            Err(error) => {
                core.counters.accept_failed.add();
                contain(core, "telling of an error", || log::debug!("accepting a connection: {error}"));
                if !core.pause(REST) {
                    return;
                }
            }
        }
    }
}

fn take_up(
    core: &Arc<Core>,
    listener: &Listener,
    connection: Arc<Connection>,
    handle: impl Fn(&Arc<Core>, Arc<Connection>, Message) -> Option<Rest> + Send + 'static,
) {
    let bytes = match connection.receive_at_once(listener, Instant::now() + MOMENT) {
        Some(Ok(bytes)) => bytes,
        Some(Err(_)) => return core.counters.dropped_bad_request.add(),
        None => return start_reader(core, connection, handle),
    };
    match first_message(core, &connection, &bytes) {
        First::Message(message) => {
            core.counters.first_messages.add();
            // The connection is closed when it is dropped.
            if let Some(rest) = handle(core, connection, message)
                && run(core, "_reader", rest).is_err()
            {
                core.counters.requests_abandoned.add();
            }
        }
        First::Skipped => start_reader(core, connection, handle),
        First::Wrong => core.counters.dropped_bad_request.add(),
    }
}

fn start_reader(
    core: &Arc<Core>,
    connection: Arc<Connection>,
    handle: impl Fn(&Arc<Core>, Arc<Connection>, Message) -> Option<Rest> + Send + 'static,
) {
    let (number, victim, waiting) = core.readers.add(&connection);
    core.counters.readers_peak.raise_to(waiting);
    if let Some(victim) = victim {
        core.counters.dropped_reader_full.add();
        victim.close();
    }
    let place = Arc::new(Place { core: Arc::clone(core), number });
    let waiting = Arc::clone(&place);
    let started = run(core, "_reader", move |core: &Arc<Core>| {
        // Between `add` and here the engine may have been shut down, and the connection overlooked.
        let message = if core.is_stopping() { None } else { read_first(core, &connection) };
        let count = &core.counters;
        match (message, waiting.leave() || core.is_stopping()) {
            (Some(message), true) => {
                count.first_messages.add();
                handle(core, connection, message).into_iter().for_each(|rest| rest(core));
            }
            (None, true) => count.dropped_bad_request.add(),
            // Closed to make room, which has been counted.
            (Some(_), false) => count.dropped_evicted.add(),
            (None, false) => {}
        }
    });
    // One that has had to go meanwhile is counted already.
    if started.is_err() && place.leave() {
        core.counters.dropped_reader_failed.add();
    }
}

/// A connection's place in the table, which it leaves when this is dropped, whatever became of it.
struct Place {
    core: Arc<Core>,
    number: u64,
}

impl Place {
    /// `false` if the connection had to go before.
    fn leave(&self) -> bool {
        self.core.readers.remove(self.number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

fn read_first(core: &Core, connection: &Connection) -> Option<Message> {
    let deadline = Instant::now() + core.config.request_deadline;
    loop {
        let bytes = connection.receive(deadline).ok()?;
        match first_message(core, connection, &bytes) {
            First::Message(message) => return Some(message),
            First::Skipped => {}
            First::Wrong => return None,
        }
    }
}

/// What has come on a connection that was accepted.
enum First {
    Message(Message),
    /// Nothing to us: what follows counts.
    Skipped,
    Wrong,
}

fn first_message(core: &Core, connection: &Connection, bytes: &[u8]) -> First {
    match decode(bytes, &core.unicast_limits()) {
        // RFC 8990 §2.8.13, §2.8.2: M_NOOP and unknown messages are discarded, no more.
        Ok(Message { body: Body::Noop, .. }) => {
            core.counters.noop_received.add();
            First::Skipped
        }
        Ok(Message { body: Body::Unknown { .. }, .. }) => {
            core.counters.dropped_unknown_type.add();
            First::Skipped
        }
        Ok(message) => First::Message(message),
        Err(error) => {
            core.counters.dropped_undecodable.add();
            log::debug!("a first message from {} is dropped: {error}", connection.peer());
            First::Wrong
        }
    }
}
