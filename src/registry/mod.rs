//! What the engine knows: each registry is one lock and one file. `node` decides by them, and `api` looks things up.
//!
//! Lock order: asa, objective, discovery, session, flood. Every method takes its own lock, and no method calls out
//! while it holds the lock: no lock is held across a send, a receive, a channel operation or a callback.

mod adjacencies;
mod admission;
mod answer;
mod asa;
mod askers;
mod discovery_cache;
mod flood_cache;
mod identifiers;
mod links;
mod merging;
#[cfg(any(test, feature = "_simulator"))]
mod nowhere;
mod objective;
mod recent;
mod request;
mod session;
mod transport;

pub(crate) use adjacencies::{AdjacencyRegistry, Adjacent, Joined, NeighbourId, OpenedBy, Tried};
pub(crate) use admission::AdmissionRegistry;
pub(crate) use answer::{DiscoveryAnswer, Found, Mailbox, Undelivered};
pub(crate) use asa::AsaRegistry;
pub(crate) use askers::AskerRegistry;
pub(crate) use discovery_cache::{DiscoveryCache, RapidValue, same_place};
pub(crate) use flood_cache::FloodCache;
pub(crate) use identifiers::Identifiers;
pub(crate) use links::{Addresses, Link, LinkRegistry};
pub(crate) use merging::{First, Merging, RelayOpened};
#[cfg(any(test, feature = "_simulator"))]
pub(crate) use nowhere::Nowhere;
pub(crate) use objective::{Dispatch, ObjectiveRegistry, Offering, QueueLimits, Registration};
pub(crate) use recent::{Done, RecentRegistry};
pub(crate) use request::{Close, NegotiationRequest, SynchRequest};
pub(crate) use session::{Exchange, OpenRelay, Opened, Question, SessionRegistry};
pub(crate) use transport::{Transport, TransportError};

use std::sync::Arc;

use crate::bounds::Capacity;
use crate::config::Config;
use crate::stats::Counters;

/// The registries of one engine.
#[derive(Debug)]
pub(crate) struct Registries {
    pub(crate) asas: AsaRegistry,
    pub(crate) objectives: ObjectiveRegistry,
    pub(crate) discovery: DiscoveryCache,
    pub(crate) sessions: SessionRegistry,
    pub(crate) floods: FloodCache,
    pub(crate) identifiers: Identifiers,
    pub(crate) recent: RecentRegistry,
    pub(crate) links: LinkRegistry,
    pub(crate) askers: AskerRegistry,
    /// The peers that have authenticated by TLS.
    pub(crate) members: AskerRegistry,
    pub(crate) adjacencies: AdjacencyRegistry,
    pub(crate) admission: AdmissionRegistry,
}

impl Registries {
    pub(crate) fn new(config: &Config, counters: &Arc<Counters>) -> Self {
        let counters = || Arc::clone(counters);
        Self {
            asas: AsaRegistry::new(config.asa_limit),
            objectives: ObjectiveRegistry::new(config.objective_limit),
            discovery: DiscoveryCache::new(
                Capacity { entries: config.discovery_cache_limit, bytes: config.discovery_cache_size },
                config.locators_limit,
                counters(),
            ),
            sessions: SessionRegistry::new(config.session_limit, config.sessions_per_peer, counters()),
            floods: FloodCache::new(
                Capacity { entries: config.flood_cache_limit, bytes: config.flood_cache_size },
                Capacity {
                    entries: config.neighbour_flood_cache_limit,
                    bytes: config.neighbour_flood_cache_size,
                },
                counters(),
            ),
            identifiers: Identifiers::new(),
            recent: RecentRegistry::new(config.relay_memory, counters()),
            links: LinkRegistry::default(),
            askers: AskerRegistry::new(),
            members: AskerRegistry::new(),
            adjacencies: AdjacencyRegistry::new(),
            admission: AdmissionRegistry::default(),
        }
    }
}

#[cfg(test)]
mod tests;
