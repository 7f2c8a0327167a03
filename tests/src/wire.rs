//! A client that speaks the frontend/backend protocol itself, so that tests can send what no driver would.
//!
//! Source: PostgreSQL manual, "Frontend/Backend Protocol". Messages are tag u8 | size i32 (counts itself) | body.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use aws_lc_rs::rand;
use linegate_identity::ScramClient;

use crate::SOON;

/// One message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its tag.
    pub tag: u8,
    /// Its body, without tag and size.
    pub body: Vec<u8>,
}

impl Message {
    /// A field of an ErrorResponse or NoticeResponse: `C` is the SQLSTATE, `M` the message, `H` the hint.
    pub fn field(&self, code: u8) -> Option<String> {
        let mut rest = self.body.as_slice();
        while let Some((&key, after)) = rest.split_first() {
            let end = after.iter().position(|byte| *byte == 0)?;
            if key == code {
                return Some(String::from_utf8_lossy(&after[..end]).into_owned());
            }
            rest = &after[end + 1..];
        }
        None
    }

    /// The cells of a DataRow.
    pub fn cells(&self) -> Vec<Option<Vec<u8>>> {
        assert_eq!(self.tag, b'D', "not a DataRow");
        let count = usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        let mut rest = &self.body[2..];
        let mut cells = Vec::with_capacity(count);
        for _ in 0..count {
            let (size, after) = rest.split_at(4);
            let size = i32::from_be_bytes(size.try_into().expect("four bytes"));
            let Ok(size) = usize::try_from(size) else {
                cells.push(None);
                rest = after;
                continue;
            };
            cells.push(Some(after[..size].to_vec()));
            rest = &after[size..];
        }
        assert!(rest.is_empty(), "bytes after the last column");
        cells
    }

    /// The cells as text; `NULL` for NULL.
    pub fn text_cells(&self) -> Vec<String> {
        let text = |cell: Vec<u8>| String::from_utf8_lossy(&cell).into_owned();
        self.cells()
            .into_iter()
            .map(|cell| cell.map_or_else(|| "NULL".to_owned(), text))
            .collect()
    }
}

/// A connection.
pub struct RawClient {
    stream: TcpStream,
    /// Bytes of a message that has not arrived whole.
    partial: Vec<u8>,
    /// BackendKeyData: process id and secret key.
    pub key: Option<[u8; 8]>,
}

impl RawClient {
    /// Dials without saying anything.
    pub fn dial(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("linegate listens");
        stream.set_read_timeout(Some(SOON)).expect("a timeout can be set");
        stream
            .set_write_timeout(Some(SOON))
            .expect("a timeout can be set");
        stream.set_nodelay(true).expect("TCP");
        Self {
            stream,
            partial: Vec::new(),
            key: None,
        }
    }

    /// The socket itself, for what this client does not do.
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Dials, logs in with SCRAM-SHA-256 and waits until the server is ready.
    pub fn login(port: u16, user: &str, password: &str, database: &str) -> Self {
        Self::try_login(port, user, password, database)
            .unwrap_or_else(|error| panic!("the login was refused: {:?}", error.field(b'M')))
    }

    /// The same, where an ErrorResponse is an answer.
    pub fn try_login(port: u16, user: &str, password: &str, database: &str) -> Result<Self, Message> {
        Self::login_with(port, password, &[("user", user), ("database", database)])
    }

    /// The same with all of these startup parameters.
    pub fn login_with(port: u16, password: &str, parameters: &[(&str, &str)]) -> Result<Self, Message> {
        let mut client = Self::dial(port);
        client.startup(parameters);
        client.authenticate(password)?;
        loop {
            let message = client.read().expect("the server answers");
            match message.tag {
                b'Z' => return Ok(client),
                b'K' => client.key = message.body.as_slice().try_into().ok(),
                b'E' => return Err(message),
                b'S' | b'N' | b'v' => {}
                tag => panic!("unexpected {:?} before ReadyForQuery", char::from(tag)),
            }
        }
    }

    /// Sends a StartupMessage of protocol 3.0.
    pub fn startup(&mut self, parameters: &[(&str, &str)]) {
        let mut body = 196_608i32.to_be_bytes().to_vec();
        for (name, value) in parameters {
            body.extend_from_slice(name.as_bytes());
            body.push(0);
            body.extend_from_slice(value.as_bytes());
            body.push(0);
        }
        body.push(0);
        self.send_untagged(&body);
    }

    fn authenticate(&mut self, password: &str) -> Result<(), Message> {
        let mut nonce = [0; 18];
        rand::fill(&mut nonce).expect("the system has random bytes");
        let mut scram = Some(ScramClient::new(password, nonce));
        loop {
            let message = self.read().expect("the server answers");
            if message.tag == b'E' {
                return Err(message);
            }
            assert_eq!(message.tag, b'R', "an authentication request");
            let (kind, data) = message.body.split_at(4);
            let client = |scram: &mut Option<ScramClient>| scram.take().expect("the exchange goes on");
            match u32::from_be_bytes(kind.try_into().expect("four bytes")) {
                0 => return Ok(()),
                10 => {
                    let first = scram.as_ref().expect("the exchange begins").first();
                    let mut body = b"SCRAM-SHA-256\0".to_vec();
                    body.extend_from_slice(&i32::try_from(first.len()).expect("short").to_be_bytes());
                    body.extend_from_slice(&first);
                    self.send(b'p', &body);
                }
                11 => {
                    let last = scram
                        .as_mut()
                        .expect("the exchange goes on")
                        .respond(data)
                        .expect("a SCRAM challenge");
                    self.send(b'p', &last);
                }
                12 => client(&mut scram)
                    .verify(data)
                    .expect("the server knows the verifier"),
                other => panic!("authentication request {other} is not SCRAM"),
            }
        }
    }

    /// Sends exactly these bytes.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("linegate reads");
    }

    /// Says nothing more, and listens.
    pub fn say_no_more(&mut self) {
        self.stream
            .shutdown(std::net::Shutdown::Write)
            .expect("the connection is open");
    }

    /// Sends exactly these bytes if the peer still reads.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a message.
    pub fn send(&mut self, tag: u8, body: &[u8]) {
        self.send_bytes(&framed(tag, body));
    }

    fn send_untagged(&mut self, body: &[u8]) {
        let framed = framed(0, body);
        self.send_bytes(&framed[1..]);
    }

    /// Reads one message; an error when the connection ends or nothing comes.
    pub fn read(&mut self) -> io::Result<Message> {
        self.read_at_least(5)?;
        let size = u32::from_be_bytes([self.partial[1], self.partial[2], self.partial[3], self.partial[4]]);
        let whole = usize::try_from(size).expect("64 bits") + 1;
        self.read_at_least(whole)?;
        let message = Message {
            tag: self.partial[0],
            body: self.partial[5..whole].to_vec(),
        };
        self.partial.clear();
        Ok(message)
    }

    /// What has arrived stays for the next call when time runs out.
    fn read_at_least(&mut self, bytes: usize) -> io::Result<()> {
        while self.partial.len() < bytes {
            let mut piece = vec![0; (bytes - self.partial.len()).min(1 << 16)];
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.partial.extend_from_slice(&piece[..count]),
            }
        }
        Ok(())
    }

    /// Reads up to and with ReadyForQuery.
    pub fn read_to_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let message = self.read().unwrap_or_else(|error| {
                panic!("{error} after {:?} {:?}", tags(&messages), error_of(&messages))
            });
            messages.push(message);
            if messages.last().is_some_and(|last| last.tag == b'Z') {
                return messages;
            }
        }
    }

    /// Reads until a message of that tag has come.
    pub fn read_to(&mut self, tag: u8) -> Message {
        loop {
            let message = self
                .read()
                .unwrap_or_else(|error| panic!("no {:?}: {error}", char::from(tag)));
            if message.tag == tag {
                return message;
            }
        }
    }

    /// Reads until the peer ends the connection; what came before.
    pub fn read_to_end(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            match self.read() {
                Ok(message) => messages.push(message),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    panic!("the connection did not end; last were {:?}", tags(&messages))
                }
                Err(_) => return messages,
            }
        }
    }

    /// A Query message and its answer.
    pub fn query(&mut self, sql: &str) -> Vec<Message> {
        self.send_query(sql);
        self.read_to_ready()
    }

    /// A Query message.
    pub fn send_query(&mut self, sql: &str) {
        self.send(b'Q', &c_string(sql));
    }

    /// Whether bytes come within a while.
    pub fn is_quiet_for(&mut self, wait: Duration) -> bool {
        self.stream
            .set_read_timeout(Some(wait))
            .expect("a timeout can be set");
        let quiet = self
            .stream
            .peek(&mut [0])
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        self.stream
            .set_read_timeout(Some(SOON))
            .expect("a timeout can be set");
        quiet
    }

    /// Sends a CancelRequest for this session on a connection of its own.
    pub fn cancel(&self, port: u16) {
        let mut body = 80_877_102i32.to_be_bytes().to_vec();
        body.extend_from_slice(&self.key.expect("BackendKeyData came"));
        Self::dial(port).send_untagged(&body);
    }
}

/// A message as bytes.
pub fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
    let size = i32::try_from(body.len() + 4).expect("a message of less than 2 GiB");
    let mut bytes = vec![tag];
    bytes.extend_from_slice(&size.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Text and its terminator.
pub fn c_string(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// Parse, without parameter types.
pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    parse_typed(name, sql, &[])
}

/// Parse, with its parameters' types by number.
pub fn parse_typed(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = c_string(name);
    body.extend_from_slice(&c_string(sql));
    body.extend_from_slice(&u16::try_from(types.len()).expect("few").to_be_bytes());
    for number in types {
        body.extend_from_slice(&number.to_be_bytes());
    }
    framed(b'P', &body)
}

/// Bind with text parameters; every result column in `format` (0 text, 1 binary).
pub fn bind(portal: &str, name: &str, parameters: &[&str], format: u16) -> Vec<u8> {
    let values: Vec<&[u8]> = parameters.iter().map(|text| text.as_bytes()).collect();
    bind_formats(portal, name, (&[], &values), format)
}

/// The same, with parameters of some formats: none for text, one for all, or one for each.
pub fn bind_formats(portal: &str, name: &str, (formats, values): (&[u16], &[&[u8]]), format: u16) -> Vec<u8> {
    let count = |items: usize| u16::try_from(items).expect("few").to_be_bytes();
    let mut body = c_string(portal);
    body.extend_from_slice(&c_string(name));
    body.extend_from_slice(&count(formats.len()));
    for format in formats {
        body.extend_from_slice(&format.to_be_bytes());
    }
    body.extend_from_slice(&count(values.len()));
    for value in values {
        body.extend_from_slice(&i32::try_from(value.len()).expect("short").to_be_bytes());
        body.extend_from_slice(value);
    }
    body.extend_from_slice(&[0, 1]);
    body.extend_from_slice(&format.to_be_bytes());
    framed(b'B', &body)
}

/// Describe of a portal (`P`) or statement (`S`).
pub fn describe(kind: u8, name: &str) -> Vec<u8> {
    let mut body = vec![kind];
    body.extend_from_slice(&c_string(name));
    framed(b'D', &body)
}

/// Execute, at most `rows` rows (0 is all).
pub fn execute(portal: &str, rows: i32) -> Vec<u8> {
    let mut body = c_string(portal);
    body.extend_from_slice(&rows.to_be_bytes());
    framed(b'E', &body)
}

/// Sync.
pub fn sync() -> Vec<u8> {
    framed(b'S', &[])
}

/// The tags of messages, readable.
pub fn tags(messages: &[Message]) -> String {
    messages.iter().map(|message| char::from(message.tag)).collect()
}

/// SQLSTATE and message of the first ErrorResponse.
pub fn error_of(messages: &[Message]) -> Option<(String, String)> {
    let error = messages.iter().find(|message| message.tag == b'E')?;
    Some((error.field(b'C')?, error.field(b'M')?))
}

/// Every DataRow's cells as text.
pub fn rows(messages: &[Message]) -> Vec<Vec<String>> {
    messages
        .iter()
        .filter(|message| message.tag == b'D')
        .map(Message::text_cells)
        .collect()
}

/// The transaction status of the last ReadyForQuery.
pub fn status(messages: &[Message]) -> Option<char> {
    messages
        .iter()
        .rev()
        .find(|message| message.tag == b'Z')?
        .body
        .first()
        .map(|byte| char::from(*byte))
}
