//! Connects to a peer for a request of `negotiation` or `synchronization`: to the given one, or to a discovered one. A
//! discovered peer may have gone in the meantime; then this looks for others while there is time.

use std::time::{Duration, Instant};

use super::{Discover, SHORTEST_CONNECT};
use crate::clock::millis;
use crate::engine::Here;
use crate::error::{Error, Result};
use crate::net::tcp::Connection;
use crate::registry::same_place;
use crate::types::{AsaLocator, AsaNonce, Objective};

/// The result of looking for a peer.
pub(super) enum Reached {
    /// A connection, and the locator that it was made with.
    Peer(Connection, AsaLocator),
    /// The response to a discovery contained the value itself (rapid mode).
    Value(Objective, Option<AsaLocator>),
}

/// The errors to return if there is no peer.
pub(super) struct Failures {
    /// If nobody answers.
    pub(super) nobody: Error,
    /// If there is a peer, but the request cannot be sent.
    pub(super) unsendable: Option<Error>,
    /// If no peer can be reached.
    pub(super) unreached: Error,
}

impl Here {
    /// Connects to the given peer. Without one, connects to a known or discovered peer; if none of these can be reached,
    /// discovers others within `timeout` milliseconds, by default in as much time as a discovery takes. A locator that is
    /// found again after it failed is tried once more.
    ///
    /// # Errors
    /// Those of a discovery, and `failures`.
    pub(super) fn reach(
        &self,
        nonce: AsaNonce,
        objective: &Objective,
        peer: Option<&AsaLocator>,
        timeout: Option<u32>,
        failures: &Failures,
    ) -> Result<Reached> {
        let name = &objective.name;
        let connect = |peers: &[AsaLocator], until| {
            if let Some(error) = &failures.unsendable {
                return Err(error.clone());
            }
            let connected = self.connect(name, peers, until, failures.unreached.clone());
            connected.map(|(connection, locator)| Reached::Peer(connection, locator))
        };
        if let Some(peer) = peer {
            return connect(std::slice::from_ref(peer), self.connect_deadline());
        }
        let timeout = timeout.filter(|given| *given > 0);
        let deadline = Instant::now() + self.timeout(timeout);
        let (mut once, mut twice) = (Vec::new(), Vec::new());
        let mut failure = failures.nobody.clone();
        loop {
            let left = timeout.map(|_| left_until(deadline));
            let options = Discover { enough: Some(1), ..Discover::default() };
            let found = self.find_besides(nonce, objective, left, options, &twice)?;
            let (cache, now) = (&self.core.node.registries.discovery, self.core.now());
            if objective.synch
                && let Some(value) = cache.rapid(name, now)
            {
                return Ok(Reached::Value(value, found.into_iter().next()));
            }
            if found.is_empty() {
                return Err(failure);
            }
            // A peer that is found at the last moment gets the time for connecting nevertheless.
            let until = self.connect_deadline().min(deadline.max(Instant::now() + SHORTEST_CONNECT));
            match connect(&found, until) {
                Err(error) if failures.unsendable.is_some() => return Err(error),
                Err(error) => failure = error,
                reached => return reached,
            }
            if Instant::now() >= deadline {
                return Err(failure);
            }
            let (again, new): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|found| once.iter().any(|known| same_place(known, found)));
            once.extend(new);
            twice.extend(again);
        }
    }
}

/// Milliseconds until a deadline.
fn left_until(deadline: Instant) -> u32 {
    let left: Duration = deadline.saturating_duration_since(Instant::now());
    u32::try_from(millis(left)).unwrap_or(u32::MAX)
}
