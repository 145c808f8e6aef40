//! DULL instances: discovery and flooding for one insecure service on one link (RFC 8990 §2.5.2).

use grasp::{Config, Discover, Error, Objective, TaggedObjective, Value};
use grasptests::isolated;
use grasptests::lab::eventually;

use crate::bench::{Bench, negotiable, synchronizable};
use crate::peer::{DISCOVERY, FLOOD, QUIET, SOON, items, locator, response};

fn dull() -> Bench {
    Bench::with(Config::new().dull(true))
}

#[test]
fn c_dull_02_only_discovery_and_flooding_with_loop_count_1() {
    isolated!();
    let bench = dull();
    let (synch, neg) = (synchronizable("EX2", 1), negotiable("EX3", 1));
    bench.register(&synch);
    bench.register(&synchronizable("EX5", 1));
    bench.register(&neg);
    drop(bench.discover(&Objective::new("EX1"), 100, Discover::default()));
    assert_eq!(items(&items(&bench.peer.heard(DISCOVERY).message)[3])[2], cbor!(1));
    let both = [synch.clone(), synchronizable("EX5", 1)].map(|one| TaggedObjective::new(one, None));
    bench.flood(0, &both).unwrap();
    let heard = bench.peer.heard(FLOOD).message;
    assert!(items(&heard)[4..].iter().all(|pair| items(&items(pair)[0])[2] == cbor!(1)), "{heard}");
    bench.run(|engine, asa| {
        assert_eq!(engine.req_negotiate(asa, &neg, None, None), Err(Error::NoSecurity));
        assert_eq!(engine.listen_negotiate(asa, &neg), Err(Error::NoSecurity));
        assert_eq!(engine.listen_synchronize(asa, &synch), Err(Error::NoSecurity));
        assert_eq!(engine.synchronize(asa, &synchronizable("EX9", ()), None, None), Err(Error::NoSecurity));
        // What was flooded can be read.
        assert_eq!(engine.synchronize(asa, &synch, None, None).unwrap().value, Value::from(1));
    });
    let quiet = bench.peer.heard_within(DISCOVERY, QUIET);
    assert!(quiet.is_none(), "the calls that failed sent nothing");
}

#[test]
fn c_dull_03_messages_with_another_loop_count_than_1_are_dropped() {
    isolated!();
    let bench = dull();
    bench.register(&synchronizable("EX4", 1));
    let initiator = bench.peer.initiator();
    for count in [0, 2, 6, 255] {
        bench.peer.multicast(&cbor!([1, 7, (initiator.clone()), ["EX4", 5, count, ()]]));
        bench.peer.multicast(&cbor!([9, 8, (initiator.clone()), 0, [["EX2", 5, count, 1], []]]));
        let second = cbor!([["EX2", 5, count, 1], []]);
        bench.peer.multicast(&cbor!([9, 9, (initiator.clone()), 0, [["EX2", 5, 1, 1], []], second]));
    }
    bench.peer.multicast(&cbor!([1, 10, (initiator.clone()), ["EX4", 5, 1, ()]]));
    bench.peer.only_response(10);
    bench.peer.multicast(&cbor!([9, 11, initiator, 0, [["EX5", 5, 1, 1], []]]));
    eventually(SOON, "a good flood is cached", || bench.flooded("EX5").len() == 1);
    assert!(bench.flooded("EX2").is_empty());
    assert_eq!(bench.engine.stats().dropped_dull, 12);
}

#[test]
fn c_dull_04_datagrams_from_off_the_link_are_dropped() {
    isolated!();
    let bench = dull();
    bench.register(&synchronizable("EX4", 1));
    let global = bench.peer.global.unwrap();
    let initiator = bench.peer.initiator();
    let messages = [
        cbor!([0]),
        cbor!([1, 7, (initiator.clone()), ["EX4", 5, 1, ()]]),
        cbor!([9, 8, (initiator.clone()), 0, [["EX2", 5, 1, 1], []]]),
    ];
    for message in &messages {
        bench.peer.multicast_from(message, global);
        bench.peer.unicast(message, global, bench.link_local());
    }
    eventually(SOON, "all are dropped", || bench.engine.stats().dropped_bad_source == 6);
    bench.peer.multicast(&cbor!([1, 9, initiator, ["EX4", 5, 1, ()]]));
    bench.peer.only_response(9);
    assert!(bench.flooded("EX2").is_empty());
}

#[test]
fn c_dull_04_responses_and_requests_from_off_the_link_are_dropped() {
    isolated!();
    let bench = dull();
    let found = bench.discover_first("EX1");
    let heard = bench.peer.heard(DISCOVERY);
    let here = |port| locator(bench.peer.address, port);
    let bytes = response(&heard, 60_000, vec![here(1)]);
    bench.peer.connect_from(bench.peer.global.unwrap(), heard.answer_to()).send(&bytes);
    eventually(SOON, "the foreign response is dropped", || bench.engine.stats().dropped_dull == 1);
    bench.peer.respond(&heard, 60_000, vec![here(2)]);
    let ports: Vec<_> = found.join().unwrap().unwrap().iter().map(|one| one.port).collect();
    assert_eq!(ports, [Some(2)]);
    // Requests are for instances with security.
    bench.register(&synchronizable("EX4", 1));
    let initiator = bench.peer.initiator();
    bench.peer.multicast(&cbor!([1, 9, initiator, ["EX4", 5, 1, ()]]));
    let response = bench.peer.response();
    let port = crate::peer::port(&items(&items(&response)[4])[3]);
    for address in [bench.link_local(), bench.home.ula().unwrap()] {
        let mut stream = bench.peer.connect((address, port));
        stream.send(&cbor!([4, 7, ["EX4", 5, 1, ()]]));
        stream.closed();
    }
    assert_eq!(bench.engine.stats().dropped_insecure, 2);
}

#[test]
fn c_dull_05_objectives_of_other_services_are_dropped() {
    isolated!();
    let bench = Bench::with(Config::new().dull(true).dull_objectives(Some(vec!["EX2".to_owned()])));
    for name in ["EX2", "EX4"] {
        bench.register(&synchronizable(name, 1));
    }
    let initiator = bench.peer.initiator();
    let both = [cbor!([["EX4", 5, 1, 1], []]), cbor!([["EX2", 5, 1, 2], []])];
    let head = vec![cbor!(9), cbor!(6), cbor!(initiator.clone()), cbor!(0)];
    bench.peer.multicast(&Value::Array([head, both.to_vec()].concat()));
    for (session, name) in [(7, "EX4"), (8, "EX2")] {
        bench.peer.multicast(&cbor!([1, session, (initiator.clone()), [name, 5, 1, ()]]));
    }
    bench.peer.only_response(8);
    assert_eq!((bench.flooded("EX4").len(), bench.flooded("EX2").len()), (0, 1));
    let stats = bench.engine.stats();
    assert_eq!((stats.dropped_dull, stats.flood_entries_refused), (1, 1));
    let own = TaggedObjective::new(synchronizable("EX4", 1), None);
    assert_eq!(bench.flood(0, &[own]), Err(Error::NoSecurity));
    let refused = bench.discover(&Objective::new("EX4"), 100, Discover::default()).join().unwrap();
    assert_eq!(refused, Err(Error::NoSecurity));
}

#[test]
fn c_dull_06_nothing_is_relayed() {
    isolated!();
    let bench = Bench::on_two_links(Config::new().dull(true));
    let initiator = bench.peer.initiator();
    // Neither what is meant for the link nor what is not.
    for count in [1, 6] {
        bench.peer.multicast(&cbor!([1, 7, (initiator.clone()), ["EX4", 5, count, ()]]));
        bench.peer.multicast(&cbor!([9, count, (initiator.clone()), 0, [["EX2", 5, count, 1], []]]));
    }
    eventually(SOON, "all are handled", || bench.engine.stats().multicast_received == 4);
    assert!(!bench.far().hears_anything(QUIET));
}

#[test]
fn c_dull_07_a_response_shows_a_link_local_address() {
    isolated!();
    let bench = dull();
    bench.register(&synchronizable("EX4", 1));
    bench.peer.multicast(&cbor!([1, 7, (bench.peer.initiator()), ["EX4", 5, 1, ()]]));
    let response = bench.peer.only_response(7);
    let shown = &items(&items(&response)[4])[1];
    assert_eq!(crate::peer::ipv6(shown), bench.link_local());
}

#[test]
fn c_dull_08_no_divert_is_sent_and_none_believed() {
    isolated!();
    let bench = dull();
    let found = bench.discover_first("EX1");
    let heard = bench.peer.heard(DISCOVERY);
    let divert = Value::Array(vec![cbor!(100), bench.peer.locator(1)]);
    bench.peer.respond(&heard, 60_000, vec![divert]);
    eventually(SOON, "the divert is received", || bench.engine.stats().responses_received == 1);
    bench.peer.respond(&heard, 60_000, vec![bench.peer.locator(2)]);
    let ports: Vec<_> = found.join().unwrap().unwrap().iter().map(|one| one.port).collect();
    assert_eq!(ports, [Some(2)]);
    // What it knows it tells nobody.
    bench.register(&synchronizable("EX9", 1));
    for (session, name) in [(7, "EX1"), (8, "EX9")] {
        bench.peer.multicast(&cbor!([1, session, (bench.peer.initiator()), [name, 5, 1, ()]]));
    }
    bench.peer.only_response(8);
}
