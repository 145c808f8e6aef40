//! Captures of a network: everything that engines say to each other, and what a wicked neighbour adds.

use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddrV6, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use asa_examples::decode::{Options, Record, Transport};
use grasp::wire::{Body, WireOption};
use grasp::{
    Asa, AsaLocator, Config, Discover, Engine, Locator, Negotiation, Objective, Protocol, RegisterObj,
    TaggedObjective, Value,
};
use grasp_lab::{
    ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, LabError, RawUdp, Topology, eventually, isolated,
};
use tempfile::TempDir;

use crate::decode::{dissector, records};

const SOON: Duration = Duration::from_secs(30);

fn negotiable(value: impl Into<Value>) -> Objective {
    Objective { neg: true, value: value.into(), ..Objective::new("EX3") }
}

fn synchronizable(name: &str, value: impl Into<Value>) -> Objective {
    Objective { synch: true, value: value.into(), ..Objective::new(name) }
}

/// What is not GRASP, over UDP.
const MALFORMED: [&[u8]; 4] = [&[0x83, 3, 1], &[0xff], &[0x83, 3, 9, 5], b"\x82\x18\x63\x1a"];

/// Three nodes in a line. The first discovers and asks what the last one offers; the middle one relays. Returns the
/// capture.
fn a_day_in_a_network(directory: &TempDir) -> Result<PathBuf, LabError> {
    let path = directory.path().join("lab.pcapng");
    let lab = Lab::new()?;
    let network = lab.build(Topology::Line(3))?;
    let capture = lab.capture(&path)?;
    let start = |index: usize| {
        let node = &network.nodes[index];
        let engine = node.run(|| Engine::start(Config::new())).expect("start");
        Asa::register(&engine, node.name()).expect("register")
    };
    let (asker, relay, server) = (start(0), start(1), start(2));
    let (near, far) = (asker.engine().clone(), server.engine().clone());
    let (here, there) = (&network.nodes[0], &network.nodes[2]);

    there
        .run(|| far.register_obj(server.nonce(), &negotiable(()), RegisterObj::default()))
        .expect("register");
    here.run(|| near.register_obj(asker.nonce(), &negotiable(()), RegisterObj::default())).expect("register");
    let (listening, nonce) = (far.clone(), server.nonce());
    let thread = there.spawn("server", move || {
        let (session, mut offer) = listening.listen_negotiate(nonce, &negotiable(())).expect("a request");
        offer.value = Value::from(50).encoded_cbor();
        let Ok(Negotiation::Offer(..)) = listening.negotiate_step(nonce, session, &offer, None) else {
            panic!("no counter-offer");
        };
        listening.negotiate_wait(nonce, session, Some(5000)).expect("wait");
        listening.end_negotiate(nonce, session, false, Some("Недостаточно средств")).expect("end");
    });
    let place = here.run(|| {
        let mut found = Vec::new();
        eventually(SOON, "EX3 is discovered", || {
            let enough = Discover { enough: Some(1), ..Discover::default() };
            found = near.discover(asker.nonce(), &negotiable(()), None, enough).expect("discover");
            !found.is_empty()
        });
        found.remove(0)
    });
    here.run(|| {
        let first =
            near.req_negotiate(asker.nonce(), &negotiable(100), Some(&place), None).expect("an offer");
        let Negotiation::Offer(session, mut offer) = first else { panic!("too early") };
        offer.value = Value::from(vec![Value::from("NZD"), Value::from(0.5)]);
        let end = near.negotiate_step(asker.nonce(), session, &offer, None);
        assert!(end.is_err(), "{end:?}");
    });
    thread.join().expect("the server");

    let synch = synchronizable("EX2", vec![Value::from(1), Value::from("two")]);
    there.run(|| far.register_obj(server.nonce(), &synch, RegisterObj::default())).expect("register");
    there.run(|| far.listen_synchronize(server.nonce(), &synch)).expect("listen");
    let got = here.run(|| near.synchronize(asker.nonce(), &synchronizable("EX2", ()), None, Some(20_000)));
    assert_eq!(got.expect("synchronize").value, synch.value);

    let inside = Value::from(vec![Value::from("embedded"), Value::from(1)]);
    let flooded = synchronizable("Tag24", inside.encoded_cbor());
    there.run(|| far.register_obj(server.nonce(), &flooded, RegisterObj::default())).expect("register");
    let port = AsaLocator::new(Ipv6Addr::LOCALHOST, None).with_port(4443);
    let ipv4 = AsaLocator { locator: Some(Locator::Ipv4([192, 0, 2, 1].into())), ..port.clone() };
    let fqdn = AsaLocator::fqdn("registrar.example.com", Protocol::Udp, 443);
    let uri = AsaLocator::uri("coaps://registrar.example.com:5684/x");
    for source in [Some(port), Some(ipv4), Some(fqdn), Some(uri), None] {
        far.flood(server.nonce(), 60_000, &[TaggedObjective::new(flooded.clone(), source)]).expect("flood");
    }
    eventually(SOON, "the floods arrive through the relay", || near.stats().floods_received >= 5);
    assert!(!near.get_flood(asker.nonce(), &flooded).expect("get").is_empty());

    let index = here.interface_index("eth0")?;
    let wicked = RawUdp::open(here, "eth0", here.link_local("eth0")?, 0)?;
    for bytes in MALFORMED {
        wicked.send(bytes, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT)?;
    }
    // A request with a number for its objective, to the place that was announced.
    let (Some(Locator::Ipv6(address)), Some(to)) = (place.locator, place.port) else { panic!("no address") };
    here.run(|| {
        let mut stream = TcpStream::connect(SocketAddrV6::new(address, to, 0, index)).expect("connect");
        stream.write_all(&[0x83, 3, 9, 5]).expect("send");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        stream.read_to_end(&mut Vec::new()).expect("the server hangs up");
    });
    drop((asker, relay, server));
    for engine in [near, far] {
        engine.shutdown();
    }
    capture.finish()?;
    Ok(path)
}

fn bodies<'a>(
    records: &'a [Record],
    wanted: impl Fn(&Body) -> bool + 'a,
) -> impl Iterator<Item = &'a Record> {
    records.iter().filter(move |record| record.annotation.message.as_ref().is_ok_and(|it| wanted(&it.body)))
}

#[test]
fn a_capture_of_a_network_has_all_that_was_said() -> Result<(), LabError> {
    isolated!();
    let directory = TempDir::new().expect("a directory");
    let path = a_day_in_a_network(&directory)?;
    let (records, report) = records(&std::fs::read(path).expect("the capture"), &Options::default());
    assert!(!report.damaged);
    for record in &records {
        let decoded = grasp::wire::decode(&record.bytes, &Options::default().limits);
        assert_eq!(record.annotation.message, decoded);
        assert!(record.time.is_some() && record.interface.as_ref().is_some_and(|name| name.starts_with('l')));
    }
    // Both the discovery and its relayed copy, and an answer on either link.
    let discoveries =
        bodies(&records, |body| matches!(body, Body::Discovery { objective, .. } if objective.name == "EX3"));
    assert!(discoveries.count() >= 2);
    let responses: Vec<&Record> = bodies(&records, |body| matches!(body, Body::Response(_))).collect();
    assert!(responses.len() >= 2, "{responses:?}");
    assert!(responses.iter().all(|it| it.from_initiator == Some(false)));
    let diverted = responses.iter().filter(|it| match &it.annotation.message.as_ref().expect("right").body {
        Body::Response(response) => matches!(response.options.first(), Some(WireOption::Divert(_))),
        _ => false,
    });
    assert!(diverted.count() >= 1);
    // The negotiation, on both links, each in its order and direction.
    let request =
        bodies(&records, |body| matches!(body, Body::RequestNegotiate(_))).next().expect("a request");
    let (transport, source, destination) = request.transport.expect("a connection");
    assert_eq!(transport, Transport::Tcp);
    let mut said: Vec<(&str, bool)> = Vec::new();
    for record in records.iter().filter(|it| it.session() == request.session() && it.interface.is_some()) {
        let Some((Transport::Tcp, from, to)) = record.transport else { continue };
        assert!((from, to) == (source, destination) || (from, to) == (destination, source));
        assert_eq!(record.from_initiator, Some(from == source));
        let name = record.annotation.message.as_ref().expect("right").type_name();
        if said.last() != Some(&(name, from == source)) {
            said.push((name, from == source));
        }
    }
    let dialogue = [
        ("M_REQ_NEG", true),
        ("M_NEGOTIATE", false),
        ("M_NEGOTIATE", true),
        ("M_WAIT", false),
        ("M_END", false),
    ];
    assert_eq!(said, dialogue);
    let synchronized = bodies(&records, |body| matches!(body, Body::Synch(_))).count();
    assert!(synchronized >= 1);
    let floods = bodies(
        &records,
        |body| matches!(body, Body::Flood(flood) if flood.objectives.iter().any(|(it, _)| it.name == "Tag24")),
    );
    assert!(floods.count() >= 10);
    for bytes in MALFORMED {
        let found = records.iter().find(|record| record.bytes == bytes).expect("the malformed datagram");
        assert!(found.annotation.problems.iter().any(|problem| !problem.forgiven));
    }
    let over_tcp = records
        .iter()
        .find(|it| it.bytes == [0x83, 3, 9, 5] && matches!(it.transport, Some((Transport::Tcp, ..))));
    assert!(over_tcp.is_some_and(|it| it.annotation.session == Some(9)));
    Ok(())
}

#[test]
#[ignore = "needs tshark"]
fn the_dissector_shows_a_network_field_by_field() -> Result<(), LabError> {
    isolated!();
    let directory = TempDir::new().expect("a directory");
    let path = a_day_in_a_network(&directory)?;
    let (records, _) = records(&std::fs::read(&path).expect("the capture"), &Options::default());
    assert!(records.len() > 25, "{}", records.len());
    dissector::compare(&path, &records);
    Ok(())
}
