//! Hostile peers (RFC 8990 §2.2, §3): what a neighbour may do to an engine, and that it survives. Each test attacks
//! one engine, twice, and looks afterwards whether it still serves those who behave, and whether memory, threads
//! and descriptors are back where they were ([`scene`]). SECURITY.md has the table of attacks.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in helpers of tests too a failure is a panic")]

#[macro_use(cbor)]
extern crate grasptests;

mod scene;

mod beliefs;
mod closing;
mod connections;
mod datagrams;
mod discovery;
mod domain;
mod faults;
mod floods;
mod held_up;
mod host;
mod quads;
mod relays;
mod responses;
mod sessions;
mod shapes;
mod steps;
mod waiting;
