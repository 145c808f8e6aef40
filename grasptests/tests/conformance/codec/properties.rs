//! What holds for any message, any value and any bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use grasp::wire::{
    self, Body, DecodeError, Flags, Flood, ItemScanner, Limits, Message, Outcome, Progress, Response, Step,
    WireLocator, WireObjective, WireOption,
};
use grasp::{Locator, Protocol, Value};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Any value that decoding can give: no integer beyond 64 bits, no simple value that has another name, no
/// NaN (which equals nothing).
pub(super) fn value() -> impl Strategy<Value = Value> {
    let float = prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO;
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(Value::Undefined),
        any::<bool>().prop_map(Value::Bool),
        (-(1i128 << 64)..1 << 64).prop_map(Value::Integer),
        (-300i128..300).prop_map(Value::Integer),
        (float | prop::num::f64::INFINITE).prop_map(Value::Float),
        any::<f32>().prop_filter("NaN", |number| !number.is_nan()).prop_map(|n| Value::Float(f64::from(n))),
        vec(any::<u8>(), 0..30).prop_map(Value::Bytes),
        vec(any::<u8>(), 0..30).prop_map(Value::EncodedCbor),
        ".{0,20}".prop_map(Value::Text),
        prop_oneof![0u8..20, 32u8..].prop_map(Value::Simple),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Array),
            vec((inner.clone(), inner.clone()), 0..4).prop_map(Value::Map),
            (any::<u64>(), inner)
                .prop_filter("tag 24 around bytes is an embedded item", |(tag, value)| {
                    *tag != 24 || !matches!(value, Value::Bytes(_))
                })
                .prop_map(|(tag, value)| Value::Tag(tag, Box::new(value))),
        ]
    })
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).into()),
    ]
}

fn locator() -> impl Strategy<Value = WireLocator> {
    let protocol = || prop_oneof![Just(Protocol::Tcp), any::<u64>().prop_map(Protocol::from_number)];
    let place = prop_oneof![address().prop_map(Locator::from), ".{0,20}".prop_map(Locator::Fqdn)];
    prop_oneof![
        (place, protocol(), any::<u16>()).prop_map(|(locator, protocol, port)| WireLocator {
            locator,
            protocol: Some(protocol),
            port: Some(port)
        }),
        (".{0,20}", option::of(protocol()), option::of(any::<u16>()))
            .prop_map(|(uri, protocol, port)| WireLocator { locator: Locator::Uri(uri), protocol, port }),
    ]
}

fn objective_with(value: impl Strategy<Value = Option<Value>>) -> impl Strategy<Value = WireObjective> {
    (".{1,20}", any::<u64>(), any::<u8>(), value).prop_map(|(name, flags, loop_count, value)| WireObjective {
        name,
        flags: Flags(flags),
        loop_count,
        value,
    })
}

fn objective() -> impl Strategy<Value = WireObjective> {
    objective_with(value().prop_map(Some))
}

fn bare_or_not() -> impl Strategy<Value = WireObjective> {
    objective_with(option::of(value()))
}

/// An option from the future.
fn unknown_option() -> impl Strategy<Value = Value> {
    (107..1u64 << 40, vec(value(), 0..3)).prop_map(|(kind, mut items)| {
        items.insert(0, Value::from(kind));
        Value::Array(items)
    })
}

/// What may stand behind the elements of a message, or between the options of a response.
fn stray() -> impl Strategy<Value = Value> {
    let scalar = value().prop_filter("no array", |value| value.as_array().is_none());
    prop_oneof![unknown_option(), scalar]
}

fn response() -> impl Strategy<Value = Message> {
    let usable = prop_oneof![
        locator().prop_map(WireOption::Locator),
        vec(locator(), 1..4).prop_map(WireOption::Divert)
    ];
    let option = prop_oneof![usable.clone().boxed(), stray().prop_map(WireOption::Other).boxed()];
    let objective = option::of((bare_or_not(), vec(stray(), 0..3)));
    (any::<u32>(), address(), any::<u32>(), vec(option, 0..3), usable, objective).prop_map(
        |(session, initiator, ttl, mut options, usable, objective)| {
            options.push(usable);
            let (objective, extra) = objective.map_or((None, Vec::new()), |(one, extra)| (Some(one), extra));
            Message { body: Body::Response(Response { session, initiator, ttl, options, objective }), extra }
        },
    )
}

pub(super) fn message() -> impl Strategy<Value = Message> {
    let step = || (any::<u32>(), objective()).prop_map(|(session, objective)| Step { session, objective });
    let outcome = prop_oneof![Just(Outcome::Accept), option::of(".{0,20}").prop_map(Outcome::Decline)];
    let body = prop_oneof![
        Just(Body::Noop),
        (any::<u32>(), address(), bare_or_not())
            .prop_map(|(session, initiator, objective)| Body::Discovery { session, initiator, objective }),
        step().prop_map(Body::RequestNegotiate),
        (any::<u32>(), bare_or_not())
            .prop_map(|(session, objective)| Body::RequestSynchronize(Step { session, objective })),
        step().prop_map(Body::Negotiate),
        step().prop_map(Body::Synch),
        (any::<u32>(), outcome).prop_map(|(session, outcome)| Body::End { session, outcome }),
        (any::<u32>(), any::<u32>()).prop_map(|(session, time)| Body::Wait { session, time }),
        (any::<u32>(), value())
            .prop_map(|(session, content)| Body::Invalid { session, content: Some(content) }),
        (10u64..99, any::<u32>())
            .prop_map(|(message_type, session)| Body::Unknown { message_type, session: Some(session) }),
    ];
    let flood = (
        (any::<u32>(), address(), any::<u32>(), vec((objective(), option::of(locator())), 1..4)),
        vec(unknown_option(), 0..3),
    )
        .prop_map(|((session, initiator, ttl, objectives), extra)| Message {
            body: Body::Flood(Flood { session, initiator, ttl, objectives }),
            extra,
        });
    prop_oneof![
        8 => (body, vec(stray(), 0..3)).prop_map(|(body, extra)| Message { body, extra }),
        2 => response(),
        2 => flood,
        1 => any::<u32>().prop_map(|session| Body::Invalid { session, content: None }.into()),
        1 => (100u64.., vec(".{0,5}".prop_map(Value::Text), 0..3)).prop_map(|(message_type, extra)| {
            Message { body: Body::Unknown { message_type, session: None }, extra }
        }),
    ]
}

const ROOMY: Limits = Limits { size: 1 << 20, depth: 32 };

fn scan(bytes: &[u8], limits: Limits) -> Result<Progress, DecodeError> {
    ItemScanner::new(limits).feed(bytes)
}

/// What the value holds on the heap.
fn footprint(value: &Value) -> usize {
    match value {
        Value::Bytes(bytes) | Value::EncodedCbor(bytes) => bytes.capacity(),
        Value::Text(text) => text.capacity(),
        Value::Array(items) => {
            items.capacity() * size_of::<Value>() + items.iter().map(footprint).sum::<usize>()
        }
        Value::Map(pairs) => {
            let inside = pairs.iter().map(|(key, value)| footprint(key) + footprint(value));
            pairs.capacity() * size_of::<(Value, Value)>() + inside.sum::<usize>()
        }
        Value::Tag(_, value) => size_of::<Value>() + footprint(value),
        _ => 0,
    }
}

/// Whatever the bytes are: no panic, scanner and decoder agree, and little is allocated.
fn judge(bytes: &[u8]) {
    let scanned = scan(bytes, ROOMY);
    let mut scanner = ItemScanner::new(ROOMY);
    let piecemeal = bytes.iter().map(|byte| scanner.feed(&[*byte])).last();
    if let Some(piecemeal) = piecemeal {
        assert_eq!(piecemeal, scanned);
    }
    let decoded = Value::decode(bytes);
    match &scanned {
        Ok(Progress::Complete(length)) if *length == bytes.len() => {
            // The decoder alone knows of UTF-8.
            let text = Err(DecodeError::Malformed { what: "text is not UTF-8" });
            assert!(decoded.is_ok() || decoded == text, "{decoded:?}");
        }
        Ok(Progress::Complete(_)) => assert!(decoded.is_err()),
        Ok(Progress::Incomplete) => assert_eq!(decoded, Err(DecodeError::Truncated)),
        Err(_) => {}
    }
    if let Ok(value) = &decoded {
        let bound = 70 * bytes.len();
        assert!(footprint(value) <= bound, "{} of {bound} for {value}", footprint(value));
        assert_eq!(Value::decode(&value.encode()).map(|again| again.to_string()), Ok(value.to_string()));
        let _ = value.deserialize::<Value>();
    }
    match (wire::decode_prefix(bytes, &ROOMY), scanned) {
        (Ok((message, length)), scanned) => {
            assert_eq!(scanned, Ok(Progress::Complete(length)));
            // What was understood can be said again.
            let again = wire::encode(&message);
            let again = wire::decode(&again, &ROOMY).expect("what was encoded");
            assert_eq!(again.message_type(), message.message_type());
            assert_eq!(again.session(), message.session());
        }
        (Err(error), Err(scanned)) => assert_eq!(error, scanned),
        (Err(error), Ok(Progress::Incomplete)) => assert_eq!(error, DecodeError::Truncated),
        (Err(_), Ok(Progress::Complete(_))) => {}
    }
    let _ = wire::with_loop_count(bytes, 3);
    let _ = Value::from_python_bytes(bytes.to_vec());
}

pub(super) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn what_a_value_prints_is_read_back(value in value()) {
        let read: Value = value.to_string().parse().expect("it is diagnostic notation");
        prop_assert!(read.is_identical_to(&value), "{value} was read as {read}");
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-+0-9a-fhxE.eNI{}\\[\\]()<>,:'\"/#_ \\\\u\n]{0,40}|.{0,40}") {
        match text.parse::<Value>() {
            Ok(value) => prop_assert!(value.to_string().parse::<Value>().is_ok_and(|same| same.is_identical_to(&value))),
            Err(error) => prop_assert!(error.position() <= text.len(), "{error}"),
        }
    }


    #[test]
    fn a_message_decodes_to_itself(message in message()) {
        let bytes = wire::encode(&message);
        prop_assert_eq!(wire::decode(&bytes, &ROOMY), Ok(message.clone()));
        prop_assert_eq!(scan(&bytes, ROOMY), Ok(Progress::Complete(bytes.len())));
        prop_assert_eq!(Value::decode(&bytes).map(|value| value.encode()), Ok(bytes.clone()), "preferred form");
        let relayed = wire::with_loop_count(&bytes, 77);
        let expected = match message {
            Message { body: Body::Discovery { session, initiator, mut objective }, extra } => {
                objective.loop_count = 77;
                Some(Message { body: Body::Discovery { session, initiator, objective }, extra })
            }
            Message { body: Body::Flood(mut flood), extra } => {
                flood.objectives[0].0.loop_count = 77;
                Some(Message { body: Body::Flood(flood), extra })
            }
            _ => None,
        };
        prop_assert_eq!(relayed, expected.map(|message| wire::encode(&message)));
    }

    #[test]
    fn a_value_decodes_to_itself(value in value()) {
        let bytes = value.encode();
        prop_assert_eq!(Value::decode(&bytes), Ok(value.clone()));
        let printed = value.to_string();
        prop_assert!(!printed.chars().any(char::is_control));
        judge(&bytes);
    }

    #[test]
    fn floats_survive(bits in any::<u64>(), exponent in 0u64..2048) {
        // The exponents at which the formats meet are rare among random bits.
        for bits in [bits, bits & !(0x7ff << 52) | exponent << 52, (bits & !(0x7ff << 52) | exponent << 52) & !0 << 42] {
            let number = f64::from_bits(bits);
            let bytes = Value::Float(number).encode();
            let Ok(Value::Float(again)) = Value::decode(&bytes) else { panic!("{bytes:02x?}") };
            prop_assert!(again.to_bits() == bits || number.is_nan() && again.is_nan());
        }
    }

    #[test]
    fn an_objective_survives_the_api(objective in objective()) {
        let objective = WireObjective { flags: Flags(objective.flags.0 & 15), ..objective };
        prop_assert_eq!(WireObjective::from_objective(&objective.to_objective()), objective);
    }

    #[test]
    fn two_messages_in_a_stream_are_separated(first in message(), second in message(), cut in any::<usize>()) {
        let (first, second) = (wire::encode(&first), wire::encode(&second));
        let stream = [&first[..], &second].concat();
        let (before, after) = stream.split_at(cut % stream.len());
        let mut scanner = ItemScanner::new(ROOMY);
        scanner.feed(before).expect("well-formed");
        prop_assert_eq!(scanner.feed(after), Ok(Progress::Complete(first.len())));
        scanner.reset();
        prop_assert_eq!(scanner.feed(&stream[first.len()..]), Ok(Progress::Complete(second.len())));
    }

    #[test]
    fn a_limit_of_size_is_kept(message in message(), size in 0usize..200) {
        let bytes = wire::encode(&message);
        let limits = Limits { size, depth: 32 };
        let expected = if bytes.len() <= size { Ok(message) } else { Err(DecodeError::TooLarge { limit: size }) };
        prop_assert_eq!(wire::decode(&bytes, &limits), expected);
        prop_assert_eq!(scan(&bytes, limits).is_ok(), bytes.len() <= size);
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn random_bytes_are_harmless(bytes in vec(any::<u8>(), 0..64)) {
        judge(&bytes);
    }

    /// Heads with small arguments make deeper and longer well-formed items than plain noise.
    #[test]
    fn plausible_bytes_are_harmless(
        pieces in vec(prop_oneof![
            (0u8..8, 0u8..4).prop_map(|(major, count)| vec![major << 5 | count]),
            (0u8..8).prop_map(|major| vec![major << 5 | 31]),
            (0u8..8, 24u8..28, any::<[u8; 2]>()).prop_map(|(major, info, tail)| [&[major << 5 | info], &tail[..]].concat()),
            Just(vec![0xff]),
            Just(vec![0xd8, 24]),
        ], 0..24)
    ) {
        judge(&[&[0x9f], &pieces.concat()[..]].concat());
        judge(&pieces.concat());
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn mutated_messages_are_harmless(
        message in message(),
        changes in vec((any::<usize>(), any::<u8>(), 0u8..4), 1..5),
    ) {
        let mut bytes = wire::encode(&message);
        for (place, byte, kind) in changes {
            let place = place % bytes.len().max(1);
            match kind {
                0 if place < bytes.len() => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                2 if place < bytes.len() => drop(bytes.remove(place)),
                _ => bytes.truncate(place),
            }
        }
        judge(&bytes);
    }
}

#[test]
fn deep_nesting_is_refused() {
    for opening in [&[0x81u8][..], &[0x9f], &[0xa1, 0x00], &[0xbf, 0x00], &[0xc1], &[0xd8, 24]] {
        let bytes = opening.repeat(10_000);
        let limits = Limits { size: 1 << 20, depth: 32 };
        let expected = DecodeError::TooDeep { limit: 32 };
        assert_eq!(wire::decode(&bytes, &limits), Err(expected.clone()));
        assert_eq!(scan(&bytes, limits), Err(expected));
        assert_eq!(Value::decode(&bytes), Err(DecodeError::TooDeep { limit: 128 }));
        assert_eq!(Value::from_python_bytes(bytes.clone()), Value::Bytes(bytes));
    }
}

#[test]
fn the_limit_of_depth_is_the_last_depth_that_passes() {
    let nested = |levels: usize| [&[0x81].repeat(levels)[..], &[0x00]].concat();
    let passes = |levels| {
        !matches!(wire::decode(&nested(levels), &Limits::default()), Err(DecodeError::TooDeep { .. }))
    };
    assert!(passes(32) && !passes(33));
    assert!(Value::decode(&nested(128)).is_ok() && Value::decode(&nested(129)).is_err());
}

/// The deepest value that is accepted needs little stack.
#[test]
fn the_deepest_value_fits_a_small_stack() {
    let work = || {
        let bytes = [&[0xa1, 0x00].repeat(128)[..], &[0x00]].concat();
        let value = Value::decode(&bytes).expect("a value");
        assert_eq!(value.encode(), bytes);
        assert_eq!(value.clone(), value);
        assert_eq!(value.to_string().len(), 128 * 5 + 1);
    };
    let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(work).expect("a thread");
    thread.join().expect("no overflow");
}

/// Declared lengths of exabytes: refused without waiting for them, and without room made for them.
#[test]
fn huge_lengths_are_refused() {
    for major in 2..=5u8 {
        for length in [u64::MAX, u64::MAX >> 1, 1 << 40, 1 << 21] {
            let head = [&[major << 5 | 27], &length.to_be_bytes()[..]].concat();
            assert_eq!(scan(&head, ROOMY), Err(DecodeError::TooLarge { limit: 1 << 20 }), "{major} {length}");
            let message = [&[0x82, 0x07][..], &head].concat();
            assert_eq!(wire::decode(&message, &ROOMY), Err(DecodeError::TooLarge { limit: 1 << 20 }));
            assert!(Value::decode(&head).is_err());
            assert!(Value::EncodedCbor(head).deserialize::<Vec<u8>>().is_err());
        }
    }
}
