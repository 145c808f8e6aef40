//! Where a flood arrives: the flood cache (RFC 8990 §2.5.6.2, §2.8.11).

use grasp::{Acp, Config, Engine, Locator, Value, monotonic_ms};
use grasptests::isolated;
use grasptests::lab::eventually;

use crate::bench::{Bench, synchronizable};
use crate::peer::{SOON, locator};

/// The peer floods these pairs, with its own address as initiator.
fn flood(bench: &Bench, session: u32, ttl: u32, pairs: Vec<Value>) {
    flood_from(bench, &bench.peer.initiator(), session, ttl, pairs);
}

fn flood_from(bench: &Bench, initiator: &[u8], session: u32, ttl: u32, pairs: Vec<Value>) {
    let head = vec![cbor!(9), cbor!(session), cbor!(initiator), cbor!(ttl)];
    bench.peer.multicast(&Value::Array([head, pairs].concat()));
}

/// A flood that arrives behind all others.
fn fence(bench: &Bench) {
    let name = format!("fence {}", bench.engine.stats().floods_received);
    flood(bench, 999, 0, vec![cbor!([[(name.clone()), 5, 1, ()], []])]);
    eventually(SOON, "the last flood is cached", || !bench.flooded(&name).is_empty());
}

fn values(bench: &Bench, name: &str) -> Vec<Value> {
    bench.flooded(name).into_iter().map(|one| one.objective.value).collect()
}

#[test]
fn c_flr_01_every_objective_of_a_flood_is_cached() {
    isolated!();
    let bench = Bench::new();
    // Without the synchronization bit, with a foreign bit, with loop count 0 behind the first.
    let pairs = vec![
        cbor!([["EX1", 1, 6, "a"], []]),
        cbor!([["EX2", 5, 6, "b"], []]),
        cbor!([["EX3", 3, 6, "c"], []]),
        cbor!([["EX4", 64, 0, "d"], []]),
    ];
    flood(&bench, 1, 0, pairs);
    fence(&bench);
    for (name, value) in [("EX1", "a"), ("EX2", "b"), ("EX3", "c"), ("EX4", "d")] {
        assert_eq!(values(&bench, name), [Value::from(value)], "{name}");
    }
    // Any ASA of the engine sees it, and a synchronization finds the value without asking.
    let other = bench.engine.register_asa("other").unwrap();
    let got = bench.home.run(|| bench.engine.synchronize(other, &synchronizable("EX2", ()), None, Some(1)));
    assert_eq!(got.unwrap().value, Value::from("b"));
}

#[test]
fn c_flr_02_an_objective_is_tagged_with_its_locator_or_the_null_tag() {
    isolated!();
    let bench = Bench::new();
    let pairs = vec![
        cbor!([["EX2", 5, 6, 1], []]),
        cbor!([["EX5", 5, 6, 2], (bench.peer.locator(9))]),
        cbor!([["EX6", 5, 6, 3], [105, "a.example", 17, 8]]),
    ];
    flood(&bench, 1, 0, pairs);
    fence(&bench);
    let source = |name| bench.flooded(name)[0].source.clone();
    assert_eq!(source("EX2").locator, None);
    assert_eq!((source("EX5").locator, source("EX5").port), (bench.peer.global.map(Locator::Ipv6), Some(9)));
    assert_eq!(source("EX6").locator, Some(Locator::Fqdn("a.example".to_owned())));
    assert_eq!(source("EX6").ifi, bench.engine.links().first().map(|(ifi, _)| *ifi));
}

#[test]
fn c_flr_03_the_same_name_and_tag_overwrite() {
    isolated!();
    let bench = Bench::new();
    for value in [1, 2] {
        let (none, some) = (cbor!([["EX2", 5, 6, value], []]), bench.peer.locator(9));
        flood(&bench, value, 0, vec![none, cbor!([["EX5", 5, 6, value], some])]);
    }
    // Another initiator makes no difference: it is no part of the tag.
    flood_from(&bench, &[0x20; 16], 3, 0, vec![cbor!([["EX2", 5, 6, 3], []])]);
    fence(&bench);
    assert_eq!(values(&bench, "EX2"), [Value::from(3)]);
    assert_eq!(values(&bench, "EX5"), [Value::from(2)]);
}

#[test]
fn c_flr_04_the_same_name_with_another_tag_is_another_entry() {
    isolated!();
    let bench = Bench::new();
    let here = bench.peer.global.unwrap().octets().to_vec();
    let tags = [
        cbor!([]),
        cbor!([103, (here.clone()), 6, 9]),
        cbor!([103, (here.clone()), 6, 10]),
        cbor!([103, here, 17, 9]),
        cbor!([103, (vec![0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9]), 6, 9]),
        cbor!([105, "a.example", 6, 9]),
        cbor!([106, "a.example", 6, 9]),
    ];
    for (number, tag) in (0u32..).zip(&tags) {
        flood(&bench, number, 0, vec![cbor!([["EX2", 5, 6, number], (tag.clone())])]);
    }
    fence(&bench);
    let expected: Vec<_> = (0u32..7).map(Value::from).collect();
    assert_eq!(values(&bench, "EX2"), expected);
}

#[test]
fn c_flr_05_an_expired_entry_is_ignored() {
    isolated!();
    let bench = Bench::new();
    flood(&bench, 1, 1500, vec![cbor!([["EX2", 5, 6, 1], []])]);
    flood(&bench, 2, 0, vec![cbor!([["EX5", 5, 6, 2], []])]);
    eventually(SOON, "both are cached", || {
        bench.flooded("EX2").len() == 1 && bench.flooded("EX5").len() == 1
    });
    let hour = monotonic_ms() + 3_600_000;
    assert!(
        (hour - 60_000..=hour).contains(&bench.flooded("EX5")[0].source.expire),
        "what is learnt is kept for an hour"
    );
    eventually(SOON, "one expires", || bench.flooded("EX2").is_empty());
    assert_eq!(bench.flooded("EX5").len(), 1, "the other has no end that anybody waits for");
}

/// N2: the rule is for the initiator field.
#[test]
fn c_flr_06_a_flood_of_a_link_local_initiator_must_have_loop_count_1() {
    isolated!();
    let bench = Bench::new();
    let initiator = bench.peer.address.octets();
    for (session, count) in [(1, 0), (2, 2), (3, 3), (4, 6), (5, 255)] {
        flood_from(&bench, &initiator, session, 0, vec![cbor!([["EX2", 5, count, 1], []])]);
    }
    flood_from(&bench, &initiator, 6, 0, vec![cbor!([["EX5", 5, 1, 1], []])]);
    flood(&bench, 7, 0, vec![cbor!([["EX6", 5, 6, 1], []])]);
    fence(&bench);
    assert!(bench.flooded("EX2").is_empty());
    assert_eq!((bench.flooded("EX5").len(), bench.flooded("EX6").len()), (1, 1));
    assert_eq!(bench.engine.stats().dropped_link_local_flood, 5);
}

#[test]
fn c_flr_07_without_security_a_flood_is_ignored() {
    isolated!();
    let bench = Bench::with(Config::new().acp(Acp::None));
    flood(&bench, 1, 0, vec![cbor!([["EX2", 5, 1, 1], []])]);
    eventually(SOON, "the flood is dropped", || bench.engine.stats().dropped_insecure == 1);
    assert!(bench.flooded("EX2").is_empty());
}

/// A flood is heard where it is multicast: sent to one node it is none.
#[test]
fn c_flr_07_a_flood_to_one_node_or_from_off_the_link_is_ignored() {
    isolated!();
    let bench = Bench::new();
    let message = cbor!([9, 1, (bench.peer.initiator()), 0, [["EX2", 5, 6, 1], []]]);
    bench.peer.unicast(&message, bench.peer.address, bench.link_local());
    bench.peer.multicast_from(&message, bench.peer.global.unwrap());
    eventually(SOON, "both are dropped", || {
        let stats = bench.engine.stats();
        (stats.dropped_misplaced, stats.dropped_bad_source) == (1, 1)
    });
    fence(&bench);
    assert!(bench.flooded("EX2").is_empty());
}

/// Both engines of a node hear a flood, and each other's (RFC 8990 §2.3).
#[test]
fn c_flr_01_a_second_engine_on_the_node_hears_the_first() {
    isolated!();
    let bench = Bench::new();
    let second = bench.home.run(|| Engine::start(Config::new())).unwrap();
    let asa = second.register_asa("second").unwrap();
    let objective = synchronizable("EX2", 1);
    bench.register(&objective);
    bench.flood(0, &[grasp::TaggedObjective::new(objective.clone(), None)]).unwrap();
    eventually(SOON, "the other engine has it", || !second.get_flood(asa, &objective).unwrap().is_empty());
}

/// What a node relays comes back to it by multicast loopback. It is not heard a second time.
#[test]
fn c_flr_03_a_flood_that_is_relayed_is_cached_as_it_came() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    flood(
        &bench,
        1,
        0,
        vec![cbor!([["EX2", 5, 6, 1], []]), cbor!([["EX5", 5, 6, 2], (locator(bench.peer.address, 9))])],
    );
    eventually(SOON, "the relayed copy comes back", || bench.engine.stats().own_multicast == 1);
    fence(&bench);
    let ifi = bench.engine.links().first().map(|(ifi, _)| *ifi);
    for name in ["EX2", "EX5"] {
        let cached = bench.flooded(name);
        assert_eq!(
            (cached.len(), cached[0].objective.loop_count, cached[0].source.ifi),
            (1, 6, ifi),
            "{name}"
        );
    }
}
