//! Making TCP connections within a time. Used by `tcp` and `_responder`.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::tcp::{Connection, Framing};
use crate::interrupt;
use crate::registry::TransportError;
use crate::stats::Counters;

/// Connects within a time. On Linux the timeout for sending is the one for connecting too (socket(7)), which saves
/// the calls that a connection needs which is made without blocking and then waited for.
pub(super) fn connect(address: &SocketAddr, time: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + time;
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
    let address = SockAddr::from(*address);
    let mut left = time;
    loop {
        // Zero would mean "no timeout" to the system.
        socket.set_write_timeout(Some(interrupt::slice(left).max(Duration::from_millis(1))))?;
        match socket.connect(&address) {
            // A signal and the end of a slice end the waiting only: asked again, the system waits on.
            Err(error) if is_unfinished(&error) => {
                left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() || interrupt::is_over() {
                    return Err(ErrorKind::TimedOut.into());
                }
            }
            result => return result.map(|()| socket.into()),
        }
    }
}

/// Whether the system is still connecting.
fn is_unfinished(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::INTR, Errno::INPROGRESS, Errno::ALREADY].iter().any(|errno| code == Some(errno.raw_os_error()))
}

/// A connection that is being made.
#[derive(Debug)]
pub(crate) struct Attempt {
    socket: Socket,
    peer: SocketAddr,
    framing: Framing,
}

impl Attempt {
    /// Begins to connect. Waits for nothing.
    pub(crate) fn begin(peer: SocketAddr, framing: Framing) -> Result<Self, TransportError> {
        match begin(&peer) {
            Ok(socket) => Ok(Self { socket, peer, framing }),
            Err(error) => Err(failed(&peer, &error, &framing.counters)),
        }
    }

    /// The connection, if it is there already: on the same machine it takes no time. It never blocks: what is sent on it at
    /// first, no more than a new connection has room for, is sent at once.
    pub(crate) fn made(self) -> Result<Connection, Self> {
        if !is_made(&self.socket) {
            return Err(self);
        }
        Ok(Connection::opened(self.socket.into(), self.peer, self.framing))
    }

    /// Waits for the connection.
    pub(crate) fn wait(self, time: Duration) -> Result<Connection, TransportError> {
        let Self { socket, peer, framing } = self;
        match finish(socket, time) {
            Ok(stream) => Ok(Connection::opened(stream, peer, framing)),
            Err(error) => Err(failed(&peer, &error, &framing.counters)),
        }
    }
}

fn failed(peer: &SocketAddr, error: &io::Error, counters: &Counters) -> TransportError {
    log::debug!("connecting to {peer}: {error}");
    counters.connections_failed.add();
    TransportError::Failed
}

/// Begins to connect and waits for nothing. The socket does not block.
fn begin(address: &SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    match socket.connect(&SockAddr::from(*address)) {
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => Ok(socket),
        result => result.map(|()| socket),
    }
}

/// Whether a connection that has begun is there. Only then the system knows its peer, which is quicker asked than polling.
fn is_made(socket: &Socket) -> bool {
    socket.peer_addr().is_ok()
}

/// Waits for a connection that has begun. It blocks then.
fn finish(socket: Socket, time: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + time;
    loop {
        match wait_until_writable(&socket, deadline.saturating_duration_since(Instant::now())) {
            Ok(false) => return Err(ErrorKind::TimedOut.into()),
            Ok(true) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    socket.set_nonblocking(false)?;
    Ok(socket.into())
}

/// Waits until a connection is made or has failed. `false` if it is neither within the time.
fn wait_until_writable(socket: &Socket, time: Duration) -> io::Result<bool> {
    let mut waiting = [PollFd::new(socket, PollFlags::OUT)];
    Ok(poll(&mut waiting, Timespec::try_from(time).ok().as_ref())? > 0)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn on_the_same_machine_a_connection_is_there_as_soon_as_it_has_begun() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = begin(&address).unwrap();
        let waited = finish(socket, 10 * SECOND).unwrap();
        assert_eq!(waited.peer_addr().unwrap(), address);
        let at_once = (0..100).filter(|_| is_made(&begin(&address).unwrap())).count();
        assert!(at_once > 0);
    }

    #[test]
    fn one_that_is_refused_is_not_made_and_one_without_an_answer_ends_with_its_time() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let refused = begin(&address).and_then(|socket| {
            assert!(!is_made(&socket));
            finish(socket, 10 * SECOND)
        });
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        // The system makes no more connections than the listener has room for.
        let full = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).unwrap();
        full.bind(&SockAddr::from(std::net::SocketAddrV6::new(std::net::Ipv6Addr::LOCALHOST, 0, 0, 0)))
            .unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap().as_socket().unwrap();
        let started = Instant::now();
        let mut made = Vec::new();
        let error = loop {
            match finish(begin(&address).unwrap(), SECOND / 10) {
                Ok(stream) if made.len() < 16 => made.push(stream),
                outcome => break outcome.unwrap_err(),
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(started.elapsed() < 20 * SECOND);
    }
}
