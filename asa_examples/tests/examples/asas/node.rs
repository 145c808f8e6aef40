//! The examples as clients of a node, with `--node`.

use std::path::PathBuf;

use grasp::ipc::{Server, ServerOptions};
use grasp::{Config, Engine};
use grasp_lab::{Lab, LabError, Node, eventually, isolated};
use rustix::process::Signal;

use crate::asas::program::{Program, SOON};
use crate::example;

/// A node that serves processes.
struct Serving<'a> {
    node: &'a Node,
    engine: Engine,
    socket: PathBuf,
    _server: Server,
}

impl<'a> Serving<'a> {
    fn start(node: &'a Node, directory: &tempfile::TempDir, name: &str) -> Self {
        let socket = directory.path().join(name);
        let (engine, server) = node.run(|| {
            let engine = Engine::start(Config::new()).expect("start");
            let server = Server::start(&engine, ServerOptions::new(&socket)).expect("serve");
            (engine, server)
        });
        Self { node, engine, socket, _server: server }
    }

    fn example(&self, path: &str, options: &[&str]) -> Program {
        let node = format!("--node={}", self.socket.display());
        Program::start(self.node, path, &[&[node.as_str(), "--pace", "0.02"], options].concat())
    }

    fn has(&self, asa: &str) -> bool {
        self.engine.asas().iter().any(|view| view.name == asa)
    }
}

#[test]
fn gray_and_briggs_negotiate_through_their_nodes_and_leave_nothing_there() -> Result<(), LabError> {
    isolated!();
    let directory = tempfile::tempdir().expect("a directory");
    let lab = Lab::new()?;
    let nodes = [lab.node("briggs")?, lab.node("gray")?];
    lab.link(&nodes[0], &nodes[1])?;
    let near = Serving::start(&nodes[0], &directory, "near");
    let far = Serving::start(&nodes[1], &directory, "far");
    let mut briggs = near.example(example!("briggs"), &[]);
    briggs.says("Ready to negotiate EX3 as listener");
    assert!(near.has("Briggs"));
    let mut gray = far.example(example!("gray"), &["--rounds", "5"]);
    assert!(gray.ends().success());
    assert_eq!(gray.count("Asking for NZD") + gray.count("Asking for USD"), 5);
    assert!(briggs.count("Got request for") >= 5 && gray.count("Synchronized EX1") > 0);
    briggs.signal(Signal::KILL);
    let _ = briggs.ends();
    eventually(SOON, "a process that was killed leaves nothing", || {
        near.engine.asas().is_empty() && near.engine.objectives().is_empty()
    });
    eventually(SOON, "nor does one that has ended", || far.engine.asas().is_empty());
    Ok(())
}

#[test]
fn every_example_runs_as_a_client() -> Result<(), LabError> {
    isolated!();
    let directory = tempfile::tempdir().expect("a directory");
    let lab = Lab::new()?;
    let (node, other) = (lab.node("node")?, lab.node("other")?);
    lab.link(&node, &other)?;
    let node = Serving::start(&node, &directory, "node");
    let given = directory.path().join("given");
    std::fs::create_dir(&given).expect("a directory");
    let given = given.display().to_string();
    for (asa, path, options) in [
        ("server", example!("server"), &[][..]),
        ("client", example!("client"), &[]),
        ("pusher", example!("pusher"), &["--directory", &given]),
        ("getter", example!("getter"), &["nothing.txt"]),
        ("graspconfig", example!("graspconfig"), &[]),
        ("pfxm3", example!("pfxm3"), &[]),
    ] {
        let mut program = node.example(path, options);
        let known = || node.engine.asas().iter().any(|view| view.name.eq_ignore_ascii_case(asa));
        eventually(SOON, asa, known);
        program.signal(Signal::TERM);
        let _ = program.ends();
        assert_eq!(program.count("panicked"), 0, "{asa}");
        eventually(SOON, asa, || node.engine.asas().is_empty());
    }
    Ok(())
}
