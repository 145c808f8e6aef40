//! Networks of engines: with each other on real links and on virtual time, with graspy, and with the TLS of others.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in helpers of tests too a failure is a panic")]

mod addresses;
mod captures;
mod cheaper;
mod domain;
mod failover;
mod foreign;
mod host;
mod interfaces;
mod interop;
mod many_links;
mod rapid;
mod relay;
mod saturation;
mod simulator;
mod simulator_life;
mod soak;
mod two_nodes;
