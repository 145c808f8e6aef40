//! One TCP connection that carries messages (graspy's `_recvraw` and the sockets of its sessions).
//!
//! CBOR itself is the only framing (RFC 8990 §2.5.3): a message ends where its item ends, however TCP splits it. Every
//! operation has a deadline and a size limit.

mod adjacency;
mod assembly;

pub(crate) use adjacency::Adjacency;
pub(crate) use assembly::Assembly;

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use socket2::SockRef;

use super::channel::{Channel, local_of, mapped};
#[cfg(feature = "domain")]
use super::channel::{Opening, Tap};
use super::listener::Listener;
use crate::acp::{Protection, Whole};
use crate::bounds::Neighbour;
use crate::interrupt;
use crate::registry::{Transport, TransportError};
use crate::stats::Counters;
#[cfg(feature = "domain")]
use crate::tls::Identity;
use crate::trace::{Carrier, Direction, Event, MessageEvent};
use crate::wire::{ItemScanner, Limits};

/// How many bytes one read takes at most.
const CHUNK: usize = 2048;

/// How long reading what is there may take at a time: a peer may send without end.
const PRESENT: Duration = Duration::from_secs(1);

/// How messages are transferred: their limits, their protection, and their counters.
#[derive(Clone, Debug)]
pub(crate) struct Framing {
    pub(crate) limits: Limits,
    pub(crate) protection: Option<Arc<dyn Protection>>,
    /// With which connections are secured by TLS.
    #[cfg(feature = "domain")]
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) counters: Arc<Counters>,
}

impl Framing {
    /// Creates the framing of one connection without an engine.
    #[cfg(feature = "_simulator")]
    pub(crate) fn of_its_own(limits: Limits, protection: Option<Arc<dyn Protection>>) -> Self {
        Self {
            limits,
            protection,
            #[cfg(feature = "domain")]
            identity: None,
            counters: Arc::default(),
        }
    }

    /// Without protection.
    #[cfg(test)]
    pub(super) fn bare(limits: Limits) -> Self {
        Self {
            limits,
            protection: None,
            #[cfg(feature = "domain")]
            identity: None,
            counters: Arc::default(),
        }
    }

    /// Whether connections are secured by TLS.
    pub(super) const fn is_secured(&self) -> bool {
        #[cfg(feature = "domain")]
        return self.identity.is_some();
        #[cfg(not(feature = "domain"))]
        false
    }

    fn channel(&self, stream: TcpStream, peer: SocketAddrV6) -> Channel {
        #[cfg(feature = "domain")]
        if let Some(identity) = &self.identity {
            return Channel::secured(
                stream,
                Arc::clone(identity),
                Tap::new(Arc::clone(&self.counters), peer),
            );
        }
        let _ = peer;
        Channel::plain(stream)
    }

    /// The counters at this moment.
    #[cfg(feature = "_simulator")]
    pub(crate) fn stats(&self) -> crate::stats::Stats {
        self.counters.snapshot()
    }

    pub(crate) fn assembly(&self) -> Assembly {
        match &self.protection {
            None => Assembly::Plain { scanner: ItemScanner::new(self.limits), message: Vec::new() },
            Some(protection) => Assembly::Sealed { reader: protection.reader(self.limits), started: false },
        }
    }
}

/// A connection to a peer. Its socket may be blocking or not: every wait has a deadline, in `wait`.
pub(crate) struct Connection {
    stream: Channel,
    peer: SocketAddrV6,
    framing: Framing,
    /// Data received for the next message. Locked by the receiving thread.
    incoming: Mutex<Vec<u8>>,
    /// Locked by the sending thread.
    outgoing: Mutex<()>,
    /// Nothing is sent before this time.
    not_before: Mutex<Option<Instant>>,
    closed: AtomicBool,
    /// Who has opened it.
    #[cfg(feature = "domain")]
    direction: Direction,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Connection {
    /// Wraps an accepted socket.
    pub(crate) fn new(stream: TcpStream, peer: SocketAddr, framing: Framing) -> Self {
        Self::connected(stream, peer, framing, Direction::In)
    }

    /// Wraps a socket that this side has connected.
    pub(super) fn opened(stream: TcpStream, peer: SocketAddr, framing: Framing) -> Self {
        framing.counters.connections_opened.add();
        Self::connected(stream, peer, framing, Direction::Out)
    }

    fn connected(stream: TcpStream, peer: SocketAddr, framing: Framing, direction: Direction) -> Self {
        let peer = mapped(peer);
        let connection = Self {
            stream: framing.channel(stream, peer),
            peer,
            framing,
            incoming: Mutex::default(),
            outgoing: Mutex::default(),
            not_before: Mutex::default(),
            closed: AtomicBool::new(false),
            #[cfg(feature = "domain")]
            direction,
        };
        let event = || Event::Connected { local: connection.local(), peer: connection.peer, direction };
        connection.framing.counters.tracer().emit(event);
        connection
    }

    /// Secures the connection by TLS before the deadline, if this engine's connections are secured so: nothing is sent or received
    /// before. Does nothing otherwise.
    ///
    /// # Errors
    /// `Failed` with the reason if the peer is no member of the domain, or does not speak TLS.
    pub(crate) fn secure(&self, deadline: Instant) -> Result<(), TransportError> {
        #[cfg(feature = "domain")]
        {
            let opening = match self.direction {
                Direction::Out => Opening::Here,
                Direction::In => Opening::There,
            };
            self.stream.establish(opening, deadline).inspect_err(|error| {
                self.framing.counters.connections_not_secured.add();
                log::debug!("the connection with {} is not secured: {error}", self.peer);
            })?;
            if let Some(name) = self.stream.peer_name() {
                let event =
                    || Event::Secured { local: self.local(), peer: self.peer, name: name.to_string() };
                self.framing.counters.tracer().emit(event);
            }
        }
        let _ = deadline;
        Ok(())
    }

    /// Whether the connection has to be secured before it is used.
    pub(crate) const fn is_to_be_secured(&self) -> bool {
        self.framing.is_secured()
    }

    /// Returns the interface that an accepted connection came in by. Linux stores it where a datagram socket stores the
    /// interface for its multicasts.
    pub(crate) fn interface(&self) -> io::Result<u32> {
        SockRef::from(self.stream.socket()).multicast_if_v6()
    }

    /// Returns the first message if it arrives completely before the deadline and before `listener` has another
    /// connection; otherwise `None`, and `receive` continues with the data that has arrived.
    pub(crate) fn receive_at_once(
        &self,
        listener: &Listener,
        deadline: Instant,
    ) -> Option<Result<Vec<u8>, TransportError>> {
        let read = |chunk: &mut [u8]| loop {
            let present = self.stream.read_present(chunk)?;
            if present.is_some() || !listener.wait_for(self.stream.socket(), deadline)? {
                return Ok(present);
            }
        };
        match self.receive_by(deadline, read) {
            Err(TransportError::Timeout) => None,
            received => Some(received),
        }
    }

    /// Returns a message if the rest of it has come; `Timeout` if not.
    fn receive_present(&self) -> Result<Vec<u8>, TransportError> {
        self.receive_by(Instant::now() + PRESENT, |chunk| self.stream.read_present(chunk))
    }

    /// Receives a message. `read` reads a piece of it; it returns 0 at the end of the stream, and `None` to stop instead of waiting longer.
    fn receive_by(
        &self,
        deadline: Instant,
        read: impl Fn(&mut [u8]) -> io::Result<Option<usize>>,
    ) -> Result<Vec<u8>, TransportError> {
        let mut incoming = lock_before(&self.incoming, deadline).ok_or(TransportError::Timeout)?;
        let mut raw = std::mem::take(&mut *incoming);
        let assembled = self.assemble(&mut raw, deadline, read);
        // The trace needs the bytes as received: the sealed form cannot be reconstructed from the message.
        let is_sealed = self.framing.protection.is_some();
        match assembled {
            Ok(Whole { message, rest }) => {
                raw.truncate(raw.len().saturating_sub(rest.len()));
                self.trace(Direction::In, &message, is_sealed.then_some(raw.as_slice()));
                *incoming = rest;
                Ok(message)
            }
            Err(error) => {
                match error {
                    TransportError::Broken => {
                        self.trace(Direction::In, &raw, is_sealed.then_some(raw.as_slice()))
                    }
                    TransportError::Timeout => *incoming = raw,
                    TransportError::Closed | TransportError::Failed(_) => {}
                }
                Err(error)
            }
        }
    }

    /// Reads until a message is complete. `raw` holds the data already received, and grows with what is read.
    fn assemble(
        &self,
        raw: &mut Vec<u8>,
        deadline: Instant,
        read: impl Fn(&mut [u8]) -> io::Result<Option<usize>>,
    ) -> Result<Whole, TransportError> {
        let mut assembly = self.framing.assembly();
        let mut whole = assembly.feed(raw)?;
        let mut chunk = [0; CHUNK];
        loop {
            if let Some(whole) = whole {
                return Ok(whole);
            }
            // Check also while there is more to read: a peer may send without end.
            if Instant::now() >= deadline {
                return Err(TransportError::Timeout);
            }
            let count = read(&mut chunk)?.ok_or(TransportError::Timeout)?;
            let Some(piece) = chunk.get(..count).filter(|piece| !piece.is_empty()) else {
                return Err(if raw.is_empty() { TransportError::Closed } else { TransportError::Broken });
            };
            self.framing.counters.bytes_received.add_many(count);
            raw.extend_from_slice(piece);
            whole = assembly.feed(piece)?;
        }
    }

    /// The local address; unspecified if the system does not tell.
    fn local(&self) -> SocketAddrV6 {
        local_of(self.stream.socket())
    }

    /// Traces a message.
    fn trace(&self, direction: Direction, message: &[u8], sealed: Option<&[u8]>) {
        self.framing.counters.tracer().emit(|| {
            let (local, peer) = (self.local(), self.peer);
            let ifi = if peer.scope_id() == 0 { local.scope_id() } else { peer.scope_id() };
            let (bytes, sealed) = (message.into(), sealed.map(Into::into));
            let secured = self.framing.is_secured();
            Event::Message(MessageEvent {
                direction,
                carrier: Carrier::Tcp,
                local,
                peer,
                ifi,
                bytes,
                sealed,
                secured,
            })
        });
    }

    /// Traces once that this side has closed.
    fn trace_closed(&self) {
        if !self.closed.swap(true, Ordering::Relaxed) {
            self.framing
                .counters
                .tracer()
                .emit(|| Event::Disconnected { local: self.local(), peer: self.peer });
        }
    }

    /// Waits until the next message may be sent.
    fn pause(&self, deadline: Instant) -> Result<(), TransportError> {
        let Some(not_before) = self.not_before.lock().take() else { return Ok(()) };
        std::thread::sleep(not_before.min(deadline).saturating_duration_since(Instant::now()));
        if not_before > deadline { Err(TransportError::Timeout) } else { Ok(()) }
    }
}

impl From<io::Error> for TransportError {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::TimedOut { Self::Timeout } else { Self::Failed(error) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.framing.counters.connections_closed.add();
        self.trace_closed();
    }
}

impl Transport for Connection {
    fn send(&self, message: &[u8], deadline: Instant) -> Result<(), TransportError> {
        let _sending = lock_before(&self.outgoing, deadline).ok_or(TransportError::Timeout)?;
        self.pause(deadline)?;
        let sealed = self.framing.protection.as_ref().map(|protection| protection.seal(message));
        self.trace(Direction::Out, message, sealed.as_deref());
        let bytes = sealed.as_deref().unwrap_or(message);
        let count = &self.framing.counters;
        self.stream.write_all(bytes, deadline, |written| count.bytes_sent.add_many(written))?;
        count.messages_sent.add();
        Ok(())
    }

    fn receive(&self, deadline: Instant) -> Result<Vec<u8>, TransportError> {
        self.receive_by(deadline, |chunk| self.stream.read(chunk, deadline))
    }

    fn has_unread(&self) -> bool {
        // The receiving thread has the data, or will get it.
        self.incoming.try_lock().is_none_or(|incoming| !incoming.is_empty() || self.stream.has_input())
    }

    fn is_over(&self) -> bool {
        // The receiving thread notices the end itself.
        self.incoming.try_lock().is_some_and(|incoming| incoming.is_empty() && self.stream.has_ended())
    }

    fn pause_before_next(&self, pause: Duration) {
        *self.not_before.lock() = Instant::now().checked_add(pause);
    }

    fn close(&self) {
        // TLS says goodbye before that is traced, while nobody else can send.
        self.stream.close(self.outgoing.try_lock().is_none());
        self.trace_closed();
    }

    fn reset(&self) {
        self.trace_closed();
        // If this fails, the system merely remembers the port for a minute.
        let _ = SockRef::from(self.stream.socket()).set_linger(Some(Duration::ZERO));
    }

    fn peer(&self) -> Ipv6Addr {
        *self.peer.ip()
    }

    fn neighbour(&self) -> Neighbour {
        (self.peer.scope_id(), *self.peer.ip())
    }

    #[cfg(feature = "domain")]
    fn is_member(&self, again: bool) -> bool {
        self.stream.is_member(again)
    }

    #[cfg(feature = "domain")]
    fn certified_name(&self) -> Option<String> {
        self.stream.peer_name().map(ToString::to_string)
    }

    fn is_secured(&self) -> Option<bool> {
        Some(self.is_to_be_secured())
    }

    fn is_from_here(&self) -> bool {
        self.stream.socket().local_addr().is_ok_and(|local| mapped(local).ip() == self.peer.ip())
    }
}

/// Takes a lock that another thread may hold while it waits for the peer.
fn lock_before<T>(mutex: &Mutex<T>, deadline: Instant) -> Option<MutexGuard<'_, T>> {
    if let Some(guard) = mutex.try_lock() {
        return Some(guard);
    }
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(guard) = mutex.try_lock_for(interrupt::slice(left)) {
            return Some(guard);
        }
        if Instant::now() >= deadline || interrupt::is_over() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpListener};

    fn pair(size: usize) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        let limits = Limits { size, ..Limits::default() };
        let framing = Framing::bare(limits);
        (Connection::new(server, peer, framing), client)
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn after(time: Duration) -> Instant {
        Instant::now() + time
    }

    #[test]
    fn a_second_thread_that_receives_or_sends_keeps_its_own_deadline() {
        let (connection, client) = pair(2048);
        let connection = Arc::new(connection);
        let receiver = Arc::clone(&connection);
        let first = std::thread::Builder::new().spawn(move || receiver.receive(after(60 * SECOND))).unwrap();
        while connection.incoming.try_lock().is_some() {
            std::thread::yield_now();
        }
        let started = Instant::now();
        assert!(matches!(connection.receive(after(SECOND / 10)), Err(TransportError::Timeout)));
        let sending = connection.outgoing.lock();
        assert!(matches!(connection.send(&[1], after(SECOND / 10)), Err(TransportError::Timeout)));
        assert!(started.elapsed() < 20 * SECOND, "{:?}", started.elapsed());
        drop((sending, client));
        assert!(matches!(first.join().unwrap(), Err(TransportError::Closed)));
    }

    #[test]
    fn a_message_in_single_bytes_and_two_messages_in_one_piece_are_read_one_by_one() {
        let (connection, mut client) = pair(2048);
        let writer = std::thread::Builder::new().spawn(move || {
            for byte in [0x82, 0x01, 0x61, b'a'] {
                client.write_all(&[byte]).unwrap();
                client.flush().unwrap();
            }
            client.write_all(&[0x81, 0x00, 0x81, 0x07]).unwrap();
        });
        assert_eq!(connection.receive(after(SECOND)).unwrap(), [0x82, 0x01, 0x61, b'a']);
        assert_eq!(connection.receive(after(SECOND)).unwrap(), [0x81, 0x00]);
        assert_eq!(connection.receive(after(SECOND)).unwrap(), [0x81, 0x07]);
        writer.unwrap().join().unwrap();
        assert!(matches!(connection.receive(after(SECOND)), Err(TransportError::Closed)));
    }

    #[test]
    fn every_way_of_not_sending_a_message_has_its_error() {
        let (connection, mut client) = pair(16);
        assert!(matches!(connection.receive(after(SECOND / 50)), Err(TransportError::Timeout)));
        client.write_all(&[0x82]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(matches!(connection.receive(after(SECOND)), Err(TransportError::Broken)));
        let (connection, mut client) = pair(16);
        client.write_all(&[0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).unwrap();
        assert!(
            matches!(connection.receive(after(SECOND)), Err(TransportError::Broken)),
            "an exabyte is refused at once"
        );
    }

    #[test]
    fn a_trickle_of_bytes_does_not_extend_the_deadline() {
        let (connection, mut client) = pair(2048);
        let trickle = std::thread::Builder::new().spawn(move || {
            let started = Instant::now();
            // An array that never ends, one byte at a time, for longer than the receiver waits.
            while started.elapsed() < SECOND && client.write_all(&[0x9f]).is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let started = Instant::now();
        let result = connection.receive(after(SECOND / 5));
        assert!(matches!(result, Err(TransportError::Timeout)), "{result:?}");
        assert!(started.elapsed() < Duration::from_millis(900));
        connection.close();
        trickle.unwrap().join().unwrap();
    }

    #[test]
    fn a_peer_that_takes_a_little_does_not_extend_the_deadline() {
        let (connection, client) = pair(2048);
        let started = Instant::now();
        // More than any buffer holds: the first part goes out, and then sending stalls.
        let result = connection.send(&vec![0; 64 << 20], after(Duration::from_millis(400)));
        assert!(matches!(result, Err(TransportError::Timeout)), "{result:?}");
        assert!(started.elapsed() < Duration::from_millis(750), "{:?}", started.elapsed());
        drop(client);
    }

    #[test]
    fn closing_wakes_a_receiver_and_a_pause_is_kept() {
        let (connection, _client) = pair(2048);
        let connection = Arc::new(connection);
        let waiting = Arc::clone(&connection);
        let thread = std::thread::Builder::new().spawn(move || waiting.receive(after(30 * SECOND)).is_err());
        connection.close();
        assert!(thread.unwrap().join().unwrap());
        let (connection, mut client) = pair(2048);
        let started = Instant::now();
        connection.pause_before_next(Duration::from_millis(30));
        connection.send(&[0x81, 0x00], after(SECOND)).unwrap();
        assert!(started.elapsed() >= Duration::from_millis(30));
        let mut received = [0; 2];
        client.read_exact(&mut received).unwrap();
        assert_eq!(received, [0x81, 0x00]);
    }

    #[test]
    fn each_connection_and_message_is_told_with_its_interface_and_the_end_once() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let counters = Arc::<Counters>::default();
        let trace = counters.tracer().subscribe(20);
        let framing = Framing { counters, ..Framing::bare(Limits::default()) };
        let peer = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 0, 5);
        let connection = Connection::new(server, peer.into(), framing);
        client.write_all(&[0x81, 0x00]).unwrap();
        connection.receive(after(SECOND)).unwrap();
        connection.send(&[0x80], after(SECOND)).unwrap();
        connection.close();
        drop(connection);
        let told = std::iter::from_fn(|| trace.try_recv().ok()).map(|told| match &told.event {
            Event::Connected { direction, .. } => format!("connected {direction:?}"),
            Event::Message(message) => format!("{:?} {} {:?}", message.direction, message.ifi, message.bytes),
            Event::Disconnected { .. } => "closed".to_owned(),
            other => format!("{other:?}"),
        });
        assert_eq!(told.collect::<Vec<_>>(), ["connected In", "In 5 [129, 0]", "Out 5 [128]", "closed"]);
    }

    #[test]
    fn a_pause_that_ends_with_the_deadline_is_kept_and_a_longer_one_is_a_timeout() {
        let (connection, _client) = pair(2048);
        let deadline = after(SECOND / 50);
        *connection.not_before.lock() = Some(deadline);
        assert!(connection.pause(deadline).is_ok());
        connection.pause_before_next(60 * SECOND);
        assert!(matches!(connection.send(&[1], after(SECOND / 50)), Err(TransportError::Timeout)));
    }
}
