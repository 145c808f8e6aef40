//! pusher and getter, with a relay between them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use asa_examples::pusher::{BLOCK, MOVE_FILE};
use grasp::{Asa, Config, Engine, Negotiation, Objective, RegisterObj, Value};
use grasp_lab::{Lab, LabError, Network, Node, Topology, isolated};
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
    let big = line.offer("big", 2 << 20);
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

/// A pusher that never comes to an end: of what it is asked for it sends block after block. Counts the blocks of digests.
fn endless(node: &Node) -> (Engine, Arc<AtomicUsize>) {
    let engine = node.run(|| Engine::start(Config::new())).expect("start");
    let asa = Asa::register(&engine, "endless").expect("register");
    let mut files = Objective::new(MOVE_FILE);
    files.neg = true;
    node.run(|| engine.register_obj(asa.nonce(), &files, RegisterObj::default())).expect("register");
    let (own, blocks) = (engine.clone(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&blocks);
    drop(node.spawn("endless", move || {
        while let Ok((session, mut step)) = own.listen_negotiate(asa.nonce(), &files) {
            let name = step.value.as_str().unwrap_or_default().to_owned();
            // The first file is honest, its digest is not.
            let mut left = if name == "honest" { 1 } else { usize::MAX };
            loop {
                step.value = Value::from(vec![b'a'; if left == 0 { 0 } else { BLOCK }]);
                step.loop_count = step.loop_count.saturating_add(1);
                count.fetch_add(usize::from(name.ends_with(".sha256")), Ordering::SeqCst);
                match own.negotiate_step(asa.nonce(), session, &step, Some(20_000)) {
                    Ok(Negotiation::Offer(_, next)) => step = next,
                    _ => break,
                }
                left = left.saturating_sub(1);
            }
        }
    }));
    (engine, blocks)
}

#[test]
fn what_never_ends_is_given_up() -> Result<(), LabError> {
    isolated!();
    let line = Line::new()?;
    let (engine, blocks) = endless(&line.network.nodes[2]);
    let mut getter = line.getter(&["honest", "endless", "--max-size", "100000", "--attempts", "20"]);
    assert_eq!(getter.ends().code(), Some(1));
    assert_eq!(getter.count("Not checked: the pusher has no digest for it"), 1);
    assert_eq!(getter.count("larger than 8192 bytes"), 1);
    assert_eq!(
        getter.count(
            "Could not get endless - transfer interrupted after 99328 bytes: it is larger than 100000"
        ),
        1
    );
    assert_eq!(line.received(), ["honest"]);
    assert!((1..=10).contains(&blocks.load(Ordering::SeqCst)), "{blocks:?}");
    engine.shutdown();
    Ok(())
}

#[test]
fn what_is_not_for_everybody_is_not_handed_out() -> Result<(), LabError> {
    isolated!();
    let line = Line::new()?;
    line.offer("good", 3);
    line.offer(".hidden", 3);
    let keys = grasp::QuadsKeys::from_parts([1; 32], [2; 16]);
    let key = line.offered.path().join("notes");
    grasp::keyfile::write(&key, Some(&keys), grasp::keyfile::Form::Hex).expect("a key file");
    std::os::unix::fs::symlink("/etc/hostname", line.offered.path().join("link")).expect("a link");
    let pusher = line.pusher();
    let mut getter = line.getter(&["good", ".hidden", "notes", "notes.sha256", "link", "--attempts", "20"]);
    assert_eq!(getter.ends().code(), Some(1));
    assert_eq!(getter.count("- Not a file that is handed out"), 4);
    assert_eq!(line.received(), ["good"]);
    assert_eq!(pusher.count("panicked"), 0);
    // The user says what is handed out.
    let unnamed = std::process::Command::new(example!("pusher")).output().expect("it runs");
    assert_eq!(unnamed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unnamed.stderr).contains("--directory"), "{unnamed:?}");
    Ok(())
}
