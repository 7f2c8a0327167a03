//! Statements, and words of the server, that are too long to be looked at or to be put on record: one client's length is nobody
//! else's trouble.

use std::path::{Path, PathBuf};
use std::time::Duration;

use linegate_tests::Options;
use linegate_tests::under::{Under, behind, code, say};
use linegate_tests::wire::{bind, error_of, execute, parse, rows, status, sync};

fn under(target: &str) -> Under {
    let options = Options {
        target: target.to_owned(),
        ..Options::default()
    };
    behind(options, "")
}

/// A literal of so many bytes, each of which JSON makes six of.
fn unprintable(bytes: usize) -> String {
    format!("SELECT length('{}')", "\u{1}".repeat(bytes))
}

/// Everything on record, as it lies on disk.
fn recorded(under: &Under) -> String {
    let entries = |directory: &Path| -> Vec<PathBuf> {
        let listed = std::fs::read_dir(directory).expect("our own directory");
        listed.flatten().map(|entry| entry.path()).collect()
    };
    let streams = entries(&under.linegate.recordings());
    let files = streams.iter().flat_map(|stream| entries(stream));
    files
        .map(|file| String::from_utf8_lossy(&std::fs::read(file).expect("our own file")).into_owned())
        .collect()
}

/// Others are let in and served, also after the recorder has looked at what came before.
fn assert_others_are_served(under: &Under) {
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(100));
        let answer = under.client().query("SELECT 41 + 1");
        assert_eq!(rows(&answer), [["42"]], "{}", code(&answer));
    }
}

#[test]
fn a_statement_over_the_limit_is_refused_and_its_session_goes_on() {
    let mut under = under("statement_bytes_max_mb = 1");
    let mut client = under.client();
    let fits = format!("SELECT length('{}')", "x".repeat((1 << 20) - 17));
    assert_eq!(fits.len(), 1 << 20);
    let over = fits.replacen('x', "xx", 1);
    client.query("BEGIN");
    assert_eq!(code(&client.query(&fits)), "no error");
    let answer = client.query(&over);
    let (sqlstate, words) = error_of(&answer).expect("an error");
    assert_eq!(sqlstate, "54000");
    assert_eq!(
        words,
        "linegate: a statement may have 1 MiB here, and this one has 1048577 bytes"
    );
    assert_eq!(status(&answer), Some('T'), "the server has heard nothing of it");
    client.query("COMMIT");
    let series = [parse("", &over), bind("", "", &[], 0), execute("", 0), sync()];
    let answer = say(&mut client, &series);
    assert_eq!(code(&answer), "54000");
    assert_eq!(rows(&answer).len(), 0);
    // A value is no statement.
    let value = "y".repeat(2 << 20);
    let series = [
        parse("", "SELECT length($1::text)"),
        bind("", "", &[&value], 0),
        execute("", 0),
        sync(),
    ];
    assert_eq!(rows(&say(&mut client, &series)), [["2097152"]]);
    drop(client);
    assert_eq!(under.linegate.stop(), Some(0));
    let said = under.linegate.cli(&["audit", "statements"]).good().out;
    assert_eq!(
        said.matches("(1048577 bytes; text withheld: it is too long)")
            .count(),
        2,
        "{said}"
    );
}

#[test]
fn a_statement_that_no_record_can_hold_is_refused_and_holds_up_nobody() {
    let mut under = under("");
    let mut client = under.client();
    let answer = client.query(&unprintable(12_000_000));
    let (sqlstate, words) = error_of(&answer).expect("an error");
    assert_eq!(sqlstate, "54000");
    assert_eq!(words, "linegate: this statement is too long to be recorded");
    assert_others_are_served(&under);
    assert_eq!(rows(&client.query("SELECT 1")), [["1"]]);
    assert_eq!(under.linegate.stop(), Some(0));
    under.linegate.cli(&["audit", "verify"]).good();
}

#[test]
fn words_of_the_server_that_no_record_can_hold_hold_up_nobody() {
    let mut under = under("");
    let mut client = under.client();
    let answer = client.query("SELECT repeat(chr(1), 12000000)::int");
    let (sqlstate, words) = error_of(&answer).expect("an error");
    assert_eq!(sqlstate, "22P02");
    assert!(words.len() > 12_000_000, "the client hears all of it");
    assert_others_are_served(&under);
    assert_eq!(rows(&client.query("SELECT 1")), [["1"]]);
    assert_eq!(under.linegate.stop(), Some(0));
    under.linegate.cli(&["audit", "verify"]).good();
    let recorded = recorded(&under);
    assert!(recorded.contains("\"sqlstate\":\"22P02\"") && recorded.contains("are too long to be recorded"));
}

#[test]
fn long_statements_are_on_record_whole() {
    let mut under = under("");
    let mut client = under.client();
    // Longer than what the core renders itself, and with what JSON says in another way.
    let text = format!("SELECT 'a\"b\\c\u{1}{}'", "x".repeat(100_000));
    assert_eq!(code(&client.query(&text)), "no error");
    let short = "SELECT 'a\"b\\c\u{1}'";
    assert_eq!(code(&client.query(short)), "no error");
    assert_eq!(under.linegate.stop(), Some(0));
    let recorded = recorded(&under);
    assert!(recorded.contains(&format!("SELECT 'a\\\"b\\\\c\\u0001{}'", "x".repeat(100_000))));
    assert!(recorded.contains("SELECT 'a\\\"b\\\\c\\u0001'"));
    under.linegate.cli(&["audit", "verify"]).good();
}
