//! Interoperability with graspy, the reference implementation in Python, in both roles.
//!
//! Run with a checkout of graspy, an interpreter (`PYTHON`, by default `python3`) and its packages `cbor2`,
//! `netifaces` and `cryptography`:
//!
//! ```text
//! GRASPY_DIR=... cargo test -p grasptests --test network interop:: -- --ignored
//! ```
//!
//! What a node does is the trait [`side::Side`], which our engine and a graspy process both implement; a
//! scenario is written once for an asker and an answerer, and run in both roles. graspy runs unmodified in a
//! process of its own, which `grasptests/interop/driver.py` lets the test drive.

mod discovery;
mod flooding;
mod graspy;
mod negotiation;
mod ours;
mod pair;
mod ring;
mod several;
mod side;
mod synchronization;
mod three_nodes;
mod values;

use std::time::Duration;

/// What has to happen happens within this time, on a busy machine too.
const SOON: Duration = Duration::from_secs(30);

/// The timeout of calls that are answered, in milliseconds.
const TIMEOUT: u32 = 20_000;

/// The beginning of every test here, with its deadline in seconds.
macro_rules! needs_graspy {
    ($seconds:expr) => {
        $crate::interop::graspy::directory();
        ::grasptests::isolated!($seconds);
    };
}

pub(crate) use needs_graspy;
