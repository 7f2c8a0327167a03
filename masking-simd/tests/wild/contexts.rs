//! What values stand in. Holes: `{v}` the value, `{ip}` and `{mail}` private ones besides, the rest by [`filler`].

use super::{Chance, Section};

/// Private values that bring their own words stand in the first half of these only.
const OPEN: [&str; 26] = [
    "{v}",
    "{ts} INFO  [{host}] worker-{n}: {v}",
    "{w} {w} {v} {w}",
    "{v}\t{n}\t{w}",
    "#{n}: {v}",
    "{w} {w}; {v}; {w}",
    "/* {w} */ {v} -- {w}",
    "{ip} - - [{ts}] \"GET /{w}/{n}?q={v}&page={d} HTTP/1.1\" 200 {n}",
    "{\"id\":{n},\"at\":\"{ts}\",\"value\":\"{v}\",\"ok\":true}",
    "{n},{w},\"{v}\",{d}.{d}{d},{date}",
    "{n},{v},{w},{date}",
    "INSERT INTO {w} (id, {w}, at) VALUES ({n}, '{v}', '{ts}');",
    "UPDATE {w} SET {w} = '{v}' WHERE id = {n}",
    "{date};{v};{w};{n}",
    "<row id=\"{n}\"><{w}>{v}</{w}></row>",
    "Hello, we got your message about {v} and will answer by {date}. Kind regards, the {w} team",
    "Please use {v} from now on, the old one ({w}) is gone.",
    "Sehr geehrte Damen und Herren, bitte ändern Sie {v} in unserer Akte. Mit freundlichen Grüßen",
    "Bitte an {v}, danke! Rückfragen: {mail}",
    "Bonjour, je vous transmets {v} comme convenu le {date}. À bientôt",
    "Estimado cliente: anotamos {v} en su ficha n.º {n}. Un saludo",
    "Dzień dobry, przesyłam {v} zgodnie z ustaleniami z dnia {date}.",
    "ご連絡ありがとうございます。{v} を登録しました。",
    "- {w}: {v}\n- {w}: {n}\n- {w}: {date}",
    "{w}={v} {w}={n} took={d}ms",
    "[{v}, {n}, {w}]",
];

const HELD_OUT: [&str; 20] = [
    "{v}",
    "note {n}: {v} ({w})",
    "{ts} {host} {w}[{n}]: {w} {v} {w}",
    "{w} » {v} « {w}",
    "* {v}\n* {w}",
    "{n}|{v}|{w}|{date}",
    "{\"{w}\": [\"{v}\", \"{w}\"], \"n\": {n}}",
    "{\"log\":\"{w} {v}\\n\",\"stream\":\"stderr\",\"time\":\"{ts}\"}",
    "POST /api/{w}?id={n}&ref={v} from {ip} by {mail}",
    "'{v}','{w}','{n}'",
    "COPY {w} FROM stdin;\n{n}\t{v}\t\\N\n\\.",
    "SELECT * FROM {w} WHERE {w} IN ('{v}', '{n}') LIMIT {d}0",
    "{w}: \"{v}\"\n{w}: {n}",
    "Called today ({date}); says {v} is right. Follow up on #{n}.",
    "Guten Tag, unter {v} erreiche ich niemanden. Vorgang {n}.",
    "Gentile cliente, abbiamo ricevuto {v} in data {date}. Cordiali saluti",
    "Prezado cliente, confirme {v} até {date}, por favor.",
    "Hej! Vi har sparat {v} på ditt konto.",
    "您好，您的資料 {v} 已更新。",
    "Error: {w} failed for <{v}> at {w}.rs:{d}{d}",
];

/// How many contexts, from the first, do not need the value to be one line or without words of its own.
const PLAIN: usize = 5;

pub fn pick(chance: &mut Chance, section: Section, is_long: bool, has_words: bool) -> &'static str {
    let all: &[&'static str] = match section {
        Section::Open => &OPEN,
        Section::HeldOut => &HELD_OUT,
    };
    let count = if is_long || has_words { PLAIN } else { all.len() };
    all[chance.below(count as u64) as usize]
}

pub fn filler(chance: &mut Chance, name: &str) -> String {
    const WORDS: [&str; 32] = [
        "orders",
        "refund",
        "parcel",
        "status",
        "pending",
        "region",
        "north",
        "ledger",
        "quota",
        "retry",
        "batch",
        "shelf",
        "colour",
        "größe",
        "straße",
        "été",
        "señal",
        "zażółć",
        "naïve",
        "reçu",
        "sala",
        "prazo",
        "konto",
        "item",
        "invoice",
        "queue",
        "branch",
        "office",
        "carrier",
        "label",
        "color",
        "draft",
    ];
    match name {
        "w" => chance.one(&WORDS).to_owned(),
        "n" => {
            let count = chance.between(0, 6);
            chance.fill("8") + &chance.many("9", count)
        }
        "d" => chance.fill("8"),
        "date" => date(chance),
        "ts" => {
            let (hour, rest) = (chance.below(24), [0; 2].map(|_| chance.below(60)));
            let (mark, end) = (
                chance.one(&["T", " "]),
                chance.one(&["", "Z", ".123Z", "+02:00", ",471"]),
            );
            let date = chance.fill("2024-‹0›8-‹1›9");
            format!("{date}{mark}{hour:02}:{:02}:{:02}{end}", rest[0], rest[1])
        }
        "host" => chance.fill("‹web-›9‹.›a9‹.eu›"),
        _ => panic!("no hole is called {name}"),
    }
}

pub fn date(chance: &mut Chance) -> String {
    let (year, month, day) = (
        chance.between(1999, 2029),
        chance.between(1, 12),
        chance.between(1, 28),
    );
    match chance.below(4) {
        0 => format!("{year}-{month:02}-{day:02}"),
        1 => format!("{day:02}.{month:02}.{year}"),
        2 => format!("{month:02}/{day:02}/{year}"),
        _ => format!(
            "{day} {}. {year}",
            chance.one(&["Jan", "Mai", "août", "Oct", "Dez"])
        ),
    }
}
