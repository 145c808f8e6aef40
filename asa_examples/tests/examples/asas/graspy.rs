//! The examples with the ASAs of graspy on the other side, in both roles.

use std::fs;
use std::path::{Path, PathBuf};

use grasp_lab::{Lab, Node, eventually, isolated};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::asas::program::{Program, SOON};
use crate::example;

/// How long the pauses of the ASAs take.
const PACE: &str = "0.03";
/// Answers to graspy's questions: test mode, parse diagnostics, own multicasts, DULL.
const ANSWERS: &str = "N\nY\nN\nN\n";

/// The checkout of graspy.
#[track_caller]
fn checkout() -> PathBuf {
    let Some(directory) = std::env::var_os("GRASPY_DIR").map(PathBuf::from) else {
        panic!("set GRASPY_DIR to a checkout of graspy (the directory of grasp.py) to run this test");
    };
    assert!(directory.join("grasp.py").is_file(), "no grasp.py in {}", directory.display());
    directory
}

/// An ASA of graspy in a node, at work in a directory.
fn graspy(node: &Node, asa: &str, at: &Path) -> Program {
    let directory = checkout();
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples/asas/run_asa.py");
    let mut command = node.command(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into()));
    command.args(["-u".as_ref(), runner.as_os_str(), directory.join(asa).as_os_str()]).arg(PACE);
    command.env("GRASPY_DIR", &directory).env("PYTHONDONTWRITEBYTECODE", "1").current_dir(at);
    Program::spawn(asa, command)
}

/// Two nodes, the first for this project's program, and a directory.
struct Pair {
    ours: Node,
    theirs: Node,
    at: TempDir,
    _lab: Lab,
}

fn pair() -> Pair {
    let lab = Lab::new().expect("a lab");
    let (ours, theirs) = (lab.node("ours").expect("a node"), lab.node("theirs").expect("a node"));
    lab.link(&ours, &theirs).expect("a link");
    Pair { ours, theirs, at: TempDir::new().expect("a directory"), _lab: lab }
}

fn fault_free(python: &Program) {
    // What it prints when it fails, and when it does not understand a message.
    for sign in ["Traceback", "Anomalous", "packet dropped"] {
        assert_eq!(python.count(sign), 0, "{sign}");
    }
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn our_briggs_and_their_gray() {
    isolated!(200);
    let pair = pair();
    let mut briggs = Program::start(&pair.ours, example!("briggs"), &["--pace", PACE, "--seed", "3"]);
    let mut gray = graspy(&pair.theirs, "ASA-examples/Gray.py", pair.at.path());
    gray.type_in(ANSWERS);
    briggs.says("Ready to negotiate EX3 as listener");
    gray.says("Synchronized EX2 [1, 'two', 3]");
    gray.says("Flooded EX1 from");
    for (theirs, ours) in [
        ("Negotiation succeeded", "Request accepted"),
        ("Negotiation succeeded", "Negotiation succeeded"),
        ("Invalid currency", "Failed Invalid currency"),
        ("Rejecting unacceptable offer", "Declined: You are mean!"),
        ("Peer reject: Insufficient funds", "Failed Insufficient funds"),
        ("Peer reject: Недостаточно средств", "Failed Недостаточно средств"),
        ("Testing Tag 24", "CBOR value decoded"),
        ("; dry run True", "Dry run"),
    ] {
        gray.says(theirs);
        briggs.says(ours);
    }
    println!("negotiations: {}", briggs.count("Got request for"));
    fault_free(&gray);
    briggs.signal(Signal::TERM);
    assert!(briggs.ends().success());
    assert_eq!(briggs.count("panicked"), 0);
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn their_briggs_and_our_gray() {
    isolated!(200);
    let pair = pair();
    let mut briggs = graspy(&pair.theirs, "ASA-examples/Briggs.py", pair.at.path());
    briggs.type_in(ANSWERS);
    briggs.says("Ready to negotiate EX3 as listener");
    let mut gray = Program::start(&pair.ours, example!("gray"), &["--pace", PACE, "--seed", "3"]);
    gray.says("Synchronized EX2 [1, \"two\", 3]");
    for (ours, theirs) in [
        ("Negotiation succeeded [\"NZD\"", "Request accepted"),
        ("Negotiation succeeded [\"NZD\"", "Negotiation succeeded"),
        ("request_negotiate error: Invalid currency", "Failed Invalid currency"),
        ("Rejecting unacceptable offer", "Declined: You are mean!"),
        ("Peer reject: Insufficient funds", "Failed Insufficient funds"),
        ("Peer reject: Недостаточно средств", "Failed Недостаточно средств"),
        ("Testing Tag 24", "CBOR value decoded"),
        ("; dry run", "Dry run"),
        ("Synchronized EX1", "Flooding EX1 for ever"),
    ] {
        gray.says(ours);
        briggs.says(theirs);
    }
    println!("negotiations: {}", briggs.count("Got request for"));
    fault_free(&briggs);
    gray.signal(Signal::TERM);
    assert!(gray.ends().success());
    assert_eq!(gray.count("panicked"), 0);
}

/// Contents that are easy and hard: random bytes; bytes that begin with a CBOR item in every block, which
/// graspy then marks as embedded CBOR; and text.
fn contents() -> [(&'static str, Vec<u8>); 3] {
    let mut random = vec![0; 1 << 20];
    fastrand::Rng::with_seed(1).fill(&mut random);
    [("random", random), ("zeros", vec![0; 10_000]), ("text", b"Les Gray's elegy\n".repeat(500))]
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn their_pusher_and_our_getter() {
    isolated!(200);
    let pair = pair();
    for (name, bytes) in contents() {
        fs::write(pair.at.path().join(name), bytes).expect("a file");
    }
    let pusher = graspy(&pair.theirs, "ASA-examples/pusher.py", pair.at.path());
    pusher.says("pusher is listening");
    let got = TempDir::new().expect("a directory");
    let directory = got.path().to_str().unwrap();
    let options = ["--directory", directory, "random", "zeros", "text", "none"];
    let mut getter = Program::start(&pair.ours, example!("getter"), &options);
    assert_eq!(getter.ends().code(), Some(1), "one is not there");
    for (name, bytes) in contents() {
        assert!(fs::read(got.path().join(name)).expect("it is there") == bytes, "{name}");
    }
    assert_eq!(getter.count("Not checked: the pusher has no digest for it"), 3);
    assert_eq!(getter.count("Could not get none - [Errno 2] No such file or directory"), 1);
    fault_free(&pusher);
    // A getter that goes in the middle.
    let getter = Program::start(&pair.ours, example!("getter"), &options);
    getter.says("bytes of random");
    drop(getter);
    pusher.says("Failed: ");
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn our_pusher_and_their_getter() {
    isolated!(200);
    let pair = pair();
    let offered = TempDir::new().expect("a directory");
    for (name, bytes) in contents() {
        fs::write(offered.path().join(name), bytes).expect("a file");
    }
    let options = ["--directory", offered.path().to_str().unwrap()];
    let pusher = Program::start(&pair.ours, example!("pusher"), &options);
    pusher.says("pusher is listening");
    // It writes to this directory, and does not make it.
    fs::create_dir(pair.at.path().join("got")).expect("a directory");
    let mut getter = graspy(&pair.theirs, "ASA-examples/getter.py", pair.at.path());
    getter.says("Ready to negotiate 411:mvFile as requester");
    for (number, (name, bytes)) in (1..).zip(contents()) {
        getter.type_in(&format!("{name}\n"));
        eventually(SOON, "the transfer ends", || getter.count("Transfer succeeded") == number);
        assert!(fs::read(pair.at.path().join("got").join(name)).expect("it is there") == bytes, "{name}");
    }
    getter.type_in("none\n");
    getter.says("No such file or directory");
    fault_free(&getter);
    // A getter that goes in the middle.
    getter.type_in("random\n");
    eventually(SOON, "the next one begins", || pusher.count("Sent 1") >= 2);
    drop(getter);
    pusher.says("Transfer interrupted after");
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn conversations_with_gsend_in_both_roles() {
    isolated!(200);
    let pair = pair();
    let mut server = graspy(&pair.theirs, "ASA-examples/testserver.py", pair.at.path());
    server.type_in(ANSWERS);
    server.says("Ready to negotiate EX3 as server");
    server.type_in("first answer\nsecond answer\n");
    let mut client = Program::start(&pair.ours, example!("client"), &["--rounds", "2", "--pace", "0.1"]);
    assert!(client.ends().success());
    client.says("Peer replied: \"first answer\"");
    client.says("Peer replied: \"second answer\"");
    assert_eq!(server.count("Peer said Hello, server!"), 2);
    drop(server);

    let server = Program::start(&pair.ours, example!("server"), &["--say", "an answer"]);
    server.says("Ready to negotiate EX3 as server");
    let mut client = graspy(&pair.theirs, "ASA-examples/testclient.py", pair.at.path());
    client.type_in(ANSWERS);
    client.type_in("something\nsomething else\n");
    eventually(SOON, "both are answered", || client.count("Peer replied: an answer") == 2);
    assert_eq!(server.count("Got message: \"Start\""), 1);
    assert_eq!(server.count("Peer said \"something else\""), 1);
    fault_free(&client);
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn their_configger_takes_the_sizes_that_our_graspconfig_floods() {
    isolated!(200);
    let pair = pair();
    let sizes = ["--max-multicast", "4000", "--max-unicast", "5000", "--pace", "0.01"];
    let _flooder = Program::start(&pair.ours, example!("graspconfig"), &sizes);
    let mut daemon = graspy(&pair.theirs, "gremlin.py", pair.at.path());
    daemon.type_in(ANSWERS);
    daemon.says("Changing max multicast size to 4000");
    daemon.says("Changing max unicast size to 5000");
    fault_free(&daemon);
}
