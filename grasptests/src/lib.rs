//! The test harness of `anima-grasp`: private networks on one machine ([`lab`]), engines and hand-made peers on
//! their nodes ([`nodes`]), networks of many nodes on virtual time ([`simulator`]), the accounts of an engine
//! ([`accounts`]), nodes that do everything at random for hours ([`soak`]), and what fuzzing does with an input
//! ([`fuzzing`]).

pub mod accounts;
pub mod fuzzing;
pub mod nodes;
pub mod simulator;
pub mod soak;

pub use grasp_lab as lab;
pub use grasp_lab::isolated;
