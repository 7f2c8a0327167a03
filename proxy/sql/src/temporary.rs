//! What makes something temporary, and what may come to depend on it. The server drops what is temporary with all that depends on
//! it when a transaction or a session ends, and at DISCARD, whatever schema that is in.
//! Source: PostgreSQL manual, "CREATE TABLE" (TEMPORARY, ON COMMIT), "DISCARD", "Dependency Tracking", "Object Identifier Types";
//! `dependency.c` (constants of regclass and the like), `regproc.c` (numbers in their place).

use linegate_identity::Effects;
use linegate_policy::{Said, Statement, is_temporary, words};
use pg_raw_parse::list::NodeList;
use pg_raw_parse::raw::{AlterTableType, CmdType, ObjectType};
use pg_raw_parse::{Node, nodes};

use crate::parse::plain;
use crate::reactions::OURS_FROM;
use crate::tokens::{Token, tokens};
use crate::walk::names;

/// `AlterDomainStmt.subtype`: SET DEFAULT and DROP DEFAULT.
const SETS_DEFAULT: u32 = b'T' as u32;
/// Bytes of a name: NAMEDATALEN - 1.
const NAME_BYTES_MAX: usize = 63;
const DEFINES: Effects = Effects::CREATE.with(Effects::ALTER);

/// Notes both.
pub(crate) fn add(statement: &mut Statement, text: &str, statements: &NodeList) {
    let leads = &statement.leads;
    let remakes = statements.iter().any(remakes);
    let defines = remakes || statement.changes_catalog || statement.effects.intersects(DEFINES);
    let mut settings = statement.settings.iter();
    let sets_path = settings.any(|setting| setting.starts_with("search_path") || setting == "*");
    if !defines && !sets_path {
        return;
    }
    let said = said(text);
    let mut made = statement.writes.iter().filter_map(|name| name.schema.as_ref());
    let mut functions = statement.functions.iter();
    let computes = functions.any(|name| name.name == "set_config");
    // What cannot be looked into may do anything by itself.
    let is_seen = statement.opaque.is_empty() && !leads.only_resets;
    let is_hidden = |setting: &String| match setting.as_str() {
        "search_path" => computes,
        "*" => computes || is_seen,
        _ => false,
    };
    statement.leads.makes_temporary = said.may_be_temporary
        || statement.effects.contains(Effects::CREATE) && made.any(|schema| is_temporary(schema))
        || statement.settings.iter().any(is_hidden);
    statement.leads.remakes = remakes;
    let is_remark =
        |node: Node<'_>| matches!(node, Node::RawStmt(raw) if matches!(raw.stmt(), Node::CommentStmt(_)));
    let is_unclear = (said.has_number || said.may_be_cut) && !statements.iter().all(is_remark);
    statement.leads.rests_unseen = defines && is_unclear || statements.iter().any(is_filled_by_name);
    statement.leads.said = defines.then(|| Box::new(said));
}

/// Whether a table takes its columns from what runs by a name.
fn is_filled_by_name(statement: Node<'_>) -> bool {
    match statement {
        Node::RawStmt(raw) => is_filled_by_name(raw.stmt()),
        Node::ExplainStmt(explain) => is_filled_by_name(explain.query()),
        Node::CreateTableAsStmt(create) => matches!(create.query(), Node::ExecuteStmt(_)),
        _ => false,
    }
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
                said.has_number |= is_number(body(part)) && !is_cast_to_number(&text[end..]);
                quoted(part, &mut said);
                (coming, is_behind_string) = (0, is_string);
            }
            Token::Word(word) => {
                said.may_be_cut |= is_cut(word);
                // A name, to the server.
                said.quotes_signs |= word
                    .chars()
                    .any(|sign| !sign.is_ascii() && !sign.is_alphanumeric());
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
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let mut runs = text.split(|character| !is_part(character));
    said.quotes_signs |= runs.any(|run| !run.is_empty() && run.trim_start_matches('_').is_empty());
    for word in words(text) {
        said.may_be_temporary |= is_temporary(&word);
        said.words.insert(word);
    }
}

/// What is between the quotes of a string or a name; blanks may be behind it.
fn body(part: &str) -> &str {
    let part = part.trim_end();
    match part.strip_prefix('$') {
        Some(rest) => rest.split_once('$').map_or(rest, |(tag, body)| {
            body.strip_suffix('$')
                .and_then(|body| body.strip_suffix(tag))
                .and_then(|body| body.strip_suffix('$'))
                .unwrap_or(body)
        }),
        None => {
            let quoted = part.trim_start_matches(['e', 'E']);
            let inner = quoted.get(1..).unwrap_or_default();
            inner.strip_suffix(['\'', '"']).unwrap_or(inner)
        }
    }
}

/// A string or a quoted name with its quotes, and whatever blanks are behind it.
fn quoted(part: &str, said: &mut Said) {
    let has_escapes = part.starts_with(['e', 'E']);
    let body = body(part);
    let is_sign = |character: char| !character.is_alphanumeric() && !"_. ".contains(character);
    said.quotes_signs |= body.contains(is_sign) || words(body).next().is_none();
    // Of what is quoted in a string, a name's parts can be longer than what counts as one word.
    said.may_be_cut |=
        body.len() > NAME_BYTES_MAX && (part.starts_with('"') && is_cut(body) || may_be_cut(body));
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

/// Whether a name may be in a string that the server cuts: one in quotes, or whatever stands between blanks and dots.
fn may_be_cut(body: &str) -> bool {
    let mut bare = body.split(|character: char| character.is_whitespace() || character == '.');
    bare.any(is_cut) || body.split('"').skip(1).any(is_cut)
}

/// Whether the server cuts a name so that it has other words, as far as they count.
fn is_cut(name: &str) -> bool {
    let left = &name[..name.floor_char_boundary(NAME_BYTES_MAX)];
    left.len() < name.len() && words(left).ne(words(name))
}

/// Whether a string in front of this is a number to compute with: words of the grammar, which nobody's type can go by.
fn is_cast_to_number(rest: &str) -> bool {
    const TYPES: [&str; 7] = [
        "bigint", "integer", "smallint", "numeric", "decimal", "real", "int",
    ];
    let Some(to) = rest.strip_prefix("::").map(str::trim_start) else {
        return false;
    };
    let word = to
        .split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_')
        .next();
    let behind = word.and_then(|word| to[word.len()..].chars().next());
    word.is_some_and(|word| TYPES.contains(&word))
        && behind.is_none_or(|sign| sign.is_ascii() && !"$.".contains(sign))
}

/// Whether a string is taken for the number of an object that is not the server's own: any number that does not fit wraps.
fn is_number(body: &str) -> bool {
    !body.is_empty()
        && body.bytes().all(|byte| byte.is_ascii_digit())
        && body.parse().map_or(true, |number: u32| number >= OURS_FROM)
}

/// Whether something permanent that is there already may come to depend on what the statement names. What is new has nobody who
/// would go along with it; nor have defaults, constraints, indexes, triggers and policies.
fn remakes(statement: Node<'_>) -> bool {
    match statement {
        Node::RawStmt(raw) => remakes(raw.stmt()),
        Node::ExplainStmt(explain) => remakes(explain.query()),
        Node::CreateSchemaStmt(create) => create.schema_elts().iter().any(remakes),
        Node::ViewStmt(view) => view.replace && is_permanent(view.view()),
        Node::CreateFunctionStmt(create) => {
            let schema = names::qualified(create.funcname()).and_then(|name| name.schema);
            create.replace && !schema.is_some_and(|schema| is_temporary(&schema))
        }
        Node::AlterObjectSchemaStmt(alter) => alter.object_type == ObjectType::OBJECT_EXTENSION,
        Node::RuleStmt(rule) => rule.event == CmdType::CMD_SELECT,
        Node::DefineStmt(define) => define.replace,
        Node::CreatePLangStmt(create) => create.replace,
        Node::AlterDomainStmt(alter) => u32::from(alter.subtype as u8) == SETS_DEFAULT,
        // It goes with the table that it comes to be part of.
        Node::AlterSeqStmt(alter) => alter
            .options()
            .iter()
            .any(|option| matches!(option, Node::DefElem(option) if option.defname() == Some("owned_by"))),
        Node::AlterTableStmt(alter) => {
            let mut commands = alter.cmds().iter();
            let is_type = alter.objtype == ObjectType::OBJECT_TYPE;
            is_permanent(alter.relation()) && (is_type || commands.any(remakes_columns))
        }
        Node::AlterTypeStmt(_)
        | Node::AlterOperatorStmt(_)
        | Node::AlterOpFamilyStmt(_)
        | Node::CreateTransformStmt(_)
        | Node::AlterTSConfigurationStmt(_)
        | Node::AlterTSDictionaryStmt(_)
        | Node::AlterExtensionStmt(_)
        | Node::AlterExtensionContentsStmt(_)
        | Node::AlterObjectDependsStmt(_)
        | Node::AlterFdwStmt(_)
        | Node::CreateRangeStmt(_) => true,
        // Settings and costs of a function are its own.
        Node::AlterFunctionStmt(alter) => plain(alter.actions())
            .iter()
            .any(|action| matches!(action, Node::DefElem(action) if action.defname() == Some("support"))),
        // Whoever comes next begins there.
        Node::AlterRoleSetStmt(alter) => sets_path(alter.setstmt()),
        Node::AlterDatabaseSetStmt(alter) => sets_path(alter.setstmt()),
        Node::AlterSystemStmt(alter) => sets_path(alter.setstmt()),
        _ => false,
    }
}

fn sets_path(set: Option<&nodes::VariableSetStmt>) -> bool {
    let name = set.and_then(nodes::VariableSetStmt::name);
    name.is_some_and(|name| name.eq_ignore_ascii_case("search_path"))
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
    if command.subtype == Kind::AT_AlterColumnType {
        return !is_of_servers_type(command.def());
    }
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
            | Kind::AT_DropInherit
            | Kind::AT_DropOf
            | Kind::AT_ReplicaIdentity
            | Kind::AT_EnableRowSecurity
            | Kind::AT_DisableRowSecurity
            | Kind::AT_ForceRowSecurity
            | Kind::AT_NoForceRowSecurity
            | Kind::AT_DetachPartition
            | Kind::AT_DetachPartitionFinalize
            | Kind::AT_AddIdentity
            | Kind::AT_SetIdentity
            | Kind::AT_DropIdentity
    )
}

/// Whether a column gets a type that the grammar itself has a word for; USING is not kept.
fn is_of_servers_type(column: Node<'_>) -> bool {
    let Node::ColumnDef(column) = column else {
        return false;
    };
    let mut names = column
        .type_name()
        .into_iter()
        .flat_map(|name| plain(name.names()));
    column.coll_clause().is_none() && names.next().and_then(Node::as_str) == Some("pg_catalog")
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
            "SELECT set_config(n, v, false) FROM (VALUES ('search_path', 'pg_' || 'temp')) x (n, v)",
            "UPDATE pg_settings SET setting = 'pg_temp' WHERE name = 'search_path'",
            "PREPARE p (text, text) AS SELECT set_config($1, $2, false)",
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
            "ALTER TABLE t ALTER a TYPE varchar(3) COLLATE c",
            "ALTER TABLE t ATTACH PARTITION p DEFAULT",
            "ALTER TABLE t INHERIT p",
            "ALTER SEQUENCE s OWNED BY t.a",
            "ALTER ROLE r SET search_path = a",
            "ALTER DATABASE d SET search_path = a",
            "ALTER SYSTEM SET search_path = a",
            "ALTER EXTENSION e SET SCHEMA s",
            "ALTER FUNCTION f() SUPPORT g",
            "ALTER ROLE r SET Search_Path FROM CURRENT",
            "ALTER EXTENSION e ADD VIEW v",
            "ALTER INDEX i DEPENDS ON EXTENSION e",
            "CREATE OR REPLACE VIEW pg_tempx.v AS SELECT 1",
            "CREATE RULE \"_RETURN\" AS ON SELECT TO t DO INSTEAD SELECT 1",
            "SELECT 1; CREATE OR REPLACE VIEW v AS SELECT 1",
        ] {
            assert!(read(text.as_bytes()).leads.remakes, "{text}");
        }
        for text in [
            "CREATE VIEW v AS SELECT 1",
            "CREATE OR REPLACE TEMP VIEW v AS SELECT 1",
            "CREATE FUNCTION f() RETURNS int RETURN 1",
            "ALTER TABLE pg_temp.t ALTER a TYPE bigint",
            "ALTER TABLE t ADD CONSTRAINT c UNIQUE (a)",
            "ALTER TABLE t ALTER a SET DEFAULT 1, ADD b int",
            "ALTER TABLE t RENAME TO u",
            "ALTER TABLE t ALTER a TYPE bigint USING length(b), ALTER c TYPE varchar(20)",
            "ALTER DOMAIN d ADD CHECK (value > 1)",
            "ALTER SEQUENCE s RESTART",
            "ALTER ROLE r SET statement_timeout = '30000'",
            "ALTER DATABASE d SET work_mem = '65536'",
            "ALTER SYSTEM SET work_mem = '65536'",
            "ALTER FUNCTION f() SET statement_timeout = '30000'",
            "CREATE RULE r AS ON INSERT TO t DO NOTHING",
            "CREATE OR REPLACE FUNCTION pg_temp.f() RETURNS int RETURN 1",
            "ALTER TABLE t SET SCHEMA s",
            "CREATE UNIQUE INDEX ON t (a)",
            "CREATE TABLE p PARTITION OF t DEFAULT",
            "COMMENT ON TABLE t IS 'x'",
            "GRANT SELECT ON t TO r",
            "SELECT 1",
        ] {
            assert!(!read(text.as_bytes()).leads.remakes, "{text}");
        }
    }

    #[test]
    fn what_may_rest_on_others_unseen_is_told() {
        for (text, expected) in [
            (
                "CREATE VIEW s.v AS SELECT 1 WHERE '20000'::regclass IS NOT NULL",
                true,
            ),
            ("CREATE TABLE s.t AS EXECUTE p", true),
            ("EXPLAIN ANALYZE CREATE TABLE s.t AS EXECUTE p", true),
            ("SELECT 1; CREATE TABLE s.t AS EXECUTE p", true),
            ("CREATE VIEW s.v AS SELECT 20000", false),
            ("COMMENT ON TABLE s.t IS '20000'", false),
            ("CREATE TABLE s.t AS SELECT 1", false),
            ("EXECUTE p", false),
            ("SELECT '20000'::regclass", false),
        ] {
            assert_eq!(read(text.as_bytes()).leads.rests_unseen, expected, "{text}");
        }
    }

    #[test]
    fn names_of_signs_are_said_where_signs_are_quoted() {
        for (query, expected) in [
            ("a - b, 'text', \"name\"", false),
            ("\"-\"", true),
            ("'scr.\"-\"'::regclass", true),
            ("$$-$$", true),
            ("__ FROM t", true),
            ("'scr._'::regclass", true),
            ("\" \"", true),
            ("\".\"", true),
            ("_a", false),
            ("1 FROM scr.€", true),
            ("NULL::\u{301}", true),
            ("über", false),
        ] {
            let text = format!("CREATE OR REPLACE VIEW v AS SELECT {query}");
            let said = read(text.as_bytes()).leads.said.expect(query);
            assert_eq!(said.quotes_signs, expected, "{query}");
        }
    }

    #[test]
    fn what_a_definition_may_mean_of_others_is_told() {
        let said = |query: &str| {
            let text = format!("CREATE OR REPLACE VIEW v AS SELECT {query}");
            let said = read(text.as_bytes()).leads.said.expect(query);
            (said.may_be_temporary || said.may_be_cut, said.has_number)
        };
        for (query, expected) in [
            (
                "id, 'active', 20000 FROM t WHERE a ~ '^\\d+$' AND b = E'a\\n\\'b' OR b = E'\\\\\\''",
                (false, false),
            ),
            (
                "'1'::regclass, '020000x', 'pg_temp_info', 'pg_toast'",
                (false, false),
            ),
            ("'99999999999'", (false, true)),
            ("'18446744072414584983'::regclass", (false, true)),
            ("'026264057514'::regclass", (false, true)),
            ("'20000'::regclass", (false, true)),
            ("$a$20000$a$", (false, true)),
            ("NULL::pg_temp.t", (true, false)),
            ("'PG_TEMP_3.t'::regclass", (true, false)),
            ("'pg_toast_temp_3.pg_toast_1'::regclass", (true, false)),
            ("'a'\n'b'", (true, false)),
            ("U&'a'", (true, false)),
            ("u & 'a'::bit(1)", (true, false)),
            (&"n".repeat(64), (false, false)), // whatever is left of it begins alike
            (&format!("{0}${0}", "n".repeat(40)), (true, false)),
            (&format!("'{}'", "0a".repeat(32)), (false, false)),
            (&format!("{}{}", "_".repeat(16), "n".repeat(48)), (true, false)),
            (&format!("'a.{}{}'", "€".repeat(6), "n".repeat(48)), (true, false)),
            ("'100000'::bigint", (false, false)),
            ("'100000'::bigint$a", (false, true)),
            ("'100000' :: pg_catalog.regclass", (false, true)),
            (
                &format!("\"{} {}\"", "n".repeat(30), "n".repeat(40)),
                (true, false),
            ),
            (
                &format!("'a.\"{} {}\"'", "n".repeat(30), "n".repeat(40)),
                (true, false),
            ),
            (&format!("'{}'", "long texts of words ".repeat(9)), (false, false)),
            ("E'\\x70'", (true, false)),
            ("E'\\p'", (true, false)),
            ("$$pg_temp.t$$::regclass", (true, false)),
        ] {
            assert_eq!(said(query), expected, "{query}");
        }
    }
}
