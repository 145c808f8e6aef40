//! The programs of docs/tutorial.md, as a newcomer runs them, and the demonstration of README.md.

use std::process::Command;

use grasp::ipc::{self, ServerOptions};
use grasp::{Config, Engine};
use grasp_lab::{self as lab, Lab, LabError, Topology, isolated};

use crate::asas::program::{Program, SOON};
use crate::example;

#[test]
fn the_programs_in_the_document_are_those_that_run() {
    let document = include_str!("../../../docs/tutorial.md");
    for source in [include_str!("../../src/bin/thermometer.rs"), include_str!("../../src/bin/reader.rs")] {
        assert!(
            document.contains(&format!("```rust,no_run\n{source}```\n")),
            "not in the document:\n{source}"
        );
    }
}

#[test]
fn the_thermometer_is_read_from_another_process_and_from_another_node() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let nodes = lab.build(Topology::Lan(2))?.nodes;
    let mut early = Program::start(&nodes[0], example!("reader"), &["eth0"]);
    assert!(early.ends().success());
    assert_eq!(early.count("There is no thermometer"), 1);
    let thermometer = Program::start(&nodes[0], example!("thermometer"), &["eth0"]);
    thermometer.says("It is now 16");
    // In the second terminal of the same machine; then elsewhere, on all interfaces.
    for (node, options) in [(&nodes[0], &["eth0"][..]), (&nodes[1], &[])] {
        let mut reader = Program::start(node, example!("reader"), options);
        assert!(reader.ends().success());
        assert_eq!(reader.count("degrees"), 1, "{:?}", reader.lines());
    }
    Ok(())
}

#[test]
fn the_same_programs_are_clients_of_a_node() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let node = lab.build(Topology::Lan(2))?.nodes.swap_remove(0);
    let engine = node.run(|| Engine::start(Config::new())).expect("the engine starts");
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("cellar.sock");
    let options = ServerOptions::new(&socket);
    let _server = node.run(|| ipc::Server::start(&engine, options)).expect("a node");
    let start = |path: &str| {
        let mut command = node.command(path);
        command.env("GRASP_SOCKET", &socket);
        Program::spawn(node.name(), command)
    };
    let thermometer = start(example!("thermometer"));
    thermometer.says("It is now 16");
    assert!(engine.asas().iter().any(|asa| asa.name == "Thermometer"));
    let mut reader = start(example!("reader"));
    assert!(reader.ends().success());
    assert_eq!(reader.count("degrees"), 1, "{:?}", reader.lines());
    drop(thermometer);
    lab::eventually(SOON, "the node takes back what it has registered", || engine.objectives().is_empty());
    Ok(())
}

/// Standard input is no terminal here, so that nothing would be asked anyway: what is configured is not asked for.
#[test]
fn every_program_for_newcomers_configures_its_engine() {
    for (name, text) in [
        ("README.md", include_str!("../../../README.md")),
        ("docs/tutorial.md", include_str!("../../../docs/tutorial.md")),
    ] {
        let programs = text.split("```rust,no_run\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let mut count = 0;
        for program in programs
            .filter(|program| program.contains("fn main()") && program.contains("grasp::register_asa"))
        {
            let configured = program.find("grasp::configure(").unwrap_or(usize::MAX);
            assert!(configured < program.find("grasp::register_asa").unwrap(), "{name}:\n{program}");
            count += 1;
        }
        assert!(count > 0, "{name}");
    }
}

#[test]
fn the_demonstration_opens_with_what_it_is_to_show() {
    // It makes its own network, as on anybody's machine.
    lab::available().expect("namespaces");
    for seed in ["1", "2", "3"] {
        let demonstration = ["--pace", "0.5", "--seed", seed, "--lab", "gray --rounds 1"];
        let output = Command::new(example!("briggs")).args(demonstration).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success());
        let outcomes: Vec<_> = text.lines().filter(|line| line.contains("Synch")).skip(1).take(5).collect();
        let expected = [
            "Synchronized EX1 ",
            "Synchronized EX2 ",
            "Synch failed Nonsense ",
            "Synchronized EX2 ",
            "Synchronized EX1 ",
        ];
        for (outcome, expected) in outcomes.iter().zip(expected) {
            assert!(outcome.contains(expected), "{outcomes:#?}");
        }
        assert_eq!(outcomes.len(), expected.len(), "{text}");
        assert!(text.contains("Asking for") && text.contains("Got request for"));
    }
}
