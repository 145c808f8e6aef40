//! A capture, packet by packet: which of them carry GRASP, and the messages in those.

use std::collections::{HashMap, HashSet, VecDeque};
use std::error::Error;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};

use grasp::Locator;
use grasp::constants::GRASP_LISTEN_PORT;
use grasp::wire::{Body, Message, WireLocator, WireOption, annotate};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, LegacyPcapReader, Linktype, PcapBlockOwned, PcapError, PcapNGReader};

use super::packet::{self, Packet, Segment};
use super::stream::{Event, Stream, looks_like_grasp};
use super::{Options, Record, Transport};

/// What was noticed in a capture beside its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Packets read.
    pub packets: u64,
    /// Packets that are fragments of IP packets, which are not put together.
    pub fragments: u64,
    /// Connections forgotten because there were more than 4096 at a time.
    pub forgotten: u64,
    /// The capture ends in the middle of a packet, or is damaged there.
    pub damaged: bool,
}

impl Report {
    /// What is worth a line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.fragments > 0 {
            lines.push(format!("{} fragments of IP packets were not put together", self.fragments));
        }
        if self.forgotten > 0 {
            lines.push(format!("{} connections were forgotten: too many at a time", self.forgotten));
        }
        if self.damaged {
            lines.push(format!("the capture is damaged after {} packets", self.packets));
        }
        lines
    }
}

/// Whether a file that begins so is a pcap or pcapng file.
pub(super) fn is_capture(magic: &[u8]) -> bool {
    matches!(
        magic,
        [0x0a, 0x0d, 0x0d, 0x0a]
            | [0xa1, 0xb2, 0xc3, 0xd4]
            | [0xd4, 0xc3, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0x4d, 0x3c, 0xb2, 0xa1]
    )
}

/// Shows one IP packet; false if it is none that could carry GRASP.
pub(super) fn packet(
    bytes: &[u8],
    options: &Options,
    report: &mut Report,
    show: &mut dyn FnMut(Record),
) -> bool {
    let mut shown = false;
    let mut noticed = |record| {
        shown = true;
        show(record);
    };
    let mut decoder = Decoder::new(options, &mut noticed);
    decoder.frame(Linktype::RAW, bytes, &Origin { frame: 1, time: None, interface: None });
    decoder.finish();
    report.fragments += decoder.report.fragments;
    report.packets += 1;
    shown
}

/// Shows what is in a capture that begins so.
pub(super) fn decode(
    magic: Vec<u8>,
    rest: impl Read + Send,
    options: &Options,
    show: &mut dyn FnMut(Record),
) -> Result<Report, Box<dyn Error>> {
    let mut decoder = Decoder::new(options, show);
    let is_pcapng = magic.first() == Some(&0x0a);
    let input = Live { input: io::Cursor::new(magic).chain(rest), begun: false };
    // Not by `create_reader`: that reads a second time before it gives what the first time brought.
    let reader: Result<Box<dyn PcapReaderIterator>, _> = if is_pcapng {
        PcapNGReader::new(LARGEST_BLOCK, input).map(|reader| Box::new(reader) as _)
    } else {
        LegacyPcapReader::new(LARGEST_BLOCK, input).map(|reader| Box::new(reader) as _)
    };
    let mut reader = reader.map_err(|_| "the capture has no valid header")?;
    let mut interfaces: Vec<Interface> = Vec::new();
    loop {
        match reader.next() {
            Ok((length, block)) => {
                decoder.block(block, &mut interfaces);
                reader.consume(length);
            }
            Err(PcapError::Eof) => break,
            Err(PcapError::Incomplete(_)) => {
                let before = reader.data().len();
                // No more, or no room for more.
                let ends = reader.refill().is_err() || reader.data().len() == before;
                if ends && before > 0 {
                    decoder.report.damaged = true;
                    break;
                }
            }
            Err(_) => {
                decoder.report.damaged = true;
                break;
            }
        }
    }
    decoder.finish();
    Ok(decoder.report)
}

/// Reads what is there, so that what comes through a pipe is shown when it comes. The first time it reads the header
/// of the file, which must be whole.
struct Live<R> {
    input: R,
    begun: bool,
}

impl<R: Read> Live<R> {
    /// Reads until so much of `room` is filled, if there is so much.
    fn fill(&mut self, room: &mut [u8], filled: &mut usize, wanted: usize) -> io::Result<()> {
        while *filled < wanted
            && let Some(rest) = room.get_mut(*filled..).filter(|rest| !rest.is_empty())
        {
            match self.input.read(rest) {
                Ok(0) => break,
                Ok(more) => *filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Live<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let (mut filled, begun) = (0, std::mem::replace(&mut self.begun, true));
        self.fill(room, &mut filled, if begun { 1 } else { HEADER })?;
        // The first block of a pcapng file: its length is in its own byte order, which it tells.
        if !begun
            && let [0x0a, 0x0d, 0x0d, 0x0a, length @ .., _, _, _, _] = room.get(..12).unwrap_or_default()
        {
            let length = <[u8; 4]>::try_from(length).unwrap_or_default();
            let is_big = room.get(8) == Some(&0x1a);
            let length = if is_big { u32::from_be_bytes(length) } else { u32::from_le_bytes(length) };
            self.fill(room, &mut filled, usize::try_from(length).unwrap_or(usize::MAX))?;
        }
        Ok(filled)
    }
}

/// An interface of a pcapng file.
#[derive(Clone)]
struct Interface {
    link: Linktype,
    name: Option<String>,
    /// Units of time in a second.
    resolution: u64,
    /// Seconds to be added.
    offset: i64,
}

/// Where a packet comes from.
struct Origin {
    frame: u64,
    time: Option<i128>,
    interface: Option<String>,
}

type Flow = (SocketAddr, SocketAddr);

struct Decoder<'a> {
    options: &'a Options,
    show: &'a mut dyn FnMut(Record),
    report: Report,
    streams: HashMap<Flow, Stream>,
    /// The streams by age, for when there are too many.
    ages: VecDeque<Flow>,
    /// Who the initiator of a connection's sessions is, as far as messages said.
    initiators: HashMap<Flow, SocketAddr>,
    /// Where TCP speaks GRASP: locators, and the sources of discoveries.
    places: HashSet<SocketAddr>,
    /// The ports of locators that are names.
    ports: HashSet<u16>,
}

impl<'a> Decoder<'a> {
    fn new(options: &'a Options, show: &'a mut dyn FnMut(Record)) -> Self {
        Self {
            options,
            show,
            report: Report::default(),
            streams: HashMap::new(),
            ages: VecDeque::new(),
            initiators: HashMap::new(),
            places: HashSet::new(),
            ports: HashSet::new(),
        }
    }

    fn block(&mut self, block: PcapBlockOwned<'_>, interfaces: &mut Vec<Interface>) {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let resolution = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                *interfaces = vec![Interface { link: header.network, name: None, resolution, offset: 0 }];
            }
            PcapBlockOwned::Legacy(packet) => {
                let Some(interface) = interfaces.first() else { return };
                let (second, part) = (i128::from(packet.ts_sec), i128::from(packet.ts_usec));
                let time = second * NANO + part * NANO / i128::from(interface.resolution);
                self.packet(&interface.clone(), Some(time), packet.data);
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(block)) if interfaces.len() < MOST_INTERFACES => {
                interfaces.push(Interface {
                    link: block.linktype,
                    name: block.if_name().and_then(Result::ok).map(str::to_owned),
                    resolution: block.ts_resolution().unwrap_or(1_000_000),
                    offset: block.if_tsoffset,
                });
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let index = usize::try_from(packet.if_id).unwrap_or(usize::MAX);
                let Some(interface) = interfaces.get(index).cloned() else { return };
                let units = i128::from(packet.ts_high) << 32 | i128::from(packet.ts_low);
                let time = units * NANO / i128::from(interface.resolution.max(1));
                self.packet(&interface, Some(time + i128::from(interface.offset) * NANO), captured(&packet));
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let Some(interface) = interfaces.first().cloned() else { return };
                let length = usize::try_from(packet.origlen).unwrap_or(usize::MAX).min(packet.data.len());
                self.packet(&interface, None, packet.data.get(..length).unwrap_or_default());
            }
            PcapBlockOwned::NG(_) => {}
        }
    }

    fn packet(&mut self, interface: &Interface, time: Option<i128>, data: &[u8]) {
        self.report.packets += 1;
        let origin = Origin { frame: self.report.packets, time, interface: interface.name.clone() };
        self.frame(interface.link, data, &origin);
    }

    fn frame(&mut self, link: Linktype, data: &[u8], origin: &Origin) {
        match packet::parse(link, data) {
            Packet::Udp { source, destination, payload } => {
                self.datagram(source, destination, payload, origin);
            }
            Packet::Tcp { source, destination, segment } => {
                self.segment((source, destination), &segment, origin);
            }
            Packet::Fragment => self.report.fragments += 1,
            Packet::Other => {}
        }
    }

    fn datagram(&mut self, source: SocketAddr, destination: SocketAddr, payload: &[u8], origin: &Origin) {
        if destination.port() != GRASP_LISTEN_PORT {
            return;
        }
        let opened = self.options.keys.as_ref().and_then(|keys| keys.open(payload));
        let clear = looks_like_grasp(payload);
        // By chance, one of many clear datagrams can be decrypted, and one of many encrypted ones looks clear.
        let opened = opened.filter(|plain| !clear || looks_like_grasp(plain));
        let encrypted = opened.is_some();
        let remark =
            (self.options.keys.is_some() && !clear && !encrypted).then(|| "not decrypted".to_owned());
        let bytes = opened.unwrap_or_else(|| payload.to_vec());
        let annotation = annotate(&bytes, &self.options.limits);
        if let Ok(message) = &annotation.message {
            if let Body::Discovery { .. } = message.body {
                // RFC 8990 §2.5.4.2: the responses come to the port that it was sent from.
                self.learn(source);
            }
            self.learn_from(message);
        }
        let from_initiator = Record::sender_by_type(&annotation);
        let transport = Some((Transport::Udp, source, destination));
        let record = Record::new(bytes, annotation);
        (self.show)(origin.complete(Record { transport, from_initiator, encrypted, remark, ..record }));
    }

    fn segment(&mut self, flow: Flow, segment: &Segment<'_>, origin: &Origin) {
        let announced = self.is_announced(flow.0) || self.is_announced(flow.1);
        if segment.syn {
            // The same addresses and ports again.
            self.close(flow, origin);
        }
        if !self.streams.contains_key(&flow) {
            if self.streams.len() >= MOST_STREAMS {
                self.forget_one(origin);
            }
            self.ages.push_back(flow);
        }
        let limits = self.options.limits;
        let stream = self.streams.entry(flow).or_insert_with(|| Stream::new(limits, announced));
        if announced {
            stream.announce();
        }
        if segment.syn {
            stream.synchronize(segment.sequence);
        }
        let sequence = segment.sequence.wrapping_add(u32::from(segment.syn));
        let mut events = Vec::new();
        stream.segment(sequence, segment.payload, self.options.keys.as_ref(), &mut events);
        self.tell(flow, events, origin);
        if segment.rst {
            self.close(flow, origin);
            self.close((flow.1, flow.0), origin);
        } else if segment.fin {
            self.close_if_complete(flow, sequence, segment.payload.len(), origin);
        }
    }

    /// After the last byte of a stream, unless some before it are still to come.
    fn close_if_complete(&mut self, flow: Flow, sequence: u32, length: usize, origin: &Origin) {
        let end = sequence.wrapping_add(u32::try_from(length).unwrap_or_default());
        if self.streams.get(&flow).is_some_and(|stream| stream.is_at(end)) {
            self.close(flow, origin);
        }
    }

    fn close(&mut self, flow: Flow, origin: &Origin) {
        let Some(mut stream) = self.streams.remove(&flow) else { return };
        let mut events = Vec::new();
        stream.finish(self.options.keys.as_ref(), &mut events);
        self.tell(flow, events, origin);
        if !self.streams.contains_key(&(flow.1, flow.0)) {
            self.initiators.remove(&unordered(flow));
        }
        // Closed streams remain in the list of ages until it is their turn, or it is long.
        if self.ages.len() > 2 * MOST_STREAMS {
            let streams = &self.streams;
            self.ages.retain(|flow| streams.contains_key(flow));
        }
    }

    fn forget_one(&mut self, origin: &Origin) {
        while let Some(flow) = self.ages.pop_front() {
            if self.streams.contains_key(&flow) {
                self.report.forgotten += 1;
                return self.close(flow, origin);
            }
        }
    }

    fn finish(&mut self) {
        let origin = Origin { frame: self.report.packets, time: None, interface: None };
        for flow in std::mem::take(&mut self.ages) {
            self.close(flow, &origin);
        }
    }

    fn tell(&mut self, flow: Flow, events: Vec<Event>, origin: &Origin) {
        let mut missing = None;
        for event in events {
            let (bytes, encrypted, remark) = match event {
                Event::Missing(count) => {
                    missing = Some(format!("{count} bytes before it are not in the capture"));
                    continue;
                }
                Event::Message(bytes, encrypted) => (bytes, encrypted, missing.take()),
                Event::Broken(bytes, why) => {
                    (bytes, false, Some(missing.take().unwrap_or_else(|| why.to_owned())))
                }
            };
            self.message(flow, bytes, encrypted, remark, origin);
        }
    }

    fn message(
        &mut self,
        flow: Flow,
        bytes: Vec<u8>,
        encrypted: bool,
        remark: Option<String>,
        origin: &Origin,
    ) {
        let annotation = annotate(&bytes, &self.options.limits);
        let (source, destination) = flow;
        if let Ok(message) = &annotation.message {
            self.learn_from(message);
        }
        let by_type = Record::sender_by_type(&annotation);
        if let Some(by_initiator) = by_type {
            let initiator = if by_initiator { source } else { destination };
            self.initiators.insert(unordered(flow), initiator);
        }
        let known = self.initiators.get(&unordered(flow));
        let from_initiator = by_type.or_else(|| known.map(|initiator| *initiator == source));
        let transport = Some((Transport::Tcp, source, destination));
        let record = Record::new(bytes, annotation);
        (self.show)(origin.complete(Record { transport, from_initiator, encrypted, remark, ..record }));
    }

    fn is_announced(&self, place: SocketAddr) -> bool {
        self.places.contains(&place) || self.ports.contains(&place.port())
    }

    fn learn(&mut self, place: SocketAddr) {
        if self.places.len() < MOST_PLACES {
            self.places.insert(place);
        }
    }

    fn learn_from(&mut self, message: &Message) {
        let locators: Vec<&WireLocator> = match &message.body {
            Body::Response(response) => response.options.iter().flat_map(locators).collect(),
            Body::Flood(flood) => {
                flood.objectives.iter().filter_map(|(_, locator)| locator.as_ref()).collect()
            }
            _ => return,
        };
        for locator in locators {
            let Some(port) = locator.port else { continue };
            match locator.locator {
                Locator::Ipv6(address) => self.learn((IpAddr::from(address), port).into()),
                Locator::Ipv4(address) => self.learn((IpAddr::from(address), port).into()),
                Locator::Fqdn(_) => drop(self.ports.insert(port)),
                _ => {}
            }
        }
    }
}

impl Origin {
    fn complete(&self, record: Record) -> Record {
        Record { frame: self.frame, time: self.time, interface: self.interface.clone(), ..record }
    }
}

fn locators(option: &WireOption) -> &[WireLocator] {
    match option {
        WireOption::Locator(locator) => std::slice::from_ref(locator),
        WireOption::Divert(locators) => locators,
        WireOption::Other(_) => &[],
    }
}

/// The same for both directions.
fn unordered((one, other): Flow) -> Flow {
    if one <= other { (one, other) } else { (other, one) }
}

/// The data without what fills the block up.
fn captured<'a>(packet: &pcap_parser::EnhancedPacketBlock<'a>) -> &'a [u8] {
    let length = usize::try_from(packet.caplen).unwrap_or(usize::MAX);
    packet.data.get(..length).unwrap_or(packet.data)
}

const NANO: i128 = 1_000_000_000;
/// The header of a pcap file; the first block of a pcapng file is longer.
const HEADER: usize = 24;
/// The largest block of a capture that is read.
const LARGEST_BLOCK: usize = 1 << 20;
const MOST_INTERFACES: usize = 4096;
/// How many directions of connections are followed at a time.
const MOST_STREAMS: usize = 4096;
/// How many places of GRASP are remembered.
const MOST_PLACES: usize = 65536;
