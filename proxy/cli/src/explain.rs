//! `linegate explain`: what policy would say to a statement, which questions led there, where the values of its result come
//! from and how they would be redacted. Nothing runs.
//!
//! The catalog is read from the target's database with the target's own credential, so that views, inheritance and functions
//! show as they do to the data plane. Where that cannot be (or with `--offline`) the report says so and goes by the
//! configuration alone.

use clap::Args;
use linegate_config::Config;
use linegate_identity::{LeaseId, Scope};
use linegate_policy::{
    ColumnId, Decision, Flow, LabelIndex, MaskScope, Subject, Verdict, explain as explain_statement,
};
use serde_json::{Value, json};

use crate::check::Checked;
use crate::failure::Failure;
use crate::reading::{self, Source};
use crate::{ConfigArg, Global, output};

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The protected server.
    #[arg(long)]
    target: String,
    /// Who: user:NAME, workload:NAME, or NAME for a workload.
    #[arg(long = "as", value_name = "PRINCIPAL")]
    principal: String,
    /// An agent between the principal and the connection; repeat it, outermost first.
    #[arg(long = "actor", value_name = "NAME")]
    actors: Vec<String>,
    /// The lease's scope.
    #[arg(long, default_value = "all")]
    scope: String,
    /// The database, where the target leaves it to the client.
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Do not ask the target's database for its catalog.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    config: ConfigArg,
    /// The statement.
    sql: String,
}

/// Explains one statement.
pub(crate) async fn explain(global: &Global, args: &ExplainArgs) -> Result<u8, Failure> {
    let Checked { config, engine } = reading::checked(&args.config)?;
    let target = reading::target(&config, &args.target)?;
    let chain = reading::chain(&engine, &args.principal, &args.actors)?;
    let scope = Scope::parse(&args.scope).map_err(|error| Failure::new(error.to_string()))?;
    let database = target.database.as_deref().or(args.database.as_deref());
    let subject = Subject::new(
        &engine,
        &chain,
        &LeaseId("lg_explain".to_owned()),
        &scope,
        &target.name,
    )
    .with_database(database.unwrap_or_default())
    .at(reading::now());
    let specs = reading::label_specs(&config, &target.name);
    let masks = MaskScope::of(&engine, &subject, &specs);
    let source = Source::find(target, args.database.as_deref(), &specs, args.offline).await;
    let (statement, own) = reading::statement(&source, &specs, args.sql.as_bytes());
    let labels = match &source {
        Source::Database(index) => Some(index.as_ref()),
        Source::Configuration(_) => own.as_ref(),
    };
    let found = explain_statement(&engine, &subject, labels, &masks, &statement);
    let report = Report {
        config: &config,
        target: &target.name,
        labels,
        masks: &masks,
        decision: &found.decision,
    };
    if !global.json {
        let mut text = format!("{chain} on {}\n{found}", target.name);
        for line in report.budgets().chain(report.flows()).chain(report.redactions()) {
            text.push_str(&line);
            text.push('\n');
        }
        text.push_str(&source.said());
        text.push('\n');
        output::write(&text)?;
        return Ok(0);
    }
    let decision = &found.decision;
    let (verdict, reason, approvers) = match &decision.verdict {
        Verdict::Allow => ("allow", None, Vec::new()),
        Verdict::Deny(reason) => ("deny", Some(reason.public()), Vec::new()),
        Verdict::Hold(terms) => ("hold", Some(terms.reason.clone()), terms.groups()),
    };
    let steps: Vec<_> = found
        .steps
        .iter()
        .map(|step| {
            json!({
                "agent": step.agent, "effect": step.asked, "relation": step.relation,
                "allowed": step.allowed, "policies": step.policies,
            })
        })
        .collect();
    output::json(&json!({
        "chain": chain.to_string(), "target": target.name, "verdict": verdict, "reason": reason,
        "approvers": approvers, "effects": decision.effects.names().collect::<Vec<_>>(), "policies": decision.policies,
        "masked": found.masked, "touches_label": decision.touches_label, "steps": steps,
        "budgets": report.budgets().collect::<Vec<_>>(), "valid_until": decision.valid_until.map(|until| until.0),
        "lineage": report.lineage(), "redactions": report.redactions().collect::<Vec<_>>(),
        "catalog": matches!(source, Source::Database(_)), "catalog_note": source.said(),
    }))?;
    Ok(0)
}

/// What `explain` adds to a decision.
struct Report<'r> {
    config: &'r Config,
    target: &'r str,
    labels: Option<&'r LabelIndex>,
    masks: &'r MaskScope,
    decision: &'r Decision,
}

impl Report<'_> {
    fn budgets(&self) -> impl Iterator<Item = String> {
        self.decision.budget.rules().flat_map(|rule| {
            rule.limits
                .iter()
                .map(move |limit| format!("budget: {limit}, by policy {}", rule.rule))
        })
    }

    /// A column by name, with its masked label.
    fn column(&self, column: ColumnId) -> String {
        let Some(relation) = self
            .labels
            .and_then(|labels| labels.known_by_oid(column.relation))
        else {
            return "a column that is not known".to_owned();
        };
        let number = |known: &&linegate_policy::Column| known.number == column.attribute;
        let name = relation
            .columns
            .iter()
            .find(number)
            .map_or("*", |known| known.name.as_str());
        format!("{}.{}.{name}", relation.schema, relation.name)
    }

    fn flow(&self, flow: &Flow) -> String {
        match flow {
            Flow::Clean => "holds nothing labelled".to_owned(),
            Flow::Exactly(column) => format!("is {}{}", self.column(*column), self.fate(flow)),
            Flow::Tainted(columns) => {
                let names: Vec<String> = columns.iter().map(|column| self.column(*column)).collect();
                format!("is computed from {}{}", names.join(", "), self.fate(flow))
            }
        }
    }

    fn fate(&self, flow: &Flow) -> &'static str {
        match self.labels.and_then(|labels| labels.redaction(flow, self.masks)) {
            None => ", seen as it is",
            Some(linegate_policy::RedactSpec::Null) if matches!(flow, Flow::Tainted(_)) => ", becomes NULL",
            Some(_) => ", redacted",
        }
    }

    /// Where values come from and go to, a line each.
    fn flows(&self) -> impl Iterator<Item = String> {
        let mut lines = Vec::new();
        let Some(lineage) = &self.decision.statement.lineage else {
            lines.push("lineage: not told for this text".to_owned());
            return lines.into_iter();
        };
        match &lineage.outputs {
            None => lines.push("lineage: the columns of its result cannot be told beforehand".to_owned()),
            Some(outputs) => lines.extend(
                (1..)
                    .zip(outputs)
                    .map(|(number, flow)| format!("lineage: result column {number} {}", self.flow(flow))),
            ),
        }
        for (columns, what) in [
            (&lineage.lookups, "looked up by equality"),
            (&lineage.probes, "probed (sorted, grouped, ranged or matched by)"),
            (&lineage.moved, "written to a place without its label"),
            (&lineage.exposed, "handed to a function that may show it"),
        ] {
            lines.extend(
                columns
                    .iter()
                    .map(|column| format!("lineage: {} is {what}", self.column(*column))),
            );
        }
        lines.extend(
            lineage
                .unknown
                .iter()
                .map(|what| format!("lineage: not followed: {what}")),
        );
        lines.into_iter()
    }

    fn lineage(&self) -> Value {
        let Some(lineage) = &self.decision.statement.lineage else {
            return Value::Null;
        };
        let names = |columns: &std::collections::BTreeSet<ColumnId>| {
            columns
                .iter()
                .map(|column| self.column(*column))
                .collect::<Vec<_>>()
        };
        let outputs = lineage.outputs.as_ref().map(|outputs| {
            let output = |flow: &Flow| {
                let (kind, from) = match flow {
                    Flow::Clean => ("clean", Vec::new()),
                    Flow::Exactly(column) => ("exactly", vec![self.column(*column)]),
                    Flow::Tainted(columns) => ("tainted", names(columns)),
                };
                let redacted = self
                    .labels
                    .is_some_and(|labels| labels.redaction(flow, self.masks).is_some());
                json!({ "kind": kind, "from": from, "redacted": redacted })
            };
            outputs.iter().map(output).collect::<Vec<_>>()
        });
        json!({
            "outputs": outputs, "touched": names(&lineage.touched), "lookups": names(&lineage.lookups),
            "probes": names(&lineage.probes), "moved": names(&lineage.moved), "exposed": names(&lineage.exposed),
            "unknown": lineage.unknown,
        })
    }

    /// How each masked label that the statement touches is overwritten.
    fn redactions(&self) -> impl Iterator<Item = String> {
        let hidden = self
            .decision
            .labels
            .iter()
            .filter(move |label| self.masks.hides(label));
        hidden.map(move |label| {
            let how = reading::redaction(self.config, self.target, label);
            format!("redaction: label {label}: {how}")
        })
    }
}
