//! A constant as a value of a type, in text or binary format. What is no value of the type cannot stand there.

use super::action::{Form, Kind};
use super::spec::Constant;
use super::{calendar, json, number, uuid};

/// The longest name, bytes (`NAMEDATALEN` less its terminator).
const NAME_BYTES_MAX: usize = 63;

/// The cell that holds a constant; `None` when the type has no such value.
pub fn encode(constant: Constant, form: Form) -> Option<Box<[u8]>> {
    let text = constant.text();
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    match form.kind {
        Kind::Text | Kind::Bpchar => out.extend_from_slice(bytes),
        Kind::Name if bytes.len() <= NAME_BYTES_MAX => out.extend_from_slice(bytes),
        Kind::Char if bytes.len() == 1 => out.extend_from_slice(bytes),
        Kind::Int2 | Kind::Int4 | Kind::Int8 => {
            number::write_integer(form, text.parse().ok()?, &mut out)?;
        }
        Kind::Numeric => numeric(form, text, &mut out)?,
        Kind::Float4 | Kind::Float8 => {
            let is_number = bytes.iter().all(|byte| b"0123456789.+-eE".contains(byte));
            let value: f64 = text
                .parse()
                .ok()
                .filter(|value: &f64| is_number && value.is_finite())?;
            number::write_float(form, value, &mut out)?;
        }
        Kind::Bool => {
            let value = match text {
                "true" | "t" | "1" => true,
                "false" | "f" | "0" => false,
                _ => return None,
            };
            out.push(match (form.is_binary, value) {
                (true, value) => u8::from(value),
                (false, true) => b't',
                (false, false) => b'f',
            });
        }
        Kind::Date | Kind::Timestamp | Kind::TimestampTz => calendar::constant(form, bytes, &mut out)?,
        Kind::Uuid => uuid::write(form, uuid::parse(bytes)?, &mut out),
        Kind::Bytea => {
            let digits = bytes.strip_prefix(b"\\x")?;
            let (pairs, rest) = digits.as_chunks::<2>();
            if !rest.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            if form.is_binary {
                out.extend(pairs.iter().filter_map(|[high, low]| uuid::byte(*high, *low)));
            } else {
                out.extend_from_slice(bytes);
            }
        }
        Kind::Json | Kind::Jsonb => {
            if !json::is_document(bytes) {
                return None;
            }
            if form.kind == Kind::Jsonb && form.is_binary {
                out.push(json::VERSION);
            }
            out.extend_from_slice(bytes);
        }
        Kind::Name | Kind::Char | Kind::Other => return None,
    }
    Some(out.into_boxed_slice())
}

fn numeric(form: Form, text: &str, out: &mut Vec<u8>) -> Option<()> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || digits.ends_with('.') || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    if form.is_binary {
        number::encode(is_negative, whole.as_bytes(), fraction.as_bytes(), out)
    } else {
        out.extend_from_slice(text.as_bytes());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_have_the_servers_own_bytes() {
        let cases: [(Kind, &str, &str, &[u8]); 17] = [
            (Kind::Text, "***", "***", b"***"),
            (Kind::Int2, "-1", "-1", b"\xff\xff"),
            (Kind::Int4, "007", "7", b"\0\0\0\x07"),
            (Kind::Int8, "7", "7", b"\0\0\0\0\0\0\0\x07"),
            (Kind::Numeric, "0", "0", b"\0\0\0\0\0\0\0\0"),
            (Kind::Numeric, "0.00", "0.00", b"\0\0\0\0\0\0\0\x02"),
            (
                Kind::Numeric,
                "-12345.678",
                "-12345.678",
                b"\0\x03\0\x01\x40\0\0\x03\0\x01\x09\x29\x1a\x7c",
            ),
            (
                Kind::Numeric,
                "0.00001",
                "0.00001",
                b"\0\x01\xff\xfe\0\0\0\x05\x03\xe8",
            ),
            (Kind::Numeric, "120000", "120000", b"\0\x01\0\x01\0\0\0\0\0\x0c"),
            (Kind::Float4, "1.5", "1.5", b"\x3f\xc0\0\0"),
            (Kind::Float8, "1.5", "1.5", b"\x3f\xf8\0\0\0\0\0\0"),
            (Kind::Bool, "true", "t", b"\x01"),
            (Kind::Date, "2000-01-02", "2000-01-02", b"\0\0\0\x01"),
            (
                Kind::Timestamp,
                "1999-12-31",
                "1999-12-31 00:00:00",
                b"\xff\xff\xff\xeb\xe2\x28\xa0\0",
            ),
            (
                Kind::Uuid,
                "00000000-0000-0000-0000-00000000ABCD",
                "00000000-0000-0000-0000-00000000abcd",
                b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xab\xcd",
            ),
            (Kind::Bytea, "\\x00Ff", "\\x00Ff", b"\0\xff"),
            (Kind::Jsonb, "{\"a\": 1}", "{\"a\": 1}", b"\x01{\"a\": 1}"),
        ];
        for (kind, constant, text, binary) in cases {
            let constant = Constant::new(constant).expect("short");
            let form = |is_binary| Form { kind, is_binary };
            let given = encode(constant, form(false));
            assert_eq!(given.as_deref(), Some(text.as_bytes()), "{kind:?} {constant:?}");
            assert_eq!(
                encode(constant, form(true)).as_deref(),
                Some(binary),
                "{kind:?} {constant:?}"
            );
        }
    }

    #[test]
    fn what_is_no_value_of_the_type_does_not_stand_there() {
        let long = "x".repeat(64);
        let cases: [(Kind, &[&str]); 12] = [
            (Kind::Char, &["", "xx", "é"]),
            (Kind::Name, &[&long]),
            (Kind::Int2, &["32768", "1.0", "", "x"]),
            (Kind::Int8, &["9223372036854775808", " 1"]),
            (Kind::Numeric, &["", "-", ".5", "1.", "1e5", "NaN", "1.2.3"]),
            (Kind::Float8, &["", "NaN", "inf", "1e999", "x"]),
            (Kind::Float4, &["1e39"]),
            (Kind::Bool, &["yes", "T", ""]),
            (
                Kind::Date,
                &["1999-02-29", "infinity", "1999-01-01 12:00:00", "x"],
            ),
            (Kind::Uuid, &["0", "00000000000000000000000000000000"]),
            (Kind::Bytea, &["00", "\\x0", "\\xzz"]),
            (Kind::Json, &["x", "{", "", "'a'", "1 2"]),
        ];
        for (kind, texts) in cases {
            for text in texts {
                let constant = Constant::new(text).expect("short");
                for is_binary in [false, true] {
                    assert_eq!(
                        encode(constant, Form { kind, is_binary }),
                        None,
                        "{kind:?} {text}"
                    );
                }
            }
        }
        let anything = Constant::new("10.0.0.1").expect("short");
        let form = Form {
            kind: Kind::Other,
            is_binary: false,
        };
        assert_eq!(encode(anything, form), None);
    }
}
