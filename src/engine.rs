//! An engine: start, look inside, stop. The calls of the API are in `api`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::acp::{self, AcpStatus};
use crate::config::{Adjusted, Config, environment};
use crate::core::Core;
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
/// An engine lives in the network namespace of the thread that starts it; its calls are to be made by threads
/// of the same namespace.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) core: Arc<Core>,
    _owner: Arc<Owner>,
}

/// Stops the engine with its last handle; nothing in a handle that does not count.
#[derive(Debug)]
struct Owner(Option<Arc<Core>>);

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(core) = &self.0 {
            core.shutdown();
        }
    }
}

impl Engine {
    /// A handle that does not keep the engine running, for what makes calls of the API inside it.
    pub(crate) fn unowned(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core), _owner: Arc::new(Owner(None)) }
    }

    /// Starts an engine. It is ready when this returns.
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
        let core = Arc::new(Core::new(config, substrate, adjusted));
        core.update_security();
        // From here on, dropping the engine ends what has been started.
        let engine = Self { core: Arc::clone(&core), _owner: Arc::new(Owner(Some(Arc::clone(&core)))) };
        threads::start_pcap(&core).map_err(StartError::Thread)?;
        threads::start_story(&core).map_err(StartError::Thread)?;
        let (tx, rx) = threads::queue(core.node.config.multicast_queue);
        threads::start_mhandler(&core, rx).map_err(StartError::Thread)?;
        // Before the interfaces, whose port 7017 may be another engine's to hear.
        threads::start_host(&core, &tx).map_err(StartError::Thread)?;
        let refreshed = threads::refresh(&core, &tx);
        if core.addresses().links.is_empty() {
            // Where there are others, `_watcher` tries again, and says what is wrong.
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
    /// returns `unspec`. A second shutdown does nothing.
    pub fn shutdown(&self) {
        self.core.shutdown();
    }

    /// The counters at this moment.
    #[must_use]
    pub fn stats(&self) -> Stats {
        // Those whose peers have closed meanwhile are closed, too.
        self.core.closing.look();
        self.core.node.counters.snapshot()
    }

    /// What the engine does from now on, event by event, until the returned [`Trace`] is dropped. 4096 events wait to
    /// be read; those beyond are lost for this listener, and counted ([`Trace::lost`]). Events of one thread come in
    /// their order. After [`shutdown`](Self::shutdown) nothing comes any more.
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

    /// As [`trace`](Self::trace), with so many events that wait, at least 1.
    #[must_use]
    pub fn trace_with(&self, capacity: usize) -> Trace {
        self.core.node.counters.tracer().subscribe(capacity)
    }

    /// The configuration it was started with, as far as an engine can work with it, and with what it leaves to the
    /// environment.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.core.node.config
    }

    /// The settings that no engine can work with, with what is used instead.
    #[must_use]
    pub fn adjusted(&self) -> &[Adjusted] {
        &self.core.adjusted
    }

    /// The interfaces that the configuration or the substrate names, and that do not exist now. They are used once they
    /// appear. An interface that exists and is not in [`links`](Self::links) is down or has no IPv6 link-local address.
    #[must_use]
    pub fn missing_interfaces(&self) -> Vec<String> {
        let core = &self.core;
        let named = core.node.config.interfaces.iter().flatten().cloned();
        let named = named.chain(core.substrate.interfaces().into_iter().flatten());
        let missing: BTreeSet<_> = named.filter(|name| !interfaces::exists(name)).collect();
        missing.into_iter().collect()
    }

    /// The node's preferred address of more than link scope (graspy's `_my_address`).
    #[must_use]
    pub fn my_address(&self) -> Option<Locator> {
        self.core.addresses().global.map(Locator::Ipv6)
    }

    /// The interfaces in use: index and link-local address (graspy's `_ll_zone_ids`).
    #[must_use]
    pub fn links(&self) -> Vec<(u32, std::net::Ipv6Addr)> {
        self.core.addresses().links.iter().map(|link| (link.ifi, link.address)).collect()
    }

    /// The names of the interfaces in use.
    #[must_use]
    pub fn link_names(&self) -> Vec<String> {
        let addresses = self.core.addresses();
        addresses.links.iter().filter_map(|link| self.core.interface_name(link.ifi)).collect()
    }

    /// The address that makes this node's session identifiers unique (graspy's `_session_locator`).
    #[must_use]
    pub fn session_locator(&self) -> std::net::Ipv6Addr {
        self.core.addresses().session_locator()
    }

    /// The largest unicast and multicast message accepted now, in bytes: what is configured, unless GraspConfig has
    /// changed it.
    #[must_use]
    pub fn message_sizes(&self) -> (usize, usize) {
        (self.core.node.sizes.unicast(), self.core.node.sizes.multicast())
    }

    /// Number of sessions that are open.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.core.node.registries.sessions.open_count()
    }

    /// Number of threads that are running.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        self.core.threads.count()
    }

    /// For tests, graspy's `_test_divert`: answer every discovery from the cache, as if nothing were
    /// registered here, and do not use the cache for own discoveries.
    pub fn set_test_divert(&self, on: bool) {
        self.core.node.set_test_divert(on);
    }

    /// For tests, graspy's `_make_invalid`: the next `negotiate_step` sends M_INVALID instead.
    pub fn make_invalid(&self) {
        self.core.switches.make_invalid.store(true, Ordering::Relaxed);
    }

    /// For tests, graspy's `_make_badmess`: the next `negotiate_step` sends a malformed message instead.
    pub fn make_badmess(&self) {
        self.core.switches.make_badmess.store(true, Ordering::Relaxed);
    }
}
