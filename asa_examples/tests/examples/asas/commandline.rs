//! What all examples have in common.

use std::process::Command;

use grasp_lab::{self as lab, Lab, LabError, isolated};
use rustix::process::Signal;

use crate::asas::program::Program;
use crate::example;

/// The examples with what each needs to run, and what it says when it has started.
const EXAMPLES: &[(&str, &[&str], &str)] = &[
    (example!("briggs"), &[], "Ready to negotiate EX3 as listener"),
    (example!("client"), &[], "Ready to negotiate EX3 as client"),
    (example!("getter"), &["--directory", "/tmp", "nothing-there"], "Asking for nothing-there"),
    (example!("graspconfig"), &[], "Flooded max_multicast 2048"),
    (example!("gray"), &[], "Objective EX3 registered OK"),
    (example!("pusher"), &["--directory", "/tmp"], "pusher is listening"),
    (example!("relay"), &[], "Daemon running on 1 interfaces"),
    (example!("server"), &[], "Ready to negotiate EX3 as server"),
];

#[test]
fn each_explains_its_options() {
    for (example, ..) in EXAMPLES {
        let help = Command::new(example).arg("--help").output().expect("it runs");
        let text = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(help.status.success() && text.starts_with(char::is_alphabetic), "{example}: {text}");
        for option in ["--seed", "--rounds", "--pace", "--lab"] {
            assert!(text.contains(option), "{example}: {option}");
        }
        let wrong = Command::new(example).arg("--nonsense").output().expect("it runs");
        assert_eq!(wrong.status.code(), Some(2), "{example}");
    }
}

#[cfg(not(feature = "bubbles"))]
#[test]
fn without_its_feature_bubbles_says_what_is_missing() {
    let output = Command::new(example!("briggs")).arg("--bubbles").output().expect("it runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("--features bubbles"), "{said}");
}

#[test]
fn each_introduces_itself_and_stops_cleanly_on_either_signal() -> Result<(), LabError> {
    isolated!(180);
    let lab = Lab::new()?;
    let (node, neighbour) = (lab.node("here")?, lab.node("there")?);
    lab.link(&node, &neighbour)?;
    for signal in [Signal::INT, Signal::TERM] {
        for (example, options, started) in EXAMPLES {
            let mut program = Program::start(&node, example, options);
            program.says(started);
            program.signal(signal);
            // A getter that has not got its file has failed.
            let failed = example.ends_with("getter");
            assert_eq!(program.ends().code(), Some(failed.into()), "{example}");
            program.says(if example.ends_with("relay") { "Daemon stopping" } else { "ASA exiting" });
            // Three lines before anything else that the example itself says.
            let lines = program.lines();
            let first = lines.iter().filter(|line| !line.contains("WARN")).take(3);
            assert!(first.clone().all(|line| line.ends_with('.')), "{example}: {lines:?}");
            assert_eq!(program.count("panicked"), 0, "{example}");
            assert_eq!(program.count("Stopping the engine"), 0, "{example} had to be pushed");
        }
    }
    Ok(())
}

#[test]
fn lab_shows_both_sides_talking() {
    // The program makes its own network, as on anybody's machine.
    lab::available().expect("namespaces");
    let run = |example: &str, options: &[&str]| {
        let output = Command::new(example).args(options).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success());
        text
    };
    let text = run(
        example!("briggs"),
        &[
            "--pace",
            "0.02",
            "--seed",
            "5",
            "--relays",
            "1",
            "--lab",
            "gray --rounds 2",
            "--lab",
            "gray --rounds 1",
        ],
    );
    for said in
        ["Got request for NZD", "Asking for NZD", "Synchronized EX2 [1, \"two\", 3]", "Daemon stopping"]
    {
        assert!(text.contains(said), "{said}");
    }
    assert_eq!(text.matches("ASA exiting").count(), 3);
    let text = run(example!("client"), &["--pace", "0.1", "--rounds", "2", "--lab", "server"]);
    assert_eq!(text.matches("Peer replied: \"Hello, server!\"").count(), 2);
    let unknown = Command::new(example!("briggs")).args(["--lab", "nobody"]).output().expect("it runs");
    assert!(String::from_utf8_lossy(&unknown.stdout).contains("the examples are briggs, client"));
}

#[test]
fn a_wrong_command_line_of_a_peer_is_that_peers_and_a_failure() {
    lab::available().expect("namespaces");
    let run = |peer: &str| {
        let options = ["--pace", "0.01", "--rounds", "1", "--lab", peer];
        let output = Command::new(example!("briggs")).args(options).output().expect("it runs");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), said(&output.stdout), said(&output.stderr))
    };
    let (status, said, errors) = run("gray --bogus");
    assert_eq!(status, Some(2), "{said}{errors}");
    assert!(said.contains(r#"--lab "gray --bogus""#), "{said}");
    assert!(errors.contains("--bogus") && errors.contains("gray") && !errors.contains("briggs"), "{errors}");
    assert!(!said.contains("registered"), "nothing was started: {said}");
    // What fails later is told of, too.
    let (status, said, errors) = run("getter nothing-there --attempts 1 --directory /tmp");
    assert_eq!(status, Some(1), "{said}{errors}");
    assert!(
        said.contains("getter nothing-there --attempts 1 --directory /tmp ended with exit status: 1"),
        "{said}"
    );
}

#[test]
fn a_relay_says_which_interfaces_it_has_and_which_it_waits_for() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let (node, one, other) = (lab.node("here")?, lab.node("one")?, lab.node("other")?);
    let wanted = ["--interface", "eth0", "--interface", "eth1"];
    let mut relay = Program::start(&node, example!("relay"), &wanted);
    relay.says("Daemon running on 0 interfaces");
    relay.says("Waiting for interface eth0");
    relay.says("Waiting for interface eth1");
    lab.link(&node, &one)?;
    relay.says("Daemon running on 1 interfaces: eth0");
    lab.link(&node, &other)?;
    relay.says("Daemon running on 2 interfaces: eth0 eth1");
    relay.signal(Signal::TERM);
    assert!(relay.ends().success());
    Ok(())
}
