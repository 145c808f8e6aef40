//! `_tcp_listen`: accepts requests on the port of one objective (RFC 8990 §2.8.6).

use std::io;
use std::sync::Arc;

use crossbeam_channel::TrySendError;

use super::reader::{Rest, accept_loop};
use super::{responder, spawn, synch_listen};
use crate::core::Core;
use crate::net::listener::Listener;
use crate::net::tcp::Connection;
use crate::node::Requested;
use crate::outcome::{Case, MessageOutcome, RequestOutcome};
use crate::registry::SynchRequest;
use crate::wire::Message;

/// Starts the thread of an objective. It ends when the listener is closed.
pub(crate) fn start(core: &Arc<Core>, listener: Arc<Listener>) -> io::Result<()> {
    spawn(core, "_tcp_listen", move |core| accept_loop(core, &listener, Core::framing, handle))
}

/// Hands a request on. If no listener is ready for it at this moment, the returned rest waits for one.
fn handle(
    core: &Arc<Core>,
    connection: Arc<Connection>,
    message: Message,
    case: Case<MessageOutcome>,
) -> Option<Rest> {
    let (place, request) = match core.node.request(message, case, connection, core.now())? {
        Requested::Negotiate(place, request) => (place, request),
        Requested::Respond(response, connection) => {
            return Some(Box::new(move |core| responder::answer(core, response, connection)));
        }
        Requested::Refuse(refusal) => {
            core.refuse(refusal);
            return None;
        }
        Requested::Synchronize(name, tx, request) => {
            let request = synch_listen::answer_at_once(core, &name, request)?;
            match tx.try_send(request) {
                Ok(()) => core.node.counters.request_queue_peak.raise_to(tx.len()),
                Err(TrySendError::Full(request)) => refuse(request, RequestOutcome::QueueFull),
                Err(TrySendError::Disconnected(request)) => refuse(request, RequestOutcome::NotListening),
            }
            return None;
        }
    };
    let request = place.listener().try_send(request).err()?.into_inner();
    Some(Box::new(move |_| {
        if let Err(unsent) = place.listener().send_timeout(request, place.patience()) {
            place.refuse(unsent.into_inner());
        }
    }))
}

fn refuse(request: SynchRequest, why: RequestOutcome) {
    request.case.settle(why);
    request.transport.close();
}
