//! A client's connection: dialling, TLS, logging in, and whole messages where nothing is timed.
//!
//! Source: PostgreSQL manual, "Message Flow": Start-up. Trust, cleartext, md5 and SCRAM-SHA-256 are spoken. TLS checks no
//! certificate: what is measured is the record layer, on machines of one's own.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use codecs::postgres::backend::{Authentication, tag};
use codecs::postgres::build::frontend as tell;
use codecs::postgres::{Limits, Step, frame};
use linegate_identity::{AnyCertificate, ScramChallenge, ScramClient, ScramKeys, md5};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::failure::Failure;
use crate::target::Target;

/// Nothing that is read whole is longer.
const LIMITS: Limits = Limits {
    frame_bytes_max: 64 << 20,
};
/// Nobody waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// One read of a login's or a statement's answer.
const READ_BYTES: usize = 16 << 10;

/// Bytes to and from the server.
pub enum Transport {
    /// As they are.
    Plain(TcpStream),
    /// In TLS records.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Transport {
    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl Read for Transport {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Keys of earlier logins, by password. Derived anew each time they would cost the load some 100 times what they cost a proxy.
static KEYS: Mutex<BTreeMap<String, Arc<ScramKeys>>> = Mutex::new(BTreeMap::new());

fn keys(challenge: &ScramChallenge, password: &str) -> Arc<ScramKeys> {
    let mut known = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
    match known.get(password) {
        Some(keys) if keys.are_for(challenge) => keys.clone(),
        _ => {
            let keys = Arc::new(challenge.derive(password));
            known.insert(password.to_owned(), keys.clone());
            keys
        }
    }
}

/// A session that is logged in.
pub struct Client {
    /// Its bytes.
    pub transport: Transport,
    received: Vec<u8>,
    at: usize,
    /// ParameterStatus messages of the login, whole.
    pub greeting: Vec<u8>,
}

impl Client {
    /// Dials and logs in, as [`Target`] says.
    pub fn open(target: &Target) -> Result<Self, Failure> {
        Self::open_with(target, &[])
    }

    /// The same with further startup parameters.
    pub fn open_with(target: &Target, parameters: &[(String, String)]) -> Result<Self, Failure> {
        let mut client = Self {
            transport: dial(target)?,
            received: Vec::new(),
            at: 0,
            greeting: Vec::new(),
        };
        let mut bytes = Vec::new();
        let own = [("user", target.user.as_str()), ("database", &target.database)];
        let theirs = parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        tell::startup(&mut bytes, own.into_iter().chain(theirs));
        client.transport.write_all(&bytes)?;
        client.log_in(target).map_err(|failure| failure.during("login"))?;
        Ok(client)
    }

    fn log_in(&mut self, target: &Target) -> Result<(), Failure> {
        let mut scram = None;
        loop {
            let (kind, payload) = self.message()?;
            match kind {
                tag::AUTHENTICATION => self.prove(target, Authentication::read(&payload)?, &mut scram)?,
                tag::PARAMETER_STATUS => {
                    self.greeting.push(kind);
                    let size = u32::try_from(payload.len() + 4)
                        .map_err(|_| Failure::new("a parameter is too long"))?;
                    self.greeting.extend_from_slice(&size.to_be_bytes());
                    self.greeting.extend_from_slice(&payload);
                }
                tag::READY_FOR_QUERY => return Ok(()),
                tag::ERROR_RESPONSE => return Err(Failure::refused(&payload)),
                _ => {}
            }
        }
    }

    fn prove(
        &mut self,
        target: &Target,
        asked: Authentication<'_>,
        scram: &mut Option<ScramClient>,
    ) -> Result<(), Failure> {
        let password = || {
            let missing = || Failure::new(format!("{} asks for a password and none was given", target.name));
            target.password.as_deref().ok_or_else(missing)
        };
        let turn = || Failure::new("SASL out of turn");
        let wrong = |error: linegate_identity::ScramError| Failure::new(error.to_string());
        let mut bytes = Vec::new();
        match asked {
            Authentication::Ok => return Ok(()),
            Authentication::CleartextPassword => tell::password(&mut bytes, password()?.as_bytes()),
            Authentication::Md5Password { salt } => {
                tell::password(
                    &mut bytes,
                    md5::md5_password(&target.user, password()?, salt).as_bytes(),
                );
            }
            Authentication::Sasl { mut mechanisms } => {
                if !mechanisms.any(|mechanism| mechanism == b"SCRAM-SHA-256") {
                    return Err(Failure::new("no SASL mechanism but SCRAM-SHA-256 is spoken here"));
                }
                let mut nonce = [0; 18];
                ::aws_lc_rs::rand::fill(&mut nonce)
                    .map_err(|_| Failure::new("the system has no random bytes"))?;
                let started = ScramClient::new(password()?, nonce);
                tell::sasl_initial(&mut bytes, "SCRAM-SHA-256", &started.first());
                *scram = Some(started);
            }
            Authentication::SaslContinue(data) => {
                let scram = scram.as_mut().ok_or_else(turn)?;
                let challenge = scram.challenge(data).map_err(wrong)?;
                let keys = keys(&challenge, password()?);
                tell::sasl_response(&mut bytes, &scram.answer(&challenge, &keys).map_err(wrong)?);
            }
            Authentication::SaslFinal(data) => {
                return scram.take().ok_or_else(turn)?.verify(data).map_err(wrong);
            }
            Authentication::Other(kind) => {
                return Err(Failure::new(format!(
                    "authentication of kind {kind} is not spoken here"
                )));
            }
        }
        Ok(self.transport.write_all(&bytes)?)
    }

    /// The next whole message.
    pub fn message(&mut self) -> Result<(u8, Vec<u8>), Failure> {
        loop {
            let waiting = &self.received[self.at..];
            if let Step::Frame(frame) = frame::step(waiting, &LIMITS)? {
                let payload = frame.payload(waiting).to_vec();
                self.at += frame.size.with_tag();
                return Ok((frame.tag, payload));
            }
            self.received.drain(..self.at);
            self.at = 0;
            let kept = self.received.len();
            self.received.resize(kept + READ_BYTES, 0);
            let read = self.transport.read(&mut self.received[kept..]);
            self.received
                .truncate(kept + read.as_ref().copied().unwrap_or_default());
            match read {
                Ok(0) => return Err(Failure::new("the connection was closed")),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(Failure::new(format!("no answer within {} s", PATIENCE.as_secs())));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a batch that ends in Sync or Query and drops its answer; a refusal is an error.
    pub fn run(&mut self, batch: &[u8]) -> Result<(), Failure> {
        self.transport.write_all(batch)?;
        let mut refused = None;
        loop {
            match self.message()? {
                (tag::READY_FOR_QUERY, _) => return refused.map_or(Ok(()), Err),
                (tag::ERROR_RESPONSE, payload) => refused = Some(Failure::refused(&payload)),
                _ => {}
            }
        }
    }

    /// Nothing that came has not been read.
    pub fn is_quiet(&self) -> bool {
        self.at == self.received.len()
    }

    /// Gives back what buffers hold; for sessions that will say nothing for long.
    pub fn forget(&mut self) {
        self.received.drain(..self.at);
        self.at = 0;
        self.received.shrink_to_fit();
        self.greeting = Vec::new();
    }

    /// Says goodbye and waits until the other side has closed, so that a session counts only once it is over there too.
    /// Then resets, which leaves no TIME_WAIT behind and keeps local ports from running out.
    pub fn close(mut self) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        tell::terminate(&mut bytes);
        self.transport.write_all(&bytes)?;
        let mut rest = [0; 256];
        while self.transport.socket().read(&mut rest).is_ok_and(|read| read > 0) {}
        let _closing = rustix::net::sockopt::set_socket_linger(self.transport.as_fd(), Some(Duration::ZERO));
        Ok(())
    }
}

fn dial(target: &Target) -> Result<Transport, Failure> {
    let addresses = (target.host.as_str(), target.port).to_socket_addrs()?;
    let mut last = Failure::new("the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                socket.set_write_timeout(Some(PATIENCE))?;
                return secure(target, socket);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last.during("connect"))
}

fn secure(target: &Target, mut socket: TcpStream) -> Result<Transport, Failure> {
    if !target.tls {
        return Ok(Transport::Plain(socket));
    }
    let mut request = Vec::new();
    tell::ssl_request(&mut request);
    socket.write_all(&request)?;
    let mut answer = [0];
    socket.read_exact(&mut answer)?;
    if answer != *b"S" {
        return Err(Failure::new("TLS is not offered"));
    }
    let name = ServerName::try_from(target.host.clone()).map_err(|error| Failure::new(error.to_string()))?;
    let session =
        ClientConnection::new(tls_config()?, name).map_err(|error| Failure::new(error.to_string()))?;
    Ok(Transport::Tls(Box::new(StreamOwned::new(session, socket))))
}

fn tls_config() -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::new(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}
