//! Server functions that read other data, run text, touch files or change the server, by name.
//! Source: PostgreSQL manual, "System Administration Functions", "XML Functions", "Large Objects", "Text Search
//! Functions", appendix "Additional Supplied Modules" (dblink, tablefunc, xml2, pageinspect, adminpack, …).
//!
//! Names match in any schema: extensions live where they were put. A function that is not here and is not in
//! `pg_catalog` is the catalog's `user_functions` to judge.

use linegate_identity::Effects;
use linegate_policy::Name;
use pg_raw_parse::Node;

/// What calling a function adds to its statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Builtin {
    /// Effects beside those of the statement itself.
    pub effects: Effects,
    /// What cannot be looked into.
    pub opaque: Option<&'static str>,
    /// Its arguments may hold a password.
    pub carries_secret: bool,
}

const fn does(effects: Effects, opaque: &'static str) -> Option<Builtin> {
    Some(Builtin {
        effects,
        opaque: Some(opaque),
        carries_secret: false,
    })
}

/// Values of any type, whose checks may be somebody's code.
pub const OF_ANY_TYPE: &str = "a function that takes the name or number of a type";
const RUNS_TEXT: &str = "a function that runs query text";
const READS_ALL: &str = "a function that reads whole relations";
const READS_PAGES: &str = "a function that reads storage pages";
const FILES: &str = "a function that reads or writes server files";
const LARGE: &str = "a function on large objects";
const SESSIONS: &str = "a function that shows other sessions";
const CONTROLS: &str = "a function that controls the server";
const TENDS: &str = "a function that tends an index";
const REPLICATES: &str = "a function on replication or the write-ahead log";

/// What is added when a value from a relation goes into a function of [`carries`].
pub const CARRIES: &str = "a function that keeps or sends a value";

/// Whether the function puts an argument where a later statement or another session finds it, past every result
/// column: settings, sequences, notifications, advisory locks. Harmless with constants.
pub fn carries(name: &Name) -> bool {
    let name = name.name.as_str();
    matches!(
        name,
        "set_config" | "setval" | "setseed" | "pg_notify" | "pg_logical_emit_message"
    ) || name.starts_with("pg_advisory_")
        || name.starts_with("pg_try_advisory_")
}

/// The words of SQL/JSON and MERGE that servers before PostgreSQL 16 or 17 read as functions' names.
pub fn keywords(node: Node<'_>) -> &'static [&'static str] {
    match node {
        Node::JsonParseExpr(_) => &["json"],
        Node::JsonScalarExpr(_) => &["json_scalar"],
        Node::JsonSerializeExpr(_) => &["json_serialize"],
        Node::JsonFuncExpr(_) => &["json_exists", "json_query", "json_value"],
        Node::JsonObjectConstructor(_) => &["json_object"],
        Node::JsonArrayConstructor(_) | Node::JsonArrayQueryConstructor(_) => &["json_array"],
        Node::JsonObjectAgg(_) => &["json_objectagg"],
        Node::JsonArrayAgg(_) => &["json_arrayagg"],
        Node::MergeSupportFunc(_) => &["merge_action"],
        _ => &[],
    }
}

/// Whether the function makes a value of a type that an argument names: the type's checks run.
pub fn takes_type(name: &Name) -> bool {
    matches!(
        name.name.as_str(),
        "array_in"
            | "array_recv"
            | "domain_in"
            | "domain_recv"
            | "multirange_in"
            | "multirange_recv"
            | "pg_input_error_info"
            | "pg_input_is_valid"
            | "range_in"
            | "range_recv"
            | "record_in"
            | "record_recv"
    )
}

/// What a call of `name` with that many arguments adds, if it is more than a value.
pub fn find(name: &Name, arguments_count: usize) -> Option<Builtin> {
    let full = name.name.to_ascii_lowercase();
    exact(&full, name.schema.as_deref(), arguments_count).or_else(|| by_prefix(&full))
}

fn exact(name: &str, schema: Option<&str>, arguments_count: usize) -> Option<Builtin> {
    match name {
        "query_to_xml"
        | "query_to_xmlschema"
        | "query_to_xml_and_xmlschema"
        | "ts_stat"
        | "crosstab"
        | "crosstab2"
        | "crosstab3"
        | "crosstab4"
        | "crosstab_hash"
        | "connectby"
        | "xpath_table"
        | "cursor_to_xml"
        | "cursor_to_xmlschema" => does(Effects::EXECUTE, RUNS_TEXT),
        // The form with three queries only computes.
        "ts_rewrite" if arguments_count != 3 => does(Effects::EXECUTE, RUNS_TEXT),
        "schedule" | "schedule_in_database" | "alter_job" | "run_command" if schema == Some("cron") => {
            does(Effects::EXECUTE, RUNS_TEXT)
        }
        "table_to_xml"
        | "table_to_xmlschema"
        | "table_to_xml_and_xmlschema"
        | "schema_to_xml"
        | "schema_to_xmlschema"
        | "schema_to_xml_and_xmlschema"
        | "database_to_xml"
        | "database_to_xmlschema"
        | "database_to_xml_and_xmlschema" => does(Effects::EXECUTE, READS_ALL),
        "pg_stat_file"
        | "pg_file_write"
        | "pg_file_rename"
        | "pg_file_unlink"
        | "pg_file_sync"
        | "pg_file_read"
        | "pg_file_length"
        | "pg_logdir_ls"
        | "pg_logfile_rotate"
        | "pg_current_logfile"
        | "pg_hba_file_rules"
        | "pg_ident_file_mappings"
        | "pg_show_all_file_settings" => does(Effects::SERVER, FILES),
        "loread" | "lowrite" => does(Effects::SERVER, LARGE),
        "get_raw_page"
        | "heap_page_items"
        | "heap_page_item_attrs"
        | "tuple_data_split"
        | "page_header"
        | "fsm_page_contents"
        | "bt_metap"
        | "bt_page_items"
        | "bt_page_stats"
        | "bt_multi_page_stats"
        | "brin_page_items"
        | "brin_revmap_data"
        | "gin_leafpage_items"
        | "gin_page_opaque_info"
        | "gist_page_items"
        | "gist_page_items_bytea"
        | "hash_page_items"
        | "hash_page_stats"
        | "pg_buffercache_pages"
        | "pgrowlocks"
        | "heap_force_kill"
        | "heap_force_freeze"
        | "pg_mcv_list_items"
        | "pg_truncate_visibility_map" => does(Effects::SERVER, READS_PAGES),
        "pg_stat_statements" | "pg_prepared_statement" | "pg_cursor" => does(Effects::SERVER, SESSIONS),
        "pg_terminate_backend"
        | "pg_cancel_backend"
        | "pg_reload_conf"
        | "pg_rotate_logfile"
        | "pg_promote"
        | "pg_log_backend_memory_contexts"
        | "pg_import_system_collations"
        | "pg_extension_config_dump"
        | "pg_stat_statements_reset"
        | "pg_nextoid"
        | "pg_set_attribute_stats"
        | "pg_restore_attribute_stats"
        | "pg_restore_relation_stats"
        | "pg_clear_attribute_stats"
        | "pg_clear_relation_stats" => does(Effects::SERVER, CONTROLS),
        "pg_switch_wal"
        | "pg_switch_xlog"
        | "pg_create_restore_point"
        | "pg_start_backup"
        | "pg_stop_backup"
        | "pg_backup_start"
        | "pg_backup_stop"
        | "pg_drop_replication_slot"
        | "pg_replication_slot_advance"
        | "pg_sync_replication_slots"
        | "pg_log_standby_snapshot" => does(Effects::REPLICATION, REPLICATES),
        "brin_summarize_new_values"
        | "brin_summarize_range"
        | "brin_desummarize_range"
        | "gin_clean_pending_list" => does(Effects::MAINTENANCE, TENDS),
        "pg_notify" => Some(Builtin {
            effects: Effects::NOTIFY,
            opaque: None,
            carries_secret: false,
        }),
        _ => None,
    }
}

fn by_prefix(name: &str) -> Option<Builtin> {
    const PREFIXES: &[(&str, Effects, &str)] = &[
        ("crosstab", Effects::EXECUTE, RUNS_TEXT),
        ("pg_read_", Effects::SERVER, FILES),
        ("pg_ls_", Effects::SERVER, FILES),
        ("lo_", Effects::SERVER, LARGE),
        ("postgres_fdw_", Effects::SERVER, CONTROLS),
        ("binary_upgrade_", Effects::SERVER, CONTROLS),
        ("pg_stat_reset", Effects::SERVER, CONTROLS),
        ("pg_logical_", Effects::REPLICATION, REPLICATES),
        ("pg_replication_origin_", Effects::REPLICATION, REPLICATES),
        ("pg_wal_replay_", Effects::REPLICATION, REPLICATES),
        ("pg_get_wal_", Effects::REPLICATION, REPLICATES),
        ("pg_xlog_replay_", Effects::REPLICATION, REPLICATES),
    ];
    if name.starts_with("dblink") {
        return Some(Builtin {
            effects: Effects::EXECUTE.with(Effects::SERVER),
            opaque: Some(RUNS_TEXT),
            carries_secret: true,
        });
    }
    if (name.starts_with("pg_create_") || name.starts_with("pg_copy_")) && name.ends_with("_slot") {
        return does(Effects::REPLICATION, REPLICATES);
    }
    if name.starts_with("pg_stat_get_") && name.contains("activity") {
        return does(Effects::SERVER, SESSIONS);
    }
    PREFIXES
        .iter()
        .find(|(prefix, ..)| name.starts_with(prefix))
        .and_then(|(_, effects, opaque)| does(*effects, opaque))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, arguments_count: usize) -> Option<Effects> {
        let name = Name {
            schema: Some("ext".into()),
            name: name.into(),
        };
        find(&name, arguments_count).map(|builtin| builtin.effects)
    }

    #[test]
    fn names_match_whatever_their_schema() {
        assert_eq!(
            call("dblink_exec", 2),
            Some(Effects::EXECUTE.with(Effects::SERVER))
        );
        assert_eq!(call("pg_read_binary_file", 1), Some(Effects::SERVER));
        assert_eq!(
            call("pg_create_logical_replication_slot", 2),
            Some(Effects::REPLICATION)
        );
        assert_eq!(call("crosstab7", 1), Some(Effects::EXECUTE));
        assert_eq!(call("lo_get", 1), Some(Effects::SERVER));
    }

    #[test]
    fn pure_functions_add_nothing() {
        for name in [
            "nextval",
            "setval",
            "pg_get_viewdef",
            "current_setting",
            "lower",
            "log",
            "pg_stat_get_live_tuples",
        ] {
            assert_eq!(call(name, 1), None, "{name}");
        }
        assert_eq!(call("ts_rewrite", 3), None);
        assert_eq!(call("ts_rewrite", 2), Some(Effects::EXECUTE));
    }

    #[test]
    fn a_function_after_a_dot_is_called() {
        let calls = |text: &str| {
            let statement = crate::read(text.as_bytes());
            let names = statement.functions.iter().map(ToString::to_string);
            (statement.effects, names.collect::<Vec<_>>())
        };
        for (text, effects, name) in [
            (
                "SELECT ('PG_VERSION'::text).pg_read_file",
                Effects::SERVER,
                "pg_read_file",
            ),
            (
                "SELECT x.ts_stat FROM unnest(ARRAY['SELECT 1']) x",
                Effects::EXECUTE,
                "ts_stat",
            ),
            ("SELECT (s.x).y.lo_get FROM s", Effects::SERVER, "lo_get"),
            (
                "SELECT 1 ORDER BY ((($1::oid))).lo_unlink",
                Effects::SERVER,
                "lo_unlink",
            ),
            (
                "SELECT (1).pg_stat_get_wal_receiver",
                Effects::SELECT,
                "pg_stat_get_wal_receiver",
            ),
            (
                "UPDATE t SET a = (b.oid).lo_get FROM b",
                Effects::SERVER,
                "lo_get",
            ),
        ] {
            let (does, names) = calls(text);
            assert!(
                does.contains(effects) && names.contains(&name.to_owned()),
                "{text}: {names:?}"
            );
        }
        for text in [
            "SELECT o.lo_quantity, (o.c).amount, o.lower, ts_stat FROM o",
            "SELECT (x).page_header FROM x",
        ] {
            assert_eq!(calls(text), (Effects::SELECT, Vec::new()), "{text}");
        }
    }
}
