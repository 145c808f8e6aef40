//! The test harness of `anima-grasp`: private networks on one machine ([`lab`]).

pub mod lab;
