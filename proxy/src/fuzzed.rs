//! The fuzz target `session` (`tests/fuzz/run session`): the data plane's own code on the simulator, with a client that says the
//! input. It is the root of that target alone, and stands here because it has the program's modules.

#![no_main]
#![expect(dead_code, reason = "what only the program uses")]

mod alloc;
mod catalog;
mod catalog_listener;
mod changing;
mod clock;
mod control_link;
mod core;
mod counters;
mod doors;
mod link;
mod meters;
mod outstanding;
mod policy_service;
mod pseudonym_key;
mod rarely;
mod recorder;
mod rt;
mod session;
mod settings;
mod shared;
mod sim;
mod slab;
mod start;
mod tls;
mod warm_pool;
mod worker;

libfuzzer_sys::fuzz_target!(|data: &[u8]| sim::assail(data));
