//! What the example Autonomic Service Agents share.
