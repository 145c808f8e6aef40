//! Diverts and the discovery cache (RFC 8990 §2.5.4.3, §2.9.2).

use std::net::Ipv6Addr;
use std::time::Duration;

use grasp::{Config, Discover, Negotiation, Objective, RegisterObj, Value, monotonic_ms};
use grasptests::isolated;
use grasptests::lab::eventually;

use crate::bench::{Bench, negotiable, synchronizable};
use crate::peer::{DISCOVERY, SOON, items, locator, sid};

#[test]
fn c_div_01_a_divert_lists_all_live_locators_for_no_longer_than_they_live() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    let far = bench.far();
    let found = bench.discover(&Objective::new("EX1"), 1000, Discover::default());
    let heard = far.heard(DISCOVERY);
    far.respond(&heard, 400_000, vec![far.locator(1), locator(far.address, 9)]);
    far.respond(&heard, 300_000, vec![far.locator(2)]);
    // Neither a locator that has expired nor one that is not sent counts.
    far.respond(&heard, 1, vec![far.locator(3)]);
    far.respond(&heard, 20_000, vec![locator(far.address, 8)]);
    assert!(found.join().unwrap().unwrap().len() >= 4);
    bench.peer.ask(7, "EX1");
    let response = bench.peer.only_response(7);
    let ttl = items(&response)[3].as_i64().unwrap();
    assert!((200_000..300_000).contains(&ttl), "{ttl}");
    let [divert] = &items(&response)[4..] else { panic!("{response}") };
    let listed: Vec<_> = items(divert)[1..].iter().map(Value::encode).collect();
    assert_eq!(listed.len(), 2, "{divert}");
    assert!(listed.contains(&far.locator(1).encode()) && listed.contains(&far.locator(2).encode()));
}

#[test]
fn c_div_02_the_locators_in_a_divert_are_peers_and_marked() {
    isolated!();
    let bench = Bench::new();
    let server = bench.peer.listen();
    let divert = Value::Array(vec![cbor!(100), bench.peer.locator(server.port())]);
    let found = bench.learn(&bench.peer, "EX3", 60_000, vec![divert]);
    assert!(found[0].diverted && found[0].port == Some(server.port()));
    let objective = negotiable("EX3", 1);
    bench.register(&objective);
    let call = bench.spawn(move |engine, asa| engine.req_negotiate(asa, &objective, None, None));
    let mut stream = server.accept();
    let session = sid(&stream.receive());
    stream.send(&cbor!([6, session, [101]]));
    assert!(matches!(call.join().unwrap(), Ok(Negotiation::Agreed(_))));
}

#[test]
fn c_cache_01_an_entry_lives_as_long_as_its_ttl() {
    isolated!();
    let bench = Bench::new();
    let before = monotonic_ms();
    let found = bench.learn(&bench.peer, "EX1", 1500, vec![bench.peer.locator(1)]);
    let life = found[0].expire - before;
    assert!((1500..1500 + 9000).contains(&life), "{life}");
    assert_eq!(bench.cached("EX1").len(), 1);
    eventually(SOON, "it expires", || bench.cached("EX1").is_empty());
    assert!(monotonic_ms() >= found[0].expire);
}

#[test]
fn c_cache_02_a_ttl_of_zero_is_long() {
    isolated!();
    let bench = Bench::new();
    let before = monotonic_ms();
    let found = bench.learn(&bench.peer, "EX1", 0, vec![bench.peer.locator(1)]);
    // Ten times the default timeout.
    let life = found[0].expire - before;
    assert!((600_000..660_000).contains(&life), "{life}");
    assert_eq!(bench.cached("EX1"), found);
}

#[test]
fn c_cache_03_an_entry_may_vanish_and_is_discovered_again() {
    isolated!();
    let bench = Bench::with(Config::new().discovery_cache_limit(2).locators_limit(3));
    let bare = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 9, 9);
    for name in ["EX1", "EX2", "EX3"] {
        bench.learn(&bench.peer, name, 60_000, (1..=5).map(|port| locator(bare, port)).collect());
    }
    let held: Vec<_> = ["EX1", "EX2", "EX3"].iter().map(|name| bench.cached(name).len()).collect();
    assert_eq!(held, [0, 3, 3]);
    assert_eq!(bench.learn(&bench.peer, "EX1", 60_000, vec![locator(bare, 1)]).len(), 1);
}

#[test]
fn c_cache_03_a_cache_that_is_flushed_is_filled_again() {
    isolated!();
    let bench = Bench::new();
    bench.learn(&bench.peer, "EX1", 60_000, vec![bench.peer.locator(1)]);
    let options = Discover { flush: true, enough: Some(1), ..Discover::default() };
    let found = bench.discover(&Objective::new("EX1"), 20_000, options);
    let heard = bench.peer.heard(DISCOVERY);
    bench.peer.respond(&heard, 60_000, vec![bench.peer.locator(2)]);
    let ports: Vec<_> = found.join().unwrap().unwrap().iter().map(|one| one.port).collect();
    assert_eq!(ports, [Some(2)]);
}

#[test]
fn c_cache_04_lifetimes_are_configurable_for_the_node_and_for_an_objective() {
    isolated!();
    let bench = Bench::with(Config::new().objective_ttl(90_000));
    bench.register(&synchronizable("EX4", 1));
    let options = RegisterObj { ttl: Some(12_345), discoverable: true, ..RegisterObj::default() };
    bench.register_with(&synchronizable("EX5", 1), options);
    for (name, ttl) in [("EX4", 90_000), ("EX5", 12_345)] {
        bench.peer.ask(7, name);
        assert_eq!(items(&bench.peer.response())[3], cbor!(ttl));
    }
}

/// What was learnt on an interface goes with it.
#[test]
fn c_rob_02_locators_of_an_interface_that_is_gone_are_forgotten() {
    isolated!();
    let bench = Bench::on_two_links(Config::new().watch_interval(Duration::from_millis(50)));
    bench.learn(bench.far(), "EX1", 600_000, vec![bench.far().locator(1)]);
    bench.home.set_up("eth1", false).unwrap();
    eventually(SOON, "the interface is given up", || bench.engine.links().len() == 1);
    eventually(SOON, "so is what was learnt there", || bench.cached("EX1").is_empty());
}
