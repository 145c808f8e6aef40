//! The packets in a pcap or pcapng file (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng), with their times and
//! interfaces. pcap-parser splits the file into blocks.

use std::error::Error;
use std::io::{self, Cursor, Read};

use pcap_parser::pcapng::{
    EnhancedPacketBlock, InterfaceDescriptionBlock, OptionCode, PcapNGOption, UnknownBlock,
};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, LegacyPcapReader, PcapBlockOwned, PcapError, PcapHeader, PcapNGReader};

/// A captured packet.
pub(super) struct Frame<'a> {
    /// The link type: LINKTYPE_ETHERNET is 1.
    pub(super) link: u16,
    /// Nanoseconds since 1970.
    pub(super) time: Option<i128>,
    pub(super) interface: Option<&'a str>,
    pub(super) data: &'a [u8],
    /// How many bytes the snap length has cut off.
    pub(super) cut: usize,
}

/// An entry of a file.
pub(super) enum Entry<'a> {
    Frame(Frame<'a>),
    /// A packet of an interface that the file does not describe.
    Unknown,
}

/// Whether a file that begins with these bytes is a pcap or pcapng file.
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

/// Reads a capture that begins with `magic` and shows its entries. Returns whether it is complete.
///
/// # Errors
/// If it has no valid header.
pub(super) fn read(
    magic: Vec<u8>,
    mut rest: impl Read + Send,
    show: &mut dyn FnMut(Entry<'_>),
) -> Result<bool, Box<dyn Error>> {
    let header = header(magic, &mut rest)?;
    let is_pcapng = header.first() == Some(&0x0a);
    let room = ROOM.max(header.len().saturating_mul(2));
    let input = Cursor::new(header).chain(Patient(rest));
    // `create_reader` is unsuitable: it reads a second time before it returns the data of the first read.
    let reader: Result<Box<dyn PcapReaderIterator>, _> = if is_pcapng {
        PcapNGReader::new(room, input).map(|reader| Box::new(reader) as _)
    } else {
        LegacyPcapReader::new(room, input).map(|reader| Box::new(reader) as _)
    };
    let mut reader = reader.map_err(|_| "the capture has no valid header")?;
    let (mut section, mut room) = (Section::default(), room);
    loop {
        match reader.next() {
            Ok((length, block)) => {
                section.block(block, show);
                reader.consume(length);
            }
            Err(PcapError::Eof) => return Ok(true),
            Err(PcapError::Incomplete(_) | PcapError::BufferTooSmall) => {
                let before = reader.data().len();
                if reader.refill().is_err() {
                    return Ok(false);
                }
                if reader.data().len() > before {
                    continue;
                }
                if reader.reader_exhausted() {
                    if before > 0 {
                        return Ok(false);
                    }
                } else if room < LARGEST_BLOCK {
                    // The part of the block that fits has been read.
                    room = room.saturating_mul(2).min(LARGEST_BLOCK);
                    reader.grow(room);
                } else {
                    return Ok(false);
                }
            }
            Err(_) => return Ok(false),
        }
    }
}

/// Reads the header of a pcap file, or the first block of a pcapng file, as far as it exists.
fn header(magic: Vec<u8>, rest: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut header = magic;
    let mut fill = |header: &mut Vec<u8>, length: usize| {
        let more = length.saturating_sub(header.len());
        rest.take(u64::try_from(more).unwrap_or(u64::MAX)).read_to_end(header)
    };
    if header.first() != Some(&0x0a) {
        fill(&mut header, PCAP_HEADER)?;
        return Ok(header);
    }
    // The length is in the byte order that the block itself specifies.
    fill(&mut header, 12)?;
    if let [_, _, _, _, a, b, c, d, order, ..] = *header {
        let length =
            if order == 0x1a { u32::from_be_bytes([a, b, c, d]) } else { u32::from_le_bytes([a, b, c, d]) };
        fill(&mut header, usize::try_from(length).unwrap_or(usize::MAX).min(LARGEST_BLOCK))?;
    }
    Ok(header)
}

/// Returns available data at once, so that data from a pipe is shown when it arrives, and retries after a signal.
struct Patient<R>(R);

impl<R: Read> Read for Patient<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

/// Information from the blocks before a packet.
#[derive(Default)]
struct Section {
    /// Whether numbers have their highest byte first.
    big: bool,
    interfaces: Vec<Interface>,
}

struct Interface {
    link: u16,
    name: Option<String>,
    /// Units of time per second; `None` if there are more than fit.
    resolution: Option<i128>,
    /// Seconds to add.
    offset: i64,
    /// The length of the checksum at the end of a frame, in bytes.
    checksum: usize,
    /// The maximum number of bytes captured per packet.
    snap: usize,
}

/// A packet before its interface is known.
struct Captured<'a> {
    interface: usize,
    /// In the units of the interface.
    time: Option<u64>,
    data: &'a [u8],
    /// The original length of the packet.
    length: u32,
    checksum: Option<usize>,
}

impl Section {
    fn block(&mut self, block: PcapBlockOwned<'_>, show: &mut dyn FnMut(Entry<'_>)) {
        match block {
            PcapBlockOwned::LegacyHeader(header) => self.interfaces = vec![legacy(&header)],
            PcapBlockOwned::Legacy(packet) => {
                let units = self.interfaces.first().and_then(|it| it.resolution).unwrap_or(1);
                let time = i128::from(packet.ts_sec) * units + i128::from(packet.ts_usec);
                self.packet(
                    &Captured {
                        interface: 0,
                        time: u64::try_from(time).ok(),
                        data: packet.data,
                        length: packet.origlen,
                        checksum: None,
                    },
                    show,
                );
            }
            PcapBlockOwned::NG(Block::SectionHeader(header)) => {
                *self = Self { big: header.big_endian(), interfaces: Vec::new() };
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
                if self.interfaces.len() < MOST_INTERFACES {
                    self.interfaces.push(self.described(&block));
                }
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => self.packet(&self.enhanced(&packet), show),
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let snap = self.interfaces.first().map_or(usize::MAX, |interface| interface.snap);
                let length = usize::try_from(packet.origlen).unwrap_or(usize::MAX).min(snap);
                let data = packet.data.get(..length).unwrap_or(packet.data);
                let captured =
                    Captured { interface: 0, time: None, data, length: packet.origlen, checksum: None };
                self.packet(&captured, show);
            }
            PcapBlockOwned::NG(Block::Unknown(block)) => {
                if let Some(captured) = self.obsolete(&block) {
                    self.packet(&captured, show);
                }
            }
            PcapBlockOwned::NG(_) => {}
        }
    }

    fn packet(&self, captured: &Captured<'_>, show: &mut dyn FnMut(Entry<'_>)) {
        let Some(interface) = self.interfaces.get(captured.interface) else { return show(Entry::Unknown) };
        let length = usize::try_from(captured.length).unwrap_or(usize::MAX);
        let cut = length.saturating_sub(captured.data.len());
        // The checksum is at the end of the whole frame.
        let frame = length.saturating_sub(captured.checksum.unwrap_or(interface.checksum));
        let data = captured.data.get(..frame).unwrap_or(captured.data);
        let time = captured.time.map(|time| interface.nanoseconds(time));
        let name = interface.name.as_deref();
        show(Entry::Frame(Frame { link: interface.link, time, interface: name, data, cut }));
    }

    fn described(&self, block: &InterfaceDescriptionBlock<'_>) -> Interface {
        let options = &block.options;
        // pcap-parser supports neither binary resolutions nor offsets with the highest byte first.
        let resolution = option::<1>(options, IF_TSRESOL).map_or(6, |[code]| code);
        let offset = option::<8>(options, IF_TSOFFSET).unwrap_or_default();
        let checksum_bits = option::<1>(options, IF_FCSLEN).map_or(0, |[bits]| bits);
        let base: i128 = if resolution & 0x80 == 0 { 10 } else { 2 };
        Interface {
            link: u16::try_from(block.linktype.0).unwrap_or(u16::MAX),
            name: block.if_name().and_then(Result::ok).map(str::to_owned),
            resolution: base.checked_pow(u32::from(resolution & 0x7f)),
            offset: if self.big { i64::from_be_bytes(offset) } else { i64::from_le_bytes(offset) },
            checksum: usize::from(checksum_bits / 8),
            snap: match usize::try_from(block.snaplen) {
                Ok(0) | Err(_) => usize::MAX,
                Ok(snap) => snap,
            },
        }
    }

    fn enhanced<'a>(&self, packet: &EnhancedPacketBlock<'a>) -> Captured<'a> {
        let flags = option::<4>(&packet.options, EPB_FLAGS).map_or(0, |flags| self.number(flags));
        // Without the padding of the block.
        let length = usize::try_from(packet.caplen).unwrap_or(usize::MAX);
        Captured {
            interface: usize::try_from(packet.if_id).unwrap_or(usize::MAX),
            time: Some(u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low)),
            data: packet.data.get(..length).unwrap_or(packet.data),
            length: packet.origlen,
            checksum: checksum_of(flags),
        }
    }

    /// The Packet Block, which the Enhanced Packet Block has replaced: the numbers of its interface and of lost
    /// packets, the time, the lengths, the packet.
    fn obsolete<'a>(&self, block: &UnknownBlock<'a>) -> Option<Captured<'a>> {
        // pcap-parser returns the type as if its lowest byte came first.
        if self.number(block.block_type.to_le_bytes()) != PACKET_BLOCK {
            return None;
        }
        let (&[a, b, _, _], rest) = block.data.split_first_chunk::<4>()?;
        let (head, data) = rest.split_first_chunk::<16>()?;
        let (words, _) = head.as_chunks::<4>();
        let [high, low, captured, length] = words else { return None };
        let captured = usize::try_from(self.number(*captured)).ok()?;
        let interface = if self.big { u16::from_be_bytes([a, b]) } else { u16::from_le_bytes([a, b]) };
        Some(Captured {
            interface: interface.into(),
            time: Some(u64::from(self.number(*high)) << 32 | u64::from(self.number(*low))),
            data: data.get(..captured)?,
            length: self.number(*length),
            checksum: None,
        })
    }

    const fn number(&self, bytes: [u8; 4]) -> u32 {
        if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

impl Interface {
    fn nanoseconds(&self, units: u64) -> i128 {
        let within = self.resolution.map_or(0, |resolution| i128::from(units) * NANO / resolution);
        within + i128::from(self.offset) * NANO
    }
}

/// The information of a pcap file about all its packets: the link type, and in the bits above it the length of the
/// checksum in units of two bytes.
fn legacy(header: &PcapHeader) -> Interface {
    let word = header.network.0.cast_unsigned();
    let [high, low] = [word >> 16, word & 0xffff];
    let checksum = if high & FCS_IS_KNOWN == 0 { 0 } else { high >> 12 };
    Interface {
        link: u16::try_from(low).unwrap_or(u16::MAX),
        name: None,
        resolution: Some(if header.is_nanosecond_precision() { NANO } else { 1_000_000 }),
        offset: 0,
        checksum: usize::try_from(checksum).unwrap_or_default() * 2,
        snap: usize::MAX,
    }
}

/// The length of the checksum in the flags of a packet, if present.
fn checksum_of(flags: u32) -> Option<usize> {
    usize::try_from(flags >> 5 & 0xf).ok().filter(|length| *length > 0)
}

/// The first option of this kind, if it has this length.
fn option<const N: usize>(options: &[PcapNGOption<'_>], code: OptionCode) -> Option<[u8; N]> {
    let option = options.iter().find(|option| option.code == code)?;
    option.as_bytes().ok()?.try_into().ok()
}

const NANO: i128 = 1_000_000_000;
const PCAP_HEADER: usize = 24;
const PACKET_BLOCK: u32 = 2;
/// Bit 26 of the word with the link type, counted from bit 16.
const FCS_IS_KNOWN: u32 = 1 << 10;
const IF_TSRESOL: OptionCode = OptionCode(9);
const IF_FCSLEN: OptionCode = OptionCode(13);
const IF_TSOFFSET: OptionCode = OptionCode(14);
const EPB_FLAGS: OptionCode = OptionCode(2);
/// For the blocks of most captures.
const ROOM: usize = 1 << 20;
/// The largest block that is read: the largest packet that Wireshark reads, 128 MiB, and its surroundings.
const LARGEST_BLOCK: usize = 129 << 20;
const MOST_INTERFACES: usize = 4096;
