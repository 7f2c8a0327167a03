//! What survives a restart: leases, revocations, decisions on holds, issuer keys, and the version of the last change.
//!
//! SQLite in WAL mode with full synchronisation, so an answered revocation is on disk. Times are Unix milliseconds. The
//! secret of a lease is never stored, only its SCRAM verifier inside the grant; the text and the parameters of a held
//! statement are never stored either: the data plane that holds it says them again after a restart.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use linegate_identity::{LeaseGrant, LeaseId, UnixMillis};
use linegate_link::HoldRequest;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Schema of this version, kept in `PRAGMA user_version`.
const SCHEMA: i64 = 1;

/// Rows that one listing returns at most, newest first.
pub const LIST_ROWS_MAX: u32 = 10_000;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leases (
    id TEXT PRIMARY KEY,
    root TEXT NOT NULL,
    lease_grant TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    revoked_at INTEGER,
    revoked_by TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS leases_by_expiry ON leases (expires_at);
CREATE TABLE IF NOT EXISTS holds (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    session TEXT NOT NULL,
    lease TEXT NOT NULL,
    chain TEXT NOT NULL,
    target TEXT NOT NULL,
    reason TEXT NOT NULL,
    quorum INTEGER NOT NULL,
    asked_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    decided_at INTEGER,
    decided_by TEXT,
    decided_reason TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS approvals (
    hold TEXT NOT NULL REFERENCES holds (id) ON DELETE CASCADE,
    approver TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (hold, approver)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS issuer_keys (
    name TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    jwks TEXT NOT NULL,
    fetched_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// A lease as it is kept.
#[derive(Clone, Debug)]
pub struct LeaseRow {
    /// What data planes hold.
    pub grant: LeaseGrant,
    /// The lease at the head of its tree, itself where it has no parent.
    pub root: LeaseId,
    /// When it was minted.
    pub created_at: UnixMillis,
    /// Who asked for it.
    pub created_by: String,
    /// When it was revoked.
    pub revoked_at: Option<UnixMillis>,
    /// Who revoked it.
    pub revoked_by: Option<String>,
}

/// What became of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRow {
    /// The digest it was asked with.
    pub digest: String,
    /// `pending`, `approved`, `denied`, or why it went away.
    pub state: String,
    /// Who decided, comma-separated.
    pub decided_by: Option<String>,
    /// The reason of a refusal.
    pub reason: Option<String>,
    /// Who has approved so far.
    pub approvals: Vec<String>,
}

/// Keys of an issuer as fetched, with where they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysRow {
    /// The issuer's name in the configuration.
    pub name: String,
    /// The address they were found from; keys of another address are not used again.
    pub source: String,
    /// The JWK set.
    pub jwks: String,
    /// When.
    pub fetched_at: UnixMillis,
}

/// The database. Calls block for as long as the disk takes.
pub struct Store {
    connection: Mutex<Connection>,
}

fn sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn millis(value: i64) -> UnixMillis {
    UnixMillis(u64::try_from(value).unwrap_or(0))
}

fn set_version(connection: &Connection, version: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES ('version', ?1)
             ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
        )?
        .execute([sql(version)])?;
    Ok(())
}

fn lease_row(row: &Row<'_>) -> rusqlite::Result<LeaseRow> {
    let text: String = row.get("lease_grant")?;
    let grant = serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(LeaseRow {
        grant,
        root: LeaseId(row.get("root")?),
        created_at: millis(row.get("created_at")?),
        created_by: row.get("created_by")?,
        revoked_at: row.get::<_, Option<i64>>("revoked_at")?.map(millis),
        revoked_by: row.get("revoked_by")?,
    })
}

impl Store {
    /// Opens the database and creates its tables. A database of a newer linegate is refused.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000;",
        )?;
        let schema: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if schema > SCHEMA {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_SCHEMA),
                Some(format!(
                    "the database has schema {schema}, this program knows {SCHEMA}"
                )),
            ));
        }
        connection.execute_batch(TABLES)?;
        connection.pragma_update(None, "user_version", SCHEMA)?;
        Ok(Self {
            connection: Mutex::new(connection),
        })
    }

    /// A panic while the lock was held left at worst an open transaction, which SQLite rolled back when it was dropped.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version of the last change, 0 when there was none.
    pub fn version(&self) -> rusqlite::Result<u64> {
        let version = self
            .connection()
            .query_row("SELECT value FROM meta WHERE key = 'version'", [], |row| {
                row.get::<_, i64>(0)
            })
            .optional()?;
        Ok(version
            .and_then(|version| u64::try_from(version).ok())
            .unwrap_or(0))
    }

    /// Records a change that has no row of its own.
    pub fn set_version(&self, version: u64) -> rusqlite::Result<()> {
        set_version(&self.connection(), version)
    }

    /// Keeps a new lease.
    pub fn add_lease(&self, version: u64, lease: &LeaseRow) -> rusqlite::Result<()> {
        let grant = serde_json::to_string(&lease.grant)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let mut connection = self.connection();
        let change = connection.transaction()?;
        change.prepare_cached(
            "INSERT INTO leases (id, root, lease_grant, expires_at, created_at, created_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            lease.grant.id.0,
            lease.root.0,
            grant,
            sql(lease.grant.expires_at.0),
            sql(lease.created_at.0),
            lease.created_by
        ])?;
        set_version(&change, version)?;
        change.commit()
    }

    /// Marks leases as revoked; those that were already keep their first mark.
    pub fn revoke(&self, version: u64, ids: &[LeaseId], by: &str, at: UnixMillis) -> rusqlite::Result<()> {
        let mut connection = self.connection();
        let change = connection.transaction()?;
        {
            let mut mark = change.prepare_cached(
                "UPDATE leases SET revoked_at = ?2, revoked_by = ?3 WHERE id = ?1 AND revoked_at IS NULL",
            )?;
            for id in ids {
                mark.execute(params![id.0, sql(at.0), by])?;
            }
        }
        set_version(&change, version)?;
        change.commit()
    }

    /// Leases that have not expired, revoked ones included.
    pub fn unexpired_leases(&self, now: UnixMillis) -> rusqlite::Result<Vec<LeaseRow>> {
        self.connection()
            .prepare_cached("SELECT * FROM leases WHERE expires_at > ?1")?
            .query_map([sql(now.0)], lease_row)?
            .collect()
    }

    /// Leases newest first: the live ones, or all that are still kept.
    pub fn list_leases(&self, now: UnixMillis, all: bool) -> rusqlite::Result<Vec<LeaseRow>> {
        self.connection()
            .prepare_cached(
                "SELECT * FROM leases WHERE ?2 OR (expires_at > ?1 AND revoked_at IS NULL)
                 ORDER BY created_at DESC, id LIMIT ?3",
            )?
            .query_map(params![sql(now.0), all, LIST_ROWS_MAX], lease_row)?
            .collect()
    }

    /// The lease of that id, if one was ever minted and is still kept.
    pub fn lease(&self, id: &LeaseId) -> rusqlite::Result<Option<LeaseRow>> {
        self.connection()
            .prepare_cached("SELECT * FROM leases WHERE id = ?1")?
            .query_row([&id.0], lease_row)
            .optional()
    }

    /// Keeps a hold that was asked, without its statement. Asking again changes nothing.
    pub fn add_hold(&self, hold: &HoldRequest) -> rusqlite::Result<()> {
        self.connection()
            .prepare_cached(
                "INSERT INTO holds (id, digest, session, lease, chain, target, reason, quorum, asked_at, expires_at, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'pending') ON CONFLICT (id) DO NOTHING",
            )?
            .execute(params![
                hold.id,
                hold.digest,
                hold.session,
                hold.lease.0,
                hold.chain.to_string(),
                hold.target,
                hold.reason,
                hold.assents.iter().map(|assent| assent.count).max().unwrap_or(1),
                sql(hold.asked_at.0),
                sql(hold.expires_at.0)
            ])?;
        Ok(())
    }

    /// What became of a hold.
    pub fn hold(&self, id: &str) -> rusqlite::Result<Option<HoldRow>> {
        let connection = self.connection();
        let Some(mut hold) = connection
            .prepare_cached("SELECT digest, state, decided_by, decided_reason FROM holds WHERE id = ?1")?
            .query_row([id], |row| {
                Ok(HoldRow {
                    digest: row.get(0)?,
                    state: row.get(1)?,
                    decided_by: row.get(2)?,
                    reason: row.get(3)?,
                    approvals: Vec::new(),
                })
            })
            .optional()?
        else {
            return Ok(None);
        };
        hold.approvals = connection
            .prepare_cached("SELECT approver FROM approvals WHERE hold = ?1 ORDER BY at, approver")?
            .query_map([id], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Some(hold))
    }

    /// Records one approval and, where it completes the quorum, the decision. False when the hold is no longer pending.
    pub fn approve(
        &self,
        id: &str,
        approver: &str,
        decided_by: Option<&str>,
        at: UnixMillis,
    ) -> rusqlite::Result<bool> {
        let mut connection = self.connection();
        let change = connection.transaction()?;
        if !change
            .prepare_cached("SELECT 1 FROM holds WHERE id = ?1 AND state = 'pending'")?
            .exists([id])?
        {
            return Ok(false);
        }
        change
            .prepare_cached("INSERT INTO approvals (hold, approver, at) VALUES (?1, ?2, ?3)")?
            .execute(params![id, approver, sql(at.0)])?;
        if let Some(by) = decided_by {
            change
                .prepare_cached(
                    "UPDATE holds SET state = 'approved', decided_at = ?2, decided_by = ?3 WHERE id = ?1",
                )?
                .execute(params![id, sql(at.0), by])?;
        }
        change.commit()?;
        Ok(true)
    }

    /// Ends a pending hold as `denied` or as gone. False when it is no longer pending.
    pub fn end_hold(
        &self,
        id: &str,
        state: &str,
        by: Option<&str>,
        reason: Option<&str>,
        at: UnixMillis,
    ) -> rusqlite::Result<bool> {
        let changed = self
            .connection()
            .prepare_cached(
                "UPDATE holds SET state = ?2, decided_at = ?3, decided_by = ?4, decided_reason = ?5
                 WHERE id = ?1 AND state = 'pending'",
            )?
            .execute(params![id, state, sql(at.0), by, reason])?;
        Ok(changed > 0)
    }

    /// Keeps an issuer's keys.
    pub fn keep_keys(&self, version: u64, keys: &KeysRow) -> rusqlite::Result<()> {
        let mut connection = self.connection();
        let change = connection.transaction()?;
        change
            .prepare_cached(
                "INSERT OR REPLACE INTO issuer_keys (name, source, jwks, fetched_at) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![keys.name, keys.source, keys.jwks, sql(keys.fetched_at.0)])?;
        set_version(&change, version)?;
        change.commit()
    }

    /// Keys of every issuer as they were last fetched.
    pub fn keys(&self) -> rusqlite::Result<Vec<KeysRow>> {
        self.connection()
            .prepare_cached("SELECT name, source, jwks, fetched_at FROM issuer_keys ORDER BY name")?
            .query_map([], |row| {
                Ok(KeysRow {
                    name: row.get(0)?,
                    source: row.get(1)?,
                    jwks: row.get(2)?,
                    fetched_at: millis(row.get(3)?),
                })
            })?
            .collect()
    }

    /// Forgets leases and holds that ended before `before`; the recordings keep what they did.
    pub fn forget(&self, before: UnixMillis) -> rusqlite::Result<()> {
        let connection = self.connection();
        connection
            .prepare_cached("DELETE FROM leases WHERE expires_at < ?1")?
            .execute([sql(before.0)])?;
        connection
            .prepare_cached("DELETE FROM holds WHERE expires_at < ?1")?
            .execute([sql(before.0)])?;
        Ok(())
    }
}
