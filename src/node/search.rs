//! One search of an ASA for peers: when it asks, when it asks again, and what it takes of the answers (RFC 8990 §2.5.4.3).
//! `api::discovery` runs it in the caller's thread, the simulator on virtual time.

use std::net::IpAddr;
use std::sync::Arc;

use super::Node;
use super::outgoing::discovery_datagram;
use crate::constants::DULL_LOOP_COUNT;
use crate::error::{Error, Result};
use crate::registry::{DiscoveryAnswer, Mailbox, Transport, same_place};
use crate::types::{AsaLocator, Objective, SessionId, Value};
use crate::wire::Message;

/// The time that a discovery gets for each hop, in milliseconds (RFC 8990 §2.5.4.3).
const HOP_TIME: u64 = 100;

/// How long a discovery waits, and when it asks again under a new session: with exponential back-off while
/// nothing is found (RFC 8990 §2.5.4.3). All times are milliseconds since it began.
#[derive(Clone, Debug)]
struct Asking {
    floor: u64,
    deadline: u64,
    pause: u64,
    last: bool,
}

impl Asking {
    fn new(loop_count: u8, timeout: Option<u32>) -> Self {
        let floor = HOP_TIME.saturating_mul(u64::from(loop_count.max(1)));
        let deadline = u64::from(timeout.unwrap_or(0)).max(floor);
        Self { floor, deadline, pause: floor, last: false }
    }

    /// When the call ends, whatever has been found.
    const fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Until when to wait for the answers to a question that is asked now; `None` if none is asked any more,
    /// because the time is over.
    fn next(&mut self, elapsed: u64) -> Option<u64> {
        if self.last {
            return None;
        }
        let next = elapsed.saturating_add(self.pause);
        self.pause = self.pause.saturating_mul(2);
        self.last = next.saturating_add(self.floor) > self.deadline;
        Some(if self.last { self.deadline } else { next })
    }
}

/// What a search is for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// It ends as soon as so many locators are known.
    pub(crate) enough: usize,
    /// No more locators are kept: whoever answers may send any number.
    pub(crate) most: usize,
    /// Locators that are no answer.
    pub(crate) not: Vec<AsaLocator>,
    /// An answer in rapid mode is wanted; otherwise one, which nobody has asked for, must not end the search.
    pub(crate) rapid: bool,
}

/// An answer in rapid mode, with the connection it came on.
#[derive(Debug)]
pub(crate) struct RapidAnswer {
    pub(crate) message: Message,
    pub(crate) transport: Arc<dyn Transport>,
}

/// What a search needs next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send this to the group on every interface.
    Ask(Vec<u8>),
    /// Take answers until this time, in milliseconds, or until one makes a difference.
    Wait(u64),
    /// It is over.
    Done,
}

/// A search that is going on. Its discoveries end with it.
#[derive(Debug)]
pub(crate) struct Search {
    node: Arc<Node>,
    objective: Objective,
    wanted: Wanted,
    asking: Asking,
    began: u64,
    /// Until when answers to the last question are waited for.
    until: u64,
    sessions: Vec<u32>,
    mailbox: Arc<dyn Mailbox>,
    limit: usize,
    locators: Vec<AsaLocator>,
    rapid: Option<RapidAnswer>,
    unused: usize,
}

impl Node {
    /// Begins to search for an objective, for `timeout` milliseconds. Its datagrams have `limit` bytes at most.
    pub(crate) fn search(
        self: &Arc<Self>,
        objective: &Objective,
        timeout: Option<u32>,
        wanted: Wanted,
        mailbox: Arc<dyn Mailbox>,
        limit: usize,
        now: u64,
    ) -> Search {
        let mut objective = objective.clone();
        if self.config.dull {
            objective.loop_count = DULL_LOOP_COUNT;
        }
        if !wanted.rapid {
            // A value would be the wish of a negotiation in rapid mode (RFC 8990 §2.5.4.5).
            objective.value = Value::Null;
        }
        Search {
            node: Arc::clone(self),
            asking: Asking::new(objective.loop_count, timeout),
            objective,
            wanted,
            began: now,
            until: now,
            sessions: Vec::new(),
            mailbox,
            limit,
            locators: Vec::new(),
            rapid: None,
            unused: 0,
        }
    }
}

impl Search {
    /// What is to be done now.
    ///
    /// # Errors
    /// `TooLarge` if the question is, `NoRandom`, `noSecurity` if the substrate has gone down.
    pub(crate) fn next(&mut self, now: u64) -> Result<Step> {
        if self.locators.len() >= self.wanted.enough || self.rapid.is_some() {
            return Ok(Step::Done);
        }
        let until = if self.locators.is_empty() { self.until } else { self.at(self.asking.deadline()) };
        if now < until {
            return Ok(Step::Wait(until));
        }
        if !self.locators.is_empty() {
            return Ok(Step::Done);
        }
        match self.asking.next(now.saturating_sub(self.began)) {
            Some(_) if !self.node.may_handle() => Err(Error::NoSecurity),
            Some(until) => {
                self.until = self.at(until);
                self.ask().map(Step::Ask)
            }
            None => Ok(Step::Done),
        }
    }

    /// A time that is so many milliseconds after the beginning.
    const fn at(&self, elapsed: u64) -> u64 {
        self.began.saturating_add(elapsed)
    }

    /// Opens one more discovery and returns its datagram.
    fn ask(&mut self) -> Result<Vec<u8>> {
        let initiator = IpAddr::V6(self.node.addresses().session_locator());
        let id = SessionId { session: self.node.new_id()?, initiator };
        let Some(datagram) = discovery_datagram(id, &self.objective, self.limit) else {
            let bare = Objective::new(self.objective.name.clone());
            let size = discovery_datagram(id, &bare, usize::MAX).map_or(0, |datagram| datagram.len());
            return Err(Error::TooLarge { size, limit: self.limit });
        };
        let registries = &self.node.registries;
        registries.identifiers.own(id.session, initiator);
        let name = self.objective.name.as_str().into();
        if !registries.sessions.open_discovery(id, name, Arc::clone(&self.mailbox)) {
            return Err(Error::NoRandom);
        }
        self.sessions.push(id.session);
        Ok(datagram)
    }

    /// Takes up an answer from the mailbox.
    pub(crate) fn take(&mut self, answer: DiscoveryAnswer) {
        match answer {
            DiscoveryAnswer::Found(found) => {
                for new in found.locators {
                    let known = self.locators.iter().any(|known| same_place(known, &new));
                    let full = self.locators.len() >= self.wanted.most.max(1);
                    if !full && !known && !self.wanted.not.iter().any(|own| is_there(own, &new)) {
                        self.locators.push(new);
                    }
                }
            }
            // Ordinary answers that came first have decided (RFC 8990 §2.5.4.5).
            DiscoveryAnswer::Rapid { message, transport }
                if self.wanted.rapid && self.locators.is_empty() =>
            {
                self.rapid = Some(RapidAnswer { message, transport });
            }
            DiscoveryAnswer::Rapid { .. } => self.unused += 1,
        }
    }

    /// How many locators are found by now.
    #[cfg(feature = "_simulator")]
    pub(crate) fn found(&self) -> usize {
        self.locators.len()
    }

    /// What was found. So many answers were left in the mailbox.
    pub(crate) fn end(mut self, left: usize) -> (Vec<AsaLocator>, Option<RapidAnswer>) {
        self.unused = self.unused.saturating_add(left);
        (std::mem::take(&mut self.locators), self.rapid.take())
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        for id in &self.sessions {
            self.node.registries.sessions.end_discovery(*id);
        }
        self.node.counters.answers_unused.add_many(self.unused);
    }
}

/// Whether a locator leads to a place of this node, on whichever interface it was learnt.
pub(crate) fn is_there(own: &AsaLocator, found: &AsaLocator) -> bool {
    (&own.locator, own.port) == (&found.locator, found.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_repeated_with_growing_pauses_while_there_is_time_for_an_answer() {
        let mut asking = Asking::new(2, Some(2000));
        assert_eq!(asking.next(0), Some(200));
        assert_eq!(asking.next(200), Some(600));
        assert_eq!(asking.next(600), Some(1400));
        assert_eq!(asking.next(1400), Some(2000), "after 3000 there would be none");
        assert_eq!((asking.next(2000), asking.deadline()), (None, 2000));
    }

    #[test]
    fn the_least_time_is_that_of_the_hops_and_leaves_room_for_one_question() {
        let mut asking = Asking::new(6, None);
        assert_eq!((asking.next(0), asking.next(600)), (Some(600), None));
        let mut asking = Asking::new(0, Some(50));
        assert_eq!((asking.next(0), asking.next(100)), (Some(100), None));
    }
}
