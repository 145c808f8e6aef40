//! A line of three nodes: an asker, a relay and an answerer, of either implementation.

use grasp::{AsaLocator, Locator, Objective, TaggedObjective, Value};
use grasptests::lab::{Lab, Topology};

use crate::interop::flooding::arrived;
use crate::interop::graspy::Graspy;
use crate::interop::ours::Ours;
use crate::interop::pair::negotiate;
use crate::interop::side::{How, Reply, Side, negotiable, synchronizable};
use crate::interop::{TIMEOUT, needs_graspy};

/// Long enough for ours to ask a second time under a new session.
const TWO_ATTEMPTS: u32 = 3000;

/// Runs everything across a line; `o` is ours and `g` is graspy.
fn across(line: &str) {
    let lab = Lab::new().unwrap();
    let nodes = lab.build(Topology::Line(3)).unwrap().nodes;
    let graspys: Vec<_> = nodes
        .iter()
        .zip(line.chars())
        .filter(|(_, kind)| *kind == 'g')
        .map(|(node, _)| Graspy::launch(node, false))
        .collect();
    let ours: Vec<_> = nodes
        .iter()
        .zip(line.chars())
        .filter(|(_, kind)| *kind == 'o')
        .map(|(node, _)| Ours::start(node))
        .collect();
    graspys.iter().for_each(Graspy::ready);
    let (mut graspys_left, mut ours_left) = (graspys.iter(), ours.iter());
    let sides: Vec<&dyn Side> = line
        .chars()
        .map(|kind| match kind {
            'g' => graspys_left.next().unwrap() as &dyn Side,
            _ => ours_left.next().unwrap() as &dyn Side,
        })
        .collect();
    let [asker, relay, answerer] = sides[..] else { panic!("{line} is no line of three") };
    let far = nodes[2].ula().map(Locator::Ipv6);

    println!("--- {line}: discovery");
    let served = synchronizable("served", vec![Value::from("far"), Value::from(3.5)]);
    answerer.register(&served, How::default());
    answerer.serve(&served);
    let found = first_found(asker, relay, &served);
    assert_eq!((&found.locator, found.diverted), (&far, true));
    assert_eq!(asker.discover(&synchronizable("unheard of", ()), 0, false), []);
    assert_eq!(asker.discover(&synchronizable("unheard of", ()), 0, false), []);
    let near = relay.find(&served);
    assert_eq!((&near.locator, near.port, near.diverted), (&far, found.port, false));
    // One that may not be relayed is not found.
    let mut close = synchronizable("close", 1);
    close.loop_count = 1;
    answerer.register(&close, How { discoverable: true, ..How::default() });
    assert_eq!(asker.discover(&close, 700, false), []);

    println!("--- {line}: synchronization");
    for peer in [Some(&found), None] {
        let got = asker.synchronize(&synchronizable("served", ()), peer, TIMEOUT).unwrap();
        assert_eq!(got.value, served.value);
    }

    println!("--- {line}: negotiation");
    let asks = |reply: Reply| {
        let (session, mut offer) = reply.offer();
        assert_eq!(offer.value, Value::from(50));
        offer.value = Value::from(75);
        assert_eq!(asker.step(session, &offer, TIMEOUT), Reply::Declined(Some("довольно".to_owned())));
    };
    let answers = |session, mut offer: Objective| {
        assert_eq!((offer.value, offer.loop_count), (Value::from(100), 6));
        offer.value = Value::from(50);
        let (session, counter) = answerer.step(session, &offer, TIMEOUT).offer();
        assert_eq!(counter.value, Value::from(75));
        answerer.end(session, false, Some("довольно"));
    };
    negotiate((asker, asks), (answerer, answers), &negotiable("far money", 100), TIMEOUT);

    println!("--- {line}: floods both ways");
    for (number, (sender, receiver)) in [(answerer, asker), (asker, answerer)].into_iter().enumerate() {
        flood(sender, relay, receiver, number);
    }
}

/// Discovers as an ASA would: through a relay of graspy the first attempt finds nothing. Ours makes the second
/// attempt by itself.
fn first_found(asker: &dyn Side, relay: &dyn Side, objective: &Objective) -> AsaLocator {
    if asker.is_graspy() && relay.is_graspy() {
        assert_eq!(asker.discover(objective, 0, false), [], "graspy's relay has learnt to answer");
    }
    let mut found = asker.discover(objective, TWO_ATTEMPTS, false);
    assert_eq!(found.len(), 1);
    found.swap_remove(0)
}

/// The relay lowers the loop count of the first objective only, and leaves the values as they are. What may
/// not be relayed stays with the relay.
fn flood(sender: &dyn Side, relay: &dyn Side, receiver: &dyn Side, number: usize) {
    let embedded = Value::EncodedCbor(Value::from(vec![Value::from(1), "два".into()]).encode());
    let name = |what: &str| format!("{what} {number}");
    let mut close = synchronizable(&name("close"), 1);
    close.loop_count = 1;
    let tag = AsaLocator::new("fd00:77::1".parse::<std::net::Ipv6Addr>().unwrap(), None).with_port(4711);
    let far = [
        TaggedObjective::new(synchronizable(&name("first"), embedded.clone()), Some(tag)),
        TaggedObjective::new(synchronizable(&name("second"), 0.1), None),
    ];
    for objective in [&close, &far[0].objective, &far[1].objective] {
        sender.register(objective, How::default());
    }
    sender.flood(0, &[TaggedObjective::new(close, None)]);
    sender.flood(90_000, &far);
    for (side, counts) in [(relay, [6, 6]), (receiver, [5, 6])] {
        for (sent, count) in far.iter().zip(counts) {
            let got = arrived(side, &sent.objective.name, 1).swap_remove(0);
            assert_eq!(got.objective.value, side.seen(&sent.objective.value));
            assert_eq!(got.objective.loop_count, count);
            assert_eq!((&got.source.locator, got.source.port), (&sent.source.locator, sent.source.port));
        }
    }
    arrived(relay, &name("close"), 1);
    // It was sent before the other, and so would have come before it.
    arrived(receiver, &name("close"), 0);
}

macro_rules! lines {
    ($($name:ident: $line:literal;)*) => {$(
        #[test]
        #[ignore = "needs GRASPY_DIR, a checkout of graspy"]
        fn $name() {
            needs_graspy!(180);
            across($line);
        }
    )*};
}

lines! {
    ours_between_two_graspys: "gog";
    graspy_between_two_of_ours: "ogo";
    ours_asks_through_ours: "oog";
    graspy_asks_through_ours: "goo";
    ours_asks_through_graspy: "ogg";
    graspy_asks_through_graspy: "ggo";
}

/// A relay of ours once went deaf to the link of an asker, for as long as what it had cached was valid.
#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn graspy_finds_graspy_through_ours_every_time() {
    needs_graspy!(180);
    let lab = Lab::new().unwrap();
    let nodes = lab.build(Topology::Line(3)).unwrap().nodes;
    let (asker, answerer) = (Graspy::launch(&nodes[0], false), Graspy::launch(&nodes[2], false));
    let _relay = Ours::start(&nodes[1]);
    asker.ready();
    answerer.ready();
    let served = synchronizable("served", 1);
    answerer.register(&served, How::default());
    answerer.serve(&served);
    for attempt in 0..18 {
        assert_ne!(asker.discover(&served, 1000, true), [], "attempt {attempt}");
    }
}
