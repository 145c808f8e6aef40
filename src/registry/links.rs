//! The addresses of this node, and the interfaces that it uses. `_watcher` replaces them as a whole, so that readers
//! see a consistent state.

use std::net::Ipv6Addr;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::types::OwnAddress;

/// The addresses of a node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// The preferred address of more than link scope.
    pub(crate) global: Option<Ipv6Addr>,
    /// Every interface in use.
    pub(crate) links: Vec<Link>,
    /// One address of more than link scope for each interface, the preferred first. Empty if `global` is used for all
    /// interfaces.
    pub(crate) own: Vec<OwnAddress>,
    /// The address that makes session identifiers unique, if it is not `global`.
    pub(crate) initiator: Option<Ipv6Addr>,
}

/// An interface in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) ifi: u32,
    pub(crate) address: Ipv6Addr,
    /// The port from which this engine sends its multicasts.
    pub(crate) port: u16,
}

impl Addresses {
    /// Whether this engine itself sent a datagram. The address alone is not enough: other processes of the host have
    /// the same address.
    pub(crate) fn are_source_of(&self, ifi: u32, source: Ipv6Addr, port: u16) -> bool {
        self.links.iter().any(|link| (link.ifi, link.address, link.port) == (ifi, source, port))
    }

    /// The address that makes this node's session identifiers unique (RFC 8990 §2.8.4).
    pub(crate) fn session_locator(&self) -> Ipv6Addr {
        let first = || self.links.first().map(|link| link.address);
        self.initiator.or(self.global).or_else(first).unwrap_or(Ipv6Addr::LOCALHOST)
    }

    pub(crate) fn link_local(&self, ifi: u32) -> Option<Ipv6Addr> {
        self.links.iter().find(|link| link.ifi == ifi).map(|link| link.address)
    }

    /// The addresses at which a peer behind an interface may reach this node, the likeliest first: the link-local
    /// address, if the link or the peer has no other; the address of the link; then those of other links, to which the
    /// peer may have a route. Addresses of bridges within this host are offered only on their own links: a peer may
    /// have the same address itself.
    pub(crate) fn offered_on(&self, ifi: u32, peer_is_link_local: bool) -> Vec<Ipv6Addr> {
        if self.own.is_empty() {
            return self.global.or_else(|| self.link_local(ifi)).into_iter().collect();
        }
        let here = self.own.iter().filter(|own| own.ifi == ifi).map(|own| own.address);
        let elsewhere = self.own.iter().filter(|own| own.ifi != ifi && !own.inner).map(|own| own.address);
        let here: Vec<_> = here.collect();
        let link_local = self.link_local(ifi).filter(|_| peer_is_link_local || here.is_empty());
        link_local.into_iter().chain(here).chain(elsewhere).collect()
    }

    /// Whether an address belongs to a neighbour on an interface: it is link-local, or shares the 64-bit prefix of a
    /// link (RFC 4291 §2.5.4) with one of this node's own addresses there.
    pub(crate) fn is_on_link(&self, ifi: u32, address: Ipv6Addr) -> bool {
        let prefix = |address: Ipv6Addr| address.to_bits() >> 64;
        let own = self.own.iter().filter(|own| own.ifi == ifi).map(|own| own.address);
        let own = own.chain(self.global.filter(|_| self.own.is_empty()));
        address.is_unicast_link_local() || own.into_iter().any(|own| prefix(own) == prefix(address))
    }

    /// Every address under which this node may be known.
    pub(crate) fn all(&self) -> impl Iterator<Item = Ipv6Addr> {
        let links = self.links.iter().map(|link| link.address);
        self.global.into_iter().chain(self.own.iter().map(|own| own.address)).chain(links)
    }

    /// If a datagram of this engine came in on another link than it was sent on, returns the link that it was sent on:
    /// both links are on one wire.
    pub(crate) fn heard_across(&self, ifi: u32, source: Ipv6Addr, port: u16) -> Option<u32> {
        let sent = self.links.iter().find(|link| (link.address, link.port) == (source, port));
        let elsewhere = sent.filter(|_| self.links.iter().any(|link| link.ifi == ifi));
        elsewhere.map(|link| link.ifi).filter(|sent| *sent != ifi)
    }
}

/// The current addresses.
#[derive(Debug, Default)]
pub(crate) struct LinkRegistry(RwLock<Arc<Addresses>>);

impl LinkRegistry {
    pub(crate) fn get(&self) -> Arc<Addresses> {
        Arc::clone(&self.0.read())
    }

    /// Replaces the addresses. `false` if nothing changed.
    pub(crate) fn set(&self, addresses: &Arc<Addresses>) -> bool {
        let mut current = self.0.write();
        let changed = *current != *addresses;
        *current = Arc::clone(addresses);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::OwnAddress;

    fn of(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    /// Links 2 to 5: link 4 is a bridge within the host, and link 5 has only a link-local address.
    fn addresses() -> Addresses {
        let link = |ifi: u32| Link { ifi, address: of(&format!("fe80::{ifi}")), port: 40_000 };
        let own = |ifi: u32, inner| OwnAddress { ifi, address: of(&format!("fd00:{ifi}::1")), inner };
        Addresses {
            global: Some(of("fd00:2::1")),
            links: [2, 3, 4, 5].map(link).to_vec(),
            own: vec![own(2, false), own(3, false), own(4, true)],
            initiator: None,
        }
    }

    #[test]
    fn a_peer_is_offered_the_address_of_its_link_first_and_none_of_a_bridge_within_the_host() {
        let offered = |ifi| addresses().offered_on(ifi, false);
        assert_eq!(offered(2), [of("fd00:2::1"), of("fd00:3::1")]);
        assert_eq!(offered(3), [of("fd00:3::1"), of("fd00:2::1")]);
        assert_eq!(offered(4), [of("fd00:4::1"), of("fd00:2::1"), of("fd00:3::1")]);
        assert_eq!(offered(5), [of("fe80::5"), of("fd00:2::1"), of("fd00:3::1")]);
        assert_eq!(addresses().offered_on(3, true), [of("fe80::3"), of("fd00:3::1"), of("fd00:2::1")]);
        let fixed = Addresses { own: Vec::new(), ..addresses() };
        assert_eq!(fixed.offered_on(5, true), [of("fd00:2::1")]);
    }

    #[test]
    fn neighbours_are_known_by_the_prefix_of_the_link() {
        let near = |ifi, address| addresses().is_on_link(ifi, of(address));
        assert!(near(2, "fe80::9") && near(2, "fd00:2::9") && near(3, "fd00:3::9"));
        assert!(!near(2, "fd00:3::9") && !near(2, "2001:db8::9") && !near(5, "fd00:2::9"));
        let fixed = Addresses { own: Vec::new(), ..addresses() };
        assert!(fixed.is_on_link(5, of("fd00:2::9")));
    }

    #[test]
    fn what_was_sent_out_of_another_interface_shows_that_both_are_on_one_wire() {
        let across = |ifi, source, port| addresses().heard_across(ifi, of(source), port);
        assert_eq!(across(3, "fe80::2", 40_000), Some(2));
        assert_eq!(across(2, "fe80::2", 40_000), None);
        assert_eq!(across(3, "fe80::2", 1), None);
        assert_eq!(across(3, "fe80::9", 40_000), None);
    }
}
