//! Which interfaces there are and which address is ours (graspy's `acp._get_my_address`).

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv6Addr;

use if_addrs::IfAddr;
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use socket2::{Domain, Socket, Type};

use crate::acp::Substrate;
use crate::config::Config;

/// An interface that GRASP uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link {
    pub(crate) ifi: u32,
    pub(crate) name: String,
    pub(crate) link_local: Ipv6Addr,
}

/// The interfaces and addresses at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// One entry an interface, in the order of their indices.
    pub(crate) links: Vec<Link>,
    /// Addresses of more than link scope, the preferred first: unique local ones, then global ones.
    pub(crate) globals: Vec<Ipv6Addr>,
    /// The interfaces that peers may connect by, the loopback interface among them; `None` where the configuration and
    /// the substrate leave none out.
    pub(crate) permitted: Option<BTreeSet<u32>>,
}

/// Whether there is an interface of this name, in whatever state. One that cannot be asked for is taken for one.
pub(crate) fn exists(name: &str) -> bool {
    if name.len() >= IFNAMSIZ {
        return false;
    }
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, None);
    socket.map_or(true, |socket| name_to_index(&socket, name) != Err(Errno::NODEV))
}

/// The room that Linux has for a name, with its end.
const IFNAMSIZ: usize = 16;

/// Looks at the interfaces that the configuration permits.
pub(crate) fn snapshot(config: &Config, substrate: &dyn Substrate) -> io::Result<Snapshot> {
    let mut found = Snapshot::default();
    let secured = substrate.interfaces();
    let mut interfaces = if_addrs::get_if_addrs()?;
    interfaces.sort_by_key(|interface| interface.index);
    // A unique local address on the loopback interface is good practice, whatever the configuration names.
    let loopbacks: Vec<_> = interfaces.iter().filter(|i| i.is_loopback()).map(|i| i.name.clone()).collect();
    let is_loopback = |name: &String| loopbacks.contains(name);
    interfaces.retain(|interface| {
        let secured = secured.as_ref().is_none_or(|names| names.contains(&interface.name));
        secured && is_permitted(config, &interface.name) || is_loopback(&interface.name)
    });
    if secured.is_some() || config.interfaces.is_some() || !config.exclude_interfaces.is_empty() {
        found.permitted = Some(interfaces.iter().filter_map(|interface| interface.index).collect());
    }
    for interface in interfaces {
        let IfAddr::V6(address) = &interface.addr else { continue };
        let (address, loopback) = (address.ip, is_loopback(&interface.name));
        if is_wider_than_link(address) {
            found.globals.push(address);
        } else if let (true, false, Some(ifi)) = (address.is_unicast_link_local(), loopback, interface.index)
        {
            // One link-local address an interface: two would make one link look like two.
            if found.links.iter().all(|link| link.ifi != ifi) {
                found.links.push(Link { ifi, name: interface.name, link_local: address });
            }
        }
    }
    if config.dull {
        // RFC 8990 §2.5.2: a DULL instance has a single interface.
        found.links.truncate(config.dull_links);
    }
    // A stable sort: among equals the first interface wins.
    found.globals.sort_by_key(|address| !is_unique_local(*address));
    if let Some(address) = substrate.address() {
        found.globals.insert(0, address);
    }
    Ok(found)
}

fn is_permitted(config: &Config, name: &str) -> bool {
    let named = |list: &[String]| list.iter().any(|known| known == name);
    config.interfaces.as_deref().is_none_or(named) && !named(&config.exclude_interfaces)
}

fn is_unique_local(address: Ipv6Addr) -> bool {
    matches!(address.octets(), [0xfc | 0xfd, ..])
}

fn is_wider_than_link(address: Ipv6Addr) -> bool {
    !(address.is_unicast_link_local()
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.to_ipv4_mapped().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scopes_of_addresses_are_told_apart() {
        let of = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        assert!(is_unique_local(of("fd00::1")) && is_wider_than_link(of("fd00::1")));
        assert!(!is_unique_local(of("2001:db8::1")) && is_wider_than_link(of("2001:db8::1")));
        for narrow in ["fe80::1", "::1", "::", "ff02::13", "::ffff:192.0.2.1"] {
            assert!(!is_wider_than_link(of(narrow)), "{narrow}");
        }
    }

    #[test]
    fn names_permit_and_exclude() {
        let config = Config::new().interfaces(Some(vec!["eth0".to_owned(), "eth1".to_owned()]));
        let config = config.exclude_interfaces(vec!["eth1".to_owned()]);
        let permitted: Vec<_> =
            ["eth0", "eth1", "eth2"].into_iter().filter(|name| is_permitted(&config, name)).collect();
        assert_eq!(permitted, ["eth0"]);
    }
}
