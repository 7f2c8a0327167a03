//! What can go wrong here, as one sentence for the person at the terminal.

use std::fmt;

use codecs::postgres::PostgresError;
use codecs::postgres::backend::ErrorFields;

/// Why a sample, or the whole run, has no figure.
#[derive(Debug)]
pub struct Failure(pub String);

impl Failure {
    /// With these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }

    /// With what was being done in front.
    pub fn during(self, what: &str) -> Self {
        Self(format!("{what}: {self}"))
    }

    /// The server's ErrorResponse.
    pub fn refused(payload: &[u8]) -> Self {
        ErrorFields::read(payload).map_or_else(Self::from, |fields| {
            let sqlstate = fields.sqlstate().unwrap_or(*b"XX000");
            Self(format!(
                "{} ({})",
                String::from_utf8_lossy(fields.message()),
                String::from_utf8_lossy(&sqlstate)
            ))
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        Self(error.to_string())
    }
}

impl From<PostgresError> for Failure {
    fn from(error: PostgresError) -> Self {
        Self(format!("not the protocol: {error}"))
    }
}
