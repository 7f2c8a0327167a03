//! Cards (ISO/IEC 7812: issuer prefix, length, Luhn), social security numbers and telephone numbers.

use super::grammar::{before, byte, contains, run};

const CARD_DIGITS_MAX: usize = 19;

#[inline(always)]
fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

#[inline(always)]
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// A card number: one run of 13 to 19 digits, or groups with one space or one hyphen between them, the same throughout:
/// the first group of at least four digits, those in the middle of at least three. It may touch letters, not digits,
/// and is no part of a decimal or of an E.164 number. In a longer row of groups it starts and ends at any group;
/// the longest one counts.
pub(crate) fn card_at(cell: &[u8], at: usize) -> Option<usize> {
    let left = before(cell, at, 1);
    let is_joined = is_digit(left) || left == b'+' || (left == b'.' && is_digit(before(cell, at, 2)));
    let prefix = cell.get(at..)?.first_chunk()?;
    let counts = issued_counts(prefix);
    if is_joined || counts == 0 {
        return None;
    }
    let mut digits = [0_u8; CARD_DIGITS_MAX];
    let (mut count, mut end, mut separator, mut found) = (0, at, 0, None);
    loop {
        let group = run(cell, end, CARD_DIGITS_MAX + 1, is_digit);
        if count + group > CARD_DIGITS_MAX || (count == 0 && group < 4) {
            break;
        }
        digits[count..count + group].copy_from_slice(&cell[end..end + group]);
        (count, end) = (count + group, end + group);
        let next = byte(cell, end);
        let is_decimal = next == b'.' && is_digit(byte(cell, end + 1));
        if (counts >> count) & 1 == 1 && !is_decimal && luhn(&digits[..count]) {
            found = Some(end - at);
        }
        let goes_on = matches!(next, b' ' | b'-')
            && (separator == 0 || separator == next)
            && group >= 3
            && is_digit(byte(cell, end + 1));
        if !goes_on {
            break;
        }
        (separator, end) = (next, end + 1);
    }
    found
}

/// How many digits the numbers of this prefix have: one bit per count. None without four digits.
fn issued_counts(prefix: &[u8; 4]) -> u32 {
    const UP_FROM_16: u32 = 0b1111 << 16;
    if !prefix.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    match prefix
        .iter()
        .fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
    {
        4000..=4999 => (1 << 13) | (1 << 16) | (1 << 19), // Visa
        5100..=5599 | 2221..=2720 => 1 << 16,             // Mastercard
        3400..=3499 | 3700..=3799 => 1 << 15,             // American Express
        3000..=3059 | 3095 | 3600..=3699 | 3800..=3999 => (1 << 14) | (1 << 16), // Diners Club
        3528..=3589 => UP_FROM_16,                        // JCB
        6011 | 6440..=6599 | 6200..=6299 => UP_FROM_16,   // Discover, UnionPay
        5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763 => (0b111 << 13) | UP_FROM_16, // Maestro
        2200..=2204 => UP_FROM_16,                        // Mir
        6000..=6099 | 8100..=8299 | 5080..=5089 => 1 << 16, // RuPay
        9792 => 1 << 16,                                  // Troy
        _ => 0,
    }
}

/// Luhn's check: from the right every second digit counts double, and the sum of all decimal digits ends in 0.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .zip([false, true].into_iter().cycle())
        .map(
            |(digit, is_doubled)| match (u32::from(digit - b'0'), is_doubled) {
                (value, false) => value,
                (value @ 0..=4, true) => value * 2,
                (value, true) => value * 2 - 9,
            },
        )
        .sum();
    sum.is_multiple_of(10)
}

/// A social security number: `ddd-dd-dddd` or with spaces, an area other than 000, 666 and 900 on, no part all zero,
/// not joined to more digits. Nine digits without separators count only after the word `ssn` or `social sec…` in the
/// 40 bytes before them, with no other digit between.
pub(crate) fn ssn_at(cell: &[u8], at: usize) -> Option<usize> {
    if !is_digit(byte(cell, at)) || is_word(before(cell, at, 1)) {
        return None;
    }
    let separator = byte(cell, at + 3);
    let bytes = if is_digit(separator) { 9 } else { 11 };
    let text = cell.get(at..at + bytes)?;
    let (area, group, serial) = if bytes == 9 {
        (&text[..3], &text[3..5], &text[5..])
    } else {
        if !matches!(separator, b'-' | b' ') || text[6] != separator {
            return None;
        }
        (&text[..3], &text[4..6], &text[7..])
    };
    let is_number = [area, group, serial]
        .into_iter()
        .all(|part| part.iter().all(u8::is_ascii_digit) && part.iter().any(|digit| *digit != b'0'));
    let is_area = area != b"666" && area[0] != b'9';
    let is_allowed = match bytes {
        9 => has_ssn_context(cell, at) && !is_joined_right(cell, at + bytes, b'-'),
        _ => !is_joined_left(cell, at, separator) && !is_joined_right(cell, at + bytes, separator),
    };
    (is_number && is_area && is_allowed).then_some(bytes)
}

/// Whether a digit stands before `at` with only a joint between.
fn is_joined_left(cell: &[u8], at: usize, separator: u8) -> bool {
    let left = before(cell, at, 1);
    is_word(left) || (is_joint(left, separator) && is_digit(before(cell, at, 2)))
}

/// Whether `end` touches a word, or a digit with only a joint between.
fn is_joined_right(cell: &[u8], end: usize, separator: u8) -> bool {
    let next = byte(cell, end);
    is_word(next) || (is_joint(next, separator) && is_digit(byte(cell, end + 1)))
}

fn is_joint(byte: u8, separator: u8) -> bool {
    byte == separator || matches!(byte, b'-' | b'.' | b'/')
}

fn has_ssn_context(cell: &[u8], at: usize) -> bool {
    let text = &cell[at.saturating_sub(40)..at];
    let word_at = text
        .iter()
        .rposition(u8::is_ascii_digit)
        .map_or(0, |digit| digit + 1);
    let text = &text[word_at..];
    let is_letter = |at: Option<usize>| {
        at.and_then(|at| text.get(at))
            .is_some_and(u8::is_ascii_alphabetic)
    };
    contains(text, b"social sec")
        || text.windows(3).enumerate().any(|(at, window)| {
            window.eq_ignore_ascii_case(b"ssn") && !is_letter(at.checked_sub(1)) && !is_letter(Some(at + 3))
        })
}

/// A telephone number: E.164 with its plus sign; North American with its two separators or its parentheses; or
/// national, with a trunk zero and digits grouped as its countries group them. Digits without any mark are none.
pub(crate) fn phone_at(cell: &[u8], at: usize) -> Option<usize> {
    let left = before(cell, at, 1);
    // A list of numbers may have spaces between them, unless they have spaces themselves.
    let is_spaced = || byte(cell, at + run(cell, at, 9, is_digit)) == b' ';
    let is_joined = is_word(left)
        || left == b'+'
        || (matches!(left, b'-' | b'.' | b'/') && is_word(before(cell, at, 2)))
        || (left == b' ' && is_digit(before(cell, at, 2)) && is_spaced());
    match byte(cell, at) {
        b'+' if !is_word(left) && left != b'+' => e164(cell, at),
        b'(' if !is_word(left) => north_american(cell, at, at),
        b'1' if !is_joined && !is_digit(byte(cell, at + 1)) => north_american(cell, at, at + 2),
        b'2'..=b'9' if !is_joined => north_american(cell, at, at),
        b'0' if !is_joined => with_trunk_zero(cell, at),
        _ => None,
    }
}

/// `+`, a calling code and 8 to 15 digits in all (11 with the codes 1 and 7), in groups with single spaces, hyphens,
/// dots or parentheses. When more digits follow it ends at the last group that fits.
fn e164(cell: &[u8], at: usize) -> Option<usize> {
    let code = [byte(cell, at + 1), byte(cell, at + 2)];
    let counts = match code {
        [b'1' | b'7', _] => 11..=11,
        [b'2'..=b'9', b'0'..=b'9'] => 8..=15,
        _ => return None,
    };
    let (mut end, mut count, mut is_open, mut found) = (at + 1, 0, false, None);
    loop {
        let group = run(cell, end, 16, is_digit);
        (count, end) = (count + group, end + group);
        if group == 0 || count > *counts.end() {
            break;
        }
        if !is_open && counts.contains(&count) && !is_word(byte(cell, end)) {
            found = Some(end - at);
        }
        if is_open && byte(cell, end) == b')' {
            (is_open, end) = (false, end + 1);
        }
        if matches!(byte(cell, end), b' ' | b'-' | b'.') {
            end += 1;
        }
        if !is_open && byte(cell, end) == b'(' {
            (is_open, end) = (true, end + 1);
        }
    }
    found
}

/// `ddd-ddd-dddd` with hyphens, dots or spaces, or `(ddd) ddd-dddd`; neither area nor exchange starts with 0 or 1, and
/// the area does not end in 11. `area_at` is behind the `1-` that may come first.
fn north_american(cell: &[u8], at: usize, area_at: usize) -> Option<usize> {
    let is_open = byte(cell, area_at) == b'(';
    let area = cell.get(area_at + usize::from(is_open)..)?.first_chunk::<3>()?;
    let mut end = area_at + usize::from(is_open) + 3;
    let separator = byte(cell, end);
    if is_open {
        end += 1 + usize::from(byte(cell, end + 1) == b' ');
    } else {
        end += 1;
    }
    let is_separated = if is_open {
        separator == b')'
    } else {
        matches!(separator, b'-' | b'.' | b' ')
    };
    let exchange = cell.get(end..)?.first_chunk::<3>()?;
    let second = byte(cell, end + 3);
    let line = cell.get(end + 4..)?.first_chunk::<4>()?;
    let is_number = [&area[..], exchange, line]
        .into_iter()
        .all(|part| part.iter().all(u8::is_ascii_digit));
    let is_code = area[0] >= b'2' && exchange[0] >= b'2' && &area[1..] != b"11";
    let is_grouped = is_separated
        && if is_open {
            matches!(second, b'-' | b'.' | b' ')
        } else {
            second == separator
        }
        && (area_at == at || byte(cell, at + 1) == separator);
    end += 8;
    (is_number && is_code && is_grouped && !is_joined_right(cell, end, second)).then_some(end - at)
}

/// How numbers with a trunk zero are grouped: France; Japan, Australia; Britain, Germany, Switzerland, Belgium, ….
const TRUNK_SHAPES: [&[usize]; 15] = [
    &[2, 2, 2, 2, 2],
    &[2, 4, 4],
    &[3, 3, 4],
    &[3, 4, 4],
    &[3, 7],
    &[3, 8],
    &[3, 3, 2, 2],
    &[4, 2, 2, 2],
    &[4, 3, 3],
    &[4, 3, 4],
    &[4, 6],
    &[4, 7],
    &[4, 8],
    &[5, 3, 3],
    &[5, 6],
];

/// A zero and digits in one of [`TRUNK_SHAPES`], with one separator throughout (a slash only as the first, dots only
/// between pairs).
fn with_trunk_zero(cell: &[u8], at: usize) -> Option<usize> {
    if byte(cell, at + 1) == b'0' {
        return None;
    }
    let (mut shape, mut groups, mut end, mut separator) = ([0_usize; 6], 0, at, 0);
    loop {
        let group = run(cell, end, 9, is_digit);
        shape[groups] = group;
        (groups, end) = (groups + 1, end + group);
        let next = byte(cell, end);
        let goes_on = matches!(next, b' ' | b'-' | b'.' | b'/') && is_digit(byte(cell, end + 1));
        if !goes_on {
            break;
        }
        let is_same = match separator {
            0 => true,
            b'/' => matches!(next, b' ' | b'-'),
            _ => next == separator,
        };
        if !is_same || groups == shape.len() {
            return None;
        }
        (separator, end) = (next, end + 1);
    }
    let is_shape = TRUNK_SHAPES.contains(&&shape[..groups]) && (separator != b'.' || groups == 5);
    (is_shape && !is_joined_right(cell, end, separator)).then_some(end - at)
}
