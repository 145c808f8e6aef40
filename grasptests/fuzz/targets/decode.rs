//! libFuzzer in front of `grasptests::fuzzing::decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| grasptests_fuzz::fuzzing::decode(input));
