//! Wrong configuration: every mistake at once, with its line, and nothing starts.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use linegate_tests::places::{free_port, program, temporary};
use linegate_tests::{Linegate, Postgres, SOON, Said};

const WRONG: &str = r#"
[data]
workers = "many"

[[target]]
name = "shop"
protocol = "postgres"
listen = "nowhere"
address = "127.0.0.1:5432"
tls = "sometimes"
credential = { user = "app", password = "hunter2" }

[[label]]
name = "pii"
target = "shp"
columns = ["app.customers.card_number"]
redact = "keep-last-4"

[policy]
files = ["policies/*.cedar"]
"#;

fn check(text: &str, policy: &str, args: &[&str]) -> Said {
    let dir = temporary("lg-check-");
    std::fs::create_dir(dir.path().join("policies")).expect("our own directory");
    std::fs::write(dir.path().join("policies/p.cedar"), policy).expect("our own directory");
    std::fs::write(dir.path().join("linegate.toml"), text).expect("our own directory");
    let mut command = Command::new(program("linegate"));
    command
        .arg(args[0])
        .arg("--config")
        .arg(dir.path().join("linegate.toml"))
        .args(&args[1..]);
    Said::by(&mut command)
}

#[test]
fn every_mistake_is_named_with_its_line() {
    let said = check(WRONG, "permit (principal, action, resource);", &["check"]);
    assert_eq!(said.code, Some(1), "{}", said.all());
    for (line, word) in [(3, "workers"), (8, "nowhere"), (10, "sometimes"), (15, "shp")] {
        let found = said
            .all()
            .lines()
            .any(|text| text.contains(&format!(":{line}:")) && text.contains(word));
        assert!(found, "line {line} ({word}) is not named:\n{}", said.all());
    }
    assert!(
        !said.all().contains("hunter2"),
        "a password is never shown:\n{}",
        said.all()
    );
    let json = check(WRONG, "", &["check", "--json"]);
    assert_eq!(json.code, Some(1));
    assert!(
        json.json()["mistakes"]
            .as_array()
            .is_some_and(|list| list.len() >= 4),
        "{}",
        json.out
    );
}

#[test]
fn policy_mistakes_are_named_too_and_a_good_file_is_accepted() {
    let good = WRONG
        .replace("\"many\"", "1")
        .replace("nowhere", "127.0.0.1:1")
        .replace("sometimes", "disable")
        .replace("hunter2", "env:SHOP_PASSWORD")
        .replace("shp", "shop");
    let said = check(
        &good,
        "permit (principal, action == Action::\"selekt\", resource);",
        &["check"],
    );
    assert_eq!(said.code, Some(1));
    assert!(
        said.all().contains("p.cedar:1") && said.all().contains("selekt"),
        "{}",
        said.all()
    );
    check(&good, "permit (principal, action, resource);", &["check"]).good();
}

#[test]
fn nothing_starts_with_a_wrong_configuration() {
    let state = temporary("lg-state-");
    let dir = state.path().to_str().expect("a plain path");
    let said = check(
        WRONG,
        "permit (principal, action, resource);",
        &["up", "--state-dir", dir],
    );
    assert!(!said.ok && !said.out.contains("ready"), "{}", said.all());
}

#[test]
fn a_bad_reload_keeps_the_old_rules() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = linegate.lease("workload:ci-runner", &[], "read");
    let policy = linegate.config().with_file_name("policies").join("shop.cedar");
    std::fs::write(&policy, "permit (principal action, resource);").expect("our own file");
    linegate.tell(rustix::process::Signal::HUP);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let said = linegate
        .psql(&lease, &["-c", "SELECT count(*) FROM app.orders"])
        .good();
    assert_eq!(said.out.trim(), "1000");
    std::fs::write(&policy, "forbid (principal, action, resource);").expect("our own file");
    linegate.tell(rustix::process::Signal::HUP);
    linegate_tests::eventually("good rules take effect", || {
        (!linegate
            .psql(&lease, &["-c", "SELECT count(*) FROM app.orders"])
            .ok)
            .then_some(())
    });
}

#[test]
fn explain_says_what_policy_would_without_running_it() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let config = linegate.config();
    let explain = |principal: &str, sql: &str| {
        let args = [
            "explain",
            "--target",
            "shop",
            "--as",
            principal,
            "--config",
            config.to_str().expect("plain"),
            sql,
        ];
        linegate.cli(&args)
    };
    let drop = explain("workload:ci-runner", "DROP TABLE app.scratch");
    assert!(
        drop.all().to_lowercase().contains("hold") && drop.all().contains("oncall"),
        "{}",
        drop.all()
    );
    let read = explain("workload:ci-runner", "SELECT name FROM app.customers");
    assert!(read.all().to_lowercase().contains("allow"), "{}", read.all());
    let stranger = explain("user:passer-by", "SELECT 1");
    assert!(
        stranger.all().to_lowercase().contains("deny"),
        "{}",
        stranger.all()
    );
}

/// One of the two processes by itself, and the lines that it says.
fn alone(name: &str, dir: &Path) -> (Child, mpsc::Receiver<String>) {
    let mut child = Command::new(program(name))
        .arg("--config")
        .arg(dir.join("linegate.toml"))
        .arg("--state-dir")
        .arg(dir.join("state"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("our own program");
    let said = BufReader::new(child.stdout.take().expect("piped"));
    let (say, hear) = mpsc::channel();
    std::thread::spawn(move || {
        for line in said.lines().map_while(Result::ok) {
            let _ = say.send(line);
        }
    });
    (child, hear)
}

#[test]
fn the_data_plane_is_ready_when_it_knows_the_leases() {
    let dir = temporary("lg-alone-");
    std::fs::create_dir(dir.path().join("policies")).expect("our own directory");
    let policy = "permit (principal, action, resource);";
    std::fs::write(dir.path().join("policies/p.cedar"), policy).expect("our own directory");
    let port = free_port();
    let config = format!(
        "[data]\nworkers = 1\n[[target]]\nname = \"shop\"\nprotocol = \"postgres\"\nlisten = \"127.0.0.1:{port}\"\n\
         address = \"127.0.0.1:1\"\ntls = \"disable\"\ncredential = {{ user = \"app\" }}\n[policy]\nfiles = [\"policies/*.cedar\"]\n"
    );
    std::fs::write(dir.path().join("linegate.toml"), config).expect("our own directory");
    let (mut data, said) = alone("linegated", dir.path());
    let listening = said.recv_timeout(SOON);
    let early = said.recv_timeout(Duration::from_millis(300));
    let (mut control, _) = alone("linegate-control", dir.path());
    let ready = said.recv_timeout(SOON);
    for child in [&mut data, &mut control] {
        let _ = child.kill();
        let _ = child.wait();
    }
    assert_eq!(
        early,
        Err(mpsc::RecvTimeoutError::Timeout),
        "nobody granted a lease yet"
    );
    assert_eq!(ready.as_deref(), Ok("data ready"));
    assert_eq!(listening, Ok(format!("listening shop 127.0.0.1:{port}")));
}
