//! libFuzzer in front of `grasptests::fuzzing::quads`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| grasptests_fuzz::fuzzing::quads(input));
