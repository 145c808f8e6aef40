//! `_mhandler`: decides about discoveries and floods (graspy's `_mchandler`). Never blocks on a peer: what
//! takes time is done by `_responder` and `_disc_relay`.

use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};

use super::{contain, disc_relay, responder, spawn};
use crate::core::Core;
use crate::node::{Datagram, Effect};

/// How many discoveries are decided about before a flood that waits.
const IN_A_ROW: usize = 8;

/// The way to `_mhandler`: discoveries, whose askers wait, and floods. What is of one kind stays in its order. Boxes keep
/// empty queues small.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    discoveries: Sender<Box<Datagram>>,
    floods: Sender<Box<Datagram>>,
}

/// The other end.
#[derive(Debug)]
pub(crate) struct Queued {
    discoveries: Receiver<Box<Datagram>>,
    floods: Receiver<Box<Datagram>>,
}

/// A queue for as many datagrams of each kind as there are permits for.
pub(crate) fn queue(limit: usize) -> (Queue, Queued) {
    let ((discoveries, discoveries_rx), (floods, floods_rx)) = (bounded(limit.max(1)), bounded(limit.max(1)));
    (Queue { discoveries, floods }, Queued { discoveries: discoveries_rx, floods: floods_rx })
}

impl Queue {
    /// Adds a datagram. It holds a permit, so that there is room.
    pub(super) fn put(&self, datagram: Box<Datagram>) {
        let lane = if datagram.is_discovery() { &self.discoveries } else { &self.floods };
        // Once there is nobody to take it, the engine ends.
        if let Err(TrySendError::Full(_)) = lane.try_send(datagram) {
            log::error!("a queue was full although there was a permit: this is a bug of the engine");
        }
    }

    pub(super) fn len(&self) -> usize {
        self.discoveries.len().saturating_add(self.floods.len())
    }
}

impl Queued {
    /// The next datagram. Discoveries first, but floods are not kept waiting for ever. `None` once nobody sends any more.
    fn next(&self, in_a_row: &mut usize) -> Option<Box<Datagram>> {
        if *in_a_row < IN_A_ROW
            && let Ok(discovery) = self.discoveries.try_recv()
        {
            *in_a_row += 1;
            return Some(discovery);
        }
        *in_a_row = 0;
        if let Ok(flood) = self.floods.try_recv() {
            return Some(flood);
        }
        select! {
            recv(self.discoveries) -> discovery => discovery.ok(),
            recv(self.floods) -> flood => flood.ok(),
        }
    }
}

/// Starts the thread.
pub(crate) fn start(core: &Arc<Core>, queue: Queued) -> io::Result<()> {
    spawn(core, "_mhandler", move |core| {
        let mut in_a_row = 0;
        // At shutdown those who receive end, and with them the queue.
        while let Some(datagram) = queue.next(&mut in_a_row) {
            if core.is_stopping() {
                return;
            }
            // A panic must not end deciding.
            contain(core, "deciding about a datagram", || {
                if let Some(effect) = core.node.datagram(*datagram, core.now()) {
                    carry_out(core, effect);
                }
            });
        }
    })
}

fn carry_out(core: &Arc<Core>, effect: Effect) {
    match effect {
        Effect::Respond(response) => responder::start(core, response),
        Effect::Negotiate { session, objective, otherwise } => {
            responder::start_negotiation(core, session, objective, otherwise);
        }
        Effect::RelayFlood { except, session, datagram, case } => {
            core.node.flood_relayed(session, except, case);
            core.multicast(|_| datagram.clone(), Some(except));
        }
        Effect::RelayDiscovery(task) => disc_relay::start(core, task),
    }
}
