//! Where in a row of COPY there is something to look at: found 64 bytes at a time, so that short cells cost no branch each.

/// The top bit of each byte.
const TOP: u64 = 0x8080_8080_8080_8080;
/// One in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;
/// Bytes below this are control characters.
const SPACE: u8 = 0x20;

/// Which bytes are looked at: control characters and these two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kinds {
    first: u64,
    second: u64,
}

impl Kinds {
    pub(super) fn new(first: u8, second: u8) -> Self {
        Self {
            first: u64::from(first) * ONES,
            second: u64::from(second) * ONES,
        }
    }

    /// One bit for each byte of the word, the first byte's lowest.
    fn in_word(self, word: u64) -> u64 {
        // A byte's top bit is set where its lower bits reach the limit; no carry leaves a byte.
        let reaches = |word: u64, limit: u8| ((word & !TOP) + u64::from(0x80 - limit) * ONES) | word;
        let differs = |pattern: u64| reaches(word ^ pattern, 1);
        let found = !(reaches(word, SPACE) & differs(self.first) & differs(self.second)) & TOP;
        (found >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    }

    fn in_block(self, block: &[u8; 64]) -> u64 {
        let (words, _) = block.as_chunks::<8>();
        words.iter().rev().fold(0, |mask, word| {
            mask << 8 | self.in_word(u64::from_le_bytes(*word))
        })
    }
}

/// Offsets of such bytes, in order.
#[derive(Clone, Debug)]
pub(super) struct Stops<'l> {
    line: &'l [u8],
    kinds: Kinds,
    /// Where the block begins whose bytes are left in `mask`.
    base: usize,
    mask: u64,
}

impl<'l> Stops<'l> {
    pub(super) fn new(line: &'l [u8], kinds: Kinds) -> Self {
        let mut stops = Self {
            line,
            kinds,
            base: 0,
            mask: 0,
        };
        stops.load();
        stops
    }

    /// Goes on from `at`, which is not before what was found last.
    pub(super) fn seek(&mut self, at: usize) {
        if at >= self.base + 64 {
            self.base = at & !63;
            self.load();
        }
        self.mask &= u64::MAX.checked_shl((at - self.base) as u32).unwrap_or(0);
    }

    fn load(&mut self) {
        let rest = self.line.get(self.base..).unwrap_or_default();
        self.mask = match rest.first_chunk() {
            Some(block) => self.kinds.in_block(block),
            None => {
                let mut block = [0xff; 64];
                block[..rest.len()].copy_from_slice(rest);
                self.kinds.in_block(&block) & !(u64::MAX << rest.len())
            }
        };
    }
}

impl Iterator for Stops<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.mask == 0 {
            self.base += 64;
            if self.base >= self.line.len() {
                return None;
            }
            self.load();
        }
        let at = self.base + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_told_right_at_every_place() {
        for byte in 0..=u8::MAX {
            for at in [0, 1, 7, 8, 62, 63, 64, 65, 127, 130] {
                for beside in [b'a', 0x7f, 0x80, 0xff, b' ', b'\t'] {
                    let mut line = vec![beside; 131];
                    line[at] = byte;
                    let found: Vec<usize> = Stops::new(&line, Kinds::new(b'\\', b'|')).collect();
                    let is_stop = |byte: u8| byte < SPACE || byte == b'\\' || byte == b'|';
                    let expected: Vec<usize> = (0..line.len()).filter(|at| is_stop(line[*at])).collect();
                    assert_eq!(found, expected, "{byte} at {at} beside {beside}");
                }
            }
        }
    }

    #[test]
    fn it_goes_on_from_anywhere() {
        let line: Vec<u8> = (0..300).map(|at| if at % 7 == 0 { b'|' } else { b'x' }).collect();
        for at in 0..=310 {
            let mut stops = Stops::new(&line, Kinds::new(b'\\', b'|'));
            stops.seek(at);
            assert_eq!(stops.next(), (at..300).find(|at| at % 7 == 0), "from {at}");
        }
        assert_eq!(Stops::new(b"", Kinds::new(b'a', b'b')).next(), None);
    }
}
