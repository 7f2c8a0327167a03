//! What is changed around linegate is known as soon as the database tells of it.

use std::time::{Duration, Instant};

use linegate_tests::wire::rows;
use linegate_tests::{Linegate, Options, Postgres, RawClient, eventually};

/// Far below the half minute between two looks that nobody asked for.
const SOON: Duration = Duration::from_secs(4);

/// Two columns change their names: what the label meant is called `name` then.
const SWAP: &str =
    "BEGIN; ALTER TABLE app.persons RENAME name TO x; ALTER TABLE app.persons RENAME ssn TO name;
    ALTER TABLE app.persons RENAME x TO ssn; COMMIT";
const SSN: &str = "536-90-4399";

/// A server with tables of this test's own (the template's count as the server's), and a linegate that listens to it.
fn started(tables_count: usize) -> (Postgres, Linegate) {
    let postgres = Postgres::start();
    let mut columns = Vec::new();
    for index in 0..tables_count {
        postgres.sql(&format!(
            "CREATE TABLE app.persons_{index} (name text, ssn text); GRANT ALL ON app.persons_{index} TO app;
             INSERT INTO app.persons_{index} VALUES ('first', '{SSN}')"
        ));
        columns.push(format!("\"app.persons_{index}.ssn\""));
    }
    let options = Options {
        target: "catalog_channel = \"shapes\"".to_owned(),
        more: format!(
            "[[label]]\nname = \"pii\"\ntarget = \"shop\"\ncolumns = [{}]\nredact = \"blank\"\n",
            columns.join(", ")
        ),
        ..Options::default()
    };
    let linegate = Linegate::start_with(&postgres, options);
    (postgres, linegate)
}

fn names(client: &mut RawClient, index: usize) -> String {
    let messages = client.query(&format!("SELECT upper(name) FROM app.persons_{index}"));
    let [row] = &rows(&messages)[..] else {
        panic!("one row: {messages:?}");
    };
    row.concat()
}

#[test]
fn a_change_made_elsewhere_is_heard_where_the_database_tells_of_it() {
    let (postgres, linegate) = started(3);
    let printed = linegate
        .cli(&[
            "role",
            "--target",
            "shop",
            "--config",
            &linegate.config().display().to_string(),
        ])
        .good()
        .out;
    let triggers = printed
        .find("-- Tells linegate at once")
        .map(|at| &printed[at..])
        .expect("the role's script makes event triggers");
    postgres.sql(triggers);
    let lease = linegate.lease("workload:ci-runner", &[], "all");
    let mut client = linegate.client(&lease);
    assert_eq!(names(&mut client, 0), "FIRST");
    eventually("linegate listens", || {
        let listens = postgres.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'linegate catalog listener' AND state = 'idle' \
             AND query LIKE 'LISTEN%'",
        );
        (listens.trim() == "1").then_some(())
    });
    // A look that nobody asked for could come in time by chance; not three times.
    for index in 0..3 {
        postgres.sql(&SWAP.replace("persons", &format!("persons_{index}")));
        let began = Instant::now();
        while names(&mut client, index) == SSN {
            assert!(began.elapsed() < SOON, "the label did not go with its column");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    linegate.assert_unharmed();
}

#[test]
fn a_listener_that_is_cut_off_comes_back() {
    let (postgres, linegate) = started(1);
    let lease = linegate.lease("workload:ci-runner", &[], "all");
    let mut client = linegate.client(&lease);
    assert_eq!(names(&mut client, 0), "FIRST");
    let listener = || {
        postgres
            .sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'linegate catalog listener'")
            .trim()
            .to_owned()
    };
    let first = eventually("linegate listens", || {
        Some(listener()).filter(|pid| !pid.is_empty())
    });
    postgres.sql(&format!("SELECT pg_terminate_backend({first})"));
    let second = eventually("linegate listens again", || {
        Some(listener()).filter(|pid| !pid.is_empty() && *pid != first)
    });
    assert_ne!(first, second);
    assert_eq!(names(&mut client, 0), "FIRST", "the session did not notice");
    linegate.assert_unharmed();
}
