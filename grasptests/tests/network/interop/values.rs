//! Every kind of value, there and back.

use grasp::Value;
use parking_lot::Mutex;

use crate::interop::pair::{Pair, negotiate};
use crate::interop::side::{How, Reply, Side, negotiable, synchronizable};
use crate::interop::{TIMEOUT, needs_graspy};

fn values() -> Vec<Value> {
    let nested = (0..12).fold(Value::from("deep"), |inner, _| Value::from(vec![inner]));
    let map = Value::Map(vec![
        (Value::from(3), Value::from("three")),
        (Value::from("ключ"), Value::from(vec![Value::Bool(true)])),
        (Value::from(-1), Value::Map(vec![(Value::from("x"), Value::Null)])),
        (Value::from(vec![Value::from(1), Value::from(2)]), Value::from(0.5)),
    ]);
    // -(2^64) - 1 is the first number that needs a negative bignum.
    let bignum = |tag, last| Value::Tag(tag, Box::new(Value::Bytes([1, 0, 0, 0, 0, 0, 0, 0, last].to_vec())));
    let mut all = vec![Value::Null, Value::Undefined, true.into(), false.into(), nested, map];
    all.extend([0, 23, 24, -1, -25, i64::MAX, i64::MIN].map(Value::from));
    all.extend([Value::Integer((1 << 64) - 1), Value::Integer(-(1 << 64)), bignum(2, 0), bignum(3, 0)]);
    all.extend(
        [0.0, -0.0, 1.0, 0.1, 1e300, -5e-324, f64::INFINITY, f64::NEG_INFINITY, f64::NAN].map(Value::Float),
    );
    all.extend(["", "hello", "Привет, мир", "👍🏽", "a\u{0}b"].map(Value::from));
    all.extend([&b""[..], b"hello", b"\xff\xff"].map(Value::from));
    all.extend([Value::Simple(99), Value::Tag(4711, Box::new(Value::from("unknown tag")))]);
    // Embedded items: one of 1 byte, one of many, one with more behind it.
    all.extend(
        [vec![0], Value::from(vec![Value::from(1), "два".into()]).encode(), b"abc".to_vec()]
            .map(Value::EncodedCbor),
    );
    all
}

/// The bytes of a request, an offer and an M_SYNCH of these sizes: below, at and above what graspy takes for
/// a whole message, of one segment and of two, and the most that may be sent.
fn big_values() -> Vec<Value> {
    [1100, 1170, 1180, 1190, 1300, 1500, 1800, 2000].map(|size| Value::from("я".repeat(size / 2))).into()
}

/// One negotiation with all of the values: the asker offers each, the answerer offers the same.
fn exchange(asker: &dyn Side, answerer: &dyn Side, name: &str, values: &[Value]) {
    let same = |side: &dyn Side, got: &Value, sent: &Value| {
        assert_eq!(got.encode(), side.seen(sent).encode(), "{got} came of {sent}");
    };
    let mut objective = negotiable(name, values[0].clone());
    objective.loop_count = 255;
    let seen = Mutex::new(0);
    let asks = |mut reply: Reply| {
        for (index, value) in values.iter().enumerate() {
            let (session, mut offer) = reply.offer();
            // What graspy's ASA got as bytes, it offered as such.
            same(asker, &offer.value, &answerer.seen(value));
            *seen.lock() += 1;
            let Some(next) = values.get(index + 1) else { return asker.end(session, true, None) };
            offer.value = next.clone();
            reply = asker.step(session, &offer, TIMEOUT);
        }
    };
    let answers = |mut session, mut offer: grasp::Objective| {
        for value in values {
            same(answerer, &offer.value, value);
            match answerer.step(session, &offer, TIMEOUT) {
                Reply::Offer(next, counter) => (session, offer) = (next, counter),
                other => drop(other.agreed()),
            }
        }
    };
    negotiate((asker, asks), (answerer, answers), &objective, TIMEOUT);
    assert_eq!(*seen.lock(), values.len());
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn negotiated_values_arrive_as_they_were_sent() {
    needs_graspy!(120);
    let pair = Pair::start();
    pair.both("values", |asker, answerer, name| exchange(asker, answerer, name, &values()));
    pair.both("big values", |asker, answerer, name| exchange(asker, answerer, name, &big_values()));
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn synchronized_values_arrive_as_they_were_sent() {
    needs_graspy!(120);
    let pair = Pair::start();
    pair.both("values", |asker, answerer, name| {
        answerer.register(&synchronizable(name, ()), How::default());
        for value in values().iter().chain(&big_values()) {
            let served = synchronizable(name, value.clone());
            answerer.serve(&served);
            let peer = asker.find(&served);
            let got = asker.synchronize(&synchronizable(name, ()), Some(&peer), TIMEOUT).unwrap().value;
            assert_eq!(got.encode(), asker.seen(value).encode(), "{got} came of {value}");
        }
    });
}
