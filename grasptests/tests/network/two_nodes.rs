//! Two nodes on one link do everything with each other.

use std::time::{Duration, Instant};

use grasp::{
    Asa, Config, Discover, Engine, Error, Negotiation, Objective, RegisterObj, TaggedObjective, Value,
};
use grasptests::isolated;
use grasptests::lab::{Lab, LabError, Node, eventually};

const SOON: Duration = Duration::from_secs(10);

fn engine(node: &Node) -> Engine {
    let _ = env_logger::builder().is_test(true).filter_level(log::LevelFilter::Debug).try_init();
    node.run(|| Engine::start(Config::new())).expect("the engine starts")
}

fn negotiable(name: &str, value: impl Into<Value>) -> Objective {
    let mut objective = Objective::new(name);
    objective.neg = true;
    objective.value = value.into();
    objective
}

fn synchronizable(name: &str, value: impl Into<Value>) -> Objective {
    let mut objective = Objective::new(name);
    objective.synch = true;
    objective.value = value.into();
    objective
}

#[test]
fn discovery_negotiation_synchronization_and_flooding_work() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    lab.link(&a, &b)?;
    let (near, far) = (engine(&a), engine(&b));

    let server = Asa::register(&far, "server").unwrap();
    let ex3 = negotiable("EX3", 0);
    b.run(|| far.register_obj(server.nonce(), &ex3, RegisterObj::default())).unwrap();
    let (listening, nonce) = (far.clone(), server.nonce());
    let thread = b.spawn("server", move || {
        let (session, asked) = listening.listen_negotiate(nonce, &negotiable("EX3", 0)).unwrap();
        assert_eq!((asked.value.clone(), asked.loop_count), (Value::from(100), 6));
        let mut offer = asked;
        offer.value = Value::from(50);
        match listening.negotiate_step(nonce, session, &offer, None).unwrap() {
            Negotiation::Offer(_, counter) => {
                assert_eq!((counter.value, counter.loop_count), (Value::from(75), 4));
                listening.negotiate_wait(nonce, session, Some(5000)).unwrap();
                listening.end_negotiate(nonce, session, false, Some("Недостаточно средств")).unwrap();
            }
            Negotiation::Agreed(_) => panic!("too early"),
        }
    });

    let client = Asa::register(&near, "client").unwrap();
    let asked = negotiable("EX3", 100);
    a.run(|| near.register_obj(client.nonce(), &asked, RegisterObj::default())).unwrap();
    a.run(|| {
        let started = Instant::now();
        let mut found = Vec::new();
        eventually(SOON, "EX3 is discovered", || {
            found = near.discover(client.nonce(), &asked, None, Discover::default()).unwrap();
            !found.is_empty()
        });
        assert!(started.elapsed() >= Duration::from_millis(550), "collects for the whole default timeout");
        assert_eq!(found.len(), 1);
        assert!(!found[0].diverted && found[0].is_ipaddress());
        let reply = near.req_negotiate(client.nonce(), &asked, Some(&found[0]), None).unwrap();
        let Negotiation::Offer(session, mut offer) = reply else { panic!("{reply:?}") };
        assert_eq!((offer.value.clone(), offer.loop_count), (Value::from(50), 5));
        offer.value = Value::from(75);
        let end = near.negotiate_step(client.nonce(), session, &offer, None);
        assert_eq!(end, Err(Error::Declined(Some("Недостаточно средств".to_owned()))));
    });
    thread.join().unwrap();

    let ex2 = synchronizable("EX2", vec![Value::from(1), Value::from("two")]);
    b.run(|| far.register_obj(server.nonce(), &ex2, RegisterObj::default())).unwrap();
    b.run(|| far.listen_synchronize(server.nonce(), &ex2)).unwrap();
    let got =
        a.run(|| near.synchronize(client.nonce(), &synchronizable("EX2", ()), None, Some(5000))).unwrap();
    assert_eq!(got.value, ex2.value);

    let ex1 = synchronizable("EX1", "flooded");
    b.run(|| far.register_obj(server.nonce(), &ex1, RegisterObj::default())).unwrap();
    far.flood(server.nonce(), 0, &[TaggedObjective::new(ex1.clone(), None)]).unwrap();
    eventually(SOON, "the flood arrives", || {
        near.get_flood(client.nonce(), &ex1).unwrap().first().is_some_and(|t| t.objective.value == ex1.value)
    });
    near.dump_all(false);
    far.dump_all(false);
    println!("{:?}\n{:?}", near.stats(), far.stats());
    assert_eq!((near.stats().panics, far.stats().panics), (0, 0));
    drop((server, client));
    let started = Instant::now();
    near.shutdown();
    far.shutdown();
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!((near.thread_count(), far.thread_count()), (0, 0));
    Ok(())
}

#[test]
fn a_flood_of_graspconfig_changes_the_message_sizes_of_all_nodes() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    lab.link(&a, &b)?;
    let (near, far) = (engine(&a), engine(&b));
    let asa = Asa::register(&near, "GRASPconfig").unwrap();
    let size = |key: i64, size: i64| (Value::from(key), Value::from(size));
    let config = synchronizable("GraspConfig", Value::Map(vec![size(2, 1), size(3, 4000), size(4, 5000)]));
    a.run(|| near.register_obj(asa.nonce(), &config, RegisterObj::default())).unwrap();
    near.flood(asa.nonce(), 120_000, &[TaggedObjective::new(config, None)]).unwrap();
    assert_eq!(near.message_sizes(), (5000, 4000));
    eventually(SOON, "the other node follows", || far.message_sizes() == (5000, 4000));
    // What is larger than the default passes now.
    let server = Asa::register(&far, "server").unwrap();
    let big = synchronizable("EX2", "x".repeat(4500).as_str());
    b.run(|| far.register_obj(server.nonce(), &big, RegisterObj::default())).unwrap();
    b.run(|| far.listen_synchronize(server.nonce(), &big)).unwrap();
    let got = a.run(|| near.synchronize(asa.nonce(), &synchronizable("EX2", ()), None, Some(5000)));
    assert_eq!(got.unwrap().value, big.value);
    Ok(())
}
