//! The targets of fuzzing without libFuzzer: on what they begin with, on what was found once, and on random changes of
//! both. The same inputs each time.

use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use grasptests::fuzzing::{TARGETS, seeds};

/// How many changed inputs each target gets, and the time for them on a machine that is busy.
const CHANGED: usize = 3000;
const TIME: Duration = Duration::from_secs(5);
/// The fewest that must have been tried in that time.
const FEWEST: usize = 50;

fn recorded(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions").join(target);
    let files =
        std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = files.map(|file| file.expect("a directory entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a file that can be read")).collect()
}

/// Runs a target on an input. What fails is printed, so that it can be kept under `fuzz/regressions`.
fn run(target: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|one| one.name == target).expect("a target of this name");
    if std::panic::catch_unwind(|| (target.run)(input)).is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{} fails on {hex}", target.name);
    }
}

fn change(random: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..random.usize(1..=6) {
        let at = random.usize(0..=input.len());
        match random.u8(0..6) {
            0 => input.insert(at, random.u8(..)),
            1 if at < input.len() => drop(input.remove(at)),
            2 => input.truncate(at),
            3 => {
                let from = random.usize(0..=other.len());
                let piece = other.get(from..).unwrap_or_default().iter().take(random.usize(1..=40));
                input.splice(at..at, piece.copied());
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = if random.bool() { *byte ^ 1 << random.u8(0..8) } else { random.u8(..) };
                }
            }
        }
    }
    input.truncate(4096);
}

fn replay(target: &str) {
    let mut inputs = seeds::of(target);
    assert!(inputs.len() > 10, "there is something to begin with");
    inputs.extend(recorded(target));
    inputs.push(Vec::new());
    for input in &inputs {
        run(target, input);
    }
    let mut random = Rng::with_seed(8990);
    let started = Instant::now();
    let mut tried = 0;
    while tried < CHANGED && (tried < FEWEST || started.elapsed() < TIME) {
        let mut input = random.choice(&inputs).expect("inputs").clone();
        let other = random.choice(&inputs).expect("inputs");
        change(&mut random, &mut input, other);
        run(target, &input);
        tried += 1;
    }
    println!("{target}: {} inputs and {tried} changes of them", inputs.len());
}

#[test]
fn decode() {
    replay("decode");
}

#[test]
fn handlers() {
    replay("handlers");
}

#[test]
fn ipc() {
    replay("ipc");
}

#[test]
fn neighbours() {
    replay("neighbours");
}

#[test]
fn quads() {
    replay("quads");
}

#[test]
fn reader() {
    replay("reader");
}

#[test]
fn every_target_has_a_test_and_its_records() {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, ["decode", "handlers", "ipc", "neighbours", "quads", "reader"]);
    let inputs: usize = names.iter().map(|name| recorded(name).len()).sum();
    assert!(inputs > 0, "what was found is kept");
}
