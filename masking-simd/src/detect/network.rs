//! E-mail addresses (RFC 5321 dot-strings, RFC 6531 for characters beyond ASCII) and IP addresses (RFC 4291, 2.2).

use super::grammar::{before, byte, contains, run};

/// RFC 5321, 4.5.3.1: the local part.
pub(crate) const LOCAL_BYTES_MAX: usize = 64;
/// RFC 5321, 4.5.3.1: the domain.
const DOMAIN_BYTES_MAX: usize = 253;
/// Endings that look like a top-level domain and are those of files and units (`logo@2x.png`, `getty@tty1.service`).
const FILE_ENDINGS: [&[u8]; 17] = [
    b"png", b"jpg", b"jpeg", b"gif", b"svg", b"webp", b"css", b"js", b"ts", b"json", b"html", b"txt", b"pdf",
    b"yaml", b"service", b"socket", b"timer",
];

/// `@` in a URL's query.
pub(crate) const ENCODED_AT: &[u8] = b"%40";

/// What a local part is made of: unquoted characters that addresses use, and whole characters beyond ASCII.
#[inline(always)]
pub(crate) fn is_local(byte: u8) -> bool {
    LOCAL[usize::from(byte)]
}

/// [`is_local`] of every byte: runs of them are walked for every `@`.
const LOCAL: [bool; 256] = {
    let mut local = [false; 256];
    let mut byte = 0_u8;
    loop {
        local[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'')
            || byte >= 0x80;
        if byte == u8::MAX {
            break local;
        }
        byte += 1;
    }
};

/// Whether a URL's user, or its password, starts at `at`.
fn is_login(cell: &[u8], at: usize) -> bool {
    let user_at = match before(cell, at, 1) {
        b':' => login_at(cell, at - 1),
        b'/' => Some(at),
        _ => None,
    };
    user_at.is_some_and(|at| cell[..at].ends_with(b"://"))
}

/// Where the user of a URL starts when the colon at `colon_at` is the one between user and password.
pub(crate) fn login_at(cell: &[u8], colon_at: usize) -> Option<usize> {
    const USER_BYTES_MAX: usize = 40;
    let text = &cell[colon_at.saturating_sub(USER_BYTES_MAX + 3)..colon_at];
    let is_user =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'%' | b'~');
    let user_bytes = text.iter().rev().take_while(|byte| is_user(byte)).count();
    text[..text.len() - user_bytes]
        .ends_with(b"://")
        .then_some(colon_at - user_bytes)
}

fn is_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte >= 0x80
}

/// An address: a local part of up to 64 bytes that no further such byte precedes, `@` (or `%40`, as URLs write it),
/// and a domain of two labels or more. The user in front of a URL's host is none. The last label has two bytes or more
/// and no digit (or is `xn--…`) and is no file ending; labels of digits alone in the first two places are a version.
pub(crate) fn email_at(cell: &[u8], at: usize) -> Option<usize> {
    if is_local(before(cell, at, 1)) {
        return None;
    }
    let run_bytes = run(cell, at, LOCAL_BYTES_MAX + 1, is_local);
    let text = cell.get(at..at + run_bytes)?;
    let (local, domain_at) = if byte(cell, at + run_bytes) == b'@' {
        (text, at + run_bytes + 1)
    } else {
        let local_bytes = text.windows(3).position(|mark| mark == ENCODED_AT)?;
        (&text[..local_bytes], at + local_bytes + 3)
    };
    let local_bytes = local.len();
    if !(1..=LOCAL_BYTES_MAX).contains(&local_bytes)
        || is_login(cell, at)
        || local[0] == b'.'
        || local[local_bytes - 1] == b'.'
        || local.windows(2).any(|pair| pair == b"..")
    {
        return None;
    }
    let (mut label_at, mut labels, mut numeric, mut last) = (domain_at, 0, 0, domain_at..domain_at);
    loop {
        let label_bytes = run(cell, label_at, 64, is_label);
        let label_end = label_at + label_bytes;
        if !(1..64).contains(&label_bytes) || label_end - domain_at > DOMAIN_BYTES_MAX {
            break;
        }
        let label = &cell[label_at..label_end];
        labels += 1;
        numeric += usize::from(labels <= 2 && label.iter().all(u8::is_ascii_digit));
        last = label_at..label_end;
        if byte(cell, label_end) != b'.' || !is_label(byte(cell, label_end + 1)) {
            break;
        }
        label_at = label_end + 1;
    }
    let end = last.end;
    let is_domain = labels >= 2 && numeric < 2 && is_top(&cell[last]);
    (is_domain && !matches!(byte(cell, end), b'@' | b'_')).then_some(end - at)
}

fn is_top(label: &[u8]) -> bool {
    let (Some(first), Some(last)) = (label.first(), label.last()) else {
        return false;
    };
    let is_name = label.len() >= 2
        && label
            .iter()
            .all(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80);
    let is_file = FILE_ENDINGS
        .iter()
        .any(|ending| label.eq_ignore_ascii_case(ending));
    (is_name && !is_file)
        || (*first != b'-'
            && *last != b'-'
            && label.get(..4).is_some_and(|xn| xn.eq_ignore_ascii_case(b"xn--")))
}

/// An IPv4 address: four decimal octets without leading zeros, the first not 0, not joined to letters, digits or
/// further dotted numbers, and not behind the word `version` or its like. One that loops back (127.…) is nobody's and
/// not reported.
pub(crate) fn ipv4_at(cell: &[u8], at: usize) -> Option<usize> {
    let left = before(cell, at, 1);
    if left.is_ascii_alphanumeric() || matches!(left, b'.' | b'_' | b'-') || byte(cell, at) == b'0' {
        return None;
    }
    let bytes = dotted_quad(cell, at)?;
    let next = byte(cell, at + bytes);
    let is_joined = next.is_ascii_alphanumeric()
        || matches!(next, b'_' | b'-')
        || (next == b'.' && byte(cell, at + bytes + 1).is_ascii_alphanumeric());
    let is_loopback = cell[at..].starts_with(b"127.");
    (!is_joined && !is_loopback && !is_release(cell, at)).then_some(bytes)
}

/// Whether the words before `at` say that numbers with dots are a release's.
fn is_release(cell: &[u8], at: usize) -> bool {
    let text = &cell[at.saturating_sub(14)..at];
    let text = &text[text
        .iter()
        .rposition(u8::is_ascii_digit)
        .map_or(0, |digit| digit + 1)..];
    if contains(text, b"version") || contains(text, b"release") {
        return true;
    }
    let end = text
        .iter()
        .rposition(u8::is_ascii_alphabetic)
        .map_or(0, |last| last + 1);
    let letters = text[..end]
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count();
    let word = &text[end - letters..end];
    [&b"build"[..], b"ver", b"section"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

fn dotted_quad(cell: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    for octet in 0..4 {
        if octet > 0 {
            if byte(cell, end) != b'.' {
                return None;
            }
            end += 1;
        }
        let digits = run(cell, end, 4, |byte| byte.is_ascii_digit());
        let text = &cell[end..end + digits];
        let value = text
            .iter()
            .fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
        if !(1..4).contains(&digits) || value > 255 || (digits > 1 && text[0] == b'0') {
            return None;
        }
        end += digits;
    }
    Some(end - at)
}

/// What an IPv6 address starts with and contains before a dotted quad.
#[inline(always)]
pub(crate) fn is_hex_or_colon(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || byte == b':'
}

/// An IPv6 address: eight groups, or fewer with one `::`, the last two possibly as a dotted quad; at least one decimal
/// digit. Eight groups of two digits are the name of a device (EUI-64). Because `a::b` is also how programs write a
/// path or a cast, a shortened address needs three groups, or two of which the first has three digits or more
/// (`fe80::1`); `::1` is nobody's address and not reported.
pub(crate) fn ipv6_at(cell: &[u8], at: usize) -> Option<usize> {
    let left = before(cell, at, 1);
    if left.is_ascii_alphanumeric() || matches!(left, b':' | b'.' | b'_') {
        return None;
    }
    let mut is_short = cell.get(at..)?.starts_with(b"::");
    let (mut end, mut groups) = (if is_short { at + 2 } else { at }, 0);
    let first_digits = run(cell, at, 5, |byte| byte.is_ascii_hexdigit());
    loop {
        let digits = run(cell, end, 5, |byte| byte.is_ascii_hexdigit());
        if digits == 0 {
            break;
        }
        let is_dotted = byte(cell, end + digits) == b'.' && groups > 0 && groups <= 6;
        if let Some(quad_bytes) = dotted_quad(cell, end).filter(|_| is_dotted) {
            (groups, end) = (groups + 2, end + quad_bytes);
            break;
        }
        if digits == 5 || groups == 8 {
            return None;
        }
        (groups, end) = (groups + 1, end + digits);
        match (byte(cell, end), byte(cell, end + 1)) {
            (b':', b':') if is_short => return None,
            (b':', b':') => (is_short, end) = (true, end + 2),
            (b':', next) if next.is_ascii_hexdigit() => end += 1,
            _ => break,
        }
    }
    let is_whole = match is_short {
        true => groups <= 7 && (groups >= 3 || (groups == 2 && first_digits >= 3)),
        false => {
            groups == 8
                && !cell[at..end]
                    .split(|byte| *byte == b':')
                    .all(|group| group.len() == 2)
        }
    };
    let next = byte(cell, end);
    let is_joined = next.is_ascii_alphanumeric()
        || next == b'_'
        || (next == b':' && is_hex_or_colon(byte(cell, end + 1)));
    let has_digit = cell[at..end].iter().any(u8::is_ascii_digit);
    (is_whole && !is_joined && has_digit).then_some(end - at)
}
