//! Messages from RFC 8990, from graspy and from other sources (`grasptests/vectors`).

use grasp::Value;
use grasp::wire::{self, Body, ItemScanner, Limits, Message, Progress};
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Vector {
    pub(super) name: String,
    pub(super) message: String,
    hex: String,
    pub(super) diag: String,
}

pub(super) fn vectors() -> Vec<(Vector, Vec<u8>)> {
    let mut all = Vec::new();
    for file in ["rfc8990-examples", "graspy-captured", "other-sources"] {
        let path = format!("{}/vectors/{file}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).expect(&path);
        let vectors: Vec<Vector> = serde_json::from_str(&text).expect(&path);
        assert!(!vectors.is_empty(), "{path}");
        all.extend(vectors.into_iter().map(|vector| {
            let bytes = super::bytes(&vector.hex);
            (vector, bytes)
        }));
    }
    all
}

fn decode(bytes: &[u8]) -> Message {
    wire::decode(bytes, &Limits::default()).expect("a valid vector")
}

#[test]
fn every_vector_decodes_to_its_type_and_encodes_to_its_preferred_form() {
    for (vector, bytes) in vectors() {
        let name = &vector.name;
        let message =
            wire::decode(&bytes, &Limits::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(message.type_name(), vector.message, "{name}");
        let encoded = wire::encode(&message);
        assert_eq!(decode(&encoded), message, "{name}");
        // Where a float is wider than it needs to be, the preferred form is shorter than the vector.
        let preferred = Value::decode(&bytes).expect(name).encode();
        assert_eq!(encoded, preferred, "{name}");
        assert!(preferred == bytes || vector.hex.contains("fb"), "{name} is in preferred form already");
    }
}

#[test]
fn the_announcement_in_the_profile_is_its_vector() {
    let profile = include_str!("../../../../docs/domain-profile.md");
    let (_, block) = profile.split_once("\n```text\n85 ").expect("an array of five elements");
    let (block, _) = block.split_once("```").expect("the end of the block");
    let lines = block.lines().map(|line| line.split('#').next().unwrap_or_default());
    let digits = lines.flat_map(str::chars).filter(|character| !character.is_whitespace());
    let printed: String = "85".chars().chain(digits).collect();
    let of_profile = |(vector, _): &(Vector, _)| vector.name == "flood-an-acp-of-the-domain-profile";
    let (_, bytes) = vectors().into_iter().find(of_profile).expect("it is among the others");
    assert_eq!(super::bytes(&printed), bytes);
    assert!(profile.contains(&format!("of {} bytes", bytes.len())));
}

#[test]
fn every_vector_prints_as_its_diagnostic_notation() {
    for (vector, bytes) in vectors() {
        assert_eq!(Value::decode(&bytes).expect(&vector.name).to_string(), vector.diag, "{}", vector.name);
    }
}

#[test]
fn the_scanner_finds_the_end_of_every_vector_however_it_is_cut() {
    for (vector, bytes) in vectors() {
        let name = &vector.name;
        let stream = [&bytes[..], &[0xff, 0x81]].concat();
        for cut in 0..=stream.len() {
            let (first, second) = stream.split_at(cut);
            let mut scanner = ItemScanner::new(Limits::default());
            let expected =
                if cut < bytes.len() { Progress::Incomplete } else { Progress::Complete(bytes.len()) };
            assert_eq!(scanner.feed(first), Ok(expected), "{name}");
            assert_eq!(scanner.feed(second), Ok(Progress::Complete(bytes.len())), "{name}");
        }
        let mut scanner = ItemScanner::new(Limits::default());
        for (position, byte) in stream.iter().enumerate() {
            let expected = if position + 1 < bytes.len() {
                Progress::Incomplete
            } else {
                Progress::Complete(bytes.len())
            };
            assert_eq!(scanner.feed(&[*byte]), Ok(expected), "{name}");
        }
        let taken = wire::decode_prefix(&stream, &Limits::default()).expect(name);
        assert_eq!(taken, (decode(&bytes), bytes.len()), "{name}");
    }
}

#[test]
fn every_beginning_of_a_vector_is_truncated() {
    for (vector, bytes) in vectors() {
        for length in 0..bytes.len() {
            let error = wire::decode(&bytes[..length], &Limits::default()).unwrap_err();
            assert_eq!(error.reason(), "truncated", "{} at {length}", vector.name);
        }
    }
}

#[test]
fn a_relay_changes_nothing_but_the_loop_count() {
    for (vector, bytes) in vectors() {
        let mut message = decode(&bytes);
        let count = match &mut message.body {
            Body::Discovery { objective, .. } => &mut objective.loop_count,
            Body::Flood(flood) => &mut flood.objectives[0].0.loop_count,
            _ => {
                assert_eq!(wire::with_loop_count(&bytes, 1), None, "{}", vector.name);
                continue;
            }
        };
        let before = *count;
        *count = 17;
        let relayed = wire::with_loop_count(&bytes, 17).expect(&vector.name);
        assert_eq!(decode(&relayed), message, "{}", vector.name);
        assert_eq!(wire::with_loop_count(&relayed, before).as_deref(), Some(&bytes[..]), "{}", vector.name);
    }
}
