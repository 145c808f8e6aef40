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
    let mut server = start(&b, directory)?;
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
    let mut client = start(&a, directory)?;
    let mut ask = |command: String| -> Result<(f64, f64)> {
        client.say(&command)?;
        let answer = client.line()?;
        let numbers: Vec<f64> = answer.split(' ').filter_map(|word| word.parse().ok()).collect();
        match numbers.as_slice() {
            [seconds, times, failures] if *times > 0.0 => {
                if *failures > 0.0 {
                    eprintln!("graspy: {command}: {failures} failed and do not count");
                }
                Ok((*seconds, *times))
            }
            _ => Err(format!("graspy: {command}: {answer}").into()),
        }
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

fn start(node: &Node, directory: &Path) -> Result<Process> {
    let program: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/graspy_node.py");
    let mut command = node.command(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into()));
    command.arg(program).env("GRASPY_DIR", directory).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut process = Process::start(command)?;
    process.say("start")?;
    process.ready()?;
    Ok(process)
}
