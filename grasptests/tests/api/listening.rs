//! The listening side of a negotiation: who is woken, who is refused, which sessions are the same.

use std::net::Ipv6Addr;
use std::time::Duration;

use grasp::wire::{Body, Flags, Outcome};
use grasp::{Acp, Config, Error, Negotiation, Objective, Value};
use grasptests::isolated;
use grasptests::lab::eventually;
use grasptests::nodes::{
    Host, RawStream, SOON, at_once, failure, flagged, joined, negotiable, offer, one, overlapping, step,
    synchronizable, two,
};

/// One host that has registered EX1.
fn server(config: Config) -> (grasptests::lab::Lab, Host) {
    let (lab, host) = one(config);
    host.register(&negotiable("EX1", 1));
    (lab, host)
}

/// A hand-made client that has sent a request for EX1.
fn request(host: &Host, session: u32) -> RawStream {
    let mut client = host.client("EX1");
    client.say(Body::RequestNegotiate(step(session, "EX1", 6, session)));
    client
}

#[test]
fn each_request_wakes_one_of_several_listeners() {
    isolated!();
    let (_lab, host) = server(Config::new());
    let listeners: Vec<_> = (0..3).map(|_| host.listen(&negotiable("EX1", 0))).collect();
    assert_eq!(host.listeners("EX1"), 3);
    let first = request(&host, 1);
    eventually(SOON, "one listener has returned", || host.listeners("EX1") == 2);
    let others = [request(&host, 2), request(&host, 3)];
    let mut woken: Vec<_> = listeners.into_iter().map(|thread| joined(thread).unwrap()).collect();
    woken.sort_by_key(|(session, _)| session.id_value);
    for (number, (session, objective)) in (1..).zip(woken) {
        assert_eq!((session.id_value, session.id_source), (number, Some(Ipv6Addr::LOCALHOST)));
        let expected = Objective { value: number.into(), ..negotiable("EX1", ()) };
        assert_eq!(objective, expected, "value and loop count are the peer's");
    }
    assert_eq!(host.engine.open_sessions(), 3);
    drop((first, others));
}

#[test]
fn the_answer_counts_down_from_what_was_received() {
    isolated!();
    let (_lab, host) = server(Config::new());
    let listener = host.listen(&negotiable("EX1", 0));
    let mut client = request(&host, 9);
    let (session, held) = joined(listener).unwrap();
    assert_eq!(held.loop_count, 6);
    let server = host.thread(move |engine, asa| {
        let answer = Objective { value: "answer".into(), ..held };
        let (_, held) = offer(engine.negotiate_step(asa, session, &answer, None));
        assert_eq!((held.loop_count, held.value.clone()), (4, Value::from("counter")));
        engine.negotiate_step(asa, session, &held, None)
    });
    assert_eq!(client.hear().body, Body::Negotiate(step(9, "EX1", 5, "answer")));
    client.say(Body::Negotiate(step(9, "EX1", 4, "counter")));
    assert_eq!(client.hear().body, Body::Negotiate(step(9, "EX1", 3, "counter")));
    client.say(Body::End { session: 9, outcome: Outcome::Accept });
    client.expect_end();
    assert!(matches!(joined(server), Ok(Negotiation::Agreed(agreed)) if agreed.loop_count == 4));
    host.expect_quiet();
}

#[test]
fn who_does_not_listen_is_no_peer() {
    isolated!();
    let (_lab, near, far) = two(Config::new().listen_grace(Duration::from_millis(50)));
    near.register(&negotiable("EX1", 1));
    far.register(&negotiable("EX1", 1));
    let locator = far.locator("EX1");
    let ask = || {
        near.run(|engine, asa| {
            at_once(|| engine.req_negotiate(asa, &negotiable("EX1", 1), Some(&locator), Some(20_000)))
        })
    };
    assert_eq!(ask(), Err(Error::NoPeer), "nobody has ever listened");
    let listener = far.listen(&negotiable("EX1", 0));
    far.engine.stop_negotiate(far.asa, &negotiable("EX1", 0)).unwrap();
    assert_eq!(failure(joined(listener)), Error::NoSession);
    assert_eq!(ask(), Err(Error::NoPeer), "nobody listens any more");

    let listener = far.listen(&negotiable("EX1", 0));
    let _first = request(&far, 1);
    joined(listener).unwrap();
    assert_eq!(ask(), Err(Error::NoPeer), "nobody listened again in time");
    assert_eq!(far.engine.stats().refused_not_listening, 3);
    far.engine.deregister_obj(far.asa, &negotiable("EX1", 0)).unwrap();
    assert_eq!(ask(), Err(Error::SockErrNegRq), "the port is closed");
}

#[test]
fn a_request_waits_for_a_listener_who_has_just_been_busy() {
    isolated!();
    let (_lab, host) = server(Config::new().listen_grace(Duration::from_secs(20)));
    let listener = host.listen(&negotiable("EX1", 0));
    let _first = request(&host, 1);
    joined(listener).unwrap();
    let _second = request(&host, 2);
    eventually(SOON, "the second request is here", || host.engine.stats().negotiation_requests == 2);
    let again = host.listen(&negotiable("EX1", 0));
    assert_eq!(at_once(|| joined(again)).unwrap().0.id_value, 2);
    assert_eq!(host.engine.stats().refused_not_listening, 0);
}

/// The peer is told at once which limit is the reason, so that it does not think that nobody listens.
#[track_caller]
fn expect_declined(client: &mut RawStream, session: u32, reason: &str) {
    let outcome = Outcome::Decline(Some(reason.to_owned()));
    assert_eq!(at_once(|| client.hear().body), Body::End { session, outcome });
}

#[test]
fn so_many_requests_wait_and_the_next_is_refused() {
    isolated!();
    let (_lab, host) = server(Config::new().listen_grace(Duration::from_secs(20)).request_queue(2));
    let listener = host.listen(&negotiable("EX1", 0));
    let _first = request(&host, 1);
    joined(listener).unwrap();
    let _waiting = [request(&host, 2), request(&host, 3)];
    eventually(SOON, "both wait", || host.engine.stats().request_queue_peak == 2);
    let mut refused = request(&host, 4);
    expect_declined(&mut refused, 4, "too many requests");
    assert_eq!(host.engine.stats().refused_queue_full, 1);
    let mut served: Vec<_> = (0..2)
        .map(|_| {
            host.run(|engine, asa| engine.listen_negotiate(asa, &negotiable("EX1", 0))).unwrap().0.id_value
        })
        .collect();
    served.sort_unstable();
    assert_eq!(served, [2, 3], "those that wait are not lost");
}

#[test]
fn one_peer_has_several_sessions_about_one_objective() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    near.register(&negotiable("EX1", 1));
    far.register(&negotiable("EX1", 1));
    let locator = far.locator("EX1");
    let listeners: Vec<_> = (0..4).map(|_| far.listen(&negotiable("EX1", 0))).collect();
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let locator = locator.clone();
            near.thread(move |engine, asa| {
                let asked = negotiable("EX1", number);
                let (session, held) = offer(engine.req_negotiate(asa, &asked, Some(&locator), None));
                engine.end_negotiate(asa, session, true, None).unwrap();
                (number, held.value.as_i64())
            })
        })
        .collect();
    let sessions: Vec<_> = listeners.into_iter().map(|thread| joined(thread).unwrap()).collect();
    assert_eq!((near.engine.open_sessions(), far.engine.open_sessions()), (4, 4));
    // Answered in another order than they came: each answer reaches its own session.
    for (session, held) in sessions.into_iter().rev() {
        let doubled = Objective { value: (held.value.as_i64().unwrap() * 2).into(), ..held };
        let end = far.run(|engine, asa| engine.negotiate_step(asa, session, &doubled, None));
        assert!(matches!(end, Ok(Negotiation::Agreed(_))), "{end:?}");
    }
    for thread in clients {
        let (asked, answered) = joined(thread);
        assert_eq!(answered, Some(asked * 2));
    }
    near.expect_quiet();
    far.expect_quiet();
}

#[test]
fn one_identifier_is_one_session_for_each_source() {
    isolated!();
    let (_lab, host) = server(Config::new());
    let listen = || host.listen(&negotiable("EX1", 0));
    let first_listener = listen();
    let mut first = request(&host, 7);
    let (session, held) = joined(first_listener).unwrap();

    // A repeated identifier is refused, and whoever listens goes on and hears the next request.
    let second_listener = listen();
    for clashes in 1..=3 {
        let mut second = request(&host, 7);
        at_once(|| second.expect_end());
        assert_eq!((host.engine.stats().session_clashes, host.engine.open_sessions()), (clashes, 1));
    }

    let ula = host.node.ula().unwrap();
    let mut third = RawStream::connect(&host.node, ula, host.port("EX1"));
    third.say(Body::RequestNegotiate(step(7, "EX1", 6, 3)));
    let (other, _) = joined(second_listener).unwrap();
    assert_eq!((other.id_value, other.id_source), (7, Some(ula)));
    let step = host.thread(move |engine, asa| engine.negotiate_step(asa, session, &held, None));
    assert!(matches!(first.hear().body, Body::Negotiate(_)), "the first session goes on");
    first.say(Body::End { session: 7, outcome: Outcome::Accept });
    assert!(joined(step).is_ok());

    let fourth_listener = listen();
    let _fourth = request(&host, 7);
    assert_eq!(joined(fourth_listener).unwrap().0, session, "what has ended may come again");
}

#[test]
fn listening_and_stopping_check_in_order() {
    isolated!();
    let (_lab, host) = server(Config::new().acp(Acp::None));
    let gone = host.gone();
    let listen = |who: &Host, objective: &Objective| {
        failure(who.run(|engine, asa| engine.listen_negotiate(asa, objective)))
    };
    let stop = |who: &Host, objective: &Objective| who.engine.stop_negotiate(who.asa, objective);
    let both = Objective { synch: true, ..negotiable("EX9", 1) };
    assert_eq!((listen(&gone, &both), failure(stop(&gone, &both))), (Error::NotBoth, Error::NotBoth));
    let strange = negotiable("EX9", 1);
    assert_eq!((listen(&gone, &strange), failure(stop(&gone, &strange))), (Error::NoAsa, Error::NoAsa));
    assert_eq!(
        (listen(&host, &strange), failure(stop(&host, &strange))),
        (Error::NotYourObj, Error::NotYourObj)
    );
    assert_eq!(listen(&host, &synchronizable("EX9", 1)), Error::NotNeg, "15 comes before 16");
    let hidden = Objective { discoverable: false, ..negotiable("EX1", 1) };
    assert_eq!(listen(&host, &hidden), Error::NotNeg);
    assert_eq!(listen(&host, &negotiable("EX1", 1)), Error::NoSecurity);
    assert_eq!(stop(&host, &negotiable("EX1", 1)), Ok(()), "stopping asks for no security");
}

#[test]
fn stopping_wakes_all_listeners_of_one_asa_and_no_others() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let other = host.another("other");
    let shared = negotiable("EX1", 1);
    host.register_with(&shared, overlapping());
    other.register_with(&shared, overlapping());
    let mine: Vec<_> = (0..3).map(|_| host.listen(&shared)).collect();
    let theirs = other.listen(&shared);
    host.engine.stop_negotiate(host.asa, &shared).unwrap();
    for thread in mine {
        assert_eq!(failure(at_once(|| joined(thread))), Error::NoSession);
    }
    let _client = request(&host, 5);
    assert_eq!(joined(theirs).unwrap().0.id_value, 5);
    let again = host.listen(&shared);
    let _client = request(&host, 6);
    assert_eq!(joined(again).unwrap().0.id_value, 6, "who stopped may listen again");
}

#[test]
fn sessions_outlive_the_listening_and_the_objective() {
    isolated!();
    let (_lab, host) = server(Config::new());
    let listener = host.listen(&negotiable("EX1", 0));
    let mut client = request(&host, 1);
    let (session, _) = joined(listener).unwrap();
    host.engine.stop_negotiate(host.asa, &negotiable("EX1", 0)).unwrap();
    host.engine.deregister_obj(host.asa, &negotiable("EX1", 0)).unwrap();
    host.engine.end_negotiate(host.asa, session, false, Some("closing time")).unwrap();
    let outcome = Outcome::Decline(Some("closing time".to_owned()));
    assert_eq!(client.hear().body, Body::End { session: 1, outcome });
    client.expect_end();
}

#[test]
fn what_is_no_request_for_the_objective_is_closed() {
    isolated!();
    let (_lab, host) = server(Config::new());
    host.register(&synchronizable("EX2", 1));
    let listener = host.listen(&negotiable("EX1", 0));
    let synch = Flags::F_DISC | Flags::F_SYNCH;
    let cases = [
        ("an unknown name", Body::RequestNegotiate(step(1, "EX9", 6, 1))),
        ("the name in other letters", Body::RequestNegotiate(step(1, "ex1", 6, 1))),
        ("a request without the neg bit", Body::RequestNegotiate(flagged(1, "EX1", synch, 6, 1))),
        ("the wrong kind of request", Body::RequestSynchronize(flagged(1, "EX1", synch, 6, 1))),
        ("negotiation of a value", Body::RequestNegotiate(step(1, "EX2", 6, 1))),
        ("a step", Body::Negotiate(step(1, "EX1", 6, 1))),
        ("M_INVALID", Body::Invalid { session: 1, content: None }),
    ];
    for (what, body) in cases {
        let mut client = host.client("EX1");
        client.say(body);
        at_once(|| client.expect_end());
        assert!(!listener.is_finished(), "{what}");
    }
    for bytes in [&[0xff][..], &[0x05], &[0x83, 0x03, 0x01]] {
        let mut client = host.client("EX1");
        client.write(bytes);
        client.finish();
        at_once(|| client.expect_end());
    }
    let mut client = host.client("EX1");
    let pieces = grasp::wire::encode(&Body::RequestNegotiate(step(8, "EX1", 6, 1)).into());
    client.dribble(&pieces);
    assert_eq!(joined(listener).unwrap().0.id_value, 8, "one in pieces is one");
    assert_eq!(host.engine.open_sessions(), 1);
}

#[test]
fn a_silent_client_is_cut_off_and_holds_up_nobody() {
    isolated!();
    let deadline = Duration::from_millis(400);
    let (_lab, host) = server(Config::new().request_deadline(deadline));
    let mut silent = host.client("EX1");
    let mut slow = host.client("EX1");
    slow.write(&[0x83]);
    let listener = host.listen(&negotiable("EX1", 0));
    let _client = request(&host, 1);
    at_once(|| joined(listener)).unwrap();
    silent.expect_end();
    slow.expect_end();
    eventually(SOON, "both are counted", || host.engine.stats().dropped_bad_request == 2);
}

#[test]
fn a_session_that_the_peer_has_left_shows_at_the_next_step() {
    isolated!();
    let (_lab, host) = server(Config::new());
    let listener = host.listen(&negotiable("EX1", 0));
    drop(request(&host, 1));
    let (session, held) = joined(listener).unwrap();
    let step = host.run(|engine, asa| engine.negotiate_step(asa, session, &held, Some(2000)));
    // The end of the stream, or the reset that answers our step: both are races the peer has started.
    let error = failure(step);
    assert!([Error::NoPeer, Error::NoNegReply].contains(&error), "{error:?}");
    host.expect_quiet();
}

#[test]
fn who_has_been_silent_longest_makes_room() {
    isolated!();
    let (_lab, host) = server(Config::new().reader_limit(2).request_deadline(SOON * 3));
    let mut silent: Vec<_> = Vec::new();
    for number in 1..=3 {
        silent.push(host.client("EX1"));
        eventually(SOON, "it is accepted", || host.engine.stats().connections_accepted == number);
    }
    at_once(|| silent[0].expect_end());
    assert_eq!(host.engine.stats().dropped_reader_full, 1);
    let listener = host.listen(&negotiable("EX1", 0));
    silent[2].say(Body::RequestNegotiate(step(3, "EX1", 6, 1)));
    assert_eq!(joined(listener).unwrap().0.id_value, 3);
}

#[test]
fn so_many_sessions_are_open_and_no_more() {
    isolated!();
    let (_lab, host) = server(Config::new().session_limit(2));
    // The handles of ASAs are no sessions.
    let _others = [host.another("b"), host.another("c"), host.another("d")];
    let accepted = |session| {
        let listener = host.listen(&negotiable("EX1", 0));
        let client = request(&host, session);
        (joined(listener), client)
    };
    let (first, _one) = accepted(1);
    let (second, _two) = accepted(2);
    assert!(first.is_ok() && second.is_ok());
    let listener = host.listen(&negotiable("EX1", 0));
    expect_declined(&mut request(&host, 3), 3, "too many sessions");
    assert!(!listener.is_finished(), "it goes on listening");
    assert_eq!((host.engine.stats().session_limit, host.engine.open_sessions()), (1, 2));
    let peer = grasptests::nodes::RawPeer::on(&host.node);
    let locator = peer.locator();
    let asked =
        host.run(|engine, asa| engine.req_negotiate(asa, &negotiable("EX1", 1), Some(&locator), Some(1)));
    assert_eq!(asked, Err(Error::Unspec), "nor can one be opened from here");
    at_once(|| peer.accept().expect_end());
    host.engine.end_negotiate(host.asa, first.unwrap().0, true, None).unwrap();
    let _four = request(&host, 4);
    assert!(joined(listener).is_ok(), "until one has ended");
}

#[test]
fn who_has_begun_to_listen_misses_nothing() {
    isolated!();
    let (_lab, host) = server(Config::new().listen_grace(Duration::ZERO));
    let server = host.thread(|engine, asa| {
        while let Ok((session, _)) = engine.listen_negotiate(asa, &negotiable("EX1", 0)) {
            engine.end_negotiate(asa, session, false, None).unwrap();
        }
    });
    for session in 0..300 {
        eventually(SOON, "somebody listens", || host.listeners("EX1") == 1);
        assert!(request(&host, session).read().is_some(), "request {session} was refused");
    }
    eventually(SOON, "it listens again", || host.listeners("EX1") == 1);
    host.engine.stop_negotiate(host.asa, &negotiable("EX1", 0)).unwrap();
    joined(server);
}
