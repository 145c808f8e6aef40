//! The command `grasp`, as its users run it: in a node of a lab, through the socket of a node, and as a node for this once.

mod service;
mod statuses;
pub(crate) mod transcripts;
mod verbs;

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use grasp::ipc::{self, ServerOptions};
use grasp::{Asa, Config, Engine, Objective, RegisterObj, Value};
use grasptests::lab::{Lab, Node, eventually};
use serde_json::Value as Json;

/// For one event. Everything but discoveries takes milliseconds on an idle machine.
const SOON: Duration = Duration::from_secs(30);

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_grasp-tested");

/// A directory that goes with its test.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("grasp-command-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Two nodes on a link. `near` lets the command in through a socket; `far` has an ASA.
struct Scene {
    near: Node,
    far: Node,
    node: Engine,
    peer: Asa,
    socket: String,
    directory: Directory,
    server: ipc::Server,
    _lab: Lab,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new().expect("a lab");
        let (near, far) = (lab.node("n1").expect("a node"), lab.node("n2").expect("a node"));
        lab.link(&near, &far).expect("a link");
        let start = |node: &Node| node.run(|| Engine::start(Config::new())).expect("the engine starts");
        let (node, other) = (start(&near), start(&far));
        let directory = Directory::new();
        let socket = directory.file("grasp.sock");
        let options = ServerOptions::new(&socket);
        let server = near.run(|| ipc::Server::start(&node, options)).expect("the node lets clients in");
        let peer = Asa::register(&other, "Briggs").expect("an ASA");
        Self { near, far, node, peer, socket, directory, server, _lab: lab }
    }

    /// The far node serves and floods a value.
    fn offer(&self, name: &str, value: Value) {
        let objective = Objective { synch: true, value, ..Objective::new(name) };
        let engine = self.peer.engine();
        self.far.run(|| {
            engine.register_obj(self.peer.nonce(), &objective, RegisterObj::default()).expect("registered");
            engine.listen_synchronize(self.peer.nonce(), &objective).expect("served");
        });
    }

    /// The far node floods a value, and the near one has it.
    fn tell(&self, name: &str, value: Value) {
        self.offer(name, value.clone());
        let objective = Objective { synch: true, value, ..Objective::new(name) };
        let tagged = [grasp::TaggedObjective::new(objective, None)];
        self.far.run(|| self.peer.engine().flood(self.peer.nonce(), 60_000, &tagged)).expect("flooded");
        let has = || self.node.flood_cache().iter().any(|view| view.tagged.objective.name == name);
        eventually(SOON, "the flood comes", has);
    }

    /// Runs the command at the near node, through its socket.
    fn grasp(&self, words: &[&str]) -> Ended {
        let mut command = command(&self.near, words);
        Ended::from(command.env("GRASP_SOCKET", &self.socket).output().expect("it starts"))
    }

    /// Runs the command at the far node, as a node for this once.
    fn alone(&self, words: &[&str]) -> Ended {
        Ended::from(command(&self.far, &[&["--standalone"], words].concat()).output().expect("it starts"))
    }

    /// Starts the command, at the near node through its socket or at the far one as a node for this once.
    fn start(&self, is_near: bool, words: &[&str]) -> Running {
        let mut command = match is_near {
            true => command(&self.near, words),
            false => command(&self.far, &[&["--standalone"], words].concat()),
        };
        Running(command.env("GRASP_SOCKET", &self.socket).spawn().expect("it starts"))
    }
}

/// The command in a node, with these words.
pub(crate) fn command(node: &Node, words: &[&str]) -> Command {
    let mut command = node.command(PROGRAM);
    command.args(words).env_remove("GRASP_SOCKET").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What the command has printed, and its exit status.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) errors: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        Self {
            status: output.status.code().expect("it ends by itself"),
            out: text(&output.stdout),
            errors: text(&output.stderr),
        }
    }
}

impl Ended {
    /// It must have succeeded, and said nothing on the standard error.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert!(self.status == 0 && self.errors.is_empty(), "{self:?}");
        self.out
    }

    /// Its objects, one a line.
    #[track_caller]
    pub(crate) fn objects(self) -> Vec<Json> {
        self.done().lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
    }
}

/// The command while it runs; killed when the test ends.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let mut status = None;
        eventually(SOON, "the command ends", || {
            status = self.0.try_wait().expect("a child");
            status.is_some()
        });
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        self.0.stdout.take().expect("piped").read_to_end(&mut out).expect("read");
        self.0.stderr.take().expect("piped").read_to_end(&mut errors).expect("read");
        Ended::from(Output { status: status.expect("ended"), stdout: out, stderr: errors })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
