//! A labelled corpus: cells of text with what is private in them marked, and cells that only look as if.
//!
//! Made from a seed, so that one number names one corpus. Positive cells include spellings that the grammar does not
//! promise to find (a card in pairs, an address with quotes, a number without any mark), so recall is a measurement.

mod values;

use masking_simd::Entity;
use values::{Dice, HEX, UPPER, card, email, iban, phone, timestamp, uuid, words};

const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A cell and what is private in it: kind, offset, bytes.
pub struct Labelled {
    pub text: String,
    pub truth: Vec<(Entity, usize, usize)>,
}

/// `per_entity` positive cells of each kind and four times as many negative ones, mixed.
pub fn corpus(seed: u64, per_entity: usize) -> Vec<Labelled> {
    let mut dice = Dice::new(seed);
    let mut cells = Vec::new();
    for _ in 0..per_entity {
        for entity in Entity::ALL {
            cells.push(positive(&mut dice, entity));
        }
        for _ in 0..4 * Entity::COUNT {
            let text = framed(&mut dice, negative).0;
            cells.push(Labelled {
                text,
                truth: Vec::new(),
            });
        }
    }
    cells
}

/// A text alone in its cell, in a sentence, or in a field; and where it starts.
fn framed(dice: &mut Dice, make: impl FnOnce(&mut Dice) -> String) -> (String, usize, usize) {
    let text = make(dice);
    let (before, after) = match dice.below(4) {
        0 | 1 => (String::new(), String::new()),
        2 => {
            let (first, last) = (dice.between(1, 6), dice.between(1, 4));
            let mark = dice.pick(&["", ",", ".", ";", "!"]);
            (words(dice, first) + " ", format!("{mark} {}", words(dice, last)))
        }
        _ => {
            let count = dice.between(1, 3);
            (format!("({} ref: ", words(dice, count)), ")".to_owned())
        }
    };
    (format!("{before}{text}{after}"), before.len(), text.len())
}

fn positive(dice: &mut Dice, entity: Entity) -> Labelled {
    let (mut prefix, mut suffix) = (String::new(), String::new());
    let value = match entity {
        Entity::Card => card(dice),
        Entity::Ssn => ssn(dice, &mut prefix),
        Entity::Iban => iban(dice),
        Entity::Email => email(dice),
        Entity::Phone => phone(dice),
        Entity::Ipv4 => ipv4(dice),
        Entity::Ipv6 => ipv6(dice),
        Entity::Jwt => jwt(dice),
        Entity::PemKey => pem(dice),
        Entity::AwsKeyId => {
            dice.pick(&["AKIA", "ASIA"]).to_owned() + &dice.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)
        }
        Entity::AwsSecret => {
            prefix = dice
                .pick(&[
                    "aws_secret_access_key = ",
                    "SecretAccessKey\": \"",
                    "AWS_SECRET_ACCESS_KEY=",
                    "secret: ",
                ])
                .to_owned();
            if dice.below(8) == 0 {
                // As a line of an exported table, behind the key id's number only.
                prefix = format!("AKIA{},", dice.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16));
            }
            dice.text(BASE64, 40)
        }
        Entity::GithubToken if dice.below(4) == 0 => {
            format!("github_pat_{}_{}", dice.text(ALNUM, 22), dice.text(ALNUM, 59))
        }
        Entity::GithubToken => {
            dice.pick(&["ghp_", "gho_", "ghs_", "ghu_", "ghr_"]).to_owned() + &dice.text(ALNUM, 36)
        }
        Entity::GitlabToken => {
            dice.pick(&["glpat-", "gldt-", "glrt-", "glptt-"]).to_owned() + &dice.text(BASE64URL, 20)
        }
        Entity::SlackToken => {
            let kind = dice.pick(&["xoxb", "xoxp", "xoxa"]);
            format!(
                "{kind}-{}-{}-{}",
                dice.digits(12),
                dice.digits(13),
                dice.text(ALNUM, 24)
            )
        }
        Entity::StripeKey => {
            dice.pick(&["sk_live_", "sk_test_", "rk_live_", "whsec_"])
                .to_owned()
                + &dice.text(ALNUM, 32)
        }
        Entity::GoogleKey => match dice.below(3) {
            0 => "GOCSPX-".to_owned() + &dice.text(BASE64URL, 28),
            1 => "ya29.".to_owned() + &dice.text(BASE64URL, 120),
            _ => "AIza".to_owned() + &dice.text(BASE64URL, 35),
        },
        Entity::Secret => {
            let (before, after) = match dice.below(7) {
                0 => ("password=", ""),
                1 => ("\"api_key\": \"", "\""),
                2 => ("DB_PASSWORD='", "'"),
                3 => ("{\\\"client_secret\\\":\\\"", "\\\"}"),
                4 => ("authToken: ", ""),
                5 => ("private_key => \"", "\""),
                _ => ("apiKey := `", "`"),
            };
            (prefix, suffix) = (before.to_owned(), after.to_owned());
            match dice.below(3) {
                0 => dice.text(HEX, 32),
                1 => dice.text(ALNUM, 24),
                _ => dice.text(BASE64URL, 43),
            }
        }
    };
    let (text, at, bytes) = framed(dice, |_| format!("{prefix}{value}{suffix}"));
    let mut truth = vec![(entity, at + prefix.len(), bytes - prefix.len() - suffix.len())];
    if prefix.starts_with("AKIA") {
        truth.push((Entity::AwsKeyId, at, 20));
    }
    Labelled { text, truth }
}

pub fn ssn(dice: &mut Dice, prefix: &mut String) -> String {
    let area = match dice.between(1, 898) {
        666 => 665,
        area => area,
    };
    let (group, serial) = (dice.between(1, 99), dice.between(1, 9999));
    match dice.below(10) {
        0 => {
            *prefix = dice
                .pick(&["SSN ", "ssn: ", "Social security number is "])
                .to_owned();
            format!("{area:03}{group:02}{serial:04}")
        }
        1 => format!("{area:03} {group:02} {serial:04}"),
        _ => format!("{area:03}-{group:02}-{serial:04}"),
    }
}

fn ipv4(dice: &mut Dice) -> String {
    let (first, rest) = (dice.between(1, 223), [0; 3].map(|_| dice.below(256)));
    format!("{first}.{}.{}.{}", rest[0], rest[1], rest[2])
}

fn ipv6(dice: &mut Dice) -> String {
    let mut group = || format!("{:x}", dice.below(0x10000));
    let groups: Vec<String> = (0..8).map(|_| group()).collect();
    match dice.below(4) {
        0 => format!("2001:db8:{}", groups[2..].join(":")),
        1 => format!("2001:db8:{}::{}", groups[0], groups[1]),
        2 => format!("fe80::{}:{}:9", groups[0], groups[1]),
        _ => format!("::ffff:{}", ipv4(dice)),
    }
}

/// Base64url without padding.
fn encoded(text: &str) -> String {
    let alphabet = BASE64URL.as_bytes();
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, place| {
            bits << 8 | u32::from(three.get(place).copied().unwrap_or(0))
        });
        for sextet in 0..=three.len() {
            out.push(char::from(alphabet[(bits >> (18 - 6 * sextet)) as usize & 63]));
        }
    }
    out
}

fn jwt(dice: &mut Dice) -> String {
    let header = dice.pick(&[
        "{\"alg\":\"HS256\",\"typ\":\"JWT\"}",
        "{\"typ\":\"JWT\",\"alg\":\"RS256\",\"kid\":\"key-7\"}",
        "{\"alg\":\"dir\",\"enc\":\"A256GCM\"}",
    ]);
    if header.contains("dir") {
        let (nonce, text, tag) = (
            dice.text(BASE64URL, 16),
            dice.text(BASE64URL, 90),
            dice.text(BASE64URL, 22),
        );
        return format!("{}..{nonce}.{text}.{tag}", encoded(header));
    }
    let claims = format!("{{\"sub\":\"{}\",\"exp\":17{}}}", dice.digits(6), dice.digits(8));
    format!(
        "{}.{}.{}",
        encoded(header),
        encoded(&claims),
        dice.text(BASE64URL, 43)
    )
}

fn pem(dice: &mut Dice) -> String {
    let label = dice.pick(&[
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
    ]);
    let line_end = dice.pick(&["\n", "\r\n", "\\n"]);
    let lines: Vec<String> = (0..dice.between(3, 25)).map(|_| dice.text(BASE64, 64)).collect();
    format!(
        "-----BEGIN {label}-----{line_end}{}{line_end}-----END {label}-----",
        lines.join(line_end)
    )
}

/// What looks private and is not.
pub fn negative(dice: &mut Dice) -> String {
    match dice.below(26) {
        0 => format!("ORD-{}-{}", dice.digits(4), dice.digits(7)),
        1 => dice.between(100_000_000, 999_999_999).to_string(),
        2 | 3 => timestamp(dice),
        4 | 5 => uuid(dice),
        6 => {
            let count = dice.pick(&[&32, &40, &64]);
            dice.text(HEX, *count)
        }
        7 => format!("{}.{}", dice.below(100_000), {
            let count = dice.between(2, 16);
            dice.digits(count)
        }),
        8 => format!("v{}.{}.{}", dice.below(30), dice.below(30), dice.below(2000)),
        9 => format!(
            "version {}.{}.{}.{}",
            dice.between(1, 30),
            dice.below(30),
            dice.below(200),
            dice.below(99)
        ),
        10 => format!("data:image/png;base64,iVBORw0KGgo{}==", dice.text(BASE64, 400)),
        11 => format!("1{}", dice.digits(18)), // a snowflake id
        12 => format!(
            "{}@{}.{}.{}",
            dice.pick(&["react", "left-pad"]),
            dice.below(30),
            dice.below(30),
            dice.below(30)
        ),
        13 => dice
            .pick(&[
                "logo@2x.png",
                "root@localhost",
                "@handle",
                "a @ b.c",
                "std::io::Error",
                "x::int4",
                "10::float8",
            ])
            .to_owned(),
        14 => [0; 6].map(|_| dice.text(HEX, 2)).join(":"),
        15 => format!("35{}", dice.digits(13)), // a device's IMEI
        16 => format!("1Z{}", dice.text("0123456789ABCDEFGHXYZ", 16)),
        17 => format!(
            "978-{}-{}-{}-{}",
            dice.digits(1),
            dice.digits(4),
            dice.digits(4),
            dice.digits(1)
        ),
        18 => format!(
            "{:.7}, {:.7}",
            dice.below(90_000_000) as f64 / 1e6,
            dice.below(180_000_000) as f64 / 1e6
        ),
        19 => format!(
            "key={}",
            dice.pick(&[
                "org.example.orders.OrderCreated",
                "user-profile-settings-page",
                "customer_id"
            ])
        ),
        20 => format!("cache_key: {}", uuid(dice)),
        21 => format!(
            "{} {} {} {}",
            dice.digits(3),
            dice.digits(3),
            dice.digits(3),
            dice.digits(3)
        ),
        22 => dice.digits(16),
        23 => format!("{}{}", dice.text(UPPER, 2), {
            let count = dice.between(10, 24);
            dice.digits(count)
        }),
        24 => format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----",
            dice.text(BASE64, 64)
        ),
        _ => {
            let count = dice.between(2, 20);
            words(dice, count)
        }
    }
}
