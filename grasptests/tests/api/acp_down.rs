//! A substrate that goes down while something is waited for: what is received then is dropped (RFC 8990 §2.5.1).

use std::net::{IpAddr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use grasp::acp::{AcpStatus, Substrate};
use grasp::wire::{Body, Outcome, Response, WireLocator, WireOption};
use grasp::{Acp, AsaLocator, Config, Discover, Engine, Error, Value};
use grasptests::isolated;
use grasptests::lab::{Lab, RawUdp, eventually};
use grasptests::nodes::{
    Host, RawStream, SOON, failure, heard, joined, linked, negotiable, offer, step, synchronizable,
};

#[derive(Debug)]
struct Switch(AtomicBool);

impl Substrate for Switch {
    fn status(&self) -> AcpStatus {
        if self.0.load(Ordering::Relaxed) { AcpStatus::Secure } else { AcpStatus::Down }
    }
}

/// A host whose substrate can go down, and a neighbour made by hand.
struct Scene {
    _lab: Lab,
    host: Host,
    neighbour: RawUdp,
    node: grasptests::lab::Node,
    down: Down,
}

/// Takes the substrate of a host down.
#[derive(Clone)]
struct Down(Arc<Switch>, Engine);

impl Down {
    /// Returns when the engine knows.
    fn now(&self) {
        self.0.0.store(false, Ordering::Relaxed);
        let Self(_, engine) = self;
        // Whoever asked by a discovery would send one, which the engine might hear itself after it went down, and drop.
        eventually(SOON, "the engine knows", || !engine.state().secure);
    }
}

impl Scene {
    fn new() -> Self {
        let (lab, _, a, node) = linked();
        let switch = Arc::new(Switch(AtomicBool::new(true)));
        let config = Config::new().acp(Acp::Custom(Arc::clone(&switch) as Arc<dyn Substrate>));
        let host = Host::start(&a, config.watch_interval(Duration::from_millis(50)));
        host.register(&negotiable("EX3", 0));
        host.register(&synchronizable("EX1", 0));
        let neighbour = RawUdp::neighbors(&node, "eth0").expect("a neighbour");
        let down = Down(switch, host.engine.clone());
        Self { _lab: lab, host, neighbour, node, down }
    }

    /// How much was dropped for want of security.
    fn dropped(&self) -> u64 {
        self.host.engine.stats().dropped_insecure
    }
}

#[test]
fn an_answer_to_a_discovery_is_dropped_while_the_substrate_is_down() {
    isolated!();
    let scene = Scene::new();
    let asking = scene
        .host
        .thread(|engine, asa| engine.discover(asa, &negotiable("EX3", 0), Some(8000), Discover::default()));
    let (message, datagram) = heard(&scene.neighbour, |body| matches!(body, Body::Discovery { .. }));
    let Body::Discovery { session, initiator, .. } = message.body else { panic!("no discovery") };
    scene.down.now();
    let index = scene.node.interface_index("eth0").expect("an interface");
    let asker = SocketAddrV6::new(*datagram.source.ip(), datagram.source.port(), 0, index);
    let locator = AsaLocator::new("fd00:1::2".parse::<IpAddr>().expect("an address"), None).with_port(9);
    let locator = WireLocator::from_locator(&locator).expect("a locator");
    let options = vec![WireOption::Locator(locator)];
    let answer = Response { session, initiator, ttl: 60_000, options, objective: None };
    RawStream::reach(&scene.node, asker).say(Body::Response(answer));
    eventually(SOON, "it is dropped", || scene.dropped() == 1);
    // It asks no more either.
    assert_eq!(failure(joined(asking)), Error::NoSecurity);
    assert_eq!(scene.host.engine.stats().responses_received, 0);
    assert!(!scene.host.engine.dump(false).contains("fd00:1::2 "), "nothing is cached");
}

#[test]
fn a_reply_in_a_session_is_dropped_while_the_substrate_is_down() {
    isolated!();
    let scene = Scene::new();
    let down = scene.down.clone();
    let result = scene.host.against(
        move |mut stream, request| {
            let Body::RequestNegotiate(asked) = request.body else { panic!("no request") };
            down.now();
            stream.say(Body::End { session: asked.session, outcome: Outcome::Accept });
        },
        |engine, asa, peer| engine.req_negotiate(asa, &negotiable("EX3", 1), Some(peer), Some(20_000)),
    );
    assert_eq!(failure(result), Error::NoSecurity);
    assert_eq!((scene.dropped(), scene.host.engine.stats().replies_received), (1, 0));
    scene.host.expect_quiet();
}

#[test]
fn a_value_is_dropped_while_the_substrate_is_down() {
    isolated!();
    let scene = Scene::new();
    let down = scene.down.clone();
    let result = scene.host.against(
        move |mut stream, request| {
            let Body::RequestSynchronize(asked) = request.body else { panic!("no request") };
            down.now();
            stream.say(Body::Synch(step(asked.session, "EX1", 5, 7)));
        },
        |engine, asa, peer| engine.synchronize(asa, &synchronizable("EX1", 0), Some(peer), Some(20_000)),
    );
    assert_eq!(failure(result), Error::NoSecurity);
    assert_eq!((scene.dropped(), scene.host.engine.stats().replies_received), (1, 0));
    scene.host.expect_quiet();
}

#[test]
fn an_item_in_a_session_is_dropped_while_the_substrate_is_down() {
    isolated!();
    // Whether grecv waits already when the substrate goes down cannot be seen from outside: if not, it refuses without looking.
    let is_dropped = (0..50).any(|_| {
        let scene = Scene::new();
        let result = ask_while_it_goes_down(&scene);
        assert_eq!(failure(result), Error::NoSecurity);
        assert_eq!(scene.host.engine.stats().items_received, 0);
        scene.dropped() == 1
    });
    assert!(is_dropped, "grecv never waited in time");
}

/// Waits for an item of a peer that sends it after the substrate has gone down.
fn ask_while_it_goes_down(scene: &Scene) -> grasp::Result<Value> {
    let (down, engine) = (scene.down.clone(), scene.host.engine.clone());
    let is_over = Arc::new(AtomicBool::new(false));
    let is_over_there = Arc::clone(&is_over);
    scene.host.against(
        move |mut stream, request| {
            let Body::RequestNegotiate(asked) = request.body else { panic!("no request") };
            stream.say(Body::Negotiate(step(asked.session, "EX3", 5, 2)));
            assert_eq!(stream.read(), Some(vec![0x01]));
            down.now();
            stream.write(&[0x02]);
            eventually(SOON, "the call ends", || is_over_there.load(Ordering::Relaxed));
            if engine.stats().dropped_insecure > 0 {
                stream.expect_end();
            }
        },
        |engine, asa, peer| {
            let (session, _) =
                offer(engine.req_negotiate(asa, &negotiable("EX3", 1), Some(peer), Some(20_000)));
            engine.gsend(asa, session, &Value::from(1)).expect("it is sent");
            let result = engine.grecv(asa, session, 20_000);
            is_over.store(true, Ordering::Relaxed);
            if scene.dropped() > 0 {
                scene.host.expect_quiet();
            } else {
                assert_eq!(
                    engine.open_sessions(),
                    1,
                    "it has not looked: what it reads it drops, and ends the session"
                );
            }
            result
        },
    )
}
