//! A graspd in a node, with its directory, what it says, and what it tells its service manager.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use grasptests::lab::{Node, Printed};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// For one event; most take milliseconds.
pub(crate) const SOON: Duration = Duration::from_secs(30);

const PROGRAM: &str = env!("CARGO_BIN_EXE_graspd-tested");

/// A directory of one test, with a configuration in it; it goes with the test.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new(configuration: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("graspd-{}-{number}", std::process::id()));
        fs::create_dir_all(path.join("objectives.d")).expect("a directory");
        let place = Self(path);
        place.configure(configuration);
        place
    }

    /// Another configuration, on this test's own socket.
    pub(crate) fn configure(&self, configuration: &str) {
        let socket = self.0.join("grasp.sock");
        self.write("graspd.toml", &format!("{configuration}\n[socket]\npath = {socket:?}\n"));
    }

    pub(crate) fn objective(&self, file: &str, text: &str) {
        self.write(&format!("objectives.d/{file}.toml"), text);
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).expect("a file");
    }

    /// Runs graspd to its end, with other arguments.
    pub(crate) fn run(&self, node: &Node, arguments: &[&str]) -> Output {
        let mut command = node.command(PROGRAM);
        command.arg("--config").arg(self.0.join("graspd.toml")).args(arguments);
        command.output().expect("graspd runs")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A graspd that runs. Killed when it is dropped.
pub(crate) struct Graspd {
    child: Child,
    manager: UnixDatagram,
    printed: Printed,
}

impl Graspd {
    /// Starts it, and waits until it is ready.
    pub(crate) fn start(node: &Node, place: &Place) -> Self {
        Self::start_on(node, place, Stdio::null())
    }

    /// With this as standard input.
    pub(crate) fn start_on(node: &Node, place: &Place, input: Stdio) -> Self {
        let path = place.0.join("notify.sock");
        let _ = fs::remove_file(&path);
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let mut command = node.command(PROGRAM);
        command.env("NOTIFY_SOCKET", &path).env_remove("JOURNAL_STREAM").env_remove("WATCHDOG_USEC");
        command.stdin(input);
        Self::listening(place, command, manager)
    }

    /// Starts it with a service manager that listens there.
    pub(crate) fn listening(place: &Place, mut command: Command, manager: UnixDatagram) -> Self {
        manager.set_read_timeout(Some(SOON)).expect("a timeout");
        command.arg("--config").arg(place.0.join("graspd.toml")).stderr(Stdio::piped());
        let mut child = command.spawn().expect("graspd starts");
        let printed = Printed::new("graspd");
        printed.follow(child.stderr.take().expect("piped"));
        let graspd = Self { child, manager, printed };
        graspd.tells("READY=1");
        graspd
    }

    /// Waits until it has told its service manager a line.
    pub(crate) fn tells(&self, wanted: &str) -> String {
        let deadline = Instant::now() + SOON;
        let mut told = [0; 4096];
        while Instant::now() < deadline {
            let Ok(count) = self.manager.recv(&mut told) else { break };
            let text = String::from_utf8_lossy(told.get(..count).unwrap_or_default()).into_owned();
            if text.lines().any(|line| line.starts_with(wanted)) {
                return text;
            }
        }
        panic!("it never told {wanted}; it said {:#?}", self.printed.lines());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs");
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a process"))
    }

    /// Has it read its configuration again, and waits until it has.
    pub(crate) fn reload(&self) {
        self.signal(Signal::SIGHUP);
        let told = self.tells("RELOADING=1");
        let microseconds =
            told.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")?.parse::<u64>().ok());
        assert!(microseconds.is_some_and(|time| time > 0), "{told}");
        self.tells("READY=1");
    }

    /// Waits until a line of its log has a text.
    pub(crate) fn says(&self, text: &str) {
        self.printed.says(SOON, text);
    }

    pub(crate) fn count(&self, text: &str) -> usize {
        self.printed.count(text)
    }

    /// Waits for its end, and for all that it has said.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        self.printed.ends(&mut self.child, SOON)
    }
}

impl Drop for Graspd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
