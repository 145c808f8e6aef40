//! Peers that open many sessions, or ask for more than their share.

use std::time::Duration;

use grasp::wire::{Body, Outcome};
use grasp::{Config, Error, Objective};
use grasptests::isolated;
use grasptests::nodes::{RawPeer, RawStream, negotiable, within};

use crate::scene::{LATER, Scene, call, dial, neg_of, negotiates};

/// Whether a request is answered by an offer. If not, it is for want of room, and the peer is told so.
fn is_taken_up(stream: &mut RawStream, session: u32) -> bool {
    let answer = stream.hear().body;
    let Body::End { session: declined, outcome } = &answer else { return true };
    assert_eq!((*declined, outcome), (session, &Outcome::Decline(Some("too many sessions".to_owned()))));
    false
}

/// One peer opens sessions and keeps them, until it has its share. Others are served.
#[test]
fn one_peer_does_not_occupy_all_sessions() {
    isolated!();
    let scene = Scene::new(Config::new().session_limit(40).sessions_per_peer(20));
    scene.survives(|scene| {
        let at = scene.port_of(&neg_of(&scene.victim));
        let growth = scene.counted(|| {
            let mut open = Vec::new();
            for session in 0..60_u32 {
                let mut stream = call(scene, at);
                stream.write(&cbor!([3, session, ["neg:victim", 3, 6, 1]]).encode());
                if is_taken_up(&mut stream, session) {
                    // It is answered, and asks for patience.
                    stream.write(&cbor!([7, session, 20000]).encode());
                    open.push(stream);
                }
            }
            assert_eq!(open.len(), 20, "its share");
            negotiates(&scene.friend, &scene.victim).expect("others are served");
        });
        growth.is("refused", |s| s.session_limit, 40);
    });
}

/// Peers, each within its share, that occupy all sessions: the listener goes on listening.
#[test]
fn a_full_session_registry_refuses_peers_and_does_not_end_listening() {
    isolated!();
    let scene = Scene::new(Config::new().session_limit(10));
    scene.survives(|scene| {
        let at = scene.port_of(&neg_of(&scene.victim));
        let growth = scene.counted(|| {
            let mut open = Vec::new();
            for session in 0..30_u32 {
                let mut stream = call(scene, at);
                stream.write(&cbor!([3, session, ["neg:victim", 3, 6, 1]]).encode());
                if is_taken_up(&mut stream, session) {
                    stream.write(&cbor!([7, session, 20000]).encode());
                    open.push(stream);
                }
            }
            assert_eq!(open.len(), 10);
        });
        growth.is("refused", |s| s.session_limit, 20);
    });
}

/// One peer sends more requests than the listeners can take. It gets its share of the queue.
#[test]
fn one_peer_does_not_fill_the_queue_of_requests() {
    isolated!();
    let config = Config::new().request_queue(20).requests_per_peer(10).listen_grace(Duration::from_secs(60));
    let scene = Scene::new(config);
    let busy = negotiable("busy", 0);
    scene.victim.register(&busy);
    scene.survives(|scene| {
        // It has listened once, and is expected back within the grace.
        let listener = scene.victim.listen(&busy);
        let at = scene.port_of("busy");
        let request = |session: u32| cbor!([3, session, ["busy", 3, 6, 1]]).encode();
        let mut first = call(scene, at);
        first.write(&request(1));
        let (session, _) = listener.join().unwrap().unwrap();
        let growth = scene.counted(|| {});
        let mut waiting = scene.attacker.run(|| (0..50).map(|_| dial(at)).collect::<Vec<_>>());
        for (number, stream) in waiting.iter_mut().enumerate() {
            std::io::Write::write_all(stream, &request(100 + u32::try_from(number).unwrap())).unwrap();
        }
        growth.is("more than its share is refused", |s| s.refused_queue_full, 40);
        let mut friend = RawStream::reach(&scene.friend.node, at);
        friend.write(&request(2));
        growth.is("asked", |s| s.negotiation_requests, 51);
        assert_eq!(growth.of(|s| s.refused_queue_full), 40, "another peer has a place");
        // All that wait are taken up, and ended.
        scene.victim.run(|engine, asa| {
            engine.end_negotiate(asa, session, true, None).unwrap();
            for _ in 0..11 {
                let (session, _) = engine.listen_negotiate(asa, &busy).unwrap();
                engine.end_negotiate(asa, session, true, None).unwrap();
            }
            engine.stop_negotiate(asa, &busy).unwrap();
        });
        assert_eq!(friend.hear().session(), Some(2));
    });
}

/// A session identifier that is in use with the peer, as often as it likes.
#[test]
fn a_storm_of_clashing_identifiers_ends_no_session() {
    isolated!();
    let scene = Scene::new(Config::new());
    scene.survives(|scene| {
        let at = scene.port_of(&neg_of(&scene.victim));
        let request = cbor!([3, 7, ["neg:victim", 3, 6, 1]]).encode();
        let mut open = call(scene, at);
        open.write(&request);
        assert_eq!(open.hear().session(), Some(7));
        open.write(&cbor!([7, 7, 20000]).encode());
        let growth = scene.counted(|| {
            for _ in 0..200 {
                let mut again = call(scene, at);
                again.write(&request);
                again.expect_end();
            }
        });
        growth.is("clashes", |s| s.session_clashes, 200);
        open.write(&cbor!([5, 7, ["neg:victim", 3, 4, 1]]).encode());
        assert_eq!(open.hear().session(), Some(7), "the session goes on");
    });
}

/// A peer that asks for patience again and again gets no more of it than the limit.
#[test]
fn a_storm_of_m_wait_does_not_hold_a_call_for_ever() {
    isolated!();
    let scene = Scene::new(Config::new().wait_limit(1500));
    let wish = negotiable("patience", 1);
    scene.victim.register(&wish);
    scene.survives(|scene| {
        for wait in [cbor!(0xffff_ffff_u32), cbor!(1400)] {
            let peer = RawPeer::on(&scene.attacker);
            let port = peer.port();
            let thread = scene.attacker.spawn("peer", move || {
                let mut stream = peer.accept();
                let session = stream.hear().session().unwrap();
                let mut sent = 0_u32;
                while stream.try_write(&cbor!([7, session, (wait.clone())]).encode()).is_ok() {
                    sent += 1;
                    std::thread::sleep(Duration::from_millis(5));
                }
                sent
            });
            let address = scene.link.ula(&scene.attacker).unwrap();
            let at = grasp::AsaLocator::new(address, None).with_port(port);
            let reply = within(LATER / 3, || {
                scene.victim.run(|engine, asa| engine.req_negotiate(asa, &wish, Some(&at), Some(500)))
            });
            assert_eq!(reply, Err(Error::NoNegReply));
            assert!(thread.join().unwrap() > 10);
        }
    });
}

/// M_INVALID, as the answer to everything, in every role.
#[test]
fn a_storm_of_m_invalid_ends_its_sessions_and_nothing_else() {
    isolated!();
    let scene = Scene::new(Config::new());
    let wish = negotiable("invalid", 1);
    scene.victim.register(&wish);
    scene.survives(|scene| {
        let at = scene.port_of(&neg_of(&scene.victim));
        for session in 0..100_u32 {
            let mut stream = call(scene, at);
            stream.write(&cbor!([3, session, ["neg:victim", 3, 6, 1]]).encode());
            let _ = stream.hear();
            stream.write(&cbor!([99, session, "what?"]).encode());
            stream.expect_end();
        }
        let peer = RawPeer::on(&scene.attacker);
        let address = scene.link.ula(&scene.attacker).unwrap();
        let locator = grasp::AsaLocator::new(address, None).with_port(peer.port());
        let thread = scene.attacker.spawn("peer", move || {
            for _ in 0..200 {
                let mut stream = peer.accept();
                let session = stream.hear().session().unwrap();
                stream.write(&cbor!([99, session, "what?"]).encode());
            }
        });
        let value = Objective { synch: true, ..Objective::new("invalid value") };
        scene.victim.run(|engine, asa| {
            for _ in 0..100 {
                assert_eq!(engine.req_negotiate(asa, &wish, Some(&locator), None), Err(Error::NoValidStep));
                assert_eq!(engine.synchronize(asa, &value, Some(&locator), None), Err(Error::NoValidSynch));
            }
        });
        thread.join().unwrap();
        negotiates(&scene.friend, &scene.victim).unwrap();
    });
}
