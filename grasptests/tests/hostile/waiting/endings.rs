//! Peers that have gone: what they said before counts. Those that take nothing: shutdown does not wait for them.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use grasp::wire::{Body, Outcome};
use grasp::{Bubbles, Config, Engine, Error, SessionNonce, TaggedObjective, Value, tprint};
use grasptests::isolated;
use grasptests::lab::{Lab, eventually};
use grasptests::nodes::{
    AT_ONCE, Host, RawPeer, RawStream, SOON, failure, joined, linked, negotiable, offer, one, step,
    synchronizable, within,
};
use socket2::SockRef;

/// A host in a session with a peer, which has heard the request, says something more and closes.
fn left_alone(
    ask: impl FnOnce(&Engine, grasp::AsaNonce, &grasp::AsaLocator) -> SessionNonce + Send,
    say: impl FnOnce(&mut RawStream, u32) + Send + 'static,
) -> (Lab, Host, SessionNonce) {
    let (lab, host) = one(Config::new());
    host.register(&negotiable("EX1", 0));
    let peer = RawPeer::on(&host.node);
    let locator = peer.locator();
    let thread = host.node.spawn("peer", move || {
        let mut stream = peer.accept();
        let session = stream.hear().session().unwrap();
        say(&mut stream, session);
    });
    let session = host.run(|engine, asa| ask(engine, asa, &locator));
    // It has closed.
    joined(thread);
    (lab, host, session)
}

/// Offers 1, and declines before that is answered.
fn declined() -> (Lab, Host, SessionNonce) {
    let ask = |engine: &Engine, asa, locator: &grasp::AsaLocator| {
        offer(engine.req_negotiate(asa, &negotiable("EX1", 5), Some(locator), Some(10_000))).0
    };
    left_alone(ask, |stream, session| {
        stream.say(Body::Negotiate(step(session, "EX1", 5, 1)));
        stream.say(Body::End { session, outcome: Outcome::Decline(Some("no more".into())) });
    })
}

#[test]
fn a_step_to_a_peer_that_has_declined_and_gone_says_so() {
    isolated!();
    let (_lab, host, session) = declined();
    host.run(|engine, asa| {
        engine.negotiate_wait(asa, session, None).expect("the system does not know yet");
        let stepped = engine.negotiate_step(asa, session, &negotiable("EX1", 4), None);
        assert_eq!(failure(stepped), Error::Declined(Some("no more".into())));
        let again = engine.negotiate_step(asa, session, &negotiable("EX1", 4), None);
        assert_eq!(failure(again), Error::NoSession);
    });
    host.expect_quiet();
}

#[test]
fn a_request_for_time_that_fails_leaves_the_answer_to_the_next_step() {
    isolated!();
    let (_lab, host, session) = declined();
    host.run(|engine, asa| {
        engine.negotiate_wait(asa, session, None).expect("the system does not know yet");
        assert_eq!(failure(engine.negotiate_wait(asa, session, None)), Error::SockErrWait);
        let stepped = engine.negotiate_step(asa, session, &negotiable("EX1", 4), None);
        assert_eq!(failure(stepped), Error::Declined(Some("no more".into())));
    });
    host.expect_quiet();
}

#[test]
fn a_step_to_a_peer_that_has_gone_without_a_word_fails() {
    isolated!();
    let ask = |engine: &Engine, asa, locator: &grasp::AsaLocator| {
        offer(engine.req_negotiate(asa, &negotiable("EX1", 5), Some(locator), Some(10_000))).0
    };
    let (_lab, host, session) =
        left_alone(ask, |stream, session| stream.say(Body::Negotiate(step(session, "EX1", 5, 1))));
    host.run(|engine, asa| {
        engine.negotiate_wait(asa, session, None).expect("the system does not know yet");
        let stepped = engine.negotiate_step(asa, session, &negotiable("EX1", 4), None);
        assert_eq!(failure(stepped), Error::SockErrNegStep);
    });
    host.expect_quiet();
}

#[test]
fn what_a_peer_sent_before_it_went_is_received_after_sending_to_it_has_failed() {
    isolated!();
    let ask = |engine: &Engine, asa, locator: &grasp::AsaLocator| {
        engine.req_negotiate_noloop(asa, &negotiable("EX1", 5), Some(locator), None).unwrap()
    };
    let (_lab, host, session) = left_alone(ask, |stream, _| {
        // Two items: the second is in the engine's own buffer when the first is read.
        stream.write(&[Value::from("first").encode(), Value::from("second").encode()].concat());
    });
    host.run(|engine, asa| {
        let item = Value::from("too late");
        engine.gsend(asa, session, &item).expect("the system does not know yet");
        for said in ["first", "second"] {
            assert_eq!(failure(engine.gsend(asa, session, &item)), Error::SockErr);
            assert_eq!(engine.grecv(asa, session, 10_000).unwrap(), Value::from(said));
        }
        assert_eq!(failure(engine.gsend(asa, session, &item)), Error::SockErr);
        assert_eq!(failure(engine.grecv(asa, session, 10_000)), Error::NoSession);
    });
    host.expect_quiet();
}

#[test]
fn shutdown_does_not_wait_for_a_browser_that_reads_slowly() {
    isolated!();
    let (_lab, _, a, _) = linked();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let bubbles = a.run(|| Bubbles::bind("Slow", address).unwrap());
    let host = Host::start(&a, Config::new().bubbles(Some(bubbles.clone())));
    let at = bubbles.address().unwrap();
    let mut browser = a.run(|| TcpStream::connect(at).unwrap());
    SockRef::from(&browser).set_recv_buffer_size(4096).unwrap();
    browser.write_all(format!("GET /events HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes()).unwrap();
    let mut head = [0; 12];
    browser.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    // Much more than fits into any buffer. The page keeps the latest only, so that it goes on until some is under way.
    let text = "x".repeat(16 << 10);
    let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
    let teller = host.node.spawn("teller", move || {
        while stopped.recv_timeout(Duration::from_millis(1)).is_err_and(|error| error.is_timeout()) {
            tprint!(text);
        }
    });
    let reader = host.node.spawn("browser", move || {
        let mut chunk = [0; 1024];
        while let Ok(1..) = browser.read(&mut chunk) {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    // What the system keeps for it has not grown for a while, although much is told: it does not keep up.
    let (mut most, mut since) = (0, Instant::now());
    eventually(SOON * 2, "the browser does not keep up", || {
        let now = host.node.run(|| queued(at.port()));
        if now > most {
            (most, since) = (now, Instant::now());
        }
        most > 0 && since.elapsed() > Duration::from_millis(500)
    });
    within(AT_ONCE, || host.engine.shutdown());
    drop(stop);
    joined(teller);
    drop(reader);
}

/// How much of what was sent from a port waits to be taken, in bytes.
fn queued(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    let from = format!(":{port:04X}");
    let waiting = table.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let (sent, _) = fields.get(4)?.split_once(':')?;
        fields.get(1)?.ends_with(&from).then(|| u64::from_str_radix(sent, 16).ok())?
    });
    waiting.sum()
}

#[test]
fn a_capture_into_a_pipe_holds_up_neither_the_start_nor_the_end() {
    isolated!();
    let pipe = std::env::temp_dir().join(format!("grasp-pipe-{}", std::process::id()));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (_lab, _, a, b) = linked();
    // Nobody reads it.
    let unread = within(AT_ONCE, || Host::start(&b, Config::new().pcap(Some(pipe.clone()))));
    within(AT_ONCE, || unread.engine.shutdown());
    // Somebody opens it, and drains nothing.
    let nonblocking = nix::libc::O_NONBLOCK;
    let end = std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(&pipe).unwrap();
    let host = Host::start(&a, Config::new().pcap(Some(pipe.clone())));
    let value = synchronizable("EX2", Value::Bytes(vec![7; 1000]));
    host.register(&value);
    host.run(|engine, asa| {
        for _ in 0..200 {
            engine.flood(asa, 60_000, &[TaggedObjective::new(value.clone(), None)]).unwrap();
        }
    });
    // 64 KiB have room.
    let lost = || host.engine.stats().multicast_sent >= 200;
    eventually(SOON, "much more was sent than has room", lost);
    within(AT_ONCE, || host.engine.shutdown());
    drop(end);
    std::fs::remove_file(pipe).unwrap();
}
