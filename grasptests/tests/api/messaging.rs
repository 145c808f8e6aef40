//! gsend and grecv: any CBOR over an open session.

use std::time::{Duration, Instant};

use grasp::{Config, Engine, Error, Result, Value};
use grasptests::isolated;
use grasptests::nodes::{Host, RawStream, failure, joined, negotiable, one, two};

fn client() -> (grasptests::lab::Lab, Host) {
    let (lab, host) = one(Config::new());
    host.register(&negotiable("EX1", 1));
    (lab, host)
}

/// Opens a session with a hand-made peer without waiting for an answer.
fn with_session<R: Send>(
    host: &Host,
    peer: impl FnOnce(RawStream) + Send + 'static,
    body: impl FnOnce(&Engine, grasp::AsaNonce, grasp::SessionNonce) -> R + Send,
) -> R {
    host.against(
        |stream, _| peer(stream),
        |engine, asa, locator| {
            let opened = engine.req_negotiate_noloop(asa, &negotiable("EX1", 1), Some(locator), None);
            body(engine, asa, opened.unwrap())
        },
    )
}

/// What grecv returns after the peer has done something.
fn received(host: &Host, peer: impl FnOnce(RawStream) + Send + 'static) -> Result<Value> {
    with_session(host, peer, |engine, asa, session| {
        let result = engine.grecv(asa, session, 5000);
        if result.is_err() {
            assert_eq!(
                failure(engine.grecv(asa, session, 1)),
                Error::NoSession,
                "a failure ends the session"
            );
        }
        result
    })
}

#[test]
fn items_of_any_shape_go_both_ways() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    near.register(&negotiable("EX1", 1));
    far.register(&negotiable("EX1", 1));
    let locator = far.locator("EX1");
    let listener = far.listen(&negotiable("EX1", 0));
    let items = || {
        let map = Value::Map(vec![(Value::from(1), Value::Undefined), (Value::from("a"), Value::from(2.5))]);
        [
            Value::from(0),
            Value::Null,
            map,
            Value::from(vec![0u8; 2000]),
            Value::Tag(4711, Box::new("x".into())),
        ]
    };
    let client = near.thread(move |engine, asa| {
        let session = engine.req_negotiate_noloop(asa, &negotiable("EX1", 1), Some(&locator), None).unwrap();
        for item in items() {
            engine.gsend(asa, session, &item).unwrap();
        }
        let answers: Vec<_> = items().iter().map(|_| engine.grecv(asa, session, 5000).unwrap()).collect();
        engine.end_negotiate(asa, session, true, None).unwrap();
        answers
    });
    let (session, objective) = joined(listener).unwrap();
    assert_eq!(objective.value, Value::from(1));
    far.run(|engine, asa| {
        for item in items() {
            assert_eq!(engine.grecv(asa, session, 5000).unwrap(), item);
        }
        for item in items().iter().rev() {
            engine.gsend(asa, session, item).unwrap();
        }
        let end = engine.grecv(asa, session, 5000).unwrap();
        assert_eq!(
            end.as_array().and_then(|items| items.first()),
            Some(&Value::from(6)),
            "M_END is an item, too"
        );
        assert_eq!(failure(engine.grecv(asa, session, 5000)), Error::NoPeer);
    });
    let mut answers = joined(client);
    answers.reverse();
    assert_eq!(answers, items());
    near.expect_quiet();
    far.expect_quiet();
}

#[test]
fn items_come_in_pieces_and_several_in_one_segment() {
    isolated!();
    let (_lab, host) = client();
    let peer = |mut stream: RawStream| {
        stream.dribble(&Value::from("one by one").encode());
        let mut both = Value::from(1).encode();
        both.extend(Value::from(vec![Value::from(2)]).encode());
        stream.write(&both);
        assert_eq!(stream.read().unwrap(), Value::from("first").encode());
        assert_eq!(stream.read().unwrap(), Value::from("second").encode());
    };
    with_session(&host, peer, |engine, asa, session| {
        for expected in [Value::from("one by one"), Value::from(1), vec![Value::from(2)].into()] {
            assert_eq!(engine.grecv(asa, session, 5000).unwrap(), expected);
        }
        engine.gsend(asa, session, &Value::from("first")).unwrap();
        engine.gsend(asa, session, &Value::from("second")).unwrap();
        engine.end_negotiate(asa, session, true, None).unwrap();
    });
    host.expect_quiet();
}

#[test]
fn what_cannot_be_received_has_an_error() {
    isolated!();
    let (_lab, host) = client();
    assert_eq!(received(&host, drop), Err(Error::NoPeer));
    assert_eq!(received(&host, RawStream::reset), Err(Error::NoReply));
    let bytes = |bytes: Vec<u8>| {
        received(&host, move |mut stream| {
            stream.write(&bytes);
            stream.finish();
            stream.expect_end();
        })
    };
    assert_eq!(bytes(vec![0xff]), Err(Error::CborFail));
    assert_eq!(bytes(vec![0x82, 0x01]), Err(Error::CborFail));
    assert_eq!(bytes(vec![0x61, 0xff]), Err(Error::CborFail), "text that is not UTF-8");
    assert_eq!(bytes(Value::from(vec![0u8; 2048]).encode()), Err(Error::CborFail), "too large");
    assert_eq!(bytes(vec![0x81; 40]), Err(Error::CborFail), "nested too deep");
    host.expect_quiet();
}

#[test]
fn nothing_in_time_is_no_reply() {
    isolated!();
    let (_lab, host) = client();
    let peer = |mut stream: RawStream| stream.expect_end();
    let took = with_session(&host, peer, |engine, asa, session| {
        let started = Instant::now();
        assert_eq!(failure(engine.grecv(asa, session, 200)), Error::NoReply);
        started.elapsed()
    });
    assert!(took >= Duration::from_millis(195) && took < Duration::from_secs(3), "{took:?}");
    let peer = |mut stream: RawStream| stream.expect_end();
    with_session(&host, peer, |engine, asa, session| {
        assert_eq!(failure(engine.grecv(asa, session, 0)), Error::NoReply, "no time at all");
    });
    host.expect_quiet();
}

#[test]
fn what_is_too_large_is_not_sent() {
    isolated!();
    let (_lab, host) = client();
    let peer = |mut stream: RawStream| assert_eq!(stream.read().unwrap(), Value::from(7).encode());
    with_session(&host, peer, |engine, asa, session| {
        assert_eq!(failure(engine.gsend(asa, session, &Value::from(vec![0u8; 2046]))), Error::Unspec);
        engine.gsend(asa, session, &Value::from(7)).unwrap();
        engine.end_negotiate(asa, session, true, None).unwrap();
    });
    host.expect_quiet();
}

#[test]
fn opening_without_a_wait_fails_as_a_request_does() {
    isolated!();
    let (_lab, host) = client();
    let open = |name: &str, peer: &grasp::AsaLocator| {
        host.run(|engine, asa| engine.req_negotiate_noloop(asa, &negotiable(name, 1), Some(peer), None))
    };
    let nobody = grasptests::nodes::RawPeer::on(&host.node).locator();
    assert_eq!(failure(open("EX9", &nobody)), Error::NotYourObj);
    assert_eq!(failure(open("EX1", &nobody)), Error::SockErrNegRq);
    host.expect_quiet();
}
