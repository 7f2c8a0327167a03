//! Sessions that do nothing: what each costs in memory.

use std::time::Duration;

use codecs::postgres::build::frontend as tell;

use crate::client::Client;
use crate::failure::Failure;
use crate::process::Processes;
use crate::report::digits;
use crate::target::Target;

/// What a path's idle sessions cost.
pub struct Idle {
    /// The path's name.
    pub path: String,
    /// Proportional set size before the first session, in KiB.
    pub before_kib: u64,
    /// And with all of them open and idle.
    pub after_kib: u64,
    /// How many there were.
    pub sessions: u32,
}

impl Idle {
    /// KiB a session; memory that was already reserved counts as free.
    pub fn kib_per_session(&self) -> f64 {
        (self.after_kib as f64 - self.before_kib as f64) / f64::from(self.sessions)
    }
}

/// What each session does before it is idle.
#[derive(Clone, Copy)]
pub struct First<'a> {
    /// The statement.
    pub sql: &'a str,
    /// How often it runs, one after the other.
    pub times: u32,
}

/// Opens sessions, lets each run its statement, waits, and looks at the processes behind the port.
pub fn sample(target: &Target, first: First<'_>, sessions: u32, settle: Duration) -> Result<Idle, Failure> {
    let unseen =
        || Failure::new("no process of this machine listens there, or its memory is not for us to see");
    let processes = Processes::listening_on(target.port).ok_or_else(unseen)?;
    let mut batch = Vec::new();
    tell::query(&mut batch, first.sql.as_bytes());
    let mut warm = Client::open(target)?;
    warm.run(&batch)?;
    warm.close()?;
    std::thread::sleep(settle);
    let before_kib = processes.pss_kib().ok_or_else(unseen)?;
    let mut clients = Vec::new();
    for index in 0..sessions {
        let mut client = Client::open(target)
            .and_then(|mut client| {
                (0..first.times).try_for_each(|_| client.run(&batch))?;
                Ok(client)
            })
            .map_err(|failure| failure.during(&format!("session {}", index + 1)))?;
        client.forget();
        clients.push(client);
    }
    std::thread::sleep(settle);
    let after_kib = processes.pss_kib().ok_or_else(unseen)?;
    for client in clients {
        client.close()?;
    }
    Ok(Idle {
        path: target.name.clone(),
        before_kib,
        after_kib,
        sessions,
    })
}

/// The table of all paths.
pub fn markdown(title: &str, outcomes: &[(String, Result<Idle, Failure>)]) -> String {
    let mut text = format!(
        "**{title}**\n\n| path | KiB/session | Pss before, KiB | after, KiB | note |\n|---|---|---|---|---|\n"
    );
    for (path, outcome) in outcomes {
        match outcome {
            Ok(idle) => text.push_str(&format!(
                "| {path} | {} | {} | {} |  |\n",
                digits(idle.kib_per_session()),
                idle.before_kib,
                idle.after_kib
            )),
            Err(failure) => text.push_str(&format!("| {path} | – | – | – | refused: {failure} |\n")),
        }
    }
    text
}
