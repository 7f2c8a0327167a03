//! What is fixed and signed about a segment: its header, its seal, and the stream's `HEAD`; and the key that signs.
//!
//! Source of the signature: Ed25519, RFC 8032. Shapes, little-endian:
//! - segment header: magic `LGSEG001` | number u64 | first sequence u64 | opened, unix ms u64 | hash of the seal before
//!   (zero for the first) 32 | public key 32 | stream name 64, zero-padded | BLAKE3 of all that 32.
//! - seal: magic `LGSL` | reserved u32 (0) | number u64 | blocks u64 | first sequence u64 | last sequence u64 | sealed,
//!   unix ms u64 | hash of the last block 32 | signature 64. The chain of hashes starts at the header, so the signature
//!   covers the whole segment.
//! - `HEAD`: magic `LGHEAD01` | number u64 | sealed u64 (0 or 1) | sequence u64 | hash 32 (the seal's, or the header's
//!   while open) | signature 64, over the stream's name as well.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::block::Hash;
use crate::entry::u64_at;

pub(crate) const SEGMENT_HEADER_BYTES: usize = 192;
pub(crate) const SEAL_BYTES: usize = 144;
pub(crate) const SEAL_MAGIC: [u8; 4] = *b"LGSL";
pub(crate) const STREAM_BYTES_MAX: usize = 63;
const SEGMENT_MAGIC: [u8; 8] = *b"LGSEG001";
const HEAD_MAGIC: [u8; 8] = *b"LGHEAD01";
const HEAD_BYTES: usize = 128;
const SIGNATURE_BYTES: usize = 64;
const SEAL_DOMAIN: &[u8] = b"linegate segment seal 1\0";
const HEAD_DOMAIN: &[u8] = b"linegate stream head 1\0";

/// An Ed25519 public key.
pub(crate) type PublicKey = [u8; 32];

/// The key that seals segments. Clones share it.
#[derive(Clone)]
pub struct SigningKey(Arc<Ed25519KeyPair>);

impl SigningKey {
    /// Reads the key file, or makes it from `random` if there is none (mode 0600, hex seed). A key that others can read
    /// is refused, since whoever reads it can rewrite the past.
    pub fn load_or_create(path: &Path, random: [u8; 32]) -> io::Result<Self> {
        match Self::load(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            loaded => return loaded,
        }
        // Linked into place when complete: a crash leaves no half key, and of two creators one wins.
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(format!(
            ".{}.tmp",
            hex::encode(&blake3::hash(&random).as_bytes()[..8])
        ));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        let written = writeln!(file, "{}", hex::encode(random))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::hard_link(&unfinished, path));
        fs::remove_file(&unfinished)?;
        match written {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_directory(path.parent().filter(|parent| !parent.as_os_str().is_empty()))?,
        }
        Self::load(path)
    }

    fn load(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            return Err(invalid(format!(
                "{}: the signing key is open to others; set mode 0600",
                path.display()
            )));
        }
        let mut text = String::new();
        file.take(256).read_to_string(&mut text)?;
        let mut seed = [0; 32];
        hex::decode_to_slice(text.trim(), &mut seed)
            .map_err(|_| invalid(format!("{}: not a signing key (64 hex digits)", path.display())))?;
        Self::from_seed(&seed)
    }

    /// The key of a seed.
    pub fn from_seed(seed: &[u8; 32]) -> io::Result<Self> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| invalid("not an Ed25519 seed".into()))?;
        Ok(Self(Arc::new(pair)))
    }

    /// The public key, hex; what `verify` is given.
    pub fn public_hex(&self) -> String {
        hex::encode(self.public())
    }

    pub(crate) fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        key
    }

    fn sign(&self, domain: &[u8], parts: &[&[u8]]) -> [u8; SIGNATURE_BYTES] {
        let mut signature = [0; SIGNATURE_BYTES];
        signature.copy_from_slice(self.0.sign(&message(domain, parts)).as_ref());
        signature
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey(public {})", self.public_hex())
    }
}

fn message(domain: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    [domain]
        .iter()
        .chain(parts)
        .flat_map(|part| part.iter().copied())
        .collect()
}

fn is_signed(key: &PublicKey, domain: &[u8], parts: &[&[u8]], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key)
        .verify(&message(domain, parts), signature)
        .is_ok()
}

/// A segment's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u64,
    pub(crate) first: u64,
    pub(crate) opened_at: u64,
    pub(crate) seal_before: Hash,
    pub(crate) key: PublicKey,
    pub(crate) stream: String,
}

impl SegmentHeader {
    /// The bytes, and the hash that the first block follows.
    pub(crate) fn encode(&self) -> ([u8; SEGMENT_HEADER_BYTES], Hash) {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.opened_at.to_le_bytes());
        bytes[32..64].copy_from_slice(&self.seal_before);
        bytes[64..96].copy_from_slice(&self.key);
        assert!(
            self.stream.len() <= STREAM_BYTES_MAX,
            "stream names are checked when a recorder opens"
        );
        bytes[96..96 + self.stream.len()].copy_from_slice(self.stream.as_bytes());
        let hash = *blake3::hash(&bytes[..160]).as_bytes();
        bytes[160..].copy_from_slice(&hash);
        (bytes, hash)
    }

    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<(Self, Hash), &'static str> {
        if bytes[..8] != SEGMENT_MAGIC {
            return Err("not a segment");
        }
        if bytes[160..] != *blake3::hash(&bytes[..160]).as_bytes() {
            return Err("the segment header was changed");
        }
        let name = &bytes[96..96 + bytes[96..160].iter().take_while(|byte| **byte != 0).count()];
        let stream = std::str::from_utf8(name).ok().filter(|name| is_stream_name(name));
        let header = Self {
            number: u64_at(bytes, 8),
            first: u64_at(bytes, 16),
            opened_at: u64_at(bytes, 24),
            seal_before: array(&bytes[32..64]),
            key: array(&bytes[64..96]),
            stream: stream
                .ok_or("the segment header's stream name is malformed")?
                .to_owned(),
        };
        Ok((header, array(&bytes[160..])))
    }
}

/// What a seal says about its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) number: u64,
    pub(crate) blocks: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) sealed_at: u64,
    pub(crate) chain: Hash,
}

impl Seal {
    /// The bytes, and the hash that the next segment's header names.
    pub(crate) fn encode(&self, key: &SigningKey) -> ([u8; SEAL_BYTES], Hash) {
        let mut bytes = [0; SEAL_BYTES];
        bytes[..4].copy_from_slice(&SEAL_MAGIC);
        let numbers = [self.number, self.blocks, self.first, self.last, self.sealed_at];
        for (place, number) in bytes[8..48].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[48..80].copy_from_slice(&self.chain);
        let signature = key.sign(SEAL_DOMAIN, &[&bytes[..80]]);
        bytes[80..].copy_from_slice(&signature);
        (bytes, *blake3::hash(&bytes).as_bytes())
    }

    pub(crate) fn decode(bytes: &[u8; SEAL_BYTES]) -> Option<(Self, Hash)> {
        if bytes[..4] != SEAL_MAGIC || bytes[4..8] != [0; 4] {
            return None;
        }
        let seal = Self {
            number: u64_at(bytes, 8),
            blocks: u64_at(bytes, 16),
            first: u64_at(bytes, 24),
            last: u64_at(bytes, 32),
            sealed_at: u64_at(bytes, 40),
            chain: array(&bytes[48..80]),
        };
        Some((seal, *blake3::hash(bytes).as_bytes()))
    }

    /// Whether the holder of the key sealed this.
    pub(crate) fn is_signed(bytes: &[u8; SEAL_BYTES], key: &PublicKey) -> bool {
        is_signed(key, SEAL_DOMAIN, &[&bytes[..80]], &bytes[80..])
    }
}

/// The newest segment of a stream, as its `HEAD` file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) number: u64,
    pub(crate) sealed: bool,
    /// The segment's last sequence when sealed, its first while open.
    pub(crate) sequence: u64,
    /// The seal's hash when sealed, the header's while open.
    pub(crate) hash: Hash,
}

impl Head {
    pub(crate) const FILE: &'static str = "HEAD";

    pub(crate) fn encode(&self, stream: &str, key: &SigningKey) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&HEAD_MAGIC);
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&u64::from(self.sealed).to_le_bytes());
        bytes[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[32..64].copy_from_slice(&self.hash);
        let signature = key.sign(HEAD_DOMAIN, &[&bytes[..64], stream.as_bytes()]);
        bytes[64..].copy_from_slice(&signature);
        bytes
    }

    /// The head that the holder of the key signed for this stream.
    pub(crate) fn decode(bytes: &[u8], stream: &str, key: &PublicKey) -> Option<Self> {
        let bytes: &[u8; HEAD_BYTES] = bytes.try_into().ok()?;
        let well_formed = bytes[..8] == HEAD_MAGIC && u64_at(bytes, 16) <= 1;
        if !well_formed || !is_signed(key, HEAD_DOMAIN, &[&bytes[..64], stream.as_bytes()], &bytes[64..]) {
            return None;
        }
        let sealed = u64_at(bytes, 16) == 1;
        Some(Self {
            number: u64_at(bytes, 8),
            sealed,
            sequence: u64_at(bytes, 24),
            hash: array(&bytes[32..64]),
        })
    }
}

/// Whether a directory of this name can be a stream: 1–63 of `a-z`, `0-9`, `-`, `_`, not starting with a sign.
pub(crate) fn is_stream_name(name: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let starts = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    starts && name.len() <= STREAM_BYTES_MAX && name.bytes().all(allowed)
}

/// Makes a new or renamed file's name durable.
pub(crate) fn sync_directory(directory: Option<&Path>) -> io::Result<()> {
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

pub(crate) fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn array(bytes: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    array.copy_from_slice(bytes); // callers pass 32 bytes of a fixed shape
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_private() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("recording.key");
        let made = SigningKey::load_or_create(&path, [3; 32]).unwrap();
        let again = SigningKey::load_or_create(&path, [4; 32]).unwrap();
        assert_eq!(made.public_hex(), again.public_hex());
        assert_eq!(made.public_hex().len(), 64);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(home.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            SigningKey::load_or_create(&path, [4; 32]).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert_eq!(
            SigningKey::load_or_create(&path, [4; 32]).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        assert!(!format!("{made:?}").contains(&hex::encode([3; 32])));
    }

    #[test]
    fn a_head_is_bound_to_its_stream_and_key() {
        let (key, other) = (
            SigningKey::from_seed(&[1; 32]).unwrap(),
            SigningKey::from_seed(&[2; 32]).unwrap(),
        );
        let head = Head {
            number: 4,
            sealed: true,
            sequence: 99,
            hash: [7; 32],
        };
        let bytes = head.encode("core-0", &key);
        assert_eq!(Head::decode(&bytes, "core-0", &key.public()), Some(head));
        assert_eq!(Head::decode(&bytes, "core-1", &key.public()), None);
        assert_eq!(Head::decode(&bytes, "core-0", &other.public()), None);
        for at in 0..bytes.len() {
            let mut changed = bytes;
            changed[at] ^= 0x10;
            assert_eq!(Head::decode(&changed, "core-0", &key.public()), None, "byte {at}");
        }
    }

    #[test]
    fn headers_come_back() {
        let header = SegmentHeader {
            number: 3,
            first: 10,
            opened_at: 5,
            seal_before: [9; 32],
            key: [8; 32],
            stream: "core-0".into(),
        };
        let (bytes, hash) = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok((header, hash)));
        for at in 0..bytes.len() {
            let mut changed = bytes;
            changed[at] ^= 1;
            assert!(SegmentHeader::decode(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn stream_names() {
        assert!(is_stream_name("core-0") && is_stream_name("a"));
        for wrong in ["", "..", "a/b", "-x", "Core", "a.b", &"x".repeat(64)] {
            assert!(!is_stream_name(wrong), "{wrong:?}");
        }
    }
}
