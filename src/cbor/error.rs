//! Why bytes are not a message, and the limits of a decoder (RFC 8990 §2.8.3).

use std::fmt;

use crate::constants::GRASP_DEF_MAX_SIZE;

/// The limits of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest message in bytes. Defaults to 2048, GRASP_DEF_MAX_SIZE (RFC 8990 §2.6).
    pub size: usize,
    /// How deep arrays, maps and tags may be nested; the message itself is the first level. Defaults to 32: the known
    /// objectives need less than ten.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { size: GRASP_DEF_MAX_SIZE, depth: 32 }
    }
}

/// Why bytes are not a message. The fault is the sender's; decoding the same bytes again fails again, except after
/// [`Truncated`](Self::Truncated), where more bytes can help.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the item does.
    Truncated,
    /// The item is longer than the limit, or its declared length is.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The item is nested deeper than the limit.
    TooDeep {
        /// The limit in levels.
        limit: usize,
    },
    /// Not well-formed CBOR, or text that is not UTF-8.
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// More bytes follow where one item was expected.
    TrailingBytes,
    /// CBOR, but not an array that begins with a message type.
    NotAMessage,
    /// An element of the message is missing, has the wrong type or is out of range.
    WrongElement {
        /// Which element.
        what: &'static str,
        /// The session identifier, if it was read.
        session: Option<u32>,
    },
    /// An objective has no value where it must have one (RFC 8990 §2.10.3).
    MissingValue {
        /// The session identifier.
        session: Option<u32>,
    },
    /// An M_RESPONSE without any usable locator (RFC 8990 §2.8.5).
    NoLocator {
        /// The session identifier.
        session: Option<u32>,
    },
    /// An M_END that is neither an accept nor a decline (RFC 8990 §2.8.8).
    InvalidEnd {
        /// The session identifier.
        session: Option<u32>,
    },
}

impl DecodeError {
    /// A short constant word for the reason, for use in counters.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::TooLarge { .. } => "too-large",
            Self::TooDeep { .. } => "too-deep",
            Self::Malformed { .. } => "malformed",
            Self::TrailingBytes => "trailing-bytes",
            Self::NotAMessage => "not-a-message",
            Self::WrongElement { .. } => "wrong-element",
            Self::MissingValue { .. } => "missing-value",
            Self::NoLocator { .. } => "no-locator",
            Self::InvalidEnd { .. } => "invalid-end",
        }
    }

    /// The session that the faulty message belongs to, if its identifier could be read. An M_INVALID reply needs it
    /// (RFC 8990 §2.8.12).
    #[must_use]
    pub const fn session(&self) -> Option<u32> {
        match self {
            Self::WrongElement { session, .. }
            | Self::MissingValue { session }
            | Self::NoLocator { session }
            | Self::InvalidEnd { session } => *session,
            _ => None,
        }
    }

    /// The error for malformed CBOR.
    pub(crate) const fn malformed(what: &'static str) -> Self {
        Self::Malformed { what }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the message ends too early"),
            Self::TooLarge { limit } => write!(f, "the message is larger than {limit} bytes"),
            Self::TooDeep { limit } => write!(f, "the message is nested deeper than {limit} levels"),
            Self::Malformed { what } => write!(f, "malformed CBOR: {what}"),
            Self::TrailingBytes => f.write_str("bytes follow the message"),
            Self::NotAMessage => f.write_str("not an array that begins with a message type"),
            Self::WrongElement { what, .. } => write!(f, "missing or invalid element: {what}"),
            Self::MissingValue { .. } => f.write_str("the objective has no value"),
            Self::NoLocator { .. } => f.write_str("the response has no valid locator"),
            Self::InvalidEnd { .. } => f.write_str("the end is neither accept nor decline"),
        }
    }
}

impl std::error::Error for DecodeError {}
