//! Members that are as bad as they can be, for a while: two at once, and one that keeps changing its keys.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use grasp::Objective;
use grasp::wire::{Body, Message, WireObjective, encode};
use grasptests::domains::name;
use grasptests::isolated;
use grasptests::lab::{Node, eventually};

use super::intruder::{Intruder, Talk};
use super::members::flood;
use super::{Domain, issued, neighbours};
use crate::scene::{LATER, Scene};

/// How often the members work together meanwhile.
const ROUNDS: usize = 3;

/// Sets something that runs beside the others until it is dropped, however that comes.
pub(super) struct Over<'a>(pub(super) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One says so much that its share is used up, and one comes and goes, with many ports and with nonsense.
#[test]
fn two_members_that_attack_at_once_keep_the_others_from_nothing() {
    isolated!(240);
    let domain = Domain::new();
    let second = domain.scene._lab.node("second").unwrap();
    domain.scene.link.attach(&second).unwrap();
    let Scene { attacker: first, link, victim, far, .. } = &domain.scene;
    let own = [first, &second].map(|node| link.link_local(node));
    let members = [9, 10].map(|number| Intruder::with(&issued(&domain.authority, &name(number))));
    domain.survives(|domain| {
        let to = domain.neighbour_port();
        let (left, joined) = (far.engine.stats().neighbours_left, victim.engine.stats().neighbours_joined);
        let is_over = AtomicBool::new(false);
        let growth = domain.scene.counted(|| {
            std::thread::scope(|scope| {
                let _over = Over(&is_over);
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        let talk = members[0].join(first, own[0], 7, to);
                        let _ = talk.map(|talk| says_too_much(talk, own[0], &is_over));
                    }
                });
                scope.spawn(|| {
                    for port in (1..=u16::MAX).cycle() {
                        if is_over.load(Ordering::Relaxed) {
                            return;
                        }
                        comes_and_goes(&members[1], &second, own[1], port, to);
                    }
                });
                eventually(LATER, "both attack", || {
                    let stats = victim.engine.stats();
                    stats.dropped_queue_full + stats.dropped_discovery_rate > 0
                        && stats.neighbours_joined > joined + 3
                });
                (0..ROUNDS).for_each(|_| domain.scene.still_serves());
            });
        });
        growth.at_least(
            "one has used up its share",
            |s| s.dropped_discovery_rate + s.dropped_queue_full,
            100,
        );
        growth.at_least("the other came again and again", |s| s.neighbours_joined, 20);
        assert_eq!(far.engine.stats().neighbours_left, left, "no member has lost the victim");
    });
}

/// Asks for what nobody has, and floods what nobody wants, until it cannot any more or it is over.
fn says_too_much(mut talk: Talk, own: std::net::Ipv6Addr, is_over: &AtomicBool) {
    for session in 1_u32.. {
        let message = match session % 2 {
            0 => flood(session, &format!("junk:{}", session % 3000), vec![7; 1000], own),
            _ => {
                let objective = WireObjective::from(Objective::new("nobody has this"));
                encode(&Message::new(Body::Discovery { session, initiator: own.into(), objective }))
            }
        };
        if is_over.load(Ordering::Relaxed) || talk.say(&message).is_err() {
            return;
        }
    }
}

/// Joins, says nonsense or half a message, or nothing, and goes, closing properly or not.
fn comes_and_goes(
    member: &Intruder,
    node: &Node,
    own: std::net::Ipv6Addr,
    port: u16,
    to: std::net::SocketAddrV6,
) {
    let Ok(mut talk) = member.join(node, own, port, to) else { return };
    let _ = match port % 4 {
        0 => talk.say(&[0xff; 64]),
        1 => talk.say(&[0x85, 9, 7]),
        _ => Ok(()),
    };
    match port % 3 {
        0 => talk.reset(),
        1 => talk.half_close(),
        _ => {}
    }
}

/// Each change of keys asks for one of the other side's. A neighbour that reads nothing of that sends as many as it can: alone they end
/// the connection, and between messages they are work, but no memory.
#[test]
fn a_storm_of_key_updates_ends_the_connection_or_is_taken_without_growing() {
    isolated!(240);
    let domain = Domain::new();
    let member = domain.member();
    let Scene { attacker, victim, .. } = &domain.scene;
    let noop = cbor!([0]).encode();
    domain.survives(|domain| {
        let [neighbour, objective] = domain.ports();
        let own = domain.attacker();
        // In the connection of a neighbour, and before a request.
        let mut joined = member.join(attacker, own, 7, neighbour).unwrap();
        let mut silent = member.reach_from(attacker, None, objective).unwrap();
        eventually(LATER, "it has joined", || neighbours(victim) == 3);
        for talk in [&mut joined, &mut silent] {
            // They fail once it is closed.
            let sent = (0..10_000).take_while(|_| talk.change_keys().is_ok()).count();
            eprintln!("{sent} changes of keys");
            talk.end();
        }
        eventually(LATER, "it is left", || neighbours(victim) == 2);
        let mut talk = member.join(attacker, own, 7, neighbour).unwrap();
        let growth = domain.scene.counted(|| {
            let began = Instant::now();
            for _ in 0..2000 {
                (0..20).for_each(|_| talk.change_keys().expect("it is taken"));
                talk.say(&noop).expect("it is taken");
            }
            eprintln!("40,000 changes of keys in {:?}", began.elapsed());
            domain.scene.still_serves();
        });
        growth.is("each message has come", |s| s.noop_received, 2000);
        assert_eq!(neighbours(victim), 3, "it may");
        // Floods of the others, under the keys that the victim has changed to.
        talk.hear().expect("a message");
    });
}
