//! Objectives and their flags (RFC 8990 §2.10).

use grasp::{Config, Error, Negotiation, Objective, TaggedObjective, Value};
use grasptests::isolated;
use grasptests::lab::eventually;

use crate::bench::{Bench, negotiable, synchronizable};
use crate::peer::{FLOOD, SOON, items};

#[test]
fn c_obj_02_names_are_compared_byte_by_byte() {
    isolated!();
    let bench = Bench::new();
    bench.publish(&synchronizable("EX1", 1));
    bench.publish(&synchronizable("example.org:caf\u{e9}", 2));
    for other in ["ex1", "EX1 ", "EX", "example.org:cafe\u{301}", "example.org:CAF\u{c9}"] {
        bench.peer.ask(1, other);
    }
    bench.peer.ask(2, "example.org:caf\u{e9}");
    bench.peer.only_response(2);
    let mut stream = bench.peer.call("EX1");
    stream.send(&cbor!([4, 3, ["ex1", 5, 6, ()]]));
    stream.closed();
}

#[test]
fn c_obj_05_a_session_is_wholly_live_or_wholly_a_dry_run() {
    isolated!();
    let bench = Bench::new();
    for (dry, other) in [(false, 11), (true, 3)] {
        let name = if dry { "EX3" } else { "EX4" };
        let objective = Objective { dry, ..negotiable(name, 1) };
        let mut pending = bench.negotiate(&objective, None);
        assert_eq!(items(&items(&pending.request)[2])[1], cbor!(if dry { 11 } else { 3 }));
        let session = pending.session();
        pending.stream.send(&cbor!([5, session, [name, other, 5, 2]]));
        pending.stream.closed();
        assert_eq!(pending.result(), Err(Error::InvalidNeg));
    }
}

/// The same from the other side: what the responder's ASA tries, and what the initiator does to it.
#[test]
fn c_obj_05_the_responder_cannot_mix_either() {
    isolated!();
    let bench = Bench::new();
    let _server = bench.serve(&negotiable("EX3", 0), |engine, asa, session, offer| {
        assert!(offer.dry);
        let live = Objective { dry: false, ..offer.clone() };
        assert_eq!(engine.negotiate_step(asa, session, &live, None), Err(Error::InvalidNeg));
        assert_eq!(engine.negotiate_step(asa, session, &offer, None), Err(Error::InvalidNeg));
    });
    let mut stream = bench.peer.call("EX3");
    stream.send(&cbor!([3, 7, ["EX3", 11, 6, 1]]));
    assert_eq!(stream.receive(), cbor!([5, 7, ["EX3", 11, 5, 1]]), "the live step was not sent");
    stream.send(&cbor!([5, 7, ["EX3", 3, 4, 1]]));
    stream.closed();
}

#[test]
fn c_obj_06_an_objective_without_value_is_no_offer_no_synchronized_value_and_no_flood() {
    isolated!();
    let bench = Bench::new();
    let pending = bench.negotiate(&negotiable("EX3", 1), None);
    let offer = cbor!([5, (pending.session()), ["EX3", 3, 5]]);
    assert_eq!(pending.answered(&offer), Err(Error::NoValidStep));
    let pending = bench.synchronize(&synchronizable("EX4", ()), None);
    let value = cbor!([8, (pending.session()), ["EX4", 5, 6]]);
    assert_eq!(pending.answered(&value), Err(Error::NoValidSynch));
    let initiator = bench.peer.initiator();
    bench.peer.multicast(&cbor!([9, 7, (initiator.clone()), 0, [["EX5", 5, 6], []]]));
    bench.peer.multicast(&cbor!([9, 8, initiator, 0, [["EX6", 5, 6, ()], []]]));
    eventually(SOON, "the second flood is cached", || bench.flooded("EX6").len() == 1);
    assert!(bench.flooded("EX5").is_empty());
    assert_eq!(bench.engine.stats().dropped_malformed, 1);
    let _server = bench.accept_all("EX7");
    let mut stream = bench.peer.call("EX7");
    stream.send(&cbor!([3, 9, ["EX7", 3, 6]]));
    stream.closed();
}

#[test]
fn c_obj_06_a_discovery_needs_no_value() {
    isolated!();
    let bench = Bench::new();
    bench.publish(&synchronizable("EX4", 1));
    bench.peer.multicast(&cbor!([1, 7, (bench.peer.initiator()), ["EX4", 5, 6]]));
    bench.peer.only_response(7);
}

#[test]
fn c_obj_07_a_request_to_negotiate_has_a_value_null_if_there_is_none() {
    isolated!();
    let bench = Bench::new();
    let pending = bench.negotiate(&negotiable("EX3", ()), None);
    let bytes = cbor!([3, (pending.session()), ["EX3", 3, 6, ()]]).encode();
    assert_eq!(pending.request.encode(), bytes);
    assert_eq!(bytes.last(), Some(&0xf6));
}

#[test]
fn c_obj_08_requests_of_the_wrong_kind_are_refused() {
    isolated!();
    let bench = Bench::new();
    let _server = bench.accept_all("EX3");
    bench.publish(&synchronizable("EX4", 1));
    let wrong = [
        cbor!([4, 7, ["EX3", 3, 6, 1]]),
        cbor!([4, 7, ["EX3", 5, 6, 1]]),
        cbor!([3, 7, ["EX4", 5, 6, 1]]),
        cbor!([3, 7, ["EX4", 3, 6, 1]]),
        cbor!([3, 7, ["EX3", 5, 6, 1]]),
    ];
    let at = bench.peer.locate("EX3");
    bench.peer.locate("EX4");
    for request in &wrong {
        let mut stream = bench.peer.connect(at);
        stream.send(request);
        stream.closed();
    }
    assert_eq!(bench.engine.stats().refused_wrong_kind, 5);
    let mut stream = bench.peer.connect(at);
    stream.send(&cbor!([3, 7, ["EX3", 3, 6, 1]]));
    assert_eq!(stream.receive(), cbor!([6, 7, [101]]));
}

#[test]
fn c_obj_08_a_negotiation_objective_is_neither_flooded_nor_synchronized() {
    isolated!();
    let bench = Bench::new();
    let objective = negotiable("EX3", 1);
    bench.register(&objective);
    assert_eq!(bench.flood(0, &[TaggedObjective::new(objective.clone(), None)]), Err(Error::NotSynch));
    bench.run(|engine, asa| {
        assert_eq!(engine.listen_synchronize(asa, &objective), Err(Error::NotSynch));
        assert_eq!(engine.synchronize(asa, &objective, None, None), Err(Error::NotSynch));
        let synch = synchronizable("EX4", 1);
        engine.register_obj(asa, &synch, Default::default()).unwrap();
        assert_eq!(engine.req_negotiate(asa, &synch, None, None), Err(Error::NotNeg));
    });
    assert!(bench.peer.heard_within(FLOOD, crate::peer::QUIET).is_none());
}

#[test]
fn c_obj_09_a_request_has_the_objectives_own_loop_count_or_6() {
    isolated!();
    let bench = Bench::new();
    let own = Objective { loop_count: 9, ..negotiable("EX4", 1) };
    for (objective, count) in [(negotiable("EX3", 1), 6), (own, 9)] {
        let pending = bench.negotiate(&objective, None);
        assert_eq!(items(&items(&pending.request)[2])[2], cbor!(count));
    }
    let own = Objective { loop_count: 9, ..synchronizable("EX6", ()) };
    for (objective, count) in [(synchronizable("EX5", ()), 6), (own, 9)] {
        let pending = bench.synchronize(&objective, None);
        assert_eq!(items(&items(&pending.request)[2])[2], cbor!(count));
    }
}

/// `[tag 1 time, half, single and double floats that are equal, bignums, a map with odd keys, an indefinite
/// array, undefined, a simple value, an embedded item]`.
const STRANGE: &[u8] = &[
    0x8b, 0xc1, 0x1a, 0x51, 0x4b, 0x67, 0xb0, 0xf9, 0x3c, 0x00, 0xfa, 0x3f, 0x80, 0, 0, 0xfb, 0x3f, 0xf0, 0,
    0, 0, 0, 0, 0, 0xc2, 0x49, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xc3, 0x49, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0xf6,
    1, 0x80, 2, 0xf6, 3, 0x9f, 1, 2, 0xff, 0xf7, 0xf8, 0xff, 0xd8, 0x18, 0x41, 0x00,
];

/// A flood with the strange value, whose loop count is this.
fn strange_flood(initiator: &[u8], loop_count: u8) -> Vec<u8> {
    let mut bytes = vec![0x85, 0x09, 0x1a, 0, 0, 0, 7, 0x50];
    bytes.extend(initiator);
    bytes.extend([0, 0x82, 0x84, 0x63, b'E', b'X', b'2', 0x05, loop_count]);
    bytes.extend(STRANGE);
    bytes.push(0x80);
    bytes
}

#[test]
fn c_obj_10_a_relayed_value_keeps_every_byte() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    bench.peer.multicast_bytes(&strange_flood(&bench.peer.initiator(), 6));
    let relayed = bench.far().heard(FLOOD).bytes;
    assert_eq!(relayed, strange_flood(&bench.peer.initiator(), 5));
    eventually(SOON, "the flood is cached", || bench.flooded("EX2").len() == 1);
    assert_eq!(bench.flooded("EX2")[0].objective.value, Value::decode(STRANGE).unwrap());
}

#[test]
fn c_obj_10_a_negotiated_and_a_synchronized_value_pass_unchanged() {
    isolated!();
    let bench = Bench::new();
    let value = Value::decode(STRANGE).unwrap();
    let pending = bench.negotiate(&negotiable("EX3", value.clone()), None);
    assert_eq!(items(&items(&pending.request)[2])[3], value);
    let offer = cbor!([5, (pending.session()), ["EX3", 3, 5, (value.clone())]]);
    let got = pending.answered(&offer).unwrap();
    assert!(matches!(got, Negotiation::Offer(_, offer) if offer.value == value));
    bench.publish(&synchronizable("EX4", value.clone()));
    let mut stream = bench.peer.call("EX4");
    stream.send(&cbor!([4, 7, ["EX4", 5, 6, ()]]));
    assert_eq!(items(&items(&stream.receive())[2])[3], value);
}
