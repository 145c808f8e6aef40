//! Writes messages as a pcapng file that Wireshark can open (draft-ietf-opsawg-pcapng). Used by `_pcap`.
//!
//! The engine sees messages, not packets: this module makes the headers around them, with correct checksums. A TCP
//! connection gets its handshake, consistent sequence numbers and its end, so that Wireshark can follow the stream. The
//! content is exactly what was sent, sealed if it was sealed: of a connection that TLS secures, its records. Only a capture in the clear has
//! the messages in their place, and says so.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::{SystemTime, UNIX_EPOCH};

use super::echo::Echoes;
use super::packet::{ACK, FIN, PSH, SYN, Segment, ethernet_header, tcp_packet, udp_packet};
use super::{Carrier, Direction, Event, TraceEvent};

/// The link-layer header in front of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Nothing.
    Raw,
    /// An Ethernet header.
    Ethernet,
}

impl Link {
    /// LINKTYPE_RAW or LINKTYPE_ETHERNET.
    const fn number(self) -> u16 {
        match self {
            Self::Raw => 101,
            Self::Ethernet => 1,
        }
    }
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
/// The comment of a section in which not everything is as it was on the wire.
const IN_THE_CLEAR: &str = "pcap_clear: messages on connections that TLS secures are written in the clear, not as they were on the wire";
/// The largest payload of one TCP segment in a capture.
const SEGMENT: usize = 32 * 1024;
/// The number of connections that are remembered. It can become this large only if events were lost.
const REMEMBERED: usize = 20_000;

/// One end of a connection.
type End = (Ipv6Addr, u16);

fn end(address: SocketAddrV6) -> End {
    (*address.ip(), address.port())
}

/// A connection: this side, the peer, and the interface, since link-local addresses of two links are two peers.
type Ends = (End, End, u32);

fn connection(local: SocketAddrV6, peer: SocketAddrV6) -> Ends {
    (end(local), end(peer), interface_of(local, peer))
}

/// The interface of a connection between link-local addresses; 0 for others.
fn interface_of(local: SocketAddrV6, peer: SocketAddrV6) -> u32 {
    if peer.scope_id() == 0 { local.scope_id() } else { peer.scope_id() }
}

/// The state of a TCP connection in the capture.
#[derive(Clone, Copy, Debug)]
enum Stream {
    /// The next sequence numbers of this side and of the peer.
    Open { out: u32, incoming: u32 },
    /// Both ends are in this engine, and the other end is the one that is written.
    Mirror,
}

/// A capture file that is being written.
#[derive(Debug)]
pub(crate) struct Capture<W> {
    file: W,
    link: Link,
    /// The number of each interface in the file, by interface index.
    interfaces: HashMap<u32, u32>,
    streams: HashMap<Ends, Stream>,
    echoes: Echoes,
    /// Messages that TLS secures are written in the clear, in place of the records.
    clear: bool,
}

impl<W: Write> Capture<W> {
    /// Starts a file, with the messages that TLS secures in the clear if `clear`.
    pub(crate) fn new(file: W, link: Link, clear: bool) -> io::Result<Self> {
        let mut capture = Self {
            file,
            link,
            interfaces: HashMap::new(),
            streams: HashMap::new(),
            echoes: Echoes::default(),
            clear,
        };
        let mut body = Vec::new();
        body.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
        body.extend_from_slice(&[1, 0, 0, 0]);
        // The length of the section is unknown.
        body.extend_from_slice(&u64::MAX.to_le_bytes());
        if clear {
            option(&mut body, 1, IN_THE_CLEAR.as_bytes());
        }
        option(&mut body, 4, concat!("anima-grasp ", env!("CARGO_PKG_VERSION")).as_bytes());
        option(&mut body, 0, &[]);
        capture.block(SECTION_HEADER, &body)?;
        Ok(capture)
    }

    /// Writes the packets of an event, if it has any. `name` returns the name of an interface.
    pub(crate) fn write(
        &mut self,
        event: &TraceEvent,
        name: impl Fn(u32) -> Option<String>,
    ) -> io::Result<()> {
        match &event.event {
            Event::Message(message) if message.secured && !self.clear => Ok(()),
            Event::Records { .. } if self.clear => Ok(()),
            Event::Records { local, peer, direction, bytes } => {
                // The middle of a stream that TLS secures says nothing to anybody.
                if !self.streams.contains_key(&connection(*local, *peer)) {
                    return Ok(());
                }
                for piece in bytes.chunks(SEGMENT) {
                    self.segment(event.time, (*local, *peer), *direction, PSH | ACK, piece, &name)?;
                }
                Ok(())
            }
            Event::Message(message) if message.carrier == Carrier::Tcp => {
                let (local, peer) = (message.local, message.peer);
                for piece in message.on_wire().chunks(SEGMENT) {
                    self.segment(event.time, (local, peer), message.direction, PSH | ACK, piece, &name)?;
                }
                Ok(())
            }
            Event::Message(message) => {
                // It was on the wire only once.
                if self.echoes.is_echo(message) {
                    return Ok(());
                }
                let (from, to) = match message.direction {
                    Direction::Out => (message.local, message.peer),
                    Direction::In => (message.peer, message.local),
                };
                let Some(packet) = udp_packet(end(from), end(to), message.on_wire()) else { return Ok(()) };
                let packet = self.framed((from, to), packet);
                self.packet(event.time, message.ifi, message.direction, &packet, &name)
            }
            Event::Connected { local, peer, direction } => {
                let key = connection(*local, *peer);
                if self.streams.len() >= REMEMBERED {
                    self.streams.clear();
                }
                if self.streams.contains_key(&connection(*peer, *local)) {
                    self.streams.insert(key, Stream::Mirror);
                    return Ok(());
                }
                self.streams.insert(key, Stream::Open { out: 0, incoming: 0 });
                let other = if *direction == Direction::Out { Direction::In } else { Direction::Out };
                let ends = (*local, *peer);
                for (direction, flags) in [(*direction, SYN), (other, SYN | ACK), (*direction, ACK)] {
                    self.segment(event.time, ends, direction, flags, &[], &name)?;
                }
                Ok(())
            }
            Event::Disconnected { local, peer } => {
                let ends = (*local, *peer);
                for (direction, flags) in
                    [(Direction::Out, FIN | ACK), (Direction::In, FIN | ACK), (Direction::Out, ACK)]
                {
                    self.segment(event.time, ends, direction, flags, &[], &name)?;
                }
                self.streams.remove(&connection(*local, *peer));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Writes how many events the capture lost, if any.
    pub(crate) fn finish(&mut self, lost: u64, now: SystemTime) -> io::Result<()> {
        if lost > 0 && !self.interfaces.is_empty() {
            let mut body = 0_u32.to_le_bytes().to_vec();
            body.extend_from_slice(&timestamp(now));
            // isb_ifdrop
            option(&mut body, 5, &lost.to_le_bytes());
            option(&mut body, 0, &[]);
            self.block(INTERFACE_STATISTICS, &body)?;
        }
        self.flush()
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn segment(
        &mut self,
        time: SystemTime,
        (local, peer): (SocketAddrV6, SocketAddrV6),
        direction: Direction,
        flags: u8,
        payload: &[u8],
        name: &impl Fn(u32) -> Option<String>,
    ) -> io::Result<()> {
        let key = connection(local, peer);
        // A connection whose start was lost starts in the middle.
        let stream = self.streams.entry(key).or_insert(Stream::Open { out: 1, incoming: 1 });
        let Stream::Open { out, incoming } = stream else { return Ok(()) };
        let (next, acknowledged, from, to) = match direction {
            Direction::Out => (out, *incoming, local, peer),
            Direction::In => (incoming, *out, peer, local),
        };
        let acknowledged = if flags & ACK == 0 { 0 } else { acknowledged };
        let segment = Segment { sequence: *next, acknowledged, flags };
        let taken = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        *next = next.wrapping_add(taken).wrapping_add(u32::from(flags & (SYN | FIN) != 0));
        let Some(packet) = tcp_packet(end(from), end(to), &segment, payload) else { return Ok(()) };
        let packet = self.framed((from, to), packet);
        self.packet(time, interface_of(local, peer), direction, &packet, name)
    }

    fn framed(&self, (from, to): (SocketAddrV6, SocketAddrV6), packet: Vec<u8>) -> Vec<u8> {
        match self.link {
            Link::Raw => packet,
            Link::Ethernet => [&ethernet_header(*from.ip(), *to.ip())[..], &packet].concat(),
        }
    }

    fn packet(
        &mut self,
        time: SystemTime,
        ifi: u32,
        direction: Direction,
        packet: &[u8],
        name: &impl Fn(u32) -> Option<String>,
    ) -> io::Result<()> {
        let interface = self.interface(ifi, name)?;
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut body = interface.to_le_bytes().to_vec();
        body.extend_from_slice(&timestamp(time));
        body.extend_from_slice(&length);
        body.extend_from_slice(&length);
        body.extend_from_slice(packet);
        pad(&mut body);
        // epb_flags: inbound or outbound.
        let flags: u32 = if direction == Direction::In { 1 } else { 2 };
        option(&mut body, 2, &flags.to_le_bytes());
        option(&mut body, 0, &[]);
        self.block(ENHANCED_PACKET, &body)
    }

    /// The number of an interface in the file. An interface is described there when it is first used.
    fn interface(&mut self, ifi: u32, name: &impl Fn(u32) -> Option<String>) -> io::Result<u32> {
        if let Some(number) = self.interfaces.get(&ifi) {
            return Ok(*number);
        }
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        let mut body = self.link.number().to_le_bytes().to_vec();
        body.extend_from_slice(&[0; 6]);
        let name = name(ifi).unwrap_or_else(|| if ifi == 0 { "any".to_owned() } else { format!("if{ifi}") });
        option(&mut body, 2, name.as_bytes());
        // if_tsresol: nanoseconds.
        option(&mut body, 9, &[9]);
        option(&mut body, 0, &[]);
        self.block(INTERFACE_DESCRIPTION, &body)?;
        self.interfaces.insert(ifi, number);
        Ok(number)
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len() + 12).map_err(|_| io::ErrorKind::InvalidData)?.to_le_bytes();
        self.file.write_all(&kind.to_le_bytes())?;
        self.file.write_all(&length)?;
        self.file.write_all(body)?;
        self.file.write_all(&length)
    }
}

/// Nanoseconds since 1970, the upper half first.
fn timestamp(time: SystemTime) -> [u8; 8] {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanoseconds = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    let [a, b, c, d, e, f, g, h] = nanoseconds.to_le_bytes();
    [e, f, g, h, a, b, c, d]
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(value.get(..length.into()).unwrap_or(value));
    pad(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_link_local_addresses_on_two_links_are_two_connections() {
        let mut capture = Capture::new(Vec::new(), Link::Raw, false).unwrap();
        let of =
            |last, ifi| SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last), 7000 + last, 0, ifi);
        for ifi in [2, 3] {
            let (local, peer) = (of(1, ifi), of(2, ifi));
            let connected = Event::Connected { local, peer, direction: Direction::Out };
            let (time, thread) = (UNIX_EPOCH, "test".into());
            let event = TraceEvent { time, monotonic_ms: 0, thread, event: connected };
            capture.write(&event, |_| None).unwrap();
            capture
                .segment(UNIX_EPOCH, (local, peer), Direction::Out, PSH | ACK, &[0; 5], &|_| None)
                .unwrap();
        }
        let sent: Vec<_> = capture.streams.values().map(|stream| format!("{stream:?}")).collect();
        assert_eq!(sent, ["Open { out: 6, incoming: 1 }"; 2]);
    }
}
