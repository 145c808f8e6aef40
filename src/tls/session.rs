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
    /// Nothing more comes: the network has ended, or the peer has said so, or TLS has failed.
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
                self.end();
                return Err(TlsError::Failed(rustls::Error::General("more than a record holds".to_owned())));
            }
            match self.connection.process_new_packets() {
                Ok(state) => {
                    self.opened = state.plaintext_bytes_to_read();
                    if state.peer_has_closed() {
                        // Whatever it sends after that is nothing (RFC 8446 §6.1).
                        self.end();
                        return Ok(());
                    }
                }
                Err(error) => {
                    // Nothing can be read after that, whoever looks next.
                    self.end();
                    return Err(error.into());
                }
            }
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

    /// So many sealed records with a ticket in each: what a server may say without end, but rustls as a server does not.
    #[cfg(test)]
    pub(crate) fn into_tickets(self, records: u64) -> Vec<u8> {
        use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
        /// A ticket of one byte for a second (RFC 8446 §4.6.1), and the type of what is sealed.
        const TICKET: [u8; 20] = [4, 0, 0, 15, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 22];
        /// Application data, TLS 1.2 as all records say, and the length with the tag.
        const HEADER: [u8; 5] = [23, 3, 3, 0, 36];
        let (first, secrets) = self.connection.dangerous_extract_secrets().unwrap().tx;
        let rustls::ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
            panic!("another suite")
        };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
        let mut sealed = Vec::new();
        for number in first..first + records {
            let mut nonce: [u8; NONCE_LEN] = iv.as_ref().try_into().unwrap();
            for (byte, of_number) in nonce.iter_mut().rev().zip(number.to_le_bytes()) {
                *byte ^= of_number;
            }
            let mut record = TICKET.to_vec();
            let nonce = Nonce::assume_unique_for_key(nonce);
            key.seal_in_place_append_tag(nonce, Aad::from(HEADER), &mut record).unwrap();
            sealed.extend_from_slice(&HEADER);
            sealed.extend_from_slice(&record);
        }
        sealed
    }
}
