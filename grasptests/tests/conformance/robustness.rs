//! What must not happen whatever comes in (RFC 8990 §2.2, §2.5.4.3, §2.8.2).

use std::net::Ipv6Addr;
use std::time::Duration;

use grasp::{AsaLocator, Config, Discover, Error, Negotiation, Objective, TaggedObjective, Value};
use grasptests::isolated;
use grasptests::lab::eventually;

use crate::bench::{Bench, negotiable, synchronizable};
use crate::peer::{DISCOVERY, Peer, SOON, sid};

/// Bytes that are the same in every run and look like nothing.
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, longest: usize) -> Vec<u8> {
        let length = usize::from(self.byte()) * longest / 255;
        (0..length).map(|_| self.byte()).collect()
    }

    fn byte(&mut self) -> u8 {
        // Knuth's linear congruential generator.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0.to_be_bytes()[0]
    }
}

/// Datagrams that are no message; `[9, sid, ini, ttl, 5]` ends graspy's receiver for good.
fn malformed(peer: &Peer) -> Vec<Value> {
    let ini = || cbor!(peer.initiator());
    vec![
        cbor!([9, 7, (ini()), 0, 5]),
        cbor!([9, 7, (ini()), 0]),
        cbor!([9, 7, (ini()), 0, []]),
        cbor!([9, 7, (ini()), 0, [["EX2", 5, 6, 1]]]),
        cbor!([9, 7, (ini()), 0, [["EX2", 5, 6, 1], ()]]),
        cbor!([9, 7, (ini()), 0, [["EX2", 5, 6, 1], ["x"]]]),
        cbor!([9, 7, (ini()), 0, [[2, 5, 6, 1], []]]),
        cbor!([9, 7, (ini()), (-1), [["EX2", 5, 6, 1], []]]),
        cbor!([9, 7, 0, 0, [["EX2", 5, 6, 1], []]]),
        cbor!([1]),
        cbor!([1, 7]),
        cbor!([1, 7, (ini())]),
        cbor!([1, 7, (ini()), "EX4"]),
        cbor!([1, 7, (ini()), ["EX4"]]),
        cbor!([1, 7, (ini()), ["EX4", 5]]),
        cbor!([1, 7, (ini()), ["EX4", (-5), 6, 1]]),
        cbor!([1, 7, (ini()), ["EX4", 5, 256, 1]]),
        cbor!([1, 7, (ini()), ["EX4", 5, 6, 1, 1]]),
        cbor!([1, 7, (ini()), ["", 5, 6, 1]]),
        cbor!([1, 7, (ini()), [(ini()), 5, 6, 1]]),
        cbor!([1, (-7), (ini()), ["EX4", 5, 6, 1]]),
        cbor!([1, (1u64 << 40), (ini()), ["EX4", 5, 6, 1]]),
        cbor!([]),
        cbor!(0),
        cbor!("GRASP"),
        cbor!([["EX4"]]),
        cbor!([(-1)]),
        Value::Map(vec![(cbor!(0), cbor!(1))]),
    ]
}

#[test]
fn c_msg_17_no_malformed_datagram_stops_the_receiver() {
    isolated!();
    let bench = Bench::new();
    bench.publish(&synchronizable("EX4", 1));
    let bad = malformed(&bench.peer);
    for message in &bad {
        bench.peer.multicast(message);
    }
    // Not even CBOR: empty, a break, reserved heads, cut short, trailing bytes, text that is no UTF-8.
    let raw: [&[u8]; 7] =
        [&[], &[0xff], &[0x1c], &[0x84, 1], &[0x81, 0, 0], &[0x82, 42, 0x61, 0xff], &[0x9f, 0]];
    for bytes in raw {
        bench.peer.multicast_bytes(bytes);
    }
    bench.peer.ask(8, "EX4");
    bench.peer.only_response(8);
    let stats = bench.engine.stats();
    let expected = u64::try_from(bad.len() + raw.len()).unwrap();
    assert_eq!((stats.dropped_malformed, stats.discoveries_received), (expected, 1));
}

#[test]
fn c_msg_17_random_datagrams_and_cut_messages_do_not_stop_the_receiver() {
    isolated!();
    let bench = Bench::new();
    bench.publish(&synchronizable("EX4", 1));
    let mut noise = Noise(1);
    let good = bench.peer.discovery(7, "EX1").encode();
    for round in 0..300usize {
        bench.peer.multicast_bytes(&noise.bytes(200));
        bench.peer.multicast_bytes(&good[..round % good.len()]);
        let mut mutant = good.clone();
        mutant[round % good.len()] ^= noise.byte() | 1;
        bench.peer.multicast_bytes(&mutant);
    }
    bench.peer.multicast_bytes(&noise.bytes(60_000));
    bench.peer.locate("EX4");
    assert_eq!(bench.engine.stats().panics, 0);
    assert!(bench.engine.stats().dropped_malformed > 500);
}

#[test]
fn c_msg_17_no_malformed_message_over_tcp_stops_a_listener() {
    isolated!();
    let bench = Bench::new();
    let _server = bench.accept_all("EX3");
    let at = bench.peer.locate("EX3");
    drop(bench.discover(&Objective::new("EX1"), 60_000, Discover::default()));
    let heard = bench.peer.heard(DISCOVERY);
    let responses = heard.answer_to();
    let mut noise = Noise(2);
    let mut pieces: Vec<_> = malformed(&bench.peer).iter().map(Value::encode).collect();
    pieces.extend((0..50).map(|_| noise.bytes(2000)));
    for piece in &pieces {
        for port in [at, responses] {
            let mut stream = bench.peer.connect(port);
            // It may be closed before all is written.
            let _ = std::io::Write::write_all(&mut stream.socket, piece);
        }
    }
    let mut stream = bench.peer.connect(at);
    stream.send(&cbor!([3, 7, ["EX3", 3, 6, 0]]));
    assert_eq!(stream.receive(), cbor!([6, 7, [101]]));
    bench.peer.respond(&heard, 60_000, vec![bench.peer.locator(1)]);
    eventually(SOON, "a response is accepted", || bench.engine.stats().responses_received == 1);
    assert_eq!(bench.engine.stats().panics, 0);
}

/// What is well-formed and has no place where it came is counted as such.
#[test]
fn c_msg_17_misplaced_messages_are_dropped() {
    isolated!();
    let bench = Bench::new();
    bench.publish(&synchronizable("EX4", 1));
    let objective = || cbor!(["EX4", 5, 6, 1]);
    let ini = bench.peer.initiator();
    let multicast = [
        cbor!([2, 7, (ini.clone()), 9, (bench.peer.locator(1))]),
        cbor!([3, 7, (objective())]),
        cbor!([4, 7, (objective())]),
        cbor!([5, 7, (objective())]),
        cbor!([6, 7, [101]]),
        cbor!([7, 7, 9]),
        cbor!([8, 7, (objective())]),
        cbor!([99, 7]),
    ];
    for message in &multicast {
        bench.peer.multicast(message);
    }
    bench.peer.ask(8, "EX4");
    bench.peer.only_response(8);
    assert_eq!(bench.engine.stats().dropped_misplaced, 8);
    let at = bench.peer.locate("EX4");
    let unicast = [
        cbor!([2, 7, (ini.clone()), 9, (bench.peer.locator(1))]),
        cbor!([9, 7, ini, 0, [(objective()), []]]),
        cbor!([5, 7, (objective())]),
        cbor!([8, 7, (objective())]),
        cbor!([6, 7, [101]]),
    ];
    for message in &unicast {
        let mut stream = bench.peer.connect(at);
        stream.send(message);
        stream.closed();
    }
    assert_eq!(bench.engine.stats().dropped_misplaced, 13);
}

#[test]
fn c_rob_01_a_dead_link_is_an_error_code_and_nothing_worse() {
    isolated!();
    let bench = Bench::with(Config::new().connect_timeout(Duration::from_millis(300)));
    let (neg, synch) = (negotiable("EX3", 1), synchronizable("EX4", 1));
    bench.register(&neg);
    bench.register(&synch);
    let peer = AsaLocator::new(bench.peer.global.unwrap(), None).with_port(bench.peer.listen().port());
    let off = |what: &str| {
        bench.run(|engine, asa| {
            let found = engine.discover(asa, &Objective::new("EX1"), None, Discover::default());
            assert_eq!(found, Ok(Vec::new()), "{what}");
            assert_eq!(engine.req_negotiate(asa, &neg, None, Some(1)), Err(Error::NoDiscReply), "{what}");
            assert_eq!(
                engine.req_negotiate(asa, &neg, Some(&peer), None),
                Err(Error::SockErrNegRq),
                "{what}"
            );
            let value = engine.synchronize(asa, &synchronizable("EX5", ()), Some(&peer), None);
            assert_eq!(value, Err(Error::SockErrSynRq), "{what}");
            engine.flood(asa, 0, &[TaggedObjective::new(synch.clone(), None)]).unwrap();
        });
    };
    bench.link.cut().unwrap();
    off("cut");
    bench.link.heal().unwrap();
    bench.home.set_up("eth0", false).unwrap();
    off("down");
    assert_eq!(bench.engine.stats().panics, 0);
}

#[test]
fn c_rob_01_a_negotiation_over_a_link_that_dies_ends_in_an_error() {
    isolated!();
    let bench = Bench::new();
    let pending = bench.negotiate(&negotiable("EX3", 1), Some(500));
    bench.link.cut().unwrap();
    assert_eq!(pending.result.join().unwrap(), Err(Error::NoNegReply));
    assert_eq!(bench.engine.open_sessions(), 0);
}

#[test]
fn c_rob_02_an_interface_may_go_and_come_back() {
    isolated!();
    let bench = Bench::with(Config::new().watch_interval(Duration::from_millis(50)));
    bench.publish(&synchronizable("EX4", 1));
    bench.peer.locate("EX4");
    for _ in 0..2 {
        bench.home.set_up("eth0", false).unwrap();
        eventually(SOON, "the interface is given up", || bench.engine.links().is_empty());
        bench.home.set_up("eth0", true).unwrap();
        eventually(SOON, "it is used again", || bench.engine.links().len() == 1);
        let mut stream = bench.peer.call("EX4");
        stream.send(&cbor!([4, 7, ["EX4", 5, 6, ()]]));
        assert_eq!(sid(&stream.receive()), 7);
    }
    let found = bench.learn(&bench.peer, "EX1", 60_000, vec![bench.peer.locator(1)]);
    assert_eq!(found.len(), 1);
}

#[test]
fn c_rob_02_a_new_interface_is_taken_into_use() {
    isolated!();
    let bench = Bench::with(Config::new().watch_interval(Duration::from_millis(50)));
    bench.publish(&synchronizable("EX4", 1));
    let node = bench.lab.node("newcomer").unwrap();
    let link = bench.lab.link(&bench.home, &node).unwrap();
    let newcomer = Peer::new(&node, &link);
    eventually(SOON, "the interface is used", || bench.engine.links().len() == 2);
    newcomer.locate("EX4");
}

#[test]
fn c_rob_03_a_peer_that_dies_is_an_ordinary_error() {
    isolated!();
    let bench = Bench::new();
    let pending = bench.negotiate(&negotiable("EX3", 1), None);
    pending.stream.reset();
    assert_eq!(pending.result.join().unwrap(), Err(Error::NoNegReply));
    // Nobody at its address any more: see c_rob_03_a_stale_locator_is_an_ordinary_error_and_is_forgotten.
    let gone: Ipv6Addr = "fd00:99::1".parse().unwrap();
    let peer = AsaLocator::new(gone, None).with_port(1);
    let refused =
        bench.run(|engine, asa| engine.req_negotiate(asa, &negotiable("EX3", 1), Some(&peer), None));
    assert_eq!(refused, Err(Error::SockErrNegRq), "no route");
}

#[test]
fn c_rob_04_hundreds_of_silent_connections_delay_nobody() {
    isolated!();
    let bench = Bench::with(Config::new().reader_limit(100).request_deadline(Duration::from_secs(60)));
    let other = bench.another_peer();
    let _server = bench.serve(&negotiable("EX3", 0), |engine, asa, session, offer| {
        if let Ok(Negotiation::Offer(..)) = engine.negotiate_step(asa, session, &offer, None) {
            engine.end_negotiate(asa, session, true, None).unwrap();
        }
    });
    let at = other.locate("EX3");
    let found = bench.discover_first("EX1");
    let heard = other.heard(DISCOVERY);
    let responses = heard.answer_to();
    let mut silent = Vec::new();
    for session in 0..10u32 {
        for _ in 0..20 {
            silent.push(bench.peer.connect(at));
            silent.push(bench.peer.connect(responses));
        }
        // Half a request, too.
        silent.push(bench.peer.connect(at));
        silent.last_mut().unwrap().send_bytes(&[0x83, 3]);
        let mut stream = other.connect(at);
        stream.send(&cbor!([3, session, ["EX3", 3, 6, 0]]));
        assert_eq!(stream.receive(), cbor!([5, session, ["EX3", 3, 5, 0]]));
        stream.send(&cbor!([5, session, ["EX3", 3, 4, 0]]));
        assert_eq!(stream.receive(), cbor!([6, session, [101]]));
    }
    other.respond(&heard, 60_000, vec![other.locator(1)]);
    assert_eq!(found.join().unwrap().unwrap().len(), 1);
    let stats = bench.engine.stats();
    assert!(stats.dropped_reader_full > 200, "those that waited longest made room: {stats:?}");
    assert_eq!((stats.panics, stats.accept_failed), (0, 0));
}
