//! `graspd` as a service manager and an operator see it, in networks.

mod configuration;
mod daemon;
mod metrics;
mod service;
