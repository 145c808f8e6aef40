//! docs/ipc.md says the truth: the bytes of its examples are those that are sent.

use std::net::Ipv6Addr;
use std::time::{Duration, UNIX_EPOCH};

use super::message::{Answer, Request, VERSION};
use super::{Form as _, event, fields};
use crate::cbor::Value;
use crate::error::Error;
use crate::trace::{Event, TraceEvent};
use crate::types::{AsaNonce, Objective, SessionNonce};

/// The examples: each block of bytes behind which every line has a comment.
fn examples() -> Vec<Vec<u8>> {
    let text = include_str!("../../docs/ipc.md");
    let blocks = text.split("```text\n").skip(1).filter_map(|block| block.split("```").next());
    let annotated = blocks.filter(|block| block.lines().all(|line| line.ends_with(" /")));
    let bytes = |block: &str| {
        let digits = block.lines().map(|line| line.split('/').next().unwrap_or_default());
        let digits: Vec<_> = digits.flat_map(str::split_whitespace).collect();
        digits.iter().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    };
    annotated.map(bytes).collect()
}

#[test]
fn the_examples_are_what_is_sent() {
    let asa = AsaNonce(0x1234_5678);
    let objective = Objective { neg: true, ..Objective::new("EX3").with_value(("NZD", 47)).unwrap() };
    let session = SessionNonce { id_value: 7, id_source: Some(Ipv6Addr::LOCALHOST) };
    let time = UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_000);
    let dropped = TraceEvent {
        time,
        monotonic_ms: 4711,
        thread: "_mclisten".into(),
        event: Event::Dropped { reason: "dropped_malformed" },
    };
    let about = fields([
        ("version", VERSION.form()),
        ("program", "0.1.0".form()),
        ("largest_call", 1_048_576_u32.form()),
        ("dull", false.form()),
        ("listen_self", false.form()),
        ("default_timeout", 60_000_u32.form()),
        ("objective_ttl", 600_000_u32.form()),
        ("unicast_size", 2048_u32.form()),
        ("multicast_size", 2048_u32.form()),
        ("multicast_send_size", 1232_u32.form()),
    ]);
    let options = fields([("ttl", 30_000_u32.form()), ("port", "last".form())]);
    let none = || Value::Null;
    let expected = [
        Request::encode(0, "hello", &[VERSION.form(), "thermometer".form()]),
        Answer::Done(about).encode(0),
        Request::encode(1, "register_asa", &["Briggs".form(), none()]),
        Answer::Done(asa.form()).encode(1),
        Request::encode(2, "register_obj", &[asa.form(), objective.form(), options]),
        Answer::Done(none()).encode(2),
        Request::encode(3, "listen_negotiate", &[asa.form(), objective.form()]),
        Answer::Done((session, &objective).form()).encode(3),
        Request::encode(4, "end_negotiate", &[asa.form(), session.form(), true.form(), none()]),
        Answer::Failed(Error::NoSession).encode(4),
        Request::encode(6, "cancel", &[5.into()]),
        Answer::Event { lost: 0, event: event::form(&dropped) }.encode(7),
    ];
    let examples = examples();
    assert_eq!(examples.len(), expected.len());
    for (example, expected) in examples.iter().zip(&expected) {
        assert_eq!(Value::decode(example).unwrap().to_string(), Value::decode(expected).unwrap().to_string());
        assert_eq!(example, expected);
    }
}

/// The calls that the node knows are in the tables.
#[test]
fn every_call_is_described() {
    let text = include_str!("../../docs/ipc.md");
    let calls = include_str!("../api/node.rs");
    let waits = calls.split("fn waits").nth(1).and_then(|rest| rest.split("fn answer").next()).unwrap();
    let names: Vec<_> = waits.split('"').skip(1).step_by(2).collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        assert!(text.contains(&format!("`{name}`")), "{name} is not in docs/ipc.md");
    }
}
