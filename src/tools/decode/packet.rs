//! From a captured frame to the datagram or segment in it.

use std::net::{IpAddr, SocketAddr};

use etherparse::{LaxIpPayloadSlice, LaxNetSlice, LaxSlicedPacket, TransportSlice};

use super::file::Frame;
use super::link::{self, Unsupported};

/// The content of a frame that may matter for GRASP.
pub(super) enum Packet<'a> {
    Udp {
        source: SocketAddr,
        destination: SocketAddr,
        payload: &'a [u8],
        /// How many bytes of the payload the snap length has cut off.
        cut: usize,
    },
    Tcp {
        source: SocketAddr,
        destination: SocketAddr,
        segment: Segment<'a>,
    },
    /// A fragment of an IP packet, which is not reassembled.
    Fragment,
    Other,
}

pub(super) struct Segment<'a> {
    pub(super) sequence: u32,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) payload: &'a [u8],
    /// How many bytes of the payload the snap length has cut off.
    pub(super) cut: usize,
}

/// Parses a frame. IPv6 extension headers are skipped.
///
/// # Errors
/// If the link type is not supported.
pub(super) fn parse<'a>(frame: &Frame<'a>) -> Result<Packet<'a>, Unsupported> {
    let sliced = link::strip(frame.link, frame.data)?;
    Ok(sliced.map_or(Packet::Other, |sliced| transport(&sliced, frame.cut)))
}

fn transport<'a>(sliced: &LaxSlicedPacket<'a>, cut: usize) -> Packet<'a> {
    let (source, destination, length, payload): (IpAddr, IpAddr, usize, &LaxIpPayloadSlice<'_>) =
        match &sliced.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                let headers = header.slice().len() + ip.extensions().auth.map_or(0, |it| it.slice().len());
                let length = usize::from(header.total_len()).saturating_sub(headers);
                (header.source_addr().into(), header.destination_addr().into(), length, ip.payload())
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let header = ip.header();
                let length =
                    usize::from(header.payload_length()).saturating_sub(ip.extensions().slice().len());
                (header.source_addr().into(), header.destination_addr().into(), length, ip.payload())
            }
            _ => return Packet::Other,
        };
    if payload.fragmented {
        return Packet::Fragment;
    }
    // The IP header gives the original length; missing data that was not cut off never existed.
    let cut = length.saturating_sub(payload.payload.len()).min(cut);
    match &sliced.transport {
        Some(TransportSlice::Udp(udp)) => Packet::Udp {
            source: (source, udp.source_port()).into(),
            destination: (destination, udp.destination_port()).into(),
            payload: udp.payload(),
            cut: match usize::from(udp.length()).checked_sub(UDP_HEADER) {
                Some(length) => length.saturating_sub(udp.payload().len()).min(cut),
                None => cut,
            },
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
                cut,
            },
        },
        _ => Packet::Other,
    }
}

const UDP_HEADER: usize = 8;
