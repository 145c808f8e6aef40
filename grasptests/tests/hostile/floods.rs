//! Floods: new names without end, and large values.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use grasp::{Config, Discover, Objective, Rate, Value};
use grasptests::isolated;
use grasptests::lab::{RawUdp, eventually};

use crate::scene::{LATER, Scene, flooded, multicast, neg_of};

/// A flood of the attacker's.
pub(crate) fn flood(scene: &Scene, session: u32, objectives: Vec<Value>) -> Value {
    let initiator = scene.link.ula(&scene.attacker).unwrap().octets().to_vec();
    let head = vec![cbor!(9), cbor!(session), cbor!(initiator), cbor!(60_000)];
    Value::Array(head.into_iter().chain(objectives).collect())
}

fn entry(name: &str, value: Value) -> Value {
    cbor!([[name, 5, 1, value], []])
}

/// Sends floods, and waits after so many until they are received: the socket's buffer is not what drops them.
fn send_all(scene: &Scene, socket: &RawUdp, messages: impl Iterator<Item = Value>, pace: usize) {
    let growth = scene.counted(|| {});
    // Not what has come on the sockets: what the victim relays comes back to it.
    let taken = |s: &grasp::Stats| s.floods_received + s.dropped_oversize + s.dropped_queue_full;
    for (number, message) in messages.enumerate() {
        multicast(socket, &message);
        if number % pace == 0 {
            growth.at_least("the storm is received", taken, number);
        }
    }
}

#[test]
fn floods_of_new_names_do_not_displace_the_values_of_others() {
    isolated!();
    let scene = Scene::new(Config::new());
    let mark = || flooded(&scene.victim, "flood:friend").expect("the friend's value");
    scene.survives(|scene| {
        let before = mark();
        let socket = scene.at_link_local();
        // A hundred names in each message: twice what the cache holds.
        let growth = scene.counted(|| {
            let messages = (0..50_u32).map(|number| {
                let names = (0..80).map(|more| entry(&format!("n{number}.{more}"), cbor!(1)));
                flood(scene, number, names.collect())
            });
            send_all(scene, &socket, messages, 10);
        });
        growth.at_least("received", |s| s.floods_received, 50);
        assert_eq!(mark(), before, "the friend's value is still here");
        let own = flooded(&scene.victim, "flood:victim").expect("its own value");
        assert!(own.as_i64().is_some());
        let entries = scene.victim.engine.dump(true).matches("count: 1 value: 1 source").count();
        assert!(entries <= 1000, "{entries} of one neighbour");
    });
}

/// As many names as a second has room for, each in a message that is to be relayed.
#[test]
fn a_storm_of_floods_is_relayed_within_the_rates() {
    isolated!();
    let rate = Rate::new(10, 100);
    let scene = Scene::new(Config::new().neighbour_flood_relay_rate(rate));
    // The second attack may come before the rate allows another one.
    let all = AtomicU64::new(0);
    scene.survives(|scene| {
        let socket = scene.at_link_local();
        let started = std::time::Instant::now();
        let base = u32::try_from(scene.victim.engine.stats().multicast_received).unwrap();
        let growth = scene.counted(|| {
            let messages = (0..2000_u32).map(|number| {
                let name = format!("n{number}");
                flood(scene, base + number, vec![cbor!([[(name.as_str()), 5, 6, 1], []])])
            });
            send_all(scene, &socket, messages, 100);
        });
        growth.at_least("received", |s| s.floods_received, 2000);
        let allowed = 100 + 10 * (started.elapsed().as_secs() + 1);
        let relayed = growth.of(|s| s.floods_relayed);
        assert!(relayed <= allowed, "{relayed} of {allowed}");
        all.fetch_add(relayed, Ordering::Relaxed);
        growth.at_least(
            "the rest is not",
            |s| s.dropped_flood_rate,
            2000 - usize::try_from(allowed).unwrap(),
        );
    });
    // One initiator behind a neighbour may have half of its rate: 50 at once.
    assert!(all.load(Ordering::Relaxed) >= 50, "{all:?} relayed");
}

/// Floods with many names, more of them than can be handled, cost nobody a discovery: those wait in a queue of their own, and
/// are decided about first.
#[test]
fn a_storm_of_floods_with_many_names_costs_no_discovery() {
    isolated!();
    let scene = Scene::new(Config::new().multicast_queue(50));
    let (session, name) = (AtomicU32::new(10_000), neg_of(&scene.victim));
    scene.survives(|scene| {
        let (socket, over) = (scene.at_link_local(), AtomicBool::new(false));
        let growth = scene.counted(|| {});
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let deadline = Instant::now() + LATER;
                while !over.load(Ordering::Relaxed) && Instant::now() < deadline {
                    // 4,000 a second at most.
                    let session = session.fetch_add(1, Ordering::Relaxed);
                    let names = (0..100).map(|more| entry(&format!("n{}.{more}", session % 10), cbor!(1)));
                    multicast(&socket, &flood(scene, session, names.collect()));
                    std::thread::sleep(Duration::from_micros(250));
                }
            });
            growth.at_least("the queue of floods is full", |s| s.dropped_queue_full, 1);
            let found = (0..10).filter(|_| {
                let options = Discover { flush: true, enough: Some(1), ..Discover::default() };
                let asked = Objective::new(name.as_str());
                let found = scene.friend.run(|engine, asa| engine.discover(asa, &asked, Some(6000), options));
                !found.unwrap().is_empty()
            });
            let found = found.count();
            over.store(true, Ordering::Relaxed);
            assert_eq!(found, 10, "of ten discoveries");
        });
    });
}

/// A value of so many bytes on the wire that takes as much memory as it can: every byte is an integer.
fn large(bytes: usize) -> Value {
    Value::Array(vec![cbor!(0); bytes])
}

#[test]
fn values_of_60_kilobytes_are_dropped_by_default() {
    isolated!();
    let scene = Scene::new(Config::new());
    scene.survives(|scene| {
        let socket = scene.at_link_local();
        let growth = scene.counted(|| {
            let messages = (0..200).map(|number| flood(scene, number, vec![entry("large", large(60_000))]));
            send_all(scene, &socket, messages, 2);
        });
        growth.is("too long", |s| s.dropped_oversize, 200);
    });
}

/// Within the default size of a message, too, a value can be many times larger in memory than on the wire.
#[test]
fn values_of_many_small_items_do_not_take_more_memory_than_configured() {
    isolated!();
    let scene = Scene::new(Config::new());
    scene.survives(|scene| {
        let socket = scene.at_link_local();
        let base = u32::try_from(scene.victim.engine.stats().multicast_received).unwrap();
        let messages = (0..1000_u32).map(|number| {
            let name = format!("n{number}");
            flood(scene, base + number, vec![entry(&name, large(1900))])
        });
        send_all(scene, &socket, messages, 50);
    });
}

#[test]
fn values_of_60_kilobytes_do_not_take_more_memory_than_configured() {
    isolated!();
    let scene = Scene::new(Config::new().multicast_size(65_000));
    scene.survives(|scene| {
        let socket = scene.at_link_local();
        let base = u32::try_from(scene.victim.engine.stats().multicast_received).unwrap();
        let messages = (0..80_u32).map(|number| {
            let name = format!("n{number}");
            flood(scene, base + number, vec![entry(&name, large(60_000))])
        });
        let growth = scene.counted(|| send_all(scene, &socket, messages, 2));
        let known = |s: &grasp::Stats| s.floods_received + s.dropped_queue_full;
        growth.is("received, or too much at once", known, 80);
        assert!(growth.of(|s| s.floods_received) > 20);
        assert!(flooded(&scene.victim, "flood:friend").is_some(), "the friend's value is still here");
    });
}

/// GraspConfig is an objective like any other: whoever may flood may change the sizes, within bounds.
#[test]
fn a_storm_of_graspconfig_keeps_the_sizes_within_bounds() {
    isolated!();
    let scene = Scene::new(Config::new());
    scene.survives(|scene| {
        let socket = scene.at_link_local();
        let base = u32::try_from(scene.victim.engine.stats().multicast_received).unwrap();
        let sizes = [cbor!(0), cbor!(-1), cbor!(1_u64 << 40), cbor!("9000"), cbor!(1.0e9), cbor!(u64::MAX)];
        let mut orders: Vec<_> = (0_u32..)
            .zip(sizes.iter().cycle().take(600))
            .map(|(number, size)| {
                let order = Value::Map(vec![(cbor!(3), size.clone()), (cbor!(4), size.clone())]);
                flood(scene, base + number, vec![entry("GraspConfig", order)])
            })
            .collect();
        let back = Value::Map(vec![(cbor!(3), cbor!(2048)), (cbor!(4), cbor!(2048))]);
        orders.push(flood(scene, base + 5000, vec![entry("GraspConfig", back)]));
        send_all(scene, &socket, orders.into_iter(), 50);
        eventually(LATER, "the sizes are the defaults", || {
            std::thread::sleep(Duration::from_millis(5));
            scene.victim.engine.message_sizes() == (2048, 2048)
        });
    });
}
