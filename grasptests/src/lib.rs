//! The test harness of `anima-grasp`: private networks on one machine ([`lab`]), engines and hand-made peers on
//! their nodes ([`nodes`]), networks of many nodes on virtual time ([`simulator`]), the accounts of an engine
//! ([`accounts`]), domains of certificates ([`domains`]), engines behind a socket ([`through_socket`]), bare peers
//! of TLS ([`verifier`]), nodes that do everything at random for hours ([`soak`]), and what fuzzing does with an input ([`fuzzing`]).

pub mod accounts;
pub mod domains;
pub mod fuzzing;
pub mod nodes;
pub mod simulator;
pub mod soak;
pub mod through_socket;
pub mod verifier;

pub use grasp_lab as lab;
pub use grasp_lab::isolated;
