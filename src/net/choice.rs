//! Decides which interfaces and which of their addresses to use. It works on a list and does not query the system. Used
//! by `interfaces`.
//!
//! What is in use stays in use as long as it is valid, so that irrelevant changes have no effect.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use super::netlink::{Address, Device, flags};
use crate::config::Config;
use crate::types::OwnAddress;

/// An interface that GRASP uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link {
    pub(crate) ifi: u32,
    pub(crate) name: String,
    pub(crate) link_local: Ipv6Addr,
}

/// An interface that GRASP could use but does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) name: String,
    pub(crate) why: Why,
}

/// Why an interface is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is part of another interface, for instance a bridge, which receives its traffic.
    PartOf(String),
    /// It is on the same link as another.
    SameLink(String),
    /// There are more than `Config::interface_limit`.
    Limit,
    /// The process may not open enough descriptors.
    Descriptors,
}

/// The interfaces and addresses at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// One entry per interface, ordered by index.
    pub(crate) links: Vec<Link>,
    /// The address wider than link scope that each interface offers, the preferred one first. Empty if the substrate
    /// determines the node's address.
    pub(crate) own: Vec<OwnAddress>,
    /// The node's preferred address wider than link scope.
    pub(crate) global: Option<Ipv6Addr>,
    /// What makes session identifiers unique (RFC 8990 §2.8.4).
    pub(crate) initiator: Option<Ipv6Addr>,
    /// The interfaces that peers may connect through, including the loopback interface; `None` if the configuration and
    /// the substrate exclude none.
    pub(crate) permitted: Option<BTreeSet<u32>>,
    pub(crate) left_out: Vec<LeftOut>,
}

/// The interfaces and addresses in use now.
#[derive(Clone, Debug, Default)]
pub(crate) struct InUse {
    pub(crate) link_locals: BTreeMap<u32, Ipv6Addr>,
    pub(crate) own: Vec<OwnAddress>,
    pub(crate) global: Option<Ipv6Addr>,
    pub(crate) initiator: Option<Ipv6Addr>,
}

/// The interfaces and the address that the substrate asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) interfaces: Option<Vec<String>>,
    pub(super) address: Option<Ipv6Addr>,
}

/// Chooses among the interfaces and addresses of the system.
pub(super) fn choose(
    config: &Config,
    wanted: &Wanted,
    (mut devices, addresses): (Vec<Device>, Vec<Address>),
    used: &InUse,
) -> Snapshot {
    devices.sort_by_key(|device| device.ifi);
    let all = Seen { valid: addresses.into_iter().filter(is_valid).collect(), devices };
    let secured = |name: &String| wanted.interfaces.as_ref().is_none_or(|names| names.contains(name));
    // Having a unique local address on the loopback interface is good practice, whatever interfaces the configuration
    // names.
    let is_ours =
        |device: &Device| device.loopback || secured(&device.name) && is_permitted(config, &device.name);
    let ours: Vec<_> = all.devices.iter().filter(|device| is_ours(device)).collect();
    let restricts =
        wanted.interfaces.is_some() || config.interfaces.is_some() || !config.exclude_interfaces.is_empty();
    let mut found = Snapshot {
        permitted: restricts.then(|| ours.iter().map(|device| device.ifi).collect()),
        ..Snapshot::default()
    };
    let links = ours.iter().filter(|device| !device.loopback).filter_map(|device| all.link(device, used));
    (found.links, found.left_out) = all.without_duplicates(links.collect());
    limit(&mut found, most(config), config.dull, used);
    let mut own: Vec<_> = ours.iter().filter_map(|device| all.own_address(device, used)).collect();
    // The sort is stable: among equals, the first interface wins.
    own.sort_by_key(|(own, rank)| (own.inner, used.global != Some(own.address), *rank));
    own.sort_by_key(|(own, rank)| (own.inner, rank.deprecated, rank.temporary));
    let own: Vec<_> = own.into_iter().map(|(own, _)| own).collect();
    found.global = wanted.address.or_else(|| own.first().map(|own| own.address));
    found.initiator = wanted.address.or_else(|| all.initiator(&own, &found.links, used));
    if wanted.address.is_none() {
        found.own = own;
    }
    found
}

/// The system's interfaces and addresses, without tentative addresses and without those that another node has too.
struct Seen {
    devices: Vec<Device>,
    valid: Vec<Address>,
}

/// The drawbacks of an address, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    deprecated: bool,
    temporary: bool,
    unused: bool,
    /// Assigned by a router; any node on the link can claim to be one.
    dynamic: bool,
    /// Not a unique local address.
    global: bool,
    made: u32,
}

impl Seen {
    fn device(&self, ifi: u32) -> Option<&Device> {
        self.devices.iter().find(|device| device.ifi == ifi)
    }

    fn of(&self, device: &Device) -> impl Iterator<Item = &Address> {
        let ifi = device.ifi;
        // The oldest comes first.
        self.valid.iter().rev().filter(move |address| address.ifi == ifi)
    }

    /// Returns the interface with its link-local address. Each interface has one address: with two, one link would look
    /// like two. An address that the system generated for this interface is best: a router may have one that it shares
    /// with other routers (RFC 9568).
    fn link(&self, device: &Device, used: &InUse) -> Option<Link> {
        let used = used.link_locals.get(&device.ifi);
        let rank = |address: &&Address| {
            let deprecated = address.flags & flags::DEPRECATED != 0;
            let shared = address.prefix == 128;
            (deprecated, used != Some(&address.address), !is_made_unique(address), shared, address.made)
        };
        let candidates = self.of(device).filter(|one| one.address.is_unicast_link_local());
        let best = candidates.min_by_key(rank)?;
        Some(Link { ifi: device.ifi, name: device.name.clone(), link_local: best.address })
    }

    /// Returns the address wider than link scope that an interface offers.
    fn own_address(&self, device: &Device, used: &InUse) -> Option<(OwnAddress, Rank)> {
        let rank = |one: &Address| Rank {
            deprecated: one.flags & flags::DEPRECATED != 0,
            temporary: one.flags & flags::TEMPORARY != 0,
            unused: !used.own.iter().any(|used| (used.ifi, used.address) == (one.ifi, one.address)),
            dynamic: one.flags & flags::PERMANENT == 0,
            global: !is_unique_local(one.address),
            made: one.made,
        };
        let candidates = self.of(device).filter(|one| is_wider_than_link(one.address));
        let (best, rank) = candidates.map(|one| (one, rank(one))).min_by_key(|(_, rank)| *rank)?;
        let inner = self.is_inner(device);
        // The age of addresses does not count between interfaces.
        let rank = Rank { made: 0, ..rank };
        Some((OwnAddress { ifi: device.ifi, address: best.address, inner }, rank))
    }

    /// Whether an interface is a bridge none of whose ports leads out of this host.
    fn is_inner(&self, device: &Device) -> bool {
        let is_port = |port: &&Device| port.master.as_ref().is_some_and(|(of, _)| *of == device.ifi);
        let stays = |port: &Device| ["veth", "tun"].contains(&port.kind.as_str());
        device.kind == "bridge" && self.devices.iter().filter(is_port).all(stays)
    }

    /// Leaves out an interface if another one is on the same link: otherwise messages would go out twice, and floods
    /// would be relayed back to where they came from.
    fn without_duplicates(&self, links: Vec<Link>) -> (Vec<Link>, Vec<LeftOut>) {
        let mut left_out = Vec::new();
        let mut first_on: BTreeMap<u32, (u32, String)> = BTreeMap::new();
        for link in &links {
            if self.whole(link.ifi).is_none() && self.shared_lower(link.ifi).is_none() {
                first_on.insert(link.ifi, (link.ifi, link.name.clone()));
            }
        }
        let kept = links.into_iter().filter(|link| {
            let name = link.name.clone();
            if let Some(whole) = self.whole(link.ifi) {
                left_out.push(LeftOut { name, why: Why::PartOf(whole) });
                return false;
            }
            let Some(lower) = self.shared_lower(link.ifi) else { return true };
            let (first, other) = first_on.entry(lower).or_insert_with(|| (link.ifi, name.clone()));
            if *first != link.ifi {
                left_out.push(LeftOut { name, why: Why::SameLink(other.clone()) });
            }
            *first == link.ifi
        });
        (kept.collect(), left_out)
    }

    /// Returns the name of the interface that an interface is part of: a bridge or a bond. Traffic that comes in by the
    /// part belongs to the whole. Interfaces of a VRF only have separate routing, so they count as independent.
    fn whole(&self, ifi: u32) -> Option<String> {
        let (master, part) = self.device(ifi)?.master.as_ref()?;
        let master = self.device(*master);
        let kind = if part.is_empty() { master.map_or("", |master| &master.kind) } else { part };
        (kind != "vrf").then(|| master.map_or_else(|| "another interface".to_owned(), |it| it.name.clone()))
    }

    /// Returns the lower interface if an interface is only another address on its link.
    fn shared_lower(&self, ifi: u32) -> Option<u32> {
        let device = self.device(ifi)?;
        let shares = ["macvlan", "macvtap", "ipvlan", "ipvtap"].contains(&device.kind.as_str());
        device.lower.filter(|_| shares)
    }

    /// Returns a globally unique address, or else a link-local one that is probably unique (RFC 8990 §2.8.4). Addresses
    /// of inner bridges do not qualify: every host with containers may have the same ones.
    fn initiator(&self, own: &[OwnAddress], links: &[Link], used: &InUse) -> Option<Ipv6Addr> {
        let inner = |ifi| self.device(ifi).is_some_and(|device| self.is_inner(device));
        let stays = |one: &Address| {
            Some(one.address) == used.initiator && is_wider_than_link(one.address) && !inner(one.ifi)
        };
        if self.valid.iter().any(stays) {
            return used.initiator;
        }
        let unique = own.iter().find(|own| !own.inner).map(|own| own.address);
        let link_local = || {
            let likely = |link: &&Link| {
                let unique = |one: &Address| one.address == link.link_local && is_made_unique(one);
                let address = Some(link.link_local);
                (inner(link.ifi), address != used.initiator, !self.valid.iter().any(unique), link.ifi)
            };
            links.iter().min_by_key(likely).map(|link| link.link_local)
        };
        unique.or_else(link_local).or_else(|| own.first().map(|own| own.address))
    }
}

/// The maximum number of interfaces in use.
fn most(config: &Config) -> usize {
    let limit = config.interface_limit;
    // RFC 8990 §2.5.2: a DULL instance has a single interface.
    if config.dull { config.dull_links.min(limit) } else { limit }
}

/// Limits the number of interfaces to `most`: those already in use come first, then those with the lowest index.
fn limit(found: &mut Snapshot, most: usize, silently: bool, used: &InUse) {
    found.links.sort_by_key(|link| (!used.link_locals.contains_key(&link.ifi), link.ifi));
    let beyond = found.links.split_off(most.min(found.links.len()));
    if !silently {
        found.left_out.extend(beyond.into_iter().map(|link| LeftOut { name: link.name, why: Why::Limit }));
    }
    found.links.sort_by_key(|link| link.ifi);
}

fn is_valid(address: &Address) -> bool {
    address.flags & (flags::TENTATIVE | flags::DADFAILED) == 0
}

/// Whether a link-local address is derived from something that is unique to this interface.
fn is_made_unique(one: &Address) -> bool {
    let from_hardware = matches!(one.address.octets(), [.., 0xff, 0xfe, _, _, _]);
    one.automatic || one.flags & flags::STABLE_PRIVACY != 0 || from_hardware
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
#[path = "choice_tests.rs"]
mod tests;
