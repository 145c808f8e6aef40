//! Builds IP packets with correct checksums around a payload, and the Ethernet header in front of them. For captures
//! only: nothing sends them.

use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// The offset of the checksum in the header.
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/// The variable fields of a TCP segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
    pub(super) flags: u8,
}

/// Builds a UDP packet; `None` if the payload does not fit.
pub(super) fn udp_packet(from: (Ipv6Addr, u16), to: (Ipv6Addr, u16), payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(payload.len().checked_add(8)?).ok()?;
    let mut datagram = ports(from.1, to.1);
    datagram.extend_from_slice(&length.to_be_bytes());
    datagram.extend_from_slice(&[0; 2]);
    datagram.extend_from_slice(payload);
    ip_packet(from.0, to.0, UDP, datagram, UDP_CHECKSUM)
}

/// Builds a TCP packet; `None` if the payload does not fit.
pub(super) fn tcp_packet(
    from: (Ipv6Addr, u16),
    to: (Ipv6Addr, u16),
    segment: &Segment,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let mut bytes = ports(from.1, to.1);
    bytes.extend_from_slice(&segment.sequence.to_be_bytes());
    bytes.extend_from_slice(&segment.acknowledged.to_be_bytes());
    // Five words of header, the flags, a window of 65535, checksum, no urgent data.
    bytes.extend_from_slice(&[0x50, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend_from_slice(payload);
    ip_packet(from.0, to.0, TCP, bytes, TCP_CHECKSUM)
}

fn ports(from: u16, to: u16) -> Vec<u8> {
    [from.to_be_bytes(), to.to_be_bytes()].concat()
}

/// Fills in the checksum of the transport packet and puts an IP header in front: IPv4 if both addresses are mapped.
fn ip_packet(
    from: Ipv6Addr,
    to: Ipv6Addr,
    protocol: u8,
    mut carried: Vec<u8>,
    checksum_at: usize,
) -> Option<Vec<u8>> {
    let length = u16::try_from(carried.len()).ok()?;
    let v4 = from.to_ipv4_mapped().zip(to.to_ipv4_mapped());
    let addresses = match v4 {
        Some((from, to)) => [from.octets(), to.octets()].concat(),
        None => [from.octets(), to.octets()].concat(),
    };
    let pseudo = [&addresses[..], &[0, protocol], &length.to_be_bytes()].concat();
    let sum = match checksum(&[&pseudo, &carried]) {
        // RFC 8200 §8.1: a UDP checksum must not be 0.
        0 if protocol == UDP => u16::MAX,
        sum => sum,
    };
    carried.get_mut(checksum_at..)?.get_mut(..2)?.copy_from_slice(&sum.to_be_bytes());
    let mut packet = match v4 {
        Some((from, to)) => v4_header(from, to, protocol, length.checked_add(20)?),
        None => {
            let hops = if to.is_multicast() { 1 } else { 64 };
            let [high, low] = length.to_be_bytes();
            [&[0x60, 0, 0, 0, high, low, protocol, hops], &addresses[..]].concat()
        }
    };
    packet.append(&mut carried);
    Some(packet)
}

fn v4_header(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    let begin = [0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol];
    let addresses = [from.octets(), to.octets()].concat();
    let sum = checksum(&[&begin, &addresses]).to_be_bytes();
    [&begin[..], &sum, &addresses].concat()
}

/// Builds an Ethernet header for a packet between these addresses: destination, source, EtherType. The engine does not
/// see Ethernet addresses, so they are made from the IP addresses.
pub(super) fn ethernet_header(from: Ipv6Addr, to: Ipv6Addr) -> [u8; 14] {
    let is_v4 = from.to_ipv4_mapped().is_some() && to.to_ipv4_mapped().is_some();
    let ether_type = if is_v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    let mut header = [0; 14];
    let bytes = card(to).into_iter().chain(card(from)).chain(ether_type);
    header.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
    header
}

/// The Ethernet address for an IP address: that of the multicast group (RFC 2464 §7, RFC 1112 §6.4), that in a modified
/// EUI-64 identifier (RFC 4291, appendix A), or else a locally administered one.
fn card(address: Ipv6Addr) -> [u8; 6] {
    if let Some([a, b, c, d]) = address.to_ipv4_mapped().map(|v4| v4.octets()) {
        return if a >> 4 == 0xe { [0x01, 0, 0x5e, b & 0x7f, c, d] } else { [0x02, 0, a, b, c, d] };
    }
    match address.octets() {
        [0xff, .., a, b, c, d] => [0x33, 0x33, a, b, c, d],
        [.., a, b, c, 0xff, 0xfe, d, e, f] => [a ^ 0x02, b, c, d, e, f],
        [.., a, b, c, d, e] => [0x02, a, b, c, d, e],
    }
}

/// The Internet checksum (RFC 1071) of several parts. All but the last must have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            let word = match pair {
                [high, low] => u16::from_be_bytes([*high, *low]),
                [high] => u16::from_be_bytes([*high, 0]),
                _ => 0,
            };
            sum += u64::from(word);
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_example_of_rfc_1071() {
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        assert_eq!(checksum(&[&[0x00, 0x01], &[0xf2]]), !0xf201);
    }

    #[test]
    fn a_packet_that_is_checked_as_a_receiver_does_adds_up() {
        let (from, to) = ((Ipv6Addr::LOCALHOST, 1), ("ff02::13".parse().unwrap(), 7017));
        let packet = udp_packet(from, to, b"odd").unwrap();
        assert_eq!(packet.len(), 40 + 8 + 3);
        // Over the addresses, the length, the protocol and the datagram with its checksum, the sum is 0.
        let pseudo = [&packet[8..40], &[0, 17, 0, 11]].concat();
        assert_eq!(checksum(&[&pseudo, &packet[40..]]), 0);
        assert_eq!(packet[7], 1, "the group is of this link");
        assert!(udp_packet(from, to, &[0; 65_600]).is_none());
    }

    #[test]
    fn the_header_of_ethernet_has_the_addresses_that_the_rfcs_say() {
        let header = |from: &str, to: &str| ethernet_header(from.parse().unwrap(), to.parse().unwrap());
        let (group, own) = ([0x33, 0x33, 0, 0, 0, 0x13], [0, 0x11, 0x22, 0x33, 0x44, 0x55]);
        assert_eq!(
            header("fe80::211:22ff:fe33:4455", "ff02::13"),
            *[&group[..], &own, &[0x86, 0xdd]].concat().as_array().unwrap()
        );
        // An IP address without an Ethernet address in it gets one of its own, the same each time.
        let [one, other] = ["2001:db8::1", "2001:db8::2"].map(|address| card(address.parse().unwrap()));
        assert_eq!((one, other), ([0x02, 0, 0, 0, 0, 1], [0x02, 0, 0, 0, 0, 2]));
        let v4 = header("::ffff:192.0.2.1", "::ffff:224.0.0.119");
        assert_eq!(v4, [1, 0, 0x5e, 0, 0, 119, 2, 0, 192, 0, 2, 1, 8, 0]);
    }

    #[test]
    fn mapped_addresses_travel_in_ipv4() {
        let address = |last| Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped();
        let segment = Segment { sequence: 1, acknowledged: 2, flags: ACK };
        let packet = tcp_packet((address(1), 1), (address(2), 2), &segment, b"x").unwrap();
        assert_eq!((packet[0], packet.len()), (0x45, 41));
        assert_eq!(checksum(&[&packet[..20]]), 0);
        let pseudo = [&packet[12..20], &[0, 6, 0, 21]].concat();
        assert_eq!(checksum(&[&pseudo, &packet[20..]]), 0);
    }
}
