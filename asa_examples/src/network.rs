//! `--lab`: runs this example and its peers in a private network inside this machine.
//!
//! ```text
//!   this one ==== peer, peer, …                  one segment
//!   this one ==== relay 1 ==== … ==== peers      with --relays
//! ```
//!
//! Each peer is a process: this program, started again in its node, with its role in an environment variable.

use std::env;
use std::error::Error;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use grasp::domain::{Files, Kept};
use grasp::{Acp, tprint};
use grasp_lab::{self as lab, Lab, Node};
use rustix::process::{Pid, Signal, kill_process};

use crate::members::Members;
use crate::{Common, Outcome, PEERS, Stop};

type Failure = Box<dyn Error + Send + Sync>;

/// The environment variable with the example that a process of `--lab` runs.
const ROLE: &str = "ASA_EXAMPLES_ROLE";
/// The environment variable with the name of such a process's node.
const NODE: &str = "ASA_EXAMPLES_NODE";
/// The environment variable with the directory of a node's certificate and key, which the engine reads.
const DOMAIN: &str = "GRASP_DOMAIN";
/// How long a peer may take to stop before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// The name of this process's node, if it belongs to a network of `--lab`.
pub(crate) fn node_name(network: Option<&Network>) -> Option<String> {
    network.map(|network| network.here.clone()).or_else(|| env::var(NODE).ok())
}

/// The network and the processes in it. Dropping it stops the peers.
pub(crate) struct Network {
    /// The links exist as long as this does.
    _lab: Lab,
    /// This process's node.
    here: String,
    peers: Vec<(Node, Vec<String>)>,
    relays: Vec<Node>,
    running: Vec<Running>,
    /// The certificates of the nodes, with --domain.
    members: Option<Members>,
}

/// A process of a node.
struct Running {
    /// A description of what was started.
    what: String,
    child: Child,
}

impl Network {
    /// Builds the network of the command line and moves this process into its node. None without `--lab`.
    pub(crate) fn enter(common: &Common, own_name: &str) -> Result<Option<Self>, Failure> {
        if common.lab.is_empty() {
            return Ok(None);
        }
        let commands = common.lab.iter().map(|text| peer_command(text)).collect::<Result<Vec<_>, _>>()?;
        let members = common.domain.then(Members::new).transpose()?;
        lab::enter()?;
        let lab = Lab::new()?;
        let here = lab.node(own_name)?;
        let relays =
            (1..=common.relays).map(|i| lab.node(&format!("relay{i}"))).collect::<Result<Vec<_>, _>>()?;
        let mut peers = Vec::new();
        for (number, words) in (1..).zip(commands) {
            peers.push((lab.node(&format!("peer{number}"))?, words));
        }
        let mut last = &here;
        for relay in &relays {
            lab.link(last, relay)?;
            last = relay;
        }
        let segment: Vec<&Node> = std::iter::once(last).chain(peers.iter().map(|(node, _)| node)).collect();
        lab.lan(&segment)?;
        lab.route_all()?;
        here.enter()?;
        let here = here.name().to_owned();
        Ok(Some(Self { _lab: lab, here, peers, relays, running: Vec::new(), members }))
    }

    /// What secures the traffic of this process; `None` without --domain.
    pub(crate) fn acp(&self) -> Result<Option<Acp>, Failure> {
        let Some(members) = &self.members else { return Ok(None) };
        let kept = Kept::load(Files::in_directory(members.files_of(&self.here)?))?;
        Ok(Some(Acp::Domain(Arc::new(kept))))
    }

    /// Starts relays and peers; `prepare` may change the command of a peer. When all peers have ended, this example
    /// stops too.
    ///
    /// Call it from a thread that stays alive: the peers are killed when it ends.
    pub(crate) fn start_peers(
        &mut self,
        common: &Common,
        stop: &Stop,
        mut prepare: impl FnMut(&mut Command),
    ) -> Result<(), Failure> {
        for relay in &self.relays {
            let words = ["relay".to_owned()];
            let mut relaying = command(relay, common, &words, 0)?;
            self.join(relay, &mut relaying)?;
            let child = relaying.spawn()?;
            self.running.push(Running { what: words.concat(), child });
        }
        let mut watched = Vec::new();
        for (number, (node, words)) in (1..).zip(&self.peers) {
            tprint!("Starting", words.join(" "), "in a node of its own");
            let mut peer = command(node, common, words, number)?;
            self.join(node, &mut peer)?;
            prepare(&mut peer);
            let child = peer.spawn()?;
            watched.push(Pid::from_child(&child));
            self.running.push(Running { what: words.join(" "), child });
        }
        let stop = stop.clone();
        thread::Builder::new().name("peers".to_owned()).spawn(move || {
            // With WNOWAIT, their owner can still wait for them.
            let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
            for peer in watched {
                let _ = rustix::io::retry_on_intr(|| {
                    rustix::process::waitid(rustix::process::WaitId::Pid(peer), options)
                });
            }
            stop.request();
        })?;
        Ok(())
    }
}

impl Network {
    /// Makes the process of a node a member of the domain, if there is one.
    fn join(&self, node: &Node, process: &mut Command) -> Result<(), Failure> {
        if let Some(members) = &self.members {
            process.env(DOMAIN, members.files_of(node.name())?);
        }
        Ok(())
    }

    /// Stops the remaining processes.
    ///
    /// # Errors
    /// The peers that failed, except those that were killed because they did not stop.
    pub(crate) fn end(mut self) -> Outcome {
        let failed: Vec<_> = self
            .stop()
            .into_iter()
            .filter(|(_, status)| status.is_some_and(|status| !status.success()))
            .map(|(what, status)| format!("{what} ended with {}", status.unwrap_or_default()))
            .collect();
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ").into()) }
    }

    /// Stops everything, and returns how each process ended.
    fn stop(&mut self) -> Vec<(String, Option<ExitStatus>)> {
        for peer in &self.running {
            // It may have ended by itself.
            let _ = kill_process(Pid::from_child(&peer.child), Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        let end = |Running { what, mut child }| {
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            (what, child.wait().ok())
        };
        self.running.drain(..).map(end).collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Splits a command into the name of an example and its options.
fn peer_command(text: &str) -> Result<Vec<String>, Failure> {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let Some(peer) = PEERS.iter().find(|peer| words.first().is_some_and(|name| peer.name == name)) else {
        let names: Vec<&str> = PEERS.iter().map(|peer| peer.name).collect();
        return Err(format!("--lab {text:?}: the examples are {}", names.join(", ")).into());
    };
    // Reports the error now, and not from a peer that has just been started.
    if let Err(error) = (peer.check)(&words) {
        tprint!("The command line of the peer", format_args!("--lab {text:?}"), "is not understood:");
        error.exit();
    }
    Ok(words)
}

/// Each peer has its own seed, so that they do not all make the same choices.
fn command(node: &Node, common: &Common, words: &[String], number: u64) -> Result<Command, Failure> {
    let mut program: Command = node.command(env::current_exe()?);
    let (name, options) = words.split_first().ok_or("a peer without a name")?;
    program.arg0(name).env(ROLE, name).env(NODE, node.name()).args(options);
    let given = |option: &str| options.iter().any(|word| word.split('=').next() == Some(option));
    if !given("--pace") {
        program.args(["--pace", &common.pace.to_string()]);
    }
    if common.test_mode && !given("--test-mode") {
        program.arg("--test-mode");
    }
    if let Some(seed) = common.seed.filter(|_| !given("--seed")) {
        program.args(["--seed", &seed.wrapping_add(number).to_string()]);
    }
    Ok(program)
}
