//! Finds the interfaces and addresses of this machine (graspy's `acp._get_my_address`). Used by `_watcher`.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;
use std::sync::Once;

use if_addrs::IfAddr;
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use socket2::{Domain, Socket, Type};

pub(crate) use super::choice::{InUse, LeftOut, Link, Snapshot, Why};
use super::choice::{Wanted, choose};
use super::netlink::{self, Address, Device};
use crate::acp::Substrate;
use crate::config::Config;

/// Whether an interface of this name exists, in any state. If the system cannot be asked, assumes that it does.
pub(crate) fn exists(name: &str) -> bool {
    if name.len() >= IFNAMSIZ {
        return false;
    }
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, None);
    socket.map_or(true, |socket| name_to_index(&socket, name) != Err(Errno::NODEV))
}

/// Whether an interface of this name is up, its link too, and has a link-local address that can be used.
pub(crate) fn is_usable(config: &Config, name: &str) -> bool {
    let wanted = Wanted { interfaces: Some(vec![name.to_owned()]), address: None };
    look().is_ok_and(|(devices, addresses)| {
        let is_cut_off = devices.iter().any(|device| device.name == name && device.cut_off);
        let chosen = || choose(config, &wanted, (devices, addresses), &InUse::default());
        !is_cut_off && !chosen().links.is_empty()
    })
}

/// The size of an interface name on Linux, including the terminating zero.
const IFNAMSIZ: usize = 16;

/// Queries the system and chooses among the interfaces that the configuration permits.
pub(crate) fn snapshot(config: &Config, substrate: &dyn Substrate, used: &InUse) -> io::Result<Snapshot> {
    let wanted = Wanted { interfaces: substrate.interfaces(), address: substrate.address() };
    Ok(choose(config, &wanted, look()?, used))
}

/// Returns all interfaces and addresses from rtnetlink; if that is not permitted, whatever else the system provides.
fn look() -> io::Result<(Vec<Device>, Vec<Address>)> {
    netlink::devices().and_then(|devices| Ok((devices, netlink::addresses()?))).or_else(|refusal| {
        static SAID: Once = Once::new();
        SAID.call_once(|| {
            log::warn!(
                "rtnetlink cannot be asked ({refusal}): ports of bridges and interfaces on the same link are not recognised"
            );
        });
        look_without_netlink()
    })
}

/// Uses getifaddrs(3), which also relies on netlink in most C libraries, and the flags in /proc; if it fails, /proc
/// alone.
fn look_without_netlink() -> io::Result<(Vec<Device>, Vec<Address>)> {
    let listed = std::fs::read_to_string("/proc/thread-self/net/if_inet6");
    let listed: Vec<_> = listed.iter().flat_map(|text| text.lines().filter_map(if_inet6)).collect();
    let mut devices = BTreeMap::new();
    let mut addresses = Vec::new();
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => {
            for interface in interfaces {
                let Some(ifi) = interface.index else { continue };
                let loopback = interface.is_loopback();
                let device = || Device { ifi, name: interface.name, loopback, ..Device::default() };
                devices.entry(ifi).or_insert_with(device);
                let IfAddr::V6(given) = interface.addr else { continue };
                let known = listed.iter().find(|(_, one)| (one.ifi, one.address) == (ifi, given.ip));
                let unknown = Address {
                    ifi,
                    address: given.ip,
                    prefix: 64,
                    flags: netlink::flags::PERMANENT,
                    automatic: false,
                    made: 0,
                };
                addresses.push(known.map_or(unknown, |(_, known)| known.clone()));
            }
        }
        Err(error) if listed.is_empty() => return Err(error),
        Err(_) => (devices, addresses) = of_proc(listed),
    }
    Ok((devices.into_values().collect(), addresses))
}

/// The interfaces that have the addresses of /proc/net/if_inet6.
fn of_proc(listed: Vec<(String, Address)>) -> (BTreeMap<u32, Device>, Vec<Address>) {
    let mut devices = BTreeMap::new();
    let mut addresses = Vec::new();
    for (name, address) in listed {
        let loopback = address.address.is_loopback();
        let device = || Device { ifi: address.ifi, name, ..Device::default() };
        devices.entry(address.ifi).or_insert_with(device).loopback |= loopback;
        addresses.push(address);
    }
    (devices, addresses)
}

/// Parses a line of /proc/net/if_inet6: address, interface, prefix length, scope, flags (all hexadecimal), name.
fn if_inet6(line: &str) -> Option<(String, Address)> {
    let mut words = line.split_ascii_whitespace();
    let mut hexadecimal = || u128::from_str_radix(words.next()?, 16).ok();
    let address = Ipv6Addr::from(hexadecimal()?);
    let ifi = u32::try_from(hexadecimal()?).ok()?;
    let prefix = u8::try_from(hexadecimal()?).ok()?;
    let _scope = hexadecimal()?;
    let flags = u32::try_from(hexadecimal()?).ok()?;
    let name = words.next()?.to_owned();
    Some((name, Address { ifi, address, prefix, flags, automatic: false, made: 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_tells_of_addresses_with_their_flags() {
        let line = "fe8000000000000000000000000000fe 02 40 20 c8     eth0";
        let (name, found) = if_inet6(line).unwrap();
        assert_eq!((name.as_str(), found.ifi, found.prefix), ("eth0", 2, 64));
        assert_eq!(found.address, "fe80::fe".parse::<Ipv6Addr>().unwrap());
        assert_eq!(found.flags, 0xc8);
        for wrong in ["", "fe80", "fe8000000000000000000000000000fe 02 40 20", "x y z a b c"] {
            assert_eq!(if_inet6(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn without_netlink_the_same_addresses_are_found() {
        let (devices, mut addresses) = look_without_netlink().unwrap();
        let (all, mut expected) = look().unwrap();
        let key = |one: &Address| (one.ifi, one.address);
        addresses.sort_by_key(key);
        expected.sort_by_key(key);
        assert_eq!(
            addresses.iter().map(key).collect::<Vec<_>>(),
            expected.iter().map(key).collect::<Vec<_>>()
        );
        for device in devices {
            let known = all.iter().find(|known| known.ifi == device.ifi).unwrap();
            assert_eq!((&known.name, known.loopback), (&device.name, device.loopback));
        }
    }

    #[test]
    fn what_proc_alone_tells_makes_interfaces_with_all_their_addresses() {
        let lines = [
            "00000000000000000000000000000001 01 80 10 80       lo",
            "fe8000000000000000000000000000fe 02 40 20 c8     eth0",
            "fd0000000000000000000000000000fe 02 40 00 80     eth0",
        ];
        let (devices, addresses) = of_proc(lines.iter().filter_map(|line| if_inet6(line)).collect());
        let seen: Vec<_> = devices.values().map(|one| (one.ifi, one.name.as_str(), one.loopback)).collect();
        assert_eq!(seen, [(1, "lo", true), (2, "eth0", false)]);
        assert_eq!(addresses.iter().map(|one| one.ifi).collect::<Vec<_>>(), [1, 2, 2]);
    }
}
