//! `linegate-control`: opens the state directory, listens on its three sockets, and stays until it is told to stop.
//!
//! SIGTERM and SIGINT end it with status 0; SIGHUP reads the configuration again, and keeps the old one if the new one has
//! a mistake. Standard output says `control ready` once; everything else goes to standard error (`LINEGATE_LOG`).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use linegate_control::secrets::Secrets;
use linegate_control::settings::Settings;
use linegate_control::{Control, admin, link, serve, system_clock};
use rustix::fs::{FlockOperation, Mode, flock};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Linegate's control plane: leases, revocations, approvals, issuer keys.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The configuration file.
    #[arg(long, default_value = "linegate.toml", value_name = "FILE")]
    config: PathBuf,
    /// Where state and sockets are.
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_env("LINEGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    // Whatever is made here is the operator's alone until its mode is set to something else.
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(run(&args));
            runtime.shutdown_timeout(std::time::Duration::from_secs(2)); // a database write may be under way
            ended
        }
        Err(error) => Err(format!("cannot start: {error}")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("linegate-control: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), String> {
    let dir = &args.state_dir;
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;

    let (settings, database) = read_config(&args.config)?;
    make_dir(dir)?;
    let _lock = lock(dir)?;
    let secrets =
        Secrets::open(dir).map_err(|error| format!("{}: {error}", dir.join("token.key").display()))?;
    let database = dir.join(database); // an absolute path in the configuration stays what it is
    let control = Control::open(&database, secrets, settings, system_clock())
        .map_err(|error| format!("cannot open {}: {error}", database.display()))?;

    let bind = |name: &str, mode| {
        let path = dir.join(name);
        serve::bind(&path, mode).map_err(|error| format!("cannot listen at {}: {error}", path.display()))
    };
    let (links, operators, agents) = (
        bind("link.sock", 0o600)?,
        bind("admin.sock", 0o600)?,
        bind("agents.sock", 0o666)?,
    );
    tokio::spawn(link::serve(Arc::clone(&control), links));
    tokio::spawn(serve::serve(operators, admin::operator(Arc::clone(&control))));
    tokio::spawn(serve::serve(agents, admin::agents(Arc::clone(&control))));
    tokio::spawn(Arc::clone(&control).sweep_forever());
    control.fetch_keys();

    let mut stdout = std::io::stdout();
    // Whoever started this may not care to read it.
    let _said = stdout.write_all(b"control ready\n").and_then(|()| stdout.flush());
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload(&control, &args.config).await,
        }
    }
    tracing::info!("told to stop");
    for name in ["link.sock", "admin.sock", "agents.sock"] {
        let _gone = std::fs::remove_file(dir.join(name)); // a next start replaces it as well
    }
    Ok(())
}

async fn reload(control: &Arc<Control>, config: &Path) {
    let done = match read_config(config) {
        Ok((settings, _)) => control
            .reload(settings)
            .await
            .map_err(|refusal| refusal.to_string()),
        Err(mistakes) => Err(mistakes),
    };
    match done {
        Ok(()) => tracing::info!("the configuration was read again"),
        Err(mistakes) => tracing::error!("the old configuration stays in force: {mistakes}"),
    }
}

/// The settings and the database's file name.
fn read_config(path: &Path) -> Result<(Settings, PathBuf), String> {
    let config = linegate_config::Config::load(path).map_err(|mistakes| mistakes.to_string())?;
    Ok(linegate_control::settings::from_config(&config))
}

/// Makes the state directory where it is missing. Agents need to pass through it to their socket, not to list it.
fn make_dir(dir: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o711)))
        .map_err(|error| format!("cannot use {}: {error}", dir.display()))
}

/// One control plane per state directory.
fn lock(dir: &Path) -> Result<File, String> {
    let path = dir.join("control.lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| format!("cannot use {}: {error}", path.display()))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| format!("another linegate-control serves {}", dir.display()))?;
    Ok(file)
}
