//! GRASP, the GeneRic Autonomic Signaling Protocol (RFC 8990), and its API (RFC 8991).
#![forbid(unsafe_code)]

pub mod constants;
mod types;
pub mod wire;

pub use types::{AsaLocator, AsaNonce, Locator, Objective, Protocol, SessionNonce, TaggedObjective, Value};
