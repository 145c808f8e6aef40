//! Many nodes at once.

use grasp::Error;
use grasptests::simulator::parallel::in_parallel;
use grasptests::simulator::plot::{Axis, Panel, Scale, Series};
use grasptests::simulator::report::{Table, milliseconds, reasons};
use grasptests::simulator::storm::storm;

use crate::options::{Built, Options};

pub(crate) fn storms(options: &Options, networks: &[Built]) -> Result<(Table, Vec<Panel>), Error> {
    let many = !options.askers.is_empty();
    let who = if many { "nodes" } else { "all nodes" };
    let head = format!("{who}, within {} s", options.within);
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
    let mut runs = Vec::new();
    for (name, kind) in options.storm.iter().map(|storm| storm.kind()) {
        for (shape, percent, setting) in options.settings(networks) {
            let nodes = setting.topology.nodes;
            let all = [nodes];
            let askers = if many { options.askers.as_slice() } else { &all };
            for askers in askers {
                runs.push((name, kind, (*askers).min(nodes), shape, percent, setting.clone()));
            }
        }
    }
    let figures = in_parallel(options.threads(), &runs, |(_, kind, askers, .., setting)| {
        storm(setting, *kind, *askers, options.within * 1_000_000, options.timeout)
    })?;
    let (mut reached, mut drops) = (Vec::new(), Vec::new());
    for ((name, _, askers, shape, percent, setting), run) in runs.iter().zip(figures) {
        let what = format!("{name}, {}", shape.name());
        reached.push((what.clone(), (*askers as f64, run.reached * 100.0)));
        drops.extend(run.stats.dropped().into_iter().map(|(counter, count)| {
            let share = count as f64 / *askers as f64;
            (what.clone(), (counter.trim_start_matches("dropped_").to_owned(), (*askers as f64, share)))
        }));
        table.push(vec![
            if many { format!("{askers} {name}") } else { (*name).to_owned() },
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
    Ok((table, panels(reached, drops)))
}

type Point = (String, (f64, f64));

/// What has got through, and for each kind of storm in each network what was dropped.
fn panels(reached: Vec<Point>, drops: Vec<(String, Point)>) -> Vec<Panel> {
    let nodes = Axis { label: "nodes that take part", scale: Scale::Logarithmic };
    let percent = Axis { label: "percent", scale: Scale::Linear };
    let each = Axis { label: "drops for each of them", scale: Scale::Logarithmic };
    let title = "What has got through".to_owned();
    let mut panels = vec![Panel { title, x: nodes, y: percent, series: Series::of(reached) }];
    let mut kinds: Vec<_> = drops.iter().map(|(kind, _)| kind.clone()).collect();
    kinds.dedup();
    for kind in kinds {
        let of = drops.iter().filter(|(other, _)| *other == kind).map(|(_, point)| point.clone());
        panels.push(Panel { title: format!("Dropped: {kind}"), x: nodes, y: each, series: Series::of(of) });
    }
    panels
}
