//! Reads the first message of an accepted connection within a deadline, so that a silent client delays nobody (graspy
//! reads it in the accepting thread). Used by `_tcp_listen` and `_drlisten`.
//!
//! Honest peers send at once. So the accepting thread waits briefly for the message, while no other connection is
//! pending, and handles it itself. A `_reader` does what may take time: reading the rest, or waiting for a listener.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{contain, run};
use crate::core::Core;
use crate::net::listener::Listener;
use crate::net::tcp::{Connection, Framing};
use crate::node::FirstMessage;
use crate::outcome::{Case, ConnectionOutcome, MessageOutcome};
use crate::registry::Transport as _;
use crate::wire::Message;

/// How long accepting pauses after the system has refused a connection, for instance because no descriptors are left.
const REST: Duration = Duration::from_millis(50);

/// The longest time the accepting thread waits for a message while no other connection is pending.
const MOMENT: Duration = Duration::from_millis(1);

/// The blocking remainder of handling a message.
pub(super) type Rest = Box<dyn FnOnce(&Arc<Core>) + Send>;

/// The handler of a port. It gets every first message that can be decoded, must not block, and returns the part that
/// may block.
pub(super) trait Handle:
    Fn(&Arc<Core>, Arc<Connection>, Message, Case<MessageOutcome>) -> Option<Rest> + Clone + Send + 'static
{
}

impl<F> Handle for F where
    F: Fn(&Arc<Core>, Arc<Connection>, Message, Case<MessageOutcome>) -> Option<Rest>
        + Clone
        + Send
        + 'static
{
}

/// Accepts connections of this framing until the listener is closed.
pub(super) fn accept_loop(
    core: &Arc<Core>,
    listener: &Listener,
    framing: fn(&Core) -> Framing,
    handle: impl Handle,
) {
    while let Some(accepted) = listener.accept() {
        match accepted {
            Ok((stream, peer)) => {
                let case = core.node.connection();
                let Some(connection) = core.accepted(stream, peer, framing) else {
                    case.settle(ConnectionOutcome::Outside);
                    continue;
                };
                let connection = Arc::new(connection);
                // A panic must not end accepting.
                contain(core, "taking up a connection", || {
                    take_up(core, listener, connection, case, handle.clone());
                });
            }
            Err(error) => {
                core.node.counters.accept_failed.add();
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
    case: Case<ConnectionOutcome>,
    handle: impl Handle,
) {
    if connection.is_to_be_secured() {
        return if core.node.may_authenticate(connection.neighbour(), core.now()) {
            start_reader(core, connection, case, handle);
        } else {
            case.settle(ConnectionOutcome::HandshakeRate);
        };
    }
    let bytes = match connection.receive_at_once(listener, Instant::now() + MOMENT) {
        Some(Ok(bytes)) => bytes,
        Some(Err(_)) => return case.settle(ConnectionOutcome::BadRequest),
        None => return start_reader(core, connection, case, handle),
    };
    match core.node.first_message(&bytes) {
        FirstMessage::Message(message, of_message) => {
            case.settle(ConnectionOutcome::FirstMessage);
            // If no thread can be started, the rest is dropped and its request counted as abandoned.
            if let Some(rest) = handle(core, connection, *message, of_message) {
                let _ = run(core, "_reader", rest);
            }
        }
        FirstMessage::Skipped => start_reader(core, connection, case, handle),
        FirstMessage::Wrong => case.settle(ConnectionOutcome::BadRequest),
    }
}

fn start_reader(
    core: &Arc<Core>,
    connection: Arc<Connection>,
    case: Case<ConnectionOutcome>,
    handle: impl Handle,
) {
    let (number, waiting) = core.readers.add(&connection, case);
    core.node.counters.readers_peak.raise_to(waiting);
    let entry = TableEntry { core: Arc::clone(core), number };
    let _ = run(core, "_reader", move |core: &Arc<Core>| {
        // Shutdown may have come between `add` and here, and missed this connection.
        let message = if core.is_stopping() { None } else { read_first(core, &connection) };
        match (message, entry.leave()) {
            (Some((message, of_message)), Some(case)) => {
                case.settle(ConnectionOutcome::FirstMessage);
                handle(core, connection, message, of_message).into_iter().for_each(|rest| rest(core));
            }
            (None, Some(case)) => case.settle(ConnectionOutcome::BadRequest),
            // Closed to make room, which has already been counted.
            (Some((_, of_message)), None) => of_message.settle(MessageOutcome::Evicted),
            (None, None) => {}
        }
    });
}

/// A connection's entry in the table, removed on drop in every case. If no thread could be started, dropping the case
/// counts that.
struct TableEntry {
    core: Arc<Core>,
    number: u64,
}

impl TableEntry {
    /// Removes the entry. `None` if the connection was closed earlier to make room.
    fn leave(&self) -> Option<Case<ConnectionOutcome>> {
        self.core.readers.remove(self.number)
    }
}

impl Drop for TableEntry {
    fn drop(&mut self) {
        drop(self.leave());
    }
}

fn read_first(core: &Core, connection: &Connection) -> Option<(Message, Case<MessageOutcome>)> {
    let deadline = Instant::now() + core.node.config.request_deadline;
    if connection.is_to_be_secured() {
        let secured = connection.secure(deadline).is_ok();
        core.node.authenticated(connection.neighbour(), secured);
        if !secured {
            return None;
        }
    }
    loop {
        let bytes = connection.receive(deadline).ok()?;
        // It may have been revoked since its handshake: the connections that are looked through then do not include this one.
        if !connection.is_member(true) {
            return None;
        }
        match core.node.first_message(&bytes) {
            FirstMessage::Message(message, case) => return Some((*message, case)),
            FirstMessage::Skipped => {}
            FirstMessage::Wrong => return None,
        }
    }
}
