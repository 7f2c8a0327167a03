//! A statement and its verdict, rendered as they go on record.
//!
//! Each statement has these two entries, so what they cost is paid millions of times. They are rendered from borrowed parts into one
//! buffer that comes back: nothing is copied twice, nothing is allocated, and the recorder has only bytes to append. The JSON is written
//! here because its shape is fixed; it is, byte for byte, what the entries' own rendering gives (tests below).

use std::fmt::Display;
use std::io::Write as _;

use crate::entry::{Entry, EntryKind, PAYLOAD_BYTES_MAX, Protocol, VerdictKind, digest_hex};

/// Bytes that are kept for everything but the text in a Statement's payload.
const BESIDE_TEXT_BYTES: usize = 4 << 10;

/// A longer text is for the recorder to render: whoever renders keeps others waiting.
const LONG_TEXT_BYTES: usize = 64 << 10;

/// What is rendered: an `Entry::Statement`, then an `Entry::Verdict`.
pub struct Begun<'a, Effects, Relations> {
    /// The statement's number within the session.
    pub statement: u64,
    /// Its text, or what stands for it.
    pub text: &'a str,
    /// Whether something stands for it.
    pub redacted: bool,
    /// How it arrived.
    pub protocol: Protocol,
    /// The exact bytes, for the digest.
    pub exact: &'a [u8],
    /// What was decided.
    pub verdict: VerdictKind,
    /// Why, for a refusal or hold.
    pub reason: Option<&'a str>,
    /// The policies that decided.
    pub policies: &'a [String],
    /// Effect classes.
    pub effects: Effects,
    /// Relations read or written.
    pub relations: Relations,
}

impl<E, R> Begun<'_, E, R>
where
    E: Iterator<Item: Display> + Clone,
    R: Iterator<Item: Display> + Clone,
{
    /// The same as entries, whose payloads the recorder renders, and cuts where they are too long.
    pub fn entries(&self) -> [Entry; 2] {
        let statement = Entry::Statement {
            statement: self.statement,
            text: self.text.to_owned(),
            redacted: self.redacted,
            protocol: self.protocol,
            digest: digest_hex(&[self.exact]),
        };
        let verdict = Entry::Verdict {
            statement: self.statement,
            verdict: self.verdict,
            reason: self.reason.map(str::to_owned),
            policies: self.policies.to_vec(),
            effects: self.effects.clone().map(|effect| effect.to_string()).collect(),
            relations: self
                .relations
                .clone()
                .map(|relation| relation.to_string())
                .collect(),
        };
        [statement, verdict]
    }
}

/// Whether a text can be on record as it is: its payload, with what JSON makes of it, has a limit.
pub fn fits(text: &[u8]) -> bool {
    let room = PAYLOAD_BYTES_MAX - BESIDE_TEXT_BYTES;
    let escaped = || -> usize { String::from_utf8_lossy(text).bytes().map(escaped_bytes).sum() };
    // One byte becomes six at most: \u001f.
    text.len() <= room / 6 || (text.len() <= room && escaped() <= room)
}

fn escaped_bytes(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | 0x08 | b'\t' | b'\n' | 0x0c | b'\r' => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

/// The payloads of a statement and its verdict, one behind the other.
#[derive(Debug, Default)]
pub struct Rendered {
    bytes: Vec<u8>,
    statement_bytes: usize,
}

impl Rendered {
    /// Renders both in place of what was here before. False where they are too long for that: the recorder takes the entries
    /// instead.
    pub fn render<E, R>(&mut self, begun: &Begun<'_, E, R>) -> bool
    where
        E: Iterator<Item: Display> + Clone,
        R: Iterator<Item: Display> + Clone,
    {
        if begun.text.len() > LONG_TEXT_BYTES {
            return false;
        }
        let digest = self.digest(begun.exact);
        self.bytes.clear();
        self.statement(begun, digest.to_hex().as_str());
        self.statement_bytes = self.bytes.len();
        self.verdict(begun);
        self.bytes.len() <= PAYLOAD_BYTES_MAX
    }

    fn statement<E, R>(&mut self, begun: &Begun<'_, E, R>, digest: &str) {
        self.raw("{\"kind\":\"statement\",\"statement\":");
        self.shown(begun.statement);
        self.raw(",\"text\":");
        self.string(begun.text);
        self.raw(",\"redacted\":");
        self.raw(if begun.redacted { "true" } else { "false" });
        self.raw(",\"protocol\":\"");
        self.raw(begun.protocol.as_str());
        self.raw("\",\"digest\":\"");
        self.raw(digest);
        self.raw("\"}");
    }

    fn verdict<E, R>(&mut self, begun: &Begun<'_, E, R>)
    where
        E: Iterator<Item: Display> + Clone,
        R: Iterator<Item: Display> + Clone,
    {
        self.raw("{\"kind\":\"verdict\",\"statement\":");
        self.shown(begun.statement);
        self.raw(",\"verdict\":\"");
        self.raw(begun.verdict.as_str());
        self.raw("\",\"reason\":");
        match begun.reason {
            Some(reason) => self.string(reason),
            None => self.raw("null"),
        }
        self.raw(",\"policies\":");
        self.list(begun.policies.iter());
        self.raw(",\"effects\":");
        self.list(begun.effects.clone());
        self.raw(",\"relations\":");
        self.list(begun.relations.clone());
        self.raw("}");
    }

    /// Bytes of both payloads.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was rendered.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of memory that it holds.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Both payloads.
    pub(crate) fn payloads(&self) -> [(EntryKind, &[u8]); 2] {
        let (statement, verdict) = self.bytes.split_at(self.statement_bytes);
        [(EntryKind::Statement, statement), (EntryKind::Verdict, verdict)]
    }

    /// What `digest_hex` answers; a text of the usual length is hashed in one go.
    fn digest(&mut self, exact: &[u8]) -> blake3::Hash {
        let length = (exact.len() as u64).to_le_bytes();
        if exact.len() > BESIDE_TEXT_BYTES {
            return blake3::Hasher::new().update(&length).update(exact).finalize();
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(&length);
        self.bytes.extend_from_slice(exact);
        blake3::hash(&self.bytes)
    }

    fn raw(&mut self, json: &str) {
        self.bytes.extend_from_slice(json.as_bytes());
    }

    fn shown(&mut self, value: impl Display) {
        let _never_fails = write!(self.bytes, "{value}"); // a Vec takes everything
    }

    fn list(&mut self, texts: impl Iterator<Item: Display>) {
        self.raw("[");
        let first = self.bytes.len();
        for text in texts {
            self.raw(if self.bytes.len() == first { "\"" } else { ",\"" });
            let at = self.bytes.len();
            self.shown(text);
            if self.bytes[at..].iter().any(|byte| escaped_bytes(*byte) > 1) {
                let text = self.bytes.split_off(at);
                self.escaped(&text);
            }
            self.raw("\"");
        }
        self.raw("]");
    }

    fn string(&mut self, text: &str) {
        self.raw("\"");
        self.escaped(text.as_bytes());
        self.raw("\"");
    }

    /// RFC 8259, section 7.
    fn escaped(&mut self, mut text: &[u8]) {
        while let Some(plain) = text.iter().position(|byte| escaped_bytes(*byte) > 1) {
            self.bytes.extend_from_slice(&text[..plain]);
            match text[plain] {
                0x08 => self.raw("\\b"),
                b'\t' => self.raw("\\t"),
                b'\n' => self.raw("\\n"),
                0x0c => self.raw("\\f"),
                b'\r' => self.raw("\\r"),
                byte @ (b'"' | b'\\') => self.bytes.extend_from_slice(&[b'\\', byte]),
                byte => {
                    let digit = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
                    let digits = [digit(byte >> 4), digit(byte & 15)];
                    self.bytes.extend_from_slice(b"\\u00");
                    self.bytes.extend_from_slice(&digits);
                }
            }
            text = &text[plain + 1..];
        }
        self.bytes.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rendered(begun: &Parts<'_>) -> Rendered {
        let mut rendered = Rendered::default();
        assert!(rendered.render(begun));
        rendered
    }

    proptest! {
        #[test]
        fn both_are_what_the_entries_say(
            statement: u64,
            text in "(\\PC|[\u{0}-\u{7f}]){0,80}",
            redacted: bool,
            (protocol, verdict) in proptest::sample::select(vec![
                (Protocol::Simple, VerdictKind::Allow),
                (Protocol::Extended, VerdictKind::Deny),
                (Protocol::FastPath, VerdictKind::Hold),
            ]),
            reason in proptest::option::of(any::<String>()),
            lists in proptest::collection::vec("[ -~\u{0}-\u{1f}é]{0,12}", 0..4),
        ) {
            let effects = ["select", "ddl"];
            let begun = Begun {
                statement,
                text: &text,
                redacted,
                protocol,
                exact: text.as_bytes(),
                verdict,
                reason: reason.as_deref(),
                policies: &lists,
                effects: effects.iter(),
                relations: lists.iter(),
            };
            let rendered = rendered(&begun);
            let expected = begun.entries();
            for ((kind, payload), entry) in rendered.payloads().into_iter().zip(&expected) {
                prop_assert_eq!(kind, entry.kind());
                prop_assert_eq!(payload, serde_json::to_vec(entry).unwrap());
            }
        }

        #[test]
        fn what_json_makes_of_a_text_is_known_beforehand(text in any::<String>()) {
            let bytes = text.bytes().map(escaped_bytes).sum::<usize>();
            prop_assert_eq!(bytes + 2, serde_json::to_vec(&text).unwrap().len());
        }
    }

    type Parts<'a> = Begun<'a, std::slice::Iter<'a, &'a str>, std::slice::Iter<'a, String>>;

    fn refused<'a>(text: &'a str, relations: &'a [String]) -> Parts<'a> {
        Begun {
            statement: 3,
            text,
            redacted: false,
            protocol: Protocol::Simple,
            exact: b"",
            verdict: VerdictKind::Deny,
            reason: None,
            policies: &[],
            effects: [].iter(),
            relations: relations.iter(),
        }
    }

    #[test]
    fn what_is_too_long_is_left_to_the_recorder() {
        let unprintable = "\u{1}".repeat(PAYLOAD_BYTES_MAX / 6);
        assert!(!fits(unprintable.as_bytes()));
        assert!(fits(&unprintable.as_bytes()[BESIDE_TEXT_BYTES..]));
        let plain = "x".repeat(PAYLOAD_BYTES_MAX - BESIDE_TEXT_BYTES);
        assert!(fits(plain.as_bytes()));
        assert!(!fits(format!("{plain}x").as_bytes()));
        let mut rendered = Rendered::default();
        let few = ["public.people".to_owned()];
        let many = [plain.clone(), plain.clone()];
        assert!(rendered.render(&refused(&plain[..LONG_TEXT_BYTES], &few)));
        assert!(!rendered.render(&refused(&plain[..=LONG_TEXT_BYTES], &few)));
        assert!(!rendered.render(&refused("SELECT 1", &many)));
        assert!(
            rendered.render(&refused("SELECT 1", &few)),
            "it can be used again"
        );
    }
}
