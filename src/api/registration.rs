//! Registering ASAs and objectives (RFC 8991 §2.3.3).

use std::io;
use std::sync::Arc;

use super::ports;
use crate::engine::{Engine, Here, here};
use crate::error::{Error, Result};
#[cfg(feature = "ipc")]
use crate::ipc::Form as _;
use crate::net::listener::Listener;
use crate::registry::{Close, Registration};
use crate::threads;
use crate::types::{AsaLocator, AsaNonce, Locator, Objective};
use crate::wire::WireLocator;

/// The options of [`Engine::register_obj`], with graspy's defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegisterObj {
    /// How long discovered locators of the objective are valid, in milliseconds. `None` and 0 mean the default,
    /// [`Config::objective_ttl`](crate::Config::objective_ttl).
    pub ttl: Option<u32>,
    /// Answer discoveries from the registration on; otherwise only while the ASA listens.
    pub discoverable: bool,
    /// Other ASAs may register the same objective, if all of them say so.
    pub overlap: bool,
    /// Announce the link-local address: the objective is for the link only.
    pub local: bool,
    /// Answer discoveries in rapid mode (RFC 8990 §2.5.4.5): with the value, if the objective is synchronized; with the
    /// first step of the negotiation, if it is negotiated and
    /// [`Config::rapid_negotiation`](crate::Config::rapid_negotiation) is on.
    pub rapid: bool,
    /// Announce these locators, verbatim and in this order, instead of this node's addresses.
    pub locators: Vec<AsaLocator>,
    /// The TCP port of an objective that is negotiated or synchronized. Defaults to any free one.
    pub port: Port,
}

/// The TCP port that an objective gets.
///
/// Peers that have discovered an objective keep its port for the lifetime of its locator, 10 minutes by default. An
/// ASA that restarts on the same port is reached by them without a new discovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Port {
    /// Any free port.
    #[default]
    Any,
    /// This port; [`Error::PortTaken`] if it is not available.
    Fixed(u16),
    /// The port that an objective of this name had last, if it is free. Otherwise, for instance after a restart of the
    /// program, the first free one of eight ports from 61000 to 65534 that are calculated from the name: Linux does not
    /// give these to outgoing connections. If none of them is free, any free port.
    Last,
}

impl Engine {
    /// Registers an ASA (RFC 8991 §2.3.3.1; graspy's `register_asa`). The name is unique in the engine.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let engine = grasp::Engine::start(grasp::Config::new())?;
    /// let asa = engine.register_asa("Gray")?;
    /// engine.deregister_asa(asa, "Gray")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::AsaFull`], [`Error::DupAsa`]: a retry helps once another ASA is gone. [`Error::NoRandom`]: a retry may help
    /// later.
    pub fn register_asa(&self, name: &str) -> Result<AsaNonce> {
        self.register_asa_as(name, None)
    }

    /// Like `register_asa`, but with the handle that the ASA had in an earlier run of the node.
    ///
    /// # Errors
    /// [`Error::DupAsa`] also if the handle is in use.
    pub(super) fn register_asa_as(&self, name: &str, wanted: Option<AsaNonce>) -> Result<AsaNonce> {
        let here = here!(self, node => node.ask("register_asa", &[name.form(), wanted.form()]));
        here.core.check_running()?;
        let node = &here.core.node;
        let nonce = match wanted {
            None => AsaNonce(node.new_id()?),
            Some(nonce) if node.is_free(nonce) => nonce,
            Some(_) => return Err(Error::DupAsa),
        };
        node.registries.asas.register(nonce, name)?;
        Ok(nonce)
    }

    /// Deregisters an ASA (RFC 8991 §2.3.3.2; graspy's `deregister_asa`), and its objectives, unless another ASA has
    /// registered them, too; calls that listen for them return [`Error::NoSession`]. The ASA's open sessions end, because
    /// nobody could end them without the handle: their peers see the connections close.
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// let asa = grasp::register_asa("Gray")?;
    /// // Another handle, or another name, is refused.
    /// assert!(grasp::deregister_asa(asa, "Briggs").is_err());
    /// grasp::deregister_asa(asa, "Gray")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoAsa`] if no ASA has this name, [`Error::NotYourAsa`] if another has it. A retry does not help.
    pub fn deregister_asa(&self, nonce: AsaNonce, name: &str) -> Result<()> {
        let here = here!(self, node => node.ask("deregister_asa", &[nonce.form(), name.form()]));
        here.core.check_running()?;
        here.core.node.registries.asas.deregister(nonce, name)?;
        for listener in here.core.node.registries.objectives.deregister_all(nonce) {
            listener.close();
        }
        for exchange in here.core.node.registries.sessions.end_owned(nonce) {
            exchange.transport.close();
        }
        here.core.node.registries.asas.left(nonce);
        Ok(())
    }

    /// Registers an objective (RFC 8991 §2.3.3.3 `register_objective`; graspy's `register_obj`). An objective that can
    /// be negotiated or synchronized gets a TCP port of its own, which takes a thread and a descriptor. The port accepts
    /// IPv6 only, unless one of the locators to announce is an IPv4 address.
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// use grasp::{Objective, Port, RegisterObj};
    ///
    /// let asa = grasp::register_asa("Briggs")?;
    /// let mut money = Objective::new("EX3");
    /// money.neg = true;
    /// let options = RegisterObj { ttl: Some(30_000), port: Port::Last, ..RegisterObj::default() };
    /// grasp::register_obj(asa, &money, options)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// In this order: [`Error::NoAsa`], [`Error::NotBoth`], [`Error::NotDry`], [`Error::ObjFull`],
    /// [`Error::ObjReg`]; then [`Error::InvalidLoc`] for a locator that cannot be sent; [`Error::PortTaken`] for a fixed
    /// port, if another ASA has registered the objective on another port; [`Error::OtherNamespace`]; `PortTaken` if the
    /// fixed port is not available; `ObjFull` if no port or thread is left. A retry helps with `ObjFull` and `ObjReg` once
    /// another objective is gone, with `PortTaken` once the port is free.
    pub fn register_obj(&self, nonce: AsaNonce, objective: &Objective, options: RegisterObj) -> Result<()> {
        let here =
            here!(self, node => node.ask("register_obj", &[nonce.form(), objective.form(), options.form()]));
        here.check_asa(nonce)?;
        if objective.synch && (objective.neg || objective.dry) {
            return Err(Error::NotBoth);
        }
        if objective.dry && !objective.neg {
            return Err(Error::NotDry);
        }
        let objectives = &here.core.node.registries.objectives;
        let adds_owner = objectives.may_register(&objective.name, options.overlap)?;
        if options.locators.iter().any(|locator| WireLocator::from_locator(locator).is_none()) {
            return Err(Error::InvalidLoc);
        }
        let mut registration = Registration {
            ttl: options.ttl.filter(|ttl| *ttl > 0).unwrap_or(here.core.node.config.objective_ttl),
            discoverable: options.discoverable,
            overlap: options.overlap,
            local: options.local,
            rapid: options.rapid,
            locators: options.locators,
            port: 0,
            listener: None,
        };
        if adds_owner {
            here.check_port(&objective.name, options.port)?;
        }
        if !(adds_owner && objectives.add_owner(nonce, &objective.name)) {
            if objective.neg || objective.synch {
                let ipv4 = |locator: &AsaLocator| matches!(locator.locator, Some(Locator::Ipv4(_)));
                let ipv4 = registration.locators.iter().any(ipv4);
                here.core.check_namespace()?;
                let listener = here.listen(ports::open(&objective.name, options.port, ipv4)?)?;
                registration.port =
                    listener.port().map_err(|_| Error::ObjFull).inspect_err(|_| listener.close())?;
                registration.listener = Some(listener);
            }
            here.enter(nonce, objective, registration)?;
        }
        // A concurrent deregistration of the ASA, or shutdown, may have missed this objective: then it goes here.
        here.check_asa(nonce).inspect_err(|_| {
            if let Ok(Some(listener)) = objectives.deregister(nonce, &objective.name) {
                listener.close();
            }
        })
    }

    /// Deregisters an objective (RFC 8991 §2.3.3.4 `deregister_objective`; graspy's `deregister_obj`), by its
    /// name. It is gone once its last owner has deregistered it.
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// let asa = grasp::register_asa("Briggs")?;
    /// let money = grasp::Objective::new("EX3");
    /// grasp::register_obj(asa, &money, Default::default())?;
    /// grasp::deregister_obj(asa, &money)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoAsa`], [`Error::NotObj`] if nobody has registered it, [`Error::NotYourObj`] if others have.
    /// A retry does not help.
    pub fn deregister_obj(&self, nonce: AsaNonce, objective: &Objective) -> Result<()> {
        let here = here!(self, node => node.ask("deregister_obj", &[nonce.form(), objective.name.form()]));
        here.check_asa(nonce)?;
        if let Some(listener) = here.core.node.registries.objectives.deregister(nonce, &objective.name)? {
            listener.close();
        }
        Ok(())
    }
}

impl Here {
    /// Enters an objective into the registry, and closes its listener if the registry does not need it.
    fn enter(&self, nonce: AsaNonce, objective: &Objective, registration: Registration) -> Result<()> {
        let listener = registration.listener.clone();
        let entered = self.core.node.registries.objectives.register(nonce, objective, registration);
        let unused = entered.as_ref().map_or(listener, |unused| unused.clone());
        if let Some(listener) = unused {
            listener.close();
        }
        entered.map(|_| ())
    }

    /// Returns `PortTaken` if the objective is registered already, on another port than the fixed one that is wanted.
    fn check_port(&self, name: &str, wanted: Port) -> Result<()> {
        let Port::Fixed(wanted) = wanted else { return Ok(()) };
        let views = self.core.node.registries.objectives.list();
        let other = views.iter().find(|view| view.objective.name == name && view.port != wanted);
        match other {
            Some(view) if view.port != 0 => Err(Error::PortTaken {
                port: wanted,
                cause: Arc::new(io::Error::other(format!("{name} is registered on port {}", view.port))),
            }),
            _ => Ok(()),
        }
    }

    fn listen(&self, listener: Listener) -> Result<Arc<Listener>> {
        let listener = Arc::new(listener);
        if threads::start_tcp_listen(&self.core, Arc::clone(&listener)).is_err() {
            self.core.check_running()?;
            return Err(Error::ObjFull);
        }
        Ok(listener)
    }
}
