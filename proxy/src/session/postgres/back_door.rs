//! The back door: logging in at a target with linegate's own credential.
//!
//! Source: PostgreSQL manual, "Message Flow": Start-up. The client never sees this credential; what the server says about
//! itself (ParameterStatus, BackendKeyData) is passed on.

use std::net::SocketAddr;
use std::rc::Rc;

use codecs::postgres::backend::{Authentication, BackendKeyData, ErrorFields, tag};
use codecs::postgres::build::frontend as tell;
use codecs::postgres::{Limits, Step, frame};
use linegate_config::TlsMode;
use linegate_identity::{ScramClient, md5};
use rustls::pki_types::ServerName;

use super::Ended;
use crate::clock;
use crate::link::Link;
use crate::rt::{self, net::Stream};
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
    /// ParameterStatus messages and NegotiateProtocolVersion aside, everything that the client should hear, as messages.
    pub greeting: Vec<u8>,
    /// Its cancel key.
    pub cancel_key: (u32, Vec<u8>),
}

/// Connects and logs in. `parameters` go into the startup packet beside user and database.
pub async fn connect(
    target: &Target,
    pool: &Rc<Pool>,
    database: &str,
    parameters: &[(String, String)],
) -> Result<Backend, Ended> {
    let name = &target.config.name;
    let link = dial(target, pool).await?;
    let mut ingress = link
        .reader
        .ingress()
        .map_err(|error| Ended::saying(b"53200", error.to_string()))?;
    ingress.consume(0);
    let mut login = Login {
        target,
        link,
        ingress,
        scram: None,
    };
    let mut bytes = Vec::new();
    let own = [
        ("user", target.config.credential.user.as_str()),
        ("database", database),
    ];
    let theirs = parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    tell::startup(&mut bytes, own.into_iter().chain(theirs));
    login.tell(bytes).await?;
    let time = Shared::connect_time(target);
    // Not a time-out around a read: the switch makes the read itself end.
    let done = Rc::new(std::cell::Cell::new(false));
    let (watched, switch) = (done.clone(), login.link.switch.clone());
    rt::spawn(async move {
        rt::sleep(time).await;
        if !watched.get() {
            switch.off();
        }
    });
    let result = login.run().await;
    done.set(true);
    let (greeting, cancel_key) = result.inspect_err(|ended| {
        tracing::warn!(target = %name, why = %ended.why, "the backend did not let linegate in");
    })?;
    Ok(Backend {
        link: login.link,
        ingress: login.ingress,
        greeting,
        cancel_key,
    })
}

/// Connects, with TLS as the target asks for it.
pub async fn dial(target: &Target, pool: &Rc<Pool>) -> Result<Link, Ended> {
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
    for address in addresses.iter() {
        match attempt(target, pool, *address).await {
            Ok(link) => return Ok(link),
            Err(error) => last = error.to_string(),
        }
    }
    Err(unreachable(last))
}

async fn attempt(target: &Target, pool: &Rc<Pool>, address: SocketAddr) -> std::io::Result<Link> {
    let time = Shared::connect_time(target);
    let stream = rt::within(time, Stream::connect(address))
        .await
        .ok_or(std::io::ErrorKind::TimedOut)??;
    let mut link = Link::new(stream, pool.clone())?;
    let Some(config) = &target.tls else {
        return Ok(link);
    };
    let mut request = Vec::new();
    tell::ssl_request(&mut request);
    link.writer.write_vec(request).await.0?;
    let ingress = link.reader.ingress()?;
    let (read, mut ingress) = link.reader.fill(ingress, 1).await;
    read?;
    match ingress.data() {
        b"S" => {
            ingress.consume(1);
            let host =
                ServerName::try_from(target.config.address.host.clone()).map_err(std::io::Error::other)?;
            link.start_tls(Tls::client(config.clone(), host)?).await?;
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
    link: Link,
    ingress: Ingress,
    scram: Option<ScramClient>,
}

impl Login<'_> {
    async fn tell(&mut self, bytes: Vec<u8>) -> Result<(), Ended> {
        self.link
            .writer
            .write_vec(bytes)
            .await
            .0
            .map_err(|error| self.failed(format!("writing failed: {error}")))
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
        loop {
            let needed = match frame::step(self.ingress.data(), &LIMITS)
                .map_err(|error| self.failed(error.to_string()))?
            {
                Step::Frame(frame) => {
                    let payload = frame.payload(self.ingress.data()).to_vec();
                    self.ingress.consume(frame.size.with_tag());
                    return Ok((frame.tag, payload));
                }
                Step::Need { bytes } => bytes,
            };
            let empty = self
                .link
                .reader
                .ingress()
                .map_err(|error| self.failed(error.to_string()))?;
            let (read, back) = self
                .link
                .reader
                .fill(std::mem::replace(&mut self.ingress, empty), needed)
                .await;
            self.ingress = back;
            match read {
                Ok(0) => return Err(self.failed("the server closed the connection during the login".into())),
                Ok(_) => {}
                Err(error) => return Err(self.failed(format!("reading failed: {error}"))),
            }
        }
    }

    async fn run(&mut self) -> Result<(Vec<u8>, (u32, Vec<u8>)), Ended> {
        let mut greeting = Vec::new();
        let mut cancel_key = (0, Vec::new());
        loop {
            let (message, payload) = self.message().await?;
            match message {
                tag::AUTHENTICATION => {
                    let asked =
                        Authentication::read(&payload).map_err(|error| self.failed(error.to_string()))?;
                    self.prove(asked).await?;
                }
                tag::PARAMETER_STATUS | tag::NOTICE_RESPONSE => append(&mut greeting, message, &payload),
                tag::BACKEND_KEY_DATA => {
                    let key =
                        BackendKeyData::read(&payload).map_err(|error| self.failed(error.to_string()))?;
                    cancel_key = (key.process_id, key.secret.to_vec());
                    append(&mut greeting, message, &payload);
                }
                tag::READY_FOR_QUERY => {
                    append(&mut greeting, message, &payload);
                    return Ok((greeting, cancel_key));
                }
                tag::ERROR_RESPONSE => return Err(self.refused(&payload)),
                tag::NEGOTIATE_PROTOCOL_VERSION => {}
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
            Authentication::Ok => return Ok(()),
            Authentication::CleartextPassword => tell::password(&mut bytes, &secret.ok_or_else(no_password)?),
            Authentication::Md5Password { salt } => {
                let secret = String::from_utf8(secret.ok_or_else(no_password)?).map_err(|_| no_password())?;
                tell::password(&mut bytes, md5::md5_password(&user, &secret, salt).as_bytes());
            }
            Authentication::Sasl { mut mechanisms } => {
                if !mechanisms.any(|mechanism| mechanism == b"SCRAM-SHA-256") {
                    return Err(
                        self.failed("the server offers no SASL mechanism that linegate speaks".into())
                    );
                }
                let secret = String::from_utf8(secret.ok_or_else(no_password)?).map_err(|_| no_password())?;
                let scram = ScramClient::new(&secret, clock::random());
                tell::sasl_initial(&mut bytes, "SCRAM-SHA-256", &scram.first());
                self.scram = Some(scram);
            }
            Authentication::SaslContinue(data) => {
                let mut scram = self
                    .scram
                    .take()
                    .ok_or_else(|| self.failed("SASL out of turn".into()))?;
                let answer = scram
                    .respond(data)
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
