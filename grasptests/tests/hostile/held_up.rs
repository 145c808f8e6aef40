//! What becomes of messages while a thread of the engine is held up: queues are bounded in entries and in memory, and
//! everything is counted.
//!
//! The engine is in a domain of its own, without encryption, that a test can make wait (`Gate`).

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use grasp::acp::{AcpStatus, Protection, SealedReader, Substrate, Whole};
use grasp::wire::{
    Body, DecodeError, Flags, Flood, ItemScanner, Limits, Message, Progress, Response, WireLocator,
    WireOption, encode,
};
use grasp::{Acp, AsaLocator, Config, Discover, Objective};
use grasptests::isolated;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, Node, RawUdp, eventually};
use grasptests::nodes::{Host, RawStream, SOON, flagged, heard, joined, negotiable};
use parking_lot::{Condvar, Mutex};

/// Holds up the threads of some names wherever they seal a message or take one in.
#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<Closed>,
    opened: Condvar,
}

#[derive(Debug, Default)]
struct Closed {
    names: HashSet<&'static str>,
    waiting: usize,
}

impl Gate {
    fn close(&self, name: &'static str) {
        self.closed.lock().names.insert(name);
    }

    fn open(&self) {
        self.closed.lock().names.clear();
        self.opened.notify_all();
    }

    /// How many threads are held up.
    fn waiting(&self) -> usize {
        self.closed.lock().waiting
    }

    fn pass(&self) {
        let own = std::thread::current();
        let Some(name) = own.name() else { return };
        let mut closed = self.closed.lock();
        if closed.names.contains(name) {
            closed.waiting += 1;
            self.opened.wait_while(&mut closed, |closed| closed.names.contains(name));
            closed.waiting -= 1;
        }
    }
}

/// A substrate whose messages go as they are, through the gate.
#[derive(Clone, Debug, Default)]
struct Domain(Arc<Gate>);

impl Substrate for Domain {
    fn status(&self) -> AcpStatus {
        AcpStatus::Secure
    }

    fn protection(&self) -> Option<Arc<dyn Protection>> {
        Some(Arc::new(self.clone()))
    }
}

impl Protection for Domain {
    fn seal(&self, message: &[u8]) -> Vec<u8> {
        self.0.pass();
        message.to_vec()
    }

    fn sealed_length(&self, length: usize) -> usize {
        length
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        Some(sealed.to_vec())
    }

    fn reader(&self, limits: Limits) -> Box<dyn SealedReader> {
        Box::new(Reader { gate: Arc::clone(&self.0), scanner: ItemScanner::new(limits), message: Vec::new() })
    }
}

#[derive(Debug)]
struct Reader {
    gate: Arc<Gate>,
    scanner: ItemScanner,
    message: Vec<u8>,
}

impl SealedReader for Reader {
    fn feed(&mut self, piece: &[u8]) -> Result<Option<Whole>, DecodeError> {
        if !piece.is_empty() {
            self.gate.pass();
        }
        self.message.extend_from_slice(piece);
        let Progress::Complete(end) = self.scanner.feed(piece)? else { return Ok(None) };
        let rest = self.message.split_off(end);
        Ok(Some(Whole { message: std::mem::take(&mut self.message), rest }))
    }
}

/// A relay with a neighbour made by hand on either side.
struct Scene {
    gate: Arc<Gate>,
    host: Host,
    near: Node,
    far: Node,
    _lab: Lab,
}

impl Scene {
    fn new(config: Config) -> Self {
        let lab = Lab::new().unwrap();
        let [relay, near, far] = ["relay", "near", "far"].map(|name| lab.node(name).unwrap());
        lab.link(&relay, &near).unwrap();
        lab.link(&relay, &far).unwrap();
        let domain = Domain::default();
        let gate = Arc::clone(&domain.0);
        let host = Host::start(&relay, config.acp(Acp::Custom(Arc::new(domain))));
        Self { gate, host, near, far, _lab: lab }
    }

    fn neighbour(&self) -> RawUdp {
        RawUdp::open(&self.near, "eth0", self.near.link_local("eth0").unwrap(), 0).unwrap()
    }

    /// Where the relay takes answers on the far link: where its own discoveries come from.
    fn answers_to(&self) -> SocketAddrV6 {
        let watcher = RawUdp::neighbors(&self.far, "eth0").unwrap();
        let asker = self.host.thread(|engine, asa| {
            engine.discover(asa, &Objective::new("first"), Some(100), Discover::default()).unwrap()
        });
        let (_, datagram) = heard(&watcher, |body| matches!(body, Body::Discovery { .. }));
        joined(asker);
        datagram.source
    }

    /// Has the relay begin to relay a discovery, and holds it up. Then answers come. Returns when they have been received.
    fn relay_held_up_while_answers_come(&self, answers: u64) {
        let to = self.answers_to();
        let (session, initiator) = (4711, self.near.ula().unwrap());
        self.gate.close("_disc_relay");
        let objective = flagged(session, "EX1", Flags::F_DISC, 3, ()).objective;
        say(&self.neighbour(), Body::Discovery { session, initiator: initiator.into(), objective });
        eventually(SOON, "the relay is held up", || self.gate.waiting() == 1);
        for port in (1..=answers).map(|port| u16::try_from(port).unwrap()) {
            let locator = AsaLocator::new(self.far.ula().unwrap(), None).with_port(port);
            let options = vec![WireOption::Locator(WireLocator::from_locator(&locator).unwrap())];
            let initiator = IpAddr::from(initiator);
            let response = Response { session, initiator, ttl: 60_000, options, objective: None };
            RawStream::reach(&self.far, to).say(Body::Response(response));
        }
        let received = || self.host.engine.stats().responses_received;
        eventually(SOON, "the answers are received", || received() == answers);
    }
}

fn say(socket: &RawUdp, body: Body) {
    socket.send(&encode(&Message::new(body)), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
}

/// A flood that goes further than the link.
fn flood(from: Ipv6Addr, session: u32, size: usize) -> Body {
    let objective = flagged(session, "EX1", Flags::F_DISC | Flags::F_SYNCH, 6, vec![0_u8; size]).objective;
    Body::Flood(Flood { session, initiator: from.into(), ttl: 60_000, objectives: vec![(objective, None)] })
}

#[test]
fn datagrams_that_wait_have_little_memory_in_all() {
    isolated!();
    const MEMORY: usize = 20_000;
    const SIZE: usize = 1000;
    const COUNT: u64 = 200;
    let scene = Scene::new(Config::new().multicast_queue(1000).multicast_queue_size(MEMORY));
    let (engine, neighbour) = (&scene.host.engine, scene.neighbour());
    let from = scene.near.ula().unwrap();
    let received = || engine.stats().multicast_received;
    // Deciding is held up by a flood that is relayed: one of a burst, since the receiving thread decides about one that comes alone.
    scene.gate.close("_mhandler");
    let mut sent = 0;
    let mut send = || {
        say(&neighbour, flood(from, sent, SIZE));
        sent += 1;
        u64::from(sent)
    };
    let mut all = 0;
    eventually(SOON, "it is held up", || {
        all = (0..20).map(|_| send()).last().unwrap();
        scene.gate.waiting() == 1
    });
    // Others may have sent something, too.
    eventually(SOON, "the burst is received", || received() >= all);
    for _ in 0..COUNT {
        let all = send();
        eventually(SOON, "it is received", || received() >= all);
    }
    let most = u64::try_from(MEMORY / SIZE).unwrap();
    eventually(SOON, "the others are dropped, and counted", || {
        engine.stats().dropped_queue_full >= COUNT - most
    });
    assert!(engine.stats().queue_peak <= most, "{:?}", engine.stats());
    scene.gate.open();
    scene.host.expect_quiet();
    // Nothing of it is taken any more.
    let before = engine.stats();
    say(&neighbour, flood(from, 1_000_000, SIZE));
    eventually(SOON, "the next is cached", || engine.stats().floods_received > before.floods_received);
    assert_eq!(engine.stats().dropped_queue_full, before.dropped_queue_full);
    scene.host.expect_quiet();
}

#[test]
fn answers_that_a_discovery_has_no_room_for_are_counted() {
    isolated!();
    let scene = Scene::new(Config::new().response_queue(2));
    scene.relay_held_up_while_answers_come(5);
    let dropped = || scene.host.engine.stats().dropped_mailbox_full;
    eventually(SOON, "two wait, the others are dropped", || dropped() == 3);
    scene.gate.open();
    scene.host.expect_quiet();
    let stats = scene.host.engine.stats();
    assert_eq!(stats.answers_delivered, 2);
    assert_eq!(stats.answers_relayed + stats.answers_not_relayed, 2, "{stats:?}");
}

#[test]
fn answers_that_a_relay_does_not_pass_on_any_more_are_counted() {
    isolated!();
    const ANSWERS: u64 = 32;
    let scene = Scene::new(Config::new().response_queue(32));
    scene.relay_held_up_while_answers_come(ANSWERS);
    let engine = scene.host.engine.clone();
    let stopping = scene.host.thread(|engine, _| engine.shutdown());
    eventually(SOON, "the engine ends", || engine.register_asa("late").is_err_and(|error| error.code() == 3));
    scene.gate.open();
    joined(stopping);
    let stats = engine.stats();
    // It takes either, the end or an answer, until the end comes first: not all of so many answers are passed on.
    assert!(stats.answers_unused > 0, "{stats:?}");
    assert_eq!(
        stats.answers_unused + stats.answers_relayed + stats.answers_not_relayed,
        ANSWERS,
        "{stats:?}"
    );
}

#[test]
fn a_request_that_is_complete_when_its_connection_has_to_go_is_counted() {
    isolated!();
    let scene = Scene::new(Config::new().reader_limit(1).request_deadline(Duration::from_secs(60)));
    let (host, gate) = (&scene.host, &scene.gate);
    host.register(&negotiable("EX1", 1));
    let request =
        encode(&Message::new(Body::RequestNegotiate(flagged(1, "EX1", Flags::F_DISC | Flags::F_NEG, 6, 1))));
    let (beginning, end) = request.split_at(request.len() / 2);
    let begun = || {
        let mut client = host.client("EX1");
        client.write(beginning);
        client
    };
    let mut first = begun();
    eventually(SOON, "it is waited for the rest", || host.engine.stats().readers_peak == 1);
    gate.close("_reader");
    first.write(end);
    eventually(SOON, "the rest is there, and not taken in", || gate.waiting() >= 1);
    let second = begun();
    eventually(SOON, "the first has to go", || host.engine.stats().dropped_reader_full == 1);
    gate.open();
    eventually(SOON, "its request is counted", || host.engine.stats().dropped_evicted == 1);
    second.reset();
    first.expect_end();
    host.expect_quiet();
    assert_eq!(host.engine.stats().negotiation_requests, 0);
}
