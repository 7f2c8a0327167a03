//! What a text says of its cost before it runs, by its words: values that it compares with, and whether its command tag will
//! tell every row that it changes. Doubt counts as more.

use linegate_identity::Effects;

/// At least as many as the values that a column can be compared with: constants of the text, elements of arrays. A text in
/// which a quote may not be what it seems is counted as if no quote meant anything. `spreads`: one of its values may be taken
/// apart in a way that its type decides.
pub(super) fn values_count(text: &[u8], parameters: &[Option<Vec<u8>>], spreads: bool) -> u64 {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let unclear = [&b"\\"[..], b"\"", b"--", b"/*", b"$$"]
        .iter()
        .any(|sign| text.windows(sign.len()).any(|window| window == *sign))
        || text
            .windows(2)
            .any(|two| two[0] == b'$' && !two[1].is_ascii_digit());
    let (mut count, mut quoted, mut before) = (0, false, b' ');
    for &byte in text {
        count += match byte {
            b'\'' => {
                quoted = !quoted && !unclear;
                u64::from(quoted || unclear)
            }
            b',' => u64::from(quoted || unclear),
            _ if spreads && is_blank(byte) => u64::from(quoted || unclear),
            // An escape may be a comma.
            b'\\' => 1,
            b'0'..=b'9' | b'$' => u64::from(!quoted && !is_word(before) && before != b'$'),
            _ => 0,
        };
        before = byte;
    }
    if text.windows(2).any(|two| two.eq_ignore_ascii_case(b"u&")) {
        count = count.max(text.len() as u64 / 4); // the escape may be any character
    }
    // A vector of numbers or a text search vector has its elements between blanks, or in binary with a NUL behind each.
    // Behind a lexeme in quotes, there need not be a blank.
    let is_between = |byte: u8| byte == b',' || spreads && (is_blank(byte) || byte == 0 || byte == b'\'');
    let of_parameters = parameters.iter().flatten().map(|value| {
        let word = |at: usize| Some(u32::from_be_bytes(*value.get(at..)?.first_chunk()?));
        match (word(0), word(4)) {
            // An array in binary: dimensions, whether it has NULLs, type, then length and lower bound of each dimension.
            (Some(dimensions @ 1..=6), Some(0 | 1)) => {
                let lengths = (0..dimensions as usize).filter_map(|index| word(12 + 8 * index));
                let elements = lengths.fold(1, |all: u64, length| all.saturating_mul(length.into()));
                elements.min(value.len() as u64 / 4)
            }
            _ => value.iter().filter(|byte| is_between(**byte)).count() as u64,
        }
    });
    (count + of_parameters.sum::<u64>()).max(1)
}

/// A blank, or a byte of what may be one beyond ASCII.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b || byte >= 0x80
}

/// Whether the command tags will tell every row that the text changes: a WITH may change rows that no tag counts.
pub(super) fn is_countable(text: &[u8], count: u32, effects: Effects) -> bool {
    if count > 1 && effects.intersects(Effects::TRANSACTION.with(Effects::COPY_IN)) {
        return false; // parts of it commit before they are counted
    }
    if effects.contains(Effects::COPY_OUT) {
        return false; // the tag of what COPY runs stays with the server
    }
    let words = text.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_' && *byte < 0x80);
    // The tag of what EXPLAIN runs stays with the server.
    let explains = effects.contains(Effects::EXPLAIN);
    let (mut with, mut changes) = (false, 0);
    for word in words.filter(|word| !word.is_empty()) {
        with |= word.eq_ignore_ascii_case(b"with");
        let verbs = [&b"insert"[..], b"update", b"delete", b"merge"];
        changes += u32::from(verbs.iter().any(|verb| word.eq_ignore_ascii_case(verb)));
    }
    !explains && (!with || changes <= u32::from(count == 1))
}

/// Whether a text has a word that changes rows.
pub(super) fn names_a_change(text: &[u8]) -> bool {
    let mut words = text.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_' && *byte < 0x80);
    let verbs = [&b"insert"[..], b"update", b"delete", b"merge"];
    words.any(|word| verbs.iter().any(|verb| word.eq_ignore_ascii_case(verb)))
}

/// Whether the command tag of a text that is run by name tells every row that it changes.
pub(super) fn tells_what_runs(text: &[u8]) -> bool {
    let words = text.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_' && *byte < 0x80);
    let mut words = words.filter(|word| !word.is_empty());
    !words.any(|word| {
        [&b"with"[..], b"explain"]
            .iter()
            .any(|sign| word.eq_ignore_ascii_case(sign))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_never_too_few() {
        let count = |text: &str| values_count(text.as_bytes(), &[], false);
        assert_eq!(count("SELECT name FROM c WHERE ssn = '536-90-4399'"), 1);
        assert_eq!(count("SELECT name FROM c1 WHERE ssn IN ('a', 'b') OR n = 7"), 3);
        assert_eq!(count("SELECT name FROM c WHERE ssn = ANY ('{a,b,c}')"), 3);
        assert_eq!(count("SELECT name FROM c WHERE ssn = (SELECT ssn FROM d)"), 1);
        for hidden in [
            "WHERE ssn IN (E'\\'', 1, 2, 3, 4, '')",
            "WHERE ssn IN ($a$'$a$, 1, 2, 3, 4)",
            "WHERE ssn IN (/*'*/ 1, 2, 3, 4, 5 /*'*/)",
            "WHERE \"'\" IN (1, 2, 3, 4, 5)",
            r"WHERE ssn = ANY (E'{a\x2cb\x2cc\054d\x2ce}')",
            "WHERE ssn = ANY (U&'{a!002cb!002cc!002cd!002ce}' UESCAPE '!')",
        ] {
            assert!(count(hidden) >= 5, "{hidden}: {}", count(hidden));
        }
    }

    #[test]
    fn elements_of_array_parameters_are_counted() {
        let count = |value: &[u8]| values_count(b"WHERE ssn = ANY ($1)", &[Some(value.to_vec())], true);
        assert_eq!(count(b"536-90-4399"), 1);
        assert_eq!(count(b"{a,b,c}"), 3);
        assert_eq!(count(b"1 2\t3\n4"), 4);
        assert!(count("1\u{2003}2\u{3000}3".as_bytes()) >= 3);
        assert_eq!(
            values_count(b"WHERE ssn = $1", &[Some(b"a b c".to_vec())], false),
            1
        );
        assert_eq!(values_count(b"EXECUTE x('1 2 3 4')", &[], true), 4);
        let mut array = Vec::new();
        for word in [1u32, 0, 25, 3, 1] {
            array.extend_from_slice(&word.to_be_bytes());
        }
        for element in ["a", "b", "c"] {
            array.extend_from_slice(&1u32.to_be_bytes());
            array.extend_from_slice(element.as_bytes());
        }
        assert!(count(&array) >= 3);
    }

    #[test]
    fn changes_that_no_tag_tells_are_not_countable() {
        let one = |text: &str| is_countable(text.as_bytes(), 1, Effects::DELETE);
        assert!(one("DELETE FROM t WHERE id = 1"));
        assert!(!is_countable(
            b"/*x*/ EXPLAIN ANALYZE EXECUTE u",
            1,
            Effects::PREPARED.with(Effects::EXPLAIN)
        ));
        assert!(one("UPDATE t SET a = 'explain'"));
        assert!(
            tells_what_runs(b"UPDATE t SET a = 1") && !tells_what_runs(b"WITH d AS (DELETE FROM t) SELECT 1")
        );
        assert!(one("WITH x AS (SELECT 1) UPDATE t SET a = 1"));
        assert!(!one(
            "WITH x AS (DELETE FROM t RETURNING id) DELETE FROM u WHERE id = 1"
        ));
        let many = |text: &str, effects| is_countable(text.as_bytes(), 2, effects);
        assert!(many("DELETE FROM t; DELETE FROM u", Effects::DELETE));
        assert!(!many(
            "SELECT 1; WITH x AS (DELETE FROM t RETURNING 1) SELECT 1",
            Effects::DELETE
        ));
        assert!(!many(
            "DELETE FROM t; COMMIT",
            Effects::DELETE.with(Effects::TRANSACTION)
        ));
    }
}
