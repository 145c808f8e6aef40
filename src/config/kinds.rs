//! The types of settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::acp::Substrate;

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

/// How often something may happen: so many times at once, and so many times a second in the long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Times a second.
    pub per_second: u32,
    /// Times at once.
    pub burst: u32,
}

impl Rate {
    /// A rate.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

/// Where the capture goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pcap {
    /// Where the environment says.
    #[default]
    Environment,
    /// Nowhere, whatever the environment says.
    Off,
    File(PathBuf),
}

impl Pcap {
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Environment | Self::Off => None,
        }
    }
}
