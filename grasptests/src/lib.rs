//! The test harness of `anima-grasp`: private networks on one machine ([`lab`]), engines and hand-made peers on
//! their nodes ([`nodes`]), and networks of many nodes on virtual time ([`simulator`]).

pub mod lab;
pub mod nodes;
pub mod simulator;
