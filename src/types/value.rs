//! The value of an objective: any CBOR item (RFC 8990 §2.10.1).

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::cbor;

/// A CBOR data item (RFC 8949). What the wire can say, this can hold; the order of a map is kept.
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
    /// A map, in its own order, with whatever keys it has.
    Map(Vec<(Self, Self)>),
    /// An encoded CBOR item: tag 24 around a byte string (RFC 8949 §3.4.5.1). The bytes need not be valid.
    /// This is how an ASA supplies and receives raw CBOR (RFC 8991 §2.3.2.2).
    EncodedCbor(Vec<u8>),
    /// Any other tag and what it tags.
    Tag(u64, Box<Self>),
    /// Any other simple value (RFC 8949 §3.3).
    Simple(u8),
}
