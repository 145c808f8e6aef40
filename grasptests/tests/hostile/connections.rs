//! Clients of the TCP ports that say nothing, little, too much, or nonsense.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV6, TcpStream};
use std::time::{Duration, Instant};

use grasp::Config;
use grasptests::isolated;
use grasptests::nodes::{RawStream, step};

use crate::scene::{LATER, Scene, call, dial, neg_of, negotiates};

const SHORT: Duration = Duration::from_millis(700);

/// Reads until the other end closes or breaks off; what came.
fn until_end(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(LATER)).unwrap();
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("not closed: {error}"),
        }
    }
}

/// Silent clients, many more than there are readers, on every port in turn; every negotiation beside them succeeds.
fn silent_clients(scene: &Scene, clients: usize, negotiations: usize) {
    let ports = scene.ports();
    let mut silent = Vec::new();
    let growth = scene.counted(|| {
        for _ in 0..negotiations {
            scene.attacker.run(|| {
                let more = (0..clients / negotiations).map(|number| dial(ports[number % ports.len()]));
                silent.extend(more);
            });
            negotiates(&scene.friend, &scene.victim).expect("an undisturbed negotiation");
            negotiates(&scene.victim, &scene.friend).expect("an undisturbed negotiation");
        }
    });
    let readers = 256;
    growth.at_least("the surplus made room", |s| s.dropped_reader_full, silent.len() - readers - 1);
    drop(silent);
    growth.is("all are done with", |s| s.dropped_bad_request + s.dropped_reader_full, clients);
    assert_eq!(growth.of(|s| s.accept_failed), 0);
}

#[test]
fn hundreds_of_silent_clients_on_every_port_do_not_disturb_a_negotiation() {
    isolated!();
    let scene = Scene::new(Config::new().request_deadline(Duration::from_secs(20)));
    scene.survives(|scene| silent_clients(scene, 900, 30));
}

#[test]
#[ignore = "takes a minute; run with cargo test --release -p grasptests --test hostile -- --ignored --nocapture"]
fn thousands_of_silent_clients_with_the_default_deadline_do_not_disturb_a_negotiation() {
    isolated!(300);
    let scene = Scene::new(Config::new());
    scene.survives(|scene| silent_clients(scene, 8000, 200));
}

/// One peer that opens connections as fast as it can does not displace a slow peer that behaves.
#[test]
fn a_storm_of_connections_of_one_peer_does_not_displace_the_slow_connection_of_another() {
    isolated!();
    let scene = Scene::new(Config::new().reader_limit(32).request_deadline(LATER));
    scene.survives(|scene| {
        let at = scene.port_of(&neg_of(&scene.victim));
        let mut slow = RawStream::reach(&scene.friend.node, at);
        let request = grasp::wire::Body::RequestNegotiate(step(77, &neg_of(&scene.victim), 6, 1));
        let bytes = grasp::wire::encode(&grasp::wire::Message::new(request));
        slow.write(&bytes[..4]);
        let waited = scene.counted(|| {});
        let growth = scene.counted(|| {
            let storm: Vec<_> = scene.attacker.run(|| (0..200).map(|_| dial(at)).collect());
            waited.at_least("the storm displaced itself", |s| s.dropped_reader_full, 150);
            slow.write(&bytes[4..]);
            assert_eq!(slow.hear().session(), Some(77));
            drop(storm);
        });
        growth.at_least("one has been served", |s| s.negotiation_requests, 1);
        slow.say(grasp::wire::Body::Negotiate(step(77, &neg_of(&scene.victim), 4, 1)));
        assert_eq!(slow.hear().session(), Some(77));
        slow.expect_end();
    });
}

/// A byte now and then, for ever, is no request.
#[test]
fn a_byte_at_a_time_does_not_extend_the_deadline() {
    isolated!();
    let scene = Scene::new(Config::new().request_deadline(SHORT));
    scene.survives(|scene| {
        let ports = scene.ports();
        let growth = scene.counted(|| {
            let lived = scene.attacker.run(|| {
                let mut streams: Vec<_> = (0..30).map(|number| Some(dial(ports[number % 3]))).collect();
                let started = Instant::now();
                // An array that says it has a hundred elements.
                for byte in [0x98, 100].into_iter().chain(std::iter::repeat(0)) {
                    for stream in &mut streams {
                        if stream.as_mut().is_some_and(|stream| stream.write_all(&[byte]).is_err()) {
                            *stream = None;
                        }
                    }
                    if streams.iter().all(Option::is_none) || started.elapsed() > LATER {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                started.elapsed()
            });
            assert!(lived < LATER / 3, "{lived:?}");
        });
        growth.is("all are broken off", |s| s.dropped_bad_request, 30);
    });
}

/// What a client may send without end: an array, a string in pieces, messages that mean nothing, noise.
#[test]
fn endless_streams_are_cut() {
    isolated!();
    let scene = Scene::new(Config::new().request_deadline(SHORT));
    let unknown = cbor!([77, 7, "?"]).encode();
    let endless: [(&[u8], &[u8]); 6] = [
        (&[0x9f], &[0x00; 512]),
        (&[0x5f], &[0x41, 0xaa]),
        (&[0xbf], &[0x01; 512]),
        (&[], &[0x81, 0x00, 0x81, 0x00, 0x81, 0x00]),
        (&[], &unknown),
        (&[], &[0xff; 64]),
    ];
    scene.survives(|scene| {
        let ports = scene.ports();
        let growth = scene.counted(|| {
            scene.attacker.run(|| {
                std::thread::scope(|scope| {
                    for (head, more) in endless {
                        for port in ports {
                            scope.spawn(move || endlessly(scene, port, head, more));
                        }
                    }
                });
            });
        });
        growth.is("all are broken off", |s| s.dropped_bad_request, 18);
        growth.at_least("M_NOOP is ignored", |s| s.noop_received, 3);
        growth.at_least("unknown messages too", |s| s.dropped_unknown_type, 3);
    });
}

fn endlessly(scene: &Scene, port: SocketAddrV6, head: &[u8], more: &[u8]) {
    // A thread of `run` is in the node; one that it starts is too.
    let mut stream = dial(port);
    let started = Instant::now();
    stream.set_write_timeout(Some(LATER)).unwrap();
    let mut sent = stream.write_all(head);
    while sent.is_ok() {
        assert!(started.elapsed() < LATER, "{} takes it all", scene.victim.node.name());
        sent = stream.write_all(more);
    }
}

/// Bytes that no message begins with: sizes up to exabytes that are promised and never come, and nesting.
fn monsters() -> Vec<Vec<u8>> {
    let mut monsters = Vec::new();
    // Byte string, text, array, map of 2^16, 2^31, 2^62 and 2^64-1 elements, alone and as an element of M_FLOOD.
    for major in [0x40, 0x60, 0x80, 0xa0_u8] {
        for length in [1_u64 << 16, 1 << 31, 1 << 62, u64::MAX] {
            let declared = [&[major | 27][..], &length.to_be_bytes()].concat();
            monsters.push([&[0x85, 0x09][..], &declared].concat());
            monsters.push(declared);
        }
    }
    for opening in [&[0x81][..], &[0x9f], &[0xa1, 0x00], &[0xbf, 0x00], &[0xc1], &[0xd8, 0x18], &[0x82, 0x00]]
    {
        monsters.push(opening.repeat(1500 / opening.len()));
    }
    // Whole messages that are too long, or nested too deep.
    monsters.push(cbor!([3, 7, ["x", 3, 6, (vec![0; 5000])]]).encode());
    let deep = (0..500).fold(cbor!(0), |inner, _| grasp::Value::Array(vec![inner]));
    monsters.push(cbor!([3, 7, ["x", 3, 6, deep]]).encode());
    monsters
}

#[test]
fn oversized_and_deeply_nested_items_and_exabytes_are_refused_at_once() {
    isolated!();
    let scene = Scene::new(Config::new().request_deadline(LATER));
    let monsters = monsters();
    scene.survives(|scene| {
        let ports = scene.ports();
        let growth = scene.counted(|| {
            for port in ports {
                scene.attacker.run(|| {
                    for monster in &monsters {
                        let mut stream = dial(port);
                        // It may be closed before all is written.
                        let _ = stream.write_all(monster);
                        assert!(until_end(&mut stream).is_empty());
                    }
                });
            }
        });
        growth.is("over TCP", |s| s.dropped_bad_request, 3 * monsters.len());
        let socket = scene.at_link_local();
        let growth = scene.counted(|| {
            for monster in &monsters {
                use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT};
                socket.send(monster, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
            }
        });
        growth.is("received", |s| s.multicast_received, monsters.len());
        let dropped = |s: &grasp::Stats| s.dropped_malformed + s.dropped_oversize;
        growth.is("dropped", dropped, monsters.len());
        growth.is("one is too long", |s| s.dropped_oversize, 1);
    });
}

/// Requests of every kind for what nobody has, and messages that are none, as fast as one peer can.
#[test]
fn a_storm_of_requests_for_nothing_is_refused_by_reason() {
    isolated!();
    let scene = Scene::new(Config::new());
    let requests = [
        cbor!([3, 7, ["nobody", 3, 6, 1]]),
        cbor!([4, 7, ["nobody", 5, 6, ()]]),
        cbor!([4, 7, ["neg:victim", 5, 6, ()]]),
        cbor!([3, 7, ["syn:victim", 3, 6, 1]]),
        // Negotiation and synchronization at once.
        cbor!([3, 7, ["neg:victim", 7, 6, 1]]),
        cbor!([99, 7, "invalid"]),
        cbor!([8, 7, ["syn:victim", 5, 6, 1]]),
    ];
    scene.survives(|scene| {
        let at = scene.port_of(&neg_of(&scene.victim));
        let growth = scene.counted(|| {
            for _ in 0..100 {
                for request in &requests {
                    let mut stream = call(scene, at);
                    stream.write(&request.encode());
                    stream.expect_end();
                }
            }
        });
        growth.is("not registered", |s| s.refused_not_listening, 200);
        growth.is("of the wrong kind", |s| s.refused_wrong_kind, 300);
        growth.is("no request", |s| s.dropped_misplaced, 200);
    });
}
