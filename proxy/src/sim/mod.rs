//! The simulator: production sessions on a simulated network, clock and server, all of it from one seed.
//!
//! Under test `rt` stands on this module instead of the runtime: tasks are polled in an order that chance picks, time passes
//! only when nothing can run, reads and writes are cut anywhere and late. `net` has the sockets, `server` a PostgreSQL that
//! knows a few statements, `client` conversations and what they must hear, `world` puts linegate's own parts together.
//!
//! `hostile` is a client that says anything: by chance here, and what a fuzzer makes of it in `tests/fuzz/run session`.
//!
//! `SIM_SEEDS=100000` plays more seeds, and one command plays one again: `SIM_SEED=4711 cargo test -p linegated sim`.

mod client;
mod hostile;
mod server;
mod talk;
mod world;

pub use crate::rt::net;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use linegate_identity::UnixMillis;

/// Where simulated time begins: some day.
const EPOCH_MS: u64 = 1_700_000_000_000;
/// No simulation takes longer than this in its own time, nor more turns than that.
const TIME_MAX_MS: u64 = 120_000;
const TURNS_MAX: u64 = 3_000_000;

type Task = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
struct Sim {
    chance: u64,
    now_ms: u64,
    tasks: Vec<Option<Task>>,
    timers: Vec<(u64, Waker)>,
    ready: Arc<Mutex<Vec<usize>>>,
}

thread_local! {
    static SIM: RefCell<Option<Sim>> = const { RefCell::new(None) };
}

struct Flag {
    task: usize,
    ready: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(&self.task) {
            ready.push(self.task);
        }
    }
}

fn with<T>(act: impl FnOnce(&mut Sim) -> T) -> T {
    SIM.with_borrow_mut(|sim| act(sim.as_mut().expect("a simulation runs on this thread")))
}

impl Sim {
    fn word(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.chance;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

/// A number below `end` by chance.
pub fn below(end: usize) -> usize {
    with(|sim| usize::try_from(sim.word() % end.max(1) as u64).expect("64 bits"))
}

/// The simulated time, if a simulation runs on this thread.
pub fn now() -> Option<UnixMillis> {
    SIM.with_borrow(|sim| sim.as_ref().map(|sim| UnixMillis(EPOCH_MS + sim.now_ms)))
}

/// Bytes by chance, if a simulation runs on this thread.
pub fn random<const N: usize>() -> Option<[u8; N]> {
    SIM.with_borrow_mut(|sim| {
        let sim = sim.as_mut()?;
        Some(std::array::from_fn(|_| sim.word().to_le_bytes()[0]))
    })
}

/// Starts a task.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    let task: Task = Box::pin(task);
    with(|sim| {
        let free = sim.tasks.len();
        sim.tasks.push(Some(task));
        sim.ready
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(free);
    });
}

/// Waits in simulated time.
pub async fn sleep(time: Duration) {
    let due = with(|sim| sim.now_ms + u64::try_from(time.as_millis()).unwrap_or(TIME_MAX_MS).max(1));
    std::future::poll_fn(|context| {
        with(|sim| {
            if sim.now_ms >= due {
                return Poll::Ready(());
            }
            sim.timers.push((due, context.waker().clone()));
            Poll::Pending
        })
    })
    .await;
}

/// Waits for `work` at most `time`.
pub async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut over) = (Box::pin(work), Box::pin(sleep(time)));
    std::future::poll_fn(|context| {
        if let Poll::Ready(value) = work.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        over.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// Plays `main` to its end; what it found wrong, or that it did not end.
fn play(seed: u64, main: impl Future<Output = Result<(), String>> + 'static) -> Result<(), String> {
    let sim = Sim {
        chance: seed,
        ..Sim::default()
    };
    SIM.with_borrow_mut(|slot| *slot = Some(sim));
    let result = std::rc::Rc::new(RefCell::new(None));
    let theirs = result.clone();
    spawn(async move { *theirs.borrow_mut() = Some(main.await) });
    let mut turns = 0;
    let outcome = loop {
        if let Some(found) = result.borrow_mut().take() {
            break found;
        }
        turns += 1;
        if let Err(why) = turn() {
            break Err(why);
        }
        if turns > TURNS_MAX {
            break Err("it goes round and round".to_owned());
        }
    };
    // Tasks first: what they drop may still ask for the time.
    let tasks = with(|sim| std::mem::take(&mut sim.tasks));
    drop(tasks);
    SIM.with_borrow_mut(Option::take);
    outcome
}

/// Polls one task that can go on, or lets time pass to the next timer.
fn turn() -> Result<(), String> {
    let next = with(|sim| {
        let picked = sim.word();
        let mut ready = sim.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.is_empty() {
            return None;
        }
        let at = usize::try_from(picked % ready.len() as u64).expect("64 bits");
        Some((ready.swap_remove(at), sim.ready.clone()))
    });
    let Some((number, ready)) = next else {
        return with(|sim| {
            let Some(due) = sim.timers.iter().map(|(due, _)| *due).min() else {
                return Err("everything waits, and for nothing".to_owned());
            };
            sim.now_ms = sim.now_ms.max(due);
            if sim.now_ms > TIME_MAX_MS {
                return Err("it takes for ever".to_owned());
            }
            let now = sim.now_ms;
            let (over, waiting): (Vec<_>, Vec<_>) = sim.timers.drain(..).partition(|(due, _)| *due <= now);
            sim.timers = waiting;
            over.into_iter().for_each(|(_, waker)| waker.wake());
            Ok(())
        });
    };
    let Some(mut task) = with(|sim| sim.tasks[number].take()) else {
        return Ok(()); // woken after its end
    };
    let waker = Waker::from(Arc::new(Flag { task: number, ready }));
    if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        with(|sim| sim.tasks[number] = Some(task));
    }
    Ok(())
}

/// Plays a hostile client: the first eight bytes are chance, the others what it says.
#[cfg(fuzzing)]
pub fn assail(data: &[u8]) {
    thread_local! {
        static GROUND: world::Ground = world::Ground::new();
    }
    let Some((seed, bytes)) = data.split_first_chunk::<8>() else {
        return;
    };
    let ground = GROUND.with(world::Ground::clone);
    let played = play(u64::from_le_bytes(*seed), world::assailed(ground, bytes.to_vec()));
    played.unwrap_or_else(|why| panic!("{why}"));
}

/// Seeds that every run plays.
#[cfg(test)]
const SEEDS: u64 = 3000;

#[test]
fn whatever_a_client_says_it_hears_nothing_that_is_masked() {
    let ground = world::Ground::new();
    let seed = std::env::var("SIM_SEED")
        .ok()
        .map(|seed| seed.parse::<u64>().expect("a number"));
    for seed in seed.map_or(0..SEEDS / 3, |seed| seed..seed + 1) {
        let played = play(seed, world::assailed_by_chance(ground.clone()));
        if let Err(why) = played {
            panic!("{why}\n  again: SIM_SEED={seed} cargo test -p linegated sim");
        }
    }
}

#[test]
fn every_seed_hears_the_right_answers_and_the_server_hears_nothing_undecided() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    let ground = world::Ground::new();
    if let Some(seed) = number("SIM_SEED") {
        return play(seed, world::play(ground.clone())).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
    for seed in 0..number("SIM_SEEDS").unwrap_or(SEEDS) {
        let played = play(seed, world::play(ground.clone()));
        if let Err(why) = played {
            panic!("{why}\n  again: SIM_SEED={seed} cargo test -p linegated sim");
        }
    }
    assert!(
        ground.reused.get() > 0,
        "no session followed another on its connection"
    );
}
