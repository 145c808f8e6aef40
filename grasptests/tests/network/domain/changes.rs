//! What changes while a domain runs: links, addresses, nodes, certificates, and who is a member.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use grasp::domain::Kept;
use grasp::{Acp, Error, Negotiation, SessionNonce};
use grasptests::domains::{authority, name};
use grasptests::isolated;
use grasptests::lab::{Lab, eventually};
use grasptests::nodes::{SOON, discoverable, failure, negotiable, offer, synchronizable};

use super::{Member, line};

#[test]
fn a_ring_has_a_way_around_a_node_that_ends() {
    isolated!();
    let (lab, authority) = (Lab::new().unwrap(), authority());
    let nodes: Vec<_> = (0..5).map(|number| lab.node(&format!("n{number}")).unwrap()).collect();
    for index in 0..5 {
        lab.link(&nodes[index], &nodes[(index + 1) % 5]).unwrap();
    }
    lab.route_all().unwrap();
    let members: Vec<_> =
        nodes.iter().zip(1..).map(|(node, number)| Member::start(node, &authority, number)).collect();
    for member in &members {
        eventually(SOON, "both neighbours are there", || member.neighbours() == 2);
    }
    members[0].floods_to(&members[1..].iter().collect::<Vec<_>>(), "AROUND");
    members[1].host.engine.shutdown();
    eventually(SOON, "its neighbours notice", || {
        members[0].neighbours() == 1 && members[2].neighbours() == 1
    });
    members[0].floods_to(&members[2..].iter().collect::<Vec<_>>(), "OTHER-WAY");
    members[2].floods_to(&[&members[0], &members[3], &members[4]], "AND-BACK");
    // It comes back, on another port.
    let again = Member::start(&nodes[1], &authority, 2);
    eventually(SOON, "it is a neighbour again", || again.neighbours() == 2 && members[0].neighbours() == 2);
    members[0].works_with(&again, "AGAIN");
}

#[test]
fn a_link_that_comes_later_is_used_and_one_that_goes_is_given_up() {
    isolated!();
    let (lab, authority) = (Lab::new().unwrap(), authority());
    let members = line(&lab, &authority, 2);
    eventually(SOON, "they are neighbours", || members[0].neighbours() == 1 && members[1].neighbours() == 1);
    let new = lab.node("new").unwrap();
    let link = lab.link(&members[1].host.node, &new).unwrap();
    lab.route_all().unwrap();
    let third = Member::start(&new, &authority, 3);
    eventually(SOON, "the new one is a neighbour", || {
        third.neighbours() == 1 && members[1].neighbours() == 2
    });
    members[0].works_with(&third, "LATER");
    link.unplug().unwrap();
    eventually(SOON, "the link is given up", || members[1].neighbours() == 1 && third.neighbours() == 0);
    link.heal().unwrap();
    eventually(SOON, "and taken up again", || members[1].neighbours() == 2 && third.neighbours() == 1);
    members[0].floods_to(&[&members[1], &third], "UP-AGAIN");
}

#[test]
fn a_neighbour_that_is_silent_is_lost_within_ten_seconds() {
    isolated!();
    let (lab, authority) = (Lab::new().unwrap(), authority());
    let [a, b] = ["a", "b"].map(|name| lab.node(name).unwrap());
    let link = lab.link(&a, &b).unwrap();
    let members = [Member::start(&a, &authority, 1), Member::start(&b, &authority, 2)];
    eventually(SOON, "they are neighbours", || members.iter().all(|one| one.neighbours() == 1));
    // No carrier is lost: only nothing arrives any more.
    let started = Instant::now();
    link.cut().unwrap();
    eventually(3 * SOON, "both notice", || members.iter().all(|one| one.neighbours() == 0));
    assert!(started.elapsed() < Duration::from_secs(11), "{:?}", started.elapsed());
    link.heal().unwrap();
    // The attempts in between have failed: the next ones wait for 10 s, and then for 20 s.
    eventually(6 * SOON, "they are neighbours again", || members.iter().all(|one| one.neighbours() == 1));
    members[0].works_with(&members[1], "HEALED");
}

#[test]
fn a_certificate_that_is_renewed_disturbs_no_session_and_no_neighbour() {
    isolated!();
    let (lab, authority) = (Lab::new().unwrap(), authority());
    let members = line(&lab, &authority, 2);
    eventually(SOON, "they are neighbours", || members.iter().all(|one| one.neighbours() == 1));
    let (session, answering) = open_session(&members[0], &members[1]);
    for (member, number) in members.iter().zip(1..) {
        let fresh = authority.credentials(&name(number).parse().unwrap(), SystemTime::now()).unwrap();
        member.kept.replace(fresh);
    }
    let before = members[0].stats().messages_received;
    members[1].floods_to(&[&members[0]], "RENEWED");
    assert!(members[0].stats().messages_received > before);
    // The node looks at its connections when the credentials have changed.
    std::thread::sleep(3 * super::LOOKS);
    assert!(members.iter().all(|one| one.neighbours() == 1 && one.stats().neighbours_left == 0));
    let asked = negotiable("TALK", 2);
    let (_, held) =
        offer(members[0].host.run(|engine, asa| engine.negotiate_step(asa, session, &asked, Some(5000))));
    assert_eq!(held.value, 3.into());
    members[0].host.run(|engine, asa| engine.end_negotiate(asa, session, true, None)).unwrap();
    assert!(answering.join().unwrap());
}

#[test]
fn a_revoked_member_loses_its_neighbours_and_its_sessions() {
    isolated!();
    let (lab, authority) = (Lab::new().unwrap(), authority());
    let members = line(&lab, &authority, 3);
    eventually(SOON, "they are neighbours", || members[1].neighbours() == 2);
    members[0].floods_to(&[&members[1], &members[2]], "BEFORE");
    let (session, answering) = open_session(&members[2], &members[1]);
    let serial = members[2].kept.current().certificate().serial();
    let started = Instant::now();
    for member in &members[..2] {
        member.kept.replace(super::with_list(&authority, &member.kept.current(), serial.clone()));
    }
    eventually(SOON, "it is no neighbour any more", || {
        members[1].neighbours() == 1 && members[2].neighbours() == 0
    });
    let asked = negotiable("TALK", 2);
    let stepped = members[2].host.run(|engine, asa| engine.negotiate_step(asa, session, &asked, Some(5000)));
    let _ = failure(stepped);
    assert!(!answering.join().unwrap(), "its peer has noticed, too");
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(members[1].stats().neighbours_expelled >= 1);
    // It tries again, and gets nothing; the others go on.
    // Its next attempt may have to wait for ten seconds.
    eventually(3 * SOON, "it is refused", || members[1].stats().connections_not_secured > 0);
    members[0].works_with(&members[1], "AFTER");
    let flooded =
        members[2].host.run(|engine, asa| engine.get_flood(asa, &synchronizable("AFTER-flood", ())));
    assert!(flooded.unwrap().is_empty(), "nothing reaches it any more");
}

#[test]
fn a_member_whose_certificate_expires_loses_its_neighbours_and_its_security() {
    isolated!();
    let (lab, authority) = (Lab::new().unwrap(), authority());
    let [a, b] = ["a", "b"].map(|name| lab.node(name).unwrap());
    lab.link(&a, &b).unwrap();
    let lasting = Member::start(&a, &authority, 1);
    let ends = Instant::now() + Duration::from_secs(8);
    let brief = Arc::new(Kept::new(super::lasting(&authority, 2, Duration::from_secs(8))));
    let brief = Member::start_with(&b, Acp::Domain(Arc::clone(&brief)), brief);
    eventually(SOON, "they are neighbours", || lasting.neighbours() == 1 && brief.neighbours() == 1);
    lasting.floods_to(&[&brief], "BEFORE");
    // The certificate ends with a whole second, and connections are looked at every ten.
    eventually(3 * SOON, "it has no neighbours", || lasting.neighbours() == 0 && brief.neighbours() == 0);
    assert!(Instant::now() + Duration::from_secs(1) > ends, "not before it expires");
    let wanted = negotiable("EX3", 0);
    let asked = brief.host.run(|engine, asa| engine.req_negotiate(asa, &wanted, None, Some(100)));
    assert_eq!(failure(asked), Error::NoSecurity);
    // A new certificate brings it back.
    brief.kept.replace(authority.credentials(&name(2).parse().unwrap(), SystemTime::now()).unwrap());
    eventually(3 * SOON, "it is back", || lasting.neighbours() == 1 && brief.neighbours() == 1);
    lasting.works_with(&brief, "RENEWED");
}

/// A negotiation that has begun: its session at the asker, and the thread that answers each offer with one more until it is accepted.
/// The thread returns whether it was.
pub(super) fn open_session(asker: &Member, server: &Member) -> (SessionNonce, JoinHandle<bool>) {
    let talk = negotiable("TALK", 0);
    server.host.register_with(&talk, discoverable());
    asker.host.register(&talk);
    let listening = server.host.listen(&talk);
    let (engine, asa) = (server.host.engine.clone(), server.host.asa);
    let answering = server.host.node.spawn("answering", move || {
        let (session, mut asked) = listening.join().unwrap().unwrap();
        loop {
            asked.value = 3.into();
            match engine.negotiate_step(asa, session, &asked, Some(60_000)) {
                Ok(Negotiation::Offer(_, next)) => asked = next,
                Ok(Negotiation::Agreed(_)) => return true,
                Err(_) => return false,
            }
        }
    });
    let asked = negotiable("TALK", 1);
    let (session, _) =
        offer(asker.host.run(|engine, asa| engine.req_negotiate(asa, &asked, None, Some(10_000))));
    (session, answering)
}
