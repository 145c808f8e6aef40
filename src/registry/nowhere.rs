//! A connection that leads nowhere, for the simulator and for tests of what needs to know its peer only.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::{Transport, TransportError};

/// Closed from the beginning; the peer has this address.
#[derive(Debug)]
pub(crate) struct Nowhere(pub(crate) Ipv6Addr);

impl Transport for Nowhere {
    fn send(&self, _: &[u8], _: Duration) -> Result<(), TransportError> {
        Err(TransportError::Closed)
    }

    fn receive(&self, _: Duration) -> Result<Vec<u8>, TransportError> {
        Err(TransportError::Closed)
    }

    fn pause_before_next(&self, _: Duration) {}

    fn close(&self) {}

    fn peer(&self) -> Ipv6Addr {
        self.0
    }

    fn is_from_here(&self) -> bool {
        false
    }
}
