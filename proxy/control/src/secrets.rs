//! The key that signs lease tokens, the secrets of new leases, and the check of a secret that someone presents.
//!
//! The key is 32 random bytes in `token.key` (mode 0600); losing it ends every token and no lease. Randomness is the
//! kernel's (getrandom(2)).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use linegate_identity::scram::{ITERATIONS, SALT_BYTES};
use linegate_identity::{LeaseGrant, LeaseId, LeaseSecret, ScramVerifier, TokenError, TokenKey};
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

/// A file name that no finished key has; a crash between its creation and its renaming leaves it to be replaced.
const UNFINISHED: &str = "token.key.new";

/// A new lease's id, secret and verifier.
pub struct Fresh {
    /// Id and user name.
    pub id: LeaseId,
    /// Password.
    pub secret: LeaseSecret,
    /// What data planes check it with.
    pub verifier: ScramVerifier,
}

/// The signing key.
pub struct Secrets {
    key: TokenKey,
    public_hex: String,
}

/// Random bytes of the kernel, or why there are none.
fn random<const BYTES: usize>() -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    let mut filled = 0;
    while filled < BYTES {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

impl Secrets {
    /// Reads `token.key` in the state directory, or makes one.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join("token.key");
        let seed = match File::open(&path) {
            Ok(file) => read_key(file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(state_dir, &path)?,
            Err(error) => return Err(error),
        };
        let key = TokenKey::from_random(&seed).map_err(io::Error::other)?;
        Ok(Self {
            public_hex: key.public_hex(),
            key,
        })
    }

    /// What data planes check tokens with.
    pub fn public_key_hex(&self) -> String {
        self.public_hex.clone()
    }

    /// Everything random about a new lease. Takes a millisecond or two of stretching.
    pub fn fresh(&self) -> io::Result<Fresh> {
        let secret = LeaseSecret::from_random(random()?);
        let salt: [u8; SALT_BYTES] = random()?;
        let verifier = ScramVerifier::derive(secret.expose().as_bytes(), &salt, ITERATIONS);
        Ok(Fresh {
            id: LeaseId::from_random(random()?),
            secret,
            verifier,
        })
    }

    /// The token of a lease.
    pub fn token(&self, grant: &LeaseGrant) -> io::Result<String> {
        let next_key = Zeroizing::new(random()?);
        self.key
            .mint(grant, &next_key)
            .map_err(|error: TokenError| io::Error::other(error))
    }
}

/// Whether `secret` is the one that the verifier was made of. Both sides of the comparison are hashes of a stretched
/// secret, so its time tells nothing that can be used.
pub fn is_secret_of(secret: &str, verifier: &ScramVerifier) -> bool {
    STANDARD.decode(&verifier.salt).is_ok_and(|salt| {
        ScramVerifier::derive(secret.as_bytes(), &salt, verifier.iterations).stored_key == verifier.stored_key
    })
}

fn read_key(mut file: File) -> io::Result<Zeroizing<[u8; 32]>> {
    if file.metadata()?.mode() & 0o077 != 0 {
        return Err(io::Error::other(
            "token.key can be read by others; make its mode 0600 and replace it",
        ));
    }
    let mut seed = Zeroizing::new([0; 32]);
    file.read_exact(seed.as_mut())
        .and_then(|()| match file.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        })
        .map_err(|_| io::Error::other("token.key does not hold 32 bytes"))?;
    Ok(seed)
}

fn make_key(state_dir: &Path, path: &Path) -> io::Result<Zeroizing<[u8; 32]>> {
    let seed = Zeroizing::new(random()?);
    let unfinished = state_dir.join(UNFINISHED);
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(seed.as_ref())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    File::open(state_dir)?.sync_all()?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_stays_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Secrets::open(dir.path()).expect("made").public_key_hex();
        assert_eq!(Secrets::open(dir.path()).expect("read").public_key_hex(), first);
        let path = dir.path().join("token.key");
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        std::fs::write(&path, [7; 31]).expect("writable");
        assert!(Secrets::open(dir.path()).is_err(), "a short key is not a key");
        std::fs::write(&path, [7; 33]).expect("writable");
        assert!(Secrets::open(dir.path()).is_err(), "a long key is not a key");
    }

    #[test]
    fn a_secret_opens_its_own_verifier_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let secrets = Secrets::open(dir.path()).expect("made");
        let (one, two) = (secrets.fresh().expect("random"), secrets.fresh().expect("random"));
        assert!(is_secret_of(one.secret.expose(), &one.verifier));
        assert!(!is_secret_of(two.secret.expose(), &one.verifier));
        assert!(!is_secret_of("", &one.verifier));
        assert_ne!(one.id, two.id);
    }
}
