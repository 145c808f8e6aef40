//! What secures GRASP (RFC 8990 §2.5.1; graspy's module `acp`): the substrate below the engine, seen as status,
//! interfaces, addresses, and protection of messages. `Engine::start` chooses one, `_watcher` asks for its status,
//! `core` and `net` protect what is sent and received. docs/security.md says what each choice is worth.

use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

#[cfg(feature = "quads")]
pub mod keyfile;
#[cfg(feature = "quads")]
pub(crate) mod quads;

#[cfg(feature = "quads")]
use self::quads::{QuadsKeys, QuadsReader};
#[cfg(feature = "quads")]
use crate::config::environment;
use crate::config::{Acp, Config};
use crate::start_error::StartError;
use crate::wire::{DecodeError, Limits};

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

/// The substrate that a configuration asks for.
pub(crate) fn substrate(config: &Config) -> Result<Arc<dyn Substrate>, StartError> {
    Ok(match &config.acp {
        Acp::Environment => from_environment()?,
        Acp::Layer2 => Arc::new(Layer2),
        Acp::Interfaces(names) => Arc::new(Fixed(names.clone())),
        #[cfg(feature = "quads")]
        Acp::Quads(keys) => Arc::new(Quads(Arc::new(keys.clone()))),
        Acp::Custom(substrate) => Arc::clone(substrate),
        Acp::None => Arc::new(Absent),
    })
}

/// graspy's simple layer 2 ACP.
#[derive(Debug)]
struct Layer2;

impl Substrate for Layer2 {
    fn status(&self) -> AcpStatus {
        AcpStatus::Trusting(
            "the simple layer 2 ACP trusts everything on its links: whoever is there can steer this node",
        )
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
fn from_environment() -> Result<Arc<dyn Substrate>, StartError> {
    #[cfg(feature = "quads")]
    if let Some(keys) = keys_from_environment()? {
        return Ok(Arc::new(Quads(Arc::new(keys))));
    }
    Ok(Arc::new(Layer2))
}

/// The keys that `GRASP_QUADS_KEYFILE` or `GRASP_QUADS_PASSWORD` give. An empty variable, an empty password and a
/// key file that says "No key" are none.
#[cfg(feature = "quads")]
fn keys_from_environment() -> Result<Option<QuadsKeys>, StartError> {
    if let Some(path) = environment::quads_keyfile() {
        return keyfile::read(path).map_err(|error| StartError::Keys(Box::new(error)));
    }
    let password = environment::quads_password().map_err(|error| StartError::Keys(Box::new(error)))?;
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
