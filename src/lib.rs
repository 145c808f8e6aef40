//! GRASP, the GeneRic Autonomic Signaling Protocol (RFC 8990), and its API (RFC 8991).
#![forbid(unsafe_code)]
