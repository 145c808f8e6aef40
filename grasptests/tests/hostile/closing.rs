//! Peers that take answers and leave it to the engine to close the connection: no port may stay behind.

use std::collections::VecDeque;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use grasp::{Config, Rate, RegisterObj};
use grasptests::accounts::assert_accounts;
use grasptests::isolated;
use grasptests::lab::{RawUdp, eventually};
use grasptests::nodes::{RawStream, negotiable};

use crate::scene::{Growth, LATER, Scene, call, multicast, neg_of, syn_of};

/// How many local ports the victim has for connections. Many fewer than it is made to open.
const PORTS: usize = 1000;
/// How many responses an asker takes.
const RESPONSES: usize = 3000;
/// How many connections an asker holds at a time that never closes. The engine keeps fewer.
const HELD: usize = 400;
/// A remote port that the victim has not yet let go of, or remembers: FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSING.
const LEFT_BEHIND: [&str; 4] = ["04", "05", "06", "0B"];

/// A victim that answers as often as it is asked.
fn scene() -> Scene {
    let (any, often) = (1_000_000, Rate::new(1_000_000, 1_000_000));
    let config = Config::new().response_rate(often).asker_response_rate(often).stranger_response_rate(often);
    Scene::new(config.responder_limit(any).responders_per_asker(any).responders_for_strangers(any))
}

/// The victim's connections that it has closed first and still knows of.
fn left_behind(scene: &Scene) -> usize {
    let table = scene.victim.run(|_, _| fs::read_to_string("/proc/thread-self/net/tcp6").expect("a table"));
    let states = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(3));
    states.filter(|state| LEFT_BEHIND.contains(state)).count()
}

/// What an asker does with a response that it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// It closes, as graspy does.
    Closes,
    /// It waits for the other side to close, and then closes.
    Waits,
    /// It never closes.
    Keeps,
}

/// Accepts the responses to the questions of a socket.
fn takes(
    scene: &Scene,
    socket: &RawUdp,
    asker: Asker,
    taken: &Arc<AtomicUsize>,
    over: &Arc<AtomicBool>,
) -> JoinHandle<()> {
    let local = socket.local().unwrap();
    let listener = scene.attacker.run(|| TcpListener::bind(local)).expect("a port for the responses");
    let (taken, over) = (Arc::clone(taken), Arc::clone(over));
    let accept = move || {
        let mut kept: VecDeque<TcpStream> = VecDeque::new();
        while let Ok((stream, _)) = listener.accept() {
            if over.load(Ordering::Relaxed) {
                return;
            }
            taken.fetch_add(1, Ordering::Relaxed);
            match asker {
                Asker::Closes => RawStream::new(stream).hear().body,
                Asker::Waits => {
                    // In a thread of its own: the engine may take its time.
                    let wait = move || {
                        let mut stream = RawStream::new(stream);
                        let _ = stream.hear();
                        stream.expect_end();
                    };
                    drop(thread("waits", wait));
                    continue;
                }
                Asker::Keeps => {
                    kept.push_back(stream);
                    if kept.len() > HELD {
                        kept.pop_front();
                    }
                    continue;
                }
            };
        }
    };
    thread("takes", accept)
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).expect("a thread")
}

/// Asks for what the victim offers, again and again, a little at a time: nothing is to be lost in a queue.
fn asks(scene: &Scene, asker: Asker, count: usize) -> Growth<'_> {
    let socket = scene.at_link_local();
    let (taken, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let accepting = takes(scene, &socket, asker, &taken, &over);
    let initiator = scene.link.link_local(&scene.attacker).octets().to_vec();
    let name = syn_of(&scene.victim);
    let growth = scene.counted(|| {
        let mut session = 0_u32;
        while taken.load(Ordering::Relaxed) < count {
            let before = taken.load(Ordering::Relaxed);
            for _ in 0..20 {
                session += 1;
                multicast(&socket, &cbor!([1, session, (initiator.clone()), [(name.as_str()), 5, 1, ()]]));
            }
            eventually(LATER, "the questions are answered", || taken.load(Ordering::Relaxed) >= before + 15);
        }
    });
    over.store(true, Ordering::Relaxed);
    let local = socket.local().unwrap();
    drop(scene.attacker.run(|| TcpStream::connect(local)));
    accepting.join().expect("the asker takes all responses");
    growth
}

/// The victim has ports for new objectives and for other programs.
fn has_ports(scene: &Scene) {
    scene.victim.run(|engine, asa| {
        let objective = negotiable("new", 1);
        engine.register_obj(asa, &objective, RegisterObj::default()).expect("a port for an objective");
        engine.deregister_obj(asa, &objective).unwrap();
        TcpListener::bind("[::]:0").expect("a port for another program");
    });
}

fn with_few_ports() -> Scene {
    let scene = scene();
    scene.victim.run(|_, _| {
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", format!("50001 {}", 50_000 + PORTS))
            .expect("the range of ports can be set: in a container /proc/sys must be writable");
    });
    scene
}

#[test]
fn responses_leave_no_port_behind_whatever_the_asker_does() {
    isolated!();
    let scene = with_few_ports();
    for asker in [Asker::Closes, Asker::Keeps] {
        let growth = asks(&scene, asker, RESPONSES);
        growth.at_least("responses", |s| s.responses_sent, RESPONSES);
        let left = left_behind(&scene);
        assert!(left < 50, "{asker:?}: {left} ports are left behind");
        has_ports(&scene);
    }
    scene.still_serves();
    assert_accounts(&scene.victim.engine);
}

#[test]
fn an_asker_that_waits_for_the_end_gets_it_soon_and_its_response_before() {
    isolated!();
    let scene = with_few_ports();
    let growth = asks(&scene, Asker::Waits, 200);
    // Each has read its response, or `hear` would have failed the test.
    growth.at_least("reset", |s| s.connections_reset, 200);
    assert!(left_behind(&scene) < 50);
    has_ports(&scene);
    assert_accounts(&scene.victim.engine);
}

/// The same for a value and for a refusal because of a limit, which come from the port of the objective.
#[test]
fn values_and_refusals_leave_no_port_behind() {
    isolated!();
    let scene = Scene::new(Config::new().sessions_per_peer(1));
    let (value, negotiation) = (scene.port_of(&syn_of(&scene.victim)), scene.port_of(&neg_of(&scene.victim)));
    let name = neg_of(&scene.victim);
    let mut open = call(&scene, negotiation);
    open.write(&cbor!([3, 0, [(name.as_str()), 3, 6, 1]]).encode());
    let _ = open.hear();
    open.write(&cbor!([7, 0, 20000]).encode());
    let growth = scene.counted(|| {
        for session in 1..=100_u32 {
            let mut asks = call(&scene, value);
            asks.write(&cbor!([4, session, [(syn_of(&scene.victim)), 5, 6, ()]]).encode());
            let _ = asks.hear();
            let mut refused = call(&scene, negotiation);
            refused.write(&cbor!([3, session, [(name.as_str()), 3, 6, 1]]).encode());
            let _ = refused.hear();
        }
    });
    growth.is("values", |s| s.synch_sent, 100);
    growth.is("refusals", |s| s.refusals_sent, 100);
    assert!(left_behind(&scene) < 20, "{} ports are left behind", left_behind(&scene));
    // It goes away, and its session with it.
    drop(open);
    eventually(Duration::from_secs(30), "the session is over", || scene.victim.engine.open_sessions() == 0);
    assert_accounts(&scene.victim.engine);
}
