//! A connection with a neighbour that carries multicasts, in both directions at any time. Many threads offer messages, and never wait; the
//! connection's own thread, `_neighbour`, reads, and sends what could not be sent at once.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};

use super::Connection;
#[cfg(feature = "domain")]
use crate::domain::{AcpAddress, NotMember};
use crate::net::wait::{self, Watched};
use crate::net::waker::Waker;
use crate::registry::{Adjacent, Transport as _, TransportError};
use crate::trace::Direction;
use crate::wire::{Body, decode};

/// When the system begins to ask a silent neighbour whether it is there, how often it asks, and after how long without an answer, or with
/// data that the neighbour does not take, the connection fails: within 10 seconds together.
const SILENT: Duration = Duration::from_secs(3);
const ASK_EVERY: Duration = Duration::from_secs(2);
const LOST: Duration = Duration::from_secs(8);
/// How much the system keeps that the neighbour has not taken, in bytes; Linux takes twice that. More than that waits in the queue, where
/// old floods make room.
const SEND_BUFFER: usize = 64 << 10;
/// How long a connection that has been replaced takes what its neighbour still says.
const FAREWELL: Duration = Duration::from_secs(5);

/// A connection with a neighbour.
pub(crate) struct Adjacency {
    connection: Arc<Connection>,
    outgoing: Mutex<Outgoing>,
    waker: Waker,
    /// How many bytes may wait.
    limit: usize,
}

impl fmt::Debug for Adjacency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Adjacency").field(&self.connection).finish()
    }
}

#[derive(Debug, Default)]
struct Outgoing {
    /// The rest of what has been sealed, of which the neighbour has taken a part.
    rest: Vec<u8>,
    queue: VecDeque<Waiting>,
    /// How many bytes are in the queue.
    bytes: usize,
    /// Nothing more is offered after this time; then the connection ends.
    retired: Option<Instant>,
    /// Both sides have said all they had to say: the neighbour knows.
    said_goodbye: bool,
    failed: bool,
}

/// A message that waits, and the objective of which it is a flood.
#[derive(Debug)]
struct Waiting {
    message: Vec<u8>,
    flooded: Option<String>,
}

impl Outgoing {
    /// Drops floods until there is room for one more: of the same objective first, then the oldest. Returns how many.
    fn make_room(&mut self, length: usize, flooded: Option<&str>, limit: usize) -> usize {
        let mut dropped = 0;
        while self.bytes.saturating_add(length) > limit {
            let same = |one: &Waiting| flooded.is_some() && one.flooded.as_deref() == flooded;
            let oldest = self.queue.iter().position(same);
            let oldest = oldest.or_else(|| self.queue.iter().position(|one| one.flooded.is_some()));
            let Some(gone) = self.queue.remove(oldest.unwrap_or(0)) else { break };
            self.bytes = self.bytes.saturating_sub(gone.message.len());
            dropped += 1;
        }
        dropped
    }
}

impl Adjacency {
    /// Takes over a connection that is secured, if it is to be. At most `limit` bytes wait for the neighbour.
    ///
    /// # Errors
    /// If the system has no more descriptors.
    pub(crate) fn new(connection: Arc<Connection>, limit: usize) -> io::Result<Self> {
        let socket = SockRef::from(connection.stream.socket());
        socket.set_tcp_keepalive(
            &TcpKeepalive::new().with_time(SILENT).with_interval(ASK_EVERY).with_retries(9),
        )?;
        socket.set_tcp_user_timeout(Some(LOST))?;
        socket.set_send_buffer_size(SEND_BUFFER)?;
        Ok(Self { connection, outgoing: Mutex::default(), waker: Waker::new()?, limit })
    }

    /// Waits for a message, and sends what waits meanwhile.
    ///
    /// # Errors
    /// `Closed` and `Failed` once the connection is over, `Broken` if the neighbour does not send messages, `Timeout` if it has been
    /// replaced, and the neighbour has had its time.
    pub(crate) fn receive(&self) -> Result<Vec<u8>, TransportError> {
        loop {
            let (is_stuck, until) = self.flush()?;
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(TransportError::Timeout);
            }
            match self.connection.receive_present() {
                Err(TransportError::Timeout) => {}
                received => return received,
            }
            if self.connection.stream.is_readable() {
                continue;
            }
            let socket = Watched { descriptor: self.connection.stream.socket().as_fd(), for_room: is_stuck };
            if wait::wait_with(&socket, self.waker.as_fd(), until)? {
                self.waker.clear();
            }
        }
    }

    /// Sends what waits as far as the neighbour takes it. Returns whether something still waits, and when the connection ends.
    fn flush(&self) -> Result<(bool, Option<Instant>), TransportError> {
        let mut outgoing = self.outgoing.lock();
        let is_stuck = loop {
            self.push(&mut outgoing)?;
            if !outgoing.rest.is_empty() {
                break true;
            }
            let Some(Waiting { message, .. }) = outgoing.queue.pop_front() else { break false };
            outgoing.bytes = outgoing.bytes.saturating_sub(message.len());
            self.seal(&mut outgoing, &message)?;
        };
        if !is_stuck && outgoing.retired.is_some() && !outgoing.said_goodbye {
            outgoing.said_goodbye = true;
            self.connection.stream.say_goodbye();
            // The neighbour reads the end, and does the same.
            let _ = self.connection.stream.socket().shutdown(Shutdown::Write);
        }
        Ok((is_stuck, outgoing.retired))
    }

    /// Seals a message, behind all else.
    fn seal(&self, outgoing: &mut Outgoing, message: &[u8]) -> io::Result<()> {
        let connection = &self.connection;
        let protected = connection.framing.protection.as_ref().map(|protection| protection.seal(message));
        connection.trace(Direction::Out, message, protected.as_deref());
        let sealed = connection.stream.seal(protected.as_deref().unwrap_or(message))?;
        outgoing.rest.extend_from_slice(&sealed);
        Ok(())
    }

    /// Sends of what is sealed as much as the neighbour takes now.
    fn push(&self, outgoing: &mut Outgoing) -> io::Result<()> {
        if outgoing.rest.is_empty() {
            return Ok(());
        }
        let count = wait::write_present(self.connection.stream.socket(), &outgoing.rest)?;
        self.connection.framing.counters.bytes_sent.add_many(count);
        outgoing.rest.drain(..count);
        if outgoing.rest.is_empty() {
            // What a burst took is given back.
            outgoing.rest = Vec::new();
        }
        Ok(())
    }

    /// The first objective, if the message is a flood.
    fn flooded(&self, message: &[u8]) -> Option<String> {
        match decode(message, &self.connection.framing.limits).ok()?.body {
            Body::Flood(flood) => flood.objectives.into_iter().next().map(|(objective, _)| objective.name),
            _ => None,
        }
    }

    /// Sends at once, or queues. Returns whether it has to wait.
    fn send_or_queue(&self, outgoing: &mut Outgoing, message: &[u8]) -> io::Result<bool> {
        if outgoing.rest.is_empty() && outgoing.queue.is_empty() {
            self.seal(outgoing, message)?;
            self.push(outgoing)?;
            return Ok(!outgoing.rest.is_empty());
        }
        let flooded = self.flooded(message);
        let dropped = outgoing.make_room(message.len(), flooded.as_deref(), self.limit);
        self.connection.framing.counters.dropped_neighbour_queue.add_many(dropped);
        outgoing.bytes = outgoing.bytes.saturating_add(message.len());
        outgoing.queue.push_back(Waiting { message: message.to_vec(), flooded });
        Ok(true)
    }
}

impl Connection {
    /// Checks that the name of a member has an address, without which it is no neighbour (RFC 8994 §6.2.3, rule 5).
    ///
    /// # Errors
    /// `Broken`, counted, if it has none.
    pub(crate) fn check_neighbour(&self) -> Result<(), TransportError> {
        #[cfg(feature = "domain")]
        if self.stream.peer_name().is_some_and(|name| name.address() == AcpAddress::Omitted) {
            self.framing.counters.connections_not_secured.add();
            log::debug!("the connection with {} is not secured: {}", self.peer, NotMember::NoAddress);
            return Err(TransportError::Broken);
        }
        Ok(())
    }

    /// The certificate that the peer has shown; `None` without TLS.
    pub(crate) fn certificate(&self) -> Option<String> {
        #[cfg(feature = "domain")]
        return self.stream.peer_certificate();
        #[cfg(not(feature = "domain"))]
        None
    }
}

impl Adjacent for Adjacency {
    fn offer(&self, message: &[u8]) -> bool {
        let mut outgoing = self.outgoing.lock();
        if outgoing.failed || outgoing.retired.is_some() {
            return false;
        }
        match self.send_or_queue(&mut outgoing, message) {
            Ok(waits) => {
                drop(outgoing);
                if waits {
                    self.waker.wake();
                }
                true
            }
            Err(error) => {
                log::debug!("sending to the neighbour {}: {error}", self.connection.peer);
                outgoing.failed = true;
                drop(outgoing);
                self.connection.close();
                false
            }
        }
    }

    fn retire(&self) {
        let mut outgoing = self.outgoing.lock();
        outgoing.retired.get_or_insert_with(|| Instant::now() + FAREWELL);
        drop(outgoing);
        self.waker.wake();
    }

    fn close(&self) {
        self.connection.close();
        self.waker.wake();
    }

    fn certified_name(&self) -> Option<String> {
        self.connection.certified_name()
    }

    fn is_member(&self, again: bool) -> bool {
        self.connection.is_member(again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_waits_the_oldest_flood_of_the_same_objective_makes_room_and_then_any_other_flood() {
        let mut outgoing = Outgoing::default();
        let mut offer = |name: Option<&str>, number: u8| {
            let dropped = outgoing.make_room(10, name, 40);
            outgoing.bytes += 10;
            let flooded = name.map(ToOwned::to_owned);
            outgoing.queue.push_back(Waiting { message: vec![number; 10], flooded });
            (dropped, outgoing.queue.iter().map(|one| one.message[0]).collect::<Vec<_>>())
        };
        for (number, name) in [(1, None), (2, Some("a")), (3, Some("b"))] {
            assert_eq!(offer(name, number).0, 0);
        }
        assert_eq!(offer(Some("a"), 4), (0, vec![1, 2, 3, 4]));
        assert_eq!(
            offer(Some("b"), 5),
            (1, vec![1, 2, 4, 5]),
            "the one of the same objective, not the oldest"
        );
        assert_eq!(
            offer(Some("c"), 6),
            (1, vec![1, 4, 5, 6]),
            "the oldest flood, not the discovery before it"
        );
        assert_eq!(offer(None, 7), (1, vec![1, 5, 6, 7]));
        for (number, left) in [(8, vec![1, 6, 7, 8]), (9, vec![1, 7, 8, 9])] {
            assert_eq!(offer(None, number), (1, left), "a flood, as long as one waits");
        }
        assert_eq!(offer(None, 10), (1, vec![7, 8, 9, 10]), "then the oldest");
    }
}
