//! Finds secrets, or fragments of them, in what a client received, however they were encoded.
//!
//! A fragment is six or more characters of an alphanumeric secret, eight or more digits of a number, seven characters of a
//! social security number with its hyphens. Looked for as plain text in either case and direction, hexadecimal, base64,
//! percent, backslash and entity escapes, UTF-16 and UTF-32, bits, decimal and hexadecimal character codes, separated by
//! other characters, as binary integers, floats and numerics, and as digests of the whole value.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::digest;
use md5::{Digest as _, Md5};

use crate::attack::Decode;
use crate::attack_fixture::Secrets;

/// Characters of an alphanumeric secret that are a leak.
const ALNUM_MIN: usize = 6;
/// Digits of a number that are a leak.
const DIGITS_MIN: usize = 8;
/// Of a social security number, hyphens included.
const SSN_MIN: usize = 7;
/// With other characters in between, chance needs more room.
const SEPARATED_MIN: usize = 10;

/// Pieces of one length.
#[derive(Default)]
struct Pieces {
    by_length: HashMap<usize, (HashSet<Vec<u8>>, Vec<bool>)>,
}

impl Pieces {
    fn add(&mut self, piece: Vec<u8>) {
        let (set, starts) = self
            .by_length
            .entry(piece.len())
            .or_insert_with(|| (HashSet::new(), vec![false; 1 << 16]));
        starts[start(&piece)] = true;
        set.insert(piece);
    }

    fn add_windows(&mut self, text: &[u8], length: usize, encode: impl Fn(&[u8]) -> Vec<u8>) {
        for window in text.windows(length) {
            self.add(encode(window));
        }
    }

    fn find(&self, bytes: &[u8]) -> Option<String> {
        for (length, (set, starts)) in &self.by_length {
            for window in bytes.windows(*length) {
                if starts[start(window)] && set.contains(window) {
                    return Some(String::from_utf8_lossy(window).into_owned());
                }
            }
        }
        None
    }
}

fn start(piece: &[u8]) -> usize {
    usize::from(piece[0]) << 8 | usize::from(piece[1])
}

/// The detector of one run's secrets.
pub struct Detector {
    plain: Pieces,
    hex: Pieces,
    base64: Pieces,
    separated: Pieces,
    exact: Pieces,
}

/// What was found: how it was encoded and what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The encoding, `hex` or the like.
    pub how: String,
    /// The fragment as it stood there.
    pub what: String,
}

impl Detector {
    /// For these secrets.
    pub fn new(secrets: &Secrets) -> Self {
        let mut detector = Self {
            plain: Pieces::default(),
            hex: Pieces::default(),
            base64: Pieces::default(),
            separated: Pieces::default(),
            exact: Pieces::default(),
        };
        for text in secrets.alphanumeric() {
            detector.learn(&text, ALNUM_MIN);
        }
        for text in secrets.digits() {
            detector.learn(&text, DIGITS_MIN);
            detector.learn_number(&text);
        }
        for text in secrets.hyphenated() {
            detector.learn(&text, SSN_MIN);
        }
        for text in secrets.whole() {
            for form in [
                text.clone(),
                text.to_uppercase(),
                text.chars().rev().collect::<String>(),
            ] {
                detector.learn_digests(form.as_bytes());
            }
        }
        detector
    }

    fn learn(&mut self, text: &str, fragment: usize) {
        let forward = text.as_bytes().to_vec();
        let backward: Vec<u8> = forward.iter().rev().copied().collect();
        for form in [forward, backward] {
            let upper = form.to_ascii_uppercase();
            self.plain.add_windows(&form, fragment, <[u8]>::to_vec);
            self.separated.add_windows(
                &alphanumeric_of(&form),
                SEPARATED_MIN.min(form.len()),
                <[u8]>::to_vec,
            );
            for form in [&form, &upper] {
                self.hex
                    .add_windows(form, fragment, |window| hex(window).into_bytes());
                let threes = fragment.next_multiple_of(3);
                self.base64.add_windows(form, threes, base64);
            }
        }
    }

    fn learn_number(&mut self, digits: &str) {
        let Ok(number) = digits.parse::<i64>() else { return };
        self.exact.add(number.to_be_bytes().to_vec());
        self.exact.add(number.to_le_bytes().to_vec());
        #[allow(clippy::cast_precision_loss, reason = "the server rounds in the same way")]
        let float = number as f64;
        self.exact.add(float.to_be_bytes().to_vec());
        let mut groups = Vec::new();
        let mut rest = number;
        while rest > 0 {
            let group = u16::try_from(rest % 10_000).expect("less than 10,000");
            groups.insert(0, group);
            rest /= 10_000;
        }
        self.exact
            .add(groups.iter().flat_map(|group| group.to_be_bytes()).collect());
    }

    fn learn_digests(&mut self, text: &[u8]) {
        let mut digests = vec![Md5::digest(text).to_vec()];
        for algorithm in [
            &digest::SHA1_FOR_LEGACY_USE_ONLY,
            &digest::SHA224,
            &digest::SHA256,
            &digest::SHA384,
            &digest::SHA512,
        ] {
            digests.push(digest::digest(algorithm, text).as_ref().to_vec());
        }
        for digest in digests {
            // Sixteen bytes of a digest are proof; the rest may have been cut off.
            self.exact.add(hex(&digest[..16]).into_bytes());
            let mut encoded = base64(&digest);
            encoded.truncate(20);
            self.exact.add(encoded);
            self.exact.add(digest[..16].to_vec());
        }
    }

    /// The first fragment in `bytes`, if any.
    pub fn find(&self, bytes: &[u8], decoders: &[Decode]) -> Option<Found> {
        if let Some(what) = self.exact.find(bytes) {
            let how = "digest or binary number".to_owned();
            return Some(Found { how, what });
        }
        if let Some(found) = self.find_text(bytes, "") {
            return Some(found);
        }
        for (how, decoded) in decoded(bytes) {
            if let Some(found) = self.find_text(&decoded, how) {
                return Some(found);
            }
        }
        let stripped = alphanumeric_of(&bytes.to_ascii_lowercase());
        if let Some(what) = self.separated.find(&stripped) {
            let how = "separated".to_owned();
            return Some(Found { how, what });
        }
        for decoder in decoders {
            let undone = undo(decoder, bytes);
            let stripped = alphanumeric_of(&undone.to_ascii_lowercase());
            let found = self.find_text(&undone, "own").or_else(|| {
                let what = self.separated.find(&stripped)?;
                let how = "own separated".to_owned();
                Some(Found { how, what })
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn find_text(&self, bytes: &[u8], layer: &str) -> Option<Found> {
        let lower = bytes.to_ascii_lowercase();
        let found = |how: &str, what: String| Found {
            how: format!("{layer} {how}").trim().to_owned(),
            what,
        };
        let plain = self.plain.find(&lower).map(|what| found("plain", what));
        let hex = || self.hex.find(&lower).map(|what| found("hex", what));
        let base64 = || self.base64.find(bytes).map(|what| found("base64", what));
        plain.or_else(hex).or_else(base64)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Without padding: whole groups only, since pieces are looked for in the middle of texts.
fn base64(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for group in bytes.chunks_exact(3) {
        let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        for shift in [18, 12, 6, 0] {
            out.push(BASE64[usize::try_from(bits >> shift & 63).expect("six bits")]);
        }
    }
    out
}

fn alphanumeric_of(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(u8::is_ascii_alphanumeric).collect()
}

/// Every general way in which text can be dressed, undone.
fn decoded(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::new();
    if bytes.contains(&b'%') {
        all.push(("percent", unescape(bytes, b"%", 2, 16)));
    }
    if bytes.contains(&b'=') {
        all.push(("quoted-printable", unescape(bytes, b"=", 2, 16)));
    }
    if bytes.contains(&b'\\') {
        let single = single_backslashes(bytes);
        all.push(("backslash x", unescape(&single, b"\\x", 2, 16)));
        all.push(("backslash u", unescape(&single, b"\\u00", 2, 16)));
        all.push(("backslash octal", unescape(&single, b"\\", 3, 8)));
    }
    if bytes.windows(2).any(|two| two == b"&#") {
        all.push(("entity", entities(bytes)));
    }
    if bytes.contains(&0) {
        all.push((
            "wide characters",
            bytes.iter().copied().filter(|byte| *byte != 0).collect(),
        ));
    }
    all.push(("decimal codes", codes(bytes, 10, Some)));
    all.push(("hexadecimal codes", codes(bytes, 16, Some)));
    for run in bytes
        .split(|byte| !matches!(byte, b'0' | b'1'))
        .filter(|run| run.len() >= 40)
    {
        for width in [8, 7] {
            for from in 0..width {
                all.push(("bits", bits(&run[from..], width)));
            }
        }
    }
    all
}

fn single_backslashes(bytes: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    for byte in bytes {
        if *byte != b'\\' || out.last() != Some(&b'\\') {
            out.push(*byte);
        }
    }
    out
}

/// `prefix` and `count` digits become one byte.
fn unescape(bytes: &[u8], prefix: &[u8], count: usize, radix: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        let digits = rest
            .strip_prefix(prefix)
            .and_then(|rest| rest.get(..count))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, radix).ok());
        match digits {
            Some(byte) => {
                out.push(byte);
                rest = &rest[prefix.len() + count..];
            }
            None => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

fn entities(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::new();
    for (index, part) in text.split("&#").enumerate() {
        let end = part.find(';').filter(|_| index > 0);
        let code = end.and_then(|end| match part[..end].strip_prefix('x') {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => part[..end].parse().ok(),
        });
        match (code.and_then(char::from_u32), end) {
            (Some(character), Some(end)) => {
                out.push(character);
                out.push_str(&part[end + 1..]);
            }
            _ => out.push_str(part),
        }
    }
    out.into_bytes()
}

/// Numbers, whatever stands between them, as characters.
fn codes(bytes: &[u8], radix: u32, change: impl Fn(i64) -> Option<i64>) -> Vec<u8> {
    let is_digit = |byte: u8| char::from(byte).is_digit(radix);
    bytes
        .split(|byte| !is_digit(*byte))
        .filter(|run| !run.is_empty())
        .map(|run| {
            let fits = if radix == 16 {
                run.len() == 2
            } else {
                run.len() <= 4
            };
            let code = std::str::from_utf8(run)
                .ok()
                .filter(|_| fits)
                .and_then(|run| i64::from_str_radix(run, radix).ok());
            let code = code.and_then(&change).and_then(|code| u8::try_from(code).ok());
            code.filter(u8::is_ascii_graphic).unwrap_or(1)
        })
        .collect()
}

fn bits(run: &[u8], width: usize) -> Vec<u8> {
    run.chunks_exact(width)
        .map(|chunk| chunk.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0')))
        .collect()
}

fn undo(decoder: &Decode, bytes: &[u8]) -> Vec<u8> {
    let text = || String::from_utf8_lossy(bytes).into_owned();
    let numbers = |radix: u32, change: &dyn Fn(i128) -> i128| {
        text()
            .split(|character: char| !character.is_digit(radix))
            .filter_map(|run| i128::from_str_radix(run, radix).ok())
            .map(|number| format!("{} ", change(number)))
            .collect::<String>()
            .into_bytes()
    };
    match decoder {
        Decode::Rot13 => bytes
            .iter()
            .map(|byte| match byte {
                b'a'..=b'z' => (byte - b'a' + 13) % 26 + b'a',
                b'A'..=b'Z' => (byte - b'A' + 13) % 26 + b'A',
                other => *other,
            })
            .collect(),
        Decode::Del(filler) => text().replace(filler.as_str(), "").into_bytes(),
        Decode::Xor(key) => codes(bytes, 10, |code| Some(code ^ i64::from(*key))),
        Decode::Add(more) => codes(bytes, 10, |code| Some(code - more)),
        Decode::Translate(from, to) => {
            let table: HashMap<char, char> = to.chars().zip(from.chars()).collect();
            let undone: String = text()
                .chars()
                .map(|character| *table.get(&character).unwrap_or(&character))
                .collect();
            undone.into_bytes()
        }
        Decode::Hexnum => numbers(16, &|number| number),
        Decode::Plus(more) => numbers(10, &|number| number - more),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dress_is_seen_through_and_plain_talk_is_not() {
        let secrets = Secrets::new(3);
        let detector = Detector::new(&secrets);
        let email = secrets.field(1, "email");
        let local = email.split('@').next().expect("a local part");
        let card = secrets.field(2, "card");
        let spelled: Vec<String> = local.bytes().map(|byte| byte.to_string()).collect();
        let percent: String = local.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let octal: String = local.bytes().map(|byte| format!("\\{byte:03o}")).collect();
        let wide: Vec<u8> = local.bytes().flat_map(|byte| [0, byte]).collect();
        let dotted: String = card.chars().map(|digit| format!("{digit}.")).collect();
        let in_bits: String = local.bytes().map(|byte| format!("{byte:08b}")).collect();
        let seen = |bytes: &[u8]| detector.find(bytes, &[]).is_some();
        assert!(seen(local.as_bytes()));
        assert!(seen(&local.as_bytes()[3..9]), "a fragment");
        assert!(!seen(&local.as_bytes()[3..8]), "too short to be one");
        assert!(seen(local.to_uppercase().as_bytes()));
        assert!(seen(local.chars().rev().collect::<String>().as_bytes()));
        assert!(seen(hex(local.as_bytes()).as_bytes()));
        assert!(seen(&base64(local.as_bytes())));
        assert!(seen(percent.as_bytes()));
        assert!(seen(octal.as_bytes()));
        assert!(seen(&wide));
        assert!(seen(dotted.as_bytes()));
        assert!(seen(in_bits.as_bytes()));
        assert!(seen(spelled.join(",").as_bytes()));
        assert!(seen(hex(&Md5::digest(email.as_bytes())).as_bytes()));
        assert!(seen(
            &secrets
                .field(2, "account")
                .parse::<i64>()
                .expect("digits")
                .to_be_bytes()
        ));
        assert!(!seen(
            b"SELECT 1234567890, 'mail.example', 'first person', 0x0badcafe"
        ));
        let rotated = undo(&Decode::Rot13, local.as_bytes());
        assert!(detector.find(&rotated, &[Decode::Rot13]).is_some());
    }
}
