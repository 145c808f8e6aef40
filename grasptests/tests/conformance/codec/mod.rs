//! The codec against RFC 8990: vectors from the wire, the shapes of its grammar, values, and properties that
//! hold for any input.

mod annotation;
mod fuzz_regressions;
mod one_pass;
mod properties;
mod quads_vectors;
mod shapes;
mod values;
mod vectors;

use grasp::Value;
use grasp::wire::{self, DecodeError, Limits, Message};

const IP4: &[u8] = &[192, 0, 2, 1];
const IP6: &[u8] = &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Decodes the message that consists of this item.
fn decode(item: &Value) -> Result<Message, DecodeError> {
    wire::decode(&item.encode(), &Limits::default())
}

/// Decodes bytes in hex.
fn decode_hex(hex: &str) -> Result<Message, DecodeError> {
    wire::decode(&bytes(hex), &Limits::default())
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|digit| !digit.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hex digits"))
        .collect()
}
