//! A linegate of a test's own: `linegate up` with a configuration that the test shapes, and its command line.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::postgres::{Postgres, signal};
use crate::wire::RawClient;
use crate::{SOON, eventually, places, shop};

/// What a test changes about the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// `statements`, `shape` or `rows`.
    pub record: &'static str,
    /// Cedar text.
    pub policies: String,
    /// The role at the target.
    pub role: &'static str,
    /// `disable`, `require`, …
    pub backend_tls: &'static str,
    /// Further lines of the `[[target]]` table.
    pub target: String,
    /// Further lines of the `[data]` table.
    pub data: String,
    /// The key and certificate that clients see, PEM files.
    pub client_cert: Option<(PathBuf, PathBuf)>,
    /// Record on a disk of so many megabytes, which [`Linegate::enlarge_disk`] enlarges.
    pub disk_megabytes: Option<u32>,
    /// Further tables at the end of the file.
    pub more: String,
    /// Dial this port instead of the server's.
    pub backend_port: Option<u16>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            record: "rows",
            policies: shop::POLICIES.to_owned(),
            role: "app",
            backend_tls: "disable",
            target: String::new(),
            data: String::new(),
            client_cert: None,
            disk_megabytes: None,
            more: String::new(),
            backend_port: None,
        }
    }
}

/// A running pair of processes.
pub struct Linegate {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

/// What a command said and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// Whether it ended with status 0.
    pub ok: bool,
    /// The status.
    pub code: Option<i32>,
}

impl Said {
    /// Runs a command to its end.
    pub fn by(command: &mut Command) -> Self {
        let output = command
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            ok: output.status.success(),
            code: output.status.code(),
        }
    }

    /// Panics unless the command succeeded.
    pub fn good(self) -> Self {
        assert!(self.ok, "the command failed: {}\n{}", self.out, self.err);
        self
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}\n{}", self.out, self.err))
    }

    /// Both outputs.
    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// A lease as `lease create --json` prints it.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Its id.
    pub id: String,
    /// Its user name.
    pub username: String,
    /// Its secret.
    pub password: String,
    /// Its token.
    pub token: String,
    /// `ci-runner → build`.
    pub chain: String,
    /// Everything that was printed.
    pub whole: Value,
}

impl Lease {
    pub(crate) fn read(value: Value) -> Self {
        let text = |field: &str| {
            value[field]
                .as_str()
                .unwrap_or_else(|| panic!("a lease has a {field}: {value}"))
                .to_owned()
        };
        Self {
            id: text("lease_id"),
            username: text("username"),
            password: text("password"),
            token: text("token"),
            chain: text("chain"),
            whole: value,
        }
    }
}

impl Linegate {
    /// In front of that server, with the shop's policies.
    pub fn start(postgres: &Postgres) -> Self {
        Self::start_with(postgres, Options::default())
    }

    /// In front of that server, changed by the test.
    pub fn start_with(postgres: &Postgres, options: Options) -> Self {
        let dir = places::temporary("lg-up-");
        let port = places::free_port();
        write_config(dir.path(), postgres, port, &options);
        let command = match options.disk_megabytes {
            None => Command::new(places::program("linegate")),
            Some(megabytes) => on_small_disk(&dir.path().join("state/recordings"), megabytes),
        };
        let child = spawn(command, dir.path());
        Self { child, dir, port }
    }

    /// Starts it again with what the one before left, which has ended.
    pub fn start_again(&mut self) {
        let command = Command::new(places::program("linegate"));
        self.child = spawn(command, self.dir.path());
    }

    /// Its state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("linegate.toml")
    }

    /// Its recordings.
    pub fn recordings(&self) -> PathBuf {
        self.state_dir().join("recordings")
    }

    /// The target's door, loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What all three processes wrote to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A command of the command line, with this state directory.
    pub fn cli(&self, args: &[&str]) -> Said {
        Said::by(&mut self.cli_command(args))
    }

    /// The same, not yet run.
    pub fn cli_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(places::program("linegate"));
        let (options, rest) = args.split_at(args.iter().position(|arg| *arg == "--").unwrap_or(args.len()));
        command
            .args(options)
            .arg("--state-dir")
            .arg(self.state_dir())
            .args(rest);
        for name in [
            "LINEGATE_CONTROL",
            "LINEGATE_LEASE_USER",
            "LINEGATE_LEASE_PASSWORD",
            "LINEGATE_LEASE_TOKEN",
        ] {
            command.env_remove(name);
        }
        command
    }

    /// A lease for a principal and its agents.
    pub fn lease(&self, principal: &str, actors: &[&str], scope: &str) -> Lease {
        self.lease_for(principal, actors, scope, "15m")
    }

    /// A lease with a life of its own.
    pub fn lease_for(&self, principal: &str, actors: &[&str], scope: &str, ttl: &str) -> Lease {
        let mut args = vec![
            "lease",
            "create",
            "--json",
            "--target",
            shop::TARGET,
            "--as",
            principal,
        ];
        for actor in actors {
            args.extend(["--actor", actor]);
        }
        args.extend(["--scope", scope, "--ttl", ttl]);
        Lease::read(self.cli(&args).good().json())
    }

    /// A lease within another.
    pub fn derive(&self, parent: &Lease, actor: &str, scope: &str) -> Lease {
        let said = self.try_derive(parent, actor, scope);
        Lease::read(said.good().json())
    }

    /// The same, where a refusal is an answer.
    pub fn try_derive(&self, parent: &Lease, actor: &str, scope: &str) -> Said {
        let mut command =
            self.cli_command(&["lease", "derive", "--json", "--actor", actor, "--scope", scope]);
        command
            .env("LINEGATE_LEASE_USER", &parent.username)
            .env("LINEGATE_LEASE_PASSWORD", &parent.password);
        Said::by(&mut command)
    }

    /// psql under a lease, rows only, unaligned.
    pub fn psql(&self, lease: &Lease, args: &[&str]) -> Said {
        Said::by(self.psql_command(lease).arg("-qAt").args(args))
    }

    /// psql under a lease as a person would call it.
    pub fn psql_command(&self, lease: &Lease) -> Command {
        self.client_command("psql", lease).tap(|command| {
            command.arg("-X");
        })
    }

    /// Any libpq client under a lease.
    pub fn client_command(&self, program: &str, lease: &Lease) -> Command {
        let mut command = Command::new(program);
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", &lease.username)
            .env("PGPASSWORD", &lease.password)
            .env("PGDATABASE", "shop")
            .env("PGCONNECT_TIMEOUT", "20");
        command
    }

    /// A client that speaks the protocol itself, logged in.
    pub fn client(&self, lease: &Lease) -> RawClient {
        RawClient::login(self.port, &lease.username, &lease.password, "shop")
    }

    /// The same with more startup parameters.
    pub fn client_with(&self, lease: &Lease, more: &[(&str, &str)]) -> RawClient {
        let own = [("user", lease.username.as_str()), ("database", "shop")];
        RawClient::login_with(self.port, &lease.password, &[&own, more].concat())
            .unwrap_or_else(|error| panic!("the login was refused: {:?}", error.field(b'M')))
    }

    /// The one statement that waits now.
    pub fn hold(&self) -> Value {
        eventually("a statement waits for a person", || {
            let list = self.cli(&["holds", "--json"]).good().json();
            let holds = list.as_array().or_else(|| list["holds"].as_array())?;
            assert!(holds.len() <= 1, "more than one hold: {list}");
            holds.first().cloned()
        })
    }

    /// How many statements wait now.
    pub fn holds_count(&self) -> usize {
        let list = self.cli(&["holds", "--json"]).good().json();
        list.as_array()
            .or_else(|| list["holds"].as_array())
            .map_or(0, Vec::len)
    }

    /// The process id of one of the programs that `linegate up` started.
    pub fn process(&self, program: &str) -> Option<i32> {
        let parent = self.child.id().to_string();
        std::fs::read_dir("/proc")
            .ok()?
            .filter_map(Result::ok)
            .find_map(|entry| {
                let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
                let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
                let ours = status.lines().any(|line| {
                    line.strip_prefix("PPid:")
                        .is_some_and(|ppid| ppid.trim() == parent)
                });
                let name = std::fs::read_link(entry.path().join("exe")).ok()?;
                (ours && name.file_name()?.to_str()? == program).then_some(pid)
            })
    }

    /// Memory of the data plane.
    ///
    /// # Panics
    /// When it does not run.
    pub fn resident_kilobytes(&self) -> u64 {
        let pid = self.process("linegated").expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("a resident size");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Kills one of the programs that `linegate up` started.
    pub fn kill(&self, program: &str) {
        let pid = self
            .process(program)
            .unwrap_or_else(|| panic!("{program} does not run"));
        kill_process(Pid::from_raw(pid).expect("a process id"), Signal::KILL)
            .expect("the tests may signal their own");
    }

    /// Sends a signal to `linegate up` itself.
    pub fn tell(&self, what: Signal) {
        signal(&self.child, what);
    }

    /// Stops it as an operator would and returns the exit status.
    pub fn stop(&mut self) -> Option<i32> {
        self.tell(Signal::TERM);
        self.wait()
    }

    /// Makes the small disk of [`Options::disk_megabytes`] larger.
    pub fn enlarge_disk(&self, megabytes: u32) {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.child.id().to_string(), "--mount", "--root"]);
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["mount", "-o", &format!("remount,size={megabytes}m")]);
        places::must(command.arg(self.recordings()));
    }

    /// Waits for `linegate up` to end by itself.
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "linegate did not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether both processes are still there: no fault of a client may have ended them.
    pub fn assert_unharmed(&self) {
        assert!(
            self.process("linegated").is_some(),
            "linegated is gone:\n{}",
            self.log()
        );
    }
}

impl Drop for Linegate {
    fn drop(&mut self) {
        signal(&self.child, Signal::TERM);
        let deadline = Instant::now() + SOON;
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > deadline {
                signal(&self.child, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if std::thread::panicking() {
            eprintln!("--- what linegate said ---\n{}", self.log());
        }
    }
}

/// Runs a closure on a value on its way through.
trait Tap: Sized {
    fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Tap for Command {}

/// `linegate` in a mount namespace of its own, where the directory is a file system in memory of that size.
fn on_small_disk(directory: &Path, megabytes: u32) -> Command {
    std::fs::create_dir_all(directory).expect("our own directory");
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let script = format!("mount -t tmpfs -o size={megabytes}m tmpfs \"$0\" && exec \"$@\"");
    command
        .args(["sh", "-c", &script])
        .arg(directory)
        .arg(places::program("linegate"));
    command
}

/// `linegate up` with the configuration and the state in a directory; returns when it is ready.
fn spawn(mut command: Command, dir: &Path) -> Child {
    let log = File::options().create(true).append(true).open(dir.join("log"));
    let mut child = command
        .args(["up", "--config"])
        .arg(dir.join("linegate.toml"))
        .arg("--state-dir")
        .arg(dir.join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.expect("our own directory"))
        .spawn()
        .expect("linegate runs");
    let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
    let ready = said
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.starts_with("ready"));
    if ready.is_none() {
        let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        signal(&child, Signal::TERM);
        panic!("linegate did not become ready:\n{log}");
    }
    // Keeps the pipe open and empty for as long as the process lives.
    std::thread::spawn(move || said.for_each(drop));
    child
}

fn write_config(dir: &Path, postgres: &Postgres, port: u16, options: &Options) {
    let policies = dir.join("policies");
    std::fs::create_dir(&policies).expect("our own directory");
    std::fs::write(policies.join("shop.cedar"), &options.policies).expect("our own directory");
    let password = dir.join("password");
    std::fs::write(&password, "app-secret\n").expect("our own directory");
    let mut data = options.data.clone();
    if let Some((key, cert)) = &options.client_cert {
        data.push_str(&format!(
            "\ntls_cert = \"{}\"\ntls_key = \"{}\"\n",
            cert.display(),
            key.display()
        ));
    }
    let text = format!(
        r#"
[control]
state = "sqlite:state.db"

[data]
workers = 1
recordings = "{recordings}"
{data}

[[target]]
name = "shop"
protocol = "postgres"
listen = "127.0.0.1:{port}"
address = "127.0.0.1:{backend}"
database = "shop"
tls = "{tls}"
credential = {{ user = "{role}", password = "file:{password}" }}
record = "{record}"
{target}
{labels}
{groups}
[policy]
files = ["policies/*.cedar"]
{more}
"#,
        recordings = dir.join("state/recordings").display(),
        backend = options.backend_port.unwrap_or_else(|| postgres.port()),
        tls = options.backend_tls,
        role = options.role,
        password = password.display(),
        record = options.record,
        target = options.target,
        data = data,
        labels = shop::LABELS,
        groups = shop::GROUPS,
        more = options.more,
    );
    std::fs::write(dir.join("linegate.toml"), text).expect("our own directory");
}
