//! The substrates with certificates: the interfaces of an ACP with TLS, a domain of its own, and the one in place of the other. `acp`
//! makes them.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::{AcpStatus, Neighbours, Protection, Substrate};
use crate::domain::{Kept, Role, Rules};

/// The virtual interfaces of an ACP, and TLS on them.
#[derive(Debug)]
pub(super) struct Interfaces {
    pub(super) names: Vec<String>,
    pub(super) credentials: Arc<Kept>,
    pub(super) neighbours: bool,
}

impl Substrate for Interfaces {
    fn status(&self) -> AcpStatus {
        AcpStatus::Secure
    }

    fn interfaces(&self) -> Option<Vec<String>> {
        Some(self.names.clone())
    }

    fn credentials(&self) -> Option<Arc<Kept>> {
        Some(Arc::clone(&self.credentials))
    }

    fn neighbours(&self) -> Neighbours {
        if self.neighbours { Neighbours::Connections } else { Neighbours::Datagrams }
    }
}

/// A domain of its own.
#[derive(Debug)]
pub(super) struct Domain {
    kept: Arc<Kept>,
    /// What is wrong with the certificate of this node, as last logged.
    told: Mutex<Option<String>>,
}

impl Domain {
    pub(super) fn new(kept: Arc<Kept>) -> Self {
        Self { kept, told: Mutex::default() }
    }

    /// Logs once why no peer takes this node for a member, or no neighbour takes it for one.
    fn tell(&self, why: Option<String>) {
        let mut told = self.told.lock();
        if *told != why {
            if let Some(why) = &why {
                log::warn!("{why}");
            }
            *told = why;
        }
    }
}

impl Substrate for Domain {
    /// Down while this node is no member itself: its certificate has expired, or is revoked.
    fn status(&self) -> AcpStatus {
        let rules = Rules::now(Role::Client);
        let current = self.kept.current();
        if let Err(why) = current.check_own(&rules) {
            self.tell(Some(format!("this node is no member of its domain: {why}")));
            return AcpStatus::Down;
        }
        let as_neighbour = current.check_own(&rules.secure_channel(true)).err();
        self.tell(as_neighbour.map(|why| format!("this node can have no neighbours in its domain: {why}")));
        AcpStatus::Secure
    }

    fn credentials(&self) -> Option<Arc<Kept>> {
        Some(Arc::clone(&self.kept))
    }

    fn neighbours(&self) -> Neighbours {
        Neighbours::SecuredConnections
    }
}

/// An ACP while it is up, and else a domain.
#[derive(Debug)]
pub(super) struct Fallback {
    acp: Arc<dyn Substrate>,
    domain: Domain,
    /// Whether the ACP was up, and had a usable interface, when the engine looked last. All that the engine asks until it looks again is
    /// answered by the same one of the two.
    is_up: AtomicBool,
}

impl Fallback {
    pub(super) fn new(acp: Arc<dyn Substrate>, domain: Arc<Kept>) -> Self {
        Self { acp, domain: Domain::new(domain), is_up: AtomicBool::new(false) }
    }

    fn in_force(&self) -> &dyn Substrate {
        if self.is_up.load(Ordering::Relaxed) { self.acp.as_ref() } else { &self.domain }
    }
}

impl Substrate for Fallback {
    fn status(&self) -> AcpStatus {
        self.in_force().status()
    }

    fn interfaces(&self) -> Option<Vec<String>> {
        self.in_force().interfaces()
    }

    fn address(&self) -> Option<Ipv6Addr> {
        self.in_force().address()
    }

    /// Those of the domain in any case: an ACP with TLS has the same members.
    fn credentials(&self) -> Option<Arc<Kept>> {
        self.domain.credentials()
    }

    fn neighbours(&self) -> Neighbours {
        self.in_force().neighbours()
    }

    fn uses_tls(&self) -> bool {
        let in_force = self.in_force();
        in_force.uses_tls() && in_force.credentials().is_some()
    }

    fn observe(&self, is_usable: &dyn Fn(&str) -> bool) {
        self.acp.observe(is_usable);
        let has = self.acp.interfaces().is_none_or(|names| names.iter().any(|name| is_usable(name)));
        self.is_up.store(has && self.acp.status() != AcpStatus::Down, Ordering::Relaxed);
    }

    fn protection(&self) -> Option<Arc<dyn Protection>> {
        // What seals messages cannot change while the engine runs: TLS takes its place in the domain.
        None
    }
}

#[cfg(test)]
#[path = "with_domain_tests.rs"]
mod tests;
