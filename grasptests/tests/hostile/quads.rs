//! Storms inside the border of a QUADS domain, and recordings, from someone without its key. `tests/acp.rs` has every cut and
//! flip of one ciphertext.

use std::io::Write as _;
use std::net::Ipv6Addr;

use grasp::{Acp, Config, Discover, Objective, QuadsKeys};
use grasptests::isolated;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, RawUdp};
use grasptests::nodes::Host;

use crate::scene::{LATER, Scene, dial, discovers, neg_of, nobody};

#[test]
fn a_storm_of_what_does_not_open_does_not_disturb_the_domain() {
    isolated!();
    let short = std::time::Duration::from_millis(700);
    let scene = Scene::with(domain().request_deadline(short), domain());
    let other = QuadsKeys::from_password("other").expect("keys");
    // In the clear, of another domain, whole blocks of noise, no whole blocks.
    let message = cbor!([9, 7, (vec![0; 16]), 0, [["flood:nobody", 5, 1, 1], []]]).encode();
    let storm =
        [message.clone(), other.seal(&message), vec![0x5a; 1024], vec![0x5a; 1021], vec![0x5a; 2048], vec![]];
    scene.survives(|scene| {
        let socket = scene.at_link_local();
        let growth = scene.counted(|| {});
        for sent in 1..=4000 {
            socket.send(&storm[sent % storm.len()], ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
            if sent % 50 == 0 {
                growth.at_least("received", |s| s.multicast_received, sent);
            }
        }
        growth.is("does not open", |s| s.dropped_undecryptable + s.dropped_malformed, 4000);
        growth.at_least("most has no message inside", |s| s.dropped_undecryptable, 2000);
        assert_eq!(growth.of(|s| s.flood_entries_cached), 0);
        let ports = scene.ports();
        let growth = scene.counted(|| {
            scene.attacker.run(|| {
                let mut open = Vec::new();
                for number in 0..300 {
                    let mut stream = dial(ports[number % 3]);
                    let piece = &storm[number % storm.len()];
                    // It may be closed before all is written. Longer than any message, until it is.
                    while open.len() % 7 == 0 && !piece.is_empty() && stream.write_all(piece).is_ok() {}
                    let _ = stream.write_all(piece);
                    open.push(stream);
                }
            });
        });
        growth.is("broken", |s| s.dropped_bad_request + s.dropped_misplaced, 300);
    });
}

fn domain() -> Config {
    Config::new().acp(Acp::Quads(QuadsKeys::from_password("secret").expect("keys")))
}

/// A discovery of the friend's that the victim answers, as the attacker hears it.
fn recording(scene: &Scene) -> Vec<u8> {
    let ears = scene.neighbour();
    let friend = scene.link.link_local(&scene.friend.node);
    let growth = scene.counted(|| discovers(&scene.friend, &neg_of(&scene.victim)));
    growth.at_least("answered", |s| s.responses_sent, 1);
    let heard = ears.receive_matching(LATER, |datagram| *datagram.source.ip() == friend).unwrap();
    heard.expect("the friend's question").bytes
}

/// One recorded discovery, sent again and again: from the attacker's own address, where it takes every answer, and from many
/// that do not exist. Nothing is answered, and a newcomer who has the key is.
#[test]
fn a_recorded_discovery_is_answered_once_whatever_source_it_comes_from() {
    isolated!();
    let scene = Scene::with(domain(), domain());
    let recorded = recording(&scene);
    let (own, spoofed) =
        (scene.at_link_local(), RawUdp::open(&scene.attacker, "eth0", Ipv6Addr::UNSPECIFIED, 0).unwrap());
    spoofed.allow_spoofing().unwrap();
    let growth = scene.counted(|| {});
    for sent in 0..500_u32 {
        own.send(&recorded, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
        spoofed.send_as(nobody(sent), &recorded, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
        if sent % 50 == 0 {
            growth.at_least("received", |s| s.discoveries_received, 2 * sent as usize);
        }
    }
    growth.is("known", |s| s.dropped_repeated_discovery, 1000);
    assert_eq!(growth.of(|s| s.responses_sent + s.responses_failed + s.connections_opened), 0);
    let newcomer = scene._lab.node("newcomer").unwrap();
    scene.link.attach(&newcomer).unwrap();
    let newcomer = Host::start(&newcomer, domain());
    discovers(&newcomer, &neg_of(&scene.victim));
    scene.still_serves();
}

/// Where an outsider without the key is quicker than the honest copy, it gets the one answer, which it cannot read: a node that
/// the question reaches by way of a relay, when the attacker sits on both sides. docs/security.md says so.
#[test]
fn a_recording_that_comes_before_the_question_takes_its_answer_and_the_next_question_has_its_own() {
    isolated!();
    let scene = Scene::with(domain(), domain());
    // The victim has no part in this question's way: it is cut off while the friend asks, and the attacker hears it.
    let ears = scene.neighbour();
    let friend = scene.link.link_local(&scene.friend.node);
    scene.link.cut_node(&scene.victim.node).unwrap();
    let wanted = Objective { loop_count: 1, ..Objective::new(neg_of(&scene.victim)) };
    let options = Discover { flush: true, ..Discover::default() };
    let asked = scene.friend.run(|engine, asa| engine.discover(asa, &wanted, Some(200), options));
    assert_eq!(asked, Ok(vec![]));
    let heard = ears.receive_matching(LATER, |datagram| *datagram.source.ip() == friend).unwrap();
    let recorded = heard.expect("the friend's question").bytes;
    scene.link.heal_node(&scene.victim.node).unwrap();
    let thief = grasptests::nodes::RawAsker::on(&scene.attacker);
    let growth = scene.counted(|| thief.send(&recorded));
    growth.is("answered", |s| s.responses_sent, 1);
    let spoofed = RawUdp::open(&scene.attacker, "eth0", Ipv6Addr::UNSPECIFIED, 0).unwrap();
    spoofed.allow_spoofing().unwrap();
    spoofed.send_as(friend, &recorded, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
    growth.is("the honest one comes too late", |s| s.dropped_repeated_discovery, 1);
    discovers(&scene.friend, &neg_of(&scene.victim));
}
