//! What linegate reads in statements, as JSON lines, for comparison with other readers and with servers (`tests/differential`).
//!
//! Lines in, one line out for each:
//! - `{"text": …}` is read; with `"bare": true` without the catalog;
//! - `{"queries": true}` asks for the catalog's queries, `{"catalog": [[query, [cell, …]], …]}` brings their rows.
//!
//! With a catalog a reading also has `reach`: what the relations that it names are made of, through any number of views,
//! partitions and parents.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};

use linegate_policy::{LabelIndex, Name, Named};
use linegate_sql::catalog::{BODIES_AT, Loader, VERSION};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut index: Option<LabelIndex> = None;
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    for line in input.lines() {
        let line: Value = serde_json::from_str(&line?)?;
        let answer = if let Some(text) = line["text"].as_str() {
            reading(text, index.as_ref().filter(|_| line["bare"] != true))
        } else if line["queries"].as_bool() == Some(true) {
            let queries: Vec<_> = Loader::queries()
                .filter(|(index, _)| *index < BODIES_AT)
                .collect();
            json!({"queries": queries, "version": VERSION})
        } else {
            index = line["catalog"].as_array().map(|rows| catalog(rows)).transpose()?;
            json!({"relations": line["catalog"].as_array().map_or(0, Vec::len)})
        };
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

/// An index without labels over rows of the catalog's queries.
fn catalog(rows: &[Value]) -> Result<LabelIndex, Box<dyn std::error::Error>> {
    let mut loader = Loader::new();
    for row in rows {
        let query_index = row[0].as_u64().ok_or("a row without its query")?;
        let cells = row[1].as_array().ok_or("a row without cells")?;
        let cells: Vec<Option<&[u8]>> = cells
            .iter()
            .map(|cell| cell.as_str().map(str::as_bytes))
            .collect();
        loader.row(usize::try_from(query_index)?, &cells)?;
    }
    Ok(LabelIndex::resolve(&loader.finish(1), &[]).0)
}

fn reading(text: &str, index: Option<&LabelIndex>) -> Value {
    let statement = linegate_sql::read_with(text.as_bytes(), index);
    let why = linegate_sql::read_detailed(text.as_bytes()).err();
    let mut answer = json!({
        "effects": statement.effects.names().collect::<Vec<_>>(),
        "defines": statement.defines.iter().map(by_name).collect::<Value>(),
        "runs": statement.runs.as_ref().map(by_name),
        "reads": names(&statement.reads),
        "writes": names(&statement.writes),
        "functions": names(&statement.functions),
        "opaque": statement.opaque,
        "bounded": statement.bounded,
        "settings": statement.settings,
        "count": statement.count,
        "changes_catalog": statement.changes_catalog,
        "fires_triggers": statement.fires_triggers(),
    });
    if let Some(why) = why {
        answer["unreadable"] = json!(why.to_string());
    }
    if let Some(index) = index {
        let (reads, writes) = (statement.reads.iter(), statement.writes.iter());
        answer["reach"] = json!(reach(reads.chain(&statement.writes), index));
        answer["reach_written"] = json!(reach(writes, index));
    }
    answer
}

/// What is prepared or declared, with its kind.
fn by_name(named: &Named) -> Value {
    match named {
        Named::Prepared(name) => json!(["prepared", name]),
        Named::Cursor(name) => json!(["cursor", name]),
    }
}

/// Pairs of schema, if written, and name.
fn names(names: &[Name]) -> Value {
    names.iter().map(|name| json!([name.schema, name.name])).collect()
}

/// The OIDs of relations of these names and of everything below and above them.
fn reach<'s>(names: impl Iterator<Item = &'s Name>, index: &LabelIndex) -> BTreeSet<u32> {
    let mut work: Vec<u32> = names
        .flat_map(|name| index.known(name))
        .map(|known| known.oid)
        .collect();
    let mut seen: BTreeSet<u32> = work.iter().copied().collect();
    while let Some(known) = work.pop().and_then(|oid| index.known_by_oid(oid)) {
        work.extend(known.sources.iter().filter(|oid| seen.insert(**oid)));
    }
    seen
}
