//! Tests of [`choose`](super::choose): possible states of the system and the expected choice.

use super::*;

fn of(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn device(ifi: u32, kind: &str) -> Device {
    Device { ifi, name: format!("eth{ifi}"), kind: kind.to_owned(), ..Device::default() }
}

/// Later addresses in a list are newer; the system lists the newest first.
fn address(ifi: u32, text: &str, flags: u32) -> Address {
    Address { ifi, address: of(text), prefix: 64, flags, automatic: false, made: 0 }
}

fn see(devices: &[Device], addresses: &[Address], used: &InUse) -> Snapshot {
    let newest_first = addresses.iter().rev().cloned().collect();
    choose(&Config::new(), &Wanted::default(), (devices.to_vec(), newest_first), used)
}

fn in_use(seen: &Snapshot) -> InUse {
    InUse {
        link_locals: seen.links.iter().map(|link| (link.ifi, link.link_local)).collect(),
        own: seen.own.clone(),
        global: seen.global,
        initiator: seen.initiator,
    }
}

const FIXED: u32 = flags::PERMANENT;

#[test]
fn the_scopes_of_addresses_are_told_apart() {
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

#[test]
fn an_address_that_is_not_ready_or_is_anothers_is_not_used() {
    for unusable in [flags::TENTATIVE, flags::DADFAILED | flags::TENTATIVE, flags::DADFAILED] {
        let addresses = [
            address(2, "fe80::2", FIXED),
            address(2, "fe80::3", FIXED | unusable),
            address(2, "fd00::9", FIXED | unusable),
            address(3, "fe80::4", FIXED | unusable),
        ];
        let seen = see(&[device(2, ""), device(3, "")], &addresses, &InUse::default());
        let links: Vec<_> = seen.links.iter().map(|link| (link.ifi, link.link_local)).collect();
        assert_eq!(links, [(2, of("fe80::2"))], "{unusable:#x}");
        assert_eq!((seen.global, seen.initiator), (None, Some(of("fe80::2"))));
    }
}

#[test]
fn stable_addresses_come_first_then_temporary_and_deprecated_ones() {
    let order = [
        ("fd00::1", FIXED),
        ("2001:db8::1", FIXED),
        ("fd00::2", 0),
        ("2001:db8::2", 0),
        ("fd00::3", flags::TEMPORARY),
        ("fd00::4", FIXED | flags::DEPRECATED),
        ("fd00::5", flags::TEMPORARY | flags::DEPRECATED),
    ];
    for (first, (best, _)) in order.iter().enumerate() {
        // In every order of insertion.
        let mut addresses: Vec<_> =
            order[first..].iter().map(|(text, flags)| address(2, text, *flags)).collect();
        for _ in 0..2 {
            addresses.reverse();
            let seen = see(&[device(2, "")], &addresses, &InUse::default());
            assert_eq!((seen.global, seen.own[0].address), (Some(of(best)), of(best)));
            assert_eq!(seen.own.len(), 1, "one address an interface");
        }
    }
}

#[test]
fn what_is_used_stays_used_until_it_is_deprecated_or_gone() {
    let devices = [device(2, "")];
    let mut addresses = vec![address(2, "fe80::2", FIXED), address(2, "2001:db8::2", 0)];
    let first = see(&devices, &addresses, &InUse::default());
    addresses.extend([
        address(2, "fe80::1", FIXED),
        address(2, "fd00::2", 0),
        address(2, "fd00::1", FIXED),
        address(2, "2001:db8::77", flags::TEMPORARY),
    ]);
    assert_eq!(see(&devices, &addresses, &in_use(&first)), first);
    addresses[1].flags |= flags::DEPRECATED;
    let second = see(&devices, &addresses, &in_use(&first));
    assert_eq!((second.global, second.own[0].address), (Some(of("fd00::1")), of("fd00::1")));
    // It still distinguishes this node from others.
    assert_eq!((second.initiator, &second.links), (first.initiator, &first.links));
    addresses.remove(1);
    assert_eq!(see(&devices, &addresses, &in_use(&second)).initiator, Some(of("fd00::1")));
}

#[test]
fn the_link_local_address_of_an_interface_is_its_own_and_not_one_that_routers_share() {
    let automatic = Address { automatic: true, ..address(2, "fe80::ab:1", FIXED) };
    let shared = Address { prefix: 128, ..address(2, "fe80::1", FIXED) };
    for own in [
        automatic,
        address(2, "fe80::ab:1", FIXED | flags::STABLE_PRIVACY),
        address(2, "fe80::0200:ff:fe00:1", FIXED),
        address(2, "fe80::ab:1", FIXED),
    ] {
        for addresses in [[own.clone(), shared.clone()], [shared.clone(), own.clone()]] {
            let seen = see(&[device(2, "")], &addresses, &InUse::default());
            assert_eq!(seen.links[0].link_local, own.address);
        }
    }
}

#[test]
fn a_part_of_a_bridge_or_bond_is_left_out_and_one_of_a_vrf_is_not() {
    let part = |ifi, kind: &str| Device { master: Some((9, kind.to_owned())), ..device(ifi, "") };
    let devices = [part(2, "bridge"), part(3, "bond"), part(4, "vrf"), device(9, "bridge")];
    let addresses: Vec<_> = [2, 3, 4, 9].map(|ifi| address(ifi, &format!("fe80::{ifi}"), FIXED)).to_vec();
    let seen = see(&devices, &addresses, &InUse::default());
    assert_eq!(seen.links.iter().map(|link| link.ifi).collect::<Vec<_>>(), [4, 9]);
    let of_bridge = |name: &str| LeftOut { name: name.to_owned(), why: Why::PartOf("eth9".to_owned()) };
    assert_eq!(seen.left_out, [of_bridge("eth2"), of_bridge("eth3")]);
}

#[test]
fn of_interfaces_on_one_link_one_is_used() {
    let upon = |ifi, kind: &str, lower| Device { lower: Some(lower), ..device(ifi, kind) };
    let all = [device(2, ""), upon(3, "macvlan", 2), upon(4, "vlan", 2), upon(5, "ipvlan", 2)];
    let addresses: Vec<_> = [2, 3, 4, 5].map(|ifi| address(ifi, &format!("fe80::{ifi}"), FIXED)).to_vec();
    let seen = see(&all, &addresses, &InUse::default());
    assert_eq!(seen.links.iter().map(|link| link.ifi).collect::<Vec<_>>(), [2, 4]);
    let same =
        |name: &str, other: &str| LeftOut { name: name.to_owned(), why: Why::SameLink(other.to_owned()) };
    assert_eq!(seen.left_out, [same("eth3", "eth2"), same("eth5", "eth2")]);
    // If the lower interface has no address, the first interface on top of it is used.
    let seen = see(&all, &addresses[1..], &InUse::default());
    assert_eq!(seen.links.iter().map(|link| link.ifi).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(seen.left_out, [same("eth5", "eth3")]);
}

#[test]
fn the_address_of_a_bridge_within_the_host_identifies_nobody() {
    let port = |ifi, kind: &str| Device { master: Some((9, "bridge".to_owned())), ..device(ifi, kind) };
    let mut devices = vec![device(2, ""), device(9, "bridge"), port(10, "veth"), port(11, "tun")];
    let mut addresses =
        vec![address(9, "fd00:d0c::1", FIXED), address(9, "fe80::1", FIXED), address(2, "fe80::2", FIXED)];
    let seen = see(&devices, &addresses, &InUse::default());
    assert!(seen.own[0].inner);
    assert_eq!((seen.initiator, seen.global), (Some(of("fe80::2")), Some(of("fd00:d0c::1"))));
    addresses.push(address(2, "2001:db8::2", 0));
    let wider = see(&devices, &addresses, &in_use(&seen));
    assert_eq!((wider.initiator, wider.global), (Some(of("2001:db8::2")), Some(of("2001:db8::2"))));
    // A bridge with a port that leads outside is an ordinary interface.
    devices.push(port(12, ""));
    let bridged = see(&devices, &addresses, &InUse::default());
    assert_eq!((bridged.own[0].inner, bridged.initiator), (false, Some(of("fd00:d0c::1"))));
}

#[test]
fn no_more_interfaces_are_used_than_the_limit_and_those_in_use_stay() {
    let devices: Vec<_> = (2..7).map(|ifi| device(ifi, "")).collect();
    let addresses: Vec<_> = (2..7).map(|ifi| address(ifi, &format!("fe80::{ifi}"), FIXED)).collect();
    let used = InUse { link_locals: BTreeMap::from([(6, of("fe80::6"))]), ..InUse::default() };
    let look =
        |config: Config| choose(&config, &Wanted::default(), (devices.clone(), addresses.clone()), &used);
    let few = look(Config::new().interface_limit(2));
    assert_eq!(few.links.iter().map(|link| link.ifi).collect::<Vec<_>>(), [2, 6]);
    let left: Vec<_> = few.left_out.iter().map(|one| (one.name.as_str(), one.why.clone())).collect();
    assert_eq!(left, [("eth3", Why::Limit), ("eth4", Why::Limit), ("eth5", Why::Limit)]);
    let dull = look(Config::new().dull(true));
    assert_eq!((dull.links[0].ifi, dull.links.len(), dull.left_out.len()), (6, 1, 0));
}

#[test]
fn the_address_that_the_substrate_names_is_the_nodes() {
    let wanted = Wanted { interfaces: Some(vec!["eth2".to_owned()]), address: Some(of("fd99::9")) };
    let devices = vec![device(2, ""), device(3, "")];
    let addresses =
        vec![address(2, "fe80::2", FIXED), address(3, "fe80::3", FIXED), address(2, "fd00::2", FIXED)];
    let seen = choose(&Config::new(), &wanted, (devices, addresses), &InUse::default());
    assert_eq!((seen.global, seen.initiator), (wanted.address, wanted.address));
    assert!(seen.own.is_empty());
    assert_eq!((seen.links.len(), seen.permitted), (1, Some(BTreeSet::from([2]))));
}

#[test]
fn a_link_local_address_that_is_deprecated_gives_way_to_another() {
    let used = InUse { link_locals: BTreeMap::from([(2, of("fe80::2"))]), ..InUse::default() };
    let addresses = [address(2, "fe80::2", FIXED | flags::DEPRECATED), address(2, "fe80::3", FIXED)];
    assert_eq!(see(&[device(2, "")], &addresses, &used).links[0].link_local, of("fe80::3"));
}

#[test]
fn among_equal_interfaces_the_one_in_use_wins_and_then_the_first_whatever_the_age() {
    let aged = |ifi: u32, made| Address { made, ..address(ifi, &format!("fd00:{ifi}::1"), FIXED) };
    let (devices, addresses) = ([device(2, ""), device(3, "")], [aged(2, 500), aged(3, 100)]);
    let global = |used: Option<&str>| {
        let used = InUse { global: used.map(of), ..InUse::default() };
        see(&devices, &addresses, &used).global
    };
    assert_eq!(global(None), Some(of("fd00:2::1")));
    assert_eq!(global(Some("fd00:3::1")), Some(of("fd00:3::1")));
}

#[test]
fn an_interface_upon_a_part_of_a_bridge_is_no_duplicate_of_what_is_left_out() {
    let devices = [
        Device { master: Some((9, "bridge".to_owned())), ..device(2, "") },
        Device { lower: Some(2), ..device(3, "macvlan") },
        device(9, "bridge"),
    ];
    let addresses: Vec<_> = [2, 3, 9].map(|ifi| address(ifi, &format!("fe80::{ifi}"), FIXED)).to_vec();
    let seen = see(&devices, &addresses, &InUse::default());
    assert_eq!(seen.links.iter().map(|link| link.ifi).collect::<Vec<_>>(), [3, 9]);
}

#[test]
fn without_a_wider_address_the_link_local_one_that_is_likely_unique_identifies_this_node() {
    let devices = [device(2, ""), device(3, ""), device(4, "")];
    let unlikely = address(2, "fe80::1", FIXED);
    let initiator = |addresses: &[Address], used: Option<&str>| {
        let used = InUse { initiator: used.map(of), ..InUse::default() };
        see(&devices, addresses, &used).initiator
    };
    for likely in [
        Address { automatic: true, ..address(3, "fe80::ab:3", FIXED) },
        address(3, "fe80::ab:3", FIXED | flags::STABLE_PRIVACY),
        address(3, "fe80::0200:ff:fe00:3", FIXED),
    ] {
        let addresses = [unlikely.clone(), likely.clone()];
        assert_eq!(initiator(&addresses, None), Some(likely.address), "{likely:?}");
        assert_eq!(initiator(&addresses, Some("fe80::1")), Some(of("fe80::1")), "the one in use stays");
    }
    let addresses = [unlikely, address(3, "fe80::3", FIXED)];
    assert_eq!(initiator(&addresses, None), Some(of("fe80::1")), "the first of equals");
    assert_eq!(initiator(&addresses, Some("fe80::99")), Some(of("fe80::1")), "that one is gone");
}
