//! How the traffic of an engine is secured, which its substrate says, and may change while the engine runs. `_watcher` asks it; whoever
//! opens and accepts connections asks here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
#[cfg(feature = "domain")]
use std::sync::atomic::Ordering;
use std::time::Duration;
#[cfg(feature = "domain")]
use std::time::Instant;

use super::{Core, Interface};
use crate::acp::{AcpStatus, Neighbours};
#[cfg(feature = "domain")]
use crate::config::environment;
use crate::net::interfaces;
use crate::net::tcp::{Connection, Framing};
use crate::node::Carried;
use crate::registry::Transport as _;
#[cfg(feature = "domain")]
use crate::tls::{Identity, KeyFile, TlsError};

/// Within which time a domain takes the place of an ACP that goes down.
#[cfg(feature = "domain")]
const FALLS_BACK_WITHIN: Duration = Duration::from_secs(2);

/// How often connections are checked for peers whose certificates have expired.
#[cfg(feature = "domain")]
const CHECKED_EVERY: Duration = Duration::from_secs(10);

impl Core {
    /// Prepares TLS if the substrate has credentials for it.
    ///
    /// # Errors
    /// If the system's random generator fails.
    #[cfg(feature = "domain")]
    pub(crate) fn prepare_tls(&mut self) -> std::result::Result<(), TlsError> {
        let credentials = self.substrate.credentials().filter(|_| !self.node.config.dull);
        *self.checked.lock() = credentials.as_ref().map(|kept| (kept.current(), Instant::now()));
        let Some(credentials) = credentials else { return Ok(()) };
        let key_log = if self.node.config.tls_key_log { key_log() } else { None };
        self.identity = Some(Arc::new(Identity::new(credentials, key_log)?));
        Ok(())
    }

    /// How often `_watcher` looks. A domain takes the place of an ACP within two seconds.
    pub(crate) fn watch_interval(&self) -> Duration {
        let interval = self.node.config.watch_interval;
        #[cfg(feature = "domain")]
        if matches!(self.node.config.acp, crate::acp::Acp::Fallback { .. }) {
            return interval.min(FALLS_BACK_WITHIN / 2);
        }
        interval
    }

    /// Whether TLS may secure connections.
    pub(crate) const fn uses_tls(&self) -> bool {
        #[cfg(feature = "domain")]
        return self.identity.is_some();
        #[cfg(not(feature = "domain"))]
        false
    }

    /// Asks the substrate for its status, and for how it secures traffic: if that is another way than before, everything that goes the
    /// old way ends.
    pub(crate) fn update_security(&self) {
        self.substrate.observe(&|name| interfaces::is_usable(&self.node.config, name));
        let up = self.substrate.status() != AcpStatus::Down;
        self.follow_substrate();
        if self.node.set_secure(up) {
            log::info!("the substrate is {}", if up { "up" } else { "down" });
        }
    }

    fn follow_substrate(&self) {
        let carried = match self.substrate.neighbours() {
            _ if self.node.config.dull => Carried::ByDatagrams,
            Neighbours::Datagrams => Carried::ByDatagrams,
            Neighbours::Connections => Carried::InTheClear,
            Neighbours::SecuredConnections => Carried::OverTls,
        };
        #[cfg(feature = "domain")]
        let uses_tls = self.identity.is_none() || self.substrate.uses_tls();
        #[cfg(feature = "domain")]
        let is_other_way = self.uses_tls.load(Ordering::Acquire) != uses_tls;
        #[cfg(not(feature = "domain"))]
        let is_other_way = false;
        if self.node.carried() == carried && !is_other_way {
            return;
        }
        // What comes in by an interface of the old way is never taken for something of the new one: nothing is taken at all until
        // `_watcher` has opened the interfaces again.
        let interfaces = {
            let mut network = self.network.write();
            network.permitted = Some(BTreeSet::new());
            let interfaces = std::mem::take(&mut network.interfaces);
            self.node.set_carried(carried);
            #[cfg(feature = "domain")]
            self.uses_tls.store(uses_tls, Ordering::Release);
            interfaces
        };
        self.end_traffic(&interfaces);
    }

    /// Ends all sessions, and closes these interfaces: what has been learned by one way does not hold by another.
    fn end_traffic(&self, interfaces: &BTreeMap<u32, Arc<Interface>>) {
        if !interfaces.is_empty() {
            log::warn!("the substrate secures traffic in another way now: all sessions end");
        }
        for (ifi, interface) in interfaces {
            self.node.counters.interfaces_removed.add();
            self.close_interface(*ifi, interface);
        }
        self.readers.close_all();
        for exchange in self.node.registries.sessions.end_all() {
            exchange.transport.close();
        }
        self.node.registries.discovery.purge(self.now(), |_| false);
    }

    /// Whether connections have to be checked for peers that are no members any more: every ten seconds by their time, and once the
    /// credentials have been replaced by all of them, which `true` says.
    pub(crate) fn is_membership_due(&self) -> Option<bool> {
        #[cfg(feature = "domain")]
        if let Some(kept) = self.substrate.credentials().filter(|_| self.identity.is_some()) {
            let current = kept.current();
            let mut checked = self.checked.lock();
            let is_new = checked.as_ref().is_some_and(|(by, _)| !Arc::ptr_eq(by, &current));
            if !is_new && checked.as_ref().is_some_and(|(_, at)| at.elapsed() < CHECKED_EVERY) {
                return None;
            }
            *checked = Some((current, Instant::now()));
            return Some(is_new);
        }
        None
    }

    /// The framing of this engine's TCP connections.
    pub(crate) fn framing(&self) -> Framing {
        Framing {
            limits: self.node.unicast_limits(),
            protection: self.protection.clone(),
            #[cfg(feature = "domain")]
            identity: self.identity.clone().filter(|_| self.uses_tls.load(Ordering::Acquire)),
            counters: Arc::clone(&self.node.counters),
        }
    }

    /// The framing of connections with neighbours: inside an ACP the links secure them.
    pub(crate) fn neighbour_framing(&self) -> Framing {
        let framing = self.framing();
        #[cfg(feature = "domain")]
        let framing = match self.node.carried() {
            Carried::InTheClear => Framing { identity: None, ..framing },
            Carried::ByDatagrams | Carried::OverTls => framing,
        };
        framing
    }

    /// A connection that was accepted, secured as traffic is secured now. `None` if it came in neither by a permitted interface nor from
    /// this machine: an objective's port is open at all addresses, including those that are not on the secure interfaces.
    pub(crate) fn accepted(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        framing: impl Fn(&Self) -> Framing,
    ) -> Option<Connection> {
        // Both by the same substrate, which may be replaced (`follow_substrate`).
        let network = self.network.read();
        let connection = Connection::new(stream, peer, framing(self));
        let may = network.permitted.as_ref().is_none_or(|permitted| {
            connection.interface().is_ok_and(|ifi| permitted.contains(&ifi)) || connection.is_from_here()
        });
        drop(network);
        may.then_some(connection)
    }

    /// Whether connections are secured, or not, in the same way now.
    pub(crate) fn is_secured_as_now(&self, is_secured: bool) -> bool {
        #[cfg(feature = "domain")]
        return is_secured == (self.identity.is_some() && self.uses_tls.load(Ordering::Acquire));
        #[cfg(not(feature = "domain"))]
        !is_secured
    }
}

/// Opens the file for the secrets of TLS connections, and says so loudly. One that cannot be opened is logged, not fatal.
#[cfg(feature = "domain")]
fn key_log() -> Option<Arc<KeyFile>> {
    let Some(path) = environment::key_log() else {
        log::warn!("tls_key_log has no effect: SSLKEYLOGFILE names no file");
        return None;
    };
    match KeyFile::open(&path) {
        Ok(file) => {
            log::warn!(
                "the secrets of all TLS connections are written to {}: whoever reads that file can read everything that they secure (tls_key_log, SSLKEYLOGFILE)",
                path.display()
            );
            Some(Arc::new(file))
        }
        Err(error) => {
            log::warn!("no secrets of TLS connections are written to {}: {error}", path.display());
            None
        }
    }
}
