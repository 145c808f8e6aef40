//! Sessions, relays and discoveries of one registry.

use std::net::Ipv6Addr;

use super::*;
use crate::registry::Nowhere;

fn exchange_with(peer: Ipv6Addr) -> Exchange {
    exchange_at(peer, 0)
}

fn exchange_at(peer: Ipv6Addr, ifi: u32) -> Exchange {
    Exchange { owner: AsaNonce(1), transport: Arc::new(Nowhere(peer, ifi)), name: "EX1".into(), dry: false }
}

fn registry(limit: usize, per_peer: usize) -> SessionRegistry {
    SessionRegistry::new(limit, per_peer, Arc::default())
}

#[test]
fn one_peer_has_its_share_and_gets_it_back() {
    let sessions = registry(10, 2);
    let exchange = |last| exchange_with(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
    let first = sessions.accept_exchange(1, exchange(1)).unwrap();
    sessions.accept_exchange(2, exchange(1)).unwrap();
    assert_eq!(sessions.accept_exchange(3, exchange(1)), Err(Error::SessionLimit));
    sessions.accept_exchange(3, exchange(2)).unwrap();
    sessions.end(first, Ending::Stopped).unwrap();
    assert!(sessions.end(first, Ending::Stopped).is_none());
    sessions.accept_exchange(4, exchange(1)).unwrap();
    assert_eq!(sessions.accept_exchange(5, exchange(1)), Err(Error::SessionLimit));
    assert_eq!(sessions.end_owned(AsaNonce(1)).len(), 3);
    assert_eq!(sessions.accepted.used(), 0);
}

#[test]
fn the_same_link_local_address_on_two_links_is_two_peers() {
    let sessions = registry(10, 1);
    let peer = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    sessions.accept_exchange(1, exchange_at(peer, 2)).unwrap();
    assert_eq!(sessions.accept_exchange(2, exchange_at(peer, 2)), Err(Error::SessionLimit));
    sessions.accept_exchange(2, exchange_at(peer, 3)).unwrap();
    sessions.end_all();
    assert_eq!(sessions.accepted.used(), 0);
}

#[test]
fn equal_identifiers_from_two_sources_are_two_sessions() {
    let sessions = registry(10, 10);
    let (a, b) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
    let first = sessions.accept_exchange(7, exchange_with(a)).unwrap();
    sessions.accept_exchange(7, exchange_with(b)).unwrap();
    assert_eq!(sessions.accept_exchange(7, exchange_with(a)), Err(Error::IdClash));
    assert!(sessions.end_owned(AsaNonce(2)).is_empty());
    assert!(sessions.end(first, Ending::Accepted).is_some());
    sessions.accept_exchange(7, exchange_with(a)).unwrap();
    sessions.open_exchange(8, exchange_with(a)).unwrap();
    assert_eq!(
        sessions.accept_exchange(8, exchange_with(a)),
        Err(Error::IdClash),
        "we opened it with that peer"
    );
    sessions.accept_exchange(8, exchange_with(b)).unwrap();
    assert_eq!(sessions.end_owned(AsaNonce(1)).len(), 4);
    assert!(sessions.end_all().is_empty());
}

#[test]
fn sessions_are_bounded() {
    let sessions = registry(1, 1);
    let open = sessions.open_exchange(1, exchange_with(Ipv6Addr::LOCALHOST)).unwrap();
    assert_eq!(sessions.open_exchange(2, exchange_with(Ipv6Addr::LOCALHOST)), Err(Error::SessionLimit));
    sessions.end(open, Ending::Stopped);
    sessions.open_exchange(2, exchange_with(Ipv6Addr::LOCALHOST)).unwrap();
    assert!(sessions.is_in_use(2) && !sessions.is_in_use(1));
}

#[test]
fn a_session_that_its_peer_has_left_ends_after_its_grace() {
    let sessions = registry(10, 2);
    let peer = |last| exchange_with(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
    let first = sessions.accept_exchange(1, peer(1)).unwrap();
    assert!(sessions.end_abandoned(1000, 50).is_empty(), "its ASA may notice by itself");
    assert!(sessions.end_abandoned(1049, 50).is_empty());
    sessions.accept_exchange(2, peer(1)).unwrap();
    assert_eq!(sessions.end_abandoned(1050, 50).len(), 1);
    assert_eq!(sessions.exchange(first).unwrap_err(), Error::NoSession);
    assert_eq!((sessions.open_count(), sessions.accepted.used()), (1, 1));
    assert!(sessions.end_abandoned(1099, 50).is_empty());
    assert_eq!(sessions.end_abandoned(1100, 50).len(), 1);
    assert!(sessions.left.lock().is_empty());
    let counted = sessions.counters.snapshot();
    assert_eq!((counted.sessions_abandoned, counted.sessions_ended), (2, 2));
}

fn relay(quota: &Quota<Neighbour>, of: Cause, opened: u64) -> OpenRelay {
    let (mailbox, _) = crossbeam_channel::bounded(1);
    let permit = quota.take(of.0).unwrap();
    OpenRelay {
        name: "EX1".into(),
        flags: Flags(1),
        loop_count: 5,
        asker_ifi: 2,
        mailbox: Arc::new(mailbox),
        opened,
        cause: of,
        merging: Merging::default(),
        _place: permit,
    }
}

#[test]
fn answers_find_the_discovery_with_their_identifier_and_initiator() {
    let (sessions, quota) = (registry(10, 10), Quota::new(Bounds::all(9)));
    let (tx, _rx) = crossbeam_channel::bounded(1);
    let [own, other] = [Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED]
        .map(|initiator| SessionId { session: 7, initiator: IpAddr::V6(initiator) });
    let question = Question { name: "EX1".into(), shared: None, asked: 0 };
    let mailbox: Arc<dyn Mailbox> = Arc::new(tx);
    assert_eq!(sessions.open_discovery(own, question.clone(), 0, Arc::clone(&mailbox)), Opened::New);
    assert_eq!(sessions.open_discovery(own, question, 0, Arc::clone(&mailbox)), Opened::InUse);
    assert!(sessions.waiting(own).is_some_and(|waiting| waiting.asker_ifi.is_none()));
    assert!(sessions.waiting(other).is_none());
    let cause = ((2, Ipv6Addr::LOCALHOST), other.initiator);
    assert_eq!(sessions.open_relay(other, relay(&quota, cause, 0), None), RelayOpened::New);
    assert_eq!(sessions.open_relay(other, relay(&quota, cause, 0), None), RelayOpened::InUse);
    assert!(sessions.waiting(other).is_some_and(|waiting| waiting.asker_ifi == Some(2)));
    sessions.leave_discovery(7, &mailbox);
    assert!(sessions.waiting(own).is_none() && sessions.waiting(other).is_some());
    sessions.end_relay(other);
    assert_eq!((sessions.open_count(), quota.used()), (0, 0));
}

#[test]
fn threads_that_all_find_nothing_to_join_open_one_discovery() {
    let sessions = registry(10, 10);
    let id = |session| SessionId { session, initiator: IpAddr::V6(Ipv6Addr::LOCALHOST) };
    let flags = crate::wire::WireObjective::from_objective(&crate::types::Objective::new("EX1")).flags;
    let question = |asked| Question { name: "EX1".into(), shared: Some((flags, 6)), asked };
    let mailbox = || -> Arc<dyn Mailbox> { Arc::new(crossbeam_channel::bounded(1).0) };
    assert_eq!(sessions.open_discovery(id(1), question(5), 0, mailbox()), Opened::New);
    assert_eq!(sessions.open_discovery(id(2), question(6), 0, mailbox()), Opened::Joined(1, 5));
    assert_eq!(sessions.open_discovery(id(3), question(9), 6, mailbox()), Opened::New, "that one is too old");
    assert_eq!(sessions.open_count(), 2);
}

#[test]
fn a_relay_makes_room_once_it_has_had_its_time_and_whoever_has_most_first() {
    let (sessions, quota) = (registry(10, 10), Quota::new(Bounds::all(9)));
    let initiator = |last| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
    let neighbour = |ifi| (ifi, Ipv6Addr::LOCALHOST);
    let id = |session, last| SessionId { session, initiator: initiator(last) };
    sessions.open_relay(id(1, 1), relay(&quota, (neighbour(2), initiator(1)), 5), None);
    for session in [2, 3] {
        let opened = 10 + u64::from(session);
        sessions.open_relay(id(session, 2), relay(&quota, (neighbour(2), initiator(2)), opened), None);
    }
    assert!(!sessions.displace_relay(None, 5), "too early");
    assert!(!sessions.displace_relay(Some(neighbour(3)), 99), "it has none");
    assert!(sessions.displace_relay(Some(neighbour(2)), 99));
    assert!(sessions.waiting(id(1, 1)).is_some() && sessions.waiting(id(2, 2)).is_none());
    assert!(
        sessions.displace_relay(None, 99) && sessions.waiting(id(1, 1)).is_none(),
        "the oldest of equals"
    );
    assert_eq!(quota.used(), 1);
}
