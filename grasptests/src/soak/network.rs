//! The lab of the soak, and the engines and ASAs on its nodes.

use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use grasp::domain::{Authority, Kept};
use grasp::{AsaNonce, Engine, Error, Locator, Objective, RegisterObj, Value};
use parking_lot::Mutex;

use super::{LOCATOR_TTL, MARGIN, Shared, haggle, join};
use crate::domains;
use crate::lab::{Lab, LabError, Link, Node};
use crate::nodes::{negotiable, synchronizable};

/// How many nodes there are.
pub(super) const NODES: usize = 6;
/// The links of each node.
const LINKS_OF: [&[usize]; NODES] = [&[0], &[0], &[0, 1], &[1], &[1, 2], &[2]];
/// The node that relays between a link and the next.
const RELAYS: [usize; 2] = [2, 4];
/// How many threads of a server listen for negotiations.
const LISTENERS: usize = 4;

/// The domain of all nodes, if they are in one.
pub(super) struct Domain {
    authority: Authority,
    /// What each node has.
    pub(super) members: [Arc<Kept>; NODES],
}

impl Domain {
    pub(super) fn new() -> Self {
        let authority = domains::authority();
        let members = std::array::from_fn(|node| domains::credentials(&authority, number(node)));
        Self { authority, members }
    }

    /// Gives a node another key and certificate, as if its own were about to expire.
    pub(super) fn renew(&self, node: usize) {
        self.members[node].replace(domains::credentials(&self.authority, number(node)).current());
    }
}

/// The number of a node in the names that are certified.
fn number(node: usize) -> u8 {
    u8::try_from(node + 1).unwrap_or(u8::MAX)
}

/// Lab, links and nodes.
pub(super) struct Network {
    pub(super) nodes: Vec<Node>,
    pub(super) links: Vec<Link>,
    live: [Mutex<Option<Live>>; NODES],
    _lab: Lab,
}

/// A running engine with its two ASAs.
struct Live {
    here: Here,
    listeners: Vec<JoinHandle<()>>,
}

/// What a call needs of a node.
#[derive(Clone)]
pub(super) struct Here {
    pub(super) node: usize,
    pub(super) engine: Engine,
    /// Asks.
    pub(super) client: AsaNonce,
    /// Answers.
    pub(super) server: AsaNonce,
}

/// The nodes and links between two nodes, as bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) nodes: u32,
    pub(super) links: u32,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<_> =
            (0..NODES).filter(|node| self.nodes & 1 << node != 0).map(|node| node + 1).collect();
        write!(f, "nodes {nodes:?}")
    }
}

impl Path {
    pub(super) fn between(a: usize, b: usize) -> Self {
        let mut path = Self { nodes: 1 << a | 1 << b, links: 0 };
        if a == b {
            return path;
        }
        let pairs = LINKS_OF[a].iter().flat_map(|x| LINKS_OF[b].iter().map(move |y| (*x.min(y), *x.max(y))));
        let (first, last) = pairs.min_by_key(|(first, last)| last - first).unwrap_or((0, RELAYS.len()));
        for link in first..=last {
            path.links |= 1 << link;
        }
        for relay in &RELAYS[first..last] {
            path.nodes |= 1 << relay;
        }
        path
    }
}

impl Network {
    pub(super) fn new() -> Result<Self, LabError> {
        let lab = Lab::new()?;
        let nodes = (1..=NODES).map(|i| lab.node(&format!("n{i}"))).collect::<Result<Vec<_>, _>>()?;
        let mut links = Vec::new();
        for number in 0..=RELAYS.len() {
            let on_it = (0..NODES).filter(|node| LINKS_OF[*node].contains(&number));
            links.push(lab.lan(&on_it.map(|node| &nodes[node]).collect::<Vec<_>>())?);
        }
        lab.route_all()?;
        Ok(Self { nodes, links, live: Default::default(), _lab: lab })
    }

    /// The engine of a node, if one runs.
    pub(super) fn here(&self, node: usize) -> Option<Here> {
        self.live[node].lock().as_ref().map(|live| live.here.clone())
    }

    /// What the engines on a path have dropped since they started, for whoever looks for a cause.
    pub(super) fn drops(&self, path: Path) -> String {
        let mut text = String::new();
        for (node, engine) in self.running().into_iter().filter(|(node, _)| path.nodes & 1 << node != 0) {
            let named = engine.stats().named();
            let wanted = ["dropped", "refused", "failed", "unanswered", "limit", "not_relayed"];
            let dropped = named.iter().filter(|(name, count)| {
                *count > 0 && wanted.iter().any(|part| name.contains(part)) && *name != "dropped_malformed"
            });
            let dropped: Vec<_> = dropped.map(|(name, count)| format!("{name} {count}")).collect();
            text.push_str(&format!("; n{}: {}", node + 1, dropped.join(", ")));
        }
        text
    }

    pub(super) fn running(&self) -> Vec<(usize, Engine)> {
        (0..NODES).filter_map(|node| self.here(node).map(|here| (node, here.engine))).collect()
    }

    /// The nodes of which some neighbour is not connected, or one too many, with how many are; empty if there is none.
    pub(super) fn unconnected(&self) -> String {
        let mut text = Vec::new();
        for (node, links) in LINKS_OF.iter().enumerate() {
            let on = |link: &usize| LINKS_OF.iter().filter(|links| links.contains(link)).count() - 1;
            let wanted: usize = links.iter().map(on).sum();
            let stats = self.here(node).map(|here| here.engine.stats()).unwrap_or_default();
            let connected = stats.neighbours_joined - stats.neighbours_left;
            if connected != wanted as u64 {
                text.push(format!("n{} has {connected} of {wanted}", node + 1));
            }
        }
        text.join(", ")
    }

    /// A second address of a node that has one link, in the same prefix.
    pub(super) fn other_address(&self, node: usize) -> Option<(Ipv6Addr, Ipv6Addr)> {
        let [link] = LINKS_OF[node] else { return None };
        let first = self.links[*link].ula(&self.nodes[node])?;
        let mut other = first.segments();
        other[7] |= 0x1000;
        Some((first, Ipv6Addr::from(other)))
    }

    /// Whether a locator is an address of a node: the lab numbers them.
    pub(super) fn is_at(&self, locator: Option<&Locator>, node: usize) -> bool {
        let Some(Locator::Ipv6(address)) = locator else { return false };
        address.segments()[7] & 0x0fff == self.nodes[node].number()
    }
}

/// The objectives of a node: to negotiate, to synchronize, to be had in rapid mode, flooded. The loop count has room
/// for the longest negotiation; a discovery with it asks twice within its time.
pub(super) fn negotiated(node: usize) -> Objective {
    Objective { loop_count: 9, ..negotiable(&format!("N{node}"), 0) }
}

pub(super) fn synchronized(node: usize, count: i64) -> Objective {
    synchronizable(&format!("S{node}"), value(node, count))
}

pub(super) fn rapid(node: usize) -> Objective {
    synchronizable(&format!("R{node}"), value(node, 0))
}

pub(super) fn flooded(node: usize, count: i64) -> Objective {
    synchronizable(&format!("F{node}"), value(node, count))
}

/// A value that says whose it is.
fn value(node: usize, count: i64) -> Value {
    Value::Array(vec![Value::from(node), Value::from(count)])
}

/// The count in a value of a node; none if it is anything else.
pub(super) fn count_of(found: &Value, node: usize) -> Option<i64> {
    let [whose, count] = found.as_array()? else { return None };
    (whose.as_i64() == i64::try_from(node).ok()).then_some(count.as_i64()?)
}

/// Starts the engine of a node with its ASAs.
pub(super) fn start(shared: &Arc<Shared>, node: usize) -> Result<(), String> {
    let engine = shared.network.nodes[node].run(|| Engine::start(shared.config(node)));
    let engine = engine.map_err(|error| format!("the engine of n{} does not start: {error}", node + 1))?;
    let live = register(shared, node, &engine)
        .map_err(|error| format!("the ASAs of n{} do not start: {error}", node + 1))?;
    *shared.network.live[node].lock() = Some(live);
    Ok(())
}

/// Registers both ASAs. Ports belong to the network namespace of the thread that makes them.
fn register(shared: &Arc<Shared>, node: usize, engine: &Engine) -> Result<Live, Error> {
    shared.network.nodes[node].run(|| register_here(shared, node, engine))
}

fn register_here(shared: &Arc<Shared>, node: usize, engine: &Engine) -> Result<Live, Error> {
    let (client, server) = (engine.register_asa("client")?, engine.register_asa("server")?);
    let here = Here { node, engine: engine.clone(), client, server };
    let offered = RegisterObj { ttl: Some(LOCATOR_TTL), discoverable: true, ..RegisterObj::default() };
    engine.register_obj(server, &negotiated(node), offered.clone())?;
    let known = shared.values[node].known.load(std::sync::atomic::Ordering::SeqCst);
    engine.register_obj(server, &synchronized(node, known), offered.clone())?;
    engine.register_obj(server, &rapid(node), RegisterObj { rapid: true, ..offered.clone() })?;
    engine.register_obj(server, &flooded(node, 0), RegisterObj::default())?;
    engine.listen_synchronize(server, &synchronized(node, known))?;
    engine.listen_synchronize(server, &rapid(node))?;
    for other in (0..NODES).filter(|other| *other != node) {
        engine.register_obj(client, &negotiated(other), RegisterObj::default())?;
    }
    let listener = |_| {
        let (shared, here) = (Arc::clone(shared), here.clone());
        shared.network.nodes[node].clone().spawn("listener", move || haggle::listen(&shared, &here))
    };
    Ok(Live { listeners: (0..LISTENERS).map(listener).collect(), here })
}

/// Stops the engine of a node.
pub(super) fn stop(shared: &Shared, node: usize) {
    let Some(live) = shared.network.live[node].lock().take() else { return };
    let panics = live.here.engine.stats().panics;
    if panics != 0 {
        shared.report.unexpected(format!("n{}: {panics} panics", node + 1));
    }
    let began = Instant::now();
    live.here.engine.shutdown();
    if began.elapsed() > MARGIN {
        shared.report.unexpected(format!("shutdown of n{} took {:?}", node + 1, began.elapsed()));
    }
    listeners_end(shared, node, live.listeners);
}

/// Deregisters the ASAs of a node, and registers them again after a while.
pub(super) fn restart_asas(shared: &Arc<Shared>, node: usize, away: Duration) -> Result<(), String> {
    let Some(live) = shared.network.live[node].lock().take() else { return Ok(()) };
    let engine = &live.here.engine;
    let gone = engine.deregister_asa(live.here.client, "client");
    let gone = gone.and_then(|()| engine.deregister_asa(live.here.server, "server"));
    gone.map_err(|error| format!("the ASAs of n{} do not stop: {error}", node + 1))?;
    listeners_end(shared, node, live.listeners);
    std::thread::sleep(away);
    let live = register(shared, node, engine)
        .map_err(|error| format!("the ASAs of n{} do not start again: {error}", node + 1))?;
    *shared.network.live[node].lock() = Some(live);
    Ok(())
}

fn listeners_end(shared: &Shared, node: usize, listeners: Vec<JoinHandle<()>>) {
    if let Err(error) = join(listeners, Duration::from_secs(10)) {
        shared.report.unexpected(format!("n{}: a listener is not woken: {error}", node + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_the_links_and_relays_between() {
        let of = |a, b| {
            let path = Path::between(a, b);
            (path.nodes, path.links)
        };
        assert_eq!(of(0, 1), (0b11, 0b1));
        assert_eq!(of(0, 2), (0b101, 0b1));
        assert_eq!(of(2, 3), (0b1100, 0b10));
        assert_eq!(of(0, 5), (0b11_0101, 0b111));
        assert_eq!(of(5, 2), (0b11_0100, 0b110));
        assert_eq!(of(3, 3), (0b1000, 0));
    }
}
