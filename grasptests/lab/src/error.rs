//! What can go wrong with a lab. Every public fallible function of [`lab`](super) returns [`LabError`].

use std::{fmt, io};

/// Why a lab could not do what it was asked to.
///
/// `Debug` shows the same sentence as `Display`, because that is what a test or a `main` returning the error
/// prints.
#[non_exhaustive]
pub enum LabError {
    /// This machine (or this account) does not let us make namespaces; the sentence says what to do about it.
    Unavailable(String),
    /// The process is not isolated: neither [`isolated!`](crate::isolated) nor [`enter`](crate::enter) came
    /// first.
    NotIsolated,
    /// [`enter`](crate::enter) was called when the process already had several threads.
    Threads(usize),
    /// The kernel refused a step.
    Kernel {
        /// What was being done.
        doing: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A name, node or description that means nothing here; the sentence says which.
    Unknown(String),
    /// Something did not become ready in time; the sentence says what.
    NotReady(String),
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(what) | Self::Unknown(what) | Self::NotReady(what) => f.write_str(what),
            Self::NotIsolated => f.write_str(
                "a lab needs an isolated process: begin the test with isolated!() or the program with lab::enter()",
            ),
            Self::Threads(count) => {
                write!(f, "lab::enter() must come first in main: the process already has {count} threads")
            }
            Self::Kernel { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

impl fmt::Debug for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for LabError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Kernel { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Says what was being done when the kernel refused.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, LabError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, LabError> {
        self.map_err(|error| LabError::Kernel { doing: what(), source: error.into() })
    }
}
