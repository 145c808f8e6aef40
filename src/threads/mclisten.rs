//! `_mclisten`: receives the datagrams of one interface, drops what is wrong, queues the rest for `_mhandler`.
//! `_uclisten` does the same for datagrams sent to this node alone (RFC 8990 §2.5.4.2).

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::TrySendError;

use super::mhandler::{Datagram, Queue, Room};
use super::{contain, spawn};
use crate::constants::GRASP_LISTEN_PORT;
use crate::core::{Core, Interface};
use crate::net::multicast::{Receiver, group};
use crate::proto::Arrival;
use crate::trace::{Direction, Event, MessageEvent, Transport};
use crate::wire::decode;

/// How long receiving rests after the system has reported an error.
const REST: Duration = Duration::from_millis(50);

/// Starts `_mclisten` and `_uclisten` of an interface.
pub(super) fn start(core: &Arc<Core>, ifi: u32, interface: &Arc<Interface>, queue: &Queue) -> io::Result<()> {
    let (own, tx) = (Arc::clone(interface), queue.clone());
    spawn(core, "_mclisten", move |core| listen(core, &own.multicasts, ifi, true, &tx))?;
    if interface.unicasts.get().is_some() { start_unicast(core, ifi, interface, queue) } else { Ok(()) }
}

/// Starts `_uclisten` of an interface.
pub(super) fn start_unicast(
    core: &Arc<Core>,
    ifi: u32,
    interface: &Arc<Interface>,
    queue: &Queue,
) -> io::Result<()> {
    let (own, tx) = (Arc::clone(interface), queue.clone());
    spawn(core, "_uclisten", move |core| {
        if let Some(unicasts) = own.unicasts.get() {
            listen(core, unicasts, ifi, false, &tx);
        }
    })
}

fn listen(core: &Arc<Core>, socket: &Receiver, ifi: u32, multicast: bool, queue: &Queue) {
    // One byte more than may ever come, so that a longer datagram shows.
    let mut buffer = vec![0; core.largest_datagram().saturating_add(1)];
    while let Some(received) = socket.receive(&mut buffer) {
        match received {
            Ok((length, source)) => {
                let arrival = Arrival { ifi, source: *source.ip(), port: source.port(), multicast };
                let bytes = buffer.get(..length).unwrap_or_default();
                // A panic must not end receiving.
                contain(core, "receiving a datagram", || take(core, arrival, bytes, queue));
            }
            Err(error) => {
                core.counters.receive_failed.add();
                contain(core, "telling of an error", || log::debug!("receiving on interface {ifi}: {error}"));
                if !core.pause(REST) {
                    return;
                }
            }
        }
    }
}

fn take(core: &Arc<Core>, arrival: Arrival, bytes: &[u8], queue: &Queue) {
    let count = &core.counters;
    if arrival.multicast {
        count.multicast_received.add()
    } else {
        count.unicast_datagram_received.add()
    }
    count.datagram_bytes_received.add_many(bytes.len());
    let Some(datagram) = check(core, arrival, bytes) else { return };
    // Once there is nobody to take it, the engine ends, and this socket is closed.
    let full = matches!(queue.try_send(datagram), Err(TrySendError::Full(_)));
    count.queue_peak.raise_to(queue.len());
    if full {
        count.dropped_queue_full.add();
    }
}

/// A datagram that is a message, or nothing, counted by reason.
fn check(core: &Arc<Core>, arrival: Arrival, bytes: &[u8]) -> Option<Box<Datagram>> {
    let limits = core.multicast_limits();
    let opened = match &core.protection {
        None => None,
        Some(protection) => match protection.open(bytes) {
            // Of another domain, or of none.
            None => {
                trace(core, arrival, bytes, Some(bytes));
                core.counters.dropped_undecryptable.add();
                return None;
            }
            opened => opened,
        },
    };
    let sealed = opened.is_some().then_some(bytes);
    let bytes = opened.as_deref().unwrap_or(bytes);
    trace(core, arrival, bytes, sealed);
    // While this node sends, it hears itself: that should keep nobody busy.
    if !core.config.listen_self && core.addresses().are_source_of(&arrival) {
        core.counters.own_multicast.add();
        return None;
    }
    if bytes.len() > limits.size {
        core.counters.dropped_oversize.add();
        return None;
    }
    match decode(bytes, &limits) {
        Ok(message) => {
            let memory = message.memory() + bytes.len();
            let Some(room) = Room::take(core, memory) else {
                core.counters.dropped_queue_full.add();
                return None;
            };
            Some(Box::new(Datagram { arrival, message, raw: bytes.to_vec(), _room: room }))
        }
        Err(error) => {
            core.counters.dropped_malformed.add();
            if core.config.diagnose
                && let Some(unsaid) = core.diagnoses.may_say(core.now())
            {
                let Arrival { source, ifi, .. } = arrival;
                log::info!("a datagram from {source}%{ifi} is dropped: {error}{unsaid}");
            }
            None
        }
    }
}

/// Tells of a datagram that came.
fn trace(core: &Core, arrival: Arrival, bytes: &[u8], sealed: Option<&[u8]>) {
    core.counters.tracer().emit(|| {
        let Arrival { ifi, source, port, multicast } = arrival;
        let (transport, local) = if multicast {
            (Transport::Multicast, group(ifi))
        } else {
            let address = core.addresses().link_local(ifi).unwrap_or(Ipv6Addr::UNSPECIFIED);
            (Transport::UnicastDatagram, SocketAddrV6::new(address, GRASP_LISTEN_PORT, 0, ifi))
        };
        let (direction, peer) = (Direction::In, SocketAddrV6::new(source, port, 0, ifi));
        let (bytes, sealed) = (bytes.into(), sealed.map(Into::into));
        Event::Message(MessageEvent { direction, transport, local, peer, ifi, bytes, sealed })
    });
}
