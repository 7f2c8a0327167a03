//! The fast part of `tests/drivers`: clients that `tests/setup/install` provides do the same work directly and through linegate, and
//! what they saw is compared byte for byte. `tests/drivers/run` plays all clients; its README says what each is made to do.

use std::process::Command;

use linegate_tests::{Said, places};

/// Plays clients on these sides and expects every difference to be in `known.txt`.
fn alike(clients: &[&str], sides: &str) {
    let programs = places::program("linegate");
    let said = Said::by(
        Command::new("python3")
            .arg(places::repository().join("tests/drivers/run"))
            .arg("--bin")
            .arg(programs.parent().expect("a program is in a directory"))
            .arg("--pg")
            .arg(places::postgres_bin())
            .args(["--no-install", "--sides", sides, "--only"])
            .args(clients),
    );
    assert!(said.ok, "{}", said.all());
    assert!(
        said.out.contains(" 0 different, 0 skipped"),
        "every client was played: {}",
        said.out
    );
}

#[test]
fn every_message_is_answered_as_the_server_answers_it() {
    alike(&["wire", "wire-malformed"], "direct,plain");
}

#[test]
fn messages_in_any_order_are_answered_alike() {
    alike(&["wire-random"], "direct,plain,tls");
}

#[test]
fn what_people_run_shows_the_same() {
    alike(&["psql", "pg_dump"], "direct,plain");
}

#[test]
fn pgbench_does_the_same_work_over_tls() {
    alike(&["pgbench"], "direct,tls");
}
