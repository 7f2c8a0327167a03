//! Fuzz target `detect`; what it checks is in `src/detect.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linegate_fuzz::detect::check(data));
