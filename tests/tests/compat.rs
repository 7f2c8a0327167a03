//! Stock clients work through it unchanged: psql, pgbench, pg_dump, a Python driver, a Rust driver; and every way in which
//! the server may ask linegate for its password.

use std::path::Path;
use std::process::Command;

use linegate_tests::{Lease, Linegate, Options, Postgres, Said, postgres};

fn a_worker(linegate: &Linegate) -> Lease {
    linegate.lease("workload:ci-runner", &[], "all")
}

#[test]
fn psql_describes_copies_pipes_and_keeps_transactions() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = a_worker(&linegate);
    for command in [
        "\\d",
        "\\d app.orders",
        "\\dt app.*",
        "\\dn",
        "\\df",
        "\\du",
        "\\l",
    ] {
        let said = Said::by(
            linegate
                .psql_command(&lease)
                .args(["-v", "ON_ERROR_STOP=1", "-c", command]),
        )
        .good();
        assert!(!said.err.contains("ERROR"), "{command}: {}", said.err);
    }
    assert!(
        linegate
            .psql(&lease, &["-c", "\\d app.orders"])
            .good()
            .out
            .contains("numeric(10,2)")
    );
    let dir = linegate_tests::places::temporary("lg-copy-");
    let file = dir.path().join("orders.tsv");
    let out = format!("\\copy app.orders TO '{}'", file.display());
    linegate.psql(&lease, &["-c", &out]).good();
    assert_eq!(
        std::fs::read_to_string(&file).expect("copied").lines().count(),
        1000
    );
    let back = format!("\\copy app.copied FROM '{}'", file.display());
    linegate
        .psql(
            &lease,
            &["-c", "CREATE TABLE app.copied (LIKE app.orders)", "-c", &back],
        )
        .good();
    assert_eq!(
        postgres.sql("SELECT sum(total) FROM app.copied"),
        postgres.sql("SELECT sum(total) FROM app.orders")
    );
    let said = linegate.psql(
        &lease,
        &[
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            "BEGIN",
            "-c",
            "UPDATE app.orders SET note = 'x' WHERE id = 2",
            "-c",
            "ROLLBACK",
        ],
    );
    assert!(said.ok, "{}", said.all());
    assert_eq!(postgres.sql("SELECT note FROM app.orders WHERE id = 2"), "note 2");
}

#[test]
fn results_are_the_same_as_without_it() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = a_worker(&linegate);
    for sql in [
        "SELECT * FROM app.orders ORDER BY id",
        "SELECT n, repeat('ä', n) FROM generate_series(1, 300) n",
        "SELECT NULL, '', 1.5::float8, now() - now(), '{1,2}'::int[], '\\x00ff'::bytea, 'infinity'::timestamptz",
        "SELECT 1 WHERE false",
        "SELECT",
        "SELECT 1; SELECT 2",
        ";",
        "SELEC 1",
        "SELECT 1/0",
        "SELECT * FROM app.nothing_here",
    ] {
        let through = linegate.psql(&lease, &["-c", sql]);
        let direct = Said::by(postgres.direct().args(["-qAt", "-c", sql]));
        assert_eq!(through.out, direct.out, "{sql}");
        assert_eq!(through.ok, direct.ok, "{sql}: {}", through.err);
    }
}

#[test]
fn rows_that_pause_are_shown_meanwhile() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = a_worker(&linegate);
    let (mut client, mut keeper) = (linegate.client(&lease), linegate.client(&lease));
    for copies in [false, true] {
        keeper.query("SELECT pg_advisory_lock(7)");
        let rows = "SELECT n, repeat('x', 100), CASE WHEN n = 20000 THEN pg_advisory_xact_lock_shared(7)::text END FROM generate_series(1, 20000) n";
        let text = match copies {
            true => format!("COPY ({rows}) TO STDOUT"),
            false => rows.to_owned(),
        };
        client.send_query(&text);
        let tag = if copies { b'd' } else { b'D' };
        // All but what the server keeps itself, in a buffer of 8 KiB.
        (0..19_900).for_each(|_| drop(client.read_to(tag)));
        keeper.query("SELECT pg_advisory_unlock(7)");
        let rest = client.read_to_ready();
        let count = rest.iter().filter(|message| message.tag == tag).count();
        assert_eq!(count, 100, "copies: {copies}");
    }
}

#[test]
fn pgbench_runs_in_every_protocol_mode() {
    let postgres = Postgres::start();
    // Its initialisation truncates and drops without a WHERE; here nobody has to approve that.
    let policies = "@id(\"bench\") permit (principal, action, resource);".to_owned();
    let linegate = Linegate::start_with(
        &postgres,
        Options {
            policies,
            ..Options::default()
        },
    );
    let lease = a_worker(&linegate);
    Said::by(
        linegate
            .client_command("pgbench", &lease)
            .args(["-i", "-s", "1", "-q"]),
    )
    .good();
    for mode in ["simple", "extended", "prepared"] {
        let said = Said::by(
            linegate
                .client_command("pgbench", &lease)
                .args(["-M", mode, "-c", "4", "-t", "50"]),
        )
        .good();
        assert!(said.out.contains("200/200"), "{mode}: {}", said.all());
        assert_eq!(
            postgres.sql("SELECT count(*) FROM app.pgbench_history"),
            "200",
            "{mode}"
        );
        Said::by(
            linegate
                .client_command("pgbench", &lease)
                .args(["-S", "-M", mode, "-c", "4", "-t", "100"]),
        )
        .good();
    }
}

#[test]
fn pg_dump_of_an_unlabelled_table_is_the_same_as_without_it() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = a_worker(&linegate);
    let args = ["--table=app.orders", "--no-owner", "--no-privileges"];
    let through = Said::by(linegate.client_command("pg_dump", &lease).args(args)).good();
    let mut direct = Command::new("pg_dump");
    direct.args([
        "-h",
        "127.0.0.1",
        "-p",
        &postgres.port().to_string(),
        "-U",
        "app",
        "-d",
        "shop",
    ]);
    let direct = Said::by(direct.env("PGPASSWORD", "app-secret").args(args)).good();
    let plain = |text: &str| {
        // Newer releases put a random key on these lines.
        text.lines()
            .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(plain(&through.out), plain(&direct.out));
    assert!(through.out.contains("COPY app.orders"));
}

const PYTHON: &str = r#"
import os, sys
dsn = "host=127.0.0.1 port=%s user=%s password=%s dbname=shop" % tuple(os.environ[n] for n in ("PGPORT", "PGUSER", "PGPASSWORD"))
try:
    import psycopg as driver
except ImportError:
    import psycopg2 as driver
connection = driver.connect(dsn)
cursor = connection.cursor()
cursor.execute("SELECT id, total, note FROM app.orders WHERE id = %s", (7,))
row = cursor.fetchone()
assert row[0] == 7 and str(row[1]) == "10.50" and row[2] == "note 7", row
cursor.execute("SELECT card_number, name FROM app.customers WHERE id = %s", (1,))
card, name = cursor.fetchone()
assert card != "4111111111111111" and card.endswith("1111") and len(card) == 16, card
cursor.execute("INSERT INTO app.orders VALUES (%s, 1, 1, 'python')", (5000,))
connection.commit()
try:
    cursor.execute("SELECT nonsense FROM app.orders")
    sys.exit("no error")
except driver.Error as error:
    connection.rollback()
walk = connection.cursor(name="walk")
walk.execute("SELECT id FROM app.orders")
assert len(walk.fetchall()) == 1001
connection.close()
"#;

#[test]
fn a_python_driver_works() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = a_worker(&linegate);
    let has_driver = |python: &&str| {
        let either = "import importlib.util as u, sys; sys.exit(not (u.find_spec('psycopg') or u.find_spec('psycopg2')))";
        Command::new(python)
            .args(["-c", either])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let python = ["/usr/bin/python3", "python3"].into_iter().find(has_driver);
    let python = python.expect("psycopg or psycopg2 is installed; `make setup` does it");
    Said::by(linegate.client_command(python, &lease).args(["-c", PYTHON])).good();
    assert_eq!(
        postgres.sql("SELECT note FROM app.orders WHERE id = 5000"),
        "python"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_rust_driver_works() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = a_worker(&linegate);
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(linegate.port())
        .user(&lease.username)
        .password(&lease.password)
        .dbname("shop");
    let (mut client, connection) = config.connect(tokio_postgres::NoTls).await.expect("logs in");
    let connection = tokio::spawn(connection);
    let rows = client
        .query(
            "SELECT id, note FROM app.orders WHERE id < $1 ORDER BY id",
            &[&4i32],
        )
        .await
        .expect("rows");
    let notes: Vec<(i32, &str)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(notes, [(1, "note 1"), (2, "note 2"), (3, "note 3")]);
    let row = client
        .query_one("SELECT card_number FROM app.customers WHERE id = $1", &[&1i32])
        .await
        .expect("a row");
    let card: &str = row.get(0);
    assert!(
        card.ends_with("1111") && !card.starts_with("4111"),
        "binary cells are masked: {card}"
    );
    let transaction = client.transaction().await.expect("begins");
    let inserted = transaction
        .execute("INSERT INTO app.orders VALUES ($1, 1, 2.5, 'rust')", &[&6000i32])
        .await;
    assert_eq!(inserted.expect("inserts"), 1);
    transaction.rollback().await.expect("rolls back");
    assert_eq!(
        postgres.sql("SELECT count(*) FROM app.orders WHERE note = 'rust'"),
        "0"
    );
    let prepared = client.prepare("SELECT $1::int + 1").await.expect("prepares");
    let sums = in_flight_at_once(&client, &prepared).await;
    assert_eq!(sums, [1, 2, 3, 4, 5], "pipelined statements answer in order");
    drop(client);
    connection.await.expect("no panic").expect("a clean end");
}

/// Several statements in flight at once on one connection.
async fn in_flight_at_once(
    client: &tokio_postgres::Client,
    prepared: &tokio_postgres::Statement,
) -> Vec<i32> {
    let one = |n: i32| async move {
        client
            .query_one(prepared, &[&n])
            .await
            .expect("a row")
            .get::<_, i32>(0)
    };
    let (a, b, c, d, e) = tokio::join!(one(0), one(1), one(2), one(3), one(4));
    vec![a, b, c, d, e]
}

#[test]
fn the_server_may_ask_for_the_password_in_any_way() {
    let postgres = Postgres::start_tls();
    for (role, tls) in [
        ("app", "disable"),
        ("app_md5", "disable"),
        ("app_plain", "disable"),
        ("app_trust", "disable"),
        ("app", "require"),
        ("app", "prefer"),
    ] {
        let linegate = Linegate::start_with(
            &postgres,
            Options {
                role,
                backend_tls: tls,
                ..Options::default()
            },
        );
        let lease = a_worker(&linegate);
        let said = linegate.psql(
            &lease,
            &[
                "-c",
                "SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
            ],
        );
        let encrypted = if tls == "disable" { "f" } else { "t" };
        assert_eq!(
            said.good().out.trim(),
            format!("{role}|{encrypted}"),
            "{role} over {tls}"
        );
    }
}

#[test]
fn what_the_server_keeps_of_the_password_may_change() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = a_worker(&linegate);
    let logs_in = || linegate.psql(&lease, &["-c", "SELECT 1"]).ok;
    let now = |password: &str| postgres.sql(&format!("ALTER ROLE app PASSWORD '{password}'"));
    assert!(logs_in() && logs_in());
    for (password, is_ours) in [("app-secret", true), ("another", false), ("app-secret", true)] {
        now(password); // with another salt each time
        assert_eq!(logs_in(), is_ours, "{password}");
        assert_eq!(logs_in(), is_ours, "{password}, again");
    }
}

#[test]
fn a_server_certificate_is_checked_when_asked() {
    let postgres = Postgres::start_tls();
    let trusted = format!("tls_ca = \"{}\"", postgres.certificate().display());
    let options = Options {
        backend_tls: "verify-full",
        target: trusted,
        ..Options::default()
    };
    let linegate = Linegate::start_with(&postgres, options);
    linegate.psql(&a_worker(&linegate), &["-c", "SELECT 1"]).good();
    let stranger = linegate_tests::places::temporary("lg-tls-");
    let (key, crt) = (stranger.path().join("key.pem"), stranger.path().join("crt.pem"));
    postgres::self_signed(&key, &crt);
    let target = format!("tls_ca = \"{}\"", crt.display());
    let linegate = Linegate::start_with(
        &postgres,
        Options {
            backend_tls: "verify-full",
            target,
            ..Options::default()
        },
    );
    assert!(
        !linegate.psql(&a_worker(&linegate), &["-c", "SELECT 1"]).ok,
        "another certificate is not trusted"
    );
}

#[test]
fn a_token_is_a_password_over_tls_only() {
    let postgres = Postgres::start();
    let dir = linegate_tests::places::temporary("lg-tls-");
    let (key, crt) = (dir.path().join("key.pem"), dir.path().join("crt.pem"));
    postgres::self_signed(&key, &crt);
    let linegate = Linegate::start_with(
        &postgres,
        Options {
            client_cert: Some((key, crt.clone())),
            ..Options::default()
        },
    );
    let lease = a_worker(&linegate);
    let connect = |mode: &str, root: &Path| {
        let mut command = linegate.psql_command(&lease);
        command
            .env("PGSSLMODE", mode)
            .env("PGSSLROOTCERT", root)
            .env("PGPASSWORD", &lease.token)
            .env("PGUSER", "token");
        Said::by(command.args(["-qAt", "-c", "SELECT card_number FROM app.customers WHERE id = 1"]))
    };
    let over_tls = connect("verify-ca", &crt).good();
    assert!(
        over_tls.out.trim().ends_with("1111") && !over_tls.out.contains("4111111111111111"),
        "{}",
        over_tls.out
    );
    let plain = connect("disable", &crt);
    assert!(
        !plain.ok,
        "a token never crosses the wire in the clear: {}",
        plain.all()
    );
    let secret = Said::by(
        linegate
            .psql_command(&lease)
            .env("PGSSLMODE", "require")
            .args(["-qAt", "-c", "SELECT 7"]),
    )
    .good();
    assert_eq!(secret.out.trim(), "7", "the lease's secret works over TLS too");
}
