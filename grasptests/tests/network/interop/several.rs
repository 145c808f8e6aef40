//! Several of each on one link and on one host, and nodes that restart.

use grasp::{AsaLocator, Locator, TaggedObjective, Value};
use grasptests::lab::{Lab, Node, Topology, eventually};

use crate::interop::flooding::arrived;
use crate::interop::graspy::Graspy;
use crate::interop::ours::Ours;
use crate::interop::side::{How, Reply, Side, negotiable, synchronizable};
use crate::interop::{SOON, TIMEOUT, needs_graspy};

const NO_PEER: u8 = 23;

/// Lets every side find, ask and hear every other one.
fn all_with_all(sides: &[(&str, &dyn Side)], one_host: bool) {
    let common = |value: &str| synchronizable("common", value);
    let flooded = |value: &str| synchronizable("flooded", value);
    let name_of = |number: usize| sides[number].0;
    for (number, (name, side)) in sides.iter().enumerate() {
        let own = synchronizable(&format!("of {name}"), *name);
        for objective in [&common(name), &own] {
            side.register(objective, How::default());
            side.serve(objective);
        }
        side.register(&flooded(name), How::default());
        let port = u16::try_from(4000 + number).unwrap();
        let place =
            AsaLocator::new("fd00:99::1".parse::<std::net::Ipv6Addr>().unwrap(), None).with_port(port);
        side.flood(0, &[TaggedObjective::new(flooded(name), Some(place))]);
    }
    for (asking, (name, side)) in sides.iter().enumerate() {
        for other in (0..sides.len()).filter(|other| *other != asking).map(name_of) {
            println!("--- {name} asks {other}");
            let wanted = synchronizable(&format!("of {other}"), ());
            let peer = side.find(&wanted);
            assert_eq!(side.synchronize(&wanted, Some(&peer), TIMEOUT).unwrap().value, Value::from(other));
        }
        eventually(SOON, "all that offer the common objective are found", || {
            // graspy tells locators apart by their address only, not by their port.
            let count = if one_host && side.is_graspy() { 1 } else { sides.len() - 1 };
            side.discover(&common(""), 1000, true).len() == count
        });
        eventually(SOON, "the floods of all others are there", || {
            let known: Vec<_> = side.flooded(&flooded("")).into_iter().map(|t| t.objective.value).collect();
            (0..sides.len()).filter(|n| *n != asking).all(|n| known.contains(&Value::from(name_of(n))))
        });
    }
}

/// All others ask one at the same time, each for something else, and get an answer of their own.
fn all_ask_one(sides: &[(&str, &dyn Side)], asked: usize) {
    let (name, answerer) = sides[asked];
    println!("--- all ask {name}");
    let objective = negotiable(&format!("money of {name}"), ());
    sides.iter().for_each(|(_, side)| side.register(&objective, How::default()));
    std::thread::scope(|scope| {
        for (number, (other, asker)) in sides.iter().enumerate().filter(|(other, _)| *other != asked) {
            let objective = &objective;
            scope.spawn(|| {
                let (session, mut offer) = answerer.listen(objective);
                offer.value = Value::from(format!("for {}", offer.value.as_str().unwrap()));
                answerer.step(session, &offer, TIMEOUT).agreed();
            });
            scope.spawn(move || {
                let peer = asker.find(objective);
                let wanted = negotiable(&objective.name, *other);
                let mut reply = Reply::Failed(NO_PEER);
                eventually(SOON, "a listener is free", || {
                    reply = asker.request(&wanted, Some(&peer), TIMEOUT);
                    reply != Reply::Failed(NO_PEER)
                });
                let (session, offer) = reply.clone().offer();
                assert_eq!(offer.value, Value::from(format!("for {other}")), "side {number}");
                asker.end(session, true, None);
            });
        }
    });
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn two_of_each_share_a_link() {
    needs_graspy!(180);
    let lab = Lab::new().unwrap();
    let nodes = lab.build(Topology::Lan(4)).unwrap().nodes;
    let (ours1, ours2) = (Ours::start(&nodes[0]), Ours::start(&nodes[1]));
    let [graspy1, graspy2] = Graspy::start([&nodes[2], &nodes[3]]);
    let sides: [(&str, &dyn Side); 4] =
        [("ours1", &ours1), ("ours2", &ours2), ("graspy1", &graspy1), ("graspy2", &graspy2)];
    all_with_all(&sides, false);
    (0..sides.len()).for_each(|asked| all_ask_one(&sides, asked));
}

/// Whoever listens to its own multicasts hears those of the others on its host too. Ours always does.
#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn two_of_ours_and_a_graspy_share_a_host() {
    needs_graspy!(180);
    let lab = Lab::new().unwrap();
    let (host, idle) = (lab.node("host").unwrap(), lab.node("idle").unwrap());
    lab.link(&host, &idle).unwrap();
    let (ours1, ours2) = (Ours::start(&host), Ours::start(&host));
    let graspy = Graspy::start_selfing(&host);
    let objective = synchronizable("where", 1);
    graspy.register(&objective, How { discoverable: true, ..How::default() });
    assert_eq!(ours1.find(&objective).locator, host.ula().map(Locator::Ipv6));
    // A selfing graspy handles its own floods, too.
    all_with_all(&[("ours1", &ours1), ("ours2", &ours2), ("graspy", &graspy)], true);
}

/// What a node offers, and what it asks of another.
fn offer(side: &dyn Side, value: &str) {
    side.register(&synchronizable("served", value), How::default());
    side.serve(&synchronizable("served", value));
    side.register(&synchronizable("flooded", value), How::default());
    side.flood(0, &[TaggedObjective::new(synchronizable("flooded", value), None)]);
}

fn value_of(side: &dyn Side) -> Value {
    let wanted = synchronizable("served", ());
    let mut value = Value::Null;
    eventually(SOON, "the value is got", || {
        // graspy keeps the old port of an address until it is told to forget it.
        let Some(peer) = side.discover(&wanted, 0, side.is_graspy()).into_iter().next() else { return false };
        side.synchronize(&wanted, Some(&peer), TIMEOUT).map(|got| value = got.value).is_ok()
    });
    value
}

fn flooded_value(side: &dyn Side, expected: &str) {
    eventually(SOON, "the flooded value is known", || {
        arrived(side, "flooded", 1)[0].objective.value == Value::from(expected)
    });
}

fn lab_of_two() -> (Lab, Node, Node) {
    let lab = Lab::new().unwrap();
    let (a, b) = (lab.node("a").unwrap(), lab.node("b").unwrap());
    lab.link(&a, &b).unwrap();
    (lab, a, b)
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn a_graspy_that_restarts_is_found_again() {
    needs_graspy!(120);
    let (_lab, a, b) = lab_of_two();
    let ours = Ours::start(&a);
    for life in ["first", "second"] {
        let [graspy] = Graspy::start([&b]);
        offer(&graspy, life);
        assert_eq!(value_of(&ours), Value::from(life));
        flooded_value(&ours, life);
        // In the other direction.
        let objective = negotiable(&format!("{life} life"), life);
        let (asks, answers) = (
            |reply: Reply| assert_eq!(reply.agreed().value, Value::from(life)),
            |session, _| ours.end(session, true, None),
        );
        crate::interop::pair::negotiate((&graspy, asks), (&ours, answers), &objective, TIMEOUT);
    }
}

#[test]
#[ignore = "needs GRASPY_DIR, a checkout of graspy"]
fn one_of_ours_that_restarts_is_found_again() {
    needs_graspy!(120);
    let (_lab, a, b) = lab_of_two();
    let [graspy] = Graspy::start([&b]);
    for life in ["first", "second"] {
        let ours = Ours::start(&a);
        offer(&ours, life);
        assert_eq!(value_of(&graspy), Value::from(life));
        flooded_value(&graspy, life);
        let objective = negotiable(&format!("{life} life"), life);
        let (asks, answers) = (
            |reply: Reply| assert_eq!(reply.agreed().value, Value::from(life)),
            |session, _| graspy.end(session, true, None),
        );
        crate::interop::pair::negotiate((&ours, asks), (&graspy, answers), &objective, TIMEOUT);
    }
}
