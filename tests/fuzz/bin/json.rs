//! Fuzz target `json`; what it checks is in `src/json.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linegate_fuzz::json::check(data));
