//! One flood, or one discovery, in a network where nothing else happens.

use std::collections::BTreeMap;

use grasp::Error;
use grasptests::simulator::parallel::in_parallel;
use grasptests::simulator::random::Random;
use grasptests::simulator::report::{Table, mean, milliseconds, reasons};
use grasptests::simulator::scenario::{Counts, DiscoveryFigures, FloodFigures, Setting, discover, flood};

use crate::options::{Built, Options};

/// A flood from each of some random nodes.
pub(crate) fn flood_runs(options: &Options, setting: &Setting<'_>) -> Result<Vec<FloodFigures>, Error> {
    let mut random = Random::new(options.seed);
    let draw = |_| (random.bits(), random.below(setting.topology.nodes));
    let runs: Vec<_> = (0..options.runs).map(draw).collect();
    in_parallel(options.threads(), &runs, |(seed, source)| {
        flood(&Setting { seed: *seed, ..setting.clone() }, *source)
    })
}

pub(crate) fn floods(options: &Options, networks: &[Built]) -> Result<Table, Error> {
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
    for (shape, percent, setting) in options.settings(networks) {
        let runs = flood_runs(options, &setting)?;
        let most = |of: fn(&FloodFigures) -> u64| runs.iter().map(of).max().unwrap_or(0);
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

pub(crate) fn discoveries(options: &Options, networks: &[Built]) -> Result<Table, Error> {
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
    for (shape, percent, setting) in options.settings(networks) {
        for far in [false, true] {
            let (distance, runs) = discovery_runs(options, &setting, if far { usize::MAX } else { 3 })?;
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

/// From random askers to a responder so many hops away, or as far as there is one. With the distance, from the nearest to the
/// farthest of the runs.
pub(crate) fn discovery_runs(
    options: &Options,
    setting: &Setting<'_>,
    hops: usize,
) -> Result<(String, Vec<DiscoveryFigures>), Error> {
    let mut random = Random::new(options.seed);
    let neighbours = setting.topology.neighbours();
    let mut draw = || {
        let (seed, asker) = (random.bits(), random.below(setting.topology.nodes));
        let distances = neighbours.distances(asker);
        let most = distances.iter().flatten().copied().max().unwrap_or(0);
        let wanted = most.min(hops);
        let there: Vec<_> = (0..distances.len()).filter(|node| distances[*node] == Some(wanted)).collect();
        (seed, asker, there[random.below(there.len())], wanted)
    };
    let runs: Vec<_> = (0..options.runs).map(|_| draw()).collect();
    let distances = || runs.iter().map(|(.., distance)| *distance);
    let (nearest, farthest) = (distances().min().unwrap_or(0), distances().max().unwrap_or(0));
    let distance = if nearest == farthest { nearest.to_string() } else { format!("{nearest}-{farthest}") };
    let figures = in_parallel(options.threads(), &runs, |(seed, asker, responder, _)| {
        discover(&Setting { seed: *seed, ..setting.clone() }, *asker, &[*responder], options.timeout)
    })?;
    Ok((distance, figures))
}

pub(crate) fn total_dropped<'a>(counts: impl Iterator<Item = &'a Counts>) -> Vec<(&'static str, u64)> {
    let mut total = BTreeMap::new();
    for (name, count) in counts.flat_map(Counts::dropped) {
        *total.entry(name).or_insert(0) += count;
    }
    total.into_iter().collect()
}
