//! Per-core counters: written by one core without synchronisation that costs, read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// One core's counters.
        #[derive(Default)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: Counter,)+
        }
        impl Counters {
            /// Every counter with its name.
            pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.get())),+].into_iter()
            }
        }
    };
}

/// A number that one core adds to.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the owning core writes, so a load and a store do.
    pub fn add(&self, count: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(count),
            Ordering::Relaxed,
        );
    }

    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// Replaces it.
    pub fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

counters! {
    /// Connections accepted.
    accepted,
    /// Clients that proved a lease.
    logged_in,
    /// Clients that did not.
    login_refused,
    /// Backends that did not answer or refused.
    backend_failed,
    /// Server connections that were kept when their sessions had ended.
    warm_parked,
    /// Sessions that took one up instead of logging in.
    warm_reused,
    /// Kept connections that nobody took up: their time or their lease was over, or the server had left.
    warm_closed,
    /// Sessions that ended.
    ended,
    /// Statements forwarded.
    statements,
    /// Statements refused.
    denied,
    /// Statements that waited for a person.
    held,
    /// Verdicts found in the core's cache.
    cache_hits,
    /// Verdicts asked of a policy thread.
    cache_misses,
    /// Rows sent to clients.
    rows,
    /// Bytes sent to clients.
    bytes_out,
    /// Bytes received from clients.
    bytes_in,
    /// Results refused because an origin could not be told.
    results_refused,
    /// Labelled columns found where the statement's reading saw none: an alarm.
    label_surprises,
    /// Reports of a server that it reads text in another encoding or string syntax than linegate: an alarm.
    lexing_surprises,
    /// Texts that detectors found in columns without a label.
    detected,
    /// Protocol errors by clients.
    client_faults,
    /// Protocol errors by servers.
    server_faults,
    /// How often the core asked for memory; rows and what else passes by need none.
    allocations,
}
