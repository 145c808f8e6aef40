//! Decisions about datagrams and responses, on a node without network.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::*;
use crate::registry::{DiscoveryAnswer, Found, Nowhere, Registration, Transport};
use crate::types::{AsaLocator, AsaNonce, Objective, Protocol, Value};
use crate::wire::{Flags, Flood, Limits, Response, WireLocator, WireObjective, WireOption, decode, encode};

const ASA: AsaNonce = AsaNonce(1);
const PEER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);
const INITIATOR: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x99));

/// A node with links 2 and 3.
struct Fixture {
    config: Config,
    registries: Registries,
    addresses: Addresses,
    counters: Arc<Counters>,
    secure: bool,
}

impl Fixture {
    fn new(config: Config) -> Self {
        let link_local = |last| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
        let counters = Arc::<Counters>::default();
        Self {
            registries: Registries::new(&config, &counters),
            addresses: Addresses {
                global: Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
                links: [2, 3]
                    .map(|ifi: u16| Link { ifi: ifi.into(), address: link_local(ifi), port: 40_000 })
                    .to_vec(),
            },
            counters,
            secure: !config.dull,
            config,
        }
    }

    fn node(&self) -> Node<'_> {
        Node {
            config: &self.config,
            registries: &self.registries,
            addresses: &self.addresses,
            counters: &self.counters,
            secure: self.secure,
            test_divert: false,
        }
    }

    fn register(&self, name: &str, change: impl FnOnce(&mut Registration)) {
        let mut registration = Registration {
            ttl: 1234,
            discoverable: true,
            overlap: false,
            local: false,
            rapid: false,
            locators: Vec::new(),
            port: 4711,
            listener: None,
        };
        change(&mut registration);
        let mut objective = Objective::new(name);
        objective.synch = true;
        objective.value = Value::from(7);
        self.registries.objectives.register(ASA, &objective, registration).unwrap();
    }

    fn receive(&self, body: Body, now: u64) -> Vec<Action> {
        self.receive_from(PEER, true, body, now)
    }

    fn receive_from(&self, source: Ipv6Addr, multicast: bool, body: Body, now: u64) -> Vec<Action> {
        let message = Message::new(body);
        let arrival = Arrival { ifi: 2, source, port: 50_000, multicast };
        handle_datagram(&self.node(), arrival, &message, &encode(&message), now)
    }

    fn cache(&self, name: &str, locator: AsaLocator) {
        self.registries.discovery.insert(name, &[locator], None, 0);
    }
}

fn wire_objective(name: &str, loop_count: u8) -> WireObjective {
    WireObjective { name: name.to_owned(), flags: Flags(5), loop_count, value: Some(Value::from(1)) }
}

fn discovery(session: u32, name: &str, loop_count: u8) -> Body {
    Body::Discovery { session, initiator: INITIATOR, objective: wire_objective(name, loop_count) }
}

fn flood(session: u32, initiator: IpAddr, loop_counts: &[u8], ttl: u32) -> Body {
    let objectives =
        loop_counts.iter().enumerate().map(|(i, count)| (wire_objective(&format!("F{i}"), *count), None));
    Body::Flood(Flood { session, initiator, ttl, objectives: objectives.collect() })
}

fn response(actions: &[Action]) -> &Response {
    match actions {
        [Action::Respond { to, message: Message { body: Body::Response(response), .. } }] => {
            assert_eq!((to.source, to.port, to.ifi), (PEER, 50_000, 2));
            response
        }
        other => panic!("{other:?}"),
    }
}

fn global(last: u16, ifi: u32) -> AsaLocator {
    AsaLocator::new(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last), Some(ifi)).with_port(99)
}

#[test]
fn what_is_registered_is_answered_with_this_nodes_address() {
    let node = Fixture::new(Config::new());
    node.register("EX1", |_| {});
    let actions = node.receive(discovery(7, "EX1", 6), 0);
    let answer = response(&actions);
    assert_eq!((answer.session, answer.initiator, answer.ttl), (7, INITIATOR, 1234));
    let own = AsaLocator::new(node.addresses.global.unwrap(), None).with_port(4711);
    assert_eq!(answer.options, vec![WireOption::Locator(WireLocator::from_locator(&own).unwrap())]);
    assert_eq!(answer.objective, None);
}

#[test]
fn a_local_objective_is_answered_with_the_address_of_the_link() {
    let node = Fixture::new(Config::new());
    node.register("EX1", |registration| registration.local = true);
    node.register("EX2", |registration| registration.rapid = true);
    let actions = node.receive(discovery(7, "EX1", 6), 0);
    let own = AsaLocator::new(node.addresses.link_local(2).unwrap(), None).with_port(4711);
    assert_eq!(
        response(&actions).options,
        vec![WireOption::Locator(WireLocator::from_locator(&own).unwrap())]
    );
    let actions = node.receive(discovery(8, "EX2", 6), 0);
    assert_eq!(response(&actions).objective.as_ref().unwrap().value, Some(Value::from(7)));
}

#[test]
fn what_is_cached_is_diverted_to_with_the_life_that_remains() {
    let node = Fixture::new(Config::new());
    node.cache("EX1", AsaLocator { expire: 5000, ..global(2, 3) });
    node.cache("EX1", AsaLocator { expire: 9000, ..global(3, 3) });
    let actions = node.receive(discovery(7, "EX1", 6), 1000);
    let answer = response(&actions);
    assert_eq!(answer.ttl, 4000);
    assert!(matches!(answer.options.as_slice(), [WireOption::Divert(locators)] if locators.len() == 2));
}

#[test]
fn what_is_about_to_expire_is_not_diverted_to_but_asked_for_again() {
    let node = Fixture::new(Config::new());
    node.cache("EX1", AsaLocator { expire: 5000, ..global(2, 3) });
    assert_eq!(response(&node.receive(discovery(7, "EX1", 6), 3999)).ttl, 1001);
    let actions = node.receive(discovery(8, "EX1", 6), 4000);
    assert!(matches!(actions.as_slice(), [Action::RelayDiscovery { session: 8, .. }]), "{actions:?}");
}

#[test]
fn nothing_is_diverted_to_where_it_was_learnt_nor_to_a_link_local_address_or_name() {
    let node = Fixture::new(Config::new());
    node.cache("EX1", global(2, 2));
    node.cache("EX1", AsaLocator::new(PEER, Some(3)));
    node.cache("EX1", AsaLocator::fqdn("printer.LOCAL.", Protocol::Tcp, 1));
    node.cache("EX1", AsaLocator::uri("coap://user@printer.local:99/x"));
    // Loop count 1: it cannot be relayed either.
    assert_eq!(node.receive(discovery(7, "EX1", 1), 0), vec![]);
    let stats = node.counters.snapshot();
    assert_eq!((stats.discoveries_unanswered, stats.not_relayed_loop_count), (1, 1));
}

#[test]
fn an_unknown_objective_is_relayed_once_with_one_loop_count_less() {
    let node = Fixture::new(Config::new());
    let actions = node.receive(discovery(7, "EX1", 6), 0);
    let [Action::RelayDiscovery { session, initiator, timeout, datagram, asker, .. }] = actions.as_slice()
    else {
        panic!("{actions:?}")
    };
    assert_eq!((*session, *initiator, *timeout, asker.ifi), (7, INITIATOR, 500, 2));
    let relayed = decode(datagram, &Limits::default()).unwrap();
    assert_eq!(relayed, Message::new(discovery(7, "EX1", 5)));
    assert_eq!(node.receive(discovery(7, "EX1", 5), 119_000), vec![]);
    assert_eq!(node.counters.snapshot().not_relayed_duplicate, 1);
}

#[test]
fn a_node_with_one_link_and_a_dull_instance_relay_nothing() {
    let mut node = Fixture::new(Config::new());
    node.addresses.links.truncate(1);
    assert_eq!(node.receive(discovery(7, "EX1", 6), 0), vec![]);
    assert_eq!(node.receive(flood(8, INITIATOR, &[6], 0), 0), vec![]);
    let dull = Fixture::new(Config::new().dull(true));
    assert_eq!(dull.receive(discovery(7, "EX1", 2), 0), vec![]);
    assert_eq!(dull.receive(flood(8, INITIATOR, &[1, 2], 0), 0), vec![]);
    assert_eq!(dull.counters.snapshot().dropped_dull, 2);
}

#[test]
fn a_flood_is_cached_and_relayed_once_with_the_first_loop_count_lowered() {
    let node = Fixture::new(Config::new());
    let actions = node.receive(flood(7, INITIATOR, &[3, 3], 500), 1000);
    let [Action::Relay { except: 2, datagram }] = actions.as_slice() else { panic!("{actions:?}") };
    let relayed = decode(datagram, &Limits::default()).unwrap();
    assert_eq!(relayed, Message::new(flood(7, INITIATOR, &[2, 3], 500)));
    let cached = node.registries.floods.lookup("F0", 1499);
    assert_eq!((cached.len(), cached[0].source.expire), (1, 1500));
    assert!(node.registries.floods.lookup("F1", 1500).is_empty());
    assert_eq!(node.receive(flood(7, INITIATOR, &[3, 3], 500), 120_999), vec![]);
}

#[test]
fn a_late_copy_of_a_flood_does_not_displace_a_newer_value() {
    let node = Fixture::new(Config::new());
    let flooded = |session, value: i64| {
        let objective = WireObjective { value: Some(Value::from(value)), ..wire_objective("F0", 6) };
        Body::Flood(Flood { session, initiator: INITIATOR, ttl: 0, objectives: vec![(objective, None)] })
    };
    node.receive(flooded(7, 1), 0);
    node.receive(flooded(8, 2), 100);
    node.receive(flooded(7, 1), 119_999);
    assert_eq!(node.registries.floods.lookup("F0", 119_999)[0].objective.value, Value::from(2));
    assert_eq!(node.counters.snapshot().duplicate_floods, 1);
}

#[test]
fn what_is_over_the_rate_is_not_relayed_but_cached_and_counted() {
    let rate = crate::config::Rate::new(1, 2);
    let node = Fixture::new(Config::new().flood_relay_rate(rate).neighbour_discovery_relay_rate(rate));
    let relayed = (0..5).filter(|n| !node.receive(flood(*n, INITIATOR, &[6], 0), 0).is_empty()).count();
    assert_eq!((relayed, node.registries.floods.list().len()), (2, 1));
    let relayed = (10..15).filter(|n| !node.receive(discovery(*n, "EX1", 6), 0).is_empty()).count();
    assert_eq!(relayed, 2);
    assert_eq!(
        node.receive(discovery(14, "EX1", 6), 1000).len(),
        1,
        "it was not remembered, and comes again"
    );
    let stats = node.counters.snapshot();
    assert_eq!((stats.dropped_flood_rate, stats.dropped_discovery_rate), (3, 3));
}

#[test]
fn a_flood_from_a_link_local_initiator_must_have_loop_count_1() {
    let node = Fixture::new(Config::new());
    node.receive(flood(7, IpAddr::V6(PEER), &[3], 0), 0);
    assert!(node.registries.floods.lookup("F0", 0).is_empty());
    node.receive(flood(8, IpAddr::V6(PEER), &[1], 0), 0);
    assert_eq!(node.registries.floods.lookup("F0", 0).len(), 1);
    assert_eq!(node.counters.snapshot().dropped_link_local_flood, 1);
}

#[test]
fn sources_and_security_are_checked_before_anything_else() {
    let mut node = Fixture::new(Config::new());
    node.register("EX1", |_| {});
    let far = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);
    assert_eq!(node.receive_from(far, true, discovery(7, "EX1", 6), 0), vec![]);
    assert_eq!(node.receive_from(PEER, false, flood(7, INITIATOR, &[6], 0), 0), vec![]);
    assert_eq!(node.receive_from(PEER, false, discovery(7, "EX1", 6), 0).len(), 1);
    node.secure = false;
    assert_eq!(node.receive(discovery(8, "EX1", 6), 0), vec![]);
    let stats = node.counters.snapshot();
    assert_eq!((stats.dropped_bad_source, stats.dropped_misplaced, stats.dropped_insecure), (1, 1, 1));
}

#[test]
fn own_multicasts_are_known_by_session_and_initiator() {
    let node = Fixture::new(Config::new());
    let id = node.registries.sessions.flood_id(INITIATOR).unwrap();
    assert_eq!(node.receive(flood(id, INITIATOR, &[6], 0), 0), vec![]);
    assert_eq!(node.counters.snapshot().own_multicast, 1);
    let other = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x98));
    assert_eq!(node.receive(flood(id, other, &[6], 0), 0).len(), 1, "another node has drawn the same number");
    let own_socket = node.addresses.links[0];
    let arrival = Arrival { ifi: 2, source: own_socket.address, port: own_socket.port, multicast: true };
    let relayed = Message::new(flood(99, other, &[5], 0));
    assert_eq!(
        handle_datagram(&node.node(), arrival, &relayed, &encode(&relayed), 0),
        vec![],
        "relayed from here"
    );
    let selfing = Fixture::new(Config::new().listen_self(true));
    let id = selfing.registries.sessions.flood_id(INITIATOR).unwrap();
    assert_eq!(selfing.receive(flood(id, INITIATOR, &[6], 0), 0), vec![], "heard, but not relayed");
    assert_eq!(selfing.registries.floods.lookup("F0", 0).len(), 1);
}

#[test]
fn a_response_is_cached_and_delivered_only_to_its_discovery() {
    let node = Fixture::new(Config::new());
    let (tx, rx) = crossbeam_channel::bounded(1);
    let session = node.registries.sessions.open_discovery(INITIATOR, "EX1", tx).unwrap();
    let locator = WireLocator::from_locator(&global(5, 0)).unwrap();
    let mut answer = Response {
        session,
        initiator: INITIATOR,
        ttl: 0,
        options: vec![WireOption::Other(Value::from(9)), WireOption::Divert(vec![locator])],
        objective: Some(wire_objective("EX1", 6)),
    };
    let receive = |node: &Fixture, from, answer: &Response| {
        let transport: Arc<dyn Transport> = Arc::new(Nowhere(from, 0));
        handle_answer(&node.node(), 3, &transport, Message::new(Body::Response(answer.clone())), 1000)
    };
    let delivery = receive(&node, PEER, &answer).unwrap();
    delivery.mailbox.try_send(delivery.answer).unwrap();
    let DiscoveryAnswer::Found(found) = rx.recv().unwrap() else { panic!() };
    assert!(found.locators[0].diverted);
    let cached = node.registries.discovery.lookup("EX1", 1000 + 599_999);
    assert_eq!((cached.len(), cached[0].ifi, cached[0].expire), (1, Some(3), 601_000), "ttl 0 is long");
    assert_eq!(node.registries.discovery.rapid("EX1", 1000).unwrap().value, Value::from(1));
    answer.initiator = IpAddr::V6(PEER);
    assert!(receive(&node, PEER, &answer).is_none());
    assert_eq!(node.counters.snapshot().dropped_stray_response, 1);
}

#[test]
fn a_dull_instance_believes_no_divert_and_nobody_off_the_link() {
    let node = Fixture::new(Config::new().dull(true));
    let (tx, _rx) = crossbeam_channel::bounded(1);
    let session = node.registries.sessions.open_discovery(INITIATOR, "EX1", tx).unwrap();
    let options = vec![WireOption::Divert(vec![WireLocator::from_locator(&global(5, 0)).unwrap()])];
    let answer = Response { session, initiator: INITIATOR, ttl: 1000, options, objective: None };
    let answer = Message::new(Body::Response(answer));
    let transport: Arc<dyn Transport> = Arc::new(Nowhere(PEER, 0));
    let delivery = handle_answer(&node.node(), 3, &transport, answer.clone(), 0).unwrap();
    assert!(matches!(delivery.answer, DiscoveryAnswer::Found(found) if found.locators.is_empty()));
    let far = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);
    let transport: Arc<dyn Transport> = Arc::new(Nowhere(far, 0));
    assert!(handle_answer(&node.node(), 3, &transport, answer, 0).is_none());
}

#[test]
fn a_dull_instance_handles_its_own_objectives_only() {
    let node = Fixture::new(Config::new().dull(true).dull_objectives(Some(vec!["F0".to_owned()])));
    node.register("EX1", |_| {});
    assert_eq!(node.receive(discovery(7, "EX1", 1), 0), vec![]);
    node.receive(flood(8, IpAddr::V6(PEER), &[1, 1], 0), 0);
    let cached: Vec<_> =
        node.registries.floods.list().into_iter().map(|tagged| tagged.objective.name).collect();
    assert_eq!(cached, ["F0"]);
    let stats = node.counters.snapshot();
    assert_eq!((stats.dropped_dull, stats.flood_entries_refused), (1, 1));
}

#[test]
fn a_relay_sends_back_what_others_can_use() {
    let answer = |locators| Found { locators, ttl: 700, ifi: 3 };
    let locators = vec![AsaLocator::new(PEER, Some(3)), global(5, 3)];
    let node = Fixture::new(Config::new());
    let relayed = |ifi, locators: Vec<AsaLocator>| {
        relayed_response(&node.node(), ifi, (7, INITIATOR), "EX1", &answer(locators), 0)
    };
    let sent = relayed(2, locators.clone()).unwrap();
    let Body::Response(sent) = sent.body else { panic!() };
    assert_eq!((sent.session, sent.initiator, sent.ttl), (7, INITIATOR, 700));
    assert!(matches!(sent.options.as_slice(), [WireOption::Divert(locators)] if locators.len() == 1));
    assert!(relayed(2, vec![AsaLocator::new(PEER, Some(3))]).is_none());
    assert!(relayed(3, locators.clone()).is_none(), "it came from the asker's own link");
    node.cache("EX1", global(5, 2));
    assert!(relayed(2, locators).is_none(), "it was learnt on the asker's own link");
}

#[test]
fn a_divert_fits_into_a_message_whatever_a_neighbour_has_answered() {
    let node = Fixture::new(Config::new());
    let long = |number: u8| {
        let name = format!("{number}{}", "x".repeat(1900));
        AsaLocator { ifi: Some(3), ..AsaLocator::fqdn(&name, Protocol::Tcp, 1) }
    };
    let mut cached: Vec<_> = (0..20).map(long).collect();
    cached.push(global(9, 3));
    cached.iter().for_each(|locator| node.cache("EX1", locator.clone()));
    let small = |message: &Message| {
        let bytes = encode(message);
        assert!(bytes.len() <= Limits::default().size, "{} bytes", bytes.len());
        let Body::Response(Response { options, .. }) = &message.body else { panic!("{message:?}") };
        let [WireOption::Divert(locators)] = options.as_slice() else { panic!("{options:?}") };
        assert_eq!(locators.first(), WireLocator::from_locator(&global(9, 3)).as_ref(), "not displaced");
    };
    match node.receive(discovery(7, "EX1", 6), 0).as_slice() {
        [Action::Respond { message, .. }] => small(message),
        other => panic!("{other:?}"),
    }
    let answer = Found { locators: cached, ttl: 1, ifi: 3 };
    small(&relayed_response(&node.node(), 2, (7, INITIATOR), "EX1", &answer, 0).unwrap());
}
