//! `_responder`: sends one response to an asker, once it is connected, so that an unreachable asker holds up nobody. Where
//! the connection is there at once, the thread that has decided sends it.

use std::net::SocketAddrV6;
use std::sync::Arc;
use std::time::Instant;

use super::run;
use crate::core::Core;
use crate::net::connect::Attempt;
use crate::net::tcp::Connection;
use crate::node::{Arrival, Response, Ticket};
use crate::registry::{Transport, TransportError};
use crate::types::Objective;
use crate::wire::encode;

/// A response up to this size goes into the buffer of any new connection.
const SMALL: usize = 2048;

/// Sends a response, in this thread if the connection is there at once, as on the same machine; otherwise in one of its own.
pub(super) fn start(core: &Arc<Core>, response: Response) {
    let Response { to, message, ticket } = response;
    let bytes = encode(&message);
    start_with(core, to, bytes.len() <= SMALL, ticket, move |_, connection, deadline, ticket| {
        let ticket = settle(ticket, to, connection.send(&bytes, deadline));
        Some((connection, ticket))
    });
}

/// Connects to an asker that wants to negotiate in rapid mode, and hands the connection to whoever listens. If
/// nobody does, the asker gets the ordinary response (RFC 8990 §2.5.5.1).
pub(super) fn start_negotiation(core: &Arc<Core>, session: u32, objective: Objective, otherwise: Response) {
    let Response { to, message, ticket } = otherwise;
    start_with(core, to, false, ticket, move |core, connection, deadline, mut ticket| {
        let transport: Arc<dyn Transport> = Arc::<Connection>::clone(&connection);
        let offered = ticket.offer(session, objective, transport, core.now(), |place, request| {
            place.listener().send_timeout(request, place.patience()).map_err(|error| error.into_inner())
        });
        (!offered).then(|| {
            let ticket = settle(ticket, to, connection.send(&encode(&message), deadline));
            (connection, ticket)
        })
    });
}

/// Counts a response. What it holds is held until the connection has ended.
fn settle(ticket: Ticket, to: Arrival, sent: Result<(), TransportError>) -> Ticket {
    match sent {
        Ok(()) => ticket.sent(),
        Err(error) => {
            log::debug!("no response to {}%{}: {error:?}", to.source, to.ifi);
            ticket.failed()
        }
    }
}

/// Connects to where a datagram came from, out of the interface it came in on (RFC 8990 §2.8.5). Uses the connection in
/// this thread, if that may be and the connection is there at once; otherwise in a thread of its own. Where none can be
/// started the ticket is dropped, and counted. The connection that `use_connection` gives back is the asker's to end, which is
/// waited for.
fn start_with(
    core: &Arc<Core>,
    to: Arrival,
    at_once: bool,
    ticket: Ticket,
    use_connection: impl FnOnce(&Arc<Core>, Arc<Connection>, Instant, Ticket) -> Option<(Arc<Connection>, Ticket)>
    + Send
    + 'static,
) {
    // For connecting, sending, and the end.
    let deadline = Instant::now() + core.node.config.response_timeout;
    let asker = SocketAddrV6::new(to.source, to.port, 0, to.ifi).into();
    let attempt = match Attempt::begin(asker, core.framing()) {
        Ok(attempt) if at_once => match attempt.made() {
            Ok(connection) => {
                let left = use_connection(core, Arc::new(connection), deadline, ticket);
                if let Some((connection, ticket)) = left {
                    let _ =
                        run(core, "_responder", move |_: &Arc<Core>| leave(&connection, deadline, ticket));
                }
                return;
            }
            Err(attempt) => attempt,
        },
        Ok(attempt) => attempt,
        Err(error) => {
            settle(ticket, to, Err(error));
            return;
        }
    };
    let _ = run(core, "_responder", move |core: &Arc<Core>| match attempt.wait(deadline) {
        Ok(connection) => {
            let left = use_connection(core, Arc::new(connection), deadline, ticket);
            left.into_iter().for_each(|(connection, ticket)| leave(&connection, deadline, ticket));
        }
        Err(error) => drop(settle(ticket, to, Err(error))),
    });
}

/// Waits until the asker has closed. Whoever does not close keeps its share of the responders as long.
fn leave(connection: &Connection, deadline: Instant, ticket: Ticket) {
    connection.leave(deadline);
    drop(ticket);
}
