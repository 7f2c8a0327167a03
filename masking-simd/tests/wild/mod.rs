//! A second labelled corpus, made by another generator than `corpus`: text as it lies in tables, logs and files.
//!
//! Every cell is a context (a line of a log, CSV, SQL, JSON, a letter in one of several languages) with values in its
//! holes: private ones, which are labelled, or lookalikes, which are not. Each value is spelled as its users spell it,
//! also where the grammar promises nothing, so recall is a measurement. There are two sections whose contexts,
//! spellings and lookalikes differ: grammars may be improved by what is seen in the first; the second is held out.

mod contexts;
mod lookalikes;
mod values;

use masking_simd::Entity;

/// Which half of the contexts, spellings and lookalikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// May be looked at.
    Open,
    /// Only measured.
    HeldOut,
}

/// A generator of numbers (SplitMix64); the same seed gives the same corpus everywhere.
pub struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }

    /// Fills in a pattern: `9` a digit, `8` a digit from 1, `A` a capital, `a` a small letter, `h` a hexadecimal digit,
    /// `H` one in capitals, `x` a letter or digit, `X` a capital or digit, `_` base64url, `/` base64. What stands
    /// between ‹ and › is meant literally.
    fn fill(&mut self, pattern: &str) -> String {
        const ALPHABETS: [(char, &str); 10] = [
            ('9', "0123456789"),
            ('8', "123456789"),
            ('A', "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
            ('a', "abcdefghijklmnopqrstuvwxyz"),
            ('h', "0123456789abcdef"),
            ('H', "0123456789ABCDEF"),
            (
                'x',
                "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            ),
            ('X', "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
            (
                '_',
                "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz",
            ),
            (
                '/',
                "+/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            ),
        ];
        let (mut out, mut is_literal) = (String::new(), false);
        for character in pattern.chars() {
            match character {
                '‹' => is_literal = true,
                '›' => is_literal = false,
                _ => {
                    let alphabet = ALPHABETS
                        .iter()
                        .find(|(class, _)| !is_literal && *class == character);
                    out.push(alphabet.map_or(character, |(_, alphabet)| {
                        char::from(alphabet.as_bytes()[self.below(alphabet.len() as u64) as usize])
                    }));
                }
            }
        }
        out
    }

    /// The pattern so often.
    fn many(&mut self, pattern: &str, count: u64) -> String {
        let pattern = pattern.repeat(count as usize);
        self.fill(&pattern)
    }
}

/// A cell, what is private in it (kind, offset, bytes), and what it looks like when nothing is.
pub struct Labelled {
    pub text: String,
    pub truth: Vec<(Entity, usize, usize)>,
    pub lookalike: &'static str,
}

/// A private value and what must stand around it to be known as one.
struct Value {
    before: String,
    text: String,
    after: String,
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self {
            before: String::new(),
            text,
            after: String::new(),
        }
    }
}

/// So many cells of every kind and of every lookalike.
pub fn corpus(seed: u64, section: Section, rounds: usize) -> Vec<Labelled> {
    let mut chance = Chance(seed);
    let mut cells = Vec::new();
    for _ in 0..rounds {
        for entity in Entity::ALL {
            let value = values::value(&mut chance, section, entity);
            cells.push(in_context(&mut chance, section, Some(entity), value, ""));
        }
        for (name, lookalike) in lookalikes::of(section) {
            let value = lookalike(&mut chance).into();
            cells.push(in_context(&mut chance, section, None, value, name));
        }
    }
    cells
}

/// Puts a value into a context, whose other holes are filled in as well.
fn in_context(
    chance: &mut Chance,
    section: Section,
    entity: Option<Entity>,
    value: Value,
    lookalike: &'static str,
) -> Labelled {
    let context = contexts::pick(
        chance,
        section,
        value.text.contains('\n'),
        !value.before.is_empty(),
    );
    let (mut text, mut truth) = (String::new(), Vec::new());
    let mut rest = context;
    while let Some((before, hole)) = rest.split_once('{') {
        text += before;
        let name_and_rest = hole.split_once('}');
        let Some((name, behind)) =
            name_and_rest.filter(|(name, _)| name.bytes().all(|byte| byte.is_ascii_lowercase()))
        else {
            (text, rest) = (text + "{", hole); // a brace of the text itself
            continue;
        };
        rest = behind;
        let label = match name {
            "v" => {
                text += &value.before;
                entity.map(|entity| (entity, value.text.clone()))
            }
            "ip" => Some((Entity::Ipv4, values::address(chance))),
            "mail" => Some((Entity::Email, values::mailbox(chance))),
            _ => None,
        };
        match (label, name) {
            (Some((entity, private)), _) => {
                truth.push((entity, text.len(), private.len()));
                text += &private;
            }
            (None, "v") => text += &value.text,
            (None, name) => text += &contexts::filler(chance, name),
        }
        if name == "v" {
            text += &value.after;
        }
    }
    text += rest;
    Labelled {
        text,
        truth,
        lookalike,
    }
}
