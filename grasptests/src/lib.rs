//! The test harness of `anima-grasp`: private networks on one machine ([`lab`]), and what
//! tests of the API share ([`nodes`]).

pub mod lab;
pub mod nodes;
