//! Texts that no honest program sends: unreadable, deep, long, arbitrary.

use proptest::prelude::*;

use super::*;

#[test]
fn what_cannot_be_read_is_unreadable() {
    let why = |text: &[u8]| read_detailed(text).unwrap_err();
    assert_eq!(why(b"SELEC 1"), ReadError::Syntax);
    assert_eq!(why(b"SELECT 1\0; DROP TABLE x"), ReadError::EmbeddedNul);
    assert_eq!(why(b"SELECT '\xff'"), ReadError::NotUtf8);
    let long = vec![b' '; STATEMENT_BYTES_MAX + 1];
    assert_eq!(
        why(&long),
        ReadError::TooLong {
            bytes: STATEMENT_BYTES_MAX + 1
        }
    );
    assert_eq!(read_detailed(&long[1..]).unwrap(), Statement::empty());
    assert_eq!(read(b"SELEC 1"), Statement::unreadable());
    assert!(read(b"ALTER ROLE x PASSWRD 'y'; -- Password").carries_secret);
    assert_eq!(read(b"SELECT 1; SELECT 2;").count, 2);
}

#[test]
fn literals_that_are_not_text_do_not_panic() {
    for sql in [
        "SELECT E'\\xff'",
        "SELECT set_config(E'\\xff', '', false)",
        "SELECT * FROM U&\"\\D800\"",
        "SELECT '\u{1}'",
    ] {
        let _ = read_detailed(sql.as_bytes());
    }
}

/// Deep and long texts end in an answer within the policy thread's stack, and soon.
#[test]
fn depth_and_length_cost_neither_the_stack_nor_the_day() {
    let many = |piece: &str, count: usize| piece.repeat(count);
    let shapes = [
        format!("SELECT {}1{}", many("(", 100_000), many(")", 100_000)),
        format!("SELECT 1{}", many(" UNION SELECT 1", 50_000)),
        format!(
            "SELECT 1 {} {}",
            many("UNION (SELECT 1 ", 2_000),
            many(")", 2_000)
        ),
        format!("SELECT 'a'{}", many("||'a'", 150_000)),
        format!("SELECT 1 WHERE {}true", many("true AND ", 80_000)),
        format!("SELECT {}true", many("NOT ", 100_000)),
        format!("SELECT {}1", many("- ", 100_000)),
        format!(
            "DELETE FROM t WHERE {}id = 1{}",
            many("(a > 1 AND (id = 1 OR ", 3_000),
            many("))", 3_000)
        ),
        format!("SELECT {}1{}", many("f(", 50_000), many(")", 50_000)),
        format!(
            "SELECT * FROM {}t{}",
            many("(SELECT * FROM ", 3_000),
            many(") s", 3_000)
        ),
        format!("SELECT {}1{}", many("(SELECT ", 3_000), many(")", 3_000)),
        format!(
            "SELECT {}1{}",
            many("CASE WHEN true THEN ", 3_000),
            many(" END", 3_000)
        ),
        format!("SELECT * FROM t{}", many(" JOIN t USING (a)", 50_000)),
        format!("SELECT ARRAY{}{}", many("[", 100_000), many("]", 100_000)),
        format!("SELECT a{}", many("[1]", 100_000)),
        format!("SELECT 1{}", many("::int", 100_000)),
        format!(
            "WITH {} SELECT 1",
            many("c AS (SELECT 1 FROM c),", 30_000).trim_end_matches(',')
        ),
        many("WITH a AS (", 3_000),
        format!("EXPLAIN {}", many("EXPLAIN ", 10_000)),
        many("SELECT 1 FROM t;", 60_000),
        format!("UPDATE t SET ({}a) = (SELECT 1 FROM u)", many("a,", 100_000)),
        format!("SELECT $1{}", many(" + $1", 200_000)),
    ];
    let run = move || {
        for shape in &shapes {
            let begun = std::time::Instant::now();
            let outcome = read_detailed(shape.as_bytes()).map(|statement| statement.count);
            let taken = begun.elapsed();
            assert!(
                taken.as_secs() < 5,
                "{taken:?} for {} …: {outcome:?}",
                &shape[..20]
            );
        }
    };
    std::thread::Builder::new()
        .stack_size(8 << 20)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn queries_nest_to_the_stated_depth_and_no_deeper() {
    let nested = |depth: usize| {
        format!(
            "{}SELECT 1{}",
            "SELECT * FROM (".repeat(depth),
            ") s".repeat(depth)
        )
    };
    assert!(read_detailed(nested(QUERY_DEPTH_MAX - 1).as_bytes()).is_ok());
    assert_eq!(
        read_detailed(nested(QUERY_DEPTH_MAX).as_bytes()),
        Err(ReadError::TooDeep)
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }

    #[test]
    fn shuffled_words_are_answered(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..40)) {
        let _ = read(words.join(" ").as_bytes());
    }

    /// However a relation is reached, it is named; and no reading of a text loses a statement.
    #[test]
    fn a_relation_is_seen_through_any_wrapping(wraps in proptest::collection::vec(0..WRAPS.len(), 0..6)) {
        let mut query = "SELECT ssn FROM hidden".to_owned();
        for wrap in wraps {
            query = WRAPS[wrap].replace('@', &query);
        }
        let statement = read_detailed(query.as_bytes()).unwrap();
        prop_assert!(statement.reads.iter().any(|name| name.name == "hidden"), "{query}");
        let twice = read_detailed(format!("{query};{query}; DROP TABLE last").as_bytes()).unwrap();
        prop_assert_eq!(twice.count, 3);
        prop_assert!(twice.writes.iter().any(|name| name.name == "last"));
    }
}

const WRAPS: &[&str] = &[
    "SELECT * FROM (@) s",
    "SELECT (@)",
    "SELECT 1 WHERE EXISTS (@)",
    "WITH c AS (@) SELECT 1",
    "SELECT 1 UNION ALL (@)",
    "(@) EXCEPT SELECT 2",
    "SELECT 1 LIMIT (@)",
    "SELECT count(*) FILTER (WHERE (@) = 1)",
    "SELECT sum(1) OVER (ORDER BY (@))",
    "SELECT * FROM f((@)) WITH ORDINALITY",
    "VALUES (1, (@))",
    "SELECT * FROM a LEFT JOIN b ON (@) = 1",
    "SELECT ROW(ARRAY(@), 1 IN (@))",
];

const WORDS: &[&str] = &[
    "SELECT", "FROM", "t", "WHERE", "id", "=", "1", ",", "(", ")", "INSERT", "INTO", "VALUES", "UPDATE",
    "SET", "DELETE", "WITH", "AS", "UNION", "*", ";", "EXPLAIN", "ANALYZE", "COPY", "STDIN", "TO", "CREATE",
    "TABLE", "ALTER", "DROP", "VIEW", "'x'", "$1", "ROLE", "GRANT", "ON", "CALL", "f", "EXECUTE", "PREPARE",
    "BEGIN", "IN",
];
