//! Passwords of targets: where they are, and what they are once loaded.
//!
//! A loaded secret is overwritten when it is dropped, is never printed, and lives in one buffer that does not grow
//! (growing would leave a copy behind).

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use zeroize::{Zeroize, Zeroizing};

/// The longest secret, bytes.
pub const SECRET_BYTES_MAX: usize = 64 << 10;

/// Where a secret is kept. It is read again for every use that wants a fresh one, so it can rotate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// `file:/path`: the file's text without the newline at its end.
    File(PathBuf),
    /// `env:NAME`: a variable of this process.
    Env(String),
    /// `credential:NAME`: a file of systemd's `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

impl SecretSource {
    /// Reads the secret and drops the newlines at its end.
    ///
    /// # Errors
    /// When it is not there, is empty, is longer than [`SECRET_BYTES_MAX`] or holds a zero byte. The error names the
    /// source, never the secret.
    pub fn load(&self) -> io::Result<Secret> {
        let bytes = match self {
            Self::File(path) => read_bounded(path),
            Self::Env(name) => match std::env::var_os(name) {
                Some(value) => Ok(Zeroizing::new(OsString::into_vec(value))),
                None => Err(io::Error::new(io::ErrorKind::NotFound, "the variable is not set")),
            },
            Self::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(directory) => read_bounded(&Path::new(&directory).join(name)),
                None => Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    "systemd gave no credentials directory",
                )),
            },
        };
        bytes
            .and_then(checked)
            .map_err(|error| io::Error::new(error.kind(), format!("secret {self}: {error}")))
    }
}

impl fmt::Display for SecretSource {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(vec![0; SECRET_BYTES_MAX + 1]);
    let mut file = File::open(path)?;
    let mut count = 0;
    while count < buffer.len() {
        match file.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(count);
    Ok(buffer)
}

fn checked(bytes: Zeroizing<Vec<u8>>) -> io::Result<Secret> {
    let invalid = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    let end = bytes
        .iter()
        .rposition(|byte| !matches!(byte, b'\n' | b'\r'))
        .map_or(0, |last| last + 1);
    match &bytes[..end] {
        [] => invalid("it is empty"),
        secret if secret.len() > SECRET_BYTES_MAX => invalid("it is too long"),
        secret if secret.contains(&0) => invalid("it holds a zero byte"),
        secret => Ok(Secret::new(secret)),
    }
}

/// A secret in memory. Printing it prints nothing of it; dropping it overwrites it.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Copies a secret into a buffer of its own; the caller's copy is the caller's to overwrite.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(bytes: &[u8]) -> (tempfile::TempDir, SecretSource) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("prod");
        std::fs::write(&path, bytes).unwrap();
        (directory, SecretSource::File(path))
    }

    #[test]
    fn a_file_loses_its_last_newlines_only() {
        for (bytes, secret) in [
            ("s3cret\n", "s3cret"),
            ("a\r\n", "a"),
            (" a\nb ", " a\nb "),
            ("a\n\n", "a"),
        ] {
            let (_directory, source) = file_with(bytes.as_bytes());
            assert_eq!(source.load().unwrap().expose(), secret.as_bytes());
        }
    }

    #[test]
    fn what_cannot_be_a_secret_is_an_error_that_names_the_source() {
        for (bytes, what) in [
            (b"\n".as_slice(), "it is empty"),
            (b"a\0b".as_slice(), "zero byte"),
            (&vec![b'a'; SECRET_BYTES_MAX + 1], "too long"),
        ] {
            let (_directory, source) = file_with(bytes);
            let error = source.load().unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("secret file:/"), "{error}");
        }
        let (_directory, source) = file_with(&vec![b'a'; SECRET_BYTES_MAX]);
        assert_eq!(source.load().unwrap().expose().len(), SECRET_BYTES_MAX);
        let absent = SecretSource::Env("LINEGATE_TEST_NO_SUCH_VARIABLE".into());
        assert_eq!(absent.load().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_environment_variable_is_a_source() {
        let path = std::env::var("PATH").unwrap();
        assert_eq!(
            SecretSource::Env("PATH".into()).load().unwrap().expose(),
            path.as_bytes()
        );
    }

    #[test]
    fn debug_prints_nothing_of_it() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter2")), "Secret(…)");
    }
}
