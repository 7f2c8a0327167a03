//! Replay: one session as a readable terminal transcript.
//!
//! Source of the row format: PostgreSQL manual, "Message Formats", DataRow and CopyData. Everything that came from a
//! client, a server or a person is printed through [`escape`], so a recorded value cannot move the cursor, change
//! colours or hide text. Memory is bounded by `rows_max` shortened rows a result, whatever the result's size.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::entry::{Entry, SessionId, VerdictKind};
use crate::read::{Reader, Record};

mod rows;

use rows::Table;
pub use rows::escape;

/// How a replay looks.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// With terminal colours.
    pub color: bool,
    /// Rows shown of each result; the rest is counted.
    pub rows_max: usize,
    /// Waits between entries as they were recorded, this many times faster; `None` does not wait.
    pub pace: Option<f32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            color: false,
            rows_max: 100,
            pace: None,
        }
    }
}

/// What a replay found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Entries of the session.
    pub entries: u64,
    /// Damaged places, which are marked in the transcript. They may not concern this session.
    pub problems: u64,
}

/// Writes the session's transcript. `NotFound` if nothing of the session is on record.
pub fn render(
    root: &Path,
    session: SessionId,
    out: &mut dyn Write,
    options: &Options,
) -> io::Result<Replayed> {
    render_with(root, session, out, options, &mut std::thread::sleep)
}

/// [`render`] with the caller's way to wait.
pub fn render_with(
    root: &Path,
    session: SessionId,
    out: &mut dyn Write,
    options: &Options,
    wait: &mut dyn FnMut(Duration),
) -> io::Result<Replayed> {
    let mut transcript = Transcript {
        out,
        paint: Paint(options.color),
        rows_max: options.rows_max,
        statements: HashMap::new(),
        last_shown: 0,
        has_begun: false,
        has_ended: false,
    };
    let pace = options.pace.filter(|pace| pace.is_finite() && *pace > 0.0);
    let (mut replayed, mut last_at) = (Replayed::default(), None);
    for item in Reader::open(root)?.session(session) {
        match item {
            Ok(record) => {
                if let (Some(pace), Some(last_at)) = (pace, last_at)
                    && record.at > last_at
                {
                    transcript.out.flush()?;
                    // A day is longer than anyone watches; it also keeps the conversion from overflowing.
                    let seconds = (record.at - last_at) as f64 / 1000.0 / f64::from(pace);
                    wait(Duration::from_secs_f64(seconds.min(86_400.0)));
                }
                last_at = Some(record.at);
                replayed.entries += 1;
                transcript.tell(record)?;
            }
            Err(problem) => {
                replayed.problems += 1;
                transcript.mark(&format!("the record is damaged: {problem}"))?;
            }
        }
    }
    transcript.finish()?;
    if replayed.entries == 0 {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "this session is not on record",
        ));
    }
    Ok(replayed)
}

/// What is still to be printed of a statement.
#[derive(Default)]
struct StatementState {
    /// Lines about it that came before its text.
    early: Vec<String>,
    table: Table,
}

struct Transcript<'out> {
    out: &'out mut dyn Write,
    paint: Paint,
    rows_max: usize,
    statements: HashMap<u64, StatementState>,
    /// Statements are numbered as they arrive, so those up to here have been printed.
    last_shown: u64,
    has_begun: bool,
    has_ended: bool,
}

/// Colours, or none.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    fn waits(self, text: &str) -> String {
        self.with("33", text)
    }
}

const INDENT: &str = "              ";

impl Transcript<'_> {
    fn tell(&mut self, record: Record) -> io::Result<()> {
        let at = record.at;
        self.has_begun = true;
        match record.entry {
            Entry::SessionOpened {
                lease,
                chain,
                principal_kind,
                target,
                database,
                role,
                client_addr,
                application,
                level,
            } => {
                let chain: Vec<_> = chain.iter().map(|name| escape(name)).collect();
                writeln!(
                    self.out,
                    "{}",
                    self.paint.bold(&format!("session {}", record.session))
                )?;
                let level = format!("{level:?}").to_lowercase();
                let fields = [
                    (
                        "chain",
                        format!("{} ({})", chain.join(" → "), escape(&principal_kind)),
                    ),
                    ("lease", escape(&lease)),
                    (
                        "target",
                        format!(
                            "{}, database {}, role {}",
                            escape(&target),
                            escape(&database),
                            escape(&role)
                        ),
                    ),
                    ("client", escape(&client_addr)),
                    (
                        "application",
                        application.as_deref().map(escape).unwrap_or_default(),
                    ),
                    ("opened", utc(at)),
                    ("recorded", format!("{level}, stream {}", record.stream)),
                ];
                for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
                    writeln!(self.out, "  {} {value}", self.paint.dim(&format!("{name:<11}")))?;
                }
                writeln!(self.out)
            }
            Entry::Statement {
                statement,
                text,
                redacted,
                ..
            } => {
                self.last_shown = self.last_shown.max(statement);
                let early = match self.statements.remove(&statement) {
                    Some(state) => state.early,
                    None => Vec::new(),
                };
                let note = if redacted {
                    self.paint.dim(" (redacted)")
                } else {
                    String::new()
                };
                let mut lines = text
                    .trim_end()
                    .split('\n')
                    .map(|line| escape(line.trim_end_matches('\r')));
                let first = self.paint.bold(&lines.next().unwrap_or_default());
                writeln!(
                    self.out,
                    "{}  #{statement} {first}{note}",
                    self.paint.dim(&clock(at))
                )?;
                for line in lines {
                    writeln!(self.out, "{INDENT}{}", self.paint.bold(&line))?;
                }
                early.iter().try_for_each(|line| writeln!(self.out, "{line}"))
            }
            Entry::Verdict {
                statement,
                verdict,
                reason,
                policies,
                effects,
                relations,
            } => {
                let word = match verdict {
                    VerdictKind::Allow => self.paint.good("allow"),
                    VerdictKind::Deny => self.paint.bad("deny"),
                    VerdictKind::Hold => self.paint.waits("hold"),
                };
                let mut line = format!("{INDENT}{word}");
                if let Some(reason) = reason {
                    line += &format!(": {}", escape(&reason));
                }
                let about = [("", effects), ("on ", relations), ("by ", policies)]
                    .into_iter()
                    .filter(|(_, names)| !names.is_empty())
                    .map(|(word, names)| format!("{word}{}", escape(&names.join(", "))));
                let about = about.collect::<Vec<_>>().join(" · ");
                if !about.is_empty() {
                    line += &self.paint.dim(&format!("  [{about}]"));
                }
                self.about(statement, line)
            }
            Entry::Hold {
                hold,
                statement,
                approvers,
                expires_at,
                ..
            } => {
                let what = format!(
                    "waits for {} as {}, until {}",
                    escape(&approvers.join(", ")),
                    escape(&hold),
                    clock(expires_at)
                );
                self.about(statement, format!("{INDENT}{}", self.paint.waits(&what)))
            }
            Entry::Approval {
                hold,
                approved,
                by,
                reason,
            } => {
                let word = if approved {
                    self.paint.good("approved")
                } else {
                    self.paint.bad("refused")
                };
                let reason = reason
                    .map(|reason| format!(": {}", escape(&reason)))
                    .unwrap_or_default();
                self.line(
                    at,
                    &format!(
                        "{} {word} by {}{reason}",
                        escape(&hold),
                        self.paint.bold(&escape(&by))
                    ),
                )
            }
            Entry::HoldEnded { hold, why } => self.line(
                at,
                &format!("{} ended without a decision: {}", escape(&hold), escape(&why)),
            ),
            Entry::Columns {
                statement,
                names,
                types,
                masked,
                formats,
            } => {
                self.show_table(statement, None)?;
                let state = self.statements.entry(statement).or_default();
                state.table.columns(names, types, &masked, formats);
                Ok(())
            }
            Entry::Rows {
                statement,
                offset,
                bytes,
            } => {
                let rows_max = self.rows_max;
                self.statements
                    .entry(statement)
                    .or_default()
                    .table
                    .rows(offset, &bytes, rows_max);
                Ok(())
            }
            Entry::Shape {
                statement,
                rows,
                bytes,
                tag,
                ..
            } => {
                self.show_table(statement, Some(rows))?;
                let end = format!("{}  ({}, {bytes} bytes)", escape(&tag), count(rows, "row"));
                writeln!(self.out, "{INDENT}{}", self.paint.dim(&end))
            }
            Entry::Error {
                statement,
                sqlstate,
                message,
            } => {
                self.show_table(statement, None)?;
                let what = format!("ERROR {}: {}", escape(&sqlstate), escape(&message));
                self.about(statement, format!("{INDENT}{}", self.paint.bad(&what)))
            }
            Entry::Downgraded { reason } => self.mark(&format!(
                "from here on rows are not recorded: {}",
                escape(&reason)
            )),
            Entry::LeaseEnded { lease, why, by } => {
                let by = by.map(|by| format!(" by {}", escape(&by))).unwrap_or_default();
                let what = format!("lease {} {}{by}", escape(&lease), escape(&why));
                self.line(at, &self.paint.bad(&what))
            }
            Entry::SessionEnded {
                why,
                statements,
                rows,
                bytes_in,
                bytes_out,
            } => {
                self.show_tables()?;
                self.has_ended = true;
                let totals = format!(
                    "{}, {}, {bytes_in} bytes in, {bytes_out} bytes out",
                    count(statements, "statement"),
                    count(rows, "row")
                );
                let ended = self.paint.bold(&format!("session ended: {}", escape(&why)));
                self.line(at, &format!("{ended}  {}", self.paint.dim(&totals)))
            }
            Entry::SegmentOpened { .. } | Entry::Sealed { .. } => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.show_tables()?;
        if self.has_begun && !self.has_ended {
            self.mark("the record stops here: the session is live, or its process died")?;
        }
        self.out.flush()
    }

    /// A line that belongs under its statement, which may not have been printed yet.
    fn about(&mut self, statement: u64, line: String) -> io::Result<()> {
        if statement <= self.last_shown {
            return writeln!(self.out, "{line}");
        }
        self.statements.entry(statement).or_default().early.push(line);
        Ok(())
    }

    fn line(&mut self, at: u64, text: &str) -> io::Result<()> {
        writeln!(self.out, "{}  {text}", self.paint.dim(&clock(at)))
    }

    fn mark(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{}", self.paint.waits(&format!("-- {}", escape(text))))
    }

    fn show_table(&mut self, statement: u64, rows: Option<u64>) -> io::Result<()> {
        let Some(state) = self.statements.get_mut(&statement) else {
            return Ok(());
        };
        std::mem::take(&mut state.table).write(self.out, rows)?;
        if state.early.is_empty() {
            self.statements.remove(&statement); // a session may run millions
        }
        Ok(())
    }

    /// Results whose end is not on record, and lines whose statement is not.
    fn show_tables(&mut self) -> io::Result<()> {
        let mut left: Vec<_> = self.statements.iter_mut().collect();
        left.sort_by_key(|(statement, _)| **statement);
        for (_, state) in left {
            for line in state.early.drain(..) {
                writeln!(self.out, "{line}")?;
            }
            std::mem::take(&mut state.table).write(self.out, None)?;
        }
        Ok(())
    }
}

fn count(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// `2026-03-01 12:00:00.250 UTC`.
pub fn utc(at: u64) -> String {
    // Days to a date in the proleptic Gregorian calendar, counted in years that start in March so that the leap day is last.
    let days = at / 86_400_000 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {} UTC", clock(at))
}

/// `12:00:00.250`, UTC.
fn clock(at: u64) -> String {
    let (seconds, milliseconds) = (at / 1000 % 86_400, at % 1000);
    format!(
        "{:02}:{:02}:{:02}.{milliseconds:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests;
