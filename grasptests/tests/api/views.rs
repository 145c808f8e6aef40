//! The registries and the state of an engine as values.

use std::net::Ipv6Addr;

use grasp::trace::SessionKind;
use grasp::{Acp, AsaLocator, Config, Discover, RegisterObj, TaggedObjective, Value, monotonic_ms};
use grasptests::isolated;
use grasptests::lab::{Lab, eventually};
use grasptests::nodes::{Host, SOON, discoverable, joined, negotiable, offer, one, synchronizable, two};

#[test]
fn what_is_registered_can_be_looked_at() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let other = host.another("other");
    let locators = vec![AsaLocator::new(Ipv6Addr::LOCALHOST, None).with_port(9)];
    let options = RegisterObj {
        ttl: Some(1234),
        discoverable: true,
        overlap: true,
        local: true,
        rapid: true,
        locators: locators.clone(),
        ..RegisterObj::default()
    };
    host.register_with(&synchronizable("EX2", 5), options.clone());
    other.register_with(&synchronizable("EX2", 5), options);
    host.register(&negotiable("EX3", 1));

    let names: Vec<_> = host.engine.asas().into_iter().map(|asa| (asa.name, asa.nonce)).collect();
    assert_eq!(names, [("a".to_owned(), host.asa), ("other".to_owned(), other.asa)]);
    let views = host.engine.objectives();
    let [ex2, ex3] = views.as_slice() else { panic!("{views:?}") };
    assert_eq!((ex2.objective.name.as_str(), &ex2.objective.value), ("EX2", &Value::from(5)));
    assert_eq!(ex2.owners, [host.asa, other.asa]);
    assert_eq!(
        (ex2.ttl, ex2.discoverable, ex2.overlap, ex2.local, ex2.rapid),
        (1234, true, true, true, true)
    );
    assert_eq!((&ex2.locators, ex2.listening), (&locators, 0));
    assert_ne!((ex2.port, ex3.port), (0, 0));
    let plain = (ex3.ttl, ex3.discoverable, ex3.overlap, ex3.local, ex3.rapid, ex3.locators.len());
    assert_eq!(plain, (600_000, false, false, false, false, 0));
    let listening = host.listen(&negotiable("EX3", 1));
    assert_eq!(host.engine.objectives()[1].listening, 1);
    host.run(|engine, asa| engine.stop_negotiate(asa, &negotiable("EX3", 1))).unwrap();
    joined(listening).expect_err("it was stopped");
    assert!(host.engine.dump(false).contains("Secure: true Sealed: false"), "{}", host.engine.dump(false));
}

#[test]
fn what_is_cached_can_be_looked_at_across_names_with_source_and_expiry() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    far.register_with(&synchronizable("EX2", 5), RegisterObj { rapid: true, ..discoverable() });
    far.register(&synchronizable("EX4", 1));
    let wanted = Discover { enough: Some(1), ..Discover::default() };
    let found =
        near.run(|engine, asa| engine.discover(asa, &synchronizable("EX2", ()), None, wanted)).unwrap();
    let cache = near.engine.discovery_cache();
    let [entry] = cache.as_slice() else { panic!("{cache:?}") };
    assert_eq!((entry.name.as_str(), &entry.locators), ("EX2", &found));
    assert_eq!(entry.rapid.as_ref().map(|rapid| &rapid.value), Some(&Value::from(5)));
    assert!(entry.locators[0].expire > monotonic_ms() && entry.rapid_expire > monotonic_ms());

    let source = far.locator("EX4");
    let tagged = [TaggedObjective::new(synchronizable("EX4", 7), Some(source.clone()))];
    far.run(|engine, asa| engine.flood(asa, 60_000, &tagged)).unwrap();
    eventually(SOON, "the flood is heard", || !near.engine.flood_cache().is_empty());
    let (here, there) = (far.engine.flood_cache(), near.engine.flood_cache());
    assert_eq!(here[0].from, None, "it began there");
    let [(ifi, _)] = near.engine.links()[..] else { panic!("one link") };
    assert_eq!(there[0].from, Some((ifi, far.node.link_local("eth0").unwrap())));
    assert_eq!(there[0].tagged.objective.value, Value::from(7));
    assert_eq!(
        (&there[0].tagged.source.locator, there[0].tagged.source.port),
        (&source.locator, source.port)
    );
    assert!((monotonic_ms()..=monotonic_ms() + 60_000).contains(&there[0].tagged.source.expire));
}

#[test]
fn open_sessions_can_be_looked_at() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    near.register(&negotiable("EX3", 1));
    far.register(&negotiable("EX3", 1));
    let listening = far.listen(&negotiable("EX3", 1));
    let peer = far.locator("EX3");
    let asking =
        near.thread(move |engine, asa| engine.req_negotiate(asa, &negotiable("EX3", 1), Some(&peer), None));
    let (session, asked) = joined(listening).unwrap();
    let views = far.engine.sessions();
    let [view] = views.as_slice() else { panic!("{views:?}") };
    assert_eq!((view.session, view.kind, view.objective.as_str()), (session, SessionKind::Exchange, "EX3"));
    assert_eq!((view.peer, view.owner), (near.node.ula(), Some(far.asa)));
    let views = near.engine.sessions();
    assert_eq!((views.len(), views[0].session.id_source, views[0].owner), (1, None, Some(near.asa)));
    let step = far.thread(move |engine, asa| engine.negotiate_step(asa, session, &asked, None));
    let (session, _) = offer(joined(asking));
    near.run(|engine, asa| engine.end_negotiate(asa, session, true, None)).unwrap();
    joined(step).unwrap();
    assert!(near.engine.sessions().is_empty());
}

#[test]
fn the_state_in_force_is_told() {
    isolated!();
    let lab = Lab::new().unwrap();
    let (a, b, c) = (lab.node("a").unwrap(), lab.node("b").unwrap(), lab.node("c").unwrap());
    lab.link(&a, &b).unwrap();
    lab.link(&b, &c).unwrap();
    let state = |node, config| {
        let host = Host::start(node, config);
        let state = host.engine.state();
        host.engine.shutdown();
        assert!(host.engine.state().stopped && !state.stopped);
        state
    };
    let layer2 = state(&a, Config::new().acp(Acp::Layer2).unicast_size(4000));
    assert!(layer2.secure && layer2.trusting.is_some() && !layer2.relaying && !layer2.dull);
    assert_eq!((layer2.unicast_size, layer2.multicast_size, layer2.sealed), (4000, 2048, false));
    let relay = state(&b, Config::new().acp(Acp::Interfaces(vec!["eth0".into(), "eth1".into()])));
    assert!(relay.secure && relay.trusting.is_none() && relay.relaying);
    let none = state(&a, Config::new().acp(Acp::None));
    assert!(!none.secure && none.trusting.is_none());
    let dull = state(&b, Config::new().dull(true));
    assert!(dull.dull && !dull.secure && !dull.relaying && dull.trusting.is_none());
}
