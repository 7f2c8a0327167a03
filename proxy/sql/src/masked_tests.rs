//! Texts through reading and deciding, for a session with a masked column: what is refused and what stays possible.

use linegate_identity::{ActorChain, Effects, LeaseId, Principal, PrincipalKind, Scope};
use linegate_policy::{
    Catalog, Channel, Column, Engine, LabelIndex, LabelSpec, MaskScope, Reason, RedactSpec, Relation,
    Subject, Verdict, decide,
};

use super::read;

fn relation(oid: u32, name: &str, columns: &[&str]) -> Relation {
    let columns = (1..).zip(columns).map(|(number, name)| Column {
        number,
        name: (*name).to_owned(),
        type_oid: 25,
    });
    Relation {
        oid,
        schema: "app".to_owned(),
        name: name.to_owned(),
        kind: b'r',
        columns: columns.collect(),
        sources: Vec::new(),
    }
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
        redact: RedactSpec::KeepLast(0),
    }];
    let catalog = Catalog {
        relations: vec![
            relation(10, "customers", &["id", "ssn", "notes"]),
            relation(11, "orders", &["id", "n"]),
        ],
        ..Catalog::default()
    };
    let (index, missing) = LabelIndex::resolve(&catalog, &labels);
    assert!(missing.is_empty(), "{missing:?}");
    let masks = MaskScope::all(&labels);
    let verdict =
        |text: &str| decide(&engine, &subject, Some(&index), &masks, &read(text.as_bytes())).verdict;
    texts.iter().map(|text| (*text, verdict(text))).collect()
}

#[test]
fn honest_texts_run() {
    for (text, verdict) in verdicts(&[
        "SELECT ssn FROM app.customers",
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
fn a_change_whose_answer_would_be_refused_does_not_run() {
    for (text, verdict) in verdicts(&[
        "UPDATE app.customers SET notes = 'x' RETURNING lower(ssn)",
        "INSERT INTO app.customers VALUES (1) RETURNING id + 1",
        "DELETE FROM app.customers WHERE id = 1 RETURNING ssn::bytea",
    ]) {
        assert!(
            matches!(verdict, Verdict::Deny(Reason::AroundMask(Channel::Returning(_)))),
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
