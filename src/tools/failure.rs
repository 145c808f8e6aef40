//! How a verb ends: its exit status, and why it failed as one sentence.

use std::fmt;
use std::io;

use crate::StartError;
use crate::error::{Error, Why};
use crate::types::Value;

/// The exit status of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// 0: done.
    Done,
    /// 1: nothing was found, such as no objective or no message; or something is wrong, such as a problem that `doctor`
    /// has found.
    Nothing,
    /// 2: the command line is wrong, or something on this machine that it names, such as a file.
    Usage,
    /// 3: there is no node, or it has gone.
    NoNode,
    /// 4: the node or the peer refuses, or answers something wrong.
    Refused,
    /// 5: there was no answer in time.
    TimedOut,
}

impl Status {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Nothing => 1,
            Self::Usage => 2,
            Self::NoNode => 3,
            Self::Refused => 4,
            Self::TimedOut => 5,
        }
    }
}

/// Why a verb failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    status: Status,
    text: String,
}

/// The result of a verb.
pub(super) type Outcome = Result<(), Failure>;

impl Failure {
    pub(super) fn new(status: Status, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub(super) fn nothing(text: impl Into<String>) -> Self {
        Self::new(Status::Nothing, text)
    }

    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::new(Status::Usage, text)
    }

    /// The exit status.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Whether there is nothing to print: everything has been printed already, or nobody reads the output.
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        self.text.is_empty()
    }

    /// Puts what the failure is about in front of its text.
    pub(super) fn about(mut self, what: impl fmt::Display) -> Self {
        if !self.is_silent() {
            self.text = format!("{what}: {}", self.text);
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// Takes a sentence about a user's mistake.
impl From<String> for Failure {
    fn from(sentence: String) -> Self {
        Self::usage(sentence)
    }
}

/// A closed pipe, as with `| head`, is not a failure: nobody reads the output any more.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Status::Done, ""),
            _ => Self::usage(error.to_string()),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::new(Status::NoNode, error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(status(&error), sentence(&error))
    }
}

/// GRASP's text, number and name of an error, and the peer's reason if there is one.
#[must_use]
pub fn sentence(error: &Error) -> String {
    let text = format!("{error} ({} {})", error.code(), error.name());
    match error {
        // The reason comes from the peer: as a value it is shown so that it cannot control a terminal.
        Error::Declined(Some(reason)) => format!("{text}: {}", Value::from(reason.as_str())),
        _ => text,
    }
}

/// The exit status for an error of the API.
#[must_use]
pub fn status(error: &Error) -> Status {
    match error {
        Error::NoDiscReply | Error::NotFloodDisc => Status::Nothing,
        Error::NoReply | Error::NoNegReply | Error::NoSynchReply => Status::TimedOut,
        Error::Stopped
        | Error::NotStarted(_)
        | Error::OtherNamespace
        | Error::Forked
        | Error::NoThread(_) => Status::NoNode,
        Error::NotBoth
        | Error::NotDry
        | Error::NotNeg
        | Error::NotSynch
        | Error::InvalidLoc
        | Error::TooLarge { .. }
        | Error::TooDeep
        | Error::WrongValue(_)
        | Error::NoObjective => Status::Usage,
        Error::Connection(cause) => match cause.why() {
            Why::TimedOut | Why::Unreachable => Status::TimedOut,
            Why::Unresolved => Status::Usage,
            Why::Refused | Why::Reset | Why::NotSecured | Why::Other => Status::Refused,
        },
        _ => Status::Refused,
    }
}
