//! What a verb runs with: the engine, an ASA of its own once it needs one, and where it prints.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::command::Options;
use super::failure::{Failure, Outcome, Status};
use super::output::{Table, json_line};
use crate::api::Asa;
use crate::config::Config;
use crate::engine::Engine;
use crate::error::Error;
use crate::ipc;
use crate::start_error::StartError;
use crate::trace::{Trace, TraceEvent};
use crate::types::{AsaNonce, Objective};

/// How often a verb looks again at a state whose changes cause no event.
pub(super) const LOOK: Duration = Duration::from_millis(250);

/// How long a temporary node listens by default before it reports that there is nothing, in milliseconds.
const SETTLE: u32 = 3000;

/// A run of a verb.
pub(super) struct Run<'a> {
    pub(super) engine: Engine,
    asa: Option<Asa>,
    pub(super) out: &'a mut dyn Write,
    pub(super) options: Options,
}

impl<'a> Run<'a> {
    pub(super) fn new(engine: Engine, out: &'a mut dyn Write, options: Options) -> Self {
        Self { engine, asa: None, out, options }
    }

    /// The ASA of this run. Its name is unique: several runs may use one node at a time.
    pub(super) fn asa(&mut self) -> Result<&Asa, Failure> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if self.asa.is_none() {
            let name = format!("grasp-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            self.asa = Some(Asa::register(&self.engine, &name)?);
        }
        self.asa.as_ref().ok_or_else(|| Failure::new(Status::NoNode, "no ASA"))
    }

    /// Prints a line.
    pub(super) fn say(&mut self, line: impl std::fmt::Display) -> Outcome {
        writeln!(self.out, "{line}")?;
        Ok(self.out.flush()?)
    }

    /// Prints an object on one line.
    pub(super) fn json(&mut self, object: &Json) -> Outcome {
        json_line(object, self.out)?;
        Ok(self.out.flush()?)
    }

    /// Prints a table, or its objects.
    pub(super) fn show(&mut self, (table, objects): &(Table, Vec<Json>)) -> Outcome {
        if self.options.json {
            return objects.iter().try_for_each(|object| self.json(object));
        }
        table.print(self.out)?;
        Ok(self.out.flush()?)
    }

    /// When `--timeout` is over, if it was given.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.options.timeout.map(in_time)
    }

    /// Until when to wait for something that is not there yet: for `--timeout`, or for a while if the node has only
    /// just started.
    pub(super) fn patience(&self) -> Instant {
        let standing = if self.options.standalone { SETTLE } else { 0 };
        in_time(self.options.timeout.unwrap_or(standing))
    }

    /// Waits for the next moment to look again: an event that is of interest, or a while. `false` once the deadline has passed.
    pub(super) fn wait(
        &self,
        trace: &Trace,
        deadline: Option<Instant>,
        is_of_interest: impl Fn(&crate::trace::Event) -> bool,
    ) -> bool {
        let look = Instant::now() + LOOK;
        let until = deadline.map_or(look, |deadline| deadline.min(look));
        loop {
            match next_event(trace, until) {
                Some(event) if is_of_interest(&event.event) => break,
                Some(_) => {}
                None => {
                    // If the trace has ended, nothing else waits here.
                    std::thread::sleep(until.saturating_duration_since(Instant::now()));
                    break;
                }
            }
        }
        deadline.is_none_or(|deadline| Instant::now() < deadline)
    }

    /// Checks that the node is there, and lets this user look inside. Otherwise views are empty, which says nothing about the
    /// network.
    pub(super) fn check_node(&self) -> Outcome {
        if !self.engine.state().stopped {
            return Ok(());
        }
        // The error of any call tells which of the two is the case.
        let probe = self.engine.get_flood(AsaNonce::from_id(0), &Objective::new("grasp:probe"));
        Err(match probe {
            Err(Error::NodeGone | Error::Stopped) => Failure::new(Status::NoNode, "the node has gone"),
            _ => Failure::new(Status::Refused, "the node does not let this user look inside"),
        })
    }
}

/// Waits for the next event. `None` once the time has come, even if more events are there: on a busy node they never end.
/// `None` also where the events have ended.
pub(super) fn next_event(trace: &Trace, until: Instant) -> Option<Arc<TraceEvent>> {
    let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
    trace.recv_timeout(left).ok()
}

/// This many milliseconds from now.
fn in_time(milliseconds: u32) -> Instant {
    Instant::now() + Duration::from_millis(milliseconds.into())
}

/// The engine that the options ask for: that of this host's node, or a temporary one.
pub(super) fn engine(options: &Options) -> Result<Engine, Failure> {
    if !options.standalone {
        return connect(options);
    }
    let interfaces = (!options.interface.is_empty()).then(|| options.interface.clone());
    Ok(Engine::start(Config::new().interfaces(interfaces))?)
}

/// The socket of the node of this host.
pub(super) fn socket(options: &Options) -> PathBuf {
    options.socket.clone().unwrap_or_else(ipc::default_path)
}

/// The failure if no node answers at a socket.
pub(super) fn no_node(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    let path = path.display();
    let text = format!(
        "no node answers at {path} ({why}): start graspd, or make this command a node with --standalone"
    );
    Failure::new(Status::NoNode, text)
}

/// Connects to the node of this host.
fn connect(options: &Options) -> Result<Engine, Failure> {
    Engine::connect(socket(options)).map_err(|error| match error {
        StartError::NoNode { path, cause } => no_node(&path, &cause),
        StartError::NodeRefuses(why) => Failure::new(Status::Refused, why),
        error => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Event, Tracer};

    #[test]
    fn a_node_that_is_never_quiet_does_not_prolong_a_wait() {
        let tracer = Tracer::default();
        let trace = tracer.subscribe(10);
        for _ in 0..10 {
            tracer.emit(|| Event::Line("busy".into()));
        }
        assert!(next_event(&trace, Instant::now() + Duration::from_secs(60)).is_some());
        assert!(next_event(&trace, Instant::now()).is_none(), "the time has come");
    }
}
