//! What the registries know of a connection: `net::tcp::Connection` is the real one, `Nowhere` one for tests.

use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use crate::bounds::Neighbour;

/// Why nothing could be read from or written to a peer.
#[derive(Debug)]
pub(crate) enum TransportError {
    /// The peer closed the connection and had sent nothing more.
    Closed,
    /// The time is over.
    Timeout,
    /// What came is not one CBOR item within the limits.
    Broken,
    /// The connection failed, as the system says.
    Failed(io::Error),
}

/// The connection of a session, as the API uses it. `net::Connection` is the real one.
pub(crate) trait Transport: fmt::Debug + Send + Sync {
    /// Sends one encoded message.
    fn send(&self, message: &[u8], deadline: Instant) -> std::result::Result<(), TransportError>;
    /// Receives one whole CBOR item, however many pieces it comes in.
    fn receive(&self, deadline: Instant) -> std::result::Result<Vec<u8>, TransportError>;
    /// Whether something that the peer has sent waits to be received, though the peer may have closed since.
    fn has_unread(&self) -> bool;
    /// Whether the peer has closed the connection, or broken it off, and nothing it has sent waits to be received. A peer that
    /// has only shut its own direction down cannot be told from one that has closed.
    fn is_over(&self) -> bool;
    /// Holds the next `send` back: a peer that reads one message at a time would lose what follows at once.
    fn pause_before_next(&self, pause: Duration);
    /// Closes the connection and wakes whoever waits on it.
    fn close(&self);
    /// Lets the connection go without a trace: the peer sees a reset, unless it is gone, and the system does not remember the
    /// port. The socket is closed with the last reference.
    fn reset(&self);
    /// The peer's address; an IPv4 one is mapped.
    fn peer(&self) -> Ipv6Addr;
    /// The peer as quotas count it: link-local addresses of two links are two peers.
    fn neighbour(&self) -> Neighbour;
    /// Whether the peer is on this machine, where two ASAs of one engine share a session's identifier.
    fn is_from_here(&self) -> bool;
}
