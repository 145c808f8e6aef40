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
