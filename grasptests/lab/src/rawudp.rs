//! A UDP socket for tests that watch or imitate a protocol: it hears multicast groups on one interface, and
//! sends from any address and port. It knows no protocol; the constants are those of GRASP for convenience.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn6, sendmsg};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{LabError, Node, error::Doing as _, sys};

/// ALL_GRASP_NEIGHBORS (RFC 8990 §2.6).
pub const ALL_GRASP_NEIGHBORS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x13);

/// GRASP_LISTEN_PORT (RFC 8990 §2.6).
pub const GRASP_LISTEN_PORT: u16 = 7017;

/// The largest UDP payload, and more.
const BUFFER: usize = 65536;

/// A UDP socket on one interface of a node.
#[derive(Debug)]
pub struct RawUdp {
    socket: UdpSocket,
    index: u32,
}

/// What arrived, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The payload.
    pub bytes: Vec<u8>,
    /// The sender's address, port, and for a link-local address the interface.
    pub source: SocketAddrV6,
}

impl RawUdp {
    /// Opens a socket bound to an address (`::` for any) and port (0 for any free one), which others may
    /// share. Multicasts leave by `interface` and do not come back to this node.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when there is no such interface or the address is not the node's.
    pub fn open(node: &Node, interface: &str, address: Ipv6Addr, port: u16) -> Result<Self, LabError> {
        let index = node.interface_index(interface)?;
        let open = || {
            let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_only_v6(true)?;
            socket.set_reuse_address(true)?;
            socket.set_multicast_if_v6(index)?;
            socket.set_multicast_loop_v6(false)?;
            // On Linux true is the default, and means: groups that other sockets joined on any interface.
            socket.set_multicast_all_v6(false)?;
            socket.bind(&SocketAddrV6::new(address, port, 0, scope(address, index)).into())?;
            Ok::<_, io::Error>(UdpSocket::from(socket))
        };
        let socket = node.run(open).doing(|| {
            format!("open a UDP socket at [{address}]:{port} on {interface} of node {}", node.name())
        })?;
        Ok(Self { socket, index })
    }

    /// Hears a group on the socket's interface from now on.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the kernel refuses.
    pub fn join(&self, group: Ipv6Addr) -> Result<(), LabError> {
        self.socket.join_multicast_v6(&group, self.index).doing(|| format!("join {group}"))
    }

    /// A socket that hears what GRASP nodes send to each other by multicast: `::`, port 7017, group ff02::13.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn neighbors(node: &Node, interface: &str) -> Result<Self, LabError> {
        let socket = Self::open(node, interface, Ipv6Addr::UNSPECIFIED, GRASP_LISTEN_PORT)?;
        socket.join(ALL_GRASP_NEIGHBORS)?;
        Ok(socket)
    }

    /// The address and port the socket is bound to.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the kernel refuses.
    pub fn local(&self) -> Result<SocketAddrV6, LabError> {
        match self.socket.local_addr().doing(|| "read the socket's address".into())? {
            SocketAddr::V6(address) => Ok(address),
            SocketAddr::V4(address) => Err(LabError::Unknown(format!("{address} is no IPv6 address"))),
        }
    }

    /// Sends a datagram; to link-local addresses and groups through the socket's interface.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the kernel refuses.
    pub fn send(&self, bytes: &[u8], to: Ipv6Addr, port: u16) -> Result<(), LabError> {
        let target = SocketAddrV6::new(to, port, 0, scope(to, self.index));
        self.socket.send_to(bytes, target).map(drop).doing(|| format!("send to {target}"))
    }

    /// As [`send`](Self::send), in the name of any address, the node's or not, from this socket's port: the
    /// answer, if there is one, goes to that address. The socket must be bound to `::`.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the kernel refuses.
    pub fn send_as(&self, source: Ipv6Addr, bytes: &[u8], to: Ipv6Addr, port: u16) -> Result<(), LabError> {
        let target = SocketAddrV6::new(to, port, 0, scope(to, self.index));
        let info = libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr { s6_addr: source.octets() },
            ipi6_ifindex: self.index,
        };
        let (parts, control) = ([io::IoSlice::new(bytes)], [ControlMessage::Ipv6PacketInfo(&info)]);
        let name = SockaddrIn6::from(target);
        let (socket, flags) = (self.socket.as_raw_fd(), MsgFlags::empty());
        let sent = sendmsg(socket, &parts, &control, flags, Some(&name)).map_err(io::Error::from);
        sent.map(drop).doing(|| format!("send to {target} as {source}"))
    }

    /// Lets [`send_as`](Self::send_as) use addresses that the node has not.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the kernel refuses.
    pub fn allow_spoofing(&self) -> Result<(), LabError> {
        let doing = || "allow foreign source addresses".to_owned();
        sys::set_option(&self.socket, libc::IPPROTO_IPV6, libc::IPV6_FREEBIND).doing(doing)
    }

    /// Waits for a datagram; none when nothing came in time.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the kernel reports an error on the socket.
    pub fn receive(&self, within: Duration) -> Result<Option<Datagram>, LabError> {
        let deadline = Instant::now() + within;
        let mut buffer = vec![0; BUFFER];
        let doing = || "receive a datagram".to_owned();
        loop {
            // A time of zero would mean forever.
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).doing(doing)?;
            match self.socket.recv_from(&mut buffer) {
                Ok((length, SocketAddr::V6(source))) => {
                    buffer.truncate(length);
                    return Ok(Some(Datagram { bytes: buffer, source }));
                }
                // Cannot be: the socket is for IPv6 only.
                Ok((_, SocketAddr::V4(_))) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    // The kernel rounds the time to its ticks.
                    if Instant::now() >= deadline {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error).doing(doing),
            }
        }
    }

    /// Waits for a datagram that `wanted` accepts, dropping others; none when none came in time.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    pub fn receive_matching(
        &self,
        within: Duration,
        mut wanted: impl FnMut(&Datagram) -> bool,
    ) -> Result<Option<Datagram>, LabError> {
        let deadline = Instant::now() + within;
        loop {
            match self.receive(deadline.saturating_duration_since(Instant::now()))? {
                Some(datagram) if wanted(&datagram) => return Ok(Some(datagram)),
                Some(_) if Instant::now() < deadline => {}
                _ => return Ok(None),
            }
        }
    }

    /// The socket itself, for options not named here (through `socket2::SockRef`).
    #[must_use]
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }
}

fn scope(address: Ipv6Addr, index: u32) -> u32 {
    if address.is_unicast_link_local() || address.is_multicast() { index } else { 0 }
}
