//! Whatever the type and the format: a redacted cell is a value of its type, shows nothing of the old one but what the
//! redaction promises to show, and depends on the value and the key alone.
//!
//! The decoders here are written from the manual and know nothing of the code under test.

use proptest::prelude::*;

use super::*;

const KEY: [u8; 32] = [11; 32];
const OTHER_KEY: [u8; 32] = [12; 32];

fn redacted_with(
    key: &[u8; 32],
    spec: RedactSpec,
    type_oid: u32,
    format: i16,
    cell: &[u8],
) -> Option<Vec<u8>> {
    let action = action(spec, Kind::of(type_oid), format);
    let redactor = Redactor::new(action, type_oid, format, key);
    let mut out = b"before".to_vec();
    let redacted = redactor.redact(cell, &mut out);
    assert!(out.starts_with(b"before"));
    let cell = out.split_off(6);
    match redacted {
        Redacted::Written => Some(cell),
        Redacted::Null => {
            assert!(cell.is_empty(), "NULL appends nothing");
            None
        }
    }
}

fn redacted(spec: RedactSpec, type_oid: u32, format: i16, cell: &[u8]) -> Option<Vec<u8>> {
    redacted_with(&KEY, spec, type_oid, format, cell)
}

fn constant(text: &str) -> RedactSpec {
    RedactSpec::Constant(Constant::new(text).expect("short"))
}

fn round(step: u64) -> RedactSpec {
    RedactSpec::Round(NonZeroU64::new(step).expect("a step"))
}

/// A value of a type, as its canonical text; `None` when the bytes are no such value.
fn decode(type_oid: u32, format: i16, cell: &[u8]) -> Option<String> {
    let text = || std::str::from_utf8(cell).ok().map(str::to_owned);
    let is = |text: &str, fine: &dyn Fn(u8) -> bool| !text.is_empty() && text.bytes().all(fine);
    match (type_oid, format) {
        (18, _) => text().filter(|text| text.len() <= 1),
        (19, _) => text().filter(|text| text.len() <= 63),
        (25 | 705 | 1042 | 1043, _) => text(),
        (21, 0) => text()?.parse::<i16>().ok().map(|value| value.to_string()),
        (23, 0) => text()?.parse::<i32>().ok().map(|value| value.to_string()),
        (20, 0) => text()?.parse::<i64>().ok().map(|value| value.to_string()),
        (21, _) => Some(i16::from_be_bytes(cell.try_into().ok()?).to_string()),
        (23, _) => Some(i32::from_be_bytes(cell.try_into().ok()?).to_string()),
        (20, _) => Some(i64::from_be_bytes(cell.try_into().ok()?).to_string()),
        (700, 0) => text()?.parse::<f32>().ok().map(|value| value.to_string()),
        (701, 0) => text()?.parse::<f64>().ok().map(|value| value.to_string()),
        (700, _) => Some(f32::from_be_bytes(cell.try_into().ok()?).to_string()),
        (701, _) => Some(f64::from_be_bytes(cell.try_into().ok()?).to_string()),
        (1700, 0) => {
            let text = text()?;
            let digits = text.strip_prefix('-').unwrap_or(&text).replacen('.', "", 1);
            is(&digits, &|byte| byte.is_ascii_digit()).then_some(text)
        }
        (1700, _) => numeric_text(cell),
        (16, 0) => text().filter(|text| text == "t" || text == "f"),
        (16, _) => match cell {
            [0] => Some("f".to_owned()),
            [1] => Some("t".to_owned()),
            _ => None,
        },
        (1082, 0) => text().filter(|text| date_bytes(text) == Some(text.len())),
        (1114, 0) => text().filter(|text| moment_bytes(text, "") == Some(text.len())),
        (1184, 0) => text().filter(|text| moment_bytes(text, "+00") == Some(text.len())),
        (1082, _) => Some(i32::from_be_bytes(cell.try_into().ok()?).to_string()),
        (1114 | 1184, _) => Some(i64::from_be_bytes(cell.try_into().ok()?).to_string()),
        (2950, 0) => {
            let text = text()?;
            let groups: Vec<_> = text.split('-').map(str::len).collect();
            let hex = text.replace('-', "");
            (groups == [8, 4, 4, 4, 12] && is(&hex, &|byte| byte.is_ascii_hexdigit())).then_some(hex)
        }
        (2950, _) => (cell.len() == 16).then(|| hex(cell)),
        (17, 0) => {
            let digits = text()?.strip_prefix("\\x")?.to_owned();
            (digits.len().is_multiple_of(2) && digits.bytes().all(|b| b.is_ascii_hexdigit()))
                .then_some(digits)
        }
        (17, _) => Some(hex(cell)),
        (114, _) | (3802, 0) => {
            serde_json::from_slice::<serde_json::Value>(cell).ok()?;
            text()
        }
        (3802, _) => decode(114, 0, cell.strip_prefix(&[1])?),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of `YYYY-MM-DD` at the start.
fn date_bytes(text: &str) -> Option<usize> {
    let mut parts = text.splitn(3, '-');
    let (year, month) = (parts.next()?, parts.next()?);
    let rest = parts.next()?;
    let day = rest.get(..2)?;
    let fine = year.len() >= 4
        && year.parse::<u32>().is_ok_and(|year| year > 0)
        && month.len() == 2
        && month.parse::<u8>().is_ok_and(|month| (1..=12).contains(&month))
        && day == "01";
    fine.then_some(year.len() + 6)
}

fn moment_bytes(text: &str, zone: &str) -> Option<usize> {
    let date = date_bytes(text)?;
    let midnight = format!(" 00:00:00{zone}");
    text[date..]
        .starts_with(&midnight)
        .then_some(date + midnight.len())
}

/// The digits of a binary numeric, read one by one.
fn numeric_text(cell: &[u8]) -> Option<String> {
    let words: Vec<i32> = cell
        .chunks(2)
        .map(|word| word.try_into().ok().map(|word| i16::from_be_bytes(word).into()))
        .collect::<Option<_>>()?;
    let [count, weight, sign, scale, ref digits @ ..] = words[..] else {
        return None;
    };
    if usize::try_from(count).ok()? != digits.len() || digits.iter().any(|digit| !(0..10_000).contains(digit))
    {
        return None;
    }
    if digits.first() == Some(&0) || digits.last() == Some(&0) {
        return None; // the server leaves zeros at the ends out
    }
    let mut text = match sign {
        0 => String::new(),
        0x4000 if count > 0 => "-".to_owned(),
        _ => return None,
    };
    let at = |power: i32| {
        let index = usize::try_from(weight - power).ok();
        index.and_then(|index| digits.get(index)).copied().unwrap_or(0)
    };
    let whole: String = (0..=weight.max(0))
        .rev()
        .map(|power| format!("{:04}", at(power)))
        .collect();
    let whole = whole.trim_start_matches('0');
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        let groups = (scale + 3) / 4;
        let fraction: String = (1..=groups).map(|group| format!("{:04}", at(-group))).collect();
        text.push('.');
        text.push_str(&fraction[..usize::try_from(scale).ok()?]);
    }
    Some(text)
}

/// The binary form of a numeric, from its text, written the long way.
fn numeric_cell(text: &str) -> Vec<u8> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (0x4000_u16, rest),
        None => (0, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let padded = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let groups: Vec<u16> = format!("{whole}{padded}")
        .as_bytes()
        .chunks(4)
        .map(|group| std::str::from_utf8(group).unwrap().parse().unwrap())
        .collect();
    let head = groups.iter().take_while(|group| **group == 0).count();
    let tail = groups[head..]
        .iter()
        .rev()
        .take_while(|group| **group == 0)
        .count();
    let kept = &groups[head..groups.len() - tail];
    let weight = (whole.len() / 4) as i16 - 1 - head as i16;
    let weight = if kept.is_empty() { 0 } else { weight };
    let header = [kept.len() as u16, weight as u16, sign, fraction.len() as u16];
    header
        .iter()
        .chain(kept)
        .flat_map(|word| word.to_be_bytes())
        .collect()
}

/// A value in both formats.
fn in_both(type_oid: u32, text: &str) -> [Vec<u8>; 2] {
    let binary = match type_oid {
        21 => text.parse::<i16>().unwrap().to_be_bytes().to_vec(),
        23 => text.parse::<i32>().unwrap().to_be_bytes().to_vec(),
        20 => text.parse::<i64>().unwrap().to_be_bytes().to_vec(),
        700 => text.parse::<f32>().unwrap().to_be_bytes().to_vec(),
        701 => text.parse::<f64>().unwrap().to_be_bytes().to_vec(),
        1700 => numeric_cell(text),
        _ => text.as_bytes().to_vec(),
    };
    [text.as_bytes().to_vec(), binary]
}

/// Whether so many consecutive bytes of the secret, all of them `fine`, are in the cell.
fn shows(cell: &[u8], secret: &[u8], count: usize, fine: impl Fn(&u8) -> bool) -> bool {
    let mut parts = secret.windows(count).filter(|part| part.iter().all(&fine));
    parts.any(|part| cell.windows(count).any(|window| window == part))
}

fn assert_hidden(cell: &[u8], secret: &[u8]) {
    assert!(!shows(cell, secret, 8, u8::is_ascii_digit), "digits are shown");
    let is_mixed = |part: &u8| part.is_ascii_alphanumeric();
    let letters: Vec<u8> = secret
        .iter()
        .map(|b| if b.is_ascii_digit() { b'-' } else { *b })
        .collect();
    assert!(!shows(cell, &letters, 6, is_mixed), "letters are shown");
}

/// The same for the same key, another for another.
fn assert_keyed(spec: RedactSpec, type_oid: u32, format: i16, cell: &[u8]) -> Vec<u8> {
    let one = redacted(spec, type_oid, format, cell).expect("claimed");
    assert_eq!(redacted(spec, type_oid, format, cell).as_ref(), Some(&one));
    let other = redacted_with(&OTHER_KEY, spec, type_oid, format, cell);
    assert_ne!(other.as_ref(), Some(&one), "another key");
    one
}

#[test]
fn what_a_type_cannot_hold_is_null_whoever_asks() {
    let step = NonZeroU64::new(10).expect("a step");
    let actions = [
        Action::Blank,
        Action::KeepLast(4),
        Action::KeepDomain,
        Action::Digits(Kept::default()),
        Action::Date(DateUnit::Year),
        Action::Round(step),
        Action::Pseudonym,
        Action::Constant(Constant::new("secret").expect("short")),
        Action::Paths(Fill::Null),
        Action::Null,
    ];
    // inet, text[], money, interval, a type nobody knows.
    for type_oid in [869, 1009, 790, 1186, 99_999] {
        for action in actions {
            for format in [0, 1, 2] {
                let redactor = Redactor::new(action, type_oid, format, &KEY).at(&[vec!["a".to_owned()]]);
                let mut out = Vec::new();
                assert_eq!(redactor.redact(b"42", &mut out), Redacted::Null, "{action:?}");
                assert!(out.is_empty());
            }
        }
    }
    for (action, type_oid) in [
        (Action::Blank, 23),
        (Action::KeepDomain, 3802),
        (Action::Date(DateUnit::Year), 25),
        (Action::Digits(Kept::default()), 701),
        (Action::Round(step), 25),
        (Action::Pseudonym, 18),
        (Action::Pseudonym, 16),
        (Action::Paths(Fill::Null), 25),
    ] {
        let redactor = Redactor::new(action, type_oid, 0, &KEY);
        assert_eq!(
            redactor.redact(b"4", &mut Vec::new()),
            Redacted::Null,
            "{action:?}"
        );
    }
}

#[test]
fn documents_need_paths_that_can_be_followed() {
    let redactor = Redactor::new(Action::Paths(Fill::Null), 3802, 1, &KEY);
    let redact = |redactor: &Redactor| {
        let mut out = Vec::new();
        let redacted = redactor.redact(b"\x01{\"a\": 1, \"b\": 2}", &mut out);
        (redacted == Redacted::Written).then_some(out)
    };
    assert_eq!(redact(&redactor), None);
    assert_eq!(redact(&redactor.clone().at(&[])), None);
    let path = vec![vec!["a".to_owned()]];
    assert_eq!(
        redact(&redactor.clone().at(&path)).as_deref(),
        Some(&b"\x01{\"a\": null, \"b\": 2}"[..])
    );
    let many: Vec<_> = (0..65).map(|_| vec!["a".to_owned()]).collect();
    assert_eq!(
        redact(&redactor.at(&many)),
        None,
        "too many to follow: the whole value"
    );
}

#[test]
fn equal_values_have_equal_tokens_across_columns_and_types() {
    let token = |type_oid, format, cell: &[u8]| {
        redacted(RedactSpec::Pseudonym, type_oid, format, cell).expect("a token")
    };
    let text = token(25, 0, b"anna");
    assert_eq!(token(1043, 1, b"anna"), text);
    assert_eq!(token(1042, 0, b"anna      "), text);
    assert_eq!(token(19, 0, b"anna"), text);
    let document = Redactor::new(Action::Paths(Fill::Pseudonym), 114, 0, &KEY).at(&[vec!["n".to_owned()]]);
    let mut out = Vec::new();
    assert_eq!(document.redact(br#"{"n":"anna"}"#, &mut out), Redacted::Written);
    assert_eq!(out, [b"{\"n\":\"", text.as_slice(), b"\"}"].concat());
    let number = decode(20, 1, &token(20, 1, &42_i64.to_be_bytes()));
    assert_eq!(decode(20, 0, &token(20, 0, b"42")), number);
    assert_eq!(decode(1700, 0, &token(1700, 0, b"42.00")), number);
    assert_eq!(decode(1700, 1, &token(1700, 1, &numeric_cell("42"))), number);
}

#[test]
fn numbers_without_a_redaction_become_null() {
    let (spec, nan) = (round(10), [0, 0, 0, 0, 0xc0, 0, 0, 0]);
    let infinity = [0, 0, 0, 0, 0xd0, 0, 0, 0];
    for cell in [
        &nan[..],
        &infinity,
        b"",
        b"\0\x01\0\0\0\0\0\0",
        b"\0\x01\0\0\0\0\0\0\x27\x10",
        b"\0\x01\x7f\xff\0\0\0\0\0\x01",
    ] {
        assert_eq!(redacted(spec, 1700, 1, cell), None, "{cell:?}");
    }
    for cell in [&b"NaN"[..], b"Infinity", b"", b"-", b".", b"1e5", b"\xff"] {
        assert_eq!(redacted(spec, 1700, 0, cell), None);
    }
    assert_eq!(
        redacted(spec, 1700, 0, "9".repeat(60).as_bytes()),
        None,
        "too many digits"
    );
    for cell in ["NaN", "Infinity", "-Infinity", "x", ""] {
        assert_eq!(redacted(spec, 701, 0, cell.as_bytes()), None);
    }
    for value in [f64::NAN, f64::INFINITY] {
        assert_eq!(redacted(spec, 701, 1, &value.to_be_bytes()), None);
    }
    for (type_oid, cell) in [(23, &b"\0\0\0"[..]), (21, b"\0\0\0\0"), (20, b"")] {
        assert_eq!(redacted(spec, type_oid, 1, cell), None);
    }
    assert_eq!(
        redacted(RedactSpec::Digits(Kept::default()), 1700, 0, b"12.50"),
        None,
        "a fraction"
    );
}

#[test]
fn rounding_goes_towards_zero() {
    let check = |step, type_oid, value: &str, expected: &str| {
        for (format, cell) in (0..).zip(in_both(type_oid, value)) {
            let given = redacted(round(step), type_oid, format, &cell).expect("claimed");
            assert_eq!(
                decode(type_oid, format, &given).as_deref(),
                Some(expected),
                "{value}, format {format}"
            );
        }
    };
    check(1000, 23, "1999", "1000");
    check(1000, 23, "-1999", "-1000");
    check(1000, 21, "-999", "0");
    check(100_000, 21, "32767", "0");
    check(7, 20, "9223372036854775807", "9223372036854775807");
    check(1000, 20, "-9223372036854775808", "-9223372036854775000");
    check(1000, 1700, "-1999.99", "-1000");
    check(1000, 1700, "-0.99", "0");
    check(
        2,
        1700,
        "12345678901234567890123456789012345679.5",
        "12345678901234567890123456789012345678",
    );
    check(10_000, 1700, "120000.5", "120000");
    check(50, 700, "149.5", "100");
    check(1000, 701, "-0.5", "0");
    check(1000, 701, "123456.75", "123000");
}

/// Text of any kind, and something that looks like a secret.
fn secret() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{8,20}",
        "[A-Za-z0-9]{8,24}",
        "[0-9]{9,19}",
        "[0-9]{4} [0-9]{4} [0-9]{4} [0-9]{4}",
        "[a-z.]{2,12}@[a-z]{2,8}\\.example",
        "\\PC{0,40}",
    ]
}

proptest! {
    #[test]
    fn text_hides(secret in secret(), format in 0_i16..2, type_oid in prop::sample::select(vec![25_u32, 705, 1042, 1043])) {
        let cell = secret.as_bytes();
        for spec in [RedactSpec::Blank, RedactSpec::KeepDomain, RedactSpec::KeepLast(4)] {
            let given = redacted(spec, type_oid, format, cell).expect("claimed");
            prop_assert!(decode(type_oid, format, &given).is_some());
            prop_assert_eq!(given.len(), cell.len());
            match spec {
                RedactSpec::Blank => prop_assert!(given.iter().all(|byte| *byte == b'*')),
                RedactSpec::KeepLast(_) => assert_hidden(&given, cell),
                _ => {
                    let kept = given.iter().rev().take_while(|byte| **byte != b'*').count();
                    prop_assert_eq!(&given[given.len() - kept..], &cell[cell.len() - kept..]);
                    prop_assert!(kept == 0 || given[given.len() - kept] == b'@');
                }
            }
        }
        let given = assert_keyed(RedactSpec::Pseudonym, type_oid, format, cell);
        prop_assert!(decode(type_oid, format, &given).is_some() && given.len() == 26);
        assert_hidden(&given, cell);
        let given = redacted(constant("hidden"), type_oid, format, cell);
        prop_assert_eq!(given.as_deref(), Some(&b"hidden"[..]));
    }

    #[test]
    fn digits_hide_and_look_the_same(secret in secret(), first in 0_u8..7, last in 0_u8..5) {
        let cell = secret.as_bytes();
        let spec = RedactSpec::Digits(Kept { first, last });
        let given = redacted(spec, 25, 0, cell).expect("claimed");
        prop_assert_eq!(given.len(), cell.len());
        prop_assert!(decode(25, 1, &given).is_some());
        let digits = |text: &[u8]| text.iter().filter(|byte| byte.is_ascii_digit()).copied().collect::<Vec<_>>();
        prop_assert_eq!(digits(&given).len(), digits(cell).len());
        // What is kept stays; a digit beside it may come out as it was, by chance.
        let (new, old) = (digits(&given), digits(cell));
        let (first, last) = digits::kept_of(old.len(), Kept { first, last });
        let replaced = first..old.len() - last;
        prop_assert_eq!((&new[..first], &new[replaced.end..]), (&old[..first], &old[replaced.end..]));
        assert_hidden(&new[replaced.clone()], &old[replaced]);
        prop_assert!(given.iter().all(|byte| byte.is_ascii_digit() || b" -./()+*".contains(byte)));
        if digits(cell).len() >= 8 {
            prop_assert!(digits::is_checked(&given));
        }
        if digits(cell).len() >= 12 {
            assert_keyed(spec, 25, 0, cell);
        }
    }

    #[test]
    fn integers_stay_integers(value: i64, small: i32, format in 0_usize..2, step in 2_u64..1_000_000) {
        for (type_oid, value) in [(20, value.to_string()), (23, small.to_string()), (21, (small >> 16).to_string())] {
            let cell = &in_both(type_oid, &value)[format];
            let format = format as i16;
            let given = redacted(RedactSpec::Pseudonym, type_oid, format, cell).expect("claimed");
            let token: i64 = decode(type_oid, format, &given).expect("an integer").parse().unwrap();
            prop_assert!(token > 0);
            prop_assert_eq!(redacted(RedactSpec::Pseudonym, type_oid, format, cell), Some(given));
            let given = redacted(round(step), type_oid, format, cell).expect("claimed");
            let rounded: i128 = decode(type_oid, format, &given).expect("an integer").parse().unwrap();
            let value: i128 = value.parse().unwrap();
            prop_assert!(rounded % i128::from(step) == 0 && (value - rounded).abs() < i128::from(step));
            if let Some(given) = redacted(RedactSpec::Digits(Kept::default()), type_oid, format, cell) {
                let given = decode(type_oid, format, &given).expect("an integer");
                prop_assert_eq!(given.len(), value.to_string().len());
                prop_assert!(given.trim_start_matches('-').len() < 8 || digits::is_checked(given.as_bytes()));
                assert_hidden(given.as_bytes(), value.to_string().as_bytes());
            }
        }
        let cell = &in_both(20, &value.to_string())[format];
        assert_keyed(RedactSpec::Pseudonym, 20, format as i16, cell);
    }

    #[test]
    fn numerics_stay_numerics(text in "-?[1-9][0-9]{0,30}(\\.[0-9]{1,6})?", format in 0_usize..2, step in 2_u64..1_000_000_000) {
        let cell = &in_both(1700, &text)[format];
        let format = format as i16;
        prop_assert_eq!(decode(1700, format, cell), Some(text.clone()));
        let given = redacted(round(step), 1700, format, cell).expect("claimed");
        let rounded: i128 = decode(1700, format, &given).expect("a numeric").parse().unwrap();
        let value: i128 = text.split('.').next().unwrap().parse().unwrap();
        prop_assert_eq!(rounded, value - value % i128::from(step));
        prop_assert!(given.len() <= cell.len().max(64));
        let given = assert_keyed(RedactSpec::Pseudonym, 1700, format, cell);
        prop_assert!(decode(1700, format, &given).expect("a numeric").parse::<i64>().unwrap() > 0);
        let given = redacted(RedactSpec::Digits(Kept::default()), 1700, format, cell);
        let has_fraction = text.split_once('.').is_some_and(|(_, fraction)| fraction.bytes().any(|b| b != b'0'));
        prop_assert_eq!(given.is_none(), has_fraction);
        if let Some(given) = given {
            let given = decode(1700, format, &given).expect("a numeric");
            prop_assert_eq!(given.len(), text.split('.').next().unwrap().len());
            assert_hidden(given.as_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn floats_stay_floats(value in prop::num::f64::NORMAL | prop::num::f64::ZERO, format in 0_usize..2, step in 2_u64..1_000_000) {
        for type_oid in [701, 700] {
            let text = if type_oid == 700 { (value as f32).to_string() } else { value.to_string() };
            if text.contains("inf") {
                continue;
            }
            let cell = &in_both(type_oid, &text)[format];
            let given = redacted(round(step), type_oid, format as i16, cell).expect("claimed");
            let rounded: f64 = decode(type_oid, format as i16, &given).expect("a float").parse().unwrap();
            let old: f64 = text.parse().unwrap();
            prop_assert!(rounded.abs() <= old.abs() && rounded.abs() * 1.000_001 + step as f64 >= old.abs());
            prop_assert!(given.len() <= cell.len().max(64));
            if type_oid == 701 && old.abs() < 1e15 {
                prop_assert_eq!(rounded % step as f64, 0.0);
            }
        }
    }

    #[test]
    fn dates_stay_dates(year in 1_i64..9999, month in 1..13, day in 1..29, clock in 0..86_400_i64, month_only: bool) {
        let unit = if month_only { DateUnit::Month } else { DateUnit::Year };
        let spec = RedactSpec::Date(unit);
        let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
        let date = format!("{year:04}-{month:02}-{day:02}");
        let stamp = format!("{date} {hour:02}:{minute:02}:{second:02}.25");
        let kept = if month_only { format!("{year:04}-{month:02}-01") } else { format!("{year:04}-01-01") };
        for (type_oid, text, wanted) in [
            (1082, date.clone(), kept.clone()),
            (1114, stamp.clone(), format!("{kept} 00:00:00")),
            (1184, format!("{stamp}+00"), format!("{kept} 00:00:00+00")),
        ] {
            let given = redacted(spec, type_oid, 0, text.as_bytes()).expect("claimed");
            let given = decode(type_oid, 0, &given);
            prop_assert_eq!(given.as_ref(), Some(&wanted));
            let again = redacted(spec, type_oid, 0, wanted.as_bytes());
            prop_assert_eq!(again, Some(wanted.into_bytes()));
        }
    }

    #[test]
    fn binary_dates_do_not_go_forward(days: i32, micros: i64, month_only: bool) {
        let (unit, span) = if month_only { (DateUnit::Month, 31) } else { (DateUnit::Year, 366) };
        let spec = RedactSpec::Date(unit);
        if let Some(given) = redacted(spec, 1082, 1, &days.to_be_bytes()) {
            let given: i32 = decode(1082, 1, &given).expect("a date").parse().unwrap();
            prop_assert!((0..span).contains(&(i64::from(days) - i64::from(given))));
        }
        for type_oid in [1114, 1184] {
            if let Some(given) = redacted(spec, type_oid, 1, &micros.to_be_bytes()) {
                let given: i64 = decode(type_oid, 1, &given).expect("a moment").parse().unwrap();
                let day = 86_400_000_000;
                prop_assert!(given % day == 0 && (0..span).contains(&((i128::from(micros) - i128::from(given)) as i64 / day)));
            }
        }
    }

    #[test]
    fn uuids_and_bytes_stay_what_they_are(value: [u8; 16], bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let text = hex(&value);
        let text = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-");
        let one = assert_keyed(RedactSpec::Pseudonym, 2950, 0, text.as_bytes());
        let two = assert_keyed(RedactSpec::Pseudonym, 2950, 1, &value);
        let decoded = decode(2950, 0, &one).expect("a UUID");
        prop_assert_eq!(&decoded, &decode(2950, 1, &two).expect("a UUID"));
        prop_assert_eq!(&decoded[12..13], "8");
        assert_hidden(&one, text.as_bytes());
        let one = assert_keyed(RedactSpec::Pseudonym, 17, 0, format!("\\x{}", hex(&bytes)).as_bytes());
        let two = assert_keyed(RedactSpec::Pseudonym, 17, 1, &bytes);
        prop_assert_eq!(decode(17, 0, &one).expect("bytes"), decode(17, 1, &two).expect("bytes"));
    }

    #[test]
    fn documents_hide(secret in "[A-Za-z]{6,12}", other in "[a-z]{0,5}", format in 0_i16..2, type_oid in prop::sample::select(vec![114_u32, 3802])) {
        let document = format!("{{\"keep\": \"{other}\", \"list\": [{{\"k\": \"{secret}\"}}, 1], \"gone\": \"{secret}\"}}");
        let version: &[u8] = if (type_oid, format) == (3802, 1) { b"\x01" } else { b"" };
        let cell = [version, document.as_bytes()].concat();
        let name = Constant::new("gone").expect("short");
        for fill in [Fill::Null, Fill::Blank, Fill::Pseudonym, Fill::Constant(name)] {
            let paths = [vec!["gone".to_owned()], vec!["list".to_owned(), "[*]".to_owned(), "k".to_owned()]];
            let redactor = Redactor::new(Action::Paths(fill), type_oid, format, &KEY).at(&paths);
            let mut out = Vec::new();
            prop_assert_eq!(redactor.redact(&cell, &mut out), Redacted::Written);
            let given = decode(type_oid, format, &out).expect("a document");
            let expected = format!("{{\"keep\": \"{other}\", \"list\": [{{\"k\": ");
            prop_assert!(given.starts_with(&expected));
            prop_assert!(!given.contains(&secret));
        }
    }

    #[test]
    fn no_cell_panics_or_grows_too_long(cell: Vec<u8>, text in "[-+0-9:. \\\\x{}\",a]{0,70}", format in 0_i16..2, type_oid in prop::sample::select(vec![16_u32, 17, 18, 19, 20, 21, 23, 25, 114, 700, 701, 1042, 1082, 1114, 1184, 1700, 2950, 3802])) {
        let specs = [
            RedactSpec::KeepDomain,
            RedactSpec::KeepLast(4),
            RedactSpec::Digits(Kept { first: 6, last: 4 }),
            RedactSpec::Date(DateUnit::Month),
            round(1000),
            RedactSpec::Pseudonym,
        ];
        for cell in [cell.as_slice(), text.as_bytes()] {
            for spec in specs {
                if let Some(given) = redacted(spec, type_oid, format, cell) {
                    prop_assert!(given.len() <= cell.len().max(64), "{:?} of {}", spec, type_oid);
                }
            }
        }
    }
}
