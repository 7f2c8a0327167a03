//! Blocks: the unit that is hashed and written.
//!
//! Shape, little-endian: magic `LGBK` | content bytes u32 | first sequence u64 | last sequence u64 | entries u32 |
//! check 4 bytes | hash 32 bytes | content (whole entries).
//! The check is the start of BLAKE3(hash before ‖ the 28 bytes before it), so a length is known to be meant before it
//! sizes anything. The hash is BLAKE3(hash before ‖ the 32 bytes before it ‖ content). The hash before the first
//! block is the segment header's (`seal`).

use crate::entry::{ENTRY_HEADER_BYTES, PAYLOAD_BYTES_MAX, u32_at, u64_at};

/// A BLAKE3 hash.
pub(crate) type Hash = [u8; 32];

pub(crate) const MAGIC: [u8; 4] = *b"LGBK";
pub(crate) const BLOCK_HEADER_BYTES: usize = 64;
/// A block is closed before its content would pass this; only a single longer entry does.
pub(crate) const CONTENT_BYTES: usize = 1 << 20;
const CONTENT_BYTES_MAX: usize = ENTRY_HEADER_BYTES + PAYLOAD_BYTES_MAX;
const CHECKED_BYTES: usize = 28;
const HASHED_BYTES: usize = 32;

/// A block's header, whose check has been compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockHeader {
    pub(crate) content_bytes: u32,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) entries: u32,
    pub(crate) hash: Hash,
}

/// Fills in the header of a finished block (`block` is room for it, then the content) and returns its hash.
pub(crate) fn close(block: &mut [u8], first: u64, entries: u32, before: &Hash) -> Hash {
    let content_bytes = block.len() - BLOCK_HEADER_BYTES;
    assert!(
        entries > 0 && content_bytes <= CONTENT_BYTES_MAX,
        "the writer made a block outside its limits"
    );
    block[..4].copy_from_slice(&MAGIC);
    block[4..8].copy_from_slice(&(content_bytes as u32).to_le_bytes());
    block[8..16].copy_from_slice(&first.to_le_bytes());
    block[16..24].copy_from_slice(&(first + u64::from(entries) - 1).to_le_bytes());
    block[24..28].copy_from_slice(&entries.to_le_bytes());
    let check = check(&block[..CHECKED_BYTES], before);
    block[CHECKED_BYTES..HASHED_BYTES].copy_from_slice(&check);
    let hash = hash(&block[..HASHED_BYTES], &block[BLOCK_HEADER_BYTES..], before);
    block[HASHED_BYTES..BLOCK_HEADER_BYTES].copy_from_slice(&hash);
    hash
}

/// Reads a block's header; says what is wrong otherwise.
pub(crate) fn header(bytes: &[u8; BLOCK_HEADER_BYTES], before: &Hash) -> Result<BlockHeader, &'static str> {
    if bytes[..4] != MAGIC {
        return Err("no block or seal starts here");
    }
    if bytes[CHECKED_BYTES..HASHED_BYTES] != check(&bytes[..CHECKED_BYTES], before) {
        return Err("a block header was changed, or does not follow the block before it");
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(&bytes[HASHED_BYTES..]);
    let header = BlockHeader {
        content_bytes: u32_at(bytes, 4),
        first: u64_at(bytes, 8),
        last: u64_at(bytes, 16),
        entries: u32_at(bytes, 24),
        hash,
    };
    if header.content_bytes as usize > CONTENT_BYTES_MAX {
        return Err("a block is longer than any may be");
    }
    if header.entries == 0 || header.first.checked_add(u64::from(header.entries) - 1) != Some(header.last) {
        return Err("a block's sequence range does not fit its entries");
    }
    Ok(header)
}

/// Whether the content is what was written under this header.
pub(crate) fn holds(header_bytes: &[u8; BLOCK_HEADER_BYTES], content: &[u8], before: &Hash) -> bool {
    header_bytes[HASHED_BYTES..] == hash(&header_bytes[..HASHED_BYTES], content, before)
}

fn check(header: &[u8], before: &Hash) -> [u8; 4] {
    let hash = blake3::Hasher::new().update(before).update(header).finalize();
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

fn hash(header: &[u8], content: &[u8], before: &Hash) -> Hash {
    *blake3::Hasher::new()
        .update(before)
        .update(header)
        .update(content)
        .finalize()
        .as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_only_in_its_place() {
        let mut block = vec![0; BLOCK_HEADER_BYTES];
        block.extend_from_slice(b"content");
        let hash = close(&mut block, 5, 3, &[1; 32]);
        let (head, content) = block.split_first_chunk::<BLOCK_HEADER_BYTES>().unwrap();
        let read = header(head, &[1; 32]).unwrap();
        assert_eq!(
            (read.first, read.last, read.entries, read.content_bytes),
            (5, 7, 3, 7)
        );
        assert_eq!(read.hash, hash);
        assert!(holds(head, content, &[1; 32]));
        assert!(!holds(head, b"contenT", &[1; 32]));
        assert!(header(head, &[2; 32]).is_err());
        for at in 0..HASHED_BYTES {
            let mut changed = *head;
            changed[at] ^= 1;
            assert!(header(&changed, &[1; 32]).is_err(), "byte {at}");
        }
    }
}
