//! The API: every call and every error code, what is counted, traced, captured and said, who may call, and what a
//! panic leaves behind.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in helpers of tests too a failure is a panic")]

mod abandoned;
mod accounts;
mod acp;
mod acp_down;
mod concurrency;
mod containment;
mod deadlines;
mod discovery;
mod errors;
mod flooding;
mod interrupt;
mod lifecycle;
mod listening;
mod logging;
mod messaging;
mod negotiation;
mod node;
mod node_bounds;
mod pcap;
mod ports;
mod private_files;
mod process_wide;
mod rapid_values;
mod registration;
mod repeat;
mod serve;
mod sessions;
mod settings;
mod story;
mod synchronization;
mod tls;
mod trace;
mod utility;
mod views;
