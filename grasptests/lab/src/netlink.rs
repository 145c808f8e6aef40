//! The requests the lab makes of the kernel (rtnetlink), so that no `ip` program is needed. Used by
//! [`namespace`](crate::namespace) (each namespace has one [`Netlink`] socket), for nodes and links.

use std::{
    io,
    net::{IpAddr, Ipv6Addr},
    os::fd::RawFd,
};

use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo},
    link::{
        AfSpecInet6, AfSpecUnspec, BridgePortState, BridgeStpState, In6AddrGenMode, InfoBridge,
        InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
        LinkMessage, State,
    },
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType},
    tc::{TcAttribute, TcHandle, TcMessage, TcOption},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Larger than any message the kernel makes (it stays below 32 KiB).
const BUFFER: usize = 64 * 1024;

/// One end of a new veth pair, in the namespace of the socket that makes it.
pub(crate) struct VethEnd<'a> {
    pub(crate) name: &'a str,
    /// The interface index it is to have.
    pub(crate) index: u32,
    /// The bridge it is to join.
    pub(crate) bridge: u32,
}

/// The other end of a new veth pair, in another namespace.
pub(crate) struct VethPeer<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: [u8; 6],
    pub(crate) namespace: RawFd,
}

/// What the kernel says about an interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkStatus {
    pub(crate) index: u32,
    /// Set up by whoever administers it.
    pub(crate) up: bool,
    /// The other end is up too.
    pub(crate) carrier: bool,
    /// Up with carrier, and the kernel has drawn the consequences: it can send.
    pub(crate) running: bool,
    /// A port of a bridge that does not forward (yet).
    pub(crate) blocked: bool,
}

/// A static route: `prefix` through the neighbour `via` on `interface`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StaticRoute {
    pub(crate) prefix: (Ipv6Addr, u8),
    pub(crate) via: Ipv6Addr,
    pub(crate) interface: u32,
}

/// A socket to the kernel, which stays with the namespace it was opened in.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Makes a bridge that forwards everything at once: no spanning tree, no snooping.
    pub(crate) fn create_bridge(&mut self, name: &str, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![
                    InfoBridge::StpState(BridgeStpState::Disabled),
                    InfoBridge::ForwardDelay(0),
                    InfoBridge::MulticastSnooping(false),
                ])),
            ]),
        ];
        self.create(RouteNetlinkMessage::NewLink(message))
    }

    pub(crate) fn create_veth(&mut self, here: &VethEnd<'_>, there: &VethPeer<'_>) -> io::Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(there.name.to_owned()),
            LinkAttribute::Address(there.mac.to_vec()),
            LinkAttribute::NetNsFd(there.namespace),
        ];
        let mut message = LinkMessage::default();
        message.header.index = here.index;
        message.attributes = vec![
            LinkAttribute::IfName(here.name.to_owned()),
            LinkAttribute::Controller(here.bridge),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        self.create(RouteNetlinkMessage::NewLink(message))
    }

    pub(crate) fn delete_link(&mut self, index: u32) -> io::Result<()> {
        self.ask(RouteNetlinkMessage::DelLink(interface(index)), NLM_F_ACK).map(drop)
    }

    pub(crate) fn set_up(&mut self, index: u32, up: bool) -> io::Result<()> {
        let mut message = interface(index);
        message.header.change_mask = LinkFlags::Up;
        if up {
            message.header.flags = LinkFlags::Up;
        }
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    pub(crate) fn set_mtu(&mut self, index: u32, mtu: u32) -> io::Result<()> {
        let mut message = interface(index);
        message.attributes = vec![LinkAttribute::Mtu(mtu)];
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    /// Lets no more than so many bytes a second leave by an interface; the others wait (tc-tbf(8)).
    pub(crate) fn throttle(&mut self, index: u32, bytes_per_second: u32) -> io::Result<()> {
        let mut message = TcMessage::with_index(i32::try_from(index).map_err(io::Error::other)?);
        message.header.handle = TcHandle { major: 1, minor: 0 };
        message.header.parent = TcHandle::ROOT;
        let options = token_bucket(bytes_per_second)
            .map(|(kind, value)| TcOption::Other(DefaultNla::new(kind, value)))
            .to_vec();
        message.attributes = vec![TcAttribute::Kind("tbf".to_owned()), TcAttribute::Options(options)];
        self.create(RouteNetlinkMessage::NewQueueDiscipline(message))
    }

    /// Makes an interface the port of a bridge, or (0) of none.
    pub(crate) fn set_bridge(&mut self, index: u32, bridge: u32) -> io::Result<()> {
        let mut message = interface(index);
        message.attributes = vec![LinkAttribute::Controller(bridge)];
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    /// Keeps the kernel from making up a link-local address.
    pub(crate) fn no_automatic_address(&mut self, index: u32) -> io::Result<()> {
        let mut message = interface(index);
        message.attributes =
            vec![LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
                In6AddrGenMode::None,
            )])])];
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
    }

    pub(crate) fn link(&mut self, name: &str) -> io::Result<LinkStatus> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        let answers = self.ask(RouteNetlinkMessage::GetLink(message), NLM_F_ACK)?;
        answers
            .iter()
            .find_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(link) => Some(status(link)),
                _ => None,
            })
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Adds an address that is usable at once, without duplicate address detection.
    pub(crate) fn add_address(
        &mut self,
        index: u32,
        address: impl Into<IpAddr>,
        prefix: u8,
    ) -> io::Result<()> {
        let mut message = address_message(index, address, prefix);
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        self.create(RouteNetlinkMessage::NewAddress(message))
    }

    /// Adds an address with flags, or changes it; it is deprecated when so many seconds are over.
    pub(crate) fn put_address(
        &mut self,
        index: u32,
        address: Ipv6Addr,
        prefix: u8,
        flags: AddressFlags,
        preferred: u32,
    ) -> io::Result<()> {
        let mut message = address_message(index, address, prefix);
        let mut life = CacheInfo::default();
        (life.ifa_preferred, life.ifa_valid) = (preferred, u32::MAX);
        message.attributes.extend([AddressAttribute::Flags(flags), AddressAttribute::CacheInfo(life)]);
        let message = RouteNetlinkMessage::NewAddress(message);
        self.ask(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }

    pub(crate) fn remove_address(
        &mut self,
        index: u32,
        address: impl Into<IpAddr>,
        prefix: u8,
    ) -> io::Result<()> {
        self.ask(RouteNetlinkMessage::DelAddress(address_message(index, address, prefix)), NLM_F_ACK)
            .map(drop)
    }

    /// The IPv6 addresses of an interface with their prefix lengths, sorted.
    pub(crate) fn addresses(&mut self, index: u32) -> io::Result<Vec<(Ipv6Addr, u8)>> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet6;
        let answers = self.ask(RouteNetlinkMessage::GetAddress(message), NLM_F_DUMP)?;
        let mut found: Vec<_> = answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(entry) if entry.header.index == index => {
                    entry.attributes.iter().find_map(|attribute| match attribute {
                        AddressAttribute::Address(IpAddr::V6(address)) => {
                            Some((*address, entry.header.prefix_len))
                        }
                        _ => None,
                    })
                }
                _ => None,
            })
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    pub(crate) fn add_route(&mut self, route: &StaticRoute) -> io::Result<()> {
        let message = RouteNetlinkMessage::NewRoute(route_message(route));
        self.ask(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }

    pub(crate) fn remove_route(&mut self, route: &StaticRoute) -> io::Result<()> {
        self.ask(RouteNetlinkMessage::DelRoute(route_message(route)), NLM_F_ACK).map(drop)
    }

    fn create(&mut self, message: RouteNetlinkMessage) -> io::Result<()> {
        self.ask(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Sends a request and collects what the kernel answers, up to its acknowledgement or the end of the
    /// dump.
    fn ask(&mut self, payload: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(payload));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answers = Vec::new();
        loop {
            let mut received = Vec::with_capacity(BUFFER);
            self.socket.recv(&mut received, 0)?;
            let mut rest = received.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
                let length = usize::try_from(message.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
                if message.header.sequence_number != self.sequence {
                    // Left over from a request that failed half-way.
                    continue;
                }
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) => match error.code {
                        None => return Ok(answers),
                        Some(code) => return Err(io::Error::from_raw_os_error(code.get().abs())),
                    },
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    _ => {}
                }
            }
        }
    }
}

fn interface(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn status(link: &LinkMessage) -> LinkStatus {
    let mut operational = false;
    let mut queue = false;
    let mut blocked = false;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::OperState(State::Up) => operational = true,
            // "noop" drops everything: the kernel replaces it a moment after the carrier has come.
            LinkAttribute::Qdisc(name) => queue = name != "noop",
            LinkAttribute::LinkInfo(parts) => {
                blocked = parts.iter().any(|part| match part {
                    LinkInfo::PortData(InfoPortData::BridgePort(port)) => {
                        !port.contains(&InfoBridgePort::State(BridgePortState::Forwarding))
                    }
                    _ => false,
                });
            }
            _ => {}
        }
    }
    let has = |flag| link.header.flags.contains(flag);
    LinkStatus {
        index: link.header.index,
        up: has(LinkFlags::Up),
        carrier: has(LinkFlags::LowerUp),
        running: operational && queue,
        blocked,
    }
}

/// The attributes of a token bucket (linux/pkt_sched.h): `struct tc_tbf_qopt`, and how much may leave at once.
fn token_bucket(bytes_per_second: u32) -> [(u16, Vec<u8>); 2] {
    const TCA_TBF_PARMS: u16 = 1;
    const TCA_TBF_BURST: u16 = 6;
    const ETHERNET: u8 = 1;
    /// One packet.
    const BURST: u32 = 2000;
    /// What may wait: more than any socket may have under way.
    const LIMIT: u32 = 64 << 20;
    let rate = [&[0, ETHERNET, 0, 0, 0, 0, 0, 0], bytes_per_second.to_ne_bytes().as_slice()].concat();
    let (no_peak, limit, unused) = ([0; 12], LIMIT.to_ne_bytes(), [0; 8]);
    let parameters = [rate.as_slice(), &no_peak, &limit, &unused].concat();
    [(TCA_TBF_PARMS, parameters), (TCA_TBF_BURST, BURST.to_ne_bytes().to_vec())]
}

fn address_message(index: u32, address: impl Into<IpAddr>, prefix: u8) -> AddressMessage {
    let address = address.into();
    let mut message = AddressMessage::default();
    message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.index = index;
    message.header.prefix_len = prefix;
    message.attributes = vec![AddressAttribute::Local(address)];
    message
}

fn route_message(route: &StaticRoute) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet6;
    message.header.destination_prefix_length = route.prefix.1;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        RouteAttribute::Destination(RouteAddress::Inet6(route.prefix.0)),
        RouteAttribute::Gateway(RouteAddress::Inet6(route.via)),
        RouteAttribute::Oif(route.interface),
    ];
    message
}
