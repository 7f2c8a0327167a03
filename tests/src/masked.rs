//! A client of a principal under a mask, which is where tests about masking begin.

use crate::{Linegate, Postgres, RawClient};

/// A server, linegate before it, and a client that must not see a labelled value.
pub struct Masked {
    /// The server.
    pub postgres: Postgres,
    /// The linegate before it.
    pub linegate: Linegate,
    /// Logged in.
    pub client: RawClient,
}

impl Masked {
    /// Starts all three.
    pub fn start() -> Self {
        let postgres = Postgres::start();
        let linegate = Linegate::start(&postgres);
        let lease = linegate.lease("workload:ci-runner", &["migrate"], "all");
        let client = linegate.client(&lease);
        Self {
            postgres,
            linegate,
            client,
        }
    }
}
