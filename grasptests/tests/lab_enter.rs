//! [`lab::enter`], which needs a process with one thread only, so this test is a program without libtest.
//! Started without arguments of its own it starts itself in a role and looks at what comes out.

#![allow(clippy::expect_used, reason = "in helpers of tests too a failure is a panic")]

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, Stdio, exit},
    time::Duration,
};

use grasptests::lab::{self, Lab, LabError, RawUdp};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const ROLE: &str = "GRASP_LAB_ENTER_ROLE";

fn main() {
    let outcome = match env::var(ROLE).as_deref() {
        Ok("echo") => echo(),
        Ok("wait") => wait(),
        _ if env::args().any(|argument| argument == "--list") => {
            println!("entering: test");
            Ok(())
        }
        _ => {
            a_program_stays_what_it_is();
            an_interrupt_ends_it();
            println!("entering: ok");
            Ok(())
        }
    };
    if let Err(error) = outcome {
        eprintln!("{error}");
        exit(1);
    }
}

fn start(role: &str) -> Child {
    let mut program = Command::new(env::current_exe().expect("this program"));
    program
        .args(["with spaces", "--and-options"])
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    program.spawn().expect("start this program again")
}

fn a_program_stays_what_it_is() {
    let mut child = start("echo");
    let id = child.id();
    child.stdin.take().expect("piped").write_all(b"typed").expect("write");
    let output = child.wait_with_output().expect("wait");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(7), "{text}");
    assert_eq!(text, format!("{id} [\"with spaces\", \"--and-options\"] typed heard\n"));
}

fn an_interrupt_ends_it() {
    let mut child = start("wait");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("read");
    assert_eq!(line, "ready\n");
    kill(Pid::from_raw(i32::try_from(child.id()).expect("small")), Signal::SIGINT).expect("interrupt");
    assert_eq!(child.wait().expect("wait").signal(), Some(Signal::SIGINT as i32));
}

/// Shows its arguments and its input, and that a lab works.
fn echo() -> Result<(), LabError> {
    assert!(matches!(Lab::new(), Err(LabError::NotIsolated)));
    lab::enter()?;
    lab::enter()?;
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    lab.link(&a, &b)?;
    let at_b = RawUdp::neighbors(&b, "eth0")?;
    RawUdp::neighbors(&a, "eth0")?.send(b"heard", lab::ALL_GRASP_NEIGHBORS, lab::GRASP_LISTEN_PORT)?;
    let heard = at_b.receive(Duration::from_secs(10))?.map(|datagram| datagram.bytes).unwrap_or_default();
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).expect("read");
    let arguments: Vec<_> = env::args().skip(1).collect();
    println!("{} {arguments:?} {input} {}", std::process::id(), String::from_utf8_lossy(&heard));
    exit(7)
}

fn wait() -> Result<(), LabError> {
    lab::enter()?;
    let _lab = Lab::new()?;
    println!("ready");
    // Until the end of the input, which does not come.
    let _ = std::io::stdin().read_to_string(&mut String::new());
    Ok(())
}
