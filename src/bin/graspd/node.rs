//! The running node: the normal instance, the DULL instances, the static objectives, the socket for processes, the metrics.
//! `main` starts, reloads and stops it.

use std::io;
use std::sync::Arc;

use grasp::{DullInstance, DullInstances, Engine, StartError};

use crate::clients::Clients;
use crate::configuration::Configuration;
use crate::logging;
use crate::metrics::{Gauges, Instance, Metrics, Source};
use crate::publish::Publisher;
use crate::statics::Static;

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Node {
    configuration: Configuration,
    running: Arc<Running>,
    publisher: Publisher,
    links: Vec<(DullInstance, Publisher)>,
    metrics: Option<Metrics>,
}

/// The parts that the thread of the metrics uses, too.
#[derive(Debug)]
struct Running {
    engine: Engine,
    dull: Option<DullInstances>,
    clients: Clients,
}

/// Why the node cannot start.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An engine cannot start.
    Engine(StartError),
    /// Another graspd serves the socket.
    Twice(String),
    /// Anything else, as a sentence.
    Other(String),
}

impl Node {
    /// Starts everything, or nothing.
    pub(crate) fn start(configuration: Configuration) -> Result<Self, Failure> {
        let plan = Clients::plan(&configuration.settings)?;
        let engine = Engine::start(configuration.engine()).map_err(Failure::Engine)?;
        let dull = configuration.dull().map(DullInstances::start).transpose().map_err(Failure::Engine)?;
        let mut publisher = Publisher::new(&engine)
            .map_err(|error| Failure::Other(format!("no ASA for static objectives: {error}")))?;
        let (_, normal) = split(&configuration.objectives);
        publisher.replace(&normal).map_err(|(name, error)| {
            Failure::Other(format!("the objective {name} cannot be published: {error}"))
        })?;
        let clients = plan.start(&engine, &configuration.access)?;
        let running = Arc::new(Running { engine, dull, clients });
        let metrics = start_metrics(&configuration, &running).map_err(Failure::Other)?;
        let mut node = Self { configuration, running, publisher, links: Vec::new(), metrics };
        node.look();
        Ok(node)
    }

    /// Adapts the static objectives to changes of addresses and links.
    pub(crate) fn look(&mut self) {
        self.publisher.look();
        let Some(dull) = &self.running.dull else { return };
        let now = dull.instances();
        self.links.retain(|(instance, _)| now.contains(instance));
        for instance in now {
            if self.links.iter().any(|(known, _)| *known == instance) {
                continue;
            }
            let (wanted, _) = split(&self.configuration.objectives);
            let published = Publisher::new(&instance.engine).map_err(|error| error.to_string()).and_then(
                |mut publisher| {
                    let replaced = publisher.replace(&wanted);
                    replaced.map(|()| publisher).map_err(|(name, error)| format!("{name}: {error}"))
                },
            );
            match published {
                Ok(publisher) => self.links.push((instance, publisher)),
                // The link may have gone just now.
                Err(error) => log::warn!("nothing is flooded on {}: {error}", instance.interface),
            }
        }
    }

    /// Applies another configuration, as far as that is possible while the node runs. Returns the changed keys that need a
    /// restart.
    ///
    /// # Errors
    /// A sentence; then everything is as before.
    pub(crate) fn reload(&mut self, new: Configuration) -> Result<Vec<String>, String> {
        let new_metrics = if new.metrics() == self.configuration.metrics() {
            None
        } else {
            Some(start_metrics(&new, &self.running)?)
        };
        self.replace_objectives(&new.objectives)?;
        if let Some(metrics) = new_metrics {
            self.metrics = metrics;
        }
        // Those of another directory are for after a restart, as everything else about the ACP.
        let directory = |of: &Configuration| of.settings.text("acp", "credentials");
        if let (Some(kept), Some(read)) = (self.configuration.credentials(), new.credentials())
            && directory(&new) == directory(&self.configuration)
        {
            kept.replace(read.current());
        }
        self.running.clients.set_access(&new.access);
        logging::set_level(new.log_level());
        let restart = new.settings.need_a_restart(&self.configuration.settings);
        self.configuration = new.reloaded_over(&self.configuration);
        Ok(restart)
    }

    fn replace_objectives(&mut self, objectives: &[Static]) -> Result<(), String> {
        let (on_links, normal) = split(objectives);
        let (links_before, before) = split(&self.configuration.objectives);
        let said = |(name, error): (String, grasp::Error)| {
            format!("the objective {name} cannot be published: {error}")
        };
        self.publisher.replace(&normal).map_err(said)?;
        for (instance, publisher) in &mut self.links {
            // If the link has just gone, this is not a failure.
            if let Err(failure) = publisher.replace(&on_links)
                && !instance.engine.state().stopped
            {
                let failure = said(failure);
                self.take_back(&before, &links_before);
                return Err(failure);
            }
        }
        Ok(())
    }

    fn take_back(&mut self, normal: &[Static], on_links: &[Static]) {
        let publishers = self.links.iter_mut().map(|(_, publisher)| (publisher, on_links));
        for (publisher, wanted) in std::iter::once((&mut self.publisher, normal)).chain(publishers) {
            if let Err((name, error)) = publisher.replace(wanted) {
                log::error!("the objective {name} is not published any more: {error}");
            }
        }
    }

    /// The status, in one line.
    pub(crate) fn status(&self) -> String {
        let engine = &self.running.engine;
        let secure = if engine.state().secure { "" } else { ", no secure substrate" };
        format!(
            "{} on {}, {} of processes, {} of files{secure}",
            count(self.running.clients.count(), "process", "processes"),
            count(engine.links().len(), "interface", "interfaces"),
            count(
                engine.objectives().len().saturating_sub(self.publisher.count()),
                "objective",
                "objectives"
            ),
            self.publisher.count() + self.links.iter().map(|(_, publisher)| publisher.count()).sum::<usize>(),
        )
    }

    /// Where processes connect.
    pub(crate) fn socket(&self) -> String {
        self.running.clients.path()
    }

    /// Ends everything. Peers and processes see their connections close.
    pub(crate) fn stop(self) {
        drop(self.metrics);
        self.running.clients.stop();
        drop(self.links);
        drop(self.publisher);
        if let Some(dull) = &self.running.dull {
            dull.shutdown();
        }
        self.running.engine.shutdown();
    }
}

/// A number with its noun.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Separates the objectives for DULL from the others.
fn split(objectives: &[Static]) -> (Vec<Static>, Vec<Static>) {
    objectives.iter().cloned().partition(|one| one.dull)
}

fn start_metrics(configuration: &Configuration, running: &Arc<Running>) -> Result<Option<Metrics>, String> {
    let Some(place) = configuration.metrics() else { return Ok(None) };
    let weak = Arc::downgrade(running);
    let source: Arc<Source> = Arc::new(move || {
        weak.upgrade().map_or_else(
            || (Vec::new(), Gauges::default()),
            |running| {
                let links = running.dull.iter().flat_map(DullInstances::instances);
                let links = links.map(|one| (one.interface.clone(), one.engine));
                let instances: Vec<Instance> =
                    std::iter::once((String::new(), running.engine.clone())).chain(links).collect();
                (instances, Gauges { clients: running.clients.count() })
            },
        )
    });
    let served = Metrics::serve(&place, source);
    let sentence = |error: io::Error| {
        let key = configuration.settings.text("metrics", "listen").unwrap_or_default();
        format!("metrics cannot be served at {key}: {error}")
    };
    served.map(Some).map_err(sentence)
}
