//! The same figures for graspy: two of its nodes on one link, with the Python programs of `grasptests/bench`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use grasptests::lab::Node;
use grasptests::nodes::linked;

use super::figure::Result;
use super::process::{Process, settled};

/// How often the clients ask for each figure.
const TIMES: u32 = 400;
/// How often the network is asked: each takes a tenth of a second at least.
const DISCOVERIES: u32 = 10;

/// What graspy does, by the name of the figure.
pub(crate) fn measure(directory: &Path, names: &[&str]) -> Result<BTreeMap<String, f64>> {
    if !directory.join("grasp.py").is_file() {
        return Err(format!("there is no grasp.py in {}", directory.display()).into());
    }
    let (_lab, _, a, b) = linked();
    let started = Instant::now();
    let mut server = start(&b, &Side::Graspy(directory))?;
    let startup = started.elapsed().as_secs_f64() * 1e3;
    let mut figures = BTreeMap::new();
    let mut add = |name: &str, value: f64| figures.insert(name.to_owned(), value);
    // Before it serves anything: it is as idle as ours.
    if names.contains(&"idle") {
        let (resident, wakeups) = settled(&server)?;
        add("idle", resident);
        add("idle_wakeups", wakeups);
    }
    add("startup", startup);
    server.say("serve")?;
    server.ready()?;
    let mut client = start(&a, &Side::Graspy(directory))?;
    let mut ask = |command: String| -> Result<(f64, f64)> {
        let (seconds, times, failures) = client.ask(&command)?;
        if failures > 0.0 {
            eprintln!("graspy: {command}: {failures} failed and do not count");
        }
        Ok((seconds, times))
    };
    for (name, command) in [
        ("negotiate_connect", format!("connect {TIMES} 1")),
        ("negotiate_connect_16", format!("connect {TIMES} 16")),
        ("negotiate_step", format!("step {TIMES}")),
        ("synchronize", format!("synchronize {TIMES}")),
    ] {
        if names.contains(&name) {
            let (seconds, times) = ask(command)?;
            add(name, times / seconds);
        }
    }
    if names.contains(&"discover_first") {
        let (seconds, times) = ask(format!("discover {DISCOVERIES}"))?;
        add("discover_first", seconds * 1e6 / times);
    }
    Ok(figures)
}

/// Whose Python module is measured.
pub(crate) enum Side<'a> {
    /// Ours, with an interpreter that has the wheel.
    Ours(&'a Path),
    /// graspy, in a directory.
    Graspy(&'a Path),
}

/// Starts a node.
pub(crate) fn start(node: &Node, side: &Side<'_>) -> Result<Process> {
    let program: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/graspy_node.py");
    let mut command = match side {
        Side::Ours(python) => node.command(python),
        Side::Graspy(_) => node.command(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into())),
    };
    command.arg(program).env("PYTHONDONTWRITEBYTECODE", "1");
    match side {
        Side::Ours(_) => command.env_remove("GRASPY_DIR"),
        Side::Graspy(directory) => command.env("GRASPY_DIR", directory),
    };
    let mut process = Process::start(command)?;
    process.say("start")?;
    process.ready()?;
    Ok(process)
}
