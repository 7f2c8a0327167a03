//! Fuzz target `copy_rows`; what it checks is in `src/copy_rows.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linegate_fuzz::copy_rows::check(data));
