//! Tests of searches on a node without a network.

use std::net::Ipv6Addr;

use crossbeam_channel::{Receiver, bounded};

use super::*;
use crate::config::Config;
use crate::registry::{Addresses, Found};
use crate::wire::{Body, Limits, decode};

fn node() -> Arc<Node> {
    let node = Node::new(Config::new(), false);
    node.set_secure(true);
    node.registries.links.set(&Arc::new(Addresses { global: Some(address(1)), ..Addresses::default() }));
    node
}

const fn address(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)
}

/// A search for EX1 with loop count 6, and the mailbox of its answers.
fn search(
    node: &Arc<Node>,
    timeout: Option<u32>,
    wanted: Wanted,
    now: u64,
) -> (Search, Receiver<DiscoveryAnswer>) {
    let (tx, rx) = bounded(10);
    let wanted = Wanted { most: 10, ..wanted };
    (node.search(&Objective::new("EX1"), timeout, wanted, Arc::new(tx), 1000, now), rx)
}

fn until_enough(enough: usize) -> Wanted {
    Wanted { enough, ..Wanted::default() }
}

/// Returns the identity of the discovery that the search sends; panics if it sends none.
fn asks(search: &mut Search, now: u64) -> SessionId {
    let Step::Ask(datagram) = search.next(now).unwrap() else { panic!("{search:?}") };
    match decode(&datagram, &Limits { size: 2000, depth: 10 }).unwrap().body {
        Body::Discovery { session, initiator, .. } => SessionId { session, initiator },
        other => panic!("{other:?}"),
    }
}

/// Returns how long the search waits; panics if it does not wait.
fn waits(search: &mut Search, now: u64) -> u64 {
    match search.next(now).unwrap() {
        Step::Wait(until) => until,
        other => panic!("{other:?}"),
    }
}

/// Delivers an answer with a locator, or a stale one without, to the waiting discovery.
fn answer(node: &Node, id: SessionId, locator: Option<u16>) {
    let locators: Vec<_> = locator.map(|last| AsaLocator::new(address(last), None)).into_iter().collect();
    let stale = locators.is_empty();
    let found = DiscoveryAnswer::Found(Found { locators, ttl: 1000, ifi: 2, stale });
    node.registries.sessions.waiting(id).unwrap().mailbox.put(found).unwrap();
}

/// An old relay may tell until the last moment what it has cached.
#[test]
fn a_search_ends_before_everything_that_it_has_found_expires() {
    let node = node();
    let (mut search, _answers) = search(&node, Some(3000), Wanted { enough: 9, ..Wanted::default() }, 0);
    asks(&mut search, 0);
    let found = |last, ttl, expire| {
        let locators = vec![AsaLocator { expire, ..AsaLocator::new(address(last), None) }];
        DiscoveryAnswer::Found(Found { locators, ttl, ifi: 2, stale: false })
    };
    search.take(found(7, 100, 100));
    assert!(search.locators.is_empty(), "it expires before it can be used");
    assert_eq!(waits(&mut search, 0), HOP_TIME, "it asks again soon");
    search.take(found(8, 1000, 1000));
    assert_eq!(waits(&mut search, 0), 1000 - BRIEF);
    search.take(found(9, 2000, 2000));
    assert_eq!(waits(&mut search, 0), 2000 - BRIEF);
    assert!(matches!(search.next(2000 - BRIEF).unwrap(), Step::Done));
    search.take(found(10, 9000, 9000));
    assert_eq!(waits(&mut search, 2000), 3000, "others last longer");
}

#[test]
fn searches_for_the_same_share_one_question_and_end_each_at_their_own_time() {
    let node = node();
    let (mut first, first_answers) = search(&node, Some(3000), until_enough(1), 0);
    let id = asks(&mut first, 0);
    let mut others: Vec<_> =
        (1..40).map(|number| search(&node, Some(3000 + number), until_enough(2), 50)).collect();
    for (other, _) in &mut others {
        assert_eq!(waits(other, 50), 650);
    }
    let own = Wanted { not: vec![AsaLocator::new(address(7), None)], ..until_enough(1) };
    let (mut not_own, own_answers) = search(&node, Some(3000), own, 60);
    waits(&mut not_own, 60);
    assert_eq!(node.stats().discoveries_joined, 40);
    answer(&node, id, Some(7));
    first_answers.try_iter().for_each(|answer| first.take(answer));
    own_answers.try_iter().for_each(|answer| not_own.take(answer));
    assert!(matches!(first.next(70).unwrap(), Step::Done));
    assert_eq!(waits(&mut not_own, 70), 660, "it goes on: that is its own");
    drop(first);
    // The other searches continue without the one that asked, and each ends at its own time.
    answer(&node, id, Some(8));
    for ((mut other, answers), number) in others.into_iter().zip(1..) {
        other.take(answers.try_recv().unwrap());
        assert_eq!(waits(&mut other, 80), 3050 + number);
        other.take(answers.try_recv().unwrap());
        assert!(matches!(other.next(80).unwrap(), Step::Done));
    }
    drop(not_own);
    assert_eq!(node.registries.sessions.open_count(), 0);
    assert_eq!(node.stats().discoveries_begun, 1);
}

#[test]
fn what_would_not_tell_a_search_everything_is_not_shared() {
    let node = node();
    let (mut first, _answers) = search(&node, Some(3000), until_enough(9), 0);
    let id = asks(&mut first, 0);
    let (tx, _rx) = bounded(1);
    let far = Objective { loop_count: 7, ..Objective::new("EX1") };
    asks(&mut node.search(&far, None, until_enough(1), Arc::new(tx), 1000, 10), 10);
    let rapid = Wanted { rapid: true, ..until_enough(1) };
    asks(&mut search(&node, None, rapid, 10).0, 10);
    // This search has no time to ask again, in case a peer began to answer after the first question.
    asks(&mut search(&node, None, until_enough(1), 300).0, 300);
    // This one has the time, and asks again.
    let (mut patient, _answers) = search(&node, Some(3000), until_enough(1), 300);
    assert_eq!(waits(&mut patient, 300), 600);
    asks(&mut patient, 600);
    // A later search cannot join a question that has been answered.
    answer(&node, id, Some(7));
    drop(patient);
    asks(&mut search(&node, Some(3000), until_enough(1), 310).0, 310);
}

#[test]
fn what_others_have_learnt_is_not_asked_for_again() {
    let node = node();
    let (mut first, _answers) = search(&node, Some(3000), until_enough(1), 0);
    asks(&mut first, 0);
    node.registries.discovery.insert("EX1", vec![AsaLocator::new(address(7), None)], None, 400);
    assert_eq!(waits(&mut first, 500), 600);
    assert!(matches!(first.next(600).unwrap(), Step::Done));
    assert_eq!(first.end(0).0.len(), 1);
}

#[test]
fn a_search_asks_first_and_one_in_rapid_mode_takes_nothing_that_others_have_learnt() {
    let node = node();
    node.registries.discovery.insert("EX1", vec![AsaLocator::new(address(7), None)], None, 0);
    let rapid = || Wanted { rapid: true, ..until_enough(1) };
    for wanted in [until_enough(1), rapid()] {
        asks(&mut search(&node, Some(3000), wanted, 0).0, 0);
    }
    let (mut rapid, _answers) = search(&node, Some(3000), rapid(), 0);
    asks(&mut rapid, 0);
    let again = waits(&mut rapid, 1);
    asks(&mut rapid, again);
}

#[test]
fn what_comes_in_place_of_a_response_counts_for_who_has_nothing_else() {
    let node = node();
    let rapid_answer = || {
        let message = crate::wire::Message::new(Body::Noop);
        let transport = Arc::new(crate::registry::Nowhere(address(7), 2));
        DiscoveryAnswer::Rapid { message, transport }
    };
    let rapid = || Wanted { rapid: true, ..until_enough(1) };
    let (mut first, _answers) = search(&node, None, rapid(), 0);
    first.take(rapid_answer());
    assert!(first.end(0).1.is_some());
    let (mut ordinary, _answers) = search(&node, None, until_enough(1), 0);
    ordinary.take(rapid_answer());
    assert!(ordinary.end(0).1.is_none());
    let (mut late, _answers) = search(&node, None, rapid(), 0);
    late.add(vec![AsaLocator::new(address(7), None)]);
    late.take(rapid_answer());
    assert!(late.end(3).1.is_none());
    assert_eq!(node.stats().answers_unused, 5);
}

#[test]
fn an_answer_that_is_known_to_be_dead_is_asked_about_again_soon_and_not_without_end() {
    let node = node();
    let (mut search, answers) = search(&node, Some(60_000), until_enough(1), 0);
    let mut now = 0;
    for _ in 0..6 {
        let id = asks(&mut search, now);
        answer(&node, id, None);
        answer(&node, id, None);
        for answer in answers.try_iter() {
            search.take(answer);
            assert_eq!(waits(&mut search, now), now + 100, "one question for all answers of a moment");
        }
        now += 100;
    }
    let id = asks(&mut search, now);
    answer(&node, id, None);
    answers.try_iter().for_each(|answer| search.take(answer));
    assert!(waits(&mut search, now) > now + 100, "seven questions, six relays");
}

#[test]
fn a_dead_answer_brings_the_next_question_forward() {
    let node = node();
    let (mut first, _answers) = search(&node, Some(60_000), until_enough(1), 0);
    let id = asks(&mut first, 0);
    let (mut second, answers) = search(&node, Some(60_000), until_enough(1), 150);
    assert_eq!(waits(&mut second, 150), 600, "when the question that it shares is old");
    answer(&node, id, None);
    answers.try_iter().for_each(|answer| second.take(answer));
    assert_eq!(waits(&mut second, 200), 300);
}

#[test]
fn what_is_found_is_kept_once_and_no_more_than_wanted() {
    let node = node();
    let (mut search, _answers) = search(&node, None, until_enough(99), 0);
    let found = |last: u16, ttl| {
        let locators = (0..=last).map(|last| AsaLocator::new(address(last), None)).collect();
        DiscoveryAnswer::Found(Found { locators, ttl, ifi: 2, stale: false })
    };
    search.take(found(3, u32::try_from(BRIEF).unwrap()));
    assert_eq!(search.locators.len(), 4, "just long enough to be of use");
    search.take(found(3, 1000));
    assert_eq!(search.locators.len(), 4, "each once");
    search.take(found(30, 1000));
    assert_eq!(search.end(0).0.len(), 10, "no more than the caller can use");
    assert!(is_there(&AsaLocator::new(address(1), None), &AsaLocator::new(address(1), Some(2))));
    let (one, other) = (AsaLocator::new(address(1), None), AsaLocator::new(address(2), None));
    assert!(!is_there(&one, &other) && !is_there(&one, &one.clone().with_port(7)));
}

#[test]
fn only_a_question_in_rapid_mode_has_a_value_and_without_security_none_is_asked() {
    let node = node();
    let value = |rapid| {
        let (tx, _rx) = bounded(1);
        let objective = Objective { value: Value::from(5), ..Objective::new("EX1") };
        let wanted = Wanted { rapid, ..until_enough(1) };
        let mut search = node.search(&objective, None, wanted, Arc::new(tx), 1000, 0);
        let Ok(Step::Ask(datagram)) = search.next(0) else { panic!("{search:?}") };
        match decode(&datagram, &Limits { size: 2000, depth: 10 }).unwrap().body {
            Body::Discovery { objective, .. } => objective.value,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((value(true), value(false)), (Some(Value::from(5)), Some(Value::Null)));
    node.set_secure(false);
    let refused = search(&node, None, until_enough(1), 0).0.next(0);
    assert!(matches!(refused, Err(Error::NoSecurity)), "{refused:?}");
}

/// Until when a question with the whole loop count waits for its answers.
fn wait(asking: &mut Asking, elapsed: u64) -> Option<u64> {
    let (loop_count, until) = asking.next(elapsed)?;
    assert_eq!(loop_count, asking.whole);
    Some(until)
}

#[test]
fn an_expanding_search_asks_farther_and_farther_and_leaves_time_for_the_whole_way() {
    let rounds = |loop_count, timeout| {
        let mut asking = Asking::new(loop_count, timeout, true);
        let mut elapsed = 0;
        let rounds = std::iter::from_fn(|| {
            let (loop_count, until) = asking.next(elapsed)?;
            elapsed = until;
            Some((loop_count, until))
        });
        rounds.collect::<Vec<_>>()
    };
    assert_eq!(rounds(6, None), [(1, 50), (2, 150), (6, 600)], "4 hops would leave less than 300 ms for 6");
    assert_eq!(rounds(6, Some(700)), [(1, 50), (2, 150), (4, 350), (6, 700)]);
    assert_eq!(rounds(6, Some(2000)), [(1, 50), (2, 150), (4, 350), (6, 950), (6, 1400), (6, 2000)]);
    assert_eq!(rounds(1, None), [(1, 100)]);
    assert_eq!(rounds(2, None), [(1, 50), (2, 200)]);
    assert_eq!(rounds(0, None), [(0, 100)]);
    let far = rounds(255, None);
    assert_eq!(far.last(), Some(&(255, 25_500)));
    assert_eq!(far.iter().filter(|(count, _)| *count == 128).count(), 1, "{far:?}");
}

#[test]
fn a_question_is_repeated_with_growing_pauses_while_there_is_time_for_an_answer() {
    let mut asking = Asking::new(2, Some(2000), false);
    assert_eq!(wait(&mut asking, 0), Some(200));
    assert_eq!(wait(&mut asking, 200), Some(600));
    assert_eq!(wait(&mut asking, 600), Some(1400));
    assert_eq!(wait(&mut asking, 1400), Some(1800), "after 3000 there would be none");
    assert_eq!(wait(&mut asking, 1800), Some(2000));
    assert_eq!((wait(&mut asking, 2000), asking.deadline()), (None, 2000));
}

/// In the last second before its cache entry expires, a relay of graspy neither answers nor relays; the first question
/// after that only fills its cache, and the second one is answered.
#[test]
fn a_relay_that_answers_only_the_second_question_after_a_second_of_silence_is_heard() {
    for silent_until in (0..=1000).step_by(10) {
        let mut asking = Asking::new(6, Some(3000), false);
        let (mut elapsed, mut cached) = (0, None);
        let answered = loop {
            if cached.is_some_and(|cached| elapsed > cached) {
                break true;
            }
            if elapsed >= silent_until {
                cached = cached.or(Some(elapsed));
            }
            match wait(&mut asking, elapsed) {
                // Each wait ends a little late.
                Some(until) if until < asking.deadline() => elapsed = until + 2,
                _ => break false,
            }
        };
        assert!(answered, "silent until {silent_until}");
    }
}

#[test]
fn the_least_time_is_that_of_the_hops_and_leaves_room_for_one_question() {
    let mut asking = Asking::new(6, None, false);
    assert_eq!((wait(&mut asking, 0), wait(&mut asking, 600)), (Some(600), None));
    let mut asking = Asking::new(6, Some(899), false);
    assert_eq!(
        (wait(&mut asking, 0), wait(&mut asking, 899)),
        (Some(899), None),
        "the second would come too soon"
    );
    let mut asking = Asking::new(0, Some(50), false);
    assert_eq!((wait(&mut asking, 0), wait(&mut asking, 100)), (Some(100), None));
    let mut asking = Asking::new(2, Some(400), false);
    assert_eq!(
        (wait(&mut asking, 0), wait(&mut asking, 200)),
        (Some(200), Some(400)),
        "just enough for a second"
    );
}
