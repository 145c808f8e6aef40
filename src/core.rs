//! The state that the threads and calls of one engine share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::SocketAddrV6;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::{Mutex, RwLock};

use crate::acp::{Protection, Substrate};
use crate::clock::monotonic_ms;
use crate::config::{Adjusted, Config};
use crate::error::{Error, Result};
use crate::net::changes::Changes;
use crate::net::interfaces::LeftOut;
use crate::net::multicast;
use crate::net::namespace::Namespace;
use crate::node::{Links, Node, Refusal};
use crate::registry::{Addresses, Close};
#[cfg(feature = "domain")]
use crate::tls::Identity;
use crate::trace::{Carrier, Direction, Event, MessageEvent};
use crate::wire::encode;
use crate::workers::host::Host;
use crate::workers::{Closing, ReaderTable, ThreadGroup};

mod security;

/// The sockets of one interface, with the address they are bound to.
#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) link_local: std::net::Ipv6Addr,
    pub(crate) sender: multicast::Sender,
    pub(crate) multicasts: multicast::Receiver,
    /// Port 7017 of this interface.
    pub(crate) unicasts: Mutex<Unicasts>,
    pub(crate) responses: Arc<dyn Close>,
    /// Whether it has been logged that another interface is on the same link.
    pub(crate) shares_link: AtomicBool,
    /// When this node has announced itself there last, where connections carry multicasts.
    pub(crate) announced: Mutex<Option<Instant>>,
}

/// What hears port 7017 of an interface.
#[derive(Debug, Default)]
pub(crate) enum Unicasts {
    /// Nothing: another program holds the port for itself, or another engine of this host hears it.
    #[default]
    Unheard,
    Heard(Arc<multicast::Receiver>),
    /// Nothing any more: the interface is not used.
    Closed,
}

impl Unicasts {
    /// Ends hearing.
    pub(crate) fn end(&mut self, next: Self) {
        if let Self::Heard(receiver) = std::mem::replace(self, next) {
            receiver.close();
        }
    }
}

impl Interface {
    /// How many datagrams more than at the last call the system has dropped here because a buffer was full.
    pub(crate) fn overflows(&self, dropped: &HashMap<u64, u32>) -> usize {
        let unicasts = match &*self.unicasts.lock() {
            Unicasts::Heard(receiver) => receiver.overflows(dropped),
            Unicasts::Unheard | Unicasts::Closed => 0,
        };
        self.multicasts.overflows(dropped).saturating_add(unicasts)
    }

    pub(crate) fn close(&self) {
        self.multicasts.close();
        self.unicasts.lock().end(Unicasts::Closed);
        self.responses.close();
    }
}

/// The interfaces in use. The addresses are replaced as a whole, so that readers keep a consistent view.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) interfaces: BTreeMap<u32, Arc<Interface>>,
    /// The interfaces that peers may connect through; `None` if all may be used.
    pub(crate) permitted: Option<BTreeSet<u32>>,
    /// The interfaces that are left out, with the reasons, as last logged.
    pub(crate) left_out: Vec<LeftOut>,
}

/// graspy's switches for tests.
#[derive(Debug, Default)]
pub(crate) struct Switches {
    pub(crate) make_invalid: AtomicBool,
    pub(crate) make_badmess: AtomicBool,
}

/// One engine.
pub(crate) struct Core {
    /// The part that decides.
    pub(crate) node: Arc<Node>,
    /// The settings that were changed to supported values.
    pub(crate) adjusted: Vec<Adjusted>,
    pub(crate) threads: ThreadGroup<Self>,
    pub(crate) readers: ReaderTable,
    pub(crate) closing: Closing,
    pub(crate) host: Host,
    pub(crate) network: RwLock<Network>,
    pub(crate) switches: Switches,
    pub(crate) substrate: Arc<dyn Substrate>,
    /// The substrate's protection of messages. A DULL instance uses none (RFC 8990 §2.5.2).
    pub(crate) protection: Option<Arc<dyn Protection>>,
    /// With which TCP connections are secured. A DULL instance has none.
    #[cfg(feature = "domain")]
    identity: Option<Arc<Identity>>,
    /// Whether they are at present.
    #[cfg(feature = "domain")]
    uses_tls: AtomicBool,
    /// The credentials by which all connections have been checked, and when.
    #[cfg(feature = "domain")]
    checked: Mutex<Option<(Arc<crate::domain::Credentials>, Instant)>>,
    stopping: AtomicBool,
    /// Dropped at shutdown, which wakes all threads that wait on `stop`.
    stopper: Mutex<Option<Sender<()>>>,
    stop: Receiver<()>,
    /// What `_watcher` waits on.
    changes: OnceLock<Arc<Changes>>,
    /// What else shutdown closes, as far as it still exists.
    #[cfg(feature = "ipc")]
    closed_at_shutdown: Mutex<Vec<std::sync::Weak<dyn Close>>>,
    /// The process that the engine's threads belong to.
    process: u32,
    /// The network namespace of the engine's sockets.
    namespace: Option<Namespace>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn new(config: Config, substrate: Arc<dyn Substrate>, adjusted: Vec<Adjusted>) -> Self {
        let (stopper, stop) = bounded(0);
        let protection = substrate.protection().filter(|_| !config.dull);
        let reader_limit = config.reader_limit;
        let node = Node::new(config, protection.is_some());
        Self {
            threads: ThreadGroup::default(),
            readers: ReaderTable::new(reader_limit),
            closing: Closing::new(node.config.response_timeout, Arc::clone(&node.counters)),
            host: Host::default(),
            node,
            network: RwLock::default(),
            switches: Switches::default(),
            substrate,
            protection,
            #[cfg(feature = "domain")]
            identity: None,
            #[cfg(feature = "domain")]
            uses_tls: AtomicBool::new(true),
            #[cfg(feature = "domain")]
            checked: Mutex::default(),
            stopping: AtomicBool::new(false),
            stopper: Mutex::new(Some(stopper)),
            stop,
            changes: OnceLock::new(),
            #[cfg(feature = "ipc")]
            closed_at_shutdown: Mutex::default(),
            adjusted,
            process: std::process::id(),
            namespace: Namespace::current(),
        }
    }

    /// Closes an interface, and the connections with the neighbours there.
    pub(crate) fn close_interface(&self, ifi: u32, interface: &Interface) {
        interface.close();
        for neighbour in self.node.end_neighbours(Some(ifi)) {
            neighbour.close();
        }
    }

    /// The longest message that can be sent to the group: its protected form must fit.
    pub(crate) fn multicast_send_limit(&self) -> usize {
        if self.node.has_neighbours() {
            return self.node.sizes.unicast();
        }
        let limit = self.node.config.multicast_send_size;
        let sealed = self.protection.as_ref().map_or(limit, |protection| protection.sealed_length(limit));
        limit.saturating_sub(sealed.saturating_sub(limit))
    }

    /// Returns `Stopped` once the engine has been shut down, and `Forked` in a process that was forked from the
    /// engine's.
    pub(crate) fn check_running(&self) -> Result<()> {
        if self.is_forked() { Err(Error::Forked) } else { self.check_not_stopped() }
    }

    /// Checks again in the same call, which is still in the process that it began in.
    pub(crate) fn check_not_stopped(&self) -> Result<()> {
        if self.is_stopping() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Called before opening a socket. Fails if the socket would be in another network namespace than the engine's.
    pub(crate) fn check_namespace(&self) -> Result<()> {
        let is_here = self.namespace.as_ref().is_none_or(Namespace::may_be_current);
        if is_here { Ok(()) } else { Err(Error::OtherNamespace) }
    }

    /// Whether this process was forked from the engine's. It has none of the threads, and no identifiers of its own:
    /// the other process uses those already drawn.
    fn is_forked(&self) -> bool {
        self.process != std::process::id()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Becomes readable, as disconnected, at shutdown.
    pub(crate) const fn stop_signal(&self) -> &Receiver<()> {
        &self.stop
    }

    /// Stores what shutdown uses to wake `_watcher`.
    pub(crate) fn set_changes(&self, changes: &Arc<Changes>) {
        let _ = self.changes.set(Arc::clone(changes));
    }

    /// Has something closed at shutdown, if it exists then: at once if the engine has been shut down.
    #[cfg(feature = "ipc")]
    pub(crate) fn close_at_shutdown(&self, what: &Arc<dyn Close>) {
        let mut all = self.closed_at_shutdown.lock();
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(what));
        drop(all);
        if self.is_stopping() {
            what.close();
        }
    }

    /// Waits, but not beyond shutdown. Returns whether the engine is still running.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        matches!(self.stop.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }

    /// Closes the connection of a request that nobody takes, and tells the peer why if there is a message for it. Does
    /// not wait: a short message fits into the send buffer of a new connection.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        let Refusal { transport, farewell } = refusal;
        let told =
            farewell.is_some_and(|farewell| transport.send(&encode(&farewell), Instant::now()).is_ok());
        if told {
            self.node.counters.refusals_sent.add();
            self.closing.add(transport);
        } else {
            transport.close();
        }
    }

    /// Milliseconds of the engine's clock.
    pub(crate) fn now(&self) -> u64 {
        monotonic_ms()
    }

    pub(crate) fn addresses(&self) -> Arc<Addresses> {
        self.node.addresses()
    }

    /// The name of an interface in use.
    pub(crate) fn interface_name(&self, ifi: u32) -> Option<String> {
        self.network.read().interfaces.get(&ifi).map(|interface| interface.name.clone())
    }

    /// Logs once that two interfaces are on one link: a message sent out of one has come in by the other.
    pub(crate) fn say_shared_link(&self, ifi: u32, other: u32) {
        let (interface, other) = {
            let interfaces = &self.network.read().interfaces;
            (interfaces.get(&ifi).cloned(), interfaces.get(&other).cloned())
        };
        let (Some(interface), Some(other)) = (interface, other) else { return };
        if !interface.shares_link.swap(true, Ordering::Relaxed) {
            log::warn!(
                "interfaces {} and {} are on the same link, where everything is sent twice: leave one out (Config::exclude_interfaces)",
                interface.name,
                other.name
            );
        }
    }

    /// Whether what comes in by an interface is taken.
    pub(crate) fn hears(&self, ifi: u32) -> bool {
        self.network.read().interfaces.contains_key(&ifi)
    }

    /// The longest datagram that is ever accepted.
    pub(crate) fn largest_datagram(&self) -> usize {
        let largest = self.node.sizes.largest_multicast();
        self.protection.as_ref().map_or(largest, |protection| protection.sealed_length(largest))
    }

    /// Sends a multicast to the neighbours on these interfaces.
    pub(crate) fn multicast(&self, datagram: impl Fn(u32) -> Vec<u8>, links: Links) {
        if self.node.has_neighbours() {
            return self.to_neighbours(datagram, links);
        }
        let interfaces: Vec<_> = self
            .network
            .read()
            .interfaces
            .iter()
            .map(|(ifi, interface)| (*ifi, Arc::clone(interface)))
            .collect();
        for (ifi, interface) in interfaces.into_iter().filter(|(ifi, _)| links.include(*ifi)) {
            self.send_to_group(ifi, &interface, &datagram(ifi));
        }
    }

    /// Sends a multicast over the connections with the neighbours.
    fn to_neighbours(&self, message: impl Fn(u32) -> Vec<u8>, links: Links) {
        let mut made: Option<(u32, Vec<u8>)> = None;
        for (id, neighbour) in self.node.registries.adjacencies.all() {
            if !links.include(id.ifi) {
                continue;
            }
            let (_, bytes) = match made {
                Some(made) if made.0 == id.ifi => made,
                _ => (id.ifi, message(id.ifi)),
            };
            if neighbour.offer(&bytes) {
                self.node.counters.neighbour_messages_sent.add();
            }
            made = Some((id.ifi, bytes));
        }
    }

    /// Sends a datagram to the group on an interface. Returns whether it was sent.
    pub(crate) fn send_to_group(&self, ifi: u32, interface: &Interface, message: &[u8]) -> bool {
        // An announcement of a neighbour is DULL's, which nothing protects (RFC 8990 §2.5.2).
        let protection = self.protection.as_ref().filter(|_| !self.node.has_neighbours());
        let sealed = protection.map(|protection| protection.seal(message));
        let sealed = sealed.as_deref();
        self.node.counters.tracer().emit(|| {
            let local = SocketAddrV6::new(interface.link_local, interface.sender.port(), 0, ifi);
            let (direction, carrier) = (Direction::Out, Carrier::Multicast);
            let (bytes, sealed) = (message.into(), sealed.map(Into::into));
            let peer = multicast::group(ifi);
            Event::Message(MessageEvent {
                direction,
                carrier,
                local,
                peer,
                ifi,
                bytes,
                sealed,
                secured: false,
            })
        });
        let bytes = sealed.unwrap_or(message);
        match interface.sender.send(bytes) {
            Ok(()) => {
                self.node.counters.multicast_sent.add();
                self.node.counters.datagram_bytes_sent.add_many(bytes.len());
                true
            }
            Err(error) => {
                self.node.counters.multicast_send_failed.add();
                log::debug!("sending on {}: {error}", interface.name);
                false
            }
        }
    }

    /// Ends everything: wakes blocked callers, closes sockets, joins threads. A second call does nothing; neither does
    /// a call in a forked process, whose sockets belong to the other process.
    pub(crate) fn shutdown(&self) {
        if self.is_forked() {
            return;
        }
        if self.stopping.swap(true, Ordering::AcqRel) {
            self.threads.join_all();
            return;
        }
        drop(self.stopper.lock().take());
        if let Some(changes) = self.changes.get() {
            changes.stop();
        }
        for listener in self.node.registries.objectives.clear() {
            listener.close();
        }
        for exchange in self.node.registries.sessions.end_all() {
            exchange.transport.close();
        }
        #[cfg(feature = "ipc")]
        for one in std::mem::take(&mut *self.closed_at_shutdown.lock()) {
            one.upgrade().iter().for_each(|one| one.close());
        }
        self.readers.close_all();
        self.closing.close_all();
        self.host.end();
        let network = std::mem::take(&mut *self.network.write());
        for interface in network.interfaces.values() {
            interface.close();
        }
        for neighbour in self.node.end_neighbours(None) {
            neighbour.close();
        }
        // Trace listeners are threads too; they end once they have read the remaining events.
        self.node.counters.tracer().end();
        self.threads.join_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acp::Acp;

    #[test]
    fn a_forked_process_can_neither_use_the_engine_nor_end_it() {
        let config = Config::new().acp(Acp::Layer2);
        let substrate = crate::acp::substrate(&config.acp, Default::default()).unwrap();
        let mut core = Core::new(config, substrate, Vec::new());
        assert!(core.check_running().is_ok());
        // As the forked process sees it.
        core.process = core.process.wrapping_add(1);
        assert!(matches!(core.check_running(), Err(Error::Forked)));
        core.shutdown();
        assert!(!core.is_stopping(), "the sockets are those of the first process, which goes on");
        core.process = std::process::id();
        core.shutdown();
        assert!(matches!(core.check_running(), Err(Error::Stopped)));
    }
}
