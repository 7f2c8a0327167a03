//! Leases: one hop's permission to connect, with an end.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ActorChain, ChainError, Fault, Scope};

/// Milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This moment and so many milliseconds more; the end of time at most.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// A lease's public id, `lg_` and 16 lower-case base32 characters; also the SCRAM user name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub String);

/// What a data plane keeps to check SCRAM-SHA-256 (RFC 5802, section 3) without knowing the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScramVerifier {
    /// Salt, base64.
    pub salt: String,
    /// PBKDF2 rounds.
    pub iterations: u32,
    /// H(ClientKey), base64.
    pub stored_key: String,
    /// ServerKey, base64.
    pub server_key: String,
}

/// A lease as data planes hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseGrant {
    /// Its id and user name.
    pub id: LeaseId,
    /// The lease it was derived from.
    pub parent: Option<LeaseId>,
    /// Who started it and every hop since.
    pub chain: ActorChain,
    /// The target it opens.
    pub target: String,
    /// What it may do at most.
    pub scope: Scope,
    /// When it ends by itself.
    pub expires_at: UnixMillis,
    /// How its secret is checked.
    pub verifier: ScramVerifier,
}

/// What the holder of a lease asks for when it derives one for the hop it starts.
#[derive(Clone, Debug)]
pub struct LeaseRequest<'a> {
    /// The new lease's id.
    pub id: LeaseId,
    /// The hop's name; `None` narrows without a new hop.
    pub actor: Option<&'a str>,
    /// The target, if it was named; a lease opens no other than its parent's.
    pub target: Option<&'a str>,
    /// The scope asked for; cut to the parent's.
    pub scope: Option<&'a Scope>,
    /// The end asked for; cut to the parent's.
    pub expires_at: Option<UnixMillis>,
    /// How the new lease's secret is checked.
    pub verifier: ScramVerifier,
}

impl LeaseGrant {
    /// Whether the lease has not ended by itself.
    pub fn is_live(&self, now: UnixMillis) -> bool {
        now < self.expires_at
    }

    /// A lease under this one: its scope within ours, its end no later, its chain ours and the new actor.
    ///
    /// Asking for more than the parent has is not an error, the answer is what both allow; asking for nothing that the
    /// parent allows is one. Whether the parent was revoked is for [`crate::Leases`] to say.
    pub fn derive(&self, request: LeaseRequest<'_>, now: UnixMillis) -> Result<Self, LeaseError> {
        if !self.is_live(now) {
            return Err(LeaseError::Expired);
        }
        if request.target.is_some_and(|target| target != self.target) {
            return Err(LeaseError::OtherTarget);
        }
        if request.id == self.id {
            return Err(LeaseError::SameId);
        }
        let expires_at = request.expires_at.unwrap_or(self.expires_at).min(self.expires_at);
        if expires_at <= now {
            return Err(LeaseError::EndsBeforeItBegins);
        }
        let scope = request
            .scope
            .map_or_else(|| self.scope.clone(), |scope| scope.intersect(&self.scope));
        if scope.effects.is_empty() {
            return Err(LeaseError::NothingInScope);
        }
        let chain = match request.actor {
            Some(actor) => self.chain.with_actor(actor)?,
            None => self.chain.clone(),
        };
        Ok(Self {
            id: request.id,
            parent: Some(self.id.clone()),
            chain,
            target: self.target.clone(),
            scope,
            expires_at,
            verifier: request.verifier,
        })
    }
}

/// Why a lease does not open or could not be derived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseError {
    /// No lease of that name.
    Unknown,
    /// It ended by itself, or one of its ancestors did.
    Expired,
    /// It was revoked, or one of its ancestors was.
    Revoked,
    /// The request names another target than the parent's.
    OtherTarget,
    /// The request's end is not after now.
    EndsBeforeItBegins,
    /// The parent allows none of the effects asked for.
    NothingInScope,
    /// The new lease has its parent's id.
    SameId,
    /// The actor's name, or too many of them.
    Chain(ChainError),
}

impl LeaseError {
    /// The random bytes that made an id are the operator's, all else is the client's.
    pub fn fault(&self) -> Fault {
        match self {
            Self::SameId => Fault::Operator,
            _ => Fault::Client,
        }
    }

    /// What the peer may read.
    pub fn public(&self) -> &'static str {
        match self {
            Self::Unknown => "no such lease",
            Self::Expired => "the lease has ended",
            Self::Revoked => "the lease was revoked",
            Self::OtherTarget => "a derived lease opens its parent's target only",
            Self::EndsBeforeItBegins => "the lease would end before it begins",
            Self::NothingInScope => "the parent lease allows nothing of the scope asked for",
            Self::SameId => "the lease could not be made",
            Self::Chain(error) => error.public(),
        }
    }
}

impl From<ChainError> for LeaseError {
    fn from(error: ChainError) -> Self {
        Self::Chain(error)
    }
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameId => f.write_str("a derived lease was given its parent's id"),
            Self::Chain(error) => error.fmt(f),
            _ => f.write_str(self.public()),
        }
    }
}

impl std::error::Error for LeaseError {}

/// A root lease for tests of this crate: `ci-runner` on `prod`.
#[cfg(test)]
pub(crate) fn example_lease(id: u8, scope: &str, expires_at: u64) -> LeaseGrant {
    use crate::{Principal, PrincipalKind};
    let groups = ["ci".to_owned(), "deployers".to_owned()];
    LeaseGrant {
        id: LeaseId::from_random([id; 10]),
        parent: None,
        chain: ActorChain::new(Principal::new(PrincipalKind::Workload, "ci-runner", &groups).unwrap()),
        target: "prod".into(),
        scope: Scope::parse(scope).unwrap(),
        expires_at: UnixMillis(expires_at),
        verifier: ScramVerifier::derive(b"pencil", &[id; 16], 1),
    }
}

/// A request for a lease below another.
#[cfg(test)]
pub(crate) fn example_request(id: u8) -> LeaseRequest<'static> {
    LeaseRequest {
        id: LeaseId::from_random([id; 10]),
        actor: Some("migrate"),
        target: None,
        scope: None,
        expires_at: None,
        verifier: ScramVerifier::derive(b"pencil", &[id; 16], 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000);

    #[test]
    fn a_derived_lease_is_never_wider() {
        let parent = example_lease(1, "write,table:app.*", 2_000);
        let wide = Scope::parse("read,ddl,table:app.orders,table:hr.pay").unwrap();
        let request = LeaseRequest {
            scope: Some(&wide),
            expires_at: Some(UnixMillis(9_000)),
            ..example_request(2)
        };
        let child = parent.derive(request, NOW).unwrap();
        assert_eq!(child.scope.to_string(), "read,table:app.orders");
        assert_eq!(child.expires_at, parent.expires_at);
        assert_eq!(child.chain.to_string(), "ci-runner → migrate");
        assert_eq!(
            (child.parent, child.target),
            (Some(parent.id.clone()), parent.target.clone())
        );
        let shorter = LeaseRequest {
            expires_at: Some(UnixMillis(1_500)),
            ..example_request(3)
        };
        assert_eq!(parent.derive(shorter, NOW).unwrap().expires_at, UnixMillis(1_500));
    }

    #[test]
    fn what_cannot_be_derived_says_why() {
        let parent = example_lease(1, "read", 2_000);
        let ddl = Scope::parse("ddl").unwrap();
        let derive = |request, now| parent.derive(request, now).unwrap_err();
        assert_eq!(derive(example_request(2), UnixMillis(2_000)), LeaseError::Expired);
        assert_eq!(
            derive(
                LeaseRequest {
                    target: Some("staging"),
                    ..example_request(2)
                },
                NOW
            ),
            LeaseError::OtherTarget
        );
        assert_eq!(
            derive(
                LeaseRequest {
                    expires_at: Some(NOW),
                    ..example_request(2)
                },
                NOW
            ),
            LeaseError::EndsBeforeItBegins
        );
        assert_eq!(
            derive(
                LeaseRequest {
                    scope: Some(&ddl),
                    ..example_request(2)
                },
                NOW
            ),
            LeaseError::NothingInScope
        );
        assert_eq!(derive(example_request(1), NOW), LeaseError::SameId);
        assert!(matches!(
            derive(
                LeaseRequest {
                    actor: Some("a\u{7}"),
                    ..example_request(2)
                },
                NOW
            ),
            LeaseError::Chain(ChainError::Name(_))
        ));
    }

    #[test]
    fn the_shape_on_the_wire_is_fixed() {
        let text = serde_json::to_string(&example_lease(1, "read", 2_000)).unwrap();
        assert!(
            text.contains(r#""expires_at":2000"#) && text.contains(r#""kind":"workload""#),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<LeaseGrant>(&text).unwrap(),
            example_lease(1, "read", 2_000)
        );
    }
}
