//! The test harness of `anima-grasp`: private networks on one machine ([`lab`]), engines and hand-made peers on
//! their nodes ([`nodes`]), networks of many nodes on virtual time ([`simulator`]), and the accounts of an engine
//! ([`accounts`]).

pub mod accounts;
pub mod lab;
pub mod nodes;
pub mod simulator;
