//! Ways around a mask, and what is left to policy.

use super::*;
use crate::labels::tests::{index, specs};
use crate::tests::name;

fn statement(effects: Effects, reads: &[&str], writes: &[&str], functions: &[&str]) -> Statement {
    let names = |names: &[&str]| names.iter().map(|text| name(text)).collect();
    Statement {
        effects,
        reads: names(reads),
        writes: names(writes),
        functions: names(functions),
        count: 1,
        ..Statement::empty()
    }
}

fn moving(statement: Statement) -> Statement {
    Statement {
        moves_values: true,
        ..statement
    }
}

fn found(statement: &Statement) -> Option<Channel> {
    channel(statement, &index(), &MaskScope::all(&specs()))
}

#[test]
fn every_channel_is_closed() {
    use Effects as E;
    let (customers, people) = (name("app.customers"), name("people"));
    let select_insert = E::SELECT.with(E::INSERT);
    let cases: Vec<(&str, Statement, Channel)> = vec![
        (
            "fast path",
            statement(E::FUNCTION_CALL, &[], &[], &[]),
            Channel::FunctionCall,
        ),
        (
            "replication",
            statement(E::REPLICATION, &[], &[], &[]),
            Channel::Replication,
        ),
        ("files", statement(E::SERVER, &[], &[], &[]), Channel::Server),
        (
            "copy out",
            statement(E::COPY_OUT, &["app.customers"], &[], &[]),
            Channel::Copy(customers.clone()),
        ),
        (
            "copy of a view",
            statement(E::COPY_OUT, &["people"], &[], &[]),
            Channel::Copy(people.clone()),
        ),
        (
            "user function",
            statement(E::SELECT, &[], &[], &["peek"]),
            Channel::Function(name("peek")),
        ),
        (
            "its schema",
            statement(E::SELECT, &[], &[], &["app.peek"]),
            Channel::Function(name("app.peek")),
        ),
        (
            "shadowed",
            statement(E::SELECT, &[], &[], &["lower"]),
            Channel::Function(name("lower")),
        ),
        (
            "query text",
            statement(E::SELECT, &[], &[], &["pg_catalog.query_to_xml"]),
            Channel::Function(name("pg_catalog.query_to_xml")),
        ),
        (
            "unheard of",
            statement(E::SELECT, &[], &[], &["frobnicate"]),
            Channel::Function(name("frobnicate")),
        ),
        (
            "large object",
            statement(E::SELECT, &[], &[], &["lo_get"]),
            Channel::Function(name("lo_get")),
        ),
        (
            "statistics",
            statement(E::SELECT, &["pg_stats"], &[], &[]),
            Channel::Catalog(name("pg_stats")),
        ),
        (
            "subscriptions",
            statement(E::SELECT, &["pg_subscription"], &[], &["count"]),
            Channel::Catalog(name("pg_subscription")),
        ),
        (
            "counted subscriptions beside another catalog",
            Statement {
                counts_subscriptions: true,
                ..statement(E::SELECT, &["pg_authid", "pg_subscription"], &[], &["count"])
            },
            Channel::Catalog(name("pg_authid")),
        ),
        (
            "user mappings",
            statement(E::SELECT, &["pg_user_mappings"], &[], &["pg_options_to_table"]),
            Channel::Catalog(name("pg_user_mappings")),
        ),
        (
            "activity",
            statement(E::SELECT, &["pg_catalog.pg_stat_activity"], &[], &[]),
            Channel::Catalog(name("pg_catalog.pg_stat_activity")),
        ),
        (
            "how far a COPY is",
            statement(E::SELECT, &["pg_stat_progress_copy"], &[], &[]),
            Channel::Catalog(name("pg_stat_progress_copy")),
        ),
        (
            "the same by the function",
            statement(E::SELECT, &[], &[], &["pg_stat_get_progress_info"]),
            Channel::Function(name("pg_stat_get_progress_info")),
        ),
        (
            "how long the log is",
            statement(E::SELECT, &[], &[], &["pg_current_wal_flush_lsn"]),
            Channel::Function(name("pg_current_wal_flush_lsn")),
        ),
        (
            "what of it was sent",
            statement(E::SELECT, &["pg_replication_slots"], &[], &[]),
            Channel::Catalog(name("pg_replication_slots")),
        ),
        (
            "toast",
            statement(E::SELECT, &["pg_toast.pg_toast_10"], &[], &[]),
            Channel::Catalog(name("pg_toast.pg_toast_10")),
        ),
        (
            "insert from",
            statement(select_insert, &["app.customers"], &["app.orders"], &[]),
            Channel::Flow(customers.clone()),
        ),
        (
            "update from",
            statement(E::UPDATE, &["app.customers", "orders"], &["orders"], &[]),
            Channel::Flow(customers.clone()),
        ),
        (
            "insert from itself",
            moving(statement(
                select_insert,
                &["app.customers"],
                &["app.customers"],
                &[],
            )),
            Channel::Flow(customers.clone()),
        ),
        (
            "another column of itself",
            moving(statement(E::UPDATE, &["app.customers"], &["app.customers"], &[])),
            Channel::Flow(customers.clone()),
        ),
        (
            "a computed answer to an update",
            Statement {
                returns_computed: true,
                ..statement(
                    E::UPDATE.with(E::SELECT),
                    &["app.customers"],
                    &["app.customers"],
                    &[],
                )
            },
            Channel::Returning(customers.clone()),
        ),
        (
            "a computed answer to a delete, no column read",
            Statement {
                returns_computed: true,
                ..statement(E::DELETE, &[], &["app.customers"], &[])
            },
            Channel::Returning(customers.clone()),
        ),
        (
            "create view",
            statement(E::CREATE, &["app.customers"], &["v"], &[]),
            Channel::Definition(customers.clone()),
        ),
        (
            "create as, over a view",
            statement(E::CREATE.with(E::SELECT), &["people"], &["t"], &[]),
            Channel::Definition(people),
        ),
        (
            "rename",
            statement(E::ALTER, &[], &["app.customers"], &[]),
            Channel::Definition(customers.clone()),
        ),
        (
            "set_config of a value",
            statement(E::SELECT.with(E::SET), &["app.customers"], &[], &["set_config"]),
            Channel::Flow(customers.clone()),
        ),
        (
            "pg_notify of a value",
            statement(E::SELECT, &["app.customers"], &[], &["pg_notify"]),
            Channel::Flow(customers.clone()),
        ),
        (
            "a lock on a value",
            statement(E::SELECT, &["app.customers"], &[], &["pg_try_advisory_lock"]),
            Channel::Flow(customers),
        ),
    ];
    for (what, statement, expected) in cases {
        assert_eq!(found(&statement), Some(expected), "{what}");
    }
    let mut opaque = statement(Effects::SELECT, &[], &[], &[]);
    opaque.opaque = vec!["text that is run"];
    assert_eq!(found(&opaque), Some(Channel::Opaque("text that is run")));
    let mut computed = statement(E::SELECT.with(E::SET).with(E::ROLE), &[], &[], &["set_config"]);
    computed.settings = vec!["*".to_owned()];
    assert_eq!(
        found(&computed),
        Some(Channel::Setting("with a computed name".to_owned()))
    );
    computed.effects = E::SET; // RESET ALL
    assert_eq!(found(&computed), None);
}

#[test]
fn honest_statements_are_left_to_policy() {
    use Effects as E;
    let cases = [
        statement(
            E::SELECT,
            &["app.customers", "orders"],
            &[],
            &["count", "pg_catalog.lower"],
        ),
        statement(E::INSERT, &[], &["app.customers"], &["now", "nextval"]),
        statement(E::INSERT, &["app.customers"], &["app.customers"], &[]),
        statement(E::UPDATE, &["app.customers"], &["app.customers"], &[]),
        statement(
            E::SELECT.with(E::UPDATE),
            &["app.customers"],
            &["app.customers"],
            &[],
        ),
        moving(statement(E::UPDATE, &["orders"], &["orders"], &[])),
        moving(statement(
            E::SELECT.with(E::INSERT),
            &["orders"],
            &["app.customers"],
            &[],
        )),
        Statement {
            returns_computed: true,
            ..statement(E::UPDATE, &["orders"], &["orders"], &[])
        },
        statement(E::DELETE, &["app.customers"], &["app.customers"], &[]),
        statement(E::COPY_IN, &[], &["app.customers"], &[]),
        statement(E::COPY_OUT, &["orders"], &[], &[]),
        statement(E::CREATE, &["orders"], &["t"], &[]),
        statement(
            E::SELECT,
            &["pg_class", "pg_catalog.pg_attribute"],
            &[],
            &["pg_get_expr", "format_type"],
        ),
        Statement {
            counts_subscriptions: true,
            ..statement(E::SELECT, &["pg_database", "pg_subscription"], &[], &["count"])
        },
        statement(
            E::SELECT,
            &["pg_foreign_server"],
            &[],
            &[
                "acldefault",
                "array_to_string",
                "pg_options_to_table",
                "quote_ident",
                "quote_literal",
            ],
        ),
        statement(E::SELECT, &["orders"], &[], &["pg_notify", "pg_advisory_lock"]),
        statement(E::EXPLAIN, &["app.customers"], &[], &[]),
        statement(E::PREPARED, &[], &[], &[]),
    ];
    for case in cases {
        assert_eq!(found(&case), None, "{case:?}");
    }
}

#[test]
fn a_mask_that_hides_other_labels_closes_no_copy() {
    let copy = statement(Effects::COPY_OUT, &["app.cards"], &[], &[]);
    let only_pii = MaskScope::all(&specs()[..1]);
    assert_eq!(channel(&copy, &index(), &only_pii), None);
}

#[test]
fn settings_that_change_how_text_is_read_stay() {
    let refused = [
        "client_encoding",
        "client_encoding=sjis",
        "standard_conforming_strings=off",
        "standard_conforming_strings",
        "client_min_messages",
        "client_min_messages=debug1",
        "role",
        "session_authorization=x",
        "debug_print_plan",
        "auto_explain.log_min_duration",
        "log_statement=all",
        "work_mem",
        "work_mem=64kB",
        "work_mem='64'",
        "work_mem=4095",
        "work_mem=1.5MB",
        "work_mem=4194304B",
        "hash_mem_multiplier",
        "hash_mem_multiplier=0.5",
        "enable_seqscan=off",
        "random_page_cost=0",
        "cpu_tuple_cost=100",
    ];
    let allowed = [
        "work_mem=4096",
        "work_mem=64MB",
        "work_mem='1 GB'",
        "work_mem=default",
        "hash_mem_multiplier=2",
        "search_path",
        "client_encoding='UTF8'",
        "client_encoding=UTF8",
        "standard_conforming_strings=on",
        "client_min_messages=warning",
        "application_name",
        // What backup tools send.
        "datestyle=ISO",
        "default_transaction_read_only",
        "extra_float_digits=3",
        "idle_in_transaction_session_timeout=0",
        "intervalstyle=postgres",
        "lock_timeout=0",
        "quote_all_identifiers=true",
        "restrict_nonsystem_relation_kind=view, foreign-table",
        "row_security=off",
        "search_path=",
        "statement_timeout=0",
        "synchronize_seqscans=off",
        "transaction_timeout=0",
    ];
    assert_eq!(refused.iter().filter(|setting| is_harmless(setting)).count(), 0);
    assert_eq!(allowed.iter().filter(|setting| !is_harmless(setting)).count(), 0);
}

#[test]
fn only_plain_creations_are_known_to_hold_nothing_masked() {
    use Effects as E;
    let makes = |statement: Statement| makes_clear_relations(&statement, &index(), &MaskScope::all(&specs()));
    let followed = |statement: Statement| Statement {
        lineage: Some(Lineage::default()),
        ..statement
    };
    let table = || followed(statement(E::CREATE, &[], &["app.made"], &[]));
    assert!(makes(table()));
    assert!(makes(followed(statement(
        E::CREATE.with(E::SELECT),
        &["app.orders"],
        &["app.made"],
        &["upper"]
    ))));
    let doubtful = [
        statement(E::CREATE, &[], &["app.made"], &[]),
        followed(statement(E::CREATE.with(E::ALTER), &[], &["app.made"], &[])),
        followed(statement(E::SERVER.with(E::CREATE), &[], &["app.made"], &[])),
        followed(statement(E::DROP, &[], &["app.made"], &[])),
        followed(statement(E::CREATE, &["app.customers"], &["app.made"], &[])),
        followed(statement(E::CREATE, &[], &["app.made", "app.customers"], &[])),
        followed(statement(E::CREATE, &[], &["pg_temp.customers"], &[])),
        followed(statement(E::CREATE, &[], &["app.made"], &["peek"])),
        Statement { count: 2, ..table() },
        Statement {
            opaque: vec!["a body"],
            ..table()
        },
    ];
    for statement in doubtful {
        assert!(!makes(statement.clone()), "{statement:?}");
    }
}
