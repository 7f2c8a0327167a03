//! Every redaction on a real server in text and binary, pseudonyms across tables and sessions, and detectors in free text.

use linegate_tests::wire::{self, error_of, rows};
use linegate_tests::{Lease, Linegate, Message, Options, Postgres, RawClient, eventually};

/// One column a redaction. `born` is in both formats what the server itself says of the redacted value.
const SCHEMA: &str = "
SET ROLE app;
CREATE TABLE app.many (
    id int PRIMARY KEY, blanked text, last varchar(20), mail text, nothing text, fixed text, fixed_number int, born date,
    seen timestamp, amount numeric, measured float8, doc jsonb, list text[], kept text,
    card text, token text, token_number bigint, token_uuid uuid, token_bytes bytea
);
INSERT INTO app.many VALUES (
    1, 'hello', 'abcdef', 'one@example.com', 'gone', 'raw words', 4711, '1987-06-05',
    '1987-06-05 04:03:02', 12345.67, 129.5, '{\"pin\": 4242, \"name\": \"x\", \"cards\": [{\"no\": \"raw-no\"}]}',
    '{a,b}', 'as it is',
    '4111 1111 1111 1111', 'raw-token', 4242424242, '11111111-2222-3333-4444-555555555555', '\\x00112233'
), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE app.others (id int, who varchar(40), number int);
INSERT INTO app.others VALUES (1, 'raw-token', 424242), (2, 'another', 1);
CREATE TABLE app.notes (id int PRIMARY KEY, body text, doc jsonb);
INSERT INTO app.notes SELECT n, 'note ' || n, '{\"n\": 1}' FROM generate_series(1, 5000) n;
UPDATE app.notes SET body = 'paid with 4111 1111 1111 1111 today', doc = '{\"card\": 4111111111111111}' WHERE id = 4000;
UPDATE app.notes SET body = 'write to someone@example.com' WHERE id IN (4001, 4500);
";

const LABELS: [(&str, &str); 16] = [
    ("blanked", "redact = 'blank'"),
    ("last", "redact = 'keep-last-2'"),
    ("mail", "redact = 'keep-domain'"),
    ("nothing", "redact = 'null'"),
    ("fixed", "redact = 'constant:hidden'"),
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
];

/// What the server says of the redacted values, column by column from `blanked` to `kept`.
const EXPECTED: &str =
    "SELECT '*****'::text, '****ef'::varchar, '***@example.com'::text, NULL::text, 'hidden'::text, 42::int,
    '1987-01-01'::date, '1987-06-01'::timestamp, 12000::numeric, 120::float8,
    '{\"pin\": null, \"name\": \"x\", \"cards\": [{\"no\": null}]}'::jsonb, NULL::text[], 'as it is'::text";

struct House {
    postgres: Postgres,
    linegate: Linegate,
}

fn house(target: &str) -> House {
    let postgres = Postgres::start();
    postgres.sql(SCHEMA);
    let mut more = String::new();
    let columns = LABELS
        .iter()
        .map(|(column, how)| (format!("app.many.{column}"), *how));
    let others = ["app.many.token_bytes", "app.others.who", "app.others.number"];
    let others = others.map(|column| (column.to_owned(), "redact = 'pseudonym'"));
    for (column, how) in columns.chain(others) {
        more.push_str(&format!(
            "\n[[label]]\nname = 'private'\ntarget = 'shop'\ncolumns = ['{column}']\n{how}\n"
        ));
    }
    let options = Options {
        target: target.to_owned(),
        more,
        ..Options::default()
    };
    let linegate = Linegate::start_with(&postgres, options);
    House { postgres, linegate }
}

impl House {
    fn masked_lease(&self) -> Lease {
        self.linegate.lease("workload:ci-runner", &["migrate"], "all")
    }

    fn masked(&self) -> RawClient {
        self.linegate.client(&self.masked_lease())
    }

    fn raw(&self) -> RawClient {
        self.linegate.client(&self.linegate.lease("user:dba", &[], "all"))
    }
}

fn extended(client: &mut RawClient, sql: &str, format: u16) -> Vec<Message> {
    let conversation = [
        wire::parse("", sql),
        wire::bind("", "", &[], format),
        wire::describe(b'P', ""),
        wire::execute("", 0),
        wire::sync(),
    ];
    client.send_bytes(&conversation.concat());
    client.read_to_ready()
}

fn cells(client: &mut RawClient, sql: &str, format: u16) -> Vec<Vec<Option<Vec<u8>>>> {
    let answer = extended(client, sql, format);
    assert_eq!(error_of(&answer), None, "{sql}");
    let rows = answer.iter().filter(|message| message.tag == b'D');
    rows.map(Message::cells).collect()
}

fn assert_hidden(messages: &[Message], raw: &[&str]) {
    for message in messages {
        let text = String::from_utf8_lossy(&message.body);
        for raw in raw {
            assert!(
                !text.contains(raw),
                "message {:?} shows {raw}",
                char::from(message.tag)
            );
        }
    }
}

#[test]
fn every_redaction_is_a_value_of_its_type_in_text_and_binary() {
    let house = house("");
    let (mut masked, mut raw) = (house.masked(), house.raw());
    let sql = "SELECT blanked, last, mail, nothing, fixed, fixed_number, born, seen, amount, measured, doc, list, kept \
               FROM app.many ORDER BY id";
    for format in [0, 1] {
        let expected = cells(&mut raw, EXPECTED, format).remove(0);
        let found = cells(&mut masked, sql, format);
        assert_eq!(found[0], expected, "format {format}");
        assert!(found[1].iter().all(Option::is_none), "NULL stays NULL");
    }
    let answer = masked.query(sql);
    let hidden = [
        "hello",
        "abcd",
        "one@",
        "gone",
        "raw words",
        "4711",
        "06-05",
        "345",
        "129",
        "4242",
        "raw-no",
    ];
    assert_hidden(&answer, &hidden);
    let expected = rows(&raw.query(EXPECTED));
    assert_eq!(rows(&answer)[0], expected[0], "and in the simple protocol");
    let untouched = rows(&raw.query("SELECT blanked, born, amount, doc->>'pin' FROM app.many WHERE id = 1"));
    assert_eq!(
        untouched,
        [["hello", "1987-06-05", "12345.67", "4242"]],
        "who may read raw does"
    );
}

#[test]
fn pseudonyms_and_digits_are_the_same_in_every_table_session_and_format() {
    let house = house("");
    let (mut one, mut two) = (house.masked(), house.masked());
    let sql = "SELECT token, token_number, token_uuid, token_bytes, card FROM app.many WHERE id = 1";
    let text = cells(&mut one, sql, 0).remove(0);
    let text: Vec<String> = text
        .into_iter()
        .map(|cell| String::from_utf8(cell.expect("a pseudonym")).expect("text"))
        .collect();
    assert_hidden(
        &one.query(sql),
        &[
            "raw-token",
            "4242424242",
            "11111111-2222",
            "00112233",
            "4111 1111 1111",
        ],
    );
    assert_eq!(
        rows(&two.query(sql)),
        std::slice::from_ref(&text),
        "in another session"
    );
    let who = rows(&two.query("SELECT who FROM app.others ORDER BY id"));
    assert_eq!(who[0][0], text[0], "in another table and type");
    assert_ne!(who[1][0], text[0], "another value");
    assert_eq!(text[0].len(), 26);

    let binary = cells(&mut two, sql, 1).remove(0);
    let binary: Vec<Vec<u8>> = binary
        .into_iter()
        .map(|cell| cell.expect("a pseudonym"))
        .collect();
    assert_eq!(binary[0], text[0].as_bytes());
    let number = i64::from_be_bytes(binary[1].as_slice().try_into().expect("a bigint"));
    assert_eq!(number.to_string(), text[1]);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&binary[2]), text[2].replace('-', ""));
    assert_eq!(format!("\\x{}", hex(&binary[3])), text[3]);
    assert_eq!(binary[4], text[4].as_bytes());

    let digits: Vec<u32> = text[4].chars().filter_map(|digit| digit.to_digit(10)).collect();
    let luhn = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => *digit,
            (_, double) => double / 10 + double % 10,
        });
    assert_eq!(luhn.sum::<u32>() % 10, 0, "{}", text[4]);
    assert!(text[4].ends_with(" 1111") && digits.len() == 16, "{}", text[4]);
    assert!(house.linegate.state_dir().join("pseudonym.key").is_file());
}

#[test]
fn detectors_count_and_say_nothing_of_what_they_found() {
    let house = house("detect = ['personal']");
    let mut masked = house.masked();
    let sql = "SELECT id, body, doc FROM app.notes ORDER BY id";
    let found = rows(&masked.query(sql));
    assert_eq!(found.len(), 5000);
    assert_eq!(
        found[3999][1], "paid with 4111 1111 1111 1111 today",
        "a tripwire changes nothing"
    );
    let log = eventually("the log tells", || {
        Some(house.linegate.log()).filter(|log| log.contains("a detector found something"))
    });
    assert!(log.contains("card (2)"), "{log}");
    assert!(!log.contains("4111 1111") && !log.contains("someone@"), "{log}");
    let words = b"linegate found in columns without a label: card (2), email (2); counted only";
    eventually("it is on record", || house.is_recorded(words).then_some(()));
    masked.query("SELECT 1");
    let alarms = |log: &str| log.matches("a detector found something").count();
    let before = alarms(&house.linegate.log());
    assert_eq!(rows(&house.raw().query(sql)).len(), 5000);
    assert_eq!(
        alarms(&house.linegate.log()),
        before,
        "who reads raw is not searched"
    );
}

#[test]
fn detectors_overwrite_what_they_find_and_the_rest_stays() {
    let house = house("detect = ['card', 'email']\non_detect = 'redact'");
    let mut masked = house.masked();
    let direct = house
        .postgres
        .sql("SELECT count(*), sum(length(body)) FROM app.notes");
    for format in [0, 1] {
        let found = cells(&mut masked, "SELECT body, doc FROM app.notes ORDER BY id", format);
        let text = |row: usize, column: usize| {
            let cell = found[row][column].as_deref().expect("a cell");
            String::from_utf8_lossy(cell).into_owned()
        };
        assert_eq!(
            text(3999, 0),
            "paid with ******************* today",
            "format {format}"
        );
        assert!(
            text(3999, 1).ends_with("{\"card\": 9999999999999999}"),
            "still a document"
        );
        assert_eq!(text(4000, 0), "write to *******************");
        assert_eq!(text(4499, 0), "write to *******************");
        assert_eq!(text(1233, 0), "note 1234");
        let length: usize = (0..found.len()).map(|row| text(row, 0).len()).sum();
        assert_eq!(format!("{}|{length}", found.len()), direct);
    }
    let recorded = house.is_recorded(b"4111 1111 1111 1111") || house.is_recorded(b"someone@");
    assert!(!recorded, "records show what the client saw");
    let both = cells(
        &mut masked,
        "SELECT token, kept || ', someone@example.com' FROM app.many WHERE id = 1",
        0,
    );
    let other = String::from_utf8_lossy(both[0][1].as_deref().expect("text")).into_owned();
    assert_eq!(
        other, "as it is, *******************",
        "beside cells that are redacted by label"
    );
    assert_eq!(
        rows(&house.raw().query("SELECT body FROM app.notes WHERE id = 4001")),
        [["write to someone@example.com"]]
    );
}

#[test]
fn detectors_end_the_session_before_the_row() {
    let house = house("detect = ['card']\non_detect = 'end'");
    let mut masked = house.masked();
    let clean = rows(&masked.query("SELECT body FROM app.notes WHERE id < 4000 ORDER BY id"));
    assert_eq!(clean.len(), 3999);
    masked.send_query("SELECT id, body FROM app.notes ORDER BY id");
    let answer = masked.read_to_end();
    assert_hidden(&answer, &["4111 1111"]);
    let (code, words) = error_of(&answer).expect("an error");
    assert!(code == "42501" && words.contains("card"), "{code} {words}");
    assert!(wire::tags(&answer).ends_with("DE"), "rows, then the error");
    assert!(!house.is_recorded(b"4111 1111"), "the row is on no record either");
    assert_eq!(
        rows(&house.raw().query("SELECT body FROM app.notes WHERE id = 4000")).len(),
        1
    );
    house.linegate.assert_unharmed();
}

impl House {
    /// Whether the recordings hold these bytes, once they are written.
    fn is_recorded(&self, bytes: &[u8]) -> bool {
        let mut open = vec![self.linegate.recordings()];
        while let Some(path) = open.pop() {
            if path.is_dir() {
                let entries = std::fs::read_dir(&path).expect("our own directory");
                open.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
            } else if std::fs::read(&path)
                .is_ok_and(|held| held.windows(bytes.len()).any(|part| part == bytes))
            {
                return true;
            }
        }
        false
    }
}
