//! The logger is the program's: it may panic, and call whatever it likes.

use std::net::Ipv6Addr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use grasp::{Config, Engine, Error, StartError};
use grasptests::isolated;
use grasptests::lab::{Lab, Node, eventually};
use grasptests::nodes::{AT_ONCE, Host, SOON, linked, negotiable, negotiate, synchronizable, within};

/// Does what it is told to whenever the engine logs.
struct Logger {
    /// Panic, in a thread of the engine.
    panics: AtomicBool,
    /// Shut this engine down, in a thread of the engine.
    shuts_down: OnceLock<Engine>,
    /// Call a free function.
    calls: AtomicBool,
    told: AtomicUsize,
    /// How often the free function said that the engine is being started.
    refused: AtomicUsize,
}

static LOGGER: Logger = Logger {
    panics: AtomicBool::new(false),
    shuts_down: OnceLock::new(),
    calls: AtomicBool::new(false),
    told: AtomicUsize::new(0),
    refused: AtomicUsize::new(0),
};

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if !record.target().starts_with("grasp::") {
            return;
        }
        self.told.fetch_add(1, Ordering::SeqCst);
        let of_engine = std::thread::current().name().is_some_and(|name| name.starts_with('_'));
        if of_engine && let Some(engine) = self.shuts_down.get() {
            engine.shutdown();
        }
        if self.calls.load(Ordering::SeqCst)
            && let Err(Error::NotStarted(why)) = grasp::register_asa("logger")
            && matches!(*why, StartError::Starting)
        {
            self.refused.fetch_add(1, Ordering::SeqCst);
        }
        assert!(!(of_engine && self.panics.load(Ordering::SeqCst)), "a test of logging");
    }

    fn flush(&self) {}
}

fn scene() -> (Lab, Node, Node) {
    log::set_logger(&LOGGER).expect("the first logger");
    log::set_max_level(log::LevelFilter::Trace);
    let (lab, _, a, b) = linked();
    (lab, a, b)
}

const fn address(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, last)
}

/// Gives the node another address, which `_watcher` logs.
fn readdress(host: &Host, address: Ipv6Addr) {
    let old = host.engine.session_locator();
    host.node.add_address("eth0", address, 64).expect("another address");
    host.node.remove_address("eth0", old, 64).expect("the first goes");
    eventually(SOON, "the engine follows", || host.engine.session_locator() == address);
}

#[test]
fn a_logger_that_panics_ends_no_thread() {
    isolated!();
    let (_lab, a, b) = scene();
    let config = Config::new().watch_interval(Duration::from_millis(50));
    let (host, other) = (Host::start(&a, config.clone()), Host::start(&b, config));
    let (threads, original) = (host.engine.thread_count(), host.engine.session_locator());
    std::panic::set_hook(Box::new(|_| {}));
    LOGGER.panics.store(true, Ordering::SeqCst);
    for last in 1..4 {
        readdress(&host, address(last));
        eventually(SOON, "it panics", || host.engine.stats().panics >= u64::from(last));
    }
    readdress(&host, original);
    LOGGER.panics.store(false, Ordering::SeqCst);
    let _ = std::panic::take_hook();
    eventually(SOON, "all threads are there", || host.engine.thread_count() == threads);
    for host in [&host, &other] {
        host.register(&negotiable("EX3", 0));
    }
    negotiate(&other, &host, None);
}

#[test]
fn a_logger_may_shut_the_engine_down() {
    isolated!();
    let (_lab, a, _) = scene();
    let host = Host::start(&a, Config::new().watch_interval(Duration::from_millis(50)));
    LOGGER.shuts_down.set(host.engine.clone()).expect("the first engine");
    let old = host.engine.session_locator();
    host.node.add_address("eth0", address(1), 64).expect("another address");
    host.node.remove_address("eth0", old, 64).expect("the first goes");
    let is_shut_down = || host.engine.get_flood(host.asa, &synchronizable("EX2", 1)) == Err(Error::Unspec);
    eventually(SOON, "the engine is shut down", is_shut_down);
    within(AT_ONCE, || host.engine.shutdown());
    assert_eq!(host.engine.thread_count(), 0);
}

#[test]
fn a_logger_may_call_a_free_function_while_the_engine_of_the_process_starts() {
    isolated!();
    let (_lab, a, _) = scene();
    LOGGER.calls.store(true, Ordering::SeqCst);
    let started = a.spawn("starter", || grasp::process_engine().map(|engine| engine.links().len()));
    eventually(SOON, "the engine has started", || started.is_finished());
    assert_eq!(started.join().unwrap().unwrap(), 1);
    assert!(LOGGER.refused.load(Ordering::SeqCst) > 0, "{:?} lines", LOGGER.told);
    // Now it runs.
    a.run(|| grasp::register_asa("asa")).unwrap();
    LOGGER.calls.store(false, Ordering::SeqCst);
    within(AT_ONCE, grasp::shutdown);
}
