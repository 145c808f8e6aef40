//! What a process sends to a node over its socket.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use grasp::ipc::{ClientLimits, Server, ServerOptions, VERSION};
use grasp::wire::{ItemScanner, Limits, Progress};
use grasp::{Acp, Config, Engine, Value};

/// Waits for what must come: over only on a machine that stands still.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much a node says in one item at most.
const REPLY: Limits = Limits { size: 1 << 24, depth: 200 };

/// A node without interfaces, which all inputs are sent to.
struct Node {
    engine: Engine,
    server: Server,
    path: PathBuf,
}

fn node() -> &'static Node {
    static NODE: OnceLock<Node> = OnceLock::new();
    NODE.get_or_init(|| {
        let config = Config::new().acp(Acp::Layer2).interfaces(Some(Vec::new())).wait_for_interfaces(true);
        let engine = Engine::start(config).expect("an engine");
        let path = std::env::temp_dir().join(format!("grasp-fuzz-{}.sock", std::process::id()));
        let mut limits = ClientLimits::new();
        limits.patience = Duration::from_millis(200);
        let server = Server::start(&engine, ServerOptions::new(&path).limits(limits)).expect("a node");
        Node { engine, server, path }
    })
}

/// Bit 0 of the first byte says whether a hello goes before. What follows is sent as it is.
///
/// Whatever the client says, the node answers with whole items that begin with a number, ends the connection once the client has
/// said everything, forgets what that has registered, and does not panic.
pub fn ipc(input: &[u8]) {
    let [how, bytes @ ..] = input else { return };
    let node = node();
    let mut stream = UnixStream::connect(&node.path).expect("the node takes a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    if how & 1 != 0 {
        let hello = [0.into(), "hello".into(), VERSION.into(), "fuzz".into()];
        stream.write_all(&Value::Array(hello.to_vec()).encode()).expect("the node reads");
    }
    // The node may have closed already.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut said = Vec::new();
    // What the node closes before it has read everything is reset.
    let end = stream.read_to_end(&mut said).map_err(|error| error.kind());
    assert!(!matches!(end, Err(std::io::ErrorKind::WouldBlock)), "the node closes the connection");
    if how & 1 != 0 && end.is_ok() {
        whole(&said);
    }
    let started = Instant::now();
    while !(node.server.clients().is_empty() && node.engine.asas().is_empty()) {
        assert!(started.elapsed() < PATIENCE, "something is left: {:?}", node.server.clients());
        std::thread::yield_now();
    }
    assert!(node.engine.objectives().is_empty());
    assert_eq!(node.engine.stats().panics, 0);
}

/// All that the node has said is answers.
fn whole(mut said: &[u8]) {
    while !said.is_empty() {
        let mut scanner = ItemScanner::new(REPLY);
        let Ok(Progress::Complete(length)) = scanner.feed(said) else {
            // The last one may have been cut short by a close.
            return;
        };
        let (item, rest) = said.split_at(length);
        let answer = Value::decode(item).expect("an item");
        let parts = answer.as_array().expect("an array");
        let numbers = parts.iter().take(2).filter(|part| part.as_i64().is_some()).count();
        assert_eq!(numbers, 2, "{answer}");
        said = rest;
    }
}
