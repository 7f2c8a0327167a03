//! Bad input and faults: the sender gets a protocol error or an end, and nobody else notices.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use linegate_tests::wire::{self, error_of, framed, rows, status, tags};
use linegate_tests::{Lease, Linegate, Options, Postgres, RawClient, eventually};
use rustix::process::Signal;

/// A bystander's session must be served before and after.
fn with_bystander(harm: impl FnOnce(&Linegate, &Postgres, &str, &str)) {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = linegate.lease("workload:ci-runner", &[], "all");
    let mut bystander = linegate.client(&lease);
    bystander.query("SELECT 1");
    harm(&linegate, &postgres, &lease.username, &lease.password);
    assert_eq!(
        rows(&bystander.query("SELECT 2")),
        [["2"]],
        "another session does not notice"
    );
    linegate.assert_unharmed();
}

#[test]
fn malformed_and_oversized_startups_end_their_connection_only() {
    with_bystander(|linegate, _, _, _| {
        let mut startups: Vec<Vec<u8>> = vec![
            b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n".to_vec(),
            vec![0, 0, 0, 0],
            vec![0, 0, 0, 3, 1],
            vec![0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0],
            vec![0xff; 4096],
            [&[0, 0, 0, 9][..], &[0, 9, 0, 0], &[0]].concat(),
            [&[0, 0, 0, 12][..], &196_608i32.to_be_bytes(), b"user"].concat(),
        ];
        startups.push(vec![0, 0, 0, 8, 0, 3, 0, 0]);
        for bytes in startups {
            let mut client = RawClient::dial(linegate.port());
            client.send_bytes(&bytes);
            if bytes.len() < 9 {
                continue; // it may wait for more until the startup deadline
            }
            let end = client.read_to_end();
            assert!(
                end.iter().all(|message| message.tag == b'E'),
                "an error or nothing, but {:?}",
                tags(&end)
            );
        }
    });
}

#[test]
fn malformed_messages_end_their_session_only() {
    with_bystander(|linegate, _, user, password| {
        for (what, bytes) in [
            ("a size below its own four bytes", vec![b'Q', 0, 0, 0, 3]),
            ("a size of two gigabytes", vec![b'Q', 0x7f, 0xff, 0xff, 0xff]),
            ("a negative size", vec![b'Q', 0xff, 0xff, 0xff, 0xff]),
            ("an unknown tag", framed(b'~', b"what")),
            ("a Query without its terminator", framed(b'Q', b"SELECT 1")),
            (
                "a Query with two terminators",
                framed(b'Q', b"SELECT 1\0 DROP TABLE app.orders\0"),
            ),
            ("a Bind that ends early", framed(b'B', b"\0\0\0\x01")),
            (
                "a Bind that promises 65535 parameters",
                framed(b'B', b"\0\0\0\0\xff\xff"),
            ),
            (
                "a Parse that promises more types",
                framed(b'P', b"\0SELECT 1\0\x7f\xff"),
            ),
            ("a Describe of nothing known", framed(b'D', b"X\0")),
            ("a Sync with a body", framed(b'S', b"body")),
            ("a password in the middle", framed(b'p', b"secret\0")),
        ] {
            let mut client = RawClient::login(linegate.port(), user, password, "shop");
            client.send_bytes(&bytes);
            // Sync brings an answer where the session was allowed to live.
            let _ended = client.try_send_bytes(&wire::sync());
            let mut seen = Vec::new();
            while let Ok(message) = client.read() {
                let ready = message.tag == b'Z';
                seen.push(message);
                if ready {
                    break;
                }
            }
            assert!(error_of(&seen).is_some(), "{what}: no error in {:?}", tags(&seen));
            assert!(rows(&seen).is_empty(), "{what}: rows came");
        }
        assert_eq!(
            linegate.lease("workload:ci-runner", &[], "read").chain,
            "ci-runner"
        );
    });
}

#[test]
fn truncated_messages_and_sudden_ends_leave_nothing_behind() {
    with_bystander(|linegate, postgres, user, password| {
        let whole = framed(b'Q', b"SELECT pg_sleep(0), 'truncated'\0");
        for cut in [1, 4, 5, 6, whole.len() - 1] {
            let mut client = RawClient::login(linegate.port(), user, password, "shop");
            client.send_bytes(&whole[..cut]);
        }
        eventually("the server's sessions end with their clients", || {
            let open = postgres
                .sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND datname = 'shop'");
            // The bystander's, and at most one that the data plane keeps for its catalog.
            (open.parse::<u32>().expect("a count") <= 2).then_some(())
        });
    });
}

#[test]
fn messages_behind_an_error_are_skipped_to_sync_and_never_decided_late() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = linegate.lease("workload:ci-runner", &[], "read");
    let mut client = linegate.client(&lease);
    let pipeline = [
        wire::parse("", "SELECT 'before'"),
        wire::bind("", "", &[], 0),
        wire::execute("", 0),
        wire::parse("", "DELETE FROM app.orders WHERE id = 1"),
        wire::bind("", "", &[], 0),
        wire::execute("", 0),
        wire::parse("", "SELECT 'never'"),
        wire::bind("", "", &[], 0),
        wire::execute("", 0),
        wire::sync(),
        wire::parse("", "SELECT 'after'"),
        wire::bind("", "", &[], 0),
        wire::execute("", 0),
        wire::sync(),
    ];
    client.send_bytes(&pipeline.concat());
    let first = client.read_to_ready();
    assert_eq!(
        tags(&first),
        "12DCEZ",
        "the refusal stands where the statement stood"
    );
    assert_eq!(status(&first), Some('I'));
    assert_eq!(rows(&client.read_to_ready()), [["after"]]);
    assert_eq!(postgres.sql("SELECT count(*) FROM app.orders WHERE id = 1"), "1");
}

#[test]
fn a_refusal_keeps_the_true_transaction_status() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = linegate.lease("workload:ci-runner", &[], "read");
    let mut client = linegate.client(&lease);
    assert_eq!(
        status(&client.query("DELETE FROM app.orders WHERE id = 1")),
        Some('I')
    );
    assert_eq!(status(&client.query("BEGIN")), Some('T'));
    let refused = client.query("DELETE FROM app.orders WHERE id = 1");
    assert_eq!(error_of(&refused).map(|(code, _)| code).as_deref(), Some("42501"));
    let told = status(&refused).expect("a status");
    let truth = client.query("SELECT 1");
    match told {
        'T' => assert_eq!(rows(&truth), [["1"]], "told in a transaction, and it is one"),
        'E' => assert_eq!(
            error_of(&truth).map(|(code, _)| code).as_deref(),
            Some("25P02"),
            "told failed, and it is"
        ),
        other => panic!("{other:?} inside a transaction"),
    }
    assert_eq!(status(&client.query("ROLLBACK")), Some('I'));
}

#[test]
fn a_hold_inside_a_transaction_is_refused_with_a_hint() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = linegate.lease("workload:ci-runner", &[], "all");
    let mut client = linegate.client(&lease);
    client.query("BEGIN");
    let refused = client.query("DROP TABLE app.scratch");
    let error = refused
        .iter()
        .find(|message| message.tag == b'E')
        .expect("refused");
    assert!(error.field(b'H').is_some(), "with a hint");
    client.query("ROLLBACK");
    assert_eq!(linegate.holds_count(), 0);
}

#[test]
fn a_cancel_request_ends_a_running_statement_and_a_hold() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = linegate.lease("workload:ci-runner", &[], "all");
    let mut client = linegate.client(&lease);
    client.send_query("SELECT count(*) FROM app.orders a, app.orders b, app.orders c, app.orders d");
    std::thread::sleep(Duration::from_millis(300));
    client.cancel(linegate.port());
    assert_eq!(
        error_of(&client.read_to_ready()).map(|(code, _)| code).as_deref(),
        Some("57014")
    );
    client.send_query("DROP TABLE app.scratch");
    linegate.hold();
    client.cancel(linegate.port());
    assert_eq!(
        error_of(&client.read_to_ready()).map(|(code, _)| code).as_deref(),
        Some("57014")
    );
    assert_eq!(rows(&client.query("SELECT 3")), [["3"]]);
    eventually("the hold is gone", || (linegate.holds_count() == 0).then_some(()));
    let mut stranger = linegate.client(&lease);
    stranger.key = stranger.key.map(|mut key| {
        key[7] ^= 1;
        key
    });
    stranger.cancel(linegate.port());
    assert_eq!(
        rows(&client.query("SELECT 4")),
        [["4"]],
        "a wrong key cancels nothing"
    );
}

#[test]
fn a_cancel_request_ends_a_statement_that_is_still_being_decided() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = linegate.lease("workload:ci-runner", &["migrate"], "all");
    let mut client = linegate.client(&lease);
    assert_eq!(rows(&client.query("SELECT 1")), [["1"]]);
    std::thread::scope(|scope| {
        // Nobody can read the catalogs meanwhile, and what names an unknown relation is decided with new ones.
        let lock = "BEGIN; LOCK TABLE pg_catalog.pg_class IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(4)";
        let holder = scope.spawn(|| postgres.sql(lock));
        std::thread::sleep(Duration::from_millis(500));
        let began = Instant::now();
        client.send_query("SELECT * FROM app.nowhere");
        std::thread::sleep(Duration::from_millis(300));
        client.cancel(linegate.port());
        let told = error_of(&client.read_to_ready()).map(|(code, _)| code);
        assert_eq!(told.as_deref(), Some("57014"), "after {:?}", began.elapsed());
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "it waited for the catalogs"
        );
        let _sleeps = holder.join();
    });
    assert_eq!(
        rows(&client.query("SELECT 2")),
        [["2"]],
        "the next one is not cancelled"
    );
}

#[test]
fn a_client_that_stops_reading_holds_only_its_own_memory() {
    with_bystander(|linegate, _, user, password| {
        let before = linegate.resident_kilobytes();
        let mut slow = RawClient::login(linegate.port(), user, password, "shop");
        slow.send_query("SELECT repeat('x', 8000) FROM generate_series(1, 60000)");
        std::thread::sleep(Duration::from_secs(2));
        let grown = linegate.resident_kilobytes().saturating_sub(before);
        assert!(
            grown < 64 * 1024,
            "480 MB wait at the server, not here; the data plane grew by {grown} KiB"
        );
    });
}

#[test]
fn a_large_value_streams_through_whole() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = linegate.lease("workload:ci-runner", &[], "read");
    let mut client = linegate.client(&lease);
    let answer = client.query("SELECT repeat('0123456789', 5000000)");
    let row = answer.iter().find(|message| message.tag == b'D').expect("a row");
    let cell = row.cells().remove(0).expect("a value");
    assert!(cell.len() == 50_000_000 && cell.chunks(10).all(|ten| ten == b"0123456789"));
}

#[test]
fn a_server_process_that_dies_mid_row_is_a_clear_error() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = linegate.lease("workload:ci-runner", &[], "read");
    let mut client = linegate.client(&lease);
    client.send_query("SELECT repeat('x', 1000) AS mid_row FROM generate_series(1, 5000000)");
    client.read_to(b'D');
    postgres.kill_backend_running("%mid_row%");
    let end = client.read_to_end();
    // Cut within a row there is no place for an error: the connection ends, as it would without linegate.
    if let Some((code, _)) = error_of(&end) {
        assert!(code.starts_with("08") || code.starts_with("57"), "{code}");
    }
    assert!(
        end.iter().all(|message| message.tag != b'C'),
        "a result that was cut must not look complete"
    );
    linegate.assert_unharmed();
    let mut again = eventually("the server is back", || {
        RawClient::try_login(linegate.port(), &lease.username, &lease.password, "shop").ok()
    });
    assert_eq!(rows(&again.query("SELECT 5")), [["5"]]);
}

/// A server, linegate under these policies, and a lease for everything.
fn behind(policies: &str) -> (Postgres, Linegate, Lease) {
    let postgres = Postgres::start();
    let options = Options {
        policies: policies.to_owned(),
        ..Options::default()
    };
    let linegate = Linegate::start_with(&postgres, options);
    let lease = linegate.lease("workload:ci-runner", &[], "all");
    (postgres, linegate, lease)
}

/// What is sent behind the statement that ends the server's process meets a closed connection, sooner or later.
#[test]
fn a_server_that_leaves_has_the_last_word() {
    let (_postgres, linegate, lease) = behind("permit (principal, action, resource);");
    let series = [
        wire::parse("", "SELECT 1"),
        wire::bind("", "", &[], 0),
        wire::execute("", 0),
        wire::sync(),
    ];
    let leaving = framed(b'Q', b"SELECT pg_terminate_backend(pg_backend_pid())\0");
    let talk = [leaving, series.concat().repeat(60)].concat();
    for _ in 0..40 {
        let mut client = linegate.client(&lease);
        client.socket().set_nodelay(true).expect("a TCP socket");
        for byte in &talk {
            if client.try_send_bytes(&[*byte]).is_err() {
                break; // it has left
            }
        }
        let end = client.read_to_end();
        assert!(tags(&end).ends_with('E'), "{}", tags(&end));
        let errors = end.iter().filter(|message| message.tag == b'E');
        let words: Vec<_> = errors.filter_map(|error| error.field(b'M')).collect();
        assert_eq!(words, ["terminating connection due to administrator command"]);
    }
    linegate.assert_unharmed();
}

/// The server's process is told to end while it stands still; when it goes on, it says so in answer to a BEGIN that is linegate's own.
#[test]
fn the_last_word_is_heard_in_place_of_any_answer() {
    let (postgres, linegate, lease) =
        behind("@id(\"all\") @budget_changed(\"10\") permit (principal, action, resource);");
    let mut client = linegate.client(&lease);
    let pid = rows(&client.query("SELECT pg_backend_pid()"))[0][0]
        .parse()
        .expect("a process id");
    postgres.tell_backend(pid, Signal::STOP);
    postgres.tell_backend(pid, Signal::TERM);
    client.send_query("INSERT INTO app.scratch VALUES (1)");
    assert!(
        client.is_quiet_for(Duration::from_millis(300)),
        "the server stands still"
    );
    postgres.tell_backend(pid, Signal::CONT);
    let end = client.read_to_end();
    assert_eq!(tags(&end), "E");
    let words = end[0].field(b'M').expect("words");
    assert_eq!(words, "terminating connection due to administrator command");
    linegate.assert_unharmed();
}

#[test]
fn a_server_that_is_not_there_or_speaks_nonsense_is_named_without_its_address() {
    let postgres = Postgres::start();
    let nonsense = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = nonsense.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in nonsense.incoming() {
            let Ok(mut stream) = stream else { return };
            let _read = stream.read(&mut [0; 512]);
            let _written = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 99999\r\n\r\n");
        }
    });
    for (what, port) in [
        ("nonsense", port),
        ("nobody", linegate_tests::places::free_port()),
    ] {
        let linegate = Linegate::start_with(
            &postgres,
            Options {
                backend_port: Some(port),
                ..Options::default()
            },
        );
        let lease = linegate.lease("workload:ci-runner", &[], "read");
        let refused = RawClient::try_login(linegate.port(), &lease.username, &lease.password, "shop").err();
        let refused = refused.unwrap_or_else(|| panic!("{what}: nothing can be served"));
        let text = refused.field(b'M').expect("a message");
        assert!(
            refused.field(b'C').is_some_and(|code| code.starts_with("08")),
            "{what}: {refused:?}"
        );
        assert!(
            !text.contains(&port.to_string()) && !text.contains("127.0.0.1"),
            "{what} is not addressed: {text}"
        );
        linegate.assert_unharmed();
    }
}

#[test]
fn wrong_secrets_unknown_users_and_other_targets_are_refused_alike() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = linegate.lease("workload:ci-runner", &[], "read");
    let refusal = |user: &str, password: &str| {
        let error = RawClient::try_login(linegate.port(), user, password, "shop")
            .err()
            .expect("refused");
        (
            error.field(b'C'),
            error.field(b'M').map(|text| text.replace(user, "USER")),
        )
    };
    let wrong = refusal(&lease.username, "wrong");
    let unknown = refusal("lg_aaaaaaaaaaaaaaaa", "wrong");
    assert_eq!(wrong, unknown, "nobody learns which leases exist");
    assert!(wrong.0.is_some_and(|code| code.starts_with("28")));
    assert!(linegate.psql(&lease, &["-c", "SELECT 1"]).ok);
}

#[test]
fn sessions_outlive_the_control_process_and_it_comes_back() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let lease = linegate.lease("workload:ci-runner", &[], "read");
    let mut client = linegate.client(&lease);
    linegate.kill("linegate-control");
    assert_eq!(
        rows(&client.query("SELECT count(*) FROM app.orders")),
        [["1000"]],
        "open sessions go on"
    );
    let mut fresh = linegate.client(&lease);
    assert_eq!(
        rows(&fresh.query("SELECT 6")),
        [["6"]],
        "running leases still open sessions"
    );
    eventually("the control plane is back", || {
        linegate.cli(&["lease", "list"]).ok.then_some(())
    });
    let list = linegate.cli(&["lease", "list"]).good().out;
    assert!(list.contains(&lease.id), "and remembers its leases: {list}");
    linegate.cli(&["lease", "revoke", &lease.id]).good();
    assert!(
        error_of(&client.read_to_end()).is_some(),
        "and revokes over the new connection"
    );
}

#[test]
fn a_dead_data_plane_ends_the_program() {
    let postgres = Postgres::start();
    let mut linegate = Linegate::start(&postgres);
    linegate.kill("linegated");
    assert_ne!(linegate.wait(), Some(0));
    assert!(
        linegate.process("linegate-control").is_none(),
        "nothing is left behind"
    );
}

#[test]
fn sigterm_lets_a_running_statement_finish() {
    let postgres = Postgres::start();
    let mut linegate = Linegate::start(&postgres);
    let lease = linegate.lease("workload:ci-runner", &[], "all");
    let mut client = linegate.client(&lease);
    client.send_query("SELECT pg_sleep(1), 'finished'");
    std::thread::sleep(Duration::from_millis(300));
    linegate.tell(Signal::TERM);
    let answer = client.read_to(b'D');
    assert_eq!(answer.text_cells()[1], "finished");
    drop(client);
    assert_eq!(linegate.wait(), Some(0));
}

#[test]
fn a_full_recording_disk_pauses_and_resumes_without_losing_a_row() {
    let postgres = Postgres::start();
    let options = Options {
        disk_megabytes: Some(8),
        data: "memory_mb = 16\nrecording_buffer = 64".to_owned(),
        ..Options::default()
    };
    let linegate = Linegate::start_with(&postgres, options);
    let lease = linegate.lease("workload:ci-runner", &[], "all");
    let mut client = linegate.client(&lease);
    let rows_count = 3000;
    client.send_query(&format!(
        "SELECT n, repeat('r', 100000) FROM generate_series(1, {rows_count}) n"
    ));
    let mut seen = 0;
    while !client.is_quiet_for(Duration::from_secs(3)) {
        // The pause may fall within a row: its rest comes later.
        let Ok(message) = client.read() else { continue };
        assert_ne!(message.tag, b'C', "300 MB cannot be on record on a disk of 8 MB");
        seen += u32::from(message.tag == b'D');
    }
    assert!(seen < rows_count, "it waits");
    linegate.assert_unharmed();
    linegate.enlarge_disk(1024);
    let rest = client.read_to_ready();
    assert!(error_of(&rest).is_none(), "it goes on: {:?}", error_of(&rest));
    seen += u32::try_from(rows(&rest).len()).expect("few");
    assert_eq!(seen, rows_count, "no row was lost");
    assert_eq!(rows(&client.query("SELECT 7")), [["7"]]);
}
