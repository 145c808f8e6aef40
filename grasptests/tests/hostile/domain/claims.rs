//! Members that claim to be what they are not: others, many, or neighbours.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use grasptests::domains::DOMAIN;
use grasptests::isolated;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, eventually};

use super::intruder::{self, Intruder, Talk};
use super::{Domain, announcement, announcement_by, issued, neighbours};
use crate::scene::{LATER, Scene};

/// How many connections of one member are up at a time on one link.
const OF_ONE: usize = 8;

#[test]
fn a_greeting_that_lies_is_none() {
    isolated!(120);
    let domain = Domain::new();
    let (member, own) = (domain.member(), domain.attacker());
    let friend = domain.scene.link.link_local(&domain.scene.friend.node);
    let lies = [
        announcement(friend, 7),
        announcement_by("GRASP-TLS", own, friend, 7),
        announcement_by("GRASP-TLS", friend, own, 7),
        announcement_by("GRASP-TCP", own, own, 7),
        announcement_by("GRASP-TLS", own, own, 0),
        // A request where a greeting is to be, and what is no message.
        cbor!([3, 7, ["neg:victim", 3, 6, 1]]).encode(),
    ];
    domain.survives(|domain| {
        let to = domain.neighbour_port();
        let growth = domain.scene.counted(|| {
            for lie in &lies {
                let mut talk = member.reach_from(&domain.scene.attacker, Some(own), to).unwrap();
                talk.say(lie).unwrap();
                assert_eq!(talk.end(), 0);
            }
        });
        growth.is("no greeting", |s| s.dropped_not_announced, lies.len());
        assert_eq!(growth.of(|s| s.neighbours_joined), 0);
    });
}

/// Where it accepts, nothing is said of itself before its name is known to have an address (RFC 8994 §6.2.3, rule 5).
#[test]
fn a_member_whose_name_has_no_address_is_no_neighbour_whoever_connects() {
    isolated!(120);
    let domain = Domain::new();
    let nameless = Intruder::with(&issued(&domain.authority, &format!("@{DOMAIN}")));
    let zero = Intruder::with(&issued(&domain.authority, &format!("0@{DOMAIN}")));
    let (own, attacker) = (domain.attacker(), &domain.scene.attacker);
    let socket = domain.scene.neighbour();
    domain.survives(|domain| {
        let to = domain.neighbour_port();
        let growth = domain.scene.counted(|| {
            let mut talk = nameless.reach_from(attacker, Some(own), to).unwrap();
            talk.say(&announcement(own, 7)).unwrap();
            assert_eq!(talk.end(), 0);
            let listener = intruder::listen(attacker, own);
            let port = listener.local_addr().unwrap().port();
            socket.send(&announcement(own, port), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
            // The victim and its friend.
            for _ in 0..2 {
                assert_eq!(nameless.accept(&listener).unwrap().end(), 0);
            }
        });
        growth.is("neither is one", |s| s.connections_not_secured, 2);
        assert_eq!(growth.of(|s| s.neighbours_joined), 0);
        drop(zero.join(attacker, own, 7, to).expect("an address that it gets in another way"));
    });
}

/// What it announces is one neighbour, and the greeting is another's, which is itself.
#[test]
fn who_is_connected_with_and_greets_as_another_is_no_neighbour() {
    isolated!(120);
    let domain = Domain::new();
    let (member, own, attacker) = (domain.member(), domain.attacker(), &domain.scene.attacker);
    let socket = domain.scene.neighbour();
    domain.survives(|domain| {
        let listener = intruder::listen(attacker, own);
        let port = listener.local_addr().unwrap().port();
        let growth = domain.scene.counted(|| {
            socket.send(&announcement(own, port), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
            // The victim and its friend.
            for _ in 0..2 {
                let mut talk = member.accept(&listener).unwrap();
                talk.hear().expect("its greeting");
                talk.say(&announcement(own, port ^ 1)).unwrap();
                assert_eq!(talk.end(), 0);
            }
        });
        assert_eq!(growth.of(|s| s.neighbours_joined), 0);
    });
}

/// A neighbour that opens another connection may have said something on the first one before it knew.
#[test]
fn what_is_still_said_on_a_connection_that_another_has_replaced_is_taken_for_a_while() {
    isolated!(120);
    let domain = Domain::new();
    let (member, own, attacker) = (domain.member(), domain.attacker(), &domain.scene.attacker);
    let noop = cbor!([0]).encode();
    domain.survives(|domain| {
        let to = domain.neighbour_port();
        let mut first = member.join(attacker, own, 7, to).expect("a member");
        let mut second = member.join(attacker, own, 7, to).expect("once more");
        assert_eq!(first.end(), 0, "nothing more is said there");
        let growth = domain.scene.counted(|| {
            first.say(&noop).unwrap();
            second.say(&noop).unwrap();
        });
        growth.is("both are heard", |s| s.noop_received, 2);
        // But not for long: the attacker keeps it open.
        let began = Instant::now();
        eventually(LATER, "the first one is closed", || {
            std::thread::sleep(Duration::from_millis(50));
            first.say(&noop).is_err()
        });
        assert!(began.elapsed() < LATER / 3, "{:?}", began.elapsed());
        assert_eq!(neighbours(&domain.scene.victim), 3);
        second.say(&noop).unwrap();
    });
}

/// 300 times in a row, something opens connections: the victim has few threads more than before meanwhile. The connections stay until
/// the end.
fn takes_few_threads(domain: &Domain, mut open: impl FnMut(u32, &mut Vec<Talk>)) {
    let engine = &domain.scene.victim.engine;
    let before = engine.thread_count();
    let (mut most, mut kept) = (0, Vec::new());
    for number in 0..300 {
        open(number, &mut kept);
        most = most.max(engine.thread_count());
    }
    eprintln!("{most} threads instead of {before}");
    assert!(most <= before + OF_ONE + 20, "{most} threads instead of {before}");
}

/// A member keeps opening connections as the same neighbour: each takes the place of the one before, which has its time to end.
#[test]
fn a_neighbour_that_connects_again_and_again_takes_few_threads() {
    isolated!(240);
    let domain = Domain::new();
    let (member, own) = (domain.member(), domain.attacker());
    domain.survives(|domain| {
        let to = domain.neighbour_port();
        // It may be refused meanwhile.
        takes_few_threads(domain, |_, kept| kept.extend(member.join(&domain.scene.attacker, own, 7, to)));
    });
}

/// The same on the other side of the tie: the connections that the victim has opened are those to be kept, and others superfluous.
#[test]
fn connections_beside_the_one_that_is_kept_take_few_threads() {
    isolated!(240);
    let domain = Domain::new();
    let member = domain.member();
    let Scene { attacker, victim, .. } = &domain.scene;
    // Higher than any other.
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0xffff, 0xffff, 0xffff, 0xfff0);
    attacker.add_address("eth0", own, 64).unwrap();
    let listener = intruder::listen(attacker, own);
    let port = listener.local_addr().unwrap().port();
    let socket = grasptests::lab::RawUdp::open(attacker, "eth0", own, 0).unwrap();
    domain.survives(|domain| {
        let to = domain.neighbour_port();
        let victim_address = domain.scene.link.link_local(&victim.node);
        listener.set_nonblocking(true).unwrap();
        let mut opened = false;
        takes_few_threads(domain, |number, kept| {
            if number % 20 == 0 && !opened {
                socket.send(&announcement(own, port), victim_address, GRASP_LISTEN_PORT).unwrap();
                socket.send(&announcement(own, port), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
            }
            if let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(false).unwrap();
                if let Ok(mut talk) = member.serve(stream) {
                    opened = talk.hear().is_ok() && talk.say(&announcement(own, port)).is_ok();
                    kept.push(talk);
                }
            }
            kept.extend(member.join(attacker, own, port, to));
        });
    });
}

/// One member with many ports, and then with many addresses, is not many neighbours.
#[test]
fn a_member_with_many_ports_or_addresses_leaves_the_places_of_a_link_to_others() {
    isolated!(240);
    let domain = Domain::new();
    let (member, own) = (domain.member(), domain.attacker());
    let addresses = domain.addresses(40);
    let Scene { attacker, victim, .. } = &domain.scene;
    domain.survives(|domain| {
        let to = domain.neighbour_port();
        let growth = domain.scene.counted(|| {
            let ports = (1..=40).map(|port| member.join(attacker, own, port, to));
            let mut all: Vec<Talk> = ports.flatten().collect();
            all.extend(addresses.iter().flat_map(|one| member.join(attacker, *one, 7, to)));
            assert!(neighbours(victim) <= 2 + 8, "{}", neighbours(victim));
            drop(all);
        });
        growth.at_least("those beyond are refused", |s| s.dropped_neighbour_limit, 80 - 8);
    });
}

/// 200 that are members each, where 128 have places.
#[test]
fn two_hundred_neighbours_on_one_link_take_the_places_that_there_are() {
    isolated!(240);
    let domain = Domain::new();
    let members: Vec<_> = (0..50)
        .map(|number| format!("fd89b714f3db00000200000064000a{number:02x}@{DOMAIN}"))
        .map(|name| Intruder::with(&issued(&domain.authority, &name)))
        .collect();
    let addresses = domain.addresses(200);
    let Scene { attacker, victim, .. } = &domain.scene;
    domain.survives(|domain| {
        let to = domain.neighbour_port();
        let growth = domain.scene.counted(|| {
            let mut joined = Vec::new();
            // Their handshakes are those of strangers.
            for (member, address) in members.iter().cycle().zip(&addresses) {
                let began = Instant::now();
                while let Err(error) = member.reach_from(attacker, Some(*address), to).and_then(|mut talk| {
                    talk.say(&announcement(*address, 7))?;
                    joined.push(talk);
                    Ok(())
                }) {
                    assert!(began.elapsed() < LATER, "{error}");
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            eventually(LATER, "each has a place or none", || {
                let stats = victim.engine.stats();
                neighbours(victim) + stats.dropped_neighbour_limit >= 200
            });
            assert_eq!(neighbours(victim), 128 + 1, "with the far one");
            // Who is connected already is served as before.
            domain.scene.still_serves();
        });
        growth.at_least("the others are refused", |s| s.dropped_neighbour_limit, 72);
    });
}

/// It greets only after the others have learned that it is revoked, with a handshake from before.
#[test]
fn who_is_revoked_between_its_handshake_and_its_greeting_is_outside() {
    isolated!(120);
    let domain = Domain::new();
    let (own, attacker) = (domain.attacker(), &domain.scene.attacker);
    domain.scene.survives(|_| {
        let (member, to) = (domain.member(), domain.neighbour_port());
        let mut early = member.join(attacker, own, 7, to).expect("a member");
        eventually(LATER, "it has joined", || neighbours(&domain.scene.victim) == 3);
        let mut late = member.reach_from(attacker, Some(own), to).unwrap();
        let expelled = domain.scene.counted(|| {
            domain.revoke(&member);
            early.end();
        });
        expelled.is("the one that has greeted is expelled", |s| s.neighbours_expelled, 1);
        late.say(&announcement(own, 8)).unwrap();
        assert!(late.hear().is_err() || late.end() < 1000);
        eventually(LATER, "it is no neighbour", || neighbours(&domain.scene.victim) == 2);
    });
}

/// The same where the others have connected, and wait for its greeting.
#[test]
fn who_is_revoked_before_it_answers_a_greeting_is_outside() {
    isolated!(120);
    let domain = Domain::new();
    let (own, attacker) = (domain.attacker(), &domain.scene.attacker);
    let socket = domain.scene.neighbour();
    domain.scene.survives(|_| {
        let (member, to) = (domain.member(), domain.neighbour_port());
        let mut early = member.join(attacker, own, 7, to).expect("a member");
        eventually(LATER, "it has joined", || neighbours(&domain.scene.victim) == 3);
        let listener = intruder::listen(attacker, own);
        let port = listener.local_addr().unwrap().port();
        socket.send(&announcement(own, port), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
        // The victim and its friend.
        let mut late = [(); 2].map(|()| member.accept(&listener).expect("they connect"));
        late.iter_mut().for_each(|talk| drop(talk.hear().expect("a greeting")));
        domain.revoke(&member);
        early.end();
        for talk in &mut late {
            let _ = talk.say(&announcement(own, port));
            talk.end();
        }
        eventually(LATER, "it is no neighbour", || neighbours(&domain.scene.victim) == 2);
    });
}
