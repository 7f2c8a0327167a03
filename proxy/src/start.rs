//! Starting and stopping: configuration, threads, signals.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use arc_swap::ArcSwap;
use linegate_config::{Config, Workers};
use linegate_identity::Leases;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use zeroize::Zeroizing;

use crate::counters::Counters;
use crate::meters::Meters;
use crate::recorder::RecorderThread;
use crate::rt::sync::Bell;
use crate::rt::{self, Driver};
use crate::shared::{CoreMessage, Mailbox, PolicyVersion, Shared};
use crate::worker::Birth;
use crate::{catalog, clock, control_link, policy_service, pseudonym_key, recorder, settings, worker};

/// How often it is looked whether control has been heard.
const READY_POLL: Duration = Duration::from_millis(2);

/// Runs the data plane until it is told to stop.
pub fn run(config_path: &Path, state_dir: &Path) -> Result<(), Vec<String>> {
    take_small_pages();
    let config = Config::load(config_path).map_err(|mistakes| vec![mistakes.to_string()])?;
    std::fs::create_dir_all(state_dir).map_err(|error| vec![format!("{}: {error}", state_dir.display())])?;
    no_core_dumps();
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(one)?;
    let driver = rt::probe(config.data.runtime).map_err(one)?;
    let count = match config.data.workers {
        Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
        Workers::Count(count) => usize::from(count),
    };
    tracing::info!(?driver, workers = count, "starting");
    let mut bells = Vec::new();
    for _ in 0..count {
        bells.push(Bell::for_core().map_err(one)?);
    }
    let (catalog_bell, catalog_core) = Bell::for_core().map_err(one)?;
    let directory = config_path.parent().unwrap_or(Path::new(".")).to_owned();
    let shared = share(
        config,
        &directory,
        state_dir,
        bells.iter().map(|(bell, _)| bell.clone()),
        catalog_bell,
    )?;
    catalog::start(shared.clone(), driver, catalog_core).map_err(one)?;
    control_link::start(shared.clone(), state_dir.join("link.sock")).map_err(one)?;
    let (recorders, workers) = start_workers(&shared, state_dir, bells, driver)?;
    say_when_ready(shared.clone()).map_err(one)?;
    wait_for_signals(signals, &shared, config_path, &directory);
    tracing::info!("draining");
    shared.draining.store(true, Ordering::SeqCst);
    for core in &shared.cores {
        core.put(CoreMessage::Drain);
    }
    for worker in workers {
        if worker.join().is_err() {
            tracing::error!("a worker panicked");
        }
    }
    // Other threads hold the doors until the process ends.
    for socket in shared.doors.iter().filter_map(|door| door.socket.as_ref()) {
        socket.leave();
    }
    for recorder in recorders {
        recorder.stop();
    }
    Ok(())
}

/// Has the system give memory page by page, where it gives two megabytes at a time to whoever asks as the allocator does. Streams cost
/// the same; idle sessions, of which each holds a little of everything, cost a quarter less, and all that the process begins with less
/// than half. A system that cannot is left as it is.
fn take_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay as the system has them");
    }
}

/// Says `data ready` when a login can succeed: control's leases are known. A lease that control grants from then on is known
/// here before control says so.
fn say_when_ready(shared: Arc<Shared>) -> std::io::Result<()> {
    let wait = move || {
        while !shared.has_snapshot.load(Ordering::Acquire) {
            if shared.draining.load(Ordering::SeqCst) {
                return;
            }
            std::thread::sleep(READY_POLL);
        }
        println!("data ready");
        let _ = std::io::stdout().flush();
    };
    std::thread::Builder::new().name("ready".into()).spawn(wait)?;
    Ok(())
}

fn one(error: std::io::Error) -> Vec<String> {
    vec![error.to_string()]
}

/// What all threads share, from the configuration.
pub(crate) fn share(
    config: Config,
    directory: &Path,
    state_dir: &Path,
    bells: impl Iterator<Item = Arc<Bell>>,
    catalog_bell: Arc<Bell>,
) -> Result<Arc<Shared>, Vec<String>> {
    let policy = settings::compile_policy(&config, directory);
    let targets = settings::targets(&config);
    let (policy, targets) = match (policy, targets) {
        (Ok(policy), Ok(targets)) => (policy, targets),
        (policy, targets) => {
            let lists = [policy.err(), targets.err()];
            return Err(lists.into_iter().flatten().flatten().collect());
        }
    };
    let doors = settings::doors(&config, &targets)?;
    let pseudonym_key =
        pseudonym_key::load_or_create(&state_dir.join("pseudonym.key"), &Zeroizing::new(clock::random()))
            .map_err(one)?;
    Ok(Arc::new(Shared {
        targets,
        doors,
        policy: ArcSwap::from_pointee(PolicyVersion {
            version: 1,
            engine: policy,
        }),
        leases: Mutex::new(Leases::default()),
        has_snapshot: AtomicBool::new(false),
        keys: ArcSwap::default(),
        catalogs: Mutex::default(),
        catalog_wishes: Mailbox::new(catalog_bell),
        cancels: Mutex::default(),
        cores: bells.map(Mailbox::new).collect(),
        to_control: Mailbox::new(Bell::for_anyone()),
        holds: Mutex::default(),
        control_connected: AtomicBool::new(false),
        draining: AtomicBool::new(false),
        pseudonym_key,
        boot_key: Zeroizing::new(clock::random()),
        lease_acks: Mutex::default(),
        meters: Meters::default(),
        config,
    }))
}

type Threads = (Vec<RecorderThread>, Vec<std::thread::JoinHandle<()>>);

fn start_workers(
    shared: &Arc<Shared>,
    state_dir: &Path,
    bells: Vec<(Arc<Bell>, rt::sync::CoreBell)>,
    driver: Driver,
) -> Result<Threads, Vec<String>> {
    let (mut recorders, mut workers) = (Vec::new(), Vec::new());
    let mut listening = Vec::new();
    for (index, (bell, core_bell)) in bells.into_iter().enumerate() {
        let recording = recorder::Settings {
            directory: state_dir.join(&shared.config.data.recordings),
            stream: format!("core-{index}"),
            key: state_dir.join("recording.key"),
            commit: Duration::from_millis(u64::from(shared.config.data.commit_ms)),
            entries: shared.config.data.recording_buffer as usize,
        };
        let (recording, thread) =
            recorder::start(recording).map_err(|error| vec![format!("recordings: {error}")])?;
        recorders.push(thread);
        let (policy, replies) = policy_service::start(index, shared.clone(), bell).map_err(one)?;
        let counters = Arc::new(Counters::default());
        let birth = Birth {
            index,
            shared: shared.clone(),
            counters,
            recording,
            policy,
            replies,
            bell: core_bell,
            driver,
        };
        let (told, tell) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || worker::run(birth, told));
        workers.push(thread.map_err(one)?);
        listening.push(tell);
    }
    for (index, tell) in listening.into_iter().enumerate() {
        let bound = tell
            .recv()
            .map_err(|_| vec!["a worker ended at once".to_owned()])?
            .map_err(|why| vec![why])?;
        for (target, address) in bound.into_iter().filter(|_| index == 0) {
            println!("listening {target} {address}");
        }
    }
    Ok((recorders, workers))
}

/// Leases and credentials must not end up in a core file.
fn no_core_dumps() {
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    let open = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit {
        current: open.maximum,
        maximum: open.maximum,
    };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, most);
}

fn wait_for_signals(mut signals: Signals, shared: &Shared, config_path: &Path, directory: &Path) {
    for signal in signals.forever() {
        if signal != SIGHUP {
            return;
        }
        reload(shared, config_path, directory);
    }
}

/// A bad reload keeps what is in force. Policies and groups are reloaded; the rest needs a restart, and says so.
fn reload(shared: &Shared, config_path: &Path, directory: &Path) {
    let fresh = match Config::load(config_path) {
        Ok(fresh) => fresh,
        Err(mistakes) => return tracing::error!("the configuration was not reloaded:\n{mistakes}"),
    };
    match settings::compile_policy(&fresh, directory) {
        Ok(engine) => {
            let version = shared.policy.load().version + 1;
            shared.policy.store(Arc::new(PolicyVersion { version, engine }));
            tracing::info!(version, "policies reloaded");
        }
        Err(mistakes) => return tracing::error!("the policies were not reloaded:\n{}", mistakes.join("\n")),
    }
    if fresh.targets != shared.config.targets || fresh.labels != shared.config.labels {
        tracing::warn!("targets and labels changed: they take effect after a restart");
    }
}
