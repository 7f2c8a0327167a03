//! Plays a case against a running linegate and judges what comes back.
//!
//! Whatever was sent: within [`PATIENCE`] the connection ends or what follows is answered; what is said is made of whole
//! messages of the protocol; and nothing labelled is among it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{Case, Door, End};
use crate::wire::{c_string, framed, sync};
use crate::{Lease, RawClient, shop};

/// How long linegate may take to answer or to end a connection.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// A session is used for so many cases if it lives that long.
const USES_MAX: u32 = 25;

/// What cases are played against.
pub struct Ground {
    /// The target's door.
    pub port: u16,
    /// A lease under a mask that may read.
    pub reader: Lease,
    /// A lease that may do anything.
    pub owner: Lease,
    /// How clients encrypt.
    pub tls: Arc<ClientConfig>,
}

/// Sessions that lived through their last case.
#[derive(Default)]
pub struct Kept {
    reader: Option<(RawClient, u32)>,
    owner: Option<(RawClient, u32)>,
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// What followed was answered.
    Answered,
    /// The connection ended, with an ErrorResponse.
    Refused,
    /// The connection ended without one.
    Ended,
    /// The client did not wait.
    Left,
}

/// A connection, encrypted or not.
enum Line {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Line {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    fn half_close(&mut self) {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
            let _gone = stream.flush();
        }
        let _gone = self.socket().shutdown(Shutdown::Write);
    }

    /// Reads what there is; 0 is the end, however it came. `None` when nothing came in time.
    fn read(&mut self, into: &mut [u8]) -> Option<usize> {
        let read = match self {
            Self::Plain(socket) => socket.read(into),
            Self::Tls(stream) => stream.read(into),
        };
        match read {
            Ok(bytes) => Some(bytes),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => None,
            Err(_) => Some(0),
        }
    }
}

/// Plays a case; what went wrong, if anything did.
pub fn play(ground: &Ground, case: &Case, kept: &mut Kept) -> Result<Outcome, String> {
    match case.door {
        Door::Reader => in_session(ground, case, &ground.reader, &mut kept.reader),
        Door::Owner => in_session(ground, case, &ground.owner, &mut kept.owner),
        Door::First | Door::Handshake | Door::InTls | Door::Sasl => before_login(ground, case),
    }
}

fn dial(port: u16) -> Result<TcpStream, String> {
    let socket =
        TcpStream::connect(("127.0.0.1", port)).map_err(|error| format!("it does not accept: {error}"))?;
    let said = "a socket option can be set";
    socket.set_nodelay(true).expect(said);
    socket.set_read_timeout(Some(PATIENCE)).expect(said);
    socket.set_write_timeout(Some(PATIENCE)).expect(said);
    Ok(socket)
}

fn before_login(ground: &Ground, case: &Case) -> Result<Outcome, String> {
    let mut line = Line::Plain(dial(ground.port)?);
    if matches!(case.door, Door::Handshake | Door::InTls) {
        line.send(&[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f])
            .map_err(|error| format!("an SSLRequest is not read: {error}"))?;
        let mut answer = [0];
        if line.read(&mut answer) != Some(1) || answer != *b"S" {
            return Err(format!("an SSLRequest is answered with {answer:?}"));
        }
    }
    if let (Door::InTls, Line::Plain(socket)) = (case.door, &line) {
        let name = ServerName::try_from("localhost").expect("a name");
        let client = ClientConnection::new(ground.tls.clone(), name).expect("a configuration");
        let socket = socket.try_clone().map_err(|error| error.to_string())?;
        let mut stream = StreamOwned::new(client, socket);
        while stream.conn.is_handshaking() {
            stream
                .conn
                .complete_io(&mut stream.sock)
                .map_err(|error| format!("a TLS handshake fails: {error}"))?;
        }
        line = Line::Tls(Box::new(stream));
    }
    if case.door == Door::Sasl {
        let body = [
            &196_608i32.to_be_bytes()[..],
            b"user\0",
            ground.reader.username.as_bytes(),
            b"\0\0",
        ]
        .concat();
        let startup = framed(0, &body);
        line.send(&startup[1..])
            .map_err(|error| format!("a startup packet is not read: {error}"))?;
        skip_message(&mut line)?;
    }
    for (part, piece) in case.pieces.iter().enumerate() {
        if case.door == Door::Sasl && part > 0 {
            skip_message(&mut line)?;
        }
        if line.send(piece).is_err() {
            break; // it has ended the connection already
        }
    }
    finish(&mut line, case, &[], None)
}

/// Reads one message, whatever it is.
fn skip_message(line: &mut Line) -> Result<(), String> {
    let mut held = Vec::new();
    let mut piece = [0; 512];
    loop {
        if held.len() >= 5 {
            let size = u32::from_be_bytes([held[1], held[2], held[3], held[4]]);
            if held.len() > usize::try_from(size).expect("64 bits") {
                return Ok(());
            }
        }
        match line.read(&mut piece) {
            None => return Err("linegate says nothing during a login".to_owned()),
            Some(0) => return Ok(()),
            Some(bytes) => held.extend_from_slice(&piece[..bytes]),
        }
    }
}

fn in_session(
    ground: &Ground,
    case: &Case,
    lease: &Lease,
    kept: &mut Option<(RawClient, u32)>,
) -> Result<Outcome, String> {
    let (client, uses) = match kept.take() {
        Some(kept) => kept,
        None => {
            let client = RawClient::try_login(ground.port, &lease.username, &lease.password, "shop");
            let refused =
                |error: crate::Message| format!("a fresh login is refused: {:?}", error.field(b'M'));
            (client.map_err(refused)?, 0)
        }
    };
    let socket = client.socket().try_clone().map_err(|error| error.to_string())?;
    socket
        .set_read_timeout(Some(PATIENCE))
        .map_err(|error| error.to_string())?;
    let mut line = Line::Plain(socket);
    for piece in &case.pieces {
        if line.send(piece).is_err() {
            break;
        }
    }
    let marker = format!("case-{}", case.number);
    let tail = [
        sync(),
        framed(b'Q', &c_string("ROLLBACK")),
        framed(b'Q', &c_string(&format!("SELECT '{marker}'"))),
    ]
    .concat();
    let outcome = finish(&mut line, case, &tail, Some(marker.as_bytes()))?;
    if outcome == Outcome::Answered && uses < USES_MAX {
        *kept = Some((client, uses + 1));
    }
    Ok(outcome)
}

/// Says what follows the case, and reads to the answer or the end.
fn finish(line: &mut Line, case: &Case, tail: &[u8], marker: Option<&[u8]>) -> Result<Outcome, String> {
    match case.end {
        End::Reset => {
            let _gone = rustix::net::sockopt::set_socket_linger(line.socket(), Some(Duration::ZERO));
            return Ok(Outcome::Left);
        }
        End::HalfClose => line.half_close(),
        End::Answer => drop(line.send(tail)),
    }
    let marker = marker.filter(|_| case.end == End::Answer);
    let (said, outcome) = listen(line, marker)?;
    judge(case, &said)?;
    Ok(match outcome {
        Outcome::Ended if has_error(&said) => Outcome::Refused,
        other => other,
    })
}

fn listen(line: &mut Line, marker: Option<&[u8]>) -> Result<(Vec<u8>, Outcome), String> {
    let deadline = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    let mut piece = vec![0; 1 << 14];
    loop {
        match line.read(&mut piece) {
            None => return Err(hung(&said)),
            Some(0) => return Ok((said, Outcome::Ended)),
            Some(bytes) => said.extend_from_slice(&piece[..bytes]),
        }
        if Instant::now() > deadline {
            return Err(hung(&said));
        }
        if let Some(marker) = marker
            && said.ends_with(b"Z\0\0\0\x05I")
            && contains(&said[said.len().saturating_sub(200)..], marker)
        {
            return Ok((said, Outcome::Answered));
        }
    }
}

fn hung(said: &[u8]) -> String {
    let seconds = PATIENCE.as_secs();
    format!(
        "neither an answer nor an end within {seconds} s; so far {}",
        shown(said)
    )
}

/// Whether what linegate said may have been said.
fn judge(case: &Case, said: &[u8]) -> Result<(), String> {
    for value in shop::CARDS.iter().chain(&shop::SSNS) {
        // A lease under no mask may see them.
        if case.door != Door::Owner && contains(said, value.as_bytes()) {
            return Err(format!("a labelled value is among what came: {}", shown(said)));
        }
    }
    if !matches!(case.door, Door::Reader | Door::Owner) {
        return Ok(()); // single letters and TLS records come before messages do
    }
    let mut rest = said;
    while let [tag, a, b, c, d, ..] = rest {
        let size = u32::from_be_bytes([*a, *b, *c, *d]);
        let is_known = b"123ACDEGHINSTVWZcdnst".contains(tag);
        if !is_known || !(4..1 << 20).contains(&size) {
            return Err(format!(
                "what came is not of the protocol from here on: {}",
                shown(rest)
            ));
        }
        let whole = usize::try_from(size).expect("64 bits") + 1;
        match rest.get(whole..) {
            Some(after) => rest = after,
            None => break, // the connection ended within a message
        }
    }
    Ok(())
}

fn has_error(said: &[u8]) -> bool {
    contains(said, b"\0VFATAL\0") || contains(said, b"\0VERROR\0")
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The end of what came, readable.
pub fn shown(bytes: &[u8]) -> String {
    let from = bytes.len().saturating_sub(300);
    let more = if from > 0 { "… " } else { "" };
    format!(
        "{} bytes: {more}\"{}\"",
        bytes.len(),
        bytes[from..].escape_ascii()
    )
}
