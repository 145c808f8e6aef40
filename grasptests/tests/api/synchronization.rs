//! Synchronization: where the value comes from, every answer a peer can give, errors in their order.

use std::time::{Duration, Instant};

use grasp::wire::{Body, Flags, Message, Step};
use grasp::{
    Acp, AsaLocator, Config, Error, Objective, Protocol, RegisterObj, Result, TaggedObjective, Value,
};
use grasptests::isolated;
use grasptests::lab::eventually;
use grasptests::nodes::{
    Host, RawPeer, RawStream, SOON, at_once, failure, flagged, joined, negotiable, one, synchronizable, two,
};

const SYNCH: u64 = Flags::F_DISC | Flags::F_SYNCH;

fn value_of(result: Result<Objective>) -> Value {
    result.unwrap().value
}

/// Makes `far` serve EX1 with a value.
fn serve(far: &Host, value: impl Into<Value>, options: RegisterObj) {
    let objective = synchronizable("EX1", value);
    far.register_with(&objective, options);
    far.run(|engine, asa| engine.listen_synchronize(asa, &objective)).unwrap();
}

fn synchronize(host: &Host, locator: Option<&AsaLocator>, timeout: u32) -> Result<Objective> {
    let wanted = synchronizable("EX1", ());
    host.run(|engine, asa| engine.synchronize(asa, &wanted, locator, Some(timeout)))
}

/// Asks a hand-made peer; `answer` gets the session identifier.
fn asked(
    host: &Host,
    timeout: u32,
    answer: impl FnOnce(&mut RawStream, u32) + Send + 'static,
) -> Result<Objective> {
    let answer = move |mut stream: RawStream, request: Message| {
        let Body::RequestSynchronize(Step { session, objective }) = request.body else {
            panic!("{request:?}")
        };
        assert_eq!((objective.name.as_str(), objective.flags.0), ("EX1", SYNCH));
        answer(&mut stream, session);
        stream.expect_end();
    };
    host.against(answer, |engine, asa, peer| {
        engine.synchronize(asa, &synchronizable("EX1", ()), Some(peer), Some(timeout))
    })
}

#[test]
fn a_discovered_peer_is_asked_and_its_value_can_be_replaced() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    let mut served = Objective { loop_count: 9, ..synchronizable("EX1", "first") };
    far.register(&served);
    far.run(|engine, asa| engine.listen_synchronize(asa, &served)).unwrap();
    let got = synchronize(&near, None, 5000).unwrap();
    assert_eq!(got, served);
    served.value = "not told".into();
    assert_eq!(value_of(synchronize(&near, None, 5000)), Value::from("first"), "the engine has its own copy");
    served.value = "second".into();
    served.loop_count = 3;
    at_once(|| far.run(|engine, asa| engine.listen_synchronize(asa, &served))).unwrap();
    let got = synchronize(&near, None, 5000).unwrap();
    assert_eq!((got.value, got.loop_count), ("second".into(), 9), "the first loop count stays");
    assert_eq!(far.engine.stats().synchronization_requests, 3);
    near.expect_quiet();
    far.expect_quiet();
}

#[test]
fn who_has_stopped_is_no_listener() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    serve(&far, 1, RegisterObj::default());
    let locator = far.locator("EX1");
    assert_eq!(value_of(synchronize(&near, Some(&locator), 5000)), Value::from(1));
    far.engine.stop_synchronize(far.asa, &synchronizable("EX1", ())).unwrap();
    assert_eq!(at_once(|| synchronize(&near, Some(&locator), 20_000)), Err(Error::NoListener));
    eventually(SOON, "its thread has ended", || !far.engine.dump(false).contains("Listen: 1"));
    far.run(|engine, asa| engine.listen_synchronize(asa, &synchronizable("EX1", 2))).unwrap();
    assert_eq!(value_of(synchronize(&near, Some(&locator), 5000)), Value::from(2), "it may listen again");
}

#[test]
fn a_flooded_value_is_taken_but_for_a_locator_that_is_given() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    serve(&far, "asked", RegisterObj::default());
    let source = |number: u16| AsaLocator::new(far.node.ula().unwrap(), None).with_port(number);
    for number in [1, 2] {
        let flooded = synchronizable("EX1", format!("flooded {number}"));
        far.engine.flood(far.asa, 0, &[TaggedObjective::new(flooded, Some(source(number)))]).unwrap();
    }
    eventually(SOON, "the floods are here", || {
        near.engine.get_flood(near.asa, &synchronizable("EX1", ())).unwrap().len() == 2
    });
    let newest = at_once(|| synchronize(&near, None, 20_000)).unwrap();
    assert_eq!(newest.value, Value::from("flooded 2"));
    assert_eq!(far.engine.stats().synchronization_requests, 0);
    let locator = far.locator("EX1");
    assert_eq!(value_of(synchronize(&near, Some(&locator), 5000)), Value::from("asked"));
}

#[test]
fn in_rapid_mode_the_discovery_brings_the_value() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    serve(&far, "rapid", RegisterObj { rapid: true, ..RegisterObj::default() });
    assert_eq!(value_of(synchronize(&near, None, 5000)), Value::from("rapid"));
    assert_eq!(far.engine.stats().synchronization_requests, 0, "nobody was asked");
    far.run(|engine, asa| engine.listen_synchronize(asa, &synchronizable("EX1", "newer"))).unwrap();
    let locator = far.locator("EX1");
    assert_eq!(value_of(synchronize(&near, Some(&locator), 5000)), Value::from("newer"));
    assert_eq!(far.engine.stats().synchronization_requests, 1, "a given locator is asked");
}

#[test]
fn many_askers_are_answered() {
    isolated!();
    let (_lab, near, far) = two(Config::new().request_queue(50));
    serve(&far, "for all", RegisterObj::default());
    let locator = far.locator("EX1");
    let threads: Vec<_> = (0..30)
        .map(|_| {
            let locator = locator.clone();
            near.thread(move |engine, asa| {
                engine.synchronize(asa, &synchronizable("EX1", ()), Some(&locator), Some(10_000))
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(value_of(joined(thread)), Value::from("for all"));
    }
}

#[test]
fn a_full_queue_refuses() {
    isolated!();
    let size = 16 << 20;
    let config = Config::new().unicast_size(size).request_queue(1);
    let (_lab, host) = one(config.response_timeout(SOON));
    serve(&host, "small", RegisterObj::default());
    let port = host.port("EX1");
    let large = synchronizable("EX1", vec![0u8; size - 1000]);
    host.run(|engine, asa| engine.listen_synchronize(asa, &large)).unwrap();
    let ask = |session| {
        let mut client = RawStream::connect(&host.node, std::net::Ipv6Addr::LOCALHOST, port);
        client.say(Body::RequestSynchronize(flagged(session, "EX1", SYNCH, 6, ())));
        client
    };
    // It does not read, and no buffer holds that much.
    let slow = ask(1);
    slow.wait_for_bytes();
    let _waiting = ask(2);
    eventually(SOON, "the second waits", || host.engine.stats().synchronization_requests == 2);
    let mut refused = ask(3);
    at_once(|| refused.expect_end());
    assert_eq!(host.engine.stats().refused_queue_full, 1);
    let stopper = host.thread(|engine, _| engine.shutdown());
    let is_stopping = || host.engine.get_flood(host.asa, &synchronizable("EX1", ())) == Err(Error::Unspec);
    eventually(SOON, "the engine is being shut down", is_stopping);
    drop(slow);
    at_once(|| joined(stopper));
}

#[test]
fn every_answer_has_its_result() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let say = |body: fn(u32) -> Body| asked(&host, 5000, move |stream, session| stream.say(body(session)));
    let good = say(|id| Body::Synch(flagged(id, "EX1", SYNCH, 4, "good"))).unwrap();
    assert_eq!(good, Objective { loop_count: 4, ..synchronizable("EX1", "good") });
    let after_noise = asked(&host, 5000, |stream, session| {
        stream.say(Body::Noop);
        stream.write(&Value::from(vec![Value::from(77), Value::from(session)]).encode());
        stream.dribble(&grasp::wire::encode(&Body::Synch(flagged(session, "EX1", SYNCH, 4, 1)).into()));
    });
    assert_eq!(value_of(after_noise), Value::from(1));
    let embedded = asked(&host, 5000, |stream, session| {
        let value = Value::from(1).encoded_cbor();
        stream.say(Body::Synch(flagged(session, "EX1", SYNCH, 4, value)));
    });
    assert_eq!(embedded.unwrap().value_as::<i64>().unwrap(), 1);
    let cases = [
        ("another session", say(|id| Body::Synch(flagged(id ^ 1, "EX1", SYNCH, 4, 1)))),
        ("another name", say(|id| Body::Synch(flagged(id, "EX2", SYNCH, 4, 1)))),
        ("an offer", say(|id| Body::Negotiate(flagged(id, "EX1", SYNCH, 4, 1)))),
        ("a wait", say(|session| Body::Wait { session, time: 5000 })),
        ("M_INVALID", say(|session| Body::Invalid { session, content: None })),
        ("no message", asked(&host, 5000, |stream, _| stream.write(&[0x05]))),
        (
            "no value",
            asked(&host, 5000, |stream, session| {
                let mut step = flagged(session, "EX1", SYNCH, 4, ());
                step.objective.value = None;
                stream.say(Body::Synch(step));
            }),
        ),
    ];
    for (what, result) in cases {
        assert_eq!(result, Err(Error::NoValidSynch), "{what}");
    }
    let end = |bytes: &'static [u8]| {
        asked(&host, 5000, move |stream, _| {
            stream.write(bytes);
            stream.finish();
        })
    };
    assert_eq!(end(&[]), Err(Error::NoListener));
    assert_eq!(end(&[0x83, 0x08]), Err(Error::CborFail));
    assert_eq!(end(&[0xff]), Err(Error::CborFail));
    let reset = host.against(
        |stream, _| stream.reset(),
        |engine, asa, peer| engine.synchronize(asa, &synchronizable("EX1", ()), Some(peer), Some(5000)),
    );
    assert_eq!(reset, Err(Error::NoSynchReply));
    let started = Instant::now();
    assert_eq!(asked(&host, 200, |stream, _| stream.say(Body::Noop)), Err(Error::NoSynchReply));
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(195) && took < Duration::from_secs(3), "{took:?}");
    host.expect_quiet();
}

#[test]
fn locators_lead_to_the_peer_or_to_an_error() {
    isolated!();
    let (_lab, host) = one(Config::new());
    serve(&host, "here", RegisterObj::default());
    let port = host.port("EX1");
    for reachable in [
        host.locator("EX1"),
        AsaLocator::new(host.node.link_local("eth0").unwrap(), host.node.interface_index("eth0").ok())
            .with_port(port),
    ] {
        assert_eq!(value_of(synchronize(&host, Some(&reachable), 5000)), Value::from("here"), "{reachable}");
    }
    // An objective's port is open to IPv4 only if one of its locators is.
    let by_ipv4 = AsaLocator::new(std::net::Ipv4Addr::LOCALHOST, None).with_port(port);
    let nobody = RawPeer::on(&host.node).locator();
    for unreachable in [
        AsaLocator::uri("coap://localhost/EX1"),
        AsaLocator::fqdn("localhost", Protocol::Udp, port),
        AsaLocator::null(),
        by_ipv4,
        nobody,
    ] {
        let result = synchronize(&host, Some(&unreachable), 5000);
        assert_eq!(result, Err(Error::SockErrSynRq), "{unreachable}");
    }
}

#[test]
fn synchronizing_checks_in_order() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let (_insecure_lab, insecure) = one(Config::new().acp(Acp::None));
    let gone = insecure.gone();
    let ask = |who: &Host, objective: &Objective, locator: Option<&AsaLocator>| {
        failure(who.run(|engine, asa| engine.synchronize(asa, objective, locator, Some(1))))
    };
    assert_eq!(ask(&gone, &Objective::new("EX1"), None), Error::NoAsa, "6 comes before 32");
    assert_eq!(ask(&insecure, &Objective::new("EX1"), None), Error::NotSynch, "32 comes before 16");
    assert_eq!(ask(&insecure, &synchronizable("EX1", 1), None), Error::NoSecurity, "16 comes before 33");
    assert_eq!(ask(&host, &synchronizable("EX1", 1), None), Error::NotFloodDisc);
    let large = synchronizable("EX1", vec![0u8; 2048]);
    assert_eq!(ask(&host, &large, None), Error::NotFloodDisc, "33 comes before 3");
    assert_eq!(ask(&host, &large, Some(&AsaLocator::null())), Error::Unspec, "3 comes before 34");
    assert_eq!(ask(&host, &synchronizable("EX1", 1), Some(&AsaLocator::null())), Error::SockErrSynRq);
}

#[test]
fn a_dull_instance_synchronizes_from_floods_only() {
    isolated!();
    let (_lab, near, far) = two(Config::new().dull(true));
    far.register(&synchronizable("EX1", "flooded"));
    let ask = |locator: Option<&AsaLocator>| synchronize(&near, locator, 1);
    assert_eq!(ask(None), Err(Error::NoSecurity));
    far.engine.flood(far.asa, 0, &[TaggedObjective::new(synchronizable("EX1", "flooded"), None)]).unwrap();
    eventually(SOON, "the flood is here", || ask(None).is_ok());
    assert_eq!(value_of(ask(None)), Value::from("flooded"));
    assert_eq!(ask(Some(&far.locator("EX1"))), Err(Error::NoSecurity));
}

#[test]
fn listening_and_stopping_check_in_order() {
    isolated!();
    let (_lab, host) = one(Config::new().acp(Acp::None));
    host.register(&synchronizable("EX1", 1));
    let gone = host.gone();
    let calls = |who: &Host, objective: &Objective| {
        let listened = who.run(|engine, asa| engine.listen_synchronize(asa, objective));
        (listened, who.engine.stop_synchronize(who.asa, objective))
    };
    let both = |error: Error| (Err(error.clone()), Err(error));
    let neg_and_synch = Objective { neg: true, ..synchronizable("EX9", 1) };
    assert_eq!(calls(&gone, &neg_and_synch), both(Error::NotBoth), "8 comes first");
    assert_eq!(calls(&gone, &negotiable("EX9", 1)), both(Error::NotSynch), "32 comes before 6");
    assert_eq!(calls(&gone, &synchronizable("EX9", 1)), both(Error::NoAsa), "6 comes before 13");
    assert_eq!(calls(&host, &synchronizable("EX9", 1)), both(Error::NotYourObj), "13 comes before 16");
    let known = calls(&host, &synchronizable("EX1", 1));
    assert_eq!(known, (Err(Error::NoSecurity), Ok(())), "stopping asks for no security");
}

#[test]
fn a_value_that_cannot_be_sent_is_refused_when_it_is_given() {
    isolated!();
    let (_lab, host) = one(Config::new());
    serve(&host, "small", RegisterObj::default());
    let large = synchronizable("EX1", vec![0u8; 2048]);
    let refused = host.run(|engine, asa| engine.listen_synchronize(asa, &large));
    assert_eq!(failure(refused), Error::Unspec);
    let locator = host.locator("EX1");
    assert_eq!(value_of(synchronize(&host, Some(&locator), 5000)), Value::from("small"));
}

#[test]
fn a_request_for_a_value_that_says_negotiation_is_refused() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let ex2 = synchronizable("EX2", 2);
    host.register(&ex2);
    host.run(|engine, asa| engine.listen_synchronize(asa, &ex2)).unwrap();
    let request = |session, flags| {
        let mut client = host.client("EX2");
        client.say(Body::RequestSynchronize(flagged(session, "EX2", flags, 6, ())));
        client
    };
    request(1, Flags::F_DISC | Flags::F_NEG).expect_end();
    request(2, Flags::F_DISC | Flags::F_NEG | Flags::F_SYNCH).expect_end();
    let answer = request(3, Flags::F_DISC | Flags::F_SYNCH).hear();
    assert!(matches!(answer.body, Body::Synch(step) if step.objective.value == Some(2.into())));
    host.expect_quiet();
    assert_eq!(host.engine.stats().synch_sent, 1);
}
