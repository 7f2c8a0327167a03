//! Numbers in text and binary format: integers, numeric, floating point; rounding them and standing in for them.
//! Source: PostgreSQL manual, "Numeric Types"; `numeric_send` in `src/backend/utils/adt/numeric.c`.
//! Shape of a binary numeric, big-endian: digits i16 | weight i16 | sign u16 | scale u16 | { digit i16 }*, where a digit is
//! below 10000 and the first stands for `digit * 10000^weight`.
//!
//! What has more than 38 digits before the point, is not a number or is infinite has no redaction but NULL.

use std::io::Write;
use std::num::NonZeroU64;

use super::action::{Form, Kind};
use super::key::{self, Key};

/// Digits that a `u128` always holds.
const DIGITS_MAX: u8 = 38;
/// The base of a binary numeric's digits, and its decimal digits.
const BASE: u128 = 10_000;
const BASE_DIGITS: usize = 4;
const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;

/// Reads an integer.
pub fn read_integer(form: Form, cell: &[u8]) -> Option<i64> {
    let value = if form.is_binary {
        match form.kind {
            Kind::Int2 => i16::from_be_bytes(cell.try_into().ok()?).into(),
            Kind::Int4 => i32::from_be_bytes(cell.try_into().ok()?).into(),
            Kind::Int8 => i64::from_be_bytes(cell.try_into().ok()?),
            _ => return None,
        }
    } else {
        std::str::from_utf8(cell).ok()?.parse().ok()?
    };
    Some(value)
}

/// The largest value of an integer type.
pub fn integer_max(kind: Kind) -> Option<i64> {
    match kind {
        Kind::Int2 => Some(i16::MAX.into()),
        Kind::Int4 => Some(i32::MAX.into()),
        Kind::Int8 => Some(i64::MAX),
        _ => None,
    }
}

/// Appends an integer; `None` when the type cannot hold it.
pub fn write_integer(form: Form, value: i64, out: &mut Vec<u8>) -> Option<()> {
    match form.kind {
        Kind::Int2 => {
            let value = i16::try_from(value).ok()?;
            if form.is_binary {
                out.extend_from_slice(&value.to_be_bytes());
            }
        }
        Kind::Int4 => {
            let value = i32::try_from(value).ok()?;
            if form.is_binary {
                out.extend_from_slice(&value.to_be_bytes());
            }
        }
        Kind::Int8 if form.is_binary => out.extend_from_slice(&value.to_be_bytes()),
        Kind::Int8 => {}
        _ => return None,
    }
    if form.is_binary {
        return Some(());
    }
    write!(out, "{value}").ok()
}

/// A numeric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    /// Below zero.
    pub is_negative: bool,
    /// Digits before the point.
    pub whole: u128,
    /// Digits behind the point without zeros at the end, as an integer, and how many they are.
    pub fraction: u128,
    pub fraction_digits: u8,
    /// No digit behind the point was left out.
    pub is_exact: bool,
}

impl Decimal {
    /// An integer.
    pub fn whole(is_negative: bool, whole: u128) -> Self {
        Self {
            is_negative,
            whole,
            fraction: 0,
            fraction_digits: 0,
            is_exact: true,
        }
    }

    /// Reads a numeric, or an integer as one.
    pub fn read(form: Form, cell: &[u8]) -> Option<Self> {
        if form.kind.is_integer() {
            let value = read_integer(form, cell)?;
            return Some(Self::whole(value < 0, value.unsigned_abs().into()));
        }
        let mut decimal = if form.is_binary {
            Self::read_binary(cell)?
        } else {
            Self::read_text(cell)?
        };
        while decimal.fraction_digits > 0 && decimal.fraction.is_multiple_of(10) {
            decimal.fraction /= 10;
            decimal.fraction_digits -= 1;
        }
        Some(decimal)
    }

    /// Takes more digits behind the point, or notes that there is no room for them.
    fn push_fraction(&mut self, value: u128, digits: u8) {
        if self.fraction_digits + digits > DIGITS_MAX {
            self.is_exact &= value == 0;
            return;
        }
        self.fraction = self.fraction * 10_u128.pow(digits.into()) + value;
        self.fraction_digits += digits;
    }

    fn read_text(cell: &[u8]) -> Option<Self> {
        let (is_negative, digits) = match cell.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, cell),
        };
        let (whole, fraction) = match digits.iter().position(|byte| *byte == b'.') {
            Some(point) => (&digits[..point], &digits[point + 1..]),
            None => (digits, &[][..]),
        };
        if whole.is_empty() || whole.len() + fraction.len() + 1 < digits.len() {
            return None;
        }
        let mut decimal = Self::whole(is_negative, 0);
        for byte in whole {
            decimal.whole = decimal.whole.checked_mul(10)?.checked_add(digit(*byte)?)?;
        }
        for byte in fraction {
            decimal.push_fraction(digit(*byte)?, 1);
        }
        Some(decimal)
    }

    fn read_binary(cell: &[u8]) -> Option<Self> {
        let (header, digits) = cell.split_first_chunk::<8>()?;
        let [count, weight, sign, _scale] =
            [0, 2, 4, 6].map(|at| u16::from_be_bytes([header[at], header[at + 1]]));
        let (digits, rest) = digits.as_chunks::<2>();
        if !rest.is_empty() || digits.len() != usize::from(count) || !matches!(sign, POSITIVE | NEGATIVE) {
            return None;
        }
        let mut decimal = Self::whole(sign == NEGATIVE, 0);
        let weight = i32::from(weight.cast_signed());
        let mut power = weight;
        // Zeros between the point and the first digit; beyond the room for digits their number does not matter.
        for _ in 0..(-1 - weight).clamp(0, 10) {
            decimal.push_fraction(0, BASE_DIGITS as u8);
        }
        for digit in digits {
            let digit = u128::from(u16::from_be_bytes(*digit));
            if digit >= BASE {
                return None;
            }
            if power >= 0 {
                decimal.whole = decimal.whole.checked_mul(BASE)?.checked_add(digit)?;
            } else {
                decimal.push_fraction(digit, BASE_DIGITS as u8);
            }
            power -= 1;
        }
        while power >= 0 && decimal.whole != 0 {
            decimal.whole = decimal.whole.checked_mul(BASE)?;
            power -= 1;
        }
        Some(decimal)
    }

    /// Appends the digits before the point as a numeric without a scale.
    pub fn write_whole(self, is_binary: bool, out: &mut Vec<u8>) -> Option<()> {
        let mut text = [0; DIGITS_MAX as usize + 1];
        let mut left = &mut text[..];
        write!(left, "{}", self.whole).ok()?;
        let unused = left.len();
        let digits = &text[..text.len() - unused];
        let is_negative = self.is_negative && self.whole != 0;
        if is_binary {
            encode(is_negative, digits, &[], out)
        } else {
            out.extend(is_negative.then_some(b'-'));
            out.extend_from_slice(digits);
            Some(())
        }
    }
}

fn digit(byte: u8) -> Option<u128> {
    byte.is_ascii_digit().then(|| u128::from(byte - b'0'))
}

/// Appends a binary numeric from decimal digits before and behind the point.
pub fn encode(is_negative: bool, whole: &[u8], fraction: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let groups = whole.len().div_ceil(BASE_DIGITS);
    out.extend_from_slice(&[0; 8]);
    let mut group = |digits: &[u8], zeros: usize| -> Option<()> {
        let value = digits
            .iter()
            .try_fold(0, |sum, byte| Some(sum * 10 + digit(*byte)?))?;
        let value = value * 10_u128.pow(zeros as u32);
        out.extend_from_slice(&u16::try_from(value).ok()?.to_be_bytes());
        Some(())
    };
    let (first, whole) =
        whole.split_at(whole.len() - (groups.saturating_sub(1) * BASE_DIGITS).min(whole.len()));
    if groups > 0 {
        group(first, 0)?;
    }
    whole
        .chunks(BASE_DIGITS)
        .try_for_each(|digits| group(digits, 0))?;
    fraction
        .chunks(BASE_DIGITS)
        .try_for_each(|digits| group(digits, BASE_DIGITS - digits.len()))?;
    // The server's own form has no zero digits at either end, and zero has no sign.
    let mut weight = i16::try_from(groups).ok()? - 1;
    let digits = start + 8;
    while out.len() > digits && out.ends_with(&[0, 0]) {
        out.truncate(out.len() - 2);
    }
    while out[digits..].starts_with(&[0, 0]) {
        out.drain(digits..digits + 2);
        weight -= 1;
    }
    let count = u16::try_from((out.len() - digits) / 2).ok()?;
    let (weight, sign) = match (count, is_negative) {
        (0, _) => (0, POSITIVE),
        (_, true) => (weight, NEGATIVE),
        (_, false) => (weight, POSITIVE),
    };
    let scale = u16::try_from(fraction.len()).ok()?;
    let header = [count, weight.cast_unsigned(), sign, scale].map(u16::to_be_bytes);
    out[start..digits].copy_from_slice(header.as_flattened());
    Some(())
}

/// Appends the number taken down, towards zero, to a multiple of `step`; behind the point nothing is left.
pub fn round(form: Form, step: NonZeroU64, cell: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match form.kind {
        Kind::Int2 | Kind::Int4 | Kind::Int8 => {
            let value = i128::from(read_integer(form, cell)?);
            let value = value - value % i128::from(step.get());
            write_integer(form, i64::try_from(value).ok()?, out)
        }
        Kind::Numeric => {
            let mut value = Decimal::read(form, cell)?;
            value.whole -= value.whole % u128::from(step.get());
            value.write_whole(form.is_binary, out)
        }
        Kind::Float4 | Kind::Float8 => {
            let value = read_float(form, cell)?;
            // The remainder is exact; adding zero makes a negative zero positive.
            let value = value - value % step.get() as f64 + 0.0;
            write_float(form, value, out)
        }
        _ => None,
    }
}

/// Reads a finite floating-point number.
fn read_float(form: Form, cell: &[u8]) -> Option<f64> {
    let value = match (form.kind, form.is_binary) {
        (Kind::Float4, true) => f32::from_be_bytes(cell.try_into().ok()?).into(),
        (_, true) => f64::from_be_bytes(cell.try_into().ok()?),
        (_, false) => std::str::from_utf8(cell).ok()?.parse().ok()?,
    };
    f64::is_finite(value).then_some(value)
}

/// Appends a floating-point number; in text with an exponent where it would be long without.
pub fn write_float(form: Form, value: f64, out: &mut Vec<u8>) -> Option<()> {
    const PLAIN_MAX: f64 = 1e15;
    let is_plain = value == 0.0 || (1e-4..PLAIN_MAX).contains(&value.abs());
    if form.kind == Kind::Float4 {
        let value = value as f32;
        if !value.is_finite() {
            return None;
        }
        return match (form.is_binary, is_plain) {
            (true, _) => out.write_all(&value.to_be_bytes()),
            (false, true) => write!(out, "{value}"),
            (false, false) => write!(out, "{value:e}"),
        }
        .ok();
    }
    match (form.is_binary, is_plain) {
        (true, _) => out.write_all(&value.to_be_bytes()),
        (false, true) => write!(out, "{value}"),
        (false, false) => write!(out, "{value:e}"),
    }
    .ok()
}

/// Appends a positive integer that stands for a number: the same for equal values of the same type, and for numeric the
/// same as for int8 where the value fits that.
pub fn pseudonym(form: Form, key: &Key, cell: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let value = Decimal::read(form, cell)?;
    if !value.is_exact {
        return None;
    }
    let mut canonical = [0; 34];
    canonical[0] = u8::from(value.is_negative && (value.whole, value.fraction) != (0, 0));
    canonical[1] = value.fraction_digits;
    canonical[2..18].copy_from_slice(&value.whole.to_be_bytes());
    canonical[18..].copy_from_slice(&value.fraction.to_be_bytes());
    let mut derived = key.derived(&canonical);
    let max = integer_max(form.kind).unwrap_or(i64::MAX);
    let token = key::integer(&mut derived, max.unsigned_abs());
    match form.kind {
        Kind::Numeric => Decimal::whole(false, token.into()).write_whole(form.is_binary, out),
        _ => write_integer(form, i64::try_from(token).ok()?, out),
    }
}
