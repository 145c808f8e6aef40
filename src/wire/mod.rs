//! Converts bytes to [`Message`] and back (RFC 8990 §2.8 to §2.10, §4). Pure: uses no socket, no lock and no clock.
//!
//! Contract: decoding is total. For any input, it neither panics nor recurses, builds nothing deeper than
//! [`Limits::depth`], and allocates no more than a small multiple of the input: it reads a message in one pass, and
//! makes room for no more items than bytes follow. If that fails, the [`ItemScanner`], which keeps a bounded stack,
//! looks at all bytes and says what is wrong with them. Everything that can be constructed can be encoded. `threads`
//! calls this module for what arrives, `api` and `node` for what is sent.
#![deny(clippy::as_conversions, clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)]
#![deny(clippy::arithmetic_side_effects)]

mod annotate;
mod convert;
mod decode;
mod diagnostic;
mod encode;
mod message;
mod option;
mod patch;
mod summary;

pub use crate::cbor::{DecodeError, ItemScanner, Limits, NotationError, Progress, codec as cbor};
pub use annotate::{Annotation, Sender, annotate, sender};
pub use decode::{decode, decode_prefix};
pub use diagnostic::Problem;
pub use encode::encode;
pub use message::{
    Body, Flags, Flood, Message, Outcome, Response, Step, WireLocator, WireObjective, WireOption,
};
pub use patch::with_loop_count;
