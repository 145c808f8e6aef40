//! The addresses of this node, and which interfaces it uses. `_watcher` replaces them whole, so that readers keep a
//! consistent view.

use std::net::Ipv6Addr;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::types::OwnAddress;

/// The addresses of a node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// The preferred address with more than link scope.
    pub(crate) global: Option<Ipv6Addr>,
    /// Every interface in use.
    pub(crate) links: Vec<Link>,
    /// The address of more than link scope of each interface, the preferred first. Empty where `global` is that of all.
    pub(crate) own: Vec<OwnAddress>,
    /// What makes session identifiers unique, where that is not `global`.
    pub(crate) initiator: Option<Ipv6Addr>,
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
        let first = || self.links.first().map(|link| link.address);
        self.initiator.or(self.global).or_else(first).unwrap_or(Ipv6Addr::LOCALHOST)
    }

    pub(crate) fn link_local(&self, ifi: u32) -> Option<Ipv6Addr> {
        self.links.iter().find(|link| link.ifi == ifi).map(|link| link.address)
    }

    /// The addresses that a peer beyond an interface may reach this node at, the likeliest first: that of the link, or the
    /// link-local one if the link or the peer has no other, then those of other links, which it may have a route to. Those of
    /// bridges within this host are for their own links only: a peer may have the same address itself.
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

    /// Whether an address is of a neighbour on an interface: link-local, or with the 64-bit prefix that a link has (RFC 4291
    /// §2.5.4) of one of this node's own addresses there.
    pub(crate) fn is_on_link(&self, ifi: u32, address: Ipv6Addr) -> bool {
        let prefix = |address: Ipv6Addr| address.to_bits() >> 64;
        let own = self.own.iter().filter(|own| own.ifi == ifi).map(|own| own.address);
        let own = own.chain(self.global.filter(|_| self.own.is_empty()));
        address.is_unicast_link_local() || own.into_iter().any(|own| prefix(own) == prefix(address))
    }

    /// Every address that this node may be known by.
    pub(crate) fn all(&self) -> impl Iterator<Item = Ipv6Addr> {
        let links = self.links.iter().map(|link| link.address);
        self.global.into_iter().chain(self.own.iter().map(|own| own.address)).chain(links)
    }

    /// The link that this engine has sent a datagram out of, if it has come in by another: both are on one wire.
    pub(crate) fn heard_across(&self, ifi: u32, source: Ipv6Addr, port: u16) -> Option<u32> {
        let sent = self.links.iter().find(|link| (link.address, link.port) == (source, port));
        let elsewhere = sent.filter(|_| self.links.iter().any(|link| link.ifi == ifi));
        elsewhere.map(|link| link.ifi).filter(|sent| *sent != ifi)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::OwnAddress;

    fn of(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    /// Links 2, 3 and 4, of which the last is a bridge within the host.
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
