//! grasp-decode and the Wireshark dissector: over the vectors, over captures made by hand and in the lab, and over
//! whatever there may be.

mod by_hand;
mod dissector;
mod files;
mod lab;
mod program;
mod tshark;

use asa_examples::decode::{Options, Record, Report, decode};
use serde_json::Value as Json;

/// All messages of some input.
fn records(input: &[u8], options: &Options) -> (Vec<Record>, Report) {
    let mut records = Vec::new();
    let report = decode(input, options, &mut |record| records.push(record)).expect("it is read");
    (records, report)
}

/// The names and bytes of all vectors.
fn vectors() -> Vec<(String, Vec<u8>)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../grasptests/vectors");
    let mut all = Vec::new();
    for file in ["rfc8990-examples", "graspy-captured", "other-sources"] {
        let text = std::fs::read_to_string(format!("{directory}/{file}.json")).expect(file);
        let list: Vec<Json> = serde_json::from_str(&text).expect(file);
        all.extend(list.iter().map(|one| {
            (one["name"].as_str().expect("a name").to_owned(), bytes(one["hex"].as_str().expect("hex")))
        }));
    }
    assert!(all.len() > 50);
    all
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex")).collect()
}
