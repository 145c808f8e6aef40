//! What secures the traffic (RFC 8990 §2.1): the Autonomic Control Plane and its substitutes.

pub mod keyfile;
pub(crate) mod quads;
