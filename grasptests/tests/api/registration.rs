//! Registering ASAs and objectives: results, errors in their order, limits, and what others see of it.

use std::net::{Ipv6Addr, TcpStream};

use grasp::wire::{Response, WireLocator, WireOption};
use grasp::{Acp, Asa, AsaLocator, Config, Engine, Error, Objective, Protocol, RegisterObj, Value};
use grasptests::isolated;
use grasptests::lab::{Node, eventually};
use grasptests::nodes::{
    Host, RawAsker, SOON, at_once, discoverable, failure, joined, linked, negotiable, one, overlapping,
    synchronizable,
};

/// A host on node `a` and a hand-made discoverer on node `b`.
fn observed(config: Config) -> (grasptests::lab::Lab, Host, RawAsker) {
    let (lab, _, a, b) = linked();
    let asker = RawAsker::on(&b);
    (lab, Host::start(&a, config), asker)
}

fn locators(response: &Response) -> Vec<WireLocator> {
    let locator = |option: &WireOption| match option {
        WireOption::Locator(locator) => Some(locator.clone()),
        _ => None,
    };
    response.options.iter().filter_map(locator).collect()
}

fn is_refused(node: &Node, port: u16) -> bool {
    node.run(|| TcpStream::connect((Ipv6Addr::LOCALHOST, port))).is_err()
}

#[test]
fn an_asa_has_a_name_of_its_own_and_a_handle() {
    isolated!();
    let (_lab, host) = one(Config::new().asa_limit(2));
    let engine = &host.engine;
    assert_eq!(failure(engine.register_asa("a")), Error::DupAsa);
    let second = engine.register_asa("second").unwrap();
    assert_ne!(second, host.asa);
    assert_eq!(failure(engine.register_asa("third")), Error::AsaFull);
    assert_eq!(failure(engine.register_asa("a")), Error::AsaFull, "4 comes before 5");
    assert_eq!(failure(engine.deregister_asa(host.asa, "nobody")), Error::NoAsa);
    assert_eq!(failure(engine.deregister_asa(host.asa, "second")), Error::NotYourAsa);
    engine.deregister_asa(second, "second").unwrap();
    assert_eq!(failure(engine.deregister_asa(second, "second")), Error::NoAsa);
    assert_ne!(engine.register_asa("second").unwrap(), second, "a handle is not used again");
    assert_eq!(failure(engine.get_flood(second, &synchronizable("EX1", ()))), Error::NoAsa);
}

#[test]
fn registering_an_objective_checks_in_order() {
    isolated!();
    let (_lab, host) = one(Config::new().objective_limit(2));
    let stranger = host.another("gone");
    host.engine.deregister_asa(stranger.asa, "gone").unwrap();
    let register = |asa: &Host, objective: &Objective, options: RegisterObj| {
        asa.run(|engine, asa| engine.register_obj(asa, objective, options))
    };
    let plain = RegisterObj::default;
    let both = Objective { neg: true, synch: true, dry: true, ..Objective::new("EX1") };
    let dry_synch = Objective { neg: false, ..both.clone() };
    let only_dry = Objective { synch: false, ..dry_synch.clone() };
    assert_eq!(failure(register(&stranger, &both, plain())), Error::NoAsa, "6 comes before 8");
    assert_eq!(failure(register(&host, &both, plain())), Error::NotBoth, "8 comes before 9");
    assert_eq!(failure(register(&host, &dry_synch, plain())), Error::NotBoth);
    assert_eq!(failure(register(&host, &only_dry, plain())), Error::NotDry);

    register(&host, &negotiable("EX1", 1), plain()).unwrap();
    let bad_locator = AsaLocator { port: None, ..AsaLocator::new(Ipv6Addr::LOCALHOST, None) };
    let bad = || RegisterObj { locators: vec![bad_locator.clone()], ..plain() };
    assert_eq!(failure(register(&host, &negotiable("EX1", 1), bad())), Error::ObjReg);
    assert_eq!(failure(register(&host, &negotiable("EX2", 1), bad())), Error::InvalidLoc);
    register(&host, &synchronizable("EX2", 1), plain()).unwrap();
    assert_eq!(failure(register(&host, &negotiable("EX3", 1), plain())), Error::ObjFull);
    assert_eq!(
        failure(register(&host, &negotiable("EX1", 1), plain())),
        Error::ObjFull,
        "11 comes before 12"
    );
    assert_eq!(failure(register(&host, &only_dry, plain())), Error::NotDry, "9 comes before 11");

    let other = host.another("other");
    let deregister = |asa: &Host, name: &str| {
        asa.engine.deregister_obj(asa.asa, &Objective { synch: true, ..Objective::new(name) })
    };
    assert_eq!(failure(deregister(&stranger, "EX9")), Error::NoAsa, "6 comes before 14");
    assert_eq!(failure(deregister(&other, "EX9")), Error::NotObj);
    assert_eq!(failure(deregister(&other, "EX1")), Error::NotYourObj);
    deregister(&host, "EX1").unwrap();
    assert_eq!(failure(deregister(&host, "EX1")), Error::NotObj, "found by its name, whatever its flags");
    register(&other, &negotiable("EX1", 1), plain()).unwrap();
}

#[test]
fn an_objective_has_several_owners_if_all_say_so() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let (second, third) = (host.another("second"), host.another("third"));
    let shared = negotiable("EX1", 1);
    let register = |asa: &Host, options| asa.run(|engine, asa| engine.register_obj(asa, &shared, options));
    register(&host, overlapping()).unwrap();
    let port = host.port("EX1");
    register(&second, overlapping()).unwrap();
    assert_eq!(failure(register(&third, RegisterObj::default())), Error::ObjReg);
    assert_eq!(failure(third.engine.deregister_obj(third.asa, &shared)), Error::NotYourObj);
    assert_eq!(host.port("EX1"), port, "the second registration adds an owner, nothing else");
    host.engine.deregister_obj(host.asa, &shared).unwrap();
    assert!(!is_refused(&host.node, port), "the other owner still has it");
    second.engine.deregister_obj(second.asa, &shared).unwrap();
    eventually(SOON, "the port is closed", || is_refused(&host.node, port));
    register(&third, RegisterObj::default()).unwrap();
    assert_eq!(
        failure(register(&host, overlapping())),
        Error::ObjReg,
        "the first registration must say it too"
    );
}

#[test]
fn an_objective_without_flags_needs_no_port() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let threads = host.engine.thread_count();
    host.register(&Objective::new("EX1"));
    assert_eq!((host.port("EX1"), host.engine.thread_count()), (0, threads));
    host.register(&negotiable("EX2", 1));
    assert_eq!(host.engine.thread_count(), threads + 1);
    assert_ne!(host.port("EX2"), 0);
}

#[test]
fn the_lifetime_announced_is_the_one_registered() {
    isolated!();
    let (_lab, host, asker) = observed(Config::new());
    let ttl = |given| RegisterObj { ttl: given, ..discoverable() };
    for (number, given, announced) in [(1, None, 600_000), (2, Some(0), 600_000), (3, Some(1234), 1234)] {
        let name = format!("EX{number}");
        host.register_with(&negotiable(&name, 1), ttl(given));
        assert_eq!(asker.answer_of(&host, number, &name).unwrap().ttl, announced);
    }
}

#[test]
fn the_default_lifetime_can_be_configured() {
    isolated!();
    let (_lab, host, asker) = observed(Config::new().objective_ttl(4321));
    host.register_with(&negotiable("EX1", 1), discoverable());
    assert_eq!(asker.answer_of(&host, 1, "EX1").unwrap().ttl, 4321);
}

#[test]
fn the_locator_announced_is_global_or_of_the_link() {
    isolated!();
    let (_lab, host, asker) = observed(Config::new());
    host.register_with(&negotiable("EX1", 1), discoverable());
    host.register_with(&negotiable("EX2", 1), RegisterObj { local: true, ..discoverable() });
    let ipv6 = |address: Ipv6Addr, name| {
        WireLocator::from_locator(&AsaLocator::new(address, None).with_port(host.port(name))).unwrap()
    };
    let global = asker.answer_of(&host, 1, "EX1").unwrap();
    let link_local = host.node.link_local("eth0").unwrap();
    // The asker has no other than a link-local address itself.
    assert_eq!(locators(&global), [ipv6(link_local, "EX1"), ipv6(host.node.ula().unwrap(), "EX1")]);
    assert_eq!(global.objective, None);
    let local = asker.answer_of(&host, 2, "EX2").unwrap();
    assert_eq!(locators(&local), [ipv6(link_local, "EX2")]);
}

#[test]
fn given_locators_are_announced_verbatim_and_in_order() {
    isolated!();
    let (_lab, host, asker) = observed(Config::new());
    let mut given = vec![
        AsaLocator::new("192.0.2.7".parse::<std::net::Ipv4Addr>().unwrap(), None).with_port(8080),
        AsaLocator::fqdn("ask.example.net", Protocol::Udp, 5),
        AsaLocator::uri("coap://[2001:db8::1]/x"),
        AsaLocator::new("2001:db8::2".parse::<Ipv6Addr>().unwrap(), None).with_port(9),
    ];
    host.register_with(&negotiable("EX1", 1), RegisterObj { locators: given.clone(), ..discoverable() });
    let expected: Vec<_> = given.iter().filter_map(WireLocator::from_locator).collect();
    // The engine has its own copy.
    given.clear();
    let response = asker.answer_of(&host, 1, "EX1").unwrap();
    assert_eq!((expected.len(), locators(&response)), (4, expected));
}

#[test]
fn in_rapid_mode_the_response_brings_the_value() {
    isolated!();
    let (_lab, host, asker) = observed(Config::new());
    let rapid = || RegisterObj { rapid: true, ..discoverable() };
    host.register_with(&synchronizable("EX1", "now"), rapid());
    host.register_with(&negotiable("EX2", "later"), rapid());
    let objective = asker.answer_of(&host, 1, "EX1").unwrap().objective.unwrap();
    assert_eq!((objective.name.as_str(), objective.value), ("EX1", Some(Value::from("now"))));
    assert_eq!(asker.answer_of(&host, 2, "EX2").unwrap().objective, None, "for synchronization only");
}

#[test]
fn an_objective_is_discoverable_if_registered_so_or_while_somebody_listens() {
    isolated!();
    let (_lab, host, asker) = observed(Config::new());
    let (neg, synch, shown) = (negotiable("EX1", 1), synchronizable("EX2", 1), negotiable("EX3", 1));
    host.register(&neg);
    host.register(&synch);
    host.register_with(&shown, discoverable());
    let answers = |session, name| asker.answer_of(&host, session, name).is_some();
    assert!(!answers(1, "EX1") && !answers(2, "EX2") && answers(3, "EX3"));

    let listener = host.listen(&neg);
    host.run(|engine, asa| engine.listen_synchronize(asa, &synch)).unwrap();
    let shown_listener = host.listen(&shown);
    assert!(answers(4, "EX1") && answers(5, "EX2"));
    host.engine.stop_negotiate(host.asa, &neg).unwrap();
    host.engine.stop_synchronize(host.asa, &synch).unwrap();
    host.engine.stop_negotiate(host.asa, &shown).unwrap();
    for thread in [listener, shown_listener] {
        assert_eq!(failure(at_once(|| joined(thread))), Error::NoSession);
    }
    assert!(!answers(6, "EX1") && !answers(7, "EX2") && answers(8, "EX3"));
}

#[test]
fn an_objective_that_says_it_is_not_for_discovery_is_never_found() {
    isolated!();
    let (_lab, host, asker) = observed(Config::new());
    let hidden = Objective { discoverable: false, ..negotiable("EX1", 1) };
    host.register_with(&hidden, discoverable());
    assert!(asker.answer_of(&host, 1, "EX1").is_none());
}

#[test]
fn deregistration_closes_the_port_at_once_and_wakes_the_listener() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let (first, second) = (negotiable("EX1", 1), negotiable("EX2", 1));
    let before = host.engine.thread_count();
    host.register(&first);
    host.register(&second);
    let ports = [host.port("EX1"), host.port("EX2")];
    let listeners = [host.listen(&first), host.listen(&second)];
    host.engine.deregister_obj(host.asa, &first).unwrap();
    eventually(SOON, "the port is closed", || is_refused(&host.node, ports[0]));
    assert!(!is_refused(&host.node, ports[1]));
    host.engine.deregister_asa(host.asa, "a").unwrap();
    eventually(SOON, "the other port is closed", || is_refused(&host.node, ports[1]));
    for thread in listeners {
        assert_eq!(failure(at_once(|| joined(thread))), Error::NoSession);
    }
    eventually(SOON, "their threads have ended", || host.engine.thread_count() == before);
}

#[test]
fn an_asa_that_goes_out_of_scope_is_deregistered() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let register = |engine: &Engine| {
        let asa = Asa::register(engine, "guarded").unwrap();
        let registered = engine.register_obj(asa.nonce(), &negotiable("EX1", 1), discoverable());
        registered.map(|()| asa)
    };
    let asa = host.run(|engine, _| register(engine)).unwrap();
    assert_eq!((asa.name(), asa.engine().thread_count()), ("guarded", host.engine.thread_count()));
    let port = host.port("EX1");
    drop(asa);
    eventually(SOON, "the port is closed", || is_refused(&host.node, port));

    let panicking = host.thread(move |engine, _| {
        let _asa = register(engine).unwrap();
        panic!("as it must");
    });
    let result: Result<(), _> = panicking.join();
    assert!(result.is_err());
    let asa = host.run(|engine, _| register(engine)).expect("name and objective are free again");
    host.engine.deregister_asa(asa.nonce(), "guarded").unwrap();
    // Dropping what was deregistered by hand does no harm, even to one of the same name.
    let other = host.run(|engine, _| register(engine)).unwrap();
    drop(asa);
    assert!(host.engine.get_flood(other.nonce(), &synchronizable("EX1", ())).is_ok());
}

#[test]
fn registration_needs_no_security() {
    isolated!();
    for config in [Config::new().acp(Acp::None), Config::new().dull(true)] {
        let (_lab, host) = one(config);
        host.register(&negotiable("EX1", 1));
        host.engine.deregister_obj(host.asa, &negotiable("EX1", 1)).unwrap();
        host.engine.deregister_asa(host.asa, "a").unwrap();
    }
}
