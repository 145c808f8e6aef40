//! A secure domain by certificates, without TLS: who is a member (RFC 8994 §6.2). A node has a certificate with its name in the
//! domain, signed by the domain's authority; two nodes that check each other's are members of one domain.
//!
//! | file | what |
//! |---|---|
//! | `name` | the name of a node in its certificate |
//! | `key` | private and public keys, signatures |
//! | `certificate`, `list`, `request` | certificates, revocation lists and requests: read within limits, written |
//! | `credentials` | what a node has: its key, its chain, its anchors, revocation lists; read from files, and again |
//! | `membership` | the check of a peer |
//! | `authority` | the authority of a domain: issues certificates and revocation lists |
//!
//! The command `grasp domain` (`tools::domain`) keeps an authority and the files of nodes; `tls` calls [`Credentials::check`] in handshakes.
//! Nothing here knows GRASP, sockets or threads, and the time is a parameter.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//!
//! use grasp::domain::{Algorithm, Authority, Role, Rules};
//!
//! let now = SystemTime::now();
//! let authority = Authority::create("acp.example.com", Algorithm::P256, now, Duration::from_secs(86_400))?;
//! let here = authority.credentials(&"fd89b714f3db00000200000064000000@acp.example.com".parse()?, now)?;
//! let peer = authority.credentials(&"fd89b714f3db00000200000064000001@acp.example.com".parse()?, now)?;
//! // A peer has proved, in TLS, to have the key of this certificate.
//! let member = here.check(peer.chain(), &Rules::at(now, Role::Client).secure_channel(true))?;
//! assert_eq!(&member.name, peer.name());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(clippy::as_conversions, clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)]

mod authority;
mod certificate;
pub(crate) mod credentials;
mod key;
mod list;
mod membership;
mod name;
mod request;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::{Duration, SystemTime};

use x509_cert::der::DateTime;
use x509_cert::der::asn1::Any;
use x509_cert::der::{Encode, Tag};
use x509_cert::time::Time;

pub use authority::{Authority, AuthorityError, Issue};
pub use certificate::{Certificate, MalformedError, NodeNameInCertificate, Serial};
pub use credentials::{Credentials, CredentialsError, Files, Kept};
pub use key::{Algorithm, KeyError, PrivateKey, PublicKey};
pub use list::{RevocationList, Revoked};
pub use membership::{Member, NotMember, Revocation, RevocationState, Role, Rules};
pub use name::{AcpAddress, DomainError, NodeName, NodeNameError};
pub use request::{Request, RequestError};

pub use crate::private_file::KeyFileError;

/// The most that is read of one certificate or request, in bytes. One of ours has 600.
pub const CERTIFICATE_LIMIT: usize = 16 * 1024;
/// The most certificates of a chain that are looked at: a node's own, and those of authorities below the anchor. Two of these are to
/// be supported (RFC 8994 §6.2.4).
pub const CHAIN_LIMIT: usize = 8;
/// The most that is read of one revocation list, in bytes: some 100,000 certificates.
pub const LIST_LIMIT: usize = 4 * 1024 * 1024;

/// A time for people: UTC, to the second.
pub(crate) struct Shown(pub(crate) SystemTime);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_system_time(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => f.write_str("a time that no calendar has"),
        }
    }
}

/// A time as certificates have it, which is whole seconds.
fn time(at: SystemTime) -> Result<Time, x509_cert::der::Error> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time::try_from(SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()))
}

/// What is signed, its algorithm and the signature, one after the other: a certificate, a request or a revocation list.
fn signed(body: Vec<u8>, key: &PrivateKey) -> Result<Vec<u8>, Unwritten> {
    let signature = x509_cert::der::asn1::BitString::from_bytes(&key.sign(&body)?)?;
    sequence(&[body, key.algorithm().signature().to_der()?, signature.to_der()?])
}

/// A sequence of what is encoded already.
fn sequence(parts: &[Vec<u8>]) -> Result<Vec<u8>, Unwritten> {
    Ok(Any::new(Tag::Sequence, parts.concat())?.to_der()?)
}

/// What should never happen: something of ours has no encoding, or the system's random generator fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unwritten;

impl From<x509_cert::der::Error> for Unwritten {
    fn from(_: x509_cert::der::Error) -> Self {
        Self
    }
}
