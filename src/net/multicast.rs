//! The UDP sockets of one interface (graspy's `_mcssocks` and the socket of `_mclisten`).
//!
//! Heads up, RFC 8990 §2.8.4: on each interface, discoveries are sent from the port on which their responses
//! are accepted over TCP.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv6Addr, Shutdown, SocketAddrV6, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::listener::Listener;
use super::wait::{For, wait};
use crate::constants::{ALL_GRASP_NEIGHBORS_6, GRASP_LISTEN_PORT};

/// How often another port is tried where UDP and TCP cannot have the same, as in graspy.
const PORT_TRIES: usize = 10;
/// The receive buffer asked of the system, in bytes: a burst of floods should not be lost while one is handled.
const RECEIVE_BUFFER: usize = 1 << 20;

/// How long sending waits for room in the send buffer: a burst has left it by then, where the link takes anything.
const ROOM: Duration = Duration::from_millis(50);

/// All GRASP neighbours on an interface.
pub(crate) const fn group(ifi: u32) -> SocketAddrV6 {
    SocketAddrV6::new(ALL_GRASP_NEIGHBORS_6, GRASP_LISTEN_PORT, 0, ifi)
}

/// The interfaces on which the system takes in what is sent to the group; `None` where it does not say. It forgets
/// memberships when an interface loses IPv6, while the MTU is too small for instance, and the sockets do not notice.
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

/// A socket that receives datagrams, whose blocked `receive` can be ended from another thread.
#[derive(Debug)]
pub(crate) struct Receiver {
    socket: UdpSocket,
    /// The interface on which it is in the group, if it is.
    joined: Option<u32>,
    closed: AtomicBool,
}

impl Receiver {
    /// Receives what is sent to the group on one interface, and nothing else (RFC 8990 §2.6): bound to the
    /// group's address there, so that a unicast datagram cannot pass for a multicast.
    pub(crate) fn multicast(ifi: u32) -> io::Result<Self> {
        let socket = Self::bound(group(ifi))?;
        socket.join_multicast_v6(&ALL_GRASP_NEIGHBORS_6, ifi)?;
        Ok(Self { socket: socket.into(), joined: Some(ifi), closed: AtomicBool::new(false) })
    }

    /// Receives what comes in by an interface for port 7017 of any address of this node, and nothing that is sent to a group;
    /// of its link-local address only, where the system does not let this process choose by the interface.
    pub(crate) fn unicast(ifi: u32, name: &str, link_local: Ipv6Addr) -> io::Result<Self> {
        let socket = match Self::bound_to_device(name) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                log::debug!("unicast datagrams to the link-local address of {name} only: {error}");
                Self::bound(SocketAddrV6::new(link_local, GRASP_LISTEN_PORT, 0, ifi))?
            }
            bound => bound?,
        };
        Ok(Self { socket: socket.into(), joined: None, closed: AtomicBool::new(false) })
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
        // Every instance on the machine hears every multicast (RFC 8990 §2.3).
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

    /// Waits for a datagram; `None` once the socket is closed. Longer ones than `buffer` are cut. What the
    /// system gives no sender for comes as an error.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Option<io::Result<(usize, SocketAddrV6)>> {
        // std's recv_from takes for granted that there is a sender, which a closed socket has not.
        let received = loop {
            let received = recvfrom(&self.socket, &mut *buffer, RecvFlags::empty());
            if self.closed.load(Ordering::Acquire) {
                return None;
            }
            // A signal is no error, and what comes meanwhile must not have to wait.
            if !matches!(received, Err(Errno::INTR)) {
                break received;
            }
        };
        Some(received.map_err(io::Error::from).and_then(|(_, length, sender)| {
            let sender = sender.and_then(|sender| SocketAddrV6::try_from(sender).ok());
            sender.map(|sender| (length, sender)).ok_or_else(|| io::ErrorKind::InvalidData.into())
        }))
    }

    /// On Linux, shutting a datagram socket down ends a `recv` that is blocked in it, now or later, although
    /// it reports that the socket is not connected.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // Now, and not when the last thread lets go of the socket: where the system has forgotten the membership, it takes
        // that of the socket away which has been opened meanwhile. The interface may be gone.
        if let Some(ifi) = self.joined {
            let _ = self.socket.leave_multicast_v6(&ALL_GRASP_NEIGHBORS_6, ifi);
        }
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
    }
}

/// The socket that sends to the group on one interface.
#[derive(Debug)]
pub(crate) struct Sender {
    socket: UdpSocket,
    ifi: u32,
    port: u16,
    /// There was no room last time.
    congested: AtomicBool,
}

impl Sender {
    /// Opens the sending socket of an interface and the TCP listener on the same port (graspy's `_init_drsocks`).
    pub(crate) fn open(ifi: u32, link_local: Ipv6Addr) -> io::Result<(Self, Listener)> {
        let mut tries = 0;
        loop {
            let listener = Listener::bind(SocketAddrV6::new(link_local, 0, 0, ifi))?;
            let port = listener.port()?;
            match Self::bind(SocketAddrV6::new(link_local, port, 0, ifi)) {
                Ok(socket) => {
                    return Ok((Self { socket, ifi, port, congested: AtomicBool::new(false) }, listener));
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < PORT_TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn bind(address: SocketAddrV6) -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_only_v6(true)?;
        socket.set_multicast_if_v6(address.scope_id())?;
        socket.set_multicast_hops_v6(1)?;
        // Other processes on this host are peers like any other.
        socket.set_multicast_loop_v6(true)?;
        socket.bind(&SockAddr::from(address))?;
        Ok(socket.into())
    }

    /// The port that datagrams are sent from and responses come to.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Sends to the group. A link that is congested or stands still must hold up neither the others nor who calls: it is
    /// waited for a moment, and not again until something has left. What has no room then is lost, as datagrams are.
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
