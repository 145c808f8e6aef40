//! What the socket between a node and its clients costs: a call, a negotiation, and a client that does nothing.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Instant;

use grasp::ipc::{ClientLimits, Server, ServerOptions};
use grasp::{AsaLocator, AsaNonce, Config, Engine, Negotiation, Objective, RegisterObj};
use grasptests::lab::process::resident_kib;
use grasptests::lab::{Lab, eventually};
use grasptests::nodes::{Host, SOON, negotiable, synchronizable};
use grasptests::through_socket;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::figure::{Aim, Figure, Result, alternate, as_f64, per_second};
use super::pair::{Pair, ROUND, negotiated};
use super::process::raise_descriptors;

/// How many calls one measurement is the mean of.
const CALLS: u32 = 3000;
/// How many clients do nothing.
const CLIENTS: usize = 1000;
/// The bytes of a call, and of its answer, as `get_flood` has them.
const CALL: usize = 32;
const ANSWER: usize = 8;

/// A call that does not wait, next to the same bytes over a bare socket with a thread for each client, in microseconds. All threads are on
/// one processor: to wake one on another takes several times as long as the call, and whether that happens is up to the system.
pub(crate) fn call(name: &str, rounds: usize) -> Result<Vec<Figure>> {
    let _one = OneProcessor::begin()?;
    let lab = Lab::new()?;
    let machine = lab.node("a")?;
    lab.lan(&[&machine])?;
    let node = machine.run(|| Served::start(Engine::start(Config::new())?))?;
    let (engine, asa) = node.client("client")?;
    let floor = Bare::start()?;
    let (time, ex3) = (synchronizable("Time", ()), Objective::new("EX3"));
    let get = || {
        engine.get_flood(asa, &time)?;
        Ok(())
    };
    let register = || {
        engine.register_obj(asa, &ex3, RegisterObj::default())?;
        engine.deregister_obj(asa, &ex3)?;
        Ok(())
    };
    let aim = Aim::RatioAtMost(2.0);
    let get = alternate(
        (&format!("{name}_get_flood"), "µs", aim),
        rounds,
        || mean(CALLS, get),
        || mean(CALLS, || floor.ask()),
    )?;
    // Two calls, of an objective that is only discovered: what has a port takes a thread, too, with or without a socket.
    let register = alternate(
        (&format!("{name}_register_obj"), "µs", aim),
        rounds,
        || Ok(mean(CALLS, register)? / 2.0),
        || mean(CALLS, || floor.ask()),
    )?;
    Ok(vec![get, register])
}

/// This thread, and those that it starts, are on one processor until it is dropped.
struct OneProcessor(CpuSet);

impl OneProcessor {
    fn begin() -> Result<Self> {
        let before = sched_getaffinity(Pid::from_raw(0))?;
        let first =
            (0..CpuSet::count()).find(|cpu| before.is_set(*cpu).unwrap_or(false)).ok_or("no processor")?;
        let mut one = CpuSet::new();
        one.set(first)?;
        sched_setaffinity(Pid::from_raw(0), &one)?;
        Ok(Self(before))
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        // It was permitted before.
        let _ = sched_setaffinity(Pid::from_raw(0), &self.0);
    }
}

/// A request that is accepted at once, through the sockets of both nodes, next to engines in this process.
pub(crate) fn negotiate(name: &str, rounds: usize) -> Result<Figure> {
    let mut pair = Pair::start(Config::new());
    pair.accept_with(1);
    let peer = pair.locator(&negotiated())?;
    let far = Through::of(&pair)?;
    let figure = alternate(
        (name, "/s", Aim::RatioAtLeast(0.6)),
        rounds,
        || pair.asking().run(|| per_second(1, ROUND, |_| far.negotiate())),
        || pair.asking().run(|| per_second(1, ROUND, |_| pair.negotiate(&negotiated(), &peer))),
    )?;
    far.end();
    pair.check()?;
    Ok(figure)
}

/// What a client that does nothing costs its node: memory and threads, with a thousand of them.
pub(crate) fn clients(name: &str) -> Result<Vec<Figure>> {
    raise_descriptors()?;
    let lab = Lab::new()?;
    let machine = lab.node("a")?;
    lab.lan(&[&machine])?;
    let node = machine.run(|| Served::start(Engine::start(Config::new())?))?;
    let connect = |count: usize| {
        (0..count).map(|_| Engine::connect(&node.path)).collect::<std::result::Result<Vec<_>, _>>()
    };
    // What the first ones cost besides is not of the clients.
    let mut clients = connect(50)?;
    let (memory, threads) = (resident_kib(), node.engine.thread_count());
    clients.extend(connect(CLIENTS)?);
    eventually(SOON, "all are connected", || node.server.clients().len() == clients.len());
    // The other ends are in this process as well.
    let grown = f64::from(u32::try_from(resident_kib().saturating_sub(memory))?) / as_f64(CLIENTS)?;
    let more = as_f64(node.engine.thread_count() - threads)? / as_f64(CLIENTS)?;
    Ok(vec![
        Figure::plain(format!("{name}_memory"), "KiB", Aim::AtMost(64.0), grown),
        Figure::plain(format!("{name}_threads"), "", Aim::AtMost(1.0), more),
    ])
}

/// An engine that listens at a socket.
struct Served {
    engine: Engine,
    server: Server,
    path: std::path::PathBuf,
}

impl Served {
    fn start(engine: Engine) -> Result<Self> {
        let mut limits = ClientLimits::new();
        (limits.clients, limits.clients_per_user) = (2 * CLIENTS, 2 * CLIENTS);
        let path = through_socket::path();
        let server = Server::start(&engine, ServerOptions::new(&path).limits(limits))?;
        Ok(Self { engine, server, path })
    }

    fn client(&self, name: &str) -> Result<(Engine, AsaNonce)> {
        let engine = Engine::connect(&self.path)?;
        let asa = engine.register_asa(name)?;
        Ok((engine, asa))
    }
}

/// Clients of both engines of a pair, of which one asks and the other accepts.
struct Through {
    nodes: [Served; 2],
    asker: (Engine, AsaNonce),
    peer: AsaLocator,
    accepting: thread::JoinHandle<()>,
}

impl Through {
    fn of(pair: &Pair) -> Result<Self> {
        let serve = |host: &Host| host.run(|engine, _| Served::start(engine.clone()));
        let nodes = [serve(&pair.asker)?, serve(&pair.answerer)?];
        let (asker, answerer) = (nodes[0].client("asker")?, nodes[1].client("answerer")?);
        let objective = negotiable("EX5", negotiated().value);
        asker.0.register_obj(asker.1, &objective, RegisterObj::default())?;
        answerer.0.register_obj(answerer.1, &objective, RegisterObj::default())?;
        let host = Host { node: pair.answering().clone(), engine: answerer.0, asa: answerer.1 };
        let peer = host.locator("EX5");
        let accepting = thread::Builder::new().spawn(move || {
            while let Ok((session, _)) = host.engine.listen_negotiate(host.asa, &objective) {
                let _ = host.engine.end_negotiate(host.asa, session, true, None);
            }
        })?;
        eventually(SOON, "the client listens", || {
            nodes[1].engine.objectives().iter().any(|view| view.objective.name == "EX5" && view.listening > 0)
        });
        Ok(Self { nodes, asker, peer, accepting })
    }

    fn negotiate(&self) -> Result<()> {
        let (engine, asa) = &self.asker;
        let objective = negotiable("EX5", negotiated().value);
        match engine.req_negotiate(*asa, &objective, Some(&self.peer), None)? {
            Negotiation::Agreed(_) => Ok(()),
            Negotiation::Offer(..) => Err("an offer where acceptance was due".into()),
        }
    }

    /// Ends the clients, and with them the thread that accepts.
    fn end(self) {
        let Self { nodes, asker, accepting, .. } = self;
        asker.0.shutdown();
        nodes.into_iter().for_each(|node| node.server.stop());
        let _ = accepting.join();
    }
}

/// A bare server with a thread for each client, and one client of it.
struct Bare {
    stream: std::cell::RefCell<UnixStream>,
}

impl Bare {
    fn start() -> Result<Self> {
        let path = through_socket::path();
        let listener = UnixListener::bind(&path)?;
        let stream = UnixStream::connect(&path)?;
        std::fs::remove_file(&path)?;
        let (mut served, _) = listener.accept()?;
        thread::Builder::new().spawn(move || {
            let mut call = [0; CALL];
            while served.read_exact(&mut call).and_then(|()| served.write_all(&[0; ANSWER])).is_ok() {}
        })?;
        Ok(Self { stream: stream.into() })
    }

    fn ask(&self) -> Result<()> {
        let mut stream = self.stream.borrow_mut();
        stream.write_all(&[0; CALL])?;
        Ok(stream.read_exact(&mut [0; ANSWER])?)
    }
}

/// How long something takes, in microseconds.
fn mean(count: u32, work: impl Fn() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    for _ in 0..count {
        work()?;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / f64::from(count))
}
