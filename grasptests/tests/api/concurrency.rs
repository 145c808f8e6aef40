//! Hundreds of threads that use every call of one engine at random, while objectives and ASAs are deregistered, and
//! listening is stopped, and at last the engine is shut down. Nobody hangs, nothing panics, nothing is left.
//!
//! parking_lot looks for deadlocks meanwhile, in the feature `deadlock_detection`; docs/testing.md says how to run this
//! under a thread sanitizer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use grasp::{
    AsaLocator, AsaNonce, Config, Discover, Engine, Error, Negotiation, Objective, RegisterObj, SessionNonce,
    TaggedObjective, Value,
};
use grasptests::isolated;
use grasptests::lab::eventually;
use grasptests::nodes::{Host, linked, negotiable, synchronizable};
use grasptests::simulator::random::Random;
use parking_lot::Mutex;

/// Threads that call.
const CALLERS: usize = 200;
/// How many calls they make at least.
const CALLS: u64 = 400_000;
/// How long they may take for these.
const TIME: Duration = Duration::from_secs(200);
/// How long all of them may take to end after the shutdown.
const SOON: Duration = Duration::from_secs(30);
/// ASAs and objectives: few, so that callers get into each other's way.
const FEW: usize = 4;
/// The timeout of calls in milliseconds.
const SHORT: u32 = 200;

/// The calls, each with the errors that others may cause. `unspec` is what all return after shutdown.
const LEGITIMATE: [(&str, &[&str]); 17] = [
    ("register_asa", &["dupASA"]),
    ("deregister_asa", &["noASA", "notYourASA"]),
    ("register_obj", &["noASA", "objReg"]),
    ("deregister_obj", &["noASA", "notObj", "notYourObj"]),
    ("discover", &["noASA"]),
    (
        "req_negotiate",
        &[
            "noASA",
            "notYourObj",
            "noDiscReply",
            "sockErrNegRq",
            "noSession",
            "noPeer",
            "noNegReply",
            "declined",
            "noValidStep",
            "invalidNeg",
        ],
    ),
    (
        "negotiate_step",
        &[
            "noASA",
            "notYourObj",
            "noSession",
            "sockErrNegStep",
            "noPeer",
            "noNegReply",
            "declined",
            "noValidStep",
            "loopExhausted",
            "invalidNeg",
            "noSocket",
            "CBORfail",
        ],
    ),
    ("negotiate_wait", &["noASA", "noSession", "sockErrWait", "noSocket"]),
    ("end_negotiate", &["noASA", "noSession", "sockErrEnd", "noSocket"]),
    ("send_invalid", &["noASA", "noSession", "sockErrEnd", "noSocket"]),
    ("listen_negotiate", &["noASA", "notYourObj", "noSession"]),
    ("stop", &["noASA", "notYourObj"]),
    ("synchronize", &["noASA", "notFloodDisc", "sockErrSynRq", "noListener", "noSynchReply", "noValidSynch"]),
    ("listen_synchronize", &["noASA", "notYourObj"]),
    ("flood", &["noASA", "notYourObj"]),
    ("get_flood", &["noASA"]),
    ("gsend, grecv", &["noASA", "noSession", "noSocket", "sockErr", "noPeer", "noReply", "CBORfail"]),
];

/// What the callers share.
struct Shared {
    engine: Engine,
    asas: Mutex<Vec<AsaNonce>>,
    sessions: Mutex<Vec<(SessionNonce, Objective)>>,
    locators: Mutex<Vec<AsaLocator>>,
    outcomes: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    ended: AtomicBool,
}

impl Shared {
    fn note<T>(&self, call: &'static str, result: Result<T, Error>) -> Option<T> {
        let name = result.as_ref().err().map_or("ok", Error::name);
        *self.outcomes.lock().entry((call, name)).or_default() += 1;
        result.ok()
    }

    fn keep(&self, session: SessionNonce, objective: Objective) {
        let mut sessions = self.sessions.lock();
        if sessions.len() < 64 {
            sessions.push((session, objective));
        }
    }
}

/// One thread.
struct Caller {
    shared: Arc<Shared>,
    random: Random,
}

impl Caller {
    fn pick<T: Clone>(&mut self, from: impl Fn(&Shared) -> Vec<T>) -> Option<T> {
        let all = from(&self.shared);
        all.get(self.random.below(all.len())).cloned()
    }

    fn one(&mut self) {
        let shared = Arc::clone(&self.shared);
        let engine = &shared.engine;
        let number = self.random.below(FEW);
        let (neg, synch) =
            (negotiable(&format!("N{number}"), number), synchronizable(&format!("S{number}"), number));
        let name = format!("asa{number}");
        let Some(asa) = self.pick(|shared| shared.asas.lock().clone()) else {
            if let Some(asa) = shared.note("register_asa", engine.register_asa(&name)) {
                shared.asas.lock().push(asa);
            }
            return;
        };
        let peer =
            if self.random.chance(0.8) { self.pick(|shared| shared.locators.lock().clone()) } else { None };
        let session = self.pick(|shared| shared.sessions.lock().clone());
        let options = RegisterObj { overlap: true, discoverable: true, ..RegisterObj::default() };
        match self.random.below(40) {
            0 => {
                if let Some(asa) = shared.note("register_asa", engine.register_asa(&name)) {
                    shared.asas.lock().push(asa);
                }
            }
            1 => drop(shared.note("deregister_asa", engine.deregister_asa(asa, &name))),
            2..=9 => drop(shared.note("register_obj", engine.register_obj(asa, &neg, options))),
            10 | 11 => drop(shared.note("register_obj", engine.register_obj(asa, &synch, options))),
            12 => drop(shared.note("deregister_obj", engine.deregister_obj(asa, &neg))),
            13 => drop(shared.note("deregister_obj", engine.deregister_obj(asa, &synch))),
            14 | 15 => {
                let options =
                    Discover { flush: self.random.chance(0.3), enough: Some(1), ..Discover::default() };
                let wanted = if self.random.chance(0.5) { &neg } else { &synch };
                if let Some(found) =
                    shared.note("discover", engine.discover(asa, wanted, Some(SHORT), options))
                {
                    let mut locators = shared.locators.lock();
                    locators.extend(found);
                    let surplus = locators.len().saturating_sub(8);
                    locators.drain(..surplus);
                }
            }
            16..=20 => {
                let reply = engine.req_negotiate(asa, &neg, peer.as_ref(), Some(SHORT));
                if let Some(Negotiation::Offer(session, objective)) = shared.note("req_negotiate", reply) {
                    shared.keep(session, objective);
                }
            }
            21..=24 => {
                let Some((session, objective)) = session else { return };
                let reply = engine.negotiate_step(asa, session, &objective, Some(SHORT));
                if let Some(Negotiation::Offer(session, objective)) = shared.note("negotiate_step", reply) {
                    shared.keep(session, objective);
                }
            }
            25 => {
                let Some((session, _)) = session else { return };
                shared.note("negotiate_wait", engine.negotiate_wait(asa, session, Some(SHORT)));
            }
            26 | 27 => {
                let accept = self.random.chance(0.5);
                let Some((session, _)) = shared.sessions.lock().pop() else { return };
                shared.note("end_negotiate", engine.end_negotiate(asa, session, accept, Some("no")));
            }
            28 => {
                let Some((session, _)) = shared.sessions.lock().pop() else { return };
                shared.note("send_invalid", engine.send_invalid(asa, session, None));
            }
            29..=32 => {
                if let Some((session, got)) =
                    shared.note("listen_negotiate", engine.listen_negotiate(asa, &neg))
                {
                    shared.keep(session, got);
                }
            }
            33 => drop(shared.note("stop", engine.stop_negotiate(asa, &neg))),
            34 => drop(shared.note("stop", engine.stop_synchronize(asa, &synch))),
            35 => {
                let got = engine.synchronize(asa, &synch, peer.as_ref(), Some(SHORT));
                if let Some(got) = shared.note("synchronize", got) {
                    assert_eq!(got.value, Value::from(number), "of {}", got.name);
                }
            }
            36 => drop(shared.note("listen_synchronize", engine.listen_synchronize(asa, &synch))),
            37 => {
                let tagged = [TaggedObjective::new(synch.clone(), None)];
                shared.note("flood", engine.flood(asa, 1000, &tagged));
            }
            38 => {
                for one in shared.note("get_flood", engine.get_flood(asa, &synch)).into_iter().flatten() {
                    shared.note("get_flood", engine.expire_flood(asa, &one));
                }
            }
            _ => {
                let Some((session, _)) = session else { return };
                shared.note("gsend, grecv", engine.gsend(asa, session, &Value::from(number)));
                shared.note("gsend, grecv", engine.grecv(asa, session, SHORT));
            }
        }
    }
}

/// Looks for deadlocks until the end.
#[cfg(feature = "deadlock_detection")]
fn watch_for_deadlocks() {
    let watch = || loop {
        std::thread::sleep(Duration::from_millis(500));
        let found = parking_lot::deadlock::check_deadlock();
        if !found.is_empty() {
            for thread in found.iter().flatten() {
                eprintln!("deadlocked: {:?} at\n{:?}", thread.thread_id(), thread.backtrace());
            }
            std::process::abort();
        }
    };
    std::thread::Builder::new().name("deadlocks".to_owned()).spawn(watch).expect("a thread");
}

#[cfg(not(feature = "deadlock_detection"))]
fn watch_for_deadlocks() {
    println!("without deadlock detection");
}

fn caller(host: &Host, shared: &Arc<Shared>, number: usize) -> JoinHandle<()> {
    let mut caller = Caller { shared: Arc::clone(shared), random: Random::new(number as u64) };
    host.node.spawn("caller", move || {
        while !caller.shared.ended.load(Ordering::Relaxed) {
            caller.one();
        }
    })
}

#[test]
fn hundreds_of_threads_with_one_engine_neither_hang_nor_panic_nor_leave_anything() {
    isolated!(300);
    watch_for_deadlocks();
    let (_lab, _, a, _) = linked();
    let host = Host::start(&a, Config::new().listen_self(true));
    let shared = Arc::new(Shared {
        engine: host.engine.clone(),
        asas: Mutex::default(),
        sessions: Mutex::default(),
        locators: Mutex::default(),
        outcomes: Mutex::default(),
        ended: AtomicBool::new(false),
    });
    let callers: Vec<_> = (0..CALLERS).map(|number| caller(&host, &shared, number)).collect();
    eventually(TIME, "every call succeeds", || {
        // ASAs that are gone are of no use but for errors.
        let mut asas = shared.asas.lock();
        let surplus = asas.len().saturating_sub(2 * FEW);
        asas.drain(..surplus);
        drop(asas);
        let outcomes = shared.outcomes.lock();
        // Through a socket there are fewer calls, and the rare ones may not happen.
        let every_one = host.engine.is_connected()
            || LEGITIMATE.iter().all(|(call, _)| outcomes.contains_key(&(*call, "ok")));
        every_one && outcomes.values().sum::<u64>() >= CALLS
    });
    let outcomes = shared.outcomes.lock().clone();
    let began = Instant::now();
    host.engine.shutdown();
    assert!(began.elapsed() < SOON, "shutdown took {:?}", began.elapsed());
    let told = |shared: &Shared| {
        let outcomes = shared.outcomes.lock();
        outcomes
            .iter()
            .filter(|((_, outcome), _)| *outcome == Error::Stopped.name())
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    eventually(SOON, "callers that go on are told", || told(&shared) >= 10 * CALLERS as u64);
    shared.ended.store(true, Ordering::Relaxed);
    for caller in callers {
        eventually(SOON, "every call returns", || caller.is_finished());
        caller.join().expect("no caller panics");
    }
    let mut all = 0;
    for ((call, outcome), count) in &outcomes {
        println!("{call}: {outcome} {count}");
        all += count;
        let (_, errors) = LEGITIMATE.iter().find(|(known, _)| known == call).expect("a known call");
        assert!(*outcome == "ok" || errors.contains(outcome), "{call} returned {outcome}");
    }
    println!("{all} calls");
    let engine = &host.engine;
    assert_eq!((engine.stats().panics, engine.open_sessions(), engine.thread_count()), (0, 0, 0));
    let dump = engine.dump(true);
    assert!(!dump.contains(" ASA: "), "objectives are left:\n{dump}");
}
