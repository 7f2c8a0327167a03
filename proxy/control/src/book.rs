//! What the control plane knows right now, and whom it tells: the mirror in memory that snapshots are built from.
//!
//! Every change goes to the database first and then here, one at a time (the caller holds the turn), so the version on
//! disk, the version here and the order on every data plane's queue are the same. Nothing here waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use linegate_identity::{LeaseGrant, LeaseId, UnixMillis};
use linegate_link::{HoldRequest, IssuerKeys, LINE_BYTES_MAX, LineError, ToData, encode};
use tokio::sync::{mpsc, watch};

use crate::error::Refusal;

/// Bytes of all unexpired grants as JSON; a whole snapshot must fit one line with room for revocations and keys.
const LEASE_BYTES_MAX: usize = LINE_BYTES_MAX / 2;

/// Revoked, unexpired leases that are remembered; 24 bytes each in a snapshot.
const REVOKED_COUNT_MAX: usize = 1 << 20;

/// Live leases that may descend from one lease, so that one job cannot crowd out the others.
const DESCENDANT_COUNT_MAX: usize = 1024;

/// Messages that wait for one data plane; one that falls further behind is cut off and starts again with a snapshot.
const QUEUE_COUNT_MAX: usize = 1024;

/// Holds that wait at once, over all data planes.
pub const HOLD_COUNT_MAX: usize = 4096;

/// One message as it goes on the wire, shared by all queues.
pub type Line = Arc<[u8]>;

/// A live lease.
#[derive(Clone, Debug)]
pub struct Lease {
    /// What data planes hold.
    pub grant: LeaseGrant,
    /// The head of its tree.
    pub root: LeaseId,
    bytes: usize,
}

/// A hold that waits for people.
#[derive(Clone, Debug)]
pub struct PendingHold {
    /// What approvers see.
    pub request: HoldRequest,
    /// The connection that asked, while it lasts.
    pub plane: Option<u64>,
    /// Who has approved so far, `user:NAME`.
    pub approvals: Vec<String>,
}

/// A connected data plane.
struct Plane {
    name: String,
    queue: mpsc::Sender<Line>,
    acked: watch::Sender<u64>,
    connected_since: UnixMillis,
}

/// A data plane as `/v1/health` shows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PlaneHealth {
    /// Its host name.
    pub name: String,
    /// The last version that is in effect on all of its workers.
    pub acked_version: u64,
    /// Unix milliseconds.
    pub connected_since: UnixMillis,
}

/// Data planes that were told of a change.
#[derive(Default)]
pub struct Told {
    version: u64,
    planes: Vec<(String, watch::Receiver<u64>)>,
}

impl Told {
    /// Waits until the change is in effect everywhere and says on how many data planes that is; one that disconnects
    /// meanwhile does not count, since it begins again with a snapshot. After `limit`: the names that did not answer.
    pub async fn everywhere(self, limit: Duration) -> Result<usize, Vec<String>> {
        let deadline = tokio::time::Instant::now() + limit;
        let (mut done, mut late) = (0, Vec::new());
        for (name, mut acked) in self.planes {
            match tokio::time::timeout_at(deadline, acked.wait_for(|&acked| acked >= self.version)).await {
                Ok(Ok(_)) => done += 1,
                Ok(Err(_)) => tracing::warn!(plane = name, "a data plane left before it confirmed a change"),
                Err(_) => late.push(name),
            }
        }
        if late.is_empty() { Ok(done) } else { Err(late) }
    }
}

/// Everything that is true now.
pub struct Book {
    version: u64,
    leases: BTreeMap<LeaseId, Lease>,
    lease_bytes: usize,
    revoked: BTreeMap<LeaseId, UnixMillis>,
    issuers: BTreeMap<String, IssuerKeys>,
    /// Holds that wait, by id.
    pub holds: BTreeMap<String, PendingHold>,
    planes: BTreeMap<u64, Plane>,
    planes_seen: u64,
    token_key: String,
}

impl Book {
    /// An empty book; `token_key` is the public key of lease tokens, hex.
    pub fn new(version: u64, token_key: String) -> Self {
        Self {
            version,
            leases: BTreeMap::new(),
            lease_bytes: 0,
            revoked: BTreeMap::new(),
            issuers: BTreeMap::new(),
            holds: BTreeMap::new(),
            planes: BTreeMap::new(),
            planes_seen: 0,
            token_key,
        }
    }

    /// The version of the last change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The version of the next change.
    pub fn next_version(&self) -> u64 {
        self.version + 1
    }

    /// How many leases are in effect.
    pub fn lease_count(&self) -> usize {
        self.leases.len()
    }

    /// A lease that is in effect at `now`.
    pub fn live(&self, id: &LeaseId, now: UnixMillis) -> Option<&Lease> {
        self.leases.get(id).filter(|lease| lease.grant.is_live(now))
    }

    /// Whether a lease was revoked and has not yet expired.
    pub fn is_revoked(&self, id: &LeaseId) -> bool {
        self.revoked.contains_key(id)
    }

    /// Puts back a lease that was minted before a restart.
    pub fn restore(&mut self, grant: LeaseGrant, root: LeaseId, revoked: bool) {
        if revoked {
            self.revoked.insert(grant.id, grant.expires_at);
        } else {
            self.insert(grant, root);
        }
    }

    fn insert(&mut self, grant: LeaseGrant, root: LeaseId) {
        let bytes = grant_bytes(&grant);
        self.lease_bytes += bytes;
        self.leases.insert(grant.id.clone(), Lease { grant, root, bytes });
    }

    /// Whether one more lease fits.
    pub fn room_for(&self, grant: &LeaseGrant, root: &LeaseId) -> Result<(), Refusal> {
        if self.lease_bytes + grant_bytes(grant) > LEASE_BYTES_MAX || self.revoked.len() >= REVOKED_COUNT_MAX
        {
            return Err(Refusal::unavailable(
                "too many leases are in effect",
                "revoke what is no longer needed, or use shorter leases",
            ));
        }
        if grant.parent.is_some()
            && self.leases.values().filter(|lease| lease.root == *root).count() > DESCENDANT_COUNT_MAX
        {
            return Err(Refusal::unavailable(
                format!("{DESCENDANT_COUNT_MAX} live leases already descend from one lease"),
                "revoke those that are done",
            ));
        }
        Ok(())
    }

    /// One more lease, told to every data plane.
    pub fn add(&mut self, grant: LeaseGrant, root: LeaseId) -> Told {
        self.version += 1;
        self.insert(grant.clone(), root);
        self.tell(&ToData::LeaseAdded {
            version: self.version,
            lease: grant,
        })
    }

    /// A live lease and all its live descendants, the lease first.
    pub fn tree(&self, id: &LeaseId) -> Vec<LeaseId> {
        if !self.leases.contains_key(id) {
            return Vec::new();
        }
        let mut children: BTreeMap<&LeaseId, Vec<&LeaseId>> = BTreeMap::new();
        for lease in self.leases.values() {
            if let Some(parent) = &lease.grant.parent {
                children.entry(parent).or_default().push(&lease.grant.id);
            }
        }
        let (mut tree, mut seen) = (vec![id], BTreeSet::from([id]));
        let mut next = 0;
        while let Some(&parent) = tree.get(next) {
            let found = children
                .get(parent)
                .into_iter()
                .flatten()
                .copied()
                .filter(|child| seen.insert(child));
            tree.extend(found);
            next += 1;
        }
        tree.into_iter().cloned().collect()
    }

    /// Whether `id` is `ancestor` or descends from it.
    pub fn descends(&self, id: &LeaseId, ancestor: &LeaseId) -> bool {
        // A chain is bounded by its depth at minting; the bound here only says so to a damaged database.
        let mut at = Some(id);
        for _ in 0..=linegate_identity::chain::ACTORS_MAX {
            match at {
                Some(id) if id == ancestor => return true,
                Some(id) => at = self.leases.get(id).and_then(|lease| lease.grant.parent.as_ref()),
                None => return false,
            }
        }
        false
    }

    /// Ends leases, told to every data plane.
    pub fn revoke(&mut self, ids: &[LeaseId], by: &str) -> Told {
        self.version += 1;
        for id in ids {
            if let Some(lease) = self.leases.remove(id) {
                self.lease_bytes -= lease.bytes;
                self.revoked.insert(id.clone(), lease.grant.expires_at);
            }
        }
        self.tell(&ToData::LeasesRevoked {
            version: self.version,
            ids: ids.to_vec(),
            by: by.to_owned(),
        })
    }

    /// Keys of an issuer, told to every data plane.
    pub fn set_keys(&mut self, keys: IssuerKeys) -> Told {
        self.version += 1;
        self.issuers.insert(keys.name.clone(), keys.clone());
        self.tell(&ToData::Issuer {
            version: self.version,
            keys,
        })
    }

    /// Puts back keys that were fetched before a restart.
    pub fn restore_issuers(&mut self, issuers: Vec<IssuerKeys>) {
        self.issuers = issuers
            .into_iter()
            .map(|keys| (keys.name.clone(), keys))
            .collect();
    }

    /// Replaces the keys of all issuers and gives every data plane a whole snapshot.
    pub fn set_issuers(&mut self, issuers: Vec<IssuerKeys>) -> Told {
        self.version += 1;
        self.restore_issuers(issuers);
        self.tell(&self.snapshot())
    }

    /// Forgets what has expired (data planes see the time themselves) and returns the holds that ended with it.
    pub fn expire(&mut self, now: UnixMillis) -> Vec<String> {
        let mut freed = 0;
        self.leases.retain(|_, lease| {
            let live = lease.grant.is_live(now);
            freed += if live { 0 } else { lease.bytes };
            live
        });
        self.lease_bytes -= freed;
        self.revoked.retain(|_, expires_at| now < *expires_at);
        let ended: Vec<String> = self
            .holds
            .iter()
            .filter(|(_, hold)| hold.request.expires_at <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &ended {
            self.holds.remove(id);
        }
        ended
    }

    fn snapshot(&self) -> ToData {
        ToData::Snapshot {
            version: self.version,
            leases: self.leases.values().map(|lease| lease.grant.clone()).collect(),
            revoked: self.revoked.keys().cloned().collect(),
            issuers: self.issuers.values().cloned().collect(),
            token_key: self.token_key.clone(),
        }
    }

    /// Takes in a data plane; its queue begins with the snapshot, and every later change follows in order.
    pub fn connect(
        &mut self,
        name: String,
        now: UnixMillis,
    ) -> Result<(u64, mpsc::Receiver<Line>), LineError> {
        let snapshot: Line = encode(&self.snapshot())?.into();
        let (queue, lines) = mpsc::channel(QUEUE_COUNT_MAX);
        // The channel is new and holds more than one message.
        let _ = queue.try_send(snapshot);
        self.planes_seen += 1;
        let plane = Plane {
            name,
            queue,
            acked: watch::Sender::new(0),
            connected_since: now,
        };
        self.planes.insert(self.planes_seen, plane);
        Ok((self.planes_seen, lines))
    }

    /// A data plane's connection ended; its holds wait for it to come back or to expire.
    pub fn disconnect(&mut self, plane: u64) {
        self.planes.remove(&plane);
        for hold in self.holds.values_mut() {
            if hold.plane == Some(plane) {
                hold.plane = None;
            }
        }
    }

    /// A data plane says that a version is in effect. False when that version was never sent.
    pub fn acked(&mut self, plane: u64, version: u64) -> bool {
        if let Some(plane) = self.planes.get(&plane) {
            plane.acked.send_if_modified(|acked| {
                let newer = version > *acked;
                *acked = version.max(*acked);
                newer
            });
        }
        version <= self.version
    }

    /// Sends one message to one data plane; false when it is not connected or was cut off.
    pub fn tell_one(&mut self, plane: u64, message: &ToData) -> bool {
        let Ok(line) = encode(message) else { return false };
        let sent = self
            .planes
            .get(&plane)
            .is_some_and(|plane| plane.queue.try_send(line.into()).is_ok());
        if !sent {
            self.disconnect(plane);
        }
        sent
    }

    fn tell(&mut self, message: &ToData) -> Told {
        let line: Line = match encode(message) {
            Ok(line) => line.into(),
            Err(error) => {
                // Only a snapshot can be that long; without it data planes keep what they have.
                tracing::error!(%error, "a change could not be told");
                return Told {
                    version: self.version,
                    planes: Vec::new(),
                };
            }
        };
        let behind: Vec<u64> = self
            .planes
            .iter()
            .filter(|(_, plane)| plane.queue.try_send(Arc::clone(&line)).is_err())
            .map(|(id, _)| *id)
            .collect();
        for id in behind {
            tracing::warn!(plane = id, "a data plane fell behind and was cut off");
            self.disconnect(id);
        }
        let planes = self
            .planes
            .values()
            .map(|plane| (plane.name.clone(), plane.acked.subscribe()))
            .collect();
        Told {
            version: self.version,
            planes,
        }
    }

    /// Every connected data plane.
    pub fn planes(&self) -> Vec<PlaneHealth> {
        self.planes
            .values()
            .map(|plane| PlaneHealth {
                name: plane.name.clone(),
                acked_version: *plane.acked.borrow(),
                connected_since: plane.connected_since,
            })
            .collect()
    }
}

/// What a grant takes in a snapshot.
fn grant_bytes(grant: &LeaseGrant) -> usize {
    serde_json::to_vec(grant).map_or(LEASE_BYTES_MAX, |text| text.len())
}
