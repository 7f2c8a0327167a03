//! `linegate run`: a command under its own lease.
//!
//! With a lease in the environment the new one is derived from it, so a nested agent can only narrow what its caller
//! had; without one the operator's socket is asked. The lease is revoked when the command ends.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::client::{CONTROL_ENV, Control};
use crate::failure::Failure;
use crate::lease::{self, Held, PASSWORD_ENV, USER_ENV};
use crate::{Global, LeaseBounds, output, parent_death};

/// libpq settings that would lead the command around the lease.
const MISLEADING: [&str; 6] = [
    "PGHOSTADDR",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGPASSFILE",
    "PGREQUIREAUTH",
    "PGREQUIREPEER",
];

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The protected server.
    #[arg(long)]
    target: String,
    /// The name of this hop in the chain (default: the command's name, when deriving).
    #[arg(long)]
    actor: Option<String>,
    /// Who, when no lease is in the environment (default: user:LOGIN-NAME).
    #[arg(long = "as", value_name = "PRINCIPAL")]
    principal: Option<String>,
    #[command(flatten)]
    bounds: LeaseBounds,
    /// The command.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// Runs the command; its exit status is ours.
pub(crate) async fn run(global: &Global, args: RunArgs) -> Result<u8, Failure> {
    let control = Control::find(global);
    let lease = obtain(&control, &args).await?;
    let held = Held {
        username: text(&lease, "username")?,
        password: text(&lease, "password")?,
    };
    let ended = match start(&control, &args, &lease, &held) {
        Ok(child) => follow(child).await,
        Err(failure) => Err(failure),
    };
    if let Err(failure) = lease::revoke_held(&control, &held).await {
        let until = output::cell(&lease["expires_at_text"]);
        eprintln!(
            "linegate: the lease {} was not revoked: {}",
            held.username,
            failure.message()
        );
        eprintln!("  hint: it ends by itself at {until}");
    }
    ended.map(code)
}

async fn obtain(control: &Control, args: &RunArgs) -> Result<Value, Failure> {
    if let Some(held) = Held::from_environment() {
        let actor = args.actor.clone().unwrap_or_else(|| hop_name(&args.command));
        let parent = json!({ "parent_username": held.username, "parent_password": held.password });
        let lease = lease::derive(control, parent, &actor, &args.bounds).await?;
        if lease["target"]
            .as_str()
            .is_some_and(|target| target != args.target)
        {
            return Err(Failure::new(format!(
                "the lease in the environment does not open `{}`",
                args.target
            ))
            .hint(format!("it opens `{}`", output::cell(&lease["target"]))));
        }
        return Ok(lease);
    }
    let principal = args
        .principal
        .clone()
        .unwrap_or_else(|| format!("user:{}", login_name()));
    let actors: Vec<String> = args.actor.iter().cloned().collect();
    lease::create(control, &args.target, &principal, &actors, &args.bounds).await
}

/// The last part of the command's path: what a reader of the chain would call it.
fn hop_name(command: &[OsString]) -> String {
    let first = command.first().map(Path::new);
    first.and_then(Path::file_name).map_or_else(
        || "command".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn text(lease: &Value, field: &str) -> Result<String, Failure> {
    lease[field]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(format!("the control plane's answer has no `{field}`")))
}

fn start(control: &Control, args: &RunArgs, lease: &Value, held: &Held) -> Result<Child, Failure> {
    let Some((program, rest)) = args.command.split_first() else {
        return Err(Failure::new("no command").hint("write it after `--`"));
    };
    let mut command = Command::new(program);
    command.args(rest);
    for name in MISLEADING {
        command.env_remove(name);
    }
    command
        .env("PGHOST", text(lease, "host")?)
        .env("PGPORT", output::cell(&lease["port"]))
        .env("PGUSER", &held.username)
        .env("PGPASSWORD", &held.password)
        .env(USER_ENV, &held.username)
        .env(PASSWORD_ENV, &held.password)
        .env(CONTROL_ENV, control.place_absolute());
    if let Some(database) = lease["database"].as_str() {
        command.env("PGDATABASE", database);
    }
    parent_death::end_with_parent(&mut command);
    command
        .spawn()
        .map_err(|error| Failure::new(format!("cannot run {}: {error}", program.to_string_lossy())))
}

/// Waits for the command and passes signals on. A terminal sends Ctrl-C and Ctrl-\ to the command by itself.
async fn follow(mut child: Child) -> Result<ExitStatus, Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::new(format!("cannot listen for signals: {error}")));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut quit = listen(SignalKind::quit())?;
    let typed = std::io::stdin().is_terminal();
    loop {
        let pass = tokio::select! {
            status = child.wait() => {
                return status.map_err(|error| Failure::new(format!("lost sight of the command: {error}")));
            }
            _ = terminate.recv() => Some(Signal::TERM),
            _ = hangup.recv() => Some(Signal::HUP),
            _ = interrupt.recv() => (!typed).then_some(Signal::INT),
            _ = quit.recv() => (!typed).then_some(Signal::QUIT),
        };
        if let (Some(signal), Some(pid)) = (pass, pid(&child)) {
            // The command may have ended meanwhile; `wait` will say so.
            let _gone = kill_process(pid, signal);
        }
    }
}

/// The child's process id while it has not been waited for.
pub(crate) fn pid(child: &Child) -> Option<Pid> {
    child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw)
}

/// As a shell reports it: the status, or 128 and the signal.
fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// The name of the user who is logged in; under sudo, of the user who called it.
pub(crate) fn login_name() -> String {
    let uid = rustix::process::getuid();
    if let Some(caller) = std::env::var("SUDO_USER")
        .ok()
        .filter(|name| uid.is_root() && !name.is_empty())
    {
        return caller;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    user_name(&passwd, uid.as_raw()).unwrap_or_else(|| format!("uid-{}", uid.as_raw()))
}

/// passwd(5): name:password:uid:…
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_is_named_after_its_program() {
        assert_eq!(
            hop_name(&["/opt/tools/migrate".into(), "--all".into()]),
            "migrate"
        );
    }

    #[test]
    fn a_command_ended_by_a_signal_reports_like_a_shell() {
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
        assert_eq!(code(ExitStatus::from_raw(7 << 8)), 7);
    }

    #[test]
    fn names_come_from_the_password_file() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nops:x:1001:1001::/home/ops:/bin/sh\n";
        assert_eq!(user_name(passwd, 1001).as_deref(), Some("ops"));
        assert_eq!(user_name(passwd, 7), None);
    }
}
