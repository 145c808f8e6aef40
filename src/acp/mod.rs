//! What secures GRASP (RFC 8990 §2.5.1; graspy's module `acp`): the substrate below the engine, which provides status,
//! interfaces, addresses, and protection of messages. `Engine::start` chooses one, `_watcher` asks for its status,
//! `core` and `net` use it to protect what is sent and received. docs/security.md says how much security each choice
//! gives.

#[cfg(feature = "quads")]
use std::env::VarError;
use std::fmt;
use std::net::Ipv6Addr;
#[cfg(any(feature = "domain", feature = "quads"))]
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(feature = "domain")]
mod with_domain;

#[cfg(feature = "quads")]
pub mod keyfile;
#[cfg(feature = "quads")]
pub(crate) mod quads;

#[cfg(feature = "quads")]
use self::quads::{QuadsKeys, QuadsReader};
use crate::start_error::StartError;
use crate::wire::{DecodeError, Limits};

/// What secures the engine's traffic (RFC 8990 §2.5.1). docs/security.md compares them.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Acp {
    /// [`Acp::Domain`](Self::Domain) if `GRASP_DOMAIN` names a directory with the node's certificate and key, as `grasp domain issue` writes
    /// it (feature `domain`). Else QUADS if the environment provides keys, in the file that `GRASP_QUADS_KEYFILE` names or as the password
    /// `GRASP_QUADS_PASSWORD`; otherwise [`Acp::Layer2`].
    #[default]
    Environment,
    /// Trust everything on the links, as graspy's simple layer 2 ACP does. Logs this once at start.
    Layer2,
    /// Use only these interfaces, by name, and trust them: the virtual interfaces of an ACP (RFC 8994).
    Interfaces(Vec<String>),
    /// The same, and secure every TCP connection, thus sessions and responses, by TLS 1.3 with the certificates of a domain
    /// (RFC 8994 §6.9.2): both sides have to be members. Multicasts are secured by the interfaces alone.
    #[cfg(feature = "domain")]
    InterfacesWithTls {
        /// The interfaces, by name.
        names: Vec<String>,
        /// The node's certificate and key, and whom it trusts.
        credentials: Arc<crate::domain::Kept>,
        /// Whether a TCP connection with each neighbour carries the multicasts, as RFC 8994 §6.9.2 wants it, instead of datagrams. All
        /// nodes of an ACP have to do the same.
        neighbours: bool,
    },
    /// A secure domain of its own, on the interfaces that [`Config::interfaces`](crate::Config::interfaces) names: TLS 1.3 between
    /// members secures the sessions, and one connection with each neighbour carries the multicasts. docs/domain-profile.md specifies it.
    #[cfg(feature = "domain")]
    Domain(Arc<crate::domain::Kept>),
    /// Use an ACP while it is up, and a domain while it is not. The ACP is up while its substrate says so and one of its interfaces is
    /// usable. A change takes 2 seconds at most, and ends all sessions.
    #[cfg(feature = "domain")]
    Fallback {
        /// The ACP: [`Acp::Interfaces`], [`Acp::InterfacesWithTls`] or [`Acp::Custom`].
        acp: Box<Self>,
        /// The node's certificate and key in the domain, and whom it trusts.
        domain: Arc<crate::domain::Kept>,
    },
    /// Encrypt every message with the keys of a QUADS domain.
    #[cfg(feature = "quads")]
    Quads(crate::QuadsKeys),
    /// A substrate that the application provides.
    Custom(Arc<dyn Substrate>),
    /// There is no secure substrate: calls that need one return `noSecurity`, and received messages are dropped.
    None,
}

/// Whether the substrate currently secures what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcpStatus {
    /// It secures it.
    Secure,
    /// It takes security for granted. The engine logs the text once, as a warning; it says why this assumption is weak.
    Trusting(&'static str),
    /// It does not secure it, at the moment or at all: calls return `noSecurity`, and received messages are dropped.
    Down,
}

/// How the multicasts of a node reach its neighbours (RFC 8990 §2.5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Neighbours {
    /// In datagrams to the group of all GRASP neighbours.
    #[default]
    Datagrams,
    /// By a TCP connection with each neighbour, which the interfaces secure: ACP GRASP (RFC 8994 §6.9.2).
    Connections,
    /// By a TCP connection with each neighbour, which TLS secures: a domain of its own.
    SecuredConnections,
}

/// What the engine needs from its substrate. Implement it for a substrate of your own: [`Acp::Custom`].
pub trait Substrate: fmt::Debug + Send + Sync {
    /// The current status. The engine asks for it at start and each time it checks the interfaces, every
    /// [`Config::watch_interval`](crate::Config::watch_interval).
    fn status(&self) -> AcpStatus;

    /// The interfaces to use, by name: an ACP's virtual interfaces. `None` leaves the choice to
    /// [`Config::interfaces`](crate::Config::interfaces).
    fn interfaces(&self) -> Option<Vec<String>> {
        None
    }

    /// The node's address in the secure domain. `None` lets the engine choose among those of its interfaces.
    fn address(&self) -> Option<Ipv6Addr> {
        None
    }

    /// The node's certificate and key, and whom it trusts: TCP connections are secured by TLS 1.3 with members of the same domain.
    /// `None` leaves them as they are.
    #[cfg(feature = "domain")]
    fn credentials(&self) -> Option<Arc<crate::domain::Kept>> {
        None
    }

    /// How multicasts reach the neighbours on the links. [`Neighbours::Connections`] needs interfaces that are secure; with
    /// credentials TLS secures them otherwise.
    fn neighbours(&self) -> Neighbours {
        Neighbours::Datagrams
    }

    /// Whether TLS secures TCP connections at present. The engine asks each time it asks for the status; a change ends all sessions.
    /// Without [`credentials`](Self::credentials) it has no effect.
    #[cfg(feature = "domain")]
    fn uses_tls(&self) -> bool {
        true
    }

    /// Takes note of what the status depends on, just before the engine asks for that: `is_usable` tells whether an interface exists,
    /// is up and connected, and has a link-local address.
    fn observe(&self, is_usable: &dyn Fn(&str) -> bool) {
        let _ = is_usable;
    }

    /// What protects each message. `None` sends and receives messages unprotected.
    fn protection(&self) -> Option<Arc<dyn Protection>> {
        None
    }
}

/// Protects the messages of a domain. Messages of other domains, and unprotected ones, cannot be opened.
pub trait Protection: fmt::Debug + Send + Sync {
    /// Returns the protected form of a message.
    fn seal(&self, message: &[u8]) -> Vec<u8>;

    /// The length in bytes of the protected form of a message of this length.
    fn sealed_length(&self, length: usize) -> usize;

    /// The message in a datagram; `None` if it cannot be opened.
    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>>;

    /// Returns a reader that finds the messages in a stream.
    fn reader(&self, limits: Limits) -> Box<dyn SealedReader>;
}

/// Finds protected messages in a stream, however many pieces they come in.
pub trait SealedReader: fmt::Debug + Send {
    /// Takes the next piece. Returns a message once it is complete.
    ///
    /// # Errors
    /// If the bytes cannot be a message. A retry does not help: the stream is lost.
    fn feed(&mut self, piece: &[u8]) -> Result<Option<Whole>, DecodeError>;
}

/// A message from a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The message, in the clear.
    pub message: Vec<u8>,
    /// The bytes of the last piece that follow the message, unchanged: the beginning of the next message.
    pub rest: Vec<u8>,
}

/// The keys of a domain in the environment: the directory that `GRASP_DOMAIN` names, the file that `GRASP_QUADS_KEYFILE` names, and the password
/// `GRASP_QUADS_PASSWORD`.
#[derive(Debug, Default)]
pub(crate) struct KeysWanted {
    #[cfg(feature = "domain")]
    pub(crate) domain: Option<PathBuf>,
    #[cfg(feature = "quads")]
    pub(crate) file: Option<PathBuf>,
    #[cfg(feature = "quads")]
    pub(crate) password: Option<Result<String, VarError>>,
}

/// Returns the substrate that a configuration asks for, with the keys of the environment if the configuration leaves
/// the choice to it.
pub(crate) fn substrate(acp: &Acp, wanted: KeysWanted) -> Result<Arc<dyn Substrate>, StartError> {
    Ok(match acp {
        Acp::Environment => from_environment(wanted)?,
        Acp::Layer2 => Arc::new(Layer2),
        Acp::Interfaces(names) => Arc::new(Fixed(names.clone())),
        #[cfg(feature = "domain")]
        Acp::InterfacesWithTls { names, credentials, neighbours } => Arc::new(with_domain::Interfaces {
            names: names.clone(),
            credentials: Arc::clone(credentials),
            neighbours: *neighbours,
        }),
        #[cfg(feature = "domain")]
        Acp::Domain(credentials) => Arc::new(with_domain::Domain::new(Arc::clone(credentials))),
        #[cfg(feature = "domain")]
        Acp::Fallback { acp, domain } => {
            let acp = substrate(acp, wanted)?;
            if acp.protection().is_some() {
                return Err(StartError::Fallback);
            }
            Arc::new(with_domain::Fallback::new(acp, Arc::clone(domain)))
        }
        #[cfg(feature = "quads")]
        Acp::Quads(keys) => Arc::new(Quads(Arc::new(keys.clone()))),
        Acp::Custom(substrate) => Arc::clone(substrate),
        Acp::None => Arc::new(Absent),
    })
}

/// Why the simple layer 2 ACP is only trusted.
pub(crate) const TRUSTING_LINKS: &str =
    "the simple layer 2 ACP trusts everything on its links: whoever is there can steer this node";

/// graspy's simple layer 2 ACP.
#[derive(Debug)]
struct Layer2;

impl Substrate for Layer2 {
    fn status(&self) -> AcpStatus {
        AcpStatus::Trusting(TRUSTING_LINKS)
    }
}

/// The virtual interfaces of an ACP.
#[derive(Debug)]
struct Fixed(Vec<String>);

impl Substrate for Fixed {
    fn status(&self) -> AcpStatus {
        AcpStatus::Secure
    }

    fn interfaces(&self) -> Option<Vec<String>> {
        Some(self.0.clone())
    }
}

/// No substrate.
#[derive(Debug)]
struct Absent;

impl Substrate for Absent {
    fn status(&self) -> AcpStatus {
        AcpStatus::Down
    }
}

/// QUADS if the environment provides keys; otherwise the layer 2 ACP.
fn from_environment(wanted: KeysWanted) -> Result<Arc<dyn Substrate>, StartError> {
    #[cfg(feature = "domain")]
    if let Some(directory) = &wanted.domain {
        use crate::domain::{Files, Kept};
        let kept = Kept::load(Files::in_directory(directory));
        let kept = kept.map_err(|error| StartError::Credentials(Box::new(error)))?;
        return Ok(Arc::new(with_domain::Domain::new(Arc::new(kept))));
    }
    #[cfg(feature = "quads")]
    if let Some(keys) = keys_from_environment(wanted)? {
        return Ok(Arc::new(Quads(Arc::new(keys))));
    }
    #[cfg(not(feature = "quads"))]
    let _ = wanted;
    Ok(Arc::new(Layer2))
}

/// The keys from `GRASP_QUADS_KEYFILE` or `GRASP_QUADS_PASSWORD`. An empty variable, an empty password, or a key file
/// that says "No key" give no keys.
#[cfg(feature = "quads")]
pub(crate) fn keys_from_environment(wanted: KeysWanted) -> Result<Option<QuadsKeys>, StartError> {
    if let Some(path) = wanted.file {
        return keyfile::read(path).map_err(|error| StartError::Keys(Box::new(error)));
    }
    let password = wanted.password.transpose().map_err(|error| StartError::Keys(Box::new(error)))?;
    Ok(password.and_then(|password| QuadsKeys::from_password(&password)))
}

/// A domain whose members share a key.
#[cfg(feature = "quads")]
#[derive(Debug)]
struct Quads(Arc<QuadsKeys>);

#[cfg(feature = "quads")]
impl Substrate for Quads {
    fn status(&self) -> AcpStatus {
        AcpStatus::Secure
    }

    fn protection(&self) -> Option<Arc<dyn Protection>> {
        Some(Arc::clone(&self.0) as Arc<dyn Protection>)
    }
}

#[cfg(feature = "quads")]
impl Protection for QuadsKeys {
    fn seal(&self, message: &[u8]) -> Vec<u8> {
        Self::seal(self, message)
    }

    fn sealed_length(&self, length: usize) -> usize {
        // PKCS#7 adds at least one byte.
        (length / quads::BLOCK + 1) * quads::BLOCK
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        Self::open(self, sealed)
    }

    fn reader(&self, limits: Limits) -> Box<dyn SealedReader> {
        Box::new(Self::reader(self, limits))
    }
}

#[cfg(feature = "quads")]
impl SealedReader for QuadsReader {
    fn feed(&mut self, piece: &[u8]) -> Result<Option<Whole>, DecodeError> {
        let opened = Self::feed(self, piece)?;
        Ok(opened.map(|opened| Whole { message: opened.message, rest: opened.rest.to_vec() }))
    }
}
