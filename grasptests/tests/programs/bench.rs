//! The program `bench` measures: a short run of a few figures writes what it should. How fast is no question here.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench")).args(arguments).output().expect("the bench starts")
}

/// A file of this test alone, which goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("grasp-bench-{}-{name}.json", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[track_caller]
fn number(figure: &Value, field: &str) -> f64 {
    let number = figure[field].as_f64().unwrap_or_else(|| panic!("{field} is no number: {figure}"));
    assert!(number.is_finite() && number > 0.0, "{field}: {figure}");
    number
}

#[test]
fn a_short_run_writes_every_field_of_every_figure() {
    let file = Scratch::new("short");
    let path = file.0.to_str().expect("a path in UTF-8");
    let names = "negotiate_connect,flood_hop,cpu_per_negotiation,codec_decode,startup,tls_connect,tls_resumed,tls_step";
    let output = bench(&["--only", names, "--rounds", "1", "--json", path]);
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}");
    let written = std::fs::read_to_string(&file.0).expect("the file is written");
    let figures: Value = serde_json::from_str(&written).expect("the file is JSON");
    for (name, unit) in [
        ("negotiate_connect", "/s"),
        ("flood_hop", "µs"),
        ("cpu_per_negotiation", "µs"),
        ("tls_connect", "/s"),
        ("tls_resumed", "/s"),
        ("tls_step", "/s"),
        ("codec_decode", "/s"),
        ("codec_decode: flood", "/s"),
    ] {
        let figure = &figures[name];
        assert_eq!(figure["unit"], unit, "{name}: {figures}");
        let (value, floor, ratio) =
            (number(figure, "value"), number(figure, "floor"), number(figure, "ratio"));
        // The first row of the codec is the medians of all vectors, whose ratio is not the quotient of the two others.
        if name != "codec_decode" {
            assert!((ratio - value / floor).abs() <= ratio * 1e-6, "one round has one ratio: {figure}");
        }
        assert!(said.contains(&format!("| {name} |")), "{said}");
    }
    let startup = &figures["startup"];
    assert!(startup["floor"].is_null() && startup["ratio"].is_null(), "{startup}");
    // Any machine starts a process within a minute.
    assert!(number(startup, "value") < 60_000.0, "{startup}");
    assert!(startup["met"].is_boolean() && startup["missed"].is_boolean(), "{startup}");
    assert!(number(startup, "noise") < 1.0, "{startup}");
    assert!(figures["synchronize"].is_null(), "only what was asked for is measured");
}

#[test]
fn what_cannot_be_measured_is_a_failure() {
    let unknown = bench(&["--only", "speed"]);
    assert_eq!(unknown.status.code(), Some(2), "an unknown figure");
    let output = bench(&["--only", "synchronize", "--rounds", "1", "--graspy", env!("CARGO_MANIFEST_DIR")]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("there is no grasp.py in"), "{complaint}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("| synchronize |"));
}

#[test]
fn a_check_fails_where_an_aim_is_missed_by_more_than_its_noise_and_only_then() {
    // No process starts within a nanosecond, and any within a minute.
    let (impossible, generous) = ("startup=0.000001", "startup=60000");
    let run = |more: &[&str]| bench(&[&["--only", "startup", "--rounds", "1"], more].concat());
    let told = run(&["--aim", impossible]);
    assert_eq!(told.status.code(), Some(0), "a missed aim is no failure: {told:?}");
    assert!(String::from_utf8_lossy(&told.stdout).contains("**no**"), "{told:?}");
    let met = run(&["--check", "--aim", generous]);
    assert_eq!(met.status.code(), Some(0), "{met:?}");
    let missed = run(&["--check", "--aim", impossible]);
    assert_eq!(missed.status.code(), Some(1), "{missed:?}");
    let complaint = String::from_utf8_lossy(&missed.stderr);
    assert!(complaint.contains("startup misses its aim by more than its noise"), "{complaint}");
}

#[test]
fn an_aim_that_nothing_can_miss_is_a_failure() {
    for wrong in ["startup", "startup=", "startup=NaN", "startup=-1"] {
        assert_eq!(bench(&["--aim", wrong]).status.code(), Some(2), "{wrong}");
    }
    for (only, wrong) in [("startup", "idle=1"), ("codec_encode", "codec_encode=1")] {
        let output = bench(&["--only", only, "--rounds", "1", "--check", "--aim", wrong]);
        assert_eq!(output.status.code(), Some(1), "{wrong}: {output:?}");
    }
}

#[test]
fn peers_do_the_same_jobs_and_those_that_cannot_be_had_are_skipped_with_a_sentence() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
        command.args(["--peers", "--rounds", "1"]).args(arguments);
        let output = command
            .env("PYTHON", "/nonexistent")
            .env_remove("GRASPY_DIR")
            .output()
            .expect("the bench starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = run(&["--only-peers", "grasp,tcp,graspy,zeroconf", "--nodes", "4"]);
    let rows = |of: &str| said.lines().filter(|line| line.starts_with(&format!("| {of}"))).count();
    // To find by default and in rapid mode, to ask in two ways, and to spread.
    assert_eq!((rows("this engine"), rows("plain TCP")), (5, 2), "{said}");
    assert!(!said.contains("could not be measured"), "{said}");
    // Each vector is decoded, and after them comes their median.
    assert_eq!((rows("m_flood-"), rows("**median**")), (4, 1), "{said}");
    for skipped in ["graspy is skipped: neither --graspy nor GRASPY_DIR", "zeroconf is skipped: /nonexistent"]
    {
        assert!(said.contains(skipped), "{said}");
    }
}
