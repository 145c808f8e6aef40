//! More floods than a network can carry: what is lost is counted where it is lost, and everything adds up.

use std::sync::Arc;
use std::time::Duration;

use grasp::acp::{AcpStatus, Protection, SealedReader, Substrate};
use grasp::{Acp, Config, Objective, TaggedObjective, Value};
use grasptests::accounts::assert_accounts;
use grasptests::isolated;
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, LabError, RawUdp, Topology, eventually};
use grasptests::nodes::{Host, SOON, linked, synchronizable};
use parking_lot::Mutex;

/// How often an engine asks the system for what it has dropped.
const LOOK: Duration = Duration::from_millis(100);

/// Datagrams are opened only while nobody holds this.
#[derive(Debug, Default)]
struct Gate(Mutex<()>);

#[derive(Debug)]
struct Gated(Arc<Gate>);

impl Substrate for Gated {
    fn status(&self) -> AcpStatus {
        AcpStatus::Secure
    }

    fn protection(&self) -> Option<Arc<dyn Protection>> {
        Some(Arc::clone(&self.0) as Arc<dyn Protection>)
    }
}

impl Protection for Gate {
    fn seal(&self, message: &[u8]) -> Vec<u8> {
        message.to_vec()
    }

    fn sealed_length(&self, length: usize) -> usize {
        length
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let _passing = self.0.lock();
        Some(sealed.to_vec())
    }

    fn reader(&self, _: grasp::wire::Limits) -> Box<dyn SealedReader> {
        panic!("nobody connects")
    }
}

#[test]
fn datagrams_that_the_system_drops_while_an_engine_is_busy_are_counted() -> Result<(), LabError> {
    isolated!();
    const SENT: u64 = 3000;
    let (_lab, _, a, b) = linked();
    let gate = Arc::new(Gate::default());
    let substrate: Arc<dyn Substrate> = Arc::new(Gated(Arc::clone(&gate)));
    let busy = Host::start(&b, Config::new().acp(Acp::Custom(substrate)).watch_interval(LOOK));
    let sender = RawUdp::open(&a, "eth0", a.link_local("eth0")?, 0)?;
    let held = gate.0.lock();
    for _ in 0..SENT {
        sender.send(&[0; 1200], ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).expect("sent");
    }
    // The buffer of a socket does not hold three megabytes; that is known before the engine receives the rest.
    eventually(SOON, "drops are counted", || busy.engine.stats().receive_overflows > 0);
    drop(held);
    eventually(SOON, "each datagram was received or dropped", || {
        let stats = busy.engine.stats();
        stats.multicast_received + stats.receive_overflows == SENT
    });
    assert_accounts(&busy.engine);
    busy.engine.shutdown();
    Ok(())
}

#[test]
fn what_a_storm_of_floods_loses_in_a_network_is_counted() -> Result<(), LabError> {
    isolated!();
    const SIDE: u16 = 3;
    const FLOODS: u64 = 2000;
    let lab = Lab::new()?;
    let network = lab.build(Topology::Grid(SIDE, SIDE))?;
    let start = |node| Host::start(node, Config::new().watch_interval(LOOK));
    let hosts: Vec<_> = network.nodes.iter().map(start).collect();
    let [corner, others @ ..] = hosts.as_slice() else { panic!("no nodes") };
    // Everybody hears the first, so everybody is there.
    let flood = |number: u64| {
        let name = format!("EX{}", number % 50);
        let value = Value::Bytes(vec![0; 1000]);
        let flooded = Objective { loop_count: u8::MAX, ..synchronizable(&name, value) };
        corner.engine.flood(corner.asa, 60_000, &[TaggedObjective::new(flooded, None)])
    };
    (0..50).for_each(|number| corner.register(&synchronizable(&format!("EX{number}"), 0)));
    flood(0).expect("flooded");
    for other in others {
        eventually(SOON, "the first one is heard", || other.engine.stats().flood_entries_cached == 1);
    }
    let dropped_before = lab.frames_dropped()?;
    for number in 1..FLOODS {
        flood(number).expect("flooded");
    }
    let sum =
        |count: fn(&grasp::Stats) -> u64| hosts.iter().map(|host| count(&host.engine.stats())).sum::<u64>();
    eventually(SOON, "every datagram is accounted for", || {
        // Both ends of a link hear it: the sender hears itself.
        let due = 2 * sum(|stats| stats.multicast_sent);
        let came = sum(|stats| stats.multicast_received + stats.receive_overflows);
        let on_links = lab.frames_dropped().unwrap_or_default() - dropped_before;
        came <= due && due <= came + on_links
    });
    hosts.iter().for_each(|host| assert_accounts(&host.engine));
    // A relay passes on what its rates allow, and says what it does not.
    assert!(sum(|stats| stats.dropped_flood_rate) > 0, "the storm is larger than the rates");
    let stats = corner.engine.stats();
    assert_eq!((stats.floods_sent, stats.multicast_send_failed), (FLOODS, 0));
    hosts.iter().for_each(|host| host.engine.shutdown());
    Ok(())
}
