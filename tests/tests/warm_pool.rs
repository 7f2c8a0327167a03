//! Warm server connections: who follows whom on one, what is forgotten in between, and when one is closed instead.

use std::time::Duration;

use linegate_tests::shop::CARDS;
use linegate_tests::wire::{self, error_of, rows};
use linegate_tests::{Lease, Linegate, Options, Postgres, RawClient, eventually};

/// A linegate whose target has these settings more.
fn start(postgres: &Postgres, settings: &str) -> Linegate {
    let options = Options {
        target: settings.to_owned(),
        ..Options::default()
    };
    Linegate::start_with(postgres, options)
}

/// The server process behind a session, by the key that it came with.
fn pid(client: &RawClient) -> u32 {
    let [a, b, c, d, ..] = client.key.expect("BackendKeyData came");
    u32::from_be_bytes([a, b, c, d])
}

fn says_goodbye(client: &mut RawClient) {
    client.send(b'X', &[]);
    client.read_to_end();
}

/// The client leaves, and its server process has nobody.
fn leaves(client: &mut RawClient, postgres: &Postgres) -> u32 {
    let pid = pid(client);
    says_goodbye(client);
    is_parked(postgres, pid);
    pid
}

/// The client leaves, and its server process with it.
fn leaves_for_good(client: &mut RawClient, postgres: &Postgres) -> u32 {
    let pid = pid(client);
    says_goodbye(client);
    is_gone(postgres, pid);
    pid
}

fn is_parked(postgres: &Postgres, pid: u32) {
    eventually("the server has forgotten the session", || {
        let last = postgres.sql(&format!(
            "SELECT query FROM pg_stat_activity WHERE pid = {pid} AND state = 'idle'"
        ));
        last.starts_with("SELECT COALESCE(pg_catalog.current_setting")
            .then_some(())
    });
    std::thread::sleep(Duration::from_millis(50)); // linegate hears it a moment later
}

fn is_gone(postgres: &Postgres, pid: u32) {
    eventually("the server process has ended", || {
        let left = postgres.sql(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"
        ));
        (left == "0").then_some(())
    });
}

fn one(client: &mut RawClient, sql: &str) -> String {
    let answer = client.query(sql);
    let mut found = rows(&answer).into_iter().flatten();
    found
        .next()
        .unwrap_or_else(|| panic!("{sql}: {:?}", error_of(&answer)))
}

fn good(client: &mut RawClient, sql: &str) {
    let answer = client.query(sql);
    assert_eq!(error_of(&answer), None, "{sql}");
}

fn dba(linegate: &Linegate) -> Lease {
    linegate.lease("user:dba", &[], "all")
}

#[test]
fn sessions_of_one_lease_follow_each_other_on_one_connection() {
    let postgres = Postgres::start();
    let linegate = start(&postgres, "warm_pool = 4");
    let lease = dba(&linegate);
    let mut client = linegate.client(&lease);
    let first = pid(&client);
    let key = client.key;
    good(&mut client, "SELECT 1");
    leaves(&mut client, &postgres);
    for _ in 0..3 {
        let mut client = linegate.client(&lease);
        assert_eq!(pid(&client), first);
        assert_ne!(client.key, key, "a key of its own");
        assert_eq!(one(&mut client, "SELECT pg_backend_pid()"), first.to_string());
        leaves(&mut client, &postgres);
    }
    // Closing the connection is as good as saying goodbye.
    let mut client = linegate.client(&lease);
    client.say_no_more();
    client.read_to_end();
    is_parked(&postgres, first);
    let (one, two) = (linegate.client(&lease), linegate.client(&lease));
    assert_eq!(pid(&one), first);
    assert_ne!(pid(&two), first, "one session each");
}

#[test]
fn without_the_setting_nothing_waits() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = dba(&linegate);
    leaves_for_good(&mut linegate.client(&lease), &postgres);
}

#[test]
fn nothing_of_a_session_is_left_to_the_next() {
    let postgres = Postgres::start();
    postgres.sql("CREATE ROLE other; GRANT other TO app");
    let linegate = start(&postgres, "warm_pool = 4");
    let lease = dba(&linegate);
    let shown = [
        "search_path",
        "statement_timeout",
        "TimeZone",
        "role",
        "application_name",
    ];
    let mut client = linegate.client(&lease);
    let before = shown.map(|name| one(&mut client, &format!("SHOW {name}")));
    for sql in [
        "SET search_path = app",
        "SET statement_timeout = 12345",
        "SET TimeZone = 'Asia/Tokyo'",
        "SET application_name = 'somebody else'",
        "SET DateStyle = 'German'",
        "PREPARE by_sql AS SELECT 1",
        "CREATE TEMP TABLE left_over (id serial)",
        "INSERT INTO left_over DEFAULT VALUES",
        "LISTEN news",
        "SELECT pg_advisory_lock(7)",
        "DECLARE kept CURSOR WITH HOLD FOR SELECT 1",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET ROLE other",
    ] {
        good(&mut client, sql);
    }
    client.send_bytes(&[wire::parse("by_name", "SELECT 2"), wire::sync()].concat());
    client.read_to_ready();
    let first = leaves(&mut client, &postgres);

    let mut client = linegate.client(&lease);
    assert_eq!(pid(&client), first, "it is the same server process");
    let after = shown.map(|name| one(&mut client, &format!("SHOW {name}")));
    assert_eq!(after, before);
    for (sql, expected) in [
        ("SELECT current_user || ' ' || session_user", "app app"),
        ("SELECT count(*) FROM pg_prepared_statements", "0"),
        ("SELECT count(*) FROM pg_cursors WHERE name <> ''", "0"),
        ("SELECT to_regclass('left_over') IS NULL", "t"),
        ("SELECT count(*) FROM pg_listening_channels()", "0"),
        ("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0"),
        ("SHOW default_transaction_read_only", "off"),
        ("SHOW DateStyle", "ISO, MDY"),
    ] {
        assert_eq!(one(&mut client, sql), expected, "{sql}");
    }
    let last = error_of(&client.query("SELECT lastval()")).expect("no sequence was used");
    assert_eq!(last.0, "55000");
}

#[test]
fn the_role_of_the_login_comes_back() {
    let postgres = Postgres::start();
    postgres.sql("CREATE ROLE other; GRANT other TO app; ALTER ROLE app IN DATABASE shop SET role = 'other'");
    let linegate = start(&postgres, "warm_pool = 4");
    let lease = dba(&linegate);
    let mut first = None;
    for sql in ["SET ROLE app", "RESET ALL", "SET SESSION AUTHORIZATION DEFAULT"] {
        let mut client = linegate.client(&lease);
        assert_eq!(*first.get_or_insert(pid(&client)), pid(&client));
        assert_eq!(one(&mut client, "SELECT current_user"), "other");
        good(&mut client, sql);
        leaves(&mut client, &postgres);
    }
}

#[test]
fn what_a_reset_does_not_undo_ends_with_its_session() {
    let postgres = Postgres::start();
    let linegate = start(&postgres, "warm_pool = 4");
    let lease = dba(&linegate);
    for sql in [
        "SET app.tenant = '7'",
        "SELECT set_config('app.tenant', '7', false)",
        "SELECT setseed(0.5)",
        "SET seed = 0.5",
        "UPDATE pg_settings SET setting = '7' WHERE name = 'app.tenant'",
        "LOAD 'auto_explain'",
        "SELECT pg_backup_start('x', true)",
        "BEGIN; SELECT 1",
        "this is no SQL",
    ] {
        let mut client = linegate.client(&lease);
        client.query(sql);
        leaves_for_good(&mut client, &postgres);
    }
    let mut client = linegate.client(&lease);
    client.send_bytes(&[wire::parse("", "SELECT 1"), wire::framed(b'H', &[])].concat());
    client.read_to(b'1');
    leaves_for_good(&mut client, &postgres);
    // One that goes in the middle of an answer.
    let mut client = linegate.client(&lease);
    let left = pid(&client);
    client.send_query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)");
    client.read_to(b'D');
    drop(client);
    is_gone(&postgres, left);
    let mut client = linegate.client(&lease);
    good(&mut client, "SELECT 1");
    leaves(&mut client, &postgres);
}

#[test]
fn where_each_login_or_idling_counts_nothing_waits() {
    let postgres = Postgres::start();
    let linegate = start(&postgres, "warm_pool = 4");
    let lease = dba(&linegate);
    leaves(&mut linegate.client(&lease), &postgres);
    postgres.sql("ALTER SYSTEM SET idle_session_timeout = '1min'");
    postgres.sql("SELECT pg_reload_conf()");
    eventually("new sessions idle for a minute at most", || {
        (postgres.sql("SHOW idle_session_timeout") == "1min").then_some(())
    });
    leaves_for_good(&mut linegate.client(&lease), &postgres);
    postgres.sql("ALTER SYSTEM RESET idle_session_timeout");
    postgres.sql("SELECT pg_reload_conf()");
    eventually("they may idle again", || {
        (postgres.sql("SHOW idle_session_timeout") == "0").then_some(())
    });
    leaves(&mut linegate.client(&lease), &postgres);
    let version: u32 = postgres.sql("SHOW server_version_num").parse().expect("a number");
    if version >= 170_000 {
        postgres.sql(
            "CREATE FUNCTION public.welcome() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NULL; END'; \
             CREATE EVENT TRIGGER welcome ON login EXECUTE FUNCTION public.welcome()",
        );
        leaves_for_good(&mut linegate.client(&lease), &postgres);
    }
}

#[test]
fn others_get_connections_of_their_own() {
    let postgres = Postgres::start();
    let linegate = start(&postgres, "warm_pool = 8");
    let lease = linegate.lease("workload:ci-runner", &[], "all");
    let ours = leaves(&mut linegate.client(&lease), &postgres);
    let another = linegate.lease("workload:ci-runner", &[], "all");
    let derived = linegate.derive(&lease, "build", "all");
    for other in [&another, &derived, &dba(&linegate)] {
        let client = linegate.client(other);
        assert_ne!(pid(&client), ours, "{}", other.chain);
    }
    assert_eq!(pid(&linegate.client(&lease)), ours);

    let asked = |zone: Option<&str>| {
        let mut command = linegate.psql_command(&lease);
        if let Some(zone) = zone {
            command.env("PGTZ", zone);
        }
        let said = linegate_tests::Said::by(command.args(["-qAt", "-c", "SELECT pg_backend_pid()"]));
        let pid = said.good().out.trim().parse().expect("a process id");
        is_parked(&postgres, pid);
        pid
    };
    let (plain, tokyo): (u32, u32) = (asked(None), asked(Some("Asia/Tokyo")));
    assert_ne!(plain, tokyo, "another startup setting");
    assert_eq!((asked(Some("Asia/Tokyo")), asked(None)), (tokyo, plain));
}

#[test]
fn a_principals_leases_may_share() {
    let postgres = Postgres::start();
    let linegate = start(&postgres, "warm_pool = 4\nwarm_pool_share = 'principal'");
    let job = linegate.lease("workload:ci-runner", &[], "all");
    let build = linegate.derive(&job, "build", "all");
    let ours = leaves(&mut linegate.client(&job), &postgres);
    let mut client = linegate.client(&build);
    assert_eq!(pid(&client), ours);
    let name = one(&mut client, "SHOW application_name");
    assert!(name.contains(&build.id), "it goes by the lease's name: {name}");
    let seen = postgres.sql(&format!(
        "SELECT application_name FROM pg_stat_activity WHERE pid = {ours}"
    ));
    assert_eq!(seen, name);
    leaves(&mut client, &postgres);
    let other = linegate.client(&dba(&linegate));
    assert_ne!(pid(&other), ours, "another principal");
    // What cannot be looked into is nobody else's.
    let lease = dba(&linegate);
    let mut client = linegate.client(&lease);
    good(&mut client, "DO $$ BEGIN NULL; END $$");
    leaves_for_good(&mut client, &postgres);
}

#[test]
fn a_lease_keeps_what_cannot_be_looked_into_to_itself() {
    let postgres = Postgres::start();
    let linegate = start(&postgres, "warm_pool = 4");
    let lease = dba(&linegate);
    let mut client = linegate.client(&lease);
    good(&mut client, "DO $$ BEGIN NULL; END $$");
    let ours = leaves(&mut client, &postgres);
    assert_eq!(pid(&linegate.client(&lease)), ours);
}

#[test]
fn the_end_of_a_lease_closes_what_waits_for_it() {
    let postgres = Postgres::start();
    let linegate = start(&postgres, "warm_pool = 4");
    let job = linegate.lease("workload:ci-runner", &[], "all");
    let build = linegate.derive(&job, "build", "all");
    let ours = leaves(&mut linegate.client(&build), &postgres);
    linegate
        .cli(&["lease", "revoke", &job.id, "--by", "user:oncall"])
        .good();
    is_gone(&postgres, ours);
    let short = linegate.lease_for("workload:ci-runner", &[], "all", "5s");
    let ours = leaves(&mut linegate.client(&short), &postgres);
    is_gone(&postgres, ours);
}

#[test]
fn what_the_server_has_closed_is_handed_to_nobody() {
    let mut postgres = Postgres::start();
    let linegate = start(&postgres, "warm_pool = 4");
    let lease = dba(&linegate);
    let ours = leaves(&mut linegate.client(&lease), &postgres);
    postgres.sql(&format!("SELECT pg_terminate_backend({ours})"));
    is_gone(&postgres, ours);
    let mut client = linegate.client(&lease);
    assert_ne!(pid(&client), ours);
    assert_eq!(one(&mut client, "SELECT 'served'"), "served");
    leaves(&mut client, &postgres);
    postgres.crash();
    postgres.start_again();
    let mut client = linegate.client(&lease);
    assert_eq!(one(&mut client, "SELECT 'served'"), "served");
    leaves(&mut client, &postgres);
    linegate.assert_unharmed();
}

#[test]
fn a_key_of_the_session_before_cancels_nothing() {
    let postgres = Postgres::start();
    let linegate = start(&postgres, "warm_pool = 4");
    let lease = dba(&linegate);
    let mut before = linegate.client(&lease);
    let ours = leaves(&mut before, &postgres);
    let mut client = linegate.client(&lease);
    assert_eq!(pid(&client), ours);
    client.send_query("SELECT pg_sleep(20)");
    eventually("it runs", || {
        let running = postgres.sql(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = {ours} AND query LIKE '%sleep(20)%' AND state = 'active'"
        ));
        (running == "1").then_some(())
    });
    before.cancel(linegate.port());
    assert!(
        client.is_quiet_for(Duration::from_millis(700)),
        "the old key did something"
    );
    client.cancel(linegate.port());
    let cancelled = error_of(&client.read_to_ready()).expect("it was cancelled");
    assert_eq!(cancelled.0, "57014");
    // As libpq does, the client waits until its request is closed: behind one on its way nothing would be parked.
    std::thread::sleep(Duration::from_millis(300));
    leaves(&mut client, &postgres);
    let mut client = linegate.client(&lease);
    assert_eq!(pid(&client), ours);
    for _ in 0..20 {
        good(&mut client, "SELECT 1");
    }
}

#[test]
fn no_more_wait_than_may_and_no_longer() {
    let postgres = Postgres::start();
    let linegate = start(&postgres, "warm_pool = 1\nwarm_pool_seconds = 4");
    let lease = dba(&linegate);
    let (mut older, mut newer) = (linegate.client(&lease), linegate.client(&lease));
    let older = leaves(&mut older, &postgres);
    let newer = leaves(&mut newer, &postgres);
    is_gone(&postgres, older);
    assert_eq!(pid(&linegate.client(&lease)), newer);
    is_parked(&postgres, newer);
    is_gone(&postgres, newer);
}

#[test]
fn what_waits_makes_room_where_the_server_has_none() {
    let postgres = Postgres::start_with(&["max_connections=9"]);
    let linegate = start(&postgres, "warm_pool = 8");
    let (one, two) = (dba(&linegate), dba(&linegate));
    let four = |lease: &Lease| [(); 4].map(|()| linegate.client(lease));
    let left = four(&one).map(|mut client| leaves(&mut client, &postgres));
    let mut clients = four(&two);
    for client in &mut clients {
        assert!(!left.contains(&pid(client)));
        good(client, "SELECT 1");
    }
}

#[test]
fn masks_hold_on_a_connection_that_served_before() {
    let postgres = Postgres::start();
    let linegate = start(&postgres, "warm_pool = 4");
    let lease = linegate.lease("workload:ci-runner", &["migrate"], "all");
    let mut first = None;
    for _ in 0..3 {
        let mut client = linegate.client(&lease);
        assert_eq!(*first.get_or_insert(pid(&client)), pid(&client));
        let answer = client.query("SELECT id, card_number FROM app.customers ORDER BY id");
        let seen = rows(&answer);
        assert_eq!(seen.len(), 3);
        for (row, raw) in seen.iter().zip(CARDS) {
            assert!(
                row[1] != raw && row[1].ends_with(&raw[raw.len() - 4..]),
                "{row:?}"
            );
        }
        leaves(&mut client, &postgres);
    }
}

#[test]
fn connections_under_tls_wait_as_well() {
    let postgres = Postgres::start_tls();
    let options = Options {
        backend_tls: "require",
        target: "warm_pool = 4".to_owned(),
        ..Options::default()
    };
    let linegate = Linegate::start_with(&postgres, options);
    let lease = dba(&linegate);
    let mut client = linegate.client(&lease);
    let long = "SELECT repeat('x', 300000)";
    assert_eq!(one(&mut client, long).len(), 300_000);
    let ours = leaves(&mut client, &postgres);
    let mut client = linegate.client(&lease);
    assert_eq!(pid(&client), ours);
    assert_eq!(one(&mut client, long).len(), 300_000);
    leaves(&mut client, &postgres);
    postgres.sql(&format!("SELECT pg_terminate_backend({ours})"));
    is_gone(&postgres, ours);
    assert_ne!(pid(&linegate.client(&lease)), ours);
}

#[test]
fn a_warm_connection_ends_with_linegate() {
    let postgres = Postgres::start();
    let mut linegate = start(&postgres, "warm_pool = 4");
    let lease = dba(&linegate);
    let ours = leaves(&mut linegate.client(&lease), &postgres);
    assert_eq!(linegate.stop(), Some(0));
    is_gone(&postgres, ours);
    assert!(linegate.log().contains("warm_parked=1"), "{}", linegate.log());
}
