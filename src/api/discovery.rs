//! Discovery (RFC 8990 §2.5.4, RFC 8991 §2.3.4).

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::clock::millis;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::proto::{Asking, discovery_datagram, local_locators};
use crate::registry::{DiscoveryAnswer, Transport, same_place};
use crate::types::{AsaLocator, AsaNonce, Objective, Value};
use crate::wire::Message;

/// The largest loop count of a DULL instance (RFC 8990 §2.5.2).
const DULL_LOOP_COUNT: u8 = 1;

/// What [`Engine::discover`] takes besides its timeout, with graspy's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discover {
    /// Forget what is cached for the objective first.
    pub flush: bool,
    /// Forget cached locators that expire within so many milliseconds; 0 forgets all (RFC 8991 §2.3.4,
    /// `minimum_TTL`). None keeps all that are valid, graspy's -1.
    pub minimum_ttl: Option<u32>,
    /// Return as soon as so many locators are known, instead of collecting until the timeout.
    pub enough: Option<usize>,
}

impl Engine {
    /// Finds peers that support an objective (RFC 8991 §2.3.4; graspy's `discover`). The ASA need not have
    /// registered it.
    ///
    /// What is cached is returned at once. Otherwise answers are collected until `timeout` milliseconds are
    /// over, at least 100 for each count of the objective's loop count, which is also the default. While
    /// nothing is found the discovery is repeated under a new session, with growing pauses. The first
    /// locator is the default peer; an empty list means that nobody has answered.
    ///
    /// Objectives of other ASAs in this engine are found too; the ASA's own ones only with
    /// [`Config::listen_self`](crate::Config::listen_self).
    ///
    /// ```no_run
    /// # fn main() -> grasp::Result<()> {
    /// use grasp::{Discover, Objective};
    ///
    /// let asa = grasp::register_asa("Gray")?;
    /// let options = Discover { enough: Some(1), ..Discover::default() };
    /// match grasp::discover(asa, &Objective::new("EX3"), Some(1000), options)?.first() {
    ///     Some(peer) => println!("EX3 is at {peer}"),
    ///     None => println!("nobody offers EX3"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSecurity`] unless this is a DULL instance, [`Error::NotBoth`], [`Error::NoAsa`]. A retry
    /// helps only with the first.
    pub fn discover(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        timeout: Option<u32>,
        options: Discover,
    ) -> Result<Vec<AsaLocator>> {
        self.core.check_running()?;
        self.check_secure_or_dull([objective.name.as_str()])?;
        if objective.neg && objective.synch {
            return Err(Error::NotBoth);
        }
        self.check_asa(nonce)?;
        self.find(nonce, objective, timeout, options)
    }

    /// `discover` without its checks, for calls that look for a peer themselves.
    pub(super) fn find(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        timeout: Option<u32>,
        options: Discover,
    ) -> Result<Vec<AsaLocator>> {
        let name = &objective.name;
        let enough = options.enough.unwrap_or(usize::MAX);
        let here = self.offered_here(nonce, name);
        let most = self.core.config.locators_limit;
        let answers = Answers { most, not_wanted: here.own.clone(), ..Answers::default() };
        if self.core.switches.test_divert.load(Ordering::Relaxed) {
            // Neither the cache nor what is registered here counts, only what the answers say.
            return Ok(self.ask(objective, timeout, enough, answers)?.locators);
        }
        self.forget(name, options);
        let mut known = self.core.registries.discovery.lookup(name, self.core.now());
        known.retain(|known| !here.is_own(known));
        if !known.is_empty() {
            return Ok(here.added_to(known));
        }
        let mut answered = Vec::new();
        if here.added_to(Vec::new()).len() < enough {
            answered = self.ask(objective, timeout, enough, answers)?.locators;
        }
        let now = self.core.now();
        let mut found = self.core.registries.discovery.lookup(name, now);
        // Another ASA may have flushed the cache just now: what this one was answered is valid all the same.
        answered.retain(|one| one.is_valid_at(now) && !found.iter().any(|known| same_place(known, one)));
        found.extend(answered);
        found.truncate(most.max(1));
        // What is registered may have changed while the network was asked.
        Ok(self.offered_here(nonce, name).added_to(found))
    }

    fn forget(&self, name: &str, options: Discover) {
        let cache = &self.core.registries.discovery;
        match options.minimum_ttl {
            _ if options.flush => cache.flush(name),
            Some(0) => cache.flush(name),
            Some(minimum) => cache.expire_before(name, self.core.now().saturating_add(minimum.into())),
            None => {}
        }
    }

    /// Where this engine offers the objective, as its ASA sees it.
    fn offered_here(&self, nonce: AsaNonce, name: &str) -> Here {
        let Some(offering) = self.core.registries.objectives.offering(name) else { return Here::default() };
        let locators = local_locators(&self.core.addresses(), &offering);
        if offering.owners.iter().any(|owner| *owner != nonce) {
            Here { others: locators, own: Vec::new() }
        } else if self.core.config.listen_self {
            Here::default()
        } else {
            Here { own: locators, others: Vec::new() }
        }
    }

    /// Asks the network until the timeout is over, enough is known, or, if wanted, an answer came in rapid mode. The
    /// cache has the locators too.
    fn ask(
        &self,
        objective: &Objective,
        timeout: Option<u32>,
        enough: usize,
        mut answers: Answers,
    ) -> Result<Answers> {
        let mut objective = objective.clone();
        if self.core.config.dull {
            objective.loop_count = DULL_LOOP_COUNT;
        }
        if !answers.wants_rapid {
            // A value would be the wish of a negotiation in rapid mode (RFC 8990 §2.5.4.5).
            objective.value = Value::Null;
        }
        let mut asking = Asking::new(objective.loop_count, timeout);
        let start = Instant::now();
        let at = |elapsed| start + Duration::from_millis(elapsed);
        let (mailbox, incoming) = bounded(self.core.config.response_queue);
        let mut open = Sessions { engine: self, ids: Vec::new() };
        while let Some(until) = asking.next(millis(start.elapsed())) {
            open.ids.push(self.send_discovery(&objective, &mailbox)?);
            self.collect(&incoming, at(until), enough, &mut answers)?;
            if !answers.locators.is_empty() {
                self.collect(&incoming, at(asking.deadline()), enough, &mut answers)?;
                break;
            }
            if answers.rapid.is_some() {
                break;
            }
        }
        drop(open);
        self.core
            .counters
            .answers_unused
            .add_many(answers.unused.saturating_add(incoming.try_iter().count()));
        Ok(answers)
    }

    /// Asks those on the link, with the value as the wish, and waits for the first answer of any kind, in rapid
    /// mode or not (RFC 8990 §2.5.4.5).
    pub(super) fn ask_rapidly(&self, objective: &Objective) -> Result<Option<RapidAnswer>> {
        let mut wish = objective.clone();
        wish.loop_count = 1;
        let answers = Answers { most: 1, wants_rapid: true, ..Answers::default() };
        Ok(self.ask(&wish, None, 1, answers)?.rapid)
    }

    /// Waits until there are so many locators or an answer in rapid mode, but not beyond `until`.
    fn collect(
        &self,
        incoming: &Receiver<DiscoveryAnswer>,
        until: Instant,
        enough: usize,
        answers: &mut Answers,
    ) -> Result<()> {
        while answers.locators.len() < enough && answers.rapid.is_none() {
            select! {
                recv(incoming) -> answer => answer.into_iter().for_each(|answer| answers.add(answer)),
                recv(self.core.stop_signal()) -> _ => return Err(Error::Stopped),
                default(interrupt::slice(until.saturating_duration_since(Instant::now()))) => {
                    if Instant::now() >= until {
                        break;
                    }
                    if interrupt::is_over() {
                        return Err(Error::Unspec);
                    }
                }
            }
        }
        Ok(())
    }

    fn send_discovery(&self, objective: &Objective, mailbox: &Sender<DiscoveryAnswer>) -> Result<u32> {
        let initiator = IpAddr::V6(self.core.addresses().session_locator());
        let session =
            self.core.registries.sessions.open_discovery(initiator, &objective.name, mailbox.clone())?;
        let limit = self.core.multicast_send_limit();
        let Some(datagram) = discovery_datagram((session, initiator), objective, limit) else {
            self.core.registries.sessions.end_discovery(session, None);
            let bare = Objective::new(objective.name.clone());
            let size = discovery_datagram((session, initiator), &bare, usize::MAX).map_or(0, |it| it.len());
            return Err(Error::TooLarge { size, limit });
        };
        self.core.multicast(|_| datagram.clone(), None);
        Ok(session)
    }
}

/// An answer in rapid mode, with the connection it came on.
pub(super) struct RapidAnswer {
    pub(super) message: Message,
    pub(super) transport: Arc<dyn Transport>,
}

/// What has been answered: each locator once, or an answer in rapid mode.
#[derive(Default)]
struct Answers {
    locators: Vec<AsaLocator>,
    /// How many locators are kept: one who answers may send any number.
    most: usize,
    /// Locators that are no answer.
    not_wanted: Vec<AsaLocator>,
    /// Otherwise an answer in rapid mode, which nobody has asked for, must not end the discovery.
    wants_rapid: bool,
    rapid: Option<RapidAnswer>,
    /// How many came in rapid mode and are not wanted.
    unused: usize,
}

impl Answers {
    fn add(&mut self, answer: DiscoveryAnswer) {
        match answer {
            DiscoveryAnswer::Found(found) => {
                for new in found.locators {
                    let known = self.locators.iter().any(|known| same_place(known, &new));
                    let full = self.locators.len() >= self.most.max(1);
                    if !full && !known && !self.not_wanted.iter().any(|own| is_there(own, &new)) {
                        self.locators.push(new);
                    }
                }
            }
            // Ordinary answers that came first have decided (RFC 8990 §2.5.4.5).
            DiscoveryAnswer::Rapid { message, transport } if self.wants_rapid && self.locators.is_empty() => {
                self.rapid = Some(RapidAnswer { message, transport });
            }
            DiscoveryAnswer::Rapid { .. } => self.unused += 1,
        }
    }
}

/// Where one engine offers an objective.
#[derive(Default)]
struct Here {
    /// By other ASAs: they are found without asking the network.
    others: Vec<AsaLocator>,
    /// By the ASA itself, which does not want to find that. A relay that has it from another relay does not know
    /// that the asker is the one.
    own: Vec<AsaLocator>,
}

impl Here {
    fn is_own(&self, found: &AsaLocator) -> bool {
        self.own.iter().any(|own| is_there(own, found))
    }

    /// What was found elsewhere, without the ASA's own and with what other ASAs offer here.
    fn added_to(&self, mut found: Vec<AsaLocator>) -> Vec<AsaLocator> {
        found.retain(|found| !self.is_own(found));
        for other in &self.others {
            if !found.iter().any(|known| is_there(other, known)) {
                found.push(other.clone());
            }
        }
        found
    }
}

/// Whether a locator leads to a place of this node, on whichever interface it was learnt.
fn is_there(own: &AsaLocator, found: &AsaLocator) -> bool {
    (&own.locator, own.port) == (&found.locator, found.port)
}

/// The sessions of one call of `discover`, which end with it.
struct Sessions<'a> {
    engine: &'a Engine,
    ids: Vec<u32>,
}

impl Drop for Sessions<'_> {
    fn drop(&mut self) {
        for id in &self.ids {
            self.engine.core.registries.sessions.end_discovery(*id, None);
        }
    }
}
