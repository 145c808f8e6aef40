//! Sessions whose peers have gone: they end by themselves, but not before what the peer has said is read.

use std::time::Duration;

use grasp::trace::{Ending, Event, SessionKind};
use grasp::wire::Body;
use grasp::{Config, Error, Negotiation, Value};
use grasptests::accounts::assert_accounts;
use grasptests::isolated;
use grasptests::lab::{Lab, eventually};
use grasptests::nodes::{Host, RawStream, SOON, failure, joined, negotiable, one, step, two};

/// Looks often, and gives an ASA so long to notice that its peer has gone.
fn noticing(after: Duration) -> Config {
    Config::new().watch_interval(Duration::from_millis(20)).abandoned_after(after)
}

fn server(config: Config) -> (Lab, Host) {
    let (lab, host) = one(config);
    host.register(&negotiable("EX1", 1));
    (lab, host)
}

/// A session that a hand-made peer has opened, and the ASA has accepted.
fn opened(host: &Host, session: u32) -> (grasp::SessionNonce, RawStream) {
    let listener = host.listen(&negotiable("EX1", 0));
    let mut client = host.client("EX1");
    client.say(Body::RequestNegotiate(step(session, "EX1", 6, session)));
    (joined(listener).unwrap().0, client)
}

#[test]
fn a_session_that_both_sides_have_left_ends_by_itself_and_is_told() {
    isolated!();
    let (_lab, host) = server(noticing(Duration::from_millis(50)));
    let trace = host.engine.trace();
    // One peer closes, another breaks off.
    let (first, closes) = opened(&host, 1);
    let (_second, breaks_off) = opened(&host, 2);
    let (kept, _stays) = opened(&host, 3);
    drop(closes);
    breaks_off.reset();
    eventually(SOON, "two sessions end", || host.engine.open_sessions() == 1);
    assert_eq!(host.engine.stats().sessions_abandoned, 2);
    host.run(|engine, asa| {
        let late = engine.end_negotiate(asa, first, true, None);
        assert_eq!(late, Err(Error::NoSession), "it is over");
        engine.negotiate_wait(asa, kept, None).expect("whose peer has not gone goes on");
        engine.end_negotiate(asa, kept, true, None).unwrap();
    });
    assert_accounts(&host.engine);
    host.engine.shutdown();
    let endings: Vec<_> = trace
        .filter_map(|event| match &event.event {
            Event::SessionEnded(session, how) if session.kind == SessionKind::Exchange => Some(how.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(endings.iter().filter(|how| **how == Ending::Abandoned).count(), 2, "{endings:?}");
}

/// The peer says something, and goes. Sending to it fails then, but what it has said is kept.
#[test]
fn what_the_peer_has_said_keeps_the_session_until_it_is_read() {
    isolated!();
    let (_lab, host) = server(noticing(Duration::ZERO));
    let ((talk, mut talks), (wait, mut waits)) = (opened(&host, 1), opened(&host, 2));
    let word = Value::from("goodbye");
    talks.write(&word.encode());
    waits.say(Body::Negotiate(step(2, "EX1", 5, 7)));
    drop((talks, waits));
    host.run(|engine, asa| {
        // The first message may go out: only the answer to it says that the peer has gone.
        eventually(SOON, "sending fails", || engine.gsend(asa, talk, &Value::from(1)).is_err());
        eventually(SOON, "asking for time fails", || engine.negotiate_wait(asa, wait, None).is_err());
    });
    // One that has said nothing: when its session ends, the others have been looked at.
    drop(opened(&host, 3));
    eventually(SOON, "the silent one ends", || host.engine.stats().sessions_abandoned == 1);
    assert_eq!(host.engine.open_sessions(), 2, "those with something to say go on");
    host.run(|engine, asa| {
        assert_eq!(engine.grecv(asa, talk, 10_000).expect("its last word"), word);
        let stepped = engine.negotiate_step(asa, wait, &negotiable("EX1", 8), Some(10_000));
        let Ok(Negotiation::Offer(_, offer)) = stepped else { panic!("{stepped:?}") };
        assert_eq!(offer.value, Value::from(7));
    });
    eventually(SOON, "they end once everything is read", || host.engine.open_sessions() == 0);
    assert_eq!(host.engine.stats().sessions_abandoned, 3);
    assert_accounts(&host.engine);
}

/// A handler that never ends its sessions does not lock its peer out for ever.
#[test]
fn a_peer_that_has_closed_its_sessions_can_open_others() {
    isolated!();
    let (_lab, near, far) = two(noticing(Duration::from_millis(50)).sessions_per_peer(2));
    far.register(&negotiable("EX1", 0));
    near.register(&negotiable("EX1", 0));
    let locator = far.locator("EX1");
    let serving = far.thread(|engine, asa| {
        // Returns early, and leaves every session open.
        for _ in 0..3 {
            engine.listen_negotiate(asa, &negotiable("EX1", 0)).unwrap();
        }
    });
    eventually(SOON, "somebody listens", || far.listeners("EX1") == 1);
    let clients = [1, 2].map(|session| {
        let mut client = RawStream::connect(&near.node, far.node.ula().unwrap(), far.port("EX1"));
        client.say(Body::RequestNegotiate(step(session, "EX1", 6, 1)));
        client
    });
    eventually(SOON, "both are open", || far.engine.open_sessions() == 2);
    let ask = || {
        near.run(|engine, asa| engine.req_negotiate(asa, &negotiable("EX1", 1), Some(&locator), Some(500)))
    };
    assert_eq!(failure(ask()), Error::Declined(Some("too many sessions".to_owned())), "it is told why");
    drop(clients);
    eventually(SOON, "there is room again", || far.engine.open_sessions() == 0);
    assert_eq!(failure(ask()), Error::NoNegReply, "it is taken up again, and left again");
    joined(serving);
}
