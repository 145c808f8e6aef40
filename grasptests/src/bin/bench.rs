//! How fast the engine is, next to what bare sockets do in the same network:
//! `cargo run --release -p grasptests --bin bench`. docs/performance.md says how to read it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use grasptests::lab;

#[path = "../bench/mod.rs"]
mod bench;

use bench::peers::{JOBS, Order, Which};
use bench::{Figure, HEADING, NAMES, ROLE, Result};

/// Measures the engine next to what bare sockets do with the same pattern of connections and messages, in a private
/// network on this machine. Prints a table. The exit status is 1 if something could not be measured; a missed aim is
/// no failure without --check.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// Measure only these, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = NAMES)]
    only: Vec<String>,
    /// How often each figure is measured, in turns with its floor.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Write the figures to this file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Exit with 1 if an aim is missed by more than its noise, which the table states.
    #[arg(long)]
    check: bool,
    /// Aim at another number, for instance to compare with an earlier run: synchronize=1.0
    #[arg(long, value_name = "FIGURE=NUMBER", value_parser = other_aim)]
    aim: Vec<(String, f64)>,
    /// Measure graspy too, where that makes sense: the directory of its grasp.py.
    #[arg(long, value_name = "DIR")]
    graspy: Option<PathBuf>,
    /// Measure instead our Python module, next to the Rust API and, with --graspy, to graspy: an interpreter that has the
    /// wheel, as contrib/python/.venv/bin/python after contrib/python/test
    #[arg(long, value_name = "PYTHON", conflicts_with_all = ["only", "json", "growth", "check", "aim"])]
    python: Option<PathBuf>,
    /// Measure instead what a user would choose in place of GRASP, doing the same jobs. What cannot be had is skipped, with the
    /// reason. Needs cargo and its registry for the programs in grasptests/peers, PYTHON (or python3) with zeroconf, eclipse-zenoh or what graspy needs,
    /// --graspy or GRASPY_DIR for graspy, an installed avahi-daemon for avahi.
    #[arg(long, conflicts_with_all = ["only", "json", "python", "growth", "check", "aim"])]
    peers: bool,
    /// With --peers, only these jobs.
    #[arg(long, value_name = "JOBS", value_delimiter = ',', requires = "peers", value_parser = JOBS)]
    jobs: Vec<String>,
    /// With --peers, only these of grasp, tcp, graspy, mdns-sd, zeroconf, avahi, zenoh, foca, minicbor and ciborium.
    #[arg(long, value_name = "PEERS", value_delimiter = ',', requires = "peers")]
    only_peers: Vec<String>,
    /// With --peers, spread a value over so many nodes; with --saturation, the nodes of the grid.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(4..=1000))]
    nodes: u16,
    /// Print instead how many of 1 kB floods at growing rates reach all nodes of a grid, and where the others are dropped.
    #[arg(long, conflicts_with_all = ["only", "json", "graspy", "python", "growth", "check", "aim", "peers"])]
    saturation: bool,
    /// Print instead how costs grow with what is registered and cached.
    #[arg(long, conflicts_with_all = ["only", "json", "graspy", "check", "aim"])]
    growth: bool,
}

fn main() -> ExitCode {
    // A process that the bench starts plays a role, and is measured: it does without all else.
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some(ROLE) {
        return status(bench::play(&words.next().unwrap_or_default()));
    }
    let arguments = Arguments::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    status(run(&arguments))
}

fn status(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let rounds = usize::from(arguments.rounds);
    if arguments.peers {
        let order = Order {
            jobs: arguments.jobs.clone(),
            peers: arguments.only_peers.clone(),
            rounds,
            nodes: arguments.nodes,
            graspy: arguments.graspy.clone(),
        };
        // Before the lab: cargo may need the network for what it builds.
        let which = Which::look(&order)?;
        lab::enter()?;
        return bench::peers::print(&order, &which);
    }
    lab::enter()?;
    if arguments.growth {
        return bench::print_growth(rounds);
    }
    if arguments.saturation {
        return bench::print_saturation(arguments.nodes);
    }
    if let Some(python) = &arguments.python {
        let graspy = arguments.graspy.as_ref().map(|directory| directory.canonicalize()).transpose()?;
        return bench::print_python(python, graspy.as_deref(), rounds);
    }
    let wanted = |name: &&str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name);
    let names: Vec<_> = NAMES.into_iter().filter(wanted).collect();
    let theirs = match &arguments.graspy {
        Some(directory) => bench::measure_graspy(&directory.canonicalize()?, &names)?,
        None => BTreeMap::new(),
    };
    let mut figures = Vec::new();
    println!("{HEADING}");
    for name in names {
        let measured = bench::measure(name, rounds).map_err(|error| format!("{name}: {error}"))?;
        for mut figure in measured {
            figure.graspy = theirs.get(&figure.name).copied();
            if let Some(&(_, number)) = arguments.aim.iter().rev().find(|(name, _)| *name == figure.name) {
                figure.aim_at(number)?;
            }
            println!("{}", bench::row(&figure));
            figures.push(figure);
        }
    }
    if let Some(file) = &arguments.json {
        fs::write(file, format!("{:#}\n", bench::json(&figures)))?;
    }
    if let Some((name, _)) =
        arguments.aim.iter().find(|(name, _)| figures.iter().all(|figure| figure.name != *name))
    {
        return Err(format!("{name} has an aim, but was not measured").into());
    }
    if arguments.check { check(&figures) } else { Ok(()) }
}

/// An error that names the figures that miss their aims by more than their noise.
fn check(figures: &[Figure]) -> Result<()> {
    let missed: Vec<_> = figures.iter().filter(|figure| figure.is_missed()).map(bench::complaint).collect();
    if missed.is_empty() { Ok(()) } else { Err(missed.join("\nbench: ").into()) }
}

/// A figure and what to aim at instead.
fn other_aim(text: &str) -> std::result::Result<(String, f64), String> {
    let (name, number) = text.split_once('=').ok_or("FIGURE=NUMBER is expected")?;
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok((name.to_owned(), number)),
        _ => Err(format!("{number} is no number to aim at")),
    }
}
