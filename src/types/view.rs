//! The contents of the registries, as values that ASAs can look at. `registry` makes them, `api` returns them.

use std::net::Ipv6Addr;

use super::{AsaLocator, AsaNonce, Objective, TaggedObjective};

/// A registered ASA.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AsaView {
    /// Its name.
    pub name: String,
    /// Its handle.
    pub nonce: AsaNonce,
}

/// A registered objective.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ObjectiveView {
    /// The objective, with the value that is served if it is synchronized.
    pub objective: Objective,
    /// The ASAs that have registered it, in the order of registration.
    pub owners: Vec<AsaNonce>,
    /// The number of threads that wait in `listen_negotiate`, plus one while its value is served.
    pub listening: usize,
    /// The TCP port for its requests; 0 if it has none because it is only discovered.
    pub port: u16,
    /// Whether discoveries are always answered, not only while an ASA listens.
    pub discoverable: bool,
    /// Whether other ASAs may register it too.
    pub overlap: bool,
    /// Whether it is announced with link-local addresses only.
    pub local: bool,
    /// Whether its value is included in responses to discoveries.
    pub rapid: bool,
    /// How long discovered locators are valid, in milliseconds.
    pub ttl: u32,
    /// The locators that are announced instead of this node's address.
    pub locators: Vec<AsaLocator>,
}

/// The cached discovery results for one objective.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DiscoveryView {
    /// The objective's name.
    pub name: String,
    /// Its locators in order of arrival, each with its own expiry. Expired ones are removed at the next use.
    pub locators: Vec<AsaLocator>,
    /// The value that came in rapid mode, if any.
    pub rapid: Option<Objective>,
    /// When that value expires, in milliseconds of [`monotonic_ms`](crate::monotonic_ms); 0 if there is no value.
    pub rapid_expire: u64,
}

/// A flooded value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FloodView {
    /// The objective with its value, and its source, whose `expire` says until when it is valid.
    pub tagged: TaggedObjective,
    /// The interface and the neighbour it came from; `None` if an ASA of this engine flooded it.
    pub from: Option<(u32, Ipv6Addr)>,
}
