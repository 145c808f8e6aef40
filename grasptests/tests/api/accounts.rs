//! Everything that an engine receives, sends, begins and accepts is counted once, as what became of it: the equations
//! in the documentation of `Stats`, and what each counter must say after what was done.

use grasp::wire::{Body, Flags, Flood, Message, encode};
use grasp::{Config, Engine, Error, Negotiation, Stats, TaggedObjective, Value};
use grasptests::accounts::assert_accounts;
use grasptests::isolated;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, Node, RawUdp, Topology, eventually};
use grasptests::nodes::{
    Host, RawStream, SOON, discoverable, first_answer, flagged, joined, linked, negotiable, offer, step,
    synchronizable, two,
};

/// What counters have the values wanted; waits for them.
#[track_caller]
fn expect(engine: &Engine, wanted: &[(&str, u64)]) {
    let value = |stats: &Stats, name: &str| {
        stats.named().into_iter().find(|(known, _)| *known == name).expect("a counter").1
    };
    let wrong = || {
        let stats = engine.stats();
        let wrong = wanted.iter().filter(|(name, count)| value(&stats, name) != *count);
        wrong
            .map(|(name, count)| format!("{name} is {}, not {count}", value(&stats, name)))
            .collect::<Vec<_>>()
    };
    let deadline = std::time::Instant::now() + SOON;
    while !wrong().is_empty() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(wrong(), Vec::<String>::new());
}

#[test]
fn sessions_between_two_nodes_are_accounted_for() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    far.register(&negotiable("EX1", 1));
    near.register(&negotiable("EX1", 1));
    far.register(&synchronizable("EX2", 1));
    far.run(|engine, asa| engine.listen_synchronize(asa, &synchronizable("EX2", 7))).unwrap();
    let (neg, synch) = (far.locator("EX1"), far.locator("EX2"));

    let listener = far.listen(&negotiable("EX1", 0));
    let asker = near.thread(move |engine, asa| {
        let (session, offered) = offer(engine.req_negotiate(asa, &negotiable("EX1", 5), Some(&neg), None));
        assert_eq!(offered.value, Value::from(6));
        engine.end_negotiate(asa, session, true, None)
    });
    let (session, mut wish) = joined(listener).unwrap();
    wish.value = Value::from(6);
    let agreed = far.run(|engine, asa| engine.negotiate_step(asa, session, &wish, None)).unwrap();
    assert!(matches!(agreed, Negotiation::Agreed(_)));
    joined(asker).unwrap();
    let value = near
        .run(|engine, asa| engine.synchronize(asa, &synchronizable("EX2", ()), Some(&synch), None))
        .unwrap();
    assert_eq!(value.value, Value::from(7));

    assert_accounts(&near.engine);
    assert_accounts(&far.engine);
    let both = [("sessions_ended", 2), ("connections_closed", 2), ("sessions_peak", 1)];
    expect(&near.engine, &both);
    let asked = [
        ("sessions_opened", 2),
        ("connections_opened", 2),
        ("session_messages_sent", 3),
        ("replies_received", 2),
        ("messages_sent", 3),
        ("messages_received", 2),
    ];
    expect(&near.engine, &asked);
    let answered = [
        ("connections_accepted", 2),
        ("first_messages", 2),
        ("negotiation_requests", 1),
        ("synchronization_requests", 1),
        ("sessions_accepted", 1),
        ("synch_sent", 1),
        ("session_messages_sent", 1),
        ("replies_received", 1),
        ("sessions_ended", 1),
        ("messages_sent", 2),
        ("messages_received", 3),
    ];
    expect(&far.engine, &answered);
    let (near, far) = (near.engine.stats(), far.engine.stats());
    assert_eq!((near.bytes_sent, near.bytes_received), (far.bytes_received, far.bytes_sent));
}

#[test]
fn messaging_and_the_ends_of_sessions_are_accounted_for() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    for host in [&near, &far] {
        host.register(&negotiable("EX1", 1));
    }
    let at = far.locator("EX1");
    let listener = far.listen(&negotiable("EX1", 0));
    let session = near
        .run(|engine, asa| engine.req_negotiate_noloop(asa, &negotiable("EX1", 1), Some(&at), None))
        .unwrap();
    let (theirs, _) = joined(listener).unwrap();
    near.run(|engine, asa| engine.gsend(asa, session, &Value::from("item"))).unwrap();
    let item = far.run(|engine, asa| engine.grecv(asa, theirs, 10_000)).unwrap();
    assert_eq!(item, Value::from("item"));
    near.run(|engine, asa| engine.send_invalid(asa, session, None)).unwrap();
    let reply = far.run(|engine, asa| engine.grecv(asa, theirs, 10_000)).unwrap();
    assert_eq!(reply.as_array().map(<[Value]>::len), Some(3));
    assert_eq!(far.run(|engine, asa| engine.grecv(asa, theirs, 10_000)), Err(Error::NoPeer));
    for host in [&near, &far] {
        host.expect_quiet();
    }
    expect(&near.engine, &[("session_messages_sent", 3), ("sessions_ended", 1)]);
    expect(&far.engine, &[("items_received", 2), ("replies_missing", 1), ("sessions_ended", 1)]);

    // M_INVALID where a step is waited for, an answer that fits nothing, and none.
    let ask = |answer: fn(RawStream, Message)| {
        near.against(answer, |engine, asa, at| {
            engine.req_negotiate(asa, &negotiable("EX1", 1), Some(at), Some(10_000))
        })
    };
    assert_eq!(
        ask(|mut stream, request| {
            stream.say(Body::Noop);
            stream.say(Body::Invalid { session: request.session().unwrap(), content: None });
            stream.expect_end();
        }),
        Err(Error::NoValidStep)
    );
    assert_eq!(
        ask(|mut stream, request| {
            stream.say(Body::Synch(step(request.session().unwrap(), "EX1", 6, 1)));
            stream.expect_end();
        }),
        Err(Error::NoValidStep)
    );
    assert_eq!(ask(|_, _| {}), Err(Error::NoPeer));
    near.expect_quiet();
    let counted =
        [("invalid_received", 1), ("dropped_bad_reply", 1), ("noop_received", 1), ("replies_missing", 1)];
    expect(&near.engine, &counted);
}

/// A line of three nodes with an engine on each.
fn line() -> (Lab, Vec<Host>) {
    let lab = Lab::new().unwrap();
    let network = lab.build(Topology::Line(3)).unwrap();
    let hosts = network.nodes.iter().map(|node| Host::start(node, Config::new())).collect();
    (lab, hosts)
}

#[test]
fn discoveries_and_floods_across_a_relay_are_accounted_for() {
    isolated!();
    let (_lab, hosts) = line();
    let [near, middle, far] = &hosts[..] else { panic!("three nodes") };
    far.register_with(&synchronizable("EX1", 1), discoverable());
    let wanted = synchronizable("EX1", ());
    let found = near.run(|engine, asa| engine.discover(asa, &wanted, Some(10_000), first_answer())).unwrap();
    assert_eq!(found.len(), 1);
    // Nobody has this one.
    let nobody = near
        .run(|engine, asa| engine.discover(asa, &synchronizable("EX2", ()), Some(600), first_answer()))
        .unwrap();
    assert!(nobody.is_empty());
    let flooded = synchronizable("EX6", 1);
    near.register(&flooded);
    near.run(|engine, asa| engine.flood(asa, 60_000, &[TaggedObjective::new(flooded.clone(), None)]))
        .unwrap();
    eventually(SOON, "it has come by way of the relay", || {
        !far.run(|engine, asa| engine.get_flood(asa, &flooded)).unwrap().is_empty()
    });
    hosts.iter().for_each(Host::expect_quiet);
    let (first, relay, last) = (near.engine.stats(), middle.engine.stats(), far.engine.stats());
    assert_eq!(first.discoveries_begun, relay.discoveries_received);
    assert_eq!(relay.discoveries_relayed, relay.discoveries_received, "none is known in the middle");
    assert_eq!(last.discoveries_received, relay.discoveries_relayed);
    assert_eq!(last.discoveries_answered, last.responses_sent);
    assert_eq!(relay.responses_received, last.responses_sent);
    assert_eq!(relay.answers_relayed, relay.responses_received);
    assert_eq!(first.responses_received, relay.responses_sent);
    assert!(first.answers_delivered >= 1 && last.discoveries_unanswered >= 1);
    assert_eq!((first.floods_sent, relay.floods_relayed, last.floods_received), (1, 1, 1));
    assert_eq!((last.floods_not_relayed, last.flood_entries_cached), (1, 1));
    assert!((1..=2).contains(&relay.relays_peak) && relay.responders_peak >= 1, "{relay:?}");
}

/// An engine on a link, with a node from which anything may come.
fn attacked(config: Config) -> (Lab, Host, Node, RawUdp) {
    let (lab, _, a, b) = linked();
    let host = Host::start(&a, config);
    let address = b.link_local("eth0").unwrap();
    let socket = RawUdp::open(&b, "eth0", address, 0).unwrap();
    (lab, host, b, socket)
}

fn flood(session: u32, name: &str, loop_count: u8, initiator: std::net::IpAddr) -> Vec<u8> {
    flood_of(1, session, name, loop_count, initiator)
}

fn flood_of(value: u32, session: u32, name: &str, loop_count: u8, initiator: std::net::IpAddr) -> Vec<u8> {
    let objective = flagged(session, name, Flags::F_DISC | Flags::F_SYNCH, loop_count, value).objective;
    encode(&Message::new(Body::Flood(Flood {
        session,
        initiator,
        ttl: 0,
        objectives: vec![(objective, None)],
    })))
}

#[test]
fn whatever_comes_in_a_datagram_is_accounted_for() {
    isolated!();
    let (_lab, host, b, socket) = attacked(Config::new());
    let (link_local, ula) = (b.link_local("eth0").unwrap(), b.ula().unwrap());
    let discovery = |session| {
        let objective = flagged(session, "EX1", Flags::F_DISC, 1, ()).objective;
        encode(&Message::new(Body::Discovery { session, initiator: link_local.into(), objective }))
    };
    let group = [
        vec![0xff],
        vec![0x83, 0x01],
        vec![0; 3000],
        encode(&Message::new(Body::Noop)),
        vec![0x82, 0x18, 42, 7],
        encode(&Message::new(Body::Synch(step(7, "EX1", 6, 1)))),
        flood(8, "EX1", 6, link_local.into()),
        flood(9, "EX1", 6, ula.into()),
        flood(9, "EX1", 6, ula.into()),
        discovery(10),
    ];
    for bytes in &group {
        socket.send(bytes, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
    }
    let here = host.node.link_local("eth0").unwrap();
    for bytes in [&discovery(11), &group[7]] {
        socket.send(bytes, here, GRASP_LISTEN_PORT).unwrap();
    }
    let bytes: usize = group.iter().map(Vec::len).sum::<usize>() + discovery(11).len() + group[7].len();
    expect(
        &host.engine,
        &[
            ("multicast_received", 10),
            ("unicast_datagram_received", 2),
            ("datagram_bytes_received", u64::try_from(bytes).unwrap()),
            ("dropped_malformed", 2),
            ("dropped_oversize", 1),
            ("noop_received", 1),
            ("dropped_unknown_type", 1),
            ("dropped_misplaced", 2),
            ("dropped_link_local_flood", 1),
            ("floods_received", 2),
            ("duplicate_floods", 1),
            ("flood_entries_cached", 1),
            ("floods_not_relayed", 2),
            ("discoveries_received", 2),
            ("discoveries_unanswered", 2),
        ],
    );
    host.expect_quiet();
    eventually(SOON, "a burst is queued", || {
        (0..64).for_each(|_| socket.send(&[0xff], ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap());
        (0..64).for_each(|_| {
            socket.send(&flood(9, "EX1", 6, ula.into()), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap()
        });
        host.engine.stats().queue_peak >= 1
    });
    host.expect_quiet();
}

#[test]
fn the_value_that_was_flooded_last_is_kept_whether_it_came_alone_or_in_a_burst() {
    isolated!();
    let (_lab, host, b, socket) = attacked(Config::new());
    let ula = b.ula().unwrap();
    let mut sent = 0;
    for round in 0..400 {
        for _ in 0..=round % 4 {
            sent += 1;
            let bytes = flood_of(sent, sent, "EX1", 6, ula.into());
            socket.send(&bytes, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
        }
        eventually(SOON, "all are here", || host.engine.stats().flood_entries_cached == u64::from(sent));
        let kept = host.engine.get_flood(host.asa, &synchronizable("EX1", ())).unwrap();
        let kept: Vec<_> = kept.iter().map(|one| one.objective.value.as_i64()).collect();
        assert_eq!(kept, [Some(i64::from(sent))], "round {round}");
    }
}

#[test]
fn whatever_comes_over_a_connection_is_accounted_for() {
    isolated!();
    let (_lab, host, b, _) = attacked(Config::new().request_deadline(std::time::Duration::from_millis(500)));
    host.register(&negotiable("EX1", 1));
    host.register(&synchronizable("EX2", 1));
    let port = host.port("EX1");
    let address = host.node.ula().unwrap();
    let connect = || RawStream::connect(&b, address, port);
    let mut silent = connect();
    silent.expect_end();
    for bytes in [&[0xff][..], &[0x82, 0x01], &[0x81, 0x61, b'x']] {
        let mut stream = connect();
        stream.write(bytes);
        stream.finish();
        stream.expect_end();
    }
    for body in [
        Body::RequestNegotiate(step(1, "unknown", 6, 1)),
        Body::RequestSynchronize(flagged(2, "EX1", Flags::F_SYNCH, 6, 1)),
        Body::RequestNegotiate(step(3, "EX1", 6, 1)),
        Body::RequestSynchronize(flagged(4, "EX2", Flags::F_SYNCH, 6, 1)),
        Body::Negotiate(step(5, "EX1", 6, 1)),
    ] {
        let mut stream = connect();
        stream.say(Body::Noop);
        stream.say(body);
        stream.expect_end();
    }
    expect(
        &host.engine,
        &[
            ("connections_accepted", 9),
            ("dropped_bad_request", 4),
            ("dropped_undecodable", 1),
            ("first_messages", 5),
            ("noop_received", 5),
            ("messages_received", 11),
            ("negotiation_requests", 2),
            ("synchronization_requests", 2),
            ("refused_wrong_kind", 1),
            ("refused_not_listening", 3),
            ("dropped_misplaced", 1),
            ("connections_closed", 9),
        ],
    );
    host.expect_quiet();
    assert!(host.engine.stats().readers_peak >= 1);
}

#[test]
fn what_the_flood_cache_gives_up_is_accounted_for() {
    isolated!();
    let (_lab, host, b, socket) = attacked(Config::new().flood_cache_limit(10));
    let initiator = b.ula().unwrap().into();
    for number in 0..25 {
        let bytes = flood(number, &format!("F{number}"), 6, initiator);
        socket.send(&bytes, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
    }
    let counted = [("flood_entries_cached", 25), ("flood_cache_evicted", 15), ("flood_cache_peak", 10)];
    expect(&host.engine, &counted);
    host.expect_quiet();
}
