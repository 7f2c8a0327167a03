//! Faults of the server: killed, restarted, frozen. Clients get a clear error in time, never a wrong row, and new sessions are
//! served soon after the server is.

use std::thread;
use std::time::{Duration, Instant};

use linegate_tests::wire::{bind, error_of, execute, parse, rows, tags};
use linegate_tests::{Lease, Linegate, Message, Options, Postgres, RawClient};

/// A clear error comes within this time.
const SOON: Duration = Duration::from_secs(10);
/// New sessions are right within this time of the repair.
const REPAIRED: Duration = Duration::from_secs(5);

fn linegate(postgres: &Postgres) -> (Linegate, Lease) {
    let linegate = Linegate::start_with(postgres, Options::default());
    let lease = linegate.lease("workload:ci-runner", &[], "all");
    (linegate, lease)
}

/// Sessions in every state that a fault may find.
struct Sessions {
    idle: RawClient,
    in_transaction: RawClient,
    mid_result: RawClient,
    suspended: RawClient,
    copying: RawClient,
}

/// Soon, and with an error that says whose fault it is.
fn assert_ends_clearly(what: &str, end: &[Message], since: Instant) {
    let taken = since.elapsed();
    assert!(taken < SOON, "{what}: the end came after {taken:?}");
    let (code, said) = error_of(end).unwrap_or_else(|| panic!("{what}: it ended without a word"));
    let is_clear = code.starts_with("08") || code.starts_with("57");
    assert!(is_clear, "{what}: {code} {said}");
}

impl Sessions {
    fn open(linegate: &Linegate, lease: &Lease) -> Self {
        let new = || linegate.client(lease);
        let (idle, mut in_transaction, mut mid_result, mut suspended, mut copying) =
            (new(), new(), new(), new(), new());
        in_transaction.query("BEGIN");
        in_transaction.query("INSERT INTO app.scratch VALUES (4711)");
        mid_result.send_query("SELECT 'mid', repeat('x', 1000) FROM generate_series(1, 1000000)");
        mid_result.read_to(b'D');
        suspended.send_bytes(
            &[
                parse("", "SELECT id FROM app.orders ORDER BY id"),
                bind("", "", &[], 0),
                execute("", 3),
            ]
            .concat(),
        );
        suspended.send(b'H', b"");
        suspended.read_to(b's');
        copying.send_query("COPY app.scratch FROM STDIN");
        copying.read_to(b'G');
        Self {
            idle,
            in_transaction,
            mid_result,
            suspended,
            copying,
        }
    }

    /// Asks each of them to go on, and judges how it ends.
    fn end(mut self, since: Instant) {
        let _gone = self.copying.try_send_bytes(b"d\0\0\0\x061\nc\0\0\0\x04");
        let _gone = self
            .suspended
            .try_send_bytes(&[execute("", 0), b"S\0\0\0\x04".to_vec()].concat());
        for client in [&mut self.idle, &mut self.in_transaction] {
            let _gone = client.try_send_bytes(b"Q\0\0\0\x0dSELECT 1\0");
        }
        for (what, client) in [
            ("idle", &mut self.idle),
            ("in a transaction", &mut self.in_transaction),
            ("with a suspended portal", &mut self.suspended),
            ("in the middle of COPY", &mut self.copying),
        ] {
            let end = client.read_to_end();
            assert_ends_clearly(what, &end, since);
            assert!(
                end.iter().all(|message| !b"DC".contains(&message.tag)),
                "{what}: {}",
                tags(&end)
            );
        }
        let end = self.mid_result.read_to_end();
        assert!(
            since.elapsed() < SOON,
            "mid-result: the end came after {:?}",
            since.elapsed()
        );
        assert!(
            end.iter().all(|message| !b"CZ".contains(&message.tag)),
            "a result that was cut must not look complete"
        );
        let wrong = |row: &Vec<String>| row[0] != "mid" || row[1].len() != 1000;
        assert!(!rows(&end).iter().any(wrong), "a wrong row came");
    }
}

fn try_login(linegate: &Linegate, lease: &Lease) -> Result<RawClient, Message> {
    RawClient::try_login(linegate.port(), &lease.username, &lease.password, "shop")
}

/// From `since` on, when the server serves again, a new session must be right soon.
fn new_sessions_are_right(linegate: &Linegate, lease: &Lease, since: Instant) {
    loop {
        if let Ok(mut client) = try_login(linegate, lease) {
            let answer = rows(&client.query("SELECT name, card_number FROM app.customers WHERE id = 1"));
            assert_eq!(answer, [["first customer", "************1111"]]);
            assert!(since.elapsed() < REPAIRED, "it took {:?}", since.elapsed());
            break;
        }
        assert!(since.elapsed() < REPAIRED, "no new session within {REPAIRED:?}");
        thread::sleep(Duration::from_millis(50));
    }
    linegate.assert_unharmed();
}

#[test]
fn a_killed_server_process_is_a_clear_error_and_new_sessions_are_right() {
    let postgres = Postgres::start();
    let (linegate, lease) = linegate(&postgres);
    new_sessions_are_right(&linegate, &lease, Instant::now());
    let sessions = Sessions::open(&linegate, &lease);
    let since = Instant::now();
    // One is killed; the server ends all the others, since it cannot know what was broken.
    postgres.kill_backend_running("%''mid''%");
    thread::sleep(Duration::from_secs(1));
    sessions.end(since);
    postgres.recovered();
    new_sessions_are_right(&linegate, &lease, Instant::now());
    assert_eq!(
        postgres.sql("SELECT count(*) FROM app.scratch"),
        "0",
        "nothing that was open is there"
    );
}

#[test]
fn a_restarted_server_is_a_clear_error_and_new_sessions_are_right() {
    let mut postgres = Postgres::start();
    let (linegate, lease) = linegate(&postgres);
    new_sessions_are_right(&linegate, &lease, Instant::now());
    let sessions = Sessions::open(&linegate, &lease);
    let since = Instant::now();
    postgres.crash();
    sessions.end(since);
    let asked = Instant::now();
    let refused = try_login(&linegate, &lease).err().expect("there is no server");
    assert!(asked.elapsed() < SOON && refused.field(b'C').is_some_and(|code| code.starts_with("08")));
    postgres.start_again();
    new_sessions_are_right(&linegate, &lease, Instant::now());
}

#[test]
fn a_frozen_server_is_a_clear_error_and_after_the_thaw_all_is_right() {
    let postgres = Postgres::start();
    let (linegate, lease) = linegate(&postgres);
    new_sessions_are_right(&linegate, &lease, Instant::now());
    let mut idle = linegate.client(&lease);
    let mut asking = linegate.client(&lease);
    let mut waiting = linegate.client(&lease);
    waiting.send_query("SELECT pg_sleep(1), 'slept'");
    thread::sleep(Duration::from_millis(200));
    postgres.freeze();
    let since = Instant::now();
    asking.send_query("SELECT name FROM app.customers WHERE id = 1");
    let refused = try_login(&linegate, &lease).err().expect("the server is frozen");
    assert!(since.elapsed() < SOON && refused.field(b'C').is_some_and(|code| code.starts_with("08")));
    for (what, client) in [("asked now", &mut asking), ("asked before", &mut waiting)] {
        let end = client.read_to_end();
        assert_ends_clearly(what, &end, since);
        assert!(rows(&end).is_empty(), "{what}: a row came");
    }
    postgres.thaw();
    let thawed = Instant::now();
    assert_eq!(
        rows(&idle.query("SELECT 'still here'")),
        [["still here"]],
        "who asked nothing goes on"
    );
    new_sessions_are_right(&linegate, &lease, thawed);
}

#[test]
fn a_long_statement_on_a_living_server_is_not_taken_for_a_frozen_one() {
    let postgres = Postgres::start();
    let (linegate, lease) = linegate(&postgres);
    let mut client = linegate.client(&lease);
    assert_eq!(
        rows(&client.query("SELECT pg_sleep(12), 'slept'")),
        [["", "slept"]]
    );
}
