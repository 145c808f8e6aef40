//! `graspd` as a service manager and an operator see it, in networks.

mod configuration;
pub(crate) mod daemon;
mod metrics;
mod service;
mod tls;
