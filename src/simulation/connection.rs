//! The receiving side of the engine's TCP connection, for fuzzing: with the caller's socket, or without a socket.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::acp::{Protection, Whole};
use crate::net::tcp::{Assembly, Connection, Framing};
use crate::registry::{Transport, TransportError};
use crate::stats::Stats;
use crate::wire::Limits;

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveError {
    /// The peer closed the connection and sent nothing more.
    Closed,
    /// The time is over.
    Timeout,
    /// The data is not one CBOR item within the limits, or cannot be decrypted.
    Broken,
    /// The connection failed.
    Failed,
}

impl From<TransportError> for ReceiveError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Closed => Self::Closed,
            TransportError::Timeout => Self::Timeout,
            TransportError::Broken => Self::Broken,
            TransportError::Failed(_) => Self::Failed,
        }
    }
}

/// A connection of the engine.
#[derive(Debug)]
pub struct SimulatedConnection {
    connection: Connection,
    framing: Framing,
}

impl SimulatedConnection {
    /// Wraps a connected socket.
    #[must_use]
    pub fn new(
        stream: TcpStream,
        peer: SocketAddr,
        limits: Limits,
        protection: Option<Arc<dyn Protection>>,
    ) -> Self {
        let framing = Framing::of_its_own(limits, protection);
        Self { connection: Connection::new(stream, peer, framing.clone()), framing }
    }

    /// Receives one whole item within the time.
    ///
    /// # Errors
    /// [`ReceiveError`]. A retry does not help: a part of the item that was received is lost.
    pub fn receive(&self, timeout: Duration) -> Result<Vec<u8>, ReceiveError> {
        Ok(self.connection.receive(Instant::now() + timeout)?)
    }

    /// The statistics of the connection.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.framing.stats()
    }
}

/// A message that is reassembled from pieces, as a connection does it.
#[derive(Debug)]
pub struct SimulatedAssembly(Assembly);

impl SimulatedAssembly {
    /// Creates an empty one.
    #[must_use]
    pub fn new(limits: Limits, protection: Option<Arc<dyn Protection>>) -> Self {
        Self(Framing::of_its_own(limits, protection).assembly())
    }

    /// Adds the next piece. Returns the message once it is complete, with the data behind it.
    ///
    /// # Errors
    /// [`ReceiveError::Broken`].
    pub fn feed(&mut self, piece: &[u8]) -> Result<Option<Whole>, ReceiveError> {
        Ok(self.0.feed(piece)?)
    }

    /// Whether nothing has been received yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
