//! Opens TCP connections before a deadline. Used by `tcp` and `_responder`.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, SocketAddrV6, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::tcp::{Connection, Framing};
use super::wait::{For, wait, wait_any};
use crate::interrupt;
use crate::registry::TransportError;
use crate::stats::Counters;

/// How long one address is tried before the next one is tried in parallel (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The shortest such delay, used when there are many addresses (RFC 8305 §5).
const SHORTEST_DELAY: Duration = Duration::from_millis(10);

/// Connects to the first of several addresses that answers.
pub(crate) fn open(
    addresses: &[SocketAddr],
    deadline: Instant,
    framing: Framing,
) -> Result<Connection, TransportError> {
    match first_of(addresses, deadline) {
        Ok((stream, peer)) => secured(Connection::opened(stream, peer, framing), deadline),
        Err(error) => {
            log::debug!("connecting to {addresses:?}: {error}");
            framing.counters.connections_failed.add();
            Err(error.into())
        }
    }
}

/// Connects from one address to another.
pub(crate) fn open_from(
    own: SocketAddrV6,
    peer: SocketAddrV6,
    deadline: Instant,
    framing: Framing,
) -> Result<Connection, TransportError> {
    let peer = SocketAddr::V6(peer);
    match begin_from(Some(own), &peer).and_then(|socket| finish_before(socket, deadline)) {
        Ok(stream) => secured(Connection::opened(stream, peer, framing), deadline),
        Err(error) => Err(failed(&peer, error, &framing.counters)),
    }
}

/// Connects to the first address that answers. Tries them in order: the next one starts as soon as one has failed or
/// has not answered for a while; attempts in progress continue (RFC 8305).
fn first_of(addresses: &[SocketAddr], deadline: Instant) -> io::Result<(TcpStream, SocketAddr)> {
    let mut addresses = addresses.iter();
    let mut begun: Vec<(Socket, SocketAddr)> = Vec::new();
    let mut failure = io::Error::from(ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = addresses.next() {
            match begin(address) {
                // In a fast network the answer has arrived by now.
                Ok(socket) if is_made(&socket) => return Ok((socket.into(), *address)),
                Ok(socket) => begun.push((socket, *address)),
                Err(error) => {
                    failure = error;
                    continue;
                }
            }
        } else if begun.is_empty() {
            return Err(failure);
        }
        let sockets: Vec<_> = begun.iter().map(|(socket, _)| socket.as_fd()).collect();
        let until = next_attempt(addresses.len(), deadline);
        match wait_any(&sockets, For::Room, until)? {
            Some(ready) => {
                let (socket, address) = begun.swap_remove(ready);
                match finish(socket) {
                    Ok(stream) => return Ok((stream, address)),
                    Err(error) => failure = error,
                }
            }
            None if until >= deadline || interrupt::is_over() => return Err(ErrorKind::TimedOut.into()),
            None => {}
        }
    }
}

/// Returns when to try the next address if none has answered or failed by then: soon enough for every address to be
/// tried.
fn next_attempt(remaining: usize, deadline: Instant) -> Instant {
    let Some(remaining) = u32::try_from(remaining).ok().filter(|remaining| *remaining > 0) else {
        return deadline;
    };
    let now = Instant::now();
    let share = deadline.saturating_duration_since(now) / remaining.saturating_add(1);
    deadline.min(now + share.clamp(SHORTEST_DELAY, ATTEMPT_DELAY))
}

/// A connection attempt in progress.
#[derive(Debug)]
pub(crate) struct Attempt {
    socket: Socket,
    peer: SocketAddr,
    framing: Framing,
}

impl Attempt {
    /// Starts to connect, without waiting.
    pub(crate) fn begin(peer: SocketAddr, framing: Framing) -> Result<Self, TransportError> {
        match begin(&peer) {
            Ok(socket) => Ok(Self { socket, peer, framing }),
            Err(error) => Err(failed(&peer, error, &framing.counters)),
        }
    }

    /// Returns the connection if it is already established, as on the same machine, and need not be secured. Never blocks: a
    /// first message that fits into the buffer of a new connection is sent at once.
    pub(crate) fn made(self) -> Result<Connection, Self> {
        if self.framing.is_secured() || !is_made(&self.socket) {
            return Err(self);
        }
        Ok(Connection::opened(self.socket.into(), self.peer, self.framing))
    }

    /// Waits for the connection.
    pub(crate) fn wait(self, deadline: Instant) -> Result<Connection, TransportError> {
        let Self { socket, peer, framing } = self;
        match finish_before(socket, deadline) {
            Ok(stream) => secured(Connection::opened(stream, peer, framing), deadline),
            Err(error) => Err(failed(&peer, error, &framing.counters)),
        }
    }
}

fn secured(connection: Connection, deadline: Instant) -> Result<Connection, TransportError> {
    connection.secure(deadline)?;
    Ok(connection)
}

fn failed(peer: &SocketAddr, error: io::Error, counters: &Counters) -> TransportError {
    log::debug!("connecting to {peer}: {error}");
    counters.connections_failed.add();
    error.into()
}

/// Starts to connect, without waiting. Each write is one whole message, so waiting for more data would gain nothing
/// (TCP_NODELAY).
fn begin(address: &SocketAddr) -> io::Result<Socket> {
    begin_from(None, address)
}

/// The same, from an address of this node if one is given.
fn begin_from(own: Option<SocketAddrV6>, address: &SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(own) = own {
        socket.bind(&SockAddr::from(own))?;
    }
    match socket.connect(&SockAddr::from(*address)) {
        // The system continues to connect even if the call was interrupted.
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => Ok(socket),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(socket),
        result => result.map(|()| socket),
    }
}

/// Whether a connection attempt has succeeded. Only then does the system know the peer, and this check is faster than
/// polling.
fn is_made(socket: &Socket) -> bool {
    socket.peer_addr().is_ok()
}

/// Waits for a connection attempt to finish.
fn finish_before(socket: Socket, deadline: Instant) -> io::Result<TcpStream> {
    if wait(&socket, For::Room, deadline)? { finish(socket) } else { Err(ErrorKind::TimedOut.into()) }
}

/// Returns the result of a finished connection attempt.
fn finish(socket: Socket) -> io::Result<TcpStream> {
    match socket.take_error()? {
        Some(error) => Err(error),
        None => Ok(socket.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// An address that does not answer: the system accepts no more connections than fit into the listener's backlog.
    fn silent() -> (SocketAddr, Socket, Vec<Socket>) {
        let full = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).unwrap();
        full.bind(&SockAddr::from(std::net::SocketAddrV6::new(std::net::Ipv6Addr::LOCALHOST, 0, 0, 0)))
            .unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap().as_socket().unwrap();
        let mut made = Vec::new();
        while made.len() < 16 {
            let socket = begin(&address).unwrap();
            let answers = wait(&socket, For::Room, Instant::now() + SECOND / 10).unwrap();
            made.push(socket);
            if !answers {
                return (address, full, made);
            }
        }
        panic!("a listener without room goes on accepting");
    }

    fn refusing() -> SocketAddr {
        TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap()
    }

    #[test]
    fn on_the_same_machine_a_connection_is_there_as_soon_as_it_has_begun() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let address = listener.local_addr().unwrap();
        let waited = finish_before(begin(&address).unwrap(), Instant::now() + 10 * SECOND).unwrap();
        assert_eq!(waited.peer_addr().unwrap(), address);
        assert!(waited.nodelay().unwrap());
        let at_once = (0..100).filter(|_| is_made(&begin(&address).unwrap())).count();
        assert!(at_once > 0);
    }

    #[test]
    fn one_that_is_refused_is_not_made_and_one_without_an_answer_ends_with_its_time() {
        let refused = begin(&refusing()).and_then(|socket| {
            assert!(!is_made(&socket));
            finish_before(socket, Instant::now() + 10 * SECOND)
        });
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let (address, ..) = &silent();
        let started = Instant::now();
        let error = first_of(&[*address], started + SECOND / 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!((SECOND / 10..20 * SECOND).contains(&started.elapsed()));
        let error = first_of(&[], started + 60 * SECOND).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable, "without an address nothing is waited for");
    }

    #[test]
    fn an_address_that_answers_is_reached_whatever_stands_before_it() {
        let (deaf, ..) = &silent();
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let answering = listener.local_addr().unwrap();
        for before in [vec![refusing()], vec![*deaf], vec![*deaf, refusing(), *deaf], vec![*deaf; 15]] {
            let started = Instant::now();
            let addresses = [&before[..], &[answering]].concat();
            let (_, reached) = first_of(&addresses, started + 20 * SECOND).unwrap();
            assert_eq!(reached, answering);
            // Trying one address after another would take the whole time.
            assert!(started.elapsed() < 15 * SECOND, "{:?} for {addresses:?}", started.elapsed());
        }
    }

    #[test]
    fn every_address_has_a_turn_before_the_deadline() {
        let (deaf, ..) = &silent();
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let addresses = [&vec![*deaf; 31][..], &[listener.local_addr().unwrap()]].concat();
        // 31 ordinary delays would take longer.
        let (_, reached) = first_of(&addresses, Instant::now() + 5 * SECOND).unwrap();
        assert_eq!(reached, addresses[31]);
    }

    #[test]
    fn an_attempt_is_made_once_it_is_and_one_that_cannot_begin_says_so() {
        let framing = || Framing::bare(Default::default());
        let (deaf, ..) = &silent();
        assert!(Attempt::begin(*deaf, framing()).unwrap().made().is_err());
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let address = listener.local_addr().unwrap();
        let at_once = (0..100).filter(|_| Attempt::begin(address, framing()).unwrap().made().is_ok()).count();
        assert!(at_once > 0);
        let group = "[ff02::1%1]:7".parse().unwrap();
        assert!(begin(&group).is_err(), "nobody connects to a group");
        let counted = framing();
        assert!(Attempt::begin(group, counted.clone()).is_err());
        assert_eq!(counted.counters.snapshot().connections_failed, 1);
    }
}
