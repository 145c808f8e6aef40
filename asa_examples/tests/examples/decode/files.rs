//! What files and links can do to packets: generated captures, against what was put into them and against tshark.

use std::collections::BTreeMap;
use std::io::{self, Read};

use asa_examples::decode::{Options, Record, Transport, decode};
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::decode::by_hand::{A, B, ETHERNET, RAW, datagram, hex, ipv6, pcap, request, segment, udp_segment};
use crate::decode::{dissector, records, tshark};

const ACK: u8 = 16;

/// A pcapng file (draft-ietf-opsawg-pcapng) in either byte order.
struct Pcapng {
    big: bool,
    bytes: Vec<u8>,
}

impl Pcapng {
    /// `comment` may be long.
    fn new(big: bool, comment: usize) -> Self {
        let mut file = Self { big, bytes: Vec::new() };
        let mut body =
            [file.u32(0x1a2b_3c4d).to_vec(), file.u16(1).to_vec(), file.u16(0).to_vec(), vec![0xff; 8]]
                .concat();
        for _ in 0..comment.div_ceil(60_000) {
            body.extend(file.option(1, &[b'x'; 60_000]));
        }
        file.block(0x0a0d_0d0a, &body);
        file
    }

    const fn u16(&self, number: u16) -> [u8; 2] {
        if self.big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    const fn u32(&self, number: u32) -> [u8; 4] {
        if self.big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn i64(&self, number: i64) -> [u8; 8] {
        if self.big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn option(&self, code: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap();
        let mut bytes = [&self.u16(code)[..], &self.u16(length), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = self.u32(u32::try_from(body.len() + 12).unwrap());
        let kind = self.u32(kind);
        for part in [&kind[..], &length, &body, &length] {
            self.bytes.extend(part);
        }
    }

    fn interface(&mut self, link: u32, snap: u32, options: &[(u16, Vec<u8>)]) {
        let mut body = [&self.u16(u16::try_from(link).unwrap())[..], &[0; 2], &self.u32(snap)].concat();
        for (code, value) in options {
            body.extend(self.option(*code, value));
        }
        self.block(1, &body);
    }

    /// The time, the captured and the original length, and the packet without what is cut off.
    fn packet(&self, units: u64, packet: &[u8], cut: usize) -> Vec<u8> {
        let captured = &packet[..packet.len() - cut];
        let halves = [(units >> 32) as u32, units as u32];
        let lengths = [captured.len(), packet.len()].map(|length| u32::try_from(length).unwrap());
        let mut body: Vec<u8> = halves.into_iter().chain(lengths).flat_map(|word| self.u32(word)).collect();
        body.extend(captured);
        body.resize(body.len().next_multiple_of(4), 0);
        body
    }

    fn enhanced(&mut self, interface: u32, units: u64, packet: &[u8], cut: usize, flags: Option<u32>) {
        let mut body = [self.u32(interface).to_vec(), self.packet(units, packet, cut)].concat();
        if let Some(flags) = flags {
            body.extend(self.option(2, &self.u32(flags)));
            body.extend(self.option(0, &[]));
        }
        self.block(6, &body);
    }

    fn obsolete(&mut self, interface: u16, units: u64, packet: &[u8], cut: usize) {
        let body = [&self.u16(interface)[..], &self.u16(7), &self.packet(units, packet, cut)].concat();
        self.block(2, &body);
    }

    fn simple(&mut self, packet: &[u8], cut: usize) {
        let length = self.u32(u32::try_from(packet.len()).unwrap());
        self.block(3, &[&length[..], &packet[..packet.len() - cut]].concat());
    }
}

/// Times of interfaces: the code of the resolution, the offset in seconds, units, and what they are in nanoseconds.
const TIMES: [(Option<u8>, Option<i64>, u64, i128); 7] = [
    (None, None, 1_500_000, 1_500_000_000),
    (Some(9), None, 1_234_567_891_987_654_321, 1_234_567_891_987_654_321),
    (Some(3), Some(1_600_000_000), 1_500, 1_600_000_001_500_000_000),
    (Some(0x8a), None, 1_000 * 1024 + 512, 1_000_500_000_000),
    (Some(0x8a), Some(1_000_000_000), 3 * 1024 + 256, 1_000_000_003_250_000_000),
    (Some(0x80 | 20), Some(-5), 1000 << 20 | 1 << 19, 995_500_000_000),
    (Some(0), None, 1_700_000_000, 1_700_000_000_000_000_000),
];

/// A file with an interface for each of the times, and a packet of each kind that has a time.
fn with_times(big: bool) -> Vec<u8> {
    let mut file = Pcapng::new(big, 0);
    for (number, (resolution, offset, ..)) in TIMES.iter().enumerate() {
        let mut options = vec![(2, format!("eth{number}").into_bytes())];
        options.extend(resolution.map(|code| (9, vec![code])));
        options.extend(offset.map(|offset| (14, file.i64(offset).to_vec())));
        file.interface(RAW, 0, &options);
    }
    let packet = datagram(50000, &request());
    for (number, (.., units, _)) in (0u16..).zip(&TIMES) {
        file.enhanced(number.into(), *units, &packet, 0, None);
        file.obsolete(number, *units, &packet, 0);
    }
    file.bytes
}

#[test]
fn times_are_right_in_any_resolution_with_any_offset_and_in_either_byte_order() {
    for big in [false, true] {
        let (records, report) = records(&with_times(big), &Options::default());
        assert!(!report.damaged);
        assert_eq!(records.len(), 2 * TIMES.len());
        for (pair, (number, (.., expected))) in records.chunks(2).zip(TIMES.iter().enumerate()) {
            for record in pair {
                assert_eq!(record.time, Some(*expected), "interface {number}, big: {big}");
                assert_eq!(record.interface, Some(format!("eth{number}")));
                assert_eq!(record.bytes, request());
            }
        }
    }
    // Finer than can be counted: it is 1970, and no panic.
    for code in [127, 0xff, 39, 0x80 | 126] {
        let mut file = Pcapng::new(false, 0);
        file.interface(RAW, 0, &[(9, vec![code]), (14, i64::MIN.to_le_bytes().to_vec())]);
        file.enhanced(0, u64::MAX, &datagram(50000, &request()), 0, None);
        let (records, _) = records(&file.bytes, &Options::default());
        assert_eq!(records[0].time.unwrap() / 1_000_000_000, i64::MIN.into());
    }
}

#[test]
fn blocks_of_more_than_a_mebibyte_are_read_and_passed() {
    for big in [false, true] {
        let mut file = Pcapng::new(big, 2 << 20);
        file.interface(RAW, 0, &[]);
        let packet = datagram(50000, &request());
        file.enhanced(0, 1, &packet, 0, None);
        file.block(0x0bad, &vec![1; 5 << 20]);
        // What follows an IP packet in its frame is no part of it.
        file.enhanced(0, 2, &[packet.clone(), vec![0; 3 << 20]].concat(), 0, None);
        file.enhanced(0, 3, &packet, 0, None);
        let (records, report) = records(&file.bytes, &Options::default());
        assert!(!report.damaged, "big: {big}");
        let frames: Vec<u64> = records.iter().map(|record| record.frame).collect();
        assert_eq!(frames, [1, 2, 3]);
        assert!(records.iter().all(|record| record.bytes == request()));
    }
    let large = [datagram(50000, &request()), vec![0; 3 << 20]].concat();
    let (records, report) = records(&pcap(RAW, &[large.clone(), large]), &Options::default());
    assert_eq!((records.len(), report.damaged), (2, false));
}

/// A block says that it is as large as can be, and little of it is there.
#[test]
fn a_block_that_is_not_there_takes_no_memory() {
    let mut file = Pcapng::new(false, 0);
    file.interface(RAW, 0, &[]);
    file.bytes.extend([6, 0, 0, 0, 0xfc, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    assert!(records(&file.bytes, &Options::default()).1.damaged);
    let mut file = pcap(RAW, &[]);
    file.extend([1, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    assert!(records(&file, &Options::default()).1.damaged);
}

/// Reads bytes, and then fails for ever.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::ErrorKind::ConnectionReset.into()) } else { self.0.read(room) }
    }
}

#[test]
fn an_input_that_fails_between_two_packets_ends_there() {
    let file = pcap(RAW, &[datagram(50000, &request())]);
    let mut shown = 0;
    let report = decode(Failing(&file), &Options::default(), &mut |_| shown += 1).unwrap();
    assert_eq!((shown, report.packets, report.damaged), (1, 1, true));
}

/// A packet whose lengths are not in its headers, as a large one that the card cuts, with the checksum of Ethernet.
fn without_lengths() -> Vec<u8> {
    let mut packet = datagram(50000, &request());
    packet[4..6].copy_from_slice(&[0; 2]);
    packet[44..46].copy_from_slice(&[0; 2]);
    [&[2; 12][..], &[0x86, 0xdd], &packet, &[0xde, 0xad, 0xbe, 0xef]].concat()
}

#[test]
fn checksums_of_frames_are_no_part_of_packets() {
    // Bit 26, and twice two bytes.
    let in_header = pcap(ETHERNET | 1 << 26 | 2 << 28, &[without_lengths()]);
    let mut in_interface = Pcapng::new(false, 0);
    in_interface.interface(ETHERNET, 0, &[(13, vec![32])]);
    in_interface.enhanced(0, 0, &without_lengths(), 0, None);
    let mut in_packet = Pcapng::new(true, 0);
    in_packet.interface(ETHERNET, 0, &[]);
    in_packet.enhanced(0, 0, &without_lengths(), 0, Some(4 << 5));
    for file in [in_header, in_interface.bytes, in_packet.bytes] {
        let (records, _) = records(&file, &Options::default());
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].bytes, request());
    }
    // Not every checksum is said to be there.
    let (records, _) = records(&pcap(ETHERNET, &[without_lengths()]), &Options::default());
    assert_eq!(records[0].bytes.len(), request().len() + 4);
}

/// Attributes of netfilter's log, in either byte order, with those that come before the packet.
fn nflog(big: bool, packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![10, 0, 0, 5];
    for (kind, value) in [(1u16, &[0x86, 0xdd, 0, 0][..]), (10, b"grasp\0"), (9, packet)] {
        let length = u16::try_from(value.len() + 4).unwrap();
        let words = [length, kind].map(|word| if big { word.to_be_bytes() } else { word.to_le_bytes() });
        bytes.extend(words.concat());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

fn ipv4() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 1, 17, 0, 0, 192, 0, 2, 1, 224, 0, 0, 119];
    packet.extend(udp_segment(50000, &request()));
    packet[3] = u8::try_from(packet.len()).unwrap();
    packet
}

/// A request behind the headers of all links that are supported.
fn links() -> Vec<(u32, Vec<u8>)> {
    let (v6, v4, macs) = (datagram(50000, &request()), ipv4(), vec![2u8; 12]);
    let behind = |parts: &[&[u8]], packet: &[u8]| [&parts.concat()[..], packet].concat();
    let session = |length: usize| {
        [&[0x11, 0, 0, 7][..], &u16::try_from(length + 2).unwrap().to_be_bytes(), &[0, 0x57]].concat()
    };
    let snap = |packet: &[u8]| {
        let length = u16::try_from(packet.len() + 8).unwrap().to_be_bytes();
        [&length[..], &[0xaa, 0xaa, 3, 0, 0, 0, 0x86, 0xdd], packet].concat()
    };
    let vlan = [0x81, 0, 0, 5];
    // As a program sends it on Ethernet: a packet type, a kind of device, its address.
    let cooked = [0, 0, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0];
    let cooked2 = [0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0];
    vec![
        (ETHERNET, behind(&[&macs, &[0x86, 0xdd]], &v6)),
        (ETHERNET, behind(&[&macs, &[8, 0]], &v4)),
        (ETHERNET, behind(&[&macs, &vlan, &[0x86, 0xdd]], &v6)),
        (ETHERNET, behind(&[&macs, &[0x88, 0xa8, 0, 5], &vlan, &[0x86, 0xdd]], &v6)),
        (ETHERNET, behind(&[&macs, &[0x91, 0, 0, 5], &vlan, &[8, 0]], &v4)),
        (ETHERNET, behind(&[&macs, &vlan, &vlan, &vlan, &vlan, &vlan, &[0x86, 0xdd]], &v6)),
        (ETHERNET, behind(&[&macs, &[0x88, 0x64], &session(v6.len())], &v6)),
        (ETHERNET, behind(&[&macs, &vlan, &[0x88, 0x64], &session(v6.len())], &v6)),
        (ETHERNET, behind(&[&macs], &snap(&v6))),
        (0, behind(&[&[30, 0, 0, 0]], &v6)),
        (0, behind(&[&[0, 0, 0, 24]], &v6)),
        (0, behind(&[&[2, 0, 0, 0]], &v4)),
        (108, behind(&[&[0, 0, 0, 28]], &v6)),
        (9, behind(&[&[0xff, 3, 0, 0x57]], &v6)),
        (9, behind(&[&[0, 0x21]], &v4)),
        (9, behind(&[&[0xff, 3, 0x57]], &v6)),
        (50, behind(&[&[0xff, 3, 0, 0x57]], &v6)),
        (50, behind(&[&[0x0f, 0, 0x86, 0xdd]], &v6)),
        (51, behind(&[&session(v6.len())], &v6)),
        (104, behind(&[&[0x8f, 0, 0x86, 0xdd]], &v6)),
        (204, behind(&[&[0, 0xff, 3, 0, 0x21]], &v4)),
        (113, behind(&[&cooked, &[0x86, 0xdd]], &v6)),
        (113, behind(&[&cooked, &vlan, &[0x86, 0xdd]], &v6)),
        (276, behind(&[&[0x86, 0xdd], &cooked2], &v6)),
        (276, behind(&[&[0x81, 0], &cooked2, &[0, 5, 8, 0]], &v4)),
        (239, nflog(false, &v6)),
        (239, nflog(true, &v6)),
        (RAW, v6.clone()),
        (RAW, v4.clone()),
        (12, v6.clone()),
        (14, v4.clone()),
        (228, v4),
        (229, v6.clone()),
        // Hop-by-hop options with a padding option.
        (RAW, ipv6(A, B, 0, &[&[17, 0, 1, 4, 0, 0, 0, 0][..], &udp_segment(50000, &request())].concat())),
    ]
}

#[test]
fn messages_are_found_behind_the_headers_of_all_links() {
    // tshark does not read this one.
    let pppd = (166, [&[1, 3, 0, 0x57][..], &datagram(50000, &request())].concat());
    for (link, frame) in links().into_iter().chain([pppd]) {
        for cut in [0, 2] {
            let mut file = Pcapng::new(false, 0);
            file.interface(link, 0, &[]);
            file.enhanced(0, 0, &frame, cut, None);
            let (records, report) = records(&file.bytes, &Options::default());
            assert_eq!(records.len(), 1, "link type {link}: {frame:02x?}");
            assert_eq!(records[0].truncated, cut > 0, "link type {link}");
            // Netfilter's attributes are filled up, so that not all that is cut off was of the message.
            let missing = request().len() - records[0].bytes.len();
            assert!(request().starts_with(&records[0].bytes), "link type {link}: {:?}", records[0]);
            assert!(missing == cut || (link == 239 && missing == cut / 2), "link type {link}: {missing}");
            assert_eq!((report.cut, report.unsupported.len()), (u64::from(cut > 0), 0));
        }
    }
}

#[test]
fn what_is_no_ip_is_passed() {
    let macs = [2u8; 12];
    for (link, frame) in [
        (ETHERNET, [&macs[..], &[0x88, 0xcc, 2, 7]].concat()),
        (ETHERNET, [&macs[..], &[0, 3, 0x42, 0x42, 3]].concat()),
        (ETHERNET, [&macs[..], &[0x88, 0x63, 0x11, 9, 0, 0, 0, 0]].concat()),
        (0, [&[7, 0, 0, 0][..], &datagram(50000, &request())].concat()),
        (9, vec![0xff, 3, 0xc0, 0x21, 1, 1, 0, 4]),
        (239, vec![10, 0, 0, 5, 8, 0, 9]),
        (239, vec![10, 1, 0, 5, 8, 0, 9, 0, 1, 2, 3, 4]),
    ] {
        let (records, report) = records(&pcap(link, &[frame]), &Options::default());
        assert_eq!((records.len(), report.packets, report.lines().len()), (0, 1, 0));
    }
}

#[test]
fn a_link_type_that_is_not_supported_is_named() {
    let mut file = Pcapng::new(false, 0);
    for link in [127, RAW, 4711] {
        file.interface(link, 0, &[]);
    }
    let packet = datagram(50000, &request());
    for interface in [0, 1, 0, 2, 9] {
        file.enhanced(interface, 0, &packet, 0, None);
    }
    let (records, report) = records(&file.bytes, &Options::default());
    assert_eq!(records.iter().map(|record| record.frame).collect::<Vec<_>>(), [2]);
    assert_eq!(report.unsupported, BTreeMap::from([(127, 2), (4711, 1)]));
    assert_eq!(
        report.lines(),
        [
            "1 packets are of interfaces that the capture does not describe",
            "2 packets were not read: the link type IEEE802_11_RADIOTAP (127) is not supported",
            "1 packets were not read: the link type 4711 is not supported",
        ]
    );
}

/// A frame, and how much of it is cut off.
type Snapped = (Vec<u8>, usize);
/// The number of a frame with a message, whether that is truncated, whether it is right.
type Told = (u64, bool, bool);

/// Datagrams and a connection of which the snap length cuts something off, and what is told of the messages.
fn snapped() -> (Vec<Snapped>, Vec<Told>) {
    let (message, length) = (request(), request().len());
    // The session identifier is a text, and more is missing.
    let wrong = [&message[..2], &[0x60], &message[3..]].concat();
    let long = [&hex("83030884634558330306")[..], &[0x78, 64], &[b'a'; 64]].concat();
    let two = [message.clone(), message.clone()].concat();
    let mut frames = vec![
        (datagram(50000, &message), 0),
        (datagram(50000, &message), 3),
        (datagram(50000, &wrong), 2),
        // As if the sender had sent too little.
        (datagram(50000, &message[..length - 3]), 0),
        (datagram(50000, &message), length - 1),
    ];
    let mut at = 1;
    for (payload, cut) in [
        (&message, 0),
        (&two, 4),
        (&message, 0),
        (&long[..50].to_vec(), 10),
        (&long[50..].to_vec(), 0),
        (&two, 0),
    ] {
        frames.push((segment(false, at, ACK, payload), cut));
        at += u32::try_from(payload.len()).unwrap();
    }
    let said = [
        (1, false, true),
        (2, true, false),
        (3, false, false),
        (4, false, false),
        (5, true, false),
        (6, false, true),
        (7, false, true),
        (7, true, false),
        (8, false, true),
        (9, true, false),
        (11, false, true),
        (11, false, true),
    ];
    (frames, said.to_vec())
}

fn file_of_snapped(big: bool) -> Vec<u8> {
    let mut file = Pcapng::new(big, 0);
    file.interface(RAW, 0, &[(2, b"eth0".to_vec())]);
    for (at, (frame, cut)) in (1u64..).zip(&snapped().0) {
        file.enhanced(0, at * 1_000_000, frame, *cut, None);
    }
    file.bytes
}

#[test]
fn what_the_snap_length_cuts_off_is_truncated_and_not_malformed() {
    for big in [false, true] {
        let (records, report) = records(&file_of_snapped(big), &Options::default());
        let found: Vec<_> = records
            .iter()
            .map(|record| (record.frame, record.truncated, record.annotation.message.is_ok()))
            .collect();
        assert_eq!(found, snapped().1);
        assert_eq!(report.cut, 5);
        assert_eq!(records[1].remark.as_deref(), Some("truncated: 8 of 11 bytes were captured"));
        assert_eq!(records[7].remark.as_deref(), Some("truncated: the rest was not captured"));
        assert_eq!(records[8].remark.as_deref(), Some("4 bytes before it are not in the capture"));
    }
    // A packet without an original length has that of the snap length of its interface.
    let packet = datagram(50000, &request());
    let mut file = Pcapng::new(false, 0);
    file.interface(RAW, u32::try_from(packet.len()).unwrap() - 3, &[]);
    file.simple(&packet, 3);
    let (records, _) = records(&file.bytes, &Options::default());
    assert_eq!((records[0].truncated, records[0].bytes.len()), (true, request().len() - 3));
}

/// A segment of which the end was not captured, and which was sent again, now whole.
#[test]
fn what_another_segment_has_is_not_missing() {
    let message = request();
    let mut file = Pcapng::new(false, 0);
    file.interface(RAW, 0, &[]);
    file.enhanced(0, 0, &segment(false, 0, 2, &[]), 0, None);
    // The second half comes first.
    file.enhanced(0, 1, &segment(false, 6, ACK, &message[5..]), 0, None);
    file.enhanced(0, 2, &segment(false, 1, ACK, &message), 6, None);
    let (records, _) = records(&file.bytes, &Options::default());
    assert_eq!(records.iter().map(|it| it.bytes.clone()).collect::<Vec<_>>(), [message]);
}

/// Compares with tshark what each packet says of itself, and then what the messages say.
fn compare(name: &str, file: &[u8]) -> usize {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join(name);
    std::fs::write(&path, file).expect("a file");
    let (records, report) = records(file, &Options::default());
    let names = [
        "frame.time_epoch",
        "frame.interface_name",
        "ipv6.src",
        "ipv6.dst",
        "ip.src",
        "ip.dst",
        "udp.srcport",
        "udp.dstport",
        "tcp.srcport",
        "tcp.dstport",
    ];
    let packets = tshark::fields(&path, &names);
    assert_eq!(u64::try_from(packets.len()).unwrap(), report.packets, "{name}");
    for record in &records {
        let (_, columns) = packets.iter().find(|(number, _)| *number == record.frame).expect("the packet");
        let about = format!("packet {} of {name}", record.frame);
        let at = |field: &str| columns[names.iter().position(|name| *name == field).unwrap()].clone();
        let time = record
            .time
            .map(|it| format!("{}.{:09}", it.div_euclid(1_000_000_000), it.rem_euclid(1_000_000_000)));
        // What has no time is shown as of 1970, or without one.
        if let Some(time) = time {
            assert_eq!(at("frame.time_epoch"), [time], "{about}");
        }
        if let Some(interface) = &record.interface {
            assert_eq!(at("frame.interface_name"), std::slice::from_ref(interface), "{about}");
        }
        let (transport, source, destination) = record.transport.expect("addresses");
        let ip = if source.is_ipv6() { "ipv6" } else { "ip" };
        let ports = if transport == Transport::Udp { "udp" } else { "tcp" };
        assert_eq!(at(&format!("{ip}.src")), [source.ip().to_string()], "{about}");
        assert_eq!(at(&format!("{ip}.dst")), [destination.ip().to_string()], "{about}");
        assert_eq!(at(&format!("{ports}.srcport")), [source.port().to_string()], "{about}");
        assert_eq!(at(&format!("{ports}.dstport")), [destination.port().to_string()], "{about}");
    }
    dissector::compare(&path, &records);
    records.len()
}

/// The links as tshark reads them: it takes netfilter's log to be in the byte order of the file.
fn links_in(big: bool) -> Vec<(u32, Vec<u8>)> {
    let other = nflog(!big, &datagram(50000, &request()));
    links().into_iter().filter(|(_, frame)| *frame != other).collect()
}

#[test]
#[ignore = "needs tshark"]
fn tshark_reads_the_same_in_generated_captures() {
    for big in [false, true] {
        assert_eq!(compare("times.pcapng", &with_times(big)), 2 * TIMES.len());
        assert_eq!(compare("snapped.pcapng", &file_of_snapped(big)), snapped().1.len());
        let mut together = Pcapng::new(big, 2 << 20);
        for (number, (link, frame)) in (0u32..).zip(links_in(big)) {
            together.interface(link, 0, &[(2, format!("link{number}").into_bytes())]);
            together.enhanced(number, number.into(), &frame, 0, Some(1));
            together.obsolete(u16::try_from(number).unwrap(), number.into(), &frame, 0);
        }
        together.simple(&links()[0].1, 0);
        assert_eq!(compare("links.pcapng", &together.bytes), 2 * links_in(big).len() + 1);
    }
    for (link, frame) in links_in(false) {
        assert_eq!(compare(&format!("{link}.pcap"), &pcap(link, &[frame])), 1);
    }
    let with_checksum = [&links()[0].1[..], &[0xde, 0xad, 0xbe, 0xef]].concat();
    assert_eq!(compare("checksum.pcap", &pcap(ETHERNET | 1 << 26 | 2 << 28, &[with_checksum])), 1);
    // Both byte orders and precisions of the old format.
    let file = pcap(RAW, &[datagram(50000, &request())]);
    let mut nanoseconds = file.clone();
    nanoseconds[0] = 0x4d;
    nanoseconds[1] = 0x3c;
    assert_eq!(compare("nanoseconds.pcap", &nanoseconds), 1);
    let mut swapped = file;
    swapped[..4].reverse();
    swapped[4..6].reverse();
    swapped[6..8].reverse();
    swapped[8..40].chunks_mut(4).for_each(<[u8]>::reverse);
    assert_eq!(compare("swapped.pcap", &swapped), 1);
}

proptest! {
    #[test]
    fn spoiled_captures_do_no_harm(
        big in any::<bool>(),
        spoil in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = with_times(big);
        file.extend(file_of_snapped(big));
        for (number, (link, frame)) in (1u32..).zip(links()) {
            let mut one = Pcapng::new(big, 0);
            one.interface(link, number, &[]);
            one.simple(&frame, 0);
            file.extend(one.bytes);
        }
        for (place, byte) in spoil {
            let place = place.index(file.len());
            file[place] = byte;
        }
        let cut = cut.index(file.len()) + 1;
        let _ = decode(&file[..cut], &Options::default(), &mut |_| {});
    }
}

/// A record is all that a caller of the library has.
#[test]
fn a_record_that_is_truncated_says_so_as_text_and_json() {
    let (records, _) = records(&file_of_snapped(false), &Options::default());
    let printed = |record: &Record, style| {
        let mut out = Vec::new();
        record.print(style, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let json: serde_json::Value =
        serde_json::from_str(&printed(&records[1], asa_examples::decode::Style::Json)).unwrap();
    assert_eq!((&json["truncated"], &json["error"]), (&true.into(), &"truncated".into()));
    let line = printed(&records[1], asa_examples::decode::Style::Summary);
    assert!(line.contains("[truncated: 8 of 11 bytes were captured]"), "{line}");
}
