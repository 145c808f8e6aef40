//! An engine under attack, with honest neighbours on both sides of it, and the attacker beside them.
//!
//! ```text
//!   friend ---+--- victim --- far
//!   attacker -+
//! ```

use std::fmt::Debug;
use std::net::{Ipv6Addr, SocketAddrV6, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use grasp::{AsaLocator, Config, Discover, Engine, Negotiation, Objective, Stats, TaggedObjective, Value};
use grasptests::accounts::assert_accounts;
use grasptests::lab::process::{descriptors, resident_kib, threads};
use grasptests::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, Lab, Link, Node, RawUdp, eventually};
use grasptests::nodes::{Host, RawStream, negotiable, overlapping, synchronizable};

/// How long the process may take to be as it was: the longest deadline of the engine in these tests, and a busy
/// machine.
pub(crate) const LATER: Duration = Duration::from_secs(30);
/// How much more memory there may be after an attack than before the first, in KiB. Two engines hear the attacker: in
/// each it may fill 8 MiB of the flood cache, and 8 MiB of the queue for a moment. The allocator keeps the stacks of
/// threads that have ended, and pieces of its arenas.
const MEMORY: u64 = 32 * 1024;
/// How much a repetition of the attack may add in KiB: what is bounded is full by then. The rest is what the
/// allocator does with many threads.
const AGAIN: u64 = 8 * 1024;

/// What a process has taken from the system.
#[derive(Clone, Debug)]
struct Footprint {
    threads: usize,
    engine_threads: usize,
    descriptors: usize,
    memory: u64,
}

/// The nodes, and what the process was like before the attack.
pub(crate) struct Scene {
    /// The attacker's link.
    pub(crate) link: Link,
    /// The link on the victim's other side.
    pub(crate) behind: Link,
    pub(crate) victim: Host,
    pub(crate) friend: Host,
    pub(crate) far: Host,
    pub(crate) attacker: Node,
    round: AtomicU32,
    /// Its links vanish with it.
    pub(crate) _lab: Lab,
}

impl Scene {
    /// A victim with this configuration; its neighbours have the defaults.
    pub(crate) fn new(config: Config) -> Self {
        Self::with(config, Config::new())
    }

    /// A victim and neighbours with these configurations.
    pub(crate) fn with(config: Config, others: Config) -> Self {
        Self::each([config, others.clone(), others])
    }

    /// A victim, its friend on the attacker's link, and the one behind it with these configurations.
    pub(crate) fn each([config, friend_config, far_config]: [Config; 3]) -> Self {
        // Shown when a test fails. Not more: the engine says a sentence about everything it drops.
        let _ = env_logger::builder().is_test(true).filter_level(log::LevelFilter::Info).try_init();
        let lab = Lab::new().unwrap();
        let node = |name| lab.node(name).unwrap();
        let (victim, friend, far, attacker) = (node("victim"), node("friend"), node("far"), node("attacker"));
        let link = lab.lan(&[&victim, &friend, &attacker]).unwrap();
        let behind = lab.link(&victim, &far).unwrap();
        Self {
            link,
            behind,
            victim: serving(Host::start(&victim, config)),
            friend: serving(Host::start(&friend, friend_config)),
            far: serving(Host::start(&far, far_config)),
            attacker,
            round: AtomicU32::new(0),
            _lab: lab,
        }
    }

    /// Attacks, and again, and looks after each whether the engine serves and has given everything back.
    pub(crate) fn survives(&self, attack: impl Fn(&Self)) {
        self.still_serves();
        let before = self.at_rest();
        attack(self);
        let first = self.recovered(&before);
        attack(self);
        let second = self.recovered(&before);
        eprintln!("before {before:?}\nonce   {first:?}\ntwice  {second:?}");
        assert!(first.memory <= before.memory + MEMORY, "memory: {before:?} {first:?}");
        assert!(second.memory <= first.memory + AGAIN, "memory: {first:?} {second:?}");
    }

    /// An ordinary discovery, negotiation, synchronization and flood succeed, in both directions and through the
    /// victim.
    pub(crate) fn still_serves(&self) {
        let round = self.round.fetch_add(1, Ordering::Relaxed);
        for (asker, server) in [(&self.friend, &self.victim), (&self.victim, &self.friend)] {
            discovers(asker, &neg_of(server));
            negotiates(asker, server).unwrap();
            synchronizes(asker, server);
            floods(asker, &[server], round);
        }
        // What is found through the relay cannot be reached without a route, which is not GRASP's business.
        discovers(&self.friend, &neg_of(&self.far));
        floods(&self.far, &[&self.victim, &self.friend], round);
        let panics = [&self.victim, &self.friend, &self.far].map(|host| host.engine.stats().panics);
        assert_eq!(panics, [0; 3]);
    }

    /// The engine serves, and threads, descriptors and sessions are where they were.
    fn recovered(&self, before: &Footprint) -> Footprint {
        self.still_serves();
        let mut last = self.footprint();
        let what = format!("everything is given back: {before:?}");
        eventually(LATER, &what, || {
            last = self.footprint();
            let back = last.threads <= before.threads
                && last.engine_threads <= before.engine_threads
                && last.descriptors <= before.descriptors
                && self.victim.engine.open_sessions() == 0;
            if !back {
                std::thread::sleep(Duration::from_millis(50));
            }
            back
        });
        // Nothing was lost without being counted.
        for host in [&self.victim, &self.friend, &self.far] {
            assert_accounts(&host.engine);
        }
        last
    }

    /// What the process has when nothing happens: threads that have just been used may wait to be used again.
    fn at_rest(&self) -> Footprint {
        let (mut last, mut since) = (self.footprint(), Instant::now());
        eventually(LATER, "the process is at rest", || {
            std::thread::sleep(Duration::from_millis(20));
            let now = self.footprint();
            if (now.threads, now.descriptors) != (last.threads, last.descriptors) {
                since = Instant::now();
            }
            last = now;
            self.victim.engine.open_sessions() == 0 && since.elapsed() > Duration::from_millis(400)
        });
        last
    }

    fn footprint(&self) -> Footprint {
        Footprint {
            threads: threads(),
            engine_threads: self.victim.engine.thread_count(),
            descriptors: descriptors(),
            memory: resident_kib(),
        }
    }

    /// How much the victim's counters grow during something.
    pub(crate) fn counted(&self, body: impl FnOnce()) -> Growth<'_> {
        let before = self.victim.engine.stats();
        body();
        Growth { engine: &self.victim.engine, before }
    }

    /// A socket of the attacker's that sends to the group, and hears it.
    pub(crate) fn neighbour(&self) -> RawUdp {
        RawUdp::neighbors(&self.attacker, "eth0").unwrap()
    }

    /// A socket of the attacker's at its link-local address.
    pub(crate) fn at_link_local(&self) -> RawUdp {
        RawUdp::open(&self.attacker, "eth0", self.link.link_local(&self.attacker), 0).unwrap()
    }

    /// Where the victim takes requests for what it negotiates, or serves as a value.
    pub(crate) fn port_of(&self, name: &str) -> SocketAddrV6 {
        SocketAddrV6::new(self.link.ula(&self.victim.node).unwrap(), self.victim.port(name), 0, 0)
    }

    /// Every port that the victim listens on, seen from the attacker: two objectives and the responses. Makes the
    /// victim ask for something, to learn the last one.
    pub(crate) fn ports(&self) -> [SocketAddrV6; 3] {
        let [neg, synch] = [neg_of(&self.victim), syn_of(&self.victim)].map(|name| self.port_of(&name));
        [neg, synch, self.response_port()]
    }

    /// Where the victim wants the answers to its discoveries, seen from the attacker.
    pub(crate) fn response_port(&self) -> SocketAddrV6 {
        self.response_port_at(&self.attacker, &self.link)
    }

    /// Where it wants those from the other side, seen from the node there.
    pub(crate) fn response_port_behind(&self) -> SocketAddrV6 {
        self.response_port_at(&self.far.node, &self.behind)
    }

    fn response_port_at(&self, node: &Node, link: &Link) -> SocketAddrV6 {
        let ears = RawUdp::neighbors(node, "eth0").unwrap();
        let victim = link.link_local(&self.victim.node);
        let wanted = Objective { loop_count: 1, ..Objective::new("nobody has this") };
        let asked = self.victim.run(|engine, asa| engine.discover(asa, &wanted, None, Discover::default()));
        asked.unwrap();
        let heard = ears.receive_matching(LATER, |datagram| *datagram.source.ip() == victim).unwrap();
        let port = heard.expect("the victim's discovery").source.port();
        SocketAddrV6::new(victim, port, 0, node.interface_index("eth0").unwrap())
    }
}

/// How counters have grown.
pub(crate) struct Growth<'a> {
    engine: &'a Engine,
    before: Stats,
}

impl Growth<'_> {
    /// By how much, now.
    pub(crate) fn of(&self, counter: fn(&Stats) -> u64) -> u64 {
        counter(&self.engine.stats()) - counter(&self.before)
    }

    /// Waits until a counter has grown by so much, and not by more.
    #[track_caller]
    pub(crate) fn is(&self, what: &str, counter: fn(&Stats) -> u64, by: usize) {
        self.at_least(what, counter, by);
        assert_eq!(self.of(counter), u64::try_from(by).unwrap(), "{what}");
    }

    /// Waits until a counter has grown by so much or more.
    #[track_caller]
    pub(crate) fn at_least(&self, what: &str, counter: fn(&Stats) -> u64, by: usize) {
        let by = u64::try_from(by).unwrap();
        let deadline = Instant::now() + LATER;
        while self.of(counter) < by {
            assert!(Instant::now() < deadline, "{what}: {} of {by}", self.of(counter));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What a host negotiates.
pub(crate) fn neg_of(host: &Host) -> String {
    format!("neg:{}", host.node.name())
}

/// What a host serves the value of.
pub(crate) fn syn_of(host: &Host) -> String {
    format!("syn:{}", host.node.name())
}

/// Lets a host negotiate, each request in a thread of its own, and serve a value.
fn serving(host: Host) -> Host {
    let (neg, synch) = (negotiable(&neg_of(&host), ()), synchronizable(&syn_of(&host), host.node.name()));
    host.register_with(&neg, overlapping());
    host.register(&synch);
    host.run(|engine, asa| engine.listen_synchronize(asa, &synch)).unwrap();
    drop(host.thread(move |engine, asa| {
        loop {
            match engine.listen_negotiate(asa, &neg) {
                Ok((session, offer)) => {
                    let engine = engine.clone();
                    let one = move || {
                        let stepped = engine.negotiate_step(asa, session, &offer, Some(1000));
                        // The peer may have gone. An error before the step was sent, such as a loop count that is used up,
                        // leaves the session open.
                        let accept = matches!(stepped, Ok(Negotiation::Offer(..)));
                        let _ = engine.end_negotiate(asa, session, accept, None);
                    };
                    drop(std::thread::Builder::new().name("session".to_owned()).spawn(one));
                }
                Err(_) => return,
            }
        }
    }));
    host
}

/// Finds an objective anew. The machine may be busy: the discovery repeats its question.
#[track_caller]
pub(crate) fn discovers(asker: &Host, name: &str) {
    let options = Discover { flush: true, enough: Some(1), ..Discover::default() };
    let found =
        asker.run(|engine, asa| engine.discover(asa, &Objective::new(name), Some(20_000), options)).unwrap();
    assert!(!found.is_empty(), "{} does not find {name}", asker.node.name());
}

/// A negotiation of two steps with a host, which agrees. The peer is not looked for.
pub(crate) fn negotiates(asker: &Host, server: &Host) -> Result<(), impl Debug + use<>> {
    negotiates_at(asker, server, Some(&server.locator(&neg_of(server))))
}

/// The same with a peer that is looked for, if it is not given.
pub(crate) fn negotiates_at(
    asker: &Host,
    server: &Host,
    at: Option<&AsaLocator>,
) -> Result<(), impl Debug + use<>> {
    let wish = negotiable(&neg_of(server), vec![Value::from("NZD"), Value::from(47)]);
    asker.run(|engine, asa| {
        // For the first time or not.
        let _ = engine.register_obj(asa, &wish, overlapping());
        let reply = engine.req_negotiate(asa, &wish, at, Some(10_000));
        let Ok(Negotiation::Offer(session, offer)) = reply else { return Err(format!("{reply:?}")) };
        assert_eq!(offer.value, wish.value);
        match engine.negotiate_step(asa, session, &offer, Some(10_000)) {
            Ok(Negotiation::Agreed(_)) => Ok(()),
            reply => Err(format!("{reply:?}")),
        }
    })
}

#[track_caller]
fn synchronizes(asker: &Host, server: &Host) {
    let wanted = synchronizable(&syn_of(server), ());
    let at = server.locator(&wanted.name);
    let value = asker.run(|engine, asa| engine.synchronize(asa, &wanted, Some(&at), Some(10_000)));
    assert_eq!(value.unwrap().value, Value::from(server.node.name()));
}

/// Floods a new value, until it is there: a datagram may get lost on a busy machine.
#[track_caller]
fn floods(from: &Host, to: &[&Host], round: u32) {
    let objective = synchronizable(&format!("flood:{}", from.node.name()), round);
    from.run(|engine, asa| {
        let _ = engine.register_obj(asa, &objective, overlapping());
        let source = grasp::AsaLocator::new(engine.session_locator(), None).with_port(1);
        let tagged = TaggedObjective::new(objective.clone(), Some(source));
        let mut tries = 0;
        eventually(LATER, "the flood arrives", || {
            if tries % 200 == 0 {
                engine.flood(asa, 60_000, std::slice::from_ref(&tagged)).unwrap();
            }
            tries += 1;
            to.iter().all(|to| flooded(to, &objective.name) == Some(objective.value.clone()))
        });
    });
}

/// The latest value in a host's flood cache.
pub(crate) fn flooded(host: &Host, name: &str) -> Option<Value> {
    let cached = host.engine.get_flood(host.asa, &synchronizable(name, ())).unwrap();
    cached.last().map(|tagged| tagged.objective.value.clone())
}

/// Connects from the node that the calling thread is in.
pub(crate) fn dial(to: SocketAddrV6) -> TcpStream {
    TcpStream::connect_timeout(&to.into(), LATER).expect("a connection")
}

/// A connection from the attacker.
pub(crate) fn call(scene: &Scene, to: SocketAddrV6) -> RawStream {
    RawStream::reach(&scene.attacker, to)
}

/// Sends to the group.
pub(crate) fn multicast(socket: &RawUdp, message: &Value) {
    socket.send(&message.encode(), ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT).unwrap();
}

/// The link-local address of a neighbour that does not exist.
pub(crate) fn nobody(number: u32) -> Ipv6Addr {
    let [a, b, c, d] = number.to_be_bytes();
    let join = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0xbad, 0, join(a, b), join(c, d))
}
