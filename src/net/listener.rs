//! A listening TCP socket whose blocked `accept` can be ended from another thread.

use std::io;
use std::net::{Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::wait::{For, wait_any, wait_for_input};
use crate::registry::Close;

/// How many connections the system may hold for us until we accept them.
const BACKLOG: i32 = 128;

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    closed: AtomicBool,
}

impl Listener {
    /// Listens on all addresses of the machine, on this port, or on one that the system chooses if it is 0; on the addresses of
    /// IPv4 only if that is wanted.
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
        // Connections of before, which the system remembers for a minute, do not hold a port that is wanted again.
        socket.set_reuse_address(address.port() != 0)?;
        // One write is one message: there is nothing to gain by waiting for more. Accepted sockets inherit it.
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
        // Linux sets a descriptor aside for the connection that `accept` waits for, so it is not asked before there is one.
        let accepted = wait_for_input(&self.socket).and_then(|()| self.socket.accept());
        if self.closed.load(Ordering::Acquire) { None } else { Some(accepted) }
    }

    /// Waits until something comes on an accepted connection, which it says, but neither beyond the deadline nor while
    /// another connection waits to be accepted.
    pub(super) fn wait_for(&self, connection: &TcpStream, deadline: Instant) -> io::Result<bool> {
        let ready = wait_any(&[connection.as_fd(), self.socket.as_fd()], For::Input, deadline)?;
        Ok(ready == Some(0))
    }
}

impl Close for Listener {
    /// On Linux, shutting a listening socket down ends an `accept` that is blocked in it, now or later.
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
}
