//! `_tcp_listen`: accepts requests on the port of one objective (RFC 8990 §2.8.6).

use std::io;
use std::sync::Arc;

use crossbeam_channel::TrySendError;

use super::reader::{Rest, accept_loop};
use super::spawn;
use crate::clock::millis;
use crate::core::Core;
use crate::net::listener::Listener;
use crate::net::tcp::Connection;
use crate::proto::{Request, classify_request};
use crate::registry::{Dispatch, NegotiationRequest, QueueLimits, SynchRequest, Transport};
use crate::wire::{Body, Message};

/// Starts the thread of an objective. It ends when the listener is closed.
pub(crate) fn start(core: &Arc<Core>, listener: Arc<Listener>) -> io::Result<()> {
    spawn(core, "_tcp_listen", move |core| accept_loop(core, &listener, handle))
}

fn handle(core: &Arc<Core>, connection: Arc<Connection>, message: Message) -> Option<Rest> {
    let count = &core.counters;
    if !core.is_secure() {
        count.dropped_insecure.add();
        connection.close();
        return None;
    }
    match message.body {
        Body::RequestNegotiate(_) => count.negotiation_requests.add(),
        Body::RequestSynchronize(_) => count.synchronization_requests.add(),
        _ => {}
    }
    match classify_request(message, |name| core.registries.objectives.kind(name)) {
        Request::Negotiate { session, objective } => {
            return negotiate(core, NegotiationRequest { session, objective, transport: connection });
        }
        // RFC 8990 §2.8.6: the request is dropped. One to negotiate is known to `listen_negotiate` as a clash.
        Request::Synchronize { session, .. }
            if core.registries.sessions.is_open_with(session, connection.as_ref()) =>
        {
            count.session_clashes.add();
            connection.close();
        }
        Request::Synchronize { session, name } => {
            synchronize(core, connection, session, &name);
        }
        Request::WrongKind => {
            count.refused_wrong_kind.add();
            connection.close();
        }
        Request::Unregistered => {
            count.refused_not_listening.add();
            connection.close();
        }
        Request::Other => {
            count.dropped_misplaced.add();
            connection.close();
        }
    }
    None
}

/// Hands a request on. Where no listener waits for it this very moment, the rest is to wait for one.
fn negotiate(core: &Core, request: NegotiationRequest) -> Option<Rest> {
    match offer(core, request, Patience::None) {
        Ok(()) => None,
        Err((Refusal::NotYet, request)) => Some(Box::new(move |core| {
            if let Err((refusal, request)) = offer(core, request, Patience::Grace) {
                refuse(core, refusal, &request);
            }
        })),
        Err((refusal, request)) => {
            refuse(core, refusal, &request);
            None
        }
    }
}

/// Closes the connection of a request that nobody takes (RFC 8990 §2.8.6).
fn refuse(core: &Core, refusal: Refusal, request: &NegotiationRequest) {
    match refusal {
        Refusal::NotListening | Refusal::NotYet => core.counters.refused_not_listening.add(),
        Refusal::QueueFull => core.counters.refused_queue_full.add(),
    }
    request.transport.close();
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NotListening,
    /// Somebody listens, but cannot take it without waiting.
    NotYet,
    QueueFull,
}

/// Whether a request may wait for a listener who has just been busy with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    None,
    /// [`Config::listen_grace`](crate::Config::listen_grace).
    Grace,
}

/// Hands a request to whoever listens. Gives the request back if nobody takes it.
pub(super) fn offer(
    core: &Core,
    request: NegotiationRequest,
    patience: Patience,
) -> Result<(), (Refusal, NegotiationRequest)> {
    let (grace, name) = (core.config.listen_grace, request.objective.name.clone());
    let objectives = &core.registries.objectives;
    let peer = request.transport.peer();
    let limits = QueueLimits { all: core.config.request_queue, per_peer: core.config.requests_per_peer };
    match objectives.dispatch(&name, request.transport.as_ref(), core.now(), millis(grace), limits) {
        Dispatch::Listener { tx, owner, free, waiting } => {
            core.counters.request_queue_peak.raise_to(waiting);
            let sent = match patience {
                Patience::None => tx.try_send(request).map_err(|error| (Refusal::NotYet, error.into_inner())),
                Patience::Grace => {
                    // Who has begun to listen may be on its way to the channel still, on a busy machine.
                    let time = if free { grace.max(core.config.connect_timeout) } else { grace };
                    tx.send_timeout(request, time)
                        .map_err(|error| (Refusal::NotListening, error.into_inner()))
                }
            };
            objectives.dispatched(owner, &name, &tx, peer);
            sent
        }
        Dispatch::NotListening => Err((Refusal::NotListening, request)),
        Dispatch::QueueFull => Err((Refusal::QueueFull, request)),
    }
}

fn synchronize(core: &Core, connection: Arc<Connection>, session: u32, name: &str) {
    let Some(tx) = core.registries.objectives.synchronization(name) else {
        core.counters.refused_not_listening.add();
        return connection.close();
    };
    match tx.try_send(SynchRequest { session, transport: connection }) {
        Ok(()) => core.counters.request_queue_peak.raise_to(tx.len()),
        Err(TrySendError::Full(request)) => {
            core.counters.refused_queue_full.add();
            request.transport.close();
        }
        Err(TrySendError::Disconnected(request)) => {
            core.counters.refused_not_listening.add();
            request.transport.close();
        }
    }
}
