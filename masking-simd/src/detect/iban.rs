//! International bank account numbers. Source: ISO 13616, the registry of country lengths and shapes; ISO 7064 mod 97.

use super::grammar::{before, byte, gap_at};

/// The longest of the registry.
const IBAN_CHARACTERS_MAX: usize = 34;

/// Country and the shape of what follows the check digits: `n` digits, `a` letters, `c` either, with their counts.
/// Sorted by country.
pub(crate) const COUNTRIES: [(&[u8; 2], &str); 89] = [
    (b"AD", "n8c12"),
    (b"AE", "n19"),
    (b"AL", "n8c16"),
    (b"AT", "n16"),
    (b"AZ", "a4c20"),
    (b"BA", "n16"),
    (b"BE", "n12"),
    (b"BG", "a4n6c8"),
    (b"BH", "a4c14"),
    (b"BI", "n23"),
    (b"BR", "n23a1c1"),
    (b"BY", "c4n4c16"),
    (b"CH", "n5c12"),
    (b"CR", "n18"),
    (b"CY", "n8c16"),
    (b"CZ", "n20"),
    (b"DE", "n18"),
    (b"DJ", "n23"),
    (b"DK", "n14"),
    (b"DO", "c4n20"),
    (b"EE", "n16"),
    (b"EG", "n25"),
    (b"ES", "n20"),
    (b"FI", "n14"),
    (b"FK", "a2n12"),
    (b"FO", "n14"),
    (b"FR", "n10c11n2"),
    (b"GB", "a4n14"),
    (b"GE", "a2n16"),
    (b"GI", "a4c15"),
    (b"GL", "n14"),
    (b"GR", "n7c16"),
    (b"GT", "c24"),
    (b"HN", "a4n20"),
    (b"HR", "n17"),
    (b"HU", "n24"),
    (b"IE", "a4n14"),
    (b"IL", "n19"),
    (b"IQ", "a4n15"),
    (b"IS", "n22"),
    (b"IT", "a1n10c12"),
    (b"JO", "a4n4c18"),
    (b"KW", "a4c22"),
    (b"KZ", "n3c13"),
    (b"LB", "n4c20"),
    (b"LC", "a4c24"),
    (b"LI", "n5c12"),
    (b"LT", "n16"),
    (b"LU", "n3c13"),
    (b"LV", "a4c13"),
    (b"LY", "n21"),
    (b"MC", "n10c11n2"),
    (b"MD", "c20"),
    (b"ME", "n18"),
    (b"MK", "n3c10n2"),
    (b"MN", "n16"),
    (b"MR", "n23"),
    (b"MT", "a4n5c18"),
    (b"MU", "a4n19a3"),
    (b"NI", "a4n20"),
    (b"NL", "a4n10"),
    (b"NO", "n11"),
    (b"OM", "n3c16"),
    (b"PK", "a4c16"),
    (b"PL", "n24"),
    (b"PS", "a4c21"),
    (b"PT", "n21"),
    (b"QA", "a4c21"),
    (b"RO", "a4c16"),
    (b"RS", "n18"),
    (b"RU", "n14c15"),
    (b"SA", "n2c18"),
    (b"SC", "a4n20a3"),
    (b"SD", "n14"),
    (b"SE", "n20"),
    (b"SI", "n15"),
    (b"SK", "n20"),
    (b"SM", "a1n10c12"),
    (b"SO", "n19"),
    (b"ST", "n21"),
    (b"SV", "a4n20"),
    (b"TL", "n19"),
    (b"TN", "n20"),
    (b"TR", "n6c16"),
    (b"UA", "n6c19"),
    (b"VA", "n18"),
    (b"VG", "a4n16"),
    (b"XK", "n16"),
    (b"YE", "a4n4c18"),
];

/// An account number: a registered country in upper or lower case, two check digits, the country's length and shape,
/// remainder 1; without gaps or with the same one after every four characters; not joined to letters or digits.
pub(crate) fn iban_at(cell: &[u8], at: usize) -> Option<usize> {
    let &[first, second, check, digit] = cell.get(at..)?.first_chunk()?;
    if before(cell, at, 1).is_ascii_alphanumeric() || !check.is_ascii_digit() || !digit.is_ascii_digit() {
        return None;
    }
    let country = [first.to_ascii_uppercase(), second.to_ascii_uppercase()];
    let found = COUNTRIES
        .binary_search_by(|(known, _)| (*known).cmp(&country))
        .ok()?;
    let gap = gap_at(cell, at + 4);
    let (mut end, mut count, mut remainder) = (at + 4, 4, 0);
    let mut shape = COUNTRIES[found].1.as_bytes();
    while let Some((class, rest)) = shape.split_first() {
        let (characters, rest) = number(rest);
        shape = rest;
        for _ in 0..characters {
            if let Some((_, bytes)) = gap.filter(|_| count % 4 == 0) {
                if gap_at(cell, end) != gap {
                    return None;
                }
                end += bytes;
            }
            let character = byte(cell, end);
            let is_class = match class {
                b'n' => character.is_ascii_digit(),
                b'a' => character.is_ascii_alphabetic(),
                _ => character.is_ascii_alphanumeric(),
            };
            if !is_class {
                return None;
            }
            remainder = shifted(remainder, character);
            (count, end) = (count + 1, end + 1);
        }
    }
    debug_assert!(count <= IBAN_CHARACTERS_MAX, "the registry has no longer number");
    let remainder = [country[0], country[1], check, digit]
        .into_iter()
        .fold(remainder, shifted);
    (remainder == 1 && !byte(cell, end).is_ascii_alphanumeric()).then_some(end - at)
}

/// One more character behind a number modulo 97: a digit, or a letter that stands for 10 to 35.
fn shifted(remainder: u32, character: u8) -> u32 {
    match character {
        b'0'..=b'9' => (remainder * 10 + u32::from(character - b'0')) % 97,
        _ => (remainder * 100 + u32::from(character.to_ascii_uppercase() - b'A') + 10) % 97,
    }
}

/// The decimal number that `text` starts with, and what follows it.
pub(crate) fn number(text: &[u8]) -> (usize, &[u8]) {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = text[..digits]
        .iter()
        .fold(0, |value, digit| value * 10 + usize::from(digit - b'0'));
    (value, &text[digits..])
}
