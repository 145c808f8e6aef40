//! The tests of the lab itself.

#![allow(clippy::expect_used, reason = "in helpers of tests too a failure is a panic")]

mod basics;
mod enter;
mod isolation;
