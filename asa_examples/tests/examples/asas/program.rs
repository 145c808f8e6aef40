//! A program in a node, with what it prints.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use grasp_lab::{Node, eventually};
use parking_lot::Mutex;
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
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
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
        let lines = Arc::new(Mutex::new(Vec::new()));
        follow(name, child.stdout.take().unwrap(), &lines);
        follow(name, child.stderr.take().unwrap(), &lines);
        let stdin = child.stdin.take();
        Self { name: name.to_owned(), child, stdin, lines }
    }

    /// What it has printed.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }

    /// How many lines contain a text.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.lines.lock().iter().filter(|line| line.contains(text)).count()
    }

    /// Waits until it has printed a text.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        eventually(SOON, &format!("{} says {text:?}", self.name), || self.count(text) > 0);
    }

    /// Types something.
    pub(crate) fn type_in(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("it can be typed to");
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).expect("it reads");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> ExitStatus {
        let mut status = None;
        eventually(SOON, &format!("{} ends", self.name), || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("it has ended")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Collects lines, and passes them on to the test's own output.
fn follow(name: &str, output: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) {
    let (name, lines) = (name.to_owned(), Arc::clone(lines));
    let read = move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            println!("{name}: {line}");
            lines.lock().push(line);
        }
    };
    thread::Builder::new().name("output".to_owned()).spawn(read).expect("a thread");
}
