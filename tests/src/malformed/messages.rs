//! Bad input in a session: simple and extended protocol, COPY, FunctionCall, pipelines, out of phase.

use super::{Bad, Corpus, Door};
use crate::chance::Chance;
use crate::wire::{bind, describe, execute, framed, parse, sync};

/// Statements that do no harm, whatever becomes of them.
const TEXTS: [&str; 10] = [
    "SELECT 1",
    "SELECT id, name, ssn, card_number FROM app.customers ORDER BY id",
    "SELECT $1::int, $2::text",
    "SELECT n, repeat('x', n) FROM generate_series(1, 50) n",
    "SELECT 1/0",
    "SELEC",
    "BEGIN",
    "SHOW server_version",
    "COPY (SELECT name FROM app.customers) TO STDOUT",
    "SELECT note FROM app.orders WHERE id = 5",
];

fn query(text: &str) -> Vec<u8> {
    framed(b'Q', &[text.as_bytes(), &[0]].concat())
}

/// A message that is right by itself.
fn good(chance: &mut Chance) -> Vec<u8> {
    let names = ["", "s1", "s2"];
    let name = chance.choose(&names);
    let portal = chance.choose(&["", "p1"]);
    let text = chance.choose(&TEXTS);
    match chance.below(9) {
        0 => query(text),
        1 => parse(name, text),
        2 => bind(
            portal,
            name,
            &[],
            u16::try_from(chance.below(2)).expect("one bit"),
        ),
        3 => describe(chance.choose(b"SP"), chance.choose(&names)),
        4 => execute(portal, chance.choose(&[0, 1, 2, -1, i32::MAX])),
        5 => framed(b'C', &[&[chance.choose(b"SP")], name.as_bytes(), &[0]].concat()),
        6 => framed(b'H', &[]),
        7 => bind(portal, name, &["7", "seven"], 0),
        _ => sync(),
    }
}

/// The size that a message says it has.
fn with_size(mut message: Vec<u8>, size: u32) -> Vec<u8> {
    message[1..5].copy_from_slice(&size.to_be_bytes());
    message
}

fn said_size(message: &[u8]) -> u32 {
    u32::from_be_bytes([message[1], message[2], message[3], message[4]])
}

/// Something wrong in a session.
pub(super) fn bad(chance: &mut Chance, corpus: &Corpus, door: Door) -> Bad {
    let one = one(chance, corpus, door);
    if !chance.one_in(3) {
        return one;
    }
    // The same within a pipeline: behind what works, or behind an error that makes the rest be skipped.
    let mut bytes = Vec::new();
    if chance.one_in(2) {
        bytes.extend(parse("s2", "SELEC"));
    }
    for _ in 0..chance.below(6) {
        bytes.extend(good(chance));
    }
    bytes.extend(one.bytes);
    Bad { bytes, ..one }
}

fn one(chance: &mut Chance, corpus: &Corpus, door: Door) -> Bad {
    match chance.below(18) {
        0 => {
            let size = chance.choose(&[
                0,
                1,
                2,
                3,
                0x4000_0000,
                0x7fff_ffff,
                0x8000_0000,
                0xffff_fffb,
                u32::MAX,
            ]);
            let message = good(chance);
            Bad::whole("a size that no message has", with_size(message, size))
        }
        1 => {
            let message = good(chance);
            let size =
                said_size(&message).wrapping_add_signed(chance.choose(&[-5, -3, -2, -1, 1, 2, 7, 4096]));
            Bad::open("a size that is off", with_size(message, size.max(4)))
        }
        2 => {
            let known = b"QPBDECSXFHdcfp";
            let tag = u8::try_from(chance.below(256)).expect("a byte");
            let tag = if known.contains(&tag) { b'~' } else { tag };
            let body = chance.bytes(60);
            Bad::whole("a tag that no client sends", framed(tag, &body))
        }
        3 => {
            let message = good(chance);
            let cut = 5 + chance.below(message.len() - 4);
            Bad::whole(
                "a message that ends within a field",
                framed(message[0], &message[5..cut.min(message.len())]),
            )
        }
        4 => {
            let message = good(chance);
            let body: Vec<u8> = message[5..].iter().copied().filter(|byte| *byte != 0).collect();
            Bad::whole("a message without its zeros", framed(message[0], &body))
        }
        5 => {
            let message = good(chance);
            let extra = chance.bytes(12);
            Bad::whole(
                "bytes behind a message's last field",
                framed(message[0], &[&message[5..], &extra].concat()),
            )
        }
        6 => Bad::whole("a Bind that counts wrong", bad_bind(chance)),
        7 => {
            let mut body = b"s1\0SELECT 1\0".to_vec();
            let count = chance.choose(&[1, 2, 255, 0x7fff, 0x8000, 0xffff_u16]);
            body.extend_from_slice(&count.to_be_bytes());
            body.extend(chance.bytes(40));
            Bad::whole("a Parse that counts wrong", framed(b'P', &body))
        }
        8 => {
            let text = chance.pick::<[u8]>(&[
                b"SELECT '\xff'",
                b"SELECT \xc3\x28",
                b"\xed\xa0\x80",
                b"SELECT 1\0; SELECT 2",
                b"SELECT '\xf8\x88\x80\x80\x80'",
                b"SELECT \"\xfe\"",
                b"\xef\xbb\xbfSELECT 1",
                b"SELECT U&'\\D800'",
                b"SELECT '",
                b"SELECT /*",
                b"$$",
                b"SELECT $a$",
            ]);
            let text = [text, &[0]].concat();
            let message = match chance.below(2) {
                0 => framed(b'Q', &text),
                _ => framed(b'P', &[b"\xff\0".as_slice(), &text, &[0, 0]].concat()),
            };
            Bad::whole("text that is not UTF-8 or not SQL", message)
        }
        9 => {
            let message = match chance.below(8) {
                0 => framed(b'd', b"1\n"),
                1 => framed(b'c', b""),
                2 => framed(b'f', b"why\0"),
                3 => framed(b'p', b"secret\0"),
                4 => vec![0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f],
                5 => b"\0\0\0\x13\0\x03\0\0user\0app\0\0\0".to_vec(),
                6 => [b"\0\0\0\x10\x04\xd2\x16\x2e", chance.bytes(8).as_slice()].concat(),
                _ => [framed(b'X', b""), query("SELECT 'after the goodbye'")].concat(),
            };
            Bad::open("a message out of its phase", message)
        }
        10 => {
            let kind = u8::try_from(chance.below(256)).expect("a byte");
            let message = framed(chance.choose(b"DC"), &[&[kind], &b"s1\0"[..]].concat());
            Bad::whole("a Describe or Close of nothing known", message)
        }
        11 if door == Door::Owner => copy(chance),
        11 | 12 => Bad::whole("a FunctionCall that counts wrong", function_call(chance)),
        13 => Bad::open("anything", chance.bytes(300)),
        14 => {
            let depth = 1 + chance.below(6000);
            let text = match chance.below(3) {
                0 => format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth)),
                1 => format!("SELECT {}1", "-".repeat(depth * 2 + 1).replace("--", "- ")),
                _ => format!("SELECT 1{}", ", 1".repeat(depth)),
            };
            Bad::whole("a statement that nests deeply or is very wide", query(&text))
        }
        _ => {
            let mut bytes = corpus.frontend[chance.below(corpus.frontend.len())].clone();
            let other = &corpus.frontend[chance.below(corpus.frontend.len())];
            chance.change(&mut bytes, other);
            Bad::open("a changed session", bytes)
        }
    }
}

fn count(chance: &mut Chance) -> [u8; 2] {
    chance
        .choose(&[0, 1, 2, 3, 255, 0x7fff, 0x8000, 0xffff_u16])
        .to_be_bytes()
}

fn size(chance: &mut Chance) -> [u8; 4] {
    chance
        .choose(&[-1, 0, 1, -2, i32::MIN, i32::MAX, 1 << 20, 5])
        .to_be_bytes()
}

/// What Bind and FunctionCall share: formats, values with their sizes, and a count after them.
fn values(chance: &mut Chance) -> Vec<u8> {
    let mut fields = count(chance).to_vec();
    fields.extend(chance.bytes(6));
    fields.extend(count(chance));
    for _ in 0..chance.below(3) {
        fields.extend(size(chance));
        fields.extend(chance.bytes(5));
    }
    fields.extend(count(chance));
    fields
}

fn bad_bind(chance: &mut Chance) -> Vec<u8> {
    let mut body = b"\0\0".to_vec();
    body.extend(values(chance));
    body.extend(chance.bytes(6));
    [parse("", "SELECT $1::text"), framed(b'B', &body), execute("", 0)].concat()
}

fn function_call(chance: &mut Chance) -> Vec<u8> {
    let function = chance.choose(&[0, 1, 89, 715, 764, 952, 954, 955, 1598, 0x7fff_ffff, u32::MAX]);
    let mut body = function.to_be_bytes().to_vec();
    body.extend(values(chance));
    framed(b'F', &body)
}

/// COPY FROM STDIN, and then something else than data.
fn copy(chance: &mut Chance) -> Bad {
    let mut bytes = match chance.below(3) {
        0 => query("COPY app.scratch FROM STDIN"),
        1 => query("COPY app.scratch FROM STDIN (FORMAT binary)"),
        _ => [
            parse("", "COPY app.scratch FROM STDIN"),
            bind("", "", &[], 0),
            execute("", 0),
        ]
        .concat(),
    };
    for _ in 0..chance.below(4) {
        bytes.extend(framed(b'd', b"1\n"));
    }
    let (what, wrong) = match chance.below(7) {
        0 => ("a query in the middle of COPY", query("SELECT 1")),
        1 => ("CopyData of a wrong size", {
            let size = chance.choose(&[0, 3, 5, 200, 0x7fff_ffff, 0x8000_0000, u32::MAX]);
            with_size(framed(b'd', b"2\n"), size)
        }),
        2 => ("a CopyFail without its end", framed(b'f', b"why")),
        3 => ("a CopyDone with a body", framed(b'c', b"done")),
        4 => ("COPY data that is no data", framed(b'd', &chance.bytes(80))),
        5 => ("a Bind in the middle of COPY", bind("", "", &[], 0)),
        _ => (
            "COPY ends twice",
            [framed(b'c', b""), framed(b'c', b""), framed(b'f', b"x\0")].concat(),
        ),
    };
    bytes.extend(wrong);
    Bad::open(what, bytes)
}
