//! The programs as their users run them, and the page of speech bubbles.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in helpers of tests too a failure is a panic")]

mod asatest;
mod bench;
mod bubbles;
mod churn;
mod command;
mod domain;
mod graspd;
mod lab_program;
mod prompt;
