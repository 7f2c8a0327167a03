//! Labels through the catalog's own queries: what the columns of views hold, and what calls of SQL functions show.
//! Source: PostgreSQL manual, "Views", "Materialized Views", "Query Language (SQL) Functions".
//!
//! Runs once for every read of the catalog. Views that call functions which are not followed count as holding every label.

use std::borrow::Cow;

use linegate_identity::Effects;
use linegate_policy::labels::{Meaning, ToFollow};
use linegate_policy::{Flow, LabelIndex, Statement};

use super::{Reader, types};
use crate::{parse, walk};

/// Follows every view and function that can be followed, in order of dependency.
pub fn follow(index: &mut LabelIndex) {
    if index.has_no_labels() {
        return;
    }
    for oid in index.unread_views() {
        index.mark_derived(oid);
    }
    for (oid, body) in index.all_views() {
        if !read(&body, index, false).is_some_and(|(statement, _)| only_builtin(&statement, index)) {
            index.mark_derived(oid);
        }
    }
    loop {
        let mut goes_on = false;
        for function in index.functions_to_follow() {
            if let Some(meaning) = meaning(&function, index) {
                index.set_meaning(&function.place, meaning);
                goes_on = true;
            }
        }
        for (oid, body) in index.views_to_follow() {
            if let Some(lineage) = view(&body, index) {
                if index.set_view(oid, lineage.outputs.as_deref().unwrap_or_default()) {
                    index.set_view_reads(oid, &lineage);
                    goes_on = true;
                } else {
                    index.give_up_view(oid);
                }
            }
        }
        if !goes_on {
            return;
        }
    }
}

fn only_builtin(statement: &Statement, index: &LabelIndex) -> bool {
    let is_builtin =
        |name: &linegate_policy::Name| index.knows_function(name) && !index.is_user_function(&name.name);
    statement.functions.iter().all(is_builtin)
}

fn read(body: &str, index: &LabelIndex, in_body: bool) -> Option<(Statement, linegate_policy::Lineage)> {
    let mut statement = crate::read_detailed(body.as_bytes()).ok()?;
    if statement.count != 1 || statement.effects != Effects::SELECT || !statement.opaque.is_empty() {
        return None;
    }
    if !statement.settings.is_empty() || !statement.writes.is_empty() {
        return None;
    }
    let tree = parse::parse(body).ok()?;
    // Operators and types that call somebody's functions.
    let mut walker = walk::Walker::new(Some(index), None);
    for node in parse::plain(&tree) {
        walker.top_level(node).ok()?;
    }
    if !walker.finish().opaque.is_empty() {
        return None;
    }
    let mut reader = Reader::new(index);
    reader.in_body = in_body;
    reader.texts = super::parameters::doubtful(parse::plain(&tree), index).texts;
    reader.text(parse::plain(&tree));
    let lineage = reader.found;
    statement.lineage = None;
    Some((statement, lineage))
}

/// What can be relied on: nothing unknown, nothing kept elsewhere, no function that is not known.
fn understood(
    body: &str,
    index: &LabelIndex,
    in_body: bool,
) -> Option<(Statement, linegate_policy::Lineage)> {
    let (statement, lineage) = read(body, index, in_body)?;
    let is_understood = lineage.unknown.is_empty()
        && lineage.moved.is_empty()
        && lineage.exposed.is_empty()
        && !lineage.strangers
        && lineage.followed
        && statement.functions.iter().all(|name| index.knows_function(name));
    is_understood.then_some((statement, lineage))
}

fn view(body: &str, index: &LabelIndex) -> Option<linegate_policy::Lineage> {
    let (_, lineage) = understood(body, index, false)?;
    lineage.outputs.is_some().then_some(lineage)
}

/// The query of a body as the server prints it: `RETURN …` and `BEGIN ATOMIC … END` are no statements by themselves.
fn query_of(body: &str) -> Cow<'_, str> {
    let body = body.trim();
    let atomic = body
        .strip_prefix("BEGIN ATOMIC")
        .and_then(|rest| rest.strip_suffix("END"));
    match (atomic, body.strip_prefix("RETURN ")) {
        (Some(inner), _) => Cow::Borrowed(inner),
        (None, Some(expression)) => Cow::Owned(format!("SELECT {expression}")),
        (None, None) => Cow::Borrowed(body),
    }
}

fn meaning(function: &ToFollow, index: &LabelIndex) -> Option<Meaning> {
    let (statement, mut lineage) = understood(&query_of(&function.body), index, true)?;
    // The same argument may be another value for each call: as what the catalog calls it by then, or settings say.
    let types = &function.argument_types;
    if types.iter().copied().any(types::oid_goes_by_names) {
        lineage.probes.extend(&lineage.lookups);
    }
    if lineage.split_parameters != 0 && types.iter().copied().any(types::oid_hides_commas) {
        lineage.probes.extend(&lineage.lookups); // nobody counts the values of such an argument
    }
    if types.iter().copied().any(types::oid_cuts) && !lineage.lookups.is_empty() {
        lineage.computed_constants = lineage.computed_constants.max(1); // by the type, another value than what is handed over
    }
    let is_by_settings = types.iter().copied().any(types::oid_goes_by_settings);
    if is_by_settings && !lineage.lookups.is_empty() {
        lineage.by_settings = true;
        lineage.computed_constants = lineage.computed_constants.max(1);
    }
    let shows = match lineage.outputs {
        Some(flows) => flows.iter().flat_map(Flow::columns).copied().collect(),
        None => lineage.touched.clone(),
    };
    let mut reads = statement.reads;
    // What functions that it calls read, it reads.
    for name in &statement.functions {
        for meaning in index.meanings(name).unwrap_or_default() {
            reads.extend(meaning.reads.iter().cloned());
        }
    }
    reads.sort_unstable();
    reads.dedup();
    Some(Meaning {
        reads,
        shows,
        touched: lineage.touched,
        lookups: lineage.lookups,
        probes: lineage.probes,
        computed_constants: lineage.computed_constants,
        by_settings: lineage.by_settings,
        spreads: lineage.spreads,
        splits: lineage.split_parameters != 0,
    })
}
