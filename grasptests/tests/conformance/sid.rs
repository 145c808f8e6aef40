//! Session identifiers (RFC 8990 §2.7, §2.8.4, §2.8.6).

use std::collections::BTreeSet;

use grasp::{Asa, Error, Negotiation, Objective, RegisterObj, TaggedObjective, Value};
use grasptests::isolated;

use crate::bench::{Bench, negotiable, synchronizable};
use crate::peer::{DISCOVERY, FLOOD, RESPONSE, items, sid};

#[test]
fn c_sid_01_every_operation_and_every_repetition_has_a_fresh_identifier() {
    isolated!();
    let bench = Bench::new();
    let mut seen = Vec::new();
    // Loop count 1: repeated after 100, 200 and 400 ms while nobody answers.
    let objective = Objective { loop_count: 1, ..Objective::new("EX1") };
    for _ in 0..2 {
        bench.discover(&objective, 750, Default::default()).join().unwrap().unwrap();
    }
    for _ in 0..6 {
        seen.push(sid(&bench.peer.heard(DISCOVERY).message));
    }
    let flooded = synchronizable("EX2", 1);
    bench.register(&flooded);
    for _ in 0..3 {
        bench.flood(0, &[TaggedObjective::new(flooded.clone(), None)]).unwrap();
        seen.push(sid(&bench.peer.heard(FLOOD).message));
    }
    for _ in 0..2 {
        let mut pending = bench.negotiate(&negotiable("EX3", 1), None);
        seen.push(pending.session());
        pending.stream.send(&cbor!([6, (pending.session()), [102]]));
        assert_eq!(pending.result(), Err(Error::Declined(None)));
        let pending = bench.synchronize(&synchronizable("EX4", ()), None);
        seen.push(pending.session());
        drop(pending.stream);
        assert_eq!(pending.result.join().unwrap(), Err(Error::NoListener));
    }
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "{seen:?}");
}

#[test]
fn c_sid_02_every_answer_and_every_step_carries_the_same_identifier() {
    isolated!();
    let bench = Bench::new();
    let _server = bench.serve(&negotiable("EX3", 0), |engine, asa, session, offer| {
        engine.negotiate_wait(asa, session, Some(9000)).unwrap();
        engine.negotiate_step(asa, session, &offer, None).unwrap();
        engine.end_negotiate(asa, session, false, None).unwrap();
    });
    let mut stream = bench.peer.call("EX3");
    stream.send(&cbor!([3, 77, ["EX3", 3, 6, 1]]));
    assert_eq!(stream.receive(), cbor!([7, 77, 9000]));
    assert_eq!(stream.receive(), cbor!([5, 77, ["EX3", 3, 5, 1]]));
    stream.send(&cbor!([5, 77, ["EX3", 3, 4, 2]]));
    assert_eq!(stream.receive(), cbor!([6, 77, [102]]));
    bench.publish(&synchronizable("EX4", "v"));
    let mut stream = bench.peer.call("EX4");
    stream.send(&cbor!([4, 78, ["EX4", 5, 6, ()]]));
    assert_eq!(stream.receive(), cbor!([8, 78, ["EX4", 5, 6, "v"]]));
    bench.peer.ask(79, "EX4");
    bench.peer.only_response(79);
    // As initiator: the counter-offer continues under the identifier of the request.
    let mut pending = bench.negotiate(&negotiable("EX5", 1), None);
    let session = pending.session();
    pending.stream.send(&cbor!([5, session, ["EX5", 3, 5, 2]]));
    let Negotiation::Offer(handle, offer) = pending.result.join().unwrap().unwrap() else {
        panic!("no offer")
    };
    let step = bench.spawn(move |engine, asa| engine.negotiate_step(asa, handle, &offer, None));
    assert_eq!(sid(&pending.stream.receive()), session);
    pending.stream.send(&cbor!([6, session, [101]]));
    step.join().unwrap().unwrap();
}

#[test]
fn c_sid_03_an_identifier_that_is_no_uint32_is_dropped() {
    isolated!();
    let bench = Bench::new();
    bench.publish(&synchronizable("EX4", "v"));
    let at = bench.peer.locate("EX4");
    let before = bench.engine.stats();
    let bad = [cbor!(-1), cbor!(1u64 << 32), cbor!("7"), cbor!(&[7u8][..]), cbor!(7.0), cbor!(())];
    for session in &bad {
        let objective = cbor!(["EX4", 5, 6, ()]);
        let initiator = cbor!(bench.peer.initiator());
        bench.peer.multicast(&Value::Array(vec![cbor!(1), session.clone(), initiator, objective.clone()]));
        let mut stream = bench.peer.connect(at);
        stream.send(&Value::Array(vec![cbor!(4), session.clone(), objective]));
        stream.closed();
    }
    bench.peer.ask(u32::MAX, "EX4");
    bench.peer.only_response(u32::MAX);
    let after = bench.engine.stats();
    assert_eq!(after.dropped_malformed - before.dropped_malformed, 6);
    assert_eq!(after.dropped_bad_request - before.dropped_bad_request, 6);
}

#[test]
fn c_sid_04_identifiers_look_random() {
    isolated!();
    let bench = Bench::new();
    let flooded = synchronizable("EX2", 1);
    bench.register(&flooded);
    let draw = |_| {
        bench.flood(0, &[TaggedObjective::new(flooded.clone(), None)]).unwrap();
        sid(&bench.peer.heard(FLOOD).message)
    };
    let drawn: Vec<u32> = (0..40).map(draw).collect();
    // Each bit is sometimes set and sometimes not: wrong once in 2^34 runs.
    let (any, all) = drawn.iter().fold((0, u32::MAX), |(any, all), id| (any | id, all & id));
    assert_eq!((any, all), (u32::MAX, 0), "{drawn:x?}");
    let steps: BTreeSet<_> = drawn.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect();
    assert!(steps.len() > 30, "no counter");
}

#[test]
fn c_sid_06_equal_identifiers_of_two_initiators_are_two_sessions() {
    isolated!();
    let bench = Bench::new();
    let other = bench.another_peer();
    let _server = bench.serve(&negotiable("EX3", 0), |engine, asa, session, mut offer| {
        offer.value = Value::from(format!("to {:?}", offer.value));
        engine.negotiate_step(asa, session, &offer, None).unwrap();
        engine.end_negotiate(asa, session, true, None).unwrap();
    });
    let mut streams = [bench.peer.call("EX3"), other.call("EX3")];
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.send(&cbor!([3, 77, ["EX3", 3, 6, number]]));
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        let expected = format!("to Integer({number})");
        assert_eq!(stream.receive(), cbor!([5, 77, ["EX3", 3, 5, expected]]));
    }
    for stream in &mut streams {
        stream.send(&cbor!([5, 77, ["EX3", 3, 4, 0]]));
        assert_eq!(stream.receive(), cbor!([6, 77, [101]]));
    }
    for (peer, session) in [(&bench.peer, 78), (&other, 78)] {
        peer.ask(session, "EX3");
    }
    bench.peer.only_response(78);
    other.only_response(78);
}

#[test]
fn c_sid_07_a_request_under_an_open_identifier_is_dropped() {
    isolated!();
    let bench = Bench::new();
    let _server = bench.serve(&negotiable("EX3", 0), |engine, asa, session, offer| {
        let _ = engine.negotiate_step(asa, session, &offer, None);
        let _ = engine.end_negotiate(asa, session, true, None);
    });
    let at = bench.peer.locate("EX3");
    let request = cbor!([3, 77, ["EX3", 3, 6, 1]]);
    let mut first = bench.peer.connect(at);
    first.send(&request);
    assert_eq!(first.receive(), cbor!([5, 77, ["EX3", 3, 5, 1]]));
    let mut second = bench.peer.connect(at);
    second.send(&request);
    second.closed();
    assert_eq!(bench.engine.stats().session_clashes, 1);
    // The first goes on, and afterwards the identifier is free again.
    first.send(&cbor!([5, 77, ["EX3", 3, 4, 2]]));
    assert_eq!(first.receive(), cbor!([6, 77, [101]]));
    first.closed();
    let mut third = bench.peer.connect(at);
    third.send(&request);
    assert_eq!(sid(&third.receive()), 77);
}

#[test]
fn c_sid_07_a_value_is_not_asked_for_under_an_open_identifier() {
    isolated!();
    let bench = Bench::new();
    let _server = bench.serve(&negotiable("EX3", 0), |engine, asa, session, offer| {
        let _ = engine.negotiate_step(asa, session, &offer, None);
    });
    bench.publish(&synchronizable("EX4", "v"));
    let mut first = bench.peer.call("EX3");
    first.send(&cbor!([3, 77, ["EX3", 3, 6, 1]]));
    first.receive();
    let at = bench.peer.locate("EX4");
    let mut second = bench.peer.connect(at);
    second.send(&cbor!([4, 77, ["EX4", 5, 6, ()]]));
    second.closed();
    assert_eq!(bench.engine.stats().session_clashes, 1);
    let mut third = bench.peer.connect(at);
    third.send(&cbor!([4, 78, ["EX4", 5, 6, ()]]));
    assert_eq!(sid(&third.receive()), 78);
}

/// RFC 8990 §2.8.6: two nodes begin a session with each other at the same time, under the same identifier.
#[test]
fn c_sid_07_a_peer_cannot_use_the_identifier_of_our_session_with_it() {
    isolated!();
    let bench = Bench::new();
    let _server = bench.accept_all("EX3");
    let at = bench.peer.locate("EX3");
    let pending = bench.negotiate(&negotiable("EX5", 1), None);
    let session = pending.session();
    let mut race = bench.peer.connect(at);
    race.send(&cbor!([3, session, ["EX3", 3, 6, 1]]));
    race.closed();
    assert_eq!(pending.answered(&cbor!([6, session, [102]])), Err(Error::Declined(None)));
    let mut again = bench.peer.connect(at);
    again.send(&cbor!([3, session, ["EX3", 3, 6, 1]]));
    assert_eq!(again.receive(), cbor!([6, session, [101]]));
}

#[test]
fn c_sid_08_the_initiator_is_a_global_address() {
    isolated!();
    let bench = Bench::new();
    drop(bench.discover_first("EX1"));
    let heard = bench.peer.heard(DISCOVERY);
    assert_eq!(items(&heard.message)[2], cbor!(bench.home.ula().unwrap().octets().to_vec()));
}

#[test]
fn c_sid_08_without_a_global_address_the_initiator_is_a_link_local_one() {
    isolated!();
    let bench = Bench::link_local_only(1);
    drop(bench.discover_first("EX1"));
    let heard = bench.peer.heard(DISCOVERY);
    assert_eq!(items(&heard.message)[2], cbor!(bench.link_local().octets().to_vec()));
}

#[test]
fn c_sid_09_initiators_have_4_or_16_bytes() {
    isolated!();
    let bench = Bench::new();
    bench.publish(&synchronizable("EX4", "v"));
    let discovery = |session: u32, initiator: Value| {
        Value::Array(vec![cbor!(1), cbor!(session), initiator, cbor!(["EX4", 5, 6, ()])])
    };
    for length in [0usize, 1, 3, 5, 8, 15, 17, 32] {
        bench.peer.multicast(&discovery(1, cbor!(vec![0x20u8; length])));
    }
    bench.peer.multicast(&discovery(1, cbor!("2001:db8::1")));
    for (session, initiator) in [(4, vec![192u8, 0, 2, 1]), (16, vec![0x20u8; 16])] {
        bench.peer.multicast(&discovery(session, cbor!(initiator.clone())));
        let response = bench.peer.only_response(session);
        assert_eq!(items(&response)[..3], [cbor!(RESPONSE), cbor!(session), cbor!(initiator)]);
    }
    assert_eq!(bench.engine.stats().dropped_malformed, 9);
}

#[test]
fn c_sid_10_two_asas_of_one_engine_negotiate_with_each_other() {
    isolated!();
    let bench = Bench::new();
    let overlap = RegisterObj { overlap: true, ..RegisterObj::default() };
    let objective = negotiable("EX3", 1);
    bench.register_with(&objective, overlap.clone());
    let other = Asa::register(&bench.engine, "other").unwrap();
    let asked = bench.home.run(|| {
        bench.engine.register_obj(other.nonce(), &objective, overlap).unwrap();
        let (engine, nonce, listened) = (bench.engine.clone(), other.nonce(), objective.clone());
        let server = bench.home.spawn("server", move || {
            let (session, offer) = engine.listen_negotiate(nonce, &listened).unwrap();
            engine.end_negotiate(nonce, session, true, None).unwrap();
            offer.value
        });
        bench.peer.locate("EX3");
        // No locator: the other ASA is found without the network.
        let end = bench.engine.req_negotiate(bench.asa.nonce(), &objective, None, None);
        assert_eq!(end, Ok(Negotiation::Agreed(objective.clone())));
        server.join().unwrap()
    });
    assert_eq!(asked, Value::from(1));
}
