//! Wait, end, invalid, no-op (RFC 8990 §2.8.8, §2.8.9, §2.8.12, §2.8.13).

use std::time::{Duration, Instant};

use grasp::{Error, Negotiation, Value};
use grasptests::isolated;

use crate::bench::{Bench, Pending, negotiable, synchronizable};
use crate::peer::{DISCOVERY, SOON, response};

#[test]
fn c_end_01_an_end_is_one_accept_or_one_decline() {
    isolated!();
    let bench = Bench::new();
    for options in [
        vec![],
        vec![cbor!([101]), cbor!([102])],
        vec![cbor!([101]), cbor!([101])],
        vec![cbor!([101, 1])],
        vec![cbor!([102, 1])],
        vec![cbor!([103])],
        vec![bench.peer.locator(1)],
    ] {
        let mut pending = bench.negotiate(&negotiable("EX3", 1), None);
        let end = Value::Array([vec![cbor!(6), cbor!(pending.session())], options].concat());
        pending.stream.send(&end);
        pending.stream.closed();
        assert_eq!(pending.result(), Err(Error::InvalidEnd), "{end}");
    }
}

#[test]
fn c_end_02_a_wait_is_a_time_and_nothing_else() {
    isolated!();
    let bench = Bench::new();
    let _server = bench.serve(&negotiable("EX3", 0), |engine, asa, session, _| {
        engine.negotiate_wait(asa, session, Some(123)).unwrap();
        engine.negotiate_wait(asa, session, None).unwrap();
        engine.end_negotiate(asa, session, true, None).unwrap();
    });
    let mut stream = bench.peer.call("EX3");
    stream.send(&cbor!([3, 7, ["EX3", 3, 6, 0]]));
    assert_eq!(stream.receive(), cbor!([7, 7, 123]));
    assert_eq!(stream.receive(), cbor!([7, 7, 60_000]));
    for time in [cbor!(-1), cbor!(1u64 << 32), cbor!(1.0), cbor!(())] {
        let pending = bench.negotiate(&negotiable("EX4", 1), None);
        let wait = Value::Array(vec![cbor!(7), cbor!(pending.session()), time]);
        assert_eq!(pending.answered(&wait), Err(Error::NoValidStep), "{wait}");
    }
}

#[test]
fn c_end_03_a_longer_waiting_time_replaces_the_timer() {
    isolated!();
    let bench = Bench::new();
    let objective = negotiable("EX3", 1);
    let mut pending = bench.negotiate(&objective, Some(1000));
    pending.stream.send(&cbor!([7, (pending.session()), 60_000]));
    // Begun later and told to wait no longer: when this one gives up, the first timer is over.
    let later = bench.negotiate(&negotiable("EX4", 1), Some(1000));
    let Pending { result, stream: _open, .. } = later;
    assert_eq!(result.join().unwrap(), Err(Error::NoNegReply));
    let accept = cbor!([6, (pending.session()), [101]]);
    assert_eq!(pending.answered(&accept), Ok(Negotiation::Agreed(objective)));
}

#[test]
fn c_end_03_a_shorter_waiting_time_replaces_the_timer_too() {
    isolated!();
    let bench = Bench::new();
    let mut pending = bench.negotiate(&negotiable("EX3", 1), Some(60_000));
    let started = Instant::now();
    pending.stream.send(&cbor!([7, (pending.session()), 300]));
    pending.stream.closed();
    assert_eq!(pending.result(), Err(Error::NoNegReply));
    assert!(started.elapsed() >= Duration::from_millis(300) && started.elapsed() < 2 * SOON);
}

#[test]
fn c_end_04_an_expired_waiting_time_is_a_failure() {
    isolated!();
    let bench = Bench::new();
    let mut pending = bench.negotiate(&negotiable("EX3", 1), Some(60_000));
    // The second replaces the first.
    pending.stream.send(&cbor!([7, (pending.session()), 50_000]));
    pending.stream.send(&cbor!([7, (pending.session()), 300]));
    pending.stream.closed();
    let session = pending.session();
    assert_eq!(pending.result.join().unwrap(), Err(Error::NoNegReply));
    assert_eq!(bench.engine.open_sessions(), 0, "{session}");
}

#[test]
fn c_end_05_an_invalid_message_copies_the_identifier_and_is_no_longer_than_allowed() {
    isolated!();
    let bench = Bench::new();
    let _server = bench.serve(&negotiable("EX3", 0), |engine, asa, session, offer| {
        let long = Value::from(vec![0u8; 2048]);
        assert_eq!(engine.send_invalid(asa, session, Some(long)), Err(Error::Unspec));
        let info = offer.value.as_array().map(|items| items[0].clone());
        engine.send_invalid(asa, session, info).unwrap();
    });
    for (value, content) in [(cbor!([["what", 7]]), cbor!(["what", 7])), (cbor!(0), cbor!("No information"))]
    {
        let mut stream = bench.peer.call("EX3");
        stream.send(&Value::Array(vec![
            cbor!(3),
            cbor!(7),
            Value::Array(vec![cbor!("EX3"), cbor!(3), cbor!(6), value]),
        ]));
        assert_eq!(stream.receive(), Value::Array(vec![cbor!(99), cbor!(7), content]));
        stream.closed();
    }
}

#[test]
fn c_end_06_nothing_invalid_is_answered_with_invalid() {
    isolated!();
    let bench = Bench::new();
    let _server = bench.accept_all("EX3");
    for invalid in [cbor!([99, 7]), cbor!([99, 7, ["why"]])] {
        let mut pending = bench.negotiate(&negotiable("EX4", 1), None);
        pending.stream.send(&invalid);
        pending.stream.closed();
        let mut stream = bench.peer.call("EX3");
        stream.send(&invalid);
        stream.closed();
        bench.peer.multicast(&invalid);
    }
    assert!(!bench.peer.hears_anything(crate::peer::QUIET));
}

#[test]
fn c_end_07_an_invalid_message_ends_the_session() {
    isolated!();
    let bench = Bench::new();
    let mut pending = bench.negotiate(&negotiable("EX3", 1), None);
    pending.stream.send(&cbor!([99, (pending.session()), "no"]));
    pending.stream.closed();
    assert_eq!(pending.result(), Err(Error::NoValidStep));
    let pending = bench.synchronize(&synchronizable("EX4", ()), None);
    let invalid = cbor!([99, (pending.session())]);
    assert_eq!(pending.answered(&invalid), Err(Error::NoValidSynch));
}

#[test]
fn c_end_08_a_noop_is_ignored_in_a_session() {
    isolated!();
    let bench = Bench::new();
    let objective = negotiable("EX3", 1);
    let mut pending = bench.negotiate(&objective, None);
    let session = pending.session();
    pending.stream.send(&cbor!([0]));
    pending.stream.send(&cbor!([7, session, 20_000]));
    pending.stream.send(&cbor!([0]));
    assert_eq!(pending.answered(&cbor!([6, session, [101]])), Ok(Negotiation::Agreed(objective)));
    let mut pending = bench.synchronize(&synchronizable("EX4", ()), None);
    let session = pending.session();
    pending.stream.send(&cbor!([0]));
    assert!(pending.answered(&cbor!([8, session, ["EX4", 5, 6, 1]])).is_ok());
}

#[test]
fn c_end_08_a_noop_is_ignored_before_a_request_and_before_a_response() {
    isolated!();
    let bench = Bench::new();
    bench.publish(&synchronizable("EX4", 1));
    let mut stream = bench.peer.call("EX4");
    stream.send(&cbor!([0]));
    stream.send(&cbor!([0]));
    stream.send(&cbor!([4, 7, ["EX4", 5, 6, ()]]));
    assert_eq!(stream.receive(), cbor!([8, 7, ["EX4", 5, 6, 1]]));
    let found = bench.discover_first("EX1");
    let heard = bench.peer.heard(DISCOVERY);
    let mut stream = bench.peer.connect(heard.answer_to());
    stream.send(&cbor!([0]));
    stream.send(&response(&heard, 1000, vec![bench.peer.locator(1)]));
    assert_eq!(found.join().unwrap().unwrap().len(), 1);
}

#[test]
fn c_end_08_a_noop_is_ignored_in_multicast() {
    isolated!();
    let bench = Bench::new();
    bench.publish(&synchronizable("EX4", 1));
    bench.peer.multicast(&cbor!([0]));
    bench.peer.multicast(&cbor!([0, 1]));
    bench.peer.ask(7, "EX4");
    bench.peer.only_response(7);
    assert_eq!(bench.engine.stats().noop_received, 2);
}
