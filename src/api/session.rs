//! Sessions as guards: a session ends when its guard is dropped, in whatever way its ASA ends.

use std::net::IpAddr;

use super::{Asa, Negotiation};
use crate::engine::Engine;
use crate::error::Result;
use crate::types::{AsaLocator, AsaNonce, Objective, SessionNonce, Value};

/// The other side of a session, or the source of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Its address; `None` only for a value that came with a response.
    pub address: Option<IpAddr>,
    /// The locator that was used to connect to it; `None` if the peer has connected to this node, be it with a request or to
    /// answer a discovery in rapid mode.
    pub locator: Option<AsaLocator>,
    /// Its name as the authority of its domain has certified it (RFC 8994 §6.2.2); `None` where certificates do not secure the
    /// connection, for a value that came with a response, and in a client of a node for a session that the peer has opened:
    /// [`Session::certified_name`] asks the node.
    pub name: Option<String>,
}

/// An open session of an ASA. Dropping it, also while a panic unwinds, ends it: the peer is told that the negotiation is
/// declined, and does not have to wait for a timeout. While the substrate is down nothing can be sent: then the session stays
/// open until the peer closes it, or the ASA is deregistered.
///
/// ```no_run
/// # fn main() -> grasp::Result<()> {
/// use grasp::{Asa, Objective, Reply};
///
/// let asa = Asa::new("Gray")?;
/// let mut money = Objective::new("EX3").with_value(("NZD", 47))?;
/// money.neg = true;
/// asa.engine().register_obj(asa.nonce(), &money, Default::default())?;
/// match asa.negotiate(&money, None, None)? {
///     Reply::Agreed { objective, peer } => println!("{:?} gives {}", peer.address, objective.value),
///     Reply::Offer(session) => {
///         let (_, offered) = session.objective().value_as::<(String, i64)>()?;
///         if offered < 40 { session.decline(Some("You are mean!"))? } else { session.accept()? }
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the session ends when this is dropped"]
pub struct Session {
    engine: Engine,
    asa: AsaNonce,
    nonce: SessionNonce,
    objective: Objective,
    peer: Peer,
    over: bool,
}

/// How a request or a step of a negotiation was answered, if it did not fail.
#[derive(Debug)]
pub enum Reply {
    /// The peer accepts what was last offered to it. The session is over.
    Agreed {
        /// What was agreed on.
        objective: Objective,
        /// With whom.
        peer: Peer,
    },
    /// The peer makes an offer: it is this side's turn to step, wait, accept or decline.
    Offer(Session),
}

impl Session {
    fn new(engine: &Engine, asa: AsaNonce, nonce: SessionNonce, objective: Objective, peer: Peer) -> Self {
        Self { engine: engine.clone(), asa, nonce, objective, peer, over: false }
    }

    /// The objective as the peer last sent it: its request or its offer, with its loop count.
    #[must_use]
    pub const fn objective(&self) -> &Objective {
        &self.objective
    }

    /// The peer.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The handle, for the calls that have graspy's names.
    #[must_use]
    pub const fn nonce(&self) -> SessionNonce {
        self.nonce
    }

    /// Makes a counter-offer with another value and waits for the answer; see [`Engine::negotiate_step`].
    ///
    /// # Errors
    /// Those of [`Engine::negotiate_step`]. After any of them the session is over, except after `NoSecurity`.
    pub fn step(mut self, value: impl Into<Value>, timeout: Option<u32>) -> Result<Reply> {
        self.objective.value = value.into();
        match self.engine.negotiate_step(self.asa, self.nonce, &self.objective, timeout)? {
            Negotiation::Agreed(objective) => {
                self.over = true;
                Ok(Reply::Agreed { objective, peer: std::mem::take(&mut self.peer) })
            }
            Negotiation::Offer(_, objective) => {
                self.objective = objective;
                Ok(Reply::Offer(self))
            }
        }
    }

    /// The peer's name as its domain's authority has certified it; see [`Engine::certified_name`].
    ///
    /// # Errors
    /// Those of [`Engine::certified_name`].
    pub fn certified_name(&self) -> Result<Option<String>> {
        self.engine.certified_name(self.asa, self.nonce)
    }

    /// Asks the peer for more time; see [`Engine::negotiate_wait`].
    ///
    /// # Errors
    /// Those of [`Engine::negotiate_wait`].
    pub fn wait(&self, timeout: Option<u32>) -> Result<()> {
        self.engine.negotiate_wait(self.asa, self.nonce, timeout)
    }

    /// Accepts what the peer last offered.
    ///
    /// # Errors
    /// Those of [`Engine::end_negotiate`]. The session is over nevertheless.
    pub fn accept(mut self) -> Result<()> {
        let ended = self.engine.end_negotiate(self.asa, self.nonce, true, None);
        self.over = ended.is_ok();
        ended
    }

    /// Declines what the peer last offered.
    ///
    /// # Errors
    /// Those of [`Engine::end_negotiate`]. The session is over nevertheless.
    pub fn decline(mut self, reason: Option<&str>) -> Result<()> {
        let ended = self.engine.end_negotiate(self.asa, self.nonce, false, reason);
        self.over = ended.is_ok();
        ended
    }

    /// Tells the peer that its last message was invalid; see [`Engine::send_invalid`].
    ///
    /// # Errors
    /// Those of [`Engine::end_negotiate`]. The session is over nevertheless.
    pub fn invalid(mut self, info: Option<Value>) -> Result<()> {
        let ended = self.engine.send_invalid(self.asa, self.nonce, info);
        self.over = ended.is_ok();
        ended
    }

    /// Sends any CBOR item; see [`Engine::gsend`].
    ///
    /// # Errors
    /// Those of [`Engine::gsend`].
    pub fn send(&self, message: &Value) -> Result<()> {
        self.engine.gsend(self.asa, self.nonce, message)
    }

    /// Receives any CBOR item within `timeout` milliseconds; see [`Engine::grecv`].
    ///
    /// # Errors
    /// Those of [`Engine::grecv`].
    pub fn receive(&self, timeout: u32) -> Result<Value> {
        self.engine.grecv(self.asa, self.nonce, timeout)
    }

    /// Releases the session without ending it, and returns its handle, with which it must be ended.
    pub fn release(mut self) -> SessionNonce {
        self.over = true;
        self.nonce
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.over {
            // If it fails, the session has ended already, or the engine is gone: nothing is left to do.
            let _ = self.engine.end_negotiate(self.asa, self.nonce, false, None);
        }
    }
}

impl Asa {
    /// Asks a peer to negotiate an objective; see [`Engine::req_negotiate`].
    ///
    /// # Errors
    /// Those of [`Engine::req_negotiate`].
    pub fn negotiate(
        &self,
        objective: &Objective,
        peer: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<Reply> {
        let (engine, asa) = (self.engine(), self.nonce());
        let (answer, peer) = engine.negotiate_with(asa, objective, peer, timeout)?;
        Ok(match answer {
            Negotiation::Agreed(objective) => Reply::Agreed { objective, peer },
            Negotiation::Offer(session, objective) => {
                Reply::Offer(Session::new(engine, asa, session, objective, peer))
            }
        })
    }

    /// Opens a session for [`Session::send`] and [`Session::receive`]; see [`Engine::req_negotiate_noloop`].
    ///
    /// # Errors
    /// Those of [`Engine::req_negotiate_noloop`].
    pub fn open(
        &self,
        objective: &Objective,
        peer: Option<&AsaLocator>,
        timeout: Option<u32>,
    ) -> Result<Session> {
        let (engine, asa) = (self.engine(), self.nonce());
        let (session, peer) = engine.open_with(asa, objective, peer, timeout)?;
        Ok(Session::new(engine, asa, session, objective.clone(), peer))
    }

    /// Waits for a peer that asks to negotiate an objective; see [`Engine::listen_negotiate`].
    ///
    /// # Errors
    /// Those of [`Engine::listen_negotiate`].
    pub fn accept(&self, objective: &Objective) -> Result<Session> {
        self.engine().accept_session(self.nonce(), objective)
    }
}

impl Engine {
    /// Like `listen_negotiate`, but returns a guard.
    pub(super) fn accept_session(&self, asa: AsaNonce, objective: &Objective) -> Result<Session> {
        let (session, objective) = self.listen_negotiate(asa, objective)?;
        let address = session.id_source.map(|address| IpAddr::V6(address).to_canonical());
        // Asking a node would cost each session another call. A session that has ended meanwhile tells the ASA so soon enough.
        let name =
            (!self.is_connected()).then(|| self.certified_name(asa, session).unwrap_or_default()).flatten();
        let peer = Peer { address, locator: None, name };
        Ok(Session::new(self, asa, session, objective, peer))
    }
}
