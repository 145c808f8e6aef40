//! DULL on several links: one instance per link (RFC 8990 §2.5.2). Instances start and end with their links.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::acp;
use crate::config::{Config, environment};
use crate::core::Core;
use crate::engine::Engine;
use crate::net::interfaces::{InUse, Link, snapshot};
use crate::start_error::StartError;
use crate::threads;

/// Runs one DULL instance for each link of this node, besides any other engines. An instance has one interface, shares
/// no data with others, and ends when its interface goes away (RFC 8990 §2.5.2). Dropping this ends all instances.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use grasp::{Asa, Config, DullInstances};
/// use std::time::Duration;
///
/// let config = Config::new().dull_objectives(Some(vec!["AN_ACP".to_owned()]));
/// let links = DullInstances::start(config)?;
/// let mut known = Vec::new();
/// loop {
///     let now = links.wait_for_change(&known, Duration::from_secs(60));
///     for new in now.iter().filter(|one| !known.contains(one)) {
///         let asa = Asa::register(&new.engine, "acp")?;
///         println!("{} is looked after by {}", new.interface, asa.nonce());
///     }
///     known = now;
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct DullInstances {
    core: Arc<Core>,
    running: Arc<Running>,
}

/// The instance of one link.
#[derive(Clone, Debug)]
pub struct DullInstance {
    /// The name of its interface.
    pub interface: String,
    /// The index of its interface.
    pub ifi: u32,
    /// The instance. Its calls return [`Error::Unspec`](crate::Error::Unspec) once the interface is gone.
    pub engine: Engine,
}

impl PartialEq for DullInstance {
    fn eq(&self, other: &Self) -> bool {
        self.ifi == other.ifi && self.engine.is_same(&other.engine)
    }
}

#[derive(Debug, Default)]
struct Running {
    instances: Mutex<BTreeMap<u32, DullInstance>>,
    changed: Condvar,
}

impl DullInstances {
    /// Starts an instance on each interface that the configuration permits, at most [`Config::interface_limit`], and
    /// later on each new one that appears. [`Config::dull`] need not be set.
    ///
    /// # Errors
    /// As [`Engine::start`]. Once the first instances have started, failed ones are tried again at each check of the
    /// interfaces.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let (config, adjusted) = config.dull(true).with_environment().feasible();
        let substrate = acp::substrate(&config.acp, environment::keys())?;
        let core = Arc::new(Core::new(config, substrate, adjusted));
        // From here on, dropping `all` ends what has been started.
        let all = Self { core, running: Arc::default() };
        let looked = look(&all.core, &all.running);
        if all.running.instances.lock().is_empty() {
            looked?;
            if !all.core.node.config.wait_for_interfaces {
                return Err(StartError::NoInterface);
            }
        }
        let running = Arc::clone(&all.running);
        threads::start_dull_watcher(&all.core, move |core| look(core, &running))
            .map_err(StartError::Thread)?;
        Ok(all)
    }

    /// The running instances, ordered by the index of their interface.
    #[must_use]
    pub fn instances(&self) -> Vec<DullInstance> {
        self.running.instances.lock().values().cloned().collect()
    }

    /// Waits until the running instances differ from `known`, but no longer than `time`. Returns the instances that run
    /// then.
    #[must_use]
    pub fn wait_for_change(&self, known: &[DullInstance], time: Duration) -> Vec<DullInstance> {
        let deadline = Instant::now().checked_add(time);
        let mut instances = self.running.instances.lock();
        loop {
            let now: Vec<_> = instances.values().cloned().collect();
            let over = match deadline {
                _ if now != known || self.core.is_stopping() => true,
                Some(deadline) => self.running.changed.wait_until(&mut instances, deadline).timed_out(),
                None => {
                    self.running.changed.wait(&mut instances);
                    false
                }
            };
            if over {
                return instances.values().cloned().collect();
            }
        }
    }

    /// Ends all instances. A second call does nothing.
    pub fn shutdown(&self) {
        self.core.shutdown();
        let instances = std::mem::take(&mut *self.running.instances.lock());
        self.running.changed.notify_all();
        for instance in instances.values() {
            instance.engine.shutdown();
        }
    }
}

impl Drop for DullInstances {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Checks the interfaces once: starts instances on new interfaces, and ends those of interfaces that have gone.
fn look(core: &Arc<Core>, running: &Running) -> Result<(), StartError> {
    let used =
        running.instances.lock().values().filter_map(|one| one.engine.links().first().copied()).collect();
    let used = InUse { link_locals: used, ..InUse::default() };
    // All interfaces, not just the one that a DULL instance uses.
    let config = Config::clone(&core.node.config).dull(false);
    let seen = snapshot(&config, core.substrate.as_ref(), &used).map_err(StartError::Interfaces)?;
    let is_there = |ifi: u32, name: &str| seen.links.iter().any(|link| link.ifi == ifi && link.name == name);
    let gone: Vec<_> = {
        let mut instances = running.instances.lock();
        let left = |(ifi, one): &(&u32, &DullInstance)| !is_there(**ifi, &one.interface);
        let left: Vec<u32> = instances.iter().filter(left).map(|(ifi, _)| *ifi).collect();
        left.into_iter().filter_map(|ifi| instances.remove(&ifi)).collect()
    };
    for instance in &gone {
        log::info!("the DULL instance of {} ends", instance.interface);
        instance.engine.shutdown();
    }
    let new: Vec<_> = {
        let instances = running.instances.lock();
        seen.links.iter().filter(|link| !instances.contains_key(&link.ifi)).collect()
    };
    let mut failure = None;
    for link in new {
        match start(core, link) {
            Ok(engine) => {
                log::info!("a DULL instance for {} starts", link.name);
                let instance = DullInstance { interface: link.name.clone(), ifi: link.ifi, engine };
                running.instances.lock().insert(link.ifi, instance);
            }
            // The interface is gone again, or not ready yet.
            Err(StartError::NoInterface) => {}
            Err(error) => failure = Some(error),
        }
    }
    running.changed.notify_all();
    failure.map_or(Ok(()), Err)
}

fn start(core: &Core, link: &Link) -> Result<Engine, StartError> {
    let config = Config::clone(&core.node.config).interfaces(Some(vec![link.name.clone()]));
    Engine::start(config.wait_for_interfaces(false))
}
