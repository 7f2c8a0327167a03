//! The committed list of built-in functions is what the server of this machine says of itself (`tests/builtins/generate`).

use std::process::Command;

use linegate_tests::places::{must, postgres_bin, repository};

#[test]
fn the_list_of_built_in_functions_is_the_servers_own() {
    let said = must(
        Command::new(repository().join("tests/builtins/generate"))
            .arg("--check")
            .arg(postgres_bin()),
    );
    assert!(said.contains("PostgreSQL "), "{said}");
    println!("{}", said.trim_end());
}
