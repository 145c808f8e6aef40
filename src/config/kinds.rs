//! The types of settings.

use std::path::{Path, PathBuf};

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

/// Whether an engine relays what comes from one link to its other links (RFC 8990 §2.5.4.4, §2.5.6.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Relay {
    /// One engine of the host relays for all, of those that use the same interfaces and open each other's messages; where it ends,
    /// another takes its place.
    #[default]
    OncePerHost,
    /// Whatever the other engines of the host do.
    Always,
    /// Never: the node only answers for itself and its neighbours. Floods and discoveries of others end here.
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
