//! [`Value`]: the examples of RFC 8949, conversions, and the bridge to serde.

use std::collections::BTreeMap;
use std::error::Error as _;

use grasp::Value;
use grasp::wire::{ItemScanner, Limits, Progress};
use serde::{Deserialize, Serialize};

use super::bytes;

/// Examples of RFC 8949, appendix A: bytes in preferred form and diagnostic notation.
const EXAMPLES: &[(&str, &str)] = &[
    ("00", "0"),
    ("17", "23"),
    ("1818", "24"),
    ("1b000000e8d4a51000", "1000000000000"),
    ("1bffffffffffffffff", "18446744073709551615"),
    ("c249010000000000000000", "2(h'010000000000000000')"),
    ("3bffffffffffffffff", "-18446744073709551616"),
    ("20", "-1"),
    ("3903e7", "-1000"),
    ("f90000", "0.0"),
    ("f98000", "-0.0"),
    ("fb3ff199999999999a", "1.1"),
    ("f97bff", "65504.0"),
    ("fb7e37e43c8800759c", "1e300"),
    ("f9c400", "-4.0"),
    ("f97c00", "Infinity"),
    ("f97e00", "NaN"),
    ("f9fc00", "-Infinity"),
    ("f4", "false"),
    ("f5", "true"),
    ("f6", "null"),
    ("f7", "undefined"),
    ("f0", "simple(16)"),
    ("f8ff", "simple(255)"),
    ("c11a514b67b0", "1(1363896240)"),
    ("d818456449455446", "24(h'6449455446')"),
    ("40", "h''"),
    ("4401020304", "h'01020304'"),
    ("60", "\"\""),
    ("62225c", r#""\"\\""#),
    ("62c3bc", "\"ü\""),
    ("64f0908591", "\"𐅑\""),
    ("83018202039a00000002040 5", "[1, [2, 3], [4, 5]]"),
    ("a201020304", "{1: 2, 3: 4}"),
    ("a26161016162820203", "{\"a\": 1, \"b\": [2, 3]}"),
    ("a2 01 02 01 03", "{1: 2, 1: 3}"),
];

#[test]
fn examples_of_rfc_8949() {
    for (hex, diagnostic) in EXAMPLES {
        let value = Value::decode(&bytes(hex)).expect(hex);
        assert_eq!(value.to_string(), *diagnostic);
        if !hex.contains(' ') {
            assert_eq!(value.encode(), bytes(hex), "{diagnostic}");
        }
    }
    for (hex, diagnostic) in [
        ("5f42010243030405ff", "h'0102030405'"),
        ("7f657374726561646d696e67ff", "\"streaming\""),
        ("9fff", "[]"),
        ("bf61610161629f0203ffff", "{\"a\": 1, \"b\": [2, 3]}"),
        ("fa47c35000", "100000.0"),
        ("fb7ff8000000000000", "NaN"),
        ("d8185f4100ff", "24(h'00')"),
    ] {
        assert_eq!(Value::decode(&bytes(hex)).expect(hex).to_string(), diagnostic);
    }
}

#[test]
fn malformed_items() {
    for hex in ["ff", "1c", "81", "61", "62c328", "f818", "bf01ff", "5f01ff", "7f4100ff", "c0ff", "0000", ""]
    {
        assert!(Value::decode(&bytes(hex)).is_err(), "{hex}");
    }
}

/// The examples of RFC 8949, appendix F.1: each is too short or not well-formed, to the decoder as to the
/// scanner.
#[test]
fn not_well_formed_examples_of_rfc_8949() {
    let short = [
        "18",
        "19",
        "1a",
        "1b",
        "1901",
        "1a0102",
        "1b01020304050607",
        "38",
        "58",
        "78",
        "98",
        "9a01ff00",
        "b8",
        "d8",
        "f8",
        "f900",
        "fa0000",
        "fb000000",
        "41",
        "61",
        "5affffffff00",
        "5bffffffffffffffff010203",
        "7affffffff00",
        "7b7fffffffffffffff010203",
        "81",
        "818181818181818181",
        "8200",
        "a1",
        "a20102",
        "a100",
        "a2000000",
        "c0",
        "5f4100",
        "7f6100",
        "9f",
        "9f0102",
        "bf",
        "bf01020102",
        "819f",
        "9f8000",
        "9f9f9f9f9fffffffff",
        "9f819f819f9fffffff",
    ];
    let wrong = [
        "1c",
        "1d",
        "1e",
        "3c",
        "3d",
        "3e",
        "5c",
        "5d",
        "5e",
        "7c",
        "7d",
        "7e",
        "9c",
        "9d",
        "9e",
        "bc",
        "bd",
        "be",
        "dc",
        "dd",
        "de",
        "fc",
        "fd",
        "fe",
        "f800",
        "f801",
        "f818",
        "f81f",
        "5f00ff",
        "5f21ff",
        "5f6100ff",
        "5f80ff",
        "5fa0ff",
        "5fc000ff",
        "5fe0ff",
        "7f4100ff",
        "5f5f4100ffff",
        "7f7f6100ffff",
        "ff",
        "81ff",
        "8200ff",
        "a1ff",
        "a1ff00",
        "a100ff",
        "a20000ff",
        "9f81ff",
        "9f829f819f9fffffffff",
        "bf00ff",
        "bf000000ff",
        "1f",
        "3f",
        "df",
    ];
    let limits = Limits { size: usize::MAX, depth: 128 };
    for hex in short {
        let expected = if hex.contains("ffffffffffffffff") { "too-large" } else { "truncated" };
        assert_eq!(Value::decode(&bytes(hex)).map_err(|error| error.reason()), Err(expected), "{hex}");
        let scanned = ItemScanner::new(limits).feed(&bytes(hex));
        assert!(matches!(scanned, Ok(Progress::Incomplete)) || expected == "too-large", "{hex}");
    }
    for hex in wrong {
        assert_eq!(Value::decode(&bytes(hex)).map_err(|error| error.reason()), Err("malformed"), "{hex}");
        let scanned = ItemScanner::new(limits).feed(&bytes(hex));
        assert_eq!(scanned.map_err(|error| error.reason()), Err("malformed"), "{hex}");
    }
}

/// Whatever a peer sends can be printed on a terminal.
#[test]
fn hostile_text_is_escaped() {
    let text = "\u{1b}[2J\u{7}\r\n\t\0\u{7f}\u{9b}31m\u{202e}\u{2066}\u{200b}\u{feff}\u{e0041}é😀\"\\";
    let printed = Value::from(text).to_string();
    assert_eq!(
        printed,
        "\"\\u001b[2J\\u0007\\r\\n\\t\\u0000\\u007f\\u009b31m\\u202e\\u2066\\u200b\\ufeff\\udb40\\udc41é😀\\\"\\\\\""
    );
    let everything: String = (0..=0x3000).filter_map(char::from_u32).collect();
    assert!(!Value::from(everything).to_string().chars().any(char::is_control));
}

#[test]
fn integers_beyond_64_bits_are_bignums() {
    for (number, hex) in [
        ((1i128 << 64) - 1, "1bffffffffffffffff"),
        (1i128 << 64, "c249010000000000000000"),
        (-(1i128 << 64), "3bffffffffffffffff"),
        (-(1i128 << 64) - 1, "c349010000000000000000"),
        (i128::MAX, "c2507fffffffffffffffffffffffffffffff"),
        (i128::MIN, "c3507fffffffffffffffffffffffffffffff"),
    ] {
        assert_eq!(Value::Integer(number).encode(), bytes(hex), "{number}");
        assert_eq!(Value::decode(&bytes(hex)).expect(hex).encode(), bytes(hex), "{number}");
        let serialized = Value::from_serialize(&Value::Integer(number)).expect(hex);
        assert_eq!(serialized.encode(), bytes(hex), "{number}");
    }
}

#[test]
fn simple_values_that_do_not_exist_are_undefined() {
    for number in 24..=31 {
        assert_eq!(Value::Simple(number).encode(), [0xf7]);
    }
}

#[test]
fn conversions() {
    assert_eq!(Value::from(-7i8).as_i64(), Some(-7));
    assert_eq!(Value::from(u64::MAX).as_i64(), None);
    assert_eq!(Value::from(7usize), Value::Integer(7));
    assert_eq!(Value::from(1.5).as_f64(), Some(1.5));
    assert_eq!(Value::from("a").as_str(), Some("a"));
    assert_eq!(Value::from(String::from("a")), Value::from("a"));
    assert_eq!(Value::from(vec![1u8, 2]).as_bytes(), Some(&[1, 2][..]));
    assert_eq!(Value::from(&[1u8, 2][..]), Value::Bytes(vec![1, 2]));
    assert_eq!(Value::EncodedCbor(vec![0]).as_bytes(), Some(&[0][..]));
    assert_eq!(Value::from(vec![Value::Null]).as_array(), Some(&[Value::Null][..]));
    assert_eq!(Value::from(true).as_bool(), Some(true));
    assert!(Value::from(()).is_null() && Value::from(None::<i32>).is_null());
    assert_eq!(Value::from(Some(7)), Value::Integer(7));
    assert_eq!(Value::from(7).as_str(), None);
}

#[test]
fn python_bytes() {
    for encoded in [&b"abc"[..], b"\0", b"\x83\x01\x02\x03", b"\0junk"] {
        assert_eq!(Value::from_python_bytes(encoded.to_vec()), Value::EncodedCbor(encoded.to_vec()));
    }
    for plain in [&b"hello"[..], b"", b"\xff", b"\x61\xff", &[0x81; 1000]] {
        assert_eq!(Value::from_python_bytes(plain.to_vec()), Value::Bytes(plain.to_vec()));
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Offer {
    currency: String,
    amount: i64,
    rate: Option<f64>,
    kind: Kind,
    names: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Split(u8, u8),
}

fn offer() -> Offer {
    Offer {
        currency: "NZD".into(),
        amount: i64::MIN,
        rate: Some(0.1),
        kind: Kind::Split(1, 2),
        names: BTreeMap::from([("b".into(), u64::MAX), ("a".into(), 0)]),
    }
}

#[test]
fn rust_types_pass_through_values() {
    let value = Value::from_serialize(&offer()).expect("an offer");
    assert_eq!(value.deserialize::<Offer>().expect("an offer"), offer());
    assert_eq!(value.encoded_cbor().deserialize::<Offer>().expect("an offer"), offer());
    let plain = Offer { kind: Kind::Plain, rate: None, ..offer() };
    assert_eq!(
        Value::from_serialize(&plain).and_then(|value| value.deserialize::<Offer>()).expect("one"),
        plain
    );
    assert_eq!(Value::from_serialize("text").expect("text"), Value::from("text"));
    assert_eq!(Value::from_serialize(&("NZD", 47)).expect("a pair"), cbor!(["NZD", 47]));
    assert_eq!(Value::Integer(-(1 << 64)).deserialize::<i128>().expect("a number"), -(1 << 64));
}

#[test]
fn what_does_not_match_is_an_error_with_a_source() {
    let error = Value::from("NZD").deserialize::<i64>().unwrap_err();
    assert!(error.source().is_some(), "{error}");
    assert!(Value::from(300).deserialize::<u8>().is_err());
    assert!(Value::from_serialize(&u128::MAX).is_err());
    assert!(Value::from_serialize(&Value::Simple(99)).is_err());
    assert!(Value::EncodedCbor(vec![0xff]).deserialize::<i64>().is_err());
}

#[test]
fn values_are_serializable_themselves() {
    for (hex, _) in EXAMPLES {
        let value = Value::decode(&bytes(hex)).expect(hex);
        let lossless = match &value {
            Value::Float(number) => !number.is_nan(),
            Value::Undefined | Value::Simple(_) | Value::EncodedCbor(_) => false,
            _ => true,
        };
        if lossless {
            assert_eq!(Value::from_serialize(&value).expect(hex), value);
            assert_eq!(value.deserialize::<Value>().expect(hex), value);
        }
    }
    assert_eq!(Value::from_serialize(&Value::Undefined).expect("null"), Value::Null);
    let embedded = Value::EncodedCbor(vec![0xff]);
    assert_eq!(Value::from_serialize(&embedded).expect("an item"), embedded);
    let nested = Value::from(vec![embedded.clone(), Value::Tag(1, Box::new(cbor!([7])))]);
    assert_eq!(nested.deserialize::<Value>().expect("an item"), nested);
}

/// Tags and embedded items do not stand in the way of a type that knows nothing of them.
#[test]
fn tags_are_looked_through() {
    let set = Value::Tag(258, Box::new(cbor!([1, 2])));
    assert_eq!(set.deserialize::<Vec<u8>>().expect("a list"), [1, 2]);
    let list = Value::from(vec![cbor!("x").encoded_cbor(), Value::Tag(0, Box::new(cbor!("y")))]);
    assert_eq!(list.deserialize::<Vec<String>>().expect("a list"), ["x", "y"]);
    let twice = set.encoded_cbor().encoded_cbor();
    assert_eq!(twice.deserialize::<Vec<u8>>().expect("a list"), [1, 2]);
}

/// Embedded items inside each other are another way to nest deeply.
#[test]
fn embedding_is_followed_a_limited_way() {
    let mut value = cbor!(7);
    for _ in 0..1000 {
        value = value.encoded_cbor();
    }
    assert!(value.deserialize::<i64>().is_err());
}

#[test]
fn embedded_items() {
    let item = cbor!([1, "x"]);
    assert_eq!(item.encoded_cbor(), Value::EncodedCbor(item.encode()));
    assert_eq!(item.encoded_cbor().embedded(), Some(Ok(item.clone())));
    assert_eq!(item.embedded(), None);
    assert!(matches!(Value::EncodedCbor(vec![0, 0]).embedded(), Some(Err(_))));
    assert_eq!(item.encoded_cbor().deserialize::<Value>().expect("the item"), item);
}
