//! An engine: starting one or connecting to one, looking inside, and stopping. Programs call this; `api` has the calls of the
//! API.
//!
//! `Engine` is a facade. The engine is in this process (`Here`), or in a node in another process, whose client this process is
//! (`ipc::Client`). Each call begins with `here!`, which takes the engine of this process or lets the node answer.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::acp::{self, AcpStatus};
use crate::config::{Adjusted, Config, environment};
use crate::core::Core;
#[cfg(feature = "ipc")]
use crate::ipc::{self, Client, Form as _};
use crate::net::interfaces;
use crate::start_error::StartError;
use crate::stats::Stats;
use crate::threads;
use crate::trace::{self, Trace};
use crate::types::Locator;

/// A GRASP node: five registries, the sockets of its interfaces, and threads.
///
/// A cheap handle: clones are the same engine. It stops when the last handle is dropped, or at
/// [`shutdown`](Self::shutdown). Most programs need no handle and use the free functions, which share one
/// engine of the process.
///
/// An engine lives in the network namespace of the thread that starts it; make its calls from threads
/// of the same namespace.
///
/// The node may also be another process, `graspd` for instance, that many processes share: [`connect`](Self::connect)
/// gives the same handle for it. Calls, types, errors and deadlines are the same; when the connection ends, for whatever
/// reason, the node deregisters what this process has registered.
///
/// Besides its own errors, every call may return [`Error::Stopped`](crate::Error::Stopped) after
/// [`shutdown`](Self::shutdown), and [`Error::Forked`](crate::Error::Forked) in a process that was forked from the engine's.
/// With a connected engine it may also return [`Error::NodeGone`](crate::Error::NodeGone),
/// [`Error::Forbidden`](crate::Error::Forbidden), [`Error::ClientLimit`](crate::Error::ClientLimit), and
/// [`Error::TooLarge`](crate::Error::TooLarge) if the call does not fit into a message to the node.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) seat: Seat,
    _owner: Arc<Owner>,
}

/// Where an engine is.
#[derive(Clone, Debug)]
pub(crate) enum Seat {
    /// In this process.
    Here(Here),
    /// In a node whose client this process is.
    #[cfg(feature = "ipc")]
    Node(Arc<Client>),
}

/// The engine in this process: what `api` implements the calls on.
#[derive(Clone, Debug)]
pub(crate) struct Here {
    pub(crate) core: Arc<Core>,
}

/// The engine in this process. If the engine is in a node, the calling function returns the node's answer.
#[cfg(feature = "ipc")]
macro_rules! here {
    ($engine:expr, $node:ident => $answer:expr) => {
        match &$engine.seat {
            $crate::engine::Seat::Here(here) => here,
            $crate::engine::Seat::Node($node) => return $answer,
        }
    };
}

/// The engine in this process.
#[cfg(not(feature = "ipc"))]
macro_rules! here {
    ($engine:expr, $node:ident => $answer:expr) => {{
        let $crate::engine::Seat::Here(here) = &$engine.seat;
        here
    }};
}
pub(crate) use here;

/// Ends the engine, or the connection to it, when its last handle is dropped. `None` in handles that do not count.
#[derive(Debug)]
struct Owner(Option<Seat>);

impl Drop for Owner {
    fn drop(&mut self) {
        match &self.0 {
            None => {}
            Some(Seat::Here(here)) => here.core.shutdown(),
            #[cfg(feature = "ipc")]
            Some(Seat::Node(node)) => node.close(),
        }
    }
}

impl Engine {
    /// A handle that keeps the engine running.
    fn owned(seat: Seat) -> Self {
        Self { _owner: Arc::new(Owner(Some(seat.clone()))), seat }
    }

    /// A handle that does not keep the engine running, for threads and guards that make calls of the API.
    pub(crate) fn unowned(&self) -> Self {
        Self { seat: self.seat.clone(), _owner: Arc::new(Owner(None)) }
    }

    /// Whether both are handles of the same engine in this process.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (&self.seat, &other.seat) {
            (Seat::Here(one), Seat::Here(other)) => Arc::ptr_eq(&one.core, &other.core),
            #[cfg(feature = "ipc")]
            _ => false,
        }
    }

    /// Connects to the node that listens at a Unix socket, `graspd` for instance. What this process registers belongs to
    /// the connection: the node deregisters it when the process ends. [`ipc::default_path`](crate::ipc::default_path) is
    /// where a node usually listens.
    ///
    /// The connection is made within 5 seconds. It ends with the last handle, or at [`shutdown`](Self::shutdown). When the
    /// node ends, every call returns [`Error::NodeGone`](crate::Error::NodeGone) at once; [`reconnect`](Self::reconnect)
    /// registers everything again with its successor.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let engine = grasp::Engine::connect(grasp::ipc::default_path())?;
    /// let asa = grasp::Asa::register(&engine, "Gray")?;
    /// # drop(asa);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StartError::NoNode`] if nobody listens there, [`StartError::NodeRefuses`] if the node speaks another version of the
    /// protocol, or has as many clients as it accepts. A retry helps once that has changed.
    #[cfg(feature = "ipc")]
    pub fn connect(path: impl AsRef<std::path::Path>) -> Result<Self, StartError> {
        Ok(Self::owned(Seat::Node(Client::connect(path.as_ref())?)))
    }

    /// Connects again after the connection to the node has ended. Registers the ASAs of this process again, with the handles
    /// that they had, their objectives, and the values that they serve. Sessions are lost. Does nothing while the connection
    /// is alive, or if the engine is in this process.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect), within the same time; [`StartError::NodeRefuses`] also if something cannot be
    /// registered again: then nothing is. It is returned after [`shutdown`](Self::shutdown), too: then a retry does not help.
    /// [`StartError::Starting`] if another thread is reconnecting, and takes longer than that: a retry may help.
    #[cfg(feature = "ipc")]
    pub fn reconnect(&self) -> Result<(), StartError> {
        match &self.seat {
            Seat::Here(_) => Ok(()),
            Seat::Node(node) => node.reconnect(),
        }
    }

    /// Whether this process has stopped the engine, or closed the connection to it.
    pub(crate) fn is_over(&self) -> bool {
        match &self.seat {
            Seat::Here(here) => here.core.is_stopping(),
            #[cfg(feature = "ipc")]
            Seat::Node(node) => node.is_closed(),
        }
    }

    /// Whether the engine is in a node, whose client this process is.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        !matches!(self.seat, Seat::Here(_))
    }

    /// Starts an engine. It is ready when this returns.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use grasp::{Config, Engine};
    ///
    /// let engine = Engine::start(Config::new().interfaces(Some(vec!["eth0".to_owned()])))?;
    /// println!("this node is {:?}", engine.my_address());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StartError`], whose text says what is missing and what to do. A retry helps once that is done.
    pub fn start(config: Config) -> Result<Self, StartError> {
        getrandom::u32().map_err(|_| StartError::Random)?;
        let (config, adjusted) = config.with_environment().feasible();
        adjusted.iter().for_each(|adjusted| log::warn!("{adjusted}"));
        let substrate = acp::substrate(&config.acp, environment::keys())?;
        if let (AcpStatus::Trusting(why), false) = (substrate.status(), config.dull) {
            log::warn!("{why}");
        }
        #[cfg_attr(not(feature = "domain"), expect(unused_mut, reason = "for TLS only"))]
        let mut core = Core::new(config, substrate, adjusted);
        #[cfg(feature = "domain")]
        core.prepare_tls().map_err(|_| StartError::Random)?;
        let core = Arc::new(core);
        core.update_security();
        // From here on, dropping the engine ends what has been started.
        let engine = Self::owned(Seat::Here(Here { core: Arc::clone(&core) }));
        threads::start_pcap(&core).map_err(StartError::Thread)?;
        threads::start_story(&core).map_err(StartError::Thread)?;
        let (tx, rx) = threads::queue(core.node.config.multicast_queue);
        threads::start_mhandler(&core, rx).map_err(StartError::Thread)?;
        // Before the interfaces: another engine of the host may be the one that receives at their port 7017.
        threads::start_host(&core, &tx).map_err(StartError::Thread)?;
        let refreshed = threads::refresh(&core, &tx);
        if core.addresses().links.is_empty() {
            // If others are usable, `_watcher` tries again, and logs what is wrong.
            refreshed?;
        }
        for name in engine.missing_interfaces() {
            log::warn!("interface {name} is configured and does not exist");
        }
        if core.addresses().links.is_empty() && !core.node.config.wait_for_interfaces {
            return Err(StartError::NoInterface);
        }
        threads::start_watcher(&core, tx).map_err(StartError::Thread)?;
        #[cfg(feature = "bubbles")]
        if let Some(bubbles) = &core.node.config.bubbles {
            threads::start_bubbles(&core, bubbles).map_err(StartError::Thread)?;
        }
        Ok(engine)
    }

    /// Ends every thread, closes every socket and wakes every blocked call with an error. Afterwards every call
    /// returns [`Error::Stopped`](crate::Error::Stopped). A second shutdown does nothing. The shutdown of a connected engine ends the connection, not the
    /// node.
    pub fn shutdown(&self) {
        here!(self, node => node.close()).core.shutdown();
    }

    /// The current values of the counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let here = here!(self, node => node.look("stats"));
        // First releases the connections whose peers have closed them, or whose time is over: the counters include them.
        here.core.closing.look();
        here.core.node.counters.snapshot()
    }

    /// Reports what the engine does from now on, event by event, until the returned [`Trace`] is dropped. It has room for
    /// 4096 unread events; further ones are lost for this listener, and counted ([`Trace::lost`]). The events of one thread
    /// keep their order. The trace ends with [`shutdown`](Self::shutdown).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use grasp::trace::{Direction, Event};
    ///
    /// for event in grasp::process_engine()?.trace() {
    ///     match &event.event {
    ///         Event::Message(message) if message.direction == Direction::In => {
    ///             println!("{} bytes from {}", message.bytes.len(), message.peer);
    ///         }
    ///         Event::Dropped { reason } => println!("{} dropped something: {reason}", event.thread),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.trace_with(trace::CAPACITY)
    }

    /// Like [`trace`](Self::trace), with room for `capacity` events, at least 1. The events of a connected engine, printed
    /// lines included, are those of its node; they arrive over a separate connection, which the node counts as another client.
    #[must_use]
    pub fn trace_with(&self, capacity: usize) -> Trace {
        let here = here!(self, node => ipc::trace(node, capacity));
        here.core.node.counters.tracer().subscribe(capacity)
    }

    /// The configuration that the engine was started with, adjusted to the supported ranges and completed from the
    /// environment. Of a connected engine: the settings that the node told this process when it connected, and the defaults
    /// for all others. The node tells those that an ASA may need: the role (`dull`, `listen_self`), the times
    /// `default_timeout` and `objective_ttl`, and the sizes of messages.
    #[must_use]
    pub fn config(&self) -> &Config {
        let here = here!(self, node => node.config());
        &here.core.node.config
    }

    /// The settings that were outside the supported range, with what is used instead. Empty for a connected engine: its node
    /// has logged them.
    #[must_use]
    pub fn adjusted(&self) -> &[Adjusted] {
        let here = here!(self, _node => &[]);
        &here.core.adjusted
    }

    /// The interfaces that the configuration or the substrate names, but that do not exist now. They are used once they
    /// appear. An interface that exists and is not in [`links`](Self::links) is down or has no IPv6 link-local address.
    #[must_use]
    pub fn missing_interfaces(&self) -> Vec<String> {
        let here = here!(self, node => node.look("missing_interfaces"));
        let core = &here.core;
        let named = core.node.config.interfaces.iter().flatten().cloned();
        let named = named.chain(core.substrate.interfaces().into_iter().flatten());
        let missing: BTreeSet<_> = named.filter(|name| !interfaces::exists(name)).collect();
        missing.into_iter().collect()
    }

    /// The node's preferred address of more than link scope (graspy's `_my_address`).
    #[must_use]
    pub fn my_address(&self) -> Option<Locator> {
        let here = here!(self, node => node.look::<Option<Ipv6Addr>>("my_address").map(Locator::Ipv6));
        here.core.addresses().global.map(Locator::Ipv6)
    }

    /// The interfaces in use: index and link-local address (graspy's `_ll_zone_ids`).
    #[must_use]
    pub fn links(&self) -> Vec<(u32, Ipv6Addr)> {
        let here = here!(self, node => node.look("links"));
        here.core.addresses().links.iter().map(|link| (link.ifi, link.address)).collect()
    }

    /// The names of the interfaces in use.
    #[must_use]
    pub fn link_names(&self) -> Vec<String> {
        let here = here!(self, node => node.look("link_names"));
        let addresses = here.core.addresses();
        addresses.links.iter().filter_map(|link| here.core.interface_name(link.ifi)).collect()
    }

    /// The address that makes this node's session identifiers unique (graspy's `_session_locator`).
    #[must_use]
    pub fn session_locator(&self) -> Ipv6Addr {
        let here = here!(self, node => node.look::<Option<Ipv6Addr>>("session_locator").unwrap_or(Ipv6Addr::UNSPECIFIED));
        here.core.addresses().session_locator()
    }

    /// The largest unicast and multicast message accepted now, in bytes: what is configured, unless GraspConfig has
    /// changed it.
    #[must_use]
    pub fn message_sizes(&self) -> (usize, usize) {
        let here = here!(self, node => node.look("message_sizes"));
        (here.core.node.sizes.unicast(), here.core.node.sizes.multicast())
    }

    /// Number of sessions that are open.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        let here = here!(self, node => node.look("open_sessions"));
        here.core.node.registries.sessions.open_count()
    }

    /// Number of threads that are running.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        let here = here!(self, node => node.look("thread_count"));
        here.core.threads.count()
    }

    /// For tests, graspy's `_test_divert`: answer every discovery from the cache, as if nothing were
    /// registered here, and do not use the cache for own discoveries.
    pub fn set_test_divert(&self, on: bool) {
        let here = here!(self, node => node.tell("set_test_divert", &[on.form()]));
        here.core.node.set_test_divert(on);
    }

    /// For tests, graspy's `_make_invalid`: the next `negotiate_step` sends M_INVALID instead.
    pub fn make_invalid(&self) {
        let here = here!(self, node => node.tell("make_invalid", &[]));
        here.core.switches.make_invalid.store(true, Ordering::Relaxed);
    }

    /// For tests, graspy's `_make_badmess`: the next `negotiate_step` sends a malformed message instead.
    pub fn make_badmess(&self) {
        let here = here!(self, node => node.tell("make_badmess", &[]));
        here.core.switches.make_badmess.store(true, Ordering::Relaxed);
    }
}
