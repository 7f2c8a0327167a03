//! Bad input before a login: first packets, TLS handshakes, SASL.

use super::{Bad, Corpus};
use crate::chance::Chance;
use crate::wire::framed;

/// Separates two messages of a SASL exchange; the second is sent when linegate has answered the first.
pub(super) const NEXT_PART: &[u8] = b"\xfe\xfdnext part\xfd\xfe";

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
const VERSION_3: u32 = 3 << 16;

fn packet(size: u32, code: u32, rest: &[u8]) -> Vec<u8> {
    [&size.to_be_bytes()[..], &code.to_be_bytes(), rest].concat()
}

fn sized(code: u32, rest: &[u8]) -> Vec<u8> {
    packet(u32::try_from(rest.len() + 8).expect("short"), code, rest)
}

/// A first packet.
pub(super) fn first(chance: &mut Chance, corpus: &Corpus) -> Bad {
    let good = b"user\0lg_nobody\0database\0shop\0application_name\0x\0\0";
    match chance.below(16) {
        0 => Bad::open("anything in place of a first packet", chance.bytes(600)),
        1 => {
            let size = chance.choose(&[
                0,
                1,
                4,
                7,
                8,
                9,
                10_001,
                65_536,
                1 << 24,
                0x7fff_ffff,
                0x8000_0000,
                u32::MAX,
            ]);
            Bad::open(
                "a first packet of another size than it says",
                packet(size, VERSION_3, good),
            )
        }
        2 => {
            let true_size = u32::try_from(good.len() + 8).expect("short");
            let size = true_size.wrapping_add_signed(chance.choose(&[-9, -4, -1, 1, 3, 40]));
            Bad::open(
                "a first packet that is a few bytes off",
                packet(size, VERSION_3, good),
            )
        }
        3 => {
            let low = u32::try_from(chance.below(1 << 16)).expect("16 bits");
            let high = chance.choose(&[0, 1, 2, 3, 4, 1233, 1234, 1235, 0x7fff, 0xffff]);
            Bad::whole("a version that nobody speaks", sized(high << 16 | low, good))
        }
        4 => {
            let cut = chance.below(good.len());
            Bad::whole("parameters that end early", sized(VERSION_3, &good[..cut]))
        }
        5 => {
            let mut rest = good.to_vec();
            for _ in 0..1 + chance.below(4) {
                let at = chance.below(rest.len());
                rest[at] = chance.choose(&[0, 0xff, 0xc3, 0x80, b'=', b'\'']);
            }
            Bad::whole("parameters that are not text", sized(VERSION_3, &rest))
        }
        6 => {
            let mut rest = b"user\0x\0".to_vec();
            for number in 0..chance.below(700) {
                rest.extend_from_slice(format!("_pq_.o{number}\0v\0").as_bytes());
            }
            rest.push(0);
            Bad::whole("very many protocol options", sized(VERSION_3 | 2, &rest))
        }
        7 => {
            let long = vec![b'x'; chance.below(9_900)];
            let rest = [b"user\0", &long[..], b"\0\0"].concat();
            Bad::whole("a very long user name", sized(VERSION_3, &rest))
        }
        8 => {
            let option = chance.pick::<[u8]>(&[
                b"-c",
                b"-c \\",
                b"--=",
                b"-c a",
                b"-c a='",
                b"\\\\\\",
                b"-B 1 -e --x=y",
                b"\xff-c",
            ]);
            let rest = [
                b"user\0lg_nobody\0options\0",
                option,
                b"\0replication\0database\0\0",
            ]
            .concat();
            Bad::whole("options that make no sense", sized(VERSION_3, &rest))
        }
        9 => {
            let mut bytes = Vec::new();
            for _ in 0..1 + chance.below(300) {
                bytes.extend(sized(GSS_REQUEST, b""));
            }
            Bad::open("encryption asked for again and again", bytes)
        }
        10 => {
            let mut bytes = sized(SSL_REQUEST, b"");
            bytes.extend(chance.bytes(80));
            bytes.push(0);
            Bad::whole("bytes behind an SSLRequest", bytes)
        }
        11 => {
            let rest = chance.bytes(400);
            Bad::whole("a cancel request with another key", sized(CANCEL_REQUEST, &rest))
        }
        12 => {
            let code = chance.choose(&[SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST]);
            let size = chance.choose(&[0, 4, 7, 9, 16, 0x7fff_ffff]);
            let rest = chance.bytes(20);
            Bad::open("a request of a wrong size", packet(size, code, &rest))
        }
        13 => {
            let other = chance.pick::<[u8]>(&[
                b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                b"SSH-2.0-OpenSSH_9.9\r\n",
                b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03",
                b"\x16\x03\x03\xff\xff\x01",
                b"\x80\x2e\x01\x00\x02",
                b"*1\r\n$4\r\nPING\r\n",
                b"\0\0\0\x01\x03",
                b"EHLO shop\r\n",
            ]);
            Bad::open("another protocol", other.to_vec())
        }
        14 => {
            let mut bytes = sized(VERSION_3, good);
            bytes.extend(framed(b'Q', b"SELECT 1\0"));
            bytes.extend(chance.bytes(60));
            Bad::whole("messages before the login", bytes)
        }
        _ => {
            let mut bytes = corpus.startup[chance.below(corpus.startup.len())].clone();
            let other = &corpus.startup[chance.below(corpus.startup.len())];
            chance.change(&mut bytes, other);
            Bad::open("a changed first packet", bytes)
        }
    }
}

/// In place of a TLS handshake.
pub(super) fn handshake(chance: &mut Chance) -> Bad {
    let record = |kind: u8, size: u16, data: &[u8]| [&[kind, 3, 3][..], &size.to_be_bytes(), data].concat();
    match chance.below(8) {
        0 => Bad::open("anything in place of a handshake", chance.bytes(300)),
        1 => {
            let mut hello = client_hello();
            chance.change(&mut hello, b"\xff\xff\0\0\x16\x03\x01\x40\0");
            Bad::open("a changed ClientHello", hello)
        }
        2 => {
            let hello = client_hello();
            let cut = chance.below(hello.len());
            Bad::open("half a ClientHello", hello[..cut].to_vec())
        }
        3 => Bad::whole(
            "an alert in place of a handshake",
            record(21, 2, &[2, chance.choose(&[0, 40, 255])]),
        ),
        4 => {
            let size = chance.choose(&[0, 1, 16_384, 16_385, 18_433, 0xffff]);
            let data = chance.bytes(64);
            Bad::open(
                "a record of a wrong size",
                record(chance.choose(&[20, 22, 23, 99]), size, &data),
            )
        }
        5 => {
            let one = chance.pick::<[u8]>(&[
                b"\x16\x03\x03\0\0",
                b"\x14\x03\x03\0\x01\x01",
                b"\x17\x03\x03\0\0",
            ]);
            Bad::open("empty records without end", one.repeat(1 + chance.below(500)))
        }
        6 => {
            // A handshake message of 16 MiB, begun.
            let data = [b"\x01\xff\xff\xff", chance.bytes(200).as_slice()].concat();
            let size = u16::try_from(data.len()).expect("short");
            Bad::open("a handshake message without end", record(22, size, &data))
        }
        _ => Bad::open(
            "a startup packet in place of a handshake",
            sized(VERSION_3, b"user\0x\0\0"),
        ),
    }
}

/// A ClientHello as rustls would send it, the same every time.
fn client_hello() -> Vec<u8> {
    const EXTENSIONS: &[u8] =
        b"\0\x2b\0\x03\x02\x03\x04\0\x0a\0\x04\0\x02\0\x1d\0\x0d\0\x06\0\x04\x04\x03\x08\x07\
        \0\x33\0\x26\0\x24\0\x1d\0\x20ABCDEFGHIJKLMNOPQRSTUVWXYZ012345\0\x2d\0\x02\x01\x01";
    let mut body = b"\x03\x03".to_vec();
    body.extend_from_slice(&[7; 32]);
    body.push(32);
    body.extend_from_slice(&[9; 32]);
    body.extend_from_slice(b"\0\x04\x13\x02\x13\x01\x01\0");
    body.extend_from_slice(&u16::try_from(EXTENSIONS.len()).expect("short").to_be_bytes());
    body.extend_from_slice(EXTENSIONS);
    let size = u32::try_from(body.len()).expect("short").to_be_bytes();
    let message = [&[1][..], &size[1..], &body].concat();
    let size = u16::try_from(message.len()).expect("short").to_be_bytes();
    [b"\x16\x03\x01", &size[..], &message].concat()
}

fn initial(mechanism: &[u8], size: i32, data: &[u8]) -> Vec<u8> {
    framed(b'p', &[mechanism, &[0], &size.to_be_bytes(), data].concat())
}

/// Within a SASL exchange.
pub(super) fn sasl(chance: &mut Chance) -> Bad {
    const FIRST: &[u8] = b"n,,n=,r=rOprNGfwEbeRWgbNEkqO";
    let first_bytes = i32::try_from(FIRST.len()).expect("short");
    match chance.below(12) {
        0 => {
            let size = chance.choose(&[
                -2,
                i32::MIN,
                0,
                1,
                first_bytes - 1,
                first_bytes + 1,
                1 << 16,
                i32::MAX,
            ]);
            Bad::whole(
                "a SASL message of another size than it says",
                initial(b"SCRAM-SHA-256", size, FIRST),
            )
        }
        1 => {
            let name = chance.pick::<[u8]>(&[
                b"",
                b"SCRAM-SHA-256-PLUS",
                b"SCRAM-SHA-1",
                b"PLAIN",
                b"scram-sha-256",
                b"\xff\xfe",
                b"OAUTHBEARER",
            ]);
            Bad::whole(
                "a mechanism that is not offered",
                initial(name, first_bytes, FIRST),
            )
        }
        2 => {
            let data = chance.pick::<[u8]>(&[
                b"",
                b"n",
                b"n,,",
                b"n,,n=",
                b"n,,n=,r=",
                b",,,",
                b"p=tls-unique,,n=,r=x",
                b"y,,n=x,r=\xff",
                b"n,a=b,n=,r=x",
                b"n,,m=1,n=,r=x",
                b"n,,r=x,n=",
                b"n,,n=,r=a b",
                b"n,,n==2,r=x",
            ]);
            let size = i32::try_from(data.len()).expect("short");
            Bad::whole(
                "a client-first-message that is none",
                initial(b"SCRAM-SHA-256", size, data),
            )
        }
        3 => {
            let data = [b"n,,n=,r=", vec![b'r'; chance.below(60_000)].as_slice()].concat();
            let size = i32::try_from(data.len()).expect("short");
            Bad::whole("a very long nonce", initial(b"SCRAM-SHA-256", size, &data))
        }
        4 => {
            let size = chance.choose(&[0, 3, 65_536, 1 << 20, 0x7fff_ffff, 0x8000_0000, u32::MAX]);
            let mut bytes = vec![b'p'];
            bytes.extend_from_slice(&size.to_be_bytes());
            bytes.extend(chance.bytes(40));
            Bad::open("a password message of a wrong size", bytes)
        }
        5 => {
            let tag = chance.choose(b"QPBDECSXFHdcf~\0\xff");
            let body = chance.bytes(40);
            Bad::whole("another message in place of SASL", framed(tag, &body))
        }
        6 => Bad::open("anything in place of SASL", chance.bytes(200)),
        7 => {
            let mut bytes = initial(b"SCRAM-SHA-256", first_bytes, FIRST);
            chance.change(&mut bytes, b"r=,,n=p=\0\0");
            Bad::open("a changed client-first-message", bytes)
        }
        8 => Bad::whole("a password in place of SASL", framed(b'p', b"secret\0")),
        _ => {
            // The first part is right, what follows the challenge is not.
            let mut bytes = initial(b"SCRAM-SHA-256", first_bytes, FIRST);
            bytes.extend_from_slice(NEXT_PART);
            let last = chance.pick::<[u8]>(&[
                b"",
                b"c=biws",
                b"c=biws,r=rOprNGfwEbeRWgbNEkqO,p=AAAA",
                b"c=biws,r=,p=",
                b"c=!!!!,r=x,p=====",
                b"p=AAAA,c=biws,r=x",
                b"c=biws,r=rOprNGfwEbeRWgbNEkqO\xff,p=",
                b",,,,,",
                b"e=no",
            ]);
            let message = match chance.below(4) {
                0 => framed(b'p', &chance.bytes(300)),
                1 => framed(chance.choose(b"QXSp"), last),
                2 => [framed(b'p', last), framed(b'Q', b"SELECT 1\0")].concat(),
                _ => framed(b'p', last),
            };
            bytes.extend(message);
            Bad::whole("a client-final-message that proves nothing", bytes)
        }
    }
}
