//! [`enter`](grasp_lab::enter), through the program `entering`, which has one thread.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, Stdio},
};

use grasp_lab::process::default_signals;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn start(role: &str) -> Child {
    let mut program = Command::new(env!("CARGO_BIN_EXE_entering"));
    program.args([role, "with spaces", "--and-options"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    // A script that runs the tests in the background has them ignore SIGINT, and the program would inherit that.
    default_signals(&mut program);
    program.spawn().expect("it starts")
}

#[test]
fn a_program_stays_what_it_is() {
    let mut child = start("echo");
    let id = child.id();
    child.stdin.take().expect("piped").write_all(b"typed").expect("write");
    let output = child.wait_with_output().expect("wait");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(7), "{text}");
    assert_eq!(text, format!("{id} [\"with spaces\", \"--and-options\"] typed heard\n"));
}

#[test]
fn an_interrupt_ends_it() {
    let mut child = start("wait");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("read");
    assert_eq!(line, "ready\n");
    kill(Pid::from_raw(i32::try_from(child.id()).expect("small")), Signal::SIGINT).expect("interrupt");
    assert_eq!(child.wait().expect("wait").signal(), Some(Signal::SIGINT as i32));
}
