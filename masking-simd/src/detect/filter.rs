//! Where an entity may start or stand, as bit masks: arithmetic on [`Classes`], the same at every level.
//! Each kind is a loop over blocks without a branch, which a compiler makes vectors of; every level has its own copy.
//!
//! A mask may have too many bits, never too few: what `grammar` accepts has its bit set. Bytes outside of cells are
//! classified as well (a length in front of a cell may look like a digit), so a rule about the byte *before* holds
//! only where no cell starts, and there is no rule about what ends a match.

use std::ops::{BitAnd, BitOr, Not, Shr};

use super::entity::{Detectors, Entity};
use super::masks::{CHUNK_BLOCKS, Classes};

/// Candidates of a chunk, a word per block.
#[derive(Clone, Debug)]
pub(crate) struct Candidates {
    /// First bytes of cards.
    pub card: [u64; CHUNK_BLOCKS],
    /// First digits of social security numbers.
    pub ssn: [u64; CHUNK_BLOCKS],
    /// First letters of account numbers.
    pub iban: [u64; CHUNK_BLOCKS],
    /// First bytes of telephone numbers.
    pub phone: [u64; CHUNK_BLOCKS],
    /// The `@` of addresses.
    pub email: [u64; CHUNK_BLOCKS],
    /// First dots of dotted quads.
    pub ipv4: [u64; CHUNK_BLOCKS],
    /// A colon of an IPv6 address.
    pub ipv6: [u64; CHUNK_BLOCKS],
    /// First bytes of credentials with a prefix, and of names that make a context.
    pub token: [u64; CHUNK_BLOCKS],
    /// First hyphens of armour.
    pub pem: [u64; CHUNK_BLOCKS],
    /// Separators between a name and a value.
    pub assign: [u64; CHUNK_BLOCKS],
    /// All of them.
    pub any: [u64; CHUNK_BLOCKS],
}

impl Candidates {
    /// None.
    pub(crate) const fn new() -> Self {
        const NONE: [u64; CHUNK_BLOCKS] = [0; CHUNK_BLOCKS];
        Self {
            card: NONE,
            ssn: NONE,
            iban: NONE,
            phone: NONE,
            email: NONE,
            ipv4: NONE,
            ipv6: NONE,
            token: NONE,
            pem: NONE,
            assign: NONE,
            any: NONE,
        }
    }
}

/// What the token classes lead to.
const TOKENS: Detectors = Detectors::NONE
    .with(Entity::Jwt)
    .with(Entity::AwsKeyId)
    .with(Entity::AwsSecret)
    .with(Entity::GithubToken)
    .with(Entity::GitlabToken)
    .with(Entity::SlackToken)
    .with(Entity::StripeKey)
    .with(Entity::GoogleKey);

/// The candidates of the first `blocks` of a chunk. `starts` are the first bytes of cells in them. What `found` has of
/// kinds that are not wanted stays as it is.
#[inline(always)]
pub(crate) fn candidates(
    wanted: Detectors,
    classes: &Classes,
    starts: &[u64; CHUNK_BLOCKS],
    blocks: usize,
    found: &mut Candidates,
) {
    // A macro and no function that takes one: a call that is not inlined has none of the level's registers.
    macro_rules! each {
        ($kind:ident) => {
            for index in 0..blocks.min(CHUNK_BLOCKS) {
                let word = $kind(classes, starts, index);
                found.$kind[index] = word;
                found.any[index] |= word;
            }
        };
    }
    found.any = [0; CHUNK_BLOCKS];
    if wanted.has(Entity::Card) {
        each!(card);
    }
    if wanted.has(Entity::Ssn) {
        each!(ssn);
    }
    if wanted.has(Entity::Iban) {
        each!(iban);
    }
    if wanted.has(Entity::Phone) {
        each!(phone);
    }
    if wanted.has(Entity::Email) {
        each!(email);
    }
    if wanted.has(Entity::Ipv4) {
        each!(ipv4);
    }
    if wanted.has(Entity::Ipv6) {
        each!(ipv6);
    }
    if wanted.has_any(TOKENS) {
        each!(token);
    }
    if wanted.has(Entity::PemKey) {
        each!(pem);
    }
    if wanted.has(Entity::Secret) {
        each!(assign);
    }
}

type Starts = [u64; CHUNK_BLOCKS];

/// The bytes right behind those of a class.
#[inline(always)]
const fn behind(class: &[u64], index: usize) -> u64 {
    class[index + 1] << 1 | class[index] >> 63
}

/// First digits of runs.
#[inline(always)]
const fn run_start(classes: &Classes, starts: &Starts, index: usize) -> u64 {
    classes.digit[index + 1] & (!behind(&classes.digit, index) | starts[index])
}

/// 13 digits or separators, and among the first 11 no two separators with fewer than three digits between: only the
/// last group may be shorter, and it ends the number. Or a first group with a gap beyond ASCII behind it.
#[inline(always)]
fn card(classes: &Classes, starts: &Starts, index: usize) -> u64 {
    let digit = wide(&classes.digit, index);
    let separator = wide(&classes.space, index) | wide(&classes.mark, index);
    let two = digit & digit >> 1;
    let four = two & two >> 2;
    let number = digit | separator;
    let close = separator & (separator >> 1 | separator >> 2 | separator >> 3);
    let (number2, close2) = (number & number >> 1, close | close >> 1);
    let (number4, close4) = (number2 & number2 >> 2, close2 | close2 >> 2);
    let (number8, close8) = (number4 & number4 >> 4, close4 | close4 >> 4);
    let number13 = number8 & number4 >> 8 & number >> 12;
    let close11 = close8 | close2 >> 8 | close >> 10;
    let lead = wide(&classes.lead, index);
    let lead4 = lead | lead >> 1 | (lead | lead >> 1) >> 2;
    let wide_gap = lead4 >> 4 | lead4 >> 8;
    run_start(classes, starts, index) & (four & (number13 & !close11 | wide_gap)).bits()
}

#[inline(always)]
fn ssn(classes: &Classes, starts: &Starts, index: usize) -> u64 {
    let digit = wide(&classes.digit, index);
    let separator = wide(&classes.space, index) | wide(&classes.mark, index);
    let two = digit & digit >> 1;
    let four = two & two >> 2;
    let grouped = separator >> 3 & two >> 4 & separator >> 6 & four >> 7;
    let grouped = two & digit >> 2 & (grouped | wide(&classes.lead, index) >> 3);
    // Nine digits alone need words before them in their cell.
    let bare = four & four >> 4 & digit >> 8;
    run_start(classes, starts, index) & (grouped.bits() | bare.bits() & !starts[index])
}

#[inline(always)]
fn iban(classes: &Classes, starts: &Starts, index: usize) -> u64 {
    let (digit, letter) = (wide(&classes.digit, index), wide(&classes.letter, index));
    let character = letter | digit | wide(&classes.space, index) | wide(&classes.hyphen, index);
    let character2 = character & character >> 1;
    let character4 = character2 & character2 >> 2;
    let character8 = character4 & character4 >> 4;
    let is_inside = behind(&classes.digit, index) | behind(&classes.letter, index);
    let head = letter & letter >> 1 & digit >> 2 & digit >> 3;
    let account = character8 >> 4 & character4 >> 11 | wide(&classes.lead, index) >> 4;
    (!is_inside | starts[index]) & (head & account).bits()
}

#[inline(always)]
fn phone(classes: &Classes, starts: &Starts, index: usize) -> u64 {
    let (digit, zero) = (wide(&classes.digit, index), wide(&classes.zero, index));
    let (mark, lead) = (wide(&classes.mark, index), wide(&classes.lead, index));
    let gap = wide(&classes.space, index) | mark;
    let two = digit & digit >> 1;
    let three = two & digit >> 2;
    let four = two & two >> 2;
    let part = digit | gap;
    let part2 = part & part >> 1;
    let part4 = part2 & part2 >> 2;
    let part8 = part4 & part4 >> 4;
    let part11 = part8 & part4 >> 7;
    let grouped = three & gap >> 3 & three >> 4 & gap >> 7 & four >> 8;
    let american = grouped | digit & gap >> 1 & (grouped >> 2 | mark >> 2);
    let american_wide = three & lead >> 3 | digit & lead >> 1;
    let lead_near = lead >> 2 | lead >> 3 | (lead >> 2 | lead >> 3) >> 2;
    let trunk = zero & digit >> 1 & !(zero >> 1) & (part11 & !(four & two >> 4) | lead_near);
    let double_zero = zero & zero >> 1 & digit >> 2 & !(zero >> 2);
    let double_zero = double_zero & ((gap | lead) >> 3 | (gap | lead) >> 4 | (gap | lead) >> 5);
    let international = digit >> 1 & !(zero >> 1);
    let open = three >> 1 & mark >> 4 | zero >> 1 & two >> 2;
    classes.plus[index + 1] & international.bits()
        | classes.open[index + 1] & open.bits()
        | run_start(classes, starts, index) & (american | american_wide | trunk | double_zero).bits()
}

#[inline(always)]
fn email(classes: &Classes, _: &Starts, index: usize) -> u64 {
    let encoded = wide(&classes.digit, index) >> 1 & wide(&classes.zero, index) >> 2;
    classes.at[index + 1] | classes.percent[index + 1] & encoded.bits()
}

#[inline(always)]
fn token(classes: &Classes, _: &Starts, index: usize) -> u64 {
    classes.token[index + 1]
}

#[inline(always)]
fn assign(classes: &Classes, _: &Starts, index: usize) -> u64 {
    classes.sign[index + 1] | classes.colon[index + 1]
}

#[inline(always)]
fn ipv4(classes: &Classes, _: &Starts, index: usize) -> u64 {
    let digit = wide(&classes.digit, index);
    let (first, second) = (behind(&classes.digit, index), behind(&classes.digit, index + 1));
    let dot = wide(&classes.dot, index) & overlapped(first, second) & digit >> 1;
    let near = |dot: Wide| dot >> 2 | dot >> 3 | dot >> 4;
    (dot & near(dot & near(dot))).bits()
}

#[inline(always)]
fn ipv6(classes: &Classes, _: &Starts, index: usize) -> u64 {
    let colon = wide(&classes.colon, index);
    let near = |colon: Wide| colon >> 2 | colon >> 3 | colon >> 4 | colon >> 5;
    (colon & (colon >> 1 | near(colon & near(colon)))).bits()
}

#[inline(always)]
fn pem(classes: &Classes, _: &Starts, index: usize) -> u64 {
    let hyphen = wide(&classes.hyphen, index);
    let hyphen2 = hyphen & hyphen >> 1;
    (hyphen2 & hyphen2 >> 2 & hyphen >> 4 & wide(&classes.letter, index) >> 5).bits()
}

/// A block as two words that overlap, bytes 0 to 63 and 32 to 95, so that a shift to the right looks up to 32 bytes
/// ahead without a carry between words (shifts of double words are slow on many CPUs). The upper half of each word is
/// only looked at, and not part of an answer.
#[derive(Clone, Copy)]
struct Wide([u64; 2]);

/// Block `index` of a chunk.
#[inline(always)]
const fn wide(class: &[u64], index: usize) -> Wide {
    overlapped(class[index + 1], class[index + 2])
}

#[inline(always)]
const fn overlapped(this: u64, next: u64) -> Wide {
    Wide([this, this >> 32 | next << 32])
}

impl Wide {
    /// The answer for each byte of the block.
    #[inline(always)]
    const fn bits(self) -> u64 {
        self.0[0] & 0xffff_ffff | self.0[1] << 32
    }
}

impl BitAnd for Wide {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self([self.0[0] & other.0[0], self.0[1] & other.0[1]])
    }
}

impl BitOr for Wide {
    type Output = Self;
    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self([self.0[0] | other.0[0], self.0[1] | other.0[1]])
    }
}

impl Not for Wide {
    type Output = Self;
    #[inline(always)]
    fn not(self) -> Self {
        Self([!self.0[0], !self.0[1]])
    }
}

impl Shr<u32> for Wide {
    type Output = Self;
    #[inline(always)]
    fn shr(self, bytes: u32) -> Self {
        Self([self.0[0] >> bytes, self.0[1] >> bytes])
    }
}
