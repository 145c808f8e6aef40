//! Discovery, negotiation, synchronization and flooding over several hops (RFC 8990 §2.5.4.4, §2.5.6.2).

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use grasp::{
    Asa, AsaLocator, Config, Discover, Engine, Locator, Negotiation, Objective, RegisterObj, TaggedObjective,
    Value,
};
use grasptests::isolated;
use grasptests::lab::{Lab, LabError, Network, Node, Topology, eventually};

const SOON: Duration = Duration::from_secs(10);

fn objective(name: &str, change: impl FnOnce(&mut Objective)) -> Objective {
    let mut objective = Objective::new(name);
    change(&mut objective);
    objective
}

fn ex3() -> Objective {
    objective("EX3", |o| o.neg = true)
}

/// An engine with an ASA in every node of a network.
struct Nodes {
    network: Network,
    asas: Vec<Asa>,
    _lab: Lab,
}

impl Nodes {
    fn new(topology: Topology) -> Result<Self, LabError> {
        let lab = Lab::new()?;
        let network = lab.build(topology)?;
        let start = |node: &Node| {
            let engine = node.run(|| Engine::start(Config::new())).expect("start");
            Asa::register(&engine, node.name()).expect("register")
        };
        let asas = network.nodes.iter().map(start).collect();
        Ok(Self { network, asas, _lab: lab })
    }

    /// Runs with the engine and ASA of a node, in its namespace.
    fn at<R: Send>(&self, index: usize, run: impl FnOnce(&Engine, &Asa) -> R + Send) -> R {
        let asa = &self.asas[index];
        self.network.nodes[index].run(|| run(asa.engine(), asa))
    }

    fn offer(&self, index: usize, objective: &Objective) {
        let options = RegisterObj { discoverable: true, ..RegisterObj::default() };
        self.at(index, |engine, asa| engine.register_obj(asa.nonce(), objective, options)).expect("register");
    }

    fn discover(&self, index: usize, objective: &Objective, options: Discover) -> Vec<AsaLocator> {
        self.at(index, |engine, asa| engine.discover(asa.nonce(), objective, None, options))
            .expect("discover")
    }

    fn relayed(&self) -> Vec<u64> {
        self.asas.iter().map(|asa| asa.engine().stats().discoveries_relayed).collect()
    }
}

#[test]
fn c_drel_08_a_first_discovery_five_hops_away_succeeds_within_its_default_timeout() -> Result<(), LabError> {
    isolated!();
    let nodes = Nodes::new(Topology::Line(6))?;
    nodes.offer(5, &ex3());
    let started = Instant::now();
    let found = nodes.discover(0, &ex3(), Discover { enough: Some(1), ..Discover::default() });
    assert!(started.elapsed() < Duration::from_millis(600), "{:?}", started.elapsed());
    println!("five hops in {:?}: {found:?}", started.elapsed());
    let expected = nodes.network.nodes[5].ula().map(Locator::Ipv6);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].locator, expected);
    assert!(found[0].diverted);
    assert_eq!(nodes.relayed(), [0, 1, 1, 1, 1, 0]);
    // C-DREL-10: the relays know it now, and nobody relays the next discovery.
    for index in 1..5 {
        assert_eq!(nodes.discover(index, &ex3(), Discover::default()).len(), 1);
    }
    assert_eq!(nodes.discover(0, &ex3(), Discover { flush: true, ..Discover::default() }).len(), 1);
    assert_eq!(nodes.relayed(), [0, 1, 1, 1, 1, 0]);
    Ok(())
}

#[test]
fn negotiation_and_synchronization_work_across_the_network() -> Result<(), LabError> {
    isolated!();
    let nodes = Nodes::new(Topology::Line(4))?;
    nodes.at(3, |engine, asa| engine.register_obj(asa.nonce(), &ex3(), RegisterObj::default())).unwrap();
    let (engine, nonce) = (nodes.asas[3].engine().clone(), nodes.asas[3].nonce());
    let server = nodes.network.nodes[3].spawn("server", move || {
        let (session, _) = engine.listen_negotiate(nonce, &ex3()).expect("a request");
        engine.end_negotiate(nonce, session, true, None)
    });
    nodes.at(0, |engine, asa| engine.register_obj(asa.nonce(), &ex3(), RegisterObj::default())).unwrap();
    let agreed = nodes.at(0, |engine, asa| engine.req_negotiate(asa.nonce(), &ex3(), None, Some(5000)));
    assert!(matches!(agreed, Ok(Negotiation::Agreed(_))), "{agreed:?}");
    server.join().expect("no panic").expect("the end is sent");
    let ex2 = objective("EX2", |o| (o.synch, o.value) = (true, Value::from("far away")));
    nodes.at(3, |engine, asa| engine.register_obj(asa.nonce(), &ex2, RegisterObj::default())).unwrap();
    nodes.at(3, |engine, asa| engine.listen_synchronize(asa.nonce(), &ex2)).unwrap();
    let value = nodes.at(0, |engine, asa| engine.synchronize(asa.nonce(), &ex2, None, Some(5000)));
    assert_eq!(value.expect("a value").value, ex2.value);
    Ok(())
}

#[test]
fn c_drel_04_the_loop_count_limits_how_far_a_discovery_goes() -> Result<(), LabError> {
    isolated!();
    let nodes = Nodes::new(Topology::Line(4))?;
    nodes.offer(3, &ex3());
    let reach = |loop_count| {
        let near = objective("EX3", |o| (o.neg, o.loop_count) = (true, loop_count));
        nodes.discover(0, &near, Discover { flush: true, ..Discover::default() }).len()
    };
    assert_eq!((reach(1), reach(2)), (0, 0));
    assert_eq!(nodes.relayed(), [0, 1, 0, 0], "a loop count of 1 is not relayed, and one of 2 once");
    assert_eq!(reach(3), 1);
    Ok(())
}

#[test]
fn c_drel_06_in_a_ring_each_relay_relays_once_and_every_responder_is_found() -> Result<(), LabError> {
    isolated!();
    let nodes = Nodes::new(Topology::Ring(5))?;
    nodes.offer(2, &ex3());
    nodes.offer(3, &ex3());
    let found = nodes.discover(0, &ex3(), Discover::default());
    let mut addresses: Vec<_> = found.iter().map(|found| found.locator.clone()).collect();
    addresses.sort();
    // At their addresses on each of their links.
    let mut expected = Vec::new();
    for node in [2, 3].map(|index| &nodes.network.nodes[index]) {
        for interface in ["eth0", "eth1"] {
            let addresses = node.addresses(interface)?.into_iter().map(|(address, _)| address);
            expected.extend(addresses.filter(Ipv6Addr::is_unique_local).map(|one| Some(Locator::Ipv6(one))));
        }
    }
    expected.sort();
    assert_eq!(addresses, expected);
    assert!(nodes.relayed().iter().all(|relayed| *relayed <= 1), "{:?}", nodes.relayed());
    Ok(())
}

#[test]
fn c_resp_09_two_relays_in_parallel_divert_nothing_to_where_it_was_learnt() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let names = ["asker", "relay1", "relay2", "server"];
    let nodes: Vec<Node> = names.iter().map(|name| lab.node(name)).collect::<Result<_, _>>()?;
    let [asker, relay1, relay2, server] = nodes.as_slice() else { panic!("four nodes") };
    let near = lab.lan(&[asker, relay1, relay2])?;
    lab.lan(&[relay1, relay2, server])?;
    lab.route_all()?;
    let engines: Vec<Engine> =
        nodes.iter().map(|node| node.run(|| Engine::start(Config::new())).expect("start")).collect();
    let asas: Vec<Asa> =
        engines.iter().map(|engine| Asa::register(engine, "asa").expect("register")).collect();
    let options = RegisterObj { discoverable: true, ..RegisterObj::default() };
    server.run(|| engines[3].register_obj(asas[3].nonce(), &ex3(), options.clone())).expect("register");
    let found = |index: usize, flush| {
        let options = Discover { flush, ..Discover::default() };
        nodes[index]
            .run(|| engines[index].discover(asas[index].nonce(), &ex3(), None, options))
            .expect("discover")
    };
    let first = found(0, false);
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(first[0].locator, server.ula().map(Locator::Ipv6));
    // The server asks for what only it has: nobody sends it back to itself.
    assert!(found(3, true).is_empty());
    // Both relays now know of something on the asker's own link, and do not divert the asker to it.
    asker
        .run(|| engines[0].register_obj(asas[0].nonce(), &objective("EX4", |o| o.neg = true), options))
        .expect("EX4");
    let ex4 = objective("EX4", |o| o.neg = true);
    let at_server =
        server.run(|| engines[3].discover(asas[3].nonce(), &ex4, None, Discover::default())).unwrap();
    assert_eq!(at_server.len(), 1);
    assert_eq!(at_server[0].locator, near.ula(asker).map(Locator::Ipv6));
    let back = asker.run(|| engines[0].discover(asas[0].nonce(), &ex4, None, Discover::default())).unwrap();
    assert!(back.is_empty(), "{back:?}");
    Ok(())
}

#[test]
fn c_frel_01_a_flood_reaches_every_node_of_a_grid() -> Result<(), LabError> {
    isolated!();
    let nodes = Nodes::new(Topology::Grid(3, 3))?;
    let ex1 = objective("EX1", |o| (o.synch, o.value) = (true, Value::from("everyone")));
    nodes.offer(0, &ex1);
    let started = Instant::now();
    nodes
        .at(0, |engine, asa| engine.flood(asa.nonce(), 60_000, &[TaggedObjective::new(ex1.clone(), None)]))
        .unwrap();
    for index in 0..9 {
        eventually(SOON, "the flood arrives", || {
            let cached = nodes.at(index, |engine, asa| engine.get_flood(asa.nonce(), &ex1)).unwrap();
            cached.len() == 1 && cached[0].objective.value == ex1.value
        });
    }
    println!("nine nodes have the flood after {:?}", started.elapsed());
    // C-FREL-05: each node but the first relays it once; the corners opposite have no need but do not know that.
    let relayed: Vec<_> = nodes.asas.iter().map(|asa| asa.engine().stats().floods_relayed).collect();
    assert_eq!(relayed[0], 0);
    assert!(relayed[1..].iter().all(|count| *count <= 1), "{relayed:?}");
    Ok(())
}
