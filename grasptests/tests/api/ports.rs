//! The port of an objective.

use std::error::Error as _;
use std::net::{Ipv6Addr, TcpListener};

use grasp::{Config, Error, Objective, Port, RegisterObj};
use grasptests::isolated;
use grasptests::nodes::{Host, failure, joined, negotiable, negotiate, one, two};

fn on(port: Port) -> RegisterObj {
    RegisterObj { port, overlap: true, ..RegisterObj::default() }
}

fn register(host: &Host, objective: &Objective, port: Port) -> grasp::Result<()> {
    host.run(|engine, asa| engine.register_obj(asa, objective, on(port)))
}

fn deregister(host: &Host, objective: &Objective) {
    host.run(|engine, asa| engine.deregister_obj(asa, objective)).expect("it is registered");
}

#[test]
fn a_fixed_port_is_the_one_or_the_error_says_which_is_taken() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let ex3 = negotiable("EX3", 1);
    let holder = host.node.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 7100))).unwrap();
    let taken = failure(register(&host, &ex3, Port::Fixed(7100)));
    assert!(matches!(taken, Error::PortTaken { port: 7100, .. }) && taken.code() == 11, "{taken:?}");
    assert!(taken.to_string().contains("7100") && taken.source().is_some(), "{taken}");
    assert!(host.engine.objectives().is_empty());
    drop(holder);
    register(&host, &ex3, Port::Fixed(7100)).unwrap();
    assert_eq!(host.port("EX3"), 7100);
    // Another owner may join where it is, and not wish it elsewhere.
    let other = host.another("other");
    assert!(matches!(
        failure(register(&other, &ex3, Port::Fixed(7101))),
        Error::PortTaken { port: 7101, .. }
    ));
    register(&other, &ex3, Port::Fixed(7100)).unwrap();
}

/// The connections of before would hold the port for a minute.
#[test]
fn a_port_is_free_again_at_once_after_negotiations() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    let ex3 = negotiable("EX3", 1);
    near.register(&ex3);
    register(&far, &ex3, Port::Fixed(7100)).unwrap();
    let peer = far.locator("EX3");
    negotiate(&near, &far, Some(&peer));
    // One that is open, and that this side closes.
    let listening = far.listen(&ex3);
    let asking = {
        let peer = peer.clone();
        near.thread(move |engine, asa| engine.req_negotiate(asa, &negotiable("EX3", 1), Some(&peer), None))
    };
    let (session, _) = joined(listening).unwrap();
    far.run(|engine, asa| engine.end_negotiate(asa, session, true, None)).unwrap();
    joined(asking).unwrap();
    far.engine.shutdown();
    let again = Host::start(&far.node, Config::new());
    register(&again, &ex3, Port::Fixed(7100)).unwrap();
    // Who has discovered it before finds it.
    negotiate(&near, &again, Some(&peer));
}

#[test]
fn the_last_port_is_taken_again_if_it_is_free() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let name = "stable:EX3";
    let objective = negotiable(name, 1);
    register(&host, &objective, Port::Last).unwrap();
    let first = host.port(name);
    assert!(first >= 61_000, "{first}");
    deregister(&host, &objective);
    register(&host, &objective, Port::Last).unwrap();
    assert_eq!(host.port(name), first);
    deregister(&host, &objective);
    // It is taken: another, and that one from then on.
    let holder = host.node.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, first))).unwrap();
    register(&host, &objective, Port::Last).unwrap();
    let second = host.port(name);
    assert_ne!(second, first);
    deregister(&host, &objective);
    drop(holder);
    register(&host, &objective, Port::Last).unwrap();
    assert_eq!(host.port(name), second);
}

#[test]
fn an_objective_without_a_port_is_on_no_other_port() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let bare = Objective::new("bare");
    register(&host, &bare, Port::Any).unwrap();
    assert_eq!(host.port("bare"), 0);
    register(&host.another("other"), &bare, Port::Fixed(7100)).unwrap();
}
