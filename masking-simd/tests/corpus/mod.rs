//! A labelled corpus: cells of text with what is private in them marked, and cells that only look as if.
//!
//! Made from a seed, so that one number names one corpus. Positive cells include spellings that the grammar does not
//! promise to find (a card in pairs, an address with quotes, a number without any mark), so recall is a measurement.

use masking_simd::Entity;

/// A small generator of numbers (xorshift64*); the same seed gives the same corpus everywhere.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    pub fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len() as u64) as usize]
    }

    pub fn text(&mut self, alphabet: &str, count: u64) -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        (0..count)
            .map(|_| alphabet[self.below(alphabet.len() as u64) as usize])
            .collect()
    }

    pub fn digits(&mut self, count: u64) -> String {
        self.text(DIGITS, count)
    }
}

const DIGITS: &str = "0123456789";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const HEX: &str = "0123456789abcdef";
const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const WORDS: [&str; 40] = [
    "order",
    "shipped",
    "please",
    "call",
    "back",
    "the",
    "customer",
    "on",
    "monday",
    "about",
    "invoice",
    "and",
    "refund",
    "approved",
    "by",
    "support",
    "with",
    "new",
    "address",
    "für",
    "größe",
    "paid",
    "late",
    "card",
    "number",
    "see",
    "ticket",
    "attached",
    "file",
    "is",
    "wrong",
    "delivery",
    "to",
    "warehouse",
    "in",
    "berlin",
    "naïve",
    "token",
    "key",
    "version",
];

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

pub fn words(dice: &mut Dice, count: u64) -> String {
    (0..count)
        .map(|_| dice.pick(&WORDS))
        .collect::<Vec<_>>()
        .join(" ")
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

fn luhn_digit(digits: &str) -> char {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit - b'0') * if place % 2 == 0 { 2 } else { 1 };
            value / 10 + value % 10
        })
        .sum();
    char::from_digit((10 - sum % 10) % 10, 10).expect("a digit")
}

pub fn card(dice: &mut Dice) -> String {
    let (prefix, count, groups): (&str, usize, &[usize]) = match dice.below(8) {
        0..=2 => ("4", 16, &[4, 4, 4, 4]),
        3 => ("5", 16, &[4, 4, 4, 4]),
        4 => (dice.pick(&["34", "37"]), 15, &[4, 6, 5]),
        5 => ("6011", 16, &[4, 4, 4, 4]),
        6 => (dice.pick(&["36", "38"]), 14, &[4, 6, 4]),
        _ => (dice.pick(&["3530", "62", "2204"]), 16, &[4, 4, 4, 4]),
    };
    let mut digits = prefix.to_owned();
    if prefix == "5" {
        digits += &dice.between(1, 5).to_string();
    }
    digits += &dice.digits((count - 1 - digits.len()) as u64);
    digits.push(luhn_digit(&digits));
    match dice.below(20) {
        0..=9 => digits,
        19 => grouped(&digits, &[2; 10], "  "), // a spelling that is not promised
        kind => grouped(&digits, groups, if kind < 15 { " " } else { "-" }),
    }
}

fn grouped(digits: &str, groups: &[usize], separator: &str) -> String {
    let mut rest = digits;
    let mut parts = Vec::new();
    for count in groups {
        let (part, behind) = rest.split_at((*count).min(rest.len()));
        parts.push(part);
        rest = behind;
    }
    parts.retain(|part| !part.is_empty());
    parts.join(separator)
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

pub fn iban(dice: &mut Dice) -> String {
    const SHAPES: [(&str, &str); 12] = [
        ("DE", "nnnnnnnnnnnnnnnnnn"),
        ("GB", "aaaannnnnnnnnnnnnn"),
        ("FR", "nnnnnnnnnncccccccccccnn"),
        ("NL", "aaaannnnnnnnnn"),
        ("ES", "nnnnnnnnnnnnnnnnnnnn"),
        ("NO", "nnnnnnnnnnn"),
        ("CH", "nnnnncccccccccccc"),
        ("IT", "annnnnnnnnncccccccccccc"),
        ("PL", "nnnnnnnnnnnnnnnnnnnnnnnn"),
        ("MT", "aaaannnnncccccccccccccccccc"),
        ("SE", "nnnnnnnnnnnnnnnnnnnn"),
        ("BE", "nnnnnnnnnnnn"),
    ];
    let (country, shape) = SHAPES[dice.below(12) as usize];
    let body: String = shape
        .chars()
        .map(|class| match class {
            'n' => dice.text(DIGITS, 1),
            'a' => dice.text(UPPER, 1),
            _ => dice.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 1),
        })
        .collect();
    let remainder = format!("{body}{country}00")
        .bytes()
        .fold(0, |remainder, byte| match byte {
            b'0'..=b'9' => (remainder * 10 + u32::from(byte - b'0')) % 97,
            _ => (remainder * 100 + u32::from(byte - b'A') + 10) % 97,
        });
    let number = format!("{country}{:02}{body}", 98 - remainder);
    match dice.below(10) {
        0..=5 => number,
        6..=8 => grouped(&number, &[4; 9], " "),
        _ => number.to_lowercase(),
    }
}

pub fn email(dice: &mut Dice) -> String {
    let local = match dice.below(12) {
        0 => format!("{}+{}", dice.text("abcdefgh", 5), dice.digits(2)),
        1 => format!("zoë.{}", dice.text("klmnop", 4)),
        2 => format!("\"{} {}\"", dice.text("abcd", 3), dice.text("efgh", 3)), // quotes are not promised
        3 => format!("{}_{}", dice.text("abcdefgh", 3), dice.digits(4)),
        _ => format!("{}.{}", dice.text("abcdefghijk", 5), dice.text("lmnopqrs", 7)),
    };
    let domain = dice.pick(&[
        "example.com",
        "mail.example.org",
        "example.co.uk",
        "bücher.example",
        "xn--bcher-kva.example",
    ]);
    format!("{local}@{domain}")
}

pub fn phone(dice: &mut Dice) -> String {
    let (area, exchange, line) = (dice.between(220, 989), dice.between(201, 989), dice.digits(4));
    let area = if area % 100 == 11 { area + 1 } else { area };
    let (four, six, seven) = (dice.digits(4), dice.digits(6), dice.digits(7));
    match dice.below(12) {
        0 => format!("+1{area}{exchange}{line}"),
        1 => format!("+1 ({area}) {exchange}-{line}"),
        2 => format!("({area}) {exchange}-{line}"),
        3 => format!("{area}-{exchange}-{line}"),
        4 => format!("{area}.{exchange}.{line}"),
        5 => format!("1-{area}-{exchange}-{line}"),
        6 => format!("+49 30 {seven}"),
        7 => format!("+44 20 {four} {line}"),
        8 => format!("020 {four} {line}"),
        9 => format!(
            "01 {} {} {} {}",
            dice.digits(2),
            dice.digits(2),
            dice.digits(2),
            dice.digits(2)
        ),
        10 => format!("0171/{seven}"),
        _ if dice.below(2) == 0 => format!("{area}{exchange}{line}"), // no mark: not promised
        _ => format!("07700 {six}"),
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

pub fn uuid(dice: &mut Dice) -> String {
    [8, 4, 4, 4, 12].map(|count| dice.text(HEX, count)).join("-")
}

pub fn timestamp(dice: &mut Dice) -> String {
    let (year, month, day) = (dice.between(1990, 2029), dice.between(1, 12), dice.between(1, 28));
    let (hour, minute, second) = (dice.below(24), dice.below(60), dice.below(60));
    match dice.below(5) {
        0 => format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"),
        1 => format!(
            "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{}+00",
            dice.digits(6)
        ),
        2 => format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"),
        3 => format!("{year}{month:02}{day:02}{hour:02}{minute:02}{second:02}"),
        _ => format!("17{}", {
            let count = dice.pick(&[&8, &11, &14]);
            dice.digits(*count)
        }),
    }
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
