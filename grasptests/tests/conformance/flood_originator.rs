//! Where a flood begins (RFC 8990 §2.5.6.2, §2.8.11).

use std::net::Ipv6Addr;

use grasp::{AsaLocator, Config, Error, Objective, Protocol, TaggedObjective};
use grasptests::isolated;

use crate::bench::{Bench, synchronizable};
use crate::peer::{FLOOD, items, locator, sid};

/// Registers these objectives and floods them with these sources.
fn flood(bench: &Bench, ttl: u32, tagged: &[TaggedObjective]) {
    for one in tagged {
        // Flooded twice, it is registered already.
        let _ = bench.run(|engine, asa| engine.register_obj(asa, &one.objective, Default::default()));
    }
    bench.flood(ttl, tagged).unwrap();
}

fn tagged(name: &str, source: Option<AsaLocator>) -> TaggedObjective {
    TaggedObjective::new(synchronizable(name, 1), source)
}

#[test]
fn c_flo_01_a_flood_goes_to_the_group_on_every_interface() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    flood(&bench, 1000, &[tagged("EX2", None)]);
    let initiator = bench.home.ula().unwrap().octets().to_vec();
    let mut seen = Vec::new();
    for (peer, (_, address)) in [&bench.peer, bench.far()].into_iter().zip(bench.engine.links()) {
        let heard = peer.heard(FLOOD);
        let session = sid(&heard.message);
        let expected = cbor!([9, session, (initiator.clone()), 1000, [["EX2", 5, 6, 1], []]]);
        assert_eq!((heard.message, *heard.source.ip()), (expected, address));
        seen.push(session);
    }
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn c_flo_02_the_loop_count_is_6_or_the_objectives_own() {
    isolated!();
    let bench = Bench::new();
    let own = TaggedObjective::new(Objective { loop_count: 3, ..synchronizable("EX5", 1) }, None);
    flood(&bench, 0, &[tagged("EX2", None), own]);
    let counts: Vec<_> = items(&bench.peer.heard(FLOOD).message)[4..]
        .iter()
        .map(|pair| items(&items(pair)[0])[2].clone())
        .collect();
    assert_eq!(counts, [cbor!(6), cbor!(3)]);
}

/// N2: over UDP a node without a global address can flood its links only.
#[test]
fn c_flo_02_a_link_local_initiator_floods_with_loop_count_1() {
    isolated!();
    let bench = Bench::link_local_only(1);
    flood(&bench, 0, &[tagged("EX2", None), tagged("EX5", None)]);
    let heard = bench.peer.heard(FLOOD).message;
    assert_eq!(items(&heard)[2], cbor!(bench.link_local().octets().to_vec()));
    assert!(items(&heard)[4..].iter().all(|pair| items(&items(pair)[0])[2] == cbor!(1)), "{heard}");
}

#[test]
fn c_flo_03_the_ttl_is_as_given_0_without_end() {
    isolated!();
    let bench = Bench::new();
    for ttl in [0, 1, 120_000, u32::MAX] {
        flood(&bench, ttl, &[tagged("EX2", None)]);
        assert_eq!(items(&bench.peer.heard(FLOOD).message)[3], cbor!(ttl));
    }
}

#[test]
fn c_flo_04_a_locator_that_is_absent_is_an_empty_array() {
    isolated!();
    let bench = Bench::new();
    let (name, fqdn) = ("EX5", AsaLocator::fqdn("a.example", Protocol::Udp, 9));
    flood(&bench, 0, &[tagged("EX2", None), tagged(name, Some(fqdn))]);
    let heard = bench.peer.heard(FLOOD);
    let [first, second] = &items(&heard.message)[4..] else { panic!("{}", heard.message) };
    assert_eq!(items(first)[1].encode(), [0x80]);
    assert_eq!(items(second)[1], cbor!([105, "a.example", 17, 9]));
}

#[test]
fn c_flo_05_a_flood_for_the_link_names_each_links_own_address() {
    isolated!();
    let bench = Bench::on_two_links(Config::new());
    let here = || Some(AsaLocator::new(Ipv6Addr::UNSPECIFIED, None).with_port(99));
    flood(&bench, 0, &[tagged("EX2", here()), tagged("EX5", None), tagged("EX6", here())]);
    for (peer, (_, address)) in [&bench.peer, bench.far()].into_iter().zip(bench.engine.links()) {
        let heard = peer.heard(FLOOD).message;
        let source = locator(address, 99);
        let expected = [
            cbor!([["EX2", 5, 1, 1], (source.clone())]),
            cbor!([["EX5", 5, 1, 1], []]),
            cbor!([["EX6", 5, 1, 1], source]),
        ];
        assert_eq!(items(&heard)[4..], expected);
    }
}

#[test]
fn c_flo_07_without_security_nothing_is_flooded() {
    isolated!();
    let bench = Bench::with(Config::new().acp(grasp::Acp::None));
    let objective = synchronizable("EX2", 1);
    bench.register(&objective);
    assert_eq!(bench.flood(0, &[TaggedObjective::new(objective, None)]), Err(Error::NoSecurity));
    assert!(!bench.peer.hears_anything(crate::peer::QUIET));
}
