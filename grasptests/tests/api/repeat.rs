//! Flooding every so often.

use std::time::Duration;

use grasp::{AsaNonce, Config, Engine, Error, Flooding, TaggedObjective, Value};
use grasptests::isolated;
use grasptests::lab::eventually;
use grasptests::nodes::{Host, SOON, failure, linked, one, synchronizable};

fn tagged(value: i64) -> [TaggedObjective; 1] {
    [TaggedObjective::new(synchronizable("EX1", value), None)]
}

fn start(engine: &Engine, asa: AsaNonce) -> grasp::Result<Flooding> {
    engine.flood_every(asa, 100, 60_000, &tagged(1))
}

fn sent(host: &Host) -> u64 {
    host.engine.stats().floods_sent
}

fn value(host: &Host) -> Option<Value> {
    host.engine.flood_cache().last().map(|view| view.tagged.objective.value.clone())
}

#[test]
fn a_late_starter_catches_up_and_hears_of_changes_until_flooding_stops() {
    isolated!();
    let (_lab, _, a, b) = linked();
    let source = Host::start(&a, Config::new());
    source.register(&synchronizable("EX1", ()));
    let flooding = source.run(start).unwrap();
    assert_eq!(sent(&source), 1, "the first is sent at once");
    eventually(SOON, "it is repeated", || sent(&source) > 2);
    let late = Host::start(&b, Config::new());
    eventually(SOON, "the late starter has it", || value(&late) == Some(1.into()));
    flooding.update(&tagged(2)).unwrap();
    eventually(SOON, "and the new value", || value(&late) == Some(2.into()));
    assert_eq!(flooding.error(), None);
    let too_large = [TaggedObjective::new(synchronizable("EX1", vec![0u8; 2000]), None)];
    assert_eq!(failure(flooding.update(&too_large)).code(), 3);
    flooding.stop();
    let floods = sent(&source);
    std::thread::park_timeout(Duration::from_millis(350));
    assert_eq!(sent(&source), floods);
}

#[test]
fn a_change_is_flooded_at_once() {
    isolated!();
    let (_lab, host) = one(Config::new());
    host.register(&synchronizable("EX1", ()));
    let flooding = host.run(|engine, asa| engine.flood_every(asa, 3_600_000, 0, &tagged(1))).unwrap();
    flooding.update(&tagged(2)).unwrap();
    eventually(SOON, "it is flooded", || sent(&host) == 2);
    assert_eq!(value(&host), Some(2.into()));
}

#[test]
fn it_ends_with_its_guard_its_registration_and_its_engine() {
    isolated!();
    let (_lab, host) = one(Config::new());
    let threads = host.engine.thread_count();
    let over = || eventually(SOON, "the thread ends", || host.engine.thread_count() == threads);
    let ex1 = synchronizable("EX1", ());
    assert_eq!(failure(host.run(start)), Error::NotYourObj);
    host.register(&ex1);
    let listening = host.engine.thread_count();
    drop(host.run(start).unwrap());
    eventually(SOON, "the thread ends", || host.engine.thread_count() == listening);

    let flooding = host.run(start).unwrap();
    host.run(|engine, asa| engine.deregister_obj(asa, &ex1)).unwrap();
    eventually(SOON, "it has noticed", || flooding.error() == Some(Error::NotYourObj));
    over();
    assert_eq!(failure(flooding.update(&tagged(2))), Error::NotYourObj);

    host.register(&ex1);
    let flooding = host.run(start).unwrap();
    host.engine.shutdown();
    assert!(flooding.error().is_some());
    assert_eq!(failure(flooding.update(&tagged(2))).code(), 3);
}
