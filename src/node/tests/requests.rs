//! First messages on connections to an objective's port (RFC 8990 §2.8.6, §2.8.10), and discoveries by TCP (§2.5.4.2).

use super::*;
use crate::node::request::Requested;
use crate::wire::Step;

fn ask(node: &Fixture, body: Body) -> Option<Requested> {
    node.request(Message::new(body), node.received(), Arc::new(Nowhere(PEER, 2)), 0)
}

fn step(name: &str, flags: u64) -> Step {
    Step { session: 7, objective: WireObjective { flags: Flags(flags), ..wire_objective(name, 6) } }
}

/// A node with EX1 to be synchronized and EX3 to be negotiated, which nobody listens for.
fn serving() -> Fixture {
    let node = Fixture::new(Config::new());
    node.register("EX1", |_| {});
    let money = Objective { neg: true, ..Objective::new("EX3") };
    node.register_as(&money, |_| {});
    node
}

#[test]
fn without_security_no_request_is_taken_up() {
    let node = serving();
    node.set_secure(false);
    assert!(ask(&node, Body::RequestNegotiate(step("EX3", Flags::F_NEG))).is_none());
    assert_eq!((node.stats().dropped_insecure, node.stats().negotiation_requests), (1, 0));
}

#[test]
fn an_objective_is_asked_for_as_what_it_is() {
    let node = serving();
    let none = [
        Body::RequestNegotiate(step("EX1", Flags::F_NEG)),
        Body::RequestNegotiate(step("EX3", Flags::F_NEG | Flags::F_SYNCH)),
        Body::RequestSynchronize(step("EX3", Flags::F_SYNCH)),
        Body::RequestSynchronize(step("EX1", Flags::F_SYNCH | Flags::F_NEG)),
    ];
    for (number, body) in (1..).zip(none) {
        assert!(ask(&node, body).is_none());
        assert_eq!(node.stats().refused_wrong_kind, number);
    }
    // These are what they are, and nobody listens.
    let refused = ask(&node, Body::RequestNegotiate(step("EX3", Flags::F_NEG)));
    assert!(matches!(refused, Some(Requested::Refuse(_))), "{refused:?}");
    assert!(ask(&node, Body::RequestSynchronize(step("EX1", Flags::F_SYNCH))).is_none());
    assert!(ask(&node, Body::RequestNegotiate(step("EX9", Flags::F_NEG))).is_none());
    assert_eq!((node.stats().refused_wrong_kind, node.stats().refused_not_listening), (4, 3));
    assert!(ask(&node, Body::Negotiate(step("EX3", Flags::F_NEG))).is_none());
    assert_eq!(node.stats().dropped_misplaced, 1);
}

#[test]
fn a_discovery_by_tcp_is_answered_on_its_connection_and_not_relayed() {
    let node = serving();
    let Some(Requested::Respond(sent, _)) = ask(&node, discovery(7, "EX1", 6)) else { panic!("no answer") };
    sent.ticket.sent();
    assert!(matches!(sent.message.body, Body::Response(response) if response.session == 7));
    assert!(ask(&node, discovery(8, "EX9", 6)).is_none());
    let stats = node.stats();
    assert_eq!((stats.discoveries_received, stats.discoveries_relayed), (2, 0));
}

#[test]
fn a_request_for_a_value_is_answered_with_the_present_one() {
    let node = serving();
    let Some(Message { body: Body::Synch(sent), .. }) = node.value_for("EX1", 9) else { panic!("no value") };
    assert_eq!((sent.session, sent.objective.value), (9, Some(Value::from(7))));
    assert!(node.value_for("EX9", 9).is_none());
}

#[test]
fn whoever_is_refused_for_a_limit_is_told_so() {
    let node = Fixture::new(Config::new().request_queue(1).session_limit(1));
    node.register_as(&Objective { neg: true, ..Objective::new("EX3") }, |_| {});
    let _listener = node.registries.objectives.begin_listening(ASA, "EX3").unwrap();
    let farewell = |refused: Option<Requested>| match refused {
        Some(Requested::Refuse(refusal)) => refusal.farewell.map(|message| message.body),
        other => panic!("{other:?}"),
    };
    let told = |reason: &str| {
        let outcome = crate::wire::Outcome::Decline(Some(reason.to_owned()));
        Some(Body::End { session: 7, outcome })
    };
    let request = || ask(&node, Body::RequestNegotiate(step("EX3", Flags::F_NEG)));
    let Some(Requested::Negotiate(first, taken)) = request() else { panic!("nobody is free") };
    let Some(Requested::Negotiate(second, waiting)) = request() else { panic!("there is no room") };
    assert_eq!(farewell(request()), told("too many requests"));
    assert_eq!(first.patience(), node.config.listen_grace.max(node.config.connect_timeout), "it is free");
    assert_eq!(second.patience(), node.config.listen_grace);
    // A place that is given up is free again.
    drop(first);
    second.refuse(waiting);
    assert_eq!(node.stats().refused_not_listening, 1);
    assert!(matches!(request(), Some(Requested::Negotiate(..))));
    node.accept(ASA, taken).unwrap();
    let Some(Requested::Negotiate(_place, mut late)) = request() else { panic!("there is no room") };
    late.session = 8;
    let refusal = node.accept(ASA, late).unwrap_err();
    let Some(Body::End { session: 8, .. }) = refusal.farewell.map(|message| message.body) else { panic!() };
    node.registries.objectives.stop_negotiate(ASA, "EX3");
    assert_eq!(farewell(request()), None, "nobody listens");
}

#[test]
fn sessions_whose_peers_have_left_end_after_the_configured_time() {
    let node = Fixture::new(Config::new().abandoned_after(std::time::Duration::from_millis(1500)));
    let transport = Arc::new(Nowhere(PEER, 2));
    let exchange = crate::registry::Exchange { owner: ASA, transport, name: "EX1".into(), dry: false };
    node.open_exchange(6, exchange).unwrap();
    assert!(node.end_abandoned(0).is_empty() && node.end_abandoned(1499).is_empty());
    assert_eq!(node.end_abandoned(1500).len(), 1);
}
