//! Text and bytes: mail addresses that keep their domain, tokens that stand for values.

use masking_simd::MASK;

use super::action::{Form, Kind};
use super::key::{Key, write_token};
use super::uuid;

/// The longest domain name, bytes (RFC 1035).
const DOMAIN_BYTES_MAX: usize = 253;
/// Bytes of a token that stands for bytes.
const BYTEA_BYTES: usize = 16;

/// Appends a cell with everything before `@` overwritten, or all of it where it is not one plain mail address.
pub fn keep_domain(cell: &[u8], out: &mut Vec<u8>) {
    let kept = domain_bytes(cell);
    out.resize(out.len() + cell.len() - kept, MASK);
    out.extend_from_slice(&cell[cell.len() - kept..]);
}

/// Bytes from the `@` to the end of a mail address, if what follows is a domain name and there is one `@` only.
fn domain_bytes(cell: &[u8]) -> usize {
    let mut ats = (0..cell.len()).filter(|index| cell[*index] == b'@');
    let (Some(at), None) = (ats.next(), ats.next()) else {
        return 0;
    };
    let domain = &cell[at + 1..];
    let is_label = |label: &[u8]| {
        let is_fine = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        (1..=63).contains(&label.len()) && label.iter().all(is_fine)
    };
    let is_domain = domain.len() <= DOMAIN_BYTES_MAX
        && domain.contains(&b'.')
        && domain.split(|byte| *byte == b'.').all(is_label);
    // Without a local part, or with a space in it, this is something else.
    let is_address = at > 0 && !cell[..at].iter().any(u8::is_ascii_whitespace);
    if is_domain && is_address {
        domain.len() + 1
    } else {
        0
    }
}

/// Appends a token that stands for a text. Spaces at the end of a bpchar do not count.
pub fn pseudonym(kind: Kind, key: &Key, cell: &[u8], out: &mut Vec<u8>) {
    let spaces = match kind {
        Kind::Bpchar => cell.iter().rev().take_while(|byte| **byte == b' ').count(),
        _ => 0,
    };
    write_token(&mut key.derived(&cell[..cell.len() - spaces]), out);
}

/// Appends bytes that stand for others. In text both of the server's styles are read and `\x…` is written.
/// Source: PostgreSQL manual, "Binary Data Types".
pub fn pseudonym_bytea(form: Form, key: &Key, cell: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut hasher = key.start();
    if form.is_binary {
        hasher.update(cell);
    } else if let Some(digits) = cell.strip_prefix(b"\\x") {
        let (pairs, rest) = digits.as_chunks::<2>();
        if !rest.is_empty() {
            return None;
        }
        let mut block = [0; 64];
        for pairs in pairs.chunks(block.len()) {
            for (byte, [high, low]) in block.iter_mut().zip(pairs) {
                *byte = uuid::byte(*high, *low)?;
            }
            hasher.update(&block[..pairs.len()]);
        }
    } else {
        let mut rest = cell;
        while let Some((first, after)) = rest.split_first() {
            let (byte, bytes) = match (first, after) {
                (b'\\', [b'\\', ..]) => (b'\\', 2),
                (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                    ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), 4)
                }
                (b'\\', _) => return None,
                (plain, _) => (*plain, 1),
            };
            hasher.update(&[byte]);
            rest = &rest[bytes..];
        }
    }
    let mut token = [0; BYTEA_BYTES];
    hasher.finalize_xof().fill(&mut token);
    if form.is_binary {
        out.extend_from_slice(&token);
    } else {
        out.extend_from_slice(b"\\x");
        token.iter().for_each(|byte| uuid::write_hex(*byte, out));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::key::Use;

    #[test]
    fn the_domain_stays_and_nothing_that_only_looks_like_one() {
        let cases = [
            ("anna.lind@example.com", "*********@example.com"),
            ("a@b.co", "*@b.co"),
            ("jörg@example.com", "*****@example.com"),
            ("a@b", "***"),
            ("@example.com", "************"),
            ("a@", "**"),
            ("a@b@example.com", "***************"),
            ("\"a@b\"@example.com", "*****************"),
            ("Anna <anna@example.com>", "***********************"),
            ("me anna@example.com", "*******************"),
            ("anna@example..com", "*****************"),
            ("anna@example.com ", "*****************"),
            ("anna@bücher.de", "***************"),
            ("no address", "**********"),
            ("", ""),
        ];
        for (cell, expected) in cases {
            let mut out = b"x".to_vec();
            keep_domain(cell.as_bytes(), &mut out);
            assert_eq!(
                std::str::from_utf8(&out).expect("UTF-8"),
                format!("x{expected}"),
                "{cell}"
            );
            assert_eq!(out.len() - 1, cell.len());
        }
    }

    #[test]
    fn a_tail_of_spaces_counts_in_text_and_not_in_bpchar() {
        let key = Key::derive(&[1; 32], Use::Text);
        let token = |kind, cell: &str| {
            let mut out = Vec::new();
            pseudonym(kind, &key, cell.as_bytes(), &mut out);
            out
        };
        assert_eq!(token(Kind::Bpchar, "abc   "), token(Kind::Text, "abc"));
        assert_ne!(token(Kind::Text, "abc "), token(Kind::Text, "abc"));
    }

    #[test]
    fn bytes_have_one_token_in_every_style() {
        let key = Key::derive(&[1; 32], Use::Bytea);
        let token = |is_binary, cell: &[u8]| {
            let mut out = Vec::new();
            let form = Form {
                kind: Kind::Bytea,
                is_binary,
            };
            pseudonym_bytea(form, &key, cell, &mut out).map(|()| out)
        };
        let binary = token(true, b"a\\b\x00\xff").expect("bytes");
        let hex = token(false, b"\\x615c6200ff").expect("bytes");
        assert_eq!(token(false, b"a\\\\b\\000\\377"), Some(hex.clone()));
        let mut wanted = b"\\x".to_vec();
        binary.iter().for_each(|byte| uuid::write_hex(*byte, &mut wanted));
        assert_eq!(hex, wanted);
        let long: Vec<u8> = (0..200).collect();
        let mut text = b"\\x".to_vec();
        long.iter().for_each(|byte| uuid::write_hex(*byte, &mut text));
        let (one, two) = (
            token(true, &long).expect("bytes"),
            token(false, &text).expect("bytes"),
        );
        assert_eq!(uuid::byte(two[2], two[3]), Some(one[0]));
        for odd in [&b"\\x6"[..], b"\\xzz", b"\\", b"\\4", b"\\400", b"a\\b"] {
            assert_eq!(token(false, odd), None);
        }
    }
}
