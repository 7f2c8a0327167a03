//! Fuzz target `startup`; what it checks is in `src/startup.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linegate_fuzz::startup::check(data));
