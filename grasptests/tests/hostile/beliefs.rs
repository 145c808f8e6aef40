//! What a neighbour says and nobody believes: answers to its own questions, locators that cannot be true, values of others.

use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicU32, Ordering};

use grasp::{Config, Discover, Objective, TaggedObjective, Value};
use grasptests::isolated;
use grasptests::lab::eventually;
use grasptests::nodes::{overlapping, synchronizable};

use crate::discovery::{answer, answer_from, locator, question};
use crate::floods::flood;
use crate::scene::{LATER, Scene, flooded, multicast, nobody};

/// What is in a discovery cache about an objective.
fn cached(host: &grasptests::nodes::Host, name: &str) -> usize {
    let options = Discover { enough: Some(0), ..Discover::default() };
    host.run(|engine, asa| engine.discover(asa, &Objective::new(name), None, options)).unwrap().len()
}

/// A neighbour asks a relay for a name, and answers itself. It gets nothing into the cache: neither a locator nor a value that
/// others would be given.
#[test]
fn who_asks_a_relay_and_answers_itself_is_not_believed() {
    isolated!();
    let scene = Scene::new(Config::new());
    let session = AtomicU32::new(0);
    scene.survives(|scene| {
        let (socket, port) = (scene.at_link_local(), scene.response_port());
        let initiator = cbor!(scene.link.link_local(&scene.attacker).octets().to_vec());
        let session = session.fetch_add(1, Ordering::Relaxed);
        // The relay is open for six seconds.
        let growth = scene.counted(|| {
            multicast(&socket, &cbor!([1, session, (initiator.clone()), ["forged", 5, 61, ()]]));
        });
        growth.is("it is relayed", |s| s.discoveries_relayed, 1);
        let growth = scene.counted(|| {
            let place = locator(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x66), 1);
            let value = cbor!(["forged", 5, 6, 666]);
            let forged = cbor!([2, session, (initiator), (u32::MAX), (place), (value)]);
            answer(scene, port, std::iter::once(forged));
        });
        growth.is("from the link that asked", |s| s.dropped_asking_link, 1);
        assert_eq!(cached(&scene.victim, "forged"), 0);
        let wanted = synchronizable("forged", ());
        for host in [&scene.victim, &scene.friend] {
            let got = host.run(|engine, asa| engine.synchronize(asa, &wanted, None, Some(300)));
            assert!(got.is_err(), "{got:?}");
        }
    });
}

/// Locators of this machine, of nobody, of groups and of other links, of every kind.
fn impossible() -> Vec<Value> {
    let addresses = ["::1", "::", "ff02::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0"];
    let addresses = addresses.map(|address| locator(address.parse().unwrap(), 7));
    let names = ["fe80::1%eth1", "fe80::1%lo", "127.0.0.1", "localhost"].map(|name| cbor!([105, name, 6, 7]));
    let v4 =
        [[127, 0, 0, 1], [0, 0, 0, 0], [224, 0, 0, 1]].map(|v4: [u8; 4]| cbor!([104, (v4.to_vec()), 6, 7]));
    let uris = ["coap://[::1]:7/x", "coap://[fe80::1%25eth1]/x"].map(|uri| cbor!([106, uri, (), ()]));
    addresses.into_iter().chain(names).chain(v4).chain(uris).collect()
}

#[test]
fn locators_that_cannot_be_true_are_neither_cached_nor_diverted_to() {
    isolated!();
    let scene = Scene::new(Config::new());
    let locators = impossible();
    scene.survives(|scene| {
        // As an answer to the victim itself.
        let ears = scene.neighbour();
        let wanted = Objective { loop_count: 1, ..Objective::new("nowhere") };
        let options = Discover { flush: true, ..Discover::default() };
        let asking =
            scene.victim.thread(move |engine, asa| engine.discover(asa, &wanted, Some(2000), options));
        let asked = question(scene, &ears, "nowhere");
        let head = |session, initiator| vec![cbor!(2), cbor!(session), initiator, cbor!(60_000)];
        let growth = scene.counted(|| {
            let found = head(asked.session, asked.initiator.clone()).into_iter().chain(locators.clone());
            let diverted = std::iter::once(cbor!(100)).chain(locators.clone()).collect();
            let diverted = head(asked.session, asked.initiator).into_iter().chain([Value::Array(diverted)]);
            answer(scene, asked.port, [found.collect(), diverted.collect()].map(Value::Array).into_iter());
        });
        growth.is("answers", |s| s.responses_received, 2);
        growth.is("refused", |s| s.locators_refused, 2 * locators.len());
        assert_eq!(asking.join().unwrap(), Ok(vec![]));
        // Through the victim, to one who asks on its other side: from behind it, as an answer to what it relays.
        let port = scene.response_port_behind();
        let socket = scene.at_link_local();
        let session = asked.session ^ 1;
        let initiator = cbor!(scene.link.link_local(&scene.attacker).octets().to_vec());
        let growth = scene.counted(|| {
            multicast(&socket, &cbor!([1, session, (initiator.clone()), ["nowhere", 5, 61, ()]]));
        });
        growth.is("it is relayed", |s| s.discoveries_relayed, 1);
        let found = head(session, initiator).into_iter().chain(locators.clone()).collect();
        answer_from(&scene.far.node, port, std::iter::once(Value::Array(found)));
        growth.is("refused", |s| s.locators_refused, locators.len());
        growth.is("nothing to pass on", |s| s.answers_not_relayed, 1);
        assert_eq!(growth.of(|s| s.answers_relayed), 0);
        assert_eq!(cached(&scene.victim, "nowhere"), 0);
    });
}

/// A link-local address in a flood that has come through a relay would be read as one of the last link.
#[test]
fn link_local_tags_are_believed_of_the_neighbour_they_name_only() {
    isolated!();
    let scene = Scene::new(Config::new());
    let session = AtomicU32::new(1000);
    scene.survives(|scene| {
        let (socket, near) = (scene.at_link_local(), scene.link.link_local(&scene.attacker));
        let tagged = |name: &str, tag| cbor!([[name, 5, 6, 1], (locator(tag, 7))]);
        let session = session.fetch_add(2, Ordering::Relaxed);
        let growth = scene.counted(|| {
            multicast(&socket, &flood(scene, session, vec![tagged("tag:other", nobody(9))]));
            multicast(&socket, &flood(scene, session + 1, vec![tagged("tag:own", near)]));
        });
        growth.is("both are relayed", |s| s.floods_relayed, 2);
        growth.is("of another", |s| s.flood_entries_refused, 1);
        growth.is("its own", |s| s.flood_entries_cached, 1);
        assert!(flooded(&scene.victim, "tag:other").is_none() && flooded(&scene.victim, "tag:own").is_some());
        eventually(LATER, "both come behind the relay", || {
            scene.far.engine.stats().flood_entries_refused >= 2
        });
        assert!(flooded(&scene.far, "tag:other").is_none() && flooded(&scene.far, "tag:own").is_none());
    });
}

/// A flood with this node's own name and locator, for one millisecond.
#[test]
fn a_flood_in_the_victims_own_name_neither_replaces_nor_ends_its_value() {
    isolated!();
    let scene = Scene::new(Config::new());
    let session = AtomicU32::new(2000);
    scene.survives(|scene| {
        let own = flooded(&scene.victim, "flood:victim").expect("its own value");
        let socket = scene.at_link_local();
        let tag = locator(scene.victim.engine.session_locator(), 1);
        let initiator = cbor!(scene.link.ula(&scene.attacker).unwrap().octets().to_vec());
        let growth = scene.counted(|| {
            let session = session.fetch_add(1, Ordering::Relaxed);
            multicast(&socket, &cbor!([9, session, initiator, 1, [["flood:victim", 5, 1, 666], (tag)]]));
        });
        growth.is("refused", |s| s.flood_entries_refused, 1);
        // `_watcher` ends what has expired when it looks; what comes afterwards has seen it do so.
        let stats = || scene.victim.engine.stats().flood_cache_expired;
        let before = stats();
        let short = cbor!([
            9,
            (session.fetch_add(1, Ordering::Relaxed)),
            (vec![0xfd; 16]),
            1,
            [["short", 5, 1, 1], []]
        ]);
        multicast(&socket, &short);
        eventually(LATER, "what has expired goes", || stats() > before);
        assert_eq!(flooded(&scene.victim, "flood:victim"), Some(own));
    });
}

/// A value that never expires does not outrank the newer ones of others.
#[test]
fn the_value_that_came_last_is_synchronized_whatever_lasts_longer() {
    isolated!();
    let scene = Scene::new(Config::new());
    let round = AtomicU32::new(0);
    scene.survives(|scene| {
        let round = round.fetch_add(1, Ordering::Relaxed);
        let socket = scene.at_link_local();
        let endless = vec![cbor!([["flood:friend", 5, 1, 666], (locator(nobody(3), 7))])];
        let growth = scene.counted(|| multicast(&socket, &for_ever(flood(scene, 3000 + round, endless))));
        growth.is("cached, or a tag of another", |s| s.flood_entries_cached + s.flood_entries_refused, 1);
        let other = vec![cbor!([["flood:friend", 5, 1, 666], []])];
        let growth = scene.counted(|| multicast(&socket, &for_ever(flood(scene, 4000 + round, other))));
        growth.is("cached", |s| s.flood_entries_cached, 1);
        let objective = synchronizable("flood:friend", 1000 + round);
        scene.friend.run(|engine, asa| {
            let _ = engine.register_obj(asa, &objective, overlapping());
            let source = grasp::AsaLocator::new(engine.session_locator(), None).with_port(1);
            let tagged = TaggedObjective::new(objective.clone(), Some(source));
            engine.flood(asa, 60_000, std::slice::from_ref(&tagged)).unwrap();
        });
        eventually(LATER, "the friend's value is the one", || {
            let got = scene.victim.run(|engine, asa| engine.synchronize(asa, &objective, None, Some(1000)));
            got.unwrap().value == objective.value
        });
    });
}

/// The same flood without an end.
fn for_ever(flood: Value) -> Value {
    let Value::Array(mut items) = flood else { panic!("{flood:?}") };
    items[3] = cbor!(0);
    Value::Array(items)
}
