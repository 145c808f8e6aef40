//! QUADS against an independent implementation of PBKDF2 and AES (`grasptests/vectors/quads.json`).
use std::collections::HashMap;

use grasp::wire::{self, Limits};
use grasp::{QuadsKeys, Value};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vector {
    password: String,
    key: String,
    iv: String,
    plain: String,
    sealed: String,
}

impl Vector {
    fn keys(&self) -> QuadsKeys {
        let key = bytes(&self.key).try_into().expect("32 bytes");
        QuadsKeys::from_parts(key, bytes(&self.iv).try_into().expect("16 bytes"))
    }
}

fn vectors() -> Vec<Vector> {
    let path = format!("{}/vectors/quads.json", env!("CARGO_MANIFEST_DIR"));
    let vectors: Vec<Vector> =
        serde_json::from_str(&std::fs::read_to_string(&path).expect(&path)).expect(&path);
    assert!(vectors.len() > 100, "{path}");
    vectors
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| digit.try_into().ok()).expect(hex))
        .collect();
    digits.as_chunks().0.iter().map(|[high, low]| high << 4 | low).collect()
}

#[test]
fn every_password_gives_its_keys() {
    let mut derived = HashMap::new();
    for vector in vectors() {
        let keys = derived
            .entry(vector.password.clone())
            .or_insert_with(|| QuadsKeys::from_password(&vector.password).expect("not empty"));
        assert_eq!(*keys, vector.keys(), "{}", vector.password);
    }
    assert!(derived.len() > 4);
}

#[test]
fn every_vector_is_sealed_and_opened() {
    for vector in vectors() {
        let (keys, plain, sealed) = (vector.keys(), bytes(&vector.plain), bytes(&vector.sealed));
        assert_eq!(keys.seal(&plain), sealed, "{} bytes with {}", plain.len(), vector.password);
        assert_eq!(keys.open(&sealed), Some(plain), "{}", vector.password);
    }
}

#[test]
fn every_vector_that_is_a_message_is_read_from_a_stream() {
    let mut messages = 0;
    for vector in vectors() {
        let (plain, sealed) = (bytes(&vector.plain), bytes(&vector.sealed));
        let mut reader = vector.keys().reader(Limits::default());
        let result = reader.feed(&sealed);
        if Value::decode(&plain).is_ok() {
            let opened = result.expect("it decodes").expect("it is complete");
            assert_eq!((&opened.message, opened.rest.len()), (&plain, 0));
            messages += usize::from(wire::decode(&opened.message, &Limits::default()).is_ok());
        } else if let Ok(Some(opened)) = result {
            // Random bytes, the first of which happen to announce text of the right length.
            assert_eq!(opened.message, plain);
        }
    }
    assert!(messages > 5, "the examples of RFC 8990 are among them: {messages}");
}
