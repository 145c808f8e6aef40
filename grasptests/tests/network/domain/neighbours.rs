//! Neighbours find each other, and their connections carry everything.

use grasptests::domains::authority;
use grasptests::isolated;
use grasptests::lab::{Lab, eventually};
use grasptests::nodes::SOON;

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
