//! Discovery: the time until the first answer, on the link and through four relays. The floor sends the same messages
//! between bare sockets in the same network: a multicast out, a TCP connection back, at every hop.

use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use grasp::wire::{Body, Response, WireLocator, WireObjective, WireOption};
use grasp::{Acp, AsaLocator, Config, Discover, Engine, Objective};
use grasptests::domains::{authority, credentials};
use grasptests::lab::{ALL_GRASP_NEIGHBORS, Lab, Node, RawUdp, Topology, eventually};
use grasptests::nodes::{Host, SOON, discoverable, negotiable};
use socket2::SockRef;

use super::figure::{Aim, Figure, Result, alternate, median_time};
use super::pair::bytes;

/// The port of the bare sockets: not GRASP's, so that the engines do not hear them.
const PORT: u16 = 7117;
/// How often is asked in a round: what four relays pass on in all rounds stays within their rates.
const ASKED: usize = 12;
/// The pause before each question: a relay keeps a discovery open until its time is over, half a second, and has
/// room for 64.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a bare socket waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it takes a bare relay at most to notice that the measurement is over.
const NOTICE: Duration = Duration::from_millis(100);

/// The time until the first answer over so many hops.
pub(crate) fn first(name: &str, hops: u16, aim: Aim, rounds: usize) -> Result<Figure> {
    first_of((name, hops, aim), rounds, |_| Config::new(), |_| Ok(()))
}

/// The same in a secure domain, whose neighbours are connected with each other.
pub(crate) fn first_in_domain(name: &str, hops: u16, aim: Aim, rounds: usize) -> Result<Figure> {
    let authority = authority();
    first_of(
        (name, hops, aim),
        rounds,
        |number| Config::new().acp(Acp::Domain(credentials(&authority, number))),
        |hosts| {
            for (index, host) in hosts.iter().enumerate() {
                let wanted = if index == 0 || index + 1 == hosts.len() { 1 } else { 2 };
                eventually(SOON, "the neighbours are connected", || {
                    host.engine.stats().neighbours_joined >= wanted
                });
            }
            Ok(())
        },
    )
}

fn first_of(
    (name, hops, aim): (&str, u16, Aim),
    rounds: usize,
    config: impl Fn(u8) -> Config,
    ready: impl Fn(&[Host]) -> Result<()>,
) -> Result<Figure> {
    let lab = Lab::new()?;
    let nodes = lab.build(Topology::Line(hops + 1))?.nodes;
    let (Some(asking), Some(answering)) = (nodes.first(), nodes.last()) else {
        return Err("no nodes".into());
    };
    // Every question is about another objective: a relay that knows the answer would not relay.
    let questions = (rounds + 1) * ASKED;
    let start = |(node, number): (&Node, u8)| Host::start(node, config(number).objective_limit(questions));
    let hosts: Vec<_> = nodes.iter().zip(1..).map(start).collect();
    ready(&hosts)?;
    let (Some(asker), Some(answerer)) = (hosts.first(), hosts.last()) else { return Err("no hosts".into()) };
    let objectives: Vec<_> = (0..questions).map(|number| negotiable(&format!("EX{number}"), 0)).collect();
    objectives.iter().for_each(|objective| answerer.register_with(objective, discoverable()));
    let asked = AtomicUsize::new(0);

    let bare = Bare::start(&nodes)?;
    let figure = alternate(
        (name, "µs", aim),
        rounds,
        || {
            asker.run(|engine, asa| {
                median_time(ASKED, PAUSE, || {
                    let objective = objectives.get(asked.fetch_add(1, Ordering::Relaxed));
                    discover(engine, asa, objective.ok_or("more questions than objectives")?)
                })
            })
        },
        || asking.run(|| median_time(ASKED, PAUSE, || bare.ask())),
    )?;
    drop(bare);
    for host in &hosts {
        host.engine.shutdown();
    }
    let _ = answering;
    Ok(figure)
}

fn discover(engine: &Engine, asa: grasp::AsaNonce, objective: &Objective) -> Result<()> {
    let options = Discover { enough: Some(1), ..Discover::default() };
    match engine.discover(asa, objective, None, options)?.len() {
        1 => Ok(()),
        _ => Err(format!("{} was not discovered", objective.name).into()),
    }
}

/// The same without engines: a node that asks, relays, and one that answers.
struct Bare {
    mouth: Mouth,
    question: Vec<u8>,
    stopping: Arc<AtomicBool>,
}

impl Bare {
    fn start(nodes: &[Node]) -> Result<Self> {
        let [asking, relays @ .., answering] = nodes else { return Err("too few nodes".into()) };
        let stopping = Arc::new(AtomicBool::new(false));
        let (question, answer) = question_and_answer(answering)?;
        let ear = ear(answering)?;
        let stop = Arc::clone(&stopping);
        answering.spawn("bare-answer", move || {
            while let Some((_, asker)) = hear(&ear, &stop) {
                // An asker that gets no answer fails, and with it the measurement.
                let _ = send_back(asker, &answer);
            }
        });
        for node in relays {
            let (ear, mouth, stop) = (self::ear(node)?, Mouth::open(node, "eth1")?, Arc::clone(&stopping));
            node.spawn("bare-relay", move || {
                while let Some((datagram, asker)) = hear(&ear, &stop) {
                    let _ = mouth.ask(&datagram).and_then(|answer| send_back(asker, &answer));
                }
            });
        }
        Ok(Self { mouth: Mouth::open(asking, "eth0")?, question, stopping })
    }

    fn ask(&self) -> Result<()> {
        self.mouth.ask(&self.question).map(drop)
    }
}

impl Drop for Bare {
    /// The threads end on their own.
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// What sends questions out of an interface, and hears the answers on the same port over TCP.
struct Mouth {
    datagrams: RawUdp,
    answers: TcpListener,
}

impl Mouth {
    fn open(node: &Node, interface: &str) -> Result<Self> {
        let (address, index) = (node.link_local(interface)?, node.interface_index(interface)?);
        let bound = SocketAddrV6::new(address, 0, 0, index);
        let answers = node.run(|| TcpListener::bind(bound))?;
        SockRef::from(&answers).set_read_timeout(Some(PATIENCE))?;
        let datagrams = RawUdp::open(node, interface, address, answers.local_addr()?.port())?;
        Ok(Self { datagrams, answers })
    }

    fn ask(&self, question: &[u8]) -> Result<Vec<u8>> {
        self.datagrams.send(question, ALL_GRASP_NEIGHBORS, PORT)?;
        let (mut stream, _) = self.answers.accept()?;
        let mut chunk = [0; 2048];
        let count = stream.read(&mut chunk)?;
        Ok(chunk.get(..count).filter(|answer| !answer.is_empty()).ok_or("an empty answer")?.to_vec())
    }
}

/// A socket that hears the questions that come to the first interface of a node.
fn ear(node: &Node) -> Result<RawUdp> {
    let ear = RawUdp::open(node, "eth0", Ipv6Addr::UNSPECIFIED, PORT)?;
    ear.join(ALL_GRASP_NEIGHBORS)?;
    ear.socket().set_read_timeout(Some(NOTICE))?;
    Ok(ear)
}

/// The next question, and where it came from; `None` when the measurement is over.
fn hear(ear: &RawUdp, stopping: &AtomicBool) -> Option<(Vec<u8>, SocketAddrV6)> {
    let mut chunk = [0; 2048];
    while !stopping.load(Ordering::Relaxed) {
        if let Ok((count, std::net::SocketAddr::V6(asker))) = ear.socket().recv_from(&mut chunk) {
            return Some((chunk.get(..count)?.to_vec(), asker));
        }
    }
    None
}

fn send_back(asker: SocketAddrV6, answer: &[u8]) -> Result<()> {
    Ok(TcpStream::connect(asker)?.write_all(answer)?)
}

/// What engines say in the same place.
fn question_and_answer(answering: &Node) -> Result<(Vec<u8>, Vec<u8>)> {
    let ula = answering.ula().ok_or("the node has no address")?;
    let (session, initiator) = (0x8765_4321, ula.into());
    let objective = WireObjective::from_objective(&negotiable("EX100", ()));
    let locator = WireLocator::from_locator(&AsaLocator::new(ula, None)).ok_or("no locator")?;
    let options = vec![WireOption::Locator(locator)];
    let response = Response { session, initiator, ttl: 600_000, options, objective: None };
    Ok((bytes(Body::Discovery { session, initiator, objective }), bytes(Body::Response(response))))
}
