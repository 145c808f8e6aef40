//! Ports, namespaces and names: where a socket is, and what it reaches.

use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use grasp::{AsaLocator, Config, Error, Negotiation, Protocol, RegisterObj};
use grasptests::isolated;
use grasptests::lab::{GRASP_LISTEN_PORT, RawUdp, eventually, process};
use grasptests::nodes::{Host, SOON, failure, joined, linked, negotiable, synchronizable, two};
use socket2::{Domain, Protocol as Kind, SockAddr, Socket, Type};

#[test]
fn unicasts_are_heard_once_another_program_lets_go_of_the_port() {
    isolated!();
    let (_lab, _, a, b) = linked();
    let (address, ifi) = (a.link_local("eth0").unwrap(), a.interface_index("eth0").unwrap());
    let other = a.run(|| UdpSocket::bind(SocketAddrV6::new(address, GRASP_LISTEN_PORT, 0, ifi))).unwrap();
    let host = Host::start(&a, Config::new().watch_interval(Duration::from_millis(50)));
    let neighbour = RawUdp::open(&b, "eth0", b.link_local("eth0").unwrap(), 0).unwrap();
    neighbour.send(&[0xff], address, GRASP_LISTEN_PORT).unwrap();
    assert_eq!(other.recv(&mut [0; 8]).unwrap(), 1, "the other program has the port");
    let listens = || process::thread_names().iter().any(|name| name == "_uclisten");
    assert!(!listens());
    drop(other);
    eventually(SOON, "the engine takes the port up", listens);
    neighbour.send(&[0xff], address, GRASP_LISTEN_PORT).unwrap();
    eventually(SOON, "it hears", || host.engine.stats().unicast_datagram_received == 1);
    assert_eq!(host.engine.stats().interfaces_added, 1, "the interface has not been opened anew");
    host.engine.shutdown();
    assert!(!listens());
}

#[test]
fn a_call_from_another_network_namespace_is_an_error() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    let (ex1, ex2) = (negotiable("EX1", 1), synchronizable("EX2", 1));
    near.register(&ex1);
    far.register(&ex1);
    let at = far.locator("EX1");
    // A thread of the far node calls the engine of the near one.
    far.node.run(|| {
        let (engine, asa) = (&near.engine, near.asa);
        let elsewhere = [
            failure(engine.register_obj(asa, &negotiable("EX3", 1), RegisterObj::default())),
            failure(engine.req_negotiate(asa, &ex1, Some(&at), None)),
            failure(engine.req_negotiate_noloop(asa, &ex1, Some(&at), None)),
            failure(engine.synchronize(asa, &ex2, Some(&at), None)),
        ];
        for error in elsewhere {
            assert!(matches!(error, Error::OtherNamespace), "{error}");
            assert_eq!(error.code(), 3);
        }
        // What needs no new socket is in the right place.
        engine.get_flood(asa, &ex2).unwrap();
    });
    assert_eq!(near.engine.stats().connections_opened, 0);
    near.run(|engine, asa| engine.register_obj(asa, &negotiable("EX3", 1), RegisterObj::default())).unwrap();
    near.expect_quiet();
}

#[test]
fn a_peer_is_reached_by_whichever_of_its_addresses_answers() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    for host in [&near, &far] {
        host.register(&negotiable("EX1", 0));
    }
    let (address, port) = (far.node.ula().unwrap(), far.port("EX1"));
    let listening = far.listen(&negotiable("EX1", 0));
    let (engine, asa) = (far.engine.clone(), far.asa);
    let serving = far.node.spawn("server", move || {
        let (session, _) = joined(listening).unwrap();
        engine.end_negotiate(asa, session, true, None).unwrap();
    });
    let named = AsaLocator::fqdn("peer.example", Protocol::Tcp, port);
    let asking = near.thread(move |engine, asa| {
        process::replace_file("/etc/nsswitch.conf", "hosts: files\n").unwrap();
        process::replace_file("/etc/hosts", &format!("::1 peer.example\n{address} peer.example\n")).unwrap();
        // The first address does not answer: its listener has no room.
        let socket = || Socket::new(Domain::IPV6, Type::STREAM, Some(Kind::TCP)).unwrap();
        let deaf = socket();
        let place = SockAddr::from(SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0));
        deaf.bind(&place).unwrap();
        deaf.listen(0).unwrap();
        let fillers: Vec<_> = (0..4)
            .map(|_| {
                let filler = socket();
                filler.set_nonblocking(true).unwrap();
                let _ = filler.connect(&place);
                filler
            })
            .collect();
        let agreed = engine.req_negotiate(asa, &negotiable("EX1", 1), Some(&named), None);
        assert!(matches!(agreed, Ok(Negotiation::Agreed(_))), "{agreed:?}");
        drop(fillers);
    });
    joined(asking);
    joined(serving);
    near.expect_quiet();
}
