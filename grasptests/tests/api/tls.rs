//! TLS on the interfaces of an ACP, with the certificates of a domain: members, strangers, and those who were members.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use grasp::domain::Revoked;
use grasp::trace::Event;
use grasp::wire::{Body, Message, encode};
use grasp::{Acp, Asa, AsaLocator, Config, Discover, Engine, Objective, RegisterObj, Reply, Source, Why};
use grasptests::domains::{authority, credentials, name, with_tls};
use grasptests::isolated;
use grasptests::lab::{Lab, Node, eventually};
use grasptests::nodes::{SOON, negotiable, step, synchronizable};

use crate::acp::Member;

const DAY: Duration = Duration::from_secs(86_400);

/// Nodes on one LAN.
fn lan<const N: usize>() -> (Lab, [Node; N]) {
    let lab = Lab::new().unwrap();
    let nodes = std::array::from_fn(|number| lab.node(&format!("n{number}")).unwrap());
    lab.lan(&nodes.each_ref()).unwrap();
    (lab, nodes)
}

/// The locator of an objective of a member.
fn locator(asker: &Member, name: &str) -> AsaLocator {
    let mut found = Vec::new();
    eventually(SOON, "it is found", || {
        let wanted = Objective::new(name);
        let asked = || asker.engine().discover(asker.asa.nonce(), &wanted, None, Discover::default());
        found = asker.node.run(asked).unwrap_or_default();
        !found.is_empty()
    });
    found.remove(0)
}

#[test]
fn members_work_together_and_know_each_other_by_name() {
    isolated!();
    let (_lab, [a, b]) = lan();
    let authority = authority();
    let near = Member::start(&a, with_tls(&credentials(&authority, 1)));
    let far = Member::start(&b, with_tls(&credentials(&authority, 2)));
    let trace = near.engine().trace();
    far.serve();
    near.works_with(&far);
    let got = near.node.run(|| near.asa.synchronize(&synchronizable("EX2", ()), None, None)).unwrap();
    let Source::Peer(peer) = got.source else { panic!("{got:?}") };
    assert_eq!(peer.name, Some(name(2)));
    let ex4 = negotiable("EX4", 0);
    let asa = Asa::register(far.engine(), "EX4").unwrap();
    far.node.run(|| far.engine().register_obj(asa.nonce(), &ex4, RegisterObj::default())).unwrap();
    let wanted = ex4.clone();
    let answering = far.node.spawn("answering", move || {
        let session = asa.accept(&wanted).unwrap();
        let names = (session.peer().name.clone(), session.certified_name().unwrap());
        session.accept().unwrap();
        names
    });
    near.node.run(|| near.engine().register_obj(near.asa.nonce(), &ex4, RegisterObj::default())).unwrap();
    let reply = near.node.run(|| near.asa.negotiate(&ex4, None, Some(5000))).unwrap();
    let Reply::Agreed { peer, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(peer.name, Some(name(2)));
    assert_eq!(answering.join().unwrap(), (Some(name(1)), Some(name(1))));
    let secured = std::iter::from_fn(|| trace.try_recv().ok())
        .any(|event| matches!(&event.event, Event::Secured { name: told, .. } if *told == name(2)));
    assert!(secured);
    for member in [&near, &far] {
        let stats = member.engine().stats();
        assert_eq!((stats.connections_not_secured, stats.panics), (0, 0));
    }
}

#[test]
fn strangers_get_nothing_and_disturb_nobody() {
    isolated!();
    let (_lab, [a, b, c, d]) = lan();
    let (own, other) = (authority(), authority());
    let near = Member::start(&a, with_tls(&credentials(&own, 1)));
    let far = Member::start(&b, with_tls(&credentials(&own, 2)));
    far.serve();
    let at = locator(&near, "EX3");
    // One of another domain, and one without TLS. Neither gets an answer to its discovery, and it does not help to know where.
    let foreign = Member::start(&c, with_tls(&credentials(&other, 3)));
    let plain = Member::start(&d, Acp::Interfaces(vec!["eth0".into()]));
    for stranger in [&foreign, &plain] {
        assert_eq!(stranger.discover("EX3"), Ok(Vec::new()));
        let wish = negotiable("EX3", 1);
        let asked = stranger.node.run(|| stranger.asa.negotiate(&wish, Some(&at), Some(2000)));
        let why = asked.expect_err("no answer").why();
        assert_eq!(why, (stranger.node.name() == foreign.node.name()).then_some(Why::NotSecured));
    }
    // By hand: a request in the clear, half a handshake, garbage, and nothing at all.
    let request = encode(&Message::new(Body::RequestNegotiate(step(7, "EX3", 6, 1))));
    let at = std::net::SocketAddr::new(b.ula().unwrap().into(), at.port.unwrap());
    let half: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    for bytes in [&request[..], half, &[0xff; 500], &[]] {
        let mut stream = d.run(|| TcpStream::connect(at)).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.set_read_timeout(Some(SOON)).unwrap();
        // An alert of TLS at most.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 10, "{answer:02x?}");
    }
    // Many that say nothing.
    let silent: Vec<_> = (0..200).map(|_| d.run(|| TcpStream::connect(at)).unwrap()).collect();
    near.works_with(&far);
    drop(silent);
    eventually(SOON, "all are counted", || far.engine().stats().connections_not_secured >= 6);
    assert_eq!(far.engine().stats().panics, 0);
    eventually(SOON, "nothing of them remains", || far.engine().open_sessions() == 0);
}

#[test]
fn a_peer_that_stalls_in_the_handshake_takes_no_longer_than_connecting_may() {
    isolated!();
    let (_lab, [a, b]) = lan();
    let config = Config::new().acp(with_tls(&credentials(&authority(), 1)));
    let engine = a.run(|| Engine::start(config.connect_timeout(Duration::from_secs(1)))).unwrap();
    let asa = Asa::register(&engine, "asker").unwrap();
    let (address, wish) = (b.ula().unwrap(), negotiable("EX3", 1));
    a.run(|| engine.register_obj(asa.nonce(), &wish, RegisterObj::default())).unwrap();
    // Half a record says nothing for long; one byte after the other says something all the time.
    let hello: &[u8] = &[22, 3, 3, 0x40, 0];
    for (said, trickles) in [(&[][..], false), (hello, false), (hello, true)] {
        let listener = b.run(|| std::net::TcpListener::bind((address, 0))).unwrap();
        let at = AsaLocator::new(address, None).with_port(listener.local_addr().unwrap().port());
        let stalls = b.spawn("stalls", move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(said).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let mut chunk = [0; 4096];
            // Until the other side closes.
            loop {
                match stream.read(&mut chunk) {
                    Ok(0) => return,
                    Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
                    _ if trickles => drop(stream.write_all(&[2])),
                    _ => {}
                }
            }
        });
        let started = std::time::Instant::now();
        let asked = a.run(|| asa.negotiate(&wish, Some(&at), Some(60_000)));
        let error = asked.expect_err("it never answers");
        assert_eq!(error.why(), Some(Why::TimedOut), "{error}");
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        stalls.join().unwrap();
    }
    let stats = engine.stats();
    assert_eq!((engine.open_sessions(), stats.connections_not_secured, stats.panics), (0, 3, 0));
}

#[test]
fn whoever_is_revoked_while_the_engines_run_is_outside_and_a_renewed_certificate_is_inside() {
    isolated!();
    let (_lab, [a, b]) = lan();
    let authority = authority();
    let (asker, answerer) = (credentials(&authority, 1), credentials(&authority, 2));
    let near = Member::start(&a, with_tls(&asker));
    let far = Member::start(&b, with_tls(&answerer));
    far.serve();
    near.works_with(&far);
    let at = locator(&near, "EX3");
    // Both a full handshake and a resumed one would have been possible until now.
    let revoked = Revoked { serial: asker.current().certificate().serial(), since: SystemTime::now() };
    let list = authority.revocation_list(&[revoked], 2, SystemTime::now(), DAY).unwrap();
    let fresh = authority.credentials(&name(2).parse().unwrap(), SystemTime::now()).unwrap();
    let key = grasp::domain::PrivateKey::from_pkcs8(fresh.key().pkcs8().secret_pkcs8_der()).unwrap();
    let chain = vec![fresh.certificate().clone()];
    let renewed = grasp::domain::Credentials::new(chain, key, fresh.anchors().to_vec(), vec![list]).unwrap();
    answerer.replace(renewed);
    let wish = negotiable("EX3", 1);
    let before = far.engine().stats().connections_not_secured;
    let asked = near.node.run(|| near.asa.negotiate(&wish, Some(&at), Some(2000)));
    assert!(asked.is_err(), "{asked:?}");
    eventually(SOON, "it is counted", || far.engine().stats().connections_not_secured > before);
    asker.replace(authority.credentials(&name(1).parse().unwrap(), SystemTime::now()).unwrap());
    let asked = near.node.run(|| near.asa.negotiate(&wish, Some(&at), Some(2000)));
    assert!(asked.is_ok(), "{asked:?}");
}
