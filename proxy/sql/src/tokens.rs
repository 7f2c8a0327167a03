//! Where tokens of a text end that has parsed. Source: PostgreSQL's `scan.l`.

/// What a token is to who looks for words and parentheses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'t> {
    /// A bare word or a number.
    Word(&'t str),
    /// A string, a quoted name, a comment, the sign of a parameter.
    Quoted,
    /// Anything else, byte by byte.
    Byte(u8),
}

/// The tokens of a text, each with where it begins. `None` ends them where that cannot be told.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = Option<(usize, Token<'_>)>> {
    let mut at = Some(0);
    std::iter::from_fn(move || {
        let start = at.filter(|start| *start < text.len())?;
        let found = token(text, start);
        at = found.map(|(_, end)| end);
        Some(found.map(|(token, _)| (start, token)))
    })
}

fn token(text: &str, at: usize) -> Option<(Token<'_>, usize)> {
    let rest = &text.as_bytes()[at..];
    let quoted = |bytes: usize| Some((Token::Quoted, at + bytes));
    match rest {
        [b'-', b'-', ..] => {
            let line = rest.iter().position(|byte| b"\n\r".contains(byte));
            quoted(line.unwrap_or(rest.len()))
        }
        [b'/', b'*', ..] => quoted(comment(rest)?),
        [b'\'', ..] | [b'"', ..] => quoted(string(rest, false)?),
        [b'$', ..] => quoted(dollars(rest)?),
        [byte, ..] if is_word(*byte) => {
            let is_number = byte.is_ascii_digit();
            let goes_on = |byte: &u8| is_word(*byte) || *byte == b'$' && !is_number;
            let bytes = rest.iter().position(|byte| !goes_on(byte)).unwrap_or(rest.len());
            if rest[..bytes].eq_ignore_ascii_case(b"e") && rest.get(bytes) == Some(&b'\'') {
                let bytes = bytes + string(&rest[bytes..], true)?;
                let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
                let next = rest[bytes..].iter().find(|byte| !is_space(byte));
                // Behind a line break the string goes on, with its escapes.
                return match next {
                    Some(b'\'' | b'-' | b'/') => None,
                    _ => quoted(bytes),
                };
            }
            Some((Token::Word(text.get(at..at + bytes)?), at + bytes))
        }
        [byte, ..] => Some((Token::Byte(*byte), at + 1)),
        [] => None,
    }
}

/// Bare words, each with where it begins.
pub(crate) fn words(text: &str) -> Option<Vec<(usize, &str)>> {
    let mut words = Vec::new();
    for token in tokens(text) {
        if let (at, Token::Word(word)) = token? {
            words.push((at, word));
        }
    }
    Some(words)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Bytes of the comment that begins here, others within it included.
fn comment(bytes: &[u8]) -> Option<usize> {
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
fn string(bytes: &[u8], has_escapes: bool) -> Option<usize> {
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
fn dollars(bytes: &[u8]) -> Option<usize> {
    let tag = bytes[1..].iter().position(|byte| !is_word(*byte));
    let end = 1 + tag.unwrap_or(bytes.len() - 1);
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
            ("n'b' c", Some(vec!["n", "c"])),
            ("a E'b\\'c' d", Some(vec!["a", "d"])),
            ("a E'b'\n'c'", None),
            ("a 1$2", Some(vec!["a", "1", "2"])),
            ("é.b", Some(vec!["é", "b"])),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
        assert_eq!(words("x  yé z"), Some(vec![(0, "x"), (3, "yé"), (7, "z")]));
    }
}
