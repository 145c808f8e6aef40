//! Options (RFC 8990 §2.9): where they may stand, and what a node may say of its own and of others' addresses.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

use grasp::{AsaLocator, Config, Locator, Negotiation, Protocol, RegisterObj, Value};
use grasptests::isolated;

use crate::bench::{Bench, negotiable, synchronizable};
use crate::peer::{Server, items, locator, sid};

/// The options that have no place in a flood, each before a good pair.
fn floods_with(option: Value) {
    let bench = Bench::new();
    let initiator = bench.peer.initiator();
    let pair = cbor!([["EX2", 5, 6, 1], []]);
    let flood = |session: u32, rest: Vec<Value>| {
        Value::Array([vec![cbor!(9), cbor!(session), cbor!(initiator.clone()), cbor!(0)], rest].concat())
    };
    bench.peer.multicast(&flood(1, vec![option.clone(), pair]));
    grasptests::lab::eventually(crate::peer::SOON, "the flood is cached", || bench.flooded("EX2").len() == 1);
    assert_eq!(bench.flooded("EX2")[0].source.locator, None);
    // In the place of the locator it is no locator: it is discarded, and leaves the objective without one.
    let tagged = Value::Array(vec![cbor!(["EX6", 5, 6, 1]), option]);
    bench.peer.multicast(&flood(2, vec![tagged]));
    bench.peer.multicast(&flood(3, vec![cbor!([["EX7", 5, 6, 1], []])]));
    grasptests::lab::eventually(crate::peer::SOON, "the next one too", || bench.flooded("EX7").len() == 1);
    assert_eq!(bench.flooded("EX6")[0].source.locator, None);
}

/// An option beside the Accept of an M_END is ignored.
fn ends_with(option: Value) {
    let bench = Bench::new();
    let objective = negotiable("EX3", 1);
    let pending = bench.negotiate(&objective, None);
    let end = Value::Array(vec![cbor!(6), cbor!(pending.session()), cbor!([101]), option]);
    assert_eq!(pending.answered(&end), Ok(Negotiation::Agreed(objective)));
}

/// An option beside the locator of an M_RESPONSE is ignored.
fn responses_with(option: Value) {
    let bench = Bench::new();
    let found = bench.learn(&bench.peer, "EX1", 60_000, vec![option, bench.peer.locator(4711)]);
    assert_eq!(found.iter().map(|one| one.port).collect::<Vec<_>>(), [Some(4711)]);
}

fn divert() -> Value {
    Value::Array(vec![cbor!(100), locator(Ipv6Addr::LOCALHOST, 1)])
}

#[test]
fn c_opt_02_a_divert_in_a_flood_is_ignored() {
    isolated!();
    floods_with(divert());
}

#[test]
fn c_opt_02_a_divert_in_an_end_is_ignored() {
    isolated!();
    ends_with(divert());
}

#[test]
fn c_opt_03_an_accept_in_a_flood_is_ignored() {
    isolated!();
    floods_with(cbor!([101]));
}

#[test]
fn c_opt_03_an_accept_in_a_response_is_ignored() {
    isolated!();
    responses_with(cbor!([101]));
}

#[test]
fn c_opt_04_a_decline_in_a_flood_is_ignored() {
    isolated!();
    floods_with(cbor!([102, "no"]));
}

#[test]
fn c_opt_04_a_decline_in_a_response_is_ignored() {
    isolated!();
    responses_with(cbor!([102]));
}

/// A malformed locator is no locator, and harms neither the call nor its neighbours.
#[test]
fn c_opt_05_locators_with_a_wrong_address_port_or_protocol_are_ignored() {
    isolated!();
    let bench = Bench::new();
    let ip6 = Ipv6Addr::LOCALHOST.octets().to_vec();
    let mut options = vec![
        cbor!([103, (vec![1u8; 4]), 6, 1]),
        cbor!([103, (ip6.clone()), 6, 65536]),
        cbor!([103, (ip6.clone()), 6, (-1)]),
        cbor!([103, (ip6.clone()), (-6), 1]),
        cbor!([103, (ip6.clone()), 6, ()]),
        cbor!([104, ip6, 6, 1]),
        cbor!([105, "a.example", (), 1]),
        cbor!([106, "coap://a.example"]),
    ];
    options.push(bench.peer.locator(4711));
    let found = bench.learn(&bench.peer, "EX1", 60_000, options);
    let ports: Vec<_> = found.iter().filter(|one| one.is_ipaddress()).map(|one| one.port).collect();
    assert_eq!(ports, [Some(4711)]);
    assert_eq!(found.len(), 2, "and the short URI that graspy sends: {found:?}");
}

/// All four kinds reach the ASA as they were sent.
#[test]
fn c_opt_06_locators_of_every_kind_are_discovered() {
    isolated!();
    let bench = Bench::new();
    let options = vec![
        cbor!([104, (vec![192u8, 0, 2, 1]), 6, 1]),
        cbor!([105, "a.example", 17, 2]),
        cbor!([106, "coap://a.example", (), ()]),
        cbor!([106, "coap://b.example", 17, 3]),
        bench.peer.locator(4),
    ];
    let found = bench.learn(&bench.peer, "EX1", 60_000, options);
    let places: Vec<_> = found.iter().map(|one| (one.locator.clone().unwrap(), one.port)).collect();
    assert_eq!(
        places,
        [
            (Locator::Ipv4(Ipv4Addr::new(192, 0, 2, 1)), Some(1)),
            (Locator::Fqdn("a.example".to_owned()), Some(2)),
            (Locator::Uri("coap://a.example".to_owned()), None),
            (Locator::Uri("coap://b.example".to_owned()), Some(3)),
            (Locator::Ipv6(bench.peer.global.unwrap()), Some(4)),
        ]
    );
}

#[test]
fn c_opt_09_a_local_objective_shows_the_address_of_each_link() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    let options = RegisterObj { local: true, discoverable: true, ..RegisterObj::default() };
    bench.register_with(&synchronizable("EX4", 1), options);
    bench.register(&synchronizable("EX5", 1));
    let links = bench.engine.links();
    for (peer, (_, address)) in [&bench.peer, bench.far()].into_iter().zip(links.clone()) {
        assert_eq!(peer.locate("EX4").0, address);
        let interface = if address == links[0].1 { "eth0" } else { "eth1" };
        let own = bench.home.addresses(interface).unwrap();
        let wider = own.iter().map(|(own, _)| *own).find(|own| own.is_unique_local());
        assert_eq!(Some(peer.locate("EX5").0), wider, "otherwise the wider one of the link");
    }
}

#[test]
fn c_opt_10_no_divert_to_a_link_local_address() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    bench.learn(bench.far(), "EX1", 60_000, vec![locator(bench.far().address, 1)]);
    bench.learn(bench.far(), "EX2", 60_000, vec![locator(bench.far().address, 1), bench.far().locator(2)]);
    bench.peer.ask(1, "EX1");
    bench.peer.ask(2, "EX2");
    let response = bench.peer.only_response(2);
    let expected = Value::Array(vec![cbor!(100), bench.far().locator(2)]);
    assert_eq!(items(&response)[4..], [expected]);
}

#[test]
fn c_opt_12_no_divert_to_a_name_that_is_valid_on_a_link_only() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    let narrow = vec![cbor!([105, "printer.local", 6, 1]), cbor!([106, "http://printer.local:80/x", (), ()])];
    bench.learn(bench.far(), "EX1", 60_000, narrow.clone());
    let wide = vec![cbor!([105, "a.example", 6, 1]), cbor!([106, "http://a.example/.local", (), ()])];
    bench.learn(bench.far(), "EX2", 60_000, [narrow, wide.clone()].concat());
    bench.peer.ask(1, "EX1");
    bench.peer.ask(2, "EX2");
    let response = bench.peer.only_response(2);
    assert_eq!(items(&response)[4..], [Value::Array([vec![cbor!(100)], wide].concat())]);
}

#[test]
fn c_opt_13_a_name_is_resolved_before_connecting() {
    isolated!();
    let bench = Bench::new();
    let server = bench.home.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
    let server = Server::new(server);
    // The only name that every machine knows. Nobody is believed who answers with it.
    let named = AsaLocator::fqdn("localhost", Protocol::Tcp, server.port());
    let objective = negotiable("EX3", 1);
    bench.register(&objective);
    let asked = objective.clone();
    let result = bench.spawn(move |engine, asa| engine.req_negotiate(asa, &asked, Some(&named), Some(5000)));
    let mut stream = server.accept();
    let request = stream.receive();
    stream.send(&cbor!([6, (sid(&request)), [101]]));
    assert_eq!(result.join().unwrap(), Ok(Negotiation::Agreed(objective)));
}
