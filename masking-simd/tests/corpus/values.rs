//! Values of the corpus that result rows for figures are made of as well, and the numbers they come from.

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

pub const DIGITS: &str = "0123456789";
pub const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
pub const HEX: &str = "0123456789abcdef";
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

pub fn words(dice: &mut Dice, count: u64) -> String {
    (0..count)
        .map(|_| dice.pick(&WORDS))
        .collect::<Vec<_>>()
        .join(" ")
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
