//! Fuzz target `frontend`; what it checks is in `src/frontend.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linegate_fuzz::frontend::check(data));
