//! Asking the control plane: HTTP/1.1 and JSON over its Unix sockets.
//!
//! `admin.sock` takes everything and belongs to the operator; `agents.sock` takes only what a lease holder may do for
//! itself (derive, revoke its own lease, health). Which of them a command needs is named by [`Door`].

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::Global;
use crate::failure::Failure;

/// The environment variable that names the control plane.
pub(crate) const CONTROL_ENV: &str = "LINEGATE_CONTROL";
/// Where the packaged service keeps its state.
const STATE_DIR_DEFAULT: &str = "/var/lib/linegate";
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long an answer may take: a revocation waits for data planes to acknowledge it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Which of the control plane's sockets a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The operator's socket.
    Admin,
    /// The socket that any local user may open.
    Agents,
}

impl Door {
    fn socket(self) -> &'static str {
        match self {
            Self::Admin => "admin.sock",
            Self::Agents => "agents.sock",
        }
    }
}

/// A control plane, found.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    place: PathBuf,
}

impl Control {
    /// Finds the control plane: `--control`, `--state-dir`, `LINEGATE_CONTROL`, the packaged service's directory.
    pub(crate) fn find(global: &Global) -> Self {
        Self { place: place(global) }
    }

    /// The place to hand to a child process, absolute so that the child may change directory.
    pub(crate) fn place_absolute(&self) -> PathBuf {
        std::path::absolute(&self.place).unwrap_or_else(|_| self.place.clone())
    }

    fn socket(&self, door: Door) -> PathBuf {
        if self.place.is_dir() || !self.place.exists() {
            self.place.join(door.socket())
        } else {
            self.place.clone()
        }
    }

    /// Asks and returns the answer's JSON.
    pub(crate) async fn get(&self, door: Door, path: &str) -> Result<Value, Failure> {
        self.call(door, Method::GET, path, None).await
    }

    /// Sends a JSON body and returns the answer's JSON.
    pub(crate) async fn post(&self, door: Door, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(door, Method::POST, path, Some(body)).await
    }

    async fn call(
        &self,
        door: Door,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let socket = self.socket(door);
        match tokio::time::timeout(ANSWER_TIMEOUT, exchange(&socket, method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::new("the control plane did not answer in time")
                .hint(format!("it has {}", socket.display()))),
        }
    }
}

/// The state directory or socket that the options name.
pub(crate) fn place(global: &Global) -> PathBuf {
    global
        .control
        .clone()
        .or_else(|| global.state_dir.clone())
        .or_else(|| {
            std::env::var_os(CONTROL_ENV)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        })
        .unwrap_or_else(|| PathBuf::from(STATE_DIR_DEFAULT))
}

/// The state directory, even where a socket in it was named.
pub(crate) fn state_dir(global: &Global) -> PathBuf {
    let place = place(global);
    match place.parent() {
        Some(parent) if place.extension().is_some_and(|ext| ext == "sock") => parent.to_path_buf(),
        _ => place,
    }
}

async fn exchange(socket: &Path, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| unreachable_control(socket, error.kind()))?;
    let broken = |error: hyper::Error| Failure::new(format!("the control plane broke off: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let connection = tokio::spawn(connection);
    let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "linegate")
        .header("content-type", "application/json")
        .body(Full::new(bytes))
        .map_err(|error| Failure::new(format!("cannot ask for {path}: {error}")))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let bytes = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| {
            Failure::new(format!(
                "the control plane's answer did not arrive whole: {error}"
            ))
        })?
        .to_bytes();
    connection.abort();
    answer(status, &bytes)
}

/// The JSON of a good answer, or the control plane's own words for why not.
fn answer(status: StatusCode, bytes: &[u8]) -> Result<Value, Failure> {
    let value: Value = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(bytes).unwrap_or(Value::Null)
    };
    if status.is_success() {
        return Ok(value);
    }
    let message = match value["error"].as_str() {
        Some(message) => message.to_owned(),
        None => format!("the control plane answered {status}"),
    };
    let failure = Failure::new(message);
    Err(match value["hint"].as_str() {
        Some(hint) if !hint.is_empty() => failure.hint(hint),
        _ => failure,
    })
}

fn unreachable_control(socket: &Path, kind: ErrorKind) -> Failure {
    let failure = Failure::new(format!("no control plane at {} ({kind})", socket.display()));
    match kind {
        ErrorKind::PermissionDenied => failure.hint("this socket belongs to the operator; run as that user"),
        _ => failure
            .hint("start it with `linegate up`, or name it with --state-dir, --control or LINEGATE_CONTROL"),
    }
}

/// An id that may stand in a request path; anything else was never an id.
pub(crate) fn id(text: &str) -> Result<&str, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.len() <= 128 && text.chars().all(plain) {
        Ok(text)
    } else {
        Err(Failure::new("that is not an id")
            .hint("ids look like lg_… and h_…; `linegate holds` and `lease list` show them"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(control: Option<&str>, state_dir: Option<&str>) -> Global {
        Global {
            json: false,
            control: control.map(Into::into),
            state_dir: state_dir.map(Into::into),
        }
    }

    #[test]
    fn a_named_control_plane_wins_over_the_state_directory() {
        assert_eq!(place(&global(Some("/a"), Some("/b"))), PathBuf::from("/a"));
        assert_eq!(place(&global(None, Some("/b"))), PathBuf::from("/b"));
        assert_eq!(
            state_dir(&global(Some("/a/admin.sock"), None)),
            PathBuf::from("/a")
        );
    }

    #[test]
    fn an_error_speaks_in_the_control_planes_words() {
        let failure = answer(
            StatusCode::FORBIDDEN,
            br#"{"error":"scope is wider","hint":"ask for read"}"#,
        )
        .unwrap_err();
        assert_eq!(failure.message(), "scope is wider");
        assert_eq!(answer(StatusCode::CREATED, br#"{"a":1}"#).expect("good")["a"], 1);
        assert!(answer(StatusCode::BAD_GATEWAY, b"<html>").is_err());
    }

    #[test]
    fn an_id_cannot_climb_out_of_its_path() {
        assert!(id("h_abc-1").is_ok());
        for text in ["", "../x", "a/b", "a b", "a?b", "a%2e"] {
            assert!(id(text).is_err(), "{text}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn nobody_there_is_said_with_a_hint() {
        let control = Control::find(&global(None, Some("/nonexistent/linegate")));
        let failure = control.get(Door::Admin, "/v1/health").await.unwrap_err();
        assert!(
            failure.message().contains("no control plane"),
            "{}",
            failure.message()
        );
    }
}
