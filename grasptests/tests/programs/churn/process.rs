//! The processes of a node, of three kinds, as the test starts, kills and hears them.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use grasp::{Engine, Error, Objective, Port, RegisterObj};
use grasptests::lab::{Node, Printed, eventually};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::SOON;
use crate::command::PROGRAM;

const NAME: &str = "CHURN_NAME";
const VALUE: &str = "CHURN_VALUE";
const SOCKET: &str = "GRASP_SOCKET";

/// What a process is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The library, which connects again by itself.
    Rust,
    /// A shell script around the command `grasp`.
    Shell,
    /// The Python module: the interpreter that `GRASP_PYTHON` names.
    Python,
}

/// One that offers an objective whose value is the number of its life.
pub(super) struct Process {
    pub(super) kind: Kind,
    /// The name of its objective.
    pub(super) name: String,
    /// The index of its node.
    pub(super) at: usize,
    pub(super) life: u64,
    running: Option<Running>,
}

struct Running {
    child: Child,
    printed: Printed,
}

impl Process {
    pub(super) fn new(kind: Kind, at: usize) -> Self {
        let name = format!("churn:{kind:?}{}", at + 1).to_lowercase();
        Self { kind, name, at, life: 0, running: None }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether it comes back on its port, so that what others remember of it is true. Python's modules have graspy's
    /// `register_obj`, which knows no port.
    pub(super) fn keeps_its_port(&self) -> bool {
        self.kind != Kind::Python
    }

    /// What it floods again and again.
    pub(super) fn floods(&self) -> Option<String> {
        (self.kind == Kind::Shell).then(|| format!("{}.tick", self.name))
    }

    /// The objectives that it registers, and with how many ASAs.
    pub(super) fn registers(&self) -> (Vec<String>, usize) {
        match self.kind {
            Kind::Rust => (vec![self.name.clone(), haggled(&self.name)], 1),
            Kind::Shell => (self.floods().into_iter().chain([self.name.clone()]).collect(), 2),
            Kind::Python => (vec![self.name.clone()], 1),
        }
    }

    /// Starts it in its node. The thread that calls this has to stay.
    pub(super) fn start(&mut self, node: &Node, socket: &Path) {
        self.life += 1;
        let mut command = self.command(node);
        command.env(NAME, &self.name).env(VALUE, self.life.to_string()).env(SOCKET, socket);
        // A script and what it has started are killed together.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{} starts: {error}", self.name));
        let printed = Printed::new(&self.name);
        printed.follow(child.stdout.take().expect("piped"));
        printed.follow(child.stderr.take().expect("piped"));
        self.running = Some(Running { child, printed });
    }

    fn command(&self, node: &Node) -> Command {
        match self.kind {
            Kind::Rust => {
                let mut command = node.command(std::env::current_exe().expect("this program"));
                let role = "churn::process::offers_until_it_is_killed";
                command.args([role, "--exact", "--ignored", "--nocapture"]);
                command
            }
            Kind::Shell => {
                let mut command = node.command("sh");
                command.args(["-c", include_str!("shell.sh")]).env("CHURN_GRASP", PROGRAM);
                command
            }
            Kind::Python => {
                let mut command = node.command("sh");
                let again = r#"while :; do "$GRASP_PYTHON" -c "$CHURN_ASA"; sleep 0.2; done"#;
                command.args(["-c", again]).env("CHURN_ASA", include_str!("asa.py"));
                command
            }
        }
    }

    /// Kills it with all that it has started.
    pub(super) fn kill(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        running.kill();
    }

    /// How often it has said that it offers its objective, and that its node has gone.
    pub(super) fn said(&self) -> Said {
        let lines = self.running.as_ref().map(|running| running.printed.lines()).unwrap_or_default();
        let (offers, publishes) = (format!("offers {}", self.name), format!("publishes {}", self.name));
        let count = |text: &str| lines.iter().filter(|line| line.starts_with(text)).count();
        Said { offers: count(&offers) + count(&publishes), gone: count("gone 3") }
    }

    /// Waits until it offers its objective, once more than before.
    #[track_caller]
    pub(super) fn offers(&self, before: Said) {
        let what = format!("{} (life {}) offers", self.name, self.life);
        eventually(SOON, &what, || self.said().offers > before.offers);
    }

    /// Waits until it says that its node has gone, once more than before. How long that took.
    #[track_caller]
    pub(super) fn is_told(&self, before: Said, since: Instant) -> Duration {
        let what = format!("{} (life {}) is told that its node has gone", self.name, self.life);
        eventually(SOON, &what, || self.said().gone > before.gone);
        since.elapsed()
    }
}

/// How often a process has said something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    offers: usize,
    gone: usize,
}

impl Running {
    fn kill(&mut self) {
        let group = Pid::from_raw(self.child.id().try_into().expect("a process"));
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the process in Rust listens for, so that a call of it waits when its node goes.
fn haggled(name: &str) -> String {
    format!("{name}.haggle")
}

/// The process in Rust.
#[test]
#[ignore = "a part of another test, which starts it as a process"]
fn offers_until_it_is_killed() {
    let Ok(name) = std::env::var(NAME) else { return };
    let value: u64 = std::env::var(VALUE).expect("a value").parse().expect("a number");
    let socket = std::env::var(SOCKET).expect("a socket");
    let engine = connected(|| Engine::connect(&socket));
    let asa = engine.register_asa(&name).expect("an ASA");
    let offered = Objective { synch: true, value: value.into(), ..Objective::new(&name) };
    let options = RegisterObj { port: Port::Last, ..RegisterObj::default() };
    engine.register_obj(asa, &offered, options).expect("registered");
    engine.listen_synchronize(asa, &offered).expect("served");
    let haggled = Objective { neg: true, ..Objective::new(haggled(&name)) };
    engine.register_obj(asa, &haggled, RegisterObj::default()).expect("registered");
    println!();
    loop {
        println!("offers {name}");
        // Nobody asks: it waits until the node goes.
        let error = engine.listen_negotiate(asa, &haggled).expect_err("nobody asks");
        assert_eq!(error, Error::NodeGone);
        println!("gone 3");
        connected(|| engine.reconnect());
    }
}

/// Tries again until the node is there.
fn connected<T>(mut attempt: impl FnMut() -> Result<T, grasp::StartError>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        match attempt() {
            Ok(connected) => return connected,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        thread::sleep(Duration::from_millis(100));
    }
}
