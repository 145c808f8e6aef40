//! Reads a capture packet by packet: finds the packets that carry GRASP, and the messages in them.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::error::Error;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};

use crate::Locator;
use crate::constants::GRASP_LISTEN_PORT;
use crate::wire::{Body, Message, WireLocator, WireOption, annotate};

use super::file::{self, Entry, Frame};
use super::link::{self, Unsupported};
use super::packet::{self, Packet, Segment};
use super::stream::{Event, Stream, looks_like_grasp};
use super::{Options, Record, Transport};

/// Observations about a capture, in addition to its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Packets read.
    pub packets: u64,
    /// Packets that are fragments of IP packets, which are not reassembled.
    pub fragments: u64,
    /// Packets that the snap length has truncated.
    pub cut: u64,
    /// Packets of interfaces that the capture does not describe.
    pub unknown: u64,
    /// Packets that were not read because their link type is not supported, by link type.
    pub unsupported: BTreeMap<u16, u64>,
    /// Connections that were forgotten because there were more than 4096 at a time.
    pub forgotten: u64,
    /// Connections that TLS secures: what they carry cannot be read.
    pub tls: u64,
    /// The capture ends in the middle of a packet, or is damaged there.
    pub damaged: bool,
}

impl Report {
    /// The observations that deserve a line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.fragments > 0 {
            lines.push(format!("{} fragments of IP packets were not put together", self.fragments));
        }
        if self.cut > 0 {
            lines.push(format!("{} packets were truncated by the snap length", self.cut));
        }
        if self.unknown > 0 {
            lines.push(format!(
                "{} packets are of interfaces that the capture does not describe",
                self.unknown
            ));
        }
        for (link, count) in &self.unsupported {
            let link = link::name(*link).map_or_else(|| link.to_string(), |name| format!("{name} ({link})"));
            lines.push(format!("{count} packets were not read: the link type {link} is not supported"));
        }
        if self.forgotten > 0 {
            lines.push(format!("{} connections were forgotten: too many at a time", self.forgotten));
        }
        if self.tls > 0 {
            lines.push(format!(
                "{} connections are secured by TLS: what they carry cannot be read here, but by Wireshark with their secrets (SSLKEYLOGFILE)",
                self.tls
            ));
        }
        if self.damaged {
            lines.push(format!("the capture is damaged after {} packets", self.packets));
        }
        lines
    }
}

/// Shows one IP packet; false if it cannot carry GRASP.
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
    // If the data is shorter than the IP header says, the dump has left out the rest.
    decoder.frame(&Frame { link: link::RAW, time: None, interface: None, data: bytes, cut: usize::MAX });
    decoder.finish();
    report.fragments += decoder.report.fragments;
    report.packets += 1;
    shown
}

/// Shows the messages in a capture that begins with `magic`.
pub(super) fn decode(
    magic: Vec<u8>,
    rest: impl Read + Send,
    options: &Options,
    show: &mut dyn FnMut(Record),
) -> Result<Report, Box<dyn Error>> {
    let mut decoder = Decoder::new(options, show);
    let whole = file::read(magic, rest, &mut |entry| match entry {
        Entry::Frame(frame) => decoder.frame(&frame),
        Entry::Unknown => {
            decoder.report.packets += 1;
            decoder.report.unknown += 1;
        }
    })?;
    decoder.report.damaged = !whole;
    decoder.finish();
    Ok(decoder.report)
}

/// The origin of a packet.
struct Origin {
    frame: u64,
    time: Option<i128>,
    interface: Option<String>,
}

/// Source and destination.
type Flow = (SocketAddr, SocketAddr);

/// Data of a connection.
struct Said {
    bytes: Vec<u8>,
    encrypted: bool,
    remark: Option<String>,
    /// The rest of it is missing from the capture.
    ends: bool,
}

struct Decoder<'a> {
    options: &'a Options,
    show: &'a mut dyn FnMut(Record),
    report: Report,
    streams: HashMap<Flow, Stream>,
    /// The streams by age, for the case that there are too many.
    ages: VecDeque<Flow>,
    /// The initiator of a connection's sessions, as far as messages tell.
    initiators: HashMap<Flow, SocketAddr>,
    /// The TCP endpoints of GRASP: locators, and the sources of discoveries.
    places: HashSet<SocketAddr>,
    /// The ports of locators that are names.
    ports: HashSet<u16>,
    /// The connections that TLS secures, while they are open.
    tls: HashSet<Flow>,
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
            tls: HashSet::new(),
        }
    }

    fn frame(&mut self, frame: &Frame<'_>) {
        self.report.packets += 1;
        self.report.cut += u64::from(frame.cut > 0 && frame.cut < usize::MAX);
        let interface = frame.interface.map(str::to_owned);
        let origin = Origin { frame: self.report.packets, time: frame.time, interface };
        match packet::parse(frame) {
            Ok(Packet::Udp { source, destination, payload, cut }) => {
                self.datagram((source, destination), payload, cut, &origin);
            }
            Ok(Packet::Tcp { source, destination, segment }) => {
                self.segment((source, destination), &segment, &origin);
            }
            Ok(Packet::Fragment) => self.report.fragments += 1,
            Ok(Packet::Other) => {}
            Err(Unsupported(link)) => *self.report.unsupported.entry(link).or_default() += 1,
        }
    }

    fn datagram(&mut self, (source, destination): Flow, payload: &[u8], cut: usize, origin: &Origin) {
        if destination.port() != GRASP_LISTEN_PORT {
            return;
        }
        let opened = self.options.keys.as_ref().and_then(|keys| keys.open(payload));
        let clear = looks_like_grasp(payload);
        // By chance, one of many clear datagrams can be decrypted, and one of many encrypted ones looks clear.
        let opened = opened.filter(|plain| !clear || looks_like_grasp(plain));
        let encrypted = opened.is_some();
        let remark = if cut > 0 {
            Some(format!(
                "truncated: {} of {} bytes were captured",
                payload.len(),
                payload.len().saturating_add(cut)
            ))
        } else {
            (self.options.keys.is_some() && !clear && !encrypted).then(|| "not decrypted".to_owned())
        };
        let bytes = opened.unwrap_or_else(|| payload.to_vec());
        let annotation = annotate(&bytes, &self.options.limits);
        if let Ok(message) = &annotation.message {
            if let Body::Discovery { .. } = message.body {
                // RFC 8990 §2.5.4.2: the responses go to the port from which it was sent.
                self.learn(source);
            }
            self.learn_from(message);
        }
        let from_initiator = Record::sender_by_type(&annotation);
        let transport = Some((Transport::Udp, source, destination));
        let record = Record::new(bytes, annotation).cut_off(cut > 0);
        (self.show)(origin.complete(Record { transport, from_initiator, encrypted, remark, ..record }));
    }

    fn segment(&mut self, flow: Flow, segment: &Segment<'_>, origin: &Origin) {
        let announced = self.is_announced(flow.0) || self.is_announced(flow.1);
        if segment.syn {
            // A new connection with the same addresses and ports.
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
        stream.segment(sequence, segment.payload, segment.cut, self.options.keys.as_ref(), &mut events);
        self.tell(flow, events, origin);
        if segment.rst {
            self.close(flow, origin);
            self.close((flow.1, flow.0), origin);
        } else if segment.fin {
            let length = segment.payload.len().saturating_add(segment.cut);
            self.close_if_complete(flow, sequence, length, origin);
        }
    }

    /// Closes the stream after its last byte, unless earlier bytes are still missing.
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
            self.tls.remove(&unordered(flow));
            self.initiators.remove(&unordered(flow));
        }
        // Closed streams remain in the list of ages until their turn comes or the list is long.
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
            let mut ends = false;
            let (bytes, encrypted, remark) = match event {
                Event::Missing(count) => {
                    missing = Some(format!("{count} bytes before it are not in the capture"));
                    continue;
                }
                Event::Tls => {
                    self.report.tls += u64::from(self.tls.insert(unordered(flow)));
                    continue;
                }
                Event::Message(bytes, encrypted) => (bytes, encrypted, missing.take()),
                Event::Broken(bytes, why) => {
                    ends = why.is_of_the_capture();
                    (bytes, false, Some(missing.take().unwrap_or_else(|| why.to_string())))
                }
            };
            self.message(flow, Said { bytes, encrypted, remark, ends }, origin);
        }
    }

    fn message(&mut self, flow: Flow, said: Said, origin: &Origin) {
        let Said { bytes, encrypted, remark, ends } = said;
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
        let record = Record::new(bytes, annotation).cut_off(ends);
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

/// Gives the same result for both directions.
fn unordered((one, other): Flow) -> Flow {
    if one <= other { (one, other) } else { (other, one) }
}

/// How many directions of connections are followed at a time.
const MOST_STREAMS: usize = 4096;
/// How many GRASP endpoints are remembered.
const MOST_PLACES: usize = 65536;
