//! The client that attacks: it says anything, over TCP or TLS, and keeps every byte that came back.
//!
//! Source: PostgreSQL manual, "Frontend/Backend Protocol". Unlike [`RawClient`](crate::RawClient) it never panics over what the
//! peer does: an error, a silence and an end are answers.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use linegate_identity::ScramClient;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::attack::Step;
use crate::wire::{Message, c_string, describe, execute, framed, sync};

/// No answer for so long is a hold.
const SILENCE: Duration = Duration::from_secs(8);
/// The most bytes of one message: more would only be a mistake.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

enum Link {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }

    fn set_timeout(&self, wait: Duration) {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        };
        let wait = wait.max(Duration::from_millis(1));
        stream.set_read_timeout(Some(wait)).expect("a timeout can be set");
    }
}

/// Where and as whom to connect.
#[derive(Clone, Debug)]
pub struct Door {
    /// Loopback port.
    pub port: u16,
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
    /// Database.
    pub database: String,
    /// The certificate to trust; plain TCP without one.
    pub tls: Option<Arc<ClientConfig>>,
}

/// Trusts exactly this certificate.
pub fn tls_config(certificate: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate in PEM");
    roots.add(certificate).expect("a certificate that can be trusted");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions");
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// Everything that came back from one or more connections.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Bodies of all messages, one after the other.
    pub raw: Vec<u8>,
    /// Rows of each result.
    pub results: Vec<Vec<Vec<Option<Vec<u8>>>>>,
    /// Column names of each result; empty where none were described.
    pub columns: Vec<Vec<String>>,
    /// SQLSTATE and message of each error.
    pub errors: Vec<(String, String)>,
    /// Command tags.
    pub tags: Vec<String>,
    /// COPY data.
    pub copy: Vec<u8>,
    /// It waits, for a person or for ever.
    pub held: bool,
    /// The peer ended the connection.
    pub closed: bool,
}

impl Outcome {
    /// An error or an end.
    pub fn failed(&self) -> bool {
        self.closed || !self.errors.is_empty()
    }

    /// Why it failed, for the report.
    pub fn why(&self) -> String {
        match self.errors.first() {
            Some((code, message)) => format!("{code} {message}"),
            None if self.held => "no answer".to_owned(),
            None if self.closed => "the connection was ended".to_owned(),
            None => String::new(),
        }
    }

    /// Rows of the last result as lines of text.
    pub fn as_text(&self) -> String {
        let rows = self.results.last().map(Vec::as_slice).unwrap_or_default();
        let line = |row: &Vec<Option<Vec<u8>>>| {
            let cells = row.iter().map(|cell| match cell {
                Some(cell) => String::from_utf8_lossy(cell).into_owned(),
                None => "NULL".to_owned(),
            });
            cells.collect::<Vec<_>>().join("|")
        };
        rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Joins what another connection saw.
    pub fn absorb(&mut self, other: Self) {
        self.raw.extend_from_slice(&other.raw);
        self.results.extend(other.results);
        self.columns.extend(other.columns);
        self.errors.extend(other.errors);
        self.tags.extend(other.tags);
        self.copy.extend_from_slice(&other.copy);
        self.held |= other.held;
        self.closed |= other.closed;
    }
}

/// A connection and what came over it.
pub struct AttackClient {
    link: Link,
    inbox: Vec<u8>,
    /// Whether the next row belongs to the last result.
    in_result: bool,
    /// What has come so far.
    pub seen: Outcome,
}

impl AttackClient {
    /// Logs in without a password, for administrators.
    pub fn connect_trusted(port: u16, user: &str, database: &str) -> Self {
        let door = Door {
            port,
            user: user.to_owned(),
            password: String::new(),
            database: database.to_owned(),
            tls: None,
        };
        Self::connect(&door, []).unwrap_or_else(|outcome| panic!("no connection: {}", outcome.why()))
    }

    /// Logs in with further startup parameters; a refusal is an outcome.
    pub fn connect<'a>(
        door: &Door,
        parameters: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<Self, Box<Outcome>> {
        let mut stream = TcpStream::connect(("127.0.0.1", door.port)).expect("the port is listened on");
        stream.set_nodelay(true).expect("TCP");
        stream
            .set_read_timeout(Some(SILENCE))
            .expect("a timeout can be set");
        let link = match &door.tls {
            None => Link::Plain(stream),
            Some(config) => {
                stream
                    .write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])
                    .expect("SSLRequest is read");
                let mut answer = [0];
                stream.read_exact(&mut answer).expect("SSLRequest is answered");
                assert_eq!(&answer, b"S", "TLS is offered");
                let name = ServerName::try_from("localhost").expect("a DNS name");
                let connection = ClientConnection::new(Arc::clone(config), name).expect("a TLS client");
                Link::Tls(Box::new(StreamOwned::new(connection, stream)))
            }
        };
        let mut client = Self {
            link,
            inbox: Vec::new(),
            in_result: false,
            seen: Outcome::default(),
        };
        let mut version: u32 = 196_608;
        let mut fields = vec![
            ("user".to_owned(), door.user.clone()),
            ("database".to_owned(), door.database.clone()),
        ];
        for (name, value) in parameters {
            match name.as_str() {
                "_version" => version = value.parse().expect("a version number"),
                _ => fields.push((name.clone(), value.clone())),
            }
        }
        let mut body = version.to_be_bytes().to_vec();
        for (name, value) in fields {
            body.extend_from_slice(&c_string(&name));
            body.extend_from_slice(&c_string(&value));
        }
        body.push(0);
        client.send(&framed(0, &body)[1..]);
        match client.log_in(&door.password) {
            Ok(()) => Ok(client),
            Err(()) => Err(Box::new(client.seen)),
        }
    }

    fn log_in(&mut self, password: &str) -> Result<(), ()> {
        let mut nonce = [0; 18];
        rand::fill(&mut nonce).expect("the system has random bytes");
        let mut scram = ScramClient::new(password, nonce);
        loop {
            let Some(message) = self.read(SILENCE) else {
                self.seen.held |= !self.seen.closed;
                return Err(());
            };
            match message.tag {
                b'Z' => return Ok(()),
                b'E' => return Err(()),
                b'R' => {}
                _ => continue,
            }
            let Some((kind, data)) = message.body.split_first_chunk::<4>() else {
                return Err(());
            };
            match u32::from_be_bytes(*kind) {
                10 => {
                    let first = scram.first();
                    let mut body = b"SCRAM-SHA-256\0".to_vec();
                    body.extend_from_slice(&u32::try_from(first.len()).expect("short").to_be_bytes());
                    body.extend_from_slice(&first);
                    self.send(&framed(b'p', &body));
                }
                11 => {
                    let last = scram.respond(data).map_err(drop)?;
                    self.send(&framed(b'p', &last));
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.link.write(bytes).is_err() {
            self.seen.closed = true;
        }
    }

    /// One message, kept in `seen`; nothing when none came in time or the connection ended.
    fn read(&mut self, wait: Duration) -> Option<Message> {
        let deadline = Instant::now() + wait;
        let mut size = 5;
        loop {
            if self.inbox.len() >= 5 {
                let declared = u32::from_be_bytes(self.inbox[1..5].try_into().expect("four bytes"));
                size = usize::try_from(declared).expect("64 bits") + 1;
                assert!(size < MESSAGE_BYTES_MAX, "a message of {size} bytes");
            }
            if self.inbox.len() >= size {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.link.set_timeout(left);
            let mut piece = [0; 1 << 14];
            match self.link.read(&mut piece) {
                Ok(0) => {
                    self.seen.closed = true;
                    return None;
                }
                Ok(count) => self.inbox.extend_from_slice(&piece[..count]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return None;
                }
                Err(_) => {
                    self.seen.closed = true;
                    return None;
                }
            }
        }
        let rest = self.inbox.split_off(size);
        let whole = std::mem::replace(&mut self.inbox, rest);
        let message = Message {
            tag: whole[0],
            body: whole[5..].to_vec(),
        };
        self.keep(&message);
        Some(message)
    }

    fn keep(&mut self, message: &Message) {
        let seen = &mut self.seen;
        // Nonces, signatures and cancel keys are random: six characters of a secret stand in them by chance, once in some 25 runs.
        if !matches!(message.tag, b'R' | b'K') {
            seen.raw.extend_from_slice(&message.body);
            seen.raw.push(b'\n');
        }
        match message.tag {
            b'T' => {
                seen.results.push(Vec::new());
                seen.columns.push(column_names(&message.body));
                self.in_result = true;
            }
            b'D' => {
                if !self.in_result {
                    seen.results.push(Vec::new());
                    seen.columns.push(Vec::new());
                    self.in_result = true;
                }
                if let Some(rows) = seen.results.last_mut() {
                    rows.push(message.cells());
                }
            }
            b'C' => {
                let tag = message.body.strip_suffix(b"\0").unwrap_or(&message.body);
                seen.tags.push(String::from_utf8_lossy(tag).into_owned());
                self.in_result = false;
            }
            b'I' => {
                seen.tags.push("(empty)".to_owned());
                self.in_result = false;
            }
            b's' => self.in_result = true,
            b'd' => seen.copy.extend_from_slice(&message.body),
            b'E' => {
                let field = |code| message.field(code).unwrap_or_default();
                seen.errors.push((field(b'C'), field(b'M')));
                self.in_result = false;
            }
            b'N' => {
                let words = message.field(b'M').unwrap_or_default();
                seen.held |= words.contains("waits for") || words.contains("approv");
            }
            _ => {}
        }
    }

    /// Reads until so many answers are complete, something is wanted from us, or nothing more comes.
    fn settle(&mut self, mut answers: usize) {
        while answers > 0 && !self.seen.held && !self.seen.closed {
            match self.read(SILENCE) {
                Some(message) => match message.tag {
                    b'Z' => answers -= 1,
                    b'G' | b'W' => return,
                    _ => {}
                },
                None => self.seen.held |= !self.seen.closed,
            }
        }
    }

    /// A Query message and everything that it is answered with.
    pub fn simple(&mut self, sql: &str) {
        self.send(&framed(b'Q', &c_string(sql)));
        self.settle(1);
    }

    /// The same, forgetting what came before.
    pub fn ask(&mut self, sql: &str) -> Outcome {
        self.seen = Outcome::default();
        self.simple(sql);
        self.seen.clone()
    }

    /// One step of a case; `function` finds the OID of a `regprocedure`.
    pub fn step(&mut self, step: &Step, function: &mut dyn FnMut(&str) -> u32) {
        if let Some(sql) = &step.q {
            self.simple(sql);
        } else if let Some(hex) = &step.hex {
            let mut body = unhex(hex);
            body.push(0);
            self.send(&framed(b'Q', &body));
            self.settle(1);
        } else if let Some(sql) = &step.x {
            let bytes = extended(step, sql);
            if step.describe.as_deref() == Some("none") {
                self.in_result = false;
            }
            self.send(&bytes);
            self.settle(1);
        } else if let Some(data) = &step.copy {
            self.send(&[framed(b'd', data.as_bytes()), framed(b'c', &[])].concat());
            self.settle(1);
        } else if let Some(wait) = step.listen {
            let deadline = Instant::now() + Duration::from_millis(wait);
            while self
                .read(deadline.saturating_duration_since(Instant::now()))
                .is_some()
            {}
        } else if !step.frames.is_empty() {
            self.frames(step, function);
        } else {
            panic!("a step that says nothing: {step:?}");
        }
    }

    fn frames(&mut self, step: &Step, function: &mut dyn FnMut(&str) -> u32) {
        let mut bytes = Vec::new();
        let mut answers = 0;
        for frame in &step.frames {
            let (frame, answered) = message(frame, function);
            bytes.extend_from_slice(&frame);
            answers += usize::from(answered);
        }
        self.in_result = false;
        match step.split {
            0 => self.send(&bytes),
            split => {
                for piece in bytes.chunks(split) {
                    self.send(piece);
                    std::thread::sleep(Duration::from_micros(300));
                }
            }
        }
        self.settle(answers);
    }

    /// Says goodbye; everything that was seen.
    pub fn finish(mut self) -> Outcome {
        let _gone = self.link.write(&framed(b'X', &[]));
        self.seen
    }
}

fn column_names(description: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = description.get(2..).unwrap_or_default();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        rest = rest.get(end + 19..).unwrap_or_default();
    }
    names
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks_exact(2)
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).expect("ASCII"), 16).expect("two digits"))
        .collect()
}

fn bind(portal: &str, name: &str, parameters: &[Option<String>], results: &[u16]) -> Vec<u8> {
    let count = |count: usize| u16::try_from(count).expect("few").to_be_bytes();
    let mut body = c_string(portal);
    body.extend_from_slice(&c_string(name));
    body.extend_from_slice(&[0, 0]);
    body.extend_from_slice(&count(parameters.len()));
    for parameter in parameters {
        match parameter {
            None => body.extend_from_slice(&(-1i32).to_be_bytes()),
            Some(text) => {
                body.extend_from_slice(&u32::try_from(text.len()).expect("short").to_be_bytes());
                body.extend_from_slice(text.as_bytes());
            }
        }
    }
    body.extend_from_slice(&count(results.len()));
    body.extend(results.iter().flat_map(|format| format.to_be_bytes()));
    framed(b'B', &body)
}

fn extended(step: &Step, sql: &str) -> Vec<u8> {
    let mut bytes = crate::wire::parse(&step.name, sql);
    let how = step.describe.as_deref().unwrap_or("portal");
    if how == "statement" {
        bytes.extend_from_slice(&describe(b'S', &step.name));
    }
    bytes.extend_from_slice(&bind(&step.portal, &step.name, &step.params, &step.result));
    if how == "portal" {
        bytes.extend_from_slice(&describe(b'P', &step.portal));
    }
    bytes.extend_from_slice(&execute(&step.portal, step.rows));
    bytes.extend_from_slice(&sync());
    bytes
}

/// One message from its JSON form, and whether a ReadyForQuery answers it.
fn message(frame: &serde_json::Value, function: &mut dyn FnMut(&str) -> u32) -> (Vec<u8>, bool) {
    let list = frame.as_array().expect("a frame is a list");
    let text = |index: usize| {
        list.get(index)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
    };
    let texts = |index: usize| -> Vec<Option<String>> {
        let values = list.get(index).and_then(|value| value.as_array());
        let owned = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        values
            .map(|values| values.iter().map(owned).collect())
            .unwrap_or_default()
    };
    let numbers = |index: usize| -> Vec<u16> {
        let values = list.get(index).and_then(|value| value.as_array());
        let small = |value: &serde_json::Value| {
            u16::try_from(value.as_u64().expect("a number")).expect("a small one")
        };
        values
            .map(|values| values.iter().map(small).collect())
            .unwrap_or_default()
    };
    let number = |index: usize| {
        list.get(index)
            .and_then(serde_json::Value::as_i64)
            .unwrap_or_default()
    };
    match text(0) {
        "P" => (crate::wire::parse(text(1), text(2)), false),
        "B" => (bind(text(1), text(2), &texts(3), &numbers(4)), false),
        "D" => (describe(text(1).as_bytes()[0], text(2)), false),
        "E" => (
            execute(text(1), i32::try_from(number(2)).expect("a count")),
            false,
        ),
        "C" => {
            let mut body = text(1).as_bytes().to_vec();
            body.extend_from_slice(&c_string(text(2)));
            (framed(b'C', &body), false)
        }
        "S" => (sync(), true),
        "H" => (framed(b'H', &[]), false),
        "Q" => (framed(b'Q', &c_string(text(1))), true),
        "F" => (function_call(function(text(1)), &texts(2), number(3)), true),
        "d" => (framed(b'd', text(1).as_bytes()), false),
        "c" => (framed(b'c', &[]), false),
        "f" => (framed(b'f', &c_string(text(1))), false),
        "hex" => (unhex(text(1)), number(2) != 0),
        other => panic!("unknown frame {other}"),
    }
}

fn function_call(oid: u32, arguments: &[Option<String>], result_format: i64) -> Vec<u8> {
    let mut body = oid.to_be_bytes().to_vec();
    body.extend_from_slice(&[0, 0]);
    body.extend_from_slice(&u16::try_from(arguments.len()).expect("few").to_be_bytes());
    for argument in arguments {
        let text = argument.as_deref().unwrap_or_default();
        body.extend_from_slice(&u32::try_from(text.len()).expect("short").to_be_bytes());
        body.extend_from_slice(text.as_bytes());
    }
    body.extend_from_slice(&u16::try_from(result_format).expect("0 or 1").to_be_bytes());
    framed(b'F', &body)
}
