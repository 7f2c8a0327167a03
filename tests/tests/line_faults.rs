//! Faults on the line, on either side of linegate, at every phase: never a wrong row, and nobody else notices.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use linegate_tests::line::{Fault, Line, Plan, Toward};
use linegate_tests::talk::{Heard, check, hold};
use linegate_tests::wire::{error_of, framed, rows};
use linegate_tests::{Lease, Linegate, Options, Postgres, RawClient, eventually};

/// A clear error or an end comes within this time.
const SOON: Duration = Duration::from_secs(10);
const PLAYERS: usize = 6;

/// A server, a line to it, a linegate that uses it, a line to that, and what the conversation says without faults.
struct Setting {
    postgres: Postgres,
    to_server: Line,
    linegate: Linegate,
    to_linegate: Line,
    lease: Lease,
    all: Heard,
}

impl Setting {
    fn new() -> Self {
        let postgres = Postgres::start();
        let to_server = Line::to(postgres.port());
        let options = Options {
            role: "app_trust",
            backend_port: Some(to_server.port()),
            target: "connect_seconds = 2\nstartup_seconds = 6".to_owned(),
            ..Options::default()
        };
        let linegate = Linegate::start_with(&postgres, options);
        let to_linegate = Line::to(linegate.port());
        let lease = linegate.lease("workload:ci-runner", &[], "all");
        let all = eventually("the catalog is known", || {
            let all = hold(&mut linegate.client(&lease));
            (all.is_whole && all.messages[1].tag == b'D').then_some(all)
        });
        Self {
            postgres,
            to_server,
            linegate,
            to_linegate,
            lease,
            all,
        }
    }

    fn login(&self, port: u16) -> Result<RawClient, linegate_tests::Message> {
        RawClient::try_login(port, &self.lease.username, &self.lease.password, "shop")
    }

    /// Somebody else is served.
    fn others_are_served(&self) {
        self.to_server.set(Plan::clean());
        self.to_linegate.set(Plan::clean());
        let heard = hold(&mut self.linegate.client(&self.lease));
        assert_eq!(heard, self.all, "new sessions are served right");
        self.linegate.assert_unharmed();
    }

    /// Sessions at the server end with those at linegate.
    fn nothing_is_left(&self) {
        eventually("the server's sessions end with their clients", || {
            let count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app_trust' AND application_name NOT LIKE 'linegate catalog%'";
            (self.postgres.sql(count).parse::<u32>().expect("a count") <= 2).then_some(())
        });
    }
}

/// Runs `play` for every number below `count`, several at once.
fn several(count: usize, play: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    play(number);
                }
            });
        }
    });
}

/// One after the other: a plan holds for the connections that are opened under it.
fn faults_toward(toward: Toward, step: usize, end: usize) {
    let setting = Setting::new();
    let (mut whole, mut cut, mut refused) = (0, 0, 0);
    for (round, after) in (0..end).step_by(step).enumerate() {
        let fault = [Fault::Close, Fault::Reset, Fault::HalfClose][round % 3];
        let what = format!("{fault:?} toward {toward:?} after {after} bytes");
        setting.to_server.set(Plan::after(toward, after, fault));
        let since = Instant::now();
        match setting.login(setting.linegate.port()) {
            Err(error) => {
                let code = error.field(b'C').unwrap_or_default();
                assert!(
                    code.starts_with("08"),
                    "{what}: the login says {code} {:?}",
                    error.field(b'M')
                );
                refused += 1;
            }
            Ok(mut client) => {
                let heard = hold(&mut client);
                check(&what, &heard, &setting.all);
                if heard.is_whole {
                    whole += 1;
                } else {
                    cut += 1;
                }
            }
        }
        assert!(since.elapsed() < SOON, "{what}: it took {:?}", since.elapsed());
    }
    assert!(
        refused > 2 && cut > 5,
        "{whole} whole, {cut} cut, {refused} refused: faults came in every phase"
    );
    setting.others_are_served();
    setting.nothing_is_left();
}

#[test]
fn what_the_server_says_is_cut_anywhere_and_no_row_is_wrong() {
    faults_toward(Toward::Client, 23, 4200);
}

#[test]
fn what_the_server_hears_is_cut_anywhere_and_no_row_is_wrong() {
    faults_toward(Toward::Server, 17, 900);
}

#[test]
fn bytes_that_come_one_by_one_are_answered_alike() {
    let setting = Setting::new();
    for (line, name) in [(&setting.to_server, "server"), (&setting.to_linegate, "client")] {
        for toward in [Toward::Client, Toward::Server] {
            setting.to_server.set(Plan::clean());
            setting.to_linegate.set(Plan::clean());
            line.set(Plan::after(toward, 0, Fault::Bytewise));
            let port = setting.to_linegate.port();
            let mut client = setting.login(port).expect("the login works byte by byte");
            assert_eq!(hold(&mut client), setting.all, "{name}, toward {toward:?}");
        }
    }
}

#[test]
fn clients_that_are_cut_off_anywhere_leave_nothing_behind() {
    let setting = Setting::new();
    for (round, after) in (0..1300).step_by(31).enumerate() {
        let fault = [Fault::Close, Fault::Reset, Fault::HalfClose][round % 3];
        let toward = [Toward::Server, Toward::Client][round % 2];
        let what = format!("{fault:?} toward {toward:?} after {after} bytes");
        setting.to_linegate.set(Plan::after(toward, after, fault));
        let login = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            setting.login(setting.to_linegate.port()).ok()
        }));
        if let Ok(Some(mut client)) = login {
            check(&what, &hold(&mut client), &setting.all);
        }
    }
    setting.others_are_served();
    setting.nothing_is_left();
}

#[test]
fn a_login_that_stalls_ends_in_time() {
    let setting = Setting::new();
    // Towards the server, which linegate gives up on; whoever waits is told.
    let stalls = [
        (Toward::Server, 0),
        (Toward::Server, 20),
        (Toward::Client, 0),
        (Toward::Client, 9),
        (Toward::Client, 200),
    ];
    for (toward, after) in stalls {
        setting.to_server.set(Plan::after(toward, after, Fault::Stall));
        let since = Instant::now();
        let error = setting
            .login(setting.linegate.port())
            .err()
            .expect("nobody is let in");
        let code = error.field(b'C').unwrap_or_default();
        assert!(
            code.starts_with("08"),
            "stalled toward {toward:?} after {after}: {code}"
        );
        assert!(since.elapsed() < SOON);
    }
    // Towards linegate, which gives up on the client.
    setting.to_server.set(Plan::clean());
    let body = [
        &196_608i32.to_be_bytes()[..],
        b"user\0",
        setting.lease.username.as_bytes(),
        b"\0\0",
    ]
    .concat();
    let startup = framed(0, &body)[1..].to_vec();
    for bytes in [0, 3, 8, startup.len() - 1, startup.len()] {
        let client = RawClient::dial(setting.linegate.port());
        let since = Instant::now();
        let mut socket = client.socket();
        std::io::Write::write_all(&mut socket, &startup[..bytes]).expect("it reads");
        let mut said = Vec::new();
        let _reset = socket.read_to_end(&mut said);
        assert!(
            since.elapsed() < SOON,
            "a login that says {bytes} bytes is kept for {:?}",
            since.elapsed()
        );
    }
    setting.others_are_served();
}

#[test]
fn a_session_that_stalls_anywhere_goes_on_where_it_was() {
    let setting = Setting::new();
    // From where the first statement goes by: within a message, a row, COPY data, behind Parse.
    let marker = "SELECT id, name, ssn";
    let places = [
        (Toward::Client, 1),
        (Toward::Client, 60),
        (Toward::Client, 190),
        (Toward::Client, 700),
        (Toward::Client, 1500),
        (Toward::Server, 3),
        (Toward::Server, 90),
        (Toward::Server, 150),
        (Toward::Server, 330),
    ];
    several(1, |_| {
        for (toward, after) in places {
            setting
                .to_server
                .set(Plan::from_marker(marker, toward, after, Fault::Stall));
            let mut client = setting.linegate.client(&setting.lease);
            setting.to_server.set(Plan::clean());
            let happened = setting.to_server.happened();
            thread::scope(|scope| {
                let talk = scope.spawn(|| hold(&mut client));
                eventually("it stalls", || {
                    (setting.to_server.happened() > happened).then_some(())
                });
                let mut other = setting.linegate.client(&setting.lease);
                assert_eq!(
                    rows(&other.query("SELECT 'served'")),
                    [["served"]],
                    "beside a session that stalls"
                );
                setting.to_server.thaw();
                let heard = talk.join().expect("it goes on");
                assert_eq!(
                    heard, setting.all,
                    "stalled toward {toward:?} after {after} bytes"
                );
            });
        }
    });
}

#[test]
fn a_stalled_statement_is_given_up_by_its_client() {
    let setting = Setting::new();
    for _ in 0..4 {
        setting
            .to_server
            .set(Plan::from_marker("give up", Toward::Client, 4, Fault::Stall));
        let mut client = setting.linegate.client(&setting.lease);
        client.send_query("SELECT 'give up'");
        assert!(client.is_quiet_for(Duration::from_millis(200)));
    }
    setting.others_are_served();
    setting.to_server.thaw();
    setting.nothing_is_left();
}

#[test]
fn a_server_that_leaves_mid_row_never_looks_complete() {
    let setting = Setting::new();
    several(12, |number| {
        let text = format!("SELECT 'mid-row-{number}', repeat('x', 3000) FROM generate_series(1, 2000)");
        let marker = format!("mid-row-{number}'");
        let mut client = {
            // One at a time: the plan is the line's.
            static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
            let _one = ONE.lock().expect("nobody panics here");
            let fault = [Fault::Close, Fault::Reset, Fault::HalfClose][number % 3];
            setting.to_server.set(Plan::from_marker(
                &marker,
                Toward::Client,
                5_000 + number * 40_001,
                fault,
            ));
            setting.linegate.client(&setting.lease)
        };
        client.send_query(&text);
        let end = client.read_to_end();
        assert!(
            end.iter().all(|message| !b"CZ".contains(&message.tag)),
            "a cut result looks complete"
        );
        for row in rows(&end) {
            assert_eq!(row, [format!("mid-row-{number}"), "x".repeat(3000)]);
        }
        if let Some((code, _)) = error_of(&end) {
            assert!(code.starts_with("08") || code.starts_with("57"), "{code}");
        }
    });
    setting.others_are_served();
}

#[test]
fn whoever_says_no_more_is_answered() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = linegate.lease("workload:ci-runner", &[], "all");
    let mut client = linegate.client(&lease);
    let text = |text: &str| framed(b'Q', &[text.as_bytes(), &[0]].concat());
    client.send_bytes(
        &[
            text("SELECT pg_sleep(0.5)"),
            text("SELECT n FROM generate_series(1, 20000) n"),
        ]
        .concat(),
    );
    client.say_no_more();
    assert_eq!(rows(&client.read_to_ready()).len(), 1);
    assert_eq!(rows(&client.read_to_ready()).len(), 20_000);
    eventually("the server's session has ended", || {
        let count =
            postgres.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%ci-runner%'");
        (count.trim() == "0").then_some(())
    });
    // Nobody waits for data that will not come.
    let mut client = linegate.client(&lease);
    client.send_bytes(&text("COPY app.scratch FROM STDIN"));
    client.read_to(b'G');
    client.say_no_more();
    let began = Instant::now();
    client.read_to_end();
    assert!(began.elapsed() < Duration::from_secs(4));
    linegate.assert_unharmed();
}
