//! A schema that policies close for a principal who may work beside it, and may do nothing that cannot be looked into: nothing
//! of what is in it goes, changes or is locked along with what the principal may change.

use linegate_tests::under::{Under, behind, code, query, say};
use linegate_tests::wire::{bind, execute, parse, parse_typed, sync};
use linegate_tests::{Options, RawClient};

const POLICIES: &str = r#"
@id("everything") permit (principal, action, resource);
@id("safe-stays") forbid (principal, action in [
    Action::"insert", Action::"update", Action::"delete", Action::"truncate", Action::"create", Action::"alter", Action::"drop",
    Action::"lock", Action::"maintenance", Action::"copy-in"], resource)
when { resource is Table && resource.schema == "safe" };
@id("nothing-opaque") forbid (principal, action, resource) when { context.opaque };
"#;

const FIXTURE: &str = r#"
CREATE SCHEMA scr AUTHORIZATION app; CREATE SCHEMA safe AUTHORIZATION app; CREATE SCHEMA lone AUTHORIZATION app;
CREATE SCHEMA adm;
SET ROLE app;
CREATE TABLE scr.w (id int PRIMARY KEY, note text); CREATE INDEX wi ON scr.w (note);
CREATE VIEW scr.v AS SELECT * FROM scr.w;
CREATE TABLE safe.typed (a int, r scr.w, rr scr.w[]); CREATE TABLE safe.shown (r scr.v);
CREATE TABLE scr.s (id serial, x int); CREATE TABLE safe.counted (b int DEFAULT nextval('scr.s_id_seq'));
CREATE TEXT SEARCH CONFIGURATION scr.words (COPY = pg_catalog.english);
CREATE SEQUENCE scr.loose; CREATE SEQUENCE scr.loose2; CREATE TABLE safe.uses (b int DEFAULT nextval('scr.loose'));
CREATE DOMAIN scr.many AS int[]; CREATE TABLE safe.lists (m scr.many);
CREATE TYPE scr.inner AS (x int, y int); CREATE TABLE scr.outer (i scr.inner); CREATE TABLE safe.nested (o scr.outer);
CREATE TABLE scr.friends (id int);
CREATE TABLE safe.orders (id int PRIMARY KEY, what text, person int); CREATE INDEX oi ON safe.orders (what);
CREATE STATISTICS safe.st ON what, person FROM safe.orders;
CREATE POLICY friends ON safe.orders USING (person IN (SELECT id FROM scr.friends));
INSERT INTO safe.orders SELECT i, 'x', i FROM generate_series(1, 200) i;
CREATE SEQUENCE safe.sq;
CREATE TYPE safe.en AS ENUM ('a', 'b'); CREATE DOMAIN safe.dom AS int; CREATE TYPE safe.comp AS (a int, b int);
CREATE TYPE scr.en2 AS ENUM ('a', 'b'); CREATE DOMAIN scr.dom2 AS int; CREATE TYPE scr.comp2 AS (a int, x int);
CREATE TABLE safe.types (d scr.dom2, e scr.en2, c scr.comp2);
CREATE TYPE scr.own AS ENUM ('a');
CREATE TABLE scr.pt (a int, b int) PARTITION BY LIST (a); CREATE TABLE safe.p1 PARTITION OF scr.pt FOR VALUES IN (1);
CREATE INDEX pti ON scr.pt (b);
CREATE TABLE scr.lone (id int PRIMARY KEY, c scr.own);
CREATE TABLE scr.base (id int, t text); CREATE VIEW safe.bv AS SELECT id, t FROM scr.base;
CREATE TABLE scr.np (LIKE scr.base); CREATE TABLE scr.own_parent (id int, t text); CREATE TABLE scr.own_child () INHERITS (scr.own_parent);
CREATE TABLE scr.held (id int, note text); CREATE TABLE safe.holds (r scr.held);
CREATE TABLE scr.npw (id int, note text) PARTITION BY LIST (id);
CREATE TABLE scr.fed (a int, b int); CREATE FUNCTION safe.fed(scr.fed) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE scr.numbered (id serial, x int); CREATE VIEW safe.vseq AS SELECT last_value FROM scr.numbered_id_seq;
CREATE TABLE scr.pointed (id int); CREATE TABLE safe.points (t oid DEFAULT 'scr.pointed'::regclass);
CREATE TABLE scr.mid (id int, note text) PARTITION BY LIST (id); CREATE TABLE scr.leaf PARTITION OF scr.mid DEFAULT;
CREATE TABLE safe.leaves (r scr.leaf); CREATE VIEW scr.vpc AS SELECT * FROM pg_class;
CREATE VIEW scr.fv AS SELECT 1 AS a; CREATE FUNCTION safe.atomic() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM scr.fv; END;
CREATE TABLE scr.counted2 (a int, b int); CREATE STATISTICS safe.sx ON a, b FROM scr.counted2;
CREATE TABLE scr.stated (a int, b int); CREATE STATISTICS scr.sy ON a, b FROM scr.stated;
CREATE FUNCTION safe.touch() RETURNS int LANGUAGE sql AS 'SELECT 1';
RESET ROLE;
CREATE FUNCTION adm.told(int) RETURNS boolean LANGUAGE plpgsql AS
    'BEGIN INSERT INTO safe.orders VALUES (100000 + $1, ''told'', 0); RETURN true; END';
CREATE DOMAIN adm.chk AS int CHECK (adm.told(value));
GRANT USAGE ON SCHEMA adm TO app; GRANT ALL ON ALL TABLES IN SCHEMA safe TO app;
CREATE FUNCTION adm.pg_column_size(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM adm.told($1); RETURN 1; END';
"#;

fn closed() -> (Under, RawClient) {
    let options = Options {
        policies: POLICIES.to_owned(),
        ..Options::default()
    };
    let under = behind(options, FIXTURE);
    let client = under.client();
    (under, client)
}

#[track_caller]
fn all(client: &mut RawClient, expected: &str, statements: &[&str]) {
    for statement in statements {
        client.query("BEGIN");
        let found = code(&client.query(statement));
        client.query("ROLLBACK");
        assert_eq!(found, expected, "{statement}");
    }
}

#[test]
fn what_goes_along_is_asked_about() {
    let (under, mut client) = closed();
    all(
        &mut client,
        "42501",
        &[
            "DROP TABLE scr.w CASCADE",
            "DROP VIEW scr.v CASCADE",
            "ALTER TABLE scr.w DROP COLUMN note",
            "ALTER TABLE scr.w DROP COLUMN note CASCADE",
            "DROP TABLE scr.s CASCADE",
            "ALTER TABLE scr.s DROP COLUMN id CASCADE",
            "DROP TABLE scr.friends CASCADE",
            "ALTER TYPE scr.en2 RENAME VALUE 'a' TO 'q'",
            "ALTER TYPE scr.comp2 DROP ATTRIBUTE x",
            "ALTER DOMAIN scr.dom2 SET DEFAULT 7",
            "DROP INDEX scr.pti",
            "REINDEX INDEX scr.pti",
            "CREATE INDEX ON scr.pt (a)",
            "CREATE TABLE scr.x (o int REFERENCES safe.orders)",
            "ALTER TABLE scr.lone ADD FOREIGN KEY (id) REFERENCES safe.orders",
            "ANALYZE",
            "ANALYZE; SELECT 1 FROM scr.w",
            "ALTER TABLE scr.w RENAME TO w9; ALTER TABLE scr.w9 DROP COLUMN note",
            "ALTER VIEW scr.v RENAME TO v9; DROP VIEW scr.v9 CASCADE",
            "ALTER SEQUENCE scr.loose OWNED BY scr.lone.id; DROP TABLE scr.lone CASCADE",
            "CREATE TABLE scr.n (id int, note text); CREATE OR REPLACE VIEW scr.v AS SELECT * FROM scr.n; DROP TABLE scr.n CASCADE",
            "ALTER DOMAIN scr.many SET DEFAULT '{1}'",
            "ALTER TYPE scr.inner DROP ATTRIBUTE y",
            "CREATE TABLE scr.x (a int, b text DEFAULT set_config('search_path', 'safe', false))",
            "CREATE VIEW scr.x AS SELECT set_config('search_path', 'safe', false)",
            "ALTER TABLE scr.w ADD CHECK (set_config('search_path', 'safe', false) = note)",
            "CREATE TABLE pg_catalog.x (a int)",
            "DROP TABLE scr.fed CASCADE",
            "DROP TABLE scr.numbered CASCADE",
            "ALTER TABLE scr.numbered DROP COLUMN id CASCADE",
            "DROP TABLE scr.pointed CASCADE",
            "ALTER TABLE scr.mid RENAME TO mid2; ALTER TABLE scr.mid2 DROP COLUMN note",
            "ALTER TABLE scr.counted2 DROP COLUMN b CASCADE",
            "ALTER TABLE scr.counted2 RENAME TO c9; ALTER TABLE scr.c9 DROP COLUMN b",
            "DROP COLLATION ucs_basic",
            "DROP COLLATION \"de-x-icu\"",
            "MERGE INTO safe.orders o USING scr.w ON o.id = w.id WHEN MATCHED THEN DO NOTHING",
            "CREATE SCHEMA safe CREATE TABLE made (a int) CREATE VIEW shown2 AS SELECT 1 AS a",
            "ALTER TEXT SEARCH PARSER \"default\" RENAME TO zz",
            "ALTER DOMAIN cardinal_number DROP CONSTRAINT cardinal_number_domain_check",
            "DROP VIEW scr.fv CASCADE",
            "DROP TABLE scr.counted2",
            "ALTER TABLE scr.counted2 DROP COLUMN b",
            "ALTER TABLE scr.base INHERIT scr.np; DROP TABLE scr.np CASCADE",
            "ALTER TABLE scr.npw ATTACH PARTITION scr.held DEFAULT; ALTER TABLE scr.npw DROP COLUMN note",
            "CREATE TABLE scr.orders (id int GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME safe.nsq))",
            "ALTER TABLE scr.lone ALTER id ADD GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME safe.nsq)",
            "ALTER TEXT SEARCH CONFIGURATION english DROP MAPPING FOR asciiword",
            "DROP TEXT SEARCH CONFIGURATION german",
            "ALTER EVENT TRIGGER nosuch ENABLE; CREATE TABLE scr.x (a int)",
        ],
    );
    for alone in ["VACUUM", "REINDEX SCHEMA safe"] {
        assert_eq!(code(&client.query(alone)), "42501", "{alone}");
    }
    assert_eq!(code(&client.query("REINDEX SCHEMA lone")), "no error");
    all(
        &mut client,
        "no error",
        &[
            "DROP TABLE scr.lone CASCADE",
            "ALTER TABLE scr.lone DROP COLUMN c",
            "ALTER TABLE scr.friends ADD COLUMN note text",
            "ALTER TABLE scr.s DROP COLUMN x",
            "DROP TABLE scr.np CASCADE",
            "DROP TABLE scr.own_parent CASCADE",
            "ALTER TABLE scr.own_parent DROP COLUMN t",
            "DROP TABLE scr.stated",
            "ALTER TABLE scr.stated DROP COLUMN b",
            "ALTER TABLE scr.npw ATTACH PARTITION scr.held DEFAULT",
            "CREATE TABLE scr.x (id int GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME scr.nsq))",
            "ALTER TEXT SEARCH CONFIGURATION scr.words DROP MAPPING FOR asciiword",
            "DROP INDEX scr.wi",
            "REINDEX INDEX scr.wi",
            "CREATE INDEX ON scr.w (note)",
            "CREATE TABLE scr.x (o int REFERENCES scr.lone)",
            "ALTER TYPE scr.own RENAME VALUE 'a' TO 'q'",
            "ANALYZE scr.w",
            "CREATE TABLE scr.made AS SELECT id FROM safe.orders",
            "CREATE TABLE scr.n (a int, b int); ALTER TABLE scr.n DROP COLUMN a; DROP TABLE scr.n CASCADE",
            "ALTER SEQUENCE scr.loose2 OWNED BY scr.lone.id",
            "ALTER TABLE scr.lone RENAME COLUMN c TO d; ALTER TABLE scr.lone ALTER COLUMN d TYPE text",
            "ALTER TABLE scr.lone RENAME TO alone; ALTER TABLE scr.alone DROP COLUMN c",
            "SELECT set_config('search_path', '', false); CREATE TABLE scr.n (a int)",
        ],
    );
    // As pg_restore does it, all in one transaction.
    for step in [
        "BEGIN",
        "CREATE TABLE scr.a (id int, n text)",
        "CREATE SEQUENCE scr.q",
        "ALTER SEQUENCE scr.q OWNED BY scr.a.id",
        "INSERT INTO scr.a (n) VALUES ('z')",
        "SELECT setval('scr.q', 7)",
        "COMMIT",
    ] {
        let answer = client.query(step);
        assert_eq!(
            code(&answer),
            "no error",
            "{step}: {:?}",
            linegate_tests::wire::error_of(&answer)
        );
    }
    under.linegate.assert_unharmed();
}

#[test]
fn names_without_a_schema_are_those_of_every_schema() {
    let (under, mut client) = closed();
    all(&mut client, "no error", &["CREATE TEMP TABLE fresh (a int)"]);
    client.query("SET search_path = safe");
    all(
        &mut client,
        "42501",
        &[
            "DROP INDEX oi",
            "ALTER INDEX oi RENAME TO oj",
            "REINDEX INDEX oi",
            "DROP STATISTICS st",
            "DROP FUNCTION touch()",
            "ALTER TYPE en RENAME VALUE 'a' TO 'q'",
            "ALTER DOMAIN dom SET DEFAULT 7",
            "ALTER TYPE comp DROP ATTRIBUTE b",
            "CREATE TABLE brandnew (a int)",
            "CREATE TABLE w (a int)",
            "CREATE VIEW brandnew AS SELECT 1",
            "SELECT 1 AS a INTO brandnew",
            "CREATE TABLE brandnew AS SELECT 1",
            "CREATE TYPE brandnew AS ENUM ('a')",
        ],
    );
    all(
        &mut client,
        "no error",
        &[
            "CREATE TABLE scr.brandnew (a int)",
            "CREATE TEMP TABLE fresh (a int)",
        ],
    );
    all(
        &mut client,
        "no error",
        &["CREATE SCHEMA later", "CREATE INDEX ON scr.w (id)"],
    );
    // What gives settings back moves nothing.
    for reset in [
        "RESET search_path",
        "RESET ALL",
        "DISCARD ALL",
        "SET search_path TO DEFAULT",
    ] {
        let mut other = under.client();
        other.query(reset);
        assert_eq!(
            code(&other.query("CREATE TABLE fresh (a int)")),
            "no error",
            "{reset}"
        );
        other.query("DROP TABLE fresh");
    }
    let at_once = client.query("RESET search_path; SET search_path = safe; CREATE TABLE brandnew (a int)");
    assert_eq!(code(&at_once), "42501");
    // Prepared before the path was moved.
    let mut late = under.client();
    let parsed = say(
        &mut late,
        &[parse("made", "CREATE TABLE brandnew (a int)"), sync()],
    );
    assert_eq!(code(&parsed), "no error");
    late.query("SET search_path = safe");
    let run = say(&mut late, &[bind("", "made", &[], 0), execute("", 0), sync()]);
    assert_ne!(code(&run), "no error");
    let found = under
        .postgres
        .sql("SELECT count(*) FROM pg_class WHERE relname = 'brandnew'");
    assert_eq!(found, "0");
}

#[test]
fn a_sequence_is_set_by_a_written_name_only() {
    let (under, mut client) = closed();
    let number = under.postgres.sql("SELECT 'safe.sq'::regclass::oid");
    client.query("SET search_path = safe");
    for name in [
        "'safe.sq'".to_owned(),
        "'sq'".to_owned(),
        format!("'+{number}'::int::oid::regclass"),
        format!("'  +{number}'"),
        "'sqx'::varchar(2)::text::regclass".to_owned(),
        "'s' || 'q'".to_owned(),
    ] {
        let found = code(&client.query(&format!("SELECT setval({name}, 77)")));
        assert_eq!(found, "42501", "{name}");
    }
    assert_eq!(under.postgres.sql("SELECT last_value FROM safe.sq"), "1");
    assert_eq!(
        code(&client.query("SELECT setval('scr.s_id_seq'::regclass, 5)")),
        "no error"
    );
}

#[test]
fn checks_of_types_that_a_number_names_are_somebodys_code() {
    let (under, mut client) = closed();
    let number: u32 = under
        .postgres
        .sql("SELECT 'adm.chk'::regtype::oid")
        .parse()
        .expect("a number");
    let own: u32 = under
        .postgres
        .sql("SELECT 'scr.own'::regtype::oid")
        .parse()
        .expect("a number");
    let declared = |client: &mut RawClient, oid: u32, value: &str| {
        let messages = [
            parse_typed("", "SELECT $1", &[oid]),
            bind("", "", &[value], 0),
            execute("", 0),
            sync(),
        ];
        code(&say(client, &messages))
    };
    assert_eq!(declared(&mut client, number, "1"), "42501");
    assert_eq!(declared(&mut client, own, "a"), "no error");
    assert_eq!(declared(&mut client, 23, "1"), "no error");
    for call in [
        format!("domain_in('2', {number}, -1)"),
        format!("array_in('{{3}}', {number}, -1)"),
        "adm.pg_column_size(4)".to_owned(),
        "5::adm.chk".to_owned(),
    ] {
        let found = code(&client.query(&format!("SELECT {call} IS NULL")));
        assert_eq!(found, "42501", "{call}");
    }
    let told = under
        .postgres
        .sql("SELECT count(*) FROM safe.orders WHERE id > 100000");
    assert_eq!(told, "0");
}

#[test]
fn what_is_not_kept_of_prepared_statements_does_not_run_by_name() {
    let (under, mut client) = closed();
    client.query("CREATE TABLE scr.x1 (id int); CREATE VIEW scr.vv AS SELECT * FROM scr.x1");
    let long = format!("DELETE FROM scr.vv WHERE id IN (1{})", ",1".repeat(40_000));
    assert_eq!(
        code(&client.query(&format!("PREPARE long AS {long}"))),
        "no error"
    );
    for number in 0..300 {
        client.query(&format!("PREPARE n{number} AS SELECT 1"));
    }
    client.query("PREPARE late AS DELETE FROM scr.vv WHERE id = 1");
    for number in 0..10 {
        client.query("DEALLOCATE ALL");
        client.query(&format!(
            "PREPARE again AS DELETE FROM scr.vv WHERE id = {number} + 1"
        ));
    }
    client.query(&format!("PREPARE long AS {long}"));
    client.query("PREPARE late AS DELETE FROM scr.vv WHERE id = 1");
    let swapped = client.query("CREATE OR REPLACE VIEW scr.vv AS SELECT id FROM safe.orders");
    assert_eq!(code(&swapped), "no error");
    std::thread::sleep(std::time::Duration::from_millis(1200)); // the catalog is read meanwhile
    for run in [
        "EXECUTE long",
        "EXECUTE late",
        "EXECUTE again",
        "EXPLAIN ANALYZE EXECUTE late",
    ] {
        assert_eq!(code(&client.query(run)), "42501", "{run}");
    }
    assert_eq!(under.postgres.sql("SELECT count(*) FROM safe.orders"), "200");
    // Under one name as often as one likes, as long as what it stands for can be told.
    let mut other = under.client();
    for _ in 0..20 {
        assert_eq!(code(&other.query("PREPARE s AS SELECT 1; ")), "no error");
        assert_eq!(code(&other.query("EXECUTE s")), "no error");
        other.query("DEALLOCATE s");
    }
}

#[test]
fn a_view_waits_for_what_a_text_prepares_and_runs() {
    let (under, mut client) = closed();
    client.query("CREATE TABLE scr.x1 (id int); CREATE VIEW scr.vv AS SELECT * FROM scr.x1");
    let mut other = under.client();
    client.send_bytes(
        &[
            query("SELECT pg_sleep(1)"),
            query("PREPARE s AS DELETE FROM scr.vv WHERE id = 1; EXECUTE s"),
        ]
        .concat(),
    );
    std::thread::sleep(std::time::Duration::from_millis(300));
    other.query("CREATE OR REPLACE VIEW scr.vv AS SELECT id FROM safe.orders");
    client.read_to_ready();
    client.read_to_ready();
    assert_eq!(under.postgres.sql("SELECT count(*) FROM safe.orders"), "200");
}

#[test]
fn event_triggers_are_triggers() {
    let (under, mut client) = closed();
    let policies = format!(
        "{POLICIES}\n@id(\"no-triggers\") forbid (principal, action, resource) when {{ context.fires_triggers }};
         @id(\"marker\") forbid (principal, action == Action::\"notify\", resource);"
    );
    under.reload(&policies, || {
        code(&under.client().query("NOTIFY marker")) == "42501"
    });
    assert_eq!(code(&client.query("CREATE TABLE scr.one (a int)")), "no error");
    under.postgres.sql(
        "CREATE FUNCTION adm.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM adm.told(7); END';
         CREATE EVENT TRIGGER told ON ddl_command_end EXECUTE FUNCTION adm.on_ddl()",
    );
    linegate_tests::eventually("the event trigger is known", || {
        (code(&client.query("CREATE TABLE IF NOT EXISTS scr.one (a int)")) == "42501").then_some(())
    });
}

#[test]
fn a_check_that_comes_later_counts_for_what_was_decided_before() {
    let (under, mut client) = closed();
    for _ in 0..2 {
        assert_eq!(code(&client.query("SELECT 1::scr.dom2")), "no error");
    }
    under
        .postgres
        .sql("ALTER DOMAIN scr.dom2 ADD CHECK (adm.told(value)) NOT VALID");
    assert_eq!(code(&client.query("CREATE TABLE scr.zz (a int)")), "no error"); // has the catalog read
    linegate_tests::eventually("the check is known", || {
        (code(&client.query("SELECT 1::scr.dom2")) == "42501").then_some(())
    });
}

#[test]
fn a_drop_waits_for_views_that_others_are_making() {
    let (under, mut client) = closed();
    client.query("CREATE TABLE scr.u (id int); CREATE VIEW scr.a3 AS SELECT 1 AS id");
    under
        .postgres
        .sql("CREATE VIEW safe.bv3 AS SELECT * FROM scr.a3; ALTER VIEW safe.bv3 OWNER TO app");
    let mut other = under.client();
    assert_eq!(code(&client.query("CREATE TABLE scr.seen (a int)")), "no error"); // has the catalog read
    std::thread::sleep(std::time::Duration::from_millis(1200));
    for step in ["BEGIN", "CREATE OR REPLACE VIEW scr.a3 AS SELECT id FROM scr.u"] {
        assert_eq!(code(&client.query(step)), "no error", "{step}");
    }
    assert_eq!(
        code(&other.query("SELECT * FROM scr.u")),
        "no error",
        "who reads does not wait"
    );
    other.send_query("DROP TABLE scr.u CASCADE");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(code(&client.query("COMMIT")), "no error");
    assert_eq!(code(&other.read_to_ready()), "42501");
    assert_eq!(under.postgres.sql("SELECT count(*) FROM safe.bv3"), "0");
}

#[test]
fn what_happens_to_a_parent_happens_to_what_was_made_its_child() {
    let (under, mut client) = closed();
    for (made, refused) in [
        ("ALTER TABLE scr.base INHERIT scr.np", "DROP TABLE scr.np CASCADE"),
        (
            "ALTER TABLE scr.npw ATTACH PARTITION scr.held DEFAULT",
            "ALTER TABLE scr.npw DROP COLUMN note",
        ),
    ] {
        // In a transaction, and on their own.
        all(&mut client, "42501", &[&format!("{made}; {refused}")]);
        client.query("BEGIN");
        assert_eq!(code(&client.query(made)), "no error", "{made}");
        assert_eq!(code(&client.query(refused)), "42501", "{refused}");
        client.query("ROLLBACK");
        assert_eq!(code(&client.query(made)), "no error", "{made}");
        assert_eq!(code(&client.query(refused)), "42501", "{refused}");
    }
    assert_eq!(under.postgres.sql("SELECT count(*) FROM safe.bv"), "0");
}

#[test]
fn a_table_that_another_session_gives_a_sequence_is_not_dropped_with_it() {
    let (under, mut client) = closed();
    let mut other = under.client();
    client.query("BEGIN");
    assert_eq!(
        code(&client.query("ALTER SEQUENCE scr.loose OWNED BY scr.lone.id")),
        "no error"
    );
    other.send_query("DROP TABLE scr.lone CASCADE");
    std::thread::sleep(std::time::Duration::from_millis(300));
    client.query("COMMIT");
    assert_ne!(code(&other.read_to_ready()), "no error");
    let default = "SELECT count(*) FROM pg_attrdef WHERE adrelid = 'safe.uses'::regclass";
    assert_eq!(under.postgres.sql(default), "1");
}

#[test]
fn portals_mean_what_their_names_mean_when_they_run() {
    let (under, mut client) = closed();
    let safe =
        "SELECT (SELECT count(*) FROM pg_views WHERE viewname = 'bv'), (SELECT count(*) FROM pg_attribute
                WHERE attrelid = 'scr.held'::regclass AND attname = 'note')";
    for (first, second) in [
        ("ALTER TABLE scr.base INHERIT scr.np", "DROP TABLE scr.np CASCADE"),
        (
            "ALTER TABLE scr.npw ATTACH PARTITION scr.held DEFAULT",
            "ALTER TABLE scr.npw DROP COLUMN note",
        ),
    ] {
        for swapped in [false, true] {
            let (one, two) = (
                [parse("s0", first), bind("p0", "s0", &[], 0)].concat(),
                [parse("s1", second), bind("p1", "s1", &[], 0)].concat(),
            );
            let bound = if swapped {
                [two, one].concat()
            } else {
                [one, two].concat()
            };
            let answer = say(&mut client, &[bound, execute("p0", 0), execute("p1", 0), sync()]);
            assert_eq!(code(&answer), "42501", "{second}, bound first: {swapped}");
            client.query("DEALLOCATE ALL");
        }
    }
    assert_eq!(under.postgres.sql(safe), "1|1");
    // In order, a migration's portals run.
    let steps = [
        "CREATE TABLE scr.m (a int, b int)",
        "ALTER TABLE scr.m DROP COLUMN b",
        "DROP TABLE scr.m",
    ];
    for step in steps {
        let answer = say(
            &mut client,
            &[parse("", step), bind("", "", &[], 0), execute("", 0), sync()],
        );
        assert_eq!(code(&answer), "no error", "{step}");
    }
}

#[test]
fn what_a_text_runs_by_name_means_what_its_names_mean_by_then() {
    let (under, mut client) = closed();
    under.postgres.sql(
        "SET ROLE app; CREATE TABLE scr.mine (id int, what text, person int); INSERT INTO scr.mine VALUES (1, 'a', 1);
         CREATE VIEW scr.lv AS SELECT * FROM scr.mine",
    );
    let orders = "SELECT count(*) FROM safe.orders WHERE what <> 'x'";
    let shows = "CREATE OR REPLACE VIEW scr.lv AS SELECT * FROM safe.orders";
    let change = "UPDATE scr.lv SET what = 'hacked'";
    let prepare = |client: &mut RawClient, name: &str, text: &str| {
        let prepared = say(client, &[parse(name, text), sync()]);
        assert_eq!(code(&prepared), "no error", "{text}");
    };
    assert_eq!(code(&client.query(&format!("PREPARE d AS {change}"))), "no error");
    prepare(&mut client, "e", "EXECUTE d");
    prepare(&mut client, "p", change);
    prepare(&mut client, "v", shows);
    prepare(&mut client, "sa", "ALTER TABLE scr.base INHERIT scr.np");
    prepare(&mut client, "sb", "DROP TABLE scr.np CASCADE");
    prepare(&mut client, "t", "CREATE TABLE newinsafe (a int)");
    prepare(&mut client, "to", "SET search_path = safe");
    prepare(&mut client, "l", "LOCK scr.lv");
    for text in [
        format!("{shows}; EXECUTE d"),
        format!("{shows}; EXECUTE e"),
        format!("{shows}; EXECUTE p"),
        format!("{shows}; EXECUTE l"),
        format!("{shows}; EXPLAIN ANALYZE EXECUTE d"),
        format!("PREPARE d2 AS {change}; {shows}; EXECUTE d2"),
        "EXECUTE v; EXECUTE d".to_owned(),
        "EXECUTE sa; EXECUTE sb".to_owned(),
        "EXECUTE sa; DROP TABLE scr.np CASCADE".to_owned(),
        "ALTER TABLE scr.base INHERIT scr.np; EXECUTE sb".to_owned(),
        "SET search_path = safe; EXECUTE t".to_owned(),
        "SELECT set_config('search_path', 'safe', false); EXECUTE t".to_owned(),
        "EXECUTE to; CREATE TABLE newinsafe2 (a int)".to_owned(),
    ] {
        for within in ["", "BEGIN; "] {
            let text = format!("{within}{text}");
            assert_eq!(code(&client.query(&text)), "42501", "{text}");
            client.query("ROLLBACK");
        }
    }
    assert_eq!(under.postgres.sql(orders), "0");
    let safe = "SELECT count(*), (SELECT count(*) FROM pg_views WHERE viewname = 'bv') FROM pg_class
                 WHERE relname LIKE 'newinsafe%'";
    assert_eq!(under.postgres.sql(safe), "0|1");
    // An argument moves the path before what it is an argument of runs.
    let declared = say(
        &mut client,
        &[parse_typed("s", "CREATE TABLE newinsafe3 (a int)", &[25]), sync()],
    );
    assert_eq!(code(&declared), "no error");
    for text in [
        "EXECUTE s(set_config('search_path', 'safe', true))",
        "EXPLAIN ANALYZE EXECUTE s(set_config('search_path', 'safe', true))",
    ] {
        assert_eq!(code(&client.query(text)), "42501", "{text}");
    }
    assert_eq!(under.postgres.sql(safe), "0|1");
    // What leads nowhere runs.
    let mut client = under.client();
    assert_eq!(code(&client.query(&format!("PREPARE d AS {change}"))), "no error");
    prepare(&mut client, "p", change);
    for text in [
        "EXECUTE d; EXECUTE d",
        "BEGIN; EXECUTE d; COMMIT",
        "EXECUTE p; SELECT 1",
    ] {
        assert_eq!(code(&client.query(text)), "no error", "{text}");
    }
}

#[test]
fn views_that_lock_rows_are_asked_about_what_they_lock() {
    let (under, mut client) = closed();
    under.postgres.sql(
        "SET ROLE app; CREATE TABLE scr.mine (id int, what text, person int);
         CREATE VIEW scr.va AS SELECT id, what, person FROM scr.mine;
         CREATE VIEW scr.vb AS SELECT * FROM scr.va FOR UPDATE;
         CREATE VIEW scr.vs AS SELECT id FROM safe.orders FOR SHARE; CREATE VIEW scr.vss AS SELECT * FROM scr.vs",
    );
    std::thread::sleep(std::time::Duration::from_millis(1200)); // the catalog is read meanwhile
    let shows = "CREATE OR REPLACE VIEW scr.va AS SELECT id, what, person FROM safe.orders";
    let inner = "CREATE VIEW scr.vc AS SELECT * FROM scr.va FOR UPDATE";
    for text in ["SELECT count(*) FROM scr.vs", "SELECT count(*) FROM scr.vss"] {
        assert_eq!(code(&client.query(text)), "42501", "{text}");
    }
    assert_eq!(code(&client.query("SELECT count(*) FROM scr.vb")), "no error");
    // What is no such view may go by another name.
    client.query("BEGIN");
    for step in [
        "ALTER TABLE scr.np RENAME TO np_old",
        "SELECT count(*) FROM scr.np_old",
    ] {
        assert_eq!(code(&client.query(step)), "no error", "{step}");
    }
    client.query("ROLLBACK");
    for steps in [
        &[shows, "SELECT count(*) FROM scr.vb"][..],
        &[inner, shows, "SELECT count(*) FROM scr.vc"],
    ] {
        let (last, first) = steps.split_last().expect("steps");
        client.query("BEGIN");
        for step in first {
            assert_eq!(code(&client.query(step)), "no error", "{step}");
        }
        assert_eq!(code(&client.query(last)), "42501", "{last}");
        client.query("ROLLBACK");
        let text = steps.join("; ");
        assert_eq!(code(&client.query(&text)), "42501", "{text}");
    }
    // By another name, and by REFRESH.
    let kept = "CREATE MATERIALIZED VIEW scr.vm AS SELECT * FROM scr.va FOR UPDATE";
    for steps in [
        &[
            "ALTER VIEW scr.vb RENAME TO vz",
            shows,
            "SELECT count(*) FROM scr.vz",
        ][..],
        &[
            shows,
            "ALTER VIEW scr.vb SET SCHEMA lone",
            "SELECT count(*) FROM lone.vb",
        ],
        &[
            shows,
            "ALTER TABLE scr.vb RENAME TO vz",
            "SELECT count(*) FROM scr.vz",
        ],
        &[kept, shows, "REFRESH MATERIALIZED VIEW scr.vm"],
    ] {
        let (last, first) = steps.split_last().expect("steps");
        client.query("BEGIN");
        for step in first {
            assert_eq!(code(&client.query(step)), "no error", "{step}");
        }
        assert_eq!(code(&client.query(last)), "42501", "{steps:?}");
        client.query("ROLLBACK");
        let text = steps.join("; ");
        assert_eq!(code(&client.query(&text)), "42501", "{text}");
    }
    assert_eq!(code(&client.query(kept)), "no error");
    assert_eq!(
        code(&client.query("REFRESH MATERIALIZED VIEW scr.vm")),
        "no error"
    );
    assert_eq!(code(&client.query(shows)), "no error");
    assert_eq!(code(&client.query("REFRESH MATERIALIZED VIEW scr.vm")), "42501");
    assert_eq!(code(&client.query("DROP MATERIALIZED VIEW scr.vm")), "no error");
    assert_eq!(code(&client.query("SELECT count(*) FROM scr.vb")), "42501");
    let locked = "SELECT count(*) FROM safe.orders WHERE xmax <> 0";
    assert_eq!(under.postgres.sql(locked), "0");
}

#[test]
fn a_locking_view_that_the_transaction_made_is_known_by_its_next_name() {
    let (under, mut client) = closed();
    under.postgres.sql(
        "SET ROLE app; CREATE TABLE scr.mine (id int, what text, person int);
         CREATE VIEW scr.va AS SELECT id, what, person FROM scr.mine;
         CREATE VIEW scr.vc AS SELECT * FROM scr.va; CREATE VIEW scr.vd AS SELECT * FROM scr.vc;
         CREATE MATERIALIZED VIEW scr.vm AS SELECT * FROM scr.vc",
    );
    std::thread::sleep(std::time::Duration::from_millis(1200)); // the catalog is read meanwhile
    let inner = "CREATE OR REPLACE VIEW scr.vc AS SELECT * FROM scr.va FOR UPDATE";
    let made = "CREATE VIEW scr.vb AS SELECT * FROM scr.va FOR UPDATE";
    let shows = "CREATE OR REPLACE VIEW scr.va AS SELECT id, what, person FROM safe.orders";
    for steps in [
        &[
            made,
            "ALTER VIEW scr.vb RENAME TO vz; CREATE OR REPLACE VIEW scr.va AS SELECT id, what, person FROM safe.orders;
             SELECT count(*) FROM scr.vz",
        ][..],
        &[made, shows, "ALTER VIEW scr.vb RENAME TO vz; SELECT count(*) FROM scr.vz"],
        &[made, "ALTER VIEW scr.vb RENAME TO vz", shows, "SELECT count(*) FROM scr.vz"],
        &[inner, shows, "SELECT count(*) FROM scr.vd"],
        &[inner, shows, "REFRESH MATERIALIZED VIEW scr.vm"],
        &[inner, shows, "DECLARE c CURSOR FOR SELECT * FROM scr.vd"],
    ] {
        let (last, first) = steps.split_last().expect("steps");
        client.query("BEGIN");
        for step in first {
            assert_eq!(code(&client.query(step)), "no error", "{step}");
        }
        assert_eq!(code(&client.query(last)), "42501", "{steps:?}");
        client.query("ROLLBACK");
    }
}

#[test]
fn materialized_views_of_closed_tables_are_their_owners() {
    let (_under, mut client) = closed();
    for text in [
        "MERGE INTO scr.w USING safe.orders o ON o.id = w.id WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT VALUES (o.id, o.what)",
        "CREATE MATERIALIZED VIEW scr.mv AS SELECT * FROM safe.orders",
        "REFRESH MATERIALIZED VIEW scr.mv",
        "ANALYZE scr.mv",
        "ALTER MATERIALIZED VIEW scr.mv RENAME TO mv2",
        "DROP MATERIALIZED VIEW scr.mv2",
    ] {
        assert_eq!(code(&client.query(text)), "no error", "{text}");
    }
}

#[test]
fn what_belongs_to_the_server_is_none_of_a_definition() {
    let options = Options {
        policies: POLICIES.to_owned()
            + "@id(\"servers\") forbid (principal, action in [Action::\"server\", Action::\"role\"], resource);",
        ..Options::default()
    };
    let under = behind(options, FIXTURE);
    let mut client = under.client();
    for text in [
        "REINDEX SCHEMA pg_catalog",
        "REINDEX SCHEMA information_schema",
        "COMMENT ON ROLE app IS 'x'",
        "COMMENT ON DATABASE shop IS 'x'",
        "COMMENT ON EXTENSION plpgsql IS 'x'",
        "COMMENT ON TABLESPACE pg_default IS 'x'",
    ] {
        assert_eq!(code(&client.query(text)), "42501", "{text}");
    }
    assert_eq!(code(&client.query("COMMENT ON TABLE scr.w IS 'x'")), "no error");
}
