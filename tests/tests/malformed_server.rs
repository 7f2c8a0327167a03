//! A server that answers with nonsense: the client gets a clear error or an end, never a labelled value, and others go on.
//!
//! The server is a real one; its answers are changed on the line. One command plays one change again:
//! `MALFORMED_SEED=7 MALFORMED_ONLY=4711 cargo test -p linegate-tests --test malformed_server -- --nocapture`

use std::io::Read as _;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use linegate_tests::chance::Chance;
use linegate_tests::line::{Fault, Line, Plan, Toward};
use linegate_tests::malformed::player::{PATIENCE, shown};
use linegate_tests::shop::{CARDS, SSNS};
use linegate_tests::wire::{bind, c_string, describe, execute, framed, parse, rows, sync};
use linegate_tests::{Lease, Linegate, Message, Options, Postgres, RawClient, eventually};

const SEED: u64 = 1;
const CASES: u64 = 2_500;
const PLAYERS: usize = 10;
const MARKER: &str = "/* change ";
const ROWS: &str = "SELECT id, name, ssn, card_number FROM app.customers ORDER BY id";

fn from_environment<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text}")),
    )
}

/// What the client asks, whose answer is changed.
fn question(number: u64) -> Vec<u8> {
    let sql = |text: &str| format!("{MARKER}{number} */ {text}");
    let simple = |text: &str| framed(b'Q', &c_string(&sql(text)));
    match Chance::new(!SEED, number).below(8) {
        0 | 1 => simple(ROWS),
        2 => simple("SELECT 1; SELECT ssn FROM app.customers; SELECT 2"),
        3 => [
            parse("", &sql(ROWS)),
            bind("", "", &[], 0),
            describe(b'P', ""),
            execute("", 0),
            sync(),
        ]
        .concat(),
        4 => [
            parse("", &sql(ROWS)),
            bind("", "", &[], 1),
            execute("", 2),
            execute("", 0),
            sync(),
        ]
        .concat(),
        5 => [
            parse("s", &sql(ROWS)),
            describe(b'S', "s"),
            bind("p", "s", &[], 0),
            execute("p", 0),
            sync(),
        ]
        .concat(),
        6 => simple("SELECT ssn, 1 / (id - id) FROM app.customers"),
        _ => simple("COPY (SELECT id, name FROM app.customers) TO STDOUT"),
    }
}

/// Asks and hears what comes, up to ReadyForQuery or the end.
fn play(linegate: &Linegate, lease: &Lease, number: u64) -> Result<(), String> {
    let client = RawClient::try_login(linegate.port(), &lease.username, &lease.password, "shop");
    let mut client = client.map_err(|error| format!("a fresh login is refused: {:?}", error.field(b'M')))?;
    client.send_bytes(&question(number));
    let mut socket = client.socket();
    socket
        .set_read_timeout(Some(PATIENCE))
        .map_err(|error| error.to_string())?;
    let deadline = Instant::now() + PATIENCE;
    let (mut said, mut piece) = (Vec::new(), vec![0; 1 << 14]);
    loop {
        match socket.read(&mut piece) {
            Ok(0) => break,
            Ok(bytes) => said.extend_from_slice(&piece[..bytes]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(format!("neither an answer nor an end; so far {}", shown(&said)));
            }
            Err(_) => break,
        }
        let is_ready = said.len() >= 6 && said[said.len() - 6..].starts_with(b"Z\0\0\0\x05");
        if is_ready || Instant::now() > deadline {
            break;
        }
    }
    judge(&said)
}

fn judge(said: &[u8]) -> Result<(), String> {
    for value in CARDS.iter().chain(&SSNS) {
        if said.windows(value.len()).any(|window| window == value.as_bytes()) {
            return Err(format!(
                "the labelled value {value} is among what came: {}",
                shown(said)
            ));
        }
    }
    let (mut rest, mut columns) = (said, None::<[u8; 2]>);
    while let [tag, a, b, c, d, ..] = rest {
        let size = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).expect("64 bits");
        if !b"123ACDEGHINSTVWZcdnst".contains(tag) || !(4..1 << 31).contains(&size) {
            return Err(format!("not of the protocol from here on: {}", shown(rest)));
        }
        let Some(body) = rest.get(5..=size) else { break };
        match tag {
            b'T' => columns = Some([body[0], body[1]]),
            b'D' if columns.is_some() && columns != body.get(..2).map(|count| [count[0], count[1]]) => {
                return Err(format!(
                    "a row of other columns than were described: {}",
                    shown(said)
                ));
            }
            b'D' => {
                let row = Message {
                    tag: *tag,
                    body: body.to_vec(),
                };
                std::panic::catch_unwind(|| row.cells())
                    .map_err(|_| format!("a row that is none: {}", shown(said)))?;
            }
            _ => {}
        }
        rest = &rest[size + 1..];
    }
    Ok(())
}

#[test]
fn a_server_that_talks_nonsense_shows_no_labelled_value_and_hangs_nobody() {
    let seed = from_environment("MALFORMED_SEED").unwrap_or(SEED);
    let cases = from_environment("MALFORMED_CASES").unwrap_or(CASES);
    let postgres = Postgres::start();
    let line = Line::to(postgres.port());
    let options = Options {
        role: "app_trust",
        backend_port: Some(line.port()),
        ..Options::default()
    };
    let mut linegate = Linegate::start_with(&postgres, options);
    let lease = linegate.lease("workload:ci-runner", &[], "read");
    // Before any change: the catalog must be known, so that what follows is masked by it.
    let mut canary = eventually("the catalog is known", || {
        let mut client = linegate.client(&lease);
        (rows(&client.query(ROWS)).len() == 3).then_some(client)
    });
    line.set(Plan::from_marker(MARKER, Toward::Client, 0, Fault::Change(seed)));
    let again = "cargo test -p linegate-tests --test malformed_server";
    let told = |number: u64, why: &str| {
        format!("{why}\n  again: MALFORMED_SEED={seed} MALFORMED_ONLY={number} {again}")
    };
    if let Some(number) = from_environment("MALFORMED_ONLY") {
        eprintln!("{}", question(number).escape_ascii());
        return play(&linegate, &lease, number).unwrap_or_else(|why| panic!("{}", told(number, &why)));
    }
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= cases || failed.lock().expect("no player panics").len() >= 8 {
                        return;
                    }
                    if let Err(why) = play(&linegate, &lease, number) {
                        failed.lock().expect("no player panics").push(told(number, &why));
                    }
                }
            });
        }
        while next.load(Ordering::Relaxed) < cases && failed.lock().expect("no player panics").len() < 8 {
            let right = ["2", "second customer", "*******9999"];
            let answer = rows(&canary.query("SELECT id, name, ssn FROM app.customers WHERE id = 2"));
            assert_eq!(answer, [right], "the canary is answered right");
            thread::sleep(Duration::from_millis(50));
        }
    });
    let failed = failed.into_inner().expect("no player panics");
    assert!(
        failed.is_empty(),
        "{} of {cases} cases:\n{}",
        failed.len(),
        failed.join("\n")
    );
    assert!(
        line.happened() >= cases * 9 / 10,
        "only {} answers were changed",
        line.happened()
    );

    line.set(Plan::clean());
    assert_eq!(
        rows(&linegate.client(&lease).query("SELECT 'fresh'")),
        [["fresh"]]
    );
    linegate.stop();
    let log = linegate.log();
    assert!(
        !log.contains("panicked") && log.contains("panics=0"),
        "a task panicked:\n{log}"
    );
}
