//! The program as operators meet it: its ready line, its sockets, its signals, its lock, its mistakes.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CONFIG: &str = r#"
[[target]]
name = "prod"
protocol = "postgres"
listen = "0.0.0.0:6432"
address = "127.0.0.1:5432"
credential = { user = "app", password = "env:PGPASSWORD" }
"#;

/// Ends the process when a test fails before it does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn start(dir: &Path) -> Running {
    let child = Command::new(env!("CARGO_BIN_EXE_linegate-control"))
        .arg("--config")
        .arg(dir.join("linegate.toml"))
        .arg("--state-dir")
        .arg(dir.join("state"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    Running(child.expect("it starts"))
}

fn until_ready(running: &mut Running) {
    let mut line = String::new();
    let stdout = running.0.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("readable");
    assert_eq!(line, "control ready\n");
}

fn signal(running: &Running, name: &str) {
    // The shell's own kill: a small system has no program of that name.
    let sent = Command::new("sh")
        .arg("-c")
        .arg(format!("kill {name} {}", running.0.id()))
        .status()
        .expect("sh(1)");
    assert!(sent.success());
}

fn ask(dir: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(dir.join("state/admin.sock")).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

fn targets(dir: &Path) -> String {
    ask(
        dir,
        "GET /v1/targets HTTP/1.1\r\nhost: linegate\r\nconnection: close\r\n\r\n",
    )
}

#[test]
fn it_serves_reloads_and_stops() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let config = dir.join("linegate.toml");
    std::fs::write(&config, CONFIG).expect("writable");
    let mut running = start(dir);
    until_ready(&mut running);
    let mode = |name: &str| {
        std::fs::metadata(dir.join("state").join(name))
            .expect("there")
            .permissions()
            .mode()
            & 0o777
    };
    for (name, expected) in [
        ("admin.sock", 0o600),
        ("link.sock", 0o600),
        ("agents.sock", 0o666),
        ("token.key", 0o600),
        ("state.db", 0o600),
        ("state.db-wal", 0o600),
    ] {
        assert_eq!(mode(name), expected, "{name}");
    }
    assert!(targets(dir).contains("\"prod\""));

    let mut second = start(dir);
    assert!(
        !second.0.wait().expect("it ends").success(),
        "one control plane per state directory"
    );
    assert!(targets(dir).contains("\"prod\""), "the first one is untouched");

    let mut stderr = BufReader::new(running.0.stderr.take().expect("piped"));
    let mut wait_for = |text: &str| {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert!(
                stderr.read_line(&mut line).expect("readable") > 0,
                "it ended before it said {text:?}"
            );
        }
    };
    std::fs::write(&config, "[[target]]\nname = 7\n").expect("writable");
    signal(&running, "-HUP");
    wait_for("the old configuration stays in force");
    assert!(
        targets(dir).contains("\"prod\""),
        "a bad reload keeps the old configuration"
    );
    std::fs::write(&config, CONFIG.replace("\"prod\"", "\"shop\"")).expect("writable");
    signal(&running, "-HUP");
    wait_for("the configuration was read again");
    assert!(targets(dir).contains("\"shop\""));

    signal(&running, "-TERM");
    let asked = Instant::now();
    let status = running.0.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert!(!dir.join("state/admin.sock").exists());
}

#[test]
fn mistakes_in_the_configuration_are_said_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    std::fs::write(
        dir.join("linegate.toml"),
        CONFIG.replace("\"postgres\"", "\"pidgin\""),
    )
    .expect("writable");
    let mut running = start(dir);
    assert!(!running.0.wait().expect("it ends").success());
    let mut said = String::new();
    running
        .0
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut said)
        .expect("readable");
    assert!(said.contains("pidgin"), "{said}");
    assert!(!dir.join("state").exists(), "nothing was made");
}
