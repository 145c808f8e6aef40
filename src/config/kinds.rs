//! The types of settings.

use std::path::{Path, PathBuf};

/// How often something may happen: `burst` times at once, and `per_second` times a second in the long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Times a second.
    pub per_second: u32,
    /// Times at once.
    pub burst: u32,
}

impl Rate {
    /// A rate of `per_second` times a second and `burst` times at once.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

/// Whether an engine relays what comes from one link to its other links (RFC 8990 §2.5.4.4, §2.5.6.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Relay {
    /// One engine relays for all engines of the host that use the same interfaces and can open each other's messages. If it
    /// ends, another takes its place.
    #[default]
    OncePerHost,
    /// The engine relays, whatever the other engines of the host do.
    Always,
    /// The engine does not relay: it only answers discoveries, for itself and from its cache. Floods and discoveries of others
    /// end here.
    Never,
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
