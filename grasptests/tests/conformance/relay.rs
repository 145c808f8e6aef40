//! Relaying discoveries and floods (RFC 8990 §2.5.4.4, §2.5.6.2): an engine between two links, with a hand-made
//! peer on each. What it takes a network to show is in grasptests/tests/relay.rs.

use std::time::{Duration, Instant};

use grasp::{Config, Rate, Value};
use grasptests::isolated;
use grasptests::lab::eventually;

use crate::bench::Bench;
use crate::peer::{DISCOVERY, FLOOD, QUIET, SOON, items, locator, response, sid};

/// A discovery as bytes, with a long head for the loop count, an unknown flag, and no value.
fn odd_discovery(session: u32, initiator: &[u8], loop_count: u8) -> Vec<u8> {
    let mut bytes = vec![0x84, 0x01, 0x1a];
    bytes.extend(session.to_be_bytes());
    bytes.push(0x50);
    bytes.extend(initiator);
    bytes.extend([0x83, 0x63, b'E', b'X', b'1', 0x18, 0x41, loop_count]);
    bytes
}

fn flood(session: u32, initiator: Vec<u8>, first: u8, second: u8) -> Value {
    let pair = |name: &str, count: u8| cbor!([[name, 5, count, "v"], []]);
    Value::Array(vec![
        cbor!(9),
        cbor!(session),
        cbor!(initiator),
        cbor!(60_000),
        pair("F1", first),
        pair("F2", second),
    ])
}

#[test]
fn c_drel_01_discoveries_are_relayed_from_every_interface_to_the_others() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    bench.peer.ask(7, "EX1");
    assert_eq!(sid(&bench.far().heard(DISCOVERY).message), 7);
    bench.far().ask(8, "EX2");
    assert_eq!(sid(&bench.peer.heard(DISCOVERY).message), 8);
    // C-DREL-02: neither of them came back to where it was asked.
    assert!(bench.far().heard_within(DISCOVERY, QUIET).is_none());
    assert!(bench.peer.heard_within(DISCOVERY, QUIET).is_none());
}

#[test]
fn c_drel_02_what_is_local_or_cached_is_not_relayed() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    bench.publish(&crate::bench::synchronizable("EX4", 1));
    bench.learn(bench.far(), "EX5", 60_000, vec![bench.far().locator(1)]);
    bench.peer.locate("EX4");
    bench.peer.ask(8, "EX5");
    assert_eq!(sid(&bench.peer.only_response(8)), 8);
    assert_eq!(bench.engine.stats().discoveries_relayed, 0);
}

#[test]
fn c_drel_03_and_11_nothing_but_the_loop_count_changes() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    let initiator = bench.peer.initiator();
    bench.peer.multicast_bytes(&odd_discovery(0x0102_0304, &initiator, 6));
    assert_eq!(bench.far().heard(DISCOVERY).bytes, odd_discovery(0x0102_0304, &initiator, 5));
}

#[test]
fn c_drel_04_a_loop_count_of_1_is_not_relayed() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    let initiator = bench.peer.initiator();
    bench.peer.multicast_bytes(&odd_discovery(1, &initiator, 1));
    bench.peer.multicast_bytes(&odd_discovery(2, &initiator, 2));
    let heard = bench.far().heard(DISCOVERY);
    assert_eq!(heard.bytes, odd_discovery(2, &initiator, 1));
    assert_eq!(bench.engine.stats().not_relayed_loop_count, 1);
}

#[test]
fn c_drel_05_a_burst_of_discoveries_is_relayed_at_a_limited_rate() {
    isolated!();
    // One initiator has half of what its neighbour has.
    let rate = Rate::new(2, 40);
    let config =
        Config::new().discovery_relay_rate(rate).neighbour_discovery_relay_rate(rate).relay_limit(1000);
    let bench = Bench::on_two_links(config);
    let started = Instant::now();
    for session in 0..200 {
        bench.peer.multicast(&bench.peer.discovery(session, "EX1"));
    }
    let count = || {
        let stats = bench.engine.stats();
        stats.discoveries_relayed + stats.dropped_discovery_rate
    };
    eventually(SOON, "all are relayed or dropped", || count() == 200);
    let relayed = bench.engine.stats().discoveries_relayed;
    assert!((20..=21 + started.elapsed().as_secs()).contains(&relayed), "{relayed}");
}

#[test]
fn c_drel_05_open_relays_are_bounded() {
    isolated!();
    let bench = Bench::on_two_links(Config::new().relay_limit(3));
    for session in 0..20 {
        bench.peer.multicast(&bench.peer.discovery(session, "EX1"));
    }
    eventually(SOON, "all have been looked at", || {
        let stats = bench.engine.stats();
        stats.discoveries_relayed + stats.dropped_relay_full == 20
    });
    assert!(bench.engine.stats().dropped_relay_full > 0);
    eventually(SOON, "and all are over", || bench.engine.open_sessions() == 0);
}

#[test]
fn c_drel_06_a_discovery_is_relayed_once_even_after_its_time() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    let initiator = bench.peer.initiator();
    bench.peer.multicast_bytes(&odd_discovery(1, &initiator, 2));
    bench.far().heard(DISCOVERY);
    bench.peer.multicast_bytes(&odd_discovery(1, &initiator, 2));
    eventually(SOON, "the relay is over", || bench.engine.open_sessions() == 0);
    // Also if it comes round the other way.
    bench.peer.multicast_bytes(&odd_discovery(1, &initiator, 6));
    bench.far().multicast_bytes(&odd_discovery(1, &initiator, 6));
    bench.peer.ask(9, "EX2");
    assert_eq!(sid(&bench.far().heard(DISCOVERY).message), 9);
    eventually(SOON, "the copies are counted", || bench.engine.stats().not_relayed_duplicate == 3);
}

#[test]
fn c_drel_07_a_relay_waits_100_ms_for_each_remaining_hop() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    bench.peer.multicast_bytes(&odd_discovery(1, &bench.peer.initiator(), 6));
    let heard = bench.far().heard(DISCOVERY);
    eventually(SOON, "the relay is over", || bench.engine.open_sessions() == 0);
    let lasted = heard.at.elapsed();
    assert!(lasted > Duration::from_millis(450), "{lasted:?}");
    // An answer after that is one that nobody waits for.
    bench.far().respond(&heard, 60_000, vec![bench.far().locator(1)]);
    eventually(SOON, "it is counted", || bench.engine.stats().dropped_stray_response == 1);
    assert!(bench.cached("EX1").is_empty());
}

#[test]
fn c_drel_08_answers_go_back_to_the_asker_as_they_come() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    bench.peer.ask(7, "EX1");
    let heard = bench.far().heard(DISCOVERY);
    for (port, ttl) in [(1, 300_000), (2, 0)] {
        bench.far().respond(&heard, ttl, vec![bench.far().locator(port)]);
        let answer = bench.peer.response();
        let life = if ttl == 0 { 600_000 } else { ttl };
        let divert = Value::Array(vec![cbor!(100), bench.far().locator(port)]);
        let expected = [cbor!(2), cbor!(7), cbor!(bench.peer.initiator()), cbor!(life), divert];
        assert_eq!(items(&answer), expected);
    }
    // C-DREL-10: the second asker gets both from the cache, and nothing is relayed.
    bench.peer.ask(8, "EX1");
    assert_eq!(items(&items(&bench.peer.only_response(8))[4]).len(), 3);
    assert_eq!(bench.engine.stats().discoveries_relayed, 1);
}

#[test]
fn c_drel_08_a_link_local_answer_is_not_sent_back() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    bench.peer.ask(7, "EX1");
    let heard = bench.far().heard(DISCOVERY);
    bench.far().respond(&heard, 60_000, vec![locator(bench.far().address, 1)]);
    bench.far().respond(&heard, 60_000, vec![bench.far().locator(2)]);
    let divert = items(&bench.peer.only_response(7))[4].clone();
    assert_eq!(divert, Value::Array(vec![cbor!(100), bench.far().locator(2)]));
}

#[test]
fn c_drel_08_a_forged_answer_to_a_relayed_discovery_is_dropped() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    bench.peer.ask(7, "EX1");
    let heard = bench.far().heard(DISCOVERY);
    let good = response(&heard, 60_000, vec![bench.far().locator(2)]);
    for (index, wrong) in [(1, cbor!(8)), (2, cbor!(bench.far().initiator()))] {
        let mut forged = items(&good).to_vec();
        forged[index] = wrong;
        bench.far().reply(&heard, &Value::Array(forged));
    }
    bench.far().reply(&heard, &good);
    bench.peer.only_response(7);
    assert_eq!(bench.engine.stats().dropped_stray_response, 2);
}

#[test]
fn c_drel_09_responses_come_to_the_relays_own_port() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    bench.peer.ask(7, "EX1");
    let heard = bench.far().heard(DISCOVERY);
    let (_, far_address) = bench.engine.links()[1];
    assert_eq!(heard.answer_to().0, far_address);
    let own = bench.discover_first("EX9");
    assert_eq!(bench.far().heard_looking_for("EX9").answer_to(), heard.answer_to());
    bench.far().respond(&heard, 60_000, vec![bench.far().locator(1)]);
    assert_eq!(sid(&bench.peer.response()), 7);
    drop(own);
}

#[test]
fn c_frel_01_floods_are_relayed_from_every_interface_to_the_others() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    bench.peer.multicast(&flood(7, bench.peer.initiator(), 6, 6));
    assert_eq!(sid(&bench.far().heard(FLOOD).message), 7);
    bench.far().multicast(&flood(8, bench.far().initiator(), 6, 6));
    assert_eq!(sid(&bench.peer.heard(FLOOD).message), 8);
    assert!(bench.far().heard_within(FLOOD, QUIET).is_none());
    assert!(bench.peer.heard_within(FLOOD, QUIET).is_none());
}

#[test]
fn c_frel_02_03_only_the_first_loop_count_is_lowered_and_never_to_0() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    let initiator = bench.peer.initiator();
    bench.peer.multicast(&flood(6, initiator.clone(), 1, 9));
    bench.peer.multicast(&flood(7, initiator.clone(), 3, 3));
    assert_eq!(bench.far().heard(FLOOD).message, flood(7, initiator, 2, 3));
    assert_eq!(bench.engine.stats().not_relayed_loop_count, 1);
    assert_eq!(bench.flooded("F1").len(), 1);
}

#[test]
fn c_frel_04_a_burst_of_floods_is_relayed_at_a_limited_rate() {
    isolated!();
    // One initiator has half of what its neighbour has, and a flood of two names counts twice.
    let rate = Rate::new(4, 80);
    let bench = Bench::on_two_links(Config::new().neighbour_flood_relay_rate(rate));
    let started = Instant::now();
    for session in 0..200 {
        bench.peer.multicast(&flood(session, bench.peer.initiator(), 6, 6));
    }
    eventually(SOON, "all are relayed or dropped", || {
        let stats = bench.engine.stats();
        stats.floods_relayed + stats.dropped_flood_rate == 200
    });
    let relayed = bench.engine.stats().floods_relayed;
    assert!((20..=21 + started.elapsed().as_secs()).contains(&relayed), "{relayed}");
    // What is not relayed is cached all the same, and the other neighbour has a budget of its own.
    assert_eq!(bench.engine.stats().flood_entries_cached, 400);
    bench.far().multicast(&flood(1000, bench.far().initiator(), 6, 6));
    assert_eq!(sid(&bench.peer.heard(FLOOD).message), 1000);
}

#[test]
fn c_frel_05_a_flood_is_relayed_once_whichever_way_it_comes() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    let initiator = bench.peer.initiator();
    bench.peer.multicast(&flood(7, initiator.clone(), 6, 6));
    assert_eq!(sid(&bench.far().heard(FLOOD).message), 7);
    bench.peer.multicast(&flood(7, initiator.clone(), 6, 6));
    bench.far().multicast(&flood(7, initiator.clone(), 5, 6));
    bench.peer.multicast(&flood(8, initiator, 6, 6));
    assert_eq!(sid(&bench.far().heard(FLOOD).message), 8);
    assert!(bench.peer.heard_within(FLOOD, QUIET).is_none());
    eventually(SOON, "the copies are counted", || bench.engine.stats().not_relayed_duplicate == 2);
}

#[test]
fn c_frel_06_locators_and_unknown_options_are_relayed_as_they_came() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    let flood = |count: u8| {
        let link_local = locator(bench.peer.address, 443);
        let fqdn = cbor!([105, "registrar.example.com", 17, 5684]);
        let option = cbor!([107, "signature"]);
        let pair = |count: u8, locator| Value::Array(vec![cbor!(["F1", 5, count, ()]), locator]);
        let head = [cbor!(9), cbor!(7), cbor!(bench.peer.initiator()), cbor!(0)];
        Value::Array(head.into_iter().chain([pair(count, link_local), pair(6, fqdn), option]).collect())
    };
    bench.peer.multicast(&flood(6));
    assert_eq!(bench.far().heard(FLOOD).message, flood(5));
}
