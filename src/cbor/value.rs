//! The value of an objective: any CBOR item (RFC 8990 §2.10.1).

use std::fmt;
use std::fmt::Write as _;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{self as cbor, SerdeError, VALUE_LIMITS};
use super::{DecodeError, Limits};
use crate::plain::is_harmful;

/// A CBOR data item (RFC 8949). It can hold everything that CBOR can express, and keeps the order of maps.
///
/// Encoding, printing and dropping recurse as deep as the value is nested. A limit bounds the depth of decoded values;
/// an ASA that builds values in a loop must limit the depth itself.
///
/// ```
/// use grasp::Value;
/// let offer = Value::from(vec![Value::from("NZD"), Value::from(47)]);
/// assert_eq!(offer.to_string(), r#"["NZD", 47]"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `null`, Python's `None`.
    #[default]
    Null,
    /// `undefined`.
    Undefined,
    /// `true` or `false`.
    Bool(bool),
    /// An integer between -2^64 and 2^64-1. Outside that range [`encode`](Value::encode) makes a bignum;
    /// received bignums appear as tag 2 or 3.
    Integer(i128),
    /// A floating-point number. Sent in the shortest form that keeps the value.
    Float(f64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A text string.
    Text(String),
    /// An array.
    Array(Vec<Self>),
    /// A map, with its entries in their original order and with keys of any type.
    Map(Vec<(Self, Self)>),
    /// An encoded CBOR item: tag 24 around a byte string (RFC 8949 §3.4.5.1). The bytes need not be valid.
    /// This is how an ASA supplies and receives raw CBOR (RFC 8991 §2.3.2.2).
    EncodedCbor(Vec<u8>),
    /// Any other tag, and the item that it tags.
    Tag(u64, Box<Self>),
    /// Any other simple value (RFC 8949 §3.3). The named ones are variants of their own. CBOR cannot express 24 to 31:
    /// they are sent as `undefined`.
    Simple(u8),
}

impl Value {
    /// The approximate memory use in bytes: an array of small items takes many times its size on the wire.
    pub(crate) fn memory(&self) -> usize {
        let inside = match self {
            Self::Bytes(bytes) | Self::EncodedCbor(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
            Self::Array(items) => items.iter().map(Self::memory).sum(),
            Self::Map(entries) => {
                entries.iter().map(|(key, value)| key.memory().saturating_add(value.memory())).sum()
            }
            Self::Tag(_, tagged) => tagged.memory(),
            Self::Null
            | Self::Undefined
            | Self::Bool(_)
            | Self::Integer(_)
            | Self::Float(_)
            | Self::Simple(_) => 0,
        };
        size_of::<Self>().saturating_add(inside)
    }

    /// The CBOR form of any serializable Rust value.
    ///
    /// # Errors
    /// If CBOR cannot represent `value` (rare), or if it is nested deeper than 128 levels. A retry does not help.
    pub fn from_serialize(value: &(impl Serialize + ?Sized)) -> Result<Self, SerdeError> {
        Ok(Self::decode(&cbor::to_vec(value)?)?)
    }

    /// The value as a Rust type. An embedded item ([`EncodedCbor`](Self::EncodedCbor)) is decoded first; the type gets
    /// its bytes only if the content does not match the type. Tags that the type does not ask for are skipped, too.
    ///
    /// # Errors
    /// If the value does not match the type. A retry does not help.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, SerdeError> {
        let direct = match self {
            Self::EncodedCbor(item) => cbor::from_slice(item),
            _ => cbor::from_slice(&self.encode()),
        };
        direct
            .or_else(|error| match self {
                Self::EncodedCbor(item) => {
                    cbor::from_slice(&Self::Bytes(item.clone()).encode()).map_err(|_| error)
                }
                _ => Err(error),
            })
            .or_else(|error| {
                cbor::from_slice(&self.without_tags(VALUE_LIMITS.depth).encode()).map_err(|_| error)
            })
    }

    /// The same value without tags and with embedded items unpacked, down to `levels` levels. The limit is needed
    /// because embedded items inside each other can make more levels than any single item has.
    fn without_tags(&self, levels: usize) -> Self {
        let Some(levels) = levels.checked_sub(1) else { return self.clone() };
        match self {
            Self::Tag(_, value) => value.without_tags(levels),
            Self::EncodedCbor(item) => match Self::decode(item) {
                Ok(value) => value.without_tags(levels),
                Err(_) => Self::Bytes(item.clone()),
            },
            Self::Array(items) => Self::Array(items.iter().map(|item| item.without_tags(levels)).collect()),
            Self::Map(pairs) => {
                let pair =
                    |(key, value): &(Self, Self)| (key.without_tags(levels), value.without_tags(levels));
                Self::Map(pairs.iter().map(pair).collect())
            }
            other => other.clone(),
        }
    }

    /// The value in CBOR's preferred form (RFC 8949 §4.1).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        cbor::write(&mut out, self);
        out
    }

    /// Whether both have the same encoding. `==` compares numbers; this compares bytes: a NaN is identical to itself,
    /// and 0.0 and -0.0 differ.
    #[must_use]
    pub fn is_identical_to(&self, other: &Self) -> bool {
        self.encode() == other.encode()
    }

    /// Decodes `bytes`, which must be exactly one item, nested no deeper than 128 levels.
    ///
    /// # Errors
    /// [`DecodeError`] if `bytes` are not exactly one well-formed item. A retry with more bytes can help only after
    /// [`DecodeError::Truncated`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        cbor::decode(bytes, &VALUE_LIMITS)
    }

    /// This value, encoded, as an embedded item: tag 24 (RFC 8949 §3.4.5.1).
    #[must_use]
    pub fn encoded_cbor(&self) -> Self {
        Self::EncodedCbor(self.encode())
    }

    /// Decodes the content of an embedded item; `None` if this value is not one.
    #[must_use]
    pub fn embedded(&self) -> Option<Result<Self, DecodeError>> {
        match self {
            Self::EncodedCbor(item) => Some(Self::decode(item)),
            _ => None,
        }
    }

    /// What graspy sends for a Python `bytes` value: an [`EncodedCbor`](Self::EncodedCbor) of all the bytes if they
    /// begin with a CBOR item, otherwise a byte string. Note that `abc` begins with an item and `hello` does not. For
    /// ported ASAs only.
    #[must_use]
    pub fn from_python_bytes(bytes: Vec<u8>) -> Self {
        match cbor::decode_prefix(&bytes, &Limits { size: usize::MAX, ..VALUE_LIMITS }) {
            Ok(_) => Self::EncodedCbor(bytes),
            Err(_) => Self::Bytes(bytes),
        }
    }

    /// The integer, if the value is one and fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => i64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The floating-point number, if the value is one; `None` for integers.
    #[must_use]
    pub const fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The text, if the value is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes of a byte string or of an embedded item.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) | Self::EncodedCbor(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The items, if the value is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The truth value, if the value is one.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Whether it is `null`.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

/// CBOR's diagnostic notation (RFC 8949 §8). Escapes characters that control a terminal or change the order in which
/// text is displayed, so that hostile text is safe to log.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Undefined => f.write_str("undefined"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) if number.is_nan() => f.write_str("NaN"),
            Self::Float(number) if number.is_infinite() => {
                f.write_str(if *number > 0.0 { "Infinity" } else { "-Infinity" })
            }
            // Debug, unlike Display, has a decimal point or an exponent in every number.
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Bytes(bytes) => write_hex(f, bytes),
            Self::Text(text) => write_text(f, text),
            Self::Array(items) => {
                f.write_char('[')?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_char(']')
            }
            Self::Map(pairs) => {
                f.write_char('{')?;
                for (index, (key, value)) in pairs.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_char('}')
            }
            Self::EncodedCbor(item) => {
                f.write_str("24(")?;
                write_hex(f, item)?;
                f.write_char(')')
            }
            Self::Tag(tag, value) => write!(f, "{tag}({value})"),
            Self::Simple(number) => write!(f, "simple({number})"),
        }
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_str("h'")?;
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
    f.write_char('\'')
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(f, "\\{character}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            _ if is_harmful(character) => {
                character.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(f, "\\u{unit:04x}"))?;
            }
            _ => f.write_char(character)?,
        }
    }
    f.write_char('"')
}

macro_rules! from_integer {
    ($($integer:ty)*) => {$(
        impl From<$integer> for Value {
            fn from(number: $integer) -> Self {
                Self::Integer(i128::from(number))
            }
        }
    )*};
}

from_integer!(i8 i16 i32 i64 u8 u16 u32 u64);

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        // No platform has a usize of more than 64 bits.
        Self::Integer(i128::try_from(number).unwrap_or(i128::MAX))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<Self>> for Value {
    fn from(items: Vec<Self>) -> Self {
        Self::Array(items)
    }
}

impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::Null
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
