//! Runs the engine's decisions in many nodes on virtual time, and prints what floods and discoveries do:
//! `cargo run --release -p grasptests --bin simulator -- --help`. The tables and plots of docs/scaling.md are its output.

mod cheaper;
mod life;
mod options;
mod saturations;
mod single;
mod storms;
mod sweep;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use grasptests::simulator::plot::svg;

use options::{Options, Scenario};

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
    let build = |shape| options.build(shape, options.nodes as usize);
    // A sweep has networks of its own.
    let all = options.scenario.iter().any(|scenario| *scenario != Scenario::Sweep);
    let networks: Vec<_> = if all { options.shapes().into_iter().map(build).collect() } else { Vec::new() };
    for scenario in &options.scenario {
        let (table, panels) = match scenario {
            Scenario::Flood => (single::floods(options, &networks)?, Vec::new()),
            Scenario::Discovery => (single::discoveries(options, &networks)?, Vec::new()),
            Scenario::Storm => storms::storms(options, &networks)?,
            Scenario::Sweep => sweep::sweep(options)?,
            Scenario::Churn => (life::churns(options, &networks)?, Vec::new()),
            Scenario::Partition => (life::partitions(options, &networks)?, Vec::new()),
            Scenario::Restart => (life::restarts(options, &networks)?, Vec::new()),
            Scenario::Merging => (cheaper::merging(options, &networks)?, Vec::new()),
            Scenario::Expanding => (cheaper::expanding(options, &networks)?, Vec::new()),
            Scenario::Saturation => saturations::saturations(options, &networks)?,
        };
        print!("\n{table}");
        if let Some(file) = options.svg.as_ref().filter(|_| !panels.is_empty()) {
            std::fs::write(file, svg(scenario.title(), &panels))
                .map_err(|error| format!("{}: {error}", file.display()))?;
        }
    }
    Ok(())
}
