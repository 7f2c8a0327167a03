//! Sockets: listeners, connections and their two halves, over our own buffers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::{ListenerOpts, TcpListener, TcpStream, UnixListener, UnixStream};

use super::{Driver, pacing};
use crate::slab::Ingress;

/// Who writes so much at once writes more.
const STREAM_BYTES: usize = 128 << 10;

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

/// What can be written from.
///
/// # Safety
///
/// The bytes stay where they are, and stay initialised, when the value moves and for as long as it lives unchanged.
unsafe trait Fixed: Unpin + 'static {
    fn bytes(&self) -> &[u8];
}

// SAFETY: the bytes are in a slab of their own, which only its pool takes back.
unsafe impl Fixed for Ingress {
    fn bytes(&self) -> &[u8] {
        self.data()
    }
}

// SAFETY: a vector's bytes are on the heap.
unsafe impl Fixed for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// Bytes from one to another, with what they are in; what is written at once is shorter than 4 GiB.
struct Piece<T>(T, u32, u32);

// SAFETY: what is `Fixed` keeps its bytes where they are. The range is checked against them whenever it is asked for.
unsafe impl<T: Fixed> IoBuf for Piece<T> {
    fn read_ptr(&self) -> *const u8 {
        self.0.bytes()[self.1 as usize..self.2 as usize].as_ptr()
    }
    fn bytes_init(&self) -> usize {
        (self.2 - self.1) as usize
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address; an IPv4 one is written so even where the socket speaks IPv6.
    Tcp(SocketAddr),
    /// A process of this machine, as the kernel names it.
    Unix {
        /// Its user.
        user_id: u32,
        /// Its process; 0 where it cannot be seen from here.
        process_id: i32,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { user_id, process_id } => write!(f, "unix:uid={user_id},pid={process_id}"),
        }
    }
}

/// Where a server can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address.
    Tcp(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
}

/// A listening socket.
pub enum Listener {
    /// This core's own; the kernel spreads connections over all cores that listen on the same address.
    Tcp(TcpListener),
    /// One that all cores take connections from.
    Unix(UnixListener),
}

/// The descriptor, for as long as its owner is borrowed.
fn borrowed(owner: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: the owner keeps it open.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}

impl Listener {
    /// Listens with SO_REUSEPORT.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let options = ListenerOpts::new()
            .reuse_port(true)
            .reuse_addr(true)
            .backlog(4096);
        let listener = TcpListener::bind_with_config(address, &options)?;
        // What is accepted has what the listener has.
        let socket = borrowed(&listener);
        rustix::net::sockopt::set_tcp_nodelay(socket, true)?;
        pacing::unpace(socket, address.ip());
        Ok(Self::Tcp(listener))
    }

    /// Listens where all cores do.
    pub fn shared(listener: std::os::unix::net::UnixListener, driver: Driver) -> io::Result<Self> {
        // With io_uring, a socket that does not block would answer at once that nobody is there.
        listener.set_nonblocking(driver == Driver::Epoll)?;
        UnixListener::from_std(listener).map(Self::Unix)
    }

    /// The address it got, where it has one.
    pub fn address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Some),
            Self::Unix(_) => Ok(None),
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                Ok((Stream(stream), Peer::Tcp(peer)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let process = stream.peer_cred()?;
                let peer = Peer::Unix {
                    user_id: process.uid(),
                    process_id: process.pid().unwrap_or_default(),
                };
                let stream = Stream::of_unix(stream)?;
                Ok((stream, peer))
            }
        }
    }
}

/// A connection. The runtime's type is that of TCP, which reads and writes by `recv` and `send` whatever the socket's family
/// is: so a Unix socket costs no choice per message and no memory per session.
pub struct Stream(TcpStream);

impl Stream {
    /// Connects.
    pub async fn connect(place: &Place) -> io::Result<Self> {
        match place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect_addr(*address).await?;
                stream.set_nodelay(true)?;
                Ok(Self(stream))
            }
            Place::Unix(path) => Self::of_unix(UnixStream::connect(path).await?),
        }
    }

    fn of_unix(stream: UnixStream) -> io::Result<Self> {
        // SAFETY: the descriptor is open, and `into_raw_fd` made it nobody's.
        let socket = unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) };
        TcpStream::from_std(std::net::TcpStream::from(socket)).map(Self)
    }

    /// The two halves and a switch that ends both.
    pub fn split(self) -> io::Result<(Reader, Writer, Switch)> {
        let open = Rc::new(Open {
            descriptor: self.0.as_raw_fd(),
            is_deaf: Cell::new(false),
            is_off: Cell::new(false),
            is_stream: Cell::new(false),
        });
        let switch = Switch(Rc::downgrade(&open));
        let (read, write) = self.0.into_split();
        Ok((Reader(read, open.clone()), Writer(write, open), switch))
    }
}

/// A connection's descriptor. Each half holds one of these behind its own share of the connection, which is closed with the
/// last of them.
struct Open {
    descriptor: RawFd,
    /// Nothing more is read.
    is_deaf: Cell<bool>,
    /// Nothing more is read or written.
    is_off: Cell<bool>,
    /// Much has been written at once.
    is_stream: Cell<bool>,
}

impl Open {
    /// Much is about to be written at once: how the kernel sends it begins to matter.
    fn streams(&self) {
        if !self.is_stream.replace(true) {
            pacing::unpace_connection(borrowed(&self.descriptor));
        }
    }
}

/// Ends a connection from another task: pending reads and writes complete, and the session unwinds in order. It keeps nothing open:
/// a descriptor of its own would be one more for each connection, and there are only so many.
#[derive(Clone)]
pub struct Switch(Weak<Open>);

impl Switch {
    /// Does something with the descriptor; `None` when the connection is closed.
    fn with<T>(&self, work: impl FnOnce(&Open, BorrowedFd<'_>) -> T) -> Option<T> {
        let open = self.0.upgrade()?;
        // SAFETY: the descriptor stays open while there is an `Open`, and all halves live on this thread.
        let descriptor = unsafe { BorrowedFd::borrow_raw(open.descriptor) };
        Some(work(&open, descriptor))
    }

    /// Shuts both directions down, behind what was written.
    pub fn off(&self) {
        self.with(|open, descriptor| {
            if !open.is_off.replace(true) {
                let _ = rustix::net::shutdown(descriptor, rustix::net::Shutdown::Both);
            }
        });
    }

    /// What is written from now on goes with the end of the stream, as one packet: every packet wakes the peer.
    pub fn hold_back(&self) {
        self.with(|_, descriptor| rustix::net::sockopt::set_tcp_cork(descriptor, true)); // a Unix socket has none
    }

    /// Whether the peer has closed its end or the connection is broken, whatever it sent before.
    pub fn peer_has_left(&self) -> bool {
        use rustix::event::PollFlags;
        self.shows(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
    }

    /// Whether there is something to read, or the peer has left. Only where no read is under way.
    pub fn has_news(&self) -> bool {
        use rustix::event::PollFlags;
        self.shows(PollFlags::IN | PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
    }

    fn shows(&self, flags: rustix::event::PollFlags) -> bool {
        use rustix::event::{PollFd, poll};
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let shows = self.with(|_, descriptor| {
            let mut fds = [PollFd::from_borrowed_fd(descriptor, flags)];
            matches!(poll(&mut fds, Some(&now)), Ok(1..)) && fds[0].revents().intersects(flags)
        });
        shows.unwrap_or(true)
    }

    /// Shuts the reading direction down: what was written still goes out.
    pub fn no_more_reads(&self) {
        self.with(|open, descriptor| {
            if !open.is_off.get() && !open.is_deaf.replace(true) {
                let _ = rustix::net::shutdown(descriptor, rustix::net::Shutdown::Read);
            }
        });
    }
}

/// When a connection is to end; numbered, since several may end at once.
type Due = (Instant, u64);

/// The deadlines of this thread, which runs one runtime in its life.
#[derive(Default)]
struct Deadlines {
    due: BTreeMap<Due, Switch>,
    next: u64,
    /// A task waits for the first of them.
    is_watched: bool,
}

thread_local! {
    static DEADLINES: RefCell<Deadlines> = RefCell::default();
}

/// Ends a connection when its time is over, or up to a beat later, unless it is dropped before. It keeps no descriptor open,
/// and has no timer of its own: nearly all are dropped in time.
pub struct Deadline(Due);

impl Deadline {
    /// From now on. Not a time-out around a read: the switch makes the read itself end.
    pub fn new(time: Duration, switch: &Switch) -> Self {
        DEADLINES.with_borrow_mut(|deadlines| {
            let due = (Instant::now() + time, deadlines.next);
            deadlines.next += 1;
            deadlines.due.insert(due, switch.clone());
            if !std::mem::replace(&mut deadlines.is_watched, true) {
                super::spawn(watch());
            }
            Self(due)
        })
    }

    /// Whether it has ended the connection.
    pub fn is_over(&self) -> bool {
        DEADLINES.with_borrow(|deadlines| !deadlines.due.contains_key(&self.0))
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        DEADLINES.with_borrow_mut(|deadlines| deadlines.due.remove(&self.0));
    }
}

/// Ends what is due, as long as anything may become so.
async fn watch() {
    let mut goes_on = true;
    while goes_on {
        super::sleep(super::BEAT).await;
        let (over, is_watched) = DEADLINES.with_borrow_mut(|deadlines| {
            let later = deadlines.due.split_off(&(Instant::now(), 0));
            let over = std::mem::replace(&mut deadlines.due, later);
            deadlines.is_watched = !deadlines.due.is_empty();
            (over, deadlines.is_watched)
        });
        over.into_values().for_each(|switch| switch.off());
        goes_on = is_watched;
    }
}

/// The reading half.
pub struct Reader(OwnedReadHalf<TcpStream>, #[expect(dead_code)] Rc<Open>);

impl Reader {
    /// Waits until there is something to read, or the stream has ended.
    pub async fn readable(&self) -> io::Result<()> {
        // SAFETY: both halves live on this thread, and reading and writing change nothing of the connection's own fields: the
        // runtime's halves take their references to it side by side in the same way, each for as long as it waits.
        let stream = unsafe { &*self.0.0.get() };
        stream.readable(false).await
    }

    /// Reads once into the tail of `ingress`; 0 is the end of the stream.
    pub async fn fill(&mut self, ingress: Ingress) -> (io::Result<usize>, Ingress) {
        let (read, tail) = self.0.read(Tail(ingress, Cell::new(false))).await;
        (read, tail.0)
    }
}

/// The writing half.
pub struct Writer(OwnedWriteHalf<TcpStream>, Rc<Open>);

impl Writer {
    /// Writes `range` of the data in `ingress`, all of it.
    pub fn write_span(
        &mut self,
        ingress: Ingress,
        range: Range<usize>,
    ) -> impl Future<Output = (io::Result<()>, Ingress)> {
        self.write_all(ingress, range)
    }

    /// Writes all of `bytes`, which come back for reuse.
    pub fn write_vec(&mut self, bytes: Vec<u8>) -> impl Future<Output = (io::Result<()>, Vec<u8>)> {
        let count = bytes.len();
        self.write_all(bytes, 0..count)
    }

    /// Writes the first `count` of `bytes`, which come back for reuse.
    pub fn write_part(
        &mut self,
        bytes: Vec<u8>,
        count: usize,
    ) -> impl Future<Output = (io::Result<()>, Vec<u8>)> {
        self.write_all(bytes, 0..count)
    }

    /// Not an `async fn`: that would keep room for its arguments besides the piece that is made of them.
    fn write_all<T: Fixed>(
        &mut self,
        from: T,
        range: Range<usize>,
    ) -> impl Future<Output = (io::Result<()>, T)> {
        if range.len() >= STREAM_BYTES {
            self.1.streams();
        }
        let is_too_long = u32::try_from(range.end).is_err();
        let mut piece = Piece(from, range.start as u32, range.end as u32);
        async move {
            if is_too_long {
                return (Err(io::ErrorKind::InvalidInput.into()), piece.0);
            }
            while piece.1 < piece.2 {
                let (written, back) = self.0.write(piece).await;
                piece = back;
                match written {
                    Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), piece.0),
                    Ok(bytes) => piece.1 += bytes as u32,
                    Err(error) => return (Err(error), piece.0),
                }
            }
            (Ok(()), piece.0)
        }
    }

    /// Says that nothing more comes.
    pub async fn finish(&mut self) {
        let _ = self.0.shutdown().await;
    }
}
