//! Resolves a locator to addresses to connect to (RFC 8990 §2.8.6).

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};

use crate::types::{AsaLocator, Locator, Protocol};

/// Returns the addresses of a locator, to be tried in order. Empty if there are none: for a URI, a protocol other than
/// TCP, a missing port, or a name that cannot be resolved. Resolving a name takes as long as the system's resolver
/// needs.
pub(crate) fn resolve(locator: &AsaLocator) -> Vec<SocketAddr> {
    let Some(port) = locator.port.filter(|_| locator.protocol.is_none_or(|it| it == Protocol::Tcp)) else {
        return Vec::new();
    };
    match &locator.locator {
        Some(Locator::Ipv6(address)) => {
            let scope = if address.is_unicast_link_local() { locator.ifi.unwrap_or(0) } else { 0 };
            vec![SocketAddrV6::new(*address, port, 0, scope).into()]
        }
        Some(Locator::Ipv4(address)) => vec![SocketAddrV4::new(*address, port).into()],
        Some(Locator::Fqdn(name)) => match (name.as_str(), port).to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                log::info!("the name of a locator cannot be resolved: {error}");
                Vec::new()
            }
        },
        Some(Locator::Uri(_)) | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn every_kind_of_locator_leads_where_it_can() {
        let link_local = AsaLocator::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), Some(7)).with_port(80);
        assert_eq!(resolve(&link_local)[0].to_string(), "[fe80::1%7]:80");
        let global = AsaLocator::new(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), Some(7)).with_port(80);
        assert_eq!(resolve(&global)[0].to_string(), "[fd00::1]:80");
        let v4 = AsaLocator::new(Ipv4Addr::LOCALHOST, None).with_port(80);
        assert_eq!(resolve(&v4)[0].to_string(), "127.0.0.1:80");
        assert!(!resolve(&AsaLocator::fqdn("localhost", Protocol::Tcp, 80)).is_empty());
        assert!(resolve(&AsaLocator::fqdn("localhost", Protocol::Udp, 80)).is_empty());
        for other in [Protocol::Ipv6, Protocol::Other(132), Protocol::Other(6 + 256)] {
            assert!(resolve(&AsaLocator::new(Ipv4Addr::LOCALHOST, None).with_protocol(other)).is_empty());
        }
        assert!(resolve(&AsaLocator::uri("coap://localhost")).is_empty());
        assert!(resolve(&AsaLocator::null()).is_empty());
    }
}
