//! [`grasp::interruptible`]: every call that waits ends early, and what it was in is over.

use std::cell::Cell;
use std::net::{Ipv6Addr, TcpListener};
use std::rc::Rc;
use std::time::{Duration, Instant};

use grasp::{
    AsaLocator, AsaNonce, Config, Discover, Engine, Error, Objective, SessionNonce, Value, interruptible,
};
use grasptests::isolated;
use grasptests::lab::eventually;
use grasptests::nodes::{SOON, negotiable, one, synchronizable};

const TICK: Duration = Duration::from_millis(10);
/// What the calls would wait without an interruption, in milliseconds.
const LONG: u32 = 120_000;

/// Runs a call that is to be interrupted when it has been asked three times, and returns what it returns.
#[track_caller]
fn interrupted<R>(call: impl FnOnce() -> R) -> R {
    let asked = Rc::new(Cell::new(0));
    let counted = Rc::clone(&asked);
    let started = Instant::now();
    let asks = move || counted.replace(counted.get() + 1) == 2;
    let result = interruptible(TICK, asks, call);
    assert_eq!(asked.get(), 3, "it is asked until it has said yes");
    assert!(started.elapsed() < Duration::from_secs(60));
    result
}

/// Opens a session with a peer that says nothing.
fn session(engine: &Engine, asa: AsaNonce, money: &Objective, peer: &AsaLocator) -> SessionNonce {
    engine.req_negotiate_noloop(asa, money, Some(peer), None).expect("a session")
}

#[test]
fn calls_that_wait_end_early_and_leave_no_session() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let (money, value) = (negotiable("EX3", 1), synchronizable("EX2", 1));
    host.register(&money);
    host.run(|engine, asa| {
        let listener = TcpListener::bind("[::1]:0").expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let peer = AsaLocator::new(Ipv6Addr::LOCALHOST, None).with_port(port);
        let some = Some(LONG);
        assert_eq!(
            interrupted(|| engine.discover(asa, &money, some, Discover::default())),
            Err(Error::Unspec)
        );
        assert_eq!(interrupted(|| engine.req_negotiate(asa, &money, None, some)), Err(Error::Unspec));
        assert_eq!(
            interrupted(|| engine.req_negotiate(asa, &money, Some(&peer), some)),
            Err(Error::NoNegReply)
        );
        assert_eq!(
            interrupted(|| engine.synchronize(asa, &value, Some(&peer), some)),
            Err(Error::NoSynchReply)
        );
        assert_eq!(interrupted(|| engine.synchronize(asa, &value, None, some)), Err(Error::Unspec));
        assert_eq!(interrupted(|| engine.listen_negotiate(asa, &money)), Err(Error::Unspec));
        let opened = session(engine, asa, &money, &peer);
        assert_eq!(interrupted(|| engine.negotiate_step(asa, opened, &money, some)), Err(Error::NoNegReply));
        let opened = session(engine, asa, &money, &peer);
        assert_eq!(interrupted(|| engine.grecv(asa, opened, LONG)), Err(Error::NoReply));
        // Its peer does not read: at some point there is no more room.
        let opened = session(engine, asa, &money, &peer);
        let much = Value::from(vec![0; 1500]);
        let fill = || loop {
            if let Err(error) = engine.gsend(asa, opened, &much) {
                return error;
            }
        };
        assert_eq!(interrupted(fill), Error::SockErr);
        assert_eq!(engine.open_sessions(), 0);
    });
    host.expect_quiet();
}

#[test]
fn connecting_ends_early() {
    isolated!();
    let (_lab, host) = one(Config::new().connect_timeout(Duration::from_secs(100)));
    let money = negotiable("EX3", 1);
    host.register(&money);
    host.run(|engine, asa| {
        // Nobody answers for an address of the link that nobody has; the system would ask for three seconds.
        let (_, own) = *engine.links().first().expect("a link");
        let ifi = engine.links().first().map(|(ifi, _)| *ifi);
        assert_ne!(own, Ipv6Addr::UNSPECIFIED);
        let nobody = AsaLocator::new("fe80::dead".parse::<Ipv6Addr>().expect("an address"), ifi);
        let refused = interrupted(|| engine.req_negotiate(asa, &money, Some(&nobody), Some(LONG)));
        assert_eq!(refused, Err(Error::SockErrNegRq));
    });
}

#[test]
fn an_interrupted_listener_takes_no_request_and_others_do() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let money = negotiable("EX3", 1);
    host.register(&money);
    let engine = host.engine.clone();
    assert_eq!(
        host.run(|engine, asa| interrupted(|| engine.listen_negotiate(asa, &money))),
        Err(Error::Unspec)
    );
    eventually(SOON, "nobody listens", || host.listeners("EX3") == 0);
    let listener = host.listen(&money);
    let peer = host.locator("EX3");
    let _request = host.run(|engine, asa| session(engine, asa, &money, &peer));
    let (accepted, _) = listener.join().expect("the listener").expect("a request");
    host.run(|_, asa| engine.end_negotiate(asa, accepted, true, None)).expect("ended");
}
