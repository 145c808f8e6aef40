//! A node and the processes that use it: what happens when one of them ends, does not keep up, wants too much or speaks nonsense.

use std::env;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use grasp::ipc::{Access, ClientLimits, Server, ServerOptions, VERSION, Who};
use grasp::trace::Event;
use grasp::wire::{ItemScanner, Limits, Progress};
use grasp::{
    AsaNonce, Config, Engine, Error, Objective, RegisterObj, StartError, TaggedObjective, Value,
    interruptible,
};
use grasptests::lab::{Lab, eventually};
use grasptests::nodes::{
    Host, SOON, at_once, discoverable, failure, joined, negotiable, step, synchronizable,
};
use grasptests::through_socket;
use grasptests::{cbor, isolated};

/// A node of a lab that listens at a socket.
pub(crate) struct Node {
    _lab: Lab,
    /// The engine as the node's own process sees it.
    pub(crate) own: Host,
    pub(crate) server: Server,
    pub(crate) path: PathBuf,
}

impl Node {
    pub(crate) fn start() -> Self {
        Self::with(|options| options)
    }

    pub(crate) fn with(set: impl FnOnce(ServerOptions) -> ServerOptions + Send) -> Self {
        let lab = Lab::new().unwrap();
        let machine = lab.node("a").unwrap();
        lab.lan(&[&machine]).unwrap();
        let engine = machine.run(|| Engine::start(Config::new())).unwrap();
        let asa = engine.register_asa("node").unwrap();
        let own = Host { node: machine, engine, asa };
        let path = through_socket::path();
        let server = own.node.run(|| Server::start(&own.engine, set(ServerOptions::new(&path)))).unwrap();
        Self { _lab: lab, own, server, path }
    }

    /// A client with an ASA.
    pub(crate) fn client(&self, name: &str) -> Host {
        let engine = Engine::connect(&self.path).unwrap();
        let asa = engine.register_asa(name).unwrap();
        Host { node: self.own.node.clone(), engine, asa }
    }

    /// The names of the ASAs that are registered.
    fn asas(&self) -> Vec<String> {
        self.own.engine.asas().into_iter().map(|asa| asa.name).collect()
    }
}

/// A client that is written by hand.
pub(crate) struct Raw {
    pub(crate) stream: UnixStream,
    rest: Vec<u8>,
}

impl Raw {
    fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Self { stream, rest: Vec::new() }
    }

    /// One that has said hello.
    pub(crate) fn welcome(path: &Path) -> Self {
        let mut raw = Self::connect(path);
        raw.say(&cbor!([0, "hello", VERSION, "raw"]));
        let welcome = raw.hear().unwrap();
        assert_eq!(welcome.as_array().unwrap()[..2], [Value::from(0), Value::from(0)]);
        raw
    }

    pub(crate) fn say(&mut self, message: &Value) {
        self.stream.write_all(&message.encode()).unwrap();
    }

    /// The next message; `None` once the node has closed the connection.
    pub(crate) fn hear(&mut self) -> Option<Value> {
        loop {
            let mut scanner = ItemScanner::new(Limits { size: 1 << 24, depth: 100 });
            if let Ok(Progress::Complete(length)) = scanner.feed(&self.rest) {
                let rest = self.rest.split_off(length);
                let message = std::mem::replace(&mut self.rest, rest);
                return Some(Value::decode(&message).unwrap());
            }
            let mut piece = [0; 65_536];
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(count) => self.rest.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing comes: {error}"),
            }
        }
    }

    /// A call and its answer.
    pub(crate) fn call(&mut self, message: &Value) -> Vec<Value> {
        self.say(message);
        self.hear().unwrap().as_array().unwrap().to_vec()
    }

    /// Registers an ASA and an objective EX1 of it.
    pub(crate) fn register(&mut self) -> AsaNonce {
        let answer = self.call(&cbor!([1, "register_asa", "raw"]));
        let asa = u32::try_from(answer[2].as_i64().unwrap()).unwrap();
        let answer = self.call(&cbor!([2, "register_obj", asa, ["EX1", 3, 6, ()], (Value::Map(Vec::new()))]));
        assert_eq!(answer[1], Value::from(0), "{answer:?}");
        AsaNonce::from_id(asa)
    }
}

fn spawn(body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().spawn(body).unwrap()
}

/// Tells a process started by the next test that it is the client.
const ROLE: &str = "GRASP_TEST_CLIENT";

/// The other process: registers and listens with the free functions, which find the node by `GRASP_SOCKET`.
fn be_a_client() {
    let asa = grasp::register_asa("client").unwrap();
    let (ex1, ex2) = (negotiable("EX1", 0), synchronizable("EX2", 7));
    grasp::register_obj(asa, &ex1, discoverable()).unwrap();
    grasp::register_obj(asa, &ex2, discoverable()).unwrap();
    grasp::listen_synchronize(asa, &ex2).unwrap();
    assert!(grasp::process_engine().unwrap().is_connected());
    let (_session, _) = grasp::listen_negotiate(asa, &ex1).unwrap();
    println!("ready");
    let _ = grasp::listen_negotiate(asa, &ex1);
}

#[test]
fn what_a_client_has_registered_ends_with_its_process() {
    if env::var_os(ROLE).is_some() {
        return be_a_client();
    }
    isolated!();
    let node = Node::start();
    let mut client = node.own.node.command(env::current_exe().unwrap());
    let client = client
        .args(["node::what_a_client_has_registered_ends_with_its_process", "--exact", "--nocapture"])
        .env(ROLE, "client")
        .env("GRASP_SOCKET", &node.path)
        .stdout(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let own = &node.own;
    eventually(SOON, "the client listens", || {
        own.engine.objectives().iter().any(|view| view.objective.name == "EX1" && view.listening == 1)
    });
    // A session is open when it ends.
    let mut peer = own.client("EX1");
    peer.say(grasp::wire::Body::RequestNegotiate(step(7, "EX1", 6, 1)));
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("ready")));
    eventually(SOON, "it listens again", || {
        let [view] = &node.server.clients()[..] else { return false };
        view.pid == client.id() && view.open_calls == 1 && view.asas == ["client"]
    });
    let view = node.server.clients().remove(0);
    assert_eq!((view.objectives, own.engine.open_sessions()), (vec!["EX1".into(), "EX2".into()], 1));
    assert_eq!(view.uid, std::fs::metadata("/proc/self").unwrap().uid());

    client.kill().unwrap();
    client.wait().unwrap();
    eventually(SOON, "nothing is left of it", || {
        node.asas() == ["node"] && own.engine.objectives().is_empty() && node.server.clients().is_empty()
    });
    assert!(peer.read().is_none(), "its session has ended");
    own.expect_quiet();
    // Its successor finds everything free.
    node.client("client").register(&negotiable("EX1", 0));
}

#[test]
fn when_the_node_ends_calls_end_at_once_and_its_successor_gets_everything_again() {
    isolated!();
    let Node { _lab, own, server, path } = Node::start();
    let client = Engine::connect(&path).unwrap();
    let asa = client.register_asa("client").unwrap();
    let (ex1, ex2) = (negotiable("EX1", 0), synchronizable("EX2", 7));
    client.register_obj(asa, &ex1, RegisterObj::default()).unwrap();
    client.register_obj(asa, &ex2, discoverable()).unwrap();
    client.listen_synchronize(asa, &synchronizable("EX2", 8)).unwrap();
    assert!(client.reconnect().is_ok(), "it is connected");
    let listening = {
        let (client, ex1) = (client.clone(), ex1.clone());
        own.node.spawn("listener", move || failure(client.listen_negotiate(asa, &ex1)))
    };
    eventually(SOON, "it listens", || own.engine.objectives()[0].listening == 1);
    at_once(|| {
        own.engine.shutdown();
        assert!(matches!(joined(listening), Error::NodeGone | Error::Stopped));
    });
    at_once(|| assert!(matches!(failure(client.register_asa("b")), Error::NodeGone)));
    assert!(client.asas().is_empty() && client.state().stopped);
    assert!(matches!(client.reconnect(), Err(StartError::NoNode { .. })), "nobody is there");

    drop(server);
    let engine = own.node.run(|| Engine::start(Config::new())).unwrap();
    let server = own.node.run(|| Server::start(&engine, ServerOptions::new(&path))).unwrap();
    client.reconnect().unwrap();
    assert_eq!(engine.asas()[0].nonce, asa, "the handle is the same");
    let views = engine.objectives();
    assert_eq!((views.len(), views[1].listening, &views[1].objective.value), (2, 1, &Value::from(8)));
    client.deregister_obj(asa, &ex1).unwrap();
    server.stop();
    assert!(engine.asas().is_empty(), "the stop has waited for that");
    assert!(!path.exists());
    assert!(matches!(client.reconnect(), Err(StartError::NoNode { .. })));
    client.shutdown();
    assert!(matches!(failure(client.register_asa("b")), Error::Stopped));
}

#[test]
fn a_client_that_does_not_read_loses_its_connection_and_slows_nobody() {
    isolated!();
    let mut limits = ClientLimits::new();
    limits.patience = Duration::from_millis(300);
    let node = Node::with(|options| options.limits(limits));
    let other = node.client("other");
    let mut slow = Raw::welcome(&node.path);
    slow.register();
    slow.stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    let request = cbor!([3, "stats"]).encode();
    let started = Instant::now();
    let mut others_calls = 0;
    while slow.stream.write_all(&request).is_ok() || node.server.clients().len() == 2 {
        let more = at_once(|| other.engine.register_asa("one more").unwrap());
        other.engine.deregister_asa(more, "one more").unwrap();
        others_calls += 1;
        assert!(started.elapsed() < SOON * 3, "it is still there");
    }
    eventually(SOON, "it is gone", || node.asas() == ["node", "other"] && node.server.clients().len() == 1);
    assert!(others_calls > 0);
    other.register(&negotiable("EX1", 1));
}

#[test]
fn calls_beyond_the_limit_are_refused_and_take_no_thread() {
    isolated!();
    let node = Node::start();
    let mut raw = Raw::welcome(&node.path);
    let asa = raw.register();
    let before = node.own.engine.thread_count();
    const CALLS: u32 = 10_000;
    let mut writer = raw.stream.try_clone().unwrap();
    let writing = spawn(move || {
        for id in 10..10 + CALLS {
            let call = cbor!([id, "listen_negotiate", (asa.id()), ["EX1", 3, 6, ()]]);
            writer.write_all(&call.encode()).unwrap();
        }
    });
    let limit = u32::try_from(ClientLimits::new().calls).unwrap();
    for _ in 0..CALLS - limit {
        let answer = raw.hear().unwrap();
        let answer = answer.as_array().unwrap();
        assert_eq!((&answer[1], answer[2].as_str()), (&Value::from(3), Some("ClientLimit")), "{answer:?}");
        assert_eq!(answer[4].as_str(), Some("64 calls wait"));
    }
    joined(writing);
    assert!(node.own.engine.thread_count() <= before + ClientLimits::new().calls + 1);
    assert_eq!(node.server.clients()[0].open_calls, ClientLimits::new().calls);
    // Each can be ended by its number, and its place taken by another one.
    let answers = [raw.call(&cbor!([9, "cancel", 10])), raw.hear().unwrap().as_array().unwrap().to_vec()];
    let ended = answers.iter().find(|answer| answer[0] == Value::from(10)).unwrap();
    assert_eq!(ended[1], Value::from(3), "{answers:?}");
    drop(raw);
    eventually(SOON, "all are ended", || node.asas() == ["node"] && node.server.clients().is_empty());
    eventually(SOON, "their threads end", || node.own.engine.thread_count() < before);
}

#[test]
fn another_version_is_told_in_a_sentence() {
    isolated!();
    let node = Node::start();
    let mut raw = Raw::connect(&node.path);
    let answer = raw.call(&cbor!([0, "hello", 99, "of another time", "with something new"]));
    let sentence = answer[3].as_str().unwrap();
    assert!(sentence.contains("speaks version 1") && sentence.contains("version 99"), "{sentence}");
    assert!(raw.hear().is_none() && answer[1] != Value::from(0));

    // And a node of another version to a client of this one.
    let path = through_socket::path();
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let node = spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let about = Value::Map(vec![("version".into(), 2.into())]);
        stream.write_all(&Value::Array(vec![0.into(), 0.into(), about]).encode()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request").unwrap();
    });
    let refused = Engine::connect(&path).unwrap_err();
    assert!(
        refused.to_string().contains("speaks version 2 of the protocol, this program version 1"),
        "{refused}"
    );
    assert!(matches!(Engine::connect(&path), Err(StartError::NodeRefuses(_))));
    joined(node);
}

#[test]
fn garbage_ends_its_connection_and_nothing_else() {
    isolated!();
    let node = Node::start();
    let other = node.client("other");
    let no_map = Value::from(1);
    let garbage: [Vec<u8>; 8] = [
        vec![0xff; 100],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        // Three gigabytes, as it says.
        vec![0x83, 5, 0x7a, 0xc0, 0, 0, 0],
        cbor!([1, 2, 3]).encode(),
        cbor!([(-1), "ping"]).encode(),
        cbor!([3, "register_obj", 1, "EX1", no_map]).encode(),
        cbor!([3, "cancel", "all"]).encode(),
        [cbor!([3, "trace", "much"]).encode(), cbor!([3, "trace", 1]).encode()].concat(),
    ];
    for bytes in garbage {
        let mut raw = Raw::welcome(&node.path);
        raw.register();
        let _ = raw.stream.write_all(&bytes);
        assert!(raw.hear().is_none(), "{bytes:?}");
        eventually(SOON, "nothing is left", || node.asas() == ["node", "other"]);
    }
    let mut early = Raw::connect(&node.path);
    early.say(&cbor!([1, "register_asa", "early"]));
    assert!(early.hear().is_none(), "nobody calls before the hello");
    let mut unknown = Raw::welcome(&node.path);
    let answer = unknown.call(&cbor!([1, "make_coffee"]));
    assert!(answer[1] == Value::from(3) && answer[3].as_str().unwrap().contains("make_coffee"));
    assert_eq!(unknown.call(&cbor!([2, "ping"]))[..2], [2.into(), 0.into()], "an unknown call is none");
    assert_eq!(node.own.engine.stats().panics, 0);
    other.register(&negotiable("EX1", 1));
}

#[test]
fn who_may_do_what_is_up_to_the_rules() {
    isolated!();
    let uid = std::fs::metadata("/proc/self").unwrap().uid();
    let rules = Access::new()
        .register(Who::User(uid), ["EX1", "T*"])
        .listen(Who::User(uid), ["EX1"])
        .everything(Who::User(uid + 1));
    let node = Node::with(|options| options.access(rules));
    let client = node.client("client");
    client.register(&negotiable("EX1", 1));
    client.register(&synchronizable("Time", 1));
    let (engine, asa) = (&client.engine, client.asa);
    let refused = failure(engine.register_obj(asa, &negotiable("EX3", 1), RegisterObj::default()));
    assert!(matches!(&refused, Error::Forbidden(_)) && refused == Error::NoSecurity, "{refused}");
    let text = format!("may not register \"EX3\", but EX1, T*; user {} may", uid + 1);
    assert!(refused.to_string().ends_with(&text), "{refused}");
    let time = synchronizable("Time", 2);
    let tagged = [TaggedObjective::new(time.clone(), None)];
    assert!(matches!(failure(engine.flood(asa, 1000, &tagged)), Error::Forbidden(_)));
    assert!(matches!(failure(engine.flood_every(asa, 1000, 1000, &tagged)), Error::Forbidden(_)));
    assert!(matches!(failure(engine.listen_synchronize(asa, &time)), Error::Forbidden(_)));
    assert_eq!(engine.get_flood(asa, &time), Ok(Vec::new()), "acting is included");
    assert!(engine.asas().is_empty() && engine.trace().recv_timeout(SOON).is_err(), "watching is not");
    assert_eq!(engine.my_address(), node.own.engine.my_address(), "everybody may know");

    node.server.set_access(Access::new().watch(Who::Anyone));
    assert_eq!(engine.asas().len(), 2, "rules can be replaced");
    assert!(matches!(failure(engine.get_flood(asa, &time)), Error::Forbidden(_)));
    node.server.set_access(Access::new());
    assert_eq!(engine.flood(asa, 1000, &tagged), Ok(()));
}

#[test]
fn a_call_can_be_ended_early_and_takes_nothing_with_it() {
    isolated!();
    let node = Node::start();
    let client = node.client("client");
    let ex1 = negotiable("EX1", 0);
    client.register(&ex1);
    let (engine, asa) = (&client.engine, client.asa);
    let asked = std::rc::Rc::new(std::cell::Cell::new(0));
    let counted = std::rc::Rc::clone(&asked);
    let listen = || engine.listen_negotiate(asa, &ex1);
    let ended = at_once(|| {
        let ask = move || counted.replace(counted.get() + 1) == 3;
        interruptible(Duration::from_millis(20), ask, listen)
    });
    assert!(matches!(ended, Err(Error::Unspec)) && asked.get() == 4, "{ended:?}");
    assert_eq!(node.server.clients()[0].open_calls, 0);
    // A discovery that waits ends with what it has.
    let found = at_once(|| {
        let far = Objective { loop_count: 255, ..negotiable("EX9", 0) };
        interruptible(
            Duration::from_millis(20),
            || true,
            || engine.discover(asa, &far, None, Default::default()),
        )
    });
    assert!(matches!(found, Err(Error::Unspec)), "{found:?}");
    // The next request goes to the next listener.
    let listening = client.listen(&ex1);
    let mut peer = node.own.client("EX1");
    peer.say(grasp::wire::Body::RequestNegotiate(step(7, "EX1", 6, 1)));
    let (session, _) = joined(listening).unwrap();
    engine.end_negotiate(asa, session, true, None).unwrap();
}

#[test]
fn nobody_uses_the_handles_of_another() {
    isolated!();
    let node = Node::start();
    let (one, other) = (node.client("one"), node.client("other"));
    let ex1 = negotiable("EX1", 0);
    one.register(&ex1);
    for stranger in [&other.engine, &Engine::connect(&node.path).unwrap()] {
        assert_eq!(failure(stranger.register_obj(one.asa, &ex1, RegisterObj::default())), Error::NoAsa);
        assert_eq!(failure(stranger.listen_negotiate(one.asa, &ex1)), Error::NoAsa);
        assert_eq!(failure(stranger.deregister_asa(one.asa, "one")), Error::NotYourAsa);
        assert_eq!(failure(stranger.deregister_obj(node.own.asa, &ex1)), Error::NoAsa);
    }
    let listening = one.listen(&ex1);
    let mut peer = node.own.client("EX1");
    peer.say(grasp::wire::Body::RequestNegotiate(step(7, "EX1", 6, 1)));
    let (session, _) = joined(listening).unwrap();
    let refused = failure(other.engine.gsend(other.asa, session, &1.into()));
    assert!(matches!(refused, Error::NotYourSession), "{refused}");
    // What one has of each is bounded.
    let mut limits = ClientLimits::new();
    (limits.asas, limits.objectives, limits.clients) = (1, 1, 1);
    let small = Node::with(|options| options.limits(limits));
    let client = small.client("client");
    client.register(&ex1);
    assert!(matches!(failure(client.engine.register_asa("b")), Error::ClientLimit(_)));
    let more = client.engine.register_obj(client.asa, &negotiable("EX2", 0), RegisterObj::default());
    assert!(matches!(failure(more), Error::ClientLimit(_)));
    let full = Engine::connect(&small.path).unwrap_err();
    assert!(full.to_string().contains("1 are connected"), "{full}");
    // One user does not take all places.
    let mut limits = ClientLimits::new();
    (limits.clients, limits.clients_per_user) = (3, 1);
    let shared = Node::with(|options| options.limits(limits));
    let _client = shared.client("client");
    let full = Engine::connect(&shared.path).unwrap_err();
    assert!(full.to_string().contains("1 of user"), "{full}");
}

#[test]
fn what_a_client_registers_is_no_larger_than_what_can_be_sent() {
    isolated!();
    let node = Node::start();
    let client = node.client("client");
    let large = negotiable("EX1", 0).with_value("x".repeat(500_000)).expect("a value");
    let refused = failure(client.engine.register_obj(client.asa, &large, RegisterObj::default()));
    assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
    assert!(matches!(failure(client.engine.register_asa(&"x".repeat(100_000))), Error::TooLarge { .. }));
    client.register(&negotiable("EX1", 0));
}

#[test]
fn what_the_engine_does_can_be_followed_from_another_process() {
    isolated!();
    let node = Node::start();
    let client = node.client("client");
    let (trace, few) = (client.engine.trace(), client.engine.trace_with(1));
    eventually(SOON, "both follow", || {
        node.server.clients().iter().filter(|client| client.open_calls == 1).count() == 2
    });
    client.register(&synchronizable("EX2", 1));
    let tagged = [TaggedObjective::new(synchronizable("EX2", 1), None)];
    for _ in 0..50 {
        client.engine.flood(client.asa, 1000, &tagged).unwrap();
    }
    let flooded = |event: &Event| matches!(event, Event::Message(message) if !message.bytes.is_empty());
    let mut seen = 0;
    while seen < 50 {
        seen += usize::from(flooded(&trace.recv_timeout(SOON).unwrap().event));
    }
    eventually(SOON, "who does not read loses, and is told how much", || few.lost() > 50);
    drop(few);
    eventually(SOON, "one has gone", || node.server.clients().len() == 2);
    client.engine.shutdown();
    while trace.recv_timeout(SOON).is_ok() {}
    assert_eq!(trace.recv_timeout(SOON).err(), Some(crossbeam_channel::RecvTimeoutError::Disconnected));
}

#[test]
fn at_one_path_is_one_node_and_only_for_those_who_may() {
    isolated!();
    let node = Node::with(|options| options.mode(0o600));
    let start = |options| node.own.node.run(|| Server::start(&node.own.engine, options));
    let elsewhere = Server::start(&node.own.engine, ServerOptions::new(through_socket::path())).unwrap_err();
    assert!(elsewhere.to_string().contains("another network namespace"), "{elsewhere}");
    let second = start(ServerOptions::new(&node.path)).unwrap_err();
    assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse, "{second}");
    assert_eq!(std::fs::metadata(&node.path).unwrap().mode() & 0o777, 0o600);
    let client = Engine::connect(&node.path).unwrap();
    let nested = Server::start(&client, ServerOptions::new(through_socket::path())).unwrap_err();
    assert_eq!(nested.kind(), std::io::ErrorKind::Unsupported);
    drop(node.server);
    eventually(SOON, "its socket is gone", || !node.path.exists());
    // A socket that was left behind, as after a crash.
    drop(std::os::unix::net::UnixListener::bind(&node.path).unwrap());
    let listener = start(ServerOptions::new(&node.path)).unwrap();
    drop(listener);
    // One that the service manager has made.
    let _ = std::fs::remove_file(&node.path);
    let made = std::os::unix::net::UnixListener::bind(&node.path).unwrap();
    let server = start(ServerOptions::from_listener(made.try_clone().unwrap())).unwrap();
    assert!(Engine::connect(&node.path).unwrap().register_asa("b").is_ok());
    server.stop();
    let again = start(ServerOptions::from_listener(made)).unwrap();
    assert!(Engine::connect(&node.path).unwrap().register_asa("b").is_ok(), "it is not shut down");
    drop(again);
}

#[test]
fn an_idle_client_costs_one_thread() {
    isolated!();
    let node = Node::start();
    let before = node.own.engine.thread_count();
    let clients: Vec<_> = (0..50).map(|_| Engine::connect(&node.path).unwrap()).collect();
    assert_eq!(node.own.engine.thread_count(), before + clients.len());
    drop(clients);
    eventually(SOON, "their threads end", || node.own.engine.thread_count() <= before);
}

#[test]
fn an_objective_of_a_client_may_be_larger_than_a_message_but_not_without_bounds() {
    isolated!();
    let node = Node::start();
    let client = node.client("client");
    let register = |name: &str, size: usize| {
        client
            .run(|engine, asa| engine.register_obj(asa, &negotiable(name, "x".repeat(size)), discoverable()))
    };
    register("EX1", 20_000).unwrap();
    assert!(matches!(failure(register("EX2", 80_000)), Error::TooLarge { .. }));
    assert_eq!(node.own.engine.objectives().len(), 1);
}
