//! CBOR (RFC 8949): heads, the scanner that finds the end of an item, values, and the conversion between Rust types and
//! CBOR. It has everything that `wire` and `types` need; the only thing it knows of GRASP is why bytes are not a
//! message.
//!
//! Contract: decoding is total, see [`wire`](crate::wire).
#![deny(clippy::as_conversions, clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)]
#![deny(clippy::arithmetic_side_effects)]

pub mod codec;
mod error;
mod framing;
pub(crate) mod head;
pub(crate) mod items;
mod notation;
mod value;

pub use error::{DecodeError, Limits};
pub use framing::{ItemScanner, Progress};
pub use notation::NotationError;
pub use value::Value;
