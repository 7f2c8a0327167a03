//! `linegate role`: the SQL for the role that linegate should use at a target, so that whole classes of attack end at the
//! server too; with `--check`, what the present role can do beyond that (`role_check`).
//!
//! Source: PostgreSQL manual, "Database Roles", "Privileges", "Predefined Roles", CREATE ROLE, GRANT, REVOKE. The text may be
//! run again at any time: it takes away and grants within one transaction. What is granted is what some permit of the
//! policy may allow on the target; forbids, masks and scopes stay linegate's.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::Args;
use linegate_config::{Config, TargetConfig};
use linegate_identity::Effects;
use serde_json::json;

use crate::check::Checked;
use crate::failure::Failure;
use crate::{ConfigArg, Global, output, reading, role_check};

#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    /// The protected server.
    #[arg(long)]
    target: String,
    /// A schema that linegate serves; repeat it (default: the schemas of labelled columns, and public).
    #[arg(long = "schema", value_name = "NAME")]
    schemas: Vec<String>,
    /// The database, where the target leaves it to the client.
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Log in with the target's credential and report what the role can do beyond that (status 3 when that is much).
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    config: ConfigArg,
}

/// Predefined roles that the role must not be in, and how bad it is. Source: "Predefined Roles".
pub(crate) const PREDEFINED: &[(&str, Severity)] = &[
    ("pg_execute_server_program", Severity::Critical),
    ("pg_read_server_files", Severity::Critical),
    ("pg_write_server_files", Severity::Critical),
    ("pg_create_subscription", Severity::High),
    ("pg_read_all_data", Severity::High),
    ("pg_write_all_data", Severity::High),
    ("pg_maintain", Severity::Medium),
    ("pg_monitor", Severity::Medium),
    ("pg_read_all_settings", Severity::Medium),
    ("pg_read_all_stats", Severity::Medium),
    ("pg_signal_backend", Severity::Medium),
    ("pg_stat_scan_tables", Severity::Medium),
    ("pg_checkpoint", Severity::Low),
    ("pg_use_reserved_connections", Severity::Low),
];

/// Functions that nobody behind linegate should reach, by name in any schema: those that read or write server files, run text
/// that they are given, reach other servers, or leave values where another session finds them.
pub(crate) const FUNCTIONS: &[(&str, Severity)] = &[
    ("pg_read_file", Severity::Critical),
    ("pg_read_binary_file", Severity::Critical),
    ("pg_ls_dir", Severity::High),
    ("pg_stat_file", Severity::High),
    ("lo_import", Severity::Critical),
    ("lo_export", Severity::Critical),
    ("pg_file_write", Severity::Critical),
    ("dblink", Severity::High),
    ("dblink_connect", Severity::High),
    ("dblink_connect_u", Severity::Critical),
    ("dblink_exec", Severity::High),
    ("dblink_send_query", Severity::High),
    ("dblink_open", Severity::High),
    ("query_to_xml", Severity::Medium),
    ("query_to_xmlschema", Severity::Medium),
    ("query_to_xml_and_xmlschema", Severity::Medium),
    ("cursor_to_xml", Severity::Medium),
    ("table_to_xml", Severity::Medium),
    ("table_to_xml_and_xmlschema", Severity::Medium),
    ("schema_to_xml", Severity::Medium),
    ("schema_to_xml_and_xmlschema", Severity::Medium),
    ("database_to_xml", Severity::Medium),
    ("database_to_xml_and_xmlschema", Severity::Medium),
    ("xpath_table", Severity::Medium),
    ("crosstab", Severity::Medium),
    ("connectby", Severity::Medium),
    ("ts_stat", Severity::Medium),
    ("ts_rewrite", Severity::Medium),
    ("get_raw_page", Severity::High),
    ("heap_page_items", Severity::High),
    ("lo_create", Severity::Medium),
    ("lo_creat", Severity::Medium),
    ("lo_from_bytea", Severity::Medium),
    ("lo_put", Severity::Medium),
    ("lo_get", Severity::Medium),
    ("lo_open", Severity::Medium),
    ("loread", Severity::Medium),
    ("lowrite", Severity::Medium),
    ("pg_logical_emit_message", Severity::Medium),
    ("pg_create_logical_replication_slot", Severity::High),
    ("pg_create_physical_replication_slot", Severity::High),
    ("pg_logical_slot_get_changes", Severity::High),
    ("pg_logical_slot_peek_changes", Severity::High),
    ("pg_reload_conf", Severity::Medium),
    ("pg_rotate_logfile", Severity::Low),
    ("pg_cancel_backend", Severity::Low),
    ("pg_terminate_backend", Severity::Low),
    ("pg_export_snapshot", Severity::Low),
];

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Untidy.
    Low,
    /// A way that linegate alone must close.
    Medium,
    /// A way around rows, rights or names of the database.
    High,
    /// A way out of the database.
    Critical,
}

impl Severity {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// What each privilege on relations is for.
pub(crate) const ON_TABLES: &[(Effects, &str)] = &[
    (Effects::SELECT.with(Effects::COPY_OUT), "SELECT"),
    (Effects::INSERT.with(Effects::COPY_IN), "INSERT"),
    (Effects::UPDATE, "UPDATE"),
    (Effects::DELETE, "DELETE"),
    (Effects::TRUNCATE, "TRUNCATE"),
];

/// Effects that need the ownership of objects, or the right to make them.
pub(crate) const OF_OWNERS: Effects = Effects::CREATE.with(Effects::ALTER).with(Effects::DROP);

/// What the role is for.
pub(crate) struct Wanted<'w> {
    pub(crate) config: &'w Config,
    pub(crate) target: &'w TargetConfig,
    pub(crate) effects: Effects,
    pub(crate) schemas: BTreeSet<String>,
    pub(crate) database: Option<&'w str>,
}

impl Wanted<'_> {
    /// Privileges on relations that some permit needs.
    pub(crate) fn privileges(&self) -> Vec<&'static str> {
        let is_needed = |(effects, _): &&(Effects, &str)| self.effects.intersects(*effects);
        let mut found: Vec<_> = ON_TABLES
            .iter()
            .filter(is_needed)
            .map(|(_, name)| *name)
            .collect();
        // UPDATE and DELETE read the columns of their conditions.
        if !found.is_empty() && !found.contains(&"SELECT") {
            found.insert(0, "SELECT");
        }
        found
    }
}

/// What quotes the script's blocks.
const QUOTE: &str = "$linegate$";

/// Prints or checks.
pub(crate) async fn role(global: &Global, args: &RoleArgs) -> Result<u8, Failure> {
    let Checked { config, engine } = reading::checked(&args.config)?;
    let target = reading::target(&config, &args.target)?;
    let mut schemas: BTreeSet<String> = args.schemas.iter().cloned().collect();
    if schemas.is_empty() {
        let labelled = config.labels_of(&target.name).flat_map(|label| &label.columns);
        schemas.extend(labelled.map(|column| column.schema.clone()));
        schemas.insert("public".to_owned());
    }
    let wanted = Wanted {
        config: &config,
        target,
        effects: engine.effects_on(&target.name),
        schemas,
        database: target.database.as_deref().or(args.database.as_deref()),
    };
    if args.check {
        return role_check::check(global, &wanted).await;
    }
    if target.credential.user.contains(QUOTE) {
        return Err(Failure::new(format!(
            "a role whose name holds {QUOTE} cannot be written into the script"
        )));
    }
    let sql = sql(&wanted);
    if global.json {
        output::json(&json!({
            "target": target.name, "role": target.credential.user, "sql": sql,
            "effects": wanted.effects.names().collect::<Vec<_>>(), "schemas": wanted.schemas,
        }))?;
    } else {
        output::write(&sql)?;
    }
    Ok(0)
}

/// An SQL identifier. Source: "Identifiers and Key Words".
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// An SQL string without escapes, whatever `standard_conforming_strings` says.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match quoted.contains('\\') {
        true => format!("E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

/// Text that cannot end the comment it stands in.
fn comment(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn list(names: impl Iterator<Item = &'static str>) -> String {
    names.map(literal).collect::<Vec<_>>().join(", ")
}

/// The whole script.
fn sql(wanted: &Wanted<'_>) -> String {
    let user = &wanted.target.credential.user;
    let (role, role_text) = (identifier(user), literal(user));
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write!(
        text,
        "-- The role that linegate uses at target {name}. Run it as a superuser{place}; it may be run again.\n\
         -- Set its password apart, so that it is in no script: \\password {user}\n\
         BEGIN;\n\
         DO $linegate$ BEGIN\n\
         \x20 IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {role_text}) THEN\n\
         \x20   CREATE ROLE {role} LOGIN;\n\
         \x20 END IF;\n\
         END $linegate$;\n\
         ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;\n\n\
         -- Predefined roles read, write and run things past every grant below.\n\
         DO $linegate$ DECLARE member text; BEGIN\n\
         \x20 FOR member IN SELECT g.rolname FROM pg_catalog.pg_auth_members m\n\
         \x20     JOIN pg_catalog.pg_roles g ON g.oid = m.roleid JOIN pg_catalog.pg_roles r ON r.oid = m.member\n\
         \x20     WHERE r.rolname = {role_text} AND g.rolname = ANY (ARRAY[{predefined}]) LOOP\n\
         \x20   EXECUTE pg_catalog.format('REVOKE %I FROM %I', member, {role_text});\n\
         \x20 END LOOP;\n\
         END $linegate$;\n\n",
        name = comment(&wanted.target.name),
        user = comment(user),
        place = wanted
            .database
            .map(|name| format!(" in database {}", comment(name)))
            .unwrap_or_default(),
        predefined = list(PREDEFINED.iter().map(|(name, _)| *name)),
    );
    functions(&mut text, &role_text);
    grants(&mut text, wanted, &role);
    labelled(&mut text, wanted);
    text.push_str("COMMIT;\n");
    if let Some(channel) = &wanted.target.catalog_channel {
        changes(&mut text, channel);
    }
    text
}

/// The event triggers by which the database tells of changes that are made around linegate. A notification tells nothing but
/// that something changed.
fn changes(text: &mut String, channel: &str) {
    let _ = write!(
        text,
        "\n-- Tells linegate at once when shapes change around it. Event triggers are a superuser's.\n\
         BEGIN;\n\
         CREATE OR REPLACE FUNCTION public.linegate_catalog_changed() RETURNS event_trigger LANGUAGE plpgsql AS $linegate$\n\
         BEGIN PERFORM pg_catalog.pg_notify({channel}, ''); END $linegate$;\n\
         DROP EVENT TRIGGER IF EXISTS linegate_changed;\n\
         DROP EVENT TRIGGER IF EXISTS linegate_dropped;\n\
         CREATE EVENT TRIGGER linegate_changed ON ddl_command_end EXECUTE FUNCTION public.linegate_catalog_changed();\n\
         CREATE EVENT TRIGGER linegate_dropped ON sql_drop EXECUTE FUNCTION public.linegate_catalog_changed();\n\
         COMMIT;\n",
        channel = literal(channel),
    );
}

fn functions(text: &mut String, role_text: &str) {
    let _ = write!(
        text,
        "-- Functions that read files, run text, reach other servers or keep values. Most are everyone's by default: taking\n\
         -- them from PUBLIC concerns other roles too; grant them back to the roles that need them.\n\
         DO $linegate$ DECLARE f record; BEGIN\n\
         \x20 FOR f IN SELECT p.oid::pg_catalog.regprocedure AS name, a.grantee FROM pg_catalog.pg_proc p,\n\
         \x20     LATERAL pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a\n\
         \x20     WHERE a.privilege_type = 'EXECUTE' AND p.prokind IN ('f', 'p')\n\
         \x20       AND (a.grantee = 0 OR a.grantee = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {role_text}))\n\
         \x20       AND p.proname = ANY (ARRAY[{names}]) LOOP\n\
         \x20   EXECUTE pg_catalog.format('REVOKE EXECUTE ON ROUTINE %s FROM %s', f.name,\n\
         \x20     CASE f.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident({role_text}) END);\n\
         \x20 END LOOP;\n\
         END $linegate$;\n\n",
        names = list(FUNCTIONS.iter().map(|(name, _)| *name)),
    );
}

fn grants(text: &mut String, wanted: &Wanted<'_>, role: &str) {
    let privileges = wanted.privileges().join(", ");
    if let Some(database) = wanted.database {
        let database = identifier(database);
        let _ = write!(
            text,
            "REVOKE ALL ON DATABASE {database} FROM {role};\nGRANT CONNECT ON DATABASE {database} TO {role};\n"
        );
    }
    let _ = writeln!(
        text,
        "-- What the policy permits somebody on this target: {}.",
        match wanted.effects.is_empty() {
            true => "nothing".to_owned(),
            false => wanted.effects.to_string(),
        }
    );
    for schema in &wanted.schemas {
        let schema = identifier(schema);
        let _ = write!(
            text,
            "REVOKE ALL ON SCHEMA {schema} FROM {role};\n\
             REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role};\n\
             REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {role};\n"
        );
        if !privileges.is_empty() {
            let _ = write!(
                text,
                "GRANT USAGE ON SCHEMA {schema} TO {role};\n\
                 GRANT {privileges} ON ALL TABLES IN SCHEMA {schema} TO {role};\n\
                 -- For tables that come later; run it as their owner, since defaults are the owner's.\n\
                 ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT {privileges} ON TABLES TO {role};\n"
            );
        }
        if wanted.effects.intersects(Effects::INSERT.with(Effects::COPY_IN)) {
            let _ = writeln!(
                text,
                "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role};"
            );
        }
        if wanted.effects.contains(Effects::CREATE) {
            let _ = writeln!(text, "GRANT CREATE ON SCHEMA {schema} TO {role};");
        }
    }
    if wanted.effects.intersects(Effects::ALTER.with(Effects::DROP)) {
        text.push_str(
            "-- The policy permits ALTER or DROP: at the server that takes the ownership of each object. Give it for the objects\n\
             -- that linegate's users migrate (ALTER TABLE … OWNER TO), not by making the role a superuser.\n",
        );
    }
    text.push('\n');
}

fn labelled(text: &mut String, wanted: &Wanted<'_>) {
    let mut columns: BTreeSet<(String, &str)> = BTreeSet::new();
    for label in wanted.config.labels_of(&wanted.target.name) {
        columns.extend(
            label
                .columns
                .iter()
                .map(|column| (column.to_string(), label.name.as_str())),
        );
    }
    if columns.is_empty() {
        return;
    }
    text.push_str(
        "-- Labelled columns. linegate masks them on their way to the client, so the role must be able to read them. Where\n\
         -- nobody needs a column at all, not even masked, take it away here as well: REVOKE SELECT on the table, then GRANT\n\
         -- SELECT on its other columns by name. The role should not own these tables: an owner can move a column's values.\n",
    );
    for (column, label) in columns {
        let _ = writeln!(text, "--   {} ({})", comment(&column), comment(label));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(user: &str) -> Config {
        let text = format!(
            "[control]\n[data]\n[[target]]\nname = \"shop\"\nprotocol = \"postgres\"\nlisten = \"127.0.0.1:6432\"\n\
             address = \"127.0.0.1:1\"\ntls = \"disable\"\ncredential = {{ user = '{user}' }}\n\
             [[label]]\nname = \"pii\"\ntarget = \"shop\"\ncolumns = [\"app.customers.ssn\"]\n\
             [policy]\nfiles = [\"*.cedar\"]\n"
        );
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("linegate.toml");
        std::fs::write(&file, text).expect("written");
        Config::load(&file).unwrap_or_else(|mistakes| panic!("{mistakes}"))
    }

    fn script(user: &str, effects: Effects) -> String {
        let config = config(user);
        sql(&Wanted {
            config: &config,
            target: &config.targets[0],
            effects,
            schemas: ["app".to_owned()].into(),
            database: Some("shop"),
        })
    }

    #[test]
    fn only_what_the_policy_permits_is_granted() {
        let text = script("app", Effects::SELECT.with(Effects::INSERT));
        assert!(text.contains("NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"));
        assert!(text.contains("GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA \"app\" TO \"app\";"));
        assert!(text.contains("GRANT USAGE, SELECT ON ALL SEQUENCES"));
        assert!(
            !text.contains("GRANT CREATE") && !text.contains("OWNER TO"),
            "{text}"
        );
        assert!(text.contains("--   app.customers.ssn (pii)"));
        let revoked = text.find("REVOKE ALL ON ALL TABLES").expect("revoked first");
        assert!(
            revoked < text.find("GRANT SELECT").expect("granted"),
            "running it again takes away what was more"
        );
        let nothing = script("app", Effects::NONE);
        assert!(
            !nothing.contains("ON ALL TABLES IN SCHEMA \"app\" TO"),
            "{nothing}"
        );
        assert!(script("app", Effects::UPDATE).contains("GRANT SELECT, UPDATE ON"));
        assert!(script("app", Effects::DROP).contains("OWNER TO"));
    }

    #[test]
    fn names_stay_names() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
        assert_eq!(comment("a\nDROP"), "a DROP");
        let text = script("o\"; DROP TABLE x; --", Effects::SELECT);
        assert!(text.contains("ALTER ROLE \"o\"\"; DROP TABLE x; --\" LOGIN"));
    }
}
