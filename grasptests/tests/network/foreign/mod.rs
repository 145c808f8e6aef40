//! TLS of others, written from docs/domain-profile.md, against an engine whose connections are secured by TLS: OpenSSL's client, and a
//! peer in Python that negotiates in both roles.
//!
//! They need the program `openssl` or `python3` (or what `PYTHON` names), and are ignored without being asked for:
//!
//! ```text
//! cargo test -p grasptests --test network foreign:: -- --ignored
//! ```

mod openssl;
mod python;

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use grasp::Config;
use grasptests::domains::{Saved, authority, credentials, with_tls};
use grasptests::lab::{Lab, Node};
use grasptests::nodes::{Host, linked};

/// What has to happen happens within this time, on a busy machine too.
const SOON: Duration = Duration::from_secs(30);

/// An engine that is member 1 of a domain, and next to it a machine with the files of member 2.
struct Scene {
    _lab: Lab,
    host: Host,
    machine: Node,
    files: Saved,
}

impl Scene {
    fn new() -> Self {
        let (lab, _, a, machine) = linked();
        let authority = authority();
        let host = Host::start(&a, Config::new().acp(with_tls(&credentials(&authority, 1))));
        let files = Saved::new(&credentials(&authority, 2));
        Self { _lab: lab, host, machine, files }
    }
}

/// Runs something in a thread that ends with the program whose output it reads.
fn in_thread(body: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name("reads".into()).spawn(body).expect("a thread");
}

/// A program, which is killed when this is dropped.
struct Program {
    child: Child,
    /// The lines that it has printed, with those on standard error marked.
    lines: Receiver<String>,
}

impl Program {
    /// Starts a program that prints lines.
    fn start(mut command: Command) -> Self {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let (tx, lines) = channel();
        for (mark, output) in [
            ("", child.stdout.take().map(|output| Box::new(output) as Box<dyn Read + Send>)),
            ("error: ", child.stderr.take().map(|output| Box::new(output) as Box<dyn Read + Send>)),
        ] {
            let tx = tx.clone();
            in_thread(move || {
                for line in BufReader::new(output.expect("piped")).lines().map_while(Result::ok) {
                    let _ = tx.send(format!("{mark}{line}"));
                }
            });
        }
        Self { child, lines }
    }

    /// The rest of the next line, which has to begin so.
    #[track_caller]
    fn says(&self, beginning: &str) -> String {
        let line = self.lines.recv_timeout(SOON).unwrap_or_else(|error| panic!("{beginning}: {error}"));
        let Some(rest) = line.strip_prefix(beginning) else {
            let more: Vec<String> = self.lines.iter().collect();
            panic!("not {beginning} but {line}\n{}", more.join("\n"));
        };
        rest.to_owned()
    }

    /// Waits for the end, before which nothing more is said.
    #[track_caller]
    fn ends(mut self) {
        // The sender is gone once both outputs have ended.
        let more: Vec<String> = self.lines.iter().collect();
        let status = self.child.wait().expect("it has started");
        assert!(status.success() && more.is_empty(), "{status}, {more:?}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
