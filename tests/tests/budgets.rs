//! Budgets and time windows: what a lease and everything derived from it may use, and when.

use std::time::{SystemTime, UNIX_EPOCH};

use linegate_tests::RawClient;
use linegate_tests::under::{self, Under, code, say};
use linegate_tests::wire::{bind, describe, error_of, execute, parse, rows, status, sync, tags};

const HEAD: &str = "(principal in Group::\"ci\", action, resource)";

/// Behind one permit for everything with these annotations and this condition.
fn under(annotations: &str, condition: &str) -> Under {
    let policies = format!("@id(\"on-a-budget\")\n{annotations}\npermit {HEAD} {condition};");
    under::under(&policies)
}

#[test]
fn a_result_is_cut_between_rows_and_the_connection_stays_usable() {
    let under = under("@budget_rows(\"100\")", "");
    let mut client = under.client();
    let cut = client.query("SELECT repeat('x', 5000), n FROM generate_series(1, 1000000) n; SELECT 'later'");
    assert_eq!(rows(&cut).len(), 100);
    assert_eq!(rows(&cut)[99][1], "100", "whole rows, in order");
    assert_eq!(code(&cut), "54000");
    assert!(
        tags(&cut).ends_with("DEZ"),
        "nothing after the error: {:?}",
        tags(&cut).len()
    );
    assert_eq!(status(&cut), Some('I'));
    assert_eq!(code(&client.query("SET statement_timeout = '1min'")), "no error");
    let stopped = under.postgres.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%generate_series(1, 1000000)%' AND pid <> pg_backend_pid()",
    );
    assert_eq!(stopped.trim(), "0", "the server was asked to stop");
    let again = client.query("SELECT 1");
    assert_eq!((rows(&again).len(), code(&again)), (0, "54000".to_owned()));

    // Inside a block the server itself says what became of the transaction.
    let mut other = under.client();
    other.query("BEGIN");
    let cut = other.query("SELECT * FROM generate_series(1, 3000000)");
    assert_eq!((rows(&cut).len(), code(&cut)), (0, "54000".to_owned()));
    assert_eq!(status(&cut), Some('E'));
    assert_eq!(status(&other.query("ROLLBACK")), Some('I'));
}

#[test]
fn a_result_of_the_extended_protocol_is_cut_as_well() {
    let under = under("@budget_rows(\"10\")", "");
    let mut client = under.client();
    let series = [
        parse("", "SELECT n FROM generate_series(1, 2000000) n"),
        bind("", "", &[], 0),
        describe(b'P', ""),
        execute("", 0),
        sync(),
    ];
    client.send_bytes(&series.concat());
    let cut = client.read_to_ready();
    assert_eq!(rows(&cut).len(), 10);
    assert_eq!(code(&cut), "54000");
    assert_eq!(status(&cut), Some('I'));
    assert_eq!(code(&client.query("SET work_mem = '5MB'")), "no error");
}

#[test]
fn bytes_are_counted_and_masked_rows_too() {
    let under = under("@budget_bytes(\"2000\")", "");
    let mut client = under.client();
    let cut = client.query("SELECT repeat('x', 393) FROM generate_series(1, 50)");
    assert_eq!(code(&cut), "54000");
    let bytes: usize = cut
        .iter()
        .filter(|one| one.tag == b'D')
        .map(|one| one.body.len() + 5)
        .sum();
    assert!(bytes <= 2000 && bytes > 1500, "{bytes} bytes of rows");
    let masked = under::under(&format!(
        "@id(\"few\") @budget_rows(\"2\") permit {HEAD} unless {{ action == Action::\"read_raw\" }};"
    ));
    let mut client = masked.client();
    for sql in [
        "SELECT id, card_number FROM app.customers ORDER BY id",
        "SELECT secret_int FROM app.typed, generate_series(1, 5)",
    ] {
        let lease = masked.linegate.lease("workload:ci-runner", &[], "all");
        let mut fresh = masked.linegate.client(&lease);
        let cut = fresh.query(sql);
        assert_eq!((rows(&cut).len(), code(&cut)), (2, "54000".to_owned()), "{sql}");
    }
    assert_eq!(rows(&client.query("SELECT 1")), [["1"]]);
}

#[test]
fn a_derived_lease_shares_its_roots_budget_and_a_reconnect_gives_nothing_back() {
    let under = under("@budget_rows(\"100\")", "");
    let child = under.linegate.derive(&under.lease, "build", "all");
    let grandchild = under.linegate.derive(&child, "migrate", "all");
    let sql = "SELECT n FROM generate_series(1, 40) n";
    for lease in [&under.lease, &grandchild] {
        assert_eq!(rows(&under.linegate.client(lease).query(sql)).len(), 40);
    }
    let cut = under.linegate.client(&child).query(sql);
    assert_eq!((rows(&cut).len(), code(&cut)), (20, "54000".to_owned()));
    let again = under.client().query(sql);
    assert_eq!((rows(&again).len(), code(&again)), (0, "54000".to_owned()));
    let other = under.linegate.lease("workload:ci-runner", &[], "all");
    assert_eq!(rows(&under.linegate.client(&other).query(sql)).len(), 40);
}

#[test]
fn statements_are_counted_before_they_are_sent() {
    let under = under("@budget_statements(\"5/hour\")", "");
    let mut client = under.client();
    assert_eq!(
        code(&client.query("INSERT INTO app.scratch VALUES (1); INSERT INTO app.scratch VALUES (2)")),
        "no error"
    );
    client.query("BEGIN");
    for value in ["3", "4"] {
        let series = [
            parse("", "INSERT INTO app.scratch VALUES ($1)"),
            bind("", "", &[value], 0),
            execute("", 0),
            sync(),
        ];
        client.send_bytes(&series.concat());
        assert_eq!(code(&client.read_to_ready()), "no error");
    }
    assert_eq!(
        code(&client.query("INSERT INTO app.scratch VALUES (5)")),
        "no error"
    );
    assert_eq!(code(&client.query("INSERT INTO app.scratch VALUES (6)")), "54000");
    let series = [
        parse("", "INSERT INTO app.scratch VALUES (7)"),
        bind("", "", &[], 0),
        execute("", 0),
        sync(),
    ];
    client.send_bytes(&series.concat());
    assert_eq!(code(&client.read_to_ready()), "54000");
    assert_eq!(
        status(&client.query("COMMIT")),
        Some('I'),
        "a transaction can always be ended"
    );
    assert_eq!(under.postgres.sql("SELECT max(id) FROM app.scratch").trim(), "5");
}

#[test]
fn changes_over_the_budget_do_not_stay() {
    let under = under("@budget_changed(\"10\")", "");
    let mut client = under.client();
    let count = || {
        under
            .postgres
            .sql("SELECT count(*) FROM app.scratch")
            .trim()
            .to_owned()
    };
    let insert = |n: u32| format!("INSERT INTO app.scratch SELECT generate_series(1, {n})");

    let fine = client.query(&insert(10));
    assert_eq!((tags(&fine), status(&fine)), ("CZ".to_owned(), Some('I')));
    assert_eq!(count(), "10");
    let over = client.query(&insert(11));
    assert_eq!((code(&over), status(&over)), ("54000".to_owned(), Some('I')));
    assert_eq!(count(), "10", "outside a block it is undone");
    let both = client.query(&format!("{}; {}", insert(6), insert(6)));
    assert_eq!((code(&both), status(&both)), ("54000".to_owned(), Some('I')));
    assert_eq!(count(), "10", "so are several in one query");

    client.query("BEGIN");
    assert_eq!(status(&client.query(&insert(6))), Some('T'));
    let over = client.query(&insert(6));
    assert_eq!((code(&over), status(&over)), ("54000".to_owned(), Some('E')));
    let commit = client.query("COMMIT");
    assert_eq!(commit[0].body, b"ROLLBACK\0", "a COMMIT becomes a ROLLBACK");
    assert_eq!(status(&commit), Some('I'));
    assert_eq!(count(), "10");

    // The extended protocol, with everything sent at once.
    let text = "INSERT INTO app.scratch SELECT generate_series(1, 11)";
    let series = [parse("", text), bind("", "", &[], 0), execute("", 0), sync()];
    client.send_bytes(&series.concat());
    let over = client.read_to_ready();
    assert_eq!((code(&over), status(&over)), ("54000".to_owned(), Some('I')));
    assert_eq!(count(), "10");
    client.query("BEGIN");
    let commit = [parse("", "COMMIT"), bind("", "", &[], 0), execute("", 0), sync()];
    client.send_bytes(&[series[..3].concat(), commit.concat()].concat());
    assert_eq!(code(&client.read_to_ready()), "54000");
    assert_eq!(status(&client.query("COMMIT")), Some('I'));
    assert_eq!(count(), "10");

    // What no command tag counts is refused; what fails for other reasons fails in the server's words.
    let hidden = "WITH gone AS (DELETE FROM app.scratch RETURNING id) SELECT count(*) FROM gone";
    assert_eq!(code(&client.query(hidden)), "0A000");
    assert_eq!(count(), "10");
    client.query(&format!("PREPARE more AS {}", insert(11)));
    assert_eq!(code(&client.query("EXECUTE more")), "54000");
    assert_eq!(count(), "10");
    assert_eq!(
        code(&client.query("INSERT INTO app.scratch VALUES ('x')")),
        "22P02"
    );
    assert_eq!(
        code(&client.query("DELETE FROM app.scratch WHERE id < 5")),
        "no error"
    );
    assert_eq!(count(), "6");
}

#[test]
fn a_copy_over_the_budget_cannot_commit_with_its_block() {
    let under = under("@budget_changed(\"2\")", "");
    let mut client = under.client();
    client.query("BEGIN");
    client.send_query("COPY app.scratch FROM STDIN");
    client.read_to(b'G');
    client.send(b'd', b"1\n2\n3\n");
    client.send(b'c', b"");
    assert_eq!(code(&client.read_to_ready()), "54000");
    let commit = client.query("COMMIT");
    assert_eq!(commit[0].body, b"ROLLBACK\0");
    assert_eq!(under.postgres.sql("SELECT count(*) FROM app.scratch").trim(), "0");
}

#[test]
fn looked_up_values_are_counted() {
    let under = under(
        "@budget_lookups(\"3\")",
        "unless { action == Action::\"read_raw\" }",
    );
    let mut client = under.client();
    let look_up = |ssn: &str| format!("SELECT name FROM app.customers WHERE ssn = '{ssn}'");
    for ssn in ["536-90-4399", "000-00-0000", "536-90-4399"] {
        assert_eq!(code(&client.query(&look_up(ssn))), "no error", "{ssn}");
    }
    let many = client.query("SELECT name FROM app.customers WHERE ssn IN ('1', '2', '3')");
    assert_eq!(code(&many), "54000", "every value of a list counts");
    assert_eq!(
        code(&client.query(&look_up("000-00-0000"))),
        "no error",
        "known values are free"
    );
    assert_eq!(code(&client.query(&look_up("000-00-0001"))), "54000");
    let text = "SELECT name FROM app.customers WHERE ssn = $1";
    let series = [
        parse("s", text),
        bind("", "s", &["000-00-0002"], 0),
        execute("", 0),
        sync(),
    ];
    client.send_bytes(&series.concat());
    assert_eq!(code(&client.read_to_ready()), "54000");
    let by_name = client.query("EXECUTE s('000-00-0003')");
    assert_eq!(code(&by_name), "54000", "whatever name it runs by");
    assert_eq!(
        code(&client.query("SELECT name FROM app.customers WHERE id = 1")),
        "no error"
    );
}

#[test]
fn time_is_a_budget_and_ends_what_runs() {
    let under = under("@budget_seconds(\"1\")", "");
    let mut client = under.client();
    let stopped = client.query("SELECT pg_sleep(30)");
    assert_eq!(
        (code(&stopped), status(&stopped)),
        ("54000".to_owned(), Some('I'))
    );
    assert_eq!(code(&client.query("SELECT 1")), "54000");
}

#[test]
fn the_time_between_statements_costs_nothing() {
    let under = under("@budget_seconds(\"1\")", "");
    let at_once = |text: &str| [parse("", text), bind("", "", &[], 0), execute("", 0), sync()];
    let mut client = under.client();
    for _ in 0..3 {
        assert_eq!(code(&say(&mut client, &at_once("SELECT 1"))), "no error");
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert_eq!(code(&client.query("SELECT 1")), "no error");
    }
    // What runs is counted as before.
    for _ in 0..2 {
        assert_eq!(
            code(&say(&mut client, &at_once("SELECT pg_sleep(0.6)"))),
            "no error"
        );
    }
    assert_eq!(code(&say(&mut client, &at_once("SELECT 1"))), "54000");
}

#[test]
fn the_time_of_what_fails_or_is_portioned_counts() {
    let under = under("@budget_seconds(\"1\")", "");
    let until_refused = |client: &mut RawClient, ask: &dyn Fn(&mut RawClient) -> String| {
        let most = 40;
        (0..most)
            .find(|_| {
                std::thread::sleep(std::time::Duration::from_millis(250)); // longer than anybody watches
                ask(client) == "54000"
            })
            .unwrap_or(most)
    };
    let lease = || under.linegate.lease("workload:ci-runner", &[], "all");
    let mut client = under.linegate.client(&lease());
    let fails = |client: &mut RawClient| code(&client.query("SELECT 1 / length(pg_sleep(0.1)::text)"));
    let times = until_refused(&mut client, &fails);
    assert!(times < 20, "{times} failures of 0.1 seconds");
    let mut client = under.linegate.client(&lease());
    client.query("BEGIN");
    let rows = "SELECT pg_sleep(0.1) FROM generate_series(1, 1000)";
    let bound = [parse("", rows), bind("p", "", &[], 0), sync()];
    assert_eq!(code(&say(&mut client, &bound)), "no error");
    let one = |client: &mut RawClient| code(&say(client, &[execute("p", 1), sync()]));
    let times = until_refused(&mut client, &one);
    assert!(times < 20, "{times} portions of 0.1 seconds");
}

#[test]
fn rules_about_time_are_asked_at_the_time() {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let minute = now / 60 % 1440;
    let past = (minute + 1440 - 60) % 1440;
    let window = |minute: u64| {
        format!(
            "@id(\"connects\") permit (principal, action == Action::\"connect\", resource);
             @id(\"now\") permit {HEAD} when {{ context.minute_of_day >= {minute} && context.minute_of_day <= {} }};",
            minute + 5
        )
    };
    let closed = under::under(&window(past));
    assert_eq!(code(&closed.client().query("SELECT 1")), "42501");
    let open = under::under(&window(minute));
    let mut client = open.client();
    assert_eq!(rows(&client.query("SELECT 1")), [["1"]]);
    assert_eq!(rows(&client.query("SELECT 1")), [["1"]], "from the cache");
}

#[test]
fn a_session_that_policy_would_not_open_any_more_is_refused() {
    let under = under("", "");
    let mut client = under.client();
    assert_eq!(rows(&client.query("SELECT 1")), [["1"]]);
    let policies = under
        .linegate
        .config()
        .with_file_name("policies")
        .join("shop.cedar");
    std::fs::write(policies, "@id(\"none\") forbid (principal, action, resource);")
        .expect("our own directory");
    under.linegate.tell(rustix::process::Signal::HUP);
    linegate_tests::eventually("statements are refused", || {
        (code(&client.query("SELECT 1")) == "42501").then_some(())
    });
    assert_eq!(code(&client.query("SELECT 2")), "42501");
}

#[test]
fn changes_in_portions_do_not_pass_uncounted() {
    let under = under("@budget_changed(\"5/hour\")", "");
    let mut client = under.client();
    let update = "UPDATE app.orders SET note = 'x' WHERE id <= 20 RETURNING id";
    client.send_bytes(&[parse("", update), bind("", "", &[], 0), execute("", 3), sync()].concat());
    assert_eq!(code(&client.read_to_ready()), "0A000");
    client.query("PREPARE u AS UPDATE app.orders SET note = 'x' WHERE id <= 20");
    let told = client.query("EXPLAIN (ANALYZE) EXECUTE u");
    assert!(error_of(&told).is_some(), "{}", tags(&told));
    // A COPY of what it changes, by its name.
    let copied = format!("COPY ({update}) TO STDOUT");
    client.send_bytes(&[parse("u2", &copied), sync()].concat());
    client.read_to_ready();
    assert_ne!(code(&client.query("EXECUTE u2")), "no error");
    assert_eq!(
        under
            .postgres
            .sql("SELECT count(*) FROM app.orders WHERE note = 'x'"),
        "0"
    );
    // By its name, in portions or through a cursor's commands.
    client.send_bytes(&[parse("n", update), sync()].concat());
    client.read_to_ready();
    client.send_bytes(
        &[
            parse("", "EXECUTE n"),
            bind("", "", &[], 0),
            execute("", 3),
            sync(),
        ]
        .concat(),
    );
    assert_eq!(code(&client.read_to_ready()), "0A000");
    client.query("BEGIN");
    client.send_bytes(&[bind("p", "n", &[], 0), sync()].concat());
    client.read_to_ready();
    for command in ["MOVE ALL FROM p", "FETCH 1 FROM p"] {
        client.query("SAVEPOINT a");
        assert_eq!(code(&client.query(command)), "0A000", "{command}");
        client.query("ROLLBACK TO a");
    }
    client.query("COMMIT");
    let changed = under
        .postgres
        .sql("SELECT count(*) FROM app.orders WHERE note = 'x'");
    assert_eq!(changed.trim(), "0");
}
