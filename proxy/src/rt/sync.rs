//! Waiting inside a core (lock, slot, signal) and between threads (rings with a bell).
//!
//! Between threads: single-producer rings of fixed size; the consumer says that it sleeps, and only then is it woken.
//! Waking costs up to 20 µs of CPU on each side, a ring entry a few nanoseconds; so a consumer whose work may wait naps, and
//! only a ring that fills up wakes it before.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;
use std::time::Duration;

use monoio::io::AsyncReadRent;
use monoio::net::UnixStream;

use crate::rarely::Rarely;

/// A value that arrives once, awaited by one task of this core.
pub struct Slot<T>(Rc<RefCell<(Option<T>, Option<Waker>)>>);

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Rc::new(RefCell::new((None, None))))
    }
}

impl<T> Slot<T> {
    /// Delivers; the first value stays.
    pub fn put(&self, value: T) {
        let waker = {
            let mut inner = self.0.borrow_mut();
            if inner.0.is_none() {
                inner.0 = Some(value);
            }
            inner.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for the value.
    pub fn wait(&self) -> impl Future<Output = T> + '_ {
        poll_fn(|context| {
            let mut inner = self.0.borrow_mut();
            match inner.0.take() {
                Some(value) => Poll::Ready(value),
                None => {
                    inner.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
    }
}

/// An answer that is there most of the time: only when it is not does waiting for it take memory.
pub enum Soon<'a, T> {
    /// It is there.
    Now(Option<T>),
    /// It has to be waited for.
    Later(Pin<Box<dyn Future<Output = T> + 'a>>),
}

impl<'a, T> Soon<'a, T> {
    /// It is there.
    pub fn now(value: T) -> Self {
        Self::Now(Some(value))
    }

    /// It has to be waited for.
    pub fn later(work: impl Future<Output = T> + 'a) -> Self {
        Self::Later(Box::pin(work))
    }
}

impl<T: Unpin> Future for Soon<'_, T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match self.get_mut() {
            Self::Now(value) => value.take().map_or(Poll::Pending, Poll::Ready),
            Self::Later(work) => work.as_mut().poll(context),
        }
    }
}

/// Mutual exclusion between tasks of one core, in order of asking.
#[derive(Default)]
pub struct Lock {
    held: Cell<bool>,
    queue: RefCell<Rarely<VecDeque<Slot<()>>>>,
}

/// Holds a [`Lock`] until dropped.
pub struct Held<'a>(&'a Lock);

impl Lock {
    /// Waits for its turn.
    pub async fn take(&self) -> Held<'_> {
        if self.held.replace(true) {
            let turn = Slot::default();
            self.queue.borrow_mut().made().push_back(turn.clone());
            turn.wait().await; // the lock is handed over held
        }
        Held(self)
    }

    /// Takes it if nobody holds it.
    pub fn try_take(&self) -> Option<Held<'_>> {
        (!self.held.replace(true)).then(|| Held(self))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let next = self.0.queue.borrow_mut().get_mut().and_then(VecDeque::pop_front);
        match next {
            Some(next) => next.put(()),
            None => self.0.held.set(false),
        }
    }
}

enum Wake {
    Thread(Thread),
    Socket(StdUnixStream),
    Anyone(Mutex<bool>, Condvar),
}

/// Nobody waits.
const AWAKE: u8 = 0;
/// Waits, and is to be woken by whatever comes.
const ASLEEP: u8 = 1;
/// Waits for a moment, and is to be woken by what cannot wait only.
const NAPPING: u8 = 2;

/// Wakes one consumer, at most once per sleep.
pub struct Bell {
    rest: AtomicU8,
    wake: Wake,
}

impl Bell {
    /// For the calling thread, which sleeps with [`Bell::park`].
    pub fn for_this_thread() -> Arc<Self> {
        Arc::new(Self {
            rest: AtomicU8::new(AWAKE),
            wake: Wake::Thread(std::thread::current()),
        })
    }

    /// For a thread that is not known yet, one at a time, which sleeps with [`Bell::park`].
    pub fn for_anyone() -> Arc<Self> {
        Arc::new(Self {
            rest: AtomicU8::new(AWAKE),
            wake: Wake::Anyone(Mutex::default(), Condvar::default()),
        })
    }

    /// For a core, which sleeps in [`Listening::rest`].
    pub fn for_core() -> io::Result<(Arc<Self>, CoreBell)> {
        let (near, far) = StdUnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        let bell = Arc::new(Self {
            rest: AtomicU8::new(AWAKE),
            wake: Wake::Socket(far),
        });
        Ok((
            bell.clone(),
            CoreBell {
                bell,
                socket: Some(near),
            },
        ))
    }

    /// After an entry was put into a ring.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.rest.swap(AWAKE, Ordering::SeqCst) != AWAKE {
            self.wake();
        }
    }

    /// The same for an entry that may wait until a nap is over.
    pub fn ring_softly(&self) {
        fence(Ordering::SeqCst);
        let asleep = self
            .rest
            .compare_exchange(ASLEEP, AWAKE, Ordering::SeqCst, Ordering::SeqCst);
        if asleep.is_ok() {
            self.wake();
        }
    }

    fn wake(&self) {
        match &self.wake {
            Wake::Thread(thread) => thread.unpark(),
            // A full socket means that a wake is already on its way.
            Wake::Socket(socket) => drop((&*socket).write(&[1])),
            Wake::Anyone(rung, condition) => {
                *rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
                condition.notify_all();
            }
        }
    }

    /// Sleeps until rung, unless `ready` already sees work. At most `time`.
    pub fn park(&self, time: Duration, ready: impl Fn() -> bool) {
        self.wait(ASLEEP, time, ready);
    }

    /// The same, but [`Bell::ring_softly`] does not end it.
    pub fn nap(&self, time: Duration, ready: impl Fn() -> bool) {
        self.wait(NAPPING, time, ready);
    }

    fn wait(&self, how: u8, time: Duration, ready: impl Fn() -> bool) {
        self.rest.store(how, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !ready() {
            match &self.wake {
                Wake::Thread(_) | Wake::Socket(_) => std::thread::park_timeout(time),
                Wake::Anyone(rung, condition) => {
                    let rung = rung.lock().unwrap_or_else(PoisonError::into_inner);
                    let waited = condition.wait_timeout_while(rung, time, |rung| !*rung);
                    *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
                }
            }
        }
        self.rest.store(AWAKE, Ordering::SeqCst);
    }
}

/// The core's end of its bell.
pub struct CoreBell {
    bell: Arc<Bell>,
    socket: Option<StdUnixStream>,
}

/// Rings that are heard at once.
const HEARD_BYTES: usize = 64;

/// A bell that its core listens to.
pub struct Listening {
    bell: Arc<Bell>,
    stream: UnixStream,
    heard: Vec<u8>,
}

impl CoreBell {
    /// Must be called on the core's own runtime.
    pub fn listen(mut self) -> io::Result<Listening> {
        let socket = self.socket.take().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Listening {
            bell: self.bell,
            stream: UnixStream::from_std(socket)?,
            heard: vec![0; HEARD_BYTES],
        })
    }
}

impl Listening {
    /// Waits until rung, unless `ready` already sees work.
    pub async fn rest(&mut self, ready: impl Fn() -> bool) -> io::Result<()> {
        self.bell.rest.store(ASLEEP, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if ready() && self.bell.rest.swap(AWAKE, Ordering::SeqCst) != AWAKE {
            return Ok(()); // nobody rang between: no byte is on its way
        }
        let (read, heard) = self.stream.read(std::mem::take(&mut self.heard)).await;
        self.heard = heard;
        read.map(drop)
    }
}

/// The producer's end of a ring.
pub struct Sender<T> {
    ring: rtrb::Producer<T>,
    bell: Arc<Bell>,
}

impl<T> Sender<T> {
    /// Puts an entry in and rings; gives it back when the ring is full.
    pub fn send(&mut self, entry: T) -> Result<(), T> {
        let pushed = self
            .ring
            .push(entry)
            .map_err(|rtrb::PushError::Full(entry)| entry);
        self.bell.ring();
        pushed
    }

    /// The same for an entry that may wait until its consumer's nap is over, unless the ring gets full by then.
    pub fn send_softly(&mut self, entry: T) -> Result<(), T> {
        let pushed = self
            .ring
            .push(entry)
            .map_err(|rtrb::PushError::Full(entry)| entry);
        if self.ring.slots() < self.ring.buffer().capacity() / 2 {
            self.bell.ring();
        } else {
            self.bell.ring_softly();
        }
        pushed
    }
}

/// A ring of `entries` whose consumer is woken by `bell`.
pub fn ring<T>(entries: usize, bell: Arc<Bell>) -> (Sender<T>, rtrb::Consumer<T>) {
    let (ring, consumer) = rtrb::RingBuffer::new(entries);
    (Sender { ring, bell }, consumer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_thread_is_woken_by_the_ring() {
        let (to_main, from_thread) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let bell = Bell::for_this_thread();
            let (sender, mut consumer) = ring::<u32>(4, bell.clone());
            to_main.send(sender).unwrap();
            let mut got = Vec::new();
            while got.len() < 1000 {
                match consumer.pop() {
                    Ok(entry) => got.push(entry),
                    Err(_) => bell.park(Duration::from_secs(10), || !consumer.is_empty()),
                }
            }
            got
        });
        let mut sender = from_thread.recv().unwrap();
        for entry in 0..1000 {
            let mut entry = entry;
            while let Err(back) = sender.send(entry) {
                entry = back;
                std::thread::yield_now();
            }
        }
        assert_eq!(thread.join().unwrap(), (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn only_a_ring_that_fills_ends_a_nap() {
        let bell = Bell::for_this_thread();
        let (mut sender, _consumer) = ring::<u32>(8, bell.clone());
        bell.rest.store(NAPPING, Ordering::SeqCst);
        for entry in 0..4 {
            sender.send_softly(entry).unwrap();
            assert_eq!(bell.rest.load(Ordering::SeqCst), NAPPING, "{entry} can wait");
        }
        sender.send_softly(4).unwrap();
        assert_eq!(bell.rest.load(Ordering::SeqCst), AWAKE, "more than half full");

        let (mut sender, _consumer) = ring::<u32>(8, bell.clone());
        for (rest, woken) in [(ASLEEP, AWAKE), (AWAKE, AWAKE)] {
            bell.rest.store(rest, Ordering::SeqCst);
            sender.send_softly(0).unwrap();
            assert_eq!(bell.rest.load(Ordering::SeqCst), woken);
        }
        bell.rest.store(NAPPING, Ordering::SeqCst);
        sender.send(1).unwrap();
        assert_eq!(bell.rest.load(Ordering::SeqCst), AWAKE, "this one cannot wait");
    }

    #[test]
    fn naps_lose_no_entry() {
        let (to_main, from_thread) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let bell = Bell::for_this_thread();
            let (sender, mut consumer) = ring::<u32>(64, bell.clone());
            to_main.send(sender).unwrap();
            let mut got = Vec::new();
            while got.len() < 1000 {
                match consumer.pop() {
                    Ok(entry) => got.push(entry),
                    Err(_) => bell.nap(Duration::from_millis(1), || !consumer.is_empty()),
                }
            }
            got
        });
        let mut sender = from_thread.recv().unwrap();
        for entry in 0..1000 {
            let mut entry = entry;
            while let Err(back) = sender.send_softly(entry) {
                entry = back;
                std::thread::yield_now();
            }
        }
        assert_eq!(thread.join().unwrap(), (0..1000).collect::<Vec<_>>());
    }
}
