//! The Python module: the same programs of `grasptests/bench` on our module and on graspy, next to the Rust API.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use grasp::{Config, TaggedObjective};
use grasptests::nodes::linked;

use super::figure::{Result, median, per_second};
use super::graspy::{Side, start};
use super::measure;
use super::pair::{Pair, ROUND, synchronized};
use super::process::settled;
use super::report::number;

/// How often our module is asked for each figure; graspy is asked as often as `graspy::measure` does.
const TIMES: u32 = 4000;
/// How often graspy is asked.
const GRASPY_TIMES: u32 = 400;
/// How often the network is asked: each takes a tenth of a second at least, by what `discover` promises.
const DISCOVERIES: u32 = 10;
/// How often a fresh interpreter imports a module.
const IMPORTS: usize = 7;

/// The heading of the table, in Markdown.
pub(crate) const HEADING: &str = "\
| figure | Python | graspy | Python / graspy | Rust API | Python / Rust | failed | aim | met |
|---|--:|--:|--:|--:|--:|--:|---|---|";

/// What is aimed at.
#[derive(Clone, Copy)]
enum Aim {
    /// So many times graspy's rate, this share of the Rust API's, and nothing that fails.
    Rate(f64),
    /// At most this share of graspy's.
    Share(f64),
    /// At most this.
    AtMost(f64),
    /// Nothing: by definition it is as long as graspy's.
    None,
}

/// The least share of the Rust API's rate.
const OF_RUST: f64 = 0.4;

/// Measures all and prints the table. `python` is an interpreter that has the wheel.
pub(crate) fn print(python: &Path, graspy: Option<&Path>, rounds: usize) -> Result<()> {
    let mut ours = Measured::of(&Side::Ours(python), TIMES)?;
    let mut theirs = match graspy {
        Some(directory) => Measured::of(&Side::Graspy(directory), GRASPY_TIMES)?,
        None => Measured::default(),
    };
    ours.values.insert("import", import_time(python, None)?);
    if let Some(directory) = graspy {
        theirs.values.insert("import", import_time(python, Some(directory))?);
    }
    println!("{HEADING}");
    for (name, unit, aim) in [
        ("negotiate_connect", "/s", Aim::Rate(3.0)),
        ("negotiate_connect_16", "/s", Aim::Rate(20.0)),
        ("negotiate_step", "/s", Aim::Rate(3.0)),
        ("synchronize", "/s", Aim::Rate(3.0)),
        ("flood", "/s", Aim::Rate(3.0)),
        ("discover", "ms", Aim::None),
        ("import", "ms", Aim::AtMost(100.0)),
        ("idle", "KiB", Aim::Share(2.0 / 3.0)),
    ] {
        let value = *ours.values.get(name).ok_or("a figure is missing")?;
        let graspy = theirs.values.get(name).copied();
        let rust = match aim {
            Aim::Rate(_) if name == "flood" => Some(floods(rounds)?),
            Aim::Rate(_) => measure(name, rounds)?.first().map(|figure| figure.value),
            _ => None,
        };
        let failed = ours.failed.get(name).copied();
        println!("{}", row((name, unit, aim), value, graspy, rust, failed));
    }
    Ok(())
}

fn row(
    (name, unit, aim): (&str, &'static str, Aim),
    value: f64,
    graspy: Option<f64>,
    rust: Option<f64>,
    failed: Option<f64>,
) -> String {
    let (to_graspy, to_rust) = (graspy.map(|graspy| value / graspy), rust.map(|rust| value / rust));
    let (aim, met) = match aim {
        Aim::Rate(times) => {
            let met = to_graspy.is_none_or(|ratio| ratio >= times)
                && to_rust.is_none_or(|ratio| ratio >= OF_RUST)
                && failed.is_none_or(|failed| failed <= 0.0);
            (format!(">= {times} graspy, >= {OF_RUST} Rust"), Some(met))
        }
        Aim::Share(most) => (format!("<= {most:.2} graspy"), to_graspy.map(|ratio| ratio <= most)),
        Aim::AtMost(most) => (format!("<= {}", number(most, unit)), Some(value <= most)),
        Aim::None => ("-".to_owned(), None),
    };
    let met = met.map_or("-", |met| if met { "yes" } else { "**no**" });
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| number(value, unit));
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    let failed = failed.map_or_else(|| "-".to_owned(), |failed| format!("{failed}"));
    let (graspy, rust) = (shown(graspy), shown(rust));
    let (to_graspy, to_rust) = (ratio(to_graspy), ratio(to_rust));
    let value = number(value, unit);
    format!("| {name} | {value} | {graspy} | {to_graspy} | {rust} | {to_rust} | {failed} | {aim} | {met} |")
}

/// What one side does, by the name of the figure, and how often it failed.
#[derive(Default)]
struct Measured {
    values: BTreeMap<&'static str, f64>,
    failed: BTreeMap<&'static str, f64>,
}

impl Measured {
    fn of(side: &Side<'_>, times: u32) -> Result<Self> {
        let (_lab, _, a, b) = linked();
        let mut server = start(&b, side)?;
        let mut measured = Self::default();
        // Before it serves anything.
        measured.values.insert("idle", settled(&server)?.0);
        server.say("serve")?;
        server.ready()?;
        let mut client = start(&a, side)?;
        for (name, command) in [
            ("negotiate_connect", format!("connect {times} 1")),
            ("negotiate_connect_16", format!("connect {times} 16")),
            ("negotiate_step", format!("step {times}")),
            ("synchronize", format!("synchronize {times}")),
            ("flood", format!("flood {times}")),
            ("discover", format!("discover {DISCOVERIES}")),
        ] {
            let (seconds, done, failed) = client.ask(&command)?;
            let value = if name == "discover" { seconds * 1e3 / done } else { done / seconds };
            measured.values.insert(name, value);
            measured.failed.insert(name, failed);
        }
        Ok(measured)
    }
}

/// How many floods the Rust API sends in a second.
fn floods(rounds: usize) -> Result<f64> {
    let pair = Pair::start(Config::new());
    let value = synchronized();
    pair.asker.register(&value);
    let (engine, asa) = (&pair.asker.engine, pair.asker.asa);
    let tagged = [TaggedObjective::new(value, None)];
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let flooding = || per_second(1, ROUND, |_| Ok(engine.flood(asa, 60_000, &tagged)?));
        rates.push(pair.asking().run(flooding)?);
    }
    Ok(median(&mut rates))
}

/// How long a fresh interpreter takes to import grasp, in milliseconds.
fn import_time(python: &Path, graspy: Option<&Path>) -> Result<f64> {
    let code =
        "import time; started = time.perf_counter(); import grasp; print(time.perf_counter() - started)";
    let mut times = Vec::new();
    for _ in 0..=IMPORTS {
        let mut command = Command::new(python);
        command.args(["-c", code]);
        if let Some(directory) = graspy {
            command.env("PYTHONPATH", directory);
        }
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let seconds: f64 = text.lines().last().unwrap_or_default().trim().parse()?;
        times.push(seconds * 1e3);
    }
    Ok(median(&mut times))
}
