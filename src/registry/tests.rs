//! Tests of what the registries have in common: who is told, where bounds are, and what ends.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crossbeam_channel::{TryRecvError, bounded};

use super::*;
use crate::error::Error;
use crate::outcome::{Case, RequestOutcome};
use crate::trace::{Ending, SessionKind};
use crate::types::{AsaNonce, Objective, SessionId, Value};

const A: AsaNonce = AsaNonce(1);
const B: AsaNonce = AsaNonce(2);
const PEER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);

fn answer() -> DiscoveryAnswer {
    DiscoveryAnswer::Found(Found { locators: Vec::new(), ttl: 1, ifi: 2, stale: false })
}

fn exchange(last: u16) -> Exchange {
    let peer = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last);
    Exchange { owner: A, transport: Arc::new(Nowhere(peer, 2)), name: "EX1".into(), dry: false }
}

#[derive(Debug)]
struct NoSocket;

impl Close for NoSocket {
    fn close(&self) {}
}

fn objectives(names: &[&str]) -> ObjectiveRegistry {
    let registry = ObjectiveRegistry::new(9);
    for name in names {
        let registration = Registration {
            ttl: 1000,
            discoverable: false,
            overlap: true,
            local: false,
            rapid: false,
            locators: Vec::new(),
            port: 0,
            listener: Some(Arc::new(NoSocket)),
        };
        registry.register(A, &Objective::new(*name), registration).unwrap();
    }
    registry
}

#[test]
fn an_answer_for_several_reaches_whoever_has_room_and_says_the_worst_of_those_that_have_none() {
    let (roomy, _kept) = bounded(9);
    let (full, _also_kept) = bounded(0);
    let (gone, _) = bounded(9);
    let boxes = |boxes: &[&crossbeam_channel::Sender<DiscoveryAnswer>]| -> Vec<Arc<dyn Mailbox>> {
        boxes.iter().map(|one| Arc::new((*one).clone()) as Arc<dyn Mailbox>).collect()
    };
    assert_eq!(boxes(&[&roomy]).put(answer()), Ok(1));
    assert_eq!(boxes(&[&full, &roomy]).put(answer()), Ok(2));
    assert_eq!(boxes(&[&roomy, &gone]).put(answer()), Ok(3));
    assert_eq!(boxes(&[&gone, &full]).put(answer()), Err(Undelivered::Full));
    assert_eq!(boxes(&[&full, &gone]).put(answer()), Err(Undelivered::Full));
    assert_eq!(boxes(&[&gone, &gone]).put(answer()), Err(Undelivered::Gone));
    assert_eq!(boxes(&[]).put(answer()), Err(Undelivered::Gone));
}

#[test]
fn what_makes_room_in_the_discovery_cache_is_counted_and_another_port_is_not_dead() {
    let counters = Arc::<Counters>::default();
    let cache = DiscoveryCache::new(Capacity { entries: 1, bytes: 1 << 20 }, 2, Arc::clone(&counters));
    let locator = |port| crate::types::AsaLocator::new(PEER, Some(2)).with_port(port);
    let diverted = |port| crate::types::AsaLocator { diverted: true, ..locator(port) };
    cache.insert("a", vec![locator(1)], None, 0);
    cache.insert("b", vec![locator(1)], None, 0);
    assert_eq!(counters.snapshot().discovery_cache_evicted, 1);
    cache.insert("c", vec![locator(1), locator(2), locator(3)], None, 0);
    assert_eq!(counters.snapshot().discovery_cache_evicted, 3, "a name, and a locator");
    cache.remove("d", &locator(1), 0);
    assert_eq!(cache.insert("d", vec![diverted(1), diverted(2)], None, 1), [diverted(2)]);
}

#[test]
fn what_the_responder_said_itself_is_not_made_a_divert_again() {
    let cache = DiscoveryCache::new(Capacity { entries: 9, bytes: 1 << 20 }, 9, Arc::default());
    let from = |ifi, diverted| {
        let locator = crate::types::AsaLocator::new(PEER, Some(ifi)).with_port(1);
        cache.insert("a", vec![crate::types::AsaLocator { diverted, ..locator }], None, 0);
        let known = cache.lookup("a", 0);
        (known[0].ifi, known[0].diverted, known.len())
    };
    assert_eq!(from(2, true), (Some(2), true, 1));
    assert_eq!(from(3, true), (Some(2), true, 1), "another relay");
    assert_eq!(from(4, false), (Some(4), false, 1), "itself");
    assert_eq!(from(5, false), (Some(4), false, 1));
    assert_eq!(from(6, true), (Some(4), false, 1));
}

#[test]
fn a_change_of_addresses_is_told_and_nothing_is_heard_across_from_an_unused_link() {
    let link = |ifi: u16| Link { ifi: ifi.into(), address: PEER, port: ifi };
    let addresses = Arc::new(Addresses { links: vec![link(2), link(3)], ..Addresses::default() });
    let links = LinkRegistry::default();
    assert!(links.set(&addresses) && !links.set(&addresses) && links.set(&Arc::default()));
    assert_eq!((addresses.heard_across(3, PEER, 2), addresses.heard_across(9, PEER, 2)), (Some(2), None));
    let known = Addresses { global: Some(Ipv6Addr::LOCALHOST), ..(*addresses).clone() };
    assert_eq!(known.all().collect::<Vec<_>>(), [Ipv6Addr::LOCALHOST, PEER, PEER]);
}

#[test]
fn values_are_served_by_who_began_until_it_stops() {
    let registry = objectives(&["a"]);
    registry.add_owner(B, "a");
    let objective = Objective { value: Value::from(1), ..Objective::new("a") };
    assert!(registry.synchronization("a").is_none());
    let requests = registry.begin_synchronization(A, &objective, 5).unwrap().unwrap();
    let listening = || registry.list()[0].listening;
    assert!(registry.synchronization("a").is_some() && registry.offering("a").is_some());
    let _listener = registry.begin_listening(B, "a").unwrap();
    let _another = registry.begin_listening(B, "a").unwrap();
    assert_eq!(listening(), 3);
    registry.stop_synchronize(B, "a");
    assert!(registry.synchronization("a").is_some(), "it is not B who serves");
    registry.stop_synchronize(A, "a");
    assert!(registry.synchronization("a").is_none() && listening() == 2);
    assert!(matches!(requests.try_recv(), Err(TryRecvError::Disconnected)), "its thread ends");
    registry.begin_synchronization(B, &objective, 5).unwrap().unwrap();
    registry.deregister(B, "a").unwrap();
    assert!(registry.synchronization("a").is_none(), "an owner that leaves serves no longer");
}

#[test]
fn sockets_of_objectives_that_nobody_has_are_given_back() {
    let registry = objectives(&["a", "b"]);
    registry.add_owner(B, "a");
    assert_eq!(registry.deregister_all(A).len(), 1, "that of b");
    assert_eq!(registry.list().len(), 1);
    assert_eq!((registry.clear().len(), registry.list().len()), (1, 0));
}

#[test]
fn the_queue_is_bounded_for_all_peers_together() {
    let registry = objectives(&["a"]);
    let _listener = registry.begin_listening(A, "a").unwrap();
    let limits = QueueLimits { all: 3, per_peer: 9 };
    let queued = (0..9).filter(|ifi| {
        matches!(registry.dispatch("a", &Nowhere(PEER, *ifi), 0, 200, limits), Dispatch::Listener { .. })
    });
    assert_eq!(queued.count(), 4, "three, and one for the listener");
}

#[test]
fn a_memory_is_over_in_the_millisecond_that_it_names() {
    let counters = Arc::<Counters>::default();
    let recent = RecentRegistry::new(2, Arc::clone(&counters));
    let id = |session| SessionId { session, initiator: IpAddr::V6(PEER) };
    let by = (2, PEER);
    assert!(recent.remember(Done::Relayed, id(1), by, 0, 100));
    assert!(!recent.remember(Done::Relayed, id(1), by, 99, 200));
    assert!(recent.remember(Done::Relayed, id(1), by, 100, 200));
    assert!(recent.remember(Done::Relayed, id(2), by, 200, 300));
    assert_eq!(counters.snapshot().relay_memory_evicted, 0, "what made room was over");
    assert!(recent.remember(Done::Relayed, id(3), by, 299, 400));
    assert_eq!(counters.snapshot().relay_memory_evicted, 1);
}

#[test]
fn accepted_sessions_are_bounded_with_the_others_and_can_be_looked_at() {
    let sessions = SessionRegistry::new(2, 9, Arc::default());
    sessions.accept_exchange(1, exchange(1)).unwrap();
    let transport = exchange(1).transport;
    assert!(sessions.is_open_with(1, transport.as_ref()) && !sessions.is_open_with(2, transport.as_ref()));
    let opened = sessions.open_exchange(2, exchange(2)).unwrap();
    assert_eq!(sessions.accept_exchange(3, exchange(3)), Err(Error::SessionLimit));
    let mut views: Vec<_> =
        sessions.views().into_iter().map(|(_, seen, owner)| (seen.session, seen.kind, owner)).collect();
    views.sort_by_key(|(session, ..)| *session);
    assert_eq!(views, [(1, SessionKind::Exchange, Some(A)), (2, SessionKind::Exchange, Some(A))]);
    sessions.end(opened, Ending::Stopped).unwrap();
    sessions.accept_exchange(3, exchange(3)).unwrap();
}

/// A connection that counts how often it is closed.
#[derive(Debug, Default)]
struct Closing(std::sync::atomic::AtomicUsize);

impl Transport for Closing {
    fn send(&self, _: &[u8], _: std::time::Instant) -> Result<(), TransportError> {
        Ok(())
    }
    fn receive(&self, _: std::time::Instant) -> Result<Vec<u8>, TransportError> {
        Err(TransportError::Timeout)
    }
    fn has_unread(&self) -> bool {
        false
    }
    fn is_over(&self) -> bool {
        false
    }
    fn pause_before_next(&self, _: std::time::Duration) {}
    fn close(&self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    fn reset(&self) {}
    fn peer(&self) -> Ipv6Addr {
        PEER
    }
    fn neighbour(&self) -> crate::bounds::Neighbour {
        (2, PEER)
    }
    fn is_from_here(&self) -> bool {
        false
    }
}

#[test]
fn a_request_that_is_refused_is_counted_and_its_connection_closed() {
    let counters = Arc::<Counters>::default();
    let transport = Arc::new(Closing::default());
    let received = Case::<crate::outcome::MessageOutcome>::open(&counters, |count| &count.messages_received);
    let case = received.becomes(crate::outcome::MessageOutcome::NegotiationRequest);
    let request = NegotiationRequest {
        session: 7,
        objective: Objective::new("EX1"),
        transport: Arc::clone(&transport) as Arc<dyn Transport>,
        case,
    };
    request.refuse(RequestOutcome::NotListening);
    assert_eq!(transport.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(counters.snapshot().refused_not_listening, 1);
}
