//! Responses that are asked for without end: how many there are, and that they leave no port in use.

use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use grasp::{Config, Rate};
use grasptests::isolated;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Node, RawUdp, eventually};
use grasptests::nodes::RawAsker;

use crate::scene::{LATER, Scene, discovers, neg_of};

/// How many connections of a node with an address are over and keep their port (TIME_WAIT).
fn kept_ports(node: &Node, peer: Ipv6Addr) -> usize {
    // As the kernel prints it: the words of the address in the order of the machine.
    let words = peer.octets();
    let words = words.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap()));
    let peer: String = words.map(|word| format!("{word:08X}")).collect();
    let table = node.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp6")).unwrap();
    let is_kept = |line: &&str| {
        let columns: Vec<_> = line.split_whitespace().collect();
        columns.get(2).is_some_and(|remote| remote.starts_with(&peer)) && columns.get(3) == Some(&"06")
    };
    table.lines().filter(is_kept).count()
}

/// A neighbour that asks without end and takes every answer. Each answer needs a port here, which would be in use for a minute
/// more if this side closed first.
#[test]
fn who_takes_every_answer_leaves_no_port_in_use() {
    isolated!();
    let scene = Scene::new(Config::new());
    let (name, attacker) = (neg_of(&scene.victim), scene.link.link_local(&scene.attacker));
    let session = AtomicU32::new(0);
    scene.survives(|scene| {
        let asker = RawAsker::on(&scene.attacker);
        let growth = scene.counted(|| {
            for _ in 0..300 {
                asker.discover(session.fetch_add(1, Ordering::Relaxed), &name, 1);
                drop(asker.response());
            }
        });
        growth.is("answered", |s| s.responses_sent, 300);
        eventually(LATER, "the connections end", || {
            growth.of(|s| s.connections_opened) == growth.of(|s| s.connections_closed)
        });
        assert_eq!(kept_ports(&scene.victim.node, attacker), 0);
    });
}

/// A neighbour that takes answers and does not close: it holds its share of the responders for as long as they may take, and
/// then no port either.
#[test]
fn who_does_not_close_has_its_share_and_leaves_no_port_in_use() {
    isolated!();
    let config = Config::new().response_timeout(Duration::from_millis(700));
    let scene = Scene::new(config);
    let name = neg_of(&scene.victim);
    let session = AtomicU32::new(0);
    scene.survives(|scene| {
        let attacker = scene.link.link_local(&scene.attacker);
        let ifi = scene.attacker.interface_index("eth0").unwrap();
        let listen = || TcpListener::bind(SocketAddrV6::new(attacker, 0, 0, ifi)).unwrap();
        // Nobody accepts: the system takes the connections, and holds them.
        let held = scene.attacker.run(listen);
        let port = held.local_addr().unwrap().port();
        let socket = RawUdp::open(&scene.attacker, "eth0", attacker, port).unwrap();
        let growth = scene.counted(|| {
            for _ in 0..40 {
                let session = session.fetch_add(1, Ordering::Relaxed);
                let asked = cbor!([1, session, (attacker.octets().to_vec()), [(name.as_str()), 1, 1, ()]]);
                socket.send(&asked.encode(), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
            }
        });
        growth.is("received", |s| s.discoveries_received, 40);
        discovers(&scene.friend, &name);
        growth.at_least("more than its share", |s| s.dropped_asker_limit, 1);
        eventually(LATER, "the connections end", || {
            growth.of(|s| s.connections_opened) == growth.of(|s| s.connections_closed)
        });
        assert_eq!(kept_ports(&scene.victim.node, attacker), 0);
    });
}

/// Takes connections and ends them, until it is over. Returns how many.
fn take_all(listener: &TcpListener, over: &AtomicBool) -> usize {
    listener.set_nonblocking(true).unwrap();
    let mut taken = 0;
    while !over.load(Ordering::Relaxed) {
        match listener.accept().map(|(stream, _): (TcpStream, _)| drop(stream)) {
            Ok(()) => taken += 1,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    taken
}

/// Questions in the name of a bystander make this node connect to it. It does so no more often than the rate for one asker
/// allows.
#[test]
fn questions_in_the_name_of_a_bystander_trouble_it_no_more_than_the_rate_allows() {
    isolated!();
    let rate = Rate::new(5, 20);
    let scene = Scene::new(Config::new().asker_response_rate(rate));
    let name = neg_of(&scene.victim);
    let session = AtomicU32::new(0);
    scene.survives(|scene| {
        let bystander = scene.link.link_local(&scene.friend.node);
        let ifi = scene.friend.node.interface_index("eth0").unwrap();
        let bound = || TcpListener::bind(SocketAddrV6::new(bystander, 0, 0, ifi)).unwrap();
        let listener = scene.friend.node.run(bound);
        let port = listener.local_addr().unwrap().port();
        let socket = RawUdp::open(&scene.attacker, "eth0", Ipv6Addr::UNSPECIFIED, port).unwrap();
        socket.allow_spoofing().unwrap();
        let (started, over) = (Instant::now(), AtomicBool::new(false));
        let growth = scene.counted(|| {});
        let taken = std::thread::scope(|scope| {
            let taking = scope.spawn(|| take_all(&listener, &over));
            for _ in 0..500 {
                let session = session.fetch_add(1, Ordering::Relaxed);
                let asked = cbor!([1, session, (bystander.octets().to_vec()), [(name.as_str()), 1, 1, ()]]);
                socket.send_as(bystander, &asked.encode(), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
            growth.is("received", |s| s.discoveries_received, 500);
            over.store(true, Ordering::Relaxed);
            taking.join().unwrap()
        });
        let seconds = usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
        let allowed = 20 + 5 * seconds;
        assert!(taken <= allowed, "{taken} of {allowed}");
        growth.at_least("over the rate", |s| s.dropped_response_rate + s.dropped_asker_limit, 500 - allowed);
        assert!(growth.of(|s| s.dropped_response_rate) > 0);
    });
}
