//! server and client, and graspconfig.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV6, TcpStream};

use grasp::{Asa, Config, Discover, Engine, Locator, Objective, Value};
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
fn a_peer_that_repeats_an_identifier_does_not_silence_a_server() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let nodes = lab.build(Topology::Lan(3))?.nodes;
    let server = Program::start(&nodes[0], example!("server"), &[]);
    server.says("Ready to negotiate EX3 as server");
    let engine = nodes[1].run(|| Engine::start(Config::new())).expect("start");
    let asa = Asa::register(&engine, "clashing").expect("register");
    let mut found = Vec::new();
    eventually(SOON, "the server is found", || {
        let once = Discover { enough: Some(1), ..Discover::default() };
        let found_now = nodes[1].run(|| engine.discover(asa.nonce(), &Objective::new("EX3"), None, once));
        found = found_now.expect("discover");
        !found.is_empty()
    });
    let Some(Locator::Ipv6(address)) = found[0].locator else { panic!("{found:?}") };
    let port = found[0].port.expect("a port");
    // M_REQ_NEG under one identifier, again and again.
    let open = |value: &str| {
        let objective = Value::from(vec![Value::from("EX3"), 3.into(), 6.into(), value.into()]);
        let request = Value::from(vec![Value::from(3), 7.into(), objective]).encode();
        nodes[1].run(|| {
            let mut stream = TcpStream::connect(SocketAddrV6::new(address, port, 0, 0)).expect("connect");
            stream.write_all(&request).expect("send");
            stream
        })
    };
    let _held = open("the one");
    server.says("Got message: \"the one\"");
    // No clash keeps the client from being heard next; five seconds after each would add up to more than anybody waits.
    for _ in 0..20 {
        let mut stream = open("another");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        assert!(matches!(stream.read(&mut [0]), Ok(0)), "it is closed");
    }
    let mut client = Program::start(&nodes[2], example!("client"), &["--rounds", "1"]);
    assert!(client.ends().success());
    assert_eq!(server.count("Got message: \"another\""), 0);
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
