//! A PostgreSQL server of a test's own.
//!
//! `initdb` and the shop's schema run once and are kept as a template beside other temporary files; every server is a copy
//! of it. `app` logs in over TCP with SCRAM-SHA-256, `app_md5`, `app_plain` and `app_trust` with what their names say,
//! `postgres` over the Unix socket only. Durability is off: nothing here outlives the test.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::places::{self, must, unprivileged};
use crate::{eventually, shop};

/// Goes up when the template's content changes.
const TEMPLATE_VERSION: u32 = 4;

const HBA: &str = "
local all all trust
host all app 127.0.0.1/32 scram-sha-256
host all app_md5 127.0.0.1/32 md5
host all app_plain 127.0.0.1/32 password
host all app_trust 127.0.0.1/32 trust
";

/// A running server.
pub struct Postgres {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
    settings: Vec<String>,
}

impl Postgres {
    /// A server without TLS.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server that offers TLS, with a certificate for `localhost` that [`Postgres::certificate`] names.
    pub fn start_tls() -> Self {
        Self::start_with(&["ssl=on"])
    }

    /// A server with further settings.
    pub fn start_with(settings: &[&str]) -> Self {
        let template = template();
        let dir = places::temporary("lg-pg-");
        let data = dir.path().join("data");
        must(
            Command::new("cp")
                .args(["-a", "--reflink=auto"])
                .arg(&template)
                .arg(&data),
        );
        give_to_server(dir.path());
        if settings.contains(&"ssl=on") {
            certificate(&data);
        }
        let port = places::free_port();
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let child = serve(dir.path(), port, &settings);
        let postgres = Self {
            child,
            dir,
            port,
            settings,
        };
        postgres.wait_until_it_serves();
        postgres
    }

    fn wait_until_it_serves(&self) {
        eventually("PostgreSQL accepts connections", || {
            self.try_sql("postgres", "SELECT 1").then_some(())
        });
    }

    /// Starts it again where it was, after [`Postgres::crash`].
    pub fn start_again(&mut self) {
        self.child = serve(self.dir.path(), self.port, &self.settings);
        self.wait_until_it_serves();
    }

    /// Waits until it serves again after one of its processes was killed.
    pub fn recovered(&self) {
        self.wait_until_it_serves();
    }

    /// Stops all of its processes where they are, as a machine that freezes does.
    pub fn freeze(&self) {
        self.tell_all(Signal::STOP);
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        self.tell_all(Signal::CONT);
    }

    fn tell_all(&self, what: Signal) {
        signal(&self.child, what);
        let parent = format!("PPid:\t{}", self.child.id());
        for entry in std::fs::read_dir("/proc").expect("Linux").flatten() {
            let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = pid.and_then(Pid::from_raw)
                && status.lines().any(|line| line == parent)
            {
                let _gone = kill_process(pid, what);
            }
        }
    }

    /// The port it listens on, loopback only.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's certificate, PEM.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("data/server.crt")
    }

    /// Runs SQL in the shop as the superuser, around linegate; the rows, unaligned.
    pub fn sql(&self, text: &str) -> String {
        must(&mut self.superuser("shop", text)).trim_end().to_owned()
    }

    fn try_sql(&self, database: &str, text: &str) -> bool {
        self.superuser(database, text)
            .output()
            .is_ok_and(|output| output.status.success())
    }

    fn superuser(&self, database: &str, text: &str) -> Command {
        let mut command = Command::new("psql");
        command.arg("-h").arg(self.dir.path()).args([
            "-p",
            &self.port.to_string(),
            "-U",
            "postgres",
            "-d",
            database,
        ]);
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", text]);
        command
    }

    /// A psql that dials the server itself as `app`, for comparisons.
    pub fn direct(&self) -> Command {
        let mut command = Command::new("psql");
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-U",
            "app",
            "-d",
            "shop",
            "-X",
        ]);
        command.env("PGPASSWORD", "app-secret");
        command
    }

    /// Kills the server process that serves the session with that SQL in `pg_stat_activity`.
    pub fn kill_backend_running(&self, like: &str) {
        let pid = eventually("a server process runs the statement", || {
            let found = self.sql(&format!(
                "SELECT pid FROM pg_stat_activity WHERE query LIKE '{like}' AND pid <> pg_backend_pid() LIMIT 1"
            ));
            found.parse::<i32>().ok()
        });
        self.tell_backend(pid, Signal::KILL);
    }

    /// Signals one of its processes.
    pub fn tell_backend(&self, pid: i32, what: Signal) {
        let pid = Pid::from_raw(pid).expect("a process id");
        kill_process(pid, what).expect("the tests may signal their own server");
    }

    /// Ends the server at once, as a crash would.
    pub fn crash(&mut self) {
        signal(&self.child, Signal::QUIT);
        self.child.wait().expect("our own child");
    }
}

/// Runs the server.
fn serve(dir: &Path, port: u16, settings: &[String]) -> Child {
    let mut command = unprivileged(&places::postgres_bin().join("postgres"));
    command.arg("-D").arg(dir.join("data")).arg("-k").arg(dir).args([
        "-h",
        "127.0.0.1",
        "-p",
        &port.to_string(),
    ]);
    for setting in settings {
        command.args(["-c", setting]);
    }
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .expect("our own directory");
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file handle"))
        .stderr(log)
        .spawn()
        .expect("setpriv and postgres run")
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.thaw();
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            signal(&self.child, Signal::QUIT);
            let _ended = self.child.wait();
        }
    }
}

/// Signals a child that has not been waited for.
pub(crate) fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _gone = kill_process(pid, signal);
    }
}

/// The template's data directory, made by the first test that needs it; the others wait for it.
fn template() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    let bin = places::postgres_bin();
    let major = bin
        .parent()
        .and_then(Path::file_name)
        .map_or_else(String::new, |name| name.to_string_lossy().into());
    let home = PathBuf::from(format!("/tmp/linegate-tests-{user}"));
    std::fs::create_dir_all(&home).expect("/tmp is writable");
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755)).expect("our own directory");
    let lock = File::create(home.join("lock")).expect("our own directory");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("a local file can be locked");
    let done = home.join(format!("pg{major}-v{TEMPLATE_VERSION}"));
    if !done.exists() {
        let making = places::temporary("lg-template-");
        give_to_server(making.path());
        make_template(&bin, making.path());
        must(
            Command::new("cp")
                .arg("-a")
                .arg(making.path().join("data"))
                .arg(home.join("half")),
        );
        std::fs::rename(home.join("half"), &done).expect("a rename within our own directory");
    }
    done
}

fn make_template(bin: &Path, dir: &Path) {
    let data = dir.join("data");
    must(unprivileged(&bin.join("initdb")).arg("-D").arg(&data).args([
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
        "--wal-segsize=1",
    ]));
    let mut settings = std::fs::read_to_string(data.join("postgresql.conf")).expect("initdb wrote it");
    settings
        .push_str("fsync = off\nfull_page_writes = off\nsynchronous_commit = off\nmax_connections = 60\n");
    settings.push_str("shared_buffers = 32MB\nmax_wal_size = 256MB\n");
    std::fs::write(data.join("postgresql.conf"), settings).expect("our own file");
    std::fs::write(data.join("pg_hba.conf"), HBA).expect("our own file");
    // Without a running server, new objects would get numbers of the server's own.
    must(
        unprivileged(&bin.join("pg_resetwal"))
            .args(["-o", "16384", "-D"])
            .arg(&data)
            .stdout(Stdio::null()),
    );
    let single = |database: &str, sql: &str| {
        use std::io::Write as _;
        let mut child = unprivileged(&bin.join("postgres"))
            .args(["--single", "-j", "-D"])
            .arg(&data)
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("postgres runs");
        // In this mode a statement ends with `;` and an empty line.
        let text = sql.replace(";\n", ";\n\n");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(text.as_bytes())
            .expect("postgres reads its input");
        assert!(
            child.wait().expect("our own child").success(),
            "the template's schema was not accepted"
        );
    };
    single("postgres", shop::ROLES);
    single("shop", shop::SCHEMA);
}

/// Lets the server's user own a directory when we are root.
fn give_to_server(dir: &Path) {
    if rustix::process::geteuid().is_root() {
        must(Command::new("chown").arg("postgres:postgres").arg(dir));
    }
}

fn certificate(data: &Path) {
    let (key, crt) = (data.join("server.key"), data.join("server.crt"));
    self_signed(&key, &crt);
    give_to_server(&key);
    give_to_server(&crt);
}

/// `openssl` about to make a new key and a certificate that it signs itself, for two days.
pub(crate) fn self_signing() -> Command {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-nodes", "-days", "2"]);
    command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    command
}

/// A key and a certificate for `localhost` and 127.0.0.1 that signs itself.
pub fn self_signed(key: &Path, crt: &Path) {
    must(
        self_signing()
            .args([
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost,IP:127.0.0.1",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ])
            .arg("-keyout")
            .arg(key)
            .arg("-out")
            .arg(crt),
    );
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).expect("our own file");
}
