//! A user who may start no thread more.

use std::net::{Ipv6Addr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use grasp::wire::Body;
use grasp::{AsaLocator, Config, Error, RegisterObj, StartError};
use grasptests::accounts::assert_accounts;
use grasptests::isolated;
use grasptests::lab::eventually;
use grasptests::nodes::{Host, RawStream, SOON, failure, joined, negotiable, one, step, synchronizable, two};
use nix::sys::resource::Resource;
use nix::unistd::{Gid, Uid, setresgid, setresuid};

use super::Limit;

type Job = Box<dyn FnOnce() + Send>;

/// A thread on a node, made while there still were some, that carries out jobs.
fn worker(host: &Host) -> (Sender<(Job, Sender<()>)>, JoinHandle<()>) {
    let (tx, rx) = bounded::<(Job, Sender<()>)>(0);
    let thread = host.node.spawn("worker", move || {
        for (job, done) in rx {
            job();
            done.send(()).unwrap();
        }
    });
    (tx, thread)
}

fn on(worker: &Sender<(Job, Sender<()>)>, job: impl FnOnce() + Send + 'static) {
    let (tx, rx) = bounded(1);
    worker.send((Box::new(job), tx)).unwrap();
    rx.recv_timeout(SOON).expect("the job is done");
}

/// From here on no thread can be started, until what it returns is dropped. No node can be entered any more.
fn no_more_threads() -> Limit {
    // The limit does not bind root. Entering nodes needs root: who has to be in one is there.
    if is_real_root() {
        let (user, group) = (Uid::from_raw(64_017), Gid::from_raw(64_017));
        setresgid(group, group, group).expect("another group");
        setresuid(user, user, user).expect("another user");
    }
    let limit = Limit::set(Resource::RLIMIT_NPROC, 1);
    assert!(std::thread::Builder::new().spawn(|| ()).is_err(), "the limit on threads does not bind");
    limit
}

#[test]
fn without_threads_calls_say_so_and_all_recovers() {
    isolated!();
    let (_lab, near, far) = two(Config::new());
    for host in [&near, &far] {
        host.register(&negotiable("EX1", 0));
    }
    far.register(&synchronizable("EX2", 1));
    let (near_worker, near_thread) = worker(&near);
    let (far_worker, far_thread) = worker(&far);
    eventually(SOON, "threads that start have started", || near.engine.links().len() == 1);
    let far_engine = far.engine.clone();
    let limit = no_more_threads();
    let (host, before) = (near.clone(), near.engine.stats().thread_failed);
    on(&near_worker, move || {
        let registered = host.engine.register_obj(host.asa, &negotiable("EX3", 1), RegisterObj::default());
        assert_eq!(failure(registered), Error::ObjFull);
        assert_eq!(host.engine.stats().thread_failed, before + 1);
        let error = grasp::Engine::start(Config::new()).expect_err("an engine starts without threads");
        assert!(matches!(error, StartError::Thread(_)), "{error:?}");
        host.engine.register_obj(host.asa, &grasp::Objective::new("EX4"), RegisterObj::default()).unwrap();
    });
    let host = far.clone();
    on(&far_worker, move || {
        let served = host.engine.listen_synchronize(host.asa, &synchronizable("EX2", 1));
        assert_eq!(failure(served), Error::Unspec);
        // It was not left half begun.
        assert_eq!(host.listeners("EX2"), 0);
    });
    // Peers that need a thread are sent away, and counted; those that need none are served.
    let target = std::net::SocketAddrV6::new(far.engine.session_locator(), far.port("EX1"), 0, 0);
    on(&near_worker, move || {
        let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(target).unwrap()).collect();
        let failed = || far_engine.stats().dropped_reader_failed;
        eventually(SOON, "readers cannot be started", || failed() > 100);
        drop(silent);
    });
    drop(limit);
    let host = near.clone();
    on(&near_worker, move || {
        host.engine.register_obj(host.asa, &negotiable("EX3", 1), RegisterObj::default()).unwrap();
    });
    let host = far.clone();
    on(&far_worker, move || {
        host.engine.listen_synchronize(host.asa, &synchronizable("EX2", 1)).unwrap();
    });
    // No node can be entered any more: each does its part in its worker, or where no socket is made.
    let (asker, answerer) = (near.clone(), far.clone());
    let peer = AsaLocator::new(far.engine.session_locator(), None).with_port(far.port("EX1"));
    let listening = move || answerer.engine.listen_negotiate(answerer.asa, &negotiable("EX1", 0));
    let listener = std::thread::Builder::new().spawn(listening).unwrap();
    eventually(SOON, "somebody listens", || far.listeners("EX1") == 1);
    on(&near_worker, move || {
        let opened = asker.engine.req_negotiate_noloop(asker.asa, &negotiable("EX1", 7), Some(&peer), None);
        opened.expect("a connection");
    });
    let (session, wish) = joined(listener).unwrap();
    assert_eq!(wish.value, 7.into());
    far.engine.end_negotiate(far.asa, session, true, None).unwrap();
    drop((near_worker, far_worker));
    near_thread.join().unwrap();
    far_thread.join().unwrap();
    for host in [&near, &far] {
        assert_accounts(&host.engine);
        assert_eq!(host.engine.stats().panics, 0);
    }
}

/// Whether this is root of the machine, and not of a user namespace, where the limit binds and there is no other user.
pub(crate) fn is_real_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let is_whole = map.split_whitespace().collect::<Vec<_>>() == ["0", "0", "4294967295"];
    nix::unistd::geteuid().is_root() && is_whole
}

/// A request that nobody waits for this very moment waits for the listener that has just returned: in a thread.
#[test]
fn a_request_that_would_have_to_wait_in_a_thread_is_refused_and_counted() {
    isolated!();
    let (_lab, host) = one(Config::new().listen_grace(Duration::from_secs(60)));
    host.register(&negotiable("EX1", 0));
    let listener = host.listen(&negotiable("EX1", 0));
    host.client("EX1").say(Body::RequestNegotiate(step(1, "EX1", 6, 1)));
    let (session, _) = joined(listener).expect("the first is taken up");
    let (worker, thread) = worker(&host);
    on(&worker, || ());
    let limit = no_more_threads();
    let (engine, port) = (host.engine.clone(), host.port("EX1"));
    on(&worker, move || {
        let mut requests = 1;
        eventually(SOON, "it is refused, and counted", || {
            requests += 1;
            let mut client = RawStream::new(TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap());
            client.say(Body::RequestNegotiate(step(requests, "EX1", 6, 1)));
            // Threads that linger wait with the first of them.
            engine.stats().requests_abandoned >= 3
        });
    });
    drop((limit, worker));
    thread.join().unwrap();
    host.engine
        .end_negotiate(host.asa, session, true, None)
        .unwrap_or_else(|error| assert_eq!(error, Error::SockErrEnd));
    host.engine.deregister_obj(host.asa, &negotiable("EX1", 0)).unwrap();
    host.expect_quiet();
}
