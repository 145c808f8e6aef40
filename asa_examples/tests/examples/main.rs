//! The examples as their users run them, the books of pfxm3 in a model, and grasp-decode.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in helpers of tests too a failure is a panic")]

mod asas;
#[cfg(feature = "bubbles")]
mod bubbles;
mod decode;
mod pfxm3;
mod pfxm3_model;
mod quadsmaker;
mod tutorial;
