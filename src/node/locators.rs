//! Checks which received locators are plausible: one check before every cache, relay and connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::types::Locator;

/// How a locator reached this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// The neighbour with this address announced it on the link it arrived on.
    Link(Ipv6Addr),
    /// It came, or may have come, through a relay.
    Relay,
}

/// Whether a locator can lead to the node it is announced for. Rejected are this machine, unspecified addresses, groups
/// and other links; a link-local address is valid only on the link of the neighbour that announced it
/// (RFC 8990 §2.9.5.1).
pub(crate) fn acceptable(locator: &Locator, via: Via) -> bool {
    match locator {
        Locator::Ipv6(address) => is_acceptable(IpAddr::V6(*address), via),
        Locator::Ipv4(address) => is_acceptable(IpAddr::V4(*address), via),
        Locator::Fqdn(name) => is_acceptable_host(name, via),
        Locator::Uri(uri) => is_acceptable_host(host_of(uri), via),
    }
}

fn is_acceptable(address: IpAddr, via: Via) -> bool {
    match address {
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_acceptable_v4(mapped, via),
            None => {
                let leads_nowhere =
                    address.is_unspecified() || address.is_loopback() || address.is_multicast();
                let is_near = via != Via::Relay || !address.is_unicast_link_local();
                !leads_nowhere && is_near
            }
        },
        IpAddr::V4(address) => is_acceptable_v4(address, via),
    }
}

fn is_acceptable_v4(address: Ipv4Addr, via: Via) -> bool {
    let leads_nowhere =
        address.octets()[0] == 0 || address.is_loopback() || address.is_multicast() || address.is_broadcast();
    !leads_nowhere && (via != Via::Relay || !address.is_link_local())
}

/// A name that is an address follows the rules of addresses, and must not choose an interface of this machine.
fn is_acceptable_host(host: &str, via: Via) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let bare = host.trim_end_matches('.').to_ascii_lowercase();
    if host.contains('%') || bare == "localhost" || bare.ends_with(".localhost") {
        return false;
    }
    host.parse().map_or(true, |address| is_acceptable(address, via))
}

/// Returns the host of a URI: the part between `//` and the port or path.
fn host_of(uri: &str) -> &str {
    let after_scheme = uri.split_once("://").map_or("", |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    match host.find(']') {
        Some(end) => host.get(..=end).unwrap_or(host),
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// Whether a name is valid on one link only (RFC 8990 §2.9.5.3, §2.9.5.4).
pub(crate) fn is_mdns_name(locator: Option<&Locator>) -> bool {
    let host = match locator {
        Some(Locator::Fqdn(name)) => name.as_str(),
        Some(Locator::Uri(uri)) => host_of(uri),
        _ => return false,
    };
    host.trim_end_matches('.').to_ascii_lowercase().ends_with(".local")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEIGHBOUR: Via = Via::Link(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9));

    #[test]
    fn nothing_leads_to_this_machine_to_nobody_or_to_a_group() {
        for address in ["::1", "::", "ff02::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::ffff:224.0.0.1"] {
            assert!(!acceptable(&Locator::Ipv6(address.parse().unwrap()), NEIGHBOUR), "{address}");
        }
        for address in ["127.0.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.251", "255.255.255.255"] {
            assert!(!acceptable(&Locator::Ipv4(address.parse().unwrap()), NEIGHBOUR), "{address}");
        }
        for name in
            ["fe80::1%eth1", "fe80::1%lo", "::1", "127.0.0.1", "localhost", "LOCALHOST.", "x.localhost"]
        {
            assert!(!acceptable(&Locator::Fqdn(name.to_owned()), NEIGHBOUR), "{name}");
        }
        for uri in
            ["coap://[::1]:7/x", "coap://[fe80::1%25eth0]/", "http://me@localhost:80/", "x://127.0.0.1"]
        {
            assert!(!acceptable(&Locator::Uri(uri.to_owned()), NEIGHBOUR), "{uri}");
        }
    }

    #[test]
    fn link_local_addresses_are_believed_on_their_own_link_only() {
        let near = ["fe80::1", "::ffff:169.254.1.1"].map(|text| Locator::Ipv6(text.parse().unwrap()));
        for locator in near.into_iter().chain([Locator::Fqdn("fe80::1".to_owned())]) {
            assert!(acceptable(&locator, NEIGHBOUR) && !acceptable(&locator, Via::Relay), "{locator:?}");
        }
        for name in ["example.org", "printer.local", "2001:db8::1", "10.0.0.1"] {
            assert!(acceptable(&Locator::Fqdn(name.to_owned()), Via::Relay), "{name}");
        }
        assert!(acceptable(&Locator::Uri("urn:isbn:1".to_owned()), Via::Relay));
        assert!(acceptable(&Locator::Uri("coap://[2001:db8::1]:7/x".to_owned()), Via::Relay));
    }

    #[test]
    fn names_of_a_link_are_known_in_uris_too() {
        let is_mdns = |locator: Locator| is_mdns_name(Some(&locator));
        assert!(is_mdns(Locator::Fqdn("printer.LOCAL.".to_owned())));
        assert!(is_mdns(Locator::Uri("coap://user@printer.local:99/x".to_owned())));
        assert!(!is_mdns(Locator::Uri("coap://example.org/x.local".to_owned())));
    }
}
