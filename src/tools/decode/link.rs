//! From a captured frame to the IP packet in it: the link headers, as listed at
//! <https://www.tcpdump.org/linktypes.html>. etherparse parses the rest.

use etherparse::{EtherType, LaxSlicedPacket, ether_type};

/// Returns the IP packet in a frame of this link type, if any.
///
/// # Errors
/// If the link type is not supported.
pub(super) fn strip(link: u16, frame: &[u8]) -> Result<Option<LaxSlicedPacket<'_>>, Unsupported> {
    Ok(match link {
        ETHERNET => take(frame, 12).and_then(|(_, frame)| typed(frame)),
        RAW | RAW_BSD | RAW_OPENBSD | IPV4 | IPV6 => ip(frame),
        NULL | LOOP => loopback(frame),
        // Packet type, kind of device, its address; then the EtherType.
        LINUX_SLL => take(frame, 14).and_then(|(_, frame)| typed(frame)),
        // The EtherType; reserved, the interface and its kind, packet type, its address.
        LINUX_SLL2 => take(frame, 2).and_then(|(protocol, rest)| {
            let protocol = u16::from_be_bytes(protocol.try_into().ok()?);
            by_type(protocol, take(rest, 18)?.1)
        }),
        PPP | PPP_HDLC => ppp(frame),
        // The direction comes first, with or without HDLC's address after it.
        PPP_WITH_DIRECTION => take(frame, 1).and_then(|(_, frame)| ppp(frame)),
        // The direction replaces HDLC's address.
        PPP_PPPD => {
            frame.strip_prefix(&[0, 3]).or_else(|| frame.strip_prefix(&[1, 3])).and_then(ppp_protocol)
        }
        PPP_ETHER => pppoe(frame),
        CISCO_HDLC => take(frame, 2).and_then(|(_, frame)| typed(frame)),
        NFLOG => nflog(frame).and_then(ip),
        other => return Err(Unsupported(other)),
    })
}

/// A link type that is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unsupported(pub(super) u16);

/// The name of a link type without `LINKTYPE_`, if it is a common one.
pub(super) fn name(link: u16) -> Option<&'static str> {
    let at = NAMES.binary_search_by_key(&link, |(number, _)| *number).ok()?;
    NAMES.get(at).map(|(_, name)| *name)
}

fn take(bytes: &[u8], count: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(count)
}

fn ip(packet: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    LaxSlicedPacket::from_ip(packet).ok()
}

/// Parses data that begins with its EtherType.
fn typed(frame: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    let (protocol, payload) = frame.split_first_chunk::<2>()?;
    by_type(u16::from_be_bytes(*protocol), payload)
}

/// Parses the data of an EtherType, after any number of VLAN tags.
fn by_type(mut protocol: u16, mut payload: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    while matches!(protocol, VLAN | QINQ | QINQ_OLD) {
        let (tag, rest) = payload.split_first_chunk::<4>()?;
        let [_, _, high, low] = *tag;
        (protocol, payload) = (u16::from_be_bytes([high, low]), rest);
    }
    match protocol {
        PPPOE_SESSION => pppoe(payload),
        // A length: IEEE 802.2 with a SNAP header that has the EtherType (RFC 1042).
        0..=LONGEST_802_3 => typed(payload.strip_prefix(&[0xaa, 0xaa, 3, 0, 0, 0])?),
        _ => Some(LaxSlicedPacket::from_ether_type(EtherType(protocol), payload)),
    }
}

/// BSD loopback: the address family, in the byte order of the capturing machine, or in network order (LOOP).
fn loopback(frame: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    let (family, packet) = frame.split_first_chunk::<4>()?;
    let is_ip = |family| matches!(family, AF_INET | AF_INET6_LINUX | 24 | 28 | 30);
    let known = is_ip(u32::from_le_bytes(*family)) || is_ip(u32::from_be_bytes(*family));
    if known { ip(packet) } else { None }
}

/// PPP with or without HDLC's address and control (RFC 1661, RFC 1662); or Cisco's HDLC instead.
fn ppp(frame: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    match frame {
        [0xff, 3, rest @ ..] => ppp_protocol(rest),
        [0x0f | 0x8f, 0, rest @ ..] => typed(rest),
        _ => ppp_protocol(frame),
    }
}

/// Parses data that begins with the PPP protocol, one byte if it is compressed (RFC 1661 §6.5).
fn ppp_protocol(frame: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    match frame {
        [0x00, 0x21 | 0x57, packet @ ..] | [0x21 | 0x57, packet @ ..] => ip(packet),
        _ => None,
    }
}

/// A PPPoE session (RFC 2516 §4): version and type, code 0, session, length, and PPP's protocol.
fn pppoe(frame: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    match frame {
        [0x11, 0, _, _, _, _, rest @ ..] => ppp_protocol(rest),
        _ => None,
    }
}

/// Returns the packet among the attributes of netfilter's log. The numbers are in the byte order of the machine that
/// wrote it, which is not recorded: the order in which the attributes add up is used.
fn nflog(frame: &[u8]) -> Option<&[u8]> {
    // The address family, version 0, the group.
    let [_, 0, _, _, attributes @ ..] = frame else { return None };
    nflog_payload(attributes, u16::from_le_bytes).or_else(|| nflog_payload(attributes, u16::from_be_bytes))
}

fn nflog_payload(mut attributes: &[u8], number: fn([u8; 2]) -> u16) -> Option<&[u8]> {
    loop {
        let (head, _) = attributes.split_first_chunk::<4>()?;
        let [a, b, c, d] = *head;
        let (length, kind) = (usize::from(number([a, b])), number([c, d]));
        if length < head.len() || kind > MOST_NFLOG {
            return None;
        }
        if kind == NFULA_PAYLOAD {
            // The snap length may have truncated it.
            return attributes.get(head.len()..length.min(attributes.len()));
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

const NULL: u16 = 0;
const ETHERNET: u16 = 1;
const PPP: u16 = 9;
/// DLT_RAW, which some programs write by mistake.
const RAW_BSD: u16 = 12;
const RAW_OPENBSD: u16 = 14;
const PPP_HDLC: u16 = 50;
const PPP_ETHER: u16 = 51;
pub(super) const RAW: u16 = 101;
const CISCO_HDLC: u16 = 104;
const LOOP: u16 = 108;
const LINUX_SLL: u16 = 113;
const PPP_PPPD: u16 = 166;
const PPP_WITH_DIRECTION: u16 = 204;
const IPV4: u16 = 228;
const IPV6: u16 = 229;
const NFLOG: u16 = 239;
const LINUX_SLL2: u16 = 276;

const AF_INET: u32 = 2;
/// The BSDs and macOS use 24, 28 and 30.
const AF_INET6_LINUX: u32 = 10;
const VLAN: u16 = ether_type::VLAN_TAGGED_FRAME.0;
const QINQ: u16 = ether_type::PROVIDER_BRIDGING.0;
const QINQ_OLD: u16 = ether_type::VLAN_DOUBLE_TAGGED_FRAME.0;
const PPPOE_SESSION: u16 = 0x8864;
const LONGEST_802_3: u16 = 1500;
const NFULA_PAYLOAD: u16 = 9;
/// There are about twenty kinds of attributes.
const MOST_NFLOG: u16 = 255;

/// Ordered by number.
const NAMES: &[(u16, &str)] = &[
    (3, "AX25"),
    (6, "IEEE802_5"),
    (7, "ARCNET_BSD"),
    (8, "SLIP"),
    (10, "FDDI"),
    (100, "ATM_RFC1483"),
    (105, "IEEE802_11"),
    (107, "FRELAY"),
    (114, "LTALK"),
    (117, "PFLOG"),
    (119, "IEEE802_11_PRISM"),
    (122, "IP_OVER_FC"),
    (123, "SUNATM"),
    (127, "IEEE802_11_RADIOTAP"),
    (129, "ARCNET_LINUX"),
    (138, "APPLE_IP_OVER_IEEE1394"),
    (140, "MTP2"),
    (141, "MTP3"),
    (142, "SCCP"),
    (143, "DOCSIS"),
    (144, "LINUX_IRDA"),
    (147, "USER0"),
    (148, "USER1"),
    (149, "USER2"),
    (150, "USER3"),
    (151, "USER4"),
    (152, "USER5"),
    (153, "USER6"),
    (154, "USER7"),
    (155, "USER8"),
    (156, "USER9"),
    (157, "USER10"),
    (158, "USER11"),
    (159, "USER12"),
    (160, "USER13"),
    (161, "USER14"),
    (162, "USER15"),
    (163, "IEEE802_11_AVS"),
    (165, "BACNET_MS_TP"),
    (169, "GPRS_LLC"),
    (187, "BLUETOOTH_HCI_H4"),
    (189, "USB_LINUX"),
    (192, "PPI"),
    (195, "IEEE802_15_4_WITHFCS"),
    (196, "SITA"),
    (201, "BLUETOOTH_HCI_H4_WITH_PHDR"),
    (203, "LAPD"),
    (209, "IPMB_LINUX"),
    (220, "USB_LINUX_MMAPPED"),
    (226, "IPNET"),
    (227, "CAN_SOCKETCAN"),
    (230, "IEEE802_15_4_NOFCS"),
    (231, "DBUS"),
    (240, "NETANALYZER"),
    (241, "NETANALYZER_TRANSPARENT"),
    (242, "IPOIB"),
    (247, "INFINIBAND"),
    (248, "SCTP"),
    (249, "USBPCAP"),
    (251, "BLUETOOTH_LE_LL"),
    (252, "WIRESHARK_UPPER_PDU"),
    (253, "NETLINK"),
    (254, "BLUETOOTH_LINUX_MONITOR"),
    (256, "BLUETOOTH_LE_LL_WITH_PHDR"),
    (258, "PKTAP"),
    (259, "EPON"),
    (266, "USB_DARWIN"),
    (271, "VSOCK"),
    (272, "NORDIC_BLE"),
    (274, "ETHERNET_MPACKET"),
    (283, "IEEE802_15_4_TAP"),
    (288, "USB_2_0"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_in_order() {
        assert!(NAMES.is_sorted_by(|one, next| one.0 < next.0));
        assert_eq!((name(105), name(9999)), (Some("IEEE802_11"), None));
        for (link, name) in NAMES {
            assert!(strip(*link, &[]).is_err(), "{name} is supported");
        }
    }
}
