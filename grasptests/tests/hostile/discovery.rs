//! Discoveries and their answers: forgeries, and storms of questions from neighbours that do not exist.

use std::io::Write as _;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use grasp::{Config, Discover, Objective, Rate, Value};
use grasptests::isolated;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Node, RawUdp, eventually};

use crate::scene::{LATER, Scene, dial, discovers, multicast, neg_of, nobody};

/// A discovery of the victim's as the attacker hears it: session, initiator, and where answers go.
pub(crate) struct Question {
    pub(crate) session: u32,
    pub(crate) initiator: Value,
    pub(crate) port: SocketAddrV6,
}

/// The next question of the victim's for a name.
pub(crate) fn question(scene: &Scene, ears: &RawUdp, name: &str) -> Question {
    let victim = scene.link.link_local(&scene.victim.node);
    let ifi = scene.attacker.interface_index("eth0").unwrap();
    let deadline = Instant::now() + LATER;
    while Instant::now() < deadline {
        let heard = ears.receive(LATER).unwrap().expect("a multicast");
        let Ok(Value::Array(items)) = Value::decode(&heard.bytes) else { continue };
        let named = |value: &Value| value.as_array().is_some_and(|items| items[0] == cbor!(name));
        if let [kind, session, initiator, objective, ..] = items.as_slice()
            && (*kind == cbor!(1), *heard.source.ip() == victim, named(objective)) == (true, true, true)
        {
            let session = session.as_i64().and_then(|session| u32::try_from(session).ok()).unwrap();
            let port = SocketAddrV6::new(victim, heard.source.port(), 0, ifi);
            return Question { session, initiator: initiator.clone(), port };
        }
    }
    panic!("the victim does not ask for {name}");
}

pub(crate) fn locator(address: Ipv6Addr, port: u16) -> Value {
    cbor!([103, (address.octets().to_vec()), 6, port])
}

/// Sends messages to a port, each in a connection of its own, from the attacker.
pub(crate) fn answer(scene: &Scene, port: SocketAddrV6, messages: impl Iterator<Item = Value> + Send) {
    answer_from(&scene.attacker, port, messages);
}

/// The same from any node.
pub(crate) fn answer_from(node: &Node, port: SocketAddrV6, messages: impl Iterator<Item = Value> + Send) {
    node.run(|| {
        for message in messages {
            // It may be closed at once.
            let _ = dial(port).write_all(&message.encode());
        }
    });
}

#[test]
fn forged_answers_to_a_discovery_are_not_believed() {
    isolated!();
    let scene = Scene::new(Config::new());
    scene.survives(|scene| {
        let ears = scene.neighbour();
        let name = "asked for";
        let wanted = Objective { loop_count: 1, ..Objective::new(name) };
        let asking = {
            let options = Discover { flush: true, ..Discover::default() };
            scene.victim.thread(move |engine, asa| engine.discover(asa, &wanted, Some(3000), options))
        };
        let asked = question(scene, &ears, name);
        let Question { session, initiator, port } = &asked;
        let place = || locator(nobody(1), 1234);
        let wrong = cbor!(nobody(2).octets().to_vec());
        let growth = scene.counted(|| {
            let forged = vec![
                cbor!([2, (session ^ 1), (initiator.clone()), 60000, (place())]),
                cbor!([2, (session.wrapping_add(1)), (initiator.clone()), 60000, (place())]),
                cbor!([2, (*session), wrong, 60000, (place())]),
                cbor!([2, 0, (initiator.clone()), 60000, (place())]),
                // A negotiation that nobody began, in rapid mode, and the value of something else.
                cbor!([5, (session ^ 1), [name, 3, 6, 1]]),
                cbor!([8, (session ^ 1), [name, 5, 6, 1]]),
            ];
            answer(scene, *port, forged.into_iter());
        });
        growth.is("stray", |s| s.dropped_stray_response, 6);
        // Many, for every session but the right one.
        let storm = 1000_u32;
        let growth = scene.counted(|| {
            let one = |number| cbor!([2, (session ^ (number + 2)), (initiator.clone()), 60000, (place())]);
            answer(scene, *port, (0..storm).map(one));
        });
        growth.is("stray", |s| s.dropped_stray_response, storm.try_into().unwrap());
        assert_eq!(asking.join().unwrap(), Ok(vec![]), "nothing of it was believed");
        // Late: the session is over.
        let growth = scene.counted(|| {
            let late = cbor!([2, (*session), (initiator.clone()), 60000, (place())]);
            answer(scene, *port, std::iter::once(late));
        });
        growth.is("late", |s| s.dropped_stray_response + s.dropped_late_answer, 1);
        let options = Discover { enough: Some(0), ..Discover::default() };
        let cached =
            scene.victim.run(|engine, asa| engine.discover(asa, &Objective::new(name), None, options));
        assert_eq!(cached, Ok(vec![]));
    });
}

/// Who is on the link may answer what it likes; that must not take more memory than is configured.
#[test]
fn thousands_of_answers_to_one_discovery_are_bounded() {
    isolated!();
    let scene = Scene::new(Config::new());
    scene.survives(|scene| {
        let ears = scene.neighbour();
        let wanted = Objective { loop_count: 1, ..Objective::new("asked for") };
        let growth = scene.counted(|| {
            let options = Discover { flush: true, ..Discover::default() };
            let asking =
                scene.victim.thread(move |engine, asa| engine.discover(asa, &wanted, Some(2000), options));
            let Question { session, initiator, port } = question(scene, &ears, "asked for");
            let one = |number: u16| {
                // Of another objective than the one asked for, and twenty locators each.
                let places = (0..20).map(|more| locator(nobody(more * 5000 + u32::from(number)), number));
                let head = vec![cbor!(2), cbor!(session), initiator.clone(), cbor!(600_000)];
                let other = cbor!(["another", 5, 6, 1]);
                Value::Array(head.into_iter().chain(places).chain([other]).collect())
            };
            answer(scene, port, (1..1000).map(one));
            let found = asking.join().unwrap().unwrap();
            assert!(!found.is_empty() && found.len() <= 32, "{}", found.len());
        });
        growth.at_least("some are taken", |s| s.responses_received, 1);
        assert!(!scene.victim.engine.dump(false).contains("\nanother locators"), "only what was asked for");
        scene.victim.run(|engine, asa| {
            let flush = Discover { flush: true, enough: Some(0), ..Discover::default() };
            engine.discover(asa, &Objective::new("asked for"), None, flush).unwrap();
        });
    });
}

/// How many discoveries were sent in how much time.
struct Sent {
    count: u32,
    time: Duration,
}

impl Sent {
    fn rate(&self) -> f64 {
        f64::from(self.count) / self.time.as_secs_f64()
    }
}

/// Discoveries in the names of neighbours that do not exist, as fast as the machine can, but no more a second.
fn storm(scene: &Scene, per_second: u32, time: Duration, name: &str, invented: u32, loop_count: u8) -> Sent {
    let socket = RawUdp::open(&scene.attacker, "eth0", Ipv6Addr::UNSPECIFIED, 0).unwrap();
    socket.allow_spoofing().unwrap();
    let (started, mut count) = (Instant::now(), 0_u32);
    while started.elapsed() < time {
        let due = started.elapsed().as_secs_f64() * f64::from(per_second);
        if f64::from(count) >= due {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        let source = nobody(count % invented);
        let discovery = cbor!([
            1,
            (count.wrapping_mul(2_654_435_761)),
            (source.octets().to_vec()),
            [name, 1, loop_count, ()]
        ]);
        socket.send_as(source, &discovery.encode(), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
        count += 1;
    }
    Sent { count, time: started.elapsed() }
}

/// 10,000 discoveries a second of what the victim offers, in the names of unreachable askers. Those who were
/// answered before are answered during the storm.
fn unreachable_askers(scene: &Scene, time: Duration) {
    let name = neg_of(&scene.victim);
    let growth = scene.counted(|| {
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| storm(scene, 10_000, time, &name, 400, 1));
            let mut found = 0;
            while !sender.is_finished() {
                discovers(&scene.friend, &name);
                found += 1;
            }
            let sent = sender.join().unwrap();
            eprintln!("{:.0} discoveries a second; {found} of the friend's answered", sent.rate());
            // Where strangers may take every responder, it is one a second; otherwise dozens, a few on a machine that is very busy.
            assert!(found >= 5, "{found}");
        });
    });
    let counted = |what| growth.of(what);
    eprintln!(
        "received {}, responses {} sent {} failed, dropped: {} responders {} asker {} queue",
        counted(|s| s.multicast_received),
        counted(|s| s.responses_sent),
        counted(|s| s.responses_failed),
        counted(|s| s.dropped_responder_full),
        counted(|s| s.dropped_asker_limit),
        counted(|s| s.dropped_queue_full),
    );
    assert!(counted(|s| s.dropped_responder_full + s.dropped_asker_limit) > 0);
    // Unreachable askers are given up.
    growth.at_least("given up", |s| s.responses_failed, 1);
}

#[test]
fn a_storm_of_discoveries_from_unreachable_askers_does_not_silence_the_victim() {
    isolated!();
    let scene = Scene::new(Config::new());
    scene.survives(|scene| unreachable_askers(scene, Duration::from_secs(3)));
}

/// The same, and the attacker asks in the friend's name too, from ports where the friend takes no answer: it stays known.
#[test]
fn questions_in_the_name_of_one_who_was_answered_do_not_make_it_a_stranger() {
    isolated!();
    let scene = Scene::new(Config::new());
    scene.survives(|scene| {
        let friend = scene.link.link_local(&scene.friend.node);
        let time = Duration::from_secs(3);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let socket = RawUdp::open(&scene.attacker, "eth0", Ipv6Addr::UNSPECIFIED, 0).unwrap();
                socket.allow_spoofing().unwrap();
                let name = neg_of(&scene.victim);
                let (mut session, started) = (0_u32, Instant::now());
                while started.elapsed() < time {
                    session += 1;
                    let asked = cbor!([1, session, (friend.octets().to_vec()), [(name.as_str()), 1, 1, ()]]);
                    socket.send_as(friend, &asked.encode(), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            unreachable_askers(scene, time);
        });
    });
}

#[test]
#[ignore = "takes a minute; run with cargo test --release -p grasptests --test hostile -- --ignored --nocapture"]
fn twenty_seconds_of_10000_discoveries_a_second_do_not_silence_the_victim() {
    isolated!(300);
    let scene = Scene::new(Config::new());
    scene.survives(|scene| unreachable_askers(scene, Duration::from_secs(20)));
}

/// A neighbour that asks for what nobody has, with the largest loop count, fills its share of the relays only.
#[test]
fn one_neighbour_does_not_occupy_all_relays() {
    isolated!();
    // 75 of one initiator, and one a second.
    let scene = Scene::new(Config::new().neighbour_discovery_relay_rate(Rate::new(2, 150)));
    let round = AtomicU32::new(1);
    scene.survives(|scene| {
        let socket = scene.at_link_local();
        // Each time in another's name: the rate of the one before is used up.
        let ini = nobody(round.fetch_add(1, Ordering::Relaxed)).octets().to_vec();
        let growth = scene.counted(|| {
            for session in 0..100_u32 {
                // Three seconds each: 100 ms for each of the remaining hops.
                let id = scene.victim.engine.stats().multicast_received.wrapping_mul(1000);
                let id = u32::try_from(id % u64::from(u32::MAX)).unwrap().wrapping_add(session);
                multicast(&socket, &cbor!([1, id, (ini.clone()), ["nobody has this", 1, 30, ()]]));
            }
        });
        growth.is("received", |s| s.discoveries_received, 100);
        // Half of the rate is for others behind this neighbour, half of the relays for other neighbours. One that was open for
        // half a second makes room for the next: how many there are in all depends on the machine.
        growth.at_least("its share is relayed", |s| s.discoveries_relayed, 32);
        growth.at_least("the rest is not", |s| s.dropped_discovery_rate, 10);
        assert_eq!(scene.victim.engine.stats().relays_peak, 32);
        discovers(&scene.friend, &neg_of(&scene.far));
        eventually(LATER, "the relays end", || scene.victim.engine.open_sessions() == 0);
    });
}

/// The same in the names of many: it is bounded, and over when the storm is.
#[test]
fn a_storm_of_discoveries_of_nothing_is_relayed_within_the_rates() {
    isolated!();
    let scene = Scene::new(Config::new());
    scene.survives(|scene| {
        let time = Duration::from_secs(2);
        let growth = scene.counted(|| {
            let sent = storm(scene, 10_000, time, "nobody has this", 400, 3);
            eprintln!("{:.0} discoveries a second", sent.rate());
        });
        let relayed = growth.of(|s| s.discoveries_relayed);
        // 300 at once and 100 a second, whoever asks.
        assert!((1..=700).contains(&relayed), "{relayed}");
        let dropped = growth.of(|s| s.dropped_discovery_rate + s.dropped_relay_full);
        assert!(dropped > 0);
        eventually(LATER, "the relays end", || scene.victim.engine.open_sessions() == 0);
    });
}

/// Two who ask through the victim and answer on its other side put into its cache what they like: names, names of machines
/// and values, each as large as a message.
#[test]
fn answers_to_its_own_discoveries_take_no_more_memory_than_configured() {
    isolated!(120);
    let much = Rate::new(10_000, 10_000);
    let config = Config::new().discovery_relay_rate(much).neighbour_discovery_relay_rate(much);
    // What GraspConfig may ask for; and little room, since the allocator may keep as much again as was in the cache.
    let scene = Scene::new(config.unicast_size(20_000).discovery_cache_size(2 << 20));
    let sessions = AtomicU32::new(0);
    scene.survives(|scene| {
        let (socket, port) = (scene.at_link_local(), scene.response_port_behind());
        let initiator = cbor!(scene.link.link_local(&scene.attacker).octets().to_vec());
        let large = Value::Array(vec![cbor!(0); 18_000]);
        let stats = || scene.victim.engine.stats();
        for number in 0..150 {
            let name = format!("n{number}");
            // A relay is open for a tenth of a second: where the machine is busy, an answer may come too late.
            eventually(LATER, "an answer is taken", || {
                let (session, before) = (sessions.fetch_add(1, Ordering::Relaxed), stats());
                multicast(&socket, &cbor!([1, session, (initiator.clone()), [(name.as_str()), 1, 2, ()]]));
                eventually(LATER, "it is relayed", || {
                    stats().discoveries_relayed > before.discoveries_relayed
                });
                let value = cbor!([(name.as_str()), 5, 6, (large.clone())]);
                let found = cbor!([2, session, (initiator.clone()), 600_000, (locator(nobody(1), 1)), value]);
                answer_from(&scene.far.node, port, std::iter::once(found));
                let answered = |s: &grasp::Stats| s.responses_received + s.dropped_stray_response;
                eventually(LATER, "the answer comes", || answered(&stats()) > answered(&before));
                stats().responses_received > before.responses_received
            });
        }
    });
}
