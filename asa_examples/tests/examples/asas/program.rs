//! A program in a node, with what it prints.

use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use grasp_lab::{Node, Printed};
use rustix::process::{Pid, Signal, kill_process};

/// The path of an example.
#[macro_export]
macro_rules! example {
    ($name:literal) => {
        env!(concat!("CARGO_BIN_EXE_", $name))
    };
}

/// How long anything may take that a test waits for.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A running program. Killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    printed: Printed,
}

impl Program {
    /// Starts a program in a node. The calling thread has to stay: the program is killed when it ends.
    pub(crate) fn start(node: &Node, path: &str, options: &[&str]) -> Self {
        let mut command = node.command(path);
        command.args(options);
        Self::spawn(node.name(), command)
    }

    pub(crate) fn spawn(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let printed = Printed::new(name);
        printed.follow(child.stdout.take().unwrap());
        printed.follow(child.stderr.take().unwrap());
        let stdin = child.stdin.take();
        Self { child, stdin, printed }
    }

    /// What it has printed.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.printed.lines()
    }

    /// How many lines contain a text.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.printed.count(text)
    }

    /// Waits until it has printed a text.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        self.printed.says(SOON, text);
    }

    /// Types something.
    pub(crate) fn type_in(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("it can be typed to");
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).expect("it reads");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for its end, and for all that it has printed.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> ExitStatus {
        self.printed.ends(&mut self.child, SOON)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
