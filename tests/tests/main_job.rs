//! The main job, end to end: a nested CI agent on a real PostgreSQL, with stock psql.

use linegate_tests::shop::{CARDS, SSNS};
use linegate_tests::{Lease, Linegate, Postgres, Said, eventually};

/// A job's lease, its container's, and the tool's inside it.
fn nested(linegate: &Linegate) -> (Lease, Lease, Lease) {
    let job = linegate.lease("workload:ci-runner", &[], "all");
    let build = linegate.derive(&job, "build/4711", "all");
    let tool = linegate.derive(&build, "migrate", "all");
    (job, build, tool)
}

fn assert_nothing_raw(what: &str, text: &str) {
    for raw in CARDS.iter().chain(&SSNS) {
        assert!(!text.contains(raw), "{what} shows {raw}:\n{text}");
    }
}

#[test]
fn a_nested_agent_sees_masked_cards_and_who_it_is() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let (_, _, tool) = nested(&linegate);
    assert_eq!(tool.chain, "ci-runner → build/4711 → migrate");

    let said = linegate
        .psql(
            &tool,
            &[
                "-c",
                "SELECT id, name, card_number, ssn FROM app.customers ORDER BY id",
            ],
        )
        .good();
    assert_nothing_raw("psql", &said.all());
    let first = said.out.lines().next().expect("a row");
    assert!(
        first.starts_with("1|first customer|") && first.contains("1111|") && first.ends_with("4399"),
        "{first}"
    );
    let width = first.split('|').nth(2).expect("a card").len();
    assert_eq!(width, CARDS[0].len(), "the redaction keeps its length");

    let name = linegate.psql(&tool, &["-c", "SHOW application_name"]).good();
    assert!(
        name.out.contains(&tool.id),
        "the chain is visible inside the database: {}",
        name.out
    );
}

#[test]
fn the_mask_is_the_principals_and_no_hop_can_lift_it() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let raw = "SELECT card_number FROM app.customers WHERE id = 1";
    let dba = linegate.lease("user:dba", &[], "all");
    assert_eq!(
        linegate.psql(&dba, &["-c", raw]).good().out.trim(),
        CARDS[0],
        "a dba may read raw"
    );
    let job = linegate.lease("workload:ci-runner", &[], "read");
    let wider = linegate.try_derive(&job, "dba", "all");
    if wider.ok {
        let lease = wider.json();
        let mut command = linegate.client_command("psql", &job);
        command.env("PGUSER", lease["username"].as_str().expect("a user name"));
        command.env("PGPASSWORD", lease["password"].as_str().expect("a secret"));
        let said = Said::by(command.args(["-XqAt", "-c", raw])).good();
        assert_nothing_raw("an agent that calls itself dba", &said.all());
        let write = Said::by(command.args(["-c", "UPDATE app.orders SET note = 'x' WHERE id = 1"]));
        assert!(!write.ok, "read never becomes write: {}", write.all());
    }
    let note = postgres.sql("SELECT note FROM app.orders WHERE id = 1");
    assert_eq!(note, "note 1");
}

#[test]
fn an_out_of_scope_write_is_denied_and_the_session_goes_on() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let job = linegate.lease("workload:ci-runner", &[], "all");
    let reader = linegate.derive(&job, "report", "read");
    let said = linegate.psql(
        &reader,
        &[
            "-c",
            "UPDATE app.orders SET note = 'changed' WHERE id = 1",
            "-c",
            "SELECT 'still here', note FROM app.orders WHERE id = 1",
        ],
    );
    assert!(said.err.contains("ERROR"), "the write is refused: {}", said.all());
    assert!(
        said.out.contains("still here|note 1"),
        "the session goes on: {}",
        said.all()
    );
}

#[test]
fn a_drop_waits_for_another_person_and_runs_once() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let (_, _, tool) = nested(&linegate);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| linegate.psql(&tool, &["-c", "DROP TABLE app.scratch"]));
        let hold = linegate.hold();
        let id = hold["id"].as_str().expect("a hold has an id").to_owned();
        assert_eq!(hold["statement"], "DROP TABLE app.scratch");
        assert!(
            postgres
                .sql("SELECT to_regclass('app.scratch')")
                .contains("scratch"),
            "it waits"
        );

        let own = linegate.cli(&["approve", &id, "--as", "workload:ci-runner"]);
        assert!(
            !own.ok,
            "nobody approves their own chain's statement: {}",
            own.all()
        );
        let stranger = linegate.cli(&["approve", &id, "--as", "user:passer-by"]);
        assert!(
            !stranger.ok,
            "only the policy's groups approve: {}",
            stranger.all()
        );
        assert!(!waiting.is_finished(), "neither attempt may have released it");

        linegate.cli(&["approve", &id, "--as", "user:oncall"]).good();
        let said = waiting.join().expect("psql ran");
        assert!(said.ok, "the approved statement runs: {}", said.all());
        assert!(
            said.err.contains(&id),
            "the client was told the id while it waited: {}",
            said.err
        );
        let again = linegate.cli(&["approve", &id, "--as", "user:oncall"]);
        assert!(!again.ok, "an approval is used once: {}", again.all());
    });
    assert_eq!(postgres.sql("SELECT to_regclass('app.scratch')"), "");
}

#[test]
fn a_refused_hold_tells_the_reason_and_keeps_the_session() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let tool = linegate.lease("workload:ci-runner", &["migrate"], "all");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            linegate.psql(
                &tool,
                &["-c", "DELETE FROM app.orders", "-c", "SELECT 'still here'"],
            )
        });
        let hold = linegate.hold();
        let id = hold["id"].as_str().expect("a hold has an id");
        linegate
            .cli(&[
                "deny",
                id,
                "--as",
                "user:oncall",
                "--reason",
                "not during the sale",
            ])
            .good();
        let said = waiting.join().expect("psql ran");
        assert!(said.err.contains("not during the sale"), "{}", said.all());
        assert!(said.out.contains("still here"), "{}", said.all());
    });
    assert_eq!(postgres.sql("SELECT count(*) FROM app.orders"), "1000");
}

#[test]
fn revoking_an_ancestor_ends_the_tools_open_session() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let (job, _, tool) = nested(&linegate);
    let mut client = linegate.client(&tool);
    client.query("SELECT 1");
    linegate
        .cli(&["lease", "revoke", &job.id, "--by", "user:oncall"])
        .good();
    let last = client.read_to_end();
    let error = last
        .iter()
        .find(|message| message.tag == b'E')
        .expect("an error says why");
    let text = error.field(b'M').expect("a message").to_lowercase();
    assert!(text.contains("revoked"), "{text}");
    let again = linegate.psql(&tool, &["-c", "SELECT 1"]);
    assert!(!again.ok, "nothing opens under it: {}", again.all());
    let derived = linegate.try_derive(&tool, "more", "read");
    assert!(!derived.ok, "nothing derives from it: {}", derived.all());
}

#[test]
fn a_lease_ends_by_itself_and_its_session_with_it() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let short = linegate.lease_for("workload:ci-runner", &[], "read", "3s");
    let mut client = linegate.client(&short);
    client.query("SELECT 1");
    let last = client.read_to_end();
    let error = last
        .iter()
        .find(|message| message.tag == b'E')
        .expect("an error says why");
    assert!(
        error.field(b'M').expect("a message").contains("expired"),
        "{error:?}"
    );
}

#[test]
fn run_derives_runs_revokes_and_passes_the_status_on() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let job = linegate.lease("workload:ci-runner", &[], "all");
    let inner = "psql -XqAtc 'SELECT card_number FROM app.customers WHERE id = 1' && echo $LINEGATE_LEASE_USER; exit 7";
    let mut command = linegate.cli_command(&[
        "run", "--target", "shop", "--scope", "read", "--actor", "step", "--", "sh", "-c", inner,
    ]);
    command
        .env("LINEGATE_LEASE_USER", &job.username)
        .env("LINEGATE_LEASE_PASSWORD", &job.password);
    let said = Said::by(&mut command);
    assert_eq!(said.code, Some(7), "the command's own status: {}", said.all());
    assert_nothing_raw("the command", &said.all());
    let user = said.out.lines().last().expect("the lease's user name").to_owned();
    assert!(user.starts_with("lg_") && user != job.username, "{user}");
    let list = linegate.cli(&["lease", "list", "--json"]).good().out;
    assert!(
        !list.contains(&user),
        "the derived lease ended with its command: {list}"
    );
    assert!(list.contains(&job.id), "its parent did not");
}

#[test]
fn audit_and_replay_answer_who_and_what() {
    let postgres = Postgres::start();
    let mut linegate = Linegate::start(&postgres);
    let (_, _, tool) = nested(&linegate);
    linegate
        .psql(
            &tool,
            &["-c", "SELECT id, card_number FROM app.customers ORDER BY id"],
        )
        .good();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| linegate.psql(&tool, &["-c", "DROP TABLE app.scratch"]));
        let hold = linegate.hold();
        linegate
            .cli(&[
                "approve",
                hold["id"].as_str().expect("an id"),
                "--as",
                "user:oncall",
            ])
            .good();
        waiting.join().expect("psql ran").good();
    });
    assert_eq!(linegate.stop(), Some(0), "SIGTERM drains and ends well");

    let sessions = linegate.cli(&["audit", "sessions"]).good().out;
    assert!(
        sessions.contains("ci-runner → build/4711 → migrate"),
        "who started it, which agents acted: {sessions}"
    );
    let statements = linegate.cli(&["audit", "statements"]).good().out;
    assert!(
        statements.contains("DROP TABLE app.scratch") && statements.contains("oncall"),
        "who approved: {statements}"
    );

    let list = linegate.cli(&["audit", "sessions", "--json"]).good().json();
    let list = list
        .as_array()
        .or_else(|| list["sessions"].as_array())
        .expect("a list")
        .clone();
    let mut shown = String::new();
    for session in &list {
        let id = session["session"]
            .as_str()
            .or_else(|| session["id"].as_str())
            .expect("a session id");
        shown.push_str(&linegate.cli(&["replay", id]).good().out);
    }
    assert!(
        shown.contains("card_number") && shown.contains("1111"),
        "the rows as the client saw them:\n{shown}"
    );
    assert_nothing_raw("the replay", &shown);
    assert_nothing_raw("the audit", &format!("{sessions}{statements}"));
    linegate.cli(&["audit", "verify"]).good();
}

#[test]
fn recordings_and_logs_hold_nothing_raw_and_show_tampering() {
    let postgres = Postgres::start();
    let mut linegate = Linegate::start(&postgres);
    let tool = linegate.lease("workload:ci-runner", &["migrate"], "all");
    linegate
        .psql(&tool, &["-c", "SELECT * FROM app.customers"])
        .good();
    linegate
        .psql(&tool, &["-c", "SELECT id, note FROM app.orders LIMIT 50"])
        .good();
    assert_eq!(linegate.stop(), Some(0));
    linegate.cli(&["audit", "verify"]).good();

    let mut segments = Vec::new();
    files(&linegate.recordings(), &mut segments);
    assert!(!segments.is_empty(), "something was recorded");
    for file in &segments {
        let bytes = std::fs::read(file).expect("our own file");
        assert_nothing_raw(&file.display().to_string(), &String::from_utf8_lossy(&bytes));
    }
    assert_nothing_raw("the log", &linegate.log());
    assert!(!linegate.log().contains(&tool.password), "no secret in the log");

    let largest = segments
        .iter()
        .max_by_key(|file| file.metadata().map_or(0, |meta| meta.len()))
        .expect("a segment");
    let mut bytes = std::fs::read(largest).expect("our own file");
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    std::fs::write(largest, &bytes).expect("our own file");
    let said = linegate.cli(&["audit", "verify"]);
    assert!(!said.ok, "one changed bit is found: {}", said.all());
}

#[test]
fn holds_wait_without_costing_others_and_end_with_their_client() {
    let postgres = Postgres::start();
    let linegate = Linegate::start(&postgres);
    let tool = linegate.lease("workload:ci-runner", &["migrate"], "all");
    let mut held = linegate.client(&tool);
    held.send_query("TRUNCATE app.scratch");
    linegate.hold();
    let started = std::time::Instant::now();
    let mut other = linegate.client(&tool);
    other.query("SELECT count(*) FROM app.orders");
    assert!(
        started.elapsed() < std::time::Duration::from_secs(5),
        "another session on the same core is served"
    );
    drop(held);
    eventually("the hold ends when its client leaves", || {
        (linegate.holds_count() == 0).then_some(())
    });
}

fn files(dir: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}
