//! Runs the engine's decisions in many nodes on virtual time, and prints what a flood and a discovery do:
//! `cargo run --release -p grasptests --bin simulator -- --help`. The tables of docs/scaling.md are its output.

use std::error::Error;
use std::num::NonZeroU8;
use std::process::ExitCode;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Parser, ValueEnum};
use grasp::Config;
use grasptests::simulator::network::Quality;
use grasptests::simulator::random::Random;
use grasptests::simulator::report::{Table, mean, milliseconds, reasons};
use grasptests::simulator::scenario::{Counts, DiscoveryFigures, Setting, discover, flood};
use grasptests::simulator::storm::{Kind, storm};
use grasptests::simulator::topology::{Shape, Topology};

/// Many GRASP nodes on virtual time and a virtual network.
#[derive(Debug, Parser)]
#[command(name = "simulator", version)]
struct Options {
    /// Number of nodes, at least 2.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=60_000))]
    nodes: u32,
    /// The shapes of the network, separated by commas; `all` is random, grid and scale-free.
    #[arg(long, default_value = ALL, value_delimiter = ',', value_parser = shape_names())]
    topology: Vec<String>,
    /// What is lost, in percent, separated by commas.
    #[arg(long, default_value = "0,1,10", value_delimiter = ',', value_parser = percent)]
    loss: Vec<f64>,
    /// The same seed gives the same figures.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Loop counts, separated by commas; `auto` is the diameter, which suffices where all links are alike.
    #[arg(long, default_value = "6,auto", value_delimiter = ',', value_parser = loop_count)]
    loop_count: Vec<LoopCount>,
    /// How often each figure is measured, with other nodes and other losses.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The delay of a link in microseconds.
    #[arg(long, default_value_t = 1000)]
    delay: u64,
    /// Up to so many microseconds more, drawn for each link.
    #[arg(long, default_value_t = 0)]
    jitter: u64,
    /// The timeout of a discovery in milliseconds; it asks again where that is more than twice its loop count
    /// times 100.
    #[arg(long)]
    timeout: Option<u32>,
    /// What to simulate.
    #[arg(long, value_enum, default_values_t = [Scenario::Flood, Scenario::Discovery], value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Which storms.
    #[arg(long, value_enum, default_values_t = Storm::value_variants().to_vec(), value_delimiter = ',')]
    storm: Vec<Storm>,
    /// Within how many seconds every node takes part in a storm, once or as often as it does.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=500))]
    within: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// One flood.
    Flood,
    /// One discovery.
    Discovery,
    /// All nodes flood, or discover, within a short time.
    Storm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Storm {
    /// Every node floods once.
    Flood,
    /// Every node floods three times.
    ThreeFloods,
    /// Every node discovers what one node offers.
    Same,
    /// Every node discovers something else, which a random node offers.
    Each,
}

impl Storm {
    const fn kind(self) -> (&'static str, Kind) {
        match self {
            Self::Flood => ("flood once", Kind::Floods(1)),
            Self::ThreeFloods => ("flood 3 times", Kind::Floods(3)),
            Self::Same => ("discover the same", Kind::SameDiscovery),
            Self::Each => ("discover something else each", Kind::Discoveries),
        }
    }
}

/// All shapes that the tables of docs/scaling.md have.
const ALL: &str = "all";

/// What `--topology` takes.
fn shape_names() -> PossibleValuesParser {
    let shapes = Shape::value_variants().iter().filter_map(Shape::to_possible_value);
    [PossibleValue::new(ALL)].into_iter().chain(shapes).collect::<Vec<_>>().into()
}

/// How far something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoopCount {
    Hops(NonZeroU8),
    Diameter,
}

fn loop_count(text: &str) -> Result<LoopCount, String> {
    match text {
        "auto" => Ok(LoopCount::Diameter),
        number => number
            .parse()
            .map(LoopCount::Hops)
            .map_err(|_| "a loop count is a number from 1 to 255, or auto".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "a percentage is a number from 0 to 100".to_owned())
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut networks = Vec::new();
    for shape in shapes(&options.topology) {
        let topology = shape.build(options.nodes as usize, &mut Random::new(options.seed));
        let diameter = topology.diameter();
        println!(
            "{}: {} nodes, {} links, diameter {diameter}",
            shape.name(),
            topology.nodes,
            topology.segments.len()
        );
        let loop_counts = loop_counts(&options.loop_count, diameter);
        networks.push((shape, topology, loop_counts));
    }
    for scenario in &options.scenario {
        println!();
        match scenario {
            Scenario::Flood => print!("{}", floods(options, &networks)?),
            Scenario::Discovery => print!("{}", discoveries(options, &networks)?),
            Scenario::Storm => print!("{}", storms(options, &networks)?),
        }
    }
    Ok(())
}

type Networks = [(Shape, Topology, Vec<u8>)];

/// The parser has left nothing else.
fn shapes(names: &[String]) -> Vec<Shape> {
    let named = |name: &String| match Shape::from_str(name, true) {
        Ok(shape) => vec![shape],
        Err(_) => vec![Shape::Random, Shape::Grid, Shape::ScaleFree],
    };
    names.iter().flat_map(named).collect()
}

/// The largest loop count is 255, whatever the diameter.
fn loop_counts(wanted: &[LoopCount], diameter: usize) -> Vec<u8> {
    let auto = u8::try_from(diameter.max(1)).unwrap_or(u8::MAX);
    let count = |wanted: &LoopCount| match wanted {
        LoopCount::Hops(count) => count.get(),
        LoopCount::Diameter => auto,
    };
    let mut counts: Vec<u8> = wanted.iter().map(count).collect();
    counts.dedup();
    counts
}

/// Every network with every loop count and every loss.
fn settings<'a>(options: &Options, networks: &'a Networks) -> Vec<(Shape, f64, Setting<'a>)> {
    let mut settings = Vec::new();
    for (shape, topology, loop_counts) in networks {
        for &loop_count in loop_counts {
            for &percent in &options.loss {
                let quality = Quality { delay: options.delay, jitter: options.jitter, loss: percent / 100.0 };
                let (config, seed) = (Config::new(), options.seed);
                settings.push((*shape, percent, Setting { topology, config, quality, loop_count, seed }));
            }
        }
    }
    settings
}

fn floods(options: &Options, networks: &Networks) -> Result<Table, Box<dyn Error>> {
    let mut table = Table::new(&[
        "flood in",
        "loop count",
        "loss",
        "nodes reached",
        "least",
        "hops",
        "datagrams",
        "per link",
        "most",
        "most one way",
        "time (ms)",
    ]);
    for (shape, percent, mut setting) in settings(options, networks) {
        let mut random = Random::new(options.seed);
        let mut runs = Vec::new();
        for _ in 0..options.runs {
            setting.seed = random.bits();
            runs.push(flood(&setting, random.below(setting.topology.nodes))?);
        }
        let most = |of: fn(&grasptests::simulator::scenario::FloodFigures) -> u64| {
            runs.iter().map(of).max().unwrap_or(0)
        };
        table.push(vec![
            shape.name().to_owned(),
            setting.loop_count.to_string(),
            format!("{percent} %"),
            format!("{:.1}", mean(runs.iter().map(|run| run.reached as f64))),
            runs.iter().map(|run| run.reached).min().unwrap_or(0).to_string(),
            most(|run| run.hops.into()).to_string(),
            format!("{:.0}", mean(runs.iter().map(|run| run.traffic.datagrams as f64))),
            format!("{:.2}", mean(runs.iter().map(|run| run.traffic.mean))),
            most(|run| run.traffic.most).to_string(),
            most(|run| run.traffic.most_one_way).to_string(),
            milliseconds(mean(runs.iter().map(|run| run.time as f64))),
        ]);
    }
    Ok(table)
}

fn discoveries(options: &Options, networks: &Networks) -> Result<Table, Box<dyn Error>> {
    let mut table = Table::new(&[
        "discovery in",
        "loop count",
        "loss",
        "distance",
        "found",
        "nodes asked",
        "relays",
        "most",
        "per link",
        "most one way",
        "responses",
        "answer's hops",
        "answer (ms)",
        "end (ms)",
        "dropped",
    ]);
    for (shape, percent, setting) in settings(options, networks) {
        for far in [false, true] {
            let (distance, runs) = discovery_runs(options, setting.clone(), far)?;
            let found: Vec<_> = runs.iter().filter(|run| run.found).collect();
            let of_found = |value: f64| if found.is_empty() { "-".to_owned() } else { milliseconds(value) };
            let hops = found.iter().filter_map(|run| run.hops).max();
            table.push(vec![
                shape.name().to_owned(),
                setting.loop_count.to_string(),
                format!("{percent} %"),
                distance,
                format!("{} of {}", found.len(), runs.len()),
                format!("{:.1}", mean(runs.iter().map(|run| run.reached as f64))),
                format!("{:.0}", mean(runs.iter().map(|run| run.relays.0 as f64))),
                runs.iter().map(|run| run.relays.1).max().unwrap_or(0).to_string(),
                format!("{:.2}", mean(runs.iter().map(|run| run.traffic.mean))),
                runs.iter().map(|run| run.traffic.most_one_way).max().unwrap_or(0).to_string(),
                format!("{:.0}", mean(runs.iter().map(|run| run.responses as f64))),
                hops.map_or_else(|| "-".to_owned(), |hops| hops.to_string()),
                of_found(mean(found.iter().filter_map(|run| run.time).map(|time| time as f64))),
                milliseconds(mean(runs.iter().map(|run| run.end.unwrap_or(u64::MAX) as f64))),
                reasons(&total_dropped(runs.iter().map(|run| &run.stats))),
            ]);
        }
    }
    Ok(table)
}

/// From random askers to a responder three hops away, or as far as there is one.
fn discovery_runs(
    options: &Options,
    mut setting: Setting<'_>,
    far: bool,
) -> Result<(String, Vec<DiscoveryFigures>), Box<dyn Error>> {
    let mut random = Random::new(options.seed);
    let mut runs = Vec::new();
    let (mut nearest, mut farthest) = (usize::MAX, 0);
    for _ in 0..options.runs {
        setting.seed = random.bits();
        let asker = random.below(setting.topology.nodes);
        let distances = setting.topology.distances(asker);
        let most = distances.iter().flatten().copied().max().unwrap_or(0);
        let wanted = if far { most } else { most.min(3) };
        let there: Vec<_> = (0..distances.len()).filter(|node| distances[*node] == Some(wanted)).collect();
        let responder = there[random.below(there.len())];
        (nearest, farthest) = (nearest.min(wanted), farthest.max(wanted));
        runs.push(discover(&setting, asker, &[responder], options.timeout)?);
    }
    let distance = if nearest == farthest { nearest.to_string() } else { format!("{nearest}-{farthest}") };
    Ok((distance, runs))
}

fn total_dropped<'a>(counts: impl Iterator<Item = &'a Counts>) -> Vec<(&'static str, u64)> {
    let mut total = std::collections::BTreeMap::new();
    for (name, count) in counts.flat_map(Counts::dropped) {
        *total.entry(name).or_insert(0) += count;
    }
    total.into_iter().collect()
}

fn storms(options: &Options, networks: &Networks) -> Result<Table, Box<dyn Error>> {
    let head = format!("all nodes, within {} s", options.within);
    let mut table = Table::new(&[
        &head,
        "in",
        "loop count",
        "loss",
        "reached",
        "datagrams",
        "relayed",
        "remembered",
        "open relays",
        "end (ms)",
        "dropped",
    ]);
    for (name, kind) in options.storm.iter().map(|storm| storm.kind()) {
        for (shape, percent, setting) in settings(options, networks) {
            let run = storm(&setting, kind, options.within * 1_000_000, options.timeout)?;
            table.push(vec![
                name.to_owned(),
                shape.name().to_owned(),
                setting.loop_count.to_string(),
                format!("{percent} %"),
                format!("{:.1} %", run.reached * 100.0),
                run.datagrams.to_string(),
                run.relayed.to_string(),
                run.memory.0.to_string(),
                run.memory.1.to_string(),
                milliseconds(run.end.unwrap_or(u64::MAX) as f64),
                reasons(&run.stats.dropped()),
            ]);
        }
    }
    Ok(table)
}
