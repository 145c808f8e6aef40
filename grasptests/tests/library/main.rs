//! What the library offers beyond the calls of the original: views of the registries, stable ports, repeated floods,
//! settings with getters, errors with causes, guards and servers.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in helpers of tests too a failure is a panic")]

mod errors;
mod ports;
mod repeat;
mod serve;
mod sessions;
mod settings;
mod views;
