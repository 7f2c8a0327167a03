//! Digits that become other digits: a card number stays a card number, with a check digit that is right.
//! Source: ISO/IEC 7812-1, annex B (the Luhn formula).
//!
//! The new digits derive from all digits of the value, whatever separates them, and cannot be turned back: this is not
//! encryption, and two values may meet in one. Kept digits stay only while enough others are replaced. Nothing but
//! digits and separators survives in a cell: any other byte is overwritten.

use masking_simd::MASK;

use super::action::{Form, Kind};
use super::key::{DigitStream, Key};
use super::number::{Decimal, write_integer};
use super::spec::Kept;

/// The fewest digits that are replaced where others are kept.
const REPLACED_MIN: usize = 6;
/// From this many digits on the last one checks the others (ISO/IEC 7812-1: a number has 8 to 19).
const CHECKED_MIN: usize = 8;
/// What stays where it is between digits.
const SEPARATORS: &[u8] = b" -./()+";

/// How many digits at both ends of `count` stay: the first ones go before the last ones do.
pub(super) fn kept_of(count: usize, kept: Kept) -> (usize, usize) {
    let (first, last) = (
        usize::from(kept.first.min(Kept::FIRST_MAX)),
        usize::from(kept.last.min(Kept::LAST_MAX)),
    );
    if count >= first + last + REPLACED_MIN {
        (first, last)
    } else if count >= last + REPLACED_MIN {
        (0, last)
    } else {
        (0, 0)
    }
}

/// Appends the characters of a cell with other digits. `is_number` keeps the first digit from becoming 0.
pub fn write_text(key: &Key, kept: Kept, is_number: bool, cell: &[u8], out: &mut Vec<u8>) {
    let mut hasher = key.start();
    let mut count = 0;
    for chunk in cell.chunks(64) {
        let mut digits = [0; 64];
        let mut filled = 0;
        for byte in chunk.iter().filter(|byte| byte.is_ascii_digit()) {
            digits[filled] = *byte;
            filled += 1;
        }
        hasher.update(&digits[..filled]);
        count += filled;
    }
    let mut stream = DigitStream::new(hasher.finalize_xof());
    let (first, last) = kept_of(count, kept);
    let check = (count >= CHECKED_MIN).then(|| count - 1 - last);
    let (mut index, mut sum, mut check_at) = (0, 0_u32, None);
    for byte in cell {
        if !byte.is_ascii_digit() {
            out.push(if SEPARATORS.contains(byte) { *byte } else { MASK });
            continue;
        }
        let digit = if index < first || index >= count - last {
            *byte - b'0'
        } else if check == Some(index) {
            check_at = Some(out.len());
            0
        } else {
            stream.digit(u8::from(is_number && index == 0))
        };
        sum += u32::from(weighed(digit, is_doubled(index, count)));
        sum %= 10;
        out.push(b'0' + digit);
        index += 1;
    }
    if let (Some(at), Some(check)) = (check_at, check) {
        let missing = (10 - sum) % 10;
        let is_doubled = is_doubled(check, count);
        let fits = |digit: &u8| u32::from(weighed(*digit, is_doubled)) % 10 == missing;
        // Doubling a digit and adding what carries is one to one, so there is always one.
        out[at] = b'0' + (0..10).find(fits).unwrap_or(0);
    }
}

/// Counted from the end, every second digit counts double.
fn is_doubled(index: usize, count: usize) -> bool {
    (count - index).is_multiple_of(2)
}

fn weighed(digit: u8, is_doubled: bool) -> u8 {
    match (is_doubled, digit) {
        (false, _) => digit,
        (true, 0..5) => digit * 2,
        (true, _) => digit * 2 - 9,
    }
}

/// Appends a whole number with other digits, as many as it had; `None` where the type cannot hold them.
pub fn write_number(form: Form, key: &Key, kept: Kept, cell: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let value = Decimal::read(form, cell)?;
    if !value.is_exact || value.fraction_digits > 0 {
        return None;
    }
    // The old digits and then the new ones stand at the end of `out` for a moment.
    let start = out.len();
    value.write_whole(false, out)?;
    let mut old = [0; 40];
    let old = old.get_mut(..out.len() - start)?;
    old.copy_from_slice(&out[start..]);
    out.truncate(start);
    write_text(key, kept, true, old.strip_prefix(b"-").unwrap_or(old), out);
    let text = Form {
        is_binary: false,
        ..form
    };
    let (is_negative, new) = (
        old.starts_with(b"-"),
        Decimal::read(
            Form {
                kind: Kind::Numeric,
                ..text
            },
            &out[start..],
        ),
    );
    out.truncate(start);
    let new = new?;
    if form.kind == Kind::Numeric {
        return Decimal::whole(is_negative, new.whole).write_whole(form.is_binary, out);
    }
    let whole = i64::try_from(new.whole).ok()?;
    write_integer(form, if is_negative { -whole } else { whole }, out)
}

/// Whether the digits of a text end with the right check digit.
#[cfg(test)]
pub fn is_checked(text: &[u8]) -> bool {
    let digits: Vec<u8> = text
        .iter()
        .filter(|b| b.is_ascii_digit())
        .map(|b| b - b'0')
        .collect();
    let doubled = |digit: u8| if digit * 2 > 9 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| u32::from(if index % 2 == 1 { doubled(*digit) } else { *digit }))
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::key::Use;
    use crate::redact::number::read_integer;

    fn redacted(kept: Kept, cell: &str) -> String {
        let mut out = Vec::new();
        write_text(
            &Key::derive(&[3; 32], Use::Digits),
            kept,
            false,
            cell.as_bytes(),
            &mut out,
        );
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn cards_keep_their_look_and_their_check_digit() {
        for kept in [(0, 0), (0, 4), (6, 0), (6, 4)].map(|(first, last)| Kept { first, last }) {
            for card in [
                "4111 1111 1111 1111",
                "5500-0000-0000-0004",
                "340000000000009",
                "6011000000000004123",
            ] {
                let new = redacted(kept, card);
                assert!(is_checked(new.as_bytes()), "{new}");
                assert_ne!(new, card);
                let is_place = |byte: u8| !byte.is_ascii_digit();
                for (old, new) in card.bytes().zip(new.bytes()) {
                    assert!(old == new || !is_place(old) && !is_place(new));
                }
                let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).collect::<Vec<_>>();
                let (old, new) = (digits(card), digits(&new));
                let (first, last) = kept_of(old.len(), kept);
                assert_eq!(old[..first], new[..first]);
                assert_eq!(old[old.len() - last..], new[new.len() - last..]);
            }
        }
    }

    #[test]
    fn too_few_replaced_digits_keep_nothing() {
        let kept = |first, last| Kept { first, last };
        assert_eq!(kept_of(16, kept(6, 4)), (6, 4));
        assert_eq!(kept_of(15, kept(6, 4)), (0, 4));
        assert_eq!(kept_of(10, kept(6, 4)), (0, 4));
        assert_eq!(kept_of(9, kept(6, 4)), (0, 0));
        assert_eq!(kept_of(12, kept(6, 0)), (6, 0));
        assert_eq!(kept_of(16, kept(200, 200)), (6, 4), "bounded whoever asks");
    }

    #[test]
    fn separators_do_not_matter_and_other_characters_go() {
        let (one, two) = (
            redacted(Kept::default(), "123-45-6789"),
            redacted(Kept::default(), "123456789"),
        );
        assert_eq!(one.replace('-', ""), two);
        assert_eq!(redacted(Kept::default(), "Jörg: no phone"), "****** ** *****");
        assert_eq!(redacted(Kept::default(), ""), "");
        assert_eq!(redacted(Kept::default(), "-"), "-");
    }

    #[test]
    fn integers_fit_their_type_or_become_null() {
        let form = |kind, is_binary| Form { kind, is_binary };
        let key = Key::derive(&[3; 32], Use::Digits);
        for value in [4_111_111_111_111_111_i64, -123_456_789, 7, 0] {
            let (mut text, mut binary) = (Vec::new(), Vec::new());
            write_number(
                form(Kind::Int8, false),
                &key,
                Kept::default(),
                value.to_string().as_bytes(),
                &mut text,
            )
            .expect("fits");
            let written = write_number(
                form(Kind::Int8, true),
                &key,
                Kept::default(),
                &value.to_be_bytes(),
                &mut binary,
            );
            written.expect("fits");
            let new = read_integer(form(Kind::Int8, true), &binary).expect("an int8");
            assert_eq!(new.to_string().as_bytes(), text);
            assert_eq!(new.to_string().len(), value.to_string().len());
        }
        let int2 = (0..200).map(|value: i16| {
            let mut out = Vec::new();
            write_number(
                form(Kind::Int2, true),
                &key,
                Kept::default(),
                &(30_000 + value).to_be_bytes(),
                &mut out,
            )
        });
        assert!(int2.clone().any(|one| one.is_some()) && int2.clone().any(|one| one.is_none()));
    }
}
