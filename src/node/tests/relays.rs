//! Relays of discoveries (RFC 8990 §2.5.4.4).

use super::*;

#[test]
fn a_relay_sends_back_what_others_can_use() {
    let node = Fixture::new(Config::new());
    let (mut relay, answers) = node.open(node.receive(discovery(7, "EX1", 6), 0), 0);
    node.answer_from(3, PEER, &answer(&[AsaLocator::new(PEER, Some(3)), global(5, 3)], false), 0);
    let mut passed = |node: &Fixture| {
        let sent = relay.pass_on(&answers.try_recv().unwrap(), 0)?;
        let _ = node;
        sent.ticket.sent();
        Some(sent.message)
    };
    let Some(Message { body: Body::Response(sent), .. }) = passed(&node) else { panic!() };
    assert_eq!((sent.session, sent.initiator, sent.ttl), (7, INITIATOR, 700));
    assert!(matches!(sent.options.as_slice(), [WireOption::Divert(locators)] if locators.len() == 1));
    node.answer_from(3, PEER, &answer(&[AsaLocator::new(PEER, Some(3))], false), 0);
    assert!(passed(&node).is_none());
    // Known on the asker's link too, but whoever answers from elsewhere may be the only one who is heard.
    node.cache("EX1", global(5, 2));
    node.answer_from(3, PEER, &answer(&[global(5, 3)], false), 0);
    assert!(passed(&node).is_some());
}

#[test]
fn a_relay_believes_nobody_on_the_link_that_asked() {
    let node = Fixture::new(Config::new());
    let (_relay, answers) = node.open(node.receive(discovery(7, "EX1", 6), 0), 0);
    node.answer_from(2, PEER, &answer(&[global(66, 2)], false), 0);
    assert!(answers.try_recv().is_err() && node.registries.discovery.lookup("EX1", 0).is_empty());
    assert_eq!(node.stats().dropped_asking_link, 1);
    node.answer_from(3, PEER, &answer(&[global(5, 3)], false), 0);
    assert!(answers.try_recv().is_ok());
}

#[test]
fn a_discovery_that_finds_no_relay_free_may_come_again_from_elsewhere() {
    let node = Fixture::new(Config::new().relay_limit(1));
    let (first, _answers) = node.open(node.receive(discovery(7, "EX1", 6), 0), 0);
    assert!(node.receive(discovery(8, "EX1", 6), 0).is_none());
    assert_eq!(node.stats().dropped_relay_full, 1);
    drop(first);
    let arrival = Arrival { ifi: 3, source: PEER, port: 50_000, multicast: true };
    let copy = node.receive_at(arrival, discovery(8, "EX1", 5), 0);
    assert!(matches!(copy, Some(Effect::RelayDiscovery(_))), "{copy:?}");
}

#[test]
fn a_relay_that_was_open_long_enough_makes_room() {
    let node = Fixture::new(Config::new().relay_limit(1));
    let (long, answers) = node.open(node.receive(discovery(7, "EX1", 255), 0), 0);
    assert!(node.receive(discovery(8, "EX1", 6), 400).is_none());
    let (_next, _) = node.open(node.receive(discovery(9, "EX1", 6), 600), 600);
    assert_eq!(answers.try_recv().unwrap_err(), crossbeam_channel::TryRecvError::Disconnected);
    long.leave(0);
    assert_eq!(node.registries.sessions.open_count(), 1);
}

#[test]
fn who_repeats_a_question_first_gets_the_answer_and_its_asker_does_when_it_asks_again() {
    let node = Fixture::new(Config::new());
    let other = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x98);
    let thief = Arrival { ifi: 2, source: other, port: 1, multicast: true };
    let (mut relay, answers) = node.open(node.receive_at(thief, discovery(7, "EX1", 6), 0), 0);
    assert!(node.receive(discovery(7, "EX1", 6), 1).is_none(), "each is relayed once, for whoever was first");
    node.answer_from(3, PEER, &Response { ttl: 60_000, ..answer(&[global(5, 3)], false) }, 2);
    assert_eq!(relay.pass_on(&answers.try_recv().unwrap(), 2).unwrap().to, thief);
    // The next question, repeated first again: what was found is in the cache, and everybody is told.
    assert!(matches!(node.receive_at(thief, discovery(8, "EX1", 6), 200), Some(Effect::Respond(_))));
    let told = response(node.receive(discovery(8, "EX1", 6), 201));
    assert!(matches!(told.options.as_slice(), [WireOption::Divert(_)]), "{told:?}");
}

#[test]
fn a_neighbour_whose_share_is_full_takes_no_place_of_another() {
    let node = Fixture::new(Config::new().relay_limit(3).relays_per_neighbour(1));
    let other = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x98);
    let from = |source| Arrival { ifi: 2, source, port: 50_000, multicast: true };
    let (_first, of_other) = node.open(node.receive_at(from(other), discovery(7, "EX1", 255), 0), 0);
    let (_second, of_peer) = node.open(node.receive_at(from(PEER), discovery(8, "EX1", 255), 1), 1);
    let (_third, _) = node.open(node.receive_at(from(PEER), discovery(9, "EX1", 6), 900), 900);
    assert_eq!(of_other.try_recv().unwrap_err(), crossbeam_channel::TryRecvError::Empty);
    assert_eq!(of_peer.try_recv().unwrap_err(), crossbeam_channel::TryRecvError::Disconnected);
}

#[test]
fn where_all_places_are_taken_any_neighbour_makes_room() {
    let node = Fixture::new(Config::new().relay_limit(1).relays_per_neighbour(1));
    let other = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x98);
    let from = |source| Arrival { ifi: 2, source, port: 50_000, multicast: true };
    let (_first, answers) = node.open(node.receive_at(from(other), discovery(7, "EX1", 255), 0), 0);
    let (_second, _) = node.open(node.receive_at(from(PEER), discovery(8, "EX1", 6), 900), 900);
    assert_eq!(answers.try_recv().unwrap_err(), crossbeam_channel::TryRecvError::Disconnected);
}

#[test]
fn a_relay_that_cannot_be_opened_is_counted_and_the_discovery_may_come_again() {
    let node = Fixture::new(Config::new());
    drop(node.receive(discovery(7, "EX1", 6), 0));
    assert_eq!((node.stats().dropped_relay_full, node.stats().discoveries_relayed), (1, 0));
    let (relay, _answers) = node.open(node.receive(discovery(7, "EX1", 6), 1), 1);
    relay.leave(3);
    assert_eq!((node.stats().discoveries_relayed, node.stats().answers_unused), (1, 3));
}
