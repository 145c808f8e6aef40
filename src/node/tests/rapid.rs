//! Rapid mode (RFC 8990 §2.5.4.5).

use super::*;
use crate::wire::{Outcome, Step};

/// A node that offers an objective in rapid mode.
fn rapid(config: Config, change: impl FnOnce(&mut Objective)) -> Fixture {
    let node = Fixture::new(config);
    let mut objective = Objective::new("EX1");
    objective.value = Value::from(7);
    change(&mut objective);
    node.register_as(&objective, |registration| registration.rapid = true);
    node
}

/// A discovery of EX1 with these flags and this value.
fn asks(loop_count: u8, flags: Flags, value: Option<Value>) -> Body {
    let objective = WireObjective { name: "EX1".to_owned(), flags, loop_count, value };
    Body::Discovery { session: 7, initiator: INITIATOR, objective }
}

const NEGOTIABLE: Flags = Flags(Flags::F_DISC | Flags::F_NEG);
const SYNCHRONIZABLE: Flags = Flags(Flags::F_DISC | Flags::F_SYNCH);

#[test]
fn a_value_comes_in_place_of_the_response_if_its_initiator_is_on_the_link() {
    let config = Config::new().rapid_synch_message(true);
    let node = rapid(config, |objective| objective.synch = true);
    let sent = node.receive(asks(1, SYNCHRONIZABLE, None), 0);
    let Some(Effect::Respond(sent)) = sent else { panic!("{sent:?}") };
    assert!(matches!(sent.message.body, Body::Synch(_)), "{:?}", sent.message);
    let through_a_relay = response(node.receive(asks(2, SYNCHRONIZABLE, None), 0));
    assert_eq!(through_a_relay.objective.unwrap().value, Some(Value::from(7)));
}

#[test]
fn a_wish_that_comes_with_a_discovery_is_negotiated_at_once() {
    let offers = || rapid(Config::new().rapid_negotiation(true), |objective| objective.neg = true);
    let wish = Some(Value::from(3));
    let sent = offers().receive(asks(1, NEGOTIABLE, wish.clone()), 0);
    let Some(Effect::Negotiate { session: 7, objective, otherwise }) = sent else { panic!("{sent:?}") };
    assert_eq!((objective.value, objective.loop_count), (Value::from(3), crate::constants::GRASP_DEF_LOOPCT));
    otherwise.ticket.sent();
    for (why, body) in [
        ("it may have come through a relay", asks(2, NEGOTIABLE, wish.clone())),
        ("it is no wish to negotiate", asks(1, SYNCHRONIZABLE, wish)),
        ("there is no wish", asks(1, NEGOTIABLE, None)),
        ("nor is this one", asks(1, NEGOTIABLE, Some(Value::Null))),
    ] {
        let sent = response(offers().receive(body, 0));
        assert!(!sent.options.is_empty() && sent.objective.is_none(), "{why}");
    }
}

#[test]
fn what_comes_in_place_of_a_response_goes_to_its_discovery_with_the_connection() {
    let node = Fixture::new(Config::new());
    let transport: Arc<dyn Transport> = Arc::new(Nowhere(PEER, 3));
    let step = |session| Step { session, objective: wire_objective("EX1", 6) };
    for (session, body) in [
        (1, Body::Synch(step(1))),
        (2, Body::Negotiate(step(2))),
        (3, Body::Wait { session: 3, time: 1 }),
        (4, Body::End { session: 4, outcome: Outcome::Accept }),
    ] {
        let answers = node.ask(session);
        node.answer(3, &transport, Message::new(body), node.received(), 0);
        let answer = answers.try_recv();
        assert!(matches!(answer, Ok(DiscoveryAnswer::Rapid { .. })), "{answer:?}");
    }
}

#[test]
fn the_value_in_a_response_is_that_of_the_objective_that_was_asked_for() {
    let node = Fixture::new(Config::new());
    let _answers = node.ask(7);
    let with = |objective| Response { objective: Some(objective), ..answer(&[global(5, 3)], false) };
    node.answer_from(3, PEER, &with(wire_objective("EX2", 6)), 0);
    node.answer_from(3, PEER, &with(WireObjective { value: None, ..wire_objective("EX1", 6) }), 0);
    assert!(node.registries.discovery.rapid("EX1", 0).is_none());
    node.answer_from(3, PEER, &with(wire_objective("EX1", 6)), 0);
    assert!(node.registries.discovery.rapid("EX1", 0).is_some());
}

#[test]
fn a_dull_instance_takes_up_nothing_in_rapid_mode() {
    let node = Fixture::new(Config::new().dull(true));
    let transport: Arc<dyn Transport> = Arc::new(Nowhere(PEER, 2));
    let answers = node.ask(7);
    for body in [
        Body::Synch(Step { session: 7, objective: wire_objective("EX1", 6) }),
        Body::Wait { session: 7, time: 1 },
        Body::End { session: 7, outcome: Outcome::Accept },
    ] {
        node.answer(2, &transport, Message::new(body), node.received(), 0);
    }
    assert!(answers.try_recv().is_err());
    assert_eq!(node.stats().dropped_misplaced, 3);
}

#[test]
fn a_node_without_an_address_answers_with_what_needs_none() {
    let nowhere = |config| {
        let node = rapid(config, |objective| objective.synch = true);
        node.registries.links.set(&Arc::default());
        node.receive(asks(1, SYNCHRONIZABLE, None), 0).is_some()
    };
    assert!(nowhere(Config::new().rapid_synch_message(true)) && !nowhere(Config::new()));
}
