//! One TCP connection that carries messages (graspy's `_recvraw` and the sockets of its sessions).
//!
//! There is no framing but CBOR's own (RFC 8990 §2.5.3): a message ends where its item ends, however TCP cuts
//! it. Everything has a deadline and a size limit.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::interfaces::as_ipv6;
use super::listener::Listener;
use crate::acp::{Protection, SealedReader, Whole};
use crate::registry::{Transport, TransportError};
use crate::wire::{ItemScanner, Limits, Progress};

/// How much is read at once.
const CHUNK: usize = 2048;

/// How messages travel: how large they may be, and what protects them.
#[derive(Clone, Debug)]
pub(crate) struct Framing {
    pub(crate) limits: Limits,
    pub(crate) protection: Option<Arc<dyn Protection>>,
}

impl Framing {
    fn assembly(&self) -> Assembly {
        match &self.protection {
            None => Assembly::Plain { scanner: ItemScanner::new(self.limits), message: Vec::new() },
            Some(protection) => Assembly::Sealed { reader: protection.reader(self.limits), started: false },
        }
    }
}

/// A message that is being put together.
enum Assembly {
    Plain { scanner: ItemScanner, message: Vec<u8> },
    Sealed { reader: Box<dyn SealedReader>, started: bool },
}

impl Assembly {
    /// Takes the next piece. Returns the message once it is whole.
    fn feed(&mut self, piece: &[u8]) -> Result<Option<Whole>, TransportError> {
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
    fn is_empty(&self) -> bool {
        match self {
            Self::Plain { message, .. } => message.is_empty(),
            Self::Sealed { started, .. } => !started,
        }
    }
}

/// A connection with a peer.
pub(crate) struct Connection {
    stream: TcpStream,
    peer: Ipv6Addr,
    framing: Framing,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
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
    /// Wraps a connected socket. Costs no call of the system: what many connections never need is set when it is
    /// needed.
    pub(crate) fn new(stream: TcpStream, peer: SocketAddr, framing: Framing) -> Self {
        let peer = as_ipv6(peer.ip());
        Self { stream, peer, framing, incoming: Mutex::default(), outgoing: Mutex::default() }
    }

    /// Connects to the first of some addresses that answers within the time for all of them.
    pub(crate) fn open(
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
                Ok(stream) => return Ok(Self::new(stream, *address, framing)),
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
        incoming.rest.extend_from_slice(piece);
        match self.framing.assembly().feed(&incoming.rest) {
            Ok(Some(Whole { message, rest })) => {
                incoming.rest = rest;
                Some(Ok(message))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Reads what is there within the time left. `Ok(0)` is the end of the stream.
    fn read(
        &self,
        incoming: &mut Incoming,
        chunk: &mut [u8],
        left: Duration,
    ) -> Result<usize, TransportError> {
        // Zero would mean "no timeout" to the system. A timeout that has not changed is not set again.
        let left = left.max(Duration::from_millis(1));
        if incoming.timeout != Some(left) {
            self.stream.set_read_timeout(Some(left)).map_err(|_| TransportError::Failed)?;
            incoming.timeout = Some(left);
        }
        loop {
            match (&self.stream).read(chunk) {
                Ok(count) => return Ok(count),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Err(TransportError::Timeout),
                    _ => return Err(TransportError::Failed),
                },
            }
        }
    }
}

impl Transport for Connection {
    fn send(&self, message: &[u8], timeout: Duration) -> Result<(), TransportError> {
        let mut outgoing = self.outgoing.lock();
        if let Some(not_before) = outgoing.not_before.take() {
            std::thread::sleep(not_before.saturating_duration_since(Instant::now()));
        }
        let sealed = self.framing.protection.as_ref().map(|protection| protection.seal(message));
        let deadline = Instant::now() + timeout;
        let mut rest = sealed.as_deref().unwrap_or(message);
        let mut left = timeout.max(Duration::from_millis(1));
        outgoing.begin_message(&self.stream);
        // There is nearly always room for it.
        if let Ok(count) = send(&self.stream, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            rest = rest.get(count..).ok_or(TransportError::Failed)?;
        }
        while !rest.is_empty() {
            if outgoing.timeout != Some(left) {
                self.stream.set_write_timeout(Some(left)).map_err(|_| TransportError::Failed)?;
                outgoing.timeout = Some(left);
            }
            match (&self.stream).write(rest) {
                Ok(count) => rest = rest.get(count..).filter(|_| count > 0).ok_or(TransportError::Failed)?,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Err(TransportError::Timeout),
                    _ => return Err(TransportError::Failed),
                },
            }
            left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() && !rest.is_empty() {
                return Err(TransportError::Timeout);
            }
        }
        Ok(())
    }

    fn receive(&self, timeout: Duration) -> Result<Vec<u8>, TransportError> {
        let mut incoming = self.incoming.lock();
        let mut assembly = self.framing.assembly();
        let mut whole = assembly.feed(&std::mem::take(&mut incoming.rest))?;
        let mut chunk = [0; CHUNK];
        let mut deadline = None;
        loop {
            if let Some(Whole { message, rest }) = whole {
                incoming.rest = rest;
                return Ok(message);
            }
            // The clock is looked at only when one read was not enough.
            let started = Instant::now();
            let left =
                deadline.map_or(timeout, |deadline: Instant| deadline.saturating_duration_since(started));
            if left.is_zero() {
                return Err(TransportError::Timeout);
            }
            let count = self.read(&mut incoming, &mut chunk, left)?;
            let Some(piece) = chunk.get(..count).filter(|piece| !piece.is_empty()) else {
                return Err(if assembly.is_empty() {
                    TransportError::Closed
                } else {
                    TransportError::Broken
                });
            };
            deadline = deadline.or_else(|| started.checked_add(timeout));
            whole = assembly.feed(piece)?;
        }
    }

    fn pause_before_next(&self, pause: Duration) {
        self.outgoing.lock().not_before = Instant::now().checked_add(pause);
    }

    fn close(&self) {
        // The peer may have closed first: then there is nothing left to do.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn peer(&self) -> Ipv6Addr {
        self.peer
    }

    fn is_from_here(&self) -> bool {
        self.stream.local_addr().is_ok_and(|local| as_ipv6(local.ip()) == self.peer)
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

/// Connects within a time. On Linux the timeout for sending is the one for connecting too (socket(7)), which saves
/// the calls that a connection needs which is made without blocking and then waited for.
fn connect(address: &SocketAddr, time: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + time;
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
    let address = SockAddr::from(*address);
    let mut left = time;
    loop {
        // Zero would mean "no timeout" to the system.
        socket.set_write_timeout(Some(left.max(Duration::from_millis(1))))?;
        match socket.connect(&address) {
            // A signal ends the waiting only: asked again, the system waits on.
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(ErrorKind::TimedOut.into());
                }
            }
            result => return result.map(|()| socket.into()),
        }
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
        let framing = Framing { limits: Limits { size, ..Limits::default() }, protection: None };
        (Connection::new(server, peer, framing), client)
    }

    const SECOND: Duration = Duration::from_secs(1);

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
