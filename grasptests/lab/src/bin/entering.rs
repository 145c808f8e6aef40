//! Enters a lab in one of two roles, for the test of [`grasp_lab::enter`]: that needs a process with one thread,
//! and a test always has two.

use std::{
    env,
    io::{self, Read as _},
    process::{self, ExitCode},
    time::Duration,
};

use grasp_lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, LabError, RawUdp, enter};

fn main() -> ExitCode {
    let outcome = match env::args().nth(1).as_deref() {
        Some("echo") => echo(),
        Some("wait") => wait(),
        _ => {
            eprintln!("usage: entering echo|wait");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints its process number, its arguments and its input, and what one node of a lab hears from another.
fn echo() -> Result<ExitCode, LabError> {
    if !matches!(Lab::new(), Err(LabError::NotIsolated)) {
        println!("a lab before entering one");
        return Ok(ExitCode::FAILURE);
    }
    enter()?;
    enter()?;
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    lab.link(&a, &b)?;
    let at_b = RawUdp::neighbors(&b, "eth0")?;
    RawUdp::neighbors(&a, "eth0")?.send(b"heard", ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT)?;
    let heard = at_b.receive(Duration::from_secs(10))?.map(|datagram| datagram.bytes).unwrap_or_default();
    let arguments: Vec<_> = env::args().skip(2).collect();
    println!("{} {arguments:?} {} {}", process::id(), input(), String::from_utf8_lossy(&heard));
    Ok(ExitCode::from(7))
}

/// Says that it is ready, and waits for the end of its input.
fn wait() -> Result<ExitCode, LabError> {
    enter()?;
    let _lab = Lab::new()?;
    println!("ready");
    input();
    Ok(ExitCode::SUCCESS)
}

fn input() -> String {
    let mut text = String::new();
    if let Err(error) = io::stdin().read_to_string(&mut text) {
        eprintln!("its input cannot be read: {error}");
    }
    text
}
