//! CBOR (RFC 8949): heads, the scanner that finds where an item ends, values, and the way between Rust types and them.
//! Everything that `wire` and `types` need of it; nothing of GRASP but the reasons why bytes are no message.
//!
//! Contract: decoding is total, see [`wire`](crate::wire).
#![deny(clippy::as_conversions, clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)]
#![deny(clippy::arithmetic_side_effects)]

pub mod codec;
mod error;
mod framing;
pub(crate) mod head;
mod notation;
mod value;

pub use error::{DecodeError, Limits};
pub use framing::{ItemScanner, Progress};
pub use notation::NotationError;
pub use value::Value;
