//! A connection that leads nowhere: for the simulator, and for tests that need only the address of a peer.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use super::{Transport, TransportError};
use crate::bounds::Neighbour;

/// Closed from the beginning. The peer has this address, on this interface if the address is link-local.
#[derive(Debug)]
pub(crate) struct Nowhere(pub(crate) Ipv6Addr, pub(crate) u32);

impl Transport for Nowhere {
    fn send(&self, _: &[u8], _: Instant) -> Result<(), TransportError> {
        Err(TransportError::Closed)
    }

    fn receive(&self, _: Instant) -> Result<Vec<u8>, TransportError> {
        Err(TransportError::Closed)
    }

    fn has_unread(&self) -> bool {
        false
    }

    fn is_over(&self) -> bool {
        true
    }

    fn pause_before_next(&self, _: Duration) {}

    fn close(&self) {}

    fn reset(&self) {}

    fn peer(&self) -> Ipv6Addr {
        self.0
    }

    fn neighbour(&self) -> Neighbour {
        (self.1, self.0)
    }

    fn is_from_here(&self) -> bool {
        false
    }
}
