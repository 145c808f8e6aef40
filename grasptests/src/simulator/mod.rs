//! Many nodes on virtual time and a virtual network, deciding by the engine's own code
//! (`grasp::simulation`): [`topology`] makes networks, [`network`] runs them, [`scenario`] measures, [`report`]
//! prints. The binary `simulator` is in front of it; docs/scaling.md has its tables.

pub mod network;
pub mod random;
pub mod report;
pub mod scenario;
pub mod storm;
pub mod topology;
