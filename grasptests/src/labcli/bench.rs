//! The network with an engine and an ASA in every node, and how the words of the prompt name its parts.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use grasp::{Acp, Asa, AsaLocator, AsaNonce, Config, Engine, Locator};
use grasptests::domains;
use grasptests::lab::{Lab, LabError, Link, Node, Topology};

use super::{failure::Failure, listen::Registered, printer::Printer};

/// How long an engine may take to notice a change of its interfaces: it looks every two seconds at least.
const NOTICE: Duration = Duration::from_secs(10);

/// Everything that runs.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    pub(crate) places: Vec<Place>,
    pub(crate) cables: Vec<Cable>,
    /// What new links are like.
    pub(crate) impairment: Option<Impairment>,
    /// The loop count of what is asked and told.
    pub(crate) loop_count: u8,
    /// The names ever flooded from the prompt.
    pub(crate) flooded: BTreeSet<String>,
    pub(crate) printer: Arc<Printer>,
    pub(crate) over: Receiver<()>,
    /// Says when a person has had enough of a command.
    pub(crate) interrupts: Receiver<()>,
    /// Dropped at the end: whoever waits for `over` wakes.
    ending: Option<Sender<()>>,
}

/// A node with its engine.
pub(crate) struct Place {
    pub(crate) node: Node,
    pub(crate) asa: Asa,
    /// What the prompt has registered here, by name.
    pub(crate) objectives: BTreeMap<String, Registered>,
    pub(crate) threads: Vec<JoinHandle<()>>,
}

/// What network to build.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) topology: Topology,
    pub(crate) impairment: Option<Impairment>,
    /// All nodes are members of a secure domain.
    pub(crate) domain: bool,
}

/// Delay and loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Impairment {
    pub(crate) delay: Duration,
    pub(crate) loss_percent: f64,
}

/// A link with what was done to it.
pub(crate) struct Cable {
    pub(crate) link: Link,
    pub(crate) state: State,
    pub(crate) impairment: Option<Impairment>,
}

/// Whether a link works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Whole,
    Cut,
    Unplugged,
}

impl Bench {
    /// Builds the network, and starts an engine in every node.
    pub(crate) fn build(
        wanted: &Wanted,
        printer: Arc<Printer>,
        interrupts: Receiver<()>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let lab = Lab::new()?;
        let network = lab.build(wanted.topology)?;
        let authority = wanted.domain.then(domains::authority);
        let (ending, over) = bounded(0);
        let mut bench = Self {
            lab,
            places: Vec::new(),
            cables: Vec::new(),
            impairment: wanted.impairment,
            loop_count: grasp::constants::GRASP_DEF_LOOPCT,
            flooded: BTreeSet::new(),
            printer,
            over,
            interrupts,
            ending: Some(ending),
        };
        for link in network.links {
            bench.add_cable(link)?;
        }
        for node in network.nodes {
            // A node may have no link yet.
            let mut config = Config::new().name(Some(node.name().to_owned())).wait_for_interfaces(true);
            if let Some(authority) = &authority {
                config = config.acp(Acp::Domain(domains::member(authority, node.number())));
            }
            let engine = node
                .run(|| Engine::start(config))
                .map_err(|error| format!("the engine of {} does not start: {error}", node.name()))?;
            let asa = Asa::register(&engine, node.name())?;
            let (objectives, threads) = (BTreeMap::new(), Vec::new());
            bench.places.push(Place { node, asa, objectives, threads });
        }
        if wanted.domain && !noticed(|| bench.places.iter().all(|place| bench.is_connected(place))) {
            bench.printer.say("not all neighbours are connected yet: they try again after 10 s");
        }
        Ok(bench)
    }

    /// Whether the engine of a node has a connection with each neighbour.
    fn is_connected(&self, place: &Place) -> bool {
        let neighbours = self.interfaces(&place.node).map(|(_, cable)| cable.link.members().len() - 1);
        let stats = place.asa.engine().stats();
        stats.neighbours_joined - stats.neighbours_left >= neighbours.sum::<usize>() as u64
    }

    pub(crate) fn add_cable(&mut self, link: Link) -> Result<&Cable, LabError> {
        if let Some(Impairment { delay, loss_percent }) = self.impairment {
            link.set_impairment(delay, loss_percent)?;
        }
        self.cables.push(Cable { link, state: State::Whole, impairment: self.impairment });
        Ok(&self.cables[self.cables.len() - 1])
    }

    /// Carries a call out inside a node. When it is interrupted, it goes on in the background until its time is over or the
    /// lab ends, and nobody hears what it comes to.
    pub(crate) fn call<R: Send + 'static>(
        &mut self,
        at: usize,
        call: impl FnOnce(&Engine, AsaNonce) -> R + Send + 'static,
    ) -> Result<R, Failure> {
        let place = &mut self.places[at];
        let (engine, nonce) = (place.asa.engine().clone(), place.asa.nonce());
        let (tell, told) = bounded(1);
        let name = format!("{} asks", place.node.name());
        let thread = place.node.spawn(&name, move || drop(tell.send(call(&engine, nonce))));
        let interrupts = &self.interrupts;
        let outcome = select! {
            recv(told) -> outcome => outcome.map_err(|_| Failure::Said("the call panicked".to_owned())),
            recv(interrupts) -> _ => Err(Failure::Interrupted),
        };
        place.threads.retain(|thread| !thread.is_finished());
        place.threads.push(thread);
        outcome
    }

    /// Waits so long, unless it is interrupted.
    pub(crate) fn pause(&self, time: Duration) -> Result<(), Failure> {
        match self.interrupts.recv_timeout(time) {
            Ok(()) => Err(Failure::Interrupted),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            // Nobody can interrupt it.
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(time);
                Ok(())
            }
        }
    }

    /// The index of a node, by name.
    pub(crate) fn place(&self, word: &str) -> Result<usize, String> {
        let place = self.places.iter().position(|place| place.node.name() == word);
        place.ok_or_else(|| format!("there is no node {word}: the nodes are {}", self.node_names()))
    }

    pub(crate) fn node_names(&self) -> String {
        match self.places.as_slice() {
            [] => "none".to_owned(),
            [only] => only.node.name().to_owned(),
            [first, .., last] => format!("{} to {}", first.node.name(), last.node.name()),
        }
    }

    /// The indices of the links that a word means: a number, two nodes as `n1-n2`, or `all`.
    pub(crate) fn cables(&self, word: &str) -> Result<Vec<usize>, String> {
        let meant = |cable: &Cable| match word.split_once('-') {
            Some((a, b)) => {
                let has = |name| cable.link.members().iter().any(|(node, _)| node.name() == name);
                a != b && has(a) && has(b)
            }
            None => word == "all" || word.parse() == Ok(cable.link.number()),
        };
        let found: Vec<_> = (0..self.cables.len()).filter(|&index| meant(&self.cables[index])).collect();
        if found.is_empty() {
            Err(format!(
                "there is no link {word}: links are named by their number, by their nodes as n1-n2, or all"
            ))
        } else {
            Ok(found)
        }
    }

    /// The interfaces of a node, each with its link.
    pub(crate) fn interfaces<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = (String, &'a Cable)> {
        self.cables.iter().filter_map(|cable| Some((cable.link.interface(node).ok()?, cable)))
    }

    /// Which node has an address.
    pub(crate) fn owner(&self, address: Ipv6Addr) -> Option<&str> {
        let has = |place: &&Place| {
            self.interfaces(&place.node).any(|(interface, _)| {
                let addresses = place.node.addresses(&interface).unwrap_or_default();
                addresses.iter().any(|(own, _)| *own == address)
            })
        };
        self.places.iter().find(has).map(|place| place.node.name())
    }

    /// A locator with the node that it leads to.
    pub(crate) fn show(&self, locator: &AsaLocator) -> String {
        let owner = match &locator.locator {
            Some(Locator::Ipv6(address)) => self.owner(*address),
            _ => None,
        };
        owner.map_or_else(|| locator.to_string(), |owner| format!("{owner} {locator}"))
    }

    /// Ends every engine and thread.
    pub(crate) fn shut_down(mut self) {
        self.ending = None;
        for place in &self.places {
            place.asa.engine().shutdown();
        }
        for handle in self.places.iter_mut().flat_map(|place| place.threads.drain(..)) {
            if handle.join().is_err() {
                self.printer.say("error: a thread panicked");
            }
        }
    }
}

impl Place {
    /// Calls the engine inside the node, where its sockets are.
    pub(crate) fn run<R: Send>(&self, call: impl FnOnce(&Engine, AsaNonce) -> R + Send) -> R {
        self.node.run(|| call(self.asa.engine(), self.asa.nonce()))
    }

    /// Whether the engine uses an interface.
    pub(crate) fn uses(&self, index: u32) -> bool {
        self.asa.engine().links().iter().any(|(used, _)| *used == index)
    }
}

/// Waits until the engines have noticed a change. Their own clock decides, and a change that they do not
/// notice is for the user to see.
pub(crate) fn noticed(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + NOTICE;
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}
