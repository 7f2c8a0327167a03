//! The front door: from the first byte of a client to a proven lease.
//!
//! Source: PostgreSQL manual, "Message Flow": Start-up, SSL Session Encryption, Canceling Requests; "SASL Authentication".
//! A lease's user name proves itself by SCRAM-SHA-256. Any other user name may send a token (a lease token or an id-token
//! of a configured issuer) as its password, over TLS only.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use codecs::postgres::build::backend as say;
use codecs::postgres::frontend::{SaslInitial, password, tag};
use codecs::postgres::startup::{StartupStep, step as startup_step};
use codecs::postgres::{Limits, PostgresError, Step, frame};
use linegate_config::ClientTls;
use linegate_identity::{
    ActorChain, Effects, IssuerKeysView, JwtAlgorithm, JwtError, LeaseGrant, LeaseId, PrincipalKind, Scope,
    ScramServer, ScramVerifier, jwt, token,
};
use linegate_link::ToControl;

use super::Ended;
use crate::clock;
use crate::core::Core;
use crate::link::Link;
use crate::shared::{Target, lock};
use crate::slab::Ingress;
use crate::tls::Tls;

/// Before a client is known it gets no more memory than this for a message.
const LIMITS: Limits = Limits {
    frame_bytes_max: 64 << 10,
};

/// What the first packets came to.
pub enum Opened {
    /// A client that wants a session.
    Client(Box<Client>),
    /// A CancelRequest. Its link stays open until the server has heard: clients take its end for the answer.
    Cancel {
        link: Box<Link>,
        process_id: u32,
        secret: Vec<u8>,
    },
}

/// A client that has said what it wants.
pub struct Client {
    /// Its link.
    pub link: Link,
    /// What it sent ahead.
    pub ingress: Ingress,
    /// The user it names.
    pub user: String,
    /// Its startup parameters, without user and database.
    pub parameters: Vec<(String, String)>,
    /// The database it asks for.
    pub database: Option<String>,
}

/// A proven client.
pub struct Proven {
    /// The lease, or what a token or id-token stands for.
    pub lease: Arc<LeaseGrant>,
    /// Revocation ids of a token's blocks.
    pub token_ids: Vec<String>,
}

impl Client {
    /// One whole message of the login.
    async fn message(&mut self) -> Result<(u8, Vec<u8>), Ended> {
        let mut needed = codecs::postgres::HEADER_BYTES;
        loop {
            match frame::step(self.ingress.data(), &LIMITS).map_err(|error| Ended::violation(&error))? {
                Step::Frame(frame) => {
                    let payload = frame.payload(self.ingress.data()).to_vec();
                    self.ingress.consume(frame.size.with_tag());
                    return Ok((frame.tag, payload));
                }
                Step::Need { bytes } => needed = needed.max(bytes),
            }
            fill(&mut self.link, &mut self.ingress, needed).await?;
        }
    }

    async fn tell(&mut self, bytes: Vec<u8>) -> Result<(), Ended> {
        self.link
            .writer
            .write_vec(bytes)
            .await
            .0
            .map_err(|error| Ended::quietly(error.to_string()))
    }

    /// The last words of a login that fails.
    pub async fn refuse(mut self, ended: &Ended) {
        if let Some((sqlstate, message)) = &ended.say {
            let mut bytes = Vec::new();
            say::error_response(&mut bytes, "FATAL", sqlstate, message, None, None);
            let _ = self.tell(bytes).await;
        }
        self.link.writer.farewell().await;
    }
}

async fn fill(link: &mut Link, ingress: &mut Ingress, needed: usize) -> Result<(), Ended> {
    let empty = link
        .reader
        .ingress()
        .map_err(|error| Ended::quietly(error.to_string()))?;
    let (read, back) = link.reader.fill(std::mem::replace(ingress, empty), needed).await;
    *ingress = back;
    match read {
        Ok(0) => Err(Ended::quietly("the client left during the login")),
        Ok(_) => Ok(()),
        Err(error) => Err(Ended::quietly(format!("reading from the client failed: {error}"))),
    }
}

/// Reads the startup packets, with TLS if the client asks for it.
pub async fn open(core: &Rc<Core>, target: &Target, mut link: Link) -> Result<Opened, (Link, Ended)> {
    let mut ingress = match link.reader.ingress() {
        Ok(ingress) => ingress,
        Err(error) => return Err((link, Ended::quietly(error.to_string()))),
    };
    loop {
        let found = match startup_step(ingress.data()) {
            Ok(found) => found,
            Err(error) => return Err((link, Ended::violation(&error))),
        };
        match found {
            StartupStep::Need { bytes } => {
                if let Err(ended) = fill(&mut link, &mut ingress, bytes).await {
                    return Err((link, ended));
                }
            }
            StartupStep::SslRequest { bytes } => {
                ingress.consume(bytes);
                // Bytes before the handshake could have been slipped in by somebody on the line (CVE-2021-23222).
                if !ingress.data().is_empty() || link.is_tls() {
                    return Err((
                        link,
                        Ended::saying(b"08P01", "unencrypted data after the SSL request"),
                    ));
                }
                if let Err(ended) = encrypt(core, &mut link).await {
                    return Err((link, ended));
                }
            }
            StartupStep::GssEncRequest { bytes } => {
                ingress.consume(bytes);
                if link.writer.write_vec(b"N".to_vec()).await.0.is_err() {
                    return Err((link, Ended::quietly("the client left during the login")));
                }
            }
            StartupStep::Cancel {
                process_id, secret, ..
            } => {
                return Ok(Opened::Cancel {
                    process_id,
                    secret: secret.to_vec(),
                    link: Box::new(link),
                });
            }
            StartupStep::Startup { bytes, startup } => {
                let all: Vec<(String, String)> = startup
                    .parameters()
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect();
                let major = startup.major;
                let minor = startup.minor;
                ingress.consume(bytes);
                return client(target, link, ingress, all, major, minor).await;
            }
        }
    }
}

async fn encrypt(core: &Core, link: &mut Link) -> Result<(), Ended> {
    let gone = |error: std::io::Error| Ended::quietly(format!("TLS with the client failed: {error}"));
    match &core.shared.client_tls {
        None => link.writer.write_vec(b"N".to_vec()).await.0.map_err(gone),
        Some(config) => {
            link.writer.write_vec(b"S".to_vec()).await.0.map_err(gone)?;
            let tls = Tls::server(config.clone()).map_err(gone)?;
            link.start_tls(tls).await.map_err(gone)
        }
    }
}

async fn client(
    target: &Target,
    link: Link,
    ingress: Ingress,
    all: Vec<(String, String)>,
    major: u16,
    minor: u16,
) -> Result<Opened, (Link, Ended)> {
    if major != 3 {
        return Err((
            link,
            Ended::saying(b"0A000", "only protocol version 3 is spoken here"),
        ));
    }
    if target.config.client_tls == ClientTls::Require && !link.is_tls() {
        return Err((
            link,
            Ended::saying(
                b"28000",
                "this target takes encrypted connections only: use sslmode=require",
            ),
        ));
    }
    let find = |wanted: &str| {
        all.iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.clone())
    };
    let Some(user) = find("user").filter(|user| !user.is_empty()) else {
        return Err((
            link,
            Ended::saying(b"28000", "no user name in the startup packet"),
        ));
    };
    if find("replication").is_some_and(|value| !matches!(value.as_str(), "off" | "false" | "no" | "0")) {
        return Err((
            link,
            Ended::saying(b"42501", "replication connections are not offered"),
        ));
    }
    let database = find("database").filter(|database| !database.is_empty());
    let unknown: Vec<String> = all
        .iter()
        .filter(|(name, _)| name.starts_with("_pq_."))
        .map(|(name, _)| name.clone())
        .collect();
    let own = ["user", "database", "replication"];
    let parameters = all
        .into_iter()
        .filter(|(name, _)| !own.contains(&name.as_str()) && !name.starts_with("_pq_."))
        .collect();
    let mut client = Client {
        link,
        ingress,
        user,
        parameters,
        database,
    };
    if minor > 0 || !unknown.is_empty() {
        let mut bytes = Vec::new();
        let names: Vec<&str> = unknown.iter().map(String::as_str).collect();
        say::negotiate_protocol_version(&mut bytes, 0, &names);
        if let Err(ended) = client.tell(bytes).await {
            return Err((client.link, ended));
        }
    }
    Ok(Opened::Client(Box::new(client)))
}

/// Proves the client's lease.
pub async fn prove(core: &Core, target: &Target, client: &mut Client) -> Result<Proven, Ended> {
    if !core.shared.has_snapshot.load(Ordering::Acquire) {
        return Err(Ended::saying(
            b"57P03",
            "linegate is starting: no leases are known yet",
        ));
    }
    let is_lease = LeaseId::parse(&client.user).is_some();
    let proven = if !is_lease && client.link.is_tls() {
        by_token(core, target, client).await?
    } else {
        by_secret(core, client).await?
    };
    if proven.lease.target != target.config.name {
        return Err(Ended::saying(b"28000", "this lease is for another target"));
    }
    Ok(proven)
}

async fn by_secret(core: &Core, client: &mut Client) -> Result<Proven, Ended> {
    let mut bytes = Vec::new();
    say::authentication_sasl(&mut bytes, &["SCRAM-SHA-256"]);
    client.tell(bytes).await?;
    let lease = lock(&core.shared.leases).lookup(&client.user).cloned();
    let verifier: Option<&ScramVerifier> = lease.as_ref().map(|lease| &lease.verifier);
    let mut scram = ScramServer::new(verifier, &core.shared.boot_key, &client.user, clock::random());
    let payload = sasl_message(client).await?;
    let initial = SaslInitial::read(&payload).map_err(|error| Ended::violation(&error))?;
    if initial.mechanism != b"SCRAM-SHA-256" {
        return Err(Ended::saying(b"28000", "only SCRAM-SHA-256 is offered"));
    }
    let first = scram
        .first(initial.data.unwrap_or_default())
        .map_err(|error| scram_failed(&error))?;
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
    let mut bytes = Vec::new();
    say::authentication_sasl_final(&mut bytes, &last);
    client.tell(bytes).await?;
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

fn scram_failed(error: &linegate_identity::ScramError) -> Ended {
    if error.is_protocol_violation() {
        Ended::saying(b"08P01", error.public())
    } else {
        not_proven()
    }
}

fn not_proven() -> Ended {
    Ended::saying(b"28P01", "linegate: the lease or its secret is wrong")
}

async fn by_token(core: &Core, target: &Target, client: &mut Client) -> Result<Proven, Ended> {
    let mut bytes = Vec::new();
    say::authentication_cleartext(&mut bytes);
    client.tell(bytes).await?;
    let payload = sasl_message(client).await?;
    let presented = password(&payload).map_err(|error| Ended::violation(&error))?;
    let presented = std::str::from_utf8(presented).map_err(|_| not_proven())?;
    let keys = core.shared.keys.load();
    let now = clock::now();
    if presented.starts_with("lgt_") {
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
        return Ok(Proven {
            lease: Arc::new(lease),
            token_ids: verified.revocation_ids,
        });
    }
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
    let verified = jwt::verify(presented, &view, now).map_err(|error| {
        if matches!(error, JwtError::UnknownKey(_)) {
            core.shared.to_control.put(ToControl::UnknownKey {
                issuer: issuer.name.clone(),
            });
        }
        Ended::saying(b"28P01", format!("linegate: {}", error.public()))
    })?;
    let lease = LeaseGrant {
        id: LeaseId(format!("jwt:{}", verified.principal.name)),
        parent: None,
        chain: ActorChain::new(verified.principal),
        target: target.config.name.clone(),
        scope: Scope {
            effects: Effects::all(),
            tables: None,
        },
        expires_at: verified.expires_at,
        verifier: ScramVerifier {
            salt: String::new(),
            iterations: 0,
            stored_key: String::new(),
            server_key: String::new(),
        },
    };
    Ok(Proven {
        lease: Arc::new(lease),
        token_ids: Vec::new(),
    })
}
