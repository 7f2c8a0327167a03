//! Time and chance: the only place the data plane asks the operating system for either.

use std::time::{SystemTime, UNIX_EPOCH};

use linegate_identity::UnixMillis;

/// Now.
pub fn now() -> UnixMillis {
    #[cfg(any(test, fuzzing))]
    if let Some(now) = crate::sim::now() {
        return now;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Random bytes from the operating system.
///
/// # Panics
/// When the operating system has none: nothing that needs them may go on.
pub fn random<const N: usize>() -> [u8; N] {
    #[cfg(any(test, fuzzing))]
    if let Some(bytes) = crate::sim::random() {
        return bytes;
    }
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).unwrap_or_else(|_| panic!("the operating system has no random bytes"));
    bytes
}
