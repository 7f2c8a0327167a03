//! `linegate explain`: what policy would say to a statement, and which questions led there. Nothing runs and no process
//! is asked.
//!
//! The database is not asked either: labelled relations are known from the configuration and the statement's own
//! relations are taken as tables, so views, inheritance and functions that read a labelled column do not show here.

use std::collections::BTreeMap;

use clap::Args;
use linegate_config::{Config, Redact};
use linegate_identity::{ActorChain, LeaseId, Principal, PrincipalKind, Scope};
use linegate_policy::{
    Catalog, Column, Engine, LabelIndex, LabelSpec, MaskScope, Name, RedactSpec, Relation, Statement,
    Subject, Verdict, explain as explain_statement,
};
use serde_json::json;

use crate::check::{self, Checked};
use crate::failure::Failure;
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
    #[command(flatten)]
    config: ConfigArg,
    /// The statement.
    sql: String,
}

/// Explains one statement.
pub(crate) fn explain(global: &Global, args: &ExplainArgs) -> Result<u8, Failure> {
    let Checked { config, engine } = check::load(&args.config.config).map_err(|mistakes| {
        Failure::new(format!(
            "{} has {} mistake(s)",
            args.config.config.display(),
            mistakes.len()
        ))
        .hint("`linegate check` shows them")
    })?;
    let target = config.target(&args.target).ok_or_else(|| {
        let known: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
        Failure::new("no such target").hint(format!("the configuration has {}", known.join(", ")))
    })?;
    let chain = chain(&engine, &args.principal, &args.actors)?;
    let scope = Scope::parse(&args.scope).map_err(|error| Failure::new(error.to_string()))?;
    let lease = LeaseId("lg_explain".to_owned());
    let subject = Subject::new(&engine, &chain, &lease, &scope, &target.name)
        .with_database(target.database.as_deref().unwrap_or_default());
    let labels = label_specs(&config, &target.name);
    let masks = MaskScope::of(&engine, &subject, &labels);
    let statement = linegate_sql::read(args.sql.as_bytes());
    let (index, _not_found) = LabelIndex::resolve(&stand_in(&labels, &statement), &labels);
    let found = explain_statement(&engine, &subject, Some(&index), &masks, &statement);
    if !global.json {
        output::write(&format!("{chain} on {}\n{found}", target.name))?;
        return Ok(0);
    }
    let decision = &found.decision;
    let (verdict, reason, approvers) = match &decision.verdict {
        Verdict::Allow => ("allow", None, Vec::new()),
        Verdict::Deny(reason) => ("deny", Some(reason.public()), Vec::new()),
        Verdict::Hold(terms) => ("hold", Some(terms.reason.clone()), terms.approvers.clone()),
    };
    let steps: Vec<_> = found
        .steps
        .iter()
        .map(|step| {
            json!({
                "agent": step.agent, "effect": step.effect.to_string(), "relation": step.relation,
                "allowed": step.allowed, "policies": step.policies,
            })
        })
        .collect();
    output::json(&json!({
        "chain": chain.to_string(), "target": target.name, "verdict": verdict, "reason": reason,
        "approvers": approvers, "effects": decision.effects.names().collect::<Vec<_>>(), "policies": decision.policies,
        "masked": found.masked, "touches_label": decision.touches_label, "steps": steps,
    }))?;
    Ok(0)
}

fn chain(engine: &Engine, principal: &str, actors: &[String]) -> Result<ActorChain, Failure> {
    let (kind, name) = match principal.split_once(':') {
        Some(("user", name)) => (PrincipalKind::User, name),
        Some(("workload", name)) => (PrincipalKind::Workload, name),
        _ => (PrincipalKind::Workload, principal),
    };
    let wrong = |error: &dyn std::fmt::Display| Failure::new(format!("no such chain: {error}"));
    let head = Principal::new(kind, name, engine.groups_of(kind, name)).map_err(|error| wrong(&error))?;
    actors
        .iter()
        .try_fold(ActorChain::new(head), |chain, actor| chain.with_actor(actor))
        .map_err(|error| wrong(&error))
}

fn label_specs(config: &Config, target: &str) -> Vec<LabelSpec> {
    let spec = |label: &linegate_config::LabelConfig| LabelSpec {
        name: label.name.clone(),
        columns: label
            .columns
            .iter()
            .map(|column| (column.schema.clone(), column.table.clone(), column.column.clone()))
            .collect(),
        redact: match label.redact {
            Redact::Blank => RedactSpec::Blank,
            Redact::KeepLast(count) => RedactSpec::KeepLast(count),
            Redact::Null => RedactSpec::Null,
        },
    };
    config.labels_of(target).map(spec).collect()
}

/// A catalog of the labelled relations and of those that the statement names.
fn stand_in(labels: &[LabelSpec], statement: &Statement) -> Catalog {
    let mut columns: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (schema, table, column) in labels.iter().flat_map(|label| &label.columns) {
        columns
            .entry((schema.clone(), table.clone()))
            .or_default()
            .push(column.clone());
    }
    let is_labelled = |name: &Name| columns.keys().any(|(_, table)| *table == name.name);
    let named: Vec<(String, String)> = statement
        .reads
        .iter()
        .chain(&statement.writes)
        .filter(|name| name.schema.is_some() || !is_labelled(name))
        .map(|name| {
            (
                name.schema.clone().unwrap_or_else(|| "public".to_owned()),
                name.name.clone(),
            )
        })
        .collect();
    for name in named {
        columns.entry(name).or_default();
    }
    let relations = columns
        .into_iter()
        .zip(1u32..)
        .map(|(((schema, name), mut columns), oid)| {
            columns.sort();
            columns.dedup();
            let columns = columns.into_iter().zip(1i16..).map(|(name, number)| Column {
                number,
                name,
                type_oid: TEXT_OID,
            });
            Relation {
                oid,
                schema,
                name,
                kind: b'r',
                columns: columns.collect(),
                sources: Vec::new(),
            }
        });
    Catalog {
        epoch: 1,
        relations: relations.collect(),
        ..Catalog::default()
    }
}

/// `text` in `pg_type`; the type does not matter to a decision.
const TEXT_OID: u32 = 25;
