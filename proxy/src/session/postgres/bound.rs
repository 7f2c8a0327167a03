//! Values of parameters as Bind gives them, and as a person reads them who must approve what they go into.
//!
//! Source: PostgreSQL manual, "Message Formats": Bind; "Message Flow": Extended Query; `int4send` and its like for the binary
//! format; `pg_type.dat` for the numbers of types. What cannot be read with certainty is shown byte by byte: an approver must
//! never see another value than the server gets.

use std::rc::Rc;

use codecs::postgres::frontend::{Int16s, Parameters};

/// What is made of one value, at most. What is cut here is too long to be approved.
const SHOWN_BYTES_MAX: usize = 64 << 10;
/// Days, and microseconds of a day, as binary dates and times count them from 2000-01-01.
const DAY_MICROS: i64 = 86_400_000_000;

/// Parameters, or arguments of a FunctionCall.
#[derive(Default)]
pub struct Bound<'s> {
    /// Each one's bytes; `None` is NULL.
    pub values: Vec<Option<Vec<u8>>>,
    /// None for text throughout, one for all, or one for each.
    formats: Vec<i16>,
    /// The prepared statement that they are bound to, which types are known by.
    pub statement: Option<&'s [u8]>,
}

/// A value as it is shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    /// `None` is NULL.
    pub value: Option<String>,
    /// Its type as far as it is known, and whether it is shown byte by byte.
    pub of: String,
}

impl<'s> Bound<'s> {
    /// As a message gives them.
    pub fn new(values: Parameters<'_>, formats: Int16s<'_>, statement: Option<&'s [u8]>) -> Self {
        let is_text = formats.clone().all(|format| format == 0);
        Self {
            values: values.map(|value| value.map(<[u8]>::to_vec)).collect(),
            formats: if is_text { Vec::new() } else { formats.collect() },
            statement,
        }
    }

    /// Whether the value at a place, from 0, is in binary.
    pub fn is_binary(&self, place: usize) -> bool {
        let format = match self.formats.as_slice() {
            [] => 0,
            [all] => *all,
            each => each.get(place).copied().unwrap_or_default(),
        };
        format != 0
    }

    /// All of them, for a person.
    pub fn shown(&self, types: Option<&Rc<[u32]>>) -> Vec<Shown> {
        let each = self.values.iter().enumerate();
        each.map(|(place, value)| {
            let oid = types
                .and_then(|types| types.get(place))
                .copied()
                .unwrap_or_default();
            shown(value.as_deref(), oid, self.is_binary(place))
        })
        .collect()
    }
}

fn shown(value: Option<&[u8]>, oid: u32, is_binary: bool) -> Shown {
    let name = type_name(oid);
    let plainly = |value| Shown {
        value,
        of: name.clone(),
    };
    let Some(bytes) = value else {
        return plainly(None);
    };
    let read = match is_binary {
        true => read_binary(oid, bytes),
        false => std::str::from_utf8(bytes).ok().map(str::to_owned),
    };
    if let Some(text) = read {
        return plainly(Some(cut(text, bytes.len())));
    }
    let of = match (name.is_empty(), is_binary) {
        (true, true) => "binary, of a type that is not known".to_owned(),
        (false, true) => format!("{name}, binary"),
        (true, false) => "not UTF-8".to_owned(),
        (false, false) => format!("{name}, not UTF-8"),
    };
    let hex: String = bytes
        .iter()
        .take(SHOWN_BYTES_MAX / 2)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Shown {
        value: Some(cut(format!("\\x{hex}"), bytes.len())),
        of,
    }
}

fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > SHOWN_BYTES_MAX {
        text.truncate(text.floor_char_boundary(SHOWN_BYTES_MAX));
        text.push_str(&format!("… ({bytes} bytes in all)"));
    }
    text
}

/// A value of a type whose binary form has one meaning. `None` where it is not of that form.
fn read_binary(oid: u32, bytes: &[u8]) -> Option<String> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    Some(match oid {
        16 => match bytes {
            [0] => "false".to_owned(),
            [1] => "true".to_owned(),
            _ => return None,
        },
        20 => i64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        21 => i16::from_be_bytes(bytes.try_into().ok()?).to_string(),
        23 => i32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        26 => u32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        700 => f32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        701 => f64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        19 | 25 | 114 | 1042 | 1043 => text(bytes)?,
        1082 => date(i64::from(i32::from_be_bytes(bytes.try_into().ok()?)))?,
        1114 => moment(i64::from_be_bytes(bytes.try_into().ok()?))?,
        1184 => format!("{}+00", moment(i64::from_be_bytes(bytes.try_into().ok()?))?),
        2950 => {
            let hex: String = <[u8; 16]>::try_from(bytes)
                .ok()?
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            parts.join("-")
        }
        3802 => match bytes {
            [1, rest @ ..] => text(rest)?,
            _ => return None,
        },
        _ => return None,
    })
}

/// `None` for the infinities, which stand for themselves.
fn date(days: i64) -> Option<String> {
    let is_infinite = days == i64::from(i32::MIN) || days == i64::from(i32::MAX);
    (!is_infinite).then(|| linegate_policy::redact::iso_date(days))
}

fn moment(micros: i64) -> Option<String> {
    if matches!(micros, i64::MIN | i64::MAX) {
        return None;
    }
    let (day, rest) = (micros.div_euclid(DAY_MICROS), micros.rem_euclid(DAY_MICROS));
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let date = linegate_policy::redact::iso_date(day);
    Some(format!(
        "{date} {hours:02}:{minutes:02}:{:02}.{fraction:06}",
        seconds % 60
    ))
}

/// As SQL names it; empty where it is not known.
fn type_name(oid: u32) -> String {
    let name = match oid {
        0 | 705 => "",
        16 => "boolean",
        17 => "bytea",
        18 => "\"char\"",
        19 => "name",
        20 => "bigint",
        21 => "smallint",
        23 => "integer",
        25 => "text",
        26 => "oid",
        114 => "json",
        142 => "xml",
        700 => "real",
        701 => "double precision",
        790 => "money",
        869 => "inet",
        1000 => "boolean[]",
        1005 => "smallint[]",
        1007 => "integer[]",
        1009 => "text[]",
        1015 => "varchar[]",
        1016 => "bigint[]",
        1042 => "char",
        1043 => "varchar",
        1082 => "date",
        1083 => "time",
        1114 => "timestamp",
        1184 => "timestamptz",
        1186 => "interval",
        1231 => "numeric[]",
        1560 => "bit",
        1562 => "bit varying",
        1700 => "numeric",
        2205 => "regclass",
        2950 => "uuid",
        2951 => "uuid[]",
        3802 => "jsonb",
        _ => return format!("type {oid}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: &[u8], oid: u32, format: i16) -> (String, String) {
        let bound = Bound {
            values: vec![Some(value.to_vec())],
            formats: vec![format],
            statement: None,
        };
        let types: Rc<[u32]> = Rc::from([oid]);
        let mut shown = bound.shown(Some(&types));
        let Shown { value, of } = shown.remove(0);
        (value.expect("a value"), of)
    }

    #[test]
    fn a_binary_value_is_what_the_server_gets() {
        for (bytes, oid, value) in [
            (&b"0001"[..], 23, "808464433"),
            (b"       1", 20, "2314885530818453553"),
            (b"\xff\xfe", 21, "-2"),
            (&1.5_f64.to_be_bytes(), 701, "1.5"),
            (b"\x01", 16, "true"),
            ("\u{e9}".as_bytes(), 25, "\u{e9}"),
            (b"\x01{\"a\": 1}", 3802, "{\"a\": 1}"),
            (&[0x11; 16], 2950, "11111111-1111-1111-1111-111111111111"),
            (&366_i32.to_be_bytes(), 1082, "2001-01-01"),
            (&(-1_i64).to_be_bytes(), 1114, "1999-12-31 23:59:59.999999"),
            (&0_i64.to_be_bytes(), 1184, "2000-01-01 00:00:00.000000+00"),
        ] {
            let (shown, of) = one(bytes, oid, 1);
            assert_eq!(shown, value);
            assert!(!of.contains("binary"), "{of}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_shown_byte_by_byte() {
        for (bytes, oid) in [
            (&b"0001"[..], 0),
            (b"0001", 20),
            (b"1", 1700),
            (b"\x02", 16),
            (b"\xff", 25),
            (&i32::MAX.to_be_bytes(), 1082),
        ] {
            let (shown, of) = one(bytes, oid, 1);
            assert!(shown.starts_with("\\x") && of.contains("binary"), "{shown} {of}");
        }
        assert_eq!(one(b"\xff", 0, 0), ("\\xff".to_owned(), "not UTF-8".to_owned()));
    }

    #[test]
    fn a_text_is_shown_with_the_type_that_reads_it() {
        assert_eq!(one(b"9", 18, 0), ("9".to_owned(), "\"char\"".to_owned()));
        assert_eq!(one(b"9", 0, 0), ("9".to_owned(), String::new()));
        assert_eq!(one(b"9", 70_000, 0).1, "type 70000");
    }

    #[test]
    fn one_format_is_for_all_and_none_is_text() {
        let of = |formats: &[i16]| Bound {
            values: vec![None; 2],
            formats: formats.to_vec(),
            statement: None,
        };
        assert!(!of(&[]).is_binary(1) && of(&[1]).is_binary(1) && !of(&[1, 0]).is_binary(1));
        assert_eq!(of(&[]).shown(None)[1].value, None);
    }

    #[test]
    fn a_long_value_says_how_long_it_is() {
        let (shown, _) = one(&vec![b'x'; SHOWN_BYTES_MAX + 1], 25, 0);
        assert!(
            shown.ends_with("… (65537 bytes in all)"),
            "{}",
            &shown[SHOWN_BYTES_MAX..]
        );
        let (shown, _) = one(&vec![0; SHOWN_BYTES_MAX], 0, 1);
        assert!(shown.len() > SHOWN_BYTES_MAX && shown.ends_with("bytes in all)"));
    }
}
