//! OAUTHBEARER: a token as OAuth clients present it.
//! Source: RFC 7628, section 3; RFC 6750, section 2.1 (the token's alphabet); PostgreSQL manual, "SASL Authentication".
//!
//! ```text
//! client   n,,^Aauth=Bearer TOKEN^A^A          other keys may stand beside `auth`; without a token it asks for the challenge
//! server   {"status":…,"openid-configuration":…,"scope":…}     only where the token was not taken
//! client   ^A                                                  it has read the challenge
//! ```

use std::fmt;

use serde_json::json;

use crate::Fault;

/// The mechanism's name.
pub const MECHANISM: &str = "OAUTHBEARER";
/// What a client answers to a challenge.
pub const READ: &[u8] = b"\x01";
const SEPARATOR: u8 = 1;

/// Reads the client's message: its token, or `None` where it asks what to get one from.
pub fn bearer(message: &[u8]) -> Result<Option<&str>, BearerError> {
    let text = std::str::from_utf8(message).map_err(|_| BearerError::Malformed)?;
    let mut parts = text.splitn(3, ',');
    let (Some(binding), Some(identity), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(BearerError::Malformed);
    };
    match binding {
        "n" | "y" => {}
        _ if binding.starts_with("p=") => return Err(BearerError::ChannelBinding),
        _ => return Err(BearerError::Malformed),
    }
    if !identity.is_empty() {
        return Err(BearerError::OtherIdentity);
    }
    let pairs = rest
        .strip_prefix(char::from(SEPARATOR))
        .and_then(|rest| rest.strip_suffix("\x01\x01"))
        .ok_or(BearerError::Malformed)?;
    let mut found = None;
    for pair in pairs.split(char::from(SEPARATOR)) {
        let (key, value) = pair.split_once('=').ok_or(BearerError::Malformed)?;
        let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphabetic());
        let is_value = value
            .bytes()
            .all(|byte| (b' '..=b'~').contains(&byte) || b"\t\r\n".contains(&byte));
        if !is_key || !is_value {
            return Err(BearerError::Malformed);
        }
        if key == "auth" && found.replace(value).is_some() {
            return Err(BearerError::Malformed);
        }
    }
    match found.ok_or(BearerError::Malformed)? {
        "" => Ok(None),
        value => token(value).map(Some),
    }
}

/// `Bearer TOKEN`; the scheme in any case.
fn token(value: &str) -> Result<&str, BearerError> {
    let (scheme, rest) = value.split_once(' ').ok_or(BearerError::Malformed)?;
    let token = rest.trim_start_matches(' ');
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    let body = token.trim_end_matches('=');
    if !scheme.eq_ignore_ascii_case("bearer") || body.is_empty() || !body.bytes().all(is_token) {
        return Err(BearerError::Malformed);
    }
    Ok(token)
}

/// Where a client gets a token that is taken here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthChallenge<'a> {
    /// The issuer's URL; its discovery document stands below it.
    pub issuer: &'a str,
    /// The scope to ask for, names between spaces.
    pub scope: &'a str,
}

impl OauthChallenge<'_> {
    /// The message for a client whose token was missing or not taken.
    pub fn message(&self) -> Vec<u8> {
        let issuer = self.issuer.trim_end_matches('/');
        let challenge = json!({
            "status": "invalid_token",
            "openid-configuration": format!("{issuer}/.well-known/openid-configuration"),
            "scope": self.scope,
        });
        challenge.to_string().into_bytes()
    }
}

/// Why a client's message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerError {
    /// It does not read.
    Malformed,
    /// It binds channels, which the mechanism cannot.
    ChannelBinding,
    /// It asks to act as somebody else.
    OtherIdentity,
}

impl BearerError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        Fault::Client
    }

    /// What the client may read.
    pub fn public(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed OAUTHBEARER message",
            Self::ChannelBinding => "OAUTHBEARER has no channel binding",
            Self::OtherIdentity => "OAUTHBEARER authorization identities are not supported",
        }
    }
}

impl fmt::Display for BearerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.public())
    }
}

impl std::error::Error for BearerError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_read_as_clients_send_it() {
        let libpq = b"n,,\x01auth=Bearer abc.DEF-1_2~3+/==\x01\x01";
        assert_eq!(bearer(libpq), Ok(Some("abc.DEF-1_2~3+/==")));
        let rfc = b"n,,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
        assert_eq!(
            bearer(rfc),
            Ok(Some("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="))
        );
        assert_eq!(bearer(b"y,,\x01auth=bEaReR   x\x01\x01"), Ok(Some("x")));
        assert_eq!(
            bearer(b"n,,\x01auth=\x01\x01"),
            Ok(None),
            "it asks for the challenge"
        );
    }

    #[test]
    fn what_is_no_such_message_is_refused() {
        for (message, error) in [
            ("", BearerError::Malformed),
            ("n,,", BearerError::Malformed),
            ("n,,\x01\x01", BearerError::Malformed),
            ("n,,\x01auth=Bearer x\x01", BearerError::Malformed),
            ("n,,auth=Bearer x\x01\x01", BearerError::Malformed),
            ("n,,\x01auth=Bearer x\x01\x01more", BearerError::Malformed),
            ("n,,\x01auth=Basic x\x01\x01", BearerError::Malformed),
            ("n,,\x01auth=Bearer\x01\x01", BearerError::Malformed),
            ("n,,\x01auth=Bearer \x01\x01", BearerError::Malformed),
            ("n,,\x01auth=Bearer a b\x01\x01", BearerError::Malformed),
            ("n,,\x01auth=Bearer a=b\x01\x01", BearerError::Malformed),
            (
                "n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01",
                BearerError::Malformed,
            ),
            ("n,,\x01host=x\x01\x01", BearerError::Malformed),
            ("n,,\x01a1=x\x01auth=Bearer a\x01\x01", BearerError::Malformed),
            ("n,a=admin,\x01auth=Bearer a\x01\x01", BearerError::OtherIdentity),
            (
                "p=tls-server-end-point,,\x01auth=Bearer a\x01\x01",
                BearerError::ChannelBinding,
            ),
            ("x,,\x01auth=Bearer a\x01\x01", BearerError::Malformed),
        ] {
            assert_eq!(bearer(message.as_bytes()), Err(error), "{message:?}");
        }
        assert_eq!(
            bearer(b"n,,\x01auth=Bearer \xff\x01\x01"),
            Err(BearerError::Malformed)
        );
    }

    #[test]
    fn a_challenge_names_the_discovery_document() {
        let challenge = OauthChallenge {
            issuer: "https://idp.example/realm/",
            scope: "openid \"db\"",
        };
        let read: serde_json::Value = serde_json::from_slice(&challenge.message()).unwrap();
        assert_eq!(
            read["openid-configuration"],
            "https://idp.example/realm/.well-known/openid-configuration"
        );
        assert_eq!(
            (&read["status"], &read["scope"]),
            (&"invalid_token".into(), &"openid \"db\"".into())
        );
    }

    proptest! {
        #[test]
        fn arbitrary_messages_never_panic(bytes: Vec<u8>, text in "[ny],,\x01?(auth=Bearer [a-z=]{0,4}\x01)?\x01?") {
            let _ = bearer(&bytes);
            if let Ok(Some(token)) = bearer(text.as_bytes()) {
                prop_assert!(text.contains(token) && !token.is_empty());
            }
        }
    }
}
