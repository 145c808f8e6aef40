//! Many nodes on virtual time and a virtual network, deciding by the engine's own code
//! (`grasp::simulation`): [`topology`] makes networks, [`network`] runs them, [`scenario`], [`storm`], [`saturation`],
//! [`churn`] and [`faults`] measure, [`report`] and [`plot`] print. The binary `simulator` is in front of it; docs/scaling.md has its tables.

pub mod ask;
pub mod churn;
pub mod faults;
pub mod network;
pub mod parallel;
pub mod plot;
pub mod queue;
pub mod random;
pub mod report;
pub mod saturation;
pub mod scenario;
pub mod storm;
pub mod topology;
