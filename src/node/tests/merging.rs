//! Merging of equal discoveries.

use super::*;
use crate::node::Links;

const OTHER: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x98));
const THIRD: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x97));

/// A relay that merges within 20 ms, with links 2, 3 and 4.
fn merging() -> Fixture {
    Fixture::with(Config::new().merge_window(20), &[2, 3, 4], false)
}

fn on(ifi: u32) -> Arrival {
    Arrival { ifi, source: PEER, port: 50_000, multicast: true }
}

fn asks(session: u32, initiator: IpAddr, objective: WireObjective) -> Body {
    Body::Discovery { session, initiator, objective }
}

fn equal(session: u32, initiator: IpAddr, loop_count: u8) -> Body {
    asks(session, initiator, wire_objective("EX1", loop_count))
}

/// Relays what comes on a link.
fn relayed(node: &Fixture, ifi: u32, body: Body, now: u64) -> (Relay, Receiver<DiscoveryAnswer>) {
    node.open(node.receive_at(on(ifi), body, now), now)
}

/// The answer to a discovery of this session and initiator.
fn answer_to(session: u32, initiator: IpAddr, locator: AsaLocator) -> Response {
    Response { session, initiator, ..answer(&[locator], false) }
}

#[test]
fn an_equal_discovery_asks_where_the_first_did_not_and_gets_its_answers() {
    let node = merging();
    let (first, _) = relayed(&node, 2, equal(7, INITIATOR, 6), 0);
    assert_eq!((first.links(), first.goes_on_after()), (Some(Links::Except(2)), None));
    let (mut second, answers) = relayed(&node, 3, equal(8, OTHER, 6), 19);
    assert_eq!((second.links(), second.goes_on_after()), (Some(Links::Only(2)), Some(50)));
    let stats = node.stats();
    assert_eq!((stats.discoveries_relayed, stats.not_relayed_merged), (1, 1));
    // An answer to the first.
    node.answer_from(4, PEER, &answer_to(7, INITIATOR, global(5, 4)), 30);
    let passed = second.pass_on(&answers.try_recv().unwrap(), 30).unwrap();
    assert_eq!(passed.to, on(3));
    let Body::Response(response) = &passed.message.body else { panic!("{passed:?}") };
    assert_eq!((response.session, response.initiator), (8, OTHER));
    // The same from elsewhere.
    node.answer_from(2, PEER, &answer_to(8, OTHER, global(5, 2)), 30);
    assert!(second.pass_on(&answers.try_recv().unwrap(), 30).is_none(), "its asker has it");
    // One to the second itself, from the link of the first asker.
    node.answer_from(2, PEER, &answer_to(8, OTHER, global(6, 2)), 31);
    assert!(second.pass_on(&answers.try_recv().unwrap(), 31).is_some());
    assert_eq!(second.go_on(69), None, "it has its answers");
    assert_eq!(node.stats().merged_relayed, 0);
    drop((first, second));
    assert_eq!((node.stats().sessions_ended, node.registries.sessions.open_count()), (2, 0));
}

#[test]
fn without_an_answer_it_goes_on_to_the_remaining_links_and_others_are_merged_with_it() {
    let node = merging();
    let (_first, _a) = relayed(&node, 2, equal(7, INITIATOR, 6), 0);
    let (mut second, answers) = relayed(&node, 3, equal(8, OTHER, 6), 10);
    // What came from the asker's own link is of no use to it.
    node.answer_from(3, PEER, &answer_to(7, INITIATOR, global(5, 3)), 30);
    assert!(second.pass_on(&answers.try_recv().unwrap(), 30).is_none());
    assert_eq!(second.go_on(60), Some(Links::ExceptBoth(3, 2)));
    assert_eq!((second.go_on(61), second.goes_on_after()), (None, None), "once");
    assert_eq!(node.stats().merged_relayed, 1);
    node.registries.discovery.flush("EX1");
    let (third, _b) = relayed(&node, 2, equal(9, THIRD, 6), 65);
    assert_eq!(third.links(), Some(Links::Only(3)), "the first is too old, the second is relayed now");
    // It still gets the answers to the first.
    node.answer_from(4, PEER, &answer_to(7, INITIATOR, global(5, 4)), 70);
    assert!(answers.try_recv().is_ok());
}

#[test]
fn two_askers_on_one_link_have_nobody_else_to_ask() {
    let node = merging();
    let (_first, _a) = relayed(&node, 2, equal(7, INITIATOR, 6), 0);
    let (mut second, _b) = relayed(&node, 2, equal(8, OTHER, 6), 10);
    assert_eq!((second.links(), second.go_on(60)), (None, Some(Links::ExceptBoth(2, 2))));
    assert!(Links::ExceptBoth(2, 2).include(3) && !Links::ExceptBoth(2, 2).include(2));
}

#[test]
fn what_is_not_equal_or_comes_too_late_is_relayed() {
    let node = merging();
    let (_first, _a) = relayed(&node, 2, equal(7, INITIATOR, 6), 0);
    let flags = WireObjective { flags: Flags(3), ..wire_objective("EX1", 6) };
    let different = [
        (equal(8, OTHER, 7), 1, "it goes farther"),
        (asks(9, OTHER, wire_objective("EX2", 6)), 1, "another name"),
        (asks(10, OTHER, flags), 1, "other flags"),
        (equal(11, INITIATOR, 6), 1, "the same initiator asks again"),
        (equal(12, OTHER, 7), 30, "too late"),
    ];
    for (body, now, why) in different {
        let (relay, _) = relayed(&node, 3, body, now);
        assert_eq!(relay.links(), Some(Links::Except(3)), "{why}");
    }
    assert_eq!(node.stats().not_relayed_merged, 0);
}

#[test]
fn one_that_waits_itself_stands_for_no_other() {
    let node = merging();
    let (first, _a) = relayed(&node, 2, equal(7, INITIATOR, 6), 0);
    let (_second, _b) = relayed(&node, 3, equal(8, OTHER, 6), 10);
    drop(first);
    let (third, _c) = relayed(&node, 4, equal(9, THIRD, 6), 15);
    assert_eq!(third.links(), Some(Links::Except(4)));
}

#[test]
fn who_asks_again_is_not_merged_again() {
    let node = merging();
    let (_first, _a) = relayed(&node, 2, equal(7, INITIATOR, 6), 0);
    let (_second, _b) = relayed(&node, 3, equal(8, OTHER, 6), 1);
    let (_new, _c) = relayed(&node, 2, equal(9, THIRD, 6), 100);
    let (again, _d) = relayed(&node, 3, equal(10, OTHER, 6), 101);
    assert_eq!(again.links(), Some(Links::Except(3)));
    let (_new, _e) = relayed(&node, 2, equal(11, THIRD, 6), 20_000);
    let (later, _f) = relayed(&node, 3, equal(12, OTHER, 6), 20_001);
    assert_eq!(later.links(), Some(Links::Only(2)));
}

#[test]
fn a_discovery_of_this_node_stands_for_those_of_others() {
    let node = merging();
    let own = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into();
    let (tx, mine) = crossbeam_channel::bounded(1);
    let question = Question { name: "EX1".into(), shared: Some((Flags(5), 5)), asked: 5 };
    let id = SessionId { session: 7, initiator: own };
    node.registries.sessions.open_discovery(id, question, 0, Arc::new(tx));
    let (farther, _a) = relayed(&node, 3, equal(8, THIRD, 7), 10);
    assert_eq!(farther.links(), Some(Links::Except(3)));
    drop(farther);
    let (mut second, answers) = relayed(&node, 3, equal(9, OTHER, 6), 10);
    assert_eq!(second.links(), None, "it has asked on all links");
    node.answer_from(4, PEER, &answer_to(7, own, global(5, 4)), 11);
    assert!(mine.try_recv().is_ok() && second.pass_on(&answers.try_recv().unwrap(), 11).is_some());
}

#[test]
fn by_default_nothing_is_merged() {
    let node = Fixture::new(Config::new());
    let (_first, _a) = relayed(&node, 2, equal(7, INITIATOR, 6), 0);
    let (second, _b) = relayed(&node, 3, equal(8, OTHER, 6), 0);
    assert_eq!(second.links(), Some(Links::Except(3)));
}

/// Whatever a neighbour asks first, in whoever's name, at most as many discoveries are open as relays may be, and no other's is lost.
#[test]
fn who_asks_the_same_first_and_often_takes_no_more_memory_and_keeps_nobody_waiting() {
    let config = Config::new().merge_window(60_000).relay_limit(8).relays_per_neighbour(4);
    let node = Fixture::with(config, &[2, 3, 4], false);
    let mut open = Vec::new();
    for number in 0..1000_u32 {
        let name = IpAddr::V6(Ipv6Addr::from(u128::from(number) + 1));
        let now = u64::from(number) * 30;
        if let Some(Effect::RelayDiscovery(task)) =
            node.receive_at(on(2), equal(number + 100, name, 255), now)
        {
            let (tx, rx) = crossbeam_channel::bounded(4);
            open.extend(task.open(Arc::new(tx), now).map(|relay| (relay, rx)));
        }
        assert!(node.registries.sessions.open_count() <= 4, "{number}");
    }
    let (mut honest, _answers) = relayed(&node, 3, equal(8, OTHER, 6), 30_000);
    assert!(honest.goes_on_after().is_some(), "it is merged");
    assert_eq!(honest.go_on(30_050), Some(Links::ExceptBoth(3, 2)));
}

#[test]
fn a_relay_passes_on_no_more_locators_than_enough() {
    let node = Fixture::new(Config::new().relay_answers(3));
    let (mut relay, answers) = node.open(node.receive(discovery(7, "EX1", 6), 0), 0);
    let mut passed = 0;
    for last in 1..=5 {
        node.answer_from(3, PEER, &answer(&[global(last, 3)], false), 0);
        passed += usize::from(relay.pass_on(&answers.try_recv().unwrap(), 0).is_some());
    }
    assert_eq!((passed, node.stats().answers_over_limit), (3, 2));
}

#[test]
fn what_is_said_twice_expires_at_once_or_is_refused_is_none_of_the_answers_that_are_enough() {
    let node = Fixture::new(Config::new().relay_answers(2).responder_limit(1));
    let (mut relay, answers) = node.open(node.receive(discovery(7, "EX1", 6), 0), 0);
    let mut hears = |response: &Response| {
        node.answer_from(3, PEER, response, 0);
        relay.pass_on(&answers.try_recv().unwrap(), 0)
    };
    for _ in 0..5 {
        assert!(hears(&answer(&[global(1, 3)], false)).is_some());
        assert!(hears(&Response { ttl: 199, ..answer(&[global(2, 3), global(3, 3)], true) }).is_some());
    }
    let being_sent = hears(&answer(&[global(1, 3)], false));
    assert!(hears(&answer(&[global(4, 3), global(5, 3)], true)).is_none(), "there is no responder");
    drop(being_sent);
    assert!(hears(&answer(&[global(6, 3)], false)).is_some());
    assert_eq!(node.stats().answers_over_limit, 0);
    assert!(hears(&answer(&[global(7, 3)], false)).is_none());
    assert_eq!(node.stats().answers_over_limit, 1);
}

#[test]
fn a_message_that_says_the_same_by_turns_says_it_once() {
    let node = Fixture::new(Config::new().relay_answers(3));
    let (mut relay, answers) = node.open(node.receive(discovery(7, "EX1", 6), 0), 0);
    let by_turns = [global(1, 3), global(2, 3), global(1, 3), global(2, 3)];
    for locators in [&by_turns[..], &[global(3, 3)]] {
        node.answer_from(3, PEER, &answer(locators, true), 0);
        assert!(relay.pass_on(&answers.try_recv().unwrap(), 0).is_some());
    }
}

#[test]
fn one_whose_first_has_ended_goes_on_although_it_has_an_answer() {
    let node = merging();
    let (first, _) = relayed(&node, 2, equal(7, INITIATOR, 6), 0);
    let (mut second, answers) = relayed(&node, 3, equal(8, OTHER, 6), 10);
    node.answer_from(4, PEER, &answer_to(7, INITIATOR, global(5, 4)), 30);
    assert!(second.pass_on(&answers.try_recv().unwrap(), 30).is_some());
    drop(first);
    assert_eq!(second.go_on(60), Some(Links::ExceptBoth(3, 2)), "nothing more comes to the first");
}
