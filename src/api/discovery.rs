//! Discovery (RFC 8990 §2.5.4, RFC 8991 §2.3.4), for ASAs, and for `reach`, which looks for a peer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, select};

use crate::engine::{Engine, Here, here};
use crate::error::{Error, Result};
use crate::interrupt;
#[cfg(feature = "ipc")]
use crate::ipc::Form as _;
use crate::node::{Links, RapidAnswer, Step, Wanted, all_locators, is_there, local_locators};
use crate::registry::same_place;
use crate::types::{AsaLocator, AsaNonce, Objective};

/// The options of [`Engine::discover`], with graspy's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discover {
    /// First forget what is cached for the objective.
    pub flush: bool,
    /// First forget cached locators that expire within this many milliseconds; 0 forgets all (RFC 8991 §2.3.4,
    /// `minimum_TTL`). `None`, graspy's -1, keeps all that are valid.
    pub minimum_ttl: Option<u32>,
    /// Return as soon as this many locators are known, instead of collecting until the timeout. With 0 nobody is asked:
    /// only the cache counts.
    pub enough: Option<usize>,
}

impl Engine {
    /// Finds peers that support an objective (RFC 8991 §2.3.4; graspy's `discover`). The ASA need not have
    /// registered it.
    ///
    /// Cached locators are returned at once. Otherwise answers are collected for `timeout` milliseconds, but at least for
    /// 100 ms times the objective's loop count, which is also the default. Locators that could not be connected to a moment
    /// ago are left out. While nothing is found, the discovery is repeated with a new session, after pauses that grow. The
    /// first locator is the default peer; an empty list means that nobody has answered.
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
    /// [`Error::NoSecurity`], but not from a DULL instance that handles the objective, [`Error::NotBoth`],
    /// [`Error::NoAsa`]; [`Error::TooLarge`] if the name is too long for a multicast; [`Error::NoRandom`]. A retry helps with
    /// `NoSecurity` once the substrate is up, and may help later with `NoRandom`.
    pub fn discover(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        timeout: Option<u32>,
        options: Discover,
    ) -> Result<Vec<AsaLocator>> {
        let here = here!(self, node => node.ask("discover", &[nonce.form(), objective.form(), timeout.form(), options.form()]));
        here.core.check_running()?;
        here.check_secure_or_dull([objective.name.as_str()])?;
        if objective.neg && objective.synch {
            return Err(Error::NotBoth);
        }
        here.check_asa(nonce)?;
        here.find(nonce, objective, timeout, options)
    }
}

impl Here {
    /// Like `discover`, but without its checks: for calls that look for a peer themselves.
    pub(super) fn find(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        timeout: Option<u32>,
        options: Discover,
    ) -> Result<Vec<AsaLocator>> {
        self.find_besides(nonce, objective, timeout, options, &[])
    }

    /// Like `find`, but locators that have been tried already do not count as answers.
    pub(super) fn find_besides(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        timeout: Option<u32>,
        options: Discover,
        tried: &[AsaLocator],
    ) -> Result<Vec<AsaLocator>> {
        let name = &objective.name;
        let enough = options.enough.unwrap_or(usize::MAX);
        let here = self.offered_here(nonce, name).without(tried);
        let most = self.core.node.config.locators_limit;
        let wanted = Wanted { enough, most, not: here.own.clone(), rapid: false };
        if self.core.node.test_divert() {
            // Only the answers count, not the cache or what is registered here.
            return Ok(self.ask(objective, timeout, wanted)?.0);
        }
        self.forget(name, options);
        let mut known = self.core.node.registries.discovery.lookup(name, self.core.now());
        known.retain(|known| !here.is_own(known));
        if !known.is_empty() {
            return Ok(here.added_to(known));
        }
        let mut answered = Vec::new();
        if here.added_to(Vec::new()).len() < enough {
            answered = self.ask(objective, timeout, wanted)?.0;
        }
        let now = self.core.now();
        let mut found = self.core.node.registries.discovery.lookup(name, now);
        // Another ASA may just have flushed the cache: the answers to this one are valid nevertheless.
        answered.retain(|one| one.is_valid_at(now) && !found.iter().any(|known| same_place(known, one)));
        found.extend(answered);
        found.truncate(most.max(1));
        // The registry may have changed while the network was asked.
        Ok(self.offered_here(nonce, name).without(tried).added_to(found))
    }

    fn forget(&self, name: &str, options: Discover) {
        let cache = &self.core.node.registries.discovery;
        match options.minimum_ttl {
            _ if options.flush => cache.flush(name),
            Some(0) => cache.flush(name),
            Some(minimum) => cache.expire_before(name, self.core.now().saturating_add(minimum.into())),
            None => {}
        }
    }

    /// Where this engine offers the objective, from the point of view of the ASA that asks.
    fn offered_here(&self, nonce: AsaNonce, name: &str) -> OfferedHere {
        let Some(offering) = self.core.node.registries.objectives.offering(name) else {
            return OfferedHere::default();
        };
        let addresses = self.core.addresses();
        if offering.owners.iter().any(|owner| *owner != nonce) {
            OfferedHere { others: local_locators(&addresses, &offering), own: Vec::new() }
        } else if self.core.node.config.listen_self {
            OfferedHere::default()
        } else {
            OfferedHere { own: all_locators(&addresses, &offering), others: Vec::new() }
        }
    }

    /// Asks the network until the timeout is over, enough locators are known, or an answer in rapid mode has arrived, if
    /// one is wanted. The locators go into the cache, too.
    fn ask(
        &self,
        objective: &Objective,
        timeout: Option<u32>,
        wanted: Wanted,
    ) -> Result<(Vec<AsaLocator>, Option<RapidAnswer>)> {
        let core = &self.core;
        let (mailbox, incoming) = bounded(core.node.config.response_queue);
        let limit = core.multicast_send_limit();
        // `Search` counts whole milliseconds. Deadlines count from here, so that no wait is too short.
        let (began, started) = (core.now(), Instant::now());
        let mut search = core.node.search(objective, timeout, wanted, Arc::new(mailbox), limit, began);
        loop {
            match search.next(core.now())? {
                Step::Ask(datagram) => {
                    core.multicast(|_| datagram.clone(), Links::All);
                }
                Step::Wait(until) => {
                    let deadline = started + Duration::from_millis(until.saturating_sub(began));
                    let time = deadline.saturating_duration_since(Instant::now());
                    select! {
                        recv(incoming) -> answer => answer.into_iter().for_each(|answer| search.take(answer)),
                        recv(core.stop_signal()) -> _ => return Err(Error::Stopped),
                        default(interrupt::slice(time)) => {
                            if interrupt::is_over() {
                                return Err(Error::Unspec);
                            }
                        }
                    }
                }
                Step::Done => return Ok(search.end(incoming.try_iter().count())),
            }
        }
    }

    /// Asks the neighbours, with the value as the wish, and waits for the first answer, whether or not it is in rapid mode
    /// (RFC 8990 §2.5.4.5). Returns the answer if it is.
    pub(super) fn ask_rapidly(&self, objective: &Objective) -> Result<Option<RapidAnswer>> {
        let mut wish = objective.clone();
        wish.loop_count = 1;
        let wanted = Wanted { enough: 1, rapid: true, ..Wanted::default() };
        Ok(self.ask(&wish, None, wanted)?.1)
    }
}

/// Where one engine offers an objective.
#[derive(Default)]
struct OfferedHere {
    /// Locators of other ASAs, which are found without asking the network.
    others: Vec<AsaLocator>,
    /// Locators of the ASA itself, which must not find itself. They may be in an answer nevertheless: a relay that has
    /// learnt them from another relay does not know that they are the asker's.
    own: Vec<AsaLocator>,
}

impl OfferedHere {
    fn is_own(&self, found: &AsaLocator) -> bool {
        self.own.iter().any(|own| is_there(own, found))
    }

    /// Excludes the locators that were tried, whoever offers them.
    fn without(mut self, tried: &[AsaLocator]) -> Self {
        self.others.retain(|other| !tried.iter().any(|tried| is_there(tried, other)));
        self.own.extend_from_slice(tried);
        self
    }

    /// Adds the locators of other ASAs of this engine to those found elsewhere, and removes the ASA's own.
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

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn what_an_asa_offers_itself_is_no_answer_and_what_others_offer_here_is_one_once() {
        let at = |last| AsaLocator::new(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last), None).with_port(7);
        let here = OfferedHere { others: vec![at(1), at(2)], own: vec![at(3)] };
        assert!(here.is_own(&at(3)) && !here.is_own(&at(1)));
        assert_eq!(here.added_to(vec![at(3), at(2), at(4)]), [at(2), at(4), at(1)]);
        let tried = here.without(&[at(1), at(4)]);
        assert_eq!(tried.added_to(vec![at(3), at(4), at(5)]), [at(5), at(2)]);
    }
}
