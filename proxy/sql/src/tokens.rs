//! Where tokens of a text end that has parsed. Source: PostgreSQL's `scan.l`.

/// Words outside of quotes, comments and parameters, each with where it begins. `None` where a string may go on behind it.
pub(crate) fn words(text: &str) -> Option<Vec<(usize, &str)>> {
    let bytes = text.as_bytes();
    let (mut at, mut words) = (0, Vec::new());
    while at < bytes.len() {
        let rest = &bytes[at..];
        match rest {
            [b'-', b'-', ..] => {
                let line = rest.iter().position(|byte| b"\n\r".contains(byte));
                at += line.unwrap_or(rest.len());
            }
            [b'/', b'*', ..] => at += comment(rest)?,
            [b'\'', ..] | [b'"', ..] => at += string(rest, false)?,
            [b'$', ..] => at += dollars(rest)?,
            [byte, ..] if is_word(*byte) => {
                let goes_on = |byte: &u8| is_word(*byte) || *byte == b'$';
                let bytes_long = rest.iter().position(|byte| !goes_on(byte)).unwrap_or(rest.len());
                let word = text.get(at..at + bytes_long)?;
                at += bytes_long;
                if bytes.get(at) == Some(&b'\'') {
                    return None; // a string with escapes, bits or a national one
                }
                words.push((at - bytes_long, word));
            }
            _ => at += 1,
        }
    }
    Some(words)
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Bytes of the comment that begins here, others within it included.
pub(crate) fn comment(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match bytes.get(at..)? {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            [_, ..] => at += 1,
            [] => return None,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Bytes of the string or quoted name that begins here.
pub(crate) fn string(bytes: &[u8], has_escapes: bool) -> Option<usize> {
    let quote = *bytes.first()?;
    let mut at = 1;
    loop {
        match bytes.get(at..)? {
            [b'\\', _, ..] if has_escapes => at += 2,
            [one, two, ..] if *one == quote && *two == quote => at += 2,
            [one, ..] if *one == quote => return Some(at + 1),
            [_, ..] => at += 1,
            [] => return None,
        }
    }
}

/// Bytes of the dollar-quoted string that begins here, or of the dollar sign.
pub(crate) fn dollars(bytes: &[u8]) -> Option<usize> {
    let end = 1 + bytes[1..].iter().position(|byte| !is_word(*byte))?;
    if bytes.get(end) != Some(&b'$') || bytes[1].is_ascii_digit() {
        return Some(1);
    }
    let (tag, body) = bytes.split_at(end + 1);
    let close = body.windows(tag.len()).position(|window| window == tag)?;
    Some(tag.len() + close + tag.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_words_are_words() {
        let found = |text: &'static str| {
            let words = words(text)?;
            Some(words.into_iter().map(|(_, word)| word).collect::<Vec<_>>())
        };
        for (text, expected) in [
            (
                "DROP TABLE a CASCADE",
                Some(vec!["DROP", "TABLE", "a", "CASCADE"]),
            ),
            (
                "a \"b c\" 'd' /* e /* f */ g */ h -- i\nj",
                Some(vec!["a", "h", "j"]),
            ),
            ("a $$b$$ $x$c $$ d$x$ e$f$1", Some(vec!["a", "e$f$1"])),
            ("a'b'", None),
            ("a E'b\\'c'", None),
            ("é.b", Some(vec!["é", "b"])),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
        assert_eq!(words("x  yé z"), Some(vec![(0, "x"), (3, "yé"), (7, "z")]));
    }
}
