//! Fuzz target `config`; what it checks is in `src/config.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linegate_fuzz::config::check(data));
