//! Which bytes of a block are of which class: a 64-bit number per class, the first byte in the lowest bit.
//!
//! Every level makes the same [`Masks`] of a block and puts them into [`Classes`], one array per class, so that what
//! follows from them (`filter`) is one loop over blocks for all levels, which a compiler makes vectors of. `portable`
//! works on eight bytes in a 64-bit number.

/// How many bytes one bit mask covers.
pub(crate) const BLOCK_BYTES: usize = 64;
/// What a kernel reads for one block: the token classes look at two bytes behind it.
pub(crate) const READ_BYTES: usize = BLOCK_BYTES + 2;

/// How many blocks are classified at a time: their classes stay in the first-level cache.
pub(crate) const CHUNK_BLOCKS: usize = 16;
/// The block before a chunk, its own blocks, and the block behind it.
const CLASSES_BLOCKS: usize = CHUNK_BLOCKS + 2;

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
    /// `%`.
    pub percent: u64,
    /// What the spaces and hyphens beyond ASCII start with: C2 and E2.
    pub lead: u64,
    /// A dot; like the following only filled in when all classes are needed.
    pub dot: u64,
    /// A colon.
    pub colon: u64,
    /// `=` and `>`.
    pub sign: u64,
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

/// The classes of a chunk, an array each. A chunk's first block stands at 1, behind the last of the chunk before.
#[derive(Clone, Debug)]
pub(crate) struct Classes {
    pub digit: [u64; CLASSES_BLOCKS],
    pub letter: [u64; CLASSES_BLOCKS],
    pub space: [u64; CLASSES_BLOCKS],
    pub hyphen: [u64; CLASSES_BLOCKS],
    pub at: [u64; CLASSES_BLOCKS],
    pub plus: [u64; CLASSES_BLOCKS],
    pub mark: [u64; CLASSES_BLOCKS],
    pub zero: [u64; CLASSES_BLOCKS],
    pub open: [u64; CLASSES_BLOCKS],
    pub percent: [u64; CLASSES_BLOCKS],
    pub lead: [u64; CLASSES_BLOCKS],
    pub dot: [u64; CLASSES_BLOCKS],
    pub colon: [u64; CLASSES_BLOCKS],
    pub sign: [u64; CLASSES_BLOCKS],
    pub token: [u64; CLASSES_BLOCKS],
}

impl Classes {
    /// Nothing but NUL.
    pub(crate) const fn new() -> Self {
        const NONE: [u64; CLASSES_BLOCKS] = [0; CLASSES_BLOCKS];
        Self {
            digit: NONE,
            letter: NONE,
            space: NONE,
            hyphen: NONE,
            at: NONE,
            plus: NONE,
            mark: NONE,
            zero: NONE,
            open: NONE,
            percent: NONE,
            lead: NONE,
            dot: NONE,
            colon: NONE,
            sign: NONE,
            token: NONE,
        }
    }

    /// Nothing stands before the next chunk.
    pub(crate) const fn start(&mut self) {
        (self.digit[0], self.letter[0]) = (0, 0);
    }

    /// The next chunk follows this one. Rules look back at digits and letters only.
    pub(crate) const fn go_on(&mut self) {
        (self.digit[0], self.letter[0]) = (self.digit[CHUNK_BLOCKS], self.letter[CHUNK_BLOCKS]);
    }

    #[inline(always)]
    fn set(&mut self, needs: Needs, at: usize, masks: &Masks) {
        self.digit[at] = masks.digit;
        self.letter[at] = masks.letter;
        self.space[at] = masks.space;
        self.hyphen[at] = masks.hyphen;
        self.at[at] = masks.at;
        self.plus[at] = masks.plus;
        self.mark[at] = masks.mark;
        self.zero[at] = masks.zero;
        self.open[at] = masks.open;
        self.percent[at] = masks.percent;
        self.lead[at] = masks.lead;
        if needs == Needs::All {
            self.dot[at] = masks.dot;
            self.colon[at] = masks.colon;
            self.sign[at] = masks.sign;
            self.token[at] = masks.token;
        }
    }

    /// The classes of a block of the chunk, from 0.
    #[cfg(test)]
    pub(crate) fn block(&self, block: usize) -> Masks {
        let at = block + 1;
        Masks {
            digit: self.digit[at],
            letter: self.letter[at],
            space: self.space[at],
            hyphen: self.hyphen[at],
            at: self.at[at],
            plus: self.plus[at],
            mark: self.mark[at],
            zero: self.zero[at],
            open: self.open[at],
            percent: self.percent[at],
            lead: self.lead[at],
            dot: self.dot[at],
            colon: self.colon[at],
            sign: self.sign[at],
            token: self.token[at],
        }
    }
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
/// `blocks` of the chunk and the one behind them are filled in.
#[inline(always)]
pub(crate) fn each_block(
    needs: Needs,
    bytes: &[u8],
    blocks: usize,
    classes: &mut Classes,
    one: impl Fn(&[u8; READ_BYTES]) -> Masks,
) {
    for index in 0..(blocks + 1).min(CHUNK_BLOCKS + 1) {
        let rest = bytes.get(index * BLOCK_BYTES..).unwrap_or_default();
        let masks = match rest.first_chunk() {
            Some(block) => one(block),
            None => {
                let mut block = [0; READ_BYTES];
                block[..rest.len()].copy_from_slice(rest);
                one(&block)
            }
        };
        classes.set(needs, index + 1, &masks);
    }
}

/// C2 and E2 with the bit set in which they differ.
pub(crate) const LEAD: u8 = 0xe2;

const HIGH: u64 = 0x8080_8080_8080_8080;
const LOW: u64 = 0x0101_0101_0101_0101;

/// The classes of each block of `bytes`, on any CPU.
pub(crate) fn portable(needs: Needs, bytes: &[u8], blocks: usize, classes: &mut Classes) {
    each_block(needs, bytes, blocks, classes, |block| {
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
            masks.percent |= equal(text, b'%') << shift;
            masks.lead |= equal(text | (LOW * 0x20), LEAD) << shift;
            if needs == Needs::All {
                masks.dot |= equal(text, b'.') << shift;
                masks.colon |= equal(text, b':') << shift;
                masks.sign |= within(text, b'=', b'>') << shift;
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

/// One bit per byte that sign `byte`.
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
