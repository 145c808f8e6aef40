//! Nodes, links and ASAs come and go at given rates, for a long time: whether what is flooded and looked for is found
//! nevertheless, how long that takes, and what remains of it all.

use grasp::Error;

use super::ask::{Asked, Held, Offer, ask, hops};
use super::network::Network;
use super::queue::Queue;
use super::random::Random;
use super::scenario::{Counts, Setting};

/// How long what is flooded is valid, in milliseconds.
const FLOOD_TTL: u32 = 3_600_000;
/// How long an ASA looks for a peer, in milliseconds: the default timeout (RFC 8990 §2.6).
const TIMEOUT: u32 = 60_000;
/// After a move an ASA is looked for when it has been at its new node for so long, in microseconds.
const MOVED: u64 = 1_000_000;
/// A second, in microseconds.
const SECOND: u64 = 1_000_000;
/// By then all lifetimes are over, in microseconds: an hour in caches, and the time of a discovery.
const OVER: u64 = 2 * 3600 * SECOND;

/// How long something is there and away in the mean, in microseconds: each time between half and one and a half of it.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// There.
    pub up: u64,
    /// Away.
    pub down: u64,
}

fn about(mean: u64, random: &mut Random) -> u64 {
    mean / 2 + random.below(usize::try_from(mean).unwrap_or(usize::MAX)) as u64
}

/// What comes and goes, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// A node; when it comes back it has forgotten everything.
    pub node: Life,
    /// A link; its nodes do not notice.
    pub link: Life,
    /// An ASA, each time at another node.
    pub asa: Life,
    /// How many ASAs there are.
    pub asas: usize,
    /// How long all this lasts, in microseconds.
    pub duration: u64,
    /// How often a flood and a discovery are tried, in microseconds.
    pub probe: u64,
}

/// Discoveries of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Searches {
    /// Those for something that could be reached within the loop count.
    pub tried: usize,
    /// Those that needed more than one question.
    pub again: usize,
    /// How long those took that were successful, in microseconds.
    pub times: Vec<u64>,
}

impl Searches {
    fn add(&mut self, asked: Asked) {
        self.tried += 1;
        self.again += usize::from(asked.questions > 1);
        self.times.extend(asked.reached.then_some(asked.time));
    }

    /// The time that this part of the successful ones did not exceed, in microseconds; 0 if there is none.
    #[must_use]
    pub fn within(&self, part: f64) -> u64 {
        let mut times = self.times.clone();
        times.sort_unstable();
        let last = times.len().saturating_sub(1);
        times.get((last as f64 * part).round() as usize).copied().unwrap_or(0)
    }
}

/// The figures of churn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChurnFigures {
    /// How many times a node, a link, an ASA went away.
    pub left: [u64; 3],
    /// Floods, the pairs of a flood and a node within its loop count, and how many of these it has reached.
    pub floods: (u64, u64, u64),
    /// Discoveries by some node of some ASA, at some time.
    pub regular: Searches,
    /// Discoveries of an ASA that has just moved, by a node that knew its old place.
    pub moved: Searches,
    /// Discoveries of an ASA that has just moved, by any other node.
    pub others: Searches,
    /// Times at which the chosen ASA was out of reach for the chosen node.
    pub unreachable: u64,
    /// What a node held, at most.
    pub most: Held,
    /// What a node still holds when everything is over, at most.
    pub remains: Held,
    /// What was dropped at nodes that have not started again since.
    pub stats: Counts,
}

enum Change {
    Node(usize),
    Link(usize),
    Asa(usize),
    /// An ASA has moved: the node that knew its old place looks for it, then another.
    Moved(usize, Option<usize>),
    Probe,
}

/// A network under churn.
struct Churn<'a> {
    setting: &'a Setting<'a>,
    rates: &'a Rates,
    network: Network,
    random: Random,
    agenda: Queue<Change>,
    offers: Vec<Offer>,
    /// By ASA, the node that knew its old place.
    knowing: Vec<Option<usize>>,
    figures: ChurnFigures,
}

/// Lets everything come and go, and looks at it.
///
/// # Errors
/// Those of floods and discoveries.
pub fn churn(setting: &Setting<'_>, rates: &Rates) -> Result<ChurnFigures, Error> {
    let mut churn = Churn {
        setting,
        rates,
        network: setting.network(),
        random: Random::new(setting.seed ^ 0x4348_5552_4e00),
        agenda: Queue::default(),
        offers: Vec::new(),
        knowing: vec![None; rates.asas],
        figures: ChurnFigures::default(),
    };
    churn.begin()?;
    while let Some((at, change)) = churn.agenda.pop(rates.duration) {
        // A search may have taken until after this moment.
        churn.network.run_to(at)?;
        churn.change(change)?;
    }
    churn.finish()
}

impl Churn<'_> {
    fn begin(&mut self) -> Result<(), Error> {
        let nodes = self.setting.topology.nodes;
        for node in 0..nodes {
            self.first(self.rates.node, Change::Node(node));
        }
        for segment in 0..self.setting.topology.segments.len() {
            self.first(self.rates.link, Change::Link(segment));
        }
        for asa in 0..self.rates.asas {
            let objective = self.setting.objective(&format!("ASA:{asa}"));
            let mut offer = Offer { objective, home: None, port: 1024 };
            offer.begin(&mut self.network, self.random.below(nodes))?;
            self.offers.push(offer);
            self.first(self.rates.asa, Change::Asa(asa));
        }
        self.agenda.push(self.rates.probe, Change::Probe);
        Ok(())
    }

    /// Everything has begun some time ago: the first changes are spread over a whole life.
    fn first(&mut self, life: Life, change: Change) {
        let at = self.random.below(usize::try_from(life.up).unwrap_or(usize::MAX)) as u64;
        self.agenda.push(at, change);
    }

    fn later(&mut self, mean: u64, change: Change) {
        let at = self.network.now() + about(mean, &mut self.random);
        self.agenda.push(at, change);
    }

    fn change(&mut self, change: Change) -> Result<(), Error> {
        match change {
            Change::Node(node) => self.node(node),
            Change::Link(segment) => {
                let cut = self.network.carries(segment);
                self.network.cut(segment, cut);
                self.figures.left[1] += u64::from(cut);
                let life = self.rates.link;
                self.later(if cut { life.down } else { life.up }, Change::Link(segment));
                Ok(())
            }
            Change::Asa(asa) => self.asa(asa),
            Change::Moved(asa, knowing) => self.moved(asa, knowing),
            Change::Probe => self.probe(),
        }
    }

    fn node(&mut self, node: usize) -> Result<(), Error> {
        let leaves = self.network.is_up(node);
        self.network.unplug(node, leaves);
        if leaves {
            self.figures.left[0] += 1;
            self.later(self.rates.node.down, Change::Node(node));
            return Ok(());
        }
        self.network.restart(node);
        for offer in self.offers.iter_mut().filter(|offer| offer.home == Some(node)) {
            offer.begin(&mut self.network, node)?;
        }
        self.later(self.rates.node.up, Change::Node(node));
        Ok(())
    }

    fn asa(&mut self, asa: usize) -> Result<(), Error> {
        if self.offers[asa].home.is_some() {
            // Someone finds it, so that it is known there and on the way.
            let asker = self.search(asa, None)?.map(|(asker, _)| asker);
            self.knowing[asa] = asker;
            self.offers[asa].end(&mut self.network);
            self.figures.left[2] += 1;
            self.later(self.rates.asa.down, Change::Asa(asa));
            return Ok(());
        }
        let home = self.up();
        self.offers[asa].begin(&mut self.network, home)?;
        let knowing = self.knowing[asa].take();
        self.agenda.push(self.network.now() + MOVED, Change::Moved(asa, knowing));
        self.later(self.rates.asa.up, Change::Asa(asa));
        Ok(())
    }

    fn moved(&mut self, asa: usize, knowing: Option<usize>) -> Result<(), Error> {
        if let Some(knowing) = knowing
            && let Some((_, asked)) = self.search(asa, Some(knowing))?
        {
            self.figures.moved.add(asked);
        }
        if let Some((_, asked)) = self.search(asa, None)? {
            self.figures.others.add(asked);
        }
        Ok(())
    }

    /// Some node that is up.
    fn up(&mut self) -> usize {
        loop {
            let node = self.random.below(self.setting.topology.nodes);
            if self.network.is_up(node) {
                return node;
            }
        }
    }

    /// A node, or any that is up, looks for an ASA. `None` if that is out of reach.
    fn search(&mut self, asa: usize, asker: Option<usize>) -> Result<Option<(usize, Asked)>, Error> {
        let asker = asker.unwrap_or_else(|| self.up());
        let hops = hops(&self.network, self.setting, asker);
        let offer = self.offers[asa].clone();
        let far = offer.home.filter(|home| *home != asker).and_then(|home| hops[home]);
        if far.is_none_or(|far| far > self.setting.loop_count.into()) {
            return Ok(None);
        }
        Ok(Some((asker, ask(&mut self.network, asker, &offer, &hops, TIMEOUT)?)))
    }

    fn probe(&mut self) -> Result<(), Error> {
        let source = self.up();
        let near = hops(&self.network, self.setting, source);
        let near =
            |node: usize| near[node].is_some_and(|hops| (1..=self.setting.loop_count.into()).contains(&hops));
        let objective = self.setting.objective(&format!("VALUE:{}", self.figures.floods.0 % 100));
        let now = self.network.now();
        let flow = self.network.flood_at(now, source, objective, FLOOD_TTL);
        self.network.run_to(now + SECOND)?;
        let heard = self.network.take_hops(flow);
        let (floods, pairs, reached) = &mut self.figures.floods;
        *floods += 1;
        *pairs += (0..heard.len()).filter(|node| near(*node)).count() as u64;
        *reached += (0..heard.len()).filter(|node| near(*node) && heard[*node].is_some()).count() as u64;
        let asa = self.random.below(self.offers.len());
        match self.search(asa, None)? {
            Some((_, asked)) => self.figures.regular.add(asked),
            None => self.figures.unreachable += 1,
        }
        self.network.tally.found.clear();
        self.figures.most = self.figures.most.or(Held::of(&self.network));
        self.agenda.push(now + self.rates.probe, Change::Probe);
        Ok(())
    }

    fn finish(mut self) -> Result<ChurnFigures, Error> {
        self.network.run_to(self.rates.duration.max(self.network.now()) + OVER)?;
        self.figures.remains = Held::of(&self.network);
        self.figures.stats = Counts::of(&self.network);
        Ok(self.figures)
    }
}
