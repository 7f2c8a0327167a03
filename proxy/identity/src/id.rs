//! Names made of random bytes: lease ids, session ids, hold ids and lease secrets.
//!
//! Ids are lower-case base32 (RFC 4648, section 6) so that they survive DNS labels, file names and being read out;
//! secrets are base64url (section 5). The random bytes are the caller's.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::{Zeroize, Zeroizing};

use crate::LeaseId;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Base32 characters in a lease's or session's id (80 bits).
const ID_CHARS: usize = 16;
/// Base32 characters in a hold's id (50 bits; holds are few and short-lived, and people type them).
const HOLD_CHARS: usize = 10;

/// The first `count` base32 characters of `bytes`.
fn base32(prefix: &str, bytes: &[u8], count: usize) -> String {
    let bit = |at: usize| {
        bytes
            .get(at / 8)
            .map_or(0, |byte| usize::from(byte >> (7 - at % 8) & 1))
    };
    let mut text = String::with_capacity(prefix.len() + count);
    text.push_str(prefix);
    for char_index in 0..count {
        let index = (0..5).fold(0, |index, offset| index << 1 | bit(char_index * 5 + offset));
        text.push(char::from(ALPHABET[index]));
    }
    text
}

fn is_id(text: &str, prefix: &str, count: usize) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == count && rest.bytes().all(|byte| ALPHABET.contains(&byte)))
}

/// A session's id: `s_` and 16 base32 characters.
pub fn session_id(random: [u8; 10]) -> String {
    base32("s_", &random, ID_CHARS)
}

/// A hold's id: `h_` and 10 base32 characters (the last six random bits are not used).
pub fn hold_id(random: [u8; 7]) -> String {
    base32("h_", &random, HOLD_CHARS)
}

/// Whether `text` has the shape of a hold's id.
pub fn is_hold_id(text: &str) -> bool {
    is_id(text, "h_", HOLD_CHARS)
}

impl LeaseId {
    /// `lg_` and 16 base32 characters.
    pub fn from_random(random: [u8; 10]) -> Self {
        Self(base32("lg_", &random, ID_CHARS))
    }

    /// The id that `text` spells, if it has the shape of one.
    pub fn parse(text: &str) -> Option<Self> {
        is_id(text, "lg_", ID_CHARS).then(|| Self(text.to_owned()))
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for LeaseId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The password that goes with a lease's user name: 32 base64url characters, overwritten when dropped.
///
/// Neither `Display` nor serde: whoever shows it must ask for it by [`LeaseSecret::expose`].
#[derive(Clone)]
pub struct LeaseSecret(Zeroizing<String>);

impl LeaseSecret {
    /// Renders 192 random bits.
    pub fn from_random(mut random: [u8; 24]) -> Self {
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(random));
        random.zeroize();
        Self(text)
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LeaseSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_rfc_4648_base32_in_lower_case() {
        assert_eq!(base32("", b"foobar\0\0\0\0", 10), "mzxw6ytboi"); // RFC 4648, section 10
        assert_eq!(LeaseId::from_random([0xff; 10]).as_str(), "lg_7777777777777777");
        assert_eq!(session_id([0; 10]), "s_aaaaaaaaaaaaaaaa");
        assert_eq!(hold_id([0; 7]), "h_aaaaaaaaaa");
        assert!(is_hold_id(&hold_id([7; 7])));
    }

    #[test]
    fn an_id_must_have_its_shape() {
        let id = LeaseId::from_random([0x5a; 10]);
        assert_eq!(LeaseId::parse(id.as_str()), Some(id));
        for wrong in [
            "",
            "lg_",
            "lg_AAAAAAAAAAAAAAAA",
            "lg_aaaaaaaaaaaaaaa1",
            "s_aaaaaaaaaaaaaaaa",
            "lg_aaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(LeaseId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_not_in_its_debug_text() {
        let secret = LeaseSecret::from_random([3; 24]);
        assert_eq!(secret.expose().len(), 32);
        assert!(!format!("{secret:?}").contains(secret.expose()));
    }
}
