//! What the tests of the API share: nodes of a lab with an engine and an ASA on each, objectives, and peers that
//! speak TCP by hand to play what no honest engine does.
//!
//! A failure in here is a failure of the test, so everything panics. Sockets belong to the network namespace of
//! the thread that makes them: [`Host::run`] and [`Host::thread`] call the engine inside its node.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::{
    fmt::Debug,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv6Addr, Shutdown, SocketAddrV6, TcpListener, TcpStream},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use grasp::{
    AsaLocator, AsaNonce, Config, Discover, Engine, Negotiation, Objective, RegisterObj, Result,
    SessionNonce, Value,
    wire::{self, Body, Flags, ItemScanner, Limits, Message, Progress, Step, WireObjective},
};
use socket2::SockRef;

use crate::accounts::assert_accounts;
use crate::lab::{ALL_GRASP_NEIGHBORS, Datagram, GRASP_LISTEN_PORT, Lab, Link, Node, RawUdp, eventually};
use crate::through_socket;

/// A CBOR item in a notation near to the RFC's: `cbor!([1, 7, IP6, ["EX1", 5, 6, ()]])`.
#[macro_export]
macro_rules! cbor {
    ([$($item:tt),* $(,)?]) => { ::grasp::Value::Array(vec![$($crate::cbor!($item)),*]) };
    ($item:expr) => { ::grasp::Value::from($item) };
}

/// How long a test waits for what should happen at once.
pub const SOON: Duration = Duration::from_secs(10);

/// What "at once" means where a test measures: much less than any timeout it could be mistaken for, and enough
/// for a first packet that has to be sent twice, a second later.
pub const AT_ONCE: Duration = Duration::from_secs(3);

/// A node with an engine and one registered ASA.
#[derive(Clone, Debug)]
pub struct Host {
    /// The machine.
    pub node: Node,
    /// The engine that runs on it.
    pub engine: Engine,
    /// The ASA, named after the node.
    pub asa: AsaNonce,
}

impl Host {
    /// Starts an engine on a node and registers an ASA with it.
    #[must_use]
    pub fn start(node: &Node, config: Config) -> Self {
        let engine = node.run(|| through_socket::start(config)).expect("the engine starts");
        let asa = engine.register_asa(node.name()).expect("an ASA is registered");
        Self { node: node.clone(), engine, asa }
    }

    /// The same node and engine as another ASA.
    #[must_use]
    pub fn another(&self, name: &str) -> Self {
        let asa = self.engine.register_asa(name).expect("another ASA is registered");
        Self { asa, ..self.clone() }
    }

    /// The same node and engine as an ASA that is not registered any more.
    #[must_use]
    pub fn gone(&self) -> Self {
        let gone = self.another("gone");
        self.engine.deregister_asa(gone.asa, "gone").expect("it is deregistered");
        gone
    }

    /// Calls the engine inside the node.
    pub fn run<R: Send>(&self, body: impl FnOnce(&Engine, AsaNonce) -> R + Send) -> R {
        self.node.run(|| body(&self.engine, self.asa))
    }

    /// Calls the engine inside the node, on a thread of its own.
    pub fn thread<R: Send + 'static>(
        &self,
        body: impl FnOnce(&Engine, AsaNonce) -> R + Send + 'static,
    ) -> JoinHandle<R> {
        let (engine, asa) = (self.engine.clone(), self.asa);
        self.node.spawn("asa", move || body(&engine, asa))
    }

    /// Registers an objective; must succeed.
    pub fn register(&self, objective: &Objective) {
        self.register_with(objective, RegisterObj::default());
    }

    /// Registers an objective with options; must succeed.
    pub fn register_with(&self, objective: &Objective, options: RegisterObj) {
        self.run(|engine, asa| engine.register_obj(asa, objective, options))
            .expect("an objective is registered");
    }

    /// Listens for one request on a thread of its own; returns when somebody listens.
    #[must_use]
    pub fn listen(&self, objective: &Objective) -> JoinHandle<Result<(SessionNonce, Objective)>> {
        let listeners = self.listeners(&objective.name);
        let objective = objective.clone();
        let name = objective.name.clone();
        let thread = self.thread(move |engine, asa| engine.listen_negotiate(asa, &objective));
        eventually(SOON, "the listener listens", || {
            self.listeners(&name) > listeners || thread.is_finished()
        });
        thread
    }

    /// How many calls listen for an objective, as `dump_all` shows it.
    #[must_use]
    pub fn listeners(&self, name: &str) -> usize {
        self.dumped(name, "Listen").parse().expect("a number of listeners")
    }

    /// The TCP port of an objective, as `dump_all` shows it.
    #[must_use]
    pub fn port(&self, name: &str) -> u16 {
        self.dumped(name, "Port").parse().expect("a port")
    }

    /// Where the objective can be reached from anywhere in the lab.
    #[must_use]
    pub fn locator(&self, name: &str) -> AsaLocator {
        let address = self.node.ula().expect("the node has a unique local address");
        AsaLocator::new(address, None).with_port(self.port(name))
    }

    fn dumped(&self, name: &str, field: &str) -> String {
        let dump = self.engine.dump(true);
        let line = dump.lines().find(|line| line.starts_with(&format!("{name} ASA: ")));
        let line = line.unwrap_or_else(|| panic!("{name} is not registered:\n{dump}"));
        let (_, rest) = line.split_once(&format!(" {field}: ")).expect("a field of the dump");
        rest.split(' ').next().expect("a word").to_owned()
    }

    /// Asks a hand-made peer on this node: `ask` is given its locator and the request goes to `answer`.
    pub fn against<R: Send>(
        &self,
        answer: impl FnOnce(RawStream, Message) + Send + 'static,
        ask: impl FnOnce(&Engine, AsaNonce, &AsaLocator) -> R + Send,
    ) -> R {
        let peer = RawPeer::on(&self.node);
        let locator = peer.locator();
        let thread = self.node.spawn("peer", move || {
            let mut stream = peer.accept();
            let request = stream.hear();
            answer(stream, request);
        });
        let result = self.run(|engine, asa| ask(engine, asa, &locator));
        thread.join().expect("the peer succeeds");
        result
    }

    /// A hand-made client that connects to the port of an objective here, from this node.
    #[must_use]
    pub fn client(&self, name: &str) -> RawStream {
        let port = self.port(name);
        RawStream::connect(&self.node, Ipv6Addr::LOCALHOST, port)
    }

    /// Everything is as it was before any session, and everything that happened has been counted: for the end of
    /// tests that may leave something behind.
    pub fn expect_quiet(&self) {
        eventually(SOON, "no session is open", || self.engine.open_sessions() == 0);
        assert_accounts(&self.engine);
    }
}

/// A lab of one link with one node and a host on it.
#[must_use]
pub fn one(config: Config) -> (Lab, Host) {
    let lab = Lab::new().expect("a lab");
    let node = lab.node("a").expect("a node");
    lab.lan(&[&node]).expect("a link");
    let host = Host::start(&node, config);
    (lab, host)
}

/// A lab of one link between two nodes, each with a host.
#[must_use]
pub fn two(config: Config) -> (Lab, Host, Host) {
    let (lab, _, a, b) = linked();
    let (near, far) = (Host::start(&a, config.clone()), Host::start(&b, config));
    (lab, near, far)
}

/// A lab of one link between two nodes without engines.
#[must_use]
pub fn linked() -> (Lab, Link, Node, Node) {
    let lab = Lab::new().expect("a lab");
    let (a, b) = (lab.node("a").expect("a node"), lab.node("b").expect("a node"));
    let link = lab.link(&a, &b).expect("a link");
    (lab, link, a, b)
}

/// A host on node `a`, and a watcher on node `b` that hears what it sends to the group.
#[must_use]
pub fn watched(config: Config) -> (Lab, Host, Node, RawUdp) {
    let (lab, _, a, b) = linked();
    let watcher = RawUdp::neighbors(&b, "eth0").expect("a watcher");
    (lab, Host::start(&a, config), b, watcher)
}

/// Registration as discoverable.
#[must_use]
pub fn discoverable() -> RegisterObj {
    RegisterObj { discoverable: true, ..RegisterObj::default() }
}

/// Registration that others may join.
#[must_use]
pub fn overlapping() -> RegisterObj {
    RegisterObj { overlap: true, ..RegisterObj::default() }
}

/// Discovery that ends with the first answer.
#[must_use]
pub fn first_answer() -> Discover {
    Discover { enough: Some(1), ..Discover::default() }
}

/// An objective that can be negotiated.
#[must_use]
pub fn negotiable(name: &str, value: impl Into<Value>) -> Objective {
    Objective { neg: true, value: value.into(), ..Objective::new(name) }
}

/// A negotiation of EX3: one side asks for 10, is offered 5, asks for 7 and gets it. The peer is discovered unless it is given.
#[track_caller]
pub fn negotiate(asker: &Host, server: &Host, peer: Option<&AsaLocator>) {
    negotiate_about("EX3", asker, server, peer);
}

/// The same about another objective.
#[track_caller]
pub fn negotiate_about(name: &str, asker: &Host, server: &Host, peer: Option<&AsaLocator>) {
    let listening = server.listen(&negotiable(name, 0));
    let (engine, asa) = (server.engine.clone(), server.asa);
    let serving = server.node.spawn("server", move || {
        let (session, asked) = listening.join().expect("the listener ends").expect("somebody asks");
        let (session, _) =
            offer(engine.negotiate_step(asa, session, &Objective { value: 5.into(), ..asked }, None));
        engine.end_negotiate(asa, session, true, None).expect("the session is open");
    });
    let agreed = asker.run(|engine, asa| {
        let (session, held) = offer(engine.req_negotiate(asa, &negotiable(name, 10), peer, Some(10_000)));
        engine.negotiate_step(asa, session, &Objective { value: 7.into(), ..held }, None)
    });
    assert!(matches!(agreed, Ok(Negotiation::Agreed(_))), "{agreed:?}");
    joined(serving);
}

/// An objective that can be synchronized and flooded.
#[must_use]
pub fn synchronizable(name: &str, value: impl Into<Value>) -> Objective {
    Objective { synch: true, value: value.into(), ..Objective::new(name) }
}

/// The offer that a request or step was answered with; must be one.
#[track_caller]
#[must_use]
pub fn offer(reply: Result<Negotiation>) -> (SessionNonce, Objective) {
    match reply {
        Ok(Negotiation::Offer(session, objective)) => (session, objective),
        other => panic!("no offer but {other:?}"),
    }
}

/// How a call failed; must have.
#[track_caller]
#[must_use]
pub fn failure<T: Debug>(result: Result<T>) -> grasp::Error {
    result.expect_err("the call should have failed")
}

/// The result of a thread, which must end soon: a thread that waits for ever would say nothing about why.
#[track_caller]
pub fn joined<T>(thread: JoinHandle<T>) -> T {
    eventually(SOON * 3, "the thread ends", || thread.is_finished());
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs `body` and asserts that it took no time worth speaking of.
#[track_caller]
pub fn at_once<R>(body: impl FnOnce() -> R) -> R {
    within(AT_ONCE, body)
}

/// Runs `body` and asserts that it took less than a time.
#[track_caller]
pub fn within<R>(limit: Duration, body: impl FnOnce() -> R) -> R {
    let started = Instant::now();
    let result = body();
    assert!(started.elapsed() < limit, "took {:?}", started.elapsed());
    result
}

/// A wire objective for negotiation (flags 3), as a body needs it.
#[must_use]
pub fn step(session: u32, name: &str, loop_count: u8, value: impl Into<Value>) -> Step {
    flagged(session, name, Flags::F_DISC | Flags::F_NEG, loop_count, value)
}

/// A wire objective with the flags given.
#[must_use]
pub fn flagged(session: u32, name: &str, flags: u64, loop_count: u8, value: impl Into<Value>) -> Step {
    let objective =
        WireObjective { name: name.to_owned(), flags: Flags(flags), loop_count, value: Some(value.into()) };
    Step { session, objective }
}

/// The next datagram of one type that a watcher hears, decoded.
#[track_caller]
pub fn heard(watcher: &RawUdp, wanted: impl Fn(&Body) -> bool) -> (Message, Datagram) {
    let decoded = |datagram: &Datagram| wire::decode(&datagram.bytes, &Limits::default()).ok();
    let datagram = watcher
        .receive_matching(SOON, |datagram| decoded(datagram).is_some_and(|message| wanted(&message.body)))
        .expect("the watcher works")
        .expect("the message is heard");
    (decoded(&datagram).expect("it was decoded before"), datagram)
}

/// A TCP port on which a peer made by hand listens.
#[derive(Debug)]
pub struct RawPeer {
    listener: TcpListener,
    port: u16,
}

impl RawPeer {
    /// Listens on all addresses of a node.
    #[must_use]
    pub fn on(node: &Node) -> Self {
        let listener = node.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0))).expect("a port");
        let port = listener.local_addr().expect("it has an address").port();
        Self { listener, port }
    }

    /// Where it is for those on the same node.
    #[must_use]
    pub fn locator(&self) -> AsaLocator {
        AsaLocator::new(Ipv6Addr::LOCALHOST, None).with_port(self.port)
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The next connection.
    #[must_use]
    pub fn accept(&self) -> RawStream {
        let (stream, _) = self.listener.accept().expect("a connection");
        RawStream::new(stream)
    }

    /// Whether a connection is waiting to be accepted.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.listener.set_nonblocking(true).expect("non-blocking");
        let accepted = self.listener.accept();
        self.listener.set_nonblocking(false).expect("blocking");
        accepted.is_ok()
    }
}

/// A TCP connection with a peer made by hand at this end.
#[derive(Debug)]
pub struct RawStream {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl RawStream {
    /// Around a connection.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, rest: Vec::new() }
    }

    /// Connects from a node to an address of more than link scope, and port.
    #[must_use]
    pub fn connect(node: &Node, address: Ipv6Addr, port: u16) -> Self {
        Self::reach(node, SocketAddrV6::new(address, port, 0, 0))
    }

    /// Connects from a node.
    #[must_use]
    pub fn reach(node: &Node, target: SocketAddrV6) -> Self {
        Self::new(node.run(|| TcpStream::connect_timeout(&target.into(), SOON)).expect("a connection"))
    }

    /// Sends bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the bytes are sent");
    }

    /// Sends bytes; an error once the other end has broken off.
    ///
    /// # Errors
    ///
    /// That of the system.
    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends bytes in segments of one byte.
    pub fn dribble(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write(&[*byte]));
    }

    /// Sends a message.
    pub fn say(&mut self, body: Body) {
        self.write(&wire::encode(&Message::new(body)));
    }

    /// Receives one CBOR item; `None` at the end of the stream or after a reset.
    #[must_use]
    pub fn read(&mut self) -> Option<Vec<u8>> {
        let mut item = std::mem::take(&mut self.rest);
        let mut scanner = ItemScanner::new(Limits::default());
        let mut progress = scanner.feed(&item).expect("an item");
        let mut chunk = [0; 4096];
        loop {
            if let Progress::Complete(end) = progress {
                self.rest = item.split_off(end);
                return Some(item);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => {
                    let piece = chunk.get(..count).expect("no more than the chunk");
                    item.extend_from_slice(piece);
                    progress = scanner.feed(piece).expect("an item");
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing is received: {error}"),
            }
        }
    }

    /// Receives one message; must come.
    pub fn hear(&mut self) -> Message {
        let item = self.read().expect("a message before the end");
        wire::decode(&item, &Limits::default()).expect("a message of GRASP")
    }

    /// Waits until the other end has closed the connection; nothing more may come before.
    pub fn expect_end(&mut self) {
        let more = self.read();
        assert!(more.is_none(), "before the end came {more:02x?}");
    }

    /// Waits until something has arrived, and leaves it there.
    pub fn wait_for_bytes(&self) {
        assert_ne!(self.stream.peek(&mut [0]).expect("bytes"), 0, "the other end has closed");
    }

    /// Tells the other end that nothing more will be sent. It may have broken off already.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Breaks the connection off: the other end sees a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("no lingering");
    }
}

/// A discoverer made by hand: a UDP port on one link and the TCP port of the same number, where responses come.
#[derive(Debug)]
pub struct RawAsker {
    listener: TcpListener,
    udp: RawUdp,
    address: Ipv6Addr,
}

impl RawAsker {
    /// On the first interface of a node.
    #[must_use]
    pub fn on(node: &Node) -> Self {
        let address = node.link_local("eth0").expect("a link-local address");
        let ifi = node.interface_index("eth0").expect("an interface");
        let bound = node.run(|| TcpListener::bind(SocketAddrV6::new(address, 0, 0, ifi)));
        let listener = bound.expect("a port");
        let port = listener.local_addr().expect("it has an address").port();
        let udp = RawUdp::open(node, "eth0", address, port).expect("the same UDP port");
        Self { listener, udp, address }
    }

    /// Sends an M_DISCOVERY to the group.
    pub fn discover(&self, session: u32, name: &str, loop_count: u8) {
        let objective = flagged(session, name, Flags::F_DISC, loop_count, ()).objective;
        let body = Body::Discovery { session, initiator: self.address.into(), objective };
        self.send(&wire::encode(&Message::new(body)));
    }

    /// Sends any bytes to the group.
    pub fn send(&self, bytes: &[u8]) {
        self.udp.send(bytes, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).expect("it is sent");
    }

    /// Waits for the next M_RESPONSE.
    #[must_use]
    pub fn response(&self) -> wire::Response {
        let (stream, _) = self.listener.accept().expect("a responder connects");
        match RawStream::new(stream).hear().body {
            Body::Response(response) => response,
            other => panic!("no response but {other:?}"),
        }
    }

    /// What the only host on the link answers to a discovery: its response, or nothing. A machine that is very
    /// busy may lose a packet, so it is asked again, under another session.
    #[must_use]
    pub fn answer_of(&self, host: &Host, session: u32, name: &str) -> Option<wire::Response> {
        for attempt in 0..10 {
            let before = host.engine.stats();
            self.discover(session + 1000 * attempt, name, 1);
            let deadline = Instant::now() + SOON / 5;
            while Instant::now() < deadline {
                let now = host.engine.stats();
                if now.responses_sent > before.responses_sent {
                    return Some(self.response());
                }
                if now.discoveries_unanswered > before.discoveries_unanswered {
                    return None;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        panic!("the discovery is not handled: {:?}", host.engine.stats());
    }
}

/// A responder made by hand: it hears the discoveries of one link, and answers them with what a test likes.
#[derive(Debug)]
pub struct RawResponder {
    node: Node,
    watcher: RawUdp,
}

impl RawResponder {
    /// On the first interface of a node.
    #[must_use]
    pub fn on(node: &Node) -> Self {
        let watcher = RawUdp::neighbors(node, "eth0").expect("a watcher");
        Self { node: node.clone(), watcher }
    }

    /// Answers the discoveries of an objective, each with an M_RESPONSE that has these locators, valid for `ttl`
    /// milliseconds, and an objective for rapid mode, until a thread ends, whose result it returns.
    #[track_caller]
    pub fn answer<T>(
        &self,
        asker: JoinHandle<T>,
        name: &str,
        (ttl, locators): (u32, &[AsaLocator]),
        objective: Option<&WireObjective>,
    ) -> T {
        let deadline = Instant::now() + SOON * 3;
        while !asker.is_finished() {
            assert!(Instant::now() < deadline, "the discovery goes on");
            let datagram = self.watcher.receive(Duration::from_millis(20)).expect("the watcher works");
            if let Some(datagram) = datagram
                && let Ok(message) = wire::decode(&datagram.bytes, &Limits::default())
                && let Body::Discovery { session, initiator, objective: wanted } = message.body
                && wanted.name == name
            {
                let locators = locators.iter().filter_map(wire::WireLocator::from_locator);
                let options = locators.map(wire::WireOption::Locator).collect();
                let response =
                    wire::Response { session, initiator, ttl, options, objective: objective.cloned() };
                RawStream::reach(&self.node, datagram.source).say(Body::Response(response));
            }
        }
        joined(asker)
    }
}
