//! A PostgreSQL at memory speed: what the real server behind it answered once is answered from memory from then on.
//!
//! One thread, one epoll: where it shares a core with the client it costs one kernel copy per byte and little else. `serve` moves
//! bytes, `session` cuts them into batches, `context` knows what an answer depends on, `memory` asks the real server and remembers,
//! `answer` repeats rows for `SELECT * FROM name_1024`.

mod answer;
mod context;
mod memory;
mod serve;
mod session;

pub use serve::serve;
