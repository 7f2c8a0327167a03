//! The meaning of each entity: one function per kind says whether one starts at a byte of a cell, and how long it is.
//!
//! A function looks at no more than [`BEHIND`] bytes before its place and [`Entity::bytes_max`] bytes after it (and at
//! a boundary of eight), so a piece of a cell with that much around it gives the same answer as the whole.
//! The kinds are in `numbers` (cards, SSN, telephone), `iban`, `network` (e-mail, IP) and `secrets`.

use super::entity::{Detectors, Entity};
use super::{iban, network, numbers, secrets};

/// How many bytes before its first byte a grammar may look at.
pub(crate) const BEHIND: usize = 64;

/// How many bytes the `entity` has that starts at `at`, if one does.
#[inline]
pub(crate) fn entity_at(entity: Entity, wanted: Detectors, cell: &[u8], at: usize) -> Option<usize> {
    match entity {
        Entity::Card => numbers::card_at(cell, at),
        Entity::Ssn => numbers::ssn_at(cell, at),
        Entity::Iban => iban::iban_at(cell, at),
        Entity::Email => network::email_at(cell, at),
        Entity::Phone => numbers::phone_at(cell, at),
        Entity::Ipv4 => network::ipv4_at(cell, at),
        Entity::Ipv6 => network::ipv6_at(cell, at),
        Entity::Jwt => secrets::jwt_at(cell, at),
        Entity::PemKey => secrets::pem_key_at(cell, at),
        Entity::AwsKeyId => secrets::aws_key_id_at(cell, at),
        Entity::AwsSecret => secrets::aws_secret_at(cell, at),
        Entity::GithubToken => secrets::github_token_at(cell, at),
        Entity::GitlabToken => secrets::gitlab_token_at(cell, at),
        Entity::SlackToken => secrets::slack_token_at(cell, at),
        Entity::StripeKey => secrets::stripe_key_at(cell, at),
        Entity::GoogleKey => secrets::google_key_at(cell, at),
        Entity::Secret => secrets::secret_at(cell, at).filter(|_| !is_named(wanted, cell, at)),
    }
}

/// Whether a credential with a name of its own starts here: it is reported as that and not as a [`Entity::Secret`].
fn is_named(wanted: Detectors, cell: &[u8], at: usize) -> bool {
    const NAMED: [Entity; 8] = [
        Entity::Jwt,
        Entity::AwsKeyId,
        Entity::AwsSecret,
        Entity::GithubToken,
        Entity::GitlabToken,
        Entity::SlackToken,
        Entity::StripeKey,
        Entity::GoogleKey,
    ];
    NAMED
        .into_iter()
        .any(|entity| wanted.has(entity) && entity_at(entity, wanted, cell, at).is_some())
}

/// Whether a hit of `entity` hides kinds that start inside it: the digits of an account number are no card.
pub(crate) const fn hides(entity: Entity) -> &'static [Entity] {
    match entity {
        Entity::Iban | Entity::SlackToken => &[Entity::Card, Entity::Ssn, Entity::Phone],
        Entity::Card => &[Entity::Phone],
        Entity::Ipv6 => &[Entity::Ipv4],
        _ => &[],
    }
}

/// The byte at `at`, or NUL past the end. Text has no NUL.
#[inline(always)]
pub(crate) fn byte(cell: &[u8], at: usize) -> u8 {
    cell.get(at).copied().unwrap_or(0)
}

/// The byte `back` before `at`, or NUL before the start.
#[inline(always)]
pub(crate) fn before(cell: &[u8], at: usize, back: usize) -> u8 {
    at.checked_sub(back).map_or(0, |at| byte(cell, at))
}

/// How many bytes from `at` on are `class`, counted up to `max`.
#[inline(always)]
pub(crate) fn run(cell: &[u8], at: usize, max: usize, class: impl Fn(u8) -> bool) -> usize {
    let rest = cell.get(at..).unwrap_or_default();
    rest.iter().take(max).take_while(|byte| class(**byte)).count()
}

/// A space or hyphen between the groups of a number, and how many bytes it has: one of ASCII, or what word processors
/// and web pages put in its place (no-break, narrow and thin spaces, hyphens and dashes), as UTF-8.
#[inline]
pub(crate) fn gap_at(cell: &[u8], at: usize) -> Option<(u8, usize)> {
    match byte(cell, at) {
        gap @ (b' ' | b'-') => Some((gap, 1)),
        0xc2 if byte(cell, at + 1) == 0xa0 => Some((b' ', 2)), // U+00A0
        0xe2 if byte(cell, at + 1) == 0x80 => match byte(cell, at + 2) {
            0x80..=0x8a | 0xaf => Some((b' ', 3)), // U+2000 to U+200A, U+202F
            0x90..=0x95 => Some((b'-', 3)),        // U+2010 to U+2015
            _ => None,
        },
        _ => None,
    }
}

/// Whether `text`, which is lower-case, occurs in `cell` in any case.
pub(crate) fn contains(cell: &[u8], text: &[u8]) -> bool {
    cell.windows(text.len())
        .any(|window| window.eq_ignore_ascii_case(text))
}
