//! What a node is, and what it may do therefore: security, relaying, numbers, sizes, time.

use super::*;
use crate::config::Relay as Relaying;
use crate::registry::Exchange;

#[test]
fn a_change_of_security_is_told_once_and_a_dull_instance_has_none() {
    let node = Node::new(Config::new(), false);
    assert!(!node.set_secure(false) && node.set_secure(true) && !node.set_secure(true));
    assert!(node.set_secure(false));
    let dull = Node::new(Config::new().dull(true), false);
    assert!(!dull.set_secure(true) && !dull.is_secure());
}

#[test]
fn a_number_is_free_if_it_is_that_of_no_asa_and_of_no_session() {
    let node = Fixture::new(Config::new());
    node.registries.asas.register(AsaNonce(5), "five").unwrap();
    let transport = Arc::new(Nowhere(PEER, 2));
    let exchange = Exchange { owner: AsaNonce(5), transport, name: "EX1".into(), dry: false };
    node.open_exchange(6, exchange).unwrap();
    let free: Vec<_> = (0..9).filter(|id| node.is_free(AsaNonce(*id))).collect();
    assert_eq!(free, [1, 2, 3, 4, 7, 8], "0 is nobody's");
}

#[test]
fn who_relays_is_a_matter_of_configuration_links_and_the_other_engines_of_the_host() {
    let relays = |config: Config, links: &[u16], for_host: bool| {
        let node = Fixture::with(config, links, false);
        node.set_relays_for_host(for_host);
        let sent_on =
            matches!(node.receive(flood(7, INITIATOR, &[6], 0), 0), Some(Effect::RelayFlood { .. }));
        assert_eq!(node.is_relay(), sent_on, "what it says is what it does");
        (node.can_relay(), sent_on)
    };
    let (always, never) = (Config::new().relay(Relaying::Always), Config::new().relay(Relaying::Never));
    assert_eq!(relays(Config::new(), &[2, 3], true), (true, true));
    assert_eq!(relays(Config::new(), &[2, 3], false), (true, false), "another engine does");
    assert_eq!(relays(Config::new(), &[2], true), (true, false), "there is nowhere to relay to");
    assert_eq!(relays(always, &[2, 3], false), (true, true));
    assert_eq!(relays(never, &[2, 3], true), (false, false));
    assert_eq!(relays(Config::new().dull(true), &[2, 3], true), (false, false));
}

#[test]
fn what_has_expired_and_what_was_learnt_on_a_link_that_is_gone_is_purged() {
    let node = Fixture::new(Config::new());
    node.receive(flood(7, INITIATOR, &[6], 1000), 0);
    node.cache("EX1", global(5, 3));
    node.cache("EX2", global(5, 4));
    node.purge(999);
    assert_eq!((node.registries.floods.list().len(), node.registries.discovery.list().len()), (1, 1));
    assert_eq!(node.registries.discovery.lookup("EX1", 999).len(), 1);
    node.purge(1001);
    assert!(node.registries.floods.list().is_empty());
}

#[test]
fn a_message_may_be_as_large_and_as_deep_as_configured() {
    let bytes = encode(&Message::new(discovery(7, "EX1", 6)));
    let taken = |size, nesting| {
        let node = Fixture::new(Config::new().multicast_size(size).nesting(nesting));
        let arrival = Arrival { ifi: 2, source: PEER, port: 50_000, multicast: true };
        let case = node.gate(&arrival, bytes.len()).unwrap();
        let taken = node.take_datagram(case, arrival, &bytes, 0);
        let stats = node.stats();
        (taken.is_some_and(|taken| taken.is_discovery()), stats.dropped_oversize, stats.dropped_malformed)
    };
    assert_eq!(taken(bytes.len(), 9), (true, 0, 0));
    assert_eq!(taken(bytes.len() - 1, 9), (false, 1, 0));
    assert_eq!(taken(bytes.len(), 1), (false, 0, 1));
    let limits = Node::new(Config::new().unicast_size(3000).nesting(7), false).unicast_limits();
    assert_eq!((limits.size, limits.depth), (3000, 7));
}

#[test]
fn what_is_of_no_use_is_counted_by_its_kind_and_floods_are_no_discoveries() {
    let node = Fixture::new(Config::new());
    assert!(node.receive(Body::Noop, 0).is_none());
    assert!(node.receive(Body::Unknown { message_type: 200, session: None }, 0).is_none());
    assert!(node.receive(Body::End { session: 7, outcome: crate::wire::Outcome::Accept }, 0).is_none());
    let stats = node.stats();
    assert_eq!((stats.noop_received, stats.dropped_unknown_type, stats.dropped_misplaced), (1, 1, 1));
    let arrival = Arrival { ifi: 2, source: PEER, port: 50_000, multicast: true };
    let bytes = encode(&Message::new(flood(7, INITIATOR, &[6], 0)));
    let case = node.gate(&arrival, bytes.len()).unwrap();
    assert!(!node.take_datagram(case, arrival, &bytes, 0).unwrap().is_discovery());
}

#[test]
fn an_own_multicast_costs_no_decoding_unless_it_is_wanted() {
    for (wanted, passes) in [(false, false), (true, true)] {
        let node = Fixture::new(Config::new().listen_self(wanted));
        let own = node.addresses().links[0];
        let arrival = Arrival { ifi: 2, source: own.address, port: own.port, multicast: true };
        let case = node.gate(&arrival, 10);
        assert_eq!((case.is_some(), node.stats().own_multicast), (passes, u64::from(!passes)));
        case.into_iter().for_each(|case| case.settle(MessageOutcome::Noop));
    }
}

#[test]
fn a_unicast_datagram_may_come_from_an_address_of_the_link_but_not_to_a_dull_instance() {
    let near = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x55);
    let far = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 0x55);
    let passes = |config: Config, source, multicast| {
        let node = Fixture::new(config);
        let case = node.gate(&Arrival { ifi: 2, source, port: 50_000, multicast }, 10);
        case.map(|case| case.settle(MessageOutcome::Noop)).is_some()
    };
    assert!(passes(Config::new(), near, false) && passes(Config::new(), PEER, true));
    assert!(!passes(Config::new(), near, true) && !passes(Config::new(), far, false));
    assert!(!passes(Config::new().dull(true), near, false) && passes(Config::new().dull(true), PEER, false));
}

#[test]
fn what_is_relayed_is_told_to_those_who_watch() {
    let node = Fixture::new(Config::new());
    let trace = node.counters.tracer().subscribe(9);
    let (_relay, _answers) = node.open(node.receive(discovery(7, "EX1", 6), 0), 0);
    node.tracer().emit(|| Event::Relayed { session: 8, except: 3 });
    let told: Vec<_> = std::iter::from_fn(|| trace.try_recv().ok())
        .filter_map(|told| match told.event {
            Event::Relayed { session, except } => Some((session, except)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(7, 2), (8, 3)]);
}
