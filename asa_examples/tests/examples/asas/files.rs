//! pusher and getter, with a relay between them.

use std::fs;
use std::path::Path;

use grasp_lab::{Lab, LabError, Network, Topology, isolated};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::asas::program::Program;
use crate::example;

/// getter, relay and pusher in a line, and the two directories.
struct Line {
    network: Network,
    _lab: Lab,
    _relay: Program,
    offered: TempDir,
    got: TempDir,
}

impl Line {
    fn new() -> Result<Self, LabError> {
        let lab = Lab::new()?;
        let network = lab.build(Topology::Line(3))?;
        let relay = Program::start(&network.nodes[1], example!("relay"), &[]);
        relay.says("Daemon running on 2 interfaces");
        let directory = || TempDir::new().expect("a directory");
        Ok(Self { network, _lab: lab, _relay: relay, offered: directory(), got: directory() })
    }

    fn pusher(&self) -> Program {
        let directory = self.offered.path().to_str().unwrap();
        let pusher = Program::start(&self.network.nodes[2], example!("pusher"), &["--directory", directory]);
        pusher.says("pusher is listening");
        pusher
    }

    fn getter(&self, files: &[&str]) -> Program {
        let directory = self.got.path().to_str().unwrap();
        let options = [&["--pace", "0.2", "--directory", directory], files].concat();
        Program::start(&self.network.nodes[0], example!("getter"), &options)
    }

    /// Makes a file of random bytes and returns them.
    fn offer(&self, name: &str, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        fastrand::Rng::with_seed(1).fill(&mut bytes);
        fs::write(self.offered.path().join(name), &bytes).expect("a file");
        bytes
    }

    fn received(&self) -> Vec<String> {
        listing(self.got.path())
    }
}

fn listing(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_megabyte_crosses_a_relay_and_is_checked() -> Result<(), LabError> {
    isolated!();
    let line = Line::new()?;
    let big = line.offer("big", 1 << 20);
    line.offer("empty", 0);
    line.offer("block", 1024);
    fs::create_dir(line.offered.path().join("below")).expect("a directory");
    line.offer("below/some text.txt", 3);
    let pusher = line.pusher();
    let mut getter = line.getter(&["big", "empty", "block", "below/some text.txt", "none", "../escape"]);
    assert_eq!(getter.ends().code(), Some(1), "two of them cannot be had");
    assert_eq!(getter.count("Checked: SHA-256"), 4);
    assert_eq!(getter.count("Could not get none - No such file or directory"), 1);
    assert_eq!(getter.count("Could not get ../escape"), 1);
    assert!(getter.count("bytes of big") >= 9, "progress is shown");
    assert!(pusher.count("bytes of big (") >= 9, "progress is shown");
    assert_eq!(line.received(), ["big", "block", "empty", "some text.txt"]);
    assert!(fs::read(line.got.path().join("big")).expect("readable") == big);
    assert_eq!(fs::read(line.got.path().join("empty")).expect("readable"), b"");
    Ok(())
}

#[test]
fn a_pusher_killed_half_way_leaves_nothing_behind() -> Result<(), LabError> {
    isolated!();
    let line = Line::new()?;
    let big = line.offer("big", 8 << 20);
    let pusher = line.pusher();
    let mut getter = line.getter(&["big"]);
    getter.says("bytes of big");
    assert_eq!(line.received(), ["big.part"]);
    drop(pusher);
    assert_eq!(getter.ends().code(), Some(1));
    assert_eq!(getter.count("Could not get big - transfer interrupted after"), 1);
    assert_eq!(line.received(), [""; 0]);
    // A new pusher on the same node, and all is well as soon as the relay has forgotten the old one.
    let _pusher = line.pusher();
    let mut getter = line.getter(&["big", "--attempts", "20"]);
    assert!(getter.ends().success());
    assert!(fs::read(line.got.path().join("big")).expect("readable") == big);
    Ok(())
}

#[test]
fn a_getter_killed_or_stopped_half_way_does_not_disturb_the_pusher() -> Result<(), LabError> {
    isolated!();
    let line = Line::new()?;
    line.offer("big", 8 << 20);
    line.offer("small", 5000);
    let pusher = line.pusher();
    let getter = line.getter(&["big"]);
    getter.says("bytes of big");
    drop(getter);
    pusher.says("Transfer interrupted after");
    assert_eq!(line.received(), ["big.part"], "nobody can clean up after that");

    let mut getter = line.getter(&["big"]);
    getter.says("bytes of big");
    getter.signal(Signal::TERM);
    assert_eq!(getter.ends().code(), Some(1));
    getter.says("Could not get big - transfer interrupted");
    pusher.says("The receiver stops");
    assert_eq!(line.received(), [""; 0], "the older one was overwritten and removed");

    assert!(line.getter(&["small"]).ends().success());
    assert_eq!(line.received(), ["small"]);
    assert_eq!(pusher.count("panicked"), 0);
    Ok(())
}
