//! The grammar by example, every level against it, and cells in pieces against whole ones.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::grammar::BEHIND;
use super::iban::{COUNTRIES, number};
use super::masks::{BLOCK_BYTES, Classes, Needs};
use super::scan::classify;
use super::*;

fn reference(cell: &[u8], wanted: Detectors) -> Vec<Hit> {
    let mut hits = Vec::new();
    detect_reference(cell, wanted, &mut hits);
    hits.sort_unstable();
    hits
}

fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|level| level.is_available())
}

fn scanned(level: Level, buffer: &[u8], cells: &[Span], wanted: Detectors) -> Vec<Hit> {
    let mut hits = Vec::new();
    detect_cells_with(level, buffer, cells, wanted, &mut hits);
    hits.sort_unstable();
    hits
}

/// `text` with what is found of `entity` in brackets.
#[track_caller]
fn check(entity: Entity, marked: &str) {
    let text: String = marked
        .chars()
        .filter(|character| !"⟦⟧".contains(*character))
        .collect();
    let wanted = Detectors::NONE.with(entity);
    let hits = reference(text.as_bytes(), wanted);
    let mut got = text.clone();
    for hit in hits.iter().rev() {
        got.insert((hit.at + hit.bytes) as usize, '⟧');
        got.insert(hit.at as usize, '⟦');
    }
    assert_eq!(got, marked);
    let whole = [Span {
        at: 0,
        bytes: text.len() as u32,
    }];
    for level in levels() {
        assert_eq!(
            scanned(level, text.as_bytes(), &whole, wanted),
            hits,
            "{text:?} at {level:?}"
        );
    }
}

#[test]
fn cards() {
    let check = |text| check(Entity::Card, text);
    check("⟦4111111111111111⟧");
    check("paid with ⟦4111 1111 1111 1111⟧ 2026-05-01");
    check("on 2026-05-01 12 ⟦4111-1111-1111-1111⟧.");
    check("12 ⟦3782 822463 10005⟧, ⟦3782 8224 6310 005⟧");
    check("id⟦4111111111111111⟧x");
    check("4111111111111112");
    check("4111 1111-1111 1111");
    check("0.4111111111111111 4111111111111111.5 +4111111111111111");
    check("14111111111111111 1111111111111117");
    check("41 11 11 11 11 11 11 11");
    check(
        "⟦4111\u{a0}1111\u{a0}1111\u{a0}1111⟧, ⟦4111\u{2011}1111\u{2011}1111\u{2011}1111⟧, ⟦4111.1111.1111.1111⟧",
    );
    check("4111\u{a0}1111 1111\u{a0}1111 4111.1111.11111111 4111.111111111111 1Z4111111111111111");
    check("⟦622848\u{a0}0402564890018⟧ ⟦4222222222222⟧ 4006381333931 422222-2222222 ⟦5066991111111118⟧");
    check("⟦5555555555554444⟧ ⟦6011111111111117⟧ ⟦30569309025904⟧ ⟦3530111333300000⟧ ⟦2223003122003222⟧");
}

#[test]
fn social_security_numbers() {
    let check = |text| check(Entity::Ssn, text);
    check("⟦078-05-1120⟧, ⟦123 45 6789⟧");
    check("000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000");
    check("123-45 6789 1123-45-6789 123-45-67890 123-45-6789-1 10 123 45 6789");
    check("123456789");
    check("ssn: ⟦123456789⟧ then 123456789");
    check("the Social Security number ⟦123456789⟧");
    check("classname 123456789");
    check(
        "⟦078\u{2011}05\u{2011}1120⟧ 078.05.1120 {\"social_security_number\":\"⟦123456789⟧\"} SSN ⟦078.05.1120⟧",
    );
}

#[test]
fn account_numbers() {
    let check = |text| check(Entity::Iban, text);
    check("⟦DE89370400440532013000⟧ ⟦GB29 NWBK 6016 1331 9268 19⟧, ⟦nl91abna0417164300⟧");
    check("⟦NO9386011117947⟧ ⟦FR1420041010050500013M02606⟧ ⟦MT84MALT011000012345MTLCAST001S⟧");
    check("DE88370400440532013000 DE8937040044053201300 XDE89370400440532013000 DE893704004405320130001");
    check("ZZ89370400440532013000");
    check(
        "⟦DE89\u{202f}3704\u{202f}0044\u{202f}0532\u{202f}0130\u{202f}00⟧ ⟦DE89-3704-0044-0532-0130-00⟧ DE89-3704 0044-0532-0130-00",
    );
    assert!(COUNTRIES.is_sorted_by_key(|(country, _)| *country));
    let wanted = Detectors::NONE
        .with(Entity::Iban)
        .with(Entity::Card)
        .with(Entity::Phone);
    assert!(
        reference(b"PL61 1090 1014 0000 0712 1981 2874", wanted)
            .iter()
            .all(|hit| hit.entity == Entity::Iban)
    );
}

#[test]
fn countries_have_lengths_of_the_registry() {
    for (country, bytes) in [
        (b"DE", 22),
        (b"GB", 22),
        (b"FR", 27),
        (b"MT", 31),
        (b"LC", 32),
        (b"RU", 33),
        (b"NO", 15),
    ] {
        let (_, shape) = COUNTRIES
            .iter()
            .find(|(known, _)| *known == country)
            .expect("a country");
        let (mut rest, mut count) = (shape.as_bytes(), 4);
        while let Some((_, behind)) = rest.split_first() {
            let (characters, behind) = number(behind);
            (count, rest) = (count + characters, behind);
        }
        assert_eq!(count, bytes, "{shape}");
    }
}

#[test]
fn mail_addresses() {
    let check = |text| check(Entity::Email, text);
    check("⟦a.b+c@example.com⟧, <⟦zoë@bücher.example⟧>; ⟦x@xn--p1ai.xn--p1ai⟧.");
    check("a@localhost @b.com a..b@c.de .a@c.de a@b.c react@18.2.0 logo@2x.png a@@b.com");
    check("mailto:⟦o'neil@mail.example.org⟧?subject=x");
    check("?to=⟦a.b%40example.com⟧&x=1 ⟦a%40b@example.com⟧ icon%402x.png getty@tty1.service");
    check("https://user@example.com/ amqp://app1:secret@mq.example.com <⟦ops@mq.example.com⟧>");
}

#[test]
fn telephone_numbers() {
    let check = |text| check(Entity::Phone, text);
    check(
        "⟦+4930123456⟧ ⟦+1 (212) 555-0123⟧ ⟦(212) 555-0123⟧ ⟦212-555-0123⟧ ⟦212.555.0123⟧ ⟦1-212-555-0123⟧",
    );
    check("⟦020 7946 0958⟧, ⟦01 23 45 67 89⟧, ⟦0171/1234567⟧, ⟦044 668 18 00⟧");
    check("2125550123 112-555-0123 212-155-0123 211-555-0123x 2024-05-01 +0530 +12");
    check(
        "⟦0049 30 1234567⟧ ⟦(030) 1234567⟧ 1, ⟦(03012) 123-456⟧, ⟦(0301)123456⟧, 47 ⟦836-453-7820⟧, ⟦1 (212) 555-0123⟧ ⟦+33\u{a0}6\u{a0}12\u{a0}34\u{a0}56\u{a0}78⟧ ⟦+49 (0)89/1234567⟧",
    );
    check("0061 0315 0300 0049 1234567x (001) 1234567 (030) 12 8B 05 04 00 00 00 +35236450.6");
    check("ORD-0123-4567890 12:00:00+00 192.168.100.1000 0.1234567890 0001234567 00 49 30 123456");
}

#[test]
fn network_addresses() {
    check(Entity::Ipv4, "⟦10.0.0.1⟧:80 and (⟦255.255.255.255⟧)");
    check(
        Entity::Ipv4,
        "127.0.0.1 __version__ = \"3.5.0.1\" ver. 1.2.3.4 ⟦10.0.0.1⟧ build 1.2.3.4 server ⟦8.8.8.8⟧ 1.2.3 1.2.3.4.5 256.1.1.1 01.2.3.4 0.1.2.3 v1.2.3.4 version 1.2.3.4 1.2.3.4-rc1",
    );
    check(
        Entity::Ipv6,
        "⟦2001:db8::1⟧ ⟦fe80::1⟧ [⟦::ffff:1.2.3.4⟧]:443 ⟦2001:db8:0:1:2:3:4:5⟧: x",
    );
    check(
        Entity::Ipv6,
        "50:06:01:60:3b:a0:12:34 12:34:56 aa:bb:cc:dd:ee:f1 std::io 1::int4 ::1 :: a::b 1:2:3:4:5:6:7:8:9 1::2::3",
    );
}

const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";

#[test]
fn credentials() {
    check(
        Entity::Jwt,
        &format!("Bearer ⟦{JWT}⟧, eyJub3QiOiJqd3QifQ.eyJh.x eyJhbGciOiJIUzI1NiJ9"),
    );
    check(
        Entity::PemKey,
        "x ⟦-----BEGIN EC PRIVATE KEY-----\nab+/\n-----END EC PRIVATE KEY-----⟧ y",
    );
    check(
        Entity::PemKey,
        "⟦-----BEGIN PRIVATE KEY-----\\nabcd==⟧\" -----BEGIN CERTIFICATE-----",
    );
    check(
        Entity::AwsKeyId,
        "⟦AKIAIOSFODNN7EXAMPLE⟧ AKIAIOSFODNN7EXAMPLES xAKIAIOSFODNN7EXAMPLE AKIA",
    );
    check(
        Entity::AwsSecret,
        "aws_secret_access_key=⟦wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY⟧",
    );
    check(Entity::AwsSecret, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    check(Entity::AwsKeyId, "AKIAXXXXXXXXXXXXXXXX");
    let body = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hI6";
    check(
        Entity::GithubToken,
        &format!("⟦ghp_{body}⟧ ghx_{body} xghp_{body} ghp_{}", "x".repeat(36)),
    );
    check(
        Entity::GitlabToken,
        &format!("⟦glpat-{}⟧. glass-{body}", &body[..20]),
    );
    check(
        Entity::SlackToken,
        &format!("⟦xoxb-123456789012-{body}⟧ ⟦hooks.slack.com/services/T01234567/B01234567/{body}⟧"),
    );
    check(
        Entity::StripeKey,
        &format!("⟦sk_live_{body}⟧ task_live_{body} ⟦whsec_{body}⟧"),
    );
    check(
        Entity::GoogleKey,
        &format!("⟦AIza{}⟧ AIza{body} ⟦GOCSPX-{}⟧", &body[..35], &body[..28]),
    );
    check(
        Entity::Secret,
        &format!(
            "password=⟦{body}⟧ \"api_key\": \"⟦{body}⟧\" {{\\\"token\\\":\\\"⟦{body}⟧\\\"}} apiKey := '⟦{body}⟧'"
        ),
    );
    let uses = [
        "DB_PASS=⟦{}⟧ compass=aB3dE6gH9jK2mN5pQ8sT <password>⟦{}⟧</password> ?access_token=⟦{}⟧&v=2",
        "Authorization: Bearer ⟦{}⟧ \"authorization\": \"Basic ⟦{}⟧\" Bearer aB3dE6gH9jK2mN5pQ8sT password Basic x",
        "postgres://app1:⟦1secret-pass⟧@db:5432/app http://host:8080/a1b2c3d4e5f6g7@x https://a:password@h",
        "s3_key: aB3dE6gH9jK2mN5pQ8sT public_key: aB3dE6gH9jK2mN5pQ8sT PublicKeyToken=aB3dE6gH9jK2mN5pQ8sT",
        "file_key=uploads/aB3dE6gH9jK2mN5pQ8sT.pdf api_key=⟦{}⟧",
    ];
    for text in uses {
        check(Entity::Secret, &text.replace("{}", body));
    }
    check(
        Entity::Secret,
        "monkey=aB3dE6gH9jK2mN5pQ8sT key=org.example.Orders cache_key: 123e4567-e89b-12d3-a456-426614174000",
    );
}

#[test]
fn a_named_credential_is_no_secret_besides() {
    let text = format!("token={JWT}");
    let kinds = |wanted| {
        reference(text.as_bytes(), wanted)
            .iter()
            .map(|hit| hit.entity)
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(Detectors::ALL), [Entity::Jwt]);
    assert_eq!(kinds(Detectors::NONE.with(Entity::Secret)), [Entity::Secret]);
}

#[test]
fn digits_of_a_token_are_no_card() {
    let text = b"xoxb-4111111111111111-123456789012-aB3dE6gH9jK2mN5pQ8sT";
    let wanted = Detectors::NONE.with(Entity::SlackToken).with(Entity::Card);
    assert!(
        reference(text, wanted)
            .iter()
            .all(|hit| hit.entity == Entity::SlackToken)
    );
    assert!(!reference(text, Detectors::NONE.with(Entity::Card)).is_empty());
}

#[test]
fn names_and_sets() {
    for entity in Entity::ALL {
        assert_eq!(Entity::from_name(entity.name()), Some(entity));
        assert_eq!(Detectors::ALL.iter().nth(entity as usize), Some(entity));
    }
    assert_eq!(
        Detectors::PERSONAL.iter().count() + Detectors::CREDENTIALS.iter().count() + 2,
        Entity::COUNT
    );
}

#[test]
fn hits_are_overwritten_and_nothing_else() {
    let mut text = "Zoë, card 4111 1111 1111 1111, zoë@example.com"
        .to_owned()
        .into_bytes();
    let mut hits = Vec::new();
    detect(&text, Detectors::PERSONAL, &mut hits);
    redact_hits(&mut text, &hits, Redaction::KeepLast(4));
    assert_eq!(
        std::str::from_utf8(&text),
        Ok("Zoë, card ***************1111, ************.com")
    );
}

/// Pieces of text that hits, near misses and their borders are made of.
fn fragment() -> impl Strategy<Value = String> {
    const PARTS: [&str; 88] = [
        "4111111111111111",
        "4111 1111 1111 1111",
        "3782-822463-10005",
        "1",
        "12",
        "0",
        " ",
        " ",
        "-",
        ".",
        ",",
        ":",
        "::",
        "078-05-1120",
        "123 45 6789",
        "123456789",
        "ssn ",
        "social sec",
        "DE89370400440532013000",
        "PL61 1090 1014 0000 0712 1981 2874",
        "GB29",
        " NWBK",
        "@",
        "a",
        "zoë",
        "example.com",
        "a@b.co",
        ".x",
        "+",
        "+49 30 1234567",
        "(212) 555-0123",
        "212-555-0123",
        "1-212-555-0123",
        "020 7946 0958",
        "01 23 45 67 89",
        "10.0.0.1",
        ".1",
        "2001:db8::1",
        "fe80",
        ":a1",
        JWT,
        "eyJ",
        "-----",
        "-----BEGIN RSA PRIVATE KEY-----",
        "ab+/",
        "-----END RSA PRIVATE KEY-----",
        "\n",
        "AKIAIOSFODNN7EXAMPLE",
        "secret",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "password",
        "api_key",
        "=",
        "\"",
        "\\\"",
        "glpat-",
        "ghp_",
        "xoxb-",
        "sk_live_",
        "aB3dE6gH9jK2mN5pQ8sT",
        "AIza",
        "hooks.slack.com/services/T",
        "'",
        "2024-05-01 12:34:56",
        "\u{a0}",
        "\u{202f}",
        "\u{2011}",
        "%40",
        "a%40b.co",
        "4111\u{a0}1111\u{a0}1111\u{a0}1111",
        "4111.1111.1111.1111",
        "078\u{2011}05\u{2011}1120",
        "078.05.1120",
        "DE89\u{202f}3704\u{202f}0044\u{202f}0532\u{202f}0130\u{202f}00",
        "DE89-3704-0044-0532-0130-00",
        "212\u{a0}555\u{a0}0123",
        "+33\u{a0}6\u{a0}12 34-56/78",
        "0049 30 1234567",
        "(03012) 123456",
        "1 (212) 555-0123",
        "006\u{a0}1212345678",
        "Authorization",
        " Bearer ",
        "postgres://app1:",
        "aB3dE6gH9@db",
        "<password>",
        "xoxb-4111111111111-4111111111111-aB3dE6gH9jK2mN5pQ8sT",
        "DB_PASS",
    ];
    prop_oneof![6 => select(&PARTS[..]).prop_map(str::to_owned), 1 => ".{0,6}", 1 => "[0-9 -]{1,24}"]
}

fn text(parts: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    vec(fragment(), parts).prop_map(|parts| parts.concat())
}

fn some_detectors() -> impl Strategy<Value = Detectors> {
    prop_oneof![
        Just(Detectors::ALL),
        Just(Detectors::PERSONAL),
        vec(select(&Entity::ALL[..]), 0..6).prop_map(|entities| entities.into_iter().collect::<Detectors>()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_level_classifies_the_same(bytes in vec(any::<u8>(), 0..400), ascii in "[ -~]{0,300}") {
        for bytes in [&bytes[..], ascii.as_bytes()] {
            for needs in [Needs::Personal, Needs::All] {
                let blocks = bytes.len().div_ceil(BLOCK_BYTES);
                let classified = |level| {
                    let mut classes = Classes::new();
                    classify(level, needs, bytes, blocks, &mut classes);
                    (0..=blocks).map(|block| classes.block(block)).collect::<Vec<_>>()
                };
                let expect = classified(Level::Scalar);
                for (at, byte) in bytes.iter().enumerate() {
                    let (masks, bit) = (&expect[at / BLOCK_BYTES], at % BLOCK_BYTES);
                    prop_assert_eq!(masks.digit >> bit & 1 == 1, byte.is_ascii_digit());
                    prop_assert_eq!(masks.letter >> bit & 1 == 1, byte.is_ascii_alphabetic());
                    prop_assert_eq!(masks.mark >> bit & 1 == 1, (b'('..=b'/').contains(byte));
                    prop_assert_eq!(masks.at >> bit & 1 == 1, *byte == b'@');
                    prop_assert_eq!(masks.lead >> bit & 1 == 1, matches!(byte, 0xc2 | 0xe2));
                }
                for level in levels() {
                    prop_assert_eq!(&classified(level), &expect, "{:?}", level);
                }
            }
        }
    }

    #[test]
    fn every_level_finds_what_the_reference_finds(
        cells in vec((text(0..12), vec(any::<u8>(), 0..9)), 0..12), wanted in some_detectors(),
    ) {
        let (mut buffer, mut spans, mut expect) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (cell, between)) in cells.iter().enumerate() {
            buffer.extend_from_slice(between); // nothing, or bytes that may look like text
            let at = buffer.len() as u32;
            spans.push(Span { at, bytes: cell.len() as u32 });
            buffer.extend_from_slice(cell.as_bytes());
            let hits = reference(cell.as_bytes(), wanted).into_iter();
            expect.extend(hits.map(|hit| Hit { cell: index as u32, at: hit.at + at, ..hit }));
        }
        expect.sort_unstable();
        for level in levels() {
            prop_assert_eq!(&scanned(level, &buffer, &spans, wanted), &expect, "{:?}", level);
        }
    }

    #[test]
    fn overwritten_text_is_valid_text(cell in text(0..20), wanted in some_detectors()) {
        let mut bytes = cell.clone().into_bytes();
        let mut hits = Vec::new();
        detect(&bytes, wanted, &mut hits);
        redact_hits(&mut bytes, &hits, Redaction::Blank);
        prop_assert!(std::str::from_utf8(&bytes).is_ok());
        prop_assert_eq!(bytes.len(), cell.len());
    }

    #[test]
    fn a_cell_in_pieces_gives_the_hits_of_the_whole(
        cell in text(60..400), cuts in vec(1..1500_usize, 1..12), wanted in some_detectors(),
    ) {
        prop_assert_eq!(in_pieces(cell.as_bytes(), wanted, &cuts), whole(cell.as_bytes(), wanted));
    }
}

fn whole(cell: &[u8], wanted: Detectors) -> Vec<Hit> {
    scanned(
        Level::detect(),
        cell,
        &[Span {
            at: 0,
            bytes: cell.len() as u32,
        }],
        wanted,
    )
}

/// Pieces of the given lengths in turn; checks that no hit starts before what was settled.
fn in_pieces(cell: &[u8], wanted: Detectors, lengths: &[usize]) -> Vec<Hit> {
    let (mut scanner, mut hits, mut rest) = (Scanner::new(wanted), Vec::new(), cell);
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*length).min(rest.len()));
        rest = behind;
        let (settled, known) = (scanner.settled(), hits.len());
        scanner.push(piece, &mut hits);
        assert!(hits[known..].iter().all(|hit| hit.at as usize >= settled));
        assert!(hits.iter().all(|hit| (hit.at as usize) < scanner.settled()));
    }
    scanner.finish(&mut hits);
    assert_eq!(scanner.settled(), 0);
    hits.sort_unstable();
    hits
}

#[test]
fn personal_data_is_found_at_every_cut() {
    let part = "Zoë: 4111 1111 1111 1111, ssn 123456789, DE89 3704 0044 0532 0130 00; zoë@example.com (212) 555-0123 ";
    let cell = part.repeat(20);
    let expect = whole(cell.as_bytes(), Detectors::PERSONAL);
    assert_eq!(expect.len(), 100);
    for cut in 1..cell.len() {
        let got = in_pieces(cell.as_bytes(), Detectors::PERSONAL, &[cut, cell.len()]);
        assert_eq!(got, expect, "cut at byte {cut}");
    }
    for length in 1..300 {
        let got = in_pieces(cell.as_bytes(), Detectors::PERSONAL, &[length]);
        assert_eq!(got, expect, "pieces of {length} bytes");
    }
}

#[test]
fn long_credentials_are_found_across_cuts() {
    let reach = Detectors::ALL.bytes_ahead() + BEHIND;
    let key = format!(
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
        "Ab3/".repeat(1500)
    );
    let endless = format!("-----BEGIN PRIVATE KEY-----{}", "Ab3/".repeat(4000));
    let token = format!("{}.{}.{}", &JWT[..20], "Zm9v".repeat(3000), "c2ln");
    let cell = format!(
        "{} {key} x {token} aws_secret=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY {endless} end",
        "word ".repeat(40)
    );
    let expect = whole(cell.as_bytes(), Detectors::ALL);
    let kinds = [Entity::Jwt, Entity::PemKey, Entity::PemKey, Entity::AwsSecret];
    for kind in kinds {
        assert!(expect.iter().any(|hit| hit.entity == kind), "{kind}");
    }
    assert_eq!(reference(cell.as_bytes(), Detectors::ALL), expect);
    for cut in (1..cell.len())
        .step_by(83)
        .chain(2 * reach - 20..2 * reach + 20)
        .chain(190..300)
    {
        assert_eq!(
            in_pieces(cell.as_bytes(), Detectors::ALL, &[cut, cell.len()]),
            expect,
            "cut at byte {cut}"
        );
    }
    for length in [1, 7, 64, 1000, reach - 1, reach, reach + 1, 2 * reach] {
        assert_eq!(
            in_pieces(cell.as_bytes(), Detectors::ALL, &[length]),
            expect,
            "pieces of {length} bytes"
        );
    }
}

#[test]
#[should_panic(expected = "a cell passes the end of its buffer")]
fn a_cell_past_the_buffer_is_refused() {
    detect_cells(
        &[b'1'; 16],
        &[Span { at: 9, bytes: 8 }],
        Detectors::ALL,
        &mut Vec::new(),
    );
}

#[test]
#[should_panic(expected = "cells do not ascend or overlap")]
fn cells_that_overlap_are_refused() {
    let cells = [Span { at: 0, bytes: 8 }, Span { at: 7, bytes: 2 }];
    detect_cells(&[b'1'; 16], &cells, Detectors::ALL, &mut Vec::new());
}
