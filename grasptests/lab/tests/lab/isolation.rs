//! Processes of their own for tests: failures get out, nothing outlives its test.
//!
//! The tests that fail on purpose do so only for the tests here that start them.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
    time::Duration,
};

use grasp_lab::{self as lab, Lab, LabError, eventually, isolated};

/// Tells a test that it is to fail; its value is how many seconds a hanging test has.
const FAIL: &str = "GRASP_LAB_SELFTEST";

fn wanted() -> bool {
    env::var_os(FAIL).is_some()
}

/// Runs another test of this binary that is to fail.
fn outcome_of(test: &str) -> (Output, String) {
    let output = Command::new(env::current_exe().expect("this program"))
        .args([test, "--exact", "--include-ignored"])
        .env(FAIL, "2")
        .output()
        .expect("start the test binary");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

#[test]
#[ignore = "started by another test"]
fn fails_by_panic() {
    isolated!();
    assert!(!wanted(), "the reason of the failure");
}

#[test]
fn a_panic_gets_out_with_its_message() {
    let (output, text) = outcome_of("isolation::fails_by_panic");
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("the reason of the failure"), "{text}");
    assert!(text.contains("failed in its own process"), "{text}");
}

#[test]
#[ignore = "started by another test"]
fn fails_by_error() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let node = lab.node("a")?;
    if wanted() {
        node.interface_index("eth7")?;
    }
    Ok(())
}

#[test]
fn an_error_gets_out_with_its_sentence() {
    let (output, text) = outcome_of("isolation::fails_by_error");
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("find eth7 of node a: No such device"), "{text}");
}

#[test]
#[ignore = "started by another test"]
fn hangs() -> Result<(), LabError> {
    isolated!(env::var(FAIL).map_or(2, |seconds| seconds.parse().unwrap()));
    if wanted() {
        let lab = Lab::new()?;
        let mut child = lab.node("a")?.command("sleep").arg("1000").spawn().unwrap();
        println!("started <{}> and <{}>", std::process::id(), child.id());
        child.wait().unwrap();
    }
    Ok(())
}

#[test]
fn a_test_does_not_outlive_the_test_binary() {
    let mut outer = Command::new(env::current_exe().expect("this program"))
        .args(["isolation::hangs", "--exact", "--include-ignored", "--nocapture"])
        .env(FAIL, "60")
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the test binary");
    let lines = BufReader::new(outer.stdout.take().expect("piped")).lines();
    let line = lines.map_while(Result::ok).find(|line| line.contains("started <")).expect("the numbers");
    outer.kill().expect("kill");
    outer.wait().expect("wait");
    eventually(Duration::from_secs(10), "both processes are gone", || {
        line.split(['<', '>']).skip(1).step_by(2).all(ended)
    });
}

#[test]
fn a_hanging_test_is_killed_with_all_it_started() {
    let (output, text) = outcome_of("isolation::hangs");
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("not finished after 2s, killed"), "{text}");
    let started: Vec<&str> = text.split(['<', '>']).skip(1).step_by(2).take(2).collect();
    assert_eq!(started.len(), 2, "{text}");
    eventually(Duration::from_secs(10), "both processes are gone", || started.iter().all(|id| ended(id)));
}

#[test]
#[ignore = "started by another test"]
fn leaves_a_program_behind() -> Result<(), LabError> {
    isolated!();
    if wanted() {
        let lab = Lab::new()?;
        let spawned = lab.node("a")?.command("sleep").arg("1000").spawn();
        // Neither waited for nor killed: that is the point.
        std::mem::forget(spawned.unwrap());
    }
    Ok(())
}

#[test]
fn a_program_left_behind_does_not_hold_the_test_up() {
    let (output, text) = outcome_of("isolation::leaves_a_program_behind");
    assert!(output.status.success(), "{text}");
}

#[test]
#[ignore = "started by another test"]
fn is_killed() {
    isolated!();
    if wanted() {
        std::process::abort();
    }
}

#[test]
fn a_killed_test_has_failed() {
    let (output, text) = outcome_of("isolation::is_killed");
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("killed by SIGABRT"), "{text}");
}

mod nested {
    mod deeper {
        use super::super::*;

        #[test]
        fn tests_in_modules_are_found() {
            isolated!();
            assert!(lab::is_isolated());
        }
    }
}

#[test]
fn the_only_interface_of_an_isolated_process_is_lo() {
    isolated!();
    let table = fs::read_to_string("/proc/self/net/dev").unwrap();
    let names: Vec<_> =
        table.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    // Kernels may add tunnel devices to every namespace; they are all down.
    assert!(names.contains(&"lo"), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("eth") || name.starts_with("en")), "{names:?}");
}

#[test]
fn this_machine_can_isolate() {
    lab::available().unwrap();
}

#[test]
fn entering_is_refused_when_there_are_threads() {
    assert!(matches!(lab::enter(), Err(LabError::Threads(2..))));
}

/// Whether a process has ended; its parent may not have reaped it yet.
fn ended(id: &str) -> bool {
    fs::read_to_string(format!("/proc/{id}/stat"))
        .map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}
