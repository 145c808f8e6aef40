//! Neighbours find each other, and their connections carry everything.

use grasp::trace::{Carrier, Event};
use grasp::{AsaLocator, Error};
use grasptests::domains::{authority, name};
use grasptests::isolated;
use grasptests::lab::{Lab, eventually};
use grasptests::nodes::{SOON, failure, joined, negotiable, negotiate, synchronizable};

use super::{Member, line};

#[test]
fn a_line_of_six_works_from_end_to_end() {
    isolated!();
    let (lab, authority) = (Lab::new().unwrap(), authority());
    let members = line(&lab, &authority, 6);
    for (index, member) in members.iter().enumerate() {
        let wanted = if index == 0 || index == 5 { 1 } else { 2 };
        eventually(SOON, "all neighbours are there", || member.neighbours() == wanted);
    }
    members[0].works_with(&members[5], "FAR");
    members[5].works_with(&members[0], "BACK");
    members[2].works_with(&members[3], "NEAR");
    for member in &members {
        let stats = member.stats();
        assert_eq!((stats.panics, stats.connections_not_secured, stats.dropped_not_announced), (0, 0, 0));
        assert_eq!(stats.multicast_sent, stats.announcements_sent, "nothing else goes out in datagrams");
    }
}

#[test]
fn an_asa_decides_by_name_whom_it_admits() {
    isolated!();
    let (lab, authority) = (Lab::new().unwrap(), authority());
    let nodes: Vec<_> = (0..3).map(|number| lab.node(&format!("n{number}")).unwrap()).collect();
    lab.lan(&nodes.iter().collect::<Vec<_>>()).unwrap();
    let members: Vec<_> =
        nodes.iter().zip(1..).map(|(node, number)| Member::start(node, &authority, number)).collect();
    let server = &members[0];
    let (talk, value) = (negotiable("EX3", 0), synchronizable("EX2", 7));
    server.host.register(&value);
    server.host.run(|engine, asa| {
        engine.listen_synchronize(asa, &value).unwrap();
        for objective in [&talk, &value] {
            engine.admit(asa, objective, |peer| peer.name == Some(name(2))).unwrap();
        }
        assert_eq!(engine.admit(asa, &negotiable("EX9", 0), |_| true), Err(Error::NotYourObj));
    });
    let at =
        |name: &str| AsaLocator::new(server.host.node.ula().unwrap(), None).with_port(server.host.port(name));
    let (talk_at, value_at) = (at("EX3"), at("EX2"));
    negotiate(&members[1].host, &server.host, Some(&talk_at));
    let wanted = synchronizable("EX2", ());
    let get = |member: &Member| {
        member.host.run(|engine, asa| engine.synchronize(asa, &wanted, Some(&value_at), Some(5000)))
    };
    assert_eq!(get(&members[1]).unwrap().value, 7.into());
    let listening = server.host.listen(&talk);
    let asked =
        members[2].host.run(|engine, asa| engine.req_negotiate(asa, &talk, Some(&talk_at), Some(5000)));
    assert_eq!(failure(asked), Error::Declined(Some("not admitted".to_owned())));
    assert_eq!(failure(get(&members[2])), Error::NoListener);
    assert_eq!(server.stats().refused_not_admitted, 2);
    // The listener still waits, for one that it admits.
    assert!(!listening.is_finished());
    server.host.run(|engine, asa| engine.stop_negotiate(asa, &talk)).unwrap();
    assert!(joined(listening).is_err());
}

#[test]
fn simultaneous_starts_leave_one_connection_for_each_pair() {
    isolated!();
    let (lab, authority) = (Lab::new().unwrap(), authority());
    let nodes: Vec<_> = (0..20).map(|number| lab.node(&format!("n{number}")).unwrap()).collect();
    lab.lan(&nodes.iter().collect::<Vec<_>>()).unwrap();
    let members: Vec<Member> = std::thread::scope(|scope| {
        let starting: Vec<_> = (nodes.iter().zip(1..))
            .map(|(node, number)| {
                scope.spawn({
                    let authority = &authority;
                    move || Member::start(node, authority, number)
                })
            })
            .collect();
        starting.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for member in &members {
        eventually(SOON, "all neighbours are there", || member.neighbours() == 19);
    }
    members[0].works_with(&members[19], "LAN");
    members[7]
        .floods_to(&members.iter().filter(|one| !std::ptr::eq(*one, &members[7])).collect::<Vec<_>>(), "ALL");
    for member in &members {
        assert_eq!(member.neighbours(), 19);
        assert_eq!(member.stats().panics, 0);
    }
}

#[test]
fn a_neighbour_is_secured_and_named_before_anything_is_said() {
    isolated!();
    let (lab, authority) = (Lab::new().unwrap(), authority());
    let [a, b] = ["a", "b"].map(|name| lab.node(name).unwrap());
    lab.link(&a, &b).unwrap();
    let first = Member::start(&a, &authority, 1);
    let trace = first.host.engine.trace();
    let second = Member::start(&b, &authority, 2);
    eventually(SOON, "they are neighbours", || first.neighbours() == 1 && second.neighbours() == 1);
    let events: Vec<_> =
        std::iter::from_fn(|| trace.try_recv().ok()).map(|event| event.event.clone()).collect();
    let at = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted);
    let secured =
        at(&|event| matches!(event, Event::Secured { name: told, .. } if *told == name(2))).unwrap();
    let spoken =
        at(&|event| matches!(event, Event::Message(message) if message.carrier == Carrier::Tcp)).unwrap();
    assert!(secured < spoken, "{events:?}");
}
