//! ASAtest as a program, and a switch of the engine that it needs.

use std::process::{Command, Output};

use grasp::{Asa, Config, Discover, Engine, Objective, RegisterObj};
use grasptests::isolated;
use grasptests::lab::{self, Lab, LabError, LinkOptions, Node};

const PROGRAM: &str = env!("CARGO_BIN_EXE_grasptests");

const BRANCHES: [&str; 7] = [
    "invalid currency",
    "accepted at once",
    "half accepted",
    "wait too short",
    "bad message",
    "declined in English",
    "declined in Russian",
];

/// Runs the suite in a network that it makes itself, as a user does.
fn suite(arguments: &[&str]) -> Result<(i32, String), LabError> {
    // Without namespaces the program would turn to the machine's own interfaces.
    lab::available()?;
    Ok(ended(Command::new(PROGRAM).args(arguments).output().unwrap()))
}

/// Runs the suite on the interfaces of a node.
fn suite_at(node: &Node, arguments: &[&str]) -> (i32, String) {
    ended(node.command(PROGRAM).arg("--host").args(arguments).output().unwrap())
}

/// The exit status and all that was printed.
fn ended(output: Output) -> (i32, String) {
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    println!("{text}");
    (output.status.code().expect("an exit status"), text)
}

/// The line of a step.
fn step<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find(|line| line.contains(name) && line.contains(" s  ")).expect("the step has a line")
}

#[test]
fn twenty_rounds_hold_and_reach_every_branch() -> Result<(), LabError> {
    let (status, text) = suite(&["--seed", "7", "--rounds", "20"])?;
    assert_eq!(status, 0);
    assert!(text.contains("\ngrasptests: 18 steps, 18 passed, 0 failed\n"));
    let branches = text.lines().find(|line| line.starts_with("branches of the negotiation:")).unwrap();
    for branch in BRANCHES {
        let count = branches.split_once(branch).expect(branch).1.trim_start();
        let count: String = count.chars().take_while(char::is_ascii_digit).collect();
        assert!(matches!(count.as_str(), "2" | "3"), "{branch}: {count}");
    }
    for said in ["Objective already registered", "Invalid currency", "Недостаточно средств"]
    {
        assert!(text.contains(said), "{said}");
    }
    Ok(())
}

#[test]
fn the_suite_holds_in_a_secure_domain() -> Result<(), LabError> {
    let (status, text) = suite(&["--seed", "7", "--domain", "--test-mode"])?;
    assert_eq!(status, 0);
    assert!(text.contains("\ngrasptests: 18 steps, 18 passed, 0 failed\n"));
    // It is alone in its domain, so that nothing but announcements goes out in datagrams.
    let counter = |name| text.lines().find_map(|line| line.split_once(name)).unwrap_or_default().1.to_owned();
    assert_eq!(counter("multicast_sent "), counter("announcements_sent "));
    assert_ne!(counter("announcements_sent "), "");
    Ok(())
}

#[test]
fn the_default_reaches_every_branch_in_the_rounds_of_its_seed() -> Result<(), LabError> {
    let (status, text) = suite(&["--seed", "1"])?;
    assert_eq!(status, 0);
    let branches = text.lines().find(|line| line.starts_with("branches of the negotiation:")).unwrap();
    assert!(BRANCHES.iter().all(|branch| branches.contains(&format!("{branch} 1"))), "{branches}");
    let drawn = |text: &str, rounds| {
        let drawn = text.lines().filter_map(|line| line.split_once("Reserves: $")).take(rounds);
        drawn.map(|(_, numbers)| numbers.to_owned()).collect::<Vec<_>>()
    };
    let (status, again) = suite(&["--seed", "1", "--rounds", "2", "--test-mode"])?;
    assert_eq!((status, drawn(&again, 2)), (0, drawn(&text, 2)));
    assert!(again.contains("multicast_received "), "test mode prints the counters");
    Ok(())
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for arguments in [&["--no-such-flag"][..], &["--rounds", "0"], &["--seed", "seven"]] {
        let (status, text) = ended(Command::new(PROGRAM).args(arguments).output().unwrap());
        assert_eq!(status, 2, "{arguments:?}");
        assert!(text.contains("--help"), "{text}");
    }
    assert_eq!(ended(Command::new(PROGRAM).arg("--help").output().unwrap()).0, 0);
}

#[test]
fn a_host_with_link_local_addresses_only_cannot_be_diverted_to() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let node = lab.node("a")?;
    lab.lan_with(&[&node, &lab.node("b")?], LinkOptions::link_local_only())?;
    let (status, text) = suite_at(&node, &["--rounds", "1"]);
    assert_eq!(status, 0);
    assert!(text.contains("Using interface eth0"));
    assert!(text.contains("link-local addresses only"));
    Ok(())
}

#[test]
fn a_host_with_two_interfaces_will_do() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let (node, other) = (lab.node("a")?, lab.node("b")?);
    lab.link(&node, &other)?;
    lab.link(&node, &other)?;
    let (status, text) = suite_at(&node, &["--rounds", "7"]);
    assert_eq!(status, 0);
    assert!(text.contains("Using interface eth1"));
    Ok(())
}

#[test]
fn a_step_that_fails_fails_the_suite_and_not_the_other_steps() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let (node, other) = (lab.node("a")?, lab.node("b")?);
    lab.link(&node, &other)?;
    // The suite expects that nobody offers EX1.
    let engine = other.run(|| Engine::start(Config::new())).expect("the engine starts");
    let asa = Asa::register(&engine, "intruder").unwrap();
    let mut ex1 = Objective::new("EX1");
    ex1.synch = true;
    let options = RegisterObj { discoverable: true, ..RegisterObj::default() };
    other.run(|| engine.register_obj(asa.nonce(), &ex1, options)).unwrap();
    let (status, text) = suite_at(&node, &["--rounds", "1"]);
    assert_eq!(status, 1);
    assert!(step(&text, "discover EX1").contains("FAILED: nobody listens for EX1, but it is at"));
    assert!(step(&text, "discover Boot").ends_with("ok"));
    assert!(text.contains("grasptests: 18 steps, ") && !text.contains(", 0 failed"));
    Ok(())
}

#[test]
fn a_host_without_an_interface_fails_and_says_why() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let (status, text) = suite_at(&lab.node("a")?, &[]);
    assert_eq!(status, 1);
    assert!(step(&text, "start an engine").contains("no usable interface"));
    assert!(text.contains("\ngrasptests: 1 steps, 0 passed, 1 failed\n"));
    Ok(())
}

#[test]
fn a_forced_divert_shows_in_what_is_discovered() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let node = lab.node("a")?;
    lab.link(&node, &lab.node("b")?)?;
    let engine = node.run(|| Engine::start(Config::new().listen_self(true))).expect("the engine starts");
    let asa = Asa::register(&engine, "Boot").unwrap();
    let mut boot = Objective::new("Boot");
    boot.synch = true;
    let options = RegisterObj { discoverable: true, ..RegisterObj::default() };
    node.run(|| engine.register_obj(asa.nonce(), &boot, options)).unwrap();
    let discover = |options| engine.discover(asa.nonce(), &boot, Some(5000), options).unwrap();
    let first = Discover { enough: Some(1), ..Discover::default() };

    let direct = discover(first);
    assert_eq!(direct.iter().map(|locator| locator.diverted).collect::<Vec<_>>(), [false]);
    engine.set_test_divert(true);
    let diverted = discover(first);
    assert_eq!(diverted.iter().map(|locator| locator.diverted).collect::<Vec<_>>(), [true]);
    assert_eq!((&diverted[0].locator, diverted[0].port), (&direct[0].locator, direct[0].port));
    engine.set_test_divert(false);
    assert!(!discover(first)[0].diverted, "the cache remembers the direct answer");
    Ok(())
}
