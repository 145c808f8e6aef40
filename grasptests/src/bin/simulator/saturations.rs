//! More and more floods.

use grasp::Error;
use grasptests::simulator::parallel::in_parallel;
use grasptests::simulator::plot::{Axis, Panel, Scale, Series};
use grasptests::simulator::report::{Table, milliseconds, reasons};
use grasptests::simulator::saturation::{Load, saturate};

use crate::options::{Built, Options};

pub(crate) fn saturations(options: &Options, networks: &[Built]) -> Result<(Table, Vec<Panel>), Error> {
    let given = &options.saturation;
    let head = format!("{} bytes from {} nodes, {} s", given.size, given.sources, given.seconds);
    let mut table = Table::new(&[
        &head,
        "loop count",
        "floods/s",
        "reached",
        "in the second half",
        "datagrams",
        "busiest link (kbit/s)",
        "last one in (ms)",
        "dropped by links",
        "dropped by nodes",
        "unaccounted",
    ]);
    let mut runs = Vec::new();
    for (shape, _, setting) in options.settings(networks) {
        for &rate in &given.rates {
            let (seconds, size, sources) = (given.seconds, given.size as usize, given.sources as usize);
            runs.push((shape, setting.clone(), Load { rate, seconds, size, sources }));
        }
    }
    let figures = in_parallel(options.threads(), &runs, |(_, setting, load)| saturate(setting, *load))?;
    let (mut reached, mut busiest, mut drops) = (Vec::new(), Vec::new(), Vec::new());
    for ((shape, setting, load), run) in runs.iter().zip(figures) {
        let (rate, name) = (load.rate as f64, shape.name().to_owned());
        let dropped = run.stats.dropped();
        reached.push((name.clone(), (rate, run.steady * 100.0)));
        busiest.push((name.clone(), (rate, run.busiest as f64 / 1000.0)));
        let all = dropped.iter().map(|(_, count)| count).sum::<u64>() + run.overflowed;
        drops.push((name.clone(), (rate, all as f64 / load.seconds as f64)));
        table.push(vec![
            name,
            setting.loop_count.to_string(),
            load.rate.to_string(),
            format!("{:.1} %", run.reached * 100.0),
            format!("{:.1} %", run.steady * 100.0),
            run.datagrams.to_string(),
            (run.busiest / 1000).to_string(),
            milliseconds(run.behind as f64),
            run.overflowed.to_string(),
            reasons(&dropped),
            if run.unaccounted.is_empty() { "none".to_owned() } else { run.unaccounted.join("; ") },
        ]);
    }
    let rate = Axis { label: "floods a second", scale: Scale::Logarithmic };
    let panel = |title: &str, label, scale, points: Vec<_>| Panel {
        title: title.to_owned(),
        x: rate,
        y: Axis { label, scale },
        series: Series::of(points),
    };
    let panels = vec![
        panel("Reached in the second half of the time", "percent", Scale::Linear, reached),
        panel("On the busiest link, one way", "kbit/s", Scale::Linear, busiest),
        panel("Dropped in all nodes and links", "datagrams a second", Scale::Logarithmic, drops),
    ];
    Ok((table, panels))
}
