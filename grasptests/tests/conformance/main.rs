//! RFC 8990, requirement by requirement: an engine on one node, and on another node of the same link a
//! hand-made peer ([`peer`]) that sends exact messages and looks at exactly what comes back. The name of each
//! test begins with the identifier of the requirement; docs/compliance.md lists them all.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in helpers of tests too a failure is a panic")]

#[macro_use(cbor)]
extern crate grasptests;

mod bench;
mod peer;

mod borders;
mod codec;
mod compliance;
mod discovery;
mod divert_cache;
mod dull;
mod flood_originator;
mod flood_receiver;
mod locators;
mod messages;
mod modules;
mod negotiation;
mod objectives;
mod options;
mod rapid;
mod relay;
mod responder;
mod robustness;
mod sid;
mod sizes_security;
mod synchronization;
mod wait_end;
