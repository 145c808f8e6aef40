//! TLS 1.3 between members of a domain by certificates, without sockets: bytes of the network go in, messages come out, and the
//! other way round. Both sides authenticate (RFC 8994 §6.9.2); `net` moves the bytes, with its deadlines.
//!
//! | file | what |
//! |---|---|
//! | `identity` | what a node shows and asks for; one for all its connections |
//! | `session` | one connection |
//! | `key_log` | the file for Wireshark, if a setting asks for it |
//!
//! Cipher suites have 256-bit keys, as RFC 8994 §6.9.2 asks. A resumed session is checked like a new one: whoever has been revoked
//! meanwhile stays outside.

#![deny(clippy::as_conversions, clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)]

mod identity;
mod key_log;
mod session;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::domain::NotMember;

pub(crate) use identity::Identity;
pub(crate) use key_log::KeyFile;
pub(crate) use session::{Plain, Session};

/// Why a connection is not secured, or not any more.
#[derive(Debug)]
pub(crate) enum TlsError {
    /// The peer is not a member of this node's domain.
    NotMember(NotMember),
    /// The peer does not speak TLS 1.3 as this node does, or has broken it off; an alert of a peer that takes this node for no
    /// member is among these.
    Failed(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMember(why) => why.fmt(f),
            Self::Failed(error) => write!(f, "TLS: {error}"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotMember(why) => Some(why),
            Self::Failed(error) => Some(error),
        }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        use rustls::{CertificateError, Error, OtherError};
        match &error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => {
                match why.downcast_ref::<NotMember>() {
                    Some(why) => Self::NotMember(why.clone()),
                    None => Self::Failed(error),
                }
            }
            Error::NoCertificatesPresented => Self::NotMember(NotMember::NoCertificate),
            _ => Self::Failed(error),
        }
    }
}
