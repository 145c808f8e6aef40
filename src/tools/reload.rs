//! `grasp reload`: makes the node of this host read its configuration again.

use std::io::Write;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::process::{Pid, Signal, kill_process};

use super::command::Options;
use super::failure::{Failure, Outcome, Status};
use super::run;
use crate::net::local;

/// How long the node may take to have room for another connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Sends SIGHUP to the process that serves the socket. The node's log has the result.
pub(super) fn reload(options: &Options, out: &mut dyn Write) -> Outcome {
    let path = run::socket(options);
    let stream =
        local::connect(&path, Instant::now() + CONNECT).map_err(|error| run::no_node(&path, &error))?;
    // Not with rustix, whose process identifiers cannot be 0, the identifier of a process in another PID namespace.
    let peer = getsockopt(&stream, PeerCredentials)
        .map_err(|error| Failure::new(Status::NoNode, format!("{}: {error}", path.display())))?;
    let server = Pid::from_raw(peer.pid()).ok_or_else(|| {
        Failure::new(Status::Refused, "the node is in another PID namespace: send it SIGHUP from there")
    })?;
    kill_process(server, Signal::HUP).map_err(|error| {
        let pid = server.as_raw_nonzero();
        Failure::new(
            Status::Refused,
            format!("process {pid}, which is the node, cannot be sent a signal: {error}"),
        )
    })?;
    writeln!(
        out,
        "process {} reads its configuration again; its log has the result",
        server.as_raw_nonzero()
    )?;
    Ok(())
}
