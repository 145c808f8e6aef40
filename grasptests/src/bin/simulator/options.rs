//! The command line.

use std::num::{NonZeroU8, NonZeroUsize};
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Parser, ValueEnum};
use grasp::{Config, Value};
use grasptests::simulator::network::{Capacity, Quality};
use grasptests::simulator::random::Random;
use grasptests::simulator::scenario::Setting;
use grasptests::simulator::storm::Kind;
use grasptests::simulator::topology::{Shape, Topology};

/// Many GRASP nodes on virtual time and a virtual network.
#[derive(Debug, Parser)]
#[command(name = "simulator", version)]
pub(crate) struct Options {
    /// Number of nodes, at least 2.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=200_000))]
    pub(crate) nodes: u32,
    /// The shapes of the network, separated by commas; `all` is random, grid and scale-free.
    #[arg(long, default_value = ALL, value_delimiter = ',', value_parser = shape_names())]
    pub(crate) topology: Vec<String>,
    /// What is lost, in percent, separated by commas.
    #[arg(long, default_value = "0,1,10", value_delimiter = ',', value_parser = percent)]
    pub(crate) loss: Vec<f64>,
    /// The same seed gives the same figures.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Loop counts, separated by commas; `auto` is the diameter, which suffices where all links are alike.
    #[arg(long, default_value = "6,auto", value_delimiter = ',', value_parser = loop_count)]
    pub(crate) loop_count: Vec<LoopCount>,
    /// How often each figure is measured, with other nodes and other losses.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
    /// How many runs at the same time, each with a network of its own in memory; they do not change the figures. Defaults to
    /// the number of processors.
    #[arg(long)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// The delay of a link in microseconds.
    #[arg(long, default_value_t = 1000)]
    pub(crate) delay: u64,
    /// Up to so many microseconds more, drawn for each link.
    #[arg(long, default_value_t = 0)]
    pub(crate) jitter: u64,
    /// How many microseconds a node works on a datagram, while others wait in its queue.
    #[arg(long, default_value_t = 0)]
    pub(crate) work: u64,
    /// What a link carries in each direction, in kilobits per second, with a buffer of 64 KiB before it. Defaults to
    /// everything.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) capacity: Option<u64>,
    /// The timeout of a discovery in milliseconds; it asks again where that is more than twice its loop count
    /// times 100.
    #[arg(long)]
    pub(crate) timeout: Option<u32>,
    /// Another value for a setting of the nodes, as NAME=NUMBER, or NAME=PER_SECOND/BURST for a rate; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<(String, Value)>,
    /// What to simulate.
    #[arg(long, value_enum, default_values_t = [Scenario::Flood, Scenario::Discovery], value_delimiter = ',')]
    pub(crate) scenario: Vec<Scenario>,
    /// Which storms.
    #[arg(long, value_enum, default_values_t = Storm::value_variants().to_vec(), value_delimiter = ',')]
    pub(crate) storm: Vec<Storm>,
    /// Within how many seconds every node takes part in a storm, once or as often as it does; or starts again in `restart`.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=500))]
    pub(crate) within: u64,
    /// How many nodes take part in a storm, separated by commas: one row for each. Defaults to all.
    #[arg(long, value_delimiter = ',')]
    pub(crate) askers: Vec<usize>,
    /// The numbers of nodes of a sweep, separated by commas.
    #[arg(long, default_value = "1000,2000,5000,10000,20000,50000,100000", value_delimiter = ',')]
    pub(crate) sizes: Vec<usize>,
    /// Draw a sweep, a storm of several sizes, or saturation into this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) churn: ChurnOptions,
    #[command(flatten)]
    pub(crate) saturation: SaturationOptions,
    #[command(flatten)]
    pub(crate) cheaper: CheaperOptions,
}

/// The rates of churn. Times are drawn between half and one and a half of what is given.
#[derive(Debug, clap::Args)]
pub(crate) struct ChurnOptions {
    /// How long churn lasts, in days.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    pub(crate) days: u64,
    /// How often churn is looked at, by a flood and a discovery, in minutes.
    #[arg(long, default_value_t = 240, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) probe: u64,
    /// How long a node is up, and how long it is away then, in minutes.
    #[arg(long, default_value = "43200/60", value_parser = up_and_down)]
    pub(crate) node_life: (u64, u64),
    /// How long a link is up, and how long it is cut then, in minutes.
    #[arg(long, default_value = "43200/60", value_parser = up_and_down)]
    pub(crate) link_life: (u64, u64),
    /// How long an ASA offers its objective at one node, and how long it takes until it does at another, in minutes.
    #[arg(long, default_value = "10080/1", value_parser = up_and_down)]
    pub(crate) asa_life: (u64, u64),
    /// How many ASAs offer something.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) asas: u32,
}

/// What saturates.
#[derive(Debug, clap::Args)]
pub(crate) struct SaturationOptions {
    /// Floods a second, all sources together, separated by commas.
    #[arg(long, default_value = "10,20,50,100,200,500,1000,2000", value_delimiter = ',')]
    pub(crate) rates: Vec<u64>,
    /// How long they last, in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// How large the value of a flood is, in bytes.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=1100))]
    pub(crate) size: u32,
    /// From how many nodes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sources: u32,
}

/// What makes discoveries cheaper.
#[derive(Debug, clap::Args)]
pub(crate) struct CheaperOptions {
    /// The values of `merge_window` to compare, in milliseconds, separated by commas.
    #[arg(long, default_value = "0,20,50,100,200", value_delimiter = ',')]
    pub(crate) windows: Vec<u32>,
    /// Within how many milliseconds those ask whose discoveries are merged.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=500_000))]
    pub(crate) burst: u64,
    /// How many hops away what an expanding discovery looks for is, separated by commas; as far as there is something for what is more
    /// than the network has.
    #[arg(long, default_value = "1,2,3,1000", value_delimiter = ',')]
    pub(crate) hops: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// One flood.
    Flood,
    /// One discovery.
    Discovery,
    /// All nodes flood, or discover, within a short time.
    Storm,
    /// One flood, and discoveries, in networks of all `--sizes`.
    Sweep,
    /// Nodes, links and ASAs come and go.
    Churn,
    /// The network falls apart into two halves, and heals.
    Partition,
    /// All nodes start at once.
    Restart,
    /// Floods, more and more of them.
    Saturation,
    /// Some nodes discover the same within milliseconds, and relays merge that or not.
    Merging,
    /// One discovery, near or far, that expands or not.
    Expanding,
}

impl Scenario {
    /// What is written above its plot.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Flood => "One flood",
            Self::Discovery => "One discovery",
            Self::Storm => "Many at once",
            Self::Sweep => "One flood and one discovery in growing networks",
            Self::Churn => "Churn",
            Self::Partition => "Partition",
            Self::Restart => "Restart of all nodes",
            Self::Saturation => "More and more floods",
            Self::Merging => "The same discovery of some nodes",
            Self::Expanding => "Discoveries that expand",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Storm {
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
    pub(crate) const fn kind(self) -> (&'static str, Kind) {
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
pub(crate) enum LoopCount {
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

fn up_and_down(text: &str) -> Result<(u64, u64), String> {
    let minutes = |text: &str| text.parse().ok().filter(|minutes| (1..=60_000_000).contains(minutes));
    let both = text.split_once('/').and_then(|(up, down)| minutes(up).zip(minutes(down)));
    both.ok_or_else(|| "two numbers of minutes, at least 1, as in 43200/60".to_owned())
}

fn assignment(text: &str) -> Result<(String, Value), String> {
    let number = |text: &str| text.parse::<u32>().ok().map(Value::from);
    let value = |text: &str| match text.split_once('/') {
        None => number(text).or_else(|| text.parse::<bool>().ok().map(Value::from)),
        Some((rate, burst)) => {
            let entries = [("per_second", number(rate)?), ("burst", number(burst)?)];
            Some(Value::Map(entries.map(|(name, value)| (Value::from(name), value)).to_vec()))
        }
    };
    let (name, given) = text.split_once('=').ok_or("a setting is NAME=VALUE")?;
    let value = value(given).ok_or("a value is a number, or two as in 100/300, or true or false")?;
    Config::new().set(name, &value).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), value))
}

impl Options {
    /// How many runs at the same time.
    pub(crate) fn threads(&self) -> NonZeroUsize {
        self.threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
    }

    /// The parser has left nothing else.
    pub(crate) fn shapes(&self) -> Vec<Shape> {
        let named = |name: &String| match Shape::from_str(name, true) {
            Ok(shape) => vec![shape],
            Err(_) => vec![Shape::Random, Shape::Grid, Shape::ScaleFree],
        };
        self.topology.iter().flat_map(named).collect()
    }

    /// The nodes' settings.
    pub(crate) fn config(&self) -> Config {
        let set = |config: Config, (name, value): &(String, Value)| {
            config.clone().set(name, value).unwrap_or(config)
        };
        self.set.iter().fold(Config::new(), set)
    }

    /// How links and nodes are, with this loss in percent.
    pub(crate) fn quality(&self, percent: f64) -> Quality {
        let capacity = self.capacity.map(|kilobits| Capacity { bits: kilobits * 1000, buffer: 64 << 10 });
        Quality { delay: self.delay, jitter: self.jitter, loss: percent / 100.0, work: self.work, capacity }
    }

    /// A network of this shape and size, with its loop counts.
    pub(crate) fn build(&self, shape: Shape, nodes: usize) -> Built {
        let topology = shape.build(nodes, &mut Random::new(self.seed));
        let diameter = topology.diameter();
        println!(
            "{}: {} nodes, {} links, diameter {}{}",
            shape.name(),
            topology.nodes,
            topology.segments.len(),
            if diameter.exact { "" } else { "at least " },
            diameter.hops,
        );
        // The largest loop count is 255, whatever the diameter.
        let auto = u8::try_from(diameter.hops.max(1)).unwrap_or(u8::MAX);
        let count = |wanted: &LoopCount| match wanted {
            LoopCount::Hops(count) => count.get(),
            LoopCount::Diameter => auto,
        };
        let mut loop_counts: Vec<u8> = self.loop_count.iter().map(count).collect();
        loop_counts.dedup();
        Built { shape, topology, loop_counts }
    }

    /// Every network with every loop count and every loss.
    pub(crate) fn settings<'a>(&self, networks: &'a [Built]) -> Vec<(Shape, f64, Setting<'a>)> {
        let mut settings = Vec::new();
        for Built { shape, topology, loop_counts } in networks {
            for &loop_count in loop_counts {
                for &percent in &self.loss {
                    let (config, quality, seed) = (self.config(), self.quality(percent), self.seed);
                    settings.push((*shape, percent, Setting { topology, config, quality, loop_count, seed }));
                }
            }
        }
        settings
    }
}

/// A network, and the loop counts in it.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) shape: Shape,
    pub(crate) topology: Topology,
    pub(crate) loop_counts: Vec<u8>,
}
