//! The test harness of `anima-grasp`: private networks on one machine ([`lab`]), and many nodes on virtual time
//! ([`simulator`]).

pub mod lab;
pub mod simulator;
