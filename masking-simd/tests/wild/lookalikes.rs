//! What looks private and is not: numbers, names and codes that ordinary tables are full of.

use super::values::{base64url, iban_of, with_check_digit};
use super::{Chance, Section, contexts};

type Lookalike = (&'static str, fn(&mut Chance) -> String);

pub fn of(section: Section) -> &'static [Lookalike] {
    match section {
        Section::Open => &OPEN,
        Section::HeldOut => &HELD_OUT,
    }
}

const OPEN: [Lookalike; 52] = [
    ("order number that passes Luhn", |chance| {
        with_check_digit(&chance.fill("8899999999"))
    }),
    ("16 digits that pass Luhn, no issuer", |chance| {
        with_check_digit(&chance.fill("‹9›8‹0›999999999999").replacen("979", "969", 1))
    }),
    ("16 digits", |chance| chance.fill("8999999999999999")),
    ("order number in groups", |chance| {
        chance.fill("8999-9999-9999-9999")
    }),
    ("masked card", |chance| chance.fill("‹4›999 **** **** 9999")),
    ("IMEI", |chance| with_check_digit(&chance.fill("35999999999999"))),
    ("EAN-13", |chance| {
        let body = chance.fill("‹40›9999999999");
        let sum: u32 = body
            .bytes()
            .enumerate()
            .map(|(place, digit)| u32::from(digit - b'0') * [1, 3][place % 2])
            .sum();
        format!("{body}{}", (10 - sum % 10) % 10)
    }),
    ("milliseconds since 1970", |chance| chance.fill("‹17›99999999999")),
    ("nanoseconds since 1970", |chance| {
        chance.fill("‹17›99999999999999999")
    }),
    ("64-bit id", |chance| chance.fill("899999999999999999")),
    ("UUID", |chance| {
        chance.fill("hhhhhhhh-hhhh-‹4›hhh-‹a›hhh-hhhhhhhhhhhh")
    }),
    ("UUID in capitals", |chance| {
        chance.fill("HHHHHHHH-HHHH-‹4›HHH-‹A›HHH-HHHHHHHHHHHH")
    }),
    ("git hash", |chance| chance.many("h", 40)),
    ("short git hash", |chance| chance.many("h", 7)),
    ("SHA-256", |chance| format!("sha256:{}", chance.many("h", 64))),
    ("inline image", |chance| {
        format!("data:image/png;base64,iVBORw0KGgo{}=", chance.many("/", 300))
    }),
    ("lock file integrity", |chance| {
        format!("sha512-{}==", chance.many("/", 86))
    }),
    ("version", |chance| chance.fill("v8.99.9-‹rc.›9")),
    ("package at a version", |chance| {
        chance.fill("‹@types/node@›89.9.9")
    }),
    ("assembly version", |chance| {
        chance.fill("‹System.Data, Version=4.0.0.0, Culture=neutral, PublicKeyToken=›hhhhhhhhhhhhhhhh")
    }),
    ("browser", |_| {
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0.6099.109 Safari/537.36".to_owned()
    }),
    ("release of four numbers", |chance| {
        chance.fill("‹release 2›.9.8.99")
    }),
    ("OID", |chance| chance.fill("‹1.3.6.1.4.1.›8999.8.9")),
    ("reverse name", |chance| chance.fill("8.9.8.‹10.in-addr.arpa›")),
    ("date", contexts::date),
    ("two dates", |chance| {
        format!("{} - {}", contexts::date(chance), contexts::date(chance))
    }),
    ("coordinates", |chance| chance.fill("89.999999, -8.9999999")),
    ("price", |chance| chance.fill("8.999.999,99 €")),
    ("part number with dashes", |chance| chance.fill("89-999-9999-A")),
    ("part number like a phone's", |chance| {
        chance.fill("‹0›99-9999-99")
    }),
    ("ISBN", |chance| chance.fill("‹978-3-›99-999999-9")),
    ("ZIP+4", |chance| chance.fill("89999-9999")),
    ("9 digits", |chance| chance.fill("899999999")),
    ("10 digits", |chance| chance.fill("8999999999")),
    ("Korean resident number shape", |chance| {
        chance.fill("889999-8999999")
    }),
    ("tracking number", |chance| chance.fill("‹1Z›XXX99999999999999")),
    ("VAT number", |chance| chance.fill("‹DE›999999999")),
    ("ISIN", |chance| chance.fill("‹US›9999999999")),
    ("wrong account number", |chance| {
        iban_of("DE", &chance.fill("999999999999999999"), 197)
    }),
    ("booking reference", |chance| chance.fill("AA99AAAA99")),
    ("MAC address", |chance| chance.fill("hh:hh:hh:hh:hh:hh")),
    ("world wide name", |chance| {
        chance.fill("‹50›:hh:hh:hh:hh:hh:hh:hh")
    }),
    ("path of a program", |chance| {
        chance.fill("‹std::collections::›aaaa::aaa9")
    }),
    ("cache key", |chance| {
        chance.fill("‹user:›8999‹:session:›hhhhhhhh")
    }),
    ("image at a scale", |chance| chance.fill("aaaa-aaa@‹2x.png›")),
    ("unit of systemd", |chance| chance.fill("‹getty@tty›8‹.service›")),
    ("ssh target", |chance| chance.fill("‹deploy@web-›99")),
    ("base64 of JSON", |chance| {
        base64url(&format!("{{\"page\":{},\"sort\":\"name\"}}", chance.fill("899")))
    }),
    ("certificate", |chance| {
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----",
            chance.many("/", 64)
        )
    }),
    ("placeholder", |chance| {
        chance
            .one(&[
                "password=<your-password-here>",
                "api_key=XXXXXXXXXXXXXXXXXXXX",
                "token: ${API_TOKEN_FROM_VAULT_01}",
                "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
                "AKIAXXXXXXXXXXXXXXXX",
                "sk_test_xxxxxxxxxxxxxxxxxxxxxxxx",
            ])
            .to_owned()
    }),
    ("key that is a name", |chance| {
        chance.fill("‹s3_key: uploads/2024/›99‹/report-›hhhhhhhhhhhh‹.pdf›")
    }),
    ("public key", |chance| {
        chance.fill("‹public_key: ›") + &chance.many("/", 43)
    }),
];

const HELD_OUT: [Lookalike; 34] = [
    ("SIM card number", |chance| {
        with_check_digit(&chance.fill("‹8949›99999999999999"))
    }),
    ("invoice of 14 digits", |chance| chance.fill("‹2024›9999999999")),
    ("loyalty card", |chance| chance.fill("‹70›99 9999 9999 9999")),
    ("19 digits", |chance| chance.fill("‹1›999999999999999999")),
    ("numbers in a row", |chance| {
        chance.fill("8999 9999 8999 9999 8999 9999")
    }),
    ("amounts", |chance| chance.fill("8999.99 899.99 89.99 8.99")),
    ("microseconds since 1970", |chance| {
        chance.fill("‹17›99999999999999")
    }),
    ("ULID", |chance| chance.fill("‹01H›XXXXXXXXXXXXXXXXXXXXXXX")),
    ("object id", |chance| chance.many("h", 24)),
    ("MD5", |chance| chance.many("h", 32)),
    ("etag", |chance| chance.fill("‹W/\"›hhhhhhhh-hhhhhhhhhhhh\"")),
    ("SVG path", |chance| {
        chance.fill("M89.9 9.99L89.99 89.9C8.9-9.99 99-8.9 89 9.99Z")
    }),
    ("inline font", |chance| {
        format!(
            "url(data:font/woff2;base64,d09GMgABAAAAA{})",
            chance.many("/", 200)
        )
    }),
    ("version of four numbers", |chance| chance.fill("‹ver. 1›9.9.8.9")),
    ("firmware", |chance| chance.fill("‹fw›8.9.99.9")),
    ("section", |chance| chance.fill("see §8.9.9 and §8.8.9")),
    ("semver range", |chance| chance.fill(">=8.9.9 <8.0.0 || ~8.9")),
    ("time range", |chance| chance.fill("‹0›8:99-‹1›8:99")),
    ("duration", |chance| chance.fill("‹0›9:‹1›9:‹2›9.999")),
    ("tax number", |chance| chance.fill("89‹/›899‹/›99999")),
    ("tax number with dashes", |chance| chance.fill("899-899-99-99")),
    ("serial number", |chance| chance.fill("‹SN-›999-99-999")),
    ("UPC", |chance| chance.fill("‹0›12345 99999 9")),
    ("lot", |chance| chance.fill("‹L0›99.9999.999")),
    ("bank code", |chance| chance.fill("AAAA‹DEFF›XXX")),
    ("LEI", |chance| chance.fill("‹5299›00XXXXXXXXXXXX99")),
    ("vehicle number", |chance| chance.fill("‹WVWZZZ›8XXXX999999")),
    ("fingerprint", |chance| {
        chance.fill("hh:hh:hh:hh:hh:hh:hh:hh:hh:hh:hh:hh:hh:hh:hh:hh")
    }),
    ("EUI-64", |chance| chance.fill("‹00›:hh:hh:‹ff:fe›:hh:hh:hh")),
    ("module of a script", |chance| {
        chance.fill("‹Acme::Order›8‹::Line›")
    }),
    ("container image", |chance| {
        format!("registry.example/app@sha256:{}", chance.many("h", 64))
    }),
    ("handle", |chance| chance.fill("@aaaa‹_›99 ‹and› @aaaa.aa")),
    ("customer id of a payment service", |chance| {
        chance.one(&["cus_", "price_1", "pk_live_51", "evt_1"]).to_owned() + &chance.many("x", 24)
    }),
    ("sort key", |chance| {
        chance.fill("‹sort_key: 2024-0›8‹-11#customer-›99999‹#line›")
    }),
];
