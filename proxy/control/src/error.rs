//! What the API answers when it does not do what it was asked: a status, one sentence, and what to do about it.
//!
//! Bodies are `{"error": …, "hint": …}`. Secrets, statements and database messages stay out of them; details that only the
//! operator needs go to the log.

use std::fmt;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// An answer other than the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// One sentence that says whose fault it is.
    pub error: String,
    /// What the caller can do.
    pub hint: String,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    hint: &'a str,
}

impl Refusal {
    /// A refusal of that status.
    pub fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            hint: hint.into(),
        }
    }

    /// 400: the request itself is wrong.
    pub fn bad(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, hint)
    }

    /// 401: the secret that came with the request opens nothing. One text for every reason, so that it tells nothing.
    pub fn unproven() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "the lease is unknown, has ended, was revoked, or its secret is wrong",
            "ask whoever started this job for a live lease",
        )
    }

    /// 403: understood, and not allowed.
    pub fn forbidden(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, error, hint)
    }

    /// 404: no such thing.
    pub fn missing(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error, hint)
    }

    /// 409: it is no longer, or not yet, in the state that this needs.
    pub fn conflict(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, error, hint)
    }

    /// 503: later perhaps.
    pub fn unavailable(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error, hint)
    }

    /// 500: ours; the cause is in the log.
    pub fn ours(what: &str, cause: &dyn fmt::Display) -> Self {
        tracing::error!(%cause, "{what}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            what,
            "the log of linegate-control has the cause",
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.error, self.hint)
    }
}

impl std::error::Error for Refusal {}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (
            self.status,
            Json(Body {
                error: &self.error,
                hint: &self.hint,
            }),
        )
            .into_response()
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(cause: rusqlite::Error) -> Self {
        Self::ours("the state database could not be read or written", &cause)
    }
}
