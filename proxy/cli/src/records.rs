//! `linegate replay` and `linegate audit`: answers from the recordings themselves, whether or not anything runs.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use linegate_config::Config;
use linegate_recording::audit::{self, Filter};
use linegate_recording::replay::{self, Options};
use linegate_recording::{Problem, SessionId, VerdictKind, verify};
use serde_json::json;

use crate::failure::Failure;
use crate::{Global, client, output};

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The session, as `linegate audit sessions` shows it.
    session: String,
    /// Play it in its own time, so many times faster.
    #[arg(long, value_name = "TIMES", num_args = 0..=1, default_missing_value = "1")]
    pace: Option<f32>,
    /// How many rows of each result to show.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    rows: usize,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Who started sessions, which agents acted, what came of it.
    Sessions(Asked),
    /// Statements with their verdicts and who approved them.
    Statements(Asked),
    /// Prove that nothing on record was changed, removed or moved.
    Verify(VerifyArgs),
}

/// Where the recordings are.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The directory of recordings (default: what --config names, or `recordings` in the state directory).
    #[arg(long, value_name = "DIR")]
    recordings: Option<PathBuf>,
    /// The configuration that names the directory of recordings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Which part of the record is asked for.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    /// Of this session only.
    #[arg(long)]
    session: Option<String>,
    /// Started by this principal.
    #[arg(long)]
    principal: Option<String>,
    /// With this agent anywhere in the chain.
    #[arg(long)]
    actor: Option<String>,
    /// On this target.
    #[arg(long)]
    target: Option<String>,
    /// With this verdict.
    #[arg(long, value_enum)]
    verdict: Option<VerdictWord>,
    /// The newest so many.
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum VerdictWord {
    Allow,
    Deny,
    Hold,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The public key of the recordings, hex, kept where whoever can write the recordings cannot change it.
    #[arg(long, value_name = "HEX")]
    public_key: Option<String>,
    #[command(flatten)]
    place: Place,
}

impl Place {
    fn directory(&self, global: &Global) -> Result<PathBuf, Failure> {
        if let Some(directory) = &self.recordings {
            return Ok(directory.clone());
        }
        let state_dir = client::state_dir(global);
        let Some(file) = &self.config else {
            return Ok(state_dir.join("recordings"));
        };
        let config = Config::load(file).map_err(|mistakes| {
            Failure::new(format!(
                "{} has {} mistake(s)",
                file.display(),
                mistakes.mistakes.len()
            ))
            .hint("`linegate check` shows them")
        })?;
        Ok(state_dir.join(config.data.recordings))
    }
}

impl Asked {
    fn filter(&self) -> Result<Filter, Failure> {
        Ok(Filter {
            session: self.session.as_deref().map(session_id).transpose()?,
            principal: self.principal.clone(),
            actor: self.actor.clone(),
            target: self.target.clone(),
            verdict: self.verdict.map(|word| match word {
                VerdictWord::Allow => VerdictKind::Allow,
                VerdictWord::Deny => VerdictKind::Deny,
                VerdictWord::Hold => VerdictKind::Hold,
            }),
            limit: self.limit,
            ..Filter::default()
        })
    }
}

/// Shows a session. Damaged places are marked in it; then the status is 1.
pub(crate) fn replay(global: &Global, args: &ReplayArgs) -> Result<u8, Failure> {
    let directory = args.place.directory(global)?;
    let session = session_id(&args.session)?;
    if global.json {
        let filter = Filter {
            session: Some(session),
            ..Filter::default()
        };
        let sessions =
            audit::sessions(&directory, &filter).map_err(|error| unreadable(&directory, &error))?;
        let statements =
            audit::statements(&directory, &filter).map_err(|error| unreadable(&directory, &error))?;
        let Some(found) = sessions.found.first() else {
            return Err(unknown_session());
        };
        output::json(
            &json!({ "session": found, "statements": statements.found, "problems": sessions.problems }),
        )?;
        return Ok(u8::from(!sessions.problems.is_empty()));
    }
    let pace = args.pace.filter(|pace| pace.is_finite() && *pace > 0.0);
    if args.pace.is_some() && pace.is_none() {
        return Err(Failure::new("--pace is a number above 0"));
    }
    let options = Options {
        color: io::stdout().is_terminal(),
        rows_max: args.rows,
        pace,
    };
    match replay::render(&directory, session, &mut io::stdout().lock(), &options) {
        Ok(replayed) => Ok(u8::from(replayed.problems > 0)),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(unknown_session()),
        Err(error) => Err(unreadable(&directory, &error)),
    }
}

/// Runs one audit question.
pub(crate) fn audit(global: &Global, command: &AuditCommand) -> Result<u8, Failure> {
    match command {
        AuditCommand::Sessions(asked) => sessions(global, asked),
        AuditCommand::Statements(asked) => statements(global, asked),
        AuditCommand::Verify(args) => verified(global, args),
    }
}

fn sessions(global: &Global, asked: &Asked) -> Result<u8, Failure> {
    let directory = asked.place.directory(global)?;
    let answer =
        audit::sessions(&directory, &asked.filter()?).map_err(|error| unreadable(&directory, &error))?;
    if global.json {
        output::json(&json!({ "sessions": answer.found, "problems": answer.problems }))?;
        return Ok(code(&answer.problems));
    }
    let rows: Vec<Vec<String>> = answer
        .found
        .iter()
        .map(|one| {
            vec![
                one.session.to_string(),
                replay::utc(one.opened_at),
                one.chain.join(" → "),
                one.target.clone(),
                one.statements.to_string(),
                one.denied.to_string(),
                one.held.to_string(),
                one.rows.to_string(),
                one.ended_why.clone().unwrap_or_else(|| "open".to_owned()),
            ]
        })
        .collect();
    let heading = [
        "SESSION",
        "OPENED",
        "CHAIN",
        "TARGET",
        "STATEMENTS",
        "DENIED",
        "HELD",
        "ROWS",
        "ENDED",
    ];
    output::write(&output::table(&heading, &rows))?;
    Ok(complain(&answer.problems))
}

fn statements(global: &Global, asked: &Asked) -> Result<u8, Failure> {
    let directory = asked.place.directory(global)?;
    let answer =
        audit::statements(&directory, &asked.filter()?).map_err(|error| unreadable(&directory, &error))?;
    if global.json {
        output::json(&json!({ "statements": answer.found, "problems": answer.problems }))?;
        return Ok(code(&answer.problems));
    }
    let rows: Vec<Vec<String>> = answer
        .found
        .iter()
        .map(|one| {
            let decided = match (&one.hold_ended, &one.decided_by) {
                (Some(how), Some(by)) => format!("{how} by {by}"),
                (Some(how), None) => how.clone(),
                (None, _) if one.hold.is_some() => "waits".to_owned(),
                (None, _) => "-".to_owned(),
            };
            vec![
                format!("{}/{}", one.session, one.statement),
                replay::utc(one.at),
                one.chain.join(" → "),
                one.verdict.map_or("-", VerdictKind::as_str).to_owned(),
                decided,
                one.sqlstate
                    .clone()
                    .or_else(|| one.tag.clone())
                    .unwrap_or_else(|| "-".to_owned()),
                one.text.clone().unwrap_or_else(|| "(not found)".to_owned()),
            ]
        })
        .collect();
    let heading = [
        "SESSION/NO",
        "AT",
        "CHAIN",
        "VERDICT",
        "DECIDED",
        "RESULT",
        "STATEMENT",
    ];
    output::write(&output::table(&heading, &rows))?;
    Ok(complain(&answer.problems))
}

fn verified(global: &Global, args: &VerifyArgs) -> Result<u8, Failure> {
    let directory = args.place.directory(global)?;
    let report =
        verify(&directory, args.public_key.as_deref()).map_err(|error| unreadable(&directory, &error))?;
    let intact = report.is_intact();
    if global.json {
        output::json(&json!({ "intact": intact, "report": report }))?;
        return Ok(u8::from(!intact));
    }
    let mut text = String::new();
    for problem in &report.problems {
        text.push_str(&format!("{problem}\n"));
    }
    let verdict = if intact { "intact" } else { "NOT INTACT" };
    text.push_str(&format!(
        "{verdict}: {} entries in {} blocks of {} segment(s), {} stream(s)\n",
        report.entries,
        report.blocks,
        report.segments,
        report.streams.len()
    ));
    if let (None, Some(key)) = (&args.public_key, &report.public_key) {
        text.push_str(&format!(
            "key {key}, as the recording itself names it; --public-key checks it against yours\n"
        ));
    }
    output::write(&text)?;
    Ok(u8::from(!intact))
}

fn session_id(text: &str) -> Result<SessionId, Failure> {
    SessionId::parse(text).ok_or_else(|| {
        Failure::new("that is not a session")
            .hint("sessions look like s_…; `linegate audit sessions` shows them")
    })
}

fn unknown_session() -> Failure {
    Failure::new("nothing of that session is on record").hint("`linegate audit sessions` shows what is")
}

fn unreadable(directory: &std::path::Path, error: &io::Error) -> Failure {
    Failure::new(format!(
        "cannot read the recordings in {}: {error}",
        directory.display()
    ))
    .hint("name them with --recordings, --config or --state-dir")
}

fn code(problems: &[Problem]) -> u8 {
    u8::from(!problems.is_empty())
}

/// An answer from a damaged record says so.
fn complain(problems: &[Problem]) -> u8 {
    if !problems.is_empty() {
        eprintln!(
            "linegate: {} damaged place(s); more may be hidden",
            problems.len()
        );
        eprintln!("  hint: `linegate audit verify` shows them");
    }
    code(problems)
}
