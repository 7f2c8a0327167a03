//! Fuzz target `sql`; what it checks is in `src/sql.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| linegate_fuzz::sql::check(data));
