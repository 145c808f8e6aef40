//! Locators that are unusual: what is carried, what is discarded, and what becomes of the message around it.

use grasp::{AsaLocator, Config, Error, Locator, Protocol, TaggedObjective, Value};
use grasptests::{cbor, isolated, lab::eventually};

use crate::bench::{Bench, negotiable, synchronizable};
use crate::peer::{FLOOD, SOON};

/// A flood of F1 with this option as its locator, and of F2 without; F1 with this loop count.
fn flood(bench: &Bench, session: u32, loop_count: u8, option: Value) -> Value {
    Value::Array(vec![
        cbor!(9),
        cbor!(session),
        cbor!(bench.peer.initiator()),
        cbor!(60_000),
        cbor!([["F1", 5, loop_count, "v"], option]),
        cbor!([["F2", 5, 1, session], []]),
    ])
}

/// The source that a flood with this option leaves F1 with; and the datagram goes on as it came.
fn source_after(bench: &Bench, session: u32, option: &Value) -> AsaLocator {
    bench.peer.multicast(&flood(bench, session, 6, option.clone()));
    let relayed = bench.far().heard(FLOOD);
    assert_eq!(relayed.bytes, flood(bench, session, 5, option.clone()).encode(), "{option}");
    eventually(SOON, "the flood is cached", || {
        bench.flooded("F2").iter().any(|tagged| tagged.objective.value == Value::from(session))
    });
    let mut cached = bench.flooded("F1");
    let newest = cached.pop().expect("F1 is cached").source;
    for tagged in bench.flooded("F1") {
        bench.run(|engine, asa| engine.expire_flood(asa, &tagged)).expect("it is forgotten");
    }
    newest
}

/// BRSKI floods protocol 41 with port 0; RFC 8990 §2.9.5.1 foresees numbers that no registry has yet.
#[test]
fn c_const_08_any_protocol_number_is_cached_and_relayed_as_it_came() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    let address = bench.peer.global.expect("a global address").octets().to_vec();
    for (session, number) in [6u64, 17, 41, 132, 255, 256, u64::MAX].into_iter().enumerate() {
        let session = u32::try_from(session).expect("few");
        let source = source_after(&bench, session, &cbor!([103, (address.clone()), number, 0]));
        assert_eq!(source.locator, bench.peer.global.map(Locator::Ipv6));
        assert_eq!((source.protocol.map(Protocol::number), source.port), (Some(number), Some(0)));
    }
}

/// RFC 8990 §2.8.2: options that are not consistent with the message are discarded, not the message. §2.9.2 to §2.9.4 say
/// so of a Divert, an Accept and a Decline; a null port or protocol is for a URI only (§2.9.5.1 to §2.9.5.4).
#[test]
fn c_opt_05_an_option_in_a_flood_that_is_no_locator_is_discarded_and_relayed_as_it_came() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    let address = bench.peer.global.expect("a global address").octets().to_vec();
    let divert = cbor!([100, [103, (address.clone()), 6, 1]]);
    let options = [
        cbor!([103, (address.clone()), 6, ()]),
        cbor!([103, (address.clone()), (), 1]),
        cbor!([105, "a.example", (), ()]),
        cbor!([107, (address.clone()), 6, 1]),
        cbor!([200]),
        divert,
    ];
    for (session, option) in (0..).zip(options) {
        assert_eq!(source_after(&bench, session, &option).locator, None, "{option}");
    }
    // A URI may go without.
    let source = source_after(&bench, 99, &cbor!([106, "coap://a.example", (), ()]));
    assert_eq!(source.locator, Some(Locator::Uri("coap://a.example".to_owned())));
    assert_eq!((source.protocol, source.port), (None, None));
    assert_eq!(bench.engine.stats().dropped_malformed, 0);
}

/// In a response the other locators count; with none that is left it is no response (RFC 8990 §2.8.5).
#[test]
fn c_opt_07_a_name_with_null_fields_is_no_locator_of_a_response() {
    isolated!();
    let bench = Bench::new();
    let options = vec![cbor!([105, "a.example", (), ()]), cbor!([107, "x"]), bench.peer.locator(4711)];
    let found = bench.learn(&bench.peer, "EX1", 60_000, options);
    assert_eq!(found.iter().map(|one| one.port).collect::<Vec<_>>(), [Some(4711)]);
}

/// RFC 8990 §2.10.1 lets a value be anything; §2.8.3 lets the parser defend itself.
#[test]
fn c_size_03_a_flood_is_cached_and_relayed_up_to_the_limit_on_nesting_and_not_beyond() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    // Around the value are the message, the pair and the objective.
    let limit = bench.engine.config().sizes().nesting() - 3;
    let nested = |levels: usize| (0..levels).fold(Value::Null, |value, _| Value::from(vec![value]));
    let flood = |session: u32, loop_count: u8, levels| {
        let objective = cbor!(["F3", 5, loop_count, (nested(levels))]);
        cbor!([9, session, (bench.peer.initiator()), 60_000, [objective, []]])
    };
    bench.peer.multicast(&flood(1, 6, limit + 1));
    bench.peer.multicast(&flood(2, 6, limit));
    assert_eq!(bench.far().heard(FLOOD).bytes, flood(2, 5, limit).encode());
    eventually(SOON, "the flood is cached", || {
        bench.flooded("F3").first().is_some_and(|tagged| tagged.objective.value == nested(limit))
    });
    assert_eq!(bench.engine.stats().dropped_malformed, 1);
}

/// A datagram is one message, which is one CBOR item (RFC 8990 §2.5.3, §2.8.1): what more bytes mean, nobody can tell.
#[test]
fn c_msg_17_a_datagram_with_trailing_bytes_is_dropped_and_not_relayed() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    let mut bytes = flood(&bench, 1, 6, cbor!([])).encode();
    bytes.push(0);
    bench.peer.multicast_bytes(&bytes);
    bench.peer.multicast(&flood(&bench, 2, 6, cbor!([])));
    assert_eq!(bench.far().heard(FLOOD).bytes, flood(&bench, 2, 5, cbor!([])).encode());
    assert_eq!(bench.engine.stats().dropped_malformed, 1);
}

/// The engine sends what it is given, and connects to TCP only.
#[test]
fn c_const_08_another_protocol_is_flooded_and_never_connected_to() {
    isolated!();
    let bench = Bench::new();
    bench.register(&synchronizable("F1", 1));
    bench.register(&negotiable("EX3", 1));
    let server = bench.peer.listen();
    let address = bench.peer.global.expect("a global address");
    let proxy = AsaLocator::new(address, None).with_port(server.port()).with_protocol(Protocol::Ipv6);
    let tagged = TaggedObjective::new(synchronizable("F1", 1), Some(proxy.clone()));
    bench.flood(1000, &[tagged]).expect("it is flooded");
    let heard = bench.peer.heard(FLOOD).message;
    let sent = cbor!([103, (address.octets().to_vec()), 41, (server.port())]);
    assert!(heard.to_string().contains(&sent.to_string()), "{heard}");
    let refused =
        bench.run(|engine, asa| engine.req_negotiate(asa, &negotiable("EX3", 1), Some(&proxy), None));
    assert_eq!(refused.expect_err("no protocol of GRASP"), Error::SockErrNegRq);
    assert!(server.nobody_comes());
}
