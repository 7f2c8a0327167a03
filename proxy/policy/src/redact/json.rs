//! Documents with the values at some paths replaced and every other byte as it was.
//! Source: RFC 8259; PostgreSQL manual, "JSON Types"; `jsonb_send`: a version byte, 1, and the text.
//!
//! A path is a list of names; `[*]` means every element of an array. Doubt replaces more, never less: a name is looked
//! for in the elements of an array too, `[*]` is also the value itself where it is no array, a name that occurs twice is
//! replaced twice, and a string, number or boolean where a path goes on below is replaced itself. What cannot be read as
//! one document in UTF-8, is nested too deeply or grows too much has no redaction but NULL.

use super::action::{Fill, Form, Kind};
use super::key::{Key, write_token};

/// The version of jsonb's binary format.
pub const VERSION: u8 = 1;
/// The step that means every element.
pub const EVERY: &str = "[*]";
/// Most paths of a column, and most steps of a path.
const PATHS_MAX: usize = 64;
const STEPS_MAX: usize = 64;
/// Deeper documents are not looked into.
const DEPTH_MAX: u32 = 200;
/// A document may grow to so many times its bytes, and these on top.
const GROWTH_TIMES: usize = 4;
const GROWTH_BYTES: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(Box<str>),
    Every,
}

/// The paths of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths(Vec<Vec<Step>>);

impl Paths {
    /// Takes paths as lists of steps; `None` when there are none, too many or too long ones.
    pub fn new(paths: &[Vec<String>]) -> Option<Self> {
        if !(1..=PATHS_MAX).contains(&paths.len()) || paths.iter().any(|path| path.len() > STEPS_MAX) {
            return None;
        }
        let step = |step: &String| match step.as_str() {
            EVERY => Step::Every,
            name => Step::Name(name.into()),
        };
        Some(Self(
            paths.iter().map(|path| path.iter().map(step).collect()).collect(),
        ))
    }
}

/// What is written in place of a value.
#[derive(Clone, Debug)]
pub enum Filler {
    /// `null`, or a string of asterisks.
    Plain(Fill),
    /// A token.
    Token(Key),
    /// A string with its quotes and escapes.
    Text(Box<[u8]>),
}

impl Filler {
    /// A constant as a JSON string.
    pub fn constant(text: &str) -> Self {
        let mut quoted = vec![b'"'];
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => quoted.extend([b'\\', byte]),
                0..0x20 => quoted.extend(format!("\\u{byte:04x}").bytes()),
                _ => quoted.push(byte),
            }
        }
        quoted.push(b'"');
        Self::Text(quoted.into())
    }
}

/// How far each path has come at a value: the index of its next step, or that it leads elsewhere.
type Steps = [u8; PATHS_MAX];
const ELSEWHERE: u8 = u8::MAX;
const _: () = assert!(STEPS_MAX < ELSEWHERE as usize);

/// Appends a document with the values at the paths replaced.
pub fn redact(form: Form, paths: &Paths, filler: &Filler, cell: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let text = if form.is_binary && form.kind == Kind::Jsonb {
        cell.strip_prefix(&[VERSION])?
    } else {
        cell
    };
    std::str::from_utf8(text).ok()?;
    let start = out.len();
    out.extend_from_slice(&cell[..cell.len() - text.len()]);
    let mut steps = [ELSEWHERE; PATHS_MAX];
    steps[..paths.0.len()].fill(0);
    let mut scan = Scan::of(text);
    let mut copy = Copy {
        paths,
        filler,
        out,
        out_bytes_max: start + GROWTH_TIMES * cell.len() + GROWTH_BYTES,
        copied: 0,
    };
    copy.value(&mut scan, steps, 0)?;
    scan.end()?;
    copy.until(text, text.len())
}

/// Whether a text is one document.
pub fn is_document(text: &[u8]) -> bool {
    let mut scan = Scan::of(text);
    std::str::from_utf8(text).is_ok() && scan.value(0).and_then(|()| scan.end()).is_some()
}

struct Copy<'a> {
    paths: &'a Paths,
    filler: &'a Filler,
    out: &'a mut Vec<u8>,
    out_bytes_max: usize,
    /// Bytes of the text that are in `out`, replaced or not.
    copied: usize,
}

impl Copy<'_> {
    fn until(&mut self, text: &[u8], end: usize) -> Option<()> {
        self.out.extend_from_slice(text.get(self.copied..end)?);
        self.copied = end;
        (self.out.len() <= self.out_bytes_max).then_some(())
    }

    fn value(&mut self, scan: &mut Scan<'_>, mut steps: Steps, depth: u32) -> Option<()> {
        scan.space();
        let first = scan.peek()?;
        let mut is_hit = false;
        for (path, step) in self.paths.0.iter().zip(&mut steps) {
            if *step == ELSEWHERE {
                continue;
            }
            while first != b'[' && path.get(usize::from(*step)) == Some(&Step::Every) {
                *step += 1;
            }
            is_hit |= usize::from(*step) == path.len() || !matches!(first, b'{' | b'[');
        }
        let count = self.paths.0.len();
        if is_hit {
            let start = scan.at;
            scan.value(depth)?;
            self.until(scan.text, start)?;
            self.fill(&scan.text[start..scan.at])?;
            self.copied = scan.at;
            return Some(());
        }
        match first {
            _ if steps[..count].iter().all(|step| *step == ELSEWHERE) => scan.value(depth),
            b'{' => self.object(scan, &steps, depth),
            _ => self.array(scan, steps, depth), // anything else would be a hit
        }
    }

    fn object(&mut self, scan: &mut Scan<'_>, steps: &Steps, depth: u32) -> Option<()> {
        scan.members(b'{', b'}', depth, |scan, depth| {
            let name = scan.name()?;
            let mut below = [ELSEWHERE; PATHS_MAX];
            for ((path, step), below) in self.paths.0.iter().zip(steps).zip(&mut below) {
                if let Some(Step::Name(wanted)) = path.get(usize::from(*step))
                    && spells(name, wanted)
                {
                    *below = step + 1;
                }
            }
            self.value(scan, below, depth)
        })
    }

    fn array(&mut self, scan: &mut Scan<'_>, mut steps: Steps, depth: u32) -> Option<()> {
        for (path, step) in self.paths.0.iter().zip(&mut steps) {
            if path.get(usize::from(*step)) == Some(&Step::Every) {
                *step += 1;
            }
        }
        scan.members(b'[', b']', depth, |scan, depth| self.value(scan, steps, depth))
    }

    /// Appends what stands for a value.
    fn fill(&mut self, value: &[u8]) -> Option<()> {
        const NULL: &[u8] = b"null";
        let string = match value {
            [b'"', raw @ .., b'"'] => Some(raw),
            _ => None,
        };
        match (self.filler, string) {
            _ if value == NULL => self.out.extend_from_slice(NULL),
            (Filler::Plain(Fill::Blank), Some(raw)) => {
                self.out.push(b'"');
                self.out.resize(self.out.len() + raw.len(), masking_simd::MASK);
                self.out.push(b'"');
            }
            (Filler::Plain(_), _) => self.out.extend_from_slice(NULL),
            (Filler::Text(quoted), _) => self.out.extend_from_slice(quoted),
            (Filler::Token(key), Some(raw)) => {
                let mut hasher = key.start();
                let mut utf8 = [0; 4];
                for one in Characters(raw) {
                    hasher.update(one.encode_utf8(&mut utf8).as_bytes());
                }
                self.token(hasher.finalize_xof());
            }
            (Filler::Token(key), None) if matches!(value.first(), Some(b'-' | b'0'..=b'9')) => {
                self.token(key.derived(value));
            }
            (Filler::Token(_), None) => self.out.extend_from_slice(NULL),
        }
        (self.out.len() <= self.out_bytes_max).then_some(())
    }

    fn token(&mut self, mut derived: blake3::OutputReader) {
        self.out.push(b'"');
        write_token(&mut derived, self.out);
        self.out.push(b'"');
    }
}

/// Whether the inside of a JSON string spells a name.
fn spells(raw: &[u8], name: &str) -> bool {
    if !raw.contains(&b'\\') {
        return raw == name.as_bytes();
    }
    Characters(raw).eq(name.chars())
}

/// The characters of the inside of a JSON string that was checked.
struct Characters<'a>(&'a [u8]);

impl Characters<'_> {
    fn code(&mut self) -> Option<u32> {
        let (digits, rest) = self.0.split_at_checked(4)?;
        self.0 = rest;
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        digits
            .iter()
            .try_fold(0, |code, byte| Some(code << 4 | digit(byte)?))
    }
}

impl Iterator for Characters<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let (first, rest) = self.0.split_first()?;
        if *first != b'\\' {
            let bytes = match first {
                0..0x80 => 1,
                0x80..0xe0 => 2,
                0xe0..0xf0 => 3,
                _ => 4,
            };
            let (one, rest) = self.0.split_at_checked(bytes)?;
            self.0 = rest;
            return std::str::from_utf8(one).ok()?.chars().next();
        }
        let (escape, rest) = rest.split_first()?;
        self.0 = rest;
        Some(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut code = self.code()?;
                if (0xd800..0xdc00).contains(&code) && self.0.starts_with(b"\\u") {
                    let after = self.0;
                    self.0 = &self.0[2..];
                    match self.code() {
                        Some(low @ 0xdc00..0xe000) => {
                            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
                        }
                        _ => self.0 = after,
                    }
                }
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER) // half of a pair
            }
            plain => char::from(*plain), // `"`, `\` and `/`
        })
    }
}

/// Reads over a document. `None` is: not one.
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn of(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn end(&mut self) -> Option<()> {
        self.space();
        (self.at == self.text.len()).then_some(())
    }

    /// The members of an object or the elements of an array, each read by `each`.
    fn members(
        &mut self,
        open: u8,
        close: u8,
        depth: u32,
        mut each: impl FnMut(&mut Self, u32) -> Option<()>,
    ) -> Option<()> {
        self.take(open)?;
        if depth == DEPTH_MAX {
            return None;
        }
        self.space();
        if self.take(close).is_some() {
            return Some(());
        }
        loop {
            each(self, depth + 1)?;
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                byte => {
                    self.at += 1;
                    return (byte == close).then_some(());
                }
            }
        }
    }

    /// A member's name and the colon.
    fn name(&mut self) -> Option<&'a [u8]> {
        self.space();
        let name = self.string()?;
        self.space();
        self.take(b':')?;
        Some(name)
    }

    /// A string; what is inside its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    let after = self.text.get(self.at + 1..)?;
                    self.at += match after {
                        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
                        [b'u', a, b, c, d, ..] if [a, b, c, d].into_iter().all(u8::is_ascii_hexdigit) => 6,
                        _ => return None,
                    };
                }
                0..0x20 => return None,
                _ => self.at += 1,
            }
        }
        let inside = self.text.get(start..self.at);
        self.at += 1;
        inside
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        let _ = self.take(b'-');
        if self.take(b'0').is_none() {
            self.digits()?;
        }
        if self.take(b'.').is_some() {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.text
            .get(self.at..)?
            .starts_with(word)
            .then(|| self.at += word.len())
    }

    /// Any value.
    fn value(&mut self, depth: u32) -> Option<()> {
        self.space();
        match self.peek()? {
            b'{' => self.members(b'{', b'}', depth, |scan, depth| {
                scan.name()?;
                scan.value(depth)
            }),
            b'[' => self.members(b'[', b']', depth, Self::value),
            b'"' => self.string().map(|_| ()),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
