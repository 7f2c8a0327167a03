//! What end-to-end tests stand on: a real PostgreSQL, a real linegate in front of it, and clients of both kinds.
//!
//! [`Postgres`] starts a server of its own on a free loopback port; [`Linegate`] starts `linegate up` from the cargo target
//! directory with a configuration of its own; [`RawClient`] speaks the wire protocol byte by byte, for what no driver
//! would send; [`psql`](Linegate::psql) is what people use. Everything is local to one test and ends with it.
//!
//! This is test code: it panics with a readable message where a test cannot go on.

pub mod attack;
pub mod attack_client;
pub mod attack_detect;
pub mod attack_fixture;
pub mod attack_judge;
pub mod chance;
pub mod doors;
pub mod health;
pub mod line;
pub mod linegate;
pub mod malformed;
pub mod masked;
pub mod places;
pub mod postgres;
pub mod shop;
pub mod statements;
pub mod talk;
pub mod under;
pub mod wire;

pub use linegate::{Lease, Linegate, Options, Said};
pub use masked::Masked;
pub use postgres::Postgres;
pub use wire::{Message, RawClient};

use std::time::{Duration, Instant};

/// How long a test waits for something that should happen soon; generous, since machines under test are busy.
pub const SOON: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer; panics with `what` after [`SOON`].
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "did not happen: {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}
