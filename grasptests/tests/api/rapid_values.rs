//! Values that come with the response to a discovery (RFC 8990 §2.8.5): whose they are, and how long they hold.

use std::thread::JoinHandle;
use std::time::Duration;

use grasp::trace::{Direction, Event};
use grasp::wire::{Body, Flags, Limits, WireObjective, decode};
use grasp::{AsaLocator, Config, Objective, Result, Value, monotonic_ms};
use grasptests::isolated;
use grasptests::lab::{Lab, Node, eventually};
use grasptests::nodes::{Host, RawPeer, RawResponder, SOON, flagged, joined, linked, synchronizable};

/// A host, and on the other node a responder made by hand with a server for EX2.
struct Scene {
    host: Host,
    responder: RawResponder,
    far: Node,
    _lab: Lab,
}

impl Scene {
    fn new() -> Self {
        let (lab, _, a, b) = linked();
        // What is cached and has expired is not cleared away meanwhile.
        let host = Host::start(&a, Config::new().watch_interval(Duration::from_secs(3600)));
        Self { host, responder: RawResponder::on(&b), far: b, _lab: lab }
    }

    /// Asks for EX2; the discovery is answered with a locator, valid for so many milliseconds, and an objective.
    fn ask(&self, ttl: u32, locator: &AsaLocator, rapid: Option<&WireObjective>) -> Result<Objective> {
        let asker = self
            .host
            .thread(|engine, asa| engine.synchronize(asa, &synchronizable("EX2", ()), None, Some(20_000)));
        self.responder.answer(asker, "EX2", (ttl, std::slice::from_ref(locator)), rapid)
    }

    /// A port, and a thread that answers one request there with a value.
    fn serve(&self, value: i64) -> (AsaLocator, JoinHandle<()>) {
        let peer = RawPeer::on(&self.far);
        let locator = AsaLocator::new(self.far.ula().unwrap(), None).with_port(peer.port());
        let server = self.far.spawn("server", move || {
            let mut stream = peer.accept();
            let Body::RequestSynchronize(asked) = stream.hear().body else { panic!("another message") };
            stream.say(Body::Synch(flagged(asked.session, "EX2", Flags::F_DISC | Flags::F_SYNCH, 6, value)));
            stream.expect_end();
        });
        (locator, server)
    }
}

fn rapid(name: &str, value: i64) -> WireObjective {
    flagged(0, name, Flags::F_DISC | Flags::F_SYNCH, 6, value).objective
}

#[test]
fn the_value_of_another_objective_is_not_taken_for_the_one_that_was_asked_for() {
    isolated!();
    let scene = Scene::new();
    let trace = scene.host.engine.trace();
    let (locator, server) = scene.serve(2);
    let got = scene.ask(60_000, &locator, Some(&rapid("EX9", 13)));
    let asked = trace.receiver().try_iter().filter_map(|told| match &told.event {
        Event::Message(message) if message.direction == Direction::Out => {
            match decode(&message.bytes, &Limits::default()).ok()?.body {
                Body::Discovery { objective, .. } => Some(objective.loop_count),
                _ => None,
            }
        }
        _ => None,
    });
    assert_eq!(asked.collect::<Vec<_>>(), [6], "not first those on the link alone, for a value");
    assert_eq!(got.expect("a value").value, Value::from(2));
    joined(server);
    scene.host.expect_quiet();
}

#[test]
fn a_value_holds_as_long_as_the_response_says() {
    isolated!();
    const TTL: u32 = 500;
    let scene = Scene::new();
    let (locator, server) = scene.serve(2);
    let got = scene.ask(TTL, &locator, Some(&rapid("EX2", 1)));
    assert_eq!(got.expect("a value").value, Value::from(1), "without a request");
    let end = monotonic_ms() + u64::from(TTL);
    eventually(SOON, "it expires", || monotonic_ms() > end);
    let got = scene.ask(60_000, &locator, None);
    assert_eq!(got.expect("a value").value, Value::from(2));
    joined(server);
    scene.host.expect_quiet();
}
