//! The examples as their users run them: as programs, in private networks. With GRASPY_DIR, the same with their
//! Python counterparts on the other side.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in helpers of tests too a failure is a panic")]

mod commandline;
mod files;
mod graspy;
mod money;
mod program;
mod talk;
