//! A worker: one core's thread, its listeners, its inbox, its tick, its end.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use linegate_config::Listen;

use crate::alloc;
use crate::control_link;
use crate::core::Core;
use crate::counters::Counters;
use crate::doors::Door;
use crate::policy_service::{PolicyClient, Reply};
use crate::recorder::Recording;
use crate::rt::net::Listener;
use crate::rt::sync::CoreBell;
use crate::rt::{self, Driver};
use crate::session::postgres::hold::HoldOutcome;
use crate::session::postgres::{Ended, alone, cancel, serve, silence};
use crate::shared::{CoreMessage, Shared};

/// Servers of connections that nobody uses are told that these end, if they read at once.
const GOODBYE: Duration = Duration::from_millis(5);

/// What a worker thread is born with.
pub struct Birth {
    /// Its number.
    pub index: usize,
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// Its counters.
    pub counters: Arc<Counters>,
    /// Its recorder.
    pub recording: Recording,
    /// Its policy thread.
    pub policy: PolicyClient,
    /// Replies of the policy thread.
    pub replies: rtrb::Consumer<Reply>,
    /// What wakes it.
    pub bell: CoreBell,
    /// Which driver to run on.
    pub driver: Driver,
}

/// Told where every target listens, by name.
pub type Listening = std::sync::mpsc::Sender<Result<Vec<(String, String)>, String>>;

/// Runs a worker to its end. `listening` is told the addresses of every target.
pub fn run(birth: Birth, listening: Listening) {
    pin(birth.index);
    let driver = birth.driver;
    let failed = listening.clone();
    if let Err(error) = rt::run(driver, work(birth, listening)) {
        let _ = failed.send(Err(format!("the runtime could not start: {error}")));
    }
}

fn pin(index: usize) {
    let allowed = rustix::thread::sched_getaffinity(None);
    let Ok(allowed) = allowed else { return };
    let cores: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .collect();
    if cores.len() > 1
        && let Some(cpu) = cores.get(index % cores.len().max(1))
    {
        let mut own = rustix::thread::CpuSet::new();
        own.set(*cpu);
        let _ = rustix::thread::sched_setaffinity(None, &own);
    }
}

async fn work(birth: Birth, listening: Listening) {
    let Birth {
        index,
        shared,
        counters,
        recording,
        policy,
        replies,
        bell,
        driver,
    } = birth;
    let core = Core::new(index, shared.clone(), counters, recording, policy);
    let draining = Rc::new(Cell::new(false));
    let mut bound = Vec::new();
    for door in &shared.doors {
        let listener = match listen(door, driver) {
            Ok(listener) => listener,
            Err(error) => {
                let why = format!("{} cannot be listened on: {error}", door.listen);
                let _ = listening.send(Err(why));
                return;
            }
        };
        let place = match listener.address() {
            Ok(Some(address)) => address.to_string(),
            _ => door.listen.to_string(),
        };
        let names = door.targets.iter().map(|target| target.config.name.clone());
        bound.extend(names.map(|name| (name, place.clone())));
        rt::spawn(accept(core.clone(), door.clone(), listener, draining.clone()));
    }
    let ticking = core.clone();
    rt::spawn(async move {
        loop {
            rt::sleep(rt::BEAT).await;
            rt::beat();
            ticking.tick();
            ticking.counters.allocations.set(alloc::of_this_thread());
        }
    });
    rt::spawn(silence::watch(core.clone()));
    let _ = listening.send(Ok(bound));
    inbox(&core, replies, bell, &draining).await;
    drain(&core).await;
    core.counters.allocations.set(alloc::of_this_thread());
    let counted: Vec<String> = core
        .counters
        .all()
        .map(|(name, count)| format!("{name}={count}"))
        .collect();
    tracing::info!(
        core = index,
        panics = rt::PANICS.load(Ordering::Relaxed),
        "{}",
        counted.join(" ")
    );
}

fn listen(door: &Door, driver: Driver) -> std::io::Result<Listener> {
    match (&door.listen, &door.socket) {
        (_, Some(socket)) => Listener::shared(socket.share()?, driver),
        (Listen::Tcp(address), None) => Listener::bind(*address),
        (Listen::Unix(_), None) => Err(std::io::ErrorKind::NotFound.into()), // a socket is opened with its door
    }
}

async fn accept(core: Rc<Core>, door: Arc<Door>, listener: Listener, draining: Rc<Cell<bool>>) {
    loop {
        match listener.accept().await {
            Ok(_) if draining.get() => {}
            Ok((stream, peer)) => rt::spawn(serve::serve(core.clone(), door.clone(), stream, peer)),
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                rt::sleep(Duration::from_millis(50)).await; // out of descriptors, most likely: let sessions end
            }
        }
    }
}

/// Takes replies and messages until the drain.
async fn inbox(
    core: &Rc<Core>,
    mut replies: rtrb::Consumer<Reply>,
    bell: CoreBell,
    draining: &Rc<Cell<bool>>,
) {
    let mut bell = match bell.listen() {
        Ok(bell) => bell,
        Err(error) => return tracing::error!(%error, "a core cannot hear its bell"),
    };
    let (stop, stopped) = (Rc::new(Cell::new(false)), rt::sync::Slot::default());
    let (theirs, stop_slot, flag) = (core.clone(), stopped.clone(), draining.clone());
    rt::spawn(async move {
        loop {
            while let Ok(reply) = replies.pop() {
                theirs.deliver(reply);
            }
            while let Some(message) = theirs.shared.cores[theirs.index].take() {
                if matches!(message, CoreMessage::Drain) {
                    flag.set(true);
                    stop.set(true);
                    stop_slot.put(());
                } else {
                    act(&theirs, message);
                }
            }
            let mailbox = &theirs.shared.cores[theirs.index];
            if bell
                .rest(|| !replies.is_empty() || !mailbox.is_empty())
                .await
                .is_err()
            {
                return;
            }
        }
    });
    stopped.wait().await;
}

fn act(core: &Rc<Core>, message: CoreMessage) {
    match message {
        CoreMessage::Cancel(session, heard) => cancel::act(core, session, heard),
        CoreMessage::LeasesEnded { ids, why, version } => {
            let sessions: Vec<_> = core.sessions.borrow().values().cloned().collect();
            for session in sessions.iter().filter(|session| session.runs_under(&ids)) {
                session.end_lease(why, "");
            }
            let closed = core.warm.borrow_mut().leases_ended(&ids);
            core.counters.warm_closed.add(closed);
            control_link::core_told(&core.shared, version);
        }
        CoreMessage::HoldDecided {
            hold,
            digest,
            approved,
            by,
            reason,
        } => {
            let sessions: Vec<_> = core.sessions.borrow().values().cloned().collect();
            for session in sessions {
                let waits = session
                    .hold
                    .borrow()
                    .as_ref()
                    .is_some_and(|waiting| waiting.hold == hold);
                let waiting = if waits {
                    session.hold.borrow_mut().take()
                } else {
                    None
                };
                if let Some(waiting) = waiting {
                    waiting.slot.put(HoldOutcome::Decided {
                        approved,
                        digest,
                        by,
                        reason,
                    });
                    return;
                }
            }
        }
        CoreMessage::WhoUses(question) => alone::answer(core, &question),
        CoreMessage::UsesKnown(session) => alone::all_answered(core, session),
        CoreMessage::Drain => {}
    }
}

/// Waits for sessions to end by themselves, then ends the rest.
async fn drain(core: &Rc<Core>) {
    let time = Duration::from_secs(u64::from(core.shared.config.data.drain_seconds));
    let closed = core.warm.borrow_mut().clear();
    core.counters.warm_closed.add(closed);
    if closed > 0 {
        rt::sleep(GOODBYE).await;
    }
    let since = Instant::now();
    while since.elapsed() < time && !core.sessions.borrow().is_empty() {
        // A session that nothing is running in can go at once.
        let idle: Vec<_> = core
            .sessions
            .borrow()
            .values()
            .filter(|session| session.is_quiet())
            .cloned()
            .collect();
        for session in idle {
            session.end(Ended::saying(b"57P01", "linegate is shutting down"));
        }
        rt::sleep(Duration::from_millis(20)).await;
    }
    let rest: Vec<_> = core.sessions.borrow().values().cloned().collect();
    for session in rest {
        session.end(Ended::saying(b"57P01", "linegate is shutting down"));
        session.front_switch.off();
    }
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(2) && !core.sessions.borrow().is_empty() {
        rt::sleep(Duration::from_millis(5)).await;
    }
    debug_assert!(core.shared.draining.load(Ordering::Relaxed));
}
