//! HTTP/1.1 on Unix sockets, with bounds that a local user who means harm meets first: connections, header size and time,
//! and the life of a connection.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Connections at once on one socket; more wait in the kernel's backlog.
const CONNECTION_COUNT_MAX: usize = 128;

/// Time for a request's head, and between requests.
const HEAD_WAIT: Duration = Duration::from_secs(10);

/// The longest life of a connection; clients that stay longer dial again.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// The largest request head.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Who is at the other end, by the kernel's word.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    uid: Option<u32>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uid {
            Some(uid) => write!(f, "uid:{uid}"),
            None => f.write_str("uid:unknown"),
        }
    }
}

/// Listens at `path`, which is replaced: the caller holds the state directory's lock, so nobody else listens there.
pub fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Serves until the task is ended.
pub async fn serve(listener: UnixListener, routes: Router) {
    let room = Arc::new(Semaphore::new(CONNECTION_COUNT_MAX));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let routes = routes.clone();
                tokio::spawn(async move {
                    connection(stream, routes).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors: let some close
            }
        }
    }
}

async fn connection(stream: UnixStream, routes: Router) {
    let peer = Peer {
        uid: stream.peer_cred().ok().map(|peer| peer.uid()),
    };
    let service = TowerToHyperService::new(routes.layer(Extension(peer)));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_LIFE, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection broke off"),
        Err(_) => tracing::debug!("a connection lived too long"),
    }
}
