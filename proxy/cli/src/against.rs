//! `linegate check --against RECORDINGS`: what a proposed policy would say to what was recorded.
//!
//! Every recorded statement is decided again, at the time it had, for the chain it had. What is not on record is left out or
//! taken as it is now, and counted: texts that were redacted, leases' scopes (refusals by scope are not compared, and a
//! scope never adds anything), the groups that an issuer named, and the catalog, which is today's.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use linegate_identity::{LeaseId, PrincipalKind, Scope, UnixMillis};
use linegate_policy::{Decision, LabelIndex, LabelSpec, MaskScope, Subject, Verdict, decide};
use linegate_recording::audit::{self, Filter, SessionSummary, StatementRow};
use linegate_recording::{SessionId, VerdictKind};
use serde::Serialize;
use serde_json::json;

use crate::check::Checked;
use crate::failure::Failure;
use crate::reading::{self, Source};
use crate::{Global, output};

/// Status when something would change.
const CHANGED: u8 = 3;
/// Examples shown of each kind of change.
const EXAMPLES_MAX: usize = 5;
/// Verdicts that are kept while statements repeat.
const VERDICTS_MAX: usize = 100_000;

/// A statement that would be decided otherwise.
#[derive(Clone, Debug, Serialize)]
struct Example {
    session: String,
    statement: u64,
    chain: Vec<String>,
    target: String,
    text: String,
    before: Option<String>,
    after: Option<String>,
}

/// One kind of change.
#[derive(Debug, Serialize)]
struct Change {
    from: &'static str,
    to: &'static str,
    count: u64,
    examples: Vec<Example>,
}

/// What was compared and what was not.
#[derive(Debug, Default, Serialize)]
struct Counts {
    statements: u64,
    same: u64,
    changed: u64,
    skipped_redacted: u64,
    skipped_without_text: u64,
    skipped_undecided: u64,
    skipped_by_scope: u64,
    skipped_unknown_target: u64,
    skipped_unknown_session: u64,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    counts: Counts,
    changes: Vec<Change>,
    /// Damaged places of the record.
    problems: usize,
    notes: Vec<String>,
}

/// Decides again what is on record below `recordings`, and says what would change.
pub(crate) async fn against(
    global: &Global,
    checked: &Checked,
    recordings: &Path,
    offline: bool,
) -> Result<u8, Failure> {
    let report = compare(checked, recordings, offline).await?;
    say(global, &report)?;
    Ok(if report.changes.is_empty() { 0 } else { CHANGED })
}

async fn compare(checked: &Checked, recordings: &Path, offline: bool) -> Result<Report, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(format!("{} cannot be read: {error}", recordings.display()))
            .hint("name the directory of recordings, as `[data] recordings` does")
    };
    let sessions = audit::sessions(recordings, &Filter::default()).map_err(unreadable)?;
    let statements = audit::statements(recordings, &Filter::default()).map_err(unreadable)?;
    let by_id: BTreeMap<SessionId, &SessionSummary> = sessions
        .found
        .iter()
        .map(|session| (session.session, session))
        .collect();
    let mut counts = Counts::default();
    let mut changes: BTreeMap<(&'static str, &'static str), Change> = BTreeMap::new();
    let mut judge = Judge::new(checked, offline);
    for row in &statements.found {
        counts.statements += 1;
        let Some(session) = by_id.get(&row.session) else {
            counts.skipped_unknown_session += 1;
            continue;
        };
        let (Some(text), Some(before)) = (&row.text, row.verdict) else {
            match row.verdict {
                None => counts.skipped_undecided += 1,
                Some(_) => counts.skipped_without_text += 1,
            }
            continue;
        };
        if row.redacted {
            counts.skipped_redacted += 1;
            continue;
        }
        if before == VerdictKind::Deny && is_by_scope(row) {
            counts.skipped_by_scope += 1;
            continue;
        }
        let Some(decision) = judge.decide(session, row, text).await? else {
            counts.skipped_unknown_target += 1;
            continue;
        };
        let (from, to) = (before.as_str(), word(&decision.verdict));
        if from == to {
            counts.same += 1;
            continue;
        }
        counts.changed += 1;
        let change = changes.entry((from, to)).or_insert_with(|| Change {
            from,
            to,
            count: 0,
            examples: Vec::new(),
        });
        change.count += 1;
        let is_new = |known: &Example| known.text != *text || known.chain != row.chain;
        if change.examples.len() < EXAMPLES_MAX && change.examples.iter().all(is_new) {
            change.examples.push(Example {
                session: row.session.to_string(),
                statement: row.statement,
                chain: row.chain.clone(),
                target: row.target.clone(),
                text: text.clone(),
                before: row.reason.clone(),
                after: reason(&decision),
            });
        }
    }
    let problems = sessions.problems.len().max(statements.problems.len());
    Ok(Report {
        counts,
        changes: changes.into_values().collect(),
        problems,
        notes: judge.notes,
    })
}

fn say(global: &Global, report: &Report) -> Result<(), Failure> {
    let Report {
        counts,
        changes,
        problems,
        notes,
    } = report;
    if global.json {
        return output::json(&json!({
            "counts": counts, "changes": changes, "problems": problems, "notes": notes,
        }));
    }
    let mut text = format!(
        "{} statement(s) on record: {} as before, {} would change\n",
        counts.statements, counts.same, counts.changed
    );
    for (count, why) in [
        (counts.skipped_redacted, "their text was redacted"),
        (counts.skipped_without_text, "their text was not found"),
        (counts.skipped_undecided, "no verdict is on record"),
        (
            counts.skipped_by_scope,
            "the lease's scope had refused them, and it is not on record",
        ),
        (
            counts.skipped_unknown_target,
            "the configuration lacks their target",
        ),
        (
            counts.skipped_unknown_session,
            "their session's opening was not found",
        ),
    ] {
        if count > 0 {
            text.push_str(&format!("{count} not compared: {why}\n"));
        }
    }
    for change in changes {
        text.push_str(&format!("\n{} -> {}: {}\n", change.from, change.to, change.count));
        for example in &change.examples {
            text.push_str(&format!(
                "  {} on {}: {}\n    {}\n",
                example.chain.join(" > "),
                example.target,
                output::flat(&example.text),
                output::flat(
                    example
                        .after
                        .as_deref()
                        .or(example.before.as_deref())
                        .unwrap_or("-")
                ),
            ));
        }
    }
    for note in notes {
        text.push_str(&format!("note: {note}\n"));
    }
    if *problems > 0 {
        text.push_str(&format!(
            "{problems} place(s) of the record are damaged; `linegate audit verify` shows them\n"
        ));
    }
    output::write(&text)
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => VerdictKind::Allow.as_str(),
        Verdict::Deny(_) => VerdictKind::Deny.as_str(),
        Verdict::Hold(_) => VerdictKind::Hold.as_str(),
    }
}

fn reason(decision: &Decision) -> Option<String> {
    match &decision.verdict {
        Verdict::Allow => {
            (!decision.policies.is_empty()).then(|| format!("by {}", decision.policies.join(", ")))
        }
        Verdict::Deny(reason) => Some(reason.public()),
        Verdict::Hold(terms) => Some(terms.reason.clone()),
    }
}

/// Refusals that came from the lease, in the words of `Reason::public`; they name no policy.
fn is_by_scope(row: &StatementRow) -> bool {
    let words = [
        "the lease does not cover",
        "the lease is bound to",
        "the budget of",
    ];
    let reason = row.reason.as_deref().unwrap_or_default();
    row.policies.is_empty() && words.iter().any(|start| reason.contains(start))
}

/// One target's labels and catalog.
struct Place {
    specs: Vec<LabelSpec>,
    source: Source,
}

/// A chain on a target, as policy sees it.
struct Standing {
    subject: Subject,
    masks: MaskScope,
}

struct Judge<'j> {
    checked: &'j Checked,
    offline: bool,
    /// By target and database.
    places: HashMap<(String, String), Place>,
    /// By principal's kind, chain, target, database and lease.
    standings: HashMap<String, Standing>,
    verdicts: HashMap<(String, String), Decision>,
    notes: Vec<String>,
}

impl<'j> Judge<'j> {
    fn new(checked: &'j Checked, offline: bool) -> Self {
        Self {
            checked,
            offline,
            places: HashMap::new(),
            standings: HashMap::new(),
            verdicts: HashMap::new(),
            notes: Vec::new(),
        }
    }

    /// `None` when the configuration has no such target.
    async fn decide(
        &mut self,
        session: &SessionSummary,
        row: &StatementRow,
        text: &str,
    ) -> Result<Option<Decision>, Failure> {
        let Checked { config, engine } = self.checked;
        let Some(target) = config.target(&session.target) else {
            return Ok(None);
        };
        let place_key = (target.name.clone(), session.database.clone());
        if !self.places.contains_key(&place_key) {
            let specs = reading::label_specs(config, &target.name);
            let source = Source::find(target, Some(&session.database), &specs, self.offline).await;
            if let Source::Configuration(_) = source {
                self.notes.push(format!("{}: {}", target.name, source.said()));
            }
            self.places.insert(place_key.clone(), Place { specs, source });
        }
        let Some(place) = self.places.get(&place_key) else {
            return Ok(None);
        };
        let key = format!(
            "{}\0{}\0{}\0{}\0{}",
            session.principal_kind,
            session.chain.join("\0"),
            session.lease,
            target.name,
            session.database
        );
        let known = self.standings.get(&key);
        if known.is_none_or(|known| known.subject.valid_until().is_some()) {
            // Rules about time: each statement at its own.
            let kind = PrincipalKind::by_name(&session.principal_kind).unwrap_or(PrincipalKind::Workload);
            let (head, actors) = match session.chain.split_first() {
                Some((head, actors)) => (head.as_str(), actors),
                None => return Ok(None),
            };
            let chain = reading::chain_of(engine, kind, head, actors)?;
            let lease = LeaseId(session.lease.clone());
            let subject = Subject::new(engine, &chain, &lease, &Scope::all(), &target.name)
                .with_database(&session.database)
                .at(UnixMillis(row.at));
            let masks = MaskScope::of(engine, &subject, &place.specs);
            self.standings.insert(key.clone(), Standing { subject, masks });
        }
        let Some(standing) = self.standings.get(&key) else {
            return Ok(None);
        };
        let verdict_key = (key, text.to_owned());
        if let Some(known) = self.verdicts.get(&verdict_key) {
            return Ok(Some(known.clone()));
        }
        let (statement, own) = reading::statement(&place.source, &place.specs, text.as_bytes());
        let labels: Option<&LabelIndex> = match &place.source {
            Source::Database(index) => Some(index.as_ref()),
            Source::Configuration(_) => own.as_ref(),
        };
        let decision = decide(engine, &standing.subject, labels, &standing.masks, &statement);
        if decision.valid_until.is_none() && self.verdicts.len() < VERDICTS_MAX {
            self.verdicts.insert(verdict_key, decision.clone());
        }
        Ok(Some(decision))
    }
}

/// Options of `linegate check` about recordings.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AgainstArgs {
    /// Decide recorded statements again, and list what would change (status 3 when something would).
    #[arg(long, value_name = "RECORDINGS")]
    pub(crate) against: Option<PathBuf>,
    /// Do not ask the targets' databases for their catalogs.
    #[arg(long, requires = "against")]
    pub(crate) offline: bool,
}

#[cfg(test)]
mod tests {
    use linegate_recording::{Entry, Level, Protocol, Recorder, SigningKey};

    use super::*;

    const CONFIG: &str = r#"
[control]
[data]
[[target]]
name = "shop"
protocol = "postgres"
listen = "127.0.0.1:6432"
address = "127.0.0.1:1"
database = "shop"
tls = "disable"
credential = { user = "app" }
[[label]]
name = "pii"
target = "shop"
columns = ["app.customers.ssn"]
redact = "null"
[policy]
files = ["policies/*.cedar"]
"#;

    fn checked(policy: &str) -> (tempfile::TempDir, Checked) {
        let place = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(place.path().join("policies")).expect("made");
        std::fs::write(place.path().join("policies/a.cedar"), policy).expect("written");
        let file = place.path().join("linegate.toml");
        std::fs::write(&file, CONFIG).expect("written");
        match crate::check::load(&file) {
            Ok(checked) => (place, checked),
            Err(mistakes) => panic!("{mistakes:?}"),
        }
    }

    /// Statements with their verdicts and reasons, as one session's record.
    fn record(place: &Path, statements: &[(&str, VerdictKind, Option<&str>, bool)]) {
        let key = SigningKey::from_seed(&[3; 32]).expect("a key");
        let mut recorder = Recorder::open(place, "core-0", &key, 1_000).expect("opens");
        let session = SessionId::from_random([5; 16]);
        let mut append = |entry: Entry| recorder.append(2_000, session, &entry).expect("appended");
        append(Entry::SessionOpened {
            lease: "lg_test".to_owned(),
            chain: vec!["ci-runner".to_owned(), "build".to_owned()],
            principal_kind: "workload".to_owned(),
            target: "shop".to_owned(),
            database: "shop".to_owned(),
            role: "app".to_owned(),
            client_addr: "127.0.0.1:1".to_owned(),
            application: None,
            level: Level::Statements,
        });
        for (number, (text, verdict, reason, redacted)) in (1..).zip(statements) {
            append(Entry::Statement {
                statement: number,
                text: (*text).to_owned(),
                redacted: *redacted,
                protocol: Protocol::Simple,
                digest: String::new(),
            });
            append(Entry::Verdict {
                statement: number,
                verdict: *verdict,
                reason: reason.map(str::to_owned),
                policies: Vec::new(),
                effects: Vec::new(),
                relations: Vec::new(),
            });
        }
        recorder.commit().expect("committed");
        recorder.seal(3_000).expect("sealed");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_would_change_is_listed_and_what_cannot_be_told_is_counted() {
        let allow = "permit (principal, action, resource);";
        let proposed = "permit (principal, action, resource);
            @id(\"drops\") @approvers(\"oncall\")
            forbid (principal, action == Action::\"drop\", resource) unless { context.approved };
            @id(\"no-orders\") forbid (principal, action == Action::\"delete\", resource == Table::\"shop/app.orders\");
            permit (principal, action == Action::\"read_raw\", resource);";
        let records = tempfile::tempdir().expect("a directory");
        record(
            records.path(),
            &[
                ("SELECT 1", VerdictKind::Allow, None, false),
                ("DROP TABLE app.orders", VerdictKind::Allow, None, false),
                (
                    "DELETE FROM app.orders WHERE id = 1",
                    VerdictKind::Allow,
                    None,
                    false,
                ),
                (
                    "DELETE FROM app.orders WHERE id = 1",
                    VerdictKind::Allow,
                    None,
                    false,
                ),
                ("ALTER ROLE a PASSWORD '…'", VerdictKind::Allow, None, true),
                (
                    "DELETE FROM app.lines",
                    VerdictKind::Deny,
                    Some("the lease does not cover delete"),
                    false,
                ),
            ],
        );
        let (_place, now) = checked(proposed);
        let report = compare(&now, records.path(), true).await.expect("compares");
        assert_eq!(report.problems, 0);
        let counts = &report.counts;
        assert_eq!((counts.statements, counts.same, counts.changed), (6, 1, 3));
        assert_eq!((counts.skipped_redacted, counts.skipped_by_scope), (1, 1));
        let found: Vec<_> = report
            .changes
            .iter()
            .map(|change| (change.from, change.to, change.count, change.examples.len()))
            .collect();
        assert_eq!(
            found,
            [("allow", "deny", 2, 1), ("allow", "hold", 1, 1)],
            "repeats are one example"
        );
        assert_eq!(
            report.changes[0].examples[0].after.as_deref(),
            Some("forbidden by policy \"no-orders\"")
        );
        let (_place, before) = checked(allow);
        let same = compare(&before, records.path(), true).await.expect("compares");
        assert!(same.changes.is_empty(), "{:?}", same.changes);
    }
}
