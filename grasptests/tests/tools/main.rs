//! What people look at and type into: the story in the log, and the prompt of the program `lab` on a terminal.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in helpers of tests too a failure is a panic")]

mod prompt;
mod story;
