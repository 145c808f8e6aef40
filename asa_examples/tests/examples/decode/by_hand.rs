//! Captures made by hand: what a link or a connection can do to messages.

use std::net::Ipv6Addr;

use asa_examples::decode::{Options, Record, Transport};
use grasp::QuadsKeys;
use grasp::wire::{self, Limits};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::decode::{records, vectors};

pub(crate) const ETHERNET: u32 = 1;
pub(crate) const RAW: u32 = 101;

pub(crate) const A: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const B: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const GROUP: Ipv6Addr = grasp::constants::ALL_GRASP_NEIGHBORS_6;

/// A pcap file.
pub(crate) fn pcap(link: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, link] {
        file.extend(u32::to_le_bytes(word));
    }
    for (second, frame) in (1u32..).zip(frames) {
        let length = u32::try_from(frame.len()).unwrap();
        for word in [second, 500_000, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

pub(crate) fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&[0x60, 0, 0, 0][..], &length, &[next, 1]].concat();
    [&head[..], &source.octets(), &destination.octets(), payload].concat()
}

pub(crate) fn udp_segment(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).unwrap();
    let words = [port, 7017, length, 0].map(u16::to_be_bytes).concat();
    [&words[..], payload].concat()
}

/// A multicast datagram as an IP packet.
pub(crate) fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
    ipv6(A, GROUP, 17, &udp_segment(port, payload))
}

/// A TCP segment as an IP packet, from A's port 40001 to B's port 40002 or, if `back`, the other way.
pub(crate) fn segment(back: bool, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let (from, to, source, destination) = if back { (B, A, 40002, 40001) } else { (A, B, 40001, 40002) };
    let ports = [source, destination].map(u16::to_be_bytes).concat();
    let rest = [0, 0, 0, 0, 5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0];
    ipv6(from, to, 6, &[&ports[..], &sequence.to_be_bytes(), &rest, payload].concat())
}

pub(crate) const SYN: u8 = 2;
const FIN: u8 = 1;
const ACK: u8 = 16;

fn shown(link: u32, frames: &[Vec<u8>]) -> Vec<Record> {
    records(&pcap(link, frames), &Options::default()).0
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    crate::decode::bytes(text)
}

/// `[3, 7, ["EX3", 3, 6, 1]]`
pub(crate) fn request() -> Vec<u8> {
    hex("8303078463455833030601")
}

#[test]
fn every_vector_says_what_the_decoder_says() {
    let all = vectors();
    let frames: Vec<Vec<u8>> = all.iter().map(|(_, bytes)| datagram(50000, bytes)).collect();
    let records = shown(RAW, &frames);
    assert_eq!(records.len(), all.len());
    for (record, (name, bytes)) in records.iter().zip(&all) {
        let expected = wire::decode(bytes, &Limits::default());
        assert_eq!(record.annotation.message, expected, "{name}");
        assert_eq!(&record.bytes, bytes, "{name}");
        let (transport, source, destination) = record.transport.unwrap();
        assert_eq!(transport, Transport::Udp);
        assert_eq!((source, destination), ((A, 50000).into(), (GROUP, 7017).into()));
    }
    assert_eq!(records[0].time, Some(1_500_000_000));
    // As they are, one after the other, and in hex.
    let together: Vec<u8> = all.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    let text: String = together.iter().map(|byte| format!("{byte:02x} ")).collect();
    for input in [together.as_slice(), text.as_bytes()] {
        let (records, _) = crate::decode::records(input, &Options::default());
        let found: Vec<&[u8]> = records.iter().map(|record| record.bytes.as_slice()).collect();
        let expected: Vec<&[u8]> = all.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn fragments_are_counted_and_not_guessed_at() {
    // A fragment header that says that more follows.
    let fragment = [&[17, 0, 0, 1, 0, 0, 0, 9][..], &udp_segment(50000, &request())].concat();
    let (records, report) = records(&pcap(RAW, &[ipv6(A, GROUP, 44, &fragment)]), &Options::default());
    assert!(records.is_empty());
    assert_eq!((report.packets, report.fragments), (1, 1));
    assert_eq!(report.lines(), ["1 fragments of IP packets were not put together"]);
}

#[test]
fn a_stream_in_any_order_and_repeated_gives_its_messages_once() {
    let messages: Vec<Vec<u8>> =
        vec![request(), hex("8307071903e8"), hex("83050784634558330306187b"), hex("830607811865")];
    let stream = messages.concat();
    // Sequence numbers that wrap.
    let start = u32::MAX - 10;
    let piece = |from: usize, to: usize| {
        segment(false, start.wrapping_add(u32::try_from(from).unwrap() + 1), ACK, &stream[from..to])
    };
    let frames = [
        segment(false, start, SYN, &[]),
        piece(5, 9),
        piece(0, 3),
        piece(0, 3),
        piece(14, stream.len()),
        piece(2, 7),
        piece(9, 14),
        piece(0, stream.len()),
        segment(false, start.wrapping_add(u32::try_from(stream.len()).unwrap() + 1), FIN | ACK, &[]),
    ];
    let records = shown(RAW, &frames);
    let found: Vec<Vec<u8>> = records.iter().map(|record| record.bytes.clone()).collect();
    assert_eq!(found, messages);
    assert!(records.iter().all(|record| record.remark.is_none()));
    // Who the initiator is, is known from the request on.
    assert!(records.iter().all(|record| record.from_initiator == Some(true)));
}

#[test]
fn the_answers_come_from_the_responder() {
    let frames = [
        segment(false, 100, ACK, &request()),
        segment(true, 200, ACK, &hex("83050784634558330306187b")),
        segment(false, 100 + u32::try_from(request().len()).unwrap(), ACK, &hex("830607811865")),
    ];
    let directions: Vec<_> = shown(RAW, &frames).iter().map(|record| record.from_initiator).collect();
    assert_eq!(directions, [Some(true), Some(false), Some(true)]);
}

#[test]
fn what_is_missing_is_said() {
    let (first, third) = (request(), hex("8307071903e8"));
    let length = u32::try_from(first.len()).unwrap();
    let frames = [
        segment(false, 1, ACK, &first[..4]),
        // The rest of the first and a second message of the same size were lost.
        segment(false, 1 + 2 * length, ACK, &third),
    ];
    let records = shown(RAW, &frames);
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(records[0].bytes, first[..4]);
    assert!(records[0].annotation.message.is_err());
    assert_eq!(records[0].remark.as_deref(), Some("the rest is not in the capture"));
    assert_eq!(records[1].bytes, third);
    let missing = 2 * length - 4;
    assert_eq!(records[1].remark, Some(format!("{missing} bytes before it are not in the capture")));
}

#[test]
fn a_message_that_the_stream_ends_in_is_shown_as_far_as_it_goes() {
    let frames = [segment(false, 1, ACK, &request()[..6]), segment(false, 7, FIN | ACK, &[])];
    let records = shown(RAW, &frames);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].remark.as_deref(), Some("the stream ends here"));
    assert_eq!(records[0].annotation.session, Some(7));
}

#[test]
fn other_connections_are_left_alone_unless_a_locator_announces_them() {
    let http = segment(false, 1, ACK, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(shown(RAW, std::slice::from_ref(&http)).len(), 0);
    // A discovery from B's port 40002 says where its answers go.
    let discovery = hex("84010750fe80000000000000000000000000000283634558330106");
    let from_b =
        ipv6(B, GROUP, 17, &[&40002u16.to_be_bytes()[..], &udp_segment(0, &discovery)[2..]].concat());
    let records = shown(RAW, &[from_b, http]);
    assert_eq!(records.len(), 2);
    assert!(records[0].annotation.message.is_ok(), "{:?}", records[0].annotation.problems);
    assert!(records[1].annotation.message.is_err());
}

#[test]
fn with_the_keys_encrypted_messages_are_read() {
    let keys = QuadsKeys::from_password("secret").unwrap();
    let all = vectors();
    let mut frames: Vec<Vec<u8>> = all.iter().map(|(_, bytes)| datagram(50000, &keys.seal(bytes))).collect();
    let stream: Vec<u8> = all.iter().flat_map(|(_, bytes)| keys.seal(bytes)).collect();
    let mut at = 1;
    for piece in stream.chunks(700) {
        frames.push(segment(false, at, ACK, piece));
        at += u32::try_from(piece.len()).unwrap();
    }
    let options = Options { keys: Some(keys), ..Options::default() };
    let (records, _) = records(&pcap(RAW, &frames), &options);
    assert_eq!(records.len(), 2 * all.len());
    for (record, (name, bytes)) in records.iter().zip(all.iter().chain(&all)) {
        assert!(record.encrypted && record.remark.is_none(), "{name}");
        assert_eq!(&record.bytes, bytes, "{name}");
    }
    // Without them it can be seen that they are not in clear.
    let without = shown(RAW, &frames);
    assert!(without.iter().all(|record| !record.encrypted && record.annotation.message.is_err()));
}

#[test]
fn a_capture_with_many_connections_takes_bounded_memory() {
    let frames: Vec<Vec<u8>> = (0..20_000u32)
        .map(|number| {
            let mut frame = segment(false, 1, ACK, &request()[..6]);
            // Another source address.
            frame[20..24].copy_from_slice(&number.to_be_bytes());
            frame
        })
        .collect();
    let (records, report) = records(&pcap(RAW, &frames), &Options::default());
    assert_eq!(records.len(), 20_000);
    assert_eq!(report.forgotten, 20_000 - 4096);
}

proptest! {
    #[test]
    fn arbitrary_input_does_no_harm(bytes in vec(any::<u8>(), 0..400)) {
        let _ = asa_examples::decode::decode(bytes.as_slice(), &Options::default(), &mut |_| {});
    }

    #[test]
    fn arbitrary_captures_do_no_harm(
        link in prop_oneof![
            prop::sample::select(&[0, ETHERNET, 9, 50, 51, RAW, 104, 108, 113, 166, 204, 239, 276]),
            any::<u32>()
        ],
        frames in vec(vec(any::<u8>(), 0..120), 0..20),
        cut in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut file = pcap(link, &frames);
        let place = place.index(file.len());
        file[place] = byte;
        let cut = cut.index(file.len()) + 1;
        let _ = asa_examples::decode::decode(&file[..cut], &Options::default(), &mut |_| {});
    }

    /// Segments at any place of the stream, also with keys.
    #[test]
    fn arbitrary_segments_do_no_harm(
        segments in vec((any::<bool>(), 0u32..3000, 0u8..32, vec(any::<u8>(), 0..60)), 0..60),
        encrypted in any::<bool>(),
    ) {
        let frames: Vec<Vec<u8>> =
            segments.iter().map(|(back, at, flags, bytes)| segment(*back, *at, *flags, bytes)).collect();
        let keys = encrypted.then(|| QuadsKeys::from_parts([1; 32], [2; 16]));
        let options = Options { keys, ..Options::default() };
        let _ = asa_examples::decode::decode(pcap(RAW, &frames).as_slice(), &options, &mut |_| {});
    }

    /// A stream cut anywhere and shuffled gives the same messages.
    #[test]
    fn the_order_of_segments_does_not_matter(
        cuts in vec(any::<prop::sample::Index>(), 0..12),
        order in any::<u64>(),
    ) {
        let all: Vec<Vec<u8>> = vectors().into_iter().map(|(_, bytes)| bytes).take(20).collect();
        let stream = all.concat();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        ends.extend([0, stream.len()]);
        ends.sort_unstable();
        let mut pieces: Vec<Vec<u8>> = ends
            .windows(2)
            .map(|pair| segment(false, u32::try_from(pair[0]).unwrap() + 1, ACK, &stream[pair[0]..pair[1]]))
            .collect();
        let mut random = fastrand::Rng::with_seed(order);
        random.shuffle(&mut pieces);
        pieces.insert(0, segment(false, 0, SYN, &[]));
        let found: Vec<Vec<u8>> = shown(RAW, &pieces).into_iter().map(|record| record.bytes).collect();
        prop_assert_eq!(found, all);
    }
}
