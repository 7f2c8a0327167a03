//! What a session with masked columns may not do, whatever policy permits: the ways in which a value could leave its column.
//!
//! Masking overwrites columns of result rows by their origin. That is only a boundary while values cannot travel elsewhere
//! first (another table, a setting, a notification, COPY, a log line) and while no function or system catalog hands them out
//! under another origin. Where a statement's lineage is known, it says which values travel and which are looked at; without
//! one, every value of a relation that is named counts as travelling. Functions are an allow-list (`builtins`), so a name that is
//! new or unknown is refused.

use linegate_identity::Effects;

use crate::builtins;
use crate::labels::{LabelIndex, MaskScope};
use crate::lineage::{ColumnId, DISGUISED, Lineage};
use crate::statement::{Name, Statement};
use crate::subject::setting_name;
use crate::verdict::{Channel, Reason};

/// Settings of as whom a session acts.
const ROLES: [&str; 2] = ["role", "session_authorization"];

/// System relations that hold values of columns, texts of statements or secrets. Not `pg_foreign_server`: it holds what
/// DDL spelled out, which the server shows to everyone and every dump reads; credentials are in the user mappings. How much
/// memory computed values took is in `pg_backend_memory_contexts`; the pages that a serializable transaction locks in
/// `pg_locks`; how much of the write-ahead log a change took in what replication has sent.
const VALUE_CATALOGS: &[&str] = &[
    "_pg_user_mappings",
    "pg_backend_memory_contexts",
    "pg_authid",
    "pg_cursors",
    "pg_file_settings",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_largeobject",
    "pg_locks",
    "pg_prepared_statements",
    "pg_replication_origin_status",
    "pg_replication_slots",
    "pg_shadow",
    "pg_shmem_allocations",
    "pg_subscription",
    "pg_user_mapping",
    "pg_user_mappings",
    "user_mapping_options",
];

/// What begins like this holds samples of values, texts of statements, or counters: of pages and bytes that were read, written,
/// sorted or sent while labelled values were compared, which tells of them.
const COUNTERS: &str = "pg_stat";
/// Except these: rows, times of maintenance, and how sessions are connected.
const HARMLESS_COUNTERS: &[&str] = &[
    "pg_stat_all_tables",
    "pg_stat_archiver",
    "pg_stat_database_conflicts",
    "pg_stat_gssapi",
    "pg_stat_ssl",
    "pg_stat_sys_tables",
    "pg_stat_user_tables",
    "pg_statistic_ext",
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
    // Without the effect it is only given back.
    let is_kept_role = |setting: &str| ROLES.contains(&setting) && !effects.contains(Effects::ROLE);
    let mut settings = statement.settings.iter();
    if let Some(setting) = settings.find(|setting| !is_harmless(setting) && !is_kept_role(setting)) {
        return Some(Channel::Setting(setting_name(setting).to_owned()));
    }
    if effects.contains(Effects::ALTER)
        && let Some(schema) = statement.writes.iter().find(|name| {
            // ALTER SCHEMA: the relations in it would go by another name.
            name.schema.is_none() && labels.schema_holds_masked(&name.name, masks)
        })
    {
        return Some(Channel::Definition(schema.clone()));
    }
    match &statement.lineage {
        Some(lineage) => followed(statement, lineage, labels, masks),
        None => unfollowed(statement, labels, masks),
    }
}

/// What a statement's lineage rules out.
fn followed(
    statement: &Statement,
    lineage: &Lineage,
    labels: &LabelIndex,
    masks: &MaskScope,
) -> Option<Channel> {
    let effects = statement.effects;
    let masked = |name: &&Name| labels.touches_masked(name, masks);
    let read = statement.reads.iter().find(masked);
    let any = read.or_else(|| statement.writes.iter().find(masked));
    // What a disguised function reads is not among the names.
    let is_disguised = lineage.unknown.contains(&DISGUISED);
    if let Some(what) = lineage.unknown.first()
        && (any.is_some() || lineage.touched.is_empty() || is_disguised)
    {
        return Some(Channel::Opaque(what));
    }
    let is_hidden = |column: &&ColumnId| labels.hidden_label(**column, masks).is_some();
    let left_behind = || lineage.moved.iter().chain(&lineage.exposed);
    if let Some(name) = left_behind()
        .find(is_hidden)
        .and_then(|column| labels.relation_of(*column))
    {
        return Some(if effects.contains(Effects::COPY_OUT) {
            Channel::Copy(name)
        } else {
            Channel::Flow(name)
        });
    }
    let probed = lineage
        .probes
        .iter()
        .find_map(|column| labels.unprobed_label(*column, masks));
    if let Some(label) = probed {
        return Some(match &lineage.misnamed {
            Some(name) => Channel::Misnamed(name.clone()),
            None => Channel::Probe(label.to_owned()),
        });
    }
    let any = any?;
    if effects.contains(Effects::COPY_IN)
        && let Some(read) = read
    {
        return Some(Channel::Copy(read.clone()));
    }
    if statement.copy_out.is_some() && lineage.outputs.is_none() {
        // Its rows are masked column by column.
        return Some(Channel::Copy(any.clone()));
    }
    if !lineage.followed && effects.intersects(Effects::ALTER.with(Effects::CREATE).with(Effects::COPY_OUT)) {
        // Renames and attached partitions move a label's columns; tables, indexes, rules and triggers build on them.
        return Some(Channel::Definition(any.clone()));
    }
    let changes = effects.intersects(Effects::INSERT.with(Effects::UPDATE).with(Effects::DELETE));
    if changes && statement.returns_computed && lineage.outputs.is_none() {
        // The result would be refused for want of an origin, after the change was made.
        return Some(Channel::Returning(any.clone()));
    }
    None
}

/// What is ruled out where values were not followed.
fn unfollowed(statement: &Statement, labels: &LabelIndex, masks: &MaskScope) -> Option<Channel> {
    let effects = statement.effects;
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
    let known = builtins::is_allowed(&function.name);
    let is_pure = || labels.is_some_and(|labels| labels.is_extension_function(function));
    let was_followed = || labels.is_some_and(|labels| labels.meanings(function).is_some());
    match function.schema.as_deref() {
        Some("pg_catalog") => known,
        Some(_) if labels.is_some_and(|labels| labels.has_function(function)) => was_followed(),
        Some(_) => is_pure(),
        None if labels.is_some_and(|labels| labels.is_user_function(&function.name)) => was_followed(),
        None => known || is_pure(),
    }
}

impl LabelIndex {
    /// Whether a call of that name can only mean built-in functions that are known to be harmless, or functions whose query
    /// was followed.
    pub fn knows_function(&self, function: &Name) -> bool {
        is_known(function, Some(self))
    }
}

/// Whether a statement makes relations that can hold nothing which is masked, and changes no other names. Values do not flow
/// into them, since nothing that carries no label is written to from labelled columns.
pub fn makes_clear_relations(statement: &Statement, labels: &LabelIndex, masks: &MaskScope) -> bool {
    let Some(lineage) = &statement.lineage else {
        return false;
    };
    let bare = |name: &Name| Name {
        schema: None,
        name: name.name.clone(),
    };
    let effects = statement.effects;
    effects.contains(Effects::CREATE)
        && effects.without(Effects::CREATE.with(Effects::SELECT)).is_empty()
        && statement.count == 1
        && statement.opaque.is_empty()
        && lineage.unknown.is_empty()
        && lineage.touched.is_empty()
        && statement
            .functions
            .iter()
            .all(|function| is_known(function, Some(labels)))
        && !statement
            .reads
            .iter()
            .any(|name| labels.touches_masked(name, masks))
        && !statement.writes.iter().any(|name| labels.touches(&bare(name)))
        && !labels.has_lost_labels()
}

/// Whether a definition leaves what an open transaction made as it was: it moves no names or rows, runs no code that is not known,
/// and names nothing that bears a label.
pub fn keeps_clear_relations(statement: &Statement, labels: &LabelIndex) -> bool {
    let Some(lineage) = &statement.lineage else {
        return false;
    };
    let touches = |name: &Name| {
        labels.touches(&Name {
            schema: None,
            name: name.name.clone(),
        })
    };
    statement.count == 1
        && statement
            .effects
            .without(Effects::ALTER.with(Effects::DROP))
            .is_empty()
        && statement.opaque.is_empty()
        && statement
            .functions
            .iter()
            .all(|function| is_known(function, Some(labels)))
        && lineage.unknown.is_empty()
        && lineage.touched.is_empty()
        && statement.leads.keeps_relations()
        && statement.leads.code.is_empty()
        && !statement.reads.iter().chain(&statement.writes).any(touches)
        && !labels.has_lost_labels()
}

fn carries(function: &Name) -> bool {
    let name = function.name.as_str();
    CARRIERS.contains(&name) || CARRIER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whichever schema is written: extensions and search_path can put the same relation elsewhere.
fn holds_values(name: &Name) -> bool {
    let relation = name.name.as_str();
    VALUE_CATALOGS.contains(&relation)
        || relation.starts_with(COUNTERS) && !HARMLESS_COUNTERS.contains(&relation)
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
        // Whether a value fits would be a question that the client chooses.
        "temp_file_limit" | "max_stack_depth" => false,
        // How rows are looked for decides the order in which they come: an index's, a merge join's.
        "seq_page_cost" | "random_page_cost" => false,
        // Rows that a join takes in portions come in the order of their values' hashes.
        "work_mem" => value == "default" || kilobytes(&value).is_some_and(|size| size >= WORK_MEM_KB_MIN),
        "hash_mem_multiplier" => value == "default" || value.parse().is_ok_and(|times: f64| times >= 1.0),
        _ if name.starts_with("cpu_") && name.ends_with("_cost") => false,
        _ => !["auto_explain.", "debug_", "enable_", "log_", "trace_"]
            .iter()
            .any(|prefix| name.starts_with(prefix)),
    }
}

/// The server's own default.
const WORK_MEM_KB_MIN: f64 = 4096.0;

/// An amount of memory as settings spell it: a number, of kilobytes where no unit stands behind it.
fn kilobytes(value: &str) -> Option<f64> {
    let digits = value.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &value[digits.len()..] {
        "" | "kb" => 1.0,
        "mb" => 1024.0,
        "gb" => 1024.0 * 1024.0,
        "tb" => 1024.0 * 1024.0 * 1024.0,
        _ => return None, // bytes are never enough
    };
    let number: f64 = digits.trim().parse().ok()?;
    Some(number * factor)
}

#[cfg(test)]
mod tests;
