//! Inputs to begin with, made from the recorded messages in `vectors/`.

use grasp::Value;
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
        "ipc" => calls()
            .iter()
            .flat_map(|call| [with(&[1], call), with(&[0], call)])
            .chain([conversation()])
            .collect(),
        // What an input means is not in its bytes: random ones do as well as any.
        "handlers" | "neighbours" => (0..40).map(|seed| noise(seed, 1500)).collect(),
        _ => Vec::new(),
    }
}

/// Calls of a client, one of each kind of argument.
fn calls() -> Vec<Vec<u8>> {
    let map = |pairs: &[(&str, Value)]| {
        Value::Map(pairs.iter().map(|(name, value)| ((*name).into(), value.clone())).collect())
    };
    let list = |items: &[Value]| Value::Array(items.to_vec());
    let ex1 = || list(&["EX1".into(), 3.into(), 6.into(), list(&["NZD".into(), 47.into()])]);
    let ex2 = || list(&["EX2".into(), 5.into(), 6.into(), 1.into()]);
    let locator = || {
        let address = Value::Bytes(std::net::Ipv6Addr::LOCALHOST.octets().to_vec());
        list(&[address, 9.into(), 6.into(), Value::Null, 0.into(), false.into()])
    };
    let session = || list(&[7.into(), Value::Null]);
    let options = map(&[("ttl", 1000.into()), ("rapid", true.into()), ("locators", list(&[locator()]))]);
    let calls: [(&str, Vec<Value>); 14] = [
        ("hello", vec![1.into(), "again".into()]),
        ("register_asa", vec!["a".into()]),
        ("register_asa", vec!["b".into(), 7.into()]),
        ("register_obj", vec![7.into(), ex2(), options]),
        ("register_obj", vec![7.into(), ex1(), map(&[("port", "last".into())])]),
        ("listen_synchronize", vec![7.into(), ex2()]),
        ("listen_negotiate", vec![7.into(), ex1()]),
        ("req_negotiate", vec![7.into(), ex1(), locator(), 50.into()]),
        ("negotiate_step", vec![7.into(), session(), ex1(), 50.into()]),
        ("gsend", vec![7.into(), session(), ex1()]),
        ("discover", vec![7.into(), ex2(), 10.into(), map(&[("enough", 1.into())])]),
        ("flood", vec![7.into(), 1000.into(), list(&[list(&[ex2(), locator()])])]),
        ("trace", vec![4.into()]),
        ("cancel", vec![9.into()]),
    ];
    let call = |(id, (name, arguments)): (i32, &(&str, Vec<Value>))| {
        list(&[vec![id.into(), (*name).into()], arguments.clone()].concat()).encode()
    };
    (1..).zip(&calls).map(call).collect()
}

/// All of them in a row.
fn conversation() -> Vec<u8> {
    [vec![1], calls().into_iter().skip(1).flatten().collect()].concat()
}

/// So many bytes that are the same for the same seed.
#[must_use]
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}
