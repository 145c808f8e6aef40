//! Processes and nodes that come and go: a ring of nodes with a graspd each, under which processes in Rust, a shell and Python
//! are killed at random and started again, and so are the nodes. A listener on all links hears what the nodes send.
//!
//! `GRASP_CHURN_SECONDS` is how long, `GRASP_CHURN_SEED` what happens, `GRASP_PYTHON` an interpreter with the module.

mod listener;
mod process;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use grasptests::lab::{Lab, LabError, Node, Topology, eventually, isolated};
use nix::sys::signal::Signal;
use serde_json::{Value as Json, json};

use self::listener::Listener;
use self::process::{Kind, Process, Said};
use crate::command::{Ended, Running, command};
use crate::graspd::daemon::{Graspd, Place};

/// For one event; on a machine with nothing else to do all of them take less than a second.
const SOON: Duration = Duration::from_secs(60);

/// For one search; others may be on their way meanwhile.
const SEARCH: &str = "30s";

/// The ASA of graspd itself.
const OWN: &str = "graspd";

const NODES: usize = 5;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// What graspd offers itself.
fn of_node(at: usize) -> String {
    format!("churn:node{}", at + 1)
}

fn seconds() -> u64 {
    variable("GRASP_CHURN_SECONDS").unwrap_or(20)
}

/// A node and its graspd, unless that has been killed.
struct Site {
    node: Node,
    place: Place,
    graspd: Option<Graspd>,
    lives: Arc<AtomicU64>,
}

impl Site {
    fn start(&mut self) {
        self.lives.fetch_add(1, Ordering::Relaxed);
        self.graspd = Some(Graspd::start(&self.node, &self.place));
    }

    fn kill(&mut self) {
        if let Some(mut graspd) = self.graspd.take() {
            graspd.signal(Signal::SIGKILL);
            graspd.ends();
        }
    }

    fn grasp(&self, words: &[&str]) -> Command {
        let mut command = command(&self.node, words);
        command.env("GRASP_SOCKET", self.place.0.join("grasp.sock"));
        command
    }

    /// What a verb shows, object by object; nothing where there is nothing to show.
    fn shows(&self, verb: &str) -> Vec<Json> {
        let ended = Ended::from(self.grasp(&[verb, "--json"]).output().expect("it starts"));
        if ended.status == 1 { Vec::new() } else { ended.objects() }
    }

    /// Where an objective is served here.
    fn port(&self, name: &str) -> Json {
        let objectives = self.shows("objectives");
        let one = objectives.iter().find(|object| object["objective"] == name);
        one.unwrap_or_else(|| panic!("{name} is not registered"))["port"].clone()
    }
}

/// What has happened.
#[derive(Debug, Default)]
struct Figures {
    rounds: u64,
    processes_killed: u64,
    nodes_killed: u64,
    found: u64,
    slowest_find: Duration,
    slowest_news: Duration,
    slowest_cleaning: Duration,
}

/// A search that is on its way.
struct Search {
    /// The index of the node that looks.
    asker: usize,
    /// What the answer must contain.
    wanted: String,
    running: Running,
}

impl Search {
    /// Waits for its end, which must be a good one. Which node has looked.
    #[track_caller]
    fn finds(self, what: &str) -> usize {
        let Self { asker, wanted, running } = self;
        let ended = running.end();
        assert!(
            ended.status == 0 && ended.out.contains(&wanted),
            "n{} looks for {what}, and gets {ended:?} without {wanted}",
            asker + 1
        );
        asker
    }
}

struct Churn {
    sites: Vec<Site>,
    processes: Vec<Process>,
    random: fastrand::Rng,
    figures: Figures,
}

impl Churn {
    /// A ring with everything in it, and a listener on its links.
    fn new(lab: &Lab, kinds: &[Kind], random: fastrand::Rng) -> Result<(Self, Listener), LabError> {
        let network = lab.build(Topology::Ring(NODES.try_into().expect("few")))?;
        let site = |(at, node): (usize, &Node)| {
            let place = Place::new("");
            place.objective("static", &format!("name = '{}'\nvalue = 1\nflood_every = 0", of_node(at)));
            Site { node: node.clone(), place, graspd: None, lives: Arc::default() }
        };
        let mut sites: Vec<_> = network.nodes.iter().enumerate().map(site).collect();
        let lives: Vec<_> = sites.iter().map(|site| (site.node.number(), Arc::clone(&site.lives))).collect();
        let life = move |number| {
            let one = lives.iter().find(|(node, _)| *node == number);
            one.map_or(0, |(_, lives)| lives.load(Ordering::Relaxed))
        };
        let listener = Listener::start(&lab.node("listener")?, &network.links, life);
        sites.iter_mut().for_each(Site::start);
        let processes = (0..NODES).flat_map(|at| kinds.iter().map(move |kind| Process::new(*kind, at)));
        let processes = processes.collect();
        Ok((Self { sites, processes, random, figures: Figures::default() }, listener))
    }

    /// Starts processes, and waits until they offer what they have.
    fn start(&mut self, which: &[usize]) {
        for &number in which {
            let process = &mut self.processes[number];
            let site = &self.sites[process.at];
            process.start(&site.node, &site.place.0.join("grasp.sock"));
        }
        which.iter().for_each(|&number| self.processes[number].offers(Said::default()));
    }

    /// Each node that runs has what its processes that run have registered, and nothing else.
    fn check_registrations(&mut self) {
        let started = Instant::now();
        for (at, site) in self.sites.iter().enumerate().filter(|(_, site)| site.graspd.is_some()) {
            let (mut names, mut count) = (vec![of_node(at)], 0);
            for process in self.processes.iter().filter(|process| process.at == at && process.is_running()) {
                let (registered, asas) = process.registers();
                names.extend(registered);
                count += asas;
            }
            names.sort();
            let (mut seen, mut others) = (Vec::new(), 0);
            let deadline = Instant::now() + SOON;
            while (&seen, others) != (&names, count) {
                assert!(
                    Instant::now() < deadline,
                    "n{}: {seen:?} of {others}, not {names:?} of {count}",
                    at + 1
                );
                let name = |object: &Json| object["objective"].as_str().map(str::to_owned);
                seen = site.shows("objectives").iter().filter_map(name).collect();
                seen.sort();
                others = site.shows("asas").iter().filter(|object| object["asa"] != OWN).count();
            }
        }
        self.figures.slowest_cleaning = self.figures.slowest_cleaning.max(started.elapsed());
    }

    /// Looks for something at a node from one that is two hops away, unless there is none.
    fn search(&mut self, at: usize, words: &[&str], wanted: String) -> Option<Search> {
        let mut askers: Vec<_> = [2, 3].iter().map(|hops| (at + hops) % NODES).collect();
        askers.retain(|at| self.sites[*at].graspd.is_some());
        let asker = *self.random.choice(&askers)?;
        let mut command = self.sites[asker].grasp(words);
        command.args(["--json", "--timeout", SEARCH]);
        Some(Search { asker, wanted, running: Running(command.spawn().expect("it starts")) })
    }

    /// Finds each of these processes by one search, all at the same time.
    fn find(&mut self, which: &[usize]) {
        let started = Instant::now();
        let mut searches = Vec::new();
        for &number in which {
            let process = &self.processes[number];
            let (at, name) = (process.at, process.name.clone());
            let search = if process.keeps_its_port() && self.random.bool() {
                let wanted = format!("\"port\":{},", self.sites[at].port(&name));
                self.search(at, &["discover", &name], wanted)
            } else {
                let wanted = format!("\"value\":{}}}\n", process.life);
                self.search(at, &["get", &name], wanted)
            };
            searches.extend(search.map(|search| (number, search)));
        }
        for (number, search) in searches {
            let Process { name, life, .. } = &self.processes[number];
            let asker = &self.sites[search.finds(&format!("{name} (life {life})"))];
            self.figures.found += 1;
            if let Some(flooded) = self.processes[number].floods() {
                let is_it = |object: &Json| object["objective"] == flooded && object["value"] == json!(life);
                let what = format!("{} hears that {flooded} is {life}", asker.node.name());
                eventually(SOON, &what, || asker.shows("floods").iter().any(is_it));
            }
        }
        self.figures.slowest_find = self.figures.slowest_find.max(started.elapsed());
    }

    /// Finds what graspd offers itself.
    fn find_node(&mut self, at: usize) {
        let name = of_node(at);
        let wanted = format!("\"port\":{},", self.sites[at].port(&name));
        if let Some(search) = self.search(at, &["discover", &name], wanted) {
            search.finds(&name);
            self.figures.found += 1;
        }
    }

    /// Kills some processes, and perhaps a node, and has them come back.
    fn round(&mut self) {
        let mut killed: Vec<_> = (0..self.processes.len()).collect();
        self.random.shuffle(&mut killed);
        killed.truncate(self.random.usize(1..=3));
        let node = (self.random.u8(0..10) < 4).then(|| self.random.usize(0..NODES));
        let said: Vec<_> = self.processes.iter().map(Process::said).collect();
        let is_node_first = self.random.bool();
        let mut since = Instant::now();
        if let (Some(at), true) = (node, is_node_first) {
            self.sites[at].kill();
        }
        killed.iter().for_each(|&number| self.processes[number].kill());
        if let (Some(at), false) = (node, is_node_first) {
            since = Instant::now();
            self.sites[at].kill();
        }
        self.figures.processes_killed += killed.len() as u64;
        self.figures.nodes_killed += u64::from(node.is_some());

        // Who lives under a node that has gone hears of it.
        let orphans: Vec<_> = (0..self.processes.len())
            .filter(|&number| Some(self.processes[number].at) == node && self.processes[number].is_running())
            .collect();
        for &number in &orphans {
            let news = self.processes[number].is_told(said[number], since);
            self.figures.slowest_news = self.figures.slowest_news.max(news);
        }
        self.check_registrations();

        // Others are found while the node is away.
        let (late, early): (Vec<_>, Vec<_>) =
            killed.into_iter().partition(|&number| Some(self.processes[number].at) == node);
        if self.random.bool()
            && let Some(at) = node
        {
            self.sites[at].start();
        }
        self.start(&early);
        self.find(&early);

        if let Some(at) = node {
            if self.sites[at].graspd.is_none() {
                self.sites[at].start();
            }
            self.start(&late);
            orphans.iter().for_each(|&number| self.processes[number].offers(said[number]));
            self.find(&[late, orphans].concat());
            self.find_node(at);
        }
        self.check_registrations();
        self.figures.rounds += 1;
    }
}

#[test]
fn processes_and_nodes_come_and_go() -> Result<(), LabError> {
    isolated!(seconds() + 240);
    let seed = variable("GRASP_CHURN_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("GRASP_CHURN_SEED={seed}");
    let mut kinds = vec![Kind::Rust, Kind::Shell];
    if std::env::var_os("GRASP_PYTHON").is_some() {
        kinds.push(Kind::Python);
    } else {
        println!("GRASP_PYTHON names no interpreter: no process in Python takes part");
    }
    let lab = Lab::new()?;
    let (mut churn, listener) = Churn::new(&lab, &kinds, fastrand::Rng::with_seed(seed))?;
    let deadline = Instant::now() + Duration::from_secs(seconds());
    churn.start(&(0..NODES * kinds.len()).collect::<Vec<_>>());
    churn.check_registrations();
    let mut floods = 0;
    while churn.figures.rounds == 0 || Instant::now() < deadline {
        churn.round();
        floods = listener.check();
    }
    let figures = &churn.figures;
    println!("{figures:#?}\n{floods} times a node has sent a flood, each once");
    assert!(floods > 0 && figures.found > 0, "something has happened");
    Ok(())
}
