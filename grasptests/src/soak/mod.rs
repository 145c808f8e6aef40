//! The soak: nodes in a lab that do everything at random for minutes or hours, while links fail, addresses change,
//! engines and ASAs stop and start, and strangers send nonsense. The program `soak` and the test of the same name
//! run it.
//!
//! ```text
//!   n1   n2          n4          n6
//!    \   /            |           |
//!   link 1 --- n3 -- link 2 -- n5 -- link 3      n3 and n5 relay
//! ```
//!
//! Time is divided into cycles: a while with faults, a while in which nothing may go wrong any more, and a rest in
//! which memory, threads and descriptors are measured. Every failure must be explained by a fault that was in force
//! on the way between the two nodes during the call, or shortly before it; every value is checked; every call must
//! return by its deadline.
//!
//! | file | what |
//! |---|---|
//! | `network` | the lab, the engines and their ASAs |
//! | `faults` | what is done to them, and which calls that explains |
//! | `work`, `haggle` | the calls, asking and answering |
//! | `report` | counts, judgement, tables |

mod descriptors;
mod faults;
mod haggle;
mod network;
mod report;
mod work;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use grasp::{Acp, Config, QuadsKeys};
use parking_lot::Mutex;

use crate::lab::process;
use faults::Faults;
use network::{Domain, NODES, Network};
use report::{Measure, Report};

/// What a soak is like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long it runs. What is under way then comes to its end.
    pub duration: Duration,
    /// Faults and calls are drawn with it. Threads and the network make every run another all the same.
    pub seed: u64,
    /// Operations a second, of all nodes together.
    pub rate: u32,
    /// What secures the traffic.
    pub security: Security,
    /// From one rest to the next, at least 15 s: three fifths with faults. In a domain it takes longer, until all neighbours are back.
    pub cycle: Duration,
}

/// What secures the traffic of a soak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Nothing: the links are trusted.
    Links,
    /// One key for all.
    Quads,
    /// Certificates: TLS between neighbours and for sessions.
    Domain,
}

/// How long after a fault it may explain a failure: what was discovered before it expires, and connections
/// recover.
const AFTERMATH: Duration = Duration::from_secs(4);
/// The same in a domain while faults go on: a neighbour whom a fault kept from connecting is tried again after 10 s, then after 20 s.
const AFTERMATH_OF_NEIGHBOURS: Duration = Duration::from_secs(30);
/// How long after the last fault of a cycle all neighbours must be connected again: pauses of 10, 20 and 40 s, or one period of
/// announcements.
const RECONNECTED: Duration = Duration::from_secs(90);
/// How long discovered locators are valid, in milliseconds: well below the aftermath.
const LOCATOR_TTL: u32 = 1500;
/// How much later than its deadline a call may return on a busy machine.
const MARGIN: Duration = Duration::from_secs(3);
/// After so long beyond its deadline a call counts as hanging.
const HANGS: Duration = Duration::from_secs(60);
/// Callers on each node.
const CALLERS: usize = 6;

/// What the callers, the faults and the report share.
struct Shared {
    settings: Settings,
    began: Instant,
    network: Network,
    domain: Domain,
    faults: Faults,
    report: Report,
    /// No more operations.
    ended: AtomicBool,
    /// No new operations for now.
    resting: AtomicBool,
    /// What each caller does, and when it must be done.
    under_way: Vec<Mutex<Option<(&'static str, Instant)>>>,
    /// When the next operation may begin.
    next: Mutex<Instant>,
    values: [Counted; NODES],
}

/// A value that a node serves or floods. It only grows: what a peer gets is not less than what was `known` when it
/// asked, and not more than what was `begun` when it was answered.
#[derive(Default)]
struct Counted {
    begun: AtomicI64,
    known: AtomicI64,
    /// One flood at a time.
    flooding: Mutex<()>,
    flooded: AtomicI64,
    /// The newest of those flooded that each node had and has expired.
    expired: [AtomicI64; NODES],
}

impl Shared {
    /// Waits, but not beyond the end. Returns whether it goes on.
    fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.ended.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
        false
    }

    /// Waits until the rate permits one more operation.
    fn pace(&self) -> bool {
        let step = Duration::from_secs(1) / self.settings.rate.max(1);
        let turn = {
            let mut next = self.next.lock();
            // What was missed is not made up for.
            *next = (*next).max(Instant::now()) + step;
            *next
        };
        self.pause(turn.saturating_duration_since(Instant::now()))
    }

    /// Whether the soak is at its end, which explains that engines stop.
    fn is_over(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn config(&self, node: usize) -> Config {
        Config::new().wait_for_interfaces(true).relay_memory(500).acp(match self.settings.security {
            Security::Links => Acp::Layer2,
            Security::Quads => Acp::Quads(QuadsKeys::from_parts([7; 32], [9; 16])),
            Security::Domain => Acp::Domain(Arc::clone(&self.domain.members[node])),
        })
    }
}

/// Runs a soak in a lab of its own: the process must be isolated. Prints a line for every cycle, and tables at the
/// end. `interrupted` ends it early, with its judgement.
///
/// # Errors
///
/// A sentence that says what was not as it should be: the lab or an engine does not start, an unexpected outcome,
/// growth.
pub fn run(settings: &Settings, interrupted: &AtomicBool, out: &mut dyn Write) -> Result<(), String> {
    let settings = Settings { cycle: settings.cycle.max(Duration::from_secs(15)), ..settings.clone() };
    let shared = Arc::new(Shared {
        network: Network::new().map_err(|error| format!("the lab cannot be built: {error}"))?,
        began: Instant::now(),
        domain: Domain::new(),
        faults: Faults::new(if settings.security == Security::Domain {
            AFTERMATH_OF_NEIGHBOURS
        } else {
            AFTERMATH
        }),
        report: Report::default(),
        ended: AtomicBool::new(false),
        resting: AtomicBool::new(false),
        under_way: (0..NODES * CALLERS).map(|_| Mutex::default()).collect(),
        next: Mutex::new(Instant::now()),
        values: Default::default(),
        settings,
    });
    for node in 0..NODES {
        network::start(&shared, node)?;
    }
    // A failure before the first neighbours are connected would be nobody's fault.
    reconnect(&shared, &|| interrupted.load(Ordering::Relaxed))?;
    let mut threads = work::start(&shared);
    threads.push(faults::start_hostile(&shared));
    let judged = cycles(&shared, interrupted, out);
    shared.ended.store(true, Ordering::Relaxed);
    join(threads, Duration::from_secs(30) + HANGS)?;
    for node in 0..NODES {
        network::stop(&shared, node);
    }
    shared.report.write_tables(out).map_err(|error| format!("the report cannot be printed: {error}"))?;
    judged?;
    shared.report.verdict()
}

/// Cycles until the time is over, or somebody interrupts, or a call hangs.
fn cycles(shared: &Arc<Shared>, interrupted: &AtomicBool, out: &mut dyn Write) -> Result<(), String> {
    let (started, cycle) = (Instant::now(), shared.settings.cycle);
    let stop = || interrupted.load(Ordering::Relaxed);
    let mut round = 0;
    while started.elapsed() + cycle / 2 < shared.settings.duration && !stop() {
        let began = Instant::now();
        shared.resting.store(false, Ordering::Relaxed);
        let ending = Arc::new(AtomicBool::new(false));
        let injector = faults::start(shared, round, Arc::clone(&ending));
        let wait = |until: Instant| -> Result<(), String> {
            while Instant::now() < until && !stop() {
                std::thread::sleep(Duration::from_millis(100));
                hanging(shared)?;
            }
            Ok(())
        };
        let faults = cycle * 60 / 100;
        let waited = wait(began + faults);
        ending.store(true, Ordering::Relaxed);
        join(vec![injector], Duration::from_secs(60))?;
        waited?;
        reconnect(shared, &stop)?;
        wait(Instant::now().max(began + faults) + cycle * 32 / 100)?;
        shared.resting.store(true, Ordering::Relaxed);
        while shared.under_way.iter().any(|one| one.lock().is_some()) {
            std::thread::sleep(Duration::from_millis(20));
            hanging(shared)?;
        }
        let measure = rest(shared);
        round += 1;
        shared.report.line(out, started.elapsed(), measure).map_err(|error| format!("no output: {error}"))?;
    }
    Ok(())
}

/// Waits until all neighbours are connected, where connections carry the multicasts. From then on only the usual aftermath explains anything.
fn reconnect(shared: &Shared, stop: &dyn Fn() -> bool) -> Result<(), String> {
    if shared.settings.security != Security::Domain {
        return Ok(());
    }
    let began = Instant::now();
    loop {
        let missing = shared.network.unconnected();
        if missing.is_empty() || stop() {
            break;
        }
        if began.elapsed() > RECONNECTED {
            shared.report.unexpected(format!(
                "{} after the last fault not all neighbours are connected: {missing}",
                seconds(began.elapsed())
            ));
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        hanging(shared)?;
    }
    shared.report.reconnected(began.elapsed());
    shared.faults.shorten(AFTERMATH);
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Waits until threads and descriptors do not change any more, and measures.
fn rest(shared: &Shared) -> Measure {
    let deadline = Instant::now() + Duration::from_secs(20);
    let now = || (process::threads(), process::descriptors());
    let goal = shared.report.goal();
    let (mut last, mut since) = (now(), Instant::now());
    while Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
        let seen = now();
        if seen != last {
            (last, since) = (seen, Instant::now());
        }
        let reached = goal.is_none_or(|(threads, descriptors)| seen.0 <= threads && seen.1 <= descriptors);
        if reached && since.elapsed() > Duration::from_millis(1500) {
            break;
        }
    }
    if goal.is_some_and(|(_, descriptors)| last.1 > descriptors) {
        let kinds = descriptors::kinds(&shared.network.nodes).join("\n");
        shared.report.unexpected(format!("{} descriptors at rest:\n{kinds}", last.1));
    }
    let running = shared.network.running();
    for (node, engine) in &running {
        let (sessions, panics) = (engine.open_sessions(), engine.stats().panics);
        if sessions != 0 {
            shared.report.unexpected(format!("n{}: {sessions} sessions are open at rest", node + 1));
        }
        if panics != 0 {
            shared.report.unexpected(format!("n{}: {panics} panics", node + 1));
        }
    }
    Measure {
        engines: running.len(),
        threads: last.0,
        descriptors: last.1,
        resident: process::resident_kib(),
    }
}

fn hanging(shared: &Shared) -> Result<(), String> {
    let now = Instant::now();
    for one in &shared.under_way {
        if let Some((what, due)) = *one.lock()
            && now > due + HANGS
        {
            return Err(format!("{what} hangs: it should have returned {:?} ago", now - due));
        }
    }
    Ok(())
}

fn join(threads: Vec<JoinHandle<()>>, within: Duration) -> Result<(), String> {
    let deadline = Instant::now() + within;
    for thread in threads {
        while !thread.is_finished() {
            if Instant::now() > deadline {
                return Err("a thread of the soak does not end".to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        thread.join().map_err(|_| "a thread of the soak panicked".to_owned())?;
    }
    Ok(())
}
