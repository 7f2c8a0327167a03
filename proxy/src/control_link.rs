//! The data plane's end of its line to the control plane: one blocking thread, outside every core.
//!
//! When control is gone, running leases go on and the thread keeps trying to reach it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use linegate_identity::{LeaseId, Leases};
use linegate_link::{LINE_BYTES_MAX, ToControl, ToData, decode, encode};

use crate::clock;
use crate::shared::{CoreMessage, Keys, Shared, lock};

const RETRY: Duration = Duration::from_millis(300);
/// How long the sending thread sleeps when nothing wakes it.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Starts the thread.
pub fn start(shared: Arc<Shared>, socket: PathBuf) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            let mut version = 0;
            loop {
                match UnixStream::connect(&socket) {
                    Ok(stream) => {
                        if let Err(error) = converse(&shared, &stream, &mut version) {
                            tracing::warn!(%error, "the control plane is gone; running leases go on");
                        }
                        shared.control_connected.store(false, Ordering::Relaxed);
                    }
                    Err(error) => tracing::debug!(%error, "the control plane cannot be reached"),
                }
                std::thread::sleep(RETRY);
            }
        })?;
    Ok(())
}

fn converse(shared: &Arc<Shared>, stream: &UnixStream, version: &mut u64) -> std::io::Result<()> {
    let hello = ToControl::Hello {
        name: host_name(),
        version: *version,
    };
    send(stream, &hello)?;
    for hold in lock(&shared.holds).values() {
        send(stream, &ToControl::HoldAsked { hold: hold.clone() })?;
    }
    shared.control_connected.store(true, Ordering::Relaxed);
    let writer = stream.try_clone()?;
    let theirs = shared.clone();
    let sender = std::thread::Builder::new()
        .name("control-send".into())
        .spawn(move || send_all(&theirs, &writer))?;
    let result = receive_all(shared, stream, version);
    shared.control_connected.store(false, Ordering::SeqCst);
    shared.to_control.nudge();
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let _ = sender.join();
    result
}

fn send_all(shared: &Shared, stream: &UnixStream) {
    loop {
        match shared.to_control.take() {
            Some(message) => {
                if let Err(error) = send(stream, &message) {
                    // Holds are told again after the reconnect; an ack is replaced by that of the next snapshot.
                    tracing::debug!(%error, "a message to the control plane is lost");
                    return;
                }
            }
            None if !shared.control_connected.load(Ordering::Relaxed) => return,
            None => shared
                .to_control
                .park(LOOK_AGAIN, || !shared.control_connected.load(Ordering::SeqCst)),
        }
    }
}

fn send(mut stream: &UnixStream, message: &ToControl) -> std::io::Result<()> {
    let line = encode(message).map_err(std::io::Error::other)?;
    stream.write_all(&line)
}

fn receive_all(shared: &Arc<Shared>, stream: &UnixStream, version: &mut u64) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader)
            .take(LINE_BYTES_MAX as u64)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let message: ToData = decode(&line).map_err(std::io::Error::other)?;
        receive(shared, message, version);
    }
}

fn receive(shared: &Arc<Shared>, message: ToData, version: &mut u64) {
    match message {
        ToData::Snapshot {
            version: new,
            leases,
            revoked,
            issuers,
            token_key,
        } => {
            *version = new;
            let fresh = Leases::from_snapshot(leases, revoked.clone());
            // What ended while the line was down ends now, and what the snapshot no longer knows.
            let gone: Vec<LeaseId> = {
                let mut held = lock(&shared.leases);
                let gone = held
                    .iter()
                    .filter(|lease| fresh.is_revoked_or_expired(&lease.id, clock::now()));
                let gone = gone.map(|lease| lease.id.clone()).chain(revoked).collect();
                *held = fresh;
                gone
            };
            shared.keys.store(Arc::new(Keys { issuers, token_key }));
            shared.has_snapshot.store(true, Ordering::Release);
            tell_cores(shared, gone, "the lease was revoked", new);
        }
        ToData::LeaseAdded { version: new, lease } => {
            *version = new;
            lock(&shared.leases).insert(lease);
            shared.to_control.put(ToControl::Ack { version: new });
        }
        ToData::LeasesRevoked {
            version: new,
            ids,
            by,
        } => {
            *version = new;
            let mut ended = lock(&shared.leases).revoke(&ids);
            ended.extend(ids);
            tracing::info!(leases = ended.len(), %by, "leases revoked");
            tell_cores(shared, ended, "the lease was revoked", new);
        }
        ToData::Issuer { version: new, keys } => {
            *version = new;
            let held = shared.keys.load();
            let mut issuers: Vec<_> = held
                .issuers
                .iter()
                .filter(|issuer| issuer.name != keys.name)
                .cloned()
                .collect();
            issuers.push(keys);
            shared.keys.store(Arc::new(Keys {
                issuers,
                token_key: held.token_key.clone(),
            }));
            shared.to_control.put(ToControl::Ack { version: new });
        }
        ToData::HoldDecided {
            hold,
            digest,
            approved,
            by,
            reason,
        } => {
            for core in &shared.cores {
                core.put(CoreMessage::HoldDecided {
                    hold: hold.clone(),
                    digest: digest.clone(),
                    approved,
                    by: by.clone(),
                    reason: reason.clone(),
                });
            }
        }
    }
}

/// The change is acknowledged when the last core has told its sessions.
fn tell_cores(shared: &Shared, ids: Vec<LeaseId>, why: &'static str, version: u64) {
    lock(&shared.lease_acks).insert(version, shared.cores.len());
    let ids = Arc::new(ids);
    for core in &shared.cores {
        core.put(CoreMessage::LeasesEnded {
            ids: ids.clone(),
            why,
            version,
        });
    }
}

/// Called by a core that has told its sessions.
pub fn core_told(shared: &Shared, version: u64) {
    let is_last = {
        let mut acks = lock(&shared.lease_acks);
        match acks.get_mut(&version) {
            Some(left) if *left > 1 => {
                *left -= 1;
                false
            }
            _ => acks.remove(&version).is_some(),
        }
    };
    if is_last {
        shared.to_control.put(ToControl::Ack { version });
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname"));
    name.map(|name| name.trim().to_owned())
        .unwrap_or_else(|_| "linegated".into())
}
