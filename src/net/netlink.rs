//! What the system says of its interfaces and their IPv6 addresses (rtnetlink). Used by `interfaces`.
//!
//! Two requests and three messages: the crates that know all of rtnetlink are many times larger than the engine. Attributes
//! are read by their lengths, and what does not fit into its message ends the reading of that message.

use std::io;
use std::net::Ipv6Addr;
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// Larger than any piece of an answer: the system fills at most 32 KiB.
const BUFFER: usize = 64 * 1024;
/// How long the system may take for a piece of its answer. It takes microseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often an answer that a change has interrupted is asked for again. The change is a reason to look once more anyway.
const TRIES: u32 = 3;

// linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const AF_INET6: u8 = 10;
const IFF_LOOPBACK: u32 = 0x8;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
/// No statistics, which are most of what is said of an interface.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_PROTO: u16 = 11;
const IFAPROT_KERNEL_LL: u8 = 2;

/// The flags of an address (linux/if_addr.h), as far as they matter.
pub(super) mod flags {
    /// Made up for privacy, and soon to be replaced (RFC 8981).
    pub(crate) const TEMPORARY: u32 = 0x01;
    /// Another node has it (RFC 4862 §5.4.5).
    pub(crate) const DADFAILED: u32 = 0x08;
    /// Not to be used for anything new (RFC 4862 §5.5.4).
    pub(crate) const DEPRECATED: u32 = 0x20;
    /// Whether another node has it is not known yet.
    pub(crate) const TENTATIVE: u32 = 0x40;
    /// It has no lifetime: given by who administers the node, not by a router.
    pub(crate) const PERMANENT: u32 = 0x80;
    /// Made by the system so that it is likely to be unique (RFC 7217).
    pub(crate) const STABLE_PRIVACY: u32 = 0x800;
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) ifi: u32,
    pub(super) name: String,
    pub(super) loopback: bool,
    /// What kind of virtual interface: "bridge", "vlan", "macvlan"; empty for hardware.
    pub(super) kind: String,
    /// The interface of this namespace that it is on top of.
    pub(super) lower: Option<u32>,
    /// The interface that it is a part of, and how: "bridge", "bond", "vrf".
    pub(super) master: Option<(u32, String)>,
}

/// An IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ifi: u32,
    pub(super) address: Ipv6Addr,
    pub(super) prefix: u8,
    pub(super) flags: u32,
    /// A link-local one that the system has made itself.
    pub(super) automatic: bool,
    /// When it was added, in hundredths of a second since boot.
    pub(super) made: u32,
}

/// All interfaces.
pub(super) fn devices() -> io::Result<Vec<Device>> {
    let body = [&[0; 16], attribute(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS).as_slice()].concat();
    dump(RTM_GETLINK, &body, RTM_NEWLINK, device)
}

/// All IPv6 addresses, of each interface and scope the newest first.
pub(super) fn addresses() -> io::Result<Vec<Address>> {
    dump(RTM_GETADDR, &[AF_INET6, 0, 0, 0, 0, 0, 0, 0], RTM_NEWADDR, address)
}

/// Asks for all there is of something.
fn dump<T>(request: u16, body: &[u8], answer: u16, read: impl Fn(&[u8]) -> Option<T>) -> io::Result<Vec<T>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let mut buffer = vec![0; BUFFER];
    let mut tries = 1;
    loop {
        let message = message(request, tries, body);
        sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut found = Vec::new();
        let mut interrupted = false;
        let mut more = true;
        while more {
            let (_, length) = recv(&socket, buffer.as_mut_slice(), RecvFlags::TRUNC)?;
            let received = buffer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
            for Message { kind, flags, sequence, body } in messages(received) {
                if sequence != tries {
                    continue;
                }
                interrupted |= flags & NLM_F_DUMP_INTR != 0;
                match kind {
                    NLMSG_DONE => more = false,
                    NLMSG_ERROR => return Err(refusal(body)),
                    kind if kind == answer => found.extend(read(body)),
                    _ => {}
                }
            }
        }
        if !interrupted || tries >= TRIES {
            return Ok(found);
        }
        tries += 1;
    }
}

fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let flags = (NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes();
    let (length, sequence) = (length.to_ne_bytes(), sequence.to_ne_bytes());
    [&length, kind.to_ne_bytes().as_slice(), &flags, &sequence, &[0; 4], body].concat()
}

fn attribute(kind: u16, value: u32) -> Vec<u8> {
    [8_u16.to_ne_bytes().as_slice(), &kind.to_ne_bytes(), &value.to_ne_bytes()].concat()
}

/// What the system refuses a request with.
fn refusal(body: &[u8]) -> io::Error {
    let code = number(body, 0).map(|code| i32::from_ne_bytes(code.to_ne_bytes()));
    code.map_or_else(|| io::ErrorKind::InvalidData.into(), |code| io::Error::from_raw_os_error(code.abs()))
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// The messages in one piece of an answer.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(number(rest, 0)?).ok()?;
        let body = rest.get(16..length)?;
        let (kind, flags, sequence) = (half(rest, 4)?, half(rest, 6)?, number(rest, 8)?);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, flags, sequence, body })
    })
}

/// The attributes in a message, or in an attribute.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(half(rest, 0)?);
        let (kind, value) = (half(rest, 2)? & 0x3fff, rest.get(4..length)?);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn device(body: &[u8]) -> Option<Device> {
    let mut found = Device { ifi: number(body, 4)?, ..Device::default() };
    found.loopback = number(body, 8)? & IFF_LOOPBACK != 0;
    let (mut master, mut part) = (None, String::new());
    let mut elsewhere = false;
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_IFNAME => found.name = text(value),
            IFLA_LINK => found.lower = number(value, 0).filter(|lower| *lower != 0),
            IFLA_LINK_NETNSID => elsewhere = true,
            IFLA_MASTER => master = number(value, 0).filter(|master| *master != 0),
            IFLA_LINKINFO => {
                for (kind, value) in attributes(value) {
                    match kind {
                        IFLA_INFO_KIND => found.kind = text(value),
                        IFLA_INFO_SLAVE_KIND => part = text(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    found.lower = found.lower.filter(|lower| !elsewhere && *lower != found.ifi);
    found.master = master.map(|master| (master, part));
    Some(found)
}

fn address(body: &[u8]) -> Option<Address> {
    let [AF_INET6, prefix, low_flags, ..] = *body else { return None };
    let mut flags = u32::from(low_flags);
    let (mut given, mut local) = (None, None);
    let (mut automatic, mut made) = (false, 0);
    for (kind, value) in attributes(body.get(8..)?) {
        match kind {
            IFA_ADDRESS => given = ipv6(value),
            // On a link with two ends the other attribute is the address of the other end.
            IFA_LOCAL => local = ipv6(value),
            IFA_FLAGS => flags = number(value, 0).unwrap_or(flags),
            IFA_CACHEINFO => made = number(value, 8).unwrap_or(0),
            IFA_PROTO => automatic = value.first() == Some(&IFAPROT_KERNEL_LL),
            _ => {}
        }
    }
    let address = local.or(given)?;
    Some(Address { ifi: number(body, 4)?, address, prefix, flags, automatic, made })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn ipv6(value: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from)
}

fn text(value: &[u8]) -> String {
    let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_loopback_interface() {
        let devices = devices().unwrap();
        let loopback = devices.iter().find(|device| device.loopback).unwrap();
        assert_eq!((loopback.ifi, loopback.name.as_str()), (1, "lo"));
        let known = |ifi| devices.iter().any(|device| device.ifi == ifi);
        assert!(addresses().unwrap().iter().all(|address| known(address.ifi)));
    }

    /// As the system says it of a port of a bridge and of a macvlan interface, with the ends cut off in every place.
    #[test]
    fn attributes_are_read_and_what_is_cut_does_no_harm() {
        let nested = |kind: u16, value: &[u8]| {
            let length = u16::try_from(4 + value.len()).unwrap();
            let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let info = [nested(IFLA_INFO_KIND, b"veth\0"), nested(IFLA_INFO_SLAVE_KIND, b"bridge")].concat();
        let head = [0_u32, 7, 0x1003, 0].map(u32::to_ne_bytes).concat();
        let body = [
            head,
            nested(IFLA_IFNAME, b"eth0\0"),
            attribute(IFLA_MASTER, 3),
            attribute(IFLA_LINK, 9),
            nested(IFLA_LINKINFO | 0x8000, &info),
        ];
        let body = body.concat();
        let whole = Device {
            ifi: 7,
            name: "eth0".to_owned(),
            loopback: false,
            kind: "veth".to_owned(),
            lower: Some(9),
            master: Some((3, "bridge".to_owned())),
        };
        assert_eq!(device(&body).as_ref(), Some(&whole));
        // The other end is in another namespace, where the number means another interface.
        let elsewhere = [body.clone(), attribute(IFLA_LINK_NETNSID, 0)].concat();
        assert_eq!(device(&elsewhere), Some(Device { lower: None, ..whole }));
        for end in 0..body.len() {
            let _ = device(&body[..end]);
            let _ = address(&body[..end]);
            let _ = messages(&body[..end]).count();
        }
    }
}
