//! Synchronization (RFC 8990 §2.5.6, RFC 8991 §2.3.6).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Discover, step};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::node::{SynchReply, synch_reply};
use crate::registry::{Dialogue, TransportError};
use crate::threads;
use crate::trace::Ending;
use crate::types::{AsaLocator, AsaNonce, Objective};
use crate::wire::Body;

impl Engine {
    /// Gets the current value of an objective (RFC 8991 §2.3.6; graspy's `synchronize`). The ASA need not have
    /// registered it. Without a locator: the oldest valid flooded value if there is one; otherwise a peer is
    /// discovered, whose response may bring the value itself, in rapid mode. With a locator that peer is asked.
    /// Waits `timeout` milliseconds for the discovery, and again for the answer; 60000 by default.
    ///
    /// # Errors
    /// In this order: [`Error::NoAsa`], [`Error::NotSynch`], [`Error::NoSecurity`] (a DULL instance can read
    /// flooded values), [`Error::OtherNamespace`] unless the value is flooded, [`Error::NotFloodDisc`], [`Error::Unspec`] if the objective is too large,
    /// [`Error::SockErrSynRq`]; [`Error::NoListener`], [`Error::CborFail`], [`Error::NoValidSynch`],
    /// [`Error::NoSynchReply`]. A retry may help with `NotFloodDisc`, `SockErrSynRq`, `NoListener` and
    /// `NoSynchReply`.
    pub fn synchronize(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        locator: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<Objective> {
        self.check_asa(nonce)?;
        if !objective.synch {
            return Err(Error::NotSynch);
        }
        self.check_secure_or_dull([objective.name.as_str()])?;
        if locator.is_none() {
            let flooded = self.core.node.registries.floods.lookup(&objective.name, self.core.now());
            if let Some(tagged) = flooded.into_iter().find(|tagged| tagged.objective.synch) {
                return Ok(tagged.objective);
            }
        }
        self.check_secure()?;
        self.core.check_namespace()?;
        if locator.is_none()
            && self.core.node.config.rapid_synch_message
            && let Some(answer) = self.ask_rapidly(objective)?
            && let Some(id) = answer.message.session()
            && let SynchReply::Value(value) = synch_reply(id, &objective.name, Ok(answer.message))
        {
            return Ok(value);
        }
        let peers = match locator {
            Some(locator) => vec![locator.clone()],
            None => {
                self.find(nonce, objective, timeout, Discover { enough: Some(1), ..Discover::default() })?
            }
        };
        if locator.is_none()
            && let Some(value) = self.core.node.registries.discovery.rapid(&objective.name, self.core.now())
        {
            return Ok(value);
        }
        if peers.is_empty() {
            return Err(Error::NotFloodDisc);
        }
        self.request_value(nonce, objective, &peers, self.timeout(timeout))
    }

    fn request_value(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        peers: &[AsaLocator],
        timeout: Duration,
    ) -> Result<Objective> {
        let id = self.core.node.new_id()?;
        let bytes = self.encode_unicast(Body::RequestSynchronize(step(id, objective)))?;
        let deadline = self.connect_deadline();
        let connection = self.connect(&objective.name, peers, deadline).ok_or(Error::SockErrSynRq)?;
        let (session, dialogue) = self.open(nonce, id, objective, Arc::new(connection))?;
        self.send(session, &dialogue, &bytes, deadline, Error::SockErrSynRq)?;
        let value = self.await_value(id, &dialogue, Instant::now() + timeout);
        let how = value.as_ref().map_or_else(Ending::from, |_| Ending::Synchronized);
        self.end(session, &dialogue, how);
        // After shutdown or deregistration, what the closed socket says is not the peer's word.
        value.or_else(|error| self.check_asa(nonce).and(Err(error)))
    }

    fn await_value(&self, id: u32, dialogue: &Dialogue, deadline: Instant) -> Result<Objective> {
        loop {
            let received = self.receive(dialogue, deadline).map_err(|error| match error {
                TransportError::Closed => Error::NoListener,
                TransportError::Broken => Error::CborFail,
                TransportError::Timeout | TransportError::Failed => Error::NoSynchReply,
            })?;
            match self.core.node.synch_message(id, dialogue, &received) {
                SynchReply::Value(objective) => return Ok(objective),
                SynchReply::Failed(error) => return Err(error),
                SynchReply::Ignore => {}
            }
        }
    }

    /// Serves the value of an objective of this ASA to whoever asks (RFC 8991 §2.3.6; graspy's
    /// `listen_synchronize`). Returns at once. The objective can be discovered from now on. A later call
    /// replaces the value; loop count and flags stay as they were.
    ///
    /// # Errors
    /// [`Error::NotBoth`], [`Error::NotSynch`], [`Error::NoAsa`], [`Error::NotYourObj`], [`Error::NoSecurity`];
    /// [`Error::Unspec`] if the value is too large to be sent, or no thread can be started.
    pub fn listen_synchronize(&self, nonce: AsaNonce, objective: &Objective) -> Result<()> {
        self.check_asa_obj(nonce, objective, true)?;
        self.check_secure()?;
        self.encode_unicast(Body::Synch(step(u32::MAX, objective)))?;
        let objectives = &self.core.node.registries.objectives;
        let queue = self.core.node.config.request_queue;
        if let Some(requests) = objectives.begin_synchronization(nonce, objective, queue)? {
            let started = threads::start_synch_listen(&self.core, objective.name.clone(), requests);
            started.map_err(|_| {
                objectives.stop_synchronize(nonce, &objective.name);
                Error::Unspec
            })?;
        }
        Ok(())
    }

    /// Stops serving the value (RFC 8991 §2.3.6 `stop_listen_synchronize`; graspy's `stop_synchronize`). The
    /// objective can be discovered no longer, unless it was registered so. Further requests are refused.
    ///
    /// # Errors
    /// [`Error::NotBoth`], [`Error::NotSynch`], [`Error::NoAsa`], [`Error::NotYourObj`]. A retry does not help.
    pub fn stop_synchronize(&self, nonce: AsaNonce, objective: &Objective) -> Result<()> {
        self.check_asa_obj(nonce, objective, true)?;
        self.core.node.registries.objectives.stop_synchronize(nonce, &objective.name);
        Ok(())
    }
}
