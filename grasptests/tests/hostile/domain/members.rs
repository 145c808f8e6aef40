//! Members that have become neighbours, and say too much, too little, or nonsense.

use std::time::{Duration, Instant};

use grasp::wire::{Body, Flags, Flood, Message, Response, WireObjective, WireOption, encode};
use grasp::{Config, Objective, Stats, TaggedObjective, Value};
use grasptests::isolated;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, eventually};
use grasptests::nodes::synchronizable;

use super::intruder::{self, Talk};
use super::{Domain, announcement, neighbours};
use crate::scene::{LATER, Scene, discovers, flooded, neg_of};

/// A member of the domain that the victim takes for a neighbour.
fn neighbour(domain: &Domain) -> Talk {
    let talk = domain.member().join(&domain.scene.attacker, domain.attacker(), 7, domain.neighbour_port());
    let talk = talk.expect("a member is a neighbour");
    eventually(LATER, "it has joined", || neighbours(&domain.scene.victim) == 3);
    talk
}

pub(super) fn flood(session: u32, name: &str, value: Vec<u8>, initiator: std::net::Ipv6Addr) -> Vec<u8> {
    let objective = WireObjective {
        name: name.to_owned(),
        flags: Flags(Flags::F_SYNCH),
        loop_count: 6,
        value: Some(Value::Bytes(value)),
    };
    let objectives = vec![(objective, None)];
    encode(&Message::new(Body::Flood(Flood { session, initiator: initiator.into(), ttl: 1000, objectives })))
}

#[test]
fn a_flood_of_discoveries_and_floods_is_dropped_beyond_the_neighbours_share() {
    isolated!(240);
    let domain = Domain::new();
    let own = domain.attacker();
    domain.survives(|domain| {
        let mut talk = neighbour(domain);
        let discovery = |session: u32| {
            let objective = WireObjective::from(Objective::new("nobody has this"));
            encode(&Message::new(Body::Discovery { session, initiator: own.into(), objective }))
        };
        let growth = domain.scene.counted(|| {
            let until = Instant::now() + Duration::from_secs(2);
            let mut session = 0_u32;
            while Instant::now() < until {
                for _ in 0..50 {
                    session += 1;
                    let message = match session % 2 {
                        0 => flood(session, &format!("junk:{}", session % 3000), vec![7; 1000], own),
                        _ => discovery(session),
                    };
                    talk.say(&message).expect("it is taken");
                }
            }
            eprintln!("{session} messages");
        });
        let refused: fn(&Stats) -> u64 =
            |s| s.dropped_queue_full + s.dropped_discovery_rate + s.dropped_flood_rate + s.dropped_relay_full;
        growth.at_least("what is too much is dropped", refused, 100);
        domain.scene.still_serves();
        drop(talk);
    });
}

/// It reads nothing: what it does not take is dropped, others get everything, and after a while it is left.
#[test]
fn a_neighbour_that_does_not_read_delays_nobody_and_is_left() {
    isolated!(240);
    let domain = Domain::with(Config::new().neighbour_queue_size(16 << 10));
    let Scene { victim, friend, far, .. } = &domain.scene;
    domain.survives(|domain| {
        let talk = neighbour(domain);
        let values: Vec<_> = (0..100).map(|n| format!("big:{n}")).collect();
        for name in &values {
            let objective = synchronizable(name, Value::Bytes(vec![3; 1800]));
            let _ = victim.run(|engine, asa| engine.register_obj(asa, &objective, Default::default()));
        }
        let growth = domain.scene.counted(|| {
            let until = Instant::now() + Duration::from_secs(5);
            let mut slowest = Duration::ZERO;
            while Instant::now() < until {
                for name in &values {
                    let tagged =
                        TaggedObjective::new(synchronizable(name, Value::Bytes(vec![3; 1800])), None);
                    let began = Instant::now();
                    victim.run(|engine, asa| engine.flood(asa, 2000, &[tagged])).unwrap();
                    slowest = slowest.max(began.elapsed());
                }
            }
            assert!(slowest < Duration::from_secs(2), "{slowest:?}");
        });
        growth.at_least("what it does not take is dropped", |s| s.dropped_neighbour_queue, 100);
        for host in [friend, far] {
            assert!(values.iter().all(|name| flooded(host, name).is_some()), "others get everything");
        }
        growth.is("it is left although it keeps the connection", |s| s.neighbours_left, 1);
        for name in &values {
            let objective = synchronizable(name, ());
            victim.run(|engine, asa| engine.deregister_obj(asa, &objective)).unwrap();
        }
        drop(talk);
    });
}

/// What no message begins with ends the connection; what is a message that does not belong there is dropped.
#[test]
fn nonsense_of_a_neighbour_ends_its_connection_and_misplaced_messages_do_not() {
    isolated!(240);
    let domain = Domain::new();
    domain.survives(|domain| {
        let nonsense: [Vec<u8>; 6] = [
            vec![0xff; 64],
            [&[0x9f][..], &[0; 70_000]].concat(),
            vec![0x81; 5000],
            [&[0x5f][..], &[0x41, 0xaa].repeat(40_000)].concat(),
            vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            [&[0x85, 9][..], &[0x5b, 0, 0, 0, 1, 0, 0, 0, 0]].concat(),
        ];
        let growth = domain.scene.counted(|| {
            for bytes in &nonsense {
                let mut talk = neighbour(domain);
                let _ = talk.say(bytes);
                talk.end();
                eventually(LATER, "it is left", || neighbours(&domain.scene.victim) == 2);
            }
        });
        growth.is("each has left", |s| s.neighbours_left, nonsense.len());
        let mut talk = neighbour(domain);
        let objective = ["neg:victim", "syn:victim"];
        let misplaced = objective.into_iter().flat_map(|name| {
            [
                cbor!([3, 7, [name, 3, 6, 1]]),
                cbor!([4, 7, [name, 5, 6, ()]]),
                cbor!([5, 7, [name, 3, 6, 1]]),
                cbor!([6, 7, [101]]),
                cbor!([7, 7, 60_000]),
                cbor!([8, 7, [name, 5, 6, 1]]),
                cbor!([99, 7, "?"]),
            ]
        });
        let growth = domain.scene.counted(|| {
            for message in misplaced {
                talk.say(&message.encode()).unwrap();
            }
        });
        growth.is("none is taken", |s| s.dropped_misplaced, 14);
        // It can say more.
        let growth = domain.scene.counted(|| talk.say(&cbor!([0]).encode()).unwrap());
        growth.is("it is still a neighbour", |s| s.noop_received, 1);
        assert_eq!(neighbours(&domain.scene.victim), 3);
        talk.reset();
    });
}

/// Answers to discoveries that it has not been asked, or that others have asked.
#[test]
fn answers_that_nobody_waits_for_are_dropped() {
    isolated!(120);
    let domain = Domain::new();
    let (own, friend) = (domain.attacker(), domain.scene.link.link_local(&domain.scene.friend.node));
    domain.survives(|domain| {
        let mut talk = neighbour(domain);
        let growth = domain.scene.counted(|| {
            for session in 0..200 {
                for initiator in [own, friend, domain.scene.link.link_local(&domain.scene.victim.node)] {
                    let locator = grasp::wire::WireLocator {
                        locator: grasp::Locator::Ipv6(own),
                        protocol: Some(grasp::Protocol::Tcp),
                        port: Some(7),
                    };
                    let response = Response {
                        session,
                        initiator: initiator.into(),
                        ttl: 60_000,
                        options: vec![WireOption::Locator(locator)],
                        objective: None,
                    };
                    talk.say(&encode(&Message::new(Body::Response(response)))).unwrap();
                }
            }
        });
        growth.is("all are dropped", |s| s.dropped_stray_response, 600);
        discovers(&domain.scene.friend, &neg_of(&domain.scene.far));
        drop(talk);
    });
}

/// Half of a message, a connection that says it is over and stays, and one that is cut off in the middle.
#[test]
fn half_a_message_and_half_a_connection_are_no_harm() {
    isolated!(120);
    let domain = Domain::new();
    domain.survives(|domain| {
        let mut talk = neighbour(domain);
        talk.say(&[0x85, 9, 7]).unwrap();
        domain.scene.still_serves();
        talk.half_close();
        eventually(LATER, "the end is the end", || neighbours(&domain.scene.victim) == 2);
        drop(talk);
        let mut talk = neighbour(domain);
        talk.say(&[0x85, 9, 7]).unwrap();
        talk.reset();
        drop(talk);
        eventually(LATER, "it is gone", || neighbours(&domain.scene.victim) == 2);
    });
}

/// It accepts connections, greets, and says nonsense: it is not tried again before its time.
#[test]
fn a_neighbour_that_always_fails_after_its_greeting_is_not_tried_all_the_time() {
    isolated!(120);
    let domain = Domain::new();
    let (member, own, attacker) = (domain.member(), domain.attacker(), &domain.scene.attacker);
    let socket = domain.scene.neighbour();
    for _ in 0..2 {
        let listener = intruder::listen(attacker, own);
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let (began, mut taken) = (Instant::now(), Vec::new());
        while began.elapsed() < Duration::from_secs(6) {
            socket.send(&announcement(own, port), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            let Ok((stream, _)) = listener.accept() else { continue };
            stream.set_nonblocking(false).unwrap();
            let Ok(mut talk) = member.serve(stream) else { continue };
            let _ = talk.say(&announcement(own, port)).and_then(|()| talk.say(&[0xff; 10]));
            taken.push(began.elapsed());
        }
        // Two members, which wait for ten seconds.
        assert!((1..=2).contains(&taken.len()), "{taken:?}");
        domain.scene.still_serves();
    }
    domain.is_whole();
}
