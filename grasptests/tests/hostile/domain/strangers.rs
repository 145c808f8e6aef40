//! Whoever is not authenticated.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddrV6, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use grasp::domain::{Algorithm, Authority, PrivateKey};
use grasp::wire::{Body, Message, encode};
use grasp::{Config, Rate, Stats};
use grasptests::domains::{DOMAIN, name};
use grasptests::isolated;
use grasptests::nodes::step;

use super::intruder::{Intruder, dial_from};
use super::{DAY, Domain, SHORT, announcement, forged, issued};
use crate::scene::{LATER, Scene, dial, neg_of, negotiates};

/// Shakes hands and says what each port waits for. There is no answer.
#[track_caller]
fn gets_nothing(domain: &Domain, what: &str, intruder: &Intruder) {
    let scene = &domain.scene;
    let request = encode(&Message::new(Body::RequestNegotiate(step(7, &neg_of(&scene.victim), 6, 1))));
    for (port, message) in domain.ports().into_iter().zip([announcement(domain.attacker(), 7), request]) {
        // A client of TLS 1.3 learns last whether it is refused.
        let Ok(mut talk) = intruder.reach_from(&scene.attacker, None, port) else { continue };
        let _ = talk.say(&message);
        assert_eq!(talk.end(), 0, "{what} at {port}");
    }
}

#[test]
fn whoever_shows_no_certificate_of_a_member_gets_nothing_on_either_port() {
    isolated!(120);
    let domain = Domain::new();
    let (own, now) = (&domain.authority, SystemTime::now());
    let named = |number| name(number).parse().unwrap();
    let other = Authority::create(DOMAIN, Algorithm::P256, now, DAY).unwrap();
    let elsewhere = Authority::create("other.example.com", Algorithm::P256, now, DAY).unwrap();
    let far_name = name(9).replace(DOMAIN, "other.example.com");
    let revoked = domain.member();
    domain.revoke(&revoked);
    let (member, spare) = (issued(own, &name(9)), PrivateKey::generate(Algorithm::P256).unwrap());
    let anchor = own.certificate();
    let copies = |count| std::iter::repeat_n(anchor.der().clone(), count);
    let mut strangers = vec![
        ("no certificate", Intruder::showing(Vec::new(), &spare)),
        ("of another authority of the domain", Intruder::with(&issued(&other, &name(9)))),
        ("of another domain", Intruder::with(&issued(&elsewhere, &far_name))),
        ("expired", Intruder::with(&own.credentials(&named(9), now - 10 * DAY).unwrap())),
        ("not valid yet", Intruder::with(&own.credentials(&named(9), now + 2 * DAY).unwrap())),
        ("revoked", revoked),
        ("that of another authority", Intruder::with_certificate(other.certificate(), other.key())),
        ("that of the authority", Intruder::with_certificate(anchor, own.key())),
        ("a chain of 30", Intruder::with(&member).and(copies(29))),
        ("a megabyte", Intruder::with(&member).and(copies((1 << 20) / anchor.der().len()))),
    ];
    strangers.extend(forged::all(&domain));
    let count = 2 * strangers.len();
    domain.survives(|domain| {
        let growth = domain.scene.counted(|| {
            strangers.iter().for_each(|(what, intruder)| gets_nothing(domain, what, intruder));
        });
        growth.is("refused", |s| s.connections_not_secured, count);
        growth.is("none has said anything", |s| s.dropped_bad_request, count);
        assert_eq!(growth.of(|s| s.neighbours_joined), 0);
    });
}

/// A ClientHello as before TLS 1.3: it does not say which versions it has.
fn old_hello() -> Vec<u8> {
    let extensions: [u8; 18] = [
        // The group secp256r1, and ECDSA with SHA-256 and SHA-384.
        0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 6, 0, 4, 4, 3, 5, 3,
    ];
    let mut hello = vec![3, 3];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2c, 1, 0, 0, 18]);
    hello.extend_from_slice(&extensions);
    let length = u8::try_from(hello.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &hello].concat()
}

/// Reads until the other end closes or breaks off; what came.
fn until_end(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(LATER)).unwrap();
    let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("not closed: {error}"),
        }
    }
}

#[test]
fn half_a_handshake_an_old_one_and_garbage_end_at_the_deadline_at_the_latest() {
    isolated!(120);
    let domain = Domain::with(Config::new().request_deadline(SHORT));
    let half: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let plain = announcement(domain.attacker(), 7);
    let endless = [&[22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &[0; 0x3ffc]].concat().repeat(20);
    let inputs: [&[u8]; 7] =
        [&[], half, &old_hello(), &[0xff; 500], &plain, b"GET / HTTP/1.1\r\n\r\n", &endless];
    domain.survives(|domain| {
        let growth = domain.scene.counted(|| {
            for port in domain.ports() {
                let began = Instant::now();
                let mut all: Vec<_> = inputs
                    .map(|input| {
                        let mut stream = domain.scene.attacker.run(|| dial(port));
                        // It may be closed before all is sent.
                        let _ = stream.write_all(input);
                        stream
                    })
                    .into();
                // An alert of TLS at most.
                all.iter_mut().for_each(|stream| assert!(until_end(stream).len() < 10));
                assert!(began.elapsed() < LATER / 3, "{:?}", began.elapsed());
            }
        });
        growth.is("all are refused", |s| s.connections_not_secured, 2 * inputs.len());
    });
}

/// As many connections as one machine can open, from many addresses: each silent, cut off, or with garbage.
#[test]
fn thousands_of_connections_from_hundreds_of_addresses_take_no_more_than_there_are_readers() {
    isolated!(240);
    /// What strangers may try: fewer than connect.
    const A_SECOND: u32 = 20;
    const AT_ONCE: u32 = 400;
    let domain = Domain::with(Config::new().stranger_handshake_rate(Rate::new(A_SECOND, AT_ONCE)));
    let addresses = domain.addresses(200);
    let scene = &domain.scene;
    let threads = scene.victim.engine.thread_count();
    domain.survives(|domain| {
        let port = domain.neighbour_port();
        let (mut most, began) = (0, Instant::now());
        let growth = scene.counted(|| {
            std::thread::scope(|scope| {
                let storms: Vec<_> = (addresses.chunks(50))
                    .map(|some| scope.spawn(|| scene.attacker.run(|| storm(some, port))))
                    .collect();
                while !storms.iter().all(|one| one.is_finished()) {
                    most = most.max(scene.victim.engine.thread_count());
                    negotiates(&scene.friend, &scene.victim).expect("a negotiation of members");
                }
            });
        });
        growth.at_least("all are counted", |s| s.connections_accepted, 2000);
        assert!(most <= threads + 256 + 20, "{most} threads instead of {threads}");
        let ended: fn(&Stats) -> u64 =
            |s| s.dropped_bad_request + s.dropped_reader_full + s.dropped_handshake_rate;
        growth.at_least("all have ended", ended, 2000);
        // However long it took on this machine.
        let tried = growth.of(|s| s.dropped_bad_request + s.dropped_reader_full);
        let most = f64::from(AT_ONCE) + f64::from(A_SECOND) * began.elapsed().as_secs_f64();
        eprintln!("{tried} were not closed at once, {most} at most");
        assert!(tried as f64 <= most, "{tried} were not closed at once, {most} at most");
    });
}

fn storm(from: &[std::net::Ipv6Addr], to: SocketAddrV6) {
    let mut silent = Vec::new();
    for (number, address) in from.iter().cycle().take(1000).enumerate() {
        // The queue of those that are not accepted yet may be full.
        let Ok(mut stream) = dial_from(Some(*address), to) else { continue };
        // It may be closed by now.
        let _ = match number % 3 {
            0 => stream.write_all(&[0xff; 100]),
            1 => stream.shutdown(Shutdown::Both),
            _ => {
                silent.push(stream);
                continue;
            }
        };
    }
    std::thread::sleep(Duration::from_millis(100));
}

/// The limit is for strangers: it is reached, and still members come in.
#[test]
fn strangers_that_use_up_the_rate_of_handshakes_keep_no_member_out_that_was_there_before() {
    isolated!(120);
    let domain = Domain::new();
    let addresses = domain.addresses(60);
    let Scene { attacker, friend, victim, .. } = &domain.scene;
    domain.survives(|domain| {
        let port = domain.neighbour_port();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                attacker.run(|| {
                    let latest = Instant::now() + 3 * LATER;
                    while !is_over.load(std::sync::atomic::Ordering::Relaxed) && Instant::now() < latest {
                        for address in &addresses {
                            let _ = dial_from(Some(*address), port).map(|mut it| it.write_all(&[0xff]));
                        }
                    }
                });
            });
            let dropped = victim.engine.stats().dropped_handshake_rate;
            grasptests::lab::eventually(LATER, "the rate is used up", || {
                victim.engine.stats().dropped_handshake_rate > dropped
            });
            friend.node.set_up("eth0", false).unwrap();
            grasptests::lab::eventually(LATER, "it has lost its neighbour", || {
                super::neighbours(friend) == 0
            });
            friend.node.set_up("eth0", true).unwrap();
            grasptests::lab::eventually(LATER, "and has it again", || super::neighbours(friend) == 1);
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    });
}
