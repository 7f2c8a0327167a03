//! What makes something temporary, and what may come to depend on it. The server drops what is temporary with all that depends on
//! it when a transaction or a session ends, and at DISCARD, whatever schema that is in.
//! Source: PostgreSQL manual, "CREATE TABLE" (TEMPORARY, ON COMMIT), "DISCARD", "Dependency Tracking", "Object Identifier Types";
//! `dependency.c` (constants of regclass and the like), `regproc.c` (numbers in their place).

use linegate_identity::Effects;
use linegate_policy::{Said, Statement, words};
use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::{AlterTableType, ObjectType};
use pg_raw_parse::{Node, nodes};

use crate::reactions::OURS_FROM;
use crate::tokens::{Token, tokens};
use crate::walk::names;

const DEFINES: Effects = Effects::CREATE.with(Effects::ALTER);

/// Notes both.
pub(crate) fn add(statement: &mut Statement, text: &str, statements: &NodeList) {
    let defines = statement.changes_catalog || statement.effects.intersects(DEFINES);
    let sets_path = statement
        .settings
        .iter()
        .any(|setting| setting.starts_with("search_path"));
    if !defines && !sets_path {
        return;
    }
    let said = said(text);
    let is_own = |schema: &String| is_temporary(schema);
    let mut made = statement.writes.iter().filter_map(|name| name.schema.as_ref());
    let mut functions = statement.functions.iter();
    let computes = functions.any(|name| name.name == "set_config");
    let is_hidden = |setting: &String| setting == "search_path" && computes;
    statement.leads.makes_temporary = said.may_be_temporary
        || statement.effects.contains(Effects::CREATE) && made.any(is_own)
        || statement.settings.iter().any(is_hidden);
    if statements.iter().any(remakes) {
        statement.leads.remakes = Some(Box::new(said));
    }
}

/// Whether a schema holds what is temporary, or parts of that.
fn is_temporary(schema: &str) -> bool {
    ["pg_temp", "pg_toast"].iter().any(|of| schema.starts_with(of))
}

/// What a definition says, wherever it says it.
fn said(text: &str) -> Said {
    let mut said = Said::default();
    let mut all = tokens(text).peekable();
    // `U&` before a quote; a string before another one, which it goes on with.
    let (mut coming, mut is_behind_string) = (0, false);
    while let Some(token) = all.next() {
        let Some((at, token)) = token else {
            said.may_be_temporary = true;
            break;
        };
        let end = match all.peek() {
            Some(Some((next, _))) => *next,
            _ => text.len(),
        };
        let part = &text[at..end];
        let is_string = part.starts_with(['\'', 'e', 'E']) && part.contains('\'');
        match token {
            Token::Quoted if part.starts_with("--") || part.starts_with("/*") => continue,
            Token::Quoted => {
                let starts = part.starts_with(['\'', '"']);
                said.may_be_temporary |= coming == 2 && starts || is_string && is_behind_string;
                quoted(part, &mut said);
                (coming, is_behind_string) = (0, is_string);
            }
            Token::Word(word) => {
                say(word, &mut said);
                coming = usize::from(word.eq_ignore_ascii_case("u"));
                is_behind_string = false;
            }
            Token::Byte(byte) if byte.is_ascii_whitespace() || byte == 0x0b => {}
            Token::Byte(byte) => {
                coming = if coming == 1 && byte == b'&' { 2 } else { 0 };
                is_behind_string = false;
            }
        }
    }
    said
}

fn say(text: &str, said: &mut Said) {
    for word in words(text) {
        said.may_be_temporary |= is_temporary(&word);
        said.words.insert(word);
    }
}

/// A string or a quoted name with its quotes, and whatever blanks are behind it.
fn quoted(part: &str, said: &mut Said) {
    let part = part.trim_end();
    let has_escapes = part.starts_with(['e', 'E']);
    let body = match part.strip_prefix('$') {
        Some(rest) => rest.split_once('$').map_or(rest, |(tag, body)| {
            body.strip_suffix('$')
                .and_then(|body| body.strip_suffix(tag))
                .and_then(|body| body.strip_suffix('$'))
                .unwrap_or(body)
        }),
        None => part.trim_start_matches(['e', 'E']).trim_matches(['\'', '"']),
    };
    said.has_number |= is_number(body);
    if !has_escapes || !body.contains('\\') {
        return say(body, said);
    }
    // What stands for itself, or ends a word; other escapes may spell anything.
    let mut rest = body;
    while let Some((before, after)) = rest.split_once('\\') {
        say(before, said);
        let stands = after.starts_with(['\\', '\'', 'n', 't', 'r', 'b', 'f']);
        said.may_be_temporary |= !stands;
        let mut after = after.chars();
        after.next();
        rest = after.as_str();
    }
    say(rest, said);
}

/// Whether a string is taken for the number of an object that is not the server's own.
fn is_number(body: &str) -> bool {
    !body.is_empty()
        && body.bytes().all(|byte| byte.is_ascii_digit())
        && body.parse().is_ok_and(|number: u32| number >= OURS_FROM)
}

/// Whether something permanent that is there already may come to depend on what the statement names. What is new has nobody who
/// would go along with it; nor have defaults, constraints, indexes, triggers and policies.
fn remakes(statement: Node<'_>) -> bool {
    match statement {
        Node::RawStmt(raw) => remakes(raw.stmt()),
        Node::ExplainStmt(explain) => remakes(explain.query()),
        Node::CreateSchemaStmt(create) => create.schema_elts().iter().any(remakes),
        Node::ViewStmt(view) => view.replace && is_permanent(view.view()),
        Node::CreateFunctionStmt(create) => create.replace,
        Node::DefineStmt(define) => define.replace,
        Node::AlterTableStmt(alter) => {
            let mut commands = alter.cmds().iter();
            let is_type = alter.objtype == ObjectType::OBJECT_TYPE;
            is_permanent(alter.relation()) && (is_type || commands.any(remakes_columns))
        }
        Node::RuleStmt(_)
        | Node::AlterDomainStmt(_)
        | Node::AlterTypeStmt(_)
        | Node::AlterFunctionStmt(_)
        | Node::AlterOperatorStmt(_)
        | Node::AlterOpFamilyStmt(_)
        | Node::CreateTransformStmt(_)
        | Node::AlterTSConfigurationStmt(_)
        | Node::AlterTSDictionaryStmt(_)
        | Node::AlterExtensionStmt(_)
        | Node::AlterExtensionContentsStmt(_)
        | Node::AlterObjectDependsStmt(_) => true,
        _ => false,
    }
}

fn is_permanent(relation: Option<&nodes::RangeVar>) -> bool {
    let schema = relation.and_then(|relation| names::relation(relation).schema);
    !schema.is_some_and(|schema| is_temporary(&schema))
}

/// Whether a command of ALTER TABLE makes something that is there of something else. Kinds that come with later versions do.
fn remakes_columns(command: Node<'_>) -> bool {
    use AlterTableType as Kind;
    let Node::AlterTableCmd(command) = command else {
        return true;
    };
    !matches!(
        command.subtype,
        Kind::AT_AddColumn
            | Kind::AT_DropColumn
            | Kind::AT_ColumnDefault
            | Kind::AT_DropNotNull
            | Kind::AT_SetNotNull
            | Kind::AT_DropExpression
            | Kind::AT_SetStatistics
            | Kind::AT_SetOptions
            | Kind::AT_ResetOptions
            | Kind::AT_SetStorage
            | Kind::AT_SetCompression
            | Kind::AT_AddConstraint
            | Kind::AT_AlterConstraint
            | Kind::AT_ValidateConstraint
            | Kind::AT_DropConstraint
            | Kind::AT_ChangeOwner
            | Kind::AT_ClusterOn
            | Kind::AT_DropCluster
            | Kind::AT_SetLogged
            | Kind::AT_SetUnLogged
            | Kind::AT_SetAccessMethod
            | Kind::AT_SetTableSpace
            | Kind::AT_SetRelOptions
            | Kind::AT_ResetRelOptions
            | Kind::AT_EnableTrig
            | Kind::AT_EnableAlwaysTrig
            | Kind::AT_EnableReplicaTrig
            | Kind::AT_DisableTrig
            | Kind::AT_EnableTrigAll
            | Kind::AT_DisableTrigAll
            | Kind::AT_EnableTrigUser
            | Kind::AT_DisableTrigUser
            | Kind::AT_EnableRule
            | Kind::AT_EnableAlwaysRule
            | Kind::AT_EnableReplicaRule
            | Kind::AT_DisableRule
            | Kind::AT_AddInherit
            | Kind::AT_DropInherit
            | Kind::AT_DropOf
            | Kind::AT_ReplicaIdentity
            | Kind::AT_EnableRowSecurity
            | Kind::AT_DisableRowSecurity
            | Kind::AT_ForceRowSecurity
            | Kind::AT_NoForceRowSecurity
            | Kind::AT_AttachPartition
            | Kind::AT_DetachPartition
            | Kind::AT_DetachPartitionFinalize
            | Kind::AT_AddIdentity
            | Kind::AT_SetIdentity
            | Kind::AT_DropIdentity
    )
}

#[cfg(test)]
mod tests {
    use crate::read;

    #[test]
    fn what_may_make_something_temporary_is_told() {
        for text in [
            "CREATE TEMP TABLE t (a int)",
            "CREATE TEMPORARY VIEW v AS SELECT 1",
            "CREATE TEMP SEQUENCE s",
            "SELECT 1 AS a INTO TEMP t",
            "CREATE TEMP TABLE t AS SELECT 1",
            "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1",
            "SELECT 1; CREATE TEMP TABLE t (a int)",
            "CREATE DOMAIN pg_temp.d AS int",
            "CREATE TYPE \"pg_temp\".e AS ENUM ('a')",
            "CREATE DOMAIN U&\"pg\\005ftemp\".d AS int",
            "SET search_path = pg_temp",
            "SET search_path = 'PG_TEMP'",
            "SELECT set_config('search_path', 'pg_temp', false)",
            "SELECT set_config('search_path', E'\\x70g_temp', false)",
            "SELECT set_config('search_path', 'pg_' || 'temp', false)",
            "SELECT set_config('search_path', $1, false)",
        ] {
            assert!(read(text.as_bytes()).leads.makes_temporary, "{text}");
        }
        for text in [
            "CREATE TABLE s.t (a int)",
            "SELECT * FROM pg_temp.t",
            "SET search_path = app, public",
            "SET search_path TO DEFAULT",
            "RESET ALL",
            "DISCARD ALL",
            "CREATE TABLE t AS SELECT 20000 AS a, '20000' AS b",
        ] {
            assert!(!read(text.as_bytes()).leads.makes_temporary, "{text}");
        }
    }

    #[test]
    fn what_remakes_what_is_there_is_told() {
        for text in [
            "CREATE OR REPLACE VIEW v AS SELECT 1",
            "CREATE OR REPLACE FUNCTION f() RETURNS int RETURN 1",
            "ALTER TABLE t ALTER a TYPE s.d",
            "ALTER TABLE t ADD b int, ALTER a SET EXPRESSION AS (b + 1)",
            "ALTER TABLE t OF c",
            "ALTER TYPE c ADD ATTRIBUTE a d",
            "ALTER DOMAIN d SET DEFAULT 1",
            "CREATE RULE \"_RETURN\" AS ON SELECT TO t DO INSTEAD SELECT 1",
            "SELECT 1; CREATE OR REPLACE VIEW v AS SELECT 1",
        ] {
            assert!(read(text.as_bytes()).leads.remakes.is_some(), "{text}");
        }
        for text in [
            "CREATE VIEW v AS SELECT 1",
            "CREATE OR REPLACE TEMP VIEW v AS SELECT 1",
            "CREATE FUNCTION f() RETURNS int RETURN 1",
            "ALTER TABLE pg_temp.t ALTER a TYPE bigint",
            "ALTER TABLE t ADD CONSTRAINT c UNIQUE (a)",
            "ALTER TABLE t ALTER a SET DEFAULT 1, ADD b int",
            "ALTER TABLE t RENAME TO u",
            "CREATE UNIQUE INDEX ON t (a)",
            "CREATE TABLE p PARTITION OF t DEFAULT",
            "COMMENT ON TABLE t IS 'x'",
            "GRANT SELECT ON t TO r",
            "SELECT 1",
        ] {
            assert!(read(text.as_bytes()).leads.remakes.is_none(), "{text}");
        }
    }

    #[test]
    fn what_a_definition_may_mean_of_others_is_told() {
        let said = |query: &str| {
            let text = format!("CREATE OR REPLACE VIEW v AS SELECT {query}");
            let said = read(text.as_bytes()).leads.remakes.expect(query);
            (said.may_be_temporary, said.has_number)
        };
        for (query, expected) in [
            (
                "id, 'active', 20000 FROM t WHERE a ~ '^\\d+$' AND b = E'a\\n\\'b'",
                (false, false),
            ),
            ("'1'::regclass, '99999999999', '020000x'", (false, false)),
            ("'20000'::regclass", (false, true)),
            ("$a$20000$a$", (false, true)),
            ("NULL::pg_temp.t", (true, false)),
            ("'PG_TEMP_3.t'::regclass", (true, false)),
            ("'pg_toast_temp_3.pg_toast_1'::regclass", (true, false)),
            ("'a'\n'b'", (true, false)),
            ("U&'a'", (true, false)),
            ("u & 'a'::bit(1)", (true, false)),
            ("E'\\x70'", (true, false)),
            ("E'\\p'", (true, false)),
            ("$$pg_temp.t$$::regclass", (true, false)),
        ] {
            assert_eq!(said(query), expected, "{query}");
        }
    }
}
