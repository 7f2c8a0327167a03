//! UUIDs in text and binary format, and those that stand for others.
//! Source: RFC 9562; version 8 is for values whose bits have a meaning of one's own.
//! Shape: 16 bytes; in text five groups of hexadecimal digits, 8-4-4-4-12.

use super::action::Form;
use super::key::Key;

/// Bytes of the text.
const TEXT_BYTES: usize = 36;

/// The byte that two hexadecimal digits spell.
pub fn byte(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// Reads the server's text of a UUID.
pub fn parse(text: &[u8]) -> Option<[u8; 16]> {
    let text: &[u8; TEXT_BYTES] = text.try_into().ok()?;
    let mut uuid = [0; 16];
    let mut at = 0;
    for (index, one) in uuid.iter_mut().enumerate() {
        if is_behind_hyphen(index) {
            if text[at] != b'-' {
                return None;
            }
            at += 1;
        }
        *one = byte(text[at], text[at + 1])?;
        at += 2;
    }
    Some(uuid)
}

fn is_behind_hyphen(index: usize) -> bool {
    matches!(index, 4 | 6 | 8 | 10)
}

/// Appends a UUID.
pub fn write(form: Form, uuid: [u8; 16], out: &mut Vec<u8>) {
    if form.is_binary {
        out.extend_from_slice(&uuid);
        return;
    }
    for (index, byte) in uuid.iter().enumerate() {
        if is_behind_hyphen(index) {
            out.push(b'-');
        }
        write_hex(*byte, out);
    }
}

/// Appends a byte as two hexadecimal digits.
pub fn write_hex(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend([byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]));
}

/// Appends a UUID of version 8 that stands for another.
pub fn pseudonym(form: Form, key: &Key, cell: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let value: [u8; 16] = if form.is_binary {
        cell.try_into().ok()?
    } else {
        parse(cell)?
    };
    let mut uuid = [0; 16];
    key.derived(&value).fill(&mut uuid);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    write(form, uuid, out);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::action::Kind;
    use crate::redact::key::Use;

    #[test]
    fn a_uuid_becomes_a_uuid_of_version_8_alike_in_both_formats() {
        let form = |is_binary| Form {
            kind: Kind::Uuid,
            is_binary,
        };
        let key = Key::derive(&[9; 32], Use::Uuid);
        let old = "a0EEbc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        let (mut text, mut binary) = (Vec::new(), Vec::new());
        pseudonym(form(false), &key, old.as_bytes(), &mut text).expect("a UUID");
        let old = parse(old.as_bytes()).expect("a UUID");
        pseudonym(form(true), &key, &old, &mut binary).expect("a UUID");
        assert_eq!(parse(&text).expect("a UUID").as_slice(), binary);
        assert_eq!((binary[6] >> 4, binary[8] >> 6), (8, 0b10));
        assert_ne!(binary, old);
    }

    #[test]
    fn what_is_no_uuid_is_refused() {
        for text in [
            "",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "a0eebc99x9c0b-4ef8-bb6d-6bb9bd380a11",
            "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
