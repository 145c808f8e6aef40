//! Inputs to begin with, made from the recorded messages in `vectors/`.

use serde::Deserialize;

#[derive(Deserialize)]
struct Vector {
    hex: String,
}

/// The recorded messages.
#[must_use]
pub fn messages() -> Vec<Vec<u8>> {
    let files = [
        include_str!("../../vectors/rfc8990-examples.json"),
        include_str!("../../vectors/graspy-captured.json"),
        include_str!("../../vectors/other-sources.json"),
    ];
    let mut messages: Vec<_> = files
        .iter()
        .flat_map(|text| serde_json::from_str::<Vec<Vector>>(text).expect("vectors are JSON"))
        .map(|vector| bytes(&vector.hex))
        .collect();
    messages.sort();
    messages.dedup();
    messages
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    digits.map(byte).collect()
}

/// The inputs that a target begins with.
#[must_use]
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let messages = messages();
    let with = |head: &[u8], message: &[u8]| [head, message].concat();
    match target {
        "decode" => messages.iter().flat_map(|m| [with(&[0], m), with(&[0x40], m)]).collect(),
        "quads" => messages
            .iter()
            .flat_map(|m| [with(&[0, 6, 1], m), with(&[0, 16, 2], m), with(&[0, 3, 3], m)])
            .collect(),
        "reader" => {
            let both: Vec<_> = messages.windows(2).map(<[Vec<u8>]>::concat).collect();
            let heads = [[0, 0, 1], [0, 1, 9], [0, 0b0_1010, 200], [0, 0b1_0111, 30], [3, 0b0_0110, 5]];
            both.iter().zip(heads.iter().cycle()).map(|(stream, head)| with(head, stream)).collect()
        }
        // What an input means is not in its bytes: random ones do as well as any.
        "handlers" => (0..40).map(|seed| noise(seed, 1500)).collect(),
        _ => Vec::new(),
    }
}

/// So many bytes that are the same for the same seed.
#[must_use]
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}
