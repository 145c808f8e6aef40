//! `grasp doctor`: finds problems that occur in practice, and says what to do. `system` reads what the kernel says
//! about this host; `checks` draws the conclusions, and nothing else, so that they can be tested.

mod checks;
mod system;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use serde_json::json;

use super::command::Doctor;
use super::failure::{Failure, Outcome};
use super::output::json_line;
use super::run::{Run, next_event};
use crate::api::Discover;
use crate::stats::Stats;
use crate::trace::{Carrier, Direction, Event};
use crate::types::{FloodView, Objective};
use crate::wire::{Body, Limits, decode};

/// How many neighbours are counted.
const MOST_NEIGHBOURS: usize = 4096;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Fine,
    /// It may be intended.
    Odd,
    Wrong,
}

/// What was found about one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diagnosis {
    level: Level,
    subject: &'static str,
    /// What was found.
    text: String,
    /// What to do; empty where nothing is to be done.
    advice: String,
}

impl Diagnosis {
    pub(super) fn fine(subject: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Fine, subject, text: text.into(), advice: String::new() }
    }

    pub(super) fn odd(subject: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Odd, subject, text: text.into(), advice: advice.into() }
    }

    pub(super) fn wrong(subject: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Wrong, subject, text: text.into(), advice: advice.into() }
    }
}

/// What the checks look at.
#[derive(Debug, Default)]
struct Evidence {
    /// What the kernel says about the interfaces of this host.
    interfaces: Vec<system::Interface>,
    /// The interfaces that the node uses, by index.
    used: Vec<u32>,
    /// Interfaces that the node should use, but that do not exist.
    missing: Vec<String>,
    /// The processes that have UDP port 7017.
    holders: Vec<system::Holder>,
    /// The node is a temporary one of this command.
    standalone: bool,
    /// Sessions are possible.
    secure: bool,
    /// The node's address of more than link scope.
    address: Option<String>,
    /// What was heard while the doctor listened.
    heard: Heard,
    floods: Vec<FloodView>,
    /// The objectives that are registered here.
    objectives: Vec<Objective>,
    counters: Stats,
}

/// Multicasts while the doctor listened.
#[derive(Debug, Default)]
struct Heard {
    /// How many this node has sent.
    sent: u64,
    /// How many it has heard of its own.
    own: u64,
    /// The neighbours, by interface.
    neighbours: BTreeSet<(u32, Ipv6Addr)>,
    /// Neighbours that use this node's address as their own.
    impostors: BTreeSet<(u32, Ipv6Addr)>,
}

/// `grasp doctor`
pub(super) fn doctor(run: &mut Run<'_>, verb: &Doctor) -> Outcome {
    let heard = listen(run, Duration::from_millis(verb.listen.into()))?;
    let evidence = gather(run, heard);
    let found = checks::diagnose(&evidence);
    tell(&found, run.options.json, run.out)
}

/// Prints what was found. A problem is a failure.
pub(super) fn tell(found: &[Diagnosis], json: bool, out: &mut dyn Write) -> Outcome {
    for Diagnosis { level, subject, text, advice } in found {
        let level = word(*level);
        if json {
            let object = json!({ "level": level, "subject": subject, "text": text, "advice": advice });
            json_line(&object, out)?;
            continue;
        }
        writeln!(out, "{level:<5} {subject}: {text}")?;
        if !advice.is_empty() {
            writeln!(out, "      -> {advice}")?;
        }
    }
    out.flush()?;
    let wrong = found.iter().filter(|one| one.level == Level::Wrong).count();
    match wrong {
        0 => Ok(()),
        1 => Err(Failure::nothing("1 problem")),
        _ => Err(Failure::nothing(format!("{wrong} problems"))),
    }
}

const fn word(level: Level) -> &'static str {
    match level {
        Level::Fine => "ok",
        Level::Odd => "note",
        Level::Wrong => "WRONG",
    }
}

/// Listens, after a discovery of an objective that nobody has, so that this node can hear its own multicast.
fn listen(run: &mut Run<'_>, time: Duration) -> Result<Heard, Failure> {
    let trace = run.engine.trace();
    let until = Instant::now() + time;
    let before = run.engine.stats();
    let probe = Objective { loop_count: 1, ..Objective::new("grasp-doctor:probe") };
    let own_name = IpAddr::V6(run.engine.session_locator());
    let asa = run.asa()?;
    let options = Discover { flush: true, ..Discover::default() };
    // Without security this fails, which another check reports.
    let _ = asa.engine().discover(asa.nonce(), &probe, Some(500), options);
    let mut heard = Heard::default();
    let mut own_sessions = BTreeSet::new();
    while let Some(event) = next_event(&trace, until) {
        let Event::Message(message) = &event.event else { continue };
        if message.carrier != Carrier::Multicast {
            continue;
        }
        let decoded = decode(&message.bytes, &Limits { size: message.bytes.len(), ..Limits::default() });
        let identity = match decoded.map(|message| message.body) {
            Ok(Body::Discovery { initiator, session, .. }) => Some((initiator, session)),
            Ok(Body::Flood(flood)) => Some((flood.initiator, flood.session)),
            _ => None,
        };
        if message.direction == Direction::Out {
            own_sessions.extend(identity.map(|(_, session)| session));
            continue;
        }
        let neighbour = (message.ifi, *message.peer.ip());
        if run.engine.links().contains(&neighbour) {
            continue;
        }
        note(&mut heard.neighbours, neighbour);
        // What this node has sent may come back from a relay, with this node as its initiator.
        let is_impostor = identity
            .is_some_and(|(initiator, session)| initiator == own_name && !own_sessions.contains(&session));
        if is_impostor {
            note(&mut heard.impostors, neighbour);
        }
    }
    run.check_node()?;
    let after = run.engine.stats();
    heard.sent = after.multicast_sent.saturating_sub(before.multicast_sent);
    heard.own = after.own_multicast.saturating_sub(before.own_multicast);
    Ok(heard)
}

/// Adds a neighbour, of which there may be as many as somebody invents addresses.
fn note(neighbours: &mut BTreeSet<(u32, Ipv6Addr)>, neighbour: (u32, Ipv6Addr)) {
    if neighbours.len() < MOST_NEIGHBOURS {
        neighbours.insert(neighbour);
    }
}

/// What the node and the kernel say now.
fn gather(run: &Run<'_>, heard: Heard) -> Evidence {
    let engine = &run.engine;
    let state = engine.state();
    Evidence {
        interfaces: system::interfaces(),
        used: engine.links().into_iter().map(|(ifi, _)| ifi).collect(),
        missing: engine.missing_interfaces(),
        holders: system::holders(),
        standalone: run.options.standalone,
        secure: state.secure || state.dull,
        address: engine.my_address().map(|address| address.to_string()),
        heard,
        floods: engine.flood_cache(),
        objectives: engine.objectives().into_iter().map(|view| view.objective).collect(),
        counters: engine.stats(),
    }
}
