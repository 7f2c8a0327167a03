//! Simulated sockets, under the names of `rt::net`: bytes arrive late, cut anywhere, or not at all.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::rt::Driver;
use crate::sim::{self, below};
use crate::slab::Ingress;

/// Bytes that a connection holds in one direction.
const PIPE_BYTES_MAX: usize = 4096;

/// One direction.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// Nothing more comes.
    is_finished: bool,
    /// Nobody reads any more.
    is_deaf: bool,
    is_reset: bool,
    /// The line breaks after so many more bytes.
    breaks_after: Option<usize>,
    wakers: Vec<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

type Shared = Rc<RefCell<Pipe>>;

/// One end of a connection.
pub struct Stream {
    incoming: Shared,
    outgoing: Shared,
}

thread_local! {
    /// Connections that the simulated server has not taken yet.
    static KNOCKS: RefCell<VecDeque<Stream>> = const { RefCell::new(VecDeque::new()) };
    /// Whether a line broke.
    static BROKEN: Cell<bool> = const { Cell::new(false) };
}

/// A simulation begins: nobody has knocked and nothing is broken.
pub fn begin() {
    KNOCKS.with_borrow_mut(VecDeque::clear);
    BROKEN.set(false);
}

/// Whether a line has broken since the beginning.
pub fn is_broken() -> bool {
    BROKEN.get()
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address.
    Tcp(SocketAddr),
    /// A process of this machine.
    #[expect(dead_code, reason = "no simulated client is one")]
    Unix {
        /// Its user.
        user_id: u32,
        /// Its process.
        process_id: i32,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
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

/// A listening socket, where nobody knocks: simulated clients are at their door already.
pub struct Listener;

impl Listener {
    /// Listens.
    pub fn bind(_: SocketAddr) -> io::Result<Self> {
        Ok(Self)
    }

    /// Listens where all cores do.
    pub fn shared(_: std::os::unix::net::UnixListener, _: Driver) -> io::Result<Self> {
        Ok(Self)
    }

    /// No address.
    pub fn address(&self) -> io::Result<Option<SocketAddr>> {
        Ok(None)
    }

    /// Waits for ever.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        std::future::pending().await
    }
}

/// Two ends of a connection; `breaks` says whether and where the line breaks, each way.
pub fn pair(breaks: [Option<usize>; 2]) -> (Stream, Stream) {
    let pipe = |breaks_after| {
        Rc::new(RefCell::new(Pipe {
            breaks_after,
            ..Pipe::default()
        }))
    };
    let (there, back) = (pipe(breaks[0]), pipe(breaks[1]));
    let near = Stream {
        incoming: back.clone(),
        outgoing: there.clone(),
    };
    let far = Stream {
        incoming: there,
        outgoing: back,
    };
    (near, far)
}

/// The next connection that somebody made.
pub fn knock() -> Option<Stream> {
    KNOCKS.with_borrow_mut(VecDeque::pop_front)
}

impl Stream {
    /// Connects to the simulated server, wherever that is.
    pub async fn connect(_: &Place) -> io::Result<Self> {
        late().await;
        let breaks = [0, 1].map(|_| (below(12) == 0).then(|| below(1500)));
        let (near, far) = pair(breaks);
        KNOCKS.with_borrow_mut(|knocks| knocks.push_back(far));
        Ok(near)
    }

    /// The two halves and a switch that ends both.
    pub fn split(self) -> io::Result<(Reader, Writer, Switch)> {
        let switch = Switch(Rc::new((self.incoming.clone(), self.outgoing.clone())));
        Ok((Reader(self.incoming), Writer(self.outgoing), switch))
    }
}

/// Now and then something takes its time.
async fn late() {
    if below(4) == 0 {
        sim::sleep(Duration::from_millis(below(5) as u64)).await;
    }
}

/// Ends a connection from another task.
#[derive(Clone)]
pub struct Switch(Rc<(Shared, Shared)>);

impl Switch {
    /// Shuts both directions down.
    pub fn off(&self) {
        self.no_more_reads();
        let mut outgoing = self.0.1.borrow_mut();
        outgoing.is_finished = true;
        outgoing.wake();
    }

    /// Packets are not simulated.
    pub fn hold_back(&self) {}

    /// Whether the peer has closed its end or the connection is broken.
    pub fn peer_has_left(&self) -> bool {
        let incoming = self.0.0.borrow();
        incoming.is_finished || incoming.is_reset
    }

    /// Whether there is something to read, or the peer has left.
    pub fn has_news(&self) -> bool {
        self.peer_has_left() || !self.0.0.borrow().bytes.is_empty()
    }

    /// Shuts the reading direction down.
    pub fn no_more_reads(&self) {
        let mut incoming = self.0.0.borrow_mut();
        incoming.is_deaf = true;
        incoming.wake();
    }
}

/// Ends a connection when its time is over, unless it is dropped before.
pub struct Deadline(Rc<Cell<(bool, bool)>>);

impl Deadline {
    /// From now on.
    pub fn new(time: Duration, switch: &Switch) -> Self {
        let state = Rc::new(Cell::new((false, false)));
        let (watched, ends): (_, Weak<(Shared, Shared)>) = (state.clone(), Rc::downgrade(&switch.0));
        sim::spawn(async move {
            sim::sleep(time).await;
            if let ((_, false), Some(ends)) = (watched.get(), ends.upgrade()) {
                watched.set((true, false));
                Switch(ends).off();
            }
        });
        Self(state)
    }

    /// Whether it has ended the connection.
    pub fn is_over(&self) -> bool {
        self.0.get().0
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.0.set((self.is_over(), true));
    }
}

/// The reading half.
pub struct Reader(Shared);

impl Reader {
    /// Waits until there is something to read, or the stream has ended.
    pub async fn readable(&self) -> io::Result<()> {
        late().await;
        poll_fn(|context| {
            let mut pipe = self.0.borrow_mut();
            if pipe.bytes.is_empty() && !pipe.is_finished && !pipe.is_reset && !pipe.is_deaf {
                pipe.wakers.push(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Reads once: as much as chance gives; 0 is the end of the stream.
    pub async fn fill(&mut self, mut ingress: Ingress) -> (io::Result<usize>, Ingress) {
        late().await;
        let read = poll_fn(|context| {
            let mut pipe = self.0.borrow_mut();
            if pipe.is_reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if pipe.is_deaf {
                return Poll::Ready(Ok(0));
            }
            let most = pipe.bytes.len().min(ingress.room());
            if most == 0 && !pipe.is_finished {
                pipe.wakers.push(context.waker().clone());
                return Poll::Pending;
            }
            let count = if below(3) == 0 {
                most
            } else {
                below(most) + usize::from(most > 0)
            };
            let bytes: Vec<u8> = pipe.bytes.drain(..count.min(most)).collect();
            ingress.append(&bytes);
            pipe.wake();
            Poll::Ready(Ok(bytes.len()))
        })
        .await;
        (read, ingress)
    }
}

/// The writing half.
pub struct Writer(Shared);

impl Writer {
    /// Writes `range` of the data in `ingress`, all of it.
    pub async fn write_span(&mut self, ingress: Ingress, range: Range<usize>) -> (io::Result<()>, Ingress) {
        let written = self.write(&ingress.data()[range]).await;
        (written, ingress)
    }

    /// Writes all of `bytes`, which come back for reuse.
    pub async fn write_vec(&mut self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let count = bytes.len();
        self.write_part(bytes, count).await
    }

    /// Writes the first `count` of `bytes`, which come back for reuse.
    pub async fn write_part(&mut self, bytes: Vec<u8>, count: usize) -> (io::Result<()>, Vec<u8>) {
        let written = self.write(&bytes[..count]).await;
        (written, bytes)
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            late().await;
            let count = poll_fn(|context| {
                let mut pipe = self.0.borrow_mut();
                if pipe.is_finished || pipe.is_deaf || pipe.is_reset {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::BrokenPipe)));
                }
                let room = PIPE_BYTES_MAX - pipe.bytes.len();
                if room == 0 {
                    pipe.wakers.push(context.waker().clone());
                    return Poll::Pending;
                }
                let most = room.min(rest.len());
                let mut count = if below(2) == 0 { most } else { below(most) + 1 };
                if let Some(left) = &mut pipe.breaks_after {
                    count = count.min(*left);
                    *left -= count;
                    if *left == 0 {
                        pipe.is_reset = true;
                        BROKEN.set(true);
                    }
                }
                pipe.bytes.extend(&rest[..count]);
                pipe.wake();
                Poll::Ready(Ok(count))
            })
            .await?;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Says that nothing more comes.
    pub async fn finish(&mut self) {
        let mut pipe = self.0.borrow_mut();
        pipe.is_finished = true;
        pipe.wake();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut pipe = self.0.borrow_mut();
        pipe.is_deaf = true;
        pipe.wake();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut pipe = self.0.borrow_mut();
        pipe.is_finished = true;
        pipe.wake();
    }
}
