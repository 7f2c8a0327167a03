//! Credentials: tokens by the prefixes that their issuers give them, JWT (RFC 7519, compact form), PEM armour
//! (RFC 7468), and values of high entropy behind a telling name.

use super::entity::Entity;
use super::grammar::{BEHIND, before, byte, contains, run};
use super::network::login_at;

#[inline(always)]
fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn starts(cell: &[u8], at: usize, text: &[u8]) -> bool {
    cell.get(at..).is_some_and(|rest| rest.starts_with(text))
}

/// A `prefix` that no word touches, and at least `least` bytes of `class` behind it that are no placeholder.
fn prefixed(
    cell: &[u8],
    at: usize,
    prefix: &[u8],
    least: usize,
    class: impl Fn(u8) -> bool,
) -> Option<usize> {
    let left = before(cell, at, 1);
    if !starts(cell, at, prefix) || left.is_ascii_alphanumeric() || left == b'_' {
        return None;
    }
    let body = run(
        cell,
        at + prefix.len(),
        Entity::GithubToken.bytes_max() - prefix.len(),
        class,
    );
    let bytes = prefix.len() + body;
    (body >= least && is_varied(&cell[at + prefix.len()..at + bytes])).then_some(bytes)
}

/// Whether `text` has more different characters than a placeholder (`xxxx…`).
fn is_varied(text: &[u8]) -> bool {
    const DIFFERENT_MIN: u32 = 6;
    let seen = text.iter().fold(0_u128, |seen, byte| seen | 1 << (byte & 0x7f));
    seen.count_ones() >= DIFFERENT_MIN
}

/// A web token: a header that is base64url of a JSON object with an `alg`, then two more parts (signed; the signature
/// may be empty) or four (encrypted). One that is longer than the limit ends there.
pub(crate) fn jwt_at(cell: &[u8], at: usize) -> Option<usize> {
    const PART_BYTES_MIN: usize = 2;
    if !starts(cell, at, b"eyJ") || is_base64url(before(cell, at, 1)) {
        return None;
    }
    let limit = at + Entity::Jwt.bytes_max();
    let header = run(cell, at, 512, is_base64url);
    if byte(cell, at + header) != b'.' || !names_algorithm(&cell[at..at + header]) {
        return None;
    }
    let (mut end, mut parts, mut found) = (at + header, 1, None);
    while parts < 5 && end < limit && byte(cell, end) == b'.' {
        let part = run(cell, end + 1, limit - end - 1, is_base64url);
        if parts == 1 && part < PART_BYTES_MIN {
            // An encrypted token with a direct key has an empty second part; its third never is.
            if part > 0 || byte(cell, end + 1) != b'.' {
                return None;
            }
        }
        (parts, end) = (parts + 1, end + 1 + part);
        if matches!(parts, 3 | 5) || end == limit {
            found = Some(end - at);
        }
    }
    found
}

/// Whether base64url `header` decodes to text that contains `"alg"`.
fn names_algorithm(header: &[u8]) -> bool {
    let mut text = [0_u8; 384];
    for (sextets, bytes) in header.chunks(4).zip(text.chunks_mut(3)) {
        let bits =
            sextets.iter().fold(0_u32, |bits, byte| bits << 6 | sextet(*byte)) << (6 * (4 - sextets.len()));
        bytes.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    contains(&text, b"\"alg\"")
}

fn sextet(byte: u8) -> u32 {
    match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'-' => 62,
        _ => 63,
    }
}

/// `-----BEGIN … PRIVATE KEY-----` (or `… PRIVATE KEY BLOCK-----`) to the end of its END line. Without one within the
/// limit the hit is the head and what follows it that armour is made of, line ends written as `\n` included.
pub(crate) fn pem_key_at(cell: &[u8], at: usize) -> Option<usize> {
    const LABEL_BYTES_MAX: usize = 48;
    const DASHES: &[u8] = b"-----";
    if !starts(cell, at, b"-----BEGIN ") {
        return None;
    }
    let label_at = at + 11;
    let label_bytes = run(cell, label_at, LABEL_BYTES_MAX, |byte| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' '
    });
    let label = &cell[label_at..label_at + label_bytes];
    let head_end = label_at + label_bytes + DASHES.len();
    if !starts(cell, label_at + label_bytes, DASHES)
        || !(label.ends_with(b"PRIVATE KEY") || label.ends_with(b"PRIVATE KEY BLOCK"))
    {
        return None;
    }
    let limit = cell.len().min(at + Entity::PemKey.bytes_max());
    let body = &cell[head_end..limit];
    let foot = body
        .windows(9)
        .position(|window| window == b"-----END ")
        .map(|foot| head_end + foot + 9);
    let end = foot.and_then(|foot_at| {
        let label = run(cell, foot_at, LABEL_BYTES_MAX, |byte| {
            byte != b'-' && byte.is_ascii_graphic() || byte == b' '
        });
        let end = foot_at + label + DASHES.len();
        (starts(cell, foot_at + label, DASHES) && end <= limit).then_some(end)
    });
    let armour = || {
        head_end
            + run(body, 0, body.len(), |byte| {
                byte.is_ascii_alphanumeric() || b"+/=\\\r\n\t :,.-".contains(&byte)
            })
    };
    Some(end.unwrap_or_else(armour) - at)
}

/// `AKIA`, `ASIA`, `ABIA` or `ACCA` and sixteen capitals or digits that are no placeholder.
pub(crate) fn aws_key_id_at(cell: &[u8], at: usize) -> Option<usize> {
    const BODY_BYTES: usize = 16;
    let prefix = cell.get(at..)?.first_chunk::<4>()?;
    if !matches!(prefix, b"AKIA" | b"ASIA" | b"ABIA" | b"ACCA") || is_alphanumeric(before(cell, at, 1)) {
        return None;
    }
    let body = run(cell, at + 4, BODY_BYTES, |byte| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit()
    });
    let end = at + 4 + body;
    let is_whole = body == BODY_BYTES && !is_alphanumeric(byte(cell, end));
    (is_whole && is_varied(&cell[at + 4..end])).then_some(4 + BODY_BYTES)
}

/// Forty base64 characters of every class and of high entropy, when the word `secret` or an access key id's prefix is
/// among the 64 bytes before them.
pub(crate) fn aws_secret_at(cell: &[u8], at: usize) -> Option<usize> {
    const BYTES: usize = 40;
    let is_class = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let left = before(cell, at, 1);
    if is_class(left) || matches!(left, b'_' | b'-') || run(cell, at, BYTES + 1, is_class) != BYTES {
        return None;
    }
    let (value, context) = (&cell[at..at + BYTES], &cell[at.saturating_sub(BEHIND)..at]);
    let has_every_class = value.iter().any(u8::is_ascii_uppercase)
        && value.iter().any(u8::is_ascii_lowercase)
        && value.iter().any(u8::is_ascii_digit);
    let is_near = contains(context, b"secret")
        || context
            .windows(4)
            .any(|window| window == b"AKIA" || window == b"ASIA");
    let is_open = !matches!(byte(cell, at + BYTES), b'=' | b'_' | b'-');
    (has_every_class && is_near && is_open && bits_per_byte(value) >= 3.8).then_some(BYTES)
}

/// `ghp_`, `gho_`, `ghu_`, `ghs_` or `ghr_` and 36 or more letters and digits; `github_pat_` and 60 or more.
pub(crate) fn github_token_at(cell: &[u8], at: usize) -> Option<usize> {
    [b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"]
        .into_iter()
        .find_map(|prefix| prefixed(cell, at, prefix, 36, is_alphanumeric))
        .or_else(|| {
            prefixed(cell, at, b"github_pat_", 60, |byte| {
                is_alphanumeric(byte) || byte == b'_'
            })
        })
}

/// `glpat-` and the other prefixes of GitLab's token overview, and 20 or more characters.
pub(crate) fn gitlab_token_at(cell: &[u8], at: usize) -> Option<usize> {
    const PREFIXES: [&[u8]; 10] = [
        b"glpat-",
        b"gldt-",
        b"glrt-",
        b"glcbt-",
        b"glptt-",
        b"glft-",
        b"glsoat-",
        b"glimt-",
        b"glagent-",
        b"gloas-",
    ];
    if !starts(cell, at, b"gl") {
        return None;
    }
    PREFIXES
        .into_iter()
        .find_map(|prefix| prefixed(cell, at, prefix, 20, |byte| is_base64url(byte) || byte == b'.'))
        .map(|bytes| bytes - usize::from(byte(cell, at + bytes - 1) == b'.'))
}

/// `xoxb-` and its like with digits and letters in parts, `xapp-`, and addresses of incoming webhooks.
pub(crate) fn slack_token_at(cell: &[u8], at: usize) -> Option<usize> {
    const PREFIXES: [&[u8]; 9] = [
        b"xoxb-",
        b"xoxp-",
        b"xoxa-",
        b"xoxr-",
        b"xoxs-",
        b"xoxo-",
        b"xoxe-",
        b"xoxe.xox",
        b"xapp-",
    ];
    if byte(cell, at) == b'h' {
        let bytes = prefixed(cell, at, b"hooks.slack.com/services/T", 20, |byte| {
            is_alphanumeric(byte) || byte == b'/'
        })?;
        return Some(bytes);
    }
    let bytes = PREFIXES
        .into_iter()
        .find_map(|prefix| prefixed(cell, at, prefix, 16, |byte| is_alphanumeric(byte) || byte == b'-'))?;
    cell[at..at + bytes]
        .iter()
        .any(u8::is_ascii_digit)
        .then_some(bytes)
}

/// `sk_live_`, `sk_test_`, `rk_live_` or `rk_test_` and 16 or more letters and digits; `whsec_` and 24 or more.
pub(crate) fn stripe_key_at(cell: &[u8], at: usize) -> Option<usize> {
    [b"sk_live_", b"sk_test_", b"rk_live_", b"rk_test_"]
        .into_iter()
        .find_map(|prefix| prefixed(cell, at, prefix, 16, is_alphanumeric))
        .or_else(|| {
            prefixed(cell, at, b"whsec_", 24, |byte| {
                is_alphanumeric(byte) || matches!(byte, b'+' | b'/')
            })
        })
}

/// `AIza` and exactly 35 characters, `ya29.` and 20 or more, `GOCSPX-` and 28, `1//0` and 40 or more.
pub(crate) fn google_key_at(cell: &[u8], at: usize) -> Option<usize> {
    match byte(cell, at) {
        b'A' => prefixed(cell, at, b"AIza", 35, is_base64url).filter(|bytes| *bytes == 39),
        b'y' => prefixed(cell, at, b"ya29.", 20, is_base64url),
        b'G' => prefixed(cell, at, b"GOCSPX-", 28, is_base64url).filter(|bytes| *bytes == 35),
        b'1' => prefixed(cell, at, b"1//0", 40, is_base64url),
        _ => None,
    }
}

/// How far behind its separator an assigned value may start: a second sign (`:=`, `=>`), two spaces, `\` and a quote.
const SEPARATOR_BYTES_MAX: usize = 6;
/// The same when the name of a scheme stands between ([`SCHEMES`]).
const SCHEME_BYTES_MAX: usize = SEPARATOR_BYTES_MAX + 7;
/// Names that tell, as the last part of a name and in lower case.
const NAMES: [&[u8]; 8] = [
    b"password",
    b"passwd",
    b"pwd",
    b"passphrase",
    b"secret",
    b"token",
    b"credential",
    b"credentials",
];
/// Schemes of HTTP's `Authorization` (RFC 9110, 11.6.2) whose parameter is the credential.
const SCHEMES: [&[u8]; 3] = [b"bearer", b"basic", b"token"];
/// Keys that are no secret: of tables, stores, queues, and the half of a pair that is shown to everybody.
const OPEN_KEYS: [&[u8]; 20] = [
    b"public",
    b"s3",
    b"cache",
    b"sort",
    b"partition",
    b"primary",
    b"foreign",
    b"object",
    b"row",
    b"routing",
    b"message",
    b"idempotency",
    b"group",
    b"range",
    b"lookup",
    b"shard",
    b"index",
    b"unique",
    b"translation",
    b"storage",
];

/// A value behind `name=`, `name: `, `"name": "`, `name => `, `name := ` or `<name>` whose name ends in a telling word
/// ([`NAMES`], or `key` or `pass` as a word of its own or of `apiKey`), or behind `Authorization: Bearer `. The value
/// has 16 to 256 characters in use for keys, with a piece of at least 12 letters and digits that has both, and 3.3 bits
/// per character or more (3.0 when it is hexadecimal). A UUID and a file's path name a thing and are no secret.
/// The password of a URL (`scheme://user:password@host`) counts from 8 characters on when it has letters and digits.
pub(crate) fn secret_at(cell: &[u8], at: usize) -> Option<usize> {
    if !is_value(byte(cell, at))
        || !matches!(
            before(cell, at, 1),
            b'=' | b':' | b'>' | b' ' | b'"' | b'\'' | b'`'
        )
    {
        return None;
    }
    let bytes = run(cell, at, Entity::Secret.bytes_max() + 1, is_value);
    if before(cell, at, 1) == b':' && login_at(cell, at - 1).is_some() {
        return login_password(&cell[at..at + bytes]);
    }
    if !(16..=Entity::Secret.bytes_max()).contains(&bytes) || !is_assigned(cell, at) {
        return None;
    }
    let value = &cell[at..at + bytes];
    let punctuation = value
        .iter()
        .rev()
        .take_while(|byte| matches!(byte, b'.' | b'!'))
        .count();
    let bytes = bytes - punctuation; // ends the sentence, not the value
    let value = &value[..bytes];
    let is_dense = value.split(|byte| !byte.is_ascii_alphanumeric()).any(|piece| {
        piece.len() >= 12 && piece.iter().any(u8::is_ascii_digit) && piece.iter().any(u8::is_ascii_alphabetic)
    });
    let least = if value.iter().all(u8::is_ascii_hexdigit) {
        3.0
    } else {
        3.3
    };
    let is_name = is_uuid(value) || is_path(value);
    (is_dense && !is_name && bits_per_byte(value) >= least).then_some(bytes)
}

/// The password at the start of `text`, up to the `@` before the host.
fn login_password(text: &[u8]) -> Option<usize> {
    const BYTES_MIN: usize = 8;
    let bytes = text.iter().position(|byte| *byte == b'@')?;
    let password = &text[..bytes];
    let has_both = password.iter().any(u8::is_ascii_digit) && password.iter().any(u8::is_ascii_alphabetic);
    let is_path = password.contains(&b'/');
    (bytes >= BYTES_MIN && !is_path && has_both && is_varied(password)).then_some(bytes)
}

/// Directories, and a file with an ending.
fn is_path(value: &[u8]) -> bool {
    let Some(dot) = value.iter().rposition(|byte| *byte == b'.') else {
        return false;
    };
    let ending = &value[dot + 1..];
    value[..dot].contains(&b'/')
        && (2..=5).contains(&ending.len())
        && ending.iter().all(u8::is_ascii_lowercase)
}

fn is_value(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'_' | b'-' | b'+' | b'/' | b'=' | b'.' | b'~' | b'!' | b'@' | b'#' | b'$' | b'%' | b'^' | b'*'
        )
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

/// Whether a telling name and a separator stand before `at`, read backwards.
fn is_assigned(cell: &[u8], at: usize) -> bool {
    let (end, is_authorization) = match scheme_at(cell, at) {
        Some(scheme_at) => (scheme_at, true),
        None => (at, false),
    };
    let sign_end = skip_spaces(cell, skip_quote(cell, end));
    let sign_at = match (before(cell, sign_end, 2), before(cell, sign_end, 1)) {
        (b':' | b'=', b'=') | (b'=', b'>') => sign_end - 2,
        (_, b'=' | b':') => sign_end - 1,
        (_, b'>') if sign_end == at => sign_end - 1, // the end of a tag
        _ => return false,
    };
    match name(cell, sign_at) {
        Name::Other => false,
        Name::Secret => !is_authorization,
        Name::Authorization => is_authorization,
    }
}

/// Where the scheme's name starts that stands before `at` with a space between.
fn scheme_at(cell: &[u8], at: usize) -> Option<usize> {
    let text = cell[..at].strip_suffix(b" ")?;
    SCHEMES.into_iter().find_map(|scheme| {
        let start = text.len().checked_sub(scheme.len())?;
        (text[start..].eq_ignore_ascii_case(scheme) && !before(cell, start, 1).is_ascii_alphanumeric())
            .then_some(start)
    })
}

/// How far behind the sign at `sign_at` a value may start; 0 when nothing before it tells.
pub(crate) fn value_reach(cell: &[u8], sign_at: usize) -> usize {
    if before(cell, sign_at, 1).is_ascii_digit() {
        return usize::from(byte(cell, sign_at) == b':' && login_at(cell, sign_at).is_some()); // a time, most often
    }
    match name(cell, sign_at) {
        Name::Secret => SEPARATOR_BYTES_MAX,
        Name::Authorization => SCHEME_BYTES_MAX,
        Name::Other if byte(cell, sign_at) == b':' => usize::from(login_at(cell, sign_at).is_some()),
        Name::Other => 0,
    }
}

/// What stands before a sign.
enum Name {
    Other,
    /// A telling name.
    Secret,
    /// `Authorization`, which tells when a scheme follows.
    Authorization,
}

/// The name before the separator at `sign_at`.
fn name(cell: &[u8], sign_at: usize) -> Name {
    let end = skip_quote(cell, skip_spaces(cell, sign_at));
    if !before(cell, end, 1).is_ascii_alphabetic() {
        return Name::Other;
    }
    let text = &cell[end.saturating_sub(20)..end];
    let ends = |text: &[u8], word: &[u8]| {
        text.len() >= word.len() && text[text.len() - word.len()..].eq_ignore_ascii_case(word)
    };
    if ends(text, b"authorization") {
        return Name::Authorization;
    }
    // A word of its own, or of a name in capitals and small letters.
    let is_word = |first: u8, bytes: usize| {
        let left = before(cell, end, bytes + 1);
        !left.is_ascii_alphabetic() || (left.is_ascii_lowercase() && before(cell, end, bytes) == first)
    };
    let is_key = ends(text, b"key") && {
        let owner = &text[..text.len() - 3];
        let owner = owner
            .strip_suffix(b"_")
            .or_else(|| owner.strip_suffix(b"-"))
            .unwrap_or(owner);
        let is_known = [&b"api"[..], b"access", b"secret"]
            .iter()
            .any(|known| ends(owner, known));
        (is_word(b'K', 3) || is_known) && !OPEN_KEYS.into_iter().any(|known| ends(owner, known))
    };
    let is_secret = is_key
        || (ends(text, b"pass") && is_word(b'P', 4))
        || (NAMES.into_iter().any(|known| ends(text, known)) && !ends(text, b"publickeytoken"));
    if is_secret { Name::Secret } else { Name::Other }
}

/// Up to two spaces back.
fn skip_spaces(cell: &[u8], at: usize) -> usize {
    let spaces = (1..=2).take_while(|back| before(cell, at, *back) == b' ').count();
    at - spaces
}

/// A quote back, and the backslash before it.
fn skip_quote(cell: &[u8], at: usize) -> usize {
    match (before(cell, at, 2), before(cell, at, 1)) {
        (b'\\', quote) if is_quote(quote) => at - 2,
        (_, quote) if is_quote(quote) => at - 1,
        _ => at,
    }
}

/// Hexadecimal digits with hyphens in the places of RFC 9562.
fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Shannon's entropy of the bytes of `value`.
fn bits_per_byte(value: &[u8]) -> f64 {
    let mut counts = [0_u16; 128];
    for byte in value {
        counts[usize::from(byte & 0x7f)] += 1;
    }
    let total = value.len() as f64;
    let used = counts.into_iter().filter(|count| *count > 0);
    used.map(|count| f64::from(count) / total)
        .map(|share| -share * share.log2())
        .sum()
}
