//! Cards (ISO/IEC 7812: issuer prefix, length, Luhn), social security numbers and telephone numbers.

use super::grammar::{before, byte, gap_at, run};

const CARD_DIGITS_MAX: usize = 19;

#[inline(always)]
fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

#[inline(always)]
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// A card number: one run of 13 to 19 digits, or groups with one gap or one dot between them, the same throughout: the
/// first group of at least four digits (four with dots, and of thirteen digits), those in the middle of at least three.
/// It may touch letters, not digits or what has both, and is no part of a decimal or of an E.164 number. In a longer
/// row of groups it starts and ends at any group; the longest one counts. Thirteen digits that are an article's number
/// (EAN-13) are no card.
pub(crate) fn card_at(cell: &[u8], at: usize) -> Option<usize> {
    let left = before(cell, at, 1);
    let is_joined = is_digit(left) || left == b'+' || (left == b'.' && is_digit(before(cell, at, 2)));
    let prefix = cell.get(at..)?.first_chunk()?;
    let counts = issued_counts(prefix);
    if is_joined || counts == 0 {
        return None;
    }
    let mut digits = [0_u8; CARD_DIGITS_MAX];
    let (mut count, mut end, mut separator, mut found) = (0, at, None, None);
    let mut first_group = 0;
    loop {
        let group = run(cell, end, CARD_DIGITS_MAX + 1, is_digit);
        if count + group > CARD_DIGITS_MAX || (count == 0 && group < 4) {
            break;
        }
        if count == 0 {
            first_group = group;
        }
        digits[count..count + group].copy_from_slice(&cell[end..end + group]);
        (count, end) = (count + group, end + group);
        let gap = match byte(cell, end) {
            b'.' if first_group == 4 => Some((b'.', 1)),
            _ => gap_at(cell, end),
        };
        // Dots are also in decimals and codes: of a card with dots no group is long.
        let is_dotted = separator == Some((b'.', 1));
        if is_dotted && (group > 6 || left == b'.') {
            break;
        }
        let is_decimal = !is_dotted && byte(cell, end) == b'.' && is_digit(byte(cell, end + 1));
        let is_other = count == 13 && (!matches!(first_group, 4 | 13) || is_article(&digits[..count]));
        if (counts >> count) & 1 == 1 && !is_decimal && !is_other && luhn(&digits[..count]) {
            found = Some(end - at);
        }
        let Some((_, bytes)) = gap.filter(|_| separator.is_none() || separator == gap) else {
            break;
        };
        if group < 3 || !is_digit(byte(cell, end + bytes)) {
            break;
        }
        (separator, end) = (gap, end + bytes);
    }
    found.filter(|_| !is_in_code(cell, at))
}

/// Whether the letters right before `at` belong to a code that has digits too, as a parcel's number does.
fn is_in_code(cell: &[u8], at: usize) -> bool {
    let text = &cell[at.saturating_sub(16)..at];
    text.iter()
        .rev()
        .take_while(|byte| byte.is_ascii_alphanumeric())
        .any(u8::is_ascii_digit)
}

/// Whether the check digit of an EAN-13 is right: from the left every second digit counts three times.
fn is_article(digits: &[u8]) -> bool {
    let weights = [1, 3].into_iter().cycle();
    let sum: u32 = digits
        .iter()
        .zip(weights)
        .map(|(digit, weight)| u32::from(digit - b'0') * weight)
        .sum();
    sum.is_multiple_of(10)
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
        5060 | 5061 => (1 << 16) | (1 << 18) | (1 << 19), // Verve
        6000..=6099 | 8100..=8299 | 5080..=5089 => 1 << 16, // RuPay, Hipercard
        5041 | 5066 | 5067 | 5090..=5099 | 6362 | 6363 => 1 << 16, // Elo
        5019 => 1 << 16,                                  // Dankort
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

/// A social security number: `ddd-dd-dddd` or with other gaps, an area other than 000, 666 and 900 on, no part all zero,
/// not joined to more digits. Nine digits without separators, or with dots, count only after the word `ssn` or
/// `social sec…` in the 40 bytes before them, with no other digit between.
pub(crate) fn ssn_at(cell: &[u8], at: usize) -> Option<usize> {
    if !is_digit(byte(cell, at)) || is_word(before(cell, at, 1)) {
        return None;
    }
    let gap = match byte(cell, at + 3) {
        b'.' => (b'.', 1),
        digit if is_digit(digit) => (0, 0),
        _ => gap_at(cell, at + 3)?,
    };
    let (separator, gap_bytes) = gap;
    let bytes = 9 + 2 * gap_bytes;
    let text = cell.get(at..at + bytes)?;
    let is_gap = |place| {
        separator == 0 || separator == b'.' && text[place] == b'.' || gap_at(cell, at + place) == Some(gap)
    };
    let (area, group, serial) = (
        &text[..3],
        &text[3 + gap_bytes..5 + gap_bytes],
        &text[bytes - 4..],
    );
    let is_number = [area, group, serial]
        .into_iter()
        .all(|part| part.iter().all(u8::is_ascii_digit) && part.iter().any(|digit| *digit != b'0'));
    let is_area = area != b"666" && area[0] != b'9';
    let is_allowed = || match separator {
        0 => !is_joined_right(cell, at + bytes, b'-') && has_ssn_context(cell, at),
        _ => {
            !is_joined_left(cell, at, separator)
                && !is_joined_right(cell, at + bytes, separator)
                && (separator != b'.' || has_ssn_context(cell, at))
        }
    };
    (is_number && is_area && is_gap(5 + gap_bytes) && is_allowed()).then_some(bytes)
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
    let is_social = |window: &[u8]| {
        window[..6].eq_ignore_ascii_case(b"social") && window[7..].eq_ignore_ascii_case(b"sec")
    };
    text.windows(10).any(is_social)
        || text.windows(3).enumerate().any(|(at, window)| {
            window.eq_ignore_ascii_case(b"ssn") && !is_letter(at.checked_sub(1)) && !is_letter(Some(at + 3))
        })
}

/// A telephone number: E.164 with its plus sign, or `00` in its place and a gap; North American with its two separators
/// or its parentheses; or national, with a trunk zero and digits grouped as its countries group them. Digits without
/// any mark are none.
pub(crate) fn phone_at(cell: &[u8], at: usize) -> Option<usize> {
    let left = before(cell, at, 1);
    // A list of numbers may have spaces between them, unless they have spaces themselves.
    let is_spaced = || byte(cell, at + run(cell, at, 9, is_digit)) == b' ';
    let is_joined = is_word(left)
        || left == b'+'
        || (matches!(left, b'-' | b'.' | b'/') && is_word(before(cell, at, 2)))
        || (left == b' ' && is_digit(before(cell, at, 2)) && is_spaced())
        || (left == b' ' && is_hex_pair(cell, at - 1));
    match byte(cell, at) {
        b'+' if !is_word(left) && left != b'+' => international(cell, at, 1),
        b'(' if !is_word(left) => match byte(cell, at + 1) {
            b'0' => with_open_zero(cell, at),
            _ => north_american(cell, at, at),
        },
        b'1' if !is_joined => {
            let (_, bytes) = part_at(cell, at + 1)?;
            north_american(cell, at, at + 1 + bytes)
        }
        b'2'..=b'9' if !is_joined => north_american(cell, at, at),
        b'0' if !is_joined && byte(cell, at + 1) == b'0' => {
            let first = run(cell, at, 6, is_digit);
            let is_code = (3..=5).contains(&first) && gap_at(cell, at + first).is_some();
            // Groups of four throughout are a row of codes.
            international(cell, at, 2).filter(|bytes| {
                let mut groups = cell[at..at + bytes].split(|byte| !is_digit(*byte));
                is_code && groups.any(|group| !matches!(group.len(), 0 | 4))
            })
        }
        b'0' if !is_joined => with_trunk_zero(cell, at),
        _ => None,
    }
}

/// Whether a digit and a letter end at `end`: a byte of a dump, whose next ones are no telephone number.
fn is_hex_pair(cell: &[u8], end: usize) -> bool {
    let (first, last) = (before(cell, end, 2), before(cell, end, 1));
    is_digit(first) && last.is_ascii_hexdigit() && !is_digit(last) && !is_word(before(cell, end, 3))
}

/// What stands between the groups of a telephone number.
fn part_at(cell: &[u8], at: usize) -> Option<(u8, usize)> {
    match byte(cell, at) {
        b'.' => Some((b'.', 1)),
        _ => gap_at(cell, at),
    }
}

/// `+` or `00` (of `prefix_bytes`), a calling code and 8 to 15 digits in all (11 with the codes 1 and 7; behind `00` ten
/// or more), in groups with single gaps, dots, slashes or parentheses. When more digits follow it ends at the last
/// group that fits.
fn international(cell: &[u8], at: usize, prefix_bytes: usize) -> Option<usize> {
    let mut end = at + prefix_bytes;
    let counts = match (byte(cell, end), byte(cell, end + 1)) {
        (b'1' | b'7', _) => 11..=11,
        (b'2'..=b'9', b'0'..=b'9') => 6 + 2 * prefix_bytes..=15,
        _ => return None,
    };
    let (mut count, mut is_open, mut found) = (0, false, None);
    loop {
        let group = run(cell, end, 16, is_digit);
        (count, end) = (count + group, end + group);
        if group == 0 || count > *counts.end() {
            break;
        }
        if group == 1 && byte(cell, end - 2) == b'.' {
            return None; // a decimal
        }
        if group > 1 && !is_open && counts.contains(&count) && !is_word(byte(cell, end)) {
            found = Some(end - at);
        }
        if is_open && byte(cell, end) == b')' {
            (is_open, end) = (false, end + 1);
        }
        if let Some((_, bytes)) = part_at(cell, end) {
            end += bytes;
        } else if byte(cell, end) == b'/' {
            end += 1;
        }
        if !is_open && byte(cell, end) == b'(' {
            (is_open, end) = (true, end + 1);
        }
    }
    found
}

/// `ddd-ddd-dddd` with gaps or dots, the same twice, or `(ddd) ddd-dddd`; neither area nor exchange starts with 0 or 1,
/// and the area does not end in 11. `area_at` is behind the `1-` that may come first.
fn north_american(cell: &[u8], at: usize, area_at: usize) -> Option<usize> {
    let is_open = byte(cell, area_at) == b'(';
    let mut end = area_at + usize::from(is_open);
    let area = cell.get(end..)?.first_chunk::<3>()?;
    end += 3;
    let mut separator = None;
    if is_open {
        if byte(cell, end) != b')' {
            return None;
        }
        end += 1;
        if let Some((b' ', bytes)) = gap_at(cell, end) {
            end += bytes;
        }
    } else {
        separator = part_at(cell, end);
        end += separator?.1;
    }
    let exchange = cell.get(end..)?.first_chunk::<3>()?;
    end += 3;
    let second = part_at(cell, end)?;
    end += second.1;
    let line = cell.get(end..)?.first_chunk::<4>()?;
    end += 4;
    let is_number = [&area[..], exchange, line]
        .into_iter()
        .all(|part| part.iter().all(u8::is_ascii_digit));
    let is_code = area[0] >= b'2' && exchange[0] >= b'2' && &area[1..] != b"11";
    let is_grouped =
        is_open || (separator == Some(second) && (area_at == at || part_at(cell, at + 1) == separator));
    (is_number && is_code && is_grouped && !is_joined_right(cell, end, second.0)).then_some(end - at)
}

/// `(0dd) ddddddd`: an area code of 3 to 5 digits with its trunk zero in parentheses, then 9 to 12 digits in all, in
/// groups of two and more with gaps or slashes.
fn with_open_zero(cell: &[u8], at: usize) -> Option<usize> {
    let area = run(cell, at + 1, 6, is_digit);
    let mut end = at + 1 + area;
    if !(3..=5).contains(&area) || byte(cell, at + 2) == b'0' || byte(cell, end) != b')' {
        return None;
    }
    end += 1;
    let (mut count, mut found) = (area, None);
    end += gap_at(cell, end).map_or(0, |(_, bytes)| bytes);
    loop {
        let group = run(cell, end, 9, is_digit);
        (count, end) = (count + group, end + group);
        if group < 2 || count > 12 {
            break;
        }
        if count >= 9 {
            found = Some(end);
        }
        end += match byte(cell, end) {
            b'/' => 1,
            _ => gap_at(cell, end).map_or(0, |(_, bytes)| bytes),
        };
    }
    found
        .filter(|end| !is_joined_right(cell, *end, b'-'))
        .map(|end| end - at)
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
    const SLASH: (u8, usize) = (b'/', 1);
    let (mut shape, mut groups, mut end, mut separator) = ([0_usize; 6], 0, at, None);
    loop {
        let group = run(cell, end, 9, is_digit);
        shape[groups] = group;
        (groups, end) = (groups + 1, end + group);
        let next = match byte(cell, end) {
            b'/' => Some(SLASH),
            _ => part_at(cell, end),
        };
        let Some((kind, bytes)) = next.filter(|(_, bytes)| is_digit(byte(cell, end + bytes))) else {
            break;
        };
        let is_same = match separator {
            None => true,
            Some(SLASH) => matches!((kind, bytes), (b' ' | b'-', 1)),
            _ => separator == next,
        };
        if !is_same || groups == shape.len() {
            return None;
        }
        (separator, end) = (next, end + bytes);
    }
    let separator = separator.map_or(0, |(kind, _)| kind);
    let is_shape = TRUNK_SHAPES.contains(&&shape[..groups]) && (separator != b'.' || groups == 5);
    (is_shape && !is_joined_right(cell, end, separator)).then_some(end - at)
}
