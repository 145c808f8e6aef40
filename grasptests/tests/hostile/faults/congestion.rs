//! A link that takes next to nothing: its driver stands still, or its neighbour pauses it.

use std::time::Duration;

use grasp::{AsaLocator, Config, Discover, Engine, Objective, TaggedObjective, Value};
use grasptests::isolated;
use grasptests::lab::{Lab, Node, eventually};
use grasptests::nodes::{AT_ONCE, Host, SOON, overlapping, synchronizable, within};

/// Floods a value of half a kilobyte that goes several hops.
fn flood(engine: &Engine, asa: grasp::AsaNonce, number: usize) {
    let objective = synchronizable(&name(number), Value::Bytes(vec![0; 500]));
    let source = AsaLocator::new(engine.session_locator(), None).with_port(1);
    engine.flood(asa, 60_000, &[TaggedObjective::new(objective, Some(source))]).unwrap();
}

fn name(number: usize) -> String {
    format!("flood {number}")
}

fn is_flooded(host: &Host, number: usize) -> bool {
    !host.engine.get_flood(host.asa, &synchronizable(&name(number), ())).unwrap().is_empty()
}

/// How many are flooded: several times what a socket may have under way.
const FLOODS: usize = 400;

#[test]
fn a_congested_link_holds_up_neither_calls_nor_what_comes_from_the_others() {
    isolated!(120);
    let lab = Lab::new().unwrap();
    let [middle, near, far]: [Node; 3] = ["middle", "near", "far"].map(|name| lab.node(name).unwrap());
    lab.link(&middle, &near).unwrap();
    lab.link(&middle, &far).unwrap();
    let [middle, near] = [middle, near].map(|node| Host::start(&node, Config::new().objective_limit(FLOODS)));
    for host in [&middle, &near] {
        (0..FLOODS).for_each(|number| host.register_with(&synchronizable(&name(number), ()), overlapping()));
    }
    // One packet a second and less.
    middle.node.throttle("eth1", 400).unwrap();
    // What is relayed there: the other link is heard and answered all the same.
    near.run(|engine, asa| {
        for number in 0..FLOODS {
            flood(engine, asa, number);
            // Not more than the sockets hold.
            eventually(SOON, "it is received", || number < 50 || is_flooded(&middle, number - 50));
        }
    });
    within(AT_ONCE, || eventually(SOON, "the last is received", || is_flooded(&middle, FLOODS - 1)));
    let lost = || middle.engine.stats().multicast_send_failed;
    eventually(SOON, "what has no room is lost, and counted", || lost() > 0);
    // Calls of its own return by their deadline.
    middle.run(|engine, asa| {
        // The link is waited for once, not with every datagram.
        within(AT_ONCE, || (0..FLOODS).for_each(|number| flood(engine, asa, number)));
        within(AT_ONCE, || {
            engine.discover(asa, &Objective::new("nobody has this"), None, Discover::default()).unwrap()
        });
    });
    assert_eq!(middle.engine.stats().panics, 0);
    within(Duration::from_secs(10), || middle.engine.shutdown());
}
