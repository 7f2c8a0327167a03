//! The front door: from the first byte of a client to a target that it has chosen. `prove` then asks for its lease.
//!
//! Source: PostgreSQL manual, "Message Flow": Start-up, SSL Session Encryption, Canceling Requests. TLS begins after an
//! SSLRequest, or at once where the first byte is a TLS record's and both sides name the protocol (ALPN). Versions 3.0 to 3.2
//! are spoken; a newer minor version is answered with what is.

pub mod prove;
mod tokens;

use std::sync::Arc;

use codecs::postgres::build::backend as say;
use codecs::postgres::startup::{MINOR_MAX, StartupStep, step as startup_step};
use codecs::postgres::{Limits, Step, frame};
use linegate_config::ClientTls;

pub use self::prove::{Proven, prove};
use super::Ended;
use crate::doors::Door;
use crate::link::Link;
use crate::shared::Target;
use crate::slab::Ingress;
use crate::tls::{Hello, Tls};

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
    /// Where it knocked.
    pub door: Arc<Door>,
    /// The target that it chose.
    pub target: Arc<Target>,
    /// What it said in the TLS handshake; empty without one.
    pub hello: Hello,
    /// The minor version of protocol 3 that is spoken with it.
    pub minor: u16,
    /// The user it names.
    pub user: String,
    /// Its startup parameters, without user and database.
    pub parameters: Vec<(String, String)>,
    /// The database it asks for.
    pub database: Option<String>,
    /// What is to be said with whatever is said next.
    pub owed: Vec<u8>,
}

impl Client {
    /// Whether nobody stands between: TLS, or a socket of this machine.
    pub fn is_private(&self) -> bool {
        self.link.is_tls() || self.door.is_local()
    }

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

    async fn tell(&mut self, mut bytes: Vec<u8>) -> Result<(), Ended> {
        if !self.owed.is_empty() {
            self.owed.append(&mut bytes);
            bytes = std::mem::take(&mut self.owed);
        }
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
    let (read, back) = link.reader.fill(std::mem::take(ingress), needed).await;
    *ingress = back;
    match read {
        Ok(0) => Err(Ended::quietly("the client left during the login")),
        Ok(_) => Ok(()),
        Err(error) => Err(Ended::quietly(format!("reading from the client failed: {error}"))),
    }
}

/// The first packets, and what was agreed on so far.
struct Opening {
    link: Link,
    ingress: Ingress,
    door: Arc<Door>,
    hello: Hello,
    /// Nothing but what was read for the first packet has arrived.
    is_first: bool,
    asked_tls: bool,
    asked_gss: bool,
}

/// Reads the startup packets, with TLS if the client asks for it.
pub async fn open(door: Arc<Door>, link: Link) -> Result<Opened, (Link, Ended)> {
    let mut opening = Opening {
        link,
        ingress: Ingress::default(),
        door,
        hello: Hello::default(),
        is_first: true,
        asked_tls: false,
        asked_gss: false,
    };
    match opening.packets().await {
        Ok(Asked::Session { all, minor }) => opening.client(all, minor).await,
        Ok(Asked::Cancel { process_id, secret }) => Ok(Opened::Cancel {
            link: Box::new(opening.link),
            process_id,
            secret,
        }),
        Err(ended) => Err((opening.link, ended)),
    }
}

/// What a client is here for.
enum Asked {
    Session { all: Vec<(String, String)>, minor: u16 },
    Cancel { process_id: u32, secret: Vec<u8> },
}

impl Opening {
    async fn packets(&mut self) -> Result<Asked, Ended> {
        loop {
            match startup_step(self.ingress.data()).map_err(|error| Ended::violation(&error))? {
                StartupStep::Need { bytes } => {
                    fill(&mut self.link, &mut self.ingress, bytes).await?;
                    continue;
                }
                StartupStep::DirectTls => {
                    if !self.is_first {
                        return Err(Ended::quietly("the client began with TLS in the middle"));
                    }
                    let cipher = std::mem::take(&mut self.ingress);
                    self.encrypt(cipher).await?;
                    if !self.hello.is_postgresql {
                        let why = "TLS without an SSLRequest needs the protocol's name (ALPN) `postgresql`";
                        return Err(Ended::saying(b"08P01", why));
                    }
                }
                StartupStep::SslRequest { bytes } => {
                    self.ingress.consume(bytes);
                    // Bytes before the handshake could have been slipped in by somebody on the line (CVE-2021-23222).
                    if !self.ingress.data().is_empty() || self.link.is_tls() {
                        return Err(Ended::saying(b"08P01", "unencrypted data after the SSL request"));
                    }
                    if std::mem::replace(&mut self.asked_tls, true) {
                        return Err(Ended::saying(b"08P01", "a second SSL request"));
                    }
                    let answer = if self.door.tls.is_some() { b"S" } else { b"N" };
                    self.answer(answer).await?;
                    if self.door.tls.is_some() {
                        let cipher = std::mem::take(&mut self.ingress);
                        self.encrypt(cipher).await?;
                    }
                }
                StartupStep::GssEncRequest { bytes } => {
                    self.ingress.consume(bytes);
                    if std::mem::replace(&mut self.asked_gss, true) {
                        return Err(Ended::saying(b"08P01", "a second GSSAPI encryption request"));
                    }
                    self.answer(b"N").await?;
                }
                StartupStep::Cancel {
                    process_id, secret, ..
                } => {
                    let secret = secret.to_vec();
                    return Ok(Asked::Cancel { process_id, secret });
                }
                StartupStep::Startup { bytes, startup } => {
                    let all = startup
                        .parameters()
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .collect();
                    let minor = startup.minor;
                    self.ingress.consume(bytes);
                    return Ok(Asked::Session { all, minor });
                }
            }
            self.is_first = false;
        }
    }

    async fn answer(&mut self, byte: &[u8]) -> Result<(), Ended> {
        let written = self.link.writer.write_vec(byte.to_vec()).await.0;
        written.map_err(|_| Ended::quietly("the client left during the login"))
    }

    /// Does the handshake; `cipher` holds what of it was read already.
    async fn encrypt(&mut self, cipher: Ingress) -> Result<(), Ended> {
        let failed = |error: std::io::Error| {
            tracing::info!(%error, "TLS with a client failed");
            Ended::quietly(format!("TLS with the client failed: {error}"))
        };
        let Some(door) = &self.door.tls else {
            return Err(Ended::quietly("the client began with TLS where none is offered"));
        };
        let tls = Tls::server(door.config.clone()).map_err(failed)?;
        self.hello = self.link.start_tls(tls, cipher).await.map_err(failed)?;
        Ok(())
    }

    async fn client(self, all: Vec<(String, String)>, minor: u16) -> Result<Opened, (Link, Ended)> {
        let asked = match self.read(all) {
            Ok(asked) => asked,
            Err(ended) => return Err((self.link, ended)),
        };
        let (target, user, database, parameters, unknown) = asked;
        let spoken = minor.min(MINOR_MAX);
        let mut client = Client {
            link: self.link,
            ingress: self.ingress,
            door: self.door,
            target,
            hello: self.hello,
            minor: spoken,
            user,
            parameters,
            database,
            owed: Vec::new(),
        };
        if minor > MINOR_MAX || !unknown.is_empty() {
            let mut bytes = Vec::new();
            let names: Vec<&str> = unknown.iter().map(String::as_str).collect();
            say::negotiate_protocol_version(&mut bytes, u32::from(spoken), &names);
            if let Err(ended) = client.tell(bytes).await {
                return Err((client.link, ended));
            }
        }
        Ok(Opened::Client(Box::new(client)))
    }

    /// What the startup packet asks for.
    fn read(&self, all: Vec<(String, String)>) -> Result<Wish, Ended> {
        let find = |wanted: &str| {
            let mut found = all.iter().filter(|(name, _)| name == wanted);
            found.next_back().map(|(_, value)| value.clone())
        };
        let user = find("user").filter(|user| !user.is_empty());
        let user = user.ok_or_else(|| Ended::saying(b"28000", "no user name in the startup packet"))?;
        if find("replication").is_some_and(|value| !matches!(value.as_str(), "off" | "false" | "no" | "0")) {
            return Err(Ended::saying(b"42501", "replication connections are not offered"));
        }
        let database = find("database").filter(|database| !database.is_empty());
        let server_name = self.hello.server_name.as_deref();
        let target = self.door.choose(server_name, database.as_deref()).cloned();
        let nobody = || {
            let what = "linegate: no target answers to this server name and this database here";
            Ended::saying(b"3D000", what)
        };
        let target = target.ok_or_else(nobody)?;
        let is_private = self.link.is_tls() || self.door.is_local();
        if target.config.client_tls == ClientTls::Require && !is_private {
            let what = "this target takes encrypted connections only: use sslmode=require";
            return Err(Ended::saying(b"28000", what));
        }
        let own = ["user", "database", "replication"];
        let (unknown, known): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(name, _)| name.starts_with("_pq_."));
        let parameters = known
            .into_iter()
            .filter(|(name, _)| !own.contains(&name.as_str()))
            .collect();
        let unknown = unknown.into_iter().map(|(name, _)| name).collect();
        Ok((target, user, database, parameters, unknown))
    }
}

/// Target, user, database, other parameters, and options of the protocol that are not known.
type Wish = (
    Arc<Target>,
    String,
    Option<String>,
    Vec<(String, String)>,
    Vec<String>,
);
