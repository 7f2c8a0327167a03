//! Any text is read, with and without a catalog: no panic inside, the same answer twice, bounded time and size, and what is not
//! understood says so.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use linegate_identity::Effects;
use linegate_policy::catalog::Function;
use linegate_policy::{Catalog, Column, LabelIndex, LabelSpec, RedactSpec, Relation};
use linegate_sql::{ReadError, STATEMENT_BYTES_MAX, read_detailed, read_with};

/// Far above what any text within the bounds takes; sanitizer counters and a loaded machine included.
const TIME_MAX: Duration = Duration::from_secs(20);

fn relation(oid: u32, name: &str, kind: u8, columns: &[(&str, u32)]) -> Relation {
    let columns = (1..).zip(columns).map(|(number, (name, type_oid))| Column {
        number,
        name: (*name).to_owned(),
        type_oid: *type_oid,
    });
    Relation::new(oid, "vault", name, kind, columns.collect())
}

static INDEX: LazyLock<LabelIndex> = LazyLock::new(|| {
    let people = [
        ("id", 23),
        ("name", 25),
        ("email", 25),
        ("ssn", 25),
        ("card", 25),
        ("phone", 25),
        ("doc", 3802),
        ("account", 20),
        ("aliases", 1009),
        ("created", 1184),
    ];
    let mut contact = relation(20_003, "contact", b'v', &[("id", 23), ("mail", 25)]);
    contact.body = Some("SELECT people.id, people.email AS mail FROM vault.people".to_owned());
    contact.sources = vec![20_001];
    let mut staff = relation(20_002, "staff", b'r', &people);
    staff.sources = vec![20_001];
    let function = |name: &str, body: Option<&str>| Function {
        schema: "vault".to_owned(),
        name: name.to_owned(),
        arguments_count: 1,
        argument_types: vec![25],
        sql_body: body.map(str::to_owned),
    };
    let functions = vec![
        function("mail_of", Some("SELECT email FROM vault.people WHERE id = $1")),
        function("shout", None),
    ];
    let catalog = Catalog {
        epoch: 1,
        relations: vec![
            relation(20_001, "people", b'r', &people),
            staff,
            contact,
            relation(
                20_004,
                "orders",
                b'r',
                &[("id", 23), ("person_id", 23), ("note", 25)],
            ),
        ],
        user_functions: functions.iter().map(|function| function.name.clone()).collect(),
        functions,
        ..Catalog::default()
    };
    let label = |name: &str, columns: &[&str], paths: Vec<Vec<String>>| LabelSpec {
        name: name.to_owned(),
        columns: columns
            .iter()
            .map(|column| ("vault".to_owned(), "people".to_owned(), (*column).to_owned()))
            .collect(),
        paths,
        redact: RedactSpec::Blank,
    };
    let labels = [
        label(
            "pii",
            &["email", "ssn", "card", "phone", "account", "aliases"],
            Vec::new(),
        ),
        label("tax", &["doc"], vec![vec!["tax_id".to_owned()]]),
    ];
    let (mut index, missing) = LabelIndex::resolve(&catalog, &labels);
    assert!(missing.is_empty(), "{missing:?}");
    linegate_sql::follow(&mut index);
    index
});

/// Reads `data` as a statement.
pub fn check(data: &[u8]) {
    let index = &*INDEX;
    let began = Instant::now();
    let alone = read_detailed(data);
    let bound = read_with(data, Some(index));
    assert!(began.elapsed() < TIME_MAX, "reading took {:?}", began.elapsed());
    match &alone {
        Err(error) => {
            assert!(
                *error != ReadError::Inconsistent,
                "a panic inside, or a tree that contradicts itself"
            );
            assert!(bound.effects.contains(Effects::UNREADABLE));
        }
        Ok(statement) => {
            assert!(data.len() <= STATEMENT_BYTES_MAX);
            let names_something = !(statement.reads.is_empty() && statement.writes.is_empty());
            assert!(
                !names_something || !statement.effects.is_empty(),
                "it names relations and does nothing"
            );
            assert!(
                statement.effects.without(bound.effects).is_empty(),
                "with a catalog it does less"
            );
            assert!(statement.reads.iter().all(|name| bound.reads.contains(name)));
            assert!(statement.writes.iter().all(|name| bound.writes.contains(name)));
            // What one node names is at most two names, and nodes are fewer than bytes.
            let names = statement.reads.len() + statement.writes.len() + statement.functions.len();
            assert!(names <= 2 * data.len() + 16);
            // A FunctionCall stands for no text that could be followed.
            let without = Effects::UNREADABLE.with(Effects::FUNCTION_CALL);
            assert!(
                bound.lineage.is_some() || bound.effects.intersects(without),
                "read, and not followed"
            );
        }
    }
    assert_eq!(bound, read_with(data, Some(index)), "read twice");
}
