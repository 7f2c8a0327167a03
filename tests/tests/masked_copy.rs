//! COPY TO STDOUT under a mask: what it sends, loaded back into a server, is what SELECT shows.

use linegate_tests::shop::{CARDS, SSNS};
use linegate_tests::under::{self, assert_nothing_raw};
use linegate_tests::wire::{self, c_string, error_of, rows, status, tags};
use linegate_tests::{Linegate, Masked, Message, Options, Postgres, RawClient, Said, eventually};

/// A column a redaction, a generated one, one that is gone, and a child whose rows COPY leaves out.
const TABLE: &str = "
SET ROLE app;
CREATE TABLE app.many (
    id int PRIMARY KEY, gone_by_now text, blanked text, last varchar(40), mail text, nothing text, fixed text,
    fixed_number int, born date, seen timestamp, amount numeric, measured float8, doc jsonb, list text[], kept text,
    shout text GENERATED ALWAYS AS (upper(kept)) STORED, card text, token text, token_number bigint, token_uuid uuid,
    token_bytes bytea, loud text GENERATED ALWAYS AS (upper(last)) STORED
);
ALTER TABLE app.many DROP COLUMN gone_by_now;
CREATE TABLE app.many_more () INHERITS (app.many);
";

const COLUMNS: &str = "id, blanked, last, mail, nothing, fixed, fixed_number, born, seen, amount, measured, doc, list, kept, \
                       card, token, token_number, token_uuid, token_bytes";

const LABELS: [(&str, &str); 17] = [
    ("blanked", "redact = 'blank'"),
    ("last", "redact = 'keep-last-2'"),
    ("mail", "redact = 'keep-domain'"),
    ("nothing", "redact = 'null'"),
    ("fixed", "redact = 'constant:a, \"b\"'"),
    ("fixed_number", "redact = 'constant:42'"),
    ("born", "redact = 'date:year'"),
    ("seen", "redact = 'date:month'"),
    ("amount", "redact = 'round:1000'"),
    ("measured", "redact = 'round:10'"),
    ("doc", "redact = 'null'\npaths = ['$.pin', '$.cards[*].no']"),
    ("list", "redact = 'blank'"),
    ("card", "redact = 'digits:keep-last-4'"),
    ("token", "redact = 'pseudonym'"),
    ("token_number", "redact = 'pseudonym'"),
    ("token_uuid", "redact = 'pseudonym'"),
    ("token_bytes", "redact = 'pseudonym'"),
];

/// What a row's format has to be careful about.
const AWKWARD: [&str; 22] = [
    "",
    "\\.",
    "\\N",
    "\\\\N",
    "NULL",
    "a,b",
    "say \"so\"",
    "\"",
    "it's",
    "tab\there",
    "line\nbreak",
    "\n",
    "return\rx",
    "back\\slash\\",
    "grüße 漢字 😀",
    "  spaces  ",
    "\u{8}\u{b}\u{c}\u{1}",
    "x|y;z~$",
    "someone@example.com",
    "4111 1111 1111 1111",
    "*",
    "plain words",
];

/// Values that anybody can work out again from the seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn text(&mut self) -> String {
        if self.below(8) == 0 {
            return "NULL".to_owned();
        }
        let parts = 1 + self.below(2);
        let text: String = (0..parts).map(|_| AWKWARD[self.below(AWKWARD.len())]).collect();
        format!("'{}'", text.replace('\'', "''"))
    }

    fn of(&mut self, values: &[&str]) -> String {
        values[self.below(values.len())].to_owned()
    }
}

fn row(chance: &mut Chance, id: usize) -> String {
    let mut cells = vec![id.to_string()];
    cells.extend((0..5).map(|_| chance.text()));
    cells[2] = format!("left({}, 40)", cells[2]);
    cells.push(chance.of(&["4711", "NULL", "-1"]));
    cells.push(chance.of(&["'1987-06-05'", "NULL", "'infinity'", "'0044-03-15 BC'"]));
    cells.push(chance.of(&["'1987-06-05 04:03:02.5'", "NULL", "'-infinity'"]));
    cells.push(chance.of(&["12345.67", "NULL", "'NaN'", "-99999999999999999999.5"]));
    cells.push(chance.of(&["129.5", "NULL", "'NaN'", "-123456.25"]));
    cells.push(chance.of(&[
        r#"'{"pin": 4242, "name": "x\\\"y\n", "cards": [{"no": "raw-no"}]}'"#,
        "NULL",
        "'[1, 2]'",
        "'\"text\"'",
    ]));
    cells.push(chance.of(&["'{a,b}'", "NULL", "'{}'"]));
    cells.push(chance.text());
    cells.push(chance.text());
    cells.push(chance.text());
    cells.push(chance.of(&["4242424242", "NULL", "1"]));
    cells.push(chance.of(&["'11111111-2222-3333-4444-555555555555'", "NULL"]));
    cells.push(chance.of(&["'\\x00112233'", "NULL", "'\\x'"]));
    format!("({})", cells.join(", "))
}

struct House {
    postgres: Postgres,
    linegate: Linegate,
}

fn house(rows: usize) -> House {
    let postgres = Postgres::start();
    let mut chance = Chance(20_261_122);
    let rows: Vec<String> = (1..=rows).map(|id| row(&mut chance, id)).collect();
    postgres.sql(&format!(
        "{TABLE} INSERT INTO app.many ({COLUMNS}) VALUES {};
         INSERT INTO app.many_more ({COLUMNS}) VALUES {};
         CREATE TABLE app.back (LIKE app.many); ALTER TABLE app.back DROP COLUMN shout, DROP COLUMN loud;",
        rows.join(",\n"),
        row(&mut chance, 100_000),
    ));
    let mut more = String::new();
    for (column, how) in LABELS {
        more.push_str(&format!(
            "\n[[label]]\nname = 'private'\ntarget = 'shop'\ncolumns = ['app.many.{column}']\n{how}\n"
        ));
    }
    let options = Options {
        more,
        ..Options::default()
    };
    let linegate = Linegate::start_with(&postgres, options);
    House { postgres, linegate }
}

impl House {
    fn masked(&self) -> RawClient {
        self.linegate
            .client(&self.linegate.lease("workload:ci-runner", &["migrate"], "all"))
    }

    fn direct(&self) -> RawClient {
        RawClient::login(self.postgres.port(), "app", "app-secret", "shop")
    }
}

fn extended(client: &mut RawClient, sql: &str) -> Vec<Message> {
    let conversation = [
        wire::parse("", sql),
        wire::bind("", "", &[], 0),
        wire::describe(b'P', ""),
        wire::execute("", 0),
        wire::sync(),
    ];
    client.send_bytes(&conversation.concat());
    client.read_to_ready()
}

fn ask(client: &mut RawClient, sql: &str, is_extended: bool) -> Vec<Message> {
    match is_extended {
        true => extended(client, sql),
        false => client.query(sql),
    }
}

fn data(messages: &[Message]) -> Vec<&[u8]> {
    let data = messages.iter().filter(|message| message.tag == b'd');
    data.map(|message| &message.body[..]).collect()
}

/// Rows with NULL told apart, as text.
fn cells(messages: &[Message]) -> Vec<Vec<Option<Vec<u8>>>> {
    assert_eq!(error_of(messages), None);
    let rows = messages.iter().filter(|message| message.tag == b'D');
    rows.map(Message::cells).collect()
}

fn load(server: &mut RawClient, options: &str, data: &[&[u8]]) {
    assert_eq!(error_of(&server.query("TRUNCATE app.back")), None);
    server.send_query(&format!("COPY app.back ({COLUMNS}) FROM STDIN {options}"));
    assert_eq!(server.read().expect("an answer").tag, b'G', "{options}");
    for row in data {
        server.send(b'd', row);
    }
    server.send(b'c', b"");
    let answer = server.read_to_ready();
    assert_eq!(error_of(&answer), None, "{options}");
}

#[test]
fn what_is_copied_loads_back_as_what_select_shows() {
    let house = house(300);
    let (mut masked, mut server) = (house.masked(), house.direct());
    let shown = cells(&masked.query(&format!("SELECT {COLUMNS} FROM ONLY app.many ORDER BY id")));
    let raw = cells(&server.query(&format!("SELECT {COLUMNS} FROM ONLY app.many ORDER BY id")));
    assert_eq!(shown.len(), 300);
    assert_ne!(shown, raw);
    let queried = format!("(SELECT {COLUMNS} FROM ONLY app.many ORDER BY id)");
    let listed = format!("app.many ({COLUMNS})");
    for (to, from) in [
        ("", ""),
        ("(FORMAT text, HEADER, ENCODING 'UTF8')", "(HEADER)"),
        ("DELIMITER '|'", "DELIMITER '|'"),
        ("(DELIMITER ',', NULL '\\N')", "(DELIMITER ',')"),
        ("CSV", "CSV"),
        ("CSV HEADER FORCE QUOTE *", "CSV HEADER"),
        (
            "(FORMAT csv, DELIMITER ';', QUOTE '''', ESCAPE '\\', NULL 'NULL')",
            "(FORMAT csv, DELIMITER ';', QUOTE '''', ESCAPE '\\', NULL 'NULL')",
        ),
        (
            "(FORMAT csv, DELIMITER E'\\t', NULL '*', FORCE_QUOTE (kept, last))",
            "(FORMAT csv, DELIMITER E'\\t', NULL '*')",
        ),
        ("(FORMAT binary)", "(FORMAT binary)"),
    ] {
        for what in ["app.many", &listed, &queried] {
            for is_extended in [false, true] {
                let sql = format!("COPY {what} TO STDOUT {to}");
                let answer = ask(&mut masked, &sql, is_extended);
                assert_eq!(error_of(&answer), None, "{sql}");
                load(&mut server, from, &data(&answer));
                let back = cells(&server.query(&format!("SELECT {COLUMNS} FROM app.back ORDER BY id")));
                for (back, shown) in back.iter().zip(&shown) {
                    assert_eq!(back, shown, "{sql}");
                }
                assert_eq!(back.len(), shown.len(), "{sql}");
                let done = answer.iter().find(|message| message.tag == b'C').expect("a tag");
                assert_eq!(done.body, b"COPY 300\0");
            }
        }
    }
    house.linegate.assert_unharmed();
}

#[test]
fn cells_that_are_not_masked_keep_their_bytes() {
    let house = house(100);
    let (mut masked, mut server) = (house.masked(), house.direct());
    for options in ["", "CSV", "CSV FORCE QUOTE kept", "BINARY"] {
        let sql =
            format!("COPY (SELECT id, kept, list IS NULL FROM app.many ORDER BY id) TO STDOUT {options}");
        let direct = server.query(&sql);
        assert_eq!(data(&masked.query(&sql)), data(&direct), "{sql}");
    }
    // The only masked cell is empty in the server's own words as well.
    let sql = "COPY (SELECT id, nothing, kept FROM app.many WHERE nothing IS NULL ORDER BY id) TO STDOUT CSV";
    let direct = server.query(sql);
    assert!(!data(&direct).is_empty());
    assert_eq!(data(&masked.query(sql)), data(&direct), "{sql}");
}

#[test]
fn a_copy_shows_what_the_same_select_shows() {
    let mut under = Masked::start();
    for query in [
        "SELECT card_number FROM app.customers ORDER BY id",
        "SELECT ssn || '', id FROM app.customers ORDER BY id",
        "SELECT upper(ssn), ssn AS x, name FROM app.customers ORDER BY id",
        "WITH c AS (SELECT id, card_number FROM app.customers) SELECT * FROM c ORDER BY 1",
        "SELECT * FROM app.customer_cards ORDER BY id",
        "SELECT count(*), max(id) FROM app.customers",
        "SELECT (SELECT card_number FROM app.customers WHERE id = o.customer) FROM app.orders o WHERE id < 4 ORDER BY id",
        "SELECT secret_int, secret_text, secret_json, id FROM app.typed",
        "SELECT c FROM app.customers c",
        "SELECT row_to_json(c) FROM app.customers c",
        "SELECT c.*, o.note FROM app.customers c JOIN app.orders o ON o.customer = c.id WHERE o.id < 3 ORDER BY o.id",
        "TABLE app.customers",
    ] {
        let selected = under.client.query(query);
        for is_extended in [false, true] {
            let sql = format!("COPY ({query}) TO STDOUT");
            let copied = ask(&mut under.client, &sql, is_extended);
            assert_nothing_raw(&sql, &copied);
            if error_of(&selected).is_some() {
                assert!(error_of(&copied).is_some(), "{sql}");
                continue;
            }
            if error_of(&copied).is_some() {
                // Stricter than SELECT where columns of two relations stand side by side.
                assert!(query.contains("c.*"), "{sql}: {:?}", error_of(&copied));
                continue;
            }
            let lines: Vec<String> = cells(&selected)
                .into_iter()
                .map(|row| {
                    let cell = |cell: Option<Vec<u8>>| {
                        cell.map_or("\\N".to_owned(), |cell| String::from_utf8(cell).expect("text"))
                    };
                    row.into_iter().map(cell).collect::<Vec<_>>().join("\t") + "\n"
                })
                .collect();
            let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
            assert_eq!(data(&copied), lines, "{sql}");
        }
    }
    under.linegate.assert_unharmed();
}

#[test]
fn what_cannot_be_masked_is_refused_and_the_session_goes_on() {
    let mut under = Masked::start();
    for sql in [
        "COPY app.customers TO STDOUT (NULL '536-90-4399')",
        "COPY app.customers TO STDOUT (ENCODING 'LATIN1')",
        "COPY app.customers TO STDOUT (FORMAT csv, FORCE_NOT_NULL (ssn))",
        "COPY app.customers TO STDOUT (FORMAT nothing)",
        "COPY app.customers TO STDOUT; SELECT 1",
        "SELECT 1; COPY app.customers TO STDOUT",
        "COPY app.customer_cards TO STDOUT",
        "COPY app.customers TO '/tmp/out'",
        "COPY app.customers TO PROGRAM 'cat'",
        "COPY (UPDATE app.customers SET name = 'x' RETURNING ssn) TO STDOUT",
        "COPY (SELECT id FROM app.customers WHERE ssn > '5') TO STDOUT",
        "COPY (SELECT query_to_xml('SELECT ssn FROM app.customers', true, true, '')) TO STDOUT",
        "COPY (SELECT ssn, nothing FROM app.customers) TO STDOUT",
        "COPY app.customers (ssn, nothing) TO STDOUT",
    ] {
        for is_extended in [false, true] {
            let answer = ask(&mut under.client, sql, is_extended);
            assert_nothing_raw(sql, &answer);
            assert!(error_of(&answer).is_some(), "{sql}");
            assert!(data(&answer).is_empty(), "{sql}: {}", tags(&answer));
            assert_eq!(status(&answer), Some('I'), "{sql}");
            assert_eq!(tags(&answer).matches('Z').count(), 1, "{sql}");
        }
        assert_eq!(rows(&under.client.query("SELECT 7")), [["7"]], "{sql}");
    }
    under.linegate.assert_unharmed();
}

#[test]
fn a_copy_in_a_transaction_keeps_its_status() {
    let mut under = Masked::start();
    let client = &mut under.client;
    client.query("BEGIN");
    let answer = client.query("COPY app.customers (id, ssn) TO STDOUT");
    assert_eq!((data(&answer).len(), status(&answer)), (3, Some('T')));
    let answer = extended(client, "COPY app.customers (id, ssn) TO STDOUT CSV");
    assert_eq!((data(&answer).len(), status(&answer)), (3, Some('T')));
    client.query("SELECT nothing");
    let answer = client.query("COPY app.customers (id, ssn) TO STDOUT");
    let (code, _) = error_of(&answer).expect("the transaction has failed");
    assert_eq!((code.as_str(), status(&answer)), ("25P02", Some('E')));
    client.query("ROLLBACK");
    client.query("BEGIN");
    // The server's own error about the question is the COPY's.
    let answer = client.query("COPY (SELECT ssn, app.nothing(1) FROM app.customers) TO STDOUT");
    assert!(error_of(&answer).is_some());
    client.query("ROLLBACK");
    client.query("BEGIN");
    let answer = client.query("COPY (SELECT ssn, no_such_column FROM app.customers) TO STDOUT");
    assert!(error_of(&answer).is_some());
    let left = status(&answer);
    assert_eq!(
        status(&client.query("SELECT 1")),
        left,
        "{left:?} is the server's own"
    );
    assert_eq!(status(&client.query("ROLLBACK")), Some('I'));
    assert_eq!(data(&client.query("COPY app.customers TO STDOUT")).len(), 3);
}

#[test]
fn copies_among_other_messages_of_one_write_come_in_order() {
    let mut under = Masked::start();
    let conversation = [
        wire::parse("", "SELECT 1"),
        wire::bind("", "", &[], 0),
        wire::execute("", 0),
        wire::parse("c", "COPY app.customers (id, card_number) TO STDOUT"),
        wire::bind("", "c", &[], 0),
        wire::execute("", 0),
        wire::bind("", "c", &[], 0),
        wire::execute("", 0),
        wire::parse("", "SELECT 2"),
        wire::bind("", "", &[], 0),
        wire::execute("", 0),
        wire::sync(),
        wire::framed(b'Q', &c_string("COPY app.customers (ssn) TO STDOUT")),
        wire::framed(b'Q', &c_string("SELECT 3")),
    ]
    .concat();
    under.client.send_bytes(&conversation);
    let first = under.client.read_to_ready();
    assert_nothing_raw("a series", &first);
    assert_eq!(tags(&first), "12DC12HdddcC2HdddcC12DCZ");
    assert_eq!(tags(&under.client.read_to_ready()), "HdddcCZ");
    assert_eq!(rows(&under.client.read_to_ready()), [["3"]]);
    // In the middle of a series a Query ends it; nothing of the COPY comes.
    let conversation = [
        wire::parse("", "SELECT 1"),
        wire::bind("", "", &[], 0),
        wire::execute("", 0),
        wire::framed(b'Q', &c_string("COPY app.customers (ssn) TO STDOUT")),
    ]
    .concat();
    under.client.send_bytes(&conversation);
    let answer = under.client.read_to_ready();
    assert_nothing_raw("a Query in a series", &answer);
    assert!(error_of(&answer).is_some() && data(&answer).is_empty());
    assert_eq!(rows(&under.client.query("SELECT 4")), [["4"]]);
}

#[test]
fn a_copy_that_is_run_by_name_in_sql_shows_nothing() {
    let mut under = Masked::start();
    let prepare = [
        wire::parse("c", "COPY app.customers (id, card_number) TO STDOUT"),
        wire::bind("portal", "c", &[], 0),
        wire::sync(),
    ];
    under.client.send_bytes(&prepare.concat());
    assert_eq!(error_of(&under.client.read_to_ready()), None);
    for sql in ["EXECUTE c", "FETCH ALL FROM portal", "SELECT 1; EXECUTE c"] {
        let answer = under.client.query(sql);
        assert_nothing_raw(sql, &answer);
        assert!(error_of(&answer).is_some() && data(&answer).is_empty(), "{sql}");
    }
    let answer = extended(&mut under.client, "EXECUTE c");
    assert_nothing_raw("EXECUTE in the extended protocol", &answer);
    assert!(error_of(&answer).is_some() && data(&answer).is_empty());
    assert_eq!(rows(&under.client.query("SELECT 5")), [["5"]]);
}

#[test]
fn recordings_of_a_copy_hold_what_the_client_saw() {
    let mut under = Masked::start();
    let answer = under
        .client
        .query("COPY app.customers (id, ssn, card_number) TO STDOUT WITH CSV HEADER");
    assert_eq!(
        data(&answer).concat(),
        b"id,ssn,card_number\n1,*******4399,************1111\n2,*******9999,************5559\n3,*******5462,***********0009\n"
    );
    drop(under.client);
    under.linegate.stop();
    let mut recorded = Vec::new();
    for entry in std::fs::read_dir(under.linegate.recordings()).expect("recordings") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            recorded.extend(std::fs::read(path).expect("a segment"));
        }
    }
    let holds = |text: &str| recorded.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    for raw in CARDS.iter().chain(&SSNS) {
        assert!(!holds(raw), "{raw}");
    }
}

#[test]
fn programs_copy_and_dump_what_they_may_see() {
    let under = Masked::start();
    let lease = under.linegate.lease("workload:ci-runner", &["migrate"], "all");
    let said = under
        .linegate
        .psql(
            &lease,
            &[
                "-c",
                "\\copy app.customers (id, ssn) TO STDOUT WITH (FORMAT csv, HEADER)",
            ],
        )
        .good();
    assert_eq!(said.out, "id,ssn\n1,*******4399\n2,*******9999\n3,*******5462\n");
    let mut dump = under.linegate.client_command("pg_dump", &lease);
    dump.args([
        "--data-only",
        "--table",
        "app.customers",
        "--table",
        "app.typed",
        "--no-sync",
    ]);
    let said = Said::by(&mut dump).good();
    for raw in CARDS
        .iter()
        .chain(&SSNS)
        .chain(&["open sesame", "987654321", "4242"])
    {
        assert!(!said.all().contains(raw), "{raw}");
    }
    let row = "1\tfirst customer\tone@example.com\t*******4399\t************1111\t1000\n";
    assert!(said.out.contains(row), "{}", said.out);
    under.linegate.assert_unharmed();
}

#[test]
fn a_masked_copy_is_cut_by_its_budget_between_rows() {
    let under = under::under(
        "@id(\"few\") @budget_rows(\"5\") permit (principal in Group::\"ci\", action, resource) unless { action == Action::\"read_raw\" };",
    );
    let sql = "COPY (SELECT c.card_number FROM app.customers c, generate_series(1, 200000)) TO STDOUT";
    for is_extended in [false, true] {
        let lease = under.linegate.lease("workload:ci-runner", &[], "all");
        let mut client = under.linegate.client(&lease);
        let cut = ask(&mut client, sql, is_extended);
        assert_nothing_raw(sql, &cut);
        assert_eq!(error_of(&cut).expect("a cut").0, "54000");
        let rows = data(&cut);
        assert_eq!(rows.len(), 5);
        assert!(
            rows.iter()
                .all(|row| row.starts_with(b"******") && row.ends_with(b"\n"))
        );
        assert_eq!(status(&cut), Some('I'));
    }
}

#[test]
fn large_copies_pass_in_bounded_memory_and_a_client_may_leave_in_the_middle() {
    let mut under = Masked::start();
    let sql = "COPY (SELECT n, c.card_number, repeat('x', 200) FROM app.customers c, generate_series(1, 60000) n) TO STDOUT";
    for options in ["", "CSV", "BINARY"] {
        let sql = format!("{sql} {options}");
        let answer = under.client.query(&sql);
        assert_eq!(error_of(&answer), None, "{sql}");
        let rows = data(&answer);
        assert_eq!(rows.len(), 180_000 + usize::from(options == "BINARY"));
        for row in &rows {
            let has = |text: &[u8]| row.windows(text.len()).any(|bytes| bytes == text);
            assert!(!has(b"41111111") && !has(b"55000055") && !has(b"34000000"));
        }
    }
    let lease = under.linegate.lease("workload:ci-runner", &["migrate"], "all");
    let mut leaver = under.linegate.client(&lease);
    leaver.send_query(sql);
    leaver.read_to(b'd');
    drop(leaver);
    assert_eq!(rows(&under.client.query("SELECT 6")), [["6"]]);
    under.linegate.assert_unharmed();
}

#[test]
fn a_copy_behind_a_lock_can_be_cancelled() {
    let mut under = Masked::start();
    let mut locker = RawClient::login(under.postgres.port(), "app", "app-secret", "shop");
    // The catalog is known before anything is locked.
    assert_eq!(
        rows(&under.client.query("SELECT ssn FROM app.customers")).len(),
        3
    );
    locker.query("BEGIN");
    locker.query("LOCK TABLE app.customers IN ACCESS EXCLUSIVE MODE");
    under.client.send_query("COPY app.customers TO STDOUT");
    eventually("the question waits for the lock", || {
        let waits = under
            .postgres
            .sql("SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND query LIKE '%FROM ONLY%'");
        (waits.trim() == "1").then_some(())
    });
    under.client.cancel(under.linegate.port());
    let answer = under.client.read_to_ready();
    assert_eq!(error_of(&answer).expect("it was cancelled").0, "57014");
    assert_eq!((tags(&answer).as_str(), status(&answer)), ("EZ", Some('I')));
    // The lock's owner changes what the names mean, while the question waits.
    under.client.send_query("COPY app.customers (id, name) TO STDOUT");
    eventually("the question waits for the lock", || {
        let waits = under
            .postgres
            .sql("SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND query LIKE '%FROM ONLY%'");
        (waits.trim() == "1").then_some(())
    });
    locker.query("ALTER TABLE app.customers RENAME name TO other");
    locker.query("ALTER TABLE app.customers RENAME ssn TO name");
    locker.query("COMMIT");
    let answer = under.client.read_to_ready();
    assert_nothing_raw("columns that changed their names", &answer);
    let answer = ask(
        &mut under.client,
        "COPY app.customers (id, name) TO STDOUT",
        false,
    );
    assert_nothing_raw("and later", &answer);
    assert_eq!(rows(&under.client.query("SELECT 8")), [["8"]]);
}

#[test]
fn a_copy_is_not_refused_for_what_others_do_to_other_tables() {
    let house = house(50);
    let mut others = house.direct();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let churn = std::thread::spawn(move || {
        let mut times = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            others.query("CREATE TEMP TABLE passing (id int PRIMARY KEY, note text)");
            others.query("DROP TABLE passing");
            times += 1;
        }
        times
    });
    let mut client = house.masked();
    for turn in 0..40 {
        let sql = format!("COPY app.many ({COLUMNS}) TO STDOUT");
        let answer = ask(&mut client, &sql, turn % 2 == 0);
        assert_eq!(error_of(&answer), None, "turn {turn}");
        assert_eq!(data(&answer).len(), 50);
    }
    drop(stop);
    let times = churn.join().expect("it ended by itself");
    assert!(times > 40, "others made tables meanwhile: {times}");
}

#[test]
fn columns_that_change_their_names_all_the_time_are_never_shown() {
    let mut under = Masked::start();
    let port = under.postgres.port();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let renaming = std::thread::spawn(move || {
        let mut owner = RawClient::login(port, "app", "app-secret", "shop");
        let swap = "BEGIN; ALTER TABLE app.customers RENAME name TO other; ALTER TABLE app.customers RENAME ssn TO name; \
                    ALTER TABLE app.customers RENAME other TO ssn; COMMIT";
        let mut swaps = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            assert_eq!(error_of(&owner.query(swap)), None);
            swaps += 1;
            std::thread::sleep(std::time::Duration::from_millis(swaps % 7));
        }
        swaps
    });
    let mut shown = 0;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(6);
    while std::time::Instant::now() < until {
        for sql in [
            "COPY app.customers (name) TO STDOUT",
            "COPY (SELECT name FROM app.customers) TO STDOUT",
        ] {
            for is_extended in [false, true] {
                let answer = ask(&mut under.client, sql, is_extended);
                assert_nothing_raw(sql, &answer);
                shown += data(&answer).len();
            }
        }
    }
    drop(stop);
    let swaps = renaming.join().expect("the owner's thread");
    println!("{shown} rows were shown through {swaps} swaps");
    assert!(swaps > 10);
    under.linegate.assert_unharmed();
}

#[test]
fn a_view_that_is_replaced_all_the_time_never_shows_what_it_should_not() {
    let mut under = Masked::start();
    let port = under.postgres.port();
    let view = |column: &str| {
        format!("CREATE OR REPLACE VIEW app.flip AS SELECT id, {column} AS shown FROM app.customers")
    };
    let flips = [view("name"), view("ssn")];
    under.postgres.sql(&format!("SET ROLE app; {}", flips[0]));
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let replacing = std::thread::spawn(move || {
        let mut owner = RawClient::login(port, "app", "app-secret", "shop");
        let mut count = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            assert_eq!(error_of(&owner.query(&flips[count % 2])), None);
            count += 1;
            std::thread::sleep(std::time::Duration::from_millis(count as u64 % 9));
        }
        count
    });
    let mut shown = 0;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(6);
    while std::time::Instant::now() < until {
        for sql in [
            "COPY (SELECT shown FROM app.flip) TO STDOUT",
            "COPY (SELECT shown || '' FROM app.flip) TO STDOUT CSV",
        ] {
            for is_extended in [false, true] {
                let answer = ask(&mut under.client, sql, is_extended);
                assert_nothing_raw(sql, &answer);
                shown += data(&answer).len();
            }
        }
    }
    drop(stop);
    let flips = replacing.join().expect("the owner's thread");
    println!("{shown} rows were shown through {flips} flips");
    assert!(flips > 10);
    under.linegate.assert_unharmed();
}
