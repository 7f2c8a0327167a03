//! What of a COPY is understood, and what is not.

use linegate_policy::{Catalog, Column, LabelSpec, RedactSpec, Relation};

use super::*;

fn index() -> LabelIndex {
    let columns = |names: &[&str]| {
        let column = |(at, name): (usize, &&str)| Column {
            number: 1 + 2 * at as i16,
            name: (*name).to_owned(),
            type_oid: 25,
        };
        names.iter().enumerate().map(column).collect::<Vec<_>>()
    };
    let people = columns(&["id", "ssn", "last", "a \"b\""]);
    let catalog = Catalog {
        relations: vec![
            Relation {
                generated: vec![(5, 3)],
                ..Relation::new(10, "app", "people", b'r', people)
            },
            Relation::new(11, "app", "twice", b'r', columns(&["id"])),
            Relation::new(12, "other", "twice", b'r', columns(&["id"])),
            Relation::new(13, "app", "view", b'v', columns(&["id"])),
            Relation::new(14, "app", "parted", b'p', columns(&["id"])),
        ],
        ..Catalog::default()
    };
    let labels = [LabelSpec {
        name: "pii".to_owned(),
        columns: vec![("app".to_owned(), "people".to_owned(), "ssn".to_owned())],
        paths: Vec::new(),
        redact: RedactSpec::Blank,
    }];
    LabelIndex::resolve(&catalog, &labels).0
}

fn copied(text: &str) -> Option<CopyOut> {
    let statement = crate::read_with(text.as_bytes(), Some(&index()));
    statement.copy_out.map(|copied| *copied)
}

fn describes(text: &str) -> Option<String> {
    copied(text).map(|copied| copied.describes)
}

#[test]
fn a_relation_is_described_by_its_columns() {
    for (text, query) in [
        (
            "COPY app.people TO STDOUT",
            r#"SELECT "id", "ssn", "a ""b""" FROM ONLY "app"."people""#,
        ),
        (
            "copy people (ssn, ID) to stdout;",
            r#"SELECT "ssn", "id" FROM ONLY "people""#,
        ),
        (
            "COPY BINARY app.people (last) TO STDOUT",
            r#"SELECT "last" FROM ONLY "app"."people""#,
        ),
    ] {
        assert_eq!(describes(text).as_deref(), Some(query), "{text}");
    }
    for text in [
        "COPY twice TO STDOUT",
        "COPY app.view TO STDOUT",
        "COPY app.parted TO STDOUT",
        "COPY app.nothing TO STDOUT",
        "COPY app.people (nothing) TO STDOUT",
        "COPY shop.app.people TO STDOUT",
        "COPY app.people TO STDOUT; SELECT 1",
        "COPY app.people TO '/tmp/x'",
        "COPY app.people TO PROGRAM 'cat'",
        "COPY app.people FROM STDIN",
    ] {
        assert_eq!(describes(text), None, "{text}");
    }
}

#[test]
fn a_query_is_cut_out_by_its_tokens() {
    for query in [
        "SELECT ssn FROM app.people",
        "SELECT (1), ')' || ssn, \"a \"\"b)\"\"\" FROM app.people",
        "SELECT $$ ) $$ || $x$ $$ ) $x$, 1 FROM app.people",
        "SELECT 1 -- )\n FROM app.people /* ) /* ) */ ( */",
        r"SELECT E'\')' || ssn FROM app.people",
        "WITH x AS (SELECT ssn FROM app.people) SELECT * FROM x",
        "VALUES ((1), (2))",
        "TABLE app.people",
        r"SELECT e'it''s )', 'a\', a$b$c FROM app.people",
    ] {
        for text in [
            format!("COPY ({query}) TO STDOUT"),
            format!("/* ( */ COPY -- (\n({query}) TO STDOUT WITH (FORMAT csv, NULL ')')"),
        ] {
            assert_eq!(describes(&text).as_deref(), Some(query), "{text}");
        }
    }
    for text in [
        "COPY (DELETE FROM app.people RETURNING id) TO STDOUT",
        "COPY (WITH d AS (DELETE FROM app.people RETURNING id) SELECT * FROM d) TO STDOUT",
        "COPY (SELECT ssn INTO x FROM app.people) TO STDOUT",
        "COPY (SELECT E'a'\n'\\')' FROM app.people) TO STDOUT",
        "COPY (SELECT set_config('a.b', ssn, false) FROM app.people) TO STDOUT",
        "COPY (SELECT ssn FROM app.people) TO STDOUT; COPY (SELECT 1) TO STDOUT",
    ] {
        assert_eq!(describes(text), None, "{text}");
    }
}

#[test]
fn options_are_understood_or_nothing_is() {
    let shape = |options: &str| {
        let copied = copied(&format!("COPY app.people TO STDOUT {options}"))?;
        let (d, q, e) = (
            copied.delimiter as char,
            copied.quote as char,
            copied.escape as char,
        );
        let (format, null) = (copied.format, copied.null);
        let (header, all) = (copied.has_header, copied.quotes_all);
        Some(format!("{format:?} {d:?} {null:?} {q}{e} {header} {all}"))
    };
    for (options, expected) in [
        ("", r#"Text '\t' "\\N" "" false false"#),
        ("WITH DELIMITER '|' NULL ''", r#"Text '|' "" "" false false"#),
        (
            "(FORMAT text, HEADER on, ENCODING 'utf-8')",
            r#"Text '\t' "\\N" "" true false"#,
        ),
        ("CSV", r#"Csv ',' "" "" false false"#),
        (
            "WITH CSV HEADER QUOTE '''' FORCE QUOTE ssn",
            r#"Csv ',' "" '' true true"#,
        ),
        (
            r"(FORMAT csv, DELIMITER E'\t', NULL 'x', QUOTE '$', ESCAPE '\', FORCE_QUOTE *, HEADER 0)",
            r#"Csv '\t' "x" $\ false true"#,
        ),
        ("(FORMAT binary)", r#"Binary '\t' "\\N" "" false false"#),
        ("(HEADER 1)", r#"Text '\t' "\\N" "" true false"#),
    ] {
        assert_eq!(shape(options).as_deref(), Some(expected), "{options}");
    }
    for options in [
        "(FORMAT json)",
        "(FORMAT 'CSV')",
        "(FORMAT csv, FORMAT csv)",
        "(FORMAT csv, FREEZE)",
        "(ENCODING 'LATIN1')",
        "(DELIMITER 'ab')",
        "(DELIMITER 'é')",
        "(DELIMITER 'a')",
        "(DELIMITER '\\')",
        "(NULL '536-90-4399')",
        "(NULL E'a\\n')",
        "(DELIMITER 'N')",
        "(FORMAT csv, NULL ',')",
        "(FORMAT csv, NULL '\"')",
        "(FORMAT csv, DELIMITER '\"')",
        "(FORMAT csv, ESCAPE ',')",
        "(FORMAT csv, HEADER match)",
        "(FORMAT csv, HEADER 2)",
        "(QUOTE '\"')",
        "(FORMAT binary, HEADER)",
        "(FORMAT binary, DELIMITER '|')",
        "(DEFAULT 'x')",
        "(FORCE_NOT_NULL (ssn))",
        "(ON_ERROR ignore)",
    ] {
        assert_eq!(shape(options), None, "{options}");
    }
}
