//! Minting, deriving, revoking and listing leases.
//!
//! A lease is answered only after every connected data plane has it, and a revocation only after every connected data
//! plane has ended what it ends. A derived lease never has more than its parent: asking for a wider scope is refused by
//! name, a later end is cut to the parent's, and the new hop joins the chain.

use std::sync::Arc;

use linegate_identity::{
    ActorChain, LeaseError, LeaseGrant, LeaseId, LeaseRequest, PrincipalKind, Scope, UnixMillis, token,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::book::Told;
use crate::error::Refusal;
use crate::secrets::{Fresh, is_secret_of};
use crate::settings::TargetSettings;
use crate::state::LeaseRow;
use crate::{Control, to_the_end};

/// How long a lease lasts when nobody says.
pub const TTL_SECONDS_DEFAULT: u64 = 15 * 60;

/// The longest lease.
pub const TTL_SECONDS_MAX: u64 = 24 * 60 * 60;

/// The longest secret or token that is looked at.
const PROOF_BYTES_MAX: usize = 32 << 10;

/// The longest name of whoever revokes, for the record.
const BY_BYTES_MAX: usize = 200;

/// Body of `POST /v1/leases`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateRequest {
    /// The protected server.
    pub target: String,
    /// `user:NAME`, `workload:NAME`, or the name of a workload.
    #[serde(rename = "as")]
    pub principal: String,
    /// Agents, outermost first.
    #[serde(default)]
    pub actors: Vec<String>,
    /// The lease's bounds; without it they are policy's alone.
    #[serde(default)]
    pub scope: Option<String>,
    /// Its life.
    #[serde(default)]
    pub ttl_seconds: Option<u64>,
}

/// Body of `POST /v1/leases/derive`. Not `Debug`: it carries a secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeriveRequest {
    /// The parent's user name, with its password.
    #[serde(default)]
    pub parent_username: Option<String>,
    /// The parent's secret.
    #[serde(default)]
    pub parent_password: Option<String>,
    /// Or the parent's token, narrowed or not.
    #[serde(default)]
    pub parent_token: Option<String>,
    /// The next hop.
    pub actor: String,
    /// What it may do at most; the parent's scope without it.
    #[serde(default)]
    pub scope: Option<String>,
    /// Its life; never longer than the parent's.
    #[serde(default)]
    pub ttl_seconds: Option<u64>,
}

/// Body of `POST /v1/leases/{id}/revoke`. Not `Debug`: it may carry a secret.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// Who revokes, for the record (operator's socket).
    #[serde(default)]
    pub by: Option<String>,
    /// The lease itself or an ancestor (agents' socket).
    #[serde(default)]
    pub username: Option<String>,
    /// Its secret.
    #[serde(default)]
    pub password: Option<String>,
    /// Or its token, as it was minted.
    #[serde(default)]
    pub token: Option<String>,
}

/// A new lease. Not `Debug`: the one place where its secret is shown.
#[derive(Serialize)]
pub struct NewLease {
    lease_id: LeaseId,
    username: LeaseId,
    password: String,
    token: String,
    chain: String,
    chain_parts: Vec<String>,
    target: String,
    scope: String,
    expires_at: UnixMillis,
    expires_at_text: String,
    host: String,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    /// Data planes that hold it already; 0 before the first one connects.
    data_planes: usize,
}

/// What a revocation ended.
#[derive(Debug, Serialize)]
pub struct Revoked {
    /// The lease and its descendants; empty when it had ended before.
    pub revoked: Vec<LeaseId>,
    /// Data planes that confirmed it.
    pub data_planes: usize,
}

/// A lease without its secrets.
#[derive(Debug, Serialize)]
pub struct ShownLease {
    lease_id: LeaseId,
    parent: Option<LeaseId>,
    chain: String,
    chain_parts: Vec<String>,
    target: String,
    scope: String,
    created_at: UnixMillis,
    created_at_text: String,
    created_by: String,
    expires_at: UnixMillis,
    expires_at_text: String,
    /// `live`, `expired` or `revoked`.
    state: &'static str,
    revoked_at: Option<UnixMillis>,
    revoked_by: Option<String>,
}

/// A lease that someone has proven to hold.
struct Proven {
    /// The lease; where a narrowed token was shown, with the token's chain, scope and end.
    grant: LeaseGrant,
    /// Whether the proof was narrowed: its holder is a hop further down and may not end the lease.
    is_narrowed: bool,
}

impl Control {
    /// A lease by the operator's word.
    pub async fn create_lease(
        self: &Arc<Self>,
        request: CreateRequest,
        by: String,
    ) -> Result<NewLease, Refusal> {
        let target = self.target(&request.target)?;
        let principal = self
            .settings()
            .principal(&request.principal, PrincipalKind::Workload)?;
        let chain = request
            .actors
            .iter()
            .try_fold(ActorChain::new(principal), |chain, actor| chain.with_actor(actor))
            .map_err(|error| Refusal::bad(error.public(), "an actor's name is printable and short"))?;
        let scope = request
            .scope
            .as_deref()
            .map(parse_scope)
            .transpose()?
            .unwrap_or_else(Scope::all);
        let now = self.now();
        let expires_at = end(now, request.ttl_seconds)?.unwrap_or(now.plus_ms(TTL_SECONDS_DEFAULT * 1000));
        let fresh = self.fresh().await?;
        let grant = LeaseGrant {
            id: fresh.id.clone(),
            parent: None,
            chain,
            target: target.name.clone(),
            scope,
            expires_at,
            verifier: fresh.verifier.clone(),
        };
        self.mint(target, grant, fresh, by).await
    }

    /// A lease under one that the caller proves to hold.
    pub async fn derive_lease(self: &Arc<Self>, request: DeriveRequest) -> Result<NewLease, Refusal> {
        let scope = request.scope.as_deref().map(parse_scope).transpose()?;
        let parent = self
            .prove(
                request.parent_username,
                request.parent_password,
                request.parent_token,
            )
            .await?
            .grant;
        let scope = scope.map(|asked| within(asked, &parent.scope)).transpose()?;
        let now = self.now();
        let expires_at = end(now, request.ttl_seconds)?;
        let fresh = self.fresh().await?;
        let asked = LeaseRequest {
            id: fresh.id.clone(),
            actor: Some(&request.actor),
            target: None,
            scope: scope.as_ref(),
            expires_at,
            verifier: fresh.verifier.clone(),
        };
        let grant = parent.derive(asked, now).map_err(|error| match error {
            LeaseError::Expired => Refusal::unproven(),
            LeaseError::NothingInScope => {
                Refusal::forbidden(error.public(), "leave `scope` out to take the parent's")
            }
            error => Refusal::bad(
                error.public(),
                "an actor's name is printable and short, and a chain has 16 at most",
            ),
        })?;
        let target = self.target(&grant.target)?;
        self.mint(target, grant, fresh, format!("lease:{}", parent.id))
            .await
    }

    async fn mint(
        self: &Arc<Self>,
        target: TargetSettings,
        grant: LeaseGrant,
        fresh: Fresh,
        by: String,
    ) -> Result<NewLease, Refusal> {
        let token = self
            .secrets
            .token(&grant)
            .map_err(|error| Refusal::ours("the token could not be made", &error))?;
        let control = Arc::clone(self);
        let (kept, created_by) = (grant.clone(), by.clone());
        let told = to_the_end(async move { control.add_lease(kept, created_by).await }).await?;
        let data_planes = match told.everywhere(self.confirm_wait).await {
            Ok(count) => count,
            Err(late) => {
                // Nobody has its secret yet: end it instead of leaving it behind.
                let (control, id) = (Arc::clone(self), grant.id.clone());
                to_the_end(async move { control.revoke_tree(id, "linegate".to_owned()).await }).await?;
                return Err(unconfirmed("the lease was not made", &late));
            }
        };
        tracing::info!(lease = %grant.id, chain = %grant.chain, target = grant.target, scope = %grant.scope, by, "lease");
        Ok(NewLease {
            lease_id: grant.id.clone(),
            username: grant.id,
            password: fresh.secret.expose().to_owned(),
            token,
            chain: grant.chain.to_string(),
            chain_parts: parts(&grant.chain),
            target: grant.target,
            scope: grant.scope.to_string(),
            expires_at: grant.expires_at,
            expires_at_text: rfc3339(grant.expires_at),
            host: target.host,
            port: target.port,
            database: target.database,
            data_planes,
        })
    }

    async fn add_lease(&self, grant: LeaseGrant, created_by: String) -> Result<Told, Refusal> {
        let _turn = self.turn.lock().await;
        let created_at = self.now();
        let (version, root) = {
            let book = self.book();
            let root = match &grant.parent {
                // It may have been revoked between the proof and now.
                Some(parent) => book
                    .live(parent, created_at)
                    .ok_or_else(Refusal::unproven)?
                    .root
                    .clone(),
                None => grant.id.clone(),
            };
            book.room_for(&grant, &root)?;
            (book.next_version(), root)
        };
        let row = LeaseRow {
            grant: grant.clone(),
            root: root.clone(),
            created_at,
            created_by,
            revoked_at: None,
            revoked_by: None,
        };
        self.store(move |store| store.add_lease(version, &row)).await?;
        Ok(self.book().add(grant, root))
    }

    /// Ends a lease by the operator's word.
    pub async fn revoke_lease(
        self: &Arc<Self>,
        id: String,
        request: RevokeRequest,
        peer: String,
    ) -> Result<Revoked, Refusal> {
        let by = request.by.unwrap_or(peer);
        if by.is_empty() || by.len() > BY_BYTES_MAX || by.chars().any(char::is_control) {
            return Err(Refusal::bad(
                "`by` is not a name",
                format!("one line of at most {BY_BYTES_MAX} bytes"),
            ));
        }
        let unknown = || Refusal::missing("no such lease", "`linegate lease list --all` shows them");
        let id = LeaseId::parse(&id).ok_or_else(unknown)?;
        let known = id.clone();
        self.store(move |store| store.lease(&known))
            .await?
            .ok_or_else(unknown)?;
        self.revoke(id, by).await
    }

    /// Ends a lease for someone who proves to hold it or one of its ancestors.
    pub async fn revoke_held_lease(
        self: &Arc<Self>,
        id: String,
        request: RevokeRequest,
    ) -> Result<Revoked, Refusal> {
        let id = LeaseId::parse(&id).ok_or_else(Refusal::unproven)?;
        if request.username.as_deref() == Some(id.as_str()) && self.has_ended(&id, &request.password).await? {
            return Ok(Revoked {
                revoked: Vec::new(),
                data_planes: 0,
            });
        }
        let holder = self
            .prove(request.username, request.password, request.token)
            .await?;
        if holder.is_narrowed || !self.book().descends(&id, &holder.grant.id) {
            return Err(Refusal::forbidden(
                "a lease ends itself and what was derived from it, nothing else",
                "use the secret of the lease or of one of its ancestors",
            ));
        }
        self.revoke(id, format!("lease:{}", holder.grant.id)).await
    }

    /// Whether the lease with this secret is already over: ending it once more is no mistake (an ancestor may have been
    /// revoked while the holder worked).
    async fn has_ended(&self, id: &LeaseId, password: &Option<String>) -> Result<bool, Refusal> {
        let Some(password) = password.clone().filter(|text| text.len() <= PROOF_BYTES_MAX) else {
            return Ok(false);
        };
        let row = id.clone();
        let Some(row) = self.store(move |store| store.lease(&row)).await? else {
            return Ok(false);
        };
        if row.revoked_at.is_none() && row.grant.is_live(self.now()) {
            return Ok(false);
        }
        self.stretched(move || is_secret_of(&password, &row.grant.verifier))
            .await
    }

    async fn revoke(self: &Arc<Self>, id: LeaseId, by: String) -> Result<Revoked, Refusal> {
        let control = Arc::clone(self);
        let (revoked, told) = to_the_end(async move { control.revoke_tree(id, by).await }).await?;
        match told.everywhere(self.confirm_wait).await {
            Ok(data_planes) => Ok(Revoked { revoked, data_planes }),
            Err(late) => Err(unconfirmed(
                "the revocation is kept, but open sessions may go on",
                &late,
            )),
        }
    }

    async fn revoke_tree(&self, id: LeaseId, by: String) -> Result<(Vec<LeaseId>, Told), Refusal> {
        let _turn = self.turn.lock().await;
        let (ids, version) = {
            let book = self.book();
            (book.tree(&id), book.next_version())
        };
        if ids.is_empty() {
            return Ok((ids, Told::default()));
        }
        let (rows, name, now) = (ids.clone(), by.clone(), self.now());
        self.store(move |store| store.revoke(version, &rows, &name, now))
            .await?;
        tracing::info!(lease = %id, count = ids.len(), by, "revoked");
        let told = self.book().revoke(&ids, &by);
        Ok((ids, told))
    }

    /// Leases, newest first.
    pub async fn list_leases(&self, all: bool) -> Result<Vec<ShownLease>, Refusal> {
        let now = self.now();
        let rows = self.store(move |store| store.list_leases(now, all)).await?;
        Ok(rows.into_iter().map(|row| shown(row, now)).collect())
    }

    /// The live lease that a user name and password, or a token, prove.
    async fn prove(
        &self,
        username: Option<String>,
        password: Option<String>,
        token: Option<String>,
    ) -> Result<Proven, Refusal> {
        let sizes = [&username, &password, &token].map(|proof| proof.as_ref().map_or(0, String::len));
        if sizes.into_iter().any(|bytes| bytes > PROOF_BYTES_MAX) {
            return Err(Refusal::unproven());
        }
        match (username, password, token) {
            (Some(username), Some(password), None) => {
                let grant = LeaseId::parse(&username)
                    .and_then(|id| Some(self.book().live(&id, self.now())?.grant.clone()))
                    .ok_or_else(Refusal::unproven)?;
                let verifier = grant.verifier.clone();
                if !self.stretched(move || is_secret_of(&password, &verifier)).await? {
                    return Err(Refusal::unproven());
                }
                Ok(Proven {
                    grant,
                    is_narrowed: false,
                })
            }
            (None, None, Some(text)) => {
                let (key, now) = (self.secrets.public_key_hex(), self.now());
                // Revocation is checked below: a revoked lease is not live.
                let verified = self
                    .stretched(move || token::verify(&text, &key, now, &|_| false))
                    .await?;
                let verified = verified.map_err(|error| {
                    tracing::info!(%error, "a token was refused");
                    Refusal::unproven()
                })?;
                let live = self
                    .book()
                    .live(&verified.lease_id, now)
                    .map(|lease| lease.grant.clone());
                let grant = live
                    .filter(|grant| grant.target == verified.target)
                    .ok_or_else(Refusal::unproven)?;
                let is_narrowed = verified.revocation_ids.len() != 1;
                let (chain, scope) = (verified.chain, verified.scope.intersect(&grant.scope));
                let expires_at = verified.expires_at.min(grant.expires_at);
                Ok(Proven {
                    grant: LeaseGrant {
                        chain,
                        scope,
                        expires_at,
                        ..grant
                    },
                    is_narrowed,
                })
            }
            _ => Err(Refusal::bad(
                "no proof of a lease",
                "send a lease's user name and password, or its token, and not both",
            )),
        }
    }

    fn target(&self, name: &str) -> Result<TargetSettings, Refusal> {
        let settings = self.settings();
        settings.target(name).cloned().ok_or_else(|| {
            let names: Vec<&str> = settings
                .targets
                .iter()
                .map(|target| target.name.as_str())
                .collect();
            Refusal::missing("no such target", format!("targets: {}", names.join(", ")))
        })
    }

    async fn fresh(&self) -> Result<Fresh, Refusal> {
        let secrets = Arc::clone(&self.secrets);
        let fresh = self.stretched(move || secrets.fresh()).await?;
        fresh.map_err(|error| Refusal::ours("the kernel gave no random bytes", &error))
    }

    /// Runs expensive arithmetic beside the loop that serves everyone, one piece at a time.
    async fn stretched<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let busy = |error: &dyn std::fmt::Display| Refusal::ours("a secret could not be checked", error);
        let _one = self.stretching.acquire().await.map_err(|error| busy(&error))?;
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| busy(&error))
    }
}

fn unconfirmed(what: &str, late: &[String]) -> Refusal {
    Refusal::unavailable(
        format!(
            "{what}: a data plane did not confirm in time ({})",
            late.join(", ")
        ),
        "look at `linegated` on that machine; `/v1/health` shows what each one has confirmed",
    )
}

fn parse_scope(text: &str) -> Result<Scope, Refusal> {
    Scope::parse(text)
        .map_err(|error| Refusal::bad(error.to_string(), "for example read, or write,table:app.*"))
}

/// The scope asked for, if the parent has all of it. Without a `table:` word it means the parent's tables.
fn within(asked: Scope, parent: &Scope) -> Result<Scope, Refusal> {
    let mut excess: Vec<String> = asked
        .effects
        .without(parent.effects)
        .names()
        .map(str::to_owned)
        .collect();
    for table in asked.tables.iter().flatten() {
        let one = Scope {
            effects: asked.effects,
            tables: Some(vec![table.clone()]),
        };
        if one.intersect(parent).tables != one.tables {
            excess.push(format!("table:{table}"));
        }
    }
    if excess.is_empty() {
        return Ok(asked.intersect(parent));
    }
    Err(Refusal::forbidden(
        format!("the scope is wider than the parent's: {}", excess.join(", ")),
        format!("the parent has {parent}"),
    ))
}

fn end(now: UnixMillis, ttl_seconds: Option<u64>) -> Result<Option<UnixMillis>, Refusal> {
    match ttl_seconds {
        None => Ok(None),
        Some(seconds @ 1..=TTL_SECONDS_MAX) => Ok(Some(now.plus_ms(seconds * 1000))),
        Some(_) => Err(Refusal::bad(
            "`ttl_seconds` is out of bounds",
            format!("a lease lasts from 1 second to {} hours", TTL_SECONDS_MAX / 3600),
        )),
    }
}

fn parts(chain: &ActorChain) -> Vec<String> {
    std::iter::once(&chain.principal.name)
        .chain(&chain.actors)
        .cloned()
        .collect()
}

fn shown(row: LeaseRow, now: UnixMillis) -> ShownLease {
    let state = match row.revoked_at {
        Some(_) => "revoked",
        None if row.grant.is_live(now) => "live",
        None => "expired",
    };
    ShownLease {
        chain: row.grant.chain.to_string(),
        chain_parts: parts(&row.grant.chain),
        scope: row.grant.scope.to_string(),
        lease_id: row.grant.id,
        parent: row.grant.parent,
        target: row.grant.target,
        created_at: row.created_at,
        created_at_text: rfc3339(row.created_at),
        created_by: row.created_by,
        expires_at: row.grant.expires_at,
        expires_at_text: rfc3339(row.grant.expires_at),
        state,
        revoked_at: row.revoked_at,
        revoked_by: row.revoked_by,
    }
}

/// RFC 3339 in UTC, to the second; empty past the year 9999.
fn rfc3339(at: UnixMillis) -> String {
    i64::try_from(at.0 / 1000)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        Scope::parse(text).expect("a scope")
    }

    #[test]
    fn a_wider_scope_is_refused_by_name() {
        let parent = scope("read,table:app.*");
        let excess = |text: &str| {
            within(scope(text), &parent)
                .map(|scope| scope.to_string())
                .map_err(|no| no.error)
        };
        assert_eq!(excess("read").as_deref(), Ok("read,table:app.*"));
        assert_eq!(
            excess("select,table:app.orders").as_deref(),
            Ok("select,table:app.orders")
        );
        let error = excess("select,delete,drop,table:app.orders,table:hr.pay").expect_err("wider");
        for word in ["delete", "drop", "table:hr.pay"] {
            assert!(error.contains(word), "{error}");
        }
        assert!(
            !error.contains("select") && !error.contains("app.orders"),
            "{error}"
        );
        assert_eq!(
            excess("read,table:*").as_deref(),
            Ok("read,table:app.*"),
            "every table that the parent has"
        );
        assert!(within(scope("all"), &Scope::all()).is_ok());
    }

    #[test]
    fn a_life_has_bounds() {
        let now = UnixMillis(1_000);
        assert_eq!(end(now, None), Ok(None));
        assert_eq!(end(now, Some(2)), Ok(Some(UnixMillis(3_000))));
        assert!(end(now, Some(0)).is_err() && end(now, Some(u64::MAX)).is_err());
    }

    #[test]
    fn times_read_as_rfc_3339() {
        assert_eq!(rfc3339(UnixMillis(951_782_400_999)), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(UnixMillis(u64::MAX)), "");
    }
}
