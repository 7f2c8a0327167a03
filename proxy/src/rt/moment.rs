//! Moments: waits far shorter than the runtime's timers, which count milliseconds. One clock serves all who wait on a core, and
//! it stops when nobody has waited for a while.
//!
//! Source: timerfd_create(2).

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use monoio::net::TcpStream;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use super::MOMENT;
use super::sync::Slot;

/// A moment where there is no clock: the runtime's shortest.
const COARSE: Duration = Duration::from_millis(1);
/// After so many moments that nobody waited for, the clock stops.
const IDLE_MAX: u32 = 100;

#[derive(Default)]
struct Waiting {
    slots: Vec<Slot<()>>,
    /// The clock runs.
    is_ticking: bool,
}

thread_local! {
    static WAITING: RefCell<Waiting> = RefCell::default();
}

/// Waits for up to [`MOMENT`].
pub async fn moment() {
    let slot = Slot::default();
    let was_ticking = WAITING.with_borrow_mut(|waiting| {
        waiting.slots.push(slot.clone());
        std::mem::replace(&mut waiting.is_ticking, true)
    });
    if !was_ticking {
        super::spawn(tick());
    }
    slot.wait().await;
}

/// Runs the clock, as long as somebody waits.
async fn tick() {
    let clock = Clock::start().ok(); // there may be no descriptor left
    let mut due = Vec::new();
    let mut idle = 0;
    while idle < IDLE_MAX {
        let passed = match &clock {
            Some(clock) => clock.next().await.is_ok(),
            None => false,
        };
        if !passed {
            super::sleep(COARSE).await;
        }
        WAITING.with_borrow_mut(|waiting| std::mem::swap(&mut waiting.slots, &mut due));
        idle = if due.is_empty() { idle + 1 } else { 0 };
        due.drain(..).for_each(|slot: Slot<()>| slot.put(()));
    }
    let rest = WAITING.with_borrow_mut(std::mem::take);
    rest.slots.into_iter().for_each(|slot| slot.put(()));
}

/// A timer that is due again and again.
struct Clock {
    timer: OwnedFd,
    /// The same, as what the runtime can wait for, whatever it is.
    waiter: TcpStream,
}

impl Clock {
    fn start() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let each = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(MOMENT.subsec_nanos()),
        };
        let times = Itimerspec {
            it_interval: each,
            it_value: each,
        };
        rustix::time::timerfd_settime(timer.as_fd(), TimerfdTimerFlags::empty(), &times)?;
        let waiter = TcpStream::from_std(std::net::TcpStream::from(timer.try_clone()?))?;
        Ok(Self { timer, waiter })
    }

    async fn next(&self) -> io::Result<()> {
        self.waiter.readable(false).await?;
        let mut passed = [0; 8];
        match rustix::io::read(&self.timer, &mut passed) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
