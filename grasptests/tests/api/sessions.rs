//! Sessions as guards, their owners and their peers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use grasp::{
    Asa, Config, Error, Negotiation, Reply, Session, Source, TaggedObjective, TypedObjective, Value,
};
use grasptests::isolated;
use grasptests::lab::eventually;
use grasptests::nodes::{Host, SOON, failure, joined, negotiable, one, synchronizable, two};

/// An ASA of a host, as a guard.
fn guard(host: &Host, name: &str) -> Asa {
    host.run(|engine, _| {
        let asa = Asa::register(engine, name).unwrap();
        engine.register_obj(asa.nonce(), &negotiable("EX3", 0), overlap()).unwrap();
        asa
    })
}

fn overlap() -> grasp::RegisterObj {
    grasptests::nodes::overlapping()
}

/// A session that is open on both sides: the asker's answer, when it comes, and the server's guard.
fn opened(near: &Host, far: &Host) -> (std::thread::JoinHandle<grasp::Result<Negotiation>>, Session) {
    let server = guard(far, "server");
    let locator = far.locator("EX3");
    let node = far.node.clone();
    let accepting = node.spawn("accepts", move || {
        let session = server.accept(&negotiable("EX3", 0));
        (session, server)
    });
    eventually(SOON, "somebody listens", || far.listeners("EX3") == 1);
    near.register_with(&negotiable("EX3", 1), overlap());
    let asking = near.thread(move |engine, asa| {
        engine.req_negotiate(asa, &negotiable("EX3", 1), Some(&locator), Some(60_000))
    });
    let (session, server) = joined(accepting);
    let session = session.unwrap();
    // The ASA goes on: only the guard of the session is looked at.
    std::mem::forget(server);
    (asking, session)
}

#[test]
fn a_session_ends_when_its_guard_is_dropped() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    let (asking, session) = opened(&near, &far);
    assert_eq!(session.objective().value, Value::from(1));
    assert_eq!(session.peer().address, near.node.ula().map(Into::into));
    assert_eq!(far.engine.open_sessions(), 1);
    drop(session);
    assert_eq!(failure(joined(asking)), Error::Declined(None), "it need not wait for its timeout");
    assert_eq!((near.engine.open_sessions(), far.engine.open_sessions()), (0, 0));
}

#[test]
fn a_panic_ends_the_session_and_a_release_does_not() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    let (asking, session) = opened(&near, &far);
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _session = session;
        panic!("a bug of an ASA");
    }));
    assert!(panicked.is_err());
    assert_eq!(failure(joined(asking)), Error::Declined(None));

    let (_lab, near, far) = two(Config::new());
    let (asking, session) = opened(&near, &far);
    let owner = far.engine.sessions()[0].owner.unwrap();
    let nonce = session.release();
    assert_eq!(far.engine.open_sessions(), 1);
    far.run(|engine, _| engine.end_negotiate(owner, nonce, true, None)).unwrap();
    assert!(matches!(joined(asking), Ok(Negotiation::Agreed(_))));
}

#[test]
fn a_session_of_another_asa_is_rejected() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    let (asking, session) = opened(&near, &far);
    let other = far.another("other");
    other.register_with(&negotiable("EX3", 0), overlap());
    let (nonce, held) = (session.nonce(), session.objective().clone());
    let calls: [(&str, grasp::Result<()>); 6] = other.run(|engine, asa| {
        [
            ("step", engine.negotiate_step(asa, nonce, &held, None).map(drop)),
            ("wait", engine.negotiate_wait(asa, nonce, None)),
            ("end", engine.end_negotiate(asa, nonce, true, None)),
            ("invalid", engine.send_invalid(asa, nonce, None)),
            ("gsend", engine.gsend(asa, nonce, &Value::Null)),
            ("grecv", engine.grecv(asa, nonce, 10).map(drop)),
        ]
    });
    for (call, result) in calls {
        let error = failure(result);
        assert!(matches!(error, Error::NotYourSession) && error.code() == 19, "{call}: {error}");
    }
    // Nobody has touched it.
    session.accept().unwrap();
    assert!(matches!(joined(asking), Ok(Negotiation::Agreed(_))));
}

#[test]
fn who_has_agreed_and_who_has_answered_is_told() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    let asker = guard(&near, "asker");
    let typed = TypedObjective::<(String, i64)>::negotiable("EX3").loop_count(5);
    let server = guard(&far, "server");
    let serving = typed.clone();
    let server_node = far.node.clone();
    let serving = server_node.spawn("serves", move || {
        let session = server.accept(serving.objective()).unwrap();
        let ((currency, wanted), _) = serving.offered(&session).unwrap();
        assert_eq!((currency.as_str(), wanted), ("NZD", 10));
        match serving.step(session, &("NZD".to_owned(), 5), None).unwrap() {
            Reply::Offer(session) => session.accept().unwrap(),
            other => panic!("{other:?}"),
        }
    });
    eventually(SOON, "somebody listens", || far.listeners("EX3") == 1);
    let locator = far.locator("EX3");
    let here = far.node.ula().map(Into::into);
    near.node.run(|| {
        let wish = ("NZD".to_owned(), 10);
        let Reply::Offer(session) = typed.negotiate(&asker, &wish, Some(&locator), None).unwrap() else {
            panic!("no offer")
        };
        let ((_, offered), peer) = typed.offered(&session).unwrap();
        assert_eq!((offered, peer.address, peer.locator.as_ref()), (5, here, Some(&locator)));
        let Reply::Agreed { objective, peer } = session.step(Value::from("seven"), None).unwrap() else {
            panic!("not agreed")
        };
        assert_eq!((peer.address, peer.locator), (here, Some(locator)));
        assert!(matches!(failure(typed.read(&objective)), Error::WrongValue(_)), "it is no sum of money");
    });
    joined(serving);
}

#[test]
fn where_a_synchronized_value_is_from_is_told() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    let asker = guard(&near, "asker");
    let server = guard(&far, "server");
    let ex2 = TypedObjective::<u32>::synchronizable("EX2");
    far.node.run(|| ex2.register(&server, Default::default())).unwrap();
    ex2.publish(&server, &7).unwrap();
    let locator = far.locator("EX2");
    let (value, source) = near.node.run(|| ex2.synchronize(&asker, Some(&locator), None)).unwrap();
    let Source::Peer(peer) = source else { panic!("{source:?}") };
    assert_eq!(
        (value, peer.address, peer.locator),
        (7, far.node.ula().map(Into::into), Some(locator.clone()))
    );

    far.node.run(|| ex2.flood(&server, 60_000, &8, Some(locator.clone()))).unwrap();
    eventually(SOON, "it is flooded", || !near.engine.flood_cache().is_empty());
    let (value, source) = near.node.run(|| ex2.synchronize(&asker, None, None)).unwrap();
    let Source::Flooded(from) = source else { panic!("{source:?}") };
    assert_eq!((value, &from.locator, from.port), (8, &locator.locator, locator.port));
    assert_eq!(ex2.get_flood(&asker).unwrap()[0].0, 8);
    let wrong = TaggedObjective::new(synchronizable("EX2", "eight"), Some(locator));
    far.node.run(|| server.engine().flood(server.nonce(), 60_000, &[wrong])).unwrap();
    eventually(SOON, "it is flooded", || near.node.run(|| ex2.get_flood(&asker)).unwrap().is_empty());
    assert!(matches!(failure(near.node.run(|| ex2.synchronize(&asker, None, None))), Error::WrongValue(_)));
}

#[test]
fn a_messaging_session_is_a_guard_too() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let (client, server) = (guard(&host, "client"), guard(&host, "server"));
    let locator = host.locator("EX3");
    let serving = host.node.spawn("serves", move || {
        let session = server.accept(&negotiable("EX3", 0)).unwrap();
        let question = session.receive(10_000).unwrap();
        session.send(&Value::from(vec![question])).unwrap();
        assert_eq!(failure(session.receive(10_000)).code(), Error::NoPeer.code());
    });
    eventually(SOON, "somebody listens", || host.listeners("EX3") == 1);
    host.node.run(|| {
        let session = client.open(&negotiable("EX3", 0), Some(&locator), None).unwrap();
        session.send(&Value::from("?")).unwrap();
        assert_eq!(session.receive(10_000).unwrap(), Value::from(vec![Value::from("?")]));
        client.engine().shutdown();
        drop(session);
    });
    let _ = serving;
}

#[test]
fn a_guard_asks_for_patience_declines_with_a_reason_and_says_what_was_invalid() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    let (asking, session) = opened(&near, &far);
    let dump = far.engine.dump(false);
    assert!(dump.contains("Active: exchange") && !dump.contains("Active: discovery"), "{dump}");
    session.wait(Some(60_000)).unwrap();
    eventually(SOON, "it has heard that", || near.engine.stats().replies_received == 1);
    session.decline(Some("too much")).unwrap();
    assert_eq!(failure(joined(asking)), Error::Declined(Some("too much".to_owned())));

    let (_lab, near, far) = two(Config::new());
    let (asking, session) = opened(&near, &far);
    session.invalid(Some("a sum is expected".into())).unwrap();
    assert_eq!(failure(joined(asking)), Error::NoValidStep);
    assert_eq!(near.engine.stats().invalid_received, 1);
}
