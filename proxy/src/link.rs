//! A link: one side of a session, plain or TLS, as two halves that two tasks use at once.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use crate::rt::{
    self,
    net::{Reader, Stream, Switch, Writer},
};
use crate::slab::{Ingress, Pool};
use crate::tls::{Hello, RECORD_BYTES_MAX, SEALED_BYTES_MAX, Sealed, Tls};

/// As much is encrypted before it is written: what the kernel copies is then still near, and no session holds as much again as
/// it reads at once.
const SEALED_AT_ONCE_BYTES: usize = 256 << 10;
const _: () = assert!(
    SEALED_AT_ONCE_BYTES.is_multiple_of(RECORD_BYTES_MAX),
    "whole records"
);

/// The half that bytes come from.
pub struct LinkReader {
    reader: Reader,
    tls: Option<(Rc<RefCell<Tls>>, Ingress)>,
    pool: Rc<Pool>,
    pace: Pace,
}

/// How often a peer says something. While it does so seldom, it is waited for without a slab, which costs an operation more.
#[derive(Default)]
struct Pace {
    /// Reads since the session began, or since one took long.
    reads: u8,
    is_session: bool,
}

impl Pace {
    /// From so many reads in a row on, each is expected soon.
    const OFTEN: u8 = 4;
    /// What took longer is seldom.
    const LONG: Duration = Duration::from_secs(1);

    /// A login is a conversation, and so is the first statement: it is why somebody came.
    fn is_seldom(&self) -> bool {
        self.is_session && (1..Self::OFTEN).contains(&self.reads)
    }

    fn took(&mut self, time: Duration) {
        self.reads = match time < Self::LONG {
            true => self.reads.saturating_add(1),
            false => 1,
        };
    }
}

/// The half that bytes go to.
pub struct LinkWriter {
    writer: Writer,
    tls: Option<Box<(Rc<RefCell<Tls>>, Sealed)>>,
}

/// A whole link, before its session splits it.
pub struct Link {
    /// Its reading half.
    pub reader: LinkReader,
    /// Its writing half.
    pub writer: LinkWriter,
    /// Ends it from anywhere.
    pub switch: Switch,
}

impl Link {
    /// A plain link.
    pub fn new(stream: Stream, pool: Rc<Pool>) -> io::Result<Self> {
        let (reader, writer, switch) = stream.split()?;
        Ok(Self {
            reader: LinkReader {
                reader,
                tls: None,
                pool,
                pace: Pace::default(),
            },
            writer: LinkWriter { writer, tls: None },
            switch,
        })
    }

    /// Whether TLS protects it.
    pub fn is_tls(&self) -> bool {
        self.writer.tls.is_some()
    }

    /// The digest that SCRAM binds to over this link: of the peer's certificate, if TLS protects it and has one.
    pub fn peer_end_point(&self) -> Option<Vec<u8>> {
        let tls = self.writer.tls.as_ref()?.0.borrow();
        linegate_identity::end_point(tls.peer_certificate()?)
    }

    /// Does the TLS handshake; everything after it is encrypted. `cipher` holds what was read of it already, which is nothing
    /// where the protocol itself said that TLS begins.
    pub async fn start_tls(&mut self, mut tls: Tls, mut cipher: Ingress) -> io::Result<Hello> {
        let mut hello = Hello::default();
        loop {
            let done = match tls.handshake(&mut cipher, &mut hello) {
                Ok(done) => done,
                Err(error) => {
                    // The peer is told why, as far as TLS has words for it.
                    let alert = tls.take_alert(&mut cipher);
                    let _ = self.writer.writer.write_vec(alert).await;
                    return Err(error);
                }
            };
            let owed = tls.take_owed();
            if !owed.is_empty() {
                self.writer.writer.write_vec(owed).await.0?;
                if !done {
                    continue;
                }
            }
            if done {
                break;
            }
            if !cipher.prepare(&self.reader.pool, SEALED_BYTES_MAX) || cipher.room() == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a TLS handshake message is too long",
                ));
            }
            let (read, back) = self.reader.reader.fill(cipher).await;
            cipher = back;
            if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let tls = Rc::new(RefCell::new(tls));
        if cipher.data().is_empty() {
            cipher = Ingress::default();
        }
        self.reader.tls = Some((tls.clone(), cipher));
        self.writer.tls = Some(Box::new((tls, Sealed::default())));
        Ok(hello)
    }
}

impl LinkReader {
    /// The login is over: from now on the peer may be silent for long.
    pub fn begin_session(&mut self) {
        self.pace = Pace {
            reads: 0,
            is_session: true,
        };
    }

    /// Whether something has arrived already that nobody has read.
    pub fn holds_more(&self) -> bool {
        self.tls.as_ref().is_some_and(|(_, held)| !held.data().is_empty())
    }

    /// Whether the peer says something so seldom that nothing is worth keeping for the next time.
    pub fn is_seldom(&self) -> bool {
        self.pace.is_seldom()
    }

    /// Gives up what it keeps for the next read; `false` when that holds something nobody has taken.
    pub fn rest(&mut self) -> bool {
        let Some((_, held)) = &mut self.tls else {
            return true;
        };
        let is_drained = held.data().is_empty();
        if is_drained {
            *held = Ingress::default();
        }
        is_drained
    }

    /// Reads once so that `ingress` holds more than before; `needed` is how much it must be able to hold in all.
    /// `Ok(0)` is the end of the stream. At the pool's cap it waits for slabs to come back.
    pub async fn fill(&mut self, mut ingress: Ingress, needed: usize) -> (io::Result<usize>, Ingress) {
        let since = rt::beats();
        let is_drained = self.tls.as_ref().is_none_or(|(_, held)| held.data().is_empty());
        if self.pace.is_seldom() && is_drained && ingress.data().is_empty() {
            ingress = Ingress::default();
            self.rest();
            if let Err(error) = self.reader.readable().await {
                return (Err(error), ingress);
            }
        }
        let filled = self.fill_now(ingress, needed).await;
        self.pace.took(rt::BEAT * rt::beats().wrapping_sub(since));
        filled
    }

    async fn fill_now(&mut self, mut ingress: Ingress, needed: usize) -> (io::Result<usize>, Ingress) {
        let needed = if self.tls.is_some() {
            needed.max(ingress.data().len() + RECORD_BYTES_MAX)
        } else {
            needed
        };
        while !ingress.prepare(&self.pool, needed) {
            crate::rt::sleep(std::time::Duration::from_millis(2)).await;
        }
        match &mut self.tls {
            None => self.reader.fill(ingress).await,
            Some((tls, held)) => {
                let mut cipher = std::mem::take(held);
                let before = ingress.data().len();
                let result = loop {
                    let opened = tls.borrow_mut().decrypt(&mut cipher, &mut ingress);
                    let arrived = ingress.data().len() - before;
                    match opened {
                        Err(error) => break Err(error),
                        Ok(false) => break Ok(0),
                        Ok(true) if arrived > 0 => break Ok(arrived),
                        Ok(true) => {}
                    }
                    while !cipher.prepare(&self.pool, SEALED_BYTES_MAX.max(cipher.data().len() + 1)) {
                        crate::rt::sleep(std::time::Duration::from_millis(2)).await;
                    }
                    let (read, back) = self.reader.fill(cipher).await;
                    cipher = back;
                    match read {
                        Ok(0) => break Ok(0),
                        Ok(_) => {}
                        Err(error) => break Err(error),
                    }
                };
                // The slab for ciphertext stays only while it holds something or a stream is running.
                if !cipher.data().is_empty() || matches!(result, Ok(bytes) if bytes >= RECORD_BYTES_MAX) {
                    *held = cipher;
                }
                (result, ingress)
            }
        }
    }
}

impl LinkWriter {
    /// Gives up what it keeps for the next write.
    pub fn rest(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.1 = Sealed::default();
        }
    }

    /// Writes `range` of the data in `ingress`.
    pub async fn write_span(&mut self, ingress: Ingress, range: Range<usize>) -> (io::Result<()>, Ingress) {
        match &mut self.tls {
            None => self.writer.write_span(ingress, range).await,
            Some(sealing) => {
                let (tls, sealed) = &mut **sealing;
                let mut at = range.start;
                loop {
                    let end = range.end.min(at + SEALED_AT_ONCE_BYTES);
                    let result = match seal(tls, &ingress.data()[at..end], sealed) {
                        Ok(()) => write_sealed(&mut self.writer, sealed).await,
                        Err(error) => Err(error),
                    };
                    if result.is_err() || end == range.end {
                        return (result, ingress);
                    }
                    at = end;
                }
            }
        }
    }

    /// Writes all of `bytes`, which come back empty for reuse.
    pub async fn write_vec(&mut self, mut bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        match &mut self.tls {
            None => {
                let (result, mut back) = self.writer.write_vec(bytes).await;
                back.clear();
                (result, back)
            }
            Some(sealing) => {
                let (tls, sealed) = &mut **sealing;
                let done = seal(tls, &bytes, sealed);
                bytes.clear();
                let result = match done {
                    Ok(()) => write_sealed(&mut self.writer, sealed).await,
                    Err(error) => Err(error),
                };
                (result, bytes)
            }
        }
    }

    /// Says that nothing more comes, with TLS's own goodbye first. Only where little was written before: it waits for room as any write does.
    pub async fn farewell(&mut self) {
        if let Some(sealing) = &mut self.tls {
            let (tls, sealed) = &mut **sealing;
            sealed.clear();
            let said = {
                let mut tls = tls.borrow_mut();
                sealed.push(&tls.take_owed());
                tls.goodbye(sealed)
            };
            if said.is_ok() {
                let _ = write_sealed(&mut self.writer, sealed).await;
            }
        }
        self.writer.finish().await;
    }
}

/// Encrypts `data`, behind what TLS itself owes the peer.
fn seal(tls: &Rc<RefCell<Tls>>, data: &[u8], out: &mut Sealed) -> io::Result<()> {
    out.clear();
    let mut tls = tls.borrow_mut();
    out.push(&tls.take_owed());
    tls.encrypt(data, out)
}

/// Writes what was encrypted; the memory comes back for the next time.
async fn write_sealed(writer: &mut Writer, sealed: &mut Sealed) -> io::Result<()> {
    let (bytes, used) = std::mem::take(sealed).into_parts();
    let (written, back) = writer.write_part(bytes, used).await;
    *sealed = Sealed::reuse(back);
    written
}
