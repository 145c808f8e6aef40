//! Every kind of waiting, while signals come and while the process is stopped.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use grasp::{AsaLocator, AsaNonce, Config, Discover, Engine, Error, Objective, Value};
use grasptests::isolated;
use grasptests::lab::{Node, eventually, process};
use grasptests::nodes::{Host, RawPeer, SOON, failure, joined, negotiable, one, synchronizable};
use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// The time that every call has, in milliseconds.
const TIME: u32 = 4000;
/// How much later it may return on a busy machine: less than what a timeout would last that has begun anew.
const MARGIN: Duration = Duration::from_secs(2);

/// A port that does not answer: the system makes no more connections than the listener has room for.
struct Deaf {
    port: u16,
    _sockets: Vec<Socket>,
}

impl Deaf {
    fn on(node: &Node) -> Self {
        node.run(|| {
            let socket = || Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).unwrap();
            let listener = socket();
            listener.bind(&SockAddr::from(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0))).unwrap();
            listener.listen(0).unwrap();
            let address = listener.local_addr().unwrap();
            let mut sockets = vec![listener];
            while sockets.last().is_some_and(|last| last.peer_addr().is_ok()) || sockets.len() < 3 {
                let filler = socket();
                filler.set_nonblocking(true).unwrap();
                let _ = filler.connect(&address);
                sockets.push(filler);
            }
            Self { port: address.as_socket().unwrap().port(), _sockets: sockets }
        })
    }
}

/// Calls that wait, each in a thread of its own, and when it returned.
struct Calls {
    host: Host,
    threads: Vec<(&'static str, JoinHandle<Duration>)>,
    signalled: (Sender<Pthread>, crossbeam_channel::Receiver<Pthread>),
    _silent: RawPeer,
    _deaf: Deaf,
}

impl Calls {
    /// All kinds: for what a peer says, for a connection, for room to send, for answers to a discovery.
    fn begin(host: &Host) -> Self {
        let (silent, deaf) = (RawPeer::on(&host.node), Deaf::on(&host.node));
        let mut calls = Self {
            host: host.clone(),
            threads: Vec::new(),
            signalled: bounded(16),
            _deaf: deaf,
            _silent: silent,
        };
        let at = calls._silent.locator();
        let unreachable = AsaLocator::new(Ipv6Addr::LOCALHOST, None).with_port(calls._deaf.port);
        let peer = at.clone();
        calls.call("req_negotiate", move |engine, asa| {
            let started = Instant::now();
            let asked = engine.req_negotiate(asa, &negotiable("EX1", 1), Some(&peer), Some(TIME));
            assert_eq!(failure(asked), Error::NoNegReply);
            started
        });
        let peer = at.clone();
        calls.call("synchronize", move |engine, asa| {
            let started = Instant::now();
            let asked = engine.synchronize(asa, &synchronizable("EX2", 1), Some(&peer), Some(TIME));
            assert_eq!(failure(asked), Error::NoSynchReply);
            started
        });
        let peer = at.clone();
        calls.call("grecv", move |engine, asa| {
            let session = engine.req_negotiate_noloop(asa, &negotiable("EX1", 1), Some(&peer), None).unwrap();
            let started = Instant::now();
            assert_eq!(failure(engine.grecv(asa, session, TIME)), Error::NoReply);
            started
        });
        calls.call("gsend", move |engine, asa| {
            let session = engine.req_negotiate_noloop(asa, &negotiable("EX1", 1), Some(&at), None).unwrap();
            let much = Value::Bytes(vec![0; 2000]);
            // Until nothing more has room.
            loop {
                let started = Instant::now();
                match engine.gsend(asa, session, &much) {
                    Ok(()) => {}
                    Err(error) => {
                        assert_eq!(error, Error::SockErr);
                        return started;
                    }
                }
            }
        });
        calls.call("connecting", move |engine, asa| {
            let started = Instant::now();
            let asked = engine.req_negotiate(asa, &negotiable("EX1", 1), Some(&unreachable), Some(TIME));
            assert_eq!(failure(asked), Error::SockErrNegRq);
            started
        });
        calls.call("discover", |engine, asa| {
            let started = Instant::now();
            let found = engine.discover(asa, &Objective::new("nobody"), Some(TIME), Discover::default());
            assert_eq!(found.unwrap().len(), 0);
            started
        });
        calls
    }

    /// `body` returns when the call began that waits.
    fn call(&mut self, name: &'static str, body: impl FnOnce(&Engine, AsaNonce) -> Instant + Send + 'static) {
        let tell = self.signalled.0.clone();
        let thread = self.host.thread(move |engine, asa| {
            tell.send(pthread_self()).unwrap();
            body(engine, asa).elapsed()
        });
        self.threads.push((name, thread));
    }

    fn have_returned(&self) -> bool {
        self.threads.iter().all(|(_, thread)| thread.is_finished())
    }

    /// How long each took.
    fn times(self) -> Vec<(&'static str, Duration)> {
        self.threads.into_iter().map(|(name, thread)| (name, joined(thread))).collect()
    }
}

fn host() -> (grasptests::lab::Lab, Host) {
    let (lab, host) = one(Config::new().connect_timeout(Duration::from_millis(TIME.into())));
    host.register(&negotiable("EX1", 0));
    (lab, host)
}

#[test]
fn signals_do_not_extend_a_call() {
    isolated!();
    process::interrupt_by(Signal::SIGUSR1);
    let (_lab, host) = host();
    let calls = Calls::begin(&host);
    let threads: Vec<_> = calls.threads.iter().map(|_| calls.signalled.1.recv().unwrap()).collect();
    // Ten times a second, for longer than the calls may last.
    let started = Instant::now();
    while !calls.have_returned() && started.elapsed() < Duration::from_secs(15) {
        for thread in &threads {
            // One that has returned is not joined yet.
            let _ = pthread_kill(*thread, Signal::SIGUSR1);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let limit = Duration::from_millis(TIME.into()) + MARGIN;
    for (name, time) in calls.times() {
        assert!(time < limit, "{name} took {time:?}");
        assert!(time + MARGIN / 10 >= Duration::from_millis(TIME.into()), "{name} took {time:?}");
    }
    host.expect_quiet();
}

#[test]
fn a_stop_of_the_process_does_not_extend_a_call() {
    isolated!();
    let (_lab, host) = host();
    let calls = Calls::begin(&host);
    calls.threads.iter().for_each(|_| _ = calls.signalled.1.recv().unwrap());
    // Short stops, then one beyond the deadline of every call.
    let script = "for i in 1 2 3; do kill -STOP $1; sleep 0.2; kill -CONT $1; sleep 0.3; done; \
                  kill -STOP $1; sleep 5; kill -CONT $1";
    let pid = std::process::id().to_string();
    let mut stopper = Command::new("sh").args(["-c", script, "sh", &pid]).spawn().expect("a shell");
    assert!(stopper.wait().unwrap().success());
    let continued = Instant::now();
    eventually(SOON * 2, "all calls return", || calls.have_returned());
    assert!(continued.elapsed() < MARGIN, "{:?} later", continued.elapsed());
    // A call that had not begun to wait when the process was stopped is none of this.
    assert!(calls.times().iter().all(|(_, time)| *time >= Duration::from_millis(u64::from(TIME) - 200)));
    host.expect_quiet();
}

/// Where a signal is delivered is the system's choice: it must not be a thread of the engine.
#[test]
fn no_thread_of_the_engine_takes_signals_of_the_program() {
    isolated!();
    let (_lab, host) = host();
    host.register(&synchronizable("EX2", 1));
    host.run(|engine, asa| engine.listen_synchronize(asa, &synchronizable("EX2", 1))).unwrap();
    let wanted = (1_u64 << (Signal::SIGALRM as u32 - 1)) | (1 << (Signal::SIGTERM as u32 - 1));
    let names = ["_mclisten", "_mhandler", "_drlisten", "_tcp_listen", "_synch_listen", "_watcher"];
    eventually(SOON, "all threads have their names", || {
        let running = process::thread_names();
        names.iter().all(|name| running.iter().any(|running| running == name))
    });
    let mut seen = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let Ok(status) = std::fs::read_to_string(path.join("status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.trim_start_matches(name).trim().to_owned()
        };
        let name = field("Name:");
        if name.starts_with('_') {
            let blocked = u64::from_str_radix(&field("SigBlk:"), 16).unwrap();
            assert_eq!(blocked & wanted, wanted, "{name}");
            seen.push(name);
        }
    }
    for name in names {
        assert!(seen.iter().any(|seen| seen == name), "{name} of {seen:?}");
    }
}
