//! The runtime behind our own names: starting a core, tasks, time. Nothing outside `rt` names the runtime crate.
//!
//! Rules that come from its source: build and run on one thread; never drop a read or write that is under way; never
//! yield by waking yourself; time-outs are deadlines that shut the socket down.

#[cfg(not(any(test, fuzzing)))]
mod moment;
#[cfg(not(any(test, fuzzing)))]
pub mod net;
#[cfg(not(fuzzing))]
#[cfg_attr(test, allow(dead_code, reason = "simulated connections have no kernel"))]
mod pacing;
// Under test the simulator stands in for sockets, tasks and time.
#[cfg(any(test, fuzzing))]
#[path = "../sim/net.rs"]
pub mod net;
pub mod sync;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use linegate_config::Runtime as Choice;

const RING_ENTRIES: u32 = 4096;

/// Tasks of all cores that panicked: each is a fault of linegate's own and an alarm.
pub static PANICS: AtomicU64 = AtomicU64::new(0);

/// How long a moment lasts at most.
const MOMENT: Duration = Duration::from_micros(200);

/// How long a beat lasts.
pub const BEAT: Duration = Duration::from_millis(100);

thread_local! {
    static BEATS: Cell<u32> = const { Cell::new(0) };
}

/// Beats of this thread so far: a clock that costs nothing to read, for what may be a beat early or late.
pub fn beats() -> u32 {
    BEATS.get()
}

/// A beat is over.
pub fn beat() {
    BEATS.set(BEATS.get().wrapping_add(1));
}

/// Which driver a core runs on, for the log and the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring with SINGLE_ISSUER and DEFER_TASKRUN.
    UringDeferred,
    /// io_uring with COOP_TASKRUN.
    UringCooperative,
    /// io_uring without flags.
    Uring,
    /// epoll.
    Epoll,
}

/// Asks the kernel what it accepts. Cheap; done once at start.
pub fn probe(choice: Choice) -> io::Result<Driver> {
    if choice == Choice::Epoll {
        return Ok(Driver::Epoll);
    }
    for driver in [Driver::UringDeferred, Driver::UringCooperative, Driver::Uring] {
        if builder(driver).build(8).is_ok() {
            return Ok(driver);
        }
    }
    match choice {
        Choice::IoUring => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel refuses io_uring",
        )),
        _ => Ok(Driver::Epoll),
    }
}

fn builder(driver: Driver) -> io_uring::Builder {
    let mut builder = io_uring::IoUring::builder();
    match driver {
        Driver::UringDeferred => {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        Driver::UringCooperative => {
            builder.setup_coop_taskrun();
        }
        Driver::Uring | Driver::Epoll => {}
    }
    builder
}

/// Builds a runtime on this thread and runs `main` on it to its end.
pub fn run<F: Future>(driver: Driver, main: F) -> io::Result<F::Output> {
    match driver {
        Driver::Epoll => {
            let mut runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new()
                .with_entries(RING_ENTRIES)
                .enable_timer()
                .build()?;
            Ok(runtime.block_on(main))
        }
        _ => {
            let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
                .with_entries(RING_ENTRIES)
                .uring_builder(builder(driver))
                .enable_timer()
                .build()?;
            Ok(runtime.block_on(main))
        }
    }
}

/// Starts a task on this core. Nobody waits for it. If it panics, it alone ends and `PANICS` counts it.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    let mut task = Box::pin(task);
    let guarded = poll_fn(move |context| {
        let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context)));
        polled.unwrap_or_else(|_| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            tracing::error!("a task panicked and was ended; the core goes on");
            Poll::Ready(())
        })
    });
    #[cfg(not(any(test, fuzzing)))]
    drop(monoio::spawn(guarded));
    #[cfg(any(test, fuzzing))]
    crate::sim::spawn(guarded);
}

/// Waits. Boxed: a timer is some 700 bytes, and most of what may wait seldom does.
pub fn sleep(time: Duration) -> impl Future<Output = ()> {
    #[cfg(not(any(test, fuzzing)))]
    let sleep = monoio::time::sleep(time);
    #[cfg(any(test, fuzzing))]
    let sleep = crate::sim::sleep(time);
    Box::pin(sleep)
}

/// Waits for `work` at most `time`. Only for work that holds no read or write (see the rules above).
pub fn within<T>(time: Duration, work: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
    #[cfg(not(any(test, fuzzing)))]
    {
        let work = Box::pin(monoio::time::timeout(time, work));
        async move { work.await.ok() }
    }
    #[cfg(any(test, fuzzing))]
    crate::sim::within(time, work)
}

/// Waits for a small part of a millisecond.
pub async fn moment() {
    #[cfg(not(any(test, fuzzing)))]
    moment::moment().await;
    #[cfg(any(test, fuzzing))]
    crate::sim::sleep(MOMENT).await;
}

/// Does work that takes long on a thread of its own, so that no core waits for it. False where no thread could be started.
pub fn aside(work: impl FnOnce() + Send + 'static) -> bool {
    // Under test it is done at once: a simulation must not depend on threads.
    #[cfg(any(test, fuzzing))]
    work();
    #[cfg(not(any(test, fuzzing)))]
    if let Err(error) = std::thread::Builder::new().name("aside".into()).spawn(work) {
        tracing::error!(%error, "no thread could be started");
        return false;
    }
    true
}
