//! `_neighbour`: a connection with a neighbour that carries multicasts (RFC 8994 §6.9.2). `_mclisten` hears the announcements, `_watcher`
//! sends this node's own and tries again, and `_neigh_listen` accepts.

use std::io;
use std::net::SocketAddrV6;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::mhandler::Queue;
use super::reader::accept_loop;
use super::{contain, spawn};
use crate::core::{Core, Interface};
use crate::interrupt;
use crate::net::connect;
use crate::net::listener::Listener;
use crate::net::tcp::{Adjacency, Connection};
use crate::node::{Arrival, Carried, FirstMessage, Membership, Opening, Response};
use crate::outcome::MessageOutcome;
use crate::registry::{Adjacent as _, NeighbourId, OpenedBy, Transport as _, TransportError, Tried};

/// How often this node announces itself on a link (RFC 8994 §6.4).
const PERIOD: Duration = Duration::from_secs(60);
/// A connection that this node has opened and that lasted for less has failed: the next attempt waits.
const BRIEF: Duration = Duration::from_secs(10);

/// Starts `_neigh_listen`, which accepts the connections of neighbours on an interface.
pub(super) fn listen(core: &Arc<Core>, ifi: u32, listener: Arc<Listener>, queue: &Queue) -> io::Result<()> {
    let queue = queue.clone();
    spawn(core, "_neigh_listen", move |core| {
        accept_loop(core, &listener, Core::neighbour_framing, move |core, connection, message, case| {
            if connection.check_neighbour().is_err() {
                case.settle(MessageOutcome::NotAnnounced);
                return None;
            }
            if let Some(id) = core.node.greeted(ifi, connection.peer(), &message, case) {
                let queue = queue.clone();
                // If no thread can be started, that has been logged, and the neighbour tries again.
                let _ = spawn(core, "_neighbour", move |core| {
                    let result = take_up(core, id, OpenedBy::There, connection, &queue);
                    told(id, result);
                });
            }
            None
        });
    })
}

/// Looks once: announces this node where it is time, and connects with neighbours that are not connected.
pub(super) fn look(core: &Arc<Core>, queue: &Queue) {
    if !core.node.has_neighbours() || !core.node.is_secure() {
        return;
    }
    let interfaces: Vec<_> = {
        let network = core.network.read();
        network.interfaces.iter().map(|(ifi, interface)| (*ifi, Arc::clone(interface))).collect()
    };
    for (ifi, interface) in &interfaces {
        announce(core, *ifi, interface);
    }
    for id in core.node.wanted_neighbours(core.now()) {
        if let Some(opening) = core.node.opening(id, core.now()) {
            open(core, opening, queue);
        }
    }
}

/// Announces this node on an interface, if the last announcement was long enough ago.
fn announce(core: &Core, ifi: u32, interface: &Interface) {
    let mut announced = interface.announced.lock();
    if announced.is_some_and(|at| at.elapsed() < PERIOD) {
        return;
    }
    let Ok(Some(datagram)) = core.node.announcement(ifi) else { return };
    if core.send_to_group(ifi, interface, &datagram) {
        core.node.counters.announcements_sent.add();
        *announced = Some(Instant::now());
    }
}

/// Connects with a neighbour, in a thread of its own.
pub(super) fn open(core: &Arc<Core>, opening: Opening, queue: &Queue) {
    let queue = queue.clone();
    // If no thread can be started, the attempt has failed.
    let _ = spawn(core, "_neighbour", move |core| {
        let (id, began) = (opening.id, Instant::now());
        // Shutdown does not wait for neighbours that do not answer.
        let reached = interrupt::cancellable(core.stop_signal(), || reach(core, id));
        let connection = match reached {
            Ok(connection) => connection,
            Err(error) => {
                opening.failed(is_silent(&error));
                return told(id, Err(error));
            }
        };
        opening.succeeded();
        let result = take_up(core, id, OpenedBy::Here, connection, &queue);
        // However it has ended: a neighbour that always fails is not tried all the time.
        if began.elapsed() < BRIEF {
            core.node.registries.adjacencies.tried(id, Tried::Refused, core.now());
        }
        told(id, result);
    });
}

/// Whether a neighbour did not answer at all, as while its link is cut.
fn is_silent(error: &TransportError) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
    match error {
        TransportError::Timeout => true,
        TransportError::Failed(error) => {
            matches!(error.kind(), HostUnreachable | NetworkUnreachable | TimedOut)
        }
        TransportError::Closed | TransportError::Broken => false,
    }
}

fn told(id: NeighbourId, result: Result<(), TransportError>) {
    if let Err(error) = result {
        log::debug!("the neighbour {}%{} port {}: {error:?}", id.address, id.ifi, id.port);
    }
}

/// Connects, and exchanges greetings: each side's announcement of itself is its first message.
fn reach(core: &Arc<Core>, id: NeighbourId) -> Result<Arc<Connection>, TransportError> {
    let deadline = Instant::now() + core.node.config.connect_timeout;
    // From the address that this node announces: an interface may have others.
    let own = core.addresses().link_local(id.ifi).ok_or(TransportError::Closed)?;
    let at = |address, port| SocketAddrV6::new(address, port, 0, id.ifi);
    let (own, peer) = (at(own, 0), at(id.address, id.port));
    let connection = Arc::new(connect::open_from(own, peer, deadline, core.neighbour_framing())?);
    connection.check_neighbour()?;
    core.node.authenticated(id.neighbour(), true);
    connection.send(&greeting(core, id)?, deadline)?;
    core.node.counters.neighbour_messages_sent.add();
    let bytes = connection.receive(deadline)?;
    let greeted = match core.node.first_message(&bytes) {
        FirstMessage::Message(message, case) => core.node.greeted(id.ifi, id.address, &message, case),
        FirstMessage::Skipped | FirstMessage::Wrong => None,
    };
    if greeted == Some(id) { Ok(connection) } else { Err(TransportError::Broken) }
}

fn greeting(core: &Core, id: NeighbourId) -> Result<Vec<u8>, TransportError> {
    core.node.announcement(id.ifi).ok().flatten().ok_or(TransportError::Closed)
}

/// Serves a connection whose neighbour has greeted, until it is over.
fn take_up(
    core: &Arc<Core>,
    id: NeighbourId,
    by: OpenedBy,
    connection: Arc<Connection>,
    queue: &Queue,
) -> Result<(), TransportError> {
    let is_secured = connection.is_to_be_secured();
    let certificate = connection.certificate();
    let Some(place) = core.node.neighbour_place(id, certificate) else { return Err(TransportError::Closed) };
    let adjacency = Arc::new(Adjacency::new(connection, core.node.config.neighbour_queue_size)?);
    if by == OpenedBy::There {
        // Before anybody can send anything else.
        adjacency.offer(&greeting(core, id)?);
        core.node.counters.neighbour_messages_sent.add();
    }
    let membership = core.node.join(id, by, Arc::clone(&adjacency) as Arc<_>, place, core.now());
    if membership.is_superfluous() {
        adjacency.retire();
    }
    // Shutdown, the closing of the interface, a change of how traffic is secured and that of who is a member find only those that have
    // joined by then.
    let is_insecure = core.node.carried() == Carried::OverTls && !is_secured;
    let is_over = core.is_stopping() || core.addresses().link_local(id.ifi).is_none();
    if is_over || is_insecure || !adjacency.is_member(true) {
        return Ok(());
    }
    serve(core, &adjacency, &membership, queue)
}

fn serve(
    core: &Arc<Core>,
    adjacency: &Adjacency,
    membership: &Membership,
    queue: &Queue,
) -> Result<(), TransportError> {
    let NeighbourId { ifi, address, port } = membership.id;
    let arrival = Arrival { ifi, source: address, port, multicast: true };
    loop {
        let bytes = match adjacency.receive() {
            Ok(bytes) => bytes,
            Err(TransportError::Closed | TransportError::Timeout) => return Ok(()),
            Err(error) => return Err(error),
        };
        if core.is_stopping() {
            return Ok(());
        }
        // A panic ends neither the connection nor the thread.
        contain(core, "taking a message of a neighbour", || {
            if let Some(datagram) = core.node.take_from_neighbour(arrival, &bytes, core.now()) {
                queue.handle_or_put(core, datagram);
            }
        });
    }
}

/// Sends a response over the connection that its discovery has come by.
pub(super) fn respond(core: &Core, response: Response) {
    let Response { to, message, ticket } = response;
    let id = NeighbourId { ifi: to.ifi, address: to.source, port: to.port };
    let neighbour = core.node.registries.adjacencies.get(id);
    if neighbour.is_some_and(|neighbour| neighbour.offer(&crate::wire::encode(&message))) {
        ticket.sent();
    } else {
        ticket.failed();
    }
}

/// Ends what members of the domain have open that are none any more.
pub(super) fn expel(core: &Core, again: bool) {
    for neighbour in core.node.expelled(again) {
        neighbour.close();
    }
    for exchange in core.node.registries.sessions.end_outsiders(again) {
        log::info!("a session with {} ends: it is no member any more", exchange.transport.peer());
        exchange.transport.close();
    }
}
