//! Why a command of the prompt failed, as one sentence.

use grasp::{Error, Value};
use grasptests::lab::LabError;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was not used as its usage says.
    Usage,
    /// Ctrl-C.
    Interrupted,
    /// Anything else, as a sentence.
    Said(String),
}

impl From<String> for Failure {
    fn from(sentence: String) -> Self {
        Self::Said(sentence)
    }
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        Self::Said(error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Said(error_text(&error))
    }
}

/// GRASP's text, number and name of an error, and the reason if there is one.
pub(crate) fn error_text(error: &Error) -> String {
    let text = format!("{error} ({} {})", error.code(), error.name());
    match error {
        // A value is shown without what a terminal would obey: the reason comes from the peer.
        Error::Declined(Some(reason)) => format!("{text}: {}", Value::from(reason.as_str())),
        _ => text,
    }
}
