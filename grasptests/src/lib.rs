//! The test harness of `anima-grasp`: private networks on one machine ([`lab`]), engines and hand-made peers on
//! their nodes ([`nodes`]), networks of many nodes on virtual time ([`simulator`]), the accounts of an engine
//! ([`accounts`]), and what fuzzing does with an input ([`fuzzing`]).

pub mod accounts;
pub mod fuzzing;
pub mod lab;
pub mod nodes;
pub mod simulator;
