//! Every blocking call, blocked, and then a fault: when it returns, and with what.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use grasp::wire::{Body, Message};
use grasp::{AsaLocator, AsaNonce, Config, Discover, Engine, Error, Objective};
use grasptests::isolated;
use grasptests::lab::{Lab, Link, Node, eventually};
use grasptests::nodes::{
    Host, RawPeer, RawStream, SOON, failure, joined, linked, negotiable, offer, step, synchronizable,
};
use parking_lot::Mutex;

/// The timeout of every call, in milliseconds: long enough for the fault to come while it waits.
const TIMEOUT: u32 = 4000;
/// What the peer asks for with M_WAIT, in milliseconds: longer than the timeout.
const LONGER: u32 = 6000;
/// How much later than its deadline a call may return on a busy machine.
const MARGIN: Duration = Duration::from_secs(8);

/// The calls that wait for a peer, or for nobody in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocked {
    ReqNegotiate,
    NegotiateStep,
    /// In a request whose peer has asked for time.
    Waited,
    Synchronize,
    Grecv,
    Discover,
    /// `req_negotiate` without a peer.
    Search,
    /// `synchronize` without a locator.
    SearchValue,
    /// No deadline of its own.
    Listen,
}

use Blocked::{
    Discover as Discovering, Grecv, Listen, NegotiateStep, ReqNegotiate, Search, SearchValue, Synchronize,
    Waited,
};

/// All calls.
const ALL: [Blocked; 9] =
    [ReqNegotiate, NegotiateStep, Waited, Synchronize, Grecv, Discovering, Search, SearchValue, Listen];

impl Blocked {
    /// When it returns if nobody says anything, in milliseconds; none if never.
    fn deadline(self) -> Option<u32> {
        match self {
            Waited => Some(LONGER),
            Listen => None,
            _ => Some(TIMEOUT),
        }
    }

    /// What it returns then; `None` is success with nothing found.
    fn timed_out(self) -> Option<Error> {
        match self {
            ReqNegotiate | NegotiateStep | Waited => Some(Error::NoNegReply),
            Synchronize => Some(Error::NoSynchReply),
            Grecv => Some(Error::NoReply),
            Discovering | Listen => None,
            Search => Some(Error::NoDiscReply),
            SearchValue => Some(Error::NotFloodDisc),
        }
    }

    fn call(self, engine: &Engine, asa: AsaNonce, peer: &AsaLocator) -> Option<Error> {
        let (neg, synch, limit) = (negotiable("EX1", 1), synchronizable("EX2", 1), Some(TIMEOUT));
        let nowhere = |objective: Objective| Objective { name: "EX9".to_owned(), ..objective };
        match self {
            ReqNegotiate | Waited => Some(failure(engine.req_negotiate(asa, &neg, Some(peer), limit))),
            NegotiateStep => {
                let (session, held) = offer(engine.req_negotiate(asa, &neg, Some(peer), Some(30_000)));
                Some(failure(engine.negotiate_step(asa, session, &held, limit)))
            }
            Synchronize => Some(failure(engine.synchronize(asa, &synch, Some(peer), limit))),
            Grecv => {
                let opened = engine.req_negotiate_noloop(asa, &neg, Some(peer), None);
                Some(failure(engine.grecv(asa, opened.expect("a session"), TIMEOUT)))
            }
            Discovering => {
                match engine.discover(asa, &nowhere(neg), limit, Discover::default()) {
                    Ok(found) => assert_eq!(found, []),
                    Err(error) => return Some(error),
                }
                None
            }
            Search => Some(failure(engine.req_negotiate(asa, &nowhere(neg), None, limit))),
            SearchValue => Some(failure(engine.synchronize(asa, &nowhere(synch), None, limit))),
            Listen => Some(failure(engine.listen_negotiate(asa, &neg))),
        }
    }

    /// What the peer does before it falls silent; whether there is a peer at all.
    fn play(self, stream: &mut RawStream, request: &Message) {
        let session = request.session().expect("a session");
        match self {
            NegotiateStep => {
                stream.say(Body::Negotiate(step(session, "EX1", 5, 2)));
                assert!(matches!(stream.hear().body, Body::Negotiate(_)));
            }
            Waited => stream.say(Body::Wait { session, time: LONGER }),
            _ => {}
        }
    }

    fn has_peer(self) -> bool {
        matches!(self, ReqNegotiate | NegotiateStep | Waited | Synchronize | Grecv)
    }
}

/// What a call returned, and how long it took.
type Ended = (Option<Error>, Duration);

/// A node with an engine in which every call is blocked, and one with silent peers.
struct Scene {
    _lab: Lab,
    link: Link,
    near: Node,
    host: Host,
    calls: Vec<(Blocked, JoinHandle<Ended>)>,
    /// The peers' ends of the connections.
    streams: Arc<Mutex<Vec<RawStream>>>,
}

impl Scene {
    fn new() -> Self {
        let (lab, link, near, far) = linked();
        let host = Host::start(&near, Config::new());
        for objective in [negotiable("EX1", 1), synchronizable("EX2", 1), negotiable("EX9", 1)] {
            host.register(&objective);
        }
        let streams = Arc::default();
        let calls = ALL.map(|call| (call, block(&host, &far, call, &streams)));
        let peers = ALL.iter().filter(|call| call.has_peer()).count();
        eventually(SOON, "every peer has played", || streams.lock().len() == peers);
        eventually(SOON, "somebody listens", || host.listeners("EX1") == 1);
        eventually(SOON, "all three search", || host.engine.stats().multicast_sent >= 3);
        Self { _lab: lab, link, near, host, calls: calls.into(), streams }
    }

    /// What every call returns after the fault. Those that `wakes` names must return at once, the others when their
    /// time is over.
    fn end(&mut self, wakes: impl Fn(Blocked) -> Option<&'static [Error]>) {
        let fault = Instant::now();
        for (call, thread) in std::mem::take(&mut self.calls) {
            let expected = wakes(call);
            if expected.is_none() && call.deadline().is_none() {
                assert!(!thread.is_finished(), "{call:?} has no reason to return");
                let stopped = self.host.run(|engine, asa| engine.stop_negotiate(asa, &negotiable("EX1", 1)));
                stopped.expect("it is stopped");
                assert_eq!(joined(thread).0, Some(Error::NoSession), "{call:?}");
                continue;
            }
            let (error, took) = joined(thread);
            println!("{call:?}: {error:?} after {took:?}, {:?} after the fault", fault.elapsed());
            match expected {
                Some(permitted) => {
                    assert!(
                        error.as_ref().is_some_and(|error| permitted.contains(error)),
                        "{call:?}: {error:?}"
                    );
                    assert!(took < Duration::from_millis(TIMEOUT.into()), "{call:?} took {took:?}");
                }
                None => {
                    let due = Duration::from_millis(call.deadline().unwrap_or_default().into());
                    assert_eq!(error, call.timed_out(), "{call:?}");
                    assert!(
                        took >= due - Duration::from_millis(20) && took < due + MARGIN,
                        "{call:?}: {took:?}"
                    );
                }
            }
        }
        self.host.expect_quiet();
    }
}

/// Blocks a call on a thread of its own; its peer's end goes to `streams` when the peer has played. The time is that
/// of the last call only: it is taken when the peer is silent.
fn block(host: &Host, far: &Node, call: Blocked, streams: &Arc<Mutex<Vec<RawStream>>>) -> JoinHandle<Ended> {
    let raw = RawPeer::on(far);
    let address = far.ula().expect("an address");
    let locator = AsaLocator::new(address, None).with_port(raw.port());
    if call.has_peer() {
        let streams = Arc::clone(streams);
        far.spawn("peer", move || {
            let mut stream = raw.accept();
            let request = stream.hear();
            call.play(&mut stream, &request);
            streams.lock().push(stream);
        });
    }
    host.thread(move |engine, asa| {
        let began = Instant::now();
        let error = call.call(engine, asa, &locator);
        (error, began.elapsed())
    })
}

#[test]
fn a_link_that_is_cut_lets_every_call_end_in_its_time() {
    isolated!();
    let mut scene = Scene::new();
    scene.link.cut().unwrap();
    scene.end(|_| None);
}

#[test]
fn a_cable_that_is_pulled_lets_every_call_end_in_its_time() {
    isolated!();
    let mut scene = Scene::new();
    scene.link.unplug().unwrap();
    scene.end(|_| None);
}

#[test]
fn an_interface_that_goes_down_lets_every_call_end_in_its_time() {
    isolated!();
    let mut scene = Scene::new();
    scene.near.set_up("eth0", false).unwrap();
    scene.end(|_| None);
    scene.near.set_up("eth0", true).unwrap();
    eventually(SOON, "the interface is used again", || !scene.host.engine.links().is_empty());
}

#[test]
fn an_interface_that_vanishes_lets_every_call_end_in_its_time() {
    isolated!();
    let mut scene = Scene::new();
    scene.link.detach(&scene.near).unwrap();
    scene.end(|_| None);
}

#[test]
fn peers_that_close_end_the_calls_that_wait_for_them() {
    isolated!();
    let mut scene = Scene::new();
    scene.streams.lock().clear();
    scene.end(|call| match call {
        Synchronize => Some(&[Error::NoListener]),
        call if call.has_peer() => Some(&[Error::NoPeer]),
        _ => None,
    });
}

#[test]
fn peers_that_reset_end_the_calls_that_wait_for_them() {
    isolated!();
    let mut scene = Scene::new();
    scene.streams.lock().drain(..).for_each(RawStream::reset);
    scene.end(|call| match call {
        Synchronize => Some(&[Error::NoSynchReply]),
        Grecv => Some(&[Error::NoReply]),
        call if call.has_peer() => Some(&[Error::NoNegReply]),
        _ => None,
    });
}

#[test]
fn the_end_of_the_asa_ends_its_sessions_and_its_listener() {
    isolated!();
    let mut scene = Scene::new();
    let name = scene.near.name().to_owned();
    scene.host.run(|engine, asa| engine.deregister_asa(asa, &name)).unwrap();
    scene.end(|call| match call {
        Synchronize => Some(&[Error::NoAsa]),
        Discovering | Search | SearchValue => None,
        _ => Some(&[Error::NoSession]),
    });
}

#[test]
fn shutdown_ends_everything_at_once() {
    isolated!();
    let mut scene = Scene::new();
    scene.host.engine.shutdown();
    scene.end(|_| Some(&[Error::Unspec]));
}

#[test]
fn a_link_that_heals_in_time_lets_the_call_succeed() {
    isolated!();
    let (_lab, link, a, b) = linked();
    let (near, far) = (Host::start(&a, Config::new()), Host::start(&b, Config::new()));
    near.register(&negotiable("EX1", 0));
    far.register(&negotiable("EX1", 0));
    let listener = far.listen(&negotiable("EX1", 0));
    let peer = far.locator("EX1");
    let asked = near.thread(move |engine, asa| {
        engine.req_negotiate(asa, &negotiable("EX1", 7), Some(&peer), Some(60_000))
    });
    let (session, _) = joined(listener).unwrap();
    link.cut().unwrap();
    // It is on its way when this returns, and lost.
    far.run(|engine, asa| engine.end_negotiate(asa, session, true, None)).unwrap();
    link.heal().unwrap();
    joined(asked).expect("the answer is sent again");
}

#[test]
fn a_link_that_is_cut_while_a_relay_asks_behind_it_leaves_no_relay_open() {
    isolated!();
    let lab = Lab::new().unwrap();
    let network = lab.build(grasptests::lab::Topology::Line(3)).unwrap();
    let hosts: Vec<_> = network.nodes.iter().map(|node| Host::start(node, Config::new())).collect();
    let threads = hosts[1].engine.thread_count();
    network.links[1].cut().unwrap();
    let wanted = Objective { loop_count: 10, ..negotiable("EX1", 0) };
    let asked =
        hosts[0].thread(move |engine, asa| engine.discover(asa, &wanted, Some(2000), Discover::default()));
    eventually(SOON, "the relay asks", || hosts[1].engine.stats().discoveries_relayed > 0);
    network.links[0].cut().unwrap();
    assert_eq!(joined(asked).unwrap(), []);
    super::quiet(&hosts[1], threads);
    network.links.iter().for_each(|link| link.heal().unwrap());
    hosts[2].register_with(&negotiable("EX1", 0), grasptests::nodes::discoverable());
    eventually(SOON, "it is found through the relay", || {
        let options = Discover { flush: true, ..grasptests::nodes::first_answer() };
        let found =
            hosts[0].run(|engine, asa| engine.discover(asa, &negotiable("EX1", 0), Some(2000), options));
        !found.unwrap().is_empty()
    });
}
