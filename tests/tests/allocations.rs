//! What sessions cost. The relay path asks for no memory per message: sessions that carry a few and sessions that carry many
//! rows cost a core the same number of allocations; `linegated` counts them in its own allocator and says so when it ends.
//! And a session holds a descriptor for its client and one for its server.

use std::process::Stdio;

use linegate_tests::under::behind;
use linegate_tests::{Linegate, Options, Postgres, RawClient, wire};

/// Messages of the short and the long run.
const FEW: u64 = 10_000;
const MANY: u64 = 1_000_000;
/// What may come and go meanwhile: timers of other tasks, a catalog that is read again, slabs of larger classes.
const ASIDE_MAX: u64 = 1_500;

/// Runs `sql` under a mask to its end and tells what the core counted: allocations, rows.
fn counted(postgres: &Postgres, record: &'static str, sql: &str) -> (u64, u64) {
    let mut linegate = Linegate::start_with(
        postgres,
        Options {
            record,
            ..Options::default()
        },
    );
    let lease = linegate.lease("workload:ci-runner", &[], "all");
    let status = linegate
        .psql_command(&lease)
        // In portions, so that the client holds no more than one of them.
        .args(["-qAt", "-v", "FETCH_COUNT=1000000", "-c", sql])
        .stdout(Stdio::null())
        .status()
        .expect("psql runs");
    assert!(status.success(), "{sql}");
    assert_eq!(linegate.stop(), Some(0));
    let log = linegate.log();
    // Each core says its own; nothing else ran on any of them.
    let count = |name: &str| -> u64 {
        let cores: Vec<&str> = log.split(&format!("{name}=")).skip(1).collect();
        assert!(!cores.is_empty(), "{name} is counted:\n{log}");
        let number = |rest: &&str| {
            rest.split(' ')
                .next()
                .and_then(|digits| digits.trim().parse::<u64>().ok())
        };
        cores.iter().map(|rest| number(rest).expect("a number")).sum()
    };
    (count(" allocations"), count(" rows"))
}

fn costs_nothing_per_row(record: &'static str, sql: impl Fn(u64) -> String) {
    let postgres = Postgres::start();
    let (few, few_rows) = counted(&postgres, record, &sql(FEW));
    let (many, many_rows) = counted(&postgres, record, &sql(MANY));
    assert!(few_rows >= FEW && many_rows >= MANY, "{few_rows}, {many_rows}");
    assert!(few > 0, "the count is alive");
    assert!(
        many < few + ASIDE_MAX,
        "{few} allocations for {few_rows} rows, {many} for {many_rows}"
    );
}

#[test]
fn rows_that_pass_cost_no_allocation() {
    costs_nothing_per_row("statements", |rows| {
        format!(
            "SELECT o.id, o.note FROM app.orders o, generate_series(1, {}) g",
            rows / 1000
        )
    });
}

#[test]
fn rows_that_are_masked_and_recorded_cost_no_allocation() {
    costs_nothing_per_row("rows", |rows| {
        format!(
            "SELECT c.ssn, o.id, c.card_number FROM app.customers c, app.orders o, generate_series(1, {}) g",
            rows.div_ceil(3000)
        )
    });
}

#[test]
fn copied_rows_cost_no_allocation() {
    costs_nothing_per_row("shape", |rows| {
        format!(
            "COPY (SELECT o.id, o.note FROM app.orders o, generate_series(1, {}) g) TO STDOUT",
            rows / 1000
        )
    });
}

#[test]
fn a_session_holds_two_descriptors() {
    let under = behind(Options::default(), "");
    let pid = under.linegate.process("linegated").expect("it runs");
    let sockets = || {
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("our own process")
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    };
    let used = || {
        let mut client = under.client();
        let answer = client.query("SELECT count(*) FROM app.orders");
        assert_eq!(wire::rows(&answer).len(), 1);
        client
    };
    let first = used();
    let before = sockets();
    let more: Vec<RawClient> = (0..16).map(|_| used()).collect();
    assert_eq!(sockets() - before, 2 * more.len());
    drop(first);
}

/// Kernels since 5.0 tell.
#[test]
fn memory_is_taken_page_by_page() {
    let under = behind(Options::default(), "");
    let pid = under.linegate.process("linegated").expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("our own process");
    let huge = status.lines().find_map(|line| line.strip_prefix("THP_enabled:"));
    assert!(huge.is_none_or(|enabled| enabled.trim() == "0"), "{huge:?}");
}
