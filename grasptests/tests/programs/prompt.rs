//! The prompt of the program `lab`, with a person at a terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use grasptests::lab::{eventually, process};
use nix::pty::{OpenptyResult, openpty};
use parking_lot::Mutex;

/// For one event on a busy machine.
const SOON: Duration = Duration::from_secs(60);

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const UP: &str = "\x1b[A";
const LEFT: &str = "\x1b[D";

/// The program in a terminal, where it is the one that Ctrl-C is for. Killed when a test fails.
struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    /// What has been looked at.
    seen: usize,
}

impl Terminal {
    fn start(arguments: &[&str]) -> Self {
        let OpenptyResult { master, slave } = openpty(None, None).expect("a terminal");
        let side = || Stdio::from(slave.try_clone().expect("a descriptor"));
        // The terminal becomes the one that controls its session, as a shell would have it.
        let mut command = Command::new("setsid");
        // A test in the background of a script inherits an ignored SIGINT.
        process::default_signals(&mut command);
        let child = command
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_lab")])
            .args(arguments)
            .env("TERM", "xterm")
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .expect("setsid starts lab");
        drop(slave);
        let (keyboard, mut output) =
            (File::from(master.try_clone().expect("a descriptor")), File::from(master));
        let screen = Arc::new(Mutex::new(String::new()));
        let shown = Arc::clone(&screen);
        let follow = move || {
            let mut bytes = [0; 4096];
            // It ends with an error when nobody has the terminal open any more.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        };
        thread::Builder::new().name("screen".into()).spawn(follow).expect("a thread");
        Self { child, keyboard, screen, seen: 0 }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("somebody reads");
    }

    /// Waits until a text is shown after all that was waited for.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        let mut end = None;
        eventually(SOON, &format!("the terminal shows {text:?}"), || {
            let screen = self.screen.lock();
            end =
                screen.get(self.seen..).and_then(|new| new.find(text)).map(|at| self.seen + at + text.len());
            end.is_some()
        });
        self.seen = end.expect("found");
    }

    /// Waits for the prompt.
    #[track_caller]
    fn prompts(&mut self) {
        self.shows("n1> ");
    }

    #[track_caller]
    fn ends(&mut self) -> Option<i32> {
        let mut status = None;
        eventually(SOON, "lab ends", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("ended").code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        println!("{}", self.screen.lock());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_line_is_edited_and_brought_back() {
    let mut lab = Terminal::start(&["--topology", "line:2"]);
    lab.prompts();
    // What is typed may be mended: a letter that is missing in the middle of a word.
    lab.press(&format!("link{LEFT}{LEFT}\x7fi{LEFT}{LEFT}"));
    lab.press("\x05s\r");
    lab.shows("link 1: n1 eth0 -- n2 eth0");
    lab.prompts();
    lab.press(&format!("{UP}\r"));
    lab.shows("link 1: n1 eth0 -- n2 eth0");
    lab.prompts();
    lab.press("node n2\r");
    lab.shows("n2> ");
    lab.press(CTRL_D);
    assert_eq!(lab.ends(), Some(0));
}

#[test]
fn ctrl_c_drops_a_line_or_ends_a_command_and_never_the_lab() {
    let mut lab = Terminal::start(&["--topology", "line:2"]);
    lab.prompts();
    lab.press(&format!("unlink all{CTRL_C}"));
    lab.shows("quit or Ctrl-D ends the lab");
    lab.prompts();
    let started = Instant::now();
    for command in [
        "sleep 3600000",
        "discover EX1 3600000",
        "sync EX1 3600000",
        "floods EX1 3600000",
        "@all sync EX1 3600000",
    ] {
        lab.press(&format!("{command}\r"));
        // Shown by the terminal itself: the command has the line.
        lab.shows("\n");
        eventually(SOON, "the command is interrupted", || {
            // Before it waits, an interrupt is for nobody.
            lab.press(CTRL_C);
            thread::sleep(Duration::from_millis(50));
            lab.screen.lock().get(lab.seen..).is_some_and(|new| new.contains("error: interrupted"))
        });
        lab.shows("error: interrupted");
        lab.prompts();
    }
    assert!(started.elapsed() < Duration::from_secs(600), "none of them came to its end");
    // The lab is as it was.
    lab.press("@n2 listen-synch EX2 5\r");
    lab.shows("n2: EX2: serves");
    lab.prompts();
    lab.press("sync EX2 20000\r");
    lab.shows("n1: EX2 = 5");
    lab.prompts();
    lab.press("quit\r");
    assert_eq!(lab.ends(), Some(0));
}

#[test]
fn what_nodes_say_meanwhile_does_not_spoil_the_line() {
    let mut lab = Terminal::start(&["--topology", "line:2"]);
    lab.prompts();
    lab.press("@n2 listen EX1 wait 3000\r");
    lab.shows("listens");
    lab.prompts();
    lab.press("negotiate EX1 5\r");
    lab.shows("asks for 3000 ms");
    lab.press(CTRL_C);
    lab.shows("error: interrupted");
    lab.prompts();
    // The negotiation goes on, and says so while a line is typed.
    lab.press("links");
    lab.shows("accepts 5");
    lab.press("\r");
    lab.shows("link 1: n1 eth0 -- n2 eth0");
    lab.press(CTRL_D);
    assert_eq!(lab.ends(), Some(0));
}

#[test]
fn a_script_is_still_ended_by_ctrl_c() {
    let mut lab = Terminal::start(&["--topology", "line:1", "--no-prompt"]);
    lab.shows("help lists the verbs");
    lab.press(CTRL_C);
    // By the signal, which the shell reports so, or setsid as its own failure.
    assert_ne!(lab.ends(), Some(0));
}

/// What the programs say of themselves.
#[test]
fn each_program_tells_its_version_and_explains_a_mistake() {
    for program in [
        env!("CARGO_BIN_EXE_lab"),
        env!("CARGO_BIN_EXE_simulator"),
        env!("CARGO_BIN_EXE_bench"),
        env!("CARGO_BIN_EXE_soak"),
        env!("CARGO_BIN_EXE_grasptests"),
    ] {
        let output = Command::new(program).arg("--version").output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && text.trim_end().ends_with(env!("CARGO_PKG_VERSION")),
            "{program}: {text}"
        );
    }
    let simulator = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_simulator")).args(arguments).output().expect("it runs");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), said(&output.stdout), said(&output.stderr))
    };
    for (arguments, sentence) in [
        (["--topology", "foo"], "random, grid, scale-free, line, ring, campus"),
        (["--loop-count", "999"], "a loop count is a number from 1 to 255, or auto"),
        (["--loop-count", "0"], "a loop count is a number from 1 to 255, or auto"),
        (["--loss", "much"], "a percentage is a number from 0 to 100"),
        (["--loss", "101"], "a percentage is a number from 0 to 100"),
        (["--node-life", "1"], "two numbers of minutes, at least 1, as in 43200/60"),
        (["--set", "speed=1"], "there is no setting speed"),
        (["--set", "relay_limit"], "a setting is NAME=VALUE"),
        (["--set", "flood_relay_rate=fast"], "a value is a number, or two as in 100/300, or true or false"),
    ] {
        let (status, _, errors) = simulator(&arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(sentence), "{arguments:?}: {errors}");
    }
    let (_, help, _) = simulator(&["--help"]);
    for shape in ["all", "random", "grid", "scale-free", "line", "ring", "campus"] {
        assert!(help.contains(shape), "{shape}: {help}");
    }
    let (status, table, errors) = simulator(&[
        "--nodes",
        "9",
        "--topology",
        "line,grid",
        "--runs",
        "1",
        "--loss",
        "0",
        "--loop-count",
        "3,auto",
    ]);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert!(table.contains("line: 9 nodes") && table.contains("grid: 9 nodes"), "{table}");
}
