//! What is done to the network, and which calls that explains.

use std::io::Write as _;
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::network::{self, NODES, Path};
use super::{Security, Shared};
use crate::lab::{ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT, LabError, RawUdp};
use crate::simulator::random::Random;

/// Where a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Link(usize),
    Node(usize),
}

#[derive(Debug)]
struct Record {
    place: Place,
    /// When it ended, and how long after that it explains failures.
    ended: Option<(Instant, Duration)>,
}

/// The faults that are in force or were so lately.
#[derive(Debug)]
pub(super) struct Faults {
    records: Mutex<Vec<Record>>,
    aftermath: Duration,
}

impl Faults {
    /// Faults explain failures for this long after their end.
    pub(super) const fn new(aftermath: Duration) -> Self {
        Self { records: Mutex::new(Vec::new()), aftermath }
    }

    /// The network has recovered: what has ended explains failures for this long from now on, and no longer.
    pub(super) fn shorten(&self, aftermath: Duration) {
        let now = Instant::now();
        for ended in self.records.lock().iter_mut().filter_map(|one| one.ended.as_mut()) {
            ended.1 = ended.1.min(now - ended.0 + aftermath);
        }
    }

    fn begin(&self, place: Place) {
        let mut records = self.records.lock();
        // No call takes longer.
        records.retain(|one| one.ended.is_none_or(|(ended, _)| ended.elapsed() < Duration::from_secs(300)));
        records.push(Record { place, ended: None });
    }

    fn end(&self, place: Place) {
        for one in self.records.lock().iter_mut().filter(|one| one.place == place && one.ended.is_none()) {
            one.ended = Some((Instant::now(), self.aftermath));
        }
    }

    /// The last few, with the seconds since each ended, for whoever looks for a cause.
    pub(super) fn latest(&self) -> String {
        let ago = |one: &Record| match one.ended {
            Some((ended, _)) => format!("{:?} {:.1} s ago", one.place, ended.elapsed().as_secs_f64()),
            None => format!("{:?} now", one.place),
        };
        let latest: Vec<_> = self.records.lock().iter().rev().take(4).map(ago).collect();
        latest.join(", ")
    }

    /// Whether a fault on the way between two nodes was in force since a call began, or ended shortly before.
    pub(super) fn explain(&self, path: Path, began: Instant) -> bool {
        self.records.lock().iter().any(|one| {
            let on_path = match one.place {
                Place::Link(link) => path.links & 1 << link != 0,
                Place::Node(node) => path.nodes & 1 << node != 0,
            };
            on_path && one.ended.is_none_or(|(ended, aftermath)| ended + aftermath >= began)
        })
    }
}

/// The kinds of faults, as the report names them.
const KINDS: [&str; 6] = ["cut", "unplug", "loss and delay", "address", "engine", "ASAs"];
/// How many of a hundred are renewals in a domain, which explain nothing: sessions and neighbours stay.
const RENEWALS: usize = 15;

/// Injects one fault after the other until it is told to end, and undoes each.
pub(super) fn start(shared: &Arc<Shared>, round: u64, ending: Arc<AtomicBool>) -> JoinHandle<()> {
    let (shared, seed) = (Arc::clone(shared), shared.settings.seed);
    spawn("faults", move || {
        let mut random = Random::new(seed ^ (round << 32) ^ 0xfa17);
        while !ending.load(Ordering::Relaxed) && !shared.ended.load(Ordering::Relaxed) {
            if shared.settings.security == Security::Domain && random.below(100) < RENEWALS {
                shared.domain.renew(random.below(NODES));
                shared.report.fault("renewal");
                continue;
            }
            let kind = random.below(KINDS.len());
            let place = match kind {
                0..=2 => Place::Link(random.below(shared.network.links.len())),
                _ => Place::Node(random.below(NODES)),
            };
            let time = Duration::from_millis(500 + random.below(3000) as u64);
            shared.faults.begin(place);
            shared.report.fault(KINDS[kind]);
            if let Err(error) = inject(&shared, kind, place, time, &mut random) {
                shared.report.unexpected(format!("{} at {place:?}: {error}", KINDS[kind]));
            }
            shared.faults.end(place);
            std::thread::sleep(Duration::from_millis(200 + random.below(800) as u64));
        }
    })
}

fn inject(
    shared: &Arc<Shared>,
    kind: usize,
    place: Place,
    time: Duration,
    random: &mut Random,
) -> Result<(), String> {
    let say = |error: LabError| error.to_string();
    match place {
        Place::Link(link) => {
            let link = &shared.network.links[link];
            match kind {
                0 => link.cut().map_err(say)?,
                1 => link.unplug().map_err(say)?,
                _ => {
                    let delay = Duration::from_millis(5 + random.below(195) as u64);
                    link.set_impairment(delay, random.below(31) as f64).map_err(say)?;
                }
            }
            std::thread::sleep(time);
            if kind == 2 { link.clear_impairment().map_err(say) } else { link.heal().map_err(say) }
        }
        Place::Node(node) => match kind {
            3 => {
                let machine = &shared.network.nodes[node];
                let Some((first, other)) = shared.network.other_address(node) else { return Ok(()) };
                machine.add_address("eth0", other, 64).map_err(say)?;
                machine.remove_address("eth0", first, 64).map_err(say)?;
                std::thread::sleep(time);
                machine.add_address("eth0", first, 64).map_err(say)?;
                machine.remove_address("eth0", other, 64).map_err(say)
            }
            4 => {
                network::stop(shared, node);
                std::thread::sleep(time);
                network::start(shared, node)
            }
            _ => network::restart_asas(shared, node, time),
        },
    }
}

/// Sends nonsense to ports and groups all the time. It explains nothing: it must do no harm.
pub(super) fn start_hostile(shared: &Arc<Shared>) -> JoinHandle<()> {
    let (shared, seed) = (Arc::clone(shared), shared.settings.seed);
    spawn("hostile", move || {
        let mut random = Random::new(seed ^ 0x0bad);
        while shared.pause(Duration::from_millis(100 + random.below(200) as u64)) {
            if shared.resting.load(Ordering::Relaxed) {
                continue;
            }
            let node = random.below(NODES);
            let Some(here) = shared.network.here(node) else { continue };
            let bytes = nonsense(&mut random);
            let machine = &shared.network.nodes[node];
            if random.chance(0.5) {
                let ports = ports(&here.engine.dump(true));
                let Some(port) = ports.get(random.below(ports.len())) else { continue };
                let target = SocketAddr::from((Ipv6Addr::LOCALHOST, *port));
                machine.run(|| {
                    let connected = TcpStream::connect_timeout(&target, Duration::from_millis(500));
                    // It may be refused, or closed while it writes.
                    let _ = connected.and_then(|mut stream| stream.write_all(&bytes));
                });
            } else if let Ok(socket) = RawUdp::open(machine, "eth0", Ipv6Addr::UNSPECIFIED, 0) {
                // The interface may be down.
                let _ = socket.socket().set_multicast_loop_v6(true);
                let _ = socket.send(&bytes, ALL_GRASP_NEIGHBORS, GRASP_LISTEN_PORT);
            }
            shared.report.fault("nonsense");
        }
    })
}

/// Random bytes; the beginning of an array or text without its end; a message with nonsense behind.
fn nonsense(random: &mut Random) -> Vec<u8> {
    let mut bytes = match random.below(4) {
        0 => vec![0x9a, 0xff, 0xff, 0xff, 0xff],
        1 => vec![0x84, random.below(12) as u8, 0x1a, 0, 0, 0, 1],
        2 => vec![0x7b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        _ => Vec::new(),
    };
    bytes.extend((0..random.below(600)).map(|_| (random.bits() >> 8) as u8));
    bytes
}

/// The TCP ports of the objectives, as `dump_all` shows them.
fn ports(dump: &str) -> Vec<u16> {
    let port = |line: &str| line.split_once(" Port: ")?.1.split(' ').next()?.parse().ok();
    dump.lines().filter_map(port).filter(|port| *port != 0).collect()
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    thread.unwrap_or_else(|error| panic!("no thread for the soak: {error}"))
}
