//! Wrong types in every position: every message of every type, with every element in turn replaced by every kind of
//! CBOR, left out, and doubled; wherever a message can come.

use std::net::SocketAddrV6;

use grasp::{AsaLocator, Config, Negotiation, Objective, Value};
use grasptests::isolated;
use grasptests::lab::eventually;
use grasptests::nodes::{RawPeer, RawStream, negotiable, synchronizable};

use crate::datagrams::every_type;
use crate::scene::{LATER, Scene, call, dial, multicast, neg_of};

/// Something of every kind, with the edges of those that have any.
fn kinds() -> Vec<Value> {
    vec![
        Value::Null,
        Value::Undefined,
        Value::Bool(true),
        cbor!(0),
        cbor!(-1),
        cbor!(255),
        cbor!(65_536),
        cbor!(u64::MAX),
        Value::Integer(-(1 << 64)),
        Value::Integer(1 << 80),
        Value::Float(1.5),
        Value::Float(f64::NAN),
        Value::Bytes(vec![]),
        Value::Bytes(vec![1; 16]),
        Value::Bytes(vec![1; 4]),
        cbor!(""),
        cbor!("text"),
        cbor!([]),
        cbor!([103]),
        cbor!([[[]]]),
        Value::Map(vec![(cbor!(0), cbor!(1))]),
        Value::EncodedCbor(vec![0x82]),
        Value::Tag(0, Box::new(cbor!(7))),
        Value::Simple(99),
    ]
}

/// A value with every element of every array in it, and itself, replaced in turn; left out; doubled.
fn mutants(value: &Value) -> Vec<Value> {
    let mut all = kinds();
    if let Value::Array(items) = value {
        for (index, item) in items.iter().enumerate() {
            let with = |new: &[Value]| Value::Array([&items[..index], new, &items[index + 1..]].concat());
            all.extend(mutants(item).into_iter().map(|mutant| with(&[mutant])));
            all.push(with(&[]));
            all.push(with(&[item.clone(), item.clone()]));
        }
    }
    all
}

/// All mutants of all messages, as bytes. `deep` or only those of the messages' own elements.
fn all_mutants(messages: &[Value]) -> Vec<Vec<u8>> {
    messages.iter().flat_map(mutants).map(|mutant| mutant.encode()).collect()
}

#[test]
fn every_mutant_to_the_group_is_dropped_or_handled() {
    isolated!();
    let scene = Scene::new(Config::new());
    let mutants = all_mutants(&every_type(scene.link.link_local(&scene.attacker), "nobody"));
    eprintln!("{} mutants", mutants.len());
    assert!(mutants.len() > 1500);
    scene.survives(|scene| {
        let socket = scene.at_link_local();
        let growth = scene.counted(|| {});
        for (number, mutant) in mutants.iter().enumerate() {
            let group = grasptests::lab::ALL_GRASP_NEIGHBORS;
            socket.send(mutant, group, grasptests::lab::GRASP_LISTEN_PORT).unwrap();
            if number % 100 == 0 {
                growth.at_least("received", |s| s.multicast_received, number);
            }
        }
        growth.at_least("received", |s| s.multicast_received, mutants.len());
        // Each is counted once, as what it was; floods that the victim relays come back to it from its own socket.
        let outcomes = |s: &grasp::Stats| {
            s.own_multicast
                + s.dropped_malformed
                + s.dropped_misplaced
                + s.dropped_unknown_type
                + s.noop_received
                + s.dropped_link_local_flood
                + s.floods_received
                + s.discoveries_received
        };
        // The last of them may be on their way still.
        eventually(LATER, "all are accounted for", || {
            growth.of(outcomes) == growth.of(|s| s.multicast_received)
        });
        assert!(growth.of(|s| s.dropped_malformed) > 800);
    });
}

/// Sends each in a connection of its own and waits for its end.
fn one_by_one(scene: &Scene, port: SocketAddrV6, messages: &[Vec<u8>]) {
    scene.attacker.run(|| {
        for message in messages {
            let mut stream = RawStream::new(dial(port));
            let _ = stream.try_write(message);
            stream.finish();
            // What is answered is the asker's to close.
            let _ = stream.read();
        }
    });
}

#[test]
fn every_mutant_as_a_response_is_dropped_or_handled() {
    isolated!();
    let scene = Scene::new(Config::new());
    let mutants = all_mutants(&every_type(scene.link.link_local(&scene.attacker), "nobody"));
    scene.survives(|scene| {
        let port = scene.response_port();
        let growth = scene.counted(|| one_by_one(scene, port, &mutants));
        let outcomes =
            |s: &grasp::Stats| s.dropped_bad_request + s.dropped_misplaced + s.dropped_stray_response;
        growth.is("each is dropped", outcomes, mutants.len());
        assert_eq!(growth.of(|s| s.responses_received), 0);
    });
}

#[test]
fn every_mutant_as_a_first_request_is_dropped_or_handled() {
    isolated!();
    let scene = Scene::new(Config::new());
    let attacker = scene.link.link_local(&scene.attacker);
    let mutants =
        [all_mutants(&every_type(attacker, "neg:victim")), all_mutants(&every_type(attacker, "syn:victim"))]
            .concat();
    scene.survives(|scene| {
        let at = scene.port_of(&neg_of(&scene.victim));
        let growth = scene.counted(|| one_by_one(scene, at, &mutants));
        let outcomes = |s: &grasp::Stats| {
            s.dropped_bad_request
                + s.dropped_misplaced
                + s.discoveries_received
                + s.negotiation_requests
                + s.synchronization_requests
        };
        growth.is("each is dropped or served", outcomes, mutants.len());
        assert!(growth.of(|s| s.sessions_accepted) > 0 && growth.of(|s| s.synch_sent) > 0);
    });
}

/// The peer opens a session and answers the victim's first step with a mutant.
#[test]
fn every_mutant_as_a_step_of_an_initiator_ends_or_continues_the_session() {
    isolated!();
    let scene = Scene::new(Config::new());
    let templates = every_type(scene.link.link_local(&scene.attacker), "neg:victim");
    let mutants: Vec<_> = templates.iter().flat_map(mutants).collect();
    scene.survives(|scene| {
        let at = scene.port_of(&neg_of(&scene.victim));
        let growth = scene.counted(|| {
            scene.attacker.run(|| {
                for (session, mutant) in (0_u32..).zip(&mutants) {
                    let mut stream = RawStream::new(dial(at));
                    stream.write(&cbor!([3, session, ["neg:victim", 3, 6, 1]]).encode());
                    assert_eq!(stream.hear().session(), Some(session));
                    let _ = stream.try_write(&in_session(mutant.clone(), session).encode());
                    stream.finish();
                    while stream.read().is_some() {}
                }
            });
        });
        growth.is("each had its session", |s| s.sessions_accepted, mutants.len());
    });
}

/// The victim asks, and its request is answered with a mutant: every call returns at once.
#[test]
fn every_mutant_as_an_answer_to_the_victim_ends_or_continues_the_session() {
    isolated!();
    let scene = Scene::new(Config::new());
    let wish = negotiable("wish", 1);
    let value = synchronizable("wish", ());
    scene.victim.register(&wish);
    let templates = every_type(scene.link.link_local(&scene.attacker), "wish");
    // The session's identifier is not known before the request.
    let answers: Vec<(usize, Value)> = (0..2)
        .flat_map(|round| templates.iter().flat_map(mutants).map(move |mutant| (round, mutant)))
        .collect();
    let address = scene.link.ula(&scene.attacker).unwrap();
    scene.survives(|scene| {
        let peer = RawPeer::on(&scene.attacker);
        let at = AsaLocator::new(address, None).with_port(peer.port());
        let mine = answers.clone();
        let thread = scene.attacker.spawn("peer", move || {
            for (_, answer) in mine {
                let mut stream = peer.accept();
                let session = stream.hear().session().expect("a request");
                let bytes = in_session(answer, session).encode();
                let _ = stream.try_write(&bytes);
                stream.finish();
                while stream.read().is_some() {}
            }
        });
        let mut good = 0;
        scene.victim.run(|engine, asa| {
            for (round, answer) in &answers {
                let started = std::time::Instant::now();
                if *round == 0 {
                    match engine.req_negotiate(asa, &wish, Some(&at), Some(5000)) {
                        Ok(Negotiation::Offer(session, _)) => {
                            good += 1;
                            engine.end_negotiate(asa, session, true, None).unwrap();
                        }
                        Ok(Negotiation::Agreed(_)) => good += 1,
                        Err(_) => {}
                    }
                } else if engine.synchronize(asa, &value, Some(&at), Some(5000)).is_ok() {
                    good += 1;
                }
                assert!(started.elapsed().as_secs() < 4, "{answer} is waited upon");
            }
        });
        thread.join().unwrap();
        // Values of every kind are values.
        assert!(good > 50, "{good}");
    });
}

/// The message with this session in place of the 7 of the template.
fn in_session(message: Value, session: u32) -> Value {
    match message {
        Value::Array(mut items) if items.get(1) == Some(&cbor!(7)) => {
            items[1] = cbor!(session);
            Value::Array(items)
        }
        other => other,
    }
}

/// gsend and grecv take any CBOR, and nothing else.
#[test]
fn every_kind_of_item_and_none_in_a_messaging_session() {
    isolated!();
    let scene = Scene::new(Config::new());
    let wish = Objective { neg: true, ..Objective::new("any") };
    scene.victim.register(&wish);
    let broken: [&[u8]; 5] =
        [&[0xff], &[0x1c], &[0x61, 0xff], &[0x5b, 0x7f, 0xff, 0, 0, 0, 0, 0, 0], &[0x83]];
    scene.survives(|scene| {
        let at = scene.port_of("any");
        for round in 0..kinds().len() + broken.len() {
            let listener = scene.victim.listen(&wish);
            let mut stream = call(scene, at);
            stream.write(&cbor!([3, 7, ["any", 3, 6, ()]]).encode());
            let (session, _) = listener.join().unwrap().unwrap();
            let kind = kinds().into_iter().nth(round);
            match &kind {
                Some(kind) => stream.write(&kind.encode()),
                None => stream.write(broken[round - kinds().len()]),
            }
            stream.finish();
            let received = scene.victim.run(|engine, asa| engine.grecv(asa, session, 5000));
            match kind {
                Some(kind) => {
                    assert_eq!(received.map(|value| value.encode()), Ok(kind.encode()));
                    scene.victim.run(|engine, asa| engine.end_negotiate(asa, session, false, None)).unwrap();
                }
                None => assert_eq!(received, Err(grasp::Error::CborFail)),
            }
        }
        scene.victim.run(|engine, asa| engine.stop_negotiate(asa, &wish)).unwrap();
    });
    let socket = scene.at_link_local();
    multicast(&socket, &cbor!([0]));
}
