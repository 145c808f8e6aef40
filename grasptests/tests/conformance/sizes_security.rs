//! Sizes of messages and the security gate (RFC 8990 §2.5.1, §2.5.3, §2.8.3).

use grasp::{Acp, Config, Discover, Error, Objective, TaggedObjective, Value};
use grasptests::isolated;
use grasptests::lab::eventually;

use crate::bench::{Bench, negotiable, synchronizable};
use crate::peer::{DISCOVERY, FLOOD, QUIET, SOON, items, sid};

/// A byte string that makes a message this long, given its length with a string of 1000 bytes.
fn filler(with_thousand: usize, length: usize) -> Value {
    Value::from(vec![0x55; 1000 + length - with_thousand])
}

fn request(session: u32, value: Value) -> Value {
    cbor!([3, session, ["EX3", 3, 6, value]])
}

fn request_of(session: u32, length: usize) -> Vec<u8> {
    let thousand = request(session, filler(0, 0)).encode().len();
    let bytes = request(session, filler(thousand, length)).encode();
    assert_eq!(bytes.len(), length);
    bytes
}

#[test]
fn c_size_01_2048_bytes_are_received_however_tcp_splits_them() {
    isolated!();
    let bench = Bench::new();
    let _server = bench.accept_all("EX3");
    let at = bench.peer.locate("EX3");
    for (session, piece) in [(1, 1), (2, 7), (3, 1200), (4, 2047), (5, 2048)] {
        let bytes = request_of(session, 2048);
        let mut stream = bench.peer.connect(at);
        for piece in bytes.chunks(piece) {
            stream.send_bytes(piece);
        }
        assert_eq!(stream.receive(), cbor!([6, session, [101]]));
    }
    // And as initiator: an offer of that size, with the next message in the same segment.
    let mut pending = bench.negotiate(&negotiable("EX5", 1), None);
    let session = pending.session();
    let offer = |value| cbor!([5, session, ["EX5", 3, 5, value]]);
    let thousand = offer(filler(0, 0)).encode().len();
    let wait = cbor!([7, session, 9000]).encode();
    let offer = offer(filler(thousand, 2048)).encode();
    pending.stream.send_bytes(&[wait, offer].concat());
    pending.result().unwrap();
}

#[test]
fn c_size_02_no_unicast_message_of_more_than_2048_bytes_is_sent() {
    isolated!();
    let bench = Bench::new();
    // A session identifier takes 1 to 5 bytes, nearly always 5.
    let sent = |bytes: usize| {
        let pending = bench.negotiate(&negotiable("EX3", vec![0; bytes]), None);
        pending.request.encode().len()
    };
    let overhead = sent(2000) - 2000;
    let most = 2048 - overhead;
    assert!((2044..=2048).contains(&sent(most)));
    let long = || Value::from(vec![0; most + 5]);
    let objective = negotiable("EX3", long());
    let server = bench.peer.listen();
    let peer = grasp::AsaLocator::new(bench.peer.global.unwrap(), None).with_port(server.port());
    bench.run(|engine, asa| {
        assert_eq!(engine.req_negotiate(asa, &objective, Some(&peer), None), Err(Error::Unspec));
        let synch = synchronizable("EX4", long());
        engine.register_obj(asa, &synch, Default::default()).unwrap();
        assert_eq!(engine.synchronize(asa, &synch, Some(&peer), None), Err(Error::Unspec));
        assert_eq!(engine.listen_synchronize(asa, &synch), Err(Error::Unspec));
    });
    assert!(server.nobody_comes());
}

#[test]
fn c_size_02_an_offer_or_reason_that_is_too_long_is_refused_and_the_session_goes_on() {
    isolated!();
    let bench = Bench::new();
    let _server = bench.serve(&negotiable("EX3", 0), |engine, asa, session, offer| {
        let long = Objective { value: Value::from(vec![0; 2048]), ..offer };
        assert_eq!(engine.negotiate_step(asa, session, &long, None), Err(Error::Unspec));
        let reason = "x".repeat(2048);
        assert_eq!(engine.end_negotiate(asa, session, false, Some(&reason)), Err(Error::Unspec));
        engine.end_negotiate(asa, session, true, None).unwrap();
    });
    let mut stream = bench.peer.call("EX3");
    stream.send(&request(7, Value::Null));
    assert_eq!(stream.receive(), cbor!([6, 7, [101]]));
}

#[test]
fn c_size_03_an_overlong_message_is_cut_off() {
    isolated!();
    let bench = Bench::new();
    let _server = bench.accept_all("EX3");
    let at = bench.peer.locate("EX3");
    // One byte too long, a string that says it is endless, an array without end, nesting without end.
    let mut endless = vec![0x83, 3, 7, 0x9f];
    endless.resize(3000, 0);
    let mut deep = vec![0x83, 3, 7];
    deep.resize(1000, 0x81);
    for bytes in
        [request_of(7, 2049), vec![0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], endless, deep]
    {
        let mut stream = bench.peer.connect(at);
        stream.send_bytes(&bytes);
        stream.closed();
    }
    let mut pending = bench.negotiate(&negotiable("EX5", 1), None);
    pending.stream.send_bytes(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    pending.stream.closed();
    assert_eq!(pending.result(), Err(Error::CborFail));
    // Datagrams too.
    bench.peer.multicast_bytes(&vec![0x9f; 2049]);
    eventually(SOON, "the datagram is dropped", || bench.engine.stats().dropped_oversize == 1);
    let mut stream = bench.peer.connect(at);
    stream.send(&request(9, Value::Null));
    assert_eq!(sid(&stream.receive()), 9);
}

#[test]
fn c_size_04_a_multicast_fits_into_a_packet_of_1280_bytes() {
    isolated!();
    let bench = Bench::new();
    let flooded = |bytes| TaggedObjective::new(synchronizable("EX2", Value::from(vec![0; bytes])), None);
    bench.register(&flooded(0).objective);
    bench.flood(0, &[flooded(1000)]).unwrap();
    let overhead = bench.peer.heard(FLOOD).bytes.len() - 1000;
    // The identifier of a session takes 1 to 5 bytes, nearly always 5.
    let mut longest = 0;
    for bytes in 1232 - overhead - 5..1232 {
        match bench.flood(0, &[flooded(bytes)]) {
            Ok(()) => longest = longest.max(bench.peer.heard(FLOOD).bytes.len()),
            Err(error) => assert_eq!(error, Error::Unspec),
        }
    }
    assert!((1228..=1232).contains(&longest), "{longest}");
    assert!(bench.peer.heard_within(FLOOD, QUIET).is_none());
}

#[test]
fn c_size_04_a_discovery_does_without_a_value_and_a_name_must_fit() {
    isolated!();
    let bench = Bench::new();
    drop(bench.discover(&synchronizable("EX2", Value::from(vec![0; 1300])), 100, Discover::default()));
    let heard = bench.peer.heard(DISCOVERY).message;
    assert_eq!(items(&heard)[3], cbor!(["EX2", 5, 6, ()]));
    let long = Objective::new("x".repeat(1300));
    let refused = bench.discover(&long, 100, Discover::default()).join().unwrap();
    assert_eq!(refused, Err(Error::Unspec));
}

#[test]
fn c_size_04_a_wish_that_does_not_fit_is_left_out() {
    isolated!();
    let bench = Bench::with(Config::new().rapid_negotiation(true));
    let wish = negotiable("EX3", Value::from(vec![0; 1300]));
    bench.register(&wish);
    let result = bench.run(|engine, asa| engine.req_negotiate(asa, &wish, None, Some(100)));
    assert_eq!(result, Err(Error::NoDiscReply));
    assert_eq!(items(&bench.peer.heard(DISCOVERY).message)[3], cbor!(["EX3", 3, 1]));
}

#[test]
fn c_sec_01_without_security_nothing_is_sent_answered_or_believed() {
    isolated!();
    let bench = Bench::with(Config::new().acp(Acp::None));
    let (neg, synch) = (negotiable("EX3", 1), synchronizable("EX4", 1));
    bench.register(&neg);
    bench.register(&synch);
    let peer = grasp::AsaLocator::new(bench.peer.global.unwrap(), None).with_port(bench.peer.listen().port());
    bench.run(|engine, asa| {
        assert_eq!(engine.discover(asa, &neg, None, Discover::default()), Err(Error::NoSecurity));
        assert_eq!(engine.req_negotiate(asa, &neg, Some(&peer), None), Err(Error::NoSecurity));
        assert_eq!(engine.listen_negotiate(asa, &neg), Err(Error::NoSecurity));
        assert_eq!(engine.synchronize(asa, &synch, Some(&peer), None), Err(Error::NoSecurity));
        assert_eq!(engine.listen_synchronize(asa, &synch), Err(Error::NoSecurity));
        assert_eq!(engine.flood(asa, 0, &[TaggedObjective::new(synch, None)]), Err(Error::NoSecurity));
    });
    bench.peer.ask(7, "EX3");
    bench.peer.unicast(&bench.peer.discovery(8, "EX4"), bench.peer.address, bench.link_local());
    eventually(SOON, "both are dropped", || bench.engine.stats().dropped_insecure == 2);
    assert!(bench.peer.response_within(QUIET).is_none());
    assert!(!bench.peer.hears_anything(QUIET));
    assert_eq!(bench.engine.stats().multicast_sent, 0);
}
