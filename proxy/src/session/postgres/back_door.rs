//! The back door: logging in at a target with linegate's own credential.
//!
//! Source: PostgreSQL manual, "Message Flow": Start-up, SSL Session Encryption; "SASL Authentication". The client never sees
//! this credential, nor the server's cancel key; what the server says about itself (ParameterStatus) is passed on. The
//! protocol's minor version is asked for as the client asked for it, and is what the server agrees to.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use codecs::postgres::backend::{
    Authentication, BackendKeyData, ErrorFields, ParameterStatus, ReadyForQuery, TransactionStatus, tag,
};
use codecs::postgres::build::frontend as tell;
use codecs::postgres::startup::NegotiateProtocolVersion;
use codecs::postgres::{Frame, Limits, Step, frame};
use linegate_config::{Address, TlsMode};
use linegate_identity::scram::{MECHANISM, MECHANISM_PLUS};
use linegate_identity::{ScramBinding, ScramClient, UnixMillis, md5};
use rustls::pki_types::ServerName;

use super::Ended;
use super::parting::{Report, merged};
use super::startup_settings::is_of_the_packet;
use crate::clock;
use crate::link::Link;
use crate::rt::{
    self,
    net::{Deadline, Place, Stream},
};
use crate::shared::{Shared, Target};
use crate::slab::{Ingress, Pool};
use crate::tls::Tls;

/// Nothing in a login is longer.
const LIMITS: Limits = Limits {
    frame_bytes_max: 1 << 20,
};

/// A server that has let linegate in.
pub struct Backend {
    /// Its link.
    pub link: Link,
    /// What it sent ahead.
    pub ingress: Ingress,
    /// What the client should hear, as messages: ParameterStatus and notices.
    pub greeting: Vec<u8>,
    /// Its cancel key: process and secret. Without a secret it cannot be asked to cancel.
    pub cancel_key: (u32, Box<[u8]>),
    /// The server's place, of those that its name resolved to.
    pub place: Place,
    /// When it let linegate in.
    pub since: UnixMillis,
}

impl Backend {
    /// Waits until a whole message stands at the start of `ingress`. Whoever has read it consumes it.
    pub async fn next(&mut self, limits: &Limits) -> Result<Frame, String> {
        loop {
            let step = frame::step(self.ingress.data(), limits).map_err(|error| error.to_string())?;
            let needed = match step {
                Step::Frame(frame) => return Ok(frame),
                Step::Need { bytes } => bytes,
            };
            let taken = std::mem::take(&mut self.ingress);
            let (read, back) = self.link.reader.fill(taken, needed).await;
            self.ingress = back;
            match read {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(format!("reading failed: {error}")),
            }
        }
    }
}

impl Backend {
    /// Has the server run a statement of linegate's own, before there is a session. What it reports belongs to the greeting.
    pub async fn run(&mut self, text: &str, time: Duration) -> Result<(), String> {
        let _deadline = Deadline::new(time, &self.link.switch);
        let mut bytes = Vec::new();
        tell::query(&mut bytes, text.as_bytes());
        let written = self.link.writer.write_vec(bytes).await.0;
        written.map_err(|error| format!("writing failed: {error}"))?;
        let mut reported: Vec<Report> = Vec::new();
        loop {
            let frame = self.next(&LIMITS).await?;
            let payload = frame.payload(self.ingress.data());
            match frame.tag {
                tag::PARAMETER_STATUS => {
                    let status = ParameterStatus::read(payload).map_err(|error| error.to_string())?;
                    reported.push((status.name.into(), status.value.into()));
                }
                tag::COMMAND_COMPLETE | tag::NOTICE_RESPONSE => {}
                tag::READY_FOR_QUERY if ReadyForQuery::read(payload) == Ok(TransactionStatus::Idle) => {
                    self.ingress.consume(frame.size.with_tag());
                    self.greeting = merged(&self.greeting, &reported).ok_or("it reports other settings")?;
                    return Ok(());
                }
                tag::ERROR_RESPONSE => return Err("the server refused".to_owned()),
                other => return Err(format!("message {:?} out of turn", char::from(other))),
            }
            self.ingress.consume(frame.size.with_tag());
        }
    }
}

/// Connects and logs in by protocol 3.0. `parameters` go into the startup packet beside user and database.
pub async fn connect(
    target: &Target,
    pool: &Rc<Pool>,
    database: &str,
    parameters: &[(String, String)],
) -> Result<Backend, Ended> {
    connect_minor(target, pool, database, parameters, 0).await
}

/// The same by a minor version of protocol 3, or an older one that the server prefers.
pub async fn connect_minor(
    target: &Target,
    pool: &Rc<Pool>,
    database: &str,
    parameters: &[(String, String)],
    minor: u16,
) -> Result<Backend, Ended> {
    let name = &target.config.name;
    let (link, place) = dial_a_place(target, pool).await?;
    let mut login = Login {
        target,
        backend: Backend {
            link,
            ingress: Ingress::default(),
            greeting: Vec::new(),
            cancel_key: (0, Box::default()),
            place,
            since: clock::now(),
        },
        minor,
        scram: None,
    };
    let mut bytes = Vec::new();
    let own = [
        ("user", target.config.credential.user.as_str()),
        ("database", database),
    ];
    // Who logs in where is linegate's to say: the server takes the last of two.
    let theirs = parameters
        .iter()
        .filter(|(name, _)| !is_of_the_packet(name))
        .map(|(name, value)| (name.as_str(), value.as_str()));
    tell::startup_minor(&mut bytes, minor, own.into_iter().chain(theirs));
    login.tell(bytes).await?;
    let deadline = Deadline::new(Shared::connect_time(target), &login.backend.link.switch);
    let result = login.run().await;
    drop(deadline);
    result.inspect_err(|ended| {
        tracing::warn!(target = %name, why = %ended.why, "the backend did not let linegate in");
    })?;
    Ok(login.backend)
}

/// Connects, with TLS as the target asks for it.
pub async fn dial(target: &Target, pool: &Rc<Pool>) -> Result<Link, Ended> {
    dial_a_place(target, pool).await.map(|(link, _)| link)
}

/// The same, and where it leads.
async fn dial_a_place(target: &Target, pool: &Rc<Pool>) -> Result<(Link, Place), Ended> {
    let name = &target.config.name;
    let unreachable = |why: String| Ended {
        why,
        say: Some((
            *b"08001",
            format!("linegate: the server of {name} cannot be reached"),
        )),
    };
    let addresses = target.addresses.load();
    let mut last = String::from("its name has no address");
    for place in addresses.iter() {
        match attempt(target, pool, place).await {
            Ok(link) => return Ok((link, place.clone())),
            Err(error) => last = error.to_string(),
        }
    }
    Err(unreachable(last))
}

async fn attempt(target: &Target, pool: &Rc<Pool>, place: &Place) -> std::io::Result<Link> {
    let time = Shared::connect_time(target);
    let stream = rt::within(time, Stream::connect(place))
        .await
        .ok_or(std::io::ErrorKind::TimedOut)??;
    let mut link = Link::new(stream, pool.clone())?;
    let (Some(config), Address::Tcp(address)) = (&target.tls, &target.config.address) else {
        return Ok(link);
    };
    let _deadline = Deadline::new(time, &link.switch);
    let mut request = Vec::new();
    tell::ssl_request(&mut request);
    link.writer.write_vec(request).await.0?;
    let (read, mut ingress) = link.reader.fill(Ingress::default(), 1).await;
    read?;
    match ingress.data() {
        b"S" => {
            ingress.consume(1);
            let host = ServerName::try_from(address.host.clone()).map_err(std::io::Error::other)?;
            link.start_tls(Tls::client(config.clone(), host)?, ingress)
                .await?;
            Ok(link)
        }
        b"N" if target.config.tls == TlsMode::Prefer => Ok(link),
        b"N" => Err(std::io::Error::other(
            "the server offers no TLS and the target requires it",
        )),
        _ => Err(std::io::Error::other(
            "the server answered the SSL request with something else",
        )),
    }
}

struct Login<'a> {
    target: &'a Target,
    backend: Backend,
    minor: u16,
    scram: Option<ScramClient>,
}

impl Login<'_> {
    async fn tell(&mut self, bytes: Vec<u8>) -> Result<(), Ended> {
        let written = self.backend.link.writer.write_vec(bytes).await.0;
        written.map_err(|error| self.failed(format!("writing failed: {error}")))
    }

    fn failed(&self, why: String) -> Ended {
        let name = &self.target.config.name;
        Ended {
            why,
            say: Some((
                *b"08001",
                format!("linegate: the server of {name} did not let linegate in"),
            )),
        }
    }

    async fn message(&mut self) -> Result<(u8, Vec<u8>), Ended> {
        let next = self.backend.next(&LIMITS).await;
        let frame = next.map_err(|why| self.failed(format!("during the login: {why}")))?;
        let ingress = &mut self.backend.ingress;
        let payload = frame.payload(ingress.data()).to_vec();
        ingress.consume(frame.size.with_tag());
        Ok((frame.tag, payload))
    }

    async fn run(&mut self) -> Result<(), Ended> {
        loop {
            let (message, payload) = self.message().await?;
            match message {
                tag::AUTHENTICATION => {
                    let asked =
                        Authentication::read(&payload).map_err(|error| self.failed(error.to_string()))?;
                    self.prove(asked).await?;
                }
                tag::PARAMETER_STATUS | tag::NOTICE_RESPONSE => {
                    append(&mut self.backend.greeting, message, &payload);
                }
                tag::BACKEND_KEY_DATA => {
                    let key =
                        BackendKeyData::read(&payload).map_err(|error| self.failed(error.to_string()))?;
                    self.backend.cancel_key = (key.process_id, key.secret.into());
                }
                tag::READY_FOR_QUERY => return Ok(()),
                tag::ERROR_RESPONSE => return Err(self.refused(&payload)),
                tag::NEGOTIATE_PROTOCOL_VERSION => {
                    let agreed = NegotiateProtocolVersion::read(&payload)
                        .map_err(|error| self.failed(error.to_string()))?;
                    if agreed.minor > self.minor || agreed.unknown_count > 0 {
                        return Err(
                            self.failed("the server answers for a version that nobody asked for".into())
                        );
                    }
                }
                other => return Err(self.failed(format!("message {:?} during the login", char::from(other)))),
            }
        }
    }

    /// The server's own words are for the log, unless they are about what the client asked for.
    fn refused(&self, payload: &[u8]) -> Ended {
        let Ok(fields) = ErrorFields::read(payload) else {
            return self.failed("an unreadable error".into());
        };
        let sqlstate = fields.sqlstate().unwrap_or(*b"08001");
        let words = String::from_utf8_lossy(fields.message()).into_owned();
        let is_the_clients = matches!(&sqlstate, b"3D000" | b"42501" | b"42704" | b"53300" | b"57P03")
            || sqlstate.starts_with(b"22");
        if is_the_clients {
            Ended::saying(&sqlstate, words)
        } else {
            self.failed(words)
        }
    }

    async fn prove(&mut self, asked: Authentication<'_>) -> Result<(), Ended> {
        let user = self.target.config.credential.user.clone();
        let secret = self
            .target
            .password
            .as_ref()
            .map(|secret| secret.expose().to_vec());
        let no_password = || Ended {
            why: "the server asks for a password and the configuration names none".into(),
            say: Some((
                *b"08001",
                format!(
                    "linegate: the server of {} did not let linegate in",
                    self.target.config.name
                ),
            )),
        };
        let mut bytes = Vec::new();
        match asked {
            // A server that has not shown that it knows the verifier may be anybody.
            Authentication::Ok if self.scram.is_some() => {
                return Err(self.failed("the server ended the SASL exchange early".into()));
            }
            Authentication::Ok => return Ok(()),
            Authentication::CleartextPassword => tell::password(&mut bytes, &secret.ok_or_else(no_password)?),
            Authentication::Md5Password { salt } => {
                let secret = String::from_utf8(secret.ok_or_else(no_password)?).map_err(|_| no_password())?;
                tell::password(&mut bytes, md5::md5_password(&user, &secret, salt).as_bytes());
            }
            Authentication::Sasl { mechanisms } => {
                let offered: Vec<&[u8]> = mechanisms.collect();
                let offers = |mechanism: &str| offered.contains(&mechanism.as_bytes());
                let binding = match self.backend.link.peer_end_point() {
                    Some(digest) if offers(MECHANISM_PLUS) => ScramBinding::EndPoint(digest),
                    Some(_) => ScramBinding::NotOffered, // tells the server, should somebody have taken its offer away
                    None => ScramBinding::None,
                };
                if !matches!(binding, ScramBinding::EndPoint(_)) && !offers(MECHANISM) {
                    return Err(
                        self.failed("the server offers no SASL mechanism that linegate speaks".into())
                    );
                }
                let secret = String::from_utf8(secret.ok_or_else(no_password)?).map_err(|_| no_password())?;
                let scram = ScramClient::new(&secret, clock::random()).over(binding);
                tell::sasl_initial(&mut bytes, scram.mechanism(), &scram.first());
                self.scram = Some(scram);
            }
            Authentication::SaslContinue(data) => {
                let mut scram = self
                    .scram
                    .take()
                    .ok_or_else(|| self.failed("SASL out of turn".into()))?;
                let challenge = scram
                    .challenge(data)
                    .map_err(|error| self.failed(error.to_string()))?;
                let secret = String::from_utf8(secret.ok_or_else(no_password)?).map_err(|_| no_password())?;
                let secret = Arc::new(secret.into());
                let keys = &self.target.keys;
                let answered = keys.with(&challenge, &secret, |keys| scram.answer(&challenge, keys));
                let answer = rt::within(Shared::connect_time(self.target), answered)
                    .await
                    .ok_or_else(|| self.failed("the rounds that the server asks for take too long".into()))?
                    .map_err(|error| self.failed(error.to_string()))?;
                self.scram = Some(scram);
                tell::sasl_response(&mut bytes, &answer);
            }
            Authentication::SaslFinal(data) => {
                let scram = self
                    .scram
                    .take()
                    .ok_or_else(|| self.failed("SASL out of turn".into()))?;
                return scram.verify(data).map_err(|error| self.failed(error.to_string()));
            }
            Authentication::Other(kind) => {
                return Err(self.failed(format!("the server asks for authentication of kind {kind}")));
            }
        }
        self.tell(bytes).await
    }
}

fn append(out: &mut Vec<u8>, message: u8, payload: &[u8]) {
    out.push(message);
    out.extend_from_slice(&(u32::try_from(payload.len()).unwrap_or(u32::MAX - 4) + 4).to_be_bytes());
    out.extend_from_slice(payload);
}
