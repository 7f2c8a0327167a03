//! What data planes and the control plane say to each other.
//!
//! One stream (a Unix socket on one box), one JSON object a line, at most [`LINE_BYTES_MAX`]. The data plane connects and
//! says [`ToControl::Hello`]; control answers with a whole [`ToData::Snapshot`] and then sends changes by version. Both
//! sides may reconnect at any time: the first message after a reconnect restores everything.

use linegate_identity::{ActorChain, Assent, LeaseGrant, LeaseId, UnixMillis};
use serde::{Deserialize, Serialize};

/// The longest line either side accepts.
pub const LINE_BYTES_MAX: usize = 64 << 20;

/// Messages from the control plane to a data plane.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToData {
    /// Everything a data plane needs; replaces what it had. Answer: [`ToControl::Ack`].
    Snapshot {
        /// Grows by one with every change.
        version: u64,
        /// Live leases.
        leases: Vec<LeaseGrant>,
        /// Ids of revoked leases and tokens that have not yet expired (a lease's descendants are listed with it).
        revoked: Vec<LeaseId>,
        /// Public keys of OIDC issuers.
        issuers: Vec<IssuerKeys>,
        /// Public key that lease tokens are checked with, hex (Ed25519).
        token_key: String,
    },
    /// One more lease. Answer: `Ack`.
    LeaseAdded {
        /// The new version.
        version: u64,
        /// The lease.
        lease: LeaseGrant,
    },
    /// Leases that end now, with their open sessions. Answer: `Ack`, after the sessions were told.
    LeasesRevoked {
        /// The new version.
        version: u64,
        /// The revoked lease and all its descendants.
        ids: Vec<LeaseId>,
        /// Who revoked it, for the record.
        by: String,
    },
    /// Keys of one issuer. Answer: `Ack`.
    Issuer {
        /// The new version.
        version: u64,
        /// Its keys.
        keys: IssuerKeys,
    },
    /// A person decided a hold.
    HoldDecided {
        /// The hold.
        hold: String,
        /// Digest of what was approved, hex; must equal the digest in the hold.
        digest: String,
        /// Approved or refused.
        approved: bool,
        /// Who decided, comma-separated where a quorum was needed.
        by: String,
        /// Their reason, shown to the client on refusal.
        reason: Option<String>,
    },
}

/// Messages from a data plane to the control plane.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "holds are rare and short-lived; boxing them would change nothing that is measured"
)]
pub enum ToControl {
    /// The first message on a connection.
    Hello {
        /// The data plane's name (host name).
        name: String,
        /// The version it still holds, 0 when new.
        version: u64,
    },
    /// A change has taken effect on every worker.
    Ack {
        /// Its version.
        version: u64,
    },
    /// A statement waits for a person. Sent again after a reconnect while it still waits.
    HoldAsked {
        /// Everything an approver sees.
        hold: HoldRequest,
    },
    /// The statement no longer waits: the client cancelled or left, or the hold expired.
    HoldGone {
        /// The hold.
        hold: String,
        /// `cancelled`, `disconnected`, `expired`, `lease-ended`.
        why: String,
    },
    /// A token named a key that the snapshot does not hold; control may fetch the issuer's keys again.
    UnknownKey {
        /// The issuer's name in the configuration.
        issuer: String,
    },
}

/// A statement that waits for a person.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HoldRequest {
    /// Id, `h_` and 10 base32 characters.
    pub id: String,
    /// The session that waits.
    pub session: String,
    /// The lease it runs under.
    pub lease: LeaseId,
    /// The chain behind it; nobody in it may approve.
    pub chain: ActorChain,
    /// The target.
    pub target: String,
    /// The statement's text as the approver sees it, at most 64 KiB; literals are kept, since approvers must see them.
    pub statement: String,
    /// Bound parameters in text form where known, at most 64 KiB in all.
    pub parameters: Vec<Option<String>>,
    /// Their types as far as they are known, and which of them are shown byte by byte.
    #[serde(default)]
    pub parameter_types: Vec<String>,
    /// Settings that the session changed, by name, which may give the text another meaning; `*` for any.
    #[serde(default)]
    pub settings: Vec<String>,
    /// Effect classes, for the approver.
    pub effects: Vec<String>,
    /// Relations touched.
    pub relations: Vec<String>,
    /// Why it waits: the policy's id and its annotation.
    pub reason: String,
    /// What each of the rules that hold it asks for; all of it must be met.
    pub assents: Vec<Assent>,
    /// BLAKE3 of exact bytes + parameters + settings + chain + target + epoch, hex.
    pub digest: String,
    /// When it was asked.
    pub asked_at: UnixMillis,
    /// When it ends as refused.
    pub expires_at: UnixMillis,
}

/// One issuer's public keys, as control fetched them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerKeys {
    /// The issuer's name in the configuration.
    pub name: String,
    /// The `iss` claim.
    pub issuer: String,
    /// The `aud` claim that a token must carry.
    pub audience: String,
    /// Template of the principal's name, `repo/{repository}`.
    pub principal: String,
    /// The JWK set (RFC 7517), as JSON text.
    pub jwks: String,
    /// When it was fetched; keys serve until their hard age.
    pub fetched_at: UnixMillis,
}

/// Why a line is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// Longer than [`LINE_BYTES_MAX`].
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not a message of this protocol.
    Malformed,
}

impl std::fmt::Display for LineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong { bytes } => {
                write!(f, "a line of {bytes} bytes, at most {LINE_BYTES_MAX} are allowed")
            }
            Self::Malformed => f.write_str("not a message of the link protocol"),
        }
    }
}

impl std::error::Error for LineError {}

/// A message as its line, the line's end included.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, LineError> {
    let mut line = serde_json::to_vec(message).map_err(|_| LineError::Malformed)?;
    line.push(b'\n');
    if line.len() > LINE_BYTES_MAX {
        Err(LineError::TooLong { bytes: line.len() })
    } else {
        Ok(line)
    }
}

/// The message in a line, with or without the line's end.
pub fn decode<T: for<'de> Deserialize<'de>>(line: &[u8]) -> Result<T, LineError> {
    if line.len() > LINE_BYTES_MAX {
        return Err(LineError::TooLong { bytes: line.len() });
    }
    serde_json::from_slice(line).map_err(|_| LineError::Malformed)
}
