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
use crate::registry::{DiscoveryAnswer, Mailbox, Question, Transport, same_place};
use crate::types::{AsaLocator, Objective, SessionId, Value};
use crate::wire::{Message, WireObjective};

/// The time that a discovery gets for each hop, in milliseconds (RFC 8990 §2.5.4.3).
const HOP_TIME: u64 = 100;

/// How long, in milliseconds, what is found must be valid when the search ends, so that its caller can use it.
const BRIEF: u64 = 200;

/// How long a discovery waits, and when it asks again with a new session: with exponential back-off while nothing is
/// found (RFC 8990 §2.5.4.3). All times are milliseconds since the search began.
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

    /// When the call ends, whether or not anything was found.
    const fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Returns how long to wait for the answers to a question that is asked now; `None` if the time is over and no
    /// further question is asked.
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
    /// The search ends as soon as this many locators are known.
    pub(crate) enough: usize,
    /// At most this many locators are kept, because a peer may send any number.
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
            asking: Asking::new(objective.loop_count, timeout),
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
            Some(until) => {
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
        if self.join(&question, now) { Ok(self.wait()) } else { self.open(question).map(Step::Ask) }
    }

    /// Joins another search if its question can still be answered. A question that was asked a moment ago is as good as
    /// a new one. An older one is joined only if there is time to ask once more after it ends, because a peer that has
    /// started to offer the objective in the meantime must be found.
    fn join(&mut self, question: &Question, now: u64) -> bool {
        let again =
            now.saturating_add(self.asking.floor.saturating_mul(2)) <= self.at(self.asking.deadline());
        let age = if again { self.asking.floor } else { HOP_TIME };
        let since = now.saturating_sub(age.saturating_sub(1));
        let joined = self.node.registries.sessions.join_discovery(question, since, &self.mailbox);
        let Some((id, asked)) = joined else { return false };
        self.sessions.push(id);
        if now.saturating_sub(asked) >= HOP_TIME {
            self.early = Some(asked.saturating_add(self.asking.floor));
        }
        true
    }

    /// Opens another discovery and returns its datagram.
    fn open(&mut self, question: Question) -> Result<Vec<u8>> {
        let initiator = IpAddr::V6(self.node.addresses().session_locator());
        let id = SessionId { session: self.node.new_id()?, initiator };
        let Some(datagram) = discovery_datagram(id, &self.objective, self.limit) else {
            let bare = Objective::new(self.objective.name.clone());
            let size = discovery_datagram(id, &bare, usize::MAX).map_or(0, |datagram| datagram.len());
            return Err(Error::TooLarge { size, limit: self.limit });
        };
        let registries = &self.node.registries;
        registries.identifiers.own(id.session, initiator);
        if !registries.sessions.open_discovery(id, question, Arc::clone(&self.mailbox)) {
            return Err(Error::NoRandom);
        }
        self.sessions.push(id.session);
        Ok(datagram)
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
                let is_brief = found.ttl != 0 && u64::from(found.ttl) < BRIEF;
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
mod tests {
    use std::net::Ipv6Addr;

    use crossbeam_channel::{Receiver, bounded};

    use super::*;
    use crate::config::Config;
    use crate::registry::{Addresses, Found};
    use crate::wire::{Body, Limits, decode};

    fn node() -> Arc<Node> {
        let node = Node::new(Config::new(), false);
        node.set_secure(true);
        node.registries.links.set(&Arc::new(Addresses { global: Some(address(1)), ..Addresses::default() }));
        node
    }

    const fn address(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)
    }

    /// A search for EX1 with loop count 6, and the mailbox of its answers.
    fn search(
        node: &Arc<Node>,
        timeout: Option<u32>,
        wanted: Wanted,
        now: u64,
    ) -> (Search, Receiver<DiscoveryAnswer>) {
        let (tx, rx) = bounded(10);
        let wanted = Wanted { most: 10, ..wanted };
        (node.search(&Objective::new("EX1"), timeout, wanted, Arc::new(tx), 1000, now), rx)
    }

    fn until_enough(enough: usize) -> Wanted {
        Wanted { enough, ..Wanted::default() }
    }

    /// Returns the identity of the discovery that the search sends; panics if it sends none.
    fn asks(search: &mut Search, now: u64) -> SessionId {
        let Step::Ask(datagram) = search.next(now).unwrap() else { panic!("{search:?}") };
        match decode(&datagram, &Limits { size: 2000, depth: 10 }).unwrap().body {
            Body::Discovery { session, initiator, .. } => SessionId { session, initiator },
            other => panic!("{other:?}"),
        }
    }

    /// Returns how long the search waits; panics if it does not wait.
    fn waits(search: &mut Search, now: u64) -> u64 {
        match search.next(now).unwrap() {
            Step::Wait(until) => until,
            other => panic!("{other:?}"),
        }
    }

    /// Delivers an answer with a locator, or a stale one without, to the waiting discovery.
    fn answer(node: &Node, id: SessionId, locator: Option<u16>) {
        let locators: Vec<_> = locator.map(|last| AsaLocator::new(address(last), None)).into_iter().collect();
        let stale = locators.is_empty();
        let found = DiscoveryAnswer::Found(Found { locators, ttl: 1000, ifi: 2, stale });
        node.registries.sessions.waiting(id).unwrap().mailbox.put(found).unwrap();
    }

    /// An old relay may tell until the last moment what it has cached.
    #[test]
    fn a_search_ends_before_everything_that_it_has_found_expires() {
        let node = node();
        let (mut search, _answers) = search(&node, Some(3000), Wanted { enough: 9, ..Wanted::default() }, 0);
        asks(&mut search, 0);
        let found = |last, ttl, expire| {
            let locators = vec![AsaLocator { expire, ..AsaLocator::new(address(last), None) }];
            DiscoveryAnswer::Found(Found { locators, ttl, ifi: 2, stale: false })
        };
        search.take(found(7, 100, 100));
        assert!(search.locators.is_empty(), "it expires before it can be used");
        assert_eq!(waits(&mut search, 0), HOP_TIME, "it asks again soon");
        search.take(found(8, 1000, 1000));
        assert_eq!(waits(&mut search, 0), 1000 - BRIEF);
        search.take(found(9, 2000, 2000));
        assert_eq!(waits(&mut search, 0), 2000 - BRIEF);
        assert!(matches!(search.next(2000 - BRIEF).unwrap(), Step::Done));
        search.take(found(10, 9000, 9000));
        assert_eq!(waits(&mut search, 2000), 3000, "others last longer");
    }

    #[test]
    fn searches_for_the_same_share_one_question_and_end_each_at_their_own_time() {
        let node = node();
        let (mut first, first_answers) = search(&node, Some(3000), until_enough(1), 0);
        let id = asks(&mut first, 0);
        let mut others: Vec<_> =
            (1..40).map(|number| search(&node, Some(3000 + number), until_enough(2), 50)).collect();
        for (other, _) in &mut others {
            assert_eq!(waits(other, 50), 650);
        }
        let own = Wanted { not: vec![AsaLocator::new(address(7), None)], ..until_enough(1) };
        let (mut not_own, own_answers) = search(&node, Some(3000), own, 60);
        waits(&mut not_own, 60);
        assert_eq!(node.stats().discoveries_joined, 40);
        answer(&node, id, Some(7));
        first_answers.try_iter().for_each(|answer| first.take(answer));
        own_answers.try_iter().for_each(|answer| not_own.take(answer));
        assert!(matches!(first.next(70).unwrap(), Step::Done));
        assert_eq!(waits(&mut not_own, 70), 660, "it goes on: that is its own");
        drop(first);
        // The other searches continue without the one that asked, and each ends at its own time.
        answer(&node, id, Some(8));
        for ((mut other, answers), number) in others.into_iter().zip(1..) {
            other.take(answers.try_recv().unwrap());
            assert_eq!(waits(&mut other, 80), 3050 + number);
            other.take(answers.try_recv().unwrap());
            assert!(matches!(other.next(80).unwrap(), Step::Done));
        }
        drop(not_own);
        assert_eq!(node.registries.sessions.open_count(), 0);
        assert_eq!(node.stats().discoveries_begun, 1);
    }

    #[test]
    fn what_would_not_tell_a_search_everything_is_not_shared() {
        let node = node();
        let (mut first, _answers) = search(&node, Some(3000), until_enough(9), 0);
        let id = asks(&mut first, 0);
        let (tx, _rx) = bounded(1);
        let far = Objective { loop_count: 7, ..Objective::new("EX1") };
        asks(&mut node.search(&far, None, until_enough(1), Arc::new(tx), 1000, 10), 10);
        let rapid = Wanted { rapid: true, ..until_enough(1) };
        asks(&mut search(&node, None, rapid, 10).0, 10);
        // This search has no time to ask again, in case a peer began to answer after the first question.
        asks(&mut search(&node, None, until_enough(1), 300).0, 300);
        // This one has the time, and asks again.
        let (mut patient, _answers) = search(&node, Some(3000), until_enough(1), 300);
        assert_eq!(waits(&mut patient, 300), 600);
        asks(&mut patient, 600);
        // A later search cannot join a question that has been answered.
        answer(&node, id, Some(7));
        drop(patient);
        asks(&mut search(&node, Some(3000), until_enough(1), 310).0, 310);
    }

    #[test]
    fn what_others_have_learnt_is_not_asked_for_again() {
        let node = node();
        let (mut first, _answers) = search(&node, Some(3000), until_enough(1), 0);
        asks(&mut first, 0);
        node.registries.discovery.insert("EX1", vec![AsaLocator::new(address(7), None)], None, 400);
        assert_eq!(waits(&mut first, 500), 600);
        assert!(matches!(first.next(600).unwrap(), Step::Done));
        assert_eq!(first.end(0).0.len(), 1);
    }

    #[test]
    fn a_search_asks_first_and_one_in_rapid_mode_takes_nothing_that_others_have_learnt() {
        let node = node();
        node.registries.discovery.insert("EX1", vec![AsaLocator::new(address(7), None)], None, 0);
        let rapid = || Wanted { rapid: true, ..until_enough(1) };
        for wanted in [until_enough(1), rapid()] {
            asks(&mut search(&node, Some(3000), wanted, 0).0, 0);
        }
        let (mut rapid, _answers) = search(&node, Some(3000), rapid(), 0);
        asks(&mut rapid, 0);
        let again = waits(&mut rapid, 1);
        asks(&mut rapid, again);
    }

    #[test]
    fn what_comes_in_place_of_a_response_counts_for_who_has_nothing_else() {
        let node = node();
        let rapid_answer = || {
            let message = crate::wire::Message::new(Body::Noop);
            let transport = Arc::new(crate::registry::Nowhere(address(7), 2));
            DiscoveryAnswer::Rapid { message, transport }
        };
        let rapid = || Wanted { rapid: true, ..until_enough(1) };
        let (mut first, _answers) = search(&node, None, rapid(), 0);
        first.take(rapid_answer());
        assert!(first.end(0).1.is_some());
        let (mut ordinary, _answers) = search(&node, None, until_enough(1), 0);
        ordinary.take(rapid_answer());
        assert!(ordinary.end(0).1.is_none());
        let (mut late, _answers) = search(&node, None, rapid(), 0);
        late.add(vec![AsaLocator::new(address(7), None)]);
        late.take(rapid_answer());
        assert!(late.end(3).1.is_none());
        assert_eq!(node.stats().answers_unused, 5);
    }

    #[test]
    fn an_answer_that_is_known_to_be_dead_is_asked_about_again_soon_and_not_without_end() {
        let node = node();
        let (mut search, answers) = search(&node, Some(60_000), until_enough(1), 0);
        let mut now = 0;
        for _ in 0..6 {
            let id = asks(&mut search, now);
            answer(&node, id, None);
            answer(&node, id, None);
            for answer in answers.try_iter() {
                search.take(answer);
                assert_eq!(waits(&mut search, now), now + 100, "one question for all answers of a moment");
            }
            now += 100;
        }
        let id = asks(&mut search, now);
        answer(&node, id, None);
        answers.try_iter().for_each(|answer| search.take(answer));
        assert!(waits(&mut search, now) > now + 100, "seven questions, six relays");
    }

    #[test]
    fn a_dead_answer_brings_the_next_question_forward() {
        let node = node();
        let (mut first, _answers) = search(&node, Some(60_000), until_enough(1), 0);
        let id = asks(&mut first, 0);
        let (mut second, answers) = search(&node, Some(60_000), until_enough(1), 150);
        assert_eq!(waits(&mut second, 150), 600, "when the question that it shares is old");
        answer(&node, id, None);
        answers.try_iter().for_each(|answer| second.take(answer));
        assert_eq!(waits(&mut second, 200), 300);
    }

    #[test]
    fn what_is_found_is_kept_once_and_no_more_than_wanted() {
        let node = node();
        let (mut search, _answers) = search(&node, None, until_enough(99), 0);
        let found = |last: u16, ttl| {
            let locators = (0..=last).map(|last| AsaLocator::new(address(last), None)).collect();
            DiscoveryAnswer::Found(Found { locators, ttl, ifi: 2, stale: false })
        };
        search.take(found(3, u32::try_from(BRIEF).unwrap()));
        search.take(found(3, 1000));
        assert_eq!(search.locators.len(), 4, "each once");
        search.take(found(30, 1000));
        assert_eq!(search.end(0).0.len(), 10, "no more than the caller can use");
        assert!(is_there(&AsaLocator::new(address(1), None), &AsaLocator::new(address(1), Some(2))));
        let (one, other) = (AsaLocator::new(address(1), None), AsaLocator::new(address(2), None));
        assert!(!is_there(&one, &other) && !is_there(&one, &one.clone().with_port(7)));
    }

    #[test]
    fn only_a_question_in_rapid_mode_has_a_value_and_without_security_none_is_asked() {
        let node = node();
        let value = |rapid| {
            let (tx, _rx) = bounded(1);
            let objective = Objective { value: Value::from(5), ..Objective::new("EX1") };
            let wanted = Wanted { rapid, ..until_enough(1) };
            let mut search = node.search(&objective, None, wanted, Arc::new(tx), 1000, 0);
            let Ok(Step::Ask(datagram)) = search.next(0) else { panic!("{search:?}") };
            match decode(&datagram, &Limits { size: 2000, depth: 10 }).unwrap().body {
                Body::Discovery { objective, .. } => objective.value,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((value(true), value(false)), (Some(Value::from(5)), Some(Value::Null)));
        node.set_secure(false);
        let refused = search(&node, None, until_enough(1), 0).0.next(0);
        assert!(matches!(refused, Err(Error::NoSecurity)), "{refused:?}");
    }

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
        let mut asking = Asking::new(2, Some(400));
        assert_eq!((asking.next(0), asking.next(200)), (Some(200), Some(400)), "just enough for a second");
    }
}
