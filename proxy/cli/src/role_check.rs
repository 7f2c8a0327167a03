//! `linegate role --check`: what the present role of a target can do beyond what linegate needs, each with a severity.
//!
//! Asked of the server with the target's own credential: attributes, memberships, functions, languages, schemas, relations,
//! foreign servers. Source: PostgreSQL manual, "System Catalogs", "Access Privilege Inquiry Functions".

use serde_json::json;

use crate::database::Database;
use crate::failure::Failure;
use crate::role::{FUNCTIONS, OF_OWNERS, ON_TABLES, PREDEFINED, Severity, Wanted, literal};
use crate::{Global, output};

/// Status when something of medium severity or worse was found.
const BEYOND: u8 = 3;
/// Names shown of one finding.
const NAMES_MAX: usize = 8;

struct Finding {
    severity: Severity,
    what: String,
    fix: &'static str,
}

/// Checks and reports.
pub(crate) async fn check(global: &Global, wanted: &Wanted<'_>) -> Result<u8, Failure> {
    let database = Database::connect(wanted.target, wanted.database).await?;
    let mut findings = attributes(&database).await?;
    // A superuser passes every test below; saying so once is enough.
    let is_superuser = findings.iter().any(|finding| finding.what == SUPERUSER);
    if !is_superuser {
        findings.extend(memberships(&database).await?);
        findings.extend(functions(&database).await?);
        findings.extend(places(&database, wanted).await?);
        findings.extend(relations(&database, wanted).await?);
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let worst = findings.first().map(|finding| finding.severity);
    let code = if worst >= Some(Severity::Medium) {
        BEYOND
    } else {
        0
    };
    let user = &wanted.target.credential.user;
    if global.json {
        let list: Vec<_> = findings
            .iter()
            .map(|one| json!({ "severity": one.severity.word(), "what": one.what, "fix": one.fix }))
            .collect();
        output::json(&json!({
            "target": wanted.target.name, "role": user, "ok": code == 0, "findings": list,
        }))?;
        return Ok(code);
    }
    if findings.is_empty() {
        output::write(&format!(
            "role {user} at {} can do no more than it needs\n",
            wanted.target.name
        ))?;
        return Ok(code);
    }
    let mut text = String::new();
    for finding in &findings {
        text.push_str(&format!(
            "{:<9} {}\n          {}\n",
            finding.severity.word(),
            finding.what,
            finding.fix
        ));
    }
    text.push_str(&format!(
        "`linegate role --target {}` prints the SQL\n",
        wanted.target.name
    ));
    output::write(&text)?;
    Ok(code)
}

const SUPERUSER: &str = "it is a superuser: every row, file and program of the server";

async fn attributes(database: &Database) -> Result<Vec<Finding>, Failure> {
    let rows = database
        .rows(
            "SELECT rolsuper, rolreplication, rolbypassrls, rolcreaterole, rolcreatedb \
               FROM pg_catalog.pg_roles WHERE rolname = current_user",
        )
        .await?;
    let row = rows
        .first()
        .ok_or_else(|| Failure::new("the server does not show the role"))?;
    let told = [
        (Severity::Critical, SUPERUSER, "ALTER ROLE … NOSUPERUSER"),
        (
            Severity::High,
            "it may replicate: every row of every database, past every mask",
            "ALTER ROLE … NOREPLICATION",
        ),
        (
            Severity::High,
            "it bypasses row security",
            "ALTER ROLE … NOBYPASSRLS",
        ),
        (
            Severity::High,
            "it may create and change roles",
            "ALTER ROLE … NOCREATEROLE",
        ),
        (
            Severity::Low,
            "it may create databases",
            "ALTER ROLE … NOCREATEDB",
        ),
    ];
    let has = |cell: &Option<String>| cell.as_deref() == Some("t");
    let found = row.iter().zip(told).filter(|(cell, _)| has(cell));
    Ok(found
        .map(|(_, (severity, what, fix))| Finding {
            severity,
            what: what.to_owned(),
            fix,
        })
        .collect())
}

async fn memberships(database: &Database) -> Result<Vec<Finding>, Failure> {
    let names = names(
        database,
        "SELECT rolname FROM pg_catalog.pg_roles \
          WHERE rolname <> current_user AND pg_catalog.pg_has_role(current_user, oid, 'MEMBER') ORDER BY 1",
    )
    .await?;
    let finding = |name: &String| {
        let known = PREDEFINED.iter().find(|(predefined, _)| predefined == name);
        Finding {
            severity: known.map_or(Severity::Medium, |(_, severity)| *severity),
            what: format!("it is a member of {name}"),
            fix: "REVOKE the membership",
        }
    };
    Ok(names.iter().map(finding).collect())
}

async fn functions(database: &Database) -> Result<Vec<Finding>, Failure> {
    let asked: Vec<String> = FUNCTIONS.iter().map(|(name, _)| literal(name)).collect();
    let query = format!(
        "SELECT DISTINCT proname FROM pg_catalog.pg_proc WHERE proname = ANY (ARRAY[{}]) \
           AND pg_catalog.has_function_privilege(current_user, oid, 'EXECUTE') ORDER BY 1",
        asked.join(", ")
    );
    let found = names(database, &query).await?;
    let mut findings = Vec::new();
    for severity in [
        Severity::Critical,
        Severity::High,
        Severity::Medium,
        Severity::Low,
    ] {
        let is_so = |name: &&String| {
            FUNCTIONS
                .iter()
                .any(|(known, how)| known == name && *how == severity)
        };
        let some: Vec<String> = found.iter().filter(is_so).cloned().collect();
        if !some.is_empty() {
            findings.push(Finding {
                severity,
                what: format!("it may call {}", shown(&some)),
                fix: "REVOKE EXECUTE, from PUBLIC where everyone has it",
            });
        }
    }
    Ok(findings)
}

/// Databases, schemas, languages and foreign servers.
async fn places(database: &Database, wanted: &Wanted<'_>) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    let untrusted =
        "SELECT lanname FROM pg_catalog.pg_language WHERE NOT lanpltrusted AND lanispl ORDER BY 1";
    let trusted = "SELECT lanname FROM pg_catalog.pg_language WHERE lanpltrusted AND lanispl \
                    AND pg_catalog.has_language_privilege(current_user, oid, 'USAGE') ORDER BY 1";
    let created = "SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' \
                    AND pg_catalog.has_schema_privilege(current_user, oid, 'CREATE') ORDER BY 1";
    let servers = "SELECT srvname FROM pg_catalog.pg_foreign_server \
                    WHERE pg_catalog.has_server_privilege(current_user, oid, 'USAGE') ORDER BY 1";
    let on_database = "SELECT p FROM pg_catalog.unnest(ARRAY['CREATE', 'TEMPORARY']) AS p \
                        WHERE pg_catalog.has_database_privilege(current_user, pg_catalog.current_database(), p)";
    let creates = wanted.effects.contains(linegate_identity::Effects::CREATE);
    let asked = [
        (
            untrusted,
            Severity::Low,
            "the database has untrusted languages",
            "DROP LANGUAGE where nothing needs it",
        ),
        (
            trusted,
            Severity::Low,
            "it may run DO blocks in",
            "REVOKE USAGE ON LANGUAGE … FROM PUBLIC; linegate refuses DO unless a policy permits it",
        ),
        (
            created,
            if creates { Severity::Low } else { Severity::Medium },
            "it may create objects in schemas",
            "REVOKE CREATE ON SCHEMA, from PUBLIC where everyone has it",
        ),
        (
            servers,
            Severity::High,
            "it may use the foreign servers",
            "REVOKE USAGE ON FOREIGN SERVER",
        ),
        (
            on_database,
            Severity::Low,
            "on the database it has",
            "REVOKE it ON DATABASE, from PUBLIC where everyone has it",
        ),
    ];
    for (query, severity, what, fix) in asked {
        let found = names(database, query).await?;
        if !found.is_empty() {
            findings.push(Finding {
                severity,
                what: format!("{what} {}", shown(&found)),
                fix,
            });
        }
    }
    Ok(findings)
}

/// Privileges on relations that no permit needs, relations that it owns, and sensitive system relations.
async fn relations(database: &Database, wanted: &Wanted<'_>) -> Result<Vec<Finding>, Failure> {
    const USERS: &str = "c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' \
                          AND n.nspname <> 'information_schema'";
    let from = "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";
    let mut findings = Vec::new();
    let needed = wanted.privileges();
    for (_, privilege) in ON_TABLES
        .iter()
        .filter(|(_, privilege)| !needed.contains(privilege))
    {
        let query = format!(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) {from} WHERE {USERS} \
               AND pg_catalog.has_table_privilege(current_user, c.oid, '{privilege}') ORDER BY 1"
        );
        let found = names(database, &query).await?;
        if !found.is_empty() {
            findings.push(Finding {
                severity: Severity::Medium,
                what: format!(
                    "no policy needs {privilege}, and it has that on {}",
                    shown(&found)
                ),
                fix: "REVOKE it",
            });
        }
    }
    let owned = format!(
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) {from} WHERE {USERS} \
           AND pg_catalog.pg_has_role(current_user, c.relowner, 'USAGE') ORDER BY 1"
    );
    let owned = names(database, &owned).await?;
    let columns = || {
        wanted
            .config
            .labels_of(&wanted.target.name)
            .flat_map(|label| &label.columns)
    };
    let labelled: Vec<String> = owned
        .iter()
        .filter(|name| columns().any(|column| **name == format!("{}.{}", column.schema, column.table)))
        .cloned()
        .collect();
    if !labelled.is_empty() {
        findings.push(Finding {
            severity: Severity::High,
            what: format!("it owns relations with labelled columns: {}", shown(&labelled)),
            fix: "ALTER TABLE … OWNER TO another role: an owner grants, renames and moves columns",
        });
    }
    if !owned.is_empty() && !wanted.effects.intersects(OF_OWNERS) {
        findings.push(Finding {
            severity: Severity::Medium,
            what: format!("it owns {}", shown(&owned)),
            fix: "ALTER … OWNER TO another role: no policy permits to change objects",
        });
    }
    let secret = format!(
        "SELECT c.relname {from} WHERE n.nspname = 'pg_catalog' AND c.relname IN \
           ('pg_authid', 'pg_largeobject', 'pg_statistic', 'pg_statistic_ext_data', 'pg_user_mapping', 'pg_subscription') \
           AND pg_catalog.has_table_privilege(current_user, c.oid, 'SELECT') ORDER BY 1"
    );
    let secret = names(database, &secret).await?;
    if !secret.is_empty() {
        findings.push(Finding {
            severity: Severity::High,
            what: format!(
                "it reads system relations that hold values or secrets: {}",
                shown(&secret)
            ),
            fix: "REVOKE SELECT",
        });
    }
    Ok(findings)
}

/// The first cell of every row.
async fn names(database: &Database, query: &str) -> Result<Vec<String>, Failure> {
    let rows = database.rows(query).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| row.into_iter().next().flatten())
        .collect())
}

fn shown(names: &[String]) -> String {
    let mut text = names
        .iter()
        .take(NAMES_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > NAMES_MAX {
        text.push_str(&format!(" and {} more", names.len() - NAMES_MAX));
    }
    text
}
