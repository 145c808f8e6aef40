//! The dissector, field by field, against what [`wire::decode`](grasp::wire::decode) says.

use std::collections::BTreeMap;
use std::path::Path;

use asa_examples::decode::{Options, Record};
use grasp::wire::{Annotation, Body, Flood, Message, Outcome, WireLocator, WireObjective, WireOption};
use grasp::{Locator, Protocol, Value};
use tempfile::TempDir;

use crate::decode::by_hand::{ETHERNET, datagram, pcap};
use crate::decode::{records, tshark, vectors};

const FIELDS: [&str; 18] = [
    "grasp.type",
    "grasp.session_id",
    "grasp.initiator",
    "grasp.initiator_ipv4",
    "grasp.ttl",
    "grasp.waiting_time",
    "grasp.objective.name",
    "grasp.objective.flags",
    "grasp.objective.loop_count",
    "grasp.objective.value",
    "grasp.locator.ipv6",
    "grasp.locator.ipv4",
    "grasp.locator.fqdn",
    "grasp.locator.uri",
    "grasp.locator.protocol",
    "grasp.locator.port",
    "grasp.reason",
    "grasp.content",
];

/// The values of fields, by name.
type Fields = BTreeMap<&'static str, Vec<String>>;

fn put(fields: &mut Fields, name: &'static str, value: impl ToString) {
    fields.entry(name).or_default().push(value.to_string());
}

fn notation(value: &Value) -> String {
    match value.embedded() {
        Some(Ok(inside)) => format!("24(<<{inside}>>)"),
        _ => value.to_string(),
    }
}

fn objective(fields: &mut Fields, objective: &WireObjective) {
    put(fields, "grasp.objective.name", &objective.name);
    put(fields, "grasp.objective.flags", format!("{:#018x}", objective.flags.0));
    put(fields, "grasp.objective.loop_count", objective.loop_count);
    if let Some(value) = &objective.value {
        put(fields, "grasp.objective.value", notation(value));
    }
}

fn locator(fields: &mut Fields, locator: &WireLocator) {
    let name = match locator.locator {
        Locator::Ipv6(_) => "grasp.locator.ipv6",
        Locator::Ipv4(_) => "grasp.locator.ipv4",
        Locator::Fqdn(_) => "grasp.locator.fqdn",
        _ => "grasp.locator.uri",
    };
    put(fields, name, &locator.locator);
    if let Some(protocol) = locator.protocol {
        put(fields, "grasp.locator.protocol", Protocol::number(protocol));
    }
    if let Some(port) = locator.port {
        put(fields, "grasp.locator.port", port);
    }
}

fn initiator(fields: &mut Fields, address: std::net::IpAddr) {
    let name = if address.is_ipv6() { "grasp.initiator" } else { "grasp.initiator_ipv4" };
    put(fields, name, address);
}

/// What the dissector must show of a message.
fn expect(fields: &mut Fields, message: &Message) {
    put(fields, "grasp.type", message.message_type());
    if let Some(session) = message.session() {
        put(fields, "grasp.session_id", session);
    }
    match &message.body {
        Body::Discovery { initiator: address, objective: one, .. } => {
            initiator(fields, *address);
            objective(fields, one);
        }
        Body::Response(response) => {
            initiator(fields, response.initiator);
            put(fields, "grasp.ttl", response.ttl);
            for option in &response.options {
                match option {
                    WireOption::Locator(one) => locator(fields, one),
                    WireOption::Divert(several) => several.iter().for_each(|one| locator(fields, one)),
                    WireOption::Other(_) => {}
                }
            }
            response.objective.iter().for_each(|one| objective(fields, one));
        }
        Body::RequestNegotiate(step)
        | Body::RequestSynchronize(step)
        | Body::Negotiate(step)
        | Body::Synch(step) => objective(fields, &step.objective),
        Body::End { outcome: Outcome::Decline(Some(reason)), .. } => put(fields, "grasp.reason", reason),
        Body::Wait { time, .. } => put(fields, "grasp.waiting_time", time),
        Body::Flood(Flood { initiator: address, ttl, objectives, .. }) => {
            initiator(fields, *address);
            put(fields, "grasp.ttl", ttl);
            for (one, place) in objectives {
                objective(fields, one);
                place.iter().for_each(|place| locator(fields, place));
            }
        }
        Body::Invalid { content: Some(content), .. } => put(fields, "grasp.content", notation(content)),
        _ => {}
    }
}

/// What tshark escapes in its own way, and what separates its values.
fn is_written_otherwise(character: char) -> bool {
    !(character.is_alphanumeric() || character == ' ' || character.is_ascii_graphic())
        || "\\|".contains(character)
}

/// Where it begins to write numbers with an exponent is up to a language.
fn has_exponent(text: &str) -> bool {
    text.as_bytes()
        .windows(3)
        .any(|it| it[0].is_ascii_digit() && it[1] == b'e' && (it[2].is_ascii_digit() || it[2] == b'-'))
}

/// Compares what the dissector shows of every packet with what the library says of the messages in it: all fields
/// of a message that is right, type and session of one that is not, and which of them that is.
pub(crate) fn compare(capture: &Path, records: &[Record]) {
    let mut names = FIELDS.to_vec();
    names.extend(["grasp.malformed", "grasp.truncated", "tcp.analysis.retransmission"]);
    let mut packets: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
    for record in records {
        packets.entry(record.frame).or_default().push(record);
    }
    for (number, columns) in tshark::fields(capture, &names) {
        let in_it = packets.remove(&number).unwrap_or_default();
        let about = || in_it.iter().map(|record| record.annotation.summary.clone()).collect::<Vec<_>>();
        let [columns @ .., malformed, truncated, sent_again] = columns.as_slice() else { panic!("columns") };
        if in_it.is_empty() && !sent_again.is_empty() {
            // It was shown when it came first, here perhaps on another link.
            continue;
        }
        let is_malformed = in_it.iter().any(|it| it.annotation.message.is_err() && !it.truncated);
        assert_eq!(!malformed.is_empty(), is_malformed, "packet {number}: {:?}", about());
        if in_it.is_empty() && !truncated.is_empty() {
            // The rest of a message that was truncated.
            continue;
        }
        let is_truncated = in_it.iter().any(|record| record.truncated);
        assert_eq!(!truncated.is_empty(), is_truncated, "packet {number}: {:?}", about());
        let mut expected = Fields::new();
        for record in &in_it {
            match &record.annotation.message {
                Ok(message) => expect(&mut expected, message),
                Err(_) => {
                    let Annotation { message_type, session, .. } = &record.annotation;
                    // The dissector has 32 bits for the type: behind a larger one it looks for no session.
                    if message_type.is_some_and(|kind| u32::try_from(kind).is_err()) {
                        continue;
                    }
                    message_type.iter().for_each(|kind| put(&mut expected, "grasp.type", kind));
                    session.iter().for_each(|it| put(&mut expected, "grasp.session_id", it));
                }
            }
        }
        // Of an option that is malformed and forgiven, the dissector shows the parts that are right.
        let is_spoiled = in_it.iter().any(|record| !record.annotation.problems.is_empty());
        let compared = if is_spoiled { 2 } else { FIELDS.len() };
        for (name, found) in FIELDS.iter().zip(columns).take(compared) {
            let expected = expected.remove(name).unwrap_or_default();
            let is_otherwise = |text: &String| text.contains(is_written_otherwise) || has_exponent(text);
            if expected.iter().chain(found).any(is_otherwise) {
                continue;
            }
            assert_eq!(found, &expected, "{name} of packet {number}: {:?}", about());
        }
    }
    assert!(packets.is_empty(), "packets that tshark does not have: {packets:?}");
}

/// Datagrams in a capture, for both.
fn compare_datagrams(messages: &[Vec<u8>]) -> Vec<Record> {
    let ethernet = |message: &Vec<u8>| [&[2; 12][..], &[0x86, 0xdd], &datagram(50000, message)].concat();
    let file = pcap(ETHERNET, &messages.iter().map(ethernet).collect::<Vec<_>>());
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("datagrams.pcap");
    std::fs::write(&path, &file).expect("a file");
    let (records, _) = records(&file, &Options::default());
    assert_eq!(records.len(), messages.len());
    compare(&path, &records);
    records
}

#[test]
#[ignore = "needs tshark"]
fn the_dissector_shows_every_vector_as_it_is() {
    let all: Vec<Vec<u8>> = vectors().into_iter().map(|(_, bytes)| bytes).collect();
    let records = compare_datagrams(&all);
    assert!(records.iter().all(|record| record.annotation.message.is_ok()));
}

/// Thousands of them: no Lua error, bounded time, and the same verdict on each as the decoder's.
#[test]
#[ignore = "needs tshark"]
fn the_dissector_agrees_with_the_decoder_on_random_and_spoiled_messages() {
    let all = vectors();
    let mut random = fastrand::Rng::with_seed(8990);
    let spoiled = |random: &mut fastrand::Rng| {
        let mut bytes = all[random.usize(..all.len())].1.clone();
        for _ in 0..random.usize(1..4) {
            let place = random.usize(..bytes.len());
            match random.u8(..10) {
                0..6 => bytes[place] = random.u8(..),
                6..8 => bytes.truncate(place.max(1)),
                _ => bytes.insert(place, random.u8(..)),
            }
        }
        bytes
    };
    let messages: Vec<Vec<u8>> = (0..5000)
        .map(|number| match number % 5 {
            0 => std::iter::repeat_with(|| random.u8(..)).take(1 + number % 90).collect(),
            _ => spoiled(&mut random),
        })
        .collect();
    let deep = [vec![0x81; 1000], vec![0x9f; 1000], vec![0xc1; 1000], [0xd8, 24].repeat(400)];
    let records = compare_datagrams(&[messages, deep.to_vec()].concat());
    let right = records.iter().filter(|record| record.annotation.message.is_ok()).count();
    assert!((100..4900).contains(&right), "{right}");
}
