//! `_tcp_listen`: accepts requests on the port of one objective (RFC 8990 §2.8.6).

use std::io;
use std::sync::Arc;

use crossbeam_channel::{SendTimeoutError, Sender, TrySendError};

use super::reader::{Rest, accept_loop};
use super::spawn;
use crate::clock::millis;
use crate::config::Config;
use crate::core::Core;
use crate::net::listener::Listener;
use crate::net::tcp::Connection;
use crate::proto::{Request, classify_request};
use crate::registry::{Dispatch, NegotiationRequest, Neighbour, QueueLimits, SynchRequest, Transport};
use crate::types::AsaNonce;
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
fn negotiate(core: &Arc<Core>, request: NegotiationRequest) -> Option<Rest> {
    let place = match Place::take(core, &request) {
        Ok(place) => place,
        Err(refusal) => {
            refuse(core, refusal, &request);
            return None;
        }
    };
    let request = place.tx.try_send(request).err()?.into_inner();
    Some(Box::new(move |core| {
        if let Err(request) = place.wait(request) {
            refuse(core, Refusal::NotListening, &request);
        }
    }))
}

/// Closes the connection of a request that nobody takes (RFC 8990 §2.8.6).
fn refuse(core: &Core, refusal: Refusal, request: &NegotiationRequest) {
    match refusal {
        Refusal::NotListening => core.counters.refused_not_listening.add(),
        Refusal::QueueFull => core.counters.refused_queue_full.add(),
    }
    request.transport.close();
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NotListening,
    QueueFull,
}

/// Hands a request to whoever listens or, for a moment, may listen again. Gives the request back if nobody takes it.
pub(super) fn offer(core: &Arc<Core>, request: NegotiationRequest) -> Result<(), NegotiationRequest> {
    match Place::take(core, &request) {
        Ok(place) => place.wait(request),
        Err(_) => Err(request),
    }
}

/// A place among the requests that wait for a listener, which is another's when dropped. Who waits keeps it: a later
/// request must not take it.
struct Place {
    core: Arc<Core>,
    tx: Sender<NegotiationRequest>,
    owner: AsaNonce,
    name: String,
    peer: Neighbour,
    /// There is a listener that nobody else waits for.
    free: bool,
}

impl Place {
    fn take(core: &Arc<Core>, request: &NegotiationRequest) -> Result<Self, Refusal> {
        let (transport, name) = (request.transport.as_ref(), &request.objective.name);
        let (config, objectives) = (&core.config, &core.registries.objectives);
        let limits = QueueLimits { all: config.request_queue, per_peer: config.requests_per_peer };
        match objectives.dispatch(name, transport, core.now(), millis(config.listen_grace), limits) {
            Dispatch::Listener { tx, owner, free, waiting } => {
                core.counters.request_queue_peak.raise_to(waiting);
                let (core, name, peer) = (Arc::clone(core), name.clone(), transport.neighbour());
                Ok(Self { core, tx, owner, name, peer, free })
            }
            Dispatch::NotListening => Err(Refusal::NotListening),
            Dispatch::QueueFull => Err(Refusal::QueueFull),
        }
    }

    /// Waits until a listener has taken the request, [`Config::listen_grace`](crate::Config::listen_grace) at most.
    fn wait(self, request: NegotiationRequest) -> Result<(), NegotiationRequest> {
        let Config { listen_grace, connect_timeout, .. } = self.core.config;
        // Who has begun to listen may be on its way to the channel still, on a busy machine.
        let time = if self.free { listen_grace.max(connect_timeout) } else { listen_grace };
        self.tx.send_timeout(request, time).map_err(SendTimeoutError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.core.registries.objectives.dispatched(self.owner, &self.name, &self.tx, self.peer);
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
