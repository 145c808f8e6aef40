//! `_responder`: sends one response once the connection to its asker is established, so that an unreachable asker
//! delays nobody. If the connection is established at once, the deciding thread sends the response itself.

use std::net::SocketAddrV6;
use std::sync::Arc;
use std::time::Instant;

use super::{neighbours, run};
use crate::core::Core;
use crate::net::connect::Attempt;
use crate::net::tcp::Connection;
use crate::node::{Arrival, Response, Ticket};
use crate::registry::{Transport, TransportError};
use crate::types::Objective;
use crate::wire::encode;

/// A message of at most this size fits into the send buffer of any new connection.
pub(super) const SMALL: usize = 2048;

/// Sends a response: in this thread if the connection is established at once, as on the same machine, otherwise in a
/// `_responder`.
pub(super) fn start(core: &Arc<Core>, response: Response) {
    if core.node.has_neighbours() && response.to.multicast {
        return neighbours::respond(core, response);
    }
    let Response { to, message, ticket } = response;
    let bytes = encode(&message);
    start_with(core, to, bytes.len() <= SMALL, ticket, move |core, connection, deadline, ticket| {
        send(core, Arc::new(connection), &bytes, to, deadline, ticket);
    });
}

/// Sends the response to a discovery over TCP on the same connection, which the asker is to close.
pub(super) fn answer(core: &Core, response: Response, connection: Arc<dyn Transport>) {
    say(core, response, connection.as_ref());
    core.closing.add(connection);
}

/// The same, where others may answer on the connection too. Returns whether it is sent.
pub(super) fn say(core: &Core, response: Response, connection: &dyn Transport) -> bool {
    let Response { to, message, ticket } = response;
    let deadline = Instant::now() + core.node.config.response_timeout;
    let sent = connection.send(&encode(&message), deadline);
    let is_sent = sent.is_ok();
    settle(ticket, to, sent);
    is_sent
}

/// Connects to an asker that wants to negotiate in rapid mode, and hands the connection to a listener. Without a
/// listener, the asker gets the ordinary response (RFC 8990 §2.5.5.1).
pub(super) fn start_negotiation(core: &Arc<Core>, session: u32, objective: Objective, otherwise: Response) {
    let Response { to, message, ticket } = otherwise;
    start_with(core, to, false, ticket, move |core, connection, deadline, mut ticket| {
        let transport: Arc<dyn Transport> = Arc::new(connection);
        let offered =
            ticket.offer(session, objective, Arc::clone(&transport), core.now(), |place, request| {
                place.listener().send_timeout(request, place.patience()).map_err(|error| error.into_inner())
            });
        if offered {
            return;
        }
        send(core, transport, &encode(&message), to, deadline, ticket);
    });
}

/// Sends a response and leaves closing to the asker: the side that closes first keeps the port in TIME_WAIT for a
/// minute.
fn send(
    core: &Core,
    transport: Arc<dyn Transport>,
    bytes: &[u8],
    to: Arrival,
    deadline: Instant,
    ticket: Ticket,
) {
    settle(ticket, to, transport.send(bytes, deadline));
    core.closing.add(transport);
}

fn settle(ticket: Ticket, to: Arrival, sent: Result<(), TransportError>) {
    match sent {
        Ok(()) => ticket.sent(),
        Err(error) => {
            log::debug!("no response to {}%{}: {error:?}", to.source, to.ifi);
            ticket.failed();
        }
    }
}

/// Connects to the source of a datagram, out of the interface it came in by (RFC 8990 §2.8.5). Uses the connection in
/// this thread if `at_once` allows it and the connection is established at once; otherwise in a `_responder`. If no
/// thread can be started, the ticket is dropped and counted.
fn start_with(
    core: &Arc<Core>,
    to: Arrival,
    at_once: bool,
    ticket: Ticket,
    use_connection: impl FnOnce(&Arc<Core>, Connection, Instant, Ticket) + Send + 'static,
) {
    // For connecting and sending together.
    let deadline = Instant::now() + core.node.config.response_timeout;
    let asker = SocketAddrV6::new(to.source, to.port, 0, to.ifi).into();
    let attempt = match Attempt::begin(asker, core.framing()) {
        Ok(attempt) if at_once => match attempt.made() {
            Ok(connection) => return use_connection(core, connection, deadline, ticket),
            Err(attempt) => attempt,
        },
        Ok(attempt) => attempt,
        Err(error) => return settle(ticket, to, Err(error)),
    };
    let _ = run(core, "_responder", move |core: &Arc<Core>| match attempt.wait(deadline) {
        Ok(connection) => use_connection(core, connection, deadline, ticket),
        Err(error) => settle(ticket, to, Err(error)),
    });
}
