//! What the programs of a node do: `grasp`, and what became verbs of it, `grasp-decode` and `quadsmaker`. A part of the library,
//! so that other programs, such as a prompt, do the same by the same code. Not needed by ASAs.

pub mod decode;
pub mod keys;

/// A text from the network, with what a terminal would obey made visible.
#[must_use]
pub fn plain(text: &str) -> String {
    // As CBOR's diagnostic notation has it, but without its quotation marks.
    let quoted = crate::Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(&quoted).to_owned()
}
