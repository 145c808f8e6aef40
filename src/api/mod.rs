//! The calls of the API (RFC 8991 §2.3.3 to §2.3.7), one file per subject, as methods of [`Engine`]. ASAs make them, and
//! `node` makes them for the clients of a node. The free functions of the same names use the engine of the process. All
//! may be called from any thread; those that wait block only their caller.

mod admission;
mod asa;
mod discovery;
mod flooding;
#[cfg(feature = "ipc")]
mod forms;
mod listening;
mod messaging;
mod negotiation;
#[cfg(feature = "ipc")]
mod node;
mod ports;
mod reach;
mod registration;
mod repeat;
mod serve;
mod session;
mod stop;
mod synchronization;
#[cfg(test)]
mod tests;
mod typed;
mod views;

pub mod graspi;
pub(crate) mod process;
pub(crate) mod utility;

pub use asa::Asa;
pub use discovery::Discover;
pub use negotiation::Negotiation;
pub use registration::{Port, RegisterObj};
pub use repeat::Flooding;
pub use serve::Server;
pub use session::{Peer, Reply, Session};
pub use stop::{Stop, Waking};
pub use synchronization::{Source, Synchronized};
pub use typed::TypedObjective;
pub use views::{EngineState, SessionView};

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Here;
use crate::error::{Error, Result, Why};
use crate::net::connect;
use crate::net::tcp::Connection;
use crate::node::{Via, acceptable};
use crate::registry::{Exchange, Transport, TransportError};
use crate::threads::resolve;
use crate::types::{AsaLocator, AsaNonce, Locator, Objective};
use crate::wire::{Body, Message, Step, WireObjective, encode};

impl Here {
    /// Makes the checks of graspy's `_check_asa_obj`, in the same order. `sending` is set by calls that make a value
    /// known to others.
    fn check_asa_obj(&self, nonce: AsaNonce, objective: &Objective, sending: bool) -> Result<()> {
        self.core.check_running()?;
        if objective.neg && objective.synch {
            return Err(Error::NotBoth);
        }
        if sending && !objective.synch {
            return Err(Error::NotSynch);
        }
        self.core.node.registries.asas.check(nonce)?;
        if objective.neg || sending {
            self.core.node.registries.objectives.check_owner(nonce, &objective.name)?;
        }
        Ok(())
    }

    fn check_asa(&self, nonce: AsaNonce) -> Result<()> {
        self.core.check_running()?;
        self.core.node.registries.asas.check(nonce)
    }

    fn check_secure(&self) -> Result<()> {
        if self.core.node.is_secure() { Ok(()) } else { Err(Error::NoSecurity) }
    }

    /// Like `check_secure`, but a DULL instance passes with the objectives that it may handle.
    fn check_secure_or_dull<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<()> {
        if !self.core.node.config.dull {
            return self.check_secure();
        }
        let permitted = names.into_iter().all(|name| self.core.node.config.permits(name));
        if permitted { Ok(()) } else { Err(Error::NoSecurity) }
    }

    /// Converts a timeout in milliseconds; `None` and 0 mean the default (RFC 8991 §2.3.2.1).
    fn timeout(&self, timeout: Option<u32>) -> Duration {
        let milliseconds =
            timeout.filter(|given| *given > 0).unwrap_or(self.core.node.config.default_timeout);
        Duration::from_millis(milliseconds.into())
    }

    /// Encodes a unicast message. Returns `TooLarge` if it is larger than may be sent (RFC 8990 §2.8.3).
    fn encode_unicast(&self, body: Body) -> Result<Vec<u8>> {
        let bytes = encode(&Message::new(body));
        too_large(bytes.len(), self.core.node.sizes.unicast()).map(|()| bytes)
    }

    /// Receives the next message of a session.
    fn receive(
        &self,
        exchange: &Exchange,
        deadline: Instant,
    ) -> std::result::Result<Vec<u8>, TransportError> {
        exchange.transport.receive(deadline).inspect_err(|_| self.core.node.counters.replies_missing.add())
    }

    /// The deadline for connecting to a peer and sending it a request.
    fn connect_deadline(&self) -> Instant {
        Instant::now() + self.core.node.config.connect_timeout
    }

    /// Connects to the first of these peers that can be reached. Each gets an equal share of the time that is left, but
    /// at least `SHORTEST_CONNECT`. A discovered locator that cannot be reached is forgotten, so that it is not found
    /// again.
    ///
    /// # Errors
    /// `error`, with the reason why the last peer could not be reached.
    fn connect(
        &self,
        name: &str,
        peers: &[AsaLocator],
        deadline: Instant,
        error: Error,
    ) -> Result<(Connection, AsaLocator)> {
        let mut failure = error.clone().because(Why::TimedOut, None, None);
        for (peer, remaining) in peers.iter().zip((1..=peers.len()).rev()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                log::debug!("{name:?}: no time for {remaining} more peers");
                return Err(failure);
            }
            let share = left / u32::try_from(remaining).unwrap_or(u32::MAX);
            let until = Instant::now() + share.max(SHORTEST_CONNECT).min(left);
            let mut addresses = resolve(name, peer, until);
            addresses.retain(|address| may_be_named(peer, address.ip()));
            match connect::open(&addresses, until, self.core.framing()) {
                Ok(connection) => {
                    self.core.node.registries.discovery.lives(name, peer);
                    return Ok((connection, peer.clone()));
                }
                Err(cause) => {
                    log::debug!("{name:?}: no connection to {peer}: {cause:?}");
                    failure = match addresses.first() {
                        None => error.clone().because(Why::Unresolved, None, None),
                        Some(address) => error.clone().not_connected(cause, Some(*address)),
                    };
                    self.core.node.registries.discovery.remove(name, peer, self.core.now());
                }
            }
        }
        Err(failure)
    }

    /// Converts a failure to start a thread: during shutdown, when none is started, to `Stopped`.
    fn no_thread(&self, cause: io::Error) -> Error {
        self.core.check_running().err().unwrap_or_else(|| Error::NoThread(Arc::new(cause)))
    }
}

impl Error {
    /// Adds the reason why a connection failed.
    fn not_connected(self, cause: TransportError, peer: Option<SocketAddr>) -> Self {
        match cause {
            TransportError::Timeout => self.because(Why::TimedOut, peer, None),
            TransportError::Failed(cause) => self.because(Why::of(cause.kind()), peer, Some(cause)),
            TransportError::Closed => self.because(Why::Reset, peer, None),
            TransportError::Broken => self,
        }
    }

    /// Adds the reason why a message could not be sent.
    fn not_sent(self, cause: TransportError, peer: Ipv6Addr) -> Self {
        self.not_connected(cause, Some(SocketAddr::from((peer.to_canonical(), 0))))
    }

    /// Adds the reason why no answer arrived, unless the time was simply over.
    fn not_answered(self, cause: TransportError) -> Self {
        match cause {
            TransportError::Timeout => self,
            cause => self.not_connected(cause, None),
        }
    }
}

impl Peer {
    fn of(transport: &dyn Transport, locator: Option<AsaLocator>) -> Self {
        let address = Some(IpAddr::V6(transport.peer()).to_canonical());
        Self { address, locator, name: transport.certified_name() }
    }
}

/// Returns `TooLarge` if a message is larger than the limit (RFC 8990 §2.5.3, §2.8.3).
fn too_large(size: usize, limit: usize) -> Result<()> {
    if size > limit { Err(Error::TooLarge { size, limit }) } else { Ok(()) }
}

/// The shortest time for connecting to one of several peers: the system retransmits a lost first packet after a second.
const SHORTEST_CONNECT: Duration = Duration::from_millis(1500);

/// A session identifier with an objective, ready for a message body.
fn step(session: u32, objective: &Objective) -> Step {
    Step { session, objective: WireObjective::from_objective(objective) }
}

/// Whether the name in a locator may resolve to this address: a peer that answers with a name must not make this node
/// talk to itself. Locators of this machine are accepted from its own ASAs only.
fn may_be_named(peer: &AsaLocator, address: IpAddr) -> bool {
    match &peer.locator {
        Some(Locator::Fqdn(name)) if name.trim_end_matches('.') != "localhost" => {
            acceptable(&Locator::from(address), Via::Relay)
        }
        _ => true,
    }
}
