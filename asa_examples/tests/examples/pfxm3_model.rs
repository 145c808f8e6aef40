//! pfxm3's books in a model network: whatever happens to the messages of its negotiations, no address is lost,
//! and none has two owners.
//!
//! Nodes ask each other for prefixes. Every step of a negotiation is an event of its own, in any order, and
//! every step can fail: the asker gives up before an offer comes, or while it is on its way; an old request is
//! answered late; the acceptance is lost, or cannot be sent, or is sent although its sender was told that it
//! could not be; the giver stops waiting while the asker still accepts.

use std::net::Ipv6Addr;
use std::time::Instant;

use asa_examples::pfxm::{Answer, Ending, Family, Ledger, Message, Pool, Prefix, Ticket, answer, judge};
use grasp::AsaLocator;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const NODES: usize = 4;
const POOLS: [&str; 2] = ["10.0.0.0/16", "2001:db8::/40"];

/// What happens next; the numbers choose to whom and how.
type Event = (u8, u8, u8, u8);

/// How the books of a giver are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Giver {
    /// As in pfxm3.
    Careful,
    /// As graspy's: what is not known to be accepted is free.
    Hopeful,
    /// The opposite mistake: what is not known to be refused is gone.
    Fearful,
}

#[derive(Debug)]
struct Session {
    asker: usize,
    giver: usize,
    request: Message,
    /// The asker still waits for an answer.
    asking: bool,
    /// The giver has not handled it yet.
    queued: bool,
    offer: Option<Prefix>,
    /// The giver still waits for the end.
    ticket: Option<Ticket>,
    /// What the giver will hear.
    heard: Option<Ending>,
}

struct Model {
    kind: Giver,
    nodes: Vec<Ledger>,
    sessions: Vec<Session>,
}

fn address(node: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::try_from(node).unwrap())
}

fn locator(node: usize) -> AsaLocator {
    AsaLocator::new(address(node), None)
}

impl Model {
    fn new(kind: Giver) -> Self {
        let mut nodes: Vec<Ledger> = (0..NODES).map(|_| Ledger::new()).collect();
        assert!(POOLS.iter().all(|pool| nodes[0].receive(pool.parse().unwrap())));
        Self { kind, nodes, sessions: Vec::new() }
    }

    fn happen(&mut self, (what, who, how, extra): Event) {
        let node = usize::from(who) % NODES;
        let session = (!self.sessions.is_empty()).then(|| usize::from(who) % self.sessions.len().max(1));
        match (what % 10, session) {
            (0 | 1, _) => self.ask(node, usize::from(how) % NODES, extra),
            (2 | 3, Some(session)) => self.handle(session),
            (4 | 5, Some(session)) => self.judge(session, how),
            (6, Some(session)) => self.conclude(session),
            (7, Some(session)) => self.give_up(session, how),
            (8, _) => {
                let (family, length) = if how.is_multiple_of(2) {
                    (Family::V6, 44 + extra % 8)
                } else {
                    (Family::V4, 18 + extra % 8)
                };
                self.nodes[node].delegate(family, length);
            }
            (9, _) => _ = self.nodes[node].join(),
            _ => {}
        }
        self.sessions.retain(|session| session.asking || session.queued || session.ticket.is_some());
    }

    /// An asker asks for one prefix at a time. It may be unaware of how its last negotiation ended elsewhere.
    fn ask(&mut self, asker: usize, giver: usize, how: u8) {
        if asker == giver || self.sessions.iter().any(|session| session.asker == asker && session.asking) {
            return;
        }
        let (family, length) =
            if how.is_multiple_of(2) { (Family::V6, 41 + how % 8) } else { (Family::V4, 17 + how % 8) };
        let mut request = Message { family, length, prefix: None };
        if let Some(named) = self.nodes[asker].unsettled_with(&locator(giver), family).filter(|_| how >= 64) {
            request = Message { family: named.family(), length: named.length(), prefix: Some(named) };
        }
        self.sessions.push(Session {
            asker,
            giver,
            request,
            asking: true,
            queued: true,
            offer: None,
            ticket: None,
            heard: None,
        });
    }

    /// The giver answers, even if nobody waits for that any more.
    fn handle(&mut self, index: usize) {
        let session = &mut self.sessions[index];
        if !std::mem::take(&mut session.queued) {
            return;
        }
        match answer(&mut self.nodes[session.giver], address(session.asker), &session.request) {
            Answer::Offer(ticket, prefix) => {
                (session.ticket, session.offer) = (Some(ticket), Some(prefix));
            }
            Answer::Decline(_) => session.asking = false,
        }
    }

    /// The asker looks at the offer and ends the negotiation.
    fn judge(&mut self, index: usize, how: u8) {
        let session = &mut self.sessions[index];
        let Some(offer) = session.offer.filter(|_| session.asking) else { return };
        session.asking = false;
        let asker = &mut self.nodes[session.asker];
        let message = Message { family: offer.family(), length: offer.length(), prefix: Some(offer) };
        let judged = judge(asker, &session.request, Ok(message));
        if let (Ok(prefix), Some(named)) = (&judged, session.request.prefix)
            && *prefix != named
        {
            asker.settle(&named);
        }
        session.heard = Some(match (judged, how % 8) {
            // The acceptance arrives, or is lost.
            (Ok(prefix), 0..=3) => {
                assert!(asker.receive(prefix));
                if how % 8 == 3 { Ending::Unknown } else { Ending::Accepted }
            }
            // The asker is told that it cannot be sent; the giver sees one thing or another.
            (Ok(prefix), fault) => {
                asker.regret(prefix, locator(session.giver));
                [Ending::Gone, Ending::Unknown, Ending::Unknown, Ending::Accepted][usize::from(fault % 4)]
            }
            (Err(_), 0..=5) => Ending::Refused,
            (Err(_), _) => Ending::Unknown,
        });
    }

    /// The asker does not wait any longer.
    fn give_up(&mut self, index: usize, how: u8) {
        let session = &mut self.sessions[index];
        if std::mem::take(&mut session.asking) {
            session.heard = Some(if how.is_multiple_of(2) { Ending::Gone } else { Ending::Unknown });
        }
    }

    /// The giver hears the end, or does not wait any longer.
    fn conclude(&mut self, index: usize) {
        let session = &mut self.sessions[index];
        let Some(ticket) = session.ticket.take() else { return };
        let heard = session.heard.unwrap_or(Ending::Unknown);
        let entered = match (self.kind, heard) {
            (Giver::Hopeful, Ending::Unknown) => Ending::Refused,
            (Giver::Fearful, Ending::Unknown | Ending::Gone) => Ending::Accepted,
            _ => heard,
        };
        self.nodes[session.giver].conclude(ticket, entered, Instant::now()).expect("the ticket is new");
    }

    /// What is wrong, if anything is.
    fn check(&self) -> Result<(), String> {
        let mut owned = Pool::default();
        for (number, node) in self.nodes.iter().enumerate() {
            for prefix in node.pool().iter().chain(node.delegated()) {
                if !owned.insert(*prefix) {
                    return Err(format!("{prefix} of node {number} has another owner"));
                }
            }
        }
        // What is only kept, in order that nobody gets it twice, may be owned by the one it is kept for. So the
        // sum of what is owned and what else is kept is what there was at the beginning.
        let held = |node: &Ledger| {
            let doubts = node.quarantine().map(|(prefix, _)| *prefix);
            node.escrow().copied().chain(doubts).chain(node.unsettled().copied()).collect::<Vec<_>>()
        };
        let mut all: Vec<Prefix> = owned.iter().copied().chain(self.nodes.iter().flat_map(held)).collect();
        all.sort_by_key(Prefix::length);
        let mut sum = Pool::default();
        for prefix in all {
            // Overlapping ones are inside what is there: the larger come first.
            sum.insert(prefix);
        }
        sum.join();
        let left: Vec<String> = sum.iter().map(ToString::to_string).collect();
        if left == POOLS { Ok(()) } else { Err(format!("of {POOLS:?} is left {left:?}")) }
    }

    /// Everything comes to its end, nothing fails any more, and every asker asks once more where it has to.
    fn settle(&mut self) -> Result<(), String> {
        while let Some(index) = self.sessions.len().checked_sub(1) {
            self.handle(index);
            self.judge(index, 0);
            self.conclude(index);
            self.sessions.truncate(index);
            self.check()?;
        }
        for asker in 0..NODES {
            for giver in 0..NODES {
                for (family, how) in [(Family::V6, 254), (Family::V4, 255)] {
                    self.settle_between(asker, giver, family, how)?;
                }
            }
        }
        Ok(())
    }

    fn settle_between(&mut self, asker: usize, giver: usize, family: Family, how: u8) -> Result<(), String> {
        let unsettled = |model: &Self| model.nodes[asker].unsettled_with(&locator(giver), family);
        for _ in 0..100 {
            if unsettled(self).is_none() {
                return Ok(());
            }
            self.ask(asker, giver, how);
            self.handle(0);
            self.judge(0, 0);
            self.conclude(0);
            self.sessions.clear();
            self.check()?;
        }
        let here = address(asker);
        let mut doubts = self.nodes[giver].quarantine();
        match unsettled(self).filter(|prefix| doubts.any(|doubt| doubt == (prefix, &here))) {
            Some(prefix) => Err(format!("{prefix} is still in doubt between {giver} and {asker}")),
            None => Ok(()),
        }
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    vec(any::<Event>(), 0..400)
}

fn survives(kind: Giver, events: &[Event]) -> Result<(), String> {
    let mut model = Model::new(kind);
    for event in events {
        model.happen(*event);
        model.check()?;
    }
    model.settle()
}

proptest! {
    #![proptest_config(Config { cases: 400, failure_persistence: None, ..Config::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_has_two_owners(events in events()) {
        prop_assert_eq!(survives(Giver::Careful, &events), Ok(()));
    }

    #[test]
    fn joining_and_cutting_change_nothing(lengths in vec((any::<bool>(), 0_u8..24), 0..60), order in any::<u64>()) {
        let mut ledger = Ledger::new();
        assert!(POOLS.iter().all(|pool| ledger.receive(pool.parse().unwrap())));
        let peer = address(1);
        let mut offered: Vec<Ticket> = lengths
            .iter()
            .filter_map(|(six, more)| {
                let (family, length) = if *six { (Family::V6, 40 + more) } else { (Family::V4, 16 + more.min(&16)) };
                ledger.offer(peer, family, length, length).map(|(ticket, _)| ticket)
            })
            .collect();
        fastrand::Rng::with_seed(order).shuffle(&mut offered);
        for ticket in offered {
            ledger.conclude(ticket, Ending::Refused, Instant::now());
            if order.is_multiple_of(2) {
                ledger.join();
            }
        }
        ledger.join();
        prop_assert_eq!(ledger.pool().iter().map(ToString::to_string).collect::<Vec<_>>(), POOLS);
    }
}

/// The model notices what it is there for.
#[test]
fn other_ways_to_keep_books_fail() {
    for (kind, complaint) in [(Giver::Hopeful, "has another owner"), (Giver::Fearful, "is left")] {
        let config =
            Config { cases: 5000, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
        let failure = TestRunner::new(config)
            .run(&events(), |events| survives(kind, &events).map_err(TestCaseError::fail))
            .expect_err("the mistake is found");
        assert!(failure.to_string().contains(complaint), "{kind:?}: {failure}");
    }
}
