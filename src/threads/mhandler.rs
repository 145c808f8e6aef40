//! `_mhandler`: handles discoveries and floods (graspy's `_mchandler`). It never blocks on a peer: `_responder` and
//! `_disc_relay` do what takes time. A datagram that comes alone is handled by the thread that has received it, which
//! saves waking another one; one thread at a time decides.

use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, TrySendError, bounded};
use parking_lot::Mutex;

use super::{contain, disc_relay, responder, spawn};
use crate::core::Core;
use crate::node::{Datagram, Effect, Links};

/// How many discoveries are handled before a waiting flood.
const IN_A_ROW: usize = 8;

/// The sending end of the queue to `_mhandler`: one lane for discoveries, whose askers wait, and one for floods. Each
/// lane keeps its order. Boxes keep empty queues small.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    discoveries: Sender<Box<Datagram>>,
    floods: Sender<Box<Datagram>>,
    deciding: Arc<Mutex<()>>,
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Queued {
    discoveries: Receiver<Box<Datagram>>,
    floods: Receiver<Box<Datagram>>,
    /// Locked by whoever takes from the queue and decides, so that nothing overtakes what was received before.
    deciding: Arc<Mutex<()>>,
}

/// Creates a queue with room for `limit` datagrams of each kind, the number of permits.
pub(crate) fn queue(limit: usize) -> (Queue, Queued) {
    let ((discoveries, discoveries_rx), (floods, floods_rx)) = (bounded(limit.max(1)), bounded(limit.max(1)));
    let deciding = Arc::default();
    let queued = Queued { discoveries: discoveries_rx, floods: floods_rx, deciding: Arc::clone(&deciding) };
    (Queue { discoveries, floods, deciding }, queued)
}

impl Queue {
    /// Handles a datagram in this thread if no other waits or is being handled; adds it otherwise.
    pub(super) fn handle_or_put(&self, core: &Arc<Core>, datagram: Box<Datagram>) {
        if let Some(_deciding) = self.deciding.try_lock()
            && self.len() == 0
        {
            return decide(core, *datagram);
        }
        self.put(core, datagram);
    }

    /// Adds a datagram. Its permit guarantees that there is room.
    pub(super) fn put(&self, core: &Core, datagram: Box<Datagram>) {
        self.add(datagram);
        core.node.counters.queue_peak.raise_to(self.len());
    }

    fn add(&self, datagram: Box<Datagram>) {
        let lane = if datagram.is_discovery() { &self.discoveries } else { &self.floods };
        // If the receiver is gone, the engine is ending.
        if let Err(TrySendError::Full(_)) = lane.try_send(datagram) {
            log::error!("a queue was full although there was a permit: this is a bug of the engine");
        }
    }

    fn len(&self) -> usize {
        self.discoveries.len().saturating_add(self.floods.len())
    }
}

impl Queued {
    /// Waits until there is a datagram, or all senders are gone. May return early.
    fn wait(&self) {
        let mut select = Select::new();
        select.recv(&self.discoveries);
        select.recv(&self.floods);
        select.ready();
    }

    /// Returns the next datagram. Discoveries come first, but floods do not wait for ever.
    fn next(&self, in_a_row: &mut usize) -> Result<Box<Datagram>, TryRecvError> {
        if *in_a_row < IN_A_ROW
            && let Ok(discovery) = self.discoveries.try_recv()
        {
            *in_a_row += 1;
            return Ok(discovery);
        }
        *in_a_row = 0;
        self.floods.try_recv().or_else(|_| self.discoveries.try_recv())
    }
}

/// Starts the thread.
pub(crate) fn start(core: &Arc<Core>, queue: Queued) -> io::Result<()> {
    spawn(core, "_mhandler", move |core| {
        let mut in_a_row = 0;
        loop {
            queue.wait();
            let _deciding = queue.deciding.lock();
            loop {
                let next = queue.next(&mut in_a_row);
                // At shutdown the receiving threads end, and the queue with them.
                if core.is_stopping() || matches!(next, Err(TryRecvError::Disconnected)) {
                    return;
                }
                let Ok(datagram) = next else { break };
                decide(core, *datagram);
            }
        }
    })
}

/// Handles a datagram. A panic must not end the thread.
fn decide(core: &Arc<Core>, datagram: Datagram) {
    contain(core, "deciding about a datagram", || {
        if let Some(effect) = core.node.datagram(datagram, core.now()) {
            carry_out(core, effect);
        }
    });
}

fn carry_out(core: &Arc<Core>, effect: Effect) {
    match effect {
        Effect::Respond(response) => responder::start(core, response),
        Effect::Negotiate { session, objective, otherwise } => {
            if core.node.has_neighbours() {
                // The connection with a neighbour is for all sessions.
                return responder::start(core, otherwise);
            }
            responder::start_negotiation(core, session, objective, otherwise);
        }
        Effect::RelayFlood { except, session, datagram, case } => {
            core.node.flood_relayed(session, except, case);
            core.multicast(|_| datagram.clone(), Links::Except(except));
        }
        Effect::RelayDiscovery(task) => disc_relay::start(core, task),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::config::Config;
    use crate::node::{Arrival, Node};
    use crate::wire::{Body, Flood, Message, WireObjective, encode};

    fn datagram(session: u32, is_discovery: bool) -> Box<Datagram> {
        let node = Node::new(Config::new(), false);
        node.set_secure(true);
        arrived(&node, session, is_discovery)
    }

    fn arrived(node: &Node, session: u32, is_discovery: bool) -> Box<Datagram> {
        let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
        let (initiator, objective) =
            (source.into(), WireObjective::from(crate::types::Objective::new("EX1")));
        let body = if is_discovery {
            Body::Discovery { session, initiator, objective }
        } else {
            Body::Flood(Flood { session, initiator, ttl: 0, objectives: vec![(objective, None)] })
        };
        let bytes = encode(&Message::new(body));
        let arrival = Arrival { ifi: 2, source, port: 50_000, multicast: true };
        let case = node.gate(&arrival, bytes.len()).unwrap();
        node.take_datagram(case, arrival, &bytes, 0).unwrap()
    }

    #[test]
    fn discoveries_come_first_but_floods_do_not_wait_for_ever() {
        let (queue, queued) = queue(30);
        (0..20).for_each(|session| queue.add(datagram(session, true)));
        (0..3).for_each(|session| queue.add(datagram(session, false)));
        assert_eq!(queue.len(), 23);
        drop(queue);
        let mut in_a_row = 0;
        let order: String = std::iter::from_fn(|| queued.next(&mut in_a_row).ok())
            .map(|next| if next.is_discovery() { 'd' } else { 'f' })
            .collect();
        assert_eq!(order, "ddddddddfddddddddfddddf");
    }

    #[test]
    fn without_a_flood_discoveries_go_on() {
        let (queue, queued) = queue(30);
        (0..20).for_each(|session| queue.add(datagram(session, true)));
        let mut in_a_row = 0;
        assert_eq!((0..20).filter(|_| queued.next(&mut in_a_row).is_ok()).count(), 20);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_datagram_is_handled_at_once_unless_another_waits_or_is_being_handled() {
        let core = crate::threads::tests::core();
        core.node.set_secure(true);
        let (queue, queued) = queue(30);
        let handled = || core.node.counters.snapshot().discoveries_received;
        queue.handle_or_put(&core, arrived(&core.node, 1, true));
        assert_eq!((handled(), queue.len()), (1, 0));
        let deciding = queued.deciding.lock();
        queue.handle_or_put(&core, arrived(&core.node, 2, true));
        assert_eq!((handled(), queue.len()), (1, 1));
        drop(deciding);
        queue.handle_or_put(&core, arrived(&core.node, 3, true));
        assert_eq!((handled(), queue.len()), (1, 2), "it has not overtaken the one before it");
        drop(queue);
        start(&core, queued).unwrap();
        core.shutdown();
        assert!(handled() <= 3);
    }
}
