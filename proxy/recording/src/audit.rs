//! Audit answers from the recording itself: which sessions there were, who started them and which agents acted, which
//! statements they ran, what was decided and who approved it. Rows are not read.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::entry::{Entry, Level, Protocol, SessionId, VerdictKind};
use crate::read::{Reader, Record};
use crate::verify::Problem;

/// What was found, and what could not be read while looking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer<T> {
    /// What was found, oldest first.
    pub found: Vec<T>,
    /// Damage that may hide more; run `verify`.
    pub problems: Vec<Problem>,
}

/// Which sessions or statements are asked for. What is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// This session.
    pub session: Option<SessionId>,
    /// Started by this principal.
    pub principal: Option<String>,
    /// With this agent anywhere in the chain.
    pub actor: Option<String>,
    /// On this target.
    pub target: Option<String>,
    /// With this first verdict. For sessions: with any such statement.
    pub verdict: Option<VerdictKind>,
    /// Not before, unix milliseconds. For sessions: not ended before.
    pub since: Option<u64>,
    /// Before, unix milliseconds. For sessions: opened before.
    pub until: Option<u64>,
    /// The newest so many.
    pub limit: Option<usize>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionSummary {
    /// Its id.
    pub session: SessionId,
    /// The stream that holds it.
    pub stream: String,
    /// The principal, then every agent since.
    pub chain: Vec<String>,
    /// `user` or `workload`.
    pub principal_kind: String,
    /// The lease it ran under.
    pub lease: String,
    /// The target.
    pub target: String,
    /// The database.
    pub database: String,
    /// The role at the target.
    pub role: String,
    /// Where the client came from.
    pub client_addr: String,
    /// How much was recorded; `None` if its opening was not found.
    pub level: Option<Level>,
    /// When it opened (or was first seen), unix milliseconds.
    pub opened_at: u64,
    /// When it ended; `None` while it lives, or if the process died.
    pub ended_at: Option<u64>,
    /// Why it ended.
    pub ended_why: Option<String>,
    /// Statements that arrived.
    pub statements: u64,
    /// Of these allowed at once.
    pub allowed: u64,
    /// Refused by policy.
    pub denied: u64,
    /// Held for a person.
    pub held: u64,
    /// Of these approved.
    pub approved: u64,
    /// Rows sent to the client.
    pub rows: u64,
    /// Errors the client was told of, refusals included.
    pub errors: u64,
    /// Bytes from the client; known at the end.
    pub bytes_in: u64,
    /// Bytes to the client; known at the end.
    pub bytes_out: u64,
    /// Whether rows are missing because the recorder fell behind.
    pub downgraded: bool,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatementRow {
    /// Its session.
    pub session: SessionId,
    /// Its number there.
    pub statement: u64,
    /// When it arrived, unix milliseconds.
    pub at: u64,
    /// The principal, then every agent since.
    pub chain: Vec<String>,
    /// The lease.
    pub lease: String,
    /// The target.
    pub target: String,
    /// Its text as recorded; `None` if that was not found.
    pub text: Option<String>,
    /// Whether the text was redacted.
    pub redacted: bool,
    /// How it arrived.
    pub protocol: Option<Protocol>,
    /// BLAKE3 of the exact bytes, hex.
    pub digest: Option<String>,
    /// What policy decided first.
    pub verdict: Option<VerdictKind>,
    /// Why.
    pub reason: Option<String>,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// Effect classes.
    pub effects: Vec<String>,
    /// Relations.
    pub relations: Vec<String>,
    /// The hold, if it was held.
    pub hold: Option<String>,
    /// `approved`, `refused`, or why the hold ended without a person; `None` while it waits.
    pub hold_ended: Option<String>,
    /// Who decided the hold.
    pub decided_by: Option<String>,
    /// Their reason.
    pub decided_reason: Option<String>,
    /// When.
    pub decided_at: Option<u64>,
    /// Rows of its results.
    pub rows: u64,
    /// The last command tag.
    pub tag: Option<String>,
    /// SQLSTATE of the last error.
    pub sqlstate: Option<String>,
}

/// The sessions on record.
pub fn sessions(root: &Path, filter: &Filter) -> io::Result<Answer<SessionSummary>> {
    let mut seen: BTreeMap<SessionId, SessionSummary> = BTreeMap::new();
    let problems = each(root, filter, |record| {
        let summary = seen
            .entry(record.session)
            .or_insert_with(|| unseen_session(&record));
        tell_session(summary, record);
    })?;
    let is_asked = |session: &SessionSummary| {
        filter.asks_for(&session.chain, &session.target)
            && session
                .ended_at
                .zip(filter.since)
                .is_none_or(|(ended, since)| ended >= since)
            && filter.until.is_none_or(|until| session.opened_at < until)
            && filter.verdict.is_none_or(|verdict| {
                0 < match verdict {
                    VerdictKind::Allow => session.allowed,
                    VerdictKind::Deny => session.denied,
                    VerdictKind::Hold => session.held,
                }
            })
    };
    let mut found: Vec<_> = seen.into_values().filter(is_asked).collect();
    found.sort_by_key(|session| session.opened_at);
    keep_newest(&mut found, filter.limit);
    Ok(Answer { found, problems })
}

/// The statements on record.
pub fn statements(root: &Path, filter: &Filter) -> io::Result<Answer<StatementRow>> {
    let mut collected = Statements::default();
    let problems = each(root, filter, |record| collected.tell(record))?;
    let is_asked = |row: &StatementRow| {
        filter.asks_for(&row.chain, &row.target)
            && filter.since.is_none_or(|since| row.at >= since)
            && filter.until.is_none_or(|until| row.at < until)
            && filter.verdict.is_none_or(|verdict| row.verdict == Some(verdict))
    };
    let mut found = collected.rows;
    found.retain(is_asked);
    found.sort_by_key(|row| row.at); // stable: statements of a session keep their order
    keep_newest(&mut found, filter.limit);
    Ok(Answer { found, problems })
}

impl Filter {
    fn asks_for(&self, chain: &[String], target: &str) -> bool {
        self.principal
            .as_ref()
            .is_none_or(|principal| chain.first() == Some(principal))
            && self
                .actor
                .as_ref()
                .is_none_or(|actor| chain.iter().skip(1).any(|name| name == actor))
            && self.target.as_ref().is_none_or(|asked| asked == target)
    }
}

fn each(root: &Path, filter: &Filter, mut tell: impl FnMut(Record)) -> io::Result<Vec<Problem>> {
    let mut reader = Reader::open(root)?.without_rows();
    if let Some(session) = filter.session {
        reader = reader.session(session);
    }
    let mut problems = Vec::new();
    for item in reader {
        match item {
            Ok(record) if record.session == SessionId::NONE => {}
            Ok(record) => tell(record),
            Err(problem) => problems.push(problem),
        }
    }
    Ok(problems)
}

fn keep_newest<T>(found: &mut Vec<T>, limit: Option<usize>) {
    if let Some(surplus) = limit.and_then(|limit| found.len().checked_sub(limit)) {
        found.drain(..surplus);
    }
}

fn unseen_session(record: &Record) -> SessionSummary {
    SessionSummary {
        session: record.session,
        stream: record.stream.to_string(),
        chain: Vec::new(),
        principal_kind: String::new(),
        lease: String::new(),
        target: String::new(),
        database: String::new(),
        role: String::new(),
        client_addr: String::new(),
        level: None,
        opened_at: record.at,
        ended_at: None,
        ended_why: None,
        statements: 0,
        allowed: 0,
        denied: 0,
        held: 0,
        approved: 0,
        rows: 0,
        errors: 0,
        bytes_in: 0,
        bytes_out: 0,
        downgraded: false,
    }
}

fn tell_session(summary: &mut SessionSummary, record: Record) {
    match record.entry {
        Entry::SessionOpened {
            lease,
            chain,
            principal_kind,
            target,
            database,
            role,
            client_addr,
            level,
            ..
        } => {
            summary.opened_at = record.at;
            summary.level = Some(level);
            (summary.lease, summary.chain, summary.principal_kind) = (lease, chain, principal_kind);
            (summary.target, summary.database, summary.role) = (target, database, role);
            summary.client_addr = client_addr;
        }
        Entry::Statement { .. } => summary.statements += 1,
        Entry::Verdict {
            verdict: VerdictKind::Allow,
            ..
        } => summary.allowed += 1,
        Entry::Verdict {
            verdict: VerdictKind::Deny,
            ..
        } => summary.denied += 1,
        Entry::Verdict {
            verdict: VerdictKind::Hold,
            ..
        } => summary.held += 1,
        Entry::Approval { approved, .. } => summary.approved += u64::from(approved),
        Entry::Shape { rows, .. } => summary.rows = summary.rows.saturating_add(rows),
        Entry::Error { .. } => summary.errors += 1,
        Entry::Downgraded { .. } => summary.downgraded = true,
        Entry::SessionEnded {
            why,
            rows,
            bytes_in,
            bytes_out,
            ..
        } => {
            (summary.ended_at, summary.ended_why) = (Some(record.at), Some(why));
            summary.rows = summary.rows.max(rows); // level `statements` has no shapes
            (summary.bytes_in, summary.bytes_out) = (bytes_in, bytes_out);
        }
        Entry::SegmentOpened { .. }
        | Entry::Sealed { .. }
        | Entry::Hold { .. }
        | Entry::HoldEnded { .. }
        | Entry::Columns { .. }
        | Entry::Rows { .. }
        | Entry::LeaseEnded { .. } => {}
    }
}

/// What a session's opening said, for its statements.
#[derive(Clone, Default)]
struct Opening {
    chain: Vec<String>,
    lease: String,
    target: String,
}

#[derive(Default)]
struct Statements {
    rows: Vec<StatementRow>,
    by_statement: HashMap<(SessionId, u64), usize>,
    by_hold: HashMap<(SessionId, String), usize>,
    openings: HashMap<SessionId, Opening>,
}

impl Statements {
    fn tell(&mut self, record: Record) {
        let (session, at) = (record.session, record.at);
        match record.entry {
            Entry::SessionOpened {
                chain, lease, target, ..
            } => {
                self.openings.insert(session, Opening { chain, lease, target });
            }
            Entry::Statement {
                statement,
                text,
                redacted,
                protocol,
                digest,
            } => {
                let row = self.row(session, statement, at);
                (row.text, row.redacted) = (Some(text), redacted);
                (row.protocol, row.digest) = (Some(protocol), Some(digest));
            }
            Entry::Verdict {
                statement,
                verdict,
                reason,
                policies,
                effects,
                relations,
            } => {
                let row = self.row(session, statement, at);
                if row.verdict.is_none() {
                    (row.verdict, row.reason) = (Some(verdict), reason);
                    (row.policies, row.effects, row.relations) = (policies, effects, relations);
                }
            }
            Entry::Hold { hold, statement, .. } => {
                self.row(session, statement, at).hold = Some(hold.clone());
                let index = self.by_statement[&(session, statement)];
                self.by_hold.insert((session, hold), index);
            }
            Entry::Approval {
                hold,
                approved,
                by,
                reason,
            } => {
                if let Some(row) = self.held(session, hold) {
                    row.hold_ended = Some(if approved { "approved" } else { "refused" }.to_owned());
                    (row.decided_by, row.decided_reason, row.decided_at) = (Some(by), reason, Some(at));
                }
            }
            Entry::HoldEnded { hold, why } => {
                if let Some(row) = self.held(session, hold) {
                    (row.hold_ended, row.decided_at) = (Some(why), Some(at));
                }
            }
            Entry::Shape {
                statement, rows, tag, ..
            } => {
                let row = self.row(session, statement, at);
                (row.rows, row.tag) = (row.rows.saturating_add(rows), Some(tag));
            }
            Entry::Error {
                statement, sqlstate, ..
            } if statement != 0 => {
                self.row(session, statement, at).sqlstate = Some(sqlstate);
            }
            Entry::SessionEnded { .. } => {
                self.openings.remove(&session);
            }
            Entry::SegmentOpened { .. }
            | Entry::Sealed { .. }
            | Entry::Columns { .. }
            | Entry::Rows { .. }
            | Entry::Error { .. }
            | Entry::Downgraded { .. }
            | Entry::LeaseEnded { .. } => {}
        }
    }

    fn held(&mut self, session: SessionId, hold: String) -> Option<&mut StatementRow> {
        let index = *self.by_hold.get(&(session, hold))?;
        self.rows.get_mut(index)
    }

    /// The statement's row, made when first heard of, whichever entry comes first.
    fn row(&mut self, session: SessionId, statement: u64, at: u64) -> &mut StatementRow {
        let index = *self.by_statement.entry((session, statement)).or_insert_with(|| {
            let Opening { chain, lease, target } = self.openings.get(&session).cloned().unwrap_or_default();
            self.rows.push(StatementRow {
                session,
                statement,
                at,
                chain,
                lease,
                target,
                text: None,
                redacted: false,
                protocol: None,
                digest: None,
                verdict: None,
                reason: None,
                policies: Vec::new(),
                effects: Vec::new(),
                relations: Vec::new(),
                hold: None,
                hold_ended: None,
                decided_by: None,
                decided_reason: None,
                decided_at: None,
                rows: 0,
                tag: None,
                sqlstate: None,
            });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }
}

#[cfg(test)]
mod tests;
