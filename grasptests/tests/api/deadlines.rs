//! Deadlines that no peer can put off: by reading slowly, by messages that mean nothing, by addresses where nobody
//! answers.

use std::io::Read as _;
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use grasp::wire::{Body, Flags, Message, encode};
use grasp::{AsaLocator, AsaNonce, Config, Engine, Error, Value};
use grasptests::lab::Node;
use grasptests::nodes::{
    Host, RawPeer, RawResponder, RawStream, SOON, failure, flagged, joined, linked, negotiable, one,
    synchronizable,
};
use grasptests::{cbor, isolated};
use socket2::{Domain, SockRef, Socket, Type};

/// How often a peer here reads or says a little.
const PACE: Duration = Duration::from_millis(50);

/// How much a busy machine may add to a time.
const LATE: Duration = Duration::from_secs(3);

#[test]
fn a_peer_that_reads_slowly_does_not_prolong_a_call() {
    isolated!();
    const SIZE: usize = 2 << 20;
    let time = Duration::from_millis(500);
    let (_lab, _, a, b) = linked();
    let host = Host::start(&a, Config::new().unicast_size(SIZE).connect_timeout(time));
    host.register(&negotiable("EX1", 0));
    // It takes a seventh of a megabyte a second, so that every write gets on a little.
    let listener = b.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
    SockRef::from(&listener).set_recv_buffer_size(8192).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (over, is_over) = bounded::<()>(0);
    let reader = b.spawn("reader", move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut total = 0;
        while is_over.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
            match stream.read(&mut [0; 8192]) {
                Ok(1..) => total += 1,
                _ => break,
            }
        }
        total
    });
    let peer = AsaLocator::new(b.ula().unwrap(), None).with_port(port);
    let large = negotiable("EX1", Value::Bytes(vec![0; SIZE - 1000]));
    let started = Instant::now();
    let result = host.run(|engine, asa| engine.req_negotiate(asa, &large, Some(&peer), None));
    let took = started.elapsed();
    drop(over);
    assert_eq!(failure(result), Error::SockErrNegRq);
    assert!(took < time + LATE, "took {took:?}");
    assert!(joined(reader) > 0, "something was read");
    host.expect_quiet();
}

/// Calls a peer that says the same again and again, for ten seconds or until the call has ended. Returns how it failed.
fn against_a_chatterer(
    host: &Host,
    says: &[u8],
    call: impl FnOnce(&Engine, AsaNonce, &AsaLocator) -> Error + Send,
) -> Error {
    let says = says.to_vec();
    let (over, is_over) = bounded::<()>(0);
    let chatter = move |mut stream: RawStream, _| {
        let until = Instant::now() + SOON;
        while Instant::now() < until && stream.try_write(&says).is_ok() {
            if is_over.recv_timeout(PACE) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
    };
    host.against(chatter, |engine, asa, peer| {
        let started = Instant::now();
        let error = call(engine, asa, peer);
        let took = started.elapsed();
        drop(over);
        assert!(took < TIMEOUT + LATE, "took {took:?}");
        error
    })
}

const TIMEOUT: Duration = Duration::from_millis(500);

#[test]
fn messages_that_mean_nothing_do_not_prolong_the_wait_for_an_answer() {
    isolated!();
    let (_lab, host) = one(Config::new());
    host.register(&negotiable("EX1", 1));
    let timeout = u32::try_from(TIMEOUT.as_millis()).ok();
    for nothing in [encode(&Message::new(Body::Noop)), cbor!([77, 5, "what is this"]).encode()] {
        let error = against_a_chatterer(&host, &nothing, |engine, asa, peer| {
            failure(engine.req_negotiate(asa, &negotiable("EX1", 1), Some(peer), timeout))
        });
        assert_eq!(error, Error::NoNegReply);
        let error = against_a_chatterer(&host, &nothing, |engine, asa, peer| {
            failure(engine.synchronize(asa, &synchronizable("EX2", ()), Some(peer), timeout))
        });
        assert_eq!(error, Error::NoSynchReply);
    }
    let stats = host.engine.stats();
    assert!(stats.noop_received > 2 && stats.dropped_unknown_type > 2, "they were heard: {stats:?}");
    host.expect_quiet();
}

/// A port that is listened to and takes no connection: its queue is full.
struct DeafPort {
    address: SocketAddrV6,
    _listener: Socket,
    _queue: Vec<TcpStream>,
}

impl DeafPort {
    fn on(node: &Node) -> Self {
        let address = node.ula().unwrap();
        node.run(|| {
            let listener = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
            listener.bind(&SocketAddrV6::new(address, 0, 0, 0).into()).unwrap();
            listener.listen(0).unwrap();
            let address = listener.local_addr().unwrap().as_socket_ipv6().unwrap();
            let connect = || TcpStream::connect_timeout(&address.into(), Duration::from_millis(300));
            let queue = (0..10).map_while(|_| connect().ok()).collect::<Vec<_>>();
            assert!(queue.len() < 10, "the queue is never full");
            Self { address, _listener: listener, _queue: queue }
        })
    }

    fn locator(&self) -> AsaLocator {
        AsaLocator::new(*self.address.ip(), None).with_port(self.address.port())
    }
}

#[test]
fn the_time_for_connecting_is_shared_among_all_who_were_discovered() {
    isolated!();
    let (_lab, _, a, b) = linked();
    let time = Duration::from_secs(4);
    let host = Host::start(&a, Config::new().connect_timeout(time));
    let responder = RawResponder::on(&b);
    let ports = [(); 3].map(|()| DeafPort::on(&b));
    let deaf: Vec<_> = ports.iter().map(DeafPort::locator).collect();
    let ask = |name: &'static str, timeout: u32| {
        host.thread(move |engine, asa| {
            let started = Instant::now();
            (engine.synchronize(asa, &synchronizable(name, ()), None, Some(timeout)), started.elapsed())
        })
    };

    // Those who are silent leave time for the last one.
    let peer = RawPeer::on(&b);
    let alive = AsaLocator::new(b.ula().unwrap(), None).with_port(peer.port());
    let peers = [&deaf[..2], &[alive]].concat();
    let server = b.spawn("server", move || {
        let mut stream = peer.accept();
        let Body::RequestSynchronize(asked) = stream.hear().body else { panic!("another message") };
        stream.say(Body::Synch(flagged(asked.session, "EX2", Flags::F_DISC | Flags::F_SYNCH, 6, 2)));
        stream.expect_end();
    });
    let (result, took) = responder.answer(ask("EX2", 20_000), "EX2", (60_000, &peers), None);
    assert_eq!(result.expect("a value").value, Value::from(2));
    assert!(took < time + LATE, "took {took:?}");
    joined(server);

    // Nobody answers: all of them together get the time, and not each. Others are looked for as long as the call may last.
    let (result, took) = responder.answer(ask("EX3", 4000), "EX3", (60_000, &deaf), None);
    assert_eq!(failure(result), Error::SockErrSynRq);
    assert!(took < time + LATE, "took {took:?}");
    host.expect_quiet();
}

#[test]
fn who_finds_nobody_has_looked_for_as_long_as_wanted_or_as_a_discovery_takes() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let near = |mut objective: grasp::Objective| {
        objective.loop_count = 1;
        objective
    };
    let (ex1, ex2) = (near(negotiable("EX1", 0)), near(synchronizable("EX2", ())));
    host.register(&ex1);
    let wanted = 2 * LATE;
    let milliseconds = u32::try_from(wanted.as_millis()).unwrap();
    let is_long = |started: Instant| started.elapsed() + PACE >= wanted;
    for (timeout, long) in [(None, false), (Some(0), false), (Some(milliseconds), true)] {
        let started = Instant::now();
        let nobody = host.run(|engine, asa| engine.req_negotiate(asa, &ex1, None, timeout));
        assert_eq!(failure(nobody), Error::NoDiscReply);
        assert_eq!(is_long(started), long, "{timeout:?}: {:?}", started.elapsed());
        let started = Instant::now();
        let nobody = host.run(|engine, asa| engine.synchronize(asa, &ex2, None, timeout));
        assert_eq!(failure(nobody), Error::NotFloodDisc);
        assert_eq!(is_long(started), long, "{timeout:?}: {:?}", started.elapsed());
    }
}

#[test]
fn no_time_means_the_default_for_an_answer_and_for_patience() {
    isolated!();
    let time = Duration::from_millis(700);
    let (_lab, host) = one(Config::new().default_timeout(700));
    host.register(&negotiable("EX1", 0));
    let peer = RawPeer::on(&host.node);
    let (locator, silent) = (
        peer.locator(),
        host.node.spawn("silent", move || {
            let mut stream = peer.accept();
            stream.hear();
            stream.expect_end();
        }),
    );
    let started = Instant::now();
    let reply =
        host.run(|engine, asa| engine.req_negotiate(asa, &negotiable("EX1", 0), Some(&locator), Some(0)));
    assert_eq!(failure(reply), Error::NoNegReply);
    assert!(started.elapsed() >= time, "{:?}", started.elapsed());
    joined(silent);

    let listening = host.listen(&negotiable("EX1", 0));
    let mut client = host.client("EX1");
    client.say(Body::RequestNegotiate(flagged(7, "EX1", Flags::F_DISC | Flags::F_NEG, 6, 1)));
    let (session, _) = joined(listening).unwrap();
    for timeout in [None, Some(0), Some(5)] {
        host.run(|engine, asa| engine.negotiate_wait(asa, session, timeout)).unwrap();
        let expected = if timeout == Some(5) { 5 } else { 700 };
        assert!(matches!(client.hear().body, Body::Wait { session: 7, time } if time == expected));
    }
    host.engine.end_negotiate(host.asa, session, false, None).unwrap();
}

#[test]
fn what_cannot_be_sent_is_not_tried_with_one_peer_after_another() {
    isolated!();
    let (_lab, near, far) = grasptests::nodes::two(Config::new());
    far.register_with(&negotiable("EX1", 0), grasptests::nodes::discoverable());
    near.register(&negotiable("EX1", 0));
    let large = negotiable("EX1", "x".repeat(3000));
    let started = Instant::now();
    let refused = near.run(|engine, asa| engine.req_negotiate(asa, &large, None, Some(60_000)));
    assert!(matches!(failure(refused), Error::TooLarge { .. }));
    assert!(started.elapsed() < 20 * LATE / 3, "{:?}", started.elapsed());
}
