//! One flood and some discoveries in networks of several sizes: what grows, and where something breaks.

use std::error::Error;
use std::time::Instant;

use grasptests::simulator::plot::{Axis, Panel, Scale, Series};
use grasptests::simulator::report::{Table, mean, milliseconds, reasons};
use grasptests::simulator::scenario::flood;

use crate::options::{LoopCount, Options};
use crate::single::{discovery_runs, total_dropped};

/// What is drawn of a row.
struct Point {
    series: String,
    nodes: f64,
    reached: f64,
    per_link: f64,
    time: f64,
    relays: f64,
}

pub(crate) fn sweep(options: &Options) -> Result<(Table, Vec<Panel>), Box<dyn Error>> {
    let mut table = Table::new(&[
        "one flood in",
        "nodes",
        "links",
        "loop count",
        "loss",
        "reached",
        "per link",
        "most one way",
        "time (ms)",
        "discoveries found",
        "nodes asked",
        "relays",
        "answer (ms)",
        "end (ms)",
        "dropped",
    ]);
    let mut points = Vec::new();
    for shape in options.shapes() {
        for &nodes in &options.sizes {
            let network = [options.build(shape, nodes)];
            for (_, percent, setting) in options.settings(&network) {
                let began = Instant::now();
                let one = flood(&setting, nodes / 2)?;
                let (_, runs) = discovery_runs(options, &setting, 3)?;
                eprintln!(
                    "{} of {nodes}, loop count {}: {:.1?}",
                    shape.name(),
                    setting.loop_count,
                    began.elapsed()
                );
                let found: Vec<_> = runs.iter().filter(|run| run.found).collect();
                let reached = 100.0 * one.reached as f64 / nodes as f64;
                let relays = mean(runs.iter().map(|run| run.relays.0 as f64));
                let dropped = [&one.stats].into_iter().chain(runs.iter().map(|run| &run.stats));
                table.push(vec![
                    shape.name().to_owned(),
                    nodes.to_string(),
                    setting.topology.segments.len().to_string(),
                    setting.loop_count.to_string(),
                    format!("{percent} %"),
                    format!("{reached:.1} %"),
                    format!("{:.2}", one.traffic.mean),
                    one.traffic.most_one_way.to_string(),
                    milliseconds(one.time as f64),
                    format!("{} of {}", found.len(), runs.len()),
                    format!("{:.0}", mean(runs.iter().map(|run| run.reached as f64))),
                    format!("{relays:.0}"),
                    milliseconds(mean(found.iter().filter_map(|run| run.time).map(|time| time as f64))),
                    milliseconds(mean(runs.iter().map(|run| run.end.unwrap_or(u64::MAX) as f64))),
                    reasons(&total_dropped(dropped)),
                ]);
                let auto = options.loop_count.contains(&LoopCount::Diameter) && setting.loop_count != 6;
                let count =
                    if auto { "diameter, at most 255".to_owned() } else { setting.loop_count.to_string() };
                points.push(Point {
                    series: format!("{}, loop count {count}", shape.name()),
                    nodes: nodes as f64,
                    reached,
                    per_link: one.traffic.mean,
                    time: one.time as f64 / 1000.0,
                    relays,
                });
            }
        }
    }
    Ok((table, panels(&points)))
}

fn panels(points: &[Point]) -> Vec<Panel> {
    let nodes = Axis { label: "nodes", scale: Scale::Logarithmic };
    let panel = |title: &str, label, scale, of: fn(&Point) -> f64| {
        let points = points.iter().map(|point| (point.series.clone(), (point.nodes, of(point))));
        Panel { title: title.to_owned(), x: nodes, y: Axis { label, scale }, series: Series::of(points) }
    };
    vec![
        panel("Nodes that one flood reaches", "percent", Scale::Linear, |point| point.reached),
        panel("Datagrams for each link, both ways", "datagrams", Scale::Linear, |point| point.per_link),
        panel("Until the last node has the flood", "milliseconds", Scale::Logarithmic, |point| point.time),
        panel("Relays of one discovery", "relays", Scale::Logarithmic, |point| point.relays),
    ]
}
