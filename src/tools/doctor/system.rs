//! Reads what the kernel says about this host in `/proc`, in the network namespace of this thread. A file that cannot be read
//! counts as empty.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv6Addr;

use crate::constants::GRASP_LISTEN_PORT;

/// Flags of an address in `/proc/net/if_inet6` (`IFA_F_*` of Linux).
const DADFAILED: u32 = 0x08;
const DEPRECATED: u32 = 0x20;
const TENTATIVE: u32 = 0x40;

/// An interface with its IPv6 addresses and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) ifi: u32,
    pub(super) name: String,
    pub(super) addresses: Vec<Address>,
    pub(super) groups: Vec<Ipv6Addr>,
}

/// An address and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) address: Ipv6Addr,
    pub(super) state: State,
}

/// The state of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Valid,
    /// The kernel is checking whether another host has the address.
    Tentative,
    /// Another host has the address.
    Failed,
    /// The address must not be used for new connections.
    Deprecated,
}

/// A process that has UDP port 7017.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    /// `None` if this user may not see the process.
    pub(super) process: Option<(u32, String)>,
    pub(super) uid: u32,
}

/// A file of this thread's network namespace.
fn net(name: &str) -> String {
    fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default()
}

pub(super) fn interfaces() -> Vec<Interface> {
    read_interfaces(&net("if_inet6"), &net("igmp6"))
}

/// From the texts of `if_inet6` and `igmp6`.
pub(super) fn read_interfaces(if_inet6: &str, igmp6: &str) -> Vec<Interface> {
    let mut found: BTreeMap<u32, Interface> = BTreeMap::new();
    let mut of = |ifi: u32, name: &str, add: &dyn Fn(&mut Interface)| {
        let interface = found.entry(ifi).or_insert_with(|| Interface {
            ifi,
            name: name.to_owned(),
            ..Interface::default()
        });
        add(interface);
    };
    for line in if_inet6.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [address, ifi, _length, _scope, flags, name] = *words else { continue };
        let hex = |text| u32::from_str_radix(text, 16).ok();
        if let (Some(address), Some(ifi), Some(flags)) = (address_of_hex(address), hex(ifi), hex(flags)) {
            let state = match flags {
                flags if flags & DADFAILED != 0 => State::Failed,
                flags if flags & TENTATIVE != 0 => State::Tentative,
                flags if flags & DEPRECATED != 0 => State::Deprecated,
                _ => State::Valid,
            };
            of(ifi, name, &|interface| interface.addresses.push(Address { address, state }));
        }
    }
    for line in igmp6.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [ifi, name, group, ..] = *words else { continue };
        if let (Ok(ifi), Some(group)) = (ifi.parse(), address_of_hex(group)) {
            of(ifi, name, &|interface| interface.groups.push(group));
        }
    }
    found.into_values().collect()
}

/// An address as 32 hexadecimal digits.
fn address_of_hex(digits: &str) -> Option<Ipv6Addr> {
    (digits.len() == 32).then(|| u128::from_str_radix(digits, 16).ok()).flatten().map(Ipv6Addr::from)
}

/// Who has UDP port 7017. Processes of other users can be seen by root only.
pub(super) fn holders() -> Vec<Holder> {
    let sockets = read_sockets(&net("udp6"));
    let owners = owners(sockets.keys().copied().collect());
    let mut holders: BTreeSet<Holder> = BTreeSet::new();
    for (inode, uid) in sockets {
        holders.insert(Holder { process: owners.get(&inode).cloned(), uid });
    }
    holders.into_iter().collect()
}

/// The inodes and users of the sockets with port 7017, from the text of `udp6`.
pub(super) fn read_sockets(udp6: &str) -> BTreeMap<u64, u32> {
    let socket = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, local, _, _, _, _, _, uid, _, inode, ..] = *words else { return None };
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        (port == GRASP_LISTEN_PORT).then_some((inode.parse().ok()?, uid.parse().ok()?))
    };
    udp6.lines().filter_map(socket).collect()
}

/// The processes that have these sockets, as far as they may be seen.
fn owners(mut wanted: BTreeSet<u64>) -> BTreeMap<u64, (u32, String)> {
    let mut found = BTreeMap::new();
    let Ok(processes) = fs::read_dir("/proc") else { return found };
    for process in processes.flatten() {
        if wanted.is_empty() {
            break;
        }
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            let inode = target
                .to_str()
                .and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode.filter(|inode| wanted.remove(inode)) {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                found.insert(inode, (pid, name.trim().to_owned()));
            }
        }
    }
    found
}
