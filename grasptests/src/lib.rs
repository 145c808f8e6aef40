//! The test harness of `anima-grasp`: private networks on one machine ([`lab`]), engines and hand-made peers on
//! their nodes ([`nodes`]), networks of many nodes on virtual time ([`simulator`]), and nodes that do everything at
//! random for hours ([`soak`]).

pub mod lab;
pub mod nodes;
pub mod simulator;
pub mod soak;
