//! The decoder reads a message in one pass, and finds what a tree of values becomes: for all spellings of CBOR, for elements in wrong
//! places, for bytes that are not well-formed, within all limits.

use grasp::Value;
use grasp::wire::{self, Limits};
use grasptests::fuzzing::agrees;
use proptest::collection::vec;
use proptest::prelude::*;

use super::properties::{cases, message, value};

/// Encodes a value as nobody should: each number, length and string in one of its longer forms, as the choices say.
fn respell(out: &mut Vec<u8>, value: &Value, choices: &mut impl Iterator<Item = u8>) {
    let choice = choices.next().unwrap_or_default();
    match value {
        Value::Integer(number @ 0..) if u64::try_from(*number).is_ok() => {
            head(out, 0, u64::try_from(*number).unwrap_or_default(), choice);
        }
        Value::Bytes(bytes) => string(out, 2, bytes, bytes.len() / 2, choice),
        Value::Text(text) => {
            let middle = text.char_indices().nth(1).map_or(0, |(place, _)| place);
            string(out, 3, text.as_bytes(), middle, choice);
        }
        Value::Array(items) => {
            open(out, 4, items.len(), choice);
            items.iter().for_each(|item| respell(out, item, choices));
            close(out, choice);
        }
        Value::Map(pairs) => {
            open(out, 5, pairs.len(), choice);
            for (key, value) in pairs {
                respell(out, key, choices);
                respell(out, value, choices);
            }
            close(out, choice);
        }
        Value::EncodedCbor(bytes) => {
            head(out, 6, 24, choice);
            string(out, 2, bytes, bytes.len() / 2, choice >> 2);
        }
        Value::Tag(tag, value) => {
            head(out, 6, *tag, choice);
            respell(out, value, choices);
        }
        other => out.extend(other.encode()),
    }
}

/// A head with an argument that may take more bytes than it needs.
fn head(out: &mut Vec<u8>, major: u8, argument: u64, choice: u8) {
    let least = match argument {
        0..24 => 0,
        24..0x100 => 1,
        0x100..0x1_0000 => 2,
        0x1_0000..0x1_0000_0000 => 4,
        _ => 8,
    };
    let length = [0, 0, 0, 0, 1, 2, 4, 8][usize::from(choice % 8)].max(least);
    let bytes = argument.to_be_bytes();
    match length {
        0 => out.push(major << 5 | bytes[7]),
        _ => out.push(major << 5 | [0, 24, 25, 0, 26, 0, 0, 0, 27][length]),
    }
    out.extend(&bytes[8 - length..]);
}

/// A string in one piece or in two.
fn string(out: &mut Vec<u8>, major: u8, bytes: &[u8], middle: usize, choice: u8) {
    if !is_indefinite(choice) {
        head(out, major, bytes.len() as u64, choice);
        return out.extend(bytes);
    }
    out.push(major << 5 | 31);
    let (first, second) = bytes.split_at(middle);
    for piece in [first, second] {
        head(out, major, piece.len() as u64, choice);
        out.extend(piece);
    }
    out.push(0xff);
}

fn open(out: &mut Vec<u8>, major: u8, length: usize, choice: u8) {
    if is_indefinite(choice) {
        out.push(major << 5 | 31);
    } else {
        head(out, major, length as u64, choice);
    }
}

fn close(out: &mut Vec<u8>, choice: u8) {
    if is_indefinite(choice) {
        out.push(0xff);
    }
}

fn is_indefinite(choice: u8) -> bool {
    choice >= 192
}

/// Puts something else into one of the arrays: in place of an element, before it, or nothing.
fn change(tree: &mut Value, path: &[u8], other: Option<Value>, replace: bool) {
    let Value::Array(items) = tree else { return };
    let [place, below @ ..] = path else { return };
    let place = usize::from(*place) % (items.len() + 1);
    if let Some(inner @ Value::Array(_)) = items.get_mut(place)
        && !below.is_empty()
    {
        return change(inner, below, other, replace);
    }
    let end = items.len().min(place + usize::from(replace));
    items.splice(place..end, other);
}

/// What may stand in the wrong place: options and objectives, well-formed or not quite, and other values.
fn stranger() -> impl Strategy<Value = Value> {
    let number =
        prop_oneof![Just(Value::Null), any::<u8>().prop_map(Value::from), Just(Value::from(1_i64 << 40))];
    let place = prop_oneof![
        Just(Value::Bytes(vec![1; 16])),
        Just(Value::Bytes(vec![1; 4])),
        Just(Value::from("EX1")),
        Just(Value::from("")),
        value(),
    ];
    let locator = (0u8..4, vec(number.clone(), 0..4)).prop_map(|(kind, numbers)| {
        let address = |length| Value::Bytes(vec![1; length]);
        let place = [address(16), address(4), Value::from("a.example"), Value::from("coap://a")];
        let head = [Value::from(103 + kind), place[usize::from(kind)].clone()];
        Value::Array(head.into_iter().chain(numbers).collect())
    });
    let other = (99u8..108, vec(place.clone(), 0..2), vec(number.clone(), 0..3)).prop_map(
        |(kind, places, numbers)| {
            Value::Array([Value::from(kind)].into_iter().chain(places).chain(numbers).collect())
        },
    );
    let option = prop_oneof![locator, other];
    let objective = (place, vec(number, 0..4))
        .prop_map(|(name, rest)| Value::Array([name].into_iter().chain(rest).collect()));
    let divert = vec(option.clone(), 0..3)
        .prop_map(|locators| Value::Array([Value::from(100)].into_iter().chain(locators).collect()));
    prop_oneof![2 => option, 1 => objective, 1 => divert, 1 => value(), 1 => any::<i64>().prop_map(Value::from)]
}

fn limits() -> impl Strategy<Value = Limits> {
    let size = prop_oneof![3 => Just(2048usize), 1 => 0usize..80];
    let depth = prop_oneof![3 => Just(32usize), 1 => 0usize..6];
    (size, depth).prop_map(|(size, depth)| Limits { size, depth })
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn every_spelling_of_a_message_decodes_as_its_tree_does(
        message in message(),
        changes in vec((vec(any::<u8>(), 1..4), proptest::option::of(stranger()), any::<bool>()), 0..3),
        choices in vec(any::<u8>(), 0..40),
        spoiled in proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
        limits in limits(),
    ) {
        let mut tree = Value::decode(&wire::encode(&message)).expect("a message is an item");
        for (path, other, replace) in changes {
            change(&mut tree, &path, other, replace);
        }
        let mut bytes = Vec::new();
        respell(&mut bytes, &tree, &mut choices.into_iter());
        if let Some((place, byte)) = spoiled {
            *place.get_mut(&mut bytes) = byte;
        }
        agrees(&bytes, &limits);
    }
}
