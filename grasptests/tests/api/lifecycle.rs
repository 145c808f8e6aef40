//! Starting and stopping engines: what wakes up, what is left behind, and what is said when it cannot start.

use std::net::{Ipv6Addr, TcpStream, UdpSocket};
use std::thread::JoinHandle;
use std::time::Duration;

use grasp::wire::{Body, Message};
use grasp::{
    Asa, AsaLocator, AsaNonce, Config, Discover, Engine, Error, Negotiation, Objective, RegisterObj, Result,
    StartError, Value,
};
use grasptests::accounts::assert_accounts;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, RawUdp, eventually, process};
use grasptests::nodes::{
    Host, RawPeer, RawStream, SOON, at_once, discoverable, failure, first_answer, joined, linked, negotiable,
    negotiate, offer, one, step, synchronizable, two, within,
};
use grasptests::{isolated, own_engine};

/// Longer than any test.
const LONG: Option<u32> = Some(60_000);

/// Starts `call` against a hand-made peer that plays `peer` and then stays silent until the connection ends.
/// Returns when the peer has played.
fn blocked(
    host: &Host,
    peer: impl FnOnce(&mut RawStream, Message) + Send + 'static,
    call: impl FnOnce(&Engine, AsaNonce, &AsaLocator) -> Error + Send + 'static,
) -> (JoinHandle<Error>, JoinHandle<()>) {
    let raw = RawPeer::on(&host.node);
    let locator = raw.locator();
    let (played, has_played) = crossbeam_channel::bounded(1);
    let peer = host.node.spawn("peer", move || {
        let mut stream = raw.accept();
        let request = stream.hear();
        peer(&mut stream, request);
        played.send(()).unwrap();
        stream.expect_end();
    });
    let caller = host.thread(move |engine, asa| call(engine, asa, &locator));
    has_played.recv_timeout(SOON).unwrap();
    (caller, peer)
}

fn offers(stream: &mut RawStream, request: &Message) {
    stream.say(Body::Negotiate(step(request.session().unwrap(), "EX1", 5, 2)));
}

#[test]
fn an_engine_that_has_started_has_all_its_threads() {
    isolated!();
    let lab = Lab::new().unwrap();
    let node = lab.node("a").unwrap();
    lab.lan(&[&node]).unwrap();
    // `_host` and the starting thread both look for what to hear: a race, which shows about once in 30 starts.
    let counts: Vec<_> =
        (0..150).map(|_| node.run(|| Engine::start(Config::new())).unwrap().thread_count()).collect();
    assert!(counts.iter().all(|count| *count == 7), "{counts:?}");
}

#[test]
fn shutdown_wakes_every_blocked_call_and_leaves_nothing_behind() {
    isolated!();
    let (_lab, _, a, _) = linked();
    let before = (process::threads(), process::descriptors());
    let host = Host::start(&a, Config::new());
    let (ex1, ex2) = (negotiable("EX1", 1), synchronizable("EX2", 1));
    host.register(&ex1);
    host.register(&ex2);
    host.run(|engine, asa| engine.listen_synchronize(asa, &ex2)).unwrap();
    let listeners = [host.listen(&ex1), host.listen(&ex1)];

    let searching = Objective { loop_count: 255, ..synchronizable("EX3", 1) };
    // Of another name: equal discoveries would share one.
    let other = Objective { loop_count: 255, ..synchronizable("EX5", 1) };
    let sent = host.engine.stats().multicast_sent;
    let discovering: [JoinHandle<Error>; 3] = [
        host.thread({
            let searching = searching.clone();
            move |engine, asa| failure(engine.discover(asa, &searching, LONG, Discover::default()))
        }),
        host.thread(move |engine, asa| failure(engine.synchronize(asa, &other, None, LONG))),
        host.thread(|engine, asa| {
            let searching = Objective { loop_count: 255, ..negotiable("EX4", 1) };
            engine.register_obj(asa, &searching, RegisterObj::default()).unwrap();
            failure(engine.req_negotiate(asa, &searching, None, LONG))
        }),
    ];
    eventually(SOON, "all three search", || host.engine.stats().multicast_sent >= sent + 3);

    let waiting = [
        blocked(
            &host,
            |_, _| (),
            |engine, asa, peer| failure(engine.req_negotiate(asa, &negotiable("EX1", 1), Some(peer), LONG)),
        ),
        blocked(
            &host,
            |stream, request| {
                offers(stream, &request);
                assert!(matches!(stream.hear().body, Body::Negotiate(_)));
            },
            |engine, asa, peer| {
                let (session, held) =
                    offer(engine.req_negotiate(asa, &negotiable("EX1", 1), Some(peer), LONG));
                failure(engine.negotiate_step(asa, session, &held, LONG))
            },
        ),
        blocked(
            &host,
            |stream, request| stream.say(Body::Wait { session: request.session().unwrap(), time: 60_000 }),
            |engine, asa, peer| {
                failure(engine.req_negotiate(asa, &negotiable("EX1", 1), Some(peer), Some(1000)))
            },
        ),
        blocked(
            &host,
            |_, _| (),
            |engine, asa, peer| failure(engine.synchronize(asa, &synchronizable("EX2", 1), Some(peer), LONG)),
        ),
        blocked(
            &host,
            |stream, _| assert_eq!(stream.read().unwrap(), Value::from(1).encode()),
            |engine, asa, peer| {
                let opened = engine.req_negotiate_noloop(asa, &negotiable("EX1", 1), Some(peer), None);
                let session = opened.unwrap();
                engine.gsend(asa, session, &Value::from(1)).unwrap();
                failure(engine.grecv(asa, session, 60_000))
            },
        ),
    ];
    let mut silent = host.client("EX1");
    eventually(SOON, "the silent client is accepted", || host.engine.stats().connections_accepted > 0);

    within(Duration::from_secs(1), || {
        host.engine.shutdown();
        for thread in listeners {
            assert_eq!(failure(joined(thread)), Error::Unspec, "listen_negotiate");
        }
        for (number, thread) in discovering.into_iter().enumerate() {
            assert_eq!(joined(thread), Error::Unspec, "searching call {number}");
        }
        for (number, (caller, peer)) in waiting.into_iter().enumerate() {
            assert_eq!(joined(caller), Error::Unspec, "waiting call {number}");
            joined(peer);
        }
        silent.expect_end();
    });
    assert_eq!((host.engine.thread_count(), host.engine.open_sessions()), (0, 0));
    assert_eq!(host.engine.stats().panics, 0);
    drop((host, silent));
    eventually(SOON, "threads and descriptors are given back", || {
        process::threads() <= before.0 && process::descriptors() <= before.1
    });
}

#[test]
fn after_shutdown_every_call_says_so() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let (ex1, ex2) = (negotiable("EX1", 1), synchronizable("EX2", 1));
    let session = grasp::SessionNonce { id_value: 1, id_source: None };
    let tagged = grasp::TaggedObjective::new(ex2.clone(), None);
    host.engine.shutdown();
    at_once(|| host.engine.shutdown());
    let errors = host.run(|e, asa| {
        [
            e.register_asa("b").map(drop),
            e.deregister_asa(asa, "a"),
            e.register_obj(asa, &ex1, RegisterObj::default()),
            e.deregister_obj(asa, &ex1),
            e.discover(asa, &ex1, None, Discover::default()).map(drop),
            e.discover_by_rfc(asa, &ex1, 0, 0).map(drop),
            e.req_negotiate(asa, &ex1, None, None).map(drop),
            e.req_negotiate_noloop(asa, &ex1, None, None).map(drop),
            e.negotiate_step(asa, session, &ex1, None).map(drop),
            e.negotiate_wait(asa, session, None),
            e.end_negotiate(asa, session, true, None),
            e.send_invalid(asa, session, None),
            e.listen_negotiate(asa, &ex1).map(drop),
            e.stop_negotiate(asa, &ex1),
            e.gsend(asa, session, &Value::Null),
            e.grecv(asa, session, 1).map(drop),
            e.synchronize(asa, &ex2, None, None).map(drop),
            e.listen_synchronize(asa, &ex2),
            e.stop_synchronize(asa, &ex2),
            e.flood(asa, 0, std::slice::from_ref(&tagged)),
            e.get_flood(asa, &ex2).map(drop),
            e.expire_flood(asa, &tagged),
        ]
    });
    for (number, result) in errors.into_iter().enumerate() {
        assert_eq!(result, Err(Error::Unspec), "call {number}");
    }
}

#[test]
fn dropping_the_last_handle_is_shutdown() {
    isolated!();
    let (_lab, _, a, _) = linked();
    let before = (process::threads(), process::descriptors());
    let engine = a.run(|| Engine::start(Config::new())).unwrap();
    let asa = Asa::register(&engine, "guard").unwrap();
    a.run(|| engine.register_obj(asa.nonce(), &negotiable("EX1", 1), RegisterObj::default())).unwrap();
    let host = Host { node: a.clone(), engine, asa: asa.nonce() };
    let port = host.port("EX1");
    let mut client = host.client("EX1");
    let clone = host.engine.clone();
    drop(host);
    assert!(clone.thread_count() > 0, "a clone keeps it going");
    drop(clone);
    assert!(asa.engine().thread_count() > 0, "and so does an ASA");
    at_once(|| drop(asa));
    at_once(|| client.expect_end());
    assert!(a.run(|| TcpStream::connect((Ipv6Addr::LOCALHOST, port))).is_err());
    drop(client);
    eventually(SOON, "threads and descriptors are given back", || {
        process::threads() <= before.0 && process::descriptors() <= before.1
    });
}

#[test]
fn starting_and_stopping_again_and_again_costs_nothing() {
    isolated!();
    let (_lab, _, a, b) = linked();
    let far = Host::start(&b, Config::new());
    far.register_with(&negotiable("EX1", 1), discoverable());
    let round = || {
        let near = Host::start(&a, Config::new());
        near.register(&negotiable("EX1", 1));
        let found = near.run(|engine, asa| engine.discover(asa, &negotiable("EX1", 1), LONG, first_answer()));
        assert_eq!(found.unwrap().len(), 1);
    };
    (0..5).for_each(|_| round());
    let (threads, descriptors, memory) =
        (process::threads(), process::descriptors(), process::resident_kib());
    (0..30).for_each(|_| round());
    eventually(SOON, "threads and descriptors are given back", || {
        process::threads() <= threads && process::descriptors() <= descriptors
    });
    let grown = process::resident_kib().saturating_sub(memory);
    assert!(grown < 4096, "{grown} KiB more after 30 engines");
}

type Call = Box<dyn Fn(&Engine, AsaNonce) -> Result<()> + Send>;

#[test]
fn calls_that_meet_a_shutdown_end_with_it() {
    isolated!();
    let (_lab, _, a, b) = linked();
    for round in 0..8u64 {
        let far = Host::start(&b, Config::new());
        let near = Host::start(&a, Config::new());
        let (ex1, ex2) = (negotiable("EX1", 1), synchronizable("EX2", 1));
        for host in [&near, &far] {
            host.register(&ex1);
            host.register(&ex2);
        }
        far.run(|engine, asa| engine.listen_synchronize(asa, &ex2)).unwrap();
        let (neg, synch) = (far.locator("EX1"), far.locator("EX2"));
        // Each works until the engine is shut down. The listener never answers.
        let works = |call: Call, host: &Host| {
            host.thread(move |engine, asa| while call(engine, asa) != Err(Error::Unspec) {})
        };
        let threads = [
            works(
                Box::new(|engine, asa| engine.listen_negotiate(asa, &negotiable("EX1", 1)).map(drop)),
                &far,
            ),
            works(
                Box::new(move |engine, asa| {
                    engine.req_negotiate(asa, &negotiable("EX1", 1), Some(&neg), LONG).map(drop)
                }),
                &near,
            ),
            works(
                Box::new(move |engine, asa| {
                    engine.synchronize(asa, &synchronizable("EX2", 1), Some(&synch), LONG).map(drop)
                }),
                &near,
            ),
            works(
                Box::new(|engine, asa| {
                    engine.register_obj(asa, &negotiable("EX3", 1), RegisterObj::default()).or_else(|error| {
                        if error == Error::ObjReg {
                            engine.deregister_obj(asa, &negotiable("EX3", 1))
                        } else {
                            Err(error)
                        }
                    })
                }),
                &near,
            ),
        ];
        eventually(SOON, "work goes on", || far.engine.stats().synch_sent > round);
        at_once(|| near.engine.shutdown());
        at_once(|| far.engine.shutdown());
        assert_eq!((near.engine.thread_count(), far.engine.thread_count()), (0, 0));
        for thread in threads {
            at_once(|| joined(thread));
        }
        assert_eq!((near.engine.thread_count(), far.engine.thread_count()), (0, 0), "none comes later");
        assert_eq!((near.engine.open_sessions(), far.engine.open_sessions()), (0, 0));
    }
}

#[test]
fn shutting_down_from_several_threads_is_one_shutdown() {
    isolated!();
    let (_lab, host) = one(Config::new());
    host.register(&negotiable("EX1", 1));
    let listener = host.listen(&negotiable("EX1", 1));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            host.thread(|engine, _| {
                engine.shutdown();
                engine.thread_count()
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(at_once(|| joined(thread)), 0, "every caller finds it done");
    }
    assert_eq!(failure(joined(listener)), Error::Unspec);
}

/// Why an engine does not start in this namespace, after a check that nothing of it is left.
fn refused(lab: &Lab, config: Config, prepare: impl FnOnce() -> Option<UdpSocket> + Send) -> StartError {
    let node = &lab.nodes()[0];
    node.run(|| {
        let _held = prepare();
        let before = (process::threads(), process::descriptors());
        let error = Engine::start(config).expect_err("it should not start");
        eventually(SOON, "nothing is left", || (process::threads(), process::descriptors()) == before);
        let text = error.to_string();
        assert!(!text.contains('\n') && !text.ends_with('.') && text.len() < 200, "one sentence: {text}");
        error
    })
}

#[test]
fn a_node_without_a_usable_interface_is_told_so() {
    isolated!();
    let lab = Lab::new().unwrap();
    let a = lab.node("a").unwrap();
    let error = refused(&lab, Config::new(), || None);
    assert!(matches!(error, StartError::NoInterface), "{error}");
    assert!(error.to_string().contains("link-local"), "{error}");
    lab.lan(&[&a]).unwrap();
    let others = Config::new().interfaces(Some(vec!["eth7".to_owned()]));
    assert!(matches!(refused(&lab, others, || None), StartError::NoInterface));
    let excluded = Config::new().exclude_interfaces(vec!["eth0".to_owned()]);
    assert!(matches!(refused(&lab, excluded, || None), StartError::NoInterface));
    assert_eq!(Host::start(&a, Config::new()).engine.links().len(), 1, "and then it starts");
}

#[test]
fn a_port_that_another_program_holds_is_named() {
    isolated!();
    let (lab, _, _, _) = linked();
    let hold = || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 7017)).ok();
    let error = refused(&lab, Config::new(), || Some(hold().unwrap()).or_else(|| panic!("not held")));
    assert!(matches!(error, StartError::PortTaken(_)), "{error:?}");
    assert!(error.to_string().contains("7017") && std::error::Error::source(&error).is_some(), "{error}");
}

#[test]
fn a_system_without_ipv6_is_told_what_is_missing() {
    isolated!();
    let (lab, _, a, _) = linked();
    let disabled = a.run(|| std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"));
    if let Err(error) = disabled {
        // In some containers /proc/sys is read-only: then there is nothing to see.
        println!("IPv6 cannot be disabled here: {error}");
        assert!(Engine::start(Config::new()).is_err(), "outside the node there is no interface either");
        return;
    }
    let error = refused(&lab, Config::new(), || None);
    assert!(matches!(error, StartError::NoInterface | StartError::NoIpv6(_)), "{error:?}");
    assert!(error.to_string().contains("IPv6"), "{error}");
}

#[test]
fn an_engine_may_wait_for_its_interfaces() {
    isolated!();
    let lab = Lab::new().unwrap();
    let (a, b) = (lab.node("a").unwrap(), lab.node("b").unwrap());
    let config = Config::new().wait_for_interfaces(true).watch_interval(Duration::from_millis(50));
    let (near, far) = (Host::start(&a, config.clone()), Host::start(&b, config));
    far.register_with(&negotiable("EX1", 1), discoverable());
    assert!(near.engine.links().is_empty() && near.engine.my_address().is_none());
    lab.link(&a, &b).unwrap();
    eventually(SOON, "both use it", || near.engine.links().len() + far.engine.links().len() == 2);
    eventually(SOON, "both know their addresses", || {
        near.engine.my_address().is_some() && far.engine.my_address().is_some()
    });
    let found = near.run(|engine, asa| engine.discover(asa, &negotiable("EX1", 1), LONG, first_answer()));
    assert_eq!(found.unwrap()[0].port, Some(far.port("EX1")));
}

#[test]
fn two_engines_in_one_process_are_two_nodes() {
    isolated!();
    let (_lab, _, a, _) = linked();
    let (first, second) = (Host::start(&a, Config::new()), Host::start(&a, Config::new()));
    assert_eq!(first.engine.session_locator(), second.engine.session_locator());
    first.register(&negotiable("EX1", "first"));
    second.register(&negotiable("EX1", "second"));
    let listener = second.listen(&negotiable("EX1", ()));
    let client =
        first.thread(|engine, asa| engine.req_negotiate(asa, &negotiable("EX1", "hello"), None, LONG));
    let (session, held) = joined(listener).unwrap();
    assert_eq!(held.value, Value::from("hello"));
    assert_eq!(session.id_source, a.ula());
    let answer = second.thread(move |engine, asa| engine.negotiate_step(asa, session, &held, LONG));
    let (session, _) = offer(joined(client));
    first.engine.end_negotiate(first.asa, session, true, None).unwrap();
    assert!(matches!(joined(answer), Ok(Negotiation::Agreed(_))));
    at_once(|| first.engine.shutdown());
    assert!(second.engine.thread_count() > 0, "the other goes on");
    second
        .run(|engine, asa| engine.register_obj(asa, &synchronizable("EX2", 1), RegisterObj::default()))
        .unwrap();
}

#[test]
fn whoever_sets_no_limit_gets_a_very_high_one() {
    isolated!();
    let (never, any) = (Duration::MAX, usize::MAX);
    let config = Config::new().connect_timeout(never).response_timeout(never).request_deadline(never);
    let config = config.listen_grace(never).watch_interval(never).request_queue(any).requests_per_peer(any);
    let config = config.reader_limit(any).responder_limit(any).relay_limit(any).session_limit(any);
    let config = config.nesting(any).multicast_size(any).multicast_queue(any).response_queue(any);
    let config = config.unicast_size(any).multicast_send_size(any);
    let config = config.flood_cache_size(any).discovery_cache_size(any).multicast_queue_size(any);
    let (_lab, near, far) = two(config);
    for host in [&near, &far] {
        host.register_with(&negotiable("EX3", 0), discoverable());
    }
    far.register(&synchronizable("EX2", 1));
    far.run(|engine, asa| engine.listen_synchronize(asa, &synchronizable("EX2", 1))).unwrap();
    let slow = far.client("EX3");
    negotiate(&near, &far, None);
    // As deep as it gets, of every kind that can hold others.
    for opening in [&[0x81][..], &[0x9f], &[0xa1, 0x00], &[0xbf, 0x00], &[0xc1]] {
        let neighbours = RawUdp::neighbors(&near.node, "eth0").unwrap();
        let before = far.engine.stats().dropped_malformed;
        for depth in [120, 5000] {
            let deep = [&[0x82, 0x00][..], &opening.repeat(depth), &[0x00]].concat();
            neighbours.send(&deep, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
        }
        eventually(SOON, "it is dropped", || far.engine.stats().dropped_malformed > before);
    }
    drop(slow);
    near.expect_quiet();
    far.expect_quiet();
    assert_eq!((near.engine.stats().panics, far.engine.stats().panics), (0, 0));
}

#[test]
fn a_request_that_a_listener_gets_when_the_engine_ends_is_counted() {
    isolated!();
    own_engine!();
    const LISTENERS: u32 = 4;
    let (_lab, _, a, _) = linked();
    // Whether a request comes just then is chance, and not a small one.
    eventually(SOON * 3, "a request comes when the engine ends", || {
        let host = Host::start(&a, Config::new());
        host.register(&negotiable("EX1", 1));
        let listeners: Vec<_> = (0..LISTENERS).map(|_| host.listen(&negotiable("EX1", 0))).collect();
        let mut clients: Vec<_> = (0..LISTENERS).map(|_| host.client("EX1")).collect();
        for (session, client) in (1..).zip(&mut clients) {
            client.say(Body::RequestNegotiate(step(session, "EX1", 6, 1)));
        }
        while host.engine.stats().negotiation_requests == 0 {
            std::hint::spin_loop();
        }
        host.engine.shutdown();
        listeners.into_iter().for_each(|listener| drop(joined(listener)));
        assert_accounts(&host.engine);
        host.engine.stats().requests_abandoned > 0
    });
}
