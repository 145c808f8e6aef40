//! The addresses of this node, and which interfaces it uses. `_watcher` replaces them whole, so that readers keep a
//! consistent view.

use std::net::Ipv6Addr;
use std::sync::Arc;

use parking_lot::RwLock;

/// The addresses of a node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// The preferred address with more than link scope.
    pub(crate) global: Option<Ipv6Addr>,
    /// Every interface in use.
    pub(crate) links: Vec<Link>,
}

/// An interface in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) ifi: u32,
    pub(crate) address: Ipv6Addr,
    /// Where this engine sends its multicasts from.
    pub(crate) port: u16,
}

impl Addresses {
    /// Whether a datagram was sent by this very engine. Its address alone would not tell: other processes of
    /// the host have the same.
    pub(crate) fn are_source_of(&self, ifi: u32, source: Ipv6Addr, port: u16) -> bool {
        self.links.iter().any(|link| (link.ifi, link.address, link.port) == (ifi, source, port))
    }

    /// The address that makes this node's session identifiers unique (RFC 8990 §2.8.4).
    pub(crate) fn session_locator(&self) -> Ipv6Addr {
        self.global.or_else(|| self.links.first().map(|link| link.address)).unwrap_or(Ipv6Addr::LOCALHOST)
    }

    pub(crate) fn link_local(&self, ifi: u32) -> Option<Ipv6Addr> {
        self.links.iter().find(|link| link.ifi == ifi).map(|link| link.address)
    }
}

/// The addresses now.
#[derive(Debug, Default)]
pub(crate) struct LinkRegistry(RwLock<Arc<Addresses>>);

impl LinkRegistry {
    pub(crate) fn get(&self) -> Arc<Addresses> {
        Arc::clone(&self.0.read())
    }

    /// Replaces them. `false` if they are as they were.
    pub(crate) fn set(&self, addresses: &Arc<Addresses>) -> bool {
        let mut current = self.0.write();
        let changed = *current != *addresses;
        *current = Arc::clone(addresses);
        changed
    }
}
