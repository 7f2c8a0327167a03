//! What is locked along: rows behind views that say FOR UPDATE, the server's own relations, names that others hold.

use linegate_tests::Options;
use linegate_tests::under::{behind, code};

use super::{FIXTURE, POLICIES, closed, refused_at_last, settle};

#[test]
fn views_that_lock_rows_are_asked_about_what_they_lock() {
    let (under, mut client) = closed();
    under.postgres.sql(
        "SET ROLE app; CREATE TABLE scr.mine (id int, what text, person int);
         CREATE VIEW scr.va AS SELECT id, what, person FROM scr.mine;
         CREATE VIEW scr.vb AS SELECT * FROM scr.va FOR UPDATE;
         CREATE VIEW scr.vs AS SELECT id FROM safe.orders FOR SHARE; CREATE VIEW scr.vss AS SELECT * FROM scr.vs",
    );
    settle(&under);
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
        refused_at_last(&mut client, steps);
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
        refused_at_last(&mut client, steps);
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
    settle(&under);
    let inner = "CREATE OR REPLACE VIEW scr.vc AS SELECT * FROM scr.va FOR UPDATE";
    let made = "CREATE VIEW scr.vb AS SELECT * FROM scr.va FOR UPDATE";
    let over = "CREATE VIEW scr.vn AS SELECT * FROM scr.vc";
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
        // What came to stand over it before it locked, and by what names.
        &[over, inner, shows, "SELECT count(*) FROM scr.vn"],
        &["CREATE TABLE scr.vn (id int); DROP TABLE scr.vn", over, inner, shows, "SELECT count(*) FROM scr.vn"],
        &[
            "CREATE MATERIALIZED VIEW scr.vo AS SELECT * FROM scr.vc WITH NO DATA",
            inner,
            shows,
            "REFRESH MATERIALIZED VIEW scr.vo",
        ],
        &[over, "CREATE VIEW scr.vo AS SELECT * FROM scr.vn", inner, shows, "SELECT count(*) FROM scr.vo"],
        &["ALTER VIEW scr.vd RENAME TO ve", inner, shows, "SELECT count(*) FROM scr.ve"],
        &[inner, shows, "ALTER VIEW scr.vd RENAME TO ve", "SELECT count(*) FROM scr.ve"],
        &[inner, shows, "ALTER VIEW scr.vd RENAME TO ve; SELECT count(*) FROM scr.ve"],
        &[inner, shows, "ALTER VIEW scr.vd SET SCHEMA lone", "SELECT count(*) FROM lone.vd"],
        &[
            "ALTER MATERIALIZED VIEW scr.vm RENAME TO vo",
            inner,
            shows,
            "REFRESH MATERIALIZED VIEW scr.vo",
        ],
        &["CREATE TEMP VIEW vn AS SELECT * FROM scr.vc", inner],
    ] {
        refused_at_last(&mut client, steps);
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
#[test]
fn a_drop_waits_for_views_that_others_are_making() {
    let (under, mut client) = closed();
    client.query("CREATE TABLE scr.u (id int); CREATE VIEW scr.a3 AS SELECT 1 AS id");
    under
        .postgres
        .sql("CREATE VIEW safe.bv3 AS SELECT * FROM scr.a3; ALTER VIEW safe.bv3 OWNER TO app");
    let mut other = under.client();
    assert_eq!(code(&client.query("CREATE TABLE scr.seen (a int)")), "no error"); // has the catalog read
    settle(&under);
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
