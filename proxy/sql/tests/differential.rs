//! What linegate reads, beside what another user of PostgreSQL's grammar saw in the same texts (`tests/differential`).
//!
//! `corpus.jsonl` holds texts of our own and of object-relational mappers, each with the other reader's findings:
//! `tests/differential/run --orm --write` makes it. Every relation, function and effect that the other saw must be named
//! here; a query may name no relation besides.

use std::collections::BTreeSet;

use linegate_policy::Name;
use serde_json::Value;

const CORPUS: &str = include_str!("../../../tests/differential/corpus.jsonl");
const QUERIES: &[&str] = &[
    "SelectStmt",
    "InsertStmt",
    "UpdateStmt",
    "DeleteStmt",
    "MergeStmt",
];
/// SET CONSTRAINTS names constraints in the place of relations, IMPORT FOREIGN SCHEMA those of another server.
const NAMES_OTHERS: [&str; 2] = ["ConstraintsSetStmt", "ImportForeignSchemaStmt"];

fn pairs(value: &Value) -> BTreeSet<(Option<&str>, &str)> {
    let list = value.as_array().expect("a list of names");
    list.iter()
        .map(|name| (name[0].as_str(), name[1].as_str().expect("a name")))
        .collect()
}

fn named(names: &[Name]) -> BTreeSet<(Option<&str>, &str)> {
    names
        .iter()
        .map(|name| (name.schema.as_deref(), name.name.as_str()))
        .collect()
}

fn words(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// What differs, in words; empty when nothing does.
fn differences(text: &str, theirs: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let ours = linegate_sql::read(text.as_bytes());
    let is_unreadable = ours.effects.contains(linegate_identity::Effects::UNREADABLE);
    if is_unreadable || theirs.get("error").is_some() {
        if is_unreadable != theirs.get("error").is_some() {
            found.push("only one of the two reads it".to_owned());
        }
        return found;
    }
    let (reads, writes) = (named(&ours.reads), named(&ours.writes));
    let both: BTreeSet<_> = reads.union(&writes).copied().collect();
    let kinds: Vec<&str> = words(&theirs["kinds"]).collect();
    let relations = pairs(&theirs["relations"]);
    let mut missing =
        |what: &str, wanted: BTreeSet<(Option<&str>, &str)>, here: &BTreeSet<(Option<&str>, &str)>| {
            found.extend(
                wanted
                    .difference(here)
                    .map(|name| format!("{what} {name:?} is not named")),
            );
        };
    if !kinds.iter().any(|kind| NAMES_OTHERS.contains(kind)) {
        missing("relation", relations.clone(), &both);
    }
    missing("written relation", pairs(&theirs["written"]), &writes);
    missing("function", pairs(&theirs["functions"]), &named(&ours.functions));
    if theirs["count"].as_u64() != Some(u64::from(ours.count)) {
        found.push(format!("{} statements here", ours.count));
    }
    let effects: BTreeSet<&str> = ours.effects.names().collect();
    for effect in words(&theirs["effects"]).filter(|effect| *effect != "rows" && !effects.contains(effect)) {
        found.push(format!("effect {effect} is not named"));
    }
    if kinds.iter().all(|kind| QUERIES.contains(kind)) {
        let besides = reads.difference(&relations);
        found.extend(besides.map(|name| format!("{name:?} is read here only")));
    }
    found
}

#[test]
fn nothing_that_another_reader_sees_is_missed() {
    let mut wrong = String::new();
    let mut count = 0;
    for line in CORPUS.lines() {
        let case: Value = serde_json::from_str(line).expect("a line of JSON");
        let text = case["text"].as_str().expect("a text");
        for difference in differences(text, &case["oracle"]) {
            wrong.push_str(&format!("\n{text}\n  {difference}"));
        }
        count += 1;
    }
    assert!(count > 400, "a corpus of {count} texts is not the whole one");
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_reading_that_lacks_something_shows() {
    let theirs = serde_json::json!({"count": 1, "kinds": ["SelectStmt"], "relations": [[null, "a"], ["s", "b"]], "written": [[null, "a"]],
        "functions": [[null, "f"]], "effects": ["select", "delete"]});
    let found = differences("SELECT 1 FROM a, c", &theirs);
    assert_eq!(found.len(), 5, "{found:?}");
}
