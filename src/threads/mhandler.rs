//! `_mhandler`: decides about discoveries and floods (graspy's `_mchandler`). Never blocks on a peer: what
//! takes time is done by `_responder` and `_disc_relay`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender};

use super::{contain, disc_relay, responder, spawn};
use crate::configger;
use crate::core::Core;
use crate::proto::{Action, Arrival, handle_datagram};
use crate::trace::Event;
use crate::wire::{Body, Message};

/// A datagram that `_mclisten` found to be a message.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) arrival: Arrival,
    pub(crate) message: Message,
    /// As it came, to be relayed byte for byte.
    pub(crate) raw: Vec<u8>,
    pub(crate) _room: Room,
}

/// Memory of the queue. Free again when dropped, with the datagram.
#[derive(Debug)]
pub(crate) struct Room {
    core: Arc<Core>,
    bytes: usize,
}

impl Room {
    /// So many bytes, if there are as many left. One message always has room.
    pub(crate) fn take(core: &Arc<Core>, bytes: usize) -> Option<Self> {
        let limit = core.config.multicast_queue_size;
        let taken = core.queued_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            let sum = used.saturating_add(bytes);
            (used == 0 || sum <= limit).then_some(sum)
        });
        taken.is_ok().then(|| Self { core: Arc::clone(core), bytes })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.core.queued_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// The way to `_mhandler`. Boxes keep an empty queue small.
pub(crate) type Queue = Sender<Box<Datagram>>;

/// Starts the thread.
pub(crate) fn start(core: &Arc<Core>, queue: Receiver<Box<Datagram>>) -> io::Result<()> {
    spawn(core, "_mhandler", move |core| {
        // At shutdown those who receive end, and with them the queue.
        for datagram in queue {
            if core.is_stopping() {
                return;
            }
            // A panic must not end deciding.
            contain(core, "deciding about a datagram", || handle(core, &datagram));
        }
    })
}

fn handle(core: &Arc<Core>, datagram: &Datagram) {
    let Datagram { arrival, message, raw, .. } = datagram;
    let actions = core.with_node(|node| handle_datagram(node, *arrival, message, raw, core.now()));
    if let Body::Flood(flood) = &message.body
        && flood.objectives.iter().any(|(objective, _)| configger::is_meant(&objective.name))
    {
        core.sizes.follow(&core.registries.floods, core.now());
    }
    for action in actions {
        match action {
            Action::Respond { to, message } => responder::start(core, to, &message),
            Action::RapidNegotiate { to, session, objective, otherwise } => {
                responder::start_negotiation(core, to, session, objective, otherwise);
            }
            Action::Relay { except, datagram } => {
                core.counters
                    .tracer()
                    .emit(|| Event::Relayed { session: message.session().unwrap_or(0), except });
                core.multicast(|_| datagram.clone(), Some(except));
                core.counters.floods_relayed.add();
            }
            Action::RelayDiscovery { asker, session, initiator, name, timeout, datagram } => {
                disc_relay::start(core, asker, (session, initiator), name, timeout, datagram);
            }
        }
    }
}
