//! Which addresses of its interfaces an engine uses, says and keeps, in the states that the system knows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream};
use std::time::Duration;

use grasp::{AsaLocator, Config, Discover, Engine, Locator, RegisterObj};
use grasptests::isolated;
use grasptests::lab::device::flags;
use grasptests::lab::{AddressKind, Lab, LabError, LinkOptions, Node, RawUdp, eventually, process};
use grasptests::nodes::{Host, SOON, discoverable, linked, negotiable, negotiate, two};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

fn of(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

fn start(node: &Node) -> Engine {
    node.run(|| Engine::start(Config::new())).expect("the engine starts")
}

/// An engine with an ASA that may negotiate EX3.
fn asker(node: &Node) -> Host {
    let host = Host::start(node, Config::new());
    host.register(&negotiable("EX3", 0));
    host
}

/// The addresses that an objective is found at, in their order, as answered now.
fn found(asker: &Host, name: &str) -> Vec<Ipv6Addr> {
    let options = Discover { flush: true, ..Discover::default() };
    let found = asker.run(|engine, asa| engine.discover(asa, &negotiable(name, 0), None, options));
    let address = |locator| match locator {
        Some(Locator::Ipv6(address)) => Some(address),
        _ => None,
    };
    found.expect("discover").into_iter().filter_map(|found| address(found.locator)).collect()
}

#[test]
fn an_address_that_another_node_has_is_not_used_and_takes_no_interface_down() -> Result<(), LabError> {
    isolated!();
    let (_lab, link, a, b) = linked();
    let engine = start(&a);
    let (links, address) = (engine.links(), engine.my_address());
    let (duplicate, link_local) = (link.ula(&b).expect("an address"), link.link_local(&b));
    for taken in [duplicate, link_local] {
        a.add_address_as("eth0", taken, 64, AddressKind::Checked)?;
        a.wait_for_flag(taken, flags::DADFAILED);
    }
    // What comes after the duplicates has been looked at: so have they.
    let later = of("2001:db8::77");
    a.add_address("eth0", later, 64)?;
    a.remove_address("eth0", link.ula(&a).expect("an address"), 64)?;
    eventually(SOON, "the engine follows", || engine.my_address() == Some(Locator::Ipv6(later)));
    assert_ne!(address, engine.my_address());
    assert_eq!((engine.links(), engine.stats().interfaces_removed), (links.clone(), 0));
    let fresh = start(&a);
    assert_eq!((fresh.links(), fresh.my_address()), (links, Some(Locator::Ipv6(later))));
    Ok(())
}

#[test]
fn an_address_is_not_used_before_the_system_knows_that_it_is_unique() -> Result<(), LabError> {
    isolated!();
    let (_lab, link, a, _b) = linked();
    a.set_ipv6("eth0", "dad_transmits", 1000)?;
    let tentative = of("fd77::1");
    a.add_address_as("eth0", tentative, 64, AddressKind::Checked)?;
    a.add_address_as("eth0", of("fe80::7:7"), 64, AddressKind::Checked)?;
    a.wait_for_flag(tentative, flags::TENTATIVE);
    let engine = start(&a);
    let (own, link_local) = (link.ula(&a).expect("an address"), link.link_local(&a));
    assert_eq!((engine.my_address(), engine.session_locator()), (Some(Locator::Ipv6(own)), own));
    a.remove_address("eth0", own, 64)?;
    eventually(SOON, "the engine follows", || engine.my_address().is_none());
    assert_eq!(engine.session_locator(), link_local);
    assert_eq!(engine.links().first().map(|(_, address)| *address), Some(link_local));
    Ok(())
}

#[test]
fn a_deprecated_address_is_announced_only_while_there_is_no_other() -> Result<(), LabError> {
    isolated!();
    let (_lab, asker, server) = two(Config::new());
    server.register_with(&negotiable("EX3", 0), discoverable());
    let first = server.node.ula().expect("an address");
    assert_eq!(found(&asker, "EX3"), [first]);
    server.node.add_address_as("eth0", first, 64, AddressKind::Deprecated)?;
    server.node.wait_for_flag(first, flags::DEPRECATED);
    // A later change that shows makes sure that this one has been seen.
    let second = of("fd00:1::99");
    assert_eq!(found(&asker, "EX3"), [first], "it is all there is");
    server.node.add_address("eth0", second, 64)?;
    let address = |address| Some(Locator::Ipv6(address));
    eventually(SOON, "the other is announced", || server.engine.my_address() == address(second));
    assert_eq!(found(&asker, "EX3"), [second]);
    // It is valid, and identifies this node as before.
    assert_eq!(server.engine.session_locator(), first);
    let fresh = start(&server.node);
    assert_eq!((fresh.my_address(), fresh.session_locator()), (address(second), second));
    server.node.remove_address("eth0", first, 64)?;
    eventually(SOON, "the identity follows", || server.engine.session_locator() == second);
    Ok(())
}

#[test]
fn a_stable_address_is_preferred_to_temporary_ones() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let node = lab.node("a")?;
    lab.lan_with(&[&node], LinkOptions::link_local_only())?;
    let engine = start(&{
        node.set_ipv6("eth0", "use_tempaddr", 2)?;
        node.clone()
    });
    let stable = of("fd00:9::a:1");
    node.add_address_as("eth0", stable, 64, AddressKind::WithTemporary)?;
    let is_temporary = |(address, flags): &(Ipv6Addr, u32)| {
        address.segments()[1] == 9 && flags & flags::TEMPORARY != 0 && flags & flags::TENTATIVE == 0
    };
    eventually(SOON * 2, "there is a temporary address", || node.address_flags().iter().any(is_temporary));
    eventually(SOON, "the stable one is used", || engine.my_address() == Some(Locator::Ipv6(stable)));
    let fresh = start(&node);
    assert_eq!((fresh.my_address(), fresh.session_locator()), (Some(Locator::Ipv6(stable)), stable));
    Ok(())
}

#[test]
fn an_address_that_routers_share_neither_takes_a_link_down_nor_names_the_node() -> Result<(), LabError> {
    isolated!();
    let (_lab, link, a, _b) = linked();
    let engine = start(&a);
    let (links, locator) = (engine.links(), engine.session_locator());
    // As a router that becomes the master of a virtual one does it (RFC 9568).
    a.add_address("eth0", of("fe80::1"), 64)?;
    a.add_address("eth0", of("2001:db8::7"), 64)?;
    a.remove_address("eth0", link.ula(&a).expect("an address"), 64)?;
    eventually(SOON, "the engine follows", || engine.session_locator() != locator);
    assert_eq!((engine.links(), engine.stats().interfaces_removed), (links.clone(), 0));
    assert_eq!(start(&a).links(), links);
    Ok(())
}

/// What a router says of a prefix (RFC 4861 §4.2, §4.6.2): addresses are made of it, at once and for a day.
fn advertise(node: &Node, interface: &str, prefix: Ipv6Addr) {
    const DAY: [u8; 4] = 86_400_u32.to_be_bytes();
    let mut message = vec![134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    message.extend([3, 4, 64, 0xc0]);
    message.extend([DAY, DAY, [0; 4]].concat());
    message.extend(prefix.octets());
    let index = node.interface_index(interface).expect("an interface");
    node.run(|| {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).expect("a raw socket");
        socket.set_multicast_if_v6(index).expect("the interface");
        socket.set_multicast_hops_v6(255).expect("255 hops");
        let all = SockAddr::from(SocketAddrV6::new(of("ff02::1"), 0, 0, index));
        socket.send_to(&message, &all).expect("it is sent");
    });
}

#[test]
fn a_router_advertisement_does_not_change_the_announced_address() -> Result<(), LabError> {
    isolated!();
    let (_lab, asker, server) = two(Config::new());
    server.register_with(&negotiable("EX3", 0), discoverable());
    let own = server.node.ula().expect("an address");
    // A unique local prefix, which would be preferred to a global one.
    let (first, second) = (of("2001:db8:1::"), of("fd66:6::"));
    let made = |prefix: Ipv6Addr| {
        let known = server.node.address_flags();
        let of_prefix = move |(address, flags): &(Ipv6Addr, u32)| {
            address.segments()[..4] == prefix.segments()[..4] && flags & flags::TENTATIVE == 0
        };
        known.into_iter().find(of_prefix).map(|(address, _)| address)
    };
    for prefix in [first, second] {
        advertise(&asker.node, "eth0", prefix);
        eventually(SOON * 2, "the system has made an address", || made(prefix).is_some());
    }
    assert_eq!(found(&asker, "EX3"), [own]);
    // One that was given by a router is kept too.
    server.node.remove_address("eth0", of("fe80::99"), 64).expect_err("there is none");
    server.node.remove_address("eth0", own, 64)?;
    let address = |prefix| made(prefix).map(Locator::Ipv6);
    eventually(SOON, "an address that is left is used", || server.engine.my_address() == address(second));
    let third = of("fd00:6::");
    advertise(&asker.node, "eth0", third);
    eventually(SOON * 2, "the system has made an address", || made(third).is_some());
    assert_eq!(server.engine.my_address(), address(second));
    assert_eq!(found(&asker, "EX3"), [made(second).expect("an address")]);
    Ok(())
}

#[test]
fn a_neighbour_is_offered_the_address_of_its_own_link_first() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let (a, b, c, d) = (lab.node("a")?, lab.node("b")?, lab.node("c")?, lab.node("d")?);
    let (to_b, to_c) = (lab.link(&a, &b)?, lab.link(&a, &c)?);
    let to_d = lab.lan_with(&[&a, &d], LinkOptions::link_local_only())?;
    // On a link with addresses of more than link scope, and without one of its own.
    let e = lab.node("e")?;
    to_b.attach(&e)?;
    e.remove_address("eth0", to_b.ula(&e).expect("an address"), 64)?;
    let server = Host::start(&a, Config::new());
    server.register_with(&negotiable("EX3", 0), discoverable());
    let (near_b, near_c) = (to_b.ula(&a).expect("an address"), to_c.ula(&a).expect("an address"));
    let (near_d, near_e) = (to_d.link_local(&a), to_b.link_local(&a));
    for (node, expected) in [
        (&b, vec![near_b, near_c]),
        (&c, vec![near_c, near_b]),
        (&d, vec![near_d, near_b, near_c]),
        (&e, vec![near_e, near_b, near_c]),
    ] {
        let asker = asker(node);
        assert_eq!(found(&asker, "EX3"), expected, "{}", node.name());
        negotiate(&asker, &server, None);
    }
    Ok(())
}

/// A bridge that leads to a container, as container engines make it: with the same address on every host.
fn with_containers(lab: &Lab, node: &Node) -> Result<(), LabError> {
    let container = lab.node(&format!("{}-container", node.name()))?;
    node.make_bridge("docker0")?;
    node.plug("veth0", "docker0", &container, "inside")?;
    node.add_address("docker0", DOCKER, 64)?;
    node.add_address("docker0", of("fe80::1"), 64)
}

const DOCKER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xd0c, 0, 0, 0, 0, 0, 1);

#[test]
fn a_bridge_within_the_host_neither_identifies_it_nor_is_announced_outside() -> Result<(), LabError> {
    isolated!();
    for options in [LinkOptions::default(), LinkOptions::link_local_only()] {
        let lab = Lab::new()?;
        let (a, b) = (lab.node("a")?, lab.node("b")?);
        with_containers(&lab, &a)?;
        with_containers(&lab, &b)?;
        let link = lab.lan_with(&[&a, &b], options)?;
        let (asker, server) = (asker(&a), Host::start(&b, Config::new()));
        server.register_with(&negotiable("EX3", 0), discoverable());
        assert_eq!((asker.engine.links().len(), server.engine.links().len()), (2, 2));
        let own = |node| link.ula(node).unwrap_or_else(|| link.link_local(node));
        assert_eq!(asker.engine.session_locator(), own(&a));
        assert_eq!(server.engine.session_locator(), own(&b));
        assert_eq!(found(&asker, "EX3"), [own(&b)]);
        negotiate(&asker, &server, None);
    }
    Ok(())
}

#[test]
fn an_objective_is_open_to_ipv4_only_where_it_announces_an_ipv4_address() -> Result<(), LabError> {
    isolated!();
    let (_lab, _asker, server) = two(Config::new());
    server.register(&negotiable("EX3", 0));
    let here = AsaLocator::new(IpAddr::V4(Ipv4Addr::LOCALHOST), None).with_port(1);
    server.register_with(&negotiable("EX4", 0), RegisterObj { locators: vec![here], ..discoverable() });
    let connects = |name, address: IpAddr| {
        let target = SocketAddr::new(address, server.port(name));
        server.node.run(|| TcpStream::connect_timeout(&target, Duration::from_secs(5))).is_ok()
    };
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    assert_eq!([connects("EX3", v4), connects("EX3", v6)], [false, true]);
    assert_eq!([connects("EX4", v4), connects("EX4", v6)], [true, true]);
    Ok(())
}

#[test]
fn an_engine_works_where_netlink_is_refused() -> Result<(), LabError> {
    isolated!();
    let (_lab, link, a, b) = linked();
    let server = Host::start(&b, Config::new());
    server.register_with(&negotiable("EX3", 0), discoverable());
    let config = Config::new().watch_interval(Duration::from_millis(100));
    let started = a.spawn("refused", || {
        process::refuse_netlink().expect("seccomp");
        Engine::start(config).expect("the engine starts")
    });
    let engine = started.join().expect("no panic");
    let asker = Host { asa: engine.register_asa("a").expect("an ASA"), node: a.clone(), engine };
    asker.register(&negotiable("EX3", 0));
    assert_eq!(asker.engine.links().first().map(|(_, address)| *address), Some(link.link_local(&a)));
    assert_eq!(found(&asker, "EX3"), [link.ula(&b).expect("an address")]);
    negotiate(&asker, &server, None);
    // It looks now and then, and sees the flags too.
    let new = of("2001:db8::7");
    a.add_address_as("eth0", link.ula(&b).expect("an address"), 64, AddressKind::Checked)?;
    a.wait_for_flag(link.ula(&b).expect("an address"), flags::DADFAILED);
    a.add_address("eth0", new, 64)?;
    a.remove_address("eth0", link.ula(&a).expect("an address"), 64)?;
    eventually(SOON, "it follows", || asker.engine.my_address() == Some(Locator::Ipv6(new)));
    assert_eq!(asker.engine.stats().panics, 0);
    Ok(())
}

#[test]
fn a_multicast_goes_out_from_the_address_that_is_used() -> Result<(), LabError> {
    isolated!();
    let (_lab, link, a, b) = linked();
    let watcher = RawUdp::neighbors(&b, "eth0").expect("a watcher");
    let asker = Host::start(&a, Config::new());
    a.add_address("eth0", of("fe80::1"), 64)?;
    assert!(found(&asker, "EX3").is_empty());
    let heard = watcher.receive(SOON).expect("the watcher works").expect("a discovery");
    assert_eq!(*heard.source.ip(), link.link_local(&a));
    Ok(())
}
