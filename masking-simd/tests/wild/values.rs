//! Private values, spelled as they are met.

use masking_simd::Entity;

use super::{Chance, Section, Value};

pub fn value(chance: &mut Chance, section: Section, entity: Entity) -> Value {
    let is_open = section == Section::Open;
    match entity {
        Entity::Card => card(chance, is_open).into(),
        Entity::Ssn => ssn(chance, is_open),
        Entity::Iban => iban(chance, is_open).into(),
        Entity::Email => email(chance, is_open).into(),
        Entity::Phone => phone(chance, is_open).into(),
        Entity::Ipv4 => address(chance).into(),
        Entity::Ipv6 => ipv6(chance, is_open).into(),
        Entity::Jwt => jwt(chance, is_open).into(),
        Entity::PemKey => pem(chance, is_open).into(),
        Entity::AwsKeyId => {
            let prefix = chance.one(&["AKIA", "ASIA"]);
            prefix.to_owned() + &(0..16).map(|_| chance.one(BASE32)).collect::<String>()
        }
        .into(),
        Entity::AwsSecret => aws_secret(chance, is_open),
        Entity::GithubToken => github(chance, is_open),
        Entity::GitlabToken => match is_open {
            true => {
                let prefix = chance.one(&["glpat-", "glrt-", "gldt-"]);
                format!("{prefix}{}", chance.many("_", 20))
            }
            false => match chance.below(3) {
                0 => format!("glcbt-{}", chance.fill("hh‹_›xxxxxxxxxxxxxxxxxxxx")),
                1 => format!("glpat-{}", chance.many("x", 20)),
                _ => format!("glpat-{}.‹01›.{}", chance.many("_", 27), chance.many("X", 9)).replace(['‹', '›'], ""),
            },
        }
        .into(),
        Entity::SlackToken => match (is_open, chance.below(4)) {
            (true, 0) => "xoxp-".to_owned() + &chance.fill("999999999999-999999999999-9999999999999-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"),
            (true, 1) => chance.fill("‹https://hooks.slack.com/services/T›XXXXXXXXXX‹/B›XXXXXXXXXX‹/›xxxxxxxxxxxxxxxxxxxxxxxx"),
            (true, _) => format!("xoxb-{}", chance.fill("9999999999999-9999999999999-xxxxxxxxxxxxxxxxxxxxxxxx")),
            (false, 0) => format!("xapp-1-A{}", chance.fill("XXXXXXXXXX-9999999999999-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh")),
            (false, 1) => format!("xoxe-1-{}", chance.many("x", 140)),
            (false, _) => format!("xoxs-{}", chance.fill("99999999999-99999999999-99999999999-hhhhhhhhhh")),
        }
        .into(),
        Entity::StripeKey => {
            let prefix = match is_open {
                true => chance.one(&["sk_live_51", "sk_test_51", "whsec_"]),
                false => chance.one(&["rk_live_51", "sk_live_", "rk_test_"]),
            };
            let count = match is_open {
                true => 97,
                false => chance.between(24, 99),
            };
            format!("{prefix}{}", chance.many("x", if prefix == "whsec_" { 32 } else { count })).into()
        }
        Entity::GoogleKey => match (is_open, chance.below(3)) {
            (true, 0) => format!("ya29.a0{}", chance.many("_", 160)),
            (true, _) => format!("AIzaSy{}", chance.many("_", 33)),
            (false, 0) => format!("1//0{}", chance.fill("9") + &chance.many("_", 96)),
            (false, 1) => format!("GOCSPX-{}", chance.many("_", 28)),
            (false, _) => format!("AIzaSy{}", chance.many("x", 33)),
        }
        .into(),
        Entity::Secret => secret(chance, is_open),
    }
}

const BASE32: &[&str] = &[
    "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "O", "P", "Q", "R", "S", "T", "U",
    "V", "W", "X", "Y", "Z", "2", "3", "4", "5", "6", "7",
];

fn around(before: &str, text: String, after: &str) -> Value {
    Value {
        before: before.to_owned(),
        text,
        after: after.to_owned(),
    }
}

/// `body` and the digit that makes it pass Luhn's check.
pub fn with_check_digit(body: &str) -> String {
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (u32::from(digit - b'0'), place % 2) {
            (digit, 0) if digit > 4 => digit * 2 - 9,
            (digit, 0) => digit * 2,
            (digit, _) => digit,
        })
        .sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

fn grouped(text: &str, sizes: &[usize], mark: &str) -> String {
    let (mut out, mut at) = (String::new(), 0);
    for size in sizes.iter().cycle() {
        let end = (at + size).min(text.len());
        out += &text[at..end];
        at = end;
        if at == text.len() {
            break;
        }
        out += mark;
    }
    out
}

fn card(chance: &mut Chance, is_open: bool) -> String {
    let (prefix, count): (&str, usize) = match (is_open, chance.below(9)) {
        (true, 0..=2) => ("4", 16),
        (true, 3 | 4) => (chance.one(&["51", "52", "53", "54", "55"]), 16),
        (true, 5) => (chance.one(&["2221", "2400", "2719"]), 16),
        (true, 6) => (chance.one(&["34", "37"]), 15),
        (true, 7) => (chance.one(&["6011", "644", "65"]), 16),
        (true, _) => (chance.one(&["506699", "636368", "606282", "5019"]), 16),
        (false, 0..=2) => ("4", 16),
        (false, 3 | 4) => (chance.one(&["51", "53", "2300", "2650"]), 16),
        (false, 5) => (chance.one(&["3528", "3589"]), 16),
        (false, 6) => (chance.one(&["36", "300", "38"]), 14),
        (false, 7) => ("62", chance.between(16, 19) as usize),
        (false, _) => (
            chance.one(&["6759", "6304", "5018"]),
            chance.between(13, 19) as usize,
        ),
    };
    let body = prefix.to_owned() + &chance.many("9", (count - 1 - prefix.len()) as u64);
    let number = with_check_digit(&body);
    let sizes: &[usize] = match count {
        15 => &[4, 6, 5],
        14 => &[4, 6, 4],
        _ => &[4],
    };
    match (is_open, chance.below(10)) {
        (_, 0..=4) => number,
        (_, 5 | 6) => grouped(&number, sizes, " "),
        (_, 7) => grouped(&number, sizes, "-"),
        (true, 8) => grouped(&number, sizes, "\u{a0}"),
        (true, _) => grouped(&number, sizes, "."),
        (false, 8) => grouped(&number, sizes, "\u{202f}"),
        (false, _) => grouped(&number, &[4], " "),
    }
}

fn ssn(chance: &mut Chance, is_open: bool) -> Value {
    let area = match chance.between(1, 899) {
        666 => 667,
        area => area,
    };
    let (group, serial) = (chance.between(1, 99), chance.between(1, 9999));
    let (plain, bare) = (
        format!("{area:03}-{group:02}-{serial:04}"),
        format!("{area:03}{group:02}{serial:04}"),
    );
    match (is_open, chance.below(10)) {
        (_, 0..=4) => plain.into(),
        (_, 5) => plain.replace('-', " ").into(),
        (true, 6) => around("\"ssn\":\"", bare, "\""),
        (true, 7) => around("SSN: ", bare, ""),
        (true, 8) => around("social_security_number=", bare, ""),
        (true, _) => around("Social Security Number: ", plain.replace('-', "."), ""),
        (false, 6) => around("SSN#", bare, ""),
        (false, 7) => around("<ssn>", bare, "</ssn>"),
        (false, 8) => around("applicant_ssn: ", bare, ""),
        (false, _) => around("My social security no. is ", bare, ""),
    }
}

fn iban(chance: &mut Chance, is_open: bool) -> String {
    const OPEN: [(&str, &str); 16] = [
        ("AT", "9999999999999999"),
        ("BE", "999999999999"),
        ("BG", "AAAA99999999XXXXXX"),
        ("CZ", "99999999999999999999"),
        ("DK", "99999999999999"),
        ("FI", "99999999999999"),
        ("GR", "9999999XXXXXXXXXXXXXXXX"),
        ("HR", "99999999999999999"),
        ("IE", "AAAA99999999999999"),
        ("LT", "9999999999999999"),
        ("LU", "999XXXXXXXXXXXXX"),
        ("PT", "999999999999999999999"),
        ("RO", "AAAAXXXXXXXXXXXXXXXX"),
        ("TR", "99999‹0›XXXXXXXXXXXXXXXX"),
        ("DE", "999999999999999999"),
        ("FR", "9999999999XXXXXXXXXXX99"),
    ];
    const HELD_OUT: [(&str, &str); 14] = [
        ("AE", "9999999999999999999"),
        ("SA", "99XXXXXXXXXXXXXXXXXX"),
        ("IL", "9999999999999999999"),
        ("SK", "99999999999999999999"),
        ("HU", "999999999999999999999999"),
        ("EE", "9999999999999999"),
        ("LV", "AAAAXXXXXXXXXXXXX"),
        ("IS", "9999999999999999999999"),
        ("GB", "AAAA99999999999999"),
        ("ES", "99999999999999999999"),
        ("CH", "99999XXXXXXXXXXXX"),
        ("SO", "9999999999999999999"),
        ("YE", "AAAA9999XXXXXXXXXXXXXXXXXX"),
        ("NL", "AAAA9999999999"),
    ];
    let (country, shape) = match is_open {
        true => OPEN[chance.below(16) as usize],
        false => HELD_OUT[chance.below(14) as usize],
    };
    let number = iban_of(country, &chance.fill(shape), 98);
    match (is_open, chance.below(10)) {
        (_, 0..=4) => number,
        (_, 5..=7) => grouped(&number, &[4], " "),
        (true, 8) => grouped(&number, &[4], "\u{a0}"),
        (true, _) => grouped(&number, &[4], "-"),
        (false, 8) => number.to_lowercase(),
        (false, _) => grouped(&number, &[4], " ").to_lowercase(),
    }
}

/// With the check digits that are right when `whole` is 98.
pub fn iban_of(country: &str, account: &str, whole: u32) -> String {
    let number = format!("{account}{country}00");
    let remainder = number.chars().fold(0, |remainder, character| {
        let digit = character.to_digit(36).expect("a letter or digit");
        (remainder * if digit > 9 { 100 } else { 10 } + digit) % 97
    });
    format!("{country}{:02}{account}", (whole - remainder) % 100)
}

/// A plain one, as in a log.
pub fn mailbox(chance: &mut Chance) -> String {
    chance.fill("aaaa.aaaaa@aaaaaaa.") + chance.one(&["com", "net", "de", "org", "io"])
}

fn email(chance: &mut Chance, is_open: bool) -> String {
    let plain = mailbox(chance);
    let (local, domain) = plain.split_once('@').expect("made with one");
    match (is_open, chance.below(12)) {
        (true, 0) => format!("{local}%40{domain}"),
        (true, 1) => format!("{local}+{}@{domain}", chance.fill("aa99")),
        (true, 2) => format!("{}@{domain}", chance.fill("a9999999")),
        (true, 3) => format!("{local}@mail.{}.co.uk", chance.fill("aaaa")),
        (true, 4) => plain.to_uppercase(),
        (true, 5) => format!("josé.{local}@{domain}"),
        (true, 6) => format!(
            "{}@{}.{}",
            chance.fill("aa"),
            chance.fill("a-aa9"),
            chance.one(&["museum", "agency", "berlin"])
        ),
        (false, 0) => format!("{local}%40{domain}"),
        (false, 1) => format!(
            "{}_{}-{}@{domain}",
            chance.fill("aaa"),
            chance.fill("aa"),
            chance.fill("99")
        ),
        (false, 2) => format!(
            "info@{}.{}",
            chance.fill("aaaaa").replace('a', "ä"),
            chance.one(&["de", "at", "ch"])
        ),
        (false, 3) => format!(
            "{}@{}.{}.{}",
            chance.fill("a.aaa"),
            chance.fill("aa99"),
            chance.fill("aaa"),
            chance.one(&["dev", "app", "info"])
        ),
        (false, 4) => format!("{}@例え.テスト", chance.fill("aaaa")),
        (false, 5) => format!(
            "{}={}@{domain}",
            chance.fill("bounce-aaaa"),
            chance.fill("aaa.‹com›")
        ),
        (false, 6) => format!(
            "{}@{}.{}",
            chance.fill("8999"),
            chance.fill("99999"),
            chance.one(&["com", "cn"])
        ),
        _ => plain,
    }
}

fn phone(chance: &mut Chance, is_open: bool) -> String {
    let american = chance.fill("‹2›89-‹5›89-9999").replace("11-", "12-");
    let (area, rest) = american.split_at(3);
    let line = &rest[1..];
    match (is_open, chance.below(14)) {
        (true, 0) => format!("+1{area}{}", line.replace('-', "")),
        (true, 1) => format!("+1 {area}-{line}"),
        (true, 2) => format!("({area}) {line}"),
        (true, 3) => american.replace('-', chance.one(&["-", ".", " "])),
        (true, 4) => chance.fill("‹+49 (0)›89 8999999"),
        (true, 5) => chance.fill("‹+49› 8899 8999999"),
        (true, 6) => chance.fill("‹0›889-8999999"),
        (true, 7) => chance.fill("(‹0›88) 8999999"),
        (true, 8) => chance
            .fill("‹06›.99.99.99.99")
            .replace('.', chance.one(&[".", " ", "-"])),
        (true, 9) => chance.fill("‹0049› 88 9999999"),
        (true, 10) => chance.fill("+44 ‹7›999 999999"),
        (true, 11) => chance.fill("‹07›999 999999"),
        (true, 12) => chance.fill("+33\u{a0}‹6›\u{a0}99\u{a0}99\u{a0}99\u{a0}99"),
        (true, _) => chance.fill("tel:+‹3906›99999999"),
        (false, 0) => format!("+1-{american}"),
        (false, 1) => format!("1 ({area}) {line}"),
        (false, 2) => format!("({area}){line}"),
        (false, 3) => format!("{american} x{}", chance.fill("899")),
        (false, 4) => chance.fill("(‹11›) ‹9›9999-9999"),
        (false, 5) => chance.fill("+55 ‹11 9›9999-9999"),
        (false, 6) => chance.fill("‹0›3-9999-9999"),
        (false, 7) => chance.fill("‹+91 98›999 99999"),
        (false, 8) => chance.fill("‹+86 138› 9999 9999"),
        (false, 9) => chance.fill("‹041/› 899 99 99"),
        (false, 10) => chance.fill("‹0›44 899 99 99"),
        (false, 11) => chance.fill("+‹48›\u{a0}‹6›99\u{a0}999\u{a0}999"),
        (false, 12) => chance.fill("(‹020›) ‹7›999 9999"),
        (false, _) => chance.fill("‹00›33 ‹1› 99 99 99 99"),
    }
}

pub fn address(chance: &mut Chance) -> String {
    let first = chance.one(&["10", "192", "172", "8", "84", "185", "203", "95"]);
    let rest = [0; 3].map(|_| chance.below(256));
    format!("{first}.{}.{}.{}", rest[0], rest[1], rest[2])
}

fn ipv6(chance: &mut Chance, is_open: bool) -> String {
    match (is_open, chance.below(4)) {
        (true, 0) => chance.fill("‹2001:db8›:8hhh:8hhh:8hhh:8hhh:8hhh:8hhh"),
        (true, 1) => chance.fill("‹2a02›:8hh:8hhh::8h"),
        (true, 2) => chance.fill("‹fe80::›8hhh:8hhh:‹fe›8h:8hhh"),
        (true, _) => chance.fill("‹2003›:8h:8hhh::8"),
        (false, 0) => chance.fill("‹2606:4700›:8HHH::8HHH:8HHH"),
        (false, 1) => chance.fill("‹fd00›::8hh"),
        (false, 2) => chance.fill("‹2400:cb00›:‹0000:0000:0000:0000›:8hhh:8hhh"),
        (false, _) => format!("::ffff:{}", address(chance)),
    }
}

/// Base64 of `text` in the alphabet for addresses, without padding.
pub fn base64url(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut out, mut bits, mut count) = (String::new(), 0_u32, 0);
    for byte in text.bytes() {
        (bits, count) = (bits << 8 | u32::from(byte), count + 8);
        while count >= 6 {
            count -= 6;
            out.push(char::from(ALPHABET[(bits >> count) as usize & 63]));
        }
    }
    if count > 0 {
        out.push(char::from(ALPHABET[(bits << (6 - count)) as usize & 63]));
    }
    out
}

fn jwt(chance: &mut Chance, is_open: bool) -> String {
    let header = match is_open {
        true => chance
            .one(&[
                "{\"alg\":\"RS256\",\"typ\":\"JWT\"}",
                "{\"typ\":\"at+jwt\",\"alg\":\"ES256\"}",
            ])
            .to_owned(),
        false => format!("{{\"kid\": \"{}\", \"alg\" : \"EdDSA\"}}", chance.many("h", 40)),
    };
    let claims = format!(
        "{{\"iss\":\"https://id.{}.example\",\"sub\":\"{}\"}}",
        chance.fill("aaaa"),
        chance.fill("899999")
    );
    let count = if is_open { 342 } else { 86 };
    format!(
        "{}.{}.{}",
        base64url(&header),
        base64url(&claims),
        chance.many("_", count)
    )
}

fn pem(chance: &mut Chance, is_open: bool) -> String {
    let (label, end) = match is_open {
        true => (
            chance.one(&["PRIVATE KEY", "RSA PRIVATE KEY"]),
            chance.one(&["\n", "\\n", "\n    "]),
        ),
        false => (
            chance.one(&["EC PRIVATE KEY", "DSA PRIVATE KEY", "PGP PRIVATE KEY BLOCK"]),
            chance.one(&["\n", "\r\n", "\\r\\n", " "]),
        ),
    };
    let count = chance.between(2, 20);
    let lines: Vec<String> = (0..count).map(|_| chance.many("/", 64)).collect();
    format!(
        "-----BEGIN {label}-----{end}{}{end}-----END {label}-----",
        lines.join(end)
    )
}

fn aws_secret(chance: &mut Chance, is_open: bool) -> Value {
    let text = chance.many("/", 40);
    match (is_open, chance.below(3)) {
        (true, 0) => around("aws_secret_access_key = ", text, ""),
        (true, 1) => around("\"SecretAccessKey\": \"", text, "\""),
        (true, _) => around("AWS_SECRET_ACCESS_KEY=", text, ""),
        (false, 0) => around("secret_key = \"", text, "\""),
        (false, 1) => around("secretAccessKey: '", text, "'"),
        (false, _) => around("<SecretAccessKey>", text, "</SecretAccessKey>"),
    }
}

fn github(chance: &mut Chance, is_open: bool) -> Value {
    match (is_open, chance.below(3)) {
        (true, 0) => around(
            "git clone https://",
            format!("ghp_{}", chance.many("x", 36)),
            "@github.com/acme/app.git",
        ),
        (true, 1) => format!("github_pat_{}_{}", chance.many("x", 22), chance.many("x", 59)).into(),
        (true, _) => format!("ghs_{}", chance.many("x", 36)).into(),
        (false, 0) => around(
            "https://x-access-token:",
            format!("ghs_{}", chance.many("x", 36)),
            "@github.com/acme/app",
        ),
        (false, 1) => around("GITHUB_TOKEN=", format!("gho_{}", chance.many("x", 36)), ""),
        (false, _) => format!("ghu_{}", chance.many("x", 36)).into(),
    }
}

fn secret(chance: &mut Chance, is_open: bool) -> Value {
    let (opaque, hex, key) = (
        chance.many("x", 28),
        chance.many("h", 40),
        chance.many("/", 86) + "==",
    );
    match (is_open, chance.below(12)) {
        (true, 0) => around("Authorization: Bearer ", opaque, ""),
        (true, 1) => around("x-api-key: ", opaque, ""),
        (true, 2) => around(
            "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=",
            key,
            ";EndpointSuffix=core.windows.net",
        ),
        (true, 3) => around("PGPASSWORD=", opaque, " psql -h db"),
        (true, 4) => around("\"client_secret\": \"", hex, "\""),
        (true, 5) => around("JWT_SECRET='", opaque, "'"),
        (true, 6) => around("DB_PASS=", opaque, ""),
        (true, 7) => around("postgres://app:", opaque, "@db-1:5432/app"),
        (true, 8) => around("?access_token=", opaque, "&v=2"),
        (true, 9) => around("encryption_key: ", hex, ""),
        (true, 10) => around("Server=db;User Id=app;Password=", opaque, ";"),
        (true, _) => around("<password>", opaque, "</password>"),
        (false, 0) => around("Authorization: token ", hex, ""),
        (false, 1) => around("\"apiKey\":\"", opaque, "\","),
        (false, 2) => around("Endpoint=sb://acme.example/;SharedAccessKey=", key, ""),
        (false, 3) => around("export VAULT_TOKEN=", opaque, ""),
        (false, 4) => around("'password' => '", opaque, "',"),
        (false, 5) => around("signing_secret: \"", hex, "\""),
        (false, 6) => around("mysql -u root --password=", opaque, " app"),
        (false, 7) => around("amqp://guest:", opaque, "@mq:5672/"),
        (false, 8) => around("refresh_token=", opaque, ""),
        (false, 9) => around("\\\"secret_key\\\": \\\"", hex, "\\\""),
        (false, 10) => around("spring.datasource.password=", opaque, ""),
        (false, _) => around("authorization: Basic ", chance.many("x", 36), ""),
    }
}
