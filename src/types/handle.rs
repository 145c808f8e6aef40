//! The handles of RFC 8991 §2.3.2.5 and §2.3.2.6, which graspy once called nonces.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The handle by which an ASA identifies itself: 32 unpredictable bits (RFC 8991 §2.3.2.5, `asa_handle`).
/// [`register_asa`](crate::register_asa) returns it. Never equal to the identifier of a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AsaNonce(pub(crate) u32);

impl AsaNonce {
    /// Makes a handle from its 32 bits, for bindings to other languages, which carry it as a number. It is valid only
    /// if the bits come from [`id`](Self::id) of a registered ASA's handle; otherwise calls return
    /// [`Error::NoAsa`](crate::Error::NoAsa).
    #[must_use]
    pub const fn from_id(id: u32) -> Self {
        Self(id)
    }

    /// The 32 bits.
    #[must_use]
    pub const fn id(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for AsaNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsaNonce({})", self.0)
    }
}

impl fmt::Display for AsaNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifies one session (RFC 8991 §2.3.2.6, `session_handle`; graspy's `_session_handle`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionNonce {
    /// The session identifier on the wire (RFC 8990 §2.7).
    pub id_value: u32,
    /// The address of the peer if the peer opened the session; `None` if this side did. An IPv4 peer
    /// appears as its IPv4-mapped address.
    pub id_source: Option<Ipv6Addr>,
}

impl fmt::Debug for SessionNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id_source {
            None => write!(f, "SessionNonce({})", self.id_value),
            Some(source) => write!(f, "SessionNonce({} from {source})", self.id_value),
        }
    }
}

/// Identifies a discovery, a response or a flood: the session identifier is unique only together with its initiator
/// (RFC 8990 §2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionId {
    pub(crate) session: u32,
    pub(crate) initiator: IpAddr,
}
