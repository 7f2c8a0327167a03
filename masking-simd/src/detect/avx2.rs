//! The classes of a block in two 32-byte registers.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_cmpeq_epi8,
    _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi16, _mm256_sub_epi8,
};

use super::level::level_functions;
use super::masks::{BLOCK_BYTES, READ_BYTES, TOKENS};

const HALF_BYTES: usize = BLOCK_BYTES / 2;

level_functions!("avx2");

/// The bytes of a block.
type Text = [__m256i; 2];

#[inline]
#[target_feature(enable = "avx2")]
fn text(block: &[u8; READ_BYTES]) -> Text {
    [load::<0>(block), load::<HALF_BYTES>(block)]
}

#[inline]
#[target_feature(enable = "avx2")]
fn lower(halves: Text) -> Text {
    halves.map(|half| _mm256_or_si256(half, _mm256_set1_epi8(0x20)))
}

/// Where three bytes stand that a credential's name or prefix may start with.
#[inline]
#[target_feature(enable = "avx2")]
fn tokens(block: &[u8; READ_BYTES]) -> u64 {
    let first = groups(text(block), 0);
    let second = groups([load::<1>(block), load::<{ HALF_BYTES + 1 }>(block)], 1);
    let third = groups([load::<2>(block), load::<{ HALF_BYTES + 2 }>(block)], 2);
    let none = _mm256_setzero_si256();
    !bits([0, 1].map(|half| {
        let groups = _mm256_and_si256(_mm256_and_si256(first[half], second[half]), third[half]);
        _mm256_cmpeq_epi8(groups, none)
    }))
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
fn bits(halves: Text) -> u64 {
    let [low, high] = halves.map(|half| u64::from(_mm256_movemask_epi8(half) as u32));
    low | high << HALF_BYTES
}

#[inline]
#[target_feature(enable = "avx2")]
fn equal(halves: Text, byte: u8) -> u64 {
    let byte = _mm256_set1_epi8(byte as i8);
    bits(halves.map(|half| _mm256_cmpeq_epi8(half, byte)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn within(halves: Text, first: u8, last: u8) -> u64 {
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
fn groups(halves: Text, place: usize) -> Text {
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
