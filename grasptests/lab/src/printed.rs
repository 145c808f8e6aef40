//! What a program prints while it runs, for the tests that start one.

use std::{
    fmt,
    io::{BufRead as _, BufReader, Read},
    process::{Child, ExitStatus},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::Mutex;

use crate::process::eventually;

/// The lines that a program has printed so far, on all outputs that are followed. Each line also goes to the test's own
/// output, after the program's name. Clones share the lines.
#[derive(Clone)]
pub struct Printed {
    name: Arc<str>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    /// The outputs that have not ended.
    open: usize,
}

impl fmt::Debug for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Printed").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Printed {
    /// Nothing so far, of a program with this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), state: Arc::default() }
    }

    /// Collects the lines of an output until it ends, in a thread of its own.
    ///
    /// # Panics
    ///
    /// When no thread can be started.
    #[expect(
        clippy::expect_used,
        clippy::print_stdout,
        reason = "helpers of tests fail by panicking, and print"
    )]
    pub fn follow(&self, output: impl Read + Send + 'static) {
        let printed = self.clone();
        printed.state.lock().open += 1;
        let read = move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                println!("{}: {line}", printed.name);
                printed.state.lock().lines.push(line);
            }
            printed.state.lock().open -= 1;
        };
        thread::Builder::new().name("output".to_owned()).spawn(read).expect("a thread");
    }

    /// The lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.state.lock().lines.clone()
    }

    /// How many lines so far contain a text.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        self.state.lock().lines.iter().filter(|line| line.contains(text)).count()
    }

    /// Waits until a line contains a text.
    ///
    /// # Panics
    ///
    /// When none does in time.
    #[track_caller]
    pub fn says(&self, within: Duration, text: &str) {
        eventually(within, &format!("{} says {text:?}", self.name), || self.count(text) > 0);
    }

    /// Waits until the program has ended and all that it has printed is here: a process is gone before its last lines are
    /// read.
    ///
    /// # Panics
    ///
    /// When it does not end in time, or a process that it has left behind keeps its outputs open.
    #[track_caller]
    #[expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]
    pub fn ends(&self, child: &mut Child, within: Duration) -> ExitStatus {
        let mut status = None;
        eventually(within, &format!("{} ends", self.name), || {
            status = child.try_wait().expect("a child");
            status.is_some()
        });
        eventually(within, &format!("the outputs of {} end", self.name), || self.state.lock().open == 0);
        status.expect("it has ended")
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    #[test]
    fn the_end_of_a_program_comes_after_its_last_line() {
        // The process is gone before any of its lines, which fit into the pipe, is read.
        for _ in 0..5 {
            let script = "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done";
            let mut program = Command::new("sh");
            program.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = program.spawn().expect("a shell");
            child.wait().expect("it ends");
            let printed = Printed::new("sh");
            printed.follow(child.stdout.take().expect("piped"));
            printed.follow(child.stderr.take().expect("piped"));
            assert!(printed.ends(&mut child, SOON).success());
            assert_eq!((printed.lines().len(), printed.count("2999")), (3000, 1));
        }
    }
}
