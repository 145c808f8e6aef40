//! What a neighbour does to those behind a relay, where everything comes "from the relay".

use std::time::{Duration, Instant};

use grasp::{Config, Discover, Objective, Rate, TaggedObjective, Value};
use grasptests::isolated;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, Node, RawUdp, eventually};
use grasptests::nodes::{Host, discoverable, overlapping, synchronizable};

use crate::scene::{LATER, Scene, discovers, flooded, multicast, nobody};

/// A flood of a hundred and forty names, as many as a message has room for, of this initiator.
fn many_names(session: u32, initiator: &Value) -> Value {
    let names = (0..140).map(|number| cbor!([[(format!("{session}.{number}")), 5, 6, 1], []]));
    let head = vec![cbor!(9), cbor!(session), initiator.clone(), cbor!(0)];
    Value::Array(head.into_iter().chain(names).collect())
}

/// Floods ten values of a host's, and waits until another has them.
fn ten_values(from: &Host, to: &Host) -> Vec<String> {
    let names: Vec<_> = (0..10).map(|number| format!("honest:{number}")).collect();
    for name in &names {
        let objective = synchronizable(name, 7);
        from.run(|engine, asa| {
            let _ = engine.register_obj(asa, &objective, overlapping());
            let tagged = TaggedObjective::new(objective.clone(), None);
            let mut tries = 0;
            eventually(LATER, "the value arrives", || {
                if tries % 200 == 0 {
                    engine.flood(asa, 0, std::slice::from_ref(&tagged)).unwrap();
                }
                tries += 1;
                flooded(to, name).is_some()
            });
        });
    }
    names
}

/// Eight floods of 140 names each, on the other side of a relay that passes them all on. The flooder's own values make room,
/// whether it floods in one name or in many.
#[test]
fn floods_of_many_names_do_not_displace_values_behind_a_relay() {
    isolated!();
    let much = Rate::new(1_000_000, 1_000_000);
    let scene = Scene::new(Config::new().flood_relay_rate(much).neighbour_flood_relay_rate(much));
    let names = ten_values(&scene.friend, &scene.far);
    let session = std::sync::atomic::AtomicU32::new(0);
    scene.survives(|scene| {
        let (socket, attacker) = (scene.at_link_local(), scene.link.ula(&scene.attacker).unwrap());
        for invented in [false, true] {
            let before = scene.far.engine.stats();
            for number in 0..8_u32 {
                let session = session.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let initiator =
                    if invented { [0xfd, number as u8 + 1].repeat(8) } else { attacker.octets().to_vec() };
                multicast(&socket, &many_names(session, &cbor!(initiator)));
            }
            eventually(LATER, "the floods arrive behind the relay", || {
                scene.far.engine.stats().floods_received >= before.floods_received + 8
            });
            let lost: Vec<_> = names.iter().filter(|name| flooded(&scene.far, name).is_none()).collect();
            assert!(lost.is_empty(), "{lost:?} of ten");
        }
        assert!(scene.far.engine.stats().flood_cache_evicted > 0, "there was no room for all");
    });
}

/// A flood costs as much of the rate as it has names.
#[test]
fn a_flood_of_many_names_counts_for_all_of_them() {
    isolated!();
    let scene = Scene::new(Config::new().neighbour_flood_relay_rate(Rate::new(1, 1000)));
    let round = std::sync::atomic::AtomicU32::new(0);
    scene.survives(|scene| {
        let round = round.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let socket = scene.at_link_local();
        let initiator = cbor!([0xfd, round as u8 + 1].repeat(8));
        let growth = scene.counted(|| {
            (0..8).for_each(|number| multicast(&socket, &many_names(100 * round + number, &initiator)));
        });
        growth.is("received", |s| s.floods_received, 8);
        // Half of what one neighbour may flood at once is for others behind it: 500 names.
        growth.is("relayed", |s| s.floods_relayed, 3);
        growth.is("over the rate", |s| s.dropped_flood_rate, 5);
    });
}

/// Sends discoveries with the largest loop count in the names of two nodes: each would occupy a relay for 25 seconds.
fn occupy(attacker: &Node, first: u32) {
    let socket = RawUdp::open(attacker, "eth0", std::net::Ipv6Addr::UNSPECIFIED, 0).unwrap();
    socket.allow_spoofing().unwrap();
    for source in [nobody(1), nobody(2)] {
        for number in 0..32 {
            let session = first + number;
            let asked = cbor!([1, session, (source.octets().to_vec()), [("nobody has this"), 1, 255, ()]]);
            socket.send_as(source, &asked.encode(), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
        }
    }
}

/// ```text
///   friend ---+--- relay --- second --- server
///   attacker -+
/// ```
/// The attacker's discoveries fill all relays of the first, and the first one's share at the second. What others ask goes
/// through both all the same, long before they would end.
#[test]
fn discoveries_with_the_largest_loop_count_do_not_block_the_relays() {
    isolated!();
    let lab = Lab::new().unwrap();
    let node = |name| lab.node(name).unwrap();
    let (friend, attacker, relay) = (node("friend"), node("attacker"), node("relay"));
    let (second, server) = (node("second"), node("server"));
    lab.lan(&[&relay, &friend, &attacker]).unwrap();
    lab.link(&relay, &second).unwrap();
    lab.link(&second, &server).unwrap();
    let hosts = [&friend, &relay, &second, &server].map(|node| Host::start(node, Config::new()));
    let [friend, relay, second, server] = &hosts;
    server.register_with(&synchronizable("EX1", 1), discoverable());
    server.register_with(&synchronizable("EX2", 1), discoverable());
    discovers(friend, "EX1");
    occupy(&attacker, 0);
    eventually(LATER, "all relays are occupied", || {
        relay.engine.stats().relays_peak == 64 && second.engine.stats().dropped_relay_full >= 1
    });
    let started = Instant::now();
    let options = Discover { flush: true, enough: Some(1), ..Discover::default() };
    let found = friend.run(|engine, asa| engine.discover(asa, &Objective::new("EX2"), Some(12_000), options));
    assert!(!found.unwrap().is_empty(), "nothing found for {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
}

/// The attacker asks what the friend will ask, before anybody offers it, in the names of many and with the largest loop count, so that
/// nobody answers it. The friend's discovery is merged with one of these, and relayed all the same.
#[test]
fn whoever_asks_the_same_first_cannot_keep_anothers_discovery_from_being_relayed() {
    isolated!();
    let scene = Scene::new(Config::new().merge_window(60_000));
    let round = std::sync::atomic::AtomicU32::new(0);
    scene.survives(|scene| {
        let round = round.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("late {round}");
        let victim = || scene.victim.engine.stats();
        let before = victim();
        let socket = scene.at_link_local();
        for number in 0..8_u32 {
            let initiator = [0xfd, number as u8 + 1].repeat(8);
            multicast(&socket, &cbor!([1, (100 * round + number), initiator, [(name.clone()), 5, 255, ()]]));
        }
        eventually(LATER, "the attacker's are relayed or merged", || {
            let (relayed, merged) = (victim().discoveries_relayed, victim().not_relayed_merged);
            relayed + merged == before.discoveries_relayed + before.not_relayed_merged + 8
        });
        scene.far.register_with(&synchronizable(&name, 1), discoverable());
        let merged = victim().not_relayed_merged;
        let wanted = synchronizable(&name, ());
        let options = Discover { enough: Some(1), ..Discover::default() };
        let started = Instant::now();
        let found = scene.friend.run(|engine, asa| engine.discover(asa, &wanted, Some(5000), options));
        assert!(!found.unwrap().is_empty(), "{:?}", victim());
        println!("found after {:?}", started.elapsed());
        assert_eq!(victim().not_relayed_merged, merged + 1, "merged once, and not when it asks again");
        assert!(victim().merged_relayed > before.merged_relayed);
        let _ = scene.far.run(|engine, asa| engine.deregister_obj(asa, &wanted));
    });
}
