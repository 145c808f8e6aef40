//! `_mclisten`: receives the multicasts of one interface, drops invalid ones, and handles the rest or queues it for `_mhandler`.
//! `_uclisten` does the same for datagrams sent only to this node (RFC 8990 §2.5.4.2).

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use super::mhandler::Queue;
use super::{contain, neighbours, spawn};
use crate::constants::GRASP_LISTEN_PORT;
use crate::core::{Core, Interface};
use crate::net::multicast::{Receiver, group};
use crate::node::Arrival;
use crate::outcome::MessageOutcome;
use crate::trace::{Carrier, Direction, Event, MessageEvent};

/// How long a node that is announced nothing new lets announcements wait: a hundred neighbours that announce themselves every minute
/// need not wake it a hundred times.
const GATHER: Duration = Duration::from_secs(6);
/// After how many datagrams since the last such pause there is none: somebody sends more than neighbours do.
const GATHERED: usize = 64;

/// How long receiving pauses after the system has reported an error.
const REST: Duration = Duration::from_millis(50);

/// Starts `_mclisten` for an interface.
pub(super) fn start(core: &Arc<Core>, ifi: u32, interface: &Arc<Interface>, queue: &Queue) -> io::Result<()> {
    let (own, tx) = (Arc::clone(interface), queue.clone());
    spawn(core, "_mclisten", move |core| listen(core, &own.multicasts, ifi, true, &tx))
}

/// Starts `_uclisten` for an interface.
pub(super) fn start_unicast(
    core: &Arc<Core>,
    ifi: u32,
    unicasts: &Arc<Receiver>,
    queue: &Queue,
) -> io::Result<()> {
    let (unicasts, tx) = (Arc::clone(unicasts), queue.clone());
    spawn(core, "_uclisten", move |core| listen(core, &unicasts, ifi, false, &tx))
}

fn listen(core: &Arc<Core>, socket: &Receiver, ifi: u32, multicast: bool, queue: &Queue) {
    // One byte more than the longest permitted datagram, so that a longer one is detected.
    let mut buffer = vec![0; core.largest_datagram().saturating_add(1)];
    let mut since_pause = 0_usize;
    while let Some(received) = socket.receive(&mut buffer) {
        match received {
            Ok((length, source, alone)) => {
                let arrival = Arrival { ifi, source: *source.ip(), port: source.port(), multicast };
                let bytes = buffer.get(..length).unwrap_or_default();
                if !multicast {
                    core.host.hand_on(arrival.neighbour(), arrival.port, bytes, &core.node.counters);
                }
                // A panic must not end receiving.
                contain(core, "receiving a datagram", || take(core, arrival, bytes, alone, queue));
                since_pause = since_pause.saturating_add(1);
                if multicast && core.node.is_neighbour(&arrival) && !socket.has_more() {
                    if since_pause <= GATHERED && !core.pause(GATHER) {
                        return;
                    }
                    since_pause = 0;
                }
            }
            Err(error) => {
                core.node.counters.receive_failed.add();
                contain(core, "telling of an error", || log::debug!("receiving on interface {ifi}: {error}"));
                if !core.pause(REST) {
                    return;
                }
            }
        }
    }
}

/// Takes up a datagram that was received here, or that the front of this host has handed on. One that has come alone is handled at
/// once: while others wait, receiving comes first, since the system drops what it has no room for.
pub(super) fn take(core: &Arc<Core>, arrival: Arrival, bytes: &[u8], alone: bool, queue: &Queue) {
    let Some(case) = core.node.gate(&arrival, bytes.len()) else {
        // Dropped without opening it, unless somebody listens to the trace.
        if core.node.tracer().is_on() {
            let opened = core.protection.as_ref().and_then(|protection| protection.open(bytes));
            trace(core, arrival, opened.as_deref().unwrap_or(bytes), core.protection.as_ref().map(|_| bytes));
        }
        return;
    };
    if core.node.has_neighbours() {
        trace(core, arrival, bytes, None);
        if let Some(opening) = core.node.take_announcement(case, arrival, bytes, core.now()) {
            neighbours::open(core, opening, queue);
        }
        return;
    }
    // It may have waited here since another substrate was in force, which used other interfaces.
    if !core.hears(arrival.ifi) {
        return case.settle(MessageOutcome::Insecure);
    }
    let opened = match &core.protection {
        None => None,
        Some(protection) => match protection.open(bytes) {
            // From another domain, or not protected at all.
            None => {
                trace(core, arrival, bytes, Some(bytes));
                return case.settle(MessageOutcome::Undecryptable);
            }
            opened => opened,
        },
    };
    let sealed = opened.is_some().then_some(bytes);
    let bytes = opened.as_deref().unwrap_or(bytes);
    trace(core, arrival, bytes, sealed);
    if let Some(other) = core.addresses().heard_across(arrival.ifi, arrival.source, arrival.port) {
        core.say_shared_link(arrival.ifi, other);
    }
    if let Some(datagram) = core.node.take_datagram(case, arrival, bytes, core.now()) {
        if alone {
            queue.handle_or_put(core, datagram);
        } else {
            queue.put(core, datagram);
        }
    }
}

/// Traces a received datagram.
fn trace(core: &Core, arrival: Arrival, bytes: &[u8], sealed: Option<&[u8]>) {
    core.node.counters.tracer().emit(|| {
        let Arrival { ifi, source, port, multicast } = arrival;
        let (carrier, local) = if multicast {
            (Carrier::Multicast, group(ifi))
        } else {
            let address = core.addresses().link_local(ifi).unwrap_or(Ipv6Addr::UNSPECIFIED);
            (Carrier::UnicastDatagram, SocketAddrV6::new(address, GRASP_LISTEN_PORT, 0, ifi))
        };
        let (direction, peer) = (Direction::In, SocketAddrV6::new(source, port, 0, ifi));
        let (bytes, sealed) = (bytes.into(), sealed.map(Into::into));
        Event::Message(MessageEvent { direction, carrier, local, peer, ifi, bytes, sealed, secured: false })
    });
}
