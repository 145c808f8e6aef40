//! [`isolated!`](crate::isolated): a test that runs again in a process of its own, inside new namespaces.
//!
//! The test function runs twice. In the test binary as started, [`rerun_isolated`] starts the same binary
//! again with the name of this one test, isolated, passes its output on and turns its failure into a panic.
//! In that second process it returns at once, and the body of the test follows.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};

use crate::isolate::{self, INNER, Isolation};

/// How long the output of a process may take to arrive when it has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Output is passed on in pieces of at most this many bytes.
const LINE: u64 = 64 * 1024;

/// The inner process says this, to prove that it found the test.
const REACHED: &str = "(inside the lab)";

/// Runs the rest of a test in an isolated process of its own: the first statement of a `#[test]` function,
/// which returns nothing or a `Result<(), E>`.
///
/// Each such test has its own network namespace (as an ordinary user: its own user namespace too), so tests
/// may run in parallel and touch nothing of the machine. When the time (in seconds, default 120) is up, the
/// inner process and all it started are killed. When namespaces cannot be had, the test fails and says why.
///
/// ```no_run
/// # use grasp_lab::{Lab, LabError, isolated};
/// #[test]
/// fn a_test() -> Result<(), LabError> {
///     isolated!();
///     let lab = Lab::new()?;
///     let (a, b) = (lab.node("a")?, lab.node("b")?);
///     lab.link(&a, &b)?;
///     Ok(())
/// }
/// ```
///
/// `#[should_panic]` does not work together with it.
#[macro_export]
macro_rules! isolated {
    () => {
        $crate::isolated!(120);
    };
    ($seconds:expr) => {
        fn here() {}
        if $crate::rerun_isolated(
            ::std::any::type_name_of_val(&here),
            ::std::time::Duration::from_secs($seconds),
        ) {
            return $crate::Passed::passed();
        }
    };
}

/// What a test function may return, for [`isolated!`](crate::isolated).
pub trait Passed {
    /// The value that means success.
    fn passed() -> Self;
}

impl Passed for () {
    fn passed() -> Self {}
}

impl<E> Passed for Result<(), E> {
    fn passed() -> Self {
        Ok(())
    }
}

/// Does the work of [`isolated!`](crate::isolated). Returns true when the test has run, in another process,
/// and passed; false when this is that other process.
///
/// # Panics
///
/// When the test failed, did not end within the deadline, or could not be isolated.
#[must_use]
#[track_caller]
pub fn rerun_isolated(here: &str, deadline: Duration) -> bool {
    // `here` is crate::module::test::here; libtest leaves the crate out.
    let path = here.strip_suffix("::here").unwrap_or(here);
    let path = path.split_once("::").map_or(path, |(_, path)| path);
    if env::var(INNER).as_deref() == Ok(path) {
        println!("{REACHED}");
        return false;
    }
    match run(path, deadline) {
        Ok(()) => true,
        Err(why) => panic!("{path}: {why}"),
    }
}

enum Event {
    Output(Vec<u8>),
    Exited,
}

fn run(path: &str, within: Duration) -> Result<(), String> {
    let deadline = Instant::now() + within;
    let failed = |error: io::Error| format!("cannot run the test in its own process: {error}");
    let (reader, writer) = io::pipe().map_err(failed)?;
    let mut command = Command::new(env::current_exe().map_err(failed)?);
    command
        .args([path, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"])
        .env(INNER, path)
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer)
        .process_group(0);
    crate::sys::isolate_at_exec(&mut command, Isolation::of_this_user());
    let child = command.spawn().map_err(|error| isolate::unavailable(&error).to_string())?;
    // It holds the writing end of the pipe.
    drop(command);
    let group = Group::new(child);

    let (events, inbox) = bounded(64);
    let id = group.id;
    let exits = events.clone();
    // Not waited for: a stray program with the pipe open could hold the first one up for ever.
    thread::Builder::new()
        .name("lab-output".into())
        .spawn(move || pass_on(reader, &events))
        .map_err(failed)?;
    thread::Builder::new().name("lab-wait".into()).spawn(move || watch(id, &exits)).map_err(failed)?;

    let (mut reached, mut timely, mut ending) = (false, true, false);
    let mut until = deadline;
    loop {
        // Output that never ceases must not put the deadline off.
        let event =
            if Instant::now() < until { inbox.recv_deadline(until) } else { Err(RecvTimeoutError::Timeout) };
        match event {
            Ok(Event::Output(line)) => {
                let line = String::from_utf8_lossy(&line);
                reached |= line.contains(REACHED);
                // print!, because libtest captures that and nothing else.
                print!("{line}");
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if ending => break,
            Err(RecvTimeoutError::Timeout) => timely = false,
            // What it left behind goes too.
            Ok(Event::Exited) => {}
        }
        group.kill();
        ending = true;
        until = Instant::now() + LAST_WORDS;
    }
    let status = group.reap().map_err(failed)?;
    match (timely, status.success(), reached) {
        (false, ..) => Err(format!("not finished after {within:?}, killed")),
        (true, false, _) => Err(format!("failed in its own process ({})", describe(status))),
        (true, true, false) => Err("the test binary does not know it by this name".into()),
        (true, true, true) => Ok(()),
    }
}

fn pass_on(reader: io::PipeReader, events: &Sender<Event>) {
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LINE).read_until(b'\n', &mut line) {
            Ok(1..) if events.send(Event::Output(line)).is_ok() => {}
            _ => return,
        }
    }
}

/// Waits for the end of a process without reaping it, so that its number stays its own.
fn watch(process: Pid, events: &Sender<Event>) {
    while waitid(Id::Pid(process), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
    // Nobody listens any more when the deadline came first.
    let _ = events.send(Event::Exited);
}

fn describe(status: ExitStatus) -> String {
    match status.signal().map(Signal::try_from) {
        Some(Ok(signal)) => format!("killed by {signal}"),
        _ => status.to_string(),
    }
}

/// The inner process and everything it started that is still in its process group; killed when dropped.
struct Group {
    id: Pid,
    child: Child,
}

impl Group {
    fn new(child: Child) -> Self {
        // Linux process numbers stay far below i32::MAX.
        let id = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        Self { id, child }
    }

    fn kill(&self) {
        // Fails when nobody is left, which is what is wanted.
        let _ = killpg(self.id, Signal::SIGKILL);
    }

    fn reap(mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Reaped already, the number may belong to somebody else.
        if let Ok(None) = self.child.try_wait() {
            self.kill();
            let _ = self.child.wait();
        }
    }
}
