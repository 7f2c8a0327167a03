//! Fuzz target `scram`; what it checks is in `src/scram.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linegate_fuzz::scram::check(data));
