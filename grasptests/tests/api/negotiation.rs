//! The asking side of a negotiation: loop counts, every answer a peer can give, errors in their order.

use std::time::{Duration, Instant};

use grasp::wire::{Body, Flags, Outcome, Step};
use grasp::{Acp, AsaLocator, Config, Error, Negotiation, Objective, Protocol, Result, SessionNonce, Value};
use grasptests::isolated;
use grasptests::lab::eventually;
use grasptests::nodes::{
    Host, RawPeer, RawStream, SOON, at_once, failure, flagged, joined, negotiable, offer, one, step,
    synchronizable, two,
};

const NEG: u64 = Flags::F_DISC | Flags::F_NEG;

/// Asks a hand-made peer for EX1 with a timeout in milliseconds; `answer` gets the session identifier.
fn asked(
    host: &Host,
    timeout: u32,
    answer: impl FnOnce(&mut RawStream, u32) + Send + 'static,
) -> Result<Negotiation> {
    let answer = move |mut stream: RawStream, request: grasp::wire::Message| {
        let Body::RequestNegotiate(Step { session, .. }) = request.body else { panic!("{request:?}") };
        answer(&mut stream, session);
        // Until the engine has closed its end, so that nothing else ends the session.
        while stream.read().is_some() {}
    };
    host.against(answer, |engine, asa, peer| {
        engine.req_negotiate(asa, &negotiable("EX1", 1), Some(peer), Some(timeout))
    })
}

/// One host that has registered EX1.
fn client() -> (grasptests::lab::Lab, Host) {
    let (lab, host) = one(Config::new().wait_limit(400));
    host.register(&negotiable("EX1", 1));
    (lab, host)
}

#[test]
fn every_answer_has_its_result() {
    isolated!();
    let (_lab, host) = client();
    let end = |outcome: Outcome| {
        asked(&host, 5000, move |stream, session| stream.say(Body::End { session, outcome }))
    };
    assert_eq!(end(Outcome::Accept), Ok(Negotiation::Agreed(negotiable("EX1", 1))));
    assert_eq!(end(Outcome::Decline(None)), Err(Error::Declined(None)));
    assert_eq!(end(Outcome::Decline(Some(String::new()))), Err(Error::Declined(None)));
    let reason = || Some("жадный".to_owned());
    assert_eq!(end(Outcome::Decline(reason())), Err(Error::Declined(reason())));
    let counter = host.against(
        |mut stream, request| {
            stream.say(Body::Negotiate(step(request.session().unwrap(), "EX1", 200, "two")));
            assert!(matches!(stream.hear().body, Body::End { outcome: Outcome::Accept, .. }));
            stream.expect_end();
        },
        |engine, asa, peer| {
            let (session, held) = offer(engine.req_negotiate(asa, &negotiable("EX1", 1), Some(peer), None));
            assert_eq!(session.id_source, None, "this side opened it");
            engine.end_negotiate(asa, session, true, None).unwrap();
            held
        },
    );
    assert_eq!((counter.value, counter.loop_count), (Value::from("two"), 200), "as received");
    host.expect_quiet();
}

#[test]
fn every_wrong_answer_has_its_error_and_ends_the_session() {
    isolated!();
    let (_lab, host) = client();
    let say = |body: fn(u32) -> Body| asked(&host, 5000, move |stream, session| stream.say(body(session)));
    let bytes = |bytes: &'static [u8]| {
        asked(&host, 5000, move |stream, _| {
            stream.write(bytes);
            stream.finish();
        })
    };
    let cases = [
        ("end of the stream", bytes(&[]), Error::NoPeer),
        ("half a message", bytes(&[0x83, 0x05]), Error::CborFail),
        ("a stray break", bytes(&[0xff]), Error::CborFail),
        ("an exabyte", bytes(&[0x5b, 0x7f, 0, 0, 0, 0, 0, 0, 0]), Error::CborFail),
        ("no array", bytes(&[0x05]), Error::NoValidStep),
        ("no message type", bytes(&[0x81, 0x61, 0x61]), Error::NoValidStep),
        ("other session", say(|id| Body::Negotiate(step(id ^ 1, "EX1", 5, 2))), Error::NoValidStep),
        (
            "end of another session",
            say(|id| Body::End { session: id ^ 1, outcome: Outcome::Accept }),
            Error::NoValidStep,
        ),
        ("wait of another session", say(|id| Body::Wait { session: id ^ 1, time: 1 }), Error::NoValidStep),
        ("a request", say(|id| Body::RequestNegotiate(step(id, "EX1", 5, 2))), Error::NoValidStep),
        ("a value", say(|id| Body::Synch(step(id, "EX1", 5, 2))), Error::NoValidStep),
        ("M_INVALID", say(|session| Body::Invalid { session, content: None }), Error::NoValidStep),
        (
            "M_INVALID of another",
            say(|id| Body::Invalid { session: id ^ 1, content: None }),
            Error::NoValidStep,
        ),
        ("loop count 0", say(|id| Body::Negotiate(step(id, "EX1", 0, 2))), Error::NoValidStep),
        ("another name", say(|id| Body::Negotiate(step(id, "EX2", 5, 2))), Error::InvalidNeg),
        ("no neg bit", say(|id| Body::Negotiate(flagged(id, "EX1", Flags::F_DISC, 5, 2))), Error::InvalidNeg),
        (
            "a dry offer",
            say(|id| Body::Negotiate(flagged(id, "EX1", NEG | Flags::F_NEG_DRY, 5, 2))),
            Error::InvalidNeg,
        ),
    ];
    for (what, result, expected) in cases {
        assert_eq!(result, Err(expected), "{what}");
    }
    let locator_option = asked(&host, 5000, |stream, session| {
        let option =
            Value::from(vec![Value::from(103), Value::from([0u8; 16].as_slice()), 6.into(), 1.into()]);
        stream.write(&Value::from(vec![Value::from(6), Value::from(session), option]).encode());
    });
    assert_eq!(locator_option, Err(Error::InvalidEnd));
    let number = asked(&host, 5000, |stream, session| {
        stream.write(&Value::from(vec![Value::from(5), Value::from(session), Value::from(0)]).encode());
    });
    assert_eq!(number, Err(Error::NoValidStep));
    let oversize = asked(&host, 5000, |stream, session| {
        stream.say(Body::Negotiate(step(session, "EX1", 5, vec![0u8; 2048])));
    });
    assert_eq!(oversize, Err(Error::CborFail));
    host.expect_quiet();
}

#[test]
fn a_broken_connection_is_no_answer() {
    isolated!();
    let (_lab, host) = client();
    let result = host.against(
        |stream, _| stream.reset(),
        |engine, asa, peer| engine.req_negotiate(asa, &negotiable("EX1", 1), Some(peer), Some(5000)),
    );
    assert_eq!(result, Err(Error::NoNegReply));
    host.expect_quiet();
}

#[test]
fn silence_is_waited_for_as_long_as_said_and_not_longer() {
    isolated!();
    let (_lab, host) = client();
    let started = Instant::now();
    assert_eq!(asked(&host, 300, |_, _| {}), Err(Error::NoNegReply));
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(295) && took < Duration::from_secs(3), "{took:?}");
    host.expect_quiet();
}

#[test]
fn m_wait_replaces_what_is_left_of_the_timeout() {
    isolated!();
    let (_lab, host) = client();
    let wait = |timeout, time| {
        let started = Instant::now();
        let result = asked(&host, timeout, move |stream, session| stream.say(Body::Wait { session, time }));
        assert_eq!(result, Err(Error::NoNegReply));
        started.elapsed()
    };
    let shorter = wait(30_000, 50);
    assert!(shorter < Duration::from_secs(3), "{shorter:?}");
    let longer = wait(50, 350);
    assert!(longer >= Duration::from_millis(345), "{longer:?}");
    assert!(wait(30_000, 0) < Duration::from_secs(3), "no time at all");
    // Config::wait_limit is 400 ms in this test.
    let limited = wait(50, u32::MAX);
    assert!(limited >= Duration::from_millis(395) && limited < Duration::from_secs(3), "{limited:?}");

    let patient = asked(&host, 200, |stream, session| {
        for _ in 0..3 {
            stream.say(Body::Wait { session, time: 5000 });
        }
        stream.say(Body::End { session, outcome: Outcome::Accept });
    });
    assert_eq!(patient, Ok(Negotiation::Agreed(negotiable("EX1", 1))));
}

#[test]
fn noop_and_unknown_messages_are_passed_over() {
    isolated!();
    let (_lab, host) = client();
    let result = asked(&host, 5000, |stream, session| {
        stream.say(Body::Noop);
        stream.write(&Value::from(vec![Value::from(77), Value::from(session), Value::from("new")]).encode());
        stream.write(&Value::from(vec![Value::from(78)]).encode());
        stream.say(Body::End { session, outcome: Outcome::Accept });
    });
    assert_eq!(result, Ok(Negotiation::Agreed(negotiable("EX1", 1))));
    let started = Instant::now();
    let result = asked(&host, 200, |stream, _| stream.say(Body::Noop));
    assert_eq!(result, Err(Error::NoNegReply), "they do not prolong the wait");
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_message_comes_in_pieces_or_with_the_next_one() {
    isolated!();
    let (_lab, host) = client();
    let result = host.against(
        |mut stream, request| {
            let session = request.session().unwrap();
            let offer = Body::Negotiate(step(session, "EX1", 5, "in pieces"));
            stream.dribble(&grasp::wire::encode(&offer.into()));
            assert!(matches!(stream.hear().body, Body::Negotiate(_)));
            let mut both = grasp::wire::encode(&Body::Wait { session, time: 5000 }.into());
            both.extend(grasp::wire::encode(&Body::End { session, outcome: Outcome::Accept }.into()));
            stream.write(&both);
            stream.expect_end();
        },
        |engine, asa, peer| {
            let reply = engine.req_negotiate(asa, &negotiable("EX1", 1), Some(peer), Some(5000));
            let (session, counter) = offer(reply);
            assert_eq!(counter.value, Value::from("in pieces"));
            engine.negotiate_step(asa, session, &counter, Some(300))
        },
    );
    assert!(matches!(result, Ok(Negotiation::Agreed(_))), "{result:?}");
}

#[test]
fn each_message_lowers_the_loop_count_until_it_is_exhausted() {
    isolated!();
    let (_lab, host) = client();
    host.against(
        |mut stream, request| {
            // What is sent and what comes back: 6 out, 5 in, 4 out, 3 in, 2 out, 1 in.
            let Body::RequestNegotiate(first) = request.body else { panic!("{request:?}") };
            assert_eq!((first.objective.loop_count, first.objective.flags.0), (6, NEG));
            for (reply, next) in [(5, 4), (3, 2)] {
                stream.say(Body::Negotiate(step(first.session, "EX1", reply, 0)));
                let Body::Negotiate(step) = stream.hear().body else { panic!("no step") };
                assert_eq!(step.objective.loop_count, next);
            }
            stream.say(Body::Negotiate(step(first.session, "EX1", 1, 0)));
            let outcome = Outcome::Decline(Some("too long".to_owned()));
            assert_eq!(stream.hear().body, Body::End { session: first.session, outcome });
            stream.expect_end();
        },
        |engine, asa, peer| {
            let asked = negotiable("EX1", 1);
            let (session, mut held) = offer(engine.req_negotiate(asa, &asked, Some(peer), None));
            for count in [5, 3] {
                assert_eq!(held.loop_count, count);
                held = offer(engine.negotiate_step(asa, session, &held, None)).1;
            }
            assert_eq!(held.loop_count, 1);
            assert_eq!(failure(engine.negotiate_step(asa, session, &held, None)), Error::LoopExhausted);
            assert_eq!(engine.open_sessions(), 1, "the session is still open");
            engine.end_negotiate(asa, session, false, Some("too long")).unwrap();
            assert_eq!(asked.loop_count, 6, "the caller's objective is the caller's");
        },
    );
    host.expect_quiet();
}

#[test]
fn a_request_checks_in_order() {
    isolated!();
    let (_lab, host) = one(Config::new().acp(Acp::None));
    host.register(&negotiable("EX1", 1));
    let gone = host.gone();
    let ask = |who: &Host, objective: &Objective| {
        failure(who.run(|engine, asa| engine.req_negotiate(asa, objective, None, Some(1))))
    };
    let both = Objective { synch: true, ..negotiable("EX9", 1) };
    assert_eq!(ask(&gone, &both), Error::NotBoth, "8 comes before 6");
    assert_eq!(ask(&gone, &negotiable("EX9", 1)), Error::NoAsa, "6 comes before 13");
    assert_eq!(ask(&gone, &synchronizable("EX9", 1)), Error::NoAsa, "6 comes before 15");
    assert_eq!(ask(&host, &negotiable("EX9", 1)), Error::NotYourObj, "13 comes before 16");
    assert_eq!(ask(&host, &synchronizable("EX9", 1)), Error::NotNeg, "15 comes before 16");
    assert_eq!(ask(&host, &Objective { dry: true, ..Objective::new("EX9") }), Error::NotNeg);
    assert_eq!(ask(&host, &negotiable("EX1", 1)), Error::NoSecurity, "16 comes before 17");
    host.expect_quiet();
}

#[test]
fn a_request_that_finds_or_reaches_nobody_says_so() {
    isolated!();
    let (_lab, host) = one(Config::new().connect_timeout(Duration::from_millis(300)));
    host.register(&negotiable("EX1", 1));
    let ask = |peer: Option<&AsaLocator>, value: Value| {
        host.run(|engine, asa| engine.req_negotiate(asa, &negotiable("EX1", value), peer, Some(100)))
    };
    assert_eq!(ask(None, 1.into()), Err(Error::NoDiscReply));
    assert_eq!(ask(None, vec![0u8; 2048].into()), Err(Error::NoDiscReply), "17 comes before 3");
    let free = RawPeer::on(&host.node).locator();
    assert_eq!(ask(Some(&free), vec![0u8; 2048].into()), Err(Error::Unspec), "3 comes before 18");
    assert_eq!(ask(Some(&free), 1.into()), Err(Error::SockErrNegRq), "nobody listens there any more");
    assert_eq!(ask(Some(&AsaLocator::uri("coap://[::1]/")), 1.into()), Err(Error::SockErrNegRq));
    assert_eq!(ask(Some(&AsaLocator::null()), 1.into()), Err(Error::SockErrNegRq));
    assert_eq!(
        ask(Some(&AsaLocator::fqdn("localhost", Protocol::Udp, 7)), 1.into()),
        Err(Error::SockErrNegRq)
    );
    // An address of the link that nobody has: the neighbour discovery of the system gives up, or we do.
    let silent = "fd00:1::77".parse::<std::net::Ipv6Addr>().unwrap();
    let started = Instant::now();
    assert_eq!(ask(Some(&AsaLocator::new(silent, None)), 1.into()), Err(Error::SockErrNegRq));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    host.expect_quiet();
}

/// A session with a hand-made peer that offers once and then does as told.
fn with_session<R: Send>(
    host: &Host,
    then: impl FnOnce(RawStream) + Send + 'static,
    body: impl FnOnce(&grasp::Engine, grasp::AsaNonce, SessionNonce, Objective) -> R + Send,
) -> R {
    host.against(
        |mut stream, request| {
            stream.say(Body::Negotiate(step(request.session().unwrap(), "EX1", 5, 2)));
            then(stream);
        },
        |engine, asa, peer| {
            let (session, held) =
                offer(engine.req_negotiate(asa, &negotiable("EX1", 1), Some(peer), Some(5000)));
            body(engine, asa, session, held)
        },
    )
}

#[test]
fn a_step_checks_in_order() {
    isolated!();
    let (_lab, host) = client();
    let (gone, other) = (host.another("gone"), host.another("other"));
    host.engine.deregister_asa(gone.asa, "gone").unwrap();
    with_session(
        &host,
        |mut stream| assert!(matches!(stream.hear().body, Body::End { .. })),
        |engine, asa, session, held| {
            let step = |asa, session, objective: &Objective| {
                failure(engine.negotiate_step(asa, session, objective, Some(100)))
            };
            let unknown = SessionNonce { id_value: session.id_value ^ 1, id_source: None };
            let elsewhere = SessionNonce { id_source: Some(std::net::Ipv6Addr::LOCALHOST), ..session };
            let handle = SessionNonce { id_value: asa.id(), id_source: None };
            let both = Objective { synch: true, ..held.clone() };
            let last = Objective { loop_count: 1, ..held.clone() };
            assert_eq!(step(gone.asa, unknown, &both), Error::NotBoth, "8 comes before 6");
            assert_eq!(step(gone.asa, unknown, &held), Error::NoAsa, "6 comes before 13");
            assert_eq!(step(other.asa, unknown, &held), Error::NotYourObj, "13 comes before 19");
            let not_neg = Objective { neg: false, ..held.clone() };
            assert_eq!(step(asa, unknown, &not_neg), Error::NotNeg, "15 comes before 19");
            assert_eq!(step(asa, unknown, &last), Error::NoSession, "19 comes before 21");
            assert_eq!(step(asa, elsewhere, &last), Error::NoSession);
            assert_eq!(step(asa, handle, &last), Error::NoSocket, "20 comes before 21");
            assert_eq!(step(asa, session, &Objective { dry: true, ..last.clone() }), Error::InvalidNeg);
            engine.register_obj(asa, &negotiable("EX2", 1), grasp::RegisterObj::default()).unwrap();
            assert_eq!(step(asa, session, &negotiable("EX2", 1)), Error::InvalidNeg);
            let large = Value::from(vec![0u8; 2048]);
            let last = Objective { value: large.clone(), ..last };
            assert_eq!(step(asa, session, &last), Error::LoopExhausted, "21 comes before 3");
            assert_eq!(step(asa, session, &Objective { loop_count: 0, ..last }), Error::LoopExhausted);
            assert_eq!(step(asa, session, &Objective { value: large, ..held }), Error::Unspec);
            engine.end_negotiate(asa, session, true, None).unwrap();
        },
    );
    host.expect_quiet();
}

#[test]
fn what_needs_a_session_checks_in_order() {
    isolated!();
    let (_lab, host) = client();
    let gone = host.gone();
    let unknown = SessionNonce { id_value: 1, id_source: None };
    let handle = SessionNonce { id_value: host.asa.id(), id_source: None };
    let (_insecure_lab, insecure) = one(Config::new().acp(Acp::None));
    for (who, session, expected) in [
        (&gone, unknown, Error::NoAsa),
        (&host, unknown, Error::NoSession),
        (&host, handle, Error::NoSocket),
        (&insecure, unknown, Error::NoSecurity),
    ] {
        let (engine, asa) = (&who.engine, who.asa);
        assert_eq!(failure(engine.negotiate_wait(asa, session, None)), expected);
        assert_eq!(failure(engine.end_negotiate(asa, session, true, None)), expected);
        assert_eq!(failure(engine.send_invalid(asa, session, None)), expected);
        assert_eq!(failure(engine.gsend(asa, session, &Value::Null)), expected);
        assert_eq!(failure(engine.grecv(asa, session, 1)), expected);
    }
    let unregistered = insecure.another("gone");
    insecure.engine.deregister_asa(unregistered.asa, "gone").unwrap();
    let first = insecure.engine.negotiate_wait(unregistered.asa, unknown, None);
    assert_eq!(failure(first), Error::NoAsa, "6 comes before 16");
}

#[test]
fn what_cannot_be_sent_any_more_has_an_error_for_each_call() {
    isolated!();
    let (_lab, host) = client();
    type Call = fn(&grasp::Engine, grasp::AsaNonce, SessionNonce, &Objective) -> Result<()>;
    let calls: [(Call, Error); 5] = [
        (|e, asa, session, o| e.negotiate_step(asa, session, o, Some(100)).map(drop), Error::SockErrNegStep),
        (|e, asa, session, _| e.negotiate_wait(asa, session, Some(100)), Error::SockErrWait),
        (|e, asa, session, _| e.end_negotiate(asa, session, true, None), Error::SockErrEnd),
        (|e, asa, session, _| e.send_invalid(asa, session, None), Error::SockErrEnd),
        (|e, asa, session, _| e.gsend(asa, session, &Value::Null), Error::SockErr),
    ];
    for (call, expected) in calls {
        let (tx, rx) = crossbeam_channel::bounded(1);
        let then = move |stream: RawStream| {
            stream.reset();
            tx.send(()).unwrap();
        };
        with_session(&host, then, |engine, asa, session, held| {
            // On one machine the reset is here when the peer's close has returned.
            rx.recv_timeout(SOON).unwrap();
            assert_eq!(failure(call(engine, asa, session, &held)), expected);
            assert_eq!(failure(call(engine, asa, session, &held)), Error::NoSession, "it has ended");
        });
    }
    host.expect_quiet();
}

#[test]
fn ends_are_sent_as_said_and_a_second_one_is_harmless() {
    isolated!();
    let (_lab, host) = client();
    type End = fn(&grasp::Engine, grasp::AsaNonce, SessionNonce) -> Result<()>;
    let declined = |reason: Option<&str>| Some(Outcome::Decline(reason.map(str::to_owned)));
    let calls: [(End, Option<Outcome>, Option<Value>); 6] = [
        (
            |e, asa, session| e.end_negotiate(asa, session, true, Some("not said")),
            Some(Outcome::Accept),
            None,
        ),
        (|e, asa, session| e.end_negotiate(asa, session, false, None), declined(None), None),
        (|e, asa, session| e.end_negotiate(asa, session, false, Some("")), declined(None), None),
        (|e, asa, session| e.end_negotiate(asa, session, false, Some("нет")), declined(Some("нет")), None),
        (|e, asa, session| e.send_invalid(asa, session, None), None, Some("No information".into())),
        (
            |e, asa, session| e.send_invalid(asa, session, Some(vec![Value::from(1), Value::Null].into())),
            None,
            Some(vec![Value::from(1), Value::Null].into()),
        ),
    ];
    for (call, outcome, content) in calls {
        let then = move |mut stream: RawStream| {
            let message = stream.hear();
            let session = message.session().unwrap();
            let expected = match outcome {
                Some(outcome) => Body::End { session, outcome },
                None => Body::Invalid { session, content },
            };
            assert_eq!(message.body, expected);
            stream.expect_end();
        };
        with_session(&host, then, |engine, asa, session, _| {
            let long = "x".repeat(2048);
            assert_eq!(failure(engine.end_negotiate(asa, session, false, Some(&long))), Error::Unspec);
            call(engine, asa, session).unwrap();
            assert_eq!(failure(call(engine, asa, session)), Error::NoSession);
        });
    }
    host.expect_quiet();
}

#[test]
fn a_wait_is_sent_before_the_step_that_follows_it() {
    isolated!();
    let (_lab, host) = client();
    let then = |mut stream: RawStream| {
        let times: Vec<_> = (0..2)
            .map(|_| match stream.hear().body {
                Body::Wait { time, .. } => time,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(times, [1234, 60_000], "as given, and the default");
        let Body::Negotiate(last) = stream.hear().body else { panic!("no step") };
        stream.say(Body::End { session: last.session, outcome: Outcome::Accept });
        stream.expect_end();
    };
    let result = with_session(&host, then, |engine, asa, session, held| {
        at_once(|| engine.negotiate_wait(asa, session, Some(1234))).unwrap();
        engine.negotiate_wait(asa, session, None).unwrap();
        engine.negotiate_step(asa, session, &held, Some(5000))
    });
    assert!(matches!(result, Ok(Negotiation::Agreed(objective)) if objective.loop_count == 5));
}

#[test]
fn a_session_that_another_thread_ends_is_no_session_for_the_one_that_waits() {
    isolated!();
    let (_lab, host) = client();
    let (tx, rx) = crossbeam_channel::bounded(1);
    let then = move |mut stream: RawStream| {
        assert!(matches!(stream.hear().body, Body::Negotiate(_)));
        tx.send(()).unwrap();
        assert!(matches!(stream.hear().body, Body::End { .. }));
    };
    let result = with_session(&host, then, |engine, asa, session, held| {
        let ender = host.thread(move |engine, asa| {
            rx.recv_timeout(SOON).unwrap();
            engine.end_negotiate(asa, session, false, None)
        });
        let result = engine.negotiate_step(asa, session, &held, Some(20_000));
        joined(ender).unwrap();
        result
    });
    assert_eq!(result, Err(Error::NoSession));
}

#[test]
fn a_dry_run_stays_dry() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    let dry = Objective { dry: true, ..negotiable("EX1", 10) };
    near.register(&dry);
    far.register(&dry);
    let locator = far.locator("EX1");
    let listener = far.thread(|engine, asa| {
        let listened = Objective { dry: true, ..negotiable("EX1", 0) };
        let (session, asked) = engine.listen_negotiate(asa, &listened).unwrap();
        assert!(asked.dry && asked.neg);
        let live = Objective { dry: false, ..asked.clone() };
        assert_eq!(failure(engine.negotiate_step(asa, session, &live, None)), Error::InvalidNeg);
        engine.negotiate_step(asa, session, &asked, Some(5000))
    });
    eventually(SOON, "the listener listens", || far.listeners("EX1") == 1);
    near.run(|engine, asa| {
        let (session, held) = offer(engine.req_negotiate(asa, &dry, Some(&locator), Some(5000)));
        assert!(held.dry);
        engine.end_negotiate(asa, session, true, None).unwrap();
    });
    assert!(matches!(joined(listener), Ok(Negotiation::Agreed(objective)) if objective.dry));
}

#[test]
fn test_switches_send_what_a_peer_must_refuse() {
    isolated!();
    let (_lab, host) = client();
    for is_message in [true, false] {
        let switch = if is_message { grasp::Engine::make_invalid } else { grasp::Engine::make_badmess };
        let then = move |mut stream: RawStream| {
            let item = stream.read().unwrap();
            let decoded = grasp::wire::decode(&item, &grasp::wire::Limits::default());
            assert_eq!(decoded.is_ok_and(|sent| matches!(sent.body, Body::Invalid { .. })), is_message);
        };
        let result = with_session(&host, then, |engine, asa, session, held| {
            switch(engine);
            engine.negotiate_step(asa, session, &held, Some(5000))
        });
        assert_eq!(result, Err(Error::NoPeer));
    }
    // Each for one message.
    let then = |mut stream: RawStream| assert!(matches!(stream.hear().body, Body::Negotiate(_)));
    let step = |engine: &grasp::Engine, asa, session, held: grasp::Objective| {
        engine.negotiate_step(asa, session, &held, Some(5000))
    };
    assert_eq!(with_session(&host, then, step), Err(Error::NoPeer));
}
