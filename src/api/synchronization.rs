//! Synchronization (RFC 8990 §2.5.6, RFC 8991 §2.3.6): getting values from peers, and serving them.

use std::sync::Arc;
use std::time::Instant;

use super::reach::{Failures, Reached};
use super::{Asa, Peer, step};
use crate::engine::{Engine, Here, here};
use crate::error::{Error, Result};
#[cfg(feature = "ipc")]
use crate::ipc::Form as _;
use crate::node::{SynchReply, synch_reply};
use crate::registry::{Exchange, TransportError};
use crate::threads;
use crate::trace::Ending;
use crate::types::{AsaLocator, AsaNonce, Objective, TaggedObjective};
use crate::wire::Body;

/// The result of [`Asa::synchronize`]: a value and its source.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Synchronized {
    /// The objective with its value.
    pub objective: Objective,
    /// The source of the value.
    pub source: Source,
}

/// The source of a value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Source {
    /// It was flooded with this locator, or [`AsaLocator::null`] if the flood had none. `expire` says until when the value is
    /// valid.
    Flooded(AsaLocator),
    /// It came from this peer.
    Peer(Peer),
}

impl Asa {
    /// Gets the current value of an objective, with its source; see [`Engine::synchronize`].
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// use grasp::Source;
    ///
    /// let asa = grasp::Asa::new("Gray")?;
    /// let mut time = grasp::Objective::new("Time");
    /// time.synch = true;
    /// let got = asa.synchronize(&time, None, Some(5000))?;
    /// match got.source {
    ///     Source::Flooded(locator) => println!("{} was flooded by {locator}", got.objective.value),
    ///     Source::Peer(peer) => println!("{} is from {:?}", got.objective.value, peer.address),
    ///     _ => {}
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Engine::synchronize`].
    pub fn synchronize(
        &self,
        objective: &Objective,
        peer: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<Synchronized> {
        self.engine().synchronize_with(self.nonce(), objective, peer, timeout)
    }
}

impl Engine {
    /// Gets the current value of an objective (RFC 8991 §2.3.6; graspy's `synchronize`). The ASA need not have
    /// registered it. With a locator, that peer is asked. Without a locator, this returns the valid flooded value that was
    /// received last, if there is one. Otherwise it discovers a peer, whose response may contain the value (rapid mode), and
    /// asks it; if that peer cannot be reached, it discovers another one. Waits `timeout` milliseconds for the discovery, and
    /// again for the answer; 60000 by default.
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// let asa = grasp::register_asa("Gray")?;
    /// let mut time = grasp::Objective::new("Time");
    /// time.synch = true;
    /// // From the flood cache if it is there, otherwise from a peer.
    /// let time = grasp::synchronize(asa, &time, None, Some(5000))?;
    /// println!("it is {}", time.value_as::<String>()?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// In this order: [`Error::NoAsa`], [`Error::NotSynch`], [`Error::NoSecurity`] (a DULL instance can read
    /// flooded values); [`Error::OtherNamespace`], unless the value is flooded; [`Error::NoRandom`], [`Error::NotFloodDisc`],
    /// [`Error::TooLarge`], [`Error::SockErrSynRq`], [`Error::SessionLimit`]; [`Error::NoListener`], [`Error::CborFail`],
    /// [`Error::NoValidSynch`], [`Error::NoSynchReply`]. A retry may help with `NoRandom`, `NotFloodDisc`, `SockErrSynRq`,
    /// `SessionLimit`, `NoListener` and `NoSynchReply`.
    pub fn synchronize(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        locator: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<Objective> {
        self.synchronize_with(nonce, objective, locator, timeout).map(|got| got.objective)
    }

    /// Like `synchronize`, but also returns the source of the value.
    pub(super) fn synchronize_with(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        locator: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<Synchronized> {
        let here = here!(self, node => node.ask("synchronize", &[nonce.form(), objective.form(), locator.form(), timeout.form()]));
        here.check_asa(nonce)?;
        if !objective.synch {
            return Err(Error::NotSynch);
        }
        here.check_secure_or_dull([objective.name.as_str()])?;
        if locator.is_none() {
            let flooded = here.core.node.registries.floods.lookup(&objective.name, here.core.now());
            if let Some(tagged) = flooded.into_iter().rfind(|tagged| tagged.objective.synch) {
                let TaggedObjective { objective, source } = tagged;
                return Ok(Synchronized { objective, source: Source::Flooded(source) });
            }
        }
        here.check_secure()?;
        here.core.check_namespace()?;
        if locator.is_none()
            && here.core.node.config.rapid_synch_message
            && let Some(answer) = here.ask_rapidly(objective)?
            && let Some(id) = answer.message.session()
            && let SynchReply::Value(value) = synch_reply(id, &objective.name, Ok(answer.message))
        {
            let peer = Peer::of(answer.transport.as_ref(), None);
            return Ok(Synchronized { objective: value, source: Source::Peer(peer) });
        }
        here.request_value(nonce, objective, locator, timeout)
    }

    /// Serves the value of an objective of this ASA to whoever asks (RFC 8991 §2.3.6; graspy's
    /// `listen_synchronize`). Returns at once. The objective can be discovered from now on. A later call
    /// replaces the value; loop count and flags stay as they were.
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// let asa = grasp::register_asa("Clock")?;
    /// let mut time = grasp::Objective::new("Time").with_value("12:00")?;
    /// time.synch = true;
    /// grasp::register_obj(asa, &time, Default::default())?;
    /// grasp::listen_synchronize(asa, &time)?;
    /// // From now on another value:
    /// grasp::listen_synchronize(asa, &time.with_value("12:01")?)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotBoth`], [`Error::NotSynch`], [`Error::NoAsa`], [`Error::NotYourObj`], [`Error::NoSecurity`];
    /// [`Error::TooLarge`], [`Error::NoThread`]. A retry helps with `NoSecurity` once the substrate is up, and may help later
    /// with `NoThread`.
    pub fn listen_synchronize(&self, nonce: AsaNonce, objective: &Objective) -> Result<()> {
        let here = here!(self, node => node.ask("listen_synchronize", &[nonce.form(), objective.form()]));
        here.check_asa_obj(nonce, objective, true)?;
        here.check_secure()?;
        here.encode_unicast(Body::Synch(step(u32::MAX, objective)))?;
        let objectives = &here.core.node.registries.objectives;
        let queue = here.core.node.config.request_queue;
        if let Some(requests) = objectives.begin_synchronization(nonce, objective, queue)? {
            let started = threads::start_synch_listen(&here.core, objective.name.clone(), requests);
            started.map_err(|error| {
                objectives.stop_synchronize(nonce, &objective.name);
                here.no_thread(error)
            })?;
        }
        Ok(())
    }

    /// Stops serving the value (RFC 8991 §2.3.6 `stop_listen_synchronize`; graspy's `stop_synchronize`). The
    /// objective can no longer be discovered, unless it was registered as discoverable. Further requests are refused.
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// # let (asa, time) = (grasp::register_asa("Clock")?, grasp::Objective::new("Time"));
    /// grasp::listen_synchronize(asa, &time)?;
    /// grasp::stop_synchronize(asa, &time)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotBoth`], [`Error::NotSynch`], [`Error::NoAsa`], [`Error::NotYourObj`]. A retry does not help.
    pub fn stop_synchronize(&self, nonce: AsaNonce, objective: &Objective) -> Result<()> {
        let here = here!(self, node => node.ask("stop_synchronize", &[nonce.form(), objective.form()]));
        here.check_asa_obj(nonce, objective, true)?;
        here.core.node.registries.objectives.stop_synchronize(nonce, &objective.name);
        Ok(())
    }
}

impl Here {
    fn request_value(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        locator: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<Synchronized> {
        let id = self.core.node.new_id()?;
        let bytes = self.encode_unicast(Body::RequestSynchronize(step(id, objective)));
        let failures = Failures {
            nobody: Error::NotFloodDisc,
            unsendable: bytes.as_ref().err().cloned(),
            unreached: Error::SockErrSynRq,
        };
        let (connection, locator) = match self.reach(nonce, objective, locator, timeout, &failures)? {
            Reached::Peer(connection, locator) => (connection, locator),
            Reached::Value(objective, locator) => {
                let peer = Peer { address: None, locator, name: None };
                return Ok(Synchronized { objective, source: Source::Peer(peer) });
            }
        };
        let deadline = self.connect_deadline();
        let peer = Peer::of(&connection, Some(locator));
        let (session, exchange) = self.open(nonce, id, objective, Arc::new(connection))?;
        self.send(session, &exchange, &bytes?, deadline, Error::SockErrSynRq)?;
        let value = self.await_value(id, &exchange, Instant::now() + self.timeout(timeout));
        let how = value.as_ref().map_or_else(Ending::from, |_| Ending::Synchronized);
        self.end(session, &exchange, how);
        // After shutdown or deregistration, the error of the closed socket does not come from the peer.
        let objective = value
            .or_else(|error| self.check_asa(nonce).and_then(|()| self.check_secure()).and(Err(error)))?;
        Ok(Synchronized { objective, source: Source::Peer(peer) })
    }

    fn await_value(&self, id: u32, exchange: &Exchange, deadline: Instant) -> Result<Objective> {
        loop {
            let received = self.receive(exchange, deadline).map_err(|error| match error {
                TransportError::Closed => Error::NoListener,
                TransportError::Broken => Error::CborFail,
                cause => Error::NoSynchReply.not_answered(cause),
            })?;
            match self.core.node.synch_message(id, exchange, &received) {
                SynchReply::Value(objective) => return Ok(objective),
                SynchReply::Failed(error) => return Err(error),
                SynchReply::Ignore => {}
            }
        }
    }
}
