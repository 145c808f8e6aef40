//! A panic ends what was being done and nothing else, in every thread of the engine. Nothing that comes from the network
//! makes the engine panic, so that its substrate has to do it here: code of the user's, which the engine runs.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use grasp::acp::{AcpStatus, Protection, SealedReader, Substrate, Whole};
use grasp::wire::{Body, DecodeError, Flags, ItemScanner, Limits, Progress};
use grasp::{Acp, AsaLocator, Config, Discover, Objective, Stats, Value};
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, Node, RawUdp, eventually, process};
use grasptests::nodes::{
    Host, RawAsker, RawStream, SOON, discoverable, flagged, negotiable, negotiate, step, synchronizable,
};
use grasptests::{cbor, isolated};

/// What must not be opened, sealed and read.
const OPENED: &str = "panic when opened";
const SEALED: &str = "panic when sealed";
const READ: &str = "panic when read";

fn avoid(marker: &str, bytes: &[u8]) {
    let found = bytes.windows(marker.len()).any(|window| window == marker.as_bytes());
    assert!(!found, "a test of containment: {marker}");
}

/// Secures nothing, and panics at the markers, and when it is asked for its status while it is told to.
#[derive(Debug, Default)]
struct Faulty {
    status_panics: AtomicBool,
}

impl Substrate for Faulty {
    fn status(&self) -> AcpStatus {
        assert!(!self.status_panics.load(Ordering::SeqCst), "a test of containment: status");
        AcpStatus::Secure
    }

    fn protection(&self) -> Option<Arc<dyn Protection>> {
        Some(Arc::new(Clear))
    }
}

#[derive(Debug)]
struct Clear;

impl Protection for Clear {
    fn seal(&self, message: &[u8]) -> Vec<u8> {
        avoid(SEALED, message);
        message.to_vec()
    }

    fn sealed_length(&self, length: usize) -> usize {
        length
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        avoid(OPENED, sealed);
        Some(sealed.to_vec())
    }

    fn reader(&self, limits: Limits) -> Box<dyn SealedReader> {
        Box::new(Reader { scanner: ItemScanner::new(limits), message: Vec::new() })
    }
}

#[derive(Debug)]
struct Reader {
    scanner: ItemScanner,
    message: Vec<u8>,
}

impl SealedReader for Reader {
    fn feed(&mut self, piece: &[u8]) -> Result<Option<Whole>, DecodeError> {
        self.message.extend_from_slice(piece);
        avoid(READ, &self.message);
        let Progress::Complete(end) = self.scanner.feed(piece)? else { return Ok(None) };
        let rest = self.message.split_off(end);
        Ok(Some(Whole { message: std::mem::take(&mut self.message), rest }))
    }
}

/// A host with such a substrate, between a neighbour made by hand and another host.
struct Scene {
    host: Host,
    other: Host,
    neighbour: Node,
    substrate: Arc<Faulty>,
    /// Where the other host reaches the first.
    near_other: Ipv6Addr,
    _lab: Lab,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new().expect("a lab");
        let [a, b, c]: [Node; 3] = ["a", "b", "c"].map(|name| lab.node(name).expect("a node"));
        lab.link(&a, &b).expect("a link");
        let near_other = lab.link(&a, &c).expect("a link").ula(&a).expect("an address");
        let substrate = Arc::<Faulty>::default();
        let acp = Acp::Custom(Arc::clone(&substrate) as Arc<dyn Substrate>);
        let config = Config::new().acp(acp).unicast_size(4096).watch_interval(Duration::from_millis(50));
        let host = Host::start(&a, config);
        let other = Host::start(&c, Config::new());
        other.register(&negotiable("EX3", 0));
        host.register_with(&negotiable("EX3", 0), discoverable());
        host.register(&synchronizable("EX2", SEALED));
        host.run(|engine, asa| engine.listen_synchronize(asa, &synchronizable("EX2", 1)))
            .expect("it listens");
        Self { host, other, neighbour: b, substrate, near_other, _lab: lab }
    }

    fn count(&self, counter: fn(&Stats) -> u64) -> u64 {
        counter(&self.host.engine.stats())
    }

    /// Does something that causes so many panics, and then everything that an engine does.
    #[track_caller]
    fn survives(&self, what: &str, panics: u64, body: impl FnOnce()) {
        let (before, descriptors) = (self.count(|s| s.panics), process::descriptors());
        body();
        eventually(SOON, what, || self.count(|s| s.panics) == before + panics);
        let asker = RawAsker::on(&self.neighbour);
        let answer = asker.answer_of(&self.host, 1_000_000 + u32::try_from(before).expect("a number"), "EX3");
        assert!(answer.is_some(), "{what}: a discovery is answered");
        drop(asker);
        negotiate(&self.other, &self.host, Some(&self.locator("EX3")));
        self.synchronizes(what);
        let received = self.count(|s| s.floods_relayed);
        self.multicast(&flood(7_000_000 + u32::try_from(before).expect("a number"), "an ordinary one"));
        eventually(SOON, what, || self.count(|s| s.floods_relayed) > received);
        eventually(SOON, &format!("{what}: nothing is left open"), || {
            self.host.engine.open_sessions() == 0 && process::descriptors() <= descriptors
        });
        assert_eq!(self.count(|s| s.panics), before + panics, "{what}");
    }

    #[track_caller]
    fn synchronizes(&self, what: &str) {
        let at = self.locator("EX2");
        let wanted = synchronizable("EX2", ());
        let value = self.other.run(|engine, asa| engine.synchronize(asa, &wanted, Some(&at), Some(5000)));
        assert_eq!(value.map(|objective| objective.value), Ok(Value::from(1)), "{what}");
    }

    fn locator(&self, name: &str) -> AsaLocator {
        AsaLocator::new(self.near_other, None).with_port(self.host.port(name))
    }

    fn socket(&self) -> RawUdp {
        let address = self.neighbour.link_local("eth0").expect("an address");
        RawUdp::open(&self.neighbour, "eth0", address, 0).expect("a socket")
    }

    fn multicast(&self, message: &Value) {
        self.socket().send(&message.encode(), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).expect("it is sent");
    }

    fn client(&self, name: &str) -> RawStream {
        let address = self.host.node.ula().expect("an address");
        RawStream::connect(&self.neighbour, address, self.host.port(name))
    }
}

fn flood(session: u32, name: &str) -> Value {
    let initiator = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1).octets().to_vec();
    cbor!([9, session, initiator, 60_000, [[name, 5, 6, 1], []]])
}

fn discovery(session: u32, name: &str) -> Value {
    let initiator = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1).octets().to_vec();
    cbor!([1, session, initiator, [name, 1, 6, ()]])
}

#[test]
fn a_panic_about_a_datagram_ends_neither_receiving_nor_deciding_nor_relaying() {
    isolated!();
    let scene = Scene::new();
    scene.survives("_mclisten", 3, || {
        (0..3).for_each(|session| scene.multicast(&discovery(session, OPENED)));
    });
    scene.survives("_uclisten", 1, || {
        let (bytes, to) =
            (discovery(4, OPENED).encode(), scene.host.node.link_local("eth0").expect("an address"));
        scene.socket().send(&bytes, to, GRASP_LISTEN_PORT).expect("it is sent");
    });
    scene.survives("_mhandler, which relays a flood", 3, || {
        (5..8).for_each(|session| scene.multicast(&flood(session, SEALED)));
    });
    scene.survives("_disc_relay", 3, || {
        (8..11).for_each(|session| scene.multicast(&discovery(session, SEALED)));
    });
}

#[test]
fn a_panic_about_a_connection_ends_neither_accepting_nor_serving() {
    isolated!();
    let scene = Scene::new();
    let request =
        |name| grasp::wire::encode(&grasp::wire::Message::new(Body::RequestNegotiate(step(1, name, 6, 1))));
    scene.survives("_tcp_listen", 2, || {
        for _ in 0..2 {
            let mut client = scene.client("EX3");
            client.write(&request(READ));
            client.expect_end();
        }
    });
    scene.survives("_reader", 2, || {
        for _ in 0..2 {
            let mut client = scene.client("EX3");
            let taken = scene.count(|s| s.bytes_received);
            let bytes = request(READ);
            let (first, rest) = bytes.split_at(4);
            client.write(first);
            eventually(SOON, "a reader has the first bytes", || scene.count(|s| s.bytes_received) > taken);
            // The accepting thread has given it up by then, or the panic is that thread's.
            client.write(rest);
            client.expect_end();
        }
    });
    scene.survives("_synch_listen", 1, || {
        // A short one is sent by the thread that has received the request.
        let value = synchronizable("EX2", SEALED.repeat(200));
        scene.host.run(|engine, asa| engine.listen_synchronize(asa, &value)).expect("another value");
        let mut client = scene.client("EX2");
        client.say(Body::RequestSynchronize(flagged(2, "EX2", Flags::F_DISC | Flags::F_SYNCH, 6, ())));
        client.expect_end();
        let value = synchronizable("EX2", 1);
        scene.host.run(|engine, asa| engine.listen_synchronize(asa, &value)).expect("the value of before");
    });
}

#[test]
fn a_panic_of_the_watcher_does_not_end_watching() {
    isolated!();
    let scene = Scene::new();
    scene.substrate.status_panics.store(true, Ordering::SeqCst);
    eventually(SOON, "_watcher panics", || scene.count(|s| s.panics) > 0);
    scene.substrate.status_panics.store(false, Ordering::SeqCst);
    let address = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);
    let old = scene.host.engine.session_locator();
    scene.host.node.add_address("eth0", address, 64).expect("another address");
    scene.host.node.remove_address("eth0", old, 64).expect("the first goes");
    eventually(SOON, "the engine follows its addresses", || scene.host.engine.session_locator() != old);
    let nobody = Objective::new("nobody has this");
    let found = scene.host.run(|engine, asa| engine.discover(asa, &nobody, None, Discover::default()));
    assert_eq!(found, Ok(vec![]));
}
