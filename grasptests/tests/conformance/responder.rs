//! The responder of a discovery (RFC 8990 §2.5.4.3, §2.8.5).

use std::io::Read as _;
use std::net::{Ipv6Addr, TcpListener};
use std::time::Duration;

use grasp::{AsaLocator, Config, Engine, Objective, Protocol, RegisterObj, Value};
use grasptests::isolated;
use grasptests::lab::{GRASP_LISTEN_PORT, RawUdp, eventually};

use crate::bench::{Bench, negotiable, synchronizable};
use crate::peer::{QUIET, RESPONSE, SOON, items, locator, port, sid};

#[test]
fn c_resp_01_what_is_served_now_is_answered_and_nothing_else() {
    isolated!();
    let bench = Bench::new();
    let (neg, synch) = (negotiable("EX3", 1), synchronizable("EX4", 1));
    for objective in [&neg, &synch] {
        bench.register_with(objective, RegisterObj::default());
    }
    bench.register(&synchronizable("EX9", 1));
    let answered = |session, name| {
        bench.peer.ask(session, name);
        bench.peer.ask(session + 1, "EX9");
        // In any order: each response has a thread of its own.
        let first = bench.peer.response();
        let second = bench.peer.response_within(QUIET);
        let answered: Vec<_> = [Some(first), second].iter().flatten().map(sid).collect();
        assert!(answered.contains(&(session + 1)));
        answered.contains(&session)
    };
    assert!(!answered(10, "EX3") && !answered(20, "EX4"), "registered, but nobody listens");
    bench.run(|engine, asa| engine.listen_synchronize(asa, &synch)).unwrap();
    assert!(answered(30, "EX4"));
    let listened = neg.clone();
    let listener = bench.spawn(move |engine, asa| engine.listen_negotiate(asa, &listened));
    bench.peer.locate("EX3");
    assert!(answered(40, "EX3"));
    bench.run(|engine, asa| {
        engine.stop_negotiate(asa, &neg).unwrap();
        engine.stop_synchronize(asa, &synch).unwrap();
    });
    listener.join().unwrap().unwrap_err();
    assert!(!answered(50, "EX3") && !answered(60, "EX4"), "stopped");
    bench.run(|engine, asa| engine.deregister_obj(asa, &synchronizable("EX9", 1))).unwrap();
    bench.register(&synchronizable("EX8", 1));
    bench.peer.ask(70, "EX9");
    bench.peer.ask(71, "EX8");
    bench.peer.only_response(71);
    // Not to be discovered at all.
    let hidden = Objective { discoverable: false, ..synchronizable("EX7", 1) };
    bench.register(&hidden);
    bench.peer.ask(72, "EX7");
    bench.peer.ask(73, "EX8");
    bench.peer.only_response(73);
}

#[test]
fn c_resp_02_identifier_and_initiator_are_copied() {
    isolated!();
    let bench = Bench::new();
    bench.register(&synchronizable("EX4", 1));
    let strange: Vec<u8> = (1..=16).collect();
    for (session, initiator) in [(0u32, bench.peer.initiator()), (u32::MAX, strange), (5, vec![192, 0, 2, 7])]
    {
        bench.peer.multicast(&cbor!([1, session, (initiator.clone()), ["EX4", 5, 6, ()]]));
        let response = bench.peer.response();
        assert_eq!(items(&response)[..3], [cbor!(RESPONSE), cbor!(session), cbor!(initiator)]);
    }
}

#[test]
fn c_resp_03_the_ttl_is_positive_and_in_milliseconds() {
    isolated!();
    let bench = Bench::new();
    bench.register(&synchronizable("EX4", 1));
    bench.register_with(
        &synchronizable("EX5", 1),
        RegisterObj { ttl: Some(0), discoverable: true, ..RegisterObj::default() },
    );
    for name in ["EX4", "EX5"] {
        bench.peer.ask(7, name);
        assert_eq!(items(&bench.peer.response())[3], cbor!(600_000));
    }
}

#[test]
fn c_resp_04_the_response_goes_to_the_source_of_the_discovery_by_tcp() {
    isolated!();
    let bench = Bench::new();
    bench.register(&synchronizable("EX4", 1));
    // The initiator field is another node's: the source counts.
    let elsewhere: Ipv6Addr = "2001:db8::1".parse().unwrap();
    bench.peer.multicast(&cbor!([1, 7, (elsewhere.octets().to_vec()), ["EX4", 5, 6, ()]]));
    let stream = bench.peer.accept_response(SOON).expect("a connection");
    let std::net::SocketAddr::V6(from) = stream.socket.peer_addr().unwrap() else { panic!("IPv4") };
    assert_eq!(*from.ip(), bench.link_local(), "from the interface that the discovery came in on");
}

#[test]
fn c_resp_04_an_unreachable_asker_delays_nobody() {
    isolated!();
    let bench = Bench::with(Config::new().response_timeout(Duration::from_secs(5)));
    bench.register(&synchronizable("EX4", 1));
    let nobody: Ipv6Addr = "fe80::dead".parse().unwrap();
    bench.peer.node.add_address("eth0", nobody, 64).unwrap();
    for session in 0..20 {
        bench.peer.multicast_from(&bench.peer.discovery(session, "EX4"), nobody);
    }
    bench.peer.node.remove_address("eth0", nobody, 64).unwrap();
    bench.peer.ask(99, "EX4");
    assert!(bench.peer.response_within(Duration::from_secs(4)).is_some_and(|response| sid(&response) == 99));
}

#[test]
fn c_resp_05_the_connection_is_closed_after_the_response() {
    isolated!();
    let bench = Bench::new();
    bench.register(&synchronizable("EX4", 1));
    bench.peer.ask(7, "EX4");
    let mut stream = bench.peer.accept_response(SOON).expect("a connection");
    assert_eq!(sid(&stream.receive()), 7);
    stream.closed();
}

#[test]
fn c_resp_06_a_response_has_at_least_one_locator_of_its_own() {
    isolated!();
    let bench = Bench::new();
    bench.register(&synchronizable("EX4", 1));
    bench.peer.ask(7, "EX4");
    let response = bench.peer.response();
    let own = locator(bench.home.ula().unwrap(), port(&items(&items(&response)[4])[3]));
    assert_eq!(items(&response)[4..], [own]);
    // Of several kinds, in the order of the registration.
    let locators = vec![
        AsaLocator::fqdn("a.example", Protocol::Udp, 1),
        AsaLocator::new(Ipv6Addr::LOCALHOST, None).with_port(2),
        AsaLocator::new(std::net::Ipv4Addr::LOCALHOST, None).with_port(3),
        AsaLocator::uri("coap://a.example"),
    ];
    let options = RegisterObj { locators, discoverable: true, ..RegisterObj::default() };
    bench.register_with(&synchronizable("EX5", 1), options);
    bench.peer.ask(8, "EX5");
    let expected = [
        cbor!([105, "a.example", 17, 1]),
        locator(Ipv6Addr::LOCALHOST, 2),
        cbor!([104, (vec![127u8, 0, 0, 1]), 6, 3]),
        cbor!([106, "coap://a.example", (), ()]),
    ];
    assert_eq!(items(&bench.peer.response())[4..], expected);
}

#[test]
fn c_resp_07_the_objective_is_appended_with_its_value_if_the_asa_wants_it() {
    isolated!();
    let bench = Bench::new();
    let options = RegisterObj { rapid: true, discoverable: true, ..RegisterObj::default() };
    bench.register_with(&synchronizable("EX4", "now"), options);
    bench.peer.ask(7, "EX4");
    let response = bench.peer.response();
    assert_eq!(items(&response)[5..], [cbor!(["EX4", 5, 6, "now"])]);
}

#[test]
fn c_resp_08_what_is_cached_is_answered_with_a_divert() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    bench.learn(bench.far(), "EX1", 60_000, vec![bench.far().locator(1)]);
    bench.peer.ask(7, "EX1");
    let response = bench.peer.only_response(7);
    assert_eq!(items(&response)[2], cbor!(bench.peer.initiator()));
    assert_eq!(items(&response)[4..], [Value::Array(vec![cbor!(100), bench.far().locator(1)])]);
}

#[test]
fn c_resp_09_no_cached_answer_where_it_was_learnt() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    bench.learn(bench.far(), "EX1", 60_000, vec![bench.far().locator(1)]);
    bench.register(&synchronizable("EX9", 1));
    bench.far().ask(7, "EX1");
    bench.far().ask(8, "EX9");
    bench.far().only_response(8);
}

#[test]
fn c_resp_10_silence_about_what_is_not_known() {
    isolated!();
    let bench = Bench::new();
    bench.register(&synchronizable("EX9", 1));
    bench.peer.ask(7, "EX1");
    bench.peer.ask(8, "EX9");
    bench.peer.only_response(8);
    let stats = bench.engine.stats();
    assert_eq!((stats.discoveries_received, stats.discoveries_unanswered, stats.responses_sent), (2, 1, 1));
    assert!(!bench.peer.hears_anything(Duration::from_millis(1)));
}

#[test]
fn c_resp_11_the_locator_follows_a_change_of_address() {
    isolated!();
    let bench = Bench::with(Config::new().watch_interval(Duration::from_millis(50)));
    bench.publish(&synchronizable("EX4", "v"));
    let (old, new) = (bench.home.ula().unwrap(), "fd00:77::1".parse::<Ipv6Addr>().unwrap());
    assert_eq!(bench.peer.locate("EX4").0, old);
    bench.home.remove_address("eth0", old, 64).unwrap();
    bench.home.add_address("eth0", new, 64).unwrap();
    bench.peer.node.add_address("eth0", "fd00:77::2".parse().unwrap(), 64).unwrap();
    eventually(SOON, "the new address is announced", || bench.peer.locate("EX4").0 == new);
    let mut stream = bench.peer.call("EX4");
    stream.send(&cbor!([4, 7, ["EX4", 5, 6, ()]]));
    assert_eq!(sid(&stream.receive()), 7);
}

#[test]
fn c_resp_12_a_unicast_discovery_is_answered_like_a_multicast() {
    isolated!();
    let bench = Bench::new();
    bench.register(&synchronizable("EX4", 1));
    let discovery = bench.peer.discovery(7, "EX4");
    bench.peer.unicast(&discovery, bench.peer.address, bench.link_local());
    bench.peer.only_response(7);
    let stats = bench.engine.stats();
    assert_eq!((stats.unicast_datagram_received, stats.multicast_received), (1, 0));
}

#[test]
fn c_resp_12_a_unicast_discovery_to_the_global_address_is_answered() {
    isolated!();
    let bench = Bench::new();
    bench.register(&synchronizable("EX4", 1));
    let home = bench.home.ula().unwrap();
    bench.peer.unicast(&bench.peer.discovery(7, "EX4"), bench.peer.address, home);
    bench.peer.only_response(7);
    // From such an address too, where the response goes then.
    let (node, global) = (&bench.peer.node, bench.peer.global.unwrap());
    let listener = node.run(|| TcpListener::bind((global, 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    let udp = RawUdp::open(node, "eth0", global, port).unwrap();
    udp.send(&bench.peer.discovery(8, "EX4").encode(), home, GRASP_LISTEN_PORT).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut answer = [0; 3];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[1..], [2, 8], "M_RESPONSE in session 8");
    let stats = bench.engine.stats();
    assert_eq!((stats.unicast_datagram_received, stats.multicast_received), (2, 0));
}

#[test]
fn c_resp_12_a_discovery_by_tcp_is_answered_on_the_same_connection() {
    isolated!();
    let bench = Bench::new();
    bench.publish(&synchronizable("EX4", 1));
    bench.register(&synchronizable("EX5", 1));
    let mut stream = bench.peer.call("EX4");
    stream.send(&bench.peer.discovery(9, "EX5"));
    assert_eq!(sid(&stream.receive()), 9);
    let before = bench.engine.stats().discoveries_unanswered;
    bench.peer.call("EX4").send(&bench.peer.discovery(10, "unheard of"));
    eventually(SOON, "there is no answer", || bench.engine.stats().discoveries_unanswered == before + 1);
}

#[test]
fn c_resp_12_a_discovery_from_off_the_link_is_not_answered() {
    isolated!();
    let bench = Bench::new();
    bench.register(&synchronizable("EX4", 1));
    let discovery = bench.peer.discovery(7, "EX4");
    let far = "fd00:ffff::1".parse().unwrap();
    bench.peer.node.add_address("eth0", far, 128).unwrap();
    for home in [bench.link_local(), bench.home.ula().unwrap()] {
        bench.peer.unicast(&discovery, far, home);
    }
    bench.peer.multicast_from(&discovery, bench.peer.global.unwrap());
    eventually(SOON, "all are dropped", || bench.engine.stats().dropped_bad_source == 3);
    bench.peer.ask(8, "EX4");
    bench.peer.only_response(8);
}

#[test]
fn c_resp_13_every_engine_of_a_node_hears_every_multicast() {
    isolated!();
    let bench = Bench::new();
    bench.register(&synchronizable("EX4", 1));
    let second = bench.home.run(|| Engine::start(Config::new())).unwrap();
    let asa = second.register_asa("second").unwrap();
    let options = RegisterObj { discoverable: true, ..RegisterObj::default() };
    bench.home.run(|| second.register_obj(asa, &synchronizable("EX5", 1), options)).unwrap();
    for (session, name) in [(4, "EX4"), (5, "EX5")] {
        bench.peer.ask(session, name);
        bench.peer.only_response(session);
    }
    assert_eq!(bench.engine.stats().multicast_received, 2);
    assert_eq!(second.stats().multicast_received, 2);
}
