//! Networks of engines: with each other on real links and on virtual time, and with graspy.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in helpers of tests too a failure is a panic")]

mod addresses;
mod failover;
mod host;
mod interfaces;
mod interop;
mod many_links;
mod rapid;
mod relay;
mod simulator;
mod soak;
mod two_nodes;
