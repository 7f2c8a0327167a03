//! What commands that decide by themselves share: chains, labels and statements as the data plane would make them.

use std::collections::{BTreeMap, HashSet};

use linegate_config::{Config, TargetConfig};
use linegate_identity::{ActorChain, Principal, PrincipalKind};
use linegate_policy::{Catalog, Column, Engine, LabelIndex, LabelSpec, Name, Relation, Statement};

use crate::check::{self, Checked};
use crate::failure::Failure;
use crate::{ConfigArg, database};

/// `text` in `pg_type`; the type does not matter to a decision.
const TEXT_OID: u32 = 25;

/// Configuration and policies without a mistake, or a hint where to see them.
pub(crate) fn checked(config: &ConfigArg) -> Result<Checked, Failure> {
    check::load(&config.config).map_err(|mistakes| {
        Failure::new(format!(
            "{} has {} mistake(s)",
            config.config.display(),
            mistakes.len()
        ))
        .hint("`linegate check` shows them")
    })
}

/// The target of that name.
pub(crate) fn target<'c>(config: &'c Config, name: &str) -> Result<&'c TargetConfig, Failure> {
    config.target(name).ok_or_else(|| {
        let known: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
        Failure::new("no such target").hint(format!("the configuration has {}", known.join(", ")))
    })
}

/// `user:NAME`, `workload:NAME` or `NAME` for a workload, and the agents after it.
pub(crate) fn chain(engine: &Engine, principal: &str, actors: &[String]) -> Result<ActorChain, Failure> {
    let (kind, name) = match principal.split_once(':') {
        Some(("user", name)) => (PrincipalKind::User, name),
        Some(("workload", name)) => (PrincipalKind::Workload, name),
        _ => (PrincipalKind::Workload, principal),
    };
    chain_of(engine, kind, name, actors)
}

/// The chain of a principal of a known kind, with the groups that the configuration gives it.
pub(crate) fn chain_of(
    engine: &Engine,
    kind: PrincipalKind,
    name: &str,
    actors: &[String],
) -> Result<ActorChain, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(format!("no such chain: {error}"));
    let head = Principal::new(kind, name, engine.groups_of(kind, name)).map_err(|error| wrong(&error))?;
    actors
        .iter()
        .try_fold(ActorChain::new(head), |chain, actor| chain.with_actor(actor))
        .map_err(|error| wrong(&error))
}

/// The labels of a target as policy sees them. How a cell is overwritten is not part of a decision: see [`redaction`].
pub(crate) fn label_specs(config: &Config, target: &str) -> Vec<LabelSpec> {
    config.labels_of(target).map(LabelSpec::from).collect()
}

/// How the configuration overwrites a labelled column's cells, in its own words.
pub(crate) fn redaction(config: &Config, target: &str, label: &str) -> String {
    let mut found: Vec<String> = config
        .labels_of(target)
        .filter(|one| one.name == label)
        .map(|one| {
            let how = one.redact.to_string();
            match one.paths.is_empty() {
                true => how,
                false => format!("{how} at {} path(s)", one.paths.len()),
            }
        })
        .collect();
    found.sort();
    found.dedup();
    found.join(" or ")
}

/// Labels in a catalog, with the views that can be followed.
pub(crate) fn resolve(catalog: &Catalog, specs: &[LabelSpec]) -> (LabelIndex, Vec<String>) {
    let (mut index, missing) = LabelIndex::resolve(catalog, specs);
    linegate_sql::follow(&mut index);
    (index, missing)
}

/// Where labels were looked up.
pub(crate) enum Source {
    /// The target's database, as it is now.
    Database(Box<LabelIndex>),
    /// It could not be asked, or was not to be; why.
    Configuration(String),
}

impl Source {
    /// Asks the target's database unless that is not wanted. Why it could not be asked is part of the answer.
    pub(crate) async fn find(
        target: &TargetConfig,
        database: Option<&str>,
        specs: &[LabelSpec],
        offline: bool,
    ) -> Self {
        if offline {
            return Self::Configuration("--offline".to_owned());
        }
        match database::labels(target, database, specs).await {
            Ok((index, _missing)) => Self::Database(Box::new(index)),
            Err(failure) => Self::Configuration(failure.message().to_owned()),
        }
    }

    /// A line for people.
    pub(crate) fn said(&self) -> String {
        match self {
            Self::Database(_) => "catalog: read from the target's database".to_owned(),
            Self::Configuration(why) => format!(
                "catalog: not known ({why}); labelled relations are taken from the configuration, and views, inheritance \
                 and functions over them do not show"
            ),
        }
    }
}

/// A statement and the labels to decide it by. Without a database, the relations that it names are taken as tables.
pub(crate) fn statement(
    source: &Source,
    specs: &[LabelSpec],
    text: &[u8],
) -> (Statement, Option<LabelIndex>) {
    match source {
        Source::Database(index) => (linegate_sql::read_with(text, Some(index)), None),
        Source::Configuration(_) => {
            // Half a catalog would tell half a lineage, so none is asked for.
            let statement = linegate_sql::read(text);
            let (index, _) = LabelIndex::resolve(&stand_in(specs, &statement), specs);
            (statement, Some(index))
        }
    }
}

/// A catalog of the labelled relations and of those that the statement names.
fn stand_in(labels: &[LabelSpec], statement: &Statement) -> Catalog {
    let mut columns: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (schema, table, column) in labels.iter().flat_map(|label| &label.columns) {
        let place = (schema.clone(), table.clone());
        columns.entry(place).or_default().push(column.clone());
    }
    let labelled: HashSet<String> = columns.keys().map(|(_, table)| table.clone()).collect();
    let names = statement.reads.iter().chain(&statement.writes);
    for Name { schema, name } in names.filter(|name| name.schema.is_some() || !labelled.contains(&name.name))
    {
        let schema = schema.clone().unwrap_or_else(|| "public".to_owned());
        columns.entry((schema, name.clone())).or_default();
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
            Relation::new(oid, &schema, &name, b'r', columns.collect())
        });
    Catalog {
        epoch: 1,
        relations: relations.collect(),
        ..Catalog::default()
    }
}

/// Now, for policies that look at the time.
pub(crate) fn now() -> linegate_identity::UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ms = since.map_or(0, |elapsed| elapsed.as_millis());
    linegate_identity::UnixMillis(u64::try_from(ms).unwrap_or(u64::MAX))
}
