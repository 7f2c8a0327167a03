//! The recorder thread of one core, and the core's end of its ring.
//!
//! Entries go through a ring in order. Rows are copied into buffers that come home through a second ring, so recording
//! allocates nothing per message. The thread groups what arrived, commits it every `commit` milliseconds, and keeps
//! retrying a commit that fails: meanwhile `failing` is up, rings fill, and sessions wait. Nothing is dropped unless the
//! operator chose so.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use linegate_identity::UnixMillis;
use linegate_recording::{Entry, Recorder, Rendered, SessionId, SigningKey};

use crate::clock;
use crate::rt::sync::{Bell, Sender, ring};

/// Bytes of rows that may wait for the recorder of one core, bytes of long entries, and bytes of short ones.
const BYTES_WAITING_MAX: usize = 64 << 20;
/// Buffers that are kept for reuse.
const BUFFERS_KEPT: usize = 256;
/// A buffer larger than this is not kept.
const BUFFER_BYTES_KEPT_MAX: usize = 1 << 20;
/// The same of those that hold a statement and its verdict.
const BEGUN_KEPT: usize = 1024;
const BEGUN_BYTES_KEPT_MAX: usize = 8 << 10;
/// Entries that are longer are long: they would keep their room from short ones, as rows would from both.
const SHORT_BYTES_MAX: usize = 16 << 10;

/// What a name takes besides its bytes.
const NAME_BYTES: usize = 48;

/// How long the thread naps while a group is open. What has come meanwhile is taken in one go, and a core that it shares stands
/// still for as long as that takes.
const NAP_MIN: Duration = Duration::from_micros(200);
const NAP_MAX: Duration = Duration::from_millis(2);

enum What {
    Entry(Box<Entry>),
    Begun(Rendered),
    Rows {
        statement: u64,
        offset: u64,
        bytes: Vec<u8>,
    },
}

impl What {
    /// Its bytes that whoever wrote it chose; what else it takes is bounded by the ring.
    fn bytes(&self) -> usize {
        match self {
            Self::Rows { bytes, .. } => bytes.len(),
            Self::Begun(begun) => begun.len(),
            Self::Entry(entry) => match &**entry {
                Entry::Statement { text: words, .. } | Entry::Error { message: words, .. } => words.len(),
                Entry::Verdict { relations, .. } => {
                    let each = |name: &String| name.len() + NAME_BYTES;
                    relations.iter().map(each).sum()
                }
                _ => 0,
            },
        }
    }

    /// Whether it may wait in the ring until the recorder's nap is over.
    fn is_short(&self) -> bool {
        !matches!(self, Self::Rows { .. }) && self.bytes() <= SHORT_BYTES_MAX
    }
}

struct Event {
    at: UnixMillis,
    session: SessionId,
    what: What,
}

/// What cores and operators may know about the recorder.
#[derive(Default)]
pub struct Health {
    /// The last commit failed; new sessions are refused, running ones wait.
    pub failing: AtomicBool,
    rows_waiting: AtomicUsize,
    long_waiting: AtomicUsize,
    short_waiting: AtomicUsize,
    stop: AtomicBool,
}

impl Health {
    /// Where bytes of its kind that wait are counted.
    fn waiting(&self, what: &What) -> &AtomicUsize {
        match what {
            What::Rows { .. } => &self.rows_waiting,
            _ if what.is_short() => &self.short_waiting,
            What::Entry(_) | What::Begun(_) => &self.long_waiting,
        }
    }

    /// It waits no more.
    fn taken(&self, what: &What) {
        self.waiting(what).fetch_sub(what.bytes(), Ordering::Relaxed);
    }
}

/// Whether so many bytes more may wait; whatever its size, one always may.
fn has_room(waiting: &AtomicUsize, bytes: usize) -> bool {
    let waiting = waiting.load(Ordering::Relaxed);
    waiting == 0 || waiting + bytes <= BYTES_WAITING_MAX
}

/// A core's way to its recorder.
pub struct Recording {
    events: Sender<Event>,
    home: Returned,
    health: Arc<Health>,
}

/// Ends of the rings in which buffers come home.
struct Home<Rows, Begun> {
    rows: Rows,
    begun: Begun,
}

type Homing = Home<rtrb::Producer<Vec<u8>>, rtrb::Producer<Rendered>>;
type Returned = Home<rtrb::Consumer<Vec<u8>>, rtrb::Consumer<Rendered>>;

impl Homing {
    /// Sends home what is worth keeping; a full return ring frees it.
    fn send(&mut self, what: What) {
        match what {
            What::Begun(begun) if begun.capacity() <= BEGUN_BYTES_KEPT_MAX => drop(self.begun.push(begun)),
            What::Rows { bytes, .. } if bytes.capacity() <= BUFFER_BYTES_KEPT_MAX => {
                drop(self.rows.push(bytes));
            }
            _ => {}
        }
    }
}

fn home() -> (Homing, Returned) {
    let (rows_home, rows) = rtrb::RingBuffer::new(BUFFERS_KEPT);
    let (begun_home, begun) = rtrb::RingBuffer::new(BEGUN_KEPT);
    let homing = Home {
        rows: rows_home,
        begun: begun_home,
    };
    (homing, Home { rows, begun })
}

impl Recording {
    /// Whether the disk refuses.
    pub fn is_failing(&self) -> bool {
        self.health.failing.load(Ordering::Relaxed)
    }

    /// Hands an entry over; gives it back when the ring is full.
    pub fn try_entry(&mut self, session: SessionId, entry: Box<Entry>) -> Result<(), Box<Entry>> {
        match self.hand_over(session, What::Entry(entry)) {
            Ok(()) => Ok(()),
            Err(What::Entry(entry)) => Err(entry),
            Err(_) => unreachable!("the ring gives back what it was given"),
        }
    }

    /// Something to render a statement and its verdict in.
    pub fn rendering(&mut self) -> Rendered {
        self.home.begun.pop().unwrap_or_default()
    }

    /// Hands a statement and its verdict over; gives them back when the ring is full.
    pub fn try_begun(&mut self, session: SessionId, begun: Rendered) -> Result<(), Rendered> {
        match self.hand_over(session, What::Begun(begun)) {
            Ok(()) => Ok(()),
            Err(What::Begun(begun)) => Err(begun),
            Err(_) => unreachable!("the ring gives back what it was given"),
        }
    }

    /// Copies rows over; false when the recorder is too far behind.
    pub fn try_rows(&mut self, session: SessionId, statement: u64, offset: u64, rows: &[u8]) -> bool {
        if !has_room(&self.health.rows_waiting, rows.len()) {
            return false;
        }
        let mut bytes = self.home.rows.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(rows);
        let rows = What::Rows {
            statement,
            offset,
            bytes,
        };
        self.hand_over(session, rows).is_ok()
    }

    fn hand_over(&mut self, session: SessionId, what: What) -> Result<(), What> {
        let (bytes, is_short) = (what.bytes(), what.is_short());
        let waiting = self.health.waiting(&what);
        if bytes > 0 && !has_room(waiting, bytes) {
            return Err(what);
        }
        waiting.fetch_add(bytes, Ordering::Relaxed);
        let event = Event {
            at: clock::now(),
            session,
            what,
        };
        let sent = match is_short {
            true => self.events.send_softly(event),
            false => self.events.send(event),
        };
        sent.map_err(|event| {
            self.health.taken(&event.what);
            event.what
        })
    }
}

/// Ends a recorder thread: what is in its ring is written, the segment sealed.
pub struct RecorderThread {
    health: Arc<Health>,
    bell: Arc<Bell>,
    thread: std::thread::JoinHandle<()>,
}

impl RecorderThread {
    /// Waits for the last entry to be on disk.
    pub fn stop(self) {
        self.health.stop.store(true, Ordering::SeqCst);
        self.bell.ring();
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the recorder thread panicked");
        }
    }
}

/// Where and how a core's stream is recorded.
pub struct Settings {
    /// The directory of all streams.
    pub directory: PathBuf,
    /// This stream's name, `core-0`.
    pub stream: String,
    /// The key that seals segments, as a file.
    pub key: PathBuf,
    /// How long entries may wait for their group.
    pub commit: Duration,
    /// Entries the ring holds.
    pub entries: usize,
}

/// Opens a stream and starts its thread.
pub fn start(settings: Settings) -> std::io::Result<(Recording, RecorderThread)> {
    let key = SigningKey::load_or_create(&settings.key, clock::random())?;
    let recorder = Recorder::open(&settings.directory, &settings.stream, &key, clock::now().0)?;
    let health = Arc::new(Health::default());
    let (ends, handed_over) = std::sync::mpsc::channel();
    let theirs = health.clone();
    let thread = std::thread::Builder::new()
        .name(format!("recorder-{}", settings.stream))
        .spawn(move || {
            let bell = Bell::for_this_thread();
            let (events, consumer) = ring(settings.entries, bell.clone());
            let (homing, home) = home();
            if ends.send((events, home, bell.clone())).is_ok() {
                Writer {
                    recorder,
                    consumer,
                    homing,
                    health: theirs,
                    commit: settings.commit,
                }
                .run(&bell);
            }
        })?;
    let (events, home, bell) = handed_over.recv().map_err(std::io::Error::other)?;
    Ok((
        Recording {
            events,
            home,
            health: health.clone(),
        },
        RecorderThread { health, bell, thread },
    ))
}

struct Writer {
    recorder: Recorder,
    consumer: rtrb::Consumer<Event>,
    homing: Homing,
    health: Arc<Health>,
    commit: Duration,
}

impl Writer {
    fn run(mut self, bell: &Bell) {
        let mut open_since: Option<Instant> = None;
        loop {
            let stopping = self.health.stop.load(Ordering::SeqCst);
            let mut took = 0;
            while took < 256
                && let Ok(event) = self.consumer.pop()
            {
                self.write(event);
                took += 1;
            }
            if took > 0 {
                open_since.get_or_insert_with(Instant::now);
            }
            let due = open_since.is_some_and(|since| since.elapsed() >= self.commit);
            if due || (stopping && took == 0 && open_since.is_some()) {
                self.commit();
                open_since = None;
            }
            if took > 0 {
                continue;
            }
            if stopping {
                break;
            }
            if open_since.is_none() {
                self.retry(|recorder| recorder.tick(clock::now().0));
            }
            let ready = || !self.consumer.is_empty() || self.health.stop.load(Ordering::SeqCst);
            match open_since {
                None => bell.park(Duration::from_secs(5), ready),
                // Entries that come now go with the group that is open.
                Some(since) => {
                    let rest = self.commit.saturating_sub(since.elapsed());
                    bell.nap(rest.clamp(NAP_MIN, NAP_MAX), ready);
                }
            }
        }
        if let Err(error) = self.recorder.seal(clock::now().0) {
            tracing::error!(%error, "the last segment could not be sealed");
        }
    }

    fn write(&mut self, event: Event) {
        let Event { at, session, what } = event;
        self.retry(|recorder| {
            match &what {
                What::Entry(entry) => recorder.append(at.0, session, entry),
                What::Begun(begun) => recorder.append_begun(at.0, session, begun),
                What::Rows {
                    statement,
                    offset,
                    bytes,
                } => recorder.append_rows(at.0, session, *statement, *offset, bytes),
            }
            .map(drop)
        });
        self.health.taken(&what);
        self.homing.send(what);
    }

    fn commit(&mut self) {
        self.retry(|recorder| recorder.commit().map(drop));
    }

    /// Until the disk takes it: the pending block stays in memory, and the ring's filling up makes the sessions wait.
    fn retry(&mut self, mut step: impl FnMut(&mut Recorder) -> std::io::Result<()>) {
        let mut said = false;
        loop {
            match step(&mut self.recorder) {
                Ok(()) => {
                    if self.health.failing.swap(false, Ordering::Relaxed) {
                        tracing::warn!("recording works again");
                    }
                    return;
                }
                Err(error) => {
                    self.health.failing.store(true, Ordering::Relaxed);
                    if !said {
                        tracing::error!(%error, "recording fails; sessions wait");
                        said = true;
                    }
                    if self.health.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
        }
    }
}

/// A recorder without thread and disk: what was handed over is taken when [`ByHand::drain`] is called.
#[cfg(any(test, fuzzing))]
pub struct ByHand {
    events: rtrb::Consumer<Event>,
    homing: Homing,
    health: Arc<Health>,
}

#[cfg(any(test, fuzzing))]
pub fn by_hand(entries: usize) -> (Recording, ByHand) {
    let health = Arc::new(Health::default());
    let (events, consumer) = ring(entries, Bell::for_anyone());
    let (homing, home) = home();
    let recording = Recording {
        events,
        home,
        health: health.clone(),
    };
    let by_hand = ByHand {
        events: consumer,
        homing,
        health,
    };
    (recording, by_hand)
}

#[cfg(any(test, fuzzing))]
impl ByHand {
    /// Takes everything.
    pub fn drain(&mut self) {
        while let Ok(event) = self.events.pop() {
            self.health.taken(&event.what);
            self.homing.send(event.what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(bytes: usize) -> Box<Entry> {
        Box::new(Entry::Error {
            statement: 1,
            sqlstate: "22P02".to_owned(),
            message: "x".repeat(bytes),
        })
    }

    #[test]
    fn short_entries_wait_in_bounds_however_large_the_ring() {
        let (mut recording, mut by_hand) = by_hand(8192);
        let session = SessionId::from_random([1; 16]);
        for _ in 0..2 {
            let taken = (0..8192)
                .take_while(|_| recording.try_entry(session, long(SHORT_BYTES_MAX)).is_ok())
                .count();
            assert_eq!(taken, BYTES_WAITING_MAX / SHORT_BYTES_MAX);
            assert!(
                recording.try_entry(session, long(SHORT_BYTES_MAX + 1)).is_ok(),
                "long ones and rows have their own room"
            );
            assert!(recording.try_rows(session, 1, 0, &vec![0; 1 << 20]));
            by_hand.drain();
        }
    }

    #[test]
    fn long_entries_wait_in_bounds_and_not_for_rows() {
        let (mut recording, mut by_hand) = by_hand(4096);
        let session = SessionId::from_random([1; 16]);
        let rows = vec![0; 1 << 20];
        while recording.try_rows(session, 1, 0, &rows) {}
        let piece = 8 << 20;
        let taken = (0..100)
            .take_while(|_| recording.try_entry(session, long(piece)).is_ok())
            .count();
        assert_eq!(taken, BYTES_WAITING_MAX / piece, "rows leave them their room");
        assert!(
            recording.try_entry(session, long(SHORT_BYTES_MAX)).is_ok(),
            "short ones go on"
        );
        assert!(!recording.try_rows(session, 1, 0, &rows));
        by_hand.drain();
        let back = recording.try_entry(session, long(2 * BYTES_WAITING_MAX));
        assert!(back.is_ok(), "one always may");
        assert!(recording.try_entry(session, long(piece)).is_err());
        assert!(recording.try_rows(session, 1, 0, &rows));
        by_hand.drain();
        assert!(recording.try_entry(session, long(piece)).is_ok());
    }
}
