//! Networks on virtual time in which something comes and goes, or in which there is too much of it: what is reached
//! nevertheless, that all of it ends, and that each drop is counted.

use std::num::NonZeroUsize;
use std::process::Command;
use std::{env, fs, process};

use grasp::{Config, Rate};
use grasptests::simulator::ask::Held;
use grasptests::simulator::churn::{ChurnFigures, Life, Rates, Searches, churn};
use grasptests::simulator::faults::{partition, restart};
use grasptests::simulator::network::{Capacity, Quality};
use grasptests::simulator::parallel::in_parallel;
use grasptests::simulator::random::Random;
use grasptests::simulator::saturation::{Load, saturate};
use grasptests::simulator::scenario::Setting;
use grasptests::simulator::topology::{Shape, Topology};

const MINUTE: u64 = 60_000_000;
const HOUR: u64 = 60 * MINUTE;

fn build(shape: Shape, nodes: usize) -> Topology {
    shape.build(nodes, &mut Random::new(11))
}

fn setting(topology: &Topology) -> Setting<'_> {
    let loop_count = u8::try_from(topology.diameter().hops).unwrap();
    Setting { topology, config: Config::new(), quality: Quality::default(), loop_count, seed: 5 }
}

/// Nothing is open, and the caches are empty; what is remembered is overwritten by and by.
fn assert_nothing_remains(held: Held) {
    let remembered = held.remembered;
    assert_eq!(held, Held { remembered, ..Held::default() });
    assert!(remembered <= Config::new().relaying().relay_memory());
}

#[test]
fn under_churn_everything_within_reach_is_reached_and_nothing_remains() {
    let topology = build(Shape::ScaleFree, 60);
    let rates = Rates {
        node: Life { up: 48 * HOUR, down: HOUR },
        link: Life { up: 48 * HOUR, down: HOUR },
        asa: Life { up: 12 * HOUR, down: MINUTE },
        asas: 5,
        duration: 10 * 24 * HOUR,
        probe: 3 * HOUR,
    };
    let figures = |threads: usize| -> Vec<ChurnFigures> {
        let threads = NonZeroUsize::new(threads).unwrap();
        in_parallel(threads, &[5, 6], |seed| churn(&Setting { seed: *seed, ..setting(&topology) }, &rates))
            .unwrap()
    };
    let alone = figures(1);
    assert_eq!(alone, figures(2), "threads do not change the figures");
    for run in alone {
        assert!(run.left.iter().all(|left| *left > 50), "{:?}", run.left);
        let (floods, pairs, reached) = run.floods;
        assert!(floods >= 79 && pairs > floods * 40 && reached == pairs, "{:?}", run.floods);
        for (least, searches) in [(60, &run.regular), (60, &run.moved), (60, &run.others)] {
            let Searches { tried, times, .. } = searches;
            assert!(*tried > least && times.len() == *tried, "{searches:?}");
            assert!(searches.within(1.0) < 30_000_000, "{searches:?}");
        }
        assert!(run.moved.within(0.5) > run.regular.within(0.5), "old places are tried first");
        assert!(run.most.open > 0 && run.most.discovered > 0 && run.most.flooded > 0);
        assert_nothing_remains(run.remains);
    }
}

#[test]
fn each_half_of_a_partition_works_and_what_has_healed_is_whole_at_once() {
    for shape in [Shape::Grid, Shape::ScaleFree] {
        let topology = build(shape, 100);
        let figures = partition(&setting(&topology), 15).unwrap();
        for (number, phase) in figures.phases.iter().enumerate() {
            let ([all, near, reached], [tried, possible, found]) = (phase.floods, phase.searches);
            let cut = number == 1;
            assert_eq!((near, possible), (reached, found), "{shape:?}, phase {number}");
            assert_eq!((near < all, possible < tried), (cut, cut), "{shape:?}, phase {number}");
            let slowest = phase.times.last().copied().unwrap();
            // A locator on the other side costs the time of a connection that nobody answers.
            assert!(
                slowest < 12_000_000 && phase.failed <= 70_000_000,
                "{shape:?}: {slowest} {}",
                phase.failed
            );
        }
        assert_nothing_remains(figures.remains);
    }
}

#[test]
fn after_a_restart_of_all_nodes_repetitions_bring_everything_to_everyone() {
    let topology = build(Shape::ScaleFree, 80);
    let figures = restart(&setting(&topology), 1_000_000, MINUTE).unwrap();
    let [first, second, .., last] = figures.shares;
    assert!(first.0 < 0.9, "who starts late misses what was flooded before: {first:?}");
    assert_eq!((second.0, last), (1.0, (1.0, 1.0)));
    assert!(figures.answers[2] < 60_000_000 && figures.most.flooded >= 80, "{figures:?}");
    assert_nothing_remains(figures.remains);
}

const LOAD: Load = Load { rate: 10, seconds: 4, size: 1000, sources: 1 };

#[test]
fn with_the_default_rates_the_first_relays_drop_what_is_too_much_and_count_it() {
    let topology = build(Shape::Grid, 100);
    let setting = setting(&topology);
    let little = saturate(&setting, LOAD).unwrap();
    assert_eq!((little.reached, little.stats.dropped()), (1.0, vec![]));
    assert_eq!((little.overflowed, little.unaccounted.as_slice()), (0, &[][..]));
    let much = saturate(&setting, Load { rate: 1000, ..LOAD }).unwrap();
    let counters: Vec<_> = much.stats.dropped().into_iter().map(|(name, _)| name).collect();
    assert_eq!(counters, ["dropped_flood_rate"]);
    assert_eq!(much.unaccounted, Vec::<String>::new());
    // 250 floods of two tokens at once, then 25 a second; the neighbours of the source hear all of them.
    assert!((0.08..0.16).contains(&much.reached), "{}", much.reached);
}

#[test]
fn without_rates_queues_and_links_overflow_and_each_drop_is_counted() {
    let topology = build(Shape::Random, 30);
    let endless = Rate::new(1_000_000, 1_000_000);
    let config =
        Config::new().flood_relay_rate(endless).neighbour_flood_relay_rate(endless).multicast_queue(100);
    let load = Load { rate: 500, seconds: 1, ..LOAD };
    let busy =
        Setting { quality: Quality { work: 1000, ..Quality::default() }, config, ..setting(&topology) };
    let run = saturate(&busy, load).unwrap();
    assert!(run.stats.get("dropped_queue_full") > 0 && run.behind > 50_000, "{:?}", run.stats.dropped());
    assert_eq!((run.unaccounted.as_slice(), run.overflowed), (&[][..], 0));
    let capacity = Some(Capacity { bits: 2_000_000, buffer: 64 << 10 });
    let narrow = Setting { quality: Quality { capacity, ..Quality::default() }, ..busy };
    let run = saturate(&narrow, load).unwrap();
    assert!(run.overflowed > 0 && run.reached < 1.0 && run.busiest <= 2_800_000, "{run:?}");
    assert_eq!(run.unaccounted, Vec::<String>::new());
}

#[test]
fn the_program_draws_what_it_prints_with_other_settings() {
    let file = env::temp_dir().join(format!("grasp-simulator-{}.svg", process::id()));
    let options = "--scenario saturation --nodes 9 --topology line --loss 0 --loop-count auto --rates 1,50 --seconds 1 \
                   --set flood_relay_rate=1/1 --svg";
    let mut program = Command::new(env!("CARGO_BIN_EXE_simulator"));
    let output = program.args(options.split_whitespace()).arg(&file).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let plot = fs::read_to_string(&file);
    let _ = fs::remove_file(&file);
    assert!(output.status.success() && table.contains("flood_rate"), "{table}");
    let plot = plot.unwrap();
    assert!(
        plot.starts_with("<svg ") && plot.ends_with("</svg>\n") && plot.contains(">line</text>"),
        "{plot}"
    );
}
