//! One session asks the same of a database whose labelled values are these, and again when they are others. Whatever it is told
//! differently tells of them.
//!
//! `STATES_SEED` makes other statements, `STATES_COUNT` more of them.

use linegate_tests::statements::Statements;
use linegate_tests::under::{Under, behind, code};
use linegate_tests::{Message, Options, RawClient};

const SHAPE: &str = "
CREATE SCHEMA lab AUTHORIZATION app; SET ROLE app;
CREATE TABLE lab.people (id int PRIMARY KEY, name text, ssn text, email text, account int8, doc jsonb, blob bytea,
    aliases text[], active bool, made timestamptz);
CREATE TABLE lab.pay (id int PRIMARY KEY, salary int, pin text, rate numeric, weight float8, raw json, born date, lasts interval,
    bonus money, span tsrange);
INSERT INTO lab.people (id, name, active, made) VALUES (1, 'Ada', true, '2024-01-01 10:00:00+00');
INSERT INTO lab.pay (id) VALUES (1);
RESET ROLE; ALTER ROLE app SET statement_timeout = '5s'; ALTER DATABASE shop SET TimeZone = 'UTC';";

const ONE: &str = "
UPDATE lab.people SET ssn = '517-11-8131', email = 'm4b9qb7z2x@mail.example', account = 713181594216173,
    doc = '{\"tax\": \"t4xb8wb2qv7b\", \"home\": {\"street\": \"s7rb9tb3pz5b\"}}', blob = 'b9lb6ob4bx2', aliases = '{a3lb8ib5ws,pal}';
UPDATE lab.pay SET salary = 54321, pin = '4711', rate = 7.7, weight = 5.5, raw = '{\"a\": \"x\"}', born = '1987-06-05',
    lasts = '3 days 04:05:06', bonus = '54321.10', span = '[2024-01-01,2024-01-05)'";

/// Of the same lengths.
const OTHER: &str = "
UPDATE lab.people SET ssn = '637-29-8131', email = 'kk1zz0q8w4@mail.example', account = 613181594216174,
    doc = '{\"tax\": \"99999999999b\", \"home\": {\"street\": \"1-999tb3pz5b\"}}', blob = 'zzz96ob4bx3', aliases = '{zzz99zzzz9,pax}';
UPDATE lab.pay SET salary = 98765, pin = '0815', rate = -9.9, weight = -6.5, raw = '{\"a\": \"1\"}', born = '2011-12-13',
    lasts = '-1 days -03:00:06', bonus = '98765.30', span = '[2025-03-01,2025-04-05)'";

/// Parts of labelled values that nothing else holds.
const RAW: [&str; 10] = [
    "517-11",
    "m4b9qb",
    "1318159421",
    "t4xb8w",
    "s7rb9t",
    "b9lb6o",
    "a3lb8i",
    "54321",
    "54,321",
    "1987-06",
];

const LABELLED: [(&str, &str); 15] = [
    ("people", "ssn"),
    ("people", "email"),
    ("people", "account"),
    ("people", "doc"),
    ("people", "blob"),
    ("people", "aliases"),
    ("pay", "salary"),
    ("pay", "pin"),
    ("pay", "rate"),
    ("pay", "weight"),
    ("pay", "raw"),
    ("pay", "born"),
    ("pay", "lasts"),
    ("pay", "bonus"),
    ("pay", "span"),
];

/// Everything but seeing and probing labelled values.
const POLICIES: &str = r#"@id("all") permit (principal in Group::"ci", action, resource)
    unless { action in [Action::"read_raw", Action::"probe"] };"#;

fn lab() -> Under {
    let mut more = String::new();
    for (table, column) in LABELLED {
        more.push_str(&format!(
            "\n[[label]]\nname = 'private'\ntarget = 'shop'\ncolumns = ['lab.{table}.{column}']\nredact = 'null'\n"
        ));
    }
    let options = Options {
        policies: POLICIES.to_owned(),
        record: "statements",
        more,
        ..Options::default()
    };
    behind(options, SHAPE)
}

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().expect("a number"))
}

/// What a client was told, but for what linegate or the server refused whatever the values are.
fn told(client: &mut RawClient, sql: &str) -> Option<Vec<Message>> {
    let answer = client.query(sql);
    let code = code(&answer);
    let is_static = code.starts_with("42") && !matches!(code.as_str(), "42P01" | "42704" | "42703");
    let is_refused = is_static || matches!(code.as_str(), "0A000" | "57014" | "21000");
    (!is_refused).then_some(answer)
}

fn shown(answer: &[Message]) -> String {
    let parts = answer.iter().map(|message| {
        let body = String::from_utf8_lossy(&message.body);
        format!("{} {body:?}", char::from(message.tag))
    });
    parts.collect::<Vec<_>>().join("\n  ")
}

#[test]
fn no_statement_tells_two_states_of_labelled_values_apart() {
    let under = lab();
    let seed = number("STATES_SEED", 20_261_122);
    let count = number("STATES_COUNT", 3_000);
    println!("STATES_SEED={seed}");
    let mut statements = Statements::of(&under.postgres, seed);
    let mut client = under.client();
    let (mut made, mut compared, mut wrong) = (0, 0, Vec::new());
    while made < count {
        under.postgres.sql(ONE);
        let mut kept = Vec::new();
        for _ in 0..1_000.min(count - made) {
            let sql = statements.make();
            made += 1;
            let Some(answer) = told(&mut client, &sql) else {
                continue;
            };
            let text = shown(&answer);
            if RAW.iter().any(|raw| text.contains(raw)) {
                wrong.push(format!("{sql}\n  {text}"));
            }
            kept.push((sql, answer));
        }
        under.postgres.sql(OTHER);
        for (sql, before) in kept {
            let Some(after) = told(&mut client, &sql) else {
                continue;
            };
            compared += 1;
            if before != after {
                wrong.push(format!(
                    "{sql}\n  {}\nand then\n  {}",
                    shown(&before),
                    shown(&after)
                ));
            }
        }
    }
    println!("{made} statements, {compared} answers compared");
    assert!(
        wrong.is_empty(),
        "{} of {compared}:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    assert!(
        compared * 20 > made,
        "hardly a statement was answered: {compared} of {made}"
    );
    under.linegate.assert_unharmed();
}
