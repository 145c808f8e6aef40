//! The receiving side of a TCP connection, as the engine has it, for fuzzing: around a socket of the caller, or
//! without any.

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
    /// The peer closed the connection and had sent nothing more.
    Closed,
    /// The time is over.
    Timeout,
    /// What came is not one CBOR item within the limits, or does not open.
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
    /// Around a connected socket.
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
    /// [`ReceiveError`]. A retry does not help: what had come of the item is lost.
    pub fn receive(&self, timeout: Duration) -> Result<Vec<u8>, ReceiveError> {
        Ok(self.connection.receive(Instant::now() + timeout)?)
    }

    /// What the connection has counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.framing.stats()
    }
}

/// A message that is put together from pieces, as a connection does it.
#[derive(Debug)]
pub struct SimulatedAssembly(Assembly);

impl SimulatedAssembly {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(limits: Limits, protection: Option<Arc<dyn Protection>>) -> Self {
        Self(Framing::of_its_own(limits, protection).assembly())
    }

    /// Takes the next piece. Returns the message once it is whole, with what came behind it.
    ///
    /// # Errors
    /// [`ReceiveError::Broken`].
    pub fn feed(&mut self, piece: &[u8]) -> Result<Option<Whole>, ReceiveError> {
        Ok(self.0.feed(piece)?)
    }

    /// Whether nothing has come yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
