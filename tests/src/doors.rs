//! What tests of doors stand on: certificate authorities of their own, and a client that knocks in every way there is: over
//! TCP, IPv6 or a Unix socket, with TLS after a request or at once, with a certificate, by any minor version.
//!
//! Source: PostgreSQL manual, "Message Flow": Start-up, SSL Session Encryption; "SASL Authentication".

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use aws_lc_rs::rand;
use linegate_identity::{AnyCertificate, ScramBinding, ScramClient, end_point};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::places::{self, must};
use crate::postgres::self_signing;
use crate::wire::{Message, framed};
use crate::{Lease, Linegate, SOON};

/// A certificate and its key, PEM files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The key.
    pub key: PathBuf,
    /// The certificate.
    pub cert: PathBuf,
}

/// An authority of a test's own.
pub struct Authority {
    dir: tempfile::TempDir,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let dir = places::temporary("lg-ca-");
        let (key, cert) = (dir.path().join("ca.key"), dir.path().join("ca.pem"));
        let name = format!(
            "/CN=authority {}",
            dir.path().display().to_string().replace('/', " ")
        );
        let mut command = self_signing();
        must(
            command
                .args(["-subj", &name])
                .arg("-keyout")
                .arg(key)
                .arg("-out")
                .arg(cert),
        );
        Self { dir }
    }

    /// Its certificate, PEM.
    pub fn cert(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate for that subject and these alternative names (`DNS:…`, `URI:…`); none if empty.
    pub fn issue(&self, file: &str, subject: &str, names: &str) -> Identity {
        let at = |ending: &str| self.dir.path().join(format!("{file}.{ending}"));
        let mut request = Command::new("openssl");
        request.args([
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            subject,
        ]);
        must(request.arg("-keyout").arg(at("key")).arg("-out").arg(at("csr")));
        let mut extensions = "basicConstraints=critical,CA:FALSE\n".to_owned();
        if !names.is_empty() {
            extensions.push_str(&format!("subjectAltName={names}\n"));
        }
        std::fs::write(at("ext"), extensions).expect("our own directory");
        let mut sign = Command::new("openssl");
        sign.args(["x509", "-req", "-days", "2", "-CAcreateserial", "-CA"])
            .arg(self.cert())
            .arg("-CAkey")
            .arg(self.dir.path().join("ca.key"))
            .arg("-in")
            .arg(at("csr"))
            .arg("-extfile")
            .arg(at("ext"));
        must(sign.arg("-out").arg(at("pem")));
        Identity {
            key: at("key"),
            cert: at("pem"),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// How a client does TLS.
#[derive(Clone, Debug)]
pub struct TlsWish {
    /// The server name that it sends; `None` sends none.
    pub server_name: Option<&'static str>,
    /// The protocols that it names.
    pub alpn: Vec<&'static str>,
    /// Whether it begins with TLS at once.
    pub is_direct: bool,
    /// The certificate that it shows.
    pub identity: Option<Identity>,
    /// How many bytes it sends at once.
    pub piece_bytes: usize,
}

impl Default for TlsWish {
    fn default() -> Self {
        Self {
            server_name: Some("localhost"),
            alpn: vec!["postgresql"],
            is_direct: false,
            identity: None,
            piece_bytes: usize::MAX,
        }
    }
}

/// A line that sends a few bytes at a time.
struct InPieces(TcpStream, usize);

impl Read for InPieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for InPieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(self.1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl TlsWish {
    /// rustls' configuration of such a client, which believes every server.
    pub fn config(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the provider's versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)));
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&identity.cert)
                    .expect("PEM")
                    .collect();
                let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key");
                builder
                    .with_client_auth_cert(chain.expect("PEM"), key)
                    .expect("a pair")
            }
        };
        config.enable_sni = self.server_name.is_some();
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// A connection of either kind.
trait Line: Read + Write {}
impl<T: Read + Write> Line for T {}

/// A client at the door.
pub struct Knock {
    line: Box<dyn Line>,
    /// The digest that SCRAM can be bound to.
    pub end_point: Option<Vec<u8>>,
    /// The protocol that both sides named.
    pub alpn: Option<Vec<u8>>,
}

impl Knock {
    /// Dials TCP.
    pub fn tcp(address: impl Into<SocketAddr>) -> Self {
        Self::over(Box::new(dialled(address.into())))
    }

    /// Dials a Unix socket.
    pub fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("somebody listens");
        stream.set_read_timeout(Some(SOON)).expect("a timeout can be set");
        Self::over(Box::new(stream))
    }

    fn over(line: Box<dyn Line>) -> Self {
        Self {
            line,
            end_point: None,
            alpn: None,
        }
    }

    /// Dials with TLS; an error where the handshake fails or is not offered.
    pub fn tls(address: impl Into<SocketAddr>, wish: &TlsWish) -> io::Result<Self> {
        let mut stream = dialled(address.into());
        if !wish.is_direct {
            stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47])?;
            let mut answer = [0];
            stream.read_exact(&mut answer)?;
            if answer != *b"S" {
                return Err(io::Error::other("no TLS is offered"));
            }
        }
        let name = ServerName::try_from(wish.server_name.unwrap_or("localhost")).expect("a name");
        let connection = ClientConnection::new(wish.config(), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, InPieces(stream, wish.piece_bytes));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        let end_point = stream
            .conn
            .peer_certificates()
            .and_then(|chain| end_point(&chain[0]));
        let alpn = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
        Ok(Self {
            line: Box::new(stream),
            end_point,
            alpn,
        })
    }

    /// Sends exactly these bytes.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.line
            .write_all(bytes)
            .and_then(|()| self.line.flush())
            .expect("linegate reads");
    }

    /// Sends a message.
    pub fn send(&mut self, tag: u8, body: &[u8]) {
        self.send_bytes(&framed(tag, body));
    }

    /// Sends a StartupMessage of that minor version.
    pub fn startup(&mut self, minor: u16, parameters: &[(&str, &str)]) {
        let mut body = ((3_u32 << 16) | u32::from(minor)).to_be_bytes().to_vec();
        for text in parameters.iter().flat_map(|(name, value)| [name, value]) {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        self.send_bytes(&framed(0, &body)[1..]);
    }

    /// One byte.
    pub fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.line.read_exact(&mut byte).map(|()| byte[0])
    }

    /// Reads one message.
    pub fn read(&mut self) -> io::Result<Message> {
        let tag = self.byte()?;
        let mut size = [0; 4];
        self.line.read_exact(&mut size)?;
        let mut body = vec![0; u32::from_be_bytes(size) as usize - 4];
        self.line.read_exact(&mut body)?;
        Ok(Message { tag, body })
    }

    /// Reads up to and with a message of that tag; an ErrorResponse ends it too.
    pub fn read_to(&mut self, tag: u8) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let message = self.read().expect("the server answers");
            let is_last = message.tag == tag || message.tag == b'E';
            messages.push(message);
            if is_last {
                return messages;
            }
        }
    }

    /// The authentication that is asked for: its kind and what comes with it.
    pub fn asked(&mut self) -> Result<(u32, Vec<u8>), Message> {
        loop {
            let message = self.read().expect("the server answers");
            match message.tag {
                b'R' => {
                    let (kind, data) = message.body.split_at(4);
                    return Ok((
                        u32::from_be_bytes(kind.try_into().expect("four bytes")),
                        data.to_vec(),
                    ));
                }
                b'v' => {}
                _ => return Err(message),
            }
        }
    }

    /// Begins a SASL exchange.
    pub fn sasl(&mut self, mechanism: &str, data: &[u8]) {
        let mut body = mechanism.as_bytes().to_vec();
        body.push(0);
        body.extend_from_slice(&u32::try_from(data.len()).expect("short").to_be_bytes());
        body.extend_from_slice(data);
        self.send(b'p', &body);
    }

    /// Proves a lease's secret over that channel, whatever was offered.
    pub fn scram(&mut self, password: &str, binding: ScramBinding) -> Result<(), Message> {
        let mut nonce = [0; 18];
        rand::fill(&mut nonce).expect("the system has random bytes");
        let mut scram = ScramClient::new(password, nonce).over(binding);
        let (kind, _) = self.asked()?;
        assert_eq!(kind, 10, "SASL");
        self.sasl(scram.mechanism(), &scram.first());
        let (kind, data) = self.asked()?;
        assert_eq!(kind, 11, "SASL goes on");
        let last = scram.respond(&data).expect("a challenge");
        self.send(b'p', &last);
        let (kind, data) = self.asked()?;
        assert_eq!(kind, 12, "SASL ends");
        scram.verify(&data).expect("linegate knows the verifier");
        Ok(())
    }

    /// Logs in with a lease; what came after its proof, up to ReadyForQuery.
    pub fn login(&mut self, minor: u16, lease: &Lease, database: &str) -> Result<Vec<Message>, Message> {
        self.startup(minor, &[("user", &lease.username), ("database", database)]);
        let binding = self
            .end_point
            .clone()
            .map_or(ScramBinding::None, ScramBinding::EndPoint);
        self.scram(&lease.password, binding)?;
        let mut told = self.read_to(b'Z');
        match told.last() {
            Some(last) if last.tag == b'E' => Err(told.pop().expect("it is there")),
            _ => Ok(told),
        }
    }

    /// A query's answer.
    pub fn query(&mut self, sql: &str) -> Vec<Message> {
        let mut body = sql.as_bytes().to_vec();
        body.push(0);
        self.send(b'Q', &body);
        let mut messages = Vec::new();
        loop {
            messages.push(self.read().expect("the server answers"));
            if messages.last().is_some_and(|last| last.tag == b'Z') {
                return messages;
            }
        }
    }

    /// Waits for the end of the line.
    pub fn is_over(&mut self) -> bool {
        self.byte().is_err()
    }
}

fn dialled(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("linegate listens");
    stream.set_read_timeout(Some(SOON)).expect("a timeout can be set");
    stream.set_nodelay(true).expect("TCP");
    stream
}

/// A CancelRequest.
pub fn cancel_request(key: &[u8]) -> Vec<u8> {
    let mut body = 80_877_102_u32.to_be_bytes().to_vec();
    body.extend_from_slice(key);
    framed(0, &body)[1..].to_vec()
}

/// A lease for a target of that name.
pub fn lease_for(linegate: &Linegate, target: &str, principal: &str) -> Lease {
    let args = [
        "lease", "create", "--json", "--target", target, "--as", principal, "--ttl", "15m",
    ];
    Lease::read(linegate.cli(&args).good().json())
}

/// One more target in front of a server: what stands in its table, its name first.
pub fn target(name: &str, lines: &str) -> String {
    format!("[[target]]\nname = \"{name}\"\nprotocol = \"postgres\"\n{lines}\n")
}
