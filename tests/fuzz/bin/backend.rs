//! Fuzz target `backend`; what it checks is in `src/backend.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linegate_fuzz::backend::check(data));
