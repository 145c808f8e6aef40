//! The messages between the engines of one host, over `net::host`. The first byte is the type of the message; numbers are
//! big-endian, a list follows its length, and a field without a length takes the rest of the message. Used by `threads::host`.

use std::net::Ipv6Addr;

/// A message of the front to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told<'a> {
    /// Whether this member relays, and of which interfaces the front receives at port 7017.
    Role { relays: bool, hears: Vec<u32> },
    /// A datagram that has arrived at port 7017, unchanged.
    Datagram { ifi: u32, source: Ipv6Addr, port: u16, bytes: &'a [u8] },
    /// A discovery that has arrived by TCP at port 7017, sealed if the front seals.
    Question { number: u64, ifi: u32, source: Ipv6Addr, bytes: &'a [u8] },
}

/// A message of a member to the front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    /// The status of the member, sent again whenever it changes.
    Status(Status),
    /// The answer to a question, sealed if the member seals, or that it has none.
    Answer { number: u64, bytes: Option<&'a [u8]> },
}

/// What decides which engine relays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) wish: Wish,
    /// The interfaces in use.
    pub(crate) links: Vec<u32>,
    /// Equal for engines that can open each other's messages; empty if messages are in the clear.
    pub(crate) domain: Vec<u8>,
}

/// Whether an engine relays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It never relays, or must not now.
    #[default]
    No,
    /// It relays if no other engine of the host does so for it.
    Once,
    /// It relays, whatever the others do.
    Always,
}

const ROLE: u8 = 1;
const DATAGRAM: u8 = 2;
const QUESTION: u8 = 3;
const STATUS: u8 = 4;
const ANSWER: u8 = 5;
const NO_ANSWER: u8 = 6;

impl<'a> Told<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Role { relays, hears } => {
                let mut out = vec![ROLE, u8::from(*relays)];
                put_links(&mut out, hears);
                out
            }
            Self::Datagram { ifi, source, port, bytes } => {
                [&[DATAGRAM][..], &ifi.to_be_bytes(), &source.octets(), &port.to_be_bytes(), bytes].concat()
            }
            Self::Question { number, ifi, source, bytes } => {
                [&[QUESTION][..], &number.to_be_bytes(), &ifi.to_be_bytes(), &source.octets(), bytes].concat()
            }
        }
    }

    /// `None` for a message that no front sends.
    pub(crate) fn decode(message: &'a [u8]) -> Option<Self> {
        let (kind, mut rest) = message.split_first()?;
        let rest = &mut rest;
        Some(match *kind {
            ROLE => {
                let relays = flag(rest)?;
                let hears = links(rest)?;
                rest.is_empty().then_some(Self::Role { relays, hears })?
            }
            DATAGRAM => {
                Self::Datagram { ifi: u32(rest)?, source: address(rest)?, port: u16(rest)?, bytes: rest }
            }
            QUESTION => {
                Self::Question { number: u64(rest)?, ifi: u32(rest)?, source: address(rest)?, bytes: rest }
            }
            _ => return None,
        })
    }
}

impl<'a> Said<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Status(Status { wish, links, domain }) => {
                let wish = match wish {
                    Wish::No => 0,
                    Wish::Once => 1,
                    Wish::Always => 2,
                };
                let mut out = vec![STATUS, wish];
                put_links(&mut out, links);
                out.extend_from_slice(domain);
                out
            }
            Self::Answer { number, bytes: Some(bytes) } => {
                [&[ANSWER][..], &number.to_be_bytes(), bytes].concat()
            }
            Self::Answer { number, bytes: None } => [&[NO_ANSWER][..], &number.to_be_bytes()].concat(),
        }
    }

    /// `None` for a message that no member sends.
    pub(crate) fn decode(message: &'a [u8]) -> Option<Self> {
        let (kind, mut rest) = message.split_first()?;
        let rest = &mut rest;
        Some(match *kind {
            STATUS => {
                let wish = match take(rest)? {
                    [0] => Wish::No,
                    [1] => Wish::Once,
                    [2] => Wish::Always,
                    _ => return None,
                };
                Self::Status(Status { wish, links: links(rest)?, domain: rest.to_vec() })
            }
            ANSWER => Self::Answer { number: u64(rest)?, bytes: Some(rest) },
            NO_ANSWER => {
                let number = u64(rest)?;
                rest.is_empty().then_some(Self::Answer { number, bytes: None })?
            }
            _ => return None,
        })
    }
}

/// Interfaces beyond 65535, which the length can express, are left out: no host has so many.
fn put_links(out: &mut Vec<u8>, links: &[u32]) {
    let links = links.get(..usize::from(u16::MAX)).unwrap_or(links);
    out.extend_from_slice(&u16::try_from(links.len()).unwrap_or(u16::MAX).to_be_bytes());
    links.iter().for_each(|ifi| out.extend_from_slice(&ifi.to_be_bytes()));
}

fn links(rest: &mut &[u8]) -> Option<Vec<u32>> {
    let count = u16(rest)?;
    (0..count).map(|_| u32(rest)).collect()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

fn flag(rest: &mut &[u8]) -> Option<bool> {
    match take(rest)? {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

fn u16(rest: &mut &[u8]) -> Option<u16> {
    take(rest).map(u16::from_be_bytes)
}

fn u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_be_bytes)
}

fn u64(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_be_bytes)
}

fn address(rest: &mut &[u8]) -> Option<Ipv6Addr> {
    take::<16>(rest).map(Ipv6Addr::from)
}

/// Decides which engines of a host relay: those that always do; and each that would, unless a relaying engine whose messages it
/// can open has all of its interfaces. Engines with more interfaces come first, then those that come first in `all`.
pub(crate) fn relays(all: &[&Status]) -> Vec<bool> {
    let mut order: Vec<_> = all.iter().enumerate().filter(|(_, one)| one.wish != Wish::No).collect();
    order.sort_by_key(|(_, one)| (one.wish != Wish::Always, std::cmp::Reverse(one.links.len())));
    let mut relay = vec![false; all.len()];
    let mut chosen: Vec<&Status> = Vec::new();
    for (index, one) in order {
        let stands_for = |other: &&Status| {
            other.domain == one.domain && one.links.iter().all(|ifi| other.links.contains(ifi))
        };
        if one.wish == Wish::Once && chosen.iter().any(stands_for) {
            continue;
        }
        chosen.push(one);
        if let Some(relay) = relay.get_mut(index) {
            *relay = true;
        }
    }
    relay
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(wish: Wish, links: &[u32], domain: &[u8]) -> Status {
        Status { wish, links: links.to_vec(), domain: domain.to_vec() }
    }

    #[test]
    fn every_message_decodes_to_itself_and_no_part_of_it_does_harm() {
        let source = "fe80::1".parse().unwrap();
        let told = [
            Told::Role { relays: true, hears: vec![1, 70_000] },
            Told::Datagram { ifi: 2, source, port: 7017, bytes: b"abc" },
            Told::Question { number: u64::MAX, ifi: 0, source, bytes: b"" },
        ];
        for message in told {
            let bytes = message.encode();
            assert_eq!(Told::decode(&bytes), Some(message));
            assert_eq!(Said::decode(&bytes), None);
            (0..bytes.len()).for_each(|end| drop(Told::decode(&bytes[..end])));
        }
        let said = [
            Said::Status(status(Wish::Always, &[3], b"key")),
            Said::Answer { number: 7, bytes: Some(b"answer") },
            Said::Answer { number: 7, bytes: None },
        ];
        for message in said {
            let bytes = message.encode();
            assert_eq!(Said::decode(&bytes), Some(message));
            assert_eq!(Told::decode(&bytes), None);
            (0..bytes.len()).for_each(|end| drop(Said::decode(&bytes[..end])));
        }
    }

    #[test]
    fn what_is_too_short_too_long_or_unknown_is_no_message() {
        for bytes in
            [&b""[..], &[0], &[7], &[1, 2, 0, 0], &[1, 1, 0, 1, 0, 0, 0], &[1, 1, 0, 0, 9], &[2, 0], &[3]]
        {
            assert_eq!(Told::decode(bytes), None, "{bytes:?}");
        }
        for bytes in
            [&b""[..], &[4], &[4, 3, 0, 0], &[4, 1, 255, 255, 0], &[5, 1], &[6, 0, 0, 0, 0, 0, 0, 0, 1, 1]]
        {
            assert_eq!(Said::decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn one_engine_relays_for_those_whose_interfaces_it_has() {
        let relaying = |all: &[Status]| relays(&all.iter().collect::<Vec<_>>());
        let once = |links: &[u32]| status(Wish::Once, links, b"");
        assert_eq!(relaying(&[once(&[1, 2]), once(&[1, 2]), once(&[2])]), [true, false, false]);
        assert_eq!(relaying(&[once(&[1]), once(&[1, 2]), once(&[2, 3])]), [false, true, true], "interfaces");
        let (always, no) = (status(Wish::Always, &[1], b""), status(Wish::No, &[1, 2], b""));
        assert_eq!(relaying(&[no.clone(), once(&[1]), always.clone(), always]), [false, false, true, true]);
        assert_eq!(relaying(&[no, once(&[1])]), [false, true], "who never relays stands for nobody");
        let sealed = status(Wish::Once, &[1], b"other");
        assert_eq!(relaying(&[once(&[1]), sealed.clone(), sealed]), [true, true, false], "domains");
    }
}
