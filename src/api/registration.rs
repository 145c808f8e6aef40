//! Registering ASAs and objectives (RFC 8991 §2.3.3).

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::net::listener::Listener;
use crate::registry::{Close, Registration};
use crate::threads;
use crate::types::{AsaLocator, AsaNonce, Objective};
use crate::wire::WireLocator;

/// What [`Engine::register_obj`] takes besides the objective, with graspy's defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegisterObj {
    /// How long discovered locators of the objective are valid, in milliseconds. None and 0 are the default,
    /// [`Config::objective_ttl`](crate::Config::objective_ttl).
    pub ttl: Option<u32>,
    /// Answer discoveries at once and always; otherwise while the ASA listens.
    pub discoverable: bool,
    /// Other ASAs may register the same objective, if all of them say so.
    pub overlap: bool,
    /// Announce the link-local address: the objective is for the link only.
    pub local: bool,
    /// Put the value into responses to discoveries. For synchronization only.
    pub rapid: bool,
    /// Announce these locators, verbatim and in this order, instead of this node's address.
    pub locators: Vec<AsaLocator>,
}

impl Engine {
    /// Registers an ASA (RFC 8991 §2.3.3.1; graspy's `register_asa`). The name is unique in the engine.
    ///
    /// # Errors
    /// [`Error::AsaFull`], [`Error::DupAsa`]: a retry helps once another ASA is gone.
    pub fn register_asa(&self, name: &str) -> Result<AsaNonce> {
        self.core.check_running()?;
        let nonce = AsaNonce(self.core.node.new_id()?);
        self.core.node.registries.asas.register(nonce, name)?;
        Ok(nonce)
    }

    /// Deregisters an ASA (RFC 8991 §2.3.3.2; graspy's `deregister_asa`) and takes it off its objectives.
    /// Those without another owner vanish; calls that listen for them return [`Error::NoSession`]. The ASA's open
    /// sessions end: without the handle nobody could end them, and the peer sees the connection close.
    ///
    /// # Errors
    /// [`Error::NoAsa`] if no ASA has this name, [`Error::NotYourAsa`] if another has it. A retry does not help.
    pub fn deregister_asa(&self, nonce: AsaNonce, name: &str) -> Result<()> {
        self.core.check_running()?;
        self.core.node.registries.asas.deregister(nonce, name)?;
        for listener in self.core.node.registries.objectives.deregister_all(nonce) {
            listener.close();
        }
        for dialogue in self.core.node.registries.sessions.end_owned(nonce) {
            dialogue.transport.close();
        }
        Ok(())
    }

    /// Registers an objective (RFC 8991 §2.3.3.3 `register_objective`; graspy's `register_obj`). One that can
    /// be negotiated or synchronized gets a TCP port of its own, with a thread and two descriptors: Linux sets one aside for
    /// the connection that the thread waits for.
    ///
    /// # Errors
    /// In this order: [`Error::NoAsa`], [`Error::NotBoth`], [`Error::NotDry`], [`Error::ObjFull`],
    /// [`Error::ObjReg`]; then [`Error::InvalidLoc`] for a locator that cannot be sent, and [`Error::OtherNamespace`]. A retry helps with
    /// `ObjFull` and `ObjReg` once another objective is gone.
    pub fn register_obj(&self, nonce: AsaNonce, objective: &Objective, options: RegisterObj) -> Result<()> {
        self.check_asa(nonce)?;
        if objective.synch && (objective.neg || objective.dry) {
            return Err(Error::NotBoth);
        }
        if objective.dry && !objective.neg {
            return Err(Error::NotDry);
        }
        let objectives = &self.core.node.registries.objectives;
        let adds_owner = objectives.may_register(&objective.name, options.overlap)?;
        if options.locators.iter().any(|locator| WireLocator::from_locator(locator).is_none()) {
            return Err(Error::InvalidLoc);
        }
        let mut registration = Registration {
            ttl: options.ttl.filter(|ttl| *ttl > 0).unwrap_or(self.core.node.config.objective_ttl),
            discoverable: options.discoverable,
            overlap: options.overlap,
            local: options.local,
            rapid: options.rapid,
            locators: options.locators,
            port: 0,
            listener: None,
        };
        if !(adds_owner && objectives.add_owner(nonce, &objective.name)) {
            if objective.neg || objective.synch {
                let listener = self.listen()?;
                registration.port =
                    listener.port().map_err(|_| Error::ObjFull).inspect_err(|_| listener.close())?;
                registration.listener = Some(listener);
            }
            self.enter(nonce, objective, registration)?;
        }
        // Deregistration of the ASA and shutdown take what they find: what came just then goes by itself.
        self.check_asa(nonce).inspect_err(|_| {
            if let Ok(Some(listener)) = objectives.deregister(nonce, &objective.name) {
                listener.close();
            }
        })
    }

    /// Enters an objective into the registry, and closes its socket if that is of no use.
    fn enter(&self, nonce: AsaNonce, objective: &Objective, registration: Registration) -> Result<()> {
        let listener = registration.listener.clone();
        let entered = self.core.node.registries.objectives.register(nonce, objective, registration);
        let unused = entered.as_ref().map_or(listener, |unused| unused.clone());
        if let Some(listener) = unused {
            listener.close();
        }
        entered.map(|_| ())
    }

    fn listen(&self) -> Result<Arc<Listener>> {
        self.core.check_namespace()?;
        let listener = Listener::any().map(Arc::new).map_err(|error| {
            log::warn!("no port for an objective: {error}");
            Error::ObjFull
        })?;
        if threads::start_tcp_listen(&self.core, Arc::clone(&listener)).is_err() {
            self.core.check_running()?;
            return Err(Error::ObjFull);
        }
        Ok(listener)
    }

    /// Deregisters an objective (RFC 8991 §2.3.3.4 `deregister_objective`; graspy's `deregister_obj`), by its
    /// name. It vanishes with its last owner.
    ///
    /// # Errors
    /// [`Error::NoAsa`], [`Error::NotObj`] if nobody has registered it, [`Error::NotYourObj`] if others have.
    /// A retry does not help.
    pub fn deregister_obj(&self, nonce: AsaNonce, objective: &Objective) -> Result<()> {
        self.check_asa(nonce)?;
        if let Some(listener) = self.core.node.registries.objectives.deregister(nonce, &objective.name)? {
            listener.close();
        }
        Ok(())
    }
}
