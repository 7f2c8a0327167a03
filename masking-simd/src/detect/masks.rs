//! Which bytes of a block are of which class: a 64-bit number per class, the first byte in the lowest bit.
//!
//! Every level fills in the same [`Masks`]; what follows from them (`filter`) is one piece of code for all. `portable`
//! works on eight bytes in a 64-bit number.

/// How many bytes one bit mask covers.
pub(crate) const BLOCK_BYTES: usize = 64;
/// What a kernel reads for one block: the token classes look at two bytes behind it.
pub(crate) const READ_BYTES: usize = BLOCK_BYTES + 2;

/// The classes of 64 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Masks {
    /// `0` to `9`.
    pub digit: u64,
    /// ASCII letters.
    pub letter: u64,
    /// A space.
    pub space: u64,
    /// A hyphen.
    pub hyphen: u64,
    /// `@`.
    pub at: u64,
    /// `+`.
    pub plus: u64,
    /// `(` to `/`: parentheses, `*`, `+`, comma, hyphen, dot and slash.
    pub mark: u64,
    /// `0`.
    pub zero: u64,
    /// `(`.
    pub open: u64,
    /// A dot; like the following only filled in when all classes are needed.
    pub dot: u64,
    /// A colon.
    pub colon: u64,
    /// `=`.
    pub equals: u64,
    /// Three bytes that a credential's name or prefix may start with; see [`TOKENS`].
    pub token: u64,
}

/// Which of the classes a kernel fills in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// What personal data needs.
    Personal,
    /// All of them.
    All,
}

/// For each of eight groups the bytes that may stand first, second and third. A table by nibble admits more than
/// that: a bit says "maybe", never "no" of what is in a group.
const TOKEN_GROUPS: [[&[u8]; 3]; 8] = [
    [b"e", b"y", b"J"],
    [b"A", b"KSBC", b"IC"],
    [b"g", b"hli", b"pousrdcfiat"],
    [b"x", b"oa", b"xp"],
    [b"srw", b"kh", b"_s"],
    [b"AG", b"IO", b"zC"],
    [b"sS", b"eE", b"cC"],
    [b"yh1", b"ao/", b"2o/"],
];

/// Per place (first, second, third byte) the groups that a low and a high nibble admit.
pub(crate) const TOKENS: [(/* low */ [u8; 16], /* high */ [u8; 16]); 3] = token_tables();

const fn token_tables() -> [([u8; 16], [u8; 16]); 3] {
    let mut tables = [([0; 16], [0; 16]); 3];
    let mut place = 0;
    while place < 3 {
        let mut group = 0;
        while group < 8 {
            let bytes = TOKEN_GROUPS[group][place];
            let mut index = 0;
            while index < bytes.len() {
                tables[place].0[(bytes[index] & 15) as usize] |= 1 << group;
                tables[place].1[(bytes[index] >> 4) as usize] |= 1 << group;
                index += 1;
            }
            group += 1;
        }
        place += 1;
    }
    tables
}

/// Splits `bytes` into blocks and classifies each by `one`; the last is filled up with NUL, which is of no class.
/// `masks` has one place per block.
#[inline(always)]
pub(crate) fn each_block(bytes: &[u8], masks: &mut [Masks], one: impl Fn(&[u8; READ_BYTES]) -> Masks) {
    for (index, masks) in masks.iter_mut().enumerate() {
        let rest = bytes.get(index * BLOCK_BYTES..).unwrap_or_default();
        *masks = match rest.first_chunk() {
            Some(block) => one(block),
            None => {
                let mut block = [0; READ_BYTES];
                block[..rest.len()].copy_from_slice(rest);
                one(&block)
            }
        };
    }
}

const HIGH: u64 = 0x8080_8080_8080_8080;
const LOW: u64 = 0x0101_0101_0101_0101;

/// The classes of each block of `bytes`, on any CPU.
pub(crate) fn portable(needs: Needs, bytes: &[u8], masks: &mut [Masks]) {
    each_block(bytes, masks, |block| {
        let mut masks = Masks::default();
        for (word, eight) in block.as_chunks::<8>().0.iter().enumerate() {
            let (text, shift) = (u64::from_le_bytes(*eight), word * 8);
            masks.digit |= within(text, b'0', b'9') << shift;
            masks.letter |= within(text | (LOW * 0x20), b'a', b'z') << shift;
            masks.space |= equal(text, b' ') << shift;
            masks.hyphen |= equal(text, b'-') << shift;
            masks.at |= equal(text, b'@') << shift;
            masks.plus |= equal(text, b'+') << shift;
            masks.mark |= within(text, b'(', b'/') << shift;
            masks.zero |= equal(text, b'0') << shift;
            masks.open |= equal(text, b'(') << shift;
            if needs == Needs::All {
                masks.dot |= equal(text, b'.') << shift;
                masks.colon |= equal(text, b':') << shift;
                masks.equals |= equal(text, b'=') << shift;
            }
        }
        if needs == Needs::All {
            for place in 0..BLOCK_BYTES {
                let groups = (0..3).fold(u8::MAX, |groups, behind| {
                    let (byte, (low, high)) = (block[place + behind], TOKENS[behind]);
                    groups & low[usize::from(byte & 15)] & high[usize::from(byte >> 4)]
                });
                masks.token |= u64::from(groups != 0) << place;
            }
        }
        masks
    });
}

/// One bit per byte that equals `byte`.
fn equal(text: u64, byte: u8) -> u64 {
    let differs = text ^ (LOW * u64::from(byte));
    gather(!(((differs & !HIGH) + !HIGH) | differs) & HIGH)
}

/// One bit per byte from `first` to `last`, both ASCII. No sum carries into the next byte: both parts have seven bits.
fn within(text: u64, first: u8, last: u8) -> u64 {
    let low = text & !HIGH;
    let reaches = low + LOW * u64::from(0x80 - first);
    let passes = low + LOW * u64::from(0x7f - last);
    gather(reaches & !passes & !text & HIGH)
}

/// The highest bit of each byte as an eight-bit number.
fn gather(high: u64) -> u64 {
    (high >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}
