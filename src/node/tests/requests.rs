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
