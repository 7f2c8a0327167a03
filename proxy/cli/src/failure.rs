//! How a command fails: one clear line, a hint where one helps, and an exit status.

use serde_json::json;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure that needs no hint.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    /// The same failure, and what to try.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The line itself.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The process's exit status; clap keeps 2 for a command line that does not parse.
    pub(crate) fn code(&self) -> u8 {
        1
    }

    /// Says it on standard error; results go to standard output only.
    pub(crate) fn print(&self, json: bool) {
        if json {
            eprintln!("{}", json!({ "error": self.message, "hint": self.hint }));
            return;
        }
        eprintln!("linegate: {}", self.message);
        if let Some(hint) = &self.hint {
            eprintln!("  hint: {hint}");
        }
    }
}
