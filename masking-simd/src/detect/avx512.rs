//! The classes of a block in one 64-byte register: a compare gives the mask itself.

use std::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_cmpeq_epi8_mask,
    _mm512_cmple_epu8_mask, _mm512_loadu_si512, _mm512_or_si512, _mm512_set1_epi8, _mm512_shuffle_epi8,
    _mm512_srli_epi16, _mm512_sub_epi8, _mm512_test_epi8_mask,
};

use super::level::level_functions;
use super::masks::{BLOCK_BYTES, READ_BYTES, TOKENS};

level_functions!("avx512f,avx512bw,bmi2");

/// The bytes of a block.
type Text = __m512i;

#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn text(block: &[u8; READ_BYTES]) -> Text {
    load::<0>(block)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn lower(text: Text) -> Text {
    _mm512_or_si512(text, _mm512_set1_epi8(0x20))
}

/// Where three bytes stand that a credential's name or prefix may start with.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn tokens(block: &[u8; READ_BYTES]) -> u64 {
    let (second, third) = (load::<1>(block), load::<2>(block));
    let groups = _mm512_and_si512(
        _mm512_and_si512(groups(text(block), 0), groups(second, 1)),
        groups(third, 2),
    );
    _mm512_test_epi8_mask(groups, groups)
}

/// 64 bytes of a block from `AT` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn load<const AT: usize>(block: &[u8; READ_BYTES]) -> __m512i {
    const { assert!(AT + BLOCK_BYTES <= READ_BYTES, "a load stays within its block") };
    // SAFETY: `AT + 64` bytes of `block` are initialised, as asserted above; loadu asks for no alignment.
    unsafe { _mm512_loadu_si512(block.as_ptr().add(AT).cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn equal(text: Text, byte: u8) -> u64 {
    _mm512_cmpeq_epi8_mask(text, _mm512_set1_epi8(byte as i8))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn within(text: Text, first: u8, last: u8) -> u64 {
    let from_first = _mm512_sub_epi8(text, _mm512_set1_epi8(first as i8)); // wraps, so bytes below become large
    _mm512_cmple_epu8_mask(from_first, _mm512_set1_epi8((last - first) as i8))
}

/// The token groups that each byte admits in one place.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn groups(text: Text, place: usize) -> Text {
    let (low, high) = (table(&TOKENS[place].0), table(&TOKENS[place].1));
    let nibble = _mm512_set1_epi8(15);
    let by_low = _mm512_shuffle_epi8(low, _mm512_and_si512(text, nibble));
    let by_high = _mm512_shuffle_epi8(high, _mm512_and_si512(_mm512_srli_epi16::<4>(text), nibble));
    _mm512_and_si512(by_low, by_high)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn table(bytes: &[u8; 16]) -> __m512i {
    // SAFETY: `bytes` are 16 initialised bytes; loadu asks for no alignment.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}
