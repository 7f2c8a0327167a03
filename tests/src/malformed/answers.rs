//! What a server says, changed by chance: sizes, tags, counts, order, and messages that nobody asked for.

use crate::chance::Chance;
use crate::shop::{CARDS, SSNS};
use crate::wire::framed;

/// The whole messages of `bytes`, and what is left at the end.
fn messages(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let [_, a, b, c, d, ..] = rest {
        let whole = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).expect("64 bits") + 1;
        if whole < 5 || whole > rest.len() {
            break;
        }
        found.push(rest[..whole].to_vec());
        rest = &rest[whole..];
    }
    (found, rest.to_vec())
}

/// A server's answer with some of it wrong.
pub fn changed(chance: &mut Chance, answer: &[u8]) -> Vec<u8> {
    let (mut all, left) = messages(answer);
    for _ in 0..1 + chance.below(2) {
        if all.is_empty() {
            break;
        }
        let at = chance.below(all.len());
        change(chance, &mut all, at);
    }
    let mut bytes = all.concat();
    bytes.extend(left);
    if chance.one_in(12) {
        let cut = chance.below(bytes.len() + 1);
        bytes.truncate(cut);
    }
    bytes
}

fn change(chance: &mut Chance, all: &mut Vec<Vec<u8>>, at: usize) {
    let message = all[at].clone();
    match chance.below(12) {
        // A row that says it is longer than it is takes the next rows for its own: nobody could tell where they begin.
        0 => {
            let most = if message[0] == b'D' { 4 } else { 7 };
            let size = [0, 3, 4, 5, 0x7fff_ffff, 0x8000_0000, u32::MAX][chance.below(most)];
            all[at][1..5].copy_from_slice(&size.to_be_bytes());
        }
        1 => {
            let size = u32::from_be_bytes([message[1], message[2], message[3], message[4]]);
            let off = size.wrapping_add_signed(
                [-4, -2, -1, 1, 2, 9][chance.below(if message[0] == b'D' { 3 } else { 6 })],
            );
            all[at][1..5].copy_from_slice(&off.to_be_bytes());
        }
        2 => {
            let cut = 5 + chance.below(message.len() - 4);
            all[at] = framed(message[0], &message[5..cut.min(message.len())]);
        }
        3 => {
            let extra = chance.bytes(20);
            all[at] = framed(message[0], &[&message[5..], &extra].concat());
        }
        4 => {
            let tag = chance.choose(b"123ACDEGHIKNRSTVWZcdnstv\0~");
            all[at][0] = tag;
        }
        5 => drop(all.remove(at)),
        6 => all.insert(at, message),
        7 => {
            let other = chance.below(all.len());
            all.swap(at, other);
        }
        8 | 9 => all.insert(at, unasked(chance)),
        _ => {
            // Of a row: its count. Of others: anything.
            for _ in 0..1 + chance.below(3) {
                let end = if message[0] == b'D' {
                    message.len().min(7)
                } else {
                    message.len()
                };
                if end > 5 {
                    let byte = 5 + chance.below(end - 5);
                    all[at][byte] ^= 1 << chance.below(8);
                }
            }
        }
    }
}

/// A message that nobody asked for, with a labelled value where it has room for one.
fn unasked(chance: &mut Chance) -> Vec<u8> {
    let value = if chance.one_in(2) {
        chance.choose(&CARDS)
    } else {
        chance.choose(&SSNS)
    };
    let value = value.as_bytes();
    let size = i32::try_from(value.len()).expect("short").to_be_bytes();
    match chance.below(14) {
        0 => framed(b'D', &[&[0, 1][..], &size, value].concat()),
        // Only where a value is looked for: what stands in another column is that column's.
        1 => framed(
            b'D',
            &[b"\0\x04\0\0\0\x019\0\0\0\x01n", &size[..], value, &size, value].concat(),
        ),
        2 => framed(b'd', b"9\tnobody\n"),
        3 => framed(b'V', &[&size[..], value].concat()),
        4 => framed(b'A', &[b"\0\0\0\x01channel\0", value, &[0]].concat()),
        5 => framed(b'S', b"application_name\0somebody\0"),
        6 => framed(b'N', &[b"SNOTICE\0VNOTICE\0C00000\0M", value, b"\0\0"].concat()),
        7 => framed(
            b'E',
            &[b"SERROR\0VERROR\0C22P02\0M", value, b"\0D", value, b"\0\0"].concat(),
        ),
        8 => framed(b'C', &[SSNS[0].as_bytes(), &[0]].concat()),
        9 => framed(
            b'T',
            &[
                &[0, 1][..],
                b"column",
                b"\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0",
            ]
            .concat(),
        ),
        10 => framed(b'Z', &[chance.choose(b"ITEX\0")]),
        11 => framed(b'R', &[&[0, 0, 0, 0][..], value].concat()),
        12 => framed(b'H', &[0, 0, 1, 0, 0]),
        _ => framed(b'C', &[b"SELECT 1\0", value, &[0]].concat()),
    }
}
