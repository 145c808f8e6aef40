//! Messages in words: what is right is named, what is wrong is placed, and nothing does harm.

use grasp::Value;
use grasp::wire::{self, Annotation, Limits, annotate};
use proptest::collection::vec;
use proptest::prelude::*;

use super::vectors::vectors;
use super::{IP4, IP6};

fn explained(bytes: &[u8]) -> Annotation {
    annotate(bytes, &Limits::default())
}

/// Diagnostic notation without comments and blanks; strings keep theirs.
fn bare(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                out.push('"');
                while let Some(inside) = characters.next() {
                    out.push(inside);
                    match inside {
                        '\\' => out.extend(characters.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '/' => drop(characters.by_ref().find(|end| *end == '/')),
            blank if blank.is_whitespace() => {}
            other => out.push(other),
        }
    }
    out
}

/// What the annotation should print for a value.
fn opened(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(opened).collect()),
        Value::EncodedCbor(item) => match Value::decode(item) {
            Ok(inside) => Value::Tag(24, Box::new(Value::Tag(u64::MAX, Box::new(opened(&inside))))),
            Err(_) => value.clone(),
        },
        other => other.clone(),
    }
}

#[test]
fn every_vector_is_named_and_keeps_its_diagnostic_notation() {
    for (vector, bytes) in vectors() {
        let name = &vector.name;
        let annotation = explained(&bytes);
        let message = annotation.message.expect(name);
        assert_eq!(annotation.message_type, Some(message.message_type()), "{name}");
        assert_eq!(annotation.session, message.session(), "{name}");
        assert!(
            annotation.problems.iter().all(|problem| problem.forgiven),
            "{name}: {:?}",
            annotation.problems
        );
        assert!(annotation.summary.starts_with(&vector.message), "{name}: {}", annotation.summary);
        assert!(annotation.text.contains(&format!("/ {}", vector.message)), "{name}:\n{}", annotation.text);
        let value = opened(&Value::decode(&bytes).expect(name)).to_string();
        let value = value.replace(&format!("24({}(", u64::MAX), "24(<<").replace("))", ">>)");
        assert_eq!(bare(&annotation.text), bare(&value), "{name}");
        assert!(vector.diag.contains("24(") == annotation.text.contains("24(<<"), "{name}");
    }
}

#[test]
fn a_flood_is_named_element_by_element() {
    let message = cbor!([
        9,
        7,
        IP6,
        1000,
        [["EX1", 13, 6, (Value::from("x").encoded_cbor())], [104, IP4, 6, 22]],
        [["EX2", 5, 255, 1], []]
    ]);
    let annotation = explained(&message.encode());
    for name in [
        "M_FLOOD, to everyone",
        "session identifier",
        "initiator 2001:db8::1",
        "ttl: 1000 ms",
        "objective name",
        "flags: F_DISC F_SYNCH F_NEG_DRY",
        "loop count",
        "value",
        "O_IPv4_LOCATOR",
        "192.0.2.1",
        "TCP",
        "port",
        "no locator",
    ] {
        assert!(annotation.text.contains(&format!(" / {name} /\n")), "{name}:\n{}", annotation.text);
    }
    assert!(annotation.text.contains("24(<<\"x\">>)"), "{}", annotation.text);
    assert_eq!(
        annotation.summary,
        "M_FLOOD session 7 from 2001:db8::1 ttl 1000 ms: \"EX1\" (F_DISC F_SYNCH F_NEG_DRY) loop count 6: \
         24(<<\"x\">>) at 192.0.2.1:22 TCP, \"EX2\" (F_DISC F_SYNCH) loop count 255: 1"
    );
}

/// The place and the reason of what is wrong, for everything that [`wire::decode`] refuses.
#[test]
fn what_is_wrong_is_said_with_its_place() {
    let objective = || cbor!(["E", 3, 6, 1]);
    let long: Vec<Value> = vec![Value::from(0); 3000];
    let cases: Vec<(Vec<u8>, usize, &str)> = vec![
        (vec![], 0, "ends too early"),
        (vec![0x83, 0x07], 2, "an item is missing here"),
        (vec![0x1c], 0, "reserved additional information"),
        (vec![0x81, 0xff], 1, "break without an open item"),
        (vec![0x81, 0x00, 0x00], 2, "1 bytes follow the message"),
        (vec![0x82, 0x05, 0x44, 1, 2], 2, "a string of 4 bytes, 2 are there"),
        (vec![0x82, 0x00, 0x62, 0xc3, 0x28], 2, "text is not UTF-8"),
        (vec![0x9f, 0x00, 0x5f, 0x61, 0x61, 0xff, 0xff], 3, "wrong chunk of a string"),
        (vec![0x9f, 0x00, 0xbf, 0x00, 0xff, 0xff], 2, "map key without a value"),
        (vec![0x81; 40], 32, "nested too deep"),
        (Value::from(1).encode(), 0, "a GRASP message is an array"),
        (cbor!([]).encode(), 0, "no message type"),
        (cbor!(["x"]).encode(), 1, "not a message type"),
        (cbor!([3]).encode(), 2, "session identifier is missing"),
        (cbor!([3, (1i64 << 32), (objective())]).encode(), 2, "not a session identifier"),
        (cbor!([1, 7, (&b"abc"[..]), (objective())]).encode(), 3, "not an initiator"),
        (cbor!([1, 7, IP4, (objective()), (objective())]).encode(), 14, "a second objective"),
        (cbor!([7, 1]).encode(), 3, "waiting time is missing"),
        (cbor!([7, 1, (-1)]).encode(), 3, "not a waiting time"),
        (cbor!([3, 1, 5]).encode(), 3, "not an objective"),
        (cbor!([3, 1, ["", 3, 6, 1]]).encode(), 4, "an objective without a name"),
        (cbor!([3, 1, ["E", (-1), 6, 1]]).encode(), 6, "not objective flags"),
        (cbor!([3, 1, ["E", 3, 256, 1]]).encode(), 7, "not a loop count"),
        (cbor!([3, 1, ["E", 3]]).encode(), 3, "loop count is missing"),
        (cbor!([3, 1, ["E", 3, 6]]).encode(), 3, "the objective has no value"),
        (cbor!([3, 1, ["E", 3, 6, 1, 2]]).encode(), 9, "one element too many"),
        (cbor!([2, 1, IP4, 1]).encode(), 9, "no locator and no divert option"),
        (cbor!([2, 1, IP4, 1, [103, IP4, 6, 1]]).encode(), 19, "no locator and no divert option"),
        (cbor!([6, 1]).encode(), 3, "accept or decline option is missing"),
        (cbor!([6, 1, [101, 1]]).encode(), 6, "one element too many"),
        (cbor!([6, 1, [102, 1]]).encode(), 6, "not a reason"),
        (cbor!([6, 1, [101], [101]]).encode(), 6, "a second outcome"),
        (cbor!([9, 1, IP4, 1]).encode(), 9, "a flood without an objective"),
        (cbor!([9, 1, IP4, 1, [(objective())]]).encode(), 9, "not a pair"),
        (cbor!([9, 1, IP4, 1, [(objective()), 1]]).encode(), 16, "not a locator option or an empty array"),
        (cbor!([9, 1, IP4, 1, [(objective()), ["x", IP4]]]).encode(), 17, "not the type of a locator option"),
        (Value::Array(long).encode(), 2048, "larger than 2048 bytes"),
    ];
    for (bytes, position, what) in cases {
        let annotation = explained(&bytes);
        assert!(annotation.message.is_err(), "{bytes:02x?}");
        let found = annotation.problems.iter().find(|it| it.position == position && it.what.contains(what));
        let found = found.unwrap_or_else(|| panic!("{what} at {position}: {:?}", annotation.problems));
        assert!(!found.forgiven, "{found}");
        assert!(annotation.text.contains(&format!("/ !! {found} /")), "{found}:\n{}", annotation.text);
        assert!(annotation.summary.contains("byte "), "{}", annotation.summary);
    }
}

#[test]
fn what_is_forgiven_is_said_too() {
    let objective = || cbor!(["E", 3, 6, 1]);
    let cases = [
        (cbor!([7, 1, 5, [200, 1]]).encode(), 4, "an option that is not known"),
        (cbor!([7, 1, 5, [101]]).encode(), 4, "an O_ACCEPT option does not belong here"),
        (cbor!([7, 1, 5, 5]).encode(), 4, "an element that does not belong here"),
        (cbor!([2, 1, IP4, (-5), [104, IP4, 6, 1]]).encode(), 8, "a negative ttl"),
        (
            cbor!([2, 1, IP4, 5, [104, IP4, 6, 1], [104, IP4, "9", 1]]).encode(),
            27,
            "not a transport protocol",
        ),
        (cbor!([9, 1, IP4, 1, [(objective()), [104, IP4, (), 1]]]).encode(), 24, "not a transport protocol"),
        (cbor!([9, 1, IP4, 1, [(objective()), [104, IP4, 6, 65_536]]]).encode(), 25, "not a port"),
        (cbor!([9, 1, IP4, 1, [(objective()), [105, IP4, 6, 1]]]).encode(), 19, "text is expected"),
        (cbor!([9, 1, IP4, 1, [(objective()), [103, IP4, 6, 1]]]).encode(), 19, "not an IPv6 address"),
        (cbor!([9, 1, IP4, 1, [(objective()), [104, IP4]]]).encode(), 16, "too few elements"),
        (
            cbor!([5, 1, ["E", 3, 6, (Value::EncodedCbor(vec![0x81]))]]).encode(),
            12,
            "embedded item: ends too early",
        ),
    ];
    for (bytes, position, what) in cases {
        let annotation = explained(&bytes);
        assert!(annotation.message.is_ok(), "{what}");
        let found = annotation.problems.iter().find(|it| it.position == position && it.what.contains(what));
        let found = found.unwrap_or_else(|| panic!("{what} at {position}: {:?}", annotation.problems));
        assert!(found.forgiven, "{found}");
    }
}

#[test]
fn of_a_message_cut_short_is_shown_what_is_there() {
    for (vector, bytes) in vectors() {
        let whole = bare(&explained(&bytes).text);
        for end in 1..bytes.len() {
            let annotation = explained(&bytes[..end]);
            let name = format!("{} cut after {end}", vector.name);
            assert!(annotation.message.is_err(), "{name}");
            assert!(annotation.problems.iter().any(|it| !it.forgiven && it.position <= end), "{name}");
            let part = bare(&annotation.text);
            let (shown, _) = part.split_once("...").unwrap_or_else(|| panic!("{name}: {part}"));
            // Strings are closed and embedded items not opened before they are complete.
            let shown = shown.trim_end_matches(['"', '\'', ',']);
            assert!(whole.starts_with(shown) || shown.contains("24("), "{name}: {shown}\n{whole}");
        }
    }
}

#[test]
fn nothing_that_a_terminal_obeys_comes_through() {
    let hostile = "\u{1b}[2J\u{202e}\u{7f}\r\n/ */";
    for message in [
        cbor!([3, 1, [hostile, 3, 6, hostile]]),
        cbor!([6, 1, [102, hostile]]),
        cbor!([9, 1, IP4, 1, [["E", 5, 6, 1], [106, hostile, (), ()]]]),
        cbor!([99, 1, hostile]),
    ] {
        harmless(&explained(&message.encode()));
    }
}

fn harmless(annotation: &Annotation) {
    let harmful = |character: char| character.is_control() || ('\u{202a}'..='\u{202e}').contains(&character);
    assert!(!annotation.summary.contains(harmful), "{:?}", annotation.summary);
    assert!(!annotation.text.replace('\n', "").contains(harmful), "{:?}", annotation.text);
}

/// What holds whatever the bytes are.
fn sound(bytes: &[u8], limits: &Limits) {
    let annotation = annotate(bytes, limits);
    assert_eq!(annotation.message.is_err(), annotation.problems.iter().any(|it| !it.forgiven));
    assert!(
        annotation.problems.len() <= 65 && annotation.problems.iter().all(|it| it.position <= bytes.len())
    );
    assert!(annotation.summary.chars().count() <= 512 && !annotation.summary.contains('\n'));
    assert!(annotation.text.len() <= 64 * 1024 + 8 * bytes.len(), "{}", annotation.text.len());
    assert!(annotation.text.ends_with('\n'));
    harmless(&annotation);
    if let Ok(message) = wire::decode(bytes, limits) {
        assert_eq!(
            (annotation.message_type, annotation.session),
            (Some(message.message_type()), message.session())
        );
    }
}

#[test]
fn the_most_lines_that_a_message_can_make_stay_within_bounds() {
    let wide = Limits { size: 60_000, depth: usize::MAX };
    let mut nested = vec![0x9f; 127];
    nested.extend([0; 50_000]);
    for bytes in [vec![0x81; 60_000], vec![0x9f; 2048], vec![0xd8; 4000], nested] {
        sound(&bytes, &Limits::default());
        sound(&bytes, &wide);
    }
    // Embedded in each other.
    let mut item = Value::from(1);
    for _ in 0..500 {
        item = item.encoded_cbor();
    }
    sound(&cbor!([5, 1, ["E", 3, 6, item]]).encode(), &wide);
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_explained(bytes in vec(any::<u8>(), 0..300)) {
        sound(&bytes, &Limits::default());
    }

    #[test]
    fn spoiled_messages_are_explained(
        which in any::<prop::sample::Index>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let all = vectors();
        let mut bytes = which.get(&all).1.clone();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        sound(&bytes, &Limits::default());
    }

    /// The reason is known: the decoder never refuses what is found right here.
    #[test]
    fn the_decoder_refuses_nothing_without_a_known_reason(
        which in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let all = vectors();
        let mut bytes = which.get(&all).1.clone();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let annotation = explained(&bytes);
        let unknown = annotation.problems.iter().any(|it| it.what.starts_with("refused: "));
        prop_assert!(!unknown, "{bytes:02x?} {:?}", annotation.problems);
    }
}
