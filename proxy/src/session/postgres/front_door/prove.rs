//! Who is at the door: a lease by SCRAM-SHA-256(-PLUS), a token as password or by OAUTHBEARER, a client certificate.
//!
//! Source: PostgreSQL manual, "SASL Authentication", "Certificate Authentication"; RFC 5802, RFC 5929, RFC 7628.
//! A lease's user name proves itself by SCRAM. Any other user name may send a token (a lease token or an id-token of a
//! configured issuer), where nobody stands between: as its password, or as OAuth clients do, as the target says. Where a
//! certificate is asked for it comes besides these, unless the target takes certificates for principals of their own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use codecs::postgres::PostgresError;
use codecs::postgres::build::backend as say;
use codecs::postgres::frontend::{SaslInitial, password, tag};
use linegate_identity::scram::{MECHANISM, MECHANISM_PLUS};
use linegate_identity::{
    Certificate, LeaseGrant, LeaseId, NameTemplate, OauthChallenge, Principal, ScramError, ScramServer,
    ScramVerifier, bearer, oauth,
};
use rustls::pki_types::UnixTime;

use super::tokens;
use super::{Client, Ended};
use crate::clock;
use crate::core::Core;
use crate::shared::{Target, lock};

/// A proven client.
pub struct Proven {
    /// The lease, or what a token, id-token or certificate stands for.
    pub lease: Arc<LeaseGrant>,
    /// Revocation ids of a token's blocks.
    pub token_ids: Vec<String>,
}

/// Proves the client's lease.
pub async fn prove(core: &Core, client: &mut Client) -> Result<Proven, Ended> {
    if !core.shared.has_snapshot.load(Ordering::Acquire) {
        return Err(Ended::saying(
            b"57P03",
            "linegate is starting: no leases are known yet",
        ));
    }
    let target = client.target.clone();
    let certificate = certificate(&target, client)?;
    let is_lease = LeaseId::parse(&client.user).is_some();
    let alone = target
        .clients
        .as_ref()
        .and_then(|clients| clients.principal.as_ref());
    let oauth = target.config.oauth.as_ref();
    let proven = match (&certificate, alone) {
        _ if is_lease => by_secret(core, client).await?,
        (Some(certificate), Some(template)) => by_certificate(&target, certificate, template)?,
        _ if !client.is_private() => by_secret(core, client).await?,
        _ if oauth.is_some_and(|oauth| oauth.user.as_ref().is_none_or(|user| *user == client.user)) => {
            by_bearer(core, &target, client).await?
        }
        _ => by_password(core, &target, client).await?,
    };
    if proven.lease.target != target.config.name {
        return Err(Ended::saying(b"28000", "this lease is for another target"));
    }
    Ok(proven)
}

/// The client's certificate, where its target knows who signed it.
fn certificate(target: &Target, client: &Client) -> Result<Option<Certificate>, Ended> {
    let Some(asked) = &target.clients else {
        return Ok(None);
    };
    let now = UnixTime::since_unix_epoch(Duration::from_millis(clock::now().0));
    let found = asked.verify(&client.hello.certificates, now);
    if found.is_none() && asked.is_required {
        return Err(Ended::saying(
            b"28000",
            "linegate: connection requires a valid client certificate",
        ));
    }
    Ok(found)
}

fn by_certificate(
    target: &Target,
    certificate: &Certificate,
    template: &NameTemplate,
) -> Result<Proven, Ended> {
    let name = template
        .name(certificate)
        .map_err(|error| Ended::saying(b"28000", format!("linegate: {}", error.public())))?;
    let principal = Principal::new(template.kind(), &name, &[])
        .map_err(|error| Ended::saying(b"28000", format!("linegate: {}", error.public())))?;
    let id = LeaseId(format!("cert:{}", principal.name));
    let expires_at = certificate.not_after;
    Ok(tokens::without_lease(target, id, principal, expires_at))
}

async fn by_secret(core: &Core, client: &mut Client) -> Result<Proven, Ended> {
    let offered = client.door.tls.as_ref().filter(|_| client.link.is_tls());
    let server_name = client.hello.server_name.as_deref();
    let end_point = offered.and_then(|tls| tls.certificates.of(server_name).end_point.clone());
    let mut bytes = Vec::new();
    match &end_point {
        Some(_) => say::authentication_sasl(&mut bytes, &[MECHANISM_PLUS, MECHANISM]),
        None => say::authentication_sasl(&mut bytes, &[MECHANISM]),
    }
    client.tell(bytes).await?;
    let lease = lock(&core.shared.leases).lookup(&client.user).cloned();
    let verifier: Option<&ScramVerifier> = lease.as_ref().map(|lease| &lease.verifier);
    let mut scram = ScramServer::new(verifier, &core.shared.boot_key, &client.user, clock::random());
    let is_offered = end_point.is_some();
    if let Some(digest) = end_point {
        scram = scram.offering(digest);
    }
    let payload = sasl_message(client).await?;
    let initial = SaslInitial::read(&payload).map_err(|error| Ended::violation(&error))?;
    let data = initial.data.unwrap_or_default();
    let first = match initial.mechanism {
        mechanism if mechanism == MECHANISM.as_bytes() => scram.first(data),
        mechanism if is_offered && mechanism == MECHANISM_PLUS.as_bytes() => scram.first_bound(data),
        _ => return Err(Ended::saying(b"28000", "this SASL mechanism is not offered")),
    };
    let first = first.map_err(|error| scram_failed(&error))?;
    let mut bytes = Vec::new();
    say::authentication_sasl_continue(&mut bytes, &first);
    client.tell(bytes).await?;
    let payload = sasl_message(client).await?;
    let last = scram.last(&payload).map_err(|error| scram_failed(&error))?;
    let Some(lease) = lease else {
        return Err(not_proven());
    };
    let state = lock(&core.shared.leases).state(lease.id.as_str(), clock::now());
    state.map_err(|error| Ended::saying(b"28000", format!("linegate: {}", error.public())))?;
    // Nobody waits for it: it goes with the welcome, or with the reason why there is none.
    say::authentication_sasl_final(&mut client.owed, &last);
    Ok(Proven {
        lease,
        token_ids: Vec::new(),
    })
}

async fn sasl_message(client: &mut Client) -> Result<Vec<u8>, Ended> {
    match client.message().await? {
        (tag::PASSWORD, payload) => Ok(payload),
        (tag, _) => Err(Ended::violation(&PostgresError::UnknownTag { tag })),
    }
}

fn scram_failed(error: &ScramError) -> Ended {
    if error.is_protocol_violation() {
        Ended {
            why: error.to_string(),
            say: Some((*b"08P01", error.public().to_owned())),
        }
    } else {
        not_proven()
    }
}

/// The answer to every secret or token that is wrong in a way that is nobody's business.
pub(super) fn not_proven() -> Ended {
    Ended::saying(b"28P01", "linegate: the lease or its secret is wrong")
}

async fn by_password(core: &Core, target: &Target, client: &mut Client) -> Result<Proven, Ended> {
    let mut bytes = Vec::new();
    say::authentication_cleartext(&mut bytes);
    client.tell(bytes).await?;
    let payload = sasl_message(client).await?;
    let presented = password(&payload).map_err(|error| Ended::violation(&error))?;
    let presented = std::str::from_utf8(presented).map_err(|_| not_proven())?;
    tokens::prove(core, target, presented)
}

async fn by_bearer(core: &Core, target: &Target, client: &mut Client) -> Result<Proven, Ended> {
    let mut bytes = Vec::new();
    say::authentication_sasl(&mut bytes, &[oauth::MECHANISM]);
    client.tell(bytes).await?;
    let payload = sasl_message(client).await?;
    let initial = SaslInitial::read(&payload).map_err(|error| Ended::violation(&error))?;
    if initial.mechanism != oauth::MECHANISM.as_bytes() {
        return Err(Ended::saying(b"28000", "this SASL mechanism is not offered"));
    }
    let refused = match bearer(initial.data.unwrap_or_default()) {
        Err(error) => return Err(Ended::saying(b"08P01", error.public())),
        Ok(None) => not_proven(),
        Ok(Some(token)) => match tokens::prove(core, target, token) {
            Ok(proven) => return Ok(proven),
            Err(refused) => refused,
        },
    };
    // It is told where tokens are had; one that came to ask leaves now and comes back with one.
    let asked = target.config.oauth.as_ref();
    let issuer = asked.and_then(|asked| {
        let issuers = &core.shared.config.issuers;
        issuers.iter().find(|issuer| issuer.name == asked.issuer)
    });
    let challenge = OauthChallenge {
        issuer: issuer.map_or("", |issuer| issuer.url.as_str()),
        scope: asked.map_or("", |asked| asked.scope.as_str()),
    };
    let mut bytes = Vec::new();
    say::authentication_sasl_continue(&mut bytes, &challenge.message());
    client.tell(bytes).await?;
    if sasl_message(client).await? != oauth::READ {
        return Err(Ended::saying(b"08P01", "malformed OAUTHBEARER message"));
    }
    Err(refused)
}
