//! Keyed, one-way derivation of what stands for a value: tokens, integers, digits.
//!
//! Everything comes from keyed BLAKE3 of the value. Nothing can be turned back without trying values, and not even tried
//! without the key. Each use has a key of its own, derived from the deployment's.

use std::fmt;

use blake3::{Hasher, OutputReader};

/// What a derived key is for. Equal values get equal tokens within one use only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Text, in columns and in documents.
    Text,
    /// Numbers, whatever their type.
    Number,
    /// UUIDs.
    Uuid,
    /// Bytes.
    Bytea,
    /// Format-preserving digits.
    Digits,
}

/// A key for one use.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Characters of a text token: 130 bits, so that a billion values collide with a chance of 1 in 10^21.
pub const TOKEN_BYTES: usize = 26;

impl Key {
    /// Derives a use's key from the deployment's.
    pub fn derive(deployment: &[u8; 32], for_use: Use) -> Self {
        let context = match for_use {
            Use::Text => "linegate redaction: pseudonyms of text, 1",
            Use::Number => "linegate redaction: pseudonyms of numbers, 1",
            Use::Uuid => "linegate redaction: pseudonyms of uuid, 1",
            Use::Bytea => "linegate redaction: pseudonyms of bytea, 1",
            Use::Digits => "linegate redaction: digits, 1",
        };
        Self(blake3::derive_key(context, deployment))
    }

    /// Starts taking in a value.
    pub fn start(&self) -> Hasher {
        Hasher::new_keyed(&self.0)
    }

    /// What a whole value derives.
    pub fn derived(&self, value: &[u8]) -> OutputReader {
        self.start().update(value).finalize_xof()
    }
}

/// Appends a token in base32 (RFC 4648, small letters, no padding).
pub fn write_token(derived: &mut OutputReader, out: &mut Vec<u8>) {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bytes = [0; TOKEN_BYTES];
    derived.fill(&mut bytes);
    out.extend(bytes.iter().map(|byte| LETTERS[usize::from(byte % 32)]));
}

/// An integer from 1 to `max`, as evenly as 128 bits allow.
pub fn integer(derived: &mut OutputReader, max: u64) -> u64 {
    let mut bytes = [0; 16];
    derived.fill(&mut bytes);
    // The remainder is below `max`, which has 64 bits.
    (u128::from_be_bytes(bytes) % u128::from(max.max(1))) as u64 + 1
}

/// Decimal digits without end.
pub struct DigitStream {
    derived: OutputReader,
    block: [u8; 64],
    at: usize,
}

impl DigitStream {
    /// Digits that a value derives.
    pub fn new(derived: OutputReader) -> Self {
        Self {
            derived,
            block: [0; 64],
            at: 64,
        }
    }

    fn byte(&mut self) -> u8 {
        if self.at == self.block.len() {
            self.derived.fill(&mut self.block);
            self.at = 0;
        }
        self.at += 1;
        self.block[self.at - 1]
    }

    /// The next digit, from `least` (0 or 1) to 9, all equally likely.
    pub fn digit(&mut self, least: u8) -> u8 {
        let choices = 10 - least;
        let even = 255 / choices * choices; // bytes from here on would favour the first digits
        loop {
            let byte = self.byte();
            if byte < even {
                return least + byte % choices;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_and_keys_do_not_share_tokens() {
        let token = |key: u8, for_use| {
            let mut out = Vec::new();
            write_token(&mut Key::derive(&[key; 32], for_use).derived(b"value"), &mut out);
            out
        };
        let all: Vec<_> = [Use::Text, Use::Number, Use::Uuid, Use::Bytea, Use::Digits]
            .into_iter()
            .flat_map(|for_use| [token(1, for_use), token(2, for_use)])
            .collect();
        for (index, one) in all.iter().enumerate() {
            assert_eq!(one.len(), TOKEN_BYTES);
            assert!(!all[..index].contains(one));
        }
        assert_eq!(token(1, Use::Text), token(1, Use::Text));
    }

    #[test]
    fn integers_and_digits_stay_in_range_and_reach_its_ends() {
        let key = Key::derive(&[7; 32], Use::Number);
        let mut seen = [false; 3];
        for value in 0_u32..64 {
            let drawn = integer(&mut key.derived(&value.to_be_bytes()), 3);
            seen[usize::try_from(drawn).unwrap() - 1] = true;
        }
        assert_eq!(seen, [true; 3]);
        for least in [0, 1] {
            let mut stream = DigitStream::new(key.derived(b""));
            let mut counts = [0; 10];
            (0..10_000).for_each(|_| counts[usize::from(stream.digit(least))] += 1);
            let (unused, used) = counts.split_at(usize::from(least));
            assert!(unused.iter().all(|count| *count == 0));
            assert!(used.iter().all(|count| (800..1300).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", Key::derive(&[7; 32], Use::Text)), "Key(..)");
    }
}
