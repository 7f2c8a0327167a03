//! The classes of a block in two 32-byte registers.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_cmpeq_epi8,
    _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi16, _mm256_sub_epi8,
};

use super::entity::Detectors;
use super::filter::{self, Candidates};
use super::masks::{BLOCK_BYTES, CHUNK_BLOCKS, Classes, LEAD, Masks, Needs, READ_BYTES, TOKENS, each_block};

const HALF_BYTES: usize = BLOCK_BYTES / 2;

/// The classes of each block of `bytes`.
#[target_feature(enable = "avx2")]
pub(crate) fn classify(needs: Needs, bytes: &[u8], blocks: usize, classes: &mut Classes) {
    match needs {
        Needs::Personal => each_block(Needs::Personal, bytes, blocks, classes, |block| {
            one::<false>(block)
        }),
        Needs::All => each_block(Needs::All, bytes, blocks, classes, |block| one::<true>(block)),
    }
}

/// [`filter::candidates`] in the registers of this level.
#[target_feature(enable = "avx2")]
pub(crate) fn candidates(
    wanted: Detectors,
    classes: &Classes,
    starts: &[u64; CHUNK_BLOCKS],
    blocks: usize,
    found: &mut Candidates,
) {
    filter::candidates(wanted, classes, starts, blocks, found);
}

#[inline]
#[target_feature(enable = "avx2")]
fn one<const ALL: bool>(block: &[u8; READ_BYTES]) -> Masks {
    let halves = [load::<0>(block), load::<HALF_BYTES>(block)];
    let lower = halves.map(|half| _mm256_or_si256(half, _mm256_set1_epi8(0x20)));
    let mut masks = Masks {
        digit: within(halves, b'0', b'9'),
        letter: within(lower, b'a', b'z'),
        space: equal(halves, b' '),
        hyphen: equal(halves, b'-'),
        at: equal(halves, b'@'),
        plus: equal(halves, b'+'),
        mark: within(halves, b'(', b'/'),
        zero: equal(halves, b'0'),
        open: equal(halves, b'('),
        percent: equal(halves, b'%'),
        lead: equal(lower, LEAD),
        ..Masks::default()
    };
    if ALL {
        masks.dot = equal(halves, b'.');
        masks.colon = equal(halves, b':');
        masks.sign = within(halves, b'=', b'>');
        let first = groups([load::<0>(block), load::<HALF_BYTES>(block)], 0);
        let second = groups([load::<1>(block), load::<{ HALF_BYTES + 1 }>(block)], 1);
        let third = groups([load::<2>(block), load::<{ HALF_BYTES + 2 }>(block)], 2);
        let none = _mm256_setzero_si256();
        let is_none = [0, 1].map(|half| {
            let groups = _mm256_and_si256(_mm256_and_si256(first[half], second[half]), third[half]);
            _mm256_cmpeq_epi8(groups, none)
        });
        masks.token = !bits(is_none);
    }
    masks
}

/// 32 bytes of a block from `AT` on.
#[inline]
#[target_feature(enable = "avx2")]
fn load<const AT: usize>(block: &[u8; READ_BYTES]) -> __m256i {
    const { assert!(AT + HALF_BYTES <= READ_BYTES, "a load stays within its block") };
    // SAFETY: `AT + 32` bytes of `block` are initialised, as asserted above; loadu asks for no alignment.
    unsafe { _mm256_loadu_si256(block.as_ptr().add(AT).cast()) }
}

/// One bit per byte from the highest bit of each.
#[inline]
#[target_feature(enable = "avx2")]
fn bits(halves: [__m256i; 2]) -> u64 {
    let [low, high] = halves.map(|half| u64::from(_mm256_movemask_epi8(half) as u32));
    low | high << HALF_BYTES
}

#[inline]
#[target_feature(enable = "avx2")]
fn equal(halves: [__m256i; 2], byte: u8) -> u64 {
    let byte = _mm256_set1_epi8(byte as i8);
    bits(halves.map(|half| _mm256_cmpeq_epi8(half, byte)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn within(halves: [__m256i; 2], first: u8, last: u8) -> u64 {
    let (first, reach) = (
        _mm256_set1_epi8(first as i8),
        _mm256_set1_epi8((last - first) as i8),
    );
    bits(halves.map(|half| {
        let from_first = _mm256_sub_epi8(half, first); // wraps, so bytes below `first` become large
        _mm256_cmpeq_epi8(_mm256_min_epu8(from_first, reach), from_first)
    }))
}

/// The token groups that each byte admits in one place.
#[inline]
#[target_feature(enable = "avx2")]
fn groups(halves: [__m256i; 2], place: usize) -> [__m256i; 2] {
    let (low, high) = (table(&TOKENS[place].0), table(&TOKENS[place].1));
    let nibble = _mm256_set1_epi8(15);
    halves.map(|half| {
        let by_low = _mm256_shuffle_epi8(low, _mm256_and_si256(half, nibble));
        let by_high = _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16::<4>(half), nibble));
        _mm256_and_si256(by_low, by_high)
    })
}

#[inline]
#[target_feature(enable = "avx2")]
fn table(bytes: &[u8; 16]) -> __m256i {
    // SAFETY: `bytes` are 16 initialised bytes; loadu asks for no alignment.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}
