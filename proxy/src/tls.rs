//! TLS records in our own buffers: rustls' unbuffered state machine, no second copy of what is sent.
//!
//! Received records are decrypted one at a time into the plaintext slab (rustls hands each out as an owned piece); what
//! is sent is encrypted straight into the buffer that is written. Answers that TLS itself owes the peer (key updates)
//! wait in `owed` and go out before the next data.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert, UnbufferedServerConnection};
use rustls::sign::CertifiedKey;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, ServerConfig};

use crate::slab::Ingress;

/// Room that one decrypted record may need.
pub const RECORD_BYTES_MAX: usize = 16 << 10;
/// Room that one encrypted record may need: header, inner type, tag, and TLS 1.2's explicit nonce.
pub const SEALED_BYTES_MAX: usize = RECORD_BYTES_MAX + 256;

/// What both sides name in the handshake, so that nobody takes one protocol's bytes for another's (RFC 7301; IANA's registry).
pub const ALPN: &[u8] = b"postgresql";

/// What a client said in its handshake.
#[derive(Debug, Default)]
pub struct Hello {
    /// The server name it asked for, small letters.
    pub server_name: Option<String>,
    /// Whether both sides named [`ALPN`].
    pub is_postgresql: bool,
    /// Its certificate and what stands between that and an authority. It holds the key; nothing else is known.
    pub certificates: Vec<CertificateDer<'static>>,
}

thread_local! {
    /// The server name of the handshake that is under way on this thread: rustls' unbuffered connection does not keep it.
    static ASKED_FOR: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Certificates by the server name that a client asks for, and one for all others. Hears what they ask for.
#[derive(Debug)]
pub struct Certificates {
    /// For names that have none of their own, and clients that say none.
    pub rest: Arc<Shown>,
    /// By name, small letters.
    pub own: HashMap<String, Arc<Shown>>,
}

/// One certificate with its key.
#[derive(Debug)]
pub struct Shown {
    /// As rustls has it.
    pub certified: Arc<CertifiedKey>,
    /// What SCRAM can be bound to where it was shown.
    pub end_point: Option<Vec<u8>>,
}

impl Certificates {
    /// The one for a client.
    pub fn of(&self, server_name: Option<&str>) -> &Shown {
        let own = server_name.and_then(|name| self.own.get(name));
        own.unwrap_or(&self.rest)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(|name| {
            let name = name.strip_suffix('.').unwrap_or(name);
            name.to_ascii_lowercase()
        });
        let found = self.of(name.as_deref()).certified.clone();
        ASKED_FOR.set(name);
        Some(found)
    }
}

/// Records on their way out. The memory is cleared when it is new, and written over from then on.
#[derive(Default)]
pub struct Sealed {
    bytes: Vec<u8>,
    used: usize,
}

impl Sealed {
    /// Forgets what was in it.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Puts bytes behind what is in it.
    pub fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.used += bytes.len();
    }

    /// Memory, and how much of it is to be written.
    pub fn into_parts(self) -> (Vec<u8>, usize) {
        (self.bytes, self.used)
    }

    /// The memory comes back.
    pub fn reuse(bytes: Vec<u8>) -> Self {
        Self { bytes, used: 0 }
    }

    fn room(&mut self, bytes: usize) -> &mut [u8] {
        let end = self.used + bytes;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.used..end]
    }
}

enum Side {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// One connection's TLS state, shared by its two halves.
pub struct Tls {
    side: Side,
    owed: Vec<u8>,
    early: Vec<u8>,
    closed: bool,
    /// The peer broke the protocol: after its fatal alert a connection says nothing more.
    failed: bool,
}

/// Whether the last of these records is an alert: of its own type, or in TLS 1.3 sealed, which no handshake message is as
/// short as (RFC 8446, sections 5.1, 5.2 and 6).
fn ends_with_alert(mut records: &[u8]) -> bool {
    const ALERT: u8 = 21;
    const SEALED: u8 = 23;
    const SEALED_ALERT_BYTES: usize = 2 + 1 + 16;
    let mut is_alert = false;
    while let Some((&[kind, _, _, high, low], rest)) = records.split_first_chunk() {
        let bytes = usize::from(u16::from_be_bytes([high, low]));
        is_alert = kind == ALERT || kind == SEALED && bytes == SEALED_ALERT_BYTES;
        records = rest.get(bytes..).unwrap_or_default();
    }
    is_alert
}

/// What one turn of the state machine came to.
enum Turn {
    /// Something moved; turn again.
    Again,
    /// Bytes from the peer are needed.
    Blocked,
    /// `owed` must be sent before anything else moves.
    Transmit,
    /// The handshake is over and nothing is waiting.
    Ready,
    /// The peer said goodbye.
    Closed,
}

/// What a turn may touch.
enum Work<'a> {
    Read(&'a mut Ingress),
    Write(&'a [u8], &'a mut Sealed),
    Goodbye(&'a mut Sealed),
    Handshake,
}

impl Tls {
    /// The client's side towards a server of that name.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        let connection = UnbufferedClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self {
            side: Side::Client(Box::new(connection)),
            owed: Vec::new(),
            early: Vec::new(),
            closed: false,
            failed: false,
        })
    }

    /// The server's side.
    pub fn server(config: Arc<ServerConfig>) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self {
            side: Side::Server(Box::new(connection)),
            owed: Vec::new(),
            early: Vec::new(),
            closed: false,
            failed: false,
        })
    }

    fn common(&self) -> &CommonState {
        match &self.side {
            Side::Client(client) => client,
            Side::Server(server) => server,
        }
    }

    /// The certificate that the peer showed.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.common().peer_certificates()?.first()
    }

    /// Bytes that must be written to the peer now.
    pub fn take_owed(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.owed)
    }

    /// Moves the handshake on with what has arrived; `hello` takes down what the peer says. True when it is over.
    pub fn handshake(&mut self, cipher: &mut Ingress, hello: &mut Hello) -> io::Result<bool> {
        loop {
            ASKED_FOR.take();
            let turn = self.turn(cipher, Work::Handshake)?;
            if let Some(name) = ASKED_FOR.take() {
                hello.server_name = Some(name);
            }
            match turn {
                Turn::Again => {}
                Turn::Ready => {
                    hello.is_postgresql = self.common().alpn_protocol() == Some(ALPN);
                    hello.certificates = self.common().peer_certificates().unwrap_or_default().to_vec();
                    return Ok(true);
                }
                Turn::Blocked | Turn::Transmit => return Ok(false),
                Turn::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// What is left to say to the peer after the handshake failed.
    pub fn take_alert(&mut self, cipher: &mut Ingress) -> Vec<u8> {
        // rustls hands out what it still has to say, the alert last; behind that it must not be asked again.
        let mut owed = usize::MAX;
        while owed != self.owed.len() && !ends_with_alert(&self.owed) {
            owed = self.owed.len();
            if self.turn(cipher, Work::Handshake).is_err() {
                break;
            }
        }
        self.take_owed()
    }

    /// Decrypts what has arrived into `plain`, as far as whole records and room go. False at the end of the stream.
    pub fn decrypt(&mut self, cipher: &mut Ingress, plain: &mut Ingress) -> io::Result<bool> {
        let early = plain.append(&self.early);
        self.early.drain(..early);
        while !self.closed && self.early.is_empty() && plain.room() >= RECORD_BYTES_MAX {
            match self.turn(cipher, Work::Read(plain))? {
                Turn::Again | Turn::Transmit => {}
                Turn::Blocked | Turn::Ready => break,
                Turn::Closed => self.closed = true,
            }
        }
        Ok(!self.closed || !plain.data().is_empty())
    }

    /// Encrypts `data` behind what is already in `out`.
    pub fn encrypt(&mut self, data: &[u8], out: &mut Sealed) -> io::Result<()> {
        self.put(Some(data), out)
    }

    /// Puts the close_notify alert behind what is already in `out`: without it, a peer takes the end of the stream for a cut.
    pub fn goodbye(&mut self, out: &mut Sealed) -> io::Result<()> {
        self.put(None, out)
    }

    fn put(&mut self, data: Option<&[u8]>, out: &mut Sealed) -> io::Result<()> {
        if self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut nothing: [u8; 0] = [];
        loop {
            let work = match data {
                Some(data) => Work::Write(data, &mut *out),
                None => Work::Goodbye(&mut *out),
            };
            let status = match &mut self.side {
                Side::Client(client) => act(
                    client.process_tls_records(&mut nothing),
                    work,
                    &mut self.owed,
                    &mut self.early,
                ),
                Side::Server(server) => act(
                    server.process_tls_records(&mut nothing),
                    work,
                    &mut self.owed,
                    &mut self.early,
                ),
            }?;
            match status.0 {
                Turn::Ready => return Ok(()),
                Turn::Again | Turn::Transmit => {}
                Turn::Blocked | Turn::Closed => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }

    fn turn(&mut self, cipher: &mut Ingress, work: Work<'_>) -> io::Result<Turn> {
        let acted = match &mut self.side {
            Side::Client(client) => act(
                client.process_tls_records(cipher.data_mut()),
                work,
                &mut self.owed,
                &mut self.early,
            ),
            Side::Server(server) => act(
                server.process_tls_records(cipher.data_mut()),
                work,
                &mut self.owed,
                &mut self.early,
            ),
        };
        self.failed |= acted.is_err();
        let (turn, discard) = acted?;
        cipher.consume(discard);
        // A turn that ate bytes has moved, even when the state says that it waits.
        Ok(if discard > 0 && matches!(turn, Turn::Blocked) {
            Turn::Again
        } else {
            turn
        })
    }
}

fn act<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    work: Work<'_>,
    owed: &mut Vec<u8>,
    early: &mut Vec<u8>,
) -> io::Result<(Turn, usize)> {
    let mut discard = status.discard;
    let state = status
        .state
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let turn = match (state, work) {
        (ConnectionState::ReadTraffic(mut traffic), Work::Read(plain)) => {
            while plain.room() >= RECORD_BYTES_MAX
                && let Some(record) = traffic.next_record()
            {
                let record = record.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                plain.append(record.payload);
                discard += record.discard;
            }
            Turn::Again
        }
        (ConnectionState::ReadTraffic(mut traffic), work) => {
            // Data that arrives with the end of the handshake, or while something is being sent, is kept for the reader.
            while let Some(record) = traffic.next_record() {
                let record = record.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                early.extend_from_slice(record.payload);
                discard += record.discard;
            }
            if matches!(work, Work::Handshake) {
                Turn::Ready
            } else {
                Turn::Again
            }
        }
        (ConnectionState::EncodeTlsData(mut data), _) => {
            let at = owed.len();
            let needed = match data.encode(&mut []) {
                Err(EncodeError::InsufficientSize(size)) => size.required_size,
                Ok(_) | Err(EncodeError::AlreadyEncoded) => 0,
            };
            owed.resize(at + needed, 0);
            data.encode(&mut owed[at..]).map_err(io::Error::other)?;
            Turn::Again
        }
        (ConnectionState::TransmitTlsData(data), _) => {
            data.done(); // `owed` is sent before anything that is encrypted after it
            Turn::Transmit
        }
        (ConnectionState::WriteTraffic(mut traffic), Work::Write(data, out)) => {
            let records = data.len().div_ceil(RECORD_BYTES_MAX);
            let bytes = data.len() + records * (SEALED_BYTES_MAX - RECORD_BYTES_MAX);
            let written = match traffic.encrypt(data, out.room(bytes)) {
                Ok(written) => written,
                Err(EncryptError::InsufficientSize(size)) => {
                    let room = out.room(size.required_size);
                    traffic.encrypt(data, room).map_err(io::Error::other)?
                }
                Err(error) => return Err(io::Error::other(error)),
            };
            out.used += written;
            Turn::Ready
        }
        (ConnectionState::WriteTraffic(mut traffic), Work::Goodbye(out)) => {
            let room = out.room(SEALED_BYTES_MAX - RECORD_BYTES_MAX);
            out.used += traffic.queue_close_notify(room).map_err(io::Error::other)?;
            Turn::Ready
        }
        (ConnectionState::WriteTraffic(_), _) => Turn::Ready,
        (ConnectionState::BlockedHandshake, _) => Turn::Blocked,
        // Who has said that nothing more comes may still be told something; when both have said so, nobody may.
        (ConnectionState::PeerClosed, Work::Write(..) | Work::Goodbye(_)) => Turn::Again,
        (ConnectionState::PeerClosed | ConnectionState::Closed, _) => Turn::Closed,
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "early data was not offered",
            ));
        }
    };
    Ok((turn, discard))
}
