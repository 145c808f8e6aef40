//! Who has which prefix, as far as this node knows: the book-keeping that survives negotiations which fail.
//!
//! A negotiation ends with one message, and whoever sends the last message of a conversation never knows
//! whether it arrived. So there is always a moment when the giver of a prefix cannot know whether the other side
//! has accepted it. A ledger has a place for such prefixes:
//!
//! ```text
//!             take                 accepted
//!      pool ---------> escrow -------------------> given
//!       ^ ^              | |                         :
//!       | +--------------+ | end unknown             : named in a later
//!       |  refused, gone   v                         : request of the same peer
//!       |              quarantine . . . . . . . . . .:. . . . . > escrow, again
//!       | reclaim()        |
//!       +------------------+
//! ```
//!
//! * **escrow**: offered, and the answer is awaited. Nobody else gets it.
//! * **quarantine**: offered, and the end is not known: the peer may have it. It is neither handed out again nor
//!   forgotten. What settles it: the same peer names it in a request, which says "I was offered this, and do not
//!   have it"; or this node is offered a part of it by somebody, who then must have got it from that peer; or
//!   the operator, who knows that the peer is gone ([`reclaim`](Ledger::reclaim)).
//! * **delegated**: taken from the pool for use.
//! * **unsettled**: this node was offered it and wanted it, but could not tell the giver so. It is not ours. It
//!   is named in the next request to that giver.
//!
//! So each address is in the pool or delegated on one node at most, at any time, whatever fails.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use grasp::AsaLocator;

use super::{Family, Pool, Prefix};

/// The books of one node.
#[derive(Debug, Default)]
pub struct Ledger {
    pool: Pool,
    escrow: BTreeMap<Ticket, Offered>,
    quarantine: BTreeMap<Prefix, Doubt>,
    given: BTreeMap<Prefix, Ipv6Addr>,
    delegated: Vec<Prefix>,
    unsettled: Vec<(Prefix, AsaLocator)>,
    tickets: u64,
}

/// Identifies a prefix in escrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// How the giver's side of a negotiation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The peer accepted.
    Accepted,
    /// The peer said that it does not take it.
    Refused,
    /// The peer cannot have accepted: the offer was never sent, or the peer closed the connection and had not
    /// sent anything before.
    Gone,
    /// Anything else: the peer may have accepted.
    Unknown,
}

#[derive(Debug)]
struct Offered {
    prefix: Prefix,
    peer: Ipv6Addr,
    /// It had been offered to this peer before.
    again: bool,
}

#[derive(Debug)]
struct Doubt {
    peer: Ipv6Addr,
    since: Instant,
}

impl Ledger {
    /// Empty books.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The pool.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    // The giver's side

    /// Takes a prefix from the pool for an offer to a peer: one of this length, or the largest there is that is
    /// not longer than `longest`.
    pub fn offer(
        &mut self,
        peer: Ipv6Addr,
        family: Family,
        length: u8,
        longest: u8,
    ) -> Option<(Ticket, Prefix)> {
        let prefix = self.pool.take_up_to(family, length, longest)?;
        Some((self.hold(Offered { prefix, peer, again: false }), prefix))
    }

    /// Takes a prefix that a peer names for another offer to it: one that it was offered before, and does not
    /// have. `None` if it was not offered it, or that offer is still open.
    pub fn offer_again(&mut self, peer: Ipv6Addr, named: Prefix) -> Option<Ticket> {
        let doubted = self.quarantine.get(&named).is_some_and(|doubt| doubt.peer == peer);
        if doubted {
            self.quarantine.remove(&named);
        } else if self.given.get(&named) == Some(&peer) {
            self.given.remove(&named);
        } else {
            return None;
        }
        Some(self.hold(Offered { prefix: named, peer, again: true }))
    }

    fn hold(&mut self, offered: Offered) -> Ticket {
        self.tickets += 1;
        self.escrow.insert(Ticket(self.tickets), offered);
        Ticket(self.tickets)
    }

    /// Enters how a negotiation ended. Returns the prefix that was offered; `None` for a ticket that has been
    /// used.
    pub fn conclude(&mut self, ticket: Ticket, ending: Ending, now: Instant) -> Option<Prefix> {
        let Offered { prefix, peer, again } = self.escrow.remove(&ticket)?;
        match (ending, again) {
            (Ending::Accepted, _) => {
                self.given.insert(prefix, peer);
            }
            (Ending::Refused, _) | (Ending::Gone, false) => {
                self.pool.insert(prefix);
            }
            // The request that named it may have been an old one, overtaken by another that was granted. That
            // nobody listened to this offer says nothing about the other.
            (Ending::Gone, true) | (Ending::Unknown, _) => {
                self.quarantine.insert(prefix, Doubt { peer, since: now });
            }
        }
        Some(prefix)
    }

    /// Puts what has been in quarantine for so long back into the pool, and returns it. Right only if whoever
    /// decides the time knows that the peers have forgotten it by then.
    pub fn reclaim(&mut self, after: Duration, now: Instant) -> Vec<Prefix> {
        let old = |doubt: &Doubt| now.saturating_duration_since(doubt.since) >= after;
        let doubted = self.quarantine.iter().filter(|(_, doubt)| old(doubt));
        let reclaimed: Vec<Prefix> = doubted.map(|(prefix, _)| *prefix).collect();
        for prefix in &reclaimed {
            self.quarantine.remove(prefix);
            self.pool.insert(*prefix);
        }
        reclaimed
    }

    // The receiver's side

    /// Whether this node has a part of a prefix, in any way. Then it must not get it from somebody else.
    #[must_use]
    pub fn has(&self, prefix: &Prefix) -> bool {
        self.pool.overlaps(prefix)
            || self.delegated.iter().any(|own| own.overlaps(prefix))
            || self.escrow.values().any(|offered| offered.prefix.overlaps(prefix))
    }

    /// Enters a prefix that has been negotiated, or is there from the start. False, and nothing changes, if
    /// this node [has](Self::has) a part of it.
    pub fn receive(&mut self, prefix: Prefix) -> bool {
        if self.has(&prefix) {
            return false;
        }
        // Who gives us what we gave to a peer has got it from that peer, directly or not.
        self.quarantine.retain(|doubted, _| !doubted.overlaps(&prefix));
        self.given.retain(|given, _| !given.overlaps(&prefix));
        self.unsettled.retain(|(unsettled, _)| !unsettled.overlaps(&prefix));
        self.pool.insert(prefix)
    }

    /// Enters a prefix that was offered and wanted, while the giver could not be told. It is not ours.
    pub fn regret(&mut self, prefix: Prefix, giver: AsaLocator) {
        // Who offers it now has it. So whoever offered it earlier had no doubt, and gave it away.
        self.unsettled.retain(|(unsettled, _)| !unsettled.overlaps(&prefix));
        self.unsettled.push((prefix, giver));
    }

    /// What is to be named in the next request to a giver.
    #[must_use]
    pub fn unsettled_with(&self, giver: &AsaLocator, family: Family) -> Option<Prefix> {
        let same = |other: &AsaLocator| (&other.locator, other.port) == (&giver.locator, giver.port);
        let fits = |(prefix, other): &&(Prefix, AsaLocator)| prefix.family() == family && same(other);
        self.unsettled.iter().find(fits).map(|(prefix, _)| *prefix)
    }

    /// The giver has been named a prefix and has offered another: it has no doubt about that one.
    pub fn settle(&mut self, named: &Prefix) {
        self.unsettled.retain(|(unsettled, _)| unsettled != named);
    }

    // Use

    /// Takes a prefix from the pool for use.
    pub fn delegate(&mut self, family: Family, length: u8) -> Option<Prefix> {
        let prefix = self.pool.take(family, length)?;
        self.delegated.push(prefix);
        Some(prefix)
    }

    /// Joins free prefixes; returns how many times.
    pub fn join(&mut self) -> usize {
        self.pool.join()
    }

    /// What is in use, in the order of delegation.
    #[must_use]
    pub fn delegated(&self) -> &[Prefix] {
        &self.delegated
    }

    /// What was handed on, and to whom.
    pub fn given(&self) -> impl Iterator<Item = (&Prefix, &Ipv6Addr)> {
        self.given.iter()
    }

    /// What is offered at the moment.
    pub fn escrow(&self) -> impl Iterator<Item = &Prefix> {
        self.escrow.values().map(|offered| &offered.prefix)
    }

    /// What a peer may have or not, and which.
    pub fn quarantine(&self) -> impl Iterator<Item = (&Prefix, &Ipv6Addr)> {
        self.quarantine.iter().map(|(prefix, doubt)| (prefix, &doubt.peer))
    }

    /// What this node was offered, and could not take.
    pub fn unsettled(&self) -> impl Iterator<Item = &Prefix> {
        self.unsettled.iter().map(|(prefix, _)| prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    const OTHER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    /// Books with one offer of 10.128.0.0/9 to PEER that ended so.
    fn after(ending: Ending) -> Ledger {
        let mut ledger = Ledger::new();
        assert!(ledger.receive(prefix("10.0.0.0/8")));
        let (ticket, offered) = ledger.offer(PEER, Family::V4, 9, 9).unwrap();
        assert_eq!(offered, prefix("10.128.0.0/9"));
        assert!(ledger.has(&offered));
        assert_eq!(ledger.conclude(ticket, ending, Instant::now()), Some(offered));
        assert_eq!(ledger.conclude(ticket, ending, Instant::now()), None);
        ledger.join();
        ledger
    }

    #[test]
    fn what_was_certainly_not_accepted_is_free_again() {
        for ending in [Ending::Refused, Ending::Gone] {
            let ledger = after(ending);
            assert_eq!(ledger.pool().iter().collect::<Vec<_>>(), [&prefix("10.0.0.0/8")]);
            assert_eq!(ledger.given().count() + ledger.quarantine().count(), 0);
        }
    }

    #[test]
    fn what_was_accepted_is_given() {
        let ledger = after(Ending::Accepted);
        assert_eq!(ledger.given().collect::<Vec<_>>(), [(&prefix("10.128.0.0/9"), &PEER)]);
        assert_eq!(ledger.pool().iter().collect::<Vec<_>>(), [&prefix("10.0.0.0/9")]);
    }

    #[test]
    fn a_doubt_keeps_a_prefix_until_its_peer_names_it() {
        let mut ledger = after(Ending::Unknown);
        let doubted = prefix("10.128.0.0/9");
        assert_eq!(ledger.quarantine().collect::<Vec<_>>(), [(&doubted, &PEER)]);
        assert_eq!(ledger.offer(OTHER, Family::V4, 8, 9).unwrap().1, prefix("10.0.0.0/9"));
        assert!(ledger.offer(OTHER, Family::V4, 9, 32).is_none());
        assert!(ledger.offer_again(OTHER, doubted).is_none(), "it was not offered to this one");
        let ticket = ledger.offer_again(PEER, doubted).unwrap();
        assert!(ledger.offer_again(PEER, doubted).is_none(), "the offer is open");
        // Not answered: that says nothing about the first offer.
        ledger.conclude(ticket, Ending::Gone, Instant::now());
        assert_eq!(ledger.quarantine().count(), 1);
        let ticket = ledger.offer_again(PEER, doubted).unwrap();
        ledger.conclude(ticket, Ending::Accepted, Instant::now());
        assert_eq!(ledger.given().collect::<Vec<_>>(), [(&doubted, &PEER)]);
        // Its acceptance arrived here, but the peer could not know.
        assert!(ledger.offer_again(PEER, doubted).is_some());
    }

    #[test]
    fn the_operator_can_reclaim_what_is_in_doubt() {
        let mut ledger = after(Ending::Unknown);
        let hour = Duration::from_secs(3600);
        assert!(ledger.reclaim(hour, Instant::now()).is_empty());
        assert_eq!(ledger.reclaim(hour, Instant::now() + hour), [prefix("10.128.0.0/9")]);
        ledger.join();
        assert_eq!(ledger.pool().iter().collect::<Vec<_>>(), [&prefix("10.0.0.0/8")]);
    }

    #[test]
    fn what_comes_back_settles_doubts() {
        let mut ledger = after(Ending::Unknown);
        assert!(
            ledger.receive(prefix("10.200.0.0/16")),
            "PEER has it, and has given it to whoever gives it to us"
        );
        assert_eq!(ledger.quarantine().count(), 0);
        assert!(!ledger.receive(prefix("10.200.0.0/17")), "now it is ours");
    }

    #[test]
    fn what_could_not_be_taken_is_named_to_its_giver() {
        let (giver, another) = (AsaLocator::new(PEER, None), AsaLocator::new(OTHER, None));
        let mut ledger = Ledger::new();
        ledger.regret(prefix("10.0.0.0/9"), giver.clone());
        ledger.regret(prefix("10.0.0.0/9"), giver.clone());
        assert!(!ledger.has(&prefix("10.0.0.0/9")));
        assert_eq!(ledger.unsettled_with(&another, Family::V4), None);
        assert_eq!(ledger.unsettled_with(&giver, Family::V4), Some(prefix("10.0.0.0/9")));
        // It has come to another node since, which offers it, too.
        ledger.regret(prefix("10.0.0.0/9"), another.clone());
        assert_eq!(ledger.unsettled_with(&giver, Family::V4), None);
        assert_eq!(ledger.unsettled_with(&another, Family::V4), Some(prefix("10.0.0.0/9")));
        assert!(ledger.receive(prefix("10.0.0.0/9")));
        assert_eq!(ledger.unsettled().count(), 0);
    }
}
