//! What secures GRASP (RFC 8990 §2.5.1; graspy's module `acp`): the substrate below the engine, seen as status,
//! interfaces, addresses, and protection of messages. `Engine::start` chooses one, `_watcher` asks for its status,
//! `core` and `net` protect what is sent and received. docs/security.md says what each choice is worth.

#[cfg(feature = "quads")]
use std::env::VarError;
use std::fmt;
use std::net::Ipv6Addr;
#[cfg(feature = "quads")]
use std::path::PathBuf;
use std::sync::Arc;

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
    /// QUADS if the environment has keys for it, in the file that `GRASP_QUADS_KEYFILE` names or as the password
    /// `GRASP_QUADS_PASSWORD`; otherwise [`Acp::Layer2`].
    #[default]
    Environment,
    /// Trust everything on the links, as graspy's simple layer 2 ACP does. Says so once at start.
    Layer2,
    /// Use these interfaces only, by name, and trust them: the virtual interfaces of an ACP (RFC 8994).
    Interfaces(Vec<String>),
    /// Encrypt every message with the keys of a QUADS domain.
    #[cfg(feature = "quads")]
    Quads(crate::QuadsKeys),
    /// A substrate of one's own.
    Custom(Arc<dyn Substrate>),
    /// There is no secure substrate: calls that need one return `noSecurity`, received messages are dropped.
    None,
}

/// Whether the substrate secures what is sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcpStatus {
    /// It does.
    Secure,
    /// It takes that for granted. The engine says why this is not so, once, as a warning.
    Trusting(&'static str),
    /// It does not, at the moment or at all: calls return `noSecurity`, what is received is dropped.
    Down,
}

/// What the engine asks of its substrate. For substrates of one's own: [`Acp::Custom`].
pub trait Substrate: fmt::Debug + Send + Sync {
    /// The status now. Asked at start and with every look at the interfaces, each
    /// [`Config::watch_interval`](crate::Config::watch_interval).
    fn status(&self) -> AcpStatus;

    /// The interfaces to use, by name: an ACP's virtual interfaces. None leaves it to
    /// [`Config::interfaces`](crate::Config::interfaces).
    fn interfaces(&self) -> Option<Vec<String>> {
        None
    }

    /// The node's address in the secure domain. None lets the engine choose among those of its interfaces.
    fn address(&self) -> Option<Ipv6Addr> {
        None
    }

    /// What protects each message. None sends and receives them as they are.
    fn protection(&self) -> Option<Arc<dyn Protection>> {
        None
    }
}

/// Protects messages of a domain: those of other domains, and unprotected ones, do not open.
pub trait Protection: fmt::Debug + Send + Sync {
    /// The protected form of a message.
    fn seal(&self, message: &[u8]) -> Vec<u8>;

    /// How long the protected form of a message of this length is, in bytes.
    fn sealed_length(&self, length: usize) -> usize;

    /// The message in a datagram; `None` if it does not open.
    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>>;

    /// Finds the next message in a stream.
    fn reader(&self, limits: Limits) -> Box<dyn SealedReader>;
}

/// Finds one protected message in a stream, however many pieces it comes in.
pub trait SealedReader: fmt::Debug + Send {
    /// Takes the next piece. Returns the message once it is whole.
    ///
    /// # Errors
    /// If what has come can be no message. A retry does not help: the stream is lost.
    fn feed(&mut self, piece: &[u8]) -> Result<Option<Whole>, DecodeError>;
}

/// A message out of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The message, in the clear.
    pub message: Vec<u8>,
    /// The bytes of the last piece that follow it, as they came: the beginning of the next message.
    pub rest: Vec<u8>,
}

/// What the environment says of the keys of a domain: the file that `GRASP_QUADS_KEYFILE` names, and the password
/// `GRASP_QUADS_PASSWORD`.
#[derive(Debug, Default)]
pub(crate) struct KeysWanted {
    #[cfg(feature = "quads")]
    pub(crate) file: Option<PathBuf>,
    #[cfg(feature = "quads")]
    pub(crate) password: Option<Result<String, VarError>>,
}

/// The substrate that a configuration asks for, with the keys of the environment where it leaves that to it.
pub(crate) fn substrate(acp: &Acp, wanted: KeysWanted) -> Result<Arc<dyn Substrate>, StartError> {
    Ok(match acp {
        Acp::Environment => from_environment(wanted)?,
        Acp::Layer2 => Arc::new(Layer2),
        Acp::Interfaces(names) => Arc::new(Fixed(names.clone())),
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

/// QUADS if the environment has keys for it; otherwise the layer 2 ACP.
fn from_environment(wanted: KeysWanted) -> Result<Arc<dyn Substrate>, StartError> {
    #[cfg(feature = "quads")]
    if let Some(keys) = keys_from_environment(wanted)? {
        return Ok(Arc::new(Quads(Arc::new(keys))));
    }
    // Without QUADS there are no keys to be wanted.
    #[cfg(not(feature = "quads"))]
    let KeysWanted {} = wanted;
    Ok(Arc::new(Layer2))
}

/// The keys that `GRASP_QUADS_KEYFILE` or `GRASP_QUADS_PASSWORD` give. An empty variable, an empty password and a
/// key file that says "No key" are none.
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
