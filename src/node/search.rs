//! A search for peers on behalf of an ASA: when it asks, when it asks again, and which answers it uses
//! (RFC 8990 §2.5.4.3). `api::discovery` runs it in the caller's thread, the simulator on virtual time. Concurrent
//! searches for the same objective share their questions, but each keeps its own timeout and its own number of answers
//! that are enough.

use std::net::IpAddr;
use std::sync::Arc;

use super::Node;
use super::outgoing::discovery_datagram;
use crate::constants::DULL_LOOP_COUNT;
use crate::error::{Error, Result};
use crate::registry::{DiscoveryAnswer, Mailbox, Opened, Question, Transport, same_place};
use crate::types::{AsaLocator, Objective, SessionId, Value};
use crate::wire::{Message, WireObjective};

/// The time that a discovery gets for each hop, in milliseconds (RFC 8990 §2.5.4.3).
const HOP_TIME: u64 = 100;

/// How long, in milliseconds, what is found must be valid when the search ends, so that its caller can use it.
const BRIEF: u64 = 200;

/// Whether something found is not valid for long enough to be used; 0 is for ever.
pub(super) fn is_brief(ttl: u32) -> bool {
    ttl != 0 && u64::from(ttl) < BRIEF
}

/// How long a discovery waits, and when it asks again with a new session: with exponential back-off while nothing is
/// found (RFC 8990 §2.5.4.3), and a last time when just enough time is left for the answer. All times are milliseconds
/// since the search began.
#[derive(Clone, Debug)]
struct Asking {
    floor: u64,
    deadline: u64,
    pause: u64,
    last: bool,
    /// The loop count of the next question.
    loop_count: u8,
    /// That of the search.
    whole: u8,
}

impl Asking {
    /// An `expanding` search asks near nodes first.
    fn new(loop_count: u8, timeout: Option<u32>, expanding: bool) -> Self {
        let floor = HOP_TIME.saturating_mul(u64::from(loop_count.max(1)));
        let deadline = u64::from(timeout.unwrap_or(0)).max(floor);
        let first = if expanding { loop_count.min(1) } else { loop_count };
        Self { floor, deadline, pause: floor, last: false, loop_count: first, whole: loop_count }
    }

    /// When the call ends, whether or not anything was found.
    const fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Returns the loop count of a question that is asked now, and how long to wait for its answers; `None` if the time is over and no
    /// further question is asked.
    fn next(&mut self, elapsed: u64) -> Option<(u8, u64)> {
        if self.last {
            return None;
        }
        if let Some(near) = self.near(elapsed) {
            return Some(near);
        }
        self.loop_count = self.whole;
        let latest = self.deadline.saturating_sub(self.floor);
        let next = elapsed.saturating_add(self.pause).min(latest);
        self.pause = self.pause.saturating_mul(2);
        // Half the time of the hops is long enough for most answers, and leaves room for a caller that is late.
        self.last = next < elapsed.saturating_add(self.half());
        Some((self.whole, if self.last { self.deadline } else { next }))
    }

    /// Half of the time of the hops.
    const fn half(&self) -> u64 {
        self.floor.div_ceil(2)
    }

    /// The next question of an expanding search, if it has a smaller loop count than the search, and leaves time for the whole one.
    fn near(&mut self, elapsed: u64) -> Option<(u8, u64)> {
        let loop_count = self.loop_count;
        let until = elapsed.saturating_add(u64::from(loop_count).saturating_mul(HOP_TIME / 2));
        if loop_count >= self.whole || until.saturating_add(self.half()) > self.deadline {
            return None;
        }
        self.loop_count = loop_count.saturating_mul(2);
        Some((loop_count, until))
    }
}

/// What a search is for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// The search ends as soon as this many locators are known.
    pub(crate) enough: usize,
    /// At most this many locators are kept, and at least one, because a peer may send any number.
    pub(crate) most: usize,
    /// Locators that do not count as an answer.
    pub(crate) not: Vec<AsaLocator>,
    /// Whether an answer in rapid mode is wanted. If not, an unsolicited one must not end the search.
    pub(crate) rapid: bool,
}

/// An answer in rapid mode, with the connection it arrived on.
#[derive(Debug)]
pub(crate) struct RapidAnswer {
    pub(crate) message: Message,
    pub(crate) transport: Arc<dyn Transport>,
}

/// What a search needs next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send this datagram to the group on every interface.
    Ask(Vec<u8>),
    /// Accept answers until this time, in milliseconds, or until one changes the result.
    Wait(u64),
    /// The search is over.
    Done,
}

/// A running search. Dropping it ends its discoveries.
#[derive(Debug)]
pub(crate) struct Search {
    node: Arc<Node>,
    objective: Objective,
    wanted: Wanted,
    asking: Asking,
    began: u64,
    /// When the wait for answers to the last question ends.
    until: u64,
    /// When to ask again earlier, because the answer is known to be stale.
    early: Option<u64>,
    /// A stale answer has just arrived.
    stale: bool,
    /// How many early questions are left after stale answers: each one makes the next relay on the path doubt its cache
    /// entry and forget it.
    doubts: u8,
    sessions: Vec<u32>,
    mailbox: Arc<dyn Mailbox>,
    limit: usize,
    locators: Vec<AsaLocator>,
    rapid: Option<RapidAnswer>,
    unused: usize,
}

impl Node {
    /// Starts a search for an objective that lasts `timeout` milliseconds. Its datagrams have at most `limit` bytes.
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
            // A peer would take a value for the opening offer of a rapid-mode negotiation (RFC 8990 §2.5.4.5).
            objective.value = Value::Null;
        }
        Search {
            node: Arc::clone(self),
            asking: Asking::new(
                objective.loop_count,
                timeout,
                self.config.expanding_discovery && !wanted.rapid,
            ),
            doubts: objective.loop_count,
            objective,
            wanted,
            began: now,
            until: now,
            early: None,
            stale: false,
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
    /// Returns what to do now.
    ///
    /// # Errors
    /// `TooLarge` if the question is too large, `NoRandom`, `noSecurity` if the substrate has gone down.
    pub(crate) fn next(&mut self, now: u64) -> Result<Step> {
        if self.locators.len() >= self.wanted.enough || self.rapid.is_some() {
            return Ok(Step::Done);
        }
        if !self.locators.is_empty() {
            let until = self.at(self.asking.deadline()).min(self.lasts().saturating_sub(BRIEF));
            return Ok(if now < until { Step::Wait(until) } else { Step::Done });
        }
        if std::mem::take(&mut self.stale) {
            self.ask_early(now);
        }
        if now < self.until {
            return match self.early {
                Some(early) if early <= now => self.ask(now),
                _ => Ok(self.wait()),
            };
        }
        match self.asking.next(now.saturating_sub(self.began)) {
            Some(_) if !self.node.may_handle() => Err(Error::NoSecurity),
            Some((loop_count, until)) => {
                self.objective.loop_count = loop_count;
                self.until = self.at(until);
                self.ask(now)
            }
            None => Ok(Step::Done),
        }
    }

    /// Until when the last of what is found is valid: to wait for more answers until it has expired would leave nothing.
    fn lasts(&self) -> u64 {
        let expiry = |locator: &AsaLocator| if locator.expire == 0 { u64::MAX } else { locator.expire };
        self.locators.iter().map(expiry).max().unwrap_or(u64::MAX)
    }

    /// After a stale answer, asks again soon instead of waiting for the full time: a relay that hears the same asker
    /// again relays the discovery.
    fn ask_early(&mut self, now: u64) {
        let early = now.saturating_add(HOP_TIME);
        if self.early.is_none_or(|known| known > early)
            && let Some(left) = self.doubts.checked_sub(1)
        {
            (self.doubts, self.early) = (left, Some(early));
        }
    }

    /// Converts milliseconds since the search began to a time.
    const fn at(&self, elapsed: u64) -> u64 {
        self.began.saturating_add(elapsed)
    }

    fn wait(&self) -> Step {
        Step::Wait(self.early.unwrap_or(self.until).min(self.until))
    }

    /// Asks, or shares the answers to the same question of another search of this node. Before it asks again, it uses
    /// what other searches have learned in the meantime.
    fn ask(&mut self, now: u64) -> Result<Step> {
        self.early = None;
        if !self.sessions.is_empty() && !self.wanted.rapid && !self.node.test_divert() {
            self.add(self.node.registries.discovery.lookup(&self.objective.name, now));
            if !self.locators.is_empty() {
                return self.next(now);
            }
        }
        let flags = WireObjective::from_objective(&self.objective).flags;
        let shared = (!self.wanted.rapid).then_some((flags, self.objective.loop_count));
        let question = Question { name: self.objective.name.as_str().into(), shared, asked: now };
        let since = self.joinable_since(now);
        match self.node.registries.sessions.join_discovery(&question, since, &self.mailbox) {
            Some((id, asked)) => Ok(self.joined(id, asked, now)),
            None => self.open(question, since, now),
        }
    }

    /// Since when another search must have asked for this one to share its answers. A question that was asked a moment ago is as good as
    /// a new one. An older one is joined only if there is time to ask once more after it ends, because a peer that has
    /// started to offer the objective in the meantime must be found.
    fn joinable_since(&self, now: u64) -> u64 {
        let again =
            now.saturating_add(self.asking.floor.saturating_mul(2)) <= self.at(self.asking.deadline());
        let age = if again { self.asking.floor } else { HOP_TIME };
        now.saturating_sub(age.saturating_sub(1))
    }

    /// Waits for the answers to the question of another search.
    fn joined(&mut self, id: u32, asked: u64, now: u64) -> Step {
        self.sessions.push(id);
        if now.saturating_sub(asked) >= HOP_TIME {
            self.early = Some(asked.saturating_add(self.asking.floor));
        }
        self.wait()
    }

    /// Opens another discovery and asks, unless another thread has just asked the same.
    fn open(&mut self, question: Question, since: u64, now: u64) -> Result<Step> {
        let initiator = IpAddr::V6(self.node.addresses().session_locator());
        let id = SessionId { session: self.node.new_id()?, initiator };
        let Some(datagram) = discovery_datagram(id, &self.objective, self.limit) else {
            let bare = Objective::new(self.objective.name.clone());
            let size = discovery_datagram(id, &bare, usize::MAX).map_or(0, |datagram| datagram.len());
            return Err(Error::TooLarge { size, limit: self.limit });
        };
        let registries = &self.node.registries;
        match registries.sessions.open_discovery(id, question, since, Arc::clone(&self.mailbox)) {
            Opened::New => {}
            Opened::Joined(id, asked) => return Ok(self.joined(id, asked, now)),
            Opened::InUse => return Err(Error::NoRandom),
        }
        registries.identifiers.own(id.session, initiator);
        self.sessions.push(id.session);
        Ok(Step::Ask(datagram))
    }

    fn add(&mut self, locators: Vec<AsaLocator>) {
        for new in locators {
            let known = self.locators.iter().any(|known| same_place(known, &new));
            let full = self.locators.len() >= self.wanted.most.max(1);
            if !full && !known && !self.wanted.not.iter().any(|own| is_there(own, &new)) {
                self.locators.push(new);
            }
        }
    }

    /// Handles an answer from the mailbox.
    pub(crate) fn take(&mut self, answer: DiscoveryAnswer) {
        match answer {
            DiscoveryAnswer::Found(found) => {
                // What expires in this moment is of no use to whoever asks; a relay knows of something else soon.
                let is_brief = is_brief(found.ttl);
                self.stale |= found.stale || is_brief;
                if !is_brief {
                    self.add(found.locators);
                }
            }
            // Ordinary answers that arrived first take precedence (RFC 8990 §2.5.4.5).
            DiscoveryAnswer::Rapid { message, transport }
                if self.wanted.rapid && self.locators.is_empty() =>
            {
                self.rapid = Some(RapidAnswer { message, transport });
            }
            DiscoveryAnswer::Rapid { .. } => self.unused += 1,
        }
    }

    /// The number of locators found so far.
    #[cfg(feature = "_simulator")]
    pub(crate) fn found(&self) -> usize {
        self.locators.len()
    }

    /// Whether a stale answer makes the next step come earlier.
    #[cfg(feature = "_simulator")]
    pub(crate) const fn is_doubted(&self) -> bool {
        self.stale
    }

    /// Ends the search and returns its results. `left` is the number of answers that remain in the mailbox.
    pub(crate) fn end(mut self, left: usize) -> (Vec<AsaLocator>, Option<RapidAnswer>) {
        self.unused = self.unused.saturating_add(left);
        (std::mem::take(&mut self.locators), self.rapid.take())
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        for id in &self.sessions {
            self.node.registries.sessions.leave_discovery(*id, &self.mailbox);
        }
        self.node.counters.answers_unused.add_many(self.unused);
    }
}

/// Whether a locator leads to the same address and port as one of this node, regardless of the interface it was learned
/// on.
pub(crate) fn is_there(own: &AsaLocator, found: &AsaLocator) -> bool {
    (&own.locator, own.port) == (&found.locator, found.port)
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
