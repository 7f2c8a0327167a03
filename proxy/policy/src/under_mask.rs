//! What a session with masked columns may not do, whatever policy permits: the ways in which a value could leave its column.
//!
//! Masking overwrites columns of result rows by their origin. That is only a boundary while values cannot travel elsewhere
//! first (another table, a setting, a notification, COPY, a log line) and while no function or system catalog hands them out
//! under another origin. Functions are an allow-list (`known_functions.txt`, one name a line: what `pg_catalog` of
//! PostgreSQL 15 to 18 offers, without what runs query text, reads files, large objects, statistics values or other
//! sessions' statements), so a name that is new or unknown is refused.

use std::collections::HashSet;
use std::sync::LazyLock;

use linegate_identity::Effects;

use crate::labels::{LabelIndex, MaskScope};
use crate::statement::{Name, Statement};
use crate::subject::setting_name;
use crate::verdict::{Channel, Reason};

static KNOWN_FUNCTIONS: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("known_functions.txt").lines().collect());

/// System relations that hold values of columns, texts of statements or secrets. Not `pg_foreign_server`: it holds what
/// DDL spelled out, which the server shows to everyone and every dump reads; credentials are in the user mappings.
const VALUE_CATALOGS: &[&str] = &[
    "_pg_user_mappings",
    "pg_authid",
    "pg_cursors",
    "pg_file_settings",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_largeobject",
    "pg_prepared_statements",
    "pg_shadow",
    "pg_stat_activity",
    "pg_stat_statements",
    "pg_stat_subscription",
    "pg_stat_wal_receiver",
    "pg_statistic",
    "pg_statistic_ext_data",
    "pg_stats",
    "pg_stats_ext",
    "pg_stats_ext_exprs",
    "pg_subscription",
    "pg_user_mapping",
    "pg_user_mappings",
    "user_mapping_options",
];

/// Known functions that leave an argument behind where another statement or session can read it.
const CARRIERS: &[&str] = &["pg_notify", "set_config", "setval"];
/// Prefixes of such: locks on chosen numbers are visible in `pg_locks`.
const CARRIER_PREFIXES: &[&str] = &["pg_advisory_", "pg_try_advisory_"];

/// Why a statement is refused while `masks` hides something; `None` when policy may decide.
pub(crate) fn refuse(statement: &Statement, labels: &LabelIndex, masks: &MaskScope) -> Option<Reason> {
    channel(statement, labels, masks).map(Reason::AroundMask)
}

fn channel(statement: &Statement, labels: &LabelIndex, masks: &MaskScope) -> Option<Channel> {
    let effects = statement.effects;
    if effects.contains(Effects::FUNCTION_CALL) {
        return Some(Channel::FunctionCall);
    }
    if effects.contains(Effects::REPLICATION) {
        return Some(Channel::Replication);
    }
    if effects.contains(Effects::SERVER) {
        return Some(Channel::Server);
    }
    if let Some(what) = statement.opaque.first() {
        return Some(Channel::Opaque(what));
    }
    if effects.contains(Effects::EXECUTE) {
        return Some(Channel::Opaque("a DO block or text that the server runs"));
    }
    if effects.contains(Effects::CALL) {
        return Some(Channel::Opaque("a procedure"));
    }
    if let Some(function) = statement
        .functions
        .iter()
        .find(|function| !is_known(function, Some(labels)))
    {
        return Some(Channel::Function(function.clone()));
    }
    let named = || statement.reads.iter().chain(&statement.writes);
    let is_counted = |name: &Name| statement.counts_subscriptions && name.name == "pg_subscription";
    if let Some(name) = named().find(|name| holds_values(name) && !is_counted(name)) {
        return Some(Channel::Catalog(name.clone()));
    }
    if effects.contains(Effects::ROLE) && statement.settings.iter().any(|setting| setting == "*") {
        return Some(Channel::Setting("with a computed name".to_owned()));
    }
    if let Some(setting) = statement.settings.iter().find(|setting| !is_harmless(setting)) {
        return Some(Channel::Setting(setting_name(setting).to_owned()));
    }
    let masked = |name: &&Name| labels.touches_masked(name, masks);
    let read = statement.reads.iter().find(masked);
    let any = read.or_else(|| statement.writes.iter().find(masked))?;
    if effects.contains(Effects::COPY_OUT) {
        return Some(Channel::Copy(any.clone()));
    }
    if effects.contains(Effects::COPY_IN)
        && let Some(read) = read
    {
        return Some(Channel::Copy(read.clone()));
    }
    if effects.intersects(Effects::ALTER.with(Effects::CREATE)) {
        // Renames and attached partitions move a label's columns; views, tables, indexes, rules and triggers build on them.
        return Some(Channel::Definition(any.clone()));
    }
    if effects.intersects(Effects::INSERT.with(Effects::UPDATE)) {
        // A write looks at its own target for WHERE and RETURNING, which moves nothing. Once it writes what it reads, values
        // may go to columns that bear no label.
        let is_own = |name: &Name| statement.writes.contains(name) && !statement.moves_values;
        let source = statement
            .reads
            .iter()
            .find(|name| labels.touches_masked(name, masks) && !is_own(name));
        if let Some(source) = source {
            return Some(Channel::Flow(source.clone()));
        }
    }
    if statement.returns_computed {
        // The result would be refused for want of an origin, after the change was made.
        return Some(Channel::Returning(any.clone()));
    }
    if effects.intersects(Effects::SET.with(Effects::NOTIFY)) || statement.functions.iter().any(carries) {
        return read.cloned().map(Channel::Flow);
    }
    None
}

/// A built-in function that is on the list and, as far as the catalog is known, not shadowed by one outside `pg_catalog`.
pub(crate) fn is_known(function: &Name, labels: Option<&LabelIndex>) -> bool {
    let known = KNOWN_FUNCTIONS.contains(function.name.as_str());
    match function.schema.as_deref() {
        Some("pg_catalog") => known,
        Some(_) => false,
        None => known && labels.is_none_or(|labels| !labels.is_user_function(&function.name)),
    }
}

fn carries(function: &Name) -> bool {
    let name = function.name.as_str();
    CARRIERS.contains(&name) || CARRIER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whichever schema is written: extensions and search_path can put the same relation elsewhere.
fn holds_values(name: &Name) -> bool {
    VALUE_CATALOGS.contains(&name.name.as_str())
        || name.schema.as_deref() == Some("pg_toast")
        || name.name.starts_with("pg_toast_")
}

/// Settings may come as `name` or `name=value`; without its value a setting that can do harm is taken to do it.
fn is_harmless(setting: &str) -> bool {
    let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
    let value = value.trim().trim_matches('\'').to_ascii_lowercase();
    match name {
        // How text is cut into tokens: any other encoding or string syntax could hide a part of the statement.
        "client_encoding" | "names" => matches!(value.as_str(), "utf8" | "utf-8" | "unicode"),
        "standard_conforming_strings" => matches!(value.as_str(), "on" | "true" | "yes" | "1"),
        // Below notice, the server tells the client what only its log should hold.
        "client_min_messages" => matches!(value.as_str(), "notice" | "warning" | "error"),
        "role" | "session_authorization" => false,
        _ => !["auto_explain.", "debug_", "log_", "trace_"]
            .iter()
            .any(|prefix| name.starts_with(prefix)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::tests::{index, specs};

    fn name(text: &str) -> Name {
        match text.split_once('.') {
            Some((schema, name)) => Name {
                schema: Some(schema.to_owned()),
                name: name.to_owned(),
            },
            None => Name {
                schema: None,
                name: text.to_owned(),
            },
        }
    }

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
        let cases: &[(&str, Statement, Channel)] = &[
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
            assert_eq!(found(statement).as_ref(), Some(expected), "{what}");
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
        ];
        let allowed = [
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
    fn the_list_of_functions_is_sorted_and_names_no_reader_of_texts() {
        let lines: Vec<&str> = include_str!("known_functions.txt").lines().collect();
        assert!(lines.is_sorted() && lines.len() > 1500);
        for bad in [
            "query_to_xml",
            "ts_stat",
            "pg_read_file",
            "lo_get",
            "dblink",
            "table_to_xml",
            "pg_stat_get_activity",
        ] {
            assert!(!KNOWN_FUNCTIONS.contains(bad), "{bad}");
        }
    }
}
