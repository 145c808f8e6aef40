//! One connection: what comes from the network goes in, what the peer has said comes out.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use rustls::Connection;

use super::TlsError;
use super::identity::Shown;
use crate::domain::{Member, NotMember, Role};

/// The most that a peer may send before it is authenticated, in bytes: three times what the largest chain has that is looked at would
/// be more than TLS can carry in one message.
const HANDSHAKE_LIMIT: usize = 128 * 1024;
/// How much is sealed at a time: rustls keeps no more.
const PIECE: usize = 16 * 1024;

/// What has been read of what the peer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// So many bytes.
    Bytes(usize),
    /// Nothing before more comes from the network.
    Nothing,
    /// The peer says nothing more.
    End,
}

/// A connection of two members, or one that is becoming that.
pub(crate) struct Session {
    connection: Connection,
    shown: Arc<Shown>,
    /// What has come from the network before the peer was authenticated, in bytes.
    strange: usize,
    /// How much of what the peer has said is opened and waits to be read, in bytes.
    opened: usize,
    /// The network has nothing more.
    ended: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("opened", &self.opened).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) const fn new(connection: Connection, shown: Arc<Shown>) -> Self {
        Self { connection, shown, strange: 0, opened: 0, ended: false }
    }

    /// Whether the peer is not authenticated yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the session resumes an earlier one.
    #[cfg(test)]
    pub(crate) fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// Who the peer is, once it is authenticated. A resumed session is checked, too: what was true when it began may not be now.
    pub(crate) fn member(&self) -> Result<Member, NotMember> {
        let role = match self.connection {
            Connection::Client(_) => Role::Server,
            Connection::Server(_) => Role::Client,
        };
        self.shown.check(self.connection.peer_certificates().unwrap_or_default(), role)
    }

    /// Takes bytes of the network.
    ///
    /// # Errors
    /// `TlsError`: then [`Session::drain`] may have something to tell the peer, and the connection is of no more use.
    pub(crate) fn take_in(&mut self, mut bytes: &[u8]) -> Result<(), TlsError> {
        if self.connection.is_handshaking() {
            self.strange = self.strange.saturating_add(bytes.len());
            if self.strange > HANDSHAKE_LIMIT {
                return Err(TlsError::Failed(rustls::Error::General("a handshake without end".to_owned())));
            }
        }
        while !bytes.is_empty() {
            let taken = self.connection.read_tls(&mut bytes);
            if !taken.is_ok_and(|count| count > 0) {
                return Err(TlsError::Failed(rustls::Error::General("more than a record holds".to_owned())));
            }
            self.opened = self.connection.process_new_packets()?.plaintext_bytes_to_read();
        }
        Ok(())
    }

    /// The network has nothing more. What has come before can still be read.
    pub(crate) const fn end(&mut self) {
        self.ended = true;
    }

    /// Whether there is something to read, or the end, without anything more from the network.
    pub(crate) const fn is_readable(&self) -> bool {
        self.opened > 0 || self.ended
    }

    /// Whether there is something to read.
    pub(crate) const fn has_plaintext(&self) -> bool {
        self.opened > 0
    }

    /// Reads what the peer has said.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Plain {
        match self.connection.reader().read(buffer) {
            Ok(count) if count > 0 => {
                self.opened = self.opened.saturating_sub(count);
                Plain::Bytes(count)
            }
            // A message of GRASP ends where its item ends: one that is cut off is seen, whether the peer says that it ends or not.
            Ok(_) => Plain::End,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.ended => Plain::Nothing,
            Err(_) => Plain::End,
        }
    }

    /// Seals a message. Returns what is to go out, in this order with all else.
    ///
    /// # Errors
    /// `TlsError` if the connection has failed.
    pub(crate) fn seal(&mut self, message: &[u8]) -> Result<Vec<u8>, TlsError> {
        let mut sealed = Vec::with_capacity(message.len().saturating_add(64));
        for piece in message.chunks(PIECE) {
            let written = self.connection.writer().write_all(piece);
            written.map_err(|error| TlsError::Failed(rustls::Error::General(error.to_string())))?;
            self.drain_into(&mut sealed);
        }
        Ok(sealed)
    }

    /// What is to go out besides messages: the handshake, alerts.
    pub(crate) fn drain(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.drain_into(&mut bytes);
        bytes
    }

    fn drain_into(&mut self, bytes: &mut Vec<u8>) {
        // Writing to memory does not fail.
        while self.connection.wants_write() && self.connection.write_tls(bytes).is_ok_and(|count| count > 0) {
        }
    }

    /// Says that nothing more comes. Returns what is to go out.
    pub(crate) fn close(&mut self) -> Vec<u8> {
        self.connection.send_close_notify();
        self.drain()
    }
}
