//! What comes and goes: churn, partitions, a restart of everything.

use std::time::Instant;

use grasp::Error;
use grasptests::simulator::ask::Held;
use grasptests::simulator::churn::{Life, Rates, Searches, churn};
use grasptests::simulator::faults::{partition, restart};
use grasptests::simulator::parallel::in_parallel;
use grasptests::simulator::report::{Table, milliseconds, reasons};

use crate::options::{Built, Options};

/// A minute, in microseconds.
const MINUTE: u64 = 60_000_000;

fn percent(part: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{:.2} %", 100.0 * part / whole) } else { "-".to_owned() }
}

/// How many were successful, and in which time half, 99 % and all of those were.
fn searches(searches: &Searches) -> String {
    let Searches { tried, again, times } = searches;
    let [half, most, all] = [0.5, 0.99, 1.0].map(|part| milliseconds(searches.within(part) as f64));
    format!("{} of {tried}, {again} again, {half}/{most}/{all}", times.len())
}

fn held(held: Held) -> String {
    let Held { open, discovered, flooded, remembered } = held;
    format!("{open}/{discovered}/{flooded}/{remembered}")
}

pub(crate) fn churns(options: &Options, networks: &[Built]) -> Result<Table, Error> {
    let head = format!("{} days in", options.churn.days);
    let mut table = Table::new(&[
        &head,
        "loop count",
        "loss",
        "nodes left",
        "links left",
        "ASAs moved",
        "floods",
        "reached",
        "found",
        "after a move, who knew it",
        "after a move, others",
        "held at most",
        "remains",
        "dropped",
    ]);
    let life = |(up, down): (u64, u64)| Life { up: up * MINUTE, down: down * MINUTE };
    let given = &options.churn;
    let rates = Rates {
        node: life(given.node_life),
        link: life(given.link_life),
        asa: life(given.asa_life),
        asas: given.asas as usize,
        duration: given.days * 24 * 60 * MINUTE,
        probe: given.probe * MINUTE,
    };
    let settings = options.settings(networks);
    let began = Instant::now();
    let runs = in_parallel(options.threads(), &settings, |(_, _, setting)| churn(setting, &rates))?;
    eprintln!("churn: {:.1?}", began.elapsed());
    for ((shape, loss, setting), run) in settings.iter().zip(runs) {
        let [nodes, links, asas] = run.left;
        let (floods, pairs, reached) = run.floods;
        table.push(vec![
            shape.name().to_owned(),
            setting.loop_count.to_string(),
            format!("{loss} %"),
            nodes.to_string(),
            links.to_string(),
            asas.to_string(),
            floods.to_string(),
            percent(reached as f64, pairs as f64),
            searches(&run.regular),
            searches(&run.moved),
            searches(&run.others),
            held(run.most),
            held(run.remains),
            reasons(&run.stats.dropped()),
        ]);
    }
    Ok(table)
}

pub(crate) fn partitions(options: &Options, networks: &[Built]) -> Result<Table, Error> {
    let mut table = Table::new(&[
        "partition in",
        "loop count",
        "loss",
        "phase",
        "reached of all",
        "of those within reach",
        "found",
        "within reach",
        "half of them in (ms)",
        "all (ms)",
        "given up after (ms)",
        "remains",
    ]);
    let settings = options.settings(networks);
    let tries = options.runs as usize;
    let runs = in_parallel(options.threads(), &settings, |(_, _, setting)| partition(setting, tries))?;
    for ((shape, loss, setting), run) in settings.iter().zip(runs) {
        for (name, phase) in ["before", "during", "just healed", "a minute later"].iter().zip(&run.phases) {
            let [all, near, reached] = phase.floods;
            let [tried, possible, found] = phase.searches;
            let at = |index: usize| phase.times.get(index).copied().unwrap_or(0) as f64;
            table.push(vec![
                shape.name().to_owned(),
                setting.loop_count.to_string(),
                format!("{loss} %"),
                (*name).to_owned(),
                percent(reached as f64, all as f64),
                percent(reached as f64, near as f64),
                format!("{found} of {tried}"),
                possible.to_string(),
                milliseconds(at(phase.times.len() / 2)),
                milliseconds(at(phase.times.len().saturating_sub(1))),
                milliseconds(phase.failed as f64),
                held(run.remains),
            ]);
        }
    }
    Ok(table)
}

pub(crate) fn restarts(options: &Options, networks: &[Built]) -> Result<Table, Error> {
    let head = format!("all start within {} s", options.within);
    let mut table = Table::new(&[
        &head,
        "loop count",
        "loss",
        "values known then",
        "after 1 repetition",
        "2",
        "3",
        "answered then",
        "half in (ms)",
        "95 % in (ms)",
        "last in (ms)",
        "answered in all",
        "held at most",
        "remains",
        "dropped",
    ]);
    let settings = options.settings(networks);
    let within = options.within * 1_000_000;
    let runs = in_parallel(options.threads(), &settings, |(_, _, setting)| restart(setting, within, MINUTE))?;
    for ((shape, loss, setting), run) in settings.iter().zip(runs) {
        let share = |share: f64| format!("{:.1} %", 100.0 * share);
        let [first, second, third, fourth] = run.shares;
        let [half, most, last] = run.answers.map(|time| milliseconds(time as f64));
        table.push(vec![
            shape.name().to_owned(),
            setting.loop_count.to_string(),
            format!("{loss} %"),
            share(first.0),
            share(second.0),
            share(third.0),
            share(fourth.0),
            share(first.1),
            half,
            most,
            last,
            share(fourth.1),
            held(run.most),
            held(run.remains),
            reasons(&run.stats.dropped()),
        ]);
    }
    Ok(table)
}
