//! Flooding: what goes out, what is cached, what is read, and what is refused.

use std::net::Ipv6Addr;
use std::time::Duration;

use grasp::wire::{Body, Flags, Flood, WireLocator, encode};
use grasp::{
    Acp, AsaLocator, Config, Error, Locator, Objective, Protocol, Result, TaggedObjective, Value,
    monotonic_ms,
};
use grasptests::isolated;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, LinkOptions, RawUdp, eventually};
use grasptests::nodes::{
    Host, SOON, failure, flagged, heard, linked, negotiable, one, synchronizable, two, watched,
};

fn tagged(name: &str, value: impl Into<Value>, source: Option<AsaLocator>) -> TaggedObjective {
    TaggedObjective::new(synchronizable(name, value), source)
}

fn flood(host: &Host, ttl: u32, tagged: &[TaggedObjective]) -> Result<()> {
    host.run(|engine, asa| engine.flood(asa, ttl, tagged))
}

/// What is cached for a name.
fn cached(host: &Host, name: &str) -> Vec<TaggedObjective> {
    host.engine.get_flood(host.asa, &synchronizable(name, ())).unwrap()
}

fn values(host: &Host, name: &str) -> Vec<Value> {
    cached(host, name).into_iter().map(|tagged| tagged.objective.value).collect()
}

fn next_flood(watcher: &RawUdp) -> Flood {
    match heard(watcher, |body| matches!(body, Body::Flood(_))).0.body {
        Body::Flood(flood) => flood,
        other => panic!("{other:?}"),
    }
}

fn unspecified() -> Option<AsaLocator> {
    Some(AsaLocator::new(Ipv6Addr::UNSPECIFIED, None).with_port(99))
}

fn link_local(address: Ipv6Addr) -> Option<WireLocator> {
    Some(WireLocator { locator: Locator::Ipv6(address), protocol: Some(Protocol::Tcp), port: Some(99) })
}

#[test]
fn a_flood_goes_out_as_it_was_given() {
    isolated!();
    let (_lab, host, _b, watcher) = watched(Config::new());
    host.register(&synchronizable("EX1", ()));
    host.register(&synchronizable("EX2", ()));
    let source = AsaLocator::new("192.0.2.1".parse::<std::net::Ipv4Addr>().unwrap(), Some(7)).with_port(5);
    let mut second = tagged("EX2", "two", None);
    second.objective.loop_count = 17;
    flood(&host, 12_345, &[tagged("EX1", 1, Some(source.clone())), second]).unwrap();
    let sent = next_flood(&watcher);
    assert_eq!((sent.initiator, sent.ttl), (host.node.ula().unwrap().into(), 12_345));
    let [(first, first_tag), (second, second_tag)] = sent.objectives.as_slice() else { panic!("{sent:?}") };
    assert_eq!((first.name.as_str(), first.flags.0, first.loop_count), ("EX1", 5, 6));
    assert_eq!(first.value, Some(Value::from(1)));
    assert_eq!(*first_tag, WireLocator::from_locator(&source));
    assert_eq!((second.loop_count, second.value.clone(), second_tag), (17, Some("two".into()), &None));
    assert_eq!(host.engine.stats().floods_sent, 1);

    flood(&host, 0, &[tagged("EX1", 2, None)]).unwrap();
    let again = next_flood(&watcher);
    assert_eq!(again.ttl, 0);
    assert_ne!(again.session, sent.session);
}

#[test]
fn a_flood_from_the_unspecified_address_is_for_each_link_with_its_own_address() {
    isolated!();
    let lab = Lab::new().unwrap();
    let (a, b, c) = (lab.node("a").unwrap(), lab.node("b").unwrap(), lab.node("c").unwrap());
    let links = [lab.link(&a, &b).unwrap(), lab.link(&a, &c).unwrap()];
    let watchers = [&b, &c].map(|node| RawUdp::neighbors(node, "eth0").unwrap());
    let host = Host::start(&a, Config::new());
    host.register(&synchronizable("EX1", ()));
    let other = Some(AsaLocator::fqdn("elsewhere.example", Protocol::Tcp, 1));
    let objectives =
        [tagged("EX1", 1, unspecified()), tagged("EX1", 2, other.clone()), tagged("EX1", 3, unspecified())];
    flood(&host, 0, &objectives).unwrap();
    for (watcher, link) in watchers.iter().zip(&links) {
        let sent = next_flood(watcher);
        let counts: Vec<_> = sent.objectives.iter().map(|(objective, _)| objective.loop_count).collect();
        assert_eq!(counts, [1, 1, 1]);
        let own = link_local(link.link_local(&a));
        let tags: Vec<_> = sent.objectives.into_iter().map(|(_, tag)| tag).collect();
        assert_eq!(tags, [own.clone(), WireLocator::from_locator(&other.clone().unwrap()), own]);
    }
}

#[test]
fn a_flood_stays_on_the_link_where_it_must() {
    isolated!();
    // A DULL instance, and a node that has no address of more than link scope.
    for (config, options) in
        [(Config::new().dull(true), LinkOptions::default()), (Config::new(), LinkOptions::link_local_only())]
    {
        let lab = Lab::new().unwrap();
        let (a, b) = (lab.node("a").unwrap(), lab.node("b").unwrap());
        lab.lan_with(&[&a, &b], options).unwrap();
        let watcher = RawUdp::neighbors(&b, "eth0").unwrap();
        let (near, far) = (Host::start(&a, config.clone()), Host::start(&b, config));
        near.register(&synchronizable("EX1", ()));
        flood(&near, 0, &[tagged("EX1", 1, None), tagged("EX1", 2, unspecified())]).unwrap();
        let sent = next_flood(&watcher);
        assert!(sent.objectives.iter().all(|(objective, _)| objective.loop_count == 1), "{sent:?}");
        assert_eq!(sent.objectives[1].1, link_local(a.link_local("eth0").unwrap()));
        eventually(SOON, "the neighbour takes it", || values(&far, "EX1").len() == 2);
    }
}

#[test]
fn what_is_flooded_is_cached_here_and_there_with_its_source_and_expiry() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    near.register(&synchronizable("EX1", ()));
    let given = AsaLocator::new(near.node.ula().unwrap(), None).with_port(77);
    let before = monotonic_ms();
    flood(&near, 60_000, &[tagged("EX1", 1, Some(given.clone())), tagged("EX1", 2, None)]).unwrap();
    let ifi = far.node.interface_index("eth0").unwrap();
    eventually(SOON, "both are there", || cached(&far, "EX1").len() == 2);
    let found = cached(&far, "EX1");
    let expiries = before + 60_000..=monotonic_ms() + 60_000;
    for tagged in &found {
        assert!(expiries.contains(&tagged.source.expire), "{tagged:?}");
        assert_eq!(tagged.source.ifi, Some(ifi));
    }
    assert_eq!((&found[0].source.locator, found[0].source.port), (&given.locator, Some(77)));
    let null = AsaLocator { ifi: Some(ifi), expire: found[1].source.expire, ..AsaLocator::null() };
    assert_eq!(found[1].source, null);
    assert_eq!(values(&near, "EX1"), [Value::from(1), Value::from(2)], "the flooding node has them, too");

    flood(&near, 0, &[tagged("EX1", 3, None)]).unwrap();
    eventually(SOON, "the value is replaced", || values(&far, "EX1") == [Value::from(1), Value::from(3)]);
    let hour = monotonic_ms() + 3_600_000;
    let expire = cached(&far, "EX1")[1].source.expire;
    assert!((hour - 60_000..=hour).contains(&expire), "what is learnt is kept for an hour: {expire}");
}

#[test]
fn a_value_is_valid_for_its_lifetime() {
    isolated!();
    let (_lab, near, far) = two(Config::new().watch_interval(Duration::from_secs(60)));
    near.register(&synchronizable("EX1", ()));
    flood(&near, 400, &[tagged("EX1", 1, None)]).unwrap();
    eventually(SOON, "it is here", || values(&far, "EX1") == [Value::from(1)]);
    eventually(SOON, "it is over", || cached(&far, "EX1").is_empty() && cached(&near, "EX1").is_empty());
    flood(&near, 60_000, &[tagged("EX1", 2, None)]).unwrap();
    eventually(SOON, "a new one is here", || values(&far, "EX1") == [Value::from(2)]);
}

#[test]
fn one_value_for_each_source_oldest_first() {
    isolated!();
    let (_lab, near, far) = two(Config::new().flood_cache_limit(3));
    near.register(&synchronizable("EX1", ()));
    near.register(&synchronizable("EX2", ()));
    let source = |port| Some(AsaLocator::new(near.node.ula().unwrap(), None).with_port(port));
    for (port, value) in [(1, "a"), (2, "b"), (3, "c"), (1, "d")] {
        flood(&near, 0, &[tagged("EX1", value, source(port))]).unwrap();
    }
    let texts = |list: &[&str]| list.iter().map(|text| Value::from(*text)).collect::<Vec<_>>();
    eventually(SOON, "replaced is newly received", || values(&far, "EX1") == texts(&["b", "c", "d"]));
    flood(&near, 0, &[tagged("EX2", "e", None)]).unwrap();
    eventually(SOON, "the oldest makes room", || values(&far, "EX1") == texts(&["c", "d"]));
    assert_eq!(values(&far, "EX2"), texts(&["e"]));
}

#[test]
fn a_stale_value_is_expired_by_its_copy() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    near.register(&synchronizable("EX1", ()));
    let source = Some(AsaLocator::new(near.node.ula().unwrap(), None).with_port(1));
    flood(&near, 0, &[tagged("EX1", "for ever", None), tagged("EX1", "keep", source)]).unwrap();
    eventually(SOON, "both are here", || cached(&far, "EX1").len() == 2);
    let expire = |tagged: &TaggedObjective| far.engine.expire_flood(far.asa, tagged);
    let mut copy = cached(&far, "EX1").remove(0);
    let stale = copy.clone();
    copy.objective.value = "mine".into();
    assert_eq!(values(&far, "EX1")[0], Value::from("for ever"), "results are copies");
    expire(&copy).unwrap();
    assert_eq!(cached(&far, "EX1").len(), 2, "that value is not cached");
    expire(&stale).unwrap();
    assert_eq!(values(&far, "EX1"), [Value::from("keep")]);
    expire(&stale).unwrap();
    expire(&tagged("EX7", 1, None)).unwrap();
    assert_eq!(values(&far, "EX1"), [Value::from("keep")], "what is not cached is ignored");
    assert_eq!(cached(&near, "EX1").len(), 2, "the other node keeps its own");

    flood(&near, 0, &[tagged("EX1", "newer", None)]).unwrap();
    eventually(SOON, "it comes again", || cached(&far, "EX1").len() == 2);
    expire(&stale).unwrap();
    assert_eq!(cached(&far, "EX1").len(), 2, "a newer value is not the stale one");
}

#[test]
fn flooding_checks_in_order_and_sends_nothing_then() {
    isolated!();
    let (_lab, host) = one(Config::new());
    host.register(&synchronizable("EX1", ()));
    let (_insecure_lab, insecure) = one(Config::new().acp(Acp::None));
    let gone = host.gone();
    let refused = |who: &Host, tagged: &[TaggedObjective]| failure(flood(who, 0, tagged));
    let of = |objective: Objective| TaggedObjective::new(objective, None);
    assert_eq!(refused(&insecure, &[]), Error::NoSecurity, "16 comes before 3");
    assert_eq!(refused(&gone, &[]), Error::Unspec, "3 comes before 6");
    let both = Objective { neg: true, ..synchronizable("EX9", 1) };
    assert_eq!(refused(&gone, &[of(both)]), Error::NotBoth, "8 comes before 6");
    assert_eq!(refused(&gone, &[of(negotiable("EX9", 1))]), Error::NotSynch, "32 comes before 6");
    assert_eq!(refused(&gone, &[of(synchronizable("EX9", 1))]), Error::NoAsa, "6 comes before 13");
    let good = || tagged("EX1", 1, None);
    assert_eq!(refused(&host, &[good(), of(synchronizable("EX9", 1))]), Error::NotYourObj, "each is checked");
    let no_port = AsaLocator { port: None, ..AsaLocator::new(Ipv6Addr::LOCALHOST, None) };
    let no_protocol = AsaLocator { protocol: None, ..AsaLocator::new(Ipv6Addr::LOCALHOST, None) };
    let bad = |locator: &AsaLocator| tagged("EX1", vec![0u8; 1300], Some(locator.clone()));
    assert_eq!(refused(&host, &[bad(&no_port), of(synchronizable("EX9", 1))]), Error::NotYourObj);
    assert_eq!(refused(&host, &[good(), bad(&no_port)]), Error::InvalidLoc, "38 comes before the size");
    assert_eq!(refused(&host, &[good(), bad(&no_protocol)]), Error::InvalidLoc);
    assert_eq!(refused(&host, &[tagged("EX1", vec![0u8; 1300], None)]), Error::Unspec);
    let stats = host.engine.stats();
    assert_eq!((stats.floods_sent, stats.multicast_sent), (0, 0));
    assert!(cached(&host, "EX1").is_empty());
    let uri = AsaLocator::uri("coap://[::1]/");
    flood(&host, 0, &[tagged("EX1", 1, Some(uri.clone()))]).unwrap();
    assert_eq!(cached(&host, "EX1")[0].source.locator, uri.locator, "only a URI may go without a port");
}

#[test]
fn the_largest_flood_is_1232_bytes() {
    isolated!();
    let (_lab, host, _b, watcher) = watched(Config::new());
    host.register(&synchronizable("EX1", ()));
    // The session identifier is up to four bytes shorter than its longest form, so the edge is looked for.
    let of = |length: usize| flood(&host, 0, &[tagged("EX1", vec![0u8; length], None)]);
    let largest = (1180..1232).rev().find(|length| of(*length).is_ok()).unwrap();
    let (_, datagram) = heard(&watcher, |body| matches!(body, Body::Flood(_)));
    assert!(largest < 1231 && (1228..=1232).contains(&datagram.bytes.len()), "{}", datagram.bytes.len());
    assert_eq!(of(largest + 10), Err(Error::Unspec));
}

#[test]
fn reading_floods_needs_a_registered_asa_and_a_synch_objective_and_nothing_else() {
    isolated!();
    let (_lab, host) = one(Config::new().acp(Acp::None));
    let gone = host.gone();
    let get = |who: &Host, objective: &Objective| who.engine.get_flood(who.asa, objective);
    assert_eq!(get(&gone, &negotiable("EX1", 1)), Err(Error::NoAsa), "6 comes before 32");
    assert_eq!(get(&host, &negotiable("EX1", 1)), Err(Error::NotSynch));
    assert_eq!(get(&host, &synchronizable("EX1", ())), Ok(Vec::new()), "nothing is no error");
    let some = tagged("EX1", 1, None);
    assert_eq!(gone.engine.expire_flood(gone.asa, &some), Err(Error::NoAsa));
    assert_eq!(host.engine.expire_flood(host.asa, &some), Ok(()));
}

#[test]
fn what_has_expired_is_cleared_away_though_nobody_asks_for_it() {
    isolated!();
    let (_lab, _, a, b) = linked();
    let host = Host::start(&a, Config::new().watch_interval(Duration::from_millis(50)));
    let neighbour = RawUdp::open(&b, "eth0", b.link_local("eth0").unwrap(), 0).unwrap();
    let of = |session: u32, name: &str, ttl: u32| {
        let step = flagged(session, name, Flags::F_DISC | Flags::F_SYNCH, 1, "a value");
        let initiator = b.link_local("eth0").unwrap().into();
        let flood = Flood { session, initiator, ttl, objectives: vec![(step.objective, None)] };
        neighbour.send(&encode(&Body::Flood(flood).into()), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
    };
    of(1, "for a second", 1000);
    of(2, "for ever", 0);
    let is_kept = |name: &str| host.engine.dump(true).contains(name);
    eventually(SOON, "both are cached", || is_kept("for a second") && is_kept("for ever"));
    eventually(SOON, "one is cleared away", || !is_kept("for a second"));
    assert!(is_kept("for ever"));
}

#[test]
fn one_link_local_address_on_two_links_is_two_sources() {
    isolated!();
    let lab = Lab::new().unwrap();
    let [middle, left, right] = ["middle", "left", "right"].map(|name| lab.node(name).unwrap());
    let same = "fe80::1".parse().unwrap();
    for node in [&left, &right] {
        lab.link(&middle, node).unwrap();
        node.add_address("eth0", same, 64).unwrap();
    }
    let host = Host::start(&middle, Config::new());
    for (session, node) in [(1, &left), (2, &right)] {
        let step = flagged(session, "EX1", Flags::F_DISC | Flags::F_SYNCH, 1, node.name());
        let source = AsaLocator::new(same, None).with_port(7);
        let objectives = vec![(step.objective, WireLocator::from_locator(&source))];
        let flood = Flood { session, initiator: same.into(), ttl: 60_000, objectives };
        let neighbour = RawUdp::open(node, "eth0", same, 0).unwrap();
        neighbour.send(&encode(&Body::Flood(flood).into()), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
        eventually(SOON, "it is received", || host.engine.stats().floods_received == u64::from(session));
    }
    let ifi = |name| middle.interface_index(name).ok();
    let both = [(ifi("eth0"), Value::from("left")), (ifi("eth1"), Value::from("right"))];
    eventually(SOON, "both are cached", || {
        let known = cached(&host, "EX1").into_iter();
        known.map(|one| (one.source.ifi, one.objective.value)).collect::<Vec<_>>() == both
    });
}
