//! A domain in reserve for an ACP, which comes and goes. On the other link of two members there are strangers, and a member.

use std::io::{Read as _, Write as _};
use std::net::SocketAddrV6;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use grasp::acp::{AcpStatus, Neighbours, Substrate};
use grasp::wire::{Body, Message, encode};
use grasp::{Acp, Config, Negotiation, Objective, SessionNonce};
use grasptests::isolated;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, eventually};
use grasptests::nodes::{Host, joined, negotiable, offer, overlapping, step};

use super::intruder::{self, dial_from};
use super::members::flood;
use super::storms::Over;
use super::{Domain, announcement_by, neighbours};
use crate::scene::{LATER, Scene, flooded, neg_of, negotiates_at};

/// What the attacker floods.
const JUNK: &str = "junk";

#[test]
fn whoever_is_outside_gets_nothing_while_a_domain_takes_the_place_of_an_acp_and_gives_it_back() {
    isolated!(240);
    // That of the ACP is the next interface of two of them, and the third has none.
    let mut interfaces = ["eth2", "eth1", "acp0"].into_iter();
    let domain = Domain::each(Config::new().listen_grace(LATER), |kept| Acp::Fallback {
        acp: Box::new(Acp::Interfaces(vec![interfaces.next().unwrap().to_owned()])),
        domain: Arc::clone(kept),
    });
    let Scene { victim, friend, .. } = &domain.scene;
    let acp = domain.scene._lab.link(&victim.node, &friend.node).unwrap();
    acp.unplug().unwrap();
    let uses = |host: &Host, name: &str| host.engine.link_names() == [name] && neighbours(host) == 0;
    let (member, held) = (domain.member(), negotiable("held", 1));
    [victim, friend].iter().for_each(|host| host.register_with(&held, overlapping()));
    domain.survives(|domain| {
        let (is_over, tried, answered) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let _over = Over(&is_over);
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    answered.fetch_add(says_in_the_clear(domain), Ordering::Relaxed);
                    tried.fetch_add(1, Ordering::Relaxed);
                }
            });
            let works = |how: &str| {
                negotiates_at(friend, victim, None).expect(how);
                let before = tried.load(Ordering::Relaxed);
                eventually(LATER, "the attacker has tried", || tried.load(Ordering::Relaxed) > before + 1);
            };
            for _ in 0..3 {
                let port = domain.neighbour_port();
                let own = domain.attacker();
                let mut inside = member.join(&domain.scene.attacker, own, 7, port).expect("a member");
                let (session, offer, waiting) = open_session(friend, victim, &held, true);
                // This request waits until the victim listens again.
                let (attacker, to) = (&domain.scene.attacker, domain.scene.port_of("held"));
                let mut queued = None;
                // What it says in the clear uses up its share of handshakes.
                eventually(LATER, "the member comes in", || {
                    queued = member.reach_from(attacker, None, to).ok();
                    queued.is_some()
                });
                let mut queued = queued.unwrap();
                let request = Message::new(Body::RequestNegotiate(step(7, "held", 6, 1)));
                let came = domain.scene.counted(|| queued.say(&encode(&request)).unwrap());
                came.at_least("it has come", |s| s.negotiation_requests, 1);
                acp.heal().unwrap();
                eventually(LATER, "the ACP is used", || uses(victim, "eth2") && uses(friend, "eth1"));
                inside.end();
                // By the link on which it was, it could go on.
                let step = friend.run(|engine, asa| engine.negotiate_step(asa, session, &offer, Some(5000)));
                assert!(step.is_err(), "the session of before has ended: {step:?}");
                let waited = joined(waiting);
                assert!(waited.is_err(), "on both sides: {waited:?}");
                works("in the ACP");
                let (session, _, waiting) = open_session(friend, victim, &held, false);
                friend.run(|engine, asa| engine.end_negotiate(asa, session, true, None)).unwrap();
                joined(waiting).expect("in the ACP");
                assert_eq!(queued.end(), 0, "the request of before is not answered");
                assert!(member.join(&domain.scene.attacker, own, 7, port).is_err(), "not in the ACP");
                acp.unplug().unwrap();
                domain.is_whole();
                works("in the domain");
            }
        });
        assert_eq!(answered.load(Ordering::Relaxed), 0, "bytes of an answer");
        assert!([victim, friend].iter().all(|host| flooded(host, JUNK).is_none()));
    });
}

/// An ACP whose neighbours have connections in the clear, and that is up when the test says so.
#[derive(Debug)]
struct OnAndOff(AtomicBool);

impl Substrate for OnAndOff {
    fn status(&self) -> AcpStatus {
        if self.0.load(Ordering::Relaxed) { AcpStatus::Secure } else { AcpStatus::Down }
    }

    fn interfaces(&self) -> Option<Vec<String>> {
        Some(vec!["eth0".to_owned(), "eth1".to_owned()])
    }

    fn neighbours(&self) -> Neighbours {
        Neighbours::Connections
    }
}

/// It has been connected with in the ACP, in the clear, and greets once the domain is in force, of which it has no certificate.
#[test]
fn a_neighbour_in_the_acp_that_greets_too_late_is_none_in_the_domain() {
    isolated!(120);
    let acp = Arc::new(OnAndOff(AtomicBool::new(true)));
    let domain = Domain::each(Config::new().connect_timeout(LATER), |kept| Acp::Fallback {
        acp: Box::new(Acp::Custom(acp.clone())),
        domain: Arc::clone(kept),
    });
    let own = domain.attacker();
    let listener = intruder::listen(&domain.scene.attacker, own);
    let port = listener.local_addr().unwrap().port();
    let announced = announcement_by("GRASP-TCP", own, own, port);
    domain.scene.neighbour().send(&announced, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
    let (victims, victim) = (domain.scene.link.link_local(&domain.scene.victim.node), &domain.scene.victim);
    let mut stream = loop {
        let (mut stream, peer) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LATER)).unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0, "its greeting");
        if peer.ip() == victims {
            break stream;
        }
    };
    let left = victim.engine.stats().neighbours_left;
    acp.0.store(false, Ordering::Relaxed);
    eventually(LATER, "the connections of the ACP have ended", || {
        victim.engine.stats().neighbours_left == left + 2
    });
    domain.is_whole();
    // As if it were one of the domain.
    let _ = stream.write_all(&announcement_by("GRASP-TLS", own, own, port));
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the end, and not nothing");
    assert_eq!((answer.len(), neighbours(victim)), (0, 2));
}

/// A negotiation that has begun: the asker's session and what it was offered, and the other side, which waits for a minute. The asker
/// connects with the address that the server has, or looks for it.
fn open_session(
    asker: &Host,
    server: &Host,
    about: &Objective,
    is_known: bool,
) -> (SessionNonce, Objective, JoinHandle<grasp::Result<Negotiation>>) {
    let wanted = about.clone();
    let waiting = server.thread(move |engine, asa| {
        let (session, asked) = engine.listen_negotiate(asa, &wanted)?;
        engine.negotiate_step(asa, session, &asked, Some(60_000))
    });
    let at = is_known.then(|| server.locator(&about.name));
    let (session, offer) =
        offer(asker.run(|engine, asa| engine.req_negotiate(asa, about, at.as_ref(), Some(10_000))));
    (session, offer, waiting)
}

/// Asks, floods, announces itself and requests, without TLS. Returns how many bytes it was answered that are no alert of TLS.
fn says_in_the_clear(domain: &Domain) -> usize {
    let Scene { attacker, victim, friend, .. } = &domain.scene;
    let own = domain.attacker();
    let objective = Objective::new(neg_of(victim)).into();
    let discovery = encode(&Message::new(Body::Discovery { session: 7, initiator: own.into(), objective }));
    let socket = domain.scene.neighbour();
    for datagram in
        [discovery.clone(), flood(7, JUNK, vec![7; 10], own), announcement_by("GRASP-TCP", own, own, 7)]
    {
        socket.send(&datagram, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
    }
    let request = |host| encode(&Message::new(Body::RequestNegotiate(step(7, &neg_of(host), 6, 1))));
    let answers = [victim, friend].into_iter().flat_map(|host| {
        let at =
            |name: &str| SocketAddrV6::new(domain.scene.link.ula(&host.node).unwrap(), host.port(name), 0, 0);
        let to = at(&neg_of(host));
        [request(host), discovery.clone()].map(|message| attacker.run(|| answered(to, &message)))
    });
    answers
        .filter(|answer| !matches!(answer[..], [] | [21, 3, _, 0, 2, _, _]))
        .map(|answer| answer.len())
        .sum()
}

/// What comes back in a moment, or until the connection is over.
fn answered(to: SocketAddrV6, message: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    // While the one gives way to the other, nobody may be there.
    if let Ok(mut stream) = dial_from(None, to) {
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let _ = stream.write_all(message).and_then(|()| stream.read_to_end(&mut answer));
    }
    answer
}
