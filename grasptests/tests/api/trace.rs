//! What an engine tells of itself: complete, in order, and without being slowed down by who listens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use grasp::trace::{Cache, Carrier, Direction, Ending, Event, MessageEvent, SessionKind, Trace, TraceEvent};
use grasp::wire::{Body, Limits, decode};
use grasp::{Config, Discover, Objective, RegisterObj, TaggedObjective, Value};
use grasptests::lab::{Lab, LabError, Topology, eventually};
use grasptests::nodes::{Host, SOON, negotiable, negotiate, one, two};
use grasptests::{isolated, own_engine};

/// Everything until nothing comes for a while; the engine has been shut down.
fn all(trace: Trace) -> Vec<Arc<TraceEvent>> {
    assert_eq!(trace.lost(), 0);
    trace.collect()
}

fn kind(message: &MessageEvent) -> String {
    let message = decode(&message.bytes, &Limits::default()).expect("engines send messages");
    let name = match message.body {
        Body::Discovery { .. } => "M_DISCOVERY",
        Body::Response(_) => "M_RESPONSE",
        Body::RequestNegotiate(_) => "M_REQ_NEG",
        Body::Negotiate(_) => "M_NEGOTIATE",
        Body::End { .. } => "M_END",
        Body::Wait { .. } => "M_WAIT",
        Body::Flood(_) => "M_FLOOD",
        _ => "another",
    };
    name.to_owned()
}

/// An event as a line; none for what says nothing about the order of a negotiation: own multicasts that come back,
/// and connections, which are closed whenever their thread gets to it.
fn line(event: &Event) -> Option<String> {
    let side = |direction| if direction == Direction::In { "<-" } else { "->" };
    Some(match event {
        Event::Message(m) if m.carrier == Carrier::Multicast => {
            format!("{} {} *", side(m.direction), kind(m))
        }
        Event::Message(m) => format!("{} {}", side(m.direction), kind(m)),
        Event::SessionOpened(session) => format!("begin {:?} {}", session.kind, session.objective),
        Event::SessionEnded(session, how) => format!("end {:?} {how}", session.kind),
        Event::CacheAdded(entry) if entry.cache == Cache::Discovery => format!("cache {}", entry.objective),
        Event::Relayed { .. } => "relay".to_owned(),
        Event::Dropped { reason } => format!("drop {reason}"),
        _ => return None,
    })
}

fn lines(events: &[Arc<TraceEvent>]) -> Vec<String> {
    events.iter().filter_map(|event| line(&event.event)).collect()
}

#[test]
fn a_negotiation_over_a_relay_is_told_completely_and_in_order() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let network = lab.build(Topology::Line(3))?;
    let hosts: Vec<Host> = network.nodes.iter().map(|node| Host::start(node, Config::new())).collect();
    let traces: Vec<Trace> = hosts.iter().map(|host| host.engine.trace()).collect();
    hosts[2].register(&negotiable("EX3", 0));
    hosts[0].register(&negotiable("EX3", 10));
    negotiate(&hosts[0], &hosts[2], None);
    for host in &hosts {
        host.expect_quiet();
        host.engine.shutdown();
    }
    let told: Vec<_> = traces.into_iter().map(all).collect();

    let own = |line: &String| !matches!(line.as_str(), "<- M_DISCOVERY *" | "drop own_multicast");
    let asker: Vec<_> = lines(&told[0]).into_iter().filter(own).collect();
    let expected = [
        "begin Discovery EX3",
        "-> M_DISCOVERY *",
        "<- M_RESPONSE",
        "cache EX3",
        "end Discovery over",
        "begin Exchange EX3",
        "-> M_REQ_NEG",
        "<- M_NEGOTIATE",
        "-> M_NEGOTIATE",
        "<- M_END",
        "end Exchange accepted",
    ];
    assert_eq!(asker, expected);

    let relay = lines(&told[1]);
    let only = |wanted: &[&str]| -> Vec<String> {
        relay.iter().filter(|line| wanted.contains(&line.as_str())).cloned().collect()
    };
    let path =
        only(&["begin RelayedDiscovery EX3", "relay", "-> M_DISCOVERY *", "<- M_RESPONSE", "-> M_RESPONSE"]);
    assert_eq!(
        path,
        ["begin RelayedDiscovery EX3", "relay", "-> M_DISCOVERY *", "<- M_RESPONSE", "-> M_RESPONSE"]
    );
    // The same session from end to end, and the relay sends it out of the other interface.
    let session = |events: &[Arc<TraceEvent>], kind: SessionKind| {
        events.iter().find_map(|event| match &event.event {
            Event::SessionOpened(session) if session.kind == kind => Some(session.session),
            _ => None,
        })
    };
    let asked = session(&told[0], SessionKind::Discovery);
    assert!(asked.is_some());
    assert_eq!(session(&told[1], SessionKind::RelayedDiscovery), asked);
    let interfaces: Vec<u32> = told[1]
        .iter()
        .filter_map(|event| match &event.event {
            Event::Relayed { session, except } => {
                assert_eq!(Some(*session), asked);
                Some(*except)
            }
            Event::Message(m) if m.direction == Direction::Out && m.carrier == Carrier::Multicast => {
                Some(m.ifi)
            }
            _ => None,
        })
        .collect();
    assert_eq!(interfaces.len(), 2, "{interfaces:?}");
    assert_ne!(interfaces[0], interfaces[1]);

    let server: Vec<_> =
        lines(&told[2]).into_iter().filter(|line| line.contains("M_") || line.contains("Exchange")).collect();
    let expected = [
        "<- M_DISCOVERY *",
        "-> M_RESPONSE",
        "<- M_REQ_NEG",
        "begin Exchange EX3",
        "-> M_NEGOTIATE",
        "<- M_NEGOTIATE",
        // The session is over for this side before the last message leaves.
        "end Exchange accepted",
        "-> M_END",
    ];
    assert_eq!(server, expected);
    for events in &told {
        let times: Vec<u64> = events.iter().map(|event| event.monotonic_ms).collect();
        let opened = events.iter().filter(|event| matches!(event.event, Event::SessionOpened(_))).count();
        let ended = events.iter().filter(|event| matches!(event.event, Event::SessionEnded(..))).count();
        assert_eq!(opened, ended);
        assert!(times.iter().all(|time| *time > 0));
        assert!(events.iter().all(|event| !event.thread.is_empty()), "every thread has a name");
    }
    // Both ends tell of the same bytes, and of each other's addresses.
    let requests = |events: &[Arc<TraceEvent>]| -> MessageEvent {
        let request = |event: &Arc<TraceEvent>| match &event.event {
            Event::Message(message) if message.carrier == Carrier::Tcp && kind(message) == "M_REQ_NEG" => {
                Some(message.clone())
            }
            _ => None,
        };
        events.iter().find_map(request).unwrap()
    };
    let (sent, received) = (requests(&told[0]), requests(&told[2]));
    assert_eq!(sent.bytes, received.bytes);
    let place = |address: std::net::SocketAddrV6| (*address.ip(), address.port());
    assert_eq!((place(sent.local), place(sent.peer)), (place(received.peer), place(received.local)));
    assert!(sent.sealed.is_none() && received.sealed.is_none());
    Ok(())
}

#[test]
fn what_is_dropped_is_told_as_often_as_it_is_counted() {
    isolated!();
    own_engine!();
    let (_lab, a, b) = two(Config::new());
    let trace = b.engine.trace();
    let raw = grasptests::lab::RawUdp::neighbors(&a.node, "eth0").unwrap();
    for bytes in [&b"nonsense"[..], &[0x82, 0x18, 0x63, 0x01], &[0x81, 0x00]] {
        raw.send(bytes, grasptests::lab::ALL_GRASP_NEIGHBORS, grasptests::lab::GRASP_LISTEN_PORT).unwrap();
    }
    eventually(SOON, "all three came", || b.engine.stats().multicast_received >= 3);
    eventually(SOON, "all three were judged", || {
        let stats = b.engine.stats();
        stats.dropped_malformed + stats.dropped_unknown_type + stats.noop_received + stats.dropped_misplaced
            >= 3
    });
    b.engine.shutdown();
    let stats = b.engine.stats();
    let mut told = std::collections::BTreeMap::new();
    let mut came = 0;
    for event in all(trace) {
        match &event.event {
            Event::Dropped { reason } => *told.entry(*reason).or_insert(0) += 1,
            Event::Message(message) if message.direction == Direction::In => came += 1,
            _ => {}
        }
    }
    assert_eq!(came, stats.multicast_received, "also what is malformed is told");
    assert!(told.len() >= 2, "{told:?}");
    for (name, count) in told {
        assert!(stats.named().contains(&(name, count)), "{name}: {count} told, {stats:?}");
    }
}

#[test]
fn a_listener_that_does_not_read_loses_what_it_cannot_hold_and_slows_nobody() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let mut flooded = Objective::new("EX1");
    (flooded.synch, flooded.value) = (true, Value::from("x"));
    host.register_with(&flooded, RegisterObj::default());
    let floods = |count: u32| {
        let started = Instant::now();
        for _ in 0..count {
            host.run(|engine, asa| engine.flood(asa, 1000, &[TaggedObjective::new(flooded.clone(), None)]))
                .unwrap();
        }
        started.elapsed()
    };
    floods(50);
    let alone = floods(300);
    let stuck = host.engine.trace_with(1);
    let watched = floods(300);
    println!("300 floods: {alone:?} alone, {watched:?} with a listener that does not read");
    assert!(stuck.lost() >= 600, "a message and a cache entry for each flood: {}", stuck.lost());
    // An order of magnitude: the machine is shared.
    assert!(watched < alone * 10 + Duration::from_millis(500), "{watched:?} against {alone:?}");
    assert!(stuck.try_recv().is_ok() && stuck.try_recv().is_err(), "it holds one event");
    let lost = stuck.lost();
    drop(stuck);
    let again = host.engine.trace_with(100_000);
    floods(10);
    assert!(lost > 0 && again.lost() == 0);
    host.engine.shutdown();
    let sent =
        |event: &Arc<TraceEvent>| matches!(&event.event, Event::Message(m) if m.direction == Direction::Out);
    assert_eq!(all(again).iter().filter(|event| sent(event)).count(), 10);
}

#[test]
fn an_ending_says_how_and_a_line_goes_to_every_listener() {
    isolated!();
    let (_lab, a, b) = two(Config::new());
    let traces = [a.engine.trace(), b.engine.trace()];
    b.register(&negotiable("EX3", 0));
    a.register(&negotiable("EX3", 1));
    let listening = b.listen(&negotiable("EX3", 0));
    let asking = a.thread(|engine, asa| engine.req_negotiate(asa, &negotiable("EX3", 1), None, None));
    let (session, _) = listening.join().unwrap().unwrap();
    b.run(|engine, asa| engine.end_negotiate(asa, session, false, Some("too late"))).unwrap();
    assert!(asking.join().unwrap().is_err());
    grasp::tprint!("a line", 7);
    let found =
        a.run(|engine, asa| engine.discover(asa, &Objective::new("nobody"), None, Discover::default()));
    assert!(found.unwrap().is_empty());
    a.engine.shutdown();
    b.engine.shutdown();
    for trace in traces {
        let events = all(trace);
        let endings: Vec<&Ending> = events
            .iter()
            .filter_map(|event| match &event.event {
                Event::SessionEnded(session, how) if session.kind == SessionKind::Exchange => Some(how),
                _ => None,
            })
            .collect();
        assert_eq!(endings, [&Ending::Declined(Some("too late".to_owned()))]);
        let said = |event: &&Arc<TraceEvent>| matches!(&event.event, Event::Line(line) if line == "a line 7");
        assert_eq!(events.iter().filter(said).count(), 1);
    }
}
