//! ASAtest.
fn main() {}
