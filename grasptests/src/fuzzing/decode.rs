//! Bytes to messages and back.

use grasp::Value;
use grasp::wire::{self, Body, ItemScanner, Limits, Message, Progress};

use super::{limits, tree};

/// The first byte chooses the limits (its lower half) and the length of the pieces; the others are what arrives.
///
/// The scanner says the same however the bytes are cut, and agrees with the decoder about the end of the item and
/// about everything that is wrong before it. A tree of values becomes the same message, or the same error. What was decoded encodes to what decodes to itself. A relay can
/// change the loop count of every discovery and flood, and changes nothing else.
pub fn decode(input: &[u8]) {
    let Some((&control, bytes)) = input.split_first() else { return };
    let limits = limits(control);
    let ended = scan(bytes, limits, usize::from(control >> 4) + 1);
    let prefix = wire::decode_prefix(bytes, &limits);
    agrees(bytes, &limits);
    match (&ended, &prefix) {
        (Ok(Progress::Complete(end)), Ok((_, length))) => assert_eq!(end, length),
        (Ok(Progress::Complete(_)), Err(error)) => {
            let reason = error.reason();
            let early = ["truncated", "too-large", "too-deep", "trailing-bytes"];
            assert!(!early.contains(&reason), "the scanner found an end, the decoder {reason}");
        }
        (Ok(Progress::Incomplete), found) => {
            assert_eq!(found.as_ref().err().map(wire::DecodeError::reason), Some("truncated"));
        }
        (Err(error), found) => assert_eq!(found.as_ref().err(), Some(error)),
    }
    match wire::decode(bytes, &limits) {
        Ok(message) => {
            let (first, length) = prefix.expect("the whole is its own beginning");
            assert_eq!(length, bytes.len());
            assert_eq!(shown(&message), shown(&first));
            repeats(&message);
            relays(&message, bytes);
        }
        Err(error) if bytes.len() > limits.size => assert_eq!(error.reason(), "too-large"),
        Err(error) => {
            if let Ok((_, length)) = prefix {
                assert!(length < bytes.len());
                assert_eq!(error.reason(), "trailing-bytes");
            }
            assert!(wire::with_loop_count(bytes, 3).is_none_or(|relayed| !relayed.is_empty()));
        }
    }
    values(bytes);
}

/// One pass over the bytes finds what a tree of values becomes, and the same fault.
pub fn agrees(bytes: &[u8], limits: &Limits) {
    let whole = wire::decode(bytes, limits);
    assert_eq!(format!("{whole:?}"), format!("{:?}", tree::decode(bytes, limits)), "{bytes:02x?}");
    let prefix = wire::decode_prefix(bytes, limits);
    assert_eq!(format!("{prefix:?}"), format!("{:?}", tree::decode_prefix(bytes, limits)), "{bytes:02x?}");
}

/// Where the item ends, which must not depend on how it is cut.
fn scan(bytes: &[u8], limits: Limits, piece: usize) -> Result<Progress, wire::DecodeError> {
    let whole = ItemScanner::new(limits).feed(bytes);
    let mut scanner = ItemScanner::new(limits);
    let mut cut = scanner.feed(&[]);
    for piece in bytes.chunks(piece) {
        cut = scanner.feed(piece);
    }
    assert_eq!(cut, whole, "in pieces of {piece}");
    scanner.reset();
    assert_eq!(scanner.feed(bytes), whole, "after a reset");
    whole
}

/// As text, since a number that is none differs from itself.
fn shown(message: &Message) -> String {
    format!("{message:?}")
}

fn repeats(message: &Message) {
    let encoded = wire::encode(message);
    // Where a short URI option got its nulls the encoding is longer than what came.
    let again =
        wire::decode(&encoded, &Limits { size: usize::MAX, depth: 64 }).expect("what is encoded decodes");
    assert_eq!(shown(&again), shown(message));
    assert_eq!(wire::encode(&again), encoded);
}

fn relays(message: &Message, bytes: &[u8]) {
    let mut changed = message.clone();
    let count = match &mut changed.body {
        Body::Discovery { objective, .. } => &mut objective.loop_count,
        Body::Flood(flood) => {
            &mut flood.objectives.first_mut().expect("a flood has an objective").0.loop_count
        }
        _ => {
            assert_eq!(wire::with_loop_count(bytes, 1), None, "{message:?}");
            return;
        }
    };
    for new in [count.wrapping_sub(1), 0, 23, 24, 255] {
        *count = new;
        let relayed = wire::with_loop_count(bytes, new).expect("what was decoded can be relayed");
        assert!(differ_in_one_number(bytes, &relayed), "{bytes:02x?} {relayed:02x?}");
        let received = wire::decode(&relayed, &Limits { size: usize::MAX, depth: 64 }).expect("a message");
        match (&received.body, &message.body) {
            (Body::Discovery { objective, .. }, Body::Discovery { .. }) => {
                assert_eq!(objective.loop_count, new)
            }
            (Body::Flood(flood), Body::Flood(_)) => {
                assert_eq!(flood.objectives.first().map(|(objective, _)| objective.loop_count), Some(new));
            }
            other => panic!("another message: {other:?}"),
        }
    }
}

/// Whether two messages are the same but for one head of an unsigned number, spelled somehow before and in the
/// shortest way afterwards.
fn differ_in_one_number(old: &[u8], new: &[u8]) -> bool {
    let before = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let behind = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    [1, 2, 3, 5, 9].into_iter().any(|length| {
        let same = old.len().saturating_sub(length);
        let shortest = new.len().checked_sub(same).is_some_and(|length| (1..=2).contains(&length));
        shortest && same.saturating_sub(behind) <= before.min(same)
    })
}

/// The same bytes as a value, which an ASA may print or turn into a type of its own.
fn values(bytes: &[u8]) {
    let Ok(value) = Value::decode(bytes) else { return };
    let encoded = value.encode();
    let again = Value::decode(&encoded).expect("what is encoded decodes");
    assert_eq!(format!("{again:?}"), format!("{value:?}"));
    assert_eq!(again.encode(), encoded);
    assert!(!value.to_string().is_empty());
    let _ = value.embedded();
    if let Ok(serde) = value.deserialize::<Value>() {
        let _ = Value::from_serialize(&serde);
    }
    let _ = value.deserialize::<Vec<String>>();
    let _ = value.deserialize::<u64>();
}
