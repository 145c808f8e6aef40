//! What the network and the machine do: links that fail during every kind of call, loss and delay, congestion, a name
//! server that never answers, no descriptors, no threads, no ports, a strange clock. Every blocked call returns by its
//! deadline with the right error, and everything works again when the fault is over.

mod calls;
mod clock;
mod congestion;
mod descriptors;
mod lossy;
mod names;
mod ports;
mod threads;

pub(crate) use threads::is_real_root;

use std::time::Duration;

use grasp::{Config, Negotiation, StartError};
use grasptests::lab::eventually;
use grasptests::nodes::{Host, SOON, joined, negotiable};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lowers the soft limit on a resource; raises it again when it is dropped.
struct Limit(Resource, u64, u64);

impl Limit {
    fn set(resource: Resource, soft: u64) -> Self {
        let (before, hard) = getrlimit(resource).expect("a limit");
        setrlimit(resource, soft, hard).expect("a lower limit");
        Self(resource, before, hard)
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        setrlimit(self.0, self.1, self.2).expect("the limit of before");
    }
}

/// A negotiation about EX1 between two hosts that have registered it, from request to acceptance.
fn negotiate(asker: &Host, answerer: &Host) {
    let listener = answerer.listen(&negotiable("EX1", 0));
    let peer = answerer.locator("EX1");
    let asked = asker.thread(move |engine, asa| {
        engine.req_negotiate(asa, &negotiable("EX1", 7), Some(&peer), Some(20_000))
    });
    let (session, wish) = joined(listener).expect("a request");
    answerer.run(|engine, asa| engine.end_negotiate(asa, session, true, None)).expect("accepted");
    assert_eq!(joined(asked).expect("an answer"), Negotiation::Agreed(wish));
}

/// Starts an engine beside that of a host, which must fail; says how.
fn start_error(host: &Host) -> StartError {
    host.run(|_, _| grasp::Engine::start(Config::new()).expect_err("an engine starts where it cannot"))
}

/// Nothing of an attempt is left behind.
fn quiet(host: &Host, threads: usize) {
    host.expect_quiet();
    eventually(SOON, "its threads end", || host.engine.thread_count() <= threads);
}

/// How long the processes of this test have computed.
fn computed() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("usage");
    let time = |value: nix::sys::time::TimeVal| {
        Duration::from_micros(value.tv_sec() as u64 * 1_000_000 + value.tv_usec() as u64)
    };
    time(usage.user_time()) + time(usage.system_time())
}
