//! Converts [`Value`] to bytes and back (RFC 8949), and connects it to serde. This is the only file that names
//! serde_cbor. The value type of serde_cbor loses the order of maps, duplicate keys and simple values; so the wire has
//! its own reader and writer, and serde_cbor serves only the types of the ASA.

use std::error::Error;
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_cbor::tags::{Tagged, current_cbor_tag};

use super::Value;
use super::framing::{ItemScanner, Progress};
use super::head::{self, Major};
use super::items::Items;
use super::{DecodeError, Limits};

/// Why a Rust value could not become CBOR, or CBOR a Rust value.
#[derive(Debug)]
pub struct SerdeError(Cause);

#[derive(Debug)]
enum Cause {
    Serde(serde_cbor::Error),
    Decode(DecodeError),
}

impl fmt::Display for SerdeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value and its type do not match")
    }
}

impl Error for SerdeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Cause::Serde(error) => Some(error),
            Cause::Decode(error) => Some(error),
        }
    }
}

impl From<DecodeError> for SerdeError {
    fn from(error: DecodeError) -> Self {
        Self(Cause::Decode(error))
    }
}

/// Encodes a Rust value as CBOR.
///
/// # Errors
/// If CBOR cannot represent `value`. A retry does not help.
pub fn to_vec(value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, SerdeError> {
    serde_cbor::to_vec(&value).map_err(|error| SerdeError(Cause::Serde(error)))
}

/// Decodes a Rust value from one CBOR item.
///
/// # Errors
/// If `bytes` are not exactly one item, or do not match the type. A retry does not help.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SerdeError> {
    // serde_cbor trusts declared lengths, so it gets only items whose lengths were verified.
    item_length(bytes, &VALUE_LIMITS)?;
    serde_cbor::from_slice(bytes).map_err(|error| SerdeError(Cause::Serde(error)))
}

/// Decodes the first item in `bytes`; returns it with its length.
pub(crate) fn decode_prefix(bytes: &[u8], limits: &Limits) -> Result<(Value, usize), DecodeError> {
    let mut items = Items::new(bytes, limits);
    let before = items.unread();
    match items.value() {
        Some(value) => Ok((value, before.saturating_sub(items.unread()))),
        None => {
            item_length(bytes, limits)?;
            // The scanner finds all other faults.
            Err(DecodeError::malformed("text is not UTF-8"))
        }
    }
}

/// Decodes `bytes`, which must be exactly one item.
pub(crate) fn decode(bytes: &[u8], limits: &Limits) -> Result<Value, DecodeError> {
    match decode_prefix(bytes, limits)? {
        (value, length) if length == bytes.len() => Ok(value),
        _ => Err(DecodeError::TrailingBytes),
    }
}

/// The length of the first item in `bytes`, or what [`decode_prefix`] would say is wrong with it. Faster than that where
/// something is.
pub(crate) fn check_prefix(bytes: &[u8], limits: &Limits) -> Result<usize, DecodeError> {
    item_length(bytes, limits)?;
    decode_prefix(bytes, limits).map(|(_, length)| length)
}

/// The length of the first item in `bytes`. `Ok` means that the item is well-formed and within the limits.
pub(crate) fn item_length(bytes: &[u8], limits: &Limits) -> Result<usize, DecodeError> {
    match ItemScanner::new(*limits).feed(bytes)? {
        Progress::Complete(length) => Ok(length),
        Progress::Incomplete => Err(DecodeError::Truncated),
    }
}

/// Converts a simple value (RFC 8949 §3.3).
pub(crate) const fn simple(number: u8) -> Value {
    match number {
        head::FALSE => Value::Bool(false),
        head::TRUE => Value::Bool(true),
        head::NULL => Value::Null,
        head::UNDEFINED => Value::Undefined,
        _ => Value::Simple(number),
    }
}

/// Appends a value in preferred form (RFC 8949 §4.1). Recurses as deep as the value is nested.
pub(crate) fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => head::put_simple(out, head::NULL),
        Value::Undefined => head::put_simple(out, head::UNDEFINED),
        Value::Bool(false) => head::put_simple(out, head::FALSE),
        Value::Bool(true) => head::put_simple(out, head::TRUE),
        Value::Simple(number) => head::put_simple(out, *number),
        Value::Integer(number) => write_integer(out, *number),
        Value::Float(number) => head::put_float(out, *number),
        Value::Bytes(bytes) => write_bytes(out, bytes),
        Value::Text(text) => write_text(out, text),
        Value::Array(items) => {
            head::put_length(out, Major::Array, items.len());
            items.iter().for_each(|item| write(out, item));
        }
        Value::Map(pairs) => {
            head::put_length(out, Major::Map, pairs.len());
            for (key, value) in pairs {
                write(out, key);
                write(out, value);
            }
        }
        Value::EncodedCbor(bytes) => {
            head::put(out, Major::Tag, TAG_ENCODED_CBOR);
            write_bytes(out, bytes);
        }
        Value::Tag(tag, value) => {
            head::put(out, Major::Tag, *tag);
            write(out, value);
        }
    }
}

/// Appends a byte string.
pub(crate) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    head::put_length(out, Major::Bytes, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends a text string.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    head::put_length(out, Major::Text, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn write_integer(out: &mut Vec<u8>, number: i128) {
    match Integer::from(number) {
        Integer::Unsigned(argument) => head::put(out, Major::Unsigned, argument),
        Integer::Negative(argument) => head::put(out, Major::Negative, argument),
        Integer::Big { tag, bytes } => {
            head::put(out, Major::Tag, tag);
            write_bytes(out, &bytes);
        }
    }
}

/// The forms of an integer (RFC 8949 §3.1, §3.4.3).
enum Integer {
    Unsigned(u64),
    Negative(u64),
    Big { tag: u64, bytes: Vec<u8> },
}

impl From<i128> for Integer {
    fn from(number: i128) -> Self {
        let negative = number < 0;
        // The complement of a negative number is -1 minus the number.
        let magnitude = if negative { !number } else { number };
        match u64::try_from(magnitude) {
            Ok(argument) if negative => Self::Negative(argument),
            Ok(argument) => Self::Unsigned(argument),
            Err(_) => {
                let tag = if negative { TAG_NEGATIVE_BIGNUM } else { TAG_BIGNUM };
                let bytes = magnitude.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
                Self::Big { tag, bytes }
            }
        }
    }
}

/// serde_cbor writes tags and bignums as such; other formats leave the tags out. `undefined` becomes null, the closest
/// that serde has. Other simple values cannot be serialized.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null | Self::Undefined => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(number) => match Integer::from(*number) {
                Integer::Unsigned(number) => serializer.serialize_u64(number),
                Integer::Negative(_) => match i64::try_from(*number) {
                    Ok(number) => serializer.serialize_i64(number),
                    Err(_) => serializer.serialize_i128(*number),
                },
                Integer::Big { tag, bytes } => Tagged::new(Some(tag), AsBytes(&bytes)).serialize(serializer),
            },
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Array(items) => items.serialize(serializer),
            Self::Map(pairs) => {
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                for (key, value) in pairs {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::EncodedCbor(bytes) => {
                Tagged::new(Some(TAG_ENCODED_CBOR), AsBytes(bytes)).serialize(serializer)
            }
            Self::Tag(tag, value) => Tagged::new(Some(*tag), value).serialize(serializer),
            Self::Simple(_) => Err(serde::ser::Error::custom("a simple value cannot be serialized")),
        }
    }
}

struct AsBytes<'a>(&'a [u8]);

impl Serialize for AsBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Keeps tags if the format is serde_cbor's.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CBOR item")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(i128::from(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Integer(i128::from(number)))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u128<E: serde::de::Error>(self, number: u128) -> Result<Value, E> {
        i128::try_from(number).map(Value::Integer).map_err(E::custom)
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.to_vec()))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(bytes))
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Deserialize::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let tag = current_cbor_tag();
        Ok(match (tag, Deserialize::deserialize(deserializer)?) {
            (Some(TAG_ENCODED_CBOR), Value::Bytes(bytes)) => Value::EncodedCbor(bytes),
            (Some(tag), value) => Value::Tag(tag, Box::new(value)),
            (None, value) => value,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(pair) = pairs.next_entry()? {
            map.push(pair);
        }
        Ok(Value::Map(map))
    }
}

/// An encoded CBOR item (RFC 8949 §3.4.5.1).
pub(crate) const TAG_ENCODED_CBOR: u64 = 24;
/// An unsigned bignum (RFC 8949 §3.4.3).
const TAG_BIGNUM: u64 = 2;
/// A negative bignum.
const TAG_NEGATIVE_BIGNUM: u64 = 3;
/// How deep an ASA's values may be nested when they are decoded outside of a message.
pub(crate) const VALUE_LIMITS: Limits = Limits { size: usize::MAX, depth: 128 };
