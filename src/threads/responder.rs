//! `_responder`: connects to an asker and sends it one response, so that an unreachable asker holds up nobody.

use std::net::SocketAddrV6;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::spawn;
use crate::core::Core;
use crate::net::tcp::Connection;
use crate::proto::Arrival;
use crate::registry::{Transport, TransportError};
use crate::wire::{Message, encode};

/// Sends a response in a thread of its own, if one is free; otherwise the response is dropped and counted.
pub(super) fn start(core: &Arc<Core>, to: Arrival, message: &Message) {
    let Some(slot) = Slot::take(core, |core| &core.responders, core.config.responder_limit) else {
        core.counters.dropped_responder_full.add();
        return;
    };
    let bytes = encode(message);
    let spawned = spawn(core, "_responder", move |core| {
        send(core, to, &bytes);
        drop(slot);
    });
    if spawned.is_err() {
        core.counters.dropped_responder_full.add();
    }
}

/// Connects to where the datagram came from, out of the interface it came in on, sends and closes (RFC 8990
/// §2.8.5).
pub(super) fn send(core: &Core, to: Arrival, bytes: &[u8]) {
    let asker = SocketAddrV6::new(to.source, to.port, 0, to.ifi).into();
    let timeout = core.config.response_timeout;
    let sent: Result<(), TransportError> = Connection::open(&[asker], timeout, core.unicast_limits())
        .and_then(|connection| {
            let sent = connection.send(bytes, timeout);
            connection.close();
            sent
        });
    match sent {
        Ok(()) => core.counters.responses_sent.add(),
        Err(error) => {
            core.counters.responses_failed.add();
            log::debug!("no response to {asker}: {error:?}");
        }
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
