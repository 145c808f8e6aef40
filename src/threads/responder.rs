//! `_responder`: connects to an asker and sends it one response, so that an unreachable asker holds up nobody.

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::run;
use super::tcp_listen::{self, Patience};
use crate::core::Core;
use crate::net::tcp::Connection;
use crate::proto::Arrival;
use crate::registry::{NegotiationRequest, Transport, TransportError};
use crate::types::Objective;
use crate::wire::{Message, encode};

/// Sends a response in a thread of its own, if one is free; otherwise the response is dropped and counted.
pub(super) fn start(core: &Arc<Core>, to: Arrival, message: &Message) {
    let bytes = encode(message);
    start_with(core, to, move |core, connection| {
        let sent = connection.send(&bytes, core.config.response_timeout);
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
    start_with(core, to, move |core, connection| {
        let request = NegotiationRequest { session, objective, transport: Arc::new(connection) };
        let Err((_, request)) = tcp_listen::offer(core, request, Patience::Grace) else {
            core.counters.rapid_negotiations.add();
            return Ok(());
        };
        let sent = request.transport.send(&encode(&otherwise), core.config.response_timeout);
        request.transport.close();
        sent.map(|()| core.counters.responses_sent.add())
    });
}

/// Connects to where a datagram came from, out of the interface it came in on (RFC 8990 §2.8.5), in a thread of
/// its own.
fn start_with(
    core: &Arc<Core>,
    to: Arrival,
    use_connection: impl FnOnce(&Core, Connection) -> Result<(), TransportError> + Send + 'static,
) {
    let Some(slot) = Slot::take(core, |core| &core.responders, core.config.responder_limit) else {
        core.counters.dropped_responder_full.add();
        return;
    };
    core.counters.responders_peak.raise_to(core.responders.load(Ordering::Relaxed));
    if !core.askers.enter((to.ifi, to.source), core.config.responders_per_asker) {
        core.counters.dropped_asker_limit.add();
        return;
    }
    let guard = AskerGuard { core: Arc::clone(core), key: (to.ifi, to.source) };
    let spawned = run(core, "_responder", move |core: &Arc<Core>| {
        let asker = SocketAddrV6::new(to.source, to.port, 0, to.ifi).into();
        let connection = Connection::open(&[asker], core.config.response_timeout, core.framing());
        if let Err(error) = connection.and_then(|connection| use_connection(core, connection)) {
            core.counters.responses_failed.add();
            log::debug!("no response to {asker}: {error:?}");
        }
        drop((slot, guard));
    });
    if spawned.is_err() {
        core.counters.dropped_responder_full.add();
    }
}

/// Responses on their way, by asker: one that cannot be reached must not take all threads.
#[derive(Debug, Default)]
pub(crate) struct Askers(Mutex<HashMap<(u32, Ipv6Addr), usize>>);

impl Askers {
    /// Counts a response to an asker, unless it has as many as it may.
    pub(crate) fn enter(&self, asker: (u32, Ipv6Addr), limit: usize) -> bool {
        let mut askers = self.0.lock();
        let count = askers.entry(asker).or_insert(0);
        let free = *count < limit.max(1);
        *count += usize::from(free);
        free
    }

    /// A response to this asker is sent, or has failed.
    pub(crate) fn leave(&self, asker: (u32, Ipv6Addr)) {
        let mut askers = self.0.lock();
        if let Some(count) = askers.get_mut(&asker) {
            *count -= 1;
            if *count == 0 {
                askers.remove(&asker);
            }
        }
    }
}

/// Leaves when dropped, whatever became of the response.
#[derive(Debug)]
struct AskerGuard {
    core: Arc<Core>,
    key: (u32, Ipv6Addr),
}

impl Drop for AskerGuard {
    fn drop(&mut self) {
        self.core.askers.leave(self.key);
    }
}

/// One of a bounded number of activities. Free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    core: Arc<Core>,
    counter: fn(&Core) -> &AtomicUsize,
}

impl Slot {
    pub(super) fn take(core: &Arc<Core>, counter: fn(&Core) -> &AtomicUsize, limit: usize) -> Option<Self> {
        let taken = counter(core)
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| (used < limit).then_some(used + 1));
        taken.is_ok().then(|| Self { core: Arc::clone(core), counter })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        (self.counter)(&self.core).fetch_sub(1, Ordering::AcqRel);
    }
}
