//! `_responder`: sends one response to an asker, once it is connected, so that an unreachable asker holds up nobody. Where
//! the connection is there at once, the thread that has decided sends it.

use std::net::SocketAddrV6;
use std::sync::Arc;
use std::time::Instant;

use super::run;
use super::shares::{Admitted, NotAdmitted};
use super::slot::Slot;
use super::tcp_listen;
use crate::core::Core;
use crate::net::connect::Attempt;
use crate::net::tcp::Connection;
use crate::proto::Arrival;
use crate::registry::{NegotiationRequest, Transport, TransportError};
use crate::types::Objective;
use crate::wire::{Message, encode};

/// A response up to this size goes into the buffer of any new connection.
const SMALL: usize = 2048;

/// Sends a response in a thread of its own, if one is free; otherwise the response is dropped and counted. Where the
/// connection is there at once, as on the same machine, no thread is needed.
pub(super) fn start(core: &Arc<Core>, to: Arrival, message: &Message) {
    let bytes = encode(message);
    start_with(core, to, bytes.len() <= SMALL, move |core, connection, deadline| {
        let sent = connection.send(&bytes, deadline);
        connection.close();
        sent.map(|()| core.counters.responses_sent.add())
    });
}

/// Connects to an asker that wants to negotiate in rapid mode, and hands the connection to whoever listens. If
/// nobody does, the asker gets the ordinary response (RFC 8990 §2.5.5.1).
pub(super) fn start_negotiation(
    core: &Arc<Core>,
    to: Arrival,
    session: u32,
    objective: Objective,
    otherwise: Message,
) {
    start_with(core, to, false, move |core, connection, deadline| {
        let request = NegotiationRequest { session, objective, transport: Arc::new(connection) };
        let Err(request) = tcp_listen::offer(core, request) else {
            core.counters.rapid_negotiations.add();
            return Ok(());
        };
        let sent = request.transport.send(&encode(&otherwise), deadline);
        request.transport.close();
        sent.map(|()| core.counters.responses_sent.add())
    });
}

/// Connects to where a datagram came from, out of the interface it came in on (RFC 8990 §2.8.5). Uses the connection in
/// this thread, if that may be and the connection is there at once; otherwise in a thread of its own.
fn start_with(
    core: &Arc<Core>,
    to: Arrival,
    at_once: bool,
    use_connection: impl FnOnce(&Arc<Core>, Connection, Instant) -> Result<(), TransportError> + Send + 'static,
) {
    let Some((slot, taken)) = Slot::take(&core.responders, core.config.responder_limit) else {
        core.counters.dropped_responder_full.add();
        return;
    };
    core.counters.responders_peak.raise_to(taken);
    let (each, strangers) = (core.config.responders_per_asker, core.config.responders_for_strangers);
    let admitted = match core.askers.enter((to.ifi, to.source), to.port, each, strangers) {
        Ok(admitted) => admitted,
        Err(NotAdmitted::Asker) => return core.counters.dropped_asker_limit.add(),
        Err(NotAdmitted::Strangers) => return core.counters.dropped_responder_full.add(),
    };
    let mut guard = AskerGuard { core: Arc::clone(core), admitted, reached: false };
    let asker = SocketAddrV6::new(to.source, to.port, 0, to.ifi).into();
    // For connecting and sending.
    let deadline = Instant::now() + core.config.response_timeout;
    let respond = move |core: &Arc<Core>, connection: Result<Connection, TransportError>| {
        match connection.and_then(|connection| use_connection(core, connection, deadline)) {
            Ok(()) => guard.reached = true,
            Err(error) => {
                core.counters.responses_failed.add();
                log::debug!("no response to {asker}: {error:?}");
            }
        }
        drop((slot, guard));
    };
    let attempt = match Attempt::begin(asker, core.framing()) {
        Ok(attempt) if at_once => match attempt.made() {
            Ok(connection) => return respond(core, Ok(connection)),
            Err(attempt) => Ok(attempt),
        },
        attempt => attempt,
    };
    let spawned = run(core, "_responder", move |core: &Arc<Core>| {
        let connection = attempt.and_then(|attempt| attempt.wait(deadline));
        respond(core, connection);
    });
    if spawned.is_err() {
        core.counters.dropped_responder_full.add();
    }
}

/// Leaves when dropped, whatever became of the response.
#[derive(Debug)]
struct AskerGuard {
    core: Arc<Core>,
    admitted: Admitted,
    reached: bool,
}

impl Drop for AskerGuard {
    fn drop(&mut self) {
        self.core.askers.leave(self.admitted, self.reached);
    }
}
