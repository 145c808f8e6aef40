//! What holds in every network, on virtual time: who is reached, that nothing is sent twice, that all ends
//! (RFC 8990 §2.5.4.4, §2.5.6.2).

use std::fs;
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use grasp::{Config, Rate};
use grasptests::simulator::network::Quality;
use grasptests::simulator::parallel::in_parallel;
use grasptests::simulator::random::Random;
use grasptests::simulator::scenario::{DiscoveryFigures, Setting, discover, flood};
use grasptests::simulator::storm::{Kind, storm};
use grasptests::simulator::topology::{Shape, Topology};

const SHAPES: [Shape; 6] =
    [Shape::Random, Shape::Grid, Shape::ScaleFree, Shape::Line, Shape::Ring, Shape::Campus];
/// The shapes of the issue.
const MESHES: [Shape; 3] = [Shape::Random, Shape::Grid, Shape::ScaleFree];

fn build(shape: Shape, nodes: usize) -> Topology {
    shape.build(nodes, &mut Random::new(11))
}

/// A network with a loop count that crosses it.
fn setting(topology: &Topology, loss: f64) -> Setting<'_> {
    Setting {
        topology,
        config: Config::new(),
        quality: Quality { loss, ..Quality::default() },
        loop_count: u8::try_from(topology.diameter().hops.max(1)).unwrap(),
        seed: 5,
    }
}

/// What is true of every discovery, whatever is lost.
fn assert_ended(figures: &DiscoveryFigures, setting: &Setting<'_>, what: &str) {
    assert_eq!(figures.open, 0, "{what}: sessions, relays and responses end");
    let end = figures.end.expect("the queue is empty");
    // The asker's timeout, and for its relays the way to the last of them.
    let longest = u64::from(setting.loop_count) * 110_000;
    assert!(end <= longest, "{what}: {end} µs for loop count {}", setting.loop_count);
    assert!(figures.relays.1 <= 1, "{what}: a node relays a discovery once");
    assert!(figures.traffic.most_one_way <= 1, "{what}: {:?}", figures.traffic);
    assert!(figures.memory.0 <= 1 && figures.memory.1 <= 1, "{what}: {:?}", figures.memory);
}

#[test]
fn a_flood_reaches_a_thousand_nodes_and_crosses_no_link_twice_in_a_direction() {
    for shape in MESHES {
        let topology = build(shape, 1000);
        let setting = setting(&topology, 0.0);
        let figures = flood(&setting, 17).unwrap();
        assert_eq!(figures.reached, 1000, "{shape:?}");
        assert_eq!(figures.traffic.most_one_way, 1, "{shape:?}");
        assert!(figures.traffic.most <= 2 && figures.end.is_some(), "{shape:?}");
        assert_eq!(figures.stats.dropped(), vec![], "{shape:?}");
        let farthest = topology.distances(17).into_iter().flatten().max().unwrap();
        assert_eq!(figures.hops as usize, farthest, "{shape:?}: where all links are alike, the shortest way");
        assert_eq!(figures.time, 1000 * farthest as u64, "{shape:?}");
    }
}

#[test]
fn floods_reach_every_node_of_every_network() {
    for shape in SHAPES {
        for nodes in [2, 3, 22, 150] {
            let topology = build(shape, nodes);
            let setting = setting(&topology, 0.0);
            for source in [0, nodes / 2, nodes - 1] {
                let figures = flood(&setting, source).unwrap();
                assert_eq!(figures.reached, nodes, "{shape:?} of {nodes} from {source}");
                assert_eq!(figures.traffic.most_one_way, 1, "{shape:?} of {nodes} from {source}");
            }
        }
    }
}

#[test]
fn a_flood_goes_as_far_as_its_loop_count() {
    let topology = build(Shape::Line, 256);
    for (loop_count, reached) in [(1, 2), (6, 7), (255, 256)] {
        let setting = Setting { loop_count, ..setting(&topology, 0.0) };
        assert_eq!(flood(&setting, 0).unwrap().reached, reached);
    }
}

#[test]
fn where_links_differ_the_fastest_way_may_need_more_than_the_diameter() {
    let topology = build(Shape::Random, 400);
    let quality = Quality { jitter: 20_000, ..Quality::default() };
    let tight = Setting { quality, ..setting(&topology, 0.0) };
    let ample = Setting { loop_count: tight.loop_count * 3, ..tight.clone() };
    let floods = |setting, sources| (0..sources).map(move |source| flood(setting, source).unwrap());
    assert!(floods(&tight, 20).any(|figures| figures.reached < 400), "what came by a long way goes less far");
    assert!(floods(&ample, 5).all(|figures| figures.reached == 400 && figures.traffic.most_one_way == 1));
    assert!(floods(&ample, 5).any(|figures| figures.hops as usize > topology.diameter().hops));
}

#[test]
fn every_discovery_finds_what_is_there_and_ends() {
    for shape in SHAPES {
        for nodes in [2, 22, 200] {
            let topology = build(shape, nodes);
            let setting = setting(&topology, 0.0);
            let figures = discover(&setting, 0, &[nodes - 1], None).unwrap();
            let what = format!("{shape:?} of {nodes}");
            assert!(figures.found, "{what}");
            assert_ended(&figures, &setting, &what);
            let distance = topology.distances(0)[nodes - 1].unwrap();
            assert_eq!(figures.hops.unwrap() as usize, distance, "{what}");
            // There by datagrams, back by connections of three packets.
            assert_eq!(figures.time.unwrap(), 4000 * distance as u64, "{what}");
            let nobody = discover(&setting, 0, &[], None).unwrap();
            assert!(!nobody.found && nobody.reached == nodes && nobody.responses == 0, "{what}");
            assert_ended(&nobody, &setting, &what);
        }
    }
}

/// The nodes that a node reaches within so many hops, where some are unplugged.
fn reached(topology: &Topology, unplugged: &[bool], from: usize, hops: usize) -> Vec<bool> {
    let plugged = |segment: &Vec<usize>| segment.iter().copied().filter(|node| !unplugged[*node]).collect();
    let rest = Topology { nodes: topology.nodes, segments: topology.segments.iter().map(plugged).collect() };
    rest.distances(from)
        .into_iter()
        .map(|distance| distance.is_some_and(|distance| distance <= hops))
        .collect()
}

#[test]
fn where_relays_come_and_go_every_asker_finds_every_responder_within_its_loop_count() {
    const NODES: usize = 14;
    const RESPONDERS: [usize; 3] = [0, 5, 11];
    const HOPS: u8 = 4;
    let mut random = Random::new(18);
    let mut asked = 0;
    for shape in [Shape::Random, Shape::ScaleFree, Shape::Ring, Shape::Grid, Shape::Campus] {
        for seed in 0..6 {
            let topology = shape.build(NODES, &mut random);
            let setting = Setting { loop_count: HOPS, seed, ..setting(&topology, 0.0) };
            let mut network = setting.network();
            let name = |responder: usize| format!("at {responder}");
            for responder in RESPONDERS {
                network.node(responder).offer(&setting.objective(&name(responder)), 4711).unwrap();
            }
            let mut unplugged = [false; NODES];
            for round in 0..12 {
                for node in (0..NODES).filter(|node| !RESPONDERS.contains(node)) {
                    if random.chance(0.6) {
                        continue;
                    }
                    unplugged[node] = !unplugged[node];
                    network.unplug(node, unplugged[node]);
                    if random.chance(0.3) {
                        network.restart(node);
                    }
                }
                for asker in (0..NODES).filter(|node| !unplugged[*node]) {
                    let reach = reached(&topology, &unplugged, asker, HOPS.into());
                    for responder in RESPONDERS.into_iter().filter(|one| *one != asker && reach[*one]) {
                        let begun = network.now() + random.bits() % 8_000_000;
                        network.discover_at(begun, asker, setting.objective(&name(responder)), Some(2000));
                        assert!(network.run(u64::MAX).unwrap());
                        let found = &network.tally.found;
                        let found = found.iter().any(|(at, node, _)| *at >= begun && *node == asker);
                        assert!(found, "{shape:?} {seed}, round {round}: {asker} does not find {responder}");
                        asked += 1;
                    }
                }
            }
        }
    }
    assert!(asked > 2000, "{asked}");
}

#[test]
fn a_discovery_among_a_thousand_nodes_is_relayed_once_by_each_and_ends() {
    let topology = build(Shape::ScaleFree, 1000);
    let setting = setting(&topology, 0.0);
    let figures = discover(&setting, 3, &[999], None).unwrap();
    assert!(figures.found && figures.reached == 1000);
    assert_ended(&figures, &setting, "scale-free");
    assert_eq!(figures.stats.dropped(), vec![]);
}

#[test]
fn what_is_lost_delays_or_ends_a_discovery_but_does_not_keep_it_open() {
    for shape in SHAPES {
        let topology = build(shape, 150);
        for seed in 0..5 {
            let setting = Setting { seed, ..setting(&topology, 0.1) };
            let what = format!("{shape:?}, seed {seed}");
            assert_ended(&discover(&setting, 7, &[140], None).unwrap(), &setting, &what);
            let figures = flood(&setting, 7).unwrap();
            assert!(figures.end.is_some() && figures.traffic.most_one_way <= 1, "{what}");
        }
    }
}

#[test]
fn with_time_to_ask_again_a_lossy_line_is_crossed() {
    let topology = build(Shape::Line, 9);
    let found = |timeout| {
        let run = |seed| {
            let setting = Setting { seed, ..setting(&topology, 0.1) };
            let figures = discover(&setting, 0, &[8], timeout).unwrap();
            assert_eq!((figures.open, figures.end.is_some()), (0, true));
            assert!(
                timeout.is_none_or(|timeout| figures.end.unwrap() <= u64::from(timeout) * 1000 + 100_000)
            );
            figures.found
        };
        (0..100).filter(|seed| run(*seed)).count()
    };
    // 0.9 to the power of 8 is 0.43.
    let (once, often) = (found(None), found(Some(60_000)));
    assert!((25..60).contains(&once), "{once}");
    assert!(often > 90, "{often}");
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    for shape in MESHES {
        let (first, second) = (build(shape, 60), build(shape, 60));
        assert_eq!(first, second);
        let (one, other) = (setting(&first, 0.1), setting(&second, 0.1));
        assert_eq!(flood(&one, 3).unwrap(), flood(&other, 3).unwrap());
        assert_eq!(
            discover(&one, 3, &[50], Some(5000)).unwrap(),
            discover(&other, 3, &[50], Some(5000)).unwrap()
        );
        assert_eq!(
            storm(&one, Kind::Discoveries, 60, 500_000, None).unwrap(),
            storm(&other, Kind::Discoveries, 60, 500_000, None).unwrap()
        );
    }
}

#[test]
fn threads_do_not_change_the_figures() {
    let topology = build(Shape::Grid, 60);
    // Few relays at a time: others end early to make room, and which ones must not depend on chance.
    let config = Config::new().relay_limit(4).discovery_relay_rate(Rate::new(50, 100));
    let jobs: Vec<u64> = (0..3).collect();
    let figures = |threads: usize| {
        in_parallel(NonZeroUsize::new(threads).unwrap(), &jobs, |seed| {
            let setting = Setting { seed: *seed, config: config.clone(), ..setting(&topology, 0.05) };
            let asked = discover(&setting, 3, &[50], Some(5000))?;
            let storm = storm(&setting, Kind::Discoveries, 60, 1_000_000, Some(10_000))?;
            Ok::<_, grasp::Error>((flood(&setting, 3)?, asked, storm))
        })
        .unwrap()
    };
    let alone = figures(1);
    assert!(alone.iter().any(|(.., storm)| storm.stats.get("dropped_relay_full") > 0));
    assert_eq!(alone, figures(3));
    assert_ne!(alone[0], alone[1], "another seed is another run");
}

/// The resident memory of a process so far, at most, in KiB, and the processor time that it has used, in hundredths of a
/// second.
fn used(process: u32) -> Option<(u64, u64)> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).ok();
    let (status, stat) = (read("status")?, read("stat")?);
    let memory = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    // After the name of the program, which may contain anything: fields 14 and 15 of proc(5).
    let times = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(2);
    let ticks = times.map(|ticks| ticks.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some((memory.trim().trim_end_matches("kB").trim().parse().ok()?, ticks))
}

#[test]
fn twenty_thousand_nodes_take_less_than_a_gigabyte_and_little_time() {
    let options =
        "--scenario sweep --sizes 20000 --topology grid --loss 0 --loop-count auto --runs 1 --threads 1";
    let program = env!("CARGO_BIN_EXE_simulator");
    let mut child = Command::new(program).args(options.split(' ')).stdout(Stdio::piped()).spawn().unwrap();
    let (mut memory, mut ticks) = (0, 0);
    let deadline = Instant::now() + Duration::from_secs(1200);
    while child.try_wait().unwrap().is_none() {
        (memory, ticks) = used(child.id()).unwrap_or((memory, ticks));
        assert!(Instant::now() < deadline, "{ticks} ticks of processor time, {memory} KiB");
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("| 100.0 % ") && text.contains("| 1 of 1 "), "{text}");
    assert!((1..1 << 20).contains(&memory), "{memory} KiB");
    // Half a minute where it is not optimized. To look for the diameter from each node took longer than that alone.
    assert!((1..12_000).contains(&ticks), "{ticks} ticks");
}

#[test]
fn when_all_flood_within_a_second_the_defaults_drop_nothing() {
    let topology = build(Shape::ScaleFree, 60);
    let setting = setting(&topology, 0.0);
    let figures = storm(&setting, Kind::Floods(3), 60, 1_000_000, None).unwrap();
    assert_eq!((figures.reached, figures.stats.dropped()), (1.0, vec![]));
    assert!(figures.relayed <= 180 * 59 && figures.memory.0 <= 177 && figures.open == 0);
    // Each sender has sent each flood on all its links, or on all but the one that it came by.
    assert!(
        figures.datagrams >= figures.relayed && figures.datagrams <= 180 * 2 * 59 * 4,
        "{}",
        figures.datagrams
    );
}

#[test]
fn what_a_relay_does_and_remembers_at_a_time_is_bounded() {
    let topology = build(Shape::Random, 100);
    let rate = Rate::new(5, 20);
    let config = Config::new().relay_memory(10).relay_limit(4).flood_relay_rate(rate).responder_limit(2);
    let setting = Setting { config, ..setting(&topology, 0.1) };
    for kind in [Kind::Floods(2), Kind::Discoveries, Kind::SameDiscovery] {
        let figures = storm(&setting, kind, 100, 1_000_000, None).unwrap();
        assert!(figures.memory.0 <= 10 && figures.memory.1 <= 4, "{kind:?}: {:?}", figures.memory);
        assert!(figures.end.is_some() && figures.open == 0, "{kind:?}");
        assert!(!figures.stats.dropped().is_empty(), "{kind:?}");
        if kind == Kind::Floods(2) {
            // What is at hand at the beginning and what comes in the second and the flood's last hops.
            assert!(figures.relayed <= 100 * 26, "{}", figures.relayed);
        }
    }
}
