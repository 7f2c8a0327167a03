//! What runs by name: prepared statements and portals mean what their names mean when they run.

use linegate_tests::under::{code, query, say};
use linegate_tests::wire::{bind, execute, parse, parse_typed, sync};
use linegate_tests::{RawClient, eventually};

use super::{closed, refused_at_last, settle};

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
    settle(&under);
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
fn what_a_text_makes_and_takes_away_leaves_its_name_to_others() {
    let (under, mut client) = closed();
    under.postgres.sql(
        "CREATE TABLE public.par (id int PRIMARY KEY);
         ALTER TABLE public.par OWNER TO app; INSERT INTO public.par SELECT generate_series(1, 9);
         CREATE TABLE safe.kid (p int REFERENCES public.par ON DELETE CASCADE); ALTER TABLE safe.kid OWNER TO app;
         INSERT INTO safe.kid SELECT generate_series(1, 9); SET ROLE app; CREATE TABLE scr.target (id int PRIMARY KEY);
         INSERT INTO scr.target SELECT generate_series(1, 9)",
    );
    settle(&under);
    let key = "ALTER TABLE par ADD FOREIGN KEY (id) REFERENCES scr.target ON DELETE CASCADE";
    for makes in [
        &["CREATE TABLE par (id int PRIMARY KEY); DROP TABLE par"][..],
        &["SAVEPOINT a; CREATE TABLE par (id int PRIMARY KEY); ROLLBACK TO a"],
        &["CREATE TABLE par (id int PRIMARY KEY); ALTER TABLE par RENAME TO other"],
        &["CREATE TABLE par (id int PRIMARY KEY); ALTER TABLE par SET SCHEMA scr"],
    ] {
        client.query("BEGIN");
        for step in makes.iter().chain([&key]) {
            assert_eq!(code(&client.query(step)), "no error", "{step}");
        }
        let deleted = code(&client.query("DELETE FROM scr.target WHERE id < 4"));
        client.query("ROLLBACK");
        assert_eq!(deleted, "42501", "{makes:?}");
    }
    client.query("BEGIN");
    let (made, again) = (
        "CREATE TABLE par (id int PRIMARY KEY)",
        format!("DROP TABLE par; {key}"),
    );
    for step in [made, &again] {
        assert_eq!(code(&client.query(step)), "no error", "{step}");
    }
    assert_eq!(
        code(&client.query("DELETE FROM scr.target WHERE id < 4")),
        "42501"
    );
    client.query("ROLLBACK");
    // One that is not made, since there is one, before anybody has heard so.
    let series = |texts: &[&str]| {
        let each = texts
            .iter()
            .flat_map(|text| [parse("", text), bind("", "", &[], 0), execute("", 0)]);
        each.chain([sync()]).collect::<Vec<_>>().concat()
    };
    let (fails, deletes) = (
        "CREATE TABLE public.par (id int)",
        "DELETE FROM scr.target WHERE id < 4",
    );
    client.send_bytes(&[series(&[fails]), series(&[key, deletes])].concat());
    assert_eq!(code(&client.read_to_ready()), "42P07");
    assert_eq!(code(&client.read_to_ready()), "42501");
    assert_eq!(under.postgres.sql("SELECT count(*) FROM safe.kid"), "9");
    // One that linegate refuses to make, while others use its parent.
    for step in [
        "CREATE TABLE scr.wide (id int)",
        "CREATE VIEW scr.seen AS SELECT * FROM scr.wide",
    ] {
        assert_eq!(code(&client.query(step)), "no error");
    }
    settle(&under);
    let mut other = under.client();
    other.send_query("SELECT pg_sleep(8), count(*) FROM scr.seen");
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    eventually("the other's statement runs", || {
        (under.postgres.sql(sleeps) == "1").then_some(())
    });
    client.query("BEGIN");
    let below = "CREATE TABLE public.par (id int) INHERITS (scr.wide)";
    let made = say(
        &mut client,
        &[parse("", below), bind("", "", &[], 0), execute("", 0), sync()],
    );
    assert_eq!(code(&made), "55P03");
    assert_eq!(code(&other.read_to_ready()), "no error");
    let key = key.replace(" par ", " public.par ");
    assert_eq!(code(&client.query(&key)), "no error");
    assert_eq!(code(&client.query(deletes)), "42501");
    client.query("ROLLBACK");
    // A table that stays is the transaction's own.
    client.query("BEGIN");
    for step in [
        "CREATE TABLE scr.mine (id int PRIMARY KEY)",
        "ALTER TABLE scr.mine ADD FOREIGN KEY (id) REFERENCES scr.target ON DELETE CASCADE",
        "DELETE FROM scr.target WHERE id < 4",
    ] {
        assert_eq!(code(&client.query(step)), "no error", "{step}");
    }
    client.query("ROLLBACK");
}

#[test]
fn what_stands_between_in_the_open_transaction_is_gone_through() {
    let (under, mut client) = closed();
    under.postgres.sql(
        "SET ROLE app; CREATE TABLE scr.par (id int PRIMARY KEY); INSERT INTO scr.par SELECT generate_series(1, 9);
         CREATE TABLE safe.kid (p int REFERENCES scr.par ON DELETE CASCADE);
         INSERT INTO safe.kid SELECT generate_series(1, 9); CREATE TABLE scr.target (id int PRIMARY KEY);
         INSERT INTO scr.target SELECT generate_series(1, 9); CREATE VIEW safe.shows AS SELECT id FROM scr.par;
         CREATE VIEW scr.va AS SELECT id FROM scr.par; CREATE VIEW safe.va AS SELECT * FROM scr.va",
    );
    settle(&under);
    let middle = "CREATE TABLE scr.nx (id int PRIMARY KEY REFERENCES scr.target ON DELETE CASCADE)";
    let onto = "ALTER TABLE scr.par ADD FOREIGN KEY (id) REFERENCES scr.nx ON DELETE CASCADE";
    let filled = "INSERT INTO scr.nx SELECT generate_series(1, 9)";
    let deletes = "DELETE FROM scr.target WHERE id < 4";
    for steps in [
        &[middle, filled, onto, deletes][..],
        &[
            "CREATE TABLE scr.nx (id int PRIMARY KEY)",
            filled,
            onto,
            "ALTER TABLE scr.nx ADD FOREIGN KEY (id) REFERENCES scr.target ON DELETE CASCADE",
            deletes,
        ],
        &[middle, filled, onto, "TRUNCATE scr.target CASCADE"],
        &[
            "CREATE TABLE scr.top (id int)",
            "CREATE TABLE scr.between () INHERITS (scr.top)",
            "ALTER TABLE scr.par INHERIT scr.between",
            "DROP TABLE scr.top CASCADE",
        ],
        &[
            "CREATE MATERIALIZED VIEW scr.mv AS SELECT id FROM scr.target",
            "CREATE OR REPLACE VIEW scr.va AS SELECT id FROM scr.mv",
            "DROP TABLE scr.target CASCADE",
        ],
        &[
            "PREPARE p AS SELECT 1",
            "EXECUTE p",
            "ALTER TABLE scr.par ADD FOREIGN KEY (id) REFERENCES scr.target ON DELETE CASCADE",
            deletes,
        ],
    ] {
        // Of one name, both have been prepared.
        let both = [parse("p", "CREATE TABLE scr.par (id int PRIMARY KEY)"), sync()];
        assert_eq!(code(&say(&mut client, &both)), "no error");
        client.query("DEALLOCATE p");
        refused_at_last(&mut client, steps);
        client.query("DEALLOCATE ALL");
    }
}
