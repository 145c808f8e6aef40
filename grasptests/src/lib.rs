//! The test harness of `anima-grasp`: private networks on one machine ([`lab`]), engines and hand-made peers on
//! their nodes ([`nodes`]), networks of many nodes on virtual time ([`simulator`]), the accounts of an engine
//! ([`accounts`]), and nodes that do everything at random for hours ([`soak`]).

pub mod accounts;
pub mod lab;
pub mod nodes;
pub mod simulator;
pub mod soak;
