//! Tests decisions about datagrams and responses on a node without a network.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::relay::Relay;
use super::*;
use crate::registry::{DiscoveryAnswer, Link, Nowhere, Question, Registration, Transport};
use crate::types::{AsaLocator, AsaNonce, Objective, OwnAddress, Protocol, TaggedObjective, Value};
use crate::wire::{
    Flags, Flood, Limits, Message, Response, WireLocator, WireObjective, WireOption, decode, encode,
};

mod announcing;
mod locators;
mod merging;
mod outgoing;
mod rapid;
mod relays;
mod replies;
mod requests;
mod state;

const ASA: AsaNonce = AsaNonce(1);
const PEER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);
const INITIATOR: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x99));

/// A node with links 2 and 3.
struct Fixture(Arc<Node>);

impl std::ops::Deref for Fixture {
    type Target = Arc<Node>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

fn addresses(links: &[u16]) -> Addresses {
    let link_local = |last| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
    let link = |ifi: &u16| Link { ifi: (*ifi).into(), address: link_local(*ifi), port: 40_000 };
    let global = Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
    Addresses { global, links: links.iter().map(link).collect(), ..Addresses::default() }
}

impl Fixture {
    fn new(config: Config) -> Self {
        Self::with(config, &[2, 3], false)
    }

    fn with(config: Config, links: &[u16], protected: bool) -> Self {
        let node = Node::new(config, protected);
        node.set_secure(true);
        node.registries.links.set(&Arc::new(addresses(links)));
        Self(node)
    }

    fn register(&self, name: &str, change: impl FnOnce(&mut Registration)) {
        let mut objective = Objective::new(name);
        objective.synch = true;
        objective.value = Value::from(7);
        self.register_as(&objective, change);
    }

    fn register_as(&self, objective: &Objective, change: impl FnOnce(&mut Registration)) {
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
        self.registries.objectives.register(ASA, objective, registration).unwrap();
    }

    fn receive(&self, body: Body, now: u64) -> Option<Effect> {
        self.receive_from(PEER, true, body, now)
    }

    fn receive_from(&self, source: Ipv6Addr, multicast: bool, body: Body, now: u64) -> Option<Effect> {
        self.receive_at(Arrival { ifi: 2, source, port: 50_000, multicast }, body, now)
    }

    fn receive_at(&self, arrival: Arrival, body: Body, now: u64) -> Option<Effect> {
        let bytes = encode(&Message::new(body));
        let case = self.gate(&arrival, bytes.len())?;
        let datagram = self.take_datagram(case, arrival, &bytes, now)?;
        self.datagram(*datagram, now)
    }

    fn cache(&self, name: &str, locator: AsaLocator) {
        self.registries.discovery.insert(name, vec![locator], None, 0);
    }

    /// Opens the relay that an effect asks for.
    fn open(&self, effect: Option<Effect>, now: u64) -> (Relay, Receiver<DiscoveryAnswer>) {
        let Some(Effect::RelayDiscovery(task)) = effect else { panic!("{effect:?}") };
        let (tx, rx) = crossbeam_channel::bounded(4);
        (task.open(Arc::new(tx), now).unwrap(), rx)
    }

    /// Opens a discovery from this node.
    fn ask(&self, session: u32) -> Receiver<DiscoveryAnswer> {
        let (tx, rx) = crossbeam_channel::bounded(1);
        let id = SessionId { session, initiator: INITIATOR };
        let question = Question { name: "EX1".into(), shared: None, asked: 0 };
        let opened = self.registries.sessions.open_discovery(id, question, 0, Arc::new(tx));
        assert_eq!(opened, crate::registry::Opened::New);
        rx
    }

    fn answer_from(&self, ifi: u32, peer: Ipv6Addr, response: &Response, now: u64) {
        let transport: Arc<dyn Transport> = Arc::new(Nowhere(peer, ifi));
        self.answer(ifi, &transport, Message::new(Body::Response(response.clone())), self.received(), now);
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

/// Returns the response that is sent and reaches its asker.
fn response(effect: Option<Effect>) -> Response {
    let Some(Effect::Respond(super::Response { to, message, ticket })) = effect else { panic!("{effect:?}") };
    assert_eq!((to.source, to.port, to.ifi), (PEER, 50_000, 2));
    ticket.sent();
    let Body::Response(response) = message.body else { panic!("{message:?}") };
    response
}

fn global(last: u16, ifi: u32) -> AsaLocator {
    AsaLocator::new(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last), Some(ifi)).with_port(99)
}

#[test]
fn what_is_registered_is_answered_with_this_nodes_address() {
    let node = Fixture::new(Config::new());
    node.register("EX1", |_| {});
    let answer = response(node.receive(discovery(7, "EX1", 6), 0));
    assert_eq!((answer.session, answer.initiator, answer.ttl), (7, INITIATOR, 1234));
    let own = AsaLocator::new(node.addresses().global.unwrap(), None).with_port(4711);
    assert_eq!(answer.options, vec![WireOption::Locator(WireLocator::from_locator(&own).unwrap())]);
    assert_eq!(answer.objective, None);
}

#[test]
fn a_local_objective_is_answered_with_the_address_of_the_link() {
    let node = Fixture::new(Config::new());
    node.register("EX1", |registration| registration.local = true);
    node.register("EX2", |registration| registration.rapid = true);
    let answer = response(node.receive(discovery(7, "EX1", 6), 0));
    let own = AsaLocator::new(node.addresses().link_local(2).unwrap(), None).with_port(4711);
    assert_eq!(answer.options, vec![WireOption::Locator(WireLocator::from_locator(&own).unwrap())]);
    let answer = response(node.receive(discovery(8, "EX2", 6), 0));
    assert_eq!(answer.objective.unwrap().value, Some(Value::from(7)));
}

#[test]
fn what_is_cached_is_diverted_to_with_the_life_that_remains() {
    let node = Fixture::new(Config::new());
    node.cache("EX1", AsaLocator { expire: 5000, ..global(2, 3) });
    node.cache("EX1", AsaLocator { expire: 9000, ..global(3, 3) });
    let answer = response(node.receive(discovery(7, "EX1", 6), 1000));
    assert_eq!(answer.ttl, 4000);
    assert!(matches!(answer.options.as_slice(), [WireOption::Divert(locators)] if locators.len() == 2));
}

#[test]
fn what_is_about_to_expire_is_not_diverted_to_but_asked_for_again() {
    let node = Fixture::new(Config::new());
    node.cache("EX1", AsaLocator { expire: 5000, ..global(2, 3) });
    assert_eq!(response(node.receive(discovery(7, "EX1", 6), 3999)).ttl, 1001);
    let effect = node.receive(discovery(8, "EX1", 6), 4000);
    assert!(matches!(&effect, Some(Effect::RelayDiscovery(task)) if task.id.session == 8), "{effect:?}");
}

#[test]
fn nothing_is_diverted_to_where_it_was_learnt_nor_to_a_link_local_address_or_name() {
    let node = Fixture::new(Config::new());
    node.cache("EX1", global(2, 2));
    node.cache("EX1", AsaLocator::new(PEER, Some(3)));
    node.cache("EX1", AsaLocator::fqdn("printer.LOCAL.", Protocol::Tcp, 1));
    node.cache("EX1", AsaLocator::uri("coap://user@printer.local:99/x"));
    // Loop count 1: it cannot be relayed either.
    assert!(node.receive(discovery(7, "EX1", 1), 0).is_none());
    let stats = node.stats();
    assert_eq!((stats.discoveries_unanswered, stats.not_relayed_loop_count), (1, 1));
}

#[test]
fn an_unknown_objective_is_relayed_once_with_one_loop_count_less() {
    let node = Fixture::new(Config::new());
    let Some(Effect::RelayDiscovery(task)) = node.receive(discovery(7, "EX1", 6), 0) else { panic!() };
    assert_eq!(
        (task.id, task.timeout, task.asker.ifi),
        (SessionId { session: 7, initiator: INITIATOR }, 500, 2)
    );
    let relayed = decode(&task.datagram, &Limits::default()).unwrap();
    assert_eq!(relayed, Message::new(discovery(7, "EX1", 5)));
    let (tx, _rx) = crossbeam_channel::bounded(1);
    let _open = task.open(Arc::new(tx), 0).unwrap();
    assert!(node.receive(discovery(7, "EX1", 5), 119_000).is_none());
    assert_eq!(node.stats().not_relayed_duplicate, 1);
}

#[test]
fn a_node_with_one_link_and_a_dull_instance_relay_nothing() {
    let node = Fixture::with(Config::new(), &[2], false);
    assert!(node.receive(discovery(7, "EX1", 6), 0).is_none());
    assert!(node.receive(flood(8, INITIATOR, &[6], 0), 0).is_none());
    let dull = Fixture::new(Config::new().dull(true));
    assert!(dull.receive(discovery(7, "EX1", 2), 0).is_none());
    assert!(dull.receive(flood(8, INITIATOR, &[1, 2], 0), 0).is_none());
    assert_eq!(dull.stats().dropped_dull, 2);
}

#[test]
fn a_flood_is_cached_and_relayed_once_with_the_first_loop_count_lowered() {
    let node = Fixture::new(Config::new());
    let effect = node.receive(flood(7, INITIATOR, &[3, 3], 500), 1000);
    let Some(Effect::RelayFlood { except: 2, datagram, .. }) = &effect else { panic!("{effect:?}") };
    let relayed = decode(datagram, &Limits::default()).unwrap();
    assert_eq!(relayed, Message::new(flood(7, INITIATOR, &[2, 3], 500)));
    let cached = node.registries.floods.lookup("F0", 1499);
    assert_eq!((cached.len(), cached[0].source.expire, cached[0].source.ifi), (1, 1500, Some(2)));
    assert!(node.registries.floods.lookup("F1", 1500).is_empty());
    assert!(node.receive(flood(7, INITIATOR, &[3, 3], 500), 120_999).is_none());
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
    assert_eq!(node.stats().duplicate_floods, 1);
}

#[test]
fn what_is_over_the_rate_is_not_relayed_but_cached_and_counted() {
    let rate = crate::config::Rate::new(1, 2);
    let node = Fixture::new(Config::new().flood_relay_rate(rate).neighbour_discovery_relay_rate(rate));
    let relayed = (0..5).filter(|n| node.receive(flood(*n, INITIATOR, &[6], 0), 0).is_some()).count();
    assert_eq!((relayed, node.registries.floods.list().len()), (2, 1));
    let relayed = (10..15).filter(|n| node.receive(discovery(*n, "EX1", 6), 0).is_some()).count();
    assert_eq!(relayed, 1, "one initiator has half");
    assert!(node.receive(discovery(14, "EX1", 6), 1000).is_some(), "it was not remembered, and comes again");
    let stats = node.stats();
    assert_eq!((stats.dropped_flood_rate, stats.dropped_discovery_rate), (3, 4));
}

#[test]
fn a_flood_from_a_link_local_initiator_must_have_loop_count_1() {
    let node = Fixture::new(Config::new());
    node.receive(flood(7, IpAddr::V6(PEER), &[3], 0), 0);
    assert!(node.registries.floods.lookup("F0", 0).is_empty());
    node.receive(flood(8, IpAddr::V6(PEER), &[1], 0), 0);
    assert_eq!(node.registries.floods.lookup("F0", 0).len(), 1);
    assert_eq!(node.stats().dropped_link_local_flood, 1);
}

#[test]
fn sources_and_security_are_checked_before_anything_else() {
    let node = Fixture::new(Config::new());
    node.register("EX1", |_| {});
    let far = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);
    assert!(node.receive_from(far, true, discovery(7, "EX1", 6), 0).is_none());
    assert!(node.receive_from(PEER, false, flood(7, INITIATOR, &[6], 0), 0).is_none());
    assert!(node.receive_from(PEER, false, discovery(7, "EX1", 6), 0).is_some());
    node.set_secure(false);
    assert!(node.receive(discovery(8, "EX1", 6), 0).is_none());
    let stats = node.stats();
    assert_eq!((stats.dropped_bad_source, stats.dropped_misplaced, stats.dropped_insecure), (1, 1, 1));
}

#[test]
fn own_multicasts_are_known_by_session_and_initiator() {
    let node = Fixture::new(Config::new());
    node.registries.identifiers.own(77, INITIATOR);
    assert!(node.receive(flood(77, INITIATOR, &[6], 0), 0).is_none());
    assert_eq!(node.stats().own_multicast, 1);
    let other = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x98));
    assert!(node.receive(flood(77, other, &[6], 0), 0).is_some(), "another node has drawn the same number");
    let own_socket = node.addresses().links[0];
    let arrival = Arrival { ifi: 2, source: own_socket.address, port: own_socket.port, multicast: true };
    assert!(node.receive_at(arrival, flood(99, other, &[5], 0), 0).is_none(), "relayed from here");
    let selfing = Fixture::new(Config::new().listen_self(true));
    selfing.registries.identifiers.own(77, INITIATOR);
    assert!(selfing.receive(flood(77, INITIATOR, &[6], 0), 0).is_none(), "heard, but not relayed");
    assert_eq!(selfing.registries.floods.lookup("F0", 0).len(), 1);
}

#[test]
fn a_response_is_cached_and_delivered_only_to_its_discovery() {
    let node = Fixture::new(Config::new());
    let answers = node.ask(7);
    let locator = WireLocator::from_locator(&global(5, 0)).unwrap();
    let mut answer = Response {
        session: 7,
        initiator: INITIATOR,
        ttl: 0,
        options: vec![WireOption::Other(Value::from(9)), WireOption::Divert(vec![locator])],
        objective: Some(wire_objective("EX1", 6)),
    };
    node.answer_from(3, PEER, &answer, 1000);
    let DiscoveryAnswer::Found(found) = answers.recv().unwrap() else { panic!() };
    assert!(found.locators[0].diverted);
    let cached = node.registries.discovery.lookup("EX1", 1000 + 599_999);
    assert_eq!((cached.len(), cached[0].ifi, cached[0].expire), (1, Some(3), 601_000), "ttl 0 is long");
    assert_eq!(node.registries.discovery.rapid("EX1", 1000).unwrap().value, Value::from(1));
    answer.initiator = IpAddr::V6(PEER);
    node.answer_from(3, PEER, &answer, 1000);
    assert!(answers.try_recv().is_err());
    assert_eq!(node.stats().dropped_stray_response, 1);
}

#[test]
fn a_dull_instance_believes_no_divert_and_nobody_off_the_link() {
    let node = Fixture::new(Config::new().dull(true));
    let answers = node.ask(7);
    let options = vec![WireOption::Divert(vec![WireLocator::from_locator(&global(5, 0)).unwrap()])];
    let answer = Response { session: 7, initiator: INITIATOR, ttl: 1000, options, objective: None };
    node.answer_from(3, PEER, &answer, 0);
    let found = answers.try_recv().unwrap();
    assert!(matches!(found, DiscoveryAnswer::Found(found) if found.locators.is_empty()));
    node.answer_from(3, Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9), &answer, 0);
    assert!(answers.try_recv().is_err());
}

#[test]
fn a_dull_instance_handles_its_own_objectives_only() {
    let node = Fixture::new(Config::new().dull(true).dull_objectives(Some(vec!["F0".to_owned()])));
    node.register("EX1", |_| {});
    assert!(node.receive(discovery(7, "EX1", 1), 0).is_none());
    node.receive(flood(8, IpAddr::V6(PEER), &[1, 1], 0), 0);
    let cached: Vec<_> =
        node.registries.floods.list().into_iter().map(|tagged| tagged.objective.name).collect();
    assert_eq!(cached, ["F0"]);
    let stats = node.stats();
    assert_eq!((stats.dropped_dull, stats.flood_entries_refused), (1, 1));
}

/// An answer with these locators, or with a Divert to them.
fn answer(locators: &[AsaLocator], diverts: bool) -> Response {
    let wire = locators.iter().filter_map(WireLocator::from_locator);
    let options = if diverts {
        vec![WireOption::Divert(wire.collect())]
    } else {
        wire.map(WireOption::Locator).collect()
    };
    Response { session: 7, initiator: INITIATOR, ttl: 700, options, objective: None }
}

#[test]
fn what_is_learnt_is_kept_for_an_hour_at_most() {
    let node = Fixture::new(Config::new());
    let _answers = node.ask(7);
    node.answer_from(3, PEER, &Response { ttl: u32::MAX, ..answer(&[global(5, 3)], false) }, 0);
    assert_eq!(node.registries.discovery.lookup("EX1", 0)[0].expire, 3_600_000);
    node.receive(flood(8, INITIATOR, &[6], 0), 0);
    assert_eq!(node.registries.floods.lookup("F0", 0)[0].source.expire, 3_600_000);
}

#[test]
fn locators_that_cannot_be_true_are_not_believed() {
    let node = Fixture::new(Config::new());
    let answers = node.ask(7);
    let bad = [Ipv6Addr::LOCALHOST, "ff02::1".parse().unwrap(), "::ffff:127.0.0.1".parse().unwrap()];
    let bad: Vec<_> = bad.iter().map(|bad| AsaLocator::new(*bad, None).with_port(1)).collect();
    node.answer_from(3, PEER, &answer(&bad, false), 0);
    let named = AsaLocator::fqdn("fe80::1%eth1", Protocol::Tcp, 1);
    node.answer_from(3, PEER, &answer(&[named], false), 0);
    let near = AsaLocator::new(PEER, Some(3)).with_port(1);
    node.answer_from(3, PEER, &answer(&[near], true), 0);
    assert!(node.registries.discovery.lookup("EX1", 0).is_empty());
    assert!(matches!(answers.try_recv(), Ok(DiscoveryAnswer::Found(found)) if found.locators.is_empty()));
    assert_eq!(node.stats().locators_refused, 5);
}

#[test]
fn a_link_local_tag_that_came_through_a_relay_is_not_cached() {
    let node = Fixture::new(Config::new());
    let flooded = |session, initiator, address: Ipv6Addr, loop_count| {
        let tag = WireLocator::from_locator(&AsaLocator::new(address, None).with_port(1));
        let objectives = vec![(wire_objective("F0", loop_count), tag)];
        Body::Flood(Flood { session, initiator, ttl: 0, objectives })
    };
    let far = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77);
    assert!(node.receive(flooded(7, INITIATOR, far, 5), 0).is_some(), "relayed all the same");
    assert_eq!((node.registries.floods.list().len(), node.stats().flood_entries_refused), (0, 1));
    node.receive(flooded(8, INITIATOR, PEER, 5), 0);
    node.receive(flooded(9, far.into(), far, 1), 0);
    assert_eq!(node.registries.floods.list().len(), 2);
}

#[test]
fn nobody_replaces_what_this_node_has_flooded() {
    let node = Fixture::new(Config::new());
    let own = AsaLocator::new(node.addresses().global.unwrap(), None).with_port(7);
    let mut objective = Objective::new("F0");
    (objective.synch, objective.value) = (true, Value::from(1));
    node.plan_flood(&[TaggedObjective::new(objective, Some(own.clone()))], 0, 1000).unwrap().begin(0);
    let objectives = vec![(wire_objective("F0", 1), WireLocator::from_locator(&own))];
    node.receive(Body::Flood(Flood { session: 5, initiator: INITIATOR, ttl: 1, objectives }), 0);
    node.purge(10);
    let cached = node.registries.floods.lookup("F0", 10);
    assert_eq!((cached.len(), &cached[0].objective.value), (1, &Value::from(1)));
}

#[test]
fn without_security_no_answer_is_believed() {
    let node = Fixture::new(Config::new());
    let answers = node.ask(7);
    node.set_secure(false);
    node.answer_from(3, PEER, &answer(&[global(5, 3)], false), 0);
    assert!(answers.try_recv().is_err() && node.registries.discovery.list().is_empty());
    assert_eq!(node.stats().dropped_insecure, 1);
}

#[test]
fn an_asker_that_asks_again_is_told_what_is_new() {
    let node = Fixture::new(Config::new());
    node.cache("EX1", AsaLocator { expire: 50_000, ..global(2, 3) });
    response(node.receive(discovery(7, "EX1", 6), 0));
    // And again if it still asks: in the meantime another peer has told the relay the same.
    for (session, now) in [(8, 5000), (9, 5100)] {
        let again = node.receive(discovery(session, "EX1", 6), now);
        assert!(matches!(again, Some(Effect::RelayDiscovery(_))), "{again:?}");
        node.cache("EX1", AsaLocator { expire: 50_000, ..global(2, 3) });
    }
    response(node.receive(discovery(10, "EX1", 6), 10_100));
}

#[test]
fn responses_have_budgets() {
    let rate = crate::config::Rate::new(1, 3);
    let asks = |config: Config, port: fn(u32) -> (Ipv6Addr, u16)| {
        let node = Fixture::new(config);
        node.register("EX1", |_| {});
        let sent = (0..20).filter(|session| {
            let (source, port) = port(*session);
            let arrival = Arrival { ifi: 2, source, port, multicast: true };
            match node.receive_at(arrival, discovery(*session, "EX1", 6), 0) {
                Some(Effect::Respond(response)) => {
                    response.ticket.sent();
                    true
                }
                _ => false,
            }
        });
        (sent.count(), node.stats().dropped_response_rate)
    };
    let one = |_| (PEER, 50_000);
    let invented = |session: u32| {
        let last = u16::try_from(session).unwrap();
        (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, last), 50_000)
    };
    assert_eq!(asks(Config::new().asker_response_rate(rate), one), (3, 17));
    assert_eq!(asks(Config::new().response_rate(rate), invented), (3, 17));
    assert_eq!(asks(Config::new().stranger_response_rate(rate), invented), (3, 17));
    assert_eq!(asks(Config::new().stranger_response_rate(rate), one), (20, 0), "known since the first");
}

#[test]
fn strangers_authenticate_at_a_limited_rate_and_do_not_delay_members() {
    let rate = crate::config::Rate::new(1, 8);
    let node = Node::new(Config::new().stranger_handshake_rate(rate), false);
    let stranger = |last| (2, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, last));
    let (member, one) = (stranger(0), stranger(1));
    assert!(node.may_authenticate(member, 0));
    node.authenticated(member, true);
    let from_one = (0..10).filter(|_| node.may_authenticate(one, 0)).count();
    assert_eq!(from_one, 2, "a quarter");
    let invented = (2..30).filter(|last| node.may_authenticate(stranger(*last), 0)).count();
    assert_eq!(invented, 5, "what is left");
    assert!((0..100).all(|_| node.may_authenticate(member, 0)));
    node.authenticated(member, false);
    assert!(!node.may_authenticate(member, 0), "it has failed");
    assert!(node.may_authenticate(stranger(99), 1000), "a second later");
}

#[test]
fn where_messages_are_protected_a_recording_is_answered_once() {
    let node = Fixture::with(Config::new(), &[2, 3], true);
    node.register("EX1", |_| {});
    response(node.receive(discovery(7, "EX1", 6), 0));
    for last in 0..9 {
        let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 2, last);
        assert!(node.receive_from(source, true, discovery(7, "EX1", 6), 1000).is_none());
    }
    assert_eq!(node.stats().dropped_repeated_discovery, 9);
    // A discovery whose response did not reach its asker may be asked again.
    let Some(Effect::Respond(lost)) = node.receive(discovery(8, "EX1", 6), 0) else { panic!() };
    lost.ticket.failed();
    response(node.receive(discovery(8, "EX1", 6), 0));
}

#[test]
fn a_noisy_neighbour_leaves_room_in_the_queue_and_floods_leave_it_to_discoveries() {
    let node = Fixture::new(Config::new().multicast_queue(10));
    let take = |source, body| {
        let arrival = Arrival { ifi: 2, source, port: 50_000, multicast: true };
        let bytes = encode(&Message::new(body));
        let case = node.gate(&arrival, bytes.len()).unwrap();
        node.take_datagram(case, arrival, &bytes, 0)
    };
    let other = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x98);
    let held: Vec<_> = (0..20).filter_map(|session| take(PEER, flood(session, INITIATOR, &[6], 0))).collect();
    assert_eq!(held.len(), 5, "half is for others");
    assert!(take(other, flood(99, INITIATOR, &[6], 0)).is_some());
    assert!(take(PEER, discovery(99, "EX1", 6)).is_some());
    assert_eq!(node.stats().dropped_queue_full, 15);
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
    match node.receive(discovery(7, "EX1", 6), 0) {
        Some(Effect::Respond(response)) => small(&response.message),
        other => panic!("{other:?}"),
    }
    let (mut relay, _answers) = node.open(node.receive(discovery(8, "EX2", 6), 0), 0);
    let found = crate::registry::Found { locators: cached, ttl: 1, ifi: 3, stale: false };
    small(&relay.pass_on(&DiscoveryAnswer::Found(found), 0).unwrap().message);
}

#[test]
fn where_diverts_are_tested_everything_is_answered_from_the_cache() {
    let node = Fixture::new(Config::new());
    node.register("EX1", |_| {});
    node.cache("EX1", AsaLocator { expire: 50_000, ..global(2, 2) });
    node.set_test_divert(true);
    let diverted = response(node.receive(discovery(7, "EX1", 6), 0));
    assert!(matches!(diverted.options.as_slice(), [WireOption::Divert(_)]), "{diverted:?}");
    node.set_test_divert(false);
    let own = response(node.receive(discovery(8, "EX1", 6), 0));
    assert!(matches!(own.options.as_slice(), [WireOption::Locator(_)]), "{own:?}");
}

#[test]
fn whoever_asks_under_a_link_local_address_is_told_that_of_the_link_too() {
    let node = Fixture::new(Config::new());
    let own =
        |ifi, last| OwnAddress { ifi, address: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last), inner: false };
    let both = Addresses { own: vec![own(2, 1), own(3, 2)], ..addresses(&[2, 3]) };
    node.registries.links.set(&Arc::new(both));
    node.register("EX1", |_| {});
    let told = |initiator, session| {
        let objective = wire_objective("EX1", 6);
        response(node.receive(Body::Discovery { session, initiator, objective }, 0)).options.len()
    };
    assert_eq!((told(INITIATOR, 7), told(PEER.into(), 8)), (2, 3));
}

#[test]
fn a_flood_that_was_sent_on_is_counted() {
    let node = Fixture::new(Config::new());
    let sent = node.receive(flood(7, INITIATOR, &[6], 0), 0);
    let Some(Effect::RelayFlood { except, session, case, .. }) = sent else { panic!("{sent:?}") };
    node.flood_relayed(session, except, case);
    assert_eq!((node.stats().floods_received, node.stats().floods_relayed), (1, 1));
}
