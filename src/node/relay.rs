//! Relaying discoveries (RFC 8990 §2.5.4.4): which discoveries are relayed, for how long, and which answers go back.

use std::net::IpAddr;
use std::sync::Arc;

use super::discovery::{is_for_elsewhere, response, that_fit};
use super::search::is_brief;
use super::{Arrival, Effect, Heard, Node, Response};
use crate::bounds::{Cause, Neighbour, Permit, RateLimit, Refused};
use crate::outcome::{Case, DiscoveryOutcome, NotRelayed, ResponseOutcome};
use crate::registry::{DiscoveryAnswer, Done, First, Found, Mailbox, Merging, OpenRelay, RelayOpened};
use crate::types::SessionId;
use crate::wire::{Flags, WireLocator, WireObjective, WireOption, with_loop_count};

/// The time that a relay allows for each remaining hop, in milliseconds (RFC 8990 §2.5.4.4).
pub(super) const HOP_TIME: u64 = 100;
/// How long a relay keeps its permit, in milliseconds, while other discoveries need one: the time that a discovery with
/// the default loop count needs.
const HELD: u64 = 500;

/// A discovery to be relayed, which holds a permit. Dropping it unopened releases the permit, and the discovery may
/// come again.
#[derive(Debug)]
pub(crate) struct RelayTask {
    node: Arc<Node>,
    pub(crate) asker: Arrival,
    pub(crate) id: SessionId,
    pub(crate) name: Arc<str>,
    /// How long to wait for answers, in milliseconds.
    pub(crate) timeout: u64,
    pub(crate) datagram: Vec<u8>,
    flags: Flags,
    /// The loop count that it is relayed with.
    loop_count: u8,
    /// Whether it may be merged with an equal one.
    mergeable: bool,
    admission: Option<(Case<DiscoveryOutcome>, Permit<Neighbour>)>,
}

impl RelayTask {
    /// Opens the relay; from here on its answers go into the mailbox. `None` if a relay with this identity is already
    /// open.
    pub(crate) fn open(mut self, mailbox: Arc<dyn Mailbox>, now: u64) -> Option<Relay> {
        let (case, permit) = self.admission.take()?;
        let open = OpenRelay {
            name: Arc::clone(&self.name),
            flags: self.flags,
            loop_count: self.loop_count,
            asker_ifi: self.asker.ifi,
            mailbox,
            opened: now,
            cause: cause(&self.asker, self.id),
            merging: Merging::default(),
            _place: permit,
        };
        let window = u64::from(self.node.config.merge_window);
        let since = self.mergeable.then(|| now.saturating_sub(window.saturating_sub(1)));
        let first = match self.node.registries.sessions.open_relay(self.id, open, since) {
            RelayOpened::InUse => {
                case.settle(DiscoveryOutcome::RelayOpen);
                return None;
            }
            RelayOpened::New => {
                case.settle(DiscoveryOutcome::Relayed);
                self.node.tell_relayed(self.id.session, self.asker.ifi);
                None
            }
            RelayOpened::Merged(first) => {
                case.settle(DiscoveryOutcome::Merged);
                let cause = cause(&self.asker, self.id);
                self.node.registries.discovery.diverted(&self.name, cause, now);
                Some(first)
            }
        };
        self.node.counters.relays_peak.raise_to(self.node.quotas.relays.used());
        let (node, asker, id, name) = (Arc::clone(&self.node), self.asker, self.id, Arc::clone(&self.name));
        let is_merged = first.is_some();
        Some(Relay { node, asker, id, name, first, is_merged, has_passed: false, told: Vec::new() })
    }
}

impl Drop for RelayTask {
    fn drop(&mut self) {
        if let Some((case, _)) = self.admission.take() {
            case.settle(DiscoveryOutcome::RelayFull);
            self.node.registries.recent.forget(Done::Relayed, self.id);
        }
    }
}

/// An open relay of a discovery. It ends when this is dropped, or earlier if another discovery needs its permit: then
/// its mailbox is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(super) node: Arc<Node>,
    pub(super) asker: Arrival,
    pub(super) id: SessionId,
    name: Arc<str>,
    /// The discovery that it is merged with, while it waits for that one's answers.
    pub(super) first: Option<First>,
    /// Whether it is merged with another: then it hears each answer from several sides.
    is_merged: bool,
    /// Whether anything has been passed on.
    pub(super) has_passed: bool,
    /// The locators that have been passed on, each once, without those that expire before the asker can use them. At most as many as
    /// `relay_answers` allows, and those of one more message.
    told: Vec<WireLocator>,
}

impl Relay {
    /// Returns the response that passes an answer back to the asker, if any.
    pub(crate) fn pass_on(&mut self, answer: &DiscoveryAnswer, now: u64) -> Option<Response> {
        let count = &self.node.counters;
        let found = match answer {
            DiscoveryAnswer::Found(found) => found,
            // A rapid-mode answer is only for the initiator.
            DiscoveryAnswer::Rapid { .. } => {
                count.answers_unused.add();
                return None;
            }
        };
        let Some(locators) = passed_on(self.asker.ifi, found) else {
            count.answers_not_relayed.add();
            return None;
        };
        let mut news: Vec<WireLocator> = Vec::new();
        for locator in &locators {
            if !self.told.contains(locator) && !news.contains(locator) {
                news.push(locator.clone());
            }
        }
        if news.is_empty() && self.is_merged {
            count.answers_not_relayed.add();
            return None;
        }
        if self.told.len() >= self.node.config.relay_answers {
            count.answers_over_limit.add();
            return None;
        }
        log::debug!("the answer for {:?} goes on to {}", self.name, self.asker.source);
        let case: Case<ResponseOutcome> = Case::open(count, |count| &count.answers_relayed);
        let message = response(self.id, found.ttl, vec![WireOption::Divert(locators)], None);
        let admitted = self.node.admit_response(self.asker, message, None, case, now)?;
        self.has_passed = true;
        // What the asker discards is none of the answers that are enough.
        if !is_brief(found.ttl) {
            self.told.append(&mut news);
        }
        Some(admitted)
    }

    /// Ends the relay. `answers` is the number of answers that remain in the mailbox.
    pub(crate) fn leave(self, answers: usize) {
        self.node.counters.answers_unused.add_many(answers);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.node.registries.sessions.end_relay(self.id);
    }
}

/// Returns what a relay sends back for an answer: the locators that mean the same to the asker. `None` if there are
/// none, or if the answer came from the asker's own link, where the asker has received it too.
fn passed_on(asker_ifi: u32, answer: &Found) -> Option<Vec<WireLocator>> {
    if answer.ifi == asker_ifi {
        return None;
    }
    let usable = answer.locators.iter().filter(|locator| is_for_elsewhere(locator));
    let locators = that_fit(usable.filter_map(WireLocator::from_locator).collect());
    (!locators.is_empty()).then_some(locators)
}

/// The neighbour and the initiator that cause the work this node does for a multicast.
pub(super) fn cause(arrival: &Arrival, id: SessionId) -> Cause {
    (arrival.neighbour(), id.initiator)
}

impl Node {
    /// Relays each discovery once, with the loop count reduced by one, for 100 ms per remaining hop
    /// (RFC 8990 §2.5.4.4). Returns the case if the discovery is not relayed. If `doubted`, its asker was given something of no use: it
    /// is not merged with another.
    pub(super) fn relay(
        self: &Arc<Self>,
        heard: &Heard<'_>,
        objective: &WireObjective,
        doubted: bool,
        case: Case<DiscoveryOutcome>,
    ) -> Result<Option<Effect>, Case<DiscoveryOutcome>> {
        let Heard { arrival, id, origin, raw, now } = *heard;
        if !self.may_relay(origin) {
            return Err(case);
        }
        let loop_count = objective.loop_count.saturating_sub(1);
        if loop_count == 0 {
            NotRelayed::LoopCount.count(&self.counters);
            return Err(case);
        }
        let Some(datagram) = with_loop_count(raw, loop_count) else { return Err(case) };
        let timeout = HOP_TIME.saturating_mul(u64::from(loop_count));
        let cause = cause(&arrival, id);
        let rates = (&self.quotas.discovery_cause_rate, &self.quotas.discovery_rate);
        if !self.is_new_and_within(rates, cause, id, 1, NotRelayed::DiscoveryRate, now) {
            return Err(case);
        }
        let until = now.saturating_add(self.memory()).saturating_add(timeout);
        if !self.relays_itself() {
            self.registries.recent.remember(Done::Relayed, id, arrival.neighbour(), now, until);
            NotRelayed::Elsewhere.count(&self.counters);
            // Who asks again hears of the relay: what is cached here has led nowhere.
            case.settle(DiscoveryOutcome::Unanswered);
            return Ok(None);
        }
        let Some(permit) = self.relay_place(arrival.neighbour(), now) else {
            // It is not remembered as relayed: it may arrive again on another path.
            case.settle(DiscoveryOutcome::RelayFull);
            return Ok(None);
        };
        self.registries.recent.remember(Done::Relayed, id, arrival.neighbour(), now, until);
        Ok(Some(Effect::RelayDiscovery(RelayTask {
            node: Arc::clone(self),
            asker: arrival,
            id,
            name: objective.name.as_str().into(),
            timeout,
            datagram,
            flags: objective.flags,
            loop_count,
            mergeable: self.config.merge_window > 0
                && !doubted
                && !self.registries.discovery.has_asked(&objective.name, cause, now),
            admission: Some((case, permit)),
        })))
    }

    /// How long a multicast is remembered, in milliseconds: twice the default timeout (RFC 8990 §2.5.4.4, §2.5.6.2).
    pub(super) fn memory(&self) -> u64 {
        u64::from(self.config.default_timeout).saturating_mul(2)
    }

    /// Takes a permit for another relay. If none is free, takes the permit of a relay that has been open long enough.
    fn relay_place(&self, neighbour: Neighbour, now: u64) -> Option<Permit<Neighbour>> {
        let refused = match self.quotas.relays.take(neighbour) {
            Ok(permit) => return Some(permit),
            Err(refused) => refused,
        };
        let of = (refused == Refused::Share).then_some(neighbour);
        let displaced = self.registries.sessions.displace_relay(of, now.saturating_sub(HELD));
        if displaced { self.quotas.relays.take(neighbour).ok() } else { None }
    }

    /// Whether a multicast has not been relayed yet and the rates allow another one that costs `tokens`. A multicast
    /// over the rate is not remembered: it may arrive again on another path.
    pub(super) fn is_new_and_within(
        &self,
        (of_cause, of_neighbour): (&RateLimit<Cause>, &RateLimit<Neighbour>),
        cause: (Neighbour, IpAddr),
        id: SessionId,
        tokens: u32,
        over: NotRelayed,
        now: u64,
    ) -> bool {
        if self.registries.recent.knows(Done::Relayed, id, now) {
            NotRelayed::Duplicate.count(&self.counters);
            return false;
        }
        let within = of_cause.allow(cause, tokens, now) && of_neighbour.allow(cause.0, tokens, now);
        if !within {
            over.count(&self.counters);
        }
        within
    }
}
