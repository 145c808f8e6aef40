//! The initiator of a discovery (RFC 8990 §2.5.4, §2.8.4).

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use grasp::{Config, Discover, Engine, Objective};
use grasptests::isolated;
use grasptests::lab::eventually;

use crate::bench::{Bench, negotiable};
use crate::peer::{DISCOVERY, Peer, QUIET, SOON, items, locator, response, sid};

#[test]
fn c_disc_01_a_discovery_goes_to_the_group_on_every_interface() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    drop(bench.discover_first("EX1"));
    let (near, far) = (bench.peer.heard(DISCOVERY), bench.far().heard(DISCOVERY));
    assert_eq!(near.message, far.message);
    let sources = [*near.source.ip(), *far.source.ip()];
    assert_eq!(
        sources.to_vec(),
        bench.engine.links().iter().map(|(_, address)| *address).collect::<Vec<_>>()
    );
}

#[test]
fn c_disc_02_responses_are_accepted_on_the_port_that_discoveries_come_from() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    for (name, peer) in [("EX1", &bench.peer), ("EX2", bench.far())] {
        let found = bench.discover_first(name);
        let heard = peer.heard_looking_for(name);
        assert_ne!(heard.source.port(), 7017);
        peer.respond(&heard, 60_000, vec![peer.locator(1)]);
        assert_eq!(found.join().unwrap().unwrap().len(), 1);
    }
}

#[test]
fn c_disc_02_two_engines_on_a_node_have_ports_of_their_own() {
    isolated!();
    let bench = Bench::new();
    let second = bench.home.run(|| Engine::start(Config::new())).unwrap();
    drop(bench.discover_first("EX1"));
    let first_port = bench.peer.heard(DISCOVERY).source.port();
    let asa = second.register_asa("second").unwrap();
    let objective = Objective { loop_count: 1, ..Objective::new("EX2") };
    bench.home.run(|| second.discover(asa, &objective, None, Discover::default())).unwrap();
    let others = std::iter::from_fn(|| bench.peer.heard_within(DISCOVERY, QUIET));
    let second_port = others
        .filter(|heard| items(&items(&heard.message)[3])[0] == cbor!("EX2"))
        .map(|heard| heard.source.port())
        .next();
    assert!(second_port.is_some_and(|port| port != first_port));
}

#[test]
fn c_disc_03_a_discovery_is_for_one_objective_with_loop_count_6() {
    isolated!();
    let bench = Bench::new();
    drop(bench.discover(&negotiable("EX3", 9), 1000, Discover::default()));
    let heard = bench.peer.heard(DISCOVERY).message;
    let initiator = bench.home.ula().unwrap().octets().to_vec();
    // A value would be a wish in rapid mode (RFC 8990 §2.5.4.5).
    assert_eq!(heard, cbor!([1, (sid(&heard)), initiator, ["EX3", 3, 6, ()]]));
}

#[test]
fn c_disc_04_loop_count_1_keeps_a_discovery_on_the_link() {
    isolated!();
    let bench = Bench::new();
    let objective = Objective { loop_count: 1, ..Objective::new("EX1") };
    drop(bench.discover(&objective, 100, Discover::default()));
    assert_eq!(items(&items(&bench.peer.heard(DISCOVERY).message)[3])[2], cbor!(1));
}

#[test]
fn c_disc_05_without_an_answer_a_discovery_ends_after_its_timeout() {
    isolated!();
    let bench = Bench::new();
    for (loop_count, timeout, expected) in [(6, 0, 600), (2, 0, 200), (6, 1000, 1000), (10, 5, 1000)] {
        let objective = Objective { loop_count, ..Objective::new("EX1") };
        let started = Instant::now();
        let found = bench
            .run(|engine, asa| engine.discover(asa, &objective, Some(timeout), Discover::default()).unwrap());
        let took = started.elapsed();
        assert!(found.is_empty());
        assert!(took >= Duration::from_millis(expected) && took < SOON, "{took:?} instead of {expected} ms");
    }
    assert_eq!(bench.engine.open_sessions(), 0);
}

#[test]
fn c_disc_06_a_repeated_discovery_has_a_new_identifier_and_growing_pauses() {
    isolated!();
    let bench = Bench::new();
    let objective = Objective { loop_count: 1, ..Objective::new("EX1") };
    let call = bench.discover(&objective, 1600, Discover::default());
    let mut heard: Vec<_> = std::iter::from_fn(|| bench.peer.heard_within(DISCOVERY, 4 * QUIET)).collect();
    call.join().unwrap().unwrap();
    // At 0, 100, 300, 700 and 1500 ms.
    assert!((4..=5).contains(&heard.len()), "{}", heard.len());
    let pauses: Vec<_> = heard.windows(2).map(|two| two[1].at - two[0].at).collect();
    assert!(pauses.last() > pauses.first(), "{pauses:?}");
    heard.sort_by_key(|one| sid(&one.message));
    heard.dedup_by_key(|one| sid(&one.message));
    assert!(heard.len() >= 4, "the identifiers differ");
}

#[test]
fn c_disc_07_results_are_cached_with_their_interface() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    let found = bench.learn(bench.far(), "EX1", 60_000, vec![bench.far().locator(1)]);
    assert_eq!(found[0].ifi, Some(bench.engine.links()[1].0));
    bench.peer.heard(DISCOVERY);
    let started = Instant::now();
    let again = bench.discover(&Objective::new("EX1"), 20_000, Discover::default()).join().unwrap().unwrap();
    assert!(started.elapsed() < SOON && again == found, "{again:?}");
    assert!(bench.peer.heard_within(DISCOVERY, QUIET).is_none(), "answered locally");
}

#[test]
fn c_disc_08_every_responder_is_kept_the_first_is_the_default() {
    isolated!();
    let bench = Bench::new();
    let other = bench.another_peer();
    let found = bench.discover(&Objective::new("EX1"), 1500, Discover::default());
    let heard = bench.peer.heard(DISCOVERY);
    bench.peer.respond(&heard, 60_000, vec![bench.peer.locator(1)]);
    eventually(SOON, "the first response is accepted", || bench.engine.stats().responses_received == 1);
    let heard = other.heard(DISCOVERY);
    other.respond(&heard, 60_000, vec![other.locator(2), other.locator(3)]);
    let found = found.join().unwrap().unwrap();
    assert_eq!(found.iter().map(|one| one.port).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
    assert_eq!(bench.cached("EX1"), found);
}

/// Answers with the wrong identifier, the wrong initiator and too late. None of it is believed.
#[test]
fn c_disc_09_only_the_answers_to_what_was_asked_are_accepted() {
    isolated!();
    let bench = Bench::new();
    let found = bench.discover_first("EX1");
    let heard = bench.peer.heard(DISCOVERY);
    let session = sid(&heard.message);
    let own = bench.home.ula().unwrap().octets().to_vec();
    let foreign = bench.peer.initiator();
    let here = |port| bench.peer.locator(port);
    let wrong = [
        cbor!([2, (session ^ 1), (own.clone()), 60_000, (here(1))]),
        cbor!([2, session, foreign, 60_000, (here(2))]),
        cbor!([2, session, (vec![192u8, 0, 2, 1]), 60_000, (here(3))]),
        cbor!([2, session, (bench.link_local().octets().to_vec()), 60_000, (here(4))]),
    ];
    for message in &wrong {
        bench.peer.reply(&heard, message);
    }
    eventually(SOON, "they are dropped", || bench.engine.stats().dropped_stray_response == 4);
    for message in [cbor!([1, session, own, ["EX1", 1, 6]]), cbor!([9])] {
        bench.peer.reply(&heard, &message);
    }
    bench.peer.respond(&heard, 60_000, vec![here(5)]);
    let found = found.join().unwrap().unwrap();
    assert_eq!(found.iter().map(|one| one.port).collect::<Vec<_>>(), [Some(5)]);
    bench.peer.respond(&heard, 60_000, vec![here(6)]);
    eventually(SOON, "the late one is dropped", || bench.engine.stats().dropped_stray_response == 5);
    assert_eq!(bench.cached("EX1").len(), 1);
}

#[test]
fn c_disc_12_what_is_discovered_need_not_be_registered() {
    isolated!();
    let bench = Bench::new();
    let found =
        bench.discover(&negotiable("EX3", 1), 20_000, Discover { enough: Some(1), ..Discover::default() });
    let heard = bench.peer.heard(DISCOVERY);
    bench.peer.respond(&heard, 60_000, vec![bench.peer.locator(1)]);
    assert_eq!(found.join().unwrap().unwrap().len(), 1);
}

#[test]
fn c_disc_13_a_response_whose_transport_fails_is_no_response_and_harms_no_other() {
    isolated!();
    let bench = Bench::new();
    let found = bench.discover_first("EX1");
    let heard = bench.peer.heard(DISCOVERY);
    let to = heard.answer_to();
    let silent: Vec<_> = (0..20).map(|_| bench.peer.connect(to)).collect();
    let bytes = response(&heard, 60_000, vec![bench.peer.locator(1)]).encode();
    for length in [0, 1, bytes.len() - 1] {
        let mut broken = bench.peer.connect(to);
        broken.send_bytes(&bytes[..length]);
        broken.reset();
    }
    let mut half = bench.peer.connect(to);
    half.send_bytes(&bytes[..5]);
    drop(half);
    bench.peer.respond(&heard, 60_000, vec![bench.peer.locator(2)]);
    let found = found.join().unwrap().unwrap();
    assert_eq!(found.iter().map(|one| one.port).collect::<Vec<_>>(), [Some(2)]);
    drop(silent);
}

/// An address that is no peer's, in a locator: connecting fails, nothing else.
#[test]
fn c_rob_03_a_stale_locator_is_an_ordinary_error_and_is_forgotten() {
    isolated!();
    let bench = Bench::with(Config::new().connect_timeout(Duration::from_millis(400)));
    let dead: Ipv6Addr = "fd00:1::dead".parse().unwrap();
    let closed = Peer::listen(&bench.peer).port();
    let options = vec![locator(dead, 9), bench.peer.locator(closed)];
    let found = bench.learn(&bench.peer, "EX3", 60_000, options);
    let objective = negotiable("EX3", 1);
    bench.register(&objective);
    for peer in &found {
        let refused = bench.run(|engine, asa| engine.req_negotiate(asa, &objective, Some(peer), None));
        assert_eq!(refused, Err(grasp::Error::SockErrNegRq), "{peer}");
    }
    assert!(bench.cached("EX3").is_empty(), "forgotten");
}
