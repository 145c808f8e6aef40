//! What the engine knows: five registries, each one lock and one file. Used by `proto` and `api`.
//!
//! Lock order: asa, objective, discovery, session, flood. Every method takes its own lock, and no method calls
//! out while it holds it: no lock is held across a send, a receive, a channel operation or a callback.

mod answer;
mod asa;
mod discovery_cache;
mod flood_cache;
mod limits;
#[cfg(any(test, feature = "_simulator"))]
mod nowhere;
mod objective;
mod recent;
mod session;
mod transport;

pub(crate) use answer::{DiscoveryAnswer, Found};
pub(crate) use asa::AsaRegistry;
pub(crate) use discovery_cache::{DiscoveryCache, RapidValue, same_place};
pub(crate) use flood_cache::{FloodCache, Room};
pub(crate) use limits::RelayLimit;
#[cfg(any(test, feature = "_simulator"))]
pub(crate) use nowhere::Nowhere;
pub(crate) use objective::{
    Close, Dispatch, Kind, NegotiationRequest, ObjectiveRegistry, Offering, QueueLimits, Registration,
    SynchRequest,
};
pub(crate) use session::{Dialogue, SessionRegistry};
pub(crate) use transport::{Neighbour, Transport, TransportError};

use std::sync::Arc;

use crate::config::Config;
use crate::stats::Counters;

/// The five registries of one engine, and its budgets for relaying.
#[derive(Debug)]
pub(crate) struct Registries {
    pub(crate) asas: AsaRegistry,
    pub(crate) objectives: ObjectiveRegistry,
    pub(crate) discovery: DiscoveryCache,
    pub(crate) sessions: SessionRegistry,
    pub(crate) floods: FloodCache,
    pub(crate) discovery_relay: RelayLimit,
    pub(crate) flood_relay: RelayLimit,
}

impl Registries {
    pub(crate) fn new(config: &Config, counters: &Arc<Counters>) -> Self {
        Self {
            asas: AsaRegistry::new(config.asa_limit),
            objectives: ObjectiveRegistry::new(config.objective_limit),
            discovery: DiscoveryCache::new(
                Room { entries: config.discovery_cache_limit, bytes: config.discovery_cache_size },
                config.locators_limit,
                Arc::clone(counters),
            ),
            sessions: SessionRegistry::new(
                config.session_limit,
                config.sessions_per_peer,
                config.relay_memory,
                Arc::clone(counters),
            ),
            floods: FloodCache::new(
                Room { entries: config.flood_cache_limit, bytes: config.flood_cache_size },
                Room {
                    entries: config.neighbour_flood_cache_limit,
                    bytes: config.neighbour_flood_cache_size,
                },
                Arc::clone(counters),
            ),
            discovery_relay: RelayLimit::new(
                config.discovery_relay_rate,
                config.neighbour_discovery_relay_rate,
            ),
            flood_relay: RelayLimit::new(config.flood_relay_rate, config.neighbour_flood_relay_rate),
        }
    }
}
