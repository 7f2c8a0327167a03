//! Chance from a seed: the same seed gives the same test.

/// A series of numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The series of a seed, one of many: `number` says which.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut series = Self(seed ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
        series.word();
        series
    }

    /// The next number.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `end`; 0 when there is none.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.word() % end.max(1) as u64).expect("64 bits")
    }

    /// True once in `of` times.
    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    /// One of several.
    pub fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// One of several values.
    pub fn choose<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Up to `most` bytes of anything.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        let count = self.below(most + 1);
        (0..count).map(|_| self.word().to_le_bytes()[0]).collect()
    }

    /// Changes a few bytes of `bytes`: turned over, replaced, removed, doubled, or taken from `other`.
    pub fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + 1 + self.below(12)).min(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => {
                    bytes[at] = self.choose(&[0, 1, 0x7f, 0x80, 0xff, b'\'', b'Q', b'S'])
                }
                2 if at < end => drop(bytes.drain(at..end)),
                3 if at < end => {
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
                4 => bytes.truncate(at),
                _ => {
                    let from = self.below(other.len() + 1);
                    let to = (from + 1 + self.below(40)).min(other.len());
                    bytes.splice(at..at, other[from.min(to)..to].iter().copied());
                }
            }
        }
    }

    /// Cuts `bytes` into pieces that are sent one by one.
    pub fn pieces(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while pieces.len() < 3 && !rest.is_empty() && self.one_in(3) {
            let (piece, after) = rest.split_at(self.below(rest.len()) + 1);
            pieces.push(piece.to_vec());
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(rest.to_vec());
        }
        pieces
    }
}
