//! Where an entity may start or stand, as bit masks: arithmetic on [`Masks`], the same at every level.
//!
//! A mask may have too many bits, never too few: what `grammar` accepts has its bit set. Bytes outside of cells are
//! classified as well (a length in front of a cell may look like a digit), so a rule about the byte *before* holds
//! only where no cell starts, and there is no rule about what ends a match.

use std::ops::{BitAnd, BitOr, Not, Shr};

use super::entity::{Detectors, Entity};
use super::masks::Masks;

/// Candidates of one block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Candidates {
    /// First bytes of cards.
    pub card: u64,
    /// First digits of social security numbers.
    pub ssn: u64,
    /// First letters of account numbers.
    pub iban: u64,
    /// First bytes of telephone numbers.
    pub phone: u64,
    /// The `@` of addresses.
    pub email: u64,
    /// First dots of dotted quads.
    pub ipv4: u64,
    /// A colon of an IPv6 address.
    pub ipv6: u64,
    /// First bytes of credentials with a prefix, and of names that make a context.
    pub token: u64,
    /// First hyphens of armour.
    pub pem: u64,
    /// Separators between a name and a value.
    pub assign: u64,
}

impl Candidates {
    /// All of them.
    #[inline(always)]
    pub(crate) const fn any(&self) -> u64 {
        self.card
            | self.ssn
            | self.iban
            | self.phone
            | self.email
            | self.ipv4
            | self.ipv6
            | self.token
            | self.pem
            | self.assign
    }
}

const DIGITS: Detectors = Detectors::NONE
    .with(Entity::Card)
    .with(Entity::Ssn)
    .with(Entity::Iban)
    .with(Entity::Phone);
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

/// The candidates of a block. `starts` are the first bytes of cells in it; `last` and `next` are the blocks before and
/// behind, all NUL where there is none.
#[inline]
pub(crate) fn candidates(
    wanted: Detectors,
    last: &Masks,
    this: &Masks,
    next: &Masks,
    starts: u64,
) -> Candidates {
    let mut found = Candidates::default();
    let behind_digit = this.digit << 1 | last.digit >> 63;
    // Every kind of the group has two digits, or a plus sign or parenthesis and digits, side by side.
    if wanted.has_any(DIGITS) && this.digit | next.digit & 0xffff != 0 {
        let digit = wide(this.digit, next.digit);
        let (space, mark) = (wide(this.space, next.space), wide(this.mark, next.mark));
        let separator = space | wide(this.hyphen, next.hyphen);
        let run_start = this.digit & (!behind_digit | starts);
        let two = digit & digit >> 1;
        let three = two & digit >> 2;
        let four = two & two >> 2;
        if wanted.has(Entity::Card) {
            let number = digit | separator;
            let close = separator & (separator >> 1 | separator >> 2 | separator >> 3);
            // 13 digits or separators, and among the first 11 no two separators with fewer than three digits between:
            // only the last group may be shorter, and it ends the number.
            let (number2, close2) = (number & number >> 1, close | close >> 1);
            let (number4, close4) = (number2 & number2 >> 2, close2 | close2 >> 2);
            let (number8, close8) = (number4 & number4 >> 4, close4 | close4 >> 4);
            let number13 = number8 & number4 >> 8 & number >> 12;
            let close11 = close8 | close2 >> 8 | close >> 10;
            found.card = run_start & (four & number13 & !close11).bits();
        }
        if wanted.has(Entity::Ssn) {
            let grouped = three & separator >> 3 & two >> 4 & separator >> 6 & four >> 7;
            // Nine digits alone need words before them in their cell.
            let bare = four & four >> 4 & digit >> 8;
            found.ssn = run_start & (grouped.bits() | bare.bits() & !starts);
        }
        if wanted.has(Entity::Iban) {
            let letter = wide(this.letter, next.letter);
            let character = letter | digit | space;
            let character2 = character & character >> 1;
            let character4 = character2 & character2 >> 2;
            let character8 = character4 & character4 >> 4;
            let behind_letter = this.letter << 1 | last.letter >> 63;
            let word_start = !(behind_digit | behind_letter) | starts;
            let head = letter & letter >> 1 & two >> 2;
            found.iban = word_start & (head & character8 >> 4 & character4 >> 11).bits();
        }
        if wanted.has(Entity::Phone) {
            let (plus, open) = (this.plus, this.open);
            let (zero, gap) = (wide(this.zero, next.zero), space | mark);
            let part = digit | gap;
            let part2 = part & part >> 1;
            let part4 = part2 & part2 >> 2;
            let part8 = part4 & part4 >> 4;
            let part11 = part8 & part4 >> 7;
            let grouped = three & gap >> 3 & three >> 4 & gap >> 7 & four >> 8;
            let american = grouped | digit & gap >> 1 & grouped >> 2;
            let trunk = zero & digit >> 1 & !(zero >> 1) & part11 & !(four & two >> 4);
            let international = digit >> 1 & !(zero >> 1) & part8 >> 1;
            found.phone = plus & international.bits()
                | open & (three >> 1 & mark >> 4).bits()
                | run_start & (american | trunk).bits();
        }
    }
    if wanted.has(Entity::Email) {
        found.email = this.at;
    }
    if wanted.has(Entity::Ipv4) {
        let digit = wide(this.digit, next.digit);
        let behind = wide(behind_digit, next.digit << 1 | this.digit >> 63);
        let dot = wide(this.dot, next.dot) & behind & digit >> 1;
        let near = |dot: Wide| dot >> 2 | dot >> 3 | dot >> 4;
        found.ipv4 = (dot & near(dot & near(dot))).bits();
    }
    if wanted.has(Entity::Ipv6) {
        let colon = wide(this.colon, next.colon);
        let near = |colon: Wide| colon >> 2 | colon >> 3 | colon >> 4 | colon >> 5;
        found.ipv6 = (colon & (colon >> 1 | near(colon & near(colon)))).bits();
    }
    if wanted.has_any(TOKENS) {
        found.token = this.token;
    }
    if wanted.has(Entity::PemKey) {
        let hyphen = wide(this.hyphen, next.hyphen);
        let hyphen2 = hyphen & hyphen >> 1;
        found.pem = (hyphen2 & hyphen2 >> 2 & hyphen >> 4 & wide(this.letter, next.letter) >> 5).bits();
    }
    if wanted.has(Entity::Secret) {
        found.assign = (this.equals | this.colon) & !behind_digit;
    }
    found
}

/// A block as two words that overlap, bytes 0 to 63 and 32 to 95, so that a shift to the right looks up to 32 bytes
/// ahead without a carry between words (shifts of double words are slow on many CPUs). The upper half of each word is
/// only looked at, and not part of an answer.
#[derive(Clone, Copy)]
struct Wide([u64; 2]);

#[inline(always)]
const fn wide(this: u64, next: u64) -> Wide {
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
