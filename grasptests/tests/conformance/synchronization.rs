//! Synchronization (RFC 8990 §2.5.6.1, §2.8.10).

use std::time::{Duration, Instant};

use grasp::{Config, Error, Value};
use grasptests::isolated;

use crate::bench::{Bench, synchronizable};
use crate::peer::{SOON, sid};

#[test]
fn c_syn_01_a_request_is_answered_with_the_current_value() {
    isolated!();
    let bench = Bench::new();
    for value in [1, 2] {
        if value == 1 {
            bench.publish(&synchronizable("EX4", value));
        } else {
            bench.run(|engine, asa| engine.listen_synchronize(asa, &synchronizable("EX4", value))).unwrap();
        }
        let mut stream = bench.peer.call("EX4");
        stream.send(&cbor!([4, 7, ["EX4", 5, 6, ()]]));
        assert_eq!(stream.receive(), cbor!([8, 7, ["EX4", 5, 6, value]]));
    }
}

#[test]
fn c_syn_01_a_request_goes_to_the_discovered_locator() {
    isolated!();
    let bench = Bench::new();
    let server = bench.peer.listen();
    bench.learn(&bench.peer, "EX4", 60_000, vec![bench.peer.locator(server.port())]);
    let call =
        bench.spawn(|engine, asa| engine.synchronize(asa, &synchronizable("EX4", ()), None, Some(9000)));
    let mut stream = server.accept();
    let request = stream.receive();
    let session = sid(&request);
    assert_eq!(request, cbor!([4, session, ["EX4", 5, 6, ()]]));
    stream.send(&cbor!([8, session, ["EX4", 5, 6, "now"]]));
    assert_eq!(call.join().unwrap().unwrap().value, Value::from("now"));
}

#[test]
fn c_syn_02_both_ends_close_after_the_value() {
    isolated!();
    let bench = Bench::new();
    bench.publish(&synchronizable("EX4", 1));
    let mut stream = bench.peer.call("EX4");
    stream.send(&cbor!([4, 7, ["EX4", 5, 6, ()]]));
    stream.receive();
    stream.closed();
    let mut pending = bench.synchronize(&synchronizable("EX5", ()), None);
    pending.stream.send(&cbor!([8, (pending.session()), ["EX5", 5, 6, 1]]));
    pending.stream.closed();
    pending.result().unwrap();
}

#[test]
fn c_syn_03_a_silent_peer_is_a_failure_when_the_timer_expires() {
    isolated!();
    let bench = Bench::with(Config::new().default_timeout(400));
    for (timeout, expected) in [(Some(800), 800), (None, 400)] {
        let started = Instant::now();
        let mut pending = bench.synchronize(&synchronizable("EX4", ()), timeout);
        pending.stream.closed();
        assert_eq!(pending.result(), Err(Error::NoSynchReply));
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(expected) && took < SOON, "{took:?}");
    }
}

#[test]
fn c_syn_04_without_a_listener_the_connection_is_closed_at_once() {
    isolated!();
    let bench = Bench::with(Config::new().request_deadline(4 * SOON));
    let objective = synchronizable("EX4", 1);
    bench.register(&objective);
    let at = bench.peer.locate("EX4");
    for name in ["EX4", "unheard of", "EX4"] {
        let started = Instant::now();
        let mut stream = bench.peer.connect(at);
        stream.send(&cbor!([4, 7, [name, 5, 6, ()]]));
        stream.closed();
        assert!(started.elapsed() < Duration::from_secs(2));
    }
    bench.run(|engine, asa| engine.listen_synchronize(asa, &objective)).unwrap();
    let mut stream = bench.peer.connect(at);
    stream.send(&cbor!([4, 8, ["EX4", 5, 6, ()]]));
    assert_eq!(sid(&stream.receive()), 8);
    let pending = bench.synchronize(&objective, None);
    drop(pending.stream);
    assert_eq!(pending.result.join().unwrap(), Err(Error::NoListener));
}

#[test]
fn c_syn_05_a_value_of_another_name_or_session_is_not_accepted() {
    isolated!();
    let bench = Bench::new();
    let wrong: [fn(u32) -> Value; 4] = [
        |session| cbor!([8, (session ^ 1), ["EX4", 5, 6, 1]]),
        |session| cbor!([8, session, ["ex4", 5, 6, 1]]),
        |session| cbor!([5, session, ["EX4", 5, 6, 1]]),
        |session| cbor!([6, session, [101]]),
    ];
    for wrong in wrong {
        let pending = bench.synchronize(&synchronizable("EX4", ()), None);
        let answer = wrong(pending.session());
        assert_eq!(pending.answered(&answer), Err(Error::NoValidSynch), "{answer}");
    }
}
