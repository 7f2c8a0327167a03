//! The key that pseudonyms and format-preserving digits are derived with.
//!
//! Shape: 32 random bytes in `pseudonym.key` (mode 0600) in the state directory. With the same key equal values have equal
//! pseudonyms, in every session and on every appliance; losing it changes all of them, and whoever reads it can try
//! values out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// A key.
pub type PseudonymKey = Zeroizing<[u8; 32]>;

/// Reads the key, or makes it of `random` if there is none. A key that others can read is refused.
pub fn load_or_create(path: &Path, random: &PseudonymKey) -> io::Result<PseudonymKey> {
    match load(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        loaded => return loaded,
    }
    // Linked into place when complete: a crash leaves no half key, and of two creators one wins.
    let mut unfinished = path.as_os_str().to_owned();
    let name = blake3::hash(random.as_ref()).to_hex();
    unfinished.push(format!(".{}.tmp", &name[..16]));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    let linked = file
        .write_all(random.as_ref())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&unfinished, path));
    fs::remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(directory)?.sync_all()?;
    }
    load(path)
}

fn load(path: &Path) -> io::Result<PseudonymKey> {
    let wrong =
        |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    let mut file = File::open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        return Err(wrong("the key of pseudonyms is open to others; set mode 0600"));
    }
    let mut key = PseudonymKey::default();
    let whole = file.read_exact(key.as_mut()).and_then(|()| file.read(&mut [0]));
    match whole {
        Ok(0) => Ok(key),
        Ok(_) => Err(wrong("the key of pseudonyms is longer than 32 bytes")),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(wrong("the key of pseudonyms is shorter than 32 bytes"))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_from_others() {
        let home = std::env::temp_dir().join(format!("linegate-pseudonym-{}", std::process::id()));
        fs::create_dir_all(&home).expect("a directory of our own");
        let path = home.join("pseudonym.key");
        let make = |byte| load_or_create(&path, &Zeroizing::new([byte; 32]));
        assert_eq!(*make(1).expect("a new key"), [1; 32]);
        assert_eq!(*make(2).expect("the same key"), [1; 32], "the first one stays");
        assert_eq!(
            fs::read_dir(&home).expect("ours").count(),
            1,
            "nothing else is left"
        );
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
        mode(0o640);
        assert!(make(1).is_err(), "others can read it");
        mode(0o600);
        for wrong in [31, 33] {
            fs::write(&path, vec![7; wrong]).expect("ours");
            assert!(make(1).is_err(), "{wrong} bytes");
        }
        fs::remove_dir_all(&home).expect("ours");
    }
}
