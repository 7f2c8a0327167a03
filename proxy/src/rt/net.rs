//! Sockets: listeners, connections and their two halves, over our own buffers.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::{ListenerOpts, TcpListener, TcpStream};

use crate::slab::Ingress;

struct Tail(Ingress, Cell<bool>);

// SAFETY: the pointer stays valid while the value lives: the slab's memory never moves when `Ingress` does.
unsafe impl IoBufMut for Tail {
    fn write_ptr(&mut self) -> *mut u8 {
        self.0.tail().0
    }
    fn bytes_total(&mut self) -> usize {
        self.0.tail().1
    }
    unsafe fn set_init(&mut self, pos: usize) {
        // Called once, with what the kernel delivered; an empty delivery is the end of the stream.
        if pos > 0 && !self.1.replace(true) {
            self.0.filled(pos);
        }
    }
}

struct Span(Ingress, Range<usize>);

// SAFETY: as for `Tail`; the range was checked against the data when the span was made.
unsafe impl IoBuf for Span {
    fn read_ptr(&self) -> *const u8 {
        self.0.span(&self.1)
    }
    fn bytes_init(&self) -> usize {
        self.1.len()
    }
}

/// A listening socket of this core; the kernel spreads connections over all cores that listen on the same address.
pub struct Listener(TcpListener);

impl Listener {
    /// Listens with SO_REUSEPORT.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let options = ListenerOpts::new()
            .reuse_port(true)
            .reuse_addr(true)
            .backlog(4096);
        TcpListener::bind_with_config(address, &options).map(Self)
    }

    /// The address it got.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Stream(stream), peer))
    }
}

/// A connection.
pub struct Stream(TcpStream);

impl Stream {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_addr(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// The two halves and a switch that ends both.
    pub fn split(self) -> io::Result<(Reader, Writer, Switch)> {
        let fd = self.0.as_raw_fd();
        // SAFETY: the descriptor is open: `self` owns it until the end of this function.
        let own: OwnedFd = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
        let (read, write) = self.0.into_split();
        Ok((Reader(read), Writer(write), Switch(Rc::new(own))))
    }
}

/// Ends a connection from another task: pending reads and writes complete, and the session unwinds in order.
#[derive(Clone)]
pub struct Switch(Rc<OwnedFd>);

impl Switch {
    /// Shuts both directions down.
    pub fn off(&self) {
        let _ = rustix::net::shutdown(self.0.as_fd(), rustix::net::Shutdown::Both);
    }

    /// Whether the peer has closed its end or the connection is broken, whatever it sent before.
    pub fn peer_has_left(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut fds = [PollFd::new(&*self.0, gone)];
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut fds, Some(&now)), Ok(1..)) && fds[0].revents().intersects(gone)
    }

    /// Shuts the reading direction down: what was written still goes out.
    pub fn no_more_reads(&self) {
        let _ = rustix::net::shutdown(self.0.as_fd(), rustix::net::Shutdown::Read);
    }
}

/// The reading half.
pub struct Reader(OwnedReadHalf<TcpStream>);

impl Reader {
    /// Reads once into the tail of `ingress`; 0 is the end of the stream.
    pub async fn fill(&mut self, ingress: Ingress) -> (io::Result<usize>, Ingress) {
        let (read, tail) = self.0.read(Tail(ingress, Cell::new(false))).await;
        (read, tail.0)
    }
}

/// The writing half.
pub struct Writer(OwnedWriteHalf<TcpStream>);

impl Writer {
    /// Writes `range` of the data in `ingress`, all of it.
    pub async fn write_span(&mut self, ingress: Ingress, range: Range<usize>) -> (io::Result<()>, Ingress) {
        let mut span = Span(ingress, range);
        while !span.1.is_empty() {
            let (written, back) = self.0.write(span).await;
            span = back;
            match written {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), span.0),
                Ok(bytes) => span.1.start += bytes,
                Err(error) => return (Err(error), span.0),
            }
        }
        (Ok(()), span.0)
    }

    /// Writes all of `bytes`, which come back for reuse.
    pub async fn write_vec(&mut self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let (mut bytes, mut done) = (bytes, 0);
        while done < bytes.len() {
            let (written, back) = self.0.write(bytes.slice(done..)).await;
            bytes = back.into_inner();
            match written {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), bytes),
                Ok(count) => done += count,
                Err(error) => return (Err(error), bytes),
            }
        }
        (Ok(()), bytes)
    }

    /// Says that nothing more comes.
    pub async fn finish(&mut self) {
        let _ = self.0.shutdown().await;
    }
}
