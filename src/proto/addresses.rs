//! Which address of this node is for whom.

use std::net::Ipv6Addr;

use super::{Addresses, Arrival};

impl Addresses {
    /// The address that makes this node's session identifiers unique (RFC 8990 §2.8.4).
    pub(crate) fn session_locator(&self) -> Ipv6Addr {
        let first = || self.links.first().map(|link| link.address);
        self.initiator.or(self.global).or_else(first).unwrap_or(Ipv6Addr::LOCALHOST)
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

    /// Every address that this node may be known by.
    pub(crate) fn all(&self) -> impl Iterator<Item = Ipv6Addr> {
        let links = self.links.iter().map(|link| link.address);
        self.global.into_iter().chain(self.own.iter().map(|own| own.address)).chain(links)
    }

    /// The link that this engine has sent a datagram out of, if it has come in by another: both are on one wire.
    pub(crate) fn heard_across(&self, arrival: &Arrival) -> Option<u32> {
        let sent = self.links.iter().find(|link| (link.address, link.port) == (arrival.source, arrival.port));
        let elsewhere = sent.filter(|_| self.links.iter().any(|link| link.ifi == arrival.ifi));
        elsewhere.map(|link| link.ifi).filter(|ifi| *ifi != arrival.ifi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Link;
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
    fn what_was_sent_out_of_another_interface_shows_that_both_are_on_one_wire() {
        let arrival = |ifi, source: &str, port| Arrival { ifi, source: of(source), port, multicast: true };
        let across = |ifi, source, port| addresses().heard_across(&arrival(ifi, source, port));
        assert_eq!(across(3, "fe80::2", 40_000), Some(2));
        assert_eq!(across(2, "fe80::2", 40_000), None);
        assert_eq!(across(3, "fe80::2", 1), None);
        assert_eq!(across(3, "fe80::9", 40_000), None);
    }
}
