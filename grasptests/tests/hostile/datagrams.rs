//! Datagrams from where, and to where, none should come; messages that do not belong there.

use std::net::Ipv6Addr;

use grasp::{Config, Value};
use grasptests::isolated;
use grasptests::lab::{GRASP_LISTEN_PORT, RawUdp};

use crate::scene::{Growth, Scene, multicast, neg_of, nobody};

/// A valid message of every type, about an objective.
pub(crate) fn every_type(initiator: Ipv6Addr, name: &str) -> Vec<Value> {
    let ini = || cbor!(initiator.octets().to_vec());
    let locator = || cbor!([103, (ini()), 6, 4321]);
    vec![
        cbor!([0]),
        cbor!([1, 7, (ini()), [name, 1, 6, ()]]),
        cbor!([2, 7, (ini()), 60000, (locator())]),
        cbor!([2, 7, (ini()), 60000, [100, (locator())]]),
        cbor!([3, 7, [name, 3, 6, 1]]),
        cbor!([4, 7, [name, 5, 6, ()]]),
        cbor!([5, 7, [name, 3, 6, 1]]),
        cbor!([6, 7, [101]]),
        cbor!([6, 7, [102, "no"]]),
        cbor!([7, 7, 50]),
        cbor!([8, 7, [name, 5, 6, 1]]),
        cbor!([9, 7, (ini()), 1000, [[name, 5, 6, 1], (locator())]]),
        cbor!([99, 7, "invalid"]),
        cbor!([55, 7, "unknown"]),
    ]
}

/// Waits until every datagram has been received, so that the socket's buffer is not what drops them.
fn paced(growth: &Growth<'_>, counter: fn(&grasp::Stats) -> u64, sent: usize) {
    if sent.is_multiple_of(100) {
        growth.at_least("the storm is received", counter, sent);
    }
}

#[test]
fn unicast_datagrams_are_no_multicasts_and_none_from_afar_is_heard() {
    isolated!();
    let scene = Scene::new(Config::new());
    let (victim, attacker) = (&scene.victim.node, &scene.attacker);
    let near = (scene.link.link_local(attacker), scene.link.link_local(victim));
    // Not of the link's prefix.
    let far = "fd00:ffff::1".parse().unwrap();
    attacker.add_address("eth0", far, 128).unwrap();
    let global = scene.link.ula(victim).unwrap();
    let messages = every_type(near.0, "flood:nobody");
    let floods_and_more = messages.len() - 3;
    scene.survives(|scene| {
        let from = |address| RawUdp::open(attacker, "eth0", address, 0).unwrap();
        let growth = scene.counted(|| {});
        for message in &messages {
            from(near.0).send(&message.encode(), near.1, GRASP_LISTEN_PORT).unwrap();
        }
        growth.is("received", |s| s.unicast_datagram_received, messages.len());
        growth.is("asked", |s| s.discoveries_received, 1);
        growth.is("nothing", |s| s.noop_received, 1);
        growth.is("unknown", |s| s.dropped_unknown_type, 1);
        growth.is("misplaced", |s| s.dropped_misplaced, floods_and_more);
        // From afar nothing is heard, to whichever address; from the link a discovery is, to the global one too.
        for message in &messages {
            from(far).send(&message.encode(), near.1, GRASP_LISTEN_PORT).unwrap();
            from(far).send(&message.encode(), global, GRASP_LISTEN_PORT).unwrap();
            from(near.0).send(&message.encode(), global, GRASP_LISTEN_PORT).unwrap();
        }
        growth.is("from afar", |s| s.dropped_bad_source, 2 * messages.len());
        growth.is("received", |s| s.unicast_datagram_received, 4 * messages.len());
        growth.is("asked", |s| s.discoveries_received, 2);
        assert_eq!(growth.of(|s| s.floods_received), 0);
    });
}

#[test]
fn multicasts_from_a_global_source_are_dropped() {
    isolated!();
    let scene = Scene::new(Config::new());
    let source = scene.link.ula(&scene.attacker).unwrap();
    let messages = every_type(source, "flood:nobody");
    scene.survives(|scene| {
        let socket = RawUdp::open(&scene.attacker, "eth0", source, 0).unwrap();
        let growth = scene.counted(|| {});
        for _ in 0..20 {
            messages.iter().for_each(|message| multicast(&socket, message));
            let sent = usize::try_from(growth.of(|s| s.multicast_received)).unwrap();
            assert!(sent <= 20 * messages.len());
        }
        growth.is("from afar", |s| s.dropped_bad_source, 20 * messages.len());
        assert_eq!(growth.of(|s| s.floods_received + s.discoveries_received), 0);
    });
}

#[test]
fn a_storm_of_invalid_and_misplaced_messages_to_the_group_is_dropped() {
    isolated!();
    let scene = Scene::new(Config::new());
    let invalid = cbor!([99, 7, "you are invalid"]);
    scene.survives(|scene| {
        let (socket, other) = (scene.at_link_local(), scene.neighbour());
        let growth = scene.counted(|| {});
        for sent in 1..=2000 {
            multicast(if sent % 2 == 0 { &socket } else { &other }, &invalid);
            paced(&growth, |s| s.multicast_received, sent);
        }
        growth.is("misplaced", |s| s.dropped_misplaced, 2000);
    });
}

#[test]
fn session_identifiers_and_loop_counts_out_of_range_are_malformed() {
    isolated!();
    let scene = Scene::new(Config::new());
    let ini = || cbor!(scene.link.link_local(&scene.attacker).octets().to_vec());
    let name = neg_of(&scene.victim);
    let mut messages = Vec::new();
    for session in [cbor!(-1), cbor!(1_u64 << 32), cbor!(u64::MAX), cbor!(1.0), cbor!("7"), cbor!(())] {
        messages.push(cbor!([1, (session.clone()), (ini()), ["neg:victim", 1, 6, ()]]));
        messages.push(cbor!([9, (session), (ini()), 0, [["flood:nobody", 5, 1, 1], []]]));
    }
    for count in [cbor!(-1), cbor!(256), cbor!(u64::MAX), cbor!(6.0), cbor!("6"), cbor!(()), cbor!([])] {
        messages.push(cbor!([1, 7, (ini()), ["neg:victim", 1, (count.clone()), ()]]));
        messages.push(cbor!([9, 7, (ini()), 0, [["flood:nobody", 5, (count), 1], []]]));
    }
    scene.survives(|scene| {
        let socket = scene.at_link_local();
        let growth = scene.counted(|| messages.iter().for_each(|message| multicast(&socket, message)));
        growth.is("malformed", |s| s.dropped_malformed, messages.len());
        assert_eq!(growth.of(|s| s.discoveries_received + s.floods_received), 0);
        // The same in a request.
        let at = scene.port_of(&name);
        let growth = scene.counted(|| {
            for session in [cbor!(-1), cbor!(1_u64 << 32), cbor!(u64::MAX), cbor!(7.5), cbor!(())] {
                let mut stream = crate::scene::call(scene, at);
                stream.write(&cbor!([3, session, ["neg:victim", 3, 6, 1]]).encode());
                stream.expect_end();
            }
            for count in [cbor!(-1), cbor!(256), cbor!(u64::MAX), cbor!(6.5), cbor!(())] {
                let mut stream = crate::scene::call(scene, at);
                stream.write(&cbor!([3, 7, ["neg:victim", 3, count, 1]]).encode());
                stream.expect_end();
            }
        });
        growth.is("no request", |s| s.dropped_bad_request, 10);
        // The edges of what is allowed.
        let growth = scene.counted(|| {
            for (session, count) in [(0_u32, 0), (u32::MAX, 255), (1, 1)] {
                multicast(&socket, &cbor!([1, session, (ini()), ["neg:victim", 1, count, ()]]));
            }
        });
        growth.is("asked", |s| s.discoveries_received, 3);
    });
}

/// The same bytes again, of every kind, also what others have said.
#[test]
fn replayed_and_duplicated_messages_are_taken_once() {
    isolated!();
    let scene = Scene::new(Config::new());
    let ini = cbor!(nobody(1).octets().to_vec());
    let global = cbor!(scene.link.ula(&scene.attacker).unwrap().octets().to_vec());
    let round = std::sync::atomic::AtomicU32::new(1000);
    scene.survives(|scene| {
        let socket = scene.at_link_local();
        // One discovery, to be relayed, and one flood, five hundred times each.
        let session = round.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let discovery = cbor!([1, session, (ini.clone()), ["nobody has this", 1, 3, ()]]);
        let flood = cbor!([9, session, (global.clone()), 60000, [["flood:nobody", 5, 3, 1], []]]);
        let growth = scene.counted(|| {});
        for sent in 1..=500 {
            multicast(&socket, &discovery);
            multicast(&socket, &flood);
            paced(&growth, |s| s.multicast_received, 2 * sent);
        }
        growth.is("asked", |s| s.discoveries_received, 500);
        growth.is("flooded", |s| s.floods_received, 500);
        growth.is("known", |s| s.duplicate_floods, 499);
        growth.is("both known", |s| s.not_relayed_duplicate, 998);
        assert_eq!((growth.of(|s| s.discoveries_relayed), growth.of(|s| s.floods_relayed)), (1, 1));
        // What the victim says itself, said again by another: its own floods and discoveries.
        let ears = scene.neighbour();
        scene.still_serves();
        let victim = scene.link.link_local(&scene.victim.node);
        let growth = scene.counted(|| {});
        let mut replayed = 0;
        while let Some(heard) = ears.receive(std::time::Duration::from_millis(200)).unwrap() {
            if *heard.source.ip() == victim {
                for _ in 0..10 {
                    socket
                        .send(&heard.bytes, grasptests::lab::ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT)
                        .unwrap();
                }
                replayed += 10;
            }
        }
        assert!(replayed > 0);
        growth.at_least("received", |s| s.multicast_received, replayed);
        growth.at_least("own", |s| s.own_multicast, 10);
        assert_eq!(growth.of(|s| s.floods_relayed + s.flood_entries_cached), 0);
    });
}
