//! What a hostile process cannot take from a node: threads, memory, the socket of those who read, and what it may no longer see.

use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use grasp::ipc::{Access, ClientLimits, Who};
use grasp::{TaggedObjective, Value};
use grasptests::lab::eventually;
use grasptests::nodes::{SOON, at_once, negotiable, synchronizable};
use grasptests::{cbor, isolated};

use crate::node::{Node, Raw};

/// So many threads its calls may have at least, with those that only send an answer.
const FINISHING: usize = 16;

#[test]
fn calls_whose_answers_are_not_read_occupy_few_threads() {
    isolated!();
    let mut limits = ClientLimits::new();
    (limits.calls, limits.patience) = (2, SOON);
    let node = Node::with(|options| options.limits(limits));
    let mut raw = Raw::welcome(&node.path);
    // A trace that is not read fills the connection: whatever is told after it waits.
    raw.say(&cbor!([1, "trace", 60_000]));
    eventually(SOON, "it follows", || node.server.clients().iter().any(|client| client.open_calls == 1));
    let own = &node.own;
    own.register(&synchronizable("EX2", 1));
    let tagged = [TaggedObjective::new(synchronizable("EX2", 1), None)];
    let (mut sent, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(300) {
        own.engine.flood(own.asa, 1000, &tagged).unwrap();
        let now = node.server.clients()[0].bytes_sent;
        if now != sent {
            (sent, since) = (now, Instant::now());
        }
    }
    let before = own.engine.thread_count();
    // Each of these ends at once, because no such ASA is registered.
    raw.stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let refused = (2..2000).map(|id| cbor!([id, "listen_negotiate", 99, ["EX1", 3, 6, ()]]));
    for call in refused {
        // Once the node does not read any more the connection is full in this direction, too.
        if std::io::Write::write_all(&mut raw.stream, &call.encode()).is_err() {
            break;
        }
    }
    let (mut read, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_secs(1) {
        let threads = own.engine.thread_count();
        assert!(threads <= before + FINISHING + 2, "{threads} threads, {before} before");
        let now = node.server.clients()[0].bytes_received;
        if now != read {
            (read, since) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    at_once(|| node.client("other").register(&negotiable("EX1", 1)));
    drop(raw);
    eventually(SOON, "nothing of it remains", || own.engine.thread_count() <= before);
}

#[test]
fn calls_that_wait_hold_only_so_many_bytes() {
    isolated!();
    let node = Node::start();
    let mut raw = Raw::welcome(&node.path);
    let asa = raw.register();
    // The largest call is a mebibyte, and four of these may wait: seven of a little more than half of that. A discovery does
    // without a value that is too large for a datagram.
    let large = Value::Text("x".repeat(1 << 19));
    for id in 10..30 {
        raw.say(&cbor!([
            id,
            "discover",
            (asa.id()),
            ["EX1", 3, 6, (large.clone())],
            600_000,
            (Value::Map(Vec::new()))
        ]));
    }
    let mut refused = 0;
    while refused < 13 {
        let answer = raw.hear().unwrap();
        let answer = answer.as_array().unwrap();
        assert_eq!(answer[4].as_str(), Some("the calls that wait are too large together"), "{answer:?}");
        refused += 1;
    }
    eventually(SOON, "the others wait", || node.server.clients()[0].open_calls == 7);
    // Once they are over there is room again.
    for id in 10..30 {
        raw.say(&cbor!([(id + 100), "cancel", id]));
    }
    let mut over = 0;
    while over < 27 {
        raw.hear().unwrap();
        over += 1;
    }
    raw.say(&cbor!([300, "discover", (asa.id()), ["EX1", 3, 6, large], 600_000, (Value::Map(Vec::new()))]));
    eventually(SOON, "it waits", || node.server.clients()[0].open_calls == 1);
}

#[test]
fn who_may_no_longer_watch_sees_nothing_more() {
    isolated!();
    let node = Node::start();
    let client = node.client("client");
    let trace = client.engine.trace();
    client.register(&synchronizable("EX2", 1));
    let tagged = [TaggedObjective::new(synchronizable("EX2", 1), None)];
    client.engine.flood(client.asa, 1000, &tagged).unwrap();
    trace.recv_timeout(SOON).unwrap();
    node.server.set_access(Access::new().act(Who::Anyone).flood(Who::Anyone, ["EX2"]));
    while trace.try_recv().is_ok() {}
    client.engine.flood(client.asa, 1000, &tagged).unwrap();
    let end = loop {
        match trace.recv_timeout(SOON) {
            // What was on its way.
            Ok(event) => assert!(event.time <= std::time::SystemTime::now()),
            Err(end) => break end,
        }
    };
    assert_eq!(end, RecvTimeoutError::Disconnected);
    assert!(client.engine.objectives().is_empty(), "nor may it look inside");
}
