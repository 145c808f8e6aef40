//! Negotiation (RFC 8990 §2.5.5, §2.8.6, §2.8.7).

use std::time::{Duration, Instant};

use grasp::{AsaLocator, Config, Error, Negotiation, Objective, Protocol, SessionNonce, Value};
use grasptests::isolated;
use grasptests::lab::eventually;

use crate::bench::{Bench, Pending, negotiable};
use crate::peer::{SOON, items, sid};

/// What a peer answers, given the identifier of the session.
type Answer = fn(u32) -> Value;

/// The engine has asked, the peer has made an offer with this loop count: the engine's turn.
fn offered(bench: &Bench, name: &str, loop_count: u8) -> (Pending<Negotiation>, SessionNonce, Objective) {
    let mut pending = bench.negotiate(&negotiable(name, 1), None);
    let session = pending.session();
    pending.stream.send(&cbor!([5, session, [name, 3, loop_count, 2]]));
    let Negotiation::Offer(handle, offer) = pending.result.join().unwrap().unwrap() else {
        panic!("no offer")
    };
    let result = bench.spawn(|_, _| Err(Error::NoReply));
    (Pending { result, ..pending }, handle, offer)
}

#[test]
fn c_neg_01_the_request_goes_to_the_discovered_locator_with_the_wanted_value() {
    isolated!();
    let bench = Bench::new();
    let server = bench.peer.listen();
    bench.learn(&bench.peer, "EX3", 60_000, vec![bench.peer.locator(server.port())]);
    let objective = negotiable("EX3", vec![Value::from("NZD"), Value::from(47)]);
    bench.register(&objective);
    let call = bench.spawn(move |engine, asa| engine.req_negotiate(asa, &objective, None, None));
    let mut stream = server.accept();
    let request = stream.receive();
    assert_eq!(request, cbor!([3, (sid(&request)), ["EX3", 3, 6, ["NZD", 47]]]));
    stream.send(&cbor!([6, (sid(&request)), [102]]));
    assert_eq!(call.join().unwrap(), Err(Error::Declined(None)));
}

#[test]
fn c_neg_02_a_silent_peer_is_a_failure_when_the_timer_expires() {
    isolated!();
    // By default 60000 ms (c_const_04).
    let bench = Bench::with(Config::new().default_timeout(400));
    for (name, timeout, expected) in [("EX3", Some(800), 800), ("EX4", None, 400), ("EX5", Some(0), 400)] {
        let started = Instant::now();
        let mut pending = bench.negotiate(&negotiable(name, 1), timeout);
        pending.stream.closed();
        assert_eq!(pending.result(), Err(Error::NoNegReply));
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(expected) && took < SOON, "{took:?}");
    }
    assert_eq!(bench.engine.open_sessions(), 0);
}

#[test]
fn c_neg_04_the_four_answers_to_a_request() {
    isolated!();
    let bench = Bench::new();
    let objective = negotiable("EX3", 1);
    let ask = || bench.negotiate(&objective, None);
    let pending = ask();
    let accept = cbor!([6, (pending.session()), [101]]);
    assert_eq!(pending.answered(&accept), Ok(Negotiation::Agreed(objective.clone())));
    let pending = ask();
    let decline = cbor!([6, (pending.session()), [102, "Недостаточно средств"]]);
    assert_eq!(pending.answered(&decline), Err(Error::Declined(Some("Недостаточно средств".to_owned()))));
    let pending = ask();
    let offer = cbor!([5, (pending.session()), ["EX3", 3, 5, 2]]);
    assert!(matches!(pending.answered(&offer), Ok(Negotiation::Offer(_, offer)) if offer.loop_count == 5));
    let mut pending = ask();
    pending.stream.send(&cbor!([7, (pending.session()), 9000]));
    pending.stream.silent();
    let accept = cbor!([6, (pending.session()), [101]]);
    assert_eq!(pending.answered(&accept), Ok(Negotiation::Agreed(objective)));
}

#[test]
fn c_neg_04_an_answer_of_another_session_or_kind_is_a_failure() {
    isolated!();
    let bench = Bench::new();
    let wrong: [(Answer, Error); 7] = [
        (|sid| cbor!([5, (sid ^ 1), ["EX3", 3, 5, 2]]), Error::NoValidStep),
        (|sid| cbor!([6, (sid ^ 1), [101]]), Error::NoValidStep),
        (|sid| cbor!([5, sid, ["EX4", 3, 5, 2]]), Error::InvalidNeg),
        (|sid| cbor!([5, sid, ["EX3", 5, 5, 2]]), Error::InvalidNeg),
        (|sid| cbor!([8, sid, ["EX3", 3, 5, 2]]), Error::NoValidStep),
        (|sid| cbor!([5, sid]), Error::NoValidStep),
        (|_| Value::Null, Error::NoValidStep),
    ];
    for (answer, error) in wrong {
        let mut pending = bench.negotiate(&negotiable("EX3", 1), None);
        let answer = answer(pending.session());
        pending.stream.send(&answer);
        pending.stream.closed();
        assert_eq!(pending.result(), Err(error), "{answer}");
    }
    let mut pending = bench.negotiate(&negotiable("EX3", 1), None);
    pending.stream.send_bytes(&[0xff]);
    assert_eq!(pending.result(), Err(Error::CborFail));
}

#[test]
fn c_neg_05_a_step_carries_the_objective_with_its_new_value() {
    isolated!();
    let bench = Bench::new();
    let (mut pending, handle, mut offer) = offered(&bench, "EX3", 5);
    offer.value = Value::from(vec![Value::from(1.5), Value::Null]);
    let step = bench.spawn(move |engine, asa| engine.negotiate_step(asa, handle, &offer, None));
    let session = pending.session();
    assert_eq!(pending.stream.receive(), cbor!([5, session, ["EX3", 3, 4, [1.5, ()]]]));
    pending.stream.send(&cbor!([6, session, [101]]));
    let Ok(Negotiation::Agreed(agreed)) = step.join().unwrap() else { panic!("not agreed") };
    assert_eq!(agreed.value.to_string(), "[1.5, null]");
}

#[test]
fn c_neg_06_the_sender_of_each_step_subtracts_one() {
    isolated!();
    let bench = Bench::new();
    let _server = bench.serve(&negotiable("EX3", 0), |engine, asa, session, mut offer| {
        // An ASA passes the loop count on as it got it.
        while let Ok(Negotiation::Offer(_, next)) = engine.negotiate_step(asa, session, &offer, None) {
            offer = next;
        }
    });
    let mut stream = bench.peer.call("EX3");
    stream.send(&cbor!([3, 7, ["EX3", 3, 6, 0]]));
    for (sent, answered) in [(4, 5), (2, 3)] {
        assert_eq!(stream.receive(), cbor!([5, 7, ["EX3", 3, answered, 0]]));
        stream.send(&cbor!([5, 7, ["EX3", 3, sent, 0]]));
    }
    assert_eq!(stream.receive(), cbor!([5, 7, ["EX3", 3, 1, 0]]));
    stream.send(&cbor!([6, 7, [101]]));
    // A peer that, like the RFC's example, repeats the count of the request in its first offer.
    let (mut pending, handle, offer) = offered(&bench, "EX4", 6);
    drop(bench.spawn(move |engine, asa| engine.negotiate_step(asa, handle, &offer, None)));
    assert_eq!(items(&items(&pending.stream.receive())[2])[2], cbor!(5));
}

#[test]
fn c_neg_07_a_loop_count_of_zero_is_not_sent() {
    isolated!();
    let bench = Bench::new();
    let (mut pending, handle, offer) = offered(&bench, "EX3", 1);
    let step = bench.run(|engine, asa| engine.negotiate_step(asa, handle, &offer, None));
    assert_eq!(step, Err(Error::LoopExhausted));
    pending.stream.silent();
    // The session is still there to be ended.
    bench.run(|engine, asa| engine.end_negotiate(asa, handle, false, Some("too long"))).unwrap();
    assert_eq!(pending.stream.receive(), cbor!([6, (pending.session()), [102, "too long"]]));
}

#[test]
fn c_neg_08_a_received_loop_count_of_zero_is_an_error() {
    isolated!();
    let bench = Bench::new();
    let mut pending = bench.negotiate(&negotiable("EX3", 1), None);
    pending.stream.send(&cbor!([5, (pending.session()), ["EX3", 3, 0, 2]]));
    pending.stream.closed();
    assert_eq!(pending.result(), Err(Error::NoValidStep));
    for count in [cbor!(256), cbor!(-1)] {
        let pending = bench.negotiate(&negotiable("EX3", 1), None);
        let objective = Value::Array(vec![cbor!("EX3"), cbor!(3), count, cbor!(2)]);
        let offer = Value::Array(vec![cbor!(5), cbor!(pending.session()), objective]);
        assert_eq!(pending.answered(&offer), Err(Error::NoValidStep));
    }
}

#[test]
fn c_neg_09_either_side_may_end_and_expects_no_reply() {
    isolated!();
    let bench = Bench::new();
    for (name, accept, end) in [("EX3", true, cbor!([101])), ("EX4", false, cbor!([102]))] {
        let (mut pending, handle, _) = offered(&bench, name, 5);
        bench.run(|engine, asa| engine.end_negotiate(asa, handle, accept, None)).unwrap();
        let expected = Value::Array(vec![cbor!(6), cbor!(pending.session()), end]);
        assert_eq!(pending.stream.receive(), expected);
        pending.stream.closed();
        let again = bench.run(|engine, asa| engine.end_negotiate(asa, handle, accept, None));
        assert_eq!(again, Err(Error::NoSession));
    }
    let _server = bench.accept_all("EX5");
    let mut stream = bench.peer.call("EX5");
    stream.send(&cbor!([3, 7, ["EX5", 3, 6, 0]]));
    assert_eq!(stream.receive(), cbor!([6, 7, [101]]));
    stream.closed();
    eventually(SOON, "all sessions are over", || bench.engine.open_sessions() == 0);
}

#[test]
fn c_neg_10_the_connection_is_closed_however_a_negotiation_ends() {
    isolated!();
    let bench = Bench::new();
    let mut pending = bench.negotiate(&negotiable("EX3", 1), None);
    pending.stream.send(&cbor!([6, (pending.session()), [101]]));
    pending.stream.closed();
    pending.result().unwrap();
    let pending = bench.negotiate(&negotiable("EX3", 1), None);
    pending.stream.reset();
    assert_eq!(pending.result.join().unwrap(), Err(Error::NoNegReply), "a broken transport");
    let pending = bench.negotiate(&negotiable("EX3", 1), None);
    drop(pending.stream);
    assert_eq!(pending.result.join().unwrap(), Err(Error::NoPeer), "a refusal");
    let mut pending = bench.negotiate(&negotiable("EX3", 1), None);
    pending.stream.send_bytes(&[0x83, 5]);
    drop(pending.stream);
    assert_eq!(pending.result.join().unwrap(), Err(Error::CborFail), "half a message");
    assert_eq!(bench.engine.open_sessions(), 0);
}

#[test]
fn c_neg_11_sessions_about_one_objective_with_one_peer_run_side_by_side() {
    isolated!();
    let bench = Bench::new();
    let _server = bench.serve(&negotiable("EX3", 0), |engine, asa, session, offer| {
        let answer = engine.negotiate_step(asa, session, &offer, None).unwrap();
        let Negotiation::Offer(_, last) = answer else { panic!("no offer") };
        engine.end_negotiate(asa, session, last.value == offer.value, None).unwrap();
    });
    let at = bench.peer.locate("EX3");
    let mut streams: Vec<_> = (0..10u32)
        .map(|session| {
            let mut stream = bench.peer.connect(at);
            stream.send(&cbor!([3, session, ["EX3", 3, 6, session]]));
            assert_eq!(stream.receive(), cbor!([5, session, ["EX3", 3, 5, session]]));
            stream
        })
        .collect();
    assert_eq!(bench.engine.open_sessions(), 10);
    for (session, stream) in (0..10u32).zip(&mut streams).rev() {
        stream.send(&cbor!([5, session, ["EX3", 3, 4, session]]));
        assert_eq!(stream.receive(), cbor!([6, session, [101]]));
    }
}

#[test]
fn c_neg_12_without_a_listener_the_connection_is_closed_at_once() {
    isolated!();
    // If it waited for the rest of a request, or for a listener, it would be for longer than the test.
    let bench = Bench::with(Config::new().listen_grace(SOON).request_deadline(4 * SOON));
    bench.register(&negotiable("EX3", 1));
    let at = bench.peer.locate("EX3");
    for name in ["EX3", "unheard of", "EX3", "EX3"] {
        let started = Instant::now();
        let mut stream = bench.peer.connect(at);
        stream.send(&cbor!([3, 7, [name, 3, 6, 0]]));
        stream.closed();
        assert!(started.elapsed() < Duration::from_secs(2));
    }
    // The port is as good as before.
    let listened = bench.spawn(|engine, asa| engine.listen_negotiate(asa, &negotiable("EX3", 1)));
    eventually(SOON, "somebody listens", || {
        let mut stream = bench.peer.connect(at);
        stream.send(&cbor!([3, 8, ["EX3", 3, 6, 5]]));
        listened.is_finished()
    });
    assert_eq!(listened.join().unwrap().unwrap().1.value, Value::from(5));
}

#[test]
fn c_neg_13_requests_go_over_tcp() {
    isolated!();
    let bench = Bench::new();
    let server = bench.peer.listen();
    let peer = bench.peer.global.unwrap();
    let udp =
        AsaLocator { protocol: Some(Protocol::Udp), ..AsaLocator::new(peer, None).with_port(server.port()) };
    let objective = negotiable("EX3", 1);
    bench.register(&objective);
    let refused = bench.run(|engine, asa| engine.req_negotiate(asa, &objective, Some(&udp), None));
    assert_eq!(refused, Err(Error::SockErrNegRq));
    assert!(server.nobody_comes());
    // And that it is TCP otherwise shows in every other test: the peer accepts a TCP connection.
    let pending = bench.negotiate(&objective, None);
    let accept = cbor!([6, (pending.session()), [101]]);
    assert_eq!(pending.answered(&accept), Ok(Negotiation::Agreed(objective)));
}
