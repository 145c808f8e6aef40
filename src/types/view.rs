//! What the registries hold, as values for ASAs to look at. Made by `registry`, given out by `api`.

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
    /// The ASAs that have registered it, in that order.
    pub owners: Vec<AsaNonce>,
    /// How many threads wait in `listen_negotiate`, and one more while its value is served.
    pub listening: usize,
    /// The TCP port of its requests; 0 if it has none because it is only discovered.
    pub port: u16,
    /// Discoveries are answered always, not only while an ASA listens.
    pub discoverable: bool,
    /// Other ASAs may register it too.
    pub overlap: bool,
    /// It is announced with link-local addresses only.
    pub local: bool,
    /// Its value goes into responses to discoveries.
    pub rapid: bool,
    /// How long discovered locators are valid, in milliseconds.
    pub ttl: u32,
    /// What it is announced with instead of this node's address.
    pub locators: Vec<AsaLocator>,
}

/// What is cached of discoveries of one objective.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DiscoveryView {
    /// The objective's name.
    pub name: String,
    /// Its locators in order of arrival, each with its own expiry. Those that have expired are removed with the next use.
    pub locators: Vec<AsaLocator>,
    /// The value that came in rapid mode, if one did.
    pub rapid: Option<Objective>,
    /// When that value expires, in milliseconds of [`monotonic_ms`](crate::monotonic_ms); 0 without one.
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
