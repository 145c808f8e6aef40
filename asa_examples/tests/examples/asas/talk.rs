//! server and client, and graspconfig.

use grasp::{Asa, Config, Engine, Objective, Value};
use grasp_lab::{Lab, LabError, Topology, eventually, isolated};
use rustix::process::Signal;

use crate::asas::program::{Program, SOON};
use crate::example;

#[test]
fn two_clients_talk_to_a_server() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let nodes = lab.build(Topology::Lan(3))?.nodes;
    let mut server = Program::start(&nodes[0], example!("server"), &[]);
    server.says("Ready to negotiate EX3 as server");
    let talk = ["--rounds", "3", "--pace", "0.1", "--say", "one", "--say", "zwei"];
    let mut clients = [1, 2].map(|node| Program::start(&nodes[node], example!("client"), &talk));
    for client in &mut clients {
        assert!(client.ends().success());
        assert_eq!((client.count("Peer replied: \"one\""), client.count("Peer replied: \"zwei\"")), (2, 1));
    }
    assert_eq!(server.count("Got message: \"Start\""), 2);
    // Both blocked in grecv, when the server is stopped in the middle of a conversation.
    let mut client = Program::start(&nodes[1], example!("client"), &["--pace", "100"]);
    client.says("Peer replied");
    server.signal(Signal::INT);
    assert!(server.ends().success());
    server.says("ASA exiting");
    client.signal(Signal::INT);
    assert!(client.ends().success());
    Ok(())
}

#[test]
fn a_configuration_is_flooded_to_every_node() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let nodes = lab.build(Topology::Line(3))?.nodes;
    let engines: Vec<Engine> =
        nodes[1..].iter().map(|node| node.run(|| Engine::start(Config::new())).expect("start")).collect();
    let sizes = ["--max-multicast", "4000", "--max-unicast", "5000", "--pace", "0.01"];
    let mut flooder = Program::start(&nodes[0], example!("graspconfig"), &sizes);
    let mut configuration = Objective::new("GraspConfig");
    configuration.synch = true;
    for (engine, loop_count) in engines.iter().zip([15, 14]) {
        let asa = Asa::register(engine, "reader").expect("register");
        let mut got = Vec::new();
        eventually(SOON, "the flood arrives", || {
            got = engine.get_flood(asa.nonce(), &configuration).expect("get_flood");
            got.len() == 1
        });
        let Value::Map(pairs) = &got[0].objective.value else { panic!("{got:?}") };
        let sender = nodes[0].ula().unwrap().octets().to_vec();
        let expected = [Value::Bytes(sender), 15.into(), 1.into(), 4000.into(), 5000.into()];
        for (key, value) in (0..).zip(expected) {
            assert!(pairs.contains(&(Value::from(key), value)), "{key}: {pairs:?}");
        }
        assert_eq!(got[0].objective.loop_count, loop_count);
    }
    flooder.signal(Signal::TERM);
    assert!(flooder.ends().success());
    Ok(())
}
