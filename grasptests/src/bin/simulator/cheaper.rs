//! What merging and expanding save, and what they cost.

use grasp::Error;
use grasptests::simulator::parallel::in_parallel;
use grasptests::simulator::random::Random;
use grasptests::simulator::report::{Table, mean, milliseconds, reasons};
use grasptests::simulator::scenario::Setting;
use grasptests::simulator::storm::{Kind, StormFigures, storm};

use crate::options::{Built, Options};
use crate::single::{discovery_runs, total_dropped};

/// How many ask if nothing else is said.
const ASKERS: usize = 100;

pub(crate) fn merging(options: &Options, networks: &[Built]) -> Result<Table, Error> {
    let head = format!("within {} ms, in", options.cheaper.burst);
    let mut table = Table::new(&[
        &head,
        "loop count",
        "loss",
        "askers",
        "window (ms)",
        "found",
        "datagrams",
        "responses",
        "relayed",
        "merged",
        "of these relayed then",
        "half in (ms)",
        "95 % in (ms)",
        "all in (ms)",
        "dropped",
    ]);
    let askers = if options.askers.is_empty() { &[ASKERS] } else { options.askers.as_slice() };
    for (shape, loss, setting) in options.settings(networks) {
        for askers in askers.iter().map(|askers| (*askers).min(setting.topology.nodes)) {
            for window in &options.cheaper.windows {
                let config = setting.config.clone().merge_window(*window);
                let runs = merging_runs(options, &Setting { config, ..setting.clone() }, askers)?;
                let count = |name| mean(runs.iter().map(|run| run.stats.get(name) as f64));
                let answers: Vec<_> = {
                    let mut all: Vec<u64> = runs.iter().flat_map(|run| run.answers.clone()).collect();
                    all.sort_unstable();
                    all
                };
                let within = |percent: usize| {
                    let place = (answers.len() * percent).div_ceil(100).saturating_sub(1);
                    milliseconds(answers.get(place).copied().unwrap_or(0) as f64)
                };
                table.push(vec![
                    shape.name().to_owned(),
                    setting.loop_count.to_string(),
                    format!("{loss} %"),
                    askers.to_string(),
                    window.to_string(),
                    format!("{:.1} %", 100.0 * mean(runs.iter().map(|run| run.reached))),
                    format!("{:.0}", mean(runs.iter().map(|run| run.datagrams as f64))),
                    format!("{:.0}", count("responses_sent")),
                    format!("{:.0}", count("discoveries_relayed")),
                    format!("{:.0}", count("not_relayed_merged")),
                    format!("{:.0}", count("merged_relayed")),
                    within(50),
                    within(95),
                    within(100),
                    reasons(&total_dropped(runs.iter().map(|run| &run.stats))),
                ]);
            }
        }
    }
    Ok(table)
}

/// The same discovery of so many nodes, with other nodes and times in each run.
fn merging_runs(options: &Options, setting: &Setting<'_>, askers: usize) -> Result<Vec<StormFigures>, Error> {
    let mut random = Random::new(options.seed);
    let seeds: Vec<_> = (0..options.runs).map(|_| random.bits()).collect();
    let within = options.cheaper.burst * 1000;
    in_parallel(options.threads(), &seeds, |seed| {
        let setting = Setting { seed: *seed, ..setting.clone() };
        storm(&setting, Kind::SameDiscovery, askers, within, options.timeout)
    })
}

pub(crate) fn expanding(options: &Options, networks: &[Built]) -> Result<Table, Error> {
    let mut table = Table::new(&[
        "one discovery in",
        "loop count",
        "loss",
        "distance",
        "expanding",
        "found",
        "nodes asked",
        "datagrams",
        "answer (ms)",
        "times the datagrams",
    ]);
    for (shape, loss, setting) in options.settings(networks) {
        for hops in &options.cheaper.hops {
            let mut before = None;
            for expanding in [false, true] {
                let config = setting.config.clone().expanding_discovery(expanding);
                let (distance, runs) =
                    discovery_runs(options, &Setting { config, ..setting.clone() }, *hops)?;
                let found: Vec<_> = runs.iter().filter(|run| run.found).collect();
                let datagrams = mean(runs.iter().map(|run| run.traffic.datagrams as f64));
                let times =
                    before.map_or_else(String::new, |before: f64| format!("{:.2}", datagrams / before));
                before = Some(datagrams);
                table.push(vec![
                    shape.name().to_owned(),
                    setting.loop_count.to_string(),
                    format!("{loss} %"),
                    distance,
                    if expanding { "on" } else { "off" }.to_owned(),
                    format!("{} of {}", found.len(), runs.len()),
                    format!("{:.1}", mean(runs.iter().map(|run| run.reached as f64))),
                    format!("{datagrams:.0}"),
                    milliseconds(mean(found.iter().filter_map(|run| run.time).map(|time| time as f64))),
                    times,
                ]);
            }
        }
    }
    Ok(table)
}
