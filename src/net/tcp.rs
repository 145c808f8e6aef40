//! One TCP connection that carries messages (graspy's `_recvraw` and the sockets of its sessions).
//!
//! There is no framing but CBOR's own (RFC 8990 §2.5.3): a message ends where its item ends, however TCP cuts
//! it. Everything has a deadline and a size limit.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;

use super::connect::connect;
use super::listener::Listener;
use crate::acp::{Protection, SealedReader, Whole};
use crate::interrupt;
use crate::registry::{Transport, TransportError};
use crate::stats::Counters;
use crate::trace::{Direction, Event, MessageEvent, Transport as Carrier};
use crate::types::as_ipv6;
use crate::wire::{ItemScanner, Limits, Progress};

/// How much is read at once.
const CHUNK: usize = 2048;

/// How messages travel: how large they may be, what protects them, and what counts them.
#[derive(Clone, Debug)]
pub(crate) struct Framing {
    pub(crate) limits: Limits,
    pub(crate) protection: Option<Arc<dyn Protection>>,
    pub(crate) counters: Arc<Counters>,
}

impl Framing {
    pub(crate) fn assembly(&self) -> Assembly {
        match &self.protection {
            None => Assembly::Plain { scanner: ItemScanner::new(self.limits), message: Vec::new() },
            Some(protection) => Assembly::Sealed { reader: protection.reader(self.limits), started: false },
        }
    }
}

/// A message that is being put together.
#[derive(Debug)]
pub(crate) enum Assembly {
    Plain { scanner: ItemScanner, message: Vec<u8> },
    Sealed { reader: Box<dyn SealedReader>, started: bool },
}

impl Assembly {
    /// Takes the next piece. Returns the message once it is whole.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<Option<Whole>, TransportError> {
        match self {
            Self::Plain { scanner, message } => {
                message.extend_from_slice(piece);
                let Progress::Complete(end) = scanner.feed(piece).map_err(|_| TransportError::Broken)? else {
                    return Ok(None);
                };
                let rest = message.split_off(end.min(message.len()));
                Ok(Some(Whole { message: std::mem::take(message), rest }))
            }
            Self::Sealed { reader, started } => {
                *started |= !piece.is_empty();
                reader.feed(piece).map_err(|_| TransportError::Broken)
            }
        }
    }

    /// Whether nothing has come yet.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Plain { message, .. } => message.is_empty(),
            Self::Sealed { started, .. } => !started,
        }
    }
}

/// A connection with a peer.
pub(crate) struct Connection {
    stream: TcpStream,
    peer: SocketAddrV6,
    framing: Framing,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    closed: AtomicBool,
}

/// Bytes that belong to the next message, and the timeout that the socket has now.
#[derive(Default)]
struct Incoming {
    rest: Vec<u8>,
    timeout: Option<Duration>,
}

#[derive(Default)]
struct Outgoing {
    timeout: Option<Duration>,
    /// Nothing is sent before.
    not_before: Option<Instant>,
    /// How many messages have been sent, as far as it matters.
    sent: Sent,
}

/// A first message never waits for anything; a later one would wait for the acknowledgement of the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sent {
    #[default]
    Nothing,
    One,
    /// The socket has been told not to let them wait.
    More,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Connection {
    /// Wraps an accepted socket. Costs no call of the system: what many connections never need is set when it is
    /// needed.
    pub(crate) fn new(stream: TcpStream, peer: SocketAddr, framing: Framing) -> Self {
        Self::connected(stream, peer, framing, Direction::In)
    }

    /// Wraps a socket that this side has connected.
    pub(super) fn opened(stream: TcpStream, peer: SocketAddr, framing: Framing) -> Self {
        framing.counters.connections_opened.add();
        Self::connected(stream, peer, framing, Direction::Out)
    }

    fn connected(stream: TcpStream, peer: SocketAddr, framing: Framing, direction: Direction) -> Self {
        let connection = Self {
            stream,
            peer: mapped(peer),
            framing,
            incoming: Mutex::default(),
            outgoing: Mutex::default(),
            closed: AtomicBool::new(false),
        };
        let event = || Event::Connected { local: connection.local(), peer: connection.peer, direction };
        connection.framing.counters.tracer().emit(event);
        connection
    }

    /// The interface that an accepted connection came in by. Linux keeps it where a datagram socket has the interface
    /// for its multicasts.
    pub(crate) fn interface(&self) -> io::Result<u32> {
        SockRef::from(&self.stream).multicast_if_v6()
    }

    /// Connects to the first of some addresses that answers within the time for all of them.
    pub(crate) fn open(
        addresses: &[SocketAddr],
        timeout: Duration,
        framing: Framing,
    ) -> Result<Self, TransportError> {
        let counters = Arc::clone(&framing.counters);
        Self::first_of(addresses, timeout, framing).inspect_err(|_| counters.connections_failed.add())
    }

    fn first_of(
        addresses: &[SocketAddr],
        timeout: Duration,
        framing: Framing,
    ) -> Result<Self, TransportError> {
        let deadline = Instant::now() + timeout;
        for address in addresses {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TransportError::Timeout);
            }
            match connect(address, left) {
                Ok(stream) => {
                    return Ok(Self::opened(stream, *address, framing));
                }
                Err(error) => log::debug!("connecting to {address}: {error}"),
            }
        }
        Err(TransportError::Failed)
    }

    /// The first message, if the whole of it comes within the time or before `listener` has another connection;
    /// otherwise `None`, and `receive` goes on with what has come.
    pub(crate) fn receive_at_once(
        &self,
        listener: &Listener,
        time: Duration,
    ) -> Option<Result<Vec<u8>, TransportError>> {
        self.receive_present()
            .or_else(|| if listener.wait_for(&self.stream, time) { self.receive_present() } else { None })
    }

    /// The first message, if the whole of it is there.
    fn receive_present(&self) -> Option<Result<Vec<u8>, TransportError>> {
        let mut incoming = self.incoming.lock();
        let mut chunk = [0; CHUNK];
        let piece = match recv(&self.stream, &mut chunk, RecvFlags::DONTWAIT) {
            Ok((_, count)) => chunk.get(..count).filter(|piece| !piece.is_empty()),
            Err(error) => match io::Error::from(error).kind() {
                ErrorKind::Interrupted | ErrorKind::WouldBlock => return None,
                _ => return Some(Err(TransportError::Failed)),
            },
        };
        let Some(piece) = piece else { return Some(Err(TransportError::Closed)) };
        self.framing.counters.bytes_received.add_many(piece.len());
        incoming.rest.extend_from_slice(piece);
        let raw = std::mem::take(&mut incoming.rest);
        let received = match self.framing.assembly().feed(&raw) {
            Ok(Some(Whole { message, rest })) => {
                incoming.rest = rest;
                self.framing.counters.messages_received.add();
                Ok(message)
            }
            Ok(None) => {
                incoming.rest = raw;
                return None;
            }
            Err(error) => Err(error),
        };
        self.trace_received(&received, Some(&raw), incoming.rest.len());
        Some(received)
    }

    /// Reads what is there within the time left. `Ok(0)` is the end of the stream.
    fn read(
        &self,
        incoming: &mut Incoming,
        chunk: &mut [u8],
        left: Duration,
    ) -> Result<usize, TransportError> {
        let deadline = Instant::now().checked_add(left);
        let mut left = left;
        loop {
            // Zero would mean "no timeout" to the system. A timeout that has not changed is not set again.
            let slice = interrupt::slice(left).max(Duration::from_millis(1));
            if incoming.timeout != Some(slice) {
                self.stream.set_read_timeout(Some(slice)).map_err(|_| TransportError::Failed)?;
                incoming.timeout = Some(slice);
            }
            match (&self.stream).read(chunk) {
                Ok(count) => {
                    self.framing.counters.bytes_received.add_many(count);
                    return Ok(count);
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        left = deadline.map_or(left, |until| until.saturating_duration_since(Instant::now()));
                        if left.is_zero() || interrupt::is_over() {
                            return Err(TransportError::Timeout);
                        }
                    }
                    _ => return Err(TransportError::Failed),
                },
            }
        }
    }

    /// The address of this side; unspecified if the system does not tell.
    fn local(&self) -> SocketAddrV6 {
        self.stream.local_addr().map_or_else(|_| SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0), mapped)
    }

    /// Tells of a message.
    fn trace(&self, direction: Direction, message: &[u8], sealed: Option<&[u8]>) {
        self.framing.counters.tracer().emit(|| {
            let (local, peer) = (self.local(), self.peer);
            let ifi = if peer.scope_id() == 0 { local.scope_id() } else { peer.scope_id() };
            let (bytes, sealed) = (message.into(), sealed.map(Into::into));
            Event::Message(MessageEvent {
                direction,
                transport: Carrier::Tcp,
                local,
                peer,
                ifi,
                bytes,
                sealed,
            })
        });
    }

    /// Tells, once, that this side has closed.
    fn trace_closed(&self) {
        if !self.closed.swap(true, Ordering::Relaxed) {
            self.framing
                .counters
                .tracer()
                .emit(|| Event::Disconnected { local: self.local(), peer: self.peer });
        }
    }

    /// Tells of what was received, or of what is broken: `raw` as it came, of which the last `rest` bytes are of the
    /// next message.
    fn trace_received(&self, received: &Result<Vec<u8>, TransportError>, raw: Option<&[u8]>, rest: usize) {
        let sealed = raw.filter(|_| self.framing.protection.is_some());
        match (received, raw) {
            (Ok(message), _) => {
                let sealed = sealed.map(|raw| raw.get(..raw.len().saturating_sub(rest)).unwrap_or(raw));
                self.trace(Direction::In, message, sealed);
            }
            (Err(TransportError::Broken), Some(raw)) => self.trace(Direction::In, raw, sealed),
            (Err(_), _) => {}
        }
    }

    /// Reads until a message is whole. What is read is added to `raw`.
    fn assemble(
        &self,
        incoming: &mut Incoming,
        raw: &mut Option<Vec<u8>>,
        timeout: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        let mut assembly = self.framing.assembly();
        let rest = std::mem::take(&mut incoming.rest);
        raw.iter_mut().for_each(|raw| raw.extend_from_slice(&rest));
        let mut whole = assembly.feed(&rest)?;
        let mut chunk = [0; CHUNK];
        let mut deadline = None;
        loop {
            if let Some(Whole { message, rest }) = whole {
                incoming.rest = rest;
                self.framing.counters.messages_received.add();
                return Ok(message);
            }
            // The clock is looked at only when one read was not enough.
            let started = Instant::now();
            let left =
                deadline.map_or(timeout, |deadline: Instant| deadline.saturating_duration_since(started));
            if left.is_zero() {
                return Err(TransportError::Timeout);
            }
            let count = self.read(incoming, &mut chunk, left)?;
            let Some(piece) = chunk.get(..count).filter(|piece| !piece.is_empty()) else {
                return Err(if assembly.is_empty() {
                    TransportError::Closed
                } else {
                    TransportError::Broken
                });
            };
            deadline = deadline.or_else(|| started.checked_add(timeout));
            raw.iter_mut().for_each(|raw| raw.extend_from_slice(piece));
            whole = assembly.feed(piece)?;
        }
    }
}

/// An address, an IPv4 one mapped.
fn mapped(address: SocketAddr) -> SocketAddrV6 {
    match address {
        SocketAddr::V6(address) => address,
        SocketAddr::V4(_) => SocketAddrV6::new(as_ipv6(address.ip()), address.port(), 0, 0),
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.framing.counters.connections_closed.add();
        self.trace_closed();
    }
}

impl Transport for Connection {
    fn send(&self, message: &[u8], timeout: Duration) -> Result<(), TransportError> {
        let (mut outgoing, timeout) = lock_within(&self.outgoing, timeout)?;
        if let Some(not_before) = outgoing.not_before.take() {
            std::thread::sleep(not_before.saturating_duration_since(Instant::now()));
        }
        let sealed = self.framing.protection.as_ref().map(|protection| protection.seal(message));
        self.trace(Direction::Out, message, sealed.as_deref());
        let deadline = Instant::now() + timeout;
        let mut rest = sealed.as_deref().unwrap_or(message);
        let mut left = timeout;
        outgoing.begin_message(&self.stream);
        // There is nearly always room for it.
        if let Ok(count) = send(&self.stream, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            self.framing.counters.bytes_sent.add_many(count);
            rest = rest.get(count..).ok_or(TransportError::Failed)?;
        }
        while !rest.is_empty() {
            let slice = interrupt::slice(left).max(Duration::from_millis(1));
            if outgoing.timeout != Some(slice) {
                self.stream.set_write_timeout(Some(slice)).map_err(|_| TransportError::Failed)?;
                outgoing.timeout = Some(slice);
            }
            match (&self.stream).write(rest) {
                Ok(count) => {
                    self.framing.counters.bytes_sent.add_many(count);
                    rest = rest.get(count..).filter(|_| count > 0).ok_or(TransportError::Failed)?;
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut if !interrupt::is_over() => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Err(TransportError::Timeout),
                    _ => return Err(TransportError::Failed),
                },
            }
            left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() && !rest.is_empty() {
                return Err(TransportError::Timeout);
            }
        }
        self.framing.counters.messages_sent.add();
        Ok(())
    }

    fn receive(&self, timeout: Duration) -> Result<Vec<u8>, TransportError> {
        let (mut incoming, timeout) = lock_within(&self.incoming, timeout)?;
        // As it came: the sealed form cannot be told from the message, nor what is broken.
        let keep = self.framing.protection.is_some() || self.framing.counters.tracer().is_on();
        let mut raw = keep.then(Vec::new);
        let received = self.assemble(&mut incoming, &mut raw, timeout);
        self.trace_received(&received, raw.as_deref(), incoming.rest.len());
        received
    }

    fn pause_before_next(&self, pause: Duration) {
        self.outgoing.lock().not_before = Instant::now().checked_add(pause);
    }

    fn close(&self) {
        self.trace_closed();
        // The peer may have closed first: then there is nothing left to do.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn peer(&self) -> Ipv6Addr {
        *self.peer.ip()
    }

    fn is_from_here(&self) -> bool {
        self.stream.local_addr().is_ok_and(|local| mapped(local).ip() == self.peer.ip())
    }
}

/// A lock that another thread may hold while it waits for the peer, and the time that is left then.
fn lock_within<T>(mutex: &Mutex<T>, time: Duration) -> Result<(MutexGuard<'_, T>, Duration), TransportError> {
    if let Some(guard) = mutex.try_lock() {
        return Ok((guard, time));
    }
    let began = Instant::now();
    loop {
        let left = time.saturating_sub(began.elapsed());
        if let Some(guard) = mutex.try_lock_for(interrupt::slice(left)) {
            return Ok((guard, time.saturating_sub(began.elapsed())));
        }
        if began.elapsed() >= time || interrupt::is_over() {
            return Err(TransportError::Timeout);
        }
    }
}

impl Outgoing {
    /// One write is one message: there is nothing to gain by waiting for more (TCP_NODELAY). The first waits for
    /// nothing, and many connections carry no other.
    fn begin_message(&mut self, stream: &TcpStream) {
        self.sent = match self.sent {
            Sent::Nothing => Sent::One,
            Sent::One => {
                if let Err(error) = stream.set_nodelay(true) {
                    log::debug!("TCP_NODELAY: {error}");
                }
                Sent::More
            }
            Sent::More => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn pair(size: usize) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        let limits = Limits { size, ..Limits::default() };
        let framing = Framing { limits, protection: None, counters: Arc::default() };
        (Connection::new(server, peer, framing), client)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_second_thread_that_receives_or_sends_keeps_its_own_deadline() {
        let (connection, client) = pair(2048);
        let connection = Arc::new(connection);
        let receiver = Arc::clone(&connection);
        let first = std::thread::Builder::new().spawn(move || receiver.receive(60 * SECOND)).unwrap();
        while connection.incoming.try_lock().is_some() {
            std::thread::yield_now();
        }
        let started = Instant::now();
        assert!(matches!(connection.receive(SECOND / 10), Err(TransportError::Timeout)));
        let sending = connection.outgoing.lock();
        assert!(matches!(connection.send(&[1], SECOND / 10), Err(TransportError::Timeout)));
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
        assert_eq!(connection.receive(SECOND).unwrap(), [0x82, 0x01, 0x61, b'a']);
        assert_eq!(connection.receive(SECOND).unwrap(), [0x81, 0x00]);
        assert_eq!(connection.receive(SECOND).unwrap(), [0x81, 0x07]);
        writer.unwrap().join().unwrap();
        assert!(matches!(connection.receive(SECOND), Err(TransportError::Closed)));
    }

    #[test]
    fn every_way_of_not_sending_a_message_has_its_error() {
        let (connection, mut client) = pair(16);
        assert!(matches!(connection.receive(Duration::from_millis(20)), Err(TransportError::Timeout)));
        client.write_all(&[0x82]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(matches!(connection.receive(SECOND), Err(TransportError::Broken)));
        let (connection, mut client) = pair(16);
        client.write_all(&[0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).unwrap();
        assert!(
            matches!(connection.receive(SECOND), Err(TransportError::Broken)),
            "an exabyte is refused at once"
        );
    }

    #[test]
    fn a_trickle_of_bytes_does_not_extend_the_deadline() {
        let (connection, mut client) = pair(2048);
        let trickle = std::thread::Builder::new().spawn(move || {
            let started = Instant::now();
            // An array that never ends, a byte at a time, for longer than the receiver waits.
            while started.elapsed() < SECOND && client.write_all(&[0x9f]).is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let started = Instant::now();
        let result = connection.receive(Duration::from_millis(200));
        assert!(matches!(result, Err(TransportError::Timeout)), "{result:?}");
        assert!(started.elapsed() < Duration::from_millis(900));
        connection.close();
        trickle.unwrap().join().unwrap();
    }

    #[test]
    fn a_peer_that_takes_a_little_does_not_extend_the_deadline() {
        let (connection, client) = pair(2048);
        let started = Instant::now();
        // More than any buffer holds: the first part goes out, and then nothing more.
        let result = connection.send(&vec![0; 64 << 20], Duration::from_millis(400));
        assert!(matches!(result, Err(TransportError::Timeout)), "{result:?}");
        assert!(started.elapsed() < Duration::from_millis(750), "{:?}", started.elapsed());
        drop(client);
    }

    #[test]
    fn closing_wakes_a_receiver_and_a_pause_is_kept() {
        let (connection, _client) = pair(2048);
        let connection = Arc::new(connection);
        let waiting = Arc::clone(&connection);
        let thread =
            std::thread::Builder::new().spawn(move || waiting.receive(Duration::from_secs(30)).is_err());
        connection.close();
        assert!(thread.unwrap().join().unwrap());
        let (connection, mut client) = pair(2048);
        let started = Instant::now();
        connection.pause_before_next(Duration::from_millis(30));
        connection.send(&[0x81, 0x00], SECOND).unwrap();
        assert!(started.elapsed() >= Duration::from_millis(30));
        let mut received = [0; 2];
        client.read_exact(&mut received).unwrap();
        assert_eq!(received, [0x81, 0x00]);
    }
}
