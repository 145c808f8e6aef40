//! libFuzzer in front of `grasptests::fuzzing::neighbours`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| grasptests_fuzz::fuzzing::neighbours(input));
