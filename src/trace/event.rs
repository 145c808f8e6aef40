//! Trace events: what happened, when, and in which thread.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::Error;
use crate::plain::Plain;
use crate::types::AsaLocator;

/// Something that the engine did, with its time and thread.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TraceEvent {
    /// The time, by the system's clock, which can be set.
    pub time: SystemTime,
    /// The time in milliseconds of [`monotonic_ms`](crate::monotonic_ms), which never goes back.
    pub monotonic_ms: u64,
    /// The name of the thread in which it happened; empty if the thread has none.
    pub thread: Arc<str>,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message arrived or was sent. An outgoing message is reported before the system gets it, so that it always
    /// precedes its answer. If it cannot be sent, a failure follows.
    Message(MessageEvent),
    /// A TCP connection was opened.
    Connected {
        /// The address of this side. An IPv4 address is mapped.
        local: SocketAddrV6,
        /// The address of the peer.
        peer: SocketAddrV6,
        /// Which side opened it: [`Direction::Out`] for this one.
        direction: Direction,
    },
    /// A TCP connection was closed on this side.
    Disconnected {
        /// The address of this side.
        local: SocketAddrV6,
        /// The address of the peer.
        peer: SocketAddrV6,
    },
    /// A TCP connection was secured by TLS: both sides are members of the domain.
    Secured {
        /// The address of this side.
        local: SocketAddrV6,
        /// The address of the peer.
        peer: SocketAddrV6,
        /// The peer's name, as the domain's authority has certified it (RFC 8994 §6.2.2).
        name: String,
    },
    /// What TLS has sent or received on a connection: the handshake, and the sealed form of messages, which are reported as such, too.
    /// Only the engine's own capture is told.
    Records {
        /// The address of this side.
        local: SocketAddrV6,
        /// The address of the peer.
        peer: SocketAddrV6,
        /// Whether it was sent or received.
        direction: Direction,
        /// The bytes on the wire.
        bytes: Arc<[u8]>,
    },
    /// A session started.
    SessionOpened(SessionEvent),
    /// A session ended.
    SessionEnded(SessionEvent, Ending),
    /// An entry was added to a cache, or its lifetime was renewed.
    CacheAdded(CacheEvent),
    /// An entry was removed from a cache.
    CacheRemoved(CacheEvent, Removal),
    /// A discovery or a flood is relayed to the other interfaces; the messages follow.
    Relayed {
        /// The session identifier that it came with.
        session: u32,
        /// The index of the interface on which it came in, and to which it is not relayed.
        except: u32,
    },
    /// Something was dropped or refused, or could not be done.
    Dropped {
        /// The reason: the name of the counter in [`Stats`](crate::Stats) that has just counted it.
        reason: &'static str,
    },
    /// A line of [`tprint!`](crate::tprint) or, in test mode, [`ttprint!`](crate::ttprint), from any thread of the
    /// process; also if it is not printed because the engine is silent. Without the name of the thread.
    Line(String),
}

/// An incoming or outgoing message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MessageEvent {
    /// Whether it came in or goes out.
    pub direction: Direction,
    /// How it travels.
    pub carrier: Carrier,
    /// The address of this side; the group address for a message that came to the group. An IPv4 address is mapped.
    pub local: SocketAddrV6,
    /// The address of the peer; the group address for a message that goes to the group.
    pub peer: SocketAddrV6,
    /// The index of the interface; 0 if unknown, as for TCP with addresses of more than link scope.
    pub ifi: u32,
    /// The message in the clear; the bytes as received if they could not be opened. It need not be a valid message.
    pub bytes: Arc<[u8]>,
    /// The bytes on the wire, if a substrate protects the message. `None` if it travels as it is, or if TLS secures its connection.
    pub sealed: Option<Arc<[u8]>>,
    /// Whether TLS secures its connection. What is on the wire then is not known of a single message.
    pub secured: bool,
}

impl MessageEvent {
    /// The bytes on the wire; below TLS, if that secures the connection.
    #[must_use]
    pub fn on_wire(&self) -> &[u8] {
        self.sealed.as_deref().unwrap_or(&self.bytes)
    }
}

/// The direction of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To this engine.
    In,
    /// From this engine.
    Out,
}

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Carrier {
    /// UDP to the group of all GRASP neighbours.
    Multicast,
    /// UDP to one node.
    UnicastDatagram,
    /// TCP.
    Tcp,
}

/// A session that starts or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionEvent {
    /// The session identifier.
    pub session: u32,
    /// The purpose of the session.
    pub kind: SessionKind,
    /// The peer; the initiator for a relayed discovery, `None` for a discovery of this node. An IPv4 address is mapped.
    pub peer: Option<Ipv6Addr>,
    /// The name of the objective.
    pub objective: String,
}

/// The purpose of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionKind {
    /// A discovery of this node.
    Discovery,
    /// A discovery of another node, which this one relays.
    RelayedDiscovery,
    /// A negotiation, synchronization or messaging session.
    Exchange,
}

/// How a session ended, as this side knows it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Ending {
    /// One side accepted what the other offered.
    Accepted,
    /// One side declined, with its reason if it gave one.
    Declined(Option<String>),
    /// This side reported a message as invalid.
    Invalid,
    /// The value arrived.
    Synchronized,
    /// The discovery is over. Its results are in the cache.
    Discovered,
    /// The ASA is no longer registered, or the engine was shut down.
    Stopped,
    /// The peer closed the connection some time ago, everything that it sent was read, and the ASA did not end the
    /// session.
    Abandoned,
    /// Anything else.
    Failed(Error),
}

impl From<&Error> for Ending {
    fn from(error: &Error) -> Self {
        match error {
            Error::Declined(reason) => Self::Declined(reason.clone()),
            error => Self::Failed(error.clone()),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Declined(None) => f.write_str("declined"),
            Self::Declined(Some(reason)) => write!(f, "declined: {}", Plain(reason)),
            Self::Invalid => f.write_str("invalid"),
            Self::Synchronized => f.write_str("synchronized"),
            Self::Discovered => f.write_str("over"),
            Self::Stopped => f.write_str("stopped"),
            Self::Abandoned => f.write_str("abandoned: the peer had closed the connection"),
            Self::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

/// An entry of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheEvent {
    /// Which cache.
    pub cache: Cache,
    /// The name of the objective.
    pub objective: String,
    /// Where it was found, or the tag that it was flooded with.
    pub locator: AsaLocator,
}

/// A cache of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cache {
    /// What discoveries found.
    Discovery,
    /// What was flooded.
    Flood,
}

/// Why an entry left its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Removal {
    /// Its time was over, or its interface is gone.
    Expired,
    /// It made room for another.
    Evicted,
    /// An ASA asked for it, or nobody answered there.
    Forgotten,
}
