//! Interfaces that a node makes itself, and addresses in the states that the kernel knows.

use std::{fs, io, net::Ipv6Addr, time::Duration};

use netlink_packet_route::address::AddressFlags;

use crate::{
    LabError, Node,
    error::Doing as _,
    netlink::{VethEnd, VethPeer},
    process,
};

/// What a new address is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// The kernel asks the link whether another node has it.
    Checked,
    /// Usable at once, and not to be used for anything new. Changes an address that is there.
    Deprecated,
    /// Usable at once. Changes an address that is there, a deprecated one for instance.
    Preferred,
    /// The kernel makes temporary addresses of the same prefix, if `use_tempaddr` is set.
    WithTemporary,
}

/// The flags of an address, as `/proc/net/if_inet6` has them.
pub mod flags {
    /// Made up for privacy.
    pub const TEMPORARY: u32 = 0x01;
    /// Another node has it.
    pub const DADFAILED: u32 = 0x08;
    /// Not to be used for anything new.
    pub const DEPRECATED: u32 = 0x20;
    /// The kernel still asks whether another node has it.
    pub const TENTATIVE: u32 = 0x40;
}

impl Node {
    /// Makes a bridge, which is up when this returns and has no address.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the kernel refuses, because there is an interface of this name for instance.
    pub fn make_bridge(&self, name: &str) -> Result<u32, LabError> {
        let made: io::Result<_> = self.namespace().netlink(|netlink| {
            netlink.create_bridge(name, 0)?;
            let index = netlink.link(name)?.index;
            netlink.no_automatic_address(index)?;
            netlink.set_up(index, true)?;
            Ok(index)
        });
        made.doing(|| format!("make bridge {name} of node {}", self.name()))
    }

    /// Makes interfaces a port of a bridge, or of none.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when there is no such interface.
    pub fn set_bridge(&self, interface: &str, bridge: Option<&str>) -> Result<(), LabError> {
        let index = self.interface_index(interface)?;
        let bridge = bridge.map_or(Ok(0), |bridge| self.interface_index(bridge))?;
        let set = self.namespace().netlink(|netlink| netlink.set_bridge(index, bridge));
        set.doing(|| format!("change the bridge of {interface} of node {}", self.name()))
    }

    /// Makes a port of a bridge of this node, whose other end is the interface `inside` of another node: a container. Both
    /// are up when this returns.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the kernel refuses.
    pub fn plug(&self, port: &str, bridge: &str, container: &Self, inside: &str) -> Result<(), LabError> {
        let bridge = self.interface_index(bridge)?;
        let [high, low] = container.number().to_be_bytes();
        let mac = [0x02, 0x4d, 0, 0, high, low];
        let plugged: io::Result<_> = self.namespace().netlink(|netlink| {
            let peer = VethPeer { name: inside, mac, namespace: container.namespace().raw() };
            netlink.create_veth(&VethEnd { name: port, index: 0, bridge }, &peer)?;
            let index = netlink.link(port)?.index;
            netlink.no_automatic_address(index)?;
            netlink.set_up(index, true)
        });
        let doing = || format!("plug {port} of node {} into {}", self.name(), container.name());
        plugged.doing(doing)?;
        let index = container.interface_index(inside)?;
        container.namespace().netlink(|netlink| netlink.set_up(index, true)).doing(doing)
    }

    /// Adds an address of some kind, or changes it.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when there is no such interface.
    pub fn add_address_as(
        &self,
        interface: &str,
        address: Ipv6Addr,
        prefix: u8,
        kind: AddressKind,
    ) -> Result<(), LabError> {
        let index = self.interface_index(interface)?;
        let (flags, preferred) = match kind {
            AddressKind::Checked => (AddressFlags::empty(), u32::MAX),
            AddressKind::Deprecated => (AddressFlags::Nodad, 0),
            AddressKind::Preferred => (AddressFlags::Nodad, u32::MAX),
            AddressKind::WithTemporary => (AddressFlags::Nodad | AddressFlags::Managetempaddr, u32::MAX),
        };
        let added =
            self.namespace().netlink(|netlink| netlink.put_address(index, address, prefix, flags, preferred));
        added.doing(|| format!("add {address}/{prefix} ({kind:?}) to {interface} of node {}", self.name()))
    }

    /// The IPv6 addresses of the node with their [`flags`].
    ///
    /// # Panics
    ///
    /// When `/proc` is not mounted.
    #[must_use]
    pub fn address_flags(&self) -> Vec<(Ipv6Addr, u32)> {
        let text = self.run(|| fs::read_to_string("/proc/thread-self/net/if_inet6"));
        let text = text.unwrap_or_else(|error| panic!("/proc/thread-self/net/if_inet6: {error}"));
        let address = |line: &str| {
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            let address = u128::from_str_radix(words.first()?, 16).ok()?;
            Some((address.into(), u32::from_str_radix(words.get(4)?, 16).ok()?))
        };
        text.lines().filter_map(address).collect()
    }

    /// Waits until an address has a flag.
    ///
    /// # Panics
    ///
    /// When it has not within 20 seconds.
    pub fn wait_for_flag(&self, address: Ipv6Addr, flag: u32) {
        let what = format!("{address} of node {} has the flag {flag:#x}", self.name());
        process::eventually(Duration::from_secs(20), &what, || {
            self.address_flags().iter().any(|(one, flags)| *one == address && flags & flag != 0)
        });
    }

    /// Changes a setting of IPv6 on an interface, as `sysctl net.ipv6.conf` does.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when there is no such setting.
    pub fn set_ipv6(&self, interface: &str, setting: &str, value: u32) -> Result<(), LabError> {
        let path = format!("/proc/sys/net/ipv6/conf/{interface}/{setting}");
        self.run(|| fs::write(&path, value.to_string())).doing(|| format!("write to {path}"))
    }
}
