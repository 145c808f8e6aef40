//! A listening TCP socket. Another thread can end its blocked `accept`.

use std::io;
use std::net::{Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::wait::{For, wait_any, wait_for_input};
use crate::registry::Close;

/// How many connections the system may queue until we accept them.
const BACKLOG: i32 = 128;

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    closed: AtomicBool,
}

impl Listener {
    /// Listens on all addresses of the machine, on this port or, if it is 0, on one that the system chooses. Includes
    /// IPv4 only if `ipv4` is set.
    pub(crate) fn on(port: u16, ipv4: bool) -> io::Result<Self> {
        Self::listen(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0), ipv4)
    }

    /// Listens on one address.
    pub(crate) fn bind(address: SocketAddrV6) -> io::Result<Self> {
        Self::listen(address, false)
    }

    fn listen(address: SocketAddrV6, ipv4: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_only_v6(!ipv4)?;
        // Old connections, which the system remembers for a minute, must not block a port that is wanted again.
        socket.set_reuse_address(address.port() != 0)?;
        // Each write is one whole message, so waiting for more data would gain nothing. Accepted sockets inherit this.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        Ok(Self { socket: socket.into(), closed: AtomicBool::new(false) })
    }

    pub(crate) fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Waits for a connection; `None` once the listener is closed.
    pub(crate) fn accept(&self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        // Linux reserves a descriptor while `accept` waits, so it is called only when a connection is there.
        let accepted = wait_for_input(&self.socket).and_then(|()| self.socket.accept());
        if self.closed.load(Ordering::Acquire) { None } else { Some(accepted) }
    }

    /// Waits for data on an accepted connection, until the deadline or until another connection waits to be accepted.
    /// Returns whether there is data.
    pub(super) fn wait_for(&self, connection: &TcpStream, deadline: Instant) -> io::Result<bool> {
        let ready = wait_any(&[connection.as_fd(), self.socket.as_fd()], For::Input, deadline)?;
        Ok(ready == Some(0))
    }
}

impl Close for Listener {
    /// On Linux, shutting down a listening socket ends an `accept` that blocks on it, now or later.
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn closing_ends_a_blocked_accept_and_every_later_one() {
        let listener = Arc::new(Listener::bind(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0)).unwrap());
        let port = listener.port().unwrap();
        let (tx, rx) = crossbeam_channel::bounded(2);
        let acceptor = Arc::clone(&listener);
        let thread = std::thread::Builder::new().spawn(move || {
            tx.send(acceptor.accept().is_some()).unwrap();
            tx.send(acceptor.accept().is_some()).unwrap();
        });
        let _client = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        assert!(rx.recv().unwrap(), "a connection is accepted");
        listener.close();
        assert!(!rx.recv_timeout(std::time::Duration::from_secs(5)).unwrap());
        thread.unwrap().join().unwrap();
        assert!(listener.accept().is_none());
    }

    #[test]
    fn waiting_for_data_of_one_connection_ends_with_the_next_and_with_its_time() {
        let listener = Listener::bind(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0)).unwrap();
        let port = listener.port().unwrap();
        let mut client = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        let (connection, _) = listener.accept().unwrap().unwrap();
        let after = |ms| Instant::now() + std::time::Duration::from_millis(ms);
        assert!(!listener.wait_for(&connection, after(20)).unwrap());
        std::io::Write::write_all(&mut client, &[1]).unwrap();
        assert!(listener.wait_for(&connection, after(60_000)).unwrap());
        let (idle, _other) = (TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap(), client);
        let (waiting, _) = listener.accept().unwrap().unwrap();
        let _next = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        assert!(!listener.wait_for(&waiting, after(60_000)).unwrap(), "another connection waits");
        drop(idle);
    }

    #[test]
    fn only_a_port_that_is_wanted_again_is_taken_from_old_connections() {
        let reuses = |listener: &Listener| SockRef::from(&listener.socket).reuse_address().unwrap();
        let chosen = Listener::on(0, false).unwrap();
        assert!(!reuses(&chosen));
        let port = chosen.port().unwrap();
        drop(chosen);
        assert!(reuses(&Listener::on(port, true).unwrap()));
    }
}
