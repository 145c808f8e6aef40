//! Constants and message formats (RFC 8990 §2.6, §2.8, §4): what shows on the wire. The shapes themselves are
//! tested with the codec.

use std::fs;

use grasp::{Config, Negotiation, Objective, TaggedObjective, Value, constants};
use grasptests::isolated;

use crate::bench::{Bench, negotiable, synchronizable};
use crate::peer::{DISCOVERY, FLOOD, items, response};

#[test]
fn c_const_01_the_group_is_joined_and_heard_on_every_interface() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    let listing = bench.home.run(|| fs::read_to_string("/proc/thread-self/net/igmp6")).unwrap();
    for interface in ["eth0", "eth1"] {
        let joined =
            |line: &&str| line.contains(interface) && line.contains("ff020000000000000000000000000013");
        assert!(listing.lines().any(|line| joined(&line)), "{listing}");
    }
    bench.publish(&synchronizable("EX4", 1));
    for peer in [&bench.peer, bench.far()] {
        peer.ask(7, "EX4");
        peer.only_response(7);
    }
}

#[test]
fn c_const_03_multicasts_to_port_7017_are_heard() {
    isolated!();
    let bench = Bench::new();
    bench.publish(&synchronizable("EX4", 1));
    assert_eq!(constants::GRASP_LISTEN_PORT, 7017);
    bench.peer.ask(7, "EX4");
    bench.peer.only_response(7);
}

#[test]
fn c_const_04_the_defaults_are_those_of_the_rfc() {
    isolated!();
    let config = format!("{:?}", Config::new());
    for setting in ["default_timeout: 60000,", "unicast_size: 2048,"] {
        assert!(config.contains(setting), "{config}");
    }
    assert_eq!(Objective::new("EX1").loop_count, 6);
    let bench = Bench::new();
    drop(bench.discover_first("EX1"));
    let heard = bench.peer.heard(DISCOVERY).message;
    assert_eq!(items(&items(&heard)[3])[2], cbor!(6));
}

#[test]
fn c_msg_12_what_is_sent_is_one_cbor_item_and_nothing_else() {
    isolated!();
    let bench = Bench::new();
    let flooded = synchronizable("EX2", "x");
    bench.publish(&flooded);
    bench.flood(1000, &[TaggedObjective::new(flooded, None)]).unwrap();
    let heard = bench.peer.heard(FLOOD);
    assert_eq!(heard.bytes, heard.message.encode(), "nothing before, nothing behind, preferred form");
    let mut stream = bench.peer.call("EX2");
    let bytes = cbor!([4, 7, ["EX2", 5, 6, ()]]).encode();
    stream.send_bytes(&bytes);
    assert_eq!(stream.receive_bytes(), cbor!([8, 7, ["EX2", 5, 6, "x"]]).encode());
    stream.closed();
}

#[test]
fn c_msg_13_options_that_do_not_belong_are_dropped_not_fatal() {
    isolated!();
    let bench = Bench::new();
    // In a response: an Accept, a Decline, an unknown option, a malformed locator and a number around a good one.
    let strange =
        vec![cbor!([101]), cbor!([102, "no"]), cbor!([199, 1]), cbor!([103, (vec![1u8; 4]), 6, 1]), cbor!(5)];
    let options = [strange.clone(), vec![bench.peer.locator(4711)], strange].concat();
    let found = bench.learn(&bench.peer, "EX1", 60_000, options);
    assert_eq!(found.iter().map(|one| one.port).collect::<Vec<_>>(), [Some(4711)]);
    // In an end: a locator beside the Accept.
    let objective = negotiable("EX3", 1);
    let pending = bench.negotiate(&objective, None);
    let session = pending.session();
    let here = bench.peer.locator(1);
    let end = Value::Array(vec![cbor!(6), cbor!(session), here, cbor!([101]), cbor!([199])]);
    assert_eq!(pending.answered(&end), Ok(Negotiation::Agreed(objective)));
    // In a wait and a counter-offer: whatever follows.
    let objective = negotiable("EX5", 1);
    let mut pending = bench.negotiate(&objective, None);
    let session = pending.session();
    pending.stream.send(&cbor!([7, session, 9000, [101]]));
    let offer = pending.answered(&cbor!([5, session, ["EX5", 3, 5, 2], [102]])).unwrap();
    assert!(matches!(offer, Negotiation::Offer(_, offer) if offer.value == Value::from(2)));
}

#[test]
fn c_msg_14_an_unknown_message_in_a_session_is_discarded() {
    isolated!();
    let bench = Bench::new();
    let objective = negotiable("EX3", 1);
    let mut pending = bench.negotiate(&objective, None);
    let session = pending.session();
    pending.stream.send(&cbor!([42, session]));
    pending.stream.send(&cbor!([255, session, "?", [1, 2]]));
    pending.stream.silent();
    assert_eq!(pending.answered(&cbor!([6, session, [101]])), Ok(Negotiation::Agreed(objective)));
    let mut pending = bench.synchronize(&synchronizable("EX4", ()), None);
    let session = pending.session();
    pending.stream.send(&cbor!([42, session]));
    let value = pending.answered(&cbor!([8, session, ["EX4", 5, 6, 9]])).unwrap().value;
    assert_eq!(value, Value::from(9));
}

#[test]
fn c_msg_14_an_unknown_message_before_a_request_is_discarded() {
    isolated!();
    let bench = Bench::new();
    bench.publish(&synchronizable("EX4", "v"));
    let mut stream = bench.peer.call("EX4");
    stream.send(&cbor!([42, 7]));
    stream.send(&cbor!([4, 8, ["EX4", 5, 6, ()]]));
    assert_eq!(stream.receive(), cbor!([8, 8, ["EX4", 5, 6, "v"]]));
}

#[test]
fn c_msg_14_an_unknown_message_before_a_response_is_discarded() {
    isolated!();
    let bench = Bench::new();
    let found = bench.discover_first("EX1");
    let heard = bench.peer.heard(DISCOVERY);
    let mut stream = bench.peer.connect(heard.answer_to());
    stream.send(&cbor!([42, 7]));
    stream.send(&response(&heard, 1000, vec![bench.peer.locator(1)]));
    assert_eq!(found.join().unwrap().unwrap().len(), 1);
}

#[test]
fn c_msg_15_an_unknown_multicast_is_discarded_silently() {
    isolated!();
    let bench = Bench::new();
    bench.publish(&synchronizable("EX4", 1));
    bench.peer.multicast(&cbor!([42, 7, (bench.peer.initiator()), ["EX4", 5, 6, ()]]));
    bench.peer.multicast(&cbor!([255]));
    bench.peer.ask(8, "EX4");
    bench.peer.only_response(8);
    assert_eq!(bench.engine.stats().dropped_unknown_type, 2);
    assert!(!bench.peer.hears_anything(std::time::Duration::from_millis(1)));
    assert_eq!(bench.engine.stats().dropped_malformed, 0);
}
