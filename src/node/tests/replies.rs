//! Messages within sessions (RFC 8990 §2.8.6 to §2.8.12), and responses on their way.

use super::*;
use crate::error::Error;
use crate::node::{NegotiationReply, SynchReply};
use crate::registry::Exchange;
use crate::wire::Step;

#[test]
fn each_message_of_a_session_is_counted_as_what_it_is() {
    let node = Fixture::new(Config::new().unicast_size(3000));
    let exchange =
        Exchange { owner: ASA, transport: Arc::new(Nowhere(PEER, 2)), name: "EX1".into(), dry: false };
    let step = |body: fn(Step) -> Body, name: &str, flags, value: Value| {
        let objective = WireObjective { flags: Flags(flags), value: Some(value), ..wire_objective(name, 6) };
        encode(&Message::new(body(Step { session: 7, objective })))
    };
    let negotiation = |bytes: &[u8]| node.negotiation_message(7, &exchange, bytes);
    let synch = |bytes: &[u8]| node.synch_message(7, &exchange, bytes);
    let offer = |name| step(Body::Negotiate, name, Flags::F_NEG, Value::Null);
    assert!(matches!(negotiation(&offer("EX1")), NegotiationReply::Offer(_)));
    assert!(matches!(negotiation(&offer("EX2")), NegotiationReply::Failed(Error::InvalidNeg)));
    let large = Value::Text("x".repeat(2500));
    assert!(matches!(synch(&step(Body::Synch, "EX1", Flags::F_SYNCH, large)), SynchReply::Value(_)));
    let too_large = Value::Text("x".repeat(3500));
    let too_large = step(Body::Synch, "EX1", Flags::F_SYNCH, too_large);
    assert_eq!(synch(&too_large), SynchReply::Failed(Error::CborFail));
    assert_eq!(negotiation(&too_large), NegotiationReply::Failed(Error::CborFail));
    // An item that is no message is something else than no item.
    assert_eq!(synch(&[0x80]), SynchReply::Failed(Error::NoValidSynch));
    assert_eq!(negotiation(&[0x80]), NegotiationReply::Failed(Error::NoValidStep));
    for body in [Body::Noop, Body::Unknown { message_type: 200, session: None }] {
        assert_eq!(negotiation(&encode(&Message::new(body))), NegotiationReply::Ignore);
    }
    let invalid = Message::new(Body::Invalid { session: 7, content: None });
    assert_eq!(negotiation(&encode(&invalid)), NegotiationReply::Failed(Error::NoValidStep));
    let stats = node.stats();
    let counted =
        [stats.replies_received, stats.dropped_bad_reply, stats.noop_received, stats.dropped_unknown_type];
    assert_eq!((counted, stats.invalid_received), ([2, 5, 1, 1], 1));
    node.set_secure(false);
    assert_eq!(negotiation(&offer("EX1")), NegotiationReply::Failed(Error::NoSecurity));
    assert_eq!(synch(&offer("EX1")), SynchReply::Failed(Error::NoSecurity));
    assert_eq!(node.stats().dropped_insecure, 2);
}

#[test]
fn an_answer_is_stale_if_all_that_it_says_is_known_to_be_dead() {
    let node = Fixture::new(Config::new());
    let answers = node.ask(7);
    let stale = |locators: &[AsaLocator]| {
        node.answer_from(3, PEER, &answer(locators, true), 0);
        let Ok(DiscoveryAnswer::Found(found)) = answers.try_recv() else { panic!("no answer") };
        (found.locators.len(), found.stale)
    };
    assert_eq!(stale(&[]), (0, false), "it says nothing");
    assert_eq!(stale(&[global(5, 3)]), (1, false));
    node.registries.discovery.remove("EX1", &AsaLocator { expire: 700, ..global(5, 3) }, 0);
    assert_eq!(stale(&[global(5, 3)]), (0, true));
    assert_eq!(stale(&[global(5, 3), global(6, 3)]), (1, false));
    assert_eq!(stale(&[AsaLocator::new(Ipv6Addr::LOCALHOST, None).with_port(1)]), (0, false), "not believed");
}

#[test]
fn a_response_that_was_not_sent_is_counted_and_leaves_its_share_to_others() {
    let node = Fixture::with(Config::new(), &[2, 3], true);
    node.register("EX1", |_| {});
    let sends = || match node.receive(discovery(7, "EX1", 6), 0) {
        Some(Effect::Respond(response)) => response.ticket,
        other => panic!("{other:?}"),
    };
    sends().failed();
    assert_eq!(node.stats().responses_failed, 1);
    drop(sends());
    assert_eq!((node.stats().dropped_responder_full, node.stats().responses_sent), (1, 0));
    sends().sent();
    assert_eq!(node.stats().responses_sent, 1);
}
