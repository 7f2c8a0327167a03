//! Texts through reading and deciding, for a session with a masked column: what is refused and what stays possible.

use linegate_identity::{ActorChain, Effects, LeaseId, Principal, PrincipalKind, Scope};
use linegate_policy::{
    Catalog, Channel, Column, Engine, LabelIndex, LabelSpec, MaskScope, Reason, RedactSpec, Relation,
    Subject, Verdict, decide,
};

use super::{follow, read_with};

fn relation(oid: u32, name: &str, columns: &[&str]) -> Relation {
    let columns = (1..).zip(columns).map(|(number, name)| Column {
        number,
        name: (*name).to_owned(),
        type_oid: 25,
    });
    Relation::new(oid, "app", name, b'r', columns.collect())
}

/// The verdict on each text, where `ssn` of `app.customers` is masked and policy permits everything.
fn verdicts<'t>(texts: &[&'t str]) -> Vec<(&'t str, Verdict)> {
    let policy = "permit (principal, action, resource);".to_owned();
    let engine = Engine::compile(&[("all.cedar".to_owned(), policy)], &[]).expect("a policy");
    let chain = ActorChain {
        principal: Principal {
            kind: PrincipalKind::User,
            name: "oncall".to_owned(),
            groups: Vec::new(),
        },
        actors: Vec::new(),
    };
    let scope = Scope {
        effects: Effects::all(),
        tables: None,
    };
    let subject = Subject::new(&engine, &chain, &LeaseId("lg_test".to_owned()), &scope, "shop");
    let labels = [LabelSpec {
        name: "pii".to_owned(),
        columns: vec![("app".to_owned(), "customers".to_owned(), "ssn".to_owned())],
        paths: Vec::new(),
        redact: RedactSpec::KeepLast(0),
    }];
    let catalog = Catalog {
        relations: vec![
            relation(10, "customers", &["id", "ssn", "notes"]),
            relation(11, "orders", &["id", "n"]),
            Relation {
                kind: b'v',
                sources: vec![10],
                body: Some("SELECT id, notes AS note, ssn AS number FROM app.customers".to_owned()),
                ..relation(12, "people", &["id", "note", "number"])
            },
            Relation {
                kind: b'v',
                sources: vec![10],
                ..relation(13, "unread", &["id"])
            },
        ],
        user_functions: ["code".to_owned()].into(),
        ..Catalog::default()
    };
    let (mut index, missing) = LabelIndex::resolve(&catalog, &labels);
    assert!(missing.is_empty(), "{missing:?}");
    follow(&mut index);
    let masks = MaskScope::all(&labels);
    let verdict = |text: &str| {
        let statement = read_with(text.as_bytes(), Some(&index));
        decide(&engine, &subject, Some(&index), &masks, &statement).verdict
    };
    texts.iter().map(|text| (*text, verdict(text))).collect()
}

#[test]
fn honest_texts_run() {
    for (text, verdict) in verdicts(&[
        "SELECT ssn FROM app.customers",
        "SELECT upper(ssn), c FROM app.customers c WHERE ssn = $1",
        "SELECT id, number FROM app.people ORDER BY note",
        "SELECT count(*) FROM app.people WHERE number IN ('a', 'b')",
        "COPY app.customers (id, notes) TO STDOUT",
        "COPY (SELECT id, note FROM app.people) TO STDOUT",
        "COPY app.customers TO STDOUT",
        "COPY app.customers (ssn, id) TO STDOUT WITH (FORMAT csv, HEADER)",
        "COPY (SELECT upper(ssn), id FROM app.customers) TO STDOUT BINARY",
        "COPY app.customers (id, ssn) FROM STDIN",
        "CREATE TEMP TABLE t AS SELECT id, notes FROM app.customers",
        "CREATE TEMP VIEW v AS SELECT id FROM app.customers WHERE ssn IS NOT NULL",
        "INSERT INTO app.orders SELECT id, notes FROM app.customers",
        "UPDATE app.customers SET notes = 'x' WHERE id = 1 RETURNING lower(ssn)",
        "INSERT INTO app.customers VALUES (1) RETURNING id + 1",
        "PREPARE p AS SELECT ssn FROM app.customers",
        "EXPLAIN SELECT ssn FROM app.customers WHERE id = 1",
        "UPDATE app.orders SET n = n + 1",
        "UPDATE app.orders SET n = n + 1 RETURNING n * 2",
        "UPDATE app.customers SET notes = 'x' WHERE id = 1",
        "UPDATE app.customers SET ssn = $1 WHERE id = $2 RETURNING id, ssn",
        "UPDATE customers SET notes = 'x' WHERE id = 1 RETURNING *",
        "UPDATE app.customers SET notes = 'x' WHERE id IN (SELECT id FROM app.orders)",
        "INSERT INTO app.customers VALUES (1, 'a', 'b') RETURNING *",
        "INSERT INTO app.customers VALUES (1, 'a', 'b') ON CONFLICT (id) DO UPDATE SET ssn = excluded.ssn RETURNING id",
        "INSERT INTO app.customers SELECT id, 'a', 'b' FROM app.orders",
        "DELETE FROM app.customers WHERE id = 1 RETURNING ssn",
        "SET client_encoding TO 'UTF8'",
        "SET NAMES 'utf8'",
        "SET standard_conforming_strings = on",
        "SET client_min_messages = warning",
        "SELECT set_config('client_encoding', 'UTF8', false)",
        "SET search_path TO app, public",
        "SELECT pg_catalog.set_config('search_path', '', false)",
        "SELECT count(*) FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database\n    WHERE datname = current_database())",
        "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'",
    ]) {
        assert_eq!(verdict, Verdict::Allow, "{text}");
    }
}

#[test]
fn values_do_not_leave_their_column() {
    for (text, verdict) in verdicts(&[
        "UPDATE app.customers SET notes = ssn",
        "UPDATE app.customers SET notes = ssn WHERE id = 1 RETURNING notes",
        "UPDATE customers c SET notes = to_jsonb(c)",
        "UPDATE app.customers SET notes = (SELECT ssn FROM app.customers LIMIT 1)",
        "UPDATE app.orders o SET n = c.ssn FROM app.customers c WHERE c.id = o.id",
        "INSERT INTO app.customers VALUES (1) ON CONFLICT (id) DO UPDATE SET notes = customers.ssn",
        "INSERT INTO app.customers AS excluded VALUES (1) ON CONFLICT (id) DO UPDATE SET notes = excluded.ssn",
        "INSERT INTO app.customers SELECT id, '', ssn FROM app.customers",
        "INSERT INTO app.customers (notes) VALUES ((SELECT ssn FROM app.customers LIMIT 1))",
        "MERGE INTO app.customers c USING app.orders o ON c.id = o.id WHEN MATCHED THEN UPDATE SET notes = c.ssn",
        "WITH d AS (UPDATE app.customers SET notes = 'x' RETURNING ssn) INSERT INTO app.orders SELECT 1, ssn FROM d",
        "WITH d AS (UPDATE app.customers SET notes = ssn RETURNING id) SELECT id FROM d",
    ]) {
        assert!(
            matches!(verdict, Verdict::Deny(Reason::AroundMask(Channel::Flow(_)))),
            "{text}: {verdict:?}"
        );
    }
}

#[test]
fn a_copy_that_cannot_be_masked_is_refused() {
    for (text, verdict) in verdicts(&[
        "COPY app.customers TO STDOUT (NULL 'guess')",
        "COPY app.customers TO STDOUT (FORMAT csv, ENCODING 'LATIN1')",
        "COPY app.customers TO STDOUT; SELECT 1",
        "COPY app.people TO STDOUT",
        "COPY (UPDATE app.customers SET notes = 'x' RETURNING ssn) TO STDOUT",
    ]) {
        assert!(
            matches!(verdict, Verdict::Deny(Reason::AroundMask(Channel::Copy(_)))),
            "{text}: {verdict:?}"
        );
    }
}

#[test]
fn a_change_whose_answer_would_be_refused_does_not_run() {
    for (text, verdict) in verdicts(&[
        "UPDATE customers SET notes = 'x' FROM json_each('{}') j WHERE id = 1 RETURNING *, lower(ssn)",
        "DELETE FROM app.customers c USING json_each('{}') j WHERE c.id = 1 RETURNING *, c.id + 1",
    ]) {
        assert!(
            matches!(verdict, Verdict::Deny(Reason::AroundMask(Channel::Returning(_)))),
            "{text}: {verdict:?}"
        );
    }
}

#[test]
fn values_are_looked_up_and_not_searched() {
    for (text, verdict) in verdicts(&[
        "SELECT id FROM app.customers WHERE ssn LIKE '1%'",
        "SELECT id FROM app.people ORDER BY number",
        "SELECT ssn::int FROM app.customers",
        "SELECT DISTINCT ssn FROM app.customers",
        "DELETE FROM app.customers WHERE id = 1 RETURNING ssn::bytea",
        "COPY (SELECT id FROM app.customers WHERE ssn > 'a') TO STDOUT",
        "CREATE TEMP VIEW v AS SELECT id FROM app.customers WHERE ssn > 'a'",
        "EXPLAIN SELECT id FROM app.customers WHERE ssn > 'a'",
        "PREPARE p AS SELECT id FROM app.customers WHERE ssn > $1",
        "DECLARE c CURSOR FOR SELECT id FROM app.customers ORDER BY ssn",
    ]) {
        assert_eq!(
            verdict,
            Verdict::Deny(Reason::AroundMask(Channel::Probe("pii".to_owned()))),
            "{text}"
        );
    }
}

#[test]
fn what_cannot_be_followed_is_refused() {
    for (text, verdict) in verdicts(&[
        "SELECT id FROM app.unread",
        "CREATE TABLE t AS EXECUTE p",
        "CREATE INDEX ON app.customers (ssn)",
        "CREATE RULE r AS ON UPDATE TO app.orders DO ALSO SELECT ssn FROM app.customers",
        "ALTER TABLE app.customers RENAME TO people2",
        "ALTER SCHEMA app RENAME TO other",
        "ALTER TABLE app.orders ADD CONSTRAINT k FOREIGN KEY (n) REFERENCES app.customers (ssn)",
        "CREATE TABLE t (LIKE app.customers)",
        "SELECT app.code(1)",
        "SELECT code(id) FROM app.orders",
    ]) {
        assert!(
            matches!(verdict, Verdict::Deny(Reason::AroundMask(_))),
            "{text}: {verdict:?}"
        );
    }
}

#[test]
fn settings_that_hide_text_or_tell_values_stay() {
    for (text, verdict) in verdicts(&[
        "SET client_encoding TO 'SJIS'",
        "SET client_encoding TO DEFAULT",
        "RESET client_encoding",
        "SET standard_conforming_strings = off",
        "SET client_min_messages = debug5",
        "SET log_statement = 'all'",
        "SET ROLE postgres",
        "SELECT set_config('client_encoding', $1, false)",
        "SELECT set_config('role-x'::char(4), 'postgres', false)",
    ]) {
        assert!(
            matches!(verdict, Verdict::Deny(Reason::AroundMask(Channel::Setting(_)))),
            "{text}: {verdict:?}"
        );
    }
}

#[test]
fn subscriptions_are_counted_and_not_looked_at() {
    let count = "SELECT count(*) FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let more = [
        format!("{count} AND subconninfo LIKE 'a%'"),
        format!("{count}; SELECT subconninfo FROM pg_subscription"),
        count.replace("count(*)", "count(*), max(subconninfo)"),
        count.replace("subdbid", "subconninfo"),
    ];
    let texts: Vec<&str> = more.iter().map(String::as_str).collect();
    for (text, verdict) in verdicts(&texts) {
        assert!(
            matches!(verdict, Verdict::Deny(Reason::AroundMask(Channel::Catalog(_)))),
            "{text}: {verdict:?}"
        );
    }
}
