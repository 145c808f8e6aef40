//! The targets, which are modules of `grasptests`, without the rest of it.

#[path = "../src/accounts.rs"]
pub mod accounts;
#[path = "../src/fuzzing/mod.rs"]
pub mod fuzzing;
