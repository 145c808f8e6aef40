//! From a captured frame to the datagram or segment in it.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_parser::Linktype;

/// What is in a frame that may concern GRASP.
pub(super) enum Packet<'a> {
    Udp {
        source: SocketAddr,
        destination: SocketAddr,
        payload: &'a [u8],
    },
    Tcp {
        source: SocketAddr,
        destination: SocketAddr,
        segment: Segment<'a>,
    },
    /// A piece of an IP packet, which is not put together again.
    Fragment,
    Other,
}

pub(super) struct Segment<'a> {
    pub(super) sequence: u32,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) payload: &'a [u8],
}

/// Looks into a frame of this link type. Headers of IPv6 extensions and VLAN tags are passed.
pub(super) fn parse(link: Linktype, frame: &[u8]) -> Packet<'_> {
    let sliced = match link {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(frame).ok(),
        Linktype::RAW | Linktype(12 | 14) | Linktype::IPV4 | Linktype::IPV6 => {
            LaxSlicedPacket::from_ip(frame).ok()
        }
        // BSD loopback: four bytes of address family.
        Linktype::NULL | Linktype::LOOP => {
            frame.get(4..).and_then(|packet| LaxSlicedPacket::from_ip(packet).ok())
        }
        // Linux cooked, versions 1 and 2: the EtherType is at the end, or at the beginning.
        Linktype::LINUX_SLL => cooked(frame, 14, 16),
        Linktype(LINUX_SLL2) => cooked(frame, 0, 20),
        _ => None,
    };
    sliced.map_or(Packet::Other, |sliced| transport(&sliced))
}

fn cooked(frame: &[u8], ether_type: usize, header: usize) -> Option<LaxSlicedPacket<'_>> {
    let (&[high, low], payload) = (frame.get(ether_type..ether_type + 2)?.as_array()?, frame.get(header..)?);
    Some(LaxSlicedPacket::from_ether_type(EtherType(u16::from_be_bytes([high, low])), payload))
}

fn transport<'a>(sliced: &LaxSlicedPacket<'a>) -> Packet<'a> {
    let (source, destination): (IpAddr, IpAddr) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        _ => return Packet::Other,
    };
    if sliced.ip_payload().is_some_and(|payload| payload.fragmented) {
        return Packet::Fragment;
    }
    match &sliced.transport {
        Some(TransportSlice::Udp(udp)) => Packet::Udp {
            source: (source, udp.source_port()).into(),
            destination: (destination, udp.destination_port()).into(),
            payload: udp.payload(),
        },
        Some(TransportSlice::Tcp(tcp)) => Packet::Tcp {
            source: (source, tcp.source_port()).into(),
            destination: (destination, tcp.destination_port()).into(),
            segment: Segment {
                sequence: tcp.sequence_number(),
                syn: tcp.syn(),
                fin: tcp.fin(),
                rst: tcp.rst(),
                payload: tcp.payload(),
            },
        },
        _ => Packet::Other,
    }
}

const LINUX_SLL2: i32 = 276;
