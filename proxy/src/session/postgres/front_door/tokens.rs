//! What a token stands for: a lease token of linegate's own, or an id-token of a configured issuer.

use std::sync::Arc;

use linegate_identity::{
    ActorChain, Effects, IssuerKeysView, JwtAlgorithm, JwtError, LeaseGrant, LeaseId, Principal,
    PrincipalKind, Scope, ScramVerifier, UnixMillis, jwt, token,
};
use linegate_link::ToControl;

use super::Ended;
use super::prove::{Proven, not_proven};
use crate::clock;
use crate::core::Core;
use crate::shared::{Keys, Target, lock};

/// The lease that a token opens, or what it stands for by itself.
pub(super) fn prove(core: &Core, target: &Target, presented: &str) -> Result<Proven, Ended> {
    let keys = core.shared.keys.load();
    if presented.starts_with("lgt_") {
        lease_token(core, &keys, presented)
    } else {
        id_token(core, &keys, target, presented)
    }
}

fn lease_token(core: &Core, keys: &Keys, presented: &str) -> Result<Proven, Ended> {
    let now = clock::now();
    let revoked = |id: &str| lock(&core.shared.leases).is_revoked(id);
    let verified = token::verify(presented, &keys.token_key, now, &revoked)
        .map_err(|error| Ended::saying(b"28P01", format!("linegate: {}", error.public())))?;
    let root = lock(&core.shared.leases)
        .open(verified.lease_id.as_str(), now)
        .cloned();
    let root = root.map_err(|error| Ended::saying(b"28000", format!("linegate: {}", error.public())))?;
    let lease = LeaseGrant {
        id: verified.lease_id.clone(),
        parent: root.parent.clone(),
        chain: verified.chain,
        target: verified.target,
        scope: verified.scope,
        expires_at: verified.expires_at.min(root.expires_at),
        verifier: root.verifier.clone(),
    };
    Ok(Proven {
        lease: Arc::new(lease),
        token_ids: verified.revocation_ids,
    })
}

fn id_token(core: &Core, keys: &Keys, target: &Target, presented: &str) -> Result<Proven, Ended> {
    let issuer = jwt::unverified_issuer(presented).ok_or_else(not_proven)?;
    let Some(issuer) = keys.issuers.iter().find(|keys| keys.issuer == issuer) else {
        return Err(Ended::saying(
            b"28P01",
            "linegate: the token's issuer is not configured",
        ));
    };
    let configured = core
        .shared
        .config
        .issuers
        .iter()
        .find(|config| config.name == issuer.name);
    let algorithms: Vec<JwtAlgorithm> = configured
        .map(|config| {
            config
                .algorithms
                .iter()
                .filter_map(|algorithm| JwtAlgorithm::by_name(algorithm.name()))
                .collect()
        })
        .unwrap_or_default();
    let view = IssuerKeysView {
        issuer: &issuer.issuer,
        audience: &issuer.audience,
        principal: &issuer.principal,
        kind: PrincipalKind::Workload,
        jwks: &issuer.jwks,
        algorithms: &algorithms,
    };
    let verified = jwt::verify(presented, &view, clock::now()).map_err(|error| {
        if matches!(error, JwtError::UnknownKey(_)) {
            core.shared.to_control.put(ToControl::UnknownKey {
                issuer: issuer.name.clone(),
            });
        }
        Ended::saying(b"28P01", format!("linegate: {}", error.public()))
    })?;
    let id = LeaseId(format!("jwt:{}", verified.principal.name));
    Ok(without_lease(target, id, verified.principal, verified.expires_at))
}

/// A principal that came without a lease: what it may do is policy's to say, and it stays until its proof ends.
pub(super) fn without_lease(
    target: &Target,
    id: LeaseId,
    principal: Principal,
    expires_at: UnixMillis,
) -> Proven {
    let lease = LeaseGrant {
        id,
        parent: None,
        chain: ActorChain::new(principal),
        target: target.config.name.clone(),
        scope: Scope {
            effects: Effects::all(),
            tables: None,
        },
        expires_at,
        verifier: ScramVerifier {
            salt: String::new(),
            iterations: 0,
            stored_key: String::new(),
            server_key: String::new(),
        },
    };
    Proven {
        lease: Arc::new(lease),
        token_ids: Vec::new(),
    }
}
