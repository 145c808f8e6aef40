//! What must not make a call wait longer than it may: signals, a stopped process, callbacks of the program, peers that have
//! gone, browsers and pipes that take nothing, addresses that do not answer.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in helpers of tests too a failure is a panic")]

mod callbacks;
mod deadlines;
mod endings;
mod places;
