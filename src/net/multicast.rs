//! The UDP sockets of one interface (graspy's `_mcssocks` and the socket of `_mclisten`).
//!
//! Heads up, RFC 8990 §2.8.4: on each interface, discoveries are sent from the same port on which their responses are
//! accepted over TCP.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{Ipv6Addr, Shutdown, SocketAddrV6, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::listener::Listener;
use super::overflow::Overflow;
use super::wait::{For, wait};
use crate::constants::{ALL_GRASP_NEIGHBORS_6, GRASP_LISTEN_PORT};

/// How many ports are tried until UDP and TCP get the same one, as in graspy.
const PORT_TRIES: usize = 10;
/// The receive buffer requested from the system, in bytes: a burst of floods must not be lost while one is being
/// handled.
const RECEIVE_BUFFER: usize = 1 << 20;

/// How long sending waits for room in the send buffer: a working link has sent a burst by then.
const ROOM: Duration = Duration::from_millis(50);

/// All GRASP neighbours on an interface.
pub(crate) const fn group(ifi: u32) -> SocketAddrV6 {
    SocketAddrV6::new(ALL_GRASP_NEIGHBORS_6, GRASP_LISTEN_PORT, 0, ifi)
}

/// Returns the interfaces on which the system receives multicasts to the group; `None` if it does not tell. The system
/// drops memberships when an interface loses IPv6, for instance while the MTU is too small, and the sockets do not
/// notice.
pub(crate) fn joined() -> Option<BTreeSet<u32>> {
    let memberships = std::fs::read_to_string("/proc/thread-self/net/igmp6").ok()?;
    let group = format!("{:032x}", u128::from(ALL_GRASP_NEIGHBORS_6));
    let interface = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let ifi = words.next()?.parse().ok()?;
        (words.nth(1)? == group).then_some(ifi)
    };
    Some(memberships.lines().filter_map(interface).collect())
}

/// A socket that receives datagrams. Another thread can end its blocked `receive`.
#[derive(Debug)]
pub(crate) struct Receiver {
    socket: UdpSocket,
    /// The interface on which it has joined the group, if any.
    joined: Option<u32>,
    closed: AtomicBool,
    overflow: Overflow,
}

impl Receiver {
    /// Receives datagrams to the group on one interface, and nothing else (RFC 8990 §2.6): the socket is bound to the
    /// group's address there, so that a unicast datagram cannot pass for a multicast.
    pub(crate) fn multicast(ifi: u32) -> io::Result<Self> {
        let socket = Self::bound(group(ifi))?;
        socket.join_multicast_v6(&ALL_GRASP_NEIGHBORS_6, ifi)?;
        Ok(Self::of(socket, Some(ifi)))
    }

    /// Receives datagrams that come in by an interface for port 7017 of any unicast address of this node; only for its
    /// link-local address if the system does not let this process bind to the interface.
    pub(crate) fn unicast(ifi: u32, name: &str, link_local: Ipv6Addr) -> io::Result<Self> {
        let socket = match Self::bound_to_device(name) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                log::debug!("unicast datagrams to the link-local address of {name} only: {error}");
                Self::bound(SocketAddrV6::new(link_local, GRASP_LISTEN_PORT, 0, ifi))?
            }
            bound => bound?,
        };
        Ok(Self::of(socket, None))
    }

    fn of(socket: Socket, joined: Option<u32>) -> Self {
        let overflow = Overflow::of(&socket);
        Self { socket: socket.into(), joined, closed: AtomicBool::new(false), overflow }
    }

    fn bound_to_device(name: &str) -> io::Result<Socket> {
        let socket = Self::shared()?;
        socket.set_multicast_all_v6(false)?;
        socket.bind_device(Some(name.as_bytes()))?;
        Self::bind(socket, SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, GRASP_LISTEN_PORT, 0, 0))
    }

    fn bound(address: SocketAddrV6) -> io::Result<Socket> {
        Self::bind(Self::shared()?, address)
    }

    fn shared() -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_only_v6(true)?;
        // Every instance on the machine receives every multicast (RFC 8990 §2.3).
        socket.set_reuse_address(true)?;
        Ok(socket)
    }

    fn bind(socket: Socket, address: SocketAddrV6) -> io::Result<Socket> {
        socket.bind(&SockAddr::from(address))?;
        if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER) {
            log::debug!("the receive buffer stays as it is: {error}");
        }
        Ok(socket)
    }

    /// Waits for a datagram; `None` once the socket is closed. Longer datagrams are cut to the size of `buffer`. A
    /// datagram without a sender is an error. Returns also whether it was waited for: then no other had come before it.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Option<io::Result<(usize, SocketAddrV6, bool)>> {
        let mut flags = RecvFlags::DONTWAIT;
        // std's recv_from assumes that there is a sender, but a closed socket reports none.
        let received = loop {
            let received = recvfrom(&self.socket, &mut *buffer, flags);
            if self.closed.load(Ordering::Acquire) {
                return None;
            }
            // A signal is not an error, and datagrams that arrive in the meantime must not wait.
            match received {
                Err(Errno::AGAIN) => flags = RecvFlags::empty(),
                Err(Errno::INTR) => {}
                received => break received,
            }
        };
        Some(received.map_err(io::Error::from).and_then(|(_, length, sender)| {
            let sender = sender.and_then(|sender| SocketAddrV6::try_from(sender).ok());
            sender
                .map(|sender| (length, sender, flags.is_empty()))
                .ok_or_else(|| io::ErrorKind::InvalidData.into())
        }))
    }

    /// Whether another datagram is there already.
    pub(crate) fn has_more(&self) -> bool {
        super::wait::has_input(&self.socket)
    }

    /// How many datagrams more than at the last call the system has dropped here because the buffer was full; `dropped` is
    /// what [`overflow::dropped`](super::overflow::dropped) says.
    pub(crate) fn overflows(&self, dropped: &HashMap<u64, u32>) -> usize {
        self.overflow.news(dropped)
    }

    /// On Linux, shutting down a datagram socket ends a `recv` that blocks on it, now or later, although the call
    /// reports that the socket is not connected.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // Leaves now, and not when the last thread releases the socket: if the system has dropped this membership,
        // leaving later would remove that of the socket opened in the meantime. The interface may no longer exist.
        if let Some(ifi) = self.joined {
            let _ = self.socket.leave_multicast_v6(&ALL_GRASP_NEIGHBORS_6, ifi);
        }
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
    }
}

/// Repeats what fails because another program has the port.
fn try_ports<T>(attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let is_taken =
        |tried: &io::Result<T>| matches!(tried, Err(error) if error.kind() == io::ErrorKind::AddrInUse);
    let mut tried = attempt();
    for _ in 1..PORT_TRIES {
        if !is_taken(&tried) {
            break;
        }
        tried = attempt();
    }
    tried
}

/// The socket that sends to the group on one interface.
#[derive(Debug)]
pub(crate) struct Sender {
    socket: UdpSocket,
    ifi: u32,
    port: u16,
    /// Whether there was no room last time.
    congested: AtomicBool,
}

impl Sender {
    /// Opens the sending socket of an interface and the TCP listener on the same port (graspy's `_init_drsocks`).
    pub(crate) fn open(ifi: u32, link_local: Ipv6Addr) -> io::Result<(Self, Listener)> {
        try_ports(|| {
            let listener = Listener::bind(SocketAddrV6::new(link_local, 0, 0, ifi))?;
            let port = listener.port()?;
            let socket = Self::bind(SocketAddrV6::new(link_local, port, 0, ifi))?;
            Ok((Self { socket, ifi, port, congested: AtomicBool::new(false) }, listener))
        })
    }

    fn bind(address: SocketAddrV6) -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_only_v6(true)?;
        socket.set_multicast_if_v6(address.scope_id())?;
        socket.set_multicast_hops_v6(1)?;
        // Other processes on this host are ordinary peers.
        socket.set_multicast_loop_v6(true)?;
        socket.bind(&SockAddr::from(address))?;
        Ok(socket.into())
    }

    /// The port that datagrams are sent from and responses arrive at.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Sends to the group. A congested or stalled link must delay neither the other links nor the caller: sending waits
    /// for it only briefly, and not again until a datagram has left. What finds no room then is lost, as datagrams may
    /// be.
    pub(crate) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let send = || sendto(&self.socket, datagram, SendFlags::DONTWAIT, &group(self.ifi));
        let mut sent = send();
        if sent == Err(Errno::AGAIN) && !self.congested.load(Ordering::Relaxed) {
            wait(&self.socket, For::Room, Instant::now() + ROOM)?;
            sent = send();
        }
        self.congested.store(sent == Err(Errno::AGAIN), Ordering::Relaxed);
        Ok(sent.map(|_| ())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loopback interface of Linux.
    const LOOPBACK: u32 = 1;

    #[test]
    fn the_system_tells_where_the_group_has_been_joined() {
        let receiver = Receiver::multicast(LOOPBACK).unwrap();
        assert!(joined().unwrap().contains(&LOOPBACK));
        receiver.close();
        // The tests of another process may have joined it, too, for a moment.
        let deadline = Instant::now() + Duration::from_secs(20);
        while joined().unwrap().contains(&LOOPBACK) {
            assert!(Instant::now() < deadline, "it is left, and not only once the socket is gone");
            std::thread::yield_now();
        }
        assert!(receiver.receive(&mut [0; 9]).is_none());
    }

    #[test]
    fn another_port_is_tried_while_one_is_taken_but_not_for_ever() {
        let tries = |outcome: fn(usize) -> io::Result<usize>| {
            let count = std::cell::Cell::new(0);
            let tried = try_ports(|| {
                count.set(count.get() + 1);
                outcome(count.get())
            });
            (count.get(), tried.map_err(|error| error.kind()))
        };
        let taken = io::ErrorKind::AddrInUse;
        assert_eq!(tries(Ok), (1, Ok(1)));
        assert_eq!(
            tries(|count| if count < 3 { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(count) }),
            (3, Ok(3))
        );
        assert_eq!(tries(|_| Err(io::ErrorKind::AddrInUse.into())), (PORT_TRIES, Err(taken)));
        let other = io::ErrorKind::AddrNotAvailable;
        assert_eq!(tries(|_| Err(io::ErrorKind::AddrNotAvailable.into())), (1, Err(other)));
    }

    #[test]
    fn where_no_socket_can_be_bound_to_the_interface_one_is_bound_to_the_address() {
        let receiver = Receiver::unicast(LOOPBACK, "no-such-device", Ipv6Addr::LOCALHOST).unwrap();
        let bound = SockRef::from(&receiver.socket).local_addr().unwrap().as_socket_ipv6().unwrap();
        assert_eq!((*bound.ip(), bound.port()), (Ipv6Addr::LOCALHOST, GRASP_LISTEN_PORT));
    }
}
