//! `linegate up`: both processes on one box, and this one in front of them.
//!
//! Order: `linegate-control` first, since a data plane opens nothing without a snapshot; then `linegated`. Each says when
//! it serves (`control ready`; `listening TARGET ADDRESS`… then `data ready`). SIGTERM and SIGINT drain: the data plane
//! first, while the control plane can still decide what it holds. A dead control plane is started again with growing
//! pauses, since sessions go on without it; a dead data plane ends everything, since nothing is served without it.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::failure::Failure;
use crate::{ConfigArg, Global, client, output, parent_death, run};

const CONTROL: &str = "linegate-control";
const DATA: &str = "linegated";
/// How long a process may take until it serves.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// The first pause before the control plane is started again; it doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LONGEST: Duration = Duration::from_secs(10);
/// A control plane that ran this long starts again without a grown pause.
const STEADY: Duration = Duration::from_secs(60);

/// One target's door.
#[derive(Debug, PartialEq, Eq)]
struct Listening {
    target: String,
    address: String,
}

/// What a process says on its standard output.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Listening(Listening),
    Ready,
    Other,
}

/// Starts both, prints `ready`, stays until told to stop.
pub(crate) async fn up(global: &Global, args: &ConfigArg) -> Result<u8, Failure> {
    let programs = Programs {
        config: args.config.clone(),
        state_dir: client::state_dir(global),
    };
    let mut signals = Signals::listen()?;
    let Some((control, _)) = start(&programs, CONTROL, &mut signals).await? else {
        return Ok(0);
    };
    let Some((data, listening)) = start(&programs, DATA, &mut signals).await? else {
        stop(control, CONTROL, &mut signals).await;
        return Ok(0);
    };
    announce(global, &listening)?;
    watch(&programs, control, data, &mut signals).await
}

fn announce(global: &Global, listening: &[Listening]) -> Result<(), Failure> {
    if global.json {
        let targets: Vec<_> = listening
            .iter()
            .map(|one| json!({ "target": one.target, "address": one.address }))
            .collect();
        return output::write(&format!("{}\n", json!({ "ready": true, "targets": targets })));
    }
    let mut text = String::from("ready");
    for Listening { target, address } in listening {
        text.push_str(&format!(" {target}={address}"));
    }
    text.push('\n');
    output::write(&text)
}

/// What both processes are started with.
struct Programs {
    config: PathBuf,
    state_dir: PathBuf,
}

/// The signals that an operator sends.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::new(format!("cannot listen for signals: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.terminate.recv() => Order::Stop,
            _ = self.interrupt.recv() => Order::Stop,
            _ = self.hangup.recv() => Order::Reload,
        }
    }

    /// Waits until told to stop.
    async fn stop(&mut self) {
        while self.next().await != Order::Stop {}
    }
}

/// What an operator's signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Stop,
    Reload,
}

/// A started process and what it still says.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn tell(&self, signal: Signal) {
        if let Some(pid) = run::pid(&self.child) {
            // It may have ended meanwhile; `wait` will say so.
            let _gone = kill_process(pid, signal);
        }
    }

    /// Waits for its end, and keeps reading so that it never blocks on a full pipe.
    async fn ended(&mut self) -> String {
        while let Ok(Some(line)) = self.lines.next_line().await {
            eprintln!("{line}");
        }
        described(self.child.wait().await)
    }
}

fn described(status: std::io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}

fn spawn(programs: &Programs, program: &str) -> Result<Running, Failure> {
    let beside = std::env::current_exe()
        .map_err(|error| Failure::new(format!("cannot find my own executable: {error}")))?
        .with_file_name(program);
    let mut command = Command::new(&beside);
    command
        .arg("--config")
        .arg(&programs.config)
        .arg("--state-dir")
        .arg(&programs.state_dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    // A terminal's Ctrl-C goes to this process only, so that the order of stopping stays its own.
    command.process_group(0);
    parent_death::end_with_parent(&mut command);
    let mut child = command.spawn().map_err(|error| {
        Failure::new(format!("cannot start {}: {error}", beside.display()))
            .hint("all three programs belong in one directory")
    })?;
    let Some(stdout) = child.stdout.take() else {
        return Err(Failure::new(format!("{program} has no output")));
    };
    Ok(Running {
        child,
        lines: BufReader::new(stdout).lines(),
    })
}

/// Starts a process and waits until it serves; `None` when told to stop meanwhile.
async fn start(
    programs: &Programs,
    program: &str,
    signals: &mut Signals,
) -> Result<Option<(Running, Vec<Listening>)>, Failure> {
    let mut running = spawn(programs, program)?;
    tokio::select! {
        heard = timeout(READY_TIMEOUT, until_ready(&mut running)) => match heard {
            Ok(Some(listening)) => Ok(Some((running, listening))),
            Ok(None) => {
                let why = described(running.child.wait().await);
                Err(Failure::new(format!("{program} ended before it served ({why})"))
                    .hint("its own message stands above; `linegate check` shows configuration mistakes"))
            }
            Err(_) => {
                running.tell(Signal::TERM);
                Err(Failure::new(format!("{program} did not serve within {} s", READY_TIMEOUT.as_secs())))
            }
        },
        () = signals.stop() => {
            running.tell(Signal::TERM);
            running.ended().await;
            Ok(None)
        }
    }
}

/// Reads until the ready line; `None` when the output ends before it.
async fn until_ready(running: &mut Running) -> Option<Vec<Listening>> {
    let mut listening = Vec::new();
    loop {
        let line = running.lines.next_line().await.ok()??;
        match said(&line) {
            Said::Listening(one) => listening.push(one),
            Said::Ready => return Some(listening),
            Said::Other => eprintln!("{line}"),
        }
    }
}

fn said(line: &str) -> Said {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["listening", target, address] => Said::Listening(Listening {
            target: (*target).to_owned(),
            address: (*address).to_owned(),
        }),
        ["control" | "data", "ready", ..] => Said::Ready,
        _ => Said::Other,
    }
}

/// Both serve: pass signals on, start the control plane again when it dies, end when the data plane does.
async fn watch(
    programs: &Programs,
    control: Running,
    mut data: Running,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    let mut control = Some(control);
    let mut pause = PAUSE_FIRST;
    let mut started = tokio::time::Instant::now();
    loop {
        tokio::select! {
            why = data.ended() => {
                if let Some(control) = control {
                    stop(control, CONTROL, signals).await;
                }
                return Err(Failure::new(format!("{DATA} ended ({why})")).hint("its own message stands above"));
            }
            why = ended(&mut control), if control.is_some() => {
                control = None;
                if started.elapsed() > STEADY {
                    pause = PAUSE_FIRST;
                }
                eprintln!("linegate: {CONTROL} ended ({why}); sessions go on; it starts again in {} ms", pause.as_millis());
            }
            () = sleep(pause), if control.is_none() => {
                pause = (pause * 2).min(PAUSE_LONGEST);
                started = tokio::time::Instant::now();
                match spawn(programs, CONTROL) {
                    Ok(running) => control = Some(running),
                    Err(failure) => failure.print(false),
                }
            }
            order = signals.next() => match order {
                Order::Reload => {
                    data.tell(Signal::HUP);
                    if let Some(control) = &control {
                        control.tell(Signal::HUP);
                    }
                }
                Order::Stop => {
                    stop(data, DATA, signals).await;
                    if let Some(control) = control {
                        stop(control, CONTROL, signals).await;
                    }
                    return Ok(0);
                }
            },
        }
    }
}

async fn ended(running: &mut Option<Running>) -> String {
    match running {
        Some(running) => running.ended().await,
        None => std::future::pending().await,
    }
}

/// Asks a process to drain and waits for it; being told to stop once more ends it at once.
async fn stop(mut running: Running, program: &str, signals: &mut Signals) {
    running.tell(Signal::TERM);
    tokio::select! {
        _ = running.ended() => return,
        () = signals.stop() => eprintln!("linegate: told to stop again; {program} ends without draining"),
    }
    running.tell(Signal::KILL);
    running.ended().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_lines_are_told_from_everything_else() {
        let prod = Listening {
            target: "prod".into(),
            address: "127.0.0.1:6432".into(),
        };
        assert_eq!(said("listening prod 127.0.0.1:6432"), Said::Listening(prod));
        assert_eq!(said("control ready"), Said::Ready);
        assert_eq!(said("data ready prod=127.0.0.1:6432"), Said::Ready);
        assert_eq!(said("not ready"), Said::Other);
        assert_eq!(said(""), Said::Other);
    }
}
