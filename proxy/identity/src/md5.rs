//! The answer to AuthenticationMD5Password.
//! Source: PostgreSQL manual, "Message Flow", "Start-up": `md5` and the hex digest of the hex digest of password and
//! user name, and the salt. Kept for servers that still store passwords so; SCRAM is preferred wherever offered.

use ::md5::{Digest as _, Md5};
use zeroize::Zeroizing;

/// The PasswordMessage's text, without its terminator.
pub fn md5_password(user: &str, password: &str, salt: [u8; 4]) -> Zeroizing<String> {
    let inner = Zeroizing::new(hex::encode(
        Md5::new()
            .chain_update(password.as_bytes())
            .chain_update(user.as_bytes())
            .finalize(),
    ));
    let outer = Md5::new()
        .chain_update(inner.as_bytes())
        .chain_update(salt)
        .finalize();
    Zeroizing::new(format!("md5{}", hex::encode(outer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_rfc_1321s() {
        let digest = |text: &str| hex::encode(Md5::digest(text.as_bytes()));
        assert_eq!(digest(""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(digest("message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
    }

    #[test]
    fn password_user_and_salt_go_in_in_that_order() {
        // printf '%s' secretapp | md5sum; then its hex digits and the bytes 01 02 03 04 | md5sum
        let answer = md5_password("app", "secret", [1, 2, 3, 4]);
        assert_eq!(answer.as_str(), "md5911f527656472583a006e7727877b33e");
    }
}
