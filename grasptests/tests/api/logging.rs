//! The engine tells the logger of the program what it does: code of the user's, which may call the engine, and whose
//! disk is finite.

use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use grasp::acp::{AcpStatus, Substrate};
use grasp::{Acp, Config, Engine, Value};
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, RawUdp, eventually, process};
use grasptests::nodes::{Host, SOON, linked};
use grasptests::{cbor, isolated, own_engine};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Looks into the engine whenever it is told something, and counts what is of interest.
struct Curious {
    engine: OnceLock<Engine>,
    told: AtomicUsize,
}

static CURIOUS: Curious = Curious { engine: OnceLock::new(), told: AtomicUsize::new(0) };

impl log::Log for Curious {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target().starts_with("grasp") && record.level() <= log::Level::Info {
            self.told.fetch_add(1, Ordering::SeqCst);
        }
        if let Some(engine) = self.engine.get() {
            let _ = (engine.links(), engine.thread_count(), engine.open_sessions(), engine.dump(false));
        }
    }

    fn flush(&self) {}
}

/// A host that a curious logger listens to, and a neighbour made by hand.
fn scene(config: Config, level: log::LevelFilter) -> (Lab, Host, RawUdp) {
    log::set_logger(&CURIOUS).expect("the first logger");
    log::set_max_level(level);
    let (lab, _, a, b) = linked();
    let host = Host::start(&a, config);
    CURIOUS.engine.set(host.engine.clone()).expect("the first engine");
    let address = b.link_local("eth0").expect("an address");
    (lab, host, RawUdp::open(&b, "eth0", address, 0).expect("a socket"))
}

#[test]
fn a_logger_may_call_the_engine() {
    isolated!();
    let (_lab, host, _) = scene(Config::new(), log::LevelFilter::Trace);
    let address = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);
    let old = host.engine.session_locator();
    host.node.add_address("eth0", address, 64).expect("another address");
    host.node.remove_address("eth0", old, 64).expect("the first goes");
    eventually(SOON, "the engine follows, and says so", || host.engine.session_locator() == address);
    host.engine.shutdown();
    assert!(CURIOUS.told.load(Ordering::SeqCst) > 0);
}

/// What others may cause as often as they like is not said as often.
#[test]
fn a_storm_does_not_fill_the_log() {
    isolated!();
    const STORM: u32 = 2000;
    let (_lab, host, attacker) = scene(Config::new().diagnose(true), log::LevelFilter::Info);
    let initiator = cbor!(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1).octets().to_vec());
    let before = CURIOUS.told.load(Ordering::SeqCst);
    for number in 0..STORM {
        let size = 3000 + number % 2;
        let order = Value::Map(vec![(cbor!(3), cbor!(size)), (cbor!(4), cbor!(size))]);
        let flood = cbor!([9, number, (initiator.clone()), 60_000, [["GraspConfig", 5, 1, order], []]]);
        for bytes in [&[0xff, 0xff][..], &flood.encode()] {
            attacker.send(bytes, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).expect("it is sent");
        }
        // Not more than the socket holds.
        eventually(SOON, "it is received", || {
            host.engine.stats().multicast_received + 50 > u64::from(2 * number)
        });
    }
    eventually(SOON, "all is decided about", || {
        let stats = host.engine.stats();
        // A busy machine may drop some: one neighbour has half of the queue.
        let floods = stats.floods_received + stats.dropped_queue_full;
        (stats.dropped_malformed, floods) == (STORM.into(), STORM.into())
    });
    let said = CURIOUS.told.load(Ordering::SeqCst) - before;
    assert!((2..200).contains(&said), "{said} lines");
}

/// Counts how often it is asked, with every look at the interfaces.
#[derive(Debug, Default)]
struct Asked(AtomicUsize);

impl Substrate for Asked {
    fn status(&self) -> AcpStatus {
        self.0.fetch_add(1, Ordering::SeqCst);
        AcpStatus::Secure
    }
}

/// What cannot be mended by looking again may last for months.
#[test]
fn what_stays_wrong_is_not_said_with_every_look() {
    isolated!();
    own_engine!();
    let asked = Arc::<Asked>::default();
    let acp = Acp::Custom(Arc::clone(&asked) as Arc<dyn Substrate>);
    // The engine would raise the limit by itself.
    let config =
        Config::new().acp(acp).watch_interval(Duration::from_millis(5)).raise_descriptor_limit(false);
    let (_lab, _host, _) = scene(config, log::LevelFilter::Warn);
    let looks = || asked.0.load(Ordering::SeqCst);
    // Without descriptors the interfaces cannot be seen.
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, process::next_descriptor(), hard).expect("a lower limit");
    let (before, began) = (CURIOUS.told.load(Ordering::SeqCst), looks());
    let mut taken = Vec::new();
    eventually(SOON, "many looks", || {
        // A look that was under way has closed what it had open.
        taken.extend(std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()));
        looks() > began + 50
    });
    drop(taken);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("the limit of before");
    // Once that they cannot be seen, and once that netlink cannot be asked.
    let told = CURIOUS.told.load(Ordering::SeqCst) - before;
    assert!((1..=2).contains(&told), "{told} lines");
}
