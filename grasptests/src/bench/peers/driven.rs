//! A peer's process on a node, and what it has used: processor time, memory, and what its node has sent.

use std::time::Duration;

use grasptests::lab::Node;
use nix::sys::time::TimeValLike as _;

use super::super::figure::Result;
use super::super::process::Process;
use super::which::Peer;

/// How long an idle node is left alone before its memory is looked at.
const SETTLED: Duration = Duration::from_secs(2);

/// A peer that runs on a node.
pub(super) struct Driven {
    process: Process,
    pub(super) node: Node,
    /// It has several processes, and tells itself what they use.
    several: bool,
}

impl Driven {
    /// Starts its process. It does nothing yet.
    pub(super) fn start(peer: &Peer, node: &Node) -> Result<Self> {
        let process = Process::start(peer.command(node))?;
        Ok(Self { process, node: node.clone(), several: peer.several })
    }

    /// Has it do something, and returns what it answers.
    pub(super) fn ask(&mut self, command: &str) -> Result<String> {
        self.tell(command)?;
        self.answer().map_err(|error| format!("{command}: {error}").into())
    }

    /// Has it begin with something.
    pub(super) fn tell(&mut self, command: &str) -> Result<()> {
        self.process.say(command)
    }

    /// Its next answer.
    pub(super) fn answer(&mut self) -> Result<String> {
        let answer = self.process.line()?;
        match answer.strip_prefix("failed") {
            Some(reason) => Err(reason.trim().into()),
            None => Ok(answer),
        }
    }

    /// Has it do something that it is `ready` after.
    pub(super) fn ready(&mut self, command: &str) -> Result<()> {
        match self.ask(command)? {
            answer if answer == "ready" => Ok(()),
            answer => Err(format!("{command}: {answer}").into()),
        }
    }

    /// Has it do something that it answers with a number.
    pub(super) fn number(&mut self, command: &str) -> Result<f64> {
        Ok(self.ask(command)?.parse()?)
    }

    /// The processor time that it has used so far, in seconds.
    pub(super) fn cpu(&mut self) -> Result<f64> {
        if self.several {
            return self.number("cpu");
        }
        let clock = nix::time::clock_getcpuclockid(self.process.pid()?)?;
        #[expect(clippy::cast_precision_loss, reason = "a process runs for less than 2^53 nanoseconds")]
        let nanoseconds = nix::time::clock_gettime(clock)?.num_nanoseconds() as f64;
        Ok(nanoseconds / 1e9)
    }

    /// Its resident memory in KiB once it has had time to settle.
    pub(super) fn idle(&mut self) -> Result<f64> {
        std::thread::sleep(SETTLED);
        if self.several { self.number("memory") } else { self.process.resident() }
    }
}

/// What a job has used of processors and links so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    /// Of the side that asks or begins, and of all others, in seconds.
    pub(super) cpu: (f64, f64),
    pub(super) frames: f64,
    pub(super) bytes: f64,
}

impl Used {
    /// Of the first of some peers and of the others, and what all their nodes have sent.
    pub(super) fn so_far<'a>(
        first: &mut Driven,
        others: impl Iterator<Item = &'a mut Driven>,
    ) -> Result<Self> {
        let mut used = Self { cpu: (first.cpu()?, 0.0), ..Self::default() };
        used.add(&first.node)?;
        for other in others {
            used.cpu.1 += other.cpu()?;
            used.add(&other.node)?;
        }
        Ok(used)
    }

    /// What has been used since then, for each of so many times.
    pub(super) fn since(self, before: Self, times: f64) -> Self {
        Self {
            cpu: ((self.cpu.0 - before.cpu.0) / times, (self.cpu.1 - before.cpu.1) / times),
            frames: (self.frames - before.frames) / times,
            bytes: (self.bytes - before.bytes) / times,
        }
    }

    fn add(&mut self, node: &Node) -> Result<()> {
        let traffic = node.traffic()?;
        self.frames += f64::from(u32::try_from(traffic.frames_sent)?);
        self.bytes += f64::from(u32::try_from(traffic.bytes_sent)?);
        Ok(())
    }
}
