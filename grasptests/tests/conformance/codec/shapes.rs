//! The grammar of RFC 8990 §4, message by message: what is accepted and what is refused. The identifiers
//! `C-…` are those of the conformance checklist.

use std::net::IpAddr;

use grasp::wire::{self, Body, Flags, Limits, Outcome, WireLocator, WireOption};
use grasp::{Locator, Protocol, Value, constants};

use super::{IP4, IP6, decode, decode_hex};

fn accepted(items: &[Value]) {
    for item in items {
        assert!(decode(item).is_ok(), "{item}: {:?}", decode(item));
    }
}

fn refused(reason: &str, items: &[Value]) {
    for item in items {
        assert_eq!(decode(item).map_err(|error| error.reason()), Err(reason), "{item}");
    }
}

/// The options of the response that consists of this one and a good locator.
fn options(option: Value) -> Vec<WireOption> {
    let good = cbor!([103, IP6, 6, 7017]);
    let head = [cbor!(2), cbor!(7), cbor!(IP6), cbor!(1000)];
    match decode(&Value::Array([&head[..], &[option, good]].concat())).expect("a response").body {
        Body::Response(response) => response.options,
        other => panic!("{other:?}"),
    }
}

fn locator(option: Value) -> Option<WireLocator> {
    match options(option).into_iter().next() {
        Some(WireOption::Locator(locator)) => Some(locator),
        _ => None,
    }
}

/// C-CONST-04 to C-CONST-08.
#[test]
fn the_numbers_are_those_of_the_rfc() {
    use constants::{message_type as m, option_type as o};
    assert_eq!(
        (constants::GRASP_DEF_TIMEOUT, constants::GRASP_DEF_LOOPCT, constants::GRASP_DEF_MAX_SIZE),
        (60_000, 6, 2048)
    );
    assert_eq!(
        [m::M_NOOP, m::M_DISCOVERY, m::M_RESPONSE, m::M_REQ_NEG, m::M_REQ_SYN, m::M_NEGOTIATE],
        [0, 1, 2, 3, 4, 5]
    );
    assert_eq!([m::M_END, m::M_WAIT, m::M_SYNCH, m::M_FLOOD, m::M_INVALID], [6, 7, 8, 9, 99]);
    assert_eq!(
        [o::O_DIVERT, o::O_ACCEPT, o::O_DECLINE, o::O_IPV6_LOCATOR, o::O_IPV4_LOCATOR, o::O_FQDN_LOCATOR],
        [100, 101, 102, 103, 104, 105]
    );
    assert_eq!(o::O_URI_LOCATOR, 106);
    assert_eq!([Flags::F_DISC, Flags::F_NEG, Flags::F_SYNCH, Flags::F_NEG_DRY], [1, 2, 4, 8]);
    let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Ipv6].map(Protocol::number);
    assert_eq!(protocols, [6, 17, 41]);
    assert_eq!(protocols, [constants::IPPROTO_TCP, constants::IPPROTO_UDP, constants::IPPROTO_IPV6]);
}

/// C-MSG-00.
#[test]
fn noop() {
    assert_eq!(decode(&cbor!([0])).expect("a no-op").body, Body::Noop);
    assert_eq!(decode(&cbor!([0, 1, "x"])).expect("a no-op").extra, [cbor!(1), cbor!("x")]);
    assert_eq!(wire::encode(&Body::Noop.into()), [0x81, 0]);
}

/// What is no message at all.
#[test]
fn not_a_message() {
    let map = Value::Map(vec![(cbor!(0), cbor!(0))]);
    let tagged = Value::Tag(55799, Box::new(cbor!([0])));
    let items = [cbor!(0), cbor!("x"), cbor!([]), cbor!([(-1)]), cbor!([0.0]), cbor!([false]), cbor!([[0]])];
    refused("not-a-message", &items);
    refused("not-a-message", &[map, tagged, cbor!(["0"]), cbor!([()])]);
}

/// C-MSG-01, C-MSG-11.
#[test]
fn discovery() {
    accepted(&[
        cbor!([1, 7, IP6, ["EX1", 5, 6, 0]]),
        cbor!([1, 7, IP6, ["EX1", 5, 6]]),
        cbor!([1, 7, IP6, ["EX1", 5, 6], [107, "?"], 0]),
    ]);
    refused(
        "wrong-element",
        &[
            cbor!([1]),
            cbor!([1, 7]),
            cbor!([1, 7, IP6]),
            cbor!([1, 7, ["EX1", 5, 6, 0]]),
            cbor!([1, 7, IP6, "EX1"]),
            cbor!([1, 7, IP6, [103, IP6, 6, 1]]),
            cbor!([1, 7, IP6, ["EX1", 5, 6], ["EX2", 5, 6]]),
        ],
    );
}

/// C-SID-03: 32 bits and no other type.
#[test]
fn session_identifiers() {
    for session in [0, 1, u32::MAX] {
        assert_eq!(decode(&cbor!([7, session, 0])).expect("a wait").session(), Some(session));
        assert_eq!(decode(&cbor!([42, session, 0])).expect("something").session(), Some(session));
    }
    let big = Value::Tag(2, Box::new(cbor!(&[1u8][..])));
    for session in
        [cbor!(-1), cbor!(1u64 << 32), cbor!("7"), cbor!(IP4), cbor!(7.0), cbor!(true), cbor!(()), big]
    {
        let wait = Value::Array(vec![cbor!(7), session.clone(), cbor!(0)]);
        refused("wrong-element", &[wait]);
        let unknown = Value::Array(vec![cbor!(42), session.clone()]);
        let unknown = decode(&unknown).expect("something");
        assert_eq!((unknown.session(), unknown.extra), (None, vec![session]));
    }
}

/// C-SID-09: 4 or 16 bytes. A mapped address is not another spelling of an IPv4 one.
#[test]
fn initiators() {
    let mapped: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
    for (bytes, text) in [(IP4, "192.0.2.1"), (IP6, "2001:db8::1"), (mapped, "::ffff:192.0.2.1")] {
        let Body::Discovery { initiator, .. } =
            decode(&cbor!([1, 7, bytes, ["EX1", 5, 6]])).expect("a discovery").body
        else {
            panic!("no discovery")
        };
        assert_eq!(initiator, text.parse::<IpAddr>().expect("an address"));
    }
    for length in [0, 1, 3, 5, 8, 15, 17] {
        refused("wrong-element", &[cbor!([1, 7, (vec![0u8; length]), ["EX1", 5, 6]])]);
    }
    refused(
        "wrong-element",
        &[cbor!([1, 7, "2001:db8::1", ["EX1", 5, 6]]), cbor!([1, 7, (), ["EX1", 5, 6]])],
    );
}

/// C-MSG-02.
#[test]
fn response() {
    accepted(&[
        cbor!([2, 7, IP6, 0, [103, IP6, 6, 1]]),
        cbor!([2, 7, IP6, (u32::MAX), [103, IP6, 6, 1], [104, IP4, 17, 1], [105, "a.example", 6, 1]]),
        cbor!([2, 7, IP6, 9, [100, [103, IP6, 6, 1]]]),
        cbor!([2, 7, IP6, 9, [103, IP6, 6, 1], ["EX1", 5, 6, 0]]),
        cbor!([2, 7, IP6, 9, [103, IP6, 6, 1], ["EX1", 5, 6]]),
    ]);
    refused(
        "no-locator",
        &[
            cbor!([2, 7, IP6, 9]),
            cbor!([2, 7, IP6, 9, ["EX1", 5, 6]]),
            cbor!([2, 7, IP6, 9, [103, IP4, 6, 1]]),
            cbor!([2, 7, IP6, 9, [101]]),
            cbor!([2, 7, IP6, 9, [100]]),
            cbor!([2, 7, IP6, 9, []]),
        ],
    );
    refused(
        "wrong-element",
        &[
            cbor!([2, 7, IP6]),
            cbor!([2, 7, IP6, (1u64 << 32), [103, IP6, 6, 1]]),
            cbor!([2, 7, IP6, 9.0, [103, IP6, 6, 1]]),
            cbor!([2, 7, IP6, true, [103, IP6, 6, 1]]),
            cbor!([2, 7, IP6, [103, IP6, 6, 1]]),
            cbor!([2, 7, 9, [103, IP6, 6, 1]]),
        ],
    );
}

/// graspy lets the ttl of a Divert run below zero: its locators are good for the moment only.
#[test]
fn a_negative_ttl_is_the_shortest() {
    for (ttl, expected) in [(-1, 1), (-1_000_000, 1), (0, 0), (1, 1), (2, 2)] {
        let Body::Response(response) =
            decode(&cbor!([2, 7, IP6, ttl, [100, [103, IP6, 6, 1]]])).expect("a response").body
        else {
            panic!("no response")
        };
        assert_eq!(response.ttl, expected);
    }
    refused("wrong-element", &[cbor!([9, 7, IP6, (-1), [["EX1", 5, 6, 0], []]])]);
}

/// C-MSG-13: options that do not belong in a response are not fatal, and nothing is lost.
#[test]
fn strange_options_in_a_response() {
    let strange = [
        cbor!([101]),
        cbor!([102, "no"]),
        cbor!([107, IP6]),
        cbor!([103, IP4, 6, 1]),
        cbor!([5]),
        cbor!(["EX1"]),
        cbor!([]),
        cbor!(7),
        cbor!("x"),
        cbor!(()),
        cbor!([[103, IP6, 6, 1]]),
    ];
    for option in strange {
        let found = options(option.clone());
        assert_eq!(found.first(), Some(&WireOption::Other(option)));
        assert!(matches!(found[..], [_, WireOption::Locator(_)]));
    }
}

#[test]
fn the_last_objective_of_a_response_counts() {
    let item = cbor!([2, 7, IP6, 9, ["EX1", 5, 6], 8, [103, IP6, 6, 1], ["EX2", 5, 6, 1], [107, 1]]);
    let message = decode(&item).expect("a response");
    let Body::Response(response) = message.body else { panic!("no response") };
    assert_eq!(response.objective.expect("an objective").name, "EX2");
    assert_eq!(response.options.len(), 3);
    assert!(response.options.contains(&WireOption::Other(cbor!(["EX1", 5, 6]))));
    assert!(response.options.contains(&WireOption::Other(cbor!(8))));
    assert_eq!(message.extra, [cbor!([107, 1])]);
}

/// C-MSG-03, C-MSG-04, C-MSG-05, C-MSG-08, C-OBJ-06.
#[test]
fn messages_of_one_objective() {
    for kind in [3, 4, 5, 8] {
        accepted(&[
            cbor!([kind, 7, ["EX1", 3, 6, ()]]),
            cbor!([kind, 7, ["EX1", 3, 6, [1, 2]], [107], 9]),
            cbor!([kind, 7, ["EX1", 3, 6, 1], ["EX2", 3, 6, 1]]),
        ]);
        refused(
            "wrong-element",
            &[
                cbor!([kind]),
                cbor!([kind, 7]),
                cbor!([kind, 7, 1]),
                cbor!([kind, 7, []]),
                cbor!([kind, 7, "EX1"]),
                cbor!([kind, ["EX1", 3, 6, 1]]),
                cbor!([kind, 7, IP6, ["EX1", 3, 6, 1]]),
            ],
        );
        let bare = cbor!([kind, 7, ["EX1", 3, 6]]);
        if kind == 4 { accepted(&[bare]) } else { refused("missing-value", &[bare]) }
    }
}

/// C-MSG-06, C-OPT-03, C-OPT-04, C-MSG-13.
#[test]
fn end() {
    let outcome = |item: Value| match decode(&item).expect("an end").body {
        Body::End { session: 7, outcome } => outcome,
        other => panic!("{other:?}"),
    };
    assert_eq!(outcome(cbor!([6, 7, [101]])), Outcome::Accept);
    assert_eq!(outcome(cbor!([6, 7, [102]])), Outcome::Decline(None));
    assert_eq!(outcome(cbor!([6, 7, [102, "no"]])), Outcome::Decline(Some("no".into())));
    assert_eq!(outcome(cbor!([6, 7, [103, IP6, 6, 1], [101]])), Outcome::Accept);
    assert_eq!(outcome(cbor!([6, 7, [102], [103, IP6, 6, 1], 1])), Outcome::Decline(None));
    let extra = decode(&cbor!([6, 7, [103, IP6, 6, 1], [101], 1])).expect("an end").extra;
    assert_eq!(extra, [cbor!([103, IP6, 6, 1]), cbor!(1)]);
    refused(
        "invalid-end",
        &[
            cbor!([6, 7]),
            cbor!([6, 7, []]),
            cbor!([6, 7, 101]),
            cbor!([6, 7, [101, 0]]),
            cbor!([6, 7, [102, 5]]),
            cbor!([6, 7, [102, ()]]),
            cbor!([6, 7, [102, "no", "no"]]),
            cbor!([6, 7, [100, [103, IP6, 6, 1]]]),
            cbor!([6, 7, [103, IP6, 6, 1]]),
            cbor!([6, 7, [101], [102]]),
            cbor!([6, 7, [101], [101]]),
        ],
    );
    assert_eq!(decode(&cbor!([6, 7, [103]])).unwrap_err().session(), Some(7));
    refused("wrong-element", &[cbor!([6]), cbor!([6, [101]])]);
}

/// C-MSG-07.
#[test]
fn wait() {
    accepted(&[cbor!([7, 7, 0]), cbor!([7, 7, (u32::MAX)]), cbor!([7, 7, 5, [107]])]);
    refused(
        "wrong-element",
        &[
            cbor!([7, 7]),
            cbor!([7, 7, (1u64 << 32)]),
            cbor!([7, 7, (-1)]),
            cbor!([7, 7, 1.0]),
            cbor!([7, 7, true]),
            cbor!([7, 7, "1"]),
        ],
    );
}

/// C-MSG-09, C-OPT-02, C-OBJ-06.
#[test]
fn flood() {
    accepted(&[
        cbor!([9, 7, IP6, 0, [["EX1", 5, 6, ()], []]]),
        cbor!([9, 7, IP4, 9, [["EX1", 5, 6, 1], []], [["EX2", 5, 6, 2], [103, IP6, 6, 1]]]),
        cbor!([9, 7, IP6, 9, [["EX1", 5, 6, 1], [106, "coap://[::1]", (), ()]]]),
        cbor!([9, 7, IP6, 9, [["EX1", 5, 6, 1], []], [107, IP6]]),
    ]);
    let signed = decode(&cbor!([9, 7, IP6, 9, [["EX1", 5, 6, 1], []], [107, IP6]])).expect("a flood");
    assert_eq!(signed.extra, [cbor!([107, IP6])]);
    let before =
        |count| cbor!([9, 7, IP6, 9, [107, IP6], [["EX1", 5, count, 1], []], [["EX2", 5, 6, 1], []]]);
    assert_eq!(decode(&before(6)).expect("a flood").extra, [cbor!([107, IP6])]);
    assert_eq!(wire::with_loop_count(&before(6).encode(), 200), Some(before(200).encode()));
    refused(
        "wrong-element",
        &[
            cbor!([9, 7, IP6, 9]),
            cbor!([9, 7, IP6, 9, 5]),
            cbor!([9, 7, IP6, 9, []]),
            cbor!([9, 7, IP6, 9, [107, IP6]]),
            cbor!([9, 7, IP6, 9, ["EX1", 5, 6, 1]]),
            cbor!([9, 7, IP6, 9, [["EX1", 5, 6, 1]]]),
            cbor!([9, 7, IP6, 9, [["EX1", 5, 6, 1], ()]]),
            cbor!([9, 7, IP6, 9, [["EX1", 5, 6, 1], [], []]]),
            cbor!([9, 7, IP6, 9, [["EX1", 5, 6, 1], ["x", 1, 1]]]),
            cbor!([9, 7, IP6, 9, [["EX1", 5, 6, 1], [(-103), IP6, 6, 1]]]),
            cbor!([9, 7, IP6, 9, [["EX1", 5, 6, 1], []], [["EX2", 5, 300, 1], []]]),
            cbor!([9, 7, IP6, 9, [["EX1", 5, 6, 1], []], 5]),
            cbor!([9, 7, IP6, [["EX1", 5, 6, 1], []]]),
            cbor!([9, 7, IP6, (1u64 << 32), [["EX1", 5, 6, 1], []]]),
            cbor!([9, 7, IP6, 1.5, [["EX1", 5, 6, 1], []]]),
        ],
    );
    refused("missing-value", &[cbor!([9, 7, IP6, 9, [["EX1", 5, 6], []]])]);
}

/// C-MSG-10.
#[test]
fn invalid() {
    let content = |item| match decode(&item).expect("an invalid").body {
        Body::Invalid { session: 7, content } => content,
        other => panic!("{other:?}"),
    };
    assert_eq!(content(cbor!([99, 7])), None);
    assert_eq!(content(cbor!([99, 7, ()])), Some(Value::Null));
    assert_eq!(content(cbor!([99, 7, [1, "x"], 5])), Some(cbor!([1, "x"])));
    refused("wrong-element", &[cbor!([99]), cbor!([99, "7"])]);
}

/// C-MSG-14, C-MSG-15: for the receiver to discard, with something to log.
#[test]
fn unknown_types() {
    for kind in [10, 42, 98, 100, 255, 70_000u32] {
        let message = decode(&cbor!([kind, 7, [1]])).expect("something");
        assert_eq!((message.message_type(), message.session()), (u64::from(kind), Some(7)));
        assert_eq!((message.type_name(), message.extra), ("unknown", vec![cbor!([1])]));
    }
    assert_eq!(decode(&cbor!([42])).expect("something").session(), None);
}

/// C-OBJ-01, C-OBJ-04.
#[test]
fn objectives() {
    let discovery = |objective: Value| Value::Array(vec![cbor!(1), cbor!(7), cbor!(IP6), objective]);
    let good = [
        cbor!(["EX1", 0, 0]),
        cbor!(["EX1", 15, 255, ()]),
        cbor!(["EX1", (u64::MAX), 6, [1]]),
        cbor!([" ", 1, 1]),
    ];
    accepted(&good.map(discovery));
    let bad = [
        cbor!([]),
        cbor!(["EX1"]),
        cbor!(["EX1", 5]),
        cbor!(["EX1", 5, 6, 0, 0]),
        cbor!(["", 5, 6, 0]),
        cbor!(["EX1", 5, 256, 0]),
        cbor!(["EX1", 5, (-1), 0]),
        cbor!(["EX1", (-1), 6, 0]),
        cbor!(["EX1", 5.0, 6, 0]),
        cbor!(["EX1", 5, 6.0, 0]),
        cbor!(["EX1", true, 6, 0]),
        cbor!(["EX1", "5", 6, 0]),
        cbor!([IP4, 5, 6, 0]),
        cbor!([1, 5, 6, 0]),
        cbor!("EX1"),
        Value::Tag(24, Box::new(cbor!(["EX1", 5, 6, 0]))),
    ];
    refused("wrong-element", &bad.map(discovery));
}

/// C-OBJ-02: names are what their bytes are.
#[test]
fn names_are_not_normalized() {
    for name in ["EX1", "ex1", "\u{e9}", "e\u{301}", "a:b", "Ω"] {
        let Body::RequestSynchronize(step) = decode(&cbor!([4, 7, [name, 5, 6, 0]])).expect("a request").body
        else {
            panic!("no request")
        };
        assert_eq!(step.objective.name.as_bytes(), name.as_bytes());
    }
}

/// C-OBJ-04: unknown flags are carried.
#[test]
fn flags_are_carried() {
    for flags in [0u64, 1, 2, 5, 11, 16, 1 << 40] {
        let item = cbor!([1, 7, IP6, ["EX1", flags, 6, 0]]);
        assert_eq!(wire::encode(&decode(&item).expect("a discovery")), item.encode());
    }
}

/// C-OPT-01: flat, at least one, locators only.
#[test]
fn divert() {
    let diverted = |option| match options(option).into_iter().next() {
        Some(WireOption::Divert(locators)) => Some(locators.len()),
        _ => None,
    };
    assert_eq!(diverted(cbor!([100, [103, IP6, 6, 1]])), Some(1));
    assert_eq!(diverted(cbor!([100, [103, IP6, 6, 1], [105, "a", 17, 2], [106, "u", (), ()]])), Some(3));
    assert_eq!(diverted(cbor!([100, [106, "u"]])), Some(1));
    for malformed in [
        cbor!([100]),
        cbor!([100, []]),
        cbor!([100, 1]),
        cbor!([100, ["EX1", 5, 6]]),
        cbor!([100, [103, IP6, 6, 1], [103, IP4, 6, 1]]),
        cbor!([100, [[103, IP6, 6, 1], [103, IP6, 6, 2]]]),
        cbor!([100, [100, [103, IP6, 6, 1]]]),
    ] {
        assert_eq!(diverted(malformed), None);
    }
}

/// C-OPT-05 to C-OPT-08, C-CONST-08.
#[test]
fn locators() {
    let wire = |locator: Locator, protocol, port| Some(WireLocator { locator, protocol, port });
    let (tcp, udp) = (Some(Protocol::Tcp), Some(Protocol::Udp));
    let address = |text: &str| Locator::from(text.parse::<IpAddr>().expect("an address"));
    assert_eq!(locator(cbor!([103, IP6, 6, 0])), wire(address("2001:db8::1"), tcp, Some(0)));
    assert_eq!(locator(cbor!([104, IP4, 17, 65535])), wire(address("192.0.2.1"), udp, Some(65535)));
    assert_eq!(
        locator(cbor!([105, "a.example", 6, 443])),
        wire(Locator::Fqdn("a.example".into()), tcp, Some(443))
    );
    let uri = Locator::Uri("coap://a".into());
    assert_eq!(locator(cbor!([106, "coap://a", 17, 5683])), wire(uri.clone(), udp, Some(5683)));
    assert_eq!(locator(cbor!([106, "coap://a", (), 5683])), wire(uri.clone(), None, Some(5683)));
    assert_eq!(locator(cbor!([106, "coap://a", 6, ()])), wire(uri.clone(), tcp, None));
    assert_eq!(locator(cbor!([106, "coap://a", (), ()])), wire(uri.clone(), None, None));
    assert_eq!(locator(cbor!([106, "coap://a"])), wire(uri, None, None));
    for (kind, place) in [(103, cbor!(IP6)), (104, cbor!(IP4)), (105, cbor!("a")), (106, cbor!("a"))] {
        for number in [0, 1, 41, 132, 255, 262, u64::MAX] {
            let option = Value::Array(vec![cbor!(kind), place.clone(), cbor!(number), cbor!(1)]);
            let carried = locator(option).expect("a locator").protocol;
            assert_eq!(carried.map(Protocol::number), Some(number));
        }
        for (protocol, port) in [
            (cbor!(-6), cbor!(1)),
            (cbor!("6"), cbor!(1)),
            (cbor!(6.0), cbor!(1)),
            (cbor!(6), cbor!(65536)),
            (cbor!(6), cbor!(-1)),
            (cbor!(6), cbor!("1")),
            (cbor!(6), cbor!(1.0)),
            (Value::Undefined, cbor!(1)),
        ] {
            assert_eq!(locator(Value::Array(vec![cbor!(kind), place.clone(), protocol, port])), None);
        }
        assert_eq!(locator(Value::Array(vec![cbor!(kind), place.clone(), cbor!(6)])), None);
        assert_eq!(
            locator(Value::Array(vec![cbor!(kind), place.clone(), cbor!(6), cbor!(1), cbor!(1)])),
            None
        );
    }
    for wrong in [
        cbor!([103, IP4, 6, 1]),
        cbor!([103, "::1", 6, 1]),
        cbor!([103, IP6, (), 1]),
        cbor!([103, IP6, 6, ()]),
        cbor!([104, IP6, 6, 1]),
        cbor!([104, IP4, 6, ()]),
        cbor!([105, IP4, 6, 1]),
        cbor!([105, "a", (), ()]),
        cbor!([105, "a"]),
        cbor!([106, IP4, 6, 1]),
        cbor!([106]),
        cbor!([107, IP6, 6, 1]),
    ] {
        assert_eq!(locator(wrong), None);
    }
}

/// RFC 8990 §2.8.2: an option that is not consistent with the message is discarded, and nothing else. So are a Divert, an
/// Accept and a Decline outside their messages (§2.9.2 to §2.9.4).
#[test]
fn an_option_in_a_flood_that_is_no_locator_is_discarded_alone() {
    for option in [
        cbor!([103, IP6, 6, ()]),
        cbor!([103, IP6, (), 1]),
        cbor!([104, IP4, 6, 65_536]),
        cbor!([105, "a.example", (), ()]),
        cbor!([105, "a.example"]),
        cbor!([103, IP4, 6, 1]),
        cbor!([107, IP6, 6, 1]),
        cbor!([200]),
        cbor!([100, [103, IP6, 6, 1]]),
        cbor!([101]),
        cbor!([102, "no"]),
    ] {
        let flood = cbor!([
            9,
            7,
            IP6,
            9,
            [["EX1", 5, 6, 1], (option.clone())],
            [["EX2", 5, 6, 2], [103, IP6, 41, 0]]
        ]);
        let Body::Flood(read) = decode(&flood).expect("a flood").body else { panic!("{flood}") };
        let [(first, None), (second, Some(locator))] = read.objectives.as_slice() else { panic!("{read:?}") };
        assert_eq!((first.name.as_str(), second.name.as_str()), ("EX1", "EX2"));
        assert_eq!((locator.protocol, locator.port), (Some(Protocol::Ipv6), Some(0)));
        // What is relayed is the datagram, not what was understood of it.
        let relayed =
            cbor!([9, 7, IP6, 9, [["EX1", 5, 5, 1], option], [["EX2", 5, 6, 2], [103, IP6, 41, 0]]]);
        assert_eq!(wire::with_loop_count(&flood.encode(), 5), Some(relayed.encode()));
    }
}

/// Any well-formed spelling is understood: long heads, indefinite lengths, chunks.
#[test]
fn spellings() {
    let plain = decode(&cbor!([1, 7, IP4, ["EX1", 5, 6, [1]]])).expect("a discovery");
    for hex in [
        "9f 01 07 44c0000201 9f 63455831 05 06 9f 01 ff ff ff",
        "9b0000000000000004 1801 1b0000000000000007 5a00000004c0000201
         990004 7900034558 31 1a00000005 190006 9a00000001 190001",
        "9f 01 07 5f 42c000 40 420201 ff 84 7f 6145 62583 1 ff 05 06 81 01 ff",
    ] {
        assert_eq!(decode_hex(hex), Ok(plain.clone()), "{hex}");
    }
}

#[test]
fn text_is_utf8() {
    for hex in
        ["83 04 07 84 62c328 05 06 00", "83 04 07 84 7f 61c3 61a9 ff 05 06 00", "83 04 07 84 6141 05 06 61ff"]
    {
        assert_eq!(decode_hex(hex).map_err(|error| error.reason()), Err("malformed"), "{hex}");
    }
}

#[test]
fn a_datagram_is_one_item() {
    assert_eq!(decode_hex("8100 00").map_err(|error| error.reason()), Err("trailing-bytes"));
    assert_eq!(decode_hex("8100 ff").map_err(|error| error.reason()), Err("trailing-bytes"));
    assert_eq!(decode_hex("").map_err(|error| error.reason()), Err("truncated"));
    assert_eq!(wire::decode_prefix(&[0x81, 0, 0xff], &Limits::default()).map(|(_, length)| length), Ok(2));
}

/// RFC 8990 §2.8.3: 2048 bytes are taken, and no more.
#[test]
fn sizes() {
    let message = |length| cbor!([4, 7, ["EX1", 5, 6, (vec![0u8; length])]]);
    let overhead = message(2000).encode().len() - 2000;
    accepted(&[message(2048 - overhead)]);
    refused("too-large", &[message(2049 - overhead)]);
    let larger = Limits { size: 100_000, ..Limits::default() };
    assert!(wire::decode(&message(90_000).encode(), &larger).is_ok());
}
