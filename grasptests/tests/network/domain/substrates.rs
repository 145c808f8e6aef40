//! The neighbours' connections inside an ACP, and a domain in reserve for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use grasp::acp::{AcpStatus, Substrate};
use grasp::trace::Event;
use grasp::{Acp, Error, Objective};
use grasptests::domains::{authority, credentials};
use grasptests::lab::{Lab, Node, eventually};
use grasptests::nodes::{SOON, failure, negotiable};
use grasptests::{isolated, own_engine};

use super::Member;
use super::changes::open_session;

#[test]
fn inside_an_acp_connections_without_tls_carry_multicasts_and_tls_secures_sessions() {
    isolated!();
    let (lab, authority) = (Lab::new().unwrap(), authority());
    let nodes: Vec<_> = (0..3).map(|number| lab.node(&format!("n{number}")).unwrap()).collect();
    lab.link(&nodes[0], &nodes[1]).unwrap();
    lab.link(&nodes[1], &nodes[2]).unwrap();
    lab.route_all().unwrap();
    let start = |(node, number): (&Node, u8)| {
        let kept = credentials(&authority, number);
        let names = if number == 2 { vec!["eth0".into(), "eth1".into()] } else { vec!["eth0".into()] };
        let acp = Acp::InterfacesWithTls { names, credentials: Arc::clone(&kept), neighbours: true };
        Member::start_with(node, acp, kept)
    };
    let members: Vec<_> = nodes.iter().zip(1..).map(start).collect();
    let trace = members[0].host.engine.trace();
    eventually(SOON, "all are neighbours", || members[1].neighbours() == 2);
    members[0].works_with(&members[2], "ACP");
    // What is with the neighbour itself is with a link-local address; sessions are not.
    let events: Vec<_> =
        std::iter::from_fn(|| trace.try_recv().ok()).map(|event| event.event.clone()).collect();
    let secured = |near: bool| {
        let is_so = |event: &&Event| matches!(event, Event::Secured { peer, .. } if peer.ip().is_unicast_link_local() == near);
        events.iter().filter(is_so).count()
    };
    assert_eq!(secured(true), 0);
    assert!(secured(false) > 0);
    for member in &members {
        let stats = member.stats();
        assert_eq!((stats.multicast_sent, stats.connections_not_secured), (stats.announcements_sent, 0));
    }
}

#[test]
fn a_domain_takes_the_place_of_an_acp_that_goes_down_and_gives_it_back() {
    isolated!();
    let (lab, authority) = (Lab::new().unwrap(), authority());
    let [a, b] = ["a", "b"].map(|name| lab.node(name).unwrap());
    // One link is the ACP's, the other is there in any case.
    let acp = lab.link(&a, &b).unwrap();
    lab.link(&a, &b).unwrap();
    let start = |node: &Node, number| {
        let kept = credentials(&authority, number);
        let acp = Box::new(Acp::Interfaces(vec!["eth0".into()]));
        Member::start_with(node, Acp::Fallback { acp, domain: Arc::clone(&kept) }, kept)
    };
    let members = [start(&a, 1), start(&b, 2)];
    members[0].works_with(&members[1], "ACP");
    assert!(members.iter().all(|one| one.neighbours() == 0 && one.stats().connections_not_secured == 0));

    let (session, answering) = open_session(&members[0], &members[1]);
    let went = Instant::now();
    acp.unplug().unwrap();
    eventually(SOON, "they are neighbours in the domain", || members.iter().all(|one| one.neighbours() == 1));
    assert!(went.elapsed() < Duration::from_secs(3), "{:?}", went.elapsed());
    let stepped = members[0]
        .host
        .run(|engine, asa| engine.negotiate_step(asa, session, &negotiable("TALK", 2), Some(5000)));
    let _ = failure(stepped);
    assert!(!answering.join().unwrap(), "the session of before has ended on both sides");
    members[0].works_with(&members[1], "DOMAIN");

    acp.heal().unwrap();
    eventually(SOON, "the ACP is used again", || {
        members.iter().all(|one| one.neighbours() == 0 && one.host.engine.link_names() == ["eth0"])
    });
    members[1].works_with(&members[0], "ACP-AGAIN");
}

/// An ACP that is up when the test says so.
#[derive(Debug, Default)]
struct OnAndOff(AtomicBool);

impl Substrate for OnAndOff {
    fn status(&self) -> AcpStatus {
        if self.0.load(Ordering::Relaxed) { AcpStatus::Secure } else { AcpStatus::Down }
    }

    fn interfaces(&self) -> Option<Vec<String>> {
        Some(vec!["eth0".to_owned()])
    }
}

#[test]
fn a_domain_takes_the_place_of_an_acp_on_the_same_link() {
    isolated!();
    own_engine!();
    let (lab, authority) = (Lab::new().unwrap(), authority());
    let [a, b] = ["a", "b"].map(|name| lab.node(name).unwrap());
    lab.link(&a, &b).unwrap();
    let acp = Arc::new(OnAndOff(AtomicBool::new(true)));
    let start = |node: &Node, number| {
        let kept = credentials(&authority, number);
        let acp = Box::new(Acp::Custom(acp.clone()));
        Member::start_with(node, Acp::Fallback { acp, domain: Arc::clone(&kept) }, kept)
    };
    let members = [start(&a, 1), start(&b, 2)];
    for (name, is_up) in [("ACP", true), ("DOMAIN", false), ("ACP-AGAIN", true), ("DOMAIN-AGAIN", false)] {
        acp.0.store(is_up, Ordering::Relaxed);
        let wanted = if is_up { 0 } else { 1 };
        eventually(SOON, name, || members.iter().all(|one| one.neighbours() == wanted));
        members[0].works_with(&members[1], name);
    }
    assert!(members.iter().all(|one| one.stats().panics == 0));
}

#[test]
fn with_neither_there_is_no_security() {
    isolated!();
    let (lab, authority) = (Lab::new().unwrap(), authority());
    let [a, b] = ["a", "b"].map(|name| lab.node(name).unwrap());
    lab.link(&a, &b).unwrap();
    let kept = credentials(&authority, 1);
    let acp = Box::new(Acp::Interfaces(vec!["acp0".into()]));
    let member = Member::start_with(&a, Acp::Fallback { acp, domain: Arc::clone(&kept) }, Arc::clone(&kept));
    let discover = || {
        let wanted = Objective::new("EX3");
        member.host.run(|engine, asa| engine.discover(asa, &wanted, Some(100), Default::default()))
    };
    assert_eq!(discover(), Ok(Vec::new()), "the domain is in force");
    // Its certificate is revoked: it is no member itself.
    kept.replace(super::revoked(&authority, &kept.current()));
    eventually(SOON, "there is no security", || discover() == Err(Error::NoSecurity));
    let asked =
        member.host.run(|engine, asa| engine.req_negotiate(asa, &negotiable("EX3", 1), None, Some(100)));
    assert_eq!(failure(asked), Error::NoSecurity);
}
