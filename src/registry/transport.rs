//! The view that the registries have of a connection: `net::tcp::Connection` is the real one, `Nowhere` is one for
//! tests.

use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use crate::bounds::Neighbour;

/// Why nothing could be read from or written to a peer.
#[derive(Debug)]
pub(crate) enum TransportError {
    /// The peer closed the connection, and no more data is left to read.
    Closed,
    /// The time is up.
    Timeout,
    /// The data is not one CBOR item within the limits.
    Broken,
    /// The connection failed; the error of the system says why.
    Failed(io::Error),
}

/// The connection of a session, as the API uses it. `net::Connection` is the real one.
pub(crate) trait Transport: fmt::Debug + Send + Sync {
    /// Sends one encoded message.
    fn send(&self, message: &[u8], deadline: Instant) -> std::result::Result<(), TransportError>;
    /// Receives one whole CBOR item, however many pieces it comes in.
    fn receive(&self, deadline: Instant) -> std::result::Result<Vec<u8>, TransportError>;
    /// Whether data from the peer waits to be received. The peer may have closed since.
    fn has_unread(&self) -> bool;
    /// Whether the peer has closed or reset the connection, and no data from it waits to be received. A peer that has
    /// only shut down its own direction looks the same as one that has closed.
    fn is_over(&self) -> bool;
    /// Delays the next `send`: a peer that reads one message at a time would lose a message that follows at once.
    fn pause_before_next(&self, pause: Duration);
    /// Closes the connection and wakes the threads that wait on it.
    fn close(&self);
    /// Drops the connection without a trace: the peer, unless it is gone, sees a reset, and the system does not
    /// remember the port. The socket is closed with the last reference.
    fn reset(&self);
    /// The peer's address; an IPv4 address is mapped.
    fn peer(&self) -> Ipv6Addr;
    /// The peer as quotas count it: the same link-local address on two links is two peers.
    fn neighbour(&self) -> Neighbour;
    /// The peer's name as the authority of its domain has certified it; `None` where certificates do not secure the connection.
    fn certified_name(&self) -> Option<String> {
        None
    }
    /// Whether the peer is still a member of the domain, where certificates secure the connection; true elsewhere. `again` checks its
    /// certificates again, by present credentials; else only their time.
    fn is_member(&self, again: bool) -> bool {
        let _ = again;
        true
    }
    /// Whether TLS secures the connection; `None` where that is no question.
    fn is_secured(&self) -> Option<bool> {
        None
    }
    /// Whether the peer is on this machine. There, two ASAs of one engine share a session identifier.
    fn is_from_here(&self) -> bool;
}
